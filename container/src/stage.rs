//! Where a template works: the host's own file systems, as container root sees them, with the directory of the new container
//! at its own path.
//!
//! Container root cannot walk through a home of mode 0700, and in the container's directory it may write nothing. So the first
//! directory on the way that is closed to it is covered, in a mount namespace that ends with the template, by an empty one.
//! That one leads to nothing but the new container: its root file system, and a file `config` of container root's own, which
//! somebody reads when the template has ended. A program in a closed directory elsewhere is shown in the same way, alone.
//!
//! Where the caller's own id is the container's too, no mode is in the way. So what is the caller's alone is covered always: home
//! and the session's directory. Where that id is mapped ([`Reach::Own`]) so are the directories for temporary files, where agents have
//! their sockets, and those of services that ask who calls; of devices there are those that every program needs, with terminals of its
//! own; and what is left of the host, its cgroups too, can be read alone.
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
use crate::host::{self, Caller};
use crate::place::from_io;
use crate::rootfs;

/// Where programs keep what is for a while; POSIX memory is covered with the devices.
const TEMPORARY: [&str; 2] = ["/tmp", "/var/tmp"];
/// Services that do for a caller what they do for nobody else, because of his id or of a group that a map of one id keeps; the sessions
/// of `screen`, and letters.
const SERVICES: [&str; 20] = [
    "/run/buildkit",
    "/run/containerd",
    "/run/crio",
    "/run/dbus",
    "/run/docker",
    "/run/docker.sock",
    "/run/incus",
    "/run/libvirt",
    "/run/lxd",
    "/run/podman",
    "/run/screen",
    "/run/snapd.socket",
    "/run/snapd-snap.socket",
    "/run/udisks2",
    "/run/virtlogd",
    "/var/lib/incus/unix.socket",
    "/var/lib/incus/unix.socket.user",
    "/var/lib/lxd/unix.socket",
    "/var/mail",
    "/var/snap/lxd/common/lxd/unix.socket",
];
/// How much, in MiB, and how many files, a template may have in a directory that is covered: they are in memory.
pub(crate) const SIZE: u32 = 256;
const FILES: u32 = 20_000;
/// How many cgroup namespaces may be made below the own user namespace. In one of its own a template could mount the caller's cgroups anew,
/// to be written to.
const CGROUP_NAMESPACES: &str = "user/max_cgroup_namespaces";

/// What of the host a program on a stage reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// What everybody may.
    Everybody,
    /// It writes to nothing else.
    Reader,
    /// The caller's own id is the container's: it writes to nothing else, and devices and services that would know the caller are covered.
    Own,
}

/// What is to be there.
#[derive(Clone, Debug)]
pub(crate) struct Stage {
    /// The container's directory, without links on the way.
    pub(crate) dir: PathBuf,
    /// The text of its configuration.
    pub(crate) config: String,
    /// A file of the caller's that is to be there as well, where it would be covered.
    pub(crate) program: PathBuf,
    /// Directories of which nothing else is to be seen, and files of which nothing is.
    pub(crate) covered: Vec<PathBuf>,
    /// What else of the host there is.
    pub(crate) reach: Reach,
}

/// Its parts, taken while still the user.
#[derive(Debug)]
pub(crate) struct Taken {
    stage: Stage,
    covers: Vec<Cover>,
    rootfs: OwnedFd,
    program: Option<OwnedFd>,
    devices: Option<Devices>,
}

/// What is covered: by an empty directory, or a file that is no more what it was.
#[derive(Debug)]
struct Cover {
    path: PathBuf,
    place: OwnedFd,
    nothing: Option<OwnedFd>,
}

impl Cover {
    fn take(path: PathBuf) -> Result<Self> {
        let place = path::take(&path)?;
        let nothing = || mount::copy(path::take(Path::new("/dev/null"))?.as_fd(), Path::new(""), Depth::One);
        let nothing = if path::is_dir(place.as_fd())? { None } else { Some(nothing()?) };
        Ok(Self { path, place, nothing })
    }
}

/// The place of the devices, and those that stay.
#[derive(Debug)]
struct Devices {
    place: OwnedFd,
    nodes: Vec<(&'static str, OwnedFd)>,
}

impl Devices {
    fn take() -> Result<Self> {
        Ok(Self { place: path::take(Path::new("/dev"))?, nodes: rootfs::nodes() })
    }

