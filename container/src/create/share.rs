//! Shares: files and directories of the host in a container, as mount entries of its configuration.

use std::path::{Component, Path, PathBuf};

use crate::error::{Doing, Error, Kind, Result};
use crate::place::from_io;

/// A file or directory of the host that a container shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    source: PathBuf,
    target: PathBuf,
    read_only: bool,
    is_dir: bool,
}

/// The words of `DIR[:DST][:ro]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Words<'a> {
    source: &'a str,
    target: Option<&'a str>,
    read_only: bool,
}

impl Share {
    /// Reads `DIR[:DST][:ro]`. A relative DIR begins at the working directory; without DST it has the same path inside.
    ///
    /// # Errors
    /// Words that are no share; a DIR that is not there; a path that no line of a configuration can hold.
    pub fn parse(text: &str) -> Result<Self> {
        Self::of(split(text)?).doing_with(|| format!("--share {text}"))
    }

    fn of(words: Words<'_>) -> Result<Self> {
        let source = std::fs::canonicalize(words.source).map_err(from_io)?;
        let is_dir = source.is_dir();
        let target = match words.target {
            Some(target) => target.into(),
            None => own_path(Path::new(words.source), &source)?,
        };
        let share = Self { source, target: inside(&target)?, read_only: words.read_only, is_dir };
        // Found out now, before anything is made for it.
        share.entry().map(|_| share)
    }

    /// Returns where it is seen, from the container's root on.
    pub(super) fn target(&self) -> &Path {
        &self.target
    }

    /// Returns the value of `lxc.mount.entry`.
    ///
    /// The mounts below the source come along, since the kernel lets no user namespace take a directory without them.
    ///
    /// # Errors
    /// A path that is no text, or has control characters.
    pub(super) fn entry(&self) -> Result<String> {
        let (source, target) = (escape(&self.source)?, escape(&self.target)?);
        let create = if self.is_dir { "dir" } else { "file" };
        let access = if self.read_only { "ro" } else { "rw" };
        Ok(format!("{source} {target} none rbind,{access},nosuid,nodev,create={create} 0 0"))
    }
}

fn split(text: &str) -> Result<Words<'_>> {
    let refuse = |why: &str| Err(Error::new(Kind::Usage, format!("--share {text}: {why}")));
    let fields: Vec<&str> = text.split(':').collect();
    let (words, read_only) = match fields.split_last() {
        Some((&"ro", words)) => (words, true),
        Some((&"rw", words)) => (words, false),
        _ => (&fields[..], false),
    };
    match *words {
        [source] if !source.is_empty() => Ok(Words { source, target: None, read_only }),
        [source, target] if !source.is_empty() && !target.is_empty() => {
            Ok(Words { source, target: Some(target), read_only })
        }
        _ => refuse("expected DIR[:DST][:ro]; a path with a colon cannot be shared"),
    }
}

/// Returns the path by which the user knows a directory: with its links, as it was named, unless `..` makes that unclear.
fn own_path(named: &Path, real: &Path) -> Result<PathBuf> {
    let is_clear = named.components().all(|part| part != Component::ParentDir);
    if is_clear { std::path::absolute(named).map_err(from_io) } else { Ok(real.to_owned()) }
}

/// Returns a path of the container from its root on.
fn inside(target: &Path) -> Result<PathBuf> {
    let refuse = |why: &str| Err(Error::new(Kind::Usage, format!("{} {why}", target.display())));
    let Ok(below) = target.strip_prefix("/") else {
        return refuse("is no absolute path, and the container has no working directory yet");
    };
    let is_plain = |part: Component<'_>| matches!(part, Component::Normal(_));
    match below.components().all(is_plain) && below != Path::new("") {
        true => Ok(below.components().collect()),
        false => refuse("is no path below the container's root directory"),
    }
}

/// Writes a path as a field of fstab(5): what would end the field is written in octal.
fn escape(path: &Path) -> Result<String> {
    let refuse = |why: &str| Err(Error::new(Kind::Usage, format!("the path {path:?} {why}")));
    let Some(text) = path.to_str() else {
        return refuse("is no text, which a configuration cannot hold");
    };
    if text.chars().any(|c| c.is_control() && c != '\t') {
        return refuse("has control characters, which a configuration cannot hold");
    }
    Ok(text.replace('\\', r"\134").replace(' ', r"\040").replace('\t', r"\011"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::MountEntry;

    fn words(text: &str) -> Option<(&str, Option<&str>, bool)> {
        split(text).ok().map(|words| (words.source, words.target, words.read_only))
    }

    fn share(source: &str, target: &str) -> Share {
        Share { source: source.into(), target: target.into(), read_only: true, is_dir: true }
    }

    #[test]
    fn a_share_has_up_to_three_words() {
        assert_eq!(words("src"), Some(("src", None, false)));
        assert_eq!(words("src:ro"), Some(("src", None, true)));
        assert_eq!(words("/a:/b"), Some(("/a", Some("/b"), false)));
        assert_eq!(words("/a:/b:ro"), Some(("/a", Some("/b"), true)));
        assert_eq!(words("/a:/b:rw"), Some(("/a", Some("/b"), false)));
        for text in ["", ":", ":ro", "ro", "/a:", ":/b", "/a:/b:", "/a:/b:/c", "/a:/b:ro:ro", "/a:/b:Z"] {
            assert_eq!(words(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_target_is_below_the_root() {
        let of = |target: &str| inside(Path::new(target)).ok();
        assert_eq!(of("/srv//a/./b/"), Some("srv/a/b".into()));
        for target in ["/", "//", "srv", "", "/srv/../etc", "/.."] {
            assert_eq!(of(target), None, "{target:?}");
        }
    }

    #[test]
    fn what_is_shared_must_be_there_and_is_named_without_links() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        std::fs::create_dir(dir.join("real")).unwrap();
        std::os::unix::fs::symlink("real", dir.join("link")).unwrap();
        let named = |text: &str| Share::parse(&format!("{}/{text}", dir.display()));
        let linked = named("link").unwrap();
        assert_eq!(linked.source, dir.join("real"));
        assert_eq!(Path::new("/").join(linked.target), dir.join("link"));
        let above = named("link/..").unwrap();
        assert_eq!(Path::new("/").join(above.target), dir);
        assert!(named("missing").unwrap_err().to_string().contains("os error 2"));
    }

    #[test]
    fn an_entry_reads_back_whatever_the_path_holds() {
        for path in [r"my files/a\b", "tab\tand#hash", r"\040", "naïve 'quoted' \"twice\"", "a,b=c"] {
            let source = format!("/{path}");
            let read = MountEntry::read(&share(&source, path).entry().unwrap());
            assert_eq!((read.source.as_str(), read.target.as_str()), (source.as_str(), path));
            assert_eq!(read.options, ["rbind", "ro", "nosuid", "nodev", "create=dir"]);
        }
        for path in ["/a\nlxc.hook.start = /evil", "/a\rb", "/a\x0cb", "/\u{85}"] {
            assert!(share(path, "x").entry().is_err(), "{path:?}");
        }
    }
}
