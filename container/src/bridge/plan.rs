//! What setting up and tearing down come to, from the settings and what the host is like. Nothing is touched here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use sys::links::Link;
use types::IfName;

use super::facts::{Address, Facts, Route, Server};
use super::rules::{self, Guard};
use super::settings::{Mac, Settings, Subnet};
use super::step::{Act, Program, Step};

/// The group (IFLA_GROUP) of a bridge that is Bryo's: "bryo" as a number. It is given as the bridge is made, in one step, so
/// a setup that is killed leaves no bridge that nobody knows.
pub const MARK: u32 = u32::from_be_bytes(*b"bryo");

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The steps, in their order.
    pub steps: Vec<Step>,
    /// What should be known beside them.
    pub notes: Vec<String>,
}

/// Why nothing is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// What is so.
    pub what: String,
    /// What to do about it.
    pub help: String,
}

fn obstacle<T>(what: impl Into<String>, help: impl Into<String>) -> Result<T, Obstacle> {
    Err(Obstacle { what: what.into(), help: help.into() })
}

/// How the bridge is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manner {
    /// Users' containers are kept from disturbing each other.
    pub is_guarded: bool,
}

/// Decides what makes the host as the settings say. What is there already is done again where that changes nothing, so a
/// setup that was killed anywhere is finished by the next.
///
/// # Errors
/// Something of somebody else's is in the way, or a program is missing.
pub fn set_up(settings: &Settings, facts: &Facts, manner: Manner) -> Result<Plan, Obstacle> {
    if let Some(place) = &settings.unwanted_by {
        return obstacle(
            format!("USE_LXC_BRIDGE is false in {place}"),
            "set it to true, where a bridge is wanted",
        );
    }
    facts.require(&[Program::Ip, Program::Nft, Program::Dnsmasq])?;
    let own = own_bridge(settings, facts)?;
    refuse_taken_network(settings, facts)?;
    refuse_taken_network_6(settings, facts)?;
    refuse_other_addresses(settings, facts, own)?;
    let settings = &Settings { v6: settings.v6.filter(|_| facts.has_ipv6), ..settings.clone() };

    let mut steps = vec![
        Step::new("what dnsmasq writes", Act::MakeDirectory(run_directory(&settings.bridge))),
        Step::new(
            "the addresses that were given, which stay given",
            Act::MakeDirectory(PathBuf::from(STATE)),
        ),
        Step::rules(
            "containers reach the world and are good neighbours",
            rules::text(settings, guard(&settings.bridge, facts, manner)),
        ),
    ];
    steps.extend(facts.firewalls.mend(settings));
    steps.extend(bridge(settings, facts, own));
    steps.extend(forwarding(settings, facts));
    steps.extend(server(settings, facts));
    steps.extend(names(settings, facts));
    Ok(Plan { steps, notes: notes(settings, facts, manner) })
}

