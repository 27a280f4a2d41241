//! What keys of the configuration do to a container: mounts, hooks, limits, rights.

use tests::{Lab, User};

tests::claims! {
    a_bind_mount_shows_a_directory_of_the_host: hybrid unified, not cell INIT;
    a_read_only_bind_cannot_be_written: hybrid, not cell INIT;
    a_source_in_a_home_that_nobody_may_enter_is_mounted: hybrid unified, needs Bryo, not cell INIT;
    an_optional_entry_that_is_missing_is_left_out: hybrid, not cell INIT;
    a_missing_source_fails_the_start_and_is_named: hybrid, needs Bryo, not cell INIT;
    a_link_in_the_rootfs_does_not_lead_a_mount_out: hybrid unified, needs Bryo, not cell INIT;
    a_tmpfs_entry_has_its_options: hybrid, not cell INIT;
    a_relative_bind_takes_its_source_from_the_container: hybrid, not cell INIT;
    proc_and_sys_are_mixed: hybrid unified, not cell INIT;
    hooks_run_in_order_with_the_environment_of_lxc: hybrid, needs Bryo, not cell INIT;
    a_hook_that_fails_stops_the_start: hybrid, not cell INIT;
    a_limit_takes_effect: hybrid, not cell CGROUP;
    a_limit_that_cannot_be_had_fails_the_start: unified, not cell CGROUP;
    a_refused_limit_is_named_with_the_reason: unified, needs Bryo, not cell CGROUP;
    a_dropped_capability_is_gone_from_the_container_and_from_attach: hybrid, not cell INIT;
    a_resource_limit_holds_inside: hybrid, not cell INIT;
    a_sysctl_is_set_in_the_container_alone: hybrid unified, not cell INIT;
    environment_of_the_configuration_reaches_init: hybrid, not cell INIT;
    init_runs_as_the_user_of_the_configuration: hybrid, not cell INIT;
    no_new_privs_is_set: hybrid, not cell INIT;
    a_seccomp_profile_is_in_force_in_the_container_and_in_attach: hybrid, not cell INIT;
    an_allowlist_refuses_the_rest: hybrid, needs Bryo, not cell INIT;
    all_problems_of_a_configuration_are_told_at_once: hybrid cell, needs Bryo;
    a_network_type_that_needs_root_is_refused: hybrid cell;
    standard_devices_are_there_and_writable: hybrid unified, not cell INIT;
    shared_memory_and_message_queues_are_mounted: hybrid unified, needs Bryo, not cell INIT;
}

const CONFIG: &str = ".local/share/lxc/web/config";

/// Makes a container with more lines in its configuration.
fn with(user: &User<'_>, lines: &str) {
    user.busybox("web");
    user.append(CONFIG, lines);
}

fn inside(user: &User<'_>, script: &str) -> tests::Output {
    user.lxc("attach", ["-n", "web", "--clear-env", "--", "sh", "-c", script]).output()
}

fn a_bind_mount_shows_a_directory_of_the_host(lab: &Lab) {
    let ana = lab.user("ana");
    with(&ana, "lxc.mount.entry = /usr/share/misc mnt/misc none bind,ro,create=dir 0 0\n");
    ana.lxc("start", ["-n", "web"]).succeeds();
    let here = ana.sh("ls /usr/share/misc").succeeds().stdout;
    assert_eq!(inside(&ana, "ls /mnt/misc").stdout, here);
    ana.destroy("web");
}

fn a_read_only_bind_cannot_be_written(lab: &Lab) {
    let ana = lab.user("ana");
    ana.sh("mkdir -m 777 /tmp/bryo-shared").succeeds();
    with(&ana, "lxc.mount.entry = /tmp/bryo-shared mnt none bind,ro 0 0\n");
    ana.lxc("start", ["-n", "web"]).succeeds();
    let tried = inside(&ana, "touch /mnt/x");
    assert_eq!(tried.status(), 1);
    assert!(tried.stderr.contains("Read-only"), "{}", tried.stderr);
    ana.destroy("web");
    ana.sh("rmdir /tmp/bryo-shared").succeeds();
}

