//! What a container sees of its own limits in /proc and /sys.

use std::fs;

use tests::{Lab, Process, User, eventually};

tests::claims! {
    a_container_sees_its_own_memory: hybrid, needs Bryo, not cell INIT;
    a_container_sees_its_own_processors: hybrid, needs Bryo, not cell INIT;
    a_container_is_as_old_as_it_is: hybrid unified, needs Bryo, not cell INIT;
    two_containers_see_each_their_own: hybrid, needs Bryo, not cell INIT;
    every_way_to_read_gets_the_same_bytes: hybrid unified, needs Bryo, not cell INIT;
    the_files_cannot_be_written: hybrid, needs Bryo, not cell INIT;
    one_process_serves_all_and_ends_with_the_last: hybrid unified, needs Bryo, not cell INIT;
    nobody_serves_where_it_is_not_wished: hybrid, needs Bryo, not cell INIT;
    without_the_device_a_container_starts_and_says_so: hybrid, needs Bryo, not cell INIT;
    readers_outlive_who_serves_them: hybrid unified, needs Bryo, not cell INIT;
    two_containers_are_both_served_by_the_next_process: hybrid, needs Bryo, not cell INIT;
    a_container_that_reboots_sees_its_limits_again: hybrid, needs Bryo, not cell INIT;
}

const CONFIG: &str = ".local/share/lxc/web/config";

/// Has containers of the user see their own limits.
fn wish(user: &User<'_>) {
    user.write(".config/bryo/config.toml", "[start]\nlxcfs = true\n");
}

fn with(user: &User<'_>, lines: &str) {
    wish(user);
    user.busybox("web");
    user.append(CONFIG, lines);
    user.lxc("start", ["-n", "web"]).succeeds();
}

fn inside(user: &User<'_>, name: &str, script: &str) -> String {
    user.lxc("attach", ["-n", name, "--clear-env", "--", "sh", "-c", script]).succeeds().stdout
}

/// Returns the number of a line of meminfo, in kilobytes.
fn kilobytes(text: &str, key: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    let number = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    number.unwrap_or_else(|| panic!("no {key} in\n{text}"))
}

fn a_container_sees_its_own_memory(lab: &Lab) {
    let ana = lab.user("ana");
    with(&ana, "lxc.cgroup.memory.limit_in_bytes = 96M\n");
    let before = inside(&ana, "web", "cat /proc/meminfo");
    assert_eq!(kilobytes(&before, "MemTotal"), 96 * 1024);
    assert!(kilobytes(&before, "MemFree") <= 96 * 1024);
    let used = inside(
        &ana,
        "web",
        "head -c 30000000 /dev/zero >/dev/shm/filled; cat /proc/meminfo; rm /dev/shm/filled",
    );
    assert!(kilobytes(&used, "Shmem") > 29_000, "{used}");
    assert!(kilobytes(&before, "MemFree") > kilobytes(&used, "MemFree") + 20_000, "{before}\n{used}");
    ana.destroy("web");
}

fn a_container_sees_its_own_processors(lab: &Lab) {
    let ana = lab.user("ana");
    with(&ana, "lxc.cgroup.cpuset.cpus = 0\n");
    assert_eq!(inside(&ana, "web", "cat /sys/devices/system/cpu/online"), "0\n");
    assert_eq!(inside(&ana, "web", "grep -c ^processor /proc/cpuinfo"), "1\n");
    assert_eq!(inside(&ana, "web", "grep -c '^cpu[0-9]' /proc/stat"), "1\n");
    assert_eq!(inside(&ana, "web", "nproc"), "1\n");
    ana.destroy("web");
}

fn a_container_is_as_old_as_it_is(lab: &Lab) {
    let ana = lab.user("ana");
    with(&ana, "");
    let uptime = inside(&ana, "web", "cat /proc/uptime");
    let age: f64 = uptime.split(' ').next().and_then(|age| age.parse().ok()).unwrap_or(f64::NAN);
    let host = fs::read_to_string("/proc/uptime").unwrap_or_default();
    let hosts: f64 = host.split(' ').next().and_then(|age| age.parse().ok()).unwrap_or(f64::NAN);
    assert!(age < hosts / 2.0 && age < 600.0, "{uptime} of the host's {host}");
    ana.destroy("web");
}

