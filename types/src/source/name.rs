//! Names of an image server's images: `debian/13`, `alpine/3.22/amd64/default`.

use std::fmt;
use std::str::FromStr;

/// The longest part of a name.
const MAX: usize = 64;

/// An image of an image server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageName {
    /// `debian`.
    pub distribution: Word,
    /// `13` or `trixie`.
    pub release: Option<Word>,
    /// `amd64`; this machine's where it is not said.
    pub arch: Option<Word>,
    /// `default` where it is not said.
    pub variant: Option<Word>,
}

/// One part of a name: safe in a path, in a URL, in an argument and on a line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Word(String);

/// Why a text is no name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadName {
    /// A part that is empty, hidden, an option, or has other characters.
    Word(String),
    /// Too many parts.
    Parts,
}

impl fmt::Display for BadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(word) => write!(
                f,
                "{word:?} is no part of a name: letters, digits and . _ - after a letter or digit, at most {MAX}"
            ),
            Self::Parts => {
                f.write_str("it has more than four parts, DISTRIBUTION/RELEASE/ARCHITECTURE/VARIANT")
            }
        }
    }
}

impl std::error::Error for BadName {}

impl Word {
    /// Returns the word as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Word {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let begins = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        match begins && text.len() <= MAX && text.bytes().all(is_plain) {
            true => Ok(Self(text.to_owned())),
            false => Err(BadName::Word(text.to_owned())),
        }
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ImageName {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let mut words = text.split('/');
        let mut next = || words.next().map(str::parse).transpose();
        let distribution = next()?.ok_or(BadName::Word(String::new()))?;
        let name = Self { distribution, release: next()?, arch: next()?, variant: next()? };
        if words.next().is_some() { Err(BadName::Parts) } else { Ok(name) }
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.distribution)?;
        let rest = [&self.release, &self.arch, &self.variant];
        rest.into_iter().flatten().try_for_each(|word| write!(f, "/{word}"))
    }
}
