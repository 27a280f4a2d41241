//! The network interfaces of the current network namespace, as rtnetlink(7) lists them. Everybody may ask.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvFlags, SendFlags, SocketAddrAny, SocketFlags, SocketType, netlink,
};

use crate::error::{Call, Errno, Error, Result};

/// An interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its other names, by which the kernel finds it too.
    pub others: Vec<String>,
    /// What it is (`bridge`, `veth`); empty for hardware.
    pub kind: String,
    /// The number of the interface that it is a port of.
    pub master: Option<u32>,
    /// How the bridge treats it, where it is a port of one.
    pub port: Option<Port>,
    /// What the administrator, or a program, wrote beside it.
    pub alias: Option<String>,
    /// The number by which the administrator may speak of several.
    pub group: u32,
    /// It is up.
    pub is_up: bool,
}

/// How a bridge treats a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Port {
    /// It is closed when it sends messages of a spanning tree.
    pub is_guarded: bool,
    /// It reaches no other port of its kind.
    pub is_isolated: bool,
}

/// Attributes that the C library has no names for. Source: linux/if_link.h.
const IFLA_BRPORT_GUARD: u16 = 5;
const IFLA_BRPORT_ISOLATED: u16 = 33;

/// The lengths of a message's header, of the description of a link behind it, and of an attribute's header.
const HEADER: usize = 16;
const LINK: usize = 16;
const ATTRIBUTE: usize = 4;

/// What is kept of an attribute's type: the two bits above say how its content is to be read.
const TYPE_BITS: u16 = 0x3fff;

/// The longest datagram that the kernel makes of a list. Source: `netlink_dump`.
const DATAGRAM: usize = 64 << 10;

/// How often the interfaces are listed anew when some came or went meanwhile.
const LISTINGS: usize = 8;

/// Returns all interfaces, in the order of their numbers. Where some come and go meanwhile, those that were seen at the
/// last look.
pub fn all() -> Result<Vec<Link>> {
    let mut links = Vec::new();
    for sequence in 1..=LISTINGS as u32 {
        let (seen, changed) = list(sequence)?;
        links = seen;
        if !changed {
            break;
        }
    }
    links.sort_by_key(|link| link.index);
    links.dedup_by_key(|link| link.index);
    Ok(links)
}

/// Lists the interfaces once, and tells whether some came or went meanwhile.
fn list(sequence: u32) -> Result<(Vec<Link>, bool)> {
    // Without a protocol it is that of number 0, NETLINK_ROUTE.
    let socket =
        rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)
            .call(|| "socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE)".to_owned())?;
    rustix::net::sendto(
        &socket,
        &request(sequence),
        SendFlags::empty(),
        &netlink::SocketAddrNetlink::new(0, 0),
    )
    .call(|| "sendto(RTM_GETLINK, NLM_F_DUMP)".to_owned())?;

    let call = || "recvmsg(RTM_NEWLINK)".to_owned();
    let (mut links, mut changed) = (Vec::new(), false);
    let mut buffer = vec![0; DATAGRAM];
    loop {
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let mut control = RecvAncillaryBuffer::new(&mut [] as &mut [MaybeUninit<u8>]);
        let got = match rustix::net::recvmsg(&socket, &mut parts, &mut control, RecvFlags::empty()) {
            Err(rustix::io::Errno::INTR) => continue,
            got => got.call(call)?,
        };
        // Any process may send to the socket.
        if !got.address.as_ref().is_some_and(is_kernel) {
            continue;
        }
        let datagram = buffer.get(..got.bytes).unwrap_or_default();
        for message in messages(datagram).filter(|message| message.sequence == sequence) {
            changed |= i32::from(message.flags) & libc::NLM_F_DUMP_INTR != 0;
            match i32::from(message.kind) {
                libc::NLMSG_DONE => return Ok((links, changed)),
                libc::NLMSG_ERROR => {
                    let errno = number(message.content, 0).map_or(libc::EBADMSG, |code| -(code as i32));
                    return Err(Error::new(call(), Errno::from_raw(errno)));
                }
                _ => links.extend(link(message.content)),
            }
        }
    }
}

fn is_kernel(address: &SocketAddrAny) -> bool {
    netlink::SocketAddrNetlink::try_from(address.clone()).is_ok_and(|address| address.pid() == 0)
}

