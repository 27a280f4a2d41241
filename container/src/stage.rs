//! Where a template works: the host's own file systems, as container root sees them, with the directory of the new container
//! at its own path.
//!
//! Container root cannot walk through a home of mode 0700, and in the container's directory it may write nothing. So the first
//! directory on the way that is closed to it is covered, in a mount namespace that ends with the template, by an empty one.
//! That one leads to nothing but the new container: its root file system, and a file `config` of container root's own, which
//! somebody reads when the template has ended. A program in a closed directory elsewhere is shown in the same way, alone.
//!
//! Where the caller's own id is the container's too, no mode is in the way. So what is the caller's alone is covered always: home
//! and the session's directory, and where that id is mapped the directories for temporary files, where agents have their sockets.
//!
//! LXC: maps the caller's own id into the namespace of the template, which then may do to all of the caller's files what the
//! caller may.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sys::mount::{self, Depth, attr};
use sys::path::{self, Links};

use crate::error::{Doing, Result};
use crate::host::Caller;
use crate::place::from_io;

/// Where programs keep what is for a while.
const TEMPORARY: [&str; 3] = ["/tmp", "/var/tmp", "/dev/shm"];
/// How much, and how many files, a template may have in a directory that is covered: they are in memory.
const SIZE: &str = "256m";
const FILES: &str = "20000";

/// What is to be there.
#[derive(Clone, Debug)]
pub(crate) struct Stage {
    /// The container's directory, without links on the way.
    pub(crate) dir: PathBuf,
    /// The text of its configuration.
    pub(crate) config: String,
    /// A file of the caller's that is to be there as well, where it would be covered.
    pub(crate) program: PathBuf,
    /// Directories of which nothing else is to be seen.
    pub(crate) covered: Vec<PathBuf>,
    /// Nothing else can be written to.
    pub(crate) is_alone: bool,
}

/// Its parts, taken while still the user.
#[derive(Debug)]
pub(crate) struct Taken {
    stage: Stage,
    covers: Vec<Cover>,
    rootfs: OwnedFd,
    program: Option<OwnedFd>,
}

/// A directory that is covered.
#[derive(Debug)]
struct Cover {
    path: PathBuf,
    place: OwnedFd,
}

impl Stage {
    /// Takes hold of the parts, in a mount namespace of this process's own.
    pub(crate) fn take(&self) -> Result<Taken> {
        let rootfs = path::take(&self.dir.join("rootfs"))?;
        let covers: Vec<Cover> = outermost(self.closed())
            .into_iter()
            .map(|path| Ok(Cover { place: path::take(&path)?, path }))
            .collect::<Result<_>>()?;
        let is_covered = covers.iter().any(|cover| self.program.starts_with(&cover.path));
        let program = is_covered.then(|| {
            let file = path::take(&self.program)?;
            mount::copy(file.as_fd(), Path::new(""), Depth::One)
        });
        Ok(Taken {
            rootfs: mount::copy(rootfs.as_fd(), Path::new(""), Depth::One)?,
            program: program.transpose()?,
            stage: self.clone(),
            covers,
        })
    }

    /// Returns all directories that are to be covered.
    fn closed(&self) -> Vec<PathBuf> {
        let container = first_closed(&self.dir).unwrap_or(&self.dir);
        let program = self.program.parent().and_then(first_closed);
        // A link leads where it leads, and what is not there has nothing to be covered.
        let others = self.covered.iter().filter_map(|dir| dir.canonicalize().ok()).filter(|dir| dir.is_dir());
        others.chain([container.to_owned()]).chain(program.map(Path::to_owned)).collect()
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
        self.covers.iter().try_for_each(|cover| self.cover(cover))?;
        let dir = path::open_dir(&self.stage.dir)?;
        let text = self.stage.config.as_bytes();
        path::replace_unsynced(dir.as_fd(), OsStr::new("config"), 0o644, text)?;
        // Where the caller stands may be covered, and reached by `..` all the same.
        let is_covered = |here: &Path| self.covers.iter().any(|cover| here.starts_with(&cover.path));
        if std::env::current_dir().is_ok_and(|here| is_covered(&here)) {
            std::env::set_current_dir("/").map_err(from_io).doing("leaving the working directory")?;
        }
        Ok(())
    }

