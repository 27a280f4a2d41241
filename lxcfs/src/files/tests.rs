//! The host's texts here were taken from a machine with two processors.

use cgroup::view::{CpuTime, DiskUsage, MemoryParts, MemoryUsage, Part};
use proptest::prelude::*;

use super::times::Spent;
use super::*;

const MEMINFO: &str = include_str!("../../tests/host/meminfo");
const STAT: &str = include_str!("../../tests/host/stat");
const CPUINFO: &str = include_str!("../../tests/host/cpuinfo");
const UPTIME: &str = include_str!("../../tests/host/uptime");
const SWAPS: &str = include_str!("../../tests/host/swaps");
const LOADAVG: &str = include_str!("../../tests/host/loadavg");
const DISKSTATS: &str = include_str!("../../tests/host/diskstats");
const ONLINE: &str = include_str!("../../tests/host/online");
const PARTITIONS: &str = include_str!("../../tests/host/partitions");
const VMSTAT: &str = include_str!("../../tests/host/vmstat");
const PRESSURE: &str = include_str!("../../tests/host/pressure");
const NODE: &str = include_str!("../../tests/host/node-meminfo");

/// The host's text of each file that has one, by a part of its path.
const HOST: [(&str, &str); 14] = [
    ("proc/cpuinfo", CPUINFO),
    ("proc/diskstats", DISKSTATS),
    ("proc/loadavg", LOADAVG),
    ("proc/meminfo", MEMINFO),
    ("proc/partitions", PARTITIONS),
    ("proc/pressure", PRESSURE),
    ("proc/stat", STAT),
    ("proc/swaps", SWAPS),
    ("proc/uptime", UPTIME),
    ("proc/vmstat", VMSTAT),
    ("node#/meminfo", NODE),
    ("list", "0-1\n"),
    ("shared_cpu_map", "3\n"),
    ("online", ONLINE),
];

fn host_of(path: &str) -> &'static str {
    HOST.iter().find(|(part, _)| path.contains(part)).map_or("3\n", |(_, text)| text)
}

const MIB: u64 = 1 << 20;

fn cpus(text: &str) -> CpuList {
    CpuList::parse(text).unwrap()
}

fn two_processors() -> Facts {
    Facts { online: cpus("0-1"), age: Duration::from_secs(100), ..Facts::default() }
}

/// 100 MiB of 256, 30 of them page cache; 64 MiB of swap, 24 of them used.
fn limited() -> Facts {
    let parts = MemoryParts::default()
        .with(Part::Anon, 60 * MIB)
        .with(Part::File, 30 * MIB)
        .with(Part::Mapped, 5 * MIB)
        .with(Part::ActiveFile, 20 * MIB)
        .with(Part::InactiveFile, 10 * MIB)
        .with(Part::SlabReclaimable, 2 * MIB);
    let limits = Limits { memory: Some(256 * MIB), swap: Some(64 * MIB), ..Limits::default() };
    let memory = Some(MemoryUsage { total: 100 * MIB, swap: Some(24 * MIB), parts });
    Facts { limits, usage: Usage { memory, ..Usage::default() }, ..two_processors() }
}

/// Returns the number of a line of meminfo.
fn kilobytes(text: &str, key: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or_else(|| panic!("no {key}:\n{text}"))
}

#[test]
fn meminfo_shows_the_limit_and_what_is_used_of_it() {
    let text = meminfo::render(MEMINFO, &limited());
    let expected = [
        ("MemTotal", 256),
        ("MemFree", 156),
        ("MemAvailable", 188),
        ("SwapTotal", 64),
        ("SwapFree", 40),
        ("Cached", 30),
        ("Mapped", 5),
        ("AnonPages", 60),
        ("Buffers", 0),
        // What the group does not count is none of its neighbours'.
        ("SUnreclaim", 0),
        ("KernelStack", 0),
    ];
    for (key, mebibytes) in expected {
        assert_eq!(kilobytes(&text, key), mebibytes * 1024, "{key}");
    }
    assert!(text.starts_with("MemTotal:         262144 kB\n"), "{text}");
    let keys =
        |text: &str| text.lines().map(|line| line.split(':').next().map(str::to_owned)).collect::<Vec<_>>();
    assert_eq!(keys(&text), keys(MEMINFO));
    // No group has any, and the docs say so.
    assert_eq!(kilobytes(&text, "Mlocked"), kilobytes(MEMINFO, "Mlocked"));
}