fn two_containers_see_each_their_own(lab: &Lab) {
    let ana = lab.user("ana");
    with(&ana, "lxc.cgroup.memory.limit_in_bytes = 96M\n");
    ana.busybox("db");
    ana.append(".local/share/lxc/db/config", "lxc.cgroup.memory.limit_in_bytes = 64M\n");
    ana.lxc("start", ["-n", "db"]).succeeds();
    // busybox' cat reads by sendfile, and so by the page cache.
    for _ in 0..3 {
        for (name, total) in [("web", 96), ("db", 64)] {
            for command in ["cat /proc/meminfo", "dd if=/proc/meminfo bs=1 2>/dev/null"] {
                assert_eq!(
                    kilobytes(&inside(&ana, name, command), "MemTotal"),
                    total * 1024,
                    "{name}: {command}"
                );
            }
        }
    }
    ana.destroy("db");
    ana.destroy("web");
}

fn every_way_to_read_gets_the_same_bytes(lab: &Lab) {
    let ana = lab.user("ana");
    with(&ana, "");
    for file in ["/proc/cpuinfo", "/proc/swaps", "/sys/devices/system/cpu/online"] {
        let ways = [
            format!("cat {file}"),
            format!("dd if={file} bs=1 2>/dev/null"),
            format!("dd if={file} bs=100000 2>/dev/null"),
            format!("head -c 100000 <{file}"),
            format!("while read -r line; do printf '%s\\n' \"$line\"; done <{file}"),
        ];
        // The clock of a processor is another one at each look.
        let lasting = |text: String| -> Vec<String> {
            text.lines().filter(|line| !line.contains("MHz")).map(str::to_owned).collect()
        };
        let texts = ways.map(|way| lasting(inside(&ana, "web", &way)));
        assert!(!texts[0].is_empty(), "{file}");
        texts.iter().for_each(|text| assert_eq!(text, &texts[0], "{file}"));
    }
    ana.destroy("web");
}

fn the_files_cannot_be_written(lab: &Lab) {
    let ana = lab.user("ana");
    with(&ana, "");
    let tried = inside(
        &ana,
        "web",
        "echo x >/proc/meminfo || echo refused; mount -o remount,rw,bind /proc/meminfo; echo x >/proc/meminfo || echo refused",
    );
    assert_eq!(tried, "refused\nrefused\n");
    assert!(inside(&ana, "web", "cat /proc/meminfo").starts_with("MemTotal:"));
    ana.destroy("web");
}

/// Returns the user's processes that serve.
fn serving(user: &User<'_>) -> usize {
    user.processes().iter().filter(|process| process.command.contains("bryo-lxcfs")).count()
}

fn one_process_serves_all_and_ends_with_the_last(lab: &Lab) {
    let ana = lab.user("ana");
    with(&ana, "");
    ana.busybox("db");
    ana.lxc("start", ["-n", "db"]).succeeds();
    assert_eq!(serving(&ana), 1);
    ana.lxc("stop", ["-n", "web", "-k"]).succeeds();
    assert!(inside(&ana, "db", "cat /proc/meminfo").starts_with("MemTotal:"));
    assert_eq!(serving(&ana), 1);
    ana.lxc("stop", ["-n", "db", "-k"]).succeeds();
    eventually("the process ends", || serving(&ana) == 0);
    ana.destroy("db");
    ana.destroy("web");
}

/// A device that others than root may not open, as the kernel makes it without udev.
const CLOSED: &str =
    "mount -t tmpfs own /mnt; mknod -m 600 /mnt/fuse c 10 229; mount --bind /mnt/fuse /dev/fuse";

