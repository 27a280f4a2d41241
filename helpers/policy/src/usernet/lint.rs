//! What is odd about a file of grants: lines that grant nothing, and lines that do not what they seem to do.

use types::IfName;

use super::{Line, Reason, Who};
use crate::slots::{MOST, Owner};
use crate::{decimal, lines};

/// The most ports of a bridge. Source: linux/net/bridge/br_private.h, BR_MAX_PORTS less the one that is none.
pub const PORTS: u32 = 1023;

/// What lines are held against: the accounts and interfaces of the host.
pub trait Host {
    /// Returns the uid of a login name.
    fn uid(&self, name: &[u8]) -> Option<u32>;
    /// Returns the gid of a group's name.
    fn gid(&self, name: &[u8]) -> Option<u32>;
    /// Returns the kind of an interface, if there is one of this name.
    fn kind(&self, name: &IfName) -> Option<&str>;
}

/// One thing that is odd about a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The number of the line, from 1.
    pub line: usize,
    /// What comes of it.
    pub effect: Effect,
    /// What is so. Pieces of the line are in it as they are.
    pub what: String,
    /// What to write instead, or to do.
    pub suggestion: String,
}

/// What comes of an odd line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The line grants nothing.
    GrantsNothing,
    /// The line grants something else than it seems to.
    GrantsOtherwise,
}

use Effect::{GrantsNothing, GrantsOtherwise};

/// Returns all that is odd about `text`, in the order of the lines.
pub fn lint(text: &[u8], host: &impl Host) -> Vec<Finding> {
    let grants: Vec<Line<'_>> = super::all(text).collect();
    let mut findings: Vec<Finding> =
        lines::lines(text).flat_map(|(line, content)| of_text(line, content)).collect();
    for grant in &grants {
        findings.extend(of_owner(grant, host));
        findings.extend(of_bridge(grant, host));
        findings.extend(of_number(grant, &grants, host));
        findings.extend(of_open(grant, &grants, text));
    }
    findings.extend(of_sums(&grants));
    findings.sort_by_key(|finding| finding.line);
    findings
}

/// What the line itself has: it cannot be read, or its number is not the one that counts.
fn of_text(line: usize, content: &[u8]) -> Option<Finding> {
    match super::rule(content) {
        Err(reason) => Some(Finding {
            line,
            effect: GrantsNothing,
            what: reason.to_string(),
            suggestion: repaired(content)
                .map_or_else(|| advice(reason).to_owned(), |line| format!("write: {line}")),
        }),
        Ok(_) => raw_number(content).filter(|number| *number > u64::from(MOST)).map(|number| Finding {
            line,
            effect: GrantsOtherwise,
            what: format!("{number} devices are {MOST}: a bridge has no more"),
            suggestion: format!("write a number up to {MOST}"),
        }),
    }
}

fn raw_number(content: &[u8]) -> Option<u64> {
    words(content).nth(3).and_then(decimal::parse)
}

/// Returns the fields of a line, also where control characters stand between them.
fn words(content: &[u8]) -> impl Iterator<Item = &[u8]> {
    content.split(|byte| *byte == b' ' || byte.is_ascii_control()).filter(|word| !word.is_empty())
}

