//! The error of a system call: the call with its arguments, and the errno.

use std::fmt;

pub use nix::errno::Errno;

/// A system call that failed. Prints like a line of strace: `mount("proc", "/proc") = EPERM (Operation not permitted)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    call: String,
    errno: Errno,
}

/// The result of a system call.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Makes the error of `call` (written as strace would) that ended with `errno`.
    pub fn new(call: impl Into<String>, errno: Errno) -> Self {
        Self { call: call.into(), errno }
    }

    /// Makes the error of `call` from the calling thread's errno.
    pub(crate) fn last(call: impl Into<String>) -> Self {
        Self::new(call, Errno::last())
    }

    /// Returns the error number.
    pub fn errno(&self) -> Errno {
        self.errno
    }

    /// Returns the call with its arguments.
    pub fn call(&self) -> &str {
        &self.call
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {:?} ({})", self.call, self.errno, self.errno.desc())
    }
}

impl std::error::Error for Error {}

impl From<Error> for std::io::Error {
    fn from(error: Error) -> Self {
        std::io::Error::new(std::io::Error::from(error.errno).kind(), error)
    }
}

/// Adds the call to an errno.
pub(crate) trait Call<T> {
    /// Turns the failure into an [`Error`] whose call is the text that `call` makes.
    fn call(self, call: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Call<T> for rustix::io::Result<T> {
    fn call(self, call: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|e| Error::new(call(), Errno::from_raw(e.raw_os_error())))
    }
}

impl<T> Call<T> for nix::Result<T> {
    fn call(self, call: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|e| Error::new(call(), e))
    }
}

impl<T> Call<T> for std::io::Result<T> {
    fn call(self, call: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|e| Error::new(call(), Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO))))
    }
}

/// Turns "-1 means look at errno" into a result.
pub(crate) fn cvt(value: libc::c_long, call: impl FnOnce() -> String) -> Result<libc::c_long> {
    if value == -1 { Err(Error::last(call())) } else { Ok(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_reads_like_strace() {
        let error = Error::new("mkdirat(5, \"dev\", 0755)", Errno::EROFS);
        assert_eq!(error.to_string(), "mkdirat(5, \"dev\", 0755) = EROFS (Read-only file system)");
    }
}
