//! The search for a free slot.
//!
//! The kernel's uniqueness of names is the lock: of any number of callers one gets a slot. What is decided here is only
//! which slots may be tried, and that never depends on what another caller does at the same time ([`slots::limit`]).

use std::collections::BTreeSet;
use std::fmt;
use std::io;

use ::policy::slots::{self, Owner, Slots};
use ::policy::usernet::Grant;
use helpers::caller::Caller;
use helpers::report::FailureKind;

use crate::links::{Link, Links, Pair, Port};
use crate::policy::{self, Policy, Ports, Shown};
use crate::request::Request;
use crate::target::Target;

/// How often a name is tried that is taken and then free again: whoever left meanwhile leaves once.
const TRIES: usize = 3;

/// How often the slots are looked at where all that were free are taken when it comes to them.
const ROUNDS: usize = 8;

/// The most names that a message lists.
const LISTED: usize = 16;

/// A pair that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The name of the host's end.
    pub slot: String,
    /// Its number.
    pub index: u32,
}

/// Why no pair was made.
#[derive(Debug)]
pub enum PlaceError {
    /// There is no interface of the bridge's name.
    NoBridge,
    /// It is an interface of this kind.
    NotABridge(String),
    /// It is another name of this interface, which the administrator has not granted.
    OtherName(String),
    /// All slots are taken.
    Full(Vec<Used>),
    /// The namespace has an interface of the name already.
    PeerNameTaken,
    /// The other end was removed before the pair was ready.
    Gone,
    /// The host's end was taken off the bridge before the pair was ready.
    Unplugged,
    /// The kernel refuses.
    Kernel(&'static str, io::Error),
}

/// The slots of one grant when all were taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Used {
    owner: Owner,
    quota: u32,
    /// The names, and whether each is a port of the bridge.
    names: Vec<(String, bool)>,
}

/// What is wanted, with all that was found out about it.
#[derive(Debug)]
pub struct Wanted<'a> {
    /// Who asks.
    pub caller: &'a Caller,
    /// For what.
    pub request: &'a Request,
    /// Where the other end goes.
    pub target: &'a Target,
    /// What is granted.
    pub policy: &'a Policy,
}

/// How the attempt to take one slot ended.
enum Attempt {
    Made,
    Taken,
}

/// What has become of a pair that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Own {
    /// It is there, with this number.
    Port(u32),
    /// It is there, and on another bridge or none.
    Unplugged(u32),
    /// It is not there.
    Gone,
}

