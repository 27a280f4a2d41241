//! The new tree: the one place that writes.
//!
//! Every file is made below the fd of its directory, which is resolved from the root without following a link, so a
//! directory that the archive has replaced by a link leads nowhere. Files are made exclusively (O_EXCL): what is in
//! the way is removed first, and nothing is ever written, chmodded or linked through a name that exists.
//!
//! Directories belong to root, with mode 0700, until all else is done: then they get owner, mode, ACLs and time, the
//! deepest first. So no set-group-ID bit and no default ACL of a directory reaches the files made in it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde::Serialize;
use sys::file::{self, Kind, Open, Time};
use sys::{Errno, path};

use crate::entry_path::EntryPath;
use crate::error::{At, Error, Problem, Shown};
use crate::flush::Flusher;
use crate::ids::Ids;
use crate::xattr::{self, Fate};

/// How many directory fds are kept. Archives go through a tree in depth, so few are enough.
const CACHED: usize = 16;
/// How many bytes of attributes of directories are remembered for the end.
const MAX_LATE: usize = 256 << 20;

/// What is known of a file besides its content.
#[derive(Clone, Debug)]
pub(crate) struct Attributes {
    /// The low twelve bits of `st_mode`.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: Time,
    pub xattrs: Vec<(OsString, Vec<u8>)>,
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Files, directories, links and the rest that were made.
    pub entries: u64,
    /// Bytes of data in them.
    pub bytes: u64,
    /// Device nodes that were left out.
    pub devices_skipped: u64,
    /// Extended attributes that were left out.
    pub xattrs_dropped: u64,
    /// Mount points below a copied directory that were left out, or made as empty directories.
    pub mounts_skipped: u64,
    /// The first attribute that a user would miss, and its file.
    #[serde(skip)]
    pub missed_xattr: Option<(OsString, Shown)>,
}

/// A tree that is being written.
pub(crate) struct Tree {
    root: OwnedFd,
    ids: Ids,
    /// The ids that new files have; none where a directory may have given them others.
    own: Option<(u32, u32)>,
    parents: Vec<(PathBuf, Rc<OwnedFd>)>,
    late: BTreeMap<EntryPath, Attributes>,
    late_bytes: usize,
    flusher: Flusher,
    pub report: Report,
}

impl Tree {
    /// Starts a tree in an empty directory.
    pub(crate) fn new(root: BorrowedFd<'_>, ids: Ids) -> Result<Self, Problem> {
        let root = file::open_beneath(root, Path::new(""), Open::Directory)?;
        let status = file::status(root.as_fd())?;
        // Both can be inherited from the directory above, and would spread to all that is made here.
        if status.mode & 0o2000 != 0 {
            path::set_mode(root.as_fd(), status.mode & 0o5777)?;
        }
        file::remove_xattr(root.as_fd(), OsStr::new("system.posix_acl_default"))?;
        sys::process::set_umask(0);
        let own = Some((sys::cred::real_uid().0, sys::cred::real_gid().0));
        let (parents, late) = (Vec::with_capacity(CACHED), BTreeMap::new());
        let flusher = Flusher::start(root.as_fd())?;
        Ok(Self { root, ids, own, parents, late, late_bytes: 0, flusher, report: Report::default() })
    }

    /// Has every file given its owner: directories that are there already may have a set-group-ID bit.
    pub(crate) fn give_all_owners(&mut self) {
        self.own = None;
    }

    /// Removes something with all that is in it, where it is there.
    pub(crate) fn remove(&mut self, path: &EntryPath) -> Result<(), Problem> {
        let Some((parent, name)) = path.split() else {
            return Err(Problem::Refused("the root of the tree cannot be removed"));
        };
        self.parents.clear();
        match file::open_beneath(self.root.as_fd(), parent, Open::Directory) {
            Err(e) if matches!(e.errno(), Errno::ENOENT | Errno::ELOOP | Errno::ENOTDIR) => Ok(()),
            opened => Ok(file::remove_tree(opened?.as_fd(), name)?),
        }
    }

    /// Returns the names in a directory; none where there is no directory.
    pub(crate) fn names(&mut self, path: &EntryPath) -> Result<Vec<OsString>, Problem> {
        match file::open_beneath(self.root.as_fd(), path.as_path(), Open::Directory) {
            Err(e) if matches!(e.errno(), Errno::ENOENT | Errno::ELOOP | Errno::ENOTDIR) => Ok(Vec::new()),
            opened => Ok(path::names(opened?.as_fd())?),
        }
    }

    /// Tells whether there is a directory.
    pub(crate) fn has_directory(&mut self, path: &EntryPath) -> bool {
        file::open_beneath(self.root.as_fd(), path.as_path(), Open::Directory).is_ok()
    }

    /// Makes an empty regular file, open for writing.
    pub(crate) fn make_file(&mut self, path: &EntryPath, mode: u32) -> Result<OwnedFd, Problem> {
        self.report.entries += 1;
        self.make(path, |dir, name| file::create(dir, name, mode & 0o777))
    }

