//! The process that takes what comes to published ports, in the network namespace of a container.
//!
//! It reads nothing but what passes through, and understands nothing of it. What it holds: the sockets of the host that it was
//! given, and sockets that it makes in the container's namespace. It has no capability, and a filter under which it can make
//! sockets of IP and netlink and use them, and nothing else; where the kernel can see to it (Linux 6.7) it connects by TCP to the
//! published ports inside and to no other.
//!
//! To the container a connection comes from the address that it goes to, one of the container's own: whoever trusts what
//! comes from 127.0.0.1 is right to (CVE-2021-20199), and a service that listens on loopback alone is not reached.

use std::convert::Infallible;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use config::seccomp::{ArgTest, Comparison};
use sys::event::{self, Ready};
use sys::process::{self, flags};
use sys::{cap, landlock, namespace, rlimit};

use super::connection::Connection;
use super::datagrams::Datagrams;
use super::ways::Ways;
use crate::error::{Doing, Error, Kind, Result};
use crate::security::seccomp;

/// What the monitor hands over.
#[derive(Debug)]
pub struct Handed {
    /// The container's user namespace.
    pub user: OwnedFd,
    /// Its network namespace.
    pub network: OwnedFd,
    /// Where it says that it is ready.
    pub ready: OwnedFd,
    /// For each listener its protocol and the port inside: `tcp:80,udp:53`.
    pub ports: String,
    /// The listeners.
    pub listeners: Vec<OwnedFd>,
}

/// Runs the process, which is ended from outside.
///
/// # Errors
/// It cannot come into the namespaces, or waiting fails.
pub fn run(handed: Handed) -> Result<Infallible> {
    let parent = process::own_parent();
    // As long as it is in both worlds, container root must not look into it.
    process::set_dumpable(false)?;
    let files = limit_files()?;
    namespace::join(handed.user.as_fd(), flags::NEWUSER).doing("entering the user namespace")?;
    namespace::join(handed.network.as_fd(), flags::NEWNET).doing("entering the network namespace")?;
    let mut forwarder = Forwarder::new(&handed.ports, handed.listeners, files)?;
    give_up_rights(parent, &forwarder.inside())?;
    drop((handed.user, handed.network));
    File::from(handed.ready).write_all(b"x").map_err(crate::place::from_io)?;
    loop {
        forwarder.step()?;
    }
}

/// The most files that it has open.
const FILES: u64 = 4096;

/// Has as many files allowed as it can use, and no more. Returns how many.
fn limit_files() -> Result<u64> {
    let nofile = rlimit::by_name("nofile").unwrap_or_default();
    let (_, hard) = rlimit::get(nofile)?;
    let wanted = FILES.min(hard);
    rlimit::set(nofile, wanted, hard)?;
    Ok(wanted)
}

/// What it still asks of the kernel.
const CALLS: &[&str] = &[
    // Sockets.
    "accept",
    "accept4",
    "bind",
    "connect",
    "getpeername",
    "getsockname",
    "getsockopt",
    "recvfrom",
    "recvmsg",
    "setsockopt",
    "shutdown",
    // What is read and written of them.
    "close",
    "fcntl",
    "ioctl",
    "poll",
    "ppoll",
    "read",
    "readv",
    "write",
    "writev",
    // Memory, time, signals, its end.
    "brk",
    "clock_gettime",
    "clock_nanosleep",
    "exit",
    "exit_group",
    "futex",
    "getpid",
    "gettid",
    "gettimeofday",
    "madvise",
    "mmap",
    "mprotect",
    "mremap",
    "munmap",
    "nanosleep",
    "restart_syscall",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "sigaltstack",
    "tgkill",
];

/// The calls of which it makes some.
///
/// Sockets are of AF_INET, AF_INET6, and AF_NETLINK, by which it learns the container's addresses, and of the protocol that is the
/// kernel's choice: Landlock watches TCP, and not what is TCP on the wire under another name (MPTCP). What is sent has no
/// MSG_FASTOPEN, by which a socket is connected and Landlock is not asked (landlock-lsm/linux issue 41).
const SOME: &[(&str, &[ArgTest])] = &[
    ("socket", &[equal(0, 2), equal(2, 0)]),
    ("socket", &[equal(0, 10), equal(2, 0)]),
    ("socket", &[equal(0, 16), equal(2, 0)]),
    ("sendmsg", &[without(2, MSG_FASTOPEN)]),
    ("sendto", &[without(3, MSG_FASTOPEN)]),
];

/// Source: linux/socket.h.
const MSG_FASTOPEN: u64 = 0x2000_0000;

