//! One directory per user in every cgroup hierarchy, as a session manager would delegate it.
//!
//! The directories lie directly below each mount's root, in `bryo-lab-SLOT/`; the root's own files are only read.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::account::Account;
use crate::view::{Hierarchy, hierarchies};

/// The files that a delegate owns besides the directory itself. Sources: cgroups(7), "cgroup delegation"; the
/// kernel's cgroup-v2.rst, "Model of Delegation"; `tasks` is the v1 name.
const DELEGATED: [&str; 4] = ["cgroup.procs", "tasks", "cgroup.threads", "cgroup.subtree_control"];

/// Returns the directories of one lab slot, one per hierarchy.
pub fn of_slot(slot: usize) -> Vec<PathBuf> {
    hierarchies().iter().map(|hierarchy| slot_directory(hierarchy, slot)).collect()
}

/// Makes the directories of `account`, owned by it, and returns them.
///
/// # Errors
/// A hierarchy is read-only, or refuses the directory.
pub fn delegate(slot: usize, account: &Account) -> Result<Vec<PathBuf>> {
    hierarchies().iter().map(|hierarchy| delegate_in(hierarchy, slot, account)).collect()
}

fn slot_directory(hierarchy: &Hierarchy, slot: usize) -> PathBuf {
    hierarchy.mounted_on.join(format!("bryo-lab-{slot}"))
}

fn delegate_in(hierarchy: &Hierarchy, slot: usize, account: &Account) -> Result<PathBuf> {
    let parent = slot_directory(hierarchy, slot);
    let own = parent.join(&account.login);
    make(&parent, hierarchy).with_context(|| format!("making cgroup {}", parent.display()))?;
    if hierarchy.unified {
        hand_controllers_down(&parent);
    }
    make(&own, hierarchy).with_context(|| format!("making cgroup {}", own.display()))?;
    give(&own, account.uid, account.gid)?;
    Ok(own)
}

/// Makes root the owner of a delegated directory again.
pub(crate) fn take_back(directory: &Path) -> io::Result<()> {
    give(directory, 0, 0)
}

fn give(directory: &Path, uid: u32, gid: u32) -> io::Result<()> {
    chown(directory, Some(uid), Some(gid))?;
    for file in DELEGATED.map(|name| directory.join(name)) {
        if file.exists() {
            chown(file, Some(uid), Some(gid))?;
        }
    }
    Ok(())
}

fn make(directory: &Path, hierarchy: &Hierarchy) -> io::Result<()> {
    match fs::create_dir(directory) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    if hierarchy.cpuset {
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let above = directory.parent().unwrap_or(Path::new("/"));
            fs::write(directory.join(file), fs::read(above.join(file))?)?;
        }
    }
    Ok(())
}

/// Offers to the children of `directory` what its parent offers to it. A controller that refuses is left out: tests
/// that need one look for it themselves.
fn hand_controllers_down(directory: &Path) {
    let offered = fs::read_to_string(directory.join("cgroup.controllers")).unwrap_or_default();
    for controller in offered.split_whitespace() {
        let _refused_controllers_are_left_out =
            fs::write(directory.join("cgroup.subtree_control"), format!("+{controller}"));
    }
}

/// Removes `directory` and every cgroup below it. They must be without processes.
///
/// # Errors
/// A directory is still in use.
pub fn remove(directory: &Path) -> io::Result<()> {
    for child in below(directory).into_iter().rev() {
        fs::remove_dir(child)?;
    }
    match fs::remove_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Returns every cgroup below `directory`, parents before children.
pub fn below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(directory) else { return found };
    for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        found.push(entry.path());
        found.extend(below(&entry.path()));
    }
    found
}

/// Thaws whatever is frozen in the directories of a slot: no signal ends a process that a v1 freezer holds.
pub(crate) fn thaw(slot: usize) {
    let all = of_slot(slot).into_iter().flat_map(|top| below(&top).into_iter().chain([top]));
    for directory in all {
        // Most have no such file; a directory can go at any moment.
        let _none = fs::write(directory.join("freezer.state"), "THAWED");
        let _none = fs::write(directory.join("cgroup.freeze"), "0");
    }
}

/// Ends whatever is in the directories of a slot, in one step: a process that forks and ends on and on is in no list.
pub(crate) fn kill(slot: usize) {
    for top in of_slot(slot) {
        // The cgroup2 hierarchy alone has such a file.
        let _none = top.exists().then(|| fs::write(top.join("cgroup.kill"), "1"));
    }
}
