//! What monitor and child tell each other during a start: named messages, in a fixed order.
//!
//! ```text
//! child                                   monitor
//!                           <- IdsWritten  the id map stands
//! Network + fd ->                          its namespace, where something is made in it from outside
//!                           <- DevicesMade the devices are there, or OtherwiseMade: what takes their place
//! Files + fds ->                           the devices of superblocks, where it sees its own limits; no fd: none
//!                           <- Files       the files in it; none: nobody serves them
//! RootMounted + fds ->                     devpts, console; then Ttys + fds until all are there
//!                           <- Wired       limits, network and start-host hooks are done
//! Exec ->                                  the next thing is execve
//! (closed)                                 it runs, unless it died: the kernel tells whether it has executed
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
    /// It is root of the container now; comes with its network namespace.
    Network,
    /// Superblocks for the files that show the container its limits; comes with their devices, or without: there are none.
    Files,
    /// The root file system stands; comes with the fds it names, in this order.
    RootMounted {
        /// The root of the container's devpts.
        devpts: bool,
        /// The console's master side.
        console: bool,
        /// How many terminals follow in [`FromChild::Ttys`].
        ttys: u32,
        /// What it could not do, a sentence each.
        notes: Vec<String>,
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
    /// The devices of its network are made, to be set up.
    DevicesMade,
    /// What the plan has for a quota that is used up is made in their place.
    OtherwiseMade,
    /// The files that are served, as paths from the root.
    Files(Vec<String>),
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

    /// Returns the socket.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
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

    /// Receives the master sides of terminals until `count` are there.
    ///
    /// # Errors
    /// A message without one: whoever sends those could go on for ever.
    pub fn receive_ttys(&self, count: u32) -> Result<Vec<OwnedFd>> {
        let mut ttys = Vec::new();
        while ttys.len() < count as usize {
            match self.receive::<FromChild>()? {
                Some((FromChild::Ttys, more)) if !more.is_empty() => ttys.extend(more),
                Some((FromChild::Failed(cause), _)) => return Err(cause),
                Some((other, _)) => {
                    return Err(Error::new(Kind::Died, format!("{other:?} in place of a terminal")));
                }
                None => return Err(Error::new(Kind::Died, "the container's init died before it was ready")),
            }
        }
        Ok(ttys)
    }

    /// Checks, when nothing is to be said any more, that the other side lives: a channel that can be read has closed.
    pub fn require_peer(&self) -> Result<()> {
        let closed = sys::event::readable(self.socket.as_fd(), Some(std::time::Duration::ZERO))?;
        if closed { Err(Error::new(Kind::Died, "the monitor is gone")) } else { Ok(()) }
    }

    /// Says nothing any more, and returns the last word of the other side: what it was about to say, or that it is alone
    /// now. One that says nothing within a second has nothing to say.
    pub fn last_word<M: DeserializeOwned>(&self) -> Option<M> {
        const PATIENCE: std::time::Duration = std::time::Duration::from_secs(1);
        socket::end_sending(self.socket.as_fd()).ok()?;
        let said = sys::event::readable(self.socket.as_fd(), Some(PATIENCE)).unwrap_or(false);
        if said { self.receive().ok().flatten().map(|(message, _)| message) } else { None }
    }

    /// Waits, as the child, for the files that are served.
    pub fn files(&self) -> Result<Vec<String>> {
        match self.expect_any()? {
            FromMonitor::Files(files) => Ok(files),
            got => Err(Error::new(Kind::Died, format!("expected files, got {got:?}"))),
        }
    }

    /// Waits, as the child, for one message of the monitor.
    pub fn expect(&self, wanted: FromMonitor) -> Result<()> {
        match self.expect_any()? {
            got if got == wanted => Ok(()),
            got => Err(Error::new(Kind::Died, format!("expected {wanted:?}, got {got:?}"))),
        }
    }

    /// Waits, as the child, for the next message of the monitor, whatever it is.
    pub fn expect_any(&self) -> Result<FromMonitor> {
        let message = self.receive::<FromMonitor>()?;
        message.map(|(got, _)| got).ok_or_else(|| Error::new(Kind::Died, "the monitor is gone"))
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
    fn the_last_word_is_waited_for() {
        let (monitor, child) = Channel::pair().unwrap();
        let thread = std::thread::spawn(move || {
            let alone = child.expect(FromMonitor::IdsWritten).unwrap_err();
            child.send(&FromChild::Failed(alone), &[]).unwrap();
        });
        let word = monitor.last_word::<FromChild>();
        assert!(matches!(word, Some(FromChild::Failed(e)) if e.kind() == Kind::Died), "no word");
        thread.join().unwrap();
        assert!(monitor.last_word::<FromChild>().is_none());
    }

    #[test]
    fn a_message_out_of_order_is_an_error() {
        let (monitor, child) = Channel::pair().unwrap();
        monitor.send(&FromMonitor::Wired, &[]).unwrap();
        assert!(child.expect(FromMonitor::IdsWritten).is_err());
    }
}

#[cfg(test)]
mod attack {
    use super::*;
    use crate::command::{self, Reply, Request};
    use crate::plan::StartPlan;

    /// Numbers that look like chance and are the same in each run (xorshift).
    struct Chance(u64);

    impl Chance {
        fn next(&mut self) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0
        }

        fn bytes(&mut self, most: u64) -> Vec<u8> {
            let length = self.next() % most;
            (0..length).map(|_| self.next() as u8).collect()
        }
    }

    /// Messages that are right but for one byte, or for their length.
    fn damaged(chance: &mut Chance) -> Vec<u8> {
        let cause = Error::new(Kind::Hook, "x".repeat((chance.next() % 300) as usize));
        let messages = [
            FromChild::Network,
            FromChild::Files,
            FromChild::RootMounted { devpts: true, console: true, ttys: 6, notes: vec!["x".to_owned()] },
            FromChild::Ttys,
            FromChild::Exec,
            FromChild::Failed(cause.doing("starting")),
        ];
        let mut bytes = postcard::to_stdvec(&messages[(chance.next() % 6) as usize]).unwrap();
        let at = (chance.next() % bytes.len() as u64) as usize;
        match chance.next() % 3 {
            0 => bytes[at] = chance.next() as u8,
            1 => bytes.truncate(at + 1),
            _ => bytes.extend(chance.bytes(40)),
        }
        bytes
    }

    #[test]
    fn no_message_of_a_child_makes_the_monitor_panic() {
        let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
        let (monitor, child) = Channel::pair().unwrap();
        for round in 0..20_000 {
            let bytes = if round % 2 == 0 { damaged(&mut chance) } else { chance.bytes(400) };
            if bytes.is_empty() {
                continue;
            }
            socket::send(child.fd(), &bytes, &[]).unwrap();
            let _either = monitor.receive::<FromChild>();
        }
    }

    #[test]
    fn a_length_that_a_message_only_claims_takes_no_memory() {
        // Variant 5 is a failure, whose clauses are a list: of 2^64 - 1 strings, or of one string of that length.
        let claims = |prefix: &[u8]| [prefix, &[0xff; 9], &[0x01]].concat();
        for bytes in [claims(&[5, 0]), claims(&[5, 0, 1]), claims(&[5, 19]), claims(&[2, 0, 0, 0])] {
            assert!(postcard::from_bytes::<FromChild>(&bytes).is_err());
        }
        for prefix in [&[3u8][..], &[0, 0], &[3, 0], &[0]] {
            assert!(postcard::from_bytes::<Reply>(&claims(prefix)).is_err());
            assert!(StartPlan::from_bytes(&claims(prefix)).is_err());
        }
    }

    #[test]
    fn a_child_that_promises_terminals_and_sends_none_is_not_waited_for() {
        let (monitor, child) = Channel::pair().unwrap();
        child.send(&FromChild::Ttys, &[]).unwrap();
        assert!(monitor.receive_ttys(u32::MAX).is_err());
    }

    #[test]
    fn no_request_of_a_client_makes_the_monitor_panic() {
        let mut chance = Chance(0x2545_f491_4f6c_dd1d);
        let (ours, theirs) = socket::pair().unwrap();
        for _ in 0..20_000 {
            let mut bytes = chance.bytes(200);
            bytes.insert(0, if chance.next().is_multiple_of(8) { 2 } else { 1 });
            socket::send(theirs.as_fd(), &bytes, &[]).unwrap();
            let _either = command::receive::<Request>(ours.as_fd());
        }
    }
}
