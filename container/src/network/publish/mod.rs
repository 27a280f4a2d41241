//! Published ports: sockets of the host that lead into a container.
//!
//! The monitor binds them before anything of the container runs, so that a port which cannot be had fails the start, and holds
//! them over reboots. For each run a process of its own, a fresh exec of the monitor's program, takes what comes to them
//! ([`forward`]): it has joined the container's network namespace, so whatever socket it makes is one of the container's, and
//! nothing that the container does can lead it elsewhere.
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
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::process::Command;

use sys::{Errno, inet};
use types::Protocol;

use super::program::{About, Program};
use crate::error::{Doing, Error, Kind, Result};
use crate::place::from_io;
use crate::plan::{Opening, StartPlan, openings};

/// The sockets of the host, while the monitor lives.
#[derive(Debug, Default)]
pub struct Listeners(Vec<Listener>);

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
        let mut listeners = Vec::new();
        for opening in openings(&plan.publish) {
            match Socket::bind(&opening) {
                Ok(socket) => listeners.push(Listener { socket, inside: opening.inside }),
                Err(e) if !opening.must && is_of_no_family(e.errno()) => {}
                Err(e) => return Err(refused(&opening, &e)),
            }
        }
        Ok(Self(listeners))
    }

    /// Tells whether nothing is published.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Starts the process that takes what comes, for one run.
    pub(super) fn forward(
        &self,
        plan: &StartPlan,
        user: BorrowedFd<'_>,
        network: BorrowedFd<'_>,
    ) -> Result<Program> {
        let started = || {
            let (reader, writer) = std::io::pipe().map_err(from_io)?;
            let own = [user, network, writer.as_fd()];
            let fds: Vec<BorrowedFd<'_>> = own.into_iter().chain(self.0.iter().map(AsFd::as_fd)).collect();
            // Where the container has the caller's own id this is the sealed copy that the monitor runs from.
            let mut command = Command::new("/proc/self/exe");
            command.arg("forward").arg(plan.place.name.as_str()).arg(self.ports());
            command.args(fds.iter().map(|fd| fd.as_raw_fd().to_string()));
            let about = About { name: "the process for published ports", loss: "they lead nowhere any more" };
            let program = Program::spawn(command, &fds, about)?;
            drop(writer);
            program.when_ready(&File::from(std::os::fd::OwnedFd::from(reader)))
        };
        started()
            .map_err(|e: Error| e.of_kind(Kind::Network))
            .doing("starting the process for published ports")
    }

    /// The protocol and the port inside of each listener, in a word.
    fn ports(&self) -> String {
        let one = |listener: &Listener| {
            let protocol =
                if matches!(listener.socket, Socket::Tcp(_)) { Protocol::Tcp } else { Protocol::Udp };
            format!("{protocol}:{}", listener.inside)
        };
        self.0.iter().map(one).collect::<Vec<_>>().join(",")
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
