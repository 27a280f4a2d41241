//! Attacks on whoever enters a running container or serves it: by its init, its image, its terminal, its neighbours.
//! `docs/cves.md` says which known holes each of them stands for.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use tests::attack::{self, Fingerprint, attacker, attacker_entry, plant, times};
use tests::{Lab, Output, User, eventually, subject};

tests::claims! {
    nothing_of_the_host_shows_in_a_process_that_enters: hybrid unified, needs Bryo;
    a_fake_proc_does_not_mislead_attach: hybrid, needs Bryo;
    nothing_is_typed_into_the_callers_terminal: hybrid, needs Bryo;
    no_program_of_bryo_is_overwritten_from_inside: hybrid, needs Bryo;
    a_container_of_the_callers_own_id_overwrites_no_program: hybrid, needs Bryo;
    the_monitor_outlives_a_client_that_keeps_to_no_rule: hybrid, needs Bryo;
    a_thousand_silent_connections_keep_nobody_out: hybrid, needs Bryo;
    a_container_on_the_hosts_network_reaches_no_socket: hybrid, needs Bryo;
    no_capability_and_no_group_is_inherited: hybrid, needs Bryo;
    no_fd_of_the_caller_comes_in: hybrid unified, needs Bryo;
    no_working_directory_leads_out: hybrid, needs Bryo;
    a_program_named_by_an_fd_is_none_of_the_host: hybrid, needs Bryo;
    a_pty_cannot_be_swapped: hybrid, needs Bryo;
    an_id_is_taken_as_written_or_refused: hybrid, needs Bryo;
    a_hostile_passwd_file_is_harmless: hybrid, needs Bryo;
    no_program_of_the_image_runs_outside: hybrid unified, needs Bryo;
}

const CONFIG: &str = ".local/share/lxc/web/config";

/// Makes a container that has the hostile program as `/attacker`, with more lines in its configuration.
fn with<'lab>(lab: &'lab Lab, lines: &str) -> User<'lab> {
    let ana = lab.user("ana");
    ana.append(".config/lxc/default.conf", &attacker_entry());
    ana.busybox("web");
    ana.append(CONFIG, lines);
    ana
}

fn started<'lab>(lab: &'lab Lab, lines: &str) -> User<'lab> {
    let ana = with(lab, lines);
    ana.bryo(["start", "web"]).succeeds();
    ana
}

fn inside(user: &User<'_>, script: &str) -> Output {
    user.bryo(["exec", "web", "--", "sh", "-c", script]).output()
}

fn rootfs(user: &User<'_>) -> std::path::PathBuf {
    user.lxcpath().join("web/rootfs")
}

/// Puts a symbolic link of container root's into the root file system.
fn link(user: &User<'_>, target: &str, name: &str) {
    let name = rootfs(user).join(name);
    let _absent = fs::remove_file(&name);
    symlink(target, &name).and_then(|()| attack::give_to_root(user, &name)).expect("the test is root");
}

/// Returns the value of a key of the hostile program's report.
fn value<'t>(report: &'t str, key: &str) -> &'t str {
    report.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap_or("missing")
}

/// CVE-2016-8649, CVE-2016-9962: init reads and traces whoever comes in.
fn nothing_of_the_host_shows_in_a_process_that_enters(lab: &Lab) {
    let ana = with(lab, "lxc.init.cmd = /attacker entering /tmp/stop /tmp/result\n");
    ana.bryo(["start", "web"]).succeeds();
    let attaches = times(200, 10_000);
    let script = format!(
        "i=0; while [ $i -lt {attaches} ]; do lxc-attach -n web --clear-env -- /bin/true || exit 1; i=$((i + 1)); done"
    );
    ana.sh(&script).seconds(60 + attaches as u64).succeeds();
    inside(&ana, "touch /tmp/stop");
    eventually("init tells what it saw", || rootfs(&ana).join("tmp/result").exists());
    let found = fs::read_to_string(rootfs(&ana).join("tmp/result")).expect("the test is root");
    let breaches = attack::breaches(&found);
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
    let seen: usize = found.lines().find_map(|line| line.strip_prefix("tried: ")?.parse().ok()).unwrap_or(0);
    assert!(seen * 4 > attaches, "init saw only {seen} of {attaches} processes");
    ana.destroy("web");
}

