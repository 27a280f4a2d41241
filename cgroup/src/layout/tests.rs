use super::*;

/// A development machine with Debian 12: a hierarchy for every v1 controller, and v2 beside them.
const HYBRID_MOUNTS: &str = "\
23 1 0:22 / /sys rw,relatime - sysfs sysfs rw
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
33 31 0:30 / /sys/fs/cgroup/cpuacct rw,relatime - cgroup cgroup rw,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";
const HYBRID_GROUPS: &str = "9:name=systemd:/\n4:memory:/jobs/7\n2:cpuacct:/\n1:cpu:/\n0::/\n";

/// A session on Debian 13.
const UNIFIED_MOUNTS: &str = "\
22 28 0:20 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw
28 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro
30 22 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot
";
const UNIFIED_GROUPS: &str = "0::/user.slice/user-1000.slice/session-3.scope\n";

/// Ubuntu 20.04: bundles, and v2 without controllers.
const UBUNTU_MOUNTS: &str = "\
34 25 0:29 / /sys/fs/cgroup ro,nosuid,nodev,noexec shared:9 - tmpfs tmpfs ro,mode=755
35 34 0:30 / /sys/fs/cgroup/unified rw,nosuid,nodev,noexec,relatime shared:10 - cgroup2 cgroup2 rw,nsdelegate
36 34 0:31 / /sys/fs/cgroup/systemd rw,nosuid,nodev,noexec,relatime shared:11 - cgroup cgroup rw,xattr,name=systemd
40 34 0:35 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid,nodev,noexec,relatime shared:16 - cgroup cgroup rw,cpu,cpuacct
41 34 0:36 / /sys/fs/cgroup/net_cls,net_prio rw,nosuid,nodev,noexec,relatime shared:17 - cgroup cgroup rw,net_cls,net_prio
";
const UBUNTU_GROUPS: &str = "\
12:net_cls,net_prio:/
5:cpu,cpuacct:/user.slice
1:name=systemd:/user.slice/user-1000.slice/session-1.scope
0::/user.slice/user-1000.slice/session-1.scope
";

/// CentOS 7: v1 alone, the bundle in the kernel's order.
const CENTOS_MOUNTS: &str = "\
25 17 0:20 / /sys/fs/cgroup ro,nosuid,nodev,noexec shared:8 - tmpfs tmpfs ro,mode=755
26 25 0:21 / /sys/fs/cgroup/systemd rw,nosuid,nodev,noexec,relatime shared:9 - cgroup cgroup rw,xattr,release_agent=/usr/lib/systemd/systemd-cgroups-agent,name=systemd
29 25 0:24 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid,nodev,noexec,relatime shared:12 - cgroup cgroup rw,cpuacct,cpu
";
const CENTOS_GROUPS: &str =
    "4:cpuacct,cpu:/user.slice\n1:name=systemd:/user.slice/user-0.slice/session-9.scope\n";

fn controllers(layout: &Layout) -> Vec<String> {
    layout.hierarchies.iter().map(Hierarchy::label).collect()
}

fn own_dirs(layout: &Layout) -> Vec<Option<PathBuf>> {
    layout.hierarchies.iter().map(Hierarchy::own_dir).collect()
}

fn only(mountinfo: &str, groups: &str) -> Hierarchy {
    let mut layout = Layout::parse(mountinfo, groups);
    assert_eq!(layout.hierarchies.len(), 1, "{layout:?}");
    layout.hierarchies.remove(0)
}

#[test]
fn a_hybrid_machine_has_a_hierarchy_for_each_controller_and_v2() {
    let layout = Layout::parse(HYBRID_MOUNTS, HYBRID_GROUPS);
    assert_eq!(layout.kind(), Kind::Hybrid);
    assert_eq!(controllers(&layout), ["cpu", "cpuacct", "memory", "name=systemd", "cgroup2"]);
    assert_eq!(own_dirs(&layout)[2].as_deref(), Some(Path::new("/sys/fs/cgroup/memory/jobs/7")));
    assert_eq!(own_dirs(&layout)[4].as_deref(), Some(Path::new("/sys/fs/cgroup/unified")));
    assert!(layout.unmounted.is_empty());
}

#[test]
fn a_session_of_a_pure_v2_machine_has_one_hierarchy() {
    let layout = Layout::parse(UNIFIED_MOUNTS, UNIFIED_GROUPS);
    assert_eq!(layout.kind(), Kind::Unified);
    let own = PathBuf::from("/sys/fs/cgroup/user.slice/user-1000.slice/session-3.scope");
    assert_eq!(own_dirs(&layout), [Some(own)]);
}

#[test]
fn bundles_keep_the_order_of_the_kernel() {
    let ubuntu = Layout::parse(UBUNTU_MOUNTS, UBUNTU_GROUPS);
    assert_eq!(ubuntu.kind(), Kind::Hybrid);
    assert_eq!(controllers(&ubuntu), ["name=systemd", "cpu,cpuacct", "net_cls,net_prio", "cgroup2"]);
    let centos = Layout::parse(CENTOS_MOUNTS, CENTOS_GROUPS);
    assert_eq!(centos.kind(), Kind::V1);
    assert_eq!(controllers(&centos), ["name=systemd", "cpuacct,cpu"]);
    assert_eq!(own_dirs(&centos)[1].as_deref(), Some(Path::new("/sys/fs/cgroup/cpu,cpuacct/user.slice")));
}

