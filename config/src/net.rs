//! Network devices of `lxc.net.N.*`.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::Fault;

word_enum! {
    /// The kind of a network device.
    #[derive(Default)]
    NetKind, "a network type (empty, none, veth, macvlan, ipvlan, vlan, phys)" {
        /// A network namespace with loopback alone.
        #[default]
        Empty = "empty",
        /// The host's own network.
        None = "none",
        /// A pair of virtual devices, one end on a bridge of the host.
        Veth = "veth",
        /// A device with its own address beside the host's.
        Macvlan = "macvlan",
        /// A device that shares the address of the host's.
        Ipvlan = "ipvlan",
        /// A tagged VLAN on a device of the host.
        Vlan = "vlan",
        /// A device of the host, moved.
        Phys = "phys",
    }
}

word_enum! {
    /// How the host's end of a veth pair is connected.
    #[derive(Default)]
    VethMode, "bridge or router" {
        /// On a bridge.
        #[default]
        Bridge = "bridge",
        /// By static routes on the host.
        Router = "router",
    }
}

word_enum! {
    /// How macvlan devices on one parent reach each other.
    #[derive(Default)]
    MacvlanMode, "private, vepa, bridge or passthru" {
        /// Not at all.
        #[default]
        Private = "private",
        /// By the switch outside.
        Vepa = "vepa",
        /// Directly.
        Bridge = "bridge",
        /// One device alone holds the parent.
        Passthru = "passthru",
    }
}

word_enum! {
    /// On which layer an ipvlan device works.
    #[derive(Default)]
    IpvlanMode, "l3, l3s or l2" {
        /// Routing in the parent's namespace.
        #[default]
        L3 = "l3",
        /// As `l3`, through netfilter of the parent.
        L3s = "l3s",
        /// Switching.
        L2 = "l2",
    }
}

word_enum! {
    /// How ipvlan devices on one parent reach each other.
    #[derive(Default)]
    IpvlanIsolation, "bridge, private or vepa" {
        /// Directly.
        #[default]
        Bridge = "bridge",
        /// Not at all.
        Private = "private",
        /// By the switch outside.
        Vepa = "vepa",
    }
}

/// One `lxc.net.N` device. Fields of other kinds than its own have no effect.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct NetDevice {
    /// The kind; `empty` until `type` is set.
    pub kind: NetKind,
    /// The bridge or parent device on the host. For `phys` a trailing `+` matches by prefix.
    pub link: Option<String>,
    /// Whether the device is raised.
    pub flags_up: bool,
    /// The name in the container; none gives `eth0`, `eth1`, ...
    pub name: Option<String>,
    /// The hardware address, possibly with digits left to chance.
    pub hwaddr: Option<HwAddr>,
    /// The MTU in bytes.
    pub mtu: Option<u32>,
    /// IPv4 addresses.
    pub ipv4_addresses: Vec<Ipv4Address>,
    /// The IPv4 default gateway.
    pub ipv4_gateway: Option<Gateway<Ipv4Addr>>,
    /// IPv6 addresses; 64 bits of network where none are given.
    pub ipv6_addresses: Vec<Cidr<Ipv6Addr>>,
    /// The IPv6 default gateway.
    pub ipv6_gateway: Option<Gateway<Ipv6Addr>>,
    /// A command to run on the host when the device is made.
    pub script_up: Option<String>,
    /// A command to run on the host when the device goes.
    pub script_down: Option<String>,
    /// Settings for `veth`.
    pub veth: Veth,
    /// Mode for `macvlan`.
    pub macvlan_mode: MacvlanMode,
    /// Mode for `ipvlan`.
    pub ipvlan_mode: IpvlanMode,
    /// Isolation for `ipvlan`.
    pub ipvlan_isolation: IpvlanIsolation,
    /// The tag for `vlan`.
    pub vlan_id: u16,
    /// Whether the host answers ARP and NDP for the container's addresses on the link.
    pub l2proxy: bool,
}

impl NetDevice {
    /// Tells whether the device takes an address of its bridge for a gateway.
    pub fn asks_the_bridge(&self) -> bool {
        self.ipv4_gateway == Some(Gateway::Auto) || self.ipv6_gateway == Some(Gateway::Auto)
    }
}

