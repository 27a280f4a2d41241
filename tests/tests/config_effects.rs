//! What keys of the configuration do to a container: mounts, hooks, limits, rights.

use std::path::Path;

use config::keys::{DEVICE_KEYS, Key, Shape, TABLE, Unprivileged};
use tests::{Lab, User, eventually};

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
    a_hook_that_fails_is_named_however_much_it_says: hybrid, needs Bryo, not cell INIT;
    a_limit_takes_effect: hybrid, not cell CGROUP;
    a_limit_that_cannot_be_had_fails_the_start: unified, not cell CGROUP;
    what_is_no_file_is_refused_at_once: hybrid, needs Bryo, not cell INIT;
    a_refused_limit_is_named_with_the_reason: unified, needs Bryo, not cell CGROUP;
    a_dropped_capability_is_gone_from_the_container_and_from_attach: hybrid, not cell INIT;
    a_resource_limit_holds_inside: hybrid, not cell INIT;
    a_sysctl_is_set_in_the_container_alone: hybrid unified, not cell INIT;
    environment_of_the_configuration_reaches_init: hybrid, not cell INIT;
    init_runs_as_the_user_of_the_configuration: hybrid, not cell INIT;
    no_new_privs_is_set: hybrid, not cell INIT;
    a_seccomp_profile_is_in_force_in_the_container_and_in_attach: hybrid, not cell INIT;
    what_is_no_system_call_is_noted_by_start_and_check: hybrid, needs Bryo, not cell INIT;
    an_allowlist_refuses_the_rest: hybrid, needs Bryo, not cell INIT;
    all_problems_of_a_configuration_are_told_at_once: hybrid cell, needs Bryo;
    a_network_type_that_needs_root_is_refused: hybrid cell;
    standard_devices_are_there_and_writable: hybrid unified, not cell INIT;
    shared_memory_and_message_queues_are_mounted: hybrid unified, needs Bryo, not cell INIT;
    a_32_bit_architecture_is_what_uname_says: hybrid, not cell INIT;
    a_profile_that_cannot_be_loaded_is_said: hybrid, needs Bryo, not cell INIT;
    nesting_shows_a_pristine_proc_and_sysfs: hybrid unified, needs Bryo, not cell INIT;
    dev_has_the_size_that_is_asked_for: hybrid, not cell INIT;
    dev_is_the_images_own_where_it_is_not_to_be_made: hybrid, needs Bryo, not cell INIT;
    kept_capabilities_are_the_only_ones: hybrid, not cell INIT;
    a_value_for_a_cgroup_stands_in_it: unified, not cell CGROUP;
    cgroups_are_where_the_configuration_says: hybrid unified, needs Bryo, not cell CGROUP;
    a_log_of_the_console_holds_what_it_shows_and_no_more_than_its_size: hybrid, needs Bryo, not cell INIT;
    a_full_log_of_the_console_is_kept_when_it_is_rotated: hybrid, needs Bryo, not cell INIT;
    the_log_of_a_console_goes_on_while_somebody_has_it: hybrid, needs Bryo, not cell INIT;
    the_last_of_a_console_is_remembered: hybrid, needs Bryo, not cell INIT;
    without_a_console_there_is_none: hybrid, not cell INIT;
    cores_are_its_own_or_the_start_says_why_not: hybrid, needs Bryo, not cell INIT;
    variables_go_to_init_or_to_hooks: hybrid, needs Bryo, not cell INIT;
    an_ephemeral_container_is_gone_when_it_has_stopped: hybrid, not cell INIT;
    execute_runs_the_command_of_the_configuration: hybrid, not cell INIT;
    containers_are_listed_by_their_groups: hybrid cell;
    a_start_hook_runs_in_the_container: hybrid, needs Bryo, not cell INIT;
    hooks_of_version_1_are_told_by_the_environment_alone: hybrid, needs Bryo, not cell INIT;
    the_id_map_is_that_of_the_configuration: hybrid unified, not cell INIT;
    an_included_file_counts_and_a_missing_one_of_lxc_is_bryos: hybrid, needs Bryo, not cell INIT;
    init_has_the_groups_and_the_directory_of_the_configuration: hybrid, needs Bryo, not cell INIT;
    a_session_keyring_is_made_unless_it_is_not_wanted: hybrid, needs Bryo, not cell INIT;
    the_log_has_what_its_level_lets_through: hybrid, needs Bryo, not cell INIT;
    the_systems_log_gets_it_too: hybrid, needs Bryo, not cell INIT;
    init_outlives_its_monitor_where_that_is_asked_for: hybrid, needs Bryo, not cell INIT;
    lines_of_an_fstab_are_mounted: hybrid, not cell INIT;
    namespaces_are_kept_or_new_as_the_configuration_says: hybrid, not cell INIT;
    clocks_are_ahead_by_the_offsets_also_for_who_attaches: hybrid unified, needs Bryo, not cell INIT;
    there_are_as_many_terminals_as_asked_for: hybrid, not cell INIT;
    terminals_stand_in_a_directory_of_their_own: hybrid, needs Bryo, not cell INIT;
    the_root_is_where_and_how_the_configuration_says: hybrid, needs Bryo, not cell INIT;
    signals_are_those_of_the_configuration: hybrid, not cell INIT;
    the_host_name_is_that_of_the_configuration: hybrid, not cell INIT;
    files_of_init_below_proc_are_written: hybrid, needs Bryo, not cell INIT;
}

/// The keys whose effect takes a systemd of the user's, and the suite that shows it in the virtual machine.
const IN_THE_MACHINE: &[(&str, &str)] = &[("lxc.cgroup.relative", include_str!("systemd.rs"))];

/// A system test.
type Claim = fn(&Lab);

