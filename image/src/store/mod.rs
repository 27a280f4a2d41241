//! Where images are kept: a directory of files that are named by what is in them.
//!
//! ```text
//! images/lock             shared by who brings an image, alone for who removes some
//! images/names.lock       held by who writes a record
//! images/blobs/HEX        a whole file, as its digest says
//! images/partial/HEX      what has come of one so far; locked by who fetches it
//! images/names/...json    which files an image's name means
//! ```
//!
//! A file gets its place in `blobs` by rename, once it is whole, right and on the disk. Whoever dies before leaves a file in
//! `partial` that the next one goes on with, or that [`Store::sweep`] takes away. Of two who want the same file the second
//! waits for the first, by flock(2), which the kernel takes from the dead.

mod import;
mod partial;
mod record;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};
use sys::path;

use types::Digest;

pub use partial::Partial;

/// The name of the lock.
const LOCK: &str = "lock";
/// That of who writes a record. NFS locks no directory, and no file that is open for reading alone.
const NAMES_LOCK: &str = "names.lock";

/// Images of one user.
#[derive(Debug)]
pub struct Store {
    blobs: OwnedFd,
    partial: OwnedFd,
    names: OwnedFd,
    dir: OwnedFd,
    /// Where it is, for messages.
    path: PathBuf,
    /// Held as long as this is: nothing is removed between a file's coming and the record that names it.
    _shared: File,
}

/// What has become of the wish for a file.
#[derive(Debug)]
pub enum Claim {
    /// It is there.
    Ready(File),
    /// It is for the caller to fetch; nobody else does meanwhile.
    Missing(Partial),
}

/// What can go wrong in the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The kernel refused.
    #[error("{0}")]
    Call(#[from] sys::Error),
    /// Reading, writing or locking a file failed.
    #[error("{what} in the store of images: {error}")]
    File {
        /// What was done.
        what: &'static str,
        /// Why it failed.
        error: std::io::Error,
    },
    /// What came is something else.
    #[error(
        "what came has the digest {found}, and not {wanted}: it was altered on its way, or on the server"
    )]
    Wrong {
        /// What the index says.
        wanted: Digest,
        /// What came.
        found: Digest,
    },
    /// More came than the file is long.
    #[error("more than the {0} bytes that the file has came")]
    TooLong(u64),
    /// The disk has changed a file.
    #[error("{0} has changed on the disk; it was removed, and is fetched anew by bryo image pull")]
    Damaged(Digest),
    /// A record that cannot be read.
    #[error("the record of {name} cannot be read: {error}; remove {path}, and bryo image pull writes it anew", path = .path.display())]
    Record {
        /// Whose it is.
        name: String,
        /// Where it is.
        path: PathBuf,
        /// Why not.
        error: serde_json::Error,
    },
}

type Result<T, E = StoreError> = std::result::Result<T, E>;

/// Says what was done to a file when it failed.
fn failed(what: &'static str) -> impl Fn(std::io::Error) -> StoreError {
    move |error| StoreError::File { what, error }
}

impl Store {
    /// Opens the store, and makes it where it is missing. Nobody else may look into it: what is setuid in an image must not be
    /// reached by other users of the machine.
    ///
    /// # Errors
    /// A directory cannot be made or opened.
    pub fn open(dir: &Path) -> Result<Self> {
        std::fs::create_dir_all(dir).map_err(failed("making a directory"))?;
        let (path, dir) = (dir.to_owned(), path::open_dir(dir)?);
        path::set_mode(dir.as_fd(), 0o700)?;
        let below = |name: &str| {
            match path::make_dir(dir.as_fd(), OsStr::new(name), 0o700) {
                Err(e) if e.errno() != sys::Errno::EEXIST => return Err(e),
                _ => {}
            }
            path::open_dir_at(dir.as_fd(), Path::new(name))
        };
        let shared = File::from(path::open_or_make(dir.as_fd(), OsStr::new(LOCK), 0o600)?);
        shared.lock_shared().map_err(failed("locking the store"))?;
        let (blobs, partial, names) = (below("blobs")?, below("partial")?, below("names")?);
        Ok(Self { blobs, partial, names, path, dir, _shared: shared })
    }

    /// Returns the file, or the right to fetch it. Waits for whoever fetches it already, and calls `waits` before.
    ///
    /// # Errors
    /// The file cannot be opened or locked.
    pub fn claim(&self, digest: Digest, waits: &dyn Fn()) -> Result<Claim> {
        loop {
            match self.get(digest) {
                Ok(Some(file)) => return Ok(Claim::Ready(file)),
                // It is gone now, and comes anew.
                Ok(None) | Err(StoreError::Damaged(_)) => {}
                Err(error) => return Err(error),
            }
            // Who had it meanwhile has given it its place, or taken it away.
            if let Some(partial) = Partial::lock(self, digest, waits)? {
                return Ok(Claim::Missing(partial));
            }
        }
    }

