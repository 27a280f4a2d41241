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
use crate::policy::{Policy, Shown};
use crate::request::Request;
use crate::target::Target;

/// How often a name is tried that is taken and then free again: whoever left meanwhile leaves once.
const TRIES: usize = 3;

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
    Made(u32),
    Taken,
}

impl Wanted<'_> {
    /// Makes the pair in the first slot that is free.
    ///
    /// # Errors
    /// No pair was made.
    pub fn place(&self, links: &mut Links<'_>) -> Result<Placed, PlaceError> {
        let bridge = self.bridge(links)?;
        let present = links.all().map_err(kernel("listing the interfaces"))?;
        for grant in &self.policy.grants {
            let slots = Slots::new(grant.owner, &self.request.bridge);
            for number in candidates(grant.quota, &numbers(&present, &slots)) {
                let slot = slots.name(number);
                if let Attempt::Made(index) = self.take(links, &bridge, &slot)? {
                    self.finish(links, &bridge, &slots, index)?;
                    return Ok(Placed { slot, index });
                }
            }
        }
        Err(PlaceError::Full(self.used(&links.all().map_err(kernel("listing the interfaces"))?, &bridge)))
    }

    /// Finds the bridge by the one name that the policy has. The kernel finds it by others as well, and a quota by each
    /// of them would be as many quotas.
    fn bridge(&self, links: &mut Links<'_>) -> Result<Link, PlaceError> {
        let name = self.request.bridge.as_str();
        let found =
            links.find(name).map_err(kernel("looking for the bridge"))?.ok_or(PlaceError::NoBridge)?;
        match found {
            Link { name: real, .. } if real != name => Err(PlaceError::OtherName(real)),
            Link { kind, .. } if kind != "bridge" => Err(PlaceError::NotABridge(kind)),
            bridge => Ok(bridge),
        }
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
                Ok(()) => return self.own(links, bridge, slot).map(Attempt::Made),
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

    /// Returns the number of what was just made. Its owner can have removed it, and somebody else of the same group can
    /// have taken the slot since.
    fn own(&self, links: &mut Links<'_>, bridge: &Link, slot: &str) -> Result<u32, PlaceError> {
        let found = links.find(slot).map_err(kernel("looking for the pair"))?;
        match found.filter(|link| link.group == self.caller.uid && link.kind == "veth") {
            Some(link) if link.master == Some(bridge.index) => Ok(link.index),
            Some(link) => {
                let _ = links.remove(link.index);
                Err(PlaceError::Unplugged)
            }
            None => Err(PlaceError::Gone),
        }
    }

    /// Puts what was just made to work, or removes it: by its number, which no other interface ever gets, so that
    /// nothing that was there before is removed.
    fn finish(
        &self,
        links: &mut Links<'_>,
        bridge: &Link,
        slots: &Slots,
        index: u32,
    ) -> Result<(), PlaceError> {
        let done = self.isolate_others(links, bridge, slots, index).and_then(|()| self.raise(links, index));
        if done.is_err() {
            let _ = links.remove(index);
        }
        done
    }

    /// Keeps apart those ports that were made when the file said otherwise: one that is not reaches all of them.
    fn isolate_others(
        &self,
        links: &mut Links<'_>,
        bridge: &Link,
        slots: &Slots,
        own: u32,
    ) -> Result<(), PlaceError> {
        if !self.policy.isolates {
            return Ok(());
        }
        let present = links.all().map_err(kernel("listing the interfaces"))?;
        let is_port = |link: &&Link| link.master == Some(bridge.index) && slots.has_neighbour(&link.name);
        for link in present.iter().filter(is_port).filter(|link| !link.isolated && link.index != own) {
            match links.isolate(link.index) {
                // It was removed or unplugged meanwhile.
                Err(error) if matches!(error.raw_os_error(), Some(libc::ENODEV | libc::EINVAL)) => {}
                result => result.map_err(kernel("keeping the ports apart"))?,
            }
        }
        Ok(())
    }

    fn raise(&self, links: &mut Links<'_>, index: u32) -> Result<(), PlaceError> {
        let alias =
            format!("bryo uid={} netns={} name={}", self.caller.uid, self.target.inode(), self.request.peer);
        let port = Port { index, isolated: self.policy.isolates, alias: &alias };
        match links.raise(&port) {
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Err(PlaceError::Gone),
            result => result.map_err(kernel("guarding the port")),
        }
    }

    fn used(&self, present: &[Link], bridge: &Link) -> Vec<Used> {
        let used = |grant: &Grant| {
            let slots = Slots::new(grant.owner, &self.request.bridge);
            let name = |number: &u32| {
                let name = slots.name(*number);
                let is_port = |link: &Link| link.name == name && link.master == Some(bridge.index);
                let is_port = present.iter().any(is_port);
                (name, is_port)
            };
            let names = numbers(present, &slots).iter().map(name).collect();
            Used { owner: grant.owner, quota: grant.quota, names }
        };
        self.policy.grants.iter().map(used).collect()
    }
}

/// Returns the numbers of the slots that are taken, under whatever name of an interface.
fn numbers(present: &[Link], slots: &Slots) -> BTreeSet<u32> {
    let names = present.iter().flat_map(|link| link.others.iter().chain([&link.name]));
    names.filter_map(|name| slots.number(name)).collect()
}

/// Returns the slots to try in their order: those that were free, then those that can have become free.
fn candidates(quota: u32, used: &BTreeSet<u32>) -> impl Iterator<Item = u32> {
    let limit = slots::limit(quota, used);
    let (busy, free): (Vec<u32>, Vec<u32>) = (0..limit).partition(|number| used.contains(number));
    free.into_iter().chain(busy)
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
        candidates(quota, &set(used)).collect()
    }

    #[test]
    fn free_slots_are_tried_before_those_that_were_taken() {
        assert_eq!(tried(3, &[]), [0, 1, 2]);
        assert_eq!(tried(3, &[0]), [1, 2, 0]);
        assert_eq!(tried(1, &[0]), [0]);
        assert_eq!(tried(0, &[]), [0; 0]);
    }

    #[test]
    fn where_the_quota_was_lowered_slots_above_it_count() {
        assert_eq!(tried(2, &[7]), [0]);
        assert_eq!(tried(2, &[7, 8, 9]), [0; 0]);
        assert_eq!(tried(3, &[2, 5]), [0]);
    }

    #[test]
    fn a_slot_is_taken_by_any_name_of_an_interface() {
        let slots = Slots::new(Owner::User(7), &"br0".parse().unwrap());
        let link = |name: String, others: Vec<String>| Link { name, others, ..Link::default() };
        let present = [link(slots.name(1), vec![]), link("eth0".into(), vec!["x".into(), slots.name(4)])];
        assert_eq!(numbers(&present, &slots), set(&[1, 4]));
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
        let many = used(100, (0..100).map(|number| held(number, true)).collect()).to_string();
        assert!(many.ends_with("u15, ...)") && many.len() < 200, "{many}");
    }
}
