//! Copying between the caller's terminal and the master side of a container's pseudo-terminal.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use container::{Error, Kind, Result};
use sys::event::{self, Ready};
use sys::tty::{self, Raw, Size};
use sys::{signal, tty::is_terminal};

use crate::escape::Escape;

/// Signals that are passed on to a container, and SIGWINCH.
pub(crate) const HEARD: [i32; 5] = [1, 2, 3, 15, SIGWINCH];
/// Signals that are passed on to a single command: SIGUSR1 and SIGUSR2 too, which mean what the command makes of them.
pub(crate) const HEARD_FOR_A_COMMAND: [i32; 7] = [1, 2, 3, 10, 12, 15, SIGWINCH];
const SIGWINCH: i32 = 28;

/// So much is typed at a time: a terminal that takes any key takes these without blocking.
const KEYS_AT_ONCE: usize = 256;
/// So much is still shown after the program has ended; what it left running may write for ever.
const LAST_WORDS: usize = 1 << 20;

/// The caller's standard streams, and which of them are terminals.
#[derive(Debug)]
pub(crate) struct Streams {
    input: std::io::Stdin,
    output: std::io::Stdout,
    errors: std::io::Stderr,
}

impl Streams {
    /// Takes those of this process.
    pub(crate) fn new() -> Self {
        Self { input: std::io::stdin(), output: std::io::stdout(), errors: std::io::stderr() }
    }

    /// Returns input, output, errors.
    pub(crate) fn fds(&self) -> [BorrowedFd<'_>; 3] {
        [self.input.as_fd(), self.output.as_fd(), self.errors.as_fd()]
    }

    /// Tells which of them are terminals.
    pub(crate) fn terminals(&self) -> [bool; 3] {
        self.fds().map(is_terminal)
    }

    /// Returns the terminal on which things are shown, if any of the streams is one.
    pub(crate) fn screen(&self) -> Option<BorrowedFd<'_>> {
        let [input, output, errors] = self.fds();
        [output, errors, input].into_iter().find(|fd| is_terminal(*fd))
    }

    /// Returns the size of the terminal. One that does not know its size has none.
    pub(crate) fn size(&self) -> Option<Size> {
        self.screen()
            .and_then(|screen| tty::size(screen).ok())
            .filter(|size| size.rows > 0 && size.columns > 0)
    }
}

/// The copying.
#[derive(Debug)]
pub(crate) struct Relay {
    streams: Streams,
    master: File,
    /// The master side reports a hang-up while nobody has the terminal open, such as between two logins.
    _kept_open: Option<OwnedFd>,
    screen: Option<File>,
    /// Gives the caller's terminal its old settings back when the copying is over.
    _raw: Option<Raw>,
    escape: Option<Escape>,
    log: Option<File>,
    pending: Vec<u8>,
    hears: bool,
    over: bool,
}

/// What ended a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    /// The other fd can be read.
    Ready,
    /// A signal to pass on.
    Signal(i32),
    /// The user left by the escape.
    Left,
}

impl Relay {
    /// Shows what comes from `master` on the caller's terminal, and types there what the caller types.
    pub(crate) fn to_terminal(master: OwnedFd) -> Result<Self> {
        let streams = Streams::new();
        let screen = streams.screen().map(copy).transpose()?;
        let raw = if streams.terminals()[0] { Some(Raw::new(streams.input.as_fd())?) } else { None };
        let hears = raw.is_some();
        let relay = Self {
            streams,
            master: master.into(),
            _kept_open: None,
            screen,
            _raw: raw,
            escape: None,
            log: None,
            pending: Vec::new(),
            hears,
            over: false,
        };
        relay.resize();
        Ok(relay)
    }

    /// Shows what comes from `master` on standard output, terminal or not.
    pub(crate) fn to_output(master: OwnedFd) -> Result<Self> {
        let mut relay = Self::to_terminal(master)?;
        if relay.screen.is_none() {
            relay.screen = Some(copy(relay.streams.output.as_fd())?);
        }
        Ok(relay)
    }

    /// Lets the user leave by an escape.
    pub(crate) fn with_escape(self, escape: Escape) -> Self {
        Self { escape: Some(escape), ..self }
    }

    /// Keeps the terminal open, whoever else closes it.
    pub(crate) fn kept_open(self) -> Result<Self> {
        let other_side = tty::slave_of(self.master.as_fd())?;
        Ok(Self { _kept_open: Some(other_side), ..self })
    }

