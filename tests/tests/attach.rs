//! Commands in a running container: attach with LXC's semantics, exec and shell with Bryo's, and the consoles.

use std::ops::Deref;

use tests::{Background, Lab, User, View, eventually};

tests::claims! {
    the_exit_status_of_the_command_is_passed_on: hybrid unified cell;
    standard_streams_are_the_callers_own: hybrid unified cell;
    binary_data_passes_a_pipe_unchanged: hybrid cell;
    the_callers_environment_is_kept_by_default: hybrid cell;
    clear_env_keeps_only_what_is_named: hybrid cell;
    the_working_directory_is_kept_where_it_exists: hybrid cell;
    uid_and_gid_are_taken_inside: hybrid, not cell ONE_ID;
    without_a_terminal_there_is_none_inside: hybrid cell;
    a_terminal_outside_is_a_terminal_inside: hybrid unified cell;
    the_terminal_inside_follows_the_size_of_the_window: hybrid cell, needs Bryo;
    attach_to_a_stopped_container_fails: hybrid cell;
    attach_lands_in_the_cgroup_of_the_container: hybrid unified cell;
    a_container_with_all_its_processes_is_still_entered: hybrid;
    a_command_has_a_group_of_its_own_where_init_has_made_groups: hybrid unified, needs Bryo Strace;
    a_command_that_cannot_be_cloned_into_the_group_moves_there: hybrid unified, needs Bryo Strace;
    many_commands_at_once: hybrid cell;
    a_killed_attach_leaves_the_container_running: hybrid unified cell;
    exec_has_a_clean_environment: hybrid unified cell, needs Bryo;
    exec_passes_status_and_input_on: hybrid unified cell, needs Bryo;
    shell_is_a_login: hybrid cell, needs Bryo;
    the_console_shows_a_shell_and_is_left_with_ctrl_a_q: hybrid unified, not cell INIT;
    a_console_that_does_not_exist_is_refused: hybrid cell;
}

/// The user whose container runs. In a cell, which allows no init, a command runs in it, and ends with it.
struct Running<'lab> {
    user: User<'lab>,
    command: Option<Background>,
}

impl<'lab> Deref for Running<'lab> {
    type Target = User<'lab>;

    fn deref(&self) -> &User<'lab> {
        &self.user
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if let Some(command) = self.command.take().filter(|_| !std::thread::panicking()) {
            command.wait();
        }
    }
}

/// Starts the container that every test here uses.
fn running<'lab>(lab: &'lab Lab) -> Running<'lab> {
    let user = lab.user("ana");
    user.busybox("web");
    if lab.view() != View::Cell {
        user.lxc("start", ["-n", "web"]).succeeds();
        return Running { user, command: None };
    }
    let command = Some(user.lxc("execute", ["-n", "web", "--", "sleep", "1000"]).background());
    eventually("web runs", || user.lxc("info", ["-n", "web", "-sH"]).output().stdout == "RUNNING\n");
    Running { user, command }
}

fn attach<'lab>(user: &User<'lab>, command: &str) -> tests::Command<'lab> {
    user.lxc("attach", ["-n", "web", "--", "/bin/sh", "-c", command])
}

fn the_exit_status_of_the_command_is_passed_on(lab: &Lab) {
    let ana = running(lab);
    for status in [0, 3, 255] {
        attach(&ana, &format!("exit {status}")).exits(status);
    }
    attach(&ana, "kill -KILL $$").exits(137);
    attach(&ana, "kill -TERM $$").exits(143);
    ana.lxc("attach", ["-n", "web", "--", "/no/such/command"]).exits(127);
    ana.lxc("attach", ["-n", "web", "--", "/etc/passwd"]).exits(126);
    ana.destroy("web");
}

fn standard_streams_are_the_callers_own(lab: &Lab) {
    let ana = running(lab);
    let output = attach(&ana, "read word; echo out $word; echo err >&2").reads("moss\n").succeeds();
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("out moss\n", "err\n"));
    ana.destroy("web");
}

fn binary_data_passes_a_pipe_unchanged(lab: &Lab) {
    let ana = running(lab);
    // More than any buffer between the two, with every byte value but those a shell cannot hold.
    ana.sh("head -c 3000000 /dev/urandom >data; lxc-attach -n web -- cat <data | cmp - data").succeeds();
    ana.destroy("web");
}

