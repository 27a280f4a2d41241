//! What a file system is and has room for. Sources: statfs(2), statvfs(3).

use std::path::Path;

use rustix::fs::StatVfsMountFlags as Flags;

use crate::error::{Call, Result};

/// The file system that a path is on, as it is mounted there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filesystem {
    /// Its magic number.
    pub magic: u64,
    /// Setuid bits and file capabilities count for nothing.
    pub nosuid: bool,
    /// No program can be run.
    pub noexec: bool,
    /// Nothing can be written.
    pub readonly: bool,
    /// Bytes that an ordinary user may still fill.
    pub free_bytes: u64,
    /// Files that an ordinary user may still make; `None` where the file system has no such limit.
    pub free_inodes: Option<u64>,
}

/// Magic numbers that mean something to Bryo.
pub mod magic {
    /// overlay.
    pub const OVERLAY: u64 = 0x794c_7630;
    /// NFS.
    pub const NFS: u64 = 0x6969;
    /// CIFS and SMB.
    pub const CIFS: u64 = 0xff53_4d42;
    /// SMB by its newer client.
    pub const SMB2: u64 = 0xfe53_4d42;
    /// FUSE: sshfs and its kin.
    pub const FUSE: u64 = 0x6573_5546;
    /// 9p, as virtual machines have it.
    pub const V9FS: u64 = 0x0102_1997;
    /// FAT.
    pub const MSDOS: u64 = 0x4d44;
}

/// Returns the file system that a path is on, following links.
pub fn of(path: &Path) -> Result<Filesystem> {
    let found = rustix::fs::statfs(path).call(|| format!("statfs({path:?})"))?;
    let mounted = rustix::fs::statvfs(path).call(|| format!("statvfs({path:?})"))?;
    Ok(Filesystem {
        magic: found.f_type as u64 & 0xffff_ffff,
        nosuid: mounted.f_flag.contains(Flags::NOSUID),
        noexec: mounted.f_flag.contains(Flags::NOEXEC),
        readonly: mounted.f_flag.contains(Flags::RDONLY),
        free_bytes: mounted.f_bavail.saturating_mul(mounted.f_frsize),
        free_inodes: (mounted.f_files > 0).then_some(mounted.f_favail),
    })
}
