//! Giving a payload group to the container, so that a systemd inside can make groups of its own.
//!
//! Who owns what afterwards: the **owner stays the caller**, the **group becomes container root's**, and the group may
//! write (directory 0775, files 0664), as LXC does it. The reasons:
//! - the caller must still open the directory's files, place a process (clone3 into the cgroup is checked against its
//!   `cgroup.procs`) and remove the group after a monitor was killed, without a user namespace;
//! - an owner could change the mode and lock the caller out; container root is not the owner, so it cannot;
//! - the other way round (owner container root, group the caller's) would let everyone of the caller's primary
//!   group, often shared by all users, move the container's processes.
//!
//! The limits and the freezer of the group itself stay the caller's alone: only what the kernel declares safe is given.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use sys::{Errno, path};

use crate::group::{Act, Error, Group, Member};
use crate::layout::Version;
use crate::tree;

/// What a v1 group's manager needs. Limits of the group itself are no part of it.
const V1_FILES: [&str; 2] = ["cgroup.procs", "tasks"];

/// What may be delegated on every kernel with v2. Source: cgroups(7), "Delegation".
const V2_FILES: [&str; 3] = ["cgroup.procs", "cgroup.threads", "cgroup.subtree_control"];

/// Where the kernel lists what else may be delegated, since Linux 4.15. Source: cgroups(7).
const DELEGATE_LIST: &str = "/sys/kernel/cgroup";

impl Group {
    /// Gives the group to group `group` (container root's), a number of the calling process's user namespace.
    ///
    /// The process is still the caller, who owns the files, and in that group already: then the kernel asks for no
    /// capability, so it does not matter that the owner has no number in the namespace. Source: chown(2).
    ///
    /// # Errors
    /// The first file that cannot be given. Files that this kernel does not have are passed over.
    pub fn hand_over(&self, group: u32) -> Result<(), Error> {
        let unified = delegated_files();
        for member in &self.members {
            let files = match member.version {
                Version::V1 => V1_FILES.map(str::to_owned).to_vec(),
                Version::V2 => unified.clone(),
            };
            give(member, &files, group).map_err(|e| Error::new(Act::HandOver, &member.path, e))?;
        }
        Ok(())
    }

    /// Returns the group's directory in each hierarchy.
    pub fn directories(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.members.iter().map(|member| member.dir.as_fd())
    }
}

fn give(member: &Member, files: &[String], group: u32) -> sys::Result<()> {
    let dir = member.dir.as_fd();
    for name in files {
        // All of these can be written, but some (memory.reclaim) not be read.
        match path::open_write_at(dir, Path::new(name)) {
            Err(e) if e.errno() == Errno::ENOENT => {}
            file => give_one(file?.as_fd(), 0o060, group)?,
        }
    }
    give_one(dir, 0o070, group)
}

fn give_one(fd: BorrowedFd<'_>, group_may: u32, group: u32) -> sys::Result<()> {
    path::set_group(fd, group)?;
    let mode = path::status(fd)?.st_mode & 0o7777;
    path::set_mode(fd, mode | group_may)
}

fn delegated_files() -> Vec<String> {
    let mut files = V2_FILES.map(str::to_owned).to_vec();
    let listed =
        path::open_dir(Path::new(DELEGATE_LIST)).and_then(|fd| tree::words_of(fd.as_fd(), "delegate"));
    for name in listed.unwrap_or_default() {
        if !name.contains('/') && !files.contains(&name) {
            files.push(name);
        }
    }
    files
}
