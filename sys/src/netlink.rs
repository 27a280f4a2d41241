//! The network of the current namespace, by rtnetlink(7): what is there, and the few settings that the runtime makes
//! inside a container.
//!
//! What comes back is the kernel's word, but names and addresses in it, and how many there are, can be a container's
//! choice: a list ends at [`MOST`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rtnl::{Builder, Head, Message};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrAny, SocketFlags, SocketType};

use crate::error::{Call, Errno, Error, Result, cvt};
use crate::links::{self, Link};

/// The most interfaces, and the most addresses, that a list has.
pub const MOST: usize = 4096;

/// How often a list of the host's is asked for anew when something came or went meanwhile.
const LISTINGS: usize = 8;

/// The longest datagram that the kernel makes of a list. Source: `netlink_dump`.
const DATAGRAM: usize = 64 << 10;

/// An address of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The number of the interface.
    pub index: u32,
    /// The address.
    pub address: IpAddr,
    /// The length of its network part.
    pub prefix: u8,
}

/// What is set of an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Its hardware address.
    pub address: Option<[u8; 6]>,
    /// Its MTU.
    pub mtu: Option<u32>,
    /// It is raised.
    pub up: bool,
}

/// Where a route goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The network, with the length of its part that counts; `0.0.0.0/0` and `::/0` are everything.
    pub to: (IpAddr, u8),
    /// The gateway; none where the interface itself reaches it.
    pub by: Option<IpAddr>,
}

/// A connection to the kernel's tables of the network namespace in which it was opened.
#[derive(Debug)]
pub struct Connection {
    socket: OwnedFd,
    sequence: u32,
}

impl Connection {
    /// Opens the connection.
    pub fn open() -> Result<Self> {
        let (family, kind) = (AddressFamily::NETLINK, SocketType::RAW);
        // NETLINK_ROUTE is protocol 0, which is what none means.
        let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None)
            .call(|| "socket(AF_NETLINK, NETLINK_ROUTE)".to_owned())?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Lists the interfaces, at most [`MOST`]; [`links::all`] has all of the host's.
    pub fn links(&mut self) -> Result<Vec<Link>> {
        let request = self.begin_link(libc::RTM_GETLINK, libc::NLM_F_DUMP, Head::default());
        let request = request.number(libc::IFLA_EXT_MASK, libc::RTEXT_FILTER_SKIP_STATS as u32);
        self.list(request, "RTM_GETLINK", |message| links::read(message.content))
    }

    /// Lists the addresses of all interfaces.
    pub fn addresses(&mut self) -> Result<Vec<Address>> {
        let request = self.begin(libc::RTM_GETADDR, libc::NLM_F_DUMP, &[0; 8]);
        self.list(request, "RTM_GETADDR", address)
    }

    /// Sets what `settings` says of an interface. First what a raised one does not let be changed.
    pub fn set(&mut self, index: u32, settings: &Settings) -> Result<()> {
        let flags = if settings.up { libc::IFF_UP } else { 0 };
        let mut request =
            self.begin_link(libc::RTM_NEWLINK, libc::NLM_F_ACK, Head { index, flags, change: flags });
        if let Some(mtu) = settings.mtu {
            request = request.number(libc::IFLA_MTU, mtu);
        }
        if let Some(address) = settings.address {
            request = request.bytes(libc::IFLA_ADDRESS, &address);
        }
        self.change(request, || format!("RTM_NEWLINK({index}, {settings:?})"))
    }

    /// Gives an interface an address, with the last one of its network for broadcasts unless another is given.
    pub fn add_address(&mut self, of: &Address, broadcast: Option<Ipv4Addr>) -> Result<()> {
        let Address { index, address, prefix } = *of;
        let mut about = vec![family(address), prefix, 0, libc::RT_SCOPE_UNIVERSE];
        about.extend(index.to_ne_bytes());
        let mut request = self.begin(libc::RTM_NEWADDR, ADDED, &about);
        request = ip(request, libc::IFA_LOCAL, address);
        request = ip(request, libc::IFA_ADDRESS, address);
        if let Some(broadcast) = broadcast.or(last_address(address, prefix)) {
            request = ip(request, libc::IFA_BROADCAST, broadcast.into());
        }
        self.change(request, || format!("RTM_NEWADDR({index}, {address}/{prefix})"))
    }

