//! `bryo lxcfs`: the process that shows containers their own limits.

use clap::Subcommand;
use container::lxcfs;

use crate::context::Context;
use crate::output::{Failure, Outcome};

/// Arguments of `bryo lxcfs`.
#[derive(Debug, clap::Args)]
pub(super) struct Lxcfs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Have the installed program serve, after an upgrade: readers wait a moment, and get no error
    Renew,
}

impl Lxcfs {
    pub(super) fn run(self, context: &Context) -> Outcome {
        match self.verb {
            Verb::Renew => renew(context),
        }
    }
}

fn renew(context: &Context) -> Outcome {
    let renewed = context.facts().and_then(|facts| lxcfs::renew(&context.lxcpath, &facts.caller));
    let found = renewed.map_err(|e| Failure::new("renew bryo-lxcfs", e))?;
    if !found {
        log::warn!("bryo-lxcfs does not run; the next start begins the installed one");
    }
    Ok(0)
}
