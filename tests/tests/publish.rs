//! Published ports: the host's, that lead into a container, by each kind of network.

use tests::attack::{attacker, attacker_entry};
use tests::{Background, Lab, Output, User, eventually, within};

tests::claims! {
    ports_lead_into_a_container_in_user_mode: hybrid unified, needs Bryo, not cell INIT;
    ports_lead_into_a_container_on_a_bridge: hybrid unified, needs Bryo, not cell INIT;
    ports_lead_into_a_container_by_slirp4netns: hybrid, needs Bryo, not cell INIT;
    a_long_stream_passes_whole: hybrid, needs Bryo, not cell INIT;
    ports_of_create_last_and_those_of_start_do_not: hybrid, needs Bryo, not cell INIT;
    ports_are_shown_where_containers_are: hybrid, needs Bryo, not cell INIT;
    ports_are_back_after_a_reboot: hybrid unified, needs Bryo, not cell INIT;
    ports_are_free_after_a_stop_and_after_a_killed_monitor: hybrid unified, needs Bryo, not cell INIT;
    a_port_that_is_taken_fails_the_start_and_says_who_has_it: hybrid, needs Bryo, not cell INIT;
    a_port_of_roots_fails_the_start_with_the_line_that_mends_it: hybrid, needs Bryo, not cell INIT;
    a_network_that_is_shared_or_none_publishes_nothing: hybrid, needs Bryo;
    a_command_that_is_run_is_reached: hybrid, needs Bryo;
    a_port_is_for_loopback_unless_an_address_is_named: hybrid, needs Bryo, not cell INIT;
    what_a_file_says_wrong_is_told_with_its_line: hybrid cell, needs Bryo;
    nothing_of_an_image_publishes: hybrid, needs Bryo;
    a_file_of_another_user_publishes_nothing: hybrid, needs Bryo;
    nothing_outside_seems_to_come_from_inside: hybrid, needs Bryo, not cell INIT;
    a_container_leads_no_connection_out: hybrid, needs Bryo, not cell INIT;
    the_process_for_ports_has_no_rights_and_nothing_but_sockets: hybrid, needs Bryo, not cell INIT;
    a_container_holds_no_socket_of_the_host: hybrid, needs Bryo, not cell INIT;
    many_connections_take_a_bounded_number_of_files: hybrid, needs Bryo, not cell INIT;
    the_monitor_stays_as_small_with_ports: hybrid, needs Bryo, not cell INIT;
    a_process_for_ports_that_dies_is_replaced: hybrid unified, needs Bryo, not cell INIT;
    a_process_for_ports_that_panics_is_replaced_and_says_why: hybrid, needs Bryo Strace, not cell INIT;
    a_process_for_ports_that_cannot_be_started_is_tried_again_and_counted: hybrid, needs Bryo Strace, not cell INIT;
    ports_whose_process_dies_over_and_over_are_closed: hybrid, needs Bryo, not cell INIT;
    a_flood_of_connections_asks_for_no_addresses: hybrid, needs Bryo Strace, not cell INIT;
    who_comes_while_the_last_hook_runs_is_refused: hybrid, needs Bryo;
    a_wrong_file_of_ports_is_no_matter_of_other_keys: hybrid, needs Bryo;
    absurd_ranges_are_counted_and_not_gone_through: hybrid, needs Bryo;
}

const ON_LXCBR0: &str = "lxc.net.0.type = veth\nlxc.net.0.link = lxcbr0\nlxc.net.0.flags = up\n\
                         lxc.net.0.ipv4.address = 10.0.3.7/24\nlxc.net.0.ipv6.address = fd00::7/64\n";

/// The ports of most tests.
const PORTS: [&str; 4] = ["-p", "8080:80", "-p", "8080:80/udp"];

/// A container of busybox that asks for a device on the lab's bridge, and has the program that serves.
fn make(user: &User<'_>) {
    user.write(".config/lxc/default.conf", &format!("{ON_LXCBR0}{}", attacker_entry()));
    user.busybox("web");
}

fn grant(lab: &Lab) {
    let lines = lab.users().into_iter().map(|user| format!("{} veth lxcbr0 4\n", user.account().login));
    lab.grant(&lines.collect::<String>());
}

/// Starts the container with the usual ports, and a service inside.
fn started<'lab>(user: &User<'lab>) -> Background {
    make(user);
    let start = [&["--verbose", "start", "web"][..], &PORTS].concat();
    user.bryo(start).succeeds();
    served(user, &["80"])
}

/// Starts it with a log of its own, and returns the log's path inside the lab.
fn started_with_log(user: &User<'_>) -> (Background, std::path::PathBuf) {
    make(user);
    let log = user.lxcpath().join("web/log");
    user.append(".local/share/lxc/web/config", &format!("lxc.log.file = {}\n", log.display()));
    user.bryo([&["start", "web"][..], &PORTS].concat()).succeeds();
    (served(user, &["80"]), log)
}

fn served(user: &User<'_>, words: &[&str]) -> Background {
    let serve = [&["-n", "web", "--", "/attacker", "serve"][..], words].concat();
    user.lxc("attach", serve).seconds(300).background()
}

/// Asks once, from the host, as another user.
fn ask(user: &User<'_>, protocol: &str, address: &str) -> Output {
    user.run(attacker(), ["ask", protocol, address, "moss"]).output()
}

