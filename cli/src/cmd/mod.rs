//! The verbs of `bryo`.

mod attach;
mod completions;
mod console;
mod create;
mod destroy;
mod dry_run;
mod exec;
mod execute;
mod freeze;
mod info;
mod ls;
mod overview;
mod restart;
mod run;
mod shell;
mod start;
mod stop;
mod unfreeze;

pub(crate) use freeze::ask;
pub(crate) use ls::row;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::context::Context;
use crate::logging;
use crate::output::{BRYO_FAILED, Failure, Outcome};
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
    /// Freeze all processes of a container
    Freeze(freeze::Freeze),
    /// Let a frozen container go on
    Unfreeze(unfreeze::Unfreeze),
    /// Remove a container and all its files
    #[command(alias = "rm")]
    Destroy(destroy::Destroy),
    /// Write a completion script for a shell
    Completions(completions::Completions),
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
        Err(error) => return Failure::new("find the containers", error).print(None),
    };
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
    // A closed standard error is nobody who could be told.
    let _unheard = wrong.print();
    let is_verb = |word: &OsString| BESIDE_A_COMMAND.iter().any(|verb| word == verb);
    match wrong.use_stderr() {
        false => 0,
        true if arguments.get(1).is_some_and(is_verb) => BRYO_FAILED,
        true => 2,
    }
}

impl Verb {
    fn run(self, context: &Context, talk: Talk) -> Outcome {
        match self {
            Self::Create(verb) => verb.run(context, talk),
            Self::Start(verb) => verb.run(context, talk),
            Self::Stop(verb) => verb.run(context),
            Self::Restart(verb) => verb.run(context, talk),
            Self::Exec(verb) => verb.run(context),
            Self::Shell(verb) => verb.run(context),
            Self::Attach(verb) => verb.run(context),
            Self::Console(verb) => verb.run(context),
            Self::Execute(verb) => verb.run(context, talk),
            Self::Run(verb) => verb.run(context, talk),
            Self::Ls(verb) => verb.run(context),
            Self::Info(verb) => verb.run(context),
            Self::Freeze(verb) => verb.run(context),
            Self::Unfreeze(verb) => verb.run(context),
            Self::Destroy(verb) => verb.run(context),
            Self::Completions(verb) => verb.run(),
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
    fn hidden_names_are_known() {
        assert!(Bryo::try_parse_from(["bryo", "rm", "-f", "web"]).is_ok());
        assert!(Bryo::try_parse_from(["bryo", "ps"]).is_ok());
    }
}
