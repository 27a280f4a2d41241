//! What holds for every text: what is shown reads back as the same, a saved file means what was set, nothing panics.

#![allow(clippy::unwrap_used)] // The helpers here are parts of tests.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use config::keys::{self, Shape};
use config::{Config, Document, Loaded, Problems, fstab, parse, seccomp, system};
use proptest::prelude::*;

/// Words of the language, whole and in parts, beside what breaks, quotes and continues lines.
#[rustfmt::skip]
const PIECES: &[&str] = &[
    "0", "1", "2", "7", "-3", "4095", "65536", "100000", "4294967295", "18446744073709551615", "0x10", "1k", "2MB",
    "64K", "auto", "none", "unlimited", ":", "::", "/", "//", "..", ".", ",", "=", " ", "  ", "\t", "\r", "\u{c}",
    "\u{b}", "\u{a0}", "\"", "'", "\"'", "\\", "\\040", "#", "\u{feff}", "\u{85}", "\u{2028}", "é", "🌳", "%n", "+",
    "x", "xx", "10:66:6a:xx:xx:xx", "u 0 100000 65536", "g 0 100000 65536", "u", "dir:", "overlay:", "overlayfs:",
    "zfs:", "/a", "/b", "unix:", "@", "SIG", "SIGTERM", "SIGRTMIN+3", "SIGRTMAX-1", "proc", "proc:rw", "sys:ro",
    "cgroup", "cgroup-full:mixed:force", "cgroup2:ro", "shmounts:", "shmounts:/a:/b", "/dev/.lxc-mounts", "sys_admin",
    "chown", "63", "net", "user", "mnt", "mount", "pid", "time", "10s", "5ms", "-3h", "0ns", "h", "ns", "10.0.3.5",
    "10.0.3.5/24", "10.0.3.255", "/24", "/33", "fe80::1", "fe80::1/64", "dev", "veth", "phys", "macvlan", "up",
    "down", "router", "l3s", "passthru", "x86_64", "i386", "armhf", "debug", "NOTSET", "8", "daemon", "local7", "A=b",
    "PATH", "A=", "create=dir", "optional", "ro", "idmap=container", "bind", "/bin/sh -c 'a b'",
];

/// A value: pieces one after the other, or anything.
fn value() -> impl Strategy<Value = String> {
    let pieces = prop::collection::vec(prop::sample::select(PIECES), 0..6).prop_map(|pieces| pieces.concat());
    let words = prop::collection::vec(prop::sample::select(PIECES), 0..6).prop_map(|pieces| pieces.join(" "));
    prop_oneof![3 => pieces, 2 => words, 1 => any::<String>()]
}

/// What may fill the open part of a family's name.
fn name_below(family: &str) -> &'static [&'static str] {
    match family {
        "lxc.prlimit" => &["nofile", "core", "7"],
        "lxc.namespace.share" => &["net", "mount", "pid"],
        "lxc.proc" => &["oom_score_adj", "é", "\"a\""],
        _ => &["memory.max", "net.ipv4.ip_forward", "a", "\"a\"", "é", "a#b"],
    }
}

/// Any key with a value, devices being of the kind that the key is for.
fn key() -> impl Strategy<Value = String> {
    let all: Vec<String> = keys::TABLE.iter().chain(keys::DEVICE_KEYS).flat_map(names_of).collect();
    prop::sample::select(all)
}

fn names_of(item: &keys::Key) -> Vec<String> {
    match item.shape {
        Shape::Family => name_below(item.name).iter().map(|name| format!("{}.{name}", item.name)).collect(),
        Shape::Group => Vec::new(),
        _ if item.name == "lxc.include" => Vec::new(),
        _ => vec![item.name.replace(".N", ".3")],
    }
}

/// Lines that undo others, and those of LXC 1.
const UNDOING: [&str; 13] = [
    "lxc.include = @",
    "lxc.net =",
    "lxc.net.3 =",
    "lxc.net.03.link = a",
    "lxc.cgroup2 =",
    "lxc.sysctl =",
    "lxc.cap.keep =",
    "lxc.hook =",
    "lxc.network.type = veth",
    "lxc.network.link = a",
    "lxc.rootfs = /a",
    "lxc.rootfs.backend = overlay",
    "lxc.utsname = a",
];

