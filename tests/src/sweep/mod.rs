//! Sweeps: one thing goes wrong at every place where it can, and after each the next command works.
//!
//! A point is one system call of one process of one verb, and what is injected there. For each point the container is
//! brought into the state that the verb finds, the verb runs under a [`tracer`], and [`verb`] judges: no crash, no
//! success without effect, nothing half-made that looks whole, the next commands work, nothing is left behind.

mod disk;
mod errors;
mod limits;
mod stage;
pub mod tracer;
mod verb;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Result;

use crate::Lab;
use errors::Call;
use stage::Stage;
use tracer::{Aim, Injection, Task, Trace};
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
}

impl Wanted {
    /// Returns which of so many points comes first, and the step to the next one. A sample begins elsewhere each time, so
    /// that many runs try all points.
    fn places(&self, count: usize) -> (usize, usize) {
        let Some(sample) = self.sample else {
            let first = self.last.map_or(self.from, |last| count.saturating_sub(last));
            return (first, self.every.max(1));
        };
        let every = count.div_ceil(sample.max(1)).max(1);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        (now.as_millis() as usize % every, every)
    }
}

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
    /// How many things went wrong on purpose.
    pub injections: usize,
    /// How many points were aimed at and not reached: the process made fewer calls this time.
    pub missed: usize,
    /// What did not hold.
    pub failures: Vec<Failure>,
}