fn the_callers_environment_is_kept_by_default(lab: &Lab) {
    let ana = running(lab);
    attach(&ana, "echo $MOSS $container").env("MOSS", "green").succeeds().stdout_is("green lxc\n");
    ana.destroy("web");
}

fn clear_env_keeps_only_what_is_named(lab: &Lab) {
    let ana = running(lab);
    ana.lxc("attach", ["-n", "web", "--clear-env", "--keep-var", "KEPT", "-v", "SET=1", "--", "env"])
        .env("KEPT", "yes")
        .env("MOSS", "green")
        .succeeds()
        .stdout_contains("KEPT=yes")
        .stdout_contains("SET=1")
        .stdout_contains("container=lxc")
        .stdout_contains("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .stdout_lacks("MOSS")
        .stdout_lacks("HOME");
    ana.destroy("web");
}

fn the_working_directory_is_kept_where_it_exists(lab: &Lab) {
    let ana = running(lab);
    ana.lxc("attach", ["-n", "web", "--", "pwd"]).from("/usr/sbin").succeeds().stdout_is("/usr/sbin\n");
    ana.lxc("attach", ["-n", "web", "--", "pwd"]).from(ana.home()).succeeds().stdout_is("/\n");
    ana.destroy("web");
}

fn uid_and_gid_are_taken_inside(lab: &Lab) {
    let ana = running(lab);
    ana.lxc("attach", ["-n", "web", "-u", "1000", "-g", "1000", "--", "id"])
        .succeeds()
        .stdout_contains("uid=1000(ana) gid=1000(ana)");
    ana.destroy("web");
}

fn without_a_terminal_there_is_none_inside(lab: &Lab) {
    let ana = running(lab);
    attach(&ana, "test -t 0 || test -t 1 || echo none").succeeds().stdout_is("none\n");
    ana.destroy("web");
}

fn a_terminal_outside_is_a_terminal_inside(lab: &Lab) {
    let ana = running(lab);
    let mut terminal = attach(&ana, "tty; stty size; read word; exit 7").in_terminal(33, 99);
    terminal.shows("/dev/").shows("33 99").types("go\n");
    terminal.exits(7);
    ana.destroy("web");
}

fn the_terminal_inside_follows_the_size_of_the_window(lab: &Lab) {
    let ana = running(lab);
    let script = "trap 'stty size' WINCH; echo ready; while :; do sleep 0.1; done";
    let mut terminal = attach(&ana, script).in_terminal(33, 99);
    terminal.shows("ready").resizes(44, 111).shows("44 111").types("\u{3}");
    terminal.exits(130);
    ana.destroy("web");
}

fn attach_to_a_stopped_container_fails(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    ana.lxc("attach", ["-n", "web", "--", "true"]).exits(1);
    ana.lxc("attach", ["-n", "nothing", "--", "true"]).exits(1);
    ana.destroy("web");
}

fn attach_lands_in_the_cgroup_of_the_container(lab: &Lab) {
    let ana = running(lab);
    // Seen from inside, everything lies below the container's own root; the host's names do not show.
    attach(&ana, "cat /proc/self/cgroup").succeeds().stdout_lacks("bryo-lab").stdout_lacks("..");
    ana.destroy("web");
}

fn a_container_with_all_its_processes_is_still_entered(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    ana.append(".local/share/lxc/web/config", "lxc.cgroup.pids.max = 6\n");
    ana.lxc("start", ["-n", "web"]).succeeds();
    let fill = "while sleep 1000 >/dev/null 2>&1 & do :; done";
    let filled = attach(&ana, fill).output();
    assert!(filled.stderr.contains("fork"), "{filled:?}");
    ana.lxc("attach", ["-n", "web", "--", "true"]).succeeds();
    ana.destroy("web");
}

/// On v2 a group takes no process when its own init has enabled controllers for the groups below.
fn a_command_has_a_group_of_its_own_where_init_has_made_groups(lab: &Lab) {
    let ana = running(lab);
    for _ in 0..2 {
        assert_eq!(group_when_a_clone_into_it_answers(&ana, "EBUSY"), "0::/.lxc\n");
    }
    ana.destroy("web");
}

/// A group of v2 that has all the processes that it may have takes none by a clone, and one that moves itself.
fn a_command_that_cannot_be_cloned_into_the_group_moves_there(lab: &Lab) {
    let ana = running(lab);
    assert_eq!(group_when_a_clone_into_it_answers(&ana, "EAGAIN"), "0::/\n");
    ana.destroy("web");
}

/// Returns the group of v2, as it shows inside, of a command. The machine has no controllers in v2, so the kernel's first
/// answer is strace's.
fn group_when_a_clone_into_it_answers(user: &User<'_>, errno: &str) -> String {
    // The first of them: a process that moves it may be there still.
    let monitor = user.monitors().into_iter().next().expect("the container runs");
    // Each process has a count of its own; clone3 is for clones into a group alone.
    let mut strace = std::process::Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("inject=clone3:error={errno}:when=1")])
        .args(["-p", &monitor.pid.to_string()])
        .spawn()
        .expect("strace is there");
    let status = || std::fs::read_to_string(format!("/proc/{}/status", monitor.pid)).unwrap_or_default();
    eventually("strace looks on", || !status().contains("TracerPid:\t0\n"));
    let group = attach(user, "grep ^0: /proc/self/cgroup").succeeds().stdout;
    strace.kill().expect("it is ours");
    strace.wait().expect("it is ours");
    eventually("strace is gone", || status().contains("TracerPid:\t0\n"));
    group
}

