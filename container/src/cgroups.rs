//! A container's cgroups: those of its monitor and of its payload, made through the crate `cgroup`.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use cgroup::{Applied, Base, BaseGroup, Entrance, Group, Host, Layout, Limit, Names, Settings, Version};
use config::Config;
use serde::{Deserialize, Serialize};
use sys::process;
use types::{ContainerName, IdMap};

use crate::error::{Doing, Error, Kind, Result};
use crate::host::{Caller, HostFacts, IdWriter};
use crate::idmap::MappedNamespace;

/// How long a freeze or thaw may take.
const FREEZE_PATIENCE: Duration = Duration::from_secs(10);
/// How long the kernel may take to let go of a cgroup whose processes have ended.
const REMOVE_PATIENCE: Duration = Duration::from_secs(2);

/// What is decided about cgroups.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CgroupPlan {
    /// Where to ask for a scope, whose cgroup then takes the place of the caller's own.
    pub scope: Option<PathBuf>,
    /// What the host allows.
    pub host: Host,
    /// The names wished for.
    pub names: Names,
    /// Limits, in the order of the configuration.
    pub limits: Vec<Limit>,
    /// What a mount of the container's view consists of.
    pub trees: Vec<Tree>,
}

/// One hierarchy, as it is mounted in the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tree {
    /// The directory below /sys/fs/cgroup.
    pub name: String,
    /// Mount options of a v1 hierarchy; none for v2.
    pub v1_options: Option<Vec<(String, String)>>,
}

/// Which rung of the ladder the container's cgroups are on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rung {
    /// Below a scope of the user's systemd.
    Scope,
    /// Below the cgroup that the starting command was in.
    Writable,
    /// None: no limits and no freezer.
    None,
}

impl Rung {
    /// Returns the word for the one line that a start prints.
    pub fn word(self) -> &'static str {
        match self {
            Self::Scope => "a scope",
            Self::Writable => "writable",
            Self::None => "none (no limits, no freezer)",
        }
    }
}

impl CgroupPlan {
    /// Decides the cgroups of a container.
    pub fn decide(name: &ContainerName, config: &Config, facts: &HostFacts) -> Result<Self> {
        let settings = Settings {
            dir: config.cgroup_dir.clone(),
            monitor: config.cgroup_dir_monitor.clone(),
            container: config.cgroup_dir_container.clone(),
            inner: config.cgroup_dir_container_inner.clone(),
        };
        let names = Names::new(name, &settings).map_err(|e| Error::new(Kind::Config, e.to_string()))?;
        let limit = |version| {
            move |(key, value): &(String, String)| Limit { version, key: key.clone(), value: value.clone() }
        };
        let v2 = config.cgroup2.iter().map(limit(Version::V2));
        let v1 = config.cgroup1.iter().map(limit(Version::V1));
        Ok(Self {
            scope: facts.manager.as_ref().filter(|_| !config.cgroup_relative).map(|m| m.socket.clone()),
            host: Host::probe(&facts.cgroups),
            names,
            limits: v2.chain(v1).collect(),
            trees: trees(&facts.cgroups),
        })
    }

    /// Tells whether the host delegates v2 controllers, which must be enabled before they limit anything.
    fn enables_controllers(&self) -> bool {
        let v2 = self.host.accesses.iter().filter(|a| a.version == Version::V2 && a.is_usable());
        v2.into_iter().any(|a| !a.controllers.is_empty())
    }

    /// Returns the rung that this host allows.
    pub fn rung(&self) -> Rung {
        if self.scope.is_some() {
            Rung::Scope
        } else if self.host.accesses.iter().any(cgroup::Access::is_usable) {
            Rung::Writable
        } else {
            Rung::None
        }
    }

