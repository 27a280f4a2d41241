//! Calls into the kernel that an attacker makes and the standard library has not, one small function each.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use libc::{c_long, c_ulong};

fn check(result: c_long) -> io::Result<c_long> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn c_string(text: &str) -> io::Result<CString> {
    CString::new(text).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}

/// Puts a character into the input of a terminal. The request is 64 bits wide: the kernel looks at the lower half, a
/// filter may look at all of it.
pub(crate) fn type_into(terminal: RawFd, request: u64, byte: u8) -> io::Result<()> {
    // SAFETY: TIOCSTI reads one byte from the pointer, which is to a live local.
    check(unsafe { libc::syscall(libc::SYS_ioctl, terminal, request, &raw const byte) }).map(drop)
}

/// Pastes what is selected on a virtual console. Source: ioctl_console(2), TIOCLINUX, subcode 3.
pub(crate) fn paste(terminal: RawFd, request: u64) -> io::Result<()> {
    let code = [3u8; 16];
    // SAFETY: TIOCLINUX reads its subcode and, of that one, nothing more from the pointer to a live local.
    check(unsafe { libc::syscall(libc::SYS_ioctl, terminal, request, code.as_ptr()) }).map(drop)
}

/// Takes a terminal as the controlling one, from whoever has it.
pub(crate) fn steal_terminal(terminal: RawFd) -> io::Result<()> {
    // SAFETY: TIOCSCTTY takes an integer.
    check(unsafe { libc::ioctl(terminal, libc::TIOCSCTTY, 1) }.into()).map(drop)
}

/// Exchanges two names in one step. Source: renameat2(2), RENAME_EXCHANGE.
pub(crate) fn exchange(a: &CString, b: &CString) -> io::Result<()> {
    let (cwd, flag) = (libc::AT_FDCWD, libc::RENAME_EXCHANGE);
    // SAFETY: both pointers are to strings that end with a NUL and live as long as the call.
    check(unsafe { libc::syscall(libc::SYS_renameat2, cwd, a.as_ptr(), cwd, b.as_ptr(), flag) }).map(drop)
}

/// Makes a string for [`exchange`].
pub(crate) fn path(text: &str) -> io::Result<CString> {
    c_string(text)
}

/// Begins to trace a process, stops it, and lets it go again.
pub(crate) fn trace(pid: i32) -> io::Result<()> {
    let null = std::ptr::null_mut::<u8>();
    // SAFETY: these requests take no memory of this process.
    unsafe {
        check(libc::ptrace(libc::PTRACE_SEIZE, pid, null, null))?;
        libc::ptrace(libc::PTRACE_INTERRUPT, pid, null, null);
        libc::waitpid(pid, std::ptr::null_mut(), libc::__WALL);
        libc::ptrace(libc::PTRACE_DETACH, pid, null, null);
    }
    Ok(())
}

/// Reads 8 bytes of another process's memory.
pub(crate) fn peek(pid: i32, address: usize) -> io::Result<u64> {
    let mut value = 0u64;
    let local = libc::iovec { iov_base: (&raw mut value).cast(), iov_len: 8 };
    let remote = libc::iovec { iov_base: address as *mut libc::c_void, iov_len: 8 };
    // SAFETY: the local part is the live `value`; the other is an address of the other process, which is not touched here.
    let read = unsafe { libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0) };
    check(read as c_long).map(|_| value)
}

/// Returns real, effective and saved ids of user and group.
pub(crate) fn ids() -> ([u32; 3], [u32; 3]) {
    let (mut uids, mut gids) = ([0; 3], [0; 3]);
    // SAFETY: each pointer is to its own element of a live local.
    unsafe {
        libc::getresuid(&raw mut uids[0], &raw mut uids[1], &raw mut uids[2]);
        libc::getresgid(&raw mut gids[0], &raw mut gids[1], &raw mut gids[2]);
    }
    (uids, gids)
}

