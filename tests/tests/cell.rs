//! Confined: inside a container of a common engine, as continuous integration often runs, and on kernels or under filters
//! that lack one call.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use tests::attack::{attacker_entry, resisted};
use tests::{Background, Filter, Lab, User, View, eventually};

tests::claims! {
    the_cell_is_as_confined_as_it_says: cell closed_cell;
    run_works_in_a_cell: cell, needs Bryo;
    root_of_an_engine_has_all_ids: cell, needs Bryo;
    run_says_that_it_shares_the_processes_outside: cell, needs Bryo;
    a_command_has_what_a_cell_allows: cell, needs Bryo;
    what_a_command_leaves_running_ends_with_it: cell, needs Bryo;
    what_forks_its_way_on_ends_with_the_command: cell, needs Bryo;
    what_forks_its_way_on_ends_after_a_killed_monitor: cell, needs Bryo;
    a_command_signals_nobody_outside: cell, needs Bryo;
    a_command_sets_no_limit_and_no_scheduling_outside: cell, needs Bryo;
    what_was_attached_ends_with_the_command: cell, needs Bryo;
    what_an_attached_program_leaves_is_reaped_when_it_ends: cell, needs Bryo;
    what_a_killed_monitor_leaves_is_ended_by_the_next_command: cell, needs Bryo;
    nothing_hides_from_the_command_after_a_killed_monitor: cell, needs Bryo;
    a_stranger_with_the_number_of_its_user_namespace_is_left_alone: cell, needs Bryo;
    a_stranger_with_the_mark_of_its_user_namespace_keeps_nobody_out: cell, needs Bryo;
    what_a_start_leaves_whose_monitor_is_killed_is_ended: cell, needs Bryo;
    what_does_not_end_is_left_to_the_next_command: cell, needs Bryo;
    processes_outside_are_left_alone: cell, needs Bryo;
    an_overlay_can_be_mounted: cell, needs Bryo;
    an_init_is_refused_with_what_unmasks_proc: cell, needs Bryo;
    forbidden_namespaces_are_told_with_what_allows_them: closed_cell, needs Bryo;
    forbidden_mount_calls_are_named: cell, needs Bryo;
    without_clone3_a_container_starts_in_its_cgroup: hybrid unified, needs Bryo;
    without_clone3_run_works: hybrid unified, needs Bryo;
}

fn the_cell_is_as_confined_as_it_says(lab: &Lab) {
    let ana = lab.user("ana");
    ana.sh("grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status | tr -d '\\t' | tr '\\n' ' '")
        .succeeds()
        .stdout_is("NoNewPrivs:1 Seccomp:2 ");
    ana.sh("test ! -e /dev/fuse && test ! -e /dev/net && test ! -S /run/dbus/system_bus_socket").succeeds();
    ana.sh("test -z \"$XDG_RUNTIME_DIR$DBUS_SESSION_BUS_ADDRESS\" && ! test -d /run/user/$(id -u)")
        .succeeds();
    ana.sh("stat -f -c %T . && stat -f -c %T /proc/keys").succeeds().stdout_is("overlayfs\ntmpfs\n");
    ana.sh("for d in /sys /sys/fs/cgroup /proc/sys; do grep -qE \"^[^ ]+ $d [^ ]+ ro\" /proc/mounts || exit 1; done")
        .succeeds();
    ana.sh("mkdir /sys/fs/cgroup$(grep ^0: /proc/self/cgroup | cut -d: -f3)/x")
        .exits(1)
        .stderr_contains("Read-only");
    let allowed = if lab.view() == View::Cell { 0 } else { 1 };
    ana.sh("unshare --user --mount --pid --fork true").exits(allowed);
    // A fresh procfs is what masks forbid; nothing else is in the way.
    ana.sh("unshare -r --mount --pid --fork mount -t tmpfs none /mnt").exits(if allowed == 0 {
        0
    } else {
        1
    });
    ana.sh("unshare -r --mount --pid --fork mount -t proc proc /mnt && exit 0; exit 9").exits(9);
}

