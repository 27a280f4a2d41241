//! Where each id goes. Pure.
//!
//! The work is done in a user namespace where the ids of both maps are themselves and the caller is root: so every file
//! shows the id that it has on the host, but those of the caller's, which show 0.

use serde::{Deserialize, Serialize};
use types::{HostGid, HostUid, IdExtent, IdKind, IdMap, IdRange};

use crate::host::Caller;

/// A shift from one map to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shift {
    /// The map that the files are made for.
    pub from: IdMap,
    /// The map that they shall be for.
    pub to: IdMap,
    own_uid: u32,
    own_gid: u32,
}

/// Where an id goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// To this one, which may be the same.
    To(u32),
    /// It is no id of the container: a file of somebody else's, which stays so.
    Stranger,
    /// The container has this id, and the new map has no place for it.
    NoPlace {
        /// The id inside.
        inside: u32,
    },
}

impl Shift {
    /// Makes the shift of a caller's container.
    pub(super) fn new(from: IdMap, to: IdMap, caller: &Caller) -> Self {
        Self { from, to, own_uid: caller.uid.0, own_gid: caller.gid.0 }
    }

    fn own(&self, kind: IdKind) -> u32 {
        match kind {
            IdKind::User => self.own_uid,
            IdKind::Group => self.own_gid,
        }
    }

    /// Returns where an id goes, both as the namespace of the work shows them.
    pub(super) fn way(&self, kind: IdKind, shown: u32) -> Way {
        let host = if shown == 0 { self.own(kind) } else { shown };
        let (inside, outside) = match kind {
            IdKind::User => {
                let inside = self.from.ns_uid(HostUid(host));
                (inside.map(|id| id.0), inside.and_then(|id| self.to.host_uid(id)).map(|id| id.0))
            }
            IdKind::Group => {
                let inside = self.from.ns_gid(HostGid(host));
                (inside.map(|id| id.0), inside.and_then(|id| self.to.host_gid(id)).map(|id| id.0))
            }
        };
        match (inside, outside) {
            (None, _) => Way::Stranger,
            (Some(inside), None) => Way::NoPlace { inside },
            (_, Some(outside)) => Way::To(if outside == self.own(kind) { 0 } else { outside }),
        }
    }

    /// Returns the map of the namespace of the work.
    pub fn work_map(&self) -> IdMap {
        IdMap { uids: self.work_extents(IdKind::User), gids: self.work_extents(IdKind::Group) }
    }

    fn work_extents(&self, kind: IdKind) -> Vec<IdExtent> {
        let own = self.own(kind);
        let both = self.from.extents(kind).iter().chain(self.to.extents(kind));
        let ranges = merged(both.map(|extent| extent.outside).collect());
        let caller = IdExtent::new(0, own.into(), 1);
        let others = ranges.into_iter().flat_map(|range| beside(range, own));
        let same =
            |range: IdRange| IdExtent::new(range.start().into(), range.start().into(), range.count().into());
        caller.into_iter().chain(others.filter_map(|range| same(range).ok())).collect()
    }
}

/// Joins ranges that overlap or touch, in order.
fn merged(mut ranges: Vec<IdRange>) -> Vec<IdRange> {
    ranges.sort();
    let mut joined: Vec<IdRange> = Vec::new();
    for range in ranges {
        let start = u64::from(range.start());
        let longer = joined.last().filter(|last| start <= last.end()).and_then(|last| {
            let end = last.end().max(range.end());
            IdRange::new(last.start().into(), end - u64::from(last.start())).ok()
        });
        match longer {
            Some(longer) => drop(joined.splice(joined.len() - 1.., [longer])),
            None => joined.push(range),
        }
    }
    joined
}

/// Returns the parts of a range before and after an id.
fn beside(range: IdRange, id: u32) -> impl Iterator<Item = IdRange> {
    let (start, end, id) = (u64::from(range.start()), range.end(), u64::from(id));
    let part = |from: u64, to: u64| IdRange::new(from, to.saturating_sub(from)).ok();
    let (before, after) = (part(start, id.clamp(start, end)), part((id + 1).clamp(start, end), end));
    before.into_iter().chain(after)
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::{HostGid, NsUid};

    fn ana() -> Caller {
        Caller { uid: HostUid(1000), gid: HostGid(1000), name: None }
    }

    fn map(lines: &[(u64, u64, u64)]) -> IdMap {
        let extents: Vec<_> = lines.iter().map(|(i, o, c)| IdExtent::new(*i, *o, *c).unwrap()).collect();
        IdMap { gids: extents.clone(), uids: extents }
    }

    fn ways(shift: &Shift, shown: &[u32]) -> Vec<Way> {
        shown.iter().map(|id| shift.way(IdKind::User, *id)).collect()
    }

    #[test]
    fn a_moved_range_moves_every_id_of_the_container_and_no_other() {
        let shift = Shift::new(map(&[(0, 100_000, 65_536)]), map(&[(0, 300_000, 65_536)]), &ana());
        let expected = [Way::To(300_000), Way::To(365_535), Way::Stranger, Way::Stranger];
        assert_eq!(ways(&shift, &[100_000, 165_535, 165_536, 0]), expected);
        let lines: Vec<String> = shift.work_map().uids.iter().map(ToString::to_string).collect();
        assert_eq!(lines, ["0 1000 1", "100000 100000 65536", "300000 300000 65536"]);
    }

    #[test]
    fn ranges_that_overlap_shift_too() {
        let shift = Shift::new(map(&[(0, 100_000, 1000)]), map(&[(0, 100_500, 1000)]), &ana());
        assert_eq!(ways(&shift, &[100_000, 100_500]), [Way::To(100_500), Way::To(101_000)]);
        assert_eq!(shift.work_map().uids.len(), 2);
        assert_eq!(shift.work_map().check(), Ok(()));
    }

    #[test]
    fn an_own_id_shows_as_root_both_ways() {
        let old = map(&[(0, 100_000, 65_536)]);
        let with_me = old.with_own(HostUid(1000), HostGid(1000));
        let split = Shift::new(old.clone(), with_me.clone(), &ana());
        assert_eq!(ways(&split, &[101_000, 101_001, 0]), [Way::To(0), Way::To(101_001), Way::Stranger]);
        let back = Shift::new(with_me, old, &ana());
        assert_eq!(ways(&back, &[0, 100_000]), [Way::To(101_000), Way::To(100_000)]);
    }

    #[test]
    fn an_id_that_the_new_map_lacks_has_no_place() {
        let shift = Shift::new(map(&[(0, 100_000, 65_536)]), map(&[(0, 300_000, 1000)]), &ana());
        assert_eq!(ways(&shift, &[101_000]), [Way::NoPlace { inside: 1000 }]);
    }

    #[test]
    fn a_container_of_one_id_gets_a_range() {
        let shift = Shift::new(map(&[(0, 1000, 1)]), map(&[(0, 100_000, 65_536)]), &ana());
        assert_eq!(ways(&shift, &[0, 100_000]), [Way::To(100_000), Way::Stranger]);
    }

    #[test]
    fn the_map_of_the_work_has_each_id_once() {
        let granted_too = Shift::new(map(&[(0, 999, 3)]), map(&[(0, 1001, 1000)]), &ana());
        let work = granted_too.work_map();
        let lines: Vec<String> = work.uids.iter().map(ToString::to_string).collect();
        assert_eq!(lines, ["0 1000 1", "999 999 1", "1001 1001 1000"]);
        assert_eq!(work.check(), Ok(()));
        assert_eq!(work.host_uid(NsUid(0)), Some(HostUid(1000)));
    }
}