#[test]
fn what_the_host_lacks_is_not_available_whatever_the_limit() {
    let host =
        "MemTotal: 8388608 kB\nMemFree: 1000 kB\nMemAvailable: 2000 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n";
    let text = meminfo::render(host, &limited());
    let found =
        ["MemTotal", "MemFree", "MemAvailable", "SwapTotal", "SwapFree"].map(|key| kilobytes(&text, key));
    // What is used is the container's own, however full the host is.
    assert_eq!(found, [262_144, 156 * 1024, 2000, 0, 0]);
}

#[test]
fn a_use_beyond_the_limit_leaves_nothing_and_not_all_there_is() {
    let mut facts = limited();
    facts.limits.memory = Some(50 * MIB);
    facts.limits.swap = Some(10 * MIB);
    let text = meminfo::render(MEMINFO, &facts);
    assert_eq!([kilobytes(&text, "MemFree"), kilobytes(&text, "SwapFree")], [0, 0]);
}

#[test]
fn a_memory_that_nothing_counts_is_the_hosts() {
    let facts = Facts { usage: Usage::default(), ..limited() };
    assert_eq!(meminfo::render(MEMINFO, &facts), MEMINFO);
    assert_eq!(swaps::render(SWAPS, &facts), SWAPS);
}

#[test]
fn swaps_and_meminfo_agree() {
    let text = swaps::render(SWAPS, &limited());
    let area: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(area, ["none", "virtual", "65536", "24576", "0"]);
    let mut uncounted = limited();
    uncounted.usage.memory.as_mut().unwrap().swap = None;
    assert_eq!(swaps::render(SWAPS, &uncounted).lines().count(), 1);
    assert_eq!(kilobytes(&meminfo::render(MEMINFO, &uncounted), "SwapTotal"), 0);
}

#[test]
fn swap_that_others_have_is_not_free() {
    let host = "MemTotal: 8388608 kB\nSwapTotal: 65536 kB\nSwapFree: 1024 kB\n";
    assert_eq!(kilobytes(&meminfo::render(host, &limited()), "SwapFree"), 1024);
    let areas = "Filename Type Size Used Priority\n/a file 32768 32000 -2\n/b file 32768 32512 -3\n";
    let text = swaps::render(areas, &limited());
    let area: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(area, ["none", "virtual", "65536", "64512", "0"]);
}

#[test]
fn what_siblings_have_of_a_limit_above_is_not_available() {
    let mut facts = limited();
    facts.limits.memory_left = Some(74 * MIB);
    facts.limits.swap_left = Some(3 * MIB);
    let text = meminfo::render(MEMINFO, &facts);
    let found = ["MemFree", "MemAvailable", "SwapFree"].map(|key| kilobytes(&text, key) / 1024);
    assert_eq!(found, [156, 74, 3]);
    // Both files go by the same limits, and the same host's swap.
    assert!(swaps::render(SWAPS, &facts).contains(&format!("\t{}\t", 61 * 1024)));
}

#[test]
fn cpuinfo_and_online_show_the_same_processors() {
    let one = Facts { limits: Limits { cpus: Some(cpus("1")), ..Limits::default() }, ..two_processors() };
    let text = cpuinfo::render(CPUINFO, &one);
    let processors: Vec<&str> = text.lines().filter(|line| line.starts_with("processor")).collect();
    assert_eq!(processors, ["processor\t: 1"]);
    assert_eq!(online::render(ONLINE, &one), "1\n");
    assert_eq!(cpuinfo::render(CPUINFO, &two_processors()), CPUINFO);
    assert_eq!(online::render(ONLINE, &two_processors()), ONLINE);
}

