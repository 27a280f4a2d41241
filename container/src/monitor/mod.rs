//! The process that owns a running container: it starts it, answers for it, and cleans up after it.
//!
//! One thread, one poll loop. It is a program of its own (`bryo-monitor`), small because its memory is paid once per
//! running container. The command line hands it the plan in a sealed file and waits for one [`Report`].

mod cleanup;
mod clients;
mod report;
mod run_file;
mod serve;

use std::borrow::Cow;
use std::os::fd::{AsFd, OwnedFd};

use config::Hook;
use sys::{process, socket};
use types::State;

pub(crate) use cleanup::clean;
pub use cleanup::recover;
use report::Starter;
pub use report::{Monitor, Report, start_container};
pub use run_file::RunFile;

use crate::cgroups::Cgroups;
use crate::command::Client;
use crate::error::{Doing, Error, Kind, Result};
use crate::hooks::{self, TakenHooks, Told};
use crate::idmap::MappedNamespace;
use crate::leftovers;
use crate::logging::{Logger, Syslog};
use crate::lxcfs;
use crate::network;
use crate::network::publish::Listeners;
use crate::place::{COMMAND_SOCKET, Lock, Place, StateDir};
use crate::plan::StartPlan;
use crate::start::{self, Begun, Running};

/// What the monitor holds for its whole life.
#[derive(Debug)]
struct Held {
    state: StateDir,
    listener: OwnedFd,
    _lock: Lock,
    _lxc_name: Option<OwnedFd>,
}

/// How one run of the container ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It asked to be started again.
    Reboot,
    /// It is over, with this status of init as shells show it.
    Stopped(i32),
}

/// Runs the monitor: `plan` says what, `report` is the connection to the command that waits. Returns the exit status.
pub fn run(plan: &StartPlan, report: OwnedFd, stdio: Option<&[OwnedFd; 3]>) -> i32 {
    let mut starter = Starter::new(report, plan.foreground);
    match own(plan, &mut starter, stdio) {
        Ok(status) => {
            starter.ended(status);
            0
        }
        Err(failure) => {
            log::error!("{failure}");
            starter.failed(&failure);
            1
        }
    }
}

/// Tells the starter that the plan cannot be used at all. Returns the exit status.
pub fn refuse(report: OwnedFd, failure: Error) -> i32 {
    Starter::new(report, true).failed(&failure);
    1
}

fn own(plan: &StartPlan, starter: &mut Starter, stdio: Option<&[OwnedFd; 3]>) -> Result<i32> {
    detach()?;
    let notes = begin_log(plan)?;
    if plan.shares_pids() {
        // Orphans of the container whose init has ended come here and not to a first process that may reap nobody.
        process::adopt_orphans()?;
    }
    let held = hold(plan)?;
    if starter.is_gone()? {
        // Whoever looked for the container before the lock was taken has found it stopped, and may count on that.
        plan.place.remove_state_dir()?;
        return Err(Error::new(Kind::Died, "the command that asked for the start has ended before it began"));
    }
    let plan = &in_scope(plan);
    // Whoever watches takes the end of its connection for the end of everything, so the server goes last.
    let mut server = serve::Server::new(plan, &held, notes);
    let result = match &mut server {
        Ok(server) => network::prepare(plan, &held.state).and_then(|listeners| {
            server.has_ports(listeners);
            run_until_stopped(plan, &held, server, starter, stdio)
        }),
        Err(failure) => Err(failure.clone()),
    };
    // Hooks may give the ports to others, and who comes to them is refused.
    server.iter_mut().for_each(|server| server.has_ports(Listeners::default()));
    let told = Told { init_pid: None, target: Some("stop") };
    let after = hooks::run(plan, Hook::PostStop, &told, &TakenHooks::default());
    if let Err(e) = after {
        log::warn!("{e}");
    }
    plan.lxcfs.iter().for_each(|lxcfs| lxcfs::tidy(&lxcfs.directory));
    let cleaned = finish(plan, &held.state);
    let status = result?;
    cleaned?;
    Ok(status)
}

/// Goes into a scope of the user's systemd, where that is planned, and returns the plan as it is there.
fn in_scope(plan: &StartPlan) -> Cow<'_, StartPlan> {
    if plan.cgroup.scope.is_none() {
        return Cow::Borrowed(plan);
    }
    let mut there = plan.clone();
    there.notes.extend(there.cgroup.enter_scope(&plan.place.name));
    Cow::Owned(there)
}

