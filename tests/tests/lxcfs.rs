//! What a container sees of its own limits in /proc and /sys.

use std::fs;
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};

use tests::attack::times;
use tests::{Lab, Process, User, eventually};

tests::claims! {
    a_container_sees_its_own_memory: hybrid, needs Bryo, not cell INIT;
    a_container_sees_its_own_processors: hybrid, needs Bryo, not cell INIT;
    a_quota_counts_as_processors_where_that_is_wished: hybrid, needs Bryo, not cell INIT;
    a_container_is_as_old_as_it_is: hybrid unified, needs Bryo, not cell INIT;
    two_containers_see_each_their_own: hybrid, needs Bryo, not cell INIT;
    every_way_to_read_gets_the_same_bytes: hybrid unified, needs Bryo, not cell INIT;
    the_files_cannot_be_written: hybrid, needs Bryo, not cell INIT;
    one_process_serves_all_and_ends_with_the_last: hybrid unified, needs Bryo, not cell INIT;
    nobody_serves_where_it_is_not_wished: hybrid, needs Bryo, not cell INIT;
    without_the_device_a_container_starts_and_says_so: hybrid, needs Bryo, not cell INIT;
    nobody_is_left_serving_by_a_start_that_fails: hybrid unified, needs Bryo, not cell INIT;
    a_monitor_answers_while_nobody_can_be_had_to_serve: hybrid, needs Bryo, not cell INIT;
    no_process_of_a_container_has_its_device: hybrid, needs Bryo, not cell INIT;
    who_serves_is_shut_in: hybrid unified, needs Bryo, not cell INIT;
    nobody_else_can_speak_to_who_serves: hybrid, needs Bryo, not cell INIT;
    readers_that_are_killed_or_stopped_leave_nothing: hybrid unified, needs Bryo, not cell INIT;
    the_installed_program_serves_after_an_upgrade: hybrid unified, needs Bryo, not cell INIT;
    who_serves_ends_with_the_container_though_somebody_holds_its_files: hybrid, needs Bryo, not cell INIT;
    a_container_ends_though_who_serves_it_is_stopped: hybrid, needs Bryo, not cell INIT;
    a_container_ends_though_who_has_its_question_is_stopped: hybrid unified, needs Bryo, not cell INIT;
    a_container_ends_by_itself_though_who_has_its_question_is_stopped: hybrid unified, needs Bryo, not cell INIT;
    a_container_reboots_by_itself_though_who_has_its_question_is_stopped: hybrid, needs Bryo, not cell INIT;
    a_container_ends_though_who_had_its_question_has_died: hybrid unified, needs Bryo, not cell INIT;
    a_container_is_cleaned_up_though_who_has_its_question_is_stopped: hybrid, needs Bryo, not cell INIT;
    a_container_starts_though_who_serves_is_stopped: hybrid, needs Bryo, not cell INIT;
    a_container_starts_though_who_serves_is_slow: hybrid, needs Bryo, not cell INIT;
    who_holds_up_what_changes_the_files_holds_up_one_process: hybrid, needs Bryo, not cell INIT;
    without_a_second_question_only_who_has_asked_gets_an_error: hybrid unified, needs Bryo, not cell INIT;
    without_a_second_question_who_is_killed_while_a_file_grows_ends: hybrid, needs Bryo, not cell INIT;
    a_container_sees_the_host_while_nobody_can_serve_and_then_itself: hybrid, needs Bryo, not cell INIT;
    doctor_finds_what_is_wrong_with_who_serves: hybrid, needs Bryo, not cell INIT;
    a_container_that_runs_is_shown_its_limits_and_the_hosts: hybrid unified, needs Bryo, not cell INIT;
    a_container_inside_may_mount_a_proc_of_its_own: hybrid, needs Bryo, not cell INIT;
    copies_that_a_container_made_of_its_proc_keep_nobody_from_changing_the_files: hybrid unified, needs Bryo, not cell INIT;
    what_a_configuration_puts_over_a_file_stays: hybrid, needs Bryo, not cell INIT;
    readers_outlive_who_is_killed_while_a_file_grows: hybrid, needs Bryo, not cell INIT;
    readers_outlive_who_serves_them: hybrid unified, needs Bryo, not cell INIT;
    two_containers_are_both_served_by_the_next_process: hybrid, needs Bryo, not cell INIT;
    a_container_starts_though_who_serves_it_dies_meanwhile: hybrid unified, needs Bryo, not cell INIT;
    splice_sendfile_and_pread_get_the_same_bytes: hybrid unified, needs Bryo, not cell INIT;
    a_text_that_shrinks_and_grows_is_read_whole_in_every_way: hybrid, needs Bryo, not cell INIT;
    a_file_that_is_held_open_shows_the_present: hybrid, needs Bryo, not cell INIT;
    two_containers_that_read_at_once_see_each_their_own: hybrid, needs Bryo, not cell INIT;
    the_tools_agree_with_the_limits_and_with_each_other: hybrid, needs Bryo, not cell INIT;
    node_and_java_agree_with_the_limits: hybrid, needs Bryo, not cell INIT;
    the_directories_of_processors_are_the_containers: hybrid, needs Bryo, not cell INIT;
    the_load_is_that_of_the_containers_tasks: hybrid unified, needs Bryo, not cell INIT;
    pressure_and_disks_are_the_containers: hybrid, needs Bryo, not cell INIT;
    who_waits_for_pressure_is_woken_whoever_serves: hybrid unified, needs Bryo, not cell INIT;
    a_shared_tree_shows_each_container_its_own: hybrid, needs Bryo, not cell INIT;
    a_shared_tree_is_a_users_own_in_his_namespace: hybrid unified, needs Bryo, not cell INIT;
    podman_shows_its_containers_their_own_by_a_users_tree: unified, needs Bryo, not cell INIT;
    nobody_in_a_shared_tree_passes_for_another: hybrid, needs Bryo, not cell INIT;
    containers_that_come_and_go_leave_nothing_of_them: hybrid, needs Bryo, not cell INIT;
    a_container_that_reboots_sees_its_limits_again: hybrid, needs Bryo, not cell INIT;
}

const CONFIG: &str = ".local/share/lxc/web/config";

/// A user whose containers see their own limits.
fn wishing<'lab>(lab: &'lab Lab, name: &'static str) -> User<'lab> {
    let user = lab.user(name);
    user.write(".config/bryo/config.toml", "[start]\nlxcfs = true\n");
    user
}

fn with(user: &User<'_>, lines: &str) {
    user.busybox("web");
    user.append(CONFIG, lines);
    user.lxc("start", ["-n", "web"]).succeeds();
}

fn inside(user: &User<'_>, name: &str, script: &str) -> String {
    user.lxc("attach", ["-n", name, "--clear-env", "--", "sh", "-c", script]).succeeds().stdout
}

/// Returns the number of a line of meminfo, in kilobytes.
fn kilobytes(text: &str, key: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    let number = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    number.unwrap_or_else(|| panic!("no {key} in\n{text}"))
}

fn a_container_sees_its_own_memory(lab: &Lab) {
    let ana = wishing(lab, "ana");
    with(&ana, "lxc.cgroup.memory.limit_in_bytes = 96M\n");
    let before = inside(&ana, "web", "cat /proc/meminfo");
    assert_eq!(kilobytes(&before, "MemTotal"), 96 * 1024);
    assert!(kilobytes(&before, "MemFree") <= 96 * 1024);
    let used = inside(
        &ana,
        "web",
        "head -c 30000000 /dev/zero >/dev/shm/filled; cat /proc/meminfo; rm /dev/shm/filled",
    );
    assert!(kilobytes(&used, "Shmem") > 29_000, "{used}");
    assert!(kilobytes(&before, "MemFree") > kilobytes(&used, "MemFree") + 20_000, "{before}\n{used}");
    ana.destroy("web");
}

fn a_container_sees_its_own_processors(lab: &Lab) {
    let ana = wishing(lab, "ana");
    with(&ana, "lxc.cgroup.cpuset.cpus = 0\n");
    assert_eq!(inside(&ana, "web", "cat /sys/devices/system/cpu/online"), "0\n");
    assert_eq!(inside(&ana, "web", "grep -c ^processor /proc/cpuinfo"), "1\n");
    assert_eq!(inside(&ana, "web", "grep -c '^cpu[0-9]' /proc/stat"), "1\n");
    assert_eq!(inside(&ana, "web", "nproc"), "1\n");
    ana.destroy("web");
}

fn a_quota_counts_as_processors_where_that_is_wished(lab: &Lab) {
    let ana = lab.user("ana");
    let wishes = |quota: bool| {
        ana.write(".config/bryo/config.toml", &format!("[start]\nlxcfs_quota = {quota}\n"));
    };
    let processors =
        || inside(&ana, "web", "grep -c ^processor /proc/cpuinfo; cat /sys/devices/system/cpu/online");
    wishes(true);
    with(&ana, "lxc.cgroup.cpu.cfs_period_us = 100000\nlxc.cgroup.cpu.cfs_quota_us = 100000\n");
    assert_eq!(processors(), "1\n0\n");
    // Whoever serves next knows it too.
    assert_eq!(kill_who_serves(&ana), 1);
    assert_eq!(processors(), "1\n0\n");
    wishes(false);
    ana.bryo(["lxcfs", "attach", "web"]).succeeds();
    // Those of the host, of which there may be one.
    let host = |file: &str| fs::read_to_string(file).unwrap_or_default();
    let count = host("/proc/cpuinfo").lines().filter(|line| line.starts_with("processor")).count();
    assert_eq!(processors(), format!("{count}\n{}", host("/sys/devices/system/cpu/online")));
    ana.destroy("web");
}

fn a_container_is_as_old_as_it_is(lab: &Lab) {
    let ana = wishing(lab, "ana");
    with(&ana, "");
    let uptime = inside(&ana, "web", "cat /proc/uptime");
    let age: f64 = uptime.split(' ').next().and_then(|age| age.parse().ok()).unwrap_or(f64::NAN);
    let host = fs::read_to_string("/proc/uptime").unwrap_or_default();
    let hosts: f64 = host.split(' ').next().and_then(|age| age.parse().ok()).unwrap_or(f64::NAN);
    assert!(age < hosts / 2.0 && age < 600.0, "{uptime} of the host's {host}");
    ana.destroy("web");
}

