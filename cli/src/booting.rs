//! Waiting until a system container has booted.
//!
//! systemd is asked, by its own `systemctl`, inside and with time and size limited: it comes from the same package as the
//! init that it asks, while the protocol behind it (the private socket below /run/systemd) is promised to nobody, and not
//! answered to a process outside of the container. An image that lies about its state deceives its own user alone.
//!
//! Other inits have nothing that could be asked: neither busybox nor sysvinit nor OpenRC tells when its scripts are done.
//! What can be seen from outside is that init lives and is still the same program, which a script that becomes the real
//! init later is not. After a moment of that they count as started, and no more is claimed.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use container::attach::{AttachRequest, Starting};
use container::command::{Client, Reply, Request};
use container::place::Place;
use container::{Doing, Error, Kind, Result};
use serde::Serialize;
use sys::{event, tty};
use types::Signal;

use crate::bar::Bar;
use crate::inside;
use crate::output;
use crate::watch::Watch;

/// How long a boot may take when there is no other limit. systemd gives a unit 90 seconds unless it says otherwise.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long between two questions.
const BETWEEN: Duration = Duration::from_millis(150);
/// How long one question may take.
const QUESTION: Duration = Duration::from_secs(10);
/// How long an init that is not systemd must have been the same program.
const SETTLED: Duration = Duration::from_millis(500);
/// So much of an answer is read.
const ANSWER: usize = 16 << 10;
/// So many failed units are named, and so long a name can be. Source: systemd.unit(5), "not longer than 255 characters".
const UNITS: usize = 32;
const UNIT_NAME: usize = 255;

/// A boot that is over.
#[derive(Debug)]
pub(crate) struct Boot {
    /// How it went.
    pub(crate) state: Booted,
    /// The units that failed, as many as are named.
    pub(crate) failed_units: Vec<String>,
    /// How long was waited.
    pub(crate) took: Duration,
}

/// How a boot went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Booted {
    /// systemd has started everything.
    Running,
    /// systemd has tried everything, and some units failed.
    Degraded,
    /// Init lives; it is none that could be asked.
    Started,
}

/// Waits until the container has booted. A terminal shows how far it is, unless nobody wants to see it.
///
/// # Errors
/// It ends meanwhile, comes up in rescue mode, or the time is over.
pub(crate) fn wait(place: &Place, watch: &mut Watch<'_>, mut bar: Option<Bar>) -> Result<Boot> {
    let began = Instant::now();
    let late = began + PATIENCE;
    let until = watch.bounds().until().map_or(late, |until| until.min(late));
    let mut look = Look { place, until, seen: None, said: String::new() };
    loop {
        if let Some((state, failed_units)) = look.once(watch)? {
            return Ok(Boot { state, failed_units, took: began.elapsed() });
        }
        bar.iter_mut().for_each(|bar| bar.wait(look.told()));
        watch.readable(None, Some(until.min(Instant::now() + BETWEEN)))?;
        if Instant::now() >= until {
            return Err(look.late(began.elapsed()));
        }
    }
}

/// The program that is init, and since when.
#[derive(Debug)]
struct Seen {
    pid: i32,
    program: String,
    since: Instant,
}

/// Looking at the container again and again.
#[derive(Debug)]
struct Look<'a> {
    place: &'a Place,
    until: Instant,
    seen: Option<Seen>,
    /// What systemd said last.
    said: String,
}

