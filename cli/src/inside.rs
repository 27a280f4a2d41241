//! Running a program in a running container, with the caller's terminal or pipes.

use std::fs::File;
use std::time::Instant;

use container::Result;
use container::attach::{AttachRequest, Attached, Starting};
use container::monitor::RunFile;
use container::network::view::{self, Interface};
use container::place::Place;
use sys::process::flags;
use types::{IdMap, Signal};

use crate::bounds::{Bounds, GRACE};
use crate::context::Context;
use crate::relay::{HEARD_FOR_A_COMMAND, Relay, Streams, Woken};
use crate::user;
use crate::watch::Watch;

/// Where programs are looked for in a container.
pub(crate) const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Returns the request of a program that runs as root of the container, in all of its namespaces.
pub(crate) fn request(argv: Vec<String>, environment: Vec<String>) -> AttachRequest {
    AttachRequest {
        argv,
        environment,
        uid: 0,
        gid: 0,
        groups: Vec::new(),
        namespaces: 0,
        elevated: false,
        terminals: [false; 3],
        size: None,
        cwd: None,
        login: false,
    }
}

/// Returns an environment that says nothing of the caller but the kind of terminal.
pub(crate) fn clean_environment() -> Vec<String> {
    let is_shown = Streams::new().screen().is_some();
    let terminal = std::env::var("TERM").ok().filter(|_| is_shown).map(|term| format!("TERM={term}"));
    [PATH.to_owned()].into_iter().chain(terminal).collect()
}

/// Returns the caller's own environment. Variables that are no text are left out, and `container` is the
/// container's to say.
pub(crate) fn callers_environment() -> Vec<String> {
    let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        let (name, value) = (name.into_string().ok()?, value.into_string().ok()?);
        (name != "container").then(|| format!("{name}={value}"))
    };
    std::env::vars_os().filter_map(text).collect()
}

/// Tells whether a word begins with a name that an environment can have: letters, digits, `_`, `.` and `-`, the first
/// no digit.
pub(crate) fn has_name(word: &str) -> bool {
    let name = word.split('=').next().unwrap_or_default();
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    name.starts_with(|c: char| !c.is_ascii_digit()) && name.chars().all(fits)
}

/// Adds a variable, in place of an earlier one of the same name.
pub(crate) fn set_variable(environment: &mut Vec<String>, variable: String) {
    let name = variable.split('=').next().unwrap_or_default();
    environment.retain(|known| known.split('=').next() != Some(name));
    environment.push(variable);
}

/// Runs a program and returns its shell status. `log` gets a copy of what its terminal shows.
pub(crate) fn run(place: &Place, request: AttachRequest, log: Option<File>) -> Result<i32> {
    let attached = begin(place, request)?.finish()?;
    // Only now: while it starts, a signal ends this command, and the monitor ends the rest.
    let bounds = Bounds::begin(&HEARD_FOR_A_COMMAND, None)?;
    until_it_ends(attached, log, &mut Watch::over(&bounds))
}

/// Runs a program within bounds and returns its shell status.
///
/// # Errors
/// The time is over; the program is ended then, or the container in the foreground is for the caller to end.
pub(crate) fn run_within(place: &Place, request: AttachRequest, watch: &mut Watch<'_>) -> Result<i32> {
    let starting = begin(place, request)?;
    if !watch.readable(Some(starting.fd()), watch.bounds().until())? {
        return Err(watch.bounds().timed_out());
    }
    until_it_ends(starting.finish()?, None, watch)
}

fn begin(place: &Place, request: AttachRequest) -> Result<Starting> {
    let streams = Streams::new();
    let size = streams.size().map(|size| (size.rows, size.columns));
    let request = AttachRequest { terminals: streams.terminals(), size, ..request };
    refuse_unmapped(place, &request)?;
    Starting::begin(place, &request, streams.fds())
}

/// Signals pass to the program. One whose time is over is asked to end, and killed when it does not.
fn until_it_ends(mut attached: Attached, log: Option<File>, watch: &mut Watch<'_>) -> Result<i32> {
    let mut relay = attached.terminal.take().map(Relay::to_terminal).transpose()?.map(|r| r.with_log(log));
    let (mut until, mut late) = (watch.bounds().until(), None);
    // A container in the foreground ends as a whole, which takes the program along.
    let ways: &[Signal] = if watch.has_container() { &[] } else { &[Signal::TERM, Signal::KILL] };
    let mut ways = ways.iter();
    loop {
        match watch.wait(relay.as_mut(), Some(attached.fd()), until)? {
            Woken::Signal(number) => attached.signal(number)?,
            Woken::Left => {}
            Woken::Ready(_) => {
                let status = attached.status();
                relay.iter_mut().for_each(Relay::finish);
                return late.map_or(status, Err);
            }
            Woken::Late => {
                let Some(signal) = ways.next() else { return Err(watch.bounds().timed_out()) };
                attached.signal(signal.number())?;
                late = Some(watch.bounds().timed_out());
                until = Some(Instant::now() + GRACE);
            }
        }
    }
}

/// Refuses ids that the running container does not have; only in its user namespace are they its own.
fn refuse_unmapped(place: &Place, request: &AttachRequest) -> Result<()> {
    if request.namespaces != 0 && request.namespaces & flags::NEWUSER == 0 {
        return Ok(());
    }
    // Without a map it does not run, and the start of the program says so better.
    let Some(map) = id_map(place)? else { return Ok(()) };
    user::refuse_unmapped(&map, request.uid, request.gid)
}

/// Returns the interfaces of a container whose init is `pid`; none where it has just ended.
pub(crate) fn interfaces(context: &Context, place: &Place, pid: Option<i32>) -> Vec<Interface> {
    let look = |pid| {
        let map = id_map(place)?.unwrap_or_default();
        view::interfaces(pid, &map, &context.facts()?.caller)
    };
    let found = pid.map(look).transpose().inspect_err(|e| log::info!("{}: {e}", place.name));
    found.ok().flatten().unwrap_or_default()
}

/// Returns the id map of the running container, which its configuration may no longer have.
pub(crate) fn id_map(place: &Place) -> Result<Option<IdMap>> {
    let run = place.state_dir()?.map(|state| RunFile::read(&state)).transpose()?.flatten();
    Ok(run.map(|run| run.idmap))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_set_once() {
        let mut environment = vec!["A=1".to_owned(), "AB=2".to_owned()];
        set_variable(&mut environment, "A=3".to_owned());
        assert_eq!(environment, ["AB=2", "A=3"]);
    }
}