fn two_containers_see_each_their_own(lab: &Lab) {
    let ana = wishing(lab, "ana");
    with(&ana, "lxc.cgroup.memory.limit_in_bytes = 96M\n");
    ana.busybox("db");
    ana.append(".local/share/lxc/db/config", "lxc.cgroup.memory.limit_in_bytes = 64M\n");
    ana.lxc("start", ["-n", "db"]).succeeds();
    // busybox' cat reads by sendfile, and so by the page cache.
    for _ in 0..3 {
        for (name, total) in [("web", 96), ("db", 64)] {
            for command in ["cat /proc/meminfo", "dd if=/proc/meminfo bs=1 2>/dev/null"] {
                assert_eq!(
                    kilobytes(&inside(&ana, name, command), "MemTotal"),
                    total * 1024,
                    "{name}: {command}"
                );
            }
        }
    }
    ana.destroy("db");
    ana.destroy("web");
}

fn every_way_to_read_gets_the_same_bytes(lab: &Lab) {
    let ana = wishing(lab, "ana");
    with(&ana, "");
    for file in ["/proc/cpuinfo", "/proc/swaps", "/sys/devices/system/cpu/online"] {
        let ways = [
            format!("cat {file}"),
            format!("dd if={file} bs=1 2>/dev/null"),
            format!("dd if={file} bs=100000 2>/dev/null"),
            format!("head -c 100000 <{file}"),
            format!("while read -r line; do printf '%s\\n' \"$line\"; done <{file}"),
        ];
        // The clock of a processor is another one at each look.
        let lasting = |text: String| -> Vec<String> {
            text.lines().filter(|line| !line.contains("MHz")).map(str::to_owned).collect()
        };
        let texts = ways.map(|way| lasting(inside(&ana, "web", &way)));
        assert!(!texts[0].is_empty(), "{file}");
        texts.iter().for_each(|text| assert_eq!(text, &texts[0], "{file}"));
    }
    ana.destroy("web");
}

fn the_files_cannot_be_written(lab: &Lab) {
    let ana = wishing(lab, "ana");
    with(&ana, "");
    let tried = inside(
        &ana,
        "web",
        "try() { echo x >/proc/meminfo || echo refused; }; try; mount -o remount,rw,bind /proc/meminfo; try; \
         mount -o remount,rw /proc/meminfo; try",
    );
    assert_eq!(tried, "refused\nrefused\nrefused\n");
    assert!(inside(&ana, "web", "cat /proc/meminfo").starts_with("MemTotal:"));
    ana.destroy("web");
}

/// Returns the user's processes that serve.
fn serving(user: &User<'_>) -> usize {
    user.processes().iter().filter(|process| process.command.contains("bryo/bryo-lxcfs")).count()
}

fn one_process_serves_all_and_ends_with_the_last(lab: &Lab) {
    let ana = wishing(lab, "ana");
    with(&ana, "");
    ana.busybox("db");
    ana.lxc("start", ["-n", "db"]).succeeds();
    assert_eq!(serving(&ana), 1);
    ana.lxc("stop", ["-n", "web", "-k"]).succeeds();
    assert!(inside(&ana, "db", "cat /proc/meminfo").starts_with("MemTotal:"));
    assert_eq!(serving(&ana), 1);
    ana.lxc("stop", ["-n", "db", "-k"]).succeeds();
    eventually("the process ends", || serving(&ana) == 0);
    ana.destroy("db");
    ana.destroy("web");
}

/// A device that others than root may not open, as the kernel makes it without udev.
const CLOSED: &str =
    "mount -t tmpfs own /mnt; mknod -m 600 /mnt/fuse c 10 229; mount --bind /mnt/fuse /dev/fuse";

fn nobody_serves_where_it_is_not_wished(lab: &Lab) {
    let ana = wishing(lab, "ana");
    ana.write(".config/bryo/config.toml", "[start]\nlxcfs = false\n");
    ana.busybox("web");
    ana.append(CONFIG, "lxc.cgroup.memory.limit_in_bytes = 96M\n");
    let said = ana.bryo(["--verbose", "start", "web"]).succeeds().stderr;
    assert!(!said.contains("limits in /proc"), "{said}");
    assert!(kilobytes(&inside(&ana, "web", "cat /proc/meminfo"), "MemTotal") > 96 * 1024);
    assert_eq!(serving(&ana), 0);
    ana.destroy("web");
}

fn without_the_device_a_container_starts_and_says_so(lab: &Lab) {
    let ana = wishing(lab, "ana");
    ana.busybox("web");
    ana.append(CONFIG, "lxc.cgroup.memory.limit_in_bytes = 96M\n");
    let started = ana.bryo(["start", "web"]).amid(CLOSED).succeeds();
    started.stderr_contains("its own limits in /proc: ").stderr_contains("(bryo doctor: fuse.access)");
    assert!(kilobytes(&inside(&ana, "web", "cat /proc/meminfo"), "MemTotal") > 96 * 1024);
    assert_eq!(serving(&ana), 0);
    ana.destroy("web");
}

/// Kills the processes that serve, and returns how many there were.
fn kill_who_serves(user: &User<'_>) -> usize {
    let serving: Vec<Process> =
        user.processes().into_iter().filter(|process| process.command.contains("bryo/bryo-lxcfs")).collect();
    serving.iter().for_each(Process::kill);
    serving.len()
}

