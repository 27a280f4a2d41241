//! Layers: archives of what has changed over those below. Source: the image specification of the Open Container Initiative, layer.md.
//!
//! `.wh.NAME` says that NAME is gone, `.wh..wh..opq` that all is gone which the directory had. Both are about the layers below, wherever
//! they stand in the archive; so what this layer has made is known, and stays.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::archive::Content;
use crate::entry_path::EntryPath;
use crate::error::Problem;
use crate::tree::Tree;

/// How the names of these marks begin, and that of a whole directory.
const MARK: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// The most bytes of names that are remembered.
const MAX_NAMES: usize = 256 << 20;

/// What is gone of the layers below.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Gone {
    /// One thing, with all that is in it.
    One(EntryPath),
    /// All that is in a directory.
    AllOf(EntryPath),
}

impl Gone {
    /// Reads the name of an entry; `None` for one that is no mark.
    pub(crate) fn of(path: &EntryPath) -> Result<Option<Self>, Problem> {
        let Some((parent, name)) = path.split() else { return Ok(None) };
        let parent = EntryPath::parse_or_root(parent.as_os_str().as_bytes())?;
        if name.as_bytes() == OPAQUE {
            return Ok(Some(Self::AllOf(parent)));
        }
        let Some(gone) = name.as_bytes().strip_prefix(MARK) else { return Ok(None) };
        match gone {
            b"" | b"." | b".." => Err(Problem::malformed("a mark that something is gone, and not what")),
            // AUFS has more marks of its own, about itself.
            _ if gone.starts_with(MARK) => Err(Problem::Refused("a mark that no file can have for a name")),
            gone => Ok(Some(Self::One(parent.join(OsStr::from_bytes(gone))?))),
        }
    }
}

/// What this layer has made so far.
#[derive(Debug, Default)]
pub(crate) struct Layer {
    made: BTreeSet<EntryPath>,
    bytes: usize,
}

impl Layer {
    /// Removes what is gone, but for what this layer has made.
    pub(crate) fn remove(&mut self, gone: &Gone, tree: &mut Tree) -> Result<(), Problem> {
        match gone {
            Gone::One(path) => self.remove_one(path, tree),
            Gone::AllOf(directory) => {
                for name in tree.names(directory)? {
                    self.remove_one(&directory.join(&name)?, tree)?;
                }
                Ok(())
            }
        }
    }

    fn remove_one(&mut self, path: &EntryPath, tree: &mut Tree) -> Result<(), Problem> {
        match self.has_made_in(path) {
            false => tree.remove(path),
            // A directory of both: what the layers below had in it goes.
            true if !self.made.contains(path) || tree.has_directory(path) => {
                self.remove(&Gone::AllOf(path.clone()), tree)
            }
            true => Ok(()),
        }
    }

    /// Tells whether this layer has made it, or something in it. What is in a directory follows it in the order of paths.
    fn has_made_in(&self, path: &EntryPath) -> bool {
        let next = self.made.range(path..).next();
        next.is_some_and(|made| made.as_path().starts_with(path.as_path()))
    }

    /// Removes what the layers below have where this one has something else, and remembers what is made. A directory in the place of
    /// a directory keeps what is in it.
    pub(crate) fn make_room(
        &mut self,
        path: &EntryPath,
        content: &Content,
        tree: &mut Tree,
    ) -> Result<(), Problem> {
        if path.split().is_some() && *content != Content::Directory && !self.has_made_in(path) {
            tree.remove(path)?;
        }
        self.bytes += path.as_path().as_os_str().len() + size_of::<EntryPath>();
        if self.bytes > MAX_NAMES {
            return Err(Problem::TooMuch { limit: MAX_NAMES as u64, of: "bytes of names in one layer" });
        }
        self.made.insert(path.clone());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> EntryPath {
        EntryPath::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn marks_are_told_from_files() {
        let gone = |text: &str| Gone::of(&path(text)).ok().flatten();
        assert_eq!(gone("a/.wh.b"), Some(Gone::One(path("a/b"))));
        assert_eq!(gone(".wh.b"), Some(Gone::One(path("b"))));
        assert_eq!(gone("a/.wh..wh..opq"), Some(Gone::AllOf(path("a"))));
        assert_eq!(gone(".wh..wh..opq"), Some(Gone::AllOf(EntryPath::root())));
        assert_eq!(gone("a/b.wh.c"), None);
        for wrong in ["a/.wh.", "a/.wh..", "a/.wh...", "a/.wh..wh.plnk"] {
            assert!(Gone::of(&path(wrong)).is_err(), "{wrong}");
        }
    }
}
