//! The error of the library: a kind that callers match on, and clauses that a person reads.
//!
//! It crosses from the monitor to the command line, so that the first root cause of a start in the background reaches
//! the terminal of the user who asked for it.

use std::fmt;

use serde::{Deserialize, Serialize};
use sys::Errno;

/// What sort of failure it is; hints and exit statuses follow from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// No such container.
    NotDefined,
    /// A container of that name exists already.
    Exists,
    /// It runs, and must not for this.
    Running,
    /// It does not run, and must for this.
    NotRunning,
    /// It is frozen, so it cannot answer.
    Frozen,
    /// It runs under LXC's own tools; Bryo leaves it alone.
    UnderLxc,
    /// Another command works on it at this moment.
    Busy,
    /// The configuration cannot be used.
    Config,
    /// The caller has no subordinate ids, or not the ones the container needs.
    IdRange,
    /// The helper that writes id maps is missing, has no rights, or refused.
    IdHelper,
    /// A cgroup or a limit on it cannot be had.
    Cgroup,
    /// A network that was asked for cannot be had.
    Network,
    /// All the network devices that the caller may have on a bridge are there.
    Quota,
    /// A port of the host cannot be published.
    Port,
    /// Its files are being given to other ids, or that was interrupted.
    Shifting,
    /// A filter of system calls refuses what every container needs.
    Filtered,
    /// Parts of /proc are masked, so that the kernel refuses a fresh one.
    Masked,
    /// The root file system is not there or cannot be used.
    Rootfs,
    /// A hook failed.
    Hook,
    /// An archive or template cannot be unpacked.
    Image,
    /// An image cannot be fetched.
    Fetch,
    /// An image is not in the store.
    NoImage,
    /// A root file system is of another architecture, whose programs do not run here.
    Foreign,
    /// A program cannot be run: not there.
    ProgramMissing,
    /// A program cannot be run: not executable.
    ProgramNotExecutable,
    /// A process of Bryo ended without a word.
    Died,
    /// The two programs are of different builds.
    Build,
    /// What the user asked for makes no sense.
    Usage,
    /// The kernel refused a call, with this errno.
    Kernel(i32),
    /// The time that it may take is over.
    TimedOut,
    /// A signal ended it, which the user sent.
    Interrupted(i32),
}

/// A failure. Prints from the outermost clause to the root cause, joined by colons.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    kind: Kind,
    /// The root cause first.
    clauses: Vec<String>,
}

/// The library's result.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Makes an error from its root cause.
    pub fn new(kind: Kind, cause: impl Into<String>) -> Self {
        Self { kind, clauses: vec![cause.into()] }
    }

    /// Returns what sort of failure it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns the same failure as another kind, where the errno says less than the place.
    pub fn of_kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// Adds what was being done when it happened.
    pub fn doing(mut self, clause: impl Into<String>) -> Self {
        self.clauses.push(clause.into());
        self
    }

    /// Adds to the root cause what was seen beside it.
    pub fn because(mut self, more: &str) -> Self {
        self.clauses.first_mut().into_iter().for_each(|cause| cause.push_str(more));
        self
    }

    /// Returns the root cause.
    pub fn cause(&self) -> &str {
        self.clauses.first().map_or("", String::as_str)
    }

    /// Returns the errno, when the root cause is a system call.
    pub fn errno(&self) -> Option<Errno> {
        match self.kind {
            Kind::Kernel(number) => Some(Errno::from_raw(number)),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, clause) in self.clauses.iter().rev().enumerate() {
            write!(f, "{}{clause}", if i == 0 { "" } else { ": " })?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

impl From<sys::Error> for Error {
    fn from(error: sys::Error) -> Self {
        Self::new(Kind::Kernel(error.errno() as i32), error.to_string())
    }
}

/// Adds a clause to the failure of a result.
pub trait Doing<T> {
    /// Adds what was being done.
    ///
    /// # Errors
    /// The failure it was called on.
    fn doing(self, clause: impl Into<String>) -> Result<T>;

    /// Adds what was being done, in words that are made only on failure.
    ///
    /// # Errors
    /// The failure it was called on.
    fn doing_with(self, clause: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<Error>> Doing<T> for std::result::Result<T, E> {
    fn doing(self, clause: impl Into<String>) -> Result<T> {
        self.map_err(|e| e.into().doing(clause))
    }

    fn doing_with(self, clause: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|e| e.into().doing(clause()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_reads_from_the_outside_in() {
        let error = Error::from(sys::Error::new("fsopen(\"proc\")", Errno::EPERM)).doing("mounting /proc");
        let error = error.doing("starting web");
        assert_eq!(
            error.to_string(),
            "starting web: mounting /proc: fsopen(\"proc\") = EPERM (Operation not permitted)"
        );
        assert_eq!(error.errno(), Some(Errno::EPERM));
    }
}
