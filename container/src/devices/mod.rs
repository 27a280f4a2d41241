//! The network devices that the helper has made on the host's bridges: whose they are, how many that are of how many, and in
//! which container they stand.
//!
//! All of it is kernel state. The name of a device says whose it is ([`policy::slots`]), the bridge what it is a port of, and its
//! alias into which network namespace its other end went. So whoever may list interfaces, which is everybody, can count.

mod holders;

use std::collections::BTreeSet;

use policy::slots::{self, Owner, Slots};
use policy::usernet::{self, Asker, lint};
use serde::Serialize;
use sys::links::Link;
use types::IfName;

pub use holders::{Holder, Holders};

/// A device of the helper's making, or one that has such a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// The name of the host's end. It is the slot that the device takes.
    pub name: String,
    /// To whom it is counted.
    pub owner: Owner,
    /// The bridge that it is a port of.
    pub bridge: Option<String>,
    /// The uid of who asked for it.
    pub asked_by: u32,
    /// The inode number of the network namespace that its other end was put into.
    pub netns: Option<u64>,
    /// What is wrong with it.
    pub flaw: Option<Flaw>,
}

/// What is wrong with a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flaw {
    /// Something else than a veth device has the name, or it is no port of a bridge: the slot is taken, and nobody has a
    /// device by it.
    Foreign,
    /// It is down: a helper was killed before it was ready.
    Down,
    /// The bridge takes messages of a spanning tree from it.
    Unguarded,
}

/// How much of a grant is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// The bridge.
    pub bridge: IfName,
    /// To whom devices are counted.
    pub owner: Owner,
    /// How many may be there; 0 where nothing is granted any more.
    pub limit: u32,
    /// The names of those that are, in their order.
    pub used: Vec<String>,
    /// The bridge is there.
    pub is_there: bool,
    /// The ports of users on the bridge do not reach each other; where there is none, the next ones will not.
    pub is_isolated: bool,
}

/// Returns the devices among `links` that have a slot's name, in the order of their names.
pub fn of(links: &[Link]) -> Vec<Device> {
    let mut devices: Vec<Device> = links.iter().filter_map(|link| device(link, links)).collect();
    devices.sort_by(|a, b| a.name.cmp(&b.name));
    devices
}

fn device(link: &Link, links: &[Link]) -> Option<Device> {
    let (name, owner) = names(link).find_map(|name| Some((name, slots::owner(name)?)))?;
    let bridge = links.iter().find(|other| Some(other.index) == link.master && other.kind == "bridge");
    let flaw = match link.port {
        _ if link.kind != "veth" || bridge.is_none() => Some(Flaw::Foreign),
        _ if !link.is_up => Some(Flaw::Down),
        Some(port) if port.is_guarded => None,
        _ => Some(Flaw::Unguarded),
    };
    Some(Device {
        name: name.to_owned(),
        owner,
        bridge: bridge.map(|bridge| bridge.name.clone()),
        asked_by: link.group,
        netns: link.alias.as_deref().and_then(netns_of),
        flaw,
    })
}

/// Returns all names of an interface. A slot is taken by any of them.
fn names(link: &Link) -> impl Iterator<Item = &str> {
    link.others.iter().chain([&link.name]).map(String::as_str)
}

/// Reads the number that the helper wrote into the alias.
fn netns_of(alias: &str) -> Option<u64> {
    alias.strip_prefix("bryo ")?.split(' ').find_map(|word| word.strip_prefix("netns="))?.parse().ok()
}

/// Returns what the file of the grants says about one user, with what is used of it.
pub fn quotas_of(text: &[u8], asker: &Asker<'_>, links: &[Link]) -> Vec<Quota> {
    let mut pairs = Vec::new();
    for bridge in bridges(text) {
        for grant in usernet::grants(text, &bridge, asker) {
            pairs.push((bridge.clone(), grant.owner, grant.quota));
        }
    }
    add_ungranted(&mut pairs, links, |owner| match owner {
        Owner::User(uid) => uid == asker.uid,
        Owner::Group(gid) => asker.groups.iter().any(|group| group.gid == gid),
    });
    pairs.into_iter().map(|pair| quota(pair, text, links)).collect()
}

/// Returns what the file of the grants says about everybody, with what is used of it.
pub fn all_quotas(text: &[u8], host: &impl lint::Host, links: &[Link]) -> Vec<Quota> {
    let mut pairs: Vec<(IfName, Owner, u32)> = Vec::new();
    for line in usernet::all(text).filter(|line| line.number > 0) {
        let Some(owner) = lint::owner(line.who, host) else { continue };
        match pairs.iter_mut().find(|(bridge, other, _)| (bridge as &IfName, *other) == (&line.bridge, owner))
        {
            Some((_, _, limit)) => *limit = line.number.max(*limit),
            None => pairs.push((line.bridge, owner, line.number)),
        }
    }
    add_ungranted(&mut pairs, links, |_| true);
    pairs.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
    pairs.into_iter().map(|pair| quota(pair, text, links)).collect()
}