/// CVE-2015-1334, CVE-2019-16884, CVE-2023-28642: /proc in the container is not the kernel's.
fn a_fake_proc_does_not_mislead_attach(lab: &Lab) {
    let ana = started(lab, "lxc.cap.drop = sys_boot\nlxc.no_new_privs = 1\n");
    let honest = ana.bryo(["exec", "web", "--", "/attacker", "report"]).succeeds().stdout;
    assert_eq!(u64::from_str_radix(value(&honest, "bnd"), 16).map(|set| set & 1 << 22), Ok(0), "{honest}");
    for fake in [
        "mount -t tmpfs none /proc",
        "mount -t tmpfs none /proc && mkdir -p /proc/self/attr /proc/1 && ln -s /dev/null /proc/self/attr/current && \
         ln -s / /proc/self/root && ln -s /etc /proc/self/fd && echo 0 >/proc/self/status",
        "mount -t proc proc /mnt && mount --bind /mnt/1 /proc",
        "mount --bind /etc /proc",
    ] {
        inside(&ana, fake).exits(0);
        let fooled = ana.bryo(["exec", "web", "--", "/attacker", "report"]).succeeds().stdout;
        for key in ["uid", "gid", "groups", "eff", "prm", "inh", "amb", "bnd", "fds", "cwd", "no_new_privs"] {
            assert_eq!(value(&fooled, key), value(&honest, key), "{key} after {fake}");
        }
        ana.sh("true").succeeds();
        inside(&ana, "umount /proc").exits(0);
    }
    ana.destroy("web");
}

/// CVE-2016-10124, CVE-2017-5226, CVE-2019-7303, CVE-2023-1523.
///
/// The system call filter refuses these too; here the container has a profile that does not, so that it is shown to hold
/// nothing to type on.
fn nothing_is_typed_into_the_callers_terminal(lab: &Lab) {
    let ana = lab.user("ana");
    ana.write("all.seccomp", "2\ndenylist\nkexec_load errno 1\n");
    let profile = format!("lxc.seccomp.profile = {}/all.seccomp\n", ana.home().display());
    ana.append(".config/lxc/default.conf", &profile);
    let ana = started(lab, "");
    let own = "lxc-attach -n web -- /attacker terminal x <&- >typed; cat typed";
    ana.run("bash", ["-c", "lxc-attach -n web -- /attacker terminal x"]).in_terminal(24, 80).everything();
    let typed =
        |output: String| output.split_whitespace().nth(2).and_then(|n| n.parse::<usize>().ok()).unwrap_or(0);
    let mut on_its_own = ana.run("bash", ["-c", own]).in_terminal(24, 80);
    assert!(typed(on_its_own.everything()) > 0, "the filter refuses it: the test shows nothing");
    let types = |command: &str, shown: &str| {
        let script = format!("{command}; read -t 2 line; echo \"got:[$line]\"");
        let mut terminal = ana.run("bash", ["-c", &script]).in_terminal(24, 80);
        terminal.shows("bytes typed").shows(shown);
        terminal.exits(0);
    };
    let text = "'moss\n'";
    // Without a container between them the text arrives, where the kernel still has TIOCSTI: the test can fail.
    if fs::read_to_string("/proc/sys/dev/tty/legacy_tiocsti").is_ok_and(|on| on.trim() == "1") {
        types(&format!("{} terminal {text}", attacker()), "got:[moss]");
    }
    for command in [
        format!("lxc-attach -n web -- /attacker terminal {text}"),
        format!("bryo exec web -- /attacker terminal {text}"),
        format!("lxc-attach -n web -- /attacker terminal {text} <<<''"),
        format!("lxc-attach -n web -- /attacker terminal {text} | cat"),
        format!("lxc-attach -n web -- /attacker terminal {text} 2>/dev/null"),
        format!("bryo run -- /attacker terminal {text}"),
    ] {
        types(&command, "got:[]");
    }
    let mut console = ana
        .run("bash", ["-c", "bryo console web -t 1; read -t 2 line; echo \"got:[$line]\""])
        .in_terminal(24, 80);
    console.shows("tty").types("\n").shows("#").types("/attacker terminal moss\n").shows("bytes typed");
    console.types("\u{1}q").shows("got:[]");
    console.exits(0);
    ana.bryo(["stop", "-k", "web"]).succeeds();
    types(&format!("lxc-execute -n web -- /attacker terminal {text}"), "got:[]");
    ana.destroy("web");
}

