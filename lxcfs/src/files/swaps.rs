//! /proc/swaps: one area, as large as the swap that the container may have.

use super::Facts;
use super::meminfo::Memory;

/// The kernel's header. Source: its mm/swapfile.c.
const HEADER: &str = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";

/// Shows the container's swap; the host's own text says which areas there are, and /proc/meminfo how large they are together,
/// so here the sums over the areas count.
pub(super) fn render(host: &str, facts: &Facts) -> String {
    let areas = host.lines().skip(1).filter_map(area);
    let (total, used) = areas.fold((0_u64, 0_u64), |(total, used), (size, of_it)| {
        (total.saturating_add(size), used.saturating_add(of_it))
    });
    let as_meminfo = format!("SwapTotal: {total} kB\nSwapFree: {} kB\n", total.saturating_sub(used));
    let Some(memory) = Memory::of(&as_meminfo, facts) else { return host.to_owned() };
    let (total, free) = memory.swap;
    if total == 0 {
        return HEADER.to_owned();
    }
    let (size, used) = (total / 1024, (total - free) / 1024);
    format!("{HEADER}{:<40}virtual\t\t{size}\t\t{used}\t\t0\n", "none")
}

/// Returns the size of an area, and what of it is used, in kilobytes.
fn area(line: &str) -> Option<(u64, u64)> {
    let mut numbers = line.split_ascii_whitespace().skip(2).map(|word| word.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}
