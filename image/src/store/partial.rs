//! A file on its way into the store.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use sys::path;

use super::{Hash, Result, Store, StoreError, failed, hash};
use types::Digest;

/// A file of which this process holds the lock.
#[derive(Debug)]
pub struct Partial {
    file: File,
    name: OsString,
    wanted: Digest,
    came: Hash,
    partial: OwnedFd,
    blobs: OwnedFd,
}

impl Partial {
    /// Waits for the lock of the file, and says so. `None` when the file has another place then.
    pub(super) fn lock(store: &Store, wanted: Digest, waits: &dyn Fn()) -> Result<Option<Self>> {
        let name = OsString::from(wanted.hex());
        let mut file = lock(store, &name, waits)?;
        if is_there(store, &name)? {
            return Ok(None);
        }
        let came = hash(&mut file)?;
        let (partial, blobs) = (clone(&store.partial)?, clone(&store.blobs)?);
        Ok(Some(Self { file, name, wanted, came, partial, blobs }))
    }

    /// Returns how much there is already, of somebody who died.
    pub fn length(&self) -> u64 {
        self.came.length
    }

    /// Throws away what there is.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn restart(&mut self) -> Result<()> {
        sys::file::set_length(self.file.as_fd(), 0)?;
        self.file.rewind().map_err(failed("rewinding a file"))?;
        self.came = Hash::default();
        Ok(())
    }

    /// Writes what comes next. A file of known length takes no more than that.
    ///
    /// # Errors
    /// It is too much, or cannot be written: then nothing of the file is left, for a full disk needs the room.
    pub fn append(&mut self, bytes: &[u8], length: u64) -> Result<()> {
        if self.came.length + bytes.len() as u64 > length {
            self.discard();
            return Err(StoreError::TooLong(length));
        }
        if let Err(error) = self.file.write_all(bytes) {
            self.discard();
            return Err(failed("writing a file")(error));
        }
        self.came.add(bytes);
        Ok(())
    }

    /// Gives the file its place, when it is what it should be, and on the disk.
    ///
    /// # Errors
    /// It is something else: then nothing of it is left. Or the kernel refuses.
    pub fn finish(mut self) -> Result<File> {
        let found = self.came.digest();
        if found != self.wanted {
            self.discard();
            return Err(StoreError::Wrong { wanted: self.wanted, found });
        }
        // Some file systems say only here that the disk is full.
        if let Err(error) = self.file.sync_all() {
            self.discard();
            return Err(failed("syncing a file")(error));
        }
        path::move_to(self.partial.as_fd(), self.blobs.as_fd(), &self.name)?;
        path::sync_dir(self.blobs.as_fd())?;
        path::sync_dir(self.partial.as_fd())?;
        self.file.rewind().map_err(failed("rewinding a file"))?;
        // Who waits for the lock sees that the file has its place.
        self.file.unlock().map_err(failed("unlocking a file"))?;
        Ok(self.file)
    }

    /// What led to it is what is told: a file that stays is swept another day.
    fn discard(&mut self) {
        let _stays = path::remove_file(self.partial.as_fd(), &self.name);
    }
}

/// Waits for the lock of a file that comes, and makes it where it is missing. Who has to wait is told so.
pub(super) fn lock(store: &Store, name: &OsStr, waits: &dyn Fn()) -> Result<File> {
    loop {
        let file = File::from(path::open_or_make(store.partial.as_fd(), name, 0o600)?);
        if file.try_lock().is_err() {
            waits();
            file.lock().map_err(failed("locking a file"))?;
        }
        if is_still(&file, store.partial.as_fd(), name)? {
            return Ok(file);
        }
    }
}

/// Tells whether the name still means the file that was opened: who had the lock before may have moved it.
pub(super) fn is_still(file: &File, dir: BorrowedFd<'_>, name: &OsStr) -> Result<bool> {
    let opened = path::status(file.as_fd())?;
    match path::status_at(dir, name) {
        Ok(now) => Ok((now.st_dev, now.st_ino) == (opened.st_dev, opened.st_ino)),
        Err(e) if e.errno() == sys::Errno::ENOENT => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// Tells whether somebody gave the file its place between the look for it and the lock: then the new file here, which is empty, goes.
fn is_there(store: &Store, name: &OsStr) -> Result<bool> {
    let is_there = path::open_read_at(store.blobs.as_fd(), Path::new(name)).is_ok();
    if is_there {
        path::remove_file(store.partial.as_fd(), name)?;
    }
    Ok(is_there)
}

fn clone(fd: &OwnedFd) -> Result<OwnedFd> {
    fd.try_clone().map_err(failed("copying a file descriptor"))
}
