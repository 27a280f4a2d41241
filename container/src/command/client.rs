//! The asking side of the command socket.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use serde::Serialize;
use sys::{Errno, socket};
use types::State;

use super::{Reply, Request, Status};
use crate::error::{Doing, Error, Kind, Result};
use crate::place::{COMMAND_SOCKET, Place};

/// A reply with its fds; none when the monitor has gone.
pub type Answer = Option<(Reply, Vec<OwnedFd>)>;

/// A connection to the monitor of a running container.
#[derive(Debug)]
pub struct Client {
    socket: OwnedFd,
}

impl Client {
    /// Connects to the monitor of a container; none when it does not run.
    pub fn connect(place: &Place) -> Result<Option<Self>> {
        Self::connect_by(place, socket::connect_at)
    }

    /// As [`connect`](Self::connect), for those who only look.
    ///
    /// # Errors
    /// EAGAIN for a monitor that has not taken a connection for so long that no more can wait for it.
    pub fn connect_at_once(place: &Place) -> Result<Option<Self>> {
        Self::connect_by(place, socket::connect_at_once)
    }

    fn connect_by(
        place: &Place,
        connect: fn(BorrowedFd<'_>, &str) -> sys::Result<OwnedFd>,
    ) -> Result<Option<Self>> {
        let Some(state) = place.state_dir()? else { return Ok(None) };
        match connect(state.fd(), COMMAND_SOCKET) {
            Ok(socket) => Ok(Some(Self { socket })),
            Err(e) if matches!(e.errno(), Errno::ENOENT | Errno::ECONNREFUSED) => Ok(None),
            Err(e) => Err(e).doing_with(|| format!("asking the monitor of {}", place.name)),
        }
    }

    /// Connects to a container that must run.
    pub fn must_connect(place: &Place) -> Result<Self> {
        Self::connect(place)?.ok_or_else(|| not_running(place))
    }

    /// Returns the socket.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Sends a message with fds.
    pub fn send(&self, message: &impl Serialize, fds: &[BorrowedFd<'_>]) -> Result<()> {
        super::send(self.fd(), message, fds)
    }

    /// Waits for the next reply; none when the monitor has gone.
    pub fn next(&self) -> Result<Answer> {
        super::receive(self.fd())
    }

    /// Waits for the next reply at most for a time; the outer none is that the time is over.
    pub fn next_within(&self, time: Duration) -> Result<Option<Answer>> {
        if sys::event::readable(self.fd(), Some(time))? { self.next().map(Some) } else { Ok(None) }
    }

    /// Asks for something that is answered by `Done`.
    pub fn ask(&self, request: Request) -> Result<()> {
        self.ask_with(request, &[])
    }

    /// Asks for such a thing with fds.
    pub fn ask_with(&self, request: Request, fds: &[BorrowedFd<'_>]) -> Result<()> {
        self.send(&request, fds)?;
        match self.next()? {
            Some((Reply::Done, _)) => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    /// Asks how the container is.
    pub fn status(&self) -> Result<Status> {
        self.send(&Request::Status, &[])?;
        match self.next()? {
            Some((Reply::Status(status), _)) => Ok(status),
            other => Err(unexpected(other)),
        }
    }

    /// Asks how the container is, and waits for the answer at most for a time.
    pub fn status_within(&self, time: Duration) -> Result<Option<Status>> {
        self.ask_status()?;
        self.told_within(time)
    }

    /// Asks how the container is; the answer is for [`told_within`](Self::told_within).
    pub fn ask_status(&self) -> Result<()> {
        self.send(&Request::Status, &[])
    }

    /// Waits for the answer to [`ask_status`](Self::ask_status) at most for a time.
    pub fn told_within(&self, time: Duration) -> Result<Option<Status>> {
        match self.next_within(time)? {
            None => Ok(None),
            Some(Some((Reply::Status(status), _))) => Ok(Some(status)),
            Some(other) => Err(unexpected(other)),
        }
    }

    /// Watches the state until it is one of `wanted` or the time is over, and tells which; the monitor's end is
    /// [`State::Stopped`].
    pub fn watch(&self, wanted: &[State], time: Option<Duration>) -> Result<Option<State>> {
        self.send(&Request::Watch, &[])?;
        let deadline = time.map(|t| Instant::now() + t);
        loop {
            let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
            let state = match left {
                None => self.next()?,
                Some(left) => match self.next_within(left)? {
                    Some(reply) => reply,
                    None => return Ok(None),
                },
            };
            match state {
                Some((Reply::Status(status), _)) if wanted.contains(&status.state) => {
                    return Ok(Some(status.state));
                }
                Some((Reply::Status(_), _)) => {}
                None => return Ok(wanted.contains(&State::Stopped).then_some(State::Stopped)),
                other => return Err(unexpected(other)),
            }
        }
    }
}

/// Makes the error of a container that must run and does not.
fn not_running(place: &Place) -> Error {
    if let Err(under_lxc) = crate::beside::refuse_under_lxc(place) {
        return under_lxc;
    }
    if !place.is_defined() {
        let cause = format!("there is no container {} in {}", place.name, place.lxcpath.display());
        return Error::new(Kind::NotDefined, cause);
    }
    Error::new(Kind::NotRunning, format!("{} is not running", place.name))
}

/// Turns a reply that is not the hoped for one into an error.
pub(crate) fn unexpected(reply: Answer) -> Error {
    match reply {
        Some((Reply::Failed(error), _)) => error,
        Some((other, _)) => Error::new(Kind::Build, format!("an answer that makes no sense here: {other:?}")),
        None => Error::new(Kind::Died, "the monitor ended without an answer"),
    }
}
