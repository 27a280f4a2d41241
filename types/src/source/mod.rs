//! Where a root file system comes from: the word IMAGE, read once into a value.
//!
//! Nothing is asked of the host or of a network here, but whether a path is there.

mod name;
mod reference;

use std::fmt;
use std::path::{Path, PathBuf};

pub use name::{BadName, ImageName, Word};
pub use reference::{BadReference, Reference, Tag};

/// Where a root file system comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// An image of an image server: `debian/13`.
    Named(ImageName),
    /// An image of a registry: `docker:alpine:3`.
    Registry(Reference),
    /// What `skopeo` and `docker save` write: `oci:DIR`, `oci-archive:FILE`, `docker-archive:FILE`.
    Saved {
        /// In which form.
        form: Form,
        /// Where.
        path: PathBuf,
        /// Which image of several.
        tag: Option<Tag>,
    },
    /// A directory or an archive of a root file system.
    Path(PathBuf),
}

/// How an image is kept in files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A directory with an OCI image layout.
    OciLayout,
    /// The same, as an archive.
    OciArchive,
    /// An archive of `docker save`.
    DockerArchive,
}

/// The words before the `:`.
const FORMS: [(&str, Form); 3] =
    [("oci", Form::OciLayout), ("oci-archive", Form::OciArchive), ("docker-archive", Form::DockerArchive)];

/// How archives end.
const ARCHIVES: [&str; 10] =
    [".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.zst", ".tzst", ".tar.bz2", ".tbz2", ".squashfs"];

/// Why a word names no image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadSource {
    /// Nothing.
    Empty,
    /// Not the name of an image server's image.
    Name {
        /// The word.
        word: String,
        /// What is wrong.
        why: BadName,
    },
    /// Not the name of a registry's image.
    Reference {
        /// The word.
        word: String,
        /// What is wrong.
        why: BadReference,
    },
    /// A form without its file.
    NoPath(&'static str),
    /// What stands before the `:` is none of the forms.
    Kind {
        /// The word.
        word: String,
        /// What stands before the `:`.
        kind: String,
    },
}

impl fmt::Display for BadSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str(
                "the name of an image is empty: say debian/13, docker:alpine:3, or ./rootfs.tar.zst",
            ),
            Self::Name { word, why } => write!(f, "{word:?} names no image: {why}; a path begins with ./"),
            Self::Reference { word, why } => write!(f, "{word:?} names no image of a registry: {why}"),
            Self::NoPath(form) => write!(f, "{form}: needs a path, as in {form}:./image"),
            Self::Kind { word, kind } => write!(
                f,
                "{word:?}: unknown kind of image {kind:?}; known are docker:, oci:, oci-archive: and docker-archive:"
            ),
        }
    }
}

impl std::error::Error for BadSource {}

impl Source {
    /// Reads the word. `debian/13` has a `/` as well, so a relative path that does not begin with `./` must exist.
    ///
    /// # Errors
    /// The word is neither a path nor a name.
    pub fn parse(word: &str, exists: impl Fn(&Path) -> bool) -> Result<Self, BadSource> {
        if word.is_empty() {
            return Err(BadSource::Empty);
        }
        match word.split_once(':').filter(|(kind, _)| is_kind(kind)) {
            Some(("docker", rest)) => registry(word, rest),
            Some((kind, rest)) if FORMS.iter().any(|(name, _)| *name == kind) => saved(word, kind, rest),
            _ if is_path(word, exists) => Ok(Self::Path(word.into())),
            Some((kind, _)) => Err(BadSource::Kind { word: word.to_owned(), kind: kind.to_owned() }),
            None => named(word),
        }
    }
}

