//! What is written instead, as a message says, is taken.

#![allow(clippy::unwrap_used)] // The helpers here are parts of tests.

use std::path::Path;

use config::keys::{self, DEVICE_KEYS, Shape, TABLE};
use config::{Config, Fault, parse};

/// Returns what is said to be written instead of a line that is wrong or doubtful.
fn help(line: &str) -> Option<String> {
    let faults = match parse(line, Path::new("/c")) {
        Ok(loaded) => loaded.warnings,
        Err(problems) => problems.0,
    };
    assert_eq!(faults.len(), 1, "{line}: {faults:?}");
    faults[0].fault.suggestion()
}

#[test]
fn a_suggestion_says_what_was_meant_or_nothing() {
    for (line, meant) in [
        ("lxc.net.0.flags = off", Some("write down")),
        ("lxc.net.0.flags = no", Some("write down")),
        ("lxc.net.0.flags = on", Some("write up")),
        ("lxc.net.0.flags = IFF_UP", Some("write up")),
        ("lxc.net.0.flags = donw", Some("write down")),
        ("lxc.net.0.flags = broadcast", None),
        ("lxc.tty.max = 1k", Some("write 1024")),
        ("lxc.tty.max = 4GB", None),
        ("lxc.init.uid = 8G", None),
        ("lxc.time.offset.boot = 10", Some("write 10s")),
        ("lxc.time.offset.boot = 9999999999999", None),
        ("lxc.mount.auto = proc,sys", Some("write proc sys")),
        ("lxc.mount.auto = proc,bogus", None),
        ("lxc.log.syslog = local9", None),
        ("lxc.log.syslog = deamon", Some("write daemon")),
        ("lxc.arch = i786", None),
        ("lxc.nett = veth", None),
        ("lxc.nett.0.type = veth", Some("write lxc.net.0.type")),
        ("lxc.hooks = /x", None),
        ("lxc.net.0.ipv4 = 10.0.0.2/24", Some("write lxc.net.0.ipv4.address")),
        ("lxc.net.0 = veth", Some("write lxc.net.0.type")),
        ("lxc.ty.max = 1", None),
        ("lxc.sysctls.Kernel.A = 1", Some("write lxc.sysctl.Kernel.A")),
        ("lxc.cgroup.dir.montior = a", Some("write lxc.cgroup.dir.monitor")),
        ("lxc.cgroup2.dir = a", Some("write lxc.cgroup.dir")),
        ("lxc.cgroup.memory.swappiness = 1", Some("use a key of lxc.cgroup2")),
        ("lxc.network.flags = up", Some("write lxc.net.0.flags, and lxc.net.0.type = veth before it")),
        ("lxc.network.bogus = up", None),
        ("lxc.network.3.bogus = up", None),
        ("lxc.rootfs.backend =", Some("write lxc.rootfs.path = PATH")),
        ("LXC.UTS.NAME = a", Some("write lxc.uts.name")),
        ("LXC.UTS.NMAE = a", Some("write lxc.uts.name")),
        ("LXC.QUITE.OTHER = a", None),
    ] {
        assert_eq!(help(line).as_deref(), meant, "{line}");
    }
}

/// Values of many keys, whole and with slips.
#[rustfmt::skip]
const VALUES: &[&str] = &[
    "yes", "off", "2", "1k", "4GB", "64k:128k", "10", "99999999999999999999", "-1", "TERM", "sigterm", "PWR", "veht",
    "brigde", "l4", "privat", "x86-64", "armv9", "amd46", "CAP_SYS_ADMIN", "sys_admn", "chown CHWON", "nett", "user,pid",
    "proc,sys:ro", "proc,nothing", "shmounts", "overlya:/a", "zsf:a", "00-16-3e-00-00-01", "10.0.0.300", "/run/x.sock",
    "Local0", "local9", "debgu", "Warning", "root", "1,root", "5d", "donw", "create=dir", "/a", "..", "usr 0 1 1",
];

#[test]
fn every_value_that_is_suggested_is_taken() {
    let mut suggested = 0;
    for item in TABLE.iter().chain(DEVICE_KEYS).filter(|item| !matches!(item.shape, Shape::Group)) {
        let key = match item.shape {
            Shape::Family => format!("{}.nofile", item.name),
            _ => item.name.replace(".N", ".0"),
        };
        for value in VALUES.iter().filter(|_| key != "lxc.include") {
            let Err(Fault::Value { value: wrong, meant: Some(meant), .. }) =
                Config::default().set(&key, value)
            else {
                continue;
            };
            suggested += 1;
            let mut mended = value.to_string();
            for _ in 0..4 {
                // The words of a value are told one by one.
                mended = mended.replacen(&wrong, &meant, 1);
                match Config::default().set(&key, &mended) {
                    Err(Fault::Value { value: next, .. }) if next != meant && next != wrong => break,
                    answer => assert_eq!(answer, Ok(()), "{key} = {value}: write {meant} for {wrong}"),
                }
            }
        }
    }
    assert!(suggested > 60, "{suggested}");
}

/// Returns a name with a slip at every place: a letter less, a letter twice, two in another order.
fn slips(name: &str) -> Vec<String> {
    let letters: Vec<char> = name.chars().collect();
    let places = || 4..letters.len();
    let without = places().map(|at| [&letters[..at], &letters[at + 1..]].concat());
    let twice = places().map(|at| [&letters[..=at], &letters[at..]].concat());
    let swapped = places().filter(|at| at + 1 < letters.len()).map(|at| {
        let mut letters = letters.clone();
        letters.swap(at, at + 1);
        letters
    });
    without.chain(twice).chain(swapped).map(|letters| letters.into_iter().collect()).collect()
}

#[test]
fn every_key_that_is_suggested_takes_a_value_and_most_slips_are_understood() {
    let (mut slipped, mut understood) = (0, 0);
    for item in TABLE.iter().chain(DEVICE_KEYS).filter(|item| item.shape != Shape::Group) {
        let name = match item.shape {
            Shape::Family => format!("{}.memory.max", item.name),
            _ => item.name.replace(".N", ".0"),
        };
        for slip in slips(&name) {
            let Err(fault) = keys::find(&slip) else { continue };
            slipped += 1;
            let Fault::UnknownKey { nearest: Some(nearest), .. } = fault else { continue };
            let (found, slot) =
                keys::find(&nearest).unwrap_or_else(|_| panic!("{slip}: {nearest} is no key"));
            let takes =
                found.shape != Shape::Group && (found.shape != Shape::Family || !slot.name.is_empty());
            assert!(takes, "{slip}: {nearest} takes no value");
            understood += usize::from(nearest == name);
        }
    }
    assert!(understood * 10 > slipped * 9, "{understood} of {slipped}");
}