fn bridges(text: &[u8]) -> BTreeSet<IfName> {
    usernet::all(text).map(|line| line.bridge).collect()
}

/// Adds who has devices and no line for them any more.
fn add_ungranted(pairs: &mut Vec<(IfName, Owner, u32)>, links: &[Link], is_asked: impl Fn(Owner) -> bool) {
    for device in of(links).into_iter().filter(|device| is_asked(device.owner)) {
        let bridge: Option<IfName> = device.bridge.and_then(|name| name.parse().ok());
        // The device of a bridge that was renamed is counted to the name that it was made for.
        let counted = bridge.filter(|bridge| Slots::new(device.owner, bridge).number(&device.name).is_some());
        let Some(bridge) = counted else { continue };
        if !pairs.iter().any(|(other, owner, _)| (other, *owner) == (&bridge, device.owner)) {
            pairs.push((bridge, device.owner, 0));
        }
    }
}

fn quota((bridge, owner, limit): (IfName, Owner, u32), text: &[u8], links: &[Link]) -> Quota {
    let slots = Slots::new(owner, &bridge);
    let mut used: Vec<String> =
        links.iter().flat_map(names).filter(|name| slots.number(name).is_some()).map(str::to_owned).collect();
    used.sort();
    let is_there = links.iter().any(|link| link.name == bridge.as_str() && link.kind == "bridge");
    let is_isolated = is_isolated(&bridge, &slots, text, links);
    Quota { bridge, owner, limit, used, is_there, is_isolated }
}

