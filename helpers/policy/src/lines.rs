//! What the policy files have in common: one grant a line, and lines that grant nothing.

use std::fmt;

/// The largest file that is read, in bytes. A longer one is no policy that somebody wrote.
pub const FILE_CAP: usize = 1_048_576;

/// The longest line that can grant, in bytes.
pub(crate) const LINE_CAP: usize = 4096;

/// A line that grants nothing because it cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadLine<R> {
    /// The number of the line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: R,
}

/// Returns each line that is neither blank nor a comment, with its number. A carriage return at its end is no
/// part of it.
pub(crate) fn lines(text: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    text.split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .zip(1..)
        .filter(|(line, _)| !matches!(line.trim_ascii_start().first(), None | Some(b'#')))
        .map(|(line, number)| (number, line))
}

/// Returns what is wrong with each line that `parse` cannot read.
pub(crate) fn bad<'a, T, R>(
    text: &'a [u8],
    parse: impl Fn(&'a [u8]) -> Result<T, R>,
) -> impl Iterator<Item = BadLine<R>> {
    lines(text).filter_map(move |(line, content)| parse(content).err().map(|reason| BadLine { line, reason }))
}

impl<R: fmt::Display> fmt::Display for BadLine<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_line_is_told_with_its_number() {
        assert_eq!(BadLine { line: 7, reason: "odd" }.to_string(), "line 7: odd");
    }

    #[test]
    fn blank_lines_and_comments_are_passed_over_and_counted() {
        let all: Vec<_> = lines(b"a\r\n\n # x\n\t\n#\nb #c").collect();
        assert_eq!(all, [(1, &b"a"[..]), (6, b"b #c")]);
    }
}
