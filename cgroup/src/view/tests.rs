//! Groups made of plain directories: what the kernel would write stands in their files.

use std::fs;

use super::texts::{disks_v1, disks_v2, events, nodes, quota};
use super::*;
use crate::access::Host;

/// A hierarchy in a directory, in which `cgroup.procs` makes a group of a directory.
struct Tree(tempfile::TempDir);

impl Tree {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn group(self, path: &str, files: &[(&str, &str)]) -> Self {
        let dir = self.0.path().join(path);
        fs::create_dir_all(&dir).unwrap();
        for (name, text) in files.iter().chain(&[("cgroup.procs", "")]) {
            fs::write(dir.join(name), text).unwrap();
        }
        self
    }

    fn directory(&self, version: Version, controllers: &[&str], path: &str) -> Directory {
        let controllers = controllers.iter().map(|c| (*c).to_owned()).collect();
        Directory { version, controllers, dir: path::open_dir(&self.0.path().join(path)).unwrap() }
    }

    fn v2(&self, path: &str) -> View {
        View::new(vec![self.directory(Version::V2, &[], path)])
    }

    fn v1(&self, controllers: &[&str], path: &str) -> View {
        View::new(vec![self.directory(Version::V1, controllers, path)])
    }
}

fn memory(view: &View) -> (Limits, Option<MemoryUsage>) {
    let (mut limits, mut usage) = (Limits::default(), Usage::default());
    view.memory(&mut limits, &mut usage).unwrap();
    (limits, usage.memory)
}

#[test]
fn the_least_limit_above_counts_on_v2() {
    let own = [
        ("memory.max", "max\n"),
        ("memory.current", "4096\n"),
        ("memory.stat", "anon 1\nfile 2\nfile_mapped 3\n"),
    ];
    let tree = Tree::new()
        .group("a", &[("memory.max", "1000\n"), ("memory.swap.max", "max\n")])
        .group("a/b", &[("memory.max", "3000\n"), ("memory.swap.max", "77\n")])
        .group("a/b/c", &[&own[..], &[("memory.swap.max", "99\n"), ("memory.swap.current", "5\n")]].concat());
    let (limits, usage) = memory(&tree.v2("a/b/c"));
    assert_eq!((limits.memory, limits.swap), (Some(1000), Some(77)));
    let usage = usage.unwrap();
    assert_eq!((usage.total, usage.swap), (4096, Some(5)));
    assert_eq!([Part::Anon, Part::File, Part::Mapped].map(|part| usage.parts.get(part)), [1, 2, 3]);
}

#[test]
fn what_siblings_use_of_a_limit_above_is_not_left() {
    let above = [
        ("memory.max", "1000\n"),
        ("memory.current", "950\n"),
        ("memory.stat", "anon 900\ninactive_file 30\nactive_file 7\nslab_reclaimable 2\n"),
        ("memory.swap.max", "500\n"),
        ("memory.swap.current", "480\n"),
    ];
    let own = [("memory.max", "max\n"), ("memory.current", "50\n"), ("memory.stat", "anon 50\n")];
    let tree = Tree::new().group("a", &above).group("a/b", &[("memory.max", "max\n")]).group("a/b/c", &own);
    let (limits, usage) = memory(&tree.v2("a/b/c"));
    assert_eq!((limits.memory, limits.memory_left, limits.swap_left), (Some(1000), Some(89), Some(20)));
    assert_eq!(usage.unwrap().total, 50);
    // What the group itself has not used says the difference between its limit and its use.
    assert_eq!(memory(&tree.v2("a")).0.memory_left, None);
}

#[test]
fn without_the_controller_nothing_is_told() {
    let tree = Tree::new().group("a", &[("cpu.stat", "usage_usec 9\nuser_usec 5\nsystem_usec 4\n")]);
    let view = tree.v2("a");
    assert_eq!(memory(&view), (Limits::default(), None));
    assert_eq!(view.cpu_time().unwrap(), Some(CpuTime { user: 5000, system: 4000, each: None }));
    assert_eq!((view.cpus().unwrap(), view.disks().unwrap()), (None, None));
}

