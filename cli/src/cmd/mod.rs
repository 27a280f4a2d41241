//! The verbs of `bryo`.

mod attach;
mod check;
mod completions;
mod config;
mod console;
mod create;
mod destroy;
mod doctor;
mod dry_run;
mod exec;
mod execute;
mod freeze;
mod idmap;
mod image;
mod info;
mod ls;
mod lxcfs;
mod manual;
mod net;
mod overview;
mod remap;
mod restart;
mod run;
mod shell;
mod start;
mod stop;
mod unfreeze;

pub(crate) use freeze::ask;
pub(crate) use idmap::{Known, Me};
pub(crate) use info::Told;
pub(crate) use ls::row;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::context::Context;
use crate::logging;
use crate::output::{self, BRYO_FAILED, Failure, Outcome};
use crate::rungs::Talk;

/// LXC without root: unprivileged system containers for every user.
#[derive(Debug, Parser)]
#[command(name = "bryo", version, disable_help_subcommand = true)]
struct Bryo {
    /// The directory of the containers
    #[arg(short = 'P', long, global = true, value_name = "DIR")]
    lxcpath: Option<PathBuf>,
    /// Say nothing but failures
    #[arg(short, long, global = true)]
    quiet: bool,
    /// Say what was taken from the host, and what would give more
    #[arg(long, global = true, conflicts_with = "quiet")]
    verbose: bool,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a container from an archive, a directory or a template
    Create(create::Create),
    /// Start a container
    Start(start::Start),
    /// Stop a container
    Stop(stop::Stop),
    /// Stop a container and start it again
    Restart(restart::Restart),
    /// Run a command in a running container
    Exec(exec::Exec),
    /// Log in to a running container
    Shell(shell::Shell),
    /// Run a command in a running container with the caller's environment, as lxc-attach does
    Attach(attach::Attach),
    /// Use a terminal of a running container
    Console(console::Console),
    /// Run one command in a container that does not run
    Execute(execute::Execute),
    /// Run a command in a throw-away container
    Run(run::Run),
    /// List containers
    #[command(alias = "ps")]
    Ls(ls::Ls),
    /// Tell about a container
    Info(info::Info),
    /// Read, change and explain a container's configuration
    Config(config::Config),
    /// Tell whether containers would start as they are
    Check(check::Check),
    /// Tell which ids inside are which outside, and who owns what
    Idmap(idmap::Idmap),
    /// Give a container's files to the ids that are granted today
    Remap(remap::Remap),
    /// Fetch images, and list them
    Image(image::Image),
    /// Freeze all processes of a container
    Freeze(freeze::Freeze),
    /// Let a frozen container go on
    Unfreeze(unfreeze::Unfreeze),
    /// Remove a container and all its files
    #[command(alias = "rm")]
    Destroy(destroy::Destroy),
    /// Look for what keeps containers from starting here, or costs them something
    Doctor(doctor::Doctor),
    /// Look after the process that shows containers their own limits
    Lxcfs(lxcfs::Lxcfs),
    /// Tell who may have network devices on which bridge, and who has them
    Net(net::Net),
    /// Write a completion script for a shell
    Completions(completions::Completions),
    /// Write the manual pages to a directory
    #[command(hide = true)]
    Manual(manual::Manual),
    /// Print the help of a verb
    #[command(hide = true)]
    Help {
        /// The verb
        verb: Option<String>,
    },
}

/// The verbs whose exit status is that of a command.
const BESIDE_A_COMMAND: [&str; 5] = ["exec", "shell", "attach", "execute", "run"];

/// Runs `bryo` with its arguments, the first being its own name. Returns the exit status.
pub(crate) fn run(arguments: &[OsString]) -> i32 {
    let bryo = match Bryo::try_parse_from(arguments) {
        Ok(bryo) => bryo,
        Err(wrong) => return misused(&wrong, arguments),
    };
    logging::to_user();
    let context = match Context::new(bryo.lxcpath.as_deref()) {
        Ok(context) => context,
        Err(error) => {
            let failure = Failure::new("find the containers", error);
            let failure = if is_beside_a_command(arguments) { failure.beside_a_command() } else { failure };
            return failure.print(None);
        }
    };
    output::color(context.settings().color);
    let talk = match (bryo.quiet, bryo.verbose) {
        (true, _) => Talk::Quiet,
        (_, true) => Talk::Verbose,
        _ => Talk::Usual,
    };
    let outcome = match bryo.verb {
        Some(verb) => verb.run(&context, talk),
        None => overview::run(&context),
    };
    outcome.unwrap_or_else(|failure| failure.print(Some(&context)))
}

/// Prints what is wrong with the arguments, or the help that was asked for.
fn misused(wrong: &clap::Error, arguments: &[OsString]) -> i32 {
    let printed = wrong.print();
    match (wrong.use_stderr(), printed) {
        (false, Ok(())) => 0,
        (false, Err(error)) => output::unwritten(&error),
        // A closed standard error is nobody who could be told.
        (true, _) if is_beside_a_command(arguments) => BRYO_FAILED,
        (true, _) => 2,
    }
}

