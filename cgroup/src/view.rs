//! What the processes of a group may use, and what they use, as values: for who tells them so in /proc.
//!
//! A [`View`] holds the directories of one group and of those above it, where their limits count as well; nothing is
//! resolved by name again. Files are opened once and then read from their beginning, which makes the kernel write them anew.
//! Sources: the kernel's cgroup-v2.rst and cgroup-v1/{memory,cpuacct,blkio-controller}.rst.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use sys::{Errno, Result, path};

use crate::access::{Access, Verdict};
use crate::cpus::CpuList;
use crate::group::Group;
use crate::layout::{Hierarchy, Layout, Version};
use crate::tree;

pub mod texts;

pub use texts::{MemoryParts, Part};

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
    /// Bytes of memory that those above it have left, with what the kernel could take back of theirs: their limits count what
    /// its siblings use, too. v1 does not tell.
    pub memory_left: Option<u64>,
    /// Bytes of swap that they have left.
    pub swap_left: Option<u64>,
    /// The processors that its processes run on.
    pub cpus: Option<CpuList>,
    /// The nodes whose memory its processes have.
    pub nodes: Option<CpuList>,
    /// How much of the processors it may use, in thousandths of one: the least of the group's and of those above it.
    pub quota: Option<u64>,
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
    /// Faults and the like, by the names of /proc/vmstat.
    pub events: BTreeMap<String, u64>,
    /// Memory on each node.
    pub nodes: BTreeMap<u32, MemoryUsage>,
    /// The text of the pressure that was asked for.
    pub pressure: Option<String>,
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

/// A group that is looked at again and again.
#[derive(Debug)]
pub struct View {
    v1: Vec<(Vec<String>, Line)>,
    unified: Option<Line>,
}

/// The tasks of a group and of all below it.
#[derive(Debug)]
pub struct Tasks {
    dir: OwnedFd,
    file: &'static str,
}

impl Tasks {
    /// Returns their numbers, as the caller's PID namespace counts them, but not more than `most`, of so many groups; none when the
    /// group is gone.
    pub fn list(&self, most: usize, groups: usize) -> Vec<i32> {
        let mut found = Vec::new();
        let walked = tree::walk_some(self.dir.as_fd(), groups, |group| {
            if found.len() >= most {
                return Err(sys::Error::new("more tasks than are counted".to_owned(), Errno::E2BIG));
            }
            if let Ok(text) = tree::text_of(group, self.file) {
                found.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|tid| *tid > 0));
            }
            Ok(())
        });
        // What was found until then is all that is told.
        let _too_many_or_gone = walked;
        found.truncate(most);
        found
    }
}

/// A group, and those above it, which are opened when something is asked that they have a say in.
#[derive(Debug)]
struct Line {
    own: Files,
    above: OnceCell<Vec<Files>>,
}

/// The files of one group, opened when they are first asked for. One that is not there is asked for again: the controller
/// can be enabled later.
#[derive(Debug)]
struct Files {
    dir: OwnedFd,
    opened: RefCell<Vec<(&'static str, OwnedFd)>>,
}

/// The controllers whose files a [`View`] reads on v1.
const READ: [&str; 5] = ["memory", "cpuset", "cpuacct", "cpu", "blkio"];

/// Opens the directories of a process's groups for a [`View`], from the texts of /proc/self/mountinfo and of the process's
/// /proc/PID/cgroup. Systemd's own group in a container stands for the whole.
pub fn directories_of(mountinfo: &str, groups: &str) -> Vec<Directory> {
    let whole: String = groups
        .lines()
        .map(|line| format!("{}\n", line.strip_suffix("/init.scope").unwrap_or(line)))
        .collect();
    let open = |hierarchy: Hierarchy| {
        let is_read = hierarchy.version == Version::V2
            || hierarchy.controllers.iter().any(|c| READ.contains(&c.as_str()));
        let dir = path::open_dir(&hierarchy.own_dir().filter(|_| is_read)?).ok()?;
        Some(Directory { version: hierarchy.version, controllers: hierarchy.controllers, dir })
    };
    Layout::parse(mountinfo, &whole).hierarchies.into_iter().filter_map(open).collect()
}

impl Group {
    /// Returns the group's directories for a [`View`], of those hierarchies that one reads. Where the user may make no group in that
    /// of v1 which gives processors, the group's processes are where he is, so his own group tells which they have. What else such a
    /// hierarchy tells is not the group's.
    ///
    /// # Errors
    /// There are no fds left.
    pub fn directories_to_view(&self) -> Result<Vec<Directory>> {
        let is_read = |m: &&crate::group::Member| {
            m.version == Version::V2 || m.controllers.iter().any(|c| READ.contains(&c.as_str()))
        };
        let directory = |m: &crate::group::Member| {
            let dir = path::open_dir_at(m.dir.as_fd(), Path::new("."))?;
            Ok(Directory { version: m.version, controllers: m.controllers.clone(), dir })
        };
        let mut directories: Vec<_> =
            self.members.iter().filter(is_read).map(directory).collect::<Result<_>>()?;
        if let Some(shared) = self.host.accesses.iter().find(|access| is_of_others(access))
            && let Some(dir) = told(path::open_dir(&shared.dir))?
        {
            directories.push(Directory { version: Version::V1, controllers: vec![CPUSET.to_owned()], dir });
        }
        Ok(directories)
    }
}

/// The controller that gives processors.
const CPUSET: &str = "cpuset";

/// Tells whether a hierarchy of v1 gives processors, and its group is not the user's to divide.
fn is_of_others(access: &Access) -> bool {
    access.version == Version::V1
        && access.controllers.iter().any(|c| c == CPUSET)
        && !matches!(access.verdict, Verdict::Usable | Verdict::OutOfSight)
}

impl View {
    /// Holds the directories.
    pub fn new(directories: Vec<Directory>) -> Self {
        let mut view = Self { v1: Vec::new(), unified: None };
        for Directory { version, controllers, dir } in directories {
            match version {
                Version::V1 => view.v1.push((controllers, Line::of(dir))),
                Version::V2 => view.unified = Some(Line::of(dir)),
            }
        }
        view
    }

