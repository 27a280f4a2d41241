//! Containers of a user whose systemd has v2 controllers delegated to it: in the virtual machine.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use tests::vm::{From, Guest, await_that};

tests::claims_of_a_modern_host! {
    a_container_is_in_a_scope_from_wherever_it_is_started;
    a_scope_has_the_controllers_that_debian_delegates_and_doctor_names_the_others;
    without_a_systemd_of_the_users_a_container_runs_where_it_may;
    a_container_may_stay_below_the_cgroup_of_its_starter;
    a_container_ends_with_the_last_session_of_its_user;
    a_killed_monitor_leaves_nothing;
    a_killed_monitor_leaves_nothing_after_the_next_command_where_the_container_made_cgroups;
    a_process_that_takes_more_memory_than_its_container_may_is_killed;
    a_container_has_no_more_processes_than_it_may;
    a_container_is_seen_to_have_the_cpus_it_may_use;
    the_time_of_a_container_is_throttled;
    a_container_reads_no_faster_than_it_may;
    a_frozen_container_is_frozen_until_it_is_thawed;
    another_session_of_the_user_runs_commands_inside;
    a_reboot_keeps_the_scope;
    what_shows_a_container_its_limits_has_a_scope_of_its_own;
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("reading {}: {error}", file.display()))
}

fn field(file: &Path, name: &str) -> u64 {
    let text = read(file);
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
    value.unwrap_or_else(|| panic!("{} has no number {name}: {text}", file.display()))
}

const NOTHING: [&Path; 0] = [];

/// The controllers that a container's limits are about.
const CONTROLLERS: [&str; 5] = ["cpu", "cpuset", "io", "memory", "pids"];

fn a_container_is_in_a_scope_from_wherever_it_is_started(guest: &Guest) {
    for from in [From::Service, From::Session, From::Su, From::Job] {
        guest.start_web_of(from, "ana", &[]).succeeds();
        let payload = guest.payload();
        let place = "/user@1000.service/app.slice/bryo-web.scope/lxc.payload.web";
        assert!(payload.to_string_lossy().ends_with(place), "{from:?}: {payload:?}");
        let has = read(&payload.join("cgroup.controllers"));
        assert!(CONTROLLERS.iter().all(|wanted| has.split_whitespace().any(|c| c == *wanted)), "{has}");
        guest.run(from, "ana", "bryo exec web -- true && bryo stop -k web && bryo destroy web").succeeds();
        assert_eq!(guest.await_nothing(), NOTHING, "{from:?}");
    }
}

