//! /proc/pressure/{cpu,io,irq,memory}: how long the container's processes waited for them.
//!
//! LXC: shows for io on cgroup v2 the host's own text.

use super::Facts;

/// Shows the group's text, which the kernel writes as it writes its own; the host's where no group has any.
pub(super) fn render(host: &str, facts: &Facts) -> String {
    facts.usage.pressure.clone().unwrap_or_else(|| host.to_owned())
}
