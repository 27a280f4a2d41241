//! `bryo image pull`

use container::Result;
use types::source::Source;

use crate::context::Context;
use crate::fetching::{self, From, Pulled};
use crate::json;
use crate::making;
use crate::output::{self, Failure, Outcome};
use crate::rungs::Talk;

/// Arguments of `bryo image pull`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Pull {
    /// Its name: DISTRIBUTION/RELEASE[/ARCHITECTURE[/VARIANT]], or docker:NAME[:TAG|@DIGEST]
    name: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    from: From,
}

const EXAMPLES: &str = "\
Examples:
  bryo image pull debian/13                        the newest build for this machine
  bryo image pull alpine/3.22/arm64/cloud          of another architecture and variant
  bryo image pull debian/13 --server images.lan    from another server
  bryo image pull docker:alpine:3                  from a registry
  bryo image pull debian/13 --json                 for programs

Containers that were made from an older build keep it; bryo image gc removes it once there are none.";

impl Pull {
    fn pull(&self, context: &Context) -> Result<Pulled> {
        match making::source(&self.name)? {
            Source::Registry(reference) => fetching::pull_of_registry(context, &reference, &self.from, None),
            _ => fetching::pull(context, &making::image_name(&self.name)?, &self.from, None),
        }
    }

    pub(super) fn run(self, context: &Context, talk: Talk) -> Outcome {
        let pulled = self.pull(context);
        let pulled = pulled.map_err(|error| Failure::new(&format!("fetch {}", self.name), error))?;
        match (self.json, talk) {
            (true, _) => output::print_line(json::text(&pulled)),
            (false, Talk::Quiet) => {}
            (false, _) => output::say(&format!("{} of {} is here", pulled.record.name, pulled.record.build)),
        }
        Ok(0)
    }
}
