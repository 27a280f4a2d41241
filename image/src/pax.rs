//! PAX extended headers: what they say about the entry that follows.
//!
//! The parser of the `tar` crate splits records at newlines, so that a binary value with a newline in it (a POSIX
//! ACL for user 10, a file capability) is lost without a word, and it takes the first of two values where every
//! other reader takes the last. Here records are taken by their length, and what is not exact is refused.
//! Source: POSIX, pax, "pax Extended Header".

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use sys::file::Time;

use crate::error::Problem;

/// What extended headers say; `None` where they say nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extended {
    pub path: Option<Vec<u8>>,
    pub link_target: Option<Vec<u8>>,
    pub size: Option<u64>,
    pub uid: Option<u64>,
    pub gid: Option<u64>,
    pub mtime: Option<Time>,
    pub xattrs: Vec<(OsString, Vec<u8>)>,
    pub sparse: Sparse,
}

/// The `GNU.sparse.*` records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sparse {
    pub major: Option<u64>,
    pub minor: Option<u64>,
    pub name: Option<Vec<u8>>,
    pub real_size: Option<u64>,
    /// A record of the older forms 0.0 and 0.1 was there.
    pub old_form: bool,
}

impl Extended {
    /// Adds the records of a header for one entry.
    pub(crate) fn add_local(&mut self, data: &[u8]) -> Result<(), Problem> {
        records(data, |key, value| self.add(key, value))
    }

    /// Adds the records of a global header, which concern all entries that follow.
    ///
    /// # Errors
    /// Records that make sense for one entry only: they would describe all entries the same.
    pub(crate) fn add_global(&mut self, data: &[u8]) -> Result<(), Problem> {
        records(data, |key, value| match key {
            b"uid" | b"gid" | b"mtime" => self.add(key, value),
            b"path" | b"linkpath" | b"size" => {
                Err(Problem::malformed(format!("global record {:?}", String::from_utf8_lossy(key))))
            }
            _ if key.starts_with(b"GNU.sparse.") || key.starts_with(XATTR) => {
                Err(Problem::malformed("global record of one file"))
            }
            _ => Ok(()),
        })
    }

    fn add(&mut self, key: &[u8], value: &[u8]) -> Result<(), Problem> {
        match key {
            b"path" => self.path = text(value),
            b"linkpath" => self.link_target = text(value),
            b"size" => self.size = number(key, value)?,
            b"uid" => self.uid = number(key, value)?,
            b"gid" => self.gid = number(key, value)?,
            b"mtime" => self.mtime = time(value)?,
            b"GNU.sparse.major" => self.sparse.major = number(key, value)?,
            b"GNU.sparse.minor" => self.sparse.minor = number(key, value)?,
            b"GNU.sparse.name" => self.sparse.name = text(value),
            b"GNU.sparse.realsize" => self.sparse.real_size = number(key, value)?,
            b"GNU.sparse.map" | b"GNU.sparse.offset" | b"GNU.sparse.numblocks" | b"GNU.sparse.size" => {
                self.sparse.old_form = true;
            }
            // An ACL in star's text form is not read; one without a mask says no more than the mode.
            b"SCHILY.acl.access" if value.windows(4).any(|part| part == b"mask") => {
                self.add_xattr(key, value);
            }
            b"SCHILY.acl.default" => self.add_xattr(key, value),
            _ => {
                if let Some(name) = key.strip_prefix(XATTR) {
                    self.add_xattr(name, value);
                }
            }
        }
        Ok(())
    }

    fn add_xattr(&mut self, name: &[u8], value: &[u8]) {
        self.xattrs.push((OsString::from_vec(name.to_vec()), value.to_vec()));
    }
}

const XATTR: &[u8] = b"SCHILY.xattr.";

/// An empty value takes back what an earlier header said.
fn text(value: &[u8]) -> Option<Vec<u8>> {
    (!value.is_empty()).then(|| value.to_vec())
}

/// Gives each record `LENGTH KEY=VALUE\n` to `each`.
fn records(
    mut data: &[u8],
    mut each: impl FnMut(&[u8], &[u8]) -> Result<(), Problem>,
) -> Result<(), Problem> {
    let bad = || Problem::malformed("broken PAX record");
    while !data.is_empty() {
        let space = data.iter().take(12).position(|byte| *byte == b' ').ok_or_else(bad)?;
        let length = decimal(&data[..space]).and_then(|n| usize::try_from(n).ok()).ok_or_else(bad)?;
        if length <= space + 1 || length > data.len() || data[length - 1] != b'\n' {
            return Err(bad());
        }
        let record = &data[space + 1..length - 1];
        let equals = record.iter().position(|byte| *byte == b'=').filter(|at| *at > 0).ok_or_else(bad)?;
        each(&record[..equals], &record[equals + 1..])?;
        data = &data[length..];
    }
    Ok(())
}

