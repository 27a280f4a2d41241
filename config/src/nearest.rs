//! Finding the word that was meant.

/// Returns the candidate nearest to `text`, if one alone is near enough to be what was meant. A digit is not taken for
/// another: `local9` is no slip for `local0`.
pub fn of<S: AsRef<str>>(text: &str, candidates: impl IntoIterator<Item = S>) -> Option<String> {
    let limit = match text.chars().count() {
        0..=2 => return None,
        3..=5 => 1,
        6..=10 => 2,
        _ => 3,
    };
    let mut best: Option<(usize, String)> = None;
    let mut is_alone = true;
    for candidate in candidates.into_iter().filter(|candidate| has_digits_of(text, candidate.as_ref())) {
        let (candidate, nearest) = (candidate.as_ref(), best.as_ref());
        let most = nearest.map_or(limit, |(distance, _)| *distance);
        let distance = distance(text, candidate, most);
        match nearest {
            _ if distance > most => {}
            Some((nearest, other)) if *nearest == distance => is_alone &= other == candidate,
            _ => (best, is_alone) = (Some((distance, candidate.to_owned())), true),
        }
    }
    best.filter(|_| is_alone).map(|(_, candidate)| candidate)
}

/// Tells whether a candidate has the digits of a text, and perhaps more between them.
fn has_digits_of(text: &str, candidate: &str) -> bool {
    let mut digits = candidate.bytes().filter(u8::is_ascii_digit);
    text.bytes().filter(u8::is_ascii_digit).all(|digit| digits.any(|found| found == digit))
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
    fn of_two_that_are_as_near_neither_is_meant_and_a_digit_is_no_other() {
        assert_eq!(of("lxc.ty.max", ["lxc.tty.max", "lxc.pty.max"]), None);
        assert_eq!(of("lxc.ty.max", ["lxc.pty.max", "lxc.tty.max", "lxc.ty.maxx"]), None);
        assert_eq!(of("i38", ["i386", "i486"]).as_deref(), Some("i386"));
        assert_eq!(of("local9", ["local0", "local8"]), None);
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