fn a_source_in_a_home_that_nobody_may_enter_is_mounted(lab: &Lab) {
    let ana = lab.user("ana");
    ana.sh("chmod 700 . && mkdir -m 700 private && echo kept >private/file && chmod 644 private/file")
        .succeeds();
    let home = ana.home().display().to_string();
    with(&ana, &format!("lxc.mount.entry = {home}/private/file etc/given none bind,ro,create=file 0 0\n"));
    ana.bryo(["start", "web"]).succeeds();
    assert_eq!(inside(&ana, "cat /etc/given").stdout, "kept\n");
    ana.destroy("web");
}

fn an_optional_entry_that_is_missing_is_left_out(lab: &Lab) {
    let ana = lab.user("ana");
    with(&ana, "lxc.mount.entry = /nonexistent mnt none bind,optional 0 0\n");
    ana.lxc("start", ["-n", "web"]).succeeds();
    ana.destroy("web");
}

fn a_missing_source_fails_the_start_and_is_named(lab: &Lab) {
    let ana = lab.user("ana");
    with(&ana, "lxc.mount.entry = /nonexistent mnt none bind 0 0\n");
    ana.bryo(["start", "web"]).exits(1).stderr_contains("/nonexistent").stderr_contains("ENOENT");
    ana.destroy("web");
}

fn a_link_in_the_rootfs_does_not_lead_a_mount_out(lab: &Lab) {
    let ana = lab.user("ana");
    let home = ana.home().display().to_string();
    ana.sh("mkdir precious && echo kept >precious/file").succeeds();
    for place in ["proc", "sys", "dev"] {
        ana.busybox("web");
        let swap = format!(
            "mv /{place} /{place}.old 2>/dev/null; rmdir /{place} 2>/dev/null; ln -s {home}/precious /{place}"
        );
        // The container itself plants the link; its mounts hold the old directories until it stops.
        ana.lxc("start", ["-n", "web"]).succeeds();
        inside(&ana, &format!("mkdir /new && ln -s {home}/precious /new/{place}"));
        ana.lxc("stop", ["-n", "web", "-k"]).succeeds();
        let rootfs = ana.lxcpath().join("web/rootfs");
        std::fs::rename(rootfs.join(place), rootfs.join(format!("{place}.old"))).expect("the test is root");
        std::fs::rename(rootfs.join("new").join(place), rootfs.join(place)).expect("the test is root");
        let start = ana.bryo(["start", "web"]).output();
        assert_ne!(start.status(), 0, "started with /{place} a link out ({swap})");
        assert!(start.stderr.contains("ELOOP"), "{}", start.stderr);
        ana.sh("cat precious/file; ls precious").succeeds().stdout_is("kept\nfile\n");
        ana.destroy("web");
    }
}

fn a_tmpfs_entry_has_its_options(lab: &Lab) {
    let ana = lab.user("ana");
    with(&ana, "lxc.mount.entry = tmpfs mnt tmpfs rw,nosuid,size=1m,mode=700 0 0\n");
    ana.lxc("start", ["-n", "web"]).succeeds();
    let mounts = inside(&ana, "grep ' /mnt ' /proc/mounts").stdout;
    for word in ["tmpfs", "nosuid", "size=1024k", "mode=700"] {
        assert!(mounts.contains(word), "no {word} in {mounts}");
    }
    ana.destroy("web");
}

fn a_relative_bind_takes_its_source_from_the_container(lab: &Lab) {
    let ana = lab.user("ana");
    with(&ana, "lxc.mount.entry = etc mnt none bind,relative 0 0\n");
    ana.lxc("start", ["-n", "web"]).succeeds();
    assert_eq!(inside(&ana, "cat /mnt/passwd").stdout, inside(&ana, "cat /etc/passwd").stdout);
    ana.destroy("web");
}