fn a_scope_has_the_controllers_that_debian_delegates_and_doctor_names_the_others(guest: &Guest) {
    let limits = ["lxc.cgroup2.memory.max=50M", "lxc.cgroup2.pids.max=50", "lxc.cgroup2.cpu.weight=50"];
    let script = format!(
        "{} && bryo stop -k web; bryo start web --net loopback --define lxc.cgroup2.cpuset.cpus=0; bryo doctor; true",
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
    guest.run(From::Job, "ben", "bryo doctor; bryo stop -k web").tells("sudo loginctl enable-linger ben");
}

fn a_container_may_stay_below_the_cgroup_of_its_starter(guest: &Guest) {
    let script = guest.making_web(&["lxc.cgroup.relative=1"]);
    guest.ana(&format!("{script} && cat /proc/self/cgroup; grep . /sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup)/lxc.payload.web/cgroup.procs && bryo stop -k web")).succeeds();
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
    guest.ana("bryo exec web -- mkdir -p /sys/fs/cgroup/a/b").succeeds();
    guest.kill_monitors();
    guest.ana("bryo destroy -f web").succeeds();
    assert_eq!(guest.await_nothing(), NOTHING);
}

fn a_process_that_takes_more_memory_than_its_container_may_is_killed(guest: &Guest) {
    guest.start_web(&["lxc.cgroup2.memory.max=30M", "lxc.cgroup2.memory.swap.max=0"]).succeeds();
    // It fills a file system that lies in memory.
    guest
        .ana("bryo exec web -- sh -c 'cat /sys/fs/cgroup/memory.max; mkdir /m && mount -t tmpfs m /m && dd if=/dev/zero of=/m/f bs=1M count=60'")
        .fails()
        .tells("31457280");
    assert!(field(&guest.payload().join("memory.events"), "oom_kill") > 0);
    guest.ana("bryo stop -k web").succeeds();
}

fn a_container_has_no_more_processes_than_it_may(guest: &Guest) {
    guest.start_web(&["lxc.cgroup2.pids.max=12"]).succeeds();
    guest
        .ana("bryo exec web -- sh -c 'cat /sys/fs/cgroup/pids.max; for n in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 100 & done'")
        .fails()
        .tells("12");
    assert!(field(&guest.payload().join("pids.events"), "max") > 0);
    guest.ana("bryo stop -k web").succeeds();
}

fn a_container_is_seen_to_have_the_cpus_it_may_use(guest: &Guest) {
    guest.start_web(&["lxc.cgroup2.cpuset.cpus=1"]).succeeds();
    guest.ana("bryo exec web -- sh -c 'nproc; cat /sys/fs/cgroup/cpuset.cpus'").succeeds().says("1\n1");
    assert_eq!(read(&guest.payload().join("cpuset.cpus.effective")), "1\n");
    guest.ana("bryo stop -k web").succeeds();
}

fn the_time_of_a_container_is_throttled(guest: &Guest) {
    guest.start_web(&["lxc.cgroup2.cpu.max=5000 100000"]).succeeds();
    guest
        .ana("bryo exec web -- sh -c 'cat /sys/fs/cgroup/cpu.max; timeout 5 sh -c \"while :; do :; done\"'")
        .fails()
        .says("5000 100000");
    assert!(field(&guest.payload().join("cpu.stat"), "nr_throttled") > 0);
    guest.ana("bryo stop -k web").succeeds();
}

fn a_container_reads_no_faster_than_it_may(guest: &Guest) {
    let disk = read(Path::new("/sys/block/vda/dev"));
    let limit = format!("{} rbps=1048576 wbps=max riops=max wiops=max", disk.trim());
    guest.start_web(&[&format!("lxc.cgroup2.io.max={limit}")]).succeeds();
    guest.ana("bryo exec web -- cat /sys/fs/cgroup/io.max").succeeds().says(&limit);
    guest.ana("bryo stop -k web").succeeds();
}

fn a_frozen_container_is_frozen_until_it_is_thawed(guest: &Guest) {
    guest.start_web(&[]).succeeds();
    guest.ana("bryo freeze web").succeeds();
    let events = guest.payload().join("cgroup.events");
    assert_eq!(field(&events, "frozen"), 1);
    guest.run(From::Session, "ana", "bryo unfreeze web").succeeds();
    assert_eq!(field(&events, "frozen"), 0);
    guest.ana("bryo freeze web && bryo stop -k web").succeeds();
}

fn another_session_of_the_user_runs_commands_inside(guest: &Guest) {
    guest.start_web(&[]).succeeds();
    let script = "bryo exec web -- sh -c 'cat /proc/1/comm /proc/self/cgroup'";
    for from in [From::Session, From::Job] {
        guest.run(from, "ana", script).succeeds().says("init\n0::/");
    }
    guest.ana("bryo stop -k web").succeeds();
}

fn a_reboot_keeps_the_scope(guest: &Guest) {
    guest.start_web(&[]).succeeds();
    let payload = guest.payload();
    let scope = payload.parent().unwrap_or(&payload);
    let number = || fs::metadata(scope).map(|found| found.ino()).ok();
    let (before, first) = (number(), read(&payload.join("cgroup.procs")));
    // The command may end with the container.
    guest.ana("bryo exec web -- reboot; true").succeeds();
    let is_another = || {
        let procs = fs::read_to_string(payload.join("cgroup.procs")).unwrap_or_default();
        !procs.is_empty() && procs.lines().next() != first.lines().next()
    };
    assert!(await_that(is_another), "it has not rebooted: {first}");
    guest.ana("bryo exec web -- true").succeeds();
    assert!(before.is_some() && number() == before);
    guest.ana("bryo stop -k web").succeeds();
}

fn what_shows_a_container_its_limits_has_a_scope_of_its_own(guest: &Guest) {
    let limits =
        ["lxc.cgroup2.memory.max=100M", "lxc.cgroup2.cpuset.cpus=0", "lxc.cgroup2.cpu.max=50000 100000"];
    guest.start_web(&limits).succeeds();
    let has_own = || guest.groups().iter().any(|group| group.ends_with("app.slice/bryo-lxcfs.scope"));
    assert!(has_own(), "{:?}", guest.groups());
    let seen = "grep MemTotal /proc/meminfo; grep -c ^processor /proc/cpuinfo; grep -c ^cpu[0-9] /proc/stat";
    guest
        .ana(&format!("bryo exec web -- sh -c '{seen}'; bryo stop -k web"))
        .succeeds()
        .says("MemTotal:         102400 kB\n1\n1");
}