#[test]
fn v1_tells_the_least_limit_itself_and_swap_is_the_rest() {
    let stat = "cache 1\nhierarchical_memory_limit 1000\nhierarchical_memsw_limit 1500\ntotal_cache 7\ntotal_swap 3\n";
    let tree = Tree::new().group("a", &[("memory.stat", stat), ("memory.usage_in_bytes", "600\n")]);
    let (limits, usage) = memory(&tree.v1(&["memory"], "a"));
    assert_eq!((limits.memory, limits.swap), (Some(1000), Some(500)));
    let usage = usage.unwrap();
    assert_eq!((usage.total, usage.swap, usage.parts.get(Part::File)), (600, Some(3), 7));
    let unlimited =
        "hierarchical_memory_limit 9223372036854771712\nhierarchical_memsw_limit 9223372036854771712\n";
    let free = Tree::new().group("a", &[("memory.stat", unlimited), ("memory.usage_in_bytes", "6\n")]);
    assert_eq!(memory(&free.v1(&["memory"], "a")).0, Limits::default());
    let plain =
        Tree::new().group("a", &[("memory.stat", "total_swap 0\n"), ("memory.usage_in_bytes", "6\n")]);
    let (limits, usage) = memory(&plain.v1(&["memory"], "a"));
    assert_eq!((limits, usage.unwrap().swap), (Limits::default(), None));
}

#[test]
fn on_a_hybrid_host_each_controller_is_asked_where_it_is() {
    let v1 = Tree::new().group("a", &[("cpuacct.usage_all", "cpu user system\n0 10 1\n1 20 2\n")]);
    let v2 = Tree::new()
        .group("a", &[("cpu.stat", "user_usec 1\nsystem_usec 1\n"), ("io.stat", "8:0 rbytes=512 rios=1\n")]);
    let view = View::new(vec![
        v1.directory(Version::V1, &["cpu", "cpuacct"], "a"),
        v2.directory(Version::V2, &[], "a"),
    ]);
    let time = view.cpu_time().unwrap().unwrap();
    assert_eq!((time.user, time.system, time.each.unwrap().len()), (30, 3, 2));
    assert_eq!(view.disks().unwrap().unwrap()[0].read, (512, 1));
}

#[test]
fn processors_are_those_that_are_had_of_the_nearest_group_that_tells() {
    let tree = Tree::new()
        .group("a", &[("cpuset.cpus.effective", "0-1\n"), ("cpuset.cpus", "0-7\n")])
        .group("a/b", &[("cpuset.cpus", "0-3\n")]);
    assert_eq!(tree.v2("a/b").cpus().unwrap().unwrap().to_string(), "0-1");
    let v1 = Tree::new().group("a", &[("cpuset.effective_cpus", "1\n"), ("cpuset.cpus", "0-1\n")]);
    assert_eq!(v1.v1(&["cpuset"], "a").cpus().unwrap().unwrap().to_string(), "1");
}

#[test]
fn processors_are_those_of_the_users_own_group_where_he_may_make_none() {
    let tree = Tree::new().group(
        "user",
        &[("cpuset.effective_cpus", "1\n"), ("cpuacct.usage_all", "cpu user system\n0 10 1\n")],
    );
    let shown = |verdict| {
        let access = Access {
            version: Version::V1,
            label: "cpuset,cpuacct".to_owned(),
            dir: tree.0.path().join("user"),
            controllers: vec!["cpuset".to_owned(), "cpuacct".to_owned()],
            offered: Vec::new(),
            verdict,
        };
        let host = Host { accesses: vec![access], ..Host::default() };
        let view = View::new(Group { host: host.into(), members: Vec::new() }.directories_to_view().unwrap());
        // Time and tasks are those of all who are there.
        assert_eq!(view.cpu_time().unwrap(), None);
        assert!(view.tasks().unwrap().is_none());
        view.cpus().unwrap().map(|cpus| cpus.to_string())
    };
    let refused = Verdict::Refused { name: ".".into(), call: "faccessat".to_owned(), errno: 13 };
    assert_eq!(shown(refused).as_deref(), Some("1"));
    assert_eq!([shown(Verdict::OutOfSight), shown(Verdict::Usable)], [None, None]);
}

#[test]
fn disks_are_told_in_bytes_and_operations() {
    let bytes = "8:0 Read 100\n8:0 Write 5\n8:0 Discard 9\n8:0 Total 114\n254:1 Read 1\nTotal 115\n";
    let operations = "8:0 Read 3\n8:0 Write 2\n8:0 Discard 1\n";
    let (read, written, discarded) = ((100, 3), (5, 2), (9, 1));
    let found = disks_v1(bytes, operations);
    assert_eq!(found[0], DiskUsage { device: (8, 0), read, written, discarded });
    assert_eq!((found.len(), found[1].device, found[1].read), (2, (254, 1), (1, 0)));
    let v2 = "8:0 rbytes=100 wbytes=5 rios=3 wios=2 dbytes=9 dios=1\n254:1 rbytes=1\nbroken\n";
    assert_eq!(disks_v2(v2), found);
}

