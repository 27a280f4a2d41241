//! What an image leaves out of its own archive for ordinary users, as LXC's templates have tar do it: `--anchored --exclude`.

use std::cell::Cell;
use std::os::unix::ffi::OsStrExt;

use crate::entry_path::EntryPath;
use crate::error::Problem;

/// How many patterns there may be, and how many bytes they may have together: an image has a few dozen, and each is compared with the
/// path of each entry.
pub(crate) const MOST: usize = 200;
const MOST_BYTES: usize = 8 << 10;
/// How many steps may be gone through the patterns, over all paths: a minute at most, by 3.7 ns that the dearest of them take. The ten
/// million entries that an archive may have take a fifth of it with the patterns that images have.
const MOST_STEPS: u64 = 1 << 34;
/// What it costs to begin with a pattern, and with a path.
const BEGIN: u64 = 4;
const BEGIN_PATH: u64 = 16;

/// Patterns of paths; who matches one is left out with all that is below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excludes {
    patterns: Vec<Pattern>,
    /// How many steps are left, over all paths.
    left: Cell<u64>,
}

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
            false => {
                let patterns = all.iter().map(|pattern| Pattern::read(pattern)).collect();
                Ok(Self { patterns, left: Cell::new(MOST_STEPS) })
            }
        }
    }

    /// Tells whether a path is to be left out.
    ///
    /// # Errors
    /// It and those before take more steps than the paths of any image.
    pub(crate) fn leave_out(&self, path: &EntryPath) -> Result<bool, Problem> {
        let path = path.as_path().as_os_str().as_bytes();
        if path.is_empty() || self.patterns.is_empty() {
            return Ok(false);
        }
        let (mut steps, mut at) = (BEGIN_PATH, Vec::new());
        let is_left_out =
            self.patterns.iter().any(|pattern| pattern.matches_start(path, &mut at, &mut steps));
        match self.left.get().checked_sub(steps) {
            Some(left) => self.left.set(left),
            None => {
                return Err(Problem::Refused("to look for what is left out takes longer than for any image"));
            }
        }
        Ok(is_left_out)
    }
}

impl Default for Excludes {
    fn default() -> Self {
        Self { patterns: Vec::new(), left: Cell::new(MOST_STEPS) }
    }
}

/// A pattern, as the places in it that a path may have come to: one bit each, so that a byte of a path costs a few words of bits, whatever
/// the stars. Place `i` is before the `i`th letter, the last one behind them all.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    /// Which letters a byte can be: a row of bits for each byte.
    letters: Vec<u64>,
    /// Before which places there is a star: one row.
    stars: Vec<u64>,
    /// The last place.
    end: usize,
}

impl Pattern {
    fn read(pattern: &[u8]) -> Self {
        let end = pattern.iter().filter(|byte| **byte != b'*').count();
        let row = end / 64 + 1;
        let (mut stars, mut letters) = (vec![0; row], vec![0; row * 256]);
        let mut place = 0;
        for byte in pattern {
            match byte {
                b'*' => set(&mut stars, place),
                b'?' => letters.chunks_mut(row).for_each(|row| set(row, place)),
                byte => set(&mut letters[usize::from(*byte) * row..], place),
            }
            place += usize::from(*byte != b'*');
        }
        Self { letters, stars, end }
    }

    /// Matches a path, or a directory on its way, and counts the words of bits that it goes through. `at` is room for these.
    fn matches_start(&self, path: &[u8], at: &mut Vec<u64>, steps: &mut u64) -> bool {
        let row = self.stars.len();
        at.clear();
        at.resize(row, 0);
        at[0] = 1;
        *steps += BEGIN + row as u64;
        for byte in path {
            if *byte == b'/' && self.is_at_end(at) {
                return true;
            }
            let (mut carried, mut is_alive) = (0, false);
            let letters = &self.letters[usize::from(*byte) * row..];
            for ((word, star), letter) in at.iter_mut().zip(&self.stars).zip(letters) {
                let stepped = *word & letter;
                *word = (*word & star) | (stepped << 1) | carried;
                carried = stepped >> 63;
                is_alive |= *word != 0;
            }
            *steps += row as u64;
            if !is_alive {
                return false;
            }
        }
        self.is_at_end(at)
    }

    fn is_at_end(&self, at: &[u64]) -> bool {
        (at[self.end / 64] >> (self.end % 64)) & 1 == 1
    }
}

fn set(bits: &mut [u64], bit: usize) {
    bits[bit / 64] |= 1 << (bit % 64);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a pattern means, in the plainest words.
    fn means(pattern: &[u8], path: &[u8]) -> bool {
        match (pattern.split_first(), path.split_first()) {
            (None, None | Some((b'/', _))) => true,
            (Some((b'*', rest)), _) if means(rest, path) => true,
            (Some((b'*', _)), Some((_, below))) => means(pattern, below),
            (Some((wanted, rest)), Some((byte, below))) => {
                (*wanted == b'?' || wanted == byte) && means(rest, below)
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn a_pattern_matches_what_it_means(pattern in "[ab/*?]{0,9}", path in "[ab/]{1,12}") {
            let (pattern, path) = (pattern.as_bytes(), path.as_bytes());
            prop_assert_eq!(Pattern::read(pattern).matches_start(path, &mut vec![7; 3], &mut 0), means(pattern, path));
        }

        #[test]
        fn a_pattern_of_many_words_matches_what_it_means(length in 60..70_usize, more in "[a*?]{0,3}", path in 55..75_usize) {
            let pattern = ["a".repeat(length), more].concat();
            let path = "a".repeat(path);
            let (pattern, path) = (pattern.as_bytes(), path.as_bytes());
            prop_assert_eq!(Pattern::read(pattern).matches_start(path, &mut vec![7; 3], &mut 0), means(pattern, path));
        }
    }

    #[test]
    fn patterns_match_as_those_of_tar() {
        let leaves_out = |pattern: &str, path: &str| {
            let path = EntryPath::parse(path.as_bytes()).unwrap();
            Excludes::new([pattern.as_bytes().to_vec()]).unwrap().leave_out(&path).unwrap()
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
        assert!(!Excludes::new([b"*".to_vec()]).unwrap().leave_out(&root).unwrap(), "the root stays");
    }

    #[test]
    fn patterns_are_few_and_end_whatever_the_stars() {
        let path = "aaa/".repeat(250);
        let path = EntryPath::parse(path.trim_end_matches('/').as_bytes()).unwrap();
        let worst = |count: usize, length: usize| {
            let pattern = [b"*a".repeat(length / 2), b"b".to_vec()].concat();
            Excludes::new(vec![pattern; count])
        };
        for all in [worst(1, 8000).unwrap(), worst(MOST, 36).unwrap()] {
            assert!(!all.leave_out(&path).unwrap());
            let words = MOST_BYTES / 64 + MOST;
            assert!(MOST_STEPS - all.left.get() <= (words * 1001) as u64 + BEGIN * MOST as u64 + BEGIN_PATH);
            all.left.set(1000);
            assert!(matches!(all.leave_out(&path), Err(Problem::Refused(_))));
        }
        // Patterns that end at the first byte cost something as well.
        let short = Excludes::new(vec![b"b".to_vec(); MOST]).unwrap();
        assert!(!short.leave_out(&path).unwrap());
        assert!(MOST_STEPS - short.left.get() >= BEGIN * MOST as u64);
        assert_eq!(worst(MOST + 1, 2), Err(TooManyExcludes));
        assert_eq!(worst(2, 8000), Err(TooManyExcludes));
    }
}
