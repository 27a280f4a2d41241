//! The few network settings of a namespace that the runtime makes by itself.

use std::os::fd::AsRawFd;

use crate::error::{Call, Result, cvt};

/// Brings the loopback device of the current network namespace up. Source: netdevice(7).
pub fn bring_loopback_up() -> Result<()> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType};
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
        .call(|| "socket(AF_INET, SOCK_DGRAM)".to_owned())?;
    // SAFETY: all members of ifreq are integers or byte arrays, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads one ifreq from the pointer, which outlives the call.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    cvt(done.into(), || "ioctl(SIOCSIFFLAGS, \"lo\", IFF_UP)".to_owned()).map(drop)
}
