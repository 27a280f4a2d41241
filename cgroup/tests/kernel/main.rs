//! Groups against the kernel of this machine: as root, in directories of their own below the caller's cgroups. What a
//! machine lacks is skipped aloud. Nothing of the machine's own groups is changed.

#![cfg(test)]

mod bench;
mod user;

use std::path::Path;
use std::time::{Duration, Instant};

use bench::{Bench, PATIENCE, entering_sleeper, is_root, limit, sleeper};
use cgroup::{Applied, FreezeError, Handle, Kind, Missing, Reason, Version};

/// Returns from the test, saying why, when it cannot run here.
macro_rules! need {
    ($condition:expr, $what:expr) => {
        if !$condition {
            eprintln!("skipped: needs {}", $what);
            return;
        }
    };
}
pub(crate) use need;

#[test]
fn a_placed_process_is_in_every_hierarchy() {
    need!(is_root(), "root");
    let bench = Bench::new("place");
    let group = bench.base.make(&bench.name).unwrap();
    let child = sleeper();
    group.place(child.pid()).unwrap();
    let lines = std::fs::read_to_string(format!("/proc/{}/cgroup", child.pid())).unwrap();
    let inside = lines.lines().filter(|l| l.contains(&bench.text())).count();
    assert_eq!(inside, group.paths().count(), "{lines}");
    assert_eq!(group.pids().unwrap(), [child.pid()]);
    assert!(!group.is_empty());
}

#[test]
fn a_process_enters_every_hierarchy() {
    need!(is_root(), "root");
    let bench = Bench::new("entrance");
    let group = bench.base.make(&bench.name).unwrap();
    let child = entering_sleeper(&group);
    for dir in group.paths() {
        let inside = std::fs::read_to_string(dir.join("cgroup.procs")).unwrap();
        assert_eq!(inside.trim(), child.pid().to_string(), "{}", dir.display());
    }
}

#[test]
fn a_nested_group_is_made_with_its_parents_and_opened_again_by_its_handle() {
    need!(is_root(), "root");
    let bench = Bench::new("handle");
    let group = bench.base.make(&bench.name.join("a/b")).unwrap();
    let text = serde_json::to_string(&group.handle()).unwrap();
    let again: Handle = serde_json::from_str(&text).unwrap();
    let opened = again.open().unwrap();
    assert!(opened.paths().eq(group.paths()) && !opened.is_nowhere());
    opened.remove(PATIENCE).unwrap();
    assert!(again.open().unwrap().is_nowhere());
    assert!(bench.base.open(&bench.name.join("a/b")).unwrap().is_nowhere());
}

#[test]
fn a_frozen_group_stays_frozen_until_it_is_thawed() {
    need!(is_root(), "root");
    for version in [Version::V2, Version::V1] {
        let bench = Bench::of(&format!("freeze-{version:?}"), |h| h.version == version);
        let group = bench.base.make(&bench.name).unwrap();
        let child = sleeper();
        group.place(child.pid()).unwrap();
        if let Err(FreezeError::NoFreezer { .. }) = group.is_frozen() {
            eprintln!("skipped: needs a {version:?} freezer");
            continue;
        }
        assert!(!group.is_frozen().unwrap());
        group.freeze(PATIENCE).unwrap();
        assert!(group.is_frozen().unwrap());
        group.freeze(PATIENCE).unwrap();
        group.thaw(PATIENCE).unwrap();
        assert!(!group.is_frozen().unwrap());
        group.thaw(PATIENCE).unwrap();
    }
}

#[test]
fn without_a_freezer_freezing_is_refused() {
    need!(is_root(), "root");
    let bench = Bench::of("nofreezer", |h| h.controllers.iter().any(|c| c == "memory"));
    need!(!bench.base.is_nowhere(), "a v1 memory hierarchy");
    let group = bench.base.make(&bench.name).unwrap();
    let refused = group.freeze(PATIENCE).unwrap_err();
    assert!(refused.to_string().contains("no cgroup hierarchy with a freezer is mounted"), "{refused}");
}

#[test]
fn kill_ends_every_process_below_frozen_or_not() {
    need!(is_root(), "root");
    for version in [Some(Version::V2), Some(Version::V1), None] {
        for frozen in [false, true] {
            let bench =
                Bench::of(&format!("kill-{version:?}-{frozen}"), |h| version.is_none_or(|v| h.version == v));
            need!(!bench.base.is_nowhere(), format!("{version:?}"));
            let group = bench.base.make(&bench.name).unwrap();
            let mut children = [sleeper(), sleeper()];
            group.place(children[0].pid()).unwrap();
            group.make(Path::new("deep/er")).unwrap().place(children[1].pid()).unwrap();
            if frozen {
                group.freeze(PATIENCE).unwrap();
            }
            group.kill(PATIENCE).unwrap();
            assert!(group.is_empty());
            assert!(children.iter_mut().all(bench::Sleeper::was_killed));
            group.remove(PATIENCE).unwrap();
        }
    }
}

