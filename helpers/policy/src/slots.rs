//! The quota of network devices, kept by the kernel: the name of a device says whose it is, on which bridge, and
//! the how many-th of its owner's.
//!
//! The kernel lets no two interfaces have one name, so whoever gets the device has the slot, and a device that is gone
//! has left its slot. There is no file to tear and no lock to hold. A name has 15 characters:
//!
//! | characters | are |
//! |---|---|
//! | 1 | `u` for a user, `g` for a group |
//! | 7 | its id, in base 36 |
//! | 5 | a hash of the bridge's name, in base 36 |
//! | 2 | the number of the slot, in base 36 |
//!
//! Two bridges whose hashes are the same share their slots, which makes the quota stricter and never looser.

use std::collections::BTreeSet;

use types::IfName;

/// The most slots of an owner on a bridge. A bridge of the kernel has 1023 ports.
pub const MOST: u32 = 1024;

const ID_DIGITS: usize = 7;
const HASH_DIGITS: usize = 5;
const NUMBER_DIGITS: usize = 2;

/// How many hashes there are.
const HASHES: u64 = 36u64.pow(HASH_DIGITS as u32);

/// To whom devices are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// A user, by uid.
    User(u32),
    /// All members of a group together, by gid.
    Group(u32),
}

/// The slots of one owner on one bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slots {
    prefix: String,
}

impl Slots {
    /// Returns the slots of `owner` on `bridge`.
    pub fn new(owner: Owner, bridge: &IfName) -> Self {
        let (kind, id) = match owner {
            Owner::User(uid) => ('u', uid),
            Owner::Group(gid) => ('g', gid),
        };
        let id = base_36(u64::from(id), ID_DIGITS);
        let bridge = base_36(hash(bridge.as_str().as_bytes()) % HASHES, HASH_DIGITS);
        Self { prefix: format!("{kind}{id}{bridge}") }
    }

    /// Returns the name of the device in slot `number`, below [`MOST`].
    pub fn name(&self, number: u32) -> String {
        format!("{}{}", self.prefix, base_36(u64::from(number), NUMBER_DIGITS))
    }

    /// Tells whether a device of this name has a slot on the same bridge, whoever its owner is.
    pub fn has_neighbour(&self, name: &str) -> bool {
        let bridge = 1 + ID_DIGITS..1 + ID_DIGITS + HASH_DIGITS;
        let is_slot = name.starts_with(['u', 'g']) && name.len() == self.prefix.len() + NUMBER_DIGITS;
        is_slot && name.get(bridge.clone()) == self.prefix.get(bridge)
    }

    /// Returns the number of the slot that a device of this name takes, if it takes one of these.
    ///
    /// A number that is written otherwise than [`Slots::name`] does takes none: it is in nobody's way.
    pub fn number(&self, name: &str) -> Option<u32> {
        let digits = name.strip_prefix(&self.prefix)?;
        u32::from_str_radix(digits, 36).ok().filter(|number| *number < MOST && self.name(*number) == name)
    }
}

/// Returns whose the device of this name is, wherever it stands, if its name is one of a slot.
///
/// The name does not tell the bridge, only a hash of its name: [`Slots::number`] tells whether it is a slot of a bridge.
pub fn owner(name: &str) -> Option<Owner> {
    let (kind, rest) = name.split_at_checked(1)?;
    let id = u32::from_str_radix(rest.get(..ID_DIGITS)?, 36).ok().filter(|id| *id != u32::MAX)?;
    let owner = match kind {
        "u" => Owner::User(id),
        "g" => Owner::Group(id),
        _ => return None,
    };
    let bridge = rest.get(ID_DIGITS..ID_DIGITS + HASH_DIGITS)?;
    let slots = Slots { prefix: format!("{kind}{}{bridge}", base_36(u64::from(id), ID_DIGITS)) };
    let is_hash = bridge.bytes().all(|digit| digit.is_ascii_digit() || digit.is_ascii_lowercase());
    (is_hash && slots.number(name).is_some()).then_some(owner)
}

/// Returns the number of slots, from 0 on, in which a device may still be made: the largest L with L plus the number of
/// used slots from L on within the quota.
///
/// Below it whoever is first may have a slot, and all of them together with those above are never more than the quota.
/// Those above are left from a time when the quota was higher.
pub fn limit(quota: u32, used: &BTreeSet<u32>) -> u32 {
    let quota = quota.min(MOST);
    let above = |limit: u32| used.range(limit..).count() as u64;
    (0..=quota).rev().find(|limit| u64::from(*limit) + above(*limit) <= u64::from(quota)).unwrap_or(0)
}

/// Returns `number` in base 36, of so many digits; those beyond are lost.
fn base_36(mut number: u64, digits: usize) -> String {
    let mut text = vec![b'0'; digits];
    for digit in text.iter_mut().rev() {
        *digit = b"0123456789abcdefghijklmnopqrstuvwxyz"[(number % 36) as usize];
        number /= 36;
    }
    text.into_iter().map(char::from).collect()
}