/// Asks until somebody answers, and returns who seems to have asked.
fn asker(user: &User<'_>, protocol: &str, address: &str) -> String {
    let mut who = String::new();
    within(60, &format!("{protocol} {address} answers"), || {
        let said = ask(user, protocol, address).stdout;
        who = said.strip_suffix(" moss\n").unwrap_or_default().to_owned();
        !who.is_empty()
    });
    who
}

/// Waits until another process than `before` takes what comes to the ports of web.
fn successor(user: &User<'_>, before: i32) -> tests::Process {
    let mut found = None;
    within(60, "another process takes its place", || {
        found = forwarder(user).filter(|process| process.pid != before);
        found.is_some()
    });
    found.expect("it was found")
}

/// strace on a process, by root, until it is dropped or the process ends.
struct Traced(std::process::Child);

impl Traced {
    fn new(pid: i32, log: &std::path::Path, expression: &str) -> Self {
        let child = std::process::Command::new("strace")
            .args(["-qq", "-p", &pid.to_string(), "-e", expression, "-o"])
            .arg(log)
            .stderr(std::process::Stdio::null())
            .spawn();
        let traced = Self(child.expect("strace starts"));
        within(60, "strace has the process", || {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            status.lines().any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0"))
        });
        traced
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        // By SIGTERM it lets go of the process.
        let pid = rustix::process::Pid::from_child(&self.0);
        let _ended = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _reaped = self.0.wait();
    }
}

/// The process that takes what comes to the ports of web.
fn forwarder(user: &User<'_>) -> Option<tests::Process> {
    user.processes().into_iter().find(|process| process.command.contains("forward web"))
}

/// The monitor of the only container that runs.
fn monitor(user: &User<'_>) -> tests::Process {
    let found = user.monitors().into_iter().find(|process| !process.command.contains("forward"));
    found.expect("a monitor runs")
}

fn answers_by_all_ways(ben: &User<'_>, address: &str) {
    for (protocol, at) in [("tcp", "127.0.0.1"), ("udp", "127.0.0.1"), ("tcp", "[::1]"), ("udp", "[::1]")] {
        let who = asker(ben, protocol, &format!("{at}:8080"));
        assert!(who == address || at == "[::1]" && who == "fd00::7", "{protocol} {at} is {who} inside");
    }
}

fn ports_lead_into_a_container_in_user_mode(lab: &Lab) {
    let (ana, ben) = (lab.user("ana"), lab.user("ben"));
    let _service = started(&ana);
    ana.bryo(["info", "web"]).succeeds().stdout_contains("network    pasta\n");
    answers_by_all_ways(&ben, "192.0.2.2");
    ana.destroy("web");
}

fn ports_lead_into_a_container_on_a_bridge(lab: &Lab) {
    let (ana, ben) = (lab.user("ana"), lab.user("ben"));
    grant(lab);
    let _service = started(&ana);
    ana.bryo(["info", "web"]).succeeds().stdout_contains("network    veth on lxcbr0\n");
    answers_by_all_ways(&ben, "10.0.3.7");
    assert_eq!(asker(&ben, "tcp", "[::1]:8080"), "fd00::7");
    ana.destroy("web");
}

fn ports_lead_into_a_container_by_slirp4netns(lab: &Lab) {
    let (ana, ben) = (lab.user("ana"), lab.user("ben"));
    make(&ana);
    let start = [&["--verbose", "start", "web"][..], &PORTS].concat();
    let started = ana.bryo(start).amid("mount --bind /dev/null /usr/bin/pasta").succeeds();
    started.stderr_contains("network slirp4netns").stderr_contains("localhost:8080 -> 80/tcp");
    let _service = served(&ana, &["80"]);
    answers_by_all_ways(&ben, "10.0.2.100");
    ana.destroy("web");
}

fn a_long_stream_passes_whole(lab: &Lab) {
    let (ana, ben) = (lab.user("ana"), lab.user("ben"));
    grant(lab);
    let _service = started(&ana);
    asker(&ben, "tcp", "127.0.0.1:8080");
    let passed = ben.run(attacker(), ["flood", "127.0.0.1:8080", "20000000"]).seconds(120).succeeds();
    passed.stdout_is("20000\n");
    ana.destroy("web");
}

fn ports_of_create_last_and_those_of_start_do_not(lab: &Lab) {
    let (ana, ben) = (lab.user("ana"), lab.user("ben"));
    grant(lab);
    ana.write(".config/lxc/default.conf", &format!("{ON_LXCBR0}{}", attacker_entry()));
    let archive = "/run/bryo-lab/rootfs/busybox.tar.zst";
    ana.bryo(["create", "web", archive, "-p", "8080:80"]).succeeds();
    ana.bryo(["config", "get", "web", "publish"]).succeeds().stdout_is("8080:80\n");
    ana.bryo(["start", "web", "-p", "8081:80"]).succeeds();
    let service = served(&ana, &["80"]);
    asker(&ben, "tcp", "127.0.0.1:8080");
    asker(&ben, "tcp", "127.0.0.1:8081");
    drop(service);
    ana.bryo(["config", "set", "web", "publish", "8082:80"]).succeeds().stderr_contains("next start");
    ana.bryo(["restart", "-t", "0", "web"]).succeeds();
    let _service = served(&ana, &["80"]);
    asker(&ben, "tcp", "127.0.0.1:8080");
    asker(&ben, "tcp", "127.0.0.1:8082");
    assert_ne!(ask(&ben, "tcp", "127.0.0.1:8081").status(), 0);
    ana.bryo(["config", "unset", "web", "publish", "8080:80"]).succeeds();
    ana.bryo(["config", "get", "web", "publish", "--json"]).succeeds().stdout_contains("\"8082:80\"");
    ana.bryo(["config", "unset", "web", "publish", "8080:80"])
        .exits(1)
        .stderr_contains("does not publish 8080:80");
    ana.bryo(["config", "set", "web", "publish", "*:8082:81"]).exits(1).stderr_contains("published twice");
    ana.bryo(["config", "unset", "web", "publish"]).succeeds();
    assert!(!ana.lxcpath().join("web/bryo.toml").exists());
    ana.destroy("web");
}