#[test]
fn where_no_processors_are_known_every_file_shows_the_hosts() {
    let unknown = Facts { online: CpuList::default(), ..two_processors() };
    let time = Some(CpuTime { user: 3_000_000_000, system: 0, each: None });
    let counted = Facts { usage: Usage { cpu: time, ..Usage::default() }, ..unknown.clone() };
    for facts in [unknown, counted] {
        assert_eq!(cpuinfo::render(CPUINFO, &facts), CPUINFO);
        assert_eq!(online::render(ONLINE, &facts), ONLINE);
        assert_eq!(cpus::list("0-1\n", &facts), "0-1\n");
        assert_eq!(times(&stat::render(STAT, &facts), "cpu1"), times(STAT, "cpu1"));
    }
    // What the group says is known without the machine's list.
    let one = Facts {
        online: CpuList::default(),
        limits: Limits { cpus: Some(cpus("1")), ..Limits::default() },
        ..two_processors()
    };
    assert_eq!(online::render(ONLINE, &one), "1\n");
}

#[test]
fn lines_about_no_processor_stay_in_cpuinfo() {
    let host = "processor\t: 0\nx\t: 1\n\nprocessor\t: 1\nx\t: 2\n\nHardware\t: board\n";
    let one = Facts { limits: Limits { cpus: Some(cpus("1")), ..Limits::default() }, ..two_processors() };
    assert_eq!(cpuinfo::render(host, &one), "processor\t: 1\nx\t: 2\n\nHardware\t: board\n");
}

/// Returns user, system and idle time of a line of stat.
fn times(text: &str, name: &str) -> [u64; 3] {
    let line = text.lines().find(|line| line.split_whitespace().next() == Some(name)).unwrap();
    let fields: Vec<u64> = line.split_whitespace().skip(1).map(|field| field.parse().unwrap()).collect();
    assert_eq!(fields.len(), 10, "{line}");
    [fields[0], fields[2], fields[3]]
}

#[test]
fn stat_shows_the_time_of_each_processor_where_it_is_counted() {
    let each = Some(vec![(0, 3_000_000_000, 1_000_000_000), (1, 0, 20_000_000)]);
    let cpu = CpuTime { user: 3_000_000_000, system: 1_020_000_000, each };
    let facts = Facts { usage: Usage { cpu: Some(cpu), ..Usage::default() }, ..two_processors() };
    let text = stat::render(STAT, &facts);
    assert_eq!(times(&text, "cpu0"), [300, 100, 9600]);
    assert_eq!(times(&text, "cpu1"), [0, 2, 9998]);
    assert_eq!(times(&text, "cpu"), [300, 102, 19_598]);
    assert!(text.starts_with("cpu  300 0 102 "), "{text}");
    assert!(text.contains("\nprocs_running 1\nprocs_blocked 0\n"), "{text}");
}

#[test]
fn stat_splits_a_sum_so_that_its_parts_give_the_sum() {
    let cpu = CpuTime { user: 3_010_000_000, system: 70_000_000, each: None };
    let facts = Facts { usage: Usage { cpu: Some(cpu), ..Usage::default() }, ..two_processors() };
    let text = stat::render(STAT, &facts);
    assert_eq!([times(&text, "cpu0"), times(&text, "cpu1")], [[151, 4, 9845], [150, 3, 9847]]);
    assert_eq!(times(&text, "cpu"), [301, 7, 19_692]);
}

#[test]
fn stat_leaves_out_processors_that_the_container_has_not() {
    let limits = Limits { cpus: Some(cpus("1")), ..Limits::default() };
    let facts = Facts { limits, ..two_processors() };
    let text = stat::render(STAT, &facts);
    assert!(!text.contains("cpu0") && text.contains("cpu1 "), "{text}");
}

