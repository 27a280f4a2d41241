//! Datagrams of UDP: who asks from outside has a socket inside, by which answers are told apart.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

use sys::inet;

use super::ways::Ways;

/// How long an answer is waited for. What comes from inside does not prolong it: whoever was named as the sender of a datagram
/// that somebody else has sent is left alone after a minute, whatever the container does.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many datagrams of one socket are passed on before the others have their turn.
const AT_A_TIME: usize = 32;

/// All listeners, and all who ask.
pub(super) struct Datagrams {
    doors: Vec<Door>,
    askers: Vec<Asker>,
    /// The most that ask at a time.
    most: usize,
}

struct Door {
    socket: UdpSocket,
    inside: u16,
    /// How often a way in has failed: whoever asks next takes the next.
    failed: usize,
}

struct Asker {
    door: usize,
    address: SocketAddr,
    inside: UdpSocket,
    /// When it asked the last time.
    last: Instant,
    /// It has had an answer.
    is_answered: bool,
    /// It has asked again after an answer, which who sends under a false name does not, mostly.
    is_known: bool,
}

impl Asker {
    fn new(door: usize, address: SocketAddr, inside: UdpSocket) -> Self {
        Self { door, address, inside, last: Instant::now(), is_answered: false, is_known: false }
    }
}

impl Datagrams {
    /// Nobody listens yet; `most` may ask at a time.
    pub(super) fn for_as_many(most: usize) -> Self {
        Self { doors: Vec::new(), askers: Vec::new(), most }
    }

    pub(super) fn listen(&mut self, socket: UdpSocket, inside: u16) {
        self.doors.push(Door { socket, inside, failed: 0 });
    }

    /// Returns all sockets, listeners first, with the numbers by which [`pass`](Self::pass) knows them.
    pub(super) fn fds(&self) -> impl Iterator<Item = (usize, BorrowedFd<'_>)> {
        let doors = self.doors.iter().map(|door| door.socket.as_fd());
        doors.chain(self.askers.iter().map(|asker| asker.inside.as_fd())).enumerate()
    }

    /// Passes on what has come to a socket. A number whose socket is another by now finds nothing there.
    pub(super) fn pass(&mut self, number: usize, buffer: &mut [u8], ways: &mut Ways) {
        for _ in 0..AT_A_TIME {
            let passed = match number.checked_sub(self.doors.len()) {
                None => self.inwards(number, buffer, ways),
                Some(asker) => self.outwards(asker, buffer),
            };
            if passed.is_none() {
                return;
            }
        }
    }

    fn inwards(&mut self, door: usize, buffer: &mut [u8], ways: &mut Ways) -> Option<()> {
        let (length, from) = self.doors.get(door)?.socket.recv_from(buffer).ok()?;
        let asker = self.asker(door, from, ways)?;
        asker.last = Instant::now();
        asker.is_known |= asker.is_answered;
        // What is not taken is lost, as on any way of a datagram.
        if let Err(e) = asker.inside.send(&buffer[..length]) {
            let inside = asker.inside.as_fd().as_raw_fd();
            self.fails(inside, &e);
        }
        Some(())
    }

    fn outwards(&mut self, asker: usize, buffer: &mut [u8]) -> Option<()> {
        let asker = self.askers.get_mut(asker)?;
        let length = match asker.inside.recv(buffer) {
            Ok(length) => length,
            Err(e) => {
                let inside = asker.inside.as_fd().as_raw_fd();
                self.fails(inside, &e);
                return None;
            }
        };
        asker.is_answered = true;
        let _lost = self.doors.get(asker.door)?.socket.send_to(&buffer[..length], asker.address);
        Some(())
    }

    /// Forgets whose way in has failed.
    fn fails(&mut self, inside: i32, why: &std::io::Error) {
        if matches!(why.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) {
            return;
        }
        let is_it = |asker: &Asker| asker.inside.as_fd().as_raw_fd() == inside;
        if let Some(index) = self.askers.iter().position(is_it) {
            let door = self.askers.swap_remove(index).door;
            self.doors[door].failed = self.doors[door].failed.wrapping_add(1);
        }
    }

    /// Finds who asks, or makes a socket inside.
    fn asker(&mut self, door: usize, address: SocketAddr, ways: &mut Ways) -> Option<&mut Asker> {
        let known = self.askers.iter().position(|asker| asker.door == door && asker.address == address);
        let found = match known {
            Some(found) => found,
            None => {
                let from = self.doors[door].socket.local_addr().ok()?;
                let mut ways = ways.to(self.doors[door].inside, from.ip());
                let turn = self.doors[door].failed.checked_rem(ways.len()).unwrap_or(0);
                ways.rotate_left(turn);
                let inside = ways.iter().find_map(|way| inet::datagrams_with(way).ok())?;
                self.make_room();
                self.askers.push(Asker::new(door, address, inside));
                self.askers.len() - 1
            }
        };
        self.askers.get_mut(found)
    }

