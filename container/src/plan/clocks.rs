//! `lxc.time.offset.*`: clocks that differ from the host's, in a time namespace.

use config::Config;
use serde::{Deserialize, Serialize};
use sys::process::flags;

/// How far the clocks of a container are ahead of the host's, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clocks {
    /// The clock since the boot, which uptime(1) shows.
    pub boot: i64,
    /// The monotonic clock.
    pub monotonic: i64,
}

impl Clocks {
    /// Returns the lines of /proc/PID/timens_offsets. The part of a second counts forward, also of a negative offset.
    /// Source: time_namespaces(7).
    pub fn lines(self) -> String {
        const SECOND: i64 = 1_000_000_000;
        let line = |name: &str, offset: i64| {
            format!("{name} {} {}\n", offset.div_euclid(SECOND), offset.rem_euclid(SECOND))
        };
        line("monotonic", self.monotonic) + &line("boottime", self.boot)
    }
}

/// Decides the clocks, and with them whether the container has a time namespace of its own: where an offset asks for one, or
/// `lxc.namespace.clone` names it.
pub(super) fn decide(config: &Config, namespaces: u64, notes: &mut Vec<String>) -> (Option<Clocks>, u64) {
    let clocks = Clocks {
        boot: config.time_offset_boot.unwrap_or(0),
        monotonic: config.time_offset_monotonic.unwrap_or(0),
    };
    let is_chosen = config.namespace_clone.is_some() || config.namespace_keep.is_some();
    match (clocks == Clocks::default(), namespaces & flags::NEWTIME != 0) {
        (true, _) => (None, namespaces),
        (false, true) => (Some(clocks), namespaces),
        (false, false) if is_chosen && !may_have_one(config) => {
            let note = "lxc.time.offset: lxc.namespace.* leaves the container in the host's time namespace";
            notes.push(note.to_owned());
            (None, namespaces)
        }
        (false, false) => (Some(clocks), namespaces | flags::NEWTIME),
    }
}

/// Tells whether the lists of namespaces leave room for one that an offset needs.
fn may_have_one(config: &Config) -> bool {
    let keeps = config.namespace_keep.as_ref().is_some_and(|kept| kept.contains(&config::Namespace::Time));
    config.namespace_clone.is_none() && !keeps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(settings: &[(&str, &str)], namespaces: u64) -> (Option<Clocks>, u64, usize) {
        let mut config = Config::default();
        settings.iter().for_each(|(key, value)| config.set(key, value).unwrap());
        let mut notes = Vec::new();
        let (clocks, namespaces) = decide(&config, namespaces, &mut notes);
        (clocks, namespaces, notes.len())
    }

    #[test]
    fn an_offset_brings_a_namespace_unless_the_lists_forbid_it() {
        const AHEAD: (&str, &str) = ("lxc.time.offset.boot", "2h");
        let clocks = Some(Clocks { boot: 7_200_000_000_000, monotonic: 0 });
        assert_eq!(decided(&[AHEAD], 0), (clocks, flags::NEWTIME, 0));
        assert_eq!(decided(&[AHEAD, ("lxc.namespace.keep", "net")], 0), (clocks, flags::NEWTIME, 0));
        for list in [("lxc.namespace.keep", "time"), ("lxc.namespace.clone", "user mnt pid")] {
            assert_eq!(decided(&[AHEAD, list], 0), (None, 0, 1), "{list:?}");
        }
        assert_eq!(decided(&[], flags::NEWTIME), (None, flags::NEWTIME, 0));
        assert_eq!(decided(&[("lxc.time.offset.boot", "0s")], 0), (None, 0, 0));
    }

    #[test]
    fn the_part_of_a_second_counts_forward() {
        let clocks = Clocks { boot: -1_500_000_000, monotonic: 2_000_000_001 };
        assert_eq!(clocks.lines(), "monotonic 2 1\nboottime -2 500000000\n");
    }
}
