//! Death at any moment: the command line and the monitor are killed while a container starts and stops. The next
//! command works, and the leak check finds nothing.

use std::time::Duration;

use tests::{Lab, Process, User};

tests::claims! {
    the_command_line_killed_during_a_start: hybrid unified, needs Bryo, not cell INIT;
    a_start_whose_command_has_ended_before_it_began_does_not_begin: hybrid unified, needs Bryo Strace, not cell STRACE;
    the_command_line_killed_at_a_system_call_of_a_start: hybrid unified, needs Bryo Strace, not cell STRACE;
    the_monitor_killed_during_a_start: hybrid unified, needs Bryo, not cell INIT;
    the_command_line_killed_during_a_stop: hybrid unified, needs Bryo, not cell INIT;
    the_monitor_killed_during_a_stop: hybrid unified, needs Bryo, not cell INIT;
    the_monitor_killed_while_the_container_runs: hybrid unified, needs Bryo, not cell INIT;
    the_next_command_removes_what_a_killed_monitor_left: hybrid unified, needs Bryo, not cell INIT;
    a_namesake_that_runs_is_not_cleaned_up: hybrid unified, needs Bryo, not cell INIT;
    a_frozen_container_that_outlives_its_monitor_is_ended: hybrid unified, needs Bryo, not cell INIT;
    a_command_as_another_user_ends_with_its_monitor: hybrid unified, needs Bryo, not cell INIT;
    init_killed_while_the_container_runs: hybrid unified, needs Bryo, not cell INIT;
}

/// How many moments of a start or a stop are tried.
const MOMENTS: u32 = 20;

fn moments(whole: Duration) -> impl Iterator<Item = Duration> {
    (0..MOMENTS).map(move |moment| whole * moment / MOMENTS)
}

/// Makes the container and returns how long its start takes.
fn measured(user: &User<'_>) -> Duration {
    user.busybox("web");
    let start = user.lxc("start", ["-n", "web"]).succeeds();
    user.lxc("stop", ["-n", "web", "-k"]).succeeds();
    start.took
}

/// Requires that a container works after whatever happened: it is stopped, starts, answers, and stops again.
fn works(user: &User<'_>, after: &str) {
    let stop = user.lxc("stop", ["-n", "web", "-k"]).output();
    assert!([0, 2].contains(&stop.status()), "{after}: stop exits {}\n{}", stop.status(), stop.stderr);
    let start = user.lxc("start", ["-n", "web"]).output();
    assert!(start.status() == 0, "{after}: start exits {}\n{}", start.status(), start.stderr);
    user.lxc("attach", ["-n", "web", "--", "true"]).succeeds();
    user.lxc("stop", ["-n", "web", "-k"]).succeeds();
    user.has_no_process(after);
}

/// Returns the first monitor of the user to appear while `goes_on`.
fn monitor(user: &User<'_>, mut goes_on: impl FnMut() -> bool) -> Option<Process> {
    while goes_on() {
        if let Some(monitor) = user.monitors().pop() {
            return Some(monitor);
        }
    }
    None
}

fn the_command_line_killed_during_a_start(lab: &Lab) {
    let ana = lab.user("ana");
    for moment in moments(measured(&ana)) {
        let mut start = ana.lxc("start", ["-n", "web"]).background();
        std::thread::sleep(moment);
        start.kill();
        start.wait();
        works(&ana, &format!("the command line killed {moment:?} into a start"));
    }
    ana.destroy("web");
}

/// A monitor that was slow to come up would start a container long after its command was killed, and after others have
/// found the container stopped.
fn a_start_whose_command_has_ended_before_it_began_does_not_begin(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    let start = ana.bryo(["start", "web"]).inject_below("setsid:delay_enter=1s").background();
    let is_command = |process: &Process| {
        process.command.ends_with("bryo start web") && !process.command.starts_with("strace")
    };
    tests::eventually("the monitor comes up", || !ana.monitors().is_empty());
    ana.processes().iter().filter(|process| is_command(process)).for_each(Process::kill);
    start.wait();
    ana.has_no_process("a start killed before its monitor took the lock");
    ana.bryo(["start", "web"]).succeeds();
    ana.destroy("web");
}

fn the_command_line_killed_at_a_system_call_of_a_start(lab: &Lab) {
    let ana = lab.user("ana");
    measured(&ana);
    let calls = ana.count_syscalls(["start", "web"]);
    works(&ana, "a traced start");
    for moment in 0..MOMENTS {
        let call = 1 + calls * moment / MOMENTS;
        ana.bryo(["start", "web"]).inject(&format!("all:signal=KILL:when={call}")).output();
        works(&ana, &format!("the command line killed at system call {call} of {calls} of a start"));
    }
    ana.destroy("web");
}

fn the_monitor_killed_during_a_start(lab: &Lab) {
    let ana = lab.user("ana");
    for moment in moments(measured(&ana)) {
        let mut start = ana.lxc("start", ["-n", "web"]).background();
        if let Some(monitor) = monitor(&ana, || start.runs()) {
            std::thread::sleep(moment);
            monitor.kill();
        }
        start.wait();
        works(&ana, &format!("the monitor killed {moment:?} into its life"));
    }
    ana.destroy("web");
}