fn run_works_in_a_cell(lab: &Lab) {
    let ana = lab.user("ana");
    ana.bryo(["run", "--", "echo", "hello"]).succeeds().stdout_is("hello\n");
    for status in [3, 0] {
        ana.bryo(["run", "--", "sh", "-c", &format!("exit {status}")]).exits(status);
    }
    ana.bryo(["run", "--", "sh", "-c", "kill -KILL $$"]).exits(137);
    ana.bryo(["run", "--", "/no/such/command"]).exits(127);
    ana.bryo(["run", "--", "cat"]).reads("moss").succeeds().stdout_is("moss");
    ana.bryo(["ls", "--json"]).succeeds().stdout_contains("[]");
}

fn root_of_an_engine_has_all_ids(lab: &Lab) {
    let ana = lab.user("ana");
    let script = "touch /tmp/file && chown 5:5 /tmp/file && stat -c %u:%g /tmp/file; tr -s ' ' </proc/self/uid_map | cut -d' ' -f4; exit 7";
    let run = ana.bryo(["run", "--", "sh", "-c", script]).as_root_of_an_engine();
    // Root's default.conf asks for a bridge, which nobody grants here.
    let said = run.exits(7).stdout_is("5:5\n65536\n").stderr_contains("note: /proc is masked here");
    said.stderr_contains("only loopback; --net host shares this machine's");
}

fn run_says_that_it_shares_the_processes_outside(lab: &Lab) {
    let ana = lab.user("ana");
    let own = ana.sh("readlink /proc/self/ns/pid").succeeds().stdout;
    ana.bryo(["run", "--", "readlink", "/proc/self/ns/pid"])
        .succeeds()
        .stdout_is(&own)
        .stderr_contains("note: /proc is masked here");
    ana.bryo(["run", "--verbose", "--", "true"])
        .succeeds()
        .stderr_contains("/proc the caller's, with its processes")
        .stderr_contains("systempaths=unconfined")
        .stderr_contains("more than one user id: ")
        .stderr_contains("writable-cgroups=true");
    let quiet = ana.bryo(["run", "--quiet", "--", "true"]).succeeds();
    assert_eq!(quiet.stderr, "");
}

fn a_command_has_what_a_cell_allows(lab: &Lab) {
    let ana = lab.user("ana");
    let run = |script: &str| ana.bryo(["run", "--", "sh", "-c", script]);
    run("ls /sys/class/net; tail -n +3 /proc/net/dev | cut -d: -f1").succeeds().stdout_contains("lo\n");
    run("! grep -q lxcbr0 /proc/net/dev").succeeds();
    run("for d in /dev/pts /dev/shm /dev/mqueue /run /sys/fs/cgroup; do grep -q \" $d \" /proc/mounts || exit 1; done")
        .succeeds();
    run("grep -E '^[^ ]+ /sys [^ ]+ ro' /proc/mounts").succeeds();
    run("echo 1 >/proc/sys/kernel/panic").exits(2).stderr_contains("Read-only");
    run("test -c /dev/null && test -c /proc/keys && ! test -s /proc/keys").succeeds();
    // The name cannot be set there, and the machine's own keeps it.
    let name = ana.run("hostname", Vec::<&str>::new()).succeeds().stdout;
    run("hostname").succeeds().stdout_is(&name).stderr_contains("a seccomp filter refuses sethostname");
    run("id -u; touch /here && echo mine; touch /usr/x || echo kept").succeeds().stdout_is("0\nmine\nkept\n");
}

fn what_a_command_leaves_running_ends_with_it(lab: &Lab) {
    let ana = lab.user("ana");
    // Orphans in sessions of their own, and one that hides in a user namespace below the container's.
    let script = "setsid sh -c 'sleep 1001 & sleep 1002' >/dev/null 2>&1 </dev/null & \
                  setsid unshare --user sleep 1003 >/dev/null 2>&1 </dev/null & \
                  while [ $(pgrep -c -u 0 -f 'sleep 100[123]') -lt 3 ]; do sleep 0.1; done; exit 4";
    ana.bryo(["run", "--", "sh", "-c", script]).exits(4);
    assert_eq!(ana.processes(), [], "processes are left");
}