fn ports_are_shown_where_containers_are(lab: &Lab) {
    let ana = lab.user("ana");
    grant(lab);
    make(&ana);
    ana.bryo(["start", "web", "--dry-run", "-p", "8000-8001:80-81"])
        .succeeds()
        .stdout_contains("published     localhost:8000-8001 -> 80-81/tcp\n");
    ana.bryo(["start", "web", "-p", "8000-8001:80-81", "-p", "127.0.0.1:53000:53/udp"]).succeeds();
    let shown = ana.bryo(["info", "web"]).succeeds();
    shown.stdout_contains(
        "Published  localhost:8000-8001 -> 80-81/tcp\nPublished  127.0.0.1:53000 -> 53/udp\n",
    );
    let told = ana.bryo(["info", "web", "--json"]).succeeds().json();
    assert_eq!(told["published"][1], "127.0.0.1:53000:53/udp", "{told:#}");
    assert!(told["rungs"]["published"].is_null(), "{told:#}");
    let told = ana.bryo(["ls", "--json"]).succeeds().json();
    assert_eq!(told[0]["published"][0], "8000-8001:80-81", "{told:#}");
    ana.bryo(["ls"])
        .succeeds()
        .stdout_contains("localhost:8000-8001 -> 80-81/tcp, 127.0.0.1:53000 -> 53/udp");
    ana.bryo(["stop", "-k", "web"]).succeeds();
    ana.bryo(["ls"]).succeeds().stdout_lacks("PORTS");
    ana.destroy("web");
}

fn ports_are_back_after_a_reboot(lab: &Lab) {
    let (ana, ben) = (lab.user("ana"), lab.user("ben"));
    grant(lab);
    let service = started(&ana);
    asker(&ben, "tcp", "127.0.0.1:8080");
    let before = ana.init_of("web");
    ana.lxc("stop", ["-n", "web", "-r"]).succeeds();
    drop(service);
    eventually("a new init", || {
        let now = ana.lxc("info", ["-n", "web", "-pH"]).output().stdout;
        !now.is_empty() && now.trim() != before.to_string()
    });
    let _service = served(&ana, &["80"]);
    asker(&ben, "tcp", "127.0.0.1:8080");
    asker(&ben, "udp", "127.0.0.1:8080");
    ana.destroy("web");
}

fn ports_are_free_after_a_stop_and_after_a_killed_monitor(lab: &Lab) {
    let (ana, ben) = (lab.user("ana"), lab.user("ben"));
    grant(lab);
    let service = started(&ana);
    asker(&ben, "tcp", "127.0.0.1:8080");
    ana.bryo(["stop", "-k", "web"]).succeeds();
    drop(service);
    assert!(forwarder(&ana).is_none());
    assert_ne!(ask(&ben, "tcp", "127.0.0.1:8080").status(), 0);
    ana.bryo([&["start", "web"][..], &PORTS].concat()).succeeds();
    monitor(&ana).kill();
    eventually("no process is left that has the port", || forwarder(&ana).is_none());
    eventually("the port is free", || {
        ben.run(attacker(), ["ask", "tcp", "127.0.0.1:8080", "x"]).output().status() != 0
    });
    ana.bryo([&["start", "web"][..], &PORTS].concat()).succeeds();
    let _service = served(&ana, &["80"]);
    asker(&ben, "tcp", "127.0.0.1:8080");
    ana.destroy("web");
}

fn a_port_that_is_taken_fails_the_start_and_says_who_has_it(lab: &Lab) {
    let (ana, ben) = (lab.user("ana"), lab.user("ben"));
    make(&ana);
    ana.append(
        ".local/share/lxc/web/config",
        "lxc.hook.pre-start = touch $HOME/has-begun; touch /tmp/has-begun\n",
    );
    let taken = |by: &str| {
        let refused = ana.bryo(["start", "web", "-p", "8080:80"]).exits(1);
        let refused = refused.stderr_contains("publishing 127.0.0.1:8080 -> 80/tcp");
        refused.stderr_contains(&format!("port 8080/tcp of 127.0.0.1 is taken by {by}"));
        assert!(!ana.lxcpath().join("web/.bryo").exists(), "something is left");
    };
    let serve = |user: &User<'_>| {
        let service = user.run(attacker(), ["serve", "8080", "127.0.0.1"]).background();
        asker(&ben, "tcp", "127.0.0.1:8080");
        service
    };
    let other = serve(&ben);
    taken(&format!("a process of {}", ben.account().login));
    drop(other);
    let own = serve(&ana);
    taken("process ");
    drop(own);
    // Another container of one's own.
    ana.write(".config/lxc/default.conf", ON_LXCBR0);
    ana.busybox("db");
    ana.bryo(["start", "db", "-p", "8080:80"]).succeeds();
    taken("the container db");
    assert!(!lab.outside("/tmp/has-begun".as_ref()).exists(), "a hook has run");
    ana.destroy("db");
    ana.destroy("web");
}

