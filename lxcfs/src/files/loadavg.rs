//! /proc/loadavg: how many of the container's processes wanted a processor or the disk, over the last minutes.

use super::Facts;

/// What runs in a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// The averages over 1, 5 and 15 minutes, in hundredths.
    pub averages: [u64; 3],
    /// Tasks that run or wait for a processor.
    pub running: u64,
    /// All tasks.
    pub tasks: u64,
    /// The last pid that was given.
    pub last_pid: u32,
}

/// Shows the container's load; the host's text where nobody counts it.
pub(super) fn render(host: &str, facts: &Facts) -> String {
    let Some(load) = facts.load else { return host.to_owned() };
    let [one, five, fifteen] =
        load.averages.map(|hundredths| format!("{}.{:02}", hundredths / 100, hundredths % 100));
    format!("{one} {five} {fifteen} {}/{} {}\n", load.running, load.tasks, load.last_pid)
}