/// Begins the log. Returns what of it cannot be had, a sentence each.
fn begin_log(plan: &StartPlan) -> Result<Vec<String>> {
    let mut logger = Logger::new("bryo-monitor", plan.place.name.as_str());
    let mut notes = Vec::new();
    if let Some(file) = &plan.log {
        let opened = logger.with_file(file).map_err(crate::place::from_io);
        logger = opened.doing_with(|| format!("lxc.log.file = {}", file.display()))?;
    }
    if let Some(facility) = &plan.syslog {
        match Syslog::connect(facility) {
            Ok(syslog) => logger = logger.with_syslog(syslog),
            Err(e) => notes.push(format!("lxc.log.syslog = {facility}: nobody takes a log at /dev/log: {e}")),
        }
    }
    logger.begin(plan.log_level);
    Ok(notes)
}

/// Removes what tells of the run, unless some of its processes could not be ended or cgroups not be removed: then the next
/// command tries again, with what the run file says.
fn finish(plan: &StartPlan, state: &StateDir) -> Result<()> {
    // A start that failed leaves the container as it was.
    let has_run = RunFile::read(state)?.is_some_and(|run| run.has_run);
    if cleanup::has_left_something(state) {
        log::warn!("the next command ends the processes and removes the cgroups that are left");
        return Ok(());
    }
    let destroyed = if plan.ephemeral && has_run { cleanup::destroy_ephemeral(plan) } else { Ok(()) };
    plan.place.remove_state_dir()?;
    destroyed
}

/// Leaves the caller's session, and its keyring: the monitor's is what a container gets when the quota of keys (200, shared
/// by all containers of a user) allows it none of its own.
fn detach() -> Result<()> {
    let _is_leader = process::new_session();
    match sys::keyring::join_new_session() {
        // A kernel or filter without keyrings has none to protect.
        Err(e) if !matches!(e.errno(), sys::Errno::ENOSYS | sys::Errno::EPERM) => {
            log::warn!("the monitor keeps the session keyring: {e}");
        }
        _ => {}
    }
    process::set_umask(0o022);
    Ok(process::set_name("bryo-monitor")?)
}

/// Takes the lock, LXC's name of the container and the command socket, or says who has them. What a killed monitor has
/// left is removed under the lock.
fn hold(plan: &StartPlan) -> Result<Held> {
    let place = &plan.place;
    let (state, lock) = place.lock().map_err(|busy| match Client::connect(place) {
        Ok(Some(_)) => Error::new(Kind::Running, format!("{} is running", place.name)),
        _ => busy,
    })?;
    let names = || -> Result<_> {
        cleanup::clean(&state, place, &plan.id_writer, &plan.caller)?;
        let lxc_name = hold_lxc_name(place)?;
        let listener = socket::listen_at(state.fd(), COMMAND_SOCKET).doing("making the command socket")?;
        Ok((lxc_name, listener))
    };
    match names() {
        Ok((lxc_name, listener)) => Ok(Held { state, listener, _lock: lock, _lxc_name: lxc_name }),
        Err(failure) => {
            // A run file of which not all could be cleaned up stays for the next command.
            if matches!(RunFile::read(&state), Ok(None)) {
                place.remove_state_dir().unwrap_or_else(|e| log::warn!("{e}"));
            }
            Err(failure)
        }
    }
}

/// Holds LXC's abstract name without listening on it, so that lxc-start refuses the container.
///
/// Abstract names belong to nobody: another user can take one to be in the way. Such a holder keeps lxc-start off as
/// well as this one would, so only a listener of the caller's own, which is LXC's monitor, refuses the start.
fn hold_lxc_name(place: &Place) -> Result<Option<OwnedFd>> {
    crate::beside::refuse_under_lxc(place)?;
    match socket::hold_abstract_name(&place.lxc_socket_name()) {
        Ok(held) => Ok(Some(held)),
        Err(e) if e.errno() == sys::Errno::EADDRINUSE => Ok(None),
        Err(e) => Err(e).doing("holding LXC's name of the container"),
    }
}

