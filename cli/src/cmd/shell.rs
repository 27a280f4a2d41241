//! `bryo shell`: a login.

use types::ContainerName;

use super::exec::{Wishes, config_or_none};
use crate::context::Context;
use crate::inside;
use crate::output::{Cannot, Failure, Outcome};
use crate::user::User;

/// Arguments of `bryo shell`.
#[derive(Debug, clap::Args)]
pub(super) struct Shell {
    /// The container
    name: ContainerName,
    /// Log in as a user of the container, by name or number; else as the one that --me made, else as root
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
}

impl Shell {
    pub(super) fn run(self, context: &Context) -> Outcome {
        self.shell(context).cannot("log in to", &self.name).map_err(Failure::beside_a_command)
    }

    fn shell(&self, context: &Context) -> container::Result<i32> {
        let place = context.settled(&self.name)?;
        let config = config_or_none(context, &self.name);
        let map = inside::id_map(&place)?.unwrap_or_default();
        let me = User::me(&map, &config, &context.facts()?.caller);
        let wishes = Wishes { user: self.user.clone(), ..Wishes::default() };
        let request = wishes.login(me, Vec::new(), &config)?;
        inside::run(&place, request, None)
    }
}
