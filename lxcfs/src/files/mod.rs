//! The files: one table, and what each shows.
//!
//! A renderer is pure: it gets the host's text and what is known of the container, and returns the container's text. What it
//! is not told it does not invent: where nothing limits or counts, the host's numbers stand. All arithmetic saturates, since
//! two numbers of the kernel are never of one moment.

mod cpuinfo;
mod cpus;
mod diskstats;
mod loadavg;
mod meminfo;
mod nodes;
mod online;
mod partitions;
mod pressure;
mod slabinfo;
mod stat;
mod swaps;
mod times;
mod uptime;
mod vmstat;

use std::sync::LazyLock;
use std::time::Duration;

use cgroup::CpuList;
use cgroup::view::{Limits, Usage};

pub use loadavg::{Averages, Load};
pub use pressure::{Share, Trigger, waited};
pub use times::{History, Times};

/// What a file shows depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Memory and its limits.
    Memory,
    /// The host's own /proc/meminfo.
    Machine,
    /// The processors that the container has.
    Cpus,
    /// Processor time.
    CpuTime,
    /// Block devices.
    Disks,
    /// Faults and the like.
    Events,
    /// The nodes whose memory the container has.
    Nodes,
    /// What is used of each.
    MemoryOfNodes,
    /// What runs in the container, which is counted from the first question on.
    Load,
    /// What runs in the container, where it is counted already.
    LoadIfCounted,
    /// The pressure in this file of the group.
    Pressure(&'static str),
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
    /// How much later than the host's its clock began, in nanoseconds: less than 0 where it shows more than the host's.
    pub begun: i64,
    /// What runs in it, where it is counted.
    pub load: Option<Load>,
    /// How its processor time is spread over its processors; where nobody remembers, as if it had had these always.
    pub times: Option<Times>,
    /// The nodes that it has, with the host's bytes of each.
    pub nodes: Vec<(u32, u64)>,
    /// The host's own /proc/meminfo, where it was asked for.
    pub machine: String,
    /// The number of the processor or node that a file with `#` in its path is about.
    pub number: u32,
}

impl Facts {
    /// Returns the container's processors: those that it may use, of those that are online. Where a quota counts, not more
    /// than that gives it. None where none are known: then the host's stand, in every file.
    ///
    /// LXC: numbers them anew from 0 then; here they keep the numbers that sched_getaffinity(2) gives.
    pub fn cpus(&self) -> Option<CpuList> {
        let online = Some(&self.online).filter(|online| online.count() > 0);
        let own = match (&self.limits.cpus, online) {
            (Some(cpus), Some(online)) => cpus.and(online),
            (Some(cpus), None) => cpus.clone(),
            (None, online) => online?.clone(),
        };
        let own = match self.limits.quota {
            Some(thousandths) => own.first(thousandths.div_ceil(1000).max(1)),
            None => own,
        };
        Some(own).filter(|own| own.count() > 0)
    }

    /// Returns the times of its processors, where they are counted.
    fn times(&self) -> Option<Times> {
        let (time, cpus) = (self.usage.cpu.as_ref()?, self.cpus()?);
        let unremembered = || History::default().show(time, &cpus, self.age);
        Some(self.times.clone().unwrap_or_else(unremembered))
    }
}

/// A renderer: the host's text and the facts to the container's text.
pub type Render = fn(&str, &Facts) -> String;

/// Files of one directory that are rendered in the same way.
#[derive(Clone, Copy, Debug)]
struct Row {
    /// The directory, from the root, the same on the host and in the container; `#` stands for the number of a processor or
    /// node.
    directory: &'static str,
    names: &'static [&'static str],
    needs: &'static [Need],
    render: Render,
}

/// One file.
#[derive(Clone, Debug)]
pub struct File {
    /// Its path from the root; see [`Facts::number`].
    pub path: String,
    /// What it depends on.
    pub needs: &'static [Need],
    /// What it shows.
    pub render: Render,
}

