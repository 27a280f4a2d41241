//! Decimal numbers with one spelling each.

/// Returns the number that `digits` spells, when they are plain decimal digits without a leading zero and fit
/// in 64 bits.
///
/// Signs, spaces, `0x10`, `010` and overflow are no numbers. Another program may read `010` as 8 and `-1` or
/// 2^64 as something that wraps (CVE-2016-6252 in newuidmap); a text with two readings must not decide about
/// ids.
pub fn parse(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || (digits[0] == b'0' && digits.len() > 1) {
        return None;
    }
    digits.iter().try_fold(0u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn plain_decimals_are_numbers_up_to_the_last_of_64_bits() {
        for number in [0, 1, 9, 10, 65_536, u64::from(u32::MAX), 1 << 32, u64::MAX] {
            assert_eq!(parse(number.to_string().as_bytes()), Some(number));
        }
    }

    #[test]
    fn every_other_spelling_is_refused() {
        for text in [
            "",
            "00",
            "010",
            "0x10",
            "+1",
            "-1",
            " 1",
            "1 ",
            "1\n",
            "1_0",
            "1e3",
            "18446744073709551616",
            "\u{661}",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text:?}");
        }
    }
}
