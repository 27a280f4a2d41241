//! /proc/partitions: the devices that the container has used, as far as a group knows of them: whole disks.

use std::fmt::Write;

use super::Facts;
use super::diskstats::used;

/// The kernel's header. Source: its block/genhd.c.
const HEADER: &str = "major minor  #blocks  name\n\n";

/// Shows the host's lines of those devices; none where nothing is known, as /proc/diskstats does.
pub(super) fn render(host: &str, facts: &Facts) -> String {
    let mut text = HEADER.to_owned();
    for line in host.lines() {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let [major, minor, blocks, name] = words[..] else { continue };
        let (Ok(major), Ok(minor), Ok(blocks)) = (major.parse(), minor.parse(), blocks.parse::<u64>()) else {
            continue;
        };
        if used(facts, (major, minor)).is_some() {
            let _to_a_string = writeln!(text, "{major:>4}  {minor:>7} {blocks:>10} {name}");
        }
    }
    // Without devices the kernel has not even a header.
    if text.len() == HEADER.len() { String::new() } else { text }
}
