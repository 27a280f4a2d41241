//! `bryo start`

use std::path::PathBuf;

use container::plan::{Run, StartPlan, Stdio};
use container::{Error, Kind, beside};
use types::ContainerName;

use super::dry_run;
use crate::context::Context;
use crate::foreground;
use crate::keys::Keys;
use crate::net::Net;
use crate::output::{self, Cannot, Outcome};
use crate::publish::Publish;
use crate::rungs::{self, Talk};
use crate::starting::{self, Pidfile, Running, Wanted};

/// Arguments of `bryo start`.
#[derive(Debug, clap::Args)]
pub(super) struct Start {
    /// The container
    name: ContainerName,
    /// Stay in the foreground, with the container's console
    #[arg(short = 'F', long)]
    foreground: bool,
    /// Print what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the plan of --dry-run as JSON
    #[arg(long, requires = "dry_run")]
    json: bool,
    /// Set a key of the configuration for this start
    #[arg(long, value_name = "KEY=VALUE", value_parser = Keys::WithValue, hide_possible_values = true)]
    define: Vec<String>,
    /// Use another configuration file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Write the monitor's pid to a file
    #[arg(long, value_name = "FILE")]
    pidfile: Option<PathBuf>,
    /// Another network than the configuration's
    #[arg(long, value_name = "NETWORK")]
    net: Option<Net>,
    #[command(flatten)]
    publish: Publish,
    /// A command to run instead of init
    #[arg(last = true)]
    command: Vec<String>,
}

impl Start {
    pub(super) fn run(self, context: &Context, talk: Talk) -> Outcome {
        let name = self.name.clone();
        self.start(context, talk).cannot("start", &name)
    }

    fn start(self, context: &Context, talk: Talk) -> container::Result<i32> {
        let place = if self.dry_run { context.place(&self.name) } else { context.settled(&self.name)? };
        let (dry_run, json, foreground) = (self.dry_run, self.json, self.foreground);
        if !dry_run {
            beside::refuse_under_lxc(&place)?;
            if starting::is_running(&place)? {
                output::say(&format!("{} is already running", self.name));
                return Ok(0);
            }
        }
        let pidfile = self.pidfile.clone();
        let planned = starting::plan(context, self.wanted(place)?)?;
        let plan = &planned.plan;
        if talk != Talk::Quiet {
            planned.warnings.iter().for_each(|warning| output::warning(warning));
        }
        if dry_run {
            return dry_run::print(plan, json);
        }
        let pidfile = pidfile.as_deref().map(Pidfile::open).transpose()?;
        let on_running = |running: &Running| announce(context, plan, running, talk, pidfile.as_ref());
        if foreground {
            foreground::run(context, plan, on_running)?;
        } else {
            on_running(&starting::in_background(context, plan)?)?;
        }
        Ok(0)
    }

    fn wanted(self, place: container::place::Place) -> container::Result<Wanted> {
        let wrong = |word: &String| Error::new(Kind::Usage, format!("--define {word}: expected KEY=VALUE"));
        let settings = self.define.iter().map(|word| starting::setting(word).ok_or_else(|| wrong(word)));
        Ok(Wanted {
            place,
            config_file: self.config,
            settings: settings.collect::<container::Result<_>>()?,
            run: if self.command.is_empty() { Run::Init } else { Run::InsteadOfInit(self.command) },
            foreground: self.foreground,
            stdio: Stdio::Console,
            network: self.net.map(Into::into),
            network_by_default: false,
            publish: self.publish.into(),
        })
    }
}

fn announce(
    context: &Context,
    plan: &StartPlan,
    running: &Running,
    talk: Talk,
    pidfile: Option<&Pidfile>,
) -> container::Result<()> {
    pidfile.into_iter().try_for_each(|file| file.write(running))?;
    rungs::announce(plan, &running.rungs, &running.notes, context, talk);
    Ok(())
}
