//! The files: one table, and what each shows.
//!
//! A renderer is pure: it gets the host's text and what is known of the container, and returns the container's text. What it
//! is not told it does not invent: where nothing limits or counts, the host's numbers stand. All arithmetic saturates, since
//! two numbers of the kernel are never of one moment.

mod cpuinfo;
mod diskstats;
mod loadavg;
mod meminfo;
mod online;
mod stat;
mod swaps;
mod uptime;

use std::time::Duration;

use cgroup::CpuList;
use cgroup::view::{Limits, Usage};

pub use loadavg::Load;

/// What a file shows depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Memory and its limits.
    Memory,
    /// The processors that the container has.
    Cpus,
    /// Processor time.
    CpuTime,
    /// Block devices.
    Disks,
}

/// What is known of a container when a file is rendered.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// What it may use.
    pub limits: Limits,
    /// What it uses.
    pub usage: Usage,
    /// Processors of the host that are online.
    pub online: CpuList,
    /// How long it has been running.
    pub age: Duration,
    /// How much later than the host's its clock began, where it has a clock of its own.
    pub begun: Option<Duration>,
    /// What runs in it, where it is counted.
    pub load: Option<Load>,
}

impl Facts {
    /// Returns the container's processors: those that it may use, of those that are online.
    pub fn cpus(&self) -> CpuList {
        match &self.limits.cpus {
            Some(cpus) => cpus.and(&self.online),
            None => self.online.clone(),
        }
    }
}

/// A renderer: the host's text and the facts to the container's text.
pub type Render = fn(&str, &Facts) -> String;

/// One file.
#[derive(Clone, Copy, Debug)]
pub struct File {
    /// Its path from the root, the same on the host and in the container.
    pub path: &'static str,
    /// What it depends on.
    pub needs: &'static [Need],
    /// What it shows.
    pub render: Render,
    /// Whether containers have it unless they are told otherwise.
    pub on: bool,
}

/// All files. LXC: its lxcfs has these, and some that are the host's own on cgroup v2.
pub const FILES: [File; 8] = [
    file("proc/cpuinfo", &[Need::Cpus], cpuinfo::render),
    file("proc/diskstats", &[Need::Disks], diskstats::render),
    // Nothing samples yet what runs in a container.
    File { path: "proc/loadavg", needs: &[], render: loadavg::render, on: false },
    file("proc/meminfo", &[Need::Memory], meminfo::render),
    file("proc/stat", &[Need::Cpus, Need::CpuTime], stat::render),
    file("proc/swaps", &[Need::Memory], swaps::render),
    file("proc/uptime", &[Need::Cpus, Need::CpuTime], uptime::render),
    file("sys/devices/system/cpu/online", &[Need::Cpus], online::render),
];

const fn file(path: &'static str, needs: &'static [Need], render: Render) -> File {
    File { path, needs, render, on: true }
}

impl File {
    /// Returns its name.
    pub fn name(&self) -> &'static str {
        self.path.rsplit('/').next().unwrap_or(self.path)
    }
}

/// Nanoseconds of one tick, in which /proc counts time: USER_HZ is 100 on every machine that Linux runs on today.
const TICK: u64 = 10_000_000;

/// Returns a time in ticks.
fn ticks(nanoseconds: u64) -> u64 {
    nanoseconds / TICK
}

/// Returns a time in ticks.
fn ticks_of(time: Duration) -> u64 {
    ticks(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
