//! Unix sockets: messages with fds between processes of Bryo, and the names that LXC looks for.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use types::HostUid;

use crate::error::{Call, Errno, Error, Result};

/// The most fds that one message carries.
pub const MAX_FDS: usize = 16;

/// How many connections wait to be accepted.
const WAITING: i32 = 64;

/// A received message. An empty one means that the other side has closed.
#[derive(Debug)]
pub struct Message {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// The fds that came along, close-on-exec.
    pub fds: Vec<OwnedFd>,
}

fn new(kind: SocketType) -> Result<OwnedFd> {
    rustix::net::socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)
        .call(|| format!("socket(AF_UNIX, {kind:?})"))
}

/// Makes two connected sockets that keep the borders of messages.
pub fn pair() -> Result<(OwnedFd, OwnedFd)> {
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .call(|| "socketpair(AF_UNIX, SOCK_SEQPACKET)".to_owned())
}

/// Ends the sending of one side; the other then finds the end behind what was sent.
pub fn end_sending(socket: BorrowedFd<'_>) -> Result<()> {
    rustix::net::shutdown(socket, rustix::net::Shutdown::Write)
        .call(|| format!("shutdown({}, SHUT_WR)", socket.as_raw_fd()))
}

/// Sends one message with fds.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<()> {
    send_with(socket, bytes, fds, SendFlags::NOSIGNAL)
}

/// Sends one message with fds, without waiting.
///
/// # Errors
/// EAGAIN when the other side has not read what was sent before.
pub fn send_now(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<()> {
    send_with(socket, bytes, fds, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
}

fn send_with(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>], flags: SendFlags) -> Result<()> {
    let call = || format!("sendmsg({}, {} bytes, {} fds)", socket.as_raw_fd(), bytes.len(), fds.len());
    if fds.len() > MAX_FDS {
        return Err(Error::new(call(), Errno::E2BIG));
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(fds));
    }
    loop {
        match rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut control, flags) {
            Err(rustix::io::Errno::INTR) => {}
            sent => return sent.call(call).map(drop),
        }
    }
}

/// Receives one message of at most `cap` bytes.
///
/// # Errors
/// EMSGSIZE when it is longer or carries more fds than [`MAX_FDS`]: what another process sends never fills the memory.
pub fn receive(socket: BorrowedFd<'_>, cap: usize) -> Result<Message> {
    let call = || format!("recvmsg({})", socket.as_raw_fd());
    let mut bytes = vec![0; cap];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let got = loop {
        let mut parts = [IoSliceMut::new(&mut bytes)];
        match rustix::net::recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
            // A peer that closed with something of ours unread leaves this error in front of what it sent before. It is
            // told once; then come the messages, and after them the end.
            Err(rustix::io::Errno::INTR | rustix::io::Errno::CONNRESET) => {}
            received => break received.call(call)?,
        }
    };
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            fds.extend(received);
        }
    }
    if got.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(Error::new(call(), Errno::EMSGSIZE));
    }
    bytes.truncate(got.bytes);
    Ok(Message { bytes, fds })
}

/// Returns the user at the other end of a connection.
pub fn peer_uid(socket: BorrowedFd<'_>) -> Result<HostUid> {
    let peer = rustix::net::sockopt::socket_peercred(socket).call(|| "getsockopt(SO_PEERCRED)".to_owned())?;
    Ok(HostUid(peer.uid.as_raw()))
}

/// Returns the pid of the process at the other end of a connection.
pub fn peer_pid(socket: BorrowedFd<'_>) -> Result<i32> {
    let peer = rustix::net::sockopt::socket_peercred(socket).call(|| "getsockopt(SO_PEERCRED)".to_owned())?;
    Ok(peer.pid.as_raw_nonzero().get())
}

