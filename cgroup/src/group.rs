//! A cgroup as one thing: its directory in every hierarchy that the caller may use, held by fds.
//!
//! Groups are made below the [`BaseGroup`], and a hierarchy that refuses is left out there, with the reason kept in
//! [`Host`]. Nothing here resolves a path again: a group that was renamed, or whose mount was covered, stays the same.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sys::{Errno, path};

use crate::access::Host;
use crate::layout::Version;
use crate::tree;

/// What was being done to a group when the kernel refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Opening it.
    Open,
    /// Locking it, so that nobody else takes it.
    Lock,
    /// Making it.
    Make,
    /// Setting up the new directory: cpus and memory nodes of a v1 cpuset.
    Prepare,
    /// Moving a process into it.
    Place,
    /// Giving it to the container.
    HandOver,
    /// Freezing or thawing it.
    Freeze,
    /// Reading its processes.
    List,
    /// Removing it.
    Remove,
}

impl std::fmt::Display for Act {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Open => "opening",
            Self::Lock => "locking",
            Self::Make => "making",
            Self::Prepare => "setting up",
            Self::Place => "moving a process into",
            Self::HandOver => "handing over",
            Self::Freeze => "freezing or thawing",
            Self::List => "listing the processes of",
            Self::Remove => "removing",
        })
    }
}

/// A refusal of the kernel, with the group that it is about.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// A system call failed.
    #[error("{act} the cgroup {}", path.display())]
    Kernel {
        /// What was being done.
        act: Act,
        /// The directory.
        path: PathBuf,
        /// The call.
        #[source]
        cause: sys::Error,
    },
    /// A name that the configuration fixes belongs to a group with processes in it, or all suffixes are used up.
    #[error("the cgroup {} is in use", .0.display())]
    Taken(PathBuf),
}

impl Error {
    pub(crate) fn new(act: Act, path: &Path, cause: sys::Error) -> Self {
        Self::Kernel { act, path: path.to_owned(), cause }
    }

    /// Returns the error number, if a system call failed.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Kernel { cause, .. } => Some(cause.errno()),
            Self::Taken(_) => None,
        }
    }
}

/// The directory of a group in one hierarchy.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) version: Version,
    /// The v1 controllers; empty for v2.
    pub(crate) controllers: Vec<String>,
    /// For messages and handles.
    pub(crate) path: PathBuf,
    pub(crate) dir: OwnedFd,
}

/// A v2 controller that could not be enabled for the groups below one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptBack {
    /// The controller.
    pub controller: String,
    /// The group whose cgroup.subtree_control stays without it.
    pub group: PathBuf,
    /// Why.
    pub why: KeptBackWhy,
}

/// Why a v2 controller was not enabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeptBackWhy {
    /// Processes sit in the group itself, and a group with processes enables no controllers for its children
    /// (cgroups(7), "no internal processes"). The usual case in a login session.
    Occupied,
    /// It is the root of the hierarchy: what the whole machine has enabled is not a container's to change.
    Root,
    /// The kernel answered with another error.
    Refused(Errno),
}

/// A cgroup in all the hierarchies that the caller may use; without any when there are none.
#[derive(Debug)]
pub struct Group {
    pub(crate) host: Arc<Host>,
    pub(crate) members: Vec<Member>,
}

/// The group that the caller is in, or init: containers' groups are made below it. It is never removed, frozen or
/// given away, so it offers none of that.
#[derive(Debug)]
pub struct BaseGroup(pub(crate) Group);

impl BaseGroup {
    /// Opens the base in every hierarchy where groups can be made.
    ///
    /// # Errors
    /// A base that was usable when `host` was probed and has gone since.
    pub fn open_base(host: Host) -> Result<Self, Error> {
        Self::open_each(host, |_| false)
    }

    /// Opens a base that may have gone since, with what it was opened for: a scope goes with its last process.
    ///
    /// # Errors
    /// A base that is there and cannot be opened.
    pub fn open_what_is_left(host: Host) -> Result<Self, Error> {
        Self::open_each(host, tree::is_gone)
    }

