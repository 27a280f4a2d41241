//! What is set up inside: name and namespace are the helper's work already; addresses and routes are set by init itself, as
//! root of the container.

use sys::netlink::{Address, Connection, Settings};

use crate::error::{Doing, Error, Kind, Result};
use crate::plan::{DevicePlan, GatewayPlan, everything};

/// Sets up the devices of the current network namespace.
pub(crate) fn set_up(devices: &[DevicePlan]) -> Result<()> {
    let mut connection = Connection::open()?;
    let links = connection.links()?;
    for device in devices {
        let found = links.iter().find(|link| link.name == device.name);
        let missing = || Error::new(Kind::Network, format!("{} is gone", device.name));
        let number = found.ok_or_else(missing)?.index;
        one(&mut connection, number, device)
            .doing_with(|| format!("setting up lxc.net.{} ({})", device.index, device.name))?;
    }
    Ok(())
}

/// Sets up one device. The hardware address first, since the kernel makes an address of IPv6 from it, and gateways last,
/// since they are found by the networks of the addresses.
fn one(connection: &mut Connection, number: u32, device: &DevicePlan) -> Result<()> {
    let named = Settings { address: Some(device.hwaddr), mtu: device.mtu, up: false };
    connection.set(number, &named).doing("hardware address and MTU")?;
    for plan in &device.addresses {
        let address = Address { index: number, address: plan.address, prefix: plan.prefix };
        connection
            .add_address(&address, plan.broadcast)
            .doing_with(|| format!("address {}", plan.address))?;
    }
    if device.up {
        connection.set(number, &Settings { up: true, ..Settings::default() }).doing("raising it")?;
    }
    device.gateways.iter().try_for_each(|gateway| add_gateway(connection, number, *gateway))
}

/// Adds a default route. A gateway outside of the device's own networks is reached by a route to it alone, as LXC does.
fn add_gateway(connection: &mut Connection, number: u32, gateway: GatewayPlan) -> Result<()> {
    let route = everything(gateway);
    let first = match (connection.add_route(number, &route), route.by) {
        (Err(e), Some(by)) if matches!(e.errno(), sys::Errno::ENETUNREACH | sys::Errno::EHOSTUNREACH) => {
            let bits = if by.is_ipv4() { 32 } else { 128 };
            let way = sys::netlink::Route { to: (by, bits), by: None };
            connection.add_route(number, &way).and_then(|()| connection.add_route(number, &route))
        }
        (done, _) => done,
    };
    first.doing_with(|| route.by.map_or("the default route".to_owned(), |by| format!("gateway {by}")))
}
