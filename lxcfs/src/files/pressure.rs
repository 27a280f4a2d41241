//! /proc/pressure/{cpu,io,irq,memory}: how long the container's processes waited for them, and what wakes who waits for that.
//!
//! LXC: shows for io on cgroup v2 the host's own text.

use std::fmt;

use super::Facts;

/// Shows the group's text, which the kernel writes as it writes its own; the host's where no group has any.
pub(super) fn render(host: &str, facts: &Facts) -> String {
    facts.usage.pressure.clone().unwrap_or_else(|| host.to_owned())
}

/// Which line of the file counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// Some task waited.
    Some,
    /// All tasks did.
    Full,
}

/// What somebody wants to be woken for: that tasks have waited so long within a window of time. Source: the kernel's
/// Documentation/accounting/psi.rst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trigger {
    /// Which tasks.
    pub share: Share,
    /// How long they waited, in microseconds.
    pub threshold: u64,
    /// The window, in microseconds.
    pub window: u64,
}

impl Trigger {
    /// Reads what is written into a file of /proc/pressure, as the kernel does: `some 150000 1000000`.
    pub fn parse(text: &[u8]) -> Option<Self> {
        const WINDOWS: std::ops::RangeInclusive<u64> = 500_000..=10_000_000;
        const LONGEST: usize = 32;
        // Programs write the end of the string along.
        let text = text.split(|byte| *byte == 0).next().filter(|text| text.len() < LONGEST)?;
        let mut words = std::str::from_utf8(text).ok()?.split_ascii_whitespace();
        let share = match words.next()? {
            "some" => Share::Some,
            "full" => Share::Full,
            _ => return None,
        };
        let (threshold, window) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let is_one = WINDOWS.contains(&window) && (1..=window).contains(&threshold) && words.next().is_none();
        is_one.then_some(Self { share, threshold, window })
    }
}

impl fmt::Display for Trigger {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = if self.share == Share::Some { "some" } else { "full" };
        write!(to, "{share} {} {}", self.threshold, self.window)
    }
}

/// Returns how long tasks have waited so far, in microseconds, as the text of a group or of the host tells.
pub fn waited(text: &str, share: Share) -> Option<u64> {
    let start = if share == Share::Some { "some " } else { "full " };
    let line = text.lines().find_map(|line| line.strip_prefix(start))?;
    line.split_ascii_whitespace().find_map(|word| word.strip_prefix("total="))?.parse().ok()
}
