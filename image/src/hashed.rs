//! An archive whose digest is taken while it is read.

use std::fs::File;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use types::Digest;

use crate::error::Problem;
use crate::store::Hash;

/// What has been read of the archive, where somebody wants to know. The thread that decompresses it has the other half.
#[derive(Clone, Debug)]
pub(crate) struct Whole {
    file: Arc<File>,
    hash: Arc<Mutex<Hash>>,
    wanted: Option<Digest>,
}

/// The archive.
#[derive(Debug)]
pub(crate) struct Hashed(Whole);

impl Hashed {
    pub(crate) fn new(file: File, wanted: Option<Digest>) -> (Self, Whole) {
        let whole = Whole { file: Arc::new(file), hash: Arc::default(), wanted };
        (Self(whole.clone()), whole)
    }
}

impl Read for Hashed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Whole {
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = (&*self.file).read(buffer)?;
        if self.wanted.is_some() {
            self.hash.lock().unwrap_or_else(PoisonError::into_inner).add(&buffer[..read]);
        }
        Ok(read)
    }

    /// Compares the digest of the whole archive, once it is unpacked: what is behind its compressed data is read here.
    ///
    /// # Errors
    /// It is another one, or cannot be read.
    pub(crate) fn check(&self) -> Result<(), Problem> {
        let Some(wanted) = self.wanted else { return Ok(()) };
        let mut buffer = vec![0; 1 << 16];
        loop {
            match self.read(&mut buffer) {
                Ok(0) => break,
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(Problem::Read(error)),
                _ => {}
            }
        }
        let found = self.hash.lock().unwrap_or_else(PoisonError::into_inner).digest();
        if found == wanted { Ok(()) } else { Err(Problem::Changed { wanted, found }) }
    }
}
