//! Finding containers: what lies below an lxcpath, and how each is.

use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;
use types::{Published, State};

use crate::beside::Listeners;
use crate::command::{Client, Status};
use crate::create::is_half_made;
use crate::monitor::RunFile;
use crate::place::Place;

/// One container of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Found {
    /// Its name.
    pub name: String,
    /// How it is.
    pub state: State,
    /// Init's pid on the host.
    pub pid: Option<i32>,
    /// Who runs it: Bryo, or LXC's own tools.
    pub runtime: Option<Runtime>,
    /// What it was given by the host, by need; nothing where its monitor does not tell.
    pub rungs: Vec<(String, String)>,
    /// The ports of the host that lead into it.
    pub published: Vec<Published>,
}

/// Which tool runs a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Runtime {
    /// Bryo.
    Bryo,
    /// LXC's own tools.
    Lxc,
}

/// The name under which the rungs have the published ports, with blanks between: so monitors of another version are
/// understood.
pub const PUBLISHED: &str = "published";

/// How long those who only look wait for monitors, for all of them together. One that is still starting its container, or
/// that somebody has stopped, does not answer: then what it wrote down does.
pub const PATIENCE: Duration = Duration::from_millis(200);

/// So many monitors are asked at a time, which is far from the usual limit of open files (1024).
const ASKED_AT_A_TIME: usize = 256;

/// Lists the containers below an lxcpath, by name. Those that are being created, or whose creation was interrupted, are
/// no containers yet.
pub fn list(lxcpath: &Path) -> Vec<Found> {
    let listeners = Listeners::read();
    let Ok(entries) = std::fs::read_dir(lxcpath) else { return Vec::new() };
    let mut places: Vec<Place> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .map(|name| Place { lxcpath: lxcpath.to_owned(), name })
        .filter(|place| !is_half_made(place))
        .collect();
    places.sort_by(|a, b| a.name.cmp(&b.name));
    let deadline = Instant::now() + PATIENCE;
    let some = |places: &[Place]| {
        let asked: Vec<_> = places.iter().map(|place| (place, Asked::of(place))).collect();
        let found = asked.into_iter().filter_map(|(place, asked)| asked.found(place, &listeners, deadline));
        found.collect::<Vec<_>>()
    };
    places.chunks(ASKED_AT_A_TIME).flat_map(some).collect()
}

/// Looks at one container; none when there is none of that name, neither defined nor running.
pub fn look(place: &Place, listeners: &Listeners) -> Option<Found> {
    Asked::of(place).found(place, listeners, Instant::now() + PATIENCE)
}

/// A container whose monitor was asked how it is.
enum Asked {
    /// No monitor.
    Nobody,
    /// One that takes no more connections.
    Deaf,
    /// One that has yet to answer.
    Monitor(Client),
}

impl Asked {
    fn of(place: &Place) -> Self {
        match Client::connect_at_once(place) {
            Ok(Some(client)) if client.ask_status().is_ok() => Self::Monitor(client),
            Err(e) if e.errno() == Some(sys::Errno::EAGAIN) => Self::Deaf,
            _ => Self::Nobody,
        }
    }

    fn found(self, place: &Place, listeners: &Listeners, deadline: Instant) -> Option<Found> {
        let left = deadline.saturating_duration_since(Instant::now());
        match self {
            Self::Monitor(client) => match client.told_within(left) {
                Ok(Some(status)) => return Some(Found::told(place, status)),
                Ok(None) => return Some(Found::written_down(place)),
                // The monitor has just died.
                Err(_) => {}
            },
            Self::Deaf => return Some(Found::written_down(place)),
            Self::Nobody => {}
        }
        if listeners.runs_under_lxc(place) {
            return Some(Found::new(place, State::Running, Some(Runtime::Lxc)));
        }
        place.is_defined().then(|| Found::new(place, State::Stopped, None))
    }
}

impl Found {
    fn new(place: &Place, state: State, runtime: Option<Runtime>) -> Self {
        Self {
            name: place.name.to_string(),
            state,
            pid: None,
            runtime,
            rungs: Vec::new(),
            published: Vec::new(),
        }
    }

    fn told(place: &Place, status: Status) -> Self {
        let found = Self::new(place, status.state, Some(Runtime::Bryo));
        let (ports, rungs): (Vec<_>, Vec<_>) =
            status.rungs.into_iter().partition(|(need, _)| need == PUBLISHED);
        let published =
            ports.iter().flat_map(|(_, ports)| ports.split(' ')).filter_map(|port| port.parse().ok());
        Self { pid: status.init_pid, published: published.collect(), rungs, ..found }
    }

    /// Takes what the run file of a silent monitor says: it tells when init runs.
    fn written_down(place: &Place) -> Self {
        let run = place.state_dir().ok().flatten().and_then(|state| RunFile::read(&state).ok().flatten());
        let init = run.filter(|run| run.has_run && run.living_init().is_some()).and_then(|run| run.init);
        let state = if init.is_some() { State::Running } else { State::Starting };
        Self { pid: init.map(|init| init.pid), ..Self::new(place, state, Some(Runtime::Bryo)) }
    }
}
