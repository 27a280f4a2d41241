//! The id map of a user namespace: which ids inside stand for which ids outside.

use std::fmt;

use crate::{HostGid, HostUid, IdRange, IdRangeError, NsGid, NsUid};

/// Whether an extent maps user ids or group ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum IdKind {
    /// `u`: user ids.
    User,
    /// `g`: group ids.
    Group,
}

impl IdKind {
    /// Returns the letter of `lxc.idmap` lines: `u` or `g`.
    pub fn letter(self) -> char {
        match self {
            Self::User => 'u',
            Self::Group => 'g',
        }
    }
}

/// One line of an id map: `count` ids from `inside` (in the namespace) stand for those from `outside`.
///
/// Source: user_namespaces(7), "User and group ID mappings".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct IdExtent {
    /// Ids inside the namespace.
    pub inside: IdRange,
    /// The ids of the parent namespace that they stand for; as many as `inside`.
    pub outside: IdRange,
}

impl IdExtent {
    /// Makes the extent of `count` ids.
    ///
    /// # Errors
    /// An empty extent, or one that reaches past id 2^32 - 2 on either side.
    pub fn new(inside: u64, outside: u64, count: u64) -> Result<Self, IdRangeError> {
        Ok(Self { inside: IdRange::new(inside, count)?, outside: IdRange::new(outside, count)? })
    }

    /// Returns how many ids the extent maps.
    pub fn count(self) -> u32 {
        self.inside.count()
    }

    /// Returns what is left of the extent, before and after, without the id that `side` has as `id`.
    fn without(self, side: impl Fn(&Self) -> IdRange, id: u32) -> impl Iterator<Item = Self> {
        let (start, count) = (side(&self).start(), self.count());
        let (before, after) = match id.checked_sub(start) {
            Some(offset) if offset < count => (offset, count - offset - 1),
            _ => (count, 0),
        };
        let piece = move |skipped: u32, count: u32| {
            let at = |range: IdRange| u64::from(range.start()) + u64::from(skipped);
            Self::new(at(self.inside), at(self.outside), count.into()).ok()
        };
        // A piece of no ids is no extent.
        [piece(0, before), piece(count - after, after)].into_iter().flatten()
    }
}

impl fmt::Display for IdExtent {
    /// Writes the form of `/proc/PID/uid_map`: `inside outside count`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.inside.start(), self.outside.start(), self.count())
    }
}

/// The user and group id maps of one user namespace, as the `lxc.idmap` lines of a container give them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct IdMap {
    /// Extents of `uid_map`.
    pub uids: Vec<IdExtent>,
    /// Extents of `gid_map`.
    pub gids: Vec<IdExtent>,
}

/// Why the lines of an id map contradict each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdMapError {
    /// Two extents give the same id inside.
    OverlapInside(IdKind, IdExtent, IdExtent),
    /// Two extents take the same id outside.
    OverlapOutside(IdKind, IdExtent, IdExtent),
    /// More than 340 extents, the kernel's limit.
    TooMany(IdKind),
}

/// The kernel's limit on lines of one map, since Linux 4.15. Source: user_namespaces(7).
const MAX_EXTENTS: usize = 340;

impl IdMap {
    /// Tells whether the map has no extent at all.
    pub fn is_empty(&self) -> bool {
        self.uids.is_empty() && self.gids.is_empty()
    }

    /// Returns the extents of one kind.
    pub fn extents(&self, kind: IdKind) -> &[IdExtent] {
        match kind {
            IdKind::User => &self.uids,
            IdKind::Group => &self.gids,
        }
    }

    /// Adds an extent of the given kind.
    pub fn push(&mut self, kind: IdKind, extent: IdExtent) {
        match kind {
            IdKind::User => self.uids.push(extent),
            IdKind::Group => self.gids.push(extent),
        }
    }

    /// Returns the host's id for user `uid` of the container, if it is mapped.
    pub fn host_uid(&self, uid: NsUid) -> Option<HostUid> {
        outward(&self.uids, uid.0).map(HostUid)
    }

    /// Returns the host's id for group `gid` of the container, if it is mapped.
    pub fn host_gid(&self, gid: NsGid) -> Option<HostGid> {
        outward(&self.gids, gid.0).map(HostGid)
    }

    /// Returns the container's id for user `uid` of the host, if it is mapped.
    pub fn ns_uid(&self, uid: HostUid) -> Option<NsUid> {
        inward(&self.uids, uid.0).map(NsUid)
    }

    /// Returns the container's id for group `gid` of the host, if it is mapped.
    pub fn ns_gid(&self, gid: HostGid) -> Option<NsGid> {
        inward(&self.gids, gid.0).map(NsGid)
    }