/// Tells whether the ports of users on a bridge are kept apart. They are what was made of them: the file may have changed since,
/// and the helper keeps apart, beside what the file says, who meets ports of others.
fn is_isolated(bridge: &IfName, slots: &Slots, text: &[u8], links: &[Link]) -> bool {
    let bridges = links.iter().filter(|link| link.name == bridge.as_str() && link.kind == "bridge");
    let master = bridges.map(|link| link.index).next();
    let mut ports = links
        .iter()
        .filter(|link| link.master.is_some() && link.master == master && slots.has_neighbour(&link.name))
        .peekable();
    match ports.peek() {
        Some(_) => ports.all(|link| link.port.is_some_and(|port| port.is_isolated)),
        None => usernet::isolates(text, bridge),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::usernet::Group;
    use sys::links::Port;

    const ANA: Owner = Owner::User(1000);
    const STAFF: Owner = Owner::Group(50);

    fn bridge(index: u32, name: &str) -> Link {
        Link { index, name: name.into(), kind: "bridge".into(), ..Link::default() }
    }

    /// A port as the helper makes it.
    fn port(owner: Owner, bridge: &Link, number: u32) -> Link {
        Link {
            index: bridge.index * 100 + number,
            name: Slots::new(owner, &bridge.name.parse().unwrap()).name(number),
            kind: "veth".into(),
            master: Some(bridge.index),
            port: Some(Port { is_guarded: true, is_isolated: false }),
            alias: Some(format!("bryo uid=1000 netns={} name=eth0", 4026532000 + u64::from(number))),
            group: 1000,
            is_up: true,
            ..Link::default()
        }
    }

    fn ana() -> Asker<'static> {
        Asker { uid: 1000, name: Some(b"ana"), groups: &[] }
    }

    struct Accounts;

    impl lint::Host for Accounts {
        fn uid(&self, name: &[u8]) -> Option<u32> {
            (name == b"ana").then_some(1000)
        }

        fn gid(&self, name: &[u8]) -> Option<u32> {
            (name == b"staff").then_some(50)
        }

        fn kind(&self, _: &IfName) -> Option<&str> {
            None
        }
    }

    fn counted(quotas: &[Quota]) -> Vec<(&str, Owner, usize, u32)> {
        quotas
            .iter()
            .map(|quota| (quota.bridge.as_str(), quota.owner, quota.used.len(), quota.limit))
            .collect()
    }

    #[test]
    fn a_device_tells_owner_bridge_and_namespace() {
        let br = bridge(3, "lxcbr0");
        let links =
            [br.clone(), port(ANA, &br, 1), port(STAFF, &br, 0), Link { name: "eth0".into(), ..br.clone() }];
        let devices = of(&links);
        let seen: Vec<_> = devices.iter().map(|d| (d.owner, d.bridge.as_deref(), d.netns, d.flaw)).collect();
        let on = Some("lxcbr0");
        assert_eq!(seen, [(STAFF, on, Some(4026532000), None), (ANA, on, Some(4026532001), None)]);
        assert_eq!(devices[1].asked_by, 1000);
    }

    #[test]
    fn devices_that_are_not_as_the_helper_leaves_them_are_told() {
        let br = bridge(3, "lxcbr0");
        let flaw = |change: fn(&mut Link)| {
            let mut link = port(ANA, &br, 0);
            change(&mut link);
            of(&[br.clone(), link])[0].flaw
        };
        assert_eq!(flaw(|_| ()), None);
        assert_eq!(flaw(|link| link.kind = "dummy".into()), Some(Flaw::Foreign));
        assert_eq!(flaw(|link| link.master = None), Some(Flaw::Foreign));
        assert_eq!(flaw(|link| link.master = Some(77)), Some(Flaw::Foreign));
        assert_eq!(flaw(|link| link.is_up = false), Some(Flaw::Down));
        assert_eq!(flaw(|link| link.port = Some(Port::default())), Some(Flaw::Unguarded));
        assert_eq!(flaw(|link| link.port = None), Some(Flaw::Unguarded));
    }

    #[test]
    fn an_alias_of_others_tells_no_namespace() {
        assert_eq!(netns_of("bryo uid=1 netns=5 name=eth0"), Some(5));
        for alias in ["", "netns=5", "bryo netns=x", "bryoo netns=5", "bryo uid=1"] {
            assert_eq!(netns_of(alias), None, "{alias:?}");
        }
    }

    #[test]
    fn a_user_is_told_the_grants_and_what_is_used_of_them() {
        let (one, two) = (bridge(3, "lxcbr0"), bridge(4, "br1"));
        let bob = Owner::User(1001);
        let links = [
            one.clone(),
            two.clone(),
            port(ANA, &one, 0),
            port(ANA, &one, 5),
            port(bob, &one, 0),
            port(ANA, &two, 0),
        ];
        let text = b"ana veth lxcbr0 2\nana veth br9 4\nbob veth lxcbr0 9\n";
        let quotas = quotas_of(text, &ana(), &links);
        assert_eq!(counted(&quotas), [("br9", ANA, 0, 4), ("lxcbr0", ANA, 2, 2), ("br1", ANA, 1, 0)]);
        let flags: Vec<_> = quotas.iter().map(|q| (q.is_there, q.is_isolated)).collect();
        assert_eq!(flags, [(false, false), (true, false), (true, false)]);
    }

    #[test]
    fn ports_are_isolated_that_the_kernel_keeps_apart_whatever_the_file_says_now() {
        let (br, bob) = (bridge(3, "lxcbr0"), Owner::User(1001));
        let says = |text: &str, ports: [Option<bool>; 2]| {
            let made = [ANA, bob].into_iter().zip(ports).filter_map(|(owner, is_isolated)| {
                let is_isolated = is_isolated?;
                Some(Link { port: Some(Port { is_guarded: true, is_isolated }), ..port(owner, &br, 0) })
            });
            let foreign = Link { name: "wan0".into(), port: Some(Port::default()), ..port(ANA, &br, 9) };
            let links: Vec<Link> = [br.clone(), foreign].into_iter().chain(made).collect();
            quotas_of(text.as_bytes(), &ana(), &links)[0].is_isolated
        };
        let (alone, shared) = ("ana veth lxcbr0 2\n", "ana veth lxcbr0 2\nbob veth lxcbr0 9\n");
        assert!(says(alone, [Some(true), Some(true)]) && says(alone, [Some(true), None]));
        assert!(!says(shared, [Some(false), Some(true)]) && !says(alone, [Some(false), None]));
        assert!(says(shared, [None, None]) && !says(alone, [None, None]));
    }

    #[test]
    fn devices_of_a_group_without_a_line_are_its_members_still() {
        let br = bridge(3, "lxcbr0");
        let links = [br.clone(), port(STAFF, &br, 0), port(Owner::Group(60), &br, 0)];
        let staff = [Group { gid: 50, name: None }];
        let quotas = quotas_of(b"", &Asker { groups: &staff, ..ana() }, &links);
        assert_eq!(counted(&quotas), [("lxcbr0", STAFF, 1, 0)]);
    }

    #[test]
    fn a_slot_that_an_other_name_takes_is_counted() {
        let br = bridge(3, "lxcbr0");
        let taken =
            Link { name: "renamed".into(), others: vec![port(ANA, &br, 4).name], ..port(ANA, &br, 0) };
        let quotas = quotas_of(b"ana veth lxcbr0 2\n", &ana(), &[br, taken]);
        assert_eq!(counted(&quotas), [("lxcbr0", ANA, 1, 2)]);
    }

    #[test]
    fn the_administrator_is_told_everybodys_also_of_those_who_have_no_line() {
        let br = bridge(3, "lxcbr0");
        let bob = Owner::User(1001);
        let links = [br.clone(), port(bob, &br, 0), port(STAFF, &br, 1)];
        let text = b"ana veth lxcbr0 2\n1000 veth lxcbr0 3\n@staff veth lxcbr0 1\nnobody-is-this veth lxcbr0 1\nana veth br1 0\n";
        let quotas = all_quotas(text, &Accounts, &links);
        assert_eq!(counted(&quotas), [("lxcbr0", ANA, 0, 3), ("lxcbr0", bob, 1, 0), ("lxcbr0", STAFF, 1, 1)]);
    }
}
