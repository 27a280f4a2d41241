//! A privileged helper as it is installed: whether running it gives it the rights that it needs.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use sys::Errno;
use sys::exposed::{self, Exposed};

use crate::error::{Doing, Result};

/// Bits of the capabilities that helpers have. Source: capabilities(7).
pub mod capability {
    /// cap_setgid.
    pub const SETGID: u64 = 1 << 6;
    /// cap_net_admin.
    pub const NET_ADMIN: u64 = 1 << 12;
    /// cap_setuid.
    pub const SETUID: u64 = 1 << 7;
}

/// The mode bit that makes a program run as its owner.
const SETUID_BIT: u32 = 0o4000;

/// A program, and what its file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// Where it is, or would be.
    pub path: PathBuf,
    /// What is there.
    pub installed: Option<Installed>,
    /// What others than root can change: the file, or a directory on the way to it or to where it would be.
    pub exposed: Option<Exposed>,
}

/// The file of a program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Installed {
    /// Its owner.
    pub owner: u32,
    /// It has the setuid bit.
    pub setuid: bool,
    /// The capabilities that its file gives here, a bit each.
    pub capabilities: u64,
    /// It lies on a mount on which neither counts.
    pub nosuid: bool,
}

impl Program {
    /// Looks at the file at `path`.
    ///
    /// # Errors
    /// It cannot be looked at just now, for want of memory or fds: to take it for one without rights would make another
    /// container.
    pub fn look(path: PathBuf) -> Result<Self> {
        let installed = Installed::look(&path).doing_with(|| format!("looking at {}", path.display()))?;
        let place = if installed.is_some() { Some(&*path) } else { path.parent() };
        let exposed = place.and_then(|place| exposed::look(place).ok().flatten());
        Ok(Self { path, installed, exposed })
    }

    /// Looks for a program of the system, and returns where it would be if it is nowhere.
    ///
    /// # Errors
    /// As [`Self::look`].
    pub fn of_system(name: &str) -> Result<Self> {
        let places = ["/usr/bin", "/bin", "/usr/local/bin"].map(|dir| Path::new(dir).join(name));
        let found: Vec<Self> = places.into_iter().map(Self::look).collect::<Result<_>>()?;
        let best =
            found.iter().find(|p| p.gains_also(capability::SETUID) || p.gains_also(capability::SETGID));
        let there = best.or_else(|| found.iter().find(|p| p.installed.is_some()));
        Ok(there.or(found.first()).cloned().unwrap_or_default())
    }

    /// Tells whether running it gives it the wanted capabilities and no others: with more, Bryo's own helpers refuse to work.
    pub fn gains(&self, wanted: u64) -> bool {
        self.installed.is_some_and(|file| !file.nosuid && file.would_gain(wanted))
    }

    /// Tells whether running it gives it the wanted capabilities, whatever else it gives.
    pub fn gains_also(&self, wanted: u64) -> bool {
        let all = |file: Installed| file.runs_as_root() || file.capabilities & wanted == wanted;
        self.installed.is_some_and(|file| !file.nosuid && all(file))
    }
}

impl Installed {
    fn look(path: &Path) -> sys::Result<Option<Self>> {
        let handle = match sys::path::take(path) {
            Err(e) if is_about_the_file(e.errno()) => return Ok(None),
            handle => handle?,
        };
        if !sys::path::is_regular(handle.as_fd())? {
            return Ok(None);
        }
        let found = sys::path::status(handle.as_fd())?;
        Ok(Some(Self {
            owner: found.st_uid,
            setuid: found.st_mode & SETUID_BIT != 0,
            capabilities: file_capabilities(path)?,
            nosuid: sys::filesystem::of(path).is_ok_and(|on| on.nosuid),
        }))
    }

    /// Tells whether it would gain these capabilities, and no others that it keeps, on a mount that lets it.
    pub fn would_gain(self, wanted: u64) -> bool {
        self.runs_as_root() || self.capabilities == wanted
    }

    /// Where the file names capabilities, its setuid bit gives none beside. Source: capabilities(7), "Set-user-ID-root
    /// programs that have file capabilities".
    fn runs_as_root(self) -> bool {
        self.setuid && self.owner == 0 && self.capabilities == 0
    }
}

fn file_capabilities(path: &Path) -> sys::Result<u64> {
    let opened = sys::path::open_read(path);
    match opened.and_then(|fd| sys::file::xattr(fd.as_fd(), "security.capability".as_ref())) {
        Err(e) if is_about_the_file(e.errno()) => Ok(0),
        value => Ok(permitted(&value?).unwrap_or(0)),
    }
}

/// Tells whether a failure says something about the file, and not about this moment.
fn is_about_the_file(errno: Errno) -> bool {
    use Errno as E;
    // EOVERFLOW: its capabilities are another user namespace's, whose root has no number here.
    [E::ENOENT, E::ENOTDIR, E::EACCES, E::EPERM, E::ELOOP, E::ENODATA, E::EOPNOTSUPP, E::EOVERFLOW]
        .contains(&errno)
}

/// The revision of a `security.capability` attribute that counts where it is read. The kernel shows one of revision 3 as such
/// only to whom it does not count: it counts where another id is root, and every user can give it as root of a user
/// namespace of his own. Source: linux/capability.h.
const REVISION: u32 = 0x0200_0000;

/// Returns the permitted set of a `security.capability` attribute: after a magic number two halves, each with its
/// inheritable one behind it. Source: capabilities(7), "File capability extended attribute versioning".
fn permitted(bytes: &[u8]) -> Option<u64> {
    let word = |at: usize| Some(u64::from(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?)));
    if word(0)? & 0xff00_0000 != u64::from(REVISION) {
        return None;
    }
    Some(word(4)? | word(12)? << 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: u64 = capability::SETUID | capability::SETGID;

    #[test]
    fn the_permitted_set_is_read_from_the_attribute() {
        let setuid_setgid = [1, 0, 0, 2, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(permitted(&setuid_setgid), Some(BOTH));
        assert_eq!(permitted(&setuid_setgid[..8]), None);
        // The same for where user 1000 is root.
        let mut elsewhere = [&setuid_setgid[..], &1000u32.to_le_bytes()].concat();
        elsewhere[3] = 3;
        assert_eq!(permitted(&elsewhere), None);
    }

    #[test]
    fn only_what_the_kernel_honours_counts() {
        let program = |file| Program { installed: Some(file), ..Program::default() };
        let capable = Installed { capabilities: BOTH, owner: 1000, ..Installed::default() };
        assert!(program(capable).gains(BOTH));
        assert!(!program(Installed { nosuid: true, ..capable }).gains(BOTH));
        assert!(!program(Installed { capabilities: capability::SETUID, ..capable }).gains(BOTH));
        let more = program(Installed { capabilities: BOTH | capability::NET_ADMIN, ..capable });
        assert!(!more.gains(BOTH) && more.gains_also(BOTH) && !more.gains_also(BOTH | 1));
        let setuid = Installed { setuid: true, ..Installed::default() };
        assert!(program(setuid).gains(BOTH) && program(setuid).gains_also(BOTH));
        assert!(!program(Installed { owner: 1000, ..setuid }).gains(BOTH));
        assert!(!program(Installed { capabilities: capability::NET_ADMIN, ..setuid }).gains(BOTH));
        assert!(!program(Installed { nosuid: true, ..setuid }).gains_also(BOTH));
        assert!(!Program::default().gains(0));
    }
}
