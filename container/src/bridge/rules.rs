//! The rules of nftables for a bridge: its containers reach the world, and are good neighbours.
//!
//! The ports of ordinary users are known by their names ([`policy::slots`]), which nobody but the helper can give: a user
//! cannot make or rename an interface of the host. To whom a port belongs is its group (IFLA_GROUP), the uid of who asked.
//! Ports of others on the bridge (the administrator's own, LXC's) are left alone.
//!
//! What is kept from the ports of users:
//!
//! | they may not | since |
//! |---|---|
//! | answer as a DHCP server, a router, or with a redirect | the others would take them for the gateway |
//! | send from the bridge's own addresses, or say that they have them | the same |
//! | send from an address that another user's port has been seen with | they would get what is sent to the other |
//! | have the host pass a packet on to a neighbour | isolated ports do not reach each other by a detour either |
//! | get what is for an address on the link of another user's | it is none of theirs |
//! | wrap a packet into a VLAN | the rules would not see what is in it |
//! | ask for addresses, or give them back, in another's name | the other would lose its own |
//! | ask for addresses as a relay | the answer would go to whose address that is |
//!
//! An address of IPv4 is a user's while DHCP has leased it to a port of that user's. Others, and addresses of IPv6 and of the link,
//! become a user's when a port of that user's first sends from them, and stay so until they were silent for half an hour; a user
//! can take so many in a minute and no more. A container that starts anew has another port and the same user.
//!
//! Each bridge has sets of its own, which frames of another bridge's ports do not change where the kernel can tell the bridge of a
//! port (`meta ibrname`). Not every kernel can; there a user can take an address of a bridge by sending from it on another.

use std::fmt::Write;
use std::net::Ipv6Addr;

use types::IfName;

use super::settings::Settings;

/// How the names of users' ports begin: `u` or `g`, and the first of seven digits in base 36, which for an id of 32 bits is 0
/// or 1.
const PORTS: [&str; 4] = ["u0*", "u1*", "g0*", "g1*"];

/// How long an address may be silent before it is nobody's.
const SILENCE: &str = "30m";

/// How long DHCP leases an address.
pub(super) const LEASE: &str = "1h";

/// Where things stand in a packet: their beginning and length in bits. By places and not by names, so that one set can be asked
/// for what stands in different ones. Sources: IEEE 802.3, RFC 826, RFC 791, RFC 8200, RFC 4861, RFC 2131.
mod at {
    pub(super) const RECEIVER: &str = "@ll,0,48";
    pub(super) const MAC: &str = "@ll,48,48";
    pub(super) const MAC_IN_ARP: &str = "@nh,64,48";
    pub(super) const IP_IN_ARP: &str = "@nh,112,32";
    pub(super) const IP: &str = "@nh,96,32";
    pub(super) const IP6: &str = "@nh,64,128";
    pub(super) const ADVERTISED: &str = "@th,64,128";
    /// In DHCP, behind the eight bytes of UDP: the client's address, the one that it gets, that of a relay, and the client's
    /// address on the link.
    pub(super) const CLIENT: &str = "@th,160,32";
    pub(super) const LEASED: &str = "@th,192,32";
    pub(super) const RELAY: &str = "@th,256,32";
    pub(super) const CLIENTS_MAC: &str = "@th,288,48";
    /// The first option's number, length and value: what kind of message it is. All clients and dnsmasq write it first.
    pub(super) const KIND: &str = "@th,1984,24";
}

/// How many addresses a user may take: those of some hundred containers at once, and never all that the sets have room for.
const BUDGET: &str = "over 120/minute burst 2000 packets";

/// Returns the name of the tables of a bridge.
pub(super) fn table(bridge: &IfName) -> String {
    format!("bryo.{bridge}")
}

/// What is to be done about the rules that look at frames of users' ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guard {
    /// They are made.
    Made {
        /// The kernel can tell on which bridge a port is (`meta ibrname`).
        knows_bridge: bool,
    },
    /// Those of an earlier setup are removed.
    Removed,
    /// There are none, and none are made.
    Absent,
}

/// Returns the rules, for `nft -f -`: in one transaction they take the place of those that are there.
pub(super) fn text(settings: &Settings, guard: Guard) -> String {
    let table = table(&settings.bridge);
    let mut text = String::new();
    replace(&mut text, "inet", &table, &to_the_world(settings));
    match guard {
        Guard::Made { knows_bridge } => {
            replace(&mut text, "bridge", &table, &neighbours(settings, knows_bridge));
        }
        Guard::Removed => text.push_str(&format!("delete table bridge {table}\n")),
        Guard::Absent => {}
    }
    text
}

