//! Sockets of TCP and UDP. What is made belongs to the network namespace that the process is in at that moment, and stays
//! there.

use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::net::sockopt;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::error::{Call, Errno, Result};

/// How many connections wait to be accepted.
const BACKLOG: i32 = 128;

/// Makes a socket that waits for nothing.
fn new(address: &SocketAddr, kind: SocketType) -> Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, kind, flags, None)
        .call(|| format!("socket({}, {kind:?})", if address.is_ipv4() { "AF_INET" } else { "AF_INET6" }))?;
    Ok(socket)
}

/// Binds it to the address alone: one of IPv6 does not stand for IPv4 too.
fn bind(socket: &OwnedFd, address: &SocketAddr) -> Result<()> {
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(socket, true).call(|| "setsockopt(IPV6_V6ONLY, 1)".to_owned())?;
    }
    rustix::net::bind(socket, address).call(|| format!("bind({address})"))
}

/// Listens for TCP on an address. Accepting waits for nothing.
///
/// # Errors
/// EADDRINUSE when somebody has the port, EACCES when it is root's, EADDRNOTAVAIL for an address that the host has not,
/// EAFNOSUPPORT where there is no IPv6.
pub fn listen(address: &SocketAddr) -> Result<TcpListener> {
    let socket = new(address, SocketType::STREAM)?;
    // Connections that have ended a moment ago do not keep the port.
    sockopt::set_socket_reuseaddr(&socket, true).call(|| "setsockopt(SO_REUSEADDR, 1)".to_owned())?;
    bind(&socket, address)?;
    rustix::net::listen(&socket, BACKLOG).call(|| format!("listen({address})"))?;
    Ok(socket.into())
}

/// Takes datagrams of UDP at an address. Receiving waits for nothing.
///
/// # Errors
/// As [`listen`].
pub fn receive_at(address: &SocketAddr) -> Result<UdpSocket> {
    let socket = new(address, SocketType::DGRAM)?;
    bind(&socket, address)?;
    Ok(socket.into())
}

/// Begins a connection of TCP, and does not wait for it: it is there, or has failed, when the socket can be written to.
pub fn begin_connection(to: &SocketAddr) -> Result<TcpStream> {
    let socket = new(to, SocketType::STREAM)?;
    match rustix::net::connect(&socket, to) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(socket.into()),
        Err(e) => Err(e).call(|| format!("connect({to})")),
    }
}

/// Makes a socket of UDP that speaks with one address alone.
pub fn datagrams_with(to: &SocketAddr) -> Result<UdpSocket> {
    let socket = new(to, SocketType::DGRAM)?;
    rustix::net::connect(&socket, to)
        .and_then(|()| refuse_itself(&socket))
        .call(|| format!("connect({to})"))?;
    Ok(socket.into())
}

/// Refuses what is connected with itself: the kernel may choose for the near end the port that the far end is to have, if nobody
/// has it.
fn refuse_itself(socket: impl AsFd) -> rustix::io::Result<()> {
    match rustix::net::getpeername(&socket)? == Some(rustix::net::getsockname(&socket)?) {
        true => Err(rustix::io::Errno::CONNREFUSED),
        false => Ok(()),
    }
}

/// Returns what a connection that was begun has failed with, if it has.
pub fn failure_of(stream: &TcpStream) -> Option<Errno> {
    match sockopt::socket_error(stream) {
        Ok(Ok(())) => refuse_itself(stream).err().map(|e| Errno::from_raw(e.raw_os_error())),
        Ok(Err(e)) | Err(e) => Some(Errno::from_raw(e.raw_os_error())),
    }
}

/// Has the kernel look whether the other side is still there when nothing was heard of it for two minutes. Without an answer for
/// two more the connection has failed; the kernel's own patience is two hours.
///
/// The kernel does not look while something is on its way: it sends that again, for some 15 minutes (tcp_retries2). There is no
/// TCP_USER_TIMEOUT to shorten this, since it would also end a connection whose other side is there and reads nothing for so long: a
/// download that is paused. Source: tcp(7), `tcp_probe_timer`.
pub fn keep_alive(stream: &TcpStream) -> Result<()> {
    const SILENCE: Duration = Duration::from_secs(120);
    const BETWEEN: Duration = Duration::from_secs(30);
    const LOOKS: u32 = 4;
    sockopt::set_socket_keepalive(stream, true).call(|| "setsockopt(SO_KEEPALIVE, 1)".to_owned())?;
    sockopt::set_tcp_keepidle(stream, SILENCE).call(|| format!("setsockopt(TCP_KEEPIDLE, {SILENCE:?})"))?;
    sockopt::set_tcp_keepintvl(stream, BETWEEN).call(|| format!("setsockopt(TCP_KEEPINTVL, {BETWEEN:?})"))?;
    sockopt::set_tcp_keepcnt(stream, LOOKS).call(|| format!("setsockopt(TCP_KEEPCNT, {LOOKS})"))
}

