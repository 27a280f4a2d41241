//! A network in user mode: a program of the caller's, beside the monitor, that carries the packets of one device to sockets
//! and back.
//!
//! It stays in the foreground, ends with the monitor however that ends, and is ended when the container stops: it does not
//! notice by itself that the namespace is gone, and would keep it.

use std::cell::Cell;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sys::event::{self, Ready};
use sys::process::{self, Exit};

use crate::error::{Doing, Error, Kind, Result};
use crate::host::UserModeKind;
use crate::place::{Place, STATE, StateDir, from_io};
use crate::plan::{NetworkPlan, RESOLV_CONF, StartPlan, UserModePlan, resolver};

/// How long the program may take to be ready.
const PATIENCE: Duration = Duration::from_secs(20);

/// The FIFO in Bryo's directory by which pasta says that it is ready.
const READY: &str = "network-ready";

/// A program that carries packets.
#[derive(Debug)]
pub(super) struct Program {
    pid: i32,
    pidfd: OwnedFd,
    name: &'static str,
    has_ended: Cell<bool>,
    /// Where its complaints go that nobody reads. It would end by writing to a pipe without a reader, and wait on a full one,
    /// so its end does not block.
    complaints: OwnedFd,
}

/// Writes what the container's init takes from Bryo's directory for a network in user mode.
pub fn prepare(plan: &StartPlan, state: &StateDir) -> Result<()> {
    let NetworkPlan::UserMode(user_mode) = &plan.network else { return Ok(()) };
    let name = OsStr::new(RESOLV_CONF);
    sys::path::replace_unsynced(state.fd(), name, 0o644, user_mode.resolv_conf.as_bytes())
        .doing("writing resolv.conf")
}

impl Program {
    /// Starts the program and waits until its device is ready.
    ///
    /// # Errors
    /// It ends before, or takes too long.
    pub(super) fn start(plan: &StartPlan, wanted: &UserModePlan, init: i32) -> Result<Self> {
        let name = wanted.program.kind.name();
        Self::try_start(plan, wanted, init)
            .map_err(|e| e.of_kind(Kind::Network).doing(format!("starting {name}")))
    }

    fn try_start(plan: &StartPlan, wanted: &UserModePlan, init: i32) -> Result<Self> {
        let ready = Readiness::new(wanted.program.kind, &plan.place)?;
        let (complaints, theirs) = std::io::pipe().map_err(from_io)?;
        sys::file::set_nonblocking(theirs.as_fd())?;
        let mut command = Command::new(&wanted.program.path);
        command.args(arguments(wanted, init, &ready));
        command.env_clear().current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(theirs);
        let mut child =
            process::spawn_dying_with_parent(&mut command, &ready.inherited()).map_err(from_io)?;
        // With its copy of the end of the pipe for complaints, which has none then when the program has ended.
        drop(command);
        let pid = child.id() as i32;
        let pidfd = process::pidfd(pid).inspect_err(|_| {
            let _ended = child.kill().and_then(|()| child.wait());
        })?;
        let program = Self {
            pid,
            pidfd,
            name: wanted.program.kind.name(),
            has_ended: Cell::new(false),
            complaints: complaints.into(),
        };
        let waited = program.wait_until(&ready.into_reader());
        if waited.is_err() {
            program.end();
        }
        waited.map(|()| program)
    }

