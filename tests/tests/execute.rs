//! One command in a container of its own: lxc-execute, and `bryo run` with its throw-away container.

use std::time::Duration;

use tests::{Lab, eventually};

tests::claims! {
    run_passes_signals_to_its_command: hybrid cell, needs Bryo;
    run_passes_a_signal_to_a_command_that_has_just_begun: hybrid, needs Bryo Strace;
    execute_passes_the_exit_status_on: hybrid unified cell;
    execute_has_an_init_that_reaps: hybrid, not cell PROCESSES;
    execute_of_a_missing_command_fails: hybrid cell;
    run_passes_the_exit_status_on_and_leaves_nothing: hybrid unified cell, needs Bryo;
    run_has_the_machines_programs_under_a_private_root: hybrid unified cell, needs Bryo;
    run_reads_a_pipe: hybrid cell, needs Bryo;
    run_is_interactive_in_a_terminal: hybrid cell, needs Bryo;
    run_works_from_a_session_without_a_cgroup: hybrid unified cell, needs Bryo;
    a_run_that_is_killed_is_cleaned_up_by_the_next_command: hybrid unified cell, needs Bryo;
    a_run_that_is_terminated_ends_its_command: hybrid cell, needs Bryo;
}

fn execute_passes_the_exit_status_on(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    for status in [0, 3] {
        ana.lxc("execute", ["-n", "web", "--", "/bin/sh", "-c", &format!("exit {status}")]).exits(status);
    }
    ana.lxc("execute", ["-n", "web", "--", "/bin/sh", "-c", "kill -KILL $$"]).exits(137);
    ana.lxc("info", ["-n", "web", "-sH"]).succeeds().stdout_is("STOPPED\n");
    ana.destroy("web");
}

fn execute_has_an_init_that_reaps(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    // The grandchild is orphaned; whoever adopts it must not leave a zombie.
    let script = "test $$ -ne 1 || exit 9; sh -c 'sleep 0.1 & exit 0'; sleep 0.5; ! ps -o stat | grep -q Z";
    ana.lxc("execute", ["-n", "web", "--", "/bin/sh", "-c", script]).succeeds();
    ana.destroy("web");
}

fn execute_of_a_missing_command_fails(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    let status = ana.lxc("execute", ["-n", "web", "--", "/no/such/command"]).output().status();
    // LXC: 255, from an init that could not exec.
    assert!([127, 255].contains(&status), "exit status {status}");
    ana.destroy("web");
}

fn run_passes_the_exit_status_on_and_leaves_nothing(lab: &Lab) {
    let ana = lab.user("ana");
    for status in [0, 3] {
        ana.bryo(["run", "--", "sh", "-c", &format!("exit {status}")]).exits(status);
    }
    ana.bryo(["run", "--", "sh", "-c", "kill -KILL $$"]).exits(137);
    ana.bryo(["run", "--", "/no/such/command"]).exits(127);
    ana.bryo(["run", "--", "/etc/passwd"]).exits(126);
    ana.bryo(["ls", "--json"]).succeeds().stdout_contains("[]");
}

fn run_has_the_machines_programs_under_a_private_root(lab: &Lab) {
    let ana = lab.user("ana");
    let output =
        ana.bryo(["run", "--", "sh", "-c", "id -u; touch /here && echo mine; touch /usr/x || echo kept"]);
    output.succeeds().stdout_is("0\nmine\nkept\n");
}

fn run_reads_a_pipe(lab: &Lab) {
    lab.user("ana").bryo(["run", "--", "cat"]).reads("moss").succeeds().stdout_is("moss");
}

fn run_is_interactive_in_a_terminal(lab: &Lab) {
    let mut terminal = lab.user("ana").bryo(["run", "--", "sh"]).in_terminal(33, 99);
    terminal.types("stty size; echo at-$((40 + 2))\n").shows("33 99").shows("at-42").types("exit 4\n");
    terminal.exits(4);
}

fn run_works_from_a_session_without_a_cgroup(lab: &Lab) {
    let ana = lab.user("ana");
    ana.take_cgroups_back();
    ana.bryo(["run", "--", "sh", "-c", "exit 6"]).exits(6);
}

fn a_run_that_is_killed_is_cleaned_up_by_the_next_command(lab: &Lab) {
    let ana = lab.user("ana");
    let mut run = ana.bryo(["run", "--", "sleep", "1000"]).background();
    eventually("the command runs", || ana.processes().iter().any(|process| process.command == "sleep 1000"));
    run.kill();
    run.wait().exits(137);
    ana.bryo(["run", "--", "true"]).succeeds();
    eventually("the command is gone", || ana.processes().is_empty());
}

fn a_run_that_is_terminated_ends_its_command(lab: &Lab) {
    let ana = lab.user("ana");
    let script = "trap 'exit 5' TERM; while :; do sleep 0.1; done";
    let mut run = ana.bryo(["run", "--", "sh", "-c", script]).background();
    eventually("the command runs", || {
        ana.processes().iter().any(|process| process.command.starts_with("sh -c trap"))
    });
    std::thread::sleep(Duration::from_millis(300));
    run.terminate();
    run.wait().exits(5);
}

fn run_passes_signals_to_its_command(lab: &Lab) {
    let starter = format!("bryo run -- sh -c \"{SIGNALLED}\" >out & {UNTIL_READY}; kill -USR1 $!; wait $!");
    lab.user("ana").sh(&starter).exits(9);
}

const SIGNALLED: &str = "trap 'exit 9' USR1; echo ready; while :; do sleep 0.1; done";
const UNTIL_READY: &str = "while ! grep -q ready out; do sleep 0.1; done";

/// A command may have something to say before `run` has heard that it runs.
fn run_passes_a_signal_to_a_command_that_has_just_begun(lab: &Lab) {
    let slowly = "strace -qq -o /dev/null -e inject=ppoll:delay_enter=500000";
    let starter = format!(
        "{slowly} bryo run -- sh -c \"{SIGNALLED}\" >out & {UNTIL_READY}; kill -USR1 $(pgrep -P $!); wait $!"
    );
    lab.user("ana").sh(&starter).exits(9);
}
