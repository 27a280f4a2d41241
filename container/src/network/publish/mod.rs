//! Published ports: sockets of the host that lead into a container.
//!
//! The monitor binds them before anything of the container runs, so that a port which cannot be had fails the start, and holds
//! them over reboots. For each run a process of its own, a fresh exec of the monitor's program, takes what comes to them
//! ([`forward`]): it has joined the container's network namespace, so whatever socket it makes is one of the container's, and
//! nothing that the container does can lead it elsewhere.
//!
//! One that ends before its time is replaced at once, and what clients send meanwhile waits. It may not end over and over: then
//! the ports are closed, so that who asks is refused and does not wait for ever.
//!
//! One way for all networks, although pasta has ports of its own: pasta of 2023 hands what comes from the host's loopback to
//! the container as if it came from the container's own (CVE-2021-20199), so any user of the host would be taken for a
//! process inside; slirp4netns and a bridge have nothing of the kind; and a port in use would be known when pasta has ended.

mod connection;
mod datagrams;
pub mod forward;
mod holder;
mod ways;

use std::fs::File;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::process::Command;
use std::time::{Duration, Instant};

use sys::{Errno, inet};
use types::Protocol;

use super::program::{About, Program};
use crate::error::{Doing, Error, Kind, Result};
use crate::place::from_io;
use crate::plan::{Opening, StartPlan, openings};

/// The sockets of the host, while the monitor lives.
#[derive(Debug, Default)]
pub struct Listeners {
    all: Vec<Listener>,
    /// When processes for them have ended before their time, of late.
    ends: Ends,
    /// That has happened too often.
    are_closed: bool,
}

#[derive(Debug)]
struct Listener {
    socket: Socket,
    inside: u16,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

impl Socket {
    fn bind(opening: &Opening) -> sys::Result<Self> {
        match opening.protocol {
            Protocol::Tcp => inet::listen(&opening.address).map(Self::Tcp),
            Protocol::Udp => inet::receive_at(&opening.address).map(Self::Udp),
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Socket::Tcp(socket) => socket.as_fd(),
            Socket::Udp(socket) => socket.as_fd(),
        }
    }
}

impl Listeners {
    /// Binds all that the plan publishes.
    ///
    /// # Errors
    /// [`Kind::Port`] for the first that cannot be had, with who has it.
    pub(super) fn bind(plan: &StartPlan) -> Result<Self> {
        let mut all = Vec::new();
        for opening in openings(&plan.publish) {
            match Socket::bind(&opening) {
                Ok(socket) => all.push(Listener { socket, inside: opening.inside }),
                Err(e) if !opening.must && is_of_no_family(e.errno()) => {}
                Err(e) => return Err(refused(&opening, &e)),
            }
        }
        Ok(Self { all, ..Self::default() })
    }

    /// Tells whether nothing is published.
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Tells whether they were closed for good, over reboots too.
    pub fn are_closed(&self) -> bool {
        self.are_closed
    }

    /// Starts the process that takes what comes, for one run, and waits until it does.
    pub(super) fn lead(
        &self,
        plan: &StartPlan,
        user: BorrowedFd<'_>,
        network: BorrowedFd<'_>,
    ) -> Result<Lead> {
        let started = || {
            let (reader, writer) = std::io::pipe().map_err(from_io)?;
            let program = self.spawn(plan, user, network, writer.as_fd())?;
            drop(writer);
            let program = program.when_ready(&File::from(OwnedFd::from(reader)))?;
            let network = network.try_clone_to_owned().map_err(from_io)?;
            Ok(Lead { program, network, again: None })
        };
        started()
            .map_err(|e: Error| e.of_kind(Kind::Network))
            .doing("starting the process for published ports")
    }

    fn spawn(
        &self,
        plan: &StartPlan,
        user: BorrowedFd<'_>,
        network: BorrowedFd<'_>,
        ready: BorrowedFd<'_>,
    ) -> Result<Program> {
        let own = [user, network, ready];
        let fds: Vec<BorrowedFd<'_>> = own.into_iter().chain(self.all.iter().map(AsFd::as_fd)).collect();
        // Where the container has the caller's own id this is the sealed copy that the monitor runs from.
        let mut command = Command::new("/proc/self/exe");
        command.arg("forward").arg(plan.place.name.as_str()).arg(self.ports());
        command.args(fds.iter().map(|fd| fd.as_raw_fd().to_string()));
        let about = About { name: "the process for published ports", loss: "another one takes its place" };
        Program::spawn(command, &fds, about)
    }