    /// Covers a directory by an empty one, with those parts at their places that are below it.
    fn cover(&self, cover: &Cover) -> Result<()> {
        let Stage { dir, program, .. } = &self.stage;
        let below = |path: &Path| path.strip_prefix(&cover.path).map(Path::to_owned).ok();
        let options = [("mode", "1777"), ("size", SIZE), ("nr_inodes", FILES)];
        let empty = mount::new_filesystem("tmpfs", &options, attr::NOSUID | attr::NODEV)?;
        let root = empty.as_fd();
        let make_dir = |path: &Path| path::make_dirs_in(root, path, Links::Refuse, 0o755);
        let rootfs = below(&dir.join("rootfs")).map(|rootfs| make_dir(&rootfs)).transpose()?;
        let shown = match (&self.program, below(program)) {
            (Some(file), Some(path)) => {
                path.parent().filter(|dir| *dir != Path::new("")).map(make_dir).transpose()?;
                Some((file, path::make_file_in(root, &path, Links::Refuse)?))
            }
            _ => None,
        };
        mount::attach(root, cover.place.as_fd())?;
        rootfs.map_or(Ok(()), |place| mount::attach(self.rootfs.as_fd(), place.as_fd()))?;
        shown.map_or(Ok(()), |(file, place)| mount::attach(file.as_fd(), place.as_fd()))?;
        Ok(())
    }
}

/// Returns the directories of the caller's that no template sees: home and that of the session; and where the caller's own id is the
/// container's too, those in which programs of the caller's keep temporary files and sockets.
pub(crate) fn own_dirs(caller: &Caller, is_mapped: bool) -> Vec<PathBuf> {
    let named = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let session = [named, Some(PathBuf::from(format!("/run/user/{}", caller.uid)))];
    let temporary = TEMPORARY.iter().map(PathBuf::from).filter(|_| is_mapped);
    let all = std::env::home_dir().into_iter().chain(session.into_iter().flatten()).chain(temporary);
    // Without a home of one's own it is `/`, or another that all programs need.
    let is_own = |dir: &PathBuf| {
        let found = std::fs::metadata(dir);
        found.is_ok_and(|found| {
            found.uid() == caller.uid.0 || TEMPORARY.iter().any(|own| dir == Path::new(own))
        })
    };
    all.filter(|dir| dir.is_absolute() && dir != Path::new("/")).filter(is_own).collect()
}

/// Returns the first directory on the way to another, itself included, that not everybody may walk through.
fn first_closed(dir: &Path) -> Option<&Path> {
    let is_closed =
        |dir: &&Path| std::fs::metadata(dir).map_or(true, |found| found.permissions().mode() & 0o001 == 0);
    let way: Vec<&Path> = dir.ancestors().collect();
    way.into_iter().rev().skip(1).find(is_closed)
}

/// Leaves out what is below another.
fn outermost(mut dirs: Vec<PathBuf>) -> Vec<PathBuf> {
    dirs.sort();
    let mut all: Vec<PathBuf> = Vec::new();
    for dir in dirs {
        if !all.iter().any(|outer| dir.starts_with(outer)) {
            all.push(dir);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn the_outermost_closed_directory_is_covered_else_the_containers_own() {
        let temporary = tempfile::tempdir().unwrap();
        let home = temporary.path().join("ana");
        let dir = home.join("lxc/web");
        fs::create_dir_all(&dir).unwrap();
        mode(temporary.path(), 0o755);
        let covers = |program: &Path, covered: &[&Path]| {
            let (dir, program) = (dir.clone(), program.to_owned());
            let covered = covered.iter().map(|dir| dir.to_path_buf()).collect();
            outermost(Stage { dir, config: String::new(), program, covered, is_alone: false }.closed())
        };
        let sh = Path::new("/bin/sh");
        assert_eq!(covers(sh, &[]), [dir.as_path()]);
        mode(&dir, 0o710);
        assert_eq!(covers(sh, &[]), [dir.as_path()]);
        assert_eq!(covers(sh, &[&home, Path::new("/none")]), [home.as_path()]);
        mode(&home, 0o750);
        assert_eq!(covers(sh, &[&dir]), [home.as_path()]);
        // A program in another closed directory is shown in one of its own.
        let other = temporary.path().join("other");
        fs::create_dir(&other).unwrap();
        mode(&other, 0o700);
        assert_eq!(covers(&other.join("lxc-mine"), &[]), [home.as_path(), other.as_path()]);
        mode(&other, 0o755);
        assert_eq!(covers(&other.join("lxc-mine"), &[]), [home.as_path()]);
    }

    #[test]
    fn what_is_roots_or_the_whole_system_is_nobodys_own() {
        let (uid, gid) = (sys::cred::real_uid(), sys::cred::real_gid());
        let caller = Caller { uid, gid, name: None };
        let all = own_dirs(&caller, true);
        assert!(TEMPORARY.iter().filter(|dir| Path::new(dir).is_dir()).all(|dir| all.contains(&dir.into())));
        assert!(!all.contains(&PathBuf::from("/")));
        assert!(
            own_dirs(&caller, false).iter().all(|dir| !TEMPORARY.iter().any(|other| dir == Path::new(other)))
        );
    }
}