    /// Returns a file that is in the store, read through and found to be what its name says.
    ///
    /// # Errors
    /// The file cannot be read, or has changed; then it is removed.
    pub fn get(&self, digest: Digest) -> Result<Option<File>> {
        let name = OsString::from(digest.hex());
        let opened = match path::open_read_at(self.blobs.as_fd(), Path::new(&name)) {
            Err(e) if e.errno() == sys::Errno::ENOENT => return Ok(None),
            opened => opened?,
        };
        let mut file = File::from(opened);
        match hash(&mut file) {
            Ok(found) if found.digest() == digest => {
                std::io::Seek::rewind(&mut file).map_err(failed("reading a file"))?;
                return Ok(Some(file));
            }
            // The disk does not give it back any more.
            Err(StoreError::File { error, .. })
                if error.raw_os_error().map(sys::Errno::from_raw) == Some(sys::Errno::EIO) => {}
            found => drop(found?),
        }
        self.remove_damaged(&file, digest)?;
        Err(StoreError::Damaged(digest))
    }

    /// Removes a file that has changed, unless somebody who found it so too has brought it anew: nobody does while the lock is held.
    fn remove_damaged(&self, file: &File, digest: Digest) -> Result<()> {
        let name = OsString::from(digest.hex());
        let lock = partial::lock(self, &name, &|| {})?;
        if partial::is_still(file, self.blobs.as_fd(), &name)? {
            path::remove_file(self.blobs.as_fd(), &name)?;
        }
        if lock.metadata().is_ok_and(|status| status.len() == 0) {
            path::remove_file(self.partial.as_fd(), &name)?;
        }
        Ok(())
    }

    /// Removes what died half-way so long ago, and returns how many files that were. What somebody fetches now stays, and so does
    /// what is no file, or cannot be removed: nobody's fetch fails for it.
    pub fn sweep(&self, older: Duration) -> usize {
        let dir = path::open_dir_at(self.partial.as_fd(), Path::new("."));
        let names = dir.and_then(|dir| path::names(dir.as_fd())).unwrap_or_default();
        names.iter().filter(|name| self.sweep_one(name, older).unwrap_or(false)).count()
    }

    fn sweep_one(&self, name: &OsStr, older: Duration) -> Result<bool> {
        // NFS locks alone what is open for writing; a FIFO would wait for its other end.
        let flags = path::OpenFlags::RDWR | path::OpenFlags::NONBLOCK;
        let opened = path::open_in(self.partial.as_fd(), Path::new(name), path::Links::Refuse, flags)?;
        let file = File::from(opened);
        let status = file.metadata().map_err(failed("looking at a file"))?;
        let written = status.modified().map_err(failed("looking at a file"))?;
        let age = SystemTime::now().duration_since(written).unwrap_or_default();
        // Who had the lock until now may have given the file its place, and somebody else may have begun a new one of the name.
        let goes = status.is_file()
            && age >= older
            && path::try_lock(file.as_fd())?
            && partial::is_still(&file, self.partial.as_fd(), name)?;
        if goes {
            path::remove_file(self.partial.as_fd(), name)?;
        }
        Ok(goes)
    }
}

/// What has gone through of a file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hash {
    sum: Sha256,
    length: u64,
}

impl Hash {
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.sum.update(bytes);
        self.length += bytes.len() as u64;
    }

    pub(crate) fn digest(&self) -> Digest {
        Digest::new(self.sum.clone().finalize().into())
    }
}

/// Reads a file to its end.
fn hash(file: &mut File) -> Result<Hash> {
    let mut hash = Hash::default();
    add_rest(file, &mut hash)?;
    Ok(hash)
}

fn add_rest(file: &mut File, hash: &mut Hash) -> Result<()> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer).map_err(failed("reading a file"))? {
            0 => return Ok(()),
            read => hash.add(&buffer[..read]),
        }
    }
}

/// Returns the digest of two files, one after the other, from where each is read.
///
/// # Errors
/// One cannot be read.
pub fn digest_of_both(mut first: File, mut second: File) -> Result<Digest> {
    let mut hash = hash(&mut first)?;
    add_rest(&mut second, &mut hash)?;
    Ok(hash.digest())
}

/// Returns the digest of bytes.
pub fn digest_of(bytes: &[u8]) -> Digest {
    let mut hash = Hash::default();
    hash.add(bytes);
    hash.digest()
}

#[cfg(test)]
mod tests;
