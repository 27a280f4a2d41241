//! What the bridge is to be: the defaults of LXC's lxc-net, and what `/etc/default/lxc-net` says otherwise.
//!
//! Every value is read into a type, so that nothing of the files reaches a command line or a set of rules as it is.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use types::IfName;

/// The files, in the order in which they are read; what stands later counts. Source: lxc-net.
pub const FILES: [&str; 2] = ["/etc/default/lxc", "/etc/default/lxc-net"];

/// What the bridge is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where it is said that no bridge is wanted, with the number of the line.
    pub unwanted_by: Option<String>,
    /// Its name.
    pub bridge: IfName,
    /// Its address on the link.
    pub mac: Mac,
    /// Its address and network.
    pub v4: Subnet<Ipv4Addr>,
    /// The addresses that are given by DHCP.
    pub dhcp: Dhcp,
    /// A file with more settings of dnsmasq.
    pub confile: Option<PathBuf>,
    /// The domain of the containers' names; without one they have none.
    pub domain: Option<Domain>,
    /// Its address and network of IPv6.
    pub v6: Option<Subnet<Ipv6Addr>>,
    /// Whether the containers' addresses of IPv6 are translated.
    pub is_v6_translated: bool,
}

/// An address with the length of its network's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet<A> {
    /// The address of the bridge.
    pub address: A,
    /// How many bits of it are the network's.
    pub prefix: u8,
}

/// The addresses that DHCP gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dhcp {
    /// The first.
    pub first: Ipv4Addr,
    /// The last.
    pub last: Ipv4Addr,
    /// How many may be given at a time.
    pub most: u32,
    /// Whether an address is tried by a ping before it is given.
    pub pings: bool,
}

/// An address on the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mac(pub [u8; 6]);

/// A domain of names: labels of letters, digits and `-`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain(String);

/// A line that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: String,
    /// The number of the line, from 1; 0 where several together make no sense.
    pub line: usize,
    /// What is wrong.
    pub what: String,
}

/// The variables that are read; others of the files are another program's.
const KNOWN: [&str; 16] = [
    "USE_LXC_BRIDGE",
    "LXC_BRIDGE",
    "LXC_BRIDGE_MAC",
    "LXC_ADDR",
    "LXC_NETMASK",
    "LXC_NETWORK",
    "LXC_DHCP_RANGE",
    "LXC_DHCP_MAX",
    "LXC_DHCP_CONFILE",
    "LXC_DHCP_PING",
    "LXC_DOMAIN",
    "LXC_IPV6_ADDR",
    "LXC_IPV6_MASK",
    "LXC_IPV6_NETWORK",
    "LXC_IPV6_NAT",
    "LXC_USE_NFT",
];

/// A variable with the place where it is set.
#[derive(Debug)]
struct Value<'a> {
    file: &'a str,
    line: usize,
    text: String,
}

/// All that the files set.
#[derive(Debug, Default)]
struct Values<'a> {
    set: Vec<(&'static str, Value<'a>)>,
    problems: Vec<Problem>,
}

/// Reads the settings from the texts of `files`, by their names. `bridge` overrides the name; `machine` is what tells this
/// machine from others, of which addresses are made where none is set.
///
/// # Errors
/// All lines that cannot be used.
pub fn read(
    files: &[(&str, String)],
    bridge: Option<&IfName>,
    machine: &str,
) -> Result<Settings, Vec<Problem>> {
    let mut values = Values::default();
    for (file, text) in files {
        values.take(file, text);
    }
    let settings = values.settings(bridge, machine);
    if values.problems.is_empty() { Ok(settings) } else { Err(values.problems) }
}

