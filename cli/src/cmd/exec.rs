//! `bryo exec`: a command in a clean environment, and no login.

use config::Config;
use container::attach::AttachRequest;
use types::ContainerName;

use crate::context::Context;
use crate::inside::{self, clean_environment, set_variable};
use crate::output::{Cannot, Failure, Outcome};
use crate::user::User;

/// Arguments of `bryo exec`.
#[derive(Debug, clap::Args)]
pub(super) struct Exec {
    /// The container
    name: ContainerName,
    #[command(flatten)]
    wishes: Wishes,
    /// The command
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// What all verbs that run a command have in common.
#[derive(Debug, clap::Args)]
pub(super) struct Wishes {
    /// Set a variable
    #[arg(short, long = "env", value_name = "KEY=VALUE", value_parser = variable)]
    pub(super) env: Vec<String>,
    /// Run as a user of the container: USER or USER:GROUP, by name or number
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub(super) user: Option<String>,
    /// Start in a directory of the container
    #[arg(short = 'w', long = "workdir", value_name = "DIR")]
    pub(super) workdir: Option<String>,
}

fn variable(word: &str) -> Result<String, &'static str> {
    if inside::has_name(word) { Ok(word.to_owned()) } else { Err("it has no name of a variable") }
}

impl Wishes {
    /// Returns the user who was asked for, else root.
    pub(super) fn user(&self, config: &Config) -> container::Result<User> {
        self.user.as_deref().map_or_else(|| Ok(User::root()), |word| User::find(word, config))
    }

    /// Adds the variables that were asked for. One without a value is the caller's, as in other tools.
    pub(super) fn add_variables(&self, environment: &mut Vec<String>) {
        for word in &self.env {
            let variable = match word.contains('=') {
                true => Some(word.clone()),
                false => std::env::var(word).ok().map(|value| format!("{word}={value}")),
            };
            variable.into_iter().for_each(|variable| set_variable(environment, variable));
        }
    }

    /// Puts user, variables and directory into a request.
    pub(super) fn apply(&self, request: AttachRequest, user: User) -> AttachRequest {
        let mut environment = request.environment;
        user.environment().into_iter().for_each(|variable| set_variable(&mut environment, variable));
        self.add_variables(&mut environment);
        AttachRequest {
            environment,
            uid: user.uid,
            gid: user.gid,
            groups: user.groups,
            cwd: self.workdir.clone(),
            ..request
        }
    }
}

/// Reads the configuration for its root file system; a container may run without one.
pub(super) fn config_or_none(context: &Context, name: &ContainerName) -> Config {
    context.config(&context.place(name)).map(|loaded| loaded.config).unwrap_or_default()
}

impl Exec {
    pub(super) fn run(self, context: &Context) -> Outcome {
        let name = self.name.clone();
        self.exec(context).cannot("run a command in", &name).map_err(Failure::beside_a_command)
    }

    fn exec(self, context: &Context) -> container::Result<i32> {
        let place = context.settled(&self.name)?;
        let user = self.wishes.user(&config_or_none(context, &self.name))?;
        let cwd = self.wishes.workdir.clone().or_else(|| Some("/".to_owned()));
        let request = self.wishes.apply(inside::request(self.command, clean_environment()), user);
        inside::run(&place, AttachRequest { cwd, ..request }, None)
    }
}
