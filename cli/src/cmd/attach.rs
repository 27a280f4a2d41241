//! `bryo attach`: a command with the caller's environment and directory, as lxc-attach runs it.

use types::ContainerName;

use super::exec::{Wishes, config_or_none};
use crate::context::Context;
use crate::inside::{self, callers_environment};
use crate::output::{Cannot, Failure, Outcome};
use crate::user::User;

/// Arguments of `bryo attach`.
#[derive(Debug, clap::Args)]
pub(super) struct Attach {
    /// The container
    name: ContainerName,
    #[command(flatten)]
    wishes: Wishes,
    /// The command; the user's shell without one
    #[arg(last = true)]
    command: Vec<String>,
}

impl Attach {
    pub(super) fn run(self, context: &Context) -> Outcome {
        let name = self.name.clone();
        self.attach(context).cannot("attach to", &name).map_err(Failure::beside_a_command)
    }

    fn attach(self, context: &Context) -> container::Result<i32> {
        let place = context.settled(&self.name)?;
        let found = self.wishes.user(&config_or_none(context, &self.name))?;
        let mut request = inside::request(self.command, callers_environment());
        self.wishes.add_variables(&mut request.environment);
        let User { uid, gid, groups, .. } = found;
        let cwd = self.wishes.workdir;
        inside::run(&place, container::attach::AttachRequest { uid, gid, groups, cwd, ..request }, None)
    }
}
