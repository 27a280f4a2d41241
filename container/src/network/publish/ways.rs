//! Where a port inside is reached: at the container's own addresses, which are the container's to choose.
//!
//! The kernel is asked for them once, and again when it has told of a change: somebody who connects over and over costs one look
//! into an empty queue each time, and no list.

use std::net::{IpAddr, SocketAddr};

use sys::netlink::{Changes, Connection as Netlink};

/// The most addresses of the container that are tried, of each family.
const TRIED: usize = 2;

/// The container's addresses as they are now.
#[derive(Debug, Default)]
pub(super) struct Ways(Option<Known>);

#[derive(Debug)]
struct Known {
    addresses: Vec<IpAddr>,
    /// Opened before the kernel was asked, so that nothing is missed. None where the addresses are what they are.
    since: Option<Changes>,
}

impl Ways {
    /// Returns where a port inside may be reached now, those of the family in which somebody asks first. Nowhere while the kernel
    /// has no list, which it may have when it is asked for the next.
    pub(super) fn to(&mut self, inside: u16, asked_by: IpAddr) -> Vec<SocketAddr> {
        let holds = |known: &Known| !known.since.as_ref().is_some_and(Changes::any);
        self.0 = self.0.take().filter(holds).or_else(|| Known::ask().ok());
        let addresses = self.0.as_ref().map_or(&[][..], |known| &known.addresses);
        chosen(addresses, asked_by).into_iter().map(|address| SocketAddr::new(address, inside)).collect()
    }

    /// These addresses, in whatever namespace.
    #[cfg(test)]
    pub(super) fn fixed(addresses: &[IpAddr]) -> Self {
        Self(Some(Known { addresses: addresses.to_vec(), since: None }))
    }
}

impl Known {
    fn ask() -> sys::Result<Self> {
        let since = Changes::open()?;
        Ok(Self { addresses: own_addresses()?, since: Some(since) })
    }
}

/// Chooses some of each family: a service may listen in the other alone.
fn chosen(addresses: &[IpAddr], asked_by: IpAddr) -> Vec<IpAddr> {
    let is_v4 = asked_by.to_canonical().is_ipv4();
    let of = |v4: bool| addresses.iter().filter(move |address| address.is_ipv4() == v4).take(TRIED);
    of(is_v4).chain(of(!is_v4)).copied().collect()
}

/// Lists the addresses of this network namespace that are more than the link's and not loopback's.
fn own_addresses() -> sys::Result<Vec<IpAddr>> {
    let links = Netlink::open()?.links()?;
    let is_used = |index| links.iter().any(|link| link.index == index && link.is_up && !link.is_loopback);
    let found = Netlink::open()?.addresses()?;
    let own = found.iter().filter(|found| is_used(found.index)).map(|found| found.address);
    Ok(own.filter(is_reachable).collect())
}

/// An address of the link needs its interface beside it, and 127.0.0.0/8 can stand on any interface.
fn is_reachable(address: &IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_unspecified(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local() && !v6.is_unspecified(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_family_has_its_turn_however_many_addresses_the_other_has() {
        let all: Vec<IpAddr> =
            ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "fd00::1"].map(|a| a.parse().unwrap()).into();
        assert_eq!(chosen(&all, all[0]), [all[0], all[1], all[4]]);
        assert_eq!(chosen(&all, all[4]), [all[4], all[0], all[1]]);
    }

    #[test]
    fn loopback_is_not_a_way_in() {
        for (address, is) in [
            ("10.0.3.7", true),
            ("127.0.0.1", false),
            ("127.1.2.3", false),
            ("0.0.0.0", false),
            ("fd00::7", true),
            ("::1", false),
            ("::", false),
            ("fe80::1", false),
            ("::ffff:127.0.0.1", false),
            ("::ffff:10.0.3.7", true),
        ] {
            assert_eq!(is_reachable(&address.parse().unwrap()), is, "{address}");
        }
    }
}
