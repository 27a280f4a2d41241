//! /proc/diskstats: what the container has read and written, on the host's devices.
//!
//! No group knows how long its requests took, so all times are 0, and no merges are counted. Devices that it has not used are
//! left out. Source: proc_diskstats(5), the kernel's iostats.rst.
//! LXC: shows on v2 the host's own numbers.

use std::fmt::Write;

use cgroup::view::DiskUsage;

use super::Facts;

/// Bytes of a sector, whatever the device's own are.
const SECTOR: u64 = 512;

/// Shows the devices that the container has used, in the host's order; none where nothing is known.
pub(super) fn render(host: &str, facts: &Facts) -> String {
    let mut text = String::new();
    for (device, name) in host.lines().filter_map(device) {
        let Some(disk) = used(facts, device) else { continue };
        let [read, written, discarded] = [disk.read, disk.written, disk.discarded]
            .map(|(bytes, operations)| format!("{operations} 0 {} 0", bytes / SECTOR));
        let (major, minor) = device;
        let _to_a_string =
            writeln!(text, "{major:>4} {minor:>7} {name} {read} {written} 0 0 0 {discarded} 0 0");
    }
    text
}

/// Returns what the container has done with a device, if anything.
pub(super) fn used(facts: &Facts, device: (u32, u32)) -> Option<&DiskUsage> {
    let disks = facts.usage.disks.as_deref().unwrap_or_default();
    disks.iter().find(|disk| disk.device == device && is_used(disk))
}

fn is_used(disk: &DiskUsage) -> bool {
    [disk.read, disk.written, disk.discarded].iter().any(|counted| *counted != (0, 0))
}

/// Returns the numbers and the name of a line's device.
fn device(line: &str) -> Option<((u32, u32), &str)> {
    let mut words = line.split_ascii_whitespace();
    let device = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Some((device, words.next()?))
}
