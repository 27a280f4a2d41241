//! Starting a container: from the words of a command line to a plan, and from a plan to a running container.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use config::{Config, Fault, Loaded};
use container::command::Client;
use container::host::NetworkFacts;
use container::monitor::{Report, start_container};
use container::place::Place;
use container::plan::{self, NetChoice, Refused, Run, StartPlan, StartRequest, Stdio};
use container::{Doing, Error, Kind, Result, remap};

use types::Published;

use crate::context::{self, Context};
use crate::user;

/// What a command line wants started.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// Which container.
    pub(crate) place: Place,
    /// A configuration file instead of the container's own.
    pub(crate) config_file: Option<PathBuf>,
    /// Keys and values on top of the file.
    pub(crate) settings: Vec<(String, String)>,
    /// What to run.
    pub(crate) run: Run,
    /// In the foreground.
    pub(crate) foreground: bool,
    /// Where the caller's streams go.
    pub(crate) stdio: Stdio,
    /// Another network than the configuration's.
    pub(crate) network: Option<NetChoice>,
    /// Nobody chose the configuration's network.
    pub(crate) network_by_default: bool,
    /// Ports that are published beside those that the container always has.
    pub(crate) publish: Vec<Published>,
}

impl Wanted {
    /// Wants a container's own init, in the background.
    pub(crate) fn init(place: Place) -> Self {
        let (config_file, settings) = (None, Vec::new());
        let (run, stdio) = (Run::Init, Stdio::Console);
        Self {
            place,
            config_file,
            settings,
            run,
            foreground: false,
            stdio,
            network: None,
            network_by_default: false,
            publish: Vec::new(),
        }
    }
}

/// A plan, and what is worth a word about its configuration.
#[derive(Debug)]
pub(crate) struct Planned {
    /// The plan.
    pub(crate) plan: StartPlan,
    /// Warnings of the configuration file itself.
    pub(crate) warnings: Vec<String>,
}

/// Decides how the container is started.
pub(crate) fn plan(context: &Context, wanted: Wanted) -> Result<Planned> {
    let loaded = match &wanted.config_file {
        Some(file) => context::load(file)?,
        None => context.config(&wanted.place)?,
    };
    remap::refuse_interrupted(&wanted.place)?;
    let mut config = loaded.config.clone();
    for (key, value) in &wanted.settings {
        config
            .set(key, value)
            .map_err(|fault| Error::new(Kind::Config, fault.advice()))
            .doing_with(|| format!("setting {key} = {value}"))?;
    }
    if wanted.network.is_none() {
        refuse_devices(&loaded, &config, &wanted.settings)?;
    }
    let mut publish = context.beside(&wanted.place)?.publish;
    publish.extend(wanted.publish);
    let file = wanted.config_file.unwrap_or_else(|| wanted.place.config());
    let request = StartRequest {
        config_file: std::path::absolute(&file).unwrap_or_else(|_| file.clone()),
        place: wanted.place,
        run: wanted.run,
        foreground: wanted.foreground,
        stdio: wanted.stdio,
        network: wanted.network,
        network_by_default: wanted.network_by_default,
        publish,
        lxcfs: context.settings().shows_limits(),
        lxcfs_quota: context.settings().counts_quota(),
    };
    let facts = context.facts()?;
    let networks = match wanted.network {
        Some(NetChoice::User) => NetworkFacts::of_host(&config, facts)?,
        Some(NetChoice::Host | NetChoice::Loopback) => NetworkFacts::default(),
        None => NetworkFacts::gather(&config, facts, &request.place)?,
    };
    let plan = plan::plan(request, &config, facts, &networks)?;
    user::refuse_unmapped(&plan.idmap, plan.init.uid, plan.init.gid)?;
    let (own, included): (Vec<_>, Vec<_>) =
        loaded.warnings.iter().partition(|warning| warning.place.file == file);
    // What an included file of the system says is not for the user to change.
    included.iter().for_each(|warning| log::info!("{warning}"));
    Ok(Planned { plan, warnings: own.iter().map(ToString::to_string).collect() })
}

/// Refuses network devices that no ordinary user can have, all of them, each with the line that asks for it.
fn refuse_devices(loaded: &Loaded, config: &Config, settings: &[(String, String)]) -> Result<()> {
    let overridden: BTreeSet<&str> = settings.iter().map(|(key, _)| key.as_str()).collect();
    let told = |refused: Refused| {
        let Refused { key, value, why, instead } = refused;
        let fault = Fault::Refused { value, why, instead };
        let problem = loaded.problem(&key, fault.clone()).filter(|_| !overridden.contains(key.as_str()));
        problem.map_or_else(|| format!("{key}: {}", fault.advice()), |problem| problem.to_string())
    };
    let refused: Vec<String> = plan::refused_devices(config).into_iter().map(told).collect();
    if refused.is_empty() { Ok(()) } else { Err(Error::new(Kind::Config, refused.join("\n"))) }
}

/// Reads `KEY=VALUE`.
pub(crate) fn setting(word: &str) -> Option<(String, String)> {
    let (key, value) = word.split_once('=')?;
    Some((key.trim().to_owned(), value.trim().to_owned()))
}

/// Tells whether the container runs, after waiting for the end of a start that is going on.
pub(crate) fn is_running(place: &Place) -> Result<bool> {
    Ok(Client::connect(place)?.is_some_and(|client| client.status().is_ok()))
}

/// A container that runs.
#[derive(Clone, Debug)]
pub(crate) struct Running {
    /// The monitor's pid.
    pub(crate) monitor_pid: i32,
    /// Init's pid.
    pub(crate) init_pid: i32,
    /// The rungs that were taken.
    pub(crate) rungs: Vec<(String, String)>,
    /// What was left out.
    pub(crate) notes: Vec<String>,
}

impl Running {
    /// Takes what the monitor says first.
    pub(crate) fn of(report: Report) -> Result<Self> {
        match report {
            Report::Running { monitor_pid, init_pid, rungs, notes } => {
                Ok(Self { monitor_pid, init_pid, rungs, notes })
            }
            Report::Failed(failure) => Err(failure),
            Report::Ended(status) => {
                Err(Error::new(Kind::Died, format!("init ended at once, with status {status}")))
            }
        }
    }
}

/// Starts a container in the background and returns when it runs.
pub(crate) fn in_background(context: &Context, plan: &StartPlan) -> Result<Running> {
    let mut monitor = start_container(plan, context.facts()?, None)?;
    let (report, _) = monitor.report()?;
    Running::of(report)
}

/// A file for the monitor's pid. It is opened before the start, so that nothing is started whose pid cannot be told.
#[derive(Debug)]
pub(crate) struct Pidfile {
    path: PathBuf,
    file: File,
}

impl Pidfile {
    /// Makes the file, or empties it.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = sys::path::open_anew(path).doing_with(|| format!("opening {}", path.display()))?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Writes the monitor's pid, without a line break, as LXC does.
    pub(crate) fn write(&self, running: &Running) -> Result<()> {
        let written = (&self.file).write_all(running.monitor_pid.to_string().as_bytes());
        written.map_err(context::from_io).doing_with(|| format!("writing the pid to {}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_a_key_and_a_value() {
        assert_eq!(setting("lxc.uts.name = a=b"), Some(("lxc.uts.name".into(), "a=b".into())));
        assert_eq!(setting("lxc.uts.name"), None);
    }
}
