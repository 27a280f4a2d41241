//! /sys/devices/system/cpu/{online,present,possible,offline}: the processors that the container has, by the numbers that
//! sched_getaffinity(2) gives. It has no others that it could get.

use super::Facts;

/// Shows the list; the host's where none is known.
pub(super) fn render(host: &str, facts: &Facts) -> String {
    facts.cpus().map_or_else(|| host.to_owned(), |cpus| format!("{cpus}\n"))
}

/// Shows an empty list.
pub(super) fn none(_host: &str, _facts: &Facts) -> String {
    "\n".to_owned()
}