    /// Adds a route by an interface.
    pub fn add_route(&mut self, index: u32, route: &Route) -> Result<()> {
        let (to, prefix) = route.to;
        let scope = if route.by.is_some() { libc::RT_SCOPE_UNIVERSE } else { libc::RT_SCOPE_LINK };
        let (table, protocol) = (libc::RT_TABLE_MAIN, libc::RTPROT_BOOT);
        let about = [family(to), prefix, 0, 0, table, protocol, scope, libc::RTN_UNICAST, 0, 0, 0, 0];
        let mut request = self.begin(libc::RTM_NEWROUTE, ADDED, &about).number(libc::RTA_OIF, index);
        if prefix > 0 {
            request = ip(request, libc::RTA_DST, to);
        }
        if let Some(gateway) = route.by {
            request = ip(request, libc::RTA_GATEWAY, gateway);
        }
        self.change(request, || match route.by {
            Some(gateway) => format!("RTM_NEWROUTE({to}/{prefix} by {gateway}, {index})"),
            None => format!("RTM_NEWROUTE({to}/{prefix}, {index})"),
        })
    }

    fn begin(&mut self, kind: u16, flags: libc::c_int, about: &[u8]) -> Builder {
        self.sequence += 1;
        Builder::with_head(kind, libc::NLM_F_REQUEST | flags, self.sequence, about)
    }

    fn begin_link(&mut self, kind: u16, flags: libc::c_int, head: Head) -> Builder {
        self.begin(kind, flags, &[]).head(head)
    }

    fn change(&mut self, request: Builder, call: impl Fn() -> String) -> Result<()> {
        self.send(request).call(&call)?;
        self.read(&call, |_| true).map(drop)
    }

