//! Lists and masks of processors in /sys: siblings, who shares a cache, who is on a node. Of them the container has some.

use cgroup::CpuList;

use super::Facts;

/// Leaves out of a list those that the container has not.
pub(super) fn list(host: &str, facts: &Facts) -> String {
    match (CpuList::parse(host), facts.cpus()) {
        (Some(all), Some(own)) => format!("{}\n", all.and(&own)),
        _ => host.to_owned(),
    }
}

/// Leaves them out of a mask: groups of eight hexadecimal digits, the lowest last.
pub(super) fn mask(host: &str, facts: &Facts) -> String {
    const BITS: u32 = 32;
    let Some(cpus) = facts.cpus() else { return host.to_owned() };
    let groups: Vec<&str> = host.trim_end().split(',').collect();
    let count = groups.len() as u32;
    let own = |(at, group): (u32, &&str)| {
        let word = u32::from_str_radix(group, 16).ok()?;
        let first = (count - 1 - at).checked_mul(BITS)?;
        let is_own = |bit: &u32| cpus.contains(first.saturating_add(*bit));
        let kept =
            (0..BITS).filter(|bit| word >> bit & 1 == 1).filter(is_own).fold(0, |kept, bit| kept | 1 << bit);
        Some(format!("{kept:0width$x}", width = group.len()))
    };
    match (0..).zip(&groups).map(own).collect::<Option<Vec<_>>>() {
        Some(masks) => masks.join(",") + "\n",
        None => host.to_owned(),
    }
}
