//! `/etc/subuid` and `/etc/subgid`: lines of `OWNER:START:COUNT`, each granting a range of ids to a user.
//!
//! Source: subuid(5). The owner is a user name or a decimal uid, and may have several lines. Blank lines and
//! lines that begin with `#` are skipped; a carriage return at the end of a line is no part of it.

use std::fmt;

use types::{IdRange, IdRangeError};

use crate::decimal;
pub use crate::lines::FILE_CAP;
use crate::lines::{self, LINE_CAP};

/// A user, as a line may name one.
#[derive(Clone, Copy, Debug)]
pub struct Owner<'a> {
    /// The uid, which a line may give in decimal.
    pub uid: u32,
    /// The login name. Without one only lines with the uid count.
    pub name: Option<&'a [u8]>,
}

/// A line that grants nothing because it cannot be read.
pub type BadLine = lines::BadLine<Reason>;

/// Why a line grants nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is longer than 4096 bytes.
    TooLong,
    /// It holds a NUL or another control character.
    Control,
    /// It has not the three fields `OWNER:START:COUNT`.
    Fields,
    /// The owner is empty, or has spaces around or inside.
    Owner,
    /// The start is not a plain decimal number.
    Start,
    /// The count is not a plain decimal number.
    Count,
    /// Start and count are numbers, but no range of ids.
    Range(IdRangeError),
}

/// One grant: the owner as written, and the range.
type Grant<'a> = (&'a [u8], IdRange);

/// Returns the ranges that `text` grants to `owner`, in the order of the lines.
pub fn ranges(text: &[u8], owner: &Owner<'_>) -> Vec<IdRange> {
    grants(text).filter(|(written, _)| owner.is(written)).map(|(_, range)| range).collect()
}

/// Returns what `text` grants to anybody but `owner`: who, as the line names it, and the range.
pub fn others<'a>(text: &'a [u8], owner: &Owner<'_>) -> Vec<(&'a [u8], IdRange)> {
    grants(text).filter(|(written, _)| !owner.is(written)).collect()
}

/// Returns the lines that cannot be read, for messages: none of them grants anything.
pub fn bad_lines(text: &[u8]) -> Vec<BadLine> {
    lines::bad(text, grant).collect()
}

/// Tells whether each id of `wanted` is in one of `ranges`.
///
/// It may span ranges that touch or overlap, as newuidmap allows (`have_range` in shadow's subordinateio.c):
/// what counts is that every id is granted, and a container that runs under LXC with such lines runs here
/// too.
pub fn granted(ranges: &[IdRange], wanted: IdRange) -> bool {
    let mut next = u64::from(wanted.start());
    while next < wanted.end() {
        let reach =
            |range: &IdRange| (u64::from(range.start()) <= next && next < range.end()).then(|| range.end());
        match ranges.iter().filter_map(reach).max() {
            Some(end) => next = end,
            None => return false,
        }
    }
    true
}

/// Returns the lowest range of `count` ids, starting at a multiple of 65536 from 1,000,000 upward, that no
/// line of `texts` grants to anybody and that holds no id of `taken` (the users and groups that exist).
///
/// Deterministic, and never in the way of an existing user: a default that was both overlapped with the
/// accounts of a directory (CVE-2024-56433 in shadow). Ends below 2^31, since not all software takes larger
/// ids.
pub fn free_range(texts: &[&[u8]], taken: &[u32], count: u32) -> Option<IdRange> {
    const STEP: u64 = 65_536;
    const LOWEST: u64 = 1_000_000;
    const END: u64 = 1 << 31;

    let existing = taken.iter().filter_map(|id| IdRange::new(u64::from(*id), 1).ok());
    let used: Vec<IdRange> =
        texts.iter().flat_map(|text| grants(text)).map(|(_, range)| range).chain(existing).collect();
    let mut start = LOWEST.next_multiple_of(STEP);
    loop {
        let candidate = IdRange::new(start, u64::from(count)).ok().filter(|range| range.end() <= END)?;
        match used.iter().filter(|range| range.overlaps(candidate)).map(|range| range.end()).max() {
            Some(end) => start = end.next_multiple_of(STEP),
            None => return Some(candidate),
        }
    }
}

