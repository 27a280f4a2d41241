//! A full disk: the user's containers, or the store of images where the verb is about that, on a file system of their own that has room
//! for `k` more blocks, or files.

use anyhow::Result;

use super::stage::IMAGE;
use super::verb::{self, Fate};
use super::{Stage, Sweep, Tally, Tried, Verb};

/// What there is too little of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scarce {
    Blocks,
    Inodes,
}

/// A file system in memory: it counts pages and files exactly, and its limits can be changed while it is in use.
const MOUNT: &str = r#"mkdir -p "$1"; mount -t tmpfs -o mode=700 tmpfs "$1"; chown --reference="$1/.." "$1""#;
const UNMOUNT: &str = r#"umount "$1""#;

/// As many as no test uses.
const PLENTY: u64 = 100_000;

/// How many more there are in each try. The small root file system takes some 500 blocks and 30 files.
fn steps(verb: Verb, scarce: Scarce) -> Vec<u64> {
    match (verb, scarce) {
        (Verb::Create | Verb::Run | Verb::Image | Verb::Pull, Scarce::Blocks) => {
            (0..16).chain((16..560).step_by(16)).collect()
        }
        (Verb::Create | Verb::Run | Verb::Image | Verb::Pull, Scarce::Inodes) => (0..48).collect(),
        _ => (0..10).collect(),
    }
}

/// Sweeps one verb over both kinds of scarcity.
pub(super) fn sweep(mut sweep: Sweep<'_, '_>, verb: Verb) -> Result<Tally> {
    for stage in &mut sweep.stages {
        stage.make_store();
        stage.on_disk(verb, MOUNT)?;
        if verb == Verb::Image {
            stage.bring_image();
        }
        stage.look();
    }
    let points: Vec<_> = [Scarce::Blocks, Scarce::Inodes]
        .into_iter()
        .flat_map(|scarce| steps(verb, scarce).into_iter().map(move |left| (scarce, left)))
        .collect();
    let describe = |(scarce, left): &(Scarce, u64)| {
        let what = if *scarce == Scarce::Blocks { "blocks" } else { "inodes" };
        let place = points.iter().position(|point| point == &(*scarce, *left)).unwrap_or_default();
        (
            format!("{verb}: room for {left} more {what}"),
            format!("cargo xtask sweep --disk --verb {verb} --from {place} --every {}", points.len()),
        )
    };
    let swept = sweep.over(&points, describe, |stage, (scarce, left)| {
        one(stage, verb, *scarce, *left).unwrap_or_else(|error| Tried::failed(format!("{error:#}")))
    });
    for stage in &sweep.stages {
        // A failure may have come with a full disk.
        room(stage, verb, Scarce::Blocks, None)?;
        stage.clear()?;
        stage.on_disk(verb, UNMOUNT)?;
    }
    swept?;
    sweep.end()
}

fn one(stage: &Stage<'_>, verb: Verb, scarce: Scarce, left: u64) -> Result<Tried> {
    room(stage, verb, scarce, None)?;
    verb.prepare(stage)?;
    room(stage, verb, scarce, Some(left))?;
    let output = verb.command(stage).output();
    let clean = cleaned_up(stage, verb, output.status());
    room(stage, verb, scarce, None)?;
    let said = verb::shown(&output);
    let verdict = clean
        .and_then(|()| verb.judge(stage, &output, Fate::default()))
        .map_err(|what| format!("{what} (the command itself: {said})"));
    Ok(Tried { fired: true, felt: output.status() != 0, verdict })
}

/// Requires, while the disk is still full, that what must work there has worked, and that what failed left nothing and
/// says why.
fn cleaned_up(stage: &Stage<'_>, verb: Verb, status: i32) -> Result<(), String> {
    match verb {
        Verb::Exec | Verb::Halt | Verb::Stop | Verb::Destroy if status != 0 => {
            Err("it fails for want of space".to_owned())
        }
        Verb::Create | Verb::Run if status != 0 => stage.require_clean(false),
        Verb::Image | Verb::Pull if status != 0 => {
            let half = stage.half_made_in_store();
            if !half.is_empty() {
                return Err(format!("half-made in the store: {half:?}"));
            }
            stage.require_images(if verb == Verb::Image { &[IMAGE] } else { &[] })?;
            stage.require_clean(false)
        }
        Verb::Start if status != 0 => stage.require_clean(true),
        _ => Ok(()),
    }
}

/// Leaves room for so many more, or for plenty.
fn room(stage: &Stage<'_>, verb: Verb, scarce: Scarce, left: Option<u64>) -> Result<()> {
    let (format, option, unit) = match scarce {
        Scarce::Blocks => ("%b %f", "size", 4096),
        Scarce::Inodes => ("%c %d", "nr_inodes", 1),
    };
    let found = stage.on_disk(verb, &format!(r#"stat -f -c "{format}" "$1""#))?;
    let mut numbers = found.split(' ').map(|number| number.parse::<u64>().unwrap_or_default());
    let used = numbers.next().unwrap_or_default().saturating_sub(numbers.next().unwrap_or_default());
    let blocks = |count: u64| format!("{option}={}", count * unit);
    let options = match left {
        // None at all would mean no limit.
        Some(left) => blocks((used + left).max(1)),
        None => format!("size={},nr_inodes={PLENTY}", PLENTY * 4096),
    };
    stage.on_disk(verb, &format!(r#"mount -o remount,{options} "$1""#)).map(drop)
}
