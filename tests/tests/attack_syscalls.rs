//! Attacks on the kernel itself: what a hostile container calls, and what it could learn or leave behind by it.

use tests::attack::{attacker_entry, resisted};
use tests::{Lab, User};

tests::claims! {
    calls_that_no_container_needs_are_refused: hybrid unified, needs Bryo;
    calls_of_32_bit_programs_are_refused_too: hybrid, needs Bryo;
    every_way_in_has_the_filter: hybrid, needs Bryo;
    a_profile_of_the_user_is_in_force_as_a_whole: hybrid, needs Bryo;
    a_profile_that_makes_no_sense_fails_the_start: hybrid, needs Bryo;
    capabilities_that_mean_nothing_are_gone: hybrid, needs Bryo;
    a_command_that_is_run_gains_no_rights: hybrid, needs Bryo;
    no_core_of_the_container_reaches_the_host: hybrid, needs Bryo;
    an_attached_program_has_the_containers_limits: hybrid, needs Bryo;
}

const CONFIG: &str = ".local/share/lxc/web/config";

/// Makes a container that has the hostile program as `/attacker`, with more lines in its configuration.
fn with<'lab>(lab: &'lab Lab, lines: &str) -> User<'lab> {
    let ana = lab.user("ana");
    ana.busybox("web");
    ana.append(CONFIG, &format!("{}{lines}", attacker_entry()));
    ana
}

/// The same, started.
fn started<'lab>(lab: &'lab Lab, lines: &str) -> User<'lab> {
    let ana = with(lab, lines);
    ana.bryo(["start", "web"]).succeeds();
    ana
}

/// CVE-2026-31431, CVE-2019-7303: keys, programs for the kernel, modules, files by handle, sockets that nobody needs.
fn calls_that_no_container_needs_are_refused(lab: &Lab) {
    let ana = started(lab, "");
    resisted(&ana.bryo(["exec", "web", "--", "/attacker", "calls"]).output());
    ana.bryo(["stop", "-k", "web"]).succeeds();
    resisted(&ana.bryo(["execute", "web", "--", "/attacker", "calls"]).output());
    ana.destroy("web");
}

fn calls_of_32_bit_programs_are_refused_too(lab: &Lab) {
    const SIGSEGV: i32 = 11;
    let ana = started(lab, "");
    let made = ana.bryo(["exec", "web", "--", "/attacker", "calls-32"]).output();
    if made.status() == 128 + SIGSEGV {
        let name = "attack_syscalls::calls_of_32_bit_programs_are_refused_too::hybrid";
        tests::skip(name, "the kernel runs no such programs");
    } else {
        resisted(&made);
    }
    ana.destroy("web");
}

/// How many filters a process of the container has, and whether they are in force.
const STATUS: &str = "grep -E '^Seccomp' /proc/self/status | tr -d '\\t'";

fn every_way_in_has_the_filter(lab: &Lab) {
    const HOOK: &str = "lxc.hook.start = grep -q Seccomp:.2 /proc/self/status\n";
    let ana = started(lab, HOOK);
    let filtered = "Seccomp:2\nSeccomp_filters:1\n";
    let init = format!("grep -E '^Seccomp' /proc/{}/status | tr -d '\\t'", ana.init_of("web"));
    ana.sh(&init).succeeds().stdout_is(filtered);
    ana.bryo(["exec", "web", "--", "sh", "-c", STATUS]).succeeds().stdout_is(filtered);
    ana.lxc("attach", ["-n", "web", "-e", "--", "sh", "-c", STATUS]).succeeds().stdout_is(filtered);
    ana.bryo(["stop", "-k", "web"]).succeeds();
    ana.bryo(["execute", "web", "--", "sh", "-c", STATUS]).succeeds().stdout_is(filtered);
    ana.destroy("web");
}

