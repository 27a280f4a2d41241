//! Sweeps: one thing goes wrong at every place where it can, and after each the next command works.
//!
//! A point is one system call of one process of one verb, and what is injected there. For each point the container is
//! brought into the state that the verb finds, the verb runs under a [`tracer`], and [`verb`] judges: no crash, no
//! success without effect, nothing half-made that looks whole, the next commands work, nothing is left behind.

mod disk;
mod errors;
mod limits;
mod points;
mod stage;
mod tally;
pub mod tracer;
mod verb;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};

use crate::{Lab, Output};
use points::Point;
use stage::Stage;
pub use tally::{Failure, Tally};
pub use tracer::Injection;
use tracer::{Aim, Task, Trace};
use verb::Fate;
pub use verb::{VERBS, Verb};

/// What is swept.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Each process is killed at each of its system calls.
    pub kill: bool,
    /// Each system call fails with each error that it can have.
    pub errors: bool,
    /// Only this process.
    pub process: Option<String>,
    /// Only this system call.
    pub at: Option<u32>,
    /// Only what is injected like this.
    pub inject: Option<Injection>,
    /// Only so many points at the end.
    pub last: Option<usize>,
    /// Only so many points, spread evenly, beginning anywhere.
    pub sample: Option<usize>,
    /// Of all points, every how manieth; 0 is 1.
    pub every: usize,
    /// Which one first.
    pub from: usize,
    /// When this is over, the rest is left out.
    pub time: Option<Duration>,
    /// Points that are the same place in the same program are all tried.
    pub every_one: bool,
    /// Where a signal is noted that ends the sweep after the points at work.
    pub interrupted: Option<&'static AtomicI32>,
}

impl Wanted {
    /// Returns which of so many points are tried. A sample begins elsewhere each time, so that many runs try all points.
    fn places(&self, count: usize) -> Vec<usize> {
        let (first, every) = match self.sample {
            None => (self.last.map_or(self.from, |last| count.saturating_sub(last)), self.every.max(1)),
            Some(sample) => {
                let every = count.div_ceil(sample.max(1)).max(1);
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                (now.as_millis() as usize % every, every)
            }
        };
        (first..count).step_by(every).collect()
    }
}

impl fmt::Display for Injection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill => f.write_str("signal=KILL"),
            Self::Fail(errno) => write!(f, "error={errno:?}"),
        }
    }
}

impl std::str::FromStr for Injection {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let errors = errors::ERRORS.map(Self::Fail);
        let all: Vec<Self> = std::iter::once(Self::Kill).chain(errors).collect();
        let known = || all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        all.iter()
            .find(|one| one.to_string() == word)
            .copied()
            .ok_or_else(|| format!("known are {}", known()))
    }
}

/// Lets SIGINT and SIGTERM be noted instead of ending the process, for [`Wanted::interrupted`].
///
/// # Errors
/// The kernel refuses a handler.
pub fn note_interrupts() -> Result<&'static AtomicI32> {
    Ok(sys::signal::note(&[libc::SIGINT, libc::SIGTERM])?)
}

/// Who is told of each failure at once.
pub type Heard<'a> = &'a (dyn Fn(&Failure) + Sync);

/// What trying one point came to.
struct Tried {
    /// What was to go wrong went wrong.
    fired: bool,
    /// The command itself did not succeed.
    felt: bool,
    /// What did not hold.
    verdict: Result<(), String>,
}

impl Tried {
    /// Nothing was injected, and nothing can be said.
    const MISSED: Self = Self { fired: false, felt: false, verdict: Ok(()) };

    /// The stage could not be set for the point, or something hung.
    fn failed(what: String) -> Self {
        Self { fired: false, felt: false, verdict: Err(what) }
    }
}

/// A sweep at work, on as many stages as there are points tried at once.
struct Sweep<'a, 'lab> {
    stages: Vec<Stage<'lab>>,
    wanted: &'a Wanted,
    heard: Heard<'a>,
    /// When the first point was begun.
    started: Instant,
    tally: Tally,
}

