//! /sys/devices/system/cpu/online: the processors that the container has, by the numbers that sched_getaffinity(2) gives.

use super::Facts;

/// Shows the list; the host's where none is known.
pub(super) fn render(host: &str, facts: &Facts) -> String {
    let cpus = facts.cpus();
    if cpus.count() == 0 { host.to_owned() } else { format!("{cpus}\n") }
}
