//! Who wants to be woken by pressure (`some 150000 1000000` in a file of /proc/pressure, then poll(2)).
//!
//! The kernel would keep such a trigger in the group's own file, for who may write there: a process that serves writes nothing, and
//! before Linux 6.5 no ordinary user may have one. So the group's sums are looked at, five times in each window, and compared as the
//! kernel compares them. Source: the kernel's Documentation/accounting/psi.rst and kernel/sched/psi.c.
//!
//! The monitor keeps a line of each, with which another process goes on. It is told before who has written one is answered, and not
//! at once of what nobody is the worse for: who opens, writes and closes on and on has it woken so often, and no more.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::files::{FILES, Trigger, waited};
use crate::fuse::{Refused, Wish};

/// The most that one container has at a time.
pub const MOST: usize = 32;

/// Of these, the most of all others than its root, and of each of them.
const OTHERS: usize = 24;
const EACH: usize = 8;

/// The user whom a container cannot do without.
const ROOT: u32 = 0;

/// How often a window is looked at.
const LOOKS: u64 = 5;

/// How often the monitor is told of one container's, but for so many times before that.
const PACE: Duration = Duration::from_millis(100);
const AT_ONCE: u32 = 32;

/// How long a monitor that does not hear is left alone.
const UNHEARD: Duration = Duration::from_secs(1);

/// What the container's group tells, by the place of a file in the table.
pub type Read<'a> = &'a mut dyn FnMut(usize) -> sys::Result<Option<String>>;

/// One trigger.
#[derive(Debug)]
struct Watched {
    file: usize,
    trigger: Trigger,
    user: u32,
    /// By which number the kernel wakes who waits.
    waiter: Option<u64>,
    looked: Duration,
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
pub struct Triggers {
    all: BTreeMap<u64, Watched>,
    /// From when on the monitor is to be told of them, where they are others than those that it keeps.
    others: Option<Duration>,
    /// Until when it has been told of them at the usual pace: it may be some time ahead.
    paced: Duration,
    /// Until when it is told nothing.
    silent: Duration,
}

impl Triggers {
    /// Begins to look for what somebody has written into a file.
    ///
    /// # Errors
    /// It is no trigger, or he cannot have it.
    pub fn write(
        &mut self,
        file: usize,
        wish: &Wish<'_>,
        now: Duration,
        read: Read<'_>,
    ) -> Result<(), Refused> {
        let trigger = Trigger::parse(wish.text).ok_or(Refused::Wrong)?;
        let told = read(file).map_err(|_| Refused::Unreadable)?.ok_or(Refused::Unsupported)?;
        let waited = waited(&told, trigger.share).ok_or(Refused::Wrong)?;
        let is_this = |there: &Watched| (there.file, there.trigger) == (file, trigger);
        // Of a process that has died before it answered, this one has it already.
        if wish.is_again && self.all.get(&wish.handle).is_some_and(is_this) {
            return Ok(());
        }
        self.begin(wish.handle, wish.user, (file, trigger), (now, waited))
    }

    fn begin(
        &mut self,
        handle: u64,
        user: u32,
        (file, trigger): (usize, Trigger),
        began: (Duration, u64),
    ) -> Result<(), Refused> {
        if self.all.contains_key(&handle) {
            return Err(Refused::Another);
        }
        if !self.has_room(user) {
            return Err(Refused::Many);
        }
        let watched = Watched {
            file,
            trigger,
            user,
            waiter: None,
            looked: began.0,
            began,
            before: 0,
            is_due: false,
            told: None,
            has_come: false,
        };
        self.all.insert(handle, watched);
        self.are_others(began.0);
        Ok(())
    }

    fn has_room(&self, user: u32) -> bool {
        let of = |who: &dyn Fn(u32) -> bool| self.all.values().filter(|one| who(one.user)).count();
        let is_other_than = |user: u32| move |other: u32| other != user;
        self.all.len() < MOST
            && (user == ROOT || (of(&is_other_than(ROOT)) < OTHERS && of(&|other| other == user) < EACH))
    }

