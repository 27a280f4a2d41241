//! Networks: veth devices on a bridge of the host, as two users, and networks in user mode.

use tests::{Lab, User, eventually, within};

tests::claims! {
    a_container_pings_its_bridge: hybrid unified, needs Bryo, not cell INIT;
    name_address_and_mtu_are_those_of_the_configuration: hybrid, needs Bryo, not cell INIT;
    devices_come_in_the_order_of_their_numbers: hybrid, needs Bryo, not cell INIT;
    the_hardware_address_stays_over_restarts: hybrid, needs Bryo, not cell INIT;
    a_reboot_makes_the_device_anew: hybrid unified, needs Bryo, not cell INIT;
    a_stop_takes_the_device_along: hybrid unified, needs Bryo, not cell INIT;
    a_killed_monitor_leaves_no_device: hybrid unified, needs Bryo, not cell INIT;
    a_restart_at_the_quota_finds_a_place: hybrid unified, needs Bryo, not cell INIT;
    a_full_quota_names_what_is_held: hybrid, needs Bryo, not cell INIT;
    without_configuration_a_full_quota_gives_user_mode_at_once: hybrid, needs Bryo, not cell INIT;
    a_place_that_others_take_meanwhile_is_made_up_for_in_user_mode: hybrid unified, needs Bryo, not cell INIT;
    a_place_that_others_take_at_a_reboot_is_made_up_for_in_user_mode: hybrid, needs Bryo, not cell INIT;
    without_configuration_a_restart_at_the_quota_stays_on_its_bridge: hybrid, needs Bryo, not cell INIT;
    at_a_full_quota_a_monitor_that_is_silent_keeps_no_start_waiting: hybrid, needs Bryo;
    each_user_has_a_quota_of_its_own: hybrid, needs Bryo, not cell INIT;
    quota_names_the_container_that_has_a_device: hybrid unified, needs Bryo, not cell INIT;
    scripts_are_told_as_lxc_tells_them: hybrid, needs Bryo, not cell INIT;
    a_script_that_fails_fails_the_start: hybrid, needs Bryo, not cell INIT;
    what_no_user_can_have_is_refused_with_its_lines: hybrid cell, needs Bryo;
    a_network_that_cannot_be_had_is_said: hybrid, needs Bryo, not cell INIT;
    the_hosts_network_is_taken_only_by_name: hybrid, needs Bryo, not cell INIT;
    a_dry_run_shows_the_device: hybrid, needs Bryo;
    info_and_ls_show_addresses: hybrid, needs Bryo, not cell INIT;
    without_a_line_the_network_is_in_user_mode: hybrid unified, needs Bryo, not cell INIT;
    user_mode_in_a_bridges_place_keeps_what_it_can_and_names_the_rest: hybrid, needs Bryo, not cell INIT;
    the_guide_to_networks_says_what_is_printed: hybrid, needs Bryo, not cell INIT;
    slirp4netns_takes_the_place_of_pasta: hybrid, needs Bryo, not cell INIT;
    a_command_without_configuration_reaches_the_network: hybrid, needs Bryo;
    the_program_for_user_mode_ends_with_a_killed_monitor: hybrid unified, needs Bryo, not cell INIT;
    user_mode_has_ipv6_where_the_host_has: hybrid, needs Bryo, not cell INIT;
    scripts_and_hooks_come_in_lxcs_order: hybrid, needs Bryo, not cell INIT;
    names_are_found_in_user_mode: hybrid, needs Bryo, not cell INIT;
    without_a_way_out_a_command_still_runs: hybrid, needs Bryo;
    a_command_in_a_cell_runs_without_configuration: cell, needs Bryo;
    services_of_the_hosts_loopback_are_not_reached: hybrid, needs Bryo, not cell INIT;
    the_real_lxc_start_has_devices_by_this_lxc_user_nic: hybrid, needs Bryo Lxc, not cell LXC;
    lxc_user_nic_has_no_rights_of_its_own: hybrid, needs Bryo;
}

const ON_LXCBR0: &str = "lxc.net.0.type = veth\nlxc.net.0.link = lxcbr0\nlxc.net.0.flags = up\n";

/// Grants each user so many devices on the lab's bridge.
fn grant(lab: &Lab, number: u32) {
    let lines =
        lab.users().into_iter().map(|user| format!("{} veth lxcbr0 {number}\n", user.account().login));
    lab.grant(&lines.collect::<String>());
}

/// A container of busybox with a device on the lab's bridge, and more lines about it.
fn on_the_bridge(user: &User<'_>, name: &str, lines: &str) {
    user.write(".config/lxc/default.conf", &format!("{ON_LXCBR0}{lines}"));
    user.busybox(name);
}

fn running<'lab>(lab: &'lab Lab, lines: &str) -> User<'lab> {
    grant(lab, 2);
    let ana = lab.user("ana");
    on_the_bridge(&ana, "web", lines);
    ana.bryo(["start", "web"]).succeeds();
    ana
}

/// Runs a line of shell in the container.
fn inside(user: &User<'_>, line: &str) -> String {
    user.lxc("attach", ["-n", "web", "--", "sh", "-c", line]).succeeds().stdout
}

