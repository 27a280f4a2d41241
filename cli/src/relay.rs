//! Copying between the caller's terminal and the master side of a container's pseudo-terminal.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use container::console_log::ConsoleLog;
use container::{Error, Kind, Result};
use sys::event::{self, Ready};
use sys::tty::{self, Raw, Size};
use sys::{signal, tty::is_terminal};

use crate::escape::Escape;
use crate::output;

/// Signals that are passed on to a container, and SIGWINCH.
pub(crate) const HEARD: [i32; 5] = [1, 2, 3, 15, SIGWINCH];
/// Signals that are passed on to a single command: SIGUSR1 and SIGUSR2 too, which mean what the command makes of them.
pub(crate) const HEARD_FOR_A_COMMAND: [i32; 7] = [1, 2, 3, 10, 12, 15, SIGWINCH];
/// Those of them that end nothing by themselves.
pub(crate) const MEANT_FOR_A_COMMAND: [i32; 2] = [10, 12];
/// The terminal has another size.
pub(crate) const SIGWINCH: i32 = 28;

/// So much is typed at a time: a terminal that takes any key takes these without blocking.
const KEYS_AT_ONCE: usize = 256;
/// So much is still shown after the program has ended; what it left running may write for ever.
const LAST_WORDS: usize = 1 << 20;
/// How long is waited for them: for the next one, and for all.
const LAST_WAIT: Duration = Duration::from_millis(50);
const LAST_WAITS: Duration = Duration::from_millis(200);
/// So much is remembered of a console that nobody looks at.
const MEMORY: usize = 16 << 10;
/// So many of its lines are told, and so much of each.
const LAST_LINES: usize = 10;
const LINE: usize = 200;

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
    log: Option<ConsoleLog>,
    /// The last of what was written, where it is remembered.
    memory: Option<Vec<u8>>,
    pending: Vec<u8>,
    hears: bool,
    over: bool,
}

/// What ended a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    /// The other fd of this number can be read.
    Ready(usize),
    /// A signal to pass on.
    Signal(i32),
    /// The user left by the escape.
    Left,
    /// The time is over.
    Late,
}

impl Relay {
    /// Shows what comes from `master` on the caller's terminal, and types there what the caller types.
    pub(crate) fn to_terminal(master: OwnedFd) -> Result<Self> {
        let mut relay = Self::nowhere(master);
        relay.screen = relay.streams.screen().map(copy).transpose()?;
        if relay.streams.terminals()[0] {
            relay._raw = Some(Raw::new(relay.streams.input.as_fd())?);
            relay.hears = true;
        }
        relay.resize();
        Ok(relay)
    }

    /// Reads what comes from `master`, so that nobody who writes there is blocked, and shows it to nobody.
    fn nowhere(master: OwnedFd) -> Self {
        Self {
            streams: Streams::new(),
            master: master.into(),
            _kept_open: None,
            screen: None,
            _raw: None,
            escape: None,
            log: None,
            memory: None,
            pending: Vec::new(),
            hears: false,
            over: false,
        }
    }

    /// Remembers the last of what comes from `master`.
    pub(crate) fn to_memory(master: OwnedFd) -> Self {
        Self { memory: Some(Vec::new()), ..Self::nowhere(master) }
    }

