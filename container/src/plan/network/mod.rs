//! The network of a container: which rung it takes, and what each of its devices is to be.
//!
//! | asked for | with a helper, a bridge and a line | with a program for user mode | with neither |
//! |---|---|---|---|
//! | veth | on the bridge | user mode | refused |
//! | veth, by a default for one run | on the bridge | user mode | loopback, and a note |
//! | nothing, for an init | on the best bridge | user mode | loopback |
//! | nothing, for one command | user mode, which gives it an address | user mode | the bridge, else loopback |
//! | empty | loopback | loopback | loopback |
//! | none | the host's | the host's | the host's |
//!
//! A bridge whose quota is used up is no bridge to who has not asked for it. Who has is told by the helper, once a place is
//! wanted: a container that has just stopped may still have had it.

mod refused;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use config::{Cidr, Config, Gateway, HwAddr, Ipv4Address, NetDevice, NetKind};
use serde::{Deserialize, Serialize};
use sys::mount::attr;

pub use refused::{Refused, refused};

use super::{Create, EntryPlan, EntrySource, Run, StartRequest};
use crate::error::{Error, Kind, Result};
use crate::host::{BridgeFacts, Caller, NetworkFacts, UserModeKind, UserModeProgram};
use crate::place::Place;

/// What the caller says about the network in place of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetChoice {
    /// The host's own.
    Host,
    /// In user mode.
    User,
    /// None but loopback.
    Loopback,
}

/// The network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NetworkPlan {
    /// The host's own.
    Host,
    /// Loopback alone.
    Loopback,
    /// Devices on bridges of the host, made by the helper at this path.
    Bridged {
        /// The helper.
        helper: PathBuf,
        /// The devices, in the order of their numbers.
        devices: Vec<DevicePlan>,
        /// What takes their place where others have used the quota up meanwhile; none where a bridge was asked for.
        otherwise: Option<Box<Otherwise>>,
    },
    /// A program of the caller's carries the packets.
    UserMode(UserModePlan),
}

/// The network that takes the place of devices on bridges.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Otherwise {
    /// The network.
    pub network: NetworkPlan,
    /// What of the configuration it leaves out, a sentence each.
    pub notes: Vec<String>,
}

/// A device on a bridge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DevicePlan {
    /// The number N of `lxc.net.N`.
    pub index: u32,
    /// Its name inside.
    pub name: String,
    /// The bridge.
    pub bridge: String,
    /// Its hardware address.
    pub hwaddr: [u8; 6],
    /// Its MTU inside, where that of the bridge is not to be taken.
    pub mtu: Option<u32>,
    /// It is raised.
    pub up: bool,
    /// Its addresses.
    pub addresses: Vec<AddressPlan>,
    /// Its default gateways; none is the device itself.
    pub gateways: Vec<GatewayPlan>,
    /// A command of the host for when it is made.
    pub script_up: Option<String>,
    /// A command of the host for when it goes.
    pub script_down: Option<String>,
}

/// An address of a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressPlan {
    /// The address.
    pub address: IpAddr,
    /// The length of its network part.
    pub prefix: u8,
    /// The address for broadcasts, where it is not the last one of the network.
    pub broadcast: Option<Ipv4Addr>,
}

/// A default gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GatewayPlan {
    /// This address.
    By(IpAddr),
    /// The device itself reaches all of IPv4.
    DeviceV4,
    /// The device itself reaches all of IPv6.
    DeviceV6,
}

/// A network in user mode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserModePlan {
    /// The program.
    pub program: UserModeProgram,
    /// The name of the device inside.
    pub name: String,
    /// Its hardware address, where the program's own is not to be taken.
    pub hwaddr: Option<[u8; 6]>,
    /// Its MTU, where the program's own is not to be taken.
    pub mtu: Option<u32>,
    /// What stands in the container's resolv.conf.
    pub resolv_conf: String,
    /// The configuration or the caller asks for it: without it the start fails.
    pub is_asked_for: bool,
}