    fn v1_with(&self, controller: &str) -> Option<&Line> {
        self.v1.iter().find(|(all, _)| all.iter().any(|c| c == controller)).map(|(_, line)| line)
    }

    /// Reads what memory it may use and uses. A controller is asked where it is: in its v1 hierarchy, or in v2.
    ///
    /// # Errors
    /// Here and below: what may be there cannot be read now, as without fds. What is not there is no error.
    pub fn memory(&self, limits: &mut Limits, usage: &mut Usage) -> Result<()> {
        match (self.v1_with("memory"), &self.unified) {
            (Some(line), _) => memory_v1(&line.own, limits, usage),
            (None, Some(line)) => memory_v2(line, limits, usage),
            (None, None) => Ok(()),
        }
    }

    /// Reads which processors it runs on: what it really has, not what it asked for. A group of v2 without the controller has
    /// those of the nearest one above it that has.
    ///
    /// # Errors
    /// See [`View::memory`].
    pub fn cpus(&self) -> Result<Option<CpuList>> {
        self.effective("cpuset.effective_cpus", "cpuset.cpus.effective")
    }

    /// Reads the memory of which nodes it has, in the same way.
    ///
    /// # Errors
    /// See [`View::memory`].
    pub fn nodes(&self) -> Result<Option<CpuList>> {
        self.effective("cpuset.effective_mems", "cpuset.mems.effective")
    }

    fn effective(&self, v1: &'static str, v2: &'static str) -> Result<Option<CpuList>> {
        let text = match (self.v1_with("cpuset"), &self.unified) {
            (Some(line), _) => line.nearest(v1)?,
            (None, Some(line)) => line.nearest(v2)?,
            (None, None) => None,
        };
        Ok(text.and_then(|text| CpuList::parse(&text)))
    }

    /// Reads how much of the processors it may use, in thousandths of one.
    ///
    /// # Errors
    /// See [`View::memory`].
    pub fn quota(&self) -> Result<Option<u64>> {
        let v1 = |files: &Files| {
            let (quota, period) = (files.text("cpu.cfs_quota_us")?, files.text("cpu.cfs_period_us")?);
            Ok(quota.zip(period).and_then(|(quota, period)| texts::quota(&quota, &period)))
        };
        let v2 = |files: &Files| {
            let text = files.text("cpu.max")?.unwrap_or_default();
            Ok(text.split_once(' ').and_then(|(quota, period)| texts::quota(quota, period)))
        };
        match (self.v1_with("cpu"), &self.unified) {
            (Some(line), _) => line.least(v1),
            (None, Some(line)) => line.least(v2),
            (None, None) => Ok(None),
        }
    }

    /// Reads faults and the like.
    ///
    /// # Errors
    /// See [`View::memory`].
    pub fn events(&self) -> Result<BTreeMap<String, u64>> {
        let own = self.own_memory("memory.stat")?;
        Ok(own.map_or_else(BTreeMap::new, |(text, version)| texts::events(&text, version)))
    }