/// Each process makes the next and is gone before anybody finds it. It would end by itself after a minute or so. Where
/// Landlock keeps signals in, Bryo's init ends all that it started at once; a kernel without it leaves that to the monitor, and
/// so do programs that were attached.
fn what_forks_its_way_on_ends_with_the_command(lab: &Lab) {
    let ana = lab.user("ana");
    with_attacker(&ana);
    let fork_on = "/attacker forking 1000000; sleep 0.2; exit 3";
    for filter in [Filter::Open, Filter::NoLandlock] {
        ana.bryo(["execute", "web", "--", "sh", "-c", fork_on]).under(filter).exits(3);
        eventually("nothing of the user runs", || !has_processes(&ana));
    }
    let run = ana.bryo(["execute", "web", "--", "sh", "-c", WAIT_UNTIL_DONE]).background();
    exec_when_it_runs(&ana, &["/attacker", "forking", "1000000"]);
    ana.bryo(["exec", "web", "--", "touch", "/done"]).succeeds();
    run.wait().exits(0);
    eventually("nothing of the user runs", || !has_processes(&ana));
    ana.destroy("web");
}

fn what_forks_its_way_on_ends_after_a_killed_monitor(lab: &Lab) {
    let ana = lab.user("ana");
    with_attacker(&ana);
    let script = "/attacker forking 1000000; exec sleep 1001 <&- >&- 2>&-";
    let run = ana.bryo(["execute", "web", "--", "sh", "-c", script]).background();
    eventually("the command runs", || runs(&ana, "sleep 1001"));
    kill_the_monitor(&ana, run);
    assert!(has_processes(&ana), "nothing is left to clean up");
    ana.bryo(["execute", "web", "--", "true"]).succeeds();
    eventually("nothing of the user runs", || !has_processes(&ana));
    ana.destroy("web");
}

/// Makes a container that has the hostile program as `/attacker`.
fn with_attacker(ana: &User<'_>) {
    ana.busybox("web");
    ana.append(".local/share/lxc/web/config", &attacker_entry());
}

const WAIT_UNTIL_DONE: &str = "while ! test -e /done; do sleep 0.1; done; rm /done";

fn exec_when_it_runs(ana: &User<'_>, words: &[&str]) {
    let exec = || ana.bryo([&["exec", "web", "--"], words].concat()).output();
    eventually("the command runs", || exec().status() == 0);
}

/// Tells whether a process of the user is left, which a list of processes may miss.
fn has_processes(user: &User<'_>) -> bool {
    let events = |cgroup: &PathBuf| std::fs::read_to_string(cgroup.join("cgroup.events")).ok();
    let events: Vec<String> = user.cgroups().iter().filter_map(events).collect();
    assert!(!events.is_empty(), "no cgroup of the user tells whether anybody is in it");
    events.iter().any(|events| events.contains("populated 1"))
}

/// Kills the monitor and the command that started it.
fn kill_the_monitor(ana: &User<'_>, run: Background) {
    let monitor = ana.monitors()[0].pid;
    // Stopped first, or it would end the container as soon as the command that started it is gone.
    ana.sh(&format!("kill -STOP {monitor} && kill -KILL {} {monitor}", run.pid())).succeeds();
    run.wait().exits(137);
}

/// Landlock keeps signals in since Linux 6.12; before it a note says that they may leave.
fn a_command_signals_nobody_outside(lab: &Lab) {
    let ana = lab.user("ana");
    let mut outside = ana.run("sleep", ["1004"]).background();
    let script = format!("kill -KILL {}; kill -KILL $PPID; kill -0 $$ && echo alive", outside.pid());
    let run = ana.bryo(["run", "--", "sh", "-c", &script]).output();
    if run.stderr.contains("and cannot signal them") {
        run.exits(0).stdout_is("alive\n");
        assert!(outside.runs(), "a command has killed a process outside");
        let run = ana.bryo(["run", "-n", "job", "--", "sh", "-c", WAIT_UNTIL_DONE]).background();
        eventually("the command runs", || ana.bryo(["exec", "job", "--", "true"]).output().status() == 0);
        ana.bryo(["exec", "job", "--", "sh", "-c", &script]).exits(0).stdout_is("alive\n");
        assert!(outside.runs(), "an attached program has killed a process outside");
        ana.bryo(["exec", "job", "--", "touch", "/done"]).succeeds();
        run.wait().exits(0);
    } else {
        assert!(run.stderr.contains("and may signal the caller's"), "{}", run.stderr);
    }
    outside.terminate();
    outside.wait();
}