impl<'a> Values<'a> {
    fn take(&mut self, file: &'a str, text: &str) {
        for (content, line) in text.lines().zip(1..) {
            let content = content.trim();
            let content = content.strip_prefix("export ").unwrap_or(content).trim_start();
            let Some((name, value)) = content.split_once('=') else { continue };
            let Some(name) = KNOWN.iter().find(|known| **known == name) else { continue };
            match unquoted(value) {
                Ok(text) => {
                    self.set.retain(|(other, _)| other != name);
                    self.set.push((name, Value { file, line, text }));
                }
                Err(what) => self.problems.push(Problem {
                    file: file.to_owned(),
                    line,
                    what: format!("{name}: {what}"),
                }),
            }
        }
    }

    fn settings(&mut self, bridge: Option<&IfName>, machine: &str) -> Settings {
        let named = self.parsed("LXC_BRIDGE", "the name of a bridge", |text| text.parse::<IfName>().ok());
        let bridge = bridge.cloned().or(named).unwrap_or_else(default_bridge);
        let own = |of: &str| policy::slots::hash(format!("{of} {machine} {bridge}").as_bytes()).to_be_bytes();
        let v4 = self.v4();
        Settings {
            unwanted_by: match self.parsed("USE_LXC_BRIDGE", "true or false", truth) {
                Some(false) => self.place("USE_LXC_BRIDGE").map(|(file, line)| format!("{file}:{line}")),
                _ => None,
            },
            mac: self
                .parsed("LXC_BRIDGE_MAC", "six bytes as in 00:16:3e:00:00:00", mac)
                .unwrap_or_else(|| own_mac(own("mac"))),
            dhcp: self.dhcp(v4),
            v4,
            confile: self.parsed("LXC_DHCP_CONFILE", "an absolute path", path).flatten(),
            domain: self
                .parsed("LXC_DOMAIN", "a domain of names", domain)
                .unwrap_or_else(|| Some(default_domain())),
            v6: self.v6(own("network")),
            is_v6_translated: self.parsed("LXC_IPV6_NAT", "true or false", truth).unwrap_or(true),
            bridge,
        }
    }

    fn v4(&mut self) -> Subnet<Ipv4Addr> {
        let address = self.parsed("LXC_ADDR", "an address", |text| text.parse().ok());
        let mask = self.parsed("LXC_NETMASK", "a mask as in 255.255.255.0", mask);
        let network = self.parsed("LXC_NETWORK", "a network as in 10.0.3.0/24", |text| {
            let (network, prefix) = text.split_once('/')?;
            Some((network.parse().ok()?, prefix.parse().ok().filter(|prefix| *prefix <= 30)?))
        });
        let prefix = mask.or(network.map(|(_, prefix)| prefix)).unwrap_or(24);
        let first = |network: Ipv4Addr| Ipv4Addr::from_bits(network.to_bits().saturating_add(1));
        let address =
            address.or(network.map(|(network, _)| first(network))).unwrap_or(Ipv4Addr::new(10, 0, 3, 1));
        let v4 = Subnet { address, prefix };
        if [v4.network(), v4.broadcast()].contains(&address) || !is_of_a_machine(address) {
            self.contradict(
                "LXC_ADDR",
                &format!("{address}/{prefix} is no address that one machine can have"),
            );
        }
        if network.is_some_and(|network| network != (v4.network(), prefix)) {
            self.contradict("LXC_NETWORK", &format!("it is not the network of {address}/{prefix}"));
        }
        v4
    }

    fn dhcp(&mut self, v4: Subnet<Ipv4Addr>) -> Dhcp {
        let range = self.parsed("LXC_DHCP_RANGE", "two addresses as in 10.0.3.2,10.0.3.254", |text| {
            let (first, last) = text.split_once(',')?;
            Some((first.trim().parse().ok()?, last.trim().parse().ok()?))
        });
        let (first, last) = range.unwrap_or_else(|| v4.rest());
        if !(v4.contains(first) && v4.contains(last) && first <= last) {
            self.contradict(
                "LXC_DHCP_RANGE",
                &format!("it is no range within {}/{}", v4.network(), v4.prefix),
            );
        }
        let all = last.to_bits().saturating_sub(first.to_bits()).saturating_add(1);
        Dhcp {
            first,
            last,
            most: self.parsed("LXC_DHCP_MAX", "a number", |text| text.parse().ok()).unwrap_or(all),
            pings: self.parsed("LXC_DHCP_PING", "true or false", truth).unwrap_or(true),
        }
    }