/// The keys that do something for a container of an ordinary user, each with the claim that shows it.
const EFFECTS: &[(Claim, &[&str])] = &[
    (a_32_bit_architecture_is_what_uname_says, &["lxc.arch"]),
    (a_profile_that_cannot_be_loaded_is_said, &["lxc.apparmor.profile"]),
    (nesting_shows_a_pristine_proc_and_sysfs, &["lxc.apparmor.allow_nesting"]),
    (dev_has_the_size_that_is_asked_for, &["lxc.autodev.tmpfs.size"]),
    (dev_is_the_images_own_where_it_is_not_to_be_made, &["lxc.autodev"]),
    (a_dropped_capability_is_gone_from_the_container_and_from_attach, &["lxc.cap.drop"]),
    (kept_capabilities_are_the_only_ones, &["lxc.cap.keep"]),
    (a_value_for_a_cgroup_stands_in_it, &["lxc.cgroup2"]),
    (a_limit_takes_effect, &["lxc.cgroup"]),
    (
        cgroups_are_where_the_configuration_says,
        &[
            "lxc.cgroup.dir",
            "lxc.cgroup.dir.monitor",
            "lxc.cgroup.dir.container",
            "lxc.cgroup.dir.container.inner",
        ],
    ),
    (
        a_log_of_the_console_holds_what_it_shows_and_no_more_than_its_size,
        &["lxc.console.logfile", "lxc.console.size"],
    ),
    (a_full_log_of_the_console_is_kept_when_it_is_rotated, &["lxc.console.rotate"]),
    (the_last_of_a_console_is_remembered, &["lxc.console.buffer.size"]),
    (without_a_console_there_is_none, &["lxc.console.path"]),
    (cores_are_its_own_or_the_start_says_why_not, &["lxc.sched.core"]),
    (
        variables_go_to_init_or_to_hooks,
        &["lxc.environment", "lxc.environment.runtime", "lxc.environment.hooks"],
    ),
    (an_ephemeral_container_is_gone_when_it_has_stopped, &["lxc.ephemeral"]),
    (execute_runs_the_command_of_the_configuration, &["lxc.execute.cmd"]),
    (containers_are_listed_by_their_groups, &["lxc.group"]),
    (
        hooks_run_in_order_with_the_environment_of_lxc,
        &[
            "lxc.hook.pre-start",
            "lxc.hook.pre-mount",
            "lxc.hook.mount",
            "lxc.hook.autodev",
            "lxc.hook.start-host",
            "lxc.hook.stop",
            "lxc.hook.post-stop",
            "lxc.hook.destroy",
        ],
    ),
    (a_start_hook_runs_in_the_container, &["lxc.hook.start"]),
    (hooks_of_version_1_are_told_by_the_environment_alone, &["lxc.hook.version"]),
    (the_id_map_is_that_of_the_configuration, &["lxc.idmap"]),
    (an_included_file_counts_and_a_missing_one_of_lxc_is_bryos, &["lxc.include"]),
    (init_runs_as_the_user_of_the_configuration, &["lxc.init.cmd", "lxc.init.uid", "lxc.init.gid"]),
    (init_has_the_groups_and_the_directory_of_the_configuration, &["lxc.init.groups", "lxc.init.cwd"]),
    (a_session_keyring_is_made_unless_it_is_not_wanted, &["lxc.keyring.session"]),
    (the_log_has_what_its_level_lets_through, &["lxc.log.file", "lxc.log.level"]),
    (the_systems_log_gets_it_too, &["lxc.log.syslog"]),
    (init_outlives_its_monitor_where_that_is_asked_for, &["lxc.monitor.signal.pdeath"]),
    (proc_and_sys_are_mixed, &["lxc.mount.auto"]),
    (a_bind_mount_shows_a_directory_of_the_host, &["lxc.mount.entry"]),
    (lines_of_an_fstab_are_mounted, &["lxc.mount.fstab"]),
    (namespaces_are_kept_or_new_as_the_configuration_says, &["lxc.namespace.clone", "lxc.namespace.keep"]),
    (
        clocks_are_ahead_by_the_offsets_also_for_who_attaches,
        &["lxc.time.offset.boot", "lxc.time.offset.monotonic"],
    ),
    (no_new_privs_is_set, &["lxc.no_new_privs"]),
    (a_resource_limit_holds_inside, &["lxc.prlimit"]),
    (there_are_as_many_terminals_as_asked_for, &["lxc.tty.max", "lxc.pty.max"]),
    (terminals_stand_in_a_directory_of_their_own, &["lxc.tty.dir"]),
    (
        the_root_is_where_and_how_the_configuration_says,
        &["lxc.rootfs.path", "lxc.rootfs.options", "lxc.rootfs.mount"],
    ),
    (a_seccomp_profile_is_in_force_in_the_container_and_in_attach, &["lxc.seccomp.profile"]),
    (signals_are_those_of_the_configuration, &["lxc.signal.halt", "lxc.signal.reboot", "lxc.signal.stop"]),
    (the_host_name_is_that_of_the_configuration, &["lxc.uts.name"]),
    (a_sysctl_is_set_in_the_container_alone, &["lxc.sysctl"]),
    (files_of_init_below_proc_are_written, &["lxc.proc"]),
];

/// The same for the keys of network devices below `lxc.net.N.`, with the claims of the suite `network`.
const DEVICE_EFFECTS: &[(&str, &[&str])] = &[
    ("a_container_pings_its_bridge", &["type", "link"]),
    ("scripts_are_told_as_lxc_tells_them", &["script.up", "script.down"]),
    ("devices_come_in_the_order_of_their_numbers", &["flags"]),
    (
        "name_address_and_mtu_are_those_of_the_configuration",
        &["name", "hwaddr", "mtu", "ipv4.address", "ipv4.gateway", "ipv6.address", "ipv6.gateway"],
    ),
    ("what_no_user_can_have_is_refused_with_its_lines", &["veth.mode"]),
];

