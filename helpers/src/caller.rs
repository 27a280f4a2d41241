//! Who asks: the real ids of the process, and the login name that the name services know for them.

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

/// The largest entry of a user that is read, in bytes.
const ENTRY_CAP: usize = 1 << 20;

impl Caller {
    /// Returns who started the process. The environment ($USER, $LOGNAME) has no say.
    pub fn of_this_process() -> Self {
        let uid = sys::user_ids().real;
        Self { uid, gid: sys::real_group(), name: login_name(uid) }
    }
}

/// Returns the login name of a uid, if the name services know one.
///
/// A service that fails counts as one that does not know: the caller then has fewer grants, never more.
fn login_name(uid: u32) -> Option<Vec<u8>> {
    let mut buffer = vec![0; 1024];
    loop {
        match sys::login_name(uid, &mut buffer) {
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
    }

    #[test]
    fn a_name_is_shown_without_control_characters() {
        let caller = Caller { uid: 7, gid: 7, name: Some(b"a\nb".to_vec()) };
        assert_eq!(caller.to_string(), "a\\x0ab (uid 7)");
    }
}
