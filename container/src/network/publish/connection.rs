//! A connection of TCP from outside, and the one inside that it leads to.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use sys::event::Ready;
use sys::inet;

use super::ways::Ways;

/// How long one address inside is tried: packets may be dropped there.
const TRY: Duration = Duration::from_secs(20);
/// How long nothing has passed by a connection that makes room for another.
const SILENCE: Duration = Duration::from_secs(300);

/// Both ends.
pub(super) struct Connection {
    /// The number of the listener that it came by.
    door: usize,
    outside: Option<TcpStream>,
    inside: TcpStream,
    /// When something was passed on, or tried, the last time.
    last: Instant,
    /// The addresses that are yet to be tried, until the one inside stands.
    connecting: Option<VecDeque<SocketAddr>>,
    inwards: Way,
    outwards: Way,
}

/// What goes in one direction.
#[derive(Default)]
struct Way {
    /// What the receiver has not taken yet. While there is some, no more is read, nor the end.
    pending: Vec<u8>,
    /// The sender has ended, and the receiver knows.
    is_shut: bool,
}

impl Connection {
    /// Begins the one inside. None where there is no way in; then the one outside is reset.
    pub(super) fn begin(outside: TcpStream, door: usize, inside: u16, ways: &mut Ways) -> Option<Self> {
        let prepared = outside.set_nonblocking(true).is_ok() && inet::keep_alive(&outside).is_ok();
        let from = outside.local_addr().ok().filter(|_| prepared);
        let mut ways: VecDeque<SocketAddr> =
            from.map_or_else(Vec::new, |from| ways.to(inside, from.ip())).into();
        match next(&mut ways) {
            Some(inside) => Some(Self::between(door, outside, inside, Some(ways))),
            None => {
                inet::reset(outside);
                None
            }
        }
    }

    fn between(
        door: usize,
        outside: TcpStream,
        inside: TcpStream,
        connecting: Option<VecDeque<SocketAddr>>,
    ) -> Self {
        let (inwards, outwards) = (Way::default(), Way::default());
        Self { door, outside: Some(outside), inside, last: Instant::now(), connecting, inwards, outwards }
    }

    /// Returns the number of the listener that it came by.
    pub(super) fn door(&self) -> usize {
        self.door
    }

    /// Returns when something was passed on the last time.
    pub(super) fn last(&self) -> Instant {
        self.last
    }

    /// Tells whether nothing has passed for so long that another may have its place.
    pub(super) fn is_silent(&self, now: Instant) -> bool {
        self.outside.is_some() && now.saturating_duration_since(self.last) >= SILENCE
    }

    /// Tells whether the one inside is yet to come about.
    pub(super) fn is_awaited(&self) -> bool {
        self.connecting.is_some()
    }

    /// Takes the next way in where one does not come about.
    pub(super) fn hurry(&mut self, now: Instant) {
        if self.is_awaited() && now.saturating_duration_since(self.last) >= TRY {
            self.try_next();
        }
    }

    fn try_next(&mut self) {
        match self.connecting.as_mut().and_then(next) {
            Some(other) => (self.inside, self.last) = (other, Instant::now()),
            None => self.fail(),
        }
    }

