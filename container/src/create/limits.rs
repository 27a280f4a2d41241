//! What the caller's own configuration limits, for every new container: neither a template nor what an image includes takes it back.
//!
//! LXC: takes both in the order of the lines, so the `userns.conf` that images include clears `lxc.cap.drop`, and a template sets
//! any limit anew.

use std::collections::BTreeSet;
use std::path::Path;

use super::text;
use crate::error::{Error, Kind, Result};

/// The keys, with a dot at the end a family.
const KEYS: [&str; 9] = [
    "lxc.cap.drop",
    "lxc.cap.keep",
    "lxc.no_new_privs",
    "lxc.prlimit.",
    "lxc.cgroup.",
    "lxc.cgroup2.",
    "lxc.sysctl.",
    "lxc.proc.",
    "lxc.net.",
];
const DROP: &str = "lxc.cap.drop";
const KEEP: &str = "lxc.cap.keep";
const NET: &str = "lxc.net.";
const PRLIMIT: &str = "lxc.prlimit.";
const FORWARDING: &str = "lxc.sysctl.net.ipv4.ip_forward";

/// The limits of a configuration: each key with its values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Limits(Vec<(String, Vec<String>)>);

impl Limits {
    /// Reads them from the text that every new container begins with, and all that it includes.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn of(base: &str, path: &Path) -> Result<Self> {
        let wrong = |problems: config::Problems| Error::new(Kind::Config, problems.to_string());
        let read = config::parse(base, path).map_err(wrong)?.config;
        let mut keys: Vec<String> = config::trace_text(base, path)
            .into_iter()
            .map(|given| given.key)
            .filter(|key| is_limit(key))
            .collect();
        keys.sort();
        keys.dedup();
        let with_values = |key: String| {
            let values = values(&read, &key);
            (!values.is_empty()).then_some((key, values))
        };
        Ok(Self(keys.into_iter().filter_map(with_values).collect()))
    }

    /// Tells whether a line would set one of them anew, or take it back. More may be dropped.
    pub(super) fn forbid(&self, key: &str, value: &str) -> bool {
        let key = one_name(key);
        let has = |wanted: &str| self.0.iter().any(|(known, _)| one_name(known) == wanted);
        let is_below =
            |known: &str| one_name(known).strip_prefix(&key).is_some_and(|rest| rest.starts_with('.'));
        match key.as_str() {
            DROP => has(KEEP) || has(DROP) && value.is_empty(),
            KEEP => has(KEEP) || has(DROP),
            _ if key.starts_with(NET) && self.has_no_network() => true,
            _ => has(&key) || self.0.iter().any(|(known, _)| is_below(known)),
        }
    }

    /// Tells whether a key is another name of a limit, and none that the user has written.
    fn is_other_name(&self, key: &str) -> bool {
        let is_own = self.0.iter().any(|(known, _)| known == key);
        is_limit(key) && !is_own && self.0.iter().any(|(known, _)| one_name(known) == one_name(key))
    }

    /// Tells whether a container is to have no network: each of its devices is none, and any other would be one.
    fn has_no_network(&self) -> bool {
        let mut types =
            self.0.iter().filter(|(key, _)| key.starts_with(NET) && key.ends_with(".type")).peekable();
        types.peek().is_some() && types.all(|(_, values)| values.iter().all(|value| value == "empty"))
    }

    /// Writes those again that an include has taken back, or set by another name, which goes.
    ///
    /// # Errors
    /// The configuration cannot be read.
    pub(super) fn keep(&self, config: &mut text::Builder) -> Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        let read = |config: &text::Builder| {
            let wrong = |problems: config::Problems| Error::new(Kind::Config, problems.to_string());
            Ok::<_, Error>(config::parse(&config.text(), Path::new("config")).map_err(wrong)?.config)
        };
        let given: BTreeSet<String> = config::trace_text(&config.text(), Path::new("config"))
            .into_iter()
            .map(|given| given.key)
            .collect();
        let now = read(config)?;
        let others = given.iter().filter(|key| self.is_other_name(key) && !values(&now, key).is_empty());
        others.into_iter().try_for_each(|key| config.set(key, ""))?;
        let now = read(config)?;
        for (key, wanted) in &self.0 {
            let there = values(&now, key);
            wanted
                .iter()
                .filter(|value| !there.contains(value))
                .try_for_each(|value| config.set(key, value))?;
        }
        Ok(())
    }
}