fn readers_outlive_who_serves_them(lab: &Lab) {
    const READERS: usize = 16;
    let ana = wishing(lab, "ana");
    with(&ana, "");
    let seconds = times(8, 60);
    let reads = format!(
        "end=$(($(date +%s)+{seconds})); while [ $(date +%s) -lt $end ]; do \
        cat /proc/meminfo >/tmp/$$ || echo failed; grep -q ^cpu /proc/stat || echo failed; \
        [ -s /tmp/$$ ] || echo empty; done; echo done"
    );
    let mut readers: Vec<_> = (0..READERS)
        .map(|_| {
            let args = ["-n", "web", "--clear-env", "--", "sh", "-c", &reads];
            ana.lxc("attach", args).seconds(240).background()
        })
        .collect();
    let mut killed = 0;
    while readers.iter_mut().any(tests::Background::runs) {
        killed += kill_who_serves(&ana);
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    assert!(killed >= seconds, "only {killed} were killed");
    for reader in readers {
        reader.wait().exits(0).stdout_is("done\n");
    }
    ana.destroy("web");
}

fn nobody_is_left_serving_by_a_start_that_fails(lab: &Lab) {
    let ana = wishing(lab, "ana");
    ana.busybox("web");
    ana.append(CONFIG, "lxc.hook.pre-mount = /bin/false\n");
    ana.lxc("start", ["-n", "web"]).exits(1);
    eventually("the process ends", || serving(&ana) == 0);
    ana.destroy("web");
}

/// The directory of the command socket, without one of a session.
const DIRECTORY: &str = ".local/share/lxc/.bryo-lxcfs";

fn a_monitor_answers_while_nobody_can_be_had_to_serve(lab: &Lab) {
    let ana = wishing(lab, "ana");
    with(&ana, "");
    // Who holds the lock lets nobody start a process.
    let mut holder = ana.sh(&format!("exec flock --no-fork {DIRECTORY} sleep 600")).seconds(600).background();
    let held = || !ana.sh(&format!("flock -n {DIRECTORY} true")).output().status().eq(&0);
    eventually("the lock is held", held);
    assert_eq!(kill_who_serves(&ana), 1);
    for _ in 0..10 {
        ana.lxc("attach", ["-n", "web", "--", "true"]).seconds(10).succeeds();
    }
    assert_eq!(serving(&ana), 0);
    holder.kill();
    drop(holder);
    assert!(inside(&ana, "web", "cat /proc/meminfo").starts_with("MemTotal:"));
    ana.destroy("web");
}

fn no_process_of_a_container_has_its_device(lab: &Lab) {
    let ana = wishing(lab, "ana");
    with(&ana, "");
    let open = inside(&ana, "web", "ls -l /proc/[0-9]*/fd 2>/dev/null");
    assert!(open.contains("/dev/null") && !open.contains("fuse"), "{open}");
    ana.destroy("web");
}

fn who_serves_is_shut_in(lab: &Lab) {
    let ana = wishing(lab, "ana");
    with(&ana, "");
    let serving = ana.processes().into_iter().find(|process| process.command.contains("bryo/bryo-lxcfs"));
    let pid = serving.map_or(0, |process| process.pid);
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    for line in ["NoNewPrivs:\t1", "Seccomp:\t2", "CapEff:\t0000000000000000"] {
        assert!(status.contains(line), "{line}: {status}");
    }
    // Not even its user looks into it.
    ana.sh(&format!("ls /proc/{pid}/fd")).exits(2).stderr_contains("Permission denied");
    ana.destroy("web");
}

/// Returns the process that serves.
fn who_serves(user: &User<'_>) -> Option<i32> {
    let serving = user.processes().into_iter().find(|process| process.command.contains("bryo/bryo-lxcfs"));
    serving.map(|process| process.pid)
}

fn the_installed_program_serves_after_an_upgrade(lab: &Lab) {
    let ana = wishing(lab, "ana");
    with(&ana, "");
    let reads = "i=0; while [ $i -lt 400 ]; do cat /proc/meminfo /proc/stat >/tmp/$$ || echo failed; [ -s /tmp/$$ ] || echo empty; \
                 i=$((i+1)); done; echo done";
    let reader =
        || ana.lxc("attach", ["-n", "web", "--clear-env", "--", "sh", "-c", reads]).seconds(120).background();
    let mut readers: Vec<_> = (0..4).map(|_| reader()).collect();
    let mut renewed = 0;
    while readers.iter_mut().any(tests::Background::runs) {
        let before = who_serves(&ana);
        ana.bryo(["lxcfs", "renew"]).succeeds();
        eventually("another one serves", || who_serves(&ana).is_some_and(|now| Some(now) != before));
        renewed += 1;
    }
    assert!(renewed >= 2, "{renewed}");
    for reader in readers {
        reader.wait().exits(0).stdout_is("done\n");
    }
    ana.destroy("web");
    ana.bryo(["lxcfs", "renew"]).succeeds().stderr_contains("does not run");
}

fn who_serves_ends_with_the_container_though_somebody_holds_its_files(lab: &Lab) {
    let ana = wishing(lab, "ana");
    with(&ana, "");
    let init = ana.init_of("web");
    // A mount namespace that somebody holds keeps the superblock.
    let held = fs::File::open(format!("/proc/{init}/ns/mnt")).unwrap_or_else(|e| panic!("{e}"));
    ana.lxc("stop", ["-n", "web", "-k"]).succeeds();
    eventually("the process ends", || serving(&ana) == 0);
    drop(held);
    ana.destroy("web");
}

fn a_container_ends_though_who_serves_it_is_stopped(lab: &Lab) {
    let ana = wishing(lab, "ana");
    with(&ana, "");
    let stopped = ana.processes().into_iter().find(|process| process.command.contains("bryo/bryo-lxcfs"));
    stopped.iter().for_each(Process::stop);
    let reader = ana.lxc("attach", ["-n", "web", "--", "cat", "/proc/meminfo"]).seconds(60).background();
    std::thread::sleep(std::time::Duration::from_millis(300));
    ana.lxc("stop", ["-n", "web", "-k"]).seconds(30).succeeds();
    stopped.iter().for_each(Process::go_on);
    drop(reader.wait());
    eventually("the process ends", || serving(&ana) == 0);
    // Its cgroup waits for the next one, who ends before its monitor.
    ana.lxc("start", ["-n", "web"]).succeeds();
    ana.lxc("stop", ["-n", "web", "-k"]).succeeds();
    ana.destroy("web");
}

/// Stops the process that serves while it has a question of a container's that it has not answered: who asked does not end then, though
/// he is killed.
fn stop_amid_a_question(user: &User<'_>, name: &'static str) -> Vec<tests::Background> {
    const ASK: &str = "cat /proc/stat";
    let asks = format!("while :; do {ASK} >/dev/null; done");
    let args = ["-n", name, "--clear-env", "--", "sh", "-c", &asks];
    let readers = (0..4).map(|_| user.lxc("attach", args).seconds(600).background()).collect();
    let asking = || -> Vec<Process> {
        user.processes().into_iter().filter(|process| process.command == ASK).collect()
    };
    eventually("readers", || !asking().is_empty());
    for _ in 0..100 {
        let serving =
            user.processes().into_iter().find(|process| process.command.contains("bryo/bryo-lxcfs"));
        let serving = serving.unwrap_or_else(|| panic!("nobody serves"));
        serving.stop();
        std::thread::sleep(std::time::Duration::from_millis(100));
        let killed = asking();
        killed.iter().for_each(Process::kill);
        std::thread::sleep(std::time::Duration::from_millis(300));
        let lives = |process: &Process| {
            let status = fs::read_to_string(format!("/proc/{}/status", process.pid)).unwrap_or_default();
            status.contains("State:\tD")
        };
        if killed.iter().any(lives) {
            return readers;
        }
        serving.go_on();
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("it never had a question when it was stopped");
}

fn a_container_ends_though_who_has_its_question_is_stopped(lab: &Lab) {
    let ana = wishing(lab, "ana");
    with(&ana, "");
    ana.busybox("db");
    ana.lxc("start", ["-n", "db"]).succeeds();
    let readers = stop_amid_a_question(&ana, "web");
    let args = ["-n", "db", "--clear-env", "--", "cat", "/proc/meminfo"];
    let other = ana.lxc("attach", args).seconds(120).background();
    ana.lxc("stop", ["-n", "web", "-k"]).seconds(60).succeeds();
    // Who serves was killed for it, and others wait for the next one alone.
    other.wait().exits(0).stdout_contains("MemTotal:");
    readers.into_iter().for_each(|reader| drop(reader.wait()));
    assert_eq!(serving(&ana), 1);
    ana.destroy("db");
    ana.destroy("web");
}

fn a_container_ends_by_itself_though_who_has_its_question_is_stopped(lab: &Lab) {
    let (socket, _peer) = sys::socket::pair().expect("a pair of sockets");
    if sys::socket::peer_pidfd(socket.as_fd()).is_err() {
        return tests::skip(
            "a_container_ends_by_itself_though_who_has_its_question_is_stopped",
            "before Linux 6.5 nobody finds who serves where /proc does not show him",
        );
    }
    let ana = wishing(lab, "ana");
    ana.busybox("web");
    // /proc shows the monitor neither its init nor who serves.
    ana.bryo(["start", "web"]).amid("mount -t proc -o hidepid=2 proc /proc").succeeds();
    let readers = stop_amid_a_question(&ana, "web");
    // Nobody outside asks for its end.
    ana.lxc("attach", ["-n", "web", "--", "poweroff", "-f"]).seconds(120).output();
    tests::within(60, "its end", || ana.bryo(["info", "web"]).output().stdout.contains("STOPPED"));
    readers.into_iter().for_each(|reader| drop(reader.wait()));
    eventually("the process ends", || serving(&ana) == 0);
    ana.destroy("web");
}

fn a_container_reboots_by_itself_though_who_has_its_question_is_stopped(lab: &Lab) {
    let ana = wishing(lab, "ana");
    ana.busybox("web");
    ana.append(CONFIG, "lxc.cgroup.memory.limit_in_bytes = 96M\n");
    ana.bryo(["start", "web"]).succeeds();
    let first = ana.init_of("web");
    let readers = stop_amid_a_question(&ana, "web");
    ana.lxc("attach", ["-n", "web", "--", "reboot", "-f"]).seconds(120).output();
    let has_another = || ana.lxc("info", ["-n", "web", "-pH"]).output().stdout.trim() != first.to_string();
    tests::within(60, "a new init that sees its limits", || {
        has_another() && memory_of(&ana, "web") == Some(96 * 1024)
    });
    readers.into_iter().for_each(|reader| drop(reader.wait()));
    ana.destroy("web");
}

fn a_container_ends_though_who_had_its_question_has_died(lab: &Lab) {
    let ana = wishing(lab, "ana");
    with(&ana, "");
    let readers = stop_amid_a_question(&ana, "web");
    // Nobody takes over. What has died may have left a thread that waits for a reader.
    let without = Without::program(lab);
    kill_who_serves(&ana);
    ana.lxc("stop", ["-n", "web", "-k"]).seconds(60).succeeds();
    readers.into_iter().for_each(|reader| drop(reader.wait()));
    eventually("the process ends", || serving(&ana) == 0);
    drop(without);
    ana.destroy("web");
}

fn a_container_is_cleaned_up_though_who_has_its_question_is_stopped(lab: &Lab) {
    let ana = wishing(lab, "ana");
    with(&ana, "");
    let readers = stop_amid_a_question(&ana, "web");
    let monitor = ana.processes().into_iter().find(|process| process.command.contains("bryo-monitor"));
    monitor.iter().for_each(Process::kill);
    ana.lxc("start", ["-n", "web"]).seconds(60).succeeds();
    readers.into_iter().for_each(|reader| drop(reader.wait()));
    assert!(inside(&ana, "web", "cat /proc/meminfo").starts_with("MemTotal:"));
    ana.destroy("web");
}

fn a_container_starts_though_who_serves_is_stopped(lab: &Lab) {
    let ana = wishing(lab, "ana");
    with(&ana, "");
    ana.busybox("db");
    ana.append(".local/share/lxc/db/config", "lxc.cgroup.memory.limit_in_bytes = 64M\n");
    let stopped = ana.processes().into_iter().find(|process| process.command.contains("bryo/bryo-lxcfs"));
    stopped.iter().for_each(Process::stop);
    ana.lxc("start", ["-n", "db"]).seconds(60).succeeds();
    // It has gone on, and nobody was killed for it.
    assert_eq!(who_serves(&ana), stopped.map(|process| process.pid));
    assert_eq!(kilobytes(&inside(&ana, "db", "cat /proc/meminfo"), "MemTotal"), 64 * 1024);
    assert!(inside(&ana, "web", "cat /proc/meminfo").starts_with("MemTotal:"));
    ana.destroy("db");
    ana.destroy("web");
}

fn a_container_starts_though_who_serves_is_slow(lab: &Lab) {
    let ana = wishing(lab, "ana");
    with(&ana, "");
    ana.busybox("db");
    ana.append(".local/share/lxc/db/config", "lxc.cgroup.memory.limit_in_bytes = 64M\n");
    let slow = who_serves(&ana);
    let group = format!("$(grep :freezer: /proc/{}/cgroup | cut -d: -f3)", slow.unwrap_or(0));
    let state = format!("/sys/fs/cgroup/freezer{group}/freezer.state");
    let freezes =
        format!("state={state}; echo FROZEN >$state; echo frozen >~/frozen; sleep 9; echo THAWED >$state");
    let freezes = ana.sh(&freezes).background();
    eventually("it is frozen", || ana.home().join("frozen").exists());
    // One that runs is shown its limits anew meanwhile.
    let attaches = ana.bryo(["lxcfs", "attach", "web"]).seconds(60).background();
    ana.lxc("start", ["-n", "db"]).seconds(60).succeeds();
    attaches.wait().exits(0);
    freezes.wait().exits(0);
    assert_eq!(who_serves(&ana), slow);
    assert_eq!(memory_of(&ana, "db"), Some(64 * 1024));
    assert!(inside(&ana, "web", "cat /proc/meminfo").starts_with("MemTotal:"));
    ana.destroy("db");
    ana.destroy("web");
}

/// As root of a container, puts a file system over its /proc that answers nothing.
const HOLDS_UP: &str = r#"
import ctypes, os, struct
libc = ctypes.CDLL(None, use_errno=True)
fd = os.open("/dev/fuse", os.O_RDWR)
options = b"fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other" % fd
if libc.mount(b"held", b"/proc", b"fuse", 0, options): raise OSError(ctypes.get_errno(), "mount")
first = os.read(fd, 1 << 17)
answer = struct.pack("=IIIIHHIIHHI7I", 7, 31, 0, 0, 1, 1, 4096, 1, 0, 0, 0, *[0] * 7)
os.write(fd, struct.pack("=Ii", 16 + len(answer), 0) + first[8:16] + answer)
open("/tmp/held", "w").close()
while True: os.read(fd, 1 << 17)
"#;

fn who_holds_up_what_changes_the_files_holds_up_one_process(lab: &Lab) {
    let ana = wishing(lab, "ana");
    with_tools(&ana, "web", "lxc.mount.entry = /dev/fuse dev/fuse none bind,create=file 0 0\n");
    let holds = ana.bryo(["exec", "web", "--", "python3", "-c", HOLDS_UP]).seconds(240).background();
    let held = format!("/proc/{}/root/tmp/held", ana.init_of("web"));
    eventually("it holds", || std::path::Path::new(&held).exists());
    ana.bryo(["lxcfs", "attach", "web"]).seconds(90).exits(1).stderr_contains("no answer within");
    // What it saw it still sees, for all that is known.
    ana.bryo(["info", "web"]).succeeds().stdout_contains("with its own limits");
    for change in ["attach", "detach"] {
        ana.bryo(["lxcfs", change, "web"]).seconds(20).exits(1).stderr_contains("holds up a process");
    }
    ana.lxc("stop", ["-n", "web", "-k"]).seconds(60).succeeds();
    drop(holds.wait());
    ana.destroy("web");
}

fn without_a_second_question_only_who_has_asked_gets_an_error(lab: &Lab) {
    const READERS: usize = 8;
    let ana = wishing(lab, "ana");
    ana.busybox("web");
    // A kernel that says that it is Linux 2.6 is none that asks once more.
    ana.run("setarch", ["--uname-2.6", "bryo", "start", "web"]).succeeds();
    let reads = "while [ ! -e /tmp/stop ]; do cat /proc/stat 2>>/tmp/errors >/dev/null; done; echo done";
    let readers: Vec<_> = (0..READERS)
        .map(|_| {
            let args = ["-n", "web", "--clear-env", "--", "sh", "-c", reads];
            ana.lxc("attach", args).seconds(240).background()
        })
        .collect();
    let errors = || inside(&ana, "web", "cat /tmp/errors");
    // Until somebody was being answered when who answers died.
    tests::within(120, "an error", || {
        for _ in 0..5 {
            kill_who_serves(&ana);
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
        !errors().is_empty()
    });
    inside(&ana, "web", "touch /tmp/stop");
    for reader in readers {
        reader.wait().exits(0).stdout_is("done\n");
    }
    let errors = errors();
    assert!(errors.lines().all(|error| error.ends_with("Software caused connection abort")), "{errors}");
    assert!(inside(&ana, "web", "cat /proc/meminfo").starts_with("MemTotal:"));
    let readers = stop_amid_a_question(&ana, "web");
    ana.lxc("stop", ["-n", "web", "-k"]).seconds(60).succeeds();
    readers.into_iter().for_each(|reader| drop(reader.wait()));
    ana.destroy("web");
}

fn without_a_second_question_who_is_killed_while_a_file_grows_ends(lab: &Lab) {
    let ana = wishing(lab, "ana");
    ana.busybox("web");
    ana.append(CONFIG, "lxc.cgroup.cpuset.cpus = 0-1\n");
    ana.run("setarch", ["--uname-2.6", "bryo", "start", "web"]).succeeds();
    kill_while_a_file_grows(&ana, ":");
}

fn readers_outlive_who_is_killed_while_a_file_grows(lab: &Lab) {
    let ana = wishing(lab, "ana");
    with(&ana, "lxc.cgroup.cpuset.cpus = 0-1\n");
    kill_while_a_file_grows(&ana, "echo failed");
}

/// Kills who serves web, again and again, while its /proc/cpuinfo is read and grows. A read that fails does so.
fn kill_while_a_file_grows(ana: &User<'_>, failing: &str) {
    // busybox' cat reads by sendfile, and so by the page that the kernel has to have for itself to take note of a larger size.
    let reads = format!(
        "while [ ! -e /tmp/stop ]; do cat /proc/cpuinfo >/dev/null 2>&1 || {failing}; done; echo done"
    );
    let readers: Vec<_> = (0..8)
        .map(|_| {
            let args = ["-n", "web", "--clear-env", "--", "sh", "-c", &reads];
            ana.lxc("attach", args).seconds(240).background()
        })
        .collect();
    let init = ana.init_of("web");
    let own = format!("$(grep :cpuset: /proc/{init}/cgroup | cut -d: -f3)");
    let grows = format!(
        "file=/sys/fs/cgroup/cpuset{own}/cpuset.cpus; \
         while [ ! -e ~/stop ]; do echo 0 >$file; echo 0-1 >$file; done"
    );
    let grows = ana.sh(&grows).seconds(240).background();
    for _ in 0..times(25, 300) {
        let Some(server) = who_serves(ana) else { continue };
        kill_who_serves(ana);
        // The last of its threads, too.
        eventually("it ends", || !std::path::Path::new(&format!("/proc/{server}")).exists());
        tests::within(30, "another one serves", || who_serves(ana).is_some());
        std::thread::sleep(std::time::Duration::from_millis(150));
    }
    ana.sh("touch ~/stop").succeeds();
    grows.wait().exits(0);
    inside(ana, "web", "touch /tmp/stop");
    for reader in readers {
        reader.wait().exits(0).stdout_is("done\n");
    }
    ana.destroy("web");
}

/// The lab without the program that serves.
struct Without<'lab>(&'lab Lab);

impl<'lab> Without<'lab> {
    fn program(lab: &'lab Lab) -> Self {
        Self::run(lab, &["mount", "--bind", "/dev/null", SERVER]);
        Self(lab)
    }

    fn run(lab: &Lab, command: &[&str]) {
        let holder = lab.holder().to_string();
        let mut nsenter = Command::new("nsenter");
        nsenter.args(["--mount", "--target", &holder, "--"]).args(command);
        assert!(nsenter.status().is_ok_and(|status| status.success()), "{command:?}");
    }
}

impl Drop for Without<'_> {
    fn drop(&mut self) {
        Self::run(self.0, &["umount", SERVER]);
    }
}

/// Returns how much memory a container sees, in kilobytes; none where it cannot be read just now.
fn memory_of(user: &User<'_>, name: &str) -> Option<u64> {
    let args = ["-n", name, "--clear-env", "--", "cat", "/proc/meminfo"];
    let read = user.lxc("attach", args).seconds(60).output();
    (read.status() == 0).then(|| kilobytes(&read.stdout, "MemTotal"))
}

fn a_container_sees_the_host_while_nobody_can_serve_and_then_itself(lab: &Lab) {
    let ana = wishing(lab, "ana");
    with(&ana, "lxc.cgroup.memory.limit_in_bytes = 96M\n");
    let without = Without::program(lab);
    assert_eq!(kill_who_serves(&ana), 1);
    tests::within(90, "the host's memory", || memory_of(&ana, "web").is_some_and(|total| total > 96 * 1024));
    assert!(!inside(&ana, "web", "cat /proc/mounts").contains("lxcfs"));
    ana.bryo(["info", "web"]).succeeds().stdout_contains("since bryo-lxcfs cannot be had");
    drop(without);
    tests::within(90, "its own memory", || memory_of(&ana, "web") == Some(96 * 1024));
    ana.bryo(["info", "web"]).succeeds().stdout_contains("with its own limits");
    // Once more, and the container ends meanwhile.
    let without = Without::program(lab);
    assert_eq!(kill_who_serves(&ana), 1);
    ana.lxc("stop", ["-n", "web", "-k"]).seconds(60).succeeds();
    drop(without);
    ana.destroy("web");
}

fn doctor_finds_what_is_wrong_with_who_serves(lab: &Lab) {
    let ana = wishing(lab, "ana");
    let found = || -> Vec<String> {
        let said = ana.bryo(["doctor"]).output().stdout;
        let ids = said.lines().filter_map(|line| line.trim_start().strip_prefix("lxcfs.")?.split(':').next());
        ids.map(str::to_owned).collect()
    };
    with(&ana, "lxc.cgroup.memory.limit_in_bytes = 96M\n");
    assert_eq!(found(), [""; 0]);
    let without = Without::program(lab);
    assert_eq!(found(), ["version"]);
    assert_eq!(kill_who_serves(&ana), 1);
    tests::within(90, "a finding", || found() == ["lacking"]);
    drop(without);
    // It may be mended already.
    ana.bryo(["lxcfs", "attach", "web"]).output();
    tests::within(60, "no finding", || found().is_empty() && memory_of(&ana, "web") == Some(96 * 1024));
    let stopped = ana.processes().into_iter().find(|process| process.command.contains("bryo/bryo-lxcfs"));
    stopped.iter().for_each(Process::stop);
    let said = ana.bryo(["doctor"]).output();
    said.stdout_contains("lxcfs.silent: bryo-lxcfs does not answer")
        .stdout_contains("mend: bryo lxcfs renew");
    ana.bryo(["lxcfs", "renew"]).seconds(60).succeeds();
    assert_eq!((memory_of(&ana, "web"), found()), (Some(96 * 1024), Vec::new()));
    ana.destroy("web");
}

fn a_container_that_runs_is_shown_its_limits_and_the_hosts(lab: &Lab) {
    let ana = lab.user("ana");
    ana.write(".config/bryo/config.toml", "[start]\nlxcfs = false\n");
    ana.bryo(["lxcfs", "attach", "web"]).exits(1).stderr_contains("there is no container web");
    with(&ana, "");
    ana.busybox("db");
    let mounts = || inside(&ana, "web", "cat /proc/mounts").matches(" fuse.lxcfs ").count();
    let age =
        || -> f64 { inside(&ana, "web", "cut -d' ' -f1 /proc/uptime").trim().parse().unwrap_or(f64::NAN) };
    assert_eq!((mounts(), serving(&ana)), (0, 0));
    let hosts = age();
    ana.bryo(["lxcfs", "attach", "db"]).exits(1).stderr_contains("is not running");
    ana.bryo(["lxcfs", "detach", "web"]).exits(1).stderr_contains("sees the host's limits already");
    ana.bryo(["lxcfs", "attach", "web"]).succeeds();
    let all = mounts();
    assert!(all > 8 && age() < hosts / 2.0, "{all} mounts, {} of {hosts} seconds", age());
    assert_eq!(serving(&ana), 1);
    // Nobody of the container's has its device.
    let open = inside(&ana, "web", "ls -l /proc/[0-9]*/fd 2>/dev/null");
    assert!(open.contains("/dev/null") && !open.contains("fuse"), "{open}");
    // As they were made anew, so that nothing of the old ones is left.
    ana.bryo(["lxcfs", "attach", "web"]).succeeds();
    assert_eq!((mounts(), serving(&ana)), (all, 1));
    assert_eq!(kill_who_serves(&ana), 1);
    assert!(age() < hosts / 2.0);
    ana.bryo(["lxcfs", "detach", "web"]).succeeds();
    assert_eq!(mounts(), 0);
    assert!(age() >= hosts);
    eventually("the process ends", || serving(&ana) == 0);
    ana.bryo(["lxcfs", "attach", "web"]).succeeds();
    assert_eq!(mounts(), all);
    ana.lxc("stop", ["-n", "web", "-k"]).succeeds();
    eventually("the process ends", || serving(&ana) == 0);
    ana.destroy("db");
    ana.destroy("web");
}

fn a_container_inside_may_mount_a_proc_of_its_own(lab: &Lab) {
    const NESTED: &str = "unshare -Urpf --mount-proc sh -c 'echo $$; ls -d /proc/1'";
    let ana = wishing(lab, "ana");
    let limits = "lxc.cgroup.memory.limit_in_bytes = 96M\n";
    for (name, lines) in [
        ("nests", "lxc.apparmor.allow_nesting = 1\n"),
        ("whole", "lxc.mount.auto =\nlxc.mount.auto = proc:rw sys:rw cgroup:mixed\n"),
    ] {
        with_tools(&ana, name, &format!("{lines}{limits}"));
        assert_eq!(kilobytes(&inside(&ana, name, "cat /proc/meminfo"), "MemTotal"), 96 * 1024, "{name}");
        assert!(inside(&ana, name, "cat /proc/mounts").contains("/sys/devices/system/cpu"), "{name}");
        assert_eq!(inside(&ana, name, NESTED), "1\n/proc/1\n", "{name}");
        ana.destroy(name);
    }
    // Else there is none that shows all, with or without the container's own limits.
    with_tools(&ana, "plain", limits);
    ana.lxc("attach", ["-n", "plain", "--clear-env", "--", "sh", "-c", NESTED]).exits(1);
    ana.destroy("plain");
}

fn copies_that_a_container_made_of_its_proc_keep_nobody_from_changing_the_files(lab: &Lab) {
    let ana = wishing(lab, "ana");
    with(&ana, "");
    let is_its_own = || inside(&ana, "web", "grep lxcfs /proc/mounts").contains("/proc/meminfo ");
    let script = "mkdir -p '/mnt/a b' /mnt/c && mount -o rbind /proc '/mnt/a b' && mount -o rbind /proc /mnt/c && \
                  mount -t tmpfs over /mnt/c && grep -c lxcfs.*meminfo /proc/mounts";
    assert_eq!(inside(&ana, "web", script).trim(), "3");
    assert!(is_its_own());
    for _ in 0..2 {
        ana.bryo(["lxcfs", "detach", "web"]).succeeds();
        assert!(!is_its_own());
        ana.bryo(["lxcfs", "attach", "web"]).succeeds();
        assert!(is_its_own());
    }
    assert!(inside(&ana, "web", "cat /bin/../proc/meminfo").starts_with("MemTotal:"));
    ana.destroy("web");
}

fn what_a_configuration_puts_over_a_file_stays(lab: &Lab) {
    let ana = wishing(lab, "ana");
    ana.write("mine", "mine\n");
    with(
        &ana,
        &format!("lxc.mount.entry = {} proc/meminfo none bind,ro 0 0\n", ana.home().join("mine").display()),
    );
    assert_eq!(inside(&ana, "web", "cat /proc/meminfo"), "mine\n");
    assert!(inside(&ana, "web", "grep lxcfs /proc/mounts").contains("/proc/stat"));
    ana.destroy("web");
}

/// Connects to the socket whose path is the first argument, and prints how that went and what came.
const CONNECT: &str = "import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
s.settimeout(20)
try:
    s.connect(sys.argv[1])
except OSError as e:
    sys.exit(type(e).__name__)
try:
    s.send(b'bryo-lxcfs 2\\n')
    print('heard', s.recv(1000))
except (BrokenPipeError, ConnectionResetError):
    print('heard', b'')
";

fn nobody_else_can_speak_to_who_serves(lab: &Lab) {
    let (ana, ben) = (wishing(lab, "ana"), wishing(lab, "ben"));
    with(&ana, "");
    let socket = ana.home().join(DIRECTORY).join("command");
    let socket = socket.to_str().unwrap_or_default();
    ben.run("python3", ["-c", CONNECT, socket]).exits(1).stderr_contains("PermissionError");
    // Its own user is refused for what he says.
    ana.run("python3", ["-c", CONNECT, socket]).succeeds().stdout_contains("heard b'refused");
    // Who comes past the directory's mode is not heard, root no more than others.
    ana.sh(&format!(
        "chmod 711 .local .local/share .local/share/lxc {DIRECTORY}; chmod 711 ~; chmod 777 {socket}"
    ))
    .succeeds();
    ben.run("python3", ["-c", CONNECT, socket]).succeeds().stdout_is("heard b''\n");
    ana.sh(&format!("chmod 700 {DIRECTORY}")).succeeds();
    assert!(inside(&ana, "web", "cat /proc/meminfo").starts_with("MemTotal:"));
    ana.destroy("web");
}

/// Returns how many files the process that serves has open, and its memory that nobody shares, in kilobytes.
fn holds(user: &User<'_>) -> (usize, u64) {
    let serving = user.processes().into_iter().find(|process| process.command.contains("bryo/bryo-lxcfs"));
    let pid = serving.map_or(0, |process| process.pid);
    let files = fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
    let memory = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    (files, kilobytes(&memory, "RssAnon"))
}

fn readers_that_are_killed_or_stopped_leave_nothing(lab: &Lab) {
    let ana = wishing(lab, "ana");
    with(&ana, "");
    // Each round opens 2,000 files that nobody reads to their end, by readers that are stopped first and killed then.
    let round = "i=0; while [ $i -lt 20 ]; do \
        (n=0; while [ $n -lt 100 ]; do eval \"exec $((n+10))</proc/stat\"; n=$((n+1)); done; read -r _ </proc/meminfo; \
        kill -STOP $(exec sh -c 'echo $PPID')) & \
        dd if=/proc/meminfo of=/dev/null bs=1 & \
        i=$((i+1)); done 2>/dev/null; sleep 0.3; kill -KILL $(jobs -p) 2>/dev/null; wait; echo done";
    let mut rounds = Vec::new();
    for _ in 0..times(4, 20) {
        assert!(inside(&ana, "web", round).ends_with("done\n"));
        rounds.push(holds(&ana));
    }
    let (first, last) = (rounds[0], rounds[rounds.len() - 1]);
    assert_eq!(first.0, last.0, "{rounds:?}");
    assert!(last.1 <= first.1 + 512, "{rounds:?}");
    assert!(inside(&ana, "web", "cat /proc/meminfo").starts_with("MemTotal:"));
    ana.destroy("web");
}

fn two_containers_are_both_served_by_the_next_process(lab: &Lab) {
    let ana = wishing(lab, "ana");
    with(&ana, "lxc.cgroup.memory.limit_in_bytes = 96M\n");
    ana.busybox("db");
    ana.append(".local/share/lxc/db/config", "lxc.cgroup.memory.limit_in_bytes = 64M\n");
    ana.lxc("start", ["-n", "db"]).succeeds();
    assert_eq!(kill_who_serves(&ana), 1);
    for (name, total) in [("web", 96), ("db", 64)] {
        assert_eq!(kilobytes(&inside(&ana, name, "cat /proc/meminfo"), "MemTotal"), total * 1024, "{name}");
    }
    assert_eq!(serving(&ana), 1);
    ana.destroy("db");
    ana.destroy("web");
}

fn a_container_starts_though_who_serves_it_dies_meanwhile(lab: &Lab) {
    let ana = wishing(lab, "ana");
    with(&ana, "");
    let serves = |process: &Process| process.command.contains("bryo/bryo-lxcfs");
    let server = ana.processes().into_iter().find(serves).expect("a process serves");
    ana.write("kill", &format!("#!/bin/sh\nkill -KILL {}\n", server.pid));
    ana.sh("chmod +x kill").succeeds();
    ana.busybox("db");
    // The hook on the host runs before that of the container's, while which the monitor hears of the death.
    let hooks = format!(
        "lxc.hook.start-host = {}\nlxc.hook.start = /bin/sh -c 'sleep 2'\n",
        ana.home().join("kill").display()
    );
    ana.append(".local/share/lxc/db/config", &hooks);
    ana.lxc("start", ["-n", "db"]).succeeds();
    let is_it = |process: &Process| process.pid == server.pid && serves(process);
    assert!(!ana.processes().iter().any(is_it), "the hook has killed nobody");
    for name in ["web", "db"] {
        assert!(inside(&ana, name, "cat /proc/meminfo").starts_with("MemTotal:"), "{name}");
    }
    ana.destroy("db");
    ana.destroy("web");
}

fn a_container_that_reboots_sees_its_limits_again(lab: &Lab) {
    let ana = wishing(lab, "ana");
    with(&ana, "lxc.cgroup.memory.limit_in_bytes = 96M\n");
    let first = ana.init_of("web");
    ana.lxc("stop", ["-n", "web", "-r"]).succeeds();
    let has_another = || ana.lxc("info", ["-n", "web", "-pH"]).output().stdout.trim() != first.to_string();
    eventually("a new init", || {
        has_another() && ana.lxc("attach", ["-n", "web", "--", "true"]).output().status() == 0
    });
    assert_eq!(kilobytes(&inside(&ana, "web", "cat /proc/meminfo"), "MemTotal"), 96 * 1024);
    ana.destroy("web");
}

/// Has a container of the machine's own programs, with its own limits in /proc.
fn with_tools(user: &User<'_>, name: &str, lines: &str) {
    user.bryo(["create", name, "-t", "host"]).succeeds();
    user.append(format!(".local/share/lxc/{name}/config"), lines);
    user.bryo(["start", name]).succeeds();
}

/// Reads a file in five ways, each to its end, and prints how long the texts are, and whether they are one.
const WAYS: &str = r#"
import os, sys
def pieces(of):
    found = b""
    while True:
        piece = of(len(found))
        if not piece: return found
        found += piece
def opened(path, of):
    fd = os.open(path, os.O_RDONLY)
    try: return pieces(lambda at: of(fd, at))
    finally: os.close(fd)
def spliced(fd, at):
    r, w = os.pipe()
    count = os.splice(fd, w, 700)
    os.close(w)
    found = os.read(r, 700) if count else b""
    os.close(r)
    return found
def sent(fd, at):
    to = os.memfd_create("x")
    os.sendfile(to, fd, None, 1 << 20)
    found = os.pread(to, 1 << 20, 0)
    os.close(to)
    return found
WAYS = {
    "read": lambda fd, at: os.read(fd, 1 << 20),
    "read of 7": lambda fd, at: os.read(fd, 7),
    "pread of 501": lambda fd, at: os.pread(fd, 501, at),
    "splice": spliced,
    "sendfile": sent,
}
def lasting(text): return [line for line in text.split(b"\n") if b"MHz" not in line]
for path in sys.argv[1:]:
    texts = {way: opened(path, of) for way, of in WAYS.items()}
    first = texts["read"]
    wrong = [way for way, text in texts.items() if lasting(text) != lasting(first)]
    print(path, first.count(b"\n"), wrong)
"#;

fn splice_sendfile_and_pread_get_the_same_bytes(lab: &Lab) {
    let ana = wishing(lab, "ana");
    with_tools(&ana, "web", "");
    let read = |paths: &[&str]| {
        let args = ["exec", "web", "--", "python3", "-c", WAYS].iter().chain(paths);
        ana.bryo(args.copied()).succeeds().stdout
    };
    let paths = ["/proc/cpuinfo", "/proc/slabinfo", "/proc/swaps", "/sys/devices/system/cpu/possible"];
    // Whatever was read before, and in whichever way, each gets all and nothing more.
    for _ in 0..3 {
        for line in read(&paths).lines() {
            assert!(line.ends_with(" []") && !line.contains(" 0 "), "{line}");
        }
    }
    ana.destroy("web");
}

/// Gives a container of a hybrid host other processors.
fn set_processors(user: &User<'_>, name: &str, list: &str) {
    let init = user.init_of(name);
    let own = format!("$(grep :cpuset: /proc/{init}/cgroup | cut -d: -f3)");
    user.sh(&format!("echo {list} >/sys/fs/cgroup/cpuset{own}/cpuset.cpus")).succeeds();
}

fn a_text_that_shrinks_and_grows_is_read_whole_in_every_way(lab: &Lab) {
    let ana = wishing(lab, "ana");
    with_tools(&ana, "web", "lxc.cgroup.cpuset.cpus = 0-1\n");
    let lines = |text: &str| text.lines().filter(|line| !line.contains("MHz")).count();
    let whole = lines(&inside(&ana, "web", "cat /proc/cpuinfo"));
    let ways = ["cat /proc/cpuinfo", "busybox cat /proc/cpuinfo", "dd if=/proc/cpuinfo bs=1 2>/dev/null"];
    for _ in 0..3 {
        for (list, expected) in [("0", whole / 2), ("0-1", whole), ("1", whole / 2), ("0-1", whole)] {
            set_processors(&ana, "web", list);
            for way in ways {
                let text = inside(&ana, "web", way);
                assert_eq!(lines(&text), expected, "{way} of {list}:\n{text}");
                assert!(text.ends_with("\n\n"), "{way} of {list}: {text}");
            }
            let said =
                ana.bryo(["exec", "web", "--", "python3", "-c", WAYS, "/proc/cpuinfo"]).succeeds().stdout;
            assert!(said.ends_with(" []\n"), "{list}: {said}");
        }
    }
    ana.destroy("web");
}

fn a_file_that_is_held_open_shows_the_present(lab: &Lab) {
    let ana = wishing(lab, "ana");
    with(&ana, "lxc.cgroup.cpuset.cpus = 0-1\n");
    ana.bryo(["exec", "web", "--", "mkfifo", "/tmp/next"]).succeeds();
    // One fd, read from its beginning twice, as top does; the other one is read on where it was.
    let reads = "exec 3</sys/devices/system/cpu/online; read -r line <&3; echo \"$line\"; read -r go </tmp/next; \
        read -r line <&3 || echo end; busybox dd bs=100 count=1 skip=0 if=/proc/self/fd/3 2>/dev/null; \
        cat /sys/devices/system/cpu/online";
    let reader = ana.lxc("attach", ["-n", "web", "--clear-env", "--", "sh", "-c", reads]).background();
    set_processors(&ana, "web", "1");
    ana.bryo(["exec", "web", "--", "sh", "-c", "echo go >/tmp/next"]).succeeds();
    let said = reader.wait().exits(0).stdout;
    assert!(said.ends_with("end\n1\n1\n"), "{said}");
    ana.destroy("web");
}

fn two_containers_that_read_at_once_see_each_their_own(lab: &Lab) {
    let ana = wishing(lab, "ana");
    with(&ana, "lxc.cgroup.memory.limit_in_bytes = 96M\n");
    ana.busybox("db");
    ana.append(".local/share/lxc/db/config", "lxc.cgroup.memory.limit_in_bytes = 64M\n");
    ana.lxc("start", ["-n", "db"]).succeeds();
    let readers: Vec<_> = [("web", 96), ("db", 64), ("web", 96), ("db", 64)]
        .into_iter()
        .map(|(name, total)| {
            let reads = format!(
                "i=0; while [ $i -lt 200 ]; do for way in 'cat' 'dd bs=1 if=' 'head -c 9999'; do \
                 case $way in dd*) set -- $(dd bs=1 count=60 if=/proc/meminfo 2>/dev/null);; \
                 *) set -- $($way /proc/meminfo);; esac; \
                 [ \"$2\" = {} ] || echo \"$way: $2\"; done; i=$((i+1)); done; echo done",
                total * 1024
            );
            ana.lxc("attach", ["-n", name, "--clear-env", "--", "sh", "-c", &reads]).seconds(180).background()
        })
        .collect();
    for reader in readers {
        reader.wait().exits(0).stdout_is("done\n");
    }
    ana.destroy("db");
    ana.destroy("web");
}

/// Returns the words of the first line that begins so.
fn words<'a>(text: &'a str, start: &str) -> Vec<&'a str> {
    let line = text.lines().find(|line| line.trim_start().starts_with(start));
    line.unwrap_or_else(|| panic!("no {start} in\n{text}")).split_whitespace().collect()
}

