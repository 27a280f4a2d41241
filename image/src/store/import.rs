//! Files that come from this machine, whose digest nobody has said yet.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::Path;

use sys::path;
use types::Digest;

use super::{Hash, Result, Store, failed};

impl Store {
    /// Takes a file in, and returns what it is called there. Whoever dies meanwhile leaves a file with a `.` before its name,
    /// which is removed with all that no record names.
    ///
    /// # Errors
    /// The file cannot be read or written; then nothing of it is left.
    pub fn import(&self, from: &mut impl Read) -> Result<Digest> {
        let name = OsString::from(format!(".import-{}", sys::process::own_pid()));
        let mut file = File::from(path::open_or_make(self.blobs.as_fd(), &name, 0o600)?);
        let taken = copy(from, &mut file).and_then(|digest| {
            file.sync_all().map_err(failed("syncing a file"))?;
            path::rename_at(self.blobs.as_fd(), &name, &OsString::from(digest.hex()))?;
            path::sync_dir(self.blobs.as_fd())?;
            Ok(digest)
        });
        if taken.is_err() && path::open_read_at(self.blobs.as_fd(), Path::new(&name)).is_ok() {
            path::remove_file(self.blobs.as_fd(), &name)?;
        }
        taken
    }

    /// Reads every file, and returns those that have changed on the disk; they are removed.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn verify(&self) -> Result<Vec<Digest>> {
        let dir = path::open_dir_at(self.blobs.as_fd(), Path::new("."))?;
        let digests = path::names(dir.as_fd())?.into_iter().filter_map(|name| digest_of_name(&name));
        let mut changed = Vec::new();
        for digest in digests {
            match self.get(digest) {
                Err(super::StoreError::Damaged(digest)) => changed.push(digest),
                found => drop(found?),
            }
        }
        changed.sort();
        Ok(changed)
    }
}

fn digest_of_name(name: &std::ffi::OsStr) -> Option<Digest> {
    Digest::from_hex(name.to_str()?).ok()
}

fn copy(from: &mut impl Read, to: &mut File) -> Result<Digest> {
    to.set_len(0).map_err(failed("writing a file"))?;
    let (mut hash, mut buffer) = (Hash::default(), vec![0; 1 << 16]);
    loop {
        match from.read(&mut buffer).map_err(failed("reading a file"))? {
            0 => return Ok(hash.digest()),
            read => {
                to.write_all(&buffer[..read]).map_err(failed("writing a file"))?;
                hash.add(&buffer[..read]);
            }
        }
    }
}