/// The condition that an argument, counted from 0, has a value.
const fn equal(index: u8, value: u64) -> ArgTest {
    ArgTest { index, comparison: Comparison::Equal, value }
}

/// The condition that an argument has none of some bits.
const fn without(index: u8, mask: u64) -> ArgTest {
    ArgTest { index, comparison: Comparison::Masked { mask }, value: 0 }
}

fn give_up_rights(parent: i32, inside: &[u16]) -> Result<()> {
    cap::limit_bounding_set(0)?;
    cap::limit_own(0)?;
    process::set_no_new_privs()?;
    process::die_with_parent(parent)?;
    keep_to_sockets(inside)
}

/// Leaves sockets and their use, and connections by TCP to these ports, for good.
fn keep_to_sockets(inside: &[u16]) -> Result<()> {
    // The sockets of the host that it has been given could be connected elsewhere. Kernels before 6.7 cannot keep it from that.
    let _where_it_can_be_had = landlock::connect_only_to(inside);
    seccomp::allow_only(CALLS, SOME)?.install()
}

/// A listener for TCP.
struct Door {
    listener: TcpListener,
    inside: u16,
}

struct Forwarder {
    doors: Vec<Door>,
    connections: Vec<Connection>,
    /// The most connections at a time. One more waits until another has ended.
    most: usize,
    datagrams: Datagrams,
    ways: Ways,
    /// Until when nothing is accepted: the machine had no file for a connection.
    rest: Option<Instant>,
    buffer: Vec<u8>,
}

/// How much is passed on at a time: a datagram of any length fits.
const PIECE: usize = 64 << 10;
/// How much of a connection is read at a time, and so the most that is kept of it in either direction.
const KEPT: usize = 16 << 10;
/// How long nothing is accepted when the machine has no file for a connection.
const REST: Duration = Duration::from_millis(100);
/// How often what nobody uses any more, or what does not come about, is looked for.
const LOOK: Duration = Duration::from_secs(10);

/// Which fd was ready.
#[derive(Clone, Copy)]
enum Source {
    Door(usize),
    Outside(usize),
    Inside(usize),
    Datagrams(usize),
}

impl Forwarder {
    fn new(ports: &str, listeners: Vec<OwnedFd>, files: u64) -> Result<Self> {
        let mut doors = Vec::new();
        let mut datagrams = Datagrams::for_as_many(most_askers(files));
        let nonsense = || Error::new(Kind::Build, format!("{ports:?} are no ports"));
        let words: Vec<&str> = ports.split(',').collect();
        if words.len() != listeners.len() {
            return Err(nonsense());
        }
        for (word, listener) in words.iter().zip(listeners) {
            let (protocol, inside) = word.split_once(':').ok_or_else(nonsense)?;
            let inside = inside.parse().map_err(|_| nonsense())?;
            match protocol {
                "tcp" => doors.push(Door { listener: listener.into(), inside }),
                "udp" => datagrams.listen(listener.into(), inside),
                _ => return Err(nonsense()),
            }
        }
        let (most, connections) = (most_connections(files, words.len()), Vec::new());
        let (ways, buffer) = (Ways::default(), vec![0; PIECE]);
        Ok(Self { doors, connections, most, datagrams, ways, rest: None, buffer })
    }

    /// Returns the ports of TCP inside.
    fn inside(&self) -> Vec<u16> {
        self.doors.iter().map(|door| door.inside).collect()
    }