    /// Reads the memory on each node.
    ///
    /// # Errors
    /// See [`View::memory`].
    pub fn memory_of_nodes(&self) -> Result<BTreeMap<u32, MemoryUsage>> {
        let own = self.own_memory("memory.numa_stat")?;
        Ok(own.map_or_else(BTreeMap::new, |(text, version)| texts::nodes(&text, version)))
    }

    fn own_memory(&self, name: &'static str) -> Result<Option<(String, Version)>> {
        let (line, version) = match (self.v1_with("memory"), &self.unified) {
            (Some(line), _) => (line, Version::V1),
            (None, Some(line)) => (line, Version::V2),
            (None, None) => return Ok(None),
        };
        Ok(line.own.text(name)?.map(|text| (text, version)))
    }

    /// Reads the pressure that its processes feel. v2 counts it in every group, with or without a controller; v1 in none.
    ///
    /// # Errors
    /// See [`View::memory`].
    pub fn pressure(&self, name: &'static str) -> Result<Option<String>> {
        self.unified.as_ref().map_or(Ok(None), |line| line.own.text(name))
    }

    /// Returns a look at its tasks of its own, for another thread: by v2, where all of them are, or by any v1 hierarchy.
    ///
    /// # Errors
    /// There are no fds left.
    pub fn tasks(&self) -> Result<Option<Tasks>> {
        // A hierarchy of cpuset alone may be the one in which the group is the user's whole.
        let of_v1 = self.v1.iter().find(|(controllers, _)| controllers.iter().any(|c| c != CPUSET));
        let (line, file) = match (&self.unified, of_v1) {
            (Some(line), _) => (line, "cgroup.threads"),
            (None, Some((_, line))) => (line, "tasks"),
            (None, None) => return Ok(None),
        };
        let dir = tree::open(line.own.dir.as_fd(), ".");
        told(dir.map(|dir| Tasks { dir, file }))
    }

    /// Reads the processor time.
    ///
    /// # Errors
    /// See [`View::memory`].
    pub fn cpu_time(&self) -> Result<Option<CpuTime>> {
        let parsed = |files: &Files, name, parse: fn(&str) -> Option<CpuTime>| {
            Ok(files.text(name)?.and_then(|text| parse(&text)))
        };
        match (self.v1_with("cpuacct"), &self.unified) {
            (Some(line), _) => parsed(&line.own, "cpuacct.usage_all", CpuTime::parse_v1),
            (None, Some(line)) => parsed(&line.own, "cpu.stat", CpuTime::parse_v2),
            (None, None) => Ok(None),
        }
    }

    /// Reads what went to and from block devices.
    ///
    /// # Errors
    /// See [`View::memory`].
    pub fn disks(&self) -> Result<Option<Vec<DiskUsage>>> {
        match (self.v1_with("blkio"), &self.unified) {
            (Some(Line { own, .. }), _) => {
                let bytes = own.text("blkio.throttle.io_service_bytes_recursive")?;
                let operations = own.text("blkio.throttle.io_serviced_recursive")?;
                Ok(bytes.zip(operations).map(|(bytes, operations)| texts::disks_v1(&bytes, &operations)))
            }
            (None, Some(line)) => Ok(line.own.text("io.stat")?.map(|text| texts::disks_v2(&text))),
            (None, None) => Ok(None),
        }
    }
}

fn memory_v1(own: &Files, limits: &mut Limits, usage: &mut Usage) -> Result<()> {
    let (Some(stat), Some(total)) = (own.text("memory.stat")?, own.number("memory.usage_in_bytes")?) else {
        return Ok(());
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
    Ok(())
}

fn memory_v2(line: &Line, limits: &mut Limits, usage: &mut Usage) -> Result<()> {
    let own = &line.own;
    let (Some(stat), Some(total)) = (own.text("memory.stat")?, own.number("memory.current")?) else {
        return Ok(());
    };
    // `max` is no number, and so no limit.
    limits.memory = line.least(|files| files.number("memory.max"))?;
    limits.swap = line.least(|files| files.number("memory.swap.max"))?;
    let above = line.above()?;
    limits.memory_left = least(above, memory_left)?;
    limits.swap_left = least(above, |files| left(files, "memory.swap.max", "memory.swap.current"))?;
    let swap = own.number("memory.swap.current")?;
    usage.memory = Some(MemoryUsage { total, swap, parts: MemoryParts::parse(&stat, Version::V2) });
    Ok(())
}

/// Returns what a group of v2 has not used of a limit.
fn left(files: &Files, limit: &'static str, used: &'static str) -> Result<Option<u64>> {
    let Some(limit) = files.number(limit)? else { return Ok(None) };
    Ok(files.number(used)?.map(|used| limit.saturating_sub(used)))
}

/// Returns what a group of v2 has not used of its memory, or what is page cache and slab of the kernel's that goes when there is need.
fn memory_left(files: &Files) -> Result<Option<u64>> {
    let Some(left) = left(files, "memory.max", "memory.current")? else { return Ok(None) };
    let parts = MemoryParts::parse(&files.text("memory.stat")?.unwrap_or_default(), Version::V2);
    Ok(Some(left.saturating_add(parts.reclaimable())))
}

/// Returns the least number of those that groups tell.
fn least<'a>(
    groups: impl IntoIterator<Item = &'a Files>,
    number: impl Fn(&Files) -> Result<Option<u64>>,
) -> Result<Option<u64>> {
    let told: Vec<Option<u64>> = groups.into_iter().map(number).collect::<Result<_>>()?;
    Ok(told.into_iter().flatten().min())
}

impl Line {
    fn of(dir: OwnedFd) -> Self {
        Self { own: Files::of(dir), above: OnceCell::new() }
    }

