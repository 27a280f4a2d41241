//! What the processes of a group may use, and what they use, as values: for who tells them so in /proc.
//!
//! A [`View`] holds the directories of one group and of those above it, where their limits count as well; nothing is
//! resolved by name again. Files are opened once and then read from their beginning, which makes the kernel write them anew.
//! Sources: the kernel's cgroup-v2.rst and cgroup-v1/{memory,cpuacct,blkio-controller}.rst.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use sys::path;

use crate::cpus::CpuList;
use crate::group::Group;
use crate::layout::Version;
use crate::tree;

/// The directory of a group in one hierarchy, for a [`View`].
#[derive(Debug)]
pub struct Directory {
    /// The version of its interface.
    pub version: Version,
    /// The v1 controllers of the hierarchy.
    pub controllers: Vec<String>,
    /// The directory.
    pub dir: OwnedFd,
}

/// What a group may use. `None`: nothing limits it, or nothing tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory: the least of the group's and of those above it.
    pub memory: Option<u64>,
    /// Bytes of swap, besides the memory.
    pub swap: Option<u64>,
    /// The processors that its processes run on.
    pub cpus: Option<CpuList>,
}

/// What a group uses, with all below it. `None`: no hierarchy of the group tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Memory.
    pub memory: Option<MemoryUsage>,
    /// Processor time since the group was made.
    pub cpu: Option<CpuTime>,
    /// What went to and from block devices.
    pub disks: Option<Vec<DiskUsage>>,
}

/// Memory of a group, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryUsage {
    /// All of it, page cache included.
    pub total: u64,
    /// Swap; none where the kernel does not count it.
    pub swap: Option<u64>,
    /// What of `total` is what.
    pub parts: MemoryParts,
}

/// Processor time, in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuTime {
    /// Of programs.
    pub user: u64,
    /// Of the kernel on their behalf.
    pub system: u64,
    /// Number, user and system time of each processor; v2 does not tell.
    pub each: Option<Vec<(u32, u64, u64)>>,
}

/// What went to and from one block device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskUsage {
    /// Major and minor number.
    pub device: (u32, u32),
    /// Bytes and operations of reads.
    pub read: (u64, u64),
    /// Of writes.
    pub written: (u64, u64),
    /// Of discards.
    pub discarded: (u64, u64),
}

/// A part of a group's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Anonymous memory.
    Anon,
    /// Page cache, shared memory included.
    File,
    /// Of it what is mapped.
    Mapped,
    /// Shared memory.
    Shmem,
    /// Recently used anonymous memory.
    ActiveAnon,
    /// Anonymous memory that was not used for long.
    InactiveAnon,
    /// Recently used page cache.
    ActiveFile,
    /// Page cache that was not used for long.
    InactiveFile,
    /// What cannot be reclaimed.
    Unevictable,
    /// Page cache to be written.
    Dirty,
    /// Page cache that is being written.
    Writeback,
    /// Anonymous huge pages.
    AnonHuge,
    /// Huge pages of shared memory.
    ShmemHuge,
    /// Huge pages of files.
    FileHuge,
    /// Memory whose copy in swap is still right.
    SwapCached,
    /// Memory of the kernel that it can reclaim.
    SlabReclaimable,
    /// Memory of the kernel that it cannot.
    SlabUnreclaimable,
    /// Stacks of the kernel.
    KernelStack,
    /// Page tables.
    PageTables,
    /// Page tables of the second level.
    SecPageTables,
    /// Memory of each processor.
    Percpu,
    /// Of vmalloc.
    Vmalloc,
    /// Compressed swap.
    Zswap,
    /// What it holds, uncompressed.
    Zswapped,
}

