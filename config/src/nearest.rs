//! Finding the word that was meant.

/// Returns the candidate nearest to `text`, if one is near enough to be what was meant.
pub(crate) fn of<S: AsRef<str>>(text: &str, candidates: impl IntoIterator<Item = S>) -> Option<String> {
    let limit = match text.chars().count() {
        0..=2 => return None,
        3..=5 => 1,
        6..=10 => 2,
        _ => 3,
    };
    let near = candidates.into_iter().map(|candidate| {
        let distance = distance(text, candidate.as_ref(), limit);
        (distance, candidate)
    });
    let best = near.filter(|(distance, _)| *distance <= limit).min_by_key(|(distance, _)| *distance);
    best.map(|(_, candidate)| candidate.as_ref().to_owned())
}

/// Returns how many characters have to be added, removed, changed or swapped with their neighbour to turn one text
/// into the other: the optimal string alignment distance. Anything above `limit` is as good as any other.
fn distance(a: &str, b: &str, limit: usize) -> usize {
    if a.chars().count().abs_diff(b.chars().count()) > limit {
        return limit + 1;
    }
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    // Keys begin alike; what is the same on both sides costs nothing.
    let same = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
    let (a, b) = (&a[same..], &b[same..]);
    let (mut above, mut row): (Vec<usize>, Vec<usize>) = (Vec::new(), (0..=b.len()).collect());
    for i in 1..=a.len() {
        let next = next_row(a, b, i, &above, &row);
        (above, row) = (row, next);
        let hopeless = |row: &[usize]| row.iter().all(|cost| *cost > limit);
        if hopeless(&above) && hopeless(&row) {
            return limit + 1;
        }
    }
    row[b.len()]
}

/// Returns row `i` of the table of costs, from the two rows above it.
fn next_row(a: &[char], b: &[char], i: usize, second: &[usize], first: &[usize]) -> Vec<usize> {
    let mut row = vec![i];
    for j in 1..=b.len() {
        let changed = first[j - 1] + usize::from(a[i - 1] != b[j - 1]);
        let mut best = changed.min(first[j] + 1).min(row[j - 1] + 1);
        if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
            best = best.min(second[j - 2] + 1);
        }
        row.push(best);
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_finger_are_near_and_other_words_are_not() {
        let words = ["lxc.uts.name", "lxc.tty.max", "lxc.pty.max"];
        assert_eq!(of("lxc.uts.nmae", words).as_deref(), Some("lxc.uts.name"));
        assert_eq!(of("lxc.tty.ma", words).as_deref(), Some("lxc.tty.max"));
        assert_eq!(of("lxc.quite.other", words), None);
        assert_eq!(of("", words), None);
    }

    #[test]
    fn the_distance_counts_each_kind_of_slip_once() {
        for (a, b, cost) in
            [("abc", "abc", 0), ("abc", "ab", 1), ("abc", "axc", 1), ("abc", "acb", 1), ("abcd", "badc", 2)]
        {
            assert_eq!((distance(a, b, 3), distance(b, a, 3)), (cost, cost), "{a} {b}");
        }
        assert!(distance("abcdef", "uvwxyz", 2) > 2);
    }
}
