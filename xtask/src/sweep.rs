//! `cargo xtask sweep`: kills, errors, full disks and small limits at every place, with a count.

use std::fmt;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};
use tests::lab::SLOTS;
use tests::sweep::tracer::Injection;
use tests::sweep::{self, Failure, Heard, Tally, VERBS, Verb, Wanted};
use tests::{Lab, View};

use crate::build::Speed;

/// Options of `cargo xtask sweep`.
#[derive(Debug, clap::Args)]
pub(crate) struct Sweep {
    /// Kill each process at each of its system calls.
    #[arg(long)]
    kill: bool,
    /// Let each system call fail with each error that it can have.
    #[arg(long)]
    errors: bool,
    /// Fill the disk to the last blocks and files.
    #[arg(long)]
    disk: bool,
    /// Set small limits.
    #[arg(long)]
    limits: bool,
    /// Only this verb: create, start, net, exec, halt, stop, remap, run or destroy; may be repeated.
    #[arg(long = "verb", value_name = "VERB")]
    verbs: Vec<Verb>,
    /// Only this process, such as `monitor/init`.
    #[arg(long, value_name = "NAME")]
    process: Option<String>,
    /// Only this system call of the process.
    #[arg(long, value_name = "N")]
    at: Option<u32>,
    /// Only this: `signal=KILL`, `error=ENOSPC` and so on.
    #[arg(long, value_name = "WHAT")]
    inject: Option<Injection>,
    /// Try every Nth point.
    #[arg(long, value_name = "N", default_value_t = 1)]
    every: usize,
    /// Begin with point N.
    #[arg(long, value_name = "N", default_value_t = 0)]
    from: usize,
    /// Try only the last N points.
    #[arg(long, value_name = "N")]
    last: Option<usize>,
    /// Try N points, spread evenly.
    #[arg(long, value_name = "N")]
    sample: Option<usize>,
    /// Try all points, those that are the same place in the same program too.
    #[arg(long)]
    every_one: bool,
    /// Stop each verb's sweep after so many seconds.
    #[arg(long, value_name = "S")]
    seconds: Option<u64>,
    /// Try so many points at once, each in a lab of its own [default: the number of cores].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=SLOTS as i64))]
    jobs: Option<u8>,
    /// Build the programs unoptimised: for trying out a change.
    #[arg(long)]
    quick: bool,
    /// Sweep the programs that are installed already.
    #[arg(long, conflicts_with = "quick")]
    installed: bool,
    /// Print one JSON object at the end, and nothing before.
    #[arg(long)]
    json: bool,
    /// Show the pure cgroup2 view instead of the hybrid one.
    #[arg(long)]
    unified: bool,
}

impl Sweep {
    /// Runs the sweeps and prints the count, of what was done too where they are cut short; tells whether all was tried that
    /// is wanted, most of it fired, and nothing failed.
    ///
    /// # Errors
    /// A lab cannot be set up, or a verb fails undisturbed.
    pub(crate) fn run(self) -> Result<bool> {
        if !self.installed {
            crate::test::prepare_prefix(if self.quick { Speed::Quick } else { Speed::Shipped })?;
        }
        tests::account::check_tools()?;
        tests::rootfs::busybox()?;
        // From here on a signal ends the sweep and not the process.
        let noted = sweep::note_interrupts()?;
        let mut report = Report::default();
        let done = self.all(&self.wanted(noted), &mut report);
        report.interrupted = noted.load(Ordering::Relaxed) != 0;
        match self.json {
            true => println!("{}", report.json()),
            false => println!("{report}"),
        }
        done.map(|()| report.is_good())
    }

    fn all(&self, wanted: &Wanted, report: &mut Report) -> Result<()> {
        let verbs = if self.verbs.is_empty() { VERBS.to_vec() } else { self.verbs.clone() };
        for (name, sweep, wanted) in self.kinds(wanted) {
            for verb in &verbs {
                if wanted.interrupted.is_some_and(|noted| noted.load(Ordering::Relaxed) != 0) {
                    report.not_begun.push(format!("{name} {verb}"));
                    continue;
                }
                let part = self.part(name, sweep, *verb, &wanted)?;
                self.tell(&part);
                report.parts.push(part);
            }
        }
        Ok(())
    }

    /// Sweeps one verb in one way. The leak check stands around it.
    fn part(&self, name: &'static str, sweep: Kind, verb: Verb, wanted: &Wanted) -> Result<Part> {
        let view = if self.unified { View::Unified } else { View::Hybrid };
        let labs = (0..self.jobs()).map(|_| Lab::new(view)).collect::<Result<Vec<_>>>()?;
        let started = Instant::now();
        let tally = sweep(&labs, verb, wanted, &|failure| self.tell(failure))?;
        let seconds = started.elapsed().as_secs();
        labs.into_iter().for_each(|lab| lab.finish(&format!("{name} {verb}")));
        Ok(Part { name, verb, tally, seconds })
    }

