//! A container in the foreground: signals go to it, and it ends with the command that started it. Its console is the
//! caller's terminal, or is only remembered, for the case that the container does not come up.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use container::console_log::ConsoleLog;
use container::monitor::{Monitor, Report, start_container};
use container::plan::{ConsoleLogPlan, StartPlan, Stdio};
use container::{Error, Kind, Result};
use sys::signal;
use types::Signal;

use crate::bounds::{Bounds, GRACE, interrupted};
use crate::context::Context;
use crate::relay::{self, HEARD, HEARD_FOR_A_COMMAND, MEANT_FOR_A_COMMAND, Relay, Streams, Woken};
use crate::starting::Running;

/// Where the console of a container goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Console {
    /// To standard output, and a terminal types there.
    Output,
    /// To the caller's terminals alone: a command with streams of its own has the console in place of those, so what the
    /// console shows never mixes into a pipe.
    Terminals,
    /// To nobody; its last lines are remembered.
    Memory,
}

impl Console {
    fn of(plan: &StartPlan) -> Self {
        match plan.stdio {
            Stdio::Console => Self::Output,
            Stdio::Caller => Self::Terminals,
        }
    }

    /// Makes the copying of the console, and of a log of it, from the fds that come with a report.
    fn relay(self, fds: Vec<OwnedFd>, log: Option<&ConsoleLogPlan>) -> Result<Option<Relay>> {
        let mut fds = fds.into_iter();
        let relay = |master| match self {
            Self::Output => Relay::to_output(master),
            Self::Terminals => Relay::to_terminal(master),
            Self::Memory => Ok(Relay::to_memory(master)),
        };
        let relay = fds.next().map(relay).transpose()?;
        let log = fds.next().zip(log).map(|(file, plan)| ConsoleLog::of(file.into(), plan));
        Ok(relay.map(|relay| relay.with_log(log)))
    }
}

/// A container that runs in the foreground.
#[derive(Debug)]
pub(crate) struct Foreground {
    monitor: Monitor,
    goes_to: Console,
    log: Option<ConsoleLogPlan>,
    console: Option<Relay>,
    init_pid: i32,
    /// The shell status of init, once it has ended for good.
    ended: Option<i32>,
}

/// Starts the container and waits for its end. Returns the shell status of its init.
pub(crate) fn run(
    context: &Context,
    plan: &StartPlan,
    on_running: impl FnOnce(&Running) -> Result<()>,
) -> Result<i32> {
    let mut monitor = start_container(plan, context.facts()?, Some(Streams::new().fds()))?;
    // Until it runs a signal ends this command, and the monitor undoes the start.
    let first = monitor.report()?;
    let heard = if plan.is_app() { &HEARD_FOR_A_COMMAND[..] } else { &HEARD };
    let bounds = Bounds::begin(heard, None)?;
    Foreground::of(monitor, first, plan, Console::of(plan), on_running)?.until_it_ends(&bounds)
}

/// So long after a signal it may turn out that the program runs already, which the signal is then for.
const MOMENT: Duration = Duration::from_millis(200);

/// Waits for the first word of the monitor. Returns the signals that are for the program, where there is a single one: those that
/// only mean what it makes of them, and any that arrives when it has just begun.
///
/// # Errors
/// A signal or the time ends the start.
fn hear_first(monitor: &Monitor, bounds: &Bounds, has_program: bool) -> Result<Vec<i32>> {
    let mut early = Vec::new();
    loop {
        match relay::wait(&mut [], bounds.signals(), &[monitor.fd()], bounds.until())? {
            Woken::Signal(number) if has_program && MEANT_FOR_A_COMMAND.contains(&number) => {
                early.push(number);
            }
            Woken::Signal(number) => {
                if !has_program || !sys::event::readable(monitor.fd(), Some(MOMENT))? {
                    return Err(interrupted(number));
                }
                early.push(number);
                return Ok(early);
            }
            Woken::Late => return Err(bounds.timed_out()),
            Woken::Ready(_) | Woken::Left => return Ok(early),
        }
    }
}

impl Foreground {
    /// Starts the container within the bounds.
    ///
    /// # Errors
    /// The start fails, or the bounds end it; then nothing of it runs.
    pub(crate) fn start(
        context: &Context,
        plan: &StartPlan,
        goes_to: Option<Console>,
        bounds: &Bounds,
        on_running: impl FnOnce(&Running) -> Result<()>,
    ) -> Result<Self> {
        bounds.check()?;
        let mut monitor = start_container(plan, context.facts()?, Some(Streams::new().fds()))?;
        let early = match hear_first(&monitor, bounds, plan.is_app()) {
            Ok(early) => early,
            Err(why) => {
                let_go(monitor);
                return Err(why);
            }
        };
        let first = monitor.report()?;
        let goes_to = goes_to.unwrap_or_else(|| Console::of(plan));
        let started = Self::of(monitor, first, plan, goes_to, on_running)?;
        early.into_iter().for_each(|number| started.signal(number));
        Ok(started)
    }

    fn of(
        monitor: Monitor,
        (report, fds): (Report, Vec<OwnedFd>),
        plan: &StartPlan,
        goes_to: Console,
        on_running: impl FnOnce(&Running) -> Result<()>,
    ) -> Result<Self> {
        let running = Running::of(report)?;
        on_running(&running)?;
        let log = plan.console_log.clone();
        let console = goes_to.relay(fds, log.as_ref())?;
        Ok(Self { monitor, goes_to, log, console, init_pid: running.init_pid, ended: None })
    }