/// Device rules are no user's to set, and where cgroups are is not how much of them.
fn is_limit(key: &str) -> bool {
    let is_known = KEYS.iter().any(|known| match known.ends_with('.') {
        true => key.starts_with(known),
        false => key == *known,
    });
    is_known && !key.contains(".devices.") && !is_place(key)
}

/// Tells whether a key says where the cgroups of a container are.
pub(super) fn is_place(key: &str) -> bool {
    key == "lxc.cgroup.relative" || key.starts_with("lxc.cgroup.dir")
}

/// Files of cgroups by which the kernel sets the same limit. Sources: the kernel's cgroup-v2.rst, sched-bwc.rst and bfq-iosched.rst.
const ALIASES: [(&str, &[&str]); 8] = [
    ("lxc.cgroup2.cpu.weight", &["lxc.cgroup2.cpu.weight.nice", "lxc.cgroup2.cpu.idle"]),
    ("lxc.cgroup2.cpu.max", &["lxc.cgroup2.cpu.max.burst"]),
    ("lxc.cgroup2.io.weight", &["lxc.cgroup2.io.bfq.weight"]),
    ("lxc.cgroup.cpu.shares", &["lxc.cgroup.cpu.idle"]),
    ("lxc.cgroup.cpu.cfs_quota_us", &["lxc.cgroup.cpu.cfs_period_us", "lxc.cgroup.cpu.cfs_burst_us"]),
    ("lxc.cgroup.cpu.rt_runtime_us", &["lxc.cgroup.cpu.rt_period_us"]),
    ("lxc.cgroup.blkio.weight", &["lxc.cgroup.blkio.bfq.weight"]),
    ("lxc.cgroup.blkio.weight_device", &["lxc.cgroup.blkio.bfq.weight_device"]),
];

/// Tells whether a kernel parameter says which devices forward packets, as one says for all of them. Source: the kernel's ip-sysctl.rst.
fn is_forwarding(key: &str) -> bool {
    key.starts_with("lxc.sysctl.net.ipv4.conf.") && key.ends_with(".forwarding")
}

/// Returns one name for all keys that set the same: a dot of a kernel parameter may be a slash, the number of a device may begin with zeros,
/// a resource has a number too, and a limit of a cgroup may have several files.
fn one_name(key: &str) -> String {
    if key.starts_with("lxc.sysctl.") {
        let key = key.replace('/', ".");
        return if is_forwarding(&key) { FORWARDING.to_owned() } else { key };
    }
    if let Some(name) = key.strip_prefix(PRLIMIT) {
        let limit = config::Prlimit { name: name.to_owned(), soft: None, hard: None };
        return limit.resource().map_or_else(|| key.to_owned(), |number| format!("{PRLIMIT}{number}"));
    }
    if let Some(rest) = key.strip_prefix(NET) {
        let (number, part) = rest.split_once('.').unwrap_or((rest, ""));
        let number = number.parse::<u32>().map_or(number.to_owned(), |number| number.to_string());
        let dot = if part.is_empty() { "" } else { "." };
        return format!("{NET}{number}{dot}{part}");
    }
    let alias = ALIASES.iter().find(|(_, others)| others.contains(&key));
    alias.map_or(key, |(name, _)| name).to_owned()
}