    /// Gives a regular file, whose content is complete, its attributes. Writing would take some of them away again.
    pub(crate) fn finish_file(
        &mut self,
        path: &EntryPath,
        fd: BorrowedFd<'_>,
        attributes: &Attributes,
    ) -> Result<(), Problem> {
        self.set_owner(attributes, |uid, gid| path::set_owner(fd, uid, gid))?;
        if attributes.mode & 0o7000 != 0 {
            path::set_mode(fd, attributes.mode)?;
        }
        self.set_xattrs(path, fd, attributes)?;
        Ok(file::set_time(fd, attributes.mtime)?)
    }

    /// Makes a directory; one that exists is kept, and gets the new attributes.
    pub(crate) fn make_directory(&mut self, path: &EntryPath, attributes: Attributes) -> Result<(), Problem> {
        self.report.entries += 1;
        if path.split().is_some() && !self.is_directory(path)? {
            self.make(path, |dir, name| path::make_dir(dir, name, 0o700))?;
        }
        let xattrs: usize = attributes.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.late_bytes += path.as_path().as_os_str().len() + xattrs + size_of::<Attributes>();
        if self.late_bytes > MAX_LATE {
            return Err(Problem::TooMuch { limit: MAX_LATE as u64, of: "bytes of directory names" });
        }
        self.late.insert(path.clone(), attributes);
        Ok(())
    }

