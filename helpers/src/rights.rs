//! The capabilities of a helper: the few that it needs, held in reserve and in force only around the one act
//! that needs them.
//!
//! There are two ways to install a helper, and [`Rights::take`] makes one state of them: all user ids are the
//! caller's, exactly the needed capabilities are permitted, none is effective, none inheritable or ambient.
//!
//! - **File capabilities** (`setcap cap_x=ep`): the process starts in that state, but for the effective set.
//! - **Setuid root**, for file systems that keep no capabilities: root's other rights are dropped at once.
//!
//! The bounding set stays as it is: lowering it takes CAP_SETPCAP, which the first way does not have, and it
//! bounds only what an exec can gain, which no_new_privs reduces to nothing.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;

use crate::sys::{self, CapabilitySets, Ids};

/// A capability, by its number in linux/capability.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// CAP_SETGID: any group id in a gid map.
    Setgid = 6,
    /// CAP_SETUID: any user id in a uid map.
    Setuid = 7,
    /// CAP_NET_ADMIN: interfaces, in the network namespaces that the user namespace owns.
    NetAdmin = 12,
}

/// In which user namespaces a helper does its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserNamespace {
    /// In any: the kernel itself limits what the helper does to the namespace it runs in.
    Any,
    /// Only in the initial one: elsewhere file capabilities are honoured too, but mean something else.
    Initial,
}

/// The rights of a helper, in reserve.
#[derive(Debug)]
pub struct Rights {
    permitted: u64,
}

/// Why a helper has not the rights that its installation should give.
#[derive(Debug)]
pub enum RightsError {
    /// The caller is root, who needs no helper.
    CallerIsRoot,
    /// Not started in the initial user namespace.
    NotInitialNamespace,
    /// The ids fit neither way to install.
    Ids(Ids),
    /// no_new_privs is set: the kernel ignores setuid bits and file capabilities.
    NoNewPrivs,
    /// The program's file system is mounted `nosuid`, with the same effect.
    Nosuid,
    /// The capabilities are not exactly the needed ones.
    NotInstalled {
        /// Those that the process has.
        held: u64,
        /// Those that it needs.
        needed: u64,
    },
    /// The kernel refused a step that it never refuses.
    Kernel(&'static str, io::Error),
}

/// The inode number of the initial user namespace. Source: linux/proc_ns.h, PROC_USER_INIT_INO.
const INITIAL_USER_NAMESPACE: u64 = 0xEFFF_FFFD;

impl Rights {
    /// Brings the process into the one state described above, and checks that it is in it.
    ///
    /// # Errors
    /// Whatever differs from a proper installation and an unprivileged caller.
    pub fn take(needed: &[Capability], namespace: UserNamespace) -> Result<Self, RightsError> {
        let ids = sys::user_ids();
        if ids.real == 0 {
            return Err(RightsError::CallerIsRoot);
        }
        let needed = needed.iter().fold(0, |set, capability| set | bit(*capability));
        match (ids.effective, ids.saved) {
            (0, 0) => drop_root(ids.real, needed)?,
            (effective, saved) if effective == ids.real && saved == ids.real => {}
            _ => return Err(RightsError::Ids(ids)),
        }
        if namespace == UserNamespace::Initial && !in_initial_user_namespace() {
            return Err(RightsError::NotInitialNamespace);
        }
        settle(needed)?;
        Ok(Self { permitted: needed })
    }

    /// Runs `act` with one capability in force, and takes it back.
    ///
    /// # Errors
    /// Those of `act`. The kernel refuses to raise or lower it; with [`Rights::take`] done, it has no reason to.
    pub fn with<T>(&self, capability: Capability, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        sys::set_capabilities(reserve(self.permitted, bit(capability)))?;
        let result = act();
        sys::set_capabilities(reserve(self.permitted, 0))?;
        result
    }

