//! `cargo xtask sweep`: kills, errors, full disks and small limits at every place, with a count.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};
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
    /// Only this verb: create, start, stop or destroy; may be repeated.
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
    /// Stop each verb's sweep after so many seconds.
    #[arg(long, value_name = "S")]
    seconds: Option<u64>,
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
    /// Runs the sweeps and prints the count; tells whether nothing failed.
    ///
    /// # Errors
    /// A lab cannot be set up, or a verb fails undisturbed.
    pub(crate) fn run(self) -> Result<bool> {
        if !self.installed {
            crate::test::prepare_prefix(if self.quick { Speed::Quick } else { Speed::Shipped })?;
        }
        tests::account::check_tools()?;
        tests::rootfs::busybox()?;
        let wanted = self.wanted();
        let view = if self.unified { View::Unified } else { View::Hybrid };
        let verbs = if self.verbs.is_empty() { VERBS.to_vec() } else { self.verbs.clone() };
        let mut total = Tally::default();
        let mut parts = Vec::new();
        for (name, sweep) in self.kinds(&wanted) {
            for verb in &verbs {
                let lab = Lab::new(view)?;
                let started = Instant::now();
                let tally = sweep(&lab, *verb, &wanted, &mut |failure| self.tell(failure))?;
                let seconds = started.elapsed().as_secs();
                lab.finish(&format!("{name} {verb}"));
                self.tell(&format!("{name} {verb}: {tally}, {seconds} s"));
                parts.push(part(name, *verb, &tally, seconds));
                total.add(tally);
            }
        }
        match self.json {
            true => println!("{}", json(&parts, &total)),
            false => println!("{total}"),
        }
        Ok(total.failures.is_empty())
    }

    fn tell(&self, text: &dyn std::fmt::Display) {
        if !self.json {
            println!("{text}");
        }
    }

    /// Returns what is to be injected at system calls. Without any choice everything is swept.
    fn wanted(&self) -> Wanted {
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
        }
    }

    fn is_all(&self) -> bool {
        !self.kill && !self.errors && !self.disk && !self.limits && self.inject.is_none()
    }

    fn kinds(&self, wanted: &Wanted) -> Vec<(&'static str, Kind)> {
        let kinds: [(bool, &str, Kind); 3] = [
            (wanted.kill || wanted.errors, "calls", sweep::calls),
            (self.disk || self.is_all(), "disk", sweep::disk),
            (self.limits || self.is_all(), "limits", sweep::limits),
        ];
        kinds.into_iter().filter(|(is_wanted, ..)| *is_wanted).map(|(_, name, kind)| (name, kind)).collect()
    }
}

/// One kind of sweep.
type Kind = fn(&Lab, Verb, &Wanted, Heard<'_>) -> Result<Tally>;

fn part(name: &str, verb: Verb, tally: &Tally, seconds: u64) -> Value {
    json!({
        "sweep": name,
        "verb": verb.to_string(),
        "points": tally.points,
        "injections": tally.injections,
        "missed": tally.missed,
        "failures": tally.failures.len(),
        "seconds": seconds,
    })
}

fn json(parts: &[Value], total: &Tally) -> Value {
    let failure = |one: &Failure| json!({ "point": one.point, "what": one.what, "again": one.again });
    json!({
        "sweeps": parts,
        "points": total.points,
        "injections": total.injections,
        "missed": total.missed,
        "failures": total.failures.iter().map(failure).collect::<Vec<_>>(),
    })
}
