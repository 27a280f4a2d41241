//! `bryo shell`: a login.

use container::attach::AttachRequest;
use types::ContainerName;

use super::exec::config_or_none;
use crate::context::Context;
use crate::inside::{self, clean_environment, set_variable};
use crate::output::{Cannot, Failure, Outcome};
use crate::user::User;

/// Arguments of `bryo shell`.
#[derive(Debug, clap::Args)]
pub(super) struct Shell {
    /// The container
    name: ContainerName,
    /// Log in as a user of the container: USER or USER:GROUP, by name or number
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
        let root = || Ok(User::root_of(&config));
        let user = self.user.as_ref().map_or_else(root, |word| User::find(word, &config))?;
        let mut environment = clean_environment();
        user.environment().into_iter().for_each(|variable| set_variable(&mut environment, variable));
        let request = inside::request(Vec::new(), environment);
        let User { uid, gid, groups, .. } = user;
        inside::run(&place, AttachRequest { uid, gid, groups, login: true, ..request }, None)
    }
}
