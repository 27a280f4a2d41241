//! Keys of LXC 1 and 2, and those of cgroup v1, in today's words.

use std::sync::LazyLock;

use crate::Config;
use crate::keys::{self, Key, Slot, TABLE};

/// Names that mean nothing any more.
pub(crate) const DROPPED: [&str; 2] = ["lxc.pivotdir", "lxc.kmsg"];
/// The backing store of `lxc.rootfs`; today a part of its value.
pub(crate) const BACKEND: &str = "lxc.rootfs.backend";
const NETWORK: &str = "lxc.network";
const LIMIT: &str = "lxc.limit.";

/// Names that are more than one word for one key, for people.
pub(crate) const PATTERNS: [(&str, &str); 6] = [
    ("lxc.rootfs.backend", "lxc.rootfs.path = BACKEND:PATH"),
    ("lxc.limit.*", "lxc.prlimit.*"),
    ("lxc.network.type", "lxc.net.N.type, N being the next number"),
    ("lxc.network.*", "lxc.net.N.*, N being that of the type before it"),
    ("lxc.network.N.ipv4", "lxc.net.N.ipv4.address"),
    ("lxc.network.N.ipv6", "lxc.net.N.ipv6.address"),
];

/// Parts of device keys that had another name.
const DEVICE_PARTS: [(&str, &str); 2] = [("ipv4", "ipv4.address"), ("ipv6", "ipv6.address")];

/// What an old key means today.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Today {
    /// The key of this name.
    Key(String),
    /// The backing store of the root file system.
    Backend,
    /// Nothing.
    Nothing,
    /// A key of a device that does not exist yet.
    NoDevice,
}

/// The reader's memory of `lxc.network` keys, which have no index: each `type` starts a new device.
#[derive(Debug, Default)]
pub(crate) struct Unindexed {
    current: Option<u32>,
}

impl Unindexed {
    /// Returns what `key` means today, if it is an old one.
    pub(crate) fn today(&mut self, key: &str, config: &Config) -> Option<Today> {
        if let Some(new) = plain(key) {
            return Some(Today::Key(new));
        }
        match key {
            BACKEND => Some(Today::Backend),
            key if DROPPED.contains(&key) => Some(Today::Nothing),
            key => self.network(key.strip_prefix(NETWORK)?, config),
        }
    }

    fn network(&mut self, rest: &str, config: &Config) -> Option<Today> {
        let part = rest.strip_prefix('.')?;
        if part == "type" {
            let next = config.net.keys().next_back().map_or(0, |last| last.saturating_add(1));
            self.current = Some(next);
        }
        let Some(index) = self.current else { return Some(Today::NoDevice) };
        Some(Today::Key(format!("lxc.net.{index}.{}", device_part(part))))
    }
}

/// Returns today's name of an old key that needs no memory: all but those of devices without an index.
pub(crate) fn plain(key: &str) -> Option<String> {
    /// Old and new names, from the table.
    static RENAMED: LazyLock<Vec<(&str, &str)>> = LazyLock::new(|| {
        TABLE.iter().flat_map(|item| item.replaces.iter().map(|old| (*old, item.name))).collect()
    });
    if let Some((_, new)) = RENAMED.iter().find(|(old, _)| *old == key) {
        return Some((*new).to_owned());
    }
    if let Some(name) = key.strip_prefix(LIMIT) {
        return Some(format!("lxc.prlimit.{name}"));
    }
    let rest = key.strip_prefix(NETWORK)?;
    if rest.is_empty() {
        return Some("lxc.net".to_owned());
    }
    let (index, part) = rest.strip_prefix('.').map(|rest| rest.split_once('.').unwrap_or((rest, "")))?;
    index.parse::<u32>().ok()?;
    let new = format!("lxc.net.{index}.{}", device_part(part));
    Some(new.trim_end_matches('.').to_owned())
}

/// Tells whether a key is one of a device without a number.
pub(crate) fn is_unindexed(key: &str) -> bool {
    key.strip_prefix(NETWORK).is_some_and(|rest| rest.starts_with('.')) && plain(key).is_none()
}

/// Returns today's name of a key without an index, as one of the first device.
pub(crate) fn in_first_device(key: &str) -> Option<String> {
    let new = format!("lxc.net.0.{}", device_part(key.strip_prefix(NETWORK)?.strip_prefix('.')?));
    keys::lookup(&new).is_some().then_some(new)
}