    /// Without a setting the network is one of those that everybody may take, made of chance that stays the same.
    /// Source: RFC 4193.
    fn v6(&mut self, [a, b, c, d, e, ..]: [u8; 8]) -> Option<Subnet<Ipv6Addr>> {
        let address = self.parsed("LXC_IPV6_ADDR", "an address of IPv6, or nothing", |text| match text {
            "" => Some(None),
            text => text.parse::<Ipv6Addr>().ok().map(Some),
        });
        let prefix = self.parsed("LXC_IPV6_MASK", "64, or nothing", |text| match text {
            "" => Some(64),
            // Containers give themselves addresses, which takes 64 bits. Source: RFC 4862.
            text => text.parse::<u8>().ok().filter(|prefix| *prefix == 64),
        });
        let network = self.parsed("LXC_IPV6_NETWORK", "a network of IPv6, or nothing", |text| match text {
            "" => Some(None),
            text => Some(Some(text.strip_suffix("/64")?.parse::<Ipv6Addr>().ok()?)),
        });
        let own = [0xfd, a, b, c, d, e, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        let address = address.unwrap_or(Some(Ipv6Addr::from(own)))?;
        let v6 = Subnet { address, prefix: prefix.unwrap_or(64) };
        if network.flatten().is_some_and(|network| network != v6.network()) {
            self.contradict("LXC_IPV6_NETWORK", &format!("it is not the network of {address}/64"));
        }
        Some(v6)
    }

    /// Returns what a variable says, if it is set to something that can be read.
    fn parsed<T>(&mut self, name: &str, expected: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let (_, value) = self.set.iter().find(|(set, _)| *set == name)?;
        let parsed = parse(&value.text);
        if parsed.is_none() {
            let what = format!("{name}: expected {expected}, not {:?}", value.text);
            self.problems.push(Problem { file: value.file.to_owned(), line: value.line, what });
        }
        parsed
    }

    /// Returns the file and the line that set a variable.
    fn place(&self, name: &str) -> Option<(&'a str, usize)> {
        self.set.iter().find(|(set, _)| *set == name).map(|(_, value)| (value.file, value.line))
    }

    fn contradict(&mut self, name: &str, what: &str) {
        let (file, line) = self.place(name).unwrap_or((FILES[1], 0));
        self.problems.push(Problem { file: file.to_owned(), line, what: format!("{name}: {what}") });
    }
}

/// Returns the value of an assignment in a shell's language, as far as it takes no shell to read it.
fn unquoted(value: &str) -> Result<String, &'static str> {
    const SHELL: &str = "it takes a shell to read this; write the value itself";
    let value = value.trim();
    let (text, rest) = match value.chars().next() {
        Some(quote @ ('"' | '\'')) => value[1..].split_once(quote).ok_or("the quote is not closed")?,
        _ => value.split_at(value.find(char::is_whitespace).unwrap_or(value.len())),
    };
    let rest = rest.trim_start();
    if !(rest.is_empty() || rest.starts_with('#'))
        || text.contains(['$', '`', '\\', '"', '\'', ';', '&', '|'])
    {
        return Err(SHELL);
    }
    Ok(text.to_owned())
}

fn is_of_a_machine(address: Ipv4Addr) -> bool {
    !(address.is_loopback() || address.is_multicast() || address.is_unspecified() || address.is_broadcast())
}

fn default_bridge() -> IfName {
    "lxcbr0".parse().expect("lxcbr0 is the name of an interface")
}

