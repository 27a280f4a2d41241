//! Texts of the host: each file makes something of any of them.

#![no_main]

use std::time::Duration;

use cgroup::CpuList;
use cgroup::view::{CpuTime, DiskUsage, Limits, MemoryUsage, Usage};
use libfuzzer_sys::fuzz_target;
use lxcfs::files::{FILES, Facts};

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let number = bytes.last_chunk().map_or(0, |last| u64::from_le_bytes(*last));
    let memory = MemoryUsage { total: number, swap: Some(number / 3), ..MemoryUsage::default() };
    let cpu = CpuTime { user: number, system: number / 2, each: None };
    let disk = DiskUsage { device: (254, 0), read: (number, 1), ..DiskUsage::default() };
    let usage = Usage { memory: Some(memory), cpu: Some(cpu), disks: Some(vec![disk]), ..Usage::default() };
    let limits = Limits { memory: Some(number / 2), swap: Some(number), ..Limits::default() };
    let online = CpuList::parse("0,2-3").unwrap_or_default();
    let known = Facts {
        limits,
        usage,
        online: online.clone(),
        age: Duration::from_secs(number),
        machine: text.clone().into_owned(),
        nodes: vec![(0, number), (1, number / 3)],
        ..Facts::default()
    };
    let unknown = Facts { online, ..Facts::default() };
    for file in FILES.iter() {
        for facts in [&known, &unknown] {
            let shown = (file.render)(&text, facts);
            // Lines get longer by the width of a number at most, and none comes from nowhere.
            assert!(
                shown.len() <= 64 * (text.len() + 64),
                "{}: {} of {}",
                file.path,
                shown.len(),
                text.len()
            );
        }
    }
});