    /// Returns both ends, with what each is watched for. None for one that is left alone until the other has taken what it sent:
    /// with both halves shut it would be told as over all the time, while there is more of it to read.
    pub(super) fn watched(&self) -> [(BorrowedFd<'_>, Option<Ready>); 2] {
        let outside = self.outside.as_ref().unwrap_or(&self.inside).as_fd();
        if self.connecting.is_some() {
            return [(outside, Some(Ready::default())), (self.inside.as_fd(), Some(Ready::WRITE))];
        }
        let of = |from: &Way, to: &Way| {
            let is_left_alone = !from.pending.is_empty() && to.is_shut;
            (!is_left_alone).then(|| Ready { read: from.reads(), write: !to.pending.is_empty() })
        };
        let outside_for = of(&self.inwards, &self.outwards);
        [(outside, outside_for), (self.inside.as_fd(), of(&self.outwards, &self.inwards))]
    }

    /// The end outside is ready.
    pub(super) fn outside_is(&mut self, wanted: Ready, ready: Ready, buffer: &mut [u8]) {
        let Some(outside) = &self.outside else { return };
        self.last = Instant::now();
        let done =
            pass(wanted, ready, outside, &self.inside, [&mut self.inwards, &mut self.outwards], buffer);
        if done.is_err() {
            self.fail();
        }
    }

    /// The end inside is ready.
    pub(super) fn inside_is(&mut self, wanted: Ready, ready: Ready, buffer: &mut [u8]) {
        let Some(outside) = &self.outside else { return };
        if self.is_awaited() {
            match inet::failure_of(&self.inside) {
                None => self.connecting = None,
                Some(_) => self.try_next(),
            }
            return;
        }
        self.last = Instant::now();
        let done =
            pass(wanted, ready, &self.inside, outside, [&mut self.outwards, &mut self.inwards], buffer);
        if done.is_err() {
            self.fail();
        }
    }

    /// Ends both: outside and inside learn that it is no end as it should be.
    pub(super) fn fail(&mut self) {
        if let Some(outside) = self.outside.take() {
            inet::reset(outside);
        }
        inet::reset_when_closed(&self.inside);
    }

    /// Tells whether nothing is to be done any more.
    pub(super) fn is_over(&self) -> bool {
        self.outside.is_none() || self.inwards.is_shut && self.outwards.is_shut
    }
}

/// Begins a connection to the first address that can be tried.
fn next(ways: &mut VecDeque<SocketAddr>) -> Option<TcpStream> {
    while let Some(way) = ways.pop_front() {
        // Who is gone inside without a word is found out as one outside is.
        let begun = inet::begin_connection(&way).and_then(|begun| inet::keep_alive(&begun).map(|()| begun));
        if let Ok(stream) = begun {
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
        !self.is_shut && self.pending.is_empty()
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
        }
        Ok(())
    }

    /// The sender has ended.
    fn end(&mut self, to: &TcpStream) -> std::io::Result<()> {
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

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Returns both ends of a connection, the second of which waits for nothing.
    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (near, _) = listener.accept().unwrap();
        near.set_nonblocking(true).unwrap();
        (far, near)
    }

    /// Returns the one outside, the one inside, and what is between them.
    fn between() -> (TcpStream, TcpStream, Connection) {
        let ((client, outside), (server, inside)) = (pair(), pair());
        (client, server, Connection::between(0, outside, inside, None))
    }

    fn drive(mut connection: Connection) {
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut buffer = vec![0; 1 << 16];
        while !connection.is_over() && Instant::now() < deadline {
            let [(outside, for_outside), (inside, for_inside)] = connection.watched();
            let wanted = [for_outside, for_inside];
            let polled: Vec<_> = [outside, inside]
                .into_iter()
                .zip(wanted)
                .filter_map(|(fd, wanted)| Some((fd, wanted?)))
                .collect();
            let mut ready = sys::event::wait(&polled, Some(Duration::from_secs(1))).unwrap().into_iter();
            let told = wanted.map(|wanted| wanted.and_then(|wanted| Some((wanted, ready.next()?))));
            let is = |ready: &Ready| ready.read || ready.write;
            if let Some((wanted, ready)) = told[0].filter(|(_, ready)| is(ready)) {
                connection.outside_is(wanted, ready, &mut buffer);
            }
            if let Some((wanted, ready)) = told[1].filter(|(_, ready)| is(ready)) {
                connection.inside_is(wanted, ready, &mut buffer);
            }
        }
    }

    #[test]
    fn what_is_sent_to_a_slow_reader_that_has_ended_its_half_arrives_whole() {
        const LENGTH: usize = 8 << 20;
        let (mut client, mut server, connection) = between();
        let driven = std::thread::spawn(|| drive(connection));
        client.shutdown(Shutdown::Write).unwrap();
        let served = std::thread::spawn(move || {
            assert_eq!(server.read(&mut [0; 8]).unwrap(), 0);
            server.write_all(&vec![7; LENGTH])
        });
        std::thread::sleep(Duration::from_secs(1));
        let mut got = Vec::new();
        client.read_to_end(&mut got).unwrap();
        assert_eq!(got.len(), LENGTH);
        served.join().unwrap().unwrap();
        driven.join().unwrap();
    }

    #[test]
    fn who_is_inside_learns_of_a_reset_outside() {
        let (client, mut server, connection) = between();
        let driven = std::thread::spawn(|| drive(connection));
        inet::reset(client);
        server.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        assert_eq!(server.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionReset);
        driven.join().unwrap();
    }

    #[test]
    fn a_way_in_that_does_not_come_about_is_given_up_for_the_next() {
        let ((client, outside), listener) = (pair(), TcpListener::bind("127.0.0.1:0").unwrap());
        let (_server, inside) = pair();
        let ways = VecDeque::from([listener.local_addr().unwrap()]);
        let mut connection = Connection::between(0, outside, inside, Some(ways));
        let begun = connection.last();
        connection.hurry(begun + TRY - Duration::from_millis(1));
        listener.set_nonblocking(true).unwrap();
        assert!(listener.accept().is_err() && !connection.is_over());
        connection.hurry(begun + TRY);
        assert!(sys::event::readable(listener.as_fd(), Some(Duration::from_secs(60))).unwrap());
        assert!(!connection.is_over());
        let begun = connection.last();
        connection.hurry(begun + TRY);
        assert!(connection.is_over(), "there was no further way");
        assert!(sys::event::readable(client.as_fd(), Some(Duration::from_secs(60))).unwrap());
        assert_eq!((&client).read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    }

    #[test]
    fn what_passes_ends_the_silence() {
        let (client, _server, mut connection) = between();
        let begun = connection.last();
        assert!(!connection.is_silent(begun + SILENCE - Duration::from_millis(1)));
        assert!(connection.is_silent(begun + SILENCE));
        (&client).write_all(b"x").unwrap();
        sys::event::readable(connection.watched()[0].0, Some(Duration::from_secs(60))).unwrap();
        std::thread::sleep(Duration::from_millis(2));
        connection.outside_is(Ready::READ, Ready::READ, &mut [0; 8]);
        assert!(!connection.is_silent(begun + SILENCE));
        connection.fail();
        assert!(!connection.is_silent(begun + 2 * SILENCE), "what is over makes no room");
    }
}
