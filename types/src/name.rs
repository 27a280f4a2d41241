//! Container names.

use std::fmt;
use std::str::FromStr;

/// The name of a container: also the name of its directory below the lxcpath.
///
/// 1 to 255 bytes, no `/`, no control characters, not starting with `.` or `-`. LXC itself refuses only `/`;
/// the rest would make a name that no shell command, path or log line can carry safely.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "String", into = "String"))]
pub struct ContainerName(String);

/// Why a text is not a container name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// The name is empty.
    Empty,
    /// The name is longer than 255 bytes, the limit of a file name.
    TooLong,
    /// The name begins with `.` (hidden, or a relative path) or `-` (an option).
    BadStart(char),
    /// The name holds a `/`, a NUL or another control character.
    BadCharacter(char),
}

impl ContainerName {
    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ContainerName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let first = text.chars().next().ok_or(NameError::Empty)?;
        if matches!(first, '.' | '-') {
            return Err(NameError::BadStart(first));
        }
        if text.len() > 255 {
            return Err(NameError::TooLong);
        }
        match text.chars().find(|c| *c == '/' || c.is_control()) {
            Some(bad) => Err(NameError::BadCharacter(bad)),
            None => Ok(Self(text.to_owned())),
        }
    }
}

impl TryFrom<String> for ContainerName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<ContainerName> for String {
    fn from(name: ContainerName) -> String {
        name.0
    }
}

impl fmt::Display for ContainerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a container name cannot be empty"),
            Self::TooLong => f.write_str("a container name has at most 255 bytes"),
            Self::BadStart(c) => write!(f, "a container name cannot start with '{c}'"),
            Self::BadCharacter(c) => write!(f, "a container name cannot contain {c:?}"),
        }
    }
}

impl std::error::Error for NameError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_names_are_names() {
        for name in ["web", "web-1", "a.b_c", "täst", "with space", "x".repeat(255).as_str()] {
            assert_eq!(name.parse::<ContainerName>().unwrap().as_str(), name);
        }
    }

    #[test]
    fn names_that_could_leave_their_directory_or_line_are_refused() {
        for name in
            ["", ".", "..", ".x", "-x", "a/b", "/", "a\nb", "a\0", "a\x1b[31m", "x".repeat(256).as_str()]
        {
            assert!(name.parse::<ContainerName>().is_err(), "{name:?}");
        }
    }
}
