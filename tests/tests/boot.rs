//! System containers for one command: `bryo run --boot`, its limit of time and its events, and `bryo exec --wait-boot`.

use std::time::Duration;

use serde_json::Value;
use tests::{Lab, Output, User, eventually, within};

tests::claims! {
    a_booted_debian_runs_a_command_as_a_login: hybrid unified, needs Bryo Debian;
    failed_units_are_named_and_slow_ones_waited_for: hybrid unified, needs Bryo Debian;
    a_systemd_without_a_cgroup_is_a_failure_and_no_hang: hybrid unified, needs Bryo Debian;
    an_interrupted_run_of_a_large_image_leaves_nothing: hybrid, needs Bryo Debian;
    an_interrupted_run_leaves_nothing_at_any_moment: hybrid unified, needs Bryo;
    a_killed_run_is_cleaned_up_at_any_moment: hybrid unified, needs Bryo;
    an_init_that_cannot_be_asked_counts_as_started: hybrid unified, needs Bryo;
    the_exit_statuses_are_those_of_shells: hybrid, needs Bryo;
    an_init_that_exits_is_a_failure_with_its_last_words: hybrid unified, needs Bryo;
    a_run_that_takes_too_long_is_ended_and_removed: hybrid unified, needs Bryo;
    a_systemd_that_never_answers_takes_too_long: hybrid, needs Bryo;
    a_systemd_that_answers_without_end_takes_too_long: hybrid, needs Bryo;
    exec_ends_a_command_that_takes_too_long: hybrid, needs Bryo;
    signals_go_to_the_command: hybrid, needs Bryo;
    a_signal_hurries_a_container_that_does_not_stop: hybrid, needs Bryo;
    a_boot_without_a_command_is_a_login_shell: hybrid, needs Bryo;
    events_come_in_order_on_an_fd_of_their_own: hybrid, needs Bryo;
    a_reader_of_events_may_leave: hybrid, needs Bryo;
    exec_does_not_wait_for_what_does_not_run: hybrid, needs Bryo;
}

const BUSYBOX: &str = "/run/bryo-lab/rootfs/busybox.tar.zst";
const DEBIAN: &str = "/run/bryo-lab/rootfs/debian-12.tar.zst";

/// Prepares `bryo run --boot WORDS`.
fn boot<'lab>(user: &User<'lab>, words: &[&str]) -> tests::Command<'lab> {
    user.bryo([&["run", "--boot"], words].concat()).seconds(180)
}

/// Makes a busybox image in the directory `image` with another init.
fn image_with_init(user: &User<'_>, script: &str) {
    let unpack = "mkdir image && tar -xf /run/bryo-lab/rootfs/busybox.tar -C image --exclude ./srv";
    user.sh(&format!("{unpack} && rm image/sbin/init")).succeeds();
    user.write("image/sbin/init", script);
    user.sh("chmod 755 image/sbin/init").succeeds();
}

/// Makes a busybox image whose init the kernel calls systemd, with a systemctl that does what `script` says.
fn image_with_systemctl(user: &User<'_>, script: &str) {
    image_with_init(user, "");
    user.sh("cd image && mkdir -p lib/systemd && cp bin/busybox lib/systemd/systemd").succeeds();
    user.sh("cd image && ln -sf ../lib/systemd/systemd sbin/init").succeeds();
    user.write("image/bin/systemctl", script);
    user.sh("chmod 755 image/bin/systemctl").succeeds();
}

fn remove_image(user: &User<'_>) {
    user.sh("chmod -R u+rwX image && rm -r image").succeeds();
}

/// Requires that nothing of any container is left, neither files nor processes.
fn is_empty(user: &User<'_>, after: &str) {
    let left: Vec<_> = std::fs::read_dir(user.lxcpath())
        .map(|entries| entries.flatten().map(|entry| entry.file_name()).collect())
        .unwrap_or_default();
    assert!(left.is_empty(), "{after}: {left:?} is left");
    user.has_no_process(after);
}

/// Reads events, of which every line must be one.
fn events(text: &str) -> Vec<Value> {
    let read = |line: &str| match serde_json::from_str(line) {
        Ok(event) => event,
        Err(error) => panic!("{line:?} is no event: {error}"),
    };
    text.lines().map(read).collect()
}

fn names(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["event"].as_str().unwrap_or("no name")).collect()
}

const WHOLE_RUN: [&str; 6] = ["created", "started", "booted", "command", "stopped", "removed"];

