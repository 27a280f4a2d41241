//! The run file: what a later command needs to clean up after a monitor that was killed.
//!
//! A hint, believed only as far as the kernel confirms it: the lock tells that no monitor lives, pid and start time
//! together with the boot id name one process and no other.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::path::Path;

use serde::{Deserialize, Serialize};
use types::IdMap;

use crate::error::Result;
use crate::place::StateDir;

const NAME: &str = "run";
const CAP: u64 = 1 << 20;

/// What it says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunFile {
    /// /proc/sys/kernel/random/boot_id.
    pub boot_id: String,
    /// Init's pid.
    pub init_pid: i32,
    /// Init's start time, in clock ticks since boot.
    pub init_start: u64,
    /// The cgroups.
    pub cgroups: cgroup::Handle,
    /// Those of the monitor itself.
    pub monitor_cgroups: Option<cgroup::Handle>,
    /// The id map, since what systemd made inside its cgroups belongs to container root.
    pub idmap: IdMap,
    /// The container is to be destroyed when it stops.
    pub ephemeral: bool,
}

impl RunFile {
    /// Writes the file into Bryo's directory of the container.
    pub fn write(&self, state: &StateDir) -> Result<()> {
        let bytes = postcard::to_stdvec(self).unwrap_or_default();
        Ok(sys::path::write_new(state.fd(), OsStr::new(NAME), 0o600, &bytes)?)
    }

    /// Reads the file; none when there is none or it is of another build.
    pub fn read(state: &StateDir) -> Option<Self> {
        let bytes = sys::path::read_small(state.fd(), Path::new(NAME), CAP).ok()?;
        postcard::from_bytes(&bytes).ok()
    }

    /// Returns a pidfd of init if it is still the same process.
    pub fn living_init(&self) -> Option<std::os::fd::OwnedFd> {
        let pidfd = sys::process::pidfd(self.init_pid).ok()?;
        let same = boot_id() == self.boot_id && start_time(self.init_pid) == Some(self.init_start);
        (same && !sys::process::has_ended(pidfd.as_fd())).then_some(pidfd)
    }
}

/// Returns the identity of this boot of the kernel.
pub(crate) fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// Returns when a process started, field 22 of /proc/PID/stat (proc_pid_stat(5)).
pub(crate) fn start_time(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field, the name in parentheses, may hold anything; the last parenthesis ends it.
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_a_start_time_and_a_dead_one_has_none() {
        assert!(start_time(std::process::id() as i32).is_some_and(|t| t > 0));
        assert_eq!(start_time(i32::MAX), None);
    }
}
