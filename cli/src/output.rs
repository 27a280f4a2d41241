//! All that is printed: results on standard output; failures in four parts, warnings and notes on standard error.
//!
//! Nothing here panics. A result that cannot be written ends the command; a standard error that is gone has nobody who
//! could be told.
//!
//! ```text
//! error: cannot start web: reading the configuration      what failed, on what
//!   why: ...                                              the root cause
//!  help: ...                                              what to do
//! ```

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

use anstyle::{AnsiColor, Style};
use config::settings::Color;
use container::{Error, Kind, Result};
use types::ContainerName;

use crate::context::Context;
use crate::events::{Event, Events};
use crate::hints;

/// What a verb comes to: its exit status, or why it failed.
pub(crate) type Outcome = std::result::Result<i32, Failure>;

/// The exit status of a verb that passes on that of a command, when Bryo itself failed.
pub(crate) const BRYO_FAILED: i32 = 125;
/// The exit status of such a verb when the time is over. As timeout(1) has it.
const TIMED_OUT: i32 = 124;

/// A verb that failed.
#[derive(Debug)]
pub(crate) struct Failure {
    /// What could not be done: `start web`.
    act: String,
    /// What it was about.
    subject: Option<ContainerName>,
    error: Error,
    status: i32,
    /// What to do, where the kind of the error does not say it.
    help: Option<String>,
}

impl Failure {
    /// Makes the failure of an act that is about no container.
    pub(crate) fn new(act: &str, error: Error) -> Self {
        Self { act: act.to_owned(), subject: None, error, status: 1, help: None }
    }

    /// Gives the failure the exit status of a verb that passes on that of a command.
    pub(crate) fn beside_a_command(self) -> Self {
        let status = match self.error.kind() {
            Kind::ProgramNotExecutable => 126,
            Kind::ProgramMissing => 127,
            Kind::TimedOut => TIMED_OUT,
            Kind::Interrupted(signal) => 128 + signal,
            _ => BRYO_FAILED,
        };
        Self { status, ..self }
    }

    /// Says what to do about failures of one kind, where this verb knows better.
    pub(crate) fn with_help(self, kind: Kind, help: impl Into<String>) -> Self {
        let help = if self.error.kind() == kind { Some(help.into()) } else { self.help };
        Self { help, ..self }
    }

    /// Gives failures of one kind an exit status of their own.
    pub(crate) fn with_status(self, kind: Kind, status: i32) -> Self {
        let status = if self.error.kind() == kind { status } else { self.status };
        Self { status, ..self }
    }

    /// Says what to do where nothing better is said yet.
    pub(crate) fn or_help(self, help: Option<String>) -> Self {
        Self { help: self.help.or(help), ..self }
    }

    /// Prints the failure and returns its exit status.
    pub(crate) fn print(&self, context: Option<&Context>) -> i32 {
        for (label, text) in self.parts(context) {
            let style = if label == "error" { ERROR } else { LABEL };
            tell_line(format_args!("{style}{label:>5}:{style:#} {}", text.replace('\n', INDENT)));
        }
        self.status
    }

    /// Tells the failure as the last event.
    pub(crate) fn tell(&self, context: &Context, events: &mut Events) {
        let parts = self.parts(Some(context));
        let part = |wanted| parts.iter().find(|(label, _)| *label == wanted).map(|(_, text)| text.as_str());
        let failed = Event::Failed {
            status: self.status,
            error: part("error").unwrap_or_default(),
            cause: part("why").unwrap_or_default(),
            hint: part("help"),
        };
        events.tell(self.subject.as_ref().map(ContainerName::as_str), &failed);
    }

    /// Returns the exit status.
    pub(crate) fn status(&self) -> i32 {
        self.status
    }

    fn parts(&self, context: Option<&Context>) -> Vec<(&'static str, String)> {
        let hint = hints::hint(&self.error, self.subject.as_ref(), || context.map(Context::findings));
        let hint = self.help.clone().or(hint);
        parts(&self.act, &self.error, hint.as_deref())
    }
}

/// Says what could not be done, on what.
pub(crate) trait Cannot<T> {
    /// Turns the error into the failure of `act` on a container.
    fn cannot(self, act: &str, name: &ContainerName) -> std::result::Result<T, Failure>;
}

impl<T> Cannot<T> for Result<T> {
    fn cannot(self, act: &str, name: &ContainerName) -> std::result::Result<T, Failure> {
        self.map_err(|error| Failure {
            act: format!("{act} {name}"),
            subject: Some(name.clone()),
            error,
            status: 1,
            help: None,
        })
    }
}

const ERROR: Style = AnsiColor::Red.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const LABEL: Style = Style::new().bold();
/// Lines after the first stand below it.
const INDENT: &str = "\n       ";

