//! A start, as phases: [`Prepared`] -> [`Spawned`] -> [`Mapped`] -> [`Running`].
//!
//! Each phase takes itself and gives the next, so an order that compiles is an order that works. Each phase that can
//! break is undone in reverse by dropping what it holds: namespaces, mounts and terminals live in fds and in the child;
//! what the kernel does not undo by itself, the child and its cgroups, each phase's `end` undoes.

mod handshake;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use config::Hook;
use sys::event::{self, Ready};
use sys::namespace;
use sys::process::{self, Cloned, flags};

pub use handshake::{Channel, FromChild, FromMonitor};

use crate::cgroups::{Cgroups, Payload};
use crate::error::{Doing, Error, Kind, Result};
use crate::hooks::{self, TakenHooks, Told};
use crate::idmap::{self, MappedNamespace};
use crate::init;
use crate::leftovers::{self, Mark};
use crate::lxcfs::{self, Serving, Summoned, Target};
use crate::network::publish::Listeners;
use crate::network::{self, Init, Wired};
use crate::plan::StartPlan;

/// Hooks have run and the cgroups stand.
#[derive(Debug)]
pub struct Prepared<'a> {
    plan: &'a StartPlan,
    cgroups: &'a Cgroups,
    listeners: &'a Listeners,
    stdio: Option<&'a [OwnedFd; 3]>,
    cgroup: Payload,
}

/// The child exists in its namespaces, as the user still.
#[derive(Debug)]
pub struct Spawned<'a> {
    prepared: Prepared<'a>,
    child: Child,
    channel: Channel,
    /// Who is to serve the container's files, until they are.
    lxcfs: Option<Result<Summoned>>,
}

/// The child has its ids.
#[derive(Debug)]
pub struct Mapped<'a> {
    spawned: Spawned<'a>,
    serving: Option<Serving>,
}

/// The container runs.
#[derive(Debug)]
pub struct Running {
    /// Init's pid on the host.
    pub pid: i32,
    /// A pidfd of init.
    pub pidfd: OwnedFd,
    /// By which /proc tells of init, whether it still shows it or not.
    pub stat: OwnedFd,
    /// The user namespace, for cleaning up as container root.
    pub user: OwnedFd,
    /// The mark on it.
    pub mark: Option<Mark>,
    /// The cgroups.
    pub cgroup: Payload,
    /// What was made outside for its network.
    pub network: Wired,
    /// The root of its devpts.
    pub devpts: Option<OwnedFd>,
    /// The console's master side.
    pub console: Option<OwnedFd>,
    /// Master sides of /dev/tty1 and on.
    pub ttys: Vec<OwnedFd>,
    /// The files that show it its limits, while they are served.
    pub serving: Option<Serving>,
    /// It sees them all.
    pub sees_limits: bool,
    /// What the start could not do, a sentence each.
    pub notes: Vec<String>,
}

#[derive(Debug)]
struct Child {
    pid: i32,
    pidfd: OwnedFd,
    stat: OwnedFd,
    user: OwnedFd,
    mark: Option<Mark>,
}

/// What a later command must know of a container before anything of it runs.
#[derive(Debug)]
pub struct Begun<'a> {
    /// Init's pid on the host.
    pub pid: i32,
    /// The user namespace.
    pub user: BorrowedFd<'a>,
    /// The mark on it.
    pub mark: Option<&'a Mark>,
    /// The cgroups.
    pub cgroup: &'a Payload,
}

/// Writes it down.
pub type Record<'a> = dyn Fn(&Begun<'_>) -> Result<()> + 'a;

/// Starts the container, from nothing to running. `listeners` are the ports of the host that lead into it. `record` is called
/// before anything of the container runs.
pub fn start(
    plan: &StartPlan,
    cgroups: &Cgroups,
    listeners: &Listeners,
    stdio: Option<&[OwnedFd; 3]>,
    record: &Record<'_>,
) -> Result<Running> {
    Prepared::prepare(plan, cgroups, listeners, stdio)?.spawn()?.map()?.run(record)
}

impl<'a> Prepared<'a> {
    fn prepare(
        plan: &'a StartPlan,
        cgroups: &'a Cgroups,
        listeners: &'a Listeners,
        stdio: Option<&'a [OwnedFd; 3]>,
    ) -> Result<Self> {
        hooks::run(plan, Hook::PreStart, &Told::default(), &TakenHooks::default())?;
        let cgroup = cgroups.payload().doing("making the cgroups")?;
        Ok(Self { plan, cgroups, listeners, stdio, cgroup })
    }