impl Look<'_> {
    fn once(&mut self, watch: &mut Watch<'_>) -> Result<Option<(Booted, Vec<String>)>> {
        let Some(init) = self.init(watch)? else { return Ok(None) };
        if !self.is_systemd(init) {
            return Ok(self.is_settled().then(|| (Booted::Started, Vec::new())));
        }
        match self.ask(watch, &["systemctl", "is-system-running"])? {
            Answer::None => Ok(None),
            Answer::Unaskable => Ok(Some((Booted::Started, Vec::new()))),
            Answer::Text(text) => self.judge(&text, watch),
        }
    }

    /// Judges what systemd says of itself. Source: systemctl(1), "is-system-running".
    fn judge(&mut self, text: &str, watch: &mut Watch<'_>) -> Result<Option<(Booted, Vec<String>)>> {
        self.said = word(text);
        match self.said.as_str() {
            "running" => Ok(Some((Booted::Running, Vec::new()))),
            "degraded" => Ok(Some((Booted::Degraded, self.failed_units(watch)?))),
            "maintenance" => {
                let cause =
                    "systemd is in rescue or emergency mode: something that the boot needs has failed";
                Err(Error::new(Kind::Died, cause))
            }
            // Still on its way; or going down, and then the end is seen by others.
            _ => Ok(None),
        }
    }

    fn failed_units(&mut self, watch: &mut Watch<'_>) -> Result<Vec<String>> {
        let words =
            ["systemctl", "list-units", "--state=failed", "--plain", "--no-legend", "--no-pager", "--full"];
        match self.ask(watch, &words)? {
            Answer::Text(text) => Ok(units(&text)),
            Answer::None | Answer::Unaskable => Ok(Vec::new()),
        }
    }

    /// Asks the monitor for the pid of init; none while the container starts or reboots.
    fn init(&self, watch: &mut Watch<'_>) -> Result<Option<i32>> {
        let connected = Client::must_connect(self.place);
        let asked = connected.and_then(|client| client.send(&Request::Status, &[]).map(|()| client));
        let client = match asked {
            // The watch tells how it ended.
            Err(_) if watch.has_container() => return Ok(None),
            asked => asked?,
        };
        if !watch.readable(Some(client.fd()), Some(self.until))? {
            return Ok(None);
        }
        match client.next() {
            Ok(Some((Reply::Status(status), _))) => Ok(status.init_pid),
            Ok(Some((Reply::Failed(failure), _))) => Err(failure),
            // It ends just now, which the next look finds.
            _ => Ok(None),
        }
    }

    /// Looks which program init is. It may become another: images have scripts for an init that end in the real one.
    fn is_systemd(&mut self, init: i32) -> bool {
        let program = program_of(init);
        let is_systemd = Path::new(&program).file_name().is_some_and(|name| name == "systemd");
        if self.seen.as_ref().is_none_or(|seen| (seen.pid, &seen.program) != (init, &program)) {
            self.seen = Some(Seen { pid: init, program, since: Instant::now() });
        }
        is_systemd
    }

    fn is_settled(&self) -> bool {
        self.seen.as_ref().is_some_and(|seen| seen.since.elapsed() >= SETTLED)
    }

    /// Runs a program of the container and reads what it prints.
    ///
    /// # Errors
    /// What ends the wait as a whole. That the container does not answer is none: it may be too early.
    fn ask(&self, watch: &mut Watch<'_>, words: &[&str]) -> Result<Answer> {
        let until = self.until.min(Instant::now() + QUESTION);
        let (reader, writer) = std::io::pipe().map_err(|e| Error::new(Kind::Died, e.to_string()))?;
        let null = tty::null()?;
        let starting =
            Starting::begin(self.place, &question(words), [null.as_fd(), writer.as_fd(), null.as_fd()]);
        drop(writer);
        let starting = match starting {
            Err(e) => return unanswered(e),
            Ok(starting) => starting,
        };
        if !watch.readable(Some(starting.fd()), Some(until))? {
            return Ok(Answer::None);
        }
        let attached = match starting.finish() {
            Err(e) => return unanswered(e),
            Ok(attached) => attached,
        };
        if !watch.readable(Some(attached.fd()), Some(until))? {
            let _ended = attached.signal(Signal::KILL.number());
            return Ok(Answer::None);
        }
        match attached.status() {
            Err(e) => unanswered(e),
            // Its status says the same as its words, and differs between versions.
            Ok(_) => Ok(Answer::Text(read(&reader.into())?)),
        }
    }

    /// Says how far it is.
    fn told(&self) -> String {
        let separator = if self.said.is_empty() { "" } else { ": " };
        format!("{} boots{separator}{}", self.place.name, self.said)
    }

    /// Makes the failure of a boot that takes too long.
    fn late(&self, after: Duration) -> Error {
        let said = match (&self.seen, self.said.as_str()) {
            (None, _) => "it had no init yet".to_owned(),
            (Some(seen), "") => format!("{} had not answered", seen.program),
            (Some(_), said) => format!("systemd said {said:?}"),
        };
        Error::new(Kind::TimedOut, format!("after {} s {said}", after.as_secs()))
    }
}