/// Returns the line as it was probably meant, if that can be read.
fn repaired(content: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(content).ok()?;
    let mut words = words(text.as_bytes()).filter_map(|word| std::str::from_utf8(word).ok());
    let (owner, kind, bridge, number) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let (kind, bridge) = if bridge.eq_ignore_ascii_case("veth") { (bridge, kind) } else { (kind, bridge) };
    let (number, comment) = number.split_once('#').unwrap_or((number, ""));
    let number = number.trim_start_matches('+').trim_end_matches(',');
    let number = match number.trim_start_matches('0') {
        "" if !number.is_empty() => "0",
        digits => digits,
    };
    let mut rest: Vec<&str> = words.collect();
    let open = rest.first().is_some_and(|word| word.eq_ignore_ascii_case("open")) && comment.is_empty();
    if open {
        rest.remove(0);
    }
    let mut line = format!("{owner} {} {bridge} {number}", kind.to_ascii_lowercase());
    line.push_str(if open { " open" } else { "" });
    let comment = [comment].into_iter().chain(rest).map(|word| word.trim_start_matches('#'));
    let comment: Vec<&str> = comment.filter(|word| !word.is_empty()).collect();
    if !comment.is_empty() {
        line.push_str(&format!(" # {}", comment.join(" ")));
    }
    let is_one = super::all(line.as_bytes()).next().is_some();
    is_one.then_some(line)
}

fn advice(reason: Reason) -> &'static str {
    match reason {
        Reason::TooLong => "write one grant a line",
        Reason::Control => "write it anew, in plain text",
        Reason::Indented | Reason::Fields => "write: OWNER veth BRIDGE NUMBER, as in: ana veth lxcbr0 10",
        Reason::Owner => "write a login name, a uid, or @ and the name or number of a group",
        Reason::Kind => "write veth: nothing else can be granted",
        Reason::Bridge => "write the name of a bridge, up to 15 letters, digits, '.', '_' and '-'",
        Reason::Number => "write a number from 1 to 1024",
    }
}

fn of_owner(grant: &Line<'_>, host: &impl Host) -> Option<Finding> {
    let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
    let nothing =
        |what, suggestion| Some(Finding { line: grant.line, effect: GrantsNothing, what, suggestion });
    match grant.who {
        Who::User(name) if host.uid(name).is_none() => {
            let suggestion = match host.gid(name) {
                Some(_) => format!("write @{} for the group of this name", text(name)),
                None => "write a login name that `getent passwd` knows, or a uid".to_owned(),
            };
            nothing(format!("there is no user {}", text(name)), suggestion)
        }
        Who::Group(name) if host.gid(name).is_none() => {
            let suggestion = match host.uid(name) {
                Some(_) => format!("write {} for the user of this name", text(name)),
                None => "write the name of a group that `getent group` knows, or @ and a gid".to_owned(),
            };
            nothing(format!("there is no group {}", text(name)), suggestion)
        }
        Who::Uid(uid) => digits(grant, uid, host.uid(uid.to_string().as_bytes()), "uid", ""),
        Who::Gid(gid) => digits(grant, gid, host.gid(gid.to_string().as_bytes()), "gid", "@"),
        Who::User(_) | Who::Group(_) => None,
    }
}

/// An account whose name is a number gets nothing by it.
fn digits(grant: &Line<'_>, id: u32, named: Option<u32>, kind: &str, sign: &str) -> Option<Finding> {
    let named = named.filter(|named| *named != id)?;
    Some(Finding {
        line: grant.line,
        effect: GrantsOtherwise,
        what: format!("{id} is a {kind} here, and not the name of who has {kind} {named}"),
        suggestion: format!("write {sign}{named} if that one is meant"),
    })
}

fn of_bridge(grant: &Line<'_>, host: &impl Host) -> Option<Finding> {
    let bridge = &grant.bridge;
    let (what, suggestion) = match host.kind(bridge) {
        Some("bridge") => return None,
        None => (
            format!("there is no interface {bridge}"),
            format!("make it (sudo ip link add {bridge} type bridge), or name one that is there"),
        ),
        Some("openvswitch") => (
            format!("{bridge} is a bridge of Open vSwitch, which is not supported"),
            "name a bridge of the kernel".to_owned(),
        ),
        Some("") => (format!("{bridge} is no bridge"), "name a bridge".to_owned()),
        Some(kind) => (format!("{bridge} is no bridge but of kind {kind}"), "name a bridge".to_owned()),
    };
    Some(Finding { line: grant.line, effect: GrantsNothing, what, suggestion })
}