    /// Forgets that of an open that is closed, if it has one.
    pub fn close(&mut self, handle: u64, now: Duration) {
        if self.all.remove(&handle).is_some() {
            self.are_others(now + PACE);
        }
    }

    /// Forgets all, and returns the numbers of those who wait, and are woken: who asks then is told that there is nothing to wait for.
    pub fn close_all(&mut self, now: Duration) -> Vec<u64> {
        self.are_others(now);
        std::mem::take(&mut self.all).into_values().filter_map(|watched| watched.waiter).collect()
    }

    /// Tells whether what is waited for has come, once each time, and keeps the number by which who waits is woken. None where the
    /// open has no trigger.
    pub fn ask(&mut self, handle: u64, waiter: Option<u64>, now: Duration) -> Option<bool> {
        let watched = self.all.get_mut(&handle)?;
        let is_other = waiter.is_some() && waiter != watched.waiter;
        watched.waiter = waiter.or(watched.waiter);
        let has_come = std::mem::take(&mut watched.has_come);
        if is_other {
            self.are_others(now);
        } else if has_come {
            // Not before he has been told.
            self.are_others(now + PACE);
        }
        Some(has_come)
    }

    /// Returns when there is something to be done for them, counted as in [`Triggers::look`].
    pub fn due(&self) -> Option<Duration> {
        self.all.values().map(Watched::due).chain(self.tells()).min()
    }

    /// Looks at those whose time has come, and returns the numbers of those who are to be woken. Those of whose time half has passed since
    /// they were last looked at are taken along: so many with one window cost no more looks than two, and each file is read once.
    pub fn look(&mut self, now: Duration, read: Read<'_>) -> Vec<u64> {
        let mut woken = Vec::new();
        if !self.all.values().any(|watched| watched.due() <= now) {
            return woken;
        }
        let (mut texts, mut has_come) = (BTreeMap::new(), false);
        for watched in self.all.values_mut().filter(|watched| watched.is_half_due(now)) {
            let text = texts.entry(watched.file).or_insert_with(|| read(watched.file).ok().flatten());
            watched.looked = now;
            let waited = text.as_ref().and_then(|text| waited(text, watched.trigger.share));
            if waited.is_some_and(|waited| watched.take(now, waited)) {
                has_come = true;
                woken.extend(watched.waiter);
            }
        }
        if has_come {
            self.are_others(now);
        }
        woken
    }

    fn are_others(&mut self, from: Duration) {
        self.others = Some(self.others.map_or(from, |before| before.min(from)));
    }

    /// Returns when the monitor is to be told of them.
    fn tells(&self) -> Option<Duration> {
        Some(self.others?.max(self.paced.saturating_sub(PACE * AT_ONCE)).max(self.silent))
    }

    /// Returns a line for each, where the monitor is to be told of them now.
    pub fn to_keep(&self, now: Duration) -> Option<Vec<String>> {
        (self.tells()? <= now).then(|| self.lines().collect())
    }

    /// The monitor has been told, or did not hear.
    pub fn told(&mut self, now: Duration, is_heard: bool) {
        if is_heard {
            self.paced = self.paced.max(now) + PACE;
            self.others = None;
        } else {
            self.silent = now + UNHEARD;
        }
    }