/// Writes a table anew. To delete one that is not there would be an error, so it is made first.
fn replace(text: &mut String, family: &str, table: &str, content: &str) {
    let _in_memory = write!(
        text,
        "table {family} {table}\ndelete table {family} {table}\ntable {family} {table} {{\n{content}}}\n"
    );
}

/// The rules that look at packets: what the containers send into the world has the host's address.
fn to_the_world(settings: &Settings) -> String {
    let Settings { bridge, v4, v6, .. } = settings;
    let network = format!("{}/{}", v4.network(), v4.prefix);
    let network_6 = v6.map(|v6| format!("{}/{}", v6.network(), v6.prefix));
    let mut from = vec![
        "type filter hook prerouting priority raw; policy accept;".to_owned(),
        format!("iifname \"{bridge}\" ip saddr != {{ 0.0.0.0, {network} }} drop"),
    ];
    let mut to = vec![
        "type nat hook postrouting priority srcnat; policy accept;".to_owned(),
        format!("ip saddr {network} ip daddr != {network} masquerade"),
    ];
    if let Some(network) = network_6 {
        from.push(format!("iifname \"{bridge}\" ip6 saddr != {{ ::, fe80::/10, {network} }} drop"));
        let translated = format!("ip6 saddr {network} ip6 daddr != {network} masquerade");
        to.extend(settings.is_v6_translated.then_some(translated));
    }
    let mut text = String::new();
    chain(&mut text, "prerouting", &from);
    chain(&mut text, "postrouting", &to);
    text
}

/// Writes two sets: of what is somebody's, and of what is whose.
fn sets(text: &mut String, name: &str, what: &str, timeout: &str) {
    for (name, what) in
        [(format!("of_{name}"), format!("meta iifgroup . {what}")), (name.to_owned(), what.to_owned())]
    {
        let _in_memory = writeln!(
            text,
            "    set {name} {{ typeof {what}; flags dynamic,timeout; timeout {timeout}; size 65536; }}"
        );
    }
}

/// Writes a chain.
fn chain(text: &mut String, name: &str, rules: &[String]) {
    let _in_memory = write!(text, "    chain {name} {{\n{}    }}\n", lines(rules));
}

fn lines(rules: &[String]) -> String {
    rules.iter().map(|rule| format!("        {rule}\n")).collect()
}

/// Returns the rules by which `what` passes when it is the sender's or nobody's, which makes it the sender's. Where a set has
/// no room for it, or the packet ends before it, nothing passes.
fn pins(set: &str, what: &str) -> Vec<String> {
    vec![
        format!(
            "meta iifgroup . {what} @of_{set} update @of_{set} {{ meta iifgroup . {what} }} update @{set} {{ {what} }} return"
        ),
        format!("{what} @{set} drop"),
        format!("add @takers {{ meta iifgroup limit rate {BUDGET} }} drop"),
        format!("add @of_{set} {{ meta iifgroup . {what} }} add @{set} {{ {what} }} return"),
        "drop".to_owned(),
    ]
}

/// Returns the rules by which an address of IPv4 passes when DHCP has leased it to the sender's user or to nobody, and nobody
/// else has been seen with it.
fn leased_or_pins(what: &str) -> Vec<String> {
    let leased = [format!("meta iifgroup . {what} @of_leased return"), format!("{what} @leased drop")];
    leased.into_iter().chain(pins("ips", what)).collect()
}

/// The rules that look at frames of users' ports.
fn neighbours(settings: &Settings, knows_bridge: bool) -> String {
    let mut text = String::new();
    sets(&mut text, "macs", at::MAC, SILENCE);
    sets(&mut text, "ips", at::IP, SILENCE);
    sets(&mut text, "ip6s", at::IP6, SILENCE);
    sets(&mut text, "leased", at::IP, LEASE);
    let takers = "    set takers { typeof meta iifgroup; flags dynamic,timeout; timeout 1h; size 65536; }\n";
    text.push_str(takers);
    chain(&mut text, "asks_dhcp", &asks_dhcp());
    chain(&mut text, "advertised", &advertised(settings));
    chain(&mut text, "from_mac", &from_mac(settings));
    chain(&mut text, "from_arp", &from_arp(settings));
    chain(&mut text, "from_ip4", &from_ip4(settings));
    chain(&mut text, "from_ip6", &from_ip6(settings));
    let user = [
        "ether type { 8021q, 8021ad } drop",
        "jump from_mac",
        "ether type arp jump from_arp",
        "ether type ip jump from_ip4",
        "ether type ip6 jump from_ip6",
    ];
    chain(&mut text, "user", &user.map(str::to_owned));
    chain(&mut text, "to_the_host", &to_the_host(settings));
    chain(&mut text, "to_user", &to_user());
    // What is handed to the host for a network of ours comes from no bridge of ours.
    for (hook, direction, then, is_of_all) in [
        ("prerouting", "i", "user", false),
        ("input", "i", "to_the_host", true),
        ("forward", "o", "to_user", false),
        ("output", "o", "to_user", false),
    ] {
        let head = format!("type filter hook {hook} priority filter; policy accept;");
        let bridge = match knows_bridge && !is_of_all {
            true => format!("meta {direction}brname \"{}\" ", settings.bridge),
            false => String::new(),
        };
        let rules = PORTS.map(|names| format!("{bridge}{direction}ifname \"{names}\" goto {then}"));
        chain(&mut text, hook, &[&[head][..], &rules].concat());
    }
    text
}

