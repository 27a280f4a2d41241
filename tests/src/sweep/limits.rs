//! Small limits: each verb under each of a list of resource limits, set by prlimit(1).

use anyhow::{Context, Result};

use super::verb::{self, Fate};
use super::{Stage, Sweep, Tally, Tried, Verb};
use crate::Output;

/// The limits by prlimit's option, with the values that are tried.
fn limits() -> Vec<(&'static str, u64)> {
    let of = |name: &'static str, values: Vec<u64>| values.into_iter().map(move |value| (name, value));
    of("nofile", (3..=40).collect())
        .chain(of("nproc", (1..=12).collect()))
        .chain(of("as", (2..=64).map(|megabytes| megabytes << 20).collect()))
        .chain(of("fsize", vec![0, 1, 4, 16, 64, 256, 1024, 4096, 65_536, 1 << 20]))
        .chain(of("stack", (4..=64).step_by(4).map(|pages| pages << 12).collect()))
        .chain(of("cpu", vec![0, 1]))
        .chain(of("data", (1..=16).map(|megabytes| megabytes << 18).collect()))
        .collect()
}

/// Sweeps one verb over all limits.
pub(super) fn sweep(mut sweep: Sweep<'_, '_>, verb: Verb) -> Result<Tally> {
    let first = sweep.stages.first().context("a sweep needs a lab")?;
    let points: Vec<_> = limits().into_iter().filter(|(name, value)| starts(first, name, *value)).collect();
    let describe = |(name, value): &(&'static str, u64)| {
        let place = points.iter().position(|point| point == &(*name, *value)).unwrap_or_default();
        (
            format!("{verb}: prlimit --{name}={value}"),
            format!("cargo xtask sweep --limits --verb {verb} --from {place} --every {}", points.len()),
        )
    };
    sweep.over(&points, describe, |stage, (name, value)| one(stage, verb, name, *value))?;
    sweep.end()
}

/// Tells whether a program starts at all: under some limits the kernel and the loader cannot, and Bryo has no say.
fn starts(stage: &Stage<'_>, name: &str, value: u64) -> bool {
    limited(stage, name, value, &["--version"]).status() == 0
}

fn limited(stage: &Stage<'_>, name: &str, value: u64, words: &[&str]) -> Output {
    let limit = format!("--{name}={value}");
    stage.ana.run("prlimit", [&[&limit, "bryo"], words].concat()).seconds(40).output()
}

fn one(stage: &Stage<'_>, verb: Verb, name: &str, value: u64) -> Tried {
    if !starts(stage, name, value) {
        return Tried::MISSED;
    }
    if let Err(error) = verb.prepare(stage) {
        return Tried::failed(format!("{error:#}"));
    }
    let output = limited(stage, name, value, verb.words());
    let said = verb::shown(&output);
    // The kernel ends by a signal what has used up its time.
    let died = (name == "cpu" && output.status() > 128).then_some("cli");
    let verdict = verb
        .judge(stage, &output, Fate { died, limited: true, ..Fate::default() })
        .map_err(|what| format!("{what} (the command itself: {said})"));
    Tried { fired: true, felt: output.status() != 0, verdict }
}
