//! Files in which the administrator states a policy: read only when nobody else can have written them.

use std::ffi::c_int;
use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

/// Whether the name may be a symbolic link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// A link is refused.
    Refused,
    /// A link is followed, and the file at its end is the one that is checked. Some distributions ship
    /// /etc/nsswitch.conf as a link (authselect on Fedora, NixOS), and only root can make one in /etc.
    Followed,
}

/// A file that may not be believed.
#[derive(Debug)]
pub struct PolicyFileError {
    path: &'static str,
    reason: Reason,
}

#[derive(Debug)]
enum Reason {
    Open(io::Error),
    Read(io::Error),
    NotRegular,
    Owner(u32),
    Writable(u32),
    TooLong(u64),
}

/// Returns the content of a policy file, at most `cap` bytes of it, or `None` when it does not exist.
///
/// # Errors
/// It cannot be read, is longer than `cap`, is no regular file, belongs to somebody other than root, or can
/// be written by the group or everybody.
pub fn read(path: &'static str, links: Links, cap: u64) -> Result<Option<Vec<u8>>, PolicyFileError> {
    let fail = |reason| PolicyFileError { path, reason };
    let file = match open(path, links) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(|error| fail(Reason::Open(error)))?,
    };
    let about = file.metadata().map_err(|error| fail(Reason::Read(error)))?;
    trust(&about, cap).map_err(fail)?;

    let mut text = Vec::new();
    file.take(cap + 1).read_to_end(&mut text).map_err(|error| fail(Reason::Read(error)))?;
    // It can have grown since it was measured.
    if text.len() as u64 > cap { Err(fail(Reason::TooLong(cap))) } else { Ok(Some(text)) }
}

fn open(path: &str, links: Links) -> io::Result<File> {
    let follow = if links == Links::Refused { libc::O_NOFOLLOW } else { 0 };
    // Without O_NONBLOCK a FIFO in its place would hold the helper up.
    let flags: c_int = libc::O_NONBLOCK | libc::O_NOCTTY | follow;
    File::options().read(true).custom_flags(flags).open(path)
}

fn trust(about: &Metadata, cap: u64) -> Result<(), Reason> {
    match about {
        _ if !about.is_file() => Err(Reason::NotRegular),
        _ if about.uid() != 0 => Err(Reason::Owner(about.uid())),
        _ if about.mode() & 0o022 != 0 => Err(Reason::Writable(about.mode() & 0o7777)),
        _ if about.len() > cap => Err(Reason::TooLong(cap)),
        _ => Ok(()),
    }
}

impl fmt::Display for PolicyFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is not used: ", self.path)?;
        match &self.reason {
            Reason::Open(error) if error.raw_os_error() == Some(libc::ELOOP) => {
                f.write_str("it is a symbolic link")
            }
            Reason::Open(error) => write!(f, "opening it: {error}"),
            Reason::Read(error) => write!(f, "reading it: {error}"),
            Reason::NotRegular => f.write_str("it is not a regular file"),
            Reason::Owner(uid) => write!(f, "it belongs to uid {uid}, not to root"),
            Reason::Writable(mode) => write!(f, "its mode {mode:04o} lets others than root write it"),
            Reason::TooLong(cap) => write!(f, "it is longer than {cap} bytes"),
        }
    }
}