fn a_port_of_roots_fails_the_start_with_the_line_that_mends_it(lab: &Lab) {
    let ana = lab.user("ana");
    make(&ana);
    let refused = ana.bryo(["start", "web", "-p", "80:80"]).exits(1);
    let refused = refused.stderr_contains("port 80 is root's: net.ipv4.ip_unprivileged_port_start is 1024");
    refused.stderr_contains("sudo sysctl net.ipv4.ip_unprivileged_port_start=80,");
    let mended = "echo 80 >/proc/sys/net/ipv4/ip_unprivileged_port_start";
    ana.bryo(["start", "web", "-p", "80:80"]).amid(mended).succeeds();
    ana.destroy("web");
}

fn a_network_that_is_shared_or_none_publishes_nothing(lab: &Lab) {
    let ana = lab.user("ana");
    make(&ana);
    let start = |net: &str| ana.bryo(["start", "web", "-p", "8080:80", "--net", net]).exits(1);
    start("host").stderr_contains("why: web shares this machine's network, where its services listen");
    start("loopback").stderr_contains("why: web has no network but loopback; --net user gives it one");
    ana.bryo(["start", "web", "-p", "8080"]).exits(2).stderr_contains("such as 8080:8080");
    ana.destroy("web");
}

fn a_command_that_is_run_is_reached(lab: &Lab) {
    let (ana, ben) = (lab.user("ana"), lab.user("ben"));
    ana.write(".config/lxc/default.conf", "");
    let program = attacker();
    let share = format!("{program}:/attacker:ro");
    let serve = ["run", "-p", "8080:80", "-v", &share, "-u", "root", "--", "/attacker", "serve", "8000"];
    let words: Vec<&str> =
        serve.iter().map(|word| if *word == "8080:80" { "8080:8000" } else { word }).collect();
    let _run = ana.bryo(words).seconds(120).background();
    assert_eq!(asker(&ben, "tcp", "127.0.0.1:8080"), "192.0.2.2");
}

fn a_port_is_for_loopback_unless_an_address_is_named(lab: &Lab) {
    let (ana, ben) = (lab.user("ana"), lab.user("ben"));
    let _service = started(&ana);
    asker(&ben, "tcp", "127.0.0.1:8080");
    assert_ne!(ask(&ben, "tcp", "10.0.3.1:8080").status(), 0);
    ana.bryo(["stop", "-k", "web"]).succeeds();
    ana.bryo(["start", "web", "-p", "*:8080:80", "-p", "10.0.3.1:8081:80"]).succeeds();
    let _service = served(&ana, &["80"]);
    for address in ["10.0.3.1:8080", "127.0.0.1:8080", "10.0.3.1:8081"] {
        asker(&ben, "tcp", address);
    }
    assert_ne!(ask(&ben, "tcp", "127.0.0.1:8081").status(), 0);
    ana.bryo(["stop", "-k", "web"]).succeeds();
    let refused = ana.bryo(["start", "web", "-p", "198.51.100.1:8080:80"]).exits(1);
    refused.stderr_contains("this machine has no address 198.51.100.1");
    ana.destroy("web");
}

fn what_a_file_says_wrong_is_told_with_its_line(lab: &Lab) {
    let ana = lab.user("ana");
    ana.bryo(["create", "web", "-t", "none", "-p", "8080:80"]).succeeds();
    ana.append(".local/share/lxc/web/bryo.toml", "ports = []\n");
    let refused = ana
        .bryo(["start", "web"])
        .exits(1)
        .stderr_contains("bryo.toml:5:1: there is no setting 'ports' here");
    refused.stderr_contains("help: write publish");
    // Which is no matter of other keys, and mended by taking all back.
    ana.bryo(["config", "get", "web", "lxc.uts.name"]).succeeds();
    ana.bryo(["config", "unset", "web", "publish"]).succeeds();
    ana.bryo(["config", "get", "web", "publish"]).succeeds().stdout_is("\n");
    ana.destroy("web");
}

/// An archive with the file at its top, and beside the metadata.
fn nothing_of_an_image_publishes(lab: &Lab) {
    let ana = lab.user("ana");
    ana.sh(
        "mkdir -p image/bin meta; cp /bin/busybox image/bin/sh; cp /bin/busybox image/bin/init
         for dir in image meta; do echo 'publish = [\"8080:80\"]' >$dir/bryo.toml; done
         echo 'lxc.include = LXC_TEMPLATE_CONFIG/common.conf' >meta/config; echo >meta/templates; date +%s >meta/expiry
         tar -C image -cf image.tar .; tar -C meta -cf meta.tar .",
    )
    .succeeds();
    let publishes_nothing = || {
        assert!(!ana.lxcpath().join("web/bryo.toml").exists());
        ana.bryo(["config", "get", "web", "publish"]).succeeds().stdout_is("\n");
        ana.bryo(["start", "web", "--dry-run"]).succeeds().stdout_lacks("8080");
        ana.destroy("web");
    };
    ana.bryo(["create", "web", "./image.tar"]).succeeds();
    publishes_nothing();
    ana.bryo(["create", "web", "./image"]).succeeds();
    publishes_nothing();
    ana.bryo(["create", "web", "-t", "local", "--", "-m", "meta.tar", "-f", "image.tar"]).succeeds();
    publishes_nothing();
}

