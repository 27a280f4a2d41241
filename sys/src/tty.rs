//! Terminals and pseudo-terminals.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::termios::{OptionalActions, Termios, Winsize};

use crate::error::{Call, Errno, Error, Result, cvt};
use crate::path;

/// A new pseudo-terminal: what the container uses and what its owner's side holds.
#[derive(Debug)]
pub struct Pair {
    /// The side that copies bytes.
    pub master: OwnedFd,
    /// The side that is a terminal.
    pub slave: OwnedFd,
}

/// Size of a terminal in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Lines.
    pub rows: u16,
    /// Columns.
    pub columns: u16,
}

const DEVPTS_MAGIC: u64 = 0x1cd1;

/// Makes a new pseudo-terminal in the devpts instance whose root directory is `devpts`.
///
/// # Errors
/// ENOTTY when the directory is not a devpts: a container can put anything at /dev/pts.
pub fn open_pair(devpts: BorrowedFd<'_>) -> Result<Pair> {
    if path::filesystem_magic(devpts)? != DEVPTS_MAGIC {
        return Err(Error::new(format!("openat({}, \"ptmx\")", devpts.as_raw_fd()), Errno::ENOTTY));
    }
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let master = rustix::fs::openat(devpts, "ptmx", flags, Mode::empty())
        .call(|| format!("openat({}, \"ptmx\")", devpts.as_raw_fd()))?;
    rustix::pty::unlockpt(&master).call(|| "ioctl(TIOCSPTLCK)".to_owned())?;
    let slave = slave_of(master.as_fd())?;
    Ok(Pair { master, slave })
}

/// Opens the terminal side of a pseudo-terminal from its other side, by TIOCGPTPEER: no path is involved.
pub fn slave_of(master: BorrowedFd<'_>) -> Result<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: TIOCGPTPEER takes open(2) flags as an integer.
    let fd = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) };
    cvt(fd.into(), || "ioctl(TIOCGPTPEER)".to_owned())?;
    // SAFETY: the ioctl returned a new fd that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Tells whether an fd is a terminal.
pub fn is_terminal(fd: BorrowedFd<'_>) -> bool {
    rustix::termios::isatty(fd)
}

/// Makes a terminal the controlling one of this process, a session leader.
pub fn make_controlling(terminal: BorrowedFd<'_>) -> Result<()> {
    rustix::process::ioctl_tiocsctty(terminal).call(|| "ioctl(TIOCSCTTY)".to_owned())
}

/// Returns the size of a terminal.
pub fn size(terminal: BorrowedFd<'_>) -> Result<Size> {
    let size = rustix::termios::tcgetwinsize(terminal).call(|| "ioctl(TIOCGWINSZ)".to_owned())?;
    Ok(Size { rows: size.ws_row, columns: size.ws_col })
}

/// Sets the size of a terminal, from either side.
pub fn set_size(terminal: BorrowedFd<'_>, size: Size) -> Result<()> {
    let size = Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(terminal, size).call(|| "ioctl(TIOCSWINSZ)".to_owned())
}

/// A terminal of the caller in raw mode; it gets its old settings back on drop.
#[derive(Debug)]
pub struct Raw {
    terminal: OwnedFd,
    before: Termios,
}

impl Raw {
    /// Puts a terminal into raw mode.
    pub fn new(terminal: BorrowedFd<'_>) -> Result<Self> {
        let terminal = terminal.try_clone_to_owned().call(|| "fcntl(F_DUPFD_CLOEXEC)".to_owned())?;
        let before = rustix::termios::tcgetattr(&terminal).call(|| "tcgetattr()".to_owned())?;
        let mut raw = before.clone();
        raw.make_raw();
        rustix::termios::tcsetattr(&terminal, OptionalActions::Now, &raw)
            .call(|| "tcsetattr(raw)".to_owned())?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // The terminal may be gone; there is nobody left to tell.
        let _gone = rustix::termios::tcsetattr(&self.terminal, OptionalActions::Drain, &self.before);
    }
}

/// Reads what a terminal has, at most what fits.
pub fn read(terminal: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize> {
    rustix::io::read(terminal, buffer).call(|| format!("read({})", terminal.as_raw_fd()))
}

/// Opens /dev/null for reading and writing.
pub fn null() -> Result<OwnedFd> {
    rustix::fs::open(Path::new("/dev/null"), OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .call(|| "open(\"/dev/null\")".to_owned())
}
