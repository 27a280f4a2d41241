//! What an image server offers: its index, read into [`Offer`]s, and the one that a name means.
//!
//! An index comes from anybody who stands between. Its size is capped, every field that becomes a name, a path or a line is
//! checked here, and an entry with a bad one is left out and counted: one new word on a server must not hide all other images,
//! and no part of a bad entry is used.

mod lxc;
mod simplestreams;
mod sums;

use std::fmt;
use std::str::FromStr;

use types::Digest;
use types::source::{ImageName, Word};

pub use lxc::{lxc, lxc_part};
pub use simplestreams::{products, simplestreams};
pub use sums::sums;

/// The longest index.
pub const MAX_INDEX: u64 = 32 << 20;
/// The most images that one may hold.
const MAX_OFFERS: usize = 100_000;
/// The largest file of an image that is fetched.
pub const MAX_FILE: u64 = 16 << 30;

/// An index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {
    /// The images, each build of each.
    pub offers: Vec<Offer>,
    /// How many entries were left out, for the first of these reasons.
    pub left_out: Option<(usize, BadEntry)>,
}

/// One build of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// `debian`.
    pub distribution: Word,
    /// `trixie`.
    pub release: Word,
    /// What else the release is called: `13`.
    pub also: Vec<Word>,
    /// `amd64`.
    pub arch: Word,
    /// `default`.
    pub variant: Word,
    /// When it was built.
    pub build: Serial,
    /// Where its files are.
    pub files: Files,
}

/// Where the files of an image are, and what is known of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Files {
    /// In a directory, `meta.tar.xz` and `rootfs.tar.xz`, with their digests beside them where the server has such.
    Lxc(UrlPath),
    /// Each by itself.
    Streams {
        /// The archive with the image's properties.
        metadata: Part,
        /// The root file system.
        rootfs: Part,
        /// The digest of both, one after the other, where the index has it: it says which two belong together.
        fingerprint: Option<Digest>,
    },
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Where it is.
    pub path: UrlPath,
    /// How long it is, where the index says so.
    pub size: Option<u64>,
    /// What is in it.
    pub digest: Digest,
}

/// When an image was built, as servers write it: `20261125_05:24`. The later one is the greater text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Serial(String);

/// A path on a server: below its root, and of characters that mean nothing else in a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlPath(String);

/// Why an entry is left out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadEntry {
    /// A name.
    #[error("{0}")]
    Name(#[from] types::source::BadName),
    /// A path that could lead elsewhere.
    #[error(
        "the path {0:?} is refused: it is relative, without empty parts, . and .., of letters, digits and . _ - + ~ :"
    )]
    Path(String),
    /// The time of a build.
    #[error("{0:?} is no time of a build, such as 20261125_05:24")]
    Serial(String),
    /// A digest.
    #[error("{0}")]
    Digest(#[from] types::BadDigest),
    /// A line that is not six fields, or an object with others than it should have.
    #[error("it has other fields than it should have")]
    Fields,
    /// A size.
    #[error("a file of {0} bytes is refused: more than {MAX_FILE}")]
    Size(u64),
}

/// Why a text is no index.
#[derive(Debug, thiserror::Error)]
pub enum BadIndex {
    /// Longer than any index.
    #[error("it is longer than {MAX_INDEX} bytes")]
    TooLong,
    /// More images than any server has.
    #[error("it has more than {MAX_OFFERS} entries")]
    TooMany,
    /// Not the text that it should be.
    #[error("it is no UTF-8 text")]
    NoText,
    /// Not the JSON that it should be.
    #[error("it is no simplestreams index: {0}")]
    Json(#[from] serde_json::Error),
    /// The simplestreams index names no list of images, or a path that could lead elsewhere.
    #[error("it names no list of images that can be read")]
    NoProducts,
    /// A sum for the same file twice.
    #[error("it has two digests for {0:?}")]
    Twice(String),
}

/// Why a name means no image of an index.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoOffer {
    /// Nothing of this distribution.
    #[error("no distribution {0}{near}", near = meant(.1.as_deref()))]
    Distribution(Word, Option<String>),
    /// No release was said.
    #[error("{0} has several releases; say one, as in {0}/{example}: {all}", example = first(.1), all = .1.join(", "))]
    WhichRelease(Word, Vec<String>),
    /// No such release.
    #[error("{0} has no release {1}; it has {all}", all = .2.join(", "))]
    Release(Word, Word, Vec<String>),
    /// The release is there for other architectures or in other variants.
    #[error("{0}/{1} is not there as {2}; it is as {all}", all = .3.join(", "))]
    Build(Word, Word, String, Vec<String>),
}

/// The release alone, without what else it is called.
fn first(called: &[String]) -> &str {
    called.first().and_then(|called| called.split(' ').next()).unwrap_or_default()
}

