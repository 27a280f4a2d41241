//! Where a container lives on disk: `LXCPATH/NAME/{config,rootfs}`, as LXC has it, and Bryo's own `.bryo` beside them.
//!
//! `.bryo` is a 0700 directory of the caller's. It holds the lock of whoever works on the container, the command
//! socket of its monitor, and the run file. All three stay with the container, so every session of the user finds
//! them, with or without XDG_RUNTIME_DIR. A stopped container has none.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sys::{Errno, path};
use types::ContainerName;

use crate::error::{Doing, Error, Kind, Result};

/// The name of Bryo's directory beside `config`.
pub(crate) const STATE: &str = ".bryo";
/// The lock that the monitor, or a command that creates or destroys, holds.
const LOCK: &str = "lock";
/// The command socket of the monitor.
pub const COMMAND_SOCKET: &str = "command";
/// What a configuration is named from the moment its container's files begin to go.
pub(crate) const DESTROYED: &str = ".destroyed";
/// What LXC names the marker of a container whose creation has not finished.
pub(crate) const PARTIAL: &str = "partial";

/// What a container's directory is called before Bryo's own is in it, and from the moment that nothing else is in it any
/// more. So one with the container's name is never Bryo's to remove because it is empty: others have empty directories
/// too, such as mount points. No container has such a name.
const BEFORE: &str = ".bryo-new.";
const AFTER: &str = ".bryo-old.";

/// A container's place: the lxcpath and its name. Nothing need exist there yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The directory of all containers.
    pub lxcpath: PathBuf,
    /// The container.
    pub name: ContainerName,
}

/// Bryo's directory of one container, opened and known to be the caller's own.
#[derive(Debug)]
pub struct StateDir {
    fd: OwnedFd,
}

/// The lock of a container; released on drop, or by the kernel when the holder dies.
#[derive(Debug)]
pub struct Lock {
    _file: OwnedFd,
}

impl Place {
    /// Returns the container's directory.
    pub fn dir(&self) -> PathBuf {
        self.lxcpath.join(self.name.as_str())
    }

    /// Returns the path of its configuration.
    pub fn config(&self) -> PathBuf {
        self.dir().join("config")
    }

    /// Returns the path of what it has of Bryo alone.
    pub fn beside(&self) -> PathBuf {
        self.dir().join(config::beside::NAME)
    }

    /// Returns the path of its root file system, unless the configuration names another.
    pub fn rootfs(&self) -> PathBuf {
        self.dir().join("rootfs")
    }

    /// Tells whether the container is defined: it has a configuration.
    pub fn is_defined(&self) -> bool {
        self.config().is_file()
    }

    /// Returns the marker of a creation that has not finished. LXC uses the same name.
    pub fn partial_marker(&self) -> PathBuf {
        self.dir().join(PARTIAL)
    }

    /// Returns what the configuration is named while the container is being destroyed.
    pub fn destroyed_marker(&self) -> PathBuf {
        self.dir().join(DESTROYED)
    }

    /// Returns LXC's abstract socket name of the container, without the leading NUL.
    ///
    /// LXC: a name over 105 bytes is replaced by a hash (`lxc/HASH/command`).
    pub fn lxc_socket_name(&self) -> Vec<u8> {
        let lxcpath = self.lxcpath.to_string_lossy();
        let plain = format!("{lxcpath}/{}/command", self.name);
        if plain.len() <= 105 {
            return plain.into_bytes();
        }
        let hash = fnv_64a(format!("{lxcpath}/{}", self.name).as_bytes());
        format!("lxc/{hash:016x}/command").into_bytes()
    }

    /// Opens Bryo's directory, if there is one.
    ///
    /// # Errors
    /// One that another user owns or may write: it was put there to mislead. One that cannot be looked at just now: a
    /// container that runs must not seem to be stopped.
    pub fn state_dir(&self) -> Result<Option<StateDir>> {
        let Some(container) = self.open_dir()? else { return Ok(None) };
        match path::open_dir_at(container.as_fd(), Path::new(STATE)) {
            Err(e) if matches!(e.errno(), Errno::ENOENT) => Ok(None),
            opened => {
                StateDir::checked(opened?).map(Some).doing_with(|| format!("opening {}", self.state_path()))
            }
        }
    }

