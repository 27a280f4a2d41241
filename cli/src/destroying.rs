//! Destroying a container, with what speaks against it.

use config::{Config, Hook};
use container::command::Client;
use container::place::Place;
use container::plan::StartPlan;
use container::{Error, Kind, Result, beside, destroy, idmap, remap};

use crate::context::{self, Context};
use crate::starting::{self, Wanted};
use crate::stopping::{self, How};

/// What may be destroyed along.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Along {
    /// A container that runs is killed first.
    pub(crate) running: bool,
    /// Its snapshots go too.
    pub(crate) snapshots: bool,
}

/// Destroys a container.
///
/// # Errors
/// A container that runs under LXC, runs, has snapshots or clones, or is not there.
pub(crate) fn destroy(context: &Context, place: &Place, along: Along) -> Result<()> {
    beside::refuse_under_lxc(place)?;
    if Client::connect(place)?.is_some() {
        if !along.running {
            return Err(Error::new(Kind::Running, format!("{} is running", place.name)));
        }
        stopping::stop(place, How::Kill)?;
        // One that lives only once has gone with its monitor.
        if !place.dir().exists() {
            return Ok(());
        }
    }
    refuse_dependents(place, along)?;
    let facts = context.facts()?;
    let config = context::load(&place.config()).map(|loaded| loaded.config).ok();
    let plan = config.as_ref().and_then(|config| plan_for_hooks(context, place, config));
    let written = config.map(|config| config.idmap).filter(|map| !map.is_empty() || facts.caller.is_root());
    let map = remap::map_of_interrupted(place, facts).or(written).unwrap_or_else(|| idmap::choose(facts));
    destroy::destroy(place, plan.as_ref(), &map, facts)
}

/// LXC keeps snapshots inside the directory, and lists there the clones that need this root file system.
fn refuse_dependents(place: &Place, along: Along) -> Result<()> {
    let clones = std::fs::metadata(place.dir().join("lxc_snapshots")).is_ok_and(|file| file.len() > 0);
    let has_entries = |mut entries: std::fs::ReadDir| entries.next().is_some();
    let snapshots = std::fs::read_dir(place.dir().join("snaps")).is_ok_and(has_entries);
    let what = match (clones, snapshots && !along.snapshots) {
        (true, _) => "clones",
        (false, true) => "snapshots",
        (false, false) => return Ok(()),
    };
    Err(Error::new(Kind::Usage, format!("{} has {what}", place.name)))
}

/// Makes the plan that destroy hooks are told about, where there are such hooks. A container that could not be started
/// is destroyed all the same.
fn plan_for_hooks(context: &Context, place: &Place, config: &Config) -> Option<StartPlan> {
    let has_hooks = config.hooks.get(&Hook::Destroy).is_some_and(|commands| !commands.is_empty());
    let plan = || starting::plan(context, Wanted::init(place.clone()));
    match has_hooks.then(plan)? {
        Ok(planned) => Some(planned.plan),
        Err(e) => {
            log::warn!("the destroy hooks are not run: {e}");
            None
        }
    }
}
