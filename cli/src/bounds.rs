//! What may end a command early: a signal of the user, and a limit of time.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use container::{Error, Kind, Result};
use sys::signal;
use types::Signal;

use crate::relay::SIGWINCH;

/// How long a command or a container that was asked to end may take before it is killed.
pub(crate) const GRACE: Duration = Duration::from_secs(10);

/// The bounds of one command.
#[derive(Debug)]
pub(crate) struct Bounds {
    signals: OwnedFd,
    limit: Option<Duration>,
    until: Option<Instant>,
}

impl Bounds {
    /// Reads signals as data from now on, and counts the time from now on.
    pub(crate) fn begin(signals: &[i32], limit: Option<Duration>) -> Result<Self> {
        let signals = signal::read_as_data(signals)?;
        // A limit that no clock reaches is none.
        let until = limit.and_then(|limit| Instant::now().checked_add(limit));
        Ok(Self { signals, limit, until })
    }

    /// Returns the fd by which signals are read.
    pub(crate) fn signals(&self) -> BorrowedFd<'_> {
        self.signals.as_fd()
    }

    /// Returns when the time is over.
    pub(crate) fn until(&self) -> Option<Instant> {
        self.until
    }

    /// Looks whether the command may go on.
    ///
    /// # Errors
    /// A signal has arrived, or the time is over.
    pub(crate) fn check(&self) -> Result<()> {
        while let Some(number) = signal::next(self.signals()) {
            if number != SIGWINCH {
                return Err(interrupted(number));
            }
        }
        match self.until {
            Some(until) if until <= Instant::now() => Err(self.timed_out()),
            _ => Ok(()),
        }
    }

    /// Makes the failure of a command whose time is over.
    pub(crate) fn timed_out(&self) -> Error {
        let seconds = self.limit.unwrap_or_default().as_secs();
        Error::new(Kind::TimedOut, format!("its {seconds} s are over"))
    }
}

/// Makes the failure of a command that a signal ended.
pub(crate) fn interrupted(number: i32) -> Error {
    let name = Signal::new(number).map_or_else(|_| number.to_string(), |signal| signal.to_string());
    Error::new(Kind::Interrupted(number), format!("interrupted by {name}"))
}