/// The ports of the lab's bridge.
fn ports(user: &User<'_>) -> Vec<String> {
    let said = user.run("ip", ["-o", "link", "show", "master", "lxcbr0"]).succeeds().stdout;
    let name = |line: &str| line.split(' ').nth(1).unwrap_or_default().trim_end_matches(':').to_owned();
    said.lines().map(|line| name(line).split('@').next().unwrap_or_default().to_owned()).collect()
}

fn a_container_pings_its_bridge(lab: &Lab) {
    let ana = lab.user("ana");
    grant(lab, 2);
    on_the_bridge(&ana, "web", "lxc.net.0.ipv4.address = 10.0.3.7/24\nlxc.net.0.ipv4.gateway = auto\n");
    ana.bryo(["--verbose", "start", "web"]).succeeds().stderr_contains("network veth on lxcbr0");
    inside(&ana, "ping -c1 -W5 10.0.3.1");
    assert!(inside(&ana, "ip route").contains("default via 10.0.3.1 dev eth0"));
    ana.destroy("web");
}

fn name_address_and_mtu_are_those_of_the_configuration(lab: &Lab) {
    let ana = running(
        lab,
        "lxc.net.0.name = wan0\nlxc.net.0.hwaddr = 10:66:6a:01:02:03\nlxc.net.0.mtu = 1400\n\
         lxc.net.0.ipv4.address = 10.0.3.7/24\nlxc.net.0.ipv4.address = 10.0.9.1/30 10.0.9.2\n\
         lxc.net.0.ipv6.address = fd00::7/64\nlxc.net.0.ipv4.gateway = 10.99.0.1\nlxc.net.0.ipv6.gateway = dev\n",
    );
    let about = inside(&ana, "ip addr show wan0");
    for piece in [
        "mtu 1400",
        "10:66:6a:01:02:03",
        "10.0.3.7/24 brd 10.0.3.255",
        "10.0.9.1/30 brd 10.0.9.2",
        "fd00::7/64",
        "UP",
    ] {
        assert!(about.contains(piece), "{piece} is missing:\n{about}");
    }
    let routes = inside(&ana, "ip route; ip -6 route");
    for piece in ["default via 10.99.0.1 dev wan0", "10.99.0.1 dev wan0", "default dev wan0"] {
        assert!(routes.contains(piece), "{piece} is missing:\n{routes}");
    }
    ana.destroy("web");
}

fn devices_come_in_the_order_of_their_numbers(lab: &Lab) {
    let ana = running(
        lab,
        "lxc.net.7.type = veth\nlxc.net.7.link = lxcbr0\nlxc.net.7.hwaddr = 10:66:6a:00:00:07\nlxc.net.3.type = empty\n",
    );
    let links = inside(&ana, "ip -o link");
    let of = |name: &str| links.lines().find(|line| line.contains(&format!(" {name}@"))).unwrap_or_default();
    assert!(of("eth0").contains("UP") && of("eth1").contains("10:66:6a:00:00:07"), "{links}");
    assert!(!of("eth1").contains(",UP"), "eth1 is raised without flags = up:\n{links}");
    assert_eq!(ports(&ana).len(), 2);
    ana.destroy("web");
}

fn the_hardware_address_stays_over_restarts(lab: &Lab) {
    // One that is drawn when the container is made, and one that is not given at all.
    let ana = running(
        lab,
        "lxc.net.0.hwaddr = 10:66:6a:xx:xx:xx\nlxc.net.1.type = veth\nlxc.net.1.link = lxcbr0\n",
    );
    let config = ana.bryo(["info", "web", "-c", "lxc.net.0.hwaddr"]).succeeds().stdout;
    assert!(config.starts_with("10:66:6a:") && !config.contains('x'), "{config}");
    let addresses = || inside(&ana, "cat /sys/class/net/eth0/address /sys/class/net/eth1/address");
    let before = addresses();
    assert_eq!(before.lines().next(), Some(config.trim_end()));
    assert_ne!(before.lines().nth(1), before.lines().next());
    ana.bryo(["restart", "-t", "0", "web"]).succeeds();
    assert_eq!(addresses(), before);
    ana.destroy("web");
}

/// Reboots a container, and returns when it has a new init.
fn reboot(user: &User<'_>, name: &str) {
    let before = user.init_of(name);
    user.lxc("stop", ["-n", name, "-r"]).succeeds();
    eventually("a new init", || {
        let now = user.lxc("info", ["-n", name, "-pH"]).output().stdout;
        !now.is_empty() && now.trim() != before.to_string()
    });
}

fn a_reboot_makes_the_device_anew(lab: &Lab) {
    let ana = running(lab, "lxc.net.0.ipv4.address = 10.0.3.7/24\n");
    reboot(&ana, "web");
    inside(&ana, "ping -c1 -W5 10.0.3.1");
    eventually("one port alone", || ports(&ana).len() == 1);
    ana.destroy("web");
}

fn a_stop_takes_the_device_along(lab: &Lab) {
    let ana = running(lab, "");
    assert_eq!(ports(&ana).len(), 1);
    ana.bryo(["stop", "-k", "web"]).succeeds();
    eventually("the device is gone", || ports(&ana).is_empty());
    ana.destroy("web");
}