fn a_profile_of_the_user_is_in_force_as_a_whole(lab: &Lab) {
    let ana = lab.user("ana");
    let profile = ana.home().join("own.seccomp").display().to_string();
    ana.write("own.seccomp", "2\ndenylist\nmkdir errno 95\nmkdirat errno 95\nkexec_load kill\n");
    let ana = started(lab, &format!("lxc.seccomp.profile = {profile}\n"));
    let inside = |script: &str| ana.bryo(["exec", "web", "--", "sh", "-c", script]).output();
    let made = inside("mkdir /x");
    assert!(made.status() == 1 && made.stderr.contains("Operation not supported"), "{}", made.stderr);
    // The baseline would refuse these.
    let calls = ana.bryo(["exec", "web", "--", "/attacker", "calls"]).output();
    assert!(calls.stdout.contains("breach: keyctl\n"), "{}", calls.stdout);
    ana.destroy("web");
}

fn a_profile_that_makes_no_sense_fails_the_start(lab: &Lab) {
    let ana = lab.user("ana");
    let profile = ana.home().join("own.seccomp").display().to_string();
    ana.write("own.seccomp", "2\ndenylist\nmkdir errno many\n[vax]\n");
    let ana = with(lab, &format!("lxc.seccomp.profile = {profile}\n"));
    let start = ana.bryo(["start", "web"]).exits(1);
    assert!(
        start.stderr.contains("own.seccomp:3:") && start.stderr.contains("own.seccomp:4:"),
        "{}",
        start.stderr
    );
    ana.destroy("web");
}

fn capabilities_that_mean_nothing_are_gone(lab: &Lab) {
    let ana = started(lab, "");
    let set = |pid: &str| {
        let line = format!("awk '/^CapBnd/ {{ print $2 }}' /proc/{pid}/status");
        u64::from_str_radix(ana.sh(&line).succeeds().stdout.trim(), 16).unwrap_or(u64::MAX)
    };
    let attached = ana.bryo(["exec", "web", "--", "awk", "/^CapBnd/ { print $2 }", "/proc/self/status"]);
    let attached = u64::from_str_radix(attached.succeeds().stdout.trim(), 16).unwrap_or(u64::MAX);
    // sys_module 16, sys_rawio 17, sys_time 25, mac_override 32, mac_admin 33, syslog 34, bpf 39; sys_admin 21 stays.
    let gone = [16, 17, 25, 32, 33, 34, 39].iter().fold(0, |all, bit| all | 1u64 << bit);
    for bounding in [set(&ana.init_of("web").to_string()), attached] {
        assert_eq!((bounding & gone, bounding >> 21 & 1), (0, 1), "{bounding:x}");
    }
    ana.destroy("web");
}

fn a_command_that_is_run_gains_no_rights(lab: &Lab) {
    let ana = with(lab, "");
    let line = ["--", "grep", "NoNewPrivs", "/proc/self/status"];
    ana.bryo([&["run"][..], &line].concat()).succeeds().stdout_is("NoNewPrivs:\t1\n");
    ana.bryo([&["execute", "web"][..], &line].concat()).succeeds().stdout_is("NoNewPrivs:\t0\n");
    ana.destroy("web");
}

/// CVE-2025-4598 and its kind: a program of the host's that is handed a core parses what the container made of it.
fn no_core_of_the_container_reaches_the_host(lab: &Lab) {
    let ana = started(lab, "");
    // busybox' ash counts in blocks of 512 bytes; a limit of one byte is shown as none.
    let both = "ulimit -S -c; ulimit -H -c; ulimit -c unlimited 2>/dev/null && echo raised";
    ana.bryo(["exec", "web", "--", "sh", "-c", both]).output().stdout_is("0\n0\n");
    let crashed = "cd /tmp; sh -c 'kill -SEGV $$'; ls | grep core; cat /proc/self/limits | grep -c 'core file size *[01] *[01] '";
    ana.bryo(["exec", "web", "--", "sh", "-c", crashed]).output().stdout_is("1\n");
    ana.destroy("web");
}

fn an_attached_program_has_the_containers_limits(lab: &Lab) {
    let ana = started(lab, "lxc.prlimit.nofile = 77\nlxc.prlimit.core = 5000000\n");
    ana.bryo(["exec", "web", "--", "sh", "-c", "ulimit -n"]).succeeds().stdout_is("77\n");
    ana.destroy("web");
}