    fn spawn(self) -> Result<Spawned<'a>> {
        match self.clone_child() {
            Ok((child, channel)) => {
                let summon = |plan| Summoned::for_start(plan, self.cgroups);
                let lxcfs = self.plan.lxcfs.as_ref().map(summon);
                Ok(Spawned { prepared: self, child, channel, lxcfs })
            }
            Err(e) => {
                self.undo();
                Err(e)
            }
        }
    }

    /// Clones the child into its user and PID namespaces; the others it makes itself, while the id map is being written.
    /// Where there are v2 and clone3 it starts in its cgroup of v2; all others it enters by itself, before it leaves to a
    /// cgroup namespace.
    fn clone_child(&self) -> Result<(Child, Channel)> {
        let (ours, theirs) = Channel::pair()?;
        let into = self.cgroup.clone_target().filter(|_| self.plan.clone3);
        let at_clone = self.plan.namespaces & (flags::NEWUSER | flags::NEWPID);
        match process::clone(at_clone, into).doing("making the namespaces")? {
            Cloned::Child => {
                drop(ours);
                let given = init::Given {
                    channel: theirs,
                    cgroup: &self.cgroup,
                    cloned_into_cgroup: into.is_some(),
                    namespaces: self.plan.namespaces & !at_clone,
                    stdio: self.stdio,
                    keep_groups: keeps_groups(self.plan),
                };
                init::run(self.plan, &given)
            }
            Cloned::Parent { pid, pidfd } => {
                drop(theirs);
                let proc = namespace::proc_dir(pid).doing("opening the namespaces")?;
                let user = namespace::of_process(proc.as_fd(), "user").doing("opening the namespaces")?;
                let stat = process::open_stat(proc.as_fd()).doing("opening the namespaces")?;
                let mark = if self.plan.shares_pids() { Mark::set(proc.as_fd()) } else { None };
                Ok((Child { pid, pidfd, stat, user, mark }, ours))
            }
        }
    }

    fn undo(&self) {
        let mapped = || MappedNamespace::new(&self.plan.idmap, &self.plan.id_writer, &self.plan.caller);
        if let Err(e) = self.cgroup.remove(mapped) {
            log::warn!("undoing the start: {e}");
        }
    }
}

fn keeps_groups(plan: &StartPlan) -> bool {
    idmap::keeps_groups(&plan.idmap, &plan.caller)
}

impl<'a> Spawned<'a> {
    /// Has the child's map written.
    fn map(self) -> Result<Mapped<'a>> {
        match self.write_map() {
            Ok(()) => Ok(Mapped { spawned: self, serving: None }),
            Err(e) => Err(self.fail(e)),
        }
    }

    fn write_map(&self) -> Result<()> {
        let plan = self.prepared.plan;
        idmap::write(self.child.pid, &plan.idmap, &plan.id_writer, &plan.caller)?;
        self.channel.send(&FromMonitor::IdsWritten, &[])
    }

    /// Returns the container whose files may be served.
    fn target(&self) -> Target<'_> {
        let Self { prepared, child, .. } = self;
        Target {
            payload: &prepared.cgroup,
            cgroups: prepared.cgroups,
            init: child.pidfd.as_fd(),
            user: child.user.as_fd(),
            keeps_groups: keeps_groups(prepared.plan),
        }
    }

    /// Undoes this phase and returns the root cause: what the child has met, if it has, since the two work at the same time,
    /// and its death is only the consequence that the monitor saw. A child that was only left alone has met nothing.
    fn fail(self, why: Error) -> Error {
        self.fail_served(why, None)
    }

    /// As [`Spawned::fail`], where the child may wait for whoever serves its files.
    fn fail_served(self, why: Error, serving: Option<&Serving>) -> Error {
        let cause = match self.channel.last_word::<FromChild>() {
            Some(FromChild::Failed(cause)) if cause.kind() != Kind::Died => cause,
            _ => why,
        };
        self.end(serving);
        cause
    }

    fn end(self, serving: Option<&Serving>) {
        let init = self.child.pidfd.as_fd();
        let killed = process::send_signal(init, types::Signal::KILL);
        serving.iter().for_each(|serving| serving.let_end(init));
        if let Err(e) = killed.and_then(|()| process::wait(init).map(drop)) {
            log::warn!("ending the child: {e}");
        }
        if let Some(Ok(lxcfs)) = self.lxcfs {
            lxcfs.end(self.prepared.cgroups);
        }
        // A start hook of the container's may have left something, which no PID namespace ends.
        if self.prepared.plan.shares_pids()
            && let Err(e) = leftovers::end(self.child.user.as_fd(), self.child.mark.as_ref())
        {
            log::warn!("{e}");
        }
        remove_cgroups(self.prepared.plan, &self.prepared.cgroup, self.child.user);
    }
}

