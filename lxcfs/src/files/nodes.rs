//! /sys/devices/system/node: the nodes whose memory the container has, and what it has of each.

use cgroup::CpuList;

use super::Facts;
use super::meminfo::{self, Memory};

/// Leaves out of a list of nodes those that the container has not.
pub(super) fn list(host: &str, facts: &Facts) -> String {
    let own: Vec<String> = facts.nodes.iter().map(|(node, _)| node.to_string()).collect();
    match (CpuList::parse(host), CpuList::parse(&own.join(","))) {
        (Some(all), Some(own)) => format!("{}\n", all.and(&own)),
        _ => host.to_owned(),
    }
}

/// Shows the memory of one node. The limit is divided among the nodes by their size, so that the parts give the whole; with one
/// node it says what /proc/meminfo does.
pub(super) fn meminfo(host: &str, facts: &Facts) -> String {
    let of_node = of_node(facts);
    let prefix = format!("Node {} ", facts.number);
    let own: String =
        host.lines().filter_map(|line| line.strip_prefix(&prefix)).fold(String::new(), |mut all, line| {
            all.push_str(line);
            all.push('\n');
            all
        });
    let Some(memory) = of_node.as_ref().and_then(|facts| Memory::of(&own, facts)) else {
        return host.to_owned();
    };
    meminfo::lines(&own, &memory).lines().map(|line| format!("{prefix}{line}\n")).collect()
}

/// Returns the facts of one node alone.
fn of_node(facts: &Facts) -> Option<Facts> {
    let whole = Memory::of(&facts.machine, facts)?;
    let mut node = facts.clone();
    let all: u64 = facts.nodes.iter().map(|(_, bytes)| *bytes).fold(0, u64::saturating_add);
    let until = |number: u32, included: bool| {
        let before = facts.nodes.iter().filter(|(node, _)| *node < number || (included && *node == number));
        let bytes = before.map(|(_, bytes)| *bytes).fold(0, u64::saturating_add);
        let kilobytes = u128::from(whole.total / 1024) * u128::from(bytes) / u128::from(all.max(1));
        u64::try_from(kilobytes).unwrap_or(u64::MAX)
    };
    let kilobytes = until(facts.number, true).saturating_sub(until(facts.number, false));
    node.limits.memory = Some(kilobytes.saturating_mul(1024));
    if facts.nodes.len() > 1 {
        node.usage.memory = Some(facts.usage.nodes.get(&facts.number).cloned().unwrap_or_default());
    }
    Some(node)
}
