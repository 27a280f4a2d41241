//! The host's interfaces: what is there, and the four changes that this helper makes.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use helpers::filter::{Call, OPENED_TO_CHANGE};
use helpers::rights::{Capability, Rights};
use libc::{c_int, c_ushort};
use rtnl::{Builder, Head, Message};
use types::IfName;

use crate::sys;

/// The system calls that this helper makes beside the common ones. It opens files to read alone, as the policy is once more, and
/// sends only where its sockets are connected: without an address, the fifth argument.
pub const CALLS: &[Call] = &[
    Call::any(libc::SYS_openat).without(2, OPENED_TO_CHANGE),
    Call::any(libc::SYS_read),
    Call::any(libc::SYS_sendto).without(4, u64::MAX),
    Call::any(libc::SYS_recvfrom),
    Call::any(libc::SYS_capset),
];

/// Attributes that the C library has no names for. Sources: linux/veth.h, linux/if_link.h.
const VETH_INFO_PEER: c_ushort = 1;
const IFLA_BRPORT_GUARD: c_ushort = 5;
const IFLA_BRPORT_ISOLATED: c_ushort = 33;
const IFLA_INET6_ADDR_GEN_MODE: c_ushort = 8;
const IN6_ADDR_GEN_MODE_NONE: u8 = 1;

/// The longest datagram that the kernel makes of a list of links. Source: `netlink_dump`.
const DATAGRAM: usize = 65_536;

/// How often the links are listed anew when some came or went meanwhile.
const LISTINGS: usize = 8;

/// An interface, as far as it matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its other names, by which the kernel finds it too.
    pub others: Vec<String>,
    /// What it is (`bridge`, `veth`).
    pub kind: String,
    /// The number of the interface that it is a port of.
    pub master: Option<u32>,
    /// Its MTU.
    pub mtu: u32,
    /// The number by which the administrator may speak of several; here the uid of who asked.
    pub group: u32,
    /// It is a port of a bridge, and reaches no other that is kept apart too.
    pub isolated: bool,
}

/// What a pair is to be.
#[derive(Debug)]
pub struct Pair<'a> {
    /// The name of the host's end.
    pub slot: &'a str,
    /// The bridge of the host's end.
    pub bridge: &'a Link,
    /// The address of the host's end.
    pub address: [u8; 6],
    /// The uid of who asks.
    pub uid: u32,
    /// The name of the other end.
    pub peer: &'a IfName,
    /// Where the other end goes.
    pub namespace: BorrowedFd<'a>,
}

/// How the host's end is put to work.
#[derive(Debug)]
pub struct Port<'a> {
    /// Its number.
    pub index: u32,
    /// Whether it is to reach no other port of its kind. Where not it stays as it is: somebody else's helper may have kept it
    /// apart since it was made.
    pub isolated: bool,
    /// What the administrator reads about it.
    pub alias: &'a str,
}

/// A connection to the kernel's table of links.
///
/// The kernel looks at the capabilities of who opened the socket and at those of who sends.
#[derive(Debug)]
pub struct Links<'a> {
    socket: OwnedFd,
    rights: &'a Rights,
    sequence: u32,
    buffer: Vec<u8>,
}

impl<'a> Links<'a> {
    /// Opens the connection.
    ///
    /// # Errors
    /// The kernel refuses, for which it has no reason.
    pub fn open(rights: &'a Rights) -> io::Result<Self> {
        let socket = rights.with(Capability::NetAdmin, sys::route_socket)?;
        Ok(Self { socket, rights, sequence: 0, buffer: vec![0; DATAGRAM] })
    }

    /// Returns the interface that has this name, or has it among its others.
    ///
    /// # Errors
    /// The kernel cannot answer.
    pub fn find(&mut self, name: &str) -> io::Result<Option<Link>> {
        let request = self.message(libc::RTM_GETLINK, libc::NLM_F_ACK, Head::default());
        let request = request.text(libc::IFLA_IFNAME, name).number(libc::IFLA_EXT_MASK, SKIP_STATISTICS);
        let mut found = None;
        match self.ask(request, |message| found = link(message.content)) {
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            result => result.map(|()| found),
        }
    }