fn a_booted_debian_runs_a_command_as_a_login(lab: &Lab) {
    let ana = lab.user("ana");
    let script = "id -un; pwd; echo $HOME $USER; systemctl is-active multi-user.target; exit 7";
    boot(&ana, &[DEBIAN, "--", "sh", "-c", script]).exits(7).stdout_is("root\n/root\n/root root\nactive\n");
    is_empty(&ana, "a run");
}

/// One container has a unit that fails, and one that the boot waits for.
const UNITS: &str = r#"
unit() { printf '[Service]\nType=oneshot\nExecStart=%s\n[Install]\nWantedBy=multi-user.target\n' "$2" \
    >/etc/systemd/system/$1.service && systemctl -q enable $1; }
unit moss-bad /bin/false && unit moss-slow '/bin/sh -c "sleep 5; touch /run/moss-slow"'
"#;

fn failed_units_are_named_and_slow_ones_waited_for(lab: &Lab) {
    let ana = lab.user("ana");
    ana.debian("deb");
    ana.bryo(["start", "deb"]).succeeds();
    ana.bryo(["exec", "--wait-boot", "deb", "--", "sh", "-c", UNITS]).succeeds();
    ana.bryo(["restart", "deb"]).succeeds();
    ana.bryo(["exec", "--wait-boot", "deb", "--", "test", "-e", "/run/moss-slow"])
        .succeeds()
        .stderr_contains("degraded")
        .stderr_contains("moss-bad.service");
    ana.bryo(["stop", "deb"]).succeeds();
    let rootfs = ana.lxcpath().join("deb/rootfs");
    let words = ["--json", &rootfs.to_string_lossy(), "--", "test", "-e", "/run/moss-slow"];
    let told = events(&boot(&ana, &words).succeeds().stderr);
    assert_eq!(names(&told), WHOLE_RUN);
    let booted = &told[2];
    assert_eq!(booted["state"], "degraded", "{booted}");
    let failed = booted["failed_units"].to_string();
    assert!(failed.contains("\"moss-bad.service\"") && !failed.contains("moss-slow"), "{failed}");
    assert!(booted["seconds"].as_f64() > Some(5.0), "{booted}");
    ana.destroy("deb");
    is_empty(&ana, "a degraded run");
}

fn a_systemd_without_a_cgroup_is_a_failure_and_no_hang(lab: &Lab) {
    let ana = lab.user("ana");
    ana.take_cgroups_back();
    boot(&ana, &["--timeout", "150", DEBIAN, "--", "true"])
        .exits(125)
        .stderr_contains("its init has ended, with status 255")
        .stderr_contains("the console's last lines")
        .stderr_contains("Delegate=yes");
    is_empty(&ana, "a failed boot");
}

/// Runs a command without end, and does something to the run at moments from its beginning to well into the command.
fn at_moments(
    user: &User<'_>,
    (image, moments): (&str, u32),
    act: fn(&mut tests::Background),
    check: impl Fn(Output, &str),
) {
    let whole = boot(user, &[image, "--", "true"]).succeeds().took;
    for moment in (0..moments).map(|moment| whole * moment / moments) {
        let mut run = boot(user, &[image, "--", "sleep", "1000"]).background();
        // Before that it is not bryo yet, but the programs that lead into the lab.
        std::thread::sleep(moment.max(Duration::from_millis(200)));
        act(&mut run);
        check(run.wait(), &format!("{moment:?} of {whole:?} into a run"));
    }
}

fn an_interrupted_run_leaves_nothing_at_any_moment(lab: &Lab) {
    let ana = lab.user("ana");
    at_moments(&ana, (BUSYBOX, 10), tests::Background::terminate, |output, when| {
        output.exits(143);
        is_empty(&ana, &format!("terminated {when}"));
    });
}

/// Unpacking takes most of the time here.
fn an_interrupted_run_of_a_large_image_leaves_nothing(lab: &Lab) {
    let ana = lab.user("ana");
    at_moments(&ana, (DEBIAN, 5), tests::Background::terminate, |output, when| {
        output.exits(143);
        is_empty(&ana, &format!("terminated {when}"));
    });
}

fn a_killed_run_is_cleaned_up_at_any_moment(lab: &Lab) {
    let ana = lab.user("ana");
    at_moments(&ana, (BUSYBOX, 10), tests::Background::kill, |output, when| {
        output.exits(137);
        // Its files go with it, which may be many.
        within(60, &format!("the processes have ended, killed {when}"), || ana.processes().is_empty());
        ana.bryo(["run", "--", "true"]).succeeds();
        is_empty(&ana, &format!("killed {when}"));
    });
}