    fn open_each(host: Host, may_lack: fn(&sys::Error) -> bool) -> Result<Self, Error> {
        let mut members = Vec::new();
        for access in host.accesses.iter().filter(|a| a.is_usable()) {
            let dir = match path::open_dir(&access.dir) {
                Err(e) if may_lack(&e) => continue,
                opened => opened.map_err(|e| Error::new(Act::Open, &access.dir, e))?,
            };
            let controllers = match access.version {
                Version::V1 => access.controllers.clone(),
                Version::V2 => Vec::new(),
            };
            members.push(Member { version: access.version, controllers, path: access.dir.clone(), dir });
        }
        Ok(Self(Group { host: Arc::new(host), members }))
    }

    /// Returns what was found out about the hierarchies.
    pub fn host(&self) -> &Host {
        &self.0.host
    }

    /// Tells whether no hierarchy is usable, so that every group below is without effect.
    pub fn is_nowhere(&self) -> bool {
        self.0.is_nowhere()
    }

    /// Makes a group, or opens it where it exists. `path` is relative; missing parents are made.
    ///
    /// # Errors
    /// The first directory that cannot be made; those made by this call are removed again.
    pub fn make(&self, path: &Path) -> Result<Group, Error> {
        self.0.make(path)
    }

    /// As [`make`](Self::make), and enables on v2 every controller on the way, so that limits can be set. What cannot
    /// be enabled is no error, since a container runs without; it is returned.
    pub fn make_with_controllers(&self, path: &Path) -> Result<(Group, Vec<KeptBack>), Error> {
        self.0.make_with_controllers(path)
    }

    /// Opens a group where it exists; the result may be nowhere.
    pub fn open(&self, path: &Path) -> Result<Group, Error> {
        self.0.open(path)
    }

    /// Takes the calling process (the monitor, at its end) back into the base, so that its group can be removed. It has
    /// one thread.
    ///
    /// On v2 a base with enabled controllers takes no processes. When at most one group is left below it, which is
    /// then the monitor's own, no container can lose a limit, so they are disabled again. LXC moves its monitor
    /// to a group `lxc.pivot` instead, which stays behind.
    ///
    /// # Errors
    /// EBUSY while other containers have groups in the same base; who [takes](Self::take) the name next cleans up.
    pub fn take_back(&self) -> Result<(), Error> {
        match self.0.entrance()?.enter() {
            Err(e) if e.errno() == Some(Errno::EBUSY) => {
                if let Some(member) = self.0.unified().filter(|m| has_at_most_one_child(m)) {
                    member.disable_controllers();
                }
                self.0.entrance()?.enter()
            }
            done => done,
        }
    }
}

fn has_at_most_one_child(member: &Member) -> bool {
    tree::children(member.dir.as_fd()).is_ok_and(|names| names.len() <= 1)
}

/// What happens to the controllers of the parents when a group is made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Controllers {
    AsTheyAre,
    Enable,
}

impl Group {
    /// Tells whether the group is in no hierarchy at all: everything done to it is without effect or refused.
    pub fn is_nowhere(&self) -> bool {
        self.members.is_empty()
    }