    /// Returns all interfaces. Where some come and go at every try meanwhile, those that were seen at any time.
    ///
    /// # Errors
    /// The kernel cannot answer.
    pub fn all(&mut self) -> io::Result<Vec<Link>> {
        let mut seen: Vec<Link> = Vec::new();
        for _ in 0..LISTINGS {
            let (mut listed, mut changed) = (Vec::new(), false);
            let request = self.message(libc::RTM_GETLINK, libc::NLM_F_DUMP, Head::default());
            self.ask(request.number(libc::IFLA_EXT_MASK, SKIP_STATISTICS), |message| {
                changed |= c_int::from(message.flags) & libc::NLM_F_DUMP_INTR != 0;
                listed.extend(link(message.content));
            })?;
            if !changed {
                return Ok(listed);
            }
            seen.append(&mut listed);
        }
        seen.sort_by(|a, b| (a.index, &a.name).cmp(&(b.index, &b.name)));
        seen.dedup_by(|a, b| (a.index, &a.name) == (b.index, &b.name));
        Ok(seen)
    }

    /// Makes a pair: one end on the bridge and down, the other in the namespace under its final name. All of it, or
    /// nothing.
    ///
    /// It stays down, so that nothing passes before the port is guarded, also when this program ends here.
    ///
    /// # Errors
    /// EEXIST when one of the two names is taken, and what else the kernel has against it.
    pub fn create(&mut self, pair: &Pair<'_>) -> io::Result<()> {
        let flags = libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        let mtu = pair.bridge.mtu;
        let request = self
            .message(libc::RTM_NEWLINK, flags, Head::default())
            .text(libc::IFLA_IFNAME, pair.slot)
            .number(libc::IFLA_MASTER, pair.bridge.index)
            // A bridge takes the smallest MTU of its ports, so one of 9000 would shrink by a port of 1500.
            .number(libc::IFLA_MTU, mtu)
            .number(libc::IFLA_GROUP, pair.uid)
            .bytes(libc::IFLA_ADDRESS, &pair.address);
        let request = one_queue(request).nested(libc::IFLA_LINKINFO, |info| {
            let peer = |peer: Builder| {
                one_queue(peer.head(Head::default()))
                    .text(libc::IFLA_IFNAME, pair.peer.as_str())
                    .number(libc::IFLA_MTU, mtu)
                    .number(libc::IFLA_NET_NS_FD, pair.namespace.as_raw_fd() as u32)
            };
            info.text(libc::IFLA_INFO_KIND, "veth")
                .nested(libc::IFLA_INFO_DATA, |data| data.nested(VETH_INFO_PEER, peer))
        });
        self.change(request)
    }

    /// Guards a port and puts it to work, in this order: no address of the host's own on it; then, in one step, no spanning tree
    /// of the container's, no neighbour where ports are kept apart, and up.
    ///
    /// The address is a step of its own, since the kernel raises a device before it looks at this wish, and a device whose other end
    /// is up already would have an address by then.
    ///
    /// # Errors
    /// ENODEV when it is gone, and what else the kernel has against it.
    pub fn raise(&mut self, port: &Port<'_>) -> io::Result<()> {
        let alone = self.message(libc::RTM_NEWLINK, libc::NLM_F_ACK, Head::of(port.index));
        let alone = alone.nested(libc::IFLA_AF_SPEC, |families| {
            families.nested(libc::AF_INET6 as c_ushort, |family| {
                family.bytes(IFLA_INET6_ADDR_GEN_MODE, &[IN6_ADDR_GEN_MODE_NONE])
            })
        });
        match self.change(alone) {
            // A host without IPv6 gives no address on its own, and does not know the question.
            Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => {}
            result => result?,
        }
        let head = Head { index: port.index, flags: libc::IFF_UP, change: libc::IFF_UP };
        let request = self.message(libc::RTM_NEWLINK, libc::NLM_F_ACK, head);
        self.change(request.text(libc::IFLA_IFALIAS, port.alias).nested(libc::IFLA_LINKINFO, |info| {
            info.text(libc::IFLA_INFO_SLAVE_KIND, "bridge").nested(libc::IFLA_INFO_SLAVE_DATA, |data| {
                let data = data.bytes(IFLA_BRPORT_GUARD, &[1]);
                if port.isolated { data.bytes(IFLA_BRPORT_ISOLATED, &[1]) } else { data }
            })
        }))
    }

