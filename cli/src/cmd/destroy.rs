//! `bryo destroy`

use container::Kind;
use types::ContainerName;

use crate::context::Context;
use crate::destroying::{self, Along};
use crate::output::{Cannot, Outcome};

/// Arguments of `bryo destroy`.
#[derive(Debug, clap::Args)]
pub(super) struct Destroy {
    /// The container
    name: ContainerName,
    /// Kill it first when it runs
    #[arg(short, long)]
    force: bool,
    /// Remove its snapshots too
    #[arg(long)]
    snapshots: bool,
}

impl Destroy {
    pub(super) fn run(self, context: &Context) -> Outcome {
        let name = &self.name;
        let place = context.settled(name).cannot("destroy", name)?;
        let along = Along { running: self.force, snapshots: self.snapshots };
        let destroyed = destroying::destroy(context, &place, along).cannot("destroy", name);
        destroyed.map_err(|failure| failure.with_help(Kind::Running, "stop it first, or add -f"))?;
        Ok(0)
    }
}
