//! Reading the files of a group, and walking the groups below it.

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use sys::{Errno, Result, path};

/// cgroup files are as long as the kernel makes them; cgroup.procs grows with the processes.
const FILE_CAP: u64 = 16 << 20;

/// Reads a file of a group as text.
pub(crate) fn text_of(dir: BorrowedFd<'_>, name: &str) -> Result<String> {
    let bytes = path::read_small(dir, Path::new(name), FILE_CAP)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Reads a file of a group as words.
pub(crate) fn words_of(dir: BorrowedFd<'_>, name: &str) -> Result<Vec<String>> {
    Ok(text_of(dir, name)?.split_whitespace().map(str::to_owned).collect())
}

/// Returns the number behind `key` in lines of `key number`, as in cgroup.events and cpu.stat.
pub(crate) fn value_in(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

/// Writes a value to a file of a group.
pub(crate) fn write(dir: BorrowedFd<'_>, name: &str, value: &str) -> Result<()> {
    path::write_existing(dir, Path::new(name), value.as_bytes())
}

/// Tells whether a group has a file.
pub(crate) fn has(dir: BorrowedFd<'_>, name: &str) -> bool {
    path::status_at(dir, name.as_ref()).is_ok()
}

/// Tells whether a failure means that the group has been removed meanwhile: its files then answer ENODEV.
pub(crate) fn is_gone(error: &sys::Error) -> bool {
    matches!(error.errno(), Errno::ENOENT | Errno::ENODEV)
}

/// Calls `visit` for a group and every group below it, parents first.
///
/// Only two fds are open at any time, however deep the tree: who lives in a container decides on its depth.
pub(crate) fn walk(top: BorrowedFd<'_>, visit: impl FnMut(BorrowedFd<'_>) -> Result<()>) -> Result<()> {
    walk_some(top, usize::MAX, visit)
}

/// Does so for so many groups at most: who lives in a container makes as many in it as he likes.
pub(crate) fn walk_some(
    top: BorrowedFd<'_>,
    most: usize,
    mut visit: impl FnMut(BorrowedFd<'_>) -> Result<()>,
) -> Result<()> {
    visit(top)?;
    let mut at = open(top, ".")?;
    let mut left = most.saturating_sub(1);
    let mut pending: Vec<Vec<OsString>> = vec![some_children(top, left)?];
    while let Some(names) = pending.last_mut() {
        match names.pop() {
            Some(name) => match open(at.as_fd(), &name) {
                Ok(_) if left == 0 => return Ok(()),
                Ok(child) => {
                    left -= 1;
                    visit(child.as_fd())?;
                    pending.push(some_children(child.as_fd(), left)?);
                    at = child;
                }
                Err(e) if is_gone(&e) => {}
                Err(e) => return Err(e),
            },
            None => {
                pending.pop();
                if !pending.is_empty() {
                    at = open(at.as_fd(), "..")?;
                }
            }
        }
    }
    Ok(())
}

/// Returns the names of the groups right below one; none when it has been removed meanwhile.
pub(crate) fn children(dir: BorrowedFd<'_>) -> Result<Vec<OsString>> {
    some_children(dir, usize::MAX)
}

fn some_children(dir: BorrowedFd<'_>, most: usize) -> Result<Vec<OsString>> {
    match path::some_dir_names(dir, most) {
        Err(e) if is_gone(&e) => Ok(Vec::new()),
        done => done,
    }
}

/// Opens a group beside or below another one. `..` is safe: no cgroup can be moved below another parent.
pub(crate) fn open(dir: BorrowedFd<'_>, name: impl AsRef<Path>) -> Result<OwnedFd> {
    path::open_dir_at(dir, name.as_ref())
}

/// Tells whether a group or one below it holds a process, those that the caller's PID namespace hides included.
pub(crate) fn is_populated(top: BorrowedFd<'_>) -> Result<bool> {
    match text_of(top, "cgroup.events") {
        Ok(events) => return Ok(value_in(&events, "populated") == Some(1)),
        Err(e) if e.errno() == Errno::ENODEV => return Ok(false),
        // v1 has no such file, nor has the root of v2.
        Err(_) => {}
    }
    let mut found = false;
    walk(top, |group| {
        found |= match text_of(group, "cgroup.procs") {
            Ok(text) => !text.trim().is_empty(),
            Err(e) if is_gone(&e) => false,
            Err(e) => return Err(e),
        };
        Ok(())
    })?;
    Ok(found)
}

/// Returns the processes of a group and of all groups below it, as the caller's PID namespace counts them; those
/// that it cannot see are left out.
pub(crate) fn pids(top: BorrowedFd<'_>) -> Result<Vec<i32>> {
    let mut found = Vec::new();
    walk(top, |group| {
        match text_of(group, "cgroup.procs") {
            Ok(text) => {
                found.extend(text.lines().filter_map(|l| l.parse::<i32>().ok()).filter(|pid| *pid > 0))
            }
            // A threaded group lists no processes; the domain above it, which is visited as well, lists them.
            Err(e) if e.errno() == Errno::EOPNOTSUPP || is_gone(&e) => {}
            Err(e) => return Err(e),
        }
        Ok(())
    })?;
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_found_by_its_whole_key() {
        let text = "populated_not 7\npopulated 1\nfrozen 0\n";
        assert_eq!(value_in(text, "populated"), Some(1));
        assert_eq!(value_in(text, "frozen"), Some(0));
        assert_eq!(value_in(text, "froz"), None);
    }

    #[test]
    fn a_walk_sees_every_group_once_however_deep() {
        let top = tempfile::tempdir().unwrap();
        let mut deep = top.path().to_owned();
        for _ in 0..300 {
            deep.push("d");
        }
        std::fs::create_dir_all(&deep).unwrap();
        std::fs::create_dir_all(top.path().join("d/d/side/leaf")).unwrap();
        let fd = path::open_dir(top.path()).unwrap();
        let mut visited = 0;
        walk(fd.as_fd(), |_| {
            visited += 1;
            Ok(())
        })
        .unwrap();
        assert_eq!(visited, 1 + 300 + 2);
    }

    #[test]
    fn processes_out_of_sight_are_left_out() {
        let top = tempfile::tempdir().unwrap();
        std::fs::create_dir(top.path().join("child")).unwrap();
        std::fs::write(top.path().join("cgroup.procs"), "12\n0\n").unwrap();
        std::fs::write(top.path().join("child/cgroup.procs"), "7\n12\n").unwrap();
        let fd = path::open_dir(top.path()).unwrap();
        assert_eq!(pids(fd.as_fd()).unwrap(), [7, 12]);
    }
}