    /// Moves the calling process, the monitor, into a scope of its own, where that is planned. Where there is none after all
    /// the plan is that for the cgroup in which it is, and the sentence returned says why.
    pub fn enter_scope(&mut self, name: &ContainerName) -> Option<String> {
        let socket = self.scope.as_ref()?;
        let (unit, what) = (format!("bryo-{name}"), format!("Container {name}"));
        match cgroup::enter_scope(socket, &unit, &what, cgroup::SCOPE_PATIENCE) {
            Ok(host) => {
                self.host = host;
                None
            }
            Err(e) => {
                self.scope = None;
                // Who has not answered may have moved the monitor since.
                if let Ok(layout) = Layout::of(Base::Own) {
                    self.host = Host::probe(&layout);
                }
                Some(format!(
                    "the user's systemd gives no scope, so cgroups are {}: {}",
                    self.rung().word(),
                    chain(&e)
                ))
            }
        }
    }
}

fn trees(layout: &Layout) -> Vec<Tree> {
    let tree = |hierarchy: &cgroup::Hierarchy| {
        let name = hierarchy.mountpoint.file_name()?.to_string_lossy().into_owned();
        Some(Tree {
            name,
            v1_options: (hierarchy.version == Version::V1).then(|| v1_options(&hierarchy.controllers)),
        })
    };
    layout.hierarchies.iter().filter_map(tree).collect()
}

/// Options that name a v1 hierarchy: its controllers, or `none,name=NAME` for one without.
fn v1_options(controllers: &[String]) -> Vec<(String, String)> {
    let option = |controller: &String| match controller.strip_prefix("name=") {
        Some(name) => vec![("none".to_owned(), String::new()), ("name".to_owned(), name.to_owned())],
        None => vec![(controller.clone(), String::new())],
    };
    controllers.iter().flat_map(option).collect()
}

/// The cgroups of one monitor, for its whole life.
#[derive(Debug)]
pub struct Cgroups {
    /// Where the scope came from that the base is.
    scope: Option<PathBuf>,
    base: BaseGroup,
    names: Names,
    /// Where the monitor's cgroup is: the base, in all hierarchies where that makes a difference.
    monitors: BaseGroup,
    monitor: Group,
    moving: Moving,
}

/// How far the monitor is on its way into its own cgroup.
#[derive(Debug)]
enum Moving {
    /// Not begun.
    NotYet,
    /// A process does it.
    By(Mover),
    /// Done, or there is nowhere to go.
    Done,
}

/// A process that moves the monitor into its cgroup, while the monitor goes on.
///
/// The kernel lets a move between cgroups of v2 wait for a grace period of RCU, 2 to 15 ms. Nothing in a start needs the
/// monitor in its own cgroup, so nothing waits for it; but no cgroup can be made, mounted or cloned into meanwhile, so it
/// begins when the container runs. Into those of v1 the monitor goes by itself, at once.
#[derive(Debug)]
struct Mover {
    pid: i32,
    pidfd: OwnedFd,
}

impl Mover {
    /// Makes it, if there is a cgroup of v2.
    fn start(group: &Group) -> Result<Option<Self>> {
        if group.clone_target().is_none() {
            return Ok(None);
        }
        let monitor = process::own_pid();
        match process::fork()? {
            process::Cloned::Parent { pid, pidfd } => Ok(Some(Self { pid, pidfd })),
            process::Cloned::Child => {
                let moved =
                    process::die_with_parent(monitor).is_ok() && group.place_in_unified(monitor).is_ok();
                process::exit_now(i32::from(!moved))
            }
        }
    }

    fn finish(self) -> Result<()> {
        match process::wait(self.pidfd.as_fd())? {
            process::Exit::Code(0) => Ok(()),
            _ => Err(Error::new(Kind::Cgroup, "the monitor could not be moved into its own cgroup")),
        }
    }
}