#[test]
fn a_pure_v2_view_beside_unmounted_v1_names_what_v2_cannot_have() {
    let mounts = "900 800 0:38 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw\n";
    let layout = Layout::parse(mounts, HYBRID_GROUPS);
    assert_eq!(layout.kind(), Kind::Unified);
    assert_eq!(layout.unmounted, ["name=systemd", "memory", "cpuacct", "cpu"]);
}

#[test]
fn nothing_mounted_is_a_layout_too() {
    let layout = Layout::parse("28 1 8:1 / / rw - ext4 /dev/sda1 rw\nnonsense\n\n", UNIFIED_GROUPS);
    assert_eq!(layout.kind(), Kind::None);
    assert_eq!(Layout::parse("", ""), Layout::default());
}

#[test]
fn in_a_docker_container_with_a_cgroup_namespace_the_own_group_is_the_root() {
    let mounts = "\
        1500 1400 0:112 / / rw,relatime - overlay overlay rw\n\
        1520 1500 0:26 / /sys/fs/cgroup ro,nosuid,nodev,noexec,relatime - cgroup2 cgroup rw,nsdelegate\n";
    assert_eq!(only(mounts, "0::/\n").own_dir(), Some("/sys/fs/cgroup".into()));
}

#[test]
fn in_a_docker_container_without_one_the_mount_begins_at_the_own_group() {
    let line = "720 715 0:31 /docker/4f /sys/fs/cgroup/memory ro,nosuid - cgroup cgroup rw,memory\n";
    assert_eq!(only(line, "6:memory:/docker/4f\n").own_dir(), Some("/sys/fs/cgroup/memory".into()));
    assert_eq!(only(line, "6:memory:/docker/4f/in\n").own_dir(), Some("/sys/fs/cgroup/memory/in".into()));
    assert_eq!(only(line, "6:memory:/docker/4fa\n").own_path, None);
}

#[test]
fn paths_through_the_top_of_a_cgroup_namespace_are_followed_or_unknown() {
    let cases = [
        ("/", "/a", Some("a")),
        ("/", "/../a", None),
        ("/..", "/../a", Some("a")),
        ("/..", "/..", Some("")),
        ("/..", "/", None),
        ("/../..", "/../a", None),
        ("/..", "/../../a", None),
        ("/", "/gone (deleted)", None),
    ];
    for (root, own, expected) in cases {
        let found = relative_to(Path::new(own), Path::new(root));
        assert_eq!(found.as_deref(), expected.map(Path::new), "root {root}, own {own}");
    }
}

#[test]
fn of_several_mounts_the_one_that_shows_the_own_group_counts() {
    let partial = "50 23 0:38 /other /mnt/part rw - cgroup2 cgroup2 rw\n";
    let whole = "51 23 0:38 / /mnt/whole rw - cgroup2 cgroup2 rw\n";
    let again = "52 23 0:38 / /mnt/again rw - cgroup2 cgroup2 rw\n";
    for text in [format!("{partial}{whole}{again}"), format!("{whole}{again}{partial}")] {
        assert_eq!(only(&text, "0::/a\n").mountpoint, Path::new("/mnt/whole"));
    }
    assert_eq!(only(&format!("{partial}{whole}"), "0::/other/a\n").mountpoint, Path::new("/mnt/whole"));
    assert_eq!(only(partial, "0::/other/a\n").own_path, Some("a".into()));
}

#[test]
fn a_mounted_hierarchy_without_a_line_is_kept_with_its_group_unknown() {
    let mounts =
        "35 31 0:32 / /cg/x rw - cgroup cgroup rw,xattr,clone_children,release_agent=/bin/x,name=mine\n";
    let found = only(mounts, "0::/\n");
    assert_eq!((found.label().as_str(), found.own_path), ("name=mine", None));
}

#[test]
fn a_mount_that_is_covered_by_another_is_out_of_sight() {
    // A tmpfs with v1 hierarchies in it, and v2 mounted over the whole.
    let covered = format!("{HYBRID_MOUNTS}60 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
    let layout = Layout::parse(&covered, HYBRID_GROUPS);
    assert_eq!(layout.kind(), Kind::Unified);
    assert_eq!(layout.hierarchies[0].mountpoint, Path::new("/sys/fs/cgroup"));
}

#[test]
fn an_older_mount_that_was_moved_onto_a_newer_one_is_in_sight() {
    let moved = "\
        22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
        23 22 0:22 / /sys rw - sysfs sysfs rw\n\
        31 90 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
        41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
        90 23 0:60 / /sys rw - sysfs sysfs rw\n";
    assert_eq!(only(moved, "0::/\n").mountpoint, Path::new("/sys/fs/cgroup/unified"));
}

#[test]
fn escapes_in_mountpoints_are_resolved() {
    let mounts = "41 31 0:38 / /a\\040b\\134c\\011\\x rw - cgroup2 cgroup2 rw\n";
    assert_eq!(only(mounts, "0::/x:y\n").own_dir(), Some("/a b\\c\t\\x/x:y".into()));
    assert_eq!(unescape("a\\"), "a\\");
    assert_eq!(unescape("\\0äx\\777"), "\\0äx\\777");
}

#[test]
fn root_gets_the_base_of_lxc() {
    assert_eq!(Base::of_lxc(true, false), Base::Init);
    assert_eq!(Base::of_lxc(true, true), Base::Own);
    assert_eq!(Base::of_lxc(false, false), Base::Own);
}