#[test]
fn the_boot_of_stat_moves_with_a_clock_of_its_own_alone() {
    let boot = |seconds: i64| {
        let begun = seconds * 1_000_000_000;
        let text = stat::render("btime 1000\n", &Facts { begun, ..two_processors() });
        text.lines().last().map(str::to_owned)
    };
    assert_eq!(boot(50).as_deref(), Some("btime 1050"));
    assert_eq!(boot(0).as_deref(), Some("btime 1000"));
    // A clock that shows more began earlier, but not before there was time.
    assert_eq!(boot(-300).as_deref(), Some("btime 700"));
    assert_eq!(boot(-3000).as_deref(), Some("btime 0"));
}

#[test]
fn uptime_counts_from_the_start_of_the_container() {
    let cpu = CpuTime { user: 3_000_000_000, system: 1_000_000_000, each: None };
    let facts = Facts { usage: Usage { cpu: Some(cpu), ..Usage::default() }, ..two_processors() };
    assert_eq!(uptime::render(UPTIME, &facts), "100.00 196.00\n");
}

#[test]
fn diskstats_shows_the_devices_that_the_container_has_used() {
    let disk = |minor, bytes| DiskUsage { device: (254, minor), read: (bytes, 3), ..DiskUsage::default() };
    let usage = Usage { disks: Some(vec![disk(0, 4096), disk(7, 512)]), ..Usage::default() };
    let text = diskstats::render(DISKSTATS, &Facts { usage, ..two_processors() });
    assert_eq!(text, " 254       0 vda 3 0 8 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n");
    assert_eq!(diskstats::render(DISKSTATS, &two_processors()), "");
}

#[test]
fn loadavg_is_the_hosts_while_nobody_counts() {
    assert_eq!(loadavg::render(LOADAVG, &two_processors()), LOADAVG);
    let load = Some(Load { averages: [150, 7, 0], running: 2, tasks: 9, last_pid: 44, blocked: 1 });
    assert_eq!(loadavg::render(LOADAVG, &Facts { load, ..two_processors() }), "1.50 0.07 0.00 2/9 44\n");
}

#[test]
fn every_file_is_in_the_table_once_and_shows_something() {
    let mut paths: Vec<&str> = FILES.iter().map(|file| file.path.as_str()).collect();
    paths.sort_unstable();
    assert!(paths.is_sorted_by(|a, b| a < b));
    for file in FILES.iter() {
        let text = (file.render)(host_of(&file.path), &limited());
        // Where nothing was read or written there is no device.
        let may_be_empty = ["proc/diskstats", "proc/partitions"].contains(&file.path.as_str());
        assert!(text.ends_with('\n') || may_be_empty, "{}: {text:?}", file.path);
    }
}

fn with_cpus(list: &str) -> Facts {
    Facts {
        limits: Limits { cpus: Some(cpus(list)), ..Limits::default() },
        online: cpus("0-39"),
        ..two_processors()
    }
}

#[test]
fn lists_and_masks_of_processors_name_those_that_the_container_has() {
    let some = with_cpus("1,33-34");
    assert_eq!(cpus::list("0-3,32-35\n", &some), "1,33-34\n");
    assert_eq!(cpus::list("0,4\n", &some), "\n");
    assert_eq!(cpus::list("\n", &some), "\n");
    assert_eq!(cpus::mask("f,0000000f\n", &some), "6,00000002\n");
    assert_eq!(cpus::mask("ffffffff,ffffffff\n", &some), "00000006,00000002\n");
    assert_eq!(cpus::mask("what\n", &some), "what\n");
    assert_eq!(
        (online::render(ONLINE, &some), online::none(ONLINE, &some)),
        ("1,33-34\n".to_owned(), "\n".to_owned())
    );
}