impl NetworkPlan {
    /// Returns the rung's name for the one line that a start prints.
    pub fn rung(&self) -> String {
        match self {
            Self::Host => "the host's".to_owned(),
            Self::Loopback => "loopback".to_owned(),
            Self::Bridged { devices, .. } => {
                let mut bridges: Vec<&str> = devices.iter().map(|device| device.bridge.as_str()).collect();
                bridges.dedup();
                format!("veth on {}", bridges.join(", "))
            }
            Self::UserMode(plan) => plan.program.kind.name().to_owned(),
        }
    }

    /// Says what it is, as a sentence goes on.
    pub(crate) fn in_words(&self) -> &'static str {
        match self {
            Self::Host => "the host's network",
            Self::Loopback => "loopback",
            Self::Bridged { .. } => "a bridge",
            Self::UserMode(_) => "a network in user mode",
        }
    }

    /// Returns the devices on bridges.
    pub fn devices(&self) -> &[DevicePlan] {
        if let Self::Bridged { devices, .. } = self { devices } else { &[] }
    }

    /// Returns the network that takes the place of this one where the quota is used up.
    pub fn otherwise(&self) -> Option<&Otherwise> {
        if let Self::Bridged { otherwise, .. } = self { otherwise.as_deref() } else { None }
    }

    /// Returns the network in user mode that the container has, or may get in the place of this one.
    pub fn user_mode(&self) -> Option<&UserModePlan> {
        match self {
            Self::UserMode(plan) => Some(plan),
            other => other.otherwise().and_then(|otherwise| otherwise.network.user_mode()),
        }
    }

    /// Tells whether something outside has to be done about the network namespace.
    pub fn needs_wiring(&self) -> bool {
        matches!(self, Self::Bridged { .. } | Self::UserMode(_))
    }
}

/// Why a container of root's has none in user mode: the programs give up being root before they would enter it.
const OF_ROOT: &str =
    "containers of root's have none in user mode, where pasta and slirp4netns become nobody";

/// Returns the rung's name of the best network that the host offers to a container with an init which asks for nothing.
pub fn best_rung(facts: &NetworkFacts) -> String {
    let bridge = facts.usable_bridges().next().map(|bridge| format!("veth on {bridge}"));
    let program = || facts.user_mode.as_ref().map(|program| program.kind.name().to_owned());
    bridge.or_else(program).unwrap_or_else(|| NetworkPlan::Loopback.rung())
}

/// All that a decision about the network looks at.
pub(super) struct Decision<'a> {
    pub(super) request: &'a StartRequest,
    pub(super) config: &'a Config,
    pub(super) caller: &'a Caller,
    pub(super) facts: &'a NetworkFacts,
}

