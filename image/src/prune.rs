//! Pruning: what an image leaves out of its own files, where another program has made them.

use std::os::fd::{AsFd, BorrowedFd};

use sys::file::{self, Kind, Open};
use sys::path;

use crate::entry_path::EntryPath;
use crate::error::{At, Error};
use crate::exclude::Excludes;

/// Removes from a tree what is to be left out, and returns how many files, and directories with all that is in them, that were.
/// Nothing is followed out of it.
///
/// # Errors
/// The first thing that cannot be removed.
pub fn prune(root: BorrowedFd<'_>, excludes: &Excludes) -> Result<u64, Error> {
    let (mut waiting, mut removed) = (vec![EntryPath::root()], 0);
    while let Some(directory) = waiting.pop() {
        let at = directory.as_path();
        let dir = file::open_beneath(root, at, Open::Directory).at(at)?;
        for name in path::names(dir.as_fd()).at(at)? {
            let path = directory.join(&name).at(&at.join(&name))?;
            if excludes.leave_out(&path).at(path.as_path())? {
                file::remove_tree(dir.as_fd(), &name).at(path.as_path())?;
                removed += 1;
            } else if file::status_at(dir.as_fd(), &name).at(path.as_path())?.kind == Kind::Directory {
                waiting.push(path);
            }
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn what_matches_goes_and_no_link_leads_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let (root, other) = (dir.path().join("root"), dir.path().join("other"));
        fs::create_dir_all(root.join("dev/pts")).unwrap();
        fs::create_dir_all(root.join("var/cache/apt")).unwrap();
        fs::create_dir(&other).unwrap();
        for file in
            [root.join("dev/pts/0"), root.join("dev/null"), root.join("var/cache/apt/x"), other.join("kept")]
        {
            fs::write(file, "").unwrap();
        }
        std::os::unix::fs::symlink(&other, root.join("link")).unwrap();
        let patterns = ["dev/*", "./var/cache/", "link/*", "none"].map(|pattern| pattern.as_bytes().to_vec());
        let fd = path::open_dir(&root).unwrap();
        assert_eq!(prune(fd.as_fd(), &Excludes::new(patterns).unwrap()).unwrap(), 3);
        let is_there = |path: &str| fs::symlink_metadata(root.join(path)).is_ok();
        assert_eq!(
            ["dev", "dev/pts", "dev/null", "var", "var/cache", "link"].map(is_there),
            [true, false, false, true, false, true]
        );
        assert!(Path::new(&other).join("kept").exists());
    }
}
