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

/// Returns the supplementary group ids. Source: getgroups(2).
pub fn groups() -> Result<Vec<HostGid>> {
    let own = rustix::process::getgroups().call(|| "getgroups".to_owned())?;
    Ok(own.into_iter().map(|gid| HostGid(gid.as_raw())).collect())
}

/// Returns the login name of a user, as the name service knows it; none for an id without one.
///
/// # Errors
/// The name service cannot answer.
pub fn user_name(uid: HostUid) -> Result<Option<String>> {
    let found = nix::unistd::User::from_uid(Uid::from_raw(uid.0)).call(|| format!("getpwuid_r({uid})"))?;
    Ok(found.map(|user| user.name))
}

/// Tells whether the own user namespace denies setgroups(2), as one does that an ordinary user has made alone. Source: user_namespaces(7).
pub fn setgroups_is_denied() -> bool {
    std::fs::read("/proc/self/setgroups").is_ok_and(|said| said.trim_ascii() == b"deny")
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

/// Joins group 0, with no supplementary groups, and stays the user it is.
///
/// `keep_groups` as in [`become_user`].
pub fn join_root_group(keep_groups: bool) -> Result<()> {
    if !keep_groups {
        nix::unistd::setgroups(&[]).call(|| "setgroups([])".to_owned())?;
    }
    let group = Gid::from_raw(0);
    nix::unistd::setresgid(group, group, group).call(|| "setresgid(0, 0, 0)".to_owned())
}

/// Becomes user 0 for good; of group 0 it is already ([`join_root_group`]).
pub fn become_root() -> Result<()> {
    let root = Uid::from_raw(0);
    nix::unistd::setresuid(root, root, root).call(|| "setresuid(0, 0, 0)".to_owned())
}
