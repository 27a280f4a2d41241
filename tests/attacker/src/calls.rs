//! System calls that no container may make, by every way into the kernel that a program has.

use crate::{Attempts, sys, unless_refused};

/// A call that is to be refused: its name, its numbers on x86_64 and on 32-bit x86, arguments, and the errno of the refusal.
type Refused = (&'static str, i64, i32, [u64; 3], i32);

const EPERM: i32 = libc::EPERM;
const ENOSYS: i32 = libc::ENOSYS;
const EAFNOSUPPORT: i32 = libc::EAFNOSUPPORT;
const STREAM: u64 = libc::SOCK_STREAM as u64;
/// A vsock is a socket that this kind of machine can make.
const VSOCK: u64 = libc::AF_VSOCK as u64;
const ALG: u64 = libc::AF_ALG as u64;
/// A bit that the kernel does not look at in a 32-bit argument, and a careless filter does.
const GARBAGE: u64 = 1 << 40;

/// Each with arguments for which an unfiltered kernel answers something else, or does it.
const CALLS: [Refused; 20] = [
    // KEYCTL_GET_KEYRING_ID of the session's keyring.
    ("keyctl", libc::SYS_keyctl, 288, [0, u64::MAX - 2, 0], ENOSYS),
    ("add_key", libc::SYS_add_key, 286, [0, 0, 0], ENOSYS),
    ("request_key", libc::SYS_request_key, 287, [0, 0, 0], ENOSYS),
    ("bpf", libc::SYS_bpf, 357, [0, 0, 0], ENOSYS),
    ("io_uring_setup", libc::SYS_io_uring_setup, 425, [0, 0, 0], ENOSYS),
    ("io_uring_enter", libc::SYS_io_uring_enter, 426, [0, 0, 0], ENOSYS),
    ("io_uring_register", libc::SYS_io_uring_register, 427, [0, 0, 0], ENOSYS),
    ("perf_event_open", libc::SYS_perf_event_open, 336, [0, 0, 0], EPERM),
    // UFFD_USER_MODE_ONLY, which everybody may ask for.
    ("userfaultfd", libc::SYS_userfaultfd, 374, [1, 0, 0], EPERM),
    ("open_by_handle_at", libc::SYS_open_by_handle_at, 342, [0, 0, 0], EPERM),
    ("quotactl", libc::SYS_quotactl, 131, [0, 0, 0], EPERM),
    ("clock_settime", libc::SYS_clock_settime, 264, [0, 0, 0], EPERM),
    // SYSLOG_ACTION_SIZE_BUFFER, which the kernel allows where dmesg_restrict is 0.
    ("syslog", libc::SYS_syslog, 103, [10, 0, 0], EPERM),
    ("sysfs", libc::SYS_sysfs, 135, [3, 0, 0], ENOSYS),
    ("ustat", libc::SYS_ustat, 62, [0, 0, 0], ENOSYS),
    // /dev/null answers ENOTTY to requests that reach it.
    ("ioctl TIOCSTI", libc::SYS_ioctl, 54, [0, 0x5412, 0], EPERM),
    ("ioctl TIOCLINUX", libc::SYS_ioctl, 54, [0, 0x541c, 0], EPERM),
    ("ioctl TIOCSTI with garbage above", libc::SYS_ioctl, 54, [0, 0x5412 | GARBAGE, 0], EPERM),
    ("socket AF_VSOCK", libc::SYS_socket, 359, [VSOCK, STREAM, 0], EAFNOSUPPORT),
    ("socket AF_ALG with garbage above", libc::SYS_socket, 359, [ALG | GARBAGE, 5, 0], EAFNOSUPPORT),
];

/// socketcall(2) takes its arguments from memory: 1 is socket, 8 is socketpair.
const SOCKETCALL: i32 = 102;

/// Makes the calls as a 64-bit program does, and with x32's bit.
pub(crate) fn attack() -> Attempts {
    let mut found = Attempts::default();
    for (name, number, _, arguments, refusal) in CALLS {
        found.count(name, unless_refused(sys::call(number, arguments), refusal));
        let x32 = sys::call(number | sys::X32_BIT, arguments);
        found.count(&format!("{name} by x32"), unless_refused(x32, ENOSYS));
    }
    found
}

/// Makes the calls as a 32-bit program does. Ends by a signal where the kernel runs no such programs.
pub(crate) fn attack_in_32_bits() -> Attempts {
    let mut found = Attempts::default();
    for (name, _, number, arguments, refusal) in CALLS {
        found.count(name, unless_refused(sys::call_in_32_bits(number, arguments), refusal));
    }
    for (name, which) in [("socketcall socket", 1), ("socketcall socketpair", 8)] {
        let made = sys::call_in_32_bits(SOCKETCALL, [which, 0, 0]);
        found.count(name, unless_refused(made, ENOSYS));
    }
    found
}
