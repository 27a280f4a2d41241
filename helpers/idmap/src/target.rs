//! The process whose user namespace gets the map: a descriptor of its directory in /proc, which the caller
//! opened.
//!
//! A descriptor pins the process: a pid could name another one by the time it is used. But a descriptor can
//! be of anything, and what is written must not reach a file that only looks like a map. So the directory
//! must be on the very procfs that is mounted on /proc, and the map files must be files of that procfs right
//! below it, not mounts over them and not links.

use std::ffi::CStr;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

use helpers::filter::{Call, OPENED_TO_CHANGE};
use helpers::rights::{Capability, Rights};
use helpers::sys;

use crate::decide::Plan;

/// The system calls that this helper makes beside the common ones: it reads policy files, and opens and writes maps.
pub const CALLS: &[Call] = &[
    Call::any(libc::SYS_read),
    Call::any(libc::SYS_lseek),
    // What is opened for writing is a file of the target's directory, by openat2.
    Call::any(libc::SYS_openat).without(2, OPENED_TO_CHANGE),
    Call::any(libc::SYS_openat2),
    Call::any(libc::SYS_fstatfs),
    Call::any(libc::SYS_readlinkat),
    // Newer architectures have the call above alone.
    #[cfg(target_arch = "x86_64")]
    Call::any(libc::SYS_readlink),
    Call::any(libc::SYS_capset),
];

/// The inode number of a procfs's root. Source: linux/proc_ns.h, PROC_ROOT_INO.
const PROC_ROOT: u64 = 1;

/// Names below the directory are files of its own file system, reached through no link of any kind.
const RESOLVE: u64 =
    libc::RESOLVE_BENEATH | libc::RESOLVE_NO_XDEV | libc::RESOLVE_NO_MAGICLINKS | libc::RESOLVE_NO_SYMLINKS;

/// A process directory of /proc.
#[derive(Debug)]
pub struct Target {
    directory: OwnedFd,
}

/// Why the target gets no map.
#[derive(Debug)]
pub enum TargetError {
    /// It is not the directory of a process in this /proc. One text for everything that it can be instead.
    NotAProcess,
    /// /proc is not a procfs of the pid namespace that this program runs in.
    NoProc,
    /// The kernel refuses to open or write one of the files.
    Kernel(&'static CStr, io::Error),
    /// The kernel took less than the whole text.
    Partial(&'static CStr),
}

/// A map file, opened with the capability that its content needs.
struct MapFile {
    name: &'static CStr,
    file: OwnedFd,
    capability: Capability,
}

impl Target {
    /// Takes a descriptor that is the directory of a process, or of a thread, in the /proc of this program.
    ///
    /// # Errors
    /// It is something else, or /proc is.
    pub fn open(directory: OwnedFd) -> Result<Self, TargetError> {
        let proc = own_proc().ok_or(TargetError::NoProc)?;
        let device = |file: &File| file.metadata().map(|about| (about.is_dir(), about.dev())).ok();
        let directory = File::from(directory);
        if !is_procfs(directory.as_fd()) || device(&directory) != device(&proc) {
            return Err(TargetError::NotAProcess);
        }
        Ok(Self { directory: directory.into() })
    }

    /// Writes the maps of `plan`: each file is opened before the first is written, each is written with one
    /// write(2), and each with one capability in force.
    ///
    /// # Errors
    /// The kernel refuses: not the caller's namespace, not a child of ours, or mapped already.
    pub fn write(&self, plan: &Plan, rights: &Rights) -> Result<(), TargetError> {
        let steps = [
            (c"uid_map", plan.uid_map.as_str(), Capability::Setuid),
            (c"setgroups", if plan.deny_setgroups { "deny" } else { "" }, Capability::Setgid),
            (c"gid_map", plan.gid_map.as_str(), Capability::Setgid),
        ];
        let mut opened = Vec::new();
        for (name, text, capability) in steps {
            if !text.is_empty() {
                opened.push((self.open_map(name, capability, rights)?, text));
            }
        }
        opened.iter().try_for_each(|(map, text)| map.write(text, rights))
    }

    /// The capability counts at the opening as well as at the writing. Source: `proc_setgroups_write`,
    /// `map_write` in the kernel.
    fn open_map(
        &self,
        name: &'static CStr,
        capability: Capability,
        rights: &Rights,
    ) -> Result<MapFile, TargetError> {
        let fail = |error: io::Error| match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR | libc::EXDEV | libc::ELOOP) => TargetError::NotAProcess,
            _ => TargetError::Kernel(name, error),
        };
        let open = || sys::open_below(self.directory.as_fd(), name, libc::O_WRONLY | libc::O_NOCTTY, RESOLVE);
        let file = rights.with(capability, open).map_err(fail)?;
        match is_procfs(file.as_fd()) {
            true => Ok(MapFile { name, file, capability }),
            false => Err(TargetError::NotAProcess),
        }
    }
}

impl MapFile {
    fn write(&self, text: &str, rights: &Rights) -> Result<(), TargetError> {
        let write = || sys::write_once(self.file.as_fd(), text.as_bytes());
        match rights.with(self.capability, write).map_err(|error| TargetError::Kernel(self.name, error))? {
            length if length == text.len() => Ok(()),
            _ => Err(TargetError::Partial(self.name)),
        }
    }
}

/// Opens /proc when it is a procfs, and the one of the pid namespace in which this program runs.
fn own_proc() -> Option<File> {
    let proc =
        File::options().read(true).custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW).open("/proc").ok()?;
    let is_root = proc.metadata().is_ok_and(|about| about.ino() == PROC_ROOT);
    let knows_us = std::fs::read_link("/proc/self")
        .is_ok_and(|own| own.as_os_str() == std::process::id().to_string().as_str());
    (is_root && knows_us && is_procfs(proc.as_fd())).then_some(proc)
}

fn is_procfs(fd: BorrowedFd<'_>) -> bool {
    sys::file_system(fd).is_ok_and(|magic| magic == libc::PROC_SUPER_MAGIC)
}

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAProcess => {
                f.write_str("the file descriptor is not the directory of a process in this /proc")
            }
            Self::NoProc => f.write_str("/proc is not the procfs of this pid namespace"),
            Self::Kernel(name, error) => {
                let why = hint(error).map(|why| format!(" ({why})")).unwrap_or_default();
                write!(f, "{}: {error}{why}", name.to_string_lossy())
            }
            Self::Partial(name) => {
                write!(f, "{}: the kernel took only a part of the map", name.to_string_lossy())
            }
        }
    }
}

/// Returns what the kernel means by an error of a map file.
fn hint(error: &io::Error) -> Option<&'static str> {
    match error.raw_os_error()? {
        libc::EACCES => Some("the process belongs to another user, or is not dumpable"),
        libc::EPERM => Some("mapped already, or not a user namespace of the caller below this one"),
        libc::ESRCH => Some("the process is gone"),
        _ => None,
    }
}