#[test]
fn a_quota_counts_as_processors_where_it_is_told() {
    let quota = |thousandths| {
        let mut facts = with_cpus("1-4");
        facts.limits.quota = Some(thousandths);
        online::render(ONLINE, &facts)
    };
    assert_eq!([quota(1), quota(1000), quota(1001), quota(9000)], ["1\n", "1\n", "1-2\n", "1-4\n"]);
}

#[test]
fn partitions_and_diskstats_name_the_same_devices() {
    let host = "major minor  #blocks  name\n\n 254        0  268435456 vda\n   8        0       1024 sda\n";
    let disk = DiskUsage { device: (254, 0), read: (4096, 3), ..DiskUsage::default() };
    let facts = Facts { usage: Usage { disks: Some(vec![disk]), ..Usage::default() }, ..two_processors() };
    assert_eq!(partitions::render(host, &facts), PARTITIONS);
    assert_eq!(partitions::render(host, &two_processors()), "");
}

#[test]
fn pressure_is_the_groups_or_the_hosts() {
    let own = "some avg10=0.00 avg60=0.00 avg300=0.00 total=5\n";
    let usage = Usage { pressure: Some(own.to_owned()), ..Usage::default() };
    assert_eq!(pressure::render(PRESSURE, &Facts { usage, ..two_processors() }), own);
    assert_eq!(pressure::render(PRESSURE, &two_processors()), PRESSURE);
}

#[test]
fn slabinfo_has_a_header_alone() {
    assert_eq!(slabinfo::render("", &limited()).lines().count(), 2);
}

/// Returns a number of vmstat.
fn event(text: &str, key: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {key}:\n{text}"))
}

#[test]
fn vmstat_says_in_pages_what_meminfo_says() {
    let mut facts = Facts { machine: MEMINFO.to_owned(), ..limited() };
    facts.usage.events.insert("pgfault".to_owned(), 77);
    facts.usage.disks =
        Some(vec![DiskUsage { device: (8, 0), read: (4096, 1), written: (8192, 1), ..DiskUsage::default() }]);
    let (text, memory) = (vmstat::render(VMSTAT, &facts), meminfo::render(MEMINFO, &facts));
    for (pages, kilobytes_of) in [
        ("nr_free_pages", "MemFree"),
        ("nr_file_pages", "Cached"),
        ("nr_mapped", "Mapped"),
        ("nr_anon_pages", "AnonPages"),
    ] {
        assert_eq!(event(&text, pages) * 4, kilobytes(&memory, kilobytes_of), "{pages}");
    }
    let events = ["pgfault", "pswpin", "pgpgin", "pgpgout"].map(|key| event(&text, key));
    assert_eq!(events, [77, 0, 4, 8]);
    assert_eq!(event(&text, "pgalloc_normal"), event(VMSTAT, "pgalloc_normal"));
    assert_eq!(text.lines().count(), VMSTAT.lines().count());
    assert_eq!(vmstat::render(VMSTAT, &two_processors()), VMSTAT);
}

fn of_node(number: u32, nodes: &[(u32, u64)]) -> Facts {
    Facts { machine: MEMINFO.to_owned(), nodes: nodes.to_vec(), number, ..limited() }
}

#[test]
fn the_only_node_has_what_meminfo_says() {
    let text = nodes::meminfo(NODE, &of_node(0, &[(0, 24_684_084 * 1024)]));
    assert!(text.starts_with("Node 0 MemTotal:         262144 kB\nNode 0 MemFree:"), "{text}");
    assert_eq!(text.lines().count(), NODE.lines().count());
    let own = text.replace("Node 0 ", "");
    let whole = meminfo::render(MEMINFO, &limited());
    for key in ["MemTotal", "MemFree", "Active", "Mapped", "AnonPages"] {
        assert_eq!(kilobytes(&own, key), kilobytes(&whole, key), "{key}");
    }
    assert_eq!(kilobytes(&own, "MemUsed") + kilobytes(&own, "MemFree"), 256 * 1024);
}