/// Returns the supplementary groups.
pub(crate) fn groups() -> Vec<u32> {
    let mut groups = vec![0; 65_536];
    // SAFETY: the kernel writes at most as many groups as it is told that there is room for.
    let count = unsafe { libc::getgroups(65_536, groups.as_mut_ptr()) };
    groups.truncate(usize::try_from(count).unwrap_or(0));
    groups
}

/// Returns effective, permitted and inheritable capabilities.
pub(crate) fn capabilities() -> [u64; 3] {
    const VERSION_3: u32 = 0x2008_0522;
    let header = [VERSION_3, 0];
    let mut data = [[0u32; 3]; 2];
    // SAFETY: version 3 reads an 8 byte header and writes two structures of three u32 each, as the locals are.
    unsafe { libc::syscall(libc::SYS_capget, header.as_ptr(), data.as_mut_ptr()) };
    [0, 1, 2].map(|set| u64::from(data[0][set]) | u64::from(data[1][set]) << 32)
}

fn asks(option: libc::c_int, one: c_ulong, two: c_ulong) -> libc::c_int {
    // SAFETY: the options that this crate asks for take integers and no pointer.
    unsafe { libc::prctl(option, one, two, 0, 0) }
}

/// Returns ambient and bounding capabilities.
pub(crate) fn ambient_and_bounding() -> [u64; 2] {
    let set = |has: &dyn Fn(c_ulong) -> bool| (0..64).filter(|n| has(*n)).fold(0, |set, n| set | 1u64 << n);
    [
        set(&|number| asks(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_IS_SET as c_ulong, number) == 1),
        set(&|number| asks(libc::PR_CAPBSET_READ, number, 0) == 1),
    ]
}

/// Tells whether no_new_privs is set, and the mode of seccomp.
pub(crate) fn confinement() -> (bool, i32) {
    (asks(libc::PR_GET_NO_NEW_PRIVS, 0, 0) == 1, asks(libc::PR_GET_SECCOMP, 0, 0))
}

/// Tells whether a number is an open fd.
pub(crate) fn is_open(fd: RawFd) -> bool {
    // SAFETY: F_GETFD takes a number, open or not.
    unsafe { libc::fcntl(fd, libc::F_GETFD) != -1 }
}

/// Connects a socket of a type to an address as /proc/net/unix shows it (`@` begins an abstract one), without waiting.
/// Returns the user at the other end.
pub(crate) fn connect(kind: i32, name: &[u8]) -> io::Result<u32> {
    let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: the call takes integers; the fd it returns is nobody else's.
    let socket =
        unsafe { OwnedFd::from_raw_fd(check(libc::socket(libc::AF_UNIX, kind | flags, 0).into())? as RawFd) };
    let mut address = libc::sockaddr_un { sun_family: libc::AF_UNIX as u16, sun_path: [0; 108] };
    for (to, from) in address.sun_path.iter_mut().zip(name) {
        *to = *from as libc::c_char;
    }
    let length = (2 + name.len().min(108)) as u32;
    if name.first() == Some(&b'@') {
        address.sun_path[0] = 0;
    }
    let fd = socket.as_raw_fd();
    // SAFETY: the address is a live local, at least as long as `length` says.
    check(unsafe { libc::connect(fd, (&raw const address).cast(), length) }.into())?;
    let mut peer = libc::ucred { pid: 0, uid: u32::MAX, gid: 0 };
    let mut size = size_of::<libc::ucred>() as u32;
    // SAFETY: the kernel writes at most `size` bytes into the live local.
    unsafe {
        libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_PEERCRED, (&raw mut peer).cast(), &raw mut size)
    };
    Ok(peer.uid)
}