impl Decision<'_> {
    /// Decides the network, and says what of the configuration it leaves out.
    ///
    /// # Errors
    /// [`Kind::Config`] for devices that no user can have, [`Kind::Network`] where the host has no way to one that was
    /// asked for.
    pub(super) fn decide(&self, notes: &mut Vec<String>) -> Result<NetworkPlan> {
        match self.request.network {
            Some(NetChoice::Host) => return Ok(NetworkPlan::Host),
            Some(NetChoice::Loopback) => return Ok(NetworkPlan::Loopback),
            Some(NetChoice::User) => {
                return self.user_mode("eth0", None, true).ok_or_else(|| self.nothing("it was asked for"));
            }
            None => {}
        }
        refused::refuse(self.config)?;
        let veth: Vec<(u32, &NetDevice)> =
            self.devices().filter(|(_, device)| device.kind == NetKind::Veth).collect();
        if !veth.is_empty() {
            return self.on_bridges(&veth, notes);
        }
        // LXC: shares the host's network where nothing but that is asked for.
        let kinds = || self.config.net.values().map(|device| device.kind);
        Ok(match self.config.net.is_empty() {
            true => self.best(notes),
            false if kinds().all(|kind| kind == NetKind::None) => NetworkPlan::Host,
            false => NetworkPlan::Loopback,
        })
    }

    /// Tells whether ports lead into the container, which it then needs a network for.
    fn publishes(&self) -> bool {
        !self.request.publish.is_empty()
    }

    fn devices(&self) -> impl Iterator<Item = (u32, &NetDevice)> {
        self.config.net.iter().map(|(index, device)| (*index, device))
    }

    /// Takes the best that the host offers, for a container that asks for nothing.
    ///
    /// LXC: gives it loopback. A single command asks nobody for an address, so user mode, where the address is there from the
    /// start, does more for it than a bridge.
    fn best(&self, notes: &mut Vec<String>) -> NetworkPlan {
        let user_mode = || self.user_mode("eth0", None, self.publishes());
        let bridged = || {
            let device = NetDevice { flags_up: true, ..NetDevice::default() };
            let (helper, bridge) = (self.facts.helper.clone()?, self.facts.usable_bridges().next()?);
            let devices = vec![self.device(0, &device, "eth0".to_owned(), bridge, None)];
            // Ports that lead nowhere are worse than a failure.
            let network = user_mode().or_else(|| (!self.publishes()).then_some(NetworkPlan::Loopback));
            let otherwise = network.map(|network| Box::new(Otherwise { network, notes: Vec::new() }));
            Some(NetworkPlan::Bridged { helper, devices, otherwise })
        };
        let is_app = matches!(self.request.run, Run::App(_));
        let found = if is_app { user_mode().or_else(bridged) } else { bridged().or_else(user_mode) };
        let plan = found.unwrap_or(NetworkPlan::Loopback);
        let misses_bridge = match plan {
            NetworkPlan::Bridged { .. } => false,
            NetworkPlan::UserMode(_) => !is_app,
            _ => true,
        };
        let full = self.facts.used_up().filter(|_| misses_bridge);
        let of_root = self.caller.is_root() && plan == NetworkPlan::Loopback;
        notes.extend(full.map(|full| format!("{full}: {} takes its place", plan.in_words())));
        notes.extend(of_root.then(|| format!("no network but loopback: {OF_ROOT}")));
        plan
    }

    fn on_bridges(&self, veth: &[(u32, &NetDevice)], notes: &mut Vec<String>) -> Result<NetworkPlan> {
        let names = names(veth);
        let Some(lacking) = self.lacking(veth) else {
            let helper = self.facts.helper.clone().unwrap_or_default();
            let with = veth.iter().zip(&names);
            let devices = with.map(|((index, device), name)| {
                notes.extend(not_applied(*index, device));
                let bridge = device.link.as_deref().unwrap_or_default();
                self.device(*index, device, name.clone(), bridge, self.facts.bridges.get(bridge))
            });
            let devices = devices.collect();
            return Ok(NetworkPlan::Bridged { helper, devices, otherwise: self.otherwise(veth, &names) });
        };
        let Some((plan, left_out)) = self.in_place_of(veth, &names) else {
            let nothing = self.nothing(&lacking);
            if self.is_asked_for() {
                return Err(nothing);
            }
            notes.push(format!("{}: only loopback; --net host shares this machine's", nothing.cause()));
            return Ok(NetworkPlan::Loopback);
        };
        notes.push(format!("{lacking}: {} takes its place", plan.in_words()));
        notes.extend(left_out);
        Ok(plan)
    }

    /// The devices of the configuration are what somebody has chosen, or ports need them.
    fn is_asked_for(&self) -> bool {
        !self.request.network_by_default || self.publishes()
    }

    /// Returns what takes the place of devices on bridges that nobody has asked for. Of several some would be there already when
    /// one is refused, so that they have nothing.
    fn otherwise(&self, veth: &[(u32, &NetDevice)], names: &[String]) -> Option<Box<Otherwise>> {
        if self.is_asked_for() || veth.len() > 1 {
            return None;
        }
        let (network, notes) = self.in_place_of(veth, names).unwrap_or((NetworkPlan::Loopback, Vec::new()));
        Some(Box::new(Otherwise { network, notes }))
    }

    /// Returns the network in user mode that takes the place of devices on bridges, which is one device, and what it leaves
    /// out: keys of the first, and the others.
    fn in_place_of(
        &self,
        veth: &[(u32, &NetDevice)],
        names: &[String],
    ) -> Option<(NetworkPlan, Vec<String>)> {
        let (name, first) = (names.first()?, veth.first()?);
        let plan = self.user_mode(name, Some(*first), self.is_asked_for())?;
        let mut dropped = dropped(first.0, first.1, plan.user_mode()?.program.kind);
        dropped.extend(veth[1..].iter().map(|(index, _)| format!("lxc.net.{index}")));
        let keys = (!dropped.is_empty()).then(|| format!("not applied in user mode: {}", dropped.join(", ")));
        Some((plan, keys.into_iter().collect()))
    }

    /// Says what the host lacks for devices on bridges, if it lacks something.
    fn lacking(&self, veth: &[(u32, &NetDevice)]) -> Option<String> {
        if self.facts.helper.is_none() {
            return Some("bryo-netdev has no right to make devices here".to_owned());
        }
        veth.iter().find_map(|(index, device)| {
            let link = device.link.as_deref().unwrap_or_default();
            let bridge = self.facts.bridges.get(link).cloned().unwrap_or_default();
            let auto = |wanted: bool, has: bool| wanted && !has;
            match bridge {
                BridgeFacts { exists: false, .. } => Some(format!("there is no bridge {link}")),
                BridgeFacts { granted: false, .. } => {
                    let who = self.caller.label();
                    Some(format!("/etc/lxc/lxc-usernet grants {who} no device on {link}"))
                }
                BridgeFacts { used_up: Some(used), .. } if !self.is_asked_for() => Some(used.on(link)),
                bridge if auto(device.ipv4_gateway == Some(Gateway::Auto), bridge.ipv4.is_some()) => {
                    Some(format!("lxc.net.{index}.ipv4.gateway = auto: {link} has no IPv4 address"))
                }
                bridge if auto(device.ipv6_gateway == Some(Gateway::Auto), bridge.ipv6.is_some()) => {
                    Some(format!("lxc.net.{index}.ipv6.gateway = auto: {link} has no IPv6 address"))
                }
                _ => None,
            }
        })
    }

    /// The failure of a container that asks for a network which this host cannot give.
    fn nothing(&self, lacking: &str) -> Error {
        let name = &self.request.place.name;
        let programs = UserModeKind::ALL.map(UserModeKind::name).join(" nor ");
        let cause = match self.caller.is_root() {
            true => format!("{name} has no network: {lacking}, and {OF_ROOT}"),
            false => format!("{name} has no network: {lacking}, and neither {programs} can be used"),
        };
        Error::new(Kind::Network, cause)
    }

    /// Returns the network in user mode, with what it can have of a device of the configuration.
    fn user_mode(
        &self,
        name: &str,
        device: Option<(u32, &NetDevice)>,
        is_asked_for: bool,
    ) -> Option<NetworkPlan> {
        let program = self.facts.user_mode.clone()?;
        let resolver = format!("nameserver {}\n", resolver(program.kind));
        let search: String = self.facts.search.iter().map(|line| format!("{line}\n")).collect();
        let (name, resolv_conf) = (name.to_owned(), resolver + &search);
        let given = device.filter(|(_, device)| device.hwaddr.is_some() && takes_hwaddr(program.kind));
        let hwaddr = given.map(|(index, device)| self.hwaddr(index, device));
        let mtu = device.and_then(|(_, device)| device.mtu).filter(|mtu| *mtu >= LEAST_MTU);
        Some(NetworkPlan::UserMode(UserModePlan { program, name, hwaddr, mtu, resolv_conf, is_asked_for }))
    }

    fn hwaddr(&self, index: u32, device: &NetDevice) -> [u8; 6] {
        hwaddr(device.hwaddr, &self.facts.machine, &self.request.place, index)
    }

    fn device(
        &self,
        index: u32,
        device: &NetDevice,
        name: String,
        bridge: &str,
        about: Option<&BridgeFacts>,
    ) -> DevicePlan {
        let v4 = gateway(device.ipv4_gateway, about.and_then(|bridge| bridge.ipv4), GatewayPlan::DeviceV4);
        let v6 = gateway(device.ipv6_gateway, about.and_then(|bridge| bridge.ipv6), GatewayPlan::DeviceV6);
        let addresses = device.ipv4_addresses.iter().map(AddressPlan::from);
        DevicePlan {
            index,
            name,
            bridge: bridge.to_owned(),
            hwaddr: self.hwaddr(index, device),
            mtu: device.mtu,
            up: device.flags_up,
            addresses: addresses.chain(device.ipv6_addresses.iter().map(AddressPlan::from)).collect(),
            gateways: v4.into_iter().chain(v6).collect(),
            script_up: device.script_up.clone(),
            script_down: device.script_down.clone(),
        }
    }
}