/// Decides what removes all that [`set_up`] has made, and nothing else.
///
/// # Errors
/// The bridge has ports, and `is_forced` is not said; or it is somebody else's.
pub fn tear_down(bridge: &IfName, facts: &Facts, is_forced: bool) -> Result<Plan, Obstacle> {
    let found = facts.links.iter().find(|link| link.name == bridge.as_str());
    let own = found.filter(|link| is_own(link));
    let is_port = |link: &&Link| own.is_some_and(|own| link.master == Some(own.index));
    let ports: Vec<&str> = facts.links.iter().filter(is_port).map(|link| link.name.as_str()).collect();
    if !ports.is_empty() && !is_forced {
        let some = ports.iter().take(8).copied().collect::<Vec<_>>().join(", ");
        return obstacle(
            format!("{bridge} is in use by {} ({some})", counted(ports.len(), "device")),
            "stop the containers first (bryo net ls --all names them), or cut them off by --force",
        );
    }
    let mut plan = Plan::default();
    plan.steps.extend(servers(bridge, facts).into_iter().map(|server| end(server, bridge)));
    plan.steps.extend(facts.firewalls.forget(bridge));
    let table = rules::table(bridge);
    let gone = facts.tables.iter().filter(|(_, name)| *name == table);
    let text: String = gone.map(|(family, name)| format!("delete table {family} {name}\n")).collect();
    if !text.is_empty() {
        plan.steps.push(Step::rules("the rules about the bridge", text));
    }
    if own.is_some() {
        facts.require(&[Program::Ip])?;
        plan.steps.push(Step::words("the bridge", Program::Ip, &format!("link delete dev {bridge}")));
    } else if found.is_some() {
        plan.notes.push(format!("{bridge} is not Bryo's, and stays"));
    }
    if facts.has_run_file {
        plan.steps.push(Step::new("what dnsmasq wrote", Act::RemoveFile(pid_file(bridge))));
    }
    if !plan.steps.is_empty() {
        plan.notes.push(
            "packets are still passed on between networks (net.ipv4.ip_forward, net.ipv6.conf.all.forwarding), which others \
             may count on"
                .to_owned(),
        );
    }
    Ok(plan)
}

/// Decides about the rules that look at frames.
fn guard(bridge: &IfName, facts: &Facts, manner: Manner) -> Guard {
    let table = ("bridge".to_owned(), rules::table(bridge));
    match manner.is_guarded {
        true => Guard::Made { knows_bridge: facts.tells_bridges },
        false if facts.tables.contains(&table) => Guard::Removed,
        false => Guard::Absent,
    }
}

/// Where what lasts until the next boot is kept, per bridge.
fn run_directory(bridge: &IfName) -> PathBuf {
    PathBuf::from(format!("{RUN}/{bridge}"))
}

/// Where what dnsmasq leaves for setups is.
const RUN: &str = "/run/bryo/net";

/// Where what lasts is kept.
const STATE: &str = "/var/lib/bryo/net";

/// The file in which dnsmasq writes its pid; as an argument it also tells which process is ours.
pub(super) fn pid_file(bridge: &IfName) -> PathBuf {
    run_directory(bridge).join("dnsmasq.pid")
}

fn is_own(link: &Link) -> bool {
    link.kind == "bridge" && link.group == MARK
}

/// Finds our bridge, if it is there.
fn own_bridge<'a>(settings: &Settings, facts: &'a Facts) -> Result<Option<&'a Link>, Obstacle> {
    let name = settings.bridge.as_str();
    let other = facts.links.iter().find(|link| link.others.iter().any(|other| other == name));
    if let Some(other) = other {
        return obstacle(format!("{name} is another name of {}", other.name), OTHER_NAME);
    }
    match facts.links.iter().find(|link| link.name == name) {
        None => Ok(None),
        Some(link) if is_own(link) => Ok(Some(link)),
        Some(link) if link.kind == "bridge" => obstacle(
            format!("there is a bridge {name} already, which somebody else has made"),
            format!(
                "use it as it is; or, if it is of lxc-net: sudo systemctl disable --now lxc-net; or {OTHER_NAME}"
            ),
        ),
        Some(_) => obstacle(format!("there is an interface {name} already, which is no bridge"), OTHER_NAME),
    }
}

const OTHER_NAME: &str = "name another by --bridge, or LXC_BRIDGE in /etc/default/lxc-net";