impl Running {
    /// Tells whether it sees its own limits.
    pub(crate) fn sees_its_limits(&self) -> bool {
        self.sees_limits && self.serving.as_ref().is_some_and(Serving::is_had)
    }

    /// Tells whether it sees the host's limits since nobody can be had to show it its own.
    pub(crate) fn lacks_its_limits(&self) -> bool {
        self.serving.as_ref().is_some_and(Serving::is_given_up)
    }

    /// Returns what is to be known of it to serve its files.
    pub(crate) fn target<'a>(&'a self, plan: &StartPlan, cgroups: &'a Cgroups) -> Target<'a> {
        Target {
            payload: &self.cgroup,
            cgroups,
            init: self.pidfd.as_fd(),
            user: self.user.as_fd(),
            keeps_groups: keeps_groups(plan),
        }
    }

    /// Returns what a later command must know of it.
    pub fn begun(&self) -> Begun<'_> {
        Begun { pid: self.pid, user: self.user.as_fd(), mark: self.mark.as_ref(), cgroup: &self.cgroup }
    }
}

impl Child {
    fn begun<'a>(&'a self, cgroup: &'a Payload) -> Begun<'a> {
        Begun { pid: self.pid, user: self.user.as_fd(), mark: self.mark.as_ref(), cgroup }
    }
}

/// Removes the payload cgroups, with what init made below them.
pub fn remove_cgroups(plan: &StartPlan, cgroup: &Payload, user: OwnedFd) {
    if let Err(e) = cgroup.remove(|| Ok(MappedNamespace::of(user, &plan.idmap, &plan.caller))) {
        log::warn!("removing the cgroups: {e}");
    }
}

/// What the child sent when its root stood.
#[derive(Debug, Default)]
struct Sent {
    devpts: Option<OwnedFd>,
    console: Option<OwnedFd>,
    ttys: Vec<OwnedFd>,
    sees_limits: bool,
    notes: Vec<String>,
}