    /// Asks for a list of at most [`MOST`] things. After one that was cut the kernel takes no other question.
    fn list<T>(
        &mut self,
        request: Builder,
        call: &str,
        read: impl Fn(&Message<'_>) -> Option<T>,
    ) -> Result<Vec<T>> {
        let call = || call.to_owned();
        self.send(request).call(call)?;
        let mut found = Vec::new();
        self.read(&call, |message| {
            found.extend(read(message));
            found.len() < MOST
        })?;
        Ok(found)
    }

    /// Asks for a list of the host's, however long, and tells whether something came or went meanwhile.
    fn whole_list<T>(
        &mut self,
        kind: u16,
        call: &str,
        read: impl Fn(&Message<'_>) -> Option<T>,
    ) -> Result<(Vec<T>, bool)> {
        let call = || call.to_owned();
        let request = self.begin_link(kind, libc::NLM_F_DUMP, Head::default());
        let request = request.number(libc::IFLA_EXT_MASK, libc::RTEXT_FILTER_SKIP_STATS as u32);
        self.send(request).call(call)?;
        let mut found = Vec::new();
        let changed = self.read(&call, |message| {
            found.extend(read(message));
            true
        })?;
        Ok((found, changed))
    }

    /// Asks for a list of the host's, however long, anew where something came or went meanwhile. Where that does not end,
    /// returns what was seen at the last look.
    pub(crate) fn settled_list<T>(
        &mut self,
        kind: u16,
        call: &str,
        read: impl Fn(&Message<'_>) -> Option<T>,
    ) -> Result<Vec<T>> {
        let mut listed = self.whole_list(kind, call, &read)?;
        for _ in 1..LISTINGS {
            if !listed.1 {
                break;
            }
            listed = self.whole_list(kind, call, &read)?;
        }
        Ok(listed.0)
    }

    fn send(&self, request: Builder) -> rustix::io::Result<()> {
        rustix::net::send(&self.socket, &request.finish(), SendFlags::empty()).map(drop)
    }

    /// Reads the answers to the last request, up to the one that says how it ended, or until `take` has enough. Returns whether
    /// something came or went while the kernel made a list.
    fn read(&self, call: &impl Fn() -> String, mut take: impl FnMut(&Message<'_>) -> bool) -> Result<bool> {
        let mut buffer = vec![0; DATAGRAM];
        let mut changed = false;
        loop {
            let (length, from) = loop {
                match rustix::net::recvfrom(&self.socket, buffer.as_mut_slice(), RecvFlags::empty()) {
                    Err(rustix::io::Errno::INTR) => {}
                    received => break received.map(|(_, length, from)| (length, from)).call(call)?,
                }
            };
            // Who has rights over the network namespace may send to the socket, too.
            if !from.as_ref().is_some_and(is_kernel) {
                continue;
            }
            let datagram = buffer.get(..length).unwrap_or_default();
            for message in rtnl::messages(datagram).filter(|message| message.sequence == self.sequence) {
                changed |= libc::c_int::from(message.flags) & libc::NLM_F_DUMP_INTR != 0;
                match libc::c_int::from(message.kind) {
                    libc::NLMSG_ERROR | libc::NLMSG_DONE => return status(&message, call).map(|()| changed),
                    _ if take(&message) => {}
                    _ => return Ok(changed),
                }
            }
        }
    }
}

/// Hears whether interfaces or addresses of the network namespace in which it was opened have changed since.
#[derive(Debug)]
pub struct Changes(OwnedFd);

/// What it hears of. Source: rtnetlink(7).
const GROUPS: libc::c_int = libc::RTMGRP_LINK | libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV6_IFADDR;

impl Changes {
    /// Begins to listen.
    pub fn open() -> Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)
            .call(|| "socket(AF_NETLINK, NETLINK_ROUTE)".to_owned())?;
        rustix::net::bind(&socket, &SocketAddrNetlink::new(0, GROUPS as u32))
            .call(|| format!("bind(AF_NETLINK, groups {GROUPS:#x})"))?;
        Ok(Self(socket))
    }

    /// Tells whether something has changed. What it is, is not read: the kernel's queue costs nobody anything, however often
    /// a container changes its addresses, and one that has run over tells as much.
    pub fn any(&self) -> bool {
        let received = rustix::net::recv(&self.0, &mut [0u8; 1], RecvFlags::empty());
        !matches!(received, Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR))
    }
}

fn is_kernel(address: &SocketAddrAny) -> bool {
    SocketAddrNetlink::try_from(address.clone()).is_ok_and(|address| address.pid() == 0)
}

/// Something new, which must not be there yet.
const ADDED: libc::c_int = libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_EXCL;

/// Returns what the last message of an answer says.
fn status(message: &Message<'_>, call: &impl Fn() -> String) -> Result<()> {
    let status = rtnl::status(message.content).unwrap_or(Err(libc::EBADMSG));
    status.map_err(|error| Error::new(call(), Errno::from_raw(error)))
}

fn family(address: IpAddr) -> u8 {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    family as u8
}

fn ip(request: Builder, kind: u16, address: IpAddr) -> Builder {
    match address {
        IpAddr::V4(address) => request.bytes(kind, &address.octets()),
        IpAddr::V6(address) => request.bytes(kind, &address.octets()),
    }
}

/// Returns the last address of an IPv4 network, which reaches all others; a network of two or one has none.
fn last_address(address: IpAddr, prefix: u8) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) if prefix < 31 => {
            Some(Ipv4Addr::from(u32::from(address) | u32::MAX.checked_shr(prefix.into()).unwrap_or(0)))
        }
        _ => None,
    }
}

/// Reads an address. That of a point-to-point link has the other side's beside it, so the local one counts where there
/// are two.
fn address(message: &Message<'_>) -> Option<Address> {
    let prefix = *message.content.get(1)?;
    let index = rtnl::number(message.content, 4)?;
    let (mut local, mut other) = (None, None);
    for (kind, content) in rtnl::attributes(message.content.get(8..)?) {
        match kind {
            libc::IFA_LOCAL => local = ip_of(content),
            libc::IFA_ADDRESS => other = ip_of(content),
            _ => {}
        }
    }
    Some(Address { index, address: local.or(other)?, prefix })
}

fn ip_of(content: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(content).map(|octets| Ipv4Addr::from(octets).into());
    v4.or_else(|_| <[u8; 16]>::try_from(content).map(|octets| Ipv6Addr::from(octets).into())).ok()
}