#[test]
fn waiting_for_an_empty_group_ends_when_the_last_process_does() {
    need!(is_root(), "root");
    let bench = Bench::new("wait");
    let group = bench.base.make(&bench.name).unwrap();
    let child = sleeper();
    group.place(child.pid()).unwrap();
    assert!(!group.wait_empty(Duration::from_millis(50)));
    let began = Instant::now();
    let ender = std::thread::spawn(move || drop(child));
    assert!(group.wait_empty(Duration::from_secs(20)));
    assert!(began.elapsed() < Duration::from_secs(10));
    ender.join().unwrap();
}

#[test]
fn a_group_in_use_is_not_removed_and_its_empty_neighbours_are() {
    need!(is_root(), "root");
    let bench = Bench::new("busy");
    let group = bench.base.make(&bench.name).unwrap();
    let busy = group.make(Path::new("busy")).unwrap();
    group.make(Path::new("idle/er")).unwrap();
    let child = sleeper();
    busy.place(child.pid()).unwrap();
    let refused = group.remove(Duration::from_millis(20)).unwrap_err();
    assert_eq!(refused.failures.len(), group.paths().count());
    assert!(refused.failures.iter().all(|e| e.errno() == Some(sys::Errno::EBUSY)), "{refused}");
    drop(child);
    group.remove(PATIENCE).unwrap();
    assert!(bench.base.open(&bench.name).unwrap().is_nowhere());
}

#[test]
fn a_tree_of_any_shape_is_removed() {
    need!(is_root(), "root");
    let bench = Bench::of("tree", |h| h.version == Version::V2);
    need!(!bench.base.is_nowhere(), "v2");
    let group = bench.base.make(&bench.name).unwrap();
    let deep: std::path::PathBuf = std::iter::repeat_n("d", 60).collect();
    group.make(&deep).unwrap();
    for n in 0..30 {
        group.make(Path::new(&format!("wide{n}/in"))).unwrap();
    }
    group.remove(PATIENCE).unwrap();
    group.remove(PATIENCE).unwrap();
    assert!(bench.base.open(&bench.name).unwrap().is_nowhere());
}

#[test]
fn a_group_is_had_by_one_until_it_is_dropped_or_removed() {
    need!(is_root(), "root");
    let bench = Bench::new("take");
    let name = bench.name.join("lxc.monitor.web");
    let had = bench.base.take(&name).unwrap().unwrap();
    assert!(had.paths().count() > 0 && had.paths().eq(bench.base.open(&name).unwrap().paths()));
    assert!(bench.base.take(&name).unwrap().is_none());
    assert!(!bench.base.open(&name).unwrap().lock().unwrap());
    assert!(had.is_empty(), "nobody is in it, and still it is had");
    let identity = |group: &cgroup::Group| group.paths().map(inode).collect::<Vec<_>>();
    let first = identity(&had);
    drop(had);
    let again = bench.base.take(&name).unwrap().unwrap();
    assert_ne!(identity(&again), first, "one that is left over is made anew");
    let seen_before = bench.base.open(&name).unwrap();
    again.remove(PATIENCE).unwrap();
    drop(again);
    assert!(!seen_before.lock().unwrap(), "a lock on what is gone keeps nobody off");
}

#[test]
fn of_many_who_take_a_name_at_once_one_at_most_has_it() {
    need!(is_root(), "root");
    let bench = Bench::new("takers");
    bench.base.make(&bench.name).unwrap();
    let name = bench.name.join("web");
    for _ in 0..50 {
        let had: Vec<_> = std::thread::scope(|scope| {
            let takers: Vec<_> = (0..4).map(|_| scope.spawn(|| bench.base.take(&name).unwrap())).collect();
            takers.into_iter().filter_map(|taker| taker.join().unwrap()).collect()
        });
        assert!(had.len() <= 1, "{had:?}");
        for group in had {
            assert!(group.paths().eq(bench.base.open(&name).unwrap().paths()));
            group.remove(PATIENCE).unwrap();
        }
        assert!(bench.base.open(&name).unwrap().is_nowhere(), "who does not get it leaves nothing");
    }
}

#[test]
fn a_group_with_a_process_in_it_is_not_taken_and_its_left_over_neighbours_are() {
    need!(is_root(), "root");
    let bench = Bench::new("alive");
    let name = bench.name.join("web");
    let (alive, child) = (bench.base.make(&name).unwrap(), sleeper());
    alive.place(child.pid()).unwrap();
    assert!(bench.base.take(&name).unwrap().is_none() && !bench.base.clear(&name));
    drop(child);
    alive.make(Path::new("init.scope")).unwrap();
    assert!(alive.wait_empty(PATIENCE));
    let taken = bench.base.take(&name).unwrap().unwrap();
    assert!(taken.open(Path::new("init.scope")).unwrap().is_nowhere());
    assert!(bench.base.clear(&name) && bench.base.open(&name).unwrap().is_nowhere());
}

