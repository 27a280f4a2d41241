//! A container from create to destroy: start, info, ls, stop, and what each says to the wrong state.

use tests::{Lab, eventually};

tests::claims! {
    a_container_goes_from_create_to_destroy: hybrid unified, not cell INIT;
    the_container_has_namespaces_of_its_own: hybrid unified, not cell INIT;
    ls_shows_names_and_states: hybrid, not cell INIT;
    the_config_asked_for_is_printed: hybrid cell;
    starting_a_running_container_says_so_and_exits_0: hybrid, not cell INIT;
    starting_an_unknown_container_fails: hybrid cell;
    stopping_a_stopped_container_exits_2: hybrid cell;
    info_of_an_unknown_container_exits_1: hybrid cell;
    creating_over_an_existing_container_fails_and_keeps_it: hybrid, not cell INIT;
    destroy_refuses_a_running_container: hybrid, not cell INIT;
    stop_waits_for_init: hybrid unified, not cell INIT;
    kill_does_not_wait_for_init: hybrid unified, not cell INIT;
    the_pidfile_names_the_monitor: hybrid, not cell INIT;
    a_pidfile_that_cannot_be_written_fails_the_start: hybrid, needs Bryo, not cell INIT;
    a_result_that_cannot_be_written_is_a_failure: hybrid cell, needs Bryo;
    signals_of_users_reach_an_exec: hybrid, needs Bryo, not cell INIT;
    ids_outside_of_the_map_are_refused: hybrid, needs Bryo, not cell INIT;
    a_foreground_start_exits_0_whatever_init_returned: hybrid unified, not cell INIT;
    a_foreground_start_in_a_terminal_shows_the_console: hybrid, not cell INIT;
    an_init_that_does_not_exist_fails_the_start: hybrid unified, not cell INIT;
    two_users_do_not_see_each_other: hybrid, not cell INIT;
    a_stop_right_after_the_start_is_heard: hybrid, needs Debian, not cell SYSTEMD;
    files_that_the_starter_has_open_are_not_kept: hybrid, needs Bryo, not cell INIT;
    two_containers_run_side_by_side: hybrid unified, not cell INIT;
    start_returns_when_the_container_runs: hybrid, needs Bryo, not cell INIT;
    the_log_tells_of_the_command_and_of_the_monitor: hybrid, needs Bryo, not cell INIT;
    dry_run_starts_nothing: hybrid, needs Bryo, not cell INIT;
    ls_and_info_speak_json: hybrid, needs Bryo, not cell INIT;
    a_start_without_a_writable_cgroup_says_what_is_missing: hybrid unified, needs Bryo, not cell INIT;
    a_runtime_directory_is_used_and_left_clean: hybrid unified, needs Bryo, not cell INIT;
    containers_live_in_a_home_that_nobody_else_may_enter: hybrid unified, needs Bryo, not cell INIT;
}

fn a_container_goes_from_create_to_destroy(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    ana.lxc("info", ["-n", "web", "-sH"]).succeeds().stdout_is("STOPPED\n");
    ana.lxc("start", ["-n", "web"]).succeeds();
    ana.lxc("info", ["-n", "web", "-sH"]).succeeds().stdout_is("RUNNING\n");
    ana.lxc("stop", ["-n", "web"]).succeeds();
    ana.lxc("info", ["-n", "web", "-sH"]).succeeds().stdout_is("STOPPED\n");
    ana.lxc("destroy", ["-n", "web"]).succeeds();
    ana.lxc("ls", ["-1"]).succeeds().stdout_is("");
}

fn the_container_has_namespaces_of_its_own(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    ana.lxc("start", ["-n", "web"]).succeeds();
    let init = ana.init_of("web");
    for name in ["user", "mnt", "pid", "net", "uts", "ipc", "cgroup"] {
        let own = ana.namespace_of(init, name);
        assert!(
            own.is_some() && own != ana.namespace_of(1, name),
            "{name} namespace is shared with the machine"
        );
    }
    ana.lxc("attach", ["-n", "web", "--", "hostname"]).succeeds().stdout_is("web\n");
    ana.lxc("attach", ["-n", "web", "--", "id", "-u"]).succeeds().stdout_is("0\n");
    ana.destroy("web");
}

