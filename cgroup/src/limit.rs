//! Setting limits, and saying exactly why one cannot be set.
//!
//! A limit is a file of the group. When the file is not there, the reason lies with its controller: another version
//! has it, an ancestor keeps it back, or the group's parent could not enable it. [`Refusal`] tells which.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sys::Errno;

use crate::access::{Host, Verdict};
use crate::group::{Group, Member};
use crate::layout::Version;
use crate::tree;

/// One limit of a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// The version whose file is meant: v2 for `lxc.cgroup2.*`, v1 for `lxc.cgroup.*`.
    pub version: Version,
    /// The name of the file, as `memory.max` or `memory.limit_in_bytes`.
    pub key: String,
    /// What is written to it. The kernel reads it: `512M` is a number of bytes to it.
    pub value: String,
}

/// What came of one limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The limit.
    pub limit: Limit,
    /// Whether it is in force.
    pub result: Result<Applied, Refusal>,
}

/// How a limit was dealt with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Applied {
    /// The kernel has taken it.
    Written,
    /// A device rule, passed over: it needs root on the host, and a container without root has no devices to be kept
    /// from but those bound into it. LXC passes it over without a word.
    DeviceRuleSkipped,
}

/// A limit that cannot be set, or a value that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {reason}")]
pub struct Refusal {
    /// The version that was asked for.
    pub version: Version,
    /// The file.
    pub key: String,
    /// Why.
    pub reason: Box<Reason>,
}

/// Why a limit cannot be set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Not of the form `controller.file`, or a file that is no limit (`cgroup.procs`).
    #[error("not the name of a limit")]
    NotALimit,
    /// The host has no hierarchy of this version at all.
    #[error("no {} hierarchy is mounted", name_of(*.0))]
    NoHierarchy(Version),
    /// The hierarchy is there, but the caller can make no groups in it.
    #[error("no cgroup could be made in {} ({label}): {verdict}", dir.display())]
    NoAccess {
        /// The name of the hierarchy.
        label: String,
        /// The base cgroup.
        dir: PathBuf,
        /// What is in the way.
        verdict: Verdict,
    },
    /// The group has no such controller.
    #[error("the controller {controller} {missing}")]
    Controller {
        /// The controller.
        controller: String,
        /// Where it is lost.
        missing: Missing,
    },
    /// The controller is there and has no such file: a kernel too old, or built without, or a word misspelt.
    #[error("the kernel has no such file")]
    NoFile,
    /// The kernel refused to read or write the file.
    #[error("{0}")]
    Kernel(
        /// The call.
        sys::Error,
    ),
}

/// Where a controller is lost on its way to the group.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// The kernel does not have it or has it disabled; or, inside a container, nothing of it was passed in.
    #[error("is in no cgroup hierarchy here")]
    Everywhere,
    /// v2 was asked for, but it is mounted as v1, which takes it away from v2; or the other way round.
    #[error("is mounted as {} on this host", name_of(*.0))]
    OtherVersion(Version),
    /// A v1 hierarchy has it that is mounted nowhere in sight.
    #[error("belongs to a cgroup v1 hierarchy that is not mounted here")]
    Unmounted,
    /// The hierarchy has it, but an ancestor of the base cgroup does not pass it on.
    #[error("is not delegated to {}", .0.display())]
    NotDelegated(
        /// The base cgroup.
        PathBuf,
    ),
    /// The group's parent has it and cannot enable it, since processes sit in it.
    #[error("cannot be enabled in {}, which has processes in it", .0.display())]
    Occupied(
        /// The parent.
        PathBuf,
    ),
    /// The group's parent has it and has not enabled it.
    #[error("is not enabled in {}", .0.display())]
    NotEnabled(
        /// The parent.
        PathBuf,
    ),
}

fn name_of(version: Version) -> &'static str {
    match version {
        Version::V1 => "cgroup v1",
        Version::V2 => "cgroup v2",
    }
}

/// Files of a group that have the form of a limit, and would do something else.
const NO_LIMITS: [&str; 6] = [
    "cgroup.procs",
    "cgroup.threads",
    "cgroup.kill",
    "cgroup.freeze",
    "cgroup.subtree_control",
    "cgroup.type",
];

