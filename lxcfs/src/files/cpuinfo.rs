//! /proc/cpuinfo: the blocks of those processors that the container has, with the numbers that they have everywhere.
//!
//! LXC: numbers them anew from 0, so that they differ from those of sched_getaffinity(2) and taskset(1).

use super::Facts;

/// Leaves out the other blocks. What is no block of a processor stays: some machines have lines about all of them.
pub(super) fn render(host: &str, facts: &Facts) -> String {
    let Some(cpus) = facts.cpus() else { return host.to_owned() };
    let is_own = |block: &&str| number(block).is_none_or(|cpu| cpus.contains(cpu));
    host.split_inclusive("\n\n").filter(is_own).collect()
}

/// Returns the number of a block's processor.
fn number(block: &str) -> Option<u32> {
    let value = |line: &str| {
        let (key, value) = line.split_once(':')?;
        (key.trim_end() == "processor").then(|| value.trim().parse().ok())?
    };
    block.lines().find_map(value)
}
