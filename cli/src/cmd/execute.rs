//! `bryo execute`: one command in a container that does not run, below Bryo's own init.

use container::plan::{AppCommand, Run, StartPlan, Stdio};
use container::{Error, Kind, beside};
use types::ContainerName;

use super::exec::Wishes;
use crate::context::Context;
use crate::foreground;
use crate::inside::clean_environment;
use crate::net::Net;
use crate::output::{Cannot, Failure, Outcome};
use crate::rungs::{self, Talk};
use crate::starting::{self, Wanted};
use crate::user::User;

/// Arguments of `bryo execute`.
#[derive(Debug, clap::Args)]
pub(super) struct Execute {
    /// The container
    name: ContainerName,
    #[command(flatten)]
    wishes: Wishes,
    /// Another network than the configuration's
    #[arg(long, value_name = "NETWORK")]
    net: Option<Net>,
    /// The command
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

impl Execute {
    pub(super) fn run(self, context: &Context, talk: Talk) -> Outcome {
        let name = self.name.clone();
        self.execute(context, talk).cannot("run a command in", &name).map_err(Failure::beside_a_command)
    }

    fn execute(self, context: &Context, talk: Talk) -> container::Result<i32> {
        let place = context.settled(&self.name)?;
        beside::refuse_under_lxc(&place)?;
        if starting::is_running(&place)? {
            let cause = format!("{0} is running; bryo exec {0} -- runs a command in it", self.name);
            return Err(Error::new(Kind::Running, cause));
        }
        let run = Run::App(app(&self.wishes, None, self.command, &context.config(&place)?.config)?);
        let network = self.net.map(Into::into);
        let init = Wanted::init(place);
        let wanted = Wanted { run, foreground: true, stdio: Stdio::Caller, network, ..init };
        let plan = starting::plan(context, wanted)?.plan;
        foreground::run(context, &plan, |running| {
            rungs::announce(&plan, &running.rungs, &running.notes, context, only_if_asked(talk, &plan));
            Ok(())
        })
    }
}

/// Makes the command that runs below Bryo's init: as the user who was asked for, else as `user`, else as root.
pub(super) fn app(
    wishes: &Wishes,
    user: Option<User>,
    argv: Vec<String>,
    config: &config::Config,
) -> container::Result<AppCommand> {
    let is_chosen = wishes.user.is_some() || user.is_some();
    let user = user.filter(|_| wishes.user.is_none()).map_or_else(|| wishes.user(config), Ok)?;
    let mut environment = clean_environment();
    environment.extend(user.environment());
    wishes.add_variables(&mut environment);
    Ok(AppCommand {
        argv,
        environment,
        cwd: wishes.workdir.as_ref().map(Into::into),
        uid: is_chosen.then_some(user.uid),
        gid: is_chosen.then_some(user.gid),
    })
}

/// A command's own output is what its caller wants to see, but for what it must know: that it is among the processes outside.
pub(super) fn only_if_asked(talk: Talk, plan: &StartPlan) -> Talk {
    match talk {
        Talk::Verbose | Talk::Quiet => talk,
        _ if plan.shares_pids() => Talk::Notes,
        _ => Talk::Quiet,
    }
}