/// Returns the 64-bit FNV-1a hash, which is the same in every version of Bryo: names outlive programs.
pub fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bridge(name: &str) -> IfName {
        name.parse().unwrap()
    }

    #[test]
    fn a_name_says_owner_bridge_and_number_in_15_characters() {
        let slots = Slots::new(Owner::User(1000), &bridge("lxcbr0"));
        assert_eq!(slots.name(0), "u00000rsmi9vq00");
        assert_eq!(slots.name(1023), "u00000rsmi9vqsf");
        assert_eq!(Slots::new(Owner::Group(1000), &bridge("lxcbr0")).name(0), "g00000rsmi9vq00");
        for id in [0, 1, 65_535, 65_536, u32::MAX - 1] {
            let name = Slots::new(Owner::User(id), &bridge("br0")).name(MOST - 1);
            assert!(name.len() == 15 && name.parse::<IfName>().is_ok(), "{name}");
            assert_eq!(u64::from_str_radix(&name[1..8], 36).unwrap(), u64::from(id));
        }
    }

    #[test]
    fn the_number_is_read_back_and_nothing_else_is_a_slot() {
        let slots = Slots::new(Owner::User(7), &bridge("br0"));
        assert!((0..MOST).all(|number| slots.number(&slots.name(number)) == Some(number)));
        let first = slots.name(0);
        for name in ["", "eth0", &first[..14], &first[..13], &format!("{first}0"), &first.to_uppercase()] {
            assert_eq!(slots.number(name), None, "{name}");
        }
        for digits in ["sg", "zz", "+0", "-0", " 0", "0A"] {
            assert_eq!(slots.number(&format!("{}{digits}", &first[..13])), None, "{digits}");
        }
    }

    #[test]
    fn a_neighbour_has_the_bridge_and_any_owner() {
        let slots = Slots::new(Owner::User(7), &bridge("br0"));
        for owner in [Owner::User(7), Owner::User(u32::MAX - 1), Owner::Group(7)] {
            assert!(slots.has_neighbour(&Slots::new(owner, &bridge("br0")).name(MOST - 1)));
            assert!(!slots.has_neighbour(&Slots::new(owner, &bridge("br1")).name(0)));
        }
        let name = slots.name(0);
        // Each digit of the hash counts.
        for at in 8..13 {
            let digit = if name.as_bytes()[at] == b'0' { "1" } else { "0" };
            assert!(!slots.has_neighbour(&format!("{}{digit}{}", &name[..at], &name[at + 1..])), "{at}");
        }
        for other in [
            "",
            "eth0",
            &name[..14],
            &format!("{name}0"),
            &name.replacen('u', "v", 1),
            "\u{fc}\u{fc}\u{fc}\u{fc}",
        ] {
            assert!(!slots.has_neighbour(other), "{other}");
        }
    }

    #[test]
    fn owners_and_bridges_do_not_meet() {
        let owners = [Owner::User(1), Owner::User(10), Owner::Group(1), Owner::User(36)];
        let bridges = ["br0", "br1", "br00", "lxcbr0", "virbr0", "docker0"];
        let all: BTreeSet<String> = owners
            .iter()
            .flat_map(|owner| bridges.map(|name| Slots::new(*owner, &bridge(name)).name(0)))
            .collect();
        assert_eq!(all.len(), owners.len() * bridges.len());
    }

    #[test]
    fn a_name_tells_whose_it_is_and_other_names_tell_nothing() {
        for owner in [Owner::User(0), Owner::User(1000), Owner::Group(u32::MAX - 1)] {
            for number in [0, 35, MOST - 1] {
                assert_eq!(super::owner(&Slots::new(owner, &bridge("lxcbr0")).name(number)), Some(owner));
            }
        }
        for name in [
            "",
            "usb0",
            "u00000rsmi9vq0",
            "u00000rsmi9vqsg",
            "U00000RSMI9VQ00",
            "u00000rsmi9vq000",
            "v00000rsmi9vq00",
            "u00000rsmi9v-00",
            "u+0000rsmi9vq00",
            "u1z141z3mi9vq00",
            "uzzzzzzzmi9vq00",
            "\u{fc}0000rsmi9vq00",
        ] {
            assert_eq!(super::owner(name), None, "{name:?}");
        }
    }

    /// All sets of used slots below `end`.
    fn sets(end: u32) -> impl Iterator<Item = BTreeSet<u32>> {
        (0..1u32 << end).map(move |bits| (0..end).filter(|slot| bits >> slot & 1 == 1).collect())
    }

    #[test]
    fn callers_below_the_limit_never_have_more_than_the_quota_together_nor_less_than_they_may() {
        for used in sets(9) {
            for quota in 0..9 {
                let limit = limit(quota, &used);
                let filled = (0..limit).chain(used.iter().copied()).collect::<BTreeSet<_>>().len();
                let before = used.len();
                assert!(filled <= before.max(quota as usize), "quota {quota}, used {used:?}, limit {limit}");
                assert!(limit <= quota);
                if before < quota as usize {
                    assert!(
                        filled > before,
                        "room for one more: quota {quota}, used {used:?}, limit {limit}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_limit_never_grows_while_others_add_below_theirs() {
        // One caller has seen `used`; another adds in a slot that is below its own limit then.
        for used in sets(7) {
            for quota in 0..7 {
                let first = limit(quota, &used);
                for added in (0..first).filter(|slot| !used.contains(slot)) {
                    let mut more = used.clone();
                    more.insert(added);
                    assert!(limit(quota, &more) <= first);
                }
            }
        }
    }
}
