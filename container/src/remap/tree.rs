//! The files: what each of them needs, and doing it. Both run as root of the namespace of the work.
//!
//! Every file is reached from the fd of the root without following a link or crossing a mount. A change is written with
//! all that it leads to, and not as a difference: so it can be done again after an interruption, and mode and file
//! capabilities, which a change of owner removes, are not lost with it.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sys::file::{self, Kind as FileKind, Open, Status};
use sys::{Errno, path};
use types::IdKind;

use super::shift::{Shift, Way};
use super::values::{CAPABILITY, WITH_IDS, shifted};
use crate::error::{Doing, Error, Kind, Result};

/// What one file needs, with ids as the namespace of the work shows them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Change {
    /// Its path from the root, as bytes; empty for the root itself.
    path: Vec<u8>,
    what: What,
    uid: u32,
    gid: u32,
    mode: u32,
    xattrs: Vec<(String, Vec<u8>)>,
}

/// How a file is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum What {
    /// By opening it.
    Directory,
    /// By opening it.
    File,
    /// By its name in its directory: opening it fails, or does something.
    Name,
}

/// What was found, or done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Files that were looked at.
    pub files: u64,
    /// Files that get another owner.
    pub changed: u64,
    /// Files of nobody in the container, which stay as they are.
    pub strangers: u64,
    /// The first of them.
    pub first_stranger: Option<String>,
    /// Attributes that name an id of nobody in the container, or cannot be read; they stay, or go with the owner.
    pub attributes_left: u64,
    /// Mount points, which are not crossed.
    pub mounts: u64,
    /// Files that were to get another owner and are no longer there.
    pub gone: u64,
}

/// Looks at every file below a root, and tells `each` what needs a change.
pub(super) fn list(
    root: BorrowedFd<'_>,
    shift: &Shift,
    each: &mut dyn FnMut(&Change) -> Result<()>,
) -> Result<Tally> {
    let mut look = Look { shift, each, tally: Tally::default(), linked: HashSet::new() };
    let top = file::open_beneath(root, Path::new(""), Open::Directory)?;
    look.file(&top, &file::status(top.as_fd())?, Path::new("")).doing("looking at the root directory")?;
    let mut waiting = vec![PathBuf::new()];
    while let Some(dir) = waiting.pop() {
        look.directory(root, &dir, &mut waiting).doing_with(|| format!("looking at /{}", dir.display()))?;
    }
    Ok(look.tally)
}

struct Look<'a> {
    shift: &'a Shift,
    each: &'a mut dyn FnMut(&Change) -> Result<()>,
    tally: Tally,
    /// Files with several names that have been seen.
    linked: HashSet<(u64, u64)>,
}