    /// Returns a line for each, with which another process goes on.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.all.iter().map(|(handle, Watched { file, trigger, user, waiter, has_come, .. })| {
            let waiter = waiter.map_or_else(|| "-".to_owned(), |waiter| waiter.to_string());
            let name = FILES.get(*file).and_then(|file| file.pressure()).unwrap_or("-");
            let come = if *has_come { " come" } else { "" };
            format!("{handle} {waiter} {name} {trigger} {user}{come}")
        })
    }

    /// Goes on with what another process had, and returns the numbers of those who are to be woken: who waits for what has come, and who
    /// waits for what cannot be gone on with, as while there are no fds. He asks then, and is told that there is nothing to wait for.
    pub fn take_over(&mut self, lines: &[String], now: Duration, read: Read<'_>) -> Vec<u64> {
        let is_lost = |line: &&String| self.go_on(line, now, &mut *read).is_none();
        let mut woken: Vec<u64> = lines.iter().filter(is_lost).filter_map(|line| waiter(line)).collect();
        if !woken.is_empty() {
            self.are_others(now);
        }
        woken.extend(self.come());
        woken
    }

    /// Goes on with one that another process had, of which nothing is known but its line.
    pub fn go_on(&mut self, line: &str, now: Duration, read: Read<'_>) -> Option<()> {
        let words: Vec<&str> = line.split(' ').collect();
        let [handle, waiter, name, share, threshold, window, rest @ ..] = &words[..] else { return None };
        let handle = handle.parse().ok()?;
        // Older processes counted files, and did not know users.
        let is_pressure = |at: &usize| FILES.get(*at).is_some_and(|file| file.pressure().is_some());
        let older = name.parse().ok().filter(is_pressure);
        let file = older.or_else(|| FILES.iter().position(|file| file.pressure() == Some(name)))?;
        let trigger = Trigger::parse([*share, threshold, window].join(" ").as_bytes())?;
        let user = rest.first().map_or(Some(ROOT), |user| user.parse().ok())?;
        let began = (now, waited(&read(file).ok()??, trigger.share)?);
        self.begin(handle, user, (file, trigger), began).ok()?;
        let watched = self.all.get_mut(&handle)?;
        watched.waiter = waiter.parse().ok();
        watched.has_come = rest.get(1) == Some(&"come");
        Some(())
    }

    /// Returns the numbers of those who wait for what has come, where the process before may not have woken them.
    fn come(&self) -> impl Iterator<Item = u64> {
        self.all.values().filter(|watched| watched.has_come).filter_map(|watched| watched.waiter)
    }
}

/// Returns the number of who waits for what a line is about.
pub fn waiter(line: &str) -> Option<u64> {
    line.split(' ').nth(1)?.parse().ok()
}

impl Watched {
    fn pace(&self) -> Duration {
        Duration::from_micros(self.trigger.window / LOOKS)
    }

    fn due(&self) -> Duration {
        self.looked.saturating_add(self.pace())
    }

    fn is_half_due(&self, now: Duration) -> bool {
        now.saturating_sub(self.looked) >= self.pace() / 2
    }

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

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// The place of a file in the table.
    fn of(name: &str) -> usize {
        FILES.iter().position(|file| file.pressure() == Some(name)).unwrap()
    }

    /// The text of a group whose tasks have waited so long, in microseconds.
    fn total(waited: u64) -> Option<String> {
        Some(format!("some avg10=0.00 total={waited}\nfull avg10=0.00 total={waited}\n"))
    }

    fn write(triggers: &mut Triggers, handle: u64, user: u32, text: &str) -> Result<(), Refused> {
        let wish = Wish { handle, user, text: text.as_bytes(), is_again: false };
        triggers.write(of("cpu.pressure"), &wish, at(0), &mut |_| Ok(total(1_000_000)))
    }

    const SECOND: &str = "some 150000 1000000\0";
    const HALF: &str = "full 1 500000";

    /// Has one trigger, of 150 ms in a second, by handle 1.
    fn one() -> Triggers {
        let mut triggers = Triggers::default();
        assert_eq!(write(&mut triggers, 1, ROOT, SECOND), Ok(()));
        assert_eq!(triggers.ask(1, Some(70), at(0)), Some(false));
        triggers
    }

    /// Looks after so many milliseconds, in which tasks have waited so many.
    fn look(triggers: &mut Triggers, millis: u64, waited: u64) -> Vec<u64> {
        triggers.look(at(millis), &mut |file| {
            assert_eq!(file, of("cpu.pressure"));
            Ok(total(1_000_000 + waited * 1000))
        })
    }

