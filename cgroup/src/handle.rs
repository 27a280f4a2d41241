//! A group written down, so that another process can open it again: to set a limit from the command line, or to clean
//! up after a monitor that was killed.

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sys::{Errno, path};

use crate::access::Host;
use crate::group::{Act, Error, Group, Member};
use crate::layout::Version;
use crate::tree;

/// A group in writing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handle {
    /// The host as it was when the group was made.
    pub host: Host,
    /// The directories.
    pub places: Vec<HandlePlace>,
}

/// One directory of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandlePlace {
    /// The version of its hierarchy.
    pub version: Version,
    /// The v1 controllers of its hierarchy.
    pub controllers: Vec<String>,
    /// Its absolute path in the mount namespace of the monitor.
    pub path: PathBuf,
}

/// The magic numbers of the two file systems. Source: statfs(2), linux/magic.h.
const CGROUP_MAGIC: u64 = 0x0027_e0eb;
const CGROUP2_MAGIC: u64 = 0x6367_7270;

impl Group {
    /// Writes the group down.
    pub fn handle(&self) -> Handle {
        let place = |m: &Member| HandlePlace {
            version: m.version,
            controllers: m.controllers.clone(),
            path: m.path.clone(),
        };
        Handle { host: (*self.host).clone(), places: self.members.iter().map(place).collect() }
    }
}

impl Handle {
    /// Opens the group where it still exists; the result may be nowhere. The words are a hint: a path that is not on a
    /// cgroup file system of the right version counts as gone, so nothing else can ever be removed or written to. That
    /// the group is still the same container's is for the caller to know (a pid in it, the boot id).
    ///
    /// # Errors
    /// A directory that exists and cannot be opened.
    pub fn open(&self) -> Result<Group, Error> {
        let mut members = Vec::new();
        for place in &self.places {
            match place.open() {
                Ok(member) => members.extend(member),
                Err(e) if matches!(e.errno(), Errno::ENOENT | Errno::ENOTDIR) => {}
                Err(e) => return Err(Error::new(Act::Open, &place.path, e)),
            }
        }
        Ok(Group { host: Arc::new(self.host.clone()), members })
    }
}

impl HandlePlace {
    fn open(&self) -> sys::Result<Option<Member>> {
        let dir = path::open_dir(&self.path)?;
        let magic = match self.version {
            Version::V1 => CGROUP_MAGIC,
            Version::V2 => CGROUP2_MAGIC,
        };
        let is_cgroup =
            path::filesystem_magic(dir.as_fd())? == magic && tree::has(dir.as_fd(), "cgroup.procs");
        let (version, controllers, path) = (self.version, self.controllers.clone(), self.path.clone());
        Ok(is_cgroup.then_some(Member { version, controllers, path, dir }))
    }
}
