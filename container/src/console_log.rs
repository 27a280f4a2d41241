//! What a container's console shows, kept: in the file of `lxc.console.logfile`, and the last of it in memory.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};

use crate::error::{Doing, Result};
use crate::plan::ConsoleLogPlan;

/// The log of a console, which never grows beyond its size.
///
/// Several processes write to one file: the monitor, and whoever has the console open. So a full file is copied and emptied,
/// and not renamed, and stays the file of all of them.
#[derive(Debug)]
pub struct ConsoleLog {
    file: File,
    /// Where a full one is kept.
    kept: Option<PathBuf>,
    /// In bytes; 0 is no limit.
    size: u64,
}

impl ConsoleLog {
    /// Opens the file.
    ///
    /// # Errors
    /// It cannot be opened, or is another user's.
    pub fn open(plan: &ConsoleLogPlan) -> Result<Self> {
        let doing = || format!("lxc.console.logfile = {}", plan.path.display());
        Ok(Self::of(sys::path::open_append(&plan.path).doing_with(doing)?, plan))
    }

    /// Takes the file that was opened by another process.
    pub fn of(file: File, plan: &ConsoleLogPlan) -> Self {
        Self { file, kept: plan.rotate.then(|| kept_as(&plan.path)), size: plan.size }
    }

    /// Returns its fd.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    fn space(&self) -> io::Result<usize> {
        let left = self.size.saturating_sub(self.file.metadata()?.len());
        Ok(usize::try_from(left).unwrap_or(usize::MAX))
    }

    /// Makes room in a full file. LXC: the same, with a new file in its place.
    fn make_room(&mut self) -> io::Result<()> {
        if let Some(kept) = &self.kept {
            // The file itself, whatever its name leads to by now.
            let mut full = File::open(format!("/proc/self/fd/{}", self.file.as_raw_fd()))?;
            io::copy(&mut full, &mut sys::path::open_anew(kept)?)?;
        }
        self.file.set_len(0)
    }
}

/// A file without a limit.
impl From<File> for ConsoleLog {
    fn from(file: File) -> Self {
        Self { file, kept: None, size: 0 }
    }
}

impl Write for ConsoleLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.size == 0 {
            return self.file.write(bytes);
        }
        if self.space()? == 0 {
            self.make_room()?;
        }
        let piece = bytes.len().min(self.space()?.max(1));
        self.file.write(&bytes[..piece])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn kept_as(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

/// The last bytes of what a console showed.
#[derive(Debug, Default)]
pub(crate) struct ConsoleMemory {
    bytes: VecDeque<u8>,
    size: usize,
}

impl ConsoleMemory {
    /// Makes an empty one for so many bytes.
    pub(crate) fn of(size: u64) -> Self {
        Self { bytes: VecDeque::new(), size: usize::try_from(size).unwrap_or(usize::MAX) }
    }

    /// Tells whether anything is remembered at all.
    pub(crate) fn is_on(&self) -> bool {
        self.size > 0
    }

    /// Remembers more, and forgets the oldest.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        let last = &bytes[bytes.len().saturating_sub(self.size)..];
        let too_many = (self.bytes.len() + last.len()).saturating_sub(self.size);
        self.bytes.drain(..too_many);
        self.bytes.extend(last);
    }

    /// Returns what is remembered.
    pub(crate) fn bytes(&mut self) -> &[u8] {
        self.bytes.make_contiguous()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(directory: &Path, rotate: bool) -> ConsoleLog {
        ConsoleLog::open(&ConsoleLogPlan { path: directory.join("log"), size: 10, rotate }).unwrap()
    }

    #[test]
    fn a_full_log_begins_anew() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = log(directory.path(), false);
        log.write_all(b"0123456789abcde").unwrap();
        assert_eq!(std::fs::read(directory.path().join("log")).unwrap(), b"abcde");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_full_log_is_kept_when_it_is_rotated() {
        let directory = tempfile::tempdir().unwrap();
        let (mut one, mut other) = (log(directory.path(), true), log(directory.path(), true));
        one.write_all(b"0123456789abcde").unwrap();
        other.write_all(b"fgh").unwrap();
        assert_eq!(std::fs::read(directory.path().join("log")).unwrap(), b"abcdefgh");
        assert_eq!(std::fs::read(directory.path().join("log.1")).unwrap(), b"0123456789");
    }

    #[test]
    fn the_last_of_a_console_is_remembered() {
        let mut memory = ConsoleMemory::of(4);
        memory.add(b"ab");
        memory.add(b"cde");
        assert_eq!(memory.bytes(), b"bcde");
        memory.add(b"0123456789");
        assert_eq!(memory.bytes(), b"6789");
        let mut none = ConsoleMemory::of(0);
        none.add(b"abc");
        assert!(!none.is_on() && none.bytes().is_empty());
    }
}