    #[test]
    fn who_waits_is_woken_once_in_a_window_when_tasks_have_waited_long_enough() {
        let mut triggers = one();
        let mut look = |millis, waited| {
            let woken = look(&mut triggers, millis, waited);
            (woken, triggers.ask(1, None, at(millis)))
        };
        assert_eq!(look(200, 149), (vec![], Some(false)));
        assert_eq!(look(400, 150), (vec![70], Some(true)));
        // Told once, and of the same window no second time.
        assert_eq!(look(600, 500), (vec![], Some(false)));
        assert_eq!(look(1399, 500), (vec![], Some(false)));
        assert_eq!(look(1601, 500), (vec![70], Some(true)));
        // Of a window in which nobody waited nothing is told.
        assert_eq!(look(3000, 500), (vec![], Some(false)));
        assert_eq!(look(4100, 500), (vec![], Some(false)));
        assert_eq!(look(4300, 651), (vec![70], Some(true)));
    }

    #[test]
    fn a_window_has_its_part_of_the_one_before() {
        for (more, is_woken) in [(27, false), (28, true)] {
            let mut triggers = one();
            assert!(look(&mut triggers, 1000, 140).is_empty());
            // Eight tenths of the 140 before are in it: 112, and 38 more make it full.
            assert!(look(&mut triggers, 1200, 140 + 10).is_empty());
            // Six tenths are later: 84.
            assert_eq!(look(&mut triggers, 1400, 140 + more + 38).contains(&70), is_woken);
        }
    }

    #[test]
    fn sums_that_fall_or_are_not_had_wake_nobody() {
        let mut triggers = one();
        assert!(triggers.look(at(200), &mut |_| Ok(total(0))).is_empty());
        assert!(triggers.look(at(400), &mut |_| Ok(None)).is_empty());
        let unreadable = || sys::Error::new("openat(cpu.pressure)".to_owned(), sys::Errno::EMFILE);
        assert!(triggers.look(at(600), &mut |_| Err(unreadable())).is_empty());
        assert!(triggers.look(at(100), &mut |_| Ok(total(1_000_000))).is_empty());
    }

    #[test]
    fn a_container_has_so_many_its_users_a_share_and_its_root_the_rest() {
        let mut triggers = one();
        assert_eq!(write(&mut triggers, 1, 1000, HALF), Err(Refused::Another));
        let mut handles = 2..;
        let mut had_by = |triggers: &mut Triggers, user| {
            let more = handles.by_ref();
            std::iter::from_fn(|| write(triggers, more.next()?, user, HALF).ok()).count()
        };
        assert_eq!([1000, 1000, 1001, 1002, 1003].map(|user| had_by(&mut triggers, user)), [8, 0, 8, 8, 0]);
        // Root has one already, and the others 24.
        assert_eq!([had_by(&mut triggers, ROOT), had_by(&mut triggers, ROOT)], [7, 0]);
        triggers.close(2, at(0));
        assert_eq!([had_by(&mut triggers, 1001), had_by(&mut triggers, 1000)], [0, 1]);
        assert_eq!(triggers.ask(9999, Some(1), at(0)), None);
    }

    #[test]
    fn what_is_no_trigger_or_cannot_be_had_is_refused() {
        let mut triggers = Triggers::default();
        let texts = [
            "",
            "some",
            "some 1 499999",
            "some 1 10000001",
            "some 0 1000000",
            "some 1000001 1000000",
            "any 150000 1000000",
            "some 150000 1000000 150000 1000000",
        ];
        for text in texts {
            assert_eq!(write(&mut triggers, 1, ROOT, text), Err(Refused::Wrong), "{text:?}");
        }
        let wish = Wish { handle: 1, user: ROOT, text: HALF.as_bytes(), is_again: false };
        let mut told = |told: sys::Result<Option<String>>| {
            let mut told = Some(told);
            triggers.write(of("cpu.pressure"), &wish, at(0), &mut |_| told.take().unwrap_or(Ok(None)))
        };
        // The group tells nothing of all tasks; no group tells of it; it cannot be read now.
        assert_eq!(told(Ok(Some("some total=5\n".to_owned()))), Err(Refused::Wrong));
        assert_eq!(told(Ok(None)), Err(Refused::Unsupported));
        let unreadable = sys::Error::new("openat(cpu.pressure)".to_owned(), sys::Errno::EMFILE);
        assert_eq!(told(Err(unreadable)), Err(Refused::Unreadable));
        assert_eq!(told(Ok(total(5))), Ok(()));
    }

