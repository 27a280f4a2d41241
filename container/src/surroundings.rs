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
use sys::{Errno, landlock, refused, seccomp};

use crate::error::{Error, Kind, Result};

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
            Self { filtered: seccomp::is_filtered(), clone3: refused::has_clone3(), ..Self::free() };
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        if !unconfined.filtered && !shows_masks(&mounts) {
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
        calls: refused::refused_mounting_calls().map(str::to_owned).collect(),
        hostname: !refused::refuses_hostname(),
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

/// Tells whether a mountinfo file shows that parts of /proc or /sys are masked or read-only. Source: proc_pid_mountinfo(5).
fn shows_masks(mountinfo: &str) -> bool {
    mountinfo.lines().any(|line| {
        let mut fields = line.split(' ').skip(4);
        let (Some(point), Some(options)) = (fields.next(), fields.next()) else { return false };
        let read_only = options.split(',').any(|option| option == "ro");
        match point {
            // The kernel keeps an empty directory for it, which hides nothing.
            "/proc/sys/fs/binfmt_misc" => false,
            "/proc" | "/sys" => read_only,
            _ => point.starts_with("/proc/") || is_masked_in_sys(point),
        }
    })
}

/// Other file systems are mounted below /sys everywhere, on directories that the kernel keeps empty for them.
fn is_masked_in_sys(point: &str) -> bool {
    point == "/sys/firmware" || point.starts_with("/sys/devices/")
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = "\
22 27 0:21 / /proc rw,nosuid,relatime shared:5 - proc proc rw
23 22 0:22 / /proc/sys/fs/binfmt_misc rw,relatime shared:6 - autofs systemd-1 rw
24 27 0:23 / /sys rw,nosuid shared:7 - sysfs sysfs rw
25 24 0:24 / /sys/kernel/security rw,nosuid shared:8 - securityfs securityfs rw
26 24 0:25 / /sys/firmware/efi/efivars rw shared:9 - efivarfs efivarfs rw
";

    #[test]
    fn masks_are_told_from_what_is_mounted_everywhere() {
        assert!(!shows_masks(WHOLE) && !shows_masks(""));
        for mask in [
            "30 22 0:30 /null /proc/kcore rw - tmpfs tmpfs rw",
            "31 22 0:21 /sys /proc/sys ro,nosuid - proc proc rw",
            "32 24 0:31 / /sys/firmware ro - tmpfs tmpfs ro",
            "33 27 0:22 / /sys ro,nosuid - sysfs sysfs rw",
        ] {
            assert!(shows_masks(&format!("{WHOLE}{mask}\n")), "{mask}");
        }
    }

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
