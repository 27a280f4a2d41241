//! What the kernel lets a runtime do that is itself confined: inside a container of another engine, as continuous
//! integration often runs, or in a service with hardening.
//!
//! Asked, not guessed: a process in namespaces of its own tries what a start needs and tells how it went. That costs a
//! network namespace, so it is done only where the caller's own surroundings show a filter or a mask.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use serde::{Deserialize, Serialize};
use sys::mount::{self, attr};
use sys::process::{self, Cloned, flags};
use sys::{Errno, landlock, probe, seccomp};

use crate::error::{Error, Kind, Result};
use crate::host::visible;

/// What the caller's surroundings refuse.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Surroundings {
    /// A filter of system calls is in force.
    pub filtered: bool,
    /// clone3(2) is there, by which a process starts in its cgroup.
    pub clone3: bool,
    /// The call that makes namespaces and the errno it is refused with, as strace shows them.
    pub namespaces: Option<(String, i32)>,
    /// Calls that are refused to root of an own user and mount namespace.
    pub calls: Vec<String>,
    /// The name of an own UTS namespace can be set.
    pub hostname: bool,
    /// The signals of a container can be kept in it without a PID namespace.
    pub scoped_signals: bool,
    /// How a container can get a procfs of its own PID namespace.
    pub proc: Fresh,
    /// How it can get a sysfs of its own network namespace.
    pub sysfs: Fresh,
}

/// How a new mount of a kernel's file system is allowed. The kernel allows it where a mount of the kind is fully visible,
/// with no more rights than that one. Source: mount_namespaces(7), "Restrictions on mount namespaces".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fresh {
    /// As it comes.
    Writable,
    /// Read-only alone.
    ReadOnly,
    /// Not at all: parts of the visible one are masked.
    Refused,
}

/// Attributes with which a procfs or sysfs is mounted.
const INERT: u64 = attr::NOSUID | attr::NODEV | attr::NOEXEC;

/// What the process in its own namespaces found.
#[derive(Debug, Serialize, Deserialize)]
struct Found {
    calls: Vec<String>,
    hostname: bool,
    scoped_signals: bool,
    proc: Fresh,
    sysfs: Fresh,
}

impl Surroundings {
    /// Returns that nothing is refused.
    pub fn free() -> Self {
        let (proc, sysfs) = (Fresh::Writable, Fresh::Writable);
        let (namespaces, calls) = (None, Vec::new());
        let (hostname, scoped_signals) = (true, false);
        Self { filtered: false, clone3: true, namespaces, calls, hostname, scoped_signals, proc, sysfs }
    }

    /// Asks the kernel, where there is a sign of confinement.
    pub fn ask() -> Result<Self> {
        let unconfined =
            Self { filtered: seccomp::is_filtered(), clone3: probe::has_clone3(), ..Self::free() };
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let is_whole = visible::PROC.is_whole(&mounts) && visible::SYS.is_whole(&mounts);
        if !unconfined.filtered && is_whole {
            return Ok(unconfined);
        }
        let (reader, writer) = std::io::pipe().map_err(crate::place::from_io)?;
        match process::clone(flags::NAMESPACES, None) {
            Ok(Cloned::Child) => {
                drop(reader);
                tell(File::from(OwnedFd::from(writer)), &look());
                process::exit_now(0)
            }
            Ok(Cloned::Parent { pidfd, .. }) => {
                drop(writer);
                let found = hear(File::from(OwnedFd::from(reader)));
                process::wait(pidfd.as_fd())?;
                let Found { calls, hostname, scoped_signals, proc, sysfs } = found?;
                Ok(Self { calls, hostname, scoped_signals, proc, sysfs, ..unconfined })
            }
            Err(e) => Ok(Self { namespaces: Some((e.to_string(), e.errno() as i32)), ..unconfined }),
        }
    }

    /// Refuses what needs namespaces where a filter forbids them; any other reason is the kernel's to say when it comes.
    ///
    /// # Errors
    /// [`Kind::Filtered`], with the calls that are refused.
    pub fn allow_namespaces(&self) -> Result<()> {
        let refused = |cause: String| Err(Error::new(Kind::Filtered, cause));
        match &self.namespaces {
            Some((call, errno)) if self.filtered && is_refusal(*errno) => {
                refused(format!("user namespaces are forbidden here by a seccomp filter: {call}"))
            }
            None if !self.calls.is_empty() => {
                refused(format!("a seccomp filter forbids here what mounts need: {}", self.calls.join(", ")))
            }
            _ => Ok(()),
        }
    }
}

fn is_refusal(errno: i32) -> bool {
    matches!(Errno::from_raw(errno), Errno::EPERM | Errno::ENOSYS | Errno::EACCES)
}

fn look() -> Found {
    Found {
        calls: probe::refused_mounting_calls().map(str::to_owned).collect(),
        hostname: !probe::refuses_hostname(),
        proc: fresh("proc"),
        sysfs: fresh("sysfs"),
        // Last, since it stays in force.
        scoped_signals: landlock::keep_signals_inside().is_ok(),
    }
}

fn fresh(fstype: &str) -> Fresh {
    let mounts = |attrs| mount::new_filesystem(fstype, &[], attrs).is_ok();
    match () {
        () if mounts(INERT) => Fresh::Writable,
        () if mounts(INERT | attr::RDONLY) => Fresh::ReadOnly,
        () => Fresh::Refused,
    }
}

fn tell(mut pipe: File, found: &Found) {
    let bytes = postcard::to_stdvec(found).unwrap_or_default();
    let _nobody_listens = pipe.write_all(&bytes);
}

fn hear(mut pipe: File) -> Result<Found> {
    let mut bytes = Vec::new();
    pipe.read_to_end(&mut bytes).map_err(crate::place::from_io)?;
    let died =
        |_| Error::new(Kind::Died, "the process that asks the kernel for namespaces ended without a word");
    postcard::from_bytes(&bytes).map_err(died)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_blamed_only_for_what_it_answers() {
        let refused = |filtered, errno: Errno| {
            let namespaces = Some(("clone(0x10000000)".to_owned(), errno as i32));
            Surroundings { filtered, namespaces, ..Surroundings::free() }.allow_namespaces().is_err()
        };
        assert!(refused(true, Errno::EPERM) && refused(true, Errno::ENOSYS));
        assert!(!refused(true, Errno::ENOSPC) && !refused(false, Errno::EPERM));
        assert_eq!(Surroundings::free().allow_namespaces(), Ok(()));
    }

    #[test]
    fn calls_that_are_refused_are_named() {
        let calls = vec!["fsopen".to_owned(), "open_tree".to_owned()];
        let refused = Surroundings { filtered: true, calls, ..Surroundings::free() }.allow_namespaces();
        assert!(
            refused.is_err_and(|e| e.kind() == Kind::Filtered && e.cause().contains("fsopen, open_tree"))
        );
    }
}