fn default_domain() -> Domain {
    Domain("lxc".to_owned())
}

fn truth(text: &str) -> Option<bool> {
    match text {
        "true" => Some(true),
        "false" | "" => Some(false),
        _ => None,
    }
}

fn mac(text: &str) -> Option<Mac> {
    let mut bytes = [0; 6];
    let mut words = text.split(':');
    for byte in &mut bytes {
        *byte =
            words.next().filter(|word| word.len() == 2).and_then(|word| u8::from_str_radix(word, 16).ok())?;
    }
    // An address of many, and none, are no bridge's.
    (words.next().is_none() && bytes[0] & 1 == 0 && bytes != [0; 6]).then_some(Mac(bytes))
}

/// Returns an address that is administered locally, and the same after each boot: containers keep who the gateway is.
fn own_mac([a, b, c, d, e, ..]: [u8; 8]) -> Mac {
    Mac([0x02, a, b, c, d, e])
}

fn mask(text: &str) -> Option<u8> {
    let bits = text.parse::<Ipv4Addr>().ok()?.to_bits();
    let prefix = bits.leading_ones() as u8;
    (bits.count_ones() == bits.leading_ones() && prefix <= 30).then_some(prefix)
}

fn path(text: &str) -> Option<Option<PathBuf>> {
    match text {
        "" => Some(None),
        text => text.starts_with('/').then(|| Some(text.into())),
    }
}

fn domain(text: &str) -> Option<Option<Domain>> {
    let label = |label: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-';
        !label.is_empty() && label.len() <= 63 && label.chars().all(allowed) && !label.starts_with('-')
    };
    match text {
        "" => Some(None),
        text => (text.len() <= 253 && text.split('.').all(label)).then(|| Some(Domain(text.to_owned()))),
    }
}

impl Subnet<Ipv4Addr> {
    fn bits(self) -> u32 {
        u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0)
    }

    /// Returns the network's mask.
    pub fn mask(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.bits())
    }

    /// Returns the network's address.
    pub fn network(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.address.to_bits() & self.bits())
    }

    /// Returns the address of all in the network.
    pub fn broadcast(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.address.to_bits() | !self.bits())
    }

    /// Tells whether an address is one of the network.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        address.to_bits() & self.bits() == self.network().to_bits()
    }

    /// Returns the larger range of addresses on one side of the bridge's own.
    fn rest(self) -> (Ipv4Addr, Ipv4Addr) {
        let (own, first, last) =
            (self.address.to_bits(), self.network().to_bits() + 1, self.broadcast().to_bits() - 1);
        let is_above = last.saturating_sub(own) >= own.saturating_sub(first);
        let (first, last) = if is_above { (own.saturating_add(1), last) } else { (first, own - 1) };
        (Ipv4Addr::from_bits(first), Ipv4Addr::from_bits(last))
    }
}

impl Subnet<Ipv6Addr> {
    /// Returns the network's address.
    pub fn network(self) -> Ipv6Addr {
        let bits = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
        Ipv6Addr::from_bits(self.address.to_bits() & bits)
    }
}

impl Mac {
    /// Returns the address of IPv6 on the link that the kernel makes of this one. Source: RFC 4291, appendix A.
    pub fn link_local(self) -> Ipv6Addr {
        let Self([a, b, c, d, e, f]) = self;
        Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
    }
}

