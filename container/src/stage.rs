//! Where a template works: the host's own file systems, as container root sees them, with the directory of the new container
//! at its own path.
//!
//! Container root cannot walk through a home of mode 0700, and in the container's directory it may write nothing. So the first
//! directory on the way that is closed to it is covered, in a mount namespace that ends with the template, by an empty one.
//! That one leads to nothing but the new container: its root file system, and a file `config` of container root's own, which
//! somebody reads when the template has ended. A program in a closed directory elsewhere is shown in the same way, alone.
//!
//! Where the caller's own id is the container's too, no mode is in the way. So what is the caller's alone is covered always: home
//! and the session's directory, wherever they are mounted. Where that id is mapped ([`Reach::Own`]) so are the directories for temporary
//! files, where agents have their sockets, and those of services that ask who calls, `/run` as a whole: a service may come later, or make
//! its socket anew, which nothing that covered the old one would cover. Of devices there are those that every program needs, with terminals
//! of its own; and what is left of the host, its cgroups too, can be read alone.
//!
//! LXC: maps the caller's own id into the namespace of the template, which then may do to all of the caller's files what the
//! caller may.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sys::mount::{self, Depth, attr};
use sys::path::{self, Links};
use types::{HostUid, MountLine};

use crate::error::{Doing, Result};
use crate::host::{self, Caller};
use crate::place::from_io;
use crate::rootfs;

/// Where programs keep what is for a while; POSIX memory is covered with the devices.
const TEMPORARY: [&str; 2] = ["/tmp", "/var/tmp"];
/// Where services have their sockets, and the sessions of `screen`.
const RUN: &str = "/run";
/// Elsewhere, services that do for a caller what they do for nobody else, because of his id or of a group that a map of one id keeps; and
/// letters.
const SERVICES: [&str; 7] = [
    "/nix/var/nix/daemon-socket",
    "/var/lib/gssproxy",
    "/var/lib/incus",
    "/var/lib/lxd",
    "/var/lib/mysql",
    "/var/mail",
    "/var/snap/lxd/common/lxd",
];
/// What a program needs of [`RUN`], where it is there: how names are resolved, and NixOS's programs.
const SHOWN: [&str; 6] = [
    "/etc/resolv.conf",
    "/run/systemd/resolve/resolv.conf",
    "/run/systemd/resolve/stub-resolv.conf",
    "/run/resolvconf/resolv.conf",
    "/run/nscd/socket",
    "/run/current-system",
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
    /// Directories of which nothing else is to be seen.
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
    shown: Vec<Shown>,
    devices: Option<Devices>,
}

/// A directory that an empty one covers.
#[derive(Debug)]
struct Cover {
    path: PathBuf,
    place: OwnedFd,
}

impl Cover {
    fn take(path: PathBuf) -> Result<Self> {
        Ok(Self { place: path::take(&path)?, path })
    }
}

/// A file or directory that is seen, read-only, where it would be covered.
#[derive(Debug)]
struct Shown {
    path: PathBuf,
    mount: OwnedFd,
}

