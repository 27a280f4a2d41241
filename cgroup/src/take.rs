//! Having a name: of all who start a container of one name, in whatever directory of containers, one alone gets the group
//! of that name.
//!
//! Whoever has a group holds a lock on its directory in every hierarchy (flock(2)), from the moment it is made. The kernel
//! lets go of it when the last process that has it dies, so a group without a lock is one that is left over, or LXC's: that
//! has a process in it.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sys::{Errno, path};

use crate::group::{Act, BaseGroup, Error, Group, Member};
use crate::tree;

/// Rights of a group that is had. A lock needs no more than an open directory, so no other user may open it.
const MODE: u32 = 0o700;

impl BaseGroup {
    /// Makes a group that this process alone has, until it and those that it has cloned have closed or dropped it. One that
    /// is left over is removed first, where the caller may. Missing parents are made, and shared.
    ///
    /// None when somebody has it, or processes are in it.
    ///
    /// # Errors
    /// A directory that cannot be made, opened or locked.
    pub fn take(&self, path: &Path) -> Result<Option<Group>, Error> {
        if let Some(taken) = self.make_locked(path)? {
            return Ok(Some(taken));
        }
        let left = self.open(path)?;
        if left.lock()? && remove_unused(&left) { self.make_locked(path) } else { Ok(None) }
    }

    /// Removes a group that is left over, and tells whether there is none now: not when processes are in it, or when the
    /// caller may not remove it (what systemd made inside belongs to container root). For a name that nobody else may
    /// take meanwhile.
    pub fn clear(&self, path: &Path) -> bool {
        self.open(path).is_ok_and(|left| remove_unused(&left))
    }

    fn make_locked(&self, path: &Path) -> Result<Option<Group>, Error> {
        let Some(name) = path.file_name() else { return Ok(None) };
        let parent = self.make(path.parent().unwrap_or(Path::new("")))?;
        let mut group = Group { host: Arc::clone(&parent.host), members: Vec::new() };
        for member in &parent.members {
            match member.make_locked(name) {
                Ok(Some(made)) => group.members.push(made),
                not_made => {
                    // A failure to remove adds nothing to the one reported.
                    let _left = group.remove(Duration::ZERO);
                    return not_made.map(|_| None);
                }
            }
        }
        Ok(Some(group))
    }
}

fn remove_unused(group: &Group) -> bool {
    group.is_nowhere() || (group.is_empty() && group.remove(Duration::ZERO).is_ok())
}

impl Group {
    /// Locks the group for this process and those that it clones, and tells whether it could: not when somebody else has the
    /// lock, or has removed the group meanwhile. The lock lasts as long as the group is open in one of them.
    pub fn lock(&self) -> Result<bool, Error> {
        for member in &self.members {
            if !member.lock()? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Member {
    /// Makes one that nobody has made, and locks it before anything else: until then it looks left over.
    fn make_locked(&self, name: &OsStr) -> Result<Option<Member>, Error> {
        match path::make_dir(self.dir.as_fd(), name, MODE) {
            Err(e) if e.errno() == Errno::EEXIST => return Ok(None),
            made => made.map_err(|e| Error::new(Act::Make, &self.path.join(name), e))?,
        }
        let made = match self.open(Path::new(name)) {
            // Whoever took it for one that is left over has it.
            Err(e) if e.errno() == Some(Errno::ENOENT) => return Ok(None),
            made => made?,
        };
        // Without the lock it is not removed either: by now the name may be that of somebody else's.
        if !made.lock()? {
            return Ok(None);
        }
        if let Err(e) = made.prepare(self) {
            let _left = made.remove(Duration::ZERO);
            return Err(Error::new(Act::Prepare, &made.path, e));
        }
        Ok(Some(made))
    }

    fn lock(&self) -> Result<bool, Error> {
        let locked = path::try_lock(self.dir.as_fd()).and_then(|locked| Ok(locked && self.has_its_name()?));
        locked.map_err(|e| Error::new(Act::Lock, &self.path, e))
    }

    /// Tells whether the directory is still the one of its name: a lock on one that is removed keeps nobody off.
    pub(crate) fn has_its_name(&self) -> sys::Result<bool> {
        let Some(name) = self.path.file_name() else { return Ok(true) };
        let parent = match tree::open(self.dir.as_fd(), "..") {
            Err(e) if tree::is_gone(&e) => return Ok(false),
            parent => parent?,
        };
        match path::status_at(parent.as_fd(), name) {
            Err(e) if tree::is_gone(&e) => Ok(false),
            named => Ok(named?.st_ino == path::status(self.dir.as_fd())?.st_ino),
        }
    }
}