/// Each part by its name in memory.stat of v2, and of v1. v1 counts the kernel's own memory as one.
const PARTS: [(Part, &str, &str); 24] = [
    (Part::Anon, "anon", "total_rss"),
    (Part::File, "file", "total_cache"),
    (Part::Mapped, "file_mapped", "total_mapped_file"),
    (Part::Shmem, "shmem", "total_shmem"),
    (Part::ActiveAnon, "active_anon", "total_active_anon"),
    (Part::InactiveAnon, "inactive_anon", "total_inactive_anon"),
    (Part::ActiveFile, "active_file", "total_active_file"),
    (Part::InactiveFile, "inactive_file", "total_inactive_file"),
    (Part::Unevictable, "unevictable", "total_unevictable"),
    (Part::Dirty, "file_dirty", "total_dirty"),
    (Part::Writeback, "file_writeback", "total_writeback"),
    (Part::AnonHuge, "anon_thp", "total_rss_huge"),
    (Part::ShmemHuge, "shmem_thp", ""),
    (Part::FileHuge, "file_thp", ""),
    (Part::SwapCached, "swapcached", "total_swapcached"),
    (Part::SlabReclaimable, "slab_reclaimable", ""),
    (Part::SlabUnreclaimable, "slab_unreclaimable", ""),
    (Part::KernelStack, "kernel_stack", ""),
    (Part::PageTables, "pagetables", ""),
    (Part::SecPageTables, "sec_pagetables", ""),
    (Part::Percpu, "percpu", ""),
    (Part::Vmalloc, "vmalloc", ""),
    (Part::Zswap, "zswap", ""),
    (Part::Zswapped, "zswapped", ""),
];

/// The parts of a group's memory, in bytes; those that the kernel does not tell are 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryParts([u64; PARTS.len()]);

impl MemoryParts {
    /// Reads memory.stat. A key counts as a whole: `file` is not `file_mapped`.
    pub fn parse(text: &str, version: Version) -> Self {
        let mut parts = Self::default();
        for (key, value) in text.lines().filter_map(|line| line.split_once(' ')) {
            let is_it =
                |(_, v2, v1): &&(Part, &str, &str)| key == if version == Version::V2 { *v2 } else { *v1 };
            if let Some((part, ..)) = PARTS.iter().find(is_it) {
                parts.0[*part as usize] = value.trim().parse().unwrap_or(0);
            }
        }
        parts
    }

    /// Returns one of them.
    pub fn get(&self, part: Part) -> u64 {
        self.0[part as usize]
    }

    /// Returns them with one of another size.
    #[must_use]
    pub fn with(mut self, part: Part, bytes: u64) -> Self {
        self.0[part as usize] = bytes;
        self
    }
}

/// A group that is looked at again and again.
#[derive(Debug)]
pub struct View {
    v1: Vec<(Vec<String>, Line)>,
    unified: Option<Line>,
}

/// A group, and those above it.
#[derive(Debug)]
struct Line(Vec<Files>);

/// The files of one group, opened when they are first asked for. One that is not there is asked for again: the controller
/// can be enabled later.
#[derive(Debug)]
struct Files {
    dir: OwnedFd,
    opened: RefCell<BTreeMap<&'static str, OwnedFd>>,
}

impl Group {
    /// Returns the group's directories for a [`View`], of those hierarchies that one reads.
    ///
    /// # Errors
    /// There are no fds left.
    pub fn directories_to_view(&self) -> sys::Result<Vec<Directory>> {
        const READ: [&str; 4] = ["memory", "cpuset", "cpuacct", "blkio"];
        let is_read = |m: &&crate::group::Member| {
            m.version == Version::V2 || m.controllers.iter().any(|c| READ.contains(&c.as_str()))
        };
        let directory = |m: &crate::group::Member| {
            let dir = path::open_dir_at(m.dir.as_fd(), Path::new("."))?;
            Ok(Directory { version: m.version, controllers: m.controllers.clone(), dir })
        };
        self.members.iter().filter(is_read).map(directory).collect()
    }
}

impl View {
    /// Holds the directories, and opens those above them.
    pub fn new(directories: Vec<Directory>) -> Self {
        let mut view = Self { v1: Vec::new(), unified: None };
        for Directory { version, controllers, dir } in directories {
            match version {
                Version::V1 => view.v1.push((controllers, Line::up_from(dir))),
                Version::V2 => view.unified = Some(Line::up_from(dir)),
            }
        }
        view
    }

    fn v1_with(&self, controller: &str) -> Option<&Line> {
        self.v1.iter().find(|(all, _)| all.iter().any(|c| c == controller)).map(|(_, line)| line)
    }

    /// Reads what memory it may use and uses. A controller is asked where it is: in its v1 hierarchy, or in v2.
    pub fn memory(&self, limits: &mut Limits, usage: &mut Usage) {
        match (self.v1_with("memory"), &self.unified) {
            (Some(line), _) => memory_v1(line, limits, usage),
            (None, Some(line)) => memory_v2(line, limits, usage),
            (None, None) => {}
        }
    }

