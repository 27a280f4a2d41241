//! Unpacking: entries of an archive, in order, into a tree.

use std::collections::HashSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use sys::file;
use types::Digest;

use crate::archive::{Archive, Content, Entry};
use crate::entry_path::EntryPath;
use crate::error::{At, Error, Problem};
use crate::exclude::Excludes;
use crate::hashed::Hashed;
use crate::ids::Ids;
use crate::layer::{Gone, Layer};
use crate::sparse::Body;
use crate::stream::Stream;
use crate::tree::{Report, Tree};

/// What an archive is expected to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Archived {
    /// A root file system.
    RootFilesystem,
    /// A change of a root file system, as registries have it: it may replace and remove what is there.
    Layer,
    /// The small files that describe one: regular files and directories, which belong to whoever unpacks them.
    Metadata,
}

impl Archived {
    pub(crate) fn max_bytes(self) -> u64 {
        match self {
            Self::Metadata => 16 << 20,
            _ => 64 << 30,
        }
    }

    pub(crate) fn max_entries(self) -> u64 {
        match self {
            Self::Metadata => 10_000,
            _ => 10_000_000,
        }
    }

    /// A link in metadata could make its reader open a file of the host.
    pub(crate) fn check(self, content: &Content) -> Result<(), Problem> {
        match content {
            Content::File(_) | Content::Directory => Ok(()),
            _ if self != Self::Metadata => Ok(()),
            _ => Err(Problem::Refused("metadata holds regular files and directories only")),
        }
    }
}

/// Unpacks an archive into an empty directory; a layer into the directory of those below it.
///
/// With a digest, what is read is compared with it at the end: nobody can change the archive between the two.
///
/// # Errors
/// The first thing that is wrong, with its entry; or the archive is another one. The directory is then to be removed.
pub fn unpack(
    archive: OwnedFd,
    root: BorrowedFd<'_>,
    what: Archived,
    ids: Ids,
    excludes: &Excludes,
    wanted: Option<Digest>,
) -> Result<Report, Error> {
    let (archive, whole) = Hashed::new(archive.into(), wanted);
    let stream = Stream::start(archive, what.max_bytes()).map_err(Error::Whole)?;
    let mut unpacking = Unpacking {
        archive: Archive::new(stream, what.max_entries()),
        tree: Tree::new(root, ids).map_err(Error::Whole)?,
        devices: HashSet::new(),
        layer: (what == Archived::Layer).then(Layer::default),
    };
    if what == Archived::Layer {
        unpacking.tree.give_all_owners();
    }
    while let Some(entry) = unpacking.archive.next()? {
        if !excludes.leave_out(&entry.path).at(entry.path.as_path())? {
            what.check(&entry.content).at(entry.path.as_path())?;
            unpacking.add(&entry).at(entry.path.as_path())?;
        }
    }
    unpacking.archive.finish()?;
    whole.check().map_err(Error::Whole)?;
    unpacking.tree.finish()
}

struct Unpacking {
    archive: Archive,
    tree: Tree,
    /// Device nodes that were left out: a hard link to one is left out too.
    devices: HashSet<EntryPath>,
    layer: Option<Layer>,
}

impl Unpacking {
    fn add(&mut self, entry: &Entry) -> Result<(), Problem> {
        let Entry { path, attributes, content } = entry;
        if let Some(layer) = &mut self.layer {
            if let Some(gone) = Gone::of(path)? {
                return layer.remove(&gone, &mut self.tree);
            }
            layer.make_room(path, content, &mut self.tree)?;
        }
        match content {
            Content::File(body) => self.add_file(entry, body),
            Content::Directory => self.tree.make_directory(path, attributes.clone()),
            Content::Symlink(target) => self.tree.make_symlink(path, target, attributes),
            Content::Fifo => self.tree.make_fifo(path, attributes),
            Content::HardLink(target) if self.devices.contains(target) => self.skip_device(path),
            Content::HardLink(target) => self.tree.make_hard_link(path, target),
            Content::Device => self.skip_device(path),
        }
    }

    /// mknod(2) of a device is refused in every user namespace but the first.
    fn skip_device(&mut self, path: &EntryPath) -> Result<(), Problem> {
        const MAX_DEVICES: usize = 100_000;
        self.tree.report.devices_skipped += 1;
        self.devices.insert(path.clone());
        match self.devices.len() {
            0..=MAX_DEVICES => Ok(()),
            _ => Err(Problem::TooMuch { limit: MAX_DEVICES as u64, of: "device nodes" }),
        }
    }

    fn add_file(&mut self, entry: &Entry, body: &Body) -> Result<(), Problem> {
        let fd = self.tree.make_file(&entry.path, entry.attributes.mode)?;
        let mut end = 0;
        for segment in &body.segments {
            end = segment.offset + segment.length;
            let mut at = segment.offset;
            while at < end {
                let data = self.archive.data(end - at)?;
                file::write_all_at(fd.as_fd(), data, at)?;
                at += data.len() as u64;
            }
            self.tree.report.bytes += segment.length;
        }
        if end < body.length {
            file::set_length(fd.as_fd(), body.length)?;
        }
        self.tree.finish_file(&entry.path, fd.as_fd(), &entry.attributes)
    }
}