fn an_init_that_cannot_be_asked_counts_as_started(lab: &Lab) {
    let ana = lab.user("ana");
    let words = ["--json", BUSYBOX, "--", "sh", "-c", "echo in; readlink /proc/1/exe; exit 3"];
    let output = boot(&ana, &words).exits(3).stdout_is("in\n/bin/busybox\n");
    let told = events(&output.stderr);
    assert_eq!(names(&told), WHOLE_RUN);
    assert_eq!((&told[2]["state"], &told[3]["status"]), (&"started".into(), &3.into()));
    is_empty(&ana, "a run");
}

fn the_exit_statuses_are_those_of_shells(lab: &Lab) {
    let ana = lab.user("ana");
    boot(&ana, &[BUSYBOX, "--", "sh", "-c", "kill -KILL $$"]).exits(137);
    boot(&ana, &[BUSYBOX, "--", "/no/such/command"]).exits(127).stderr_contains("no such program");
    boot(&ana, &[BUSYBOX, "--", "/etc/passwd"]).exits(126);
    boot(&ana, &["./no-such-image", "--", "true"]).exits(125);
    boot(&ana, &["--", "true"]).exits(125).stderr_contains("IMAGE");
    boot(&ana, &["--timeout", "0", BUSYBOX, "--", "true"]).exits(125).stderr_contains("1 or more");
    is_empty(&ana, "failures");
}

fn an_init_that_exits_is_a_failure_with_its_last_words(lab: &Lab) {
    let ana = lab.user("ana");
    image_with_init(&ana, "#!/bin/sh\nprintf 'no \\033[31mmoss\\033[0m here\\n'\nexit 3\n");
    boot(&ana, &["./image", "--", "true"])
        .exits(125)
        .stderr_contains("its init has ended, with status 3")
        .stderr_contains("no moss here");
    ana.write("image/sbin/init", "#!/bin/sh\nsleep 2\nexit 4\n");
    boot(&ana, &["./image", "--", "sleep", "1000"])
        .exits(125)
        .stderr_contains("its init has ended, with status 4");
    remove_image(&ana);
    is_empty(&ana, "inits that exit");
}

fn a_run_that_takes_too_long_is_ended_and_removed(lab: &Lab) {
    let ana = lab.user("ana");
    let untouched = "trap '' TERM; while :; do sleep 0.2; done";
    for words in [
        &["run", "--boot", "--timeout", "4", BUSYBOX, "--", "sleep", "1000"][..],
        &["run", "--timeout", "2", "--", "sleep", "1000"],
        &["run", "--timeout", "2", "--", "sh", "-c", untouched],
    ] {
        ana.bryo(words).exits(124).stderr_contains("are over");
        is_empty(&ana, &words.join(" "));
    }
    // The time for the making counts: no container is made in none.
    ana.sh("mkfifo image.tar; sleep 1000 >image.tar & bryo run --timeout 2 ./image.tar -- true; s=$?; kill $!; exit $s")
        .exits(124);
    is_empty(&ana, "an image without end");
}

fn a_systemd_that_never_answers_takes_too_long(lab: &Lab) {
    let ana = lab.user("ana");
    image_with_systemctl(&ana, "#!/bin/sh\nprintf 'starting\\n'\nexit 1\n");
    boot(&ana, &["--timeout", "5", "./image", "--", "true"]).exits(124).stderr_contains("\"starting\"");
    remove_image(&ana);
    is_empty(&ana, "a boot that takes too long");
}

fn a_systemd_that_answers_without_end_takes_too_long(lab: &Lab) {
    let ana = lab.user("ana");
    image_with_systemctl(&ana, "#!/bin/sh\ntrap '' HUP TERM\nexec yes running\n");
    boot(&ana, &["--timeout", "5", "./image", "--", "true"]).exits(124);
    remove_image(&ana);
    is_empty(&ana, "an answer without end");
}

fn exec_ends_a_command_that_takes_too_long(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    ana.bryo(["start", "web"]).succeeds();
    ana.bryo(["exec", "--timeout", "1", "web", "--", "sleep", "1234"]).exits(124);
    let runs = || ana.processes().iter().any(|process| process.command.contains("sleep 1234"));
    eventually("the command has ended", || !runs());
    ana.bryo(["exec", "--wait-boot", "--timeout", "60", "web", "--", "sh", "-c", "exit 6"]).exits(6);
    ana.destroy("web");
}

