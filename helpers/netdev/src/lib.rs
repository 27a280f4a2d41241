//! bryo-netdev: makes one veth pair, one end on a bridge of the host and the other in a network namespace of the caller's,
//! as far as /etc/lxc/lxc-usernet grants it.
//!
//! The kernel lets whoever has CAP_NET_ADMIN put a pair on any bridge and into any network namespace. So three checks are
//! this program's whole reason: that the namespace is the caller's, that the file grants the bridge, and that no more
//! pairs are made than it says. How many there are is kernel state: the name of the host's end says whose it is, and
//! the kernel has each name once. So there is no file, no lock and nothing to remove: the caller removes the other end,
//! and a kill at any moment leaves a pair that is counted or none.
//!
//! [`request`] reads the arguments, [`target`] says whose the namespace is, [`policy`] what is granted; [`place`] finds
//! a slot, and [`links`] makes the pair there, in messages that [`netlink`] builds and reads.

#![deny(unsafe_code)]

pub mod links;
mod netlink;
pub mod place;
pub mod policy;
pub mod request;
#[allow(unsafe_code, reason = "the one place of this helper that calls the kernel")]
mod sys;
pub mod target;

use std::fmt;
use std::io;

use helpers::caller::Caller;
use helpers::guard::{Entered, Program};
use helpers::report::{self, Verdict, VerdictKind};
use helpers::rights::{Capability, UserNamespace};

use crate::links::Links;
use crate::place::{PlaceError, Wanted};
use crate::policy::PolicyError;
use crate::request::{Request, RequestError};
use crate::target::{NotYours, Target};

/// What this helper is.
///
/// In a child user namespace the capability counts only there, and the uid is one of that namespace.
pub const PROGRAM: Program = Program {
    name: "bryo-netdev",
    needs: &[Capability::NetAdmin],
    namespace: UserNamespace::Initial,
    argument_cap: 256,
    usage: "bryo-netdev FD BRIDGE NAME (FD: an inherited descriptor of a network namespace, 3 or more)",
};

/// Why no pair was made.
#[derive(Debug)]
pub enum Failure {
    /// The arguments are no request.
    Request(RequestError),
    /// The namespace is not the caller's.
    NotYours(Request, NotYours),
    /// Nothing is granted.
    Policy(Request, Caller, PolicyError),
    /// It is granted, and cannot be done.
    Place(Request, Caller, PlaceError),
    /// The kernel refused a step that it never refuses.
    Kernel(io::Error),
}

/// Reads the request, decides, makes the pair, prints the name and number of the host's end, and returns what the log
/// shall say.
///
/// # Errors
/// No pair was made.
pub fn make_pair(Entered { rights, target, arguments }: Entered) -> Result<String, Failure> {
    let request = request::parse(&arguments)?;
    let caller = Caller::of_this_process();
    let target = Target::open(target, &caller).map_err(|not| Failure::NotYours(request.clone(), not))?;
    let policy = policy::read(&caller, &request.bridge)
        .map_err(|error| Failure::Policy(request.clone(), caller.clone(), error))?;
    let mut links = Links::open(&rights)?;
    helpers::filter::allow_only(links::SYSCALLS)?;
    let wanted = Wanted { caller: &caller, request: &request, target: &target, policy: &policy };
    let placed =
        wanted.place(&mut links).map_err(|error| Failure::Place(request.clone(), caller.clone(), error))?;
    drop(links);
    rights.renounce()?;
    report::answer(&format!("{} {}\n", placed.slot, placed.index));
    Ok(format!(
        "made {} (index {}) on {} with {} in netns {}",
        placed.slot,
        placed.index,
        request.bridge,
        request.peer,
        target.inode()
    ))
}

impl Verdict for Failure {
    fn kind(&self) -> VerdictKind {
        match self {
            Self::Request(_) => VerdictKind::Usage,
            Self::Place(_, _, PlaceError::Full(_)) => VerdictKind::Full,
            _ => VerdictKind::Refused,
        }
    }
}

impl From<RequestError> for Failure {
    fn from(error: RequestError) -> Self {
        Self::Request(error)
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
            Self::NotYours(request, error) => write!(f, "{}: {error}", request.peer),
            Self::Policy(request, caller, error) => {
                write!(f, "no device on {} for {caller}: {error}", request.bridge)
            }
            Self::Place(request, caller, error) => {
                write!(f, "no device {} on {} for {caller}: {error}", request.peer, request.bridge)
            }
            Self::Kernel(error) => error.fmt(f),
        }
    }
}
