//! Where a container lives on disk: `LXCPATH/NAME/{config,rootfs}`, as LXC has it, and Bryo's own `.bryo` beside them.
//!
//! `.bryo` is a 0700 directory of the caller's. It holds the lock of whoever works on the container, the command
//! socket of its monitor, and the run file. All three stay with the container, so every session of the user finds
//! them, with or without XDG_RUNTIME_DIR. A stopped container has none.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
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

    fn make_container_dir(&self) -> Result<OwnedFd> {
        let doing = || format!("making {}", self.dir().display());
        std::fs::create_dir_all(&self.lxcpath).map_err(from_io).doing_with(doing)?;
        let parent = path::open_dir(&self.lxcpath).doing_with(doing)?;
        path::make_dir(parent.as_fd(), OsStr::new(self.name.as_str()), 0o700).doing_with(doing)?;
        path::open_dir_at(parent.as_fd(), Path::new(self.name.as_str())).doing_with(doing)
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

    /// Removes the container's directory when nothing is in it: a creation that was killed before its first file left it.
    pub fn remove_empty_dir(&self) {
        let _holds_something = std::fs::remove_dir(self.dir());
    }

    fn try_to_lock(&self) -> Result<(StateDir, Lock)> {
        let mut why = Error::new(Kind::Busy, format!("another command works on {}", self.name));
        for _ in 0..10 {
            match self.make_state_dir().and_then(|state| Ok((state.try_lock()?, state))) {
                Ok((Some(lock), state)) => return Ok((state, lock)),
                Ok((None, _)) => {}
                // A directory went between two calls: another command has removed it, empty as it was.
                Err(e) if e.errno() == Some(Errno::ENOENT) => why = e,
                Err(e) => return Err(e),
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        Err(why)
    }

    fn state_path(&self) -> String {
        self.dir().join(STATE).display().to_string()
    }

    /// Removes Bryo's directory with all it holds, and the container's own when nothing else is in it (that of a
    /// container that was started without being defined).
    pub fn remove_state_dir(&self) -> Result<()> {
        let Some(container) = self.open_dir()? else { return Ok(()) };
        sys::file::remove_tree(container.as_fd(), OsStr::new(STATE)).doing_with(|| self.state_path())?;
        // ENOTEMPTY is the ordinary case: a defined container has a config.
        let _stays = std::fs::remove_dir(self.dir());
        Ok(())
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
fn fnv_64a(bytes: &[u8]) -> u64 {
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
    fn the_socket_name_is_lxcs() {
        let short = place("/home/ana/.local/share/lxc", "web");
        assert_eq!(short.lxc_socket_name(), b"/home/ana/.local/share/lxc/web/command");
        let long = place(&format!("/home/{}", "x".repeat(100)), "web").lxc_socket_name();
        assert!(long.starts_with(b"lxc/") && long.ends_with(b"/command") && long.len() == 4 + 16 + 8);
    }
}
