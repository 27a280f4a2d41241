//! /proc/meminfo: the limit is the total, and what the group uses of it is what is used.
//!
//! Who asks what is used subtracts MemFree from MemTotal, so MemFree is what the group has not used, whatever others have of it:
//! the host's own MemFree is small as soon as its page cache is large. What others have shows in MemAvailable, by which programs
//! decide what they may take.
//!
//! Source: proc_meminfo(5); the kernel's cgroup-v2.rst on memory.stat.
//! LXC: subtracts without looking whether the result is below zero, and shows what the host has available, or nothing, where
//! the group's own number has another name.

use std::fmt::Write;

use cgroup::view::{MemoryUsage, Part};

use super::Facts;

/// The container's memory, in bytes, beside what the host says.
pub(super) struct Memory<'a> {
    /// MemTotal.
    pub(super) total: u64,
    /// SwapTotal and what of it is free.
    pub(super) swap: (u64, u64),
    usage: &'a MemoryUsage,
    free: u64,
    available: u64,
}

impl<'a> Memory<'a> {
    /// Works out the sums. None where nothing counts the container's memory.
    pub(super) fn of(host: &str, facts: &'a Facts) -> Option<Self> {
        let usage = facts.usage.memory.as_ref()?;
        let own = |key| value(host, key);
        let total = whole(facts.limits.memory.unwrap_or(u64::MAX).min(own("MemTotal").unwrap_or(u64::MAX)));
        let left = total.saturating_sub(usage.total);
        // However much the limit leaves, more than the host and the groups above have is not there.
        let others =
            own("MemAvailable").unwrap_or(u64::MAX).min(facts.limits.memory_left.unwrap_or(u64::MAX));
        let available = left.saturating_add(usage.parts.reclaimable()).min(others).min(total);
        let host_swap = own("SwapTotal").unwrap_or(0);
        // Where the kernel does not count the swap of a group, there is none to speak of.
        let swap = match usage.swap {
            Some(used) => {
                let total = whole(facts.limits.swap.unwrap_or(u64::MAX).min(host_swap));
                // What others have swapped, nobody has twice.
                let others =
                    own("SwapFree").unwrap_or(u64::MAX).min(facts.limits.swap_left.unwrap_or(u64::MAX));
                (total, total.saturating_sub(used).min(others))
            }
            None => (0, 0),
        };
        Some(Self { total, swap, usage, free: left, available })
    }

    /// Returns what a line shows, in bytes, where the container has a number of its own for it. A part that v1 does not count is 0:
    /// the host's would be its neighbours', and fill a small container as if it were its own cache. LXC: shows 0 for slabs, too.
    pub(super) fn line(&self, key: &str) -> Option<u64> {
        let part = |part| self.usage.parts.get(part);
        let sum = |a, b| part(a).saturating_add(part(b));
        let bytes = match key {
            "MemTotal" => self.total,
            "MemFree" => self.free,
            "MemAvailable" => self.available,
            "SwapTotal" => self.swap.0,
            "SwapFree" => self.swap.1,
            "SwapCached" => part(Part::SwapCached).min(self.swap.0),
            // The one is that of the machine, the other that of a node.
            "Cached" | "FilePages" => part(Part::File),
            "MemUsed" => self.total.saturating_sub(self.free),
            "Active" => sum(Part::ActiveAnon, Part::ActiveFile),
            "Inactive" => sum(Part::InactiveAnon, Part::InactiveFile),
            "Active(anon)" => part(Part::ActiveAnon),
            "Inactive(anon)" => part(Part::InactiveAnon),
            "Active(file)" => part(Part::ActiveFile),
            "Inactive(file)" => part(Part::InactiveFile),
            "Unevictable" => part(Part::Unevictable),
            "Dirty" => part(Part::Dirty),
            "Writeback" => part(Part::Writeback),
            "AnonPages" => part(Part::Anon),
            "Mapped" => part(Part::Mapped),
            "Shmem" => part(Part::Shmem),
            "Slab" => sum(Part::SlabReclaimable, Part::SlabUnreclaimable),
            "KReclaimable" | "SReclaimable" => part(Part::SlabReclaimable),
            "SUnreclaim" => part(Part::SlabUnreclaimable),
            "KernelStack" => part(Part::KernelStack),
            "PageTables" => part(Part::PageTables),
            "SecPageTables" => part(Part::SecPageTables),
            "Percpu" => part(Part::Percpu),
            "VmallocUsed" => part(Part::Vmalloc),
            "AnonHugePages" => part(Part::AnonHuge),
            "ShmemHugePages" => part(Part::ShmemHuge),
            "FileHugePages" => part(Part::FileHuge),
            "Zswap" => part(Part::Zswap),
            "Zswapped" => part(Part::Zswapped),
            // No group has any: they are the host's alone.
            "Buffers" | "ShmemPmdMapped" | "FilePmdMapped" | "NFS_Unstable" | "Bounce" | "WritebackTmp" => 0,
            _ => return None,
        };
        Some(bytes)
    }

    /// Returns the most that a line can show: numbers of the machine never exceed what the container has.
    fn most(&self, key: &str) -> u64 {
        match key {
            // Of the address space, and of the processor.
            "VmallocTotal" | "VmallocChunk" | "Hugepagesize" => u64::MAX,
            "CommitLimit" | "Committed_AS" => self.total.saturating_add(self.swap.0),
            "Zswapped" | "SwapTotal" | "SwapFree" | "SwapCached" => self.swap.0,
            _ => self.total,
        }
    }
}

/// Shows the container's memory.
pub(super) fn render(host: &str, facts: &Facts) -> String {
    match Memory::of(host, facts) {
        Some(memory) => lines(host, &memory),
        None => host.to_owned(),
    }
}

/// Shows each line of the host's with the container's number.
pub(super) fn lines(host: &str, memory: &Memory<'_>) -> String {
    let mut text = String::with_capacity(host.len());
    for line in host.lines() {
        match Line::parse(line) {
            Some(parsed) => {
                let bytes = memory.line(parsed.key).unwrap_or(parsed.bytes).min(memory.most(parsed.key));
                let _to_a_string = write!(text, "{}:{:>2$} kB", parsed.key, bytes / 1024, parsed.width);
            }
            // Numbers of huge pages, which are counted and not measured.
            None => text.push_str(line),
        }
        text.push('\n');
    }
    text
}

/// Returns whole kilobytes, so that what is rounded afterwards still adds up.
fn whole(bytes: u64) -> u64 {
    bytes & !1023
}

/// A line of meminfo that tells bytes.
struct Line<'a> {
    key: &'a str,
    bytes: u64,
    /// How wide the number is, with the spaces in front of it.
    width: usize,
}

impl<'a> Line<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (key, rest) = line.split_once(':')?;
        let number = rest.strip_suffix(" kB")?;
        let bytes = number.trim_start().parse::<u64>().ok()?.saturating_mul(1024);
        Some(Self { key, bytes, width: number.len().min(32) })
    }
}

/// Returns the number of a line of the host's, in bytes.
fn value(host: &str, key: &str) -> Option<u64> {
    host.lines().filter_map(Line::parse).find(|line| line.key == key).map(|line| line.bytes)
}