/// Opens a connection that keeps the borders of messages to a socket file.
pub(crate) fn seqpacket(path: &str) -> io::Result<OwnedFd> {
    // SAFETY: as in `connect`.
    let socket = unsafe {
        OwnedFd::from_raw_fd(check(
            libc::socket(libc::AF_UNIX, libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC, 0).into(),
        )? as RawFd)
    };
    let mut address = libc::sockaddr_un { sun_family: libc::AF_UNIX as u16, sun_path: [0; 108] };
    if path.len() > 107 {
        return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG));
    }
    for (to, from) in address.sun_path.iter_mut().zip(path.bytes()) {
        *to = from as libc::c_char;
    }
    let length = size_of::<libc::sockaddr_un>() as u32;
    // SAFETY: the address is a live local of that length.
    check(unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), length) }.into())?;
    Ok(socket)
}

/// Sends a message with fds, at once or not at all.
pub(crate) fn send(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[RawFd]) -> io::Result<()> {
    let mut control = vec![0u64; 256];
    let part = libc::iovec { iov_base: bytes.as_ptr() as *mut libc::c_void, iov_len: bytes.len() };
    // SAFETY: a zeroed msghdr is valid; the header that CMSG_FIRSTHDR returns lies in `control`, whose 2048 bytes hold
    // the at most 253 fds that the kernel takes; all pointers are to live locals.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = (&raw const part).cast_mut();
        message.msg_iovlen = 1;
        let fds = &fds[..fds.len().min(253)];
        if !fds.is_empty() {
            let size = size_of_val(fds) as u32;
            message.msg_control = control.as_mut_ptr().cast();
            message.msg_controllen = libc::CMSG_SPACE(size) as usize;
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(size) as usize;
            std::ptr::copy_nonoverlapping(fds.as_ptr(), libc::CMSG_DATA(header).cast(), fds.len());
        }
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        check(libc::sendmsg(socket.as_raw_fd(), &raw const message, flags) as c_long).map(drop)
    }
}

/// Marks the numbers of x32. Source: asm/unistd.h, __X32_SYSCALL_BIT.
pub(crate) const X32_BIT: i64 = 0x4000_0000;

/// Makes a system call with numbers for arguments; pointers among them are null or nonsense.
pub(crate) fn call(number: i64, [a, b, c]: [u64; 3]) -> io::Result<i64> {
    // SAFETY: no argument is a pointer to memory of this process, so the kernel answers EFAULT where it wants one.
    check(unsafe { libc::syscall(number, a, b, c, 0u64, 0u64, 0u64) })
}

/// Makes a system call as a 32-bit program of the same machine does: any program can.
#[cfg(target_arch = "x86_64")]
pub(crate) fn call_in_32_bits(number: i32, [a, b, c]: [u64; 3]) -> io::Result<i64> {
    let answer: i32;
    // SAFETY: the kernel takes five arguments from the low halves of the registers, none of which is a pointer to memory of
    // this process, and changes rax and r8 to r11 alone. rbx is the compiler's own, so it is put back.
    unsafe {
        std::arch::asm!(
            "xchg rbx, {first}",
            "int 0x80",
            "xchg rbx, {first}",
            first = inout(reg) a & 0xffff_ffff => _,
            inlateout("eax") number => answer,
            in("ecx") b as u32,
            in("edx") c as u32,
            in("esi") 0,
            in("edi") 0,
            out("r8") _,
            out("r9") _,
            out("r10") _,
            out("r11") _,
        );
    }
    if answer < 0 { Err(io::Error::from_raw_os_error(-answer)) } else { Ok(answer.into()) }
}

/// Forks. Tells whether this is the old process; one that cannot be forked is, too.
pub(crate) fn fork_on() -> bool {
    // SAFETY: the process has one thread, so the copy lacks nobody who could hold a lock.
    unsafe { libc::fork() != 0 }
}

/// Makes the process the leader of a session, where it is none.
pub(crate) fn leave_session() {
    // SAFETY: takes no pointer.
    unsafe { libc::setsid() };
}

/// Closes the standard streams.
pub(crate) fn close_streams() {
    // SAFETY: takes integers; nothing is printed from here on.
    unsafe { libc::syscall(libc::SYS_close_range, 0u32, 2u32, 0u32) };
}