    /// Returns the last lines that were remembered, as plain text.
    pub(crate) fn last_lines(&self) -> Vec<String> {
        last_lines(self.memory.as_deref().unwrap_or_default())
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
    pub(crate) fn with_log(self, log: Option<impl Into<ConsoleLog>>) -> Self {
        Self { log: log.map(Into::into), ..self }
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
        let screen = self.screen.as_mut().map(|screen| screen as &mut dyn Write);
        let log = self.log.as_mut().map(|log| log as &mut dyn Write);
        for target in screen.into_iter().chain(log) {
            // A terminal that is gone sends SIGHUP, which ends this; a full disk costs the log alone.
            let _lost = target.write_all(&buffer[..got]);
        }
        if let Some(memory) = &mut self.memory {
            memory.extend_from_slice(&buffer[..got]);
            memory.drain(..memory.len().saturating_sub(MEMORY));
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

    /// Shows what was written before the end. The kernel passes it on by a thread of its own, which may come after the end
    /// of the program; the master reports a hang-up behind it, unless somebody else has the terminal still. Whoever that is
    /// may write now and then for ever, so after a while only what is there already is shown.
    pub(crate) fn finish(&mut self) {
        let mut shown = 0;
        let end = Instant::now() + LAST_WAITS;
        let can_read = |master: BorrowedFd<'_>| {
            let left = end.saturating_duration_since(Instant::now());
            event::readable(master, Some(left.min(LAST_WAIT))).unwrap_or(false)
        };
        while !self.over && shown < LAST_WORDS && can_read(self.master.as_fd()) {
            shown += self.show();
        }
    }
}

fn copy(fd: BorrowedFd<'_>) -> Result<File> {
    let copied = fd.try_clone_to_owned().map(File::from);
    copied.map_err(|e| Error::new(Kind::Kernel(e.raw_os_error().unwrap_or(0)), e.to_string()))
}

/// Returns the last lines of what a console was sent: without colours, cursors and other control, and not too long.
fn last_lines(bytes: &[u8]) -> Vec<String> {
    let plain = anstream::adapter::strip_bytes(bytes).into_vec();
    let text = String::from_utf8_lossy(&plain).into_owned();
    let cut = |line: &str| output::printable(line).chars().take(LINE).collect::<String>();
    let lines: Vec<String> =
        text.split(['\n', '\r']).filter(|line| !line.trim().is_empty()).map(cut).collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].to_vec()
}

/// Copies until one of `others` can be read, a signal arrives, the user leaves, or the time is over.
pub(crate) fn wait(
    relays: &mut [&mut Relay],
    signals: BorrowedFd<'_>,
    others: &[BorrowedFd<'_>],
    until: Option<Instant>,
) -> Result<Woken> {
    loop {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let ready = {
            let fds = [signals].into_iter().chain(others.iter().copied());
            let mut watched: Vec<_> = fds.map(|fd| (fd, Ready::READ)).collect();
            relays.iter().for_each(|relay| watched.extend(relay.watched()));
            event::wait(&watched, left)?
        };
        let (asked, copied) = ready.split_at(1 + others.len());
        if copy_all(relays, copied) {
            return Ok(Woken::Left);
        }
        match signal::next(signals) {
            Some(SIGWINCH) => relays.iter().for_each(|relay| relay.resize()),
            Some(number) => return Ok(Woken::Signal(number)),
            None => {}
        }
        if let Some(found) = asked[1..].iter().position(|other| other.read) {
            return Ok(Woken::Ready(found));
        }
        if left.is_some_and(|left| left.is_zero()) {
            return Ok(Woken::Late);
        }
    }
}

/// Copies what is ready of each. Tells whether the user wants to leave one.
fn copy_all(relays: &mut [&mut Relay], mut ready: &[Ready]) -> bool {
    let mut leaves = false;
    for relay in relays {
        let (own, others) = ready.split_at(relay.watched().len());
        leaves |= relay.copy(own);
        ready = others;
    }
    leaves
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_of_a_console_move_no_cursor() {
        let console =
            "one\r\n\x1b[0;1;31mFailed\x1b[0m to mount\x07\x1b]0;title\x07\r\n\r\n\u{25cf} \u{9b}2J\n";
        assert_eq!(last_lines(console.as_bytes()), ["one", "Failed to mount", "\u{25cf} \u{fffd}2J"]);
        assert!(last_lines(b"").is_empty());
    }

    #[test]
    fn who_goes_on_writing_keeps_nobody_waiting() {
        const DROPS: usize = 1000;
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(b"last words\n").unwrap();
        let dripping = std::thread::spawn(move || {
            (0..DROPS)
                .take_while(|_| {
                    std::thread::sleep(LAST_WAIT / 5);
                    writer.write_all(b"x\n").is_ok()
                })
                .count()
        });
        let mut relay = Relay::to_memory(reader.into());
        relay.finish();
        assert!(relay.memory.as_deref().unwrap().starts_with(b"last words\n"));
        drop(relay);
        assert!(dripping.join().unwrap() < DROPS, "the last drop was waited for");
    }

    #[test]
    fn the_last_lines_are_few_and_short() {
        let console = format!("first\n{}", format!("{}\n", "x".repeat(1000)).repeat(20));
        let lines = last_lines(console.as_bytes());
        assert_eq!((lines.len(), lines[0].len()), (LAST_LINES, LINE));
    }
}