impl Wanted<'_> {
    /// Makes the pair in the first slot that is free.
    ///
    /// # Errors
    /// No pair was made.
    pub fn place(&self, links: &mut Links<'_>) -> Result<Placed, PlaceError> {
        let name = self.request.bridge.as_str();
        let bridge = granted(name, links.find(name).map_err(kernel("looking for the bridge"))?)?;
        let mut present = self.present(links)?;
        for _ in 0..ROUNDS {
            let mut tried = false;
            for grant in &self.policy.grants {
                let slots = Slots::new(grant.owner, &self.request.bridge);
                for number in free(grant.quota, &numbers(&present, &slots)) {
                    tried = true;
                    let slot = slots.name(number);
                    if let Attempt::Made = self.take(links, &bridge, &slot)? {
                        let index = self.finish(links, &bridge, &slots, &slot)?;
                        return Ok(Placed { slot, index });
                    }
                }
            }
            if !tried {
                break;
            }
            // Others were faster at each of them, and may have left some since.
            present = self.present(links)?;
        }
        let used =
            |grant: &Grant| used(grant, &Slots::new(grant.owner, &self.request.bridge), &present, &bridge);
        Err(PlaceError::Full(self.policy.grants.iter().map(used).collect()))
    }

    fn present(&self, links: &mut Links<'_>) -> Result<Vec<Link>, PlaceError> {
        links.all().map_err(kernel("listing the interfaces"))
    }

    fn take(&self, links: &mut Links<'_>, bridge: &Link, slot: &str) -> Result<Attempt, PlaceError> {
        let pair = Pair {
            slot,
            bridge,
            address: address(slot),
            uid: self.caller.uid,
            peer: &self.request.peer,
            namespace: self.target.descriptor(),
        };
        for _ in 0..TRIES {
            match links.create(&pair) {
                Ok(()) => return Ok(Attempt::Made),
                Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {}
                Err(error) => return Err(PlaceError::Kernel("making the pair", error)),
            }
            // Either of the two names is taken, and the kernel does not say which.
            if links.find(slot).map_err(kernel("looking for the slot"))?.is_some() {
                return Ok(Attempt::Taken);
            }
        }
        Err(PlaceError::PeerNameTaken)
    }

    /// Puts what was just made to work, or removes it: by its number, which no other interface ever gets, so that
    /// nothing that was there before is removed. Returns the number.
    fn finish(
        &self,
        links: &mut Links<'_>,
        bridge: &Link,
        slots: &Slots,
        slot: &str,
    ) -> Result<u32, PlaceError> {
        let present = self.present(links)?;
        let index = match own(&present, slot, self.caller.uid, bridge) {
            Own::Port(index) => index,
            Own::Unplugged(index) => {
                let _ = links.remove(index);
                return Err(PlaceError::Unplugged);
            }
            Own::Gone => return Err(PlaceError::Gone),
        };
        let apart = self.keep_apart(links, &present, bridge, slots, index);
        let done = apart.and_then(|apart| self.raise(links, index, apart));
        if done.is_err() {
            let _ = links.remove(index);
        }
        done.map(|()| index)
    }

    /// Tells whether a port that stands is kept apart. Then those are, too, that were made when the file said otherwise: one that
    /// is not reaches all of them.
    ///
    /// The ports were seen and the file is read when it stands, however long ago that was begun: its owner can have stopped this
    /// program meanwhile. So of two who make ports each sees the other's, or the later one sees both and isolates them.
    fn keep_apart(
        &self,
        links: &mut Links<'_>,
        present: &[Link],
        bridge: &Link,
        slots: &Slots,
        own: u32,
    ) -> Result<bool, PlaceError> {
        let apart = is_apart(policy::ports(&self.request.bridge), present, bridge, slots);
        for index in reached(present, bridge, slots).filter(|index| apart && *index != own) {
            match links.isolate(index) {
                // It was removed or unplugged meanwhile.
                Err(error) if matches!(error.raw_os_error(), Some(libc::ENODEV | libc::EINVAL)) => {}
                result => result.map_err(kernel("keeping the ports apart"))?,
            }
        }
        Ok(apart)
    }

    fn raise(&self, links: &mut Links<'_>, index: u32, apart: bool) -> Result<(), PlaceError> {
        let alias =
            format!("bryo uid={} netns={} name={}", self.caller.uid, self.target.inode(), self.request.peer);
        let port = Port { index, isolated: apart, alias: &alias };
        match links.raise(&port) {
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Err(PlaceError::Gone),
            result => result.map_err(kernel("guarding the port")),
        }
    }
}

/// Returns the bridge, if what was found by `name` is one by this very name: the only one that the policy has. The kernel
/// finds it by others as well, and a quota by each of them would be as many quotas.
fn granted(name: &str, found: Option<Link>) -> Result<Link, PlaceError> {
    match found.ok_or(PlaceError::NoBridge)? {
        Link { name: real, .. } if real != name => Err(PlaceError::OtherName(real)),
        Link { kind, .. } if kind != "bridge" => Err(PlaceError::NotABridge(kind)),
        bridge => Ok(bridge),
    }
}

