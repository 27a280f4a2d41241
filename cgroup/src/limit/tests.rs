use super::*;
use std::fs;

use crate::access::Host;
use crate::group::BaseGroup;
use crate::layout::Layout;

/// A directory tree that looks like hierarchies, for what needs no kernel to answer.
struct Fake {
    dir: tempfile::TempDir,
    mounts: String,
    groups: String,
}

impl Fake {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), mounts: String::new(), groups: String::new() }
    }

    fn file(self, path: &str, text: &str) -> Self {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn mount(mut self, name: &str, options: &str, own: &str) -> Self {
        let filesystem = if options.is_empty() { "cgroup2" } else { "cgroup" };
        let at = self.dir.path().join(name);
        fs::create_dir_all(&at).unwrap();
        self.mounts += &format!("9 8 0:1 / {} rw - {filesystem} none rw,{options}\n", at.display());
        self.groups += &format!("1:{options}:{own}\n");
        self
    }

    fn line(mut self, line: &str) -> Self {
        self.groups += line;
        self
    }

    fn base(&self) -> BaseGroup {
        BaseGroup::open_base(Host::probe(&Layout::parse(&self.mounts, &self.groups))).unwrap()
    }
}

fn limit(version: Version, key: &str) -> Limit {
    Limit { version, key: key.to_owned(), value: "1M".to_owned() }
}

fn v2(key: &str) -> Limit {
    limit(Version::V2, key)
}

fn one(group: &Group, limit: Limit) -> Result<Applied, Refusal> {
    group.apply(&[limit]).remove(0).result
}

fn missing(refusal: Refusal) -> Missing {
    match *refusal.reason {
        Reason::Controller { missing, .. } => missing,
        other => panic!("{other:?}"),
    }
}

/// v2 whose root has memory, pids and io; the base has memory and pids; the group has pids.
fn unified() -> Fake {
    Fake::new()
        .mount("cg", "", "/base")
        .file("cg/cgroup.controllers", "io memory pids\n")
        .file("cg/base/cgroup.controllers", "memory pids\n")
        .file("cg/base/cgroup.procs", "")
        .file("cg/base/g/cgroup.controllers", "pids\n")
        .file("cg/base/g/pids.max", "max")
}

#[test]
fn a_limit_with_a_file_is_written() {
    let fake = unified();
    let group = fake.base().open(Path::new("g")).unwrap();
    assert_eq!(one(&group, v2("pids.max")), Ok(Applied::Written));
    assert_eq!(group.value(Version::V2, "pids.max").unwrap(), "1Mx");
}

#[test]
fn a_controller_is_told_where_it_was_lost() {
    let fake = unified();
    let (base, group) = (fake.dir.path().join("cg/base"), fake.base().open(Path::new("g")).unwrap());
    assert_eq!(missing(one(&group, v2("memory.max")).unwrap_err()), Missing::NotEnabled(base.clone()));
    assert_eq!(missing(one(&group, v2("io.max")).unwrap_err()), Missing::NotDelegated(base.clone()));
    assert_eq!(missing(one(&group, v2("rdma.max")).unwrap_err()), Missing::Everywhere);
    assert_eq!(*one(&group, v2("pids.typo")).unwrap_err().reason, Reason::NoFile);
    let fake = fake.file("cg/base/cgroup.procs", "12\n");
    let group = fake.base().open(Path::new("g")).unwrap();
    let refused = one(&group, v2("memory.max")).unwrap_err();
    assert!(refused.hint().unwrap().contains("systemd-run --user --scope"));
    assert_eq!(missing(refused), Missing::Occupied(base));
}

#[test]
fn a_controller_of_the_other_version_is_named_with_the_nearest_limit() {
    let fake = unified().mount("blkio", "blkio", "/").line("7:cpu:/\n");
    let fake = fake.file("cg/cgroup.controllers", "memory pids\n");
    let group = fake.base().open(Path::new("g")).unwrap();
    let refused = one(&group, v2("io.max")).unwrap_err();
    assert!(refused.hint().unwrap().contains("lxc.cgroup.blkio.throttle"));
    assert_eq!(missing(refused), Missing::OtherVersion(Version::V1));
    assert_eq!(missing(one(&group, v2("cpu.max")).unwrap_err()), Missing::Unmounted);
    let refused = one(&group, limit(Version::V1, "memory.limit_in_bytes")).unwrap_err();
    assert!(refused.hint().unwrap().contains("lxc.cgroup2.memory.max"));
    assert_eq!(missing(refused), Missing::OtherVersion(Version::V2));
}