/// Kills the monitor, and a copy of it that lives for a moment.
fn kill_the_monitor(user: &User<'_>) {
    eventually("no monitor is left", || {
        let all = user.monitors();
        for monitor in &all {
            user.run("kill", ["-9", &monitor.pid.to_string()]).output();
        }
        all.is_empty()
    });
}

fn a_killed_monitor_leaves_no_device(lab: &Lab) {
    let ana = running(lab, "");
    kill_the_monitor(&ana);
    eventually("the device is gone", || ports(&ana).is_empty());
    ana.bryo(["start", "web"]).succeeds();
    assert_eq!(ports(&ana).len(), 1);
    ana.destroy("web");
}

fn a_restart_at_the_quota_finds_a_place(lab: &Lab) {
    grant(lab, 1);
    let ana = lab.user("ana");
    on_the_bridge(&ana, "web", "");
    ana.bryo(["start", "web"]).succeeds();
    for _ in 0..3 {
        ana.bryo(["restart", "-t", "0", "web"]).succeeds();
        assert_eq!(ports(&ana).len(), 1);
    }
    ana.destroy("web");
}

fn a_full_quota_names_what_is_held(lab: &Lab) {
    grant(lab, 1);
    let ana = lab.user("ana");
    on_the_bridge(&ana, "web", "");
    on_the_bridge(&ana, "db", "");
    ana.bryo(["start", "web"]).succeeds();
    let held = ports(&ana).remove(0);
    let full = ana.bryo(["start", "db"]).exits(1).stderr_contains("cannot start db").stderr_contains(&held);
    full.stderr_contains("bryo start db --net user");
    ana.bryo(["start", "db", "--net", "user"]).succeeds();
    ana.destroy("db");
    ana.destroy("web");
}

/// Containers of busybox that ask for no network, where each user may have one device.
fn without_configuration<'lab>(lab: &'lab Lab, names: &[&str]) -> User<'lab> {
    grant(lab, 1);
    let ana = lab.user("ana");
    ana.write(".config/lxc/default.conf", "");
    for name in names {
        ana.busybox(name);
    }
    ana
}

fn resolver_of(user: &User<'_>, name: &str) -> String {
    user.lxc("attach", ["-n", name, "--", "cat", "/etc/resolv.conf"]).output().stdout
}

fn without_configuration_a_full_quota_gives_user_mode_at_once(lab: &Lab) {
    let ana = without_configuration(lab, &["web", "db"]);
    ana.bryo(["--verbose", "start", "web"]).succeeds().stderr_contains("network veth on lxcbr0");
    ana.bryo(["start", "db", "--dry-run"]).succeeds().stdout_contains("network       pasta\n");
    let started = ana.bryo(["--verbose", "start", "db"]).succeeds();
    let started = started.stderr_contains("network pasta");
    started.stderr_contains(
        "the quota on lxcbr0 is used up, 1 of 1 used: a network in user mode takes its place",
    );
    assert!(resolver_of(&ana, "db").contains("169.254.1.53"));
    assert!(!resolver_of(&ana, "web").contains("169.254.1.53"));
    ana.bryo(["stop", "-k", "db"]).succeeds();
    // Who asks for the bridge is told.
    let define = |key: &str, value: &str| format!("--define=lxc.net.0.{key}={value}");
    let asked = [define("type", "veth"), define("link", "lxcbr0"), define("flags", "up")];
    let words = ["start".to_owned(), "db".to_owned()].into_iter().chain(asked);
    ana.bryo(words).exits(1).stderr_contains("cannot start db").stderr_contains("1 of your own 1 are in use");
    ana.destroy("db");
    ana.destroy("web");
}

fn a_place_that_others_take_meanwhile_is_made_up_for_in_user_mode(lab: &Lab) {
    let ana = without_configuration(lab, &["web", "db"]);
    // Between the plan of db, which finds room, and its device.
    ana.append(
        ".local/share/lxc/db/config",
        &format!(
            "lxc.hook.pre-start = sh -c 'HOME={} /run/bryo-lab/prefix/bin/bryo start web' #\n",
            ana.home().display()
        ),
    );
    ana.bryo(["start", "db", "--dry-run"]).succeeds().stdout_contains("network       veth on lxcbr0\n");
    let started = ana.bryo(["--verbose", "start", "db"]).succeeds();
    let started = started.stderr_contains("network pasta").stderr_contains("1 of your own 1 are in use");
    started.stderr_contains("a network in user mode takes its place");
    assert!(
        ana.lxc("attach", ["-n", "db", "--", "ip", "-o", "addr"]).succeeds().stdout.contains("192.0.2.2")
    );
    assert!(resolver_of(&ana, "db").contains("169.254.1.53"));
    assert_eq!(ports(&ana).len(), 1);
    ana.destroy("db");
    ana.destroy("web");
}

