//! What a container's network looks like from inside: its interfaces and addresses, as the kernel tells a process there.
//!
//! All of it is the container's to choose: how many there are, and what they are called. What is returned is capped, and
//! names are shown without what a terminal would obey.

use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use serde::{Deserialize, Serialize};
use sys::namespace;
use sys::netlink::Connection;
use sys::process::flags;
use types::{HostUid, IdMap};

use crate::error::Result;
use crate::host::Caller;
use crate::idmap::MappedNamespace;

/// The most interfaces, and the most addresses in all, that are shown.
const SHOWN: usize = 256;

/// An interface of a container, other than loopback.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its name, fit to be printed.
    pub name: String,
    /// Its addresses, but for those of the link alone.
    pub addresses: Vec<IpAddr>,
}

/// The host's end of one of its devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostEnd {
    /// Its name.
    pub name: String,
    /// How many bytes the container has sent by it.
    pub sent: u64,
    /// How many bytes the container has received by it.
    pub received: u64,
}

/// Looks into the network namespace of process `pid`, the init of a container with the id map `map`. Nothing when it is the
/// caller's own.
///
/// # Errors
/// The container has just ended.
pub fn interfaces(pid: i32, map: &IdMap, caller: &Caller) -> Result<Vec<Interface>> {
    let proc = namespace::proc_dir(pid)?;
    let Some(network) = own_network(proc.as_fd())? else { return Ok(Vec::new()) };
    // Everybody may read the names, and a namespace that has the loopback device alone need not be entered.
    let names = sys::path::read_small(proc.as_fd(), Path::new("net/dev"), 1 << 20).unwrap_or_default();
    if has_loopback_alone(&String::from_utf8_lossy(&names)) {
        return Ok(Vec::new());
    }
    let user = namespace::of_process(proc.as_fd(), "user")?;
    let inside = || {
        namespace::join(network.as_fd(), flags::NEWNET)?;
        Ok(seen()?)
    };
    MappedNamespace::of(user, map, caller).ask(inside, &mut || Ok(()))
}

/// Tells whether the text of /proc/PID/net/dev, which begins with two lines of headings, is of the loopback device alone.
fn has_loopback_alone(dev: &str) -> bool {
    let mut devices = dev.lines().skip(2).peekable();
    devices.peek().is_some() && devices.all(|line| line.trim_start().starts_with("lo:"))
}

/// Opens a process's network namespace, unless it is the caller's own.
fn own_network(proc: BorrowedFd<'_>) -> Result<Option<OwnedFd>> {
    let network = namespace::of_process(proc, "net")?;
    let callers = namespace::of_process(namespace::proc_dir(sys::process::own_pid())?.as_fd(), "net")?;
    let is_callers = namespace::identity(network.as_fd())? == namespace::identity(callers.as_fd())?;
    Ok((!is_callers).then_some(network))
}

/// Lists the interfaces of this process's network namespace.
fn seen() -> sys::Result<Vec<Interface>> {
    let links = Connection::open()?.links()?;
    let addresses = Connection::open()?.addresses()?;
    let shown = links.iter().filter(|link| !link.is_loopback).take(SHOWN);
    let mut left = SHOWN;
    let interface = |link: &sys::links::Link| {
        let own = addresses.iter().filter(|address| address.index == link.index).map(|found| found.address);
        let own: Vec<IpAddr> = own.filter(|address| !is_of_the_link(address)).take(left).collect();
        left -= own.len();
        Interface { name: printable(&link.name), addresses: own }
    };
    Ok(shown.map(interface).collect())
}

fn is_of_the_link(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

/// The kernel lets a name be of any bytes but blanks, `/` and `:`.
fn printable(name: &str) -> String {
    name.chars().map(|c| if types::is_shown(c) { c } else { char::REPLACEMENT_CHARACTER }).collect()
}

/// Finds the host's ends of the devices of process `pid`: bryo-netdev has written on each for whom it was made, and to which
/// network namespace the other end went. The number of a namespace that is gone may be another's by now, so what was made for
/// others is not shown to a user.
pub fn host_ends(pid: i32) -> Result<Vec<HostEnd>> {
    let proc = namespace::proc_dir(pid)?;
    let Some(network) = own_network(proc.as_fd())? else { return Ok(Vec::new()) };
    let (caller, network) = (sys::cred::real_uid(), namespace::identity(network.as_fd())?);
    let is_own = |alias: &str| is_alias_of(alias, caller, network);
    let own = sys::links::all()?.into_iter().filter(|link| link.alias.as_deref().is_some_and(is_own));
    Ok(own.map(|link| HostEnd::of(link.name)).collect())
}

/// Tells whether what the helper has written on a device says that it was made for this user, or whoever root looks at, and
/// this network namespace.
fn is_alias_of(alias: &str, caller: HostUid, network: u64) -> bool {
    let words = alias.strip_prefix("bryo uid=").and_then(|rest| rest.split_once(" netns="));
    let Some((uid, rest)) = words else { return false };
    let is_callers = caller.0 == 0 || uid.parse() == Ok(caller.0);
    is_callers && rest.split(' ').next().is_some_and(|inode| inode.parse() == Ok(network))
}

impl HostEnd {
    /// LXC: shows it from the container's side, for which what the host's end has received is what it has sent.
    fn of(name: String) -> Self {
        let directory = Path::new("/sys/class/net").join(&name).join("statistics");
        let count = |file: &str| {
            std::fs::read_to_string(directory.join(file))
                .ok()
                .and_then(|text| text.trim().parse().ok())
                .unwrap_or(0)
        };
        Self { sent: count("rx_bytes"), received: count("tx_bytes"), name }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_was_made_for_another_user_is_not_shown_whatever_namespace_it_went_to() {
        let alias = "bryo uid=1000 netns=4026532001 name=eth0";
        assert!(is_alias_of(alias, HostUid(1000), 4_026_532_001));
        assert!(is_alias_of(alias, HostUid(0), 4_026_532_001));
        assert!(!is_alias_of(alias, HostUid(1001), 4_026_532_001));
        assert!(!is_alias_of(alias, HostUid(1000), 402_653_200));
        assert!(!is_alias_of("uid=1000 netns=4026532001 name=eth0", HostUid(1000), 4_026_532_001));
    }

    #[test]
    fn the_loopback_device_alone_is_told_from_others() {
        let head = "Inter-|   Receive\n face |bytes\n";
        assert!(has_loopback_alone(&format!("{head}    lo: 0 0\n")));
        assert!(!has_loopback_alone(&format!("{head}    lo: 0 0\n  eth0: 1 2\n")));
        assert!(!has_loopback_alone(&format!("{head}  lo0: 1 2\n")));
        assert!(
            !has_loopback_alone(head) && !has_loopback_alone(""),
            "what cannot be read is looked at from inside"
        );
    }

    #[test]
    fn a_name_does_nothing_to_a_terminal() {
        assert_eq!(printable("e\u{1b}[2J"), "e\u{fffd}[2J");
        assert_eq!(printable("eth0.10"), "eth0.10");
    }

    #[test]
    fn addresses_of_the_link_alone_lead_nowhere() {
        assert!(is_of_the_link(&"fe80::1".parse().unwrap()));
        assert!(
            !is_of_the_link(&"2001:db8::1".parse().unwrap()) && !is_of_the_link(&"10.0.0.1".parse().unwrap())
        );
    }
}
