//! The processes of a container that has no PID namespace of its own: no kernel ends them with its init.
//!
//! They are known by their user namespace, which no process can leave: the container's, or one below it. So whoever was
//! forked and orphaned, in whatever session, is found.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sys::{namespace, path, process};
use types::Signal;

use crate::error::{Error, Kind, Result};

/// How long processes that fork on and on may take to end.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a killed process is given before they are counted again.
const PAUSE: Duration = Duration::from_millis(5);
/// The kernel nests no deeper. Source: user_namespaces(7).
const DEEPEST: usize = 33;

/// What a later command recognises them by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traces {
    /// The inode number of the user namespace. It is given again when the last process of it has ended.
    user: u64,
    /// The root file system, which tells whether it was.
    rootfs: PathBuf,
}

impl Traces {
    /// Returns those of a container that runs.
    pub(crate) fn of(user: BorrowedFd<'_>, rootfs: &Path) -> Result<Self> {
        Ok(Self { user: namespace::identity(user)?, rootfs: rootfs.to_owned() })
    }
}

/// Ends all processes of a user namespace and of those below it.
///
/// # Errors
/// Some do not end, or fork faster than they are ended.
pub(crate) fn end(user: BorrowedFd<'_>) -> Result<()> {
    end_all(namespace::identity(user)?)
}

/// Ends what a container has left whose monitor was killed.
pub(crate) fn end_by(traces: &Traces) -> Result<()> {
    let Some(rootfs) = identity(&traces.rootfs) else { return Ok(()) };
    let is_theirs = |process: &Living| process.root() == Some(rootfs);
    if living(traces.user).iter().any(is_theirs) { end_all(traces.user) } else { Ok(()) }
}

/// Returns which directory a path leads to: its device and inode number.
fn identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

/// So many looks in a row find nobody before it is believed: a process that forks and ends is gone before it is looked at,
/// and its child was not there when the look began.
const LOOKS: u32 = 8;

fn end_all(user: u64) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let mut nobody = 0;
    while nobody < LOOKS {
        let left = living(user);
        if left.is_empty() {
            nobody += 1;
            continue;
        }
        nobody = 0;
        if Instant::now() > deadline {
            let cause = format!("{} processes of the container do not end", left.len());
            return Err(Error::new(Kind::Died, cause));
        }
        for process in left {
            let _ended_just_now = process::send_signal(process.pidfd.as_fd(), Signal::KILL);
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// Returns the processes of a user namespace and of those below it.
fn living(user: u64) -> Vec<Living> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(Living::of).filter(|process| process.is_in(user)).collect()
}

/// A process that has not ended.
struct Living {
    pidfd: OwnedFd,
    proc: OwnedFd,
}

impl Living {
    /// Takes hold of a process; none when it has ended. The pidfd comes first: what is then looked up by the number may be
    /// of a later process of that number, but the signal never goes to it.
    fn of(pid: i32) -> Option<Self> {
        let pidfd = process::pidfd(pid).ok()?;
        let proc = namespace::proc_dir(pid).ok()?;
        (!process::has_ended(pidfd.as_fd())).then_some(Self { pidfd, proc })
    }

    /// Tells whether it is in a user namespace or below. The namespaces of strangers cannot be opened.
    fn is_in(&self, user: u64) -> bool {
        let own = namespace::of_process(self.proc.as_fd(), "user").ok();
        let above = |below: &OwnedFd| namespace::parent(below.as_fd()).ok();
        let mut chain = std::iter::successors(own, above).take(DEEPEST);
        chain.any(|namespace| namespace::identity(namespace.as_fd()).is_ok_and(|found| found == user))
    }

    /// Returns which directory its root is.
    fn root(&self) -> Option<(u64, u64)> {
        identity(&path::of_fd(&self.proc).join("root"))
    }
}