fn ls_shows_names_and_states(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("db");
    ana.busybox("web");
    ana.lxc("start", ["-n", "web"]).succeeds();
    ana.lxc("ls", ["-1"]).succeeds().stdout_is("db\nweb\n");
    ana.lxc("ls", ["-1", "--running"]).succeeds().stdout_is("web\n");
    ana.lxc("ls", ["-1", "--stopped"]).succeeds().stdout_is("db\n");
    ana.lxc("ls", ["-f", "-F", "NAME,STATE"])
        .succeeds()
        .stdout_is("NAME STATE   \ndb   STOPPED \nweb  RUNNING \n");
    ana.destroy("web");
    ana.destroy("db");
}

fn the_config_asked_for_is_printed(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    ana.lxc("info", ["-n", "web", "-c", "lxc.uts.name"]).succeeds().stdout_is("lxc.uts.name = web\n");
    ana.lxc("info", ["-n", "web", "-H", "-c", "lxc.uts.name"]).succeeds().stdout_is("web\n");
    ana.destroy("web");
}

fn starting_a_running_container_says_so_and_exits_0(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    ana.lxc("start", ["-n", "web"]).succeeds();
    let init = ana.init_of("web");
    ana.lxc("start", ["-n", "web"]).succeeds().stderr_contains("already running");
    assert_eq!(ana.init_of("web"), init);
    ana.destroy("web");
}

fn starting_an_unknown_container_fails(lab: &Lab) {
    lab.user("ana").lxc("start", ["-n", "nothing"]).exits(1);
}

fn stopping_a_stopped_container_exits_2(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    ana.lxc("stop", ["-n", "web"]).exits(2).stderr_contains("web is not running");
    ana.lxc("stop", ["-n", "nothing"]).exits(2).stderr_contains("nothing is not running");
    ana.destroy("web");
}

fn info_of_an_unknown_container_exits_1(lab: &Lab) {
    lab.user("ana").lxc("info", ["-n", "nothing"]).exits(1).stderr_contains("nothing doesn't exist");
}

fn creating_over_an_existing_container_fails_and_keeps_it(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    ana.lxc("create", ["-n", "web", "-t", "none"]).exits(1);
    ana.lxc("start", ["-n", "web"]).succeeds();
    ana.destroy("web");
}

fn destroy_refuses_a_running_container(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    ana.lxc("start", ["-n", "web"]).succeeds();
    ana.lxc("destroy", ["-n", "web"]).exits(1);
    ana.lxc("info", ["-n", "web", "-sH"]).succeeds().stdout_is("RUNNING\n");
    ana.destroy("web");
}

fn stop_waits_for_init(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    ana.lxc("start", ["-n", "web"]).succeeds();
    let init = ana.init_of("web");
    ana.lxc("stop", ["-n", "web"]).succeeds();
    assert_eq!(ana.namespace_of(init, "pid"), None, "init is alive after stop");
    ana.destroy("web");
}

fn kill_does_not_wait_for_init(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    // An init that ignores every signal it may ignore.
    ana.lxc(
        "start",
        ["-n", "web", "--", "/bin/sh", "-c", "trap '' HUP INT TERM USR1 PWR; while :; do sleep 1; done"],
    )
    .succeeds();
    ana.lxc("stop", ["-n", "web", "--nokill", "-t", "1"]).exits(1);
    ana.lxc("stop", ["-n", "web", "-k"]).succeeds();
    ana.lxc("info", ["-n", "web", "-sH"]).succeeds().stdout_is("STOPPED\n");
    ana.destroy("web");
}

fn the_pidfile_names_the_monitor(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    ana.lxc("start", ["-n", "web", "-p", "pidfile"]).succeeds();
    let pid = ana.sh("cat pidfile").succeeds().stdout;
    assert_eq!(
        ana.monitors().iter().map(|monitor| monitor.pid.to_string()).collect::<Vec<_>>(),
        [pid.trim()]
    );
    ana.destroy("web");
}

fn a_pidfile_that_cannot_be_written_fails_the_start(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    ana.lxc("start", ["-n", "web", "-p", "/nonexistent/x"]).exits(1).stderr_contains("/nonexistent/x");
    ana.lxc("info", ["-n", "web", "-sH"]).succeeds().stdout_is("STOPPED\n");
    assert!(ana.monitors().is_empty());
    ana.destroy("web");
}