impl Cgroups {
    /// Takes the names for this monitor, with its own cgroup made and the lock on them held, and moves the calling process
    /// there, now or when the container runs. None when something alive has one of the names.
    ///
    /// LXC: makes both groups before the hooks run and takes no lock. Its processes are in them at once.
    pub fn take(plan: &CgroupPlan, names: &Names) -> Result<Option<Self>> {
        let base = BaseGroup::open_base(plan.host.clone()).map_err(failed)?;
        let monitors = BaseGroup::open_base(plan.host.clone().without_idle_unified()).map_err(failed)?;
        let Some(monitor) = take_monitor(&base, &monitors, names).map_err(failed)? else { return Ok(None) };
        let names = names.clone();
        let scope = plan.scope.clone();
        let mut cgroups = Self { scope, base, names, monitors, monitor, moving: Moving::NotYet };
        if cgroups.monitor.is_nowhere() {
            cgroups.moving = Moving::Done;
        } else if plan.enables_controllers() {
            // Controllers are enabled only below a cgroup that no process is in, so the monitor leaves it first.
            cgroups.move_at_once()?;
        }
        Ok(Some(cgroups))
    }

    fn move_at_once(&mut self) -> Result<()> {
        self.moving = Moving::Done;
        self.monitor.entrance().and_then(|entrance| entrance.enter()).map_err(|e| {
            let _left = self.monitor.remove(Duration::ZERO);
            failed(e)
        })
    }

    /// Returns the pid of the process that moves the monitor, while there is one.
    pub fn mover(&self) -> Option<i32> {
        if let Moving::By(mover) = &self.moving { Some(mover.pid) } else { None }
    }

    /// Reaps the process that moved the monitor, once it has ended.
    pub fn reap(&mut self) {
        if let Moving::By(mover) = &self.moving
            && process::has_ended(mover.pidfd.as_fd())
        {
            self.finish_moving();
        }
    }

    fn finish_moving(&mut self) {
        if let Moving::By(mover) = std::mem::replace(&mut self.moving, Moving::Done)
            && let Err(e) = mover.finish()
        {
            log::warn!("{e}");
        }
    }

    /// Lets the monitor set out for its own cgroup, if it has not. For when the container runs.
    pub fn set_out(&mut self) {
        if matches!(self.moving, Moving::NotYet) {
            let entered = self.monitor.entrance().and_then(|entrance| entrance.enter_v1()).map_err(failed);
            self.moving = match entered.and_then(|()| Mover::start(&self.monitor)) {
                Ok(Some(mover)) => Moving::By(mover),
                Ok(None) => Moving::Done,
                Err(e) => {
                    log::warn!("the monitor stays where it is: {e}");
                    Moving::Done
                }
            };
        }
    }

    /// Makes the payload's cgroups.
    pub fn payload(&self) -> Result<Payload> {
        let taken = || Error::new(Kind::Cgroup, cgroup::Error::Taken(self.names.payload.clone()).to_string());
        // LXC may have come in between. Names that the configuration fixes may have been prepared by an administrator.
        if !self.names.is_exact && !self.base.clear(&self.names.payload) {
            return Err(taken());
        }
        let (limited, _kept) = self.base.make_with_controllers(&self.names.payload).map_err(failed)?;
        if self.names.is_exact && !limited.lock().map_err(failed)? {
            return Err(taken());
        }
        let inner = match self.names.inner == self.names.payload {
            true => self.base.open(&self.names.inner),
            false => self.base.make(&self.names.inner),
        };
        let made = inner.and_then(|inner| Ok((inner.entrance()?, inner)));
        match made {
            Ok((entrance, inner)) => Ok(Payload { limited, inner, entrance }),
            Err(e) => {
                let _left = limited.remove(Duration::ZERO);
                Err(failed(e))
            }
        }
    }