/// Refuses a network, or a part of one, that the host reaches by another interface already.
fn refuse_taken_network(settings: &Settings, facts: &Facts) -> Result<(), Obstacle> {
    let v4 = settings.v4;
    let is_taken = |route: &&Route<Ipv4Addr>| {
        route.interface != settings.bridge.as_str() && route.prefix >= v4.prefix && v4.contains(route.network)
    };
    const HELP: &str =
        "set LXC_NETWORK to another network in /etc/default/lxc-net, as in LXC_NETWORK=10.0.4.0/24";
    let own = format!("{}/{}", v4.network(), v4.prefix);
    if let Some(route) = facts.routes.iter().find(is_taken) {
        let Route { interface, network, prefix } = route;
        let what = format!(
            "{network}/{prefix} is reached by {interface} already, and would be a part of the bridge's {own}"
        );
        return obstacle(what, HELP);
    }
    // A way to a larger network by a router goes on to the rest of it; machines on the same link would be cut off.
    let has_part = |address: &&Address| match address.ip {
        IpAddr::V4(ip) => Subnet { address: ip, prefix: address.prefix }.contains(v4.network()),
        IpAddr::V6(_) => false,
    };
    match facts.addresses_beside(&settings.bridge).find(has_part) {
        None => Ok(()),
        Some(Address { interface, ip, prefix }) => obstacle(
            format!("{interface} is {ip}/{prefix}, and the bridge's {own} would be a part of that network"),
            HELP,
        ),
    }
}

/// The same for IPv6, whose networks are of one size.
fn refuse_taken_network_6(settings: &Settings, facts: &Facts) -> Result<(), Obstacle> {
    let Some(v6) = settings.v6.filter(|_| facts.has_ipv6) else { return Ok(()) };
    let (own, bridge) = (v6.network(), settings.bridge.as_str());
    let same = |ip: Ipv6Addr, prefix: u8| Subnet { address: ip, prefix: prefix.min(v6.prefix) };
    // The kernel says of its own addresses that they are reached by lo.
    let of_route = facts.routes_6.iter().find(|route| {
        ![bridge, "lo"].contains(&&*route.interface)
            && route.prefix >= v6.prefix
            && same(route.network, route.prefix).network() == own
    });
    let of_address = facts.addresses_beside(&settings.bridge).find(|address| match address.ip {
        IpAddr::V4(_) => false,
        IpAddr::V6(ip) => {
            let theirs = same(ip, address.prefix);
            theirs.network() == Subnet { address: own, prefix: theirs.prefix }.network()
        }
    });
    let interface =
        of_route.map(|route| &route.interface).or_else(|| of_address.map(|address| &address.interface));
    match interface {
        None => Ok(()),
        Some(interface) => obstacle(
            format!("{own}/{}, or a part of it, is reached by {interface} already", v6.prefix),
            "set LXC_IPV6_ADDR to an address of another network in /etc/default/lxc-net, or to nothing",
        ),
    }
}

/// Refuses a bridge of ours that was made by other settings: it would have the addresses of both.
fn refuse_other_addresses(settings: &Settings, facts: &Facts, own: Option<&Link>) -> Result<(), Obstacle> {
    let Some(link) = own else { return Ok(()) };
    let name = &settings.bridge;
    let of_bridge = || facts.addresses.iter().filter(|address| address.interface == name.as_str());
    // A setup that was interrupted left none. What the administrator has added is no matter.
    let other = |is_v4: bool, wanted: Option<IpAddr>, prefix: u8| {
        let mut of_family = of_bridge().filter(move |address| address.ip.is_ipv4() == is_v4);
        let is_wanted = |address: &Address| Some(address.ip) == wanted && address.prefix == prefix;
        if of_family.clone().any(is_wanted) { None } else { of_family.next() }
    };
    let v6 = settings.v6.filter(|_| facts.has_ipv6);
    let found = other(true, Some(settings.v4.address.into()), settings.v4.prefix)
        .or_else(|| other(false, v6.map(|v6| v6.address.into()), v6.map_or(0, |v6| v6.prefix)))
        .map(|Address { ip, prefix, .. }| format!("the address {ip}/{prefix}"))
        .or_else(|| {
            let mac = link.mac.map(Mac).filter(|mac| *mac != settings.mac)?;
            Some(format!("the address {mac} on the link"))
        });
    match found {
        None => Ok(()),
        Some(found) => obstacle(
            format!("{name} was set up by other settings: it has {found}"),
            format!("tear it down first: bryo net teardown --bridge {name}"),
        ),
    }
}

