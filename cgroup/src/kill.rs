//! The processes of a group: who they are, and ending them all.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sys::{path, process};
use types::Signal;

use crate::group::{Act, Error, Group, Member};
use crate::tree;

/// Why processes are left in a group that was killed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum KillError {
    /// The processes cannot be listed.
    #[error(transparent)]
    Kernel(#[from] Error),
    /// Processes that SIGKILL did not end in time: they hang in the kernel, or the caller may not signal them.
    #[error("processes {pids:?} of {} did not end", path.display())]
    Left {
        /// A directory of the group.
        path: PathBuf,
        /// Those that the caller's PID namespace shows.
        pids: Vec<i32>,
    },
}

/// How long one round of signals waits for its effect.
const ROUND: Duration = Duration::from_millis(100);

/// How long to wait before looking again where nothing announces a change.
const PAUSE: Duration = Duration::from_millis(5);

impl Group {
    /// Returns the processes of the group and of all groups below it, in any hierarchy, as the caller's PID namespace
    /// counts them.
    ///
    /// # Errors
    /// A directory that cannot be read.
    pub fn pids(&self) -> Result<Vec<i32>, Error> {
        let mut all = Vec::new();
        for member in &self.members {
            all.extend(tree::pids(member.dir.as_fd()).map_err(|e| Error::new(Act::List, &member.path, e))?);
        }
        all.sort_unstable();
        all.dedup();
        Ok(all)
    }

    /// Tells whether no hierarchy holds a process of the group. A directory that cannot be read counts as in use.
    pub fn is_empty(&self) -> bool {
        self.members.iter().all(|m| matches!(tree::is_populated(m.dir.as_fd()), Ok(false)))
    }

    /// Waits until the group is empty, and tells whether it is.
    pub fn wait_empty(&self, patience: Duration) -> bool {
        let end = Instant::now() + patience;
        let events = self.unified().and_then(|m| open_events(m).ok());
        loop {
            // Read first, so that a change after the look at the group ends the wait below.
            let watched = events.as_ref().filter(|fd| path::reread(fd.as_fd(), 4096).is_ok());
            if self.is_empty() {
                return true;
            }
            let rest = end.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                return false;
            }
            // v1 announces nothing, so even beside v2 the wait is short.
            match watched {
                Some(fd) if path::wait_change(fd.as_fd(), rest.min(PAUSE * 4)).is_ok() => {}
                _ => std::thread::sleep(rest.min(PAUSE)),
            }
        }
    }

    /// Ends all processes of the group with SIGKILL, and returns when they have ended; a frozen group, too.
    ///
    /// By cgroup.kill (since Linux 5.14), which nothing that forks can outrun. Else the group is frozen for
    /// the signals where it has a freezer, and it is done again until nothing is left.
    ///
    /// # Errors
    /// As in [`KillError`], after `patience`.
    pub fn kill(&self, patience: Duration) -> Result<(), KillError> {
        let end = Instant::now() + patience;
        if self.kill_at_once() && self.wait_empty(patience / 2) {
            return Ok(());
        }
        while !self.is_empty() {
            self.kill_each()?;
            if !self.wait_empty(ROUND) && Instant::now() >= end {
                let path = self.members.first().map(|m| m.path.clone()).unwrap_or_default();
                return Err(KillError::Left { path, pids: self.pids()? });
            }
        }
        Ok(())
    }

    /// Tells whether the kernel took the order.
    fn kill_at_once(&self) -> bool {
        self.unified().is_some_and(|m| tree::write(m.dir.as_fd(), "cgroup.kill", "1").is_ok())
    }

    fn kill_each(&self) -> Result<(), Error> {
        // Neither is needed for the signals to arrive sooner or later, so a failure is none of the killing.
        let _ = self.freeze(ROUND);
        let signalled = self.signal(Signal::KILL);
        let _ = self.thaw(ROUND);
        signalled
    }

    /// Sends a signal to every process of the group. What ends meanwhile, or may not be signalled, is passed over.
    ///
    /// # Errors
    /// A directory that cannot be read.
    pub fn signal(&self, signal: Signal) -> Result<(), Error> {
        let open = |pid: i32| process::pidfd(pid).ok().map(|fd| (pid, fd));
        let held: Vec<(i32, OwnedFd)> = self.pids()?.into_iter().filter_map(open).collect();
        // A pid can go to a stranger between the listing and the opening; one that is still listed with the pidfd
        // open is meant.
        let listed = self.pids()?;
        for (pid, fd) in held {
            if listed.binary_search(&pid).is_ok() {
                let _ = process::send_signal(fd.as_fd(), signal);
            }
        }
        Ok(())
    }
}

fn open_events(member: &Member) -> sys::Result<OwnedFd> {
    path::open_read_at(member.dir.as_fd(), Path::new("cgroup.events"))
}
