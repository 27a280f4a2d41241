//! Who asks: the real ids of the process, and the names that the name services know for them.

use std::ffi::CString;
use std::fmt;
use std::io;

use crate::report::Escaped;
use crate::sys;

/// The user who started the helper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The real user id.
    pub uid: u32,
    /// The real group id.
    pub gid: u32,
    /// The login name, from /etc/passwd or a directory.
    pub name: Option<Vec<u8>>,
}

/// The largest entry of a user or group that is read, in bytes: a group of 50,000 members takes half a MiB.
const ENTRY_CAP: usize = 16 << 20;

impl Caller {
    /// Returns who started the process. The environment ($USER, $LOGNAME) has no say.
    pub fn of_this_process() -> Self {
        let uid = sys::user_ids().real;
        Self { uid, gid: sys::real_group(), name: login_name(uid) }
    }
}

/// Returns the groups of this process: the real one and the supplementary ones.
///
/// # Errors
/// The kernel refuses, for which it has no reason.
pub fn groups() -> io::Result<Vec<u32>> {
    let mut groups = sys::groups()?;
    groups.push(sys::real_group());
    Ok(groups)
}

/// Returns the gid of a group, if the name services know one. One that fails counts as in [`login_name`].
pub fn group_id(name: &[u8]) -> Option<u32> {
    let name = CString::new(name).ok()?;
    look_up(|buffer| sys::group_id(&name, buffer))
}

/// Returns the login name of a uid, if the name services know one.
///
/// A service that fails counts as one that does not know: the caller then has fewer grants, never more.
fn login_name(uid: u32) -> Option<Vec<u8>> {
    look_up(|buffer| sys::login_name(uid, buffer))
}

/// Asks with a buffer that grows until the entry fits.
fn look_up<T>(mut ask: impl FnMut(&mut [u8]) -> io::Result<Option<T>>) -> Option<T> {
    let mut buffer = vec![0; 1024];
    loop {
        match ask(&mut buffer) {
            Err(error) if error.raw_os_error() == Some(libc::ERANGE) && buffer.len() < ENTRY_CAP => {
                buffer.resize(buffer.len() * 2, 0);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            found => return found.ok().flatten(),
        }
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{} (uid {})", Escaped(name), self.uid),
            None => write!(f, "uid {}", self.uid),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_the_name_services() {
        assert_eq!(login_name(0).as_deref(), Some(&b"root"[..]));
        assert_eq!(login_name(u32::MAX - 7), None);
        assert_eq!(group_id(b"root"), Some(0));
        assert_eq!(group_id(b"no such group"), None);
        assert_eq!(group_id(b"root\0"), None);
    }

    #[test]
    fn a_name_is_shown_without_control_characters() {
        let caller = Caller { uid: 7, gid: 7, name: Some(b"a\nb".to_vec()) };
        assert_eq!(caller.to_string(), "a\\x0ab (uid 7)");
    }
}
