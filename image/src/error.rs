//! What can go wrong, with the entry it went wrong at.

use std::fmt;
use std::path::Path;

use types::Digest;

use crate::entry_path::BadName;

/// A failure, and where it happened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// At one entry of the archive, or file of the tree.
    #[error("{entry}: {problem}")]
    Entry {
        /// The name, as it can be printed.
        entry: Shown,
        /// What happened.
        problem: Problem,
    },
    /// After an entry, where the next one should begin.
    #[error("after {entry}: {problem}")]
    After {
        /// The last good entry, as it can be printed.
        entry: Shown,
        /// What happened.
        problem: Problem,
    },
    /// Before the first entry or after the last.
    #[error("{0}")]
    Whole(Problem),
}

/// What happened.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The archive breaks the rules of its format, or two readers could read it in two ways.
    #[error("malformed archive: {0}")]
    Malformed(String),
    /// The archive stops in the middle.
    #[error("the archive is truncated: it ends {0}")]
    Truncated(&'static str),
    /// Neither tar nor a compression that is known.
    #[error("{0}")]
    UnknownFormat(&'static str),
    /// The archive cannot be read or decompressed.
    #[error("cannot read the archive: {0}")]
    Read(#[source] std::io::Error),
    /// The archive is not the one that is meant.
    #[error(
        "the archive has changed: its digest is {found}, and not {wanted}; \
         bryo image verify removes such a file, and bryo image pull fetches it anew"
    )]
    Changed {
        /// What it is called.
        wanted: Digest,
        /// What is in it.
        found: Digest,
    },
    /// More than a root file system should be.
    #[error("the archive holds more than {limit} {of}; nothing of that size is unpacked")]
    TooMuch {
        /// The limit.
        limit: u64,
        /// What is counted.
        of: &'static str,
    },
    /// A name that is not a plain path below the root.
    #[error("the name is refused: {0}")]
    Name(#[from] BadName),
    /// A kind of entry that is not unpacked.
    #[error("{0}")]
    Refused(&'static str),
    /// The owner has no number outside the container.
    #[error(
        "it belongs to {kind} {id}, which the id map of the container does not cover: \
         give the container more subordinate ids, or make the archive with smaller ones"
    )]
    UnmappedId {
        /// `user` or `group`.
        kind: &'static str,
        /// The id, as seen in the container.
        id: u32,
    },
    /// The kernel refused.
    #[error("{0}")]
    Call(#[from] sys::Error),
}

impl Problem {
    pub(crate) fn malformed(what: impl Into<String>) -> Self {
        Self::Malformed(what.into())
    }

    /// Names the entry.
    pub(crate) fn at(self, entry: &Path) -> Error {
        use std::os::unix::ffi::OsStrExt;
        Error::Entry { entry: Shown::new(entry.as_os_str().as_bytes()), problem: self }
    }
}

/// A name from an archive, made safe to print: it could hold control sequences for the terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown(String);

impl Shown {
    /// Takes the bytes of a name.
    pub fn new(name: &[u8]) -> Self {
        let text = String::from_utf8_lossy(name).chars().flat_map(char::escape_debug).collect::<String>();
        Self(if text.is_empty() { "./".to_owned() } else { text })
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names the entry at which a step failed.
pub(crate) trait At<T> {
    /// Adds the name of the entry.
    fn at(self, entry: &Path) -> Result<T, Error>;
}

impl<T, E: Into<Problem>> At<T> for Result<T, E> {
    fn at(self, entry: &Path) -> Result<T, Error> {
        self.map_err(|e| e.into().at(entry))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_send_control_sequences_to_the_terminal() {
        assert_eq!(Shown::new(b"a\x1b[2Jb\n").to_string(), "a\\u{1b}[2Jb\\n");
        assert_eq!(Shown::new(b"").to_string(), "./");
    }
}
