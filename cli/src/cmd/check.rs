//! `bryo check`: would containers start as they are, and what would they not get.

use anstyle::{AnsiColor, Style};
use container::check::missing;
use container::list;
use container::{Error, Kind};
use serde::Serialize;
use types::ContainerName;

use crate::context::Context;
use crate::hints;
use crate::json;
use crate::output::{self, Outcome, printable};
use crate::starting::{self, Wanted};

/// Arguments of `bryo check`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Nothing is started, made or changed. Exit status: 0 when all would start, 1 when one would not.

Examples:
  bryo check web                         one
  bryo check                             all that are here, such as those LXC has made
  bryo -P /srv/lxc check --all           all of another directory
  bryo check --json | jq -r '.containers[] | select(.starts | not).name'")]
pub(super) struct Check {
    /// Containers; all without one
    #[arg(conflicts_with = "all")]
    names: Vec<ContainerName>,
    /// Check all containers
    #[arg(short, long)]
    all: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What would become of one start.
#[derive(Debug, Serialize)]
struct Verdict {
    name: String,
    starts: bool,
    /// What the configuration asks for and the container would not get, and what is worth changing.
    notes: Vec<String>,
    /// Why it would not start.
    why: Option<String>,
    /// What to do about it.
    help: Option<String>,
}

/// All of them.
#[derive(Debug, Serialize)]
struct Report<'a> {
    containers: &'a [Verdict],
    as_they_are: usize,
    with_notes: usize,
    cannot: usize,
}

impl Check {
    pub(super) fn run(self, context: &Context) -> Outcome {
        let names = match self.names.is_empty() {
            true => all(context),
            false => self.names,
        };
        Ok(check(context, &names, self.json))
    }
}

/// Checks one container, for `bryo config check`.
pub(super) fn one(context: &Context, name: ContainerName, json: bool) -> Outcome {
    Ok(check(context, &[name], json))
}

/// LXC's containers are among them. What is being created is no container yet.
fn all(context: &Context) -> Vec<ContainerName> {
    let found = list::list(&context.lxcpath);
    found.iter().filter_map(|found| found.name.parse().ok()).collect()
}

fn check(context: &Context, names: &[ContainerName], json: bool) -> i32 {
    let verdicts: Vec<Verdict> = names.iter().map(|name| verdict(context, name)).collect();
    match json {
        true => output::print_line(json::text(&report(&verdicts))),
        false => output::print_styled(text(&verdicts)),
    }
    i32::from(verdicts.iter().any(|verdict| !verdict.starts))
}

fn verdict(context: &Context, name: &ContainerName) -> Verdict {
    let planned = starting::plan(context, Wanted::init(context.place(name)));
    let mut verdict =
        Verdict { name: name.to_string(), starts: true, notes: Vec::new(), why: None, help: None };
    match planned {
        Ok(planned) => {
            let missing = missing(&planned.plan);
            verdict.notes =
                planned.warnings.into_iter().chain(planned.plan.notes).chain(planned.plan.remarks).collect();
            verdict.starts = missing.is_empty();
            verdict.why = (!verdict.starts).then(|| missing.join("\n"));
        }
        Err(error) => {
            verdict.starts = false;
            verdict.help = hints::hint(&error, Some(name), || Some(context.findings()));
            verdict.why = Some(reason(&error));
        }
    }
    verdict
}

/// Problems of a file name it themselves.
fn reason(error: &Error) -> String {
    if error.kind() == Kind::Config { error.cause().to_owned() } else { error.to_string() }
}

fn report(verdicts: &[Verdict]) -> Report<'_> {
    let count = |fits: fn(&Verdict) -> bool| verdicts.iter().filter(|verdict| fits(verdict)).count();
    Report {
        containers: verdicts,
        as_they_are: count(|verdict| verdict.starts && verdict.notes.is_empty()),
        with_notes: count(|verdict| verdict.starts && !verdict.notes.is_empty()),
        cannot: count(|verdict| !verdict.starts),
    }
}

const BAD: Style = AnsiColor::Red.on_default().bold();
const NOTE: Style = Style::new().bold();

fn text(verdicts: &[Verdict]) -> String {
    let mut text: String = verdicts.iter().map(told).collect();
    match verdicts {
        [] => text.push_str("there are no containers\n"),
        [one] if one.starts && one.notes.is_empty() => {
            text.push_str(&format!("{} starts as it is\n", one.name));
        }
        [_] => {}
        _ => text.push_str(&summary(&report(verdicts))),
    }
    text
}

/// Tells of a container that there is something to say of.
fn told(verdict: &Verdict) -> String {
    let line = |style: Style, label: &str, text: &str| {
        let text = printable(text).replace('\n', "\n        ");
        format!("  {style}{label:>4}:{style:#} {text}\n")
    };
    let mut text = match (verdict.starts, verdict.notes.len()) {
        (true, 0) => return String::new(),
        (true, 1) => format!("{} starts, with a note\n", verdict.name),
        (true, many) => format!("{} starts, with {many} notes\n", verdict.name),
        (false, _) => format!("{BAD}{} cannot start{BAD:#}\n", verdict.name),
    };
    text.extend(verdict.why.iter().map(|why| line(NOTE, "why", why)));
    text.extend(verdict.help.iter().map(|help| line(NOTE, "help", help)));
    text.extend(verdict.notes.iter().map(|note| line(NOTE, "note", note)));
    text
}

/// The sentence that ends a check of several: `11 start as they are, 2 with notes, 1 cannot: old`.
fn summary(report: &Report<'_>) -> String {
    let verb = if report.as_they_are == 1 { "starts as it is" } else { "start as they are" };
    let mut sentence = format!("{} {verb}", report.as_they_are);
    if report.with_notes > 0 {
        sentence.push_str(&format!(", {} with notes", report.with_notes));
    }
    if report.cannot > 0 {
        let names = report.containers.iter().filter(|verdict| !verdict.starts);
        let names: Vec<&str> = names.map(|verdict| verdict.name.as_str()).collect();
        sentence.push_str(&format!(", {} cannot: {}", report.cannot, names.join(", ")));
    }
    sentence + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, starts: bool, notes: &[&str]) -> Verdict {
        let why = (!starts).then(|| "a\nb".to_owned());
        let notes = notes.iter().map(|note| (*note).to_owned()).collect();
        Verdict { name: name.to_owned(), starts, notes, why, help: None }
    }

    fn plain(verdicts: &[Verdict]) -> String {
        anstream::adapter::strip_str(&text(verdicts)).to_string()
    }

    #[test]
    fn several_end_in_one_sentence() {
        let four = [of("a", true, &[]), of("b", true, &["n"]), of("c", false, &[]), of("d", false, &[])];
        let expected = "b starts, with a note\n  note: n\nc cannot start\n   why: a\n        b\n\
                        d cannot start\n   why: a\n        b\n\
                        1 starts as it is, 1 with notes, 2 cannot: c, d\n";
        assert_eq!(plain(&four), expected);
        let two = [of("a", true, &[]), of("b", true, &[])];
        assert_eq!(plain(&two), "2 start as they are\n");
    }

    #[test]
    fn one_alone_needs_no_sum() {
        assert_eq!(plain(&[of("a", true, &[])]), "a starts as it is\n");
        assert_eq!(plain(&[of("a", true, &["n"])]), "a starts, with a note\n  note: n\n");
        assert_eq!(plain(&[]), "there are no containers\n");
    }
}