impl File {
    /// Returns the group's file that tells of the same pressure, where somebody can be woken by this one.
    pub fn pressure(&self) -> Option<&'static str> {
        self.needs.iter().find_map(|need| match need {
            Need::Pressure(name) => Some(*name),
            _ => None,
        })
    }
}

/// Directories that are the container's as a whole: what is not in the table is not there.
pub const WHOLE: [&str; 2] = ["sys/devices/system/cpu", "sys/devices/system/node"];

const CPU: &str = "sys/devices/system/cpu";
const NODE: &str = "sys/devices/system/node";

/// All files; of these a container has those that the host has. LXC: its lxcfs has those of /proc but for partitions and
/// vmstat, and of /sys the processors' as the host has them, but for `online`.
///
/// Rows come at the end, and none goes: a container keeps the numbers of files that its first process has given them (see
/// [`crate::fuse::Tree`]). Names are added by a row of their own.
const TABLE: &[Row] = &[
    row("proc", &["cpuinfo"], &[Need::Cpus], cpuinfo::render),
    row("proc", &["diskstats"], &[Need::Disks], diskstats::render),
    row("proc", &["loadavg"], &[Need::Load], loadavg::render),
    row("proc", &["meminfo"], &[Need::Memory], meminfo::render),
    row("proc", &["partitions"], &[Need::Disks], partitions::render),
    row("proc", &["slabinfo"], &[], slabinfo::render),
    row("proc", &["stat"], &[Need::Cpus, Need::CpuTime, Need::LoadIfCounted], stat::render),
    row("proc", &["swaps"], &[Need::Memory], swaps::render),
    row("proc", &["uptime"], &[Need::Cpus, Need::CpuTime], uptime::render),
    row("proc", &["vmstat"], &[Need::Memory, Need::Machine, Need::Disks, Need::Events], vmstat::render),
    row("proc/pressure", &["cpu"], &[Need::Pressure("cpu.pressure")], pressure::render),
    row("proc/pressure", &["io"], &[Need::Pressure("io.pressure")], pressure::render),
    row("proc/pressure", &["irq"], &[Need::Pressure("irq.pressure")], pressure::render),
    row("proc/pressure", &["memory"], &[Need::Pressure("memory.pressure")], pressure::render),
    row(CPU, &["online", "possible", "present"], &[Need::Cpus], online::render),
    row(CPU, &["offline"], &[], online::none),
    row(CPU, &["isolated", "nohz_full"], &[Need::Cpus], cpus::list),
    row(CPU, &["kernel_max", "modalias"], &[], as_is),
    row("sys/devices/system/cpu/smt", &["active", "control"], &[], as_is),
    row("sys/devices/system/cpu/cpuidle", &["current_driver", "current_governor_ro"], &[], as_is),
    row("sys/devices/system/cpu/vulnerabilities", VULNERABILITIES, &[], as_is),
    row("sys/devices/system/cpu/cpu#", &["online", "cpu_capacity", "crash_notes_size"], &[], as_is),
    row("sys/devices/system/cpu/cpu#/cpufreq", FREQUENCIES, &[], as_is),
    row("sys/devices/system/cpu/cpu#/topology", TOPOLOGY, &[], as_is),
    row("sys/devices/system/cpu/cpu#/topology", TOPOLOGY_LISTS, &[Need::Cpus], cpus::list),
    row("sys/devices/system/cpu/cpu#/topology", TOPOLOGY_MASKS, &[Need::Cpus], cpus::mask),
    row("sys/devices/system/cpu/cpu#/cache/index0", CACHE, &[], as_is),
    row("sys/devices/system/cpu/cpu#/cache/index0", &["shared_cpu_list"], &[Need::Cpus], cpus::list),
    row("sys/devices/system/cpu/cpu#/cache/index0", &["shared_cpu_map"], &[Need::Cpus], cpus::mask),
    row("sys/devices/system/cpu/cpu#/cache/index1", CACHE, &[], as_is),
    row("sys/devices/system/cpu/cpu#/cache/index1", &["shared_cpu_list"], &[Need::Cpus], cpus::list),
    row("sys/devices/system/cpu/cpu#/cache/index1", &["shared_cpu_map"], &[Need::Cpus], cpus::mask),
    row("sys/devices/system/cpu/cpu#/cache/index2", CACHE, &[], as_is),
    row("sys/devices/system/cpu/cpu#/cache/index2", &["shared_cpu_list"], &[Need::Cpus], cpus::list),
    row("sys/devices/system/cpu/cpu#/cache/index2", &["shared_cpu_map"], &[Need::Cpus], cpus::mask),
    row("sys/devices/system/cpu/cpu#/cache/index3", CACHE, &[], as_is),
    row("sys/devices/system/cpu/cpu#/cache/index3", &["shared_cpu_list"], &[Need::Cpus], cpus::list),
    row("sys/devices/system/cpu/cpu#/cache/index3", &["shared_cpu_map"], &[Need::Cpus], cpus::mask),
    row(
        NODE,
        &["has_cpu", "has_memory", "has_normal_memory", "online", "possible"],
        &[Need::Nodes],
        nodes::list,
    ),
    row("sys/devices/system/node/node#", &["cpulist"], &[Need::Cpus], cpus::list),
    row("sys/devices/system/node/node#", &["cpumap"], &[Need::Cpus], cpus::mask),
    row("sys/devices/system/node/node#", &["distance"], &[], as_is),
    row(
        "sys/devices/system/node/node#",
        &["meminfo"],
        &[Need::Memory, Need::Machine, Need::Nodes, Need::MemoryOfNodes],
        nodes::meminfo,
    ),
];