    /// Waits until the program has said something by `reader`.
    fn wait_until(&self, reader: &File) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while let left = deadline.saturating_duration_since(Instant::now())
            && !left.is_zero()
        {
            event::wait(&[(reader.as_fd(), Ready::READ), (self.pidfd.as_fd(), Ready::READ)], Some(left))?;
            // One that has ended may have been ready before; then it is of no use either.
            if process::has_ended(self.pidfd.as_fd()) {
                let how = self.wait();
                return Err(Error::new(Kind::Network, format!("{}{how}", self.last_complaint())));
            }
            let mut word = [0; 1];
            // The end of a pipe that was closed without a word comes just before the end of the program.
            if event::readable(reader.as_fd(), Some(Duration::ZERO))?
                && (&*reader).read(&mut word).is_ok_and(|n| n > 0)
            {
                return Ok(());
            }
        }
        Err(Error::new(Kind::TimedOut, format!("it is not ready after {} seconds", PATIENCE.as_secs())))
    }

    /// Returns the last line that it has written, which is the reason of its end.
    fn last_complaint(&self) -> String {
        let mut said = Vec::new();
        let copy = self.complaints.try_clone().map(File::from);
        // Its end of the pipe is closed with it.
        let _what_there_is = copy.and_then(|copy| copy.take(1 << 16).read_to_end(&mut said));
        let text = String::from_utf8_lossy(&said).into_owned();
        let shown = |line: &str| line.chars().filter(|c| !c.is_control()).take(300).collect::<String>();
        text.lines()
            .rfind(|line| !line.trim().is_empty())
            .map(|line| format!("{} ", shown(line)))
            .unwrap_or_default()
    }

    fn wait(&self) -> String {
        self.has_ended.set(true);
        match process::wait(self.pidfd.as_fd()) {
            Ok(Exit::Code(code)) => format!("(exit status {code})"),
            Ok(Exit::Signal(signal)) => format!("(signal {signal})"),
            Err(e) => format!("({e})"),
        }
    }

    /// Returns its pid while it has not been reaped.
    pub(super) fn pid(&self) -> Option<i32> {
        (!self.has_ended.get()).then_some(self.pid)
    }

    /// Reaps it if it has ended, which leaves the container without a network.
    pub(super) fn reap(&self) {
        if !self.has_ended.get() && process::has_ended(self.pidfd.as_fd()) {
            let how = self.wait();
            log::error!("{} has ended {how}: the container has no network any more", self.name);
        }
    }

    /// Ends it.
    pub(super) fn end(&self) {
        if self.has_ended.get() {
            return;
        }
        if let Err(e) = process::send_signal(self.pidfd.as_fd(), types::Signal::KILL) {
            log::warn!("ending {}: {e}", self.name);
        }
        self.wait();
    }
}

/// How a program says that its device is ready.
enum Readiness {
    /// It writes its pid to this FIFO, which it opens by name: fds that it inherits it closes.
    Fifo { path: PathBuf, reader: OwnedFd },
    /// It writes to an fd that it inherits.
    Pipe { reader: OwnedFd, writer: OwnedFd },
}

impl Readiness {
    fn new(kind: UserModeKind, place: &Place) -> Result<Self> {
        if kind == UserModeKind::Slirp {
            let (reader, writer) = std::io::pipe().map_err(from_io)?;
            return Ok(Self::Pipe { reader: reader.into(), writer: writer.into() });
        }
        let missing = || Error::new(Kind::Died, "Bryo's directory of the container is gone");
        let state = place.state_dir()?.ok_or_else(missing)?;
        let path = place.dir().join(STATE).join(READY);
        // Of a run before, whose monitor was killed just then.
        let _none = sys::path::remove_file(state.fd(), OsStr::new(READY));
        sys::file::make_fifo(state.fd(), OsStr::new(READY), 0o600)?;
        let reader = sys::file::open_fifo(state.fd(), OsStr::new(READY))?;
        Ok(Self::Fifo { path, reader })
    }

    fn inherited(&self) -> Vec<BorrowedFd<'_>> {
        match self {
            Self::Fifo { .. } => Vec::new(),
            Self::Pipe { writer, .. } => vec![writer.as_fd()],
        }
    }

    /// Returns the end to read from, and lets go of the other, which the program has by now.
    fn into_reader(self) -> File {
        match self {
            Self::Fifo { reader, .. } | Self::Pipe { reader, .. } => File::from(reader),
        }
    }
}

/// Returns the arguments. Neither program lets the container reach services of the host that listen on loopback alone,
/// nor makes those of the container reachable there.
fn arguments(wanted: &UserModePlan, init: i32, ready: &Readiness) -> Vec<String> {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let init = init.to_string();
    match ready {
        Readiness::Fifo { path, .. } => {
            let resolver = resolver(UserModeKind::Pasta).to_string();
            let mut all = words(&["--foreground", "--quiet", "--config-net", "--no-map-gw"]);
            all.extend(words(&["-t", "none", "-u", "none", "-T", "none", "-U", "none"]));
            all.extend(words(&["--ns-ifname", &wanted.name, "--dns-forward", &resolver]));
            all.extend(words(&["--pid", &path.display().to_string(), &init]));
            all
        }
        Readiness::Pipe { writer, .. } => {
            let fd = format!("--ready-fd={}", writer.as_raw_fd());
            words(&["--configure", "--mtu=65520", "--disable-host-loopback", &fd, &init, &wanted.name])
        }
    }
}
