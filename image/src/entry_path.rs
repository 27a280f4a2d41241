//! Names of archive entries, checked once: what is an [`EntryPath`] lies below the root.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The longest path, without the NUL that ends it. Source: limits.h, `PATH_MAX`.
const MAX_PATH: usize = 4095;
/// The longest file name. Source: limits.h, `NAME_MAX`.
const MAX_NAME: usize = 255;
/// The most directories on the way.
const MAX_DEPTH: usize = 255;

/// A path below the root: relative, without `.` and `..`; empty for the root itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct EntryPath(PathBuf);

/// Why a name is no [`EntryPath`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum BadName {
    #[error("it is empty")]
    Empty,
    #[error("it is absolute")]
    Absolute,
    #[error("it has a '..' component")]
    DotDot,
    #[error("it holds a NUL byte")]
    Nul,
    #[error("it is longer than {MAX_PATH} bytes")]
    PathTooLong,
    #[error("a component is longer than {MAX_NAME} bytes")]
    ComponentTooLong,
    #[error("it is deeper than {MAX_DEPTH} directories")]
    TooDeep,
}

impl EntryPath {
    /// Checks a name as an archive has it.
    pub(crate) fn parse(name: &[u8]) -> Result<Self, BadName> {
        match name {
            [] => return Err(BadName::Empty),
            [b'/', ..] => return Err(BadName::Absolute),
            _ if name.contains(&0) => return Err(BadName::Nul),
            _ if name.len() > MAX_PATH => return Err(BadName::PathTooLong),
            _ => {}
        }
        let mut path = PathBuf::with_capacity(name.len());
        let mut depth = 0;
        for component in name.split(|byte| *byte == b'/') {
            match component {
                b"" | b"." => continue,
                b".." => return Err(BadName::DotDot),
                _ if component.len() > MAX_NAME => return Err(BadName::ComponentTooLong),
                _ => path.push(OsStr::from_bytes(component)),
            }
            depth += 1;
        }
        if depth > MAX_DEPTH { Err(BadName::TooDeep) } else { Ok(Self(path)) }
    }

    /// Returns the path of `name` in this directory.
    pub(crate) fn join(&self, name: &OsStr) -> Result<Self, BadName> {
        let joined = Self(self.0.join(name));
        let depth = joined.0.components().count();
        match joined.0.as_os_str().len() {
            length if length > MAX_PATH => Err(BadName::PathTooLong),
            _ if depth > MAX_DEPTH => Err(BadName::TooDeep),
            _ => Ok(joined),
        }
    }

    /// Checks a name that may be that of the root, which is empty.
    pub(crate) fn parse_or_root(name: &[u8]) -> Result<Self, BadName> {
        if name.is_empty() { Ok(Self::root()) } else { Self::parse(name) }
    }

    pub(crate) fn root() -> Self {
        Self(PathBuf::new())
    }

    pub(crate) fn as_path(&self) -> &Path {
        &self.0
    }

    /// Returns the directory and the name in it; `None` for the root.
    pub(crate) fn split(&self) -> Option<(&Path, &OsStr)> {
        Some((self.0.parent()?, self.0.file_name()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &str) -> Result<String, BadName> {
        EntryPath::parse(name.as_bytes()).map(|path| path.0.to_str().unwrap().to_owned())
    }

    #[test]
    fn dots_and_double_slashes_vanish() {
        assert_eq!(parse("./a//b/./c/").unwrap(), "a/b/c");
        assert_eq!(parse("./").unwrap(), "");
        assert_eq!(parse("...").unwrap(), "...");
    }

    #[test]
    fn what_could_lead_out_is_refused() {
        assert_eq!(parse("/etc/passwd"), Err(BadName::Absolute));
        assert_eq!(parse("a/../b"), Err(BadName::DotDot));
        assert_eq!(parse(".."), Err(BadName::DotDot));
        assert_eq!(parse("a\0b"), Err(BadName::Nul));
        assert_eq!(parse(""), Err(BadName::Empty));
    }

    #[test]
    fn limits_are_those_of_linux() {
        assert!(parse(&"n".repeat(255)).is_ok());
        assert_eq!(parse(&"n".repeat(256)), Err(BadName::ComponentTooLong));
        assert!(parse(&"d/".repeat(255)).is_ok());
        assert_eq!(parse(&"d/".repeat(256)), Err(BadName::TooDeep));
        assert_eq!(parse(&"dddd/".repeat(1000)), Err(BadName::PathTooLong));
    }
}
