//! Which files an image's name means.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use serde::{Deserialize, Serialize};
use sys::path;

use super::{Result, Store, StoreError, failed};
use crate::index::is_same_arch;
use types::Digest;
use types::source::{ImageName, Word};

/// The longest record that is read.
const MAX: u64 = 1 << 16;

/// An image in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The whole name.
    pub name: String,
    /// What else its release is called.
    pub also: Vec<String>,
    /// When it was built.
    pub build: String,
    /// Where it came from.
    pub server: String,
    /// The archive of the root file system.
    pub rootfs: Digest,
    /// The archive of its metadata.
    pub metadata: Digest,
    /// Whether the metadata is LXC's: a configuration, and not values.
    pub lxc: bool,
}

impl Record {
    /// Tells whether a name means this image on a machine of this architecture, as it would in an index.
    pub fn is(&self, name: &ImageName, machine: &Word) -> bool {
        let Ok(own) = self.name.parse::<ImageName>() else { return false };
        let variant = name.variant.as_ref().map_or("default", Word::as_str);
        let release = |word: &Word| {
            own.release.as_ref() == Some(word) || self.also.iter().any(|also| also == word.as_str())
        };
        own.distribution == name.distribution
            && name.release.as_ref().is_some_and(release)
            && own.arch.as_ref().is_some_and(|arch| is_same_arch(arch, name.arch.as_ref().unwrap_or(machine)))
            && own.variant.as_ref().is_some_and(|own| own.as_str() == variant)
    }
}

impl Store {
    /// Writes down which files a name means, in place of what it meant.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn record(&self, name: &ImageName, record: &Record) -> Result<()> {
        let bytes = serde_json::to_vec_pretty(record).map_err(|error| unreadable(name, error))?;
        let _alone = lock(self.names.as_fd())?;
        Ok(path::replace(self.names.as_fd(), &file_of(name), 0o600, &bytes)?)
    }

    /// Returns which files a whole name means.
    ///
    /// # Errors
    /// The record cannot be read.
    pub fn recorded(&self, name: &ImageName) -> Result<Option<Record>> {
        let bytes = match path::read_small(self.names.as_fd(), Path::new(&file_of(name)), MAX) {
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
            let bytes = path::read_small(dir.as_fd(), Path::new(name), MAX).ok()?;
            serde_json::from_slice(&bytes).ok()
        };
        Ok(names.iter().filter(|name| !name.as_encoded_bytes().starts_with(b".")).filter_map(read).collect())
    }
}

fn unreadable(name: &ImageName, error: serde_json::Error) -> StoreError {
    StoreError::Record { name: name.to_string(), error }
}

/// No part of a name has a `,`.
fn file_of(name: &ImageName) -> OsString {
    format!("{}.json", name.to_string().replace('/', ",")).into()
}

/// Two who write the same record would write to one new file.
fn lock(names: BorrowedFd<'_>) -> Result<File> {
    let dir = File::from(path::open_dir_at(names, Path::new("."))?);
    dir.lock().map_err(failed("locking a directory"))?;
    Ok(dir)
}