/// Tells what has become of a pair of this user's, from what is present by the name of its slot. Its owner can have removed
/// it, and somebody else of the same group can have taken the slot since.
///
/// Of two of one name the later is there: the other was listed before it went.
fn own(present: &[Link], slot: &str, uid: u32, bridge: &Link) -> Own {
    let found = present.iter().filter(|link| link.is_named(slot)).max_by_key(|link| link.index);
    match found {
        Some(Link { group, kind, .. }) if *group != uid || kind != "veth" => Own::Gone,
        Some(link) if link.master != Some(bridge.index) => Own::Unplugged(link.index),
        Some(link) => Own::Port(link.index),
        None => Own::Gone,
    }
}

/// Tells whether a port in one of `slots` is kept apart: where the file says so, and where others still have ports on the bridge
/// which it gives to one user alone by now.
fn is_apart(file: Ports, present: &[Link], bridge: &Link, slots: &Slots) -> bool {
    match file {
        Ports::Apart => true,
        Ports::ApartFromOthers => {
            ports(present, bridge, slots).any(|link| slots.number(&link.name).is_none())
        }
        Ports::Open => false,
    }
}

/// Returns the numbers of the ports of users on a bridge that are not kept apart.
fn reached(present: &[Link], bridge: &Link, slots: &Slots) -> impl Iterator<Item = u32> {
    ports(present, bridge, slots).filter(|link| !link.isolated).map(|link| link.index)
}

/// Returns the ports of users on a bridge, of which `slots` are some.
fn ports<'a>(present: &'a [Link], bridge: &Link, slots: &Slots) -> impl Iterator<Item = &'a Link> {
    present.iter().filter(|link| link.master == Some(bridge.index) && slots.has_neighbour(&link.name))
}

/// Returns which slots of a grant are taken.
fn used(grant: &Grant, slots: &Slots, present: &[Link], bridge: &Link) -> Used {
    let ports = present.iter().filter(|link| link.master == Some(bridge.index));
    let ports: BTreeSet<&str> = ports.map(|link| link.name.as_str()).collect();
    let named = |number: &u32| {
        let name = slots.name(*number);
        let is_port = ports.contains(name.as_str());
        (name, is_port)
    };
    let names = numbers(present, slots).iter().map(named).collect();
    Used { owner: grant.owner, quota: grant.quota, names }
}

/// Returns the numbers of the slots that are taken, under whatever name of an interface.
fn numbers(present: &[Link], slots: &Slots) -> BTreeSet<u32> {
    let names = present.iter().flat_map(|link| link.others.iter().chain([&link.name]));
    names.filter_map(|name| slots.number(name)).collect()
}

/// Returns the slots to try: those that are free and may be taken.
fn free(quota: u32, used: &BTreeSet<u32>) -> impl Iterator<Item = u32> {
    (0..slots::limit(quota, used)).filter(|number| !used.contains(number))
}

/// Returns the address of the host's end: above those of all makers (fe:...), since a bridge takes the lowest address of
/// its ports for its own, and one to one with the name, so that there is nothing to draw by lot.
fn address(slot: &str) -> [u8; 6] {
    let [.., a, b, c, d, e] = slots::hash(slot.as_bytes()).to_be_bytes();
    [0xfe, a, b, c, d, e]
}

fn kernel(doing: &'static str) -> impl Fn(io::Error) -> PlaceError {
    move |error| PlaceError::Kernel(doing, error)
}

impl PlaceError {
    /// Tells whether a later try can succeed.
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::Full(_) => FailureKind::Full,
            _ => FailureKind::Refused,
        }
    }
}

impl fmt::Display for PlaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoBridge => f.write_str("the bridge is not there"),
            Self::NotABridge(kind) if kind == "openvswitch" => {
                f.write_str("it is a bridge of Open vSwitch, which is not supported: use one of the kernel")
            }
            Self::NotABridge(kind) if kind.is_empty() => f.write_str("it is no bridge"),
            Self::NotABridge(kind) => write!(f, "it is no bridge but of kind {kind}"),
            Self::OtherName(name) => write!(f, "it is another name of {name}: ask for that one"),
            Self::Full(used) => used.iter().enumerate().try_for_each(|(place, used)| {
                f.write_str(if place == 0 { "" } else { "; " })?;
                used.fmt(f)
            }),
            Self::PeerNameTaken => f.write_str("the network namespace has an interface of this name already"),
            Self::Gone => f.write_str("it was removed, by the other end, before it was ready"),
            Self::Unplugged => f.write_str("the host took it off the bridge before it was ready"),
            Self::Kernel(doing, error) => {
                let why = hint(error).map(|why| format!(" ({why})")).unwrap_or_default();
                write!(f, "{doing}: {error}{why}")
            }
        }
    }
}

