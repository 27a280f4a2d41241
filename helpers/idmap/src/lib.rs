//! bryo-idmap: writes the id map of one user namespace, as far as /etc/subuid and /etc/subgid grant it to the
//! caller.
//!
//! The kernel lets whoever has CAP_SETUID and CAP_SETGID write *any* host ids into the map of a user
//! namespace that they own, so the check of the two files is this program's whole reason. Everything else is
//! left to the kernel, which sees the caller's own effective uid: that the namespace is the caller's, that it
//! is a child of ours, that it has no map yet.
//!
//! [`request`] reads the arguments, [`policy`] the files, [`decide`] says yes or no and touches nothing,
//! [`target`] holds the process directory and writes.

#![forbid(unsafe_code)]

pub mod decide;
pub mod policy;
pub mod request;
pub mod target;

use std::fmt;
use std::io;

use helpers::caller::Caller;
use helpers::guard::{Entered, Program};
use helpers::policy_file::PolicyFileError;
use helpers::report::{Verdict, VerdictKind};
use helpers::rights::{Capability, UserNamespace};

use crate::decide::Refusal;
use crate::request::RequestError;
use crate::target::{Target, TargetError};

/// What this helper is.
///
/// It works in child user namespaces too: there the kernel grants it no id that the namespace does not have.
/// The arguments of two maps, each as long as the kernel takes (a page), fit into the cap.
pub const PROGRAM: Program = Program {
    name: "bryo-idmap",
    needs: &[Capability::Setgid, Capability::Setuid],
    namespace: UserNamespace::Any,
    argument_cap: 16 << 10,
    usage: "bryo-idmap FD u:INSIDE:OUTSIDE:COUNT... g:INSIDE:OUTSIDE:COUNT... \
            (FD: an inherited descriptor of /proc/PID, 3 or more)",
};

/// Why no map was written.
#[derive(Debug)]
pub enum Failure {
    /// The arguments are no request.
    Request(RequestError),
    /// A policy file may not be believed.
    Policy(PolicyFileError),
    /// The map is not granted.
    Refused(Refusal, Caller),
    /// The target is no process directory, or the kernel refuses to map it.
    Target(TargetError),
    /// The kernel refused a step that it never refuses.
    Kernel(io::Error),
}

/// Reads the request, decides, writes both maps, and returns what the log shall say.
///
/// # Errors
/// No map was written, unless the kernel refused the second after it took the first.
pub fn write_map(Entered { rights, target, arguments }: Entered) -> Result<String, Failure> {
    let request = request::parse(&arguments)?;
    let caller = Caller::of_this_process();
    helpers::filter::allow_only(target::SYSCALLS)?;
    let grants = policy::grants(&caller)?;
    let plan =
        decide::decide(&request, &caller, &grants).map_err(|refusal| Failure::Refused(refusal, caller))?;
    Target::open(target)?.write(&plan, &rights)?;
    rights.renounce()?;
    Ok(format!("mapped {}", arguments.join(" ")))
}

impl Verdict for Failure {
    fn kind(&self) -> VerdictKind {
        match self {
            Self::Request(_) => VerdictKind::Usage,
            _ => VerdictKind::Refused,
        }
    }
}

impl From<RequestError> for Failure {
    fn from(error: RequestError) -> Self {
        Self::Request(error)
    }
}

impl From<PolicyFileError> for Failure {
    fn from(error: PolicyFileError) -> Self {
        Self::Policy(error)
    }
}

impl From<TargetError> for Failure {
    fn from(error: TargetError) -> Self {
        Self::Target(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Kernel(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request(error) => write!(f, "{error}; usage: {}", PROGRAM.usage),
            Self::Policy(error) => error.fmt(f),
            Self::Refused(refusal, caller) => write!(f, "refused to {caller}: {refusal}"),
            Self::Target(error) => error.fmt(f),
            Self::Kernel(error) => error.fmt(f),
        }
    }
}
