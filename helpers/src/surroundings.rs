//! What the caller chose for the helper: made harmless, one function each. [`crate::guard`] has the order.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{IntoRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;

use crate::sys::{self, Disposition, Limit};

/// How long a helper may take in all, in seconds. SIGALRM then ends it, whatever a name service or a full
/// pipe makes it wait for.
const DEADLINE: u32 = 10;

/// Signals whose default action would end the helper at a limit or at a closed pipe; ignored, the call fails
/// instead.
const IGNORED: [i32; 3] = [libc::SIGPIPE, libc::SIGXFSZ, libc::SIGXCPU];

/// The highest signal number.
const LAST_SIGNAL: i32 = 64;

/// Limits that are raised as far as the caller may, and how far that must at least be. With less, a step in
/// the middle could fail.
const LIMITS: [(Resource, u64); 4] = [
    (Resource { number: libc::RLIMIT_FSIZE, name: "file size" }, 0),
    (Resource { number: libc::RLIMIT_NOFILE, name: "open files" }, 16),
    (Resource { number: libc::RLIMIT_AS, name: "address space" }, 32 << 20),
    (Resource { number: libc::RLIMIT_STACK, name: "stack" }, 256 << 10),
];

#[derive(Clone, Copy, Debug)]
struct Resource {
    number: u32,
    name: &'static str,
}

/// Why the surroundings cannot be made harmless.
#[derive(Debug)]
pub enum SurroundingsError {
    /// A hard limit is too low.
    LimitTooLow {
        /// What is limited.
        what: &'static str,
        /// The hard limit.
        hard: u64,
        /// The lowest that works.
        floor: u64,
    },
    /// The arguments are longer than the helper takes.
    ArgumentsTooLong(usize),
    /// An argument has bytes outside of printable ASCII.
    ArgumentNotAscii,
    /// The announced number is no open file descriptor.
    NotOpen(RawFd),
    /// The kernel refused a step.
    Kernel(&'static str, io::Error),
}

/// Opens /dev/null for each of the descriptors 0 to 2 that is closed, so that no file opened later is taken
/// for one of them.
///
/// # Errors
/// /dev/null cannot be opened.
pub fn open_standard_descriptors() -> Result<(), SurroundingsError> {
    for _closed in (0..=2).filter(|fd| !sys::is_open(*fd)) {
        let null = File::options().read(true).write(true).open("/dev/null");
        let null = null.map_err(|error| SurroundingsError::Kernel("opening /dev/null", error))?;
        // The kernel gave the lowest free number, which is the closed one. It stays open, as standard ones
        // do.
        let _ = null.into_raw_fd();
    }
    Ok(())
}

/// Closes every descriptor from 3 on but the announced one (itself 3 or more), which it takes.
///
/// # Errors
/// The announced number is not open, or close_range(2) fails (before Linux 5.9).
pub fn keep_only(announced: RawFd) -> Result<OwnedFd, SurroundingsError> {
    let kernel = |error| SurroundingsError::Kernel("close_range", error);
    let number = u32::try_from(announced).map_err(|_| SurroundingsError::NotOpen(announced))?;
    let kept = sys::take_fd(announced).map_err(|_| SurroundingsError::NotOpen(announced))?;
    if number > 3 {
        sys::close_range(3, number - 1).map_err(kernel)?;
    }
    sys::close_range(number + 1, u32::MAX).map_err(kernel)?;
    Ok(kept)
}

/// Makes the process unreadable for its caller (ptrace, /proc, core files), and unable to gain rights by an
/// exec.
///
/// # Errors
/// The kernel refuses, for which it has no reason.
pub fn hide() -> Result<(), SurroundingsError> {
    let kernel = |call| move |error| SurroundingsError::Kernel(call, error);
    sys::prctl(libc::PR_SET_DUMPABLE, 0, 0).map_err(kernel("PR_SET_DUMPABLE"))?;
    sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0).map_err(kernel("PR_SET_NO_NEW_PRIVS"))?;
    sys::set_limit(libc::RLIMIT_CORE, Limit { soft: 0, hard: 0 }).map_err(kernel("RLIMIT_CORE"))
}

/// Blocks what can be blocked, undoes what the caller had ignored, stops timers that survived the exec, and
/// sets the deadline.
///
/// # Errors
/// The kernel refuses, for which it has no reason.
pub fn quiet_signals() -> Result<(), SurroundingsError> {
    let kernel = |error| SurroundingsError::Kernel("blocking signals", error);
    sys::block_all_signals_but(libc::SIGALRM).map_err(kernel)?;
    for signal in 1..=LAST_SIGNAL {
        let ignored = IGNORED.contains(&signal);
        sys::set_disposition(signal, if ignored { Disposition::Ignore } else { Disposition::Default });
    }
    for timer in [libc::ITIMER_REAL, libc::ITIMER_VIRTUAL, libc::ITIMER_PROF] {
        sys::stop_timer(timer);
    }
    sys::alarm(DEADLINE);
    Ok(())
}

/// Raises the soft limits to the hard ones.
///
/// # Errors
/// A hard limit is too low for the helper to come to its end.
pub fn raise_limits() -> Result<(), SurroundingsError> {
    for (resource, floor) in LIMITS {
        let kernel = |error| SurroundingsError::Kernel("reading limits", error);
        let hard = sys::limit(resource.number).map_err(kernel)?.hard;
        if hard < floor {
            return Err(SurroundingsError::LimitTooLow { what: resource.name, hard, floor });
        }
        sys::set_limit(resource.number, Limit { soft: hard, hard }).map_err(kernel)?;
    }
    Ok(())
}

/// Leaves the caller's working directory and file mode mask.
///
/// # Errors
/// `/` cannot be entered.
pub fn leave_directory() -> Result<(), SurroundingsError> {
    sys::set_umask(0o077);
    std::env::set_current_dir("/").map_err(|error| SurroundingsError::Kernel("chdir(\"/\")", error))
}

/// Returns the arguments after the program's name, which is never looked at.
///
/// # Errors
/// As [`readable`].
pub fn arguments(cap: usize) -> Result<Vec<String>, SurroundingsError> {
    readable(std::env::args_os().skip(1), cap)
}

/// Returns arguments as text.
///
/// # Errors
/// More than `cap` bytes in all, or a byte outside of printable ASCII.
pub fn readable(
    arguments: impl Iterator<Item = OsString>,
    cap: usize,
) -> Result<Vec<String>, SurroundingsError> {
    let arguments: Vec<OsString> = arguments.collect();
    let length: usize = arguments.iter().map(|argument| argument.len() + 1).sum();
    if length > cap {
        return Err(SurroundingsError::ArgumentsTooLong(cap));
    }
    let printable = |byte: &u8| (b' '..=b'~').contains(byte);
    arguments
        .into_iter()
        .map(|argument| argument.as_bytes().iter().all(printable).then_some(argument))
        .map(|argument| argument.and_then(|argument| argument.into_string().ok()))
        .collect::<Option<_>>()
        .ok_or(SurroundingsError::ArgumentNotAscii)
}

impl fmt::Display for SurroundingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LimitTooLow { what, hard, floor } => {
                write!(f, "the limit on {what} is {hard}, and at least {floor} is needed")
            }
            Self::ArgumentsTooLong(cap) => write!(f, "the arguments are longer than {cap} bytes"),
            Self::ArgumentNotAscii => f.write_str("an argument is not printable ASCII"),
            Self::NotOpen(fd) => write!(f, "file descriptor {fd} is not open"),
            Self::Kernel(call, error) => write!(f, "{call}: {error}"),
        }
    }
}
