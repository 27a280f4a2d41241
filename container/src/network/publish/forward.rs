//! The process that takes what comes to published ports, in the network namespace of a container.
//!
//! It reads nothing but what passes through, and understands nothing of it. What it holds: the sockets of the host that it was
//! given, and sockets that it makes in the container's namespace. It has no capability, and a filter under which it can make
//! sockets of IP and netlink and use them, and nothing else.
//!
//! To the container a connection comes from the address that it goes to, one of the container's own: whoever trusts what
//! comes from 127.0.0.1 is right to (CVE-2021-20199), and a service that listens on loopback alone is not reached.

use std::convert::Infallible;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use sys::event::{self, Ready};
use sys::netlink::Connection as Netlink;
use sys::process::{self, flags};
use sys::{cap, namespace, rlimit};

use super::connection::Connection;
use super::datagrams::Datagrams;
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
    give_up_rights(parent)?;
    let mut forwarder = Forwarder::new(&handed.ports, handed.listeners, files)?;
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
    "sendmsg",
    "sendto",
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

/// The families of sockets that it makes: AF_INET, AF_INET6, and AF_NETLINK, by which it learns the container's addresses.
const SOCKETS: &[(&str, u64)] = &[("socket", 2), ("socket", 10), ("socket", 16)];

fn give_up_rights(parent: i32) -> Result<()> {
    cap::limit_bounding_set(0)?;
    cap::limit_own(0)?;
    process::set_no_new_privs()?;
    process::die_with_parent(parent)?;
    seccomp::allow_only(CALLS, SOCKETS)?.install()
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
/// How often what nobody uses any more is looked for.
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
        let (mut doors, mut datagrams) = (Vec::new(), Datagrams::default());
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
        let most = most_connections(files, words.len());
        Ok(Self { doors, connections: Vec::new(), most, datagrams, rest: None, buffer: vec![0; PIECE] })
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
                Source::Datagrams(index) => self.datagrams.pass(index, &mut self.buffer),
            }
        }
        self.connections.retain(|connection| !connection.is_over());
        self.datagrams.forget_silent(Instant::now());
        Ok(())
    }

    fn watched(&self) -> Vec<(Source, BorrowedFd<'_>, Ready)> {
        let accepts = self.rest.is_none() && self.connections.len() < self.most;
        let doors = self.doors.iter().enumerate().filter(|_| accepts);
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
            None => (!self.datagrams.is_silent()).then_some(LOOK),
        }
    }

    fn accept(&mut self, door: usize) {
        let Door { listener, inside } = &self.doors[door];
        match listener.accept() {
            Ok((stream, _)) => self.connections.extend(Connection::begin(stream, *inside)),
            // The client has gone before.
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionAborted) => {}
            Err(_) => self.rest = Some(Instant::now() + REST),
        }
    }
}

/// Each connection takes two files; the rest are for listeners, datagrams, and a question to the kernel.
fn most_connections(files: u64, listeners: usize) -> usize {
    const OTHERS: usize = 32;
    const MOST: usize = 1024;
    let left =
        usize::try_from(files).unwrap_or(0).saturating_sub(OTHERS + listeners + super::datagrams::MOST);
    (left / 2).clamp(1, MOST)
}

/// The most addresses of the container that are tried, of each family.
const TRIED: usize = 2;

/// Returns where a port inside may be reached now: at the container's own addresses, which are the container's to choose; those
/// of the family in which somebody asks first.
pub(super) fn ways_to(inside: u16, asked_by: IpAddr) -> Vec<SocketAddr> {
    let addresses = chosen(&own_addresses().unwrap_or_default(), asked_by);
    addresses.into_iter().map(|address| SocketAddr::new(address, inside)).collect()
}

/// Chooses some of each family: a service may listen in the other alone.
fn chosen(addresses: &[IpAddr], asked_by: IpAddr) -> Vec<IpAddr> {
    let is_v4 = asked_by.to_canonical().is_ipv4();
    let of = |v4: bool| addresses.iter().filter(move |address| address.is_ipv4() == v4).take(TRIED);
    of(is_v4).chain(of(!is_v4)).copied().collect()
}

/// Lists the addresses of this network namespace that are more than the link's and not loopback's.
fn own_addresses() -> sys::Result<Vec<IpAddr>> {
    let links = Netlink::open()?.links()?;
    let is_used = |index| links.iter().any(|link| link.index == index && link.is_up && !link.is_loopback);
    let found = Netlink::open()?.addresses()?;
    let own = found.iter().filter(|found| is_used(found.index)).map(|found| found.address);
    Ok(own.filter(is_reachable).collect())
}

/// An address of the link needs its interface beside it, and 127.0.0.0/8 can stand on any interface.
fn is_reachable(address: &IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_unspecified(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local() && !v6.is_unspecified(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_never_take_the_last_files() {
        assert_eq!(most_connections(4096, 2), 1024);
        assert_eq!(most_connections(1024, 2), (1024 - 32 - 2 - super::super::datagrams::MOST) / 2);
        assert_eq!(most_connections(0, 2), 1);
    }

    #[test]
    fn sockets_are_of_ip_and_netlink_alone() {
        let made = std::thread::spawn(|| {
            process::set_no_new_privs().unwrap();
            seccomp::allow_only(CALLS, SOCKETS).unwrap().install().unwrap();
            let v4 = std::net::UdpSocket::bind("127.0.0.1:0").is_ok();
            let unix = std::os::unix::net::UnixDatagram::unbound().map(drop).map_err(|e| e.kind());
            (v4, Netlink::open().is_ok(), unix)
        });
        assert_eq!(made.join().unwrap(), (true, true, Err(ErrorKind::PermissionDenied)));
    }

    #[test]
    fn each_family_has_its_turn_however_many_addresses_the_other_has() {
        let all: Vec<IpAddr> =
            ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "fd00::1"].map(|a| a.parse().unwrap()).into();
        assert_eq!(chosen(&all, all[0]), [all[0], all[1], all[4]]);
        assert_eq!(chosen(&all, all[4]), [all[4], all[0], all[1]]);
    }

    #[test]
    fn loopback_is_not_a_way_in() {
        for (address, is) in [
            ("10.0.3.7", true),
            ("127.0.0.1", false),
            ("127.1.2.3", false),
            ("0.0.0.0", false),
            ("fd00::7", true),
            ("::1", false),
            ("fe80::1", false),
            ("::ffff:127.0.0.1", false),
            ("::ffff:10.0.3.7", true),
        ] {
            assert_eq!(is_reachable(&address.parse().unwrap()), is, "{address}");
        }
    }
}