fn a_file_of_another_user_publishes_nothing(lab: &Lab) {
    let (ana, ben) = (lab.user("ana"), lab.user("ben"));
    make(&ana);
    ana.write(".local/share/lxc/web/bryo.toml", "publish = [\"8080:80\"]\n");
    let path = ana.lxcpath().join("web/bryo.toml");
    let given = std::os::unix::fs::chown(&path, Some(ben.account().uid), None);
    assert!(given.is_ok(), "{given:?}");
    ana.bryo(["start", "web"]).exits(1).stderr_contains(&format!("belongs to user {}", ben.account().uid));
    ana.destroy("web");
}

/// What trusts whoever comes from loopback is right to, and what listens there alone is not reached.
fn nothing_outside_seems_to_come_from_inside(lab: &Lab) {
    let (ana, ben) = (lab.user("ana"), lab.user("ben"));
    let service = started(&ana);
    for protocol in ["tcp", "udp"] {
        for address in ["127.0.0.1:8080", "[::1]:8080"] {
            let who = asker(&ben, protocol, address);
            assert!(!who.starts_with("127.") && who != "::1", "{protocol} {address} is {who} inside");
        }
    }
    drop(service);
    ana.bryo(["stop", "-k", "web"]).succeeds();
    ana.bryo(["start", "web", "-p", "8080:80"]).succeeds();
    let _service = served(&ana, &["80", "127.0.0.1"]);
    eventually("it serves inside", || {
        let ask = ["-n", "web", "--", "/attacker", "ask", "tcp", "127.0.0.1:80", "moss"];
        ana.lxc("attach", ask).output().stdout == "127.0.0.1 moss\n"
    });
    assert_eq!(ask(&ben, "tcp", "127.0.0.1:8080").stdout, "");
    ana.destroy("web");
}

/// The container takes each address of the host as its own, and sends all packets elsewhere.
fn a_container_leads_no_connection_out(lab: &Lab) {
    let (ana, ben) = (lab.user("ana"), lab.user("ben"));
    grant(lab);
    let _of_the_host = ben
        .run(attacker(), ["serve", "80"])
        .amid("echo 80 >/proc/sys/net/ipv4/ip_unprivileged_port_start")
        .background();
    asker(&ben, "tcp", "127.0.0.1:80");
    make(&ana);
    ana.bryo([&["start", "web"][..], &PORTS].concat()).succeeds();
    for line in [
        "true",
        "ip addr add 127.0.0.1/8 dev eth0 || true",
        "ip addr flush dev eth0; ip addr add 127.0.0.5/32 dev eth0; ip route add default dev eth0 || true",
        "ip addr add 10.0.3.1/32 dev eth0",
        "ip addr flush dev eth0; ip link set lo down",
        "ip link set eth0 down",
    ] {
        ana.lxc("attach", ["-n", "web", "--", "sh", "-c", line]).output();
        for protocol in ["tcp", "udp"] {
            let said = ask(&ben, protocol, "127.0.0.1:8080");
            assert_eq!(said.stdout, "", "after {line}, {protocol} leads somewhere");
        }
    }
    asker(&ben, "tcp", "127.0.0.1:80");
    ana.destroy("web");
}

fn the_process_for_ports_has_no_rights_and_nothing_but_sockets(lab: &Lab) {
    use std::os::unix::fs::MetadataExt;
    let (ana, ben) = (lab.user("ana"), lab.user("ben"));
    let _service = started(&ana);
    asker(&ben, "tcp", "127.0.0.1:8080");
    let process = forwarder(&ana).expect("it runs");
    let path = format!("/proc/{}", process.pid);
    let status = std::fs::read_to_string(format!("{path}/status")).unwrap_or_default();
    for line in [
        "CapEff:\t0000000000000000",
        "CapPrm:\t0000000000000000",
        "CapBnd:\t0000000000000000",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
    ] {
        assert!(status.contains(line), "no {line} in\n{status}");
    }
    let limits = std::fs::read_to_string(format!("{path}/limits")).unwrap_or_default();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap_or_default();
    let soft = files.split_ascii_whitespace().nth(3).and_then(|soft| soft.parse::<u64>().ok());
    assert!(soft.is_some_and(|soft| soft <= 4096), "{files}");
    // What is not dumpable shows as root's.
    assert_eq!(std::fs::metadata(format!("{path}/environ")).map(|found| found.uid()).ok(), Some(0));
    assert_eq!(ana.namespace_of(process.pid, "net"), ana.namespace_of(ana.init_of("web"), "net"));
    let fds = std::fs::read_dir(format!("{path}/fd")).into_iter().flatten().flatten();
    for fd in fds {
        let target = std::fs::read_link(fd.path()).unwrap_or_default().display().to_string();
        let is_fine = ["socket:", "pipe:", "/dev/null"].iter().any(|start| target.starts_with(start));
        assert!(is_fine, "it has {target}");
    }
    // Of the container nobody sees it.
    let seen = ana
        .lxc("attach", ["-n", "web", "--", "sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"])
        .succeeds();
    seen.stdout_lacks("forward");
    ana.destroy("web");
}

