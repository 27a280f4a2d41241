//! Names of a registry's images: `alpine:3`, `ghcr.io/ana/web@sha256:...`. Source: the grammar of the distribution project.

use std::fmt;
use std::str::FromStr;

use crate::digest::Digest;

/// The registry of names without one.
const DEFAULT_HOST: &str = "docker.io";
/// Where that registry has the images whose name is one word.
const DEFAULT_OWNER: &str = "library";
/// The tag of names without one.
const DEFAULT_TAG: &str = "latest";
/// The longest name, with its registry, and the longest tag.
const MAX_NAME: usize = 255;
const MAX_TAG: usize = 128;

/// An image of a registry, with all that a short name leaves out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reference {
    host: String,
    path: String,
    tag: Option<Tag>,
    digest: Option<Digest>,
}

/// The tag of an image.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tag(String);

/// Why a text names no image of a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum BadReference {
    Name,
    TooLong,
    Host,
    Tag,
    Digest,
}

impl fmt::Display for BadReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name => f.write_str("names are lower-case letters and digits, with . _ - between them"),
            Self::TooLong => write!(f, "a name is at most {MAX_NAME} bytes long"),
            Self::Host => f.write_str("its registry is no host name, with or without a port"),
            Self::Tag => write!(
                f,
                "a tag is letters, digits and _ . - of at most {MAX_TAG} bytes, and begins with neither . nor -"
            ),
            Self::Digest => f.write_str("after the @ stands sha256: and 64 lower-case hexadecimal digits"),
        }
    }
}

impl std::error::Error for BadReference {}

impl Reference {
    /// Returns the registry: a host name, with or without a port.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the name in the registry.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the tag, where no digest makes it idle.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_ref().map(|tag| tag.0.as_str())
    }

    /// Returns the digest of the manifest, where the name pins it.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }
}

impl FromStr for Reference {
    type Err = BadReference;

    fn from_str(text: &str) -> Result<Self, BadReference> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse().map_err(|_| BadReference::Digest)?)),
            None => (text, None),
        };
        // A ':' before the last '/' belongs to a port.
        let end = rest.rfind('/').map_or(0, |slash| slash + 1);
        let (name, tag) = match rest[end..].find(':') {
            Some(colon) => (&rest[..end + colon], Some(rest[end + colon + 1..].parse()?)),
            None => (rest, None),
        };
        let (host, path) = split_host(name)?;
        if host.len() + 1 + path.len() > MAX_NAME {
            return Err(BadReference::TooLong);
        }
        if !path.split('/').all(is_component) {
            return Err(BadReference::Name);
        }
        let tag = match (tag, digest) {
            (None, None) => Some(Tag(DEFAULT_TAG.to_owned())),
            (tag, _) => tag,
        };
        Ok(Self { host, path, tag, digest })
    }
}

/// A first part with a `.` or a `:` in it, or `localhost`, is the registry, as everywhere.
fn split_host(name: &str) -> Result<(String, String), BadReference> {
    match name.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => {
            if !is_host(host) {
                return Err(BadReference::Host);
            }
            let path = match path.contains('/') || host != DEFAULT_HOST {
                true => path.to_owned(),
                false => format!("{DEFAULT_OWNER}/{path}"),
            };
            Ok((host.to_owned(), path))
        }
        Some(_) => Ok((DEFAULT_HOST.to_owned(), name.to_owned())),
        None => Ok((DEFAULT_HOST.to_owned(), format!("{DEFAULT_OWNER}/{name}"))),
    }
}

fn is_host(text: &str) -> bool {
    let (name, port) = text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port)));
    let is_label = |label: &str| {
        let plain = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        plain && !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')
    };
    let digits = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let is_port = port.is_none_or(|port| digits(port) && port.parse::<u16>().is_ok_and(|port| port > 0));
    name.split('.').all(is_label) && is_port
}

/// Letters and digits; between them one `.`, one or two `_`, or any number of `-`.
fn is_component(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let between =
        text.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()).filter(|s| !s.is_empty());
    let is_separator = |text: &str| matches!(text, "." | "_" | "__") || text.bytes().all(|byte| byte == b'-');
    let ends = [text.bytes().next(), text.bytes().last()];
    ends.into_iter().all(|end| end.is_some_and(is_word)) && between.into_iter().all(is_separator)
}

impl FromStr for Tag {
    type Err = BadReference;

    fn from_str(text: &str) -> Result<Self, BadReference> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let good = !text.is_empty() && text.len() <= MAX_TAG && !text.starts_with(['.', '-']);
        if good && text.bytes().all(is_plain) { Ok(Self(text.to_owned())) } else { Err(BadReference::Tag) }
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.path)?;
        self.tag.iter().try_for_each(|tag| write!(f, ":{tag}"))?;
        self.digest.iter().try_for_each(|digest| write!(f, "@{digest}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<String, BadReference> {
        text.parse::<Reference>().map(|reference| reference.to_string())
    }

    #[test]
    fn a_short_name_means_what_it_means_everywhere() {
        for (short, long) in [
            ("alpine", "docker.io/library/alpine:latest"),
            ("alpine:3", "docker.io/library/alpine:3"),
            ("ana/web", "docker.io/ana/web:latest"),
            ("docker.io/alpine", "docker.io/library/alpine:latest"),
            ("ghcr.io/ana/web:v1.2", "ghcr.io/ana/web:v1.2"),
            ("localhost/web", "localhost/web:latest"),
            ("localhost:5000/web:3", "localhost:5000/web:3"),
            ("a/b/c__d", "docker.io/a/b/c__d:latest"),
        ] {
            assert_eq!(parse(short).as_deref(), Ok(long));
        }
    }

    #[test]
    fn a_digest_takes_the_place_of_the_tag() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        assert_eq!(parse(&format!("alpine@{digest}")), Ok(format!("docker.io/library/alpine@{digest}")));
        let both: Reference = format!("alpine:3@{digest}").parse().unwrap();
        assert_eq!((both.tag(), both.digest()), (Some("3"), digest.parse().ok()));
        assert_eq!(parse("alpine@sha256:ab"), Err(BadReference::Digest));
    }

    #[test]
    fn anything_else_is_refused() {
        for name in
            ["", "a//b", "/a", "a/", "A", "a/../b", "a/./b", "a___b", "a..b", "-a", "a-", "a b", "a\n", "é"]
        {
            assert_eq!(parse(name), Err(BadReference::Name), "{name:?}");
        }
        for host in
            ["-a.b/c", "a..b/c", ".b/c", "a.b:0/c", "a.b:65536/c", "a.b:/c", "a.b:+1/c", "a:1:2/c", "../a"]
        {
            assert_eq!(parse(host), Err(BadReference::Host), "{host:?}");
        }
        for tag in ["a:", "a:.b", "a:-b", "a:b:c", &format!("a:{}", "t".repeat(129))] {
            assert_eq!(parse(tag), Err(BadReference::Tag), "{tag:?}");
        }
        assert_eq!(parse(&"a/".repeat(200)), Err(BadReference::TooLong));
    }
}