    /// Writes a copy of what is shown.
    pub(crate) fn with_log(self, log: Option<File>) -> Self {
        Self { log, ..self }
    }

    fn resize(&self) {
        if let Some(size) = self.streams.size() {
            // The container may have closed its terminal; then there is nobody to see a size.
            let _closed = tty::set_size(self.master.as_fd(), size);
        }
    }

    fn wants_keys(&self) -> bool {
        self.hears && !self.over && self.pending.is_empty()
    }

    fn watched(&self) -> Vec<(BorrowedFd<'_>, Ready)> {
        let mut watched = Vec::new();
        if !self.over {
            watched.push((self.master.as_fd(), Ready { read: true, write: !self.pending.is_empty() }));
        }
        if self.wants_keys() {
            watched.push((self.streams.input.as_fd(), Ready::READ));
        }
        watched
    }

    /// Copies what is ready, in the order of [`watched`](Self::watched). Tells whether the user wants to leave.
    fn copy(&mut self, ready: &[Ready]) -> bool {
        let (shows, hears) = (!self.over, self.wants_keys());
        let mut ready = ready.iter();
        if let Some(master) = ready.next().filter(|_| shows) {
            if master.read {
                self.show();
            }
            if master.write && !self.pending.is_empty() {
                self.type_keys();
            }
        }
        let input = if shows { ready.next() } else { None };
        input.is_some_and(|input| hears && input.read && self.hear())
    }

    /// Shows what the container has written; returns how much.
    fn show(&mut self) -> usize {
        let mut buffer = [0; 4096];
        let got = tty::read(self.master.as_fd(), &mut buffer).unwrap_or(0);
        self.over = got == 0;
        for target in [&mut self.screen, &mut self.log].into_iter().flatten() {
            // A terminal that is gone sends SIGHUP, which ends this; a full disk costs the log alone.
            let _lost = target.write_all(&buffer[..got]);
        }
        got
    }

    fn type_keys(&mut self) {
        let piece = self.pending.len().min(KEYS_AT_ONCE);
        match self.master.write(&self.pending[..piece]) {
            Ok(written) => drop(self.pending.drain(..written)),
            Err(_) => self.over = true,
        }
    }

    fn hear(&mut self) -> bool {
        let mut buffer = [0; 4096];
        let got = tty::read(self.streams.input.as_fd(), &mut buffer).unwrap_or(0);
        self.hears = got > 0;
        match &mut self.escape {
            None => self.pending.extend_from_slice(&buffer[..got]),
            Some(escape) => {
                let typed = escape.take(&buffer[..got]);
                self.pending.extend(typed.keys);
                return typed.leaves;
            }
        }
        false
    }

    /// Shows what was written before the end.
    pub(crate) fn finish(mut self) {
        let mut shown = 0;
        let can_read =
            |master: BorrowedFd<'_>| event::readable(master, Some(Duration::ZERO)).unwrap_or(false);
        while !self.over && shown < LAST_WORDS && can_read(self.master.as_fd()) {
            shown += self.show();
        }
    }
}

fn copy(fd: BorrowedFd<'_>) -> Result<File> {
    let copied = fd.try_clone_to_owned().map(File::from);
    copied.map_err(|e| Error::new(Kind::Kernel(e.raw_os_error().unwrap_or(0)), e.to_string()))
}

/// Copies until `other` can be read, a signal arrives, or the user leaves.
pub(crate) fn wait(
    mut relay: Option<&mut Relay>,
    signals: BorrowedFd<'_>,
    other: BorrowedFd<'_>,
) -> Result<Woken> {
    loop {
        let ready = {
            let mut watched = vec![(signals, Ready::READ), (other, Ready::READ)];
            watched.extend(relay.as_deref().map(Relay::watched).unwrap_or_default());
            event::wait(&watched, None)?
        };
        if relay.as_deref_mut().is_some_and(|relay| relay.copy(&ready[2..])) {
            return Ok(Woken::Left);
        }
        match signal::next(signals) {
            Some(SIGWINCH) => relay.as_deref().into_iter().for_each(Relay::resize),
            Some(number) => return Ok(Woken::Signal(number)),
            None if ready[1].read => return Ok(Woken::Ready),
            None => {}
        }
    }
}
