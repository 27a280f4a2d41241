//! Extended attributes that hold ids: access control lists, and the root that file capabilities are for.

use types::IdKind;

/// The attributes whose values hold ids.
pub(super) const WITH_IDS: [&str; 3] = ["system.posix_acl_access", "system.posix_acl_default", CAPABILITY];

/// File capabilities, which a change of owner removes.
pub(super) const CAPABILITY: &str = "security.capability";

/// Sizes and tags of an ACL. Source: linux/posix_acl_xattr.h.
const ACL_HEADER: usize = 4;
const ACL_ENTRY: usize = 8;
const ACL_USER: u16 = 0x02;
const ACL_GROUP: u16 = 0x08;

/// The revisions of file capabilities: for root of the namespace that reads them, and for a root that they name. Source:
/// capabilities(7), linux/capability.h.
const CAPS: (u32, usize) = (0x0200_0000, 20);
const CAPS_FOR_ROOT_ID: (u32, usize) = (0x0300_0000, 24);
const REVISION: u32 = 0xff00_0000;

/// Returns the value with its ids shifted; none for a value that cannot be read, or one of whose ids has no place.
pub(super) fn shifted(
    name: &str,
    value: &[u8],
    shift: impl Fn(IdKind, u32) -> Option<u32>,
) -> Option<Vec<u8>> {
    match name {
        CAPABILITY => capability(value, |id| shift(IdKind::User, id)),
        _ => acl(value, shift),
    }
}

/// An ACL is a header and entries of tag, permissions and id; only named users and groups have one that means something.
fn acl(value: &[u8], shift: impl Fn(IdKind, u32) -> Option<u32>) -> Option<Vec<u8>> {
    let (header, entries) = value.split_at_checked(ACL_HEADER)?;
    let mut shifted = header.to_vec();
    let (entries, rest) = entries.as_chunks::<ACL_ENTRY>();
    for entry in entries {
        let [t0, t1, p0, p1, id @ ..] = *entry;
        let id = u32::from_le_bytes(id);
        let id = match u16::from_le_bytes([t0, t1]) {
            ACL_USER => shift(IdKind::User, id)?,
            ACL_GROUP => shift(IdKind::Group, id)?,
            _ => id,
        };
        shifted.extend([t0, t1, p0, p1]);
        shifted.extend(id.to_le_bytes());
    }
    rest.is_empty().then_some(shifted)
}

/// Capabilities are written in the revision that names its root, whichever they have: the one that names none is for the
/// root of the namespace that reads it, which has id 0 there.
fn capability(value: &[u8], shift: impl Fn(u32) -> Option<u32>) -> Option<Vec<u8>> {
    let magic = u32::from_le_bytes(*value.first_chunk()?);
    let root = match (magic & REVISION, value.len()) {
        CAPS => 0,
        CAPS_FOR_ROOT_ID => u32::from_le_bytes(*value.last_chunk()?),
        _ => return None,
    };
    let mut shifted = (CAPS_FOR_ROOT_ID.0 | magic & !REVISION).to_le_bytes().to_vec();
    shifted.extend_from_slice(&value[4..CAPS.1]);
    shifted.extend(shift(root)?.to_le_bytes());
    Some(shifted)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Users move by 1000, groups by 2000; id 7 has no place.
    fn move_ids(kind: IdKind, id: u32) -> Option<u32> {
        let by = if kind == IdKind::User { 1000 } else { 2000 };
        (id != 7).then(|| id + by)
    }

    fn entry(tag: u16, id: u32) -> Vec<u8> {
        [&tag.to_le_bytes()[..], &6u16.to_le_bytes(), &id.to_le_bytes()].concat()
    }

    fn list(entries: &[(u16, u32)]) -> Vec<u8> {
        let entries = entries.iter().map(|(tag, id)| entry(*tag, *id));
        [2u32.to_le_bytes().to_vec()].into_iter().chain(entries).collect::<Vec<_>>().concat()
    }

    #[test]
    fn named_users_and_groups_of_an_acl_move_and_nothing_else_does() {
        let old =
            list(&[(0x01, u32::MAX), (ACL_USER, 5), (0x04, u32::MAX), (ACL_GROUP, 5), (0x10, u32::MAX)]);
        let new = list(&[
            (0x01, u32::MAX),
            (ACL_USER, 1005),
            (0x04, u32::MAX),
            (ACL_GROUP, 2005),
            (0x10, u32::MAX),
        ]);
        assert_eq!(shifted(WITH_IDS[0], &old, move_ids), Some(new));
    }

    #[test]
    fn a_list_with_an_id_without_a_place_is_left() {
        assert_eq!(shifted(WITH_IDS[1], &list(&[(ACL_USER, 7)]), move_ids), None);
    }

    #[test]
    fn capabilities_are_for_the_new_root() {
        let value = |revision: u32, root: Option<u32>| {
            let root = root.map(|root| root.to_le_bytes().to_vec()).unwrap_or_default();
            [(revision | 1).to_le_bytes().to_vec(), vec![9; 16], root].concat()
        };
        let of = |old: &[u8]| shifted(CAPABILITY, old, move_ids);
        assert_eq!(of(&value(CAPS_FOR_ROOT_ID.0, Some(5))), Some(value(CAPS_FOR_ROOT_ID.0, Some(1005))));
        assert_eq!(of(&value(CAPS.0, None)), Some(value(CAPS_FOR_ROOT_ID.0, Some(1000))));
        assert_eq!(of(&value(CAPS_FOR_ROOT_ID.0, Some(7))), None);
    }

    #[test]
    fn values_that_are_none_are_left() {
        for value in [&b""[..], b"\0\0\0\x03", b"\0\0\0\x02\0", &[0; 24], &[0xff; 24]] {
            assert_eq!(shifted(CAPABILITY, value, move_ids), None, "{value:?}");
        }
        for value in [&b""[..], b"\x02\0\0", b"\x02\0\0\0\x01"] {
            assert_eq!(shifted(WITH_IDS[0], value, move_ids), None, "{value:?}");
        }
    }
}
