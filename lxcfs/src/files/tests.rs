//! The host's texts here were taken from a machine with two processors.

use cgroup::view::{CpuTime, DiskUsage, MemoryParts, MemoryUsage, Part};
use proptest::prelude::*;

use super::*;

const MEMINFO: &str = include_str!("../../tests/host/meminfo");
const STAT: &str = include_str!("../../tests/host/stat");
const CPUINFO: &str = include_str!("../../tests/host/cpuinfo");
const UPTIME: &str = include_str!("../../tests/host/uptime");
const SWAPS: &str = include_str!("../../tests/host/swaps");
const LOADAVG: &str = include_str!("../../tests/host/loadavg");
const DISKSTATS: &str = include_str!("../../tests/host/diskstats");
const ONLINE: &str = include_str!("../../tests/host/online");

const HOST: [&str; 8] = [CPUINFO, DISKSTATS, LOADAVG, MEMINFO, STAT, SWAPS, UPTIME, ONLINE];

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
    let limits = Limits { memory: Some(256 * MIB), swap: Some(64 * MIB), cpus: None };
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
    ];
    for (key, mebibytes) in expected {
        assert_eq!(kilobytes(&text, key), mebibytes * 1024, "{key}");
    }
    assert!(text.starts_with("MemTotal:         262144 kB\n"), "{text}");
    let keys =
        |text: &str| text.lines().map(|line| line.split(':').next().map(str::to_owned)).collect::<Vec<_>>();
    assert_eq!(keys(&text), keys(MEMINFO));
}

#[test]
fn what_the_host_lacks_is_not_available_whatever_the_limit() {
    let host =
        "MemTotal: 8388608 kB\nMemFree: 1000 kB\nMemAvailable: 2000 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n";
    let text = meminfo::render(host, &limited());
    let found =
        ["MemTotal", "MemFree", "MemAvailable", "SwapTotal", "SwapFree"].map(|key| kilobytes(&text, key));
    assert_eq!(found, [262_144, 1000, 2000, 0, 0]);
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
    let boot = |begun| {
        let text = stat::render("btime 1000\n", &Facts { begun, ..two_processors() });
        text.lines().last().map(str::to_owned)
    };
    assert_eq!(boot(Some(Duration::from_secs(50))).as_deref(), Some("btime 1050"));
    assert_eq!(boot(None).as_deref(), Some("btime 1000"));
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
    let load = Some(Load { averages: [150, 7, 0], running: 2, tasks: 9, last_pid: 44 });
    assert_eq!(loadavg::render(LOADAVG, &Facts { load, ..two_processors() }), "1.50 0.07 0.00 2/9 44\n");
}

#[test]
fn every_file_is_in_the_table_once_and_has_a_text_to_be_tested_with() {
    let mut paths: Vec<&str> = FILES.iter().map(|file| file.path).collect();
    paths.sort_unstable();
    assert!(paths.is_sorted_by(|a, b| a < b));
    for (file, host) in FILES.iter().zip(HOST) {
        assert!(!(file.render)(host, &limited()).is_empty() || file.name() == "diskstats", "{}", file.path);
    }
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
        begun in any::<Option<Duration>>(),
    ) -> Facts {
        let disk = |(device, read)| DiskUsage { device, read, ..DiskUsage::default() };
        let usage = Usage {
            memory: Some(MemoryUsage { total, swap: swapped, parts }),
            cpu: Some(CpuTime { user: times.0, system: times.1, each }),
            disks: disks.map(|disks| disks.into_iter().map(disk).collect()),
        };
        Facts { limits: Limits { memory, swap, cpus: limited }, usage, online, age, begun, load: None }
    }
}

/// Text that looks like the host's here and there, and like nothing elsewhere.
fn any_text() -> impl Strategy<Value = String> {
    let known = HOST.concat();
    let words: Vec<String> = known.split_inclusive([' ', '\n', ':', '\t']).map(str::to_owned).collect();
    let word =
        prop_oneof![proptest::sample::select(words), ".{0,6}", any::<u64>().prop_map(|n| n.to_string())];
    proptest::collection::vec(word, 0..60).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn no_text_and_no_number_makes_a_file_panic(host in any_text(), facts in any_facts()) {
        for file in FILES {
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
        prop_assert!(kilobytes(&text, "MemFree") <= kilobytes(MEMINFO, "MemFree"));
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
