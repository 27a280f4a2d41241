//! Which files an image's name means.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use config::images::{MAX_RECORD, Record, record_file};
use serde::{Deserialize, Serialize};
use sys::path;

use super::{NAMES_LOCK, Result, Store, StoreError, failed};

impl Store {
    /// Writes down which files a name means, in place of what it meant.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn record(&self, record: &Record) -> Result<()> {
        let _alone = self.lock_names()?;
        let seen = self.kept(&record.name)?.map(Kept::into_seen).unwrap_or_default();
        self.write(Kept { record: record.clone(), seen })
    }

    /// The same of an image of a server that had a newer build of it already: then nothing is written, and that one is returned. What
    /// each server had stays written down when the name means an image of another.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn record_newest(&self, record: &Record) -> Result<Option<String>> {
        let _alone = self.lock_names()?;
        let mut seen = self.kept(&record.name)?.map(Kept::into_seen).unwrap_or_default();
        let server = record.server.clone().unwrap_or_default();
        if let Some(newer) = seen.get(&server).filter(|build| **build > record.build) {
            return Ok(Some(newer.clone()));
        }
        seen.insert(server, record.build.clone());
        self.write(Kept { record: record.clone(), seen }).map(|()| None)
    }

    /// Returns the newest build that a server had of an image.
    ///
    /// # Errors
    /// The record cannot be read.
    pub fn newest(&self, name: &str, server: &str) -> Result<Option<String>> {
        Ok(self.kept(name)?.and_then(|kept| kept.into_seen().remove(server)))
    }

    /// Two who write the same record would write to one new file.
    fn lock_names(&self) -> Result<File> {
        let lock = File::from(path::open_or_make(self.dir.as_fd(), OsStr::new(NAMES_LOCK), 0o600)?);
        lock.lock().map_err(failed("locking the records"))?;
        Ok(lock)
    }

    fn unreadable(&self, name: &str, error: serde_json::Error) -> StoreError {
        let path = self.path.join("names").join(record_file(name));
        StoreError::Record { name: name.to_owned(), path, error }
    }

    fn write(&self, kept: Kept) -> Result<()> {
        let name = &kept.record.name;
        let bytes = serde_json::to_vec_pretty(&kept).map_err(|error| self.unreadable(name, error))?;
        Ok(path::replace(self.names.as_fd(), &file_of(name), 0o600, &bytes)?)
    }

    /// Returns which files a whole name means.
    ///
    /// # Errors
    /// The record cannot be read.
    pub fn recorded(&self, name: &str) -> Result<Option<Record>> {
        Ok(self.kept(name)?.map(|kept| kept.record))
    }

    fn kept(&self, name: &str) -> Result<Option<Kept>> {
        let bytes = match path::read_small(self.names.as_fd(), Path::new(&file_of(name)), MAX_RECORD) {
            Err(e) if e.errno() == sys::Errno::ENOENT => return Ok(None),
            bytes => bytes?,
        };
        serde_json::from_slice(&bytes).map(Some).map_err(|error| self.unreadable(name, error))
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

/// A record as it is written down.
#[derive(Serialize, Deserialize)]
struct Kept {
    #[serde(flatten)]
    record: Record,
    /// The newest build that each server had.
    #[serde(default)]
    seen: BTreeMap<String, String>,
}

impl Kept {
    fn into_seen(self) -> BTreeMap<String, String> {
        let Self { record, mut seen } = self;
        if let Some(server) = record.server {
            seen.entry(server).or_insert(record.build);
        }
        seen
    }
}

fn file_of(name: &str) -> OsString {
    record_file(name).into()
}