fn of_number(grant: &Line<'_>, all: &[Line<'_>], host: &impl Host) -> Option<Finding> {
    if grant.number == 0 {
        return Some(Finding {
            line: grant.line,
            effect: GrantsNothing,
            what: "0 devices are none".to_owned(),
            suggestion: format!("remove the line, or write a number from 1 to {MOST}"),
        });
    }
    let owner = owner(grant.who, host);
    let same = |other: &&Line<'_>| {
        let owner_is_same =
            other.who == grant.who || (owner.is_some() && self::owner(other.who, host) == owner);
        owner_is_same && other.bridge == grant.bridge
    };
    // Never the line itself.
    let counts = |other: &&Line<'_>| (other.number, grant.line) > (grant.number, other.line);
    let other = all.iter().filter(same).filter(counts).max_by_key(|other| other.number)?;
    Some(Finding {
        line: grant.line,
        effect: GrantsNothing,
        what: format!(
            "line {} counts instead: of several lines of one owner the largest number does",
            other.line
        ),
        suggestion: format!("remove one; {} and {} are not added up", grant.number, other.number),
    })
}

/// Returns to whom the devices of a line are counted.
pub fn owner(who: Who<'_>, host: &impl Host) -> Option<Owner> {
    match who {
        Who::Uid(uid) => Some(Owner::User(uid)),
        Who::User(name) => host.uid(name).map(Owner::User),
        Who::Gid(gid) => Some(Owner::Group(gid)),
        Who::Group(name) => host.gid(name).map(Owner::Group),
    }
}

fn of_open(grant: &Line<'_>, all: &[Line<'_>], text: &[u8]) -> Option<Finding> {
    if !grant.open || !super::isolates(text, &grant.bridge) {
        return None;
    }
    let closed = all.iter().find(|other| other.bridge == grant.bridge && !other.open)?;
    Some(Finding {
        line: grant.line,
        effect: GrantsOtherwise,
        what: format!("open has no effect: line {} of the same bridge does not say it", closed.line),
        suggestion: format!("write open in each line of {}, or in none", grant.bridge),
    })
}

