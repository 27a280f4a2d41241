//! Many at once: containers, users, and readers beside whoever is at work. `cargo xtask load` does the same at full size.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use tests::{Command, Lab, Output, Process, User, at_once, eventually};

tests::claims! {
    many_containers_start_are_listed_and_stop: hybrid unified, needs Bryo;
    eight_users_do_not_disturb_each_other: hybrid, needs Bryo Crowd;
    a_stopped_monitor_keeps_no_reader_waiting: hybrid, needs Bryo;
    a_creation_in_progress_keeps_no_reader_waiting: hybrid, needs Bryo;
    a_start_that_hangs_in_a_hook_keeps_no_reader_waiting: hybrid, needs Bryo;
    namesakes_that_start_at_the_same_time_share_nothing: hybrid unified, needs Bryo;
    namesakes_with_cgroups_of_fixed_names_do_not_both_start: hybrid unified, needs Bryo;
    a_monitor_holds_no_more_after_many_reboots: hybrid unified, needs Bryo;
    a_monitor_gives_back_what_a_command_took: hybrid, needs Bryo;
    a_monitor_that_may_open_no_more_files_rests_and_takes_new_connections_for_old_ones: hybrid, needs Bryo;
}

const MANY: usize = 16;
const AT_ONCE: usize = 8;

/// More than can wait for a monitor that takes no connection (listen(2), backlog 64).
const MORE_THAN_CAN_WAIT: usize = 80;

fn names() -> impl Iterator<Item = String> {
    (0..MANY).map(|number| format!("c{number}"))
}

fn create<'lab>(user: User<'lab>, name: &str) -> Command<'lab> {
    user.bryo(["create", name, "/run/bryo-lab/rootfs/busybox.tar"])
}

fn all_succeed(outputs: Vec<Output>) {
    outputs.into_iter().for_each(|output| drop(output.exits(0)));
}

/// Returns states and pids as `bryo ls` shows them.
fn listed(user: User<'_>) -> Vec<(String, String)> {
    let text = user.bryo(["ls"]).succeeds().stdout;
    let fields =
        text.lines().skip(1).map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    fields.map(|fields| (fields[1].clone(), fields[2].clone())).collect()
}

fn many_containers_start_are_listed_and_stop(lab: &Lab) {
    let ana = lab.user("ana");
    all_succeed(at_once(AT_ONCE, names().map(|name| create(ana, &name))));
    all_succeed(at_once(AT_ONCE, names().map(|name| ana.bryo(["start", &name]))));
    let running = listed(ana);
    assert!(running.iter().all(|(state, _)| state == "RUNNING"), "{running:?}");
    let pids: BTreeSet<_> = running.iter().map(|(_, pid)| pid).collect();
    assert_eq!((running.len(), pids.len()), (MANY, MANY));
    all_succeed(at_once(AT_ONCE, names().map(|name| ana.lxc("stop", ["-n", &name, "-k"]))));
    let stopped = listed(ana);
    assert!(stopped.len() == MANY && stopped.iter().all(|(state, _)| state == "STOPPED"), "{stopped:?}");
    all_succeed(at_once(AT_ONCE, names().map(|name| ana.bryo(["destroy", &name]))));
}