fn values(config: &config::Config, key: &str) -> Vec<String> {
    let shown = config.get(key).unwrap_or_default();
    shown.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "\
lxc.cap.drop = net_raw sys_time
lxc.cap.drop = syslog
lxc.prlimit.nofile = 100
lxc.prlimit.9 = 1000000000
lxc.cgroup2.memory.max = 1G
lxc.cgroup2.cpu.weight = 10
lxc.cgroup2.cpu.max = 1000 10000
lxc.cgroup.cpu.cfs_quota_us = 1000
lxc.cgroup2.devices.deny = a
lxc.sysctl.net.ipv4.ip_forward = 0
lxc.sysctl.net/core/somaxconn = 9
lxc.no_new_privs = 1
lxc.net.0.type = veth
lxc.net.0.link = lxcbr0
lxc.uts.name = web
";

    fn limits(base: &str) -> Limits {
        Limits::of(base, Path::new("default.conf")).unwrap()
    }

    #[test]
    fn a_limit_that_is_set_is_not_set_anew_and_more_may_be_dropped() {
        let limits = limits(BASE);
        for (key, value) in [
            ("lxc.cap.drop", ""),
            ("lxc.cap.keep", "sys_admin"),
            ("lxc.prlimit.nofile", "unlimited"),
            ("lxc.prlimit.7", "unlimited"),
            ("lxc.prlimit.as", "unlimited"),
            ("lxc.cgroup2.memory.max", "max"),
            ("lxc.no_new_privs", "0"),
            ("lxc.net.0.link", "other"),
            ("lxc.net.0", ""),
            ("lxc.net.00.link", "other"),
            ("lxc.net.000", ""),
            ("lxc.cgroup2.cpu.weight.nice", "-20"),
            ("lxc.cgroup2.cpu.idle", "0"),
            ("lxc.cgroup2.cpu.max.burst", "1000"),
            ("lxc.cgroup.cpu.cfs_period_us", "1000"),
            ("lxc.sysctl.net/ipv4/ip_forward", "1"),
            ("lxc.sysctl.net.ipv4/ip_forward", "1"),
            ("lxc.sysctl.net.ipv4.conf.all.forwarding", "1"),
            ("lxc.sysctl.net/ipv4/conf/eth0/forwarding", "1"),
            ("lxc.sysctl.net.core.somaxconn", "99"),
        ] {
            assert!(limits.forbid(key, value), "{key} = {value}");
        }
        for (key, value) in [
            ("lxc.cap.drop", "sys_boot"),
            ("lxc.prlimit.nproc", "10"),
            ("lxc.prlimit.5", "10"),
            ("lxc.cgroup2.memory.high", "1M"),
            ("lxc.cgroup2.devices.deny", "a"),
            ("lxc.net.1.type", "veth"),
            ("lxc.net.0.mtu", "1400"),
            ("lxc.cgroup.cpu.idle", "0"),
            ("lxc.sysctl.net.ipv4.ip_nonlocal_bind", "1"),
            ("lxc.sysctl.net.ipv4.conf.all.mc_forwarding", "1"),
            ("lxc.uts.name", "db"),
        ] {
            assert!(!limits.forbid(key, value), "{key} = {value}");
        }
        assert!(Limits::default().0.is_empty() && !Limits::default().forbid("lxc.cap.drop", ""));
    }

    #[test]
    fn who_has_no_network_is_given_none() {
        let none = limits("lxc.net.0.type = empty\n");
        for key in ["lxc.net.0.type", "lxc.net.1.type", "lxc.net.00.type", "lxc.net.1"] {
            assert!(none.forbid(key, "veth"), "{key}");
        }
        let one = limits("lxc.net.0.type = empty\nlxc.net.1.type = veth\n");
        assert!(!one.forbid("lxc.net.2.type", "veth") && one.forbid("lxc.net.0.type", "veth"));
        assert!(!Limits::default().forbid("lxc.net.0.type", "veth"));
    }

    #[test]
    fn what_an_include_takes_back_is_written_again() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("userns.conf");
        std::fs::write(
            &file,
            "lxc.cap.drop =\nlxc.cap.keep =\nlxc.cgroup2.memory.max =\nlxc.cap.drop = sys_boot\n\
             lxc.prlimit.7 = 900\nlxc.cgroup2.cpu.idle = 1\nlxc.prlimit.nproc = 5\nlxc.sysctl.net/ipv4/ip_forward = 1\n",
        )
        .unwrap();
        let limits = limits(BASE);
        let mut config = text::Builder::new(&[], BASE);
        limits.keep(&mut config).unwrap();
        let read =
            |config: &text::Builder| config::parse(&config.text(), Path::new("config")).unwrap().config;
        assert_eq!(config.text().matches("net_raw").count(), 1, "nothing was taken back: {}", config.text());
        config.set("lxc.include", &file.display().to_string()).unwrap();
        assert!(!read(&config).get("lxc.cap.drop").unwrap().contains("net_raw"));
        limits.keep(&mut config).unwrap();
        let now = read(&config);
        let mut dropped = values(&now, "lxc.cap.drop");
        dropped.sort();
        assert_eq!(dropped, ["net_raw", "sys_boot", "sys_time", "syslog"]);
        assert_eq!(now.get("lxc.cgroup2.memory.max").unwrap().trim(), "1G");
        assert_eq!(now.get("lxc.no_new_privs").unwrap().trim(), "1");
        for (key, value) in [
            ("lxc.prlimit.7", ""),
            ("lxc.cgroup2.cpu.idle", ""),
            ("lxc.sysctl.net/ipv4/ip_forward", ""),
            ("lxc.sysctl.net.ipv4.ip_forward", "0"),
            ("lxc.prlimit.nofile", "100"),
            ("lxc.prlimit.nproc", "5"),
        ] {
            assert_eq!(now.get(key).unwrap_or_default().trim(), value, "{key}");
        }
    }
}
