//! The keys of network devices: `lxc.net.N.*`.

use super::field::{Access, Field};
use super::{Key, Shape, key};
use crate::{Fault, NetDevice, NetKind, nearest};

/// The acts of a key that is one field of a [`NetDevice`].
///
/// The device comes into being with its first accepted value. LXC: also with a refused one.
macro_rules! device {
    ($($field:ident).+) => {
        Access {
            set: |config, slot, value| {
                if let Some(device) = config.net.get_mut(&slot.index) {
                    return device.$($field).+.read(value);
                }
                let mut device = NetDevice::default();
                device.$($field).+.read(value)?;
                config.net.insert(slot.index, device);
                Ok(())
            },
            show: |config, slot| Ok(config.net.get(&slot.index).ok_or_else(nothing)?.$($field).+.show()),
            clear: |config, slot| {
                if let Some(device) = config.net.get_mut(&slot.index) {
                    device.$($field).+ = NetDevice::default().$($field).+;
                }
            },
        }
    };
}

/// A device of this kind alone has the key; others refuse to show it.
macro_rules! device_of {
    ($kind:ident, $($field:ident).+) => {
        Access {
            show: |config, slot| {
                let device = config.net.get(&slot.index).ok_or_else(nothing)?;
                match device.kind {
                    NetKind::$kind | NetKind::Empty => Ok(device.$($field).+.show()),
                    kind => Err(Fault::WrongKind { key: String::new(), kind }),
                }
            },
            ..device!($($field).+)
        }
    };
}

fn nothing() -> Fault {
    Fault::NothingToShow { key: String::new() }
}

/// `flags`. LXC: takes any word for up, `down` too.
const FLAGS: Access = Access {
    set: |config, slot, value| {
        let up = match value {
            "up" => true,
            "down" => false,
            other => return Err(Fault::value(other, "up or down").meaning(direction_meant(other))),
        };
        config.net.entry(slot.index).or_default().flags_up = up;
        Ok(())
    },
    show: |config, slot| {
        let device = config.net.get(&slot.index).ok_or_else(nothing)?;
        Ok(if device.flags_up { "up" } else { "" }.to_owned())
    },
    clear: |config, slot| {
        if let Some(device) = config.net.get_mut(&slot.index) {
            device.flags_up = false;
        }
    },
};

fn direction_meant(text: &str) -> Option<String> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "yes" | "true" | "on" | "iff_up" => Some("up".to_owned()),
        "0" | "no" | "false" | "off" | "none" => Some("down".to_owned()),
        other => nearest::of(other, ["up", "down"]),
    }
}

/// A whole device: it can be cleared, and has no value of its own.
const DEVICE: Access = Access {
    set: |_, _, _| Err(nothing()),
    show: |_, _| Err(nothing()),
    clear: |config, slot| {
        config.net.remove(&slot.index);
    },
};

const NEEDS_ROOT: &str = "it needs rights over the host's network";
const NOT_VETH: &str = "a user cannot have devices of this type";
const VETH: &str = "`type = veth` on a bridge that is granted to the user";