fn eight_users_do_not_disturb_each_other(lab: &Lab) {
    let users = lab.users();
    let all =
        |command: fn(User<'_>) -> Command<'_>| at_once(users.len(), users.iter().map(|user| command(*user)));
    all_succeed(all(|user| create(user, "web")));
    all_succeed(all(|user| user.bryo(["start", "web"])));
    let shown = all(|user| user.bryo(["exec", "web", "--", "cat", "/proc/self/uid_map"]));
    let maps: BTreeSet<_> = shown.into_iter().map(|output| output.exits(0).stdout).collect();
    assert_eq!(maps.len(), users.len(), "two users have the same ids: {maps:?}");
    assert!(users.iter().all(|user| listed(*user).len() == 1));
    all_succeed(all(|user| user.bryo(["destroy", "-f", "web"])));
}

fn monitor(user: User<'_>) -> Process {
    match user.monitors().pop() {
        Some(monitor) => monitor,
        None => panic!("no monitor runs"),
    }
}

/// Requires that every reader says so much of `web`.
fn readers_say(user: User<'_>, state: &str) {
    user.bryo(["ls"]).succeeds().stdout_contains(state);
    user.bryo(["info", "web"]).succeeds().stdout_contains(state);
    user.lxc("ls", ["-f"]).succeeds().stdout_contains(state);
    user.lxc("info", ["-n", "web", "-s"]).succeeds().stdout_contains(state);
}

fn a_stopped_monitor_keeps_no_reader_waiting(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    ana.bryo(["start", "web"]).succeeds();
    let init = ana.init_of("web");
    let monitor = monitor(ana);
    monitor.stop();
    readers_say(ana, "RUNNING");
    assert_eq!(ana.init_of("web"), init);
    // Each reader has left a connection that waits, until no more can.
    let readers = (0..MORE_THAN_CAN_WAIT).map(|_| ana.bryo(["info", "web"]));
    at_once(8, readers).into_iter().for_each(|output| drop(output.exits(0).stdout_contains("RUNNING")));
    monitor.go_on();
    ana.bryo(["exec", "web", "--", "true"]).succeeds();
    ana.destroy("web");
}

fn a_creation_in_progress_keeps_no_reader_waiting(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    ana.sh("mkfifo slow.tar").succeeds();
    // It gets the first half of its archive, and then nothing more.
    let archive = "/run/bryo-lab/rootfs/busybox.tar";
    let mut sender = ana.sh(&format!("exec >slow.tar; head -c 500000 {archive}; until [ -e go ]; do sleep 0.1; done; tail -c +500001 {archive}")).background();
    let creation = ana.bryo(["create", "slow", "./slow.tar"]).background();
    eventually("a half-made container", || ana.lxcpath().join("slow/partial").exists());
    readers_say(ana, "STOPPED");
    let list = ana.bryo(["ls"]).succeeds().stdout;
    assert!(!list.contains("slow"), "{list}");
    ana.bryo(["info", "slow"]).exits(1).stderr_contains("is being created");
    assert!(sender.runs());
    ana.write("go", "");
    creation.wait().exits(0);
    sender.wait().exits(0);
    ana.bryo(["destroy", "slow"]).succeeds();
    ana.destroy("web");
}

fn a_start_that_hangs_in_a_hook_keeps_no_reader_waiting(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    ana.append(".local/share/lxc/web/config", &waits_in_a_hook(ana, "reached"));
    let start = ana.bryo(["start", "web"]).background();
    eventually("the hook", || Path::exists(&ana.home().join("reached")));
    readers_say(ana, "STARTING");
    ana.write("go", "");
    start.wait().exits(0);
    readers_say(ana, "RUNNING");
    ana.destroy("web");
}

/// Returns the line of a start that makes `reached` in the user's home and goes on when there is `go`.
fn waits_in_a_hook(user: User<'_>, reached: &str) -> String {
    let home = user.home().display();
    format!(
        "lxc.hook.pre-start = /bin/sh -c 'touch {home}/{reached}; until [ -e {home}/go ]; do sleep 0.1; done'\n"
    )
}

/// Begins to start a `web` in each of two directories of containers; both are in their hooks when this returns.
fn two_webs_begin<'lab>(ana: User<'lab>, lines: &str) -> [tests::Background; 2] {
    let starts = ["one", "two"].map(|lxcpath| {
        ana.bryo(["-P", lxcpath, "create", "web", "/run/bryo-lab/rootfs/busybox.tar"]).succeeds();
        ana.append(
            format!("{lxcpath}/web/config"),
            &(waits_in_a_hook(ana, &format!("{lxcpath}/reached")) + lines),
        );
        let start = ana.bryo(["-P", lxcpath, "start", "web"]).background();
        eventually("the hook", || Path::exists(&ana.home().join(lxcpath).join("reached")));
        start
    });
    ana.write("go", "");
    starts
}

fn end_two_webs(ana: User<'_>) {
    for lxcpath in ["one", "two"] {
        ana.bryo(["-P", lxcpath, "destroy", "-f", "web"]).succeeds();
    }
    ana.sh("rm -r one two go").succeeds();
}

fn namesakes_that_start_at_the_same_time_share_nothing(lab: &Lab) {
    let ana = lab.user("ana");
    all_succeed(two_webs_begin(ana, "").map(tests::Background::wait).into());
    let names = |prefix: &str| {
        let all = ana.cgroups().iter().flat_map(std::fs::read_dir).flatten().flatten();
        let names = all.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with(prefix)).collect::<BTreeSet<_>>()
    };
    assert_eq!(Vec::from_iter(names("lxc.payload.")), ["lxc.payload.web", "lxc.payload.web-1"]);
    assert_eq!(Vec::from_iter(names("lxc.monitor.")), ["lxc.monitor.web", "lxc.monitor.web-1"]);
    ana.bryo(["-P", "one", "stop", "-k", "web"]).succeeds();
    ana.bryo(["-P", "two", "exec", "web", "--", "true"]).succeeds();
    end_two_webs(ana);
}

fn namesakes_with_cgroups_of_fixed_names_do_not_both_start(lab: &Lab) {
    let ana = lab.user("ana");
    let fixed = "lxc.cgroup.dir.monitor = monitors\nlxc.cgroup.dir.container = fixed\n";
    let mut ended = two_webs_begin(ana, fixed).map(tests::Background::wait);
    ended.sort_by_key(Output::status);
    assert_eq!(ended.each_ref().map(Output::status), [0, 1]);
    assert!(ended[1].stderr.contains("fixed is in use"), "{}", ended[1].stderr);
    let running = ["one", "two"]
        .map(|lxcpath| ana.bryo(["-P", lxcpath, "exec", "web", "--", "true"]).output().status() == 0);
    assert!(running[0] != running[1], "{running:?}");
    end_two_webs(ana);
}

