//! The host's own files, opened once and read again and again.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use cgroup::CpuList;
use sys::{Errno, Result};

use crate::files::FILES;

/// The most that is taken of a file. The longest, /proc/cpuinfo of a machine with thousands of processors, has some MiB.
const MOST: usize = 16 << 20;

/// The files that cost the kernel much to write, how old their texts may be, and why that is true. Whatever its age, a text counts for as
/// long as the same processors are online.
///
/// - cpuinfo takes 10 microseconds for each processor, and tells nothing else that changes but frequencies.
/// - stat takes some for each interrupt of each processor, and counts time by hundredths of a second.
const COSTLY: [(&str, Duration); 2] =
    [("proc/cpuinfo", Duration::from_secs(1)), ("proc/stat", Duration::from_millis(10))];

/// The host's files, one for each of the table that there is once. Those of processors and nodes are opened when they are read.
#[derive(Debug)]
pub struct Host {
    root: PathBuf,
    /// One that cannot be opened is tried again.
    opened: Vec<OnceLock<OwnedFd>>,
    /// What the costly ones have said lately.
    lately: [Mutex<Option<Lately>>; COSTLY.len()],
}

/// A text, when it was read, and which processors were online then.
#[derive(Debug)]
struct Lately {
    text: String,
    at: Duration,
    online: CpuList,
}

impl Default for Host {
    fn default() -> Self {
        Self::at("/")
    }
}

