//! How a command waits while it has more than one thing to look after: what it waits for, its bounds, and the container in
//! the foreground, whose console must be read and whose end must be noticed all the time.

use std::os::fd::BorrowedFd;
use std::time::Instant;

use container::Result;

use crate::bounds::{Bounds, interrupted};
use crate::foreground::Foreground;
use crate::relay::{self, Relay, Woken};

/// What is looked after.
#[derive(Debug)]
pub(crate) struct Watch<'a> {
    bounds: &'a Bounds,
    container: Option<&'a mut Foreground>,
}

impl<'a> Watch<'a> {
    /// Looks after nothing but the bounds.
    pub(crate) fn over(bounds: &'a Bounds) -> Self {
        Self { bounds, container: None }
    }

    /// Looks after a container in the foreground too. Its end ends every wait, as a failure.
    pub(crate) fn over_container(bounds: &'a Bounds, container: &'a mut Foreground) -> Self {
        Self { bounds, container: Some(container) }
    }

    /// Returns the bounds.
    pub(crate) fn bounds(&self) -> &'a Bounds {
        self.bounds
    }

    /// Tells whether the container goes with this command.
    pub(crate) fn has_container(&self) -> bool {
        self.container.is_some()
    }

    /// Waits until `other` can be read, a signal arrives, or the time is over. Meanwhile `relay` copies.
    pub(crate) fn wait(
        &mut self,
        relay: Option<&mut Relay>,
        other: Option<BorrowedFd<'_>>,
        until: Option<Instant>,
    ) -> Result<Woken> {
        let signals = self.bounds.signals();
        match &mut self.container {
            Some(container) => container.wait(relay, signals, other, until),
            None => {
                let mut relays: Vec<&mut Relay> = relay.into_iter().collect();
                relay::wait(&mut relays, signals, other.as_slice(), until)
            }
        }
    }

    /// Waits until `other` can be read, and tells whether it can before the time is over.
    ///
    /// # Errors
    /// A signal ends the command.
    pub(crate) fn readable(&mut self, other: Option<BorrowedFd<'_>>, until: Option<Instant>) -> Result<bool> {
        loop {
            match self.wait(None, other, until)? {
                Woken::Ready(_) => return Ok(true),
                Woken::Late => return Ok(false),
                Woken::Signal(number) => return Err(interrupted(number)),
                Woken::Left => {}
            }
        }
    }
}