impl Look<'_> {
    fn directory(&mut self, root: BorrowedFd<'_>, at: &Path, waiting: &mut Vec<PathBuf>) -> Result<()> {
        let dir = file::open_beneath(root, at, Open::Directory)?;
        for name in path::names(dir.as_fd())? {
            let path = at.join(&name);
            let is_dir = self.entry(dir.as_fd(), &name, &path).doing_with(|| path.display().to_string())?;
            waiting.extend(is_dir.then_some(path));
        }
        Ok(())
    }

    /// Looks at one name, and tells whether it is a directory to look into.
    fn entry(&mut self, dir: BorrowedFd<'_>, name: &OsStr, path: &Path) -> Result<bool> {
        let status = file::status_at(dir, name)?;
        let is_dir = status.kind == FileKind::Directory;
        if !is_dir && status.links > 1 && !self.linked.insert(status.identity) {
            return Ok(false);
        }
        let how = match status.kind {
            FileKind::Directory => Open::Directory,
            FileKind::File | FileKind::Fifo => Open::File,
            _ => {
                self.found(path, What::Name, &status, Vec::new(), false)?;
                return Ok(false);
            }
        };
        match file::open_beneath(dir, Path::new(name), how) {
            Err(e) if e.errno() == Errno::EXDEV => {
                self.tally.mounts += 1;
                Ok(false)
            }
            opened => self.file(&opened?, &status, path).map(|()| is_dir),
        }
    }

    fn file(&mut self, fd: &OwnedFd, status: &Status, path: &Path) -> Result<()> {
        let what = if status.kind == FileKind::Directory { What::Directory } else { What::File };
        let (mut xattrs, mut differ) = (Vec::new(), false);
        for name in file::xattr_names(fd.as_fd())? {
            let Some(name) = WITH_IDS.iter().find(|known| name == **known) else { continue };
            let to = |kind, id| match self.shift.way(kind, id) {
                Way::To(id) => Some(id),
                _ => None,
            };
            // EOVERFLOW: file capabilities for the root of another container.
            let old = file::xattr(fd.as_fd(), OsStr::new(name)).ok();
            match old.as_deref().and_then(|old| shifted(name, old, to)) {
                Some(new) => {
                    // An ACL that stays as it is needs no writing; capabilities do, after a change of owner.
                    let is_new = old.as_deref() != Some(&new[..]);
                    differ |= is_new;
                    if is_new || *name == CAPABILITY {
                        xattrs.push(((*name).to_owned(), new));
                    }
                }
                None => self.tally.attributes_left += 1,
            }
        }
        self.found(path, what, status, xattrs, differ)
    }

    fn found(
        &mut self,
        path: &Path,
        what: What,
        status: &Status,
        xattrs: Vec<(String, Vec<u8>)>,
        xattrs_differ: bool,
    ) -> Result<()> {
        self.tally.files += 1;
        let uid = self.owner(IdKind::User, status.uid, path)?;
        let gid = self.owner(IdKind::Group, status.gid, path)?;
        // chown(2) asks for power over both, so a file that is half a stranger's is one.
        let (Some(uid), Some(gid)) = (uid, gid) else {
            self.tally.strangers += 1;
            self.tally.first_stranger.get_or_insert_with(|| format!("/{}", path.display()));
            return Ok(());
        };
        if (uid, gid) == (status.uid, status.gid) && !xattrs_differ {
            return Ok(());
        }
        self.tally.changed += 1;
        let path = path.as_os_str().as_bytes().to_vec();
        (self.each)(&Change { path, what, uid, gid, mode: status.mode, xattrs })
    }

    /// Returns the new owner; none for a stranger.
    fn owner(&self, kind: IdKind, id: u32, path: &Path) -> Result<Option<u32>> {
        match self.shift.way(kind, id) {
            Way::To(id) => Ok(Some(id)),
            Way::Stranger => Ok(None),
            Way::NoPlace { inside } => {
                let what = if kind == IdKind::User { "user" } else { "group" };
                let cause = format!(
                    "/{} belongs to {what} {inside}, which the new map does not have",
                    path.display()
                );
                Err(Error::new(Kind::IdRange, cause))
            }
        }
    }
}

/// Makes one change; done twice it is the same. Tells whether the file was there.
pub(super) fn apply(root: BorrowedFd<'_>, change: &Change) -> Result<bool> {
    let path = PathBuf::from(OsString::from_vec(change.path.clone()));
    match change.apply(root, &path) {
        // Nobody but its owner could have changed the tree, and may.
        Err(e) if matches!(e.errno(), Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::ENXIO) => {
            Ok(false)
        }
        applied => applied.map(|()| true).doing_with(|| format!("shifting /{}", path.display())),
    }
}

impl Change {
    fn apply(&self, root: BorrowedFd<'_>, path: &Path) -> sys::Result<()> {
        let how = match self.what {
            What::Directory => Open::Directory,
            What::File => Open::File,
            What::Name => return self.apply_by_name(root, path),
        };
        let file = file::open_beneath(root, path, how)?;
        path::set_owner(file.as_fd(), self.uid, self.gid)?;
        for (name, value) in &self.xattrs {
            file::set_xattr(file.as_fd(), OsStr::new(name), value)?;
        }
        path::set_mode(file.as_fd(), self.mode)
    }

    fn apply_by_name(&self, root: BorrowedFd<'_>, path: &Path) -> sys::Result<()> {
        let dir = file::open_beneath(root, path.parent().unwrap_or(path), Open::Handle)?;
        path::set_owner_at(dir.as_fd(), path.file_name().unwrap_or_default(), self.uid, self.gid)
    }
}
