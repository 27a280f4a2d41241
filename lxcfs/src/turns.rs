//! Whose turn it is: one thread answers all containers, so one whose files take long to render would slow all others.
//!
//! Who has taken long is passed over until the others have taken as long together, or none of them asks. That is half of the time
//! for him at most while others want it, and no request is given up for it.

use std::collections::BTreeMap;
use std::time::Duration;

/// Shorter answers are nobody's debt.
const SHORT: Duration = Duration::from_millis(1);

/// What containers have taken of the others' time.
#[derive(Debug, Default)]
pub(crate) struct Turns(BTreeMap<u64, Duration>);

impl Turns {
    /// Returns which of those who ask are answered now: at least one of them.
    pub(crate) fn of(&mut self, asking: &[u64]) -> Vec<u64> {
        let debtless: Vec<u64> =
            asking.iter().copied().filter(|number| !self.0.contains_key(number)).collect();
        if !debtless.is_empty() {
            return debtless;
        }
        asking.iter().for_each(|number| self.forget(*number));
        asking.to_vec()
    }

    /// An answer has taken so long, for which the others have waited.
    pub(crate) fn took(&mut self, number: u64, time: Duration) {
        self.0.retain(|_, debt| {
            *debt = debt.saturating_sub(time);
            !debt.is_zero()
        });
        if time > SHORT {
            self.0.insert(number, time);
        }
    }

    /// Forgets a container that is gone.
    pub(crate) fn forget(&mut self, number: u64) {
        self.0.remove(&number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOW: u64 = 1;

    /// Returns how many answers container 1, whose answers are slow, and 2 and 3 get in some rounds in which all ask.
    fn answers(rounds: usize, slow: Duration) -> [usize; 3] {
        let (mut turns, mut answered) = (Turns::default(), [0; 3]);
        for _ in 0..rounds {
            for number in turns.of(&[SLOW, 2, 3]) {
                answered[number as usize - 1] += 1;
                turns.took(number, if number == SLOW { slow } else { Duration::from_micros(500) });
            }
        }
        answered
    }

    #[test]
    fn who_takes_long_gets_no_more_time_than_the_others_together() {
        // In each tenth round the slow one is answered, and in ten the others take its 10 ms.
        assert_eq!(answers(110, Duration::from_millis(10)), [11, 110, 110]);
        assert_eq!(answers(110, SHORT), [110; 3]);
    }

    #[test]
    fn who_asks_alone_is_answered_at_once() {
        let mut turns = Turns::default();
        for _ in 0..3 {
            assert_eq!(turns.of(&[SLOW]), [SLOW]);
            turns.took(SLOW, Duration::from_secs(1));
        }
        assert_eq!(turns.of(&[SLOW, 2]), [2]);
        turns.took(2, Duration::from_secs(2));
        assert_eq!(turns.of(&[SLOW, 2]), [SLOW]);
        assert_eq!(turns.of(&[]), [0; 0]);
    }
}