/// All that the kernel allows to a process of the same user, without any right over it.
fn a_command_sets_no_limit_and_no_scheduling_outside(lab: &Lab) {
    let ana = lab.user("ana");
    with_attacker(&ana);
    let mut outside = ana.run("sleep", ["1004"]).background();
    let shown = format!("ps -o nice=,cls= -p {0}; ionice -p {0}; grep size /proc/{0}/limits", outside.pid());
    let before = ana.sh(&shown).succeeds().stdout;
    let pid = outside.pid().to_string();
    resisted(&ana.bryo(["execute", "web", "--", "/attacker", "others", &pid]).output());
    ana.sh(&shown).succeeds().stdout_is(&before);
    ana.bryo(["execute", "web", "--", "taskset", "1", "true"]).succeeds();
    outside.terminate();
    outside.wait();
    ana.destroy("web");
}

fn what_was_attached_ends_with_the_command(lab: &Lab) {
    let ana = lab.user("ana");
    let run = ana.bryo(["run", "-n", "job", "--", "sh", "-c", "while ! test -e /done; do sleep 0.1; done"]);
    let run = run.background();
    eventually("the command runs", || ana.bryo(["exec", "job", "--", "true"]).output().status() == 0);
    let attached = ana.bryo(["exec", "job", "--", "sleep", "1000"]).background();
    eventually("the program runs", || runs(&ana, "sleep 1000"));
    ana.bryo(["exec", "job", "--", "touch", "/done"]).succeeds();
    run.wait().exits(0);
    attached.wait().exits(137);
    assert_eq!(ana.processes(), [], "processes are left");
}

fn runs(ana: &User<'_>, command: &str) -> bool {
    ana.processes().iter().any(|process| process.command == command)
}

/// The container's init is not above it and cannot; on a machine with few pids they would be used up.
fn what_an_attached_program_leaves_is_reaped_when_it_ends(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    let run = ana.bryo(["execute", "web", "--", "sh", "-c", WAIT_UNTIL_DONE]).background();
    let script = "for n in 1 2 3; do setsid sleep 0.5 <&- >&- 2>&- & done";
    exec_when_it_runs(&ana, &["sh", "-c", script]);
    let monitor = ana.monitors()[0].pid;
    eventually("the programs have ended", || !runs(&ana, "sleep 0.5"));
    let zombies = format!("ps -o stat= --ppid {monitor} | grep Z");
    eventually("nobody waits to be reaped", || ana.sh(&zombies).output().status() == 1);
    ana.bryo(["exec", "web", "--", "touch", "/done"]).succeeds();
    run.wait().exits(0);
    ana.destroy("web");
}

fn what_a_killed_monitor_leaves_is_ended_by_the_next_command(lab: &Lab) {
    let ana = lab.user("ana");
    let script = "setsid sleep 1001 <&- >&- 2>&- & exec sleep 1002 <&- >&- 2>&-";
    let run = ana.bryo(["run", "--", "sh", "-c", script]).background();
    eventually("the commands run", || runs(&ana, "sleep 1001") && runs(&ana, "sleep 1002"));
    kill_the_monitor(&ana, run);
    assert!(runs(&ana, "sleep 1001"), "nothing is left to clean up");
    ana.bryo(["run", "--", "true"]).succeeds();
    assert_eq!(ana.processes(), [], "processes are left");
}

