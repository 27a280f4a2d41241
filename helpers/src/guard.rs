//! The order in which a helper makes its surroundings harmless, asks its own code, and ends.

use std::fmt;
use std::os::fd::{OwnedFd, RawFd};

use crate::report::{self, Done, Failure, FailureKind, Log};
use crate::rights::{Capability, Rights, RightsError, UserNamespace};
use crate::surroundings::{self, SurroundingsError};
use crate::sys::{self, Disposition};

/// What a helper is, known before it starts.
#[derive(Debug)]
pub struct Program {
    /// Its name in messages and in the log. `argv[0]` is the caller's choice, and never shown.
    pub name: &'static str,
    /// The capabilities that its installation must give, exactly.
    pub needs: &'static [Capability],
    /// The user namespaces that it works in.
    pub namespace: UserNamespace,
    /// How long its arguments may be in all, in bytes.
    pub argument_cap: usize,
    /// How it is called. The first argument of every helper is the number of an inherited file descriptor,
    /// its target.
    pub usage: &'static str,
}

/// What the guard leaves of the caller's choices.
#[derive(Debug)]
pub struct Entered {
    /// The rights of the helper, in reserve.
    pub rights: Rights,
    /// The announced file descriptor; all others from 3 on are closed.
    pub target: OwnedFd,
    /// The arguments after it, printable ASCII.
    pub arguments: Vec<String>,
}

/// The surroundings are refused before the request was looked at.
#[derive(Debug)]
pub enum GuardError {
    /// Its rights are not what they should be.
    Rights(RightsError),
    /// Something that the caller chose cannot be made harmless.
    Surroundings(SurroundingsError),
    /// The first argument is not the number of a file descriptor from 3 on.
    Usage(&'static str),
}

/// Runs a helper: makes the surroundings harmless, has `act` decide and do the one thing, says what was done,
/// exits.
///
/// The log has it before the caller: his files can take a line when they like, until the deadline ends the helper. The
/// exit status is 0, or that of the failure.
pub fn run(program: &Program, act: impl FnOnce(Entered) -> Result<Done, Failure>) -> ! {
    // Before anything is said: who closes the pipe for it changes no exit status.
    sys::set_disposition(libc::SIGPIPE, Disposition::Ignore);
    report::silence_panics();
    let entered = enter(program).unwrap_or_else(|error| report::finish(program.name, &error.into()));
    let log = Log::open(program.name);
    match act(entered) {
        Ok(done) => {
            log.done(&done.log);
            report::answer(&done.answer);
            sys::exit_now(0)
        }
        Err(failure) => {
            if failure.kind() != FailureKind::Usage {
                log.refused(&failure.to_string());
            }
            report::finish(program.name, &failure)
        }
    }
}

/// The order matters: rights first, so that nothing below runs as root; the arguments when nothing around
/// them can hurt; the announced descriptor before this process opens any file that could get its number.
fn enter(program: &Program) -> Result<Entered, GuardError> {
    let rights = Rights::take(program.needs, program.namespace)?;
    surroundings::hide()?;
    sys::clear_environment();
    surroundings::open_standard_descriptors()?;
    surroundings::quiet_signals()?;
    surroundings::raise_limits()?;
    surroundings::leave_directory()?;
    let mut arguments = surroundings::arguments(program.argument_cap)?.into_iter();
    let announced =
        arguments.next().as_deref().and_then(descriptor).ok_or(GuardError::Usage(program.usage))?;
    let target = surroundings::keep_only(announced)?;
    Ok(Entered { rights, target, arguments: arguments.collect() })
}

/// Returns the number of a descriptor in its one spelling; 0 to 2 are not for targets.
pub fn descriptor(text: &str) -> Option<RawFd> {
    text.parse().ok().filter(|number: &RawFd| *number > 2 && number.to_string() == text)
}

impl From<GuardError> for Failure {
    fn from(error: GuardError) -> Self {
        use SurroundingsError::{ArgumentNotAscii, ArgumentsTooLong};
        let kind = match error {
            GuardError::Usage(_) | GuardError::Surroundings(ArgumentsTooLong(_) | ArgumentNotAscii) => {
                FailureKind::Usage
            }
            _ => FailureKind::Refused,
        };
        Self::new(kind, error)
    }
}

impl From<RightsError> for GuardError {
    fn from(error: RightsError) -> Self {
        Self::Rights(error)
    }
}

impl From<SurroundingsError> for GuardError {
    fn from(error: SurroundingsError) -> Self {
        Self::Surroundings(error)
    }
}

impl fmt::Display for GuardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rights(error) => error.fmt(f),
            Self::Surroundings(error) => error.fmt(f),
            Self::Usage(usage) => write!(f, "usage: {usage}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::descriptor;

    #[test]
    fn a_descriptor_is_a_plain_number_from_3_on() {
        assert_eq!(descriptor("3"), Some(3));
        assert_eq!(descriptor("2147483647"), Some(i32::MAX));
        for text in ["", "0", "2", "-1", "+3", "03", " 3", "3 ", "0x3", "2147483648", "99999999999999999999"]
        {
            assert_eq!(descriptor(text), None, "{text:?}");
        }
    }
}