    fn jobs(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        self.jobs.map_or_else(cores, usize::from).min(SLOTS)
    }

    fn tell(&self, text: &dyn std::fmt::Display) {
        if !self.json {
            println!("{text}");
        }
    }

    /// Returns what is to be injected at system calls. Without any choice everything is swept.
    fn wanted(&self, noted: &'static AtomicI32) -> Wanted {
        let named = |kill| self.inject.is_some_and(|inject| (inject == Injection::Kill) == kill);
        Wanted {
            kill: self.kill || self.is_all() || named(true),
            errors: self.errors || self.is_all() || named(false),
            process: self.process.clone(),
            at: self.at,
            inject: self.inject,
            last: self.last,
            sample: self.sample,
            every: self.every,
            from: self.from,
            time: self.seconds.map(Duration::from_secs),
            every_one: self.every_one,
            interrupted: Some(noted),
        }
    }

    fn is_all(&self) -> bool {
        !self.kill && !self.errors && !self.disk && !self.limits && self.inject.is_none()
    }

    fn kinds(&self, wanted: &Wanted) -> Vec<(&'static str, Kind, Wanted)> {
        let kinds: [(bool, &str, Kind, Wanted); 4] = [
            (wanted.kill, "kill", sweep::calls, Wanted { errors: false, ..wanted.clone() }),
            (wanted.errors, "errors", sweep::calls, Wanted { kill: false, ..wanted.clone() }),
            (self.disk || self.is_all(), "disk", sweep::disk, wanted.clone()),
            (self.limits || self.is_all(), "limits", sweep::limits, wanted.clone()),
        ];
        let wanted = kinds.into_iter().filter(|(is_wanted, ..)| *is_wanted);
        wanted.map(|(_, name, kind, wanted)| (name, kind, wanted)).collect()
    }
}

/// One kind of sweep.
type Kind = fn(&[Lab], Verb, &Wanted, Heard<'_>) -> Result<Tally>;

/// What the sweep of one verb in one way came to.
#[derive(Debug)]
struct Part {
    name: &'static str,
    verb: Verb,
    tally: Tally,
    seconds: u64,
}

impl Part {
    fn json(&self) -> Value {
        let Self { name, verb, tally, seconds } = self;
        json!({
            "sweep": name,
            "verb": verb.to_string(),
            "points": tally.points,
            "coalesced": tally.coalesced,
            "injections": tally.injections,
            "missed": tally.missed,
            "unsuccessful": tally.felt,
            "failures": tally.failures.len(),
            "fired": tally.has_fired(),
            "cut": tally.cut,
            "seconds": seconds,
        })
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, verb, tally, seconds } = self;
        write!(f, "{name} {verb}: {tally}, {seconds} s")?;
        if tally.has_fired() { Ok(()) } else { write!(f, "\n{name} {verb}: too little has fired") }
    }
}

/// What all of them came to, as far as they came.
#[derive(Debug, Default)]
struct Report {
    parts: Vec<Part>,
    /// The sweeps that an interrupt has left out.
    not_begun: Vec<String>,
    interrupted: bool,
}

impl Report {
    fn total(&self) -> Tally {
        let mut total = Tally::default();
        self.parts.iter().for_each(|part| total.add(part.tally.clone()));
        total
    }

    /// A sweep that was interrupted is not good: it does not say of what it has not tried that it holds. What had no time to
    /// begin has nothing that could fire.
    fn is_good(&self) -> bool {
        let holds = |part: &Part| part.tally.failures.is_empty() && part.tally.has_fired();
        !self.interrupted && self.parts.iter().all(holds)
    }

    fn json(&self) -> Value {
        let failure = |one: &Failure| json!({ "point": one.point, "what": one.what, "again": one.again });
        let total = self.total();
        json!({
            "sweeps": self.parts.iter().map(Part::json).collect::<Vec<_>>(),
            "points": total.points,
            "coalesced": total.coalesced,
            "injections": total.injections,
            "missed": total.missed,
            "unsuccessful": total.felt,
            "failures": total.failures.iter().map(failure).collect::<Vec<_>>(),
            "interrupted": self.interrupted,
            "not_begun": self.not_begun,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.interrupted {
            let left =
                if self.not_begun.is_empty() { "nothing".to_owned() } else { self.not_begun.join(", ") };
            writeln!(f, "interrupted; not begun: {left}")?;
        }
        write!(f, "{}", self.total())
    }
}