/// Not below another root, not in a user namespace of its own, and not by a program that nobody in the container may read:
/// the kernel then lets nobody look into its process, the container's owner included.
fn nothing_hides_from_the_command_after_a_killed_monitor(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    let unreadable = ana.home().join("unreadable");
    let outside = lab.outside(&unreadable);
    std::fs::copy(tests::subject::prefix().join("attack/attacker"), &outside)
        .and_then(|_| std::fs::set_permissions(&outside, PermissionsExt::from_mode(0o711)))
        .unwrap_or_else(|e| panic!("{}: {e}", outside.display()));
    let entry =
        format!("lxc.mount.entry = {} opt/attacker none bind,ro,create=file 0 0\n", unreadable.display());
    ana.append(".local/share/lxc/web/config", &entry);
    for (hides, command) in [
        ("exec chroot /jail /sleep 1001", "/sleep 1001"),
        ("exec unshare --user --map-root-user chroot /jail /sleep 1001", "/sleep 1001"),
        ("/opt/attacker lingering; exec sleep 1002", "/opt/attacker lingering"),
    ] {
        let jail = "mkdir -p /jail && cp /bin/busybox /jail/sleep";
        let script = format!("{jail}; {hides} <&- >&- 2>&- & exec sleep 1003 <&- >&- 2>&-");
        let run = ana.bryo(["execute", "web", "--", "sh", "-c", &script]).background();
        eventually("both run", || runs(&ana, command) && runs(&ana, "sleep 1003"));
        kill_the_monitor(&ana, run);
        // What does not hide tells where the rest is.
        let plain = ana.processes().into_iter().filter(|process| process.command != command);
        plain.for_each(|process| process.kill());
        eventually("the one that hides is alone", || ana.processes().iter().all(|p| p.command == command));
        assert!(runs(&ana, command), "nothing is left to clean up");
        ana.bryo(["execute", "web", "--", "true"]).succeeds();
        assert_eq!(ana.processes(), [], "{hides}");
    }
    ana.destroy("web");
}

/// The kernel gives the number of a user namespace again as soon as nobody is in it.
fn a_stranger_with_the_number_of_its_user_namespace_is_left_alone(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    let run = ana.bryo(["execute", "web", "--", "sh", "-c", "exec sleep 1003 <&- >&- 2>&-"]).background();
    eventually("the command runs", || runs(&ana, "sleep 1003"));
    let number = ana.namespace_of(ana.init_of("web"), "user");
    kill_the_monitor(&ana, run);
    eventually("nothing of the container runs", || {
        ana.processes().iter().for_each(|process| process.kill());
        !has_processes(&ana)
    });
    // Each takes the lowest number that is free and keeps it from the next.
    let mut strangers = Vec::new();
    let user_of = |stranger: &Background| ana.namespace_of(stranger.pid() as i32, "user");
    let found = (0..100).any(|known| {
        strangers.push(ana.run("unshare", ["--user", "sleep", "1004"]).background());
        let all_run = || ana.processes().iter().filter(|p| p.command == "sleep 1004").count() > known;
        eventually("the stranger runs", all_run);
        strangers.last().is_some_and(|last| user_of(last) == number)
    });
    if !found {
        let name = "cell::a_stranger_with_the_number_of_its_user_namespace_is_left_alone::cell";
        tests::skip(name, "the kernel gave the number to somebody else on this machine");
    }
    ana.bryo(["execute", "web", "--", "true"]).succeeds();
    for mut stranger in strangers {
        assert!(stranger.runs(), "a stranger was killed");
        stranger.kill();
        stranger.wait().exits(137);
    }
    ana.destroy("web");
}

