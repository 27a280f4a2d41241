//! What limits a container of a user whose systemd has v2 controllers delegated to it, and what it is shown of that: in the virtual
//! machine.

use std::fs;
use std::path::Path;

use tests::vm::{Guest, field, read};

tests::claims_of_a_modern_host! {
    a_process_that_takes_more_memory_than_its_container_may_is_killed;
    a_container_has_no_more_processes_than_it_may;
    a_container_is_seen_to_have_the_cpus_it_may_use;
    the_time_of_a_container_is_throttled;
    a_container_reads_and_writes_no_faster_than_it_may;
    every_limit_of_a_container_is_in_its_file;
    a_container_is_shown_its_own_use_of_disks_and_its_own_pressure, not lxc "lxcfs is a service of root's";
    a_container_is_shown_its_own_use_of_memory_and_of_the_cpus, not lxc "lxcfs is a service of root's";
}

fn a_process_that_takes_more_memory_than_its_container_may_is_killed(guest: &Guest) {
    guest.start_web(&["lxc.cgroup2.memory.max=30M", "lxc.cgroup2.memory.swap.max=0"]).succeeds();
    // It fills a file system that lies in memory.
    guest
        .ana("lxc-attach -n web -- sh -c 'cat /sys/fs/cgroup/memory.max; mkdir /m && mount -t tmpfs m /m && dd if=/dev/zero of=/m/f bs=1M count=60'")
        .fails()
        .tells("31457280");
    assert!(field(&guest.payload().join("memory.events"), "oom_kill") > 0);
    guest.ana("lxc-stop -n web -k").succeeds();
}

fn a_container_has_no_more_processes_than_it_may(guest: &Guest) {
    guest.start_web(&["lxc.cgroup2.pids.max=12"]).succeeds();
    guest
        .ana("lxc-attach -n web -- sh -c 'cat /sys/fs/cgroup/pids.max; for n in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 100 >/dev/null 2>&1 & done'")
        .fails()
        .tells("12");
    assert!(field(&guest.payload().join("pids.events"), "max") > 0);
    guest.ana("lxc-stop -n web -k").succeeds();
}

fn a_container_is_seen_to_have_the_cpus_it_may_use(guest: &Guest) {
    guest.start_web(&["lxc.cgroup2.cpuset.cpus=1"]).succeeds();
    guest.ana("lxc-attach -n web -- sh -c 'nproc; cat /sys/fs/cgroup/cpuset.cpus'").succeeds().says("1\n1");
    assert_eq!(read(&guest.payload().join("cpuset.cpus.effective")), "1\n");
    guest.ana("lxc-stop -n web -k").succeeds();
}

fn the_time_of_a_container_is_throttled(guest: &Guest) {
    guest.start_web(&["lxc.cgroup2.cpu.max=5000 100000"]).succeeds();
    guest
        .ana("lxc-attach -n web -- sh -c 'cat /sys/fs/cgroup/cpu.max; timeout 5 sh -c \"while :; do :; done\"'")
        .fails()
        .says("5000 100000");
    assert!(field(&guest.payload().join("cpu.stat"), "nr_throttled") > 0);
    guest.ana("lxc-stop -n web -k").succeeds();
}

/// Writes and then reads some megabytes inside, as far as they go to the disk and come from it, and returns how many seconds each
/// took.
fn seconds_to_write_and_read(guest: &Guest) -> [f64; 2] {
    let timed = |command: &str| {
        let script = format!("lxc-attach -n web -- sh -c 'time -f %e -o /took {command}; cat /took'");
        let said = guest.ana(&script).succeeds();
        said.out.trim().parse().unwrap_or_else(|error| panic!("{:?} is no time: {error}", said.out))
    };
    let write = timed("dd if=/dev/zero of=/file bs=1M count=4 conv=fsync");
    guest.root("sync; echo 3 >/proc/sys/vm/drop_caches").succeeds();
    [write, timed("dd if=/file of=/dev/null bs=1M")]
}