#[test]
fn nodes_share_the_limit_by_their_size() {
    let nodes = [(0, 3000 * MIB), (2, 1000 * MIB), (5, 3003 * MIB)];
    let total = |number: u32| {
        let mut facts = of_node(number, &nodes);
        let used = MemoryUsage { total: MIB, ..MemoryUsage::default() };
        facts.usage.nodes.insert(2, used);
        let host = NODE.replace("Node 0 ", &format!("Node {number} "));
        let own = nodes::meminfo(&host, &facts).replace(&format!("Node {number} "), "");
        (kilobytes(&own, "MemTotal"), kilobytes(&own, "MemUsed"))
    };
    let totals = nodes.map(|(number, _)| total(number));
    assert_eq!(totals.map(|(all, _)| all).iter().sum::<u64>(), 256 * 1024);
    assert!(totals[1].0 < totals[0].0 / 2, "{totals:?}");
    assert_eq!(totals.map(|(_, used)| used), [0, 1024, 0]);
    assert_eq!(nodes::list("0-7\n", &of_node(0, &nodes)), "0,2,5\n");
}

#[test]
fn averages_decay_and_grow_as_the_kernels_do() {
    let mut averages = Averages::begin(0);
    averages.take(2, 12);
    // After a minute of two that run 2 - 2/e, and so on, and each step rounded up.
    assert_eq!(averages.hundredths(), [127, 37, 13]);
    averages.take(2, 1000);
    assert_eq!(averages.hundredths()[0], 200);
    averages.take(0, u32::MAX);
    assert_eq!(averages.hundredths(), [0, 0, 0]);
    assert_eq!(Averages::begin(3).hundredths(), [300; 3]);
}

#[test]
fn times_stay_when_the_processors_change() {
    let time = |ticks: u64| CpuTime { user: ticks * 10_000_000, system: 0, each: None };
    let at = |ticks: u64| Duration::from_millis(ticks * 10);
    let mut history = History::default();
    let first = history.show(&time(100), &cpus("0-1"), at(200));
    assert_eq!(
        (first.all.user, first.all.idle, first.each[&0].user, first.each[&1].idle),
        (100, 300, 50, 150)
    );
    // Alone, processor 1 has all that comes now, and what both had stays in the sum.
    let alone = history.show(&time(160), &cpus("1"), at(300));
    assert_eq!((alone.all.user, alone.all.idle, alone.each.len()), (160, 340, 1));
    assert_eq!((alone.each[&1].user, alone.each[&1].idle), (110, 190));
    let again = history.show(&time(160), &cpus("0-3"), at(300));
    assert_eq!([0, 1, 2].map(|cpu| again.each[&cpu].user), [50, 110, 0]);
    // Who knows nothing of that splits as at the beginning.
    assert_eq!(History::default().show(&time(100), &cpus("0-1"), at(200)), first);
}

#[test]
fn a_container_with_fewer_processors_than_it_had_is_idle_at_once() {
    let time = |ticks: u64| CpuTime { user: ticks * 10_000_000, system: 0, each: None };
    let at = |ticks: u64| Duration::from_millis(ticks * 10);
    // Four processors were busy for an hour, and nobody has looked until two are left.
    let mut history = History::default();
    assert_eq!(history.show(&time(1_440_000), &cpus("0-1"), at(360_000)).all.idle, 0);
    let later = history.show(&time(1_440_010), &cpus("0-1"), at(360_100));
    assert_eq!((later.all.user, later.all.idle), (1_440_010, 190));
    assert_eq!((later.each[&0].user, later.each[&0].idle), (720_005, 95));
    // Who is busy all the time, by two clocks, is not idle.
    let mut busy = History::default();
    let idle = |busy: &mut History, age: u64| busy.show(&time(2 * age + 7), &cpus("0-1"), at(age)).all.idle;
    assert_eq!([1000, 2000, 3000].map(|age| idle(&mut busy, age)), [0; 3]);
}

