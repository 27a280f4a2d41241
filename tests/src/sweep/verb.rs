//! The verbs that are swept: what stands before each, and what must hold after it whatever happened.

use std::fmt;
use std::str::FromStr;

use anyhow::Result;

use super::stage::{SETTLE, Stage, WEB};
use crate::command::wait_until;
use crate::{Command, Output};

/// A verb of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// `bryo create web small.tar.zst`
    Create,
    /// `bryo start web`
    Start,
    /// `bryo stop -k web`
    Stop,
    /// `bryo destroy web`
    Destroy,
}

/// All of them, in the order of a container's life.
pub const VERBS: [Verb; 4] = [Verb::Create, Verb::Start, Verb::Stop, Verb::Destroy];

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create => "create",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Destroy => "destroy",
        })
    }
}

impl FromStr for Verb {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        VERBS
            .into_iter()
            .find(|verb| verb.to_string() == word)
            .ok_or_else(|| format!("the verbs are {}", VERBS.map(|verb| verb.to_string()).join(", ")))
    }
}

/// What befell a command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fate {
    /// It was killed itself, so its exit status says nothing.
    pub(crate) killed: bool,
    /// Something happened to others after it had ended, so its success may be over.
    pub(crate) outlived: bool,
}

impl Verb {
    /// The command line.
    pub(crate) fn words(self) -> &'static [&'static str] {
        match self {
            Self::Create => &["create", WEB, "small.tar.zst"],
            Self::Start => &["start", WEB],
            Self::Stop => &["stop", "-k", WEB],
            Self::Destroy => &["destroy", WEB],
        }
    }

    /// Prepares the command.
    pub(crate) fn command<'lab>(self, stage: &Stage<'lab>) -> Command<'lab> {
        stage.ana.bryo(self.words()).seconds(40)
    }

    /// Brings the container into the state that the verb finds.
    pub(crate) fn prepare(self, stage: &Stage<'_>) -> Result<()> {
        match self {
            Self::Create => {}
            Self::Destroy => stage.place()?,
            Self::Start if stage.damage().is_none() => {}
            Self::Start => stage.place()?,
            Self::Stop => {
                if stage.damage().is_some() {
                    stage.place()?;
                }
                ok(&stage.bryo(&["start", WEB]), "preparing").map_err(anyhow::Error::msg)?;
            }
        }
        Ok(())
    }

    /// Judges what the command did, and requires that the next commands work and nothing is left.
    pub(crate) fn judge(self, stage: &Stage<'_>, output: &Output, fate: Fate) -> Result<(), String> {
        no_panic(output)?;
        if !fate.killed && output.status() != 0 && output.stderr.trim().is_empty() {
            return Err(format!("exit status {} without a word", output.status()));
        }
        if !fate.killed && output.status() > 128 {
            return Err(format!("it died by signal {}", output.status() - 128));
        }
        let succeeded = !fate.killed && output.status() == 0;
        match self {
            Self::Create => created(stage, succeeded),
            Self::Start => started(stage, succeeded && !fate.outlived),
            Self::Stop => stopped(stage, succeeded),
            Self::Destroy => destroyed(stage, succeeded),
        }
    }
}

fn created(stage: &Stage<'_>, succeeded: bool) -> Result<(), String> {
    let whole = stage.looks_whole();
    if whole && let Some(damage) = stage.damage() {
        return Err(format!("a half-made container looks whole: {damage}"));
    }
    if succeeded && !whole {
        return Err("it succeeded, and there is no container".to_owned());
    }
    let listed = is_listed(stage)?;
    if listed != whole {
        return Err(format!("the container is whole: {whole}, listed: {listed}"));
    }
    let again = stage.bryo(Verb::Create.words());
    no_panic(&again)?;
    match (whole, again.status()) {
        (true, 1) if again.stderr.contains("exists already") => {}
        (false, 0) => {}
        _ => return Err(format!("the next create: {}", shown(&again))),
    }
    if let Some(damage) = stage.damage() {
        return Err(format!("the next create made a container that is not whole: {damage}"));
    }
    lives(stage)?;
    ok(&stage.bryo(Verb::Destroy.words()), "the destroy after it")?;
    stage.require_clean(false)
}

fn started(stage: &Stage<'_>, succeeded: bool) -> Result<(), String> {
    if succeeded {
        ok(&stage.bryo(&["exec", WEB, "--", "true"]), "it succeeded, and exec")?;
    }
    if !is_listed(stage)? {
        return Err("the container is not listed any more".to_owned());
    }
    lives(stage)?;
    stage.require_clean(true)
}

fn stopped(stage: &Stage<'_>, succeeded: bool) -> Result<(), String> {
    // One that was killed may be a moment from its end.
    if succeeded && !wait_until(SETTLE, || stage.monitor().is_none()) {
        return Err("it succeeded, and a monitor runs".to_owned());
    }
    ok(&stage.bryo(Verb::Stop.words()), "the next stop")?;
    stage.require_clean(true)?;
    lives(stage)?;
    stage.require_clean(true)
}

fn destroyed(stage: &Stage<'_>, succeeded: bool) -> Result<(), String> {
    if succeeded {
        return stage.require_clean(false);
    }
    if stage.looks_whole()
        && let Some(damage) = stage.damage()
    {
        return Err(format!("a half-destroyed container looks whole: {damage}"));
    }
    let listed = is_listed(stage)?;
    if listed {
        lives(stage)?;
    }
    let again = stage.bryo(Verb::Destroy.words());
    no_panic(&again)?;
    let gone = again.status() == 1 && again.stderr.contains("does not exist");
    if again.status() != 0 && (listed || !gone) {
        return Err(format!("the next destroy: {}", shown(&again)));
    }
    stage.require_clean(false)
}

/// Requires that a container starts, answers and stops.
pub(crate) fn lives(stage: &Stage<'_>) -> Result<(), String> {
    ok(&stage.bryo(Verb::Start.words()), "the next start")?;
    ok(&stage.bryo(&["exec", WEB, "--", "true"]), "exec after it")?;
    ok(&stage.bryo(Verb::Stop.words()), "stop after it")
}

/// Lists, which cleans up too.
pub(crate) fn is_listed(stage: &Stage<'_>) -> Result<bool, String> {
    let list = stage.bryo(&["ls"]);
    ok(&list, "the next ls")?;
    Ok(list.stdout.lines().any(|line| line.split_whitespace().next() == Some(WEB)))
}

fn ok(output: &Output, what: &str) -> Result<(), String> {
    no_panic(output)?;
    if output.status() == 0 { Ok(()) } else { Err(format!("{what}: {}", shown(output))) }
}

/// Where Rust's runtime panics by itself: it has no memory for the signal stack of a new thread.
const OUT_OF_MEMORY: &str = "std/src/sys/pal/unix/stack_overflow.rs";

/// Requires that a command does not tell of a panic.
pub(crate) fn no_panic(output: &Output) -> Result<(), String> {
    let words = ["panicked at", "fatal runtime error"];
    let panicked = words.iter().any(|words| output.stderr.contains(words));
    match panicked && !output.stderr.contains(OUT_OF_MEMORY) {
        true => Err(format!("a panic: {}", shown(output))),
        false => Ok(()),
    }
}

/// Returns how a command ended, on one line.
pub(crate) fn shown(output: &Output) -> String {
    let said = output.stderr.lines().map(str::trim).collect::<Vec<_>>().join(" | ");
    format!("exit status {}: {said}", output.status())
}