impl From<&Ipv4Address> for AddressPlan {
    fn from(v4: &Ipv4Address) -> Self {
        Self { address: v4.cidr.address.into(), prefix: v4.cidr.prefix, broadcast: v4.broadcast }
    }
}

impl From<&Cidr<Ipv6Addr>> for AddressPlan {
    fn from(v6: &Cidr<Ipv6Addr>) -> Self {
        Self { address: v6.address.into(), prefix: v6.prefix, broadcast: None }
    }
}

/// Returns the gateway of one family; `bridge` is the bridge's address, `device` the device as the way to everything.
fn gateway<A: Into<IpAddr>>(
    wanted: Option<Gateway<A>>,
    bridge: Option<A>,
    device: GatewayPlan,
) -> Option<GatewayPlan> {
    match wanted? {
        Gateway::Address(address) => Some(GatewayPlan::By(address.into())),
        Gateway::Auto => bridge.map(|address| GatewayPlan::By(address.into())),
        Gateway::Dev => Some(device),
    }
}

/// Returns the names inside: those that are given, and for the others the first of eth0, eth1, ... that none has.
fn names(veth: &[(u32, &NetDevice)]) -> Vec<String> {
    let given: BTreeSet<&str> = veth.iter().filter_map(|(_, device)| device.name.as_deref()).collect();
    let mut free = (0..).map(|number| format!("eth{number}")).filter(|name| !given.contains(name.as_str()));
    let name =
        |(_, device): &(u32, &NetDevice)| device.name.clone().or_else(|| free.next()).unwrap_or_default();
    veth.iter().map(name).collect()
}