impl<'a, 'lab> Sweep<'a, 'lab> {
    fn new(labs: &'lab [Lab], verb: Verb, wanted: &'a Wanted, heard: Heard<'a>) -> Result<Self> {
        let stages = labs.iter().map(|lab| Stage::set(lab, verb)).collect::<Result<_>>()?;
        Ok(Self { stages, wanted, heard, started: Instant::now(), tally: Tally::default() })
    }

    /// Tries the points that are wanted, each by `attempt`; `describe` names one and the command that tries it again.
    fn over<P: Sync>(
        &mut self,
        points: &[P],
        describe: impl Fn(&P) -> (String, String) + Sync,
        attempt: impl Fn(&Stage<'lab>, &P) -> Tried + Sync,
    ) -> Result<()> {
        self.tally.points += points.len();
        self.started = Instant::now();
        let chosen = self.wanted.places(points.len());
        let (next, given_up) = (AtomicUsize::new(0), AtomicUsize::new(usize::MAX));
        let tally = Mutex::new(Tally::default());
        let lane = |stage: &Stage<'lab>| -> Result<()> {
            while !self.is_over() {
                let taken = next.fetch_add(1, Ordering::Relaxed);
                let Some(place) = chosen.get(taken) else { break };
                let tried = caught(|| attempt(stage, &points[*place]));
                let failed = tried.verdict.is_err();
                if failed && self.is_interrupted() {
                    // The signal of a terminal may have met a command that was just being started.
                    given_up.fetch_min(taken, Ordering::Relaxed);
                    break;
                }
                let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
                self.count(&mut tally, tried, || describe(&points[*place]));
                drop(tally);
                if failed {
                    stage.clear()?;
                }
            }
            Ok(())
        };
        thread::scope(|scope| {
            let lanes: Vec<_> = self.stages.iter().map(|stage| scope.spawn(move || lane(stage))).collect();
            lanes.into_iter().try_for_each(|lane| lane.join().unwrap_or_else(|_| bail!("a lane panicked")))
        })?;
        // All before this place are done.
        let cut = chosen.get(next.into_inner().min(given_up.into_inner())).copied();
        self.tally.add(tally.into_inner().unwrap_or_else(PoisonError::into_inner));
        self.tally.cut = self.tally.cut.or(cut);
        Ok(())
    }

    /// Tells whether no further point is to be begun.
    fn is_over(&self) -> bool {
        self.is_interrupted() || self.wanted.time.is_some_and(|time| self.started.elapsed() > time)
    }

    fn is_interrupted(&self) -> bool {
        self.wanted.interrupted.is_some_and(|noted| noted.load(Ordering::Relaxed) != 0)
    }

    fn count(&self, tally: &mut Tally, tried: Tried, describe: impl Fn() -> (String, String)) {
        tally.count(tried.fired, tried.felt);
        if let Err(what) = tried.verdict {
            let (point, again) = describe();
            let failure = Failure { point, what, again };
            (self.heard)(&failure);
            tally.failures.push(failure);
        }
    }

    fn end(self) -> Result<Tally> {
        self.stages.iter().try_for_each(Stage::clear)?;
        Ok(self.tally)
    }
}

/// Tries a point; what takes too long panics.
fn caught(attempt: impl FnOnce() -> Tried) -> Tried {
    catch_unwind(AssertUnwindSafe(attempt)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Tried::failed(text.unwrap_or_else(|| "something hangs".to_owned()))
    })
}

