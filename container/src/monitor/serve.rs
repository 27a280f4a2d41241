//! The poll loop of a running container: init, signals, the command socket, the console.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use sys::event::{self, Ready};
use sys::process::{self, Exit};
use sys::{Errno, memfd, memory, path, signal, tty};
use types::{Signal, State};

use super::clients::Clients;
use super::report::{Report, Starter};
use super::{End, Held};
use crate::cgroups::Cgroups;
use crate::command::{Reply, Request, Status};
use crate::console_log::{ConsoleLog, ConsoleMemory};
use crate::error::{Doing, Error, Kind, Result};
use crate::host::Lxcfs;
use crate::list::PUBLISHED;
use crate::lxcfs::{FILES_GIVEN_UP, Serving};
use crate::network::publish::{self, Closed, Listeners};
use crate::place::COMMAND_SOCKET;
use crate::plan::{KernelFiles, StartPlan};
use crate::start::Running;

/// Signals that mean something to the monitor; the rest keep their default.
const HEARD: [i32; 9] = [1, 2, 3, SIGUSR1, SIGUSR2, 15, SIGCHLD, SIGIO, 30];
const SIGUSR1: i32 = 10;
const SIGUSR2: i32 = 12;
const SIGCHLD: i32 = 17;
/// A file of Bryo's directory was removed, and so most likely the container.
const SIGIO: i32 = 29;

/// What lives as long as the monitor, over reboots.
#[derive(Debug)]
pub(super) struct Server {
    signals: OwnedFd,
    clients: Clients,
    state: State,
    rungs: Vec<(String, String)>,
    log: Option<ConsoleLog>,
    /// The last of what the console showed.
    memory: ConsoleMemory,
    /// What the monitor itself could not do, a sentence each.
    notes: Vec<String>,
    /// The next connection is waited for; not for a while after one for which there was no fd.
    hears: bool,
    /// A halt was asked for, and init was not seen to listen for it.
    halting: bool,
    /// The container is not to be started again.
    stopping: bool,
    /// Who waits for the container to see its own limits, or the host's.
    asked_for_files: Option<u64>,
    /// The ports of the host that lead into the container.
    ports: Listeners,
    /// Something was done since memory was given back.
    is_warm: bool,
}

/// What woke the loop up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Init,
    Signal,
    Listener,
    Console,
    Client(u64),
    Starter,
    /// The process that serves the container's files.
    Lxcfs,
    /// Nothing; the time was over.
    Nothing,
}

/// How often an init that was asked to halt is looked at, until it is seen to listen.
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// After how long without anything to do the monitor gives back what it took of memory: soon, and not between the requests of
/// one command.
const QUIET: Duration = Duration::from_millis(100);
/// How long the monitor takes no connection when it gets no fd for one: it could be told of it over and over.
const WITHOUT_FILES: Duration = Duration::from_millis(100);
/// How long the monitor waits for the kernel to have memory again.
const WITHOUT_MEMORY: Duration = Duration::from_millis(100);

impl Server {
    pub(super) fn new(plan: &StartPlan, held: &Held, notes: Vec<String>) -> Result<Self> {
        let signals = signal::read_as_data(&HEARD)?;
        if let Err(e) = signal::on_removals(held.state.fd()) {
            log::info!("a removal of the container will not be noticed: {e}");
        }
        let log = plan.console_log.as_ref().map(ConsoleLog::open).transpose()?;
        Ok(Self {
            signals,
            clients: Clients::default(),
            state: State::Starting,
            rungs: rungs(plan, None, &Listeners::default()),
            log,
            memory: ConsoleMemory::of(plan.console_memory),
            notes,
            hears: true,
            halting: false,
            stopping: false,
            asked_for_files: None,
            ports: Listeners::default(),
            is_warm: false,
        })
    }

    /// Takes over the ports of the host.
    pub(super) fn has_ports(&mut self, ports: Listeners) {
        self.ports = ports;
    }

    /// Returns the ports of the host.
    pub(super) fn ports(&self) -> &Listeners {
        &self.ports
    }

