//! The states of a container, with LXC's names.

use std::fmt;
use std::str::FromStr;

/// The state of a container. The names are LXC's, from lxc(7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "UPPERCASE"))]
pub enum State {
    /// No process of it lives.
    Stopped,
    /// Its monitor prepares it; init does not run yet.
    Starting,
    /// Init runs.
    Running,
    /// Init has ended or was told to; the monitor cleans up.
    Stopping,
    /// The start failed; the monitor undoes it.
    Aborting,
    /// Its processes are being frozen.
    Freezing,
    /// All its processes are frozen.
    Frozen,
    /// Its processes have just been thawed.
    Thawed,
}

/// The text is not the name of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateError;

impl State {
    /// All states, in LXC's order.
    pub const ALL: [State; 8] = [
        Self::Stopped,
        Self::Starting,
        Self::Running,
        Self::Stopping,
        Self::Aborting,
        Self::Freezing,
        Self::Frozen,
        Self::Thawed,
    ];

    /// Returns LXC's name of the state, in capitals.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stopped => "STOPPED",
            Self::Starting => "STARTING",
            Self::Running => "RUNNING",
            Self::Stopping => "STOPPING",
            Self::Aborting => "ABORTING",
            Self::Freezing => "FREEZING",
            Self::Frozen => "FROZEN",
            Self::Thawed => "THAWED",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for State {
    type Err = StateError;

    fn from_str(text: &str) -> Result<Self, StateError> {
        Self::ALL.into_iter().find(|s| s.name() == text).ok_or(StateError)
    }
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not the name of a container state")
    }
}

impl std::error::Error for StateError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_parses_to_its_state() {
        for state in State::ALL {
            assert_eq!(state.name().parse(), Ok(state));
        }
        assert_eq!("running".parse::<State>(), Err(StateError));
    }
}
