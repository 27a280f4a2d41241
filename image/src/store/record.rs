//! Which files an image's name means.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use config::images::{MAX_RECORD, Record, record_file};
use sys::path;

use super::{Result, Store, StoreError, failed};

impl Store {
    /// Writes down which files a name means, in place of what it meant.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn record(&self, record: &Record) -> Result<()> {
        let bytes = serde_json::to_vec_pretty(record).map_err(|error| unreadable(&record.name, error))?;
        let _alone = lock(self.names.as_fd())?;
        Ok(path::replace(self.names.as_fd(), &file_of(&record.name), 0o600, &bytes)?)
    }

    /// Returns which files a whole name means.
    ///
    /// # Errors
    /// The record cannot be read.
    pub fn recorded(&self, name: &str) -> Result<Option<Record>> {
        let bytes = match path::read_small(self.names.as_fd(), Path::new(&file_of(name)), MAX_RECORD) {
            Err(e) if e.errno() == sys::Errno::ENOENT => return Ok(None),
            bytes => bytes?,
        };
        serde_json::from_slice(&bytes).map(Some).map_err(|error| unreadable(name, error))
    }

    /// Returns all images that can be read, by name.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn records(&self) -> Result<Vec<Record>> {
        let dir = path::open_dir_at(self.names.as_fd(), Path::new("."))?;
        let mut names = path::names(dir.as_fd())?;
        names.sort();
        let read = |name: &OsString| {
            let bytes = path::read_small(dir.as_fd(), Path::new(name), MAX_RECORD).ok()?;
            serde_json::from_slice(&bytes).ok()
        };
        Ok(names.iter().filter(|name| !name.as_encoded_bytes().starts_with(b".")).filter_map(read).collect())
    }
}

fn unreadable(name: &str, error: serde_json::Error) -> StoreError {
    StoreError::Record { name: name.to_owned(), error }
}

fn file_of(name: &str) -> OsString {
    record_file(name).into()
}

/// Two who write the same record would write to one new file.
fn lock(names: BorrowedFd<'_>) -> Result<File> {
    let dir = File::from(path::open_dir_at(names, Path::new("."))?);
    dir.lock().map_err(failed("locking a directory"))?;
    Ok(dir)
}
