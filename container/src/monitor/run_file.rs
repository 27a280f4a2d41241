//! The run file: what a later command needs to clean up after a monitor that was killed.
//!
//! A hint, believed only as far as the kernel confirms it: the lock tells that no monitor lives, pid and start time
//! together with the boot id name one process and no other, inode numbers one cgroup of that boot.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use serde::{Deserialize, Serialize};
use sys::process;
use types::IdMap;

use crate::cgroups::Identity;
use crate::error::{Error, Kind, Result};
use crate::leftovers::Traces;
use crate::place::StateDir;
use crate::plan::StartPlan;
use crate::start::{Begun, Running};

const NAME: &str = "run";
/// The first byte of the file.
const VERSION: u8 = 3;
const CAP: u64 = 1 << 20;

/// What it says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunFile {
    /// /proc/sys/kernel/random/boot_id.
    pub boot_id: String,
    /// The cgroups that the base is in.
    pub host: cgroup::Host,
    /// The names of the container's cgroups. They may not exist yet, or no more.
    pub names: cgroup::Names,
    /// The id map, since what systemd made inside its cgroups belongs to container root.
    pub idmap: IdMap,
    /// The container is to be destroyed when it has run.
    pub ephemeral: bool,
    /// It runs, or has.
    pub has_run: bool,
    /// Init, once there is one.
    pub init: Option<InitProcess>,
    /// Which cgroups the names meant then; somebody else may have the names by now.
    pub cgroups: Identity,
    /// What tells its processes, where they do not end with init.
    pub traces: Option<Traces>,
}

/// One process of one boot, and no other that may get its pid later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InitProcess {
    /// Its pid.
    pub pid: i32,
    /// When it started, in clock ticks since boot.
    pub start: u64,
}

impl RunFile {
    /// Makes the file of a container that is about to be started.
    pub(super) fn of(plan: &StartPlan, names: cgroup::Names) -> Self {
        Self {
            boot_id: boot_id(),
            host: plan.cgroup.host.clone(),
            names,
            idmap: plan.idmap.clone(),
            ephemeral: plan.ephemeral,
            has_run: false,
            init: None,
            cgroups: Identity::default(),
            traces: None,
        }
    }

    /// Returns the file with a container in it of which nothing runs yet: the monitor may be killed at any moment from now.
    pub(super) fn with(&self, plan: &StartPlan, begun: &Begun<'_>) -> Result<Self> {
        let pid = begun.pid;
        let traces = || Traces::of(begun.user, begun.mark.cloned(), &plan.rootfs.path);
        Ok(Self {
            init: process::start_time(pid).map(|start| InitProcess { pid, start }),
            cgroups: begun.cgroup.identity(),
            traces: plan.shares_pids().then(traces).transpose()?,
            ..self.clone()
        })
    }

    /// Returns the file with a container in it that runs.
    pub(super) fn with_running(&self, plan: &StartPlan, running: &Running) -> Result<Self> {
        Ok(Self { has_run: true, ..self.with(plan, &running.begun())? })
    }

    /// Writes the file into Bryo's directory of the container, as a whole.
    pub fn write(&self, state: &StateDir) -> Result<()> {
        let bytes = postcard::to_extend(self, vec![VERSION]);
        let bytes = bytes.map_err(|e| Error::new(Kind::Build, format!("writing the run file: {e}")))?;
        Ok(sys::path::replace_unsynced(state.fd(), OsStr::new(NAME), 0o600, &bytes)?)
    }

    /// Removes the file: nothing is left to clean up.
    pub(super) fn remove(state: &StateDir) -> Result<()> {
        Ok(sys::path::remove_file(state.fd(), OsStr::new(NAME))?)
    }

    /// Reads the file; none when there is none or it is of another version.
    pub fn read(state: &StateDir) -> Option<Self> {
        let bytes = sys::path::read_small(state.fd(), Path::new(NAME), CAP).ok()?;
        let (version, body) = bytes.split_first()?;
        if *version == VERSION { postcard::from_bytes(body).ok() } else { None }
    }

    /// Tells whether it is of this boot of the kernel; the cgroups and processes of another are gone.
    pub fn is_of_this_boot(&self) -> bool {
        boot_id() == self.boot_id
    }

    /// Returns a pidfd of init if it is still the same process.
    pub fn living_init(&self) -> Option<OwnedFd> {
        let init = self.init.as_ref()?;
        let pidfd = process::pidfd(init.pid).ok()?;
        let same = self.is_of_this_boot() && process::start_time(init.pid) == Some(init.start);
        (same && !process::has_ended(pidfd.as_fd())).then_some(pidfd)
    }
}

/// Returns the identity of this boot of the kernel.
fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}