    /// Waits until something can be done, and does it.
    fn step(&mut self) -> Result<()> {
        let now = Instant::now();
        self.rest = self.rest.filter(|until| *until > now);
        let watched = self.watched();
        let polled: Vec<(BorrowedFd<'_>, Ready)> =
            watched.iter().map(|(_, fd, wanted)| (*fd, *wanted)).collect();
        let ready = match event::wait(&polled, self.patience(now)) {
            // The machine may have memory again later; the container and its connections outlive the moment.
            Err(e) if e.errno() == sys::Errno::ENOMEM => {
                std::thread::sleep(REST);
                return Ok(());
            }
            ready => ready?,
        };
        let found: Vec<(Source, Ready, Ready)> = watched
            .iter()
            .zip(ready)
            .filter(|(_, ready)| ready.read || ready.write)
            .map(|((source, _, wanted), ready)| (*source, *wanted, ready))
            .collect();
        for (source, wanted, ready) in found {
            match source {
                Source::Door(door) => self.accept(door),
                Source::Outside(index) => {
                    self.connections[index].outside_is(wanted, ready, &mut self.buffer[..KEPT])
                }
                Source::Inside(index) => {
                    self.connections[index].inside_is(wanted, ready, &mut self.buffer[..KEPT])
                }
                Source::Datagrams(index) => self.datagrams.pass(index, &mut self.buffer, &mut self.ways),
            }
        }
        let now = Instant::now();
        self.connections.iter_mut().for_each(|connection| connection.hurry(now));
        self.connections.retain(|connection| !connection.is_over());
        self.datagrams.forget_silent(now);
        Ok(())
    }

    fn watched(&self) -> Vec<(Source, BorrowedFd<'_>, Ready)> {
        let now = Instant::now();
        let load = load(&self.connections, self.doors.len(), now);
        let accepts =
            |door: usize| self.rest.is_none() && load[door].lets_in(self.connections.len(), self.most);
        let doors = self.doors.iter().enumerate().filter(|(index, _)| accepts(*index));
        let doors = doors.map(|(index, door)| (Source::Door(index), door.listener.as_fd(), Ready::READ));
        let connections = self.connections.iter().enumerate().flat_map(|(index, connection)| {
            let [(outside, wanted), (inside, wanted_inside)] = connection.watched();
            let ends =
                [(Source::Outside(index), outside, wanted), (Source::Inside(index), inside, wanted_inside)];
            ends.into_iter().filter_map(|(source, fd, wanted)| Some((source, fd, wanted?)))
        });
        let datagrams = self.datagrams.fds().map(|(index, fd)| (Source::Datagrams(index), fd, Ready::READ));
        doors.chain(connections).chain(datagrams).collect()
    }

    fn patience(&self, now: Instant) -> Option<Duration> {
        match self.rest {
            Some(until) => Some(until.saturating_duration_since(now)),
            None => {
                let waits = self.connections.iter().any(Connection::is_awaited);
                let is_crowded = self.connections.len() > self.most / 2;
                (waits || is_crowded || !self.datagrams.is_silent()).then_some(LOOK)
            }
        }
    }

    fn accept(&mut self, door: usize) {
        let Door { listener, inside } = &self.doors[door];
        match listener.accept() {
            Ok((stream, _)) => {
                let begun = Connection::begin(stream, door, *inside, &mut self.ways);
                if begun.is_some() {
                    self.make_room(door);
                }
                self.connections.extend(begun);
            }
            // The client has gone before.
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionAborted) => {}
            Err(_) => self.rest = Some(Instant::now() + REST),
        }
    }

    /// Ends the connection by this door that has been silent for the longest time, where there is no room for one more.
    fn make_room(&mut self, door: usize) {
        let now = Instant::now();
        let load = load(&self.connections, self.doors.len(), now);
        if load[door].has_room(self.connections.len(), self.most) {
            return;
        }
        let own = self.connections.iter_mut().filter(|connection| connection.door() == door);
        if let Some(silent) = own.filter(|own| own.is_silent(now)).min_by_key(|own| own.last()) {
            silent.fail();
        }
    }
}

/// How many connections have come by a door.
#[derive(Clone, Copy, Debug, Default)]
struct Load {
    connections: usize,
    /// One of them has been silent for so long that it makes room for another.
    has_silent: bool,
}

/// Counts the connections of each door.
fn load(connections: &[Connection], doors: usize, now: Instant) -> Vec<Load> {
    let mut load = vec![Load::default(); doors];
    for connection in connections {
        let of_door = &mut load[connection.door()];
        of_door.connections += 1;
        of_door.has_silent |= connection.is_silent(now);
    }
    load
}

impl Load {
    /// Tells whether there is room for one more beside `all` that there are. A door has at most three times as many as are left
    /// over: who takes all that one port has keeps nobody from another.
    fn has_room(self, all: usize, most: usize) -> bool {
        let left = most.saturating_sub(all);
        self.connections < left.saturating_mul(3)
    }

    fn lets_in(self, all: usize, most: usize) -> bool {
        self.has_room(all, most) || self.has_silent
    }
}

/// Each connection takes two files; the rest are for listeners, datagrams, and a question to the kernel.
fn most_connections(files: u64, listeners: usize) -> usize {
    const OTHERS: usize = 32;
    const MOST: usize = 1024;
    let left = usize::try_from(files).unwrap_or(0).saturating_sub(OTHERS + listeners + most_askers(files));
    (left / 2).clamp(1, MOST)
}