    /// Serves one run of the container until init ends.
    pub(super) fn serve(
        &mut self,
        plan: &StartPlan,
        running: &mut Running,
        starter: &mut Starter,
        held: &Held,
        cgroups: &mut Cgroups,
    ) -> Result<End> {
        // While nobody has the console open its master side would report a hang-up over and over.
        let _keeps_open = running.console.as_ref().map(|c| tty::slave_of(c.as_fd()));
        self.rungs = rungs(plan, Some(running), &self.ports);
        self.tell(State::Running);
        self.report(plan, running, starter)?;
        cgroups.set_out();
        self.is_warm = true;
        loop {
            let found = self.next(running, starter, held)?;
            self.hears = true;
            self.rest(found == [Source::Nothing]);
            for source in found {
                match source {
                    Source::Init => return Ok(end_of(process::wait(running.pidfd.as_fd())?)),
                    Source::Signal => self.signals(plan, running, held, cgroups),
                    Source::Listener => self.hears = self.clients.accept(held.listener.as_fd()),
                    Source::Console => self.drain_console(running),
                    Source::Client(id) => self.client(id, plan, running, cgroups),
                    Source::Lxcfs => {
                        let target = running.target(plan, cgroups);
                        running.serving.iter().for_each(|serving| serving.hear(target));
                    }
                    Source::Starter => self.starter_is_gone(plan, running, starter),
                    Source::Nothing if self.halting => self.halt_again(plan, running),
                    Source::Nothing => {}
                }
            }
            let target = running.target(plan, cgroups);
            running.serving.iter().for_each(|serving| serving.look_at(running.pid, running.stat.as_fd()));
            running.serving.iter().for_each(|serving| serving.go_on(target));
            self.tell_of_files(plan, running);
            self.lead_again(plan, running);
        }
    }

    /// Gives memory back once there was nothing to do for a moment: most of the time of a monitor's life there is not.
    fn rest(&mut self, is_quiet: bool) {
        if is_quiet && self.is_warm {
            memory::trim();
        }
        self.is_warm = !is_quiet;
    }

    /// Has another process take what comes to published ports where one has ended. Where that happens too often, the ports are
    /// closed, and whoever looks at the container is told.
    fn lead_again(&mut self, plan: &StartPlan, running: &mut Running) {
        let user = running.user.as_fd();
        if let Err(Closed) = running.network.lead_again(plan, &mut self.ports, user) {
            log::error!("the published ports are {}; bryo restart opens them again", closed());
            self.rungs = rungs(plan, Some(running), &self.ports);
        }
    }

    fn report(&self, plan: &StartPlan, running: &Running, starter: &mut Starter) -> Result<()> {
        let report = Report::Running {
            monitor_pid: process::own_pid(),
            init_pid: running.pid,
            rungs: self.rungs.clone(),
            notes: plan.notes.iter().chain(&self.notes).chain(&running.notes).cloned().collect(),
        };
        let log = self.log.as_ref().map(ConsoleLog::fd);
        let console = running.console.as_ref().map(AsFd::as_fd);
        starter.running(&report, console.into_iter().chain(log.filter(|_| console.is_some())).collect())
    }