fn device_part(part: &str) -> &str {
    DEVICE_PARTS.iter().find(|(old, _)| *old == part).map_or(part, |(_, new)| new)
}

/// Files of cgroup v1 and the keys of cgroup v2 with the same purpose.
/// Source: the kernel's Documentation/admin-guide/cgroup-v2.rst.
const CGROUP_V1: [(&str, &str); 15] = [
    ("memory.limit_in_bytes", "lxc.cgroup2.memory.max"),
    ("memory.soft_limit_in_bytes", "lxc.cgroup2.memory.low"),
    ("memory.memsw.limit_in_bytes", "lxc.cgroup2.memory.swap.max"),
    ("cpu.shares", "lxc.cgroup2.cpu.weight"),
    ("cpu.cfs_quota_us", "lxc.cgroup2.cpu.max"),
    ("cpu.cfs_period_us", "lxc.cgroup2.cpu.max"),
    ("cpuset.cpus", "lxc.cgroup2.cpuset.cpus"),
    ("cpuset.mems", "lxc.cgroup2.cpuset.mems"),
    ("blkio.weight", "lxc.cgroup2.io.weight"),
    ("blkio.throttle.read_bps_device", "lxc.cgroup2.io.max"),
    ("blkio.throttle.write_bps_device", "lxc.cgroup2.io.max"),
    ("devices.allow", "lxc.cgroup2.devices.allow"),
    ("devices.deny", "lxc.cgroup2.devices.deny"),
    ("pids.max", "lxc.cgroup2.pids.max"),
    ("freezer.state", "lxc.cgroup2.cgroup.freeze"),
];

/// Tells whether a key is one of cgroup v1, and which key of v2 has its purpose.
pub(crate) fn cgroup_v1(item: &Key, slot: &Slot<'_>) -> Option<Option<&'static str>> {
    let modern = || CGROUP_V1.iter().find(|(file, _)| *file == slot.name).map(|(_, modern)| *modern);
    (item.name == "lxc.cgroup").then(modern)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_names_have_one_new_name_each() {
        for (old, new) in [
            ("lxc.rootfs", "lxc.rootfs.path"),
            ("lxc.utsname", "lxc.uts.name"),
            ("lxc.id_map", "lxc.idmap"),
            ("lxc.limit.nofile", "lxc.prlimit.nofile"),
            ("lxc.network.2.ipv4", "lxc.net.2.ipv4.address"),
            ("lxc.network.2", "lxc.net.2"),
            ("lxc.network", "lxc.net"),
            ("lxc.mount", "lxc.mount.fstab"),
        ] {
            assert_eq!(plain(old).as_deref(), Some(new));
        }
        assert_eq!(plain("lxc.network.type"), None);
        assert_eq!(plain("lxc.mount.entry"), None);
    }

    #[test]
    fn each_type_without_an_index_starts_a_device() {
        let (mut memory, mut config) = (Unindexed::default(), Config::default());
        assert_eq!(memory.today("lxc.network.link", &config), Some(Today::NoDevice));
        for (key, new) in [
            ("lxc.network.type", "lxc.net.0.type"),
            ("lxc.network.link", "lxc.net.0.link"),
            ("lxc.network.type", "lxc.net.1.type"),
            ("lxc.network.ipv6", "lxc.net.1.ipv6.address"),
        ] {
            assert_eq!(memory.today(key, &config), Some(Today::Key(new.to_owned())));
            let value = if key.ends_with("type") { "veth" } else { "fe80::1" };
            config.set(new, value).unwrap();
        }
    }

    #[test]
    fn new_names_of_cgroup_v1_exist() {
        let modern = |key: &str| keys::lookup(key).and_then(|(item, slot)| cgroup_v1(item, &slot));
        for (file, new) in CGROUP_V1 {
            assert_eq!(modern(&format!("lxc.cgroup.{file}")), Some(Some(new)));
            assert!(keys::find(new).is_ok());
        }
        assert_eq!(modern("lxc.cgroup.net_cls.classid"), Some(None));
        assert_eq!(modern("lxc.cgroup.relative"), None);
    }
}
