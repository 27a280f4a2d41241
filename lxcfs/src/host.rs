//! The host's own files, opened once and read again and again.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::OnceLock;

use cgroup::CpuList;

use crate::files::FILES;

/// The most that is taken of a file. The longest, /proc/cpuinfo of a machine with thousands of processors, has some MiB.
const MOST: usize = 16 << 20;

/// The host's files, one for each of the table that there is once. Those of processors and nodes are opened when they are read.
#[derive(Debug)]
pub struct Host(Vec<OnceLock<Option<OwnedFd>>>);

impl Default for Host {
    fn default() -> Self {
        Self(FILES.iter().map(|_| OnceLock::new()).collect())
    }
}

impl Host {
    /// Reads the host's text of a file, by its place in the table and the number that stands for `#` in its path; one that the
    /// host has not is empty.
    pub fn text(&self, at: usize, of: Option<u32>) -> String {
        let (Some(cell), Some(file)) = (self.0.get(at), FILES.get(at)) else { return String::new() };
        if let Some(of) = of {
            return numbered(&file.path, of);
        }
        let opened = cell.get_or_init(|| open(&file.path));
        opened.as_ref().map_or_else(String::new, read)
    }

    /// Reads the host's /proc/meminfo.
    pub fn meminfo(&self) -> String {
        let at = FILES.iter().position(|file| file.path == "proc/meminfo");
        at.map_or_else(String::new, |at| self.text(at, None))
    }

    /// Reads which processors are online.
    pub fn online() -> CpuList {
        list("/sys/devices/system/cpu/online")
    }

    /// Reads which nodes there are.
    pub fn nodes() -> CpuList {
        list("/sys/devices/system/node/online")
    }

    /// Reads how many bytes a node has.
    pub fn bytes_of_node(node: u32) -> u64 {
        let text = numbered("sys/devices/system/node/node#/meminfo", node);
        let line = text.lines().find_map(|line| line.split_once("MemTotal:"));
        let kilobytes =
            line.and_then(|(_, rest)| rest.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
        kilobytes.unwrap_or(0).saturating_mul(1024)
    }

    /// Tells whether there is something by this path from the root.
    pub fn has(path: &str) -> bool {
        Path::new("/").join(path).exists()
    }
}

fn open(path: &str) -> Option<OwnedFd> {
    sys::path::open_read(&Path::new("/").join(path)).ok()
}

fn read(file: &OwnedFd) -> String {
    let bytes = sys::path::reread_all(file.as_fd(), MOST).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn numbered(path: &str, of: u32) -> String {
    open(&path.replace('#', &of.to_string())).as_ref().map_or_else(String::new, read)
}

fn list(path: &str) -> CpuList {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    CpuList::parse(&text).unwrap_or_default()
}