/// Returns the steps that make the bridge and give it its addresses. Nothing passes before the rules are in force.
fn bridge(settings: &Settings, facts: &Facts, own: Option<&Link>) -> Vec<Step> {
    let Settings { bridge, mac, v4, v6, .. } = settings;
    let ip = |why: &str, words: String| Step::words(why, Program::Ip, &words);
    let mut steps = Vec::new();
    if own.is_none() {
        let made = format!("link add dev {bridge} address {mac} group {MARK} type bridge");
        steps.push(ip("the bridge; its group says that it is Bryo's", made));
    }
    let own = |family, key, value, why| Step::set(why, &format!("net/{family}/conf/{bridge}/{key}"), value);
    steps.push(own("ipv4", "rp_filter", "1", "no packet from elsewhere's addresses"));
    steps.push(own("ipv4", "accept_redirects", "0", "no container tells the host another way"));
    steps.push(own("ipv4", "send_redirects", "0", "and the host none to a neighbour"));
    if facts.has_ipv6 {
        steps.push(own("ipv6", "accept_ra", "0", "no container is the host's router"));
        steps.push(own("ipv6", "accept_redirects", "0", "no container tells the host another way"));
        steps.push(own("ipv6", "accept_dad", "0", "addresses are usable before the first port is there"));
        steps.push(ip("the address that the rules know", format!("link set dev {bridge} addrgenmode eui64")));
    }
    steps.push(ip("its address", format!("address replace {v4} broadcast {} dev {bridge}", v4.broadcast())));
    if let Some(v6) = v6 {
        steps.push(ip("its address of IPv6", format!("-6 address replace {v6} dev {bridge} nodad")));
    }
    steps.push(ip("it works from here on", format!("link set dev {bridge} up")));
    steps
}

/// Returns the steps after which the host passes packets on.
fn forwarding(settings: &Settings, facts: &Facts) -> Vec<Step> {
    let mut steps = Vec::new();
    if !facts.forwards_v4 {
        steps.push(Step::set("packets are passed on", "net/ipv4/ip_forward", "1"));
    }
    if settings.v6.is_some() && !facts.forwards_v6 {
        // A host that passes packets on no longer listens to routers, unless it is told to all the same. Source:
        // Documentation/networking/ip-sysctl.rst, accept_ra.
        for interface in facts.listening.iter().filter(|name| **name != settings.bridge.as_str()) {
            let key = format!("net/ipv6/conf/{interface}/accept_ra");
            steps.push(Step::set("the host goes on listening to routers outside", &key, "2"));
        }
        steps.push(Step::set("packets of IPv6 are passed on", "net/ipv6/conf/all/forwarding", "1"));
    }
    steps
}

/// Returns the arguments of dnsmasq.
fn server_arguments(settings: &Settings, facts: &Facts) -> Vec<String> {
    let Settings { bridge, v4, v6, dhcp, domain, confile, .. } = settings;
    let confile = confile.as_ref().map_or("/dev/null".to_owned(), |file| file.display().to_string());
    let mut arguments = vec![
        // Without it the file of the host's own dnsmasq would be read.
        format!("--conf-file={confile}"),
        format!("--user={}", facts.server_user),
        server_mark(bridge),
        format!("--interface={bridge}"),
        "--except-interface=lo".to_owned(),
        "--bind-interfaces".to_owned(),
        format!("--dhcp-range={},{},{},{}", dhcp.first, dhcp.last, v4.mask(), rules::LEASE),
        format!("--dhcp-lease-max={}", dhcp.most),
        format!("--dhcp-leasefile={STATE}/{bridge}.leases"),
        "--dhcp-no-override".to_owned(),
        "--dhcp-authoritative".to_owned(),
        // Clients can call themselves anything; copies of an image all call themselves the same.
        "--dhcp-ignore-clid".to_owned(),
        "--domain-needed".to_owned(),
        "--bogus-priv".to_owned(),
    ];
    if !dhcp.pings {
        arguments.push("--no-ping".to_owned());
    }
    if let Some(domain) = domain {
        arguments.push(format!("--domain={domain}"));
        arguments.push(format!("--local=/{domain}/"));
    }
    if let Some(v6) = v6 {
        arguments.push("--enable-ra".to_owned());
        arguments.push(format!("--dhcp-range={},ra-names,{},1h", v6.network(), v6.prefix));
    }
    arguments
}