impl fmt::Display for Used {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} {} are in use", self.names.len(), Shown(self.owner), self.quota)?;
        let names: Vec<&str> = self.names.iter().take(LISTED).map(|(name, _)| name.as_str()).collect();
        if !names.is_empty() {
            write!(f, " ({}{})", names.join(", "), if self.names.len() > LISTED { ", ..." } else { "" })?;
        }
        let foreign: Vec<&str> =
            self.names.iter().filter(|(_, port)| !port).take(LISTED).map(|(name, _)| name.as_str()).collect();
        if !foreign.is_empty() {
            write!(f, ", held by a foreign interface that is no port of the bridge: {}", foreign.join(", "))?;
        }
        Ok(())
    }
}

/// Returns what the kernel means by an error.
fn hint(error: &io::Error) -> Option<&'static str> {
    match error.raw_os_error()? {
        libc::EOPNOTSUPP => Some("the kernel has no veth devices: modprobe veth"),
        libc::EXFULL => Some("the bridge has no port left"),
        libc::EINVAL | libc::ENODEV => Some("the bridge or the namespace was changed meanwhile"),
        libc::EPERM => Some("not the network namespace of this host's own user namespace"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(numbers: &[u32]) -> BTreeSet<u32> {
        numbers.iter().copied().collect()
    }

    fn tried(quota: u32, used: &[u32]) -> Vec<u32> {
        free(quota, &set(used)).collect()
    }

    #[test]
    fn free_slots_are_tried_in_their_order() {
        assert_eq!(tried(3, &[]), [0, 1, 2]);
        assert_eq!(tried(3, &[0]), [1, 2]);
        assert_eq!(tried(3, &[1]), [0, 2]);
        assert_eq!(tried(1, &[0]), [0; 0]);
        assert_eq!(tried(0, &[]), [0; 0]);
    }

    #[test]
    fn where_the_quota_was_lowered_slots_above_it_count() {
        assert_eq!(tried(2, &[7]), [0]);
        assert_eq!(tried(2, &[7, 8, 9]), [0; 0]);
        assert_eq!(tried(3, &[2, 5]), [0]);
        assert_eq!(tried(3, &[0, 5]), [1]);
    }

    #[test]
    fn a_slot_is_taken_by_any_name_of_an_interface() {
        let slots = Slots::new(Owner::User(7), &"br0".parse().unwrap());
        let link = |name: String, others: Vec<String>| Link { name, others, ..Link::default() };
        let present = [link(slots.name(1), vec![]), link("eth0".into(), vec!["x".into(), slots.name(4)])];
        assert_eq!(numbers(&present, &slots), set(&[1, 4]));
    }

    #[test]
    fn a_bridge_is_taken_by_its_own_name_alone() {
        let link = |name: &str, kind: &str| Link { name: name.into(), kind: kind.into(), ..Link::default() };
        let said = |found: Option<Link>| granted("br0", found).map_err(|error| error.to_string());
        assert_eq!(said(Some(link("br0", "bridge"))), Ok(link("br0", "bridge")));
        assert_eq!(said(None), Err("the bridge is not there".to_owned()));
        assert_eq!(
            said(Some(link("br7", "bridge"))),
            Err("it is another name of br7: ask for that one".to_owned())
        );
        assert_eq!(said(Some(link("br0", "bond"))), Err("it is no bridge but of kind bond".to_owned()));
    }

    #[test]
    fn a_pair_is_ones_own_where_group_kind_and_bridge_say_so() {
        let bridge = Link { index: 4, ..Link::default() };
        let pair = |group, kind: &str, master| Link {
            index: 9,
            name: "slot".into(),
            group,
            kind: kind.into(),
            master,
            ..Link::default()
        };
        let is = |present: &[Link]| own(present, "slot", 1000, &bridge);
        assert_eq!(is(&[pair(1000, "veth", Some(4))]), Own::Port(9));
        assert_eq!(is(&[pair(1000, "veth", Some(5))]), Own::Unplugged(9));
        assert_eq!(is(&[pair(1000, "veth", None)]), Own::Unplugged(9));
        assert_eq!(is(&[pair(1001, "veth", Some(4))]), Own::Gone);
        assert_eq!(is(&[pair(1000, "bridge", Some(4))]), Own::Gone);
        assert_eq!(is(&[]), Own::Gone);
        let renamed = Link { name: "other".into(), ..pair(1000, "veth", Some(4)) };
        assert_eq!(is(&[Link { others: vec!["slot".into()], ..renamed.clone() }]), Own::Port(9));
        assert_eq!(is(&[renamed]), Own::Gone);
        let earlier = Link { index: 8, ..pair(1001, "veth", Some(4)) };
        let later = Link { index: 10, ..pair(1001, "veth", Some(4)) };
        assert_eq!(is(&[earlier.clone(), pair(1000, "veth", Some(4))]), Own::Port(9));
        assert_eq!(is(&[later, earlier, pair(1000, "veth", Some(4))]), Own::Gone);
    }

    #[test]
    fn a_port_is_kept_apart_where_the_file_or_a_port_of_somebody_else_says_so() {
        let slots = Slots::new(Owner::User(7), &"br0".parse().unwrap());
        let bridge = Link { index: 4, ..Link::default() };
        let port = |name: String, master| Link { name, master, ..Link::default() };
        let own = port(slots.name(3), Some(4));
        let other = Slots::new(Owner::User(8), &"br0".parse().unwrap()).name(0);
        let is = |file, present: &[Link]| is_apart(file, present, &bridge, &slots);
        let alone = [own.clone(), port(other.clone(), Some(5)), port("wan0".into(), Some(4))];
        let beside = [own, port(other, Some(4))];
        let one = Ports::ApartFromOthers;
        assert!(!is(one, &[]) && !is(one, &alone) && is(one, &beside));
        assert!(!is(Ports::Open, &beside));
        assert!(is(Ports::Apart, &[]));
    }

    #[test]
    fn ports_of_users_on_the_bridge_are_kept_apart_and_no_others() {
        let slots = Slots::new(Owner::User(7), &"br0".parse().unwrap());
        let bridge = Link { index: 4, ..Link::default() };
        let others = Slots::new(Owner::Group(8), &"br0".parse().unwrap()).name(0);
        let port = |index, name: &str, master, isolated| Link {
            index,
            name: name.into(),
            master,
            isolated,
            ..Link::default()
        };
        let present = [
            port(10, &slots.name(0), Some(4), false),
            port(11, &others, Some(4), false),
            port(12, &slots.name(1), Some(4), true),
            port(13, &slots.name(2), Some(5), false),
            port(14, &slots.name(3), None, false),
            port(15, "wan0", Some(4), false),
        ];
        assert_eq!(reached(&present, &bridge, &slots).collect::<Vec<_>>(), [10, 11]);
    }

    #[test]
    fn what_is_used_is_named_in_the_order_of_the_slots_with_whether_it_is_a_port() {
        let slots = Slots::new(Owner::User(7), &"br0".parse().unwrap());
        let bridge = Link { index: 4, ..Link::default() };
        let link = |name: String, master| Link { name, master, ..Link::default() };
        let squatter = Link { others: vec![slots.name(3)], master: Some(4), ..link("eth9".into(), None) };
        let present =
            [link(slots.name(2), Some(5)), link(slots.name(0), Some(4)), squatter, link("x".into(), Some(4))];
        let grant = Grant { owner: Owner::User(7), quota: 5 };
        let names = vec![(slots.name(0), true), (slots.name(2), false), (slots.name(3), false)];
        assert_eq!(used(&grant, &slots, &present, &bridge), Used { owner: grant.owner, quota: 5, names });
    }

    #[test]
    fn a_full_quota_alone_may_be_tried_again() {
        assert_eq!(PlaceError::Full(vec![]).kind(), FailureKind::Full);
        for other in
            [PlaceError::NoBridge, PlaceError::Gone, PlaceError::PeerNameTaken, PlaceError::Unplugged]
        {
            assert_eq!(other.kind(), FailureKind::Refused);
        }
    }

    #[test]
    fn an_error_of_the_kernel_says_what_was_done_and_what_it_means() {
        let said = |errno| kernel("making the pair")(io::Error::from_raw_os_error(errno)).to_string();
        for (errno, means) in [
            (libc::EOPNOTSUPP, " (the kernel has no veth devices: modprobe veth)"),
            (libc::EXFULL, " (the bridge has no port left)"),
            (libc::EINVAL, " (the bridge or the namespace was changed meanwhile)"),
            (libc::ENODEV, " (the bridge or the namespace was changed meanwhile)"),
            (libc::EPERM, " (not the network namespace of this host's own user namespace)"),
            (libc::ENOMEM, ""),
        ] {
            let plain = io::Error::from_raw_os_error(errno);
            assert_eq!(said(errno), format!("making the pair: {plain}{means}"));
        }
        let rest = |error: PlaceError| error.to_string();
        assert_eq!(
            rest(PlaceError::PeerNameTaken),
            "the network namespace has an interface of this name already"
        );
        assert_eq!(rest(PlaceError::Gone), "it was removed, by the other end, before it was ready");
        assert_eq!(rest(PlaceError::Unplugged), "the host took it off the bridge before it was ready");
    }

    #[test]
    fn the_address_is_above_others_and_differs_by_slot() {
        let slots = Slots::new(Owner::User(7), &"br0".parse().unwrap());
        let all: BTreeSet<[u8; 6]> = (0..slots::MOST).map(|number| address(&slots.name(number))).collect();
        assert_eq!(all.len(), slots::MOST as usize);
        assert!(all.iter().all(|address| address[0] == 0xfe));
    }

    #[test]
    fn what_is_no_bridge_of_the_kernel_is_named_by_its_kind() {
        let said = |kind: &str| PlaceError::NotABridge(kind.to_owned()).to_string();
        assert_eq!(
            said("openvswitch"),
            "it is a bridge of Open vSwitch, which is not supported: use one of the kernel"
        );
        assert_eq!(said("bond"), "it is no bridge but of kind bond");
        assert_eq!(said(""), "it is no bridge");
    }

    #[test]
    fn a_full_quota_names_who_holds_it() {
        let held = |number: u32, port| (format!("u{number}"), port);
        let used = |quota, names| Used { owner: Owner::User(7), quota, names };
        let said = used(2, vec![held(0, true), held(1, false)]).to_string();
        assert_eq!(
            said,
            "2 of your own 2 are in use (u0, u1), held by a foreign interface that is no port of the bridge: u1"
        );
        let both = PlaceError::Full(vec![
            used(0, vec![]),
            Used { owner: Owner::Group(5), ..used(1, vec![held(3, true)]) },
        ]);
        assert_eq!(both.to_string(), "0 of your own 0 are in use; 1 of group 5's 1 are in use (u3)");
        let some = used(16, (0..16).map(|number| held(number, true)).collect()).to_string();
        assert!(some.ends_with("u14, u15)"), "{some}");
        let many = used(100, (0..100).map(|number| held(number, true)).collect()).to_string();
        assert!(many.ends_with("u15, ...)") && many.len() < 200, "{many}");
    }
}