impl std::fmt::Display for Mac {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self([a, b, c, d, e, g]) = self;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl<A: std::fmt::Display> std::fmt::Display for Subnet<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl std::fmt::Display for Domain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.what),
            line => write!(f, "{}:{line}: {}", self.file, self.what),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Settings, Vec<String>> {
        let read = read(&[(FILES[0], String::new()), (FILES[1], text.to_owned())], None, "a machine");
        read.map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn without_files_the_settings_are_those_of_lxc_with_names_and_ipv6() {
        let settings = of("").unwrap();
        assert!(settings.unwanted_by.is_none() && settings.dhcp.pings && settings.is_v6_translated);
        assert_eq!(settings.bridge.as_str(), "lxcbr0");
        assert_eq!(settings.v4, Subnet { address: Ipv4Addr::new(10, 0, 3, 1), prefix: 24 });
        let range = (settings.dhcp.first.to_string(), settings.dhcp.last.to_string(), settings.dhcp.most);
        assert_eq!(range, ("10.0.3.2".to_owned(), "10.0.3.254".to_owned(), 253));
        assert_eq!((settings.domain.unwrap().to_string(), settings.confile), ("lxc".to_owned(), None));
        let v6 = settings.v6.unwrap();
        assert!(
            v6.address.to_string().starts_with("fd") && v6.address.to_string().ends_with("::1"),
            "{v6:?}"
        );
        assert!(settings.mac.to_string().starts_with("02:"));
    }

    #[test]
    fn addresses_that_are_made_are_the_same_each_time_and_others_on_other_machines_and_bridges() {
        let of = |machine, bridge: &str| read(&[], Some(&bridge.parse().unwrap()), machine).unwrap();
        let addresses = |settings: &Settings| (settings.mac, settings.v6);
        assert_eq!(addresses(&of("a", "br0")), addresses(&of("a", "br0")));
        for other in [of("b", "br0"), of("a", "br1")] {
            let (mac, v6) = addresses(&other);
            let own = addresses(&of("a", "br0"));
            assert!(mac != own.0 && v6 != own.1);
        }
    }

    #[test]
    fn what_the_files_say_counts_the_last_most() {
        let text = "# mine\nUSE_LXC_BRIDGE=\"true\"\nLXC_BRIDGE='br7'   # the seventh\nexport LXC_ADDR=192.168.7.1\n\
                    LXC_NETMASK=255.255.255.0\nLXC_NETWORK=192.168.7.0/24\nLXC_DHCP_RANGE=192.168.7.10,192.168.7.20\n\
                    LXC_DHCP_MAX=5\nLXC_DHCP_PING=false\nLXC_DOMAIN=\"box.test\"\nLXC_DHCP_CONFILE=/etc/lxc/dnsmasq.conf\n\
                    LXC_IPV6_ADDR=fd00:7::1\nLXC_IPV6_MASK=64\nLXC_IPV6_NETWORK=fd00:7::/64\nLXC_IPV6_NAT=false\n\
                    LXC_BRIDGE_MAC=00:16:3e:00:00:07\nOTHER=$(rm -rf /)\nLXC_AUTO=\"true\"\n";
        let settings = of(text).unwrap();
        assert_eq!((settings.bridge.as_str(), settings.v4.to_string()), ("br7", "192.168.7.1/24".to_owned()));
        assert_eq!((settings.dhcp.most, settings.dhcp.pings), (5, false));
        assert_eq!(settings.domain.unwrap().to_string(), "box.test");
        assert_eq!(settings.confile.unwrap().to_str(), Some("/etc/lxc/dnsmasq.conf"));
        assert_eq!(
            (settings.v6.unwrap().to_string(), settings.is_v6_translated),
            ("fd00:7::1/64".into(), false)
        );
        assert_eq!(settings.mac.to_string(), "00:16:3e:00:00:07");
        let both =
            [(FILES[0], "LXC_BRIDGE=a\n".to_owned()), (FILES[1], "LXC_BRIDGE=b\nLXC_BRIDGE=c\n".to_owned())];
        assert_eq!(read(&both, None, "").unwrap().bridge.as_str(), "c");
        let unwanted = [(FILES[0], "\nUSE_LXC_BRIDGE=false\n".to_owned()), (FILES[1], String::new())];
        let by = read(&unwanted, None, "").unwrap().unwanted_by;
        assert_eq!(by.as_deref(), Some("/etc/default/lxc:2"), "the file is named that says it");
        let given = "given".parse().unwrap();
        assert_eq!(read(&both, Some(&given), "").unwrap().bridge, given);
    }

    #[test]
    fn nothing_is_what_an_empty_value_says() {
        let settings =
            of("LXC_DOMAIN=\nLXC_IPV6_ADDR=\"\"\nLXC_DHCP_CONFILE=\"\"\nUSE_LXC_BRIDGE=\"false\"\n").unwrap();
        assert_eq!(
            (settings.domain, settings.v6, settings.confile, settings.unwanted_by),
            (None, None, None, Some("/etc/default/lxc-net:4".to_owned()))
        );
    }

    #[test]
    fn a_network_or_an_address_alone_gives_the_rest() {
        let told = |text| {
            let settings = of(text).unwrap();
            format!("{} {}-{}", settings.v4, settings.dhcp.first, settings.dhcp.last)
        };
        assert_eq!(told("LXC_NETWORK=10.9.0.0/16"), "10.9.0.1/16 10.9.0.2-10.9.255.254");
        assert_eq!(told("LXC_ADDR=10.9.8.7"), "10.9.8.7/24 10.9.8.8-10.9.8.254");
        assert_eq!(told("LXC_ADDR=10.9.8.254"), "10.9.8.254/24 10.9.8.1-10.9.8.253");
    }

    #[test]
    fn each_line_that_cannot_be_used_is_told_with_its_place() {
        let text = "LXC_BRIDGE=-rf\nLXC_ADDR=10.0.3\nLXC_NETMASK=255.0.255.0\nLXC_DHCP_MAX=many\nLXC_DOMAIN=a..b\n\
                    LXC_DHCP_CONFILE=relative\nLXC_BRIDGE_MAC=01:00:00:00:00:00\nLXC_IPV6_MASK=80\nUSE_LXC_BRIDGE=yes\n\
                    LXC_NETWORK=$NET\nLXC_DHCP_RANGE=\"10.0.3.2\n";
        let problems = of(text).unwrap_err();
        assert_eq!(problems.len(), 11, "{problems:#?}");
        for line in 1..=11 {
            let place = format!("/etc/default/lxc-net:{line}: ");
            assert!(problems.iter().any(|problem| problem.starts_with(&place)), "{line}: {problems:#?}");
        }
        assert!(
            problems.iter().any(|problem| problem.contains("it takes a shell to read this")),
            "{problems:#?}"
        );
    }

    #[test]
    fn settings_that_contradict_each_other_are_told() {
        for text in [
            "LXC_ADDR=10.0.4.1\nLXC_NETWORK=10.0.3.0/24",
            "LXC_ADDR=10.0.3.1\nLXC_NETMASK=255.255.0.0\nLXC_NETWORK=10.0.3.0/24",
            "LXC_ADDR=127.0.0.2",
            "LXC_DHCP_RANGE=10.0.4.2,10.0.4.9",
            "LXC_DHCP_RANGE=10.0.3.9,10.0.3.2",
            "LXC_IPV6_ADDR=fd00::1\nLXC_IPV6_NETWORK=fd01::/64",
        ] {
            assert_eq!(of(text).unwrap_err().len(), 1, "{text}");
        }
    }

    #[test]
    fn the_first_and_the_last_address_of_a_network_are_nobodys() {
        for address in ["10.0.3.0", "10.0.3.255", "0.0.0.0", "255.255.255.255", "224.0.0.1"] {
            let problems = of(&format!("LXC_ADDR={address}")).unwrap_err();
            assert!(problems[0].contains("no address that one machine can have"), "{problems:?}");
        }
    }

    #[test]
    fn an_address_on_the_link_gives_the_one_of_ipv6() {
        assert_eq!(Mac([0, 0x16, 0x3e, 0, 0, 1]).link_local().to_string(), "fe80::216:3eff:fe00:1");
    }
}