fn a_container_holds_no_socket_of_the_host(lab: &Lab) {
    let ana = lab.user("ana");
    let _service = started(&ana);
    let inodes = |text: &str| -> Vec<String> {
        text.split("socket:[").skip(1).filter_map(|rest| rest.split(']').next()).map(str::to_owned).collect()
    };
    let monitors = ana.monitors();
    let monitor =
        monitors.iter().find(|process| !process.command.contains("forward")).expect("a monitor runs");
    let of = |pid: i32| {
        let fds = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        fds.filter_map(|fd| Some(std::fs::read_link(fd.path()).ok()?.display().to_string()))
            .collect::<String>()
    };
    let own = inodes(&of(monitor.pid));
    assert!(own.len() >= 4, "the monitor has no listeners: {own:?}");
    let others = ana.processes().into_iter().filter(|process| process.uid != ana.account().uid);
    let mut looked = 0;
    for process in others {
        looked += 1;
        let held = inodes(&of(process.pid));
        assert!(held.iter().all(|inode| !own.contains(inode)), "{process} holds {held:?}");
    }
    assert!(looked > 0, "nothing of the container was looked at");
    ana.destroy("web");
}

fn many_connections_take_a_bounded_number_of_files(lab: &Lab) {
    let (ana, ben) = (lab.user("ana"), lab.user("ben"));
    make(&ana);
    ana.bryo([&["start", "web", "-p", "8081:80"][..], &PORTS].concat()).succeeds();
    let _service = served(&ana, &["80"]);
    asker(&ben, "tcp", "127.0.0.1:8080");
    let holding =
        ben.sh(&format!("ulimit -n 4000; exec {} hold 127.0.0.1:8080 1500", attacker())).background();
    let pid = forwarder(&ana).expect("it runs").pid;
    let count = || std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
    let (mut before, mut since) = (0, std::time::Instant::now());
    within(120, "as many connections are there as there will be", || {
        if count() > before {
            (before, since) = (count(), std::time::Instant::now());
        }
        before > 1000 && since.elapsed() > std::time::Duration::from_secs(8)
    });
    assert!(before < 2 * 768 + 400, "{before} files are open");
    assert_eq!(ask(&ben, "tcp", "127.0.0.1:8080").stdout, "", "one more was served");
    assert!(!asker(&ben, "tcp", "127.0.0.1:8081").is_empty());
    drop(holding);
    within(60, "they are gone", || count() < 50);
    asker(&ben, "tcp", "127.0.0.1:8080");
    ana.destroy("web");
}

fn the_monitor_stays_as_small_with_ports(lab: &Lab) {
    let (ana, ben) = (lab.user("ana"), lab.user("ben"));
    make(&ana);
    let held = || {
        let monitors = ana.monitors();
        let monitor = monitors.iter().find(|process| !process.command.contains("forward"));
        monitor.and_then(tests::Process::holding).expect("a monitor runs").anonymous_kb
    };
    let start = |words: &[&str]| {
        ana.bryo([&["start", "web"], words].concat()).succeeds();
        served(&ana, &["80"])
    };
    drop(start(&[]));
    let without = held();
    ana.bryo(["stop", "-k", "web"]).succeeds();
    let _service = start(&["-p", "8000:80"]);
    asker(&ben, "tcp", "127.0.0.1:8000");
    let with = held();
    assert!(with <= without + 100, "{without} kB without ports, {with} kB with one");
    ana.destroy("web");
}

/// What stands when it dies ends; what comes then is served, and the container is as it was.
fn a_process_for_ports_that_dies_is_replaced(lab: &Lab) {
    let (ana, ben) = (lab.user("ana"), lab.user("ben"));
    let _service = started(&ana);
    asker(&ben, "tcp", "127.0.0.1:8080");
    let init = ana.init_of("web");
    for _ in 0..3 {
        let first = forwarder(&ana).expect("it runs");
        let sockets = || std::fs::read_dir(format!("/proc/{}/fd", first.pid)).map_or(0, Iterator::count);
        let before = sockets();
        let standing = ben.run(attacker(), ["stay", "127.0.0.1:8080"]).background();
        within(60, "the connection stands", || sockets() == before + 2);
        first.kill();
        let next = successor(&ana, first.pid);
        standing.wait().exits(0).stdout_contains("ended\n");
        // At once, or as soon as it comes to it; no client is refused.
        assert!(ask(&ben, "tcp", "127.0.0.1:8080").stdout.ends_with(" moss\n"));
        asker(&ben, "udp", "127.0.0.1:8080");
        assert_eq!(forwarder(&ana).map(|process| process.pid), Some(next.pid));
    }
    assert_eq!(ana.init_of("web"), init);
    ana.bryo(["ls"]).succeeds().stdout_contains("localhost:8080 -> 80/tcp");
    ana.bryo(["stop", "-k", "web"]).succeeds();
    assert!(forwarder(&ana).is_none());
    assert_ne!(ask(&ben, "tcp", "127.0.0.1:8080").status(), 0);
    ana.destroy("web");
}

