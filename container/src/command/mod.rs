//! The command socket: what other commands ask the monitor of a running container.
//!
//! One request per connection. Its first byte is the version of this protocol; new requests and replies are added at
//! the end of their enum, so that a monitor which still runs after an upgrade is understood. Only the monitor's own
//! user is answered (SO_PEERCRED). Everything read is capped.

mod client;

use std::os::fd::{BorrowedFd, OwnedFd};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sys::socket;
use types::State;

pub(crate) use client::unexpected;
pub use client::{Answer, Client};

use crate::error::{Error, Kind, Result};

/// The protocol's version, the first byte of every message.
const VERSION: u8 = 1;
/// The longest message; long things (arguments, environments) travel in sealed files beside it.
const CAP: usize = 64 * 1024;

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// How it is. Answered by one `Status`.
    Status,
    /// Ask init to halt. Answered by `Done`.
    Halt,
    /// Ask init to reboot. Answered by `Done`.
    Reboot,
    /// End init at once. Answered by `Done`.
    Kill,
    /// Freeze all processes. Answered by `Done`.
    Freeze,
    /// Thaw them. Answered by `Done`.
    Unfreeze,
    /// Tell every change of state, from the present one on, until the connection ends: then the monitor is gone.
    Watch,
    /// Hand out a terminal: 0 is the console, none the first free one. Answered by `Terminal` with its master side (and
    /// the console's log, if it has one); it stays taken until the connection ends.
    Terminal(Option<u32>),
    /// Run a program inside: comes with standard input, output, error, the working directory and an
    /// [`AttachRequest`](crate::attach::AttachRequest) in a sealed file. Answered as the attach module says.
    Attach,
    /// Hand out the last of what the console showed while nobody had it. Answered by `ConsoleMemory`.
    ConsoleMemory,
    /// Show the container its own limits: comes with a sealed [`Lxcfs`](crate::host::Lxcfs). Answered by `Done`.
    CoverFiles,
    /// Show it the host's again. Answered by `Done`.
    UncoverFiles,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// The state.
    Status(Status),
    /// It is done.
    Done,
    /// Here is terminal number so and so.
    Terminal(u32),
    /// It cannot be done.
    Failed(Error),
    /// Attach: the program runs; with a pseudo-terminal's master side, if one was wanted.
    Started,
    /// Attach: the program has ended with this shell status.
    Exited(i32),
    /// What the console showed, in a sealed file.
    ConsoleMemory,
}

/// How a container is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Its state.
    pub state: State,
    /// Init's pid on the host.
    pub init_pid: Option<i32>,
    /// The monitor's pid.
    pub monitor_pid: i32,
    /// The rungs that the start took, by need.
    pub rungs: Vec<(String, String)>,
}

/// What the client of an attach sends while the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AttachSignal {
    /// Send it this signal.
    Send(i32),
}

/// Sends a message.
pub(crate) fn send(socket: BorrowedFd<'_>, message: &impl Serialize, fds: &[BorrowedFd<'_>]) -> Result<()> {
    Ok(socket::send(socket, &encode(message)?, fds)?)
}

/// Sends a message, or fails at once when the other side does not read.
pub(crate) fn send_now(
    socket: BorrowedFd<'_>,
    message: &impl Serialize,
    fds: &[BorrowedFd<'_>],
) -> Result<()> {
    Ok(socket::send_now(socket, &encode(message)?, fds)?)
}

fn encode(message: &impl Serialize) -> Result<Vec<u8>> {
    postcard::to_extend(message, vec![VERSION]).map_err(|e| Error::new(Kind::Build, e.to_string()))
}

/// Receives a message; none when the other side has closed.
///
/// # Errors
/// One that is too long, of another version, or makes no sense.
pub(crate) fn receive<M: DeserializeOwned>(socket: BorrowedFd<'_>) -> Result<Option<(M, Vec<OwnedFd>)>> {
    let message = socket::receive(socket, CAP)?;
    match message.bytes.split_first() {
        None => Ok(None),
        Some((&VERSION, body)) => match postcard::from_bytes(body) {
            Ok(parsed) => Ok(Some((parsed, message.fds))),
            Err(_) => Err(Error::new(Kind::Build, "the message makes no sense to this build")),
        },
        Some((version, _)) => {
            Err(Error::new(Kind::Build, format!("protocol {version}, this build speaks {VERSION}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn nonsense_is_an_error_and_no_panic() {
        let (a, b) = socket::pair().unwrap();
        let mut seed = 7u32;
        for length in 1..200 {
            let noise: Vec<u8> = (0..length)
                .map(|i| {
                    seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    if i == 0 && length % 2 == 0 { VERSION } else { (seed >> 24) as u8 }
                })
                .collect();
            socket::send(a.as_fd(), &noise, &[]).unwrap();
            let _either = receive::<Request>(b.as_fd());
            socket::send(a.as_fd(), &noise, &[]).unwrap();
            let _either = receive::<Reply>(b.as_fd());
        }
    }

    #[test]
    fn what_is_sent_arrives() {
        let (a, b) = socket::pair().unwrap();
        send(a.as_fd(), &Request::Terminal(Some(2)), &[]).unwrap();
        assert_eq!(receive::<Request>(b.as_fd()).unwrap().unwrap().0, Request::Terminal(Some(2)));
        drop(a);
        assert!(receive::<Request>(b.as_fd()).unwrap().is_none());
    }
}