impl Mapped<'_> {
    /// Lets the child finish, and sees it exec.
    fn run(mut self, record: &Record<'_>) -> Result<Running> {
        let network = match self.wire(record) {
            Ok(network) => network,
            Err(e) => return Err(self.spawned.fail(e)),
        };
        match self.finish() {
            Ok(mut sent) => {
                sent.notes.extend_from_slice(network.notes());
                Ok(self.into_running(sent, network))
            }
            Err(e) => {
                network.end(self.spawned.prepared.plan);
                let (serving, cgroups) = (self.serving.take(), self.spawned.prepared.cgroups);
                serving.iter().for_each(Serving::let_go);
                let cause = self.spawned.fail_served(e, serving.as_ref());
                serving.iter().for_each(|serving| serving.end(cgroups));
                Err(cause)
            }
        }
    }

    /// Writes down what a later command must know, and makes the network, both while the child mounts.
    fn wire(&self, record: &Record<'_>) -> Result<Wired> {
        let Spawned { prepared, child, channel, .. } = &self.spawned;
        record(&child.begun(&prepared.cgroup))?;
        if !prepared.plan.network.needs_wiring() {
            return Ok(Wired::default());
        }
        let (message, fds) = self.next()?;
        let (FromChild::Network, Some(namespace)) = (&message, fds.first()) else {
            let cause = format!("the container's init said {message:?} in place of its network namespace");
            return Err(Error::new(Kind::Died, cause));
        };
        let init = Init { pid: child.pid, user: child.user.as_fd(), network: namespace.as_fd() };
        let wired = network::wire(prepared.plan, prepared.listeners, init)?;
        let made = match wired.is_otherwise() {
            true => FromMonitor::OtherwiseMade,
            false => FromMonitor::DevicesMade,
        };
        match channel.send(&made, &[]) {
            Ok(()) => Ok(wired),
            Err(e) => {
                wired.end(prepared.plan);
                Err(e)
            }
        }
    }

    fn finish(&mut self) -> Result<Sent> {
        let unserved = self.serve_files()?;
        let Spawned { prepared, child, channel, .. } = &self.spawned;
        let mut sent = self.root_mounted()?;
        sent.sees_limits = self.serving.is_some() && sent.notes.is_empty();
        sent.notes.extend(unserved);
        sent.notes.extend(prepared.cgroup.apply(&prepared.plan.cgroup.limits)?);
        let told = Told { init_pid: Some(child.pid), target: None };
        hooks::run(prepared.plan, Hook::StartHost, &told, &TakenHooks::default())?;
        channel.send(&FromMonitor::Wired, &[])?;
        self.executed()?;
        Ok(sent)
    }

    /// Has the files served that show the container its limits. Returns why they are not.
    fn serve_files(&mut self) -> Result<Option<String>> {
        let Some(lxcfs) = &self.spawned.prepared.plan.lxcfs else { return Ok(None) };
        let (message, fds) = self.next()?;
        if !matches!(message, FromChild::Files) {
            let cause = format!("the container's init said {message:?} in place of a superblock");
            return Err(Error::new(Kind::Died, cause));
        }
        let summoned = self.spawned.lxcfs.take();
        let Spawned { prepared, child, channel, .. } = &self.spawned;
        let target = self.spawned.target();
        // Without one the child says why, and waits for nothing.
        if fds.is_empty() {
            summoned.into_iter().flatten().for_each(|summoned| summoned.end(prepared.cgroups));
            return Ok(None);
        }
        let Some(summoned) = summoned else { return Ok(None) };
        let serving = summoned.and_then(|summoned| Serving::begin(lxcfs, summoned, fds, child.pid, target));
        let files = serving.as_ref().map(|serving| serving.files.clone()).unwrap_or_default();
        channel.send(&FromMonitor::Files(files), &[])?;
        let unserved = serving.as_ref().err().map(lxcfs::missing);
        self.serving = serving.ok();
        Ok(unserved)
    }

    fn root_mounted(&self) -> Result<Sent> {
        let (message, fds) = self.next()?;
        let FromChild::RootMounted { devpts, console, ttys, notes } = message else {
            return Err(Error::new(
                Kind::Died,
                format!("the container's init said {message:?} before its root stood"),
            ));
        };
        let mut fds = fds.into_iter();
        Ok(Sent {
            devpts: if devpts { fds.next() } else { None },
            console: if console { fds.next() } else { None },
            ttys: self.spawned.channel.receive_ttys(ttys)?,
            sees_limits: false,
            notes,
        })
    }

    /// Waits for the exec: the child says that it comes, then the channel closes, or says that it failed.
    fn executed(&self) -> Result<()> {
        match self.next()? {
            (FromChild::Exec, _) => {}
            (message, _) => {
                return Err(Error::new(Kind::Died, format!("the container's init said {message:?}")));
            }
        }
        match self.spawned.channel.receive::<FromChild>()? {
            Some((FromChild::Failed(cause), _)) => Err(cause),
            // The channel closes by a death too.
            _ if self.has_died_before_exec() => {
                Err(Error::new(Kind::Died, "the container's init died before its program ran"))
            }
            _ => Ok(()),
        }
    }

    /// Where the kernel does not show the process (hidepid), it shows one that has died.
    fn has_died_before_exec(&self) -> bool {
        let Child { pid, pidfd, .. } = &self.spawned.child;
        process::is_before_exec(*pid).unwrap_or_else(|| process::has_ended(pidfd.as_fd()))
    }

    fn next(&self) -> Result<(FromChild, Vec<OwnedFd>)> {
        self.keep_serving()?;
        match self.spawned.channel.receive::<FromChild>()? {
            Some((FromChild::Failed(cause), _)) => Err(cause),
            Some(message) => Ok(message),
            None => Err(Error::new(Kind::Died, "the container's init died before it was ready")),
        }
    }

    /// Waits for a message. The child reads the files as well, and so waits for whoever serves them.
    fn keep_serving(&self) -> Result<()> {
        let channel = &self.spawned.channel;
        let Some(serving) = &self.serving else { return Ok(()) };
        loop {
            let connection = serving.connection();
            let mut watched = vec![(channel.fd(), Ready::READ)];
            watched.extend(connection.iter().map(|connection| (connection.as_fd(), Ready::READ)));
            let ready = event::wait(&watched, serving.patience())?;
            // What is done now replaces the connection.
            drop(watched);
            drop(connection);
            match ready[..] {
                [Ready { read: true, .. }, ..] => return Ok(()),
                [_, Ready { read: true, .. }] => serving.hear(self.spawned.target()),
                _ => serving.go_on(self.spawned.target()),
            }
        }
    }

    fn into_running(self, sent: Sent, network: Wired) -> Running {
        let Spawned { prepared, child, .. } = self.spawned;
        Running {
            pid: child.pid,
            pidfd: child.pidfd,
            stat: child.stat,
            user: child.user,
            mark: child.mark,
            cgroup: prepared.cgroup,
            network,
            devpts: sent.devpts,
            console: sent.console,
            ttys: sent.ttys,
            serving: self.serving,
            sees_limits: sent.sees_limits,
            notes: sent.notes,
        }
    }
}