/// The least MTU of a device that carries IPv4. Source: RFC 791.
const LEAST_MTU: u32 = 68;

/// Tells whether the program makes a device with an address on the link that it is told: versions of slirp4netns that
/// distributions have do not know the option.
fn takes_hwaddr(program: UserModeKind) -> bool {
    program == UserModeKind::Pasta
}

/// The keys of a device that a network in user mode has no use for: its addresses are its own, and the host has no device
/// for which a script could be run.
fn dropped(index: u32, device: &NetDevice, program: UserModeKind) -> Vec<String> {
    let asked = [
        ("hwaddr", device.hwaddr.is_some() && !takes_hwaddr(program)),
        ("mtu", device.mtu.is_some_and(|mtu| mtu < LEAST_MTU)),
        ("ipv4.address", !device.ipv4_addresses.is_empty()),
        ("ipv4.gateway", device.ipv4_gateway.is_some()),
        ("ipv6.address", !device.ipv6_addresses.is_empty()),
        ("ipv6.gateway", device.ipv6_gateway.is_some()),
        ("script.up", device.script_up.is_some()),
        ("script.down", device.script_down.is_some()),
    ];
    let of_the_host = of_the_hosts_network(device).into_iter();
    let asked = asked.into_iter().chain(of_the_host).filter(|(_, asked)| *asked);
    asked.map(|(key, _)| format!("lxc.net.{index}.{key}")).collect()
}

