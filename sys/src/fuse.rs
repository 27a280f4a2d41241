//! File systems of a process: the device, the superblock, and messages.
//!
//! Source: the kernel's Documentation/filesystems/fuse/fuse.rst; fuse(4).

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use crate::error::{Call, Errno, Result};
use crate::mount::{self, attr};

/// Opens the device, without waiting in reads. A superblock takes it only from the user namespace in which it was opened.
pub fn open() -> Result<OwnedFd> {
    open_with(OFlags::NONBLOCK)
}

/// As [`open`], for threads that wait in reads.
pub fn open_waiting() -> Result<OwnedFd> {
    open_with(OFlags::empty())
}

fn open_with(more: OFlags) -> Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOCTTY | more;
    rustix::fs::open(Path::new("/dev/fuse"), flags, Mode::empty())
        .call(|| "open(\"/dev/fuse\", O_RDWR)".to_owned())
}

/// Tells whether an fd is the device, or what a clone of it would be. Source: the kernel's Documentation/admin-guide/devices.txt.
pub fn is_device(fd: BorrowedFd<'_>) -> bool {
    const MISC: u32 = 10;
    const FUSE: u32 = 229;
    rustix::fs::fstat(fd).is_ok_and(|found| {
        rustix::fs::FileType::from_raw_mode(found.st_mode).is_char_device()
            && found.st_rdev == rustix::fs::makedev(MISC, FUSE)
    })
}

/// Makes a device that was just opened another one of `of`'s superblock. What is read by it and not answered fails (ECONNABORTED) when it is
/// closed, while the superblock lives as long as any device does.
/// Source: the kernel's `FUSE_DEV_IOC_CLONE`, which also wants both opened in one user namespace.
pub fn make_clone(device: BorrowedFd<'_>, of: BorrowedFd<'_>) -> Result<()> {
    const FUSE_DEV_IOC_CLONE: libc::Ioctl = 0x8004_e500_u32 as libc::Ioctl;
    let of = of.as_raw_fd() as u32;
    // SAFETY: the kernel reads one u32 at the pointer, which outlives the call.
    let cloned = unsafe { libc::ioctl(device.as_raw_fd(), FUSE_DEV_IOC_CLONE, &raw const of) };
    crate::error::cvt(cloned.into(), || format!("ioctl(FUSE_DEV_IOC_CLONE, {of})")).map(drop)
}

/// Tells whether the kernel asks once more what a process that has died had read and not answered (`FUSE_NOTIFY_RESEND`, Linux 6.9).
pub fn is_asked_again() -> bool {
    const FIRST: (u32, u32) = (6, 9);
    let release = crate::process::kernel_release();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= FIRST
}

/// Makes a read-only superblock whose files are those of whoever answers at `device`, as a detached mount of the type
/// `fuse.SUBTYPE`. The kernel checks modes, and lets in everybody of this user namespace.
pub fn new_superblock(device: BorrowedFd<'_>, source: &str, subtype: &str) -> Result<OwnedFd> {
    superblock(device, source, subtype, &[("ro", "")], attr::RDONLY)
}

/// As [`new_superblock`], but one that can be written as far as whoever answers lets it be.
pub fn new_writable_superblock(device: BorrowedFd<'_>, source: &str, subtype: &str) -> Result<OwnedFd> {
    superblock(device, source, subtype, &[], 0)
}

fn superblock(
    device: BorrowedFd<'_>,
    source: &str,
    subtype: &str,
    more: &[(&str, &str)],
    attributes: u64,
) -> Result<OwnedFd> {
    let device = device.as_raw_fd().to_string();
    let usual = [
        ("source", source),
        ("subtype", subtype),
        ("fd", &device),
        ("rootmode", "40000"),
        ("user_id", "0"),
        ("group_id", "0"),
        ("allow_other", ""),
        ("default_permissions", ""),
    ];
    let options = [&usual[..], more].concat();
    mount::new_filesystem("fuse", &options, attributes | attr::NOSUID | attr::NODEV | attr::NOEXEC)
}

/// What reading the device gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// A message of so many bytes.
    Message(usize),
    /// None for now.
    Nothing,
    /// The superblock is gone.
    Gone,
}

/// How often a message is read or written about which the kernel says what it need not say again: who asks waits for it.
const TRIES: usize = 4;

/// Reads the next message. Several processes may: each message is had by one.
pub fn next(device: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<Next> {
    let mut read = || match rustix::io::read(device, &mut *buffer) {
        // Not even the shortest message is empty: it is a test's end of a socket that has closed.
        Ok(0) => Ok(Next::Gone),
        Ok(length) => Ok(Next::Message(length)),
        // ENOENT: who asked was killed just before. ENOMEM: the kernel has no memory for it, for now.
        Err(
            rustix::io::Errno::AGAIN
            | rustix::io::Errno::INTR
            | rustix::io::Errno::NOENT
            | rustix::io::Errno::NOMEM,
        ) => Ok(Next::Nothing),
        // ECONNABORTED: by /sys/fs/fuse/connections, or umount(2) by force.
        Err(rustix::io::Errno::NODEV | rustix::io::Errno::CONNABORTED) => Ok(Next::Gone),
        Err(e) => Err(e).call(|| format!("read({})", device.as_raw_fd())),
    };
    (1..TRIES).fold(read(), |done, _| done.or_else(|_| read()))
}

/// Writes an answer or a notification. Nobody may wait for it any more, which is no error.
pub fn send(device: BorrowedFd<'_>, message: &[u8]) -> Result<()> {
    let write = || match rustix::io::write(device, message) {
        Ok(_) | Err(rustix::io::Errno::NOENT | rustix::io::Errno::NODEV) => Ok(()),
        Err(e) => Err(crate::Error::new(
            format!("write({}, {} bytes)", device.as_raw_fd(), message.len()),
            Errno::from_raw(e.raw_os_error()),
        )),
    };
    (1..TRIES).fold(write(), |done, _| done.or_else(|_| write()))
}
