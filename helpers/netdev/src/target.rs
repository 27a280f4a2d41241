//! The network namespace that gets one end: an inherited descriptor, which pins it.
//!
//! To a process with CAP_NET_ADMIN the kernel gives the end into *any* network namespace, the host's own included
//! (CVE-2017-5985 in lxc-user-nic). So whose it is must be found out here, and by the kernel's own rule: a network
//! namespace belongs to a user namespace, and that one is at the mercy of whoever made the outermost user namespace
//! around it, just below the initial one. "The caller owns one of those around it" would not do: he may own one inside
//! another user's container.

use std::fmt;
use std::fs::File;
use std::io;
use std::mem;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use helpers::caller::Caller;

use crate::sys;

/// The most user namespaces that the kernel nests. Source: user_namespaces(7).
const DEEPEST: usize = 33;

/// A network namespace of the caller's.
#[derive(Debug)]
pub struct Target {
    namespace: File,
}

/// The descriptor is no network namespace of the caller's. There is one text for all that it can be instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotYours;

impl Target {
    /// Takes a descriptor that is a network namespace of the caller's.
    ///
    /// # Errors
    /// It is something else, or somebody else's.
    pub fn open(descriptor: OwnedFd, caller: &Caller) -> Result<Self, NotYours> {
        let namespace = File::from(descriptor);
        match owner(&namespace) {
            Some(uid) if uid == caller.uid => Ok(Self { namespace }),
            _ => Err(NotYours),
        }
    }

    /// Returns the number under which /proc shows the namespace.
    pub fn inode(&self) -> u64 {
        self.namespace.metadata().map_or(0, |about| about.ino())
    }

    /// Returns the descriptor.
    pub fn descriptor(&self) -> std::os::fd::BorrowedFd<'_> {
        self.namespace.as_fd()
    }
}

/// Returns who made the outermost user namespace around a network namespace, below our own, which is the initial one.
/// There is none around the host's own network namespace.
fn owner(namespace: &File) -> Option<u32> {
    let namespace = namespace.as_fd();
    let on_nsfs = helpers::sys::file_system(namespace).is_ok_and(|magic| magic == libc::NSFS_MAGIC);
    if !on_nsfs || sys::namespace_type(namespace).ok()? != libc::CLONE_NEWNET {
        return None;
    }
    let user = sys::owning_user_namespace(namespace).ok()?;
    let outermost = outermost(user, |user| sys::parent_user_namespace(user.as_fd()))?;
    sys::maker(outermost.as_fd()).ok()
}

/// Returns the last user namespace on the way from `user` to our own, which itself is not counted: there is none where
/// `user` is our own.
fn outermost<U>(mut user: U, parent: impl Fn(&U) -> io::Result<U>) -> Option<U> {
    let mut last = None;
    for _ in 0..=DEEPEST {
        match parent(&user) {
            Ok(around) => last = Some(mem::replace(&mut user, around)),
            // Only of one's own user namespace the kernel does not show the parent.
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => return last,
            Err(_) => return None,
        }
    }
    None
}

impl fmt::Display for NotYours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the file descriptor is not a network namespace of yours")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A user namespace that lies so deep in our own, which is 0.
    fn parent(depth: &usize) -> io::Result<usize> {
        depth.checked_sub(1).ok_or_else(|| io::Error::from_raw_os_error(libc::EPERM))
    }

    #[test]
    fn the_outermost_is_the_one_just_below_our_own() {
        assert_eq!(outermost(0, parent), None);
        for depth in 1..=DEEPEST {
            assert_eq!(outermost(depth, parent), Some(1));
        }
    }

    #[test]
    fn a_way_that_is_too_long_or_that_the_kernel_does_not_show_leads_to_nobody() {
        assert_eq!(outermost(DEEPEST + 1, parent), None);
        for errno in [libc::EINVAL, libc::EMFILE, libc::ENOTTY] {
            let lost = |depth: &usize| match depth {
                2 => Err(io::Error::from_raw_os_error(errno)),
                deeper => Ok(deeper - 1),
            };
            assert_eq!(outermost(4, lost), None);
        }
    }

    #[test]
    fn what_is_no_network_namespace_is_nobodys() {
        let caller = Caller { uid: 0, gid: 0, name: None };
        for path in ["/proc/self/ns/net", "/proc/self/ns/uts", "/proc/self/status", "/dev/null", "/"] {
            let refused = Target::open(File::open(path).unwrap().into(), &caller).unwrap_err();
            assert_eq!(refused.to_string(), "the file descriptor is not a network namespace of yours");
        }
    }
}
