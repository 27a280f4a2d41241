//! `bryo restart`: a stop, and a start with what the configuration says by now.

use types::ContainerName;

use super::stop::{patience, seconds};
use crate::context::Context;
use crate::output::{Cannot, Outcome};
use crate::rungs::{self, Talk};
use crate::starting::{self, Wanted};
use crate::stopping::{self, How};

/// Arguments of `bryo restart`.
#[derive(Debug, clap::Args)]
pub(super) struct Restart {
    /// The container
    name: ContainerName,
    /// Kill it when it has not stopped after so many seconds; 60 unless the setting stop.timeout says otherwise
    #[arg(short, long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = seconds)]
    timeout: Option<u64>,
}

impl Restart {
    pub(super) fn run(self, context: &Context, talk: Talk) -> Outcome {
        self.restart(context, talk).cannot("restart", &self.name)
    }

    /// Decides the start first: a container whose configuration cannot be used goes on running.
    fn restart(&self, context: &Context, talk: Talk) -> container::Result<i32> {
        let place = context.settled(&self.name)?;
        let plan = starting::plan(context, Wanted::init(place.clone()))?.plan;
        let patience = Some(patience(self.timeout, context));
        stopping::stop(&place, How::Halt { patience, then_kill: true })?;
        let running = starting::in_background(context, &plan)?;
        rungs::announce(&plan, &running.rungs, &running.notes, context, talk);
        Ok(0)
    }
}