#[test]
fn without_a_hierarchy_the_refusal_says_so() {
    let group = Fake::new().base().open(Path::new("g")).unwrap();
    assert!(group.is_nowhere());
    assert_eq!(*one(&group, v2("memory.max")).unwrap_err().reason, Reason::NoHierarchy(Version::V2));
}

#[test]
fn a_base_out_of_sight_is_the_reason() {
    let fake = Fake::new().mount("cg", "", "/../elsewhere").file("cg/cgroup.controllers", "memory\n");
    let group = fake.base().open(Path::new("g")).unwrap();
    let reason = *one(&group, v2("memory.max")).unwrap_err().reason;
    assert!(matches!(reason, Reason::NoAccess { verdict: Verdict::OutOfSight, .. }), "{reason:?}");
}

#[test]
fn what_is_no_limit_is_not_written() {
    let fake = unified().file("cg/base/g/cgroup.procs", "");
    let group = fake.base().open(Path::new("g")).unwrap();
    for key in ["cgroup.procs", "memory", ".max", "memory.", "pids.max/../x", "../pids.max", ""] {
        assert_eq!(*one(&group, v2(key)).unwrap_err().reason, Reason::NotALimit, "{key}");
    }
}

#[test]
fn device_rules_are_passed_over() {
    let group = Fake::new().base().open(Path::new("g")).unwrap();
    for version in [Version::V1, Version::V2] {
        assert_eq!(one(&group, limit(version, "devices.deny")), Ok(Applied::DeviceRuleSkipped));
    }
}

#[test]
fn the_limit_on_memory_and_swap_comes_last() {
    let group = Fake::new().base().open(Path::new("g")).unwrap();
    let keys = ["memory.memsw.limit_in_bytes", "pids.max", "memory.limit_in_bytes"];
    let outcomes = group.apply(&keys.map(|k| limit(Version::V1, k)));
    let order: Vec<_> = outcomes.iter().map(|o| o.limit.key.as_str()).collect();
    assert_eq!(order, [keys[1], keys[2], keys[0]]);
}

#[test]
fn controllers_are_enabled_one_by_one_below_the_root() {
    let fake = unified().file("cg/base/cgroup.type", "domain\n").file("cg/base/cgroup.subtree_control", "");
    let (_, kept) = fake.base().make_with_controllers(Path::new("new")).unwrap();
    assert_eq!(kept, []);
    // A file keeps the last word, where the kernel would collect them.
    let written = fs::read_to_string(fake.dir.path().join("cg/base/cgroup.subtree_control")).unwrap();
    assert!(written.starts_with("+pids"), "{written}");
}

#[test]
fn the_root_of_the_hierarchy_is_left_as_it_is() {
    let fake = unified().file("cg/base/cgroup.subtree_control", "");
    let (_, kept) = fake.base().make_with_controllers(Path::new("new")).unwrap();
    assert!(kept.iter().all(|k| k.why == crate::KeptBackWhy::Root) && kept.len() == 2, "{kept:?}");
    assert_eq!(fs::read_to_string(fake.dir.path().join("cg/base/cgroup.subtree_control")).unwrap(), "");
}

#[test]
fn hosts_and_handles_survive_serialisation() {
    let fake = unified();
    let handle = fake.base().open(Path::new("g")).unwrap().handle();
    let text = serde_json::to_string(&handle).unwrap();
    assert_eq!(serde_json::from_str::<crate::Handle>(&text).unwrap(), handle);
}

#[test]
fn a_handle_whose_path_is_no_cgroup_any_more_opens_as_nowhere() {
    let fake = unified();
    let handle = fake.base().open(Path::new("g")).unwrap().handle();
    assert!(handle.open().unwrap().is_nowhere());
}
