//! The points of a sweep: every system call that was recorded, with what is injected there, less those that repeat others.

use std::collections::HashMap;

use super::Wanted;
use super::errors::{self, Call};
use super::tracer::{Aim, Injection, Trace};

/// How many of the points at the same place are tried at the beginning and at the end of them, and every how manieth
/// between: a loop over files differs most at its ends.
const ENDS: usize = 3;
const BETWEEN: usize = 8;

/// A point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Point {
    pub(super) aim: Aim,
    /// What was called there when it was recorded.
    pub(super) call: Call,
    /// The place in the program, where it is known.
    place: Option<u64>,
}

impl Point {
    /// Returns the name of the system call.
    pub(super) fn name(&self) -> String {
        let known = usize::try_from(self.call.number).ok().and_then(syscalls::Sysno::new);
        known.map_or_else(|| format!("number {}", self.call.number), |known| known.name().to_owned())
    }
}

/// Returns the points that are wanted, and how many more were coalesced.
pub(super) fn points(recorded: &Trace, wanted: &Wanted) -> (Vec<Point>, usize) {
    let all = all(recorded, wanted);
    // A point that is named is tried.
    if wanted.every_one || wanted.at.is_some() {
        return (all, 0);
    }
    let count = all.len();
    let chosen = coalesced(all);
    let left_out = count - chosen.len();
    (chosen, left_out)
}

fn all(recorded: &Trace, wanted: &Wanted) -> Vec<Point> {
    let mut points = Vec::new();
    for (process, calls) in &recorded.calls {
        for (at, seen) in (1..).zip(calls) {
            let kills = wanted.kill.then_some(Injection::Kill);
            let errors = errors::possible(seen.call).map(Injection::Fail).filter(|_| wanted.errors);
            let point = |injection| {
                let aim = Aim { process: process.clone(), at, number: seen.call.number, injection };
                Point { aim, call: seen.call, place: seen.place }
            };
            points.extend(kills.into_iter().chain(errors).map(point));
        }
    }
    points.retain(|Point { aim, .. }| {
        wanted.process.as_ref().is_none_or(|process| aim.process == *process)
            && wanted.at.is_none_or(|at| aim.at == at)
            && wanted.inject.is_none_or(|inject| aim.injection == inject)
    });
    points
}

/// Leaves out most of the points that are the same: the same injection at the same call of the same process, made from the
/// same instruction by the same chain of callers.
fn coalesced(points: Vec<Point>) -> Vec<Point> {
    let key = |point: &Point| {
        Some((point.aim.process.clone(), point.aim.injection.to_string(), point.call, point.place?))
    };
    let mut count: HashMap<_, usize> = HashMap::new();
    points.iter().filter_map(key).for_each(|key| *count.entry(key).or_default() += 1);
    let mut seen: HashMap<_, usize> = HashMap::new();
    let is_tried = |point: &Point| {
        let Some(key) = key(point) else { return true };
        let count = count.get(&key).copied().unwrap_or_default();
        let seen = seen.entry(key).or_default();
        *seen += 1;
        *seen <= ENDS || *seen + ENDS > count || *seen % BETWEEN == 0
    };
    points.into_iter().filter(is_tried).collect()
}

#[cfg(test)]
mod tests {
    use super::super::errors::On;
    use super::*;

    fn in_a_loop(count: u32, place: impl Fn(u32) -> Option<u64>) -> Vec<Point> {
        let call = Call { number: libc::SYS_unlinkat, on: On::Other };
        let (number, injection) = (call.number, Injection::Kill);
        let aim = |at| Aim { process: "cli".to_owned(), at, number, injection };
        (1..=count).map(|at| Point { aim: aim(at), call, place: place(at) }).collect()
    }

    fn tried(points: Vec<Point>) -> Vec<u32> {
        coalesced(points).iter().map(|point| point.aim.at).collect()
    }

    #[test]
    fn of_a_loop_both_ends_and_some_between_are_tried() {
        assert_eq!(tried(in_a_loop(20, |_| Some(7))), [1, 2, 3, 8, 16, 18, 19, 20]);
        assert_eq!(tried(in_a_loop(6, |_| Some(7))), [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn other_callers_and_unknown_ones_are_all_tried() {
        assert_eq!(tried(in_a_loop(20, |at| Some(at.into()))).len(), 20);
        assert_eq!(tried(in_a_loop(20, |_| None)).len(), 20);
    }
}
