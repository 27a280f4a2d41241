//! `bryo freeze`

use container::beside;
use container::command::{Client, Request};
use types::ContainerName;

use crate::context::Context;
use crate::output::{Cannot, Outcome};

/// Arguments of `bryo freeze`.
#[derive(Debug, clap::Args)]
pub(super) struct Freeze {
    /// The container
    name: ContainerName,
}

impl Freeze {
    pub(super) fn run(self, context: &Context) -> Outcome {
        ask(context, &self.name, Request::Freeze).cannot("freeze", &self.name)?;
        Ok(0)
    }
}

/// Asks a container that must run for something.
pub(crate) fn ask(context: &Context, name: &ContainerName, request: Request) -> container::Result<()> {
    let place = context.settled(name)?;
    beside::refuse_under_lxc(&place)?;
    Client::must_connect(&place)?.ask(request)
}