fn nobody_serves_where_it_is_not_wished(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    ana.append(CONFIG, "lxc.cgroup.memory.limit_in_bytes = 96M\n");
    let said = ana.bryo(["--verbose", "start", "web"]).succeeds().stderr;
    assert!(!said.contains("limits in /proc"), "{said}");
    assert!(kilobytes(&inside(&ana, "web", "cat /proc/meminfo"), "MemTotal") > 96 * 1024);
    assert_eq!(serving(&ana), 0);
    ana.destroy("web");
}

fn without_the_device_a_container_starts_and_says_so(lab: &Lab) {
    let ana = lab.user("ana");
    wish(&ana);
    ana.busybox("web");
    ana.append(CONFIG, "lxc.cgroup.memory.limit_in_bytes = 96M\n");
    let started = ana.bryo(["start", "web"]).amid(CLOSED).succeeds();
    started.stderr_contains("its own limits in /proc: ").stderr_contains("(bryo doctor: fuse.access)");
    assert!(kilobytes(&inside(&ana, "web", "cat /proc/meminfo"), "MemTotal") > 96 * 1024);
    assert_eq!(serving(&ana), 0);
    ana.destroy("web");
}

/// Kills the processes that serve, and returns how many there were.
fn kill_who_serves(user: &User<'_>) -> usize {
    let serving: Vec<Process> =
        user.processes().into_iter().filter(|process| process.command.contains("bryo-lxcfs")).collect();
    serving.iter().for_each(Process::kill);
    serving.len()
}

fn readers_outlive_who_serves_them(lab: &Lab) {
    let ana = lab.user("ana");
    with(&ana, "");
    let reads = "i=0; while [ $i -lt 150 ]; do \
        cat /proc/meminfo >/tmp/$$ || echo failed; grep -q ^cpu /proc/stat || echo failed; \
        [ -s /tmp/$$ ] || echo empty; i=$((i+1)); done; echo done";
    let mut readers: Vec<_> = (0..4)
        .map(|_| {
            let args = ["-n", "web", "--clear-env", "--", "sh", "-c", reads];
            ana.lxc("attach", args).seconds(120).background()
        })
        .collect();
    let mut killed = 0;
    while readers.iter_mut().any(tests::Background::runs) {
        killed += kill_who_serves(&ana);
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    assert!(killed >= 2, "only {killed} were killed");
    for reader in readers {
        reader.wait().exits(0).stdout_is("done\n");
    }
    ana.destroy("web");
}

fn two_containers_are_both_served_by_the_next_process(lab: &Lab) {
    let ana = lab.user("ana");
    with(&ana, "lxc.cgroup.memory.limit_in_bytes = 96M\n");
    ana.busybox("db");
    ana.append(".local/share/lxc/db/config", "lxc.cgroup.memory.limit_in_bytes = 64M\n");
    ana.lxc("start", ["-n", "db"]).succeeds();
    assert_eq!(kill_who_serves(&ana), 1);
    for (name, total) in [("web", 96), ("db", 64)] {
        assert_eq!(kilobytes(&inside(&ana, name, "cat /proc/meminfo"), "MemTotal"), total * 1024, "{name}");
    }
    assert_eq!(serving(&ana), 1);
    ana.destroy("db");
    ana.destroy("web");
}

fn a_container_that_reboots_sees_its_limits_again(lab: &Lab) {
    let ana = lab.user("ana");
    with(&ana, "lxc.cgroup.memory.limit_in_bytes = 96M\n");
    let first = ana.init_of("web");
    ana.lxc("stop", ["-n", "web", "-r"]).succeeds();
    let has_another = || ana.lxc("info", ["-n", "web", "-pH"]).output().stdout.trim() != first.to_string();
    eventually("a new init", || {
        has_another() && ana.lxc("attach", ["-n", "web", "--", "true"]).output().status() == 0
    });
    assert_eq!(kilobytes(&inside(&ana, "web", "cat /proc/meminfo"), "MemTotal"), 96 * 1024);
    ana.destroy("web");
}
