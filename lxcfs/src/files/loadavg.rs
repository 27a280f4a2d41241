//! /proc/loadavg: how many of the container's processes wanted a processor or the disk, over the last minutes.

use std::time::Duration;

use super::Facts;

/// What runs in a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// The averages over 1, 5 and 15 minutes, in hundredths.
    pub averages: [u64; 3],
    /// Tasks that run or wait for a processor.
    pub running: u64,
    /// Tasks that wait for a device, and cannot be woken.
    pub blocked: u64,
    /// All tasks.
    pub tasks: u64,
    /// The last pid that was given, as the container counts.
    pub last_pid: u32,
}

/// Shows the container's load; the host's text where nobody counts it.
pub(super) fn render(host: &str, facts: &Facts) -> String {
    let Some(load) = facts.load else { return host.to_owned() };
    let [one, five, fifteen] =
        load.averages.map(|hundredths| format!("{}.{:02}", hundredths / 100, hundredths % 100));
    // Who reads this runs.
    let (running, tasks) = (load.running.max(1), load.tasks.max(load.running).max(1));
    format!("{one} {five} {fifteen} {running}/{tasks} {}\n", load.last_pid)
}

/// Averages over 1, 5 and 15 minutes that decay as the kernel's do, with 11 bits after the point. Source: its
/// include/linux/sched/loadavg.h and kernel/sched/loadavg.c.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Averages([u64; 3]);

/// One in these averages.
const ONE: u64 = 1 << 11;

impl Averages {
    /// How often they are taken.
    pub const EVERY: Duration = Duration::from_secs(5);

    /// Begins with what there is now, in each.
    pub fn begin(active: u64) -> Self {
        Self([active.min(u64::from(u32::MAX)) * ONE; 3])
    }

    /// Takes note of what there is now, which counts for `times` intervals.
    pub fn take(&mut self, active: u64, times: u32) {
        /// What is left of an average after five seconds, and how many of these its minutes have.
        const LEFT: [u64; 3] = [1884, 2014, 2037];
        /// After so many intervals nothing of what was before is left in the longest.
        const ALL: u32 = 2000;
        let active = active.min(u64::from(u32::MAX)) * ONE;
        for _ in 0..times.min(ALL) {
            for (average, left) in self.0.iter_mut().zip(LEFT) {
                let sum = *average * left + active * (ONE - left);
                // Rounded up while it grows, so that it gets there.
                *average = (sum + if active >= *average { ONE - 1 } else { 0 }) / ONE;
            }
        }
    }

    /// Returns them in hundredths, rounded.
    pub fn hundredths(self) -> [u64; 3] {
        self.0.map(|average| (average * 100 + ONE / 2) / ONE)
    }
}