/// Settings of a veth device.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Veth {
    /// The name of the end on the host.
    pub pair: Option<String>,
    /// How that end is connected.
    pub mode: VethMode,
    /// The number of receive queues.
    pub rx_queues: Option<u32>,
    /// The number of transmit queues.
    pub tx_queues: Option<u32>,
    /// IPv4 networks that the host routes to the container.
    pub ipv4_routes: Vec<Cidr<Ipv4Addr>>,
    /// IPv6 networks that the host routes to the container.
    pub ipv6_routes: Vec<Cidr<Ipv6Addr>>,
    /// The untagged VLAN of the port on the bridge.
    pub vlan: Option<VethVlan>,
    /// The tagged VLANs of the port on the bridge.
    pub tagged_vlans: Vec<u16>,
}

/// The untagged VLAN of a bridge port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum VethVlan {
    /// In none.
    None,
    /// In this one, 1 to 4094.
    Id(u16),
}

impl FromStr for VethVlan {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        if text == "none" { Ok(Self::None) } else { vlan_id(text).map(Self::Id) }
    }
}

impl fmt::Display for VethVlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Id(id) => id.fmt(f),
        }
    }
}

/// Reads the number of a VLAN. Source: IEEE 802.1Q, which reserves 0 and 4095.
pub(crate) fn vlan_id(text: &str) -> Result<u16, Fault> {
    let id = text.parse().ok().filter(|id| (1..=4094).contains(id));
    id.ok_or_else(|| Fault::value(text, "a VLAN id from 1 to 4094"))
}

/// An address or network with the length of its network part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Cidr<A> {
    /// The address.
    pub address: A,
    /// The length of the network part in bits.
    pub prefix: u8,
}

/// An address type with its length in bits and the length of a network that is not given.
pub(crate) trait IpAddress: FromStr + fmt::Display + Copy {
    /// The length in bits.
    const BITS: u8;
    /// What one is called in messages.
    const EXPECTED: &'static str;
    /// The length of the network part where none is written.
    fn usual_prefix(self) -> u8;
}

impl IpAddress for Ipv4Addr {
    const BITS: u8 = 32;
    const EXPECTED: &'static str = "an IPv4 address";

    /// The class of the address decides, as in LXC: 10.x is /8.
    fn usual_prefix(self) -> u8 {
        match self.octets()[0] {
            0..=127 => 8,
            128..=191 => 16,
            192..=223 => 24,
            _ => 32,
        }
    }
}

impl IpAddress for Ipv6Addr {
    const BITS: u8 = 128;
    const EXPECTED: &'static str = "an IPv6 address";

    fn usual_prefix(self) -> u8 {
        64
    }
}

impl<A: IpAddress> FromStr for Cidr<A> {
    type Err = Fault;

    /// Reads `ADDRESS[/PREFIX]`.
    fn from_str(text: &str) -> Result<Self, Fault> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let address: A = address.parse().map_err(|_| Fault::value(address, A::EXPECTED))?;
        let prefix = match prefix {
            None => address.usual_prefix(),
            Some(bits) => bits
                .parse()
                .ok()
                .filter(|bits| *bits <= A::BITS)
                .ok_or_else(|| Fault::value(bits, "the length of a network prefix"))?,
        };
        Ok(Self { address, prefix })
    }
}

impl<A: fmt::Display> fmt::Display for Cidr<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// An IPv4 address of a device, with its broadcast address if one is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Ipv4Address {
    /// The address and the length of its network part.
    pub cidr: Cidr<Ipv4Addr>,
    /// The broadcast address; none takes the last address of the network.
    pub broadcast: Option<Ipv4Addr>,
}

impl FromStr for Ipv4Address {
    type Err = Fault;

    /// Reads `ADDRESS[/PREFIX] [BROADCAST]`.
    fn from_str(text: &str) -> Result<Self, Fault> {
        let mut fields = text.split_ascii_whitespace();
        let cidr = fields.next().unwrap_or_default().parse()?;
        let address = |text: &str| text.parse().map_err(|_| Fault::value(text, "a broadcast address"));
        let broadcast = fields.next().map(address).transpose()?;
        match fields.next() {
            Some(more) => Err(Fault::value(more, "the end of ADDRESS[/PREFIX] [BROADCAST]")),
            None => Ok(Self { cidr, broadcast }),
        }
    }
}

impl fmt::Display for Ipv4Address {
    /// LXC: leaves the broadcast address out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cidr.fmt(f)?;
        self.broadcast.map_or(Ok(()), |broadcast| write!(f, " {broadcast}"))
    }
}

/// A default gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Gateway<A> {
    /// This address.
    Address(A),
    /// The first address of the bridge.
    Auto,
    /// The device itself.
    Dev,
}

impl<A: IpAddress> FromStr for Gateway<A> {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        match text {
            "auto" => Ok(Self::Auto),
            "dev" => Ok(Self::Dev),
            address => address
                .parse()
                .map(Self::Address)
                .map_err(|_| Fault::value(text, "an address of that family, 'auto' or 'dev'")),
        }
    }
}