fn any_parts() -> impl Strategy<Value = MemoryParts> {
    let every =
        [Part::Anon, Part::File, Part::ActiveFile, Part::InactiveFile, Part::SlabReclaimable, Part::Mapped];
    proptest::collection::vec(any::<u64>(), every.len()).prop_map(move |bytes| {
        every.iter().zip(bytes).fold(MemoryParts::default(), |parts, (part, bytes)| parts.with(*part, bytes))
    })
}

fn any_list() -> impl Strategy<Value = CpuList> {
    (0..u32::MAX, 0..u32::MAX).prop_map(|(a, b)| cpus(&format!("{}-{}", a.min(b), a.max(b))))
}

prop_compose! {
    fn any_facts()(
        memory in any::<Option<u64>>(),
        swap in any::<Option<u64>>(),
        total in any::<u64>(),
        swapped in any::<Option<u64>>(),
        parts in any_parts(),
        times in any::<(u64, u64)>(),
        each in proptest::option::of(proptest::collection::vec(any::<(u32, u64, u64)>(), 0..4)),
        disks in proptest::option::of(proptest::collection::vec(any::<((u32, u32), (u64, u64))>(), 0..4)),
        limited in proptest::option::of(any_list()),
        online in any_list(),
        age in any::<Duration>(),
        begun in any::<i64>(),
        (nodes, number, quota) in (proptest::collection::vec(any::<(u32, u64)>(), 0..4), any::<u32>(), any::<Option<u64>>()),
        load in any::<Option<(u64, u64, u64, u32)>>(),
    ) -> Facts {
        let disk = |(device, read)| DiskUsage { device, read, ..DiskUsage::default() };
        let usage = Usage {
            memory: Some(MemoryUsage { total, swap: swapped, parts }),
            cpu: Some(CpuTime { user: times.0, system: times.1, each }),
            disks: disks.map(|disks| disks.into_iter().map(disk).collect()),
            nodes: nodes.iter().map(|(node, bytes)| (*node, MemoryUsage { total: *bytes, ..MemoryUsage::default() })).collect(),
            events: [("pgfault".to_owned(), total)].into(),
            pressure: None,
        };
        let limits = Limits { memory, swap, cpus: limited, quota, ..Limits::default() };
        let load = load.map(|(running, blocked, tasks, last_pid)| Load { averages: [total, 0, 1], running, blocked, tasks, last_pid });
        Facts { limits, usage, online, age, begun, load, times: None, nodes, machine: MEMINFO.to_owned(), number }
    }
}