fn the_tools_agree_with_the_limits_and_with_each_other(lab: &Lab) {
    let ana = wishing(lab, "ana");
    with_tools(&ana, "web", "lxc.cgroup.memory.limit_in_bytes = 96M\nlxc.cgroup.cpuset.cpus = 1\n");
    let run = |script: &str| inside(&ana, "web", script);
    assert_eq!(words(&run("free -k"), "Mem:")[1], "98304");
    assert_eq!(words(&run("top -bn1"), "MiB Mem")[3], "96.0");
    assert!(run("vmstat -s").contains(" 98304 K total memory"));
    assert_eq!(
        run("nproc; nproc --all; getconf _NPROCESSORS_CONF; getconf _NPROCESSORS_ONLN"),
        "1\n1\n1\n1\n"
    );
    let cpus = run("LC_ALL=C lscpu");
    assert_eq!((words(&cpus, "CPU(s):")[1], words(&cpus, "On-line CPU(s) list:")[3]), ("1", "1"));
    assert_eq!((words(&cpus, "Core(s) per socket:")[3], words(&cpus, "Thread(s) per core:")[3]), ("1", "1"));
    // It was started a moment ago, and so say all who are asked; its columns of processor time are of one processor.
    for tool in ["uptime", "w", "top -bn1"] {
        let up = run(tool);
        assert!(
            up.contains("up 0 min") || up.contains("up 1 min") || up.contains("up 2 min"),
            "{tool}: {up}"
        );
    }
    let vmstat = run("vmstat 1 2");
    let last: Vec<u64> = vmstat
        .lines()
        .last()
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    assert!(last[3] < 98_304 && last[12..15].iter().sum::<u64>() <= 101, "{vmstat}");
    // Its lines of devices are those of /sys/block, the machine's.
    let iostat = run("LC_ALL=C iostat -c");
    assert!(iostat.contains("(1 CPU)"), "{iostat}");
    agree_psutil_and_htop(&ana);
    ana.destroy("web");
}