/// What came of a question.
#[derive(Debug)]
enum Answer {
    /// These words.
    Text(String),
    /// Nothing, this time.
    None,
    /// The container has no program to ask with.
    Unaskable,
}

/// Decides what a question that could not be asked means.
fn unanswered(error: Error) -> Result<Answer> {
    match error.kind() {
        Kind::ProgramMissing | Kind::ProgramNotExecutable => Ok(Answer::Unaskable),
        Kind::Frozen | Kind::UnderLxc | Kind::NotDefined => Err(error),
        _ => {
            log::info!("no answer: {error}");
            Ok(Answer::None)
        }
    }
}

/// Returns the request of a program that prints for programs, in the language of none.
fn question(words: &[&str]) -> AttachRequest {
    let plain = ["LC_ALL=C", "SYSTEMD_COLORS=0", "SYSTEMD_PAGER="].map(str::to_owned);
    // NixOS has nothing in the usual directories.
    let path = format!("{}:/run/current-system/sw/bin", inside::PATH);
    let environment = [path].into_iter().chain(plain).collect();
    let argv = words.iter().map(|word| (*word).to_owned()).collect();
    AttachRequest { cwd: Some("/".to_owned()), ..inside::request(argv, environment) }
}

/// Reads what is in a pipe, up to a limit and without waiting: a process of the container may hold it open.
fn read(pipe: &OwnedFd) -> Result<String> {
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    while text.len() < ANSWER && event::readable(pipe.as_fd(), Some(Duration::ZERO))? {
        match tty::read(pipe.as_fd(), &mut buffer).doing("reading what the container says")? {
            0 => break,
            got => text.extend_from_slice(&buffer[..got]),
        }
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Returns the path of a process's program as the kernel knows it, else its name.
fn program_of(pid: i32) -> String {
    let name = || std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let program = std::fs::read_link(format!("/proc/{pid}/exe"));
    let program = program.map_or_else(|_| name(), |path| path.to_string_lossy().into_owned());
    // One that was replaced by an upgrade is still the same.
    output::printable(program.trim_end_matches(" (deleted)"))
}

/// Returns the first word, as far as it can be one of systemd's.
fn word(text: &str) -> String {
    let first = text.split_whitespace().next().unwrap_or_default();
    first.chars().filter(char::is_ascii_lowercase).take(32).collect()
}

/// Reads the names of a list of units. Anything but the characters of a unit's name is replaced: it comes from the
/// container, and goes to a terminal.
fn units(text: &str) -> Vec<String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '-' | '_' | '.' | '\\' | '@');
    let shown = |c: char| if fits(c) { c } else { char::REPLACEMENT_CHARACTER };
    let names = text.lines().filter_map(|line| line.split_whitespace().find(|word| word.contains('.')));
    names.take(UNITS).map(|name| name.chars().take(UNIT_NAME).map(shown).collect()).collect()
}

/// Says what the user should know of a boot that went less than well.
pub(crate) fn warn(place: &Place, boot: &Boot) {
    if boot.state != Booted::Degraded {
        return;
    }
    let units = match boot.failed_units.as_slice() {
        [] => "which units failed was not told".to_owned(),
        units => format!("failed units: {}", units.join(", ")),
    };
    output::warning(&format!("{} has booted, but is degraded; {units}", place.name));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_units_are_named_and_move_no_cursor() {
        let list = "a.service loaded failed failed An A\n\u{25cf} b\\x2dc.mount loaded failed failed\n\n";
        assert_eq!(units(list), ["a.service", "b\\x2dc.mount"]);
        assert_eq!(units("\x1b[2Jx.service loaded"), ["\u{fffd}\u{fffd}2Jx.service"]);
        assert_eq!(units("no units here\n"), Vec::<String>::new());
    }

    #[test]
    fn a_list_without_end_is_cut() {
        let list = format!("{}.service\n", "x".repeat(1000)).repeat(100);
        let units = units(&list);
        assert_eq!((units.len(), units[0].len()), (UNITS, UNIT_NAME));
    }

    #[test]
    fn a_state_is_one_plain_word() {
        assert_eq!(word("running\n"), "running");
        assert_eq!(word("\x1b[31mdegraded more"), "mdegraded");
        assert_eq!(word(""), "");
    }
}