fn many_commands_at_once(lab: &Lab) {
    let ana = running(lab);
    let commands: Vec<_> =
        (0..20).map(|n| attach(&ana, &format!("sleep 0.2; exit {n}")).background()).collect();
    for (n, command) in (0..).zip(commands) {
        command.wait().exits(n);
    }
    ana.destroy("web");
}

fn a_killed_attach_leaves_the_container_running(lab: &Lab) {
    let ana = running(lab);
    let mut command = attach(&ana, "echo $$ >/tmp/pid; exec sleep 1000 <&- >&- 2>&-").background();
    eventually("the command runs", || attach(&ana, "test -s /tmp/pid").output().status() == 0);
    command.kill();
    command.wait().exits(137);
    ana.lxc("info", ["-n", "web", "-sH"]).succeeds().stdout_is("RUNNING\n");
    ana.lxc("attach", ["-n", "web", "--", "true"]).succeeds();
    ana.destroy("web");
}

fn exec_has_a_clean_environment(lab: &Lab) {
    let ana = running(lab);
    ana.bryo(["exec", "-e", "SET=1", "web", "--", "env"])
        .env("MOSS", "green")
        .succeeds()
        .stdout_contains("SET=1")
        .stdout_contains("container=")
        .stdout_lacks("MOSS")
        .stdout_lacks("bryo-lab");
    ana.destroy("web");
}

fn exec_passes_status_and_input_on(lab: &Lab) {
    let ana = running(lab);
    for status in [0, 3] {
        ana.bryo(["exec", "web", "--", "sh", "-c", &format!("exit {status}")]).exits(status);
    }
    ana.bryo(["exec", "web", "--", "sh", "-c", "kill -KILL $$"]).exits(137);
    ana.bryo(["exec", "web", "--", "/no/such/command"]).exits(127);
    ana.bryo(["exec", "web", "--", "/etc/passwd"]).exits(126);
    ana.bryo(["exec", "web", "--", "cat"]).reads("moss").succeeds().stdout_is("moss");
    ana.bryo(["exec", "-w", "/usr/sbin", "web", "--", "pwd"]).succeeds().stdout_is("/usr/sbin\n");
    ana.destroy("web");
}

fn shell_is_a_login(lab: &Lab) {
    let ana = running(lab);
    let mut terminal = ana.bryo(["shell", "web"]).in_terminal(24, 80);
    terminal.types("echo at $HOME as $USER\n").shows("at /root as root").types("exit 5\n");
    terminal.exits(5);
    ana.destroy("web");
}

fn the_console_shows_a_shell_and_is_left_with_ctrl_a_q(lab: &Lab) {
    let ana = running(lab);
    let mut terminal = ana.lxc("console", ["-n", "web", "-t", "1"]).in_terminal(24, 80);
    terminal.shows("Connected to tty 1").types("\n").shows("#").types("echo on-$((40 + 2))\n").shows("on-42");
    terminal.types("\u{1}q");
    terminal.exits(0);
    ana.lxc("info", ["-n", "web", "-sH"]).succeeds().stdout_is("RUNNING\n");
    ana.destroy("web");
}

fn a_console_that_does_not_exist_is_refused(lab: &Lab) {
    let ana = running(lab);
    ana.lxc("console", ["-n", "web", "-t", "9"]).in_terminal(24, 80).exits(1);
    ana.destroy("web");
}