/// Text that looks like the host's here and there, and like nothing elsewhere.
fn any_text() -> impl Strategy<Value = String> {
    let known = HOST.map(|(_, text)| text).concat();
    let words: Vec<String> = known.split_inclusive([' ', '\n', ':', '\t']).map(str::to_owned).collect();
    let word =
        prop_oneof![proptest::sample::select(words), ".{0,6}", any::<u64>().prop_map(|n| n.to_string())];
    proptest::collection::vec(word, 0..60).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn no_text_and_no_number_makes_a_file_panic(host in any_text(), facts in any_facts()) {
        for file in FILES.iter() {
            let _text = (file.render)(&host, &facts);
        }
    }

    #[test]
    fn no_field_exceeds_the_total(facts in any_facts()) {
        let text = meminfo::render(MEMINFO, &facts);
        let (total, swap) = (kilobytes(&text, "MemTotal"), kilobytes(&text, "SwapTotal"));
        for line in text.lines().filter(|line| line.ends_with(" kB")) {
            let key = line.split(':').next().unwrap_or_default();
            let most = match key {
                "VmallocTotal" | "VmallocChunk" | "Hugepagesize" => continue,
                "CommitLimit" | "Committed_AS" => total + swap,
                _ if key.starts_with("Swap") || key == "Zswapped" => swap,
                _ => total,
            };
            prop_assert!(kilobytes(&text, key) <= most, "{line}, of {total} and {swap}");
        }
        prop_assert!(total <= kilobytes(MEMINFO, "MemTotal"));
        prop_assert!(kilobytes(&text, "MemAvailable") <= kilobytes(MEMINFO, "MemAvailable"));
        let used = facts.usage.memory.as_ref().map_or(0, |memory| memory.total);
        prop_assert!(kilobytes(&text, "MemFree") == (total * 1024).saturating_sub(used) / 1024);
    }

    #[test]
    fn no_page_of_vmstat_or_of_a_node_exceeds_the_total(facts in any_facts()) {
        let total = kilobytes(&meminfo::render(MEMINFO, &facts), "MemTotal");
        let text = vmstat::render(VMSTAT, &facts);
        for key in ["nr_free_pages", "nr_file_pages", "nr_mapped", "nr_mlock", "nr_hugetlb", "nr_dirty_threshold"] {
            let Some(line) = VMSTAT.lines().find(|line| line.starts_with(&format!("{key} "))) else { continue };
            prop_assert!(event(&text, key) * 4 <= total, "{line}");
        }
        let node = nodes::meminfo(NODE, &Facts { number: 0, ..facts });
        for line in node.lines().filter(|line| line.ends_with(" kB")) {
            let number: u64 = line.split_whitespace().nth(3).unwrap_or_default().parse().unwrap_or(u64::MAX);
            prop_assert!(number <= total, "{line}");
        }
    }

    #[test]
    fn no_time_falls_whatever_processors_a_container_gets(
        steps in proptest::collection::vec((0..5_000u64, 0..5_000u64, 0..5_000u64, 1..255u32, any::<bool>()), 1..30),
    ) {
        let mut history = History::default();
        let (mut time, mut age) = (CpuTime::default(), 0);
        let (mut all, mut each) = (Spent::default(), std::collections::BTreeMap::<u32, Spent>::new());
        for (user, system, later, mask, is_counted) in steps {
            time.user += user * 1_000_000;
            time.system += system * 1_000_000;
            age += later;
            time.each = is_counted.then(|| vec![(0, time.user / 2, time.system), (3, time.user / 2, 0)]);
            let list: Vec<String> = (0..8).filter(|cpu| mask >> cpu & 1 == 1).map(|cpu| cpu.to_string()).collect();
            let times = history.show(&time, &cpus(&list.join(",")), Duration::from_millis(age));
            let fell = |before: Spent, now: Spent| now.user < before.user || now.system < before.system || now.idle < before.idle;
            prop_assert!(!fell(all, times.all), "{all:?} {:?}", times.all);
            for (cpu, spent) in &times.each {
                prop_assert!(!fell(each.get(cpu).copied().unwrap_or_default(), *spent), "{cpu}");
            }
            prop_assert_eq!(times.each.len(), list.len());
            all = times.all;
            each.extend(times.each);
        }
    }

    #[test]
    fn what_grows_never_shows_less(facts in any_facts(), more in 0..u64::MAX / 4, later in 0..1_000_000u64) {
        let mut facts = facts;
        facts.limits.cpus = None;
        facts.online = cpus("0-1");
        facts.age = Duration::from_secs(later);
        let mut cpu = CpuTime { user: more / 2, system: more / 3, each: None };
        facts.usage.cpu = Some(cpu.clone());
        let before = stat::render(STAT, &facts);
        cpu.user += more / 2;
        cpu.system += more / 5;
        facts.usage.cpu = Some(cpu);
        let after = stat::render(STAT, &facts);
        for name in ["cpu", "cpu0", "cpu1"] {
            let ([user, system, _], [user_after, system_after, _]) = (times(&before, name), times(&after, name));
            prop_assert!(user <= user_after && system <= system_after, "{name}");
        }
    }
}