    /// Waits for something to do, and returns all that there is, so that whoever asks over and over keeps nobody waiting.
    ///
    /// Init comes first: nothing is asked of a container that has ended. The console comes before the clients: one of them
    /// may take it, and what it reads is no longer there to be drained.
    fn next(&self, running: &Running, starter: &Starter, held: &Held) -> Result<Vec<Source>> {
        let lxcfs = running.serving.as_ref().and_then(Serving::connection);
        let mut watched: Vec<(Source, BorrowedFd<'_>)> =
            vec![(Source::Init, running.pidfd.as_fd()), (Source::Signal, self.signals.as_fd())];
        if let Some(console) = running.console.as_ref().filter(|_| !self.console_is_taken(starter)) {
            watched.push((Source::Console, console.as_fd()));
        }
        watched.extend(lxcfs.iter().map(|fd| (Source::Lxcfs, fd.as_fd())));
        watched.extend(starter.fd().map(|fd| (Source::Starter, fd)));
        watched.extend(self.clients.fds().map(|(id, fd)| (Source::Client(id), fd)));
        if self.hears {
            watched.push((Source::Listener, held.listener.as_fd()));
        }
        let patience = match (self.hears, self.halting) {
            (false, _) => Some(WITHOUT_FILES),
            (true, true) => Some(ASK_AGAIN),
            (true, false) if self.is_warm => Some(QUIET),
            (true, false) => running.network.waits_to_lead().then_some(publish::PAUSE),
        };
        let serves_again = running.serving.as_ref().and_then(Serving::patience);
        let looks = running.serving.as_ref().and_then(Serving::looks);
        let patience = [patience, serves_again].into_iter().flatten().min();
        loop {
            let polled: Vec<_> = watched.iter().map(|(_, fd)| (*fd, Ready::READ)).collect();
            let waited = match patience {
                Some(_) => event::wait(&polled, patience),
                None => event::rest(&polled, looks),
            };
            let ready = match waited {
                // The container outlives the hour in which the machine has no memory for a list of fds.
                Err(e) if e.errno() == Errno::ENOMEM => {
                    std::thread::sleep(WITHOUT_MEMORY);
                    continue;
                }
                ready => ready?,
            };
            let found: Vec<Source> = watched
                .iter()
                .zip(&ready)
                .filter(|(_, ready)| ready.read)
                .map(|((source, _), _)| *source)
                .collect();
            match found.is_empty() {
                false => return Ok(found),
                true if patience.is_some() || looks.is_some() => return Ok(vec![Source::Nothing]),
                true => {}
            }
        }
    }

    /// A container in the foreground ends with the command that started it, however that ended.
    fn starter_is_gone(&mut self, plan: &StartPlan, running: &Running, starter: &mut Starter) {
        starter.forget();
        if let Err(e) = self.kill(plan, running) {
            log::warn!("ending a container whose starter is gone: {e}");
        }
    }

    /// Somebody has destroyed the container under our hands: LXC's lxc-destroy, which asks only LXC's own monitors, or `rm`.
    /// What has no files any more is ended.
    fn something_is_removed(&mut self, plan: &StartPlan, running: &Running, held: &Held) {
        if path::status_at(held.state.fd(), COMMAND_SOCKET.as_ref()).is_ok() {
            return;
        }
        log::error!("the container's directory was removed while it ran");
        if let Err(e) = self.kill(plan, running) {
            log::warn!("ending a container that was removed: {e}");
        }
    }

    fn console_is_taken(&self, starter: &Starter) -> bool {
        starter.holds_console() || self.clients.holds_terminal(0)
    }

    /// Waits for the attaching processes, whose programs have ended with init.
    pub(super) fn finish_attached(&mut self) {
        self.clients.finish_attached();
    }

    /// Tells everybody who watches.
    pub(super) fn tell(&mut self, state: State) {
        self.state = state;
        let status = self.status(None);
        self.clients.tell(&Reply::Status(status));
    }

    fn status(&self, running: Option<&Running>) -> Status {
        Status {
            state: self.state,
            init_pid: running.map(|r| r.pid),
            monitor_pid: process::own_pid(),
            rungs: self.rungs.clone(),
        }
    }

    /// SIGTERM and its kin ask the container to halt: a host that shuts down, `kill`, or ^C at a foreground start.
    ///
    /// LXC: passes them to init as they are, where busybox reboots on SIGTERM and systemd re-executes itself. For a
    /// single command they are passed on here too.
    fn signals(&mut self, plan: &StartPlan, running: &Running, held: &Held, cgroups: &mut Cgroups) {
        while let Some(number) = signal::next(self.signals.as_fd()) {
            let asked = match number {
                SIGCHLD => {
                    self.reap(running, cgroups);
                    continue;
                }
                SIGIO => {
                    self.something_is_removed(plan, running, held);
                    continue;
                }
                number if plan.is_app() => Signal::new(number).ok(),
                // They mean something to commands alone.
                SIGUSR1 | SIGUSR2 => None,
                _ => {
                    self.halt(plan, running);
                    continue;
                }
            };
            if let Some(signal) = asked {
                let _ended = process::send_signal(running.pidfd.as_fd(), signal);
            }
        }
    }

    /// Reaps what has ended: attaching processes, the one that moves the monitor, and what programs have left to the monitor
    /// where the container has no PID namespace. Init is left for the loop, which waits for it by its pidfd.
    fn reap(&mut self, running: &Running, cgroups: &mut Cgroups) {
        self.clients.reap_attached();
        cgroups.reap();
        running.network.reap();
        let awaited = self.clients.attached().chain(cgroups.mover()).chain(running.network.programs());
        let awaited = awaited.chain([running.pid]);
        process::reap_ended_but(&awaited.collect::<Vec<_>>());
    }

    /// Reads what init writes to a console that nobody looks at; it would block else.
    fn drain_console(&mut self, running: &Running) {
        let Some(console) = &running.console else { return };
        let mut buffer = [0; 4096];
        let got = tty::read(console.as_fd(), &mut buffer).unwrap_or(0);
        self.memory.add(&buffer[..got]);
        if let Some(Err(e)) = self.log.as_mut().map(|log| log.write_all(&buffer[..got])) {
            log::warn!("lxc.console.logfile: {e}");
            self.log = None;
        }
    }

    fn client(&mut self, id: u64, plan: &StartPlan, running: &mut Running, cgroups: &Cgroups) {
        let Some((request, fds)) = self.clients.receive(id) else { return };
        let answer = match request {
            Request::CoverFiles => self.cover_files(id, fds, plan, running, cgroups).map(|()| None),
            Request::UncoverFiles => self.uncover_files(id, plan, running, cgroups).map(|()| None),
            request => self.answer(id, request, fds, plan, running),
        };
        match answer {
            Ok(None) => {}
            Ok(Some(reply)) => self.clients.reply(id, &reply, &[]),
            Err(failure) => self.clients.reply(id, &Reply::Failed(failure), &[]),
        }
    }

    fn answer(
        &mut self,
        id: u64,
        request: Request,
        fds: Vec<OwnedFd>,
        plan: &StartPlan,
        running: &Running,
    ) -> Result<Option<Reply>> {
        let signal = |signal| process::send_signal(running.pidfd.as_fd(), signal).doing("signalling init");
        match request {
            Request::Status => return Ok(Some(Reply::Status(self.status(Some(running))))),
            Request::Halt => self.halt(plan, running),
            Request::Reboot => signal(plan.signals.reboot)?,
            Request::Kill => self.kill(plan, running)?,
            Request::Freeze => self.freeze(running)?,
            Request::Unfreeze => self.unfreeze(running)?,
            Request::Watch => {
                self.clients.watch(id);
                return Ok(Some(Reply::Status(self.status(Some(running)))));
            }
            Request::ConsoleMemory => return self.console_memory(id).map(|()| None),
            Request::Terminal(wanted) => return self.terminal(id, wanted, running).map(|()| None),
            Request::Attach => return self.attach(id, fds, plan, running).map(|()| None),
            Request::CoverFiles | Request::UncoverFiles => return Ok(None),
        }
        Ok(Some(Reply::Done))
    }

    /// Begins to show the container its own limits. Who asked is answered by [`Server::tell_of_files`].
    fn cover_files(
        &mut self,
        id: u64,
        fds: Vec<OwnedFd>,
        plan: &StartPlan,
        running: &mut Running,
        cgroups: &Cgroups,
    ) -> Result<()> {
        let none = || Error::new(Kind::Usage, "the request came without what serves");
        let sealed = memfd::read_sealed(fds.into_iter().next().ok_or_else(none)?)?;
        let lxcfs: Lxcfs = postcard::from_bytes(&sealed).map_err(|_| none())?;
        let shown = plan.limits_shown_by(&lxcfs)?;
        let serving = running.serving.take().unwrap_or_else(|| Serving::of_none(&shown, running.pid));
        let begun = serving.begin_to_cover(shown, running.target(plan, cgroups));
        running.serving = Some(serving);
        begun.map(|()| self.asked_for_files = Some(id))
    }

    /// Begins to show the container the host's limits again.
    fn uncover_files(
        &mut self,
        id: u64,
        plan: &StartPlan,
        running: &Running,
        cgroups: &Cgroups,
    ) -> Result<()> {
        let Some(serving) = &running.serving else {
            let cause = format!("{} sees the host's limits already", plan.place.name);
            return Err(Error::new(Kind::Usage, cause));
        };
        serving.begin_to_uncover(running.target(plan, cgroups))?;
        self.asked_for_files = Some(id);
        Ok(())
    }

    /// Tells what has become of the files that show the container its limits: who has asked, and whoever looks at it.
    fn tell_of_files(&mut self, plan: &StartPlan, running: &mut Running) {
        let Some(outcome) = running.serving.as_ref().and_then(Serving::outcome) else { return };
        // What could not be changed is as it was.
        running.sees_limits |= outcome.is_ok();
        self.rungs = rungs(plan, Some(running), &self.ports);
        if let Some(id) = self.asked_for_files.take() {
            let reply = outcome.map_or_else(Reply::Failed, |()| Reply::Done);
            self.clients.reply(id, &reply, &[]);
        }
    }

    /// Tells, between two runs, whether somebody wants the container stopped: a request that came during a run, or one that
    /// nobody has read yet, since the end of init is looked at before everything else.
    pub(super) fn is_to_stop(&mut self, held: &Held) -> bool {
        let listener = held.listener.as_fd();
        let somebody_waits = || event::readable(listener, Some(Duration::ZERO)).unwrap_or(false);
        while somebody_waits() && self.clients.accept(listener) {}
        for id in self.clients.readable() {
            match self.clients.receive(id) {
                Some((Request::Kill | Request::Halt, _)) => {
                    self.stopping = true;
                    self.clients.reply(id, &Reply::Done, &[]);
                }
                Some((Request::Watch, _)) => self.clients.watch(id),
                Some((Request::Status, _)) => {
                    let status = self.status(None);
                    self.clients.reply(id, &Reply::Status(status), &[]);
                }
                Some(_) => {
                    let failure = Error::new(Kind::NotRunning, "the container is rebooting");
                    self.clients.reply(id, &Reply::Failed(failure), &[]);
                }
                None => {}
            }
        }
        while let Some(number) = signal::next(self.signals.as_fd()) {
            self.stopping |= !matches!(number, SIGCHLD | SIGUSR1 | SIGUSR2);
        }
        self.halting = false;
        self.stopping
    }

    /// Asks init to halt. The kernel drops a signal to the first process of a PID namespace that does not listen for it,
    /// and an init that has just begun does not yet; so its masks are looked at until they tell that it does.
    fn halt(&mut self, plan: &StartPlan, running: &Running) {
        self.stopping = true;
        let (signal, heard) = halt_signal(plan, running.pid);
        self.halting = !heard;
        let _ended = process::send_signal(running.pidfd.as_fd(), signal);
    }

    /// Asks once more when init has begun to listen since. One that waits in sigtimedwait(2), as busybox does, never shows
    /// it, and has heard the first time.
    fn halt_again(&mut self, plan: &StartPlan, running: &Running) {
        if let (signal, true) = halt_signal(plan, running.pid) {
            self.halting = false;
            let _ended = process::send_signal(running.pidfd.as_fd(), signal);
        }
    }

    /// Kills init, which takes its whole PID namespace along, where it has one. A frozen one does not die before it is thawed.
    fn kill(&mut self, plan: &StartPlan, running: &Running) -> Result<()> {
        self.stopping = true;
        if plan.signals.stop == types::Signal::KILL {
            running.serving.iter().for_each(Serving::let_go);
        }
        process::send_signal(running.pidfd.as_fd(), plan.signals.stop).doing("killing init")?;
        if self.state == State::Frozen {
            self.unfreeze(running)?;
        }
        super::thaw(plan, running);
        Ok(())
    }

    fn freeze(&mut self, running: &Running) -> Result<()> {
        self.tell(State::Freezing);
        let frozen = running.cgroup.freeze();
        self.tell(if frozen.is_ok() { State::Frozen } else { State::Running });
        frozen
    }

    fn unfreeze(&mut self, running: &Running) -> Result<()> {
        running.cgroup.thaw()?;
        self.tell(State::Thawed);
        self.tell(State::Running);
        Ok(())
    }

    /// Hands out what the console showed last.
    fn console_memory(&mut self, id: u64) -> Result<()> {
        if !self.memory.is_on() {
            let cause =
                "nothing of the console is remembered: lxc.console.buffer.size = auto keeps the last 128 kB";
            return Err(Error::new(Kind::Usage, cause));
        }
        let sealed = memfd::sealed("console", self.memory.bytes())?;
        self.clients.reply(id, &Reply::ConsoleMemory, &[sealed.as_fd()]);
        Ok(())
    }

    fn terminal(&mut self, id: u64, wanted: Option<u32>, running: &Running) -> Result<()> {
        let count = running.ttys.len() as u32;
        let free = || (1..=count).find(|n| !self.clients.holds_terminal(*n));
        let number = match wanted {
            Some(number) => number,
            None => {
                free().ok_or_else(|| Error::new(Kind::Busy, format!("all {count} terminals are taken")))?
            }
        };
        let master = match number {
            0 => running.console.as_ref(),
            number => running.ttys.get(number as usize - 1),
        };
        let missing = || Error::new(Kind::Usage, format!("there is no terminal {number}, only 0 to {count}"));
        let master = master.ok_or_else(missing)?;
        if self.clients.holds_terminal(number) {
            return Err(Error::new(Kind::Busy, format!("terminal {number} is taken")));
        }
        self.clients.take_terminal(id, number);
        let log = self.log.as_ref().filter(|_| number == 0).map(ConsoleLog::fd);
        let fds: Vec<BorrowedFd<'_>> = [master.as_fd()].into_iter().chain(log).collect();
        self.clients.reply(id, &Reply::Terminal(number), &fds);
        Ok(())
    }

    fn attach(&mut self, id: u64, fds: Vec<OwnedFd>, plan: &StartPlan, running: &Running) -> Result<()> {
        if self.state == State::Frozen {
            let cause = format!("{} is frozen", plan.place.name);
            return Err(Error::new(Kind::Frozen, cause));
        }
        self.clients.attach(id, fds, plan, running)
    }
}

/// Returns the signal that asks init to halt, and whether init is seen to listen for it. systemd takes SIGRTMIN+3, which
/// it blocks to read it as data; SIGPWR is what sysvinit, busybox and OpenRC's configuration know.
fn halt_signal(plan: &StartPlan, init: i32) -> (Signal, bool) {
    let status = std::fs::read_to_string(format!("/proc/{init}/status")).unwrap_or_default();
    let is_heard = |signal| is_in(&status, "SigBlk:", signal) || is_in(&status, "SigCgt:", signal);
    match plan.signals.halt {
        _ if plan.is_app() => (Signal::TERM, true),
        Some(signal) => (signal, is_heard(signal)),
        None if is_in(&status, "SigBlk:", Signal::RTMIN_3) => (Signal::RTMIN_3, true),
        None => (Signal::PWR, is_heard(Signal::PWR)),
    }
}

/// Tells whether a mask of /proc/PID/status has a signal. Source: proc_pid_status(5).
fn is_in(status: &str, mask: &str, signal: Signal) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix(mask));
    let mask = mask.and_then(|m| u64::from_str_radix(m.trim(), 16).ok()).unwrap_or(0);
    mask & (1 << (signal.number() - 1)) != 0
}