    /// Returns the directories of the group, for messages.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.members.iter().map(|m| m.path.as_path())
    }

    pub(crate) fn unified(&self) -> Option<&Member> {
        self.members.iter().find(|m| m.version == Version::V2)
    }

    pub(crate) fn v1_with(&self, controller: &str) -> Option<&Member> {
        self.members.iter().find(|m| m.controllers.iter().any(|c| c == controller))
    }

    /// Makes a group below this one; as [`BaseGroup::make`].
    pub fn make(&self, path: &Path) -> Result<Group, Error> {
        self.make_in_all(path, Controllers::AsTheyAre, &mut Vec::new())
    }

    /// Makes a group below this one; as [`BaseGroup::make_with_controllers`].
    pub fn make_with_controllers(&self, path: &Path) -> Result<(Group, Vec<KeptBack>), Error> {
        let mut kept = Vec::new();
        let group = self.make_in_all(path, Controllers::Enable, &mut kept)?;
        Ok((group, kept))
    }

    fn make_in_all(&self, path: &Path, how: Controllers, kept: &mut Vec<KeptBack>) -> Result<Group, Error> {
        let mut group = Group { host: Arc::clone(&self.host), members: Vec::new() };
        let mut new = Group { host: Arc::clone(&self.host), members: Vec::new() };
        for member in &self.members {
            match member.make(path, how, kept, &mut new.members) {
                Ok(made) => group.members.push(made),
                Err(e) => {
                    // Deepest last, so removed first; a failure to remove adds nothing to the one reported.
                    while let Some(made) = new.members.pop() {
                        let _ = made.remove(Duration::ZERO);
                    }
                    return Err(e);
                }
            }
        }
        Ok(group)
    }

    /// Opens a group below this one where it exists; the result may be nowhere.
    ///
    /// # Errors
    /// Any failure but that it does not exist.
    pub fn open(&self, path: &Path) -> Result<Group, Error> {
        let mut members = Vec::new();
        for member in &self.members {
            match member.open(path) {
                Ok(found) => members.push(found),
                Err(e) if e.errno() == Some(Errno::ENOENT) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(Group { host: Arc::clone(&self.host), members })
    }

    /// Moves a process with all its threads into the group, in every hierarchy; 0 is the caller.
    ///
    /// # Errors
    /// The first refusal; the other hierarchies are tried all the same. On v1 EACCES for a process whose user id is not
    /// the caller's.
    pub fn place(&self, pid: i32) -> Result<(), Error> {
        self.place_in(self.members.iter(), pid)
    }

    /// Moves a process into the group in the v2 hierarchy alone, where the group is in it.
    pub fn place_in_unified(&self, pid: i32) -> Result<(), Error> {
        self.place_in(self.unified().into_iter(), pid)
    }

    fn place_in<'a>(&self, members: impl Iterator<Item = &'a Member>, pid: i32) -> Result<(), Error> {
        let text = pid.to_string();
        let mut result = Ok(());
        for member in members {
            let placed = tree::write(member.dir.as_fd(), "cgroup.procs", &text);
            result = result.and(placed.map_err(|e| Error::new(Act::Place, &member.path, e)));
        }
        result
    }

    /// Opens what processes enter the group by later, when it belongs to the container: the kernel checks the right to
    /// write at this open, and (since Linux 5.16) all other rights with the credentials of this opener.
    pub fn entrance(&self) -> Result<Entrance, Error> {
        let open = |m: &Member| match path::open_write_at(m.dir.as_fd(), Path::new(entered_by(m.version))) {
            Ok(file) => Ok(Door { version: m.version, path: m.path.clone(), file }),
            Err(e) => Err(Error::new(Act::Place, &m.path, e)),
        };
        Ok(Entrance { doors: self.members.iter().map(open).collect::<Result<_, _>>()? })
    }

    /// Returns the directory to clone a process into (`CLONE_INTO_CGROUP`), where the group is in the v2 hierarchy.
    /// v1 has nothing like it: there the child enters by itself.
    pub fn clone_target(&self) -> Option<BorrowedFd<'_>> {
        self.unified().map(|m| m.dir.as_fd())
    }
}

/// The file by which a process of one thread moves itself.
///
/// Whoever writes to `cgroup.procs` waits until no process of the machine forks or exits, which takes a grace period of RCU,
/// 2 to 15 ms. A thread that moves itself by v1's `tasks` disturbs nobody, so the kernel lets it pass at once (since Linux
/// 5.12). v2's `cgroup.threads` moves within a threaded tree only; there a process is cloned into its group.
/// Source: `cgroup_procs_write_start` in the kernel's kernel/cgroup/cgroup.c.
fn entered_by(version: Version) -> &'static str {
    match version {
        Version::V1 => "tasks",
        Version::V2 => "cgroup.procs",
    }
}

/// The open files by which processes enter a group.
#[derive(Debug)]
pub struct Entrance {
    doors: Vec<Door>,
}

#[derive(Debug)]
struct Door {
    version: Version,
    path: PathBuf,
    file: OwnedFd,
}

impl Entrance {
    /// Returns the files of the v1 hierarchies; whoever writes "0" to all of them, and has one thread, is in the group there.
    pub fn files_v1(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.doors.iter().filter(|door| door.version == Version::V1).map(|door| door.file.as_fd())
    }

    /// Moves the calling process, which has one thread, into the group, in every hierarchy.
    ///
    /// # Errors
    /// The first refusal; the other hierarchies are tried all the same. On v1 EACCES for a process whose user id is not
    /// the opener's: a container's init enters before it becomes root.
    pub fn enter(&self) -> Result<(), Error> {
        enter_by(self.doors.iter())
    }

    /// Moves the calling process, which has one thread, into the group in the v1 hierarchies alone.
    ///
    /// # Errors
    /// As [`enter`](Self::enter).
    pub fn enter_v1(&self) -> Result<(), Error> {
        enter_by(self.doors.iter().filter(|door| door.version == Version::V1))
    }
}