/// The nearest limit in the other version: v2's file, v1's file. Units and meaning may differ.
const PAIRS: [(&str, &str); 10] = [
    ("memory.max", "memory.limit_in_bytes"),
    ("memory.low", "memory.soft_limit_in_bytes"),
    ("memory.swap.max", "memory.memsw.limit_in_bytes"),
    ("cpu.weight", "cpu.shares"),
    ("cpu.max", "cpu.cfs_quota_us"),
    ("cpuset.cpus", "cpuset.cpus"),
    ("cpuset.mems", "cpuset.mems"),
    ("pids.max", "pids.max"),
    ("io.max", "blkio.throttle.write_bps_device"),
    ("io.weight", "blkio.weight"),
];

impl Refusal {
    fn new(version: Version, key: &str, reason: Reason) -> Self {
        Self { version, key: key.to_owned(), reason: Box::new(reason) }
    }

    /// Returns what the user can do about it, where something can be done.
    pub fn hint(&self) -> Option<String> {
        match &*self.reason {
            Reason::Controller { controller, missing } => self.hint_on(controller, missing),
            Reason::NoAccess { .. } => Some(SCOPE_HINT.to_owned()),
            Reason::NoHierarchy(_) => self.counterpart_hint(),
            Reason::Kernel(_) | Reason::NoFile | Reason::NotALimit => None,
        }
    }

    fn hint_on(&self, controller: &str, missing: &Missing) -> Option<String> {
        match missing {
            Missing::OtherVersion(_) => self.counterpart_hint(),
            Missing::NotDelegated(_) => Some(format!(
                "let systemd delegate it: in /etc/systemd/system/user@.service.d/delegate.conf, \
                 [Service], Delegate=cpu cpuset io memory pids (with {controller}); then log in again"
            )),
            Missing::Occupied(_) => Some(SCOPE_HINT.to_owned()),
            Missing::Everywhere | Missing::Unmounted | Missing::NotEnabled(_) => None,
        }
    }

    /// The name of the nearest limit that this host has.
    fn counterpart_hint(&self) -> Option<String> {
        let (family, key) = match self.version {
            Version::V2 => ("lxc.cgroup", PAIRS.iter().find(|(v2, _)| *v2 == self.key)?.1),
            Version::V1 => ("lxc.cgroup2", PAIRS.iter().find(|(_, v1)| *v1 == self.key)?.0),
        };
        Some(format!("the nearest limit on this host is {family}.{key}"))
    }
}

const SCOPE_HINT: &str =
    "start it from a cgroup of its own: systemd-run --user --scope -p Delegate=yes -- COMMAND";

impl Group {
    /// Sets limits in their order, and tells for each what came of it. v1's limit on memory and swap together is set
    /// last, since the kernel refuses one below the limit on memory alone, which is unlimited before.
    pub fn apply(&self, limits: &[Limit]) -> Vec<Outcome> {
        let is_late = |l: &&Limit| l.version == Version::V1 && l.key == "memory.memsw.limit_in_bytes";
        let (late, early): (Vec<_>, Vec<_>) = limits.iter().partition(is_late);
        let outcome = |limit: &Limit| Outcome { limit: limit.clone(), result: self.apply_one(limit) };
        early.into_iter().chain(late).map(outcome).collect()
    }

    fn apply_one(&self, limit: &Limit) -> Result<Applied, Refusal> {
        if limit.key.starts_with("devices.") {
            return Ok(Applied::DeviceRuleSkipped);
        }
        let refusal = |reason| Refusal::new(limit.version, &limit.key, reason);
        let member = self.holder(limit.version, &limit.key).map_err(refusal)?;
        let done = tree::write(member.dir.as_fd(), &limit.key, &limit.value);
        done.map(|()| Applied::Written).map_err(|e| refusal(Reason::Kernel(e)))
    }

    /// Returns the text of a file of the group, by the name that a limit would have.
    ///
    /// # Errors
    /// The reasons for which it could not be set.
    pub fn value(&self, version: Version, key: &str) -> Result<String, Refusal> {
        let refusal = |reason| Refusal::new(version, key, reason);
        let member = self.holder(version, key).map_err(refusal)?;
        tree::text_of(member.dir.as_fd(), key).map_err(|e| refusal(Reason::Kernel(e)))
    }

