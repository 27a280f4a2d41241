//! /proc/swaps: one area, as large as the swap that the container may have.

use super::Facts;
use super::meminfo::Memory;

/// The kernel's header. Source: its mm/swapfile.c.
const HEADER: &str = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";

/// Shows the container's swap; the host's own text says which areas there are, and /proc/meminfo how large they are together,
/// so here the sum over the areas counts.
pub(super) fn render(host: &str, facts: &Facts) -> String {
    let total = host.lines().skip(1).filter_map(size).fold(0, u64::saturating_add);
    let as_meminfo = format!("SwapTotal: {} kB\n", total / 1024);
    let Some(memory) = Memory::of(&as_meminfo, facts) else { return host.to_owned() };
    let (total, free) = memory.swap;
    if total == 0 {
        return HEADER.to_owned();
    }
    let (size, used) = (total / 1024, (total - free) / 1024);
    format!("{HEADER}{:<40}virtual\t\t{size}\t\t{used}\t\t0\n", "none")
}

/// Returns the size of an area, in bytes.
fn size(line: &str) -> Option<u64> {
    line.split_ascii_whitespace().nth(2)?.parse::<u64>().ok().map(|kilobytes| kilobytes.saturating_mul(1024))
}