#[test]
fn a_file_is_read_anew_each_time_and_whatever_its_length() {
    let tree = Tree::new().group("a", &[("cpuset.cpus.effective", "0\n")]);
    let view = tree.v2("a");
    assert_eq!(view.cpus().unwrap().unwrap().count(), 1);
    let file = tree.0.path().join("a/cpuset.cpus.effective");
    let many: Vec<String> = (0..4000).map(|n| (n * 2).to_string()).collect();
    fs::write(&file, many.join(",")).unwrap();
    assert_eq!(view.cpus().unwrap().unwrap().count(), 4000);
}

#[test]
fn a_file_that_cannot_be_read_any_more_is_opened_once_more() {
    let tree = Tree::new().group("a", &[("cpuset.cpus.effective", "0-1\n")]);
    let files = Files::of(path::open_dir(&tree.0.path().join("a")).unwrap());
    // A directory cannot be read, as the file of a controller that has been disabled cannot.
    let stale = path::open_dir(tree.0.path()).unwrap();
    files.opened.borrow_mut().push(("cpuset.cpus.effective", stale));
    assert_eq!(files.text("cpuset.cpus.effective").unwrap().as_deref(), Some("0-1\n"));
    assert_eq!(files.opened.borrow().len(), 1);
}

#[test]
fn a_file_that_is_there_and_cannot_be_read_is_an_error_and_no_limit_that_vanishes() {
    let tree = Tree::new()
        .group("a", &[("memory.stat", "anon 1\n"), ("memory.current", "1\n"), ("cpu.stat", "")])
        .group("a/b", &[("memory.stat", "anon 1\n"), ("memory.current", "1\n")]);
    // It can be opened and not be read.
    fs::create_dir(tree.0.path().join("a/memory.max")).unwrap();
    let view = tree.v2("a/b");
    let (mut limits, mut usage) = (Limits::default(), Usage::default());
    let failed = view.memory(&mut limits, &mut usage).unwrap_err();
    assert_eq!(failed.errno(), Errno::EISDIR);
    assert_eq!(view.cpu_time().unwrap(), None);
    let gone = |errno| told::<()>(Err(sys::Error::new("reading".to_owned(), errno)));
    assert!(gone(Errno::ENODEV).unwrap().is_none() && gone(Errno::ENOENT).unwrap().is_none());
    assert!(gone(Errno::EMFILE).is_err() && gone(Errno::ENOMEM).is_err() && gone(Errno::EIO).is_err());
}

#[test]
fn groups_above_are_opened_when_they_have_a_say() {
    let tree = Tree::new().group("a", &[]).group(
        "a/b",
        &[("cpuset.effective_cpus", "1\n"), ("memory.stat", "cache 1\n"), ("memory.usage_in_bytes", "1\n")],
    );
    let view = tree.v1(&["cpuset", "memory"], "a/b");
    assert!(view.cpus().unwrap().is_some() && memory(&view).1.is_some());
    assert!(view.v1[0].1.above.get().is_none());
    assert_eq!(view.nodes().unwrap(), None);
    assert_eq!(view.v1[0].1.above.get().map(Vec::len), Some(1));
}

#[test]
fn what_is_above_the_hierarchy_is_no_group() {
    let tree = Tree::new().group("a/b", &[]);
    // `a` has no cgroup.procs: as if the mount ended there.
    let Some(line) = tree.v2("a/b").unified else { panic!("it has a v2 line") };
    assert_eq!(line.above().unwrap().len(), 0);
}

#[test]
fn each_part_has_its_place() {
    assert!(texts::PARTS.iter().enumerate().all(|(at, (part, ..))| *part as usize == at));
    let one = MemoryParts::default().with(Part::Zswapped, 5);
    assert_eq!((one.get(Part::Zswapped), one.get(Part::Zswap)), (5, 0));
}

