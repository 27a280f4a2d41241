//! Stopping all processes of a group and letting them go on.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sys::path;

use crate::access::{Access, Verdict};
use crate::group::{Act, Error, Group, Member};
use crate::layout::Version;
use crate::tree;

/// Why a group was not frozen or thawed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FreezeError {
    /// The group is in no hierarchy with a freezer: neither v2 since Linux 5.2 nor the v1 controller `freezer`.
    #[error("no freezer: {}", reasons(candidates))]
    NoFreezer {
        /// The hierarchies that have one, by name, and why they cannot be used; none when none is mounted.
        candidates: Vec<(String, Verdict)>,
    },
    /// The kernel refused.
    #[error(transparent)]
    Kernel(#[from] Error),
    /// The processes did not all stop in time (one may hang in the kernel), and the group was thawed again.
    #[error("the processes of {} did not all stop in time; they go on running", .0.display())]
    NotFrozen(PathBuf),
    /// The group is still frozen: a group above it is.
    #[error("{} stays frozen, because a cgroup above it is frozen", .0.display())]
    NotThawed(PathBuf),
}

fn reasons(candidates: &[(String, Verdict)]) -> String {
    if candidates.is_empty() {
        return "no cgroup hierarchy with a freezer is mounted".to_owned();
    }
    candidates.iter().map(|(name, why)| format!("{name}: {why}")).collect::<Vec<_>>().join("; ")
}

/// How long to wait before looking again at a file that does not announce its changes.
const PAUSE: Duration = Duration::from_millis(5);

/// The freezer of a group. v2's is taken first: unlike v1's it lets SIGKILL through.
enum Freezer<'a> {
    Unified(&'a Member),
    V1(&'a Member),
}

impl Group {
    fn freezer(&self) -> Result<Freezer<'_>, FreezeError> {
        if let Some(member) = self.unified().filter(|m| tree::has(m.dir.as_fd(), "cgroup.freeze")) {
            return Ok(Freezer::Unified(member));
        }
        let found = self.v1_with("freezer").map(Freezer::V1);
        found.ok_or_else(|| FreezeError::NoFreezer { candidates: self.freezer_candidates() })
    }

    fn freezer_candidates(&self) -> Vec<(String, Verdict)> {
        let has = |a: &&Access| a.version == Version::V2 || a.controllers.iter().any(|c| c == "freezer");
        self.host.accesses.iter().filter(has).map(|a| (a.label.clone(), a.verdict.clone())).collect()
    }

    /// Stops all processes of the group, and returns when they have stopped. A frozen group stays so.
    ///
    /// # Errors
    /// As in [`FreezeError`]; after each the processes run as before.
    pub fn freeze(&self, patience: Duration) -> Result<(), FreezeError> {
        let freezer = self.freezer()?;
        let (member, frozen) = (freezer.member(), freezer.set(true, patience));
        match frozen {
            Ok(true) => Ok(()),
            Ok(false) => {
                freezer.set(false, Duration::ZERO).map_err(|e| Error::new(Act::Freeze, &member.path, e))?;
                Err(FreezeError::NotFrozen(member.path.clone()))
            }
            Err(e) => Err(Error::new(Act::Freeze, &member.path, e).into()),
        }
    }

    /// Lets the processes of the group go on. A group that is not frozen stays so.
    ///
    /// # Errors
    /// As in [`FreezeError`].
    pub fn thaw(&self, patience: Duration) -> Result<(), FreezeError> {
        let freezer = self.freezer()?;
        let member = freezer.member();
        match freezer.set(false, patience) {
            Ok(true) => Ok(()),
            Ok(false) => Err(FreezeError::NotThawed(member.path.clone())),
            Err(e) => Err(Error::new(Act::Freeze, &member.path, e).into()),
        }
    }

    /// Lets go on what was frozen in the group or any group below it, whoever froze it: of a frozen process of v1 not even
    /// SIGKILL is an end. v2 ends frozen processes, so there is nothing to do.
    ///
    /// # Errors
    /// The first group that could not be thawed; the others are all the same. Groups that the container made belong to
    /// container root, the group itself to the caller: it takes both of them to thaw all.
    pub fn thaw_all_below(&self) -> Result<(), Error> {
        let Some(member) = self.v1_with("freezer") else { return Ok(()) };
        let mut first = Ok(());
        let walked = tree::walk(member.dir.as_fd(), |dir| {
            let thawed = tree::write(dir, "freezer.state", "THAWED");
            if first.is_ok() {
                first = thawed;
            }
            Ok(())
        });
        walked.and(first).map_err(|e| Error::new(Act::Freeze, &member.path, e))
    }

    /// Tells whether all processes of the group are stopped.
    ///
    /// # Errors
    /// As in [`FreezeError`].
    pub fn is_frozen(&self) -> Result<bool, FreezeError> {
        let freezer = self.freezer()?;
        let open = freezer.open_state().and_then(|state| freezer.is_frozen(&state));
        Ok(open.map_err(|e| Error::new(Act::Freeze, &freezer.member().path, e))?)
    }
}

impl Freezer<'_> {
    fn member(&self) -> &Member {
        match self {
            Self::Unified(member) | Self::V1(member) => member,
        }
    }

    /// Sets the state, and tells whether it was reached within `patience`.
    fn set(&self, frozen: bool, patience: Duration) -> sys::Result<bool> {
        let state = self.open_state()?;
        let end = Instant::now() + patience;
        self.ask(frozen)?;
        loop {
            if self.is_frozen(&state)? == frozen {
                return Ok(true);
            }
            let rest = end.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                return Ok(false);
            }
            self.wait(&state, rest, frozen)?;
        }
    }

    fn ask(&self, frozen: bool) -> sys::Result<()> {
        let dir = self.member().dir.as_fd();
        match self {
            Self::Unified(_) => tree::write(dir, "cgroup.freeze", if frozen { "1" } else { "0" }),
            Self::V1(_) => tree::write(dir, "freezer.state", if frozen { "FROZEN" } else { "THAWED" }),
        }
    }

    fn open_state(&self) -> sys::Result<OwnedFd> {
        let name = match self {
            Self::Unified(_) => "cgroup.events",
            Self::V1(_) => "freezer.state",
        };
        path::open_read_at(self.member().dir.as_fd(), Path::new(name))
    }

    fn is_frozen(&self, state: &OwnedFd) -> sys::Result<bool> {
        let bytes = path::reread(state.as_fd(), 4096)?;
        let text = String::from_utf8_lossy(&bytes);
        Ok(match self {
            Self::Unified(_) => tree::value_in(&text, "frozen") == Some(1),
            Self::V1(_) => text.trim() == "FROZEN",
        })
    }

    /// v2 tells of the change. v1 does not, and moves from FREEZING on only when it is asked again, since a process
    /// that was forked meanwhile may have been missed. Source: the kernel's freezer-subsystem documentation.
    fn wait(&self, state: &OwnedFd, rest: Duration, frozen: bool) -> sys::Result<()> {
        match self {
            Self::Unified(_) => path::wait_change(state.as_fd(), rest).map(drop),
            Self::V1(_) => {
                std::thread::sleep(PAUSE.min(rest));
                self.ask(frozen)
            }
        }
    }
}