fn a_container_reads_and_writes_no_faster_than_it_may(guest: &Guest) {
    let disk = read(Path::new("/sys/block/vda/dev"));
    let limit = format!("{} rbps=524288 wbps=524288 riops=max wiops=max", disk.trim());
    guest.start_web(&[&format!("lxc.cgroup2.io.max={limit}")]).succeeds();
    guest.ana("lxc-attach -n web -- cat /sys/fs/cgroup/io.max").succeeds().says(&limit);
    // Four megabytes take eight seconds.
    let slow = seconds_to_write_and_read(guest);
    assert!(slow.iter().all(|seconds| *seconds > 6.0), "{slow:?}");
    let freed = format!("{} rbps=max wbps=max", disk.trim());
    fs::write(guest.payload().join("io.max"), freed).unwrap_or_else(|error| panic!("io.max: {error}"));
    let free = seconds_to_write_and_read(guest);
    assert!(free.iter().zip(&slow).all(|(free, slow)| free * 1.5 < *slow), "{free:?} {slow:?}");
    guest.ana("lxc-stop -n web -k").succeeds();
}

/// Limits whose effect no short claim can see, as they are written and as the kernel shows them.
const LIMITS: [(&str, &str, &str); 11] = [
    ("memory.min", "1M", "1048576"),
    ("memory.low", "2M", "2097152"),
    ("memory.high", "90M", "94371840"),
    ("memory.swap.max", "0", "0"),
    ("memory.swap.high", "16M", "16777216"),
    ("memory.oom.group", "1", "1"),
    ("cpu.weight", "50", "50"),
    ("cpu.max.burst", "1000", "1000"),
    ("cpuset.mems", "0", "0"),
    ("cpuset.cpus", "0-1", "0-1"),
    ("pids.max", "max", "max"),
];

fn every_limit_of_a_container_is_in_its_file(guest: &Guest) {
    let keys = LIMITS.map(|(file, value, _)| format!("lxc.cgroup2.{file}={value}"));
    guest.start_web(&keys.each_ref().map(String::as_str)).succeeds();
    let files = LIMITS.map(|(file, ..)| file).join(" ");
    let shown = LIMITS.map(|(_, _, shown)| shown).join("\n");
    guest
        .ana(&format!("lxc-attach -n web -- sh -c 'cd /sys/fs/cgroup; cat {files}'"))
        .succeeds()
        .says(&shown);
    guest.ana("lxc-stop -n web -k").succeeds();
}

/// Returns the numbers of a line of `io.stat`, or of the columns of `/proc/diskstats`, that are bytes read and written.
fn bytes(text: &str, read_and_written: [impl Fn(&str) -> Option<u64>; 2]) -> [u64; 2] {
    read_and_written.map(|find| find(text).unwrap_or_else(|| panic!("no number of the disk in {text}")))
}

