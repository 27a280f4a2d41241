//! What a monitor that was killed has left, and how the next command removes it.

use std::os::fd::AsFd;
use std::time::Duration;

use sys::process;

use super::RunFile;
use crate::cgroups;
use crate::error::{Doing, Error, Kind, Result};
use crate::host::{Caller, IdWriter};
use crate::leftovers;
use crate::lxcfs;
use crate::place::{Place, StateDir};
use crate::plan::StartPlan;

/// How long init may take to end once it is killed.
const PATIENCE: Duration = Duration::from_secs(5);

/// Removes what a killed monitor has left of a container: its processes, cgroups and files. Does nothing for a
/// container that runs, that somebody works on, or that has ended as it should.
///
/// Returns whether anything was left.
pub fn recover(place: &Place, writer: &IdWriter, caller: &Caller) -> Result<bool> {
    if place.state_dir()?.is_none() {
        return Ok(false);
    }
    // A monitor that was killed may be a moment from its end; this waits a little.
    let (state, _lock) = match place.lock() {
        Err(e) if e.kind() == Kind::Busy => return Ok(false),
        taken => taken?,
    };
    let left = clean(&state, place, writer, caller)?;
    lxcfs::tidy_all(place, caller);
    // One that was to live only once, and has.
    if let Some(run) = left.filter(|run| run.ephemeral && run.has_run) {
        crate::destroy::remove_files(place, &run.idmap, writer, caller)?;
    }
    place.remove_state_dir()?;
    Ok(true)
}

/// Ends the processes and removes the cgroups of which the run file tells. For a holder of the container's lock.
pub(crate) fn clean(
    state: &StateDir,
    place: &Place,
    writer: &IdWriter,
    caller: &Caller,
) -> Result<Option<RunFile>> {
    let Some(run) = RunFile::read(state)? else { return Ok(None) };
    if run.is_of_this_boot()? {
        // The cgroups first: what is frozen in them ends only when it is thawed. Each is tried, whatever became of the rest.
        let end = || {
            let cgroups = cgroups::clean_up(&run.host, &run.names, &run.cgroups, &run.idmap, writer, caller);
            (cgroups, end_init(&run))
        };
        let (mut cgroups, mut init) = end();
        if let Some(living) = run.living_init() {
            // A process of the container's that has asked for one of its files does not end before it is answered.
            lxcfs::end_hung_of(place, caller, living.as_fd());
            (cgroups, init) = end();
        }
        // The others, where they do not end with init and not with a cgroup.
        run.traces.as_ref().map_or(Ok(()), leftovers::end_by)?;
        cgroups.and(init).doing("cleaning up after a killed monitor")?;
    }
    Ok(Some(run))
}

/// Tells whether processes or cgroups of the run file are still there, or may be.
pub(super) fn has_left_something(state: &StateDir) -> bool {
    let run = match RunFile::read(state) {
        Ok(Some(run)) => run,
        read => return read.is_err(),
    };
    run.traces.as_ref().is_some_and(leftovers::are_left)
        || cgroups::any_is_left(&run.host, &run.names).unwrap_or(true)
}

/// Ends an init whose monitor died without taking it along (`lxc.monitor.signal.pdeath = 0`).
fn end_init(run: &RunFile) -> Result<()> {
    let Some(pidfd) = run.living_init() else { return Ok(()) };
    process::send_signal(pidfd.as_fd(), types::Signal::KILL)?;
    if sys::event::readable(pidfd.as_fd(), Some(PATIENCE))? {
        return Ok(());
    }
    let pid = run.init.as_ref().map_or(0, |init| init.pid);
    Err(Error::new(Kind::Busy, format!("the container's init, process {pid}, was killed and does not end")))
}

/// Destroys a container that was to live only once.
pub(super) fn destroy_ephemeral(plan: &StartPlan) -> Result<()> {
    crate::destroy::remove_files(&plan.place, &plan.idmap, &plan.id_writer, &plan.caller)
}