    /// Gives all rights up, for good.
    ///
    /// # Errors
    /// As [`Rights::with`].
    pub fn renounce(self) -> io::Result<()> {
        sys::set_capabilities(CapabilitySets::default())
    }
}

fn bit(capability: Capability) -> u64 {
    1 << capability as u64
}

fn reserve(permitted: u64, effective: u64) -> CapabilitySets {
    CapabilitySets { effective, permitted, inheritable: 0 }
}

/// Turns a setuid-root process into one of the caller's that holds the needed capabilities.
fn drop_root(caller: u32, needed: u64) -> Result<(), RightsError> {
    let step =
        |result: io::Result<()>| result.map_err(|error| RightsError::Kernel("dropping root's rights", error));
    step(sys::prctl(libc::PR_SET_KEEPCAPS, 1, 0).map(drop))?;
    step(sys::set_user_ids(caller))?;
    let held = sys::capabilities().map_err(|error| RightsError::Kernel("capget", error))?.permitted;
    step(sys::set_capabilities(reserve(held & needed, 0)))?;
    step(sys::prctl(libc::PR_SET_KEEPCAPS, 0, 0).map(drop))
}

/// Clears what neither way to install may leave, and checks what is left.
fn settle(needed: u64) -> Result<(), RightsError> {
    let kernel = |call| move |error| RightsError::Kernel(call, error);
    let held = sys::capabilities().map_err(kernel("capget"))?.permitted;
    if held != needed {
        return Err(why_not(held, needed));
    }
    // A setgid program in between may have left its group behind; the caller's own one counts.
    sys::set_group_ids(sys::real_group()).map_err(kernel("setresgid"))?;
    sys::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as _, 0)
        .map_err(kernel("clearing ambient capabilities"))?;
    sys::set_capabilities(reserve(needed, 0)).map_err(kernel("capset"))?;

    let ids = sys::user_ids();
    let sets = sys::capabilities().map_err(kernel("capget"))?;
    match ids.effective == ids.real && ids.saved == ids.real && sets == reserve(needed, 0) {
        true => Ok(()),
        false => Err(RightsError::Ids(ids)),
    }
}

fn why_not(held: u64, needed: u64) -> RightsError {
    if sys::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0).is_ok_and(|set| set == 1) {
        RightsError::NoNewPrivs
    } else if sys::is_nosuid(c"/proc/self/exe") {
        RightsError::Nosuid
    } else {
        RightsError::NotInstalled { held, needed }
    }
}

/// Tells whether /proc shows the initial user namespace as ours.
///
/// Nothing may lean on this alone: in namespaces of his own a caller can mount something else over /proc, with any inode
/// numbers. There the capability counts for those namespaces alone, and the kernel refuses what it is needed for.
fn in_initial_user_namespace() -> bool {
    fs::metadata("/proc/self/ns/user").is_ok_and(|namespace| namespace.ino() == INITIAL_USER_NAMESPACE)
}

impl fmt::Display for RightsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CallerIsRoot => f.write_str("root needs no helper: it may do the same itself"),
            Self::NotInitialNamespace => f.write_str("not started in the initial user namespace"),
            Self::Ids(Ids { real, effective, saved }) => write!(
                f,
                "not installed correctly: the real, effective and saved user ids are {real}, {effective}, {saved}"
            ),
            Self::NoNewPrivs => f.write_str(
                "no_new_privs is set, so the kernel ignores the rights of this program; start it outside of the \
                 sandbox or service (NoNewPrivileges=) that set it",
            ),
            Self::Nosuid => f.write_str(
                "installed on a file system that is mounted nosuid, so the kernel ignores the rights of this program",
            ),
            Self::NotInstalled { held, needed } => write!(
                f,
                "not installed correctly: it has the capabilities {held:#x} and needs exactly {needed:#x}; \
                 cargo xtask install gives them when root runs it, to a file that root alone can change"
            ),
            Self::Kernel(call, error) => write!(f, "{call}: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_have_the_bits_that_the_kernel_shows_in_proc_status() {
        assert_eq!(bit(Capability::Setgid) | bit(Capability::Setuid), 0xc0);
        assert_eq!(bit(Capability::NetAdmin), 0x1000);
    }

    #[test]
    fn without_an_installation_no_rights_are_taken() {
        assert!(Rights::take(&[Capability::Setuid], UserNamespace::Any).is_err());
    }

    #[test]
    fn the_initial_user_namespace_is_told_from_others_by_its_inode() {
        let map = fs::read_to_string("/proc/self/uid_map").unwrap();
        let maps_all = map.split_whitespace().eq(["0", "0", "4294967295"]);
        assert_eq!(in_initial_user_namespace(), maps_all);
    }
}
