//! Names of network interfaces.

use std::fmt;
use std::str::FromStr;

/// The name of a network interface that Bryo makes, or of a bridge that it uses.
///
/// 1 to 15 bytes of ASCII letters, digits, `.`, `_` and `-`, not starting with `.` or `-`. The kernel takes
/// more (`dev_valid_name`); what is left out has a meaning elsewhere: `%` is filled in with a number, `all`,
/// `default` and `lo` are taken, and a number is read as an index.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IfName(String);

/// Why a text is not the name of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfNameError {
    /// The name is empty, or longer than 15 bytes.
    Length,
    /// The name begins with `.` (`..` is a path) or `-` (an option).
    BadStart,
    /// The name holds a character that none may have.
    BadCharacter(char),
    /// The name means something else: an index, or one of the kernel's own names.
    Reserved,
}

/// The longest name. Source: linux/if.h, IFNAMSIZ less the closing NUL.
const LONGEST: usize = 15;

/// Names of directories below /proc/sys/net, of the loopback device, and of a file in /sys/class/net.
const RESERVED: [&str; 4] = ["all", "default", "lo", "bonding_masters"];

impl IfName {
    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for IfName {
    type Err = IfNameError;

    fn from_str(text: &str) -> Result<Self, IfNameError> {
        let allowed = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if text.is_empty() || text.len() > LONGEST {
            return Err(IfNameError::Length);
        }
        if text.starts_with(['.', '-']) {
            return Err(IfNameError::BadStart);
        }
        if let Some(bad) = text.chars().find(|c| !allowed(c)) {
            return Err(IfNameError::BadCharacter(bad));
        }
        if RESERVED.contains(&text) || text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(IfNameError::Reserved);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for IfNameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length => f.write_str("the name of an interface has 1 to 15 bytes"),
            Self::BadStart => f.write_str("the name of an interface cannot start with '.' or '-'"),
            Self::BadCharacter(c) => write!(f, "the name of an interface cannot contain {c:?}"),
            Self::Reserved => f.write_str("this name of an interface means something else"),
        }
    }
}

impl std::error::Error for IfNameError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_names_are_names() {
        for name in ["eth0", "lxcbr0", "br-ex", "vmbr0.10", "a", "7up", "x".repeat(15).as_str()] {
            assert_eq!(name.parse::<IfName>().unwrap().as_str(), name);
        }
    }

    #[test]
    fn names_that_mean_something_else_are_refused() {
        for name in [
            "",
            ".",
            "..",
            ".a",
            "-a",
            "a/b",
            "a:0",
            "a b",
            "a\n",
            "a\0",
            "eth%d",
            "ä",
            "12",
            "all",
            "default",
            "lo",
            "bonding_masters",
            "x".repeat(16).as_str(),
        ] {
            assert!(name.parse::<IfName>().is_err(), "{name:?}");
        }
    }
}