    #[test]
    fn each_is_looked_at_in_its_own_time_and_each_file_read_once_for_all() {
        let mut triggers = Triggers::default();
        for handle in 0..8 {
            write(&mut triggers, handle, ROOT, if handle < 4 { "some 1 10000000" } else { HALF }).unwrap();
        }
        triggers.told(at(0), true);
        assert_eq!(triggers.due(), Some(at(100)));
        let mut read = 0;
        for millis in (0..=10_000).step_by(10) {
            triggers.look(at(millis), &mut |_| {
                read += 1;
                Ok(total(1_000_000))
            });
        }
        assert_eq!(read, 100);
        // Whatever their windows, two looks in the time of one.
        for handle in 8..MOST as u64 {
            let text = format!("some 1 {}", 500_000 + handle * 1111);
            let wish = Wish { handle, user: ROOT, text: text.as_bytes(), is_again: false };
            let now = at(10_000 + handle * 3);
            triggers.write(of("io.pressure"), &wish, now, &mut |_| Ok(total(0))).unwrap();
        }
        read = 0;
        for millis in 20_000..30_000 {
            triggers.look(at(millis), &mut |_| {
                read += 1;
                Ok(total(0))
            });
        }
        assert!(read <= 2 * 200, "{read} times");
    }

    /// Tells the monitor, if that is to be done, and returns the lines.
    fn kept(triggers: &mut Triggers, millis: u64) -> Option<Vec<String>> {
        let lines = triggers.to_keep(at(millis));
        if lines.is_some() {
            triggers.told(at(millis), true);
        }
        lines
    }

    #[test]
    fn another_process_goes_on_with_what_is_written_down() {
        let mut triggers = one();
        let wish = Wish { handle: 2, user: 1000, text: HALF.as_bytes(), is_again: false };
        triggers.write(of("io.pressure"), &wish, at(0), &mut |_| Ok(total(0))).unwrap();
        let lines = kept(&mut triggers, 0).unwrap();
        assert_eq!(lines, ["1 70 cpu.pressure some 150000 1000000 0", "2 - io.pressure full 1 500000 1000"]);
        let mut next = Triggers::default();
        let wrong =
            ["", "x", "3 - io.pressure some 1", "4 - 11 none 1 500000", "5 - 7", "6 - 0 full 1 500000"];
        for line in lines.iter().map(String::as_str).chain(wrong) {
            let _known = next.go_on(line, at(0), &mut |_| Ok(total(2_000_000)));
        }
        assert_eq!(next.lines().collect::<Vec<_>>(), lines);
        // What was before is not counted.
        assert!(next.look(at(100), &mut |_| Ok(total(2_000_000))).is_empty());
        assert_eq!(next.look(at(200), &mut |_| Ok(total(2_150_000))), [70,]);
        // Of an older process's lines, too.
        let older = format!("1 70 {} some 150000 1000000", of("cpu.pressure"));
        let mut next = Triggers::default();
        assert_eq!(next.go_on(&older, at(0), &mut |_| Ok(total(0))), Some(()));
        assert_eq!(next.lines().collect::<Vec<_>>(), lines[..1]);
    }

    #[test]
    fn what_has_come_is_told_though_the_process_dies_before_it_is_asked() {
        let mut triggers = one();
        kept(&mut triggers, 0);
        assert_eq!(look(&mut triggers, 200, 150), [70]);
        let lines = kept(&mut triggers, 200).unwrap();
        assert!(lines[0].ends_with(" come"), "{lines:?}");
        // Who asks is told before the monitor is.
        assert_eq!((triggers.ask(1, Some(70), at(210)), kept(&mut triggers, 210)), (Some(true), None));
        assert!(kept(&mut triggers, 310).is_some_and(|lines| !lines[0].contains("come")));
        let mut next = Triggers::default();
        assert_eq!(next.take_over(&lines, at(0), &mut |_| Ok(total(0))), [70]);
        assert_eq!([next.ask(1, Some(70), at(0)), next.ask(1, Some(70), at(0))], [Some(true), Some(false)]);
    }