/// Returns a pidfd of the process at the other end of a connection, whoever has its number by now (Linux 6.5).
pub fn peer_pidfd(socket: BorrowedFd<'_>) -> Result<OwnedFd> {
    let mut fd: libc::c_int = -1;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the kernel writes an int and its length at the pointers, which outlive the call.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERPIDFD,
            (&raw mut fd).cast(),
            &raw mut length,
        )
    };
    crate::error::cvt(done.into(), || "getsockopt(SO_PEERPIDFD)".to_owned())?;
    // SAFETY: the call returned a new fd that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Listens on the socket file `name` below `dir`, replacing one that is left over.
///
/// The name is given through the fd of the directory: a path of any length works, and no component can be swapped.
pub fn listen_at(dir: BorrowedFd<'_>, name: &str) -> Result<OwnedFd> {
    let _absent = crate::path::remove_file(dir, name.as_ref());
    let socket = new(SocketType::SEQPACKET)?;
    let call = || format!("bind({}, {name:?})", dir.as_raw_fd());
    let address = SocketAddrUnix::new(crate::path::of_fd(dir).join(name)).call(call)?;
    rustix::net::bind(&socket, &address).call(call)?;
    rustix::net::listen(&socket, WAITING).call(|| format!("listen({name:?})"))?;
    Ok(socket)
}

/// Listens on a socket that another process has made: who connects from now on finds this one at the other end ([`peer_pid`]).
/// Source: unix(7), `SO_PEERCRED`.
pub fn listen_as_self(socket: BorrowedFd<'_>) -> Result<()> {
    rustix::net::listen(socket, WAITING).call(|| format!("listen({})", socket.as_raw_fd()))
}

/// Connects to the socket file `name` below `dir`; waits while the listener has as many waiting connections as it takes.
pub fn connect_at(dir: BorrowedFd<'_>, name: &str) -> Result<OwnedFd> {
    connect_by(new(SocketType::SEQPACKET)?, dir, name)
}

/// As [`connect_at`], without waiting.
///
/// # Errors
/// EAGAIN when the listener takes no more connections for now: one that is stopped never does.
pub fn connect_at_once(dir: BorrowedFd<'_>, name: &str) -> Result<OwnedFd> {
    let socket = new(SocketType::SEQPACKET)?;
    rustix::io::ioctl_fionbio(&socket, true).call(|| "ioctl(FIONBIO, 1)".to_owned())?;
    let socket = connect_by(socket, dir, name)?;
    rustix::io::ioctl_fionbio(&socket, false).call(|| "ioctl(FIONBIO, 0)".to_owned())?;
    Ok(socket)
}

/// Connects to a stream socket. No longer than `patience` is waited for a listener that has as many waiting connections as it
/// takes, and then for each thing that is sent.
/// Source: unix(7), socket(7) on `SO_SNDTIMEO`.
///
/// # Errors
/// EAGAIN when the time is over.
pub fn connect_stream(path: &Path, patience: Duration) -> Result<OwnedFd> {
    let socket = new(SocketType::STREAM)?;
    let timeout = rustix::net::sockopt::Timeout::Send;
    rustix::net::sockopt::set_socket_timeout(&socket, timeout, Some(patience))
        .call(|| format!("setsockopt(SO_SNDTIMEO, {patience:?})"))?;
    let call = || format!("connect({path:?})");
    let address = SocketAddrUnix::new(path).call(call)?;
    rustix::net::connect(&socket, &address).call(call)?;
    Ok(socket)
}

fn connect_by(socket: OwnedFd, dir: BorrowedFd<'_>, name: &str) -> Result<OwnedFd> {
    let call = || format!("connect({}, {name:?})", dir.as_raw_fd());
    let address = SocketAddrUnix::new(crate::path::of_fd(dir).join(name)).call(call)?;
    rustix::net::connect(&socket, &address).call(call)?;
    Ok(socket)
}

