//! The session keyring.

use crate::error::{Result, cvt};

/// Joins a new, empty session keyring, so that the keys of the caller's session are out of reach.
///
/// # Errors
/// EDQUOT when the user's quota of keys (200) is used up; ENOSYS or EPERM where keyrings are filtered away.
pub fn join_new_session() -> Result<()> {
    const JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: a null name asks for an anonymous keyring; no memory is read.
    let key = unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, std::ptr::null::<u8>()) };
    cvt(key, || "keyctl(KEYCTL_JOIN_SESSION_KEYRING)".to_owned()).map(drop)
}
