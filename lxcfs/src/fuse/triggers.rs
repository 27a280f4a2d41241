//! Who wants to be woken by pressure (`some 150000 1000000` in a file of /proc/pressure, then poll(2)).
//!
//! The kernel would keep such a trigger in the group's own file, for who may write there: a process that serves writes nothing, and
//! before Linux 6.5 no ordinary user may have one. So the group's sums are looked at, five times in each window, and compared as the
//! kernel compares them. Source: the kernel's Documentation/accounting/psi.rst and kernel/sched/psi.c.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::files::Trigger;

/// The most that one container has at a time. Each costs a look at a file of its group.
pub(crate) const MOST: usize = 32;

/// How often a window is looked at.
const LOOKS: u64 = 5;

/// What a container is felt to wait, by the place of a file in the table.
pub(crate) type Felt<'a> = &'a mut dyn FnMut(usize, &Trigger) -> Option<u64>;

/// One trigger.
#[derive(Debug)]
struct Watched {
    file: usize,
    trigger: Trigger,
    /// By which number the kernel wakes who waits.
    waiter: Option<u64>,
    /// When the window began, and with what sum.
    began: (Duration, u64),
    /// How much the sum grew in the window before.
    before: u64,
    /// It has grown enough and nobody has been told: of one window it is told once.
    is_due: bool,
    told: Option<Duration>,
    /// Who asks next is told.
    has_come: bool,
}

/// All of a container's, by the handle of the open that made it.
#[derive(Debug, Default)]
pub(crate) struct Triggers {
    all: BTreeMap<u64, Watched>,
    /// When they were looked at last.
    looked: Duration,
    /// They are others than those that were written down last.
    has_others: bool,
}

/// Why there is no trigger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// This open has one.
    Another,
    /// The container has as many as it may.
    Many,
}

impl Triggers {
    /// Begins to look for one, from a sum of `waited` on.
    pub(crate) fn begin(
        &mut self,
        handle: u64,
        (file, trigger): (usize, Trigger),
        waited: u64,
        now: Duration,
    ) -> Result<(), Refused> {
        if self.all.contains_key(&handle) {
            return Err(Refused::Another);
        }
        if self.all.len() >= MOST {
            return Err(Refused::Many);
        }
        let began = (now, waited);
        let watched = Watched {
            file,
            trigger,
            waiter: None,
            began,
            before: 0,
            is_due: false,
            told: None,
            has_come: false,
        };
        self.all.insert(handle, watched);
        self.has_others = true;
        Ok(())
    }

    /// Forgets that of an open that is closed, if it has one.
    pub(crate) fn forget(&mut self, handle: u64) {
        self.has_others |= self.all.remove(&handle).is_some();
    }

    /// Tells whether what is waited for has come, once each time, and keeps the number by which who waits is woken. None where the
    /// open has no trigger.
    pub(crate) fn ask(&mut self, handle: u64, waiter: Option<u64>) -> Option<bool> {
        let watched = self.all.get_mut(&handle)?;
        self.has_others |= waiter.is_some() && waiter != watched.waiter;
        watched.waiter = waiter.or(watched.waiter);
        Some(std::mem::take(&mut watched.has_come))
    }

    /// Returns when they are to be looked at next, counted as in [`Triggers::look`].
    pub(crate) fn due(&self) -> Option<Duration> {
        let shortest = self.all.values().map(|watched| watched.trigger.window).min()?;
        Some(self.looked + Duration::from_micros(shortest / LOOKS))
    }

    /// Looks at them, and returns the numbers of those who are to be woken.
    pub(crate) fn look(&mut self, now: Duration, felt: Felt<'_>) -> Vec<u64> {
        self.looked = now;
        let come = self.all.values_mut().filter_map(|watched| {
            let waited = felt(watched.file, &watched.trigger)?;
            watched.take(now, waited).then_some(watched.waiter)
        });
        come.flatten().collect()
    }

    /// Returns a line for each, with which another process goes on, where they are others than last time.
    pub(crate) fn others(&mut self) -> Option<Vec<String>> {
        std::mem::take(&mut self.has_others).then(|| self.lines().collect())
    }

    fn lines(&self) -> impl Iterator<Item = String> {
        self.all.iter().map(|(handle, Watched { file, trigger, waiter, .. })| {
            let waiter = waiter.map_or_else(|| "-".to_owned(), |waiter| waiter.to_string());
            format!("{handle} {waiter} {file} {trigger}")
        })
    }

    /// Goes on with one that another process had, of which nothing is known but its line.
    pub(crate) fn go_on(&mut self, line: &str, now: Duration, felt: Felt<'_>) -> Option<()> {
        let mut words = line.splitn(4, ' ');
        let handle = words.next()?.parse().ok()?;
        let waiter = words.next()?;
        let file = words.next()?.parse().ok()?;
        let trigger = Trigger::parse(words.next()?.as_bytes())?;
        self.begin(handle, (file, trigger), felt(file, &trigger)?, now).ok()?;
        self.ask(handle, waiter.parse().ok()).map(drop)
    }
}

impl Watched {
    /// Takes a sum. Tells whether somebody is to be woken.
    fn take(&mut self, now: Duration, waited: u64) -> bool {
        let window = Duration::from_micros(self.trigger.window);
        self.is_due |= self.grown(now, window, waited) >= self.trigger.threshold;
        let is_silent = self.told.is_some_and(|told| now.saturating_sub(told) < window);
        if !self.is_due || is_silent {
            return false;
        }
        (self.is_due, self.told) = (false, Some(now));
        !std::mem::replace(&mut self.has_come, true)
    }

