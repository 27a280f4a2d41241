//! Ports of the host that lead into a container.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// The protocol of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::Tcp { "tcp" } else { "udp" })
    }
}

/// The addresses of the host on which a port is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bind {
    /// Those of loopback: what is opened to the network is opened by name.
    Loopback,
    /// All.
    Everywhere,
    /// This one; `0.0.0.0` is all of IPv4, `::` all of IPv6.
    Address(IpAddr),
}

/// One port of the host, or a range of them, that leads to a port of a container, or to as many.
///
/// Written `[IP:]HOST:CT[/udp]`, with `HOST` and `CT` a port or `FIRST-LAST`, an address of IPv6 in brackets, and `*` for all
/// addresses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "String", into = "String"))]
pub struct Published {
    bind: Bind,
    protocol: Protocol,
    host: Ports,
    inside: Ports,
}

/// Ports one after another, at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Ports {
    first: u16,
    last: u16,
}

/// Why a text publishes no port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublishedError {
    /// There is no second port.
    Alone(String),
    /// What should be a port, or a range of ports, is none.
    Port(String),
    /// The two ranges differ in length.
    Lengths,
    /// What should be an address is none.
    Address(String),
    /// The protocol is neither tcp nor udp.
    Protocol(String),
}

impl Published {
    /// Returns the protocol.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Returns the addresses of the host, and whether each must be had: a host may do without IPv6.
    pub fn addresses(&self) -> Vec<(IpAddr, bool)> {
        match self.bind {
            Bind::Loopback => vec![(Ipv4Addr::LOCALHOST.into(), true), (Ipv6Addr::LOCALHOST.into(), false)],
            Bind::Everywhere => {
                vec![(Ipv4Addr::UNSPECIFIED.into(), true), (Ipv6Addr::UNSPECIFIED.into(), false)]
            }
            Bind::Address(address) => vec![(address, true)],
        }
    }

    /// Returns each port of the host with the one inside that it leads to.
    pub fn ports(&self) -> impl Iterator<Item = (u16, u16)> {
        self.host.all().zip(self.inside.all())
    }

    /// Returns how many ports of the host it stands for, without going through them.
    pub fn count(&self) -> usize {
        usize::from(self.host.steps()) + 1
    }

    /// Returns what leads where, in words.
    pub fn told(&self) -> String {
        let Self { bind, protocol, host, inside } = self;
        match bind {
            Bind::Loopback => format!("localhost:{host} -> {inside}/{protocol}"),
            bind => format!("{bind}{host} -> {inside}/{protocol}"),
        }
    }
}

impl Ports {
    fn all(self) -> impl Iterator<Item = u16> {
        self.first..=self.last
    }

    fn parse(text: &str) -> Result<Self, PublishedError> {
        let wrong = || PublishedError::Port(text.to_owned());
        // A plus sign, which the library's parser takes, is none of a port.
        let one = |text: &str| {
            let port = text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
            port.filter(|port| *port > 0).ok_or_else(wrong)
        };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (one(first)?, one(last)?);
        if first <= last { Ok(Self { first, last }) } else { Err(wrong()) }
    }

    /// How many come after the first.
    fn steps(self) -> u16 {
        self.last - self.first
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first == self.last {
            true => write!(f, "{}", self.first),
            false => write!(f, "{}-{}", self.first, self.last),
        }
    }
}

/// As it stands before the port of the host.
impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loopback => Ok(()),
            Self::Everywhere => f.write_str("*:"),
            Self::Address(IpAddr::V4(address)) => write!(f, "{address}:"),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]:"),
        }
    }
}

impl fmt::Display for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}:{}", self.bind, self.host, self.inside)?;
        if self.protocol == Protocol::Udp { f.write_str("/udp") } else { Ok(()) }
    }
}

impl FromStr for Published {
    type Err = PublishedError;

    fn from_str(text: &str) -> Result<Self, PublishedError> {
        let (ports, protocol) = match text.split_once('/') {
            None | Some((_, "tcp")) => (text.trim_end_matches("/tcp"), Protocol::Tcp),
            Some((ports, "udp")) => (ports, Protocol::Udp),
            Some((_, other)) => return Err(PublishedError::Protocol(other.to_owned())),
        };
        let Some((before, inside)) = ports.rsplit_once(':') else {
            return Err(PublishedError::Alone(ports.to_owned()));
        };
        let (bind, host) = match before.rsplit_once(':') {
            None => (Bind::Loopback, before),
            Some((address, host)) => (parse_bind(address)?, host),
        };
        let (host, inside) = (Ports::parse(host)?, Ports::parse(inside)?);
        match host.steps() == inside.steps() {
            true => Ok(Self { bind, protocol, host, inside }),
            false => Err(PublishedError::Lengths),
        }
    }
}

