//! Datagrams of UDP: who asks from outside has a socket inside, by which answers are told apart.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

use sys::inet;

use super::forward::ways_to;

/// The most that ask at a time. One more takes the place of whoever has been silent for the longest time.
pub(super) const MOST: usize = 256;

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many datagrams of one socket are passed on before the others have their turn.
const AT_A_TIME: usize = 32;

/// All listeners, and all who ask.
#[derive(Default)]
pub(super) struct Datagrams {
    doors: Vec<Door>,
    askers: Vec<Asker>,
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
    last: Instant,
}

impl Datagrams {
    pub(super) fn listen(&mut self, socket: UdpSocket, inside: u16) {
        self.doors.push(Door { socket, inside, failed: 0 });
    }

    /// Returns all sockets, listeners first, with the numbers by which [`pass`](Self::pass) knows them.
    pub(super) fn fds(&self) -> impl Iterator<Item = (usize, BorrowedFd<'_>)> {
        let doors = self.doors.iter().map(|door| door.socket.as_fd());
        doors.chain(self.askers.iter().map(|asker| asker.inside.as_fd())).enumerate()
    }

    /// Passes on what has come to a socket. A number whose socket is another by now finds nothing there.
    pub(super) fn pass(&mut self, number: usize, buffer: &mut [u8]) {
        for _ in 0..AT_A_TIME {
            let passed = match number.checked_sub(self.doors.len()) {
                None => self.inwards(number, buffer),
                Some(asker) => self.outwards(asker, buffer),
            };
            if passed.is_none() {
                return;
            }
        }
    }

    fn inwards(&mut self, door: usize, buffer: &mut [u8]) -> Option<()> {
        let (length, from) = self.doors.get(door)?.socket.recv_from(buffer).ok()?;
        let asker = self.asker(door, from)?;
        asker.last = Instant::now();
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
        asker.last = Instant::now();
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
    fn asker(&mut self, door: usize, address: SocketAddr) -> Option<&mut Asker> {
        let known = self.askers.iter().position(|asker| asker.door == door && asker.address == address);
        let found = match known {
            Some(found) => found,
            None => {
                let from = self.doors[door].socket.local_addr().ok()?;
                let mut ways = ways_to(self.doors[door].inside, from.ip());
                let turn = self.doors[door].failed.checked_rem(ways.len()).unwrap_or(0);
                ways.rotate_left(turn);
                let inside = ways.iter().find_map(|way| inet::datagrams_with(way).ok())?;
                self.make_room();
                self.askers.push(Asker { door, address, inside, last: Instant::now() });
                self.askers.len() - 1
            }
        };
        self.askers.get_mut(found)
    }

    fn make_room(&mut self) {
        if self.askers.len() < MOST {
            return;
        }
        let silent = self.askers.iter().enumerate().min_by_key(|(_, asker)| asker.last);
        if let Some((index, _)) = silent {
            self.askers.swap_remove(index);
        }
    }

    /// Tells whether nobody waits for an answer.
    pub(super) fn is_silent(&self) -> bool {
        self.askers.is_empty()
    }

    /// Forgets who has been silent for too long.
    pub(super) fn forget_silent(&mut self, now: Instant) {
        self.askers.retain(|asker| now.duration_since(asker.last) < PATIENCE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_way_in_fails_is_forgotten_and_the_next_takes_another() {
        let mut all = Datagrams::default();
        let door = inet::receive_at(&"127.0.0.1:0".parse().unwrap()).unwrap();
        let closed = inet::receive_at(&"127.0.0.1:0".parse().unwrap()).unwrap().local_addr().unwrap();
        let address = door.local_addr().unwrap();
        all.listen(door, closed.port());
        let inside = inet::datagrams_with(&closed).unwrap();
        inside.send(b"x").unwrap();
        all.askers.push(Asker { door: 0, address, inside, last: Instant::now() });
        let deadline = Instant::now() + Duration::from_secs(60);
        while !all.is_silent() && Instant::now() < deadline {
            all.pass(1, &mut [0; 8]);
        }
        assert!(all.is_silent());
        assert_eq!(all.doors[0].failed, 1);
    }

    #[test]
    fn whoever_is_silent_for_the_longest_time_makes_room() {
        let mut all = Datagrams::default();
        let here = "127.0.0.1:9".parse().unwrap();
        let begun = Instant::now();
        for port in 1..=u16::try_from(MOST).unwrap() {
            let inside = inet::datagrams_with(&here).unwrap();
            let address = SocketAddr::new(here.ip(), port);
            let last =
                begun + Duration::from_secs(u64::from(port % 7) + 1) + Duration::from_millis(port.into());
            all.askers.push(Asker { door: 0, address, inside, last });
        }
        all.make_room();
        assert_eq!(all.askers.len(), MOST - 1);
        assert!(all.askers.iter().all(|asker| asker.address.port() != 7));
        all.forget_silent(begun + Duration::from_secs(3600));
        assert!(all.is_silent());
    }
}