/// What psutil says of memory, swap, processors and their cores, and whether init began not long ago.
const PSUTIL: &str = "import psutil, time; memory = psutil.virtual_memory(); print(memory.total >> 10, \
                      memory.available <= memory.total, psutil.swap_memory().free <= psutil.swap_memory().total, \
                      psutil.cpu_count(), psutil.cpu_count(False), len(psutil.cpu_times(True)), \
                      time.time() - psutil.Process(1).create_time() < 300)";

/// Has htop draw once, and takes from what it draws how.
const HTOP: &str = "echo q | TERM=xterm COLUMNS=100 LINES=30 htop -C -U | sed 's/\\x1b[^a-zA-Z]*[a-zA-Z]//g'";

fn agree_psutil_and_htop(user: &User<'_>) {
    let is_there = |file: &str| {
        let is_there = std::path::Path::new(file).exists();
        if !is_there {
            tests::skip(
                "the_tools_agree_with_the_limits_and_with_each_other",
                &format!("there is no {file}"),
            );
        }
        is_there
    };
    if is_there("/usr/lib/python3/dist-packages/psutil") {
        let said = user.bryo(["exec", "web", "--", "python3", "-c", PSUTIL]).seconds(60).succeeds();
        said.stdout_is("98304 True True 1 1 1 True\n");
    }
    if is_there("/usr/bin/htop") {
        let drawn = inside(user, "web", HTOP);
        assert!(drawn.contains("/96.0M]") && drawn.contains("Uptime: 00:0"), "{drawn}");
        // One bar, of the only processor.
        assert_eq!(drawn.matches("%]").count(), 1, "{drawn}");
    }
}