/// A key, and lines of a file that set it, other keys, or undo that.
fn key_and_lines() -> impl Strategy<Value = (String, Vec<String>)> {
    let undone =
        prop::sample::select(&["lxc.uts.name", "lxc.cap.drop", "lxc.cgroup2.memory.max", "lxc.sysctl.a"][..]);
    prop_oneof![key(), undone.prop_map(str::to_owned), Just("lxc.net.3.link".to_owned())].prop_flat_map(
        |name| {
            let own = (Just(name.clone()), value());
            let setting = prop_oneof![own, (key(), value())];
            let line = setting.prop_map(|(key, value)| {
                // Another kind of line is of no use here: much that is wrong is no file that anybody has.
                let taken = !value.is_empty() && with_its_device(&key).set(&key, &value).is_ok();
                if taken { format!("{key} = \"{value}\"") } else { format!("# {key}") }
            });
            let undoing = prop::sample::select(&UNDOING[..])
                .prop_map(|line| line.replace('@', &INCLUDED.display().to_string()));
            (Just(name), prop::collection::vec(prop_oneof![line, undoing], 0..6))
        },
    )
}

/// A file to include that sets keys of every kind. It stays with what is built: nothing of a static is removed at the end.
static INCLUDED: LazyLock<PathBuf> = LazyLock::new(|| {
    let text = "lxc.uts.name = included\nlxc.group = included\nlxc.cgroup2.memory.max = 1\nlxc.tty.max = 3\n\
                lxc.sysctl.a = 1\nlxc.net.0.type = veth\nlxc.net.3.link = included\nlxc.prlimit.core = 3\n\
                lxc.cap.drop =\nlxc.init.cmd = /included\nlxc.network.type = empty\n";
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("more.conf");
    std::fs::write(&file, text).unwrap();
    file
});

fn read(document: &Document) -> Result<Loaded, Problems> {
    parse(&document.text(), Path::new("/c"))
}

/// Returns a configuration whose device is of the kind that `key` is for.
fn with_its_device(key: &str) -> Config {
    let mut config = Config::default();
    if let Some(part) = key.strip_prefix("lxc.net.3.") {
        let kind = part.split('.').next().filter(|kind| config.set("lxc.net.3.type", kind).is_ok());
        config.set("lxc.net.3.type", kind.unwrap_or("veth")).unwrap();
    }
    config
}

/// Writes all that a configuration says, key by key, as `get` shows it.
fn dump(config: &Config) -> Document {
    let mut document = Document::default();
    let devices = config.net.keys().flat_map(|index| {
        let below = keys::DEVICE_KEYS.iter().filter(|item| item.shape != Shape::Group);
        below.map(move |item| item.name.replace(".N", &format!(".{index}")))
    });
    let plain = keys::TABLE
        .iter()
        .filter(|item| !matches!(item.shape, Shape::Family | Shape::Group) && item.name != "lxc.autodev");
    let all = plain.map(|item| item.name.to_owned()).chain(["lxc.autodev".to_owned()]).chain(devices);
    for key in all {
        for line in config.get(&key).unwrap_or_default().split('\n').filter(|line| !line.is_empty()) {
            document.append(&key, line).unwrap();
        }
    }
    let families = keys::TABLE.iter().filter(|item| item.shape == Shape::Family);
    let text: String = families.map(|item| config.get(item.name).unwrap()).collect();
    Document::from_bytes(format!("{}{text}", document.text()).as_bytes())
}

/// Settings for a number of cases; PROPTEST_CASES asks for another.
fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        max_global_rejects: 1_000_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases(4000))]

    #[test]
    fn what_a_key_shows_reads_back_as_the_same(key in key(), values in prop::collection::vec(value(), 1..3)) {
        let mut config = with_its_device(&key);
        let taken = values.iter().filter(|value| config.set(&key, value).is_ok()).count();
        prop_assume!(taken > 0);
        let (mut document, mut again) = (Document::default(), with_its_device(&key));
        for device in again.net.values() {
            document.append("lxc.net.3.type", device.kind.word()).unwrap();
        }
        for line in config.get(&key).unwrap().split('\n').filter(|line| !line.is_empty()) {
            again.set(&key, line).unwrap();
            document.append(&key, line).unwrap();
        }
        prop_assert_eq!(&again, &config, "{} = {:?}", key, config.get(&key));
        prop_assert_eq!(read(&document).unwrap().config, config, "{}", document.text());
    }

    #[test]
    fn a_cleared_key_is_as_it_was_at_first(key in key(), value in value()) {
        let mut config = with_its_device(&key);
        config.set(&key, &value).ok();
        config.clear(&key).unwrap();
        let mut fresh = with_its_device(&key);
        fresh.clear(&key).unwrap();
        prop_assert_eq!(config, fresh);
    }
}

