//! A program beside the monitor, for the network of one run: it ends with the monitor however that ends, and is ended when
//! the container stops.

use std::cell::Cell;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sys::event::{self, Ready};
use sys::process::{self, Exit};

use crate::error::{Error, Kind, Result};
use crate::place::from_io;

/// How long a program may take to be ready.
const PATIENCE: Duration = Duration::from_secs(20);

/// What it is called, and what its end means.
#[derive(Clone, Copy, Debug)]
pub(super) struct About {
    pub(super) name: &'static str,
    pub(super) loss: &'static str,
}

/// A program that runs.
#[derive(Debug)]
pub(super) struct Program {
    pid: i32,
    pidfd: OwnedFd,
    about: About,
    has_ended: Cell<bool>,
    /// Where its complaints go that nobody reads. It would end by writing to a pipe without a reader, and wait on a full one,
    /// so its end does not block.
    complaints: OwnedFd,
}

impl Program {
    /// Starts the program with some fds.
    pub(super) fn spawn(mut command: Command, fds: &[BorrowedFd<'_>], about: About) -> Result<Self> {
        let (complaints, theirs) = std::io::pipe().map_err(from_io)?;
        sys::file::set_nonblocking(theirs.as_fd())?;
        // Nor is there a wait for the complaints of one that has ended: what it has started may hold the other end.
        sys::file::set_nonblocking(complaints.as_fd())?;
        command.env_clear().current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(theirs);
        let mut child = process::spawn_dying_with_parent(&mut command, fds).map_err(from_io)?;
        // With its copy of the end of the pipe for complaints, which has none then when the program has ended.
        drop(command);
        let pid = child.id() as i32;
        let pidfd = process::pidfd(pid).inspect_err(|_| {
            let _ended = child.kill().and_then(|()| child.wait());
        })?;
        Ok(Self { pid, pidfd, about, has_ended: Cell::new(false), complaints: complaints.into() })
    }

    /// Waits until the program has said something by `reader`; ends it if that fails.
    ///
    /// # Errors
    /// It ends before, or takes too long.
    pub(super) fn when_ready(self, reader: &File) -> Result<Self> {
        let waited = self.wait_until(reader);
        if waited.is_err() {
            self.end();
        }
        waited.map(|()| self)
    }

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

    /// Returns the last line that it has written, which is the reason of its end; what Rust's programs note below that is none.
    fn last_complaint(&self) -> String {
        let mut said = Vec::new();
        let copy = self.complaints.try_clone().map(File::from);
        // Its end of the pipe is closed with it.
        let _what_there_is = copy.and_then(|copy| copy.take(1 << 16).read_to_end(&mut said));
        let text = String::from_utf8_lossy(&said).into_owned();
        let shown = |line: &str| line.chars().filter(|c| types::is_shown(*c)).take(300).collect::<String>();
        text.lines()
            .rfind(|line| !line.trim().is_empty() && !line.starts_with("note: "))
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

    /// Reaps it if it has ended, which it does not by itself.
    pub(super) fn reap(&self) {
        if !self.has_ended.get() && process::has_ended(self.pidfd.as_fd()) {
            let how = self.wait();
            log::error!("{} has ended: {}{how}: {}", self.about.name, self.last_complaint(), self.about.loss);
        }
    }

    /// Ends it.
    pub(super) fn end(&self) {
        if self.has_ended.get() {
            return;
        }
        if let Err(e) = process::send_signal(self.pidfd.as_fd(), types::Signal::KILL) {
            log::warn!("ending {}: {e}", self.about.name);
        }
        self.wait();
    }
}