    /// Forgets somebody where all places are taken: at the listener with the most who ask, so that a flood at one port does no
    /// harm to another; there first who has asked once; of these whoever has been silent for the longest time.
    fn make_room(&mut self) {
        if self.askers.len() < self.most {
            return;
        }
        let mut counts = vec![0; self.doors.len()];
        self.askers.iter().for_each(|asker| counts[asker.door] += 1);
        let Some(crowded) = (0..counts.len()).max_by_key(|door| counts[*door]) else { return };
        let at_it = self.askers.iter().enumerate().filter(|(_, asker)| asker.door == crowded);
        if let Some((index, _)) = at_it.min_by_key(|(_, asker)| (asker.is_known, asker.last)) {
            self.askers.swap_remove(index);
        }
    }

    /// Tells whether nobody waits for an answer.
    pub(super) fn is_silent(&self) -> bool {
        self.askers.is_empty()
    }

    /// Forgets who has been silent for too long.
    pub(super) fn forget_silent(&mut self, now: Instant) {
        self.askers.retain(|asker| now.saturating_duration_since(asker.last) < PATIENCE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = 256;

    /// Returns listeners, each with its address, and all who ask them, of whom there are none.
    fn listening(doors: usize, inside: u16) -> (Datagrams, Vec<SocketAddr>) {
        let mut all = Datagrams::for_as_many(MOST);
        let listen = |_| {
            let door = inet::receive_at(&"127.0.0.1:0".parse().unwrap()).unwrap();
            let address = door.local_addr().unwrap();
            all.listen(door, inside);
            address
        };
        let addresses = (0..doors).map(listen).collect();
        (all, addresses)
    }

    fn asks(door: usize, port: u16, last: Instant) -> Asker {
        let here: SocketAddr = "127.0.0.1:9".parse().unwrap();
        let inside = inet::datagrams_with(&here).unwrap();
        Asker { last, ..Asker::new(door, SocketAddr::new(here.ip(), port), inside) }
    }

    /// Passes on what there is, until `done`.
    fn until(all: &mut Datagrams, number: usize, ways: &mut Ways, done: impl Fn(&Datagrams) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !done(all) && Instant::now() < deadline {
            all.pass(number, &mut [0; 64], ways);
        }
        assert!(done(all));
    }

    #[test]
    fn whose_way_in_fails_is_forgotten_and_the_next_takes_another() {
        let closed = inet::receive_at(&"127.0.0.1:0".parse().unwrap()).unwrap().local_addr().unwrap();
        let (mut all, doors) = listening(1, closed.port());
        let inside = inet::datagrams_with(&closed).unwrap();
        inside.send(b"x").unwrap();
        all.askers.push(Asker::new(0, doors[0], inside));
        until(&mut all, 1, &mut Ways::fixed(&[]), Datagrams::is_silent);
        assert_eq!(all.doors[0].failed, 1);
        // Of two ways the second has its turn.
        let other: std::net::IpAddr = "127.0.0.2".parse().unwrap();
        let mut ways = Ways::fixed(&[closed.ip(), other]);
        let asker = all.asker(0, doors[0], &mut ways).unwrap();
        assert_eq!(asker.inside.peer_addr().unwrap().ip(), other);
    }

    #[test]
    fn a_flood_at_one_port_makes_room_there_and_first_of_who_has_asked_once() {
        let (mut all, _) = listening(2, 9);
        let begun = Instant::now();
        all.askers.push(asks(0, 1, begun));
        all.askers.push(Asker { is_known: true, ..asks(1, 2, begun) });
        for port in 3..=u16::try_from(MOST).unwrap() {
            all.askers.push(asks(
                1,
                port,
                begun + Duration::from_millis(u64::from(port % 7) * 1000 + 1000 + u64::from(port)),
            ));
        }
        all.make_room();
        assert_eq!(all.askers.len(), MOST - 1);
        // The first of those with port % 7 == 0; neither the one at the other port, nor the one who has asked again.
        let left: Vec<u16> = all.askers.iter().map(|asker| asker.address.port()).collect();
        assert!(left.contains(&1) && left.contains(&2) && !left.contains(&7), "{left:?}");
        all.make_room();
        assert_eq!(all.askers.len(), MOST - 1, "there was room");
        all.forget_silent(begun + Duration::from_secs(3600));
        assert!(all.is_silent());
    }

    #[test]
    fn answers_do_not_prolong_what_was_asked_once_and_a_second_question_does() {
        let service = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (mut all, doors) = listening(1, service.local_addr().unwrap().port());
        let mut ways = Ways::fixed(&[doors[0].ip()]);
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.send_to(b"moss", doors[0]).unwrap();
        until(&mut all, 0, &mut ways, |all| !all.is_silent());
        let asked = all.askers[0].last;
        let (_, back) = service.recv_from(&mut [0; 8]).unwrap();
        std::thread::sleep(Duration::from_millis(2));
        service.send_to(b"green", back).unwrap();
        until(&mut all, 1, &mut ways, |all| all.askers[0].is_answered);
        assert!(all.askers[0].last == asked && !all.askers[0].is_known);
        client.send_to(b"again", doors[0]).unwrap();
        until(&mut all, 0, &mut ways, |all| all.askers[0].is_known);
        assert!(all.askers[0].last > asked);
        all.forget_silent(all.askers[0].last + PATIENCE);
        assert!(all.is_silent());
    }
}
