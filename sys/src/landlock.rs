//! Landlock: what a process, and all that it starts, gives up for good. Source: landlock(7).

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use crate::error::{Result, cvt};

/// `struct landlock_ruleset_attr` of Linux 6.12.
#[repr(C)]
struct Ruleset {
    handled_access_fs: u64,
    handled_access_net: u64,
    scoped: u64,
}

/// Keeps the signals of this process, and of all that it starts, among themselves.
///
/// # Errors
/// E2BIG or EINVAL before Linux 6.12, ENOSYS or EOPNOTSUPP without Landlock; EPERM without CAP_SYS_ADMIN in the own user
/// namespace and without no_new_privs.
pub fn keep_signals_inside() -> Result<()> {
    const LANDLOCK_SCOPE_SIGNAL: u64 = 2;
    let attr = Ruleset { handled_access_fs: 0, handled_access_net: 0, scoped: LANDLOCK_SCOPE_SIGNAL };
    // SAFETY: `attr` is a complete attribute of the size given, and outlives the call.
    let fd = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, &raw const attr, size_of::<Ruleset>(), 0u32)
    };
    let fd = cvt(fd, || "landlock_create_ruleset({scoped=LANDLOCK_SCOPE_SIGNAL})".to_owned())?;
    // SAFETY: the call returned a new fd that nobody else owns.
    let ruleset = unsafe { OwnedFd::from_raw_fd(fd as RawFd) };
    // SAFETY: the call takes integers.
    let done = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0u32) };
    cvt(done, || "landlock_restrict_self()".to_owned()).map(drop)
}