fn the_command_line_killed_during_a_stop(lab: &Lab) {
    let ana = lab.user("ana");
    let whole = measured(&ana);
    for moment in moments(whole) {
        ana.lxc("start", ["-n", "web"]).succeeds();
        let mut stop = ana.lxc("stop", ["-n", "web"]).background();
        std::thread::sleep(moment);
        stop.kill();
        stop.wait();
        works(&ana, &format!("the command line killed {moment:?} into a stop"));
    }
    ana.destroy("web");
}

fn the_monitor_killed_during_a_stop(lab: &Lab) {
    let ana = lab.user("ana");
    let whole = measured(&ana);
    for moment in moments(whole) {
        ana.lxc("start", ["-n", "web"]).succeeds();
        let stop = ana.lxc("stop", ["-n", "web"]).background();
        std::thread::sleep(moment);
        ana.monitors().iter().for_each(Process::kill);
        stop.wait();
        works(&ana, &format!("the monitor killed {moment:?} into a stop"));
    }
    ana.destroy("web");
}

fn the_monitor_killed_while_the_container_runs(lab: &Lab) {
    let ana = lab.user("ana");
    measured(&ana);
    ana.lxc("start", ["-n", "web"]).succeeds();
    ana.monitors().iter().for_each(Process::kill);
    // Whether init outlives its monitor or not: what info says is what stop and start then find.
    ana.lxc("info", ["-n", "web", "-sH"]).succeeds();
    works(&ana, "the monitor killed while the container runs");
    ana.destroy("web");
}

fn the_next_command_removes_what_a_killed_monitor_left(lab: &Lab) {
    let ana = lab.user("ana");
    measured(&ana);
    let left = || {
        let groups =
            ana.cgroups().iter().flat_map(|dir| ["lxc.payload.web", "lxc.monitor.web"].map(|g| dir.join(g)));
        groups.chain([ana.lxcpath().join("web/.bryo")]).filter(|path| path.exists()).collect::<Vec<_>>()
    };
    ana.lxc("start", ["-n", "web"]).succeeds();
    ana.monitors().iter().for_each(Process::kill);
    assert!(!left().is_empty(), "a killed monitor left nothing to remove");
    ana.bryo(["ls"]).succeeds().stdout_contains("STOPPED");
    assert_eq!(left(), Vec::<std::path::PathBuf>::new());
    ana.destroy("web");
}

fn init_killed_while_the_container_runs(lab: &Lab) {
    let ana = lab.user("ana");
    measured(&ana);
    ana.lxc("start", ["-n", "web"]).succeeds();
    let init = ana.init_of("web");
    ana.processes().iter().filter(|process| process.pid == init).for_each(Process::kill);
    tests::eventually("web is stopped", || {
        ana.lxc("info", ["-n", "web", "-sH"]).output().stdout == "STOPPED\n"
    });
    works(&ana, "init killed while the container runs");
    ana.destroy("web");
}

/// The names of cgroups are given again when their owner is dead.
fn a_namesake_that_runs_is_not_cleaned_up(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    ana.lxc("start", ["-n", "web"]).succeeds();
    ana.monitors().iter().for_each(Process::kill);
    let archive = "/run/bryo-lab/rootfs/busybox.tar.zst";
    ana.bryo(["-P", "other", "create", "web", archive]).succeeds();
    ana.bryo(["-P", "other", "start", "web"]).succeeds();
    ana.bryo(["ls"]).succeeds();
    ana.bryo(["-P", "other", "exec", "web", "--", "true"]).succeeds();
    ana.bryo(["-P", "other", "destroy", "-f", "web"]).succeeds();
    ana.destroy("web");
    ana.sh("rmdir other").succeeds();
}

fn a_frozen_container_that_outlives_its_monitor_is_ended(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    ana.append(".local/share/lxc/web/config", "lxc.monitor.signal.pdeath = 0\n");
    ana.bryo(["start", "web"]).succeeds();
    let init = ana.init_of("web");
    ana.bryo(["freeze", "web"]).succeeds();
    ana.monitors().iter().for_each(Process::kill);
    assert!(ana.processes().iter().any(|process| process.pid == init), "init has ended by itself");
    ana.bryo(["ls"]).succeeds().stdout_contains("STOPPED");
    assert_eq!(ana.processes(), []);
    ana.destroy("web");
}

fn a_command_as_another_user_ends_with_its_monitor(lab: &Lab) {
    let ana = lab.user("ana");
    let run = ana.bryo(["run", "-u", "1000", "--", "sleep", "1000"]).background();
    let is_its = |process: &&Process| !process.command.contains("bryo-lxcfs");
    tests::eventually("the command runs", || ana.processes().iter().filter(is_its).count() > 3);
    ana.monitors().iter().for_each(Process::kill);
    run.wait();
    ana.bryo(["ls"]).succeeds();
    ana.has_no_process("a monitor killed while a command runs as another user");
}
