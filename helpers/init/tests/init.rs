//! bryo-init as process 1 of a pid namespace, and as an ordinary process where that is enough.

#![cfg(test)]

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

const INIT: &str = env!("CARGO_BIN_EXE_bryo-init");

/// Runs bryo-init as an ordinary process.
fn plain(arguments: &[&str]) -> Output {
    Command::new(INIT).args(arguments).output().unwrap()
}

/// A command that runs bryo-init as process 1, or `None` (said aloud) where namespaces are not to be had.
fn as_process_1(test: &str) -> Option<Command> {
    let enter = ["-Urpf", "--mount-proc"];
    if !Command::new("unshare").args(enter).arg("true").output().is_ok_and(|done| done.status.success()) {
        testbed::skip(test, "no user and pid namespaces to be had here");
        return None;
    }
    let mut command = Command::new("unshare");
    command.args(enter).args([INIT, "--"]);
    Some(command)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_status_of_the_command_is_passed_on() {
    for (script, status) in [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143), ("kill -KILL $$", 137)] {
        assert_eq!(plain(&["--", "sh", "-c", script]).status.code(), Some(status), "{script}");
    }
}

#[test]
fn process_1_passes_the_status_on_as_well() {
    let Some(mut command) = as_process_1("process_1_passes_the_status_on_as_well") else { return };
    let status = command.args(["sh", "-c", "[ $PPID = 1 ] && kill -HUP $$"]).status().unwrap();
    assert_eq!(status.code(), Some(129));
}

#[test]
fn what_cannot_be_run_is_said_in_one_line_with_the_status_of_a_shell() {
    for (command, status, reason) in [
        ("no-such-command", 127, "no-such-command: not found"),
        ("/no/such/path", 127, "/no/such/path: not found"),
        ("/etc/passwd", 126, "/etc/passwd: Permission denied"),
        ("/", 126, "/: Permission denied"),
        ("", 127, ": not found"),
    ] {
        let output = plain(&["--", command]);
        assert_eq!(output.status.code(), Some(status), "{command}");
        let said = text(&output.stderr);
        assert!(said.starts_with(&format!("bryo-init: {reason}")) && said.lines().count() == 1, "{said:?}");
    }
}

#[test]
fn without_a_command_the_usage_is_said() {
    for arguments in [&[][..], &["--"], &["--help"]] {
        let output = plain(arguments);
        assert_eq!(output.status.code(), Some(125));
        assert_eq!(
            text(&output.stderr),
            "bryo-init: usage: bryo-init [--end-all] [--] COMMAND [ARGUMENT...]\n"
        );
    }
}

#[test]
fn a_closed_stderr_changes_no_status() {
    let script = format!("{INIT} -- no-such-command 2>&-");
    assert_eq!(Command::new("sh").args(["-c", &script]).status().unwrap().code(), Some(127));
    let broken_pipe =
        format!("set -o pipefail; ( sleep 0.1; exec {INIT} -- no-such-command ) 2>&1 >/dev/null | true");
    assert_eq!(Command::new("bash").args(["-c", &broken_pipe]).status().unwrap().code(), Some(127));
}

#[test]
fn the_command_starts_with_default_signals_and_leads_its_session() {
    let script =
        format!("trap '' INT HUP CHLD; exec {INIT} -- sh -c 'cat /proc/self/status; cat /proc/$$/stat'");
    let output = text(&Command::new("bash").args(["-c", &script]).output().unwrap().stdout);
    for line in ["SigBlk:\t0000000000000000", "SigIgn:\t0000000000000000"] {
        assert!(output.contains(line), "{output}");
    }
    let stat: Vec<_> = output.lines().last().unwrap().split(' ').collect();
    let (pid, group, session) = (stat[0], stat[4], stat[5]);
    assert_eq!((group, session), (pid, pid));
}

#[test]
fn process_1_reaps_every_orphan() {
    let Some(mut command) = as_process_1("process_1_reaps_every_orphan") else { return };
    // Fifty grandchildren lose their parent and end; a zombie would be seen in /proc.
    let script = "for i in $(seq 50); do (sh -c 'sleep 0.05' &); done; sleep 0.5; grep -h '^State' /proc/[0-9]*/status";
    let output = text(&command.args(["sh", "-c", script]).output().unwrap().stdout);
    assert!(output.contains("State:") && !output.contains("zombie"), "{output}");
    assert!(output.lines().count() <= 4, "{output}");
}