fn node_and_java_agree_with_the_limits(lab: &Lab) {
    const NODE: &str = "const os = require('os'); [os.totalmem() / 1024, os.freemem() < os.totalmem(), os.cpus().length, \
                        os.uptime() < 300].join(' ')";
    let ana = wishing(lab, "ana");
    with_tools(&ana, "web", "lxc.cgroup.memory.limit_in_bytes = 256M\nlxc.cgroup.cpuset.cpus = 1\n");
    let is_there = |program: &str| {
        let is_there = std::path::Path::new("/usr/bin").join(program).exists();
        if !is_there {
            tests::skip("node_and_java_agree_with_the_limits", &format!("there is no {program}"));
        }
        is_there
    };
    if is_there("node") {
        let said = ana.bryo(["exec", "web", "--", "node", "-p", NODE]).seconds(60).succeeds();
        said.stdout_is("262144 true 1 true\n");
    }
    if is_there("java") {
        let said = inside(&ana, "web", "java -XshowSettings:system -version 2>&1");
        for line in ["Effective CPU Count: 1\n", "Memory Limit: 256.00M\n"] {
            assert!(said.contains(line), "{line}: {said}");
        }
    }
    ana.destroy("web");
}

fn the_directories_of_processors_are_the_containers(lab: &Lab) {
    let ana = wishing(lab, "ana");
    with(&ana, "lxc.cgroup.cpuset.cpus = 1\n");
    let run = |script: &str| inside(&ana, "web", script);
    assert_eq!(
        run("cd /sys/devices/system/cpu; echo cpu[0-9]*; cat possible present offline"),
        "cpu1\n1\n1\n\n"
    );
    assert_eq!(run("cat /sys/devices/system/cpu/cpu1/topology/core_siblings_list"), "1\n");
    assert_eq!(run("cat /sys/devices/system/cpu/cpu0/topology/core_id || echo none"), "none\n");
    assert_eq!(run("nproc --all"), "1\n");
    if std::path::Path::new("/sys/devices/system/node/node0").exists() {
        assert_eq!(run("cat /sys/devices/system/node/node0/cpulist"), "1\n");
    }
    set_processors(&ana, "web", "0-1");
    eventually("the other directory", || run("cd /sys/devices/system/cpu; echo cpu[0-9]*") == "cpu0 cpu1\n");
    ana.destroy("web");
}

