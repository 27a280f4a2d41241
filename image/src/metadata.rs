//! `metadata.yaml`, which the images of Incus and LXD have beside their root file system.
//!
//! It is an image's own text about itself. What Bryo takes of it is a list of plain values, to be shown; nothing of it becomes
//! configuration, and its templates, which are files to be written with the host's rights, are not looked at. So this
//! reads lines, not YAML: what is not one plain value on a line of its own is not there.

use std::collections::BTreeMap;

/// The longest that is read.
pub const MAX_METADATA: usize = 1 << 20;
/// The longest value.
const MAX_VALUE: usize = 256;

/// What is taken; those below `properties:` with a `.` before them.
const TAKEN: [&str; 9] = [
    "architecture",
    "creation_date",
    "expiry_date",
    ".description",
    ".name",
    ".os",
    ".release",
    ".serial",
    ".variant",
];

/// Why a text is no metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum BadMetadata {
    #[error("metadata.yaml is longer than {MAX_METADATA} bytes")]
    TooLong,
    #[error("metadata.yaml is no UTF-8 text")]
    NoText,
    #[error("metadata.yaml says {0} twice")]
    Twice(&'static str),
}

/// Returns the values that an image may say of itself, by their names without the dot.
///
/// # Errors
/// It is no such text, or says one thing twice, which two readers could understand in two ways.
pub fn metadata(bytes: &[u8]) -> Result<BTreeMap<&'static str, String>, BadMetadata> {
    if bytes.len() > MAX_METADATA {
        return Err(BadMetadata::TooLong);
    }
    let text = str::from_utf8(bytes).map_err(|_| BadMetadata::NoText)?;
    let mut taken = BTreeMap::new();
    let mut below_properties = None;
    for (indent, key, value) in text.lines().filter_map(pair) {
        let name = match (indent, below_properties) {
            (0, _) => {
                below_properties = (key == "properties" && value.is_empty()).then_some(None);
                key.to_owned()
            }
            (_, Some(None)) => {
                below_properties = Some(Some(indent));
                format!(".{key}")
            }
            (_, Some(Some(depth))) if depth == indent => format!(".{key}"),
            _ => continue,
        };
        let Some(name) = TAKEN.iter().find(|taken| **taken == name) else { continue };
        let Some(value) = plain(value) else { continue };
        if taken.insert(name.trim_start_matches('.'), value).is_some() {
            return Err(BadMetadata::Twice(name));
        }
    }
    Ok(taken)
}

/// `  key: value`, with its indent.
fn pair(line: &str) -> Option<(usize, &str, &str)> {
    let inner = line.trim_start_matches(' ');
    let (key, value) = inner.split_once(':')?;
    let separate = value.is_empty() || value.starts_with(' ');
    (separate && !key.starts_with(['#', '-'])).then(|| (line.len() - inner.len(), key, value.trim()))
}

/// Returns a value that stands for itself: anchors, tags, collections and blocks of text do not, nor escapes in quotes.
fn plain(value: &str) -> Option<String> {
    let quoted = |quote: char| value.strip_prefix(quote)?.strip_suffix(quote);
    let value = match value.chars().next()? {
        '&' | '*' | '!' | '|' | '>' | '{' | '[' | '%' | '@' | '`' => return None,
        quote @ ('"' | '\'') => quoted(quote).filter(|inner| !inner.contains(['\\', quote]))?,
        _ => value.split(" #").next().unwrap_or_default().trim_end(),
    };
    (value.len() <= MAX_VALUE && value.chars().all(types::is_shown)).then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "\
architecture: x86_64
creation_date: 1764046800
expiry_date: 1766638800
properties:
    architecture: amd64
    description: Debian trixie amd64 (20261125_05:24)
    name: 'debian-trixie'
    os: Debian # the distribution
    release: \"trixie\"
    serial: 20261125_05:24
    nested:
        variant: not this one
templates:
    /etc/hostname:
        when: [create]
        template: hostname.tpl
    os: no property
";

    #[test]
    fn what_an_image_says_of_itself_is_taken_and_nothing_else() {
        let read = metadata(TEXT.as_bytes()).unwrap();
        let read: Vec<_> = read.iter().map(|(key, value)| (*key, value.as_str())).collect();
        assert_eq!(
            read,
            [
                ("architecture", "x86_64"),
                ("creation_date", "1764046800"),
                ("description", "Debian trixie amd64 (20261125_05:24)"),
                ("expiry_date", "1766638800"),
                ("name", "debian-trixie"),
                ("os", "Debian"),
                ("release", "trixie"),
                ("serial", "20261125_05:24"),
            ]
        );
    }

    #[test]
    fn what_yaml_could_make_something_else_of_is_not_taken() {
        for value in [
            "*other",
            "&a b",
            "!!python/object x",
            "|",
            ">-",
            "{a: b}",
            "[a]",
            "\"a\\nb\"",
            "'a''b'",
            "\"a",
            "",
        ] {
            assert_eq!(metadata(format!("architecture: {value}").as_bytes()), Ok(BTreeMap::new()), "{value}");
        }
        let long = "x".repeat(MAX_VALUE + 1);
        for value in [long.as_str(), "a\u{1b}[2Jb", "a\u{202e}b"] {
            assert_eq!(
                metadata(format!("architecture: {value}").as_bytes()),
                Ok(BTreeMap::new()),
                "{value:?}"
            );
        }
        assert_eq!(metadata(b"architecture: a\narchitecture: b\n"), Err(BadMetadata::Twice("architecture")));
        assert_eq!(metadata(&[0xff]), Err(BadMetadata::NoText));
        assert_eq!(metadata(&vec![b' '; MAX_METADATA + 1]), Err(BadMetadata::TooLong));
    }

    proptest! {
        #[test]
        fn whatever_it_says_a_value_is_one_line_of_plain_text(
            pieces in prop::collection::vec(prop_oneof![
                Just("architecture".to_owned()), Just("properties:\n".to_owned()), Just(": ".to_owned()), Just("\n".to_owned()),
                Just("  os".to_owned()), Just("\"".to_owned()), Just("\u{1b}[2J".to_owned()), Just("\r".to_owned()),
                any::<String>(),
            ], 0..12),
        ) {
            for value in metadata(pieces.concat().as_bytes()).into_iter().flat_map(BTreeMap::into_values) {
                prop_assert!(value.chars().all(types::is_shown) && value.len() <= MAX_VALUE, "{value:?}");
            }
        }
    }
}
