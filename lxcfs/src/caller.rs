//! Who asks, in a tree that many containers share: from the number of a thread to a container's cgroup and age.
//!
//! A container is known by its PID namespace, or, where several share one, by its cgroup. Nothing that a process says of itself is
//! asked: neither its command line nor its environment. No process is forked to find out.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use cgroup::view::{View, directories_of};

use crate::container::{Birth, Seen};

/// What tells containers apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    /// Everybody in a PID namespace, by its inode.
    Space(u64),
    /// Everybody in a group, by the text of /proc/PID/cgroup.
    Group(String),
}

/// A container that was found.
#[derive(Debug)]
pub(crate) struct Found {
    /// What is seen of it.
    pub(crate) seen: Seen,
    /// While it lives, the namespace has this init.
    init: Option<OwnedFd>,
    /// Keeps the kernel from giving the inode of the namespace to another one.
    _space: OwnedFd,
}

impl Found {
    /// Tells whether the container may have ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.init.as_ref().is_some_and(|init| sys::process::has_ended(init.as_fd()))
    }
}

/// A thread that asks.
#[derive(Debug)]
pub(crate) struct Caller {
    space: OwnedFd,
    inode: u64,
    groups: String,
}

impl Caller {
    /// Looks at a thread, which waits for an answer meanwhile. None when it is gone, or may not be looked at.
    pub(crate) fn of(thread: i32) -> Option<Self> {
        let proc = sys::namespace::proc_dir(thread).ok()?;
        let space = sys::namespace::of_process(proc.as_fd(), "pid").ok()?;
        let inode = sys::namespace::identity(space.as_fd()).ok()?;
        Some(Self { space, inode, groups: groups_of(thread)? })
    }

    /// Returns what tells its container apart, given the one that is known by its namespace.
    pub(crate) fn key(&self, own: u64, init_groups: Option<&str>) -> Key {
        // Several containers share the host's namespace; and an engine may let two share one.
        let is_below = init_groups.is_none_or(|init| is_below(&self.groups, init));
        if self.inode == own || !is_below { Key::Group(self.groups.clone()) } else { Key::Space(self.inode) }
    }

    /// Returns the inode of its PID namespace.
    pub(crate) fn inode(&self) -> u64 {
        self.inode
    }

    /// Finds the init of its PID namespace, and its groups.
    pub(crate) fn init(&self) -> Option<(i32, String)> {
        let init = sys::process::init_of_space(self.space.as_fd()).or_else(|| scan(self.inode))?;
        Some((init, groups_of(init)?))
    }

    /// Looks at the container.
    pub(crate) fn find(self, key: &Key) -> Option<Found> {
        let mountinfo = fs::read_to_string("/proc/self/mountinfo").ok()?;
        let (init, groups, birth) = match key {
            Key::Group(groups) => (None, groups.clone(), Birth { born: 0, ahead: 0 }),
            Key::Space(inode) => {
                let (pid, groups) = self.init()?;
                let init = sys::process::pidfd(pid).ok()?;
                let birth = Birth { born: sys::process::start_time(pid)?, ahead: ahead(pid) };
                // The number was this init's all the time if it still is, and its namespace's.
                let is_still = !sys::process::has_ended(init.as_fd()) && space_of(pid) == Some(*inode);
                (Some(init).filter(|_| is_still).map(Some)?, groups, birth)
            }
        };
        let view = View::new(directories_of(&mountinfo, &groups));
        Some(Found { seen: Seen::new(view, birth), init, _space: self.space })
    }
}

/// Tells whether each group of one process is that of another, or below it.
fn is_below(groups: &str, above: &str) -> bool {
    let path = |line: &str| line.splitn(3, ':').nth(2).map(str::to_owned);
    let of = |text: &str, line: &str| {
        let hierarchy = line.split(':').next();
        text.lines().find(|other| other.split(':').next() == hierarchy).and_then(path)
    };
    groups.lines().all(|line| match (path(line), of(above, line)) {
        (Some(own), Some(above)) => {
            let above = above.strip_suffix("/init.scope").unwrap_or(&above);
            Path::new(&own).starts_with(if above.is_empty() { "/" } else { above })
        }
        _ => true,
    })
}

/// Finds the init of a PID namespace among all processes, for Linux before 6.11. Source: proc_pid_status(5), NSpid.
fn scan(inode: u64) -> Option<i32> {
    let pids = sys::process::pids().ok()?;
    pids.into_iter().find(|pid| space_of(*pid) == Some(inode) && sys::process::innermost_pid(*pid) == Some(1))
}

fn space_of(pid: i32) -> Option<u64> {
    let proc = sys::namespace::proc_dir(pid).ok()?;
    sys::namespace::identity(sys::namespace::of_process(proc.as_fd(), "pid").ok()?.as_fd()).ok()
}

fn groups_of(pid: i32) -> Option<String> {
    fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()
}

/// Returns how far a process's clock since the boot is ahead of this one's, in nanoseconds: where this one runs in a container, both
/// may have that container's.
fn ahead(pid: i32) -> i64 {
    let shown = offset(&pid.to_string()).zip(offset("self"));
    shown.map_or(0, |(of, own)| of.saturating_sub(own))
}

/// Returns a process's offset from the machine's clock. Source: time_namespaces(7).
fn offset(process: &str) -> Option<i64> {
    let text = fs::read_to_string(format!("/proc/{process}/timens_offsets")).ok()?;
    let of_line = |line: &str| {
        let mut words = line.strip_prefix("boottime")?.split_ascii_whitespace();
        let (seconds, part) = (words.next()?.parse::<i64>().ok()?, words.next()?.parse::<i64>().ok()?);
        seconds.checked_mul(1_000_000_000)?.checked_add(part)
    };
    text.lines().find_map(of_line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_below_its_containers_whole_line_by_line() {
        let init = "5:memory:/ct/init.scope\n0::/ct/init.scope\n";
        assert!(is_below("5:memory:/ct/app.slice\n0::/ct\n", init));
        assert!(!is_below("5:memory:/ct\n0::/ct2\n", init));
        assert!(!is_below("5:memory:/\n0::/ct\n", init));
        assert!(is_below("0::/x\n", "0::/\n"));
        assert!(is_below("0::/x\n", "0::/init.scope\n"));
    }

    #[test]
    fn the_caller_itself_is_found_by_its_group() {
        let own = i32::try_from(std::process::id()).unwrap();
        let caller = Caller::of(own).unwrap();
        let inode = caller.inode();
        assert_eq!(space_of(own), Some(inode));
        let key = caller.key(inode, None);
        assert!(matches!(key, Key::Group(_)));
        assert!(!caller.find(&key).unwrap().has_ended());
        assert!(Caller::of(i32::MAX).is_none());
    }
}