impl<A: fmt::Display> fmt::Display for Gateway<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Auto => f.write_str("auto"),
            Self::Dev => f.write_str("dev"),
        }
    }
}

/// A hardware address of 12 hexadecimal digits, of which an `x` leaves one to chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct HwAddr([Option<u8>; 12]);

impl HwAddr {
    /// Tells whether no digit is left to chance.
    pub fn is_fixed(self) -> bool {
        self.0.iter().all(Option::is_some)
    }

    /// Returns the address with its open digits taken from `chance`.
    ///
    /// When a digit of the first octet was open the multicast bit is cleared, since a device cannot have a
    /// multicast address.
    pub fn fill(self, chance: [u8; 6]) -> [u8; 6] {
        let mut octets: [u8; 6] = std::array::from_fn(|i| {
            let high = self.0[2 * i].unwrap_or(chance[i] >> 4);
            let low = self.0[2 * i + 1].unwrap_or(chance[i] & 0xf);
            high << 4 | low
        });
        if self.0[1].is_none() {
            octets[0] &= !1;
        }
        octets
    }
}

impl From<[u8; 6]> for HwAddr {
    fn from(octets: [u8; 6]) -> Self {
        Self(std::array::from_fn(|i| Some(if i % 2 == 0 { octets[i / 2] >> 4 } else { octets[i / 2] & 0xf })))
    }
}

impl FromStr for HwAddr {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        let meant = || {
            Some(text.replace(['-', '.'], ":"))
                .filter(|meant| *meant != text && meant.parse::<Self>().is_ok())
        };
        let wrong = || Fault::value(text, "a hardware address such as 10:66:6a:xx:xx:xx").meaning(meant());
        let mut digits = [None; 12];
        let bytes = text.as_bytes();
        if bytes.len() != 17 || bytes.iter().skip(2).step_by(3).any(|byte| *byte != b':') {
            return Err(wrong());
        }
        let nibbles = bytes.iter().enumerate().filter(|(i, _)| i % 3 != 2).map(|(_, byte)| *byte);
        for (digit, byte) in digits.iter_mut().zip(nibbles) {
            *digit = match byte {
                b'x' | b'X' => None,
                _ => {
                    Some(char::from(byte).to_digit(16).and_then(|n| u8::try_from(n).ok()).ok_or_else(wrong)?)
                }
            };
        }
        Ok(Self(digits))
    }
}

impl fmt::Display for HwAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, digit) in self.0.iter().enumerate() {
            if i > 0 && i % 2 == 0 {
                f.write_str(":")?;
            }
            match digit {
                Some(digit) => write!(f, "{digit:x}")?,
                None => f.write_str("x")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_prefix_gets_that_of_its_class() {
        for (text, shown) in [
            ("10.0.3.6", "10.0.3.6/8"),
            ("172.16.0.1", "172.16.0.1/16"),
            ("192.168.1.2", "192.168.1.2/24"),
            ("10.0.3.5/24 10.0.3.255", "10.0.3.5/24 10.0.3.255"),
        ] {
            assert_eq!(text.parse::<Ipv4Address>().unwrap().to_string(), shown);
        }
        assert_eq!("fe80::1".parse::<Cidr<Ipv6Addr>>().unwrap().to_string(), "fe80::1/64");
        for bad in ["10.0.0.1/33", "bogus", "", "10.0.0.1 10.0.0.2 x", "::1"] {
            assert!(bad.parse::<Ipv4Address>().is_err(), "{bad}");
        }
    }

    #[test]
    fn open_digits_are_filled_and_the_address_stays_unicast() {
        let template: HwAddr = "10:66:6a:xX:xx:xx".parse().unwrap();
        assert!(!template.is_fixed());
        assert_eq!(template.fill([0xff; 6]), [0x10, 0x66, 0x6a, 0xff, 0xff, 0xff]);
        let any: HwAddr = "xx:xx:xx:xx:xx:xx".parse().unwrap();
        assert_eq!(any.fill([0xff; 6])[0] & 1, 0);
        assert_eq!(HwAddr::from([1, 2, 3, 4, 5, 0xab]).to_string(), "01:02:03:04:05:ab");
    }

    #[test]
    fn what_is_no_hardware_address_is_refused() {
        for bad in
            ["", "10:66", "10:66:6a:xx:xx:x", "10-66-6a-xx-xx-xx", "10:66:6a:xx:xx:xg", "é0:66:6a:xx:xx:x"]
        {
            assert!(bad.parse::<HwAddr>().is_err(), "{bad}");
        }
    }
}
