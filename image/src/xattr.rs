//! Which extended attributes are kept, and in which form.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// What becomes of an extended attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is set.
    Keep,
    /// It belongs to the host that made the archive, and is left out without a word.
    Drop,
    /// It is left out, and the user is told.
    DropAloud,
}

/// Starts of names, and what becomes of them; the first that fits counts.
///
/// `trusted.*` needs power over the host, and overlayfs reads it. `security.*` other than file capabilities is
/// policy of the host.
const FATES: [(&str, Fate); 7] = [
    ("user.", Fate::Keep),
    ("security.capability", Fate::Keep),
    ("system.posix_acl_access", Fate::Keep),
    ("system.posix_acl_default", Fate::Keep),
    ("trusted.", Fate::Drop),
    ("security.", Fate::Drop),
    ("", Fate::DropAloud),
];

/// Returns what becomes of the attribute.
pub(crate) fn fate(name: &OsStr) -> Fate {
    let fits = |start: &str| match start.ends_with('.') || start.is_empty() {
        true => name.as_bytes().starts_with(start.as_bytes()),
        false => name == start,
    };
    FATES.iter().find(|(start, _)| fits(start)).map_or(Fate::DropAloud, |(_, fate)| *fate)
}

/// The revision of file capabilities that names the root user it is for, and the one before it, which is for the
/// root of the namespace in which it is set. Source: capabilities(7), linux/capability.h.
const CAPS_FOR_ROOT_ID: (u32, usize) = (0x0300_0000, 24);
const CAPS: (u32, usize) = (0x0200_0000, 20);

/// Returns the value to set. File capabilities for the root of the container that was archived become those of this
/// container's root.
pub(crate) fn value_here<'a>(name: &OsStr, value: &'a [u8]) -> std::borrow::Cow<'a, [u8]> {
    let magic = value.first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
    match magic {
        Some(magic)
            if name == "security.capability"
                && value.len() == CAPS_FOR_ROOT_ID.1
                && magic & 0xff00_0000 == CAPS_FOR_ROOT_ID.0 =>
        {
            let flags = magic & 0x00ff_ffff;
            let mut converted = (CAPS.0 | flags).to_le_bytes().to_vec();
            converted.extend_from_slice(&value[4..CAPS.1]);
            converted.into()
        }
        _ => value.into(),
    }
}

/// Tells whether an attribute is an access control list.
pub(crate) fn is_acl(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| name.starts_with("system.posix_acl_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_has_its_fate() {
        for (name, expected) in [
            ("user.a", Fate::Keep),
            ("security.capability", Fate::Keep),
            ("security.capability2", Fate::Drop),
            ("security.selinux", Fate::Drop),
            ("security.ima", Fate::Drop),
            ("trusted.overlay.opaque", Fate::Drop),
            ("system.posix_acl_default", Fate::Keep),
            ("system.nfs4_acl", Fate::DropAloud),
            ("user", Fate::DropAloud),
        ] {
            assert_eq!(fate(OsStr::new(name)), expected, "{name}");
        }
    }

    #[test]
    fn capabilities_of_another_root_become_those_of_this_one() {
        let mut value = vec![1, 0, 0, 3];
        value.extend_from_slice(&[7; 16]);
        value.extend_from_slice(&100_000u32.to_le_bytes());
        let here = value_here(OsStr::new("security.capability"), &value);
        assert_eq!(here[..4], [1, 0, 0, 2]);
        assert_eq!(here[4..], [7; 16]);
        assert_eq!(*value_here(OsStr::new("user.a"), &value), value);
    }
}