/// Reads decimal digits and nothing else.
pub(crate) fn decimal(digits: &[u8]) -> Option<u64> {
    let all_digits = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| all_digits)?.parse().ok()
}

fn number(key: &[u8], value: &[u8]) -> Result<Option<u64>, Problem> {
    if value.is_empty() {
        return Ok(None);
    }
    let bad = || Problem::malformed(format!("PAX {} is not a number", String::from_utf8_lossy(key)));
    decimal(value).map(Some).ok_or_else(bad)
}

/// Reads `[-]SECONDS[.FRACTION]`; what is finer than a nanosecond is cut off, towards the past.
fn time(value: &[u8]) -> Result<Option<Time>, Problem> {
    if value.is_empty() {
        return Ok(None);
    }
    parse_time(value).map(Some).ok_or_else(|| Problem::malformed("PAX mtime is not a time"))
}

fn parse_time(value: &[u8]) -> Option<Time> {
    let (negative, value) = value.strip_prefix(b"-").map_or((false, value), |rest| (true, rest));
    let dot = value.iter().position(|byte| *byte == b'.').unwrap_or(value.len());
    let seconds = i64::try_from(decimal(&value[..dot])?).ok()?;
    let fraction = value.get(dot + 1..).unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let padded = fraction.iter().copied().chain(std::iter::repeat(b'0')).take(9);
    let nanoseconds = padded.fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    Some(match (negative, nanoseconds) {
        (false, _) => Time { seconds, nanoseconds },
        (true, 0) => Time { seconds: -seconds, nanoseconds: 0 },
        (true, _) => Time { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(data: &[u8]) -> Result<Extended, Problem> {
        let mut extended = Extended::default();
        extended.add_local(data).map(|()| extended)
    }

    #[test]
    fn values_may_hold_newlines_and_equals_signs() {
        let parsed = parse(b"29 SCHILY.xattr.user.a=x\n=\ny\n10 uid=10\n").unwrap();
        assert_eq!(parsed.xattrs, [(OsString::from("user.a"), b"x\n=\ny".to_vec())]);
        assert_eq!(parsed.uid, Some(10));
    }

    #[test]
    fn the_last_value_counts_and_an_empty_one_takes_it_back() {
        assert_eq!(parse(b"9 size=1\n9 size=2\n").unwrap().size, Some(2));
        assert_eq!(parse(b"9 size=1\n8 size=\n").unwrap().size, None);
    }

    #[test]
    fn broken_records_are_refused() {
        let broken: [&[u8]; 10] = [
            b"9 size=1",
            b"8 size=1\n",
            b"11 size=1\n",
            b"+9 size=1\n",
            b"size=1\n",
            b"9 size1\n\n",
            b"5 =ab\n",
            b"9 size=x\n",
            b"99999999999999999999 a=b\n",
            b"0 a=b\n",
        ];
        for data in broken {
            assert!(parse(data).is_err(), "{:?}", String::from_utf8_lossy(data));
        }
    }

    #[test]
    fn times_have_nanoseconds_and_may_lie_before_1970() {
        let time = |text: &str| parse_time(text.as_bytes()).map(|t| (t.seconds, t.nanoseconds));
        assert_eq!(time("12.5"), Some((12, 500_000_000)));
        assert_eq!(time("12.1234567899"), Some((12, 123_456_789)));
        assert_eq!(time("-1.25"), Some((-2, 750_000_000)));
        assert_eq!(time("-3"), Some((-3, 0)));
        assert_eq!(time("1.x"), None);
        assert_eq!(time(".5"), None);
    }

    #[test]
    fn a_global_header_cannot_rename_or_resize() {
        let mut global = Extended::default();
        assert!(global.add_global(b"9 size=1\n").is_err());
        assert!(global.add_global(b"9 path=a\n").is_err());
        global.add_global(b"13 comment=a\n8 uid=5\n").unwrap();
        assert_eq!(global.uid, Some(5));
    }
}