    /// The protocol and the port inside of each listener, in a word.
    fn ports(&self) -> String {
        let one = |listener: &Listener| {
            let protocol =
                if matches!(listener.socket, Socket::Tcp(_)) { Protocol::Tcp } else { Protocol::Udp };
            format!("{protocol}:{}", listener.inside)
        };
        self.all.iter().map(one).collect::<Vec<_>>().join(",")
    }
}

/// How often a process may end before its time, or not begin, [within](WITHIN) a while, until the ports are closed.
pub const MOST_ENDS: usize = 5;
/// The while.
const WITHIN: Duration = Duration::from_secs(60);
/// When another try is made where the host could not start one: so a host that lacks memory has most of the while.
pub const PAUSE: Duration = Duration::from_secs(10);

/// When processes have ended.
#[derive(Debug, Default)]
struct Ends(Vec<Instant>);

impl Ends {
    /// Takes one more down. Tells whether it was one too many.
    fn are_too_many_with(&mut self, now: Instant) -> bool {
        self.0.retain(|end| now.saturating_duration_since(*end) < WITHIN);
        self.0.push(now);
        self.0.len() > MOST_ENDS
    }
}

/// The process that takes what comes, and where another one goes when it ends before its time.
#[derive(Debug)]
pub(super) struct Lead {
    program: Program,
    /// The container's network namespace.
    network: OwnedFd,
    /// When the next try is made.
    again: Option<Instant>,
}

/// The ports were closed: processes for them have ended too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

impl Lead {
    pub(super) fn program(&self) -> &Program {
        &self.program
    }

    /// Tells whether a process has ended and no other has taken its place.
    pub(super) fn is_lost(&self) -> bool {
        self.program.pid().is_none()
    }

    /// Puts another process in the place of one that has ended. Its connections have ended with it.
    pub(super) fn renew(
        &mut self,
        listeners: &mut Listeners,
        plan: &StartPlan,
        user: BorrowedFd<'_>,
    ) -> std::result::Result<(), Closed> {
        let now = Instant::now();
        if !self.is_lost() || self.again.is_some_and(|again| now < again) {
            return Ok(());
        }
        if listeners.ends.are_too_many_with(now) {
            listeners.all.clear();
            listeners.are_closed = true;
            return Err(Closed);
        }
        // Nobody waits for its word: if it ends before it is ready, that is one end more.
        let nobody = File::options().write(true).open("/dev/null").map_err(from_io);
        match nobody.and_then(|nobody| listeners.spawn(plan, user, self.network.as_fd(), nobody.as_fd())) {
            Ok(program) => (self.program, self.again) = (program, None),
            Err(e) => {
                log::error!("starting another process for published ports: {e}");
                self.again = Some(now + PAUSE);
            }
        }
        Ok(())
    }
}

/// The host has no IPv6, or no address of it on loopback.
fn is_of_no_family(errno: Errno) -> bool {
    matches!(errno, Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL)
}

/// Says why a port cannot be had.
fn refused(opening: &Opening, error: &sys::Error) -> Error {
    let Opening { address, protocol, .. } = *opening;
    let (ip, port) = (address.ip(), address.port());
    let cause = match error.errno() {
        Errno::EADDRINUSE => {
            let who = holder::of(&address, protocol);
            format!(
                "port {port}/{protocol} of {ip} is taken{}",
                who.map(|who| format!(" by {who}")).unwrap_or_default()
            )
        }
        Errno::EACCES => format!(
            "port {port} is root's: net.ipv4.ip_unprivileged_port_start is {}",
            first_free().unwrap_or_else(|| "above".to_owned())
        ),
        Errno::EADDRNOTAVAIL => format!("this machine has no address {ip}"),
        _ => error.to_string(),
    };
    Error::new(Kind::Port, cause).doing(told(&address, protocol, opening.inside))
}

fn told(address: &SocketAddr, protocol: Protocol, inside: u16) -> String {
    format!("publishing {address} -> {inside}/{protocol}")
}

/// Returns the first port that every user may have.
fn first_free() -> Option<String> {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").ok()?;
    Some(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_ends_within_a_while_are_too_many_and_as_many_in_a_day_are_not() {
        let begun = Instant::now();
        let mut ends = Ends::default();
        let mut at = |seconds| ends.are_too_many_with(begun + Duration::from_secs(seconds));
        assert_eq!([0, 1, 2, 3, 4].map(&mut at), [false; MOST_ENDS]);
        assert!(at(59));
        assert!(!at(60 + 4));
        let mut ends = Ends::default();
        assert!((0..100).all(|hour| !ends.are_too_many_with(begun + hour * Duration::from_secs(13))));
    }
}
