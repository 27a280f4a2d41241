//! What the files show of groups of cgroup v2, whose directories stand in for the kernel's.

#![allow(clippy::unwrap_used)]

use std::fs;

use cgroup::Version;
use cgroup::view::{Directory, View};
use lxcfs::container::{Birth, Options, Seen, Shared};
use lxcfs::files::FILES;
use sys::path;
use tempfile::TempDir;

const MIB: u64 = 1 << 20;

/// A container's group `a/b/c`, below `a`, which has less memory than it, and `b`, which has less swap.
fn tree() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    let stat = "anon 10485760\nfile 20971520\nfile_mapped 4194304\nfile_dirty 1048576\nshmem 2097152\n\
                active_file 8388608\ninactive_file 12582912\nslab_reclaimable 1048576\nslab_unreclaimable 524288\n\
                slab 1572864\npgfault 77\npgmajfault 7\n";
    let groups: [(&str, &[(&str, &str)]); 3] = [
        ("a", &[("memory.max", "67108864\n"), ("memory.current", "50331648\n"), ("memory.stat", stat)]),
        ("a/b", &[("memory.max", "max\n"), ("memory.swap.max", "1048576\n"), ("memory.swap.current", "0\n")]),
        (
            "a/b/c",
            &[
                ("memory.max", "134217728\n"),
                ("memory.current", "33554432\n"),
                ("memory.stat", stat),
                ("memory.swap.max", "max\n"),
                ("memory.swap.current", "0\n"),
                ("cpuset.cpus", "\n"),
                ("cpuset.cpus.effective", "0\n"),
                ("cpu.stat", "usage_usec 3000000\nuser_usec 2000000\nsystem_usec 1000000\n"),
                ("io.stat", "8:0 rbytes=1048576 wbytes=524288 rios=10 wios=5 dbytes=0 dios=0\n"),
                ("cpu.pressure", "some avg10=1.50 avg60=0.00 avg300=0.00 total=4711\n"),
            ],
        ),
    ];
    for (group, files) in groups {
        let dir = root.path().join(group);
        fs::create_dir_all(&dir).unwrap();
        for (name, text) in files.iter().chain(&[("cgroup.procs", "")]) {
            fs::write(dir.join(name), text).unwrap();
        }
    }
    root
}

fn shown(root: &TempDir, file: &str, options: Options) -> String {
    let dir = path::open_dir(&root.path().join("a/b/c")).unwrap();
    let view = View::new(vec![Directory { version: Version::V2, controllers: Vec::new(), dir }]);
    let at = FILES.iter().position(|known| known.path == file).unwrap();
    let shared = Shared { options, ..Shared::default() };
    Seen::new(view, Birth { born: 0, ahead: 0 }).render(at, None, &shared).unwrap()
}

/// Returns a line of meminfo, in kilobytes.
fn kilobytes(text: &str, key: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn memory_is_the_least_up_the_tree_and_the_use_its_own() {
    let root = tree();
    let text = shown(&root, "proc/meminfo", Options::default());
    let host = fs::read_to_string("/proc/meminfo").unwrap();
    let expected = (64 * MIB / 1024).min(kilobytes(&host, "MemTotal"));
    assert_eq!(kilobytes(&text, "MemTotal"), expected);
    assert_eq!(kilobytes(&text, "MemFree"), expected - 32 * 1024);
    for (key, mebibytes) in [("Cached", 20), ("Mapped", 4), ("Dirty", 1), ("Shmem", 2)] {
        assert_eq!(kilobytes(&text, key), mebibytes * 1024, "{key}: {text}");
    }
    // The group above has 16 MiB left, and what the kernel could take back of its own.
    assert!(kilobytes(&text, "MemAvailable") <= (16 + 21) * 1024, "{text}");
    assert!(kilobytes(&text, "SwapTotal") <= 1024, "{text}");
}

#[test]
fn processors_are_those_that_it_really_has_and_its_time_is_theirs() {
    let root = tree();
    assert_eq!(shown(&root, "sys/devices/system/cpu/online", Options::default()), "0\n");
    let count = |text: &str, start: &str| text.lines().filter(|line| line.starts_with(start)).count();
    assert_eq!(count(&shown(&root, "proc/cpuinfo", Options::default()), "processor"), 1);
    let stat = shown(&root, "proc/stat", Options::default());
    assert_eq!(count(&stat, "cpu"), 2);
    let all: Vec<&str> = stat.lines().next().unwrap().split_whitespace().collect();
    assert_eq!((all[1], all[3]), ("200", "100"), "{stat}");
}

#[test]
fn disks_faults_and_pressure_are_its_own() {
    let root = tree();
    let vmstat = shown(&root, "proc/vmstat", Options::default());
    assert!(vmstat.lines().any(|line| line == "pgfault 77"), "{vmstat}");
    assert!(vmstat.lines().any(|line| line == "nr_mapped 1024"), "{vmstat}");
    let pressure = shown(&root, "proc/pressure/cpu", Options::default());
    if fs::exists("/proc/pressure/cpu").unwrap() {
        assert!(pressure.contains("total=4711"), "{pressure}");
    }
}

#[test]
fn a_quota_counts_as_processors_where_that_is_wished() {
    let root = tree();
    fs::write(root.path().join("a/b/c/cpuset.cpus.effective"), "0-3\n").unwrap();
    fs::write(root.path().join("a/cpu.max"), "100000 100000\n").unwrap();
    let count = |quota| {
        let options = Options { quota, ..Options::default() };
        shown(&root, "proc/cpuinfo", options).lines().filter(|line| line.starts_with("processor")).count()
    };
    assert_eq!(count(true), 1);
    assert!(count(false) >= 1);
}

#[test]
fn what_changes_and_what_is_gone_is_seen_at_the_next_look() {
    let root = tree();
    let total = |root: &TempDir| kilobytes(&shown(root, "proc/meminfo", Options::default()), "MemTotal");
    let before = total(&root);
    fs::write(root.path().join("a/memory.max"), "33554432\n").unwrap();
    assert_eq!(total(&root), 32 * 1024);
    assert!(before >= 32 * 1024);
    // The controller is taken away.
    for group in ["a", "a/b", "a/b/c"] {
        for file in ["memory.max", "memory.current", "memory.stat"] {
            let _not_there = fs::remove_file(root.path().join(group).join(file));
        }
    }
    let host = fs::read_to_string("/proc/meminfo").unwrap();
    assert_eq!(total(&root), kilobytes(&host, "MemTotal"));
}