/// The kernel seems to say that more was written than there was.
fn a_process_for_ports_that_panics_is_replaced_and_says_why(lab: &Lab) {
    let (ana, ben) = (lab.user("ana"), lab.user("ben"));
    let (_service, log) = started_with_log(&ana);
    asker(&ben, "tcp", "127.0.0.1:8080");
    let first = forwarder(&ana).expect("it runs");
    let traced = Traced::new(first.pid, "/dev/null".as_ref(), "inject=sendto:retval=999999");
    assert_eq!(ask(&ben, "tcp", "127.0.0.1:8080").stdout, "");
    successor(&ana, first.pid);
    drop(traced);
    asker(&ben, "tcp", "127.0.0.1:8080");
    let log = std::fs::read_to_string(lab.outside(&log)).unwrap_or_default();
    let said = log.lines().find(|line| line.contains("the process for published ports has ended"));
    assert!(said.is_some_and(|said| said.contains("range start index 999999")), "{log}");
    ana.destroy("web");
}

/// The monitor's first pipe for the successor fails, as where the machine has no files left.
fn a_process_for_ports_that_cannot_be_started_is_tried_again_and_counted(lab: &Lab) {
    let (ana, ben) = (lab.user("ana"), lab.user("ben"));
    let (_service, log) = started_with_log(&ana);
    asker(&ben, "tcp", "127.0.0.1:8080");
    let first = forwarder(&ana).expect("it runs");
    let traced = Traced::new(monitor(&ana).pid, "/dev/null".as_ref(), "inject=pipe2:error=EMFILE:when=1");
    first.kill();
    let mut process = successor(&ana, first.pid);
    drop(traced);
    asker(&ben, "tcp", "127.0.0.1:8080");
    asker(&ben, "udp", "127.0.0.1:8080");
    let log = std::fs::read_to_string(lab.outside(&log)).unwrap_or_default();
    let said = log.lines().find(|line| line.contains("starting another process for published ports: "));
    assert!(said.is_some_and(|said| said.contains("(os error 24)")), "{log}");
    // Beside the first end and the start that failed four more are too many.
    for _ in 0..3 {
        process.kill();
        process = successor(&ana, process.pid);
    }
    process.kill();
    eventually("none takes its place", || forwarder(&ana).is_none());
    within(60, "the ports are told to be closed", || {
        let told = ana.bryo(["info", "web"]).output().stdout;
        told.contains("closed: the process for them has ended, or not begun, 6 times")
    });
    ana.destroy("web");
}

fn ports_whose_process_dies_over_and_over_are_closed(lab: &Lab) {
    let (ana, ben) = (lab.user("ana"), lab.user("ben"));
    let _service = started(&ana);
    asker(&ben, "tcp", "127.0.0.1:8080");
    let init = ana.init_of("web");
    let mut process = forwarder(&ana).expect("it runs");
    for _ in 0..5 {
        process.kill();
        process = successor(&ana, process.pid);
    }
    process.kill();
    eventually("none takes its place", || forwarder(&ana).is_none());
    within(60, "who asks is refused", || {
        let refused = ask(&ben, "tcp", "127.0.0.1:8080");
        refused.status() != 0 && refused.stderr.contains("refused")
    });
    assert!(forwarder(&ana).is_none());
    assert_eq!(ana.init_of("web"), init);
    let are_told_to_be_closed = || {
        let told = ana.bryo(["info", "web"]).succeeds();
        told.stdout_contains("closed: the process for them has ended, or not begun, 6 times")
            .stdout_lacks("localhost:8080");
        ana.bryo(["ls"]).succeeds().stdout_lacks("8080");
    };
    are_told_to_be_closed();
    // A reboot is the same start.
    ana.lxc("stop", ["-n", "web", "-r"]).succeeds();
    eventually("a new init", || {
        let now = ana.lxc("info", ["-n", "web", "-pH"]).output().stdout;
        !now.is_empty() && now.trim() != init.to_string()
    });
    are_told_to_be_closed();
    assert_ne!(ask(&ben, "tcp", "127.0.0.1:8080").status(), 0);
    ana.bryo([&["restart", "-t", "0", "web"][..]].concat()).succeeds();
    ana.bryo(["stop", "-k", "web"]).succeeds();
    ana.bryo([&["start", "web"][..], &PORTS].concat()).succeeds();
    let _service = served(&ana, &["80"]);
    asker(&ben, "tcp", "127.0.0.1:8080");
    ana.destroy("web");
}

/// The kernel's list is asked for once, and again when it has changed.
fn a_flood_of_connections_asks_for_no_addresses(lab: &Lab) {
    let (ana, ben) = (lab.user("ana"), lab.user("ben"));
    grant(lab);
    let _service = started(&ana);
    asker(&ben, "tcp", "127.0.0.1:8080");
    asker(&ben, "udp", "127.0.0.1:8080");
    let log = lab.outside(&ana.lxcpath().join("web/asked"));
    let pid = forwarder(&ana).expect("it runs").pid;
    let traced = Traced::new(pid, &log, "trace=socket,accept4");
    let count = |what: &str| {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        text.lines().filter(|line| line.contains(what)).count()
    };
    for _ in 0..40 {
        for protocol in ["tcp", "udp"] {
            assert!(ask(&ben, protocol, "127.0.0.1:8080").stdout.starts_with("10.0.3.7 "));
        }
    }
    assert!(count("accept4(") >= 40, "strace has not seen the connections");
    assert_eq!(count("socket(AF_NETLINK"), 0);
    let change = "ip addr add 10.9.0.8/24 dev eth0 && ip addr del 10.0.3.7/24 dev eth0";
    ana.lxc("attach", ["-n", "web", "--", "sh", "-c", change]).succeeds();
    for _ in 0..10 {
        assert_eq!(ask(&ben, "tcp", "127.0.0.1:8080").stdout, "10.9.0.8 moss\n");
    }
    // One for each question, of which there are two, and one to hear of the next change; the two changes may be two.
    let made = count("socket(AF_NETLINK");
    assert!([3, 6].contains(&made), "{made} sockets were made after one change");
    drop(traced);
    ana.destroy("web");
}

