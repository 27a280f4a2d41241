//! A command in a pseudo-terminal, with somebody typing.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{self, Child, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::command::{end_group, shell_status, wait_until};

/// How long the terminal waits for an expected text.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long it waits, after the end of the command, for the last words, if another process keeps the terminal open.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// A command whose controlling terminal is a pseudo-terminal of the test.
#[derive(Debug)]
pub struct Terminal {
    shown: String,
    child: Child,
    keyboard: File,
    screen: Arc<Mutex<Vec<u8>>>,
    watcher: JoinHandle<()>,
    read_up_to: usize,
    deadline: Instant,
}

impl Terminal {
    pub(crate) fn start(
        command: process::Command,
        shown: String,
        rows: u16,
        columns: u16,
        patience: Duration,
    ) -> Self {
        match Self::try_start(command, &shown, rows, columns, patience) {
            Ok(terminal) => terminal,
            Err(error) => panic!("{shown}: {error:#}"),
        }
    }

    fn try_start(
        mut command: process::Command,
        shown: &str,
        rows: u16,
        columns: u16,
        patience: Duration,
    ) -> Result<Self> {
        let (master, slave) = open_pty().context("opening a pseudo-terminal")?;
        tcsetwinsize(&master, size(rows, columns))?;
        command.stdin(Stdio::from(slave.try_clone()?));
        command.stdout(Stdio::from(slave.try_clone()?)).stderr(Stdio::from(slave));
        let child = command.spawn()?;
        let keyboard = File::from(master);
        let screen = Arc::default();
        let watcher = watch(keyboard.try_clone()?, Arc::clone(&screen));
        let deadline = Instant::now() + patience;
        Ok(Self { shown: shown.to_owned(), child, keyboard, screen, watcher, read_up_to: 0, deadline })
    }

    /// Types `keys`, control characters included.
    ///
    /// # Panics
    /// The command has closed the terminal.
    pub fn types(&mut self, keys: &str) -> &mut Self {
        if let Err(error) = self.keyboard.write_all(keys.as_bytes()) {
            panic!("{}: typing {keys:?}: {error}\n{}", self.shown, self.transcript());
        }
        self
    }

    /// Waits until `text` appears after what was awaited before.
    ///
    /// # Panics
    /// It does not appear in time.
    #[track_caller]
    pub fn shows(&mut self, text: &str) -> &mut Self {
        let mut found = None;
        wait_until(PATIENCE, || {
            let screen = self.screen();
            found = screen.get(self.read_up_to..).and_then(|new| new.find(text).map(|at| at + text.len()));
            found.is_some()
        });
        match found {
            Some(end) => self.read_up_to += end,
            None => panic!("{} does not show {text:?}\n{}", self.shown, self.transcript()),
        }
        self
    }

    /// Changes the size of the terminal, as its window would.
    ///
    /// # Panics
    /// The kernel refuses.
    pub fn resizes(&mut self, rows: u16, columns: u16) -> &mut Self {
        if let Err(error) = tcsetwinsize(&self.keyboard, size(rows, columns)) {
            panic!("{}: resizing its terminal: {error}", self.shown);
        }
        self
    }

    /// Waits for the end of the command, which must exit with `status`.
    ///
    /// # Panics
    /// It takes too long or exits with another status.
    #[track_caller]
    pub fn exits(mut self, status: i32) {
        let mut ended = None;
        wait_until(self.deadline.saturating_duration_since(Instant::now()), || {
            ended = self.child.try_wait().ok().flatten();
            ended.is_some()
        });
        let Some(ended) = ended else { panic!("{} takes too long\n{}", self.shown, self.transcript()) };
        let got = shell_status(ended);
        assert!(got == status, "{}: exit status {got}, not {status}\n{}", self.shown, self.transcript());
    }

    /// Waits for the end of the command, however it ends, and returns all that it has shown.
    ///
    /// # Panics
    /// It takes too long.
    #[track_caller]
    pub fn everything(&mut self) -> String {
        let patience = self.deadline.saturating_duration_since(Instant::now());
        let ended = wait_until(patience, || !matches!(self.child.try_wait(), Ok(None)));
        assert!(ended, "{} takes too long\n{}", self.shown, self.transcript());
        wait_until(LAST_WORDS, || self.watcher.is_finished());
        self.screen()
    }

    fn screen(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    fn transcript(&self) -> String {
        self.screen().lines().map(|line| format!("  terminal: {}\n", line.trim_end())).collect()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            end_group(&mut self.child);
        }
    }
}

fn size(rows: u16, columns: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

fn open_pty() -> Result<(OwnedFd, OwnedFd)> {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let name = ptsname(&master, Vec::new())?;
    let slave = rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
    Ok((master, slave))
}

/// Collects what the command shows, until the last process has closed the terminal (EIO).
fn watch(mut master: File, screen: Arc<Mutex<Vec<u8>>>) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(length @ 1..) = master.read(&mut piece) {
            screen.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&piece[..length]);
        }
    })
}
