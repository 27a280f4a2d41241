//! The word IMAGE of a command line: a path, or the name of something to fetch.

use std::path::{Path, PathBuf};

/// What IMAGE names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Image {
    /// A directory or an archive.
    Path(PathBuf),
    /// A distribution (`debian/13`) or an image of a registry (`docker:alpine:3`).
    Name(String),
}

/// How archives end.
const ARCHIVES: [&str; 7] = [".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.zst", ".tzst"];

impl Image {
    /// Reads the word. `debian/13` has a `/` as well, so a relative path that does not begin with `./` must exist.
    pub(crate) fn parse(word: &str) -> Self {
        Self::read(word, |path| path.exists())
    }

    fn read(word: &str, exists: impl Fn(&Path) -> bool) -> Self {
        let begins = ["/", "./", "../"].iter().any(|start| word.starts_with(start));
        let is_dots = matches!(word, "." | "..");
        let ends = ARCHIVES.iter().any(|end| word.ends_with(end));
        let is_there = || word.contains('/') && exists(Path::new(word));
        match begins || is_dots || ends || is_there() {
            true => Self::Path(word.into()),
            false => Self::Name(word.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_told_from_names() {
        let is_path = |word| matches!(Image::read(word, |path| path == Path::new("roots/a")), Image::Path(_));
        for path in ["./a", "../a", "/a", ".", "..", "a.tar.zst", "a.tgz", "dir/a.tar", "roots/a"] {
            assert!(is_path(path), "{path}");
        }
        for name in ["debian", "debian/13", "docker:alpine:3", "a.zip", "tar"] {
            assert!(!is_path(name), "{name}");
        }
    }
}