/// More devices than the bridge has ports: whoever comes last gets none.
fn of_sums(grants: &[Line<'_>]) -> Vec<Finding> {
    let mut bridges: Vec<&IfName> = grants.iter().map(|grant| &grant.bridge).collect();
    bridges.sort_unstable();
    bridges.dedup();
    let sum_of = |bridge: &&IfName| {
        let own = || grants.iter().filter(|grant| grant.bridge == **bridge);
        let sum: u64 = own().map(|grant| u64::from(grant.number.min(PORTS))).sum();
        let last = own().next_back()?;
        (sum > u64::from(PORTS)).then(|| Finding {
            line: last.line,
            effect: GrantsOtherwise,
            what: format!(
                "the lines of {bridge} grant {sum} devices together, and a bridge has {PORTS} ports"
            ),
            suggestion: "grant less, or on more bridges".to_owned(),
        })
    };
    bridges.iter().filter_map(sum_of).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Chance, text};
    use super::*;

    /// A host with ana (1000), the group staff (50), somebody whose login name is 77 (78), and lxcbr0 beside eth0.
    struct Example;

    impl Host for Example {
        fn uid(&self, name: &[u8]) -> Option<u32> {
            match name {
                b"ana" => Some(1000),
                b"77" => Some(78),
                _ => None,
            }
        }

        fn gid(&self, name: &[u8]) -> Option<u32> {
            (name == b"staff").then_some(50)
        }

        fn kind(&self, name: &IfName) -> Option<&str> {
            match name.as_str() {
                "lxcbr0" | "br1" => Some("bridge"),
                "ovs" => Some("openvswitch"),
                "bond0" => Some("bond"),
                "eth0" => Some(""),
                _ => None,
            }
        }
    }

    fn said(text: &str) -> Vec<String> {
        let line = |finding: Finding| {
            let effect = if finding.effect == GrantsNothing { "nothing" } else { "otherwise" };
            format!("{} {effect}: {}; {}", finding.line, finding.what, finding.suggestion)
        };
        lint(text.as_bytes(), &Example).into_iter().map(line).collect()
    }

    #[test]
    fn a_file_in_order_has_nothing_odd() {
        let text = "# who\nana veth lxcbr0 10\n@staff veth lxcbr0 5 # all\n@50 veth br1 5 open\n1000 veth br1 2 open\n";
        assert_eq!(said(text), [""; 0]);
    }

    #[test]
    fn for_each_reason_there_is_something_to_write() {
        use Reason::*;
        for reason in [TooLong, Control, Indented, Fields, Owner, Kind, Bridge, Number] {
            assert!(super::advice(reason).starts_with("write"), "{reason:?}");
        }
    }

    #[test]
    fn as_many_devices_as_a_bridge_has_ports_are_not_too_many() {
        let text = |number: u32| format!("ana veth br1 1000\n@staff veth br1 {number}\n");
        assert_eq!(said(&text(23)), [""; 0]);
        assert!(said(&text(24))[0].contains("grant 1024 devices together"), "{:?}", said(&text(24)));
    }

    #[test]
    fn all_the_ports_that_a_bridge_has_slots_for_are_one_number() {
        assert_eq!(
            lint(b"ana veth br1 1025\n", &Example)[0].what,
            "1025 devices are 1024: a bridge has no more"
        );
        assert!(!said("ana veth br1 1024\n").iter().any(|line| line.contains("devices are 1024")));
    }

    #[test]
    fn a_line_that_cannot_be_read_is_shown_as_it_was_meant() {
        for (line, meant) in [
            (" ana veth lxcbr0 2", "ana veth lxcbr0 2"),
            ("ana veth lxcbr0 010", "ana veth lxcbr0 10"),
            ("ana veth lxcbr0 +1", "ana veth lxcbr0 1"),
            ("ana veth lxcbr0 00", "ana veth lxcbr0 0"),
            ("ana VETH lxcbr0 3 OPEN", "ana veth lxcbr0 3 open"),
            ("ana lxcbr0 veth 3", "ana veth lxcbr0 3"),
            ("ana veth lxcbr0 3#x y", "ana veth lxcbr0 3 # x y"),
            ("ana veth lxcbr0 1 the laptop", "ana veth lxcbr0 1 # the laptop"),
            ("ana veth\u{b}lxcbr0 1", "ana veth lxcbr0 1"),
        ] {
            let findings = lint(line.as_bytes(), &Example);
            let shown = findings.iter().map(|f| (f.effect, f.suggestion.as_str())).next();
            assert_eq!(shown, Some((GrantsNothing, &*format!("write: {meant}"))), "{line:?}");
        }
        for line in [
            "ana",
            "ana veth",
            "ana veth lxcbr0 -1",
            "ana veth lxcbr0 +",
            "ana veth lxcbr0 many",
            "@ veth lxcbr0 1",
            "a veth x/y 1",
        ] {
            let findings = lint(line.as_bytes(), &Example);
            assert!(findings.len() == 1 && findings[0].effect == GrantsNothing, "{line:?}: {findings:?}");
            assert!(!findings[0].suggestion.starts_with("write: ana veth lxcbr0 "), "{findings:?}");
        }
    }

    #[test]
    fn owners_that_nobody_is_are_named() {
        assert_eq!(
            said("staff veth lxcbr0 1\n@ana veth lxcbr0 1\nbob veth lxcbr0 1\n"),
            [
                "1 nothing: there is no user staff; write @staff for the group of this name",
                "2 nothing: there is no group ana; write ana for the user of this name",
                "3 nothing: there is no user bob; write a login name that `getent passwd` knows, or a uid",
            ]
        );
        assert_eq!(
            said("77 veth lxcbr0 1\n"),
            [
                "1 otherwise: 77 is a uid here, and not the name of who has uid 78; write 78 if that one is meant"
            ]
        );
    }

    #[test]
    fn bridges_that_are_none_are_named() {
        for (bridge, what) in [
            ("br9", "there is no interface br9"),
            ("eth0", "eth0 is no bridge"),
            ("bond0", "bond0 is no bridge but of kind bond"),
            ("ovs", "ovs is a bridge of Open vSwitch, which is not supported"),
        ] {
            let findings = lint(format!("ana veth {bridge} 1").as_bytes(), &Example);
            let said: Vec<_> = findings.iter().map(|f| (f.effect, f.what.as_str())).collect();
            assert_eq!(said, [(GrantsNothing, what)]);
        }
    }

    #[test]
    fn of_several_lines_those_that_do_not_count_are_named_and_the_one_that_does_is_not() {
        let said = said(
            "ana veth lxcbr0 2\n1000 veth lxcbr0 3\nana veth br1 9\nana veth lxcbr0 3\nana veth br1 0\n",
        );
        let named: Vec<&str> = said.iter().map(|line| line.split(':').next().unwrap()).collect();
        assert_eq!(named, ["1 nothing", "4 nothing", "5 nothing"], "{said:?}");
        assert!(
            said[1].contains("line 2 counts instead") && said[1].contains("3 and 3 are not added up"),
            "{said:?}"
        );
    }

    #[test]
    fn numbers_above_what_a_bridge_has_are_named() {
        assert_eq!(
            said("ana veth lxcbr0 5000\n")[0],
            "1 otherwise: 5000 devices are 1024: a bridge has no more; write a number up to 1024"
        );
        let said = said("ana veth lxcbr0 1000\n@staff veth lxcbr0 24\nana veth br1 1\n");
        assert!(
            said.len() == 1 && said[0].starts_with("2 otherwise: the lines of lxcbr0 grant 1024"),
            "{said:?}"
        );
    }

    #[test]
    fn open_in_some_lines_of_a_bridge_is_named() {
        let said = said("ana veth lxcbr0 1 open\n@staff veth lxcbr0 1\n@staff veth br1 1 open\n");
        assert!(
            said.len() == 1 && said[0].starts_with("1 otherwise: open has no effect: line 2 of"),
            "{said:?}"
        );
    }

    /// The rule that the tool stands on: of the lines it says nothing about each one grants, and whatever it says to
    /// write can be read.
    #[test]
    fn a_line_without_a_finding_grants_and_a_repaired_line_can_be_read() {
        let mut chance = Chance(11);
        let (mut granted, mut repaired) = (0, 0);
        for _ in 0..20_000 {
            let text = text(&mut chance);
            let findings = lint(&text, &Example);
            for grant in super::super::all(&text) {
                let nothing = findings.iter().any(|f| f.line == grant.line && f.effect == GrantsNothing);
                if !nothing {
                    granted += 1;
                    let owner = owner(grant.who, &Example);
                    assert!(owner.is_some() && grant.number > 0, "{:?}", String::from_utf8_lossy(&text));
                    assert_eq!(Example.kind(&grant.bridge), Some("bridge"));
                }
            }
            for bad in super::super::bad_lines(&text) {
                let own: Vec<_> = findings.iter().filter(|f| f.line == bad.line).collect();
                assert!(own.len() == 1 && own[0].effect == GrantsNothing, "{own:?}");
                let line =
                    own[0].suggestion.strip_prefix("write: ").filter(|line| !line.starts_with("OWNER"));
                if let Some(line) = line {
                    repaired += 1;
                    assert_eq!(super::super::all(line.as_bytes()).count(), 1, "{line:?}");
                }
            }
        }
        assert!(granted > 100 && repaired > 50, "{granted} {repaired}");
    }
}
