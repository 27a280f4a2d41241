//! Numbers with units: switches, sizes and spans of time.

use crate::Fault;

/// Reads a switch: `0` or `1`, as in LXC.
pub(crate) fn switch(text: &str) -> Result<bool, Fault> {
    match text {
        "0" => Ok(false),
        "1" => Ok(true),
        other => Err(Fault::value(other, "0 or 1").meaning(switch_meant(other))),
    }
}

fn switch_meant(text: &str) -> Option<String> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "true" | "on" | "enabled" => Some("1".to_owned()),
        "no" | "false" | "off" | "disabled" => Some("0".to_owned()),
        _ => None,
    }
}

/// Suffixes of sizes in lower case, and the power of two that each stands for.
const SIZE_UNITS: [(&str, u32); 11] = [
    ("", 0),
    ("b", 0),
    ("k", 10),
    ("kb", 10),
    ("kib", 10),
    ("m", 20),
    ("mb", 20),
    ("mib", 20),
    ("g", 30),
    ("gb", 30),
    ("gib", 30),
];

/// Reads a size in bytes: a number and, in any case, `B`, `K`, `M` or `G`, the last three also with `B` or `iB`.
///
/// LXC: reads `2M` as 2 bytes where it wants `2MB`, and `1M` as nothing where it wants bytes.
pub(crate) fn size(text: &str) -> Result<u64, Fault> {
    bytes(text).ok_or_else(|| Fault::value(text, "a size such as 131072, 64kB or 2MB"))
}

fn bytes(text: &str) -> Option<u64> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let unit = unit.trim().to_ascii_lowercase();
    let (_, shift) = SIZE_UNITS.iter().find(|(name, _)| *name == unit)?;
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// Returns the plain number that a text with a unit stands for, for suggestions.
pub(crate) fn spelled_out(text: &str) -> Option<String> {
    bytes(text).map(|bytes| bytes.to_string())
}

/// Returns a size as the kernel takes it in files of cgroups, where it is written in a way that the kernel refuses: with a
/// `B`, or a blank before the unit. Source: `memparse` in the kernel's lib/cmdline.c.
pub(crate) fn for_the_kernel(text: &str) -> Option<String> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit())?;
    let (digits, unit) = text.split_at(unit_at);
    let letter = unit.trim_start().to_ascii_uppercase();
    let letter = letter.strip_suffix("IB").or(letter.strip_suffix('B')).unwrap_or(&letter);
    let meant = format!("{digits}{letter}");
    (bytes(text).is_some() && !meant.eq_ignore_ascii_case(text)).then_some(meant)
}

/// The size that `auto` stands for.
const BUFFER_AUTO: u64 = 128 * 1024;
/// The smallest buffer: a page.
const BUFFER_LEAST: u64 = 4096;

/// Reads the size of a console buffer or log: `auto`, 0 for none, else rounded up to a power of two of at least one
/// page.
pub(crate) fn buffer_size(text: &str) -> Result<u64, Fault> {
    let size = if text == "auto" { BUFFER_AUTO } else { size(text)? };
    if size == 0 {
        return Ok(0);
    }
    let rounded = size.max(BUFFER_LEAST).checked_next_power_of_two();
    rounded.ok_or_else(|| Fault::value(text, "a size of at most 2^63 bytes"))
}

/// Units of time, in nanoseconds.
const TIME_UNITS: [(&str, i64); 6] = [
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", SECOND),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

const SECOND: i64 = 1_000_000_000;

/// Reads an offset of a clock in nanoseconds: a number, possibly negative, and its unit. Zero is no offset.
///
/// LXC: refuses negative numbers, which its manual page documents.
pub(crate) fn offset(text: &str) -> Result<Option<i64>, Fault> {
    let wrong = || Fault::value(text, "a number with one of the units h, m, s, ms, us, ns");
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(|| {
        let seconds = text.parse::<i64>().ok().and_then(|number| number.checked_mul(SECOND));
        let meant = seconds.map(|_| format!("{text}s"));
        wrong().meaning(meant)
    })?;
    let (number, unit) = text.split_at(unit_at);
    let (_, factor) = TIME_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
    let number: i64 = number.trim_end().parse().map_err(|_| wrong())?;
    let nanoseconds = number.checked_mul(*factor).ok_or_else(wrong)?;
    Ok((nanoseconds != 0).then_some(nanoseconds))
}

/// Shows an offset as LXC does: in seconds where it is whole ones, else in nanoseconds.
pub(crate) fn show_offset(offset: Option<i64>, blank: &str) -> String {
    match offset {
        Some(offset) if offset % SECOND == 0 => format!("{}{blank}s\n", offset / SECOND),
        offset => format!("{}{blank}ns\n", offset.unwrap_or(0)),
    }
}

/// Reads a whole number of any type.
pub(crate) fn number<N: std::str::FromStr>(text: &str, expected: &'static str) -> Result<N, Fault> {
    text.parse().map_err(|_| {
        let fits = |number: &String| number != text && number.parse::<N>().is_ok();
        Fault::value(text, expected).meaning(spelled_out(text).filter(fits))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switches_are_zero_or_one_and_words_are_explained() {
        assert_eq!((switch("0"), switch("1")), (Ok(false), Ok(true)));
        assert_eq!(switch("yes").unwrap_err().suggestion().unwrap(), "write 1");
        for bad in ["2", "", "01", "-1"] {
            assert!(switch(bad).is_err());
        }
    }

    #[test]
    fn sizes_are_read_with_every_unit() {
        for (text, bytes) in
            [("7", 7), ("64KB", 65536), ("2M", 2 << 20), ("1GB", 1 << 30), ("1 MiB", 1 << 20)]
        {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for bad in ["", "M", "-1", "1T", "99999999999GB", "é"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_that_the_kernel_refuses_are_put_right_and_others_left() {
        for (text, meant) in [("512MB", "512M"), ("1 GiB", "1G"), ("64 k", "64K"), ("7b", "7")] {
            assert_eq!(for_the_kernel(text).as_deref(), Some(meant), "{text}");
        }
        for fine in ["512M", "512m", "1G", "1048576", "max", "", "50000 100000", "c 1:3 rwm", "1MBs"] {
            assert_eq!(for_the_kernel(fine), None, "{fine}");
        }
    }

    #[test]
    fn buffers_are_powers_of_two_of_at_least_a_page() {
        for (text, bytes) in [("auto", 131072), ("100kB", 131072), ("10", 4096), ("2MB", 2097152), ("0", 0)] {
            assert_eq!(buffer_size(text), Ok(bytes), "{text}");
        }
        assert!(buffer_size("18446744073709551615").is_err());
    }

    #[test]
    fn offsets_need_a_unit_and_may_be_negative() {
        for (text, nanoseconds) in [("10s", 10 * SECOND), ("5ms", 5_000_000), ("-3h", -3 * 3600 * SECOND)] {
            assert_eq!(offset(text), Ok(Some(nanoseconds)), "{text}");
            assert_eq!(offset(show_offset(Some(nanoseconds), " ").trim_end()), Ok(Some(nanoseconds)));
        }
        assert_eq!(offset("0 ns"), Ok(None));
        assert_eq!(offset("5").unwrap_err().suggestion().unwrap(), "write 5s");
        for bad in ["", "s", "5d", "9999999999999999h", "1.5s"] {
            assert!(offset(bad).is_err(), "{bad}");
        }
    }
}