    /// Opens the container's directory; none when there is none that the caller may look into.
    fn open_dir(&self) -> Result<Option<OwnedFd>> {
        use Errno as E;
        match path::open_dir(&self.dir()) {
            Err(e) if [E::ENOENT, E::ENOTDIR, E::EACCES, E::ELOOP].contains(&e.errno()) => Ok(None),
            opened => opened.map(Some).doing_with(|| format!("opening {}", self.dir().display())),
        }
    }

    /// Opens Bryo's directory, making it (and the container's) where it is missing.
    pub fn make_state_dir(&self) -> Result<StateDir> {
        if let Some(found) = self.state_dir()? {
            return Ok(found);
        }
        let doing = || format!("making {}", self.state_path());
        let container = match path::open_dir(&self.dir()) {
            Err(e) if e.errno() == Errno::ENOENT => self.make_container_dir()?,
            opened => opened.doing_with(doing)?,
        };
        match path::make_dir(container.as_fd(), OsStr::new(STATE), 0o700) {
            Err(e) if e.errno() != Errno::EEXIST => return Err(e).doing_with(doing),
            _ => {}
        }
        let opened = path::open_dir_at(container.as_fd(), Path::new(STATE)).doing_with(doing)?;
        StateDir::checked(opened).doing_with(doing)
    }

    /// Makes the container's directory with Bryo's own in it.
    fn make_container_dir(&self) -> Result<OwnedFd> {
        let doing = || format!("making {}", self.dir().display());
        std::fs::create_dir_all(&self.lxcpath).map_err(from_io).doing_with(doing)?;
        let parent = path::open_dir(&self.lxcpath).doing_with(doing)?;
        let (new, name) = (self.other_name(BEFORE), OsStr::new(self.name.as_str()));
        remove_remnant(parent.as_fd(), &new);
        let make = || {
            path::make_dir(parent.as_fd(), &new, 0o700)?;
            let dir = path::open_dir_at(parent.as_fd(), Path::new(&new))?;
            path::make_dir(dir.as_fd(), OsStr::new(STATE), 0o700)?;
            match path::rename_new(parent.as_fd(), &new, name) {
                // Somebody else has made it meanwhile.
                Err(e) if e.errno() == Errno::EEXIST => Ok(None),
                renamed => renamed.map(|()| Some(dir)),
            }
        };
        let made = make();
        if !matches!(made, Ok(Some(_))) {
            remove_remnant(parent.as_fd(), &new);
        }
        let others = || path::open_dir_at(parent.as_fd(), Path::new(name));
        made.and_then(|own| own.map_or_else(others, Ok)).doing_with(doing)
    }

    /// Returns the name of the container's directory before it is one, or after.
    fn other_name(&self, prefix: &str) -> OsString {
        const LONGEST: usize = 255;
        let name = self.name.as_str();
        let room = name.floor_char_boundary(LONGEST - prefix.len());
        format!("{prefix}{}", &name[..room]).into()
    }

    /// Removes what a command that was killed while it made or removed the container's directory has left.
    pub fn remove_remnants(&self) {
        if let Ok(parent) = path::open_dir(&self.lxcpath) {
            [BEFORE, AFTER]
                .iter()
                .for_each(|prefix| remove_remnant(parent.as_fd(), &self.other_name(prefix)));
        }
    }

    /// Removes the container's directory, in which nothing but Bryo's own should be left.
    pub(crate) fn remove_dir(&self, parent: BorrowedFd<'_>) -> Result<()> {
        let (name, old) = (OsStr::new(self.name.as_str()), self.other_name(AFTER));
        remove_remnant(parent, &old);
        // Where it cannot be renamed it is removed as it is.
        let name = if path::rename_at(parent, name, &old).is_ok() { &old } else { name };
        Ok(sys::file::remove_tree(parent, name)?)
    }

    /// Takes the container's lock, making Bryo's directory for it.
    ///
    /// Whoever held it may be a moment from its end and remove the directory, so it is tried for a twentieth of a second.
    ///
    /// # Errors
    /// [`Kind::Busy`] when somebody has it.
    pub fn lock(&self) -> Result<(StateDir, Lock)> {
        let taken = self.try_to_lock();
        if taken.is_err() {
            self.remove_empty_dirs();
        }
        taken
    }