/// Starts, serves, and starts again for as long as the container reboots.
fn run_until_stopped(
    plan: &StartPlan,
    held: &Held,
    server: &mut serve::Server,
    starter: &mut Starter,
    stdio: Option<&[OwnedFd; 3]>,
) -> Result<i32> {
    let (mut run_file, mut cgroups) = take_cgroups(plan, &held.state)?;
    let result = loop {
        let record = |begun: &Begun<'_>| run_file.with(plan, begun)?.write(&held.state);
        let mut running = match start::start(plan, &cgroups, server.ports(), stdio, &record) {
            Ok(running) => running,
            Err(failure) => break Err(failure),
        };
        log::info!("init runs as process {}", running.pid);
        // For good: what a reboot comes to does not matter to a container that was to run once.
        run_file.has_run = true;
        let written = run_file.with(plan, &running.begun()).and_then(|file| file.write(&held.state));
        let end = written.and_then(|()| server.serve(plan, &mut running, starter, held, &mut cgroups));
        let target = if matches!(end, Ok(End::Reboot)) { "reboot" } else { "stop" };
        log::info!("init has ended: {end:?}");
        server.tell(State::Stopping);
        wind_down(plan, running, &cgroups, target);
        server.finish_attached();
        match end {
            // Whoever asked for the end meanwhile means that of the next run too.
            Ok(End::Reboot) if server.is_to_stop(held) => break Ok(0),
            Ok(End::Reboot) => server.tell(State::Starting),
            Ok(End::Stopped(status)) => break Ok(status),
            Err(failure) => break Err(failure),
        }
    };
    cgroups.release();
    if plan.shares_pids() {
        process::reap_ended();
    }
    result
}

/// Takes cgroups with the first names that nothing alive uses. Each try is written down before it makes anything, so that
/// a later command knows what to clean up.
fn take_cgroups(plan: &StartPlan, state: &StateDir) -> Result<(RunFile, Cgroups)> {
    for names in plan.cgroup.names.tries() {
        let run_file = RunFile::of(plan, names.clone())?;
        run_file.write(state)?;
        if let Some(cgroups) = Cgroups::take(&plan.cgroup, &names).doing("making the monitor's cgroup")? {
            return Ok((run_file, cgroups));
        }
    }
    // Others have all of them; none is this container's to clean up.
    RunFile::remove(state)?;
    let taken = cgroup::Error::Taken(plan.cgroup.names.payload.clone());
    Err(Error::new(Kind::Cgroup, taken.to_string()).doing("choosing the names of the cgroups"))
}

/// Ends what is left of a run, in reverse: processes, the stop hook, cgroups.
fn wind_down(plan: &StartPlan, running: Running, cgroups: &Cgroups, target: &'static str) {
    let init = running.pidfd.as_fd();
    if !process::has_ended(init) {
        thaw(plan, &running);
        let killed = process::send_signal(init, types::Signal::KILL);
        running.serving.iter().for_each(|serving| serving.let_end(init));
        if let Err(e) = killed.and_then(|()| process::wait(init).map(drop)) {
            log::warn!("ending init: {e}");
        }
    }
    // First by the cgroups, where there are any: the kernel ends all that is in one, and what it forks meanwhile.
    if let Err(e) = running.cgroup.end_all(|| inside(plan, &running)) {
        log::warn!("ending what is left in the container: {e}");
    }
    if plan.shares_pids()
        && let Err(e) = leftovers::end(running.user.as_fd(), running.mark.as_ref())
    {
        log::warn!("{e}");
    }
    running.serving.iter().for_each(|serving| serving.end(cgroups));
    running.network.end(plan);
    let told = Told { init_pid: None, target: Some(target) };
    if let Err(e) = hooks::run(plan, Hook::Stop, &told, &TakenHooks::default()) {
        log::warn!("{e}");
    }
    start::remove_cgroups(plan, &running.cgroup, running.user);
}

/// Returns the container's own user namespace, to be its root in.
fn inside(plan: &StartPlan, running: &Running) -> Result<MappedNamespace> {
    let user = running.user.try_clone().map_err(crate::place::from_io)?;
    Ok(MappedNamespace::of(user, &plan.idmap, &plan.caller))
}

/// Thaws what the container has frozen of itself, so that a kill ends it.
fn thaw(plan: &StartPlan, running: &Running) {
    if let Err(e) = running.cgroup.thaw_all_below(|| inside(plan, running)) {
        log::warn!("thawing the container: {e}");
    }
}
