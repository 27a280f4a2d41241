//! Settings of network devices that no ordinary user can have: all of them, with the nearest that can be had.

use std::collections::BTreeSet;

use config::{Config, NetDevice, NetKind, VethMode};
use types::IfName;

use crate::error::{Error, Kind, Result};

/// A setting of a device that no ordinary user can have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The key, such as `lxc.net.0.type`.
    pub key: String,
    /// The value.
    pub value: String,
    /// Why.
    pub why: String,
    /// The nearest that can be had.
    pub instead: Option<String>,
}

/// Finds all settings of devices that no start can fulfil.
pub fn refused(config: &Config) -> Vec<Refused> {
    let mut all = Vec::new();
    let mut names = BTreeSet::new();
    for (index, device) in &config.net {
        all.extend(of_device(*index, device));
        let name = device.name.as_ref().filter(|_| device.kind == NetKind::Veth);
        if let Some(name) = name.filter(|name| !names.insert(name.as_str())) {
            let why = "another device has this name";
            all.push(Refusing { index: *index }.of("name", name, why, "write a name of its own"));
        }
    }
    all
}

/// Makes refusals of one device.
struct Refusing {
    index: u32,
}

impl Refusing {
    fn of(&self, key: &str, value: impl ToString, why: impl Into<String>, instead: &str) -> Refused {
        Refused {
            key: format!("lxc.net.{}.{key}", self.index),
            value: value.to_string(),
            why: why.into(),
            instead: Some(instead.to_owned()),
        }
    }
}

const A_BRIDGE: &str = "write type = veth and link = BRIDGE, with a line for you in /etc/lxc/lxc-usernet";

fn of_device(index: u32, device: &NetDevice) -> Vec<Refused> {
    let refusing = Refusing { index };
    match device.kind {
        NetKind::Empty | NetKind::None => return Vec::new(),
        NetKind::Veth => {}
        kind => {
            let why = "devices of this type need root; veth, empty and none do not";
            return vec![refusing.of("type", kind, why, A_BRIDGE)];
        }
    }
    let mut all = Vec::new();
    match &device.link {
        None => {
            all.push(refusing.of("type", "veth", "no bridge is named", "add a line for its link = BRIDGE"))
        }
        Some(link) => {
            let bad = link.parse::<IfName>().err();
            all.extend(bad.map(|e| refusing.of("link", link, e.to_string(), "name a bridge of the host")));
        }
    }
    if device.veth.mode == VethMode::Router {
        let why = "a device without a bridge needs routes on the host, which need root";
        all.push(refusing.of("veth.mode", "router", why, "write bridge"));
    }
    if let Some((name, error)) =
        device.name.as_ref().and_then(|name| Some((name, name.parse::<IfName>().err()?)))
    {
        all.push(refusing.of("name", name, error.to_string(), "write a name such as eth0"));
    }
    if let Some(hwaddr) = device.hwaddr.filter(|hwaddr| !is_of_one_device(hwaddr.fill([0x5a; 6]))) {
        let why = "it is no address of one device: the second digit is odd, or all are 0";
        all.push(refusing.of("hwaddr", hwaddr, why, "write 10:66:6a:xx:xx:xx"));
    }
    let gateways = [
        ("ipv4.gateway", device.ipv4_gateway.map(|g| g.to_string())),
        ("ipv6.gateway", device.ipv6_gateway.map(|g| g.to_string())),
    ];
    for (key, value) in gateways {
        if let Some(value) = value.filter(|_| !device.flags_up) {
            let why = "a device that is not raised has no gateway";
            all.push(refusing.of(key, value, why, &format!("add lxc.net.{index}.flags = up")));
        }
    }
    all
}

fn is_of_one_device(address: [u8; 6]) -> bool {
    address[0] & 1 == 0 && address != [0; 6]
}

/// Refuses a configuration with such settings.
///
/// # Errors
/// All of them, a line each.
pub(super) fn refuse(config: &Config) -> Result<()> {
    let refused = refused(config);
    if refused.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = refused.iter().map(|r| format!("{} = {}: {}", r.key, r.value, r.why)).collect();
    Err(Error::new(Kind::Config, lines.join("\n")))
}