fn from_mac(Settings { mac, .. }: &Settings) -> Vec<String> {
    let mut rules = vec![format!("ether saddr {mac} drop")];
    rules.extend(pins("macs", at::MAC));
    rules
}

fn from_arp(Settings { v4, .. }: &Settings) -> Vec<String> {
    let mut rules = vec![
        format!("meta iifgroup . {} != @of_macs drop", at::MAC_IN_ARP),
        // A question by somebody who has no address yet says nothing about any.
        "arp saddr ip 0.0.0.0 return".to_owned(),
        format!("arp saddr ip {} drop", v4.address),
    ];
    rules.extend(leased_or_pins(at::IP_IN_ARP));
    rules
}

fn from_ip4(Settings { v4, .. }: &Settings) -> Vec<String> {
    let mut rules = vec![
        "udp sport 67 drop".to_owned(),
        "icmp type redirect drop".to_owned(),
        "udp dport 67 jump asks_dhcp".to_owned(),
        "ip saddr 0.0.0.0 return".to_owned(),
        format!("ip saddr {} drop", v4.address),
    ];
    rules.extend(leased_or_pins(at::IP));
    rules
}

fn from_ip6(settings: &Settings) -> Vec<String> {
    let own: Vec<String> = own_ip6(settings).iter().map(ToString::to_string).collect();
    let mut rules = vec![
        "icmpv6 type { nd-router-advert, nd-redirect } drop".to_owned(),
        "udp sport 547 drop".to_owned(),
        format!("ip6 saddr {{ {} }} drop", own.join(", ")),
        "icmpv6 type nd-neighbor-advert jump advertised".to_owned(),
        "ip6 saddr :: return".to_owned(),
    ];
    rules.extend(pins("ip6s", at::IP6));
    rules
}

/// What a neighbour advertises need not be what it sends from.
fn advertised(settings: &Settings) -> Vec<String> {
    let own: Vec<String> =
        own_ip6(settings).iter().map(|address| format!("{:#034x}", address.to_bits())).collect();
    let mut rules = vec![format!("{} {{ {} }} drop", at::ADVERTISED, own.join(", "))];
    rules.extend(pins("ip6s", at::ADVERTISED));
    rules
}

/// Returns the addresses of IPv6 that the bridge has.
fn own_ip6(settings: &Settings) -> Vec<Ipv6Addr> {
    settings.v6.iter().map(|v6| v6.address).chain([settings.mac.link_local()]).collect()
}

/// Messages of clients. dnsmasq believes what stands in them: whoever writes another's address on the link into one gives
/// that one's lease back, and who writes an address into the place of a relay's has the answer sent there: the lease would be
/// counted to the user who has that address. Only what is known to be harmless passes: a rule about bytes that a packet does not have matches
/// never, so one that drops would let it pass.
fn asks_dhcp() -> Vec<String> {
    let (kind, client) = (at::KIND, at::CLIENT);
    let is_own = format!("{} 0 meta iifgroup . {} @of_macs", at::RELAY, at::CLIENTS_MAC);
    vec![
        // The host puts pieces together again behind these rules. The first piece of a message has its ports, and without it
        // the others come to nothing. Source: RFC 791.
        "ip frag-off & 0x3fff != 0 drop".to_owned(),
        format!(
            "{kind} 0x350107 {is_own} meta iifgroup . {client} @of_leased \
             delete @of_leased {{ meta iifgroup . {client} }} delete @leased {{ {client} }} return"
        ),
        // DISCOVER, REQUEST, DECLINE, INFORM. Source: RFC 2132.
        format!("{kind} {{ 0x350101, 0x350103, 0x350104, 0x350108 }} {is_own} return"),
        "drop".to_owned(),
    ]
}

/// A bridge sends to all ports what is for an address that it has forgotten: nobody gets what is for another user's. And what
/// dnsmasq acknowledges to a port, which it sends to that port alone unless the client asks for it to be told to all, is its
/// user's.
fn to_user() -> Vec<String> {
    let (leased, kind, receiver) = (at::LEASED, at::KIND, at::RECEIVER);
    vec![
        format!("{receiver} @macs meta oifgroup . {receiver} != @of_macs drop"),
        format!(
            "ether daddr != ff:ff:ff:ff:ff:ff udp sport 67 {kind} 0x350105 {leased} != 0 \
             update @of_leased {{ meta oifgroup . {leased} }} update @leased {{ {leased} }}"
        ),
    ]
}

