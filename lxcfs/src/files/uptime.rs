//! /proc/uptime: how long the container has been running, and how long its processors had nothing to do.

use super::{Facts, ticks_of};

/// Shows both, as the kernel does with two digits. Without a count of the time used nothing is known of idle time, and it is
/// that of one processor that did nothing.
pub(super) fn render(_host: &str, facts: &Facts) -> String {
    let age = ticks_of(facts.age);
    let idle = facts.times().map_or(age, |times| times.all.idle);
    format!("{}.{:02} {}.{:02}\n", age / 100, age % 100, idle / 100, idle % 100)
}
