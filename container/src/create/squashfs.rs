//! A squashfs, unpacked by the host's `unsquashfs`: as container root, on a stage where nothing but the new root file system
//! can be written to, without a network.

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use sys::process::{self, Exit, flags};
use sys::{file, path};

use super::program::{self, Supervised};
use super::{Filled, Filling};
use crate::error::{Doing, Error, Kind, Result};
use crate::place::from_io;

/// How a squashfs begins. Source: the kernel's Documentation/filesystems/squashfs.rst.
const MAGIC: &[u8] = b"hsqs";
/// What unsquashfs(1) ends with where it could not make everything, such as device nodes, but has all data.
const NOT_ALL: i32 = 2;
/// A copy that is made for it.
const COPY: &str = ".squashfs";

/// Tells whether an archive is a squashfs. What cannot be read twice is none.
pub(super) fn is_one(archive: BorrowedFd<'_>) -> bool {
    sys::path::reread(archive, MAGIC.len()).is_ok_and(|start| start == MAGIC)
}

impl Filling<'_> {
    pub(super) fn squashfs(&mut self, archive: &OwnedFd) -> Result<Filled> {
        let missing = || {
            let cause = "it is a squashfs, and there is no unsquashfs on this host: install squashfs-tools";
            Error::new(Kind::Image, cause)
        };
        let tool: PathBuf = program::find("unsquashfs").ok_or_else(missing)?;
        let dir = std::fs::canonicalize(self.place.dir()).map_err(from_io)?;
        let copy = (!is_everybodys(archive.as_fd())?).then(|| readable(archive.as_fd(), &dir)).transpose()?;
        let archive = copy.as_ref().unwrap_or(archive);
        let source = format!("/proc/self/fd/{}", archive.as_raw_fd());
        let rootfs = dir.join("rootfs").display().to_string();
        let words = ["-no-progress", "-force", "-dest", &rootfs, &source].map(str::to_owned);
        let supervised = Supervised {
            words: words.to_vec(),
            environment: Vec::new(),
            kept: vec![archive.as_fd()],
            apart: flags::NEWNET | flags::NEWIPC,
            alone: true,
        };
        let work = |exit: Exit| {
            match exit {
            Exit::Code(0) => Ok(Vec::new()),
            Exit::Code(NOT_ALL) => Ok(vec![
                "not everything in the squashfs could be made: device nodes cannot, and owners beyond the ids of the container"
                    .to_owned(),
            ]),
            exit => Err(Error::new(Kind::Image, format!("unsquashfs ended with {}", program::shown(exit)))),
        }
        };
        let notes = self.supervise(&tool, &dir, String::new(), &supervised, |exit, _| work(exit));
        Ok(Filled { unpacked: None, notes: notes.doing("unpacking the squashfs")? })
    }
}

/// Tells whether everybody may read a file. Who opens it by a path of /proc is asked again.
fn is_everybodys(file: BorrowedFd<'_>) -> Result<bool> {
    Ok(path::status(file)?.st_mode & 0o004 != 0)
}

/// Returns a copy that container root may read, in the directory of the container, where it has no name any more.
fn readable(archive: BorrowedFd<'_>, dir: &Path) -> Result<OwnedFd> {
    let (dir, name) = (path::open_dir(dir)?, OsStr::new(COPY));
    let copy = || -> Result<OwnedFd> {
        let new = file::create(dir.as_fd(), name, 0o644)?;
        path::set_mode(new.as_fd(), 0o644)?;
        if file::share_contents(archive, new.as_fd()).is_err() {
            file::copy_range(archive, new.as_fd(), 0, file::status(archive)?.length)?;
        }
        Ok(path::open_read_at(dir.as_fd(), Path::new(name))?)
    };
    let copied = copy().doing("copying the squashfs for container root");
    let _none = path::remove_file(dir.as_fd(), name);
    copied
}

/// Has the process read nothing and say nothing but what goes wrong.
pub(super) fn silence() -> sys::Result<()> {
    let null = sys::tty::null()?;
    process::place_at(null.as_fd(), 0)?;
    process::place_at(null.as_fd(), 1)
}