/// Whoever sees the container's processes can read its mark, and wear it in a namespace of his own.
fn a_stranger_with_the_mark_of_its_user_namespace_keeps_nobody_out(lab: &Lab) {
    let (ana, ben) = (lab.user("ana"), lab.user("ben"));
    ana.busybox("web");
    let run = ana.bryo(["execute", "web", "--", "sh", "-c", "exec sleep 1003 <&- >&- 2>&-"]).background();
    eventually("the command runs", || runs(&ana, "sleep 1003"));
    let own = ana.processes().into_iter().find(|process| process.command == "sleep 1003").expect("it runs");
    let read = format!("mark=$(cat /proc/{}/projid_map); own=$(readlink /proc/$$/ns/user)", own.pid);
    let wear = "
        unshare --user sleep 1005 & until [ \"$(readlink /proc/$!/ns/user)\" != \"$own\" ]; do sleep 0.1; done
        printf '%s\\n' \"$mark\" >/proc/$!/projid_map && grep -q . /proc/$!/projid_map && touch ~/worn; wait";
    let stranger = ben.sh(&format!("{read}{wear}")).background();
    eventually("the mark is worn", || lab.outside(&ben.home().join("worn")).exists());
    kill_the_monitor(&ana, run);
    ana.bryo(["execute", "web", "--", "true"]).succeeds();
    assert_eq!(ana.processes(), [], "processes are left");
    assert!(runs(&ben, "sleep 1005"), "a stranger was killed");
    ben.processes().iter().filter(|process| process.command == "sleep 1005").for_each(|it| it.kill());
    stranger.wait();
    ana.destroy("web");
}

/// Between the moment when programs of the container begin to run and the one when its init does.
fn what_a_start_leaves_whose_monitor_is_killed_is_ended(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    ana.append(".local/share/lxc/web/config", "lxc.hook.start = /hook\n");
    let hook = ".local/share/lxc/web/rootfs/hook";
    let script = "test -e /begun && exit 0; touch /begun; setsid sleep 1001 <&- >&- 2>&- & exec sleep 1002 <&- >&- 2>&-";
    ana.write(hook, &format!("#!/bin/sh\n{script}\n"));
    ana.sh(&format!("chmod 755 {hook}")).succeeds();
    let run = ana.bryo(["execute", "web", "--", "true"]).background();
    eventually("the hook runs", || runs(&ana, "sleep 1001") && runs(&ana, "sleep 1002"));
    kill_the_monitor(&ana, run);
    assert!(runs(&ana, "sleep 1001"), "nothing is left to clean up");
    ana.bryo(["execute", "web", "--", "true"]).succeeds();
    assert_eq!(ana.processes(), [], "processes are left");
    ana.destroy("web");
}

/// A process that somebody outside has frozen ends when it is thawed, whatever it was sent.
fn what_does_not_end_is_left_to_the_next_command(lab: &Lab) {
    let ana = lab.user("ana");
    let Some(freezer) = Freezer::make(&ana) else {
        let name = "cell::what_does_not_end_is_left_to_the_next_command::cell";
        return tests::skip(
            name,
            "this machine has no freezer of cgroup v1, and that of v2 holds nobody from being killed",
        );
    };
    ana.busybox("web");
    let script = format!("setsid sleep 1001 <&- >&- 2>&- & {WAIT_UNTIL_DONE}");
    let run = ana.bryo(["execute", "web", "--", "sh", "-c", &script]).background();
    eventually("the command runs", || runs(&ana, "sleep 1001"));
    let pid = ana.processes().into_iter().find(|p| p.command == "sleep 1001").map_or(0, |p| p.pid);
    freezer.freeze(pid);
    exec_when_it_runs(&ana, &["touch", "/done"]);
    run.wait().exits(0);
    assert!(runs(&ana, "sleep 1001"), "nothing is left");
    let next = ana.bryo(["execute", "web", "--", "true"]).output();
    assert!(
        next.status() != 0 && next.stderr.contains(&format!("still there: process {pid};")),
        "{}",
        next.stderr
    );
    freezer.thaw();
    ana.bryo(["execute", "web", "--", "true"]).succeeds();
    assert_eq!(ana.processes(), [], "processes are left");
    ana.destroy("web");
}

/// A cgroup whose processes the machine can freeze.
struct Freezer(PathBuf);

impl Freezer {
    fn make(ana: &User<'_>) -> Option<Self> {
        let own = ana.cgroups().iter().find(|path| path.join("freezer.state").exists())?;
        let directory = own.join("frozen");
        std::fs::create_dir(&directory).ok()?;
        Some(Self(directory))
    }

    fn freeze(&self, pid: i32) {
        self.write("cgroup.procs", &pid.to_string());
        self.write("freezer.state", "FROZEN");
        let state = || std::fs::read_to_string(self.0.join("freezer.state")).unwrap_or_default();
        eventually("it is frozen", || state().trim() == "FROZEN");
    }

    fn thaw(&self) {
        self.write("freezer.state", "THAWED");
        eventually("the frozen cgroup is empty", || std::fs::remove_dir(&self.0).is_ok());
    }

    fn write(&self, file: &str, text: &str) {
        let file = self.0.join(file);
        std::fs::write(&file, text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    }
}

fn processes_outside_are_left_alone(lab: &Lab) {
    let ana = lab.user("ana");
    let mut outside = ana.run("sleep", ["1004"]).background();
    let mut other = ana.bryo(["run", "--", "sleep", "1005"]).background();
    eventually("the other container runs", || runs(&ana, "sleep 1005"));
    ana.bryo(["run", "--", "sh", "-c", "sleep 1006 & exit 0"]).succeeds();
    assert!(outside.runs() && other.runs() && runs(&ana, "sleep 1005") && !runs(&ana, "sleep 1006"));
    other.terminate();
    other.wait().exits(143);
    outside.terminate();
    outside.wait();
}

fn an_overlay_can_be_mounted(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    let top = ana.home().display().to_string();
    ana.sh("mkdir lower upper work && echo below >lower/file").succeeds();
    // A home on an overlay cannot be an upper directory of another; a tmpfs can.
    ana.append(
        ".local/share/lxc/web/config",
        &format!("lxc.mount.entry = {top}/lower opt none bind,create=dir 0 0\n"),
    );
    let script = "mount -t tmpfs t /mnt && mkdir /mnt/u /mnt/w && \
                  mount -t overlay -o lowerdir=/opt,upperdir=/mnt/u,workdir=/mnt/w,userxattr o /srv && \
                  cat /srv/file && echo above >/srv/file && cat /srv/file /opt/file";
    ana.bryo(["execute", "web", "--", "sh", "-c", script]).succeeds().stdout_is("below\nabove\nbelow\n");
    ana.destroy("web");
}

fn an_init_is_refused_with_what_unmasks_proc(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    ana.bryo(["start", "web"])
        .exits(1)
        .stderr_contains(
            "an init needs a procfs of its own, which the kernel allows only where /proc is not masked",
        )
        .stderr_contains("--security-opt systempaths=unconfined");
    ana.bryo(["execute", "web", "--", "echo", "works"]).succeeds().stdout_is("works\n");
    ana.destroy("web");
}

fn forbidden_namespaces_are_told_with_what_allows_them(lab: &Lab) {
    let ana = lab.user("ana");
    ana.bryo(["run", "--", "true"])
        .exits(125)
        .stderr_contains("user namespaces are forbidden here by a seccomp filter")
        .stderr_contains("--security-opt seccomp=unconfined");
    ana.bryo(["create", "web", "/run/bryo-lab/rootfs/busybox.tar.zst"])
        .exits(1)
        .stderr_contains("user namespaces are forbidden here by a seccomp filter");
    ana.bryo(["ls", "--json"]).succeeds().stdout_contains("[]");
}

fn forbidden_mount_calls_are_named(lab: &Lab) {
    let ana = lab.user("ana");
    ana.bryo(["run", "--", "true"])
        .under(Filter::OldMounts)
        .exits(125)
        .stderr_contains("forbids here what mounts need: fsopen, fsconfig, fsmount, open_tree, move_mount")
        .stderr_contains("--security-opt seccomp=unconfined");
}

fn without_clone3_a_container_starts_in_its_cgroup(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    ana.bryo(["start", "web"]).under(Filter::NoClone3).succeeds();
    let groups = std::fs::read_to_string(format!("/proc/{}/cgroup", ana.init_of("web"))).unwrap_or_default();
    let shown = |line: &&str| lab.view() == View::Hybrid || line.starts_with("0:");
    assert!(groups.lines().filter(shown).all(|line| line.contains("lxc.payload.web")), "{groups}");
    let own = |pid, name| ana.namespace_of(pid, name);
    for name in ["user", "mnt", "pid", "net", "cgroup"] {
        assert_ne!(own(ana.init_of("web"), name), own(1, name), "{name} namespace");
    }
    ana.bryo(["exec", "web", "--", "cat", "/proc/self/cgroup"]).under(Filter::NoClone3).succeeds();
    ana.bryo(["stop", "web"]).under(Filter::NoClone3).succeeds();
    ana.destroy("web");
}

fn without_clone3_run_works(lab: &Lab) {
    let ana = lab.user("ana");
    ana.bryo(["run", "--", "sh", "-c", "echo $$; exit 3"]).under(Filter::NoClone3).exits(3).stdout_is("2\n");
}
