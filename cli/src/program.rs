//! Bryo's own programs that work for one command: they are given words and fds, and answer by a last line of JSON.

use std::ffi::OsString;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::time::Duration;

use container::{Doing, Error, Kind, Result};
use serde::Deserialize;
use sys::event::Ready;

use crate::bar::Bar;
use crate::bounds::Bounds;
use crate::context::from_io;
use crate::output;

/// How often the bounds are looked at.
const TICK: Duration = Duration::from_millis(20);
/// The longest line that is read.
const MAX: usize = 64 << 20;
/// The most that is kept of what goes wrong: the end, where the reason stands.
const MAX_ERRORS: usize = 1 << 20;

/// How far a program is.
#[derive(Deserialize)]
struct Progress {
    came: u64,
    of: Option<u64>,
}

/// Runs a program, which ends with this one, and reads its report. Failures are of the given kind.
///
/// # Errors
/// The program fails, with its own words; or the bounds are over, then it is ended.
pub(crate) fn ask<T: for<'de> Deserialize<'de>>(
    program: &Path,
    arguments: Vec<OsString>,
    fds: &[BorrowedFd<'_>],
    kind: Kind,
    bounds: Option<&Bounds>,
) -> Result<T> {
    let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let failed = |error: std::io::Error| Error::new(kind, error.to_string());
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let running = sys::process::spawn_dying_with_parent(&mut command, fds);
    let mut running = running.map_err(failed).doing_with(|| format!("running {}", program.display()))?;
    let mut errors = Errors { from: running.stderr.take(), read: Vec::new() };
    let report = watch(&mut running, &mut errors, bounds);
    if report.is_err() {
        running.kill().map_err(failed)?;
    }
    let rest = errors.read_rest();
    let ended = running.wait().map_err(failed).doing_with(|| format!("waiting for {name}"))?;
    let report = report?;
    rest?;
    let said = String::from_utf8_lossy(&errors.read).into_owned();
    let note = format!("{name}: note: ");
    if !ended.success() {
        let last = said.lines().rev().find(|line| !line.starts_with(&note) && !line.starts_with(' '));
        let cause = last.map_or("it died", |line| line.strip_prefix(&format!("{name}: ")).unwrap_or(line));
        return Err(Error::new(kind, output::printable(cause)));
    }
    said.lines().for_each(|line| output::note(line.trim_start_matches(&note)));
    serde_json::from_str(&report)
        .map_err(|error| Error::new(kind, error.to_string()))
        .doing_with(|| format!("reading the report of {name}"))
}

/// Shows how far the program is, and returns its last line. Nobody reads in a thread: what comes next may fork, and a filter of
/// system calls may let no thread be made.
fn watch(running: &mut Child, errors: &mut Errors, bounds: Option<&Bounds>) -> Result<String> {
    let Some(output) = running.stdout.take() else { return Ok(String::new()) };
    let mut lines = Lines { output, read: Vec::new(), ended: false };
    let (mut bar, mut last) = (Bar::default(), String::new());
    loop {
        match lines.next(errors, TICK) {
            Ok(Next::Line(line)) => match (progress(&line), said_meanwhile(&line)) {
                (Some(Progress { came, of }), _) => bar.show(came, of),
                (None, Some(note)) => output::note(&output::printable(&note)),
                (None, None) => last = line,
            },
            Ok(Next::End) => break Ok(last),
            Ok(Next::Nothing) => {}
            Err(error) => {
                let _gone = running.kill();
                break Err(error);
            }
        }
        if let Err(over) = bounds.map_or(Ok(()), Bounds::check) {
            let _gone = running.kill();
            break Err(over);
        }
    }
}

/// What a program says, line by line.
struct Lines {
    output: ChildStdout,
    /// What has come and is no whole line yet.
    read: Vec<u8>,
    ended: bool,
}

/// What has come.
enum Next {
    Line(String),
    Nothing,
    End,
}

impl Lines {
    /// Waits for a line no longer than the given time. The last one need not end.
    fn next(&mut self, errors: &mut Errors, wait: Duration) -> Result<Next> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                return Ok(Next::Line(String::from_utf8_lossy(&line).into_owned()));
            }
            if self.ended || self.read.len() > MAX {
                let rest = std::mem::take(&mut self.read);
                self.ended = true;
                let line = String::from_utf8_lossy(&rest).into_owned();
                return Ok(if line.is_empty() { Next::End } else { Next::Line(line) });
            }
            let watched = std::iter::once(self.output.as_fd()).chain(errors.from.as_ref().map(AsFd::as_fd));
            let watched: Vec<_> = watched.map(|fd| (fd, Ready::READ)).collect();
            let ready = sys::event::wait(&watched, Some(wait))?;
            if ready.get(1).is_some_and(|ready| ready.read) {
                errors.read_some()?;
            }
            if !ready[0].read {
                return Ok(Next::Nothing);
            }
            let mut piece = [0; 16 << 10];
            match self.output.read(&mut piece) {
                Ok(0) => self.ended = true,
                Ok(read) => self.read.extend_from_slice(&piece[..read]),
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(from_io(e)),
            }
        }
    }
}