fn a_place_that_others_take_at_a_reboot_is_made_up_for_in_user_mode(lab: &Lab) {
    let ana = without_configuration(lab, &["web", "db"]);
    let home = ana.home().display().to_string();
    // Between the end of the first run's device and the second one's.
    ana.append(
        ".local/share/lxc/db/config",
        &format!(
            "lxc.hook.pre-start = sh -c '[ ! -e {home}/others ] || HOME={home} /run/bryo-lab/prefix/bin/bryo start web' #\n"
        ),
    );
    ana.bryo(["--verbose", "start", "db"]).succeeds().stderr_contains("network veth on lxcbr0");
    ana.write("others", "");
    reboot(&ana, "db");
    eventually("an address of user mode", || {
        ana.lxc("attach", ["-n", "db", "--", "ip", "-o", "addr"]).output().stdout.contains("192.0.2.2")
    });
    assert!(resolver_of(&ana, "db").contains("169.254.1.53"));
    assert!(!resolver_of(&ana, "web").contains("169.254.1.53"));
    assert_eq!(ports(&ana).len(), 1);
    // When they are gone the next reboot finds the bridge again.
    ana.destroy("web");
    ana.sh("rm others").succeeds();
    reboot(&ana, "db");
    eventually("a device on the bridge", || ports(&ana).len() == 1);
    assert!(!resolver_of(&ana, "db").contains("169.254.1.53"));
    ana.destroy("db");
}

fn without_configuration_a_restart_at_the_quota_stays_on_its_bridge(lab: &Lab) {
    let ana = without_configuration(lab, &["web"]);
    ana.bryo(["start", "web"]).succeeds();
    for _ in 0..5 {
        let again = ana.bryo(["--verbose", "restart", "-t", "0", "web"]).succeeds();
        again.stderr_contains("network veth on lxcbr0");
    }
    ana.destroy("web");
}

fn at_a_full_quota_a_monitor_that_is_silent_keeps_no_start_waiting(lab: &Lab) {
    let ana = without_configuration(lab, &["web"]);
    ana.bryo(["start", "web"]).succeeds();
    let monitors = ana.monitors();
    monitors.iter().for_each(tests::Process::stop);
    ana.bryo(["start", "web", "--dry-run"]).seconds(60).succeeds().stdout_contains("network       pasta\n");
    monitors.iter().for_each(tests::Process::go_on);
    ana.bryo(["start", "web", "--dry-run"]).succeeds().stdout_contains("network       veth on lxcbr0\n");
    ana.destroy("web");
}

fn each_user_has_a_quota_of_its_own(lab: &Lab) {
    grant(lab, 1);
    let (ana, ben) = (lab.user("ana"), lab.user("ben"));
    for (user, address) in [(&ana, "10.0.3.7"), (&ben, "10.0.3.8")] {
        on_the_bridge(user, "web", &format!("lxc.net.0.ipv4.address = {address}/24\n"));
        user.bryo(["start", "web"]).succeeds();
        inside(user, "ping -c1 -W5 10.0.3.1");
    }
    assert_eq!(ports(&ana).len(), 2);
    // Ports of two users are kept apart.
    ana.lxc("attach", ["-n", "web", "--", "ping", "-c1", "-W1", "10.0.3.8"]).exits(1);
    ben.destroy("web");
    ana.destroy("web");
}

fn quota_names_the_container_that_has_a_device(lab: &Lab) {
    let ana = running(lab, "");
    let quota = ana.bryo(["net", "quota", "--json"]).succeeds().json();
    let told = |key: &str| quota[0][key].clone();
    assert_eq!(
        (told("bridge"), told("used"), told("limit")),
        ("lxcbr0".into(), 1.into(), 2.into()),
        "{quota:#}"
    );
    assert_eq!(quota[0]["devices"][0]["holder"]["container"], "web", "{quota:#}");
    ana.bryo(["net", "ls"]).succeeds().stdout_contains(" web\n");
    ana.lxc("stop", ["-n", "web", "-k"]).succeeds();
    let is_free = || ana.bryo(["net", "quota", "--json"]).succeeds().json()[0]["used"] == 0;
    eventually("the device is counted no longer", is_free);
    ana.destroy("web");
}

fn scripts_are_told_as_lxc_tells_them(lab: &Lab) {
    let ana = lab.user("ana");
    grant(lab, 1);
    let script = "#!/bin/sh\necho \"$(id -u) $LXC_NAME $# $*\" >>$HOME_OF/said\n";
    let script = script.replace("$HOME_OF", &ana.home().display().to_string());
    ana.write("script", &script);
    ana.sh("chmod +x script").succeeds();
    let path = ana.home().join("script");
    let lines = format!("lxc.net.0.script.up = {0}\nlxc.net.0.script.down = {0} more\n", path.display());
    on_the_bridge(&ana, "web", &lines);
    ana.bryo(["start", "web"]).succeeds();
    let port = ports(&ana).remove(0);
    ana.bryo(["stop", "-k", "web"]).succeeds();
    let uid = ana.account().uid;
    let said = format!(
        "{uid} web 6 web net up veth lxcbr0 {port}\n{uid} web 7 more web net down veth lxcbr0 {port}\n"
    );
    ana.sh("cat said").succeeds().stdout_is(&said);
    ana.write(
        "script",
        &"#!/bin/sh\nenv | grep -E '^LXC_(NET|HOOK)' | sort >$HOME_OF/said\n"
            .replace("$HOME_OF", &ana.home().display().to_string()),
    );
    ana.append(".local/share/lxc/web/config", "lxc.hook.version = 1\nlxc.net.0.script.down =\n");
    ana.bryo(["start", "web"]).succeeds();
    let said = format!(
        "LXC_HOOK_SECTION=net\nLXC_HOOK_TYPE=up\nLXC_HOOK_VERSION=1\nLXC_NET_PARENT=lxcbr0\nLXC_NET_PEER={}\nLXC_NET_TYPE=veth\n",
        ports(&ana).remove(0)
    );
    ana.sh("cat said").succeeds().stdout_is(&said);
    ana.destroy("web");
}