proptest! {
    #![proptest_config(cases(600))]

    #[test]
    fn all_that_is_shown_is_the_same_configuration(settings in prop::collection::vec((key(), value()), 0..40)) {
        let mut config = Config::default();
        config.set("lxc.net.3.type", "veth").unwrap();
        for (key, value) in &settings {
            let of_another_kind = ["macvlan.", "ipvlan.", "vlan."].iter().any(|kind| key.contains(&format!(".3.{kind}")));
            if !of_another_kind && !key.ends_with(".3.type") {
                config.set(key, value).ok();
            }
        }
        let dumped = dump(&config);
        prop_assert_eq!(read(&dumped).unwrap().config, config, "{}", dumped.text());
    }

    #[test]
    fn a_saved_setting_is_what_was_set_and_nothing_else_changes(
        before in prop::collection::vec((key(), value()), 0..6), key in key(), value in value()
    ) {
        let mut document = Document::default();
        for (key, value) in &before {
            if with_its_device(key).set(key, value).is_ok() {
                document.append(key, value).unwrap();
            }
        }
        let mut direct = Config::default();
        prop_assume!(read(&document).is_ok() && !value.is_empty() && direct.set(&key, &value).is_ok());
        let others = |document: &Document| {
            let text = document.text();
            text.lines().filter(|line| line.split(" = ").next() != Some(key.as_str())).map(str::to_owned).collect::<Vec<_>>()
        };
        let kept = others(&document);
        document.set(&key, &value).unwrap();
        prop_assert_eq!(others(&document), kept);
        let Ok(loaded) = read(&document) else { return Ok(()) };
        if let Ok(shown) = direct.get(&key) {
            // A key of another kind of device is not shown, and exclusive keys refuse each other.
            prop_assert_eq!(loaded.config.get(&key).unwrap_or_else(|_| shown.clone()), shown);
        }
    }

    #[test]
    fn what_was_set_is_what_is_loaded_whatever_stands_behind_it(
        (key, lines) in key_and_lines(), value in value(), clears in any::<bool>()
    ) {
        let mut document = Document::from_bytes(lines.join("\n").as_bytes());
        let value = if clears { String::new() } else { value };
        let was = read(&document);
        if document.set(&key, &value).is_err() {
            return Ok(());
        }
        let Ok(loaded) = read(&document) else { return Ok(()) };
        let mut direct = with_its_device(&key);
        direct.set(&key, &value).unwrap();
        if let (Ok(shown), Ok(wanted)) = (loaded.config.get(&key), direct.get(&key)) {
            prop_assert_eq!(shown, wanted, "{} = {}\n{}", key, value, document.text());
        }
        // Clearing capabilities to drop clears those to keep.
        let others = keys::TABLE.iter().filter(|item| item.shape == Shape::Scalar && item.name != key);
        for other in others.filter(|_| !key.starts_with("lxc.net")) {
            if let Ok(was) = &was {
                prop_assert_eq!(loaded.config.get(other.name), was.config.get(other.name), "{}", document.text());
            }
        }
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let document = Document::from_bytes(&bytes);
        prop_assert_eq!(Document::from_bytes(&document.bytes()), document.clone());
        let text = String::from_utf8_lossy(&bytes);
        drop((read(&document).map_err(|problems| problems.to_string()), seccomp::parse(&text, Path::new("/p"))));
        drop((fstab(&text), system::SystemConfig::parse(&text, Path::new("/home/ana"), false)));
    }

    #[test]
    fn no_lines_make_a_reader_panic(
        lines in prop::collection::vec((key(), prop::sample::select(&["=", " = ", "", " ", "=\""][..]), value()), 0..12),
        head in prop::sample::select(&["", "2\nallowlist\n", "2\ndenylist errno 1\n", "1\nallowlist\n"][..]),
    ) {
        let text: String = lines.iter().map(|(key, sign, value)| format!("{key}{sign}{value}\n")).collect();
        drop(parse(&text, Path::new("/c")).map_err(|problems| problems.to_string()));
        let rules: String = lines.iter().map(|(_, _, value)| format!("{value}\n")).collect();
        drop(seccomp::parse(&format!("{head}{rules}"), Path::new("/p")).map_err(|problems| problems.to_string()));
        drop(fstab(&rules));
    }
}
