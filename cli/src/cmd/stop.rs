//! `bryo stop`

use std::time::Duration;

use container::{Error, Kind};
use types::ContainerName;

use crate::context::Context;
use crate::output::{self, Cannot, Outcome};
use crate::stopping::{self, How, PATIENCE, Stopped};

/// Arguments of `bryo stop`.
#[derive(Debug, clap::Args)]
pub(super) struct Stop {
    /// The container
    name: ContainerName,
    /// Kill it at once
    #[arg(short, long, conflicts_with = "timeout")]
    kill: bool,
    /// Kill it when it has not stopped after so many seconds; 60 unless the setting stop.timeout says otherwise
    #[arg(short, long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = seconds)]
    timeout: Option<u64>,
}

/// Reads a number of seconds.
pub(super) fn seconds(text: &str) -> Result<u64, &'static str> {
    text.parse().map_err(|_| "expected a number of seconds, 0 or more")
}

/// Returns how long a container may take to stop.
pub(super) fn patience(asked: Option<u64>, context: &Context) -> Duration {
    asked.or(context.settings().stop.timeout).map_or(PATIENCE, Duration::from_secs)
}

impl Stop {
    pub(super) fn run(self, context: &Context) -> Outcome {
        let name = &self.name;
        match self.stop(context).cannot("stop", name)? {
            Stopped::NotRunning => output::say(&format!("{name} is not running")),
            Stopped::Gone | Stopped::StillRunning => {}
        }
        Ok(0)
    }

    fn stop(&self, context: &Context) -> container::Result<Stopped> {
        let place = context.settled(&self.name)?;
        let patience = Some(patience(self.timeout, context));
        let how = if self.kill { How::Kill } else { How::Halt { patience, then_kill: true } };
        match stopping::stop(&place, how)? {
            Stopped::NotRunning if !place.is_defined() => {
                let cause = format!("there is no container {} in {}", place.name, place.lxcpath.display());
                Err(Error::new(Kind::NotDefined, cause))
            }
            stopped => Ok(stopped),
        }
    }
}