    /// Returns how much the sum has grown in the window that ends now: since this one began, and as much of the one before as is
    /// in it.
    fn grown(&mut self, now: Duration, window: Duration, waited: u64) -> u64 {
        let (began, start) = self.began;
        let grown = waited.saturating_sub(start);
        let rest = window.saturating_sub(now.saturating_sub(began));
        if rest.is_zero() {
            (self.began, self.before) = ((now, waited), grown);
            return grown;
        }
        let before = u128::from(self.before) * rest.as_micros() / window.as_micros().max(1);
        grown.saturating_add(u64::try_from(before).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: usize = 7;

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Has one trigger, of 150 ms in a second, by handle 1.
    fn one() -> Triggers {
        let mut triggers = Triggers::default();
        let trigger = Trigger::parse(b"some 150000 1000000\0").unwrap();
        triggers.begin(1, (FILE, trigger), 1_000_000, at(0)).unwrap();
        assert_eq!(triggers.ask(1, Some(70)), Some(false));
        triggers
    }

    #[test]
    fn who_waits_is_woken_once_in_a_window_when_tasks_have_waited_long_enough() {
        let mut triggers = one();
        let mut look = |millis, milliseconds: u64| {
            let woken = triggers.look(at(millis), &mut |file, _| {
                assert_eq!(file, FILE);
                Some(1_000_000 + milliseconds * 1000)
            });
            (woken, triggers.ask(1, None))
        };
        assert_eq!(look(200, 149), (vec![], Some(false)));
        assert_eq!(look(400, 150), (vec![70], Some(true)));
        // Told once, and of the same window no second time.
        assert_eq!(look(600, 500), (vec![], Some(false)));
        assert_eq!(look(1399, 500), (vec![], Some(false)));
        assert_eq!(look(1401, 500), (vec![70], Some(true)));
        // Of a window in which nobody waited nothing is told.
        assert_eq!(look(3000, 500), (vec![], Some(false)));
        assert_eq!(look(4100, 500), (vec![], Some(false)));
        assert_eq!(look(4200, 651), (vec![70], Some(true)));
    }

    #[test]
    fn a_window_has_its_part_of_the_one_before() {
        let mut triggers = one();
        let mut woken = |millis, milliseconds: u64| {
            triggers.look(at(millis), &mut |_, _| Some(1_000_000 + milliseconds * 1000)) == [70]
        };
        assert!(!woken(1000, 140));
        // Nine tenths of the 140 before are in it: 126, and 24 more make it full.
        assert!(!woken(1100, 140 + 23));
        assert!(woken(1100, 140 + 24));
    }

    #[test]
    fn sums_that_fall_or_are_not_had_wake_nobody() {
        let mut triggers = one();
        assert!(triggers.look(at(200), &mut |_, _| Some(0)).is_empty());
        assert!(triggers.look(at(400), &mut |_, _| None).is_empty());
        assert!(triggers.look(at(100), &mut |_, _| Some(1_000_000)).is_empty());
    }

    #[test]
    fn a_container_has_so_many_and_an_open_one() {
        let mut triggers = one();
        let trigger = Trigger::parse(b"full 1 500000").unwrap();
        assert_eq!(triggers.begin(1, (FILE, trigger), 0, at(0)), Err(Refused::Another));
        for handle in 2..=MOST as u64 {
            assert_eq!(triggers.begin(handle, (FILE, trigger), 0, at(0)), Ok(()));
        }
        assert_eq!(triggers.begin(0, (FILE, trigger), 0, at(0)), Err(Refused::Many));
        triggers.forget(2);
        assert_eq!(triggers.begin(0, (FILE, trigger), 0, at(0)), Ok(()));
        assert_eq!(triggers.ask(99, Some(1)), None);
    }

    #[test]
    fn the_shortest_window_says_when_they_are_looked_at() {
        let mut triggers = one();
        assert_eq!((Triggers::default().due(), triggers.due()), (None, Some(at(200))));
        triggers.look(at(1000), &mut |_, _| None);
        triggers.begin(2, (FILE, Trigger::parse(b"full 1 500000").unwrap()), 0, at(0)).unwrap();
        assert_eq!(triggers.due(), Some(at(1100)));
    }

    #[test]
    fn another_process_goes_on_with_what_is_written_down() {
        let mut triggers = one();
        triggers.begin(2, (8, Trigger::parse(b"full 1 500000").unwrap()), 0, at(0)).unwrap();
        let lines = triggers.others().unwrap();
        assert_eq!(lines, ["1 70 7 some 150000 1000000", "2 - 8 full 1 500000"]);
        let mut next = Triggers::default();
        for line in
            lines.iter().map(String::as_str).chain(["", "x", "3 - 7 some 1", "4 - 7 none 1 500000", "5 - 7"])
        {
            let _known = next.go_on(line, at(0), &mut |_, _| Some(2_000_000));
        }
        assert_eq!(next.others().unwrap(), lines);
        // Only what changes is written down anew.
        assert_eq!((triggers.ask(1, Some(70)), triggers.others()), (Some(false), None));
        triggers.forget(2);
        assert_eq!(triggers.others().unwrap(), lines[..1]);
        triggers.forget(2);
        assert_eq!(triggers.others(), None);
        // What was before is not counted.
        assert!(next.look(at(100), &mut |_, _| Some(2_000_000)).is_empty());
        assert_eq!(next.look(at(200), &mut |_, _| Some(2_150_000)), [70]);
    }

    proptest::proptest! {
        #[test]
        fn no_sums_and_no_clock_make_it_panic(
            looks in proptest::collection::vec((proptest::prelude::any::<u64>(), proptest::prelude::any::<u64>()), 0..20),
        ) {
            let mut triggers = one();
            for (micros, sum) in looks {
                let _woken = triggers.look(Duration::from_micros(micros), &mut |_, _| Some(sum));
            }
        }
    }
}