impl Host {
    /// Takes what is below a directory for the host's files.
    pub(crate) fn at(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            opened: FILES.iter().map(|_| OnceLock::new()).collect(),
            lately: Default::default(),
        }
    }

    /// Reads the host's text of a file, by its place in the table and the number that stands for `#` in its path; one that the
    /// host has not, or not for this user, is empty.
    ///
    /// # Errors
    /// There are no fds left, or the like.
    pub fn text(&self, at: usize, of: Option<u32>) -> Result<String> {
        let (Some(cell), Some(file)) = (self.opened.get(at), FILES.get(at)) else { return Ok(String::new()) };
        if let Some(of) = of {
            return self.numbered(&file.path, of);
        }
        if let Some(file) = cell.get() {
            return Ok(read(file));
        }
        let opened = self.open(&file.path)?;
        Ok(opened.map_or_else(String::new, |opened| read(cell.get_or_init(|| opened))))
    }

    /// As [`Host::text`], but a costly one is not asked for anew at each reading. `online` is which processors are now, at `now`
    /// since the boot.
    ///
    /// # Errors
    /// See [`Host::text`].
    pub fn text_of_lately(
        &self,
        at: usize,
        of: Option<u32>,
        online: &CpuList,
        now: Duration,
    ) -> Result<String> {
        let is_asked = |(path, _): &&(&str, Duration)| FILES.get(at).is_some_and(|file| file.path == *path);
        let Some((place, (_, age))) = self.lately.iter().zip(&COSTLY).find(|(_, costly)| is_asked(costly))
        else {
            return self.text(at, of);
        };
        // Who panicked with it held has not left half a text.
        let mut lately = place.lock().unwrap_or_else(PoisonError::into_inner);
        let is_true = |lately: &&Lately| lately.online == *online && now.saturating_sub(lately.at) < *age;
        if let Some(lately) = lately.as_ref().filter(is_true) {
            return Ok(lately.text.clone());
        }
        let text = self.text(at, of)?;
        // An empty one could not be read, and may be at the next try.
        *lately = (!text.is_empty()).then(|| Lately { text: text.clone(), at: now, online: online.clone() });
        Ok(text)
    }

    fn text_of(&self, path: &str) -> Result<String> {
        let at = FILES.iter().position(|file| file.path == path);
        at.map_or(Ok(String::new()), |at| self.text(at, None))
    }

    /// Reads the host's /proc/meminfo.
    ///
    /// # Errors
    /// See [`Host::text`].
    pub fn meminfo(&self) -> Result<String> {
        self.text_of("proc/meminfo")
    }

    /// Reads which processors are online: they can change.
    ///
    /// # Errors
    /// See [`Host::text`].
    pub fn online(&self) -> Result<CpuList> {
        Ok(CpuList::parse(&self.text_of("sys/devices/system/cpu/online")?).unwrap_or_default())
    }

    /// Reads which nodes there are.
    ///
    /// # Errors
    /// See [`Host::text`].
    pub fn nodes(&self) -> Result<CpuList> {
        Ok(CpuList::parse(&self.text_of("sys/devices/system/node/online")?).unwrap_or_default())
    }

    /// Reads how many bytes a node has.
    ///
    /// # Errors
    /// See [`Host::text`].
    pub fn bytes_of_node(&self, node: u32) -> Result<u64> {
        let text = self.numbered("sys/devices/system/node/node#/meminfo", node)?;
        let line = text.lines().find_map(|line| line.split_once("MemTotal:"));
        let kilobytes =
            line.and_then(|(_, rest)| rest.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
        Ok(kilobytes.unwrap_or(0).saturating_mul(1024))
    }

    /// Tells whether there is something by this path from the root.
    pub fn has(&self, path: &str) -> bool {
        self.root.join(path).exists()
    }

    fn open(&self, path: &str) -> Result<Option<OwnedFd>> {
        const FOR_GOOD: [Errno; 4] = [Errno::ENOENT, Errno::ENODEV, Errno::EACCES, Errno::EPERM];
        match sys::path::open_read(&self.root.join(path)) {
            Ok(file) => Ok(Some(file)),
            Err(e) if FOR_GOOD.contains(&e.errno()) => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn numbered(&self, path: &str, of: u32) -> Result<String> {
        Ok(self.open(&path.replace('#', &of.to_string()))?.as_ref().map_or_else(String::new, read))
    }
}

fn read(file: &OwnedFd) -> String {
    sys::path::text(sys::path::reread_all(file.as_fd(), MOST).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_costly_is_read_anew_after_its_time_and_when_other_processors_are_online() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("proc")).unwrap();
        let says =
            |name: &str, text: &str| std::fs::write(root.path().join("proc").join(name), text).unwrap();
        let host = Host::at(root.path());
        let shown = |name: &str, online: &str, millis| {
            let at = FILES.iter().position(|file| file.path == format!("proc/{name}")).unwrap();
            let online = CpuList::parse(online).unwrap();
            host.text_of_lately(at, None, &online, Duration::from_millis(millis)).unwrap()
        };
        ["cpuinfo", "stat", "meminfo"].iter().for_each(|name| says(name, "old"));
        ["cpuinfo", "stat", "meminfo"].iter().for_each(|name| assert_eq!(shown(name, "0-3", 0), "old"));
        ["cpuinfo", "stat", "meminfo"].iter().for_each(|name| says(name, "new"));
        assert_eq!(shown("meminfo", "0-3", 0), "new");
        assert_eq!((shown("stat", "0-3", 9), shown("stat", "0-3", 10)), ("old".to_owned(), "new".to_owned()));
        assert_eq!(shown("cpuinfo", "0-3", 999), "old");
        assert_eq!(shown("cpuinfo", "0-2", 999), "new");
        says("cpuinfo", "newer");
        assert_eq!(shown("cpuinfo", "0-2", 1998), "new");
        assert_eq!(shown("cpuinfo", "0-2", 1999), "newer");
        says("stat", "newer");
        assert_eq!(
            (shown("stat", "0-3", 19), shown("stat", "0-2", 19)),
            ("new".to_owned(), "newer".to_owned())
        );
        says("stat", "");
        assert_eq!(shown("stat", "0-2", 40), "");
        says("stat", "back");
        assert_eq!(shown("stat", "0-2", 40), "back");
    }
}
