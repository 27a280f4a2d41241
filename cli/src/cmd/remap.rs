//! `bryo remap`: a container's files for other ids.

use container::idmap;
use container::place::Place;
use container::remap::{self, Done, Plan, Progress, Shift, Tally};
use container::{Kind, Result};
use types::{ContainerName, IdKind};

use crate::bar::Bar;
use crate::context::Context;
use crate::json;
use crate::output::{self, Cannot, Outcome};
use crate::rungs::Talk;

/// Arguments of `bryo remap`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Remap {
    /// The container, which must not run
    name: ContainerName,
    /// Become a user inside, as with create --me
    #[arg(long)]
    me: bool,
    /// Look at all files and say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  bryo idmap web               which ids inside are which outside, and whether they are granted today
  bryo remap --dry-run web     how many files would get other owners
  bryo remap web               today's ranges of /etc/subuid and /etc/subgid
  bryo remap --me web          the same ids, and you as a user inside

Files that the container has made in shared directories are not part of it, and keep their owners.
A remap that was interrupted is finished by the next one; until then the container does not start.";

impl Remap {
    pub(super) fn run(self, context: &Context, talk: Talk) -> Outcome {
        let lost = self.lost(context);
        self.remap(context, talk).cannot("remap", &self.name).map_err(|failure| match lost {
            Some(lost) => failure.with_help(Kind::IdRange, lost),
            None => failure.or_help(self.half_done(context)),
        })
    }

    /// Says what has become of a container whose files are half shifted.
    fn half_done(&self, context: &Context) -> Option<String> {
        let name = &self.name;
        remap::is_interrupted(&context.place(name)).then(|| {
            format!("{name} does not start until its files are shifted: mend the cause, and bryo remap {name} goes on")
        })
    }

    fn remap(&self, context: &Context, talk: Talk) -> Result<i32> {
        let place = context.settled(&self.name)?;
        let finished = self.finish(context, &place)?;
        remap::tidy(&place)?;
        let plan = remap::plan(&place, &context.config(&place)?.config, context.facts()?, self.me)?;
        match (plan, finished) {
            (Some(plan), _) => self.carry_out(context, &plan, talk)?,
            (None, Some(done)) => self.tell_done(&done, talk),
            (None, None) => self.tell(&Tally::default(), "the ids are today's already", talk),
        }
        Ok(0)
    }

    /// Goes on with a remap that was interrupted.
    fn finish(&self, context: &Context, place: &Place) -> Result<Option<Done>> {
        if !remap::is_interrupted(place) {
            return Ok(None);
        }
        if self.dry_run {
            remap::refuse_interrupted(place)?;
        }
        let facts = context.facts()?;
        with_bar(|tick| remap::resume(place, facts, tick))
    }

    fn carry_out(&self, context: &Context, plan: &Plan, talk: Talk) -> Result<()> {
        let facts = context.facts()?;
        if self.dry_run {
            let tally = with_bar(|tick| plan.look(facts, tick))?;
            if !self.json {
                output::print(maps(plan.shift()));
            }
            self.tell(
                &tally,
                &format!("{} of {} files would get other ids", tally.changed, tally.files),
                talk,
            );
            return Ok(());
        }
        let done = with_bar(|tick| plan.carry_out(facts, tick))?;
        self.tell_done(&done, talk);
        Ok(())
    }

    fn tell_done(&self, done: &Done, talk: Talk) {
        self.tell(&done.tally, &format!("{} files have other ids now", done.tally.changed), talk);
        if let Some(me) = done.me.as_ref().filter(|_| talk != Talk::Quiet && !self.json) {
            output::say(&format!("you are {} ({}) inside", me.name, me.uid));
        }
    }

    fn tell(&self, files: &Tally, sentence: &str, talk: Talk) {
        if self.json {
            let changed = files.changed > 0;
            let told = json::Remapped { name: self.name.as_str(), changed, dry_run: self.dry_run, files };
            output::print_line(json::text(&told));
        } else if talk != Talk::Quiet {
            output::say(&format!("{}: {sentence}", self.name));
        }
        if talk != Talk::Quiet {
            notes(files).iter().for_each(|note| output::note(note));
        }
    }

    /// Says what an administrator must do for ids that are no longer granted: nobody else can give their files away.
    fn lost(&self, context: &Context) -> Option<String> {
        let config = context.config(&context.place(&self.name)).ok()?.config;
        let facts = context.facts().ok()?;
        let lost = idmap::not_granted(&config.idmap, facts);
        let (caller, name) = (facts.caller.label(), &self.name);
        let option = |line: &idmap::NotGranted| match line.kind {
            IdKind::User => format!("--add-subuids {}", line.extent.outside),
            IdKind::Group => format!("--add-subgids {}", line.extent.outside),
        };
        let granting = lost.iter().map(option).collect::<Vec<_>>().join(" ");
        let ending = granting.replace("--add-", "--del-");
        (!lost.is_empty()).then(|| {
            format!(
                "if nobody else has the old ids by now, an administrator can grant them for the time of the shift:\n\
                 sudo usermod {granting} {caller}\n\
                 bryo remap {name}\n\
                 sudo usermod {ending} {caller}"
            )
        })
    }
}

/// Shows a bar on the terminal while something goes on.
fn with_bar<T>(act: impl FnOnce(&mut dyn FnMut(Progress)) -> T) -> T {
    let mut bar = Bar::default();
    let result = act(&mut |progress| bar.show(progress.done, progress.total));
    drop(bar);
    result
}

/// Shows both maps, as the configuration has them.
fn maps(shift: &Shift) -> String {
    let lines = |map: &types::IdMap, sign: char| {
        let kinds = [IdKind::User, IdKind::Group].into_iter();
        let line = |(kind, extent): (IdKind, &types::IdExtent)| {
            format!("{sign} lxc.idmap = {} {extent}\n", kind.letter())
        };
        kinds.flat_map(|kind| map.extents(kind).iter().map(move |e| (kind, e))).map(line).collect::<String>()
    };
    lines(&shift.from, '-') + &lines(&shift.to, '+')
}

/// What was left as it is.
fn notes(files: &Tally) -> Vec<String> {
    let first = files.first_stranger.as_deref().unwrap_or_default();
    let all = [
        (
            files.strangers,
            format!(
                "files belong to ids outside of the container and stay as they are, the first is {first}"
            ),
        ),
        (
            files.attributes_left,
            "access lists or capabilities name ids outside of the container and stay or go".to_owned(),
        ),
        (files.mounts, "mount points are not entered".to_owned()),
        (files.gone, "files are gone since they were listed".to_owned()),
    ];
    all.into_iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect()
}
