//! What stands in the files of a group, as values. Text of the kernel's is read as if anybody had written it.

use std::collections::BTreeMap;

use super::{CpuTime, DiskUsage, MemoryUsage};
use crate::layout::Version;
use crate::tree;

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
pub(super) const PARTS: [(Part, &str, &str); 24] = [
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

    /// Returns what the kernel takes back when there is need.
    pub fn reclaimable(&self) -> u64 {
        let parts = [Part::ActiveFile, Part::InactiveFile, Part::SlabReclaimable];
        parts.iter().map(|part| self.get(*part)).fold(0, u64::saturating_add)
    }

    /// Returns them with one of another size.
    #[must_use]
    pub fn with(mut self, part: Part, bytes: u64) -> Self {
        self.0[part as usize] = bytes;
        self
    }
}

impl CpuTime {
    /// Reads cpuacct.usage_all: a header, then `cpu user system` in nanoseconds.
    pub fn parse_v1(text: &str) -> Option<Self> {
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
    pub fn parse_v2(text: &str) -> Option<Self> {
        let value = |key| Some(tree::value_in(text, key)?.saturating_mul(1000));
        Some(Self { user: value("user_usec")?, system: value("system_usec")?, each: None })
    }
}

/// Reads lines such as `8:0 Read 4096`, of bytes and of operations.
pub fn disks_v1(bytes: &str, operations: &str) -> Vec<DiskUsage> {
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
pub fn disks_v2(text: &str) -> Vec<DiskUsage> {
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

/// Reads the events of memory.stat, by the names of /proc/vmstat: v2 has them, v1 two of them.
pub fn events(text: &str, version: Version) -> BTreeMap<String, u64> {
    const OF_V2: [&str; 6] = ["pg", "pswp", "workingset_", "thp_", "zswp", "swpin_"];
    let name = |key: &str| match version {
        Version::V2 => OF_V2.iter().any(|start| key.starts_with(start)).then(|| key.to_owned()),
        Version::V1 => match key {
            "total_pgfault" | "total_pgmajfault" => key.strip_prefix("total_").map(str::to_owned),
            _ => None,
        },
    };
    let event = |line: &str| {
        let (key, value) = line.split_once(' ')?;
        Some((name(key)?, value.trim().parse().ok()?))
    };
    text.lines().filter_map(event).collect()
}

/// The most nodes that the kernel can have.
const NODES: u32 = 1024;

/// Reads memory.numa_stat: lines such as `anon N0=4096 N1=0` on v2, `hierarchical_anon=1 N0=1 N1=0`, in pages, on v1.
pub fn nodes(text: &str, version: Version) -> BTreeMap<u32, MemoryUsage> {
    const PAGE: u64 = 4096;
    let mut found: BTreeMap<u32, MemoryUsage> = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let Some(first) = words.next() else { continue };
        let numbers = words.filter_map(|word| {
            let (node, value) = word.strip_prefix('N')?.split_once('=')?;
            Some((node.parse::<u32>().ok().filter(|node| *node < NODES)?, value.parse::<u64>().ok()?))
        });
        for (node, value) in numbers {
            let usage = found.entry(node).or_default();
            match version {
                Version::V2 => usage.add(first, value),
                Version::V1 => usage.add_v1(first, value.saturating_mul(PAGE)),
            }
        }
    }
    found
}

impl MemoryUsage {
    /// Adds a line of v2, which tells no sum.
    fn add(&mut self, key: &str, bytes: u64) {
        const SUMMED: [Part; 7] = [
            Part::Anon,
            Part::File,
            Part::KernelStack,
            Part::PageTables,
            Part::SecPageTables,
            Part::SlabReclaimable,
            Part::SlabUnreclaimable,
        ];
        if let Some((part, ..)) = PARTS.iter().find(|(_, v2, _)| *v2 == key) {
            self.parts.0[*part as usize] = bytes;
            if SUMMED.contains(part) {
                self.total = self.total.saturating_add(bytes);
            }
        }
    }

    fn add_v1(&mut self, first: &str, bytes: u64) {
        let part = match first.split('=').next() {
            Some("hierarchical_total") => {
                self.total = bytes;
                return;
            }
            Some("hierarchical_file") => Part::File,
            Some("hierarchical_anon") => Part::Anon,
            Some("hierarchical_unevictable") => Part::Unevictable,
            _ => return,
        };
        self.parts.0[part as usize] = bytes;
    }
}

/// Reads how many thousandths of a processor a quota gives in each period; none without a limit.
pub fn quota(quota: &str, period: &str) -> Option<u64> {
    let (quota, period) = (quota.trim().parse::<u64>().ok()?, period.trim().parse::<u64>().ok()?);
    quota.saturating_mul(1000).checked_div(period)
}