fn proc_and_sys_are_mixed(lab: &Lab) {
    let ana = lab.user("ana");
    with(&ana, "lxc.mount.auto = proc:mixed sys:mixed\n");
    ana.lxc("start", ["-n", "web"]).succeeds();
    for (file, writable) in [
        ("/proc/sys/kernel/domainname", false),
        ("/proc/sysrq-trigger", false),
        ("/proc/sys/net/ipv4/ip_forward", true),
    ] {
        let tried = inside(&ana, &format!("[ -w {file} ] && true >>{file}"));
        assert_eq!(tried.status() == 0, writable, "{file}: {}", tried.stderr);
    }
    let sys = inside(&ana, "grep ' /sys ' /proc/mounts").stdout;
    assert!(sys.contains(" ro,"), "{sys}");
    ana.destroy("web");
}

fn hooks_run_in_order_with_the_environment_of_lxc(lab: &Lab) {
    let ana = lab.user("ana");
    let log = "/tmp/bryo-hooks";
    ana.sh(&format!("touch {log}; chmod 666 {log}")).succeeds();
    // The script lies in a home that container root may not enter.
    ana.write(
        "hook",
        &format!("#!/bin/sh\necho \"$3 $1 $2 ${{LXC_NAME}} ${{LXC_TARGET:-}}\" >>{log}\n[ -n \"$LXC_ROOTFS_PATH\" ]\n"),
    );
    ana.sh("chmod 755 hook").succeeds();
    let hook = ana.home().join("hook").display().to_string();
    let outside =
        ["pre-start", "pre-mount", "mount", "autodev", "start-host", "stop", "post-stop", "destroy"];
    let lines: String = outside.iter().map(|moment| format!("lxc.hook.{moment} = {hook}\n")).collect();
    with(&ana, &lines);
    ana.bryo(["start", "web"]).succeeds();
    ana.bryo(["stop", "-k", "web"]).succeeds();
    ana.bryo(["destroy", "web"]).succeeds();
    let wanted: String = outside
        .iter()
        .map(|moment| {
            let target = if matches!(*moment, "stop" | "post-stop") { "stop" } else { "" };
            format!("{moment} web lxc web {target}\n")
        })
        .collect();
    ana.sh(&format!("cat {log}; rm {log}")).succeeds().stdout_is(&wanted);
}

fn a_hook_that_fails_stops_the_start(lab: &Lab) {
    let ana = lab.user("ana");
    with(&ana, "lxc.hook.pre-start = /bin/false\n");
    ana.lxc("start", ["-n", "web"]).exits(1);
    ana.lxc("info", ["-n", "web", "-sH"]).succeeds().stdout_is("STOPPED\n");
    ana.destroy("web");
}

fn a_limit_takes_effect(lab: &Lab) {
    let ana = lab.user("ana");
    with(&ana, "lxc.cgroup.pids.max = 7\n");
    ana.lxc("start", ["-n", "web"]).succeeds();
    let forks = inside(&ana, "for i in 1 2 3 4 5 6 7 8 9; do sleep 5 >/dev/null 2>&1 & done; echo all");
    assert!(
        forks.stderr.contains("fork") || forks.stderr.contains("vfork"),
        "9 processes under a limit of 7"
    );
    ana.destroy("web");
}

fn a_refused_limit_is_named_with_the_reason(lab: &Lab) {
    let ana = lab.user("ana");
    with(&ana, "lxc.cgroup2.memory.max = 100M\n");
    ana.bryo(["start", "web"]).exits(1).stderr_contains("memory.max").stderr_contains("controller");
    ana.destroy("web");
}

fn a_limit_that_cannot_be_had_fails_the_start(lab: &Lab) {
    let ana = lab.user("ana");
    with(&ana, "lxc.cgroup2.memory.max = 100M\n");
    ana.lxc("start", ["-n", "web"]).exits(1);
    ana.lxc("info", ["-n", "web", "-sH"]).succeeds().stdout_is("STOPPED\n");
    ana.destroy("web");
}

