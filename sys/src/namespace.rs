//! Namespaces by fd: opening, joining, leaving.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use crate::error::{Result, cvt};
use crate::path;

/// Opens the namespace `name` (`user`, `mnt`, `net`, ...) of a process, below its /proc directory.
pub fn of_process(proc_pid: BorrowedFd<'_>, name: &str) -> Result<OwnedFd> {
    use crate::error::Call;
    let call = || format!("openat(/proc/PID, \"ns/{name}\")");
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
    rustix::fs::openat(proc_pid, Path::new("ns").join(name), flags, rustix::fs::Mode::empty()).call(call)
}

/// Opens the /proc directory of a process of the caller's PID namespace.
pub fn proc_dir(pid: i32) -> Result<OwnedFd> {
    path::open_dir(Path::new(&format!("/proc/{pid}")))
}

/// Returns the inode number that identifies a namespace.
pub fn identity(namespace: BorrowedFd<'_>) -> Result<u64> {
    Ok(path::status(namespace)?.st_ino)
}

/// Opens the user namespace above a user namespace.
///
/// # Errors
/// EPERM when that is out of the caller's sight: it is above the caller's own, or there is none.
pub fn parent(user: BorrowedFd<'_>) -> Result<OwnedFd> {
    const NS_GET_PARENT: libc::Ioctl = 0xB702;
    // SAFETY: the request takes no argument.
    let fd = cvt(unsafe { libc::ioctl(user.as_raw_fd(), NS_GET_PARENT) }.into(), || {
        "ioctl(NS_GET_PARENT)".to_owned()
    })?;
    // SAFETY: the ioctl returned a new fd that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Joins one namespace, or with a pidfd those of `kinds` (flags of [`crate::process::flags`]) all at once.
pub fn join(fd: BorrowedFd<'_>, kinds: u64) -> Result<()> {
    // SAFETY: setns takes two integers. That joining a user or mount namespace wants a single thread is checked by
    // the kernel (EINVAL).
    let joined = unsafe { libc::setns(fd.as_raw_fd(), kinds as libc::c_int) };
    cvt(joined.into(), || format!("setns({}, {kinds:#x})", fd.as_raw_fd())).map(drop)
}

/// Moves the process into new namespaces.
pub fn leave(kinds: u64) -> Result<()> {
    // SAFETY: unshare takes an integer; none of the namespace flags touches memory or fds of this process.
    cvt(unsafe { libc::unshare(kinds as libc::c_int) }.into(), || format!("unshare({kinds:#x})")).map(drop)
}
