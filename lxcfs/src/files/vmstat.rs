//! /proc/vmstat: the pages and events of the container's memory, under the machine's names.
//!
//! What is counted in pages is what /proc/meminfo shows in kilobytes. Events that no group has are the machine's, but none of
//! its swapping: who reads that looks for his own. LXC: its lxcfs has no such file. Source: the kernel's mm/vmstat.c.

use std::fmt::Write;

use super::Facts;
use super::meminfo::Memory;

const PAGE: u64 = 4096;
const HUGE: u64 = 2 << 20;

/// Lines, the lines of meminfo that say the same, and the unit in bytes.
const SAME: [(&str, &str, u64); 30] = [
    ("nr_free_pages", "MemFree", PAGE),
    ("nr_free_pages_blocks", "MemFree", PAGE),
    ("nr_zone_inactive_anon", "Inactive(anon)", PAGE),
    ("nr_zone_active_anon", "Active(anon)", PAGE),
    ("nr_zone_inactive_file", "Inactive(file)", PAGE),
    ("nr_zone_active_file", "Active(file)", PAGE),
    ("nr_zone_unevictable", "Unevictable", PAGE),
    ("nr_inactive_anon", "Inactive(anon)", PAGE),
    ("nr_active_anon", "Active(anon)", PAGE),
    ("nr_inactive_file", "Inactive(file)", PAGE),
    ("nr_active_file", "Active(file)", PAGE),
    ("nr_unevictable", "Unevictable", PAGE),
    ("nr_mlock", "Unevictable", PAGE),
    ("nr_slab_reclaimable", "SReclaimable", PAGE),
    ("nr_slab_unreclaimable", "SUnreclaim", PAGE),
    ("nr_anon_pages", "AnonPages", PAGE),
    ("nr_mapped", "Mapped", PAGE),
    ("nr_file_pages", "Cached", PAGE),
    ("nr_dirty", "Dirty", PAGE),
    ("nr_zone_write_pending", "Dirty", PAGE),
    ("nr_writeback", "Writeback", PAGE),
    ("nr_shmem", "Shmem", PAGE),
    ("nr_shmem_hugepages", "ShmemHugePages", HUGE),
    ("nr_file_hugepages", "FileHugePages", HUGE),
    ("nr_anon_transparent_hugepages", "AnonHugePages", HUGE),
    ("nr_kernel_stack", "KernelStack", 1024),
    ("nr_page_table_pages", "PageTables", PAGE),
    ("nr_sec_page_table_pages", "SecPageTables", PAGE),
    ("nr_swapcached", "SwapCached", PAGE),
    ("nr_bounce", "Bounce", PAGE),
];

/// Lines that count since the boot, though their names are those of numbers of pages.
const COUNTERS: [&str; 7] = [
    "nr_vmscan_write",
    "nr_vmscan_immediate_reclaim",
    "nr_dirtied",
    "nr_written",
    "nr_throttled_written",
    "nr_foll_pin_acquired",
    "nr_foll_pin_released",
];

/// Shows the container's numbers; the host's text where nothing counts its memory.
pub(super) fn render(host: &str, facts: &Facts) -> String {
    let Some(memory) = Memory::of(&facts.machine, facts) else { return host.to_owned() };
    let mut text = String::with_capacity(host.len());
    for line in host.lines() {
        match line.split_once(' ').and_then(|(key, value)| Some((key, value.parse::<u64>().ok()?))) {
            Some((key, host)) => {
                let _to_a_string = writeln!(text, "{key} {}", number(key, host, &memory, facts));
            }
            None => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    text
}

fn number(key: &str, host: u64, memory: &Memory<'_>, facts: &Facts) -> u64 {
    if let Some((_, same, unit)) = SAME.iter().find(|(name, ..)| *name == key) {
        return memory.line(same).unwrap_or(0).min(memory.total) / unit;
    }
    let moved = |bytes: fn(&cgroup::view::DiskUsage) -> u64| {
        let disks = facts.usage.disks.as_ref()?;
        Some(disks.iter().map(bytes).fold(0, u64::saturating_add) / 1024)
    };
    let event = facts.usage.events.get(key).copied();
    match key {
        "pgpgin" => moved(|disk| disk.read.0).unwrap_or(host),
        "pgpgout" => moved(|disk| disk.written.0).unwrap_or(host),
        "pswpin" | "pswpout" => event.unwrap_or(0),
        _ if key.starts_with("nr_") && !COUNTERS.contains(&key) => host.min(memory.total / PAGE),
        _ => event.unwrap_or(host),
    }
}