fn signals_go_to_the_command(lab: &Lab) {
    let ana = lab.user("ana");
    let script = "trap 'exit 5' TERM; echo ready; while :; do sleep 0.1; done";
    let starter = format!(
        "bryo run --boot {BUSYBOX} -- sh -c \"{script}\" >out & \
         while ! grep -q ready out; do sleep 0.1; done; kill -TERM $!; wait $!; s=$?; rm out; exit $s"
    );
    ana.sh(&starter).exits(5);
    is_empty(&ana, "a terminated command");
}

fn a_signal_hurries_a_container_that_does_not_stop(lab: &Lab) {
    let ana = lab.user("ana");
    // The kernel drops a signal to the first process of a PID namespace that does not listen for it.
    image_with_init(&ana, "#!/bin/sh\nwhile :; do sleep 1; done\n");
    let starter = "bryo run --boot --json=3 ./image -- sh -c 'exit 3' 3>events & \
                   while ! grep -q command events; do sleep 0.1; done; sleep 1; kill -TERM $!; wait $!";
    // Without the signal it is waited for 60 seconds.
    ana.sh(starter).seconds(45).exits(3);
    ana.sh("rm events").succeeds();
    remove_image(&ana);
    is_empty(&ana, "a container that does not stop");
}

fn a_boot_without_a_command_is_a_login_shell(lab: &Lab) {
    let ana = lab.user("ana");
    let mut terminal = boot(&ana, &[BUSYBOX]).in_terminal(33, 99);
    terminal.types("echo $0 in $PWD as $USER; stty size\n");
    terminal.shows("-sh in /root as root").shows("33 99").types("exit 4\n");
    terminal.exits(4);
    is_empty(&ana, "a login");
}

fn events_come_in_order_on_an_fd_of_their_own(lab: &Lab) {
    let ana = lab.user("ana");
    let run = |words: &str| ana.sh(&format!("bryo run --json=3 {words} 3>events")).seconds(180);
    let told = || events(&ana.sh("cat events").succeeds().stdout);
    let output = run(&format!("--boot -n moss {BUSYBOX} -- sh -c 'echo out; echo err >&2; exit 3'")).exits(3);
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("out\n", "err\n"));
    let whole = told();
    assert_eq!(names(&whole), WHOLE_RUN);
    assert!(whole.iter().all(|event| event["name"] == "moss"), "{whole:?}");
    assert!(whole[1]["pid"].as_i64() > Some(0) && whole[3]["status"] == 3, "{whole:?}");

    run("-- sh -c 'exit 4'").exits(4);
    assert_eq!(names(&told()), ["created", "started", "command", "stopped", "removed"]);

    run(&format!("--boot {BUSYBOX} -- /no/such/command")).exits(127).stderr_contains("no such program");
    let failed = told();
    assert_eq!(names(&failed), ["created", "started", "booted", "stopped", "removed", "failed"]);
    assert_eq!(failed[5]["status"], 127);
    assert!(failed[5]["cause"].to_string().contains("/no/such/command"), "{failed:?}");
    assert!(failed[5]["hint"].is_string(), "{failed:?}");

    // On standard error they stand alone.
    let output = ana.bryo(["run", "--json", "./no-such-image", "--", "true"]).exits(125);
    assert_eq!(names(&events(&output.stderr)), ["failed"]);
    ana.bryo(["run", "--json=77", "--", "true"]).exits(125).stderr_contains("--json=77");
    ana.sh("rm events").succeeds();
    is_empty(&ana, "runs with events");
}

fn a_reader_of_events_may_leave(lab: &Lab) {
    let ana = lab.user("ana");
    ana.sh("{ bryo run --json=3 -- sh -c 'sleep 1; exit 3' 3>&1 >/dev/null; echo $? >status; } | true; cat status; rm status")
        .succeeds()
        .stdout_is("3\n");
    is_empty(&ana, "a run without a reader");
}

fn exec_does_not_wait_for_what_does_not_run(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    ana.bryo(["exec", "--wait-boot", "web", "--", "true"]).exits(125).stderr_contains("web is not running");
    ana.bryo(["exec", "--wait-boot", "nothing", "--", "true"]).exits(125).stderr_contains("nothing");
    ana.destroy("web");
}