fn a_result_that_cannot_be_written_is_a_failure(lab: &Lab) {
    let ana = lab.user("ana");
    for command in ["bryo ls --json", "bryo --help", "bryo completions bash", "lxc-ls --version"] {
        ana.sh(&format!("{command} >/dev/full")).exits(1).stderr_contains("cannot write to standard output");
    }
    ana.sh("bryo completions bash | true").succeeds();
}

fn signals_of_users_reach_an_exec(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    ana.bryo(["start", "web"]).succeeds();
    let script = "trap 'exit 5' USR1; while :; do sleep 0.1; done";
    let exec = ana.bryo(["exec", "web", "--", "sh", "-c", script]).background();
    let runs = |process: &tests::Process| process.command.starts_with("sh -c trap");
    eventually("the command runs", || ana.processes().iter().any(runs));
    std::thread::sleep(std::time::Duration::from_millis(300));
    ana.sh(&format!("kill -USR1 {}", exec.pid())).succeeds();
    exec.wait().exits(5);
    ana.destroy("web");
}

fn ids_outside_of_the_map_are_refused(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    ana.bryo(["execute", "-u", "70000", "web", "--", "true"]).exits(125).stderr_contains("0-65535");
    ana.bryo(["start", "web"]).succeeds();
    ana.bryo(["exec", "-u", "70000", "web", "--", "true"]).exits(125).stderr_contains("0-65535");
    ana.bryo(["exec", "-u", "5:6", "web", "--", "id", "-g"]).succeeds().stdout_is("6\n");
    ana.destroy("web");
}

fn a_foreground_start_exits_0_whatever_init_returned(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    ana.lxc("start", ["-n", "web", "-F", "--", "/bin/sh", "-c", "exit 3"]).succeeds();
    ana.destroy("web");
}

fn a_foreground_start_in_a_terminal_shows_the_console(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    let start =
        ana.lxc("start", ["-n", "web", "-F", "--", "/bin/sh", "-c", "echo here; read word; echo got $word"]);
    let mut terminal = start.in_terminal(24, 80);
    terminal.shows("here").types("moss\n").shows("got moss");
    terminal.exits(0);
    ana.destroy("web");
}

fn an_init_that_does_not_exist_fails_the_start(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    ana.lxc("start", ["-n", "web", "--", "/no/such/init"]).exits(1);
    ana.lxc("info", ["-n", "web", "-sH"]).succeeds().stdout_is("STOPPED\n");
    ana.destroy("web");
}

fn two_users_do_not_see_each_other(lab: &Lab) {
    let (ana, ben) = (lab.user("ana"), lab.user("ben"));
    ana.busybox("web");
    ana.lxc("start", ["-n", "web"]).succeeds();
    ben.lxc("ls", ["-1"]).succeeds().stdout_is("");
    ben.busybox("web");
    ben.lxc("info", ["-n", "web", "-sH"]).succeeds().stdout_is("STOPPED\n");
    ben.lxc("start", ["-n", "web"]).succeeds();
    assert_ne!(ana.init_of("web"), ben.init_of("web"));
    ben.destroy("web");
    ana.lxc("info", ["-n", "web", "-sH"]).succeeds().stdout_is("RUNNING\n");
    ana.destroy("web");
}

fn two_containers_run_side_by_side(lab: &Lab) {
    let ana = lab.user("ana");
    for name in ["one", "two"] {
        ana.busybox(name);
        ana.lxc("start", ["-n", name]).succeeds();
    }
    ana.lxc("stop", ["-n", "one"]).succeeds();
    ana.lxc("info", ["-n", "two", "-sH"]).succeeds().stdout_is("RUNNING\n");
    ana.destroy("one");
    ana.destroy("two");
}

fn start_returns_when_the_container_runs(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    ana.bryo(["start", "web"]).succeeds();
    ana.bryo(["exec", "web", "--", "true"]).succeeds();
    ana.bryo(["stop", "web"]).succeeds();
    ana.bryo(["destroy", "web"]).succeeds();
}

fn dry_run_starts_nothing(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    let plan = ana.bryo(["start", "--dry-run", "web"]).succeeds();
    assert!(!plan.stdout.is_empty(), "a dry run prints the plan");
    assert!(ana.monitors().is_empty());
    ana.lxc("info", ["-n", "web", "-sH"]).succeeds().stdout_is("STOPPED\n");
    ana.destroy("web");
}