/// Sweeps one verb by kills and errors at its system calls, in as many labs as points are tried at once.
///
/// # Errors
/// The stage cannot be set, or the verb fails undisturbed.
pub fn calls(labs: &[Lab], verb: Verb, wanted: &Wanted, heard: Heard<'_>) -> Result<Tally> {
    let mut sweep = Sweep::new(labs, verb, wanted, heard)?;
    let first = sweep.stages.first().context("a sweep needs a lab")?;
    let (points, coalesced) = points::points(&record(first, verb)?, wanted);
    let describe = |point: &Point| {
        let Aim { process, at, injection, .. } = &point.aim;
        (
            format!("{verb}: {process} at call {at} ({}), {injection}", point.name()),
            format!("cargo xtask sweep --verb {verb} --process {process} --at {at} --inject {injection}"),
        )
    };
    sweep.over(&points, describe, |stage, point| one(stage, verb, &point.aim))?;
    sweep.tally.points += coalesced;
    sweep.tally.coalesced += coalesced;
    sweep.end()
}

/// Sweeps one verb on a file system without blocks or inodes but a few.
///
/// # Errors
/// The stage cannot be set.
pub fn disk(labs: &[Lab], verb: Verb, wanted: &Wanted, heard: Heard<'_>) -> Result<Tally> {
    disk::sweep(Sweep::new(labs, verb, wanted, heard)?, verb)
}

/// Sweeps one verb under small limits.
///
/// # Errors
/// The stage cannot be set.
pub fn limits(labs: &[Lab], verb: Verb, wanted: &Wanted, heard: Heard<'_>) -> Result<Tally> {
    limits::sweep(Sweep::new(labs, verb, wanted, heard)?, verb)
}

/// Runs the verb once, undisturbed but traced.
fn record(stage: &Stage<'_>, verb: Verb) -> Result<Trace> {
    let attempt = || -> Result<Trace, String> {
        verb.prepare(stage).map_err(|error| format!("{error:#}"))?;
        let (output, trace) = verb.command(stage).traced(stage.monitor().map(|m| m.pid), Task::Record);
        match output.status() {
            0 => verb.judge(stage, &output, Fate::default()).map(|()| trace),
            _ => Err(verb::shown(&output)),
        }
    };
    attempt().map_err(|what| anyhow::anyhow!("{verb}, undisturbed: {what}"))
}

/// Tells whether a process got no memory: the runtime of Rust then aborts, and everything but that must hold.
fn is_out_of_memory(aim: &Aim, trace: &Trace) -> bool {
    aim.injection == Injection::Fail(nix::errno::Errno::ENOMEM)
        && trace.hit.is_some_and(|call| [libc::SYS_mmap, libc::SYS_brk, libc::SYS_mprotect].contains(&call))
}

/// Tries one point.
fn one(stage: &Stage<'_>, verb: Verb, aim: &Aim) -> Tried {
    if let Err(error) = verb.prepare(stage) {
        return Tried::failed(format!("{error:#}"));
    }
    let monitor = stage.monitor().map(|monitor| monitor.pid);
    let (output, trace) = verb.command(stage).traced(monitor, Task::Inject(aim));
    let said = verb::shown(&output);
    let verdict = verdict(stage, verb, aim, &output, &trace)
        .map_err(|what| format!("{what} (the command itself: {said})"));
    Tried { fired: trace.hit.is_some(), felt: output.status() != 0, verdict }
}

/// Judges a command at one of whose processes something was injected.
fn verdict(stage: &Stage<'_>, verb: Verb, aim: &Aim, output: &Output, trace: &Trace) -> Result<(), String> {
    let excused = is_out_of_memory(aim, trace);
    if let Some(crash) = trace.crashes.first().filter(|_| !excused) {
        return Err(crash.clone());
    }
    let died = aim.injection == Injection::Kill || excused && !trace.crashes.is_empty();
    let died = trace.hit.filter(|_| died).map(|_| aim.process.as_str());
    // glibc's allocator takes some failures of brk(2) for a torn heap, and aborts at any later time.
    let outlived = trace.hit_too_late || excused && trace.hit == Some(libc::SYS_brk);
    verb.judge(stage, output, Fate { died, outlived, ..Fate::default() })
}