/// Returns the request for all interfaces, without their counters.
fn request(sequence: u32) -> Vec<u8> {
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16;
    let mut bytes = vec![0; 4];
    bytes.extend(libc::RTM_GETLINK.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend([0; 4 + LINK]);
    bytes.extend(8u16.to_ne_bytes());
    bytes.extend(libc::IFLA_EXT_MASK.to_ne_bytes());
    bytes.extend((libc::RTEXT_FILTER_SKIP_STATS as u32).to_ne_bytes());
    let length = bytes.len() as u32;
    bytes[..4].copy_from_slice(&length.to_ne_bytes());
    bytes
}

/// A message that has come.
struct Message<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    content: &'a [u8],
}

/// Returns the messages in a datagram, up to one whose length makes no sense.
fn messages(mut datagram: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = number(datagram, 0)? as usize;
        let content = datagram.get(HEADER..length)?;
        let (kind, flags) = (half(datagram, 4)?, half(datagram, 6)?);
        let sequence = number(datagram, 8)?;
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Message { kind, flags, sequence, content })
    })
}

/// Returns the attributes in `bytes` with their types, up to one whose length makes no sense.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (length, kind) = (usize::from(half(bytes, 0)?), half(bytes, 2)?);
        let content = bytes.get(ATTRIBUTE..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind & TYPE_BITS, content))
    })
}

/// Reads what the kernel says of an interface.
fn link(content: &[u8]) -> Option<Link> {
    let is_up = number(content, 8)? as i32 & libc::IFF_UP != 0;
    let mut link = Link { index: number(content, 4)?, is_up, ..Link::default() };
    for (kind, content) in attributes(content.get(LINK..)?) {
        match kind {
            libc::IFLA_IFNAME => link.name = text(content),
            libc::IFLA_MASTER => link.master = number(content, 0),
            libc::IFLA_IFALIAS => link.alias = Some(text(content)),
            libc::IFLA_GROUP => link.group = number(content, 0)?,
            libc::IFLA_LINKINFO => information(&mut link, content),
            libc::IFLA_PROP_LIST => link.others = other_names(content),
            _ => {}
        }
    }
    Some(link)
}

fn information(link: &mut Link, content: &[u8]) {
    let find = |wanted| attributes(content).find(|(kind, _)| *kind == wanted).map(|(_, content)| content);
    link.kind = find(libc::IFLA_INFO_KIND).map(text).unwrap_or_default();
    let of_bridge = find(libc::IFLA_INFO_SLAVE_KIND).map(text).as_deref() == Some("bridge");
    link.port = find(libc::IFLA_INFO_SLAVE_DATA).filter(|_| of_bridge).map(|data| {
        let is_on =
            |wanted| attributes(data).any(|(kind, content)| kind == wanted && content.first() == Some(&1));
        Port { is_guarded: is_on(IFLA_BRPORT_GUARD), is_isolated: is_on(IFLA_BRPORT_ISOLATED) }
    });
}

fn other_names(properties: &[u8]) -> Vec<String> {
    attributes(properties)
        .filter(|(kind, _)| *kind == libc::IFLA_ALT_IFNAME)
        .map(|(_, name)| text(name))
        .collect()
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

/// Returns the text in an attribute, up to its NUL.
fn text(content: &[u8]) -> String {
    let end = content.iter().position(|byte| *byte == 0).unwrap_or(content.len());
    String::from_utf8_lossy(&content[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_device_is_the_first_of_a_namespace() {
        let links = all().unwrap();
        assert_eq!((links[0].index, links[0].name.as_str()), (1, "lo"));
        assert_eq!((links[0].kind.as_str(), links[0].master, links[0].port), ("", None, None));
    }

    #[test]
    fn whatever_arrives_is_read_to_an_end() {
        // xorshift: numbers that look like chance and are the same in each run.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for round in 0..20_000 {
            let length = round % 97;
            let bytes: Vec<u8> = (0..length)
                .map(|_| {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    // Small numbers are lengths that nearly fit.
                    if state & 1 == 0 { (state >> 8) as u8 % 24 } else { 0 }
                })
                .collect();
            assert!(messages(&bytes).count() <= length);
            assert!(attributes(&bytes).count() <= length);
            let _read = link(&bytes);
        }
    }
}