#[test]
fn the_end_of_the_command_is_the_end_of_the_container() {
    let Some(mut command) = as_process_1("the_end_of_the_command_is_the_end_of_the_container") else {
        return;
    };
    // The pipe of stdout stays open as long as any process of the container lives.
    let output = command.args(["sh", "-c", "sleep 100 & setsid sleep 100 & exit 5"]).output().unwrap();
    assert_eq!(output.status.code(), Some(5));
}

/// A container whose command prints the signals that it gets, and its process 1 as the host sees it.
struct Running {
    unshare: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
    process_1: String,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let script = "for s in HUP INT QUIT USR1 USR2 TERM CONT WINCH RTMIN+5; do trap \"echo $s\" $s; done; \
                      echo ready; while :; do sleep 0.02; done";
        let mut unshare = command.args(["bash", "-c", script]).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(unshare.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "ready");
        let children = format!("/proc/{0}/task/{0}/children", unshare.id());
        let process_1 = std::fs::read_to_string(children).unwrap().trim().to_owned();
        Self { unshare, lines, process_1 }
    }

    fn signal(&self, name: &str) {
        assert!(Command::new("kill").args(["-s", name, &self.process_1]).status().unwrap().success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.signal("KILL");
        let _ = self.unshare.wait();
    }
}

#[test]
fn process_1_passes_signals_on_and_turns_a_halt_into_sigterm() {
    let Some(command) = as_process_1("process_1_passes_signals_on_and_turns_a_halt_into_sigterm") else {
        return;
    };
    let mut running = Running::start(command);
    for (sent, received) in [
        ("HUP", "HUP"),
        ("INT", "INT"),
        ("QUIT", "QUIT"),
        ("USR1", "USR1"),
        ("USR2", "USR2"),
        ("TERM", "TERM"),
        ("CONT", "CONT"),
        ("WINCH", "WINCH"),
        ("RTMIN+5", "RTMIN+5"),
        ("PWR", "TERM"),
        ("RTMIN+3", "TERM"),
    ] {
        running.signal(sent);
        assert_eq!(running.lines.next().unwrap().unwrap(), received, "{sent}");
    }
}

#[test]
fn the_terminal_goes_to_the_session_of_the_command_without_a_hangup() {
    if testbed::lacks("the_terminal_goes_to_the_session_of_the_command_without_a_hangup", "script") {
        return;
    }
    // script(1) makes a terminal and a session that has it; bryo-init replaces the leader of that session.
    let check = "trap 'echo hangup' HUP; read -r _ _ _ _ group session _ foreground _ < /proc/$$/stat; \
                 echo $$ $group $session $foreground; sleep 0.1; : < /dev/tty && echo has-terminal";
    let command = format!("exec {INIT} -- bash -c '{}'", check.replace('\'', "'\\''"));
    let script = Command::new("script").args(["-qec", &command, "/dev/null"]).stdin(Stdio::null()).output();
    let output = text(&script.unwrap().stdout);
    let ids: Vec<_> = output.lines().next().unwrap_or_default().split_whitespace().collect();
    assert!(ids.len() == 4 && ids.iter().all(|id| *id == ids[0]), "{output}");
    assert!(output.contains("has-terminal") && !output.contains("hangup"), "{output}");
}

#[test]
fn no_file_of_the_command_is_held_open() {
    let mut init =
        Command::new(INIT).args(["sh", "-c", "exec sleep 60 >&-"]).stdout(Stdio::piped()).spawn().unwrap();
    // The pipe ends as soon as the command closes it, while the command still runs.
    assert_eq!(init.stdout.take().unwrap().read_to_end(&mut Vec::new()).unwrap(), 0);
    assert!(init.try_wait().unwrap().is_none());
    assert!(Command::new("kill").arg(init.id().to_string()).status().unwrap().success());
    assert_eq!(init.wait().unwrap().code(), Some(143));
}
