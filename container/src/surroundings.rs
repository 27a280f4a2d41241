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
        let filtered = seccomp::is_filtered();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let is_whole = visible::PROC.is_whole(&mounts) && visible::SYS.is_whole(&mounts);
        if !filtered {
            let unconfined = Self { clone3: probe::has_clone3(), ..Self::free() };
            return if is_whole { Ok(unconfined) } else { unconfined.asked() };
        }
        let clone3 = survives(probe::has_clone3)?;
        Self { filtered, clone3, ..Self::free() }.asked()
    }

    /// Asks in namespaces. A filter may kill who asks, so that happens in a process of its own; when it ends without a word,
    /// another asks in a way that tells which call it was.
    fn asked(self) -> Result<Self> {
        for how in [How::AtOnce, How::OneByOne] {
            match ask_in_namespaces(how)? {
                Some(Ok(found)) => {
                    let Found { calls, hostname, scoped_signals, proc, sysfs } = found;
                    return Ok(Self { calls, hostname, scoped_signals, proc, sysfs, ..self });
                }
                Some(Err(refused)) => return Ok(Self { namespaces: Some(refused), ..self }),
                None => {}
            }
        }
        let killed = format!("who clones into {:#x} is killed", flags::NAMESPACES);
        Ok(Self { namespaces: Some((killed, Errno::EPERM as i32)), ..self })
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

/// How the calls are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// By the one process.
    AtOnce,
    /// By one process each: one that does not survive it is an answer too.
    OneByOne,
}

/// What a process in its own namespaces found, or how they are refused; nothing when it was killed.
type Told = Option<std::result::Result<Found, (String, i32)>>;

fn ask_in_namespaces(how: How) -> Result<Told> {
    let (reader, writer) = std::io::pipe().map_err(crate::place::from_io)?;
    match process::fork()? {
        Cloned::Child => {
            drop(reader);
            leave_no_core();
            let pipe = File::from(OwnedFd::from(writer));
            match process::clone(flags::NAMESPACES, None) {
                Ok(Cloned::Child) => tell(pipe, &Ok(look(how))),
                Ok(Cloned::Parent { pidfd, .. }) => {
                    let _ended = process::wait(pidfd.as_fd());
                }
                Err(e) => tell(pipe, &Err((e.to_string(), e.errno() as i32))),
            }
            process::exit_now(0)
        }
        Cloned::Parent { pidfd, .. } => {
            drop(writer);
            let told = hear(File::from(OwnedFd::from(reader)));
            process::wait(pidfd.as_fd())?;
            told
        }
    }
}

/// Asks a question in a process of its own; false too when that is killed.
fn survives(question: impl FnOnce() -> bool) -> Result<bool> {
    match process::fork()? {
        Cloned::Child => {
            leave_no_core();
            process::exit_now(i32::from(!question()))
        }
        Cloned::Parent { pidfd, .. } => Ok(process::wait(pidfd.as_fd())? == process::Exit::Code(0)),
    }
}

/// SIGSYS, by which filters kill, is one of the signals that leave a core.
fn leave_no_core() {
    let _leaves_one = process::set_dumpable(false);
}

fn look(how: How) -> Found {
    if how == How::OneByOne {
        return look_one_by_one();
    }
    Found {
        calls: refused(probe::refuses_mounting_call),
        hostname: !probe::refuses_hostname(),
        proc: fresh("proc"),
        sysfs: fresh("sysfs"),
        // Last, since it stays in force.
        scoped_signals: landlock::keep_signals_inside().is_ok(),
    }
}

/// Without a look at what is mounted with the calls, since some of them kill.
fn look_one_by_one() -> Found {
    let can = |question: &dyn Fn() -> bool| survives(question).unwrap_or(false);
    Found {
        calls: refused(|call| !can(&|| !probe::refuses_mounting_call(call))),
        hostname: can(&|| !probe::refuses_hostname()),
        proc: Fresh::Refused,
        sysfs: Fresh::Refused,
        scoped_signals: can(&|| landlock::keep_signals_inside().is_ok()),
    }
}

fn refused(is_refused: impl Fn(&str) -> bool) -> Vec<String> {
    probe::mounting_calls().filter(|call| is_refused(call)).map(str::to_owned).collect()
}

fn fresh(fstype: &str) -> Fresh {
    let mounts = |attrs| mount::new_filesystem(fstype, &[], attrs).is_ok();
    match () {
        () if mounts(INERT) => Fresh::Writable,
        () if mounts(INERT | attr::RDONLY) => Fresh::ReadOnly,
        () => Fresh::Refused,
    }
}

fn tell(mut pipe: File, told: &std::result::Result<Found, (String, i32)>) {
    let bytes = postcard::to_stdvec(told).unwrap_or_default();
    let _nobody_listens = pipe.write_all(&bytes);
}

fn hear(mut pipe: File) -> Result<Told> {
    let mut bytes = Vec::new();
    pipe.read_to_end(&mut bytes).map_err(crate::place::from_io)?;
    Ok(postcard::from_bytes(&bytes).ok())
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