    /// Keeps a port apart from the others that are.
    ///
    /// # Errors
    /// ENODEV when it is gone, EINVAL when it is no port any more.
    pub fn isolate(&mut self, index: u32) -> io::Result<()> {
        let request = self.message(libc::RTM_NEWLINK, libc::NLM_F_ACK, Head::of(index));
        self.change(request.nested(libc::IFLA_LINKINFO, |info| {
            info.text(libc::IFLA_INFO_SLAVE_KIND, "bridge")
                .nested(libc::IFLA_INFO_SLAVE_DATA, |data| data.bytes(IFLA_BRPORT_ISOLATED, &[1]))
        }))
    }

    /// Removes an interface that this program has made.
    ///
    /// # Errors
    /// It is gone already.
    pub fn remove(&mut self, index: u32) -> io::Result<()> {
        let request = self.message(libc::RTM_DELLINK, libc::NLM_F_ACK, Head::of(index));
        self.change(request)
    }

    fn message(&mut self, kind: u16, flags: c_int, head: Head) -> Builder {
        self.sequence += 1;
        Builder::new(kind, libc::NLM_F_REQUEST | flags, self.sequence, head)
    }

    /// Asks for a change, which takes the capability.
    fn change(&mut self, request: Builder) -> io::Result<()> {
        let request = request.finish();
        self.rights.with(Capability::NetAdmin, || sys::send(self.socket.as_fd(), &request))?;
        self.read(|_| ())
    }