    #[test]
    fn who_waits_for_what_nobody_can_go_on_with_is_woken_and_told() {
        let line = |handle: u64| format!("{handle} {} cpu.pressure some 150000 1000000 0", 1000 + handle);
        let lines: Vec<String> = (0..=MOST as u64).map(line).chain(["x".to_owned()]).collect();
        let mut next = Triggers::default();
        assert_eq!(next.take_over(&lines, at(0), &mut |_| Ok(total(0))), [1000 + MOST as u64]);
        let mut next = Triggers::default();
        let unreadable = || sys::Error::new("openat(cpu.pressure)".to_owned(), sys::Errno::EMFILE);
        assert_eq!(next.take_over(&lines[..2], at(0), &mut |_| Err(unreadable())), [1000, 1001]);
        // The monitor forgets them, too.
        assert_eq!((next.ask(0, Some(1000), at(0)), kept(&mut next, 0)), (None, Some(Vec::new())));
    }

    #[test]
    fn who_has_written_and_was_not_answered_has_what_is_written_down() {
        let mut triggers = one();
        let mut again = |text: &str, is_again| {
            let wish = Wish { handle: 1, user: ROOT, text: text.as_bytes(), is_again };
            triggers.write(of("cpu.pressure"), &wish, at(0), &mut |_| Ok(total(0)))
        };
        assert_eq!(again(SECOND, true), Ok(()));
        assert_eq!([again(SECOND, false), again(HALF, true)], [Err(Refused::Another); 2]);
    }

    #[test]
    fn the_monitor_is_told_at_once_but_not_on_and_on() {
        let mut triggers = one();
        let mut millis = 0;
        let mut told = 0;
        while millis < 10_000 {
            triggers.close(2, at(millis));
            let wish = Wish { handle: 2, user: 1000, text: HALF.as_bytes(), is_again: false };
            triggers.write(of("cpu.pressure"), &wish, at(millis), &mut |_| Ok(total(0))).unwrap();
            told += usize::from(kept(&mut triggers, millis).is_some());
            // As many as there are at once, each is told of before it is answered.
            assert!(told == 1 + millis as usize || told >= AT_ONCE as usize, "{told} after {millis}");
            millis += 1;
        }
        assert!((100..=AT_ONCE as usize + 101).contains(&told), "{told}");
        // What is closed is no hurry, and told of in time.
        kept(&mut triggers, 20_000);
        triggers.close(2, at(20_000));
        assert_eq!((kept(&mut triggers, 20_099), triggers.due()), (None, Some(at(200))));
        assert_eq!(kept(&mut triggers, 20_100).map(|lines| lines.len()), Some(1));
        assert_eq!(kept(&mut triggers, 30_000), None);
    }

    #[test]
    fn a_monitor_that_does_not_hear_is_told_later() {
        let mut triggers = one();
        assert!(triggers.to_keep(at(5)).is_some());
        triggers.told(at(5), false);
        assert_eq!(triggers.to_keep(at(900)), None);
        assert!(kept(&mut triggers, 1005).is_some());
        assert_eq!(kept(&mut triggers, 3000), None);
    }

    #[test]
    fn who_waits_is_told_when_all_are_forgotten() {
        let mut triggers = one();
        write(&mut triggers, 2, ROOT, HALF).unwrap();
        kept(&mut triggers, 0);
        assert_eq!(triggers.close_all(at(0)), [70]);
        assert_eq!((triggers.ask(1, Some(70), at(0)), kept(&mut triggers, 0)), (None, Some(Vec::new())));
        assert_eq!(triggers.due(), None);
    }

    proptest::proptest! {
        #[test]
        fn no_sums_and_no_clock_make_it_panic(
            looks in proptest::collection::vec((proptest::prelude::any::<u64>(), proptest::prelude::any::<u64>()), 0..20),
        ) {
            let mut triggers = one();
            for (micros, sum) in looks {
                let _woken = triggers.look(Duration::from_micros(micros), &mut |_| Ok(total(sum)));
            }
        }
    }
}
