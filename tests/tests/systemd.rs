//! Containers of a user whose systemd has v2 controllers delegated to it: in the virtual machine.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use tests::vm::{From, Guest, await_that, field, read};

tests::claims_of_a_modern_host! {
    a_container_is_in_a_scope_from_wherever_it_is_started;
    a_scope_has_the_controllers_that_debian_delegates_and_doctor_names_the_others, not lxc "it has no doctor";
    without_a_systemd_of_the_users_a_container_runs_where_it_may, not lxc "it does not say so, and has no doctor";
    a_container_may_stay_below_the_cgroup_of_its_starter, not lxc "6.0.4 asks for a scope all the same";
    a_container_ends_with_the_last_session_of_its_user;
    a_killed_monitor_leaves_nothing;
    a_killed_monitor_leaves_nothing_after_the_next_command_where_the_container_made_cgroups, not lxc "the payload's cgroup stays";
    a_frozen_container_is_frozen_until_it_is_thawed;
    another_session_of_the_user_runs_commands_inside, not lxc "attached programs are in a cgroup /.lxc inside";
    a_reboot_keeps_the_scope;
    what_shows_a_container_its_limits_has_a_scope_of_its_own, not lxc "lxcfs is a service of root's";
    the_monitor_goes_to_a_leaf_of_the_scope_and_its_caller_stays, not lxc "its monitor is another program";
    all_that_runs_in_a_container_ends_when_it_is_killed, not lxc "the claim counts in the payload's own cgroup, where attached programs are not";
}

const NOTHING: [&Path; 0] = [];

/// The controllers that a container's limits are about.
const CONTROLLERS: [&str; 5] = ["cpu", "cpuset", "io", "memory", "pids"];

fn a_container_is_in_a_scope_from_wherever_it_is_started(guest: &Guest) {
    for from in [From::Service, From::Session, From::Su, From::Job] {
        guest.start_web_of(from, "ana", &[]).succeeds();
        let payload = guest.payload();
        let place = format!("/user@1000.service/app.slice/{}/lxc.payload.web", guest.scope());
        assert!(payload.to_string_lossy().ends_with(&place), "{from:?}: {payload:?}");
        let has = read(&payload.join("cgroup.controllers"));
        assert!(CONTROLLERS.iter().all(|wanted| has.split_whitespace().any(|c| c == *wanted)), "{has}");
        guest
            .run(from, "ana", "lxc-attach -n web -- true && lxc-stop -n web -k && lxc-destroy -n web")
            .succeeds();
        assert_eq!(guest.await_nothing(), NOTHING, "{from:?}");
    }
}

fn a_scope_has_the_controllers_that_debian_delegates_and_doctor_names_the_others(guest: &Guest) {
    let limits = ["lxc.cgroup2.memory.max=50M", "lxc.cgroup2.pids.max=50", "lxc.cgroup2.cpu.weight=50"];
    let script = format!(
        "{} && lxc-stop -n web -k; bryo start web --net loopback --define lxc.cgroup2.cpuset.cpus=0; bryo doctor; true",
        guest.making_web(&limits)
    );
    guest
        .run(From::Session, "ben", &script)
        .succeeds()
        .tells("cpuset.cpus: the controller cpuset is not delegated to")
        .tells("user@1001.service/cgroup.controllers lacks cpuset and io")
        .tells("Delegate=cpu cpuset io memory pids");
}

fn without_a_systemd_of_the_users_a_container_runs_where_it_may(guest: &Guest) {
    let gone = || !Path::new("/run/user/1001/systemd/private").exists();
    assert!(await_that(gone), "ben's systemd runs on without a session of his");
    guest.start_web_of(From::Job, "ben", &[]).succeeds().tells("cgroup none");
    guest.run(From::Job, "ben", "bryo doctor; lxc-stop -n web -k").tells("sudo loginctl enable-linger ben");
}

fn a_container_may_stay_below_the_cgroup_of_its_starter(guest: &Guest) {
    let script = guest.making_web(&["lxc.cgroup.relative=1"]);
    guest.ana(&format!("{script} && cat /proc/self/cgroup; grep . /sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup)/lxc.payload.web/cgroup.procs && lxc-stop -n web -k")).succeeds();
}

fn a_container_ends_with_the_last_session_of_its_user(guest: &Guest) {
    guest.start_web_of(From::Session, "ben", &[]).succeeds();
    assert!(guest.payload().to_string_lossy().contains("/user@1001.service/"), "{:?}", guest.groups());
    assert_eq!(guest.await_nothing(), NOTHING);
}

fn a_killed_monitor_leaves_nothing(guest: &Guest) {
    guest.start_web(&[]).succeeds();
    guest.kill_monitors();
    assert_eq!(guest.await_nothing(), NOTHING);
}

