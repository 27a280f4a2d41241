//! A squashfs, unpacked by the host's `unsquashfs`: as container root, on a stage where nothing but the new root file system
//! can be written to, without a network.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use sys::process::{self, Exit, flags};

use super::program::{self, Supervised};
use super::{Filled, Filling};
use crate::error::{Doing, Error, Kind, Result};
use crate::place::from_io;

/// How a squashfs begins. Source: the kernel's Documentation/filesystems/squashfs.rst.
const MAGIC: &[u8] = b"hsqs";
/// What unsquashfs(1) ends with where it could not make everything, such as device nodes, but has all data.
const NOT_ALL: i32 = 2;

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

/// Has the process read nothing and say nothing but what goes wrong.
pub(super) fn silence() -> sys::Result<()> {
    let null = sys::tty::null()?;
    process::place_at(null.as_fd(), 0)?;
    process::place_at(null.as_fd(), 1)
}