impl Shown {
    fn take(path: PathBuf) -> Result<Self> {
        let mount = mount::copy(path::take(&path)?.as_fd(), Path::new(""), Depth::One)?;
        // It may be the caller's, whose id may be the program's.
        mount::set_attributes(mount.as_fd(), attr::RDONLY, 0, None, Depth::One)?;
        Ok(Self { path, mount })
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
        let is_covered = |path: &PathBuf| covers.iter().any(|cover| path.starts_with(&cover.path));
        let program = [self.program.clone()].into_iter().filter(is_covered).map(Shown::take);
        let mut shown = program.collect::<Result<Vec<_>>>()?;
        // What is not there, or no more, is not shown.
        shown.extend(needed(self.reach).filter(is_covered).filter_map(|path| Shown::take(path).ok()));
        let devices = (self.reach == Reach::Own).then(Devices::take).transpose()?;
        Ok(Taken {
            rootfs: mount::copy(rootfs.as_fd(), Path::new(""), Depth::One)?,
            stage: self.clone(),
            covers,
            shown,
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
        // Where the caller stands may be covered, or removed, and reach what is covered by `..` all the same.
        let is_covered = |here: &Path| self.covers.iter().any(|cover| here.starts_with(&cover.path));
        let is_open = std::env::current_dir().is_ok_and(|here| !is_covered(&here));
        if self.stage.reach == Reach::Own || !is_open {
            std::env::set_current_dir("/").map_err(from_io).doing("leaving the working directory")?;
        }
        Ok(())
    }

    /// Covers a directory by an empty one, with those parts at their places that are below it.
    fn cover(&self, cover: &Cover) -> Result<()> {
        let below = |path: &Path| path.strip_prefix(&cover.path).map(Path::to_owned).ok();
        let empty = empty("1777")?;
        let root = empty.as_fd();
        let make_dir = |path: &Path| path::make_dirs_in(root, path, Links::Refuse, 0o755);
        let rootfs = below(&self.stage.dir.join("rootfs")).map(|rootfs| make_dir(&rootfs)).transpose()?;
        let mut places = Vec::new();
        for shown in &self.shown {
            let Some(path) = below(&shown.path) else { continue };
            let place = match path::is_dir(shown.mount.as_fd())? {
                true => make_dir(&path)?,
                false => path::make_file_in(root, &path, Links::Refuse)?,
            };
            places.push((&shown.mount, place));
        }
        mount::attach(root, cover.place.as_fd())?;
        rootfs.map_or(Ok(()), |place| mount::attach(self.rootfs.as_fd(), place.as_fd()))?;
        Ok(places.iter().try_for_each(|(mount, place)| mount::attach(mount.as_fd(), place.as_fd()))?)
    }
}

/// Returns what a program needs of [`RUN`], where that is covered.
fn needed(reach: Reach) -> impl Iterator<Item = PathBuf> {
    let place = |path: &&str| match Path::new(path) {
        path if path.starts_with(RUN) => Some(path.to_owned()),
        // It is a link where a service writes it.
        path => path.canonicalize().ok(),
    };
    let wanted = SHOWN.iter().filter(move |_| reach == Reach::Own);
    wanted.filter_map(place).filter(|path| path.starts_with(RUN)).collect::<BTreeSet<_>>().into_iter()
}

/// Returns what of the caller's no template sees: home and the directory of the session; and where the caller's own id is the
/// container's too, the directories in which his programs keep temporary files and sockets, and the services that know him.
pub(crate) fn own_places(caller: &Caller, is_mapped: bool) -> Vec<PathBuf> {
    // Who is root of a user namespace has the home of who he is outside.
    let ids: Vec<HostUid> = [caller.uid].into_iter().chain(host::outside(caller.uid)).collect();
    let homes = [std::env::home_dir()].into_iter().chain(ids.iter().map(|id| host::login_home(*id)));
    let sessions = [std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from)]
        .into_iter()
        .chain(ids.iter().map(|uid| Some(format!("/run/user/{uid}").into())));
    // Without a home of one's own it is `/`, or another that all programs need.
    let is_own = |dir: &PathBuf| {
        let found = std::fs::metadata(dir);
        dir.is_absolute()
            && dir != Path::new("/")
            && found.is_ok_and(|found| found.uid() == caller.uid.0 && found.is_dir())
    };
    let own = homes.chain(sessions).flatten().filter(is_own);
    let others = TEMPORARY.iter().chain(&SERVICES).chain([&RUN]).map(PathBuf::from);
    let all: Vec<PathBuf> = own.chain(others.filter(|path| is_mapped && path.is_dir())).collect();
    let mounts = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
    let mounts = String::from_utf8_lossy(&mounts);
    let canonical = all.iter().filter_map(|dir| dir.canonicalize().ok());
    let again: Vec<PathBuf> = canonical.flat_map(|dir| elsewhere(&dir, &mounts)).collect();
    let again = again.into_iter().filter(|dir| dir.is_dir());
    all.into_iter().chain(again).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Tells whether a directory is covered for a service's sake whose files no program misses.
pub(crate) fn is_of_service(dir: &Path) -> bool {
    SERVICES.iter().any(|known| dir == Path::new(known))
}

/// Returns where else a directory is, and parts of it: in other mounts of its file system, from the text of /proc/self/mountinfo.
fn elsewhere(dir: &Path, mountinfo: &str) -> Vec<PathBuf> {
    let path = |escaped: &str| PathBuf::from(MountLine::unescaped(escaped));
    let mounts = MountLine::all(mountinfo).map(|line| (line.device, path(line.root), path(line.point)));
    let mounts: Vec<_> = mounts.collect();
    let holds = |(.., point): &&(&str, PathBuf, PathBuf)| dir.starts_with(point);
    // Of several at one place the last one is seen.
    let holder = mounts.iter().filter(holds).max_by_key(|(.., point)| point.components().count());
    let Some((device, root, point)) = holder else { return Vec::new() };
    let Ok(below) = dir.strip_prefix(point) else { return Vec::new() };
    let inner = root.join(below);
    let others = mounts.iter().filter(|(of, ..)| of == device).filter_map(|(_, root, point)| {
        match (inner.strip_prefix(root), root.starts_with(&inner)) {
            (Ok(rest), _) => Some(point.join(rest)),
            (Err(_), true) => Some(point.clone()),
            (Err(_), false) => None,
        }
    });
    // Of what such a directory is below, the other covers see to the directory itself.
    others.filter(|other| !other.starts_with(dir) && !dir.starts_with(other)).collect()
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
        assert!(all.contains(&RUN.into()) && !others.contains(&RUN.into()));
    }

    #[test]
    fn a_home_is_found_in_each_mount_of_its_file_system() {
        let found = |mounts: &[&str]| {
            let line = |(at, mount): (usize, &&str)| {
                let [device, root, point] = mount.split(' ').collect::<Vec<_>>()[..] else {
                    panic!("{mount}")
                };
                format!("{} 1 {device} {root} {point} rw - ext4 /dev/x rw\n", at + 2)
            };
            let mountinfo: String = mounts.iter().enumerate().map(line).collect();
            let found = elsewhere(Path::new("/home/ana"), &mountinfo);
            found.iter().map(|path| path.display().to_string()).collect::<Vec<_>>()
        };
        let none: [&str; 0] = [];
        assert_eq!(found(&[]), none);
        assert_eq!(found(&["8:1 / /", "8:2 / /home", "0:5 / /proc"]), none);
        assert_eq!(found(&["8:1 / /", "8:1 /data/home /home"]), ["/data/home/ana"]);
        // A whole file system beside one of its directories, as of ostree and btrfs.
        assert_eq!(
            found(&["8:1 / /sysroot", "8:1 /deploy/1 /", "8:1 /var/home /home"]),
            ["/sysroot/var/home/ana"]
        );
        assert_eq!(
            found(&["0:30 /@ /", "0:30 /@home /home", "0:30 / /mnt/all\\040of"]),
            ["/mnt/all of/@home/ana"]
        );
        // A part of it, and what is another's.
        assert_eq!(
            found(&["8:1 / /", "8:1 /home/ana/work /work", "8:1 /home/anabel /x", "8:3 /home/ana /y"]),
            ["/work"]
        );
        // A root directory that lies in a home is no part of it to be covered.
        assert_eq!(found(&["8:1 /home/ana/root /", "8:1 /home /home"]), none);
    }
}
