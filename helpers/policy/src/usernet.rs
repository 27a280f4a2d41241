//! `/etc/lxc/lxc-usernet`: lines of `USER TYPE BRIDGE NUMBER`, each granting a user, or with `@` the members of a group,
//! that many network devices on a bridge.
//!
//! Source: lxc-usernet(5). Blank lines and lines that begin with `#` are skipped. A line that does not parse grants
//! nothing.

use crate::decimal;

/// The longest line that can grant, in bytes.
const LINE_CAP: usize = 4096;

/// The most devices that a line can grant: a bridge of the kernel has 1023 ports.
const MOST: u64 = 1023;

/// Who asks, as a line may name one.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// The login name.
    pub name: &'a str,
    /// The names of all groups.
    pub groups: &'a [String],
}

/// Returns how many devices of type `kind` the text grants on `bridge`: the most that one of its lines does.
///
/// LXC: adds up the lines of the user and of each group. One line is enough to know whether there is a grant at all,
/// which is all that is asked here.
pub fn granted(text: &[u8], asker: &Asker<'_>, kind: &str, bridge: &str) -> u32 {
    let lines = text.split(|byte| *byte == b'\n').filter_map(grant);
    let fits = |grant: &Grant<'_>| grant.kind == kind && grant.bridge == bridge && asker.is(grant.who);
    lines.filter(fits).map(|grant| grant.number).max().unwrap_or(0)
}

struct Grant<'a> {
    who: &'a str,
    kind: &'a str,
    bridge: &'a str,
    number: u32,
}

fn grant(line: &[u8]) -> Option<Grant<'_>> {
    let line = std::str::from_utf8(line).ok()?.trim_end_matches('\r');
    if line.len() > LINE_CAP || line.trim_start().starts_with('#') {
        return None;
    }
    if line.chars().any(|c| c.is_control() && c != '\t') {
        return None;
    }
    let mut fields = line.split([' ', '\t']).filter(|field| !field.is_empty());
    let (who, kind, bridge, number) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    if fields.next().is_some() {
        return None;
    }
    let number = decimal::parse(number.as_bytes()).filter(|number| *number <= MOST)?;
    Some(Grant { who, kind, bridge, number: u32::try_from(number).ok()? })
}

impl Asker<'_> {
    /// Tells whether the first field of a line means this user: by the whole name, never by a part of it.
    fn is(&self, who: &str) -> bool {
        match who.strip_prefix('@') {
            Some(group) => self.groups.iter().any(|name| name == group),
            None => who == self.name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> u32 {
        let groups = ["staff".to_owned(), "ana".to_owned()];
        granted(text.as_bytes(), &Asker { name: "ana", groups: &groups }, "veth", "lxcbr0")
    }

    #[test]
    fn lines_for_the_user_and_for_its_groups_grant() {
        assert_eq!(of("ana veth lxcbr0 10\n"), 10);
        assert_eq!(of("# all\n\n  @staff\tveth  lxcbr0\t3\r\n"), 3);
        assert_eq!(of("ana veth lxcbr0 2\n@staff veth lxcbr0 5"), 5);
    }

    #[test]
    fn neighbours_and_other_bridges_grant_nothing() {
        for line in [
            "an veth lxcbr0 1",
            "anab veth lxcbr0 1",
            "ANA veth lxcbr0 1",
            "@sta veth lxcbr0 1",
            "staff veth lxcbr0 1",
            "ana veth lxcbr 1",
            "ana veth lxcbr00 1",
            "ana empty lxcbr0 1",
            "ana vethx lxcbr0 1",
        ] {
            assert_eq!(of(line), 0, "{line}");
        }
    }

    #[test]
    fn a_line_that_does_not_parse_grants_nothing_and_its_neighbours_still_do() {
        for line in [
            "ana veth lxcbr0",
            "ana veth lxcbr0 1 2",
            "ana veth lxcbr0 -1",
            "ana veth lxcbr0 010",
            "ana veth lxcbr0 0x1",
            "ana veth lxcbr0 1024",
            "ana veth lxcbr0 18446744073709551617",
            "ana veth lxcbr0 1\0",
            "#ana veth lxcbr0 1",
            "@ veth lxcbr0 1",
        ] {
            assert_eq!(of(line), 0, "{line:?}");
            assert_eq!(of(&format!("{line}\nana veth lxcbr0 7")), 7, "{line:?}");
        }
        assert_eq!(of(&format!("ana veth lxcbr0 {}1", " ".repeat(LINE_CAP))), 0);
    }
}
