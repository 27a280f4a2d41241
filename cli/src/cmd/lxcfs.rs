//! `bryo lxcfs`: the files that show containers their own limits, and the process that serves them.

use clap::Subcommand;
use container::{Error, Kind, beside, lxcfs};
use types::ContainerName;

use crate::context::Context;
use crate::hints;
use crate::output::{Cannot, Failure, Outcome};

/// Arguments of `bryo lxcfs`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Lxcfs {
    #[command(subcommand)]
    verb: Verb,
}

const EXAMPLES: &str = "\
Examples:
  bryo lxcfs attach web    web sees its own limits in /proc and /sys from now on, until it stops
  bryo lxcfs detach web    web sees the host's
  bryo lxcfs renew         after an upgrade: the installed bryo-lxcfs serves, and readers only wait a moment";

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show a running container its own limits, also where the files that did are broken
    Attach {
        /// The container
        name: ContainerName,
    },
    /// Show a running container the host's limits
    Detach {
        /// The container
        name: ContainerName,
    },
    /// Have the installed program serve, after an upgrade: readers wait a moment, and get no error
    Renew,
}

impl Lxcfs {
    pub(super) fn run(self, context: &Context) -> Outcome {
        match self.verb {
            Verb::Attach { name } => attach(context, &name).cannot("show its own limits to", &name)?,
            Verb::Detach { name } => detach(context, &name).cannot("show the host's limits to", &name)?,
            Verb::Renew => renew(context)?,
        }
        Ok(0)
    }
}

fn attach(context: &Context, name: &ContainerName) -> container::Result<()> {
    let place = context.settled(name)?;
    beside::refuse_under_lxc(&place)?;
    let Some(found) = &context.facts()?.lxcfs else {
        let why = context.findings().iter().find(|finding| finding.id.starts_with(hints::FUSE));
        let why = why.map_or("bryo-lxcfs is not installed".to_owned(), |finding| finding.fact.clone());
        return Err(Error::new(Kind::Config, why));
    };
    let mut lxcfs = found.clone();
    lxcfs.quota = context.settings().counts_quota();
    lxcfs::cover(&place, &lxcfs).map_err(of_older)
}

fn detach(context: &Context, name: &ContainerName) -> container::Result<()> {
    let place = context.settled(name)?;
    beside::refuse_under_lxc(&place)?;
    lxcfs::uncover(&place).map_err(of_older)
}

/// A monitor that was started before an upgrade knows of no such request.
fn of_older(failure: Error) -> Error {
    match failure.kind() {
        Kind::Build => failure.doing("an older Bryo has started it; bryo restart mends that"),
        _ => failure,
    }
}

fn renew(context: &Context) -> Result<(), Failure> {
    let renewed = context.facts().and_then(|facts| lxcfs::renew(&context.lxcpath, &facts.caller));
    let found = renewed.map_err(|e| Failure::new("renew bryo-lxcfs", e))?;
    if !found {
        log::warn!("bryo-lxcfs does not run; the next start begins the installed one");
    }
    Ok(())
}
