//! What a lab can show its users: the machine with one cgroup layout or another, or the inside of another engine's
//! container; and what of it this machine has.

use std::fs;
use std::path::{Path, PathBuf};

use crate::filter::{self, Filter};

/// What the processes of a lab see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// The machine's v1 hierarchies beside a v2 one, as they are mounted.
    Hybrid,
    /// One cgroup2 at `/sys/fs/cgroup` and nothing else.
    Unified,
    /// The inside of a container of a common engine, as continuous integration runs in one: no_new_privs, a filter of
    /// system calls, parts of `/proc` and `/sys` masked or read-only, the cgroup too, the home on an overlay, few devices.
    /// The filter lets namespaces and mounts through.
    Cell,
    /// The same with the usual filter of such engines, which refuses namespaces.
    ClosedCell,
}

const ALL: [View; 4] = [View::Hybrid, View::Unified, View::Cell, View::ClosedCell];

impl View {
    /// Returns the name that test names and command lines use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hybrid => "hybrid",
            Self::Unified => "unified",
            Self::Cell => "cell",
            Self::ClosedCell => "closed_cell",
        }
    }

    /// Returns the view of a name.
    pub fn of_name(name: &str) -> Option<Self> {
        ALL.into_iter().find(|view| view.name() == name)
    }

    /// Returns the filter of system calls under which everything runs, in a cell.
    pub fn filter(self) -> Option<Filter> {
        match self {
            Self::Hybrid | Self::Unified => None,
            Self::Cell => Some(Filter::Open),
            Self::ClosedCell => Some(Filter::Closed),
        }
    }
}

/// A cgroup hierarchy as the machine mounts it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// Where it is mounted.
    pub mounted_on: PathBuf,
    /// Whether it is the cgroup2 one.
    pub unified: bool,
    /// Whether it carries the `cpuset` controller of v1, whose new directories must be filled before use.
    pub cpuset: bool,
}

/// Returns the hierarchies that the calling process sees mounted.
pub fn hierarchies() -> Vec<Hierarchy> {
    parse_mountinfo(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default())
}

/// Returns the hierarchies in the text of a mountinfo file. Source: proc_pid_mountinfo(5).
fn parse_mountinfo(text: &str) -> Vec<Hierarchy> {
    text.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Hierarchy> {
    let (before, after) = line.split_once(" - ")?;
    let mounted_on = Path::new(before.split(' ').nth(4)?).to_owned();
    let mut after = after.split(' ');
    let unified = match after.next()? {
        "cgroup" => false,
        "cgroup2" => true,
        _ => return None,
    };
    let cpuset = !unified && after.nth(1)?.split(',').any(|option| option == "cpuset");
    Some(Hierarchy { mounted_on, unified, cpuset })
}

/// Says why this machine cannot show `view`, or `None` when it can.
pub fn missing(view: View) -> Option<&'static str> {
    let hierarchies = hierarchies();
    if !hierarchies.iter().any(|hierarchy| hierarchy.unified) {
        return Some("no cgroup2 is mounted on this machine");
    }
    if let Some(why) = view.filter().and_then(|_| filter::missing()) {
        return Some(why);
    }
    (view == View::Hybrid && hierarchies.iter().all(|hierarchy| hierarchy.unified))
        .then_some("this machine has no cgroup v1 hierarchy")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:27 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset
32 23 0:28 / /sys/fs/cgroup/systemd rw,relatime shared:9 - cgroup cgroup rw,name=systemd
33 23 0:29 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
22 27 0:21 / /proc rw,relatime - proc proc rw
";

    #[test]
    fn only_cgroup_mounts_are_hierarchies() {
        let found = parse_mountinfo(HYBRID);
        assert_eq!(found.len(), 3);
        assert_eq!(found[1].mounted_on, Path::new("/sys/fs/cgroup/systemd"));
        assert_eq!(found.iter().map(|h| h.unified).collect::<Vec<_>>(), [false, false, true]);
    }

    #[test]
    fn the_cpuset_of_v1_is_recognised() {
        assert_eq!(
            parse_mountinfo(HYBRID).iter().map(|h| h.cpuset).collect::<Vec<_>>(),
            [true, false, false]
        );
    }
}
