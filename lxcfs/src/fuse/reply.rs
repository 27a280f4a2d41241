//! What is answered, as bytes.

use super::tree::Kind;

/// Bytes being written.
#[derive(Default)]
pub(super) struct Bytes(Vec<u8>);

impl Bytes {
    pub(super) fn u16s(mut self, numbers: &[u16]) -> Self {
        numbers.iter().for_each(|number| self.0.extend(number.to_ne_bytes()));
        self
    }

    pub(super) fn u32s(mut self, numbers: &[u32]) -> Self {
        numbers.iter().for_each(|number| self.0.extend(number.to_ne_bytes()));
        self
    }

    pub(super) fn u64s(mut self, numbers: &[u64]) -> Self {
        numbers.iter().for_each(|number| self.0.extend(number.to_ne_bytes()));
        self
    }

    pub(super) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }
}

/// Returns a whole message: a header of length, error and number, and what follows.
pub(super) fn message(unique: u64, error: i32, body: Bytes) -> Vec<u8> {
    const HEADER: usize = 16;
    let length = (HEADER + body.0.len()) as u32;
    let header = Bytes::default().u32s(&[length, error as u32]).u64s(&[unique]);
    header.raw(&body.0).0
}

/// Returns the answer of a request that has what it asked for.
pub(super) fn done(unique: u64, body: Bytes) -> Vec<u8> {
    message(unique, 0, body)
}

/// Returns the answer of a request that fails, with an error number.
pub(super) fn failed(unique: u64, errno: i32) -> Vec<u8> {
    message(unique, -errno, Bytes::default())
}

/// How long the kernel may keep what it was told of names and files, in seconds: they never change, but for those of
/// processors.
const KEPT: u64 = 3600;
const KEPT_SHORTLY: u64 = 1;

/// What stat(2) shows.
#[derive(Clone, Copy)]
pub(super) struct Status {
    pub(super) node: u64,
    pub(super) kind: Kind,
    pub(super) size: u64,
    /// When it began to exist, in seconds since the epoch.
    pub(super) time: u64,
    /// Everybody may write into it.
    pub(super) is_written: bool,
    /// It stays what it is, which of a processor nobody can say.
    pub(super) lasts: bool,
}

impl Status {
    fn write(self, bytes: Bytes) -> Bytes {
        let (mode, links) = match self.kind {
            Kind::Directory => (0o040_555, 2),
            Kind::File(_) if self.is_written => (0o100_666, 1),
            Kind::File(_) => (0o100_444, 1),
        };
        let block = 4096;
        bytes
            .u64s(&[self.node, self.size, 0, self.time, self.time, self.time])
            // Fractions of the times; mode, links, owner and group, both root of the container; device, block size, flags.
            .u32s(&[0, 0, 0, mode, links, 0, 0, 0, block, 0])
    }

    /// Answers a lookup.
    pub(super) fn entry(self) -> Bytes {
        let kept = self.kept();
        self.write(Bytes::default().u64s(&[self.node, 0, kept, kept]).u32s(&[0, 0]))
    }

    /// Answers a question for the status.
    pub(super) fn attributes(self) -> Bytes {
        self.write(Bytes::default().u64s(&[self.kept()]).u32s(&[0, 0]))
    }

    fn kept(self) -> u64 {
        if self.lasts { KEPT } else { KEPT_SHORTLY }
    }
}

/// Returns one name of a directory. `next` is how many have been read with it.
pub(super) fn directory_entry(node: u64, next: u64, kind: Kind, name: &[u8]) -> Vec<u8> {
    const DIRECTORY: u32 = 4;
    const REGULAR: u32 = 8;
    let kind = if kind == Kind::Directory { DIRECTORY } else { REGULAR };
    let mut entry = Bytes::default().u64s(&[node, next]).u32s(&[name.len() as u32, kind]).raw(name).0;
    entry.resize(entry.len().next_multiple_of(8), 0);
    entry
}