    /// Returns the smallest id from which nothing inside is mapped any more.
    pub fn first_free_inside(&self, kind: IdKind) -> u64 {
        self.extents(kind).iter().map(|e| e.inside.end()).max().unwrap_or(0)
    }

    /// Returns this map with `uid` and `gid` of the host mapped as well, for work on files of both the container
    /// and its owner. Ids that are mapped already stay where they are.
    pub fn with_caller(&self, uid: HostUid, gid: HostGid) -> IdMap {
        let mut map = self.clone();
        for (kind, host, known) in [
            (IdKind::User, uid.0, self.ns_uid(uid).is_some()),
            (IdKind::Group, gid.0, self.ns_gid(gid).is_some()),
        ] {
            if known {
                continue;
            }
            if let Ok(extent) = IdExtent::new(map.first_free_inside(kind), u64::from(host), 1) {
                map.push(kind, extent);
            }
        }
        map
    }

    /// Returns this map with `uid` and `gid` of the host as the same numbers inside, and all other ids where they were.
    ///
    /// Where a line stands in the way, on either side, it is split around the one id: `0 100000 65536` becomes
    /// `0 100000 1000`, `1000 1000 1`, `1001 101001 64535`. So the other files of a root file system keep their owners
    /// when its container gets such a map. An own id that is among those granted leaves a hole where it was.
    pub fn with_own(&self, uid: HostUid, gid: HostGid) -> IdMap {
        IdMap { uids: carved(&self.uids, uid.0), gids: carved(&self.gids, gid.0) }
    }

    /// Checks that the extents can be one map.
    ///
    /// # Errors
    /// Extents that overlap on either side, or more of them than the kernel takes.
    pub fn check(&self) -> Result<(), IdMapError> {
        for kind in [IdKind::User, IdKind::Group] {
            let extents = self.extents(kind);
            if extents.len() > MAX_EXTENTS {
                return Err(IdMapError::TooMany(kind));
            }
            for (i, a) in extents.iter().enumerate() {
                for b in &extents[..i] {
                    if a.inside.overlaps(b.inside) {
                        return Err(IdMapError::OverlapInside(kind, *b, *a));
                    }
                    if a.outside.overlaps(b.outside) {
                        return Err(IdMapError::OverlapOutside(kind, *b, *a));
                    }
                }
            }
        }
        Ok(())
    }
}

/// Returns the extents without the id on either side, and then with it as itself, in the order of the ids inside.
fn carved(extents: &[IdExtent], own: u32) -> Vec<IdExtent> {
    let Ok(itself) = IdExtent::new(own.into(), own.into(), 1) else { return extents.to_vec() };
    let mut carved: Vec<_> = extents
        .iter()
        .flat_map(|extent| extent.without(|e| e.inside, own))
        .flat_map(|extent| extent.without(|e| e.outside, own))
        .chain([itself])
        .collect();
    carved.sort_by_key(|extent| extent.inside.start());
    carved
}

fn outward(extents: &[IdExtent], id: u32) -> Option<u32> {
    translate(extents, id, |e| (e.inside, e.outside))
}

fn inward(extents: &[IdExtent], id: u32) -> Option<u32> {
    translate(extents, id, |e| (e.outside, e.inside))
}

fn translate(extents: &[IdExtent], id: u32, sides: impl Fn(&IdExtent) -> (IdRange, IdRange)) -> Option<u32> {
    extents.iter().find_map(|extent| {
        let (from, to) = sides(extent);
        let offset = id.checked_sub(from.start())?;
        (offset < from.count()).then(|| to.start() + offset)
    })
}

impl fmt::Display for IdMapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OverlapInside(k, a, b) => {
                write!(f, "'{} {a}' and '{} {b}' give the same id in the container", k.letter(), k.letter())
            }
            Self::OverlapOutside(k, a, b) => {
                write!(f, "'{} {a}' and '{} {b}' take the same id of the host", k.letter(), k.letter())
            }
            Self::TooMany(k) => write!(f, "more than {MAX_EXTENTS} '{}' lines", k.letter()),
        }
    }
}