/// Who asks by UDP takes a file each, and never more than a quarter of all.
fn most_askers(files: u64) -> usize {
    const MOST: usize = 256;
    usize::try_from(files / 4).unwrap_or(MOST).clamp(1, MOST)
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;
    use std::net::SocketAddr;

    use rustix::net::{SendAncillaryBuffer, SendFlags};
    use sys::netlink::{Changes, Connection as Netlink};

    use super::*;

    #[test]
    fn connections_never_take_the_last_files() {
        assert_eq!(most_connections(4096, 2), 1024);
        assert_eq!(most_connections(1024, 2), (1024 - 32 - 2 - 256) / 2);
        assert_eq!((most_askers(256), most_connections(256, 2)), (64, (256 - 32 - 2 - 64) / 2));
        assert_eq!((most_askers(0), most_connections(0, 2)), (1, 1));
    }

    #[test]
    fn one_port_that_is_flooded_leaves_room_for_every_other() {
        let mut doors = [Load::default(); 4];
        let all = |doors: &[Load]| doors.iter().map(|door| door.connections).sum::<usize>();
        for flooded in [0, 1, 2] {
            while doors[flooded].has_room(all(&doors), 1024) {
                doors[flooded].connections += 1;
            }
            assert!(doors[3].has_room(all(&doors), 1024), "{doors:?}");
        }
        assert_eq!(doors[0].connections, 768);
        assert!(!doors[0].lets_in(all(&doors), 1024));
        doors[0].has_silent = true;
        assert!(doors[0].lets_in(all(&doors), 1024));
    }

    /// Does something in a thread that has kept itself to sockets, and to connections to one port.
    fn kept_to_sockets<T: Send + 'static>(inside: u16, act: impl FnOnce() -> T + Send + 'static) -> T {
        let kept = std::thread::spawn(move || {
            process::set_no_new_privs().unwrap();
            keep_to_sockets(&[inside]).unwrap();
            act()
        });
        kept.join().unwrap()
    }

    #[test]
    fn sockets_are_of_ip_and_netlink_alone_and_of_no_protocol_by_choice() {
        use rustix::net::{AddressFamily, SocketType, ipproto, socket};
        let (ip, unix, chosen) = kept_to_sockets(1, || {
            let v4 = std::net::UdpSocket::bind("127.0.0.1:0").is_ok();
            let unix = std::os::unix::net::UnixDatagram::unbound().map(drop).map_err(|e| e.kind());
            let chosen = [ipproto::MPTCP, ipproto::TCP]
                .map(|chosen| socket(AddressFamily::INET, SocketType::STREAM, Some(chosen)).map(drop));
            ((v4, Netlink::open().is_ok() && Changes::open().is_ok()), unix, chosen)
        });
        assert_eq!((ip, unix), ((true, true), Err(ErrorKind::PermissionDenied)));
        assert_eq!(chosen, [Err(rustix::io::Errno::PERM); 2]);
    }

    /// Connects by TCP as connect(2) does, and by the two calls that send and connect at once.
    const WAYS_TO_CONNECT: [fn(&SocketAddr) -> rustix::io::Result<()>; 3] = [
        |to| rustix::net::connect(stream()?, to),
        |to| rustix::net::sendto(stream()?, b"x", fast_open(), to).map(drop),
        |to| {
            let (bytes, mut no_fds) = ([IoSlice::new(b"x")], SendAncillaryBuffer::default());
            rustix::net::sendmsg_addr(stream()?, to, &bytes, &mut no_fds, fast_open()).map(drop)
        },
    ];

    fn stream() -> rustix::io::Result<OwnedFd> {
        rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None)
    }

    fn fast_open() -> SendFlags {
        SendFlags::from_bits_retain(MSG_FASTOPEN as u32)
    }

    #[test]
    fn a_port_that_is_not_published_is_connected_to_by_no_call() {
        let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [inside, other] = listeners.each_ref().map(|listener| listener.local_addr().unwrap());
        let tried = |to| kept_to_sockets(inside.port(), move || WAYS_TO_CONNECT.map(|connect| connect(&to)));
        let (acces, perm) = (Err(rustix::io::Errno::ACCESS), Err(rustix::io::Errno::PERM));
        assert_eq!(tried(inside), [Ok(()), perm, perm]);
        let has_landlock = std::thread::spawn(move || {
            process::set_no_new_privs().unwrap();
            landlock::connect_only_to(&[]).is_ok()
        });
        // Before Linux 6.7 connect(2) cannot be kept from it.
        let plain = if has_landlock.join().unwrap() { acces } else { Ok(()) };
        assert_eq!(tried(other), [plain, perm, perm]);
    }
}