/// Things that make the kernel run, inside, what /proc/self/exe was just before.
const SELF: [&str; 4] = ["/bin/selfexe", "/bin/entry", "/bin/sh", "/bin/true"];

/// The hostile init. A script whose interpreter is bryo-init runs itself again and again, which is the container's own
/// trouble: the limit keeps it from being the machine's.
const HOSTILE_INIT: &str =
    "lxc.init.cmd = /attacker executables /tmp/stop /tmp/result\nlxc.cgroup.pids.max = 64\n";

/// Runs the container's hostile init against everything of Bryo that enters, and returns what it wrote to.
fn attack_executables(user: &User<'_>, path: &str) -> Vec<String> {
    let run = |command: &str| user.sh(command).env("PATH", path).env("LD_PRELOAD", "/evil.so").output();
    for _ in 0..times(5, 100) {
        for program in SELF {
            // As many words as keep the program busy for as long as init takes to look at it.
            run(&format!("lxc-attach -n web -- {program} start $(seq 100 9000)"));
            run(&format!("bryo exec web -- {program} attach $(seq 100 9000)"));
        }
    }
    run("lxc-attach -n web --clear-env -- /bin/busybox touch /tmp/stop");
    eventually("init tells what it wrote", || rootfs(user).join("tmp/result").exists());
    let found =
        attack::breaches(&fs::read_to_string(rootfs(user).join("tmp/result")).expect("the test is root"));
    run("bryo stop -k web");
    // As entry point of a container of one program too: bryo-init and the monitor's child are what is /proc/self/exe then.
    for program in &SELF[..2] {
        run(&format!("lxc-execute -n web -- {program}"));
        run(&format!("bryo start web --define lxc.init.cmd={program}; bryo stop -k web"));
    }
    found
}

