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
    },
    /// A program of the caller's carries the packets.
    UserMode(UserModePlan),
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

    /// Returns the devices on bridges.
    pub fn devices(&self) -> &[DevicePlan] {
        if let Self::Bridged { devices, .. } = self { devices } else { &[] }
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
                return self.user_mode("eth0", true).ok_or_else(|| self.nothing("it was asked for"));
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
        let bridged = || {
            let device = NetDevice { flags_up: true, ..NetDevice::default() };
            let (helper, bridge) = (self.facts.helper.clone()?, self.facts.usable_bridges().next()?);
            let device = self.device(0, &device, "eth0".to_owned(), bridge, None);
            Some(NetworkPlan::Bridged { helper, devices: vec![device] })
        };
        let user_mode = || self.user_mode("eth0", self.publishes());
        let found = match self.request.run {
            Run::App(_) => user_mode().or_else(bridged),
            _ => bridged().or_else(user_mode),
        };
        found.unwrap_or_else(|| {
            notes.extend(self.caller.is_root().then(|| format!("no network but loopback: {OF_ROOT}")));
            NetworkPlan::Loopback
        })
    }

    fn on_bridges(&self, veth: &[(u32, &NetDevice)], notes: &mut Vec<String>) -> Result<NetworkPlan> {
        let names = names(veth);
        let Some(lacking) = self.lacking(veth) else {
            let helper = self.facts.helper.clone().unwrap_or_default();
            let with = veth.iter().zip(names);
            let devices = with.map(|((index, device), name)| {
                notes.extend(not_applied(*index, device));
                let bridge = device.link.as_deref().unwrap_or_default();
                self.device(*index, device, name, bridge, self.facts.bridges.get(bridge))
            });
            return Ok(NetworkPlan::Bridged { helper, devices: devices.collect() });
        };
        let first = names.first().map_or("eth0", String::as_str);
        let is_asked_for = !self.request.network_by_default || self.publishes();
        let Some(plan) = self.user_mode(first, is_asked_for) else {
            let nothing = self.nothing(&lacking);
            if is_asked_for {
                return Err(nothing);
            }
            notes.push(format!("{}: only loopback; --net host shares this machine's", nothing.cause()));
            return Ok(NetworkPlan::Loopback);
        };
        notes.push(format!("{lacking}: a network in user mode takes its place, with addresses of its own"));
        notes.extend((veth.len() > 1).then(|| format!("that network is one device, {first}")));
        Ok(plan)
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

    fn user_mode(&self, name: &str, is_asked_for: bool) -> Option<NetworkPlan> {
        let program = self.facts.user_mode.clone()?;
        let resolver = format!("nameserver {}\n", resolver(program.kind));
        let search: String = self.facts.search.iter().map(|line| format!("{line}\n")).collect();
        let (name, resolv_conf) = (name.to_owned(), resolver + &search);
        Some(NetworkPlan::UserMode(UserModePlan { program, name, resolv_conf, is_asked_for }))
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
            hwaddr: hwaddr(device.hwaddr, &self.facts.machine, &self.request.place, index),
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

/// What of a device needs rights over the host's network.
fn not_applied(index: u32, device: &NetDevice) -> Vec<String> {
    let veth = &device.veth;
    let asked = [
        ("veth.n_rxqueues", veth.rx_queues.is_some()),
        ("veth.n_txqueues", veth.tx_queues.is_some()),
        ("veth.ipv4.route", !veth.ipv4_routes.is_empty()),
        ("veth.ipv6.route", !veth.ipv6_routes.is_empty()),
        ("veth.vlan.id", veth.vlan.is_some()),
        ("veth.vlan.tagged.id", !veth.tagged_vlans.is_empty()),
        ("l2proxy", device.l2proxy),
    ];
    let named = asked.into_iter().filter(|(_, asked)| *asked);
    named
        .map(|(key, _)| {
            format!("lxc.net.{index}.{key}: not applied, it needs rights over the host's network")
        })
        .collect()
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

/// Mounts the resolv.conf of a network in user mode over the container's own, unless an entry of the configuration does.
/// One that leads into a directory which the container has yet to make is left to the container.
pub(super) fn resolv_conf(network: &NetworkPlan, place: &Place, entries: &mut Vec<EntryPlan>) {
    let target = Path::new("etc/resolv.conf");
    if !matches!(network, NetworkPlan::UserMode(_)) || entries.iter().any(|entry| entry.target == target) {
        return;
    }
    let path = place.dir().join(crate::place::STATE).join(RESOLV_CONF);
    entries.push(EntryPlan {
        line: format!("{} etc/resolv.conf none bind,ro,optional,create=file", path.display()),
        source: EntrySource::Bind { path, recursive: false },
        target: target.to_owned(),
        set: attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC,
        clear: 0,
        propagation: None,
        create: Some(Create::File),
        optional: true,
    });
}
