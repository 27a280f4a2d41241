//! What a sweep came to: what fired, what was left out and why, and what did not hold.

use std::fmt;

/// How much of what was tried must have fired: a sweep that mostly misses proves nothing.
const FIRED: f64 = 0.8;

/// One thing that went wrong in a sweep.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What was injected where.
    pub point: String,
    /// What did not hold.
    pub what: String,
    /// The command that does it again.
    pub again: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failed   {}\n  {}\n  again: {}", self.point, self.what, self.again)
    }
}

/// What a sweep came to.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// How many points there are.
    pub points: usize,
    /// How many of them were left out, since others are the same place in the same program.
    pub coalesced: usize,
    /// How many things went wrong on purpose: what was seen to fire.
    pub injections: usize,
    /// How many points were aimed at and not reached: the process made fewer calls this time, or others.
    pub missed: usize,
    /// How many commands did not succeed where something fired.
    pub felt: usize,
    /// The place of the first point that there was no time for, in the list without those that were coalesced.
    pub cut: Option<usize>,
    /// What did not hold.
    pub failures: Vec<Failure>,
}

impl Tally {
    /// Adds what another sweep came to. Where it was cut is told with each alone.
    pub fn add(&mut self, other: Self) {
        self.points += other.points;
        self.coalesced += other.coalesced;
        self.injections += other.injections;
        self.missed += other.missed;
        self.felt += other.felt;
        self.failures.extend(other.failures);
    }

    /// Counts a point that was tried, by whether it fired and whether the command succeeded all the same.
    pub(super) fn count(&mut self, fired: bool, felt: bool) {
        self.injections += usize::from(fired);
        self.missed += usize::from(!fired);
        self.felt += usize::from(fired && felt);
    }

    /// Tells whether most of what was tried fired.
    pub fn has_fired(&self) -> bool {
        let tried = self.injections + self.missed;
        tried > 0 && self.injections as f64 >= FIRED * tried as f64
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { points, coalesced, injections, missed, felt, cut, failures } = self;
        let failures = failures.len();
        write!(f, "{injections} injections, {failures} failures ({felt} commands did not succeed; ")?;
        write!(f, "of {points} points {coalesced} coalesced, {missed} not reached)")?;
        cut.map_or(Ok(()), |place| write!(f, ", cut: --from {place} goes on"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(injections: usize, missed: usize) -> Tally {
        Tally { injections, missed, ..Tally::default() }
    }

    #[test]
    fn a_point_that_is_not_reached_is_no_injection() {
        let mut tally = Tally::default();
        [(true, true), (true, false), (false, true)]
            .into_iter()
            .for_each(|(fired, felt)| tally.count(fired, felt));
        assert_eq!((tally.injections, tally.missed, tally.felt), (2, 1, 1));
    }

    #[test]
    fn what_did_not_fire_proves_nothing() {
        assert!(tried(8, 2).has_fired());
        assert!(!tried(7, 3).has_fired());
        assert!(!tried(0, 0).has_fired());
    }

    #[test]
    fn a_count_says_what_was_left_out() {
        let tally = Tally { points: 9, coalesced: 2, felt: 3, cut: Some(5), ..tried(4, 1) };
        let said = "4 injections, 0 failures (3 commands did not succeed; of 9 points 2 coalesced, 1 not reached), \
                    cut: --from 5 goes on";
        assert_eq!(tally.to_string(), said);
    }
}