    /// Covers the host's devices by those that every program needs, a devpts of its own, and an empty directory for POSIX memory.
    fn cover(&self) -> Result<()> {
        let devices = empty("755")?;
        mount::attach(devices.as_fd(), self.place.as_fd())?;
        rootfs::fill_dev(devices.as_fd(), &self.nodes)?;
        let options = [("mode", "0620"), ("ptmxmode", "0666")];
        let terminals = mount::new_filesystem("devpts", &options, attr::NOSUID | attr::NOEXEC)?;
        for (name, below) in [("shm", empty("1777")?), ("pts", terminals)] {
            let place = path::make_dirs_in(devices.as_fd(), Path::new(name), Links::Refuse, 0o755)?;
            mount::attach(below.as_fd(), place.as_fd())?;
        }
        Ok(())
    }
}

/// Returns a new, empty file system in memory.
fn empty(mode: &str) -> Result<OwnedFd> {
    let (size, files) = (format!("{SIZE}m"), FILES.to_string());
    let options = [("mode", mode), ("size", &size), ("nr_inodes", &files)];
    Ok(mount::new_filesystem("tmpfs", &options, attr::NOSUID | attr::NODEV)?)
}

impl Stage {
    /// Takes hold of the parts, in a mount namespace of this process's own.
    pub(crate) fn take(&self) -> Result<Taken> {
        let rootfs = path::take(&self.dir.join("rootfs"))?;
        let covers: Vec<Cover> =
            outermost(self.closed()).into_iter().map(Cover::take).collect::<Result<_>>()?;
        let is_covered = covers.iter().any(|cover| self.program.starts_with(&cover.path));
        let program = is_covered.then(|| {
            let file = path::take(&self.program)?;
            let shown = mount::copy(file.as_fd(), Path::new(""), Depth::One)?;
            // It is the caller's, whose id may be the program's.
            mount::set_attributes(shown.as_fd(), attr::RDONLY, 0, None, Depth::One)?;
            sys::Result::Ok(shown)
        });
        let devices = (self.reach == Reach::Own).then(Devices::take).transpose()?;
        Ok(Taken {
            rootfs: mount::copy(rootfs.as_fd(), Path::new(""), Depth::One)?,
            program: program.transpose()?,
            stage: self.clone(),
            covers,
            devices,
        })
    }

    /// Returns all directories that are to be covered.
    fn closed(&self) -> Vec<PathBuf> {
        let container = first_closed(&self.dir).unwrap_or(&self.dir);
        let program = self.program.parent().and_then(first_closed);
        // A link leads where it leads, and what is not there has nothing to be covered.
        let others = self.covered.iter().filter_map(|path| path.canonicalize().ok());
        others.chain([container.to_owned()]).chain(program.map(Path::to_owned)).collect()
    }
}

impl Taken {
    /// Puts the parts into their places, as container root.
    pub(crate) fn set_up(&self) -> Result<()> {
        if self.stage.reach != Reach::Everybody {
            let slash = path::take(Path::new("/"))?;
            mount::set_attributes(slash.as_fd(), attr::RDONLY, 0, None, Depth::Tree)?;
            // Where the id map of the namespace below is written.
            let proc = path::take(Path::new("/proc"))?;
            mount::set_attributes(proc.as_fd(), 0, attr::RDONLY, None, Depth::One)?;
        }
        if self.stage.reach == Reach::Own {
            let limits = path::open_dir(Path::new("/proc/sys"))?;
            // Where /proc is somebody's who lets nobody write there, cgroups are as well.
            let _kept = path::write_existing(limits.as_fd(), Path::new(CGROUP_NAMESPACES), b"0");
        }
        self.covers.iter().try_for_each(|cover| self.cover(cover))?;
        self.devices.as_ref().map_or(Ok(()), Devices::cover).doing("covering /dev")?;
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

    /// Covers a directory by an empty one, with those parts at their places that are below it; a file by nothing.
    fn cover(&self, cover: &Cover) -> Result<()> {
        if let Some(nothing) = &cover.nothing {
            return Ok(mount::attach(nothing.as_fd(), cover.place.as_fd())?);
        }
        let Stage { dir, program, .. } = &self.stage;
        let below = |path: &Path| path.strip_prefix(&cover.path).map(Path::to_owned).ok();
        let empty = empty("1777")?;
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

/// Returns what of the caller's no template sees: home and the directory of the session; and where the caller's own id is the
/// container's too, the directories in which his programs keep temporary files and sockets, and the services that know him.
pub(crate) fn own_places(caller: &Caller, is_mapped: bool) -> Vec<PathBuf> {
    let homes = [std::env::home_dir(), host::login_home(caller)];
    let session = [
        std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from),
        Some(format!("/run/user/{}", caller.uid).into()),
    ];
    let own = homes.into_iter().chain(session).flatten();
    // Without a home of one's own it is `/`, or another that all programs need.
    let is_own = |dir: &PathBuf| {
        let found = std::fs::metadata(dir);
        dir.is_absolute()
            && dir != Path::new("/")
            && found.is_ok_and(|found| found.uid() == caller.uid.0 && found.is_dir())
    };
    let others =
        TEMPORARY.iter().chain(&SERVICES).map(PathBuf::from).filter(|path| is_mapped && path.exists());
    let mut all: Vec<PathBuf> = own.filter(is_own).chain(others).collect();
    all.sort();
    all.dedup();
    all
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
            outermost(
                Stage { dir, config: String::new(), program, covered, reach: Reach::Everybody }.closed(),
            )
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
        let all = own_places(&caller, true);
        assert!(TEMPORARY.iter().filter(|dir| Path::new(dir).is_dir()).all(|dir| all.contains(&dir.into())));
        assert!(!all.contains(&PathBuf::from("/")));
        let others = own_places(&caller, false);
        assert!(TEMPORARY.iter().chain(&SERVICES).all(|path| !others.contains(&path.into())));
    }
}
