//! Lists of processors, as `cpuset.cpus` and /sys/devices/system/cpu write them: `0-3,7`.

use std::fmt;

/// The most ranges that a list may have: the kernel has at most 8192 processors, every other one of which could be in it.
const RANGES: usize = 4096;

/// A set of processors, in order and without overlaps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuList(Vec<(u32, u32)>);

impl CpuList {
    /// Reads a list. Returns none for text that is none, and for an empty one, which in a cpuset means "not said".
    pub fn parse(text: &str) -> Option<Self> {
        let range = |word: &str| {
            let (first, last) = word.split_once('-').unwrap_or((word, word));
            let (first, last) = (first.parse::<u32>().ok()?, last.parse::<u32>().ok()?);
            (first <= last).then_some((first, last))
        };
        let ranges = text.trim().split(',').take(RANGES + 1).map(range).collect::<Option<Vec<_>>>()?;
        (ranges.len() <= RANGES).then(|| Self::of(ranges))
    }

    fn of(mut ranges: Vec<(u32, u32)>) -> Self {
        ranges.sort_unstable();
        let mut joined: Vec<(u32, u32)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match joined.last_mut() {
                Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
                _ => joined.push((first, last)),
            }
        }
        Self(joined)
    }

    /// Tells whether a processor is in the list.
    pub fn contains(&self, cpu: u32) -> bool {
        let after = self.0.partition_point(|(first, _)| *first <= cpu);
        after > 0 && self.0[after - 1].1 >= cpu
    }

    /// Returns how many there are.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|(first, last)| u64::from(last - first) + 1).sum()
    }

    /// Returns all of them, in order.
    pub fn numbers(&self) -> impl Iterator<Item = u32> {
        self.0.iter().flat_map(|(first, last)| *first..=*last)
    }

    /// Returns the first so many of them.
    #[must_use]
    pub fn first(&self, most: u64) -> Self {
        let mut left = most;
        let cut = |(first, last): &(u32, u32)| {
            let taken = left.min(u64::from(last - first) + 1);
            left -= taken;
            (taken > 0).then(|| (*first, first + (taken - 1) as u32))
        };
        Self(self.0.iter().map_while(cut).collect())
    }

    /// Returns those that are in both lists.
    pub fn and(&self, other: &Self) -> Self {
        let common = |(first, last): &(u32, u32)| {
            let (first, last) = (*first, *last);
            let cut = move |(start, end): &(u32, u32)| {
                let (start, end) = (first.max(*start), last.min(*end));
                (start <= end).then_some((start, end))
            };
            other.0.iter().filter_map(cut).collect::<Vec<_>>()
        };
        Self(self.0.iter().flat_map(common).collect())
    }
}

impl fmt::Display for CpuList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (first, last)) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            match first == last {
                true => write!(f, "{comma}{first}")?,
                false => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> CpuList {
        CpuList::parse(text).unwrap()
    }

    #[test]
    fn a_list_is_read_and_written_as_the_kernel_does() {
        for (text, written, count) in [("0\n", "0", 1), ("0-3,7", "0-3,7", 5), ("3,1-2,2-4", "1-4", 4)] {
            assert_eq!((list(text).to_string().as_str(), list(text).count()), (written, count), "{text}");
        }
        for broken in ["", "\n", "a", "1-", "-1", "3-1", "1,,2", "4294967296"] {
            assert_eq!(CpuList::parse(broken), None, "{broken:?}");
        }
    }

    #[test]
    fn what_is_in_a_list_is_known_and_what_is_in_two() {
        let odd = list("1,3,5-7,4294967295");
        let found: Vec<u32> = (0..10).filter(|cpu| odd.contains(*cpu)).collect();
        assert_eq!(found, [1, 3, 5, 6, 7]);
        assert!(odd.contains(u32::MAX));
        assert_eq!(odd.and(&list("2-6")).to_string(), "3,5-6");
        assert_eq!(odd.and(&list("0,2")), CpuList::default());
        assert_eq!(
            [0, 1, 4, 99].map(|most| odd.first(most).to_string()),
            ["", "1", "1,3,5-6", &odd.to_string()]
        );
        assert_eq!(list("0-1,4").numbers().collect::<Vec<_>>(), [0, 1, 4]);
    }
}