fn meant(near: Option<&str>) -> String {
    near.map_or_else(String::new, |near| format!("; did you mean {near}?"))
}

impl Index {
    fn push(&mut self, entry: Result<Offer, BadEntry>) -> Result<(), BadIndex> {
        match (entry, &mut self.left_out) {
            (Ok(offer), _) => self.offers.push(offer),
            (Err(_), Some((count, _))) => *count += 1,
            (Err(why), none) => *none = Some((1, why)),
        }
        let left_out = self.left_out.as_ref().map_or(0, |(count, _)| *count);
        if self.offers.len() + left_out > MAX_OFFERS { Err(BadIndex::TooMany) } else { Ok(()) }
    }

    /// Returns the newest build that a name means on a machine of this architecture.
    ///
    /// # Errors
    /// None; the message says what there is.
    pub fn find(&self, name: &ImageName, machine: &Word) -> Result<&Offer, NoOffer> {
        let of: Vec<_> = self.offers.iter().filter(|offer| offer.distribution == name.distribution).collect();
        if of.is_empty() {
            let near = config::nearest(name.distribution.as_str(), self.distributions());
            return Err(NoOffer::Distribution(name.distribution.clone(), near));
        }
        let Some(release) = &name.release else {
            return Err(NoOffer::WhichRelease(name.distribution.clone(), all(&of, |offer| offer.called())));
        };
        let released: Vec<_> = of.iter().copied().filter(|offer| offer.is_release(release)).collect();
        if released.is_empty() {
            let releases = all(&of, |offer| offer.called());
            return Err(NoOffer::Release(name.distribution.clone(), release.clone(), releases));
        }
        let arch = name.arch.as_ref().unwrap_or(machine);
        let variant = name.variant.as_ref().map_or("default", Word::as_str);
        let built = released.iter().copied().filter(|offer| offer.variant.as_str() == variant);
        // `armhf` and `armel` are one architecture to the kernel, so the server's own word counts first.
        let newest = built
            .filter(|offer| config::images::is_same_arch(&offer.arch, arch))
            .max_by_key(|offer| (offer.arch == *arch, &offer.build));
        newest.ok_or_else(|| {
            let builds = all(&released, |offer| format!("{}/{}", offer.arch, offer.variant));
            NoOffer::Build(name.distribution.clone(), release.clone(), format!("{arch}/{variant}"), builds)
        })
    }

    fn distributions(&self) -> impl Iterator<Item = &str> {
        self.offers.iter().map(|offer| offer.distribution.as_str())
    }
}

/// Returns what the offers are called, each once.
fn all(offers: &[&Offer], called: impl Fn(&Offer) -> String) -> Vec<String> {
    let mut names: Vec<_> = offers.iter().map(|offer| called(offer)).collect();
    names.sort();
    names.dedup();
    names
}

impl Offer {
    /// Returns the whole name, by which the store knows the image.
    pub fn name(&self) -> ImageName {
        ImageName {
            distribution: self.distribution.clone(),
            release: Some(self.release.clone()),
            arch: Some(self.arch.clone()),
            variant: Some(self.variant.clone()),
        }
    }

    fn is_release(&self, word: &Word) -> bool {
        self.release == *word || self.also.contains(word)
    }

    /// The release as a user is told of it: `trixie (13)`.
    fn called(&self) -> String {
        match self.also.first() {
            Some(also) => format!("{} ({also})", self.release),
            None => self.release.to_string(),
        }
    }
}

impl FromStr for Serial {
    type Err = BadEntry;

    fn from_str(text: &str) -> Result<Self, BadEntry> {
        let is_plain = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'_' | b':' | b'.' | b'-');
        let begins = text.bytes().next().is_some_and(|byte| byte.is_ascii_digit());
        match begins && text.len() <= 32 && text.bytes().all(is_plain) {
            true => Ok(Self(text.to_owned())),
            false => Err(BadEntry::Serial(text.to_owned())),
        }
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl UrlPath {
    /// Returns the path as text, without a `/` before it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UrlPath {
    type Err = BadEntry;

    fn from_str(text: &str) -> Result<Self, BadEntry> {
        let is_plain = |byte: u8| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'+' | b'~' | b':')
        };
        let is_part = |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(is_plain);
        match text.len() <= 1024 && text.split('/').all(is_part) {
            true => Ok(Self(text.to_owned())),
            false => Err(BadEntry::Path(text.to_owned())),
        }
    }
}

fn text_of(bytes: &[u8]) -> Result<&str, BadIndex> {
    match bytes.len() as u64 > MAX_INDEX {
        true => Err(BadIndex::TooLong),
        false => str::from_utf8(bytes).map_err(|_| BadIndex::NoText),
    }
}

#[cfg(test)]
mod tests;
