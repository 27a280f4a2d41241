//! AppArmor: the profile of a process's next program. No right is needed for it, but that of the present profile.
//!
//! Source: apparmor(7), aa_change_onexec(2); the kernel's Documentation/admin-guide/LSM/apparmor.rst.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use crate::error::{Errno, Result};
use crate::path;

/// Where a process says it, below /proc: since Linux 5.8 in a directory of its own, until then where all security modules are told.
const ON_EXEC: [&str; 2] = ["self/attr/apparmor/exec", "self/attr/exec"];

/// Tells whether the kernel confines programs by profiles.
pub fn is_enabled() -> bool {
    std::fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with(b"Y"))
}

/// Opens what takes the profile of the caller's next program, in a procfs that is open. Only who opened it may write to it, so a
/// forked process opens its own.
pub fn open_on_exec(proc: BorrowedFd<'_>) -> Result<OwnedFd> {
    match path::open_write_at(proc, Path::new(ON_EXEC[0])) {
        Err(e) if e.errno() == Errno::ENOENT => path::open_write_at(proc, Path::new(ON_EXEC[1])),
        opened => opened,
    }
}

/// Has the next program run under a profile. ENOENT: no such profile is loaded. EACCES: the present one does not allow it.
pub fn set_on_exec(file: BorrowedFd<'_>, profile: &str) -> Result<()> {
    path::write_once(file, format!("exec {profile}").as_bytes())
}
