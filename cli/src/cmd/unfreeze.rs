//! `bryo unfreeze`

use container::command::Request;
use types::ContainerName;

use super::freeze::ask;
use crate::context::Context;
use crate::output::{Cannot, Outcome};

/// Arguments of `bryo unfreeze`.
#[derive(Debug, clap::Args)]
pub(super) struct Unfreeze {
    /// The container
    name: ContainerName,
}

impl Unfreeze {
    pub(super) fn run(self, context: &Context) -> Outcome {
        ask(context, &self.name, Request::Unfreeze).cannot("unfreeze", &self.name)?;
        Ok(0)
    }
}
