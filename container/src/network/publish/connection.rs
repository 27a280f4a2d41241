//! A connection of TCP from outside, and the one inside that it leads to.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};

use sys::event::Ready;
use sys::inet;

use super::forward::ways_to;

/// Both ends.
pub(super) struct Connection {
    outside: Option<TcpStream>,
    inside: TcpStream,
    /// The addresses that are yet to be tried, until the one inside stands.
    connecting: Option<VecDeque<SocketAddr>>,
    inwards: Way,
    outwards: Way,
}

/// What goes in one direction.
#[derive(Default)]
struct Way {
    /// What the receiver has not taken yet. While there is some, no more is read.
    pending: Vec<u8>,
    /// The sender has ended.
    has_ended: bool,
    /// The receiver knows.
    is_shut: bool,
}

impl Connection {
    /// Begins the one inside. None where there is no way in; then the one outside is reset.
    pub(super) fn begin(outside: TcpStream, inside: u16) -> Option<Self> {
        let prepared = outside.set_nonblocking(true).is_ok() && inet::keep_alive(&outside).is_ok();
        let from = outside.local_addr().ok().filter(|_| prepared);
        let mut ways: VecDeque<SocketAddr> =
            from.map_or_else(Vec::new, |from| ways_to(inside, from.ip())).into();
        match next(&mut ways) {
            Some(inside) => Some(Self {
                outside: Some(outside),
                inside,
                connecting: Some(ways),
                inwards: Way::default(),
                outwards: Way::default(),
            }),
            None => {
                inet::reset(outside);
                None
            }
        }
    }

    /// Returns both ends, with what each is watched for.
    pub(super) fn watched(&self) -> [(BorrowedFd<'_>, Ready); 2] {
        let outside = self.outside.as_ref().unwrap_or(&self.inside).as_fd();
        if self.connecting.is_some() {
            return [(outside, Ready::default()), (self.inside.as_fd(), Ready::WRITE)];
        }
        let of = |from: &Way, to: &Way| Ready { read: from.reads(), write: !to.pending.is_empty() };
        let outside_for = of(&self.inwards, &self.outwards);
        [(outside, outside_for), (self.inside.as_fd(), of(&self.outwards, &self.inwards))]
    }

    /// The end outside is ready.
    pub(super) fn outside_is(&mut self, wanted: Ready, ready: Ready, buffer: &mut [u8]) {
        let Some(outside) = &self.outside else { return };
        let done =
            pass(wanted, ready, outside, &self.inside, [&mut self.inwards, &mut self.outwards], buffer);
        if done.is_err() {
            self.fail();
        }
    }

    /// The end inside is ready.
    pub(super) fn inside_is(&mut self, wanted: Ready, ready: Ready, buffer: &mut [u8]) {
        let Some(outside) = &self.outside else { return };
        if let Some(ways) = &mut self.connecting {
            match inet::failure_of(&self.inside) {
                None => self.connecting = None,
                Some(_) => match next(ways) {
                    Some(other) => self.inside = other,
                    None => self.fail(),
                },
            }
            return;
        }
        let done =
            pass(wanted, ready, &self.inside, outside, [&mut self.outwards, &mut self.inwards], buffer);
        if done.is_err() {
            self.fail();
        }
    }

    /// Ends both: whoever is outside learns that it is no end as it should be.
    fn fail(&mut self) {
        if let Some(outside) = self.outside.take() {
            inet::reset(outside);
        }
    }

    /// Tells whether nothing is to be done any more.
    pub(super) fn is_over(&self) -> bool {
        self.outside.is_none() || self.inwards.is_shut && self.outwards.is_shut
    }
}

/// Begins a connection to the first address that can be tried.
fn next(ways: &mut VecDeque<SocketAddr>) -> Option<TcpStream> {
    while let Some(way) = ways.pop_front() {
        if let Ok(stream) = inet::begin_connection(&way) {
            return Some(stream);
        }
    }
    None
}

/// Passes on what `ready` lets be: from `end` to the other, and what the other has sent before to `end`.
fn pass(
    wanted: Ready,
    ready: Ready,
    mut end: &TcpStream,
    other: &TcpStream,
    [from, to]: [&mut Way; 2],
    buffer: &mut [u8],
) -> std::io::Result<()> {
    if wanted == Ready::default() {
        // The kernel tells of what nobody watches for only when all is over.
        return Err(ErrorKind::ConnectionReset.into());
    }
    if wanted.write && ready.write {
        to.give(end)?;
    }
    if wanted.read && ready.read {
        match end.read(buffer) {
            Ok(0) => from.end(other)?,
            Ok(read) => from.take(&buffer[..read], other)?,
            Err(e) if is_for_later(&e) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

impl Way {
    fn reads(&self) -> bool {
        !self.has_ended && self.pending.is_empty()
    }

    /// Passes bytes on, and keeps what the receiver does not take now.
    fn take(&mut self, bytes: &[u8], to: &TcpStream) -> std::io::Result<()> {
        let written = write(to, bytes)?;
        self.pending.extend_from_slice(&bytes[written..]);
        Ok(())
    }

    /// Gives the receiver what was kept.
    fn give(&mut self, to: &TcpStream) -> std::io::Result<()> {
        let written = write(to, &self.pending)?;
        self.pending.drain(..written);
        if self.pending.is_empty() {
            self.pending = Vec::new();
            return if self.has_ended { self.shut(to) } else { Ok(()) };
        }
        Ok(())
    }

    /// The sender has ended.
    fn end(&mut self, to: &TcpStream) -> std::io::Result<()> {
        self.has_ended = true;
        if self.pending.is_empty() { self.shut(to) } else { Ok(()) }
    }

    fn shut(&mut self, to: &TcpStream) -> std::io::Result<()> {
        self.is_shut = true;
        to.shutdown(Shutdown::Write)
    }
}

/// Writes as much as is taken now.
fn write(mut to: &TcpStream, bytes: &[u8]) -> std::io::Result<usize> {
    match to.write(bytes) {
        Err(e) if is_for_later(&e) => Ok(0),
        written => written,
    }
}

fn is_for_later(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
