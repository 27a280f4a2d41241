//! User and group ids, told apart by the side of a user namespace on which they count.

use std::fmt;

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
        pub struct $name(pub u32);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id_type!(
    /// A user id as the host (more exactly: the calling process's user namespace) counts it.
    HostUid
);
id_type!(
    /// A group id as the host counts it.
    HostGid
);
id_type!(
    /// A user id as the container counts it.
    NsUid
);
id_type!(
    /// A group id as the container counts it.
    NsGid
);

/// A run of ids on the host that `/etc/subuid` or `/etc/subgid` grants: `count` ids from `start`.
///
/// Never empty, and never reaching past the last valid id, 2^32 - 2 (2^32 - 1 is the kernel's "no id").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct IdRange {
    start: u32,
    count: u32,
}

/// Why two numbers are not a range of ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdRangeError {
    /// The count is zero.
    Empty,
    /// The range would reach past id 2^32 - 2.
    PastLastId,
}

impl IdRange {
    /// Makes the range of `count` ids from `start`.
    ///
    /// # Errors
    /// An empty range, or one that reaches past id 2^32 - 2.
    pub fn new(start: u64, count: u64) -> Result<Self, IdRangeError> {
        if count == 0 {
            return Err(IdRangeError::Empty);
        }
        match start.checked_add(count) {
            Some(end) if end <= u64::from(u32::MAX) => Ok(Self { start: start as u32, count: count as u32 }),
            _ => Err(IdRangeError::PastLastId),
        }
    }

    /// Returns the first id.
    pub fn start(self) -> u32 {
        self.start
    }

    /// Returns how many ids there are, at least 1.
    pub fn count(self) -> u32 {
        self.count
    }

    /// Returns the first id after the range.
    pub fn end(self) -> u64 {
        u64::from(self.start) + u64::from(self.count)
    }

    /// Tells whether every id of `other` is in this range.
    pub fn covers(self, other: IdRange) -> bool {
        self.start <= other.start && other.end() <= self.end()
    }

    /// Tells whether the two ranges share an id.
    pub fn overlaps(self, other: IdRange) -> bool {
        u64::from(self.start) < other.end() && u64::from(other.start) < self.end()
    }
}

impl fmt::Display for IdRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.start, self.end() - 1)
    }
}

impl fmt::Display for IdRangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the range has no ids",
            Self::PastLastId => "the range reaches past id 4294967294",
        })
    }
}

impl std::error::Error for IdRangeError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_never_wraps() {
        let edges = [0, 1, 1 << 31, u64::from(u32::MAX) - 1, u64::from(u32::MAX), 1 << 32, u64::MAX];
        for start in edges {
            for count in edges {
                let end = u128::from(start) + u128::from(count);
                let valid = count > 0 && end <= u128::from(u32::MAX);
                assert_eq!(IdRange::new(start, count).is_ok(), valid, "{start} {count}");
            }
        }
    }

    #[test]
    fn covers_and_overlaps_agree_with_counting() {
        let all: Vec<IdRange> =
            (0..5).flat_map(|s| (1..5).map(move |c| IdRange::new(s, c).unwrap())).collect();
        let ids = |r: IdRange| (u64::from(r.start())..r.end()).collect::<std::collections::BTreeSet<_>>();
        for a in &all {
            for b in &all {
                assert_eq!(a.covers(*b), ids(*b).is_subset(&ids(*a)));
                assert_eq!(a.overlaps(*b), !ids(*a).is_disjoint(&ids(*b)));
            }
        }
    }
}