    /// Reads which processors it runs on: what it really has, not what it asked for. A group of v2 without the controller has
    /// those of the nearest one above it that has.
    pub fn cpus(&self) -> Option<CpuList> {
        let effective = |line: &Line, name| line.0.iter().find_map(|files| files.text(name));
        let text = match (self.v1_with("cpuset"), &self.unified) {
            (Some(line), _) => effective(line, "cpuset.effective_cpus"),
            (None, Some(line)) => effective(line, "cpuset.cpus.effective"),
            (None, None) => None,
        };
        CpuList::parse(&text?)
    }

    /// Reads the processor time.
    pub fn cpu_time(&self) -> Option<CpuTime> {
        match (self.v1_with("cpuacct"), &self.unified) {
            (Some(line), _) => CpuTime::parse_v1(&line.own()?.text("cpuacct.usage_all")?),
            (None, Some(line)) => CpuTime::parse_v2(&line.own()?.text("cpu.stat")?),
            (None, None) => None,
        }
    }

    /// Reads what went to and from block devices.
    pub fn disks(&self) -> Option<Vec<DiskUsage>> {
        match (self.v1_with("blkio"), &self.unified) {
            (Some(line), _) => {
                let own = line.own()?;
                let bytes = own.text("blkio.throttle.io_service_bytes_recursive")?;
                Some(disks_v1(&bytes, &own.text("blkio.throttle.io_serviced_recursive")?))
            }
            (None, Some(line)) => Some(disks_v2(&line.own()?.text("io.stat")?)),
            (None, None) => None,
        }
    }
}

fn memory_v1(line: &Line, limits: &mut Limits, usage: &mut Usage) {
    let Some(own) = line.own() else { return };
    let (Some(stat), Some(total)) = (own.text("memory.stat"), own.number("memory.usage_in_bytes")) else {
        return;
    };
    // Without a limit there stands the largest number of pages that the kernel can write.
    const UNLIMITED: u64 = 1 << 62;
    let value = |key| tree::value_in(&stat, key);
    let limit = |key| value(key).filter(|limit| *limit < UNLIMITED);
    // The least of those above too; without `use_hierarchy` they do not count, and the kernel knows.
    limits.memory = limit("hierarchical_memory_limit");
    // v1 limits memory and swap together, so what is left for swap is the difference.
    let both = limit("hierarchical_memsw_limit");
    limits.swap = both.map(|both| both.saturating_sub(limits.memory.unwrap_or(0)));
    // A machine without swap accounting has no such line, and that of what is swapped is 0 whatever is.
    let swap = value("hierarchical_memsw_limit").and(value("total_swap"));
    usage.memory = Some(MemoryUsage { total, swap, parts: MemoryParts::parse(&stat, Version::V1) });
}

fn memory_v2(line: &Line, limits: &mut Limits, usage: &mut Usage) {
    let Some(own) = line.own() else { return };
    let (Some(stat), Some(total)) = (own.text("memory.stat"), own.number("memory.current")) else { return };
    // `max` is no number, and so no limit.
    let least = |name| line.0.iter().filter_map(|files| files.number(name)).min();
    limits.memory = least("memory.max");
    limits.swap = least("memory.swap.max");
    let swap = own.number("memory.swap.current");
    usage.memory = Some(MemoryUsage { total, swap, parts: MemoryParts::parse(&stat, Version::V2) });
}

impl CpuTime {
    /// Reads cpuacct.usage_all: a header, then `cpu user system` in nanoseconds.
    fn parse_v1(text: &str) -> Option<Self> {
        let line = |line: &str| {
            let mut words = line.split_ascii_whitespace();
            let cpu = words.next()?.parse::<u32>().ok()?;
            Some((cpu, words.next()?.parse::<u64>().ok()?, words.next()?.parse::<u64>().ok()?))
        };
        let each: Vec<_> = text.lines().filter_map(line).collect();
        let sum = |of: fn(&(u32, u64, u64)) -> u64| each.iter().map(of).fold(0, u64::saturating_add);
        let (user, system) = (sum(|(_, user, _)| *user), sum(|(_, _, system)| *system));
        (!each.is_empty()).then_some(Self { user, system, each: Some(each) })
    }

    /// Reads cpu.stat, in microseconds.
    fn parse_v2(text: &str) -> Option<Self> {
        let value = |key| Some(tree::value_in(text, key)?.saturating_mul(1000));
        Some(Self { user: value("user_usec")?, system: value("system_usec")?, each: None })
    }
}