/// Brings the loopback device of the current network namespace up. Source: netdevice(7).
pub fn bring_loopback_up() -> Result<()> {
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
        .call(|| "socket(AF_INET, SOCK_DGRAM)".to_owned())?;
    // SAFETY: all members of ifreq are integers or byte arrays, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads one ifreq from the pointer, which outlives the call.
    let done = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    cvt(done.into(), || "ioctl(SIOCSIFFLAGS, \"lo\", IFF_UP)".to_owned()).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_address_of_a_network_is_for_broadcasts() {
        let last = |text: &str, prefix| last_address(text.parse().unwrap(), prefix).map(|ip| ip.to_string());
        assert_eq!(last("10.0.3.7", 24).as_deref(), Some("10.0.3.255"));
        assert_eq!(last("10.0.3.7", 0).as_deref(), Some("255.255.255.255"));
        assert_eq!((last("10.0.3.7", 31), last("10.0.3.7", 32), last("fe80::1", 64)), (None, None, None));
    }

    /// Whoever has rights over a network namespace, as a container's root has over its own, may send to any such socket there.
    #[test]
    fn what_others_send_to_the_socket_is_not_taken_for_the_kernels() {
        let mut connection = Connection::open().unwrap();
        connection.links().unwrap();
        let own = rustix::net::getsockname(&connection.socket).unwrap();
        let forged = Builder::new(libc::RTM_NEWLINK, 0, connection.sequence + 1, Head::default())
            .text(libc::IFLA_IFNAME, "forged")
            .finish();
        let stranger = Connection::open().unwrap();
        let to = SocketAddrNetlink::try_from(own).unwrap();
        if let Err(e) = rustix::net::sendto(&stranger.socket, &forged, SendFlags::empty(), &to) {
            let name = "what_others_send_to_the_socket_is_not_taken_for_the_kernels";
            // Past the capture of output, so that the skip is counted.
            std::io::Write::write_all(
                &mut std::io::stderr(),
                format!("SKIP: {name}: it takes CAP_NET_ADMIN ({e})\n").as_bytes(),
            )
            .unwrap();
            return;
        }
        assert!(connection.links().unwrap().iter().all(|link| link.name != "forged"));
    }

    #[test]
    fn loopback_is_found_with_its_addresses() {
        let mut connection = Connection::open().unwrap();
        let links = connection.links().unwrap();
        let loopback = links.iter().find(|link| link.is_loopback).unwrap();
        assert_eq!(loopback.name, "lo");
        let addresses = connection.addresses().unwrap();
        let own = addresses.iter().filter(|address| address.index == loopback.index);
        assert!(!loopback.is_up || own.clone().any(|own| own.address.to_string() == "127.0.0.1"));
    }

    /// Takes rights over a network namespace, so it has one of its own.
    #[test]
    fn a_change_of_addresses_is_heard_and_nothing_else() {
        let name = "a_change_of_addresses_is_heard_and_nothing_else";
        let changed = std::thread::spawn(|| {
            crate::namespace::leave(crate::process::flags::NEWNET)?;
            let changes = Changes::open()?;
            let mut connection = Connection::open()?;
            let loopback = connection.links()?.iter().map(|link| link.index).next().unwrap_or_default();
            connection.addresses()?;
            let before = changes.any();
            let here = Address { index: loopback, address: Ipv4Addr::new(10, 0, 0, 7).into(), prefix: 24 };
            connection.add_address(&here, None)?;
            Ok::<_, Error>((before, changes.any()))
        });
        match changed.join().unwrap() {
            Err(e) if e.errno() == Errno::EPERM => std::io::Write::write_all(
                &mut std::io::stderr(),
                format!("SKIP: {name}: it takes CAP_SYS_ADMIN ({e})\n").as_bytes(),
            )
            .unwrap(),
            changed => assert_eq!(changed.unwrap(), (false, true)),
        }
    }

    #[test]
    fn a_refusal_reads_like_a_call() {
        let mut connection = Connection::open().unwrap();
        let nowhere = Address { index: u32::MAX >> 1, address: Ipv4Addr::LOCALHOST.into(), prefix: 8 };
        let refused = connection.add_address(&nowhere, None).unwrap_err();
        assert_eq!(refused.call(), "RTM_NEWADDR(2147483647, 127.0.0.1/8)");
    }
}