    /// Passes signals on, and waits for the end. Returns the shell status of init.
    ///
    /// # Errors
    /// The time is over; what runs is ended then.
    pub(crate) fn until_it_ends(mut self, bounds: &Bounds) -> Result<i32> {
        loop {
            match self.wait_with_end(None, bounds.signals(), None, bounds.until())? {
                Woken::Signal(number) => self.signal(number),
                Woken::Late => {
                    self.end(bounds.signals(), GRACE)?;
                    return Err(bounds.timed_out());
                }
                Woken::Ready(_) | Woken::Left => {}
            }
            if let Some(status) = self.ended {
                self.monitor.wait();
                return Ok(status);
            }
        }
    }

    fn signal(&self, number: i32) {
        Signal::new(number).into_iter().for_each(|signal| self.monitor.signal(signal));
    }

    /// Waits until `other` can be read, a signal arrives, or the time is over.
    ///
    /// # Errors
    /// The container ends by itself.
    pub(crate) fn wait(
        &mut self,
        mut relay: Option<&mut Relay>,
        signals: BorrowedFd<'_>,
        other: Option<BorrowedFd<'_>>,
        until: Option<Instant>,
    ) -> Result<Woken> {
        loop {
            if let Some(status) = self.ended {
                return Err(self.ended_early(status));
            }
            let woken = self.wait_with_end(relay.as_deref_mut(), signals, other, until)?;
            match woken {
                // The monitor had something to say.
                Woken::Ready(found) if found == other.iter().len() => {}
                woken => return Ok(woken),
            }
        }
    }

    /// Waits as [`wait`](Self::wait) does; the end of the container and a reboot are one more thing to be woken by.
    fn wait_with_end(
        &mut self,
        relay: Option<&mut Relay>,
        signals: BorrowedFd<'_>,
        other: Option<BorrowedFd<'_>>,
        until: Option<Instant>,
    ) -> Result<Woken> {
        let mut relays: Vec<&mut Relay> = relay.into_iter().chain(&mut self.console).collect();
        // What is waited for comes first: a command that has ended the container has ended before it.
        let others: Vec<BorrowedFd<'_>> = other.into_iter().chain([self.monitor.fd()]).collect();
        let woken = relay::wait(&mut relays, signals, &others, until)?;
        if woken == Woken::Ready(others.len() - 1) {
            self.hear()?;
        }
        Ok(woken)
    }

    /// Hears what the monitor says: the end, or a reboot, after which the same container has a new console.
    fn hear(&mut self) -> Result<()> {
        let (report, fds) = self.monitor.report()?;
        self.console.iter_mut().for_each(Relay::finish);
        match report {
            Report::Ended(status) => self.ended = Some(status),
            report => {
                self.init_pid = Running::of(report)?.init_pid;
                // The old one first: it gives the terminal its settings back.
                self.console = None;
                self.console = self.goes_to.relay(fds, self.log.as_ref())?;
            }
        }
        Ok(())
    }

    /// Makes the failure of a container that has ended by itself.
    fn ended_early(&self, status: i32) -> Error {
        Error::new(Kind::Died, format!("its init has ended, with status {status}"))
    }

    /// Returns the last lines of the console, where they are remembered.
    pub(crate) fn last_lines(&self) -> Vec<String> {
        self.console.as_ref().map(Relay::last_lines).unwrap_or_default()
    }

    /// Tells whether init is about to end: it has begun to exit, which is when the kernel kills everything else in the
    /// container.
    pub(crate) fn is_ending(&self) -> bool {
        self.ended.is_some() || is_exiting(self.init_pid)
    }

    /// Asks the container to halt, and kills it when that takes too long or a signal says that nobody wants to wait. When
    /// this returns all of it is gone.
    pub(crate) fn end(mut self, signals: BorrowedFd<'_>, patience: Duration) -> Result<()> {
        let until = Instant::now() + patience;
        // The monitor takes it for a halt; with a single command it passes it on.
        self.monitor.signal(Signal::TERM);
        while self.ended.is_none() {
            if let Woken::Signal(_) | Woken::Late = self.wait_with_end(None, signals, None, Some(until))? {
                self.kill();
                return Ok(());
            }
        }
        self.monitor.wait();
        Ok(())
    }

    /// Kills the container. When this returns all of it is gone.
    pub(crate) fn kill(self) {
        drop(self.console);
        let_go(self.monitor);
    }
}

/// Has the monitor end the container, and waits for it. Who does not want to wait sends another signal, which ends the
/// command at once; the monitor does its work without it.
fn let_go(monitor: Monitor) {
    let _as_before = signal::reset_all();
    monitor.abandon();
}

/// Tells whether a process is in exit(2) or gone: PF_EXITING among its flags, field 9 of /proc/PID/stat
/// (proc_pid_stat(5)).
fn is_exiting(pid: i32) -> bool {
    const PF_EXITING: u64 = 0x4;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The second field, the name in parentheses, may hold anything; the last parenthesis ends it.
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let flags = after_name.split_ascii_whitespace().nth(6).and_then(|flags| flags.parse::<u64>().ok());
    flags.is_none_or(|flags| flags & PF_EXITING != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_not_there_has_ended() {
        assert!(!is_exiting(std::process::id() as i32));
        assert!(is_exiting(i32::MAX));
    }
}