/// Reads lines such as `8:0 Read 4096`, of bytes and of operations.
fn disks_v1(bytes: &str, operations: &str) -> Vec<DiskUsage> {
    let mut found = BTreeMap::new();
    let mut add = |text: &str, to: fn(&mut (u64, u64)) -> &mut u64| {
        for line in text.lines() {
            let words: Vec<&str> = line.split_ascii_whitespace().take(4).collect();
            let [device, kind, number] = words[..] else { continue };
            let (Some(device), Ok(number)) = (device_of(device), number.parse::<u64>()) else { continue };
            let disk: &mut DiskUsage =
                found.entry(device).or_insert_with(|| DiskUsage { device, ..DiskUsage::default() });
            match kind {
                "Read" => *to(&mut disk.read) = number,
                "Write" => *to(&mut disk.written) = number,
                "Discard" => *to(&mut disk.discarded) = number,
                _ => {}
            }
        }
    };
    add(bytes, |pair| &mut pair.0);
    add(operations, |pair| &mut pair.1);
    found.into_values().collect()
}

/// Reads lines such as `8:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0`.
fn disks_v2(text: &str) -> Vec<DiskUsage> {
    let line = |line: &str| {
        let (device, rest) = line.split_once(' ')?;
        let mut disk = DiskUsage { device: device_of(device)?, ..DiskUsage::default() };
        for (key, value) in rest.split_ascii_whitespace().filter_map(|field| field.split_once('=')) {
            let value = value.parse().unwrap_or(0);
            match key {
                "rbytes" => disk.read.0 = value,
                "rios" => disk.read.1 = value,
                "wbytes" => disk.written.0 = value,
                "wios" => disk.written.1 = value,
                "dbytes" => disk.discarded.0 = value,
                "dios" => disk.discarded.1 = value,
                _ => {}
            }
        }
        Some(disk)
    };
    text.lines().filter_map(line).collect()
}

fn device_of(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

impl Line {
    /// Opens the groups above one. `..` is safe, since no cgroup can be moved below another parent; the top is where the file
    /// system ends, or what a cgroup namespace shows as its root.
    fn up_from(dir: OwnedFd) -> Self {
        /// The kernel lets hierarchies be far deeper than any is; limits of more would cost more than they tell.
        const DEEPEST: usize = 64;
        let mut line = vec![Files::of(dir)];
        while line.len() < DEEPEST
            && let Some(below) = line.last()
            && let Ok(dir) = tree::open(below.dir.as_fd(), "..")
            && is_above(&dir, &below.dir)
        {
            line.push(Files::of(dir));
        }
        Self(line)
    }

    fn own(&self) -> Option<&Files> {
        self.0.first()
    }
}

/// Tells whether `dir` is another directory of the same file system, and of cgroups.
fn is_above(dir: &OwnedFd, below: &OwnedFd) -> bool {
    let (Ok(dir_status), Ok(below)) = (path::status(dir.as_fd()), path::status(below.as_fd())) else {
        return false;
    };
    dir_status.st_dev == below.st_dev
        && dir_status.st_ino != below.st_ino
        && tree::has(dir.as_fd(), "cgroup.procs")
}

impl Files {
    fn of(dir: OwnedFd) -> Self {
        Self { dir, opened: RefCell::default() }
    }

    /// Reads a file; none when it is not there, or the group has gone.
    fn text(&self, name: &'static str) -> Option<String> {
        /// What the usual files need at most, and the most that is taken of one.
        const USUAL: usize = 8 << 10;
        const MOST: usize = 4 << 20;
        let mut opened = self.opened.borrow_mut();
        let file = match opened.entry(name) {
            std::collections::btree_map::Entry::Occupied(there) => there.into_mut(),
            std::collections::btree_map::Entry::Vacant(missing) => {
                missing.insert(path::open_read_at(self.dir.as_fd(), Path::new(name)).ok()?)
            }
        };
        let mut room = USUAL;
        loop {
            let bytes = path::reread(file.as_fd(), room).ok()?;
            if bytes.len() < room || room >= MOST {
                return Some(String::from_utf8_lossy(&bytes).into_owned());
            }
            room *= 4;
        }
    }

    fn number(&self, name: &'static str) -> Option<u64> {
        self.text(name)?.trim().parse().ok()
    }
}

#[cfg(test)]
mod tests;
