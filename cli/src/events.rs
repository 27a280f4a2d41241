//! The events of `bryo run --json`: one JSON object a line. `docs/run.md` describes them; names and types stay as they are
//! from version to version, and new ones may come.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;

use container::{Doing, Error, Kind, Result};
use serde::Serialize;

use crate::booting::Booted;
use crate::relay::Streams;

/// What has happened.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(crate) enum Event<'a> {
    /// The container has been made.
    Created,
    /// Its init runs.
    Started {
        /// Init's pid on the host.
        pid: i32,
    },
    /// It has booted.
    Booted {
        /// How it went.
        state: Booted,
        /// The units that failed.
        failed_units: &'a [String],
        /// How long it was waited for.
        seconds: f64,
    },
    /// The command has ended.
    Command {
        /// Its status, as shells show it.
        status: i32,
    },
    /// The container has stopped.
    Stopped,
    /// Nothing of it is left.
    Removed,
    /// What was asked for could not be done.
    Failed {
        /// The exit status of the command line.
        status: i32,
        /// What could not be done, on what.
        error: &'a str,
        /// Why.
        cause: &'a str,
        /// What to do, if there is something.
        hint: Option<&'a str>,
    },
}

/// An event with the container it is about.
#[derive(Debug, Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    event: &'a Event<'a>,
    name: Option<&'a str>,
}

/// Where events are told.
#[derive(Debug, Default)]
pub(crate) struct Events {
    target: Option<File>,
    on_errors: bool,
}

/// Standard error.
const ERRORS: i32 = 2;

impl Events {
    /// Tells events to an fd that the caller has opened; to nobody without one. Who stops reading loses events, and no more.
    pub(crate) fn to(fd: Option<i32>) -> Result<Self> {
        let Some(number) = fd else { return Ok(Self::default()) };
        sys::signal::ignore(&[SIGPIPE]);
        let opened = open(number).doing_with(|| format!("--json={number}"))?;
        Ok(Self { target: Some(opened.into()), on_errors: number == ERRORS })
    }

    /// Tells whether they are told on standard error, where all else would be between them.
    pub(crate) fn are_on_errors(&self) -> bool {
        self.on_errors
    }

    /// Tells an event.
    pub(crate) fn tell(&mut self, name: Option<&str>, event: &Event<'_>) {
        let Some(target) = &mut self.target else { return };
        let Ok(mut line) = serde_json::to_string(&Line { event, name }) else { return };
        line.push('\n');
        let _unheard = target.write_all(line.as_bytes());
    }
}

const SIGPIPE: i32 = 13;

fn open(number: i32) -> Result<OwnedFd> {
    let streams = Streams::new();
    let [_, output, errors] = streams.fds();
    let copied = match number {
        1 => output.try_clone_to_owned(),
        ERRORS => errors.try_clone_to_owned(),
        number => return Ok(sys::process::inherited(number)?),
    };
    copied.map_err(|e| Error::new(Kind::Kernel(e.raw_os_error().unwrap_or(0)), e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn line(event: &Event<'_>) -> serde_json::Value {
        serde_json::to_value(Line { event, name: Some("run-a") }).unwrap()
    }

    #[test]
    fn events_have_names_that_stay() {
        assert_eq!(line(&Event::Created), json!({"event": "created", "name": "run-a"}));
        assert_eq!(line(&Event::Started { pid: 7 }), json!({"event": "started", "name": "run-a", "pid": 7}));
        let failed_units = ["a.service".to_owned()];
        let booted = Event::Booted { state: Booted::Degraded, failed_units: &failed_units, seconds: 0.5 };
        let expected = json!({
            "event": "booted", "name": "run-a", "state": "degraded", "failed_units": ["a.service"], "seconds": 0.5,
        });
        assert_eq!(line(&booted), expected);
        let command = Event::Command { status: 3 };
        assert_eq!(line(&command), json!({"event": "command", "name": "run-a", "status": 3}));
        assert_eq!(line(&Event::Stopped)["event"], "stopped");
        assert_eq!(line(&Event::Removed)["event"], "removed");
        let failed = Event::Failed { status: 125, error: "cannot run", cause: "no", hint: None };
        let expected = json!({
            "event": "failed", "name": "run-a", "status": 125, "error": "cannot run", "cause": "no", "hint": null,
        });
        assert_eq!(line(&failed), expected);
    }
}