fn a_script_that_fails_fails_the_start(lab: &Lab) {
    let ana = lab.user("ana");
    grant(lab, 1);
    on_the_bridge(&ana, "web", "lxc.net.0.script.up = /bin/false\n");
    ana.bryo(["start", "web"]).exits(1).stderr_contains("lxc.net.0.script.up = /bin/false");
    eventually("the device is gone", || ports(&ana).is_empty());
    ana.destroy("web");
}

fn what_no_user_can_have_is_refused_with_its_lines(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    let config = ana.lxcpath().join("web/config");
    let count = ana.run("grep", ["-c", "", &config.display().to_string()]).succeeds().stdout;
    let first: usize = count.trim().parse().unwrap_or_default();
    let lines = "lxc.net.0.type = macvlan\nlxc.net.1.type = veth\nlxc.net.1.link = lxcbr0\nlxc.net.1.veth.mode = router\n\
                 lxc.net.2.type = veth\nlxc.net.3.type = veth\nlxc.net.3.link = lxcbr0\nlxc.net.3.name = all\n";
    ana.append(".local/share/lxc/web/config", lines);
    let refused = ana.bryo(["start", "web"]).exits(1);
    let refused = refused
        .stderr_contains(&format!("config:{}:18: 'macvlan': devices of this type need root", first + 1));
    let refused = refused.stderr_contains("help: write type = veth and link = BRIDGE");
    let refused = refused.stderr_contains(&format!("config:{}:23: 'router'", first + 4));
    let refused = refused.stderr_contains(&format!("config:{}:18: 'veth': no bridge is named", first + 5));
    refused.stderr_contains(&format!("config:{}:18: 'all'", first + 8));
    ana.destroy("web");
}

fn a_network_that_cannot_be_had_is_said(lab: &Lab) {
    let ana = lab.user("ana");
    on_the_bridge(&ana, "web", "");
    let no_tun =
        "mount -t tmpfs own /mnt; mknod -m 600 /mnt/tun c 10 200; mount --bind /mnt/tun /dev/net/tun";
    let refused = ana.bryo(["start", "web"]).amid(no_tun).exits(1);
    let login = &ana.account().login;
    let refused = refused.stderr_contains(&format!(
        "web has no network: /etc/lxc/lxc-usernet grants {login} no device on lxcbr0, and neither pasta nor slirp4netns can be used"
    ));
    refused.stderr_contains("now: bryo start web --net host, which shares this machine's network; better: install the package passt");
    ana.destroy("web");
}

fn the_hosts_network_is_taken_only_by_name(lab: &Lab) {
    let ana = lab.user("ana");
    on_the_bridge(&ana, "web", "");
    ana.bryo(["--verbose", "start", "web", "--net", "host"]).succeeds().stderr_contains("network the host's");
    assert!(inside(&ana, "ip -o link").contains("lxcbr0"));
    ana.bryo(["stop", "-k", "web"]).succeeds();
    ana.bryo(["start", "web", "--net", "loopback"]).succeeds();
    assert_eq!(inside(&ana, "ip -o link").lines().count(), 1);
    ana.destroy("web");
}

fn a_dry_run_shows_the_device(lab: &Lab) {
    let ana = lab.user("ana");
    grant(lab, 2);
    on_the_bridge(
        &ana,
        "web",
        "lxc.net.0.hwaddr = 10:66:6a:01:02:03\nlxc.net.0.ipv4.address = 10.0.3.7/24\nlxc.net.0.ipv4.gateway = auto\n",
    );
    let shown = ana.bryo(["start", "web", "--dry-run"]).succeeds();
    let shown = shown.stdout_contains("network       veth on lxcbr0\n");
    shown.stdout_contains(
        "device        eth0 on lxcbr0, 10:66:6a:01:02:03, 10.0.3.7/24, gateway 10.0.3.1, up\n",
    );
    assert!(ports(&ana).is_empty());
    ana.destroy("web");
}