fn parts(act: &str, error: &Error, hint: Option<&str>) -> Vec<(&'static str, String)> {
    let (whole, cause) = (error.to_string(), error.cause());
    let outer = whole.strip_suffix(cause).map_or("", |outer| outer.trim_end_matches(": "));
    let what = if outer.is_empty() { format!("cannot {act}") } else { format!("cannot {act}: {outer}") };
    let mut parts = vec![("error", what), ("why", cause.to_owned())];
    parts.extend(hint.map(|hint| ("help", hint.to_owned())));
    parts.into_iter().map(|(label, text)| (label, printable(&text))).collect()
}

/// Returns the text without characters that hide or turn others: some of it comes from archives and containers, and could make a
/// terminal show something else.
pub(crate) fn printable(text: &str) -> String {
    let shown = |c: char| if c == '\n' || types::is_shown(c) { c } else { char::REPLACEMENT_CHARACTER };
    text.trim_end().chars().map(shown).collect()
}

/// Uses colours where the settings say so.
pub(crate) fn color(wanted: Option<Color>) {
    match wanted {
        None | Some(Color::Auto) => {}
        Some(Color::Always) => anstream::ColorChoice::Always.write_global(),
        Some(Color::Never) => anstream::ColorChoice::Never.write_global(),
    }
}

/// Prints something that the user should know although all went well.
pub(crate) fn warning(text: &str) {
    tell_line(format_args!("{WARNING}warning:{WARNING:#} {}", printable(text)));
}

/// Prints what was left out, or what was done instead.
pub(crate) fn note(text: &str) {
    tell_line(format_args!("{LABEL}note:{LABEL:#} {}", printable(text)));
}

/// Prints a sentence about the course of things.
pub(crate) fn say(text: &str) {
    tell_line(printable(text));
}

/// Prints a text to standard error as it is.
pub(crate) fn tell(text: impl Display) {
    let _unheard = write!(anstream::stderr(), "{text}");
}

/// Prints a line to standard error as it is.
pub(crate) fn tell_line(text: impl Display) {
    tell(format_args!("{text}\n"));
}

/// Prints a result to standard output as it is. Where that fails, the command ends.
pub(crate) fn print(text: impl Display) {
    put(io::stdout().lock(), text);
}

/// Prints what a container has shown. A terminal gets its text without what would move the cursor or change the title.
pub(crate) fn print_bytes(bytes: &[u8]) {
    if !sys::tty::is_terminal(std::os::fd::AsFd::as_fd(&io::stdout())) {
        if let Err(error) = io::stdout().lock().write_all(bytes) {
            std::process::exit(unwritten(&error));
        }
        return;
    }
    let plain = anstream::adapter::strip_bytes(bytes).into_vec();
    let text = String::from_utf8_lossy(&plain).replace('\r', "");
    print_line(printable(&text));
}

/// Prints a result with colours, which only a terminal gets.
pub(crate) fn print_styled(text: impl Display) {
    put(anstream::stdout().lock(), text);
}

fn put(mut output: impl Write, text: impl Display) {
    if let Err(error) = write!(output, "{text}").and_then(|()| output.flush()) {
        std::process::exit(unwritten(&error));
    }
}

/// Prints a line of a result.
pub(crate) fn print_line(text: impl Display) {
    print(format_args!("{text}\n"));
}

/// Says that a result cannot be written, but for a reader who has seen enough. Returns the exit status.
pub(crate) fn unwritten(error: &io::Error) -> i32 {
    if error.kind() != ErrorKind::BrokenPipe {
        tell_line(format_args!("{ERROR}error:{ERROR:#} cannot write to standard output: {error}"));
    }
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_has_four_parts() {
        let error = Error::new(Kind::IdRange, "/etc/subuid has no line for ana").doing("choosing ids");
        let parts = parts("start web", &error, Some("sudo usermod"));
        let expected = [
            ("error", "cannot start web: choosing ids"),
            ("why", "/etc/subuid has no line for ana"),
            ("help", "sudo usermod"),
        ];
        assert!(parts.iter().map(|(label, text)| (*label, text.as_str())).eq(expected));
    }

    #[test]
    fn a_cause_keeps_its_lines_and_moves_no_cursor() {
        let error = Error::new(Kind::Config, "a\nb\x1b[2J\n");
        assert_eq!(parts("start web", &error, None)[1].1, "a\nb\u{fffd}[2J");
    }

    #[test]
    fn statuses_beside_a_command_are_those_of_shells() {
        let status = |kind| Failure::new("run", Error::new(kind, "x")).beside_a_command().status;
        assert_eq!(status(Kind::ProgramMissing), 127);
        assert_eq!(status(Kind::ProgramNotExecutable), 126);
        assert_eq!(status(Kind::Frozen), 125);
        assert_eq!(status(Kind::TimedOut), 124);
        assert_eq!(status(Kind::Interrupted(15)), 143);
    }
}