/// Returns the servers that are ours.
fn servers<'a>(bridge: &IfName, facts: &'a Facts) -> Vec<&'a Server> {
    let mark = server_mark(bridge);
    facts.servers.iter().filter(|server| server.arguments.contains(&mark)).collect()
}

/// Returns the argument that no other dnsmasq has.
fn server_mark(bridge: &IfName) -> String {
    format!("--pid-file={}", pid_file(bridge).display())
}

fn end(server: &Server, bridge: &IfName) -> Step {
    Step::new("the dnsmasq of the bridge", Act::End { pid: server.pid, marked: server_mark(bridge) })
}

/// Returns the steps after which dnsmasq serves the bridge, as the settings say.
fn server(settings: &Settings, facts: &Facts) -> Vec<Step> {
    let arguments = server_arguments(settings, facts);
    let running = servers(&settings.bridge, facts);
    if let [server] = running[..]
        && server.arguments == arguments
    {
        return Vec::new();
    }
    let mut steps: Vec<Step> = running.into_iter().map(|server| end(server, &settings.bridge)).collect();
    steps.push(Step::run("containers get addresses and names", Program::Dnsmasq, arguments));
    steps
}

/// Returns the steps after which the host knows the containers' names.
fn names(settings: &Settings, facts: &Facts) -> Vec<Step> {
    let Settings { bridge, v4, .. } = settings;
    let Some(domain) = settings.domain.as_ref().filter(|_| facts.asks_resolved()) else { return Vec::new() };
    let tell = |words: String| {
        Step::words("the host asks it for the containers' names", Program::Resolvectl, &words)
    };
    vec![tell(format!("dns {bridge} {}", v4.address)), tell(format!("domain {bridge} ~{domain}"))]
}

fn notes(settings: &Settings, facts: &Facts, manner: Manner) -> Vec<String> {
    let Settings { bridge, v4, .. } = settings;
    let mut notes = Vec::new();
    if !facts.has_ipv6 {
        notes.push("this host has no IPv6, so the containers have none".to_owned());
    }
    if !manner.is_guarded {
        notes.push(format!("users on {bridge} can pretend to be each other and the gateway (--no-guard)"));
    }
    let is_other = |link: &Link| is_own(link) && link.name != bridge.as_str();
    let is_blind = manner.is_guarded && !facts.tells_bridges;
    if let Some(other) = facts.links.iter().find(|link| is_blind && is_other(link)) {
        notes.push(format!(
            "users on {} can take addresses of {bridge} that DHCP has not leased, and the reverse: this kernel cannot tell in \
             a rule which bridge a port is of (CONFIG_NFT_BRIDGE_META)",
            other.name
        ));
    }
    if let Some(domain) = settings.domain.as_ref().filter(|_| !facts.asks_resolved()) {
        notes.push(format!(
            "containers know each other as NAME.{domain}; for the host's programs send *.{domain} to {} in its resolver",
            v4.address
        ));
    }
    if facts.firewalls.has_firewalld {
        notes.push(format!(
            "firewalld is in force; it lets the bridge pass by: sudo firewall-cmd --permanent --zone=trusted \
             --add-interface={bridge} && sudo firewall-cmd --reload"
        ));
    }
    notes
}

fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests;