    /// Returns the groups above.
    fn above(&self) -> Result<&[Files]> {
        if let Some(above) = self.above.get() {
            return Ok(above);
        }
        let above = self.own.all_above()?;
        Ok(self.above.get_or_init(|| above))
    }

    /// Returns the least number of those that the group and those above it tell.
    fn least(&self, number: impl Fn(&Files) -> Result<Option<u64>>) -> Result<Option<u64>> {
        least([&self.own].into_iter().chain(self.above()?), number)
    }

    /// Returns a file of the group's, or of the nearest one above that has it.
    fn nearest(&self, name: &'static str) -> Result<Option<String>> {
        if let Some(own) = self.own.text(name)? {
            return Ok(Some(own));
        }
        self.above()?.iter().find_map(|files| files.text(name).transpose()).transpose()
    }
}

/// What cannot be had for good tells nothing: what is not there, has been removed, is not built into the kernel or is not for this
/// user. Everything else, as that no fds are left, is an error, or a limit would vanish for who asks just then.
fn told<T>(had: Result<T>) -> Result<Option<T>> {
    const FOR_GOOD: [Errno; 5] =
        [Errno::ENOENT, Errno::ENODEV, Errno::EOPNOTSUPP, Errno::EACCES, Errno::EPERM];
    match had {
        Err(e) if FOR_GOOD.contains(&e.errno()) => Ok(None),
        had => had.map(Some),
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

    /// Opens the groups above one. `..` is safe, since no cgroup can be moved below another parent; the top is where the file
    /// system ends, or what a cgroup namespace shows as its root.
    fn all_above(&self) -> Result<Vec<Self>> {
        /// The kernel lets hierarchies be far deeper than any is; limits of more would cost more than they tell.
        const DEEPEST: usize = 63;
        let mut above: Vec<Self> = Vec::new();
        while above.len() < DEEPEST {
            let below = &above.last().unwrap_or(self).dir;
            match told(tree::open(below.as_fd(), ".."))? {
                Some(dir) if is_above(&dir, below) => above.push(Self::of(dir)),
                _ => break,
            }
        }
        Ok(above)
    }

    /// Reads a file; none when it is not there, or the group has gone. Where a controller has been disabled and enabled again, the
    /// file is another one, and the one that was opened answers ENODEV for ever.
    fn text(&self, name: &'static str) -> Result<Option<String>> {
        let mut opened = self.opened.borrow_mut();
        if let Some(at) = opened.iter().position(|(known, _)| *known == name) {
            match read(&opened[at].1) {
                Ok(text) => return Ok(Some(text)),
                Err(_) => drop(opened.swap_remove(at)),
            }
        }
        let Some(file) = told(path::open_read_at(self.dir.as_fd(), Path::new(name)))? else {
            return Ok(None);
        };
        let text = told(read(&file))?;
        opened.push((name, file));
        Ok(text)
    }

    fn number(&self, name: &'static str) -> Result<Option<u64>> {
        Ok(self.text(name)?.and_then(|text| text.trim().parse().ok()))
    }
}

/// Reads an open file of a group as text.
fn read(file: &OwnedFd) -> Result<String> {
    /// What the usual files need at most, and the most that is taken of one.
    const USUAL: usize = 8 << 10;
    const MOST: usize = 4 << 20;
    let mut room = USUAL;
    loop {
        let bytes = path::reread(file.as_fd(), room)?;
        if bytes.len() < room || room >= MOST {
            return Ok(path::text(bytes));
        }
        room *= 4;
    }
}

#[cfg(test)]
mod tests;
