//! Removing a group with all that was made inside.
//!
//! What a systemd in the container made belongs to container root, so the caller runs this in a process whose user
//! namespace maps both; groups without such insides can be removed as the caller. Only empty directories are ever
//! removed (rmdir(2) knows nothing else), by fd, never by path.

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use sys::{Errno, Result, path};

use crate::group::{Act, BaseGroup, Error, Group, Member};
use crate::tree;

/// Groups that could not be removed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{} of the cgroup's directories could not be removed, the first: {}", failures.len(), failures[0])]
pub struct RemoveError {
    /// Each directory with its reason; at least one. EBUSY: there are still processes in it.
    pub failures: Vec<Error>,
}

/// How long to wait before trying again: the kernel takes groups apart in the background.
const PAUSE: Duration = Duration::from_millis(5);

impl Group {
    /// Removes the group and the groups below it, in every hierarchy. While the kernel answers EBUSY, tries again for
    /// `patience` at most. A directory that is gone already is no failure.
    ///
    /// # Errors
    /// All directories that are still there. The others are removed all the same.
    pub fn remove(&self, patience: Duration) -> std::result::Result<(), RemoveError> {
        let failures: Vec<Error> = self.members.iter().filter_map(|m| m.remove(patience).err()).collect();
        if failures.is_empty() { Ok(()) } else { Err(RemoveError { failures }) }
    }
}

impl BaseGroup {
    /// Removes the base itself where it is a scope that nobody is in any more. systemd does so when the last process has
    /// ended, but not where container root has made groups in it, which it may not remove.
    pub fn remove_scope(&self) {
        if self.host().is_scope && self.0.is_empty() {
            let _in_use_again = self.0.remove(Duration::ZERO);
        }
    }

    /// Removes the groups on the way to `path`, which are there for it alone: those of a configured directory. One that
    /// others use is not empty, and stays; so does one that cannot be removed.
    pub fn remove_way_to(&self, path: &Path) {
        let way = path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty());
        for above in way {
            let Ok(group) = self.open(above) else { continue };
            group.members.iter().for_each(|member| drop(member.remove_itself()));
        }
    }
}

impl Member {
    pub(crate) fn remove(&self, patience: Duration) -> std::result::Result<(), Error> {
        let end = Instant::now() + patience;
        loop {
            match remove_below(self.dir.as_fd()).and_then(|()| self.remove_itself()) {
                Err(e) if is_busy(&e) && Instant::now() < end => std::thread::sleep(PAUSE),
                done => return done.map_err(|e| Error::new(Act::Remove, &self.path, e)),
            }
        }
    }

    fn remove_itself(&self) -> Result<()> {
        // Whatever has the name by now may be another's: a group made after this one was removed.
        match self.path.file_name() {
            Some(name) if self.has_its_name()? => {
                remove_one(tree::open(self.dir.as_fd(), "..")?.as_fd(), &name.to_owned())
            }
            _ => Ok(()),
        }
    }
}

fn is_busy(error: &sys::Error) -> bool {
    matches!(error.errno(), Errno::EBUSY | Errno::ENOTEMPTY)
}

fn remove_one(dir: BorrowedFd<'_>, name: &OsString) -> Result<()> {
    match path::remove_dir(dir, name) {
        Err(e) if tree::is_gone(&e) => Ok(()),
        done => done,
    }
}

/// Removes the groups below `top`, children first, with two open fds however deep it goes and one look at each
/// directory however wide it is: whoever lives in the container decides on the shape of its tree.
fn remove_below(top: BorrowedFd<'_>) -> Result<()> {
    let mut at = tree::open(top, ".")?;
    let mut trail: Vec<OsString> = Vec::new();
    let mut pending = vec![remove_leaves(top)?];
    while let Some(names) = pending.last_mut() {
        match names.pop() {
            Some(name) => match tree::open(at.as_fd(), &name) {
                Ok(child) => {
                    pending.push(remove_leaves(child.as_fd())?);
                    trail.push(name);
                    at = child;
                }
                Err(e) if tree::is_gone(&e) => {}
                Err(e) => return Err(e),
            },
            None => {
                pending.pop();
                if let Some(name) = trail.pop() {
                    at = tree::open(at.as_fd(), "..")?;
                    remove_one(at.as_fd(), &name)?;
                }
            }
        }
    }
    Ok(())
}

/// Removes the groups right below one that have none below them; returns the others.
fn remove_leaves(dir: BorrowedFd<'_>) -> Result<Vec<OsString>> {
    let mut busy = Vec::new();
    for name in tree::children(dir)? {
        match remove_one(dir, &name) {
            Err(e) if is_busy(&e) => busy.push(name),
            done => done?,
        }
    }
    Ok(busy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deep_and_wide_tree_is_removed_from_its_leaves_up() {
        let top = tempfile::tempdir().unwrap();
        let mut deep = top.path().to_owned();
        for _ in 0..300 {
            deep.push("d");
            std::fs::create_dir_all(deep.join("leaf")).unwrap();
        }
        for n in 0..100 {
            std::fs::create_dir_all(top.path().join(format!("wide{n}/in"))).unwrap();
        }
        let fd = path::open_dir(top.path()).unwrap();
        remove_below(fd.as_fd()).unwrap();
        assert_eq!(std::fs::read_dir(top.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_group_that_is_not_empty_stops_the_removal_with_busy() {
        let top = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(top.path().join("a/b")).unwrap();
        std::fs::write(top.path().join("a/b/file"), "").unwrap();
        let fd = path::open_dir(top.path()).unwrap();
        assert!(is_busy(&remove_below(fd.as_fd()).unwrap_err()));
        assert!(top.path().join("a/b/file").exists());
    }
}