    fn is_directory(&mut self, path: &EntryPath) -> Result<bool, Problem> {
        let (parent, name) = self.place(path)?;
        match file::status_at(parent.as_fd(), &name) {
            Ok(status) => Ok(status.kind == Kind::Directory),
            Err(e) if e.errno() == Errno::ENOENT => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    /// Makes a symbolic link.
    pub(crate) fn make_symlink(
        &mut self,
        path: &EntryPath,
        target: &Path,
        attributes: &Attributes,
    ) -> Result<(), Problem> {
        self.report.entries += 1;
        self.make(path, |dir, name| path::make_symlink(target, dir, name))?;
        self.finish_by_name(path, attributes)
    }

    /// Makes a FIFO.
    pub(crate) fn make_fifo(&mut self, path: &EntryPath, attributes: &Attributes) -> Result<(), Problem> {
        self.report.entries += 1;
        self.make(path, |dir, name| file::make_fifo(dir, name, attributes.mode))?;
        self.finish_by_name(path, attributes)
    }

    /// A link or FIFO just made, in a directory that nobody else may enter yet. Neither is opened, so neither
    /// keeps extended attributes.
    fn finish_by_name(&mut self, path: &EntryPath, attributes: &Attributes) -> Result<(), Problem> {
        let (parent, name) = self.place(path)?;
        self.set_owner(attributes, |uid, gid| path::set_owner_at(parent.as_fd(), &name, uid, gid))?;
        for (attribute, _) in &attributes.xattrs {
            self.drop_xattr(path, attribute, xattr::fate(attribute) != Fate::Drop);
        }
        Ok(file::set_time_at(parent.as_fd(), &name, attributes.mtime)?)
    }

    /// Makes a further name of a regular file of this tree.
    pub(crate) fn make_hard_link(&mut self, path: &EntryPath, target: &EntryPath) -> Result<(), Problem> {
        self.report.entries += 1;
        let (old_parent, old_name) = self.place(target)?;
        if file::status_at(old_parent.as_fd(), &old_name)?.kind != Kind::File {
            return Err(Problem::Refused("a hard link to something that is not a regular file"));
        }
        if path == target {
            return Ok(());
        }
        self.make(path, |dir, name| file::make_link(old_parent.as_fd(), &old_name, dir, name))
    }

    /// Gives the directories their attributes, and writes everything to the disk.
    pub(crate) fn finish(mut self) -> Result<Report, Error> {
        self.parents.clear();
        for (path, attributes) in std::mem::take(&mut self.late).into_iter().rev() {
            self.finish_directory(&path, &attributes).at(path.as_path())?;
        }
        drop(self.flusher);
        file::sync_filesystem(self.root.as_fd()).map_err(|e| Error::Whole(e.into()))?;
        Ok(self.report)
    }

    fn finish_directory(&mut self, path: &EntryPath, attributes: &Attributes) -> Result<(), Problem> {
        let fd = file::open_beneath(self.root.as_fd(), path.as_path(), Open::Directory)?;
        self.set_owner(attributes, |uid, gid| path::set_owner(fd.as_fd(), uid, gid))?;
        path::set_mode(fd.as_fd(), attributes.mode)?;
        self.set_xattrs(path, fd.as_fd(), attributes)?;
        Ok(file::set_time(fd.as_fd(), attributes.mtime)?)
    }

    /// Makes something at `path`. What is there already goes, as in tar: the later entry counts.
    fn make<T>(
        &mut self,
        path: &EntryPath,
        make: impl Fn(BorrowedFd<'_>, &OsStr) -> sys::Result<T>,
    ) -> Result<T, Problem> {
        let (parent, name) = self.place(path)?;
        match make(parent.as_fd(), &name) {
            Err(e) if e.errno() == Errno::EEXIST => {
                self.clear(path, parent.as_fd(), &name)?;
                Ok(make(parent.as_fd(), &name)?)
            }
            made => Ok(made?),
        }
    }

    fn clear(&mut self, path: &EntryPath, parent: BorrowedFd<'_>, name: &OsStr) -> Result<(), Problem> {
        match path::remove_file(parent, name) {
            Err(e) if e.errno() == Errno::EISDIR => {}
            removed => return Ok(removed?),
        }
        self.parents.clear();
        self.late.remove(path);
        match path::remove_dir(parent, name) {
            Err(e) if e.errno() == Errno::ENOTEMPTY => {
                Err(Problem::Refused("it would replace a directory that is not empty"))
            }
            removed => Ok(removed?),
        }
    }

    /// Returns the fd of the directory that holds `path`, and the name in it.
    fn place(&mut self, path: &EntryPath) -> Result<(Rc<OwnedFd>, OsString), Problem> {
        let Some((parent, name)) = path.split() else {
            return Err(Problem::Refused("the root of the tree can only be a directory"));
        };
        Ok((self.parent(parent)?, name.to_owned()))
    }

    fn parent(&mut self, path: &Path) -> Result<Rc<OwnedFd>, Problem> {
        if let Some(at) = self.parents.iter().rposition(|(cached, _)| cached == path) {
            let found = self.parents.remove(at);
            let fd = Rc::clone(&found.1);
            self.parents.push(found);
            return Ok(fd);
        }
        let fd = Rc::new(self.open_parent(path)?);
        if self.parents.len() == CACHED {
            self.parents.remove(0);
        }
        self.parents.push((path.to_owned(), Rc::clone(&fd)));
        Ok(fd)
    }

    fn open_parent(&mut self, path: &Path) -> Result<OwnedFd, Problem> {
        match file::open_beneath(self.root.as_fd(), path, Open::Handle) {
            Err(e) if e.errno() == Errno::ENOENT => {}
            Err(e) if matches!(e.errno(), Errno::ELOOP | Errno::ENOTDIR) => {
                return Err(Problem::Refused("a directory of its path is a symbolic link or a file"));
            }
            opened => return Ok(opened?),
        }
        // An archive may leave out directories: they are made as root's, as tar does.
        if let (Some(above), Some(name)) = (path.parent(), path.file_name()) {
            let above = self.parent(above)?;
            path::make_dir(above.as_fd(), name, 0o755)?;
        }
        Ok(file::open_beneath(self.root.as_fd(), path, Open::Handle)?)
    }

    fn set_owner(
        &self,
        attributes: &Attributes,
        chown: impl Fn(u32, u32) -> sys::Result<()>,
    ) -> Result<(), Problem> {
        let (uid, gid) = self.ids.map(attributes.uid, attributes.gid);
        if Some((uid, gid)) == self.own {
            return Ok(());
        }
        chown(uid, gid).map_err(|e| match e.errno() {
            // To chown(2), an id that the user namespace does not map is an invalid argument.
            Errno::EINVAL => match chown(uid, 0) {
                Ok(()) => Problem::UnmappedId { kind: "group", id: gid },
                Err(_) => Problem::UnmappedId { kind: "user", id: uid },
            },
            _ => e.into(),
        })
    }

    fn set_xattrs(
        &mut self,
        path: &EntryPath,
        fd: BorrowedFd<'_>,
        attributes: &Attributes,
    ) -> Result<(), Problem> {
        for (name, value) in &attributes.xattrs {
            match xattr::fate(name) {
                Fate::Keep => self.set_xattr(path, fd, name, value)?,
                fate => self.drop_xattr(path, name, fate == Fate::DropAloud),
            }
        }
        Ok(())
    }

    fn set_xattr(
        &mut self,
        path: &EntryPath,
        fd: BorrowedFd<'_>,
        name: &OsStr,
        value: &[u8],
    ) -> Result<(), Problem> {
        match file::set_xattr(fd, name, &xattr::value_here(name, value)) {
            // Some file systems have no such attributes.
            Err(e) if matches!(e.errno(), Errno::EOPNOTSUPP | Errno::EPERM) => {
                self.drop_xattr(path, name, true);
                Ok(())
            }
            // An access control list that names ids which are not mapped: where one id is all there is, none other can
            // have rights.
            Err(e) if e.errno() == Errno::EINVAL && self.ids == Ids::Flatten && xattr::is_acl(name) => {
                self.drop_xattr(path, name, false);
                Ok(())
            }
            set => Ok(set?),
        }
    }

    /// Counts an attribute that is left out, and remembers the first that a user would miss.
    pub(crate) fn drop_xattr(&mut self, path: &EntryPath, name: &OsStr, missed: bool) {
        use std::os::unix::ffi::OsStrExt;
        self.report.xattrs_dropped += 1;
        if missed && self.report.missed_xattr.is_none() {
            let shown = Shown::new(path.as_path().as_os_str().as_bytes());
            self.report.missed_xattr = Some((name.to_owned(), shown));
        }
    }
}