    /// Asks a question, which takes none.
    fn ask(&mut self, request: Builder, take: impl FnMut(&Message<'_>)) -> io::Result<()> {
        sys::send(self.socket.as_fd(), &request.finish())?;
        self.read(take)
    }

    /// Reads the answers to the last request, up to the one that says how it ended.
    fn read(&mut self, mut take: impl FnMut(&Message<'_>)) -> io::Result<()> {
        loop {
            let (length, sender) = sys::receive(self.socket.as_fd(), &mut self.buffer)?;
            if sender != KERNEL {
                continue;
            }
            let datagram = self.buffer.get(..length).ok_or(io::ErrorKind::InvalidData)?;
            for message in rtnl::messages(datagram).filter(|message| message.sequence == self.sequence) {
                match c_int::from(message.kind) {
                    libc::NLMSG_ERROR | libc::NLMSG_DONE => {
                        let status = rtnl::status(message.content).ok_or(io::ErrorKind::InvalidData)?;
                        return status.map_err(io::Error::from_raw_os_error);
                    }
                    _ => take(&message),
                }
            }
        }
    }
}

/// The sender of what the kernel sends.
const KERNEL: u32 = 0;

/// Leaves out of an answer the counters that nobody reads here.
const SKIP_STATISTICS: u32 = libc::RTEXT_FILTER_SKIP_STATS as u32;

/// Asks for a device of one queue each way. That is what it works with anyhow; but without being asked the kernel makes it
/// with one for each processor, takes the others out of use, and waits twice until no processor looks at them any more
/// (`netif_set_real_num_tx_queues`), which is a quarter of the time that a pair takes.
fn one_queue(message: Builder) -> Builder {
    message.number(libc::IFLA_NUM_TX_QUEUES, 1).number(libc::IFLA_NUM_RX_QUEUES, 1)
}

/// Reads what the kernel says of a link.
pub fn link(content: &[u8]) -> Option<Link> {
    let (index, attributes) = rtnl::link(content)?;
    let mut link = Link { index, ..Link::default() };
    for (kind, content) in rtnl::attributes(attributes) {
        match kind {
            libc::IFLA_IFNAME => link.name = rtnl::text(content),
            libc::IFLA_MASTER => link.master = rtnl::number(content, 0),
            libc::IFLA_MTU => link.mtu = rtnl::number(content, 0)?,
            libc::IFLA_GROUP => link.group = rtnl::number(content, 0)?,
            libc::IFLA_LINKINFO => {
                link.kind = kind_of(content);
                link.isolated = is_isolated(content);
            }
            libc::IFLA_PROP_LIST => link.others = other_names(content),
            _ => {}
        }
    }
    Some(link)
}

fn kind_of(info: &[u8]) -> String {
    let kind = rtnl::attributes(info).find(|(kind, _)| *kind == libc::IFLA_INFO_KIND);
    kind.map(|(_, content)| rtnl::text(content)).unwrap_or_default()
}

/// The content of IFLA_INFO_SLAVE_DATA is that of a bridge's port only where the port is one of a bridge.
fn is_isolated(info: &[u8]) -> bool {
    let find = |content, wanted| rtnl::attributes(content).find(|(kind, _)| *kind == wanted);
    let port = find(info, libc::IFLA_INFO_SLAVE_DATA).and_then(|(_, port)| find(port, IFLA_BRPORT_ISOLATED));
    port.is_some_and(|(_, content)| content == [1])
}

fn other_names(properties: &[u8]) -> Vec<String> {
    let names = rtnl::attributes(properties).filter(|(kind, _)| *kind == libc::IFLA_ALT_IFNAME);
    names.map(|(_, content)| rtnl::text(content)).collect()
}

impl Link {
    /// Tells whether it has this name, or has it among its others.
    pub fn is_named(&self, name: &str) -> bool {
        self.name == name || self.others.iter().any(|other| other == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a kernel has said, of a bridge br0, its guarded and isolated port p0, and the other end p1, which has a
    /// second name.
    const LISTS: [&[u8]; 2] =
        [include_bytes!("../../fuzz/seeds/netlink/list0"), include_bytes!("../../fuzz/seeds/netlink/list1")];
    const PORT: &[u8] = include_bytes!("../../fuzz/seeds/netlink/port");

    fn links(datagram: &[u8]) -> Vec<Link> {
        rtnl::messages(datagram).filter_map(|message| link(message.content)).collect()
    }

    #[test]
    fn links_are_read_as_the_kernel_lists_them() {
        let all: Vec<Link> = LISTS.iter().flat_map(|list| links(list)).collect();
        let named = |name: &str| all.iter().find(|link| link.is_named(name)).unwrap();
        assert_eq!(all.len(), 4);
        let bridge = named("br0");
        assert_eq!(
            (bridge.kind.as_str(), bridge.master, bridge.mtu, bridge.isolated),
            ("bridge", None, 1500, false)
        );
        let other = named("second");
        assert_eq!((other.name.as_str(), other.kind.as_str(), other.others.len()), ("p1", "veth", 1));
        assert_eq!(other, named("p1"));
        let port = named("p0");
        assert_eq!((port.kind.as_str(), port.master, port.isolated), ("veth", Some(bridge.index), true));
        let numbers: std::collections::BTreeSet<u32> = all.iter().map(|link| link.index).collect();
        assert_eq!(numbers.len(), 4);
        assert_eq!(links(PORT), std::slice::from_ref(port));
        assert!(!port.is_named("p1") && !port.is_named("") && named("lo").kind.is_empty());
    }

    #[test]
    fn what_is_no_port_of_a_bridge_or_not_isolated_is_not() {
        let said = |content: &[u8]| {
            let built = Builder::new(16, 0, 0, Head::of(7));
            let built = built.number(libc::IFLA_GROUP, 1000).nested(libc::IFLA_LINKINFO, |info| {
                info.nested(libc::IFLA_INFO_SLAVE_DATA, |port| {
                    port.bytes(IFLA_BRPORT_GUARD, &[1]).bytes(IFLA_BRPORT_ISOLATED, content)
                })
            });
            links(&built.finish())
        };
        let link = |isolated| Link { index: 7, group: 1000, isolated, ..Link::default() };
        assert_eq!(said(&[1]), [link(true)]);
        for content in [&[0][..], &[], &[2], &[1, 0]] {
            assert_eq!(said(content), [link(false)]);
        }
        let without = Builder::new(16, 0, 0, Head::of(7));
        let without =
            without.number(libc::IFLA_GROUP, 1000).nested(libc::IFLA_LINKINFO, |info| info.bytes(9, &[1]));
        assert_eq!(links(&without.finish()), [link(false)]);
    }

    #[test]
    fn a_device_is_asked_for_with_one_queue_each_way() {
        let built = one_queue(Builder::new(16, 0, 0, Head::default())).finish();
        let message = rtnl::messages(&built).next().unwrap();
        let all: Vec<_> = rtnl::attributes(rtnl::link(message.content).unwrap().1).collect();
        let one = &1u32.to_ne_bytes()[..];
        assert_eq!(all, [(libc::IFLA_NUM_TX_QUEUES, one), (libc::IFLA_NUM_RX_QUEUES, one)]);
    }
}
