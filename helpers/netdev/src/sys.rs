//! The calls of this helper alone: a netlink socket, and questions about namespaces.

use std::ffi::c_int;
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use helpers::sys::check;

/// Questions about a namespace. Source: linux/nsfs.h.
const NS_GET_USERNS: libc::Ioctl = 0xb701;
const NS_GET_PARENT: libc::Ioctl = 0xb702;
const NS_GET_NSTYPE: libc::Ioctl = 0xb703;
const NS_GET_OWNER_UID: libc::Ioctl = 0xb704;

/// Returns the kind of a namespace, as the flag of clone(2) that makes one.
pub(crate) fn namespace_type(namespace: BorrowedFd<'_>) -> io::Result<c_int> {
    // SAFETY: the request takes no pointer.
    check(unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_NSTYPE) }).map(|kind| kind as c_int)
}

/// Opens the user namespace that a namespace belongs to.
pub(crate) fn owning_user_namespace(namespace: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    open_related(namespace, NS_GET_USERNS)
}

/// Opens the user namespace around a user namespace.
///
/// # Errors
/// EPERM for the user namespace of this process.
pub(crate) fn parent_user_namespace(user: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    open_related(user, NS_GET_PARENT)
}

fn open_related(namespace: BorrowedFd<'_>, request: libc::Ioctl) -> io::Result<OwnedFd> {
    // SAFETY: both requests that are passed here take no pointer.
    let fd = check(unsafe { libc::ioctl(namespace.as_raw_fd(), request) })?;
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as c_int) })
}

/// Returns the uid of who made a user namespace.
pub(crate) fn maker(user: BorrowedFd<'_>) -> io::Result<u32> {
    let mut uid: libc::uid_t = 0;
    // SAFETY: the kernel writes one uid to the live local.
    check(unsafe { libc::ioctl(user.as_raw_fd(), NS_GET_OWNER_UID, &mut uid) })?;
    Ok(uid)
}

/// Opens a socket to the kernel's table of links.
pub(crate) fn route_socket() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    // SAFETY: takes no pointer.
    let fd = check(unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE) })?;
    // SAFETY: as in `open_related`.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as c_int) })
}

/// Sends one message to the kernel.
pub(crate) fn send(socket: BorrowedFd<'_>, message: &[u8]) -> io::Result<()> {
    // SAFETY: pointer and length are those of a live slice.
    check(unsafe { libc::send(socket.as_raw_fd(), message.as_ptr().cast(), message.len(), 0) } as i64)
        .map(drop)
}

/// Waits for messages, and returns how long they are and who sent them (0: the kernel). Those that do not fit into the
/// buffer are cut, and the length says so.
pub(crate) fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<(usize, u32)> {
    // SAFETY: sockaddr_nl is plain numbers, for which zero is valid.
    let mut sender: libc::sockaddr_nl = unsafe { zeroed() };
    let mut size = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
    // SAFETY: the buffer's true length is passed, and the kernel writes no more than `size` bytes of the sender.
    let length = check(unsafe {
        libc::recvfrom(
            socket.as_raw_fd(),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            libc::MSG_TRUNC,
            (&raw mut sender).cast(),
            &mut size,
        )
    } as i64)?;
    Ok((length as usize, sender.nl_pid))
}