/// A packet for a neighbour that is handed to the host, which would pass it on to another port.
fn to_the_host(Settings { v4, v6, .. }: &Settings) -> Vec<String> {
    let (network, all) = (v4.network(), v4.broadcast());
    let mut rules =
        vec![format!("ip daddr {network}/{} ip daddr != {{ {}, {all} }} drop", v4.prefix, v4.address)];
    rules.extend(
        v6.map(|v6| format!("ip6 daddr {}/{} ip6 daddr != {} drop", v6.network(), v6.prefix, v6.address)),
    );
    rules
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::settings;
    use policy::slots::{Owner, Slots};

    const MADE: Guard = Guard::Made { knows_bridge: false };

    fn settings(text: &str) -> Settings {
        settings::read(&[("f", text.to_owned())], None, "a machine").unwrap()
    }

    #[test]
    fn the_names_of_all_users_ports_are_known_and_those_of_other_interfaces_are_not() {
        let is_port = |name: &str| PORTS.iter().any(|port| name.starts_with(port.trim_end_matches('*')));
        let bridge = "lxcbr0".parse().unwrap();
        for id in [0, 1, 1000, 65_536, 2_147_483_647, u32::MAX - 1] {
            assert!(is_port(&Slots::new(Owner::User(id), &bridge).name(0)));
            assert!(is_port(&Slots::new(Owner::Group(id), &bridge).name(1023)));
        }
        for name in ["eth0", "usb0", "ul0", "gre0", "geneve1", "veth1000_ab", "docker0", "uplink"] {
            assert!(!is_port(name), "{name}");
        }
    }

    #[test]
    fn both_tables_are_replaced_in_one_transaction_and_the_guard_can_be_left_out() {
        let text = text(&settings(""), MADE);
        for family in ["inet", "bridge"] {
            let replaced = format!(
                "table {family} bryo.lxcbr0\ndelete table {family} bryo.lxcbr0\ntable {family} bryo.lxcbr0 {{\n"
            );
            assert_eq!(text.matches(&replaced).count(), 1, "{text}");
        }
        assert!(!super::text(&settings(""), Guard::Absent).contains("table bridge"));
        assert!(super::text(&settings(""), Guard::Removed).ends_with("\ndelete table bridge bryo.lxcbr0\n"));
    }

    #[test]
    fn frames_of_another_bridge_change_nothing_where_the_kernel_tells_bridges_and_reach_no_network_of_ours() {
        let text = text(&settings(""), Guard::Made { knows_bridge: true });
        for rule in [
            "        meta ibrname \"lxcbr0\" iifname \"u0*\" goto user\n",
            "        iifname \"u0*\" goto to_the_host\n",
            "        meta obrname \"lxcbr0\" oifname \"u0*\" goto to_user\n",
        ] {
            assert!(text.contains(rule), "{rule}: {text}");
        }
        assert!(!super::text(&settings(""), MADE).contains("brname"));
    }

    #[test]
    fn what_no_rule_lets_pass_is_dropped() {
        let text = text(&settings(""), MADE);
        for name in ["asks_dhcp", "advertised", "from_mac", "from_arp", "from_ip4", "from_ip6"] {
            let (_, chain) = text.split_once(&format!("    chain {name} {{\n")).unwrap();
            let (rules, _) = chain.split_once("    }\n").unwrap();
            assert!(rules.ends_with("        drop\n"), "{name}: {rules}");
        }
    }

    #[test]
    fn without_ipv6_no_rule_names_a_network_of_it() {
        let settings = settings("LXC_IPV6_ADDR=\n");
        let text = text(&settings, MADE);
        assert!(!text.contains("ip6 saddr != ") && !text.contains("ip6 daddr"), "{text}");
        assert!(text.contains("nd-router-advert"), "{text}");
    }

    #[test]
    fn the_bridges_own_addresses_are_nobody_elses() {
        let text = text(&settings("LXC_BRIDGE_MAC=00:16:3e:00:00:01\nLXC_IPV6_ADDR=fd00::1\n"), MADE);
        for rule in [
            "ether saddr 00:16:3e:00:00:01 drop",
            "arp saddr ip 10.0.3.1 drop",
            "ip saddr 10.0.3.1 drop",
            "ip6 saddr { fd00::1, fe80::216:3eff:fe00:1 } drop",
            "@th,64,128 { 0xfd000000000000000000000000000001, 0xfe8000000000000002163efffe000001 } drop",
        ] {
            assert!(text.contains(rule), "{rule}: {text}");
        }
    }
}