fn ls_and_info_speak_json(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    ana.bryo(["start", "web"]).succeeds();
    let list = ana.bryo(["ls", "--json"]).succeeds().json();
    assert_eq!(list[0]["name"], "web");
    assert_eq!(list[0]["state"], "RUNNING");
    let info = ana.bryo(["info", "--json", "web"]).succeeds().json();
    assert_eq!(info["name"], "web");
    assert_eq!(info["pid"], ana.init_of("web"));
    assert!(info["rungs"]["ids"].is_string(), "{info}");
    assert!(info["usage"]["cpu_seconds"].is_f64(), "{info}");
    ana.destroy("web");
}

fn a_start_without_a_writable_cgroup_says_what_is_missing(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    ana.take_cgroups_back();
    ana.lxc("start", ["-n", "web"]).succeeds().stderr_contains("cgroup");
    eventually("web runs", || ana.lxc("info", ["-n", "web", "-sH"]).output().stdout == "RUNNING\n");
    ana.lxc("stop", ["-n", "web", "-k"]).succeeds();
    ana.destroy("web");
}

fn a_runtime_directory_is_used_and_left_clean(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    ana.lxc("start", ["-n", "web"]).in_session().succeeds();
    ana.lxc("attach", ["-n", "web", "--", "true"]).in_session().succeeds();
    // Found also by a command without the variable, such as one of a cron job.
    ana.lxc("info", ["-n", "web", "-sH"]).succeeds().stdout_is("RUNNING\n");
    ana.lxc("stop", ["-n", "web"]).in_session().succeeds();
    ana.lxc("destroy", ["-n", "web"]).in_session().succeeds();
}

fn containers_live_in_a_home_that_nobody_else_may_enter(lab: &Lab) {
    let ana = lab.user("ana");
    ana.sh("stat -c %a .").succeeds().stdout_is("700\n");
    ana.busybox("web");
    ana.lxc("start", ["-n", "web"]).succeeds();
    ana.lxc("attach", ["-n", "web", "--", "ls", "/bin/busybox"]).succeeds();
    ana.sh("stat -c %a .").succeeds().stdout_is("700\n");
    ana.destroy("web");
}

fn the_log_tells_of_the_command_and_of_the_monitor(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    ana.lxc("start", ["-n", "web", "-o", "log", "-l", "INFO"]).succeeds();
    let init = ana.init_of("web");
    ana.lxc("stop", ["-n", "web", "-k"]).succeeds();
    let log = ana.sh("cat log").succeeds().stdout;
    let line = log.lines().find(|line| line.contains(&format!("init runs as process {init}")));
    assert!(line.is_some_and(|line| line.starts_with("bryo-monitor web 20")), "{log}");
    assert!(log.contains("init has ended"), "{log}");
    ana.append(".local/share/lxc/web/config", "lxc.mount.entry = /nonexistent mnt none bind 0 0\n");
    ana.lxc("start", ["-n", "web", "-o", "log"]).exits(1);
    ana.sh("grep ERROR log").succeeds().stdout_contains("/nonexistent");
    ana.destroy("web");
}

fn a_stop_right_after_the_start_is_heard(lab: &Lab) {
    let ana = lab.user("ana");
    ana.debian("deb");
    ana.sh("sed -i /lxc.signal/d .local/share/lxc/deb/config").succeeds();
    ana.bryo(["start", "deb"]).succeeds();
    let stop = ana.lxc("stop", ["-n", "deb"]).seconds(60).succeeds();
    assert!(stop.took < std::time::Duration::from_secs(20), "init was killed after {:?}", stop.took);
    ana.destroy("deb");
}

fn files_that_the_starter_has_open_are_not_kept(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    ana.sh("exec 9>held; bryo start web; bryo exec web -- true").succeeds();
    let held = ana.home().join("held");
    for monitor in ana.monitors() {
        let open = std::fs::read_dir(format!("/proc/{}/fd", monitor.pid)).into_iter().flatten().flatten();
        let open: Vec<_> = open.filter_map(|fd| std::fs::read_link(fd.path()).ok()).collect();
        assert!(!open.contains(&held), "the monitor holds {open:?}");
    }
    ana.destroy("web");
}