/// The kernel ends init by SIGHUP for reboot(2) and by SIGINT for halt. Source: reboot(2), "Behavior inside PID
/// namespaces".
fn end_of(exit: Exit) -> End {
    match exit {
        Exit::Signal(1) => End::Reboot,
        Exit::Signal(2) => End::Stopped(0),
        exit => End::Stopped(exit.shell_status()),
    }
}

/// What whoever looks at a container is told of ports that were closed.
fn closed() -> String {
    format!("closed: the process for them has ended, or not begun, {} times of late", publish::MOST_ENDS + 1)
}

/// Returns the rungs that the plan takes, and with a container that runs those that it got.
fn rungs(plan: &StartPlan, running: Option<&Running>, listeners: &Listeners) -> Vec<(String, String)> {
    let network = running.map_or(&plan.network, |running| running.network.network(plan));
    let proc = match plan.proc {
        KernelFiles::Callers if plan.auto.proc.is_some() => "the caller's, with its processes",
        _ if running.is_some_and(Running::sees_its_limits) => "with its own limits",
        _ if running.is_some_and(Running::lacks_its_limits) => FILES_GIVEN_UP,
        _ => "the kernel's",
    };
    let rungs: BTreeMap<&str, String> = BTreeMap::from([
        ("ids", plan.id_writer.rung().to_owned()),
        ("network", network.rung()),
        ("cgroup", plan.cgroup.rung().word().to_owned()),
        ("/proc", proc.to_owned()),
    ]);
    let rungs = ["ids", "cgroup", "network", "/proc"].iter().map(|n| ((*n).to_owned(), rungs[n].clone()));
    let ports: Vec<String> = plan.publish.iter().map(ToString::to_string).collect();
    let published = match listeners.are_closed() {
        true => Some(("ports".to_owned(), closed())),
        false => (!ports.is_empty()).then(|| (PUBLISHED.to_owned(), ports.join(" "))),
    };
    rungs.chain(published).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_of_signals_are_read() {
        let status = "Name:\tinit\nSigBlk:\t0000001000000000\nSigCgt:\t0000000020000000\n";
        assert!(is_in(status, "SigBlk:", Signal::RTMIN_3) && is_in(status, "SigCgt:", Signal::PWR));
        assert!(!is_in(status, "SigCgt:", Signal::RTMIN_3) && !is_in("", "SigCgt:", Signal::PWR));
    }

    #[test]
    fn reboot_and_halt_are_told_by_the_signal_that_ended_init() {
        assert_eq!(end_of(Exit::Signal(1)), End::Reboot);
        assert_eq!(end_of(Exit::Signal(2)), End::Stopped(0));
        assert_eq!(end_of(Exit::Signal(9)), End::Stopped(137));
        assert_eq!(end_of(Exit::Code(3)), End::Stopped(3));
    }
}