fn enter_by<'a>(doors: impl Iterator<Item = &'a Door>) -> Result<(), Error> {
    let mut result = Ok(());
    for door in doors {
        let moved = path::write_once(door.file.as_fd(), b"0");
        result = result.and(moved.map_err(|e| Error::new(Act::Place, &door.path, e)));
    }
    result
}

/// Files of a new v1 directory that the kernel leaves unusable, by controller: copied from the parent where they are
/// empty. Without cpus and memory nodes a cpuset takes no process (cpuset(7)).
const COPIED_FILES: [(&str, &str); 2] = [("cpuset", "cpuset.cpus"), ("cpuset", "cpuset.mems")];

impl Member {
    fn twin(&self, path: PathBuf, dir: OwnedFd) -> Self {
        Self { version: self.version, controllers: self.controllers.clone(), path, dir }
    }

    pub(crate) fn open(&self, name: &Path) -> Result<Self, Error> {
        let path = self.path.join(name);
        let dir = tree::open(self.dir.as_fd(), name).map_err(|e| Error::new(Act::Open, &path, e))?;
        Ok(self.twin(path, dir))
    }

    /// Makes the directories of `path`; each one that did not exist is added to `new` as well.
    fn make(
        &self,
        path: &Path,
        how: Controllers,
        kept: &mut Vec<KeptBack>,
        new: &mut Vec<Member>,
    ) -> Result<Member, Error> {
        let mut at = self.open(Path::new("."))?;
        at.path.clone_from(&self.path);
        for name in path {
            if how == Controllers::Enable && self.version == Version::V2 {
                kept.extend(at.enable_controllers());
            }
            let made = path::make_dir(at.dir.as_fd(), name, 0o755);
            let child_path = at.path.join(name);
            match made {
                Err(e) if e.errno() != Errno::EEXIST => return Err(Error::new(Act::Make, &child_path, e)),
                _ => {}
            }
            let child = at.open(Path::new(name))?;
            if made.is_ok() {
                new.push(at.open(Path::new(name))?);
                child.prepare(&at).map_err(|e| Error::new(Act::Prepare, &child_path, e))?;
            }
            at = child;
        }
        Ok(at)
    }

    /// Makes a new v1 directory fit for processes.
    pub(crate) fn prepare(&self, parent: &Member) -> sys::Result<()> {
        let (dir, from) = (self.dir.as_fd(), parent.dir.as_fd());
        for (controller, file) in COPIED_FILES {
            let is_here = self.controllers.iter().any(|c| c == controller);
            if is_here && tree::text_of(dir, file)?.trim().is_empty() {
                tree::write(dir, file, tree::text_of(from, file)?.trim())?;
            }
        }
        // Before Linux 5.11 a group made inside would escape the memory limit of this one, unless hierarchical
        // accounting is asked for; since then the file always reads 1.
        if tree::text_of(dir, "memory.use_hierarchy").is_ok_and(|t| t.trim() == "0") {
            tree::write(dir, "memory.use_hierarchy", "1")?;
        }
        Ok(())
    }

    /// Enables every available controller for the groups below; one by one, so that one refusal leaves the rest.
    fn enable_controllers(&self) -> Vec<KeptBack> {
        let dir = self.dir.as_fd();
        let enabled = tree::words_of(dir, "cgroup.subtree_control").unwrap_or_default();
        let available = tree::words_of(dir, "cgroup.controllers").unwrap_or_default();
        // Source: cgroups(7), "cgroup.type": the root alone has no such file.
        let is_root = !tree::has(dir, "cgroup.type");
        let kept = |controller: String| {
            let why = if is_root {
                KeptBackWhy::Root
            } else {
                let done = tree::write(dir, "cgroup.subtree_control", &format!("+{controller}"));
                match done.err()?.errno() {
                    Errno::EBUSY => KeptBackWhy::Occupied,
                    other => KeptBackWhy::Refused(other),
                }
            };
            Some(KeptBack { controller, group: self.path.clone(), why })
        };
        available.into_iter().filter(|c| !enabled.contains(c)).filter_map(kept).collect()
    }

    /// Disables all controllers for the groups below; what stays is seen by the caller's next step.
    fn disable_controllers(&self) {
        let dir = self.dir.as_fd();
        for controller in tree::words_of(dir, "cgroup.subtree_control").unwrap_or_default() {
            let _ = tree::write(dir, "cgroup.subtree_control", &format!("-{controller}"));
        }
    }
}