#[test]
fn every_key_of_a_device_has_an_effect_that_a_claim_shows_or_is_said_to_have_none() {
    let suite = include_str!("network.rs");
    for (claim, keys) in DEVICE_EFFECTS {
        let (_, body) = suite.split_once(&format!("\nfn {claim}(lab: &Lab) {{\n")).unwrap_or_default();
        let body = body.split("\n}\n").next().unwrap_or_default();
        assert!(suite.contains(&format!("    {claim}: ")), "network has no claim {claim}");
        // What a claim does not set itself, its helpers set: type, link and flags.
        let sets =
            |key: &str| body.contains(&format!(".{key} =")) || matches!(key, "type" | "link" | "flags");
        assert!(keys.iter().all(|key| sets(key)), "{claim} does not set all of {keys:?}");
    }
    let part = |item: &Key| item.name.trim_start_matches("lxc.net.N.");
    for item in DEVICE_KEYS.iter().filter(|item| item.shape != Shape::Group) {
        let shown = DEVICE_EFFECTS.iter().filter(|(_, keys)| keys.contains(&part(item))).count();
        let acts = matches!(item.unprivileged, Unprivileged::Works | Unprivileged::Partly(_));
        assert_eq!(shown, usize::from(acts), "{}: {}", item.name, item.unprivileged.text());
    }
    for name in DEVICE_EFFECTS.iter().flat_map(|(_, keys)| keys.iter()) {
        assert!(DEVICE_KEYS.iter().any(|item| part(item) == *name), "{name} is no key of a device");
    }
}

