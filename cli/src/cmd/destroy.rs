//! `bryo destroy`

use std::io::ErrorKind;

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
        let dir = context.place(name).dir();
        // One that cannot be looked at is not gone.
        let is_gone = || std::fs::symlink_metadata(&dir).is_err_and(|e| e.kind() == ErrorKind::NotFound);
        let was_gone = is_gone();
        let place = context.settled(name).cannot("destroy", name)?;
        if !was_gone && is_gone() {
            // What an interrupted command had left is gone, and that is all there was.
            return Ok(0);
        }
        let along = Along { running: self.force, snapshots: self.snapshots };
        let destroyed = destroying::destroy(context, &place, along).cannot("destroy", name);
        destroyed.map_err(|failure| failure.with_help(Kind::Running, "stop it first, or add -f"))?;
        Ok(0)
    }
}