fn info_and_ls_show_addresses(lab: &Lab) {
    let ana = running(lab, "lxc.net.0.ipv4.address = 10.0.3.7/24\nlxc.net.0.ipv6.address = fd00::7/64\n");
    let port = ports(&ana).remove(0);
    inside(&ana, "ping -c1 -W5 10.0.3.1");
    let told = ana.lxc("info", ["-n", "web"]).succeeds();
    let told = told.stdout_contains("IP:             10.0.3.7\nIP:             fd00::7\n");
    told.stdout_contains(&format!("Link:           {port}\n TX bytes:      "));
    ana.lxc("info", ["-n", "web", "-iH"]).succeeds().stdout_is("10.0.3.7\nfd00::7\n");
    ana.lxc("ls", ["-f", "-F", "NAME,INTERFACE,IPV4,IPV6"])
        .succeeds()
        .stdout_is("NAME INTERFACE IPV4     IPV6    \nweb  eth0      10.0.3.7 fd00::7 \n");
    let told = ana.bryo(["info", "web", "--json"]).succeeds().json();
    assert_eq!(told["interfaces"][0]["addresses"][0], "10.0.3.7", "{told:#}");
    assert_eq!(told["links"][0], port.as_str(), "{told:#}");
    // What the container calls its device is shown, and nothing that a terminal would obey.
    inside(&ana, "ip link set eth0 down; ip link set eth0 name $(printf 'e\\033[2J'); ");
    let shown = ana.lxc("ls", ["-f", "-F", "INTERFACE"]).succeeds().stdout;
    assert!(shown.contains("e\u{fffd}[2J") && !shown.contains('\u{1b}'), "{shown:?}");
    ana.destroy("web");
}

/// Serves a page of the lab's own at 10.0.3.1, an address that no container has.
const SERVE: &str = "mkdir -p www; echo moss >www/index.html; exec busybox httpd -f -p 10.0.3.1:8080 -h www";

/// Fetches the page. The static busybox' wget needs files of the C library, and its nc ends with what it reads.
fn fetch(address: &str) -> String {
    format!(
        "(printf 'GET / HTTP/1.0\\r\\n\\r\\n'; sleep 2) | timeout 10 busybox nc -w 5 {address} 8080 | tail -n 1"
    )
}

fn fetches(user: &User<'_>, server: &User<'_>) {
    let _server = server.sh(SERVE).background();
    let fetch = fetch("10.0.3.1");
    within(60, "the page is fetched", || {
        user.lxc("attach", ["-n", "web", "--", "sh", "-c", &fetch]).output().stdout == "moss\n"
    });
}

fn without_a_line_the_network_is_in_user_mode(lab: &Lab) {
    let (ana, ben) = (lab.user("ana"), lab.user("ben"));
    on_the_bridge(&ana, "web", "lxc.net.0.name = wan0\n");
    let started = ana.bryo(["--verbose", "start", "web"]).succeeds();
    let started = started.stderr_contains("network pasta");
    started.stderr_contains("no device on lxcbr0: a network in user mode takes its place");
    assert!(inside(&ana, "ip -o addr show wan0").contains("192.0.2.2/24"));
    fetches(&ana, &ben);
    ana.bryo(["stop", "-k", "web"]).succeeds();
    assert!(!ana.processes().iter().any(|process| process.command.contains("pasta")));
    ana.destroy("web");
}

fn user_mode_in_a_bridges_place_keeps_what_it_can_and_names_the_rest(lab: &Lab) {
    let ana = lab.user("ana");
    let lines = "lxc.net.0.mtu = 1400\nlxc.net.0.hwaddr = 10:66:6a:01:02:03\nlxc.net.0.script.up = /bin/false\n\
                 lxc.net.0.ipv4.address = 10.0.3.7/24\n";
    on_the_bridge(&ana, "web", lines);
    for (without, hwaddr) in [("true", ""), (NO_PASTA, "lxc.net.0.hwaddr, ")] {
        let started = ana.bryo(["start", "web"]).amid(without).succeeds();
        let dropped = format!("{hwaddr}lxc.net.0.ipv4.address, lxc.net.0.script.up");
        started.stderr_contains(&format!("not applied in user mode: {dropped}\n"));
        let device = inside(&ana, "ip addr show dev eth0");
        assert_eq!(device.contains("10:66:6a:01:02:03"), hwaddr.is_empty(), "{device}");
        assert!(device.contains("mtu 1400"), "{device}");
        assert!(!device.contains("10.0.3.7"), "{device}");
        ana.bryo(["stop", "-k", "web"]).succeeds();
    }
    ana.destroy("web");
}

/// Runs each command of the consoles in `docs/network.md`, and looks for the lines below it in what is printed; `...` is anything.
fn the_guide_to_networks_says_what_is_printed(lab: &Lab) {
    let file = tests::subject::source_root().join("docs/network.md");
    let text = std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let consoles = text.split("```console\n").skip(1).filter_map(|rest| Some(rest.split_once("```")?.0));
    let consoles: Vec<&str> = consoles.collect();
    assert_eq!(consoles.len(), 4);
    let ana = lab.user("ana");
    ana.write(".config/lxc/default.conf", "");
    ana.busybox("web");
    for (number, console) in consoles.into_iter().enumerate() {
        if number == 3 {
            grant(lab, 1);
        }
        for command in console.split("$ ").skip(1) {
            let (line, shown) = command.split_once('\n').unwrap_or((command, ""));
            let said = ana.sh(&format!("{line} 2>&1")).succeeds().stdout;
            let wrong = shown.lines().find(|wanted| !said.lines().any(|line| is_like(line, wanted)));
            assert_eq!(wrong, None, "{line} prints\n{said}");
        }
    }
    ana.destroy("web");
}

