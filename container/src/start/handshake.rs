//! What monitor and child tell each other during a start: named messages, in a fixed order.
//!
//! ```text
//! child                                   monitor
//!                           <- IdsWritten  the id map stands
//!                           <- Placed      it is in its cgroups
//! RootMounted + fds ->                     devpts, console; then Ttys + fds until all are there
//!                           <- Wired       limits, network and start-host hooks are done
//! Exec ->                                  the next thing is execve
//! (closed)                                 it runs
//! Failed ->                                at any time
//! ```
//!
//! A channel that closes before `Exec` means that the child is dead.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sys::socket;

use crate::error::{Error, Kind, Result};

/// The longest message. A failure's text is the only one that grows.
const CAP: usize = 16 * 1024;

/// What the child says.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromChild {
    /// The root file system stands; comes with the fds it names, in this order.
    RootMounted {
        /// The root of the container's devpts.
        devpts: bool,
        /// The console's master side.
        console: bool,
        /// How many terminals follow in [`FromChild::Ttys`].
        ttys: u32,
    },
    /// Some master sides of /dev/ttyN, in order.
    Ttys,
    /// The next thing is execve.
    Exec,
    /// A step failed.
    Failed(Error),
}

/// What the monitor says.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromMonitor {
    /// The id map is written.
    IdsWritten,
    /// The child is in its cgroups.
    Placed,
    /// Everything outside is ready.
    Wired,
}

/// One end of the channel.
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
}

impl Channel {
    /// Makes both ends.
    pub fn pair() -> Result<(Self, Self)> {
        let (a, b) = socket::pair()?;
        Ok((Self { socket: a }, Self { socket: b }))
    }

    /// Sends a message with fds.
    pub fn send(&self, message: &impl Serialize, fds: &[BorrowedFd<'_>]) -> Result<()> {
        let bytes = postcard::to_stdvec(message).map_err(|e| Error::new(Kind::Build, e.to_string()))?;
        Ok(socket::send(self.socket.as_fd(), &bytes, fds)?)
    }

    /// Receives a message; none when the other side has closed.
    pub fn receive<M: DeserializeOwned>(&self) -> Result<Option<(M, Vec<OwnedFd>)>> {
        let message = socket::receive(self.socket.as_fd(), CAP)?;
        if message.bytes.is_empty() {
            return Ok(None);
        }
        let parsed = postcard::from_bytes(&message.bytes)
            .map_err(|e| Error::new(Kind::Died, format!("a message of the handshake makes no sense: {e}")))?;
        Ok(Some((parsed, message.fds)))
    }

    /// Checks, when nothing is to be said any more, that the other side lives: a channel that can be read has closed.
    pub fn require_peer(&self) -> Result<()> {
        let closed = sys::event::readable(self.socket.as_fd(), Some(std::time::Duration::ZERO))?;
        if closed { Err(Error::new(Kind::Died, "the monitor is gone")) } else { Ok(()) }
    }

    /// Returns a message that has arrived already, without waiting for one.
    pub fn said<M: DeserializeOwned>(&self) -> Option<M> {
        let arrived =
            sys::event::readable(self.socket.as_fd(), Some(std::time::Duration::ZERO)).unwrap_or(false);
        if arrived { self.receive().ok().flatten().map(|(message, _)| message) } else { None }
    }

    /// Waits, as the child, for one message of the monitor.
    pub fn expect(&self, wanted: FromMonitor) -> Result<()> {
        match self.receive::<FromMonitor>()? {
            Some((got, _)) if got == wanted => Ok(()),
            Some((got, _)) => Err(Error::new(Kind::Died, format!("expected {wanted:?}, got {got:?}"))),
            None => Err(Error::new(Kind::Died, "the monitor is gone")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_told_from_a_message() {
        let (monitor, child) = Channel::pair().unwrap();
        child.send(&FromChild::Exec, &[]).unwrap();
        drop(child);
        assert!(matches!(monitor.receive::<FromChild>().unwrap(), Some((FromChild::Exec, _))));
        assert!(monitor.receive::<FromChild>().unwrap().is_none());
    }

    #[test]
    fn a_message_out_of_order_is_an_error() {
        let (monitor, child) = Channel::pair().unwrap();
        monitor.send(&FromMonitor::Wired, &[]).unwrap();
        assert!(child.expect(FromMonitor::IdsWritten).is_err());
    }
}
