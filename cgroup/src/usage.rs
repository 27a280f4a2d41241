//! What a group uses: memory, processor time, processes, bytes read and written.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::group::Group;
use crate::tree::{text_of, value_in};

/// What a group uses, with all groups below it. `None`: no hierarchy of the group tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Memory now, in bytes, page cache included.
    pub memory: Option<u64>,
    /// The most memory it ever had, in bytes; on v2 since Linux 5.19.
    pub memory_peak: Option<u64>,
    /// The part of `memory` that the kernel needs for itself, in bytes; on v2 since Linux 5.18.
    pub memory_kernel: Option<u64>,
    /// Processor time since the group was made.
    pub cpu: Option<Duration>,
    /// Threads and processes.
    pub tasks: Option<u64>,
    /// Bytes read from and written to block devices.
    pub io: Option<IoBytes>,
}

/// Bytes read from and written to block devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IoBytes {
    /// Read.
    pub read: u64,
    /// Written.
    pub written: u64,
}

impl Group {
    /// Reads what the group uses. Each controller is asked where it is: in its v1 hierarchy or in v2.
    pub fn usage(&self) -> Usage {
        Usage {
            memory: self.number("memory", "memory.usage_in_bytes", "memory.current"),
            memory_peak: self.number("memory", "memory.max_usage_in_bytes", "memory.peak"),
            memory_kernel: self.ask(
                "memory",
                |dir| number_at(dir, "memory.kmem.usage_in_bytes"),
                |dir| value_in(&text_of(dir, "memory.stat").ok()?, "kernel"),
            ),
            cpu: self.ask("cpuacct", nanoseconds_v1, microseconds_v2),
            tasks: self.number("pids", "pids.current", "pids.current"),
            io: self.ask("blkio", io_v1, io_v2),
        }
    }

    /// Asks the v1 hierarchy of a controller, else v2.
    fn ask<T>(
        &self,
        controller: &str,
        v1: impl FnOnce(BorrowedFd<'_>) -> Option<T>,
        v2: impl FnOnce(BorrowedFd<'_>) -> Option<T>,
    ) -> Option<T> {
        match self.v1_with(controller) {
            Some(member) => v1(member.dir.as_fd()),
            None => v2(self.unified()?.dir.as_fd()),
        }
    }

    fn number(&self, controller: &str, v1: &str, v2: &str) -> Option<u64> {
        self.ask(controller, |dir| number_at(dir, v1), |dir| number_at(dir, v2))
    }
}

fn number_at(dir: BorrowedFd<'_>, name: &str) -> Option<u64> {
    text_of(dir, name).ok()?.trim().parse().ok()
}

fn nanoseconds_v1(dir: BorrowedFd<'_>) -> Option<Duration> {
    number_at(dir, "cpuacct.usage").map(Duration::from_nanos)
}

/// cpu.stat is there even without the controller.
fn microseconds_v2(dir: BorrowedFd<'_>) -> Option<Duration> {
    value_in(&text_of(dir, "cpu.stat").ok()?, "usage_usec").map(Duration::from_micros)
}

/// The recursive file counts the groups below as well; a kernel before 5.2 or so has the plain one alone.
fn io_v1(dir: BorrowedFd<'_>) -> Option<IoBytes> {
    let names = ["blkio.throttle.io_service_bytes_recursive", "blkio.throttle.io_service_bytes"];
    let text = names.iter().find_map(|name| text_of(dir, name).ok())?;
    Some(sum_v1(&text))
}

fn io_v2(dir: BorrowedFd<'_>) -> Option<IoBytes> {
    text_of(dir, "io.stat").ok().map(|text| sum_v2(&text))
}

/// Adds up lines such as `8:0 Read 4096`.
fn sum_v1(text: &str) -> IoBytes {
    let mut sum = IoBytes::default();
    for line in text.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        match fields[..] {
            [_, "Read", bytes] => sum.read += bytes.parse().unwrap_or(0),
            [_, "Write", bytes] => sum.written += bytes.parse().unwrap_or(0),
            _ => {}
        }
    }
    sum
}

/// Adds up lines such as `8:0 rbytes=4096 wbytes=0 rios=1`.
fn sum_v2(text: &str) -> IoBytes {
    let mut sum = IoBytes::default();
    for (key, bytes) in text.split_whitespace().filter_map(|field| field.split_once('=')) {
        match key {
            "rbytes" => sum.read += bytes.parse().unwrap_or(0),
            "wbytes" => sum.written += bytes.parse().unwrap_or(0),
            _ => {}
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn io_is_added_up_over_all_devices() {
        let v1 =
            "8:0 Read 100\n8:0 Write 5\n8:0 Sync 7\n8:0 Total 105\n253:1 Read 11\n253:1 Write 1\nTotal 117\n";
        assert_eq!(sum_v1(v1), IoBytes { read: 111, written: 6 });
        let v2 = "8:0 rbytes=100 wbytes=5 rios=1 wios=1 dbytes=0 dios=0\n253:1 rbytes=11 wbytes=1 rios=0\n252:0 \n";
        assert_eq!(sum_v2(v2), IoBytes { read: 111, written: 6 });
        assert_eq!(sum_v2(""), IoBytes::default());
    }
}