    /// Moves the calling process, which shows containers their limits, into a scope of its own, where this container is in one,
    /// which the process outlives. Returns whether that is so.
    pub(crate) fn enter_scope_of_lxcfs(&self) -> bool {
        let Some(socket) = &self.scope else { return false };
        let entered =
            cgroup::enter_scope(socket, "bryo-lxcfs", "Shows containers their limits", SCOPE_OF_LXCFS);
        entered.inspect_err(|e| log::info!("bryo-lxcfs has no scope of its own: {e}")).is_ok()
    }

    /// Makes the cgroup of the process that shows containers their limits, and opens the way into it. It is that of no
    /// container and no monitor, which are removed while it serves others.
    pub(crate) fn make_group_of_lxcfs(&self) -> Result<(Group, Entrance)> {
        let group = self.base.make(Path::new(LXCFS)).map_err(failed)?;
        let entrance = group.entrance().map_err(failed)?;
        Ok((group, entrance))
    }

    /// Removes that cgroup, which the process is about to leave by its end. Others' processes may be in it and stay, so it is the
    /// process that is waited for where it is known.
    pub(crate) fn await_end_of_lxcfs(&self, process: Option<BorrowedFd<'_>>) {
        // It has said that it ends. Nobody removes its cgroup who is gone before it.
        const ENDS: Duration = Duration::from_secs(10);
        match (process, self.base.open(Path::new(LXCFS))) {
            (Some(process), _) => {
                let _in_time = sys::event::readable(process, Some(ENDS));
            }
            (None, Ok(group)) => {
                group.wait_empty(ENDS);
            }
            (None, Err(_)) => {}
        }
        remove_idle_lxcfs(&self.base);
    }

    /// Leaves the monitor's cgroup and removes it.
    pub fn release(mut self) {
        self.finish_moving();
        let left = match self.moving {
            Moving::NotYet => Ok(()),
            _ => self.monitors.take_back().map_err(failed),
        };
        let removed = left.and_then(|()| self.monitor.remove(REMOVE_PATIENCE).map_err(failed));
        if let Err(e) = removed {
            log::warn!("leaving the monitor's cgroup: {e}");
        }
        remove_ways(&self.base, &self.names);
        remove_idle_lxcfs(&self.base);
    }
}

/// How long the user's systemd may take to give that process a scope, after which it begins without.
pub(crate) const SCOPE_OF_LXCFS: Duration = Duration::from_secs(10);

/// The cgroup of the process that shows containers their limits.
const LXCFS: &str = "bryo.lxcfs";

/// Removes it if nothing is in it. Whoever is about to start the process holds its directory's lock, and makes it again.
fn remove_idle_lxcfs(base: &BaseGroup) {
    if let Ok(group) = base.open(Path::new(LXCFS))
        && !group.is_nowhere()
        && group.is_empty()
    {
        let _in_use_again = group.remove(Duration::ZERO);
    }
}

/// Takes the monitor's cgroup, if the payload's name is free too.
///
/// Names that the configuration fixes are used as they are: an administrator may have prepared the groups, and several
/// monitors may have the same.
fn take_monitor(
    base: &BaseGroup,
    monitors: &BaseGroup,
    names: &Names,
) -> std::result::Result<Option<Group>, cgroup::Error> {
    if names.is_exact {
        let is_free = base.open(&names.payload)?.is_empty();
        return is_free.then(|| monitors.make(&names.monitor)).transpose();
    }
    let Some(monitor) = monitors.take(&names.monitor)? else { return Ok(None) };
    if base.clear(&names.payload) {
        return Ok(Some(monitor));
    }
    let _left = monitor.remove(Duration::ZERO);
    Ok(None)
}

/// The cgroups of a container's processes.
#[derive(Debug)]
pub struct Payload {
    limited: Group,
    inner: Group,
    entrance: Entrance,
}

