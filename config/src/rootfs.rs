//! Where a container's root file system is.

use std::fmt;
use std::str::FromStr;

use crate::{Fault, nearest};

/// The value of `lxc.rootfs.path`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RootfsPath {
    /// The backing store that the value names, such as `overlay`; none for a directory, also where `dir:` is
    /// written, so that the shown path reads back as the same.
    pub backend: Option<String>,
    /// The path, without the backing store's name. For `overlay` it is `LOWER[:LOWER...]:UPPER`.
    pub path: String,
}

/// The backing stores that a value can name.
const BACKENDS: [&str; 9] = ["dir", "overlay", "overlayfs", "btrfs", "loop", "lvm", "nbd", "rbd", "zfs"];

impl RootfsPath {
    /// Tells whether a value names its backing store.
    pub(crate) fn names_backend(text: &str) -> bool {
        text.split_once(':').is_some_and(|(word, _)| !word.contains('/'))
    }

    /// Returns the directories that a container's files are in: of an overlay the one that is written to, then the others, the
    /// topmost first.
    pub fn layers(&self) -> Vec<&str> {
        match self.backend.as_deref() {
            Some("overlay") => {
                let mut layers: Vec<&str> = self.path.split(':').collect();
                layers.rotate_right(1);
                layers
            }
            _ => vec![self.path.as_str()],
        }
    }

    /// Reads the name of a backing store alone; none for a directory.
    pub(crate) fn backend_named(word: &str) -> Result<Option<String>, Fault> {
        Ok(Some(known(word)?).filter(|word| *word != "dir").map(str::to_owned))
    }
}

impl FromStr for RootfsPath {
    type Err = Fault;

    /// Reads `[BACKEND:]PATH`.
    ///
    /// LXC: takes everything up to the first `:` for a backing store, so that the path `/a/:b` becomes `b`.
    fn from_str(text: &str) -> Result<Self, Fault> {
        let (backend, path) = match text.split_once(':') {
            Some((word, path)) if !word.contains('/') => (Self::backend_named(word)?, path),
            _ => (None, text),
        };
        if path.is_empty() {
            return Err(Fault::value(text, "[BACKEND:]PATH"));
        }
        Ok(Self { backend, path: path.to_owned() })
    }
}

fn known(word: &str) -> Result<&str, Fault> {
    match word {
        "overlayfs" => Ok("overlay"),
        word if BACKENDS.contains(&word) => Ok(word),
        other => Err(Fault::value(other, "a backing store (dir, overlay, btrfs, loop, lvm, nbd, rbd, zfs)")
            .meaning(nearest::of(other, BACKENDS.iter().copied()))),
    }
}

impl fmt::Display for RootfsPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.backend {
            Some(backend) => write!(f, "{backend}:{}", self.path),
            // A path that begins like the name of a backing store needs that of its own.
            None if self.path.split_once(':').is_some_and(|(word, _)| !word.contains('/')) => {
                write!(f, "dir:{}", self.path)
            }
            None => f.write_str(&self.path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_name_of_a_backing_store_is_split_off() {
        let read = |text: &str| text.parse::<RootfsPath>().map(|p| (p.backend, p.path)).unwrap();
        assert_eq!(read("dir:/a/b"), (None, "/a/b".into()));
        assert_eq!(read("/a/:b"), (None, "/a/:b".into()));
        assert_eq!(read("overlayfs:/a:/b"), (Some("overlay".into()), "/a:/b".into()));
        assert!("overlya:/a:/b".parse::<RootfsPath>().is_err());
        assert!("dir:".parse::<RootfsPath>().is_err());
    }

    #[test]
    fn the_layers_of_an_overlay_begin_with_the_one_that_is_written() {
        let layers = |text: &str| text.parse::<RootfsPath>().unwrap().layers().join(" ");
        assert_eq!(layers("overlay:/a:/b:/upper"), "/upper /a /b");
        assert_eq!(layers("dir:/a:b"), "/a:b");
    }

    #[test]
    fn what_is_shown_parses_again() {
        for text in ["/a", "/a/:b", "overlay:/a:/b", "zfs:pool/a", "dir:/x", "dir:overlay:/a", "dir::a"] {
            let path: RootfsPath = text.parse().unwrap();
            assert_eq!(path.to_string().parse(), Ok(path));
        }
    }
}
