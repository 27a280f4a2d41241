//! Whether a map is granted, and what is to be written. Pure: all of it is tested without a kernel.

use std::fmt::{self, Write};

use ::policy::subid;
use helpers::caller::Caller;
use types::{IdExtent, IdKind, IdMap, IdRange};

use crate::policy::Grants;

/// What is to be written into the files of the process. An empty text is not written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// For `uid_map`.
    pub uid_map: String,
    /// For `gid_map`.
    pub gid_map: String,
    /// Whether `setgroups` is set to `deny` before `gid_map` is written.
    pub deny_setgroups: bool,
}

/// Why a map is not granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The grants are where this program cannot see them.
    Elsewhere,
    /// Id 0 outside: root, which is never mapped, whatever the files say.
    Root(IdKind, IdExtent),
    /// Some id of the extent is not granted.
    NotGranted(IdKind, IdExtent),
    /// The text is longer than the kernel takes.
    TooLong(IdKind),
}

/// The kernel takes a map in one write of less than a page, and no page is smaller. Source:
/// user_namespaces(7).
const MAP_CAP: usize = 4096;

/// Decides about both maps.
///
/// # Errors
/// The first extent, user ids first, that is not granted.
pub fn decide(request: &IdMap, caller: &Caller, grants: &Grants) -> Result<Plan, Refusal> {
    let Grants::Files { uids, gids } = grants else {
        return Err(Refusal::Elsewhere);
    };
    let uid_map = map_text(IdKind::User, &request.uids, caller.uid, uids)?;
    let gid_map = map_text(IdKind::Group, &request.gids, caller.gid, gids)?;
    // The administrator who grants group ids agrees to setgroups(2) inside. With the caller's own group alone
    // nobody did, and leaving a group could open files that are closed to it (CVE-2014-8989, CVE-2018-7169).
    let deny_setgroups = !gid_map.is_empty() && !request.gids.iter().any(|e| subid::granted(gids, e.outside));
    Ok(Plan { uid_map, gid_map, deny_setgroups })
}