/// Tells whether a line is as the guide shows it.
fn is_like(line: &str, shown: &str) -> bool {
    let mut rest = line.trim_end();
    let mut pieces = shown.split("...").peekable();
    let begins = pieces.next().is_none_or(|first| {
        let found = rest.strip_prefix(first);
        rest = found.unwrap_or(rest);
        found.is_some()
    });
    let has_more = pieces.peek().is_some();
    let follows = pieces.all(|piece| {
        let found = rest.split_once(piece);
        rest = found.map_or(rest, |(_, after)| after);
        found.is_some()
    });
    begins && follows && (has_more || rest.is_empty())
}

/// A host without pasta: its name leads to a device, which is no program.
const NO_PASTA: &str = "mount --bind /dev/null /usr/bin/pasta";

fn slirp4netns_takes_the_place_of_pasta(lab: &Lab) {
    let (ana, ben) = (lab.user("ana"), lab.user("ben"));
    on_the_bridge(&ana, "web", "");
    ana.bryo(["--verbose", "start", "web"]).amid(NO_PASTA).succeeds().stderr_contains("network slirp4netns");
    fetches(&ana, &ben);
    ana.destroy("web");
}

fn a_command_without_configuration_reaches_the_network(lab: &Lab) {
    let (ana, ben) = (lab.user("ana"), lab.user("ben"));
    ana.write(".config/lxc/default.conf", "");
    let _server = ben.sh(SERVE).background();
    eventually("the page is served", || {
        ben.sh("busybox wget -q -O - http://10.0.3.1:8080/").output().status() == 0
    });
    ana.bryo(["run", "--", "sh", "-c", &fetch("10.0.3.1")]).succeeds().stdout_is("moss\n");
}

fn the_program_for_user_mode_ends_with_a_killed_monitor(lab: &Lab) {
    let ana = lab.user("ana");
    on_the_bridge(&ana, "web", "");
    ana.bryo(["start", "web"]).succeeds();
    let runs = || ana.processes().iter().any(|process| process.command.contains("pasta"));
    assert!(runs());
    kill_the_monitor(&ana);
    eventually("pasta is gone", || !runs());
    ana.destroy("web");
}

fn names_are_found_in_user_mode(lab: &Lab) {
    let (ana, ben) = (lab.user("ana"), lab.user("ben"));
    ana.write(".config/lxc/default.conf", "");
    let _names = ben
        .sh("exec dnsmasq --keep-in-foreground --no-resolv --no-hosts --conf-file=/dev/null --pid-file= --port=53 \
             --listen-address=10.0.3.1 --bind-interfaces --address=/moss.example/192.0.2.77")
        .amid("echo 53 >/proc/sys/net/ipv4/ip_unprivileged_port_start")
        .background();
    let resolver = "mount -t tmpfs own /mnt; printf 'nameserver 10.0.3.1\\nsearch example\\n' >/mnt/resolv.conf; \
                    mount --bind /mnt/resolv.conf /etc/resolv.conf";
    let look = "cat /etc/resolv.conf; getent hosts moss.example";
    within(60, "the name is found", || {
        let said = ana.bryo(["run", "--", "sh", "-c", look]).amid(resolver).output().stdout;
        said.contains("search example\n") && said.contains("192.0.2.77")
    });
}

fn user_mode_has_ipv6_where_the_host_has(lab: &Lab) {
    let (ana, ben) = (lab.user("ana"), lab.user("ben"));
    // On the host itself, for as long as the lab is there.
    let uplink =
        "ip address add 2001:db8::2/64 dev uplink nodad; ip route add default via 2001:db8::1 dev uplink
                  ip address add fd00:5::1/64 dev lxcbr0 nodad";
    ben.run("true", [""; 0]).amid(uplink).succeeds();
    let _server = ben.sh(&SERVE.replace("10.0.3.1:8080", "[fd00:5::1]:8080")).background();
    on_the_bridge(&ana, "web", "");
    ana.bryo(["start", "web"]).succeeds();
    assert!(inside(&ana, "ip -6 addr show dev eth0").contains("2001:db8::2/64"));
    let fetch = fetch("fd00:5::1");
    within(60, "the page is fetched", || {
        ana.lxc("attach", ["-n", "web", "--", "sh", "-c", &fetch]).output().stdout == "moss\n"
    });
    ana.destroy("web");
}

fn scripts_and_hooks_come_in_lxcs_order(lab: &Lab) {
    let ana = lab.user("ana");
    grant(lab, 1);
    let said = ana.home().join("said");
    let say = |what: &str| format!("sh -c 'echo {what} >>{}' #", said.display());
    let hooks = ["pre-start", "start-host", "stop", "post-stop"];
    let hooks: String = hooks.iter().map(|hook| format!("lxc.hook.{hook} = {}\n", say(hook))).collect();
    let scripts = format!("lxc.net.0.script.up = {}\nlxc.net.0.script.down = {}\n", say("up"), say("down"));
    on_the_bridge(&ana, "web", &(hooks + &scripts));
    ana.bryo(["start", "web"]).succeeds();
    ana.bryo(["stop", "-k", "web"]).succeeds();
    ana.sh("cat said").succeeds().stdout_is("pre-start\nup\nstart-host\ndown\nstop\npost-stop\n");
    ana.destroy("web");
}