fn the_load_is_that_of_the_containers_tasks(lab: &Lab) {
    let ana = wishing(lab, "ana");
    with(&ana, "");
    ana.busybox("db");
    ana.lxc("start", ["-n", "db"]).succeeds();
    let load = |name: &str| -> f64 {
        let text = inside(&ana, name, "cat /proc/loadavg");
        text.split(' ').next().and_then(|one| one.parse().ok()).unwrap_or(f64::NAN)
    };
    let idle = [load("web"), load("db")];
    let mut busy: Vec<_> = (0..2)
        .map(|_| {
            let spin = "i=0; while [ ! -e /tmp/stop ]; do i=$((i+1)); done";
            ana.lxc("attach", ["-n", "web", "--", "sh", "-c", spin]).seconds(180).background()
        })
        .collect();
    tests::within(60, "the load grows", || load("web") > idle[0] + 0.2);
    assert!(load("db") <= idle[1] + 0.1, "{} after {}", load("db"), idle[1]);
    let tasks = inside(&ana, "web", "cut -d' ' -f4 /proc/loadavg");
    let (running, all) = tasks.trim().split_once('/').unwrap_or_default();
    let (running, all): (u64, u64) = (running.parse().unwrap_or(0), all.parse().unwrap_or(0));
    assert!((1..=4).contains(&running) && (3..40).contains(&all), "{tasks}");
    inside(&ana, "web", "touch /tmp/stop");
    busy.drain(..).for_each(|one| {
        one.wait().exits(0);
    });
    ana.destroy("db");
    ana.destroy("web");
}

fn pressure_and_disks_are_the_containers(lab: &Lab) {
    let ana = wishing(lab, "ana");
    with(&ana, "");
    let total = |text: &str| -> u64 {
        text.lines().find_map(|line| line.rsplit_once("total=")?.1.trim().parse().ok()).unwrap_or_default()
    };
    if let Ok(host) = fs::read_to_string("/proc/pressure/cpu") {
        let own = inside(&ana, "web", "cat /proc/pressure/cpu");
        assert!(own.starts_with("some avg10=") && total(&own) < total(&host), "{own}{host}");
    }
    let sectors = |text: &str| -> u64 {
        text.lines().filter_map(|line| line.split_whitespace().nth(5)?.parse::<u64>().ok()).sum()
    };
    let host = fs::read_to_string("/proc/diskstats").unwrap_or_default();
    let own = inside(&ana, "web", "cat /proc/diskstats");
    assert!(sectors(&own) < sectors(&host) / 10, "{own}");
    let disks = |text: &str, name: usize| -> Vec<String> {
        text.lines()
            .filter_map(|line| line.split_whitespace().nth(name))
            .filter(|name| *name != "name")
            .map(str::to_owned)
            .collect()
    };
    let listed = disks(&inside(&ana, "web", "cat /proc/partitions"), 3);
    assert!(listed.iter().all(|disk| disks(&own, 2).contains(disk)), "{listed:?} of {own}");
    let slabs = inside(&ana, "web", "cat /proc/slabinfo");
    assert_eq!(slabs.lines().count(), 2, "{slabs}");
    ana.destroy("web");
}

/// As somebody else than root: has triggers refused that are none, waits for one, and says what has come and in how many seconds.
const WAITS: &str = r#"
import os, select, sys
os.setgid(1001)
os.setuid(1000)
def opened(): return os.open("/proc/pressure/cpu", os.O_RDWR | os.O_NONBLOCK)
def written(fd, text):
    try: return os.write(fd, text)
    except OSError as e: return e.strerror
def come(fd, seconds):
    poll = select.poll()
    poll.register(fd, select.POLLPRI)
    return [event for _, event in poll.poll(seconds * 1000)]
own = opened()
print(come(own, 60) == [select.POLLERR | select.POLLPRI], written(own, b"x"), written(own, b"some 1 100"))
print(written(own, b"some 60000 500000\0"), written(own, b"some 60000 500000\0"))
many = [opened() for _ in range(40)]
print(sum(written(fd, b"some 60000 500000\0") == 18 for fd in many), written(many[-1], b"some 60000 500000\0"))
for fd in many: os.close(fd)
other = opened()
print(written(other, b"some 500000 500000\0"), come(other, 1), come(os.open("/proc/meminfo", os.O_RDONLY), 0))
open("/tmp/waits", "w").close()
print([come(own, 90) for _ in range(2)])
"#;

fn who_waits_for_pressure_is_woken_whoever_serves(lab: &Lab) {
    if !fs::exists("/proc/pressure/cpu").unwrap_or(false) {
        return tests::skip(
            "who_waits_for_pressure_is_woken_whoever_serves",
            "the kernel tells of no pressure",
        );
    }
    let ana = wishing(lab, "ana");
    with_tools(&ana, "web", "");
    let waits = ana.bryo(["exec", "web", "--", "python3", "-c", WAITS]).seconds(240).background();
    tests::within(60, "somebody waits", || inside(&ana, "web", "ls /tmp").contains("waits"));
    // Who waits is woken by the process that comes after the one that he has told what for.
    assert_eq!(kill_who_serves(&ana), 1);
    let spins = "for i in 1 2 3 4 5 6; do (while [ ! -e /tmp/stop ]; do :; done) & done; wait";
    let load = ana.bryo(["exec", "web", "--", "sh", "-c", spins]).seconds(240).background();
    let said = waits.wait().exits(0).stdout.clone();
    inside(&ana, "web", "touch /tmp/stop");
    load.wait().exits(0);
    let expected = "True Invalid argument Invalid argument\n18 Device or resource busy\n7 Cannot allocate memory\n\
                    19 [] []\n[[2], [2]]\n";
    assert_eq!(said, expected);
    ana.destroy("web");
}

/// The tree of root's that other runtimes bind into their containers.
struct Shared(Child);

const SHARED: &str = "/run/bryo-lab/shared";
const SERVER: &str = "/run/bryo-lab/prefix/libexec/bryo/bryo-lxcfs";

impl Shared {
    fn start(lab: &Lab) -> Self {
        let holder = lab.holder().to_string();
        let mut command = Command::new("nsenter");
        command.args(["--mount", "--target", &holder, "--", SERVER, "--system", SHARED]).stdin(Stdio::null());
        let shared = Self(command.spawn().expect("nsenter is there"));
        let shown = lab.outside(std::path::Path::new(SHARED)).join("proc/meminfo");
        eventually("the tree", || shown.exists());
        shared
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.0.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill {name}");
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.signal("-TERM");
        let _ended = self.0.wait();
    }
}

