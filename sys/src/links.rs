//! The network interfaces of the current network namespace, as rtnetlink(7) lists them. Everybody may ask.

use rtnl::{attributes, number, text};

use crate::error::Result;
use crate::netlink::Connection;

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
    /// Its address on the link, where that is one of Ethernet's.
    pub mac: Option<[u8; 6]>,
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
    /// It is the loopback device.
    pub is_loopback: bool,
    /// The number of the other end of a pair, in the namespace where that is; else 0.
    pub peer: u32,
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

/// Returns all interfaces, in the order of their numbers. Where some come and go meanwhile, those that were seen at the
/// last look.
pub fn all() -> Result<Vec<Link>> {
    let listed = |message: &rtnl::Message<'_>| read(message.content);
    let mut links = Connection::open()?.settled_list(libc::RTM_GETLINK, "RTM_GETLINK", listed)?;
    links.sort_by_key(|link| link.index);
    links.dedup_by_key(|link| link.index);
    Ok(links)
}

/// Reads what the kernel says of an interface.
pub(crate) fn read(content: &[u8]) -> Option<Link> {
    let (index, of_link) = rtnl::link(content)?;
    let flags = number(content, 8)? as i32;
    let (is_up, is_loopback) = (flags & libc::IFF_UP != 0, flags & libc::IFF_LOOPBACK != 0);
    let mut link = Link { index, is_up, is_loopback, ..Link::default() };
    for (kind, content) in attributes(of_link) {
        match kind {
            libc::IFLA_IFNAME => link.name = text(content),
            libc::IFLA_ADDRESS => link.mac = content.try_into().ok(),
            libc::IFLA_MASTER => link.master = number(content, 0),
            libc::IFLA_LINK => link.peer = number(content, 0)?,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_device_is_the_first_of_a_namespace() {
        let links = all().unwrap();
        assert_eq!((links[0].index, links[0].name.as_str()), (1, "lo"));
        assert_eq!((links[0].kind.as_str(), links[0].master, links[0].port), ("", None, None));
        assert_eq!(links[0].mac, Some([0; 6]));
        assert!(links[0].is_loopback && links[1..].iter().all(|link| !link.is_loopback));
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
            let _read = read(&bytes);
        }
    }
}