impl Tally {
    /// Adds what another sweep came to.
    pub fn add(&mut self, other: Self) {
        self.points += other.points;
        self.injections += other.injections;
        self.missed += other.missed;
        self.failures.extend(other.failures);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { points, injections, missed, failures } = self;
        write!(
            f,
            "{injections} injections, {} failures (of {points} points; {missed} not reached this time)",
            failures.len()
        )
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

/// Who is told of each failure at once.
pub type Heard<'a> = &'a mut dyn FnMut(&Failure);

/// A sweep at work.
struct Sweep<'a, 'lab> {
    stage: Stage<'lab>,
    wanted: &'a Wanted,
    heard: Heard<'a>,
    started: Instant,
    tally: Tally,
}

impl<'a, 'lab> Sweep<'a, 'lab> {
    fn new(stage: Stage<'lab>, wanted: &'a Wanted, heard: Heard<'a>) -> Self {
        Self { stage, wanted, heard, started: Instant::now(), tally: Tally::default() }
    }

    /// Tries the points that are wanted, each by `attempt`, which tells whether it was reached; `describe` names one and the
    /// command that tries it again.
    fn over<P>(
        &mut self,
        points: &[P],
        describe: impl Fn(&P) -> (String, String),
        mut attempt: impl FnMut(&Stage<'lab>, &P) -> Result<bool, String>,
    ) -> Result<()> {
        self.tally.points += points.len();
        let (from, every) = self.wanted.places(points.len());
        for point in points.iter().skip(from).step_by(every) {
            if self.wanted.time.is_some_and(|time| self.started.elapsed() > time) {
                break;
            }
            // What takes too long panics.
            let tried = catch_unwind(AssertUnwindSafe(|| attempt(&self.stage, point)));
            let judged = tried.unwrap_or_else(|panic| {
                let text = panic.downcast_ref::<String>().cloned();
                Err(text.unwrap_or_else(|| "something hangs".to_owned()))
            });
            self.tally.injections += usize::from(judged != Ok(false));
            self.tally.missed += usize::from(judged == Ok(false));
            if let Err(what) = judged {
                let (point, again) = describe(point);
                let failure = Failure { point, what, again };
                (self.heard)(&failure);
                self.tally.failures.push(failure);
                self.stage.clear()?;
            }
        }
        Ok(())
    }

    fn end(self) -> Result<Tally> {
        self.stage.clear()?;
        Ok(self.tally)
    }
}

/// Sweeps one verb by kills and errors at its system calls.
///
/// # Errors
/// The stage cannot be set, or the verb fails undisturbed.
pub fn calls(lab: &Lab, verb: Verb, wanted: &Wanted, heard: Heard<'_>) -> Result<Tally> {
    let mut sweep = Sweep::new(Stage::set(lab)?, wanted, heard);
    let recorded = record(&sweep.stage, verb)?;
    let points = points(&recorded, wanted);
    let describe = |(aim, call): &(Aim, Call)| {
        let Aim { process, at, injection } = aim;
        (
            format!("{verb}: {process} at call {at} ({}), {injection}", name(*call)),
            format!("cargo xtask sweep --verb {verb} --process {process} --at {at} --inject {injection}"),
        )
    };
    sweep.over(&points, describe, |stage, (aim, _)| one(stage, verb, aim))?;
    sweep.end()
}

/// Sweeps one verb on a file system without blocks or inodes but a few.
///
/// # Errors
/// The stage cannot be set.
pub fn disk(lab: &Lab, verb: Verb, wanted: &Wanted, heard: Heard<'_>) -> Result<Tally> {
    disk::sweep(Sweep::new(Stage::set(lab)?, wanted, heard), verb)
}

/// Sweeps one verb under small limits.
///
/// # Errors
/// The stage cannot be set.
pub fn limits(lab: &Lab, verb: Verb, wanted: &Wanted, heard: Heard<'_>) -> Result<Tally> {
    limits::sweep(Sweep::new(Stage::set(lab)?, wanted, heard), verb)
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

fn points(recorded: &Trace, wanted: &Wanted) -> Vec<(Aim, Call)> {
    let mut points = Vec::new();
    for (process, calls) in &recorded.calls {
        for (at, call) in (1..).zip(calls) {
            let kills = wanted.kill.then_some(Injection::Kill);
            let errors = errors::possible(*call).map(Injection::Fail).filter(|_| wanted.errors);
            let aim = |injection| (Aim { process: process.clone(), at, injection }, *call);
            points.extend(kills.into_iter().chain(errors).map(aim));
        }
    }
    points.retain(|(aim, _)| {
        wanted.process.as_ref().is_none_or(|process| aim.process == *process)
            && wanted.at.is_none_or(|at| aim.at == at)
            && wanted.inject.is_none_or(|inject| aim.injection == inject)
    });
    points
}

/// Returns the name of a system call.
fn name(call: Call) -> String {
    let known = usize::try_from(call.number).ok().and_then(syscalls::Sysno::new);
    known.map_or_else(|| format!("number {}", call.number), |known| known.name().to_owned())
}

/// Tells whether a process got no memory: the runtime of Rust then aborts, and everything but that must hold.
fn is_out_of_memory(aim: &Aim, trace: &Trace) -> bool {
    aim.injection == Injection::Fail(nix::errno::Errno::ENOMEM)
        && trace.hit.is_some_and(|call| [libc::SYS_mmap, libc::SYS_brk, libc::SYS_mprotect].contains(&call))
}

/// Tries one point, and tells whether it was reached.
fn one(stage: &Stage<'_>, verb: Verb, aim: &Aim) -> Result<bool, String> {
    verb.prepare(stage).map_err(|error| format!("{error:#}"))?;
    let monitor = stage.monitor().map(|monitor| monitor.pid);
    let (output, trace) = verb.command(stage).traced(monitor, Task::Inject(aim));
    let excused = is_out_of_memory(aim, &trace);
    if let Some(crash) = trace.crashes.first().filter(|_| !excused) {
        return Err(format!("{crash}; {}", verb::shown(&output)));
    }
    let hit = aim.process == "cli" && trace.hit.is_some();
    let killed = hit && (aim.injection == Injection::Kill || excused && !trace.crashes.is_empty());
    let fate = Fate { killed, outlived: trace.hit_after_end };
    let said = verb::shown(&output);
    verb.judge(stage, &output, fate).map_err(|what| format!("{what} (the command itself: {said})"))?;
    Ok(trace.hit.is_some())
}