fn inode(path: &Path) -> u64 {
    std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(path).unwrap())
}

#[test]
fn limits_of_v1_are_applied_and_a_bad_value_is_the_kernels_refusal() {
    need!(is_root(), "root");
    let bench = Bench::new("limits");
    need!(bench.has_v1("memory") && bench.has_v1("pids"), "v1 memory and pids");
    let group = bench.base.make(&bench.name).unwrap();
    let limits = [
        limit(Version::V1, "memory.memsw.limit_in_bytes", "128M"),
        limit(Version::V1, "memory.limit_in_bytes", "64M"),
        limit(Version::V1, "pids.max", "7"),
    ];
    for outcome in group.apply(&limits) {
        assert_eq!(outcome.result, Ok(Applied::Written), "{outcome:?}");
    }
    assert_eq!(group.value(Version::V1, "memory.limit_in_bytes").unwrap().trim(), (64 << 20).to_string());
    assert_eq!(group.value(Version::V1, "pids.max").unwrap().trim(), "7");
    let refused = group.apply(&[limit(Version::V1, "pids.max", "many")]).remove(0).result.unwrap_err();
    assert_eq!(refused.reason.errno(), Some(sys::Errno::EINVAL));
}

#[test]
fn a_limit_of_v2_whose_controller_is_mounted_as_v1_is_refused_with_the_nearest_one() {
    need!(is_root(), "root");
    let bench = Bench::new("refused");
    need!(bench.layout.kind() == Kind::Hybrid && bench.has_v1("memory"), "hybrid with v1 memory");
    let group = bench.base.make(&bench.name).unwrap();
    let refused = group.apply(&[limit(Version::V2, "memory.max", "64M")]).remove(0).result.unwrap_err();
    assert_eq!(
        *refused.reason,
        Reason::Controller { controller: "memory".into(), missing: Missing::OtherVersion(Version::V1) }
    );
    assert_eq!(refused.to_string(), "memory.max: the controller memory is mounted as cgroup v1 on this host");
    assert!(refused.hint().unwrap().contains("lxc.cgroup.memory.limit_in_bytes"));
}

#[test]
fn the_core_limits_of_v2_need_no_controller() {
    need!(is_root(), "root");
    let bench = Bench::of("core", |h| h.version == Version::V2);
    need!(!bench.base.is_nowhere(), "v2");
    let group = bench.base.make(&bench.name).unwrap();
    let limits =
        [limit(Version::V2, "cgroup.max.descendants", "1"), limit(Version::V2, "cgroup.max.depth", "9")];
    assert!(group.apply(&limits).iter().all(|o| o.result == Ok(Applied::Written)));
    group.make(Path::new("one")).unwrap();
    let refused = group.make(Path::new("two")).unwrap_err();
    assert_eq!(refused.errno(), Some(sys::Errno::EAGAIN));
}

#[test]
fn what_a_failed_make_has_made_is_removed_again() {
    need!(is_root(), "root");
    let bench =
        Bench::of("undo", |h| h.version == Version::V2 || h.controllers.iter().any(|c| c == "freezer"));
    need!(bench.layout.kind() == Kind::Hybrid, "v2 and a v1 freezer");
    let group = bench.base.make(&bench.name).unwrap();
    group.apply(&[limit(Version::V2, "cgroup.max.depth", "1")]);
    assert!(group.make(Path::new("a/b")).is_err());
    assert!(group.open(Path::new("a")).unwrap().is_nowhere());
}

#[test]
fn usage_counts_what_the_group_did() {
    need!(is_root(), "root");
    let bench = Bench::new("usage");
    let group = bench.base.make(&bench.name).unwrap();
    let child = bench::busy_loop();
    group.place(child.pid()).unwrap();
    let end = Instant::now() + PATIENCE;
    while group.usage().cpu.unwrap() < Duration::from_millis(50) {
        assert!(Instant::now() < end, "{:?}", group.usage());
        std::thread::sleep(Duration::from_millis(20));
    }
    let usage = group.usage();
    if bench.has_v1("pids") {
        assert!(usage.tasks.unwrap() >= 1, "{usage:?}");
    }
    if bench.has_v1("memory") {
        assert!(usage.memory_peak.unwrap() > 0 && usage.memory_kernel.is_some(), "{usage:?}");
    }
    if bench.has_v1("blkio") {
        assert!(usage.io.is_some(), "{usage:?}");
    }
}
