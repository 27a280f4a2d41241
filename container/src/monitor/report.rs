//! What the monitor tells the command that started it, and that command's side of it.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio as ProcessStdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sys::{Errno, event, memfd, process, socket};

use crate::command;
use crate::error::{Doing, Error, Kind, Result};
use crate::host::HostFacts;
use crate::plan::{StartPlan, Stdio};

/// A message from the monitor to its starter.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Report {
    /// The container runs. In the foreground the console's master side comes along.
    Running {
        /// The monitor's pid.
        monitor_pid: i32,
        /// Init's pid.
        init_pid: i32,
        /// The rungs taken, by need.
        rungs: Vec<(String, String)>,
        /// What the configuration asks for and this start did not do.
        notes: Vec<String>,
    },
    /// The start failed; everything is undone.
    Failed(Error),
    /// The container has stopped, with this status of init as shells show it. Only told in the foreground.
    Ended(i32),
}

/// The monitor's side.
#[derive(Debug)]
pub(super) struct Starter {
    socket: Option<OwnedFd>,
    foreground: bool,
}

impl Starter {
    pub(super) fn new(socket: OwnedFd, foreground: bool) -> Self {
        Self { socket: Some(socket), foreground }
    }

    /// Tells that the container runs; in the background the starter then goes its way. In the foreground each
    /// reboot is told too, with the new console.
    ///
    /// # Errors
    /// The kernel cannot pass the message on. A starter that is gone is no error.
    pub(super) fn running(&mut self, report: &Report, console: Vec<BorrowedFd<'_>>) -> Result<()> {
        let fds = if self.foreground { console } else { Vec::new() };
        if let Some(socket) = &self.socket {
            match command::send(socket.as_fd(), report, &fds) {
                Err(e) if !matches!(e.errno(), Some(Errno::EPIPE | Errno::ECONNRESET)) => {
                    return Err(e).doing("telling the command that waits");
                }
                _told_or_gone => {}
            }
        }
        if !self.foreground {
            self.socket = None;
        }
        Ok(())
    }

    /// Returns the connection, which can be read only when the starter is gone.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.socket.as_ref().map(AsFd::as_fd)
    }

    /// Tells whether the starter has ended: nothing else makes its connection readable.
    pub(super) fn is_gone(&self) -> Result<bool> {
        self.fd().map_or(Ok(false), |fd| Ok(event::readable(fd, Some(Duration::ZERO))?))
    }

    /// Closes the connection.
    pub(super) fn forget(&mut self) {
        self.socket = None;
    }

    /// Tells whether the starter holds the console, so that the monitor leaves it alone.
    pub(super) fn holds_console(&self) -> bool {
        self.foreground && self.socket.is_some()
    }

    pub(super) fn failed(&self, failure: &Error) {
        self.tell(&Report::Failed(failure.clone()));
    }

    pub(super) fn ended(&self, status: i32) {
        self.tell(&Report::Ended(status));
    }

    fn tell(&self, report: &Report) {
        if let Some(socket) = &self.socket {
            let _gone = command::send(socket.as_fd(), report, &[]);
        }
    }
}

/// A monitor that was started, as its starter sees it.
#[derive(Debug)]
pub struct Monitor {
    socket: OwnedFd,
    process: Child,
}

/// Starts the monitor's program with a plan.
///
/// `streams` are the caller's standard streams, for a plan that passes them on.
pub fn start_container(
    plan: &StartPlan,
    facts: &HostFacts,
    streams: Option<[BorrowedFd<'_>; 3]>,
) -> Result<Monitor> {
    let program = program(plan, facts)?;
    let sealed = memfd::sealed("plan", &plan.to_bytes()?)?;
    let (ours, theirs) = socket::pair()?;
    let mut command = Command::new(&program.path);
    command.arg0("bryo-monitor").arg("start");
    let streams = passed(plan, streams)?;
    let fds: Vec<_> =
        [sealed.as_fd(), theirs.as_fd()].into_iter().chain(streams.iter().map(AsFd::as_fd)).collect();
    command.args(fds.iter().map(|fd| fd.as_raw_fd().to_string()));
    command.current_dir("/");
    command.stdin(ProcessStdio::null()).stdout(ProcessStdio::null()).stderr(ProcessStdio::null());
    let process = process::spawn_with(&mut command, &fds)
        .map_err(crate::place::from_io)
        .doing_with(|| format!("running {}", facts.programs.monitor.display()))?;
    Ok(Monitor { socket: ours, process })
}

/// Copies the streams that are passed on: under their own numbers, 0 to 2, the monitor has /dev/null.
fn passed(plan: &StartPlan, streams: Option<[BorrowedFd<'_>; 3]>) -> Result<Vec<OwnedFd>> {
    let wanted = streams.filter(|_| plan.stdio == Stdio::Caller).into_iter().flatten();
    wanted.map(|stream| stream.try_clone_to_owned().map_err(crate::place::from_io)).collect()
}

struct Program {
    path: std::path::PathBuf,
    _sealed: Option<OwnedFd>,
}

/// Finds the program to run. Where the container's root has the caller's own id it could overwrite a binary of the
/// caller's own installation through /proc/PID/exe, so it then runs from a sealed copy.
fn program(plan: &StartPlan, facts: &HostFacts) -> Result<Program> {
    let path = &facts.programs.monitor;
    if plan.idmap.ns_uid(plan.caller.uid).is_none() {
        return Ok(Program { path: path.clone(), _sealed: None });
    }
    let doing = || format!("copying {}", path.display());
    let opened = sys::path::open_read(path).doing_with(doing)?;
    let sealed = memfd::sealed_copy("bryo-monitor", opened.as_fd()).doing_with(doing)?;
    process::keep_on_exec(sealed.as_fd())?;
    Ok(Program { path: sys::path::of_fd(&sealed), _sealed: Some(sealed) })
}

impl Monitor {
    /// Returns the connection, to wait on.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Waits for the next report.
    ///
    /// # Errors
    /// The failure that the monitor reports, or its death without a word.
    pub fn report(&mut self) -> Result<(Report, Vec<OwnedFd>)> {
        match command::receive::<Report>(self.socket.as_fd())? {
            Some((Report::Failed(failure), _)) => Err(failure),
            Some(report) => Ok(report),
            None => {
                let how = self.process.wait().map_or_else(|e| e.to_string(), |status| status.to_string());
                Err(Error::new(Kind::Died, format!("bryo-monitor ended without a word ({how})")))
            }
        }
    }

    /// Sends the monitor a signal.
    pub fn signal(&self, signal: types::Signal) {
        if let Ok(pidfd) = process::pidfd(self.process.id() as i32) {
            let _gone = process::send_signal(pidfd.as_fd(), signal);
        }
    }

    /// Lets go of the container: the monitor kills it, as it does when the starter dies. Returns when all is gone.
    pub fn abandon(self) {
        let Self { socket, mut process } = self;
        drop(socket);
        let _gone = process.wait();
    }

    /// Waits until the monitor's process is gone, and all it held with it.
    pub fn wait(mut self) {
        let _gone = self.process.wait();
    }
}
