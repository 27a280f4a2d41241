//! What the caller may do with its own cgroup in each hierarchy, and if nothing, why.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sys::{Errno, path};

use crate::layout::{Hierarchy, Layout, Version};
use crate::tree::words_of;

/// Whether groups can be made in one hierarchy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// The version of the hierarchy.
    pub version: Version,
    /// Its name for messages: the v1 controllers, or `cgroup2`.
    pub label: String,
    /// The base cgroup's directory; the mountpoint where the base is not to be seen.
    pub dir: PathBuf,
    /// The controllers that groups below the base can have: of v1 those of the hierarchy, of v2 those that were
    /// delegated down to the base.
    pub controllers: Vec<String>,
    /// The controllers of the mount's root. On v2 more than `controllers` where an ancestor keeps some back.
    pub offered: Vec<String>,
    /// Whether groups can be made.
    pub verdict: Verdict,
}

/// Whether groups can be made below a base cgroup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// The caller can make groups there and put processes into them.
    Usable,
    /// The mount does not show the base cgroup.
    OutOfSight,
    /// The base is a threaded cgroup, which takes no processes in groups below it (cgroups(7), "Thread mode").
    Threaded,
    /// The kernel refuses to write.
    Refused {
        /// What would have to be writable: `.` for the directory itself, or a file in it.
        name: PathBuf,
        /// The refusal as a line of strace.
        call: String,
        /// Its error number.
        errno: i32,
    },
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Usable => f.write_str("usable"),
            Self::OutOfSight => f.write_str("the own cgroup is not below what is mounted"),
            Self::Threaded => f.write_str("the own cgroup is threaded"),
            Self::Refused { name, errno, .. } if name == Path::new(".") => {
                write!(f, "the directory is not writable ({})", Errno::from_raw(*errno).desc())
            }
            Self::Refused { name, errno, .. } => {
                write!(f, "{} is not writable ({})", name.display(), Errno::from_raw(*errno).desc())
            }
        }
    }
}

/// The cgroup facts of a host, as far as a group needs them to say why something cannot be done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// One entry for each mounted hierarchy.
    pub accesses: Vec<Access>,
    /// v1 controllers in use that are mounted nowhere in sight.
    pub unmounted: Vec<String>,
    /// The base is a scope that was asked for one container alone, and goes with it.
    pub is_scope: bool,
}

impl Host {
    /// Leaves out a v2 hierarchy in which nothing can be limited, where v1 has the controllers. A monitor is as well off
    /// in the base there, and need not wait for the kernel to move it.
    pub fn without_idle_unified(mut self) -> Self {
        let has_v1 = self.accesses.iter().any(|a| a.version == Version::V1 && a.is_usable());
        self.accesses.retain(|a| a.version == Version::V1 || !has_v1 || !a.controllers.is_empty());
        self
    }

    /// Finds out what the caller may do in each hierarchy of a layout. Reads alone; changes nothing.
    pub fn probe(layout: &Layout) -> Self {
        let accesses = layout.hierarchies.iter().map(Access::probe).collect();
        Self { accesses, unmounted: layout.unmounted.clone(), is_scope: false }
    }

    /// Returns the hierarchy of `version` that has `controller`, if one does.
    pub(crate) fn holder(&self, version: Version, controller: &str) -> Option<&Access> {
        let has = |a: &&Access| a.offered.iter().chain(&a.controllers).any(|c| c == controller);
        self.accesses.iter().filter(|a| a.version == version).find(has)
    }

    /// Returns the v2 hierarchy, if it is mounted.
    pub(crate) fn unified(&self) -> Option<&Access> {
        self.accesses.iter().find(|a| a.version == Version::V2)
    }
}

impl Access {
    /// Finds out what the caller may do in one hierarchy.
    pub fn probe(hierarchy: &Hierarchy) -> Self {
        let dir = hierarchy.own_dir();
        let (controllers, verdict) = match &dir {
            None => (hierarchy.controllers.clone(), Verdict::OutOfSight),
            Some(dir) => look_into(hierarchy, dir),
        };
        let offered = match hierarchy.version {
            Version::V1 => hierarchy.controllers.clone(),
            Version::V2 => offered_at(&hierarchy.mountpoint),
        };
        let (version, label) = (hierarchy.version, hierarchy.label());
        let dir = dir.unwrap_or_else(|| hierarchy.mountpoint.clone());
        Self { version, label, dir, controllers, offered, verdict }
    }

    /// Tells whether groups can be made here.
    pub fn is_usable(&self) -> bool {
        self.verdict == Verdict::Usable
    }
}

fn look_into(hierarchy: &Hierarchy, dir: &Path) -> (Vec<String>, Verdict) {
    let fd = match path::open_dir(dir) {
        Ok(fd) => fd,
        Err(e) => return (hierarchy.controllers.clone(), refused(Path::new("."), &e)),
    };
    match hierarchy.version {
        Version::V1 => (hierarchy.controllers.clone(), verdict_on(fd.as_fd(), &["."])),
        Version::V2 => {
            let controllers = words_of(fd.as_fd(), "cgroup.controllers").unwrap_or_default();
            (controllers, unified_verdict(fd.as_fd()))
        }
    }
}

/// A process may be moved on v2 only by who may write to the cgroup.procs of both the target and the nearest common
/// ancestor of source and target: for groups below the base, the base itself. Source: cgroups(7), "Delegation".
fn unified_verdict(base: BorrowedFd<'_>) -> Verdict {
    let kind = words_of(base, "cgroup.type").unwrap_or_default();
    if kind.iter().any(|word| word == "threaded") {
        return Verdict::Threaded;
    }
    verdict_on(base, &[".", "cgroup.procs"])
}

fn verdict_on(base: BorrowedFd<'_>, names: &[&str]) -> Verdict {
    let refusal =
        |name: &&str| path::may_write(base, Path::new(name)).err().map(|e| refused(Path::new(name), &e));
    names.iter().find_map(refusal).unwrap_or(Verdict::Usable)
}

fn refused(name: &Path, error: &sys::Error) -> Verdict {
    Verdict::Refused { name: name.to_owned(), call: error.to_string(), errno: error.errno() as i32 }
}

fn offered_at(mountpoint: &Path) -> Vec<String> {
    let root = path::open_dir(mountpoint);
    root.and_then(|fd| words_of(fd.as_fd(), "cgroup.controllers")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(version: Version, controllers: &[&str]) -> Access {
        Access {
            version,
            label: String::new(),
            dir: PathBuf::new(),
            controllers: controllers.iter().map(|c| (*c).to_owned()).collect(),
            offered: Vec::new(),
            verdict: Verdict::Usable,
        }
    }

    fn versions(accesses: &[Access]) -> Vec<Version> {
        let host = Host { accesses: accesses.to_vec(), ..Host::default() };
        host.without_idle_unified().accesses.iter().map(|a| a.version).collect()
    }

    #[test]
    fn v2_without_controllers_is_idle_only_beside_v1() {
        let (v1, idle, busy) =
            (access(Version::V1, &["memory"]), access(Version::V2, &[]), access(Version::V2, &["pids"]));
        assert_eq!(versions(&[v1.clone(), idle.clone()]), [Version::V1]);
        assert_eq!(versions(&[v1, busy.clone()]), [Version::V1, Version::V2]);
        assert_eq!(versions(std::slice::from_ref(&idle)), [Version::V2]);
        assert_eq!(versions(&[busy]), [Version::V2]);
    }
}