/// What a program says of what goes wrong. It is read meanwhile: who says more than a pipe holds would else wait for ever.
struct Errors {
    from: Option<ChildStderr>,
    read: Vec<u8>,
}

impl Errors {
    fn read_some(&mut self) -> Result<()> {
        let Some(from) = &mut self.from else { return Ok(()) };
        let mut piece = [0; 16 << 10];
        match from.read(&mut piece) {
            Ok(0) => self.from = None,
            Ok(read) => {
                self.read.extend_from_slice(&piece[..read]);
                if self.read.len() > 2 * MAX_ERRORS {
                    self.keep_the_end();
                }
            }
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(from_io(e)),
        }
        Ok(())
    }

    fn read_rest(&mut self) -> Result<()> {
        while self.from.is_some() {
            self.read_some()?;
        }
        self.keep_the_end();
        Ok(())
    }

    /// Lets go of the whole lines before the last [`MAX_ERRORS`] bytes.
    fn keep_the_end(&mut self) {
        let too_much = self.read.len().saturating_sub(MAX_ERRORS);
        if too_much > 0 {
            // The last line stays, as much of it as there is room for.
            let kept = &self.read[too_much..self.read.len() - 1];
            let line = kept.iter().position(|byte| *byte == b'\n');
            self.read.drain(..line.map_or(too_much, |line| too_much + line + 1));
        }
    }
}

/// Reads how far the program is. A report that is a list could be taken for it.
fn progress(line: &str) -> Option<Progress> {
    serde_json::from_str(line).ok().filter(|_| line.starts_with("{\"came\":"))
}

/// Reads what is to be told at once.
fn said_meanwhile(line: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Said {
        note: String,
    }
    let said: Option<Said> = serde_json::from_str(line).ok().filter(|_| line.starts_with("{\"note\":"));
    said.map(|said| said.note)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Result<Vec<u32>> {
        ask(Path::new("/bin/sh"), vec!["-c".into(), script.into()], &[], Kind::Image, None)
    }

    #[test]
    fn the_last_line_is_the_report_whatever_came_before_it() {
        assert_eq!(sh("echo '{\"came\": 1, \"of\": 2}'; echo '[1, 2]'").unwrap(), [1, 2]);
        assert_eq!(sh("echo '[1]'; echo '{\"note\": \"waits\"}'").unwrap(), [1]);
        let long = sh(
            "i=0; while [ $i -lt 20000 ]; do echo '{\"came\": 1, \"of\": null}'; i=$((i+1)); done; echo '[3]'",
        );
        assert_eq!(long.unwrap(), [3]);
    }

    #[test]
    fn who_says_much_of_what_goes_wrong_waits_for_nobody() {
        // One line, which is shown, is more than a pipe holds.
        let much = "printf 'sh: note: %070000d\n' 0 >&2; ";
        assert_eq!(sh(&format!("{much}echo '[1]'")).unwrap(), [1]);
        let failed = sh(&format!("{much}echo 'sh: no such image' >&2; exit 1")).unwrap_err();
        assert_eq!(failed.cause(), "no such image");
        let very_much = "yes 'sh: something else' | head -n 200000 >&2; ";
        let failed = sh(&format!("{very_much}echo 'sh: no such image' >&2; exit 1")).unwrap_err();
        assert_eq!(failed.cause(), "no such image");
        // Nor is anything left out of which there is more than room in one line.
        let failed = sh(&format!("printf 'x%0{}d\\n' 7 >&2; exit 1", 2 * MAX_ERRORS)).unwrap_err();
        assert!(failed.cause().ends_with("0007"), "{}", failed.cause().len());
    }

    #[test]
    fn a_failure_has_the_words_of_the_program() {
        let error = sh("echo 'sh: note: something' >&2; echo 'sh: no such image' >&2; exit 1").unwrap_err();
        assert_eq!((error.kind(), error.cause()), (Kind::Image, "no such image"));
        assert_eq!(sh("kill -9 $$").unwrap_err().cause(), "it died");
        assert!(sh("echo x").unwrap_err().to_string().starts_with("reading the report of sh"));
    }
}