/// Tells whether the exit status is that of a command.
fn is_beside_a_command(arguments: &[OsString]) -> bool {
    verb(arguments).is_some_and(|verb| BESIDE_A_COMMAND.iter().any(|known| verb == known))
}

/// Returns the verb of a command line that may make no sense otherwise: the first word after the global options.
fn verb(arguments: &[OsString]) -> Option<&OsString> {
    let mut words = arguments.iter().skip(1);
    while let Some(word) = words.next() {
        match word.to_str() {
            Some("-P" | "-qP" | "--lxcpath") => drop(words.next()),
            Some(option) if option.starts_with('-') => {}
            _ => return Some(word),
        }
    }
    None
}

/// Prints the help of a verb, or of all.
fn help(verb: Option<String>) -> i32 {
    let words = ["bryo".to_owned()].into_iter().chain(verb).chain(["--help".to_owned()]);
    let words: Vec<OsString> = words.map(OsString::from).collect();
    Bryo::try_parse_from(&words).map_or_else(|help| misused(&help, &words), |_| 0)
}

impl Verb {
    fn run(self, context: &Context, talk: Talk) -> Outcome {
        match self {
            Self::Create(verb) => verb.run(context, talk),
            Self::Start(verb) => verb.run(context, talk),
            Self::Stop(verb) => verb.run(context),
            Self::Restart(verb) => verb.run(context, talk),
            Self::Exec(verb) => verb.run(context, talk),
            Self::Shell(verb) => verb.run(context),
            Self::Attach(verb) => verb.run(context),
            Self::Console(verb) => verb.run(context),
            Self::Execute(verb) => verb.run(context, talk),
            Self::Run(verb) => verb.run(context, talk),
            Self::Ls(verb) => verb.run(context),
            Self::Info(verb) => verb.run(context),
            Self::Config(verb) => verb.run(context, talk),
            Self::Check(verb) => verb.run(context),
            Self::Idmap(verb) => verb.run(context),
            Self::Remap(verb) => verb.run(context, talk),
            Self::Image(verb) => verb.run(context, talk),
            Self::Freeze(verb) => verb.run(context),
            Self::Unfreeze(verb) => verb.run(context),
            Self::Destroy(verb) => verb.run(context),
            Self::Doctor(verb) => verb.run(context),
            Self::Lxcfs(verb) => verb.run(context),
            Self::Net(verb) => verb.run(context),
            Self::Completions(verb) => verb.run(),
            Self::Manual(verb) => verb.run(),
            Self::Help { verb } => Ok(help(verb)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_verbs_fit_together() {
        Bryo::command().debug_assert();
    }

    #[test]
    fn a_command_stands_after_the_dashes() {
        assert!(Bryo::try_parse_from(["bryo", "exec", "web", "--", "ls", "-l"]).is_ok());
        assert!(Bryo::try_parse_from(["bryo", "exec", "web", "ls"]).is_err());
        assert!(Bryo::try_parse_from(["bryo", "run", "--", "sh", "-c", "exit 3"]).is_ok());
    }

    #[test]
    fn the_verb_is_found_behind_global_options() {
        let of = |words: &[&str]| {
            let words: Vec<OsString> = words.iter().map(OsString::from).collect();
            verb(&words).and_then(|verb| verb.to_str()).map(str::to_owned)
        };
        for options in [
            &[][..],
            &["-q"],
            &["--verbose"],
            &["-P", "exec"],
            &["-P/x"],
            &["--lxcpath", "exec"],
            &["--lxcpath=/x", "--quiet"],
        ] {
            let words = [&["bryo"], options, &["run", "--bogus"]].concat();
            assert_eq!(of(&words).as_deref(), Some("run"), "{options:?}");
        }
        assert_eq!(of(&["bryo", "-q"]), None);
    }

    #[test]
    fn values_that_make_no_sense_are_refused() {
        let reason = |words: &[&str]| Bryo::try_parse_from(words).unwrap_err().to_string();
        assert!(reason(&["bryo", "stop", "-t", "-1", "web"]).contains("expected a number of seconds"));
        for variable in ["=x", "", "A B=x", "1A=x"] {
            let text = reason(&["bryo", "exec", "-e", variable, "web", "--", "env"]);
            assert!(text.contains("no name of a variable"), "{variable:?}: {text}");
        }
        assert!(Bryo::try_parse_from(["bryo", "exec", "-e", "A_1=", "-e", "B", "web", "--", "env"]).is_ok());
    }

    #[test]
    fn hidden_names_are_known() {
        assert!(Bryo::try_parse_from(["bryo", "rm", "-f", "web"]).is_ok());
        assert!(Bryo::try_parse_from(["bryo", "ps"]).is_ok());
        assert!(Bryo::try_parse_from(["bryo", "help", "run"]).is_ok());
    }
}