impl Owner<'_> {
    /// Tells whether the owner field of a line means this user.
    ///
    /// A field of digits is a uid and nothing else: a user whose login name is `1000` must not get what uid
    /// 1000 has.
    fn is(&self, written: &[u8]) -> bool {
        if written.iter().all(u8::is_ascii_digit) {
            return decimal::parse(written) == Some(u64::from(self.uid));
        }
        self.name == Some(written)
    }
}

fn grants(text: &[u8]) -> impl Iterator<Item = Grant<'_>> {
    lines::lines(text).filter_map(|(_, line)| grant(line).ok())
}

fn grant(line: &[u8]) -> Result<Grant<'_>, Reason> {
    if line.len() > LINE_CAP {
        return Err(Reason::TooLong);
    }
    if line.iter().any(u8::is_ascii_control) {
        return Err(Reason::Control);
    }
    let mut fields = line.split(|byte| *byte == b':');
    let (Some(owner), Some(start), Some(count), None) =
        (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err(Reason::Fields);
    };
    if owner.is_empty() || owner.contains(&b' ') {
        return Err(Reason::Owner);
    }
    let start = decimal::parse(start).ok_or(Reason::Start)?;
    let count = decimal::parse(count).ok_or(Reason::Count)?;
    Ok((owner, IdRange::new(start, count).map_err(Reason::Range)?))
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "the line is longer than 4096 bytes",
            Self::Control => "the line holds a control character",
            Self::Fields => "expected OWNER:START:COUNT",
            Self::Owner => "the owner is not a user name or uid",
            Self::Start => "the start is not a plain decimal number",
            Self::Count => "the count is not a plain decimal number",
            Self::Range(error) => return error.fmt(f),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANA: Owner<'_> = Owner { uid: 1000, name: Some(b"ana") };

    fn range(start: u64, count: u64) -> IdRange {
        IdRange::new(start, count).unwrap()
    }

    fn reasons(text: &[u8]) -> Vec<(usize, Reason)> {
        bad_lines(text).into_iter().map(|bad| (bad.line, bad.reason)).collect()
    }

    #[test]
    fn lines_by_name_and_by_uid_both_count_in_order() {
        let text = b"bob:5:5\nana:100000:65536\n# ana:1:1\n\n  \n1000:300000:10\r\nana:7:1";
        assert_eq!(ranges(text, &ANA), [range(100_000, 65_536), range(300_000, 10), range(7, 1)]);
        assert!(bad_lines(text).is_empty());
    }

    #[test]
    fn what_is_not_the_owners_is_others() {
        let text = b"bob:5:5\nana:100000:65536\n1000:7:1\n1001:300000:10\n";
        assert_eq!(others(text, &ANA), [(&b"bob"[..], range(5, 5)), (&b"1001"[..], range(300_000, 10))]);
    }

    #[test]
    fn an_owner_is_never_matched_by_a_part_of_its_name() {
        let text = b"an:1:1\nanab:2:1\nANA:3:1\n10000:4:1\n100:5:1\n";
        assert_eq!(ranges(text, &ANA), []);
    }

    #[test]
    fn a_login_name_of_digits_does_not_get_what_that_uid_has() {
        let owner = Owner { uid: 2000, name: Some(b"1000") };
        assert_eq!(ranges(b"1000:100000:10\n2000:5:1\n", &owner), [range(5, 1)]);
    }

    #[test]
    fn an_empty_or_missing_name_matches_nothing() {
        let text = b":100000:10\nana:100000:10\n";
        assert_eq!(ranges(text, &Owner { uid: 7, name: Some(b"") }), []);
        assert_eq!(ranges(text, &Owner { uid: 7, name: None }), []);
    }

    #[test]
    fn a_name_with_separators_cannot_forge_a_line() {
        for name in [&b"ana:1:9"[..], b"x\nana", b"ana:1"] {
            let owner = Owner { uid: 7, name: Some(name) };
            assert_eq!(ranges(b"ana:1:9\nx\nana:2:9\n", &owner), [], "{name:?}");
        }
    }

    #[test]
    fn a_line_that_does_not_parse_grants_nothing_and_is_reported_with_its_number() {
        use Reason::*;
        let cases: [(&[u8], Reason); 24] = [
            (b"ana", Fields),
            (b"ana:1", Fields),
            (b"ana:1:2:3", Fields),
            (b"ana::5", Start),
            (b"ana:5:", Count),
            (b"ana:0x10:5", Start),
            (b"ana:010:5", Start),
            (b"ana:+1:5", Start),
            (b"ana:-1:5", Start),
            (b"ana:1:-1", Count),
            (b"ana: 1:5", Start),
            (b"ana:1:5 ", Count),
            (b" ana:1:5", Owner),
            (b"an a:1:5", Owner),
            (b":1:5", Owner),
            (b"ana:1:0", Range(IdRangeError::Empty)),
            (b"ana:1:4294967295", Range(IdRangeError::PastLastId)),
            (b"ana:4294967295:1", Range(IdRangeError::PastLastId)),
            (b"ana:4294967296:1", Range(IdRangeError::PastLastId)),
            (b"ana:18446744073709551615:2", Range(IdRangeError::PastLastId)),
            (b"ana:18446744073709551616:1", Start),
            (b"ana:1:5\0", Control),
            (b"ana\t:1:5", Control),
            (b"ana:1:5\r\r", Control),
        ];
        for (line, reason) in cases {
            let text = [b"# head\n", line, b"\n"].concat();
            assert_eq!(ranges(&text, &ANA), [], "{line:?}");
            assert_eq!(reasons(&text), [(2, reason)], "{line:?}");
        }
    }

    #[test]
    fn a_line_over_4_kib_grants_nothing_and_its_neighbours_still_do() {
        let long = [b"ana:1:", "0".repeat(4096).as_bytes(), b"\nana:5:1\n"].concat();
        assert_eq!(ranges(&long, &ANA), [range(5, 1)]);
        assert_eq!(reasons(&long), [(1, Reason::TooLong)]);
    }

    #[test]
    fn a_line_of_4_kib_still_grants() {
        let line = |name: usize| format!("{}:5:1", "a".repeat(name));
        assert_eq!(reasons(line(4092).as_bytes()), []);
        assert_eq!(reasons(line(4093).as_bytes()), [(1, Reason::TooLong)]);
    }

    #[test]
    fn each_reason_says_what_is_expected() {
        for (reason, said) in [
            (Reason::TooLong, "the line is longer than 4096 bytes"),
            (Reason::Control, "the line holds a control character"),
            (Reason::Fields, "expected OWNER:START:COUNT"),
            (Reason::Owner, "the owner is not a user name or uid"),
            (Reason::Start, "the start is not a plain decimal number"),
            (Reason::Count, "the count is not a plain decimal number"),
        ] {
            assert_eq!(reason.to_string(), said);
        }
        let range = Reason::Range(IdRangeError::Empty);
        assert_eq!(range.to_string(), IdRangeError::Empty.to_string());
    }

    #[test]
    fn granted_agrees_with_counting_ids() {
        let all: Vec<IdRange> = (0..6).flat_map(|s| (1..5).map(move |c| range(s, c))).collect();
        let ids = |r: IdRange| u64::from(r.start())..r.end();
        for a in &all {
            for b in &all {
                for wanted in &all {
                    let each = ids(*wanted).all(|id| ids(*a).contains(&id) || ids(*b).contains(&id));
                    assert_eq!(granted(&[*a, *b], *wanted), each, "{a} {b} {wanted}");
                }
            }
        }
        assert!(!granted(&[], range(0, 1)));
    }

    #[test]
    fn a_free_range_is_aligned_and_avoids_lines_of_anybody_and_existing_ids() {
        let start = |texts: &[&[u8]], taken: &[u32]| free_range(texts, taken, 65_536).unwrap().start();
        assert_eq!(start(&[], &[]), 16 * 65_536);
        assert_eq!(start(&[b"ana:1048576:1\n", b"9:1114112:70000\n"], &[]), 19 * 65_536);
        assert_eq!(start(&[b"ana:1048576:oops\n"], &[1_048_575]), 16 * 65_536);
        assert_eq!(start(&[], &[1_048_576, 1_179_647]), 18 * 65_536);
    }

    #[test]
    fn there_is_no_free_range_beyond_2_to_the_31() {
        assert_eq!(free_range(&[b"a:0:2147418113\n"], &[], 65_536), None);
        assert_eq!(free_range(&[b"a:0:2147418112\n"], &[], 65_536), Some(range(2_147_418_112, 65_536)));
        assert_eq!(free_range(&[], &[], 0), None);
        assert_eq!(free_range(&[], &[], u32::MAX), None);
    }
}
