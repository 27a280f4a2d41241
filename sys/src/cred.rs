//! User and group ids of the process.

use nix::unistd::{Gid, Uid};
use types::{HostGid, HostUid};

use crate::error::{Call, Result};

/// Returns the real user id.
pub fn real_uid() -> HostUid {
    HostUid(rustix::process::getuid().as_raw())
}

/// Returns the real group id.
pub fn real_gid() -> HostGid {
    HostGid(rustix::process::getgid().as_raw())
}

/// Becomes user `uid` and group `gid` for good, with the supplementary groups `groups` alone.
///
/// `keep_groups` leaves the supplementary groups as they are, for a namespace where setgroups(2) is denied.
pub fn become_user(uid: u32, gid: u32, groups: &[u32], keep_groups: bool) -> Result<()> {
    let (user, group) = (Uid::from_raw(uid), Gid::from_raw(gid));
    if !keep_groups {
        let list: Vec<Gid> = groups.iter().map(|g| Gid::from_raw(*g)).collect();
        nix::unistd::setgroups(&list).call(|| format!("setgroups({groups:?})"))?;
    }
    nix::unistd::setresgid(group, group, group).call(|| format!("setresgid({gid}, {gid}, {gid})"))?;
    nix::unistd::setresuid(user, user, user).call(|| format!("setresuid({uid}, {uid}, {uid})"))
}