    /// Returns the directory that has the file `key`.
    fn holder(&self, version: Version, key: &str) -> Result<&Member, Reason> {
        let controller = controller_of(key).ok_or(Reason::NotALimit)?;
        let member = match version {
            Version::V1 => self.v1_with(controller),
            Version::V2 => self.unified(),
        };
        let Some(member) = member else { return Err(self.without_member(version, controller)) };
        if tree::has(member.dir.as_fd(), key) {
            Ok(member)
        } else if version == Version::V1 {
            Err(Reason::NoFile)
        } else {
            Err(without_file(&self.host, member, controller))
        }
    }

    /// Explains why the group is in no hierarchy where the controller could be.
    fn without_member(&self, version: Version, controller: &str) -> Reason {
        let core = self.host.unified().filter(|_| version == Version::V2 && controller == "cgroup");
        let access = self.host.holder(version, controller).or(core);
        if let Some(access) = access.filter(|a| !a.is_usable()) {
            let (label, dir) = (access.label.clone(), access.dir.clone());
            return Reason::NoAccess { label, dir, verdict: access.verdict.clone() };
        }
        if !self.host.accesses.iter().any(|a| a.version == version) {
            return Reason::NoHierarchy(version);
        }
        let missing = elsewhere(&self.host, version, controller);
        Reason::Controller { controller: controller.to_owned(), missing }
    }
}

/// Returns the controller that a file belongs to: what stands before the first dot.
fn controller_of(key: &str) -> Option<&str> {
    let (controller, file) = key.split_once('.')?;
    let is_name = !controller.is_empty() && !file.is_empty() && !key.contains('/') && !key.contains('\0');
    (is_name && !NO_LIMITS.contains(&key)).then_some(controller)
}

/// Explains why a v2 group lacks a file.
fn without_file(host: &Host, member: &Member, controller: &str) -> Reason {
    let lists =
        |file| tree::words_of(member.dir.as_fd(), file).is_ok_and(|l| l.iter().any(|c| c == controller));
    // Files named cgroup.* are the core's own, and every group has all that the kernel has.
    if controller == "cgroup" || lists("cgroup.controllers") {
        return Reason::NoFile;
    }
    let access = host.unified();
    let reaches_base = access.is_some_and(|a| a.controllers.iter().any(|c| c == controller));
    let is_offered = access.is_some_and(|a| a.offered.iter().any(|c| c == controller));
    let missing = match access {
        Some(_) if reaches_base => lost_on_the_way(member),
        Some(access) if is_offered => Missing::NotDelegated(access.dir.clone()),
        _ => elsewhere(host, Version::V2, controller),
    };
    Reason::Controller { controller: controller.to_owned(), missing }
}

/// Explains why a v2 group lacks a controller that the base has.
fn lost_on_the_way(member: &Member) -> Missing {
    let path = member.path.parent().unwrap_or(Path::new("/")).to_owned();
    let parent = tree::open(member.dir.as_fd(), "..");
    let processes = parent.and_then(|dir| tree::text_of(dir.as_fd(), "cgroup.procs"));
    let is_occupied = processes.is_ok_and(|text| !text.trim().is_empty());
    if is_occupied { Missing::Occupied(path) } else { Missing::NotEnabled(path) }
}

/// Explains where a controller is that the hierarchies of `version` do not have.
fn elsewhere(host: &Host, version: Version, controller: &str) -> Missing {
    let other = match version {
        Version::V1 => Version::V2,
        Version::V2 => Version::V1,
    };
    if host.holder(other, controller_in(other, controller)).is_some() {
        Missing::OtherVersion(other)
    } else if host.unmounted.iter().any(|c| c == controller_in(Version::V1, controller)) {
        Missing::Unmounted
    } else {
        Missing::Everywhere
    }
}

/// The one controller with two names: `io` of v2 is `blkio` in v1. Source: cgroups(7).
fn controller_in(version: Version, controller: &str) -> &str {
    match (version, controller) {
        (Version::V1, "io") => "blkio",
        (Version::V2, "blkio") => "io",
        _ => controller,
    }
}

impl Reason {
    /// Returns the error number, if the kernel refused a value.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Kernel(e) => Some(e.errno()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
