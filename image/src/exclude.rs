//! What an image leaves out of its own archive for ordinary users, as LXC's templates have tar do it: `--anchored --exclude`.

use std::os::unix::ffi::OsStrExt;

use crate::entry_path::EntryPath;

/// How many patterns there may be, and how many bytes they may have together: an image has a few dozen, and each is compared with the
/// path of each entry.
pub(crate) const MOST: usize = 200;
const MOST_BYTES: usize = 8 << 10;

/// Patterns of paths; who matches one is left out with all that is below.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Excludes(Vec<Vec<u8>>);

/// Why patterns are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {MOST} patterns, or {MOST_BYTES} bytes of them, of what an archive leaves out")]
pub struct TooManyExcludes;

impl Excludes {
    /// Reads patterns, as tar does: `*` and `?` stand for slashes too.
    ///
    /// # Errors
    /// There are too many.
    pub fn new(patterns: impl IntoIterator<Item = Vec<u8>>) -> Result<Self, TooManyExcludes> {
        let plain = |pattern: Vec<u8>| {
            let inner = pattern.strip_prefix(b"./").unwrap_or(&pattern);
            inner.strip_suffix(b"/").unwrap_or(inner).to_vec()
        };
        let all: Vec<Vec<u8>> =
            patterns.into_iter().map(plain).filter(|pattern| !pattern.is_empty()).take(MOST + 1).collect();
        match all.len() > MOST || all.iter().map(Vec::len).sum::<usize>() > MOST_BYTES {
            true => Err(TooManyExcludes),
            false => Ok(Self(all)),
        }
    }

    pub(crate) fn leave_out(&self, path: &EntryPath) -> bool {
        let path = path.as_path().as_os_str().as_bytes();
        !path.is_empty() && self.0.iter().any(|pattern| matches_start(pattern, path))
    }
}

/// Matches a path, or a directory on its way. The path is gone through once, with the places of the pattern that may come next.
fn matches_start(pattern: &[u8], path: &[u8]) -> bool {
    let mut at = vec![false; pattern.len() + 1];
    at[0] = true;
    let pass_stars = |at: &mut [bool]| {
        for (place, byte) in pattern.iter().enumerate() {
            at[place + 1] |= at[place] && *byte == b'*';
        }
    };
    pass_stars(&mut at);
    let mut next = vec![false; pattern.len() + 1];
    for byte in path {
        if *byte == b'/' && at[pattern.len()] {
            return true;
        }
        next.fill(false);
        for (place, wanted) in pattern.iter().enumerate().filter(|(place, _)| at[*place]) {
            match wanted {
                // A star stays where it is.
                b'*' => next[place] = true,
                wanted => next[place + 1] |= *wanted == b'?' || wanted == byte,
            }
        }
        std::mem::swap(&mut at, &mut next);
        pass_stars(&mut at);
        if !at.contains(&true) {
            return false;
        }
    }
    at[pattern.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_those_of_tar() {
        let leaves_out = |pattern: &str, path: &str| {
            let path = EntryPath::parse(path.as_bytes()).unwrap();
            Excludes::new([pattern.as_bytes().to_vec()]).unwrap().leave_out(&path)
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
            ("a*c", "abc/d"),
            ("a*c", "ab/x*c/d"),
            ("a?c", "a/c"),
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
        assert!(!Excludes::new([b"*".to_vec()]).unwrap().leave_out(&root), "the root stays");
    }

    #[test]
    fn patterns_are_few_and_none_takes_long() {
        let begun = std::time::Instant::now();
        let path = "aaa/".repeat(250);
        let path = EntryPath::parse(path.trim_end_matches('/').as_bytes()).unwrap();
        let worst = |count: usize, length: usize| {
            let pattern = [b"*a".repeat(length / 2), b"b".to_vec()].concat();
            Excludes::new(vec![pattern; count])
        };
        assert!(!worst(1, 8000).unwrap().leave_out(&path));
        assert!(!worst(MOST, 36).unwrap().leave_out(&path));
        assert!(begun.elapsed().as_secs() < 30, "{:?}", begun.elapsed());
        assert_eq!(worst(MOST + 1, 2), Err(TooManyExcludes));
        assert_eq!(worst(2, 8000), Err(TooManyExcludes));
    }
}
