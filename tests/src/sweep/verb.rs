//! The verbs that are swept: what stands before each, and what must hold after it whatever happened.

use std::fmt;
use std::str::FromStr;

use anyhow::{Result, ensure};

use super::stage::{ARCHIVE, IMAGE, SETTLE, Stage, WEB};
use crate::command::wait_until;
use crate::{Command, Output};

/// A verb of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// `bryo create web small.tar.zst`
    Create,
    /// `bryo start web`
    Start,
    /// `bryo start web -p 18080:80`, with a device on a bridge.
    Net,
    /// `bryo exec web -- true`
    Exec,
    /// `bryo stop web`: init halts when it is asked to.
    Halt,
    /// `bryo stop -k web`
    Stop,
    /// `bryo remap web`, of a container that was made with other ids of its user.
    Remap,
    /// `bryo run -n web small.tar.zst -- true`
    Run,
    /// `bryo destroy web`
    Destroy,
    /// `bryo create web small/1`, of an image that is in the store and not unpacked.
    Image,
    /// `bryo image pull debian/13`, of which nothing is in the store.
    Pull,
}

/// Each with its name and its command line, in the order of a container's life.
const TABLE: [(Verb, &str, &[&str]); 11] = [
    (Verb::Create, "create", &["create", WEB, ARCHIVE]),
    (Verb::Start, "start", &["start", WEB]),
    (Verb::Net, "net", &["start", WEB, "-p", "18080:80"]),
    (Verb::Exec, "exec", &["exec", WEB, "--", "true"]),
    (Verb::Halt, "halt", &["stop", "-t", "10", WEB]),
    (Verb::Stop, "stop", &["stop", "-k", WEB]),
    (Verb::Remap, "remap", &["remap", WEB]),
    (Verb::Run, "run", &["run", "-n", WEB, ARCHIVE, "--", "true"]),
    (Verb::Destroy, "destroy", &["destroy", WEB]),
    (Verb::Image, "image", &["create", WEB, IMAGE]),
    (Verb::Pull, "pull", &["image", "pull", "debian/13"]),
];

/// All of them.
pub const VERBS: [Verb; TABLE.len()] = {
    let mut verbs = [Verb::Create; TABLE.len()];
    let mut at = 0;
    while at < verbs.len() {
        verbs[at] = TABLE[at].0;
        at += 1;
    }
    verbs
};

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.row().1)
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
pub(crate) struct Fate<'a> {
    /// The process that died of it.
    pub(crate) died: Option<&'a str>,
    /// Something happened to others after the command had ended, so its success may be over.
    pub(crate) outlived: bool,
    /// It had a limit, which a container that it has started keeps.
    pub(crate) limited: bool,
}

impl Fate<'_> {
    /// The command was killed itself, by one of its threads or the other, so its exit status says nothing.
    fn is_killed(self) -> bool {
        matches!(self.died, Some("cli" | "cli/thread"))
    }
}

impl Verb {
    fn row(self) -> &'static (Self, &'static str, &'static [&'static str]) {
        &TABLE[self as usize]
    }

    /// The command line.
    pub(crate) fn words(self) -> &'static [&'static str] {
        self.row().2
    }

    /// Prepares the command.
    pub(crate) fn command<'lab>(self, stage: &Stage<'lab>) -> Command<'lab> {
        stage.ana.bryo(self.words()).seconds(40)
    }

    /// Brings the container into the state that the verb finds.
    pub(crate) fn prepare(self, stage: &Stage<'_>) -> Result<()> {
        match self {
            Self::Create | Self::Run => Ok(()),
            Self::Image => {
                ok(&stage.bryo(&["image", "gc", "--unpacked"]), "preparing").map_err(anyhow::Error::msg)
            }
            Self::Pull => stage.forget_images(),
            Self::Destroy | Self::Remap => stage.place(),
            Self::Start | Self::Net => stage.make_whole(),
            Self::Exec | Self::Halt | Self::Stop => {
                stage.make_whole()?;
                ok(&stage.bryo(Self::Start.words()), "preparing").map_err(anyhow::Error::msg)?;
                ensure!(self != Self::Halt || stage.init_listens(), "init does not come so far");
                Ok(())
            }
        }
    }

    /// Judges what the command did, and requires that the next commands work and nothing is left.
    pub(crate) fn judge(self, stage: &Stage<'_>, output: &Output, fate: Fate<'_>) -> Result<(), String> {
        no_panic(output)?;
        // A program that was killed inside is told by its status alone, as a shell does.
        let program_died = [Self::Exec, Self::Run].contains(&self) && fate.died.is_some();
        let excused = fate.is_killed() || program_died && output.status() == 128 + libc::SIGKILL;
        if !excused && output.status() != 0 && output.stderr.trim().is_empty() {
            return Err(format!("exit status {} without a word", output.status()));
        }
        if !excused && output.status() > 128 {
            return Err(format!("it died by signal {}", output.status() - 128));
        }
        let succeeded = !fate.is_killed() && output.status() == 0;
        match self {
            Self::Create | Self::Image => created(self, stage, succeeded),
            Self::Pull => pulled(stage, succeeded),
            Self::Start | Self::Net => started(stage, succeeded && !fate.outlived, fate.limited),
            Self::Exec => answered(stage, fate),
            Self::Halt | Self::Stop => stopped(stage, succeeded),
            Self::Remap => remapped(stage, succeeded),
            Self::Run => ran(stage, succeeded),
            Self::Destroy => destroyed(stage, succeeded),
        }
    }
}

