//! The grammar of one line.

use crate::Fault;

/// What a line of a configuration file is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    /// A comment, a blank line, or one that does not start with `lxc.`.
    Ignored,
    /// A line that LXC ignores since its key is not in lower case.
    WrongCase { key: String },
    /// A line that LXC ignores since a byte order mark stands before its key.
    Marked,
    /// A key and its value.
    Setting(Setting<'a>),
    /// A line that starts with `lxc.` and is none of these.
    Broken(Fault),
}

/// A key, its value without quotes, and where in the line they start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Setting<'a> {
    pub(crate) key: &'a str,
    pub(crate) value: &'a str,
    pub(crate) key_at: usize,
    pub(crate) value_at: usize,
}

/// A byte order mark, as editors of other systems put it at the start of a file.
const MARK: &[u8] = b"\xef\xbb\xbf";
const BLANKS: [char; 3] = [' ', '\t', '\r'];

/// Reads a line without its line break.
///
/// Only lines with a key have to be text: comments in another encoding do no harm.
pub(crate) fn read(bytes: &[u8]) -> Line<'_> {
    let start = bytes.iter().position(|byte| !matches!(byte, b' ' | b'\t')).unwrap_or(bytes.len());
    let head = bytes.get(start..start + 4).unwrap_or_default();
    if !head.eq_ignore_ascii_case(b"lxc.") {
        return if is_marked(bytes) { Line::Marked } else { Line::Ignored };
    }
    let Some(text) = std::str::from_utf8(bytes).ok().filter(|text| !text.contains('\0')) else {
        return if head == b"lxc." { Line::Broken(Fault::NotText) } else { Line::Ignored };
    };
    let split = text.split_once('=');
    if head != b"lxc." {
        return split
            .map_or(Line::Ignored, |(key, _)| Line::WrongCase { key: key.trim().to_ascii_lowercase() });
    }
    let Some((key, value)) = split else { return Line::Broken(Fault::NoEquals) };
    let value_at = key.len() + 1 + (value.len() - value.trim_start_matches(BLANKS).len());
    Line::Setting(Setting {
        key: key.trim_matches(BLANKS),
        value: unquoted(value.trim_matches(BLANKS)),
        key_at: start,
        value_at,
    })
}

/// Tells whether a key would stand in a line, were there no byte order marks before it.
fn is_marked(mut bytes: &[u8]) -> bool {
    let mut marked = false;
    loop {
        bytes = bytes.trim_ascii_start();
        match bytes.strip_prefix(MARK) {
            Some(rest) => (bytes, marked) = (rest, true),
            None => return marked && bytes.starts_with(b"lxc."),
        }
    }
}

/// Returns the keys and values in a text, without their quotes. For a text of which only some keys are taken; it is not loaded.
pub fn lines(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split('\n').filter_map(|line| match read(line.as_bytes()) {
        Line::Setting(setting) => Some((setting.key, setting.value)),
        _ => None,
    })
}

/// Takes a pair of quotes off. Nothing inside them is special.
fn unquoted(value: &str) -> &str {
    let inner = |quote: char| value.strip_prefix(quote)?.strip_suffix(quote);
    inner('"').or_else(|| inner('\'')).unwrap_or(value)
}

/// Writes a line that reads back as this key and value.
///
/// # Errors
/// A value with a line break or a NUL, which no line can hold.
pub(crate) fn write(key: &str, value: &str) -> Result<String, Fault> {
    if value.contains(['\n', '\0']) {
        return Err(Fault::Unwritable);
    }
    Ok(setting(key, value))
}

/// Returns the line of a key and a value without line breaks; the value is quoted where it would not read back else.
pub(crate) fn setting(key: &str, value: &str) -> String {
    let plain = unquoted(value.trim_matches(BLANKS)) == value;
    if plain { format!("{key} = {value}") } else { format!("{key} = \"{value}\"") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(line: &str) -> (&str, &str) {
        match read(line.as_bytes()) {
            Line::Setting(setting) => (setting.key, setting.value),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn key_and_value_are_split_at_the_first_equals_sign_and_trimmed() {
        assert_eq!(parts("lxc.a = b"), ("lxc.a", "b"));
        assert_eq!(parts(" \tlxc.a=b=c \t"), ("lxc.a", "b=c"));
        assert_eq!(parts("lxc.a = b\r"), ("lxc.a", "b"));
        assert_eq!(parts("lxc.a ="), ("lxc.a", ""));
        assert_eq!(parts("lxc.a = x # no comment \\"), ("lxc.a", "x # no comment \\"));
    }

    #[test]
    fn one_pair_of_matching_quotes_is_taken_off() {
        for (value, read) in [
            ("\"x y\"", "x y"),
            ("'x y'", "x y"),
            ("\"x'", "\"x'"),
            ("A=\"x y\"", "A=\"x y\""),
            ("\"B=x y\"", "B=x y"),
            ("\"\"", ""),
            ("\"", "\""),
            ("\" x \"", " x "),
            ("\"a\\\"b\"", "a\\\"b"),
        ] {
            assert_eq!(parts(&format!("lxc.a = {value}")).1, read);
        }
    }

    #[test]
    fn lines_without_a_key_are_ignored() {
        for line in ["", "   ", "# lxc.a = b", "  #x", "foo = bar", "lxc", "\u{feff}", "\u{feff}# lxc.a = b"]
        {
            assert_eq!(read(line.as_bytes()), Line::Ignored, "{line}");
        }
        assert_eq!(read(b"# caf\xe9"), Line::Ignored);
        for line in ["\u{feff}lxc.a = b", " \u{feff} lxc.a = b", "\u{feff}\u{feff}lxc.a = b"] {
            assert_eq!(read(line.as_bytes()), Line::Marked, "{line}");
        }
        assert_eq!(read(b"LXC.UTS.NAME = a"), Line::WrongCase { key: "lxc.uts.name".into() });
    }

    #[test]
    fn broken_lines_are_told_apart() {
        assert_eq!(read(b"lxc.a"), Line::Broken(Fault::NoEquals));
        assert_eq!(read(b"lxc.a = \xff"), Line::Broken(Fault::NotText));
        assert_eq!(read(b"lxc.a = \0"), Line::Broken(Fault::NotText));
    }

    #[test]
    fn what_is_written_reads_back() {
        for value in ["", "a", " a ", "\"a\"", "'a'", "\"", "a b", "a\r", "\"a", "''", " ", "a=b # c"] {
            let line = write("lxc.a", value).unwrap();
            assert_eq!(parts(&line), ("lxc.a", value), "{line}");
        }
        assert_eq!(write("lxc.a", "a\nlxc.b = c"), Err(Fault::Unwritable));
    }
}