fn a_command_in_a_cell_runs_without_configuration(lab: &Lab) {
    let ana = lab.user("ana");
    ana.write(".config/lxc/default.conf", "");
    ana.bryo(["run", "--", "echo", "moss"]).succeeds().stdout_is("moss\n");
}

fn without_a_way_out_a_command_still_runs(lab: &Lab) {
    let ana = lab.user("ana");
    ana.write(".config/lxc/default.conf", "");
    let no_programs = "mount --bind /bin/false /usr/bin/pasta; mount --bind /bin/false /usr/bin/slirp4netns";
    let ran =
        ana.bryo(["--verbose", "run", "--", "echo", "moss"]).amid(no_programs).succeeds().stdout_is("moss\n");
    ran.stderr_contains("no network but loopback: starting pasta");
}

fn services_of_the_hosts_loopback_are_not_reached(lab: &Lab) {
    let (ana, ben) = (lab.user("ana"), lab.user("ben"));
    on_the_bridge(&ana, "web", "");
    ana.bryo(["start", "web"]).succeeds();
    let serve = SERVE.replace("10.0.3.1", "127.0.0.1");
    let _server = ben.sh(&serve).background();
    eventually("the page is served", || {
        ben.sh("busybox wget -q -O - http://127.0.0.1:8080/").output().status() == 0
    });
    for address in ["127.0.0.1", "192.0.2.1", "192.0.2.2"] {
        let got = ana.lxc("attach", ["-n", "web", "--", "sh", "-c", &fetch(address)]).output();
        assert_ne!(got.stdout, "moss\n", "{address} leads to the host's loopback");
    }
    ana.destroy("web");
}

fn the_real_lxc_start_has_devices_by_this_lxc_user_nic(lab: &Lab) {
    let ana = lab.user("ana");
    grant(lab, 2);
    ana.write_config_for_real_lxc();
    ana.busybox("web");
    ana.open_home_for_real_lxc();
    ana.append(
        ".local/share/lxc/web/config",
        &format!("lxc.net =\n{ON_LXCBR0}lxc.net.0.ipv4.address = 10.0.3.7/24\nlxc.net.1.type = veth\nlxc.net.1.link = lxcbr0\n"),
    );
    let ours = "mount -t tmpfs own /mnt; printf '#!/bin/sh\\nexec /run/bryo-lab/prefix/bin/lxc-user-nic \"$@\"\\n' >/mnt/nic; \
                chmod 755 /mnt/nic; mount --bind /mnt/nic /usr/libexec/lxc/lxc-user-nic";
    ana.real_lxc("start", ["-n", "web"]).amid(ours).succeeds();
    assert!(
        ports(&ana).iter().all(|port| port.starts_with('u')) && ports(&ana).len() == 2,
        "{:?}",
        ports(&ana)
    );
    let line = ["-n", "web", "--", "sh", "-c", "ping -c1 -W5 10.0.3.1 && ip -o link show eth1"];
    ana.real_lxc("attach", line).succeeds();
    ana.real_lxc("stop", ["-n", "web", "-k"]).succeeds();
    eventually("the devices are gone", || ports(&ana).is_empty());
    ana.real_lxc("destroy", ["-n", "web"]).succeeds();
}

fn lxc_user_nic_has_no_rights_of_its_own(lab: &Lab) {
    let (ana, ben) = (lab.user("ana"), lab.user("ben"));
    grant(lab, 2);
    let space = ben.sh("exec unshare -Urn sleep 30").background();
    let of_ben = || ben.processes().into_iter().find(|process| process.command.starts_with("sleep 30"));
    eventually("the namespace is made", || of_ben().is_some());
    let pid = of_ben().map(|process| process.pid.to_string()).unwrap_or_default();
    let create = |pid: &str| ["create", "/x", "web", pid, "veth", "lxcbr0", "eth0"].map(str::to_owned);
    ana.lxc("user-nic", create(&pid)).exits(1).stderr_contains("opening the network namespace");
    ana.lxc("user-nic", create("self")).exits(1);
    ana.lxc("user-nic", ["delete", "/x", "web", "1", "veth", "lxcbr0", "x"]).exits(1);
    ana.lxc("user-nic", ["create", "/x", "web", "1", "phys", "lxcbr0", "eth0"]).exits(1);
    assert!(ports(&ana).is_empty());
    let made = ben.lxc("user-nic", create(&pid)).succeeds().stdout;
    let fields: Vec<&str> = made.trim_end().split(':').collect();
    assert_eq!((fields.len(), fields[0], fields[2]), (4, "eth0", ports(&ben)[0].as_str()), "{made}");
    drop(space);
    eventually("the device is gone", || ports(&ana).is_empty());
}