impl std::error::Error for IdMapError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(uids: &[(u64, u64, u64)]) -> IdMap {
        let uids: Vec<_> = uids.iter().map(|(i, o, c)| IdExtent::new(*i, *o, *c).unwrap()).collect();
        IdMap { gids: uids.clone(), uids }
    }

    #[test]
    fn translation_goes_both_ways_and_stops_at_the_edges() {
        let m = map(&[(0, 100_000, 1000), (1000, 1000, 1), (1001, 101_001, 64_535)]);
        assert_eq!(m.host_uid(NsUid(0)), Some(HostUid(100_000)));
        assert_eq!(m.host_uid(NsUid(1000)), Some(HostUid(1000)));
        assert_eq!(m.host_uid(NsUid(65_535)), Some(HostUid(165_535)));
        assert_eq!(m.host_uid(NsUid(65_536)), None);
        assert_eq!(m.ns_gid(HostGid(165_535)), Some(NsGid(65_535)));
        assert_eq!(m.ns_gid(HostGid(101_000)), None);
    }

    #[test]
    fn the_caller_is_added_once_after_the_last_id() {
        let m = map(&[(0, 100_000, 65_536)]).with_caller(HostUid(1500), HostGid(1500));
        assert_eq!(m.ns_uid(HostUid(1500)), Some(NsUid(65_536)));
        assert_eq!(m, m.with_caller(HostUid(1500), HostGid(1500)));
    }

    fn lines(extents: &[IdExtent]) -> Vec<String> {
        extents.iter().map(ToString::to_string).collect()
    }

    fn split(base: &[(u64, u64, u64)], own: u32) -> Vec<String> {
        let split = map(base).with_own(HostUid(own), HostGid(own));
        assert_eq!(split.check(), Ok(()));
        assert_eq!(split.uids, split.gids);
        assert_eq!(split, split.with_own(HostUid(own), HostGid(own)), "splitting twice changes something");
        lines(&split.uids)
    }

    #[test]
    fn the_own_id_is_split_out_of_a_range_at_every_boundary() {
        let base = [(0, 100_000, 65_536)];
        for (own, expected) in [
            (0, vec!["0 0 1", "1 100001 65535"]),
            (1, vec!["0 100000 1", "1 1 1", "2 100002 65534"]),
            (1000, vec!["0 100000 1000", "1000 1000 1", "1001 101001 64535"]),
            (65_534, vec!["0 100000 65534", "65534 65534 1", "65535 165535 1"]),
            (65_535, vec!["0 100000 65535", "65535 65535 1"]),
            (65_536, vec!["0 100000 65536", "65536 65536 1"]),
            (99_999, vec!["0 100000 65536", "99999 99999 1"]),
            (u32::MAX - 1, vec!["0 100000 65536", "4294967294 4294967294 1"]),
        ] {
            assert_eq!(split(&base, own), expected, "{own}");
        }
        assert_eq!(split(&base, u32::MAX), ["0 100000 65536"], "2^32 - 1 is no id");
    }

    #[test]
    fn an_own_id_that_is_granted_too_is_mapped_once() {
        assert_eq!(split(&[(0, 1000, 3)], 1000), ["1 1001 2", "1000 1000 1"]);
        assert_eq!(split(&[(0, 998, 3)], 1000), ["0 998 2", "1000 1000 1"]);
        assert_eq!(split(&[(0, 999, 3)], 1000), ["0 999 1", "2 1001 1", "1000 1000 1"]);
        assert_eq!(split(&[(0, 1, 10)], 5), ["0 1 4", "5 5 1", "6 7 4"]);
    }

    #[test]
    fn the_own_id_is_split_out_of_the_range_that_it_falls_into() {
        let two = [(0, 100_000, 1000), (1000, 300_000, 1000)];
        assert_eq!(split(&two, 999), ["0 100000 999", "999 999 1", "1000 300000 1000"]);
        assert_eq!(split(&two, 1000), ["0 100000 1000", "1000 1000 1", "1001 300001 999"]);
        assert_eq!(split(&two, 2000), ["0 100000 1000", "1000 300000 1000", "2000 2000 1"]);
        assert_eq!(split(&[], 1000), ["1000 1000 1"]);
    }

    /// The independent model: every single id, one by one.
    #[test]
    fn a_split_map_moves_no_other_id() {
        let base = map(&[(0, 20, 8), (8, 40, 4), (14, 3, 5)]);
        for own in 0..50 {
            let split = base.with_own(HostUid(own), HostGid(own));
            for id in (0..50).filter(|id| *id != own) {
                let expected = base.host_uid(NsUid(id)).filter(|host| host.0 != own);
                assert_eq!(split.host_uid(NsUid(id)), expected, "{id} beside {own}");
            }
            assert_eq!(split.host_uid(NsUid(own)), Some(HostUid(own)));
        }
    }

    #[test]
    fn overlaps_are_found_on_either_side() {
        assert!(map(&[(0, 10, 5), (5, 15, 5)]).check().is_ok());
        assert!(matches!(map(&[(0, 10, 5), (4, 20, 5)]).check(), Err(IdMapError::OverlapInside(..))));
        assert!(matches!(map(&[(0, 10, 5), (5, 14, 5)]).check(), Err(IdMapError::OverlapOutside(..))));
    }

    #[test]
    fn more_lines_than_the_kernel_takes_are_refused() {
        let lines = |n: u64| (0..n).map(|i| (i, i + 1000, 1)).collect::<Vec<_>>();
        assert!(map(&lines(340)).check().is_ok());
        assert_eq!(map(&lines(341)).check(), Err(IdMapError::TooMany(IdKind::User)));
    }
}