/// What of a device needs rights over the host's network.
fn not_applied(index: u32, device: &NetDevice) -> Vec<String> {
    let named = of_the_hosts_network(device).into_iter().filter(|(_, asked)| *asked);
    let said =
        |(key, _)| format!("lxc.net.{index}.{key}: not applied, it needs rights over the host's network");
    named.map(said).collect()
}

fn of_the_hosts_network(device: &NetDevice) -> [(&'static str, bool); 7] {
    let veth = &device.veth;
    [
        ("veth.n_rxqueues", veth.rx_queues.is_some()),
        ("veth.n_txqueues", veth.tx_queues.is_some()),
        ("veth.ipv4.route", !veth.ipv4_routes.is_empty()),
        ("veth.ipv6.route", !veth.ipv6_routes.is_empty()),
        ("veth.vlan.id", veth.vlan.is_some()),
        ("veth.vlan.tagged.id", !veth.tagged_vlans.is_empty()),
        ("l2proxy", device.l2proxy),
    ]
}

/// Returns the hardware address of a device: as it is given, and where digits are left to chance ones that are the same at
/// every start, and others for every other container, device and machine.
///
/// LXC: other ones at each start, so that a DHCP server takes the container for a new one.
fn hwaddr(given: Option<HwAddr>, machine: &[u8], place: &Place, index: u32) -> [u8; 6] {
    let text = format!("{}\0{}\0{index}", place.lxcpath.display(), place.name);
    let hash = policy::slots::hash(&[machine, b"\0", text.as_bytes()].concat()).to_be_bytes();
    let chance: [u8; 6] = std::array::from_fn(|at| hash[at + 2]);
    match given {
        Some(template) => template.fill(chance),
        // Of one device, and locally administered.
        None => std::array::from_fn(|at| if at == 0 { chance[0] & !1 | 2 } else { chance[at] }),
    }
}

/// The address at which the container finds names: one that the program itself answers.
pub(crate) fn resolver(kind: UserModeKind) -> Ipv4Addr {
    match kind {
        // An address of no network but the link: none that is used anywhere is hidden.
        UserModeKind::Pasta => Ipv4Addr::new(169, 254, 1, 53),
        UserModeKind::Slirp => Ipv4Addr::new(10, 0, 2, 3),
    }
}

/// The default route of each family.
pub(crate) fn everything(gateway: GatewayPlan) -> sys::netlink::Route {
    let v4 = (IpAddr::from(Ipv4Addr::UNSPECIFIED), 0);
    let v6 = (IpAddr::from(Ipv6Addr::UNSPECIFIED), 0);
    match gateway {
        GatewayPlan::By(address) => {
            sys::netlink::Route { to: if address.is_ipv4() { v4 } else { v6 }, by: Some(address) }
        }
        GatewayPlan::DeviceV4 => sys::netlink::Route { to: v4, by: None },
        GatewayPlan::DeviceV6 => sys::netlink::Route { to: v6, by: None },
    }
}

/// The name of the container's resolv.conf in Bryo's directory, for a network in user mode.
pub(crate) const RESOLV_CONF: &str = "resolv.conf";

/// Returns the mount of the resolv.conf of a network in user mode over the container's own, unless an entry of the
/// configuration is one. One that leads into a directory which the container has yet to make is left to the container.
pub(super) fn resolv_conf(network: &NetworkPlan, place: &Place, entries: &[EntryPlan]) -> Option<EntryPlan> {
    let target = Path::new("etc/resolv.conf");
    network.user_mode().filter(|_| entries.iter().all(|entry| entry.target != target))?;
    let path = place.dir().join(crate::place::STATE).join(RESOLV_CONF);
    Some(EntryPlan {
        line: format!("{} etc/resolv.conf none bind,ro,optional,create=file", path.display()),
        source: EntrySource::Bind { path, recursive: false },
        target: target.to_owned(),
        set: attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC,
        clear: 0,
        propagation: None,
        create: Some(Create::File),
        optional: true,
    })
}