fn a_container_is_shown_its_own_use_of_disks_and_its_own_pressure(guest: &Guest) {
    guest.start_web(&["lxc.cgroup2.cpu.max=20000 100000"]).succeeds();
    let payload = guest.payload();
    seconds_to_write_and_read(guest);
    let disk = read(Path::new("/sys/block/vda/dev"));
    let in_group = || {
        let text = read(&payload.join("io.stat"));
        let of = |name: &'static str| {
            let disk = disk.clone();
            move |text: &str| {
                let line = text.lines().find(|line| line.starts_with(disk.trim()))?;
                line.split(' ').find_map(|word| word.strip_prefix(name)?.parse().ok())
            }
        };
        bytes(&text, [of("rbytes="), of("wbytes=")])
    };
    let total = |text: &str, kind: &str| -> u64 {
        let found = text.lines().find(|line| line.starts_with(kind));
        found.and_then(|line| line.rsplit_once("total=")?.1.parse().ok()).unwrap_or_default()
    };
    let before = in_group();
    let felt_before = total(&read(&payload.join("cpu.pressure")), "some");
    let shown = guest.ana("lxc-attach -n web -- cat /proc/diskstats").succeeds().out;
    let pressure = guest.ana("lxc-attach -n web -- cat /proc/pressure/cpu").succeeds().out;
    let (felt_after, after) = (total(&read(&payload.join("cpu.pressure")), "some"), in_group());
    let column = |number: usize| {
        move |text: &str| {
            let line = text.lines().find(|line| line.split_whitespace().nth(2) == Some("vda"))?;
            Some(line.split_whitespace().nth(number)?.parse::<u64>().ok()? * 512)
        }
    };
    let shown = bytes(&shown, [column(5), column(9)]);
    const WRITTEN: u64 = 4 << 20;
    for ((before, shown), after) in before.into_iter().zip(shown).zip(after) {
        assert!(before >= WRITTEN && (before..=after).contains(&shown), "{before} {shown} {after}");
    }
    let felt = total(&pressure, "some");
    assert!(
        felt_before > 0 && (felt_before..=felt_after).contains(&felt),
        "{felt_before} {felt} {felt_after}"
    );
    for kind in ["memory", "io"] {
        let (own, shown) = (payload.join(format!("{kind}.pressure")), format!("/proc/pressure/{kind}"));
        let (before, shown) =
            (read(&own), guest.ana(&format!("lxc-attach -n web -- cat {shown}")).succeeds().out);
        let (before, shown, after) =
            (total(&before, "full"), total(&shown, "full"), total(&read(&own), "full"));
        assert!((before..=after).contains(&shown), "{kind}: {before} {shown} {after}");
    }
    guest.ana("lxc-stop -n web -k").succeeds();
}

fn a_container_is_shown_its_own_use_of_memory_and_of_the_cpus(guest: &Guest) {
    guest
        .start_web(&[
            "lxc.cgroup2.memory.max=100M",
            "lxc.cgroup2.memory.swap.max=0",
            "lxc.cgroup2.cpuset.cpus=1",
        ])
        .succeeds();
    let payload = guest.payload();
    let uses = "mkdir /m && mount -t tmpfs m /m && dd if=/dev/zero of=/m/f bs=1M count=20 && timeout 2 sh -c \"while :; do :; done\"; true";
    guest.ana(&format!("lxc-attach -n web -- sh -c '{uses}'")).succeeds();
    let memory = || read(&payload.join("memory.current")).trim().parse::<u64>().unwrap_or_default() / 1024;
    let time = || field(&payload.join("cpu.stat"), "usage_usec");
    let (used_before, time_before) = (memory(), time());
    let shown = guest.ana("lxc-attach -n web -- cat /proc/meminfo /proc/stat").succeeds().out;
    let (used_after, time_after) = (memory(), time());
    let line = |name: &str| -> Vec<u64> {
        let found = shown.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        found.split_whitespace().filter_map(|word| word.parse().ok()).collect()
    };
    let kilobytes = |name| *line(name).first().unwrap_or_else(|| panic!("no {name} in {shown}"));
    assert_eq!((kilobytes("MemTotal:"), kilobytes("SwapTotal:")), (100 << 10, 0));
    let shared = field(&payload.join("memory.stat"), "shmem") / 1024;
    assert!(shared >= 20 << 10 && kilobytes("Shmem:") == shared, "{shared} {shown}");
    // The command that looks takes some memory itself.
    const OWN: u64 = 4 << 10;
    let used = kilobytes("MemTotal:") - kilobytes("MemFree:");
    let (least, most) = (used_before.min(used_after) - OWN, used_before.max(used_after) + OWN);
    assert!((least..=most).contains(&used), "{least} {used} {most}");
    assert!(kilobytes("MemAvailable:") <= kilobytes("MemTotal:") - shared, "{shown}");
    // User, nice and system, in hundredths; each of them is rounded.
    let ticks = |name| line(name).iter().take(3).sum::<u64>();
    let (least, most) = (time_before / 10_000, time_after / 10_000 + 3);
    assert!(least > 100 && (least - 3..=most).contains(&ticks("cpu ")), "{least} {most} {shown}");
    // A processor keeps its number.
    assert_eq!((ticks("cpu1 "), line("cpu0 ").len()), (ticks("cpu "), 0));
    guest.ana("lxc-stop -n web -k").succeeds();
}
