//! Copying: a directory, file by file, into a tree.
//!
//! The source may change meanwhile, and may belong to somebody else: each of its directories is opened from its
//! root without following links, and each file is looked at again after it was opened.

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use sys::file::{self, Kind, Open, Status, Time};
use sys::{Errno, path};

use crate::entry_path::EntryPath;
use crate::error::{At, Error, Problem};
use crate::exclude::Excludes;
use crate::ids::Ids;
use crate::tree::{Attributes, Report, Tree};
use crate::xattr::{self, Fate};

/// Copies a directory into an empty one, with owners (changed by `ids`), modes, times, hard links, extended
/// attributes and holes, but for what is to be left out. Mount points below it are not entered; devices and sockets are left out.
///
/// # Errors
/// The first thing that fails, with its file; the new directory is then to be removed.
pub fn copy(
    source: BorrowedFd<'_>,
    root: BorrowedFd<'_>,
    ids: Ids,
    excludes: Excludes,
) -> Result<Report, Error> {
    let mut copying = Copying {
        source,
        tree: Tree::new(root, ids).map_err(Error::Whole)?,
        linked: HashMap::new(),
        waiting: vec![EntryPath::root()],
        excludes,
        sharing: true,
    };
    while let Some(directory) = copying.waiting.pop() {
        copying.directory(&directory)?;
    }
    copying.tree.finish()
}

struct Copying<'a> {
    source: BorrowedFd<'a>,
    tree: Tree,
    /// The first name of each file that has several, by device and inode.
    linked: HashMap<(u64, u64), EntryPath>,
    waiting: Vec<EntryPath>,
    excludes: Excludes,
    /// The two file systems may be able to share data.
    sharing: bool,
}

impl Copying<'_> {
    /// Makes a directory, and copies what is in it; the directories in it have to wait.
    fn directory(&mut self, at: &EntryPath) -> Result<(), Error> {
        let fd = match file::open_beneath(self.source, at.as_path(), Open::Directory) {
            Err(e) if e.errno() == Errno::EXDEV => return self.mount_point(at),
            opened => opened.at(at.as_path())?,
        };
        let mut kept = attributes(&file::status(fd.as_fd()).at(at.as_path())?);
        kept.xattrs = self.xattrs(at, fd.as_fd()).at(at.as_path())?;
        self.tree.make_directory(at, kept).at(at.as_path())?;
        for name in path::names(fd.as_fd()).at(at.as_path())? {
            let inside = at.join(&name).at(&at.as_path().join(&name))?;
            if !self.excludes.leave_out(&inside).at(inside.as_path())? {
                self.entry(fd.as_fd(), &inside, &name).at(inside.as_path())?;
            }
        }
        Ok(())
    }

    /// A mounted file system is not part of the tree; the place to mount it is.
    fn mount_point(&mut self, at: &EntryPath) -> Result<(), Error> {
        self.tree.report.mounts_skipped += 1;
        let plain = Attributes { mode: 0o755, uid: 0, gid: 0, mtime: Time::default(), xattrs: Vec::new() };
        self.tree.make_directory(at, plain).at(at.as_path())
    }

    fn entry(&mut self, dir: BorrowedFd<'_>, path: &EntryPath, name: &OsString) -> Result<(), Problem> {
        let status = file::status_at(dir, name)?;
        match status.kind {
            Kind::Directory => self.waiting.push(path.clone()),
            Kind::File => self.file(dir, path, name)?,
            Kind::Symlink => {
                let target = PathBuf::from(file::read_link(dir, name)?);
                self.tree.make_symlink(path, &target, &attributes(&status))?;
            }
            Kind::Fifo => self.tree.make_fifo(path, &attributes(&status))?,
            Kind::Device => self.tree.report.devices_skipped += 1,
            // A socket is an address of a running process, and the copy has none.
            Kind::Socket => {}
        }
        Ok(())
    }

    fn file(&mut self, dir: BorrowedFd<'_>, path: &EntryPath, name: &OsString) -> Result<(), Problem> {
        let source = match file::open_beneath(dir, name.as_ref(), Open::File) {
            Err(e) if e.errno() == Errno::EXDEV => {
                self.tree.report.mounts_skipped += 1;
                return Ok(());
            }
            opened => opened?,
        };
        let status = file::status(source.as_fd())?;
        if status.kind != Kind::File {
            return Err(Problem::Refused("it has changed while it was copied"));
        }
        if let Some(first) = self.linked.get(&status.identity).cloned() {
            return self.tree.make_hard_link(path, &first);
        }
        let mut kept = attributes(&status);
        kept.xattrs = self.xattrs(path, source.as_fd())?;
        let target = self.tree.make_file(path, kept.mode)?;
        self.content(&source, &target, status.length)?;
        self.tree.finish_file(path, target.as_fd(), &kept)?;
        if status.links > 1 {
            self.linked.insert(status.identity, path.clone());
        }
        Ok(())
    }

    /// Shares the data where the file systems can, else copies it and leaves out the holes.
    fn content(&mut self, source: &OwnedFd, target: &OwnedFd, length: u64) -> Result<(), Problem> {
        let (source, target) = (source.as_fd(), target.as_fd());
        if self.sharing && length > 0 {
            match file::share_contents(source, target) {
                Ok(()) => {
                    self.tree.report.bytes += length;
                    return Ok(());
                }
                Err(_) => self.sharing = false,
            }
        }
        let mut at = 0;
        while let Some((start, end)) = file::next_data(source, at)? {
            file::copy_range(source, target, start, end)?;
            self.tree.report.bytes += end - start;
            at = end;
        }
        if at < length {
            file::set_length(target, length)?;
        }
        Ok(())
    }

    /// Reads the extended attributes that are kept, and counts the others.
    fn xattrs(&mut self, path: &EntryPath, fd: BorrowedFd<'_>) -> Result<Vec<(OsString, Vec<u8>)>, Problem> {
        let mut kept = Vec::new();
        for name in file::xattr_names(fd)? {
            match (xattr::fate(&name), file::xattr(fd, &name)) {
                (Fate::Keep, Ok(value)) => kept.push((name, value)),
                // EOVERFLOW: file capabilities for the root of another container.
                (fate, _) => self.tree.drop_xattr(path, &name, fate != Fate::Drop),
            }
        }
        Ok(kept)
    }
}

fn attributes(status: &Status) -> Attributes {
    let Status { mode, uid, gid, mtime, .. } = *status;
    Attributes { mode, uid, gid, mtime, xattrs: Vec::new() }
}