fn plant_self_executing(user: &User<'_>) {
    link(user, "/proc/self/exe", "bin/selfexe");
    let entry = rootfs(user).join("bin/entry");
    fs::write(&entry, "#!/proc/self/exe\n").expect("the test is root");
    fs::set_permissions(&entry, std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("the test is root");
    link(user, "/proc/self/exe", "bin/sh");
    fs::copy("/bin/true", rootfs(user).join("evil.so")).expect("the test is root");
}

/// CVE-2019-5736.
fn no_program_of_bryo_is_overwritten_from_inside(lab: &Lab) {
    let before = Fingerprint::of(&subject::prefix());
    let ana = with(lab, HOSTILE_INIT);
    plant_self_executing(&ana);
    ana.bryo(["start", "web"]).succeeds();
    let written = attack_executables(&ana, subject::subject().search_path());
    assert!(written.is_empty(), "{}", written.join("\n"));
    before.is_still_of(&subject::prefix());
    ana.destroy("web");
}

/// CVE-2019-5736, where the container's root is the user who installed the programs.
fn a_container_of_the_callers_own_id_overwrites_no_program(lab: &Lab) {
    let ana = lab.user("ana");
    let prefix = subject::prefix();
    ana.sh("mkdir own && cp -r /run/bryo-lab/prefix/bin /run/bryo-lab/prefix/libexec own/").succeeds();
    let own = ana.home().join("own");
    let before = Fingerprint::of(&own);
    let path = format!("{}/bin:/usr/bin:/bin", own.display());
    let (uid, gid) = (ana.account().uid, ana.account().gid);
    let map = format!("lxc.idmap = u 0 {uid} 1\nlxc.idmap = g 0 {gid} 1\n");
    ana.append(".config/lxc/default.conf", &format!("{}{map}", attacker_entry()));
    let create = "bryo create web /run/bryo-lab/rootfs/busybox.tar";
    ana.sh(create).env("PATH", &path).succeeds();
    ana.append(CONFIG, HOSTILE_INIT);
    plant_self_executing(&ana);
    ana.sh("bryo start web").env("PATH", &path).succeeds();
    let written = attack_executables(&ana, &path);
    assert!(written.is_empty(), "{}", written.join("\n"));
    before.is_still_of(&own);
    assert!(prefix.exists());
    ana.sh("bryo destroy -f web").env("PATH", &path).succeeds();
}

/// Returns how many fds a process has open, and how much memory it uses, in KiB.
fn size_of(pid: i32) -> (usize, u64) {
    let fds = fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    (fds, memory.and_then(|text| text.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0))
}

fn command_socket(user: &User<'_>) -> String {
    user.lxcpath().join("web/.bryo/command").display().to_string()
}

/// Requires that the monitor answers, and returns it.
fn monitor(user: &User<'_>) -> i32 {
    user.lxc("info", ["-n", "web", "-sH"]).succeeds().stdout_is("RUNNING\n");
    let monitors = user.monitors();
    assert_eq!(monitors.len(), 1, "{monitors:?}");
    monitors[0].pid
}

/// LXC 06f626091, 19ad80ed8.
fn the_monitor_outlives_a_client_that_keeps_to_no_rule(lab: &Lab) {
    let ana = started(lab, "");
    let attack = |how: &str| {
        ana.run(attacker(), ["commands", &command_socket(&ana), how])
            .succeeds()
            .stdout_contains("attempts done");
        monitor(&ana)
    };
    let pid = attack("garbage");
    let (fds, memory) = size_of(pid);
    for how in ["garbage", "lengths", "truncated", "closing", "fds", "garbage"] {
        assert_eq!(attack(how), pid, "another monitor after {how}");
    }
    eventually("all that was sent is closed", || size_of(pid).0 <= fds);
    let after = size_of(pid).1;
    assert!(after < memory + 2048, "the monitor grew from {memory} to {after} KiB");
    ana.lxc("attach", ["-n", "web", "--", "true"]).succeeds();
    ana.destroy("web");
}

/// The same, by mere silence.
fn a_thousand_silent_connections_keep_nobody_out(lab: &Lab) {
    let ana = started(lab, "");
    let before = size_of(monitor(&ana)).0;
    let mut silent = ana.run(attacker(), ["commands", &command_socket(&ana), "silent"]).background();
    let pid = ana.monitors()[0].pid;
    eventually("many have connected", || size_of(pid).0 > before + 200);
    for _ in 0..10 {
        monitor(&ana);
        ana.lxc("attach", ["-n", "web", "--", "true"]).succeeds();
    }
    silent.kill();
    silent.wait();
    eventually("all are closed", || size_of(pid).0 <= before);
    ana.destroy("web");
}

/// CVE-2020-15257.
fn a_container_on_the_hosts_network_reaches_no_socket(lab: &Lab) {
    let ana = with(lab, "");
    ana.sh("sed -i /lxc.net/d .local/share/lxc/web/config && echo lxc.net.0.type = none >>.local/share/lxc/web/config")
        .succeeds();
    ana.busybox("other");
    ana.bryo(["start", "other"]).succeeds();
    ana.bryo(["start", "web"]).succeeds();
    inside(&ana, "grep -c command /proc/net/unix").exits(0);
    attack::resisted(&ana.bryo(["exec", "web", "--", "/attacker", "sockets"]).output());
    ana.destroy("other");
    ana.destroy("web");
}

/// CVE-2022-29162, CVE-2022-27649, CVE-2025-27612; CVE-2022-2989: what the caller may inherit stops at the container.
fn no_capability_and_no_group_is_inherited(lab: &Lab) {
    let ana = lab.user("ana");
    let said = attack::shared_name(&ana, "hook");
    ana.write("hook", &format!("#!/bin/sh\n{} report >>{said}-$3\n", attacker()));
    let moments = "pre-start mount start-host";
    ana.sh(&format!("chmod 755 hook; for m in {moments}; do touch {said}-$m; chmod 666 {said}-$m; done"))
        .succeeds();
    let ana = with(lab, "");
    let path = ana.home().join("hook").display().to_string();
    let lines: String =
        ["pre-start", "mount", "start-host"].map(|m| format!("lxc.hook.{m} = {path}\n")).concat();
    ana.append(CONFIG, &lines);
    plant(&ana, "web", "/sbin/init");
    let careless =
        |command: &str| ana.sh(command).with_groups_and_inheritable_capabilities("4,24,27").succeeds();
    let outside = careless(&format!("{} report", attacker())).stdout;
    assert!(value(&outside, "groups").contains("27") && value(&outside, "inh") != "0", "{outside}");
    careless("bryo start web");
    let mut reports = vec![
        careless("lxc-attach -n web -- /attacker report").stdout,
        careless("bryo exec web -- /attacker report").stdout,
        careless("bryo exec -u 1000 web -- /attacker report").stdout,
    ];
    eventually("init reports", || rootfs(&ana).join("reports").exists());
    reports.push(fs::read_to_string(rootfs(&ana).join("reports")).expect("the test is root"));
    reports.push(careless(&format!("cat {said}-mount")).stdout);
    careless("bryo stop -k web");
    reports.push(careless("lxc-execute -n web -- /attacker report").stdout);
    reports.push(careless("bryo run -- /attacker report").stdout);
    for report in &reports {
        assert_eq!((value(report, "inh"), value(report, "amb")), ("0", "0"), "{report}");
        assert_eq!(value(report, "groups"), "", "{report}");
    }
    careless(&format!("rm {said}-*"));
    ana.destroy("web");
}

/// CVE-2024-21626, CVE-2016-9962: twenty fds that the caller forgot to close.
fn no_fd_of_the_caller_comes_in(lab: &Lab) {
    let ana = with(lab, "");
    plant(&ana, "web", "/sbin/init");
    let leaking = |command: &str| {
        let script = format!("for n in {{3..22}}; do eval \"exec $n</usr\"; done; {command}");
        ana.run("bash", ["-c", &script]).from("/usr/share").succeeds().stdout
    };
    leaking("bryo start web");
    let mut reports = vec![
        leaking("lxc-attach -n web -- /attacker report"),
        leaking("bryo exec web -- /attacker report"),
        leaking("bryo run -- /attacker report"),
    ];
    eventually("init reports", || rootfs(&ana).join("reports").exists());
    reports.push(fs::read_to_string(rootfs(&ana).join("reports")).expect("the test is root"));
    ana.bryo(["stop", "-k", "web"]).succeeds();
    reports.push(leaking("lxc-execute -n web -- /attacker report"));
    for report in &reports {
        assert_eq!(value(report, "fds"), "0,1,2", "{report}");
        assert!(value(report, "cwd").starts_with('/'), "{report}");
    }
    ana.destroy("web");
}

/// Numbers among which the fds of a monitor are, and so those of the processes that it makes.
const FDS: std::ops::Range<i32> = 3..100;

/// The same, while it starts.
const FDS_AT_START: std::ops::Range<i32> = 3..48;

/// CVE-2024-21626: fds that the runtime itself still has open when it goes to the working directory, which is named by
/// the image (a home, a link) as well as by the caller.
fn no_working_directory_leads_out(lab: &Lab) {
    let ana = with(lab, "");
    let outside = attack::shared_name(&ana, "where");
    ana.sh(&format!("mkdir -m 755 {outside} && touch {outside}/of-the-host")).succeeds();
    plant(&ana, "web", "/sbin/init");
    let refused_or_inside = |what: &str, output: &Output| {
        let text = format!("{}{}", output.stdout, output.stderr);
        assert!(!text.contains("of-the-host") && !text.contains("unreachable"), "{what}: {text}");
    };
    for fd in FDS {
        let magic = format!("/proc/self/fd/{fd}");
        link(&ana, &magic, outside.trim_start_matches('/'));
        link(&ana, &magic, "work");
        let passwd = format!("root:x:0:0:root:{magic}:/bin/sh\n");
        fs::write(rootfs(&ana).join("etc/passwd"), passwd).expect("the test is root");
        if fd == 3 {
            ana.bryo(["start", "web"]).succeeds();
        }
        let from = |command: tests::Command<'_>| command.from(&outside).output();
        let look = "ls -a; pwd; cat /proc/self/mountinfo >/dev/null; /attacker report | grep cwd";
        refused_or_inside(&magic, &from(ana.bryo(["shell", "web"]).reads(look)));
        refused_or_inside(&magic, &from(ana.lxc("attach", ["-n", "web", "--", "sh", "-c", look])));
        refused_or_inside(&magic, &from(ana.bryo(["exec", "-w", &magic, "web", "--", "sh", "-c", look])));
        refused_or_inside(&magic, &from(ana.bryo(["exec", "-w", "/work", "web", "--", "sh", "-c", look])));
    }
    ana.bryo(["stop", "-k", "web"]).succeeds();
    for fd in FDS_AT_START {
        link(&ana, &format!("/proc/self/fd/{fd}"), "work");
        let _absent = fs::remove_file(rootfs(&ana).join("reports"));
        let started = ana.bryo(["start", "web", "--define", "lxc.init.cwd=/work"]).from(&outside).output();
        refused_or_inside("lxc.init.cwd", &started);
        if started.status() == 0 {
            eventually("init reports", || rootfs(&ana).join("reports").exists());
            let report = fs::read_to_string(rootfs(&ana).join("reports")).expect("the test is root");
            assert!(value(&report, "cwd").starts_with('/'), "fd {fd}: {report}");
            ana.bryo(["stop", "-k", "web"]).succeeds();
        }
    }
    ana.sh(&format!("rm -r {outside}")).succeeds();
    ana.destroy("web");
}

/// CVE-2024-21626, its other half: the program itself is named through an fd of the runtime.
fn a_program_named_by_an_fd_is_none_of_the_host(lab: &Lab) {
    let ana = with(lab, "");
    let outside = attack::shared_name(&ana, "program");
    ana.sh(&format!("mkdir -m 755 {outside} && cp {} {outside}/", attacker())).succeeds();
    ana.bryo(["start", "web"]).succeeds();
    for fd in FDS {
        link(&ana, &format!("/proc/self/fd/{fd}/attacker"), "bin/attacker");
        let attach = ana.lxc("attach", ["-n", "web", "--", "/bin/attacker", "report"]);
        let tried = attach.from(&outside).output();
        assert!(!tried.stdout.contains("uid="), "fd {fd} is a directory of the host");
        assert_ne!(tried.status(), 0, "fd {fd}");
    }
    ana.sh(&format!("rm -r {outside}")).succeeds();
    ana.destroy("web");
}

/// CVE-2025-52565: the container puts something else where its terminals come from.
fn a_pty_cannot_be_swapped(lab: &Lab) {
    let ana = started(lab, "");
    for swap in [
        "mount --bind /dev/null /dev/pts/ptmx",
        "mkfifo -m 666 /tmp/fifo && mount --bind /tmp/fifo /dev/pts/ptmx",
        "touch /tmp/file && mount --bind /tmp/file /dev/pts/ptmx",
        "mount --bind /dev/tty1 /dev/pts/ptmx",
        "mount -t tmpfs none /dev/pts && ln -s /dev/null /dev/pts/ptmx",
        "mount -t devpts -o newinstance,ptmxmode=666 none /mnt && mount --bind /mnt/ptmx /dev/pts/ptmx",
        "mount --bind /proc/kmsg /dev/pts/ptmx",
    ] {
        inside(&ana, swap);
        let terminal = ana.lxc("attach", ["-n", "web", "--", "sh", "-c", "tty; echo status-$?"]).seconds(20);
        let mut terminal = terminal.in_terminal(24, 80);
        // Either a terminal of the container's own, or a refusal; and the monitor goes on.
        let said = terminal.everything();
        assert!(
            said.contains("/dev/pts")
                || said.contains("not a tty")
                || said.contains("TIOC")
                || said.contains("ptmx"),
            "{swap}: {said}"
        );
        monitor(&ana);
        inside(&ana, "umount /dev/pts/ptmx /dev/pts /mnt; umount /dev/pts/ptmx; true");
    }
    ana.destroy("web");
}

/// crun CVE-2026-30892: an id that is read as another one.
fn an_id_is_taken_as_written_or_refused(lab: &Lab) {
    let ana = started(lab, "");
    let words = [
        "0",
        "1",
        "01",
        "1000",
        "65535",
        "65536",
        "2147483648",
        "4294967294",
        "4294967295",
        "4294967296",
        "4294967297",
        "18446744073709551616",
        "-1",
        "-0",
        "+1",
        " 1",
        "1 ",
        "1\n",
        "0x1",
        "1e3",
        "",
        "1;id",
        "١",
    ];
    for word in words {
        let meant: Option<u32> = word.strip_prefix('+').unwrap_or(word).parse().ok();
        let calls = [
            ("uid", ana.lxc("attach", ["-n", "web", "-u", word, "--", "/attacker", "report"])),
            ("gid", ana.lxc("attach", ["-n", "web", "-g", word, "--", "/attacker", "report"])),
            ("uid", ana.bryo(["exec", "-u", word, "web", "--", "/attacker", "report"])),
            ("gid", ana.bryo(["exec", "-u", &format!("0:{word}"), "web", "--", "/attacker", "report"])),
        ];
        for (key, call) in calls {
            let output = call.output();
            let three = meant.map(|id| format!("{id},{id},{id}"));
            let taken = (output.status() == 0).then(|| value(&output.stdout, key).to_owned());
            assert!(taken.is_none() || taken == three, "{key} {word:?} became {taken:?}");
            let must = meant.is_some_and(|id| id < 65_536) && word.bytes().all(|b| b.is_ascii_digit());
            assert!(!must || taken.is_some(), "{key} {word:?} is refused: {}", output.stderr);
        }
    }
    ana.destroy("web");
}

/// CVE-2018-15664, CVE-2019-14271, CVE-2019-18466: the passwd file is the container's to fill.
fn a_hostile_passwd_file_is_harmless(lab: &Lab) {
    let ana = with(lab, "lxc.mount.entry = /dev/fuse dev/fuse none bind,create=file 0 0\n");
    let outside = attack::shared_name(&ana, "passwd");
    ana.sh(&format!("echo 'root:x:0:0:root:/of-the-host:/bin/of-the-host' >{outside}")).succeeds();
    ana.bryo(["start", "web"]).succeeds();
    let passwd = "/etc/passwd";
    for make in [
        format!("ln -s {outside} {passwd}"),
        format!("ln -s ../../../../../../../..{outside} {passwd}"),
        format!("ln -s /proc/1/root{outside} {passwd}"),
        format!("ln -s /proc/self/fd/3 {passwd}"),
        format!("ln -s passwd {passwd}"),
        format!("mkfifo {passwd}"),
        format!("truncate -s 10G {passwd}"),
        format!("mkdir {passwd}"),
        format!("head -c 900000 /dev/zero | tr '\\0' : >{passwd}"),
        format!("ln -s /dev/tty {passwd}"),
        format!("ln -s /proc/kmsg {passwd}"),
    ] {
        inside(&ana, &format!("rm -rf {passwd}; {make}")).exits(0);
        let login = ana.bryo(["shell", "web"]).reads("echo in; pwd\n").seconds(30).output();
        assert!(!login.stdout.contains("of-the-host") && login.stdout.contains("in\n"), "{make}: {login:?}");
        ana.lxc("attach", ["-n", "web", "--", "true"]).seconds(30).succeeds();
        ana.bryo(["exec", "-u", "0", "web", "--", "true"]).seconds(30).succeeds();
    }
    // A file system of FUSE that never answers holds up who reads from it: a command that needs no passwd file does not.
    let mount = "exec 3<>/dev/fuse; mkdir -p /fuse; \
                 mount -t fuse -o fd=3,rootmode=40000,user_id=0,group_id=0 none /fuse && echo mounted; sleep 1000";
    let mut server = ana.bryo(["exec", "web", "--", "sh", "-c", mount]).seconds(120).background();
    eventually("it is mounted", || inside(&ana, "grep /fuse /proc/mounts").status() == 0);
    inside(&ana, &format!("rm -rf {passwd}; ln -s /fuse/passwd {passwd}")).exits(0);
    ana.lxc("attach", ["-n", "web", "--", "/bin/true"]).seconds(30).succeeds();
    ana.bryo(["exec", "-u", "0", "web", "--", "/bin/true"]).seconds(30).output();
    monitor(&ana);
    server.kill();
    server.wait();
    ana.sh(&format!("rm {outside}")).succeeds();
    ana.destroy("web");
}

/// CVE-2022-1227: every program of the image says where it runs, if it does.
fn no_program_of_the_image_runs_outside(lab: &Lab) {
    let ana = with(lab, "");
    let outside = ana.run(attacker(), ["report"]).succeeds().stdout;
    // All of its commands are links to the one.
    plant(&ana, "web", "/bin/busybox");
    let reports = rootfs(&ana).join("reports");
    assert!(!reports.exists());
    ana.bryo(["start", "web"]).succeeds();
    eventually("init reports", || reports.exists());
    ana.bryo(["exec", "web", "--", "/bin/sh"]).succeeds();
    ana.bryo(["shell", "web"]).succeeds();
    ana.lxc("attach", ["-n", "web", "--", "id"]).succeeds();
    ana.bryo(["freeze", "web"]).output();
    ana.bryo(["unfreeze", "web"]).output();
    ana.bryo(["stop", "-k", "web"]).succeeds();
    ana.lxc("execute", ["-n", "web", "--", "/bin/true"]).succeeds();
    let text = fs::read_to_string(&reports).expect("the test is root");
    let all: Vec<&str> = text.split("\n\n").filter(|report| !report.trim().is_empty()).collect();
    assert_eq!(all.len(), 5, "{text}");
    let init = all[0];
    for report in &all {
        for key in ["user", "mnt", "pid", "uts", "ipc", "cgroup"].map(|name| format!("ns_{name}")) {
            assert_ne!(value(report, &key), value(&outside, &key), "{key} of the host in\n{report}");
        }
        assert_eq!(value(report, "fds"), "0,1,2", "{report}");
        assert_eq!((value(report, "inh"), value(report, "bnd")), ("0", value(init, "bnd")), "{report}");
    }
    ana.destroy("web");
    assert!(!Path::new("/reports").exists());
}
