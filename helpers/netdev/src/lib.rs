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
//! a slot, and [`links`] makes the pair there, in messages that the crate `rtnl` builds and reads.

#![deny(unsafe_code)]

pub mod links;
pub mod place;
pub mod policy;
pub mod request;
#[allow(unsafe_code, reason = "the one place of this helper that calls the kernel")]
mod sys;
pub mod target;

use helpers::caller::Caller;
use helpers::guard::{Entered, Program};
use helpers::report::{Done, Failure};
use helpers::rights::{Capability, UserNamespace};

use crate::links::Links;
use crate::place::{Placed, Wanted};
use crate::request::Request;
use crate::target::Target;

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

/// Reads the request, decides, makes the pair, and answers with the name and number of the host's end.
///
/// # Errors
/// No pair was made.
pub fn make_pair(Entered { rights, target, arguments }: Entered) -> Result<Done, Failure> {
    let request = request::parse(&arguments).map_err(|error| Failure::usage(PROGRAM.usage, error))?;
    let Request { bridge, peer } = &request;
    let caller = Caller::of_this_process();
    let target =
        Target::open(target, &caller).map_err(|error| Failure::refused(format_args!("{peer}: {error}")))?;
    let policy = policy::read(&caller, bridge)
        .map_err(|error| Failure::refused(format_args!("no device on {bridge} for {caller}: {error}")))?;
    let mut links = Links::open(&rights)?;
    helpers::filter::allow_only(links::CALLS)?;
    let wanted = Wanted { caller: &caller, request: &request, target: &target, policy: &policy };
    let Placed { slot, index } = wanted.place(&mut links).map_err(|error| {
        Failure::new(error.kind(), format_args!("no device {peer} on {bridge} for {caller}: {error}"))
    })?;
    drop(links);
    rights.renounce()?;
    let netns = target.inode();
    Ok(Done {
        log: format!("made {slot} (index {index}) on {bridge} with {peer} in netns {netns}"),
        answer: format!("{slot} {index}\n"),
    })
}
