//! `bryo exec`: a command in a clean environment, and no login.

use std::time::Duration;

use config::Config;
use container::Doing;
use container::attach::AttachRequest;
use types::ContainerName;

use crate::bar::Bar;
use crate::booting;
use crate::bounds::Bounds;
use crate::context::Context;
use crate::inside::{self, clean_environment, set_variable};
use crate::output::{Cannot, Failure, Outcome};
use crate::relay::HEARD_FOR_A_COMMAND;
use crate::rungs::Talk;
use crate::user::User;
use crate::watch::Watch;

/// Arguments of `bryo exec`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Exec {
    /// The container
    name: ContainerName,
    #[command(flatten)]
    wishes: Wishes,
    /// Wait until the container has booted
    #[arg(long)]
    wait_boot: bool,
    /// End the command after so many seconds, the wait for the boot among them; the exit status is 124 then
    #[arg(long, value_name = "SECONDS", value_parser = limit)]
    timeout: Option<u64>,
    /// The command
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

const EXAMPLES: &str = "\
Examples:
  bryo exec web -- ls -l /srv                              a command, as root of the container
  bryo exec -u www-data -w /srv web -- ./report            as another user, in a directory
  bryo exec --wait-boot --timeout 60 web -- ./check        once it has booted, and within a minute";

/// Reads a limit of time.
pub(super) fn limit(text: &str) -> Result<u64, &'static str> {
    text.parse().ok().filter(|seconds| *seconds > 0).ok_or("expected a number of seconds, 1 or more")
}

/// What all verbs that run a command have in common.
#[derive(Debug, Default, clap::Args)]
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

    /// Makes the request of a login: with the user's own variables, in their home directory, of their shell where no command
    /// is given. Where no user is named it is `me`, or root.
    pub(super) fn login(
        &self,
        me: Option<User>,
        command: Vec<String>,
        config: &Config,
    ) -> container::Result<AttachRequest> {
        let usual = || Ok(me.unwrap_or_else(|| User::root_of(config)));
        let user = self.user.as_ref().map_or_else(usual, |word| User::find(word, config))?;
        let request = self.apply(inside::request(command, clean_environment()), user);
        Ok(AttachRequest { login: true, ..request })
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
    pub(super) fn run(self, context: &Context, talk: Talk) -> Outcome {
        let name = self.name.clone();
        self.exec(context, talk).cannot("run a command in", &name).map_err(Failure::beside_a_command)
    }

    fn exec(self, context: &Context, talk: Talk) -> container::Result<i32> {
        let place = context.settled(&self.name)?;
        if !self.wait_boot && self.timeout.is_none() {
            return inside::run(&place, self.request(context)?, None);
        }
        let bounds = Bounds::begin(&HEARD_FOR_A_COMMAND, self.timeout.map(Duration::from_secs))?;
        let mut watch = Watch::over(&bounds);
        if self.wait_boot {
            let talks = talk != Talk::Quiet;
            let boot = booting::wait(&place, &mut watch, talks.then(Bar::default))
                .doing("waiting until it has booted")?;
            if talks {
                booting::warn(&place, &boot);
            }
        }
        inside::run_within(&place, self.request(context)?, &mut watch)
    }

    fn request(self, context: &Context) -> container::Result<AttachRequest> {
        let user = self.wishes.user(&config_or_none(context, &self.name))?;
        let cwd = self.wishes.workdir.clone().or_else(|| Some("/".to_owned()));
        let request = self.wishes.apply(inside::request(self.command, clean_environment()), user);
        Ok(AttachRequest { cwd, ..request })
    }
}