/// Tells whether what stands before a `:` is meant as a kind of image: a path has a `/` or a `.` there.
fn is_kind(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn is_path(word: &str, exists: impl Fn(&Path) -> bool) -> bool {
    ["/", "./", "../"].iter().any(|start| word.starts_with(start))
        || matches!(word, "." | "..")
        || ARCHIVES.iter().any(|end| word.ends_with(end))
        || word.contains('/') && exists(Path::new(word))
}

fn named(word: &str) -> Result<Source, BadSource> {
    let name = word.parse().map_err(|why| BadSource::Name { word: word.to_owned(), why });
    name.map(Source::Named)
}

/// `docker://NAME`, as skopeo and podman write it, is the same.
fn registry(word: &str, rest: &str) -> Result<Source, BadSource> {
    let name = rest.strip_prefix("//").unwrap_or(rest);
    let reference = name.parse().map_err(|why| BadSource::Reference { word: word.to_owned(), why });
    reference.map(Source::Registry)
}

/// The path ends at its first `:`, as in skopeo.
fn saved(word: &str, kind: &str, rest: &str) -> Result<Source, BadSource> {
    let (name, form) = FORMS.into_iter().find(|(name, _)| *name == kind).ok_or(BadSource::Empty)?;
    let (path, tag) = rest.split_once(':').map_or((rest, None), |(path, tag)| (path, Some(tag)));
    if path.is_empty() {
        return Err(BadSource::NoPath(name));
    }
    let tag = tag.map(str::parse).transpose();
    let tag = tag.map_err(|why| BadSource::Reference { word: word.to_owned(), why })?;
    Ok(Source::Saved { form, path: path.into(), tag })
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = FORMS.iter().find(|(_, form)| form == self).map_or("", |(name, _)| name);
        f.write_str(name)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name) => write!(f, "{name}"),
            Self::Registry(reference) => write!(f, "docker:{reference}"),
            Self::Saved { form, path, tag: None } => write!(f, "{form}:{}", path.display()),
            Self::Saved { form, path, tag: Some(tag) } => write!(f, "{form}:{}:{tag}", path.display()),
            Self::Path(path) => write!(f, "{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(word: &str) -> Result<Source, BadSource> {
        Source::parse(word, |path| path == Path::new("roots/a"))
    }

    #[test]
    fn paths_are_told_from_names() {
        for path in [
            "./a",
            "../a",
            "/a",
            ".",
            "..",
            "a.tar.zst",
            "a.tgz",
            "a.squashfs",
            "dir/a.tar",
            "roots/a",
            "./a:b",
        ] {
            assert_eq!(parse(path), Ok(Source::Path(path.into())), "{path}");
        }
        for name in ["debian", "debian/13", "alpine/3.22/amd64/default"] {
            assert_eq!(parse(name).unwrap().to_string(), name);
            assert!(matches!(parse(name), Ok(Source::Named(_))), "{name}");
        }
    }

    #[test]
    fn images_in_files_have_their_form_before_them() {
        let saved = |form, path: &str, tag: Option<&str>| {
            Ok(Source::Saved { form, path: path.into(), tag: tag.map(|tag| tag.parse().unwrap()) })
        };
        assert_eq!(parse("oci:./layout"), saved(Form::OciLayout, "./layout", None));
        assert_eq!(parse("oci:layout:v1"), saved(Form::OciLayout, "layout", Some("v1")));
        assert_eq!(parse("oci-archive:/a/b.tar"), saved(Form::OciArchive, "/a/b.tar", None));
        assert_eq!(parse("docker-archive:b.tar"), saved(Form::DockerArchive, "b.tar", None));
        assert_eq!(parse("docker://alpine"), parse("docker:alpine"));
    }

    #[test]
    fn what_is_wrong_is_said_with_what_would_be_right() {
        for (word, wrong) in [
            ("", "the name of an image is empty: say debian/13, docker:alpine:3, or ./rootfs.tar.zst"),
            ("oci:", "oci: needs a path, as in oci:./image"),
            (
                "lxd:debian",
                "\"lxd:debian\": unknown kind of image \"lxd\"; known are docker:, oci:, oci-archive: and docker-archive:",
            ),
            (
                "docker:Alpine",
                "\"docker:Alpine\" names no image of a registry: names are lower-case letters and digits, with . _ - between them",
            ),
            (
                "debian/..",
                "\"debian/..\" names no image: \"..\" is no part of a name: letters, digits and . _ - after a letter or digit, \
                 at most 64; a path begins with ./",
            ),
            (
                "debian/13/amd64/default/1",
                "\"debian/13/amd64/default/1\" names no image: it has more than four parts, DISTRIBUTION/RELEASE/ARCHITECTURE/VARIANT; \
                 a path begins with ./",
            ),
        ] {
            assert_eq!(parse(word).unwrap_err().to_string(), wrong);
        }
    }

    /// Words of the grammar, whole and in parts, beside what breaks it.
    #[rustfmt::skip]
    const PIECES: &[&str] = &[
        "debian", "13", "docker", "oci", "oci-archive", ":", "//", "/", "..", ".", "@", "sha256:", "localhost", "5000",
        "\n", "\0", " ", "-", "_", "É", "ghcr.io", ".tar", "library", "0123456789abcdef",
    ];

    fn word() -> impl Strategy<Value = String> {
        prop::collection::vec(prop::sample::select(PIECES), 0..8).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back_as_the_same(word in word()) {
            if let Ok(source) = Source::parse(&word, |_| false) {
                prop_assert_eq!(Source::parse(&source.to_string(), |_| false), Ok(source));
            }
        }

        #[test]
        fn a_name_makes_no_path_and_no_line_of_its_own(word in prop_oneof![word(), any::<String>()]) {
            match Source::parse(&word, |_| false) {
                Ok(Source::Named(name)) => {
                    let text = name.to_string();
                    prop_assert!(text.split('/').all(|part| !part.is_empty() && !part.starts_with(['.', '-'])));
                    prop_assert!(text.bytes().all(|byte| byte.is_ascii_graphic()));
                }
                Ok(Source::Registry(reference)) => {
                    let text = reference.to_string();
                    prop_assert!(text.split(['/', ':']).all(|part| !part.is_empty() && !part.starts_with('.')));
                    prop_assert!(text.bytes().all(|byte| byte.is_ascii_graphic()));
                }
                _ => {}
            }
        }
    }
}