impl Payload {
    /// Returns the directory to clone into, where there is one of v2.
    pub fn clone_target(&self) -> Option<BorrowedFd<'_>> {
        self.inner.clone_target()
    }

    /// Moves the calling process, the container's init while it is the user still, into them; those of v1 alone when it
    /// was cloned into that of v2.
    pub fn enter(&self, cloned: bool) -> Result<()> {
        match cloned {
            true => self.entrance.enter_v1(),
            false => self.entrance.enter(),
        }
        .map_err(failed)
    }

    /// Returns the files by which a process enters those of v1, for the attaching process. Into that of v2 it clones.
    pub fn entrance_files_v1(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.entrance.files_v1()
    }

    /// Gives the cgroup in which the container is to the caller and container root's group together. For the child, while
    /// it is the caller still and in that group already.
    pub fn hand_over(&self) -> Result<()> {
        self.inner.hand_over(0).map_err(failed)
    }

    /// Returns the directories that [`hand_over`](Self::hand_over) gives away.
    pub fn directories(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.inner.directories()
    }

    /// Returns the directories in which its limits and usage are read.
    pub(crate) fn directories_to_view(&self) -> Result<Vec<cgroup::view::Directory>> {
        Ok(self.limited.directories_to_view()?)
    }

    /// Sets limits; the first that cannot be had is the error, with what to do about it.
    pub fn apply(&self, limits: &[Limit]) -> Result<Vec<String>> {
        let mut notes = Vec::new();
        for outcome in self.limited.apply(limits) {
            match outcome.result {
                Ok(Applied::Written) => {}
                Ok(Applied::DeviceRuleSkipped) => {
                    notes.push(format!(
                        "lxc.cgroup*.{}: device rules need root, and are not needed",
                        outcome.limit.key
                    ));
                }
                Err(refusal) => return Err(refused(&refusal)),
            }
        }
        notes.dedup();
        Ok(notes)
    }

    /// Freezes all processes.
    pub fn freeze(&self) -> Result<()> {
        self.limited.freeze(FREEZE_PATIENCE).map_err(failed)
    }

    /// Thaws them.
    pub fn thaw(&self) -> Result<()> {
        self.limited.thaw(FREEZE_PATIENCE).map_err(failed)
    }

    /// Tells which directories they are.
    pub fn identity(&self) -> Identity {
        Identity::of(&self.limited)
    }

    /// Ends every process in them. Those of the container's PID namespace end with init; programs that were attached to
    /// other namespaces alone do not.
    pub fn end_all(&self, inside: impl FnOnce() -> Result<MappedNamespace>) -> Result<()> {
        end_all(&self.limited, inside)
    }

    /// Thaws what is frozen in them, by the container itself too.
    pub fn thaw_all_below(&self, inside: impl FnOnce() -> Result<MappedNamespace>) -> Result<()> {
        thaw_all_below(&self.limited, inside)
    }

    /// Removes them, with those that the container made below. `inside` gives a place to be container root in, where
    /// the caller alone may not.
    pub fn remove(&self, inside: impl FnOnce() -> Result<MappedNamespace>) -> Result<()> {
        remove(&self.limited, inside)
    }
}

fn remove(group: &Group, inside: impl FnOnce() -> Result<MappedNamespace>) -> Result<()> {
    if group.remove(REMOVE_PATIENCE).is_ok() {
        return Ok(());
    }
    inside()?.run(|| {
        // What is not container root's stays, for the caller to remove.
        let _left = group.remove(Duration::ZERO);
        Ok(())
    })?;
    group.remove(REMOVE_PATIENCE).map_err(failed)
}

/// Which directories a container's cgroups are: their inode numbers, in the order of the hierarchies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity(Vec<u64>);

impl Identity {
    fn of(group: &Group) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self(group.paths().map(|path| std::fs::metadata(path).map_or(0, |found| found.ino())).collect())
    }
}

/// The cgroups that bear a container's names.
struct Named {
    payload: Group,
    monitor: Group,
    /// Nobody has the names; whoever has may have just made the groups, and nobody in them yet.
    is_left: bool,
}

