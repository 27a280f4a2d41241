//! The run file: what a later command needs to clean up after a monitor that was killed.
//!
//! A hint, believed only as far as the kernel confirms it: the lock tells that no monitor lives, pid and start time
//! together with the boot id name one process and no other, inode numbers one cgroup of that boot.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use serde::{Deserialize, Serialize};
use sys::{Errno, process};
use types::IdMap;

use crate::cgroups::Identity;
use crate::error::{Doing, Error, Kind, Result};
use crate::leftovers::Traces;
use crate::place::{StateDir, from_io};
use crate::plan::StartPlan;
use crate::start::Begun;

const NAME: &str = "run";
/// The first byte of the file. Whatever the version, the boot's identity comes next, as the first field.
const VERSION: u8 = 4;
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
    pub(super) fn of(plan: &StartPlan, names: cgroup::Names) -> Result<Self> {
        Ok(Self {
            boot_id: boot_id()?,
            host: plan.cgroup.host.clone(),
            names,
            idmap: plan.idmap.clone(),
            ephemeral: plan.ephemeral,
            has_run: false,
            init: None,
            cgroups: Identity::default(),
            traces: None,
        })
    }

    /// Returns the file with a container in it, of which nothing need run yet: the monitor may be killed at any moment.
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

    /// Reads the file; none when there is none. One that makes no sense, or is of another version, is none as well if another
    /// boot of the kernel has left it: then nothing that it tells of is there any more.
    ///
    /// # Errors
    /// A file that cannot be read, or that this boot has left and nobody here understands.
    pub fn read(state: &StateDir) -> Result<Option<Self>> {
        let bytes = match sys::path::read_small(state.fd(), Path::new(NAME), CAP) {
            Err(e) if e.errno() == Errno::ENOENT => return Ok(None),
            read => read.doing("reading the run file")?,
        };
        let Some((version, body)) = bytes.split_first() else { return Ok(None) };
        if let (&VERSION, Ok(run)) = (version, postcard::from_bytes(body)) {
            return Ok(Some(run));
        }
        match postcard::take_from_bytes::<String>(body) {
            Ok((boot, _)) if boot == boot_id()? => {
                let cause = format!(
                    "another version of Bryo has started the container and was killed (run file {version}, here \
                     {VERSION}); its bryo, or a reboot of the host, cleans up"
                );
                Err(Error::new(Kind::Build, cause))
            }
            _ => Ok(None),
        }
    }

    /// Tells whether it is of this boot of the kernel; the cgroups and processes of another are gone.
    pub fn is_of_this_boot(&self) -> Result<bool> {
        Ok(boot_id()? == self.boot_id)
    }

    /// Returns a pidfd of init if it is still the same process.
    pub fn living_init(&self) -> Option<OwnedFd> {
        let init = self.init.as_ref()?;
        let pidfd = process::pidfd(init.pid).ok()?;
        let is_of_this_boot = self.is_of_this_boot().unwrap_or(false);
        let same = is_of_this_boot && process::start_time(init.pid) == Some(init.start);
        (same && !process::has_ended(pidfd.as_fd())).then_some(pidfd)
    }
}

/// Returns the identity of this boot of the kernel.
fn boot_id() -> Result<String> {
    const FILE: &str = "/proc/sys/kernel/random/boot_id";
    let text = std::fs::read_to_string(FILE).map_err(from_io).doing_with(|| format!("reading {FILE}"))?;
    match text.trim() {
        "" => Err(Error::new(Kind::Died, format!("{FILE} is empty"))),
        id => Ok(id.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{Caller, IdWriter};
    use crate::place::Place;

    fn file(boot_id: &str) -> RunFile {
        RunFile {
            boot_id: boot_id.to_owned(),
            host: cgroup::Host::default(),
            names: cgroup::Names::new(&"web".parse().unwrap(), &cgroup::Settings::default()).unwrap(),
            idmap: IdMap::default(),
            ephemeral: false,
            has_run: true,
            init: None,
            cgroups: Identity::default(),
            traces: None,
        }
    }

    /// What is read where the file holds these bytes.
    fn read(bytes: &[u8]) -> Result<Option<RunFile>> {
        let dir = tempfile::tempdir().unwrap();
        let place = Place { lxcpath: dir.path().to_owned(), name: "web".parse().unwrap() };
        let (state, _lock) = place.lock().unwrap();
        std::fs::write(place.dir().join(".bryo").join(NAME), bytes).unwrap();
        RunFile::read(&state)
    }

    fn written(version: u8, boot_id: &str) -> Vec<u8> {
        postcard::to_extend(&file(boot_id), vec![version]).unwrap()
    }

    #[test]
    fn a_file_says_whether_it_is_of_this_boot() {
        let of_this_boot =
            |boot: &str| read(&written(VERSION, boot)).unwrap().unwrap().is_of_this_boot().unwrap();
        assert!(of_this_boot(&boot_id().unwrap()) && !of_this_boot("another") && !of_this_boot(""));
    }

    #[test]
    fn what_another_version_has_left_in_this_boot_is_not_forgotten() {
        let refused = read(&written(VERSION + 1, &boot_id().unwrap())).unwrap_err();
        assert!(
            refused.kind() == Kind::Build && refused.cause().contains("another version of Bryo"),
            "{refused}"
        );
        assert!(read(&written(VERSION + 1, "another")).unwrap().is_none());
        let whole = written(VERSION, &boot_id().unwrap());
        assert!(read(&whole[..whole.len() - 1]).is_err());
    }

    #[test]
    fn what_a_crash_of_the_machine_has_left_is_none() {
        assert!(read(&[]).unwrap().is_none());
        assert!(read(&[0; 200]).unwrap().is_none());
        assert!(read(&[VERSION, 0xff]).unwrap().is_none());
    }

    #[test]
    fn a_file_that_cannot_be_read_is_there_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place { lxcpath: dir.path().to_owned(), name: "web".parse().unwrap() };
        let (state, lock) = place.lock().unwrap();
        assert!(RunFile::read(&state).unwrap().is_none());
        std::fs::create_dir(place.dir().join(".bryo").join(NAME)).unwrap();
        assert_eq!(RunFile::read(&state).unwrap_err().errno(), Some(Errno::EISDIR));
        drop(lock);
        let caller = Caller { uid: types::HostUid(0), gid: types::HostGid(0), name: None };
        assert!(crate::monitor::recover(&place, &IdWriter::Direct, &caller).is_err());
        assert!(place.state_dir().unwrap().is_some(), "what tells of the run is gone");
    }
}