fn a_dropped_capability_is_gone_from_the_container_and_from_attach(lab: &Lab) {
    let ana = lab.user("ana");
    with(&ana, "lxc.cap.drop = sys_boot net_raw\n");
    ana.lxc("start", ["-n", "web"]).succeeds();
    const DROPPED: u64 = 1 << 22 | 1 << 13;
    for file in ["/proc/1/status", "/proc/self/status"] {
        for set in ["CapEff", "CapPrm", "CapBnd"] {
            let line = inside(&ana, &format!("grep {set} {file}")).stdout;
            let mask = line.split_whitespace().nth(1).and_then(|m| u64::from_str_radix(m, 16).ok());
            assert_eq!(mask.map(|m| m & DROPPED), Some(0), "{file}: {line}");
        }
    }
    ana.destroy("web");
}

fn a_resource_limit_holds_inside(lab: &Lab) {
    let ana = lab.user("ana");
    with(&ana, "lxc.prlimit.nofile = 77:99\n");
    ana.lxc("start", ["-n", "web"]).succeeds();
    let limits = inside(&ana, "grep 'open files' /proc/1/limits").stdout;
    assert_eq!(limits.split_whitespace().skip(3).take(2).collect::<Vec<_>>(), ["77", "99"], "{limits}");
    ana.destroy("web");
}

fn a_sysctl_is_set_in_the_container_alone(lab: &Lab) {
    let ana = lab.user("ana");
    let outside = ana.sh("cat /proc/sys/net/ipv4/ip_default_ttl").succeeds().stdout;
    with(&ana, "lxc.sysctl.net.ipv4.ip_default_ttl = 77\n");
    ana.lxc("start", ["-n", "web"]).succeeds();
    assert_eq!(inside(&ana, "cat /proc/sys/net/ipv4/ip_default_ttl").stdout, "77\n");
    ana.sh("cat /proc/sys/net/ipv4/ip_default_ttl").succeeds().stdout_is(&outside);
    ana.destroy("web");
}

fn environment_of_the_configuration_reaches_init(lab: &Lab) {
    let ana = lab.user("ana");
    with(&ana, "lxc.environment = COLOUR=green\n");
    ana.lxc("start", ["-n", "web"]).succeeds();
    let environment = inside(&ana, "tr '\\0' '\\n' </proc/1/environ").stdout;
    for line in ["COLOUR=green", "container=lxc"] {
        assert!(environment.lines().any(|have| have == line), "no {line} in\n{environment}");
    }
    ana.destroy("web");
}

fn init_runs_as_the_user_of_the_configuration(lab: &Lab) {
    let ana = lab.user("ana");
    with(&ana, "lxc.init.uid = 1000\nlxc.init.gid = 1001\nlxc.init.cmd = /bin/sleep 1000\n");
    ana.lxc("start", ["-n", "web"]).succeeds();
    let status = inside(&ana, "grep -E '^(Uid|Gid)' /proc/1/status").stdout;
    let fields: Vec<&str> = status.split_whitespace().collect();
    assert_eq!(fields, ["Uid:", "1000", "1000", "1000", "1000", "Gid:", "1001", "1001", "1001", "1001"]);
    ana.destroy("web");
}

fn no_new_privs_is_set(lab: &Lab) {
    let ana = lab.user("ana");
    with(&ana, "lxc.no_new_privs = 1\n");
    ana.lxc("start", ["-n", "web"]).succeeds();
    assert_eq!(inside(&ana, "grep NoNewPrivs /proc/1/status").stdout, "NoNewPrivs:\t1\n");
    ana.destroy("web");
}