/// Ends a connection so that the other side learns that it has failed, and does not take it for an end.
pub fn reset(stream: TcpStream) {
    reset_when_closed(&stream);
}

/// Has the end of a connection be no end as it should be, whenever it is closed.
pub fn reset_when_closed(stream: &TcpStream) {
    let _at_least_it_is_closed = sockopt::set_socket_linger(stream.as_fd(), Some(Duration::ZERO));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn a_port_that_somebody_has_is_refused_and_ipv6_does_not_stand_for_ipv4() {
        let first = listen(&"127.0.0.1:0".parse().unwrap()).unwrap();
        let taken = first.local_addr().unwrap();
        assert_eq!(listen(&taken).unwrap_err().errno(), Errno::EADDRINUSE);
        let everywhere = |ip: &str| SocketAddr::new(ip.parse().unwrap(), taken.port());
        assert_eq!(listen(&everywhere("0.0.0.0")).unwrap_err().errno(), Errno::EADDRINUSE);
        if listen(&"[::1]:0".parse().unwrap()).is_ok() {
            listen(&everywhere("::")).unwrap();
        }
    }

    #[test]
    fn a_connection_comes_about_and_is_reset() {
        let listener = listen(&"127.0.0.1:0".parse().unwrap()).unwrap();
        listener.set_nonblocking(false).unwrap();
        let mut stream = begin_connection(&listener.local_addr().unwrap()).unwrap();
        let (mut accepted, _) = listener.accept().unwrap();
        accepted.write_all(b"x").unwrap();
        stream.set_nonblocking(false).unwrap();
        assert_eq!(failure_of(&stream), None);
        assert_eq!(stream.read(&mut [0; 8]).unwrap(), 1);
        reset(accepted);
        assert_eq!(stream.read(&mut [0; 8]).unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    }

    #[test]
    fn the_kernel_looks_after_two_minutes_whether_somebody_is_there() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        keep_alive(&stream).unwrap();
        assert!(sockopt::socket_keepalive(&stream).unwrap());
        let (idle, between) =
            (sockopt::tcp_keepidle(&stream).unwrap(), sockopt::tcp_keepintvl(&stream).unwrap());
        let all = idle + between * sockopt::tcp_keepcnt(&stream).unwrap();
        assert_eq!((idle.as_secs(), all.as_secs()), (120, 240));
    }

    #[test]
    fn somebody_who_is_there_and_does_not_read_is_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        keep_alive(&stream).unwrap();
        assert_eq!(sockopt::tcp_user_timeout(&stream).unwrap(), 0);
    }

    #[test]
    fn what_is_connected_with_itself_is_refused() {
        let any = "127.0.0.1:0".parse().unwrap();
        let socket = new(&any, SocketType::STREAM).unwrap();
        bind(&socket, &any).unwrap();
        let stream = TcpStream::from(socket);
        let own = stream.local_addr().unwrap();
        let _begun = rustix::net::connect(&stream, &own);
        let ready = [(stream.as_fd(), crate::event::Ready::WRITE)];
        crate::event::wait(&ready, Some(Duration::from_secs(60))).unwrap();
        assert_eq!(stream.peer_addr().unwrap(), own);
        assert_eq!(failure_of(&stream), Some(Errno::ECONNREFUSED));

        let datagrams = receive_at(&any).unwrap();
        datagrams.connect(datagrams.local_addr().unwrap()).unwrap();
        assert_eq!(refuse_itself(&datagrams), Err(rustix::io::Errno::CONNREFUSED));
    }

    #[test]
    fn a_connection_that_nobody_takes_has_failed() {
        let listener = listen(&"127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        match begin_connection(&address) {
            Ok(stream) => {
                let ready = [(stream.as_fd(), crate::event::Ready::WRITE)];
                crate::event::wait(&ready, Some(Duration::from_secs(60))).unwrap();
                assert_eq!(failure_of(&stream), Some(Errno::ECONNREFUSED));
            }
            Err(e) => assert_eq!(e.errno(), Errno::ECONNREFUSED),
        }
    }
}
