//! The host's own files, opened once and read again and again.

use std::cell::OnceCell;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use cgroup::CpuList;

use crate::files::FILES;

/// The most that is taken of a file. The longest, /proc/cpuinfo of a machine with thousands of processors, has some MiB.
const MOST: usize = 16 << 20;

/// The host's files, one for each of the table.
#[derive(Debug, Default)]
pub struct Host([OnceCell<Option<OwnedFd>>; FILES.len()]);

impl Host {
    /// Reads the host's text of a file, by its place in the table; one that the host has not is empty.
    pub fn text(&self, at: usize) -> String {
        let Some(cell) = self.0.get(at) else { return String::new() };
        let path = Path::new("/").join(FILES[at].path);
        let file = cell.get_or_init(|| sys::path::open_read(&path).ok());
        let bytes = file.as_ref().and_then(|file| sys::path::reread_all(file.as_fd(), MOST).ok());
        String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
    }

    /// Reads which processors are online.
    pub fn online() -> CpuList {
        let text = std::fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
        CpuList::parse(&text).unwrap_or_default()
    }
}