fn a_killed_monitor_leaves_nothing_after_the_next_command_where_the_container_made_cgroups(guest: &Guest) {
    guest.start_web(&[]).succeeds();
    guest.ana("lxc-attach -n web -- mkdir -p /sys/fs/cgroup/a/b").succeeds();
    guest.kill_monitors();
    guest.ana("lxc-destroy -n web -f").succeeds();
    assert_eq!(guest.await_nothing(), NOTHING);
}

fn a_frozen_container_is_frozen_until_it_is_thawed(guest: &Guest) {
    guest.start_web(&[]).succeeds();
    guest.ana("lxc-freeze -n web").succeeds();
    let events = guest.payload().join("cgroup.events");
    assert_eq!(field(&events, "frozen"), 1);
    guest.run(From::Session, "ana", "lxc-unfreeze -n web").succeeds();
    assert_eq!(field(&events, "frozen"), 0);
    guest.ana("lxc-freeze -n web && lxc-stop -n web -k").succeeds();
}

fn another_session_of_the_user_runs_commands_inside(guest: &Guest) {
    guest.start_web(&[]).succeeds();
    let script = "lxc-attach -n web -- sh -c 'cat /proc/1/comm /proc/self/cgroup'";
    for from in [From::Session, From::Job] {
        guest.run(from, "ana", script).succeeds().says("init\n0::/");
    }
    guest.ana("lxc-stop -n web -k").succeeds();
}

fn a_reboot_keeps_the_scope(guest: &Guest) {
    guest.start_web(&[]).succeeds();
    let payload = guest.payload();
    let scope = payload.parent().unwrap_or(&payload);
    let number = || fs::metadata(scope).map(|found| found.ino()).ok();
    let (before, first) = (number(), read(&payload.join("cgroup.procs")));
    // The command may end with the container.
    guest.ana("lxc-attach -n web -- reboot; true").succeeds();
    let is_another = || {
        let procs = fs::read_to_string(payload.join("cgroup.procs")).unwrap_or_default();
        !procs.is_empty() && procs.lines().next() != first.lines().next()
    };
    assert!(await_that(is_another), "it has not rebooted: {first}");
    guest.ana("lxc-attach -n web -- true").succeeds();
    assert!(before.is_some() && number() == before);
    guest.ana("lxc-stop -n web -k").succeeds();
}

fn what_shows_a_container_its_limits_has_a_scope_of_its_own(guest: &Guest) {
    let limits =
        ["lxc.cgroup2.memory.max=100M", "lxc.cgroup2.cpuset.cpus=0", "lxc.cgroup2.cpu.max=50000 100000"];
    guest.start_web(&limits).succeeds();
    let has_own = || guest.groups().iter().any(|group| group.ends_with("app.slice/bryo-lxcfs.scope"));
    assert!(has_own(), "{:?}", guest.groups());
    let seen = "grep MemTotal /proc/meminfo; grep -c ^processor /proc/cpuinfo; grep -c ^cpu[0-9] /proc/stat";
    guest
        .ana(&format!("lxc-attach -n web -- sh -c '{seen}'; lxc-stop -n web -k"))
        .succeeds()
        .says("MemTotal:         102400 kB\n1\n1");
}

fn the_monitor_goes_to_a_leaf_of_the_scope_and_its_caller_stays(guest: &Guest) {
    let place = "cut -d: -f3 /proc/self/cgroup";
    let script = format!("before=$({place}); {}; [ \"$({place})\" = \"$before\" ]", guest.making_web(&[]));
    guest.run(From::Session, "ana", &script).succeeds();
    let payload = guest.payload();
    let scope = payload.parent().unwrap_or(&payload);
    assert_eq!(read(&scope.join("cgroup.procs")), "");
    let monitor = read(&scope.join("lxc.monitor.web/cgroup.procs"));
    assert_eq!(read(&Path::new("/proc").join(monitor.trim()).join("comm")), "bryo-monitor\n");
    assert!(!read(&payload.join("cgroup.procs")).is_empty());
    guest.ana("lxc-stop -n web -k").succeeds();
}

fn all_that_runs_in_a_container_ends_when_it_is_killed(guest: &Guest) {
    guest.start_web(&[]).succeeds();
    let stubborn = "trap \"\" HUP INT TERM; while :; do sleep 1000; done";
    let script =
        format!("for n in 1 2 3; do setsid sh -c '\\''{stubborn}'\\'' >/dev/null 2>&1 & done; sleep 1");
    guest.ana(&format!("lxc-attach -n web -- sh -c '{script}'")).succeeds();
    let processes = read(&guest.payload().join("cgroup.procs"));
    assert!(processes.lines().count() > 6, "{processes}");
    guest.ana("lxc-stop -n web -k").succeeds();
    let left: Vec<&str> = processes.lines().filter(|pid| Path::new("/proc").join(pid).exists()).collect();
    assert!(left.is_empty(), "{left:?}");
}