/// Returns the text of a map all of whose extents are granted, or are the caller's own id.
fn map_text(kind: IdKind, extents: &[IdExtent], own: u32, granted: &[IdRange]) -> Result<String, Refusal> {
    let mut text = String::new();
    for extent in extents {
        if extent.outside.start() == 0 {
            return Err(Refusal::Root(kind, *extent));
        }
        let is_own = extent.count() == 1 && extent.outside.start() == own;
        if !is_own && !subid::granted(granted, extent.outside) {
            return Err(Refusal::NotGranted(kind, *extent));
        }
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{extent}");
    }
    if text.len() < MAP_CAP { Ok(text) } else { Err(Refusal::TooLong(kind)) }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Elsewhere => f.write_str(
                "/etc/nsswitch.conf names another source than files for subid; newuidmap and newgidmap must be used",
            ),
            Self::Root(kind, extent) => write!(f, "'{} {extent}' takes id 0 of the host", kind.letter()),
            Self::NotGranted(kind, extent) => {
                let file = match kind {
                    IdKind::User => "/etc/subuid",
                    IdKind::Group => "/etc/subgid",
                };
                write!(f, "{file} does not grant {} for '{} {extent}'", extent.outside, kind.letter())
            }
            Self::TooLong(kind) => write!(f, "the '{}' map is longer than {MAP_CAP} bytes", kind.letter()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EDGES: [u64; 7] = [0, 1, 1 << 31, (1 << 32) - 2, (1 << 32) - 1, 1 << 32, u64::MAX];

    fn ana() -> Caller {
        Caller { uid: 1000, gid: 1001, name: Some(b"ana".to_vec()) }
    }

    fn files(ranges: &[(u64, u64)]) -> Grants {
        let ranges: Vec<_> = ranges.iter().map(|(s, c)| IdRange::new(*s, *c).unwrap()).collect();
        Grants::Files { uids: ranges.clone(), gids: ranges }
    }

    fn extents(triples: &[(u64, u64, u64)]) -> Vec<IdExtent> {
        triples.iter().map(|(i, o, c)| IdExtent::new(*i, *o, *c).unwrap()).collect()
    }

    fn ask(uids: &[(u64, u64, u64)], gids: &[(u64, u64, u64)], grants: &Grants) -> Result<Plan, Refusal> {
        decide(&IdMap { uids: extents(uids), gids: extents(gids) }, &ana(), grants)
    }

    #[test]
    fn a_granted_map_is_planned_line_by_line() {
        let plan = ask(
            &[(0, 100_000, 1000), (1000, 1000, 1), (1001, 101_000, 9)],
            &[(0, 100_000, 10)],
            &files(&[(100_000, 65_536)]),
        );
        assert_eq!(
            plan,
            Ok(Plan {
                uid_map: "0 100000 1000\n1000 1000 1\n1001 101000 9\n".into(),
                gid_map: "0 100000 10\n".into(),
                deny_setgroups: false,
            })
        );
    }

    /// The independent model: every single id must be granted or the caller's own alone, and none may be 0.
    #[test]
    fn triples_at_the_edges_agree_with_a_128_bit_model() {
        let mut seen = [0; 2];
        for start in EDGES {
            for granted in EDGES.into_iter().filter_map(|count| IdRange::new(start, count).ok()) {
                let grants = Grants::Files { uids: vec![granted], gids: vec![] };
                for outside in EDGES {
                    for count in EDGES {
                        let Ok(extent) = IdExtent::new(0, outside, count) else { continue };
                        let end = u128::from(outside) + u128::from(count);
                        let inside_grant = u128::from(granted.start()) <= u128::from(outside)
                            && end <= u128::from(granted.start()) + u128::from(granted.count());
                        let expected = outside != 0 && inside_grant;
                        let map = IdMap { uids: vec![extent], gids: vec![] };
                        assert_eq!(decide(&map, &ana(), &grants).is_ok(), expected, "{granted} {extent}");
                        seen[usize::from(expected)] += 1;
                    }
                }
            }
        }
        assert!(seen[0] >= 20 && seen[1] >= 20, "both answers were given: {seen:?}");
    }

    #[test]
    fn an_extent_may_span_adjacent_grants_but_no_gap() {
        let spanning = [(0, 100_000, 30)];
        assert!(ask(&spanning, &[], &files(&[(100_020, 10), (100_000, 20)])).is_ok());
        assert!(ask(&spanning, &[], &files(&[(100_000, 20), (100_021, 20)])).is_err());
        assert!(ask(&[(0, 99_999, 2)], &[], &files(&[(100_000, 20)])).is_err());
        assert!(ask(&[(0, 100_019, 2)], &[], &files(&[(100_000, 20)])).is_err());
    }

    #[test]
    fn the_callers_own_ids_need_no_grant_one_each_and_not_crosswise() {
        let none = files(&[]);
        assert!(ask(&[(0, 1000, 1)], &[(0, 1001, 1)], &none).is_ok());
        assert!(ask(&[(7, 1000, 1)], &[], &none).is_ok());
        assert!(ask(&[(0, 1000, 2)], &[], &none).is_err());
        assert!(ask(&[(0, 999, 2)], &[], &none).is_err());
        assert!(ask(&[(0, 1001, 1)], &[], &none).is_err());
        assert!(ask(&[], &[(0, 1000, 1)], &none).is_err());
    }

    #[test]
    fn setgroups_is_denied_exactly_when_no_group_was_granted() {
        let grants = files(&[(100_000, 10)]);
        let own_granted = files(&[(1001, 1)]);
        let deny =
            |gids: &[(u64, u64, u64)], grants| ask(&[(0, 1000, 1)], gids, grants).unwrap().deny_setgroups;
        assert!(deny(&[(0, 1001, 1)], &grants));
        assert!(!deny(&[(0, 1001, 1), (1, 100_000, 1)], &grants));
        assert!(!deny(&[(0, 1001, 1)], &own_granted));
        assert!(!deny(&[], &grants));
    }

    #[test]
    fn id_0_of_the_host_is_never_mapped() {
        let all = files(&[(0, u64::from(u32::MAX))]);
        let root = Caller { uid: 1000, gid: 0, name: None };
        for count in [1, 2, 65_536] {
            let extent = IdExtent::new(5, 0, count).unwrap();
            let uids = IdMap { uids: vec![extent], gids: vec![] };
            let gids = IdMap { uids: vec![], gids: vec![extent] };
            assert_eq!(decide(&uids, &root, &all), Err(Refusal::Root(IdKind::User, extent)));
            assert_eq!(decide(&gids, &root, &all), Err(Refusal::Root(IdKind::Group, extent)));
        }
    }

    #[test]
    fn uid_grants_say_nothing_about_gids() {
        let grants = Grants::Files { uids: vec![IdRange::new(100_000, 10).unwrap()], gids: vec![] };
        assert!(ask(&[(0, 100_000, 10)], &[(0, 1001, 1)], &grants).is_ok());
        assert!(ask(&[(0, 100_000, 10)], &[(0, 100_000, 10)], &grants).is_err());
    }

    #[test]
    fn another_source_grants_nothing_not_even_the_own_ids() {
        assert_eq!(ask(&[(0, 1000, 1)], &[], &Grants::Elsewhere), Err(Refusal::Elsewhere));
    }

    #[test]
    fn a_map_of_a_page_is_too_long() {
        let grants = files(&[(100_000, 1 << 20)]);
        let lines = |n: u64| (0..n).map(|i| (2 * i, 100_000 + 2 * i, 1)).collect::<Vec<_>>();
        assert!(ask(&lines(250), &[], &grants).unwrap().uid_map.len() < 4096);
        assert_eq!(ask(&lines(340), &[], &grants), Err(Refusal::TooLong(IdKind::User)));
    }
}
