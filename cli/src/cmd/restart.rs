//! `bryo restart`: a stop, and a start with what the configuration says by now.

use std::time::Duration;

use types::ContainerName;

use super::stop::seconds;
use crate::context::Context;
use crate::output::{Cannot, Outcome};
use crate::rungs::{self, Talk};
use crate::starting::{self, Wanted};
use crate::stopping::{self, How, PATIENCE};

/// Arguments of `bryo restart`.
#[derive(Debug, clap::Args)]
pub(super) struct Restart {
    /// The container
    name: ContainerName,
    /// Kill it when it has not stopped after so many seconds
    #[arg(short, long, value_name = "SECONDS", default_value_t = PATIENCE.as_secs(),
          allow_negative_numbers = true, value_parser = seconds)]
    timeout: u64,
}

impl Restart {
    pub(super) fn run(self, context: &Context, talk: Talk) -> Outcome {
        self.restart(context, talk).cannot("restart", &self.name)
    }

    /// Decides the start first: a container whose configuration cannot be used goes on running.
    fn restart(&self, context: &Context, talk: Talk) -> container::Result<i32> {
        let place = context.settled(&self.name)?;
        let plan = starting::plan(context, Wanted::init(place.clone()))?.plan;
        let patience = Some(Duration::from_secs(self.timeout));
        stopping::stop(&place, How::Halt { patience, then_kill: true })?;
        let running = starting::in_background(context, &plan)?;
        rungs::announce(&plan, &running.rungs, &running.notes, context, talk);
        Ok(0)
    }
}
