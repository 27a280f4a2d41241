//! What an image leaves out of its own archive for ordinary users, as LXC's templates have tar do it: `--anchored --exclude`.

use std::os::unix::ffi::OsStrExt;

use crate::entry_path::EntryPath;

/// Patterns of paths; who matches one is left out with all that is below.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Excludes(Vec<Vec<u8>>);

impl Excludes {
    /// Reads patterns, as tar does: `*` and `?` stand for slashes too.
    pub fn new(patterns: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let plain = |pattern: Vec<u8>| {
            let inner = pattern.strip_prefix(b"./").unwrap_or(&pattern);
            inner.strip_suffix(b"/").unwrap_or(inner).to_vec()
        };
        Self(patterns.into_iter().map(plain).filter(|pattern| !pattern.is_empty()).collect())
    }

    pub(crate) fn leave_out(&self, path: &EntryPath) -> bool {
        let path = path.as_path().as_os_str().as_bytes();
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        let ends: Vec<usize> = ends.chain([path.len()]).collect();
        !path.is_empty()
            && self.0.iter().any(|pattern| ends.iter().any(|end| matches(pattern, &path[..*end])))
    }
}

/// Matches a whole text, in at most as many steps as both are long multiplied: a later `*` never has an earlier one tried again.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut read) = (0, 0);
    // Where the last `*` stands, and how much of the text it has taken.
    let mut star: Option<(usize, usize)> = None;
    while read < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, read));
                at += 1;
            }
            Some(&wanted) if wanted == b'?' || wanted == text[read] => (at, read) = (at + 1, read + 1),
            _ => match star {
                Some((place, taken)) => {
                    star = Some((place, taken + 1));
                    (at, read) = (place + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_those_of_tar() {
        let leaves_out = |pattern: &str, path: &str| {
            let path = EntryPath::parse(path.as_bytes()).unwrap();
            Excludes::new([pattern.as_bytes().to_vec()]).leave_out(&path)
        };
        for (pattern, path) in [
            ("dev/null", "dev/null"),
            ("./dev/null", "./dev/null"),
            ("dev", "dev/pts/ptmx"),
            ("dev/", "dev"),
            ("dev/*", "dev/pts/ptmx"),
            ("*/null", "a/b/null"),
            ("dev/tty?", "dev/tty1"),
            ("*", "x"),
            ("*a*b", "aab/c"),
        ] {
            assert!(leaves_out(pattern, path), "{pattern} {path}");
        }
        for (pattern, path) in [
            ("null", "dev/null"),
            ("dev/*", "dev"),
            ("dev/nul", "dev/null"),
            ("dev/tty?", "dev/tty"),
            ("", "dev"),
            ("./", "dev"),
        ] {
            assert!(!leaves_out(pattern, path), "{pattern} {path}");
        }
        let root = EntryPath::parse(b"./").unwrap();
        assert!(!Excludes::new([b"*".to_vec()]).leave_out(&root), "the root stays");
    }

    #[test]
    fn no_pattern_takes_long() {
        let long = vec![b'a'; 4000];
        let pattern = b"*a".repeat(2000);
        assert!(matches(&pattern, &long));
        assert!(!matches(&[&pattern[..], b"b"].concat(), &long));
    }
}