impl Named {
    fn open(host: &Host, names: &Names) -> Result<Self> {
        let base = BaseGroup::open_what_is_left(host.clone()).map_err(failed)?;
        let open = |name| base.open(name).map_err(failed);
        let (payload, monitor) = (open(&names.payload)?, open(&names.monitor)?);
        let locked = if names.locked() == names.payload { &payload } else { &monitor };
        let is_left = locked.lock().map_err(failed)?;
        Ok(Self { payload, monitor, is_left })
    }
}

/// Ends and removes the cgroups that a killed monitor has left.
///
/// Names are given again when their owner is dead, so processes are ended only in the very directories that the run file
/// means; any other is removed if nobody lives in it or has it.
pub fn clean_up(
    host: &Host,
    names: &Names,
    was: &Identity,
    idmap: &IdMap,
    writer: &IdWriter,
    caller: &Caller,
) -> Result<()> {
    let Named { payload, monitor, is_left } = Named::open(host, names)?;
    let inside = || MappedNamespace::new(idmap, writer, caller);
    let is_own = !payload.is_nowhere() && Identity::of(&payload) == *was;
    if is_own {
        end_all(&payload, inside)?;
    }
    for (group, may_go) in [(payload, is_own || is_left), (monitor, is_left)] {
        if may_go && !group.is_nowhere() && group.wait_empty(REMOVE_PATIENCE) {
            remove(&group, inside)?;
        }
    }
    let base = BaseGroup::open_what_is_left(host.clone()).map_err(failed)?;
    remove_ways(&base, names);
    // Its last container has just been ended, or it serves others.
    const NOTICED: Duration = Duration::from_secs(2);
    if let Ok(group) = base.open(Path::new(LXCFS)) {
        group.wait_empty(NOTICED);
    }
    remove_idle_lxcfs(&base);
    base.remove_scope();
    Ok(())
}

/// Removes the directories of `lxc.cgroup.dir*` above a container's cgroups, unless others are in them.
fn remove_ways(base: &BaseGroup, names: &Names) {
    [&names.payload, &names.monitor].into_iter().for_each(|path| base.remove_way_to(path));
}

/// Tells whether any cgroup of a container and its monitor exists that nobody else has by now.
pub fn any_is_left(host: &Host, names: &Names) -> Result<bool> {
    let Named { payload, monitor, is_left } = Named::open(host, names)?;
    Ok(is_left && !(payload.is_nowhere() && monitor.is_nowhere()))
}

/// Ends all processes of a group. Container root can have frozen some of them in groups of its own (v1), where no signal
/// ends them; they are thawed first.
fn end_all(group: &Group, inside: impl FnOnce() -> Result<MappedNamespace>) -> Result<()> {
    if group.is_empty() {
        return Ok(());
    }
    thaw_all_below(group, inside)?;
    group.kill(Duration::from_secs(5)).map_err(failed).doing("ending what is left in the cgroups")
}

/// Thaws a group as the caller, and what container root has made below it as that.
fn thaw_all_below(group: &Group, inside: impl FnOnce() -> Result<MappedNamespace>) -> Result<()> {
    if group.thaw_all_below().is_ok() {
        return Ok(());
    }
    inside()?.run(|| {
        // The group itself is the caller's, and thawed.
        let _callers = group.thaw_all_below();
        Ok(())
    })
}

fn refused(refusal: &cgroup::Refusal) -> Error {
    let hint = refusal.hint().map(|h| format!(" ({h})")).unwrap_or_default();
    Error::new(Kind::Cgroup, format!("{}{hint}", chain(refusal)))
}

fn failed(error: impl std::error::Error) -> Error {
    Error::new(Kind::Cgroup, chain(&error))
}

/// Joins an error with its sources.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Moves the calling process by a file of [`Payload::entrance_files_v1`].
pub fn enter_by(file: BorrowedFd<'_>) -> Result<()> {
    sys::path::write_once(file, b"0").doing("moving into the container's cgroup")
}