/// What can be told or done is; the rest says where the file is wrong, and what mends it.
fn who_comes_while_the_last_hook_runs_is_refused(lab: &Lab) {
    let ana = lab.user("ana");
    make(&ana);
    let tries = "{ (exec 3<>/dev/tcp/127.0.0.1/8080) 2>/dev/null && echo taken || echo refused; }";
    ana.write("last", &format!("#!/bin/bash\n{tries} >>\"{}/said\"\n", ana.home().display()));
    ana.sh("chmod +x last").succeeds();
    let hook = format!("lxc.hook.post-stop={}/last", ana.home().display());
    ana.bryo(["start", "web", "--define", &hook, "-p", "8080:80"]).succeeds();
    ana.sh("./last").succeeds();
    ana.bryo(["stop", "-k", "web"]).succeeds();
    ana.sh("cat said").succeeds().stdout_is("taken\nrefused\n");
    ana.destroy("web");
}

fn a_wrong_file_of_ports_is_no_matter_of_other_keys(lab: &Lab) {
    let ana = lab.user("ana");
    ana.bryo(["create", "web", "-t", "none", "-p", "8080:80"]).succeeds();
    let file = ".local/share/lxc/web/bryo.toml";
    ana.bryo(["config", "set", "web", "lxc.uts.name", "moss"]).succeeds();
    let text = "# mine\npublish = [\n  \"8080:80\",\n  \"80\",\n]\n";
    ana.write(file, text);
    let place = "web/bryo.toml:2:11: ";
    let mends =
        "help: mend the file; or bryo config unset web publish, which takes all its published ports back";
    let all = ana.bryo(["config", "get", "web"]).exits(1);
    all.stdout_contains("lxc.uts.name = moss\n").stderr_contains(place).stderr_contains(mends);
    let told = ana.bryo(["config", "get", "web", "--json"]).exits(1).stderr_contains(place).json();
    assert_eq!(told["lxc.uts.name"], "moss", "{told:#}");
    assert!(told["publish"].is_null(), "{told:#}");
    ana.bryo(["config", "get", "web", "lxc.uts.name"]).succeeds().stdout_is("moss\n");
    ana.bryo(["config", "get", "nosuch", "publish"]).exits(1).stdout_is("").stderr_contains("no container");
    let both = ana.bryo(["config", "get", "web", "publish", "lxc.uts.name"]).exits(1);
    both.stdout_is("lxc.uts.name = moss\n").stderr_contains(place);
    ana.bryo(["config", "set", "web", "lxc.uts.name", "fern"]).succeeds();
    for words in [["set", "web", "publish", "8081:81"], ["unset", "web", "publish", "8080:80"]] {
        let words = [&["config"][..], &words].concat();
        ana.bryo(words).exits(1).stdout_is("").stderr_contains(place).stderr_contains(mends);
    }
    ana.bryo(["start", "web"]).exits(1).stderr_contains(place).stderr_contains(mends);
    assert_eq!(ana.sh(&format!("cat {file}")).succeeds().stdout, text, "a refusal has changed the file");
    ana.bryo(["config", "unset", "web", "publish"]).succeeds();
    ana.bryo(["config", "set", "web", "publish", "8081:81"]).succeeds();
    // And what is wrong with other keys is no matter of the ports.
    ana.append(".local/share/lxc/web/config", "lxc.mosses = 1\n");
    ana.bryo(["config", "get", "web", "publish"]).succeeds().stdout_is("8081:81\n");
    ana.bryo(["config", "set", "web", "publish", "8082:82"]).succeeds();
    ana.destroy("web");
}

/// Sockets for each port would take gigabytes.
fn absurd_ranges_are_counted_and_not_gone_through(lab: &Lab) {
    let ana = lab.user("ana");
    ana.write(".config/lxc/default.conf", "");
    ana.bryo(["create", "web", "-t", "none"]).succeeds();
    let within_limits = "ulimit -v 1000000; ulimit -t 30; exec bryo";
    for verb in ["start web", "start web --dry-run", "create db -t none", "run"] {
        let options = "$(yes -- '-p 1-65535:1-65535' | head -n 1000)";
        let refused = ana.sh(&format!("{within_limits} {verb} {options}")).output();
        assert!([1, 2, 125].contains(&refused.status()), "{verb}: {}", refused.stderr);
        refused.stderr_contains("65535000 ports are published, and 128 can be");
    }
    let lines = "  \"1-65535:1-65535\",\n".repeat(3000);
    ana.write(".local/share/lxc/web/bryo.toml", &format!("publish = [\n{lines}]\n"));
    for words in ["start web", "config set web publish 8080:80"] {
        let refused = ana.sh(&format!("{within_limits} {words}")).exits(1);
        refused.stderr_contains(" ports are published, and 128 can be");
    }
    assert!(!ana.lxcpath().join("db").exists());
    ana.destroy("web");
}