fn a_monitor_holds_no_more_after_many_reboots(lab: &Lab) {
    const SOME: usize = 5;
    const REBOOTS: usize = 10;
    /// A page table or an arena of the allocator that was not there before, once; a leak of one page a reboot is more.
    const ONCE_KB: u64 = 40;
    let ana = lab.user("ana");
    ana.busybox("web");
    ana.bryo(["start", "web"]).succeeds();
    let reboots = |number: usize| (0..number).for_each(|_| reboot(ana));
    reboots(SOME);
    let monitor = monitor(ana);
    let before = at_rest(&monitor);
    reboots(REBOOTS);
    let (Some(before), Some(after)) = (before, at_rest(&monitor)) else { panic!("the monitor is gone") };
    assert_eq!(after.fds, before.fds);
    assert!(after.anonymous_kb <= before.anonymous_kb + ONCE_KB, "{before:?} has become {after:?}");
    ana.destroy("web");
}

fn a_monitor_gives_back_what_a_command_took(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    ana.bryo(["start", "web"]).succeeds();
    let monitor = monitor(ana);
    let resident = || {
        let memory =
            std::fs::read_to_string(format!("/proc/{}/smaps_rollup", monitor.pid)).unwrap_or_default();
        let line = memory.lines().find_map(|line| line.strip_prefix("Rss:")).unwrap_or_default();
        line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap_or(u64::MAX)
    };
    let look = |_| {
        std::thread::sleep(Duration::from_millis(100));
        resident()
    };
    let at_rest = (0..10).map(look).min().unwrap_or(0);
    ana.bryo(["exec", "web", "--", "true"]).succeeds();
    // The kernel maps code by pieces of 64 kB.
    eventually("the monitor holds no more than before the command", || resident() <= at_rest + 64);
    ana.destroy("web");
}

/// What a monitor holds when it has let go of who asked it last: the least of several looks.
fn at_rest(monitor: &Process) -> Option<tests::Holding> {
    let look = |_| {
        std::thread::sleep(Duration::from_millis(20));
        monitor.holding()
    };
    (0..10).filter_map(look).min_by_key(|holding| holding.fds)
}

fn a_monitor_that_may_open_no_more_files_rests_and_takes_new_connections_for_old_ones(lab: &Lab) {
    /// Far from what a loop without a pause takes in that time, even where others want the processors too.
    const FEW_TICKS: u64 = 15;
    let ana = lab.user("ana");
    ana.busybox("web");
    ana.bryo(["start", "web"]).succeeds();
    let monitor = monitor(ana);
    at_rest(&monitor);
    let dir = match sys::path::open_dir(&ana.lxcpath().join("web/.bryo")) {
        Ok(dir) => dir,
        Err(e) => panic!("{e}"),
    };
    let connect = || match sys::socket::connect_at(dir.as_fd(), "command") {
        Ok(socket) => socket,
        Err(e) => panic!("{e}"),
    };
    let is_closed =
        |socket: &OwnedFd| sys::event::readable(socket.as_fd(), Some(Duration::ZERO)).unwrap_or(true);
    // As the user, who may do that: the soft limit alone.
    let may_open_only = |more| {
        let limit = format!("--nofile={}:", monitor.limit_for_more_files(more));
        ana.run("prlimit", [format!("--pid={}", monitor.pid), limit]).succeeds();
    };
    may_open_only(0);
    let first = connect();
    let before = monitor.busy_ticks();
    std::thread::sleep(Duration::from_secs(3));
    let busy = monitor.busy_ticks().zip(before).map(|(after, before)| after - before);
    assert!(busy.is_some_and(|ticks| ticks < FEW_TICKS), "the monitor was busy for {busy:?} ticks");
    may_open_only(2);
    let [second, third] = [connect(), connect()];
    eventually("the oldest connection gives way", || is_closed(&first));
    assert!(!is_closed(&second) && !is_closed(&third));
    drop([first, second, third]);
    may_open_only(100);
    ana.bryo(["exec", "web", "--", "true"]).succeeds();
    ana.destroy("web");
}

fn reboot(user: User<'_>) {
    let before = user.init_of("web");
    user.lxc("stop", ["-n", "web", "-r"]).succeeds();
    eventually("a new init", || {
        user.lxc("info", ["-n", "web", "-pH"])
            .output()
            .stdout
            .trim()
            .parse()
            .is_ok_and(|now: i32| now != before)
    });
}