/// Accepts a connection.
pub fn accept(listener: BorrowedFd<'_>) -> Result<OwnedFd> {
    rustix::net::accept_with(listener, SocketFlags::CLOEXEC).call(|| "accept4()".to_owned())
}

/// Binds an abstract name without listening on it: nobody else can take it, and nobody can connect.
///
/// # Errors
/// EADDRINUSE when somebody has it.
pub fn hold_abstract_name(name: &[u8]) -> Result<OwnedFd> {
    let socket = new(SocketType::STREAM)?;
    let call = || format!("bind(@{:?})", String::from_utf8_lossy(name));
    let address = SocketAddrUnix::new_abstract_name(name).call(call)?;
    rustix::net::bind(&socket, &address).call(call)?;
    Ok(socket)
}

/// Connects to an abstract name and returns the user that listens there, or `None` when nobody does.
///
/// # Errors
/// EAGAIN when the listener takes no more connections: anybody may bind the name, and nobody is waited for.
pub fn abstract_listener(name: &[u8]) -> Result<Option<HostUid>> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
        .call(|| "socket(AF_UNIX, SOCK_STREAM|SOCK_NONBLOCK)".to_owned())?;
    let call = || format!("connect(@{:?})", String::from_utf8_lossy(name));
    let address = SocketAddrUnix::new_abstract_name(name).call(call)?;
    match rustix::net::connect(&socket, &address) {
        Ok(()) => peer_uid(socket.as_fd()).map(Some),
        Err(rustix::io::Errno::CONNREFUSED) => Ok(None),
        Err(e) => Err(e).call(call),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_keep_their_borders_and_carry_fds() {
        let (a, b) = pair().unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        send(a.as_fd(), b"one", &[file.as_fd()]).unwrap();
        send(a.as_fd(), b"two", &[]).unwrap();
        let first = receive(b.as_fd(), 64).unwrap();
        assert_eq!((first.bytes.as_slice(), first.fds.len()), (&b"one"[..], 1));
        assert_eq!(receive(b.as_fd(), 64).unwrap().bytes, b"two");
        drop(a);
        assert!(receive(b.as_fd(), 64).unwrap().bytes.is_empty());
    }

    #[test]
    fn the_last_words_of_a_peer_that_read_nothing_arrive() {
        let (a, b) = pair().unwrap();
        send(a.as_fd(), b"unread", &[]).unwrap();
        send(b.as_fd(), b"last words", &[]).unwrap();
        drop(b);
        assert_eq!(receive(a.as_fd(), 64).unwrap().bytes, b"last words");
        assert!(receive(a.as_fd(), 64).unwrap().bytes.is_empty());
    }

    #[test]
    fn a_message_longer_than_the_cap_is_an_error() {
        let (a, b) = pair().unwrap();
        send(a.as_fd(), &[0; 65], &[]).unwrap();
        assert_eq!(receive(b.as_fd(), 64).unwrap_err().errno(), Errno::EMSGSIZE);
    }

    #[test]
    fn a_listener_that_takes_nobody_is_waited_for_no_longer_than_that() {
        let path = std::env::temp_dir().join(format!("bryo-socket-{}", std::process::id()));
        let listener = new(SocketType::STREAM).unwrap();
        rustix::net::bind(&listener, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let patience = Duration::from_millis(50);
        let _waits = connect_stream(&path, patience).unwrap();
        assert_eq!(connect_stream(&path, patience).unwrap_err().errno(), Errno::EAGAIN);
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_held_name_has_no_listener_and_cannot_be_taken() {
        let name = format!("bryo-test-{}", std::process::id());
        let held = hold_abstract_name(name.as_bytes()).unwrap();
        assert_eq!(abstract_listener(name.as_bytes()).unwrap(), None);
        assert_eq!(hold_abstract_name(name.as_bytes()).unwrap_err().errno(), Errno::EADDRINUSE);
        drop(held);
        assert_eq!(abstract_listener(name.as_bytes()).unwrap(), None);
    }
}
