//! Texts of a group: whatever stands in them, what is shown of it stays within the host's.

#![no_main]

use std::time::Duration;

use cgroup::view::texts::{disks_v1, disks_v2, events, nodes, quota};
use cgroup::view::{CpuTime, Limits, MemoryParts, MemoryUsage, Usage};
use cgroup::{CpuList, Version};
use libfuzzer_sys::fuzz_target;
use lxcfs::files::{FILES, Facts, History};

const MEMINFO: &str = include_str!("../../tests/host/meminfo");

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let (first, rest) = text.split_once('\n').unwrap_or((&text, ""));
    let online = CpuList::parse("0-3").unwrap_or_default();
    let number = |text: &str| text.trim().parse::<u64>().ok();
    for version in [Version::V1, Version::V2] {
        let total = number(first).unwrap_or(u64::MAX);
        let memory = MemoryUsage { total, swap: number(rest), parts: MemoryParts::parse(&text, version) };
        let cpu = if version == Version::V1 { CpuTime::parse_v1(&text) } else { CpuTime::parse_v2(&text) };
        let disks = if version == Version::V1 { disks_v1(first, rest) } else { disks_v2(&text) };
        let nodes = nodes(&text, version);
        assert!(nodes.keys().all(|node| *node < 1024));
        let limits = Limits {
            memory: number(first),
            cpus: CpuList::parse(first),
            quota: quota(first, rest),
            ..Limits::default()
        };
        let usage = Usage {
            memory: Some(memory),
            cpu,
            disks: Some(disks),
            nodes,
            events: events(&text, version),
            pressure: None,
        };
        let mut facts = Facts {
            limits,
            usage,
            online: online.clone(),
            age: Duration::from_secs(100),
            machine: MEMINFO.to_owned(),
            ..Facts::default()
        };
        if let Some(time) = &facts.usage.cpu {
            let mut history = History::default();
            let before = history.show(time, &facts.cpus().unwrap_or_default(), facts.age);
            let after = history.show(&CpuTime::default(), &online, Duration::ZERO);
            assert!(after.all.user >= before.all.user && after.all.idle >= before.all.idle);
            facts.times = Some(after);
        }
        for file in FILES.iter() {
            let shown = (file.render)(MEMINFO, &facts);
            if file.path == "proc/meminfo" {
                check(&shown);
            }
        }
    }
});

fn check(meminfo: &str) {
    let value = |text: &str, key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
            .expect("the host has the line")
    };
    let total = value(meminfo, "MemTotal");
    for key in ["MemFree", "MemAvailable", "Cached", "Mapped", "AnonPages", "Slab"] {
        assert!(value(meminfo, key) <= total, "{key}");
    }
    for key in ["MemTotal", "MemAvailable", "SwapTotal"] {
        assert!(value(meminfo, key) <= value(MEMINFO, key), "{key}");
    }
}