fn parse_bind(text: &str) -> Result<Bind, PublishedError> {
    let in_brackets = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let address = match in_brackets {
        _ if text == "*" => return Ok(Bind::Everywhere),
        Some(v6) => v6.parse().map(IpAddr::V6).ok(),
        None => text.parse().map(IpAddr::V4).ok(),
    };
    // An address of IPv4 in the clothes of IPv6 would be another way to the same port.
    let address = address.map(|address| address.to_canonical());
    address.map(Bind::Address).ok_or_else(|| PublishedError::Address(text.to_owned()))
}

impl TryFrom<String> for Published {
    type Error = PublishedError;

    fn try_from(text: String) -> Result<Self, PublishedError> {
        text.parse()
    }
}

impl From<Published> for String {
    fn from(published: Published) -> Self {
        published.to_string()
    }
}

impl fmt::Display for PublishedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alone(port) => {
                write!(f, "which port of the host leads to which of the container? such as 8080:{port}")
            }
            Self::Port(text) => {
                write!(f, "'{text}' is no port from 1 to 65535, and no range such as 8000-8010")
            }
            Self::Lengths => f.write_str("one range has more ports than the other"),
            Self::Address(text) => write!(
                f,
                "'{text}' is no address: write one as 192.0.2.7, of IPv6 as [2001:db8::7], and all of them as *"
            ),
            Self::Protocol(text) => write!(f, "'{text}' is no protocol: write tcp or udp"),
        }
    }
}

impl std::error::Error for PublishedError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Published {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_written_is_read_and_told() {
        for (text, told) in [
            ("8080:80", "localhost:8080 -> 80/tcp"),
            ("127.0.0.1:8080:80", "127.0.0.1:8080 -> 80/tcp"),
            ("[2001:db8::7]:8080:80/udp", "[2001:db8::7]:8080 -> 80/udp"),
            ("*:53:5353/udp", "*:53 -> 5353/udp"),
            ("8000-8010:9000-9010", "localhost:8000-8010 -> 9000-9010/tcp"),
        ] {
            assert_eq!((read(text).to_string().as_str(), read(text).told().as_str()), (text, told));
        }
        assert_eq!(read("80:80/tcp"), read("80:80"));
        assert_eq!(read("[::ffff:127.0.0.1]:80:80"), read("127.0.0.1:80:80"));
    }

    #[test]
    fn loopback_is_meant_unless_an_address_is_named() {
        let addresses =
            |text: &str| read(text).addresses().iter().map(|(a, _)| a.to_string()).collect::<Vec<_>>();
        assert_eq!(addresses("80:80"), ["127.0.0.1", "::1"]);
        assert_eq!(addresses("*:80:80"), ["0.0.0.0", "::"]);
        assert_eq!(addresses("0.0.0.0:80:80"), ["0.0.0.0"]);
    }

    #[test]
    fn a_range_leads_to_as_many_ports() {
        assert_eq!(read("8000-8002:80-82").ports().collect::<Vec<_>>(), [(8000, 80), (8001, 81), (8002, 82)]);
        for (text, count) in [("65535:65535", 1), ("8000-8002:80-82", 3), ("1-65535:1-65535", 65_535)] {
            assert_eq!((read(text).count(), read(text).ports().count()), (count, count), "{text}");
        }
        assert_eq!("8000-8002:80".parse::<Published>(), Err(PublishedError::Lengths));
    }

    #[test]
    fn what_publishes_nothing_is_refused() {
        for text in [
            "",
            ":",
            "80",
            "80:",
            ":80",
            "0:80",
            "80:0",
            "65536:80",
            "+80:80",
            "8x:80",
            "80:80/sctp",
            "80:80/udp/tcp",
            "80:80/tcp/tcp",
            "90-80:90-80",
            "80-:80-",
            "localhost:80:80",
            "::1:80:80",
            "[::1:80:80",
            "[1.2.3.4]:80:80",
            "1.2.3:80:80",
            "*:*:80",
            "80:80 ",
            " 80:80",
            "80:80\n",
            "1.2.3.4:5:6:7",
        ] {
            assert!(text.parse::<Published>().is_err(), "{text:?}");
        }
    }
}
