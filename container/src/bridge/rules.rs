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
//! | wrap a packet into a VLAN | the rules would not see what is in it |
//!
//! An address becomes a user's when a port of that user's first sends from it, and stays so until it was silent for half an hour;
//! a user can take so many in a minute and no more. A container that starts anew has another port and the same user.
//!
//! The bridge itself is not asked for (`meta ibrname`), since not every kernel can tell it.

use std::fmt::Write;

use types::IfName;

use super::settings::Settings;

/// How the names of users' ports begin: `u` or `g`, and the first of seven digits in base 36, which for an id of 32 bits is 0
/// or 1.
const PORTS: [&str; 4] = ["u0*", "u1*", "g0*", "g1*"];

/// How long an address may be silent before it is nobody's. dnsmasq's leases last an hour, and are renewed at half of it: so
/// an address is nobody's before DHCP gives it to somebody else.
const SILENCE: &str = "30m";

/// How many addresses a user may take: those of some hundred containers at once, and never all that the sets have room for.
const BUDGET: &str = "over 120/minute burst 2000 packets";

/// Returns the name of the tables of a bridge.
pub(super) fn table(bridge: &IfName) -> String {
    format!("bryo.{bridge}")
}

/// Returns the rules, for `nft -f -`: in one transaction they take the place of those that are there.
pub(super) fn text(settings: &Settings, is_guarded: bool) -> String {
    let table = table(&settings.bridge);
    let mut text = String::new();
    replace(&mut text, "inet", &table, &to_the_world(settings));
    if is_guarded {
        replace(&mut text, "bridge", &table, &neighbours(settings));
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
    let mut text = format!(
        "    chain prerouting {{\n\
                 type filter hook prerouting priority raw; policy accept;\n\
                 iifname \"{bridge}\" ip saddr != {{ 0.0.0.0, {network} }} drop\n"
    );
    let network_6 = v6.map(|v6| format!("{}/{}", v6.network(), v6.prefix));
    if let Some(network) = &network_6 {
        let _in_memory =
            writeln!(text, "        iifname \"{bridge}\" ip6 saddr != {{ ::, fe80::/10, {network} }} drop");
    }
    let _in_memory = write!(
        text,
        "    }}\n    chain postrouting {{\n\
                 type nat hook postrouting priority srcnat; policy accept;\n\
                 ip saddr {network} ip daddr != {network} masquerade\n"
    );
    if let Some(network) = network_6.filter(|_| settings.is_v6_translated) {
        let _in_memory = writeln!(text, "        ip6 saddr {network} ip6 daddr != {network} masquerade");
    }
    text.push_str("    }\n");
    text
}

/// A set of what has been seen, and of whom.
fn sets(text: &mut String, name: &str, kind: &str) {
    for (name, kind) in
        [(format!("of_{name}"), format!("meta iifgroup . {kind}")), (name.to_owned(), kind.to_owned())]
    {
        let _in_memory = writeln!(
            text,
            "    set {name} {{ typeof {kind}; flags dynamic,timeout; timeout {SILENCE}; size 65536; }}"
        );
    }
}

/// The rules of a chain that lets `key` pass when it is the sender's or nobody's, which makes it the sender's.
fn pins(set: &str, key: &str) -> String {
    format!(
        "        meta iifgroup . {key} @of_{set} update @of_{set} {{ meta iifgroup . {key} }} update @{set} {{ {key} }} return\n\
                 {key} @{set} drop\n\
                 add @takers {{ meta iifgroup limit rate {BUDGET} }} drop\n\
                 add @of_{set} {{ meta iifgroup . {key} }} add @{set} {{ {key} }}\n"
    )
}

/// The rules that look at frames of users' ports.
fn neighbours(settings: &Settings) -> String {
    let Settings { mac, v4, v6, .. } = settings;
    let own = v4.address;
    let own_6: Vec<_> = v6.iter().map(|v6| v6.address).chain([mac.link_local()]).collect();
    // As bytes where the kernel is asked for those at a place: what an advertisement is about has no name in older nft.
    let listed = |separator: &str, each: fn(&std::net::Ipv6Addr) -> String| {
        own_6.iter().map(each).collect::<Vec<_>>().join(separator)
    };
    let (own_names, own_bytes) =
        (listed(", ", ToString::to_string), listed(", ", |address| format!("{:#034x}", address.to_bits())));
    let mut text = String::new();
    sets(&mut text, "macs", "ether saddr");
    sets(&mut text, "ips", "ip saddr");
    sets(&mut text, "ip6s", "@nh,64,128");
    let _in_memory = writeln!(
        text,
        "    set takers {{ typeof meta iifgroup; flags dynamic,timeout; timeout 1h; size 65536; }}"
    );
    let chain = |text: &mut String, name: &str, rules: &str| {
        let _in_memory = write!(text, "    chain {name} {{\n{rules}    }}\n");
    };
    let advertised = pins("ip6s", "@th,64,128");
    chain(&mut text, "advertised", &format!("        @th,64,128 {{ {own_bytes} }} drop\n{advertised}"));
    let sent = pins("ip6s", "@nh,64,128");
    chain(
        &mut text,
        "from_ip6",
        &format!(
            "        icmpv6 type {{ nd-router-advert, nd-redirect }} drop\n\
                     udp sport 547 drop\n\
                     ip6 saddr {{ {own_names} }} drop\n\
                     icmpv6 type nd-neighbor-advert jump advertised\n\
                     ip6 saddr :: return\n{sent}"
        ),
    );
    let sent = pins("ips", "ip saddr");
    chain(
        &mut text,
        "from_ip4",
        &format!(
            "        udp sport 67 drop\n\
                     icmp type redirect drop\n\
                     ip saddr 0.0.0.0 return\n\
                     ip saddr {own} drop\n{sent}"
        ),
    );
    let said = pins("ips", "arp saddr ip");
    chain(
        &mut text,
        "from_arp",
        &format!(
            "        meta iifgroup . arp saddr ether != @of_macs drop\n\
                     arp saddr ip 0.0.0.0 return\n\
                     arp saddr ip {own} drop\n{said}"
        ),
    );
    let frames = pins("macs", "ether saddr");
    chain(&mut text, "from_mac", &format!("        ether saddr {mac} drop\n{frames}"));
    chain(
        &mut text,
        "user",
        "        ether type { 8021q, 8021ad } drop\n\
                 jump from_mac\n\
                 ether type arp jump from_arp\n\
                 ether type ip jump from_ip4\n\
                 ether type ip6 jump from_ip6\n",
    );
    let (network, all) = (format!("{}/{}", v4.network(), v4.prefix), v4.broadcast());
    let mut host = format!("        ip daddr {network} ip daddr != {{ {own}, {all} }} drop\n");
    if let Some(v6) = v6 {
        let _in_memory = writeln!(
            host,
            "        ip6 daddr {}/{} ip6 daddr != {} drop",
            v6.network(),
            v6.prefix,
            v6.address
        );
    }
    chain(&mut text, "for_the_host", &host);
    for (hook, then) in [("prerouting", "user"), ("input", "for_the_host")] {
        let head = format!("        type filter hook {hook} priority filter; policy accept;\n");
        let ports = PORTS.map(|ports| format!("        iifname \"{ports}\" goto {then}\n"));
        chain(&mut text, hook, &(head + &ports.concat()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::settings;
    use policy::slots::{Owner, Slots};

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
        let text = text(&settings(""), true);
        for family in ["inet", "bridge"] {
            let replaced = format!(
                "table {family} bryo.lxcbr0\ndelete table {family} bryo.lxcbr0\ntable {family} bryo.lxcbr0 {{\n"
            );
            assert_eq!(text.matches(&replaced).count(), 1, "{text}");
        }
        assert!(!super::text(&settings(""), false).contains("table bridge"));
    }

    #[test]
    fn without_ipv6_no_rule_names_a_network_of_it() {
        let settings = settings("LXC_IPV6_ADDR=\n");
        let text = text(&settings, true);
        assert!(!text.contains("ip6 saddr != ") && !text.contains("ip6 daddr"), "{text}");
        assert!(text.contains("nd-router-advert"), "{text}");
    }

    #[test]
    fn the_bridges_own_addresses_are_nobody_elses() {
        let text = text(&settings("LXC_BRIDGE_MAC=00:16:3e:00:00:01\nLXC_IPV6_ADDR=fd00::1\n"), true);
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