/// Walks the table of all keys but those of network devices. Those that have no effect are noted at each start, which the
/// tests of the plan hold them to; those that ask for what is always so, or are for other commands, have nothing to show.
#[test]
fn every_key_has_an_effect_that_a_claim_shows_or_is_said_to_have_none() {
    for item in TABLE.iter().filter(|item| item.shape != Shape::Group) {
        let shown_here = EFFECTS.iter().filter(|(_, keys)| keys.contains(&item.name)).count();
        let is_shown =
            |(key, suite): &&(&str, &str)| *key == item.name && suite.contains(&format!("\"{key}="));
        let shown = shown_here + IN_THE_MACHINE.iter().filter(is_shown).count();
        let acts = matches!(item.unprivileged, Unprivileged::Works | Unprivileged::Partly(_));
        assert_eq!(shown, usize::from(acts), "{}: {}", item.name, item.unprivileged.text());
    }
    for name in EFFECTS.iter().flat_map(|(_, keys)| keys.iter()) {
        assert!(TABLE.iter().any(|item| item.name == *name), "{name} is no key");
    }
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

fn a_hook_that_fails_is_named_however_much_it_says(lab: &Lab) {
    let ana = lab.user("ana");
    ana.write("hook", "#!/bin/sh\nhead -c \"$1\" /dev/zero | tr '\\0' x >&2\nexit 7\n");
    ana.sh("chmod 755 hook").succeeds();
    let hook = ana.home().join("hook").display().to_string();
    for (moment, length) in [("mount", 20_000), ("pre-start", 20_000_000), ("mount", 20_000_000)] {
        let line = format!("lxc.hook.{moment} = {hook} {length}");
        with(&ana, &format!("{line}\n"));
        let said = ana.bryo(["start", "web"]).exits(1);
        said.stderr_contains(&format!("{line}: exit status: 7: ...xx"));
        ana.destroy("web");
    }
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

/// A FIFO has no end before somebody writes, and /dev/zero has none at all.
fn what_is_no_file_is_refused_at_once(lab: &Lab) {
    let ana = lab.user("ana");
    with(&ana, "");
    ana.sh("mkfifo fifo").succeeds();
    for key in ["lxc.mount.fstab", "lxc.seccomp.profile"] {
        for file in [ana.home().join("fifo"), "/dev/zero".into()] {
            let setting = format!("{key}={}", file.display());
            let start = ana.bryo(["start", "web", "--define", &setting]);
            start.exits(1).stderr_contains(key).stderr_contains("it is not a file");
        }
    }
    ana.sh("rm fifo").succeeds();
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
fn what_is_no_system_call_is_noted_by_start_and_check(lab: &Lab) {
    let ana = lab.user("ana");
    ana.write("own.seccomp", "2\ndenylist\n[all]\nkeyclt errno 38\nacct errno 1\n");
    let path = ana.home().join("own.seccomp");
    with(&ana, &format!("lxc.seccomp.profile = {}\n", path.display()));
    let said = format!(
        "{}:4: there is no system call 'keyclt', so the line has no effect; write keyctl",
        path.display()
    );
    ana.bryo(["check", "web"]).succeeds().stdout_contains(&said);
    ana.bryo(["start", "web"]).succeeds().stderr_contains(&said);
    ana.write("own.seccomp", "2\ndenylist errno 1\n[all]\nkeyctl\nacct\n");
    ana.bryo(["check", "web"])
        .exits(1)
        .stdout_contains("own.seccomp:2:10: 'errno 1': here it is for all calls");
    ana.destroy("web");
}

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

fn a_32_bit_architecture_is_what_uname_says(lab: &Lab) {
    let ana = lab.user("ana");
    with(&ana, "lxc.arch = i686\n");
    let said = ana.lxc("execute", ["-n", "web", "--", "/bin/busybox", "uname", "-m"]).succeeds().stdout;
    assert_eq!(said.trim(), "i686");
    ana.destroy("web");
}

fn a_profile_that_cannot_be_loaded_is_said(lab: &Lab) {
    let ana = lab.user("ana");
    with(&ana, "lxc.apparmor.profile = generated\n");
    ana.bryo(["check", "web"])
        .output()
        .stdout_contains("lxc.apparmor.profile = generated: this host has no AppArmor");
    // It changes nothing, so that a start does not say it each time.
    let started = ana.bryo(["start", "web"]).succeeds();
    assert!(!started.stderr.contains("apparmor"), "{}", started.stderr);
    ana.bryo(["stop", "-k", "web"]).succeeds();
    ana.append(CONFIG, "lxc.apparmor.profile = my-own\n");
    ana.bryo(["start", "web"])
        .succeeds()
        .stderr_contains("lxc.apparmor.profile: this host has no AppArmor; the container runs without");
    ana.append(CONFIG, "lxc.apparmor.profile = unconfined\n");
    ana.bryo(["check", "web"]).output().stdout_lacks("lxc.apparmor");
    ana.destroy("web");
}

fn nesting_shows_a_pristine_proc_and_sysfs(lab: &Lab) {
    let ana = lab.user("ana");
    with(&ana, "lxc.apparmor.allow_nesting = 1\nlxc.mount.auto = proc:mixed sys:mixed\n");
    ana.bryo(["start", "web"]).succeeds();
    let mounts = inside(&ana, "cat /proc/mounts").stdout;
    for mount in [" /dev/.lxc/proc proc rw", " /dev/.lxc/sys sysfs rw"] {
        assert!(mounts.contains(mount), "no {mount} in\n{mounts}");
    }
    ana.destroy("web");
}

fn dev_has_the_size_that_is_asked_for(lab: &Lab) {
    let ana = lab.user("ana");
    with(&ana, "lxc.autodev.tmpfs.size = 8388608\n");
    ana.lxc("start", ["-n", "web"]).succeeds();
    let mount = inside(&ana, "grep ' /dev tmpfs' /proc/mounts").stdout;
    assert!(mount.contains("size=8192k"), "{mount}");
    ana.destroy("web");
}

fn dev_is_the_images_own_where_it_is_not_to_be_made(lab: &Lab) {
    let ana = lab.user("ana");
    with(&ana, "lxc.autodev = 0\n");
    ana.bryo(["start", "web"]).succeeds();
    assert_eq!(inside(&ana, "grep -c ' /dev tmpfs' /proc/mounts").stdout, "0\n");
    ana.destroy("web");
}

fn kept_capabilities_are_the_only_ones(lab: &Lab) {
    let ana = lab.user("ana");
    with(&ana, "lxc.cap.keep = chown setuid\nlxc.init.cmd = /bin/sleep 1000\n");
    ana.lxc("start", ["-n", "web"]).succeeds();
    let status = inside(&ana, "grep CapBnd /proc/1/status").stdout;
    // CAP_CHOWN is 0, CAP_SETUID 7.
    assert_eq!(status.split_whitespace().nth(1), Some("0000000000000081"), "{status}");
    ana.destroy("web");
}

fn a_value_for_a_cgroup_stands_in_it(lab: &Lab) {
    let ana = lab.user("ana");
    with(&ana, "lxc.cgroup2.cgroup.max.descendants = 77\n");
    ana.lxc("start", ["-n", "web"]).succeeds();
    let found = "find /sys/fs/cgroup -path '*lxc.payload.web*' -name cgroup.max.descendants -exec grep -l '^77$' {} + | wc -l";
    ana.sh(found).succeeds().stdout_is("1\n");
    ana.destroy("web");
}

/// LXC: leaves the directory of `lxc.cgroup.dir`.
fn cgroups_are_where_the_configuration_says(lab: &Lab) {
    let ana = lab.user("ana");
    let cgroup_of = |pid: i32| ana.sh(&format!("cat /proc/{pid}/cgroup")).succeeds().stdout;
    with(&ana, "lxc.cgroup.dir = mine\n");
    ana.lxc("start", ["-n", "web"]).succeeds();
    let found = cgroup_of(ana.init_of("web"));
    assert!(found.contains("/mine/"), "{found}");
    ana.destroy("web");
    let three = "lxc.cgroup.dir.monitor = own.monitor\nlxc.cgroup.dir.container = own.payload\n\
                 lxc.cgroup.dir.container.inner = inner\n";
    with(&ana, three);
    ana.lxc("start", ["-n", "web"]).succeeds();
    let found = cgroup_of(ana.init_of("web"));
    assert!(found.contains("/own.payload/inner"), "{found}");
    let monitors = ana.monitors();
    let in_own = || monitors.iter().any(|monitor| cgroup_of(monitor.pid).contains("/own.monitor"));
    eventually("the monitor is in its own cgroup", in_own);
    ana.destroy("web");
}

/// Prints `count` lines of eleven characters, the carriage returns of the terminal among them, on the console.
fn print_lines(user: &User<'_>, first: u32, count: u32) {
    let script =
        format!("for i in $(seq {first} {}); do printf 'L%08d\\n' $i; done >/dev/console", first + count - 1);
    assert_eq!(inside(user, &script).status(), 0);
}

/// Reads a file of the user's as root: it may not be there yet.
fn kept(lab: &Lab, path: &Path) -> String {
    std::fs::read_to_string(lab.outside(path)).unwrap_or_default()
}

const QUIET_INIT: &str = "lxc.init.cmd = /bin/sleep 1000\n";

fn a_log_of_the_console_holds_what_it_shows_and_no_more_than_its_size(lab: &Lab) {
    let ana = lab.user("ana");
    let log = ana.home().join("console");
    with(&ana, &format!("{QUIET_INIT}lxc.console.logfile = {}\nlxc.console.size = 4kB\n", log.display()));
    ana.bryo(["start", "web"]).succeeds();
    print_lines(&ana, 1, 10);
    eventually("the log has the lines", || kept(lab, &log).contains("L00000010\r\n"));
    // 11 bytes each, and so 11000 in a log of 4096.
    print_lines(&ana, 11, 1000);
    eventually("the log has the last line", || kept(lab, &log).contains("L00001010\r\n"));
    let text = kept(lab, &log);
    assert!(text.len() <= 4096 && !text.contains("L00000010"), "{} bytes", text.len());
    ana.destroy("web");
    assert!(!lab.outside(&ana.home().join("console.1")).exists());
}

fn a_full_log_of_the_console_is_kept_when_it_is_rotated(lab: &Lab) {
    let ana = lab.user("ana");
    let (log, old) = (ana.home().join("console"), ana.home().join("console.1"));
    let size =
        format!("lxc.console.logfile = {}\nlxc.console.size = 4kB\nlxc.console.rotate = 1\n", log.display());
    with(&ana, &format!("{QUIET_INIT}{size}"));
    ana.bryo(["start", "web"]).succeeds();
    print_lines(&ana, 1, 500);
    eventually("the log has the last line", || kept(lab, &log).contains("L00000500\r\n"));
    let both = kept(lab, &old) + &kept(lab, &log);
    assert_eq!(kept(lab, &old).len(), 4096);
    assert!(both.contains("L00000200\r\nL00000201\r\n"), "lines are lost between the two");
    ana.destroy("web");
}

fn the_log_of_a_console_goes_on_while_somebody_has_it(lab: &Lab) {
    let ana = lab.user("ana");
    let log = ana.home().join("console");
    with(&ana, &format!("{QUIET_INIT}lxc.console.logfile = {}\n", log.display()));
    ana.bryo(["start", "web"]).succeeds();
    let mut terminal = ana.bryo(["console", "web", "-t", "0"]).in_terminal(24, 80);
    terminal.shows("to exit the console");
    print_lines(&ana, 1, 3);
    terminal.shows("L00000003");
    terminal.types("\x01q");
    terminal.exits(0);
    eventually("the log has what was shown", || kept(lab, &log).contains("L00000003\r\n"));
    // And a start in the foreground has it from the beginning.
    ana.bryo(["stop", "-k", "web"]).succeeds();
    ana.append(CONFIG, "lxc.init.cmd = /bin/echo from the foreground\n");
    ana.bryo(["start", "-F", "web"]).succeeds().stdout_contains("from the foreground");
    assert!(kept(lab, &log).contains("from the foreground"), "{}", kept(lab, &log));
    ana.destroy("web");
}

fn the_last_of_a_console_is_remembered(lab: &Lab) {
    let ana = lab.user("ana");
    with(&ana, &format!("{QUIET_INIT}lxc.console.buffer.size = 4kB\n"));
    ana.bryo(["start", "web"]).succeeds();
    print_lines(&ana, 1, 1000);
    let last = || ana.bryo(["console", "web", "--last"]).succeeds().stdout;
    eventually("the last line is remembered", || last().ends_with("L00001000\r\n"));
    assert_eq!(last().len(), 4096);
    ana.bryo(["stop", "-k", "web"]).succeeds();
    ana.bryo(["start", "web", "--define", "lxc.console.buffer.size=0"]).succeeds();
    ana.bryo(["console", "web", "--last"]).exits(1).stderr_contains("lxc.console.buffer.size");
    ana.destroy("web");
}

fn without_a_console_there_is_none(lab: &Lab) {
    let ana = lab.user("ana");
    with(&ana, &format!("{QUIET_INIT}lxc.console.path = none\n"));
    ana.lxc("start", ["-n", "web"]).succeeds();
    assert_eq!(inside(&ana, "[ -c /dev/console ] || echo none").stdout, "none\n");
    ana.destroy("web");
}

/// What a host can depends on its processors and its kernel, so one of the two is shown.
fn cores_are_its_own_or_the_start_says_why_not(lab: &Lab) {
    let ana = lab.user("ana");
    with(&ana, "lxc.sched.core = 1\n");
    let threads = ana.sh("cat /sys/devices/system/cpu/smt/active").output().stdout;
    let start = ana.bryo(["start", "web"]).output();
    match (start.status(), threads.trim()) {
        (0, _) => assert!(!start.stderr.contains("lxc.sched.core"), "{}", start.stderr),
        (status, threads) => {
            assert_eq!((status, threads), (1, "1"), "{}", start.stderr);
            assert!(start.stderr.contains("CONFIG_SCHED_CORE"), "{}", start.stderr);
        }
    }
    ana.destroy("web");
}

fn variables_go_to_init_or_to_hooks(lab: &Lab) {
    let ana = lab.user("ana");
    let told = ana.home().join("told").display().to_string();
    ana.write("hook", &format!("#!/bin/sh\nenv >{told}\n"));
    ana.sh("chmod 755 hook").succeeds();
    let hook = ana.home().join("hook").display().to_string();
    let lines = "lxc.environment = BOTH=1\nlxc.environment.runtime = INIT=2\nlxc.environment.hooks = HOOK=3\n\
                 lxc.environment = GIVEN\n";
    with(&ana, &format!("{QUIET_INIT}{lines}lxc.hook.pre-start = {hook}\n"));
    ana.bryo(["start", "web"]).env("GIVEN", "4").succeeds();
    let init = inside(&ana, "tr '\\0' '\\n' </proc/1/environ").stdout;
    let hooks = ana.sh("cat told").succeeds().stdout;
    let has = |text: &str, line: &str| text.lines().any(|have| have == line);
    for line in ["BOTH=1", "INIT=2", "GIVEN=4"] {
        assert!(has(&init, line) && !has(&hooks, line), "{line}\n{init}\n{hooks}");
    }
    assert!(has(&hooks, "LXC_LOG_LEVEL=ERROR") && has(&hooks, "LXC_NAME=web"), "{hooks}");
    assert!(has(&hooks, "HOOK=3") && !has(&init, "HOOK=3"), "{init}\n{hooks}");
    ana.destroy("web");
}

fn an_ephemeral_container_is_gone_when_it_has_stopped(lab: &Lab) {
    let ana = lab.user("ana");
    with(&ana, "lxc.ephemeral = 1\n");
    ana.lxc("start", ["-n", "web"]).succeeds();
    ana.lxc("stop", ["-n", "web", "-k"]).succeeds();
    let directory = ana.lxcpath().join("web");
    eventually("the container is gone", || !lab.outside(&directory).exists());
}

fn execute_runs_the_command_of_the_configuration(lab: &Lab) {
    let ana = lab.user("ana");
    with(&ana, "lxc.execute.cmd = /bin/busybox echo from the configuration\n");
    ana.lxc("execute", ["-n", "web"]).succeeds().stdout_contains("from the configuration");
    ana.destroy("web");
}

fn containers_are_listed_by_their_groups(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("other");
    with(&ana, "lxc.group = onboot web\n");
    ana.lxc("ls", ["-1", "-g", "onboot,web"]).succeeds().stdout_is("web\n");
    ana.destroy("web");
    ana.destroy("other");
}

/// LXC: the start fails.
fn a_start_hook_runs_in_the_container(lab: &Lab) {
    let ana = lab.user("ana");
    with(&ana, &format!("{QUIET_INIT}lxc.hook.start = /bin/touch /run-by-start\n"));
    // Its words, those of LXC, touch(1) takes for files too.
    ana.lxc("start", ["-n", "web"]).succeeds();
    assert_eq!(inside(&ana, "[ -e /run-by-start ] && echo there").stdout, "there\n");
    ana.destroy("web");
}

fn hooks_of_version_1_are_told_by_the_environment_alone(lab: &Lab) {
    let ana = lab.user("ana");
    let told = ana.home().join("told").display().to_string();
    ana.write(
        "hook",
        &format!("#!/bin/sh\necho \"$# $LXC_HOOK_TYPE $LXC_HOOK_SECTION $LXC_HOOK_VERSION\" >>{told}\n"),
    );
    ana.sh("chmod 755 hook").succeeds();
    let hook = ana.home().join("hook").display().to_string();
    let lines = format!("lxc.hook.pre-start = {hook}\nlxc.hook.post-stop = {hook}\n");
    with(&ana, &format!("lxc.hook.version = 1\n{lines}"));
    ana.bryo(["start", "web"]).succeeds();
    ana.bryo(["stop", "-k", "web"]).succeeds();
    ana.sh("cat told").succeeds().stdout_is("0 pre-start lxc 1\n0 post-stop lxc 1\n");
    ana.destroy("web");
}

fn the_id_map_is_that_of_the_configuration(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    let lines = ana.sh(&format!("grep -h '^lxc.idmap = u' {CONFIG}")).succeeds().stdout;
    ana.lxc("start", ["-n", "web"]).succeeds();
    let map = ana.sh(&format!("cat /proc/{}/uid_map", ana.init_of("web"))).succeeds().stdout;
    let written: Vec<&str> = lines.split_whitespace().skip(3).take(3).collect();
    assert_eq!(map.split_whitespace().collect::<Vec<_>>(), written);
    ana.destroy("web");
}

fn an_included_file_counts_and_a_missing_one_of_lxc_is_bryos(lab: &Lab) {
    let ana = lab.user("ana");
    ana.write("more.conf", "lxc.uts.name = included\n");
    let more = ana.home().join("more.conf").display().to_string();
    with(
        &ana,
        &format!("lxc.include = {more}\nlxc.include = /opt/lxc/share/lxc/config/gentoo.userns.conf\n"),
    );
    let start = ana.bryo(["start", "web"]).succeeds();
    start.stderr_contains("gentoo.userns.conf does not exist; Bryo's own userns.conf takes its place");
    assert_eq!(inside(&ana, "hostname").stdout, "included\n");
    ana.bryo(["stop", "-k", "web"]).succeeds();
    // What LXC's package drops there, such as a file of lxcfs, counts with Bryo's own files too.
    ana.append(CONFIG, "lxc.include = /usr/share/lxc/config/common.conf\n");
    let drop_in = "mount -t tmpfs none /usr/share/lxc && mkdir -p /usr/share/lxc/config/common.conf.d && \
                   echo lxc.group = dropped >/usr/share/lxc/config/common.conf.d/00-x.conf";
    let get = ana.bryo(["config", "get", "web", "lxc.group"]);
    get.amid(drop_in).succeeds().stdout_is("dropped\n");
    ana.destroy("web");
}

/// LXC: leaves out the groups of an init that is root.
fn init_has_the_groups_and_the_directory_of_the_configuration(lab: &Lab) {
    let ana = lab.user("ana");
    with(&ana, &format!("{QUIET_INIT}lxc.init.groups = 10,20\nlxc.init.cwd = /etc\n"));
    ana.lxc("start", ["-n", "web"]).succeeds();
    let groups = inside(&ana, "grep ^Groups /proc/1/status").stdout;
    assert_eq!(groups.split_whitespace().collect::<Vec<_>>(), ["Groups:", "10", "20"]);
    assert_eq!(inside(&ana, "readlink /proc/1/cwd").stdout, "/etc\n");
    ana.destroy("web");
}

fn a_session_keyring_is_made_unless_it_is_not_wanted(lab: &Lab) {
    let ana = lab.user("ana");
    let root = ana.account().subuids.start;
    let keys = || {
        let all = std::fs::read_to_string("/proc/key-users").expect("the kernel has keys");
        let own = all.lines().find(|line| line.trim_start().starts_with(&format!("{root}:")));
        own.and_then(|line| line.split_whitespace().nth(2)?.split('/').next()?.parse::<u32>().ok())
            .unwrap_or(0)
    };
    with(&ana, &format!("{QUIET_INIT}lxc.keyring.session = 1\n"));
    let before = keys();
    ana.bryo(["start", "web"]).succeeds();
    assert!(keys() <= before, "a keyring was made");
    ana.bryo(["stop", "-k", "web"]).succeeds();
    let before = keys();
    ana.bryo(["start", "web", "--define", "lxc.keyring.session=0"]).succeeds();
    assert!(keys() > before, "no keyring was made");
    ana.destroy("web");
}

fn the_log_has_what_its_level_lets_through(lab: &Lab) {
    let ana = lab.user("ana");
    let log = ana.home().join("log");
    with(&ana, &format!("lxc.log.file = {}\nlxc.log.level = ERROR\n", log.display()));
    ana.bryo(["start", "web"]).succeeds();
    ana.bryo(["stop", "-k", "web"]).succeeds();
    assert_eq!(kept(lab, &log), "");
    ana.bryo(["start", "web", "--define", "lxc.log.level=INFO"]).succeeds();
    assert!(kept(lab, &log).contains("INFO"), "{}", kept(lab, &log));
    assert!(kept(lab, &log).contains("init runs as process"), "{}", kept(lab, &log));
    ana.destroy("web");
}

/// A log daemon of the test's own listens at /dev/log, for one command in the foreground.
fn the_systems_log_gets_it_too(lab: &Lab) {
    let ana = lab.user("ana");
    with(&ana, "lxc.log.syslog = local3\nlxc.log.level = INFO\n");
    let start = ana.bryo(["start", "web"]).succeeds();
    start.stderr_contains("lxc.log.syslog = local3: nobody takes a log at /dev/log");
    ana.bryo(["stop", "-k", "web"]).succeeds();
    let said = ana.home().join("syslog").display().to_string();
    let daemon = format!(
        "mount -t tmpfs none /mnt && mkdir /mnt/pts && mount --bind /dev/pts /mnt/pts && \\
         for node in null zero full random urandom tty fuse; do touch /mnt/$node && mount --bind /dev/$node /mnt/$node; done && \\
         mount --rbind /mnt /dev && umount -l /mnt; \\
         busybox syslogd -n -O {said} & daemon=$!; \\
         while [ ! -S /dev/log ]; do sleep 0.1; done; status=0; \"$@\" || status=$?; kill $daemon; wait $daemon || true; exit $status"
    );
    ana.bryo(["execute", "web", "--", "true"]).amid(daemon).succeeds();
    let text = kept(lab, Path::new(&said));
    assert!(text.contains("local3.info bryo-monitor[") && text.contains("web: init runs"), "{text}");
    ana.destroy("web");
}

fn init_outlives_its_monitor_where_that_is_asked_for(lab: &Lab) {
    let ana = lab.user("ana");
    for (signal, outlives) in [("SIGKILL", false), ("0", true)] {
        with(&ana, &format!("{QUIET_INIT}lxc.monitor.signal.pdeath = {signal}\n"));
        ana.bryo(["start", "web"]).succeeds();
        let init = ana.init_of("web");
        let runs =
            || Path::new(&format!("/proc/{init}/root")).exists() && ana.namespace_of(init, "pid").is_some();
        let monitor = ana.monitors().first().expect("a monitor runs").pid;
        ana.sh(&format!("kill -9 {monitor}")).succeeds();
        eventually("the monitor is gone", || ana.monitors().is_empty());
        match outlives {
            true => assert!(runs(), "init died with its monitor"),
            false => eventually("init has died with its monitor", || !runs()),
        }
        ana.destroy("web");
    }
}

fn lines_of_an_fstab_are_mounted(lab: &Lab) {
    let ana = lab.user("ana");
    ana.write(
        "fstab",
        "# comment\ntmpfs mnt tmpfs rw,size=1m 0 0\n/usr/share/misc mnt/misc none bind,create=dir 0 0\n",
    );
    let fstab = ana.home().join("fstab").display().to_string();
    with(&ana, &format!("lxc.mount.fstab = {fstab}\n"));
    ana.lxc("start", ["-n", "web"]).succeeds();
    let mounts = inside(&ana, "cut -d ' ' -f 2 /proc/mounts").stdout;
    assert!(mounts.contains("/mnt\n") && mounts.contains("/mnt/misc\n"), "{mounts}");
    ana.destroy("web");
}

fn namespaces_are_kept_or_new_as_the_configuration_says(lab: &Lab) {
    let ana = lab.user("ana");
    let own = |name: &str| {
        let link = ana.sh(&format!("readlink /proc/self/ns/{name}")).succeeds().stdout;
        link.trim().to_owned()
    };
    for line in ["lxc.namespace.keep = ipc", "lxc.namespace.clone = user mnt pid uts net cgroup"] {
        with(&ana, &format!("{QUIET_INIT}{line}\n"));
        ana.lxc("start", ["-n", "web"]).succeeds();
        let init = ana.init_of("web");
        for (name, kept) in [("ipc", true), ("uts", false), ("net", false)] {
            let inode = ana.namespace_of(init, name).expect("init runs");
            assert_eq!(own(name) == format!("{name}:[{inode}]"), kept, "{line}: {name}");
        }
        ana.destroy("web");
    }
}

fn clocks_are_ahead_by_the_offsets_also_for_who_attaches(lab: &Lab) {
    let ana = lab.user("ana");
    with(&ana, &format!("{QUIET_INIT}lxc.time.offset.boot = 1000h\nlxc.time.offset.monotonic = 7s\n"));
    ana.bryo(["start", "web"]).succeeds();
    let seconds =
        |text: String| text.split('.').next().and_then(|n| n.parse::<u64>().ok()).expect("a number");
    let outside = seconds(ana.sh("cat /proc/uptime").succeeds().stdout);
    let ahead = seconds(inside(&ana, "cat /proc/uptime").stdout) - outside;
    assert!((3_600_000..3_600_600).contains(&ahead), "{ahead} s ahead");
    let offsets = inside(&ana, "cat /proc/1/timens_offsets").stdout;
    let words: Vec<&str> = offsets.split_whitespace().collect();
    assert_eq!(words, ["monotonic", "7", "0", "boottime", "3600000", "0"]);
    let same =
        inside(&ana, "[ $(readlink /proc/1/ns/time) = $(readlink /proc/self/ns/time) ] && echo same").stdout;
    assert_eq!(same, "same\n");
    ana.destroy("web");
}

fn there_are_as_many_terminals_as_asked_for(lab: &Lab) {
    let ana = lab.user("ana");
    with(&ana, &format!("{QUIET_INIT}lxc.tty.max = 2\nlxc.pty.max = 5\n"));
    ana.lxc("start", ["-n", "web"]).succeeds();
    assert_eq!(inside(&ana, "ls /dev | grep -c '^tty[0-9]'").stdout, "2\n");
    let mount = inside(&ana, "grep devpts /proc/mounts").stdout;
    assert!(mount.contains("max="), "{mount}");
    ana.destroy("web");
}

fn terminals_stand_in_a_directory_of_their_own(lab: &Lab) {
    let ana = lab.user("ana");
    with(&ana, &format!("{QUIET_INIT}lxc.tty.max = 2\nlxc.tty.dir = lxc\n"));
    ana.bryo(["start", "web"]).succeeds();
    assert_eq!(inside(&ana, "ls /dev/lxc; readlink /dev/tty2").stdout, "console\ntty1\ntty2\nlxc/tty2\n");
    // The link, the directory and /dev/console itself lead to the terminals that lxc-console shows.
    let mut terminal = ana.bryo(["console", "web", "-t", "2"]).in_terminal(24, 80);
    terminal.shows("to exit the console");
    assert_eq!(inside(&ana, "echo by the link >/dev/tty2; echo by the directory >/dev/lxc/tty2").status(), 0);
    terminal.shows("by the link").shows("by the directory");
    terminal.types("\x01q");
    terminal.exits(0);
    assert_eq!(
        inside(&ana, "[ -c /dev/console ] && stat -c %t:%T /dev/console /dev/lxc/console | uniq | wc -l")
            .stdout,
        "1\n"
    );
    ana.destroy("web");
    with(&ana, "lxc.tty.dir = ../etc\n");
    ana.bryo(["start", "web"]).exits(1).stderr_contains("lxc.tty.dir");
    ana.destroy("web");
}

fn the_root_is_where_and_how_the_configuration_says(lab: &Lab) {
    let ana = lab.user("ana");
    ana.write("hook", "#!/bin/sh\necho \"$LXC_ROOTFS_MOUNT\" >\"$LXC_ROOTFS_MOUNT/seen-by-hook\"\n");
    ana.sh("chmod 755 . && chmod 755 hook && mkdir -m 755 place").succeeds();
    let home = ana.home().display().to_string();
    with(&ana, &format!("{QUIET_INIT}lxc.hook.mount = {home}/hook\nlxc.rootfs.mount = {home}/place\n"));
    let elsewhere = ana.lxcpath().join("web/root elsewhere");
    std::fs::rename(lab.outside(&ana.lxcpath().join("web/rootfs")), lab.outside(&elsewhere))
        .expect("the test is root");
    ana.append(CONFIG, &format!("lxc.rootfs.path = {}\n", elsewhere.display()));
    ana.bryo(["start", "web"]).succeeds();
    assert_eq!(inside(&ana, "cat /seen-by-hook").stdout, format!("{home}/place\n"));
    ana.bryo(["stop", "-k", "web"]).succeeds();
    ana.append(CONFIG, "lxc.rootfs.options = ro,nosuid,noexec\nlxc.hook.mount =\nlxc.init.cmd =\n");
    // No program can be run there.
    ana.bryo(["start", "web"]).exits(1).stderr_contains("EACCES");
    ana.append(CONFIG, "lxc.rootfs.options = ro,nosuid,nodev\nlxc.init.cmd = /bin/sleep 1000\n");
    ana.bryo(["start", "web"]).succeeds();
    let mount = inside(&ana, "grep ' / ' /proc/mounts").stdout;
    for option in ["ro", "nosuid", "nodev"] {
        assert!(mount.split([' ', ',']).any(|word| word == option), "no {option} in {mount}");
    }
    ana.destroy("web");
}

fn signals_are_those_of_the_configuration(lab: &Lab) {
    let ana = lab.user("ana");
    let heard = "/tmp/bryo-heard";
    ana.sh(&format!("mkdir -m 777 {heard}")).succeeds();
    let trap =
        |signal: &str, word: &str, then: &str| format!("trap 'echo {word} >>/mnt/heard{then}' {signal}\n");
    let script =
        trap("USR1", "halt", "; exit 0") + &trap("USR2", "reboot", "") + &trap("TERM", "stop", "; exit 0");
    ana.write("init", &format!("#!/bin/sh\n{script}echo up >>/mnt/heard\nwhile :; do sleep 0.1; done\n"));
    ana.sh("chmod 755 . && chmod 755 init").succeeds();
    let init = ana.home().join("init").display().to_string();
    let lines = format!(
        "lxc.mount.entry = {heard} mnt none bind 0 0\nlxc.mount.entry = {init} own-init none bind,create=file 0 0\n\
         lxc.init.cmd = /own-init\nlxc.signal.halt = SIGUSR1\nlxc.signal.reboot = SIGUSR2\nlxc.signal.stop = SIGTERM\n"
    );
    with(&ana, &lines);
    let is_heard = |word: &str| {
        eventually(word, || {
            ana.sh(&format!("cat {heard}/heard")).output().stdout.lines().any(|line| line == word)
        });
    };
    ana.lxc("start", ["-n", "web"]).succeeds();
    is_heard("up");
    ana.lxc("stop", ["-n", "web", "-r", "-W"]).output();
    is_heard("reboot");
    ana.lxc("stop", ["-n", "web", "--nokill", "-t", "60"]).seconds(90).succeeds();
    is_heard("halt");
    ana.sh(&format!("rm -f {heard}/heard")).output();
    ana.lxc("start", ["-n", "web"]).succeeds();
    eventually("init is up", || ana.sh(&format!("ls {heard}")).output().stdout.contains("heard"));
    ana.lxc("stop", ["-n", "web", "-k"]).succeeds();
    is_heard("stop");
    ana.destroy("web");
    std::fs::remove_dir_all(lab.outside(Path::new(heard))).expect("the test is root");
}

fn the_host_name_is_that_of_the_configuration(lab: &Lab) {
    let ana = lab.user("ana");
    with(&ana, &format!("{QUIET_INIT}lxc.uts.name = otherwise\n"));
    ana.lxc("start", ["-n", "web"]).succeeds();
    assert_eq!(inside(&ana, "hostname").stdout, "otherwise\n");
    ana.destroy("web");
}

/// LXC: writes them as the user, to whom they do not belong, and the start fails.
fn files_of_init_below_proc_are_written(lab: &Lab) {
    let ana = lab.user("ana");
    with(&ana, &format!("{QUIET_INIT}lxc.proc.oom_score_adj = 321\n"));
    ana.lxc("start", ["-n", "web"]).succeeds();
    assert_eq!(inside(&ana, "cat /proc/1/oom_score_adj").stdout, "321\n");
    ana.destroy("web");
}
