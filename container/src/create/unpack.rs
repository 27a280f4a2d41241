//! Unpacking, by the program `bryo-image` inside the mapped user namespace.

use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use sys::process::{self, Exec};
use sys::{path, tty};
use types::{IdExtent, IdKind, IdMap, NsGid, NsUid};

use super::Filling;
use crate::error::{Doing, Error, Kind, Result};
use crate::idmap::{self, MappedNamespace};
use crate::place::from_io;

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the archive that have been read; 0 for a directory.
    pub read: u64,
    /// Size of the archive, where it is a file.
    pub total: Option<u64>,
}

/// What `bryo-image` says at its end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Unpacked {
    /// Files, directories, links.
    pub entries: u64,
    /// Bytes of file contents.
    pub bytes: u64,
    /// Device nodes that no user namespace can make.
    pub devices_skipped: u64,
    /// Extended attributes that mean nothing in a container.
    pub xattrs_dropped: u64,
}

/// What an id that is not mapped looks like inside a user namespace. Source: /proc/sys/kernel/overflowuid.
const NOBODY: u32 = 65_534;

/// How often progress is told.
const TICK: Duration = Duration::from_millis(100);

impl Filling<'_> {
    /// Unpacks an archive below the root with the given verb and options of `bryo-image`.
    pub(super) fn unpack(&mut self, archive: &OwnedFd, words: &[&str]) -> Result<Unpacked> {
        let root = self.root;
        self.unpack_to(root.dir()?, archive, words)
    }

    pub(super) fn unpack_to(
        &mut self,
        root: BorrowedFd<'_>,
        archive: &OwnedFd,
        words: &[&str],
    ) -> Result<Unpacked> {
        let mut arguments: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
        arguments.extend(["--archive".to_owned(), archive.as_raw_fd().to_string()]);
        arguments.extend(["--root".to_owned(), root.as_raw_fd().to_string()]);
        if words.first() == Some(&"unpack") && idmap::is_own_id_only(self.idmap, &self.facts.caller) {
            arguments.extend(["--ids".to_owned(), "flatten".to_owned()]);
        }
        let namespace = self.namespace()?;
        self.run_image(&namespace, &arguments, &[archive.as_fd(), root], Some(archive))
    }

    /// Copies a directory. Ids of the container (a root file system of another container, or one made with the same map)
    /// are kept, the caller's own files become root's. So do those of the tree's owner where nobody of the container
    /// is meant: a tree that root made on the host.
    pub(super) fn copy(&mut self, source: &Path, excludes: &[&str]) -> Result<Unpacked> {
        let dir = path::open_dir(source).map_err(|e| Error::from(e).of_kind(Kind::Image))?;
        let caller = &self.facts.caller;
        let mut map = self.idmap.with_caller(caller.uid, caller.gid);
        let found = path::status(dir.as_fd())?;
        let ids = if idmap::is_own_id_only(self.idmap, caller) {
            "flatten".to_owned()
        } else {
            let owner = map.ns_uid(types::HostUid(found.st_uid)).map(|uid| uid.0);
            let group = map.ns_gid(types::HostGid(found.st_gid)).map(|gid| gid.0);
            match idmap::me(self.idmap, caller) {
                Some((uid, Some(gid))) if owner == Some(0) => self.keep_me(&mut map, uid, gid),
                _ => {
                    let uid = whose(owner, map.ns_uid(caller.uid).map(|uid| uid.0));
                    let gid = whose(group, map.ns_gid(caller.gid).map(|gid| gid.0));
                    format!("own:{uid}:{gid}")
                }
            }
        };
        let root = self.root.dir()?;
        let arguments =
            ["copy", "--source", &dir.as_raw_fd().to_string(), "--root", &root.as_raw_fd().to_string()];
        let mut arguments = arguments.map(str::to_owned).to_vec();
        arguments.extend(["--ids".to_owned(), ids]);
        arguments.extend(excludes.iter().flat_map(|pattern| ["--exclude".to_owned(), (*pattern).to_owned()]));
        let namespace = MappedNamespace::new(&map, &self.facts.id_writer, caller)?;
        self.run_image(&namespace, &arguments, &[dir.as_fd(), root], None)
            .doing_with(|| format!("copying {}", source.display()))
    }

    /// Removes what is to be left out of a root file system that another program has made.
    pub(super) fn prune(&mut self, excludes: &[&str]) -> Result<()> {
        if excludes.is_empty() {
            return Ok(());
        }
        let root = self.root.dir()?;
        let mut arguments = ["prune", "--root", &root.as_raw_fd().to_string()].map(str::to_owned).to_vec();
        arguments.extend(excludes.iter().flat_map(|pattern| ["--exclude".to_owned(), (*pattern).to_owned()]));
        let namespace = self.namespace()?;
        self.run_image(&namespace, &arguments, &[root], None)
            .map(drop)
            .doing("leaving out what the image leaves out")
    }

    /// A tree of container root's, and the caller is a user inside: its own files are that user's and stay so. In a tree of
    /// a container without such a user that id has files of a subordinate id, which this map lacks; they become the user's.
    fn keep_me(&self, map: &mut IdMap, uid: NsUid, gid: NsGid) -> String {
        let usual = idmap::choose(self.facts);
        let lost = (usual.host_uid(uid), usual.host_gid(gid));
        let mut shown_as = |kind: IdKind, lost: Option<u32>| {
            let free = map.first_free_inside(kind);
            let extent = IdExtent::new(free, lost?.into(), 1).ok()?;
            map.push(kind, extent);
            Some(extent.inside.start())
        };
        let from_uid =
            shown_as(IdKind::User, lost.0.filter(|id| self.idmap.ns_uid(*id).is_none()).map(|id| id.0));
        let from_gid =
            shown_as(IdKind::Group, lost.1.filter(|id| self.idmap.ns_gid(*id).is_none()).map(|id| id.0));
        format!("give:{}:{}:{uid}:{gid}", from_uid.unwrap_or(uid.0), from_gid.unwrap_or(gid.0))
    }

    fn run_image(
        &mut self,
        namespace: &MappedNamespace,
        arguments: &[String],
        fds: &[BorrowedFd<'_>],
        archive: Option<&OwnedFd>,
    ) -> Result<Unpacked> {
        let program = path::open_read(&self.facts.programs.image).doing("opening bryo-image")?;
        let (reader, writer) = std::io::pipe().map_err(from_io)?;
        let work = namespace.start(|| {
            process::place_at(tty::null()?.as_fd(), 0)?;
            process::place_at(writer.as_fd(), 1)?;
            process::place_at(writer.as_fd(), 2)?;
            for fd in fds {
                process::keep_on_exec(*fd)?;
            }
            let argv: Vec<String> =
                std::iter::once("bryo-image".to_owned()).chain(arguments.iter().cloned()).collect();
            Err(Exec::new(&argv, &[])?.fd(program.as_fd()).into())
        })?;
        drop(writer);
        let total = archive.and_then(size);
        while !work.has_ended_within(TICK)? {
            if let Err(no_more) = (self.progress)(Progress { read: archive.map_or(0, position), total }) {
                work.end()?;
                return Err(no_more);
            }
        }
        let mut said = String::new();
        reader.take(1 << 16).read_to_string(&mut said).map_err(from_io)?;
        match work.wait() {
            Ok(()) => Ok(said.lines().last().map(summary).unwrap_or_default()),
            Err(failure) => Err(match said.lines().find(|line| !line.trim().is_empty()) {
                Some(said) => Error::new(Kind::Image, said.trim_start_matches("bryo-image: ")),
                None => failure.of_kind(Kind::Image).doing("running bryo-image"),
            }),
        }
    }
}

/// Decides whose files become root's: the caller's, or where the tree's owner is nobody in the namespace, that one's.
fn whose(owner: Option<u32>, caller: Option<u32>) -> u32 {
    caller.filter(|_| owner.is_some()).unwrap_or(NOBODY)
}

/// The archive's size, where it is a file.
fn size(archive: &OwnedFd) -> Option<u64> {
    let file = std::fs::File::from(archive.try_clone().ok()?);
    let found = file.metadata().ok()?;
    let readable = file.read_at(&mut [0], 0).is_ok();
    (found.is_file() && readable).then(|| found.size())
}

/// How much of the archive has been read: the unpacker shares the open file, and so its offset.
fn position(archive: &OwnedFd) -> u64 {
    sys::path::offset(archive.as_fd()).unwrap_or(0)
}

fn summary(line: &str) -> Unpacked {
    serde_json::from_str(line).unwrap_or_default()
}