    /// Takes the container's lock as [`Self::lock`] does, for a removal: on a full disk, where no lock file can be made, the
    /// container's directory itself is locked. Two removals then keep each other off, and nothing else can begin there.
    pub fn lock_to_remove(&self) -> Result<(Option<StateDir>, Lock)> {
        match self.lock() {
            Err(e) if e.errno().is_some_and(|errno| matches!(errno, Errno::ENOSPC | Errno::EDQUOT)) => {}
            taken => return taken.map(|(state, lock)| (Some(state), lock)),
        }
        let dir = path::open_dir(&self.dir())?;
        match path::try_lock(dir.as_fd())? {
            true => Ok((self.state_dir()?, Lock { _file: dir })),
            false => Err(Error::new(Kind::Busy, format!("another command works on {}", self.name))),
        }
    }

    /// Removes the directories that were made for a lock which could not be had. One that another command has just made for
    /// its own lock is made again by that.
    fn remove_empty_dirs(&self) {
        for dir in [self.dir().join(STATE), self.dir()] {
            let _in_use = std::fs::remove_dir(dir);
        }
    }

    fn try_to_lock(&self) -> Result<(StateDir, Lock)> {
        let mut why = Error::new(Kind::Busy, format!("another command works on {}", self.name));
        for _ in 0..10 {
            match self.make_state_dir().and_then(|state| Ok((state.try_lock()?, state))) {
                // Whoever had it before may have removed the directory that this lock is in.
                Ok((Some(lock), state)) if self.has(&state) => return Ok((state, lock)),
                Ok(_) => {}
                // A directory went between two calls: another command has removed it, empty as it was.
                Err(e) if e.errno() == Some(Errno::ENOENT) => why = e,
                Err(e) => return Err(e),
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        Err(why)
    }

    fn has(&self, state: &StateDir) -> bool {
        let inode = |state: &StateDir| path::status(state.fd()).ok().map(|found| found.st_ino);
        self.state_dir().ok().flatten().is_some_and(|named| inode(&named) == inode(state))
    }

    fn state_path(&self) -> String {
        self.dir().join(STATE).display().to_string()
    }

    /// Removes Bryo's directory with all it holds, and the container's own when nothing else is in it (that of a
    /// container that was started without being defined).
    pub fn remove_state_dir(&self) -> Result<()> {
        let Some(container) = self.open_dir()? else { return Ok(()) };
        let is_all = path::names(container.as_fd())?.iter().all(|name| name == STATE);
        let remove = || sys::file::remove_tree(container.as_fd(), OsStr::new(STATE));
        if !is_all {
            return remove().doing_with(|| self.state_path());
        }
        let parent = path::open_dir(&self.lxcpath)?;
        let (name, old) = (OsStr::new(self.name.as_str()), self.other_name(AFTER));
        remove_remnant(parent.as_fd(), &old);
        let is_renamed = path::rename_at(parent.as_fd(), name, &old).is_ok();
        let removed = remove().doing_with(|| self.state_path());
        let last = if is_renamed { &old } else { name };
        // What somebody else has put there meanwhile stays.
        if path::remove_dir(parent.as_fd(), last).is_err() && is_renamed {
            path::rename_new(parent.as_fd(), &old, name)?;
        }
        removed
    }
}

/// Removes what killed commands have left of directories that were about to become containers', or were.
pub fn remove_all_remnants(lxcpath: &Path) {
    let Ok(parent) = path::open_dir(lxcpath) else { return };
    let names = path::names(parent.as_fd()).unwrap_or_default();
    names.iter().for_each(|name| remove_remnant(parent.as_fd(), name));
}

/// Removes a directory with one of those names. What cannot be removed now is in the way of nobody.
fn remove_remnant(lxcpath: BorrowedFd<'_>, name: &OsStr) {
    let bytes = name.as_encoded_bytes();
    if bytes.starts_with(AFTER.as_bytes()) {
        let _left = sys::file::remove_tree(lxcpath, name);
    } else if bytes.starts_with(BEFORE.as_bytes()) {
        // It may have become a container's by now, so by no more than its name while it is empty.
        if let Ok(dir) = path::open_dir_at(lxcpath, Path::new(name)) {
            let _gone = path::remove_dir(dir.as_fd(), OsStr::new(STATE));
        }
        let _gone = path::remove_dir(lxcpath, name);
    }
}

impl StateDir {
    fn checked(fd: OwnedFd) -> Result<Self> {
        let found = path::status(fd.as_fd())?;
        let caller = sys::cred::real_uid();
        if found.st_uid != caller.0 || found.st_mode & 0o077 != 0 {
            let cause = format!(
                "it belongs to user {} with mode {:04o}, not to {caller} alone",
                found.st_uid,
                found.st_mode & 0o7777
            );
            return Err(Error::new(Kind::Rootfs, cause));
        }
        Ok(Self { fd })
    }

    /// Returns the directory's fd.
    pub fn fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Takes the container's lock, if nobody has it.
    pub fn try_lock(&self) -> Result<Option<Lock>> {
        let file = path::open_or_make(self.fd(), OsStr::new(LOCK), 0o600)?;
        if !path::try_lock(file.as_fd())? {
            return Ok(None);
        }
        // A holder that cleans up unlinks the file: a lock on a name that is gone excludes nobody.
        match path::status_at(self.fd(), OsStr::new(LOCK)) {
            Ok(named) if named.st_ino == path::status(file.as_fd())?.st_ino => Ok(Some(Lock { _file: file })),
            _ => Ok(None),
        }
    }
}

/// Turns a failure of the standard library into the library's error.
pub(crate) fn from_io(error: std::io::Error) -> Error {
    Error::new(Kind::Kernel(error.raw_os_error().unwrap_or(0)), error.to_string())
}

/// The hash that LXC uses for long socket names.
pub(crate) fn fnv_64a(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(lxcpath: &str, name: &str) -> Place {
        Place { lxcpath: lxcpath.into(), name: name.parse().unwrap() }
    }

    #[test]
    fn only_directories_of_the_two_names_are_remnants() {
        let dir = tempfile::tempdir().unwrap();
        let (lxcpath, web) = (dir.path(), place(dir.path().to_str().unwrap(), "web"));
        let make = |name: &str| std::fs::create_dir_all(lxcpath.join(name)).unwrap();
        let named = ["web", "other/.bryo", ".bryo-new.web/.bryo", ".bryo-new.x", ".bryo-old.y"];
        named.into_iter().for_each(make);
        make(".bryo-old.web/.bryo/lock");
        let left = || {
            let names = std::fs::read_dir(lxcpath).unwrap().map(|entry| entry.unwrap().file_name());
            let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
            names.sort();
            names
        };
        web.remove_remnants();
        assert_eq!(left(), [".bryo-new.x", ".bryo-old.y", "other", "web"]);
        remove_all_remnants(lxcpath);
        assert_eq!(left(), ["other", "web"]);
        let long = place("/", &"é".repeat(127));
        assert!(long.other_name(BEFORE).len() <= 255 && long.other_name(BEFORE) != long.other_name(AFTER));
    }

    #[test]
    fn a_directory_goes_with_bryos_own_unless_something_else_is_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let web = place(dir.path().to_str().unwrap(), "web");
        let (_, lock) = web.lock().unwrap();
        assert!(matches!(web.lock(), Err(e) if e.kind() == Kind::Busy));
        web.remove_state_dir().unwrap();
        drop(lock);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        let (_, lock) = web.lock().unwrap();
        std::fs::write(web.config(), "").unwrap();
        web.remove_state_dir().unwrap();
        drop(lock);
        assert!(web.is_defined() && web.state_dir().unwrap().is_none());
    }

    #[test]
    fn the_socket_name_is_lxcs() {
        let short = place("/home/ana/.local/share/lxc", "web");
        assert_eq!(short.lxc_socket_name(), b"/home/ana/.local/share/lxc/web/command");
        let long = place(&format!("/home/{}", "x".repeat(100)), "web").lxc_socket_name();
        assert!(long.starts_with(b"lxc/") && long.ends_with(b"/command") && long.len() == 4 + 16 + 8);
    }
}