/// The keys below `lxc.net.N`, in the order in which LXC lists them.
pub static DEVICE_KEYS: &[Key] = &[
    key("lxc.net.N", "", "One network device; an empty value removes it.", DEVICE).shape(Shape::Group),
    key(
        "lxc.net.N.type",
        "empty|none|veth|macvlan|ipvlan|vlan|phys",
        "The kind of the device. `none` shares the network of the host.",
        device!(kind),
    )
    .default("empty")
    .partly("veth, empty and none; the others are refused"),
    key(
        "lxc.net.N.script.up",
        "COMMAND",
        "A command to run on the host, as the user, when the device is made.",
        device!(script_up),
    ),
    key(
        "lxc.net.N.script.down",
        "COMMAND",
        "A command to run on the host, as the user, when the device goes.",
        device!(script_down),
    ),
    key("lxc.net.N.flags", "up|down", "Whether the device is raised.", FLAGS).default("down"),
    key(
        "lxc.net.N.link",
        "DEVICE",
        "The bridge or parent device on the host. For phys a trailing + matches by prefix.",
        device!(link),
    )
    .partly("the bridge must be granted in /etc/lxc/lxc-usernet"),
    key(
        "lxc.net.N.l2proxy",
        "0|1",
        "Whether the host answers ARP and NDP for the container.",
        device!(l2proxy),
    )
    .never(NEEDS_ROOT, "an address of the bridge's own network"),
    key("lxc.net.N.name", "NAME", "The name in the container.", device!(name)).default("eth0, eth1, ..."),
    key(
        "lxc.net.N.hwaddr",
        "XX:XX:XX:XX:XX:XX",
        "The hardware address; each x is a random digit, drawn when the container is made, or else the same at each start.",
        device!(hwaddr),
    ),
    key("lxc.net.N.mtu", "BYTES", "The MTU.", device!(mtu)).partly("the host's end keeps that of its bridge"),
    key("lxc.net.N.ipv6.address", "ADDRESS[/PREFIX]", "An IPv6 address.", device!(ipv6_addresses))
        .shape(Shape::List),
    key("lxc.net.N.ipv6.gateway", "ADDRESS|auto|dev", "The IPv6 default gateway.", device!(ipv6_gateway)),
    key(
        "lxc.net.N.ipv4.address",
        "ADDRESS[/PREFIX] [BROADCAST]",
        "An IPv4 address; without a prefix its class decides.",
        device!(ipv4_addresses),
    )
    .shape(Shape::List),
    key("lxc.net.N.ipv4.gateway", "ADDRESS|auto|dev", "The IPv4 default gateway.", device!(ipv4_gateway)),
    key("lxc.net.N.veth.pair", "NAME", "The name of the end on the host.", device_of!(Veth, veth.pair))
        .needless("the name says whose quota the device counts against"),
    key(
        "lxc.net.N.veth.mode",
        "bridge|router",
        "How the end on the host is connected.",
        device_of!(Veth, veth.mode),
    )
    .partly("bridge alone"),
    key(
        "lxc.net.N.veth.n_rxqueues",
        "NUMBER",
        "The number of receive queues.",
        device_of!(Veth, veth.rx_queues),
    )
    .never(NEEDS_ROOT, "one queue in each direction"),
    key(
        "lxc.net.N.veth.n_txqueues",
        "NUMBER",
        "The number of transmit queues.",
        device_of!(Veth, veth.tx_queues),
    )
    .never(NEEDS_ROOT, "one queue in each direction"),
    key(
        "lxc.net.N.veth.ipv4.route",
        "NETWORK/PREFIX",
        "An IPv4 network that the host routes to the container.",
        device_of!(Veth, veth.ipv4_routes),
    )
    .shape(Shape::List)
    .never(NEEDS_ROOT, "an address of the bridge's own network"),
    key(
        "lxc.net.N.veth.ipv6.route",
        "NETWORK/PREFIX",
        "An IPv6 network that the host routes to the container.",
        device_of!(Veth, veth.ipv6_routes),
    )
    .shape(Shape::List)
    .never(NEEDS_ROOT, "an address of the bridge's own network"),
    key(
        "lxc.net.N.veth.vlan.id",
        "ID|none",
        "The untagged VLAN of the bridge port.",
        device_of!(Veth, veth.vlan),
    )
    .never(NEEDS_ROOT, "a bridge for each VLAN"),
    key(
        "lxc.net.N.veth.vlan.tagged.id",
        "ID",
        "A tagged VLAN of the bridge port.",
        device_of!(Veth, veth.tagged_vlans),
    )
    .shape(Shape::List)
    .never(NEEDS_ROOT, "a bridge for each VLAN"),
    key(
        "lxc.net.N.macvlan.mode",
        "private|vepa|bridge|passthru",
        "How devices on one parent reach each other.",
        device_of!(Macvlan, macvlan_mode),
    )
    .never(NOT_VETH, VETH),
    key(
        "lxc.net.N.ipvlan.mode",
        "l3|l3s|l2",
        "On which layer the device works.",
        device_of!(Ipvlan, ipvlan_mode),
    )
    .never(NOT_VETH, VETH),
    key(
        "lxc.net.N.ipvlan.isolation",
        "bridge|private|vepa",
        "How devices on one parent reach each other.",
        device_of!(Ipvlan, ipvlan_isolation),
    )
    .never(NOT_VETH, VETH),
    key("lxc.net.N.vlan.id", "ID", "The tag of the VLAN.", device_of!(Vlan, vlan_id)).never(NOT_VETH, VETH),
];
