//! Finding containers: what lies below an lxcpath, and how each is.

use std::path::Path;

use serde::Serialize;
use types::State;

use crate::beside::Listeners;
use crate::command::Client;
use crate::create::is_half_made;
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

/// How long a list waits for one container's answer.
const PATIENCE: std::time::Duration = std::time::Duration::from_millis(500);

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
    places.iter().filter_map(|place| look(place, &listeners)).collect()
}

/// Looks at one container; none when there is none of that name, neither defined nor running.
pub fn look(place: &Place, listeners: &Listeners) -> Option<Found> {
    let found = |state, pid, runtime| Found { name: place.name.to_string(), state, pid, runtime };
    if let Ok(Some(client)) = Client::connect(place) {
        match client.status_within(PATIENCE) {
            Ok(Some(status)) => return Some(found(status.state, status.init_pid, Some(Runtime::Bryo))),
            // It starts, or something keeps it from answering.
            Ok(None) => return Some(found(State::Starting, None, Some(Runtime::Bryo))),
            // The monitor has just died.
            Err(_) => {}
        }
    }
    if listeners.runs_under_lxc(place) {
        return Some(found(State::Running, None, Some(Runtime::Lxc)));
    }
    place.is_defined().then(|| found(State::Stopped, None, None))
}
