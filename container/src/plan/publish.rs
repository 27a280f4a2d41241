//! Which ports of the host lead into a container, and that they can.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use types::{Protocol, Published};

use super::{NetworkPlan, StartRequest};
use crate::error::{Error, Kind, Result};

/// The most ports that a container has published: each takes files of its monitor, mostly two.
const MOST: usize = 128;

/// A socket of the host that leads to a port inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Its address on the host.
    pub address: SocketAddr,
    /// Its protocol.
    pub protocol: Protocol,
    /// The port inside.
    pub inside: u16,
    /// It must be had; else it may be of a family that the host has not.
    pub must: bool,
}

/// Returns the sockets that publishing takes.
pub fn openings(published: &[Published]) -> Vec<Opening> {
    let one = |published: &Published| {
        let (addresses, protocol) = (published.addresses(), published.protocol());
        let of_port = move |(host, inside): (u16, u16)| {
            let at = move |(address, must): (IpAddr, bool)| Opening {
                address: SocketAddr::new(address, host),
                protocol,
                inside,
                must,
            };
            addresses.clone().into_iter().map(at)
        };
        published.ports().flat_map(of_port).collect::<Vec<_>>()
    };
    published.iter().flat_map(one).collect()
}

/// Decides what is published.
///
/// # Errors
/// [`Kind::Usage`] for a container that shares the host's network or has none, and as [`check`].
pub(super) fn decide(request: &StartRequest, network: &NetworkPlan) -> Result<Vec<Published>> {
    let published = request.publish.clone();
    let Some(first) = published.first() else { return Ok(published) };
    let refused = |why: String| Err(Error::new(Kind::Usage, why).doing(format!("publishing {first}")));
    let name = &request.place.name;
    match network {
        NetworkPlan::Host => {
            return refused(format!(
                "{name} shares this machine's network, where its services listen on the machine's own ports"
            ));
        }
        NetworkPlan::Loopback => {
            return refused(format!("{name} has no network but loopback; --net user gives it one"));
        }
        NetworkPlan::Bridged { .. } | NetworkPlan::UserMode(_) => {}
    }
    check(&published).map(|()| published)
}

/// Checks that all of it can be published together.
///
/// # Errors
/// [`Kind::Usage`] for a port that would lead to two, and for too many.
pub fn check(published: &[Published]) -> Result<()> {
    let refused = |why: String| Err(Error::new(Kind::Usage, why));
    // Before any is made of a range: a file can have thousands of 65535 each.
    let ports: usize = published.iter().map(Published::count).sum();
    if ports > MOST {
        return refused(format!("{ports} ports are published, and {MOST} can be"));
    }
    match twice(&openings(published)) {
        Some(port) => refused(format!("port {port} is published twice")),
        None => Ok(()),
    }
}

/// Returns a port that two openings need.
fn twice(openings: &[Opening]) -> Option<String> {
    let mut seen: BTreeMap<(Protocol, u16), Vec<IpAddr>> = BTreeMap::new();
    for opening in openings {
        let (address, port) = (opening.address.ip(), opening.address.port());
        let others = seen.entry((opening.protocol, port)).or_default();
        if others.iter().any(|other| overlap(*other, address)) {
            return Some(format!("{port}/{}", opening.protocol));
        }
        others.push(address);
    }
    None
}

fn overlap(one: IpAddr, other: IpAddr) -> bool {
    one == other || one.is_ipv4() == other.is_ipv4() && (one.is_unspecified() || other.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::Place;
    use crate::plan::{Run, Stdio};

    const BRIDGED: NetworkPlan =
        NetworkPlan::Bridged { helper: std::path::PathBuf::new(), devices: Vec::new(), otherwise: None };

    fn published(texts: &[&str]) -> Vec<Published> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn decided(texts: &[&str], network: &NetworkPlan) -> Result<Vec<Published>> {
        let place = Place { lxcpath: "/lxc".into(), name: "web".parse().unwrap() };
        let request = StartRequest {
            config_file: place.config(),
            place,
            run: Run::Init,
            foreground: false,
            stdio: Stdio::Console,
            network: None,
            network_by_default: false,
            publish: published(texts),
            lxcfs: false,
            lxcfs_quota: false,
        };
        decide(&request, network)
    }

    #[test]
    fn each_port_has_a_socket_for_each_address() {
        let all = openings(&published(&["8000-8001:80-81", "10.0.0.1:53:5353/udp"]));
        let told: Vec<String> =
            all.iter().map(|o| format!("{}>{}{}", o.address, o.inside, o.protocol)).collect();
        let expected = [
            "127.0.0.1:8000>80tcp",
            "[::1]:8000>80tcp",
            "127.0.0.1:8001>81tcp",
            "[::1]:8001>81tcp",
            "10.0.0.1:53>5353udp",
        ];
        assert_eq!(told, expected);
        assert_eq!(all.iter().map(|o| o.must).collect::<Vec<_>>(), [true, false, true, false, true]);
    }

    #[test]
    fn a_network_that_is_shared_or_none_publishes_nothing_and_says_so() {
        assert!(
            decided(&["80:80"], &NetworkPlan::Host)
                .unwrap_err()
                .to_string()
                .contains("shares this machine's")
        );
        assert!(
            decided(&["80:80"], &NetworkPlan::Loopback).unwrap_err().to_string().contains("no network but")
        );
        assert_eq!(decided(&[], &NetworkPlan::Host).unwrap(), []);
        assert_eq!(decided(&["80:80"], &BRIDGED).unwrap().len(), 1);
    }

    #[test]
    fn a_port_leads_to_one_place() {
        for (first, second, is_twice) in [
            ("80:80", "80:81", true),
            ("80:80", "80:80/udp", false),
            ("80:80", "10.0.0.1:80:80", false),
            ("80:80", "*:80:80", true),
            ("0.0.0.0:80:80", "[::1]:80:80", false),
            ("[::]:80:80", "[::1]:80:80", true),
            ("80-90:80-90", "85:1", true),
        ] {
            assert_eq!(decided(&[first, second], &BRIDGED).is_err(), is_twice, "{first} {second}");
        }
        assert!(decided(&["1000-1127:1000-1127"], &BRIDGED).is_ok());
        assert!(decided(&["1000-1128:1000-1128"], &BRIDGED).is_err());
    }
}
