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

use helpers::caller::Caller;
use helpers::guard::{Entered, Program};
use helpers::report::{Done, Failure};
use helpers::rights::{Capability, UserNamespace};

use crate::target::Target;

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

/// Reads the request, decides, writes both maps.
///
/// # Errors
/// No map was written, unless the kernel refused the second after it took the first.
pub fn write_map(Entered { rights, target, arguments }: Entered) -> Result<Done, Failure> {
    let request = request::parse(&arguments).map_err(|error| Failure::usage(PROGRAM.usage, error))?;
    let caller = Caller::of_this_process();
    helpers::filter::allow_only(target::CALLS)?;
    let grants = policy::grants(&caller)?;
    let plan = decide::decide(&request, &caller, &grants)
        .map_err(|refusal| Failure::refused(format_args!("refused to {caller}: {refusal}")))?;
    Target::open(target).and_then(|target| target.write(&plan, &rights)).map_err(Failure::refused)?;
    rights.renounce()?;
    Ok(Done { log: format!("mapped {}", arguments.join(" ")), answer: String::new() })
}
