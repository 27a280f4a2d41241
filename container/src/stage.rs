//! Where a template works: the host's own file systems, as container root sees them, with the directory of the new container
//! at its own path.
//!
//! Container root cannot walk through a home of mode 0700, and in the container's directory it may write nothing. So the first
//! directory on the way that is closed to it is covered, in a mount namespace that ends with the template, by an empty one.
//! That one leads to nothing but the new container: its root file system, and a file `config` of container root's own, which
//! somebody reads when the template has ended.
//!
//! LXC: maps the caller's own id into the namespace of the template, which then may do to all of the caller's files what the
//! caller may.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use sys::mount::{self, Depth, attr};
use sys::path::{self, Links};

use crate::error::{Doing, Result};
use crate::place::from_io;

/// What is to be there.
#[derive(Clone, Debug)]
pub(crate) struct Stage {
    /// The container's directory, without links on the way.
    pub(crate) dir: PathBuf,
    /// The text of its configuration.
    pub(crate) config: String,
    /// A file of the caller's that is to be there as well, where it would be covered.
    pub(crate) program: PathBuf,
    /// Nothing else can be written to.
    pub(crate) is_alone: bool,
}

/// Its parts, taken while still the user.
#[derive(Debug)]
pub(crate) struct Taken {
    stage: Stage,
    /// The directory that is covered.
    covered: PathBuf,
    cover: OwnedFd,
    rootfs: OwnedFd,
    program: Option<OwnedFd>,
}

impl Stage {
    /// Takes hold of the parts, in a mount namespace of this process's own.
    pub(crate) fn take(&self) -> Result<Taken> {
        let covered = covered(&self.dir).to_owned();
        let rootfs = path::take(&self.dir.join("rootfs"))?;
        let is_covered = self.program.starts_with(&covered);
        let program = is_covered.then(|| {
            let file = path::take(&self.program)?;
            mount::copy(file.as_fd(), Path::new(""), Depth::One)
        });
        Ok(Taken {
            cover: path::take(&covered)?,
            rootfs: mount::copy(rootfs.as_fd(), Path::new(""), Depth::One)?,
            program: program.transpose()?,
            stage: self.clone(),
            covered,
        })
    }
}

impl Taken {
    /// Puts the parts into their places, as container root.
    pub(crate) fn set_up(&self) -> Result<()> {
        if self.stage.is_alone {
            let slash = path::take(Path::new("/"))?;
            mount::set_attributes(slash.as_fd(), attr::RDONLY, 0, None, Depth::Tree)?;
            // Where the id map of the namespace below is written.
            let proc = path::take(Path::new("/proc"))?;
            mount::set_attributes(proc.as_fd(), 0, attr::RDONLY, None, Depth::One)?;
        }
        let options = [("mode", "755"), ("size", "64m"), ("nr_inodes", "1000")];
        let empty = mount::new_filesystem("tmpfs", &options, attr::NOSUID | attr::NODEV)?;
        let below = |path: &Path| path.strip_prefix(&self.covered).unwrap_or(path).to_owned();
        let root = empty.as_fd();
        path::make_dirs_in(root, &below(&self.stage.dir), Links::Refuse, 0o755)?;
        let rootfs = path::make_dirs_in(root, &below(&self.stage.dir.join("rootfs")), Links::Refuse, 0o755)?;
        mount::attach(empty.as_fd(), self.cover.as_fd())?;
        mount::attach(self.rootfs.as_fd(), rootfs.as_fd())?;
        if let Some(program) = &self.program {
            let place = path::make_file_in(root, &below(&self.stage.program), Links::Refuse)?;
            mount::attach(program.as_fd(), place.as_fd())?;
        }
        let dir = path::open_dir(&self.stage.dir)?;
        let text = self.stage.config.as_bytes();
        path::replace_unsynced(dir.as_fd(), OsStr::new("config"), 0o644, text)?;
        // Where the caller stands may be covered, and reached by `..` all the same.
        if std::env::current_dir().is_ok_and(|here| here.starts_with(&self.covered)) {
            std::env::set_current_dir("/").map_err(from_io).doing("leaving the working directory")?;
        }
        Ok(())
    }
}

/// Returns the first directory on the way to a container, itself included, that not everybody may walk through.
fn covered(dir: &Path) -> &Path {
    let is_closed =
        |dir: &&Path| std::fs::metadata(dir).map_or(true, |found| found.permissions().mode() & 0o001 == 0);
    let way: Vec<&Path> = dir.ancestors().collect();
    way.into_iter().rev().skip(1).find(is_closed).unwrap_or(dir)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_outermost_closed_directory_is_covered_else_the_containers_own() {
        let temporary = tempfile::tempdir().unwrap();
        let home = temporary.path().join("ana");
        let dir = home.join("lxc/web");
        fs::create_dir_all(&dir).unwrap();
        let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        mode(temporary.path(), 0o755);
        assert_eq!(covered(&dir), dir);
        mode(&dir, 0o710);
        assert_eq!(covered(&dir), dir);
        mode(&home, 0o750);
        assert_eq!(covered(&dir), home);
    }
}