const TOPOLOGY: &[&str] = &["book_id", "cluster_id", "core_id", "die_id", "drawer_id", "physical_package_id"];

const TOPOLOGY_LISTS: &[&str] = &[
    "book_siblings_list",
    "cluster_cpus_list",
    "core_cpus_list",
    "core_siblings_list",
    "die_cpus_list",
    "drawer_siblings_list",
    "package_cpus_list",
    "thread_siblings_list",
];

const TOPOLOGY_MASKS: &[&str] = &[
    "book_siblings",
    "cluster_cpus",
    "core_cpus",
    "core_siblings",
    "die_cpus",
    "drawer_siblings",
    "package_cpus",
    "thread_siblings",
];

const CACHE: &[&str] = &[
    "coherency_line_size",
    "id",
    "level",
    "number_of_sets",
    "physical_line_partition",
    "size",
    "type",
    "ways_of_associativity",
];

const FREQUENCIES: &[&str] = &[
    "cpuinfo_max_freq",
    "cpuinfo_min_freq",
    "scaling_cur_freq",
    "scaling_driver",
    "scaling_governor",
    "scaling_max_freq",
    "scaling_min_freq",
];

const VULNERABILITIES: &[&str] = &[
    "gather_data_sampling",
    "ghostwrite",
    "indirect_target_selection",
    "itlb_multihit",
    "l1tf",
    "mds",
    "meltdown",
    "mmio_stale_data",
    "old_microcode",
    "reg_file_data_sampling",
    "retbleed",
    "spec_rstack_overflow",
    "spec_store_bypass",
    "spectre_v1",
    "spectre_v2",
    "srbds",
    "tsa",
    "tsx_async_abort",
    "vmscape",
];

/// The files of the table, one by one.
pub static FILES: LazyLock<Vec<File>> = LazyLock::new(|| {
    let of_row = |row: &'static Row| {
        row.names.iter().map(|name| File {
            path: format!("{}/{name}", row.directory),
            needs: row.needs,
            render: row.render,
        })
    };
    TABLE.iter().flat_map(of_row).collect()
});

const fn row(
    directory: &'static str,
    names: &'static [&'static str],
    needs: &'static [Need],
    render: Render,
) -> Row {
    Row { directory, names, needs, render }
}

/// Shows what the host's says: it is of the processor, and the same for everybody.
fn as_is(host: &str, _facts: &Facts) -> String {
    host.to_owned()
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