fn created(verb: Verb, stage: &Stage<'_>, succeeded: bool) -> Result<(), String> {
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
    let again = stage.bryo(verb.words());
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

/// Requires that a name means whole files, whoever died, and that the next fetch brings them and leaves nothing beside them.
fn pulled(stage: &Stage<'_>, succeeded: bool) -> Result<(), String> {
    let listed = stage.bryo(&["image", "ls"]);
    ok(&listed, "the next image ls")?;
    let is_there = listed.stdout.contains("debian/trixie/");
    if succeeded && !is_there {
        return Err("it succeeded, and there is no image".to_owned());
    }
    ok(&stage.bryo(&["image", "verify"]), "what is there is not whole")?;
    ok(&stage.bryo(Verb::Pull.words()), "the next pull")?;
    ok(&stage.bryo(&["image", "verify"]), "after the next pull")?;
    ok(&stage.bryo(&["image", "rm", "debian/13"]), "the image rm after it")?;
    let left = stage.in_store();
    if !left.is_empty() {
        return Err(format!("left behind in the store: {left:?}"));
    }
    stage.require_clean(false)
}

fn started(stage: &Stage<'_>, succeeded: bool, limited: bool) -> Result<(), String> {
    if succeeded {
        let exec = stage.bryo(Verb::Exec.words());
        if !limited {
            ok(&exec, "it succeeded, and exec")?;
        }
        no_panic(&exec)?;
        if exec.status() != 0 && exec.stderr.trim().is_empty() {
            return Err(format!("it succeeded, and exec: exit status {} without a word", exec.status()));
        }
    }
    if limited {
        ok(&stage.bryo(Verb::Stop.words()), "the next stop")?;
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

/// Requires that the container goes on running unless its monitor died: then the next command says so.
fn answered(stage: &Stage<'_>, fate: Fate<'_>) -> Result<(), String> {
    let again = stage.bryo(Verb::Exec.words());
    no_panic(&again)?;
    if again.status() != 0 && fate.died != Some("monitor") {
        return Err(format!("the next exec: {}", shown(&again)));
    }
    if again.status() != 0 && again.stderr.trim().is_empty() {
        return Err(format!("the next exec: exit status {} without a word", again.status()));
    }
    ok(&stage.bryo(Verb::Stop.words()), "stop after it")?;
    stage.require_clean(true)
}

/// Requires that half shifted files are never started, and that the next remap ends what was begun.
fn remapped(stage: &Stage<'_>, succeeded: bool) -> Result<(), String> {
    if succeeded && let Some(damage) = stage.damage() {
        return Err(format!("it succeeded, and {damage}"));
    }
    if !is_listed(stage)? {
        return Err("the container is not listed any more".to_owned());
    }
    if !succeeded {
        let start = stage.bryo(Verb::Start.words());
        no_panic(&start)?;
        match start.status() {
            0 => ok(&stage.bryo(Verb::Stop.words()), "stop after it")?,
            1 if stage.is_half_shifted() && start.stderr.contains("bryo remap web") => {}
            _ => return Err(format!("the next start: {}", shown(&start))),
        }
        ok(&stage.bryo(Verb::Remap.words()), "the next remap")?;
    }
    if let Some(damage) = stage.damage() {
        return Err(format!("after the next remap {damage}"));
    }
    lives(stage)?;
    stage.require_clean(true)
}

/// Requires that nothing is left: by the command itself where it tells, else by the end of its container and the next command.
fn ran(stage: &Stage<'_>, succeeded: bool) -> Result<(), String> {
    if succeeded {
        stage.require_clean(false)?;
    }
    if !wait_until(SETTLE, || stage.monitor().is_none()) {
        return Err("its container goes on running".to_owned());
    }
    if is_listed(stage)? {
        return Err("its container is listed, after it and the next command".to_owned());
    }
    stage.require_clean(false)?;
    ok(&stage.bryo(Verb::Run.words()), "the next run")?;
    stage.require_clean(false)
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

/// What Rust's runtime says when it panics by itself: it has no memory for the signal stack of a new thread. The second is its
/// last line where that thread is the first, before `main`; of a program that `bryo` runs, that line is all that is told.
const OUT_OF_MEMORY: [&str; 2] =
    ["std/src/sys/pal/unix/stack_overflow.rs", "fatal runtime error: initialization or cleanup bug"];

/// Requires that a command does not tell of a panic.
pub(crate) fn no_panic(output: &Output) -> Result<(), String> {
    let words = ["panicked at", "fatal runtime error"];
    let panicked = words.iter().any(|words| output.stderr.contains(words));
    let of_the_runtime = OUT_OF_MEMORY.iter().any(|words| output.stderr.contains(words));
    match panicked && !of_the_runtime {
        true => Err(format!("a panic: {}", shown(output))),
        false => Ok(()),
    }
}

/// Returns how a command ended, on one line.
pub(crate) fn shown(output: &Output) -> String {
    let said = output.stderr.lines().map(str::trim).collect::<Vec<_>>().join(" | ");
    format!("exit status {}: {said}", output.status())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_verb_has_its_own_row() {
        assert!(VERBS.iter().all(|verb| verb.row().0 == *verb));
    }
}
