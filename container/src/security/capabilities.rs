//! Which capabilities a container keeps.

use config::{Capabilities, Capability};

/// Capabilities that no container gets unless `lxc.cap.keep` names them: the kernel asks for them in the first user
/// namespace alone, so that they give a container nothing, and programs that look for them try in vain (a systemd without
/// sys_rawio does not mount what it could not).
///
/// LXC: common.conf drops five of them, and userns.conf, which an unprivileged container includes after it, none.
const NEVER: [&str; 11] = [
    "mac_admin",
    "mac_override",
    "sys_module",
    "sys_rawio",
    "sys_time",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
];

/// Returns the capabilities that stay, a bit each.
pub fn kept(wanted: &Capabilities) -> u64 {
    let bits = |list: &[Capability]| list.iter().fold(0, |all, c| all | 1u64 << c.number());
    match wanted {
        Capabilities::Default => !never(),
        Capabilities::Drop(list) => !never() & !bits(list),
        Capabilities::Keep(list) => bits(list),
    }
}

fn never() -> u64 {
    let bit = |name: &&str| name.parse().map_or(0, |c: Capability| 1u64 << c.number());
    NEVER.iter().fold(0, |all, name| all | bit(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bit(name: &str) -> u64 {
        1 << name.parse::<Capability>().unwrap().number()
    }

    #[test]
    fn every_name_is_a_capability() {
        assert_eq!(never().count_ones() as usize, NEVER.len());
    }

    #[test]
    fn what_means_nothing_goes_unless_it_is_kept_by_name() {
        let named = |name: &str| vec![name.parse().unwrap()];
        assert_eq!(kept(&Capabilities::Default) & bit("sys_rawio"), 0);
        assert_ne!(kept(&Capabilities::Default) & bit("sys_admin"), 0);
        let dropped = kept(&Capabilities::Drop(named("net_raw")));
        assert_eq!(dropped & (bit("net_raw") | bit("sys_module")), 0);
        assert_eq!(kept(&Capabilities::Keep(named("mac_admin"))), bit("mac_admin"));
    }
}