/// Version 2 of the profile language, with sections, actions and conditions.
fn a_seccomp_profile_is_in_force_in_the_container_and_in_attach(lab: &Lab) {
    let ana = lab.user("ana");
    let profile = ana.home().join("own.seccomp").display().to_string();
    // chmod of 0600 alone, and every making of a directory.
    let chmod = "chmod errno 95 [1,0600,SCMP_CMP_EQ]\nfchmodat errno 95 [2,384,SCMP_CMP_EQ]\n";
    ana.write("own.seccomp", &format!("2\nblacklist\n[all]\nmkdir errno 11\nmkdirat errno 11\n{chmod}"));
    ana.sh("chmod 755 . && chmod 644 own.seccomp").succeeds();
    with(&ana, &format!("lxc.seccomp.profile = {profile}\n"));
    ana.lxc("start", ["-n", "web"]).succeeds();
    let made = inside(&ana, "mkdir /x");
    assert!(made.status() == 1 && made.stderr.contains("temporarily unavailable"), "{}", made.stderr);
    let changed = inside(&ana, "touch /y; chmod 644 /y && ! chmod 600 /y && chmod 640 /y");
    assert!(changed.status() == 0 && changed.stderr.contains("not supported"), "{}", changed.stderr);
    let init = ana.sh(&format!("cat /proc/{}/status", ana.init_of("web"))).succeeds().stdout;
    assert!(init.contains("Seccomp:\t2"), "{init}");
    ana.destroy("web");
}

/// Version 1: numbers of calls, and the end of the process for all others.
fn an_allowlist_refuses_the_rest(lab: &Lab) {
    let ana = lab.user("ana");
    let profile = ana.home().join("own.seccomp").display().to_string();
    // All calls of x86_64 but 83, mkdir, and 258, mkdirat.
    let allowed: String = (0..500).filter(|n| ![83, 258].contains(n)).map(|n| format!("{n}\n")).collect();
    ana.write("own.seccomp", &format!("1\nwhitelist\n{allowed}"));
    ana.sh("chmod 755 . && chmod 644 own.seccomp").succeeds();
    with(&ana, &format!("lxc.seccomp.profile = {profile}\n"));
    ana.lxc("start", ["-n", "web"]).succeeds();
    assert_eq!(inside(&ana, "touch /x && echo made").stdout, "made\n");
    // busybox' shell runs its own mkdir in a process of its own.
    assert_eq!(inside(&ana, "mkdir /y; echo $?").stdout, "159\n");
    ana.destroy("web");
}

fn all_problems_of_a_configuration_are_told_at_once(lab: &Lab) {
    let ana = lab.user("ana");
    with(&ana, "lxc.uts.nam = web\nlxc.autodev = yes\n");
    let start = ana.bryo(["start", "web"]).exits(1);
    for word in ["lxc.uts.nam", "lxc.autodev", "config:"] {
        assert!(start.stderr.contains(word), "no {word} in\n{}", start.stderr);
    }
    ana.destroy("web");
}

fn a_network_type_that_needs_root_is_refused(lab: &Lab) {
    let ana = lab.user("ana");
    with(&ana, "lxc.net.0.type = macvlan\nlxc.net.0.link = lxcbr0\n");
    ana.lxc("start", ["-n", "web"]).exits(1);
    ana.destroy("web");
}

fn standard_devices_are_there_and_writable(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    ana.lxc("start", ["-n", "web"]).succeeds();
    let script = "for d in null zero full random urandom tty ptmx; do [ -c /dev/$d ] || echo missing $d; done; \
                  echo x >/dev/null && head -c 3 /dev/zero | wc -c";
    assert_eq!(inside(&ana, script).stdout, "3\n");
    ana.destroy("web");
}

/// LXC: leaves both to init.
fn shared_memory_and_message_queues_are_mounted(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    ana.lxc("start", ["-n", "web"]).succeeds();
    let mounts = inside(&ana, "cat /proc/mounts").stdout;
    for mount in ["tmpfs /dev/shm tmpfs", "mqueue /dev/mqueue mqueue"] {
        assert!(mounts.contains(mount), "no {mount} in\n{mounts}");
    }
    ana.destroy("web");
}