#[test]
fn the_least_quota_above_counts_and_none_is_no_limit() {
    assert_eq!(
        [quota("150000", "100000\n"), quota("max", "100000"), quota("-1\n", "100000")],
        [Some(1500), None, None]
    );
    assert_eq!(
        [quota("1", "0"), quota("", ""), quota("18446744073709551615", "1")],
        [None, None, Some(u64::MAX)]
    );
    let tree =
        Tree::new().group("a", &[("cpu.max", "50000 100000\n")]).group("a/b", &[("cpu.max", "max 100000\n")]);
    assert_eq!(tree.v2("a/b").quota().unwrap(), Some(500));
    let files = [("cpu.cfs_quota_us", "200000\n"), ("cpu.cfs_period_us", "100000\n")];
    let v1 = Tree::new()
        .group("a", &files)
        .group("a/b", &[("cpu.cfs_quota_us", "-1\n"), ("cpu.cfs_period_us", "100000\n")]);
    assert_eq!(v1.v1(&["cpu"], "a/b").quota().unwrap(), Some(2000));
    assert_eq!(Tree::new().group("a", &[]).v2("a").quota().unwrap(), None);
}

#[test]
fn the_memory_of_each_node_is_told_on_both_versions() {
    let v2 =
        "anon N0=4096 N1=8192\nfile N0=1 N1=2\nfile_mapped N0=1\nworkingset_x N0=7\nbroken\nanon N9999=1\n";
    let found = nodes(v2, Version::V2);
    assert_eq!(found.keys().collect::<Vec<_>>(), [&0, &1]);
    assert_eq!(
        (found[&1].total, found[&1].parts.get(Part::Anon), found[&0].parts.get(Part::Mapped)),
        (8194, 8192, 1)
    );
    let v1 = "total=9 N0=9\nhierarchical_total=3 N0=1 N1=2\nhierarchical_anon=1 N0=1 N1=0\n";
    let found = nodes(v1, Version::V1);
    assert_eq!((found[&0].total, found[&1].total, found[&0].parts.get(Part::Anon)), (4096, 8192, 4096));
}

#[test]
fn events_have_the_names_of_vmstat() {
    let v2 = events("anon 4\npgfault 7\npgmajfault 1\nworkingset_nodes 3\n", Version::V2);
    assert_eq!((v2.len(), v2["pgfault"], v2["workingset_nodes"]), (3, 7, 3));
    let v1 = events("pgfault 1\ntotal_pgfault 7\ntotal_pgpgin 5\n", Version::V1);
    assert_eq!((v1.len(), v1["pgfault"]), (1, 7));
}

#[test]
fn tasks_are_those_of_the_group_and_of_all_below_it() {
    let tree =
        Tree::new().group("a", &[("cgroup.threads", "5\n0\n")]).group("a/b", &[("cgroup.threads", "7\n8\n")]);
    let tasks = tree.v2("a").tasks().unwrap().unwrap();
    assert_eq!((tasks.list(10, 10), tasks.list(2, 10)), (vec![5, 7, 8], vec![5, 7]));
    // Of so many groups, the first of which is its own.
    assert_eq!(tasks.list(10, 1), [5]);
    let v1 = Tree::new().group("a", &[("tasks", "3\n")]);
    assert_eq!(v1.v1(&["memory"], "a").tasks().unwrap().unwrap().list(9, 9), [3]);
}

#[test]
fn pressure_is_told_by_v2_alone() {
    let tree = Tree::new().group("a", &[("io.pressure", "some avg10=1.00 avg60=0.00 avg300=0.00 total=5\n")]);
    assert!(tree.v2("a").pressure("io.pressure").unwrap().unwrap().starts_with("some avg10=1.00"));
    assert_eq!(tree.v2("a").pressure("cpu.pressure").unwrap(), None);
    assert_eq!(tree.v1(&["blkio"], "a").pressure("io.pressure").unwrap(), None);
}

proptest::proptest! {
    #[test]
    fn no_text_makes_a_parser_panic(text in "([a-z_]{0,8}[ =:]?N?[0-9]{0,22}[ \n]?){0,20}|.{0,80}") {
        for version in [Version::V1, Version::V2] {
            let _each = (MemoryParts::parse(&text, version), events(&text, version), nodes(&text, version));
        }
        let _each = (CpuTime::parse_v1(&text), CpuTime::parse_v2(&text), disks_v1(&text, &text), disks_v2(&text));
        let _each = (quota(&text, &text), CpuList::parse(&text));
    }
}