fn a_shared_tree_shows_each_container_its_own(lab: &Lab) {
    let ana = wishing(lab, "ana");
    let shared = Shared::start(lab);
    ana.write(".config/bryo/config.toml", "[start]\nlxcfs = false\n");
    for (name, limit) in [("web", 96), ("db", 64)] {
        ana.busybox(name);
        let files = ["meminfo", "uptime", "stat", "cpuinfo", "loadavg"]
            .map(|file| format!("lxc.mount.entry = {SHARED}/proc/{file} proc/{file} none bind 0 0\n"))
            .concat();
        let lines =
            format!("lxc.cgroup.memory.limit_in_bytes = {limit}M\nlxc.cgroup.cpuset.cpus = 1\n{files}");
        ana.append(format!(".local/share/lxc/{name}/config"), &lines);
        ana.lxc("start", ["-n", name]).succeeds();
    }
    // busybox' cat reads by sendfile, and so by the page cache, which two that share a tree must not share.
    for _ in 0..3 {
        for (name, limit) in [("web", 96), ("db", 64)] {
            for way in
                ["cat /proc/meminfo", "dd if=/proc/meminfo bs=1 2>/dev/null", "head -c 9999 /proc/meminfo"]
            {
                let text = inside(&ana, name, way);
                assert_eq!(kilobytes(&text, "MemTotal"), limit * 1024, "{name}: {way}");
                assert!(text.ends_with(" kB\n"), "{name}: {way}: {text}");
            }
        }
    }
    assert_eq!(inside(&ana, "web", "grep -c ^processor /proc/cpuinfo"), "1\n");
    let age: f64 = inside(&ana, "db", "cut -d' ' -f1 /proc/uptime").trim().parse().unwrap_or(f64::NAN);
    assert!(age < 600.0, "{age}");
    // Who looks on the host, in no container, sees the host.
    let host = ana.sh(&format!("cat {SHARED}/proc/meminfo")).succeeds().stdout;
    assert!(kilobytes(&host, "MemTotal") > 96 * 1024, "{host}");
    // Nested: a PID namespace in the container has the container's limits too.
    let nested = inside(&ana, "web", "unshare -p -f cat /proc/meminfo 2>/dev/null || cat /proc/meminfo");
    assert_eq!(kilobytes(&nested, "MemTotal"), 96 * 1024);
    shared.signal("-USR2");
    eventually("the host's numbers", || {
        kilobytes(&inside(&ana, "web", "cat /proc/meminfo"), "MemTotal") > 96 * 1024
    });
    shared.signal("-USR2");
    eventually("the container's numbers", || {
        kilobytes(&inside(&ana, "web", "cat /proc/meminfo"), "MemTotal") == 96 * 1024
    });
    let written = inside(&ana, "web", "echo x >/proc/meminfo || echo refused");
    assert_eq!(written, "refused\n");
    ana.destroy("db");
    ana.destroy("web");
}

/// Serves a user's tree in podman's user namespace, and reads by it in one of podman's containers.
const IN_PODMAN: &str = r#"
set -e
tree=$XDG_RUNTIME_DIR/lxcfs
mkdir -p root/bin root/proc root/sys root/dev root/etc root/tmp root/run
cp "$(command -v busybox)" root/bin/busybox
ln -s busybox root/bin/cat
podman() { command podman --cgroup-manager cgroupfs --events-backend none "$@"; }
podman unshare SERVER --system -p "$XDG_RUNTIME_DIR/pid" &
i=0
while [ ! -s "$XDG_RUNTIME_DIR/pid" ] && [ $i -lt 200 ]; do sleep 0.1; i=$((i+1)); done
sleep 0.5
binds=$(for file in meminfo uptime stat loadavg; do echo "-v $tree/proc/$file:/proc/$file:ro"; done)
podman run --rm --network none --cgroups disabled $binds --rootfs "$HOME/root" /bin/cat /proc/meminfo /proc/uptime
kill "$(cat "$XDG_RUNTIME_DIR/pid")"
wait
podman system migrate
podman unshare rm -r .local/share/containers
command podman system migrate
rmdir "$tree"
cd "$XDG_RUNTIME_DIR"
rm -r containers crun libpod "/dev/shm/libpod_rootless_lock_$(id -u)"
"#;

fn podman_shows_its_containers_their_own_by_a_users_tree(lab: &Lab) {
    if !std::path::Path::new("/usr/bin/podman").exists() {
        return tests::skip("podman_shows_its_containers_their_own_by_a_users_tree", "there is no podman");
    }
    let ana = lab.user("ana");
    let script = IN_PODMAN.replace("SERVER", SERVER);
    let said = ana.sh(&script).in_session().seconds(180).succeeds().stdout;
    // Here no cgroup has a limit; but who asks is found, and how old his container is.
    assert!(said.starts_with("MemTotal:"), "{said}");
    let age = |text: &str| -> f64 {
        let line = text.lines().last().and_then(|line| line.split(' ').next());
        line.and_then(|age| age.parse().ok()).unwrap_or(f64::NAN)
    };
    let host = fs::read_to_string("/proc/uptime").unwrap_or_default();
    assert!(age(&said) < 120.0_f64.min(age(&host) / 2.0), "{said} of {host}");
}

/// Asks for its memory by threads, with a leader that is gone, by a process that is gone when it is read, in PID namespaces inside, and as
/// one of many with short lives. Prints what was found.
const ASKS: &str = r#"
import ctypes, os, socket, subprocess, threading
found = set()
def total(text): return text.split()[1] if text else "nothing"
def ask():
    try:
        with open("/proc/meminfo") as file: found.add(total(file.readline()))
    except OSError: found.add("error")
def threads():
    all = [threading.Thread(target=ask) for _ in range(8)]
    for one in all: one.start()
    for one in all: one.join()
def leaderless():
    r, w = os.pipe()
    if os.fork() == 0:
        def late():
            import time
            time.sleep(0.05)
            try: text = open("/proc/meminfo").readline()
            except OSError: text = "MemTotal: error"
            os.write(w, text.encode())
            os._exit(0)
        threading.Thread(target=late).start()
        ctypes.CDLL(None).syscall(60, 0)
    os.close(w)
    found.add(total(os.read(r, 100).decode()))
    os.close(r)
    os.wait()
def exited():
    ours, theirs = socket.socketpair()
    if os.fork() == 0:
        fd = os.open("/proc/meminfo", os.O_RDONLY)
        socket.send_fds(theirs, [b"x"], [fd])
        os._exit(0)
    os.wait()
    fd = socket.recv_fds(ours, 1, 1)[1][0]
    try: found.add(total(os.pread(fd, 100, 0).decode()))
    except OSError: found.add("error")
    os.close(fd)
def nested():
    said = subprocess.run(["unshare", "-pf", "cat", "/proc/meminfo"], capture_output=True, text=True).stdout
    found.add(total(said))
def many():
    all = [subprocess.Popen(["cat", "/proc/meminfo"], stdout=subprocess.PIPE, text=True) for _ in range(8)]
    for one in all: found.add(total(one.communicate()[0]))
for _ in range(12):
    for way in [threads, leaderless, exited, nested, many]: way()
print(*sorted(found))
"#;

fn nobody_in_a_shared_tree_passes_for_another(lab: &Lab) {
    let ana = wishing(lab, "ana");
    let _shared = Shared::start(lab);
    ana.write(".config/bryo/config.toml", "[start]\nlxcfs = false\n");
    let containers = [("web", 96), ("db", 64)];
    for (name, limit) in containers {
        let file = format!("lxc.mount.entry = {SHARED}/proc/meminfo proc/meminfo none bind 0 0\n");
        with_tools(&ana, name, &format!("lxc.cgroup.memory.limit_in_bytes = {limit}M\n{file}"));
    }
    // Both at once, so that numbers of processes come and go everywhere.
    let asking = containers
        .map(|(name, _)| ana.bryo(["exec", name, "--", "python3", "-c", ASKS]).seconds(240).background());
    for (asking, (name, limit)) in asking.into_iter().zip(containers) {
        let said = asking.wait().exits(0).stdout.clone();
        let own = (limit * 1024).to_string();
        let mut words = said.split_whitespace();
        // Who cannot be found any more gets an error, and never another's or the host's numbers.
        assert!(words.all(|word| word == own || word == "error"), "{name}: {said}");
        assert!(said.contains(&own), "{name}: {said}");
    }
    ana.destroy("db");
    ana.destroy("web");
}

fn containers_that_come_and_go_leave_nothing_of_them(lab: &Lab) {
    const NAMES: [&str; 4] = ["c1", "c2", "c3", "c4"];
    let ana = wishing(lab, "ana");
    with(&ana, "");
    NAMES.iter().for_each(|name| drop(ana.busybox(name)));
    let round = format!(
        "for name in {}; do (bryo start $name && bryo exec $name -- cat /proc/meminfo /proc/stat | grep -q ^MemTotal && \
         bryo stop --kill $name || echo failed) & done; wait",
        NAMES.join(" ")
    );
    let come_and_go = |containers: usize| {
        for _ in 0..containers / NAMES.len() {
            ana.sh(&round).seconds(120).succeeds().stdout_is("");
        }
    };
    come_and_go(12);
    let first = holds(&ana);
    let server = who_serves(&ana);
    let count = times(16, 1000);
    come_and_go(count);
    assert_eq!(who_serves(&ana), server);
    let last = || holds(&ana);
    eventually("no more files", || last().0 == first.0);
    println!("files and kB of memory: {first:?}, after {count} containers {:?}", last());
    assert!(last().1 <= first.1 + 256, "{first:?} {:?}", last());
    NAMES.iter().for_each(|name| drop(ana.destroy(name)));
    ana.destroy("web");
}

fn a_shared_tree_is_a_users_own_in_his_namespace(lab: &Lab) {
    let ana = wishing(lab, "ana");
    // As `podman unshare` does: what is mounted there is seen there.
    let script = format!(
        "{SERVER} --system & server=$!; \
         i=0; while [ ! -e $XDG_RUNTIME_DIR/lxcfs/proc/stat ] && [ $i -lt 100 ]; do sleep 0.1; i=$((i+1)); done; \
         grep -c ^MemTotal $XDG_RUNTIME_DIR/lxcfs/proc/meminfo; head -c 3 $XDG_RUNTIME_DIR/lxcfs/proc/stat; \
         kill $server; wait $server; echo; ls -A $XDG_RUNTIME_DIR/lxcfs; rmdir $XDG_RUNTIME_DIR/lxcfs"
    );
    ana.run("unshare", ["-Urm", "sh", "-c", &script]).in_session().succeeds().stdout_is("1\ncpu\n");
}
