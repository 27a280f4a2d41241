//! Calls into the kernel and libc, one small safe function each. A helper has one thread, from start to end.

use std::ffi::CStr;
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::null_mut;

use libc::{c_int, c_long, c_ulong};

/// The real, effective and saved id of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    /// Who started it.
    pub real: u32,
    /// Who the kernel takes it for.
    pub effective: u32,
    /// Who it may become again.
    pub saved: u32,
}

/// The capability sets of the process, a bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CapabilitySets {
    /// Those in force.
    pub effective: u64,
    /// Those that may be put in force.
    pub permitted: u64,
    /// Those that an exec may keep.
    pub inheritable: u64,
}

/// A soft and a hard resource limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The limit in force.
    pub soft: u64,
    /// The ceiling of the soft one.
    pub hard: u64,
}

/// What the kernel does with a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// The default action.
    Default,
    /// Nothing.
    Ignore,
}

/// The first version of capset(2) with 64 bits that is not deprecated. Source: linux/capability.h.
const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: c_int,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapabilityWord {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Returns the result of a call, or the error behind -1.
pub fn check(result: impl Into<i64>) -> io::Result<i64> {
    match result.into() {
        -1 => Err(io::Error::last_os_error()),
        value => Ok(value),
    }
}

/// Returns the user ids of the process.
pub fn user_ids() -> Ids {
    let mut ids = Ids { real: 0, effective: 0, saved: 0 };
    // SAFETY: the three pointers are to fields of a live local; the call cannot fail with valid ones.
    unsafe { libc::getresuid(&mut ids.real, &mut ids.effective, &mut ids.saved) };
    ids
}

/// Returns the real group id of the process.
pub fn real_group() -> u32 {
    // SAFETY: takes no pointer and cannot fail.
    unsafe { libc::getgid() }
}

/// Sets all three user ids.
pub fn set_user_ids(uid: u32) -> io::Result<()> {
    // SAFETY: takes no pointer; there is no other thread whose ids glibc would have to change as well.
    check(unsafe { libc::setresuid(uid, uid, uid) }).map(drop)
}

/// Sets all three group ids.
pub fn set_group_ids(gid: u32) -> io::Result<()> {
    // SAFETY: as in `set_user_ids`.
    check(unsafe { libc::setresgid(gid, gid, gid) }).map(drop)
}

/// Calls prctl(2) with an option whose arguments are numbers.
pub fn prctl(option: c_int, argument: c_ulong, second: c_ulong) -> io::Result<i64> {
    let none: c_ulong = 0;
    // SAFETY: the callers in this crate pass only options that take numbers, so the kernel reads and writes
    // no memory.
    check(unsafe { libc::prctl(option, argument, second, none, none) })
}

/// Returns the capability sets of the process.
pub fn capabilities() -> io::Result<CapabilitySets> {
    let mut header = CapabilityHeader { version: CAPABILITY_VERSION_3, pid: 0 };
    let mut words = [CapabilityWord::default(); 2];
    // SAFETY: version 3 makes the kernel write exactly two words, which is what `words` has.
    check(unsafe { libc::syscall(libc::SYS_capget, &mut header, words.as_mut_ptr()) })?;
    let join =
        |field: fn(&CapabilityWord) -> u32| u64::from(field(&words[0])) | u64::from(field(&words[1])) << 32;
    Ok(CapabilitySets {
        effective: join(|word| word.effective),
        permitted: join(|word| word.permitted),
        inheritable: join(|word| word.inheritable),
    })
}

/// Sets the capability sets of the process.
pub fn set_capabilities(sets: CapabilitySets) -> io::Result<()> {
    let header = CapabilityHeader { version: CAPABILITY_VERSION_3, pid: 0 };
    let word = |shift: u32| CapabilityWord {
        effective: (sets.effective >> shift) as u32,
        permitted: (sets.permitted >> shift) as u32,
        inheritable: (sets.inheritable >> shift) as u32,
    };
    let words = [word(0), word(32)];
    // SAFETY: version 3 makes the kernel read exactly two words, which is what `words` has.
    check(unsafe { libc::syscall(libc::SYS_capset, &header, words.as_ptr()) }).map(drop)
}

/// Removes every environment variable.
pub fn clear_environment() {
    // SAFETY: no other thread reads the environment, and no reference into it is kept.
    unsafe { libc::clearenv() };
}

/// Tells whether the number is an open file descriptor.
pub fn is_open(fd: RawFd) -> bool {
    // SAFETY: F_GETFD takes no pointer, and a number that is no descriptor is an error, not a fault.
    unsafe { libc::fcntl(fd, libc::F_GETFD) != -1 }
}

/// Takes an inherited file descriptor, and marks it to be closed at an exec.
///
/// To be called once for a number, and never for 0 to 2.
pub fn take_fd(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_SETFD takes no pointer, and a number that is no descriptor is an error.
    check(unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    // SAFETY: the descriptor is open, as the call above just showed. It came from the caller's exec; nothing
    // in this process has opened a file under that number, since it was taken before the first open.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Closes the descriptors from `first` to `last`, both included.
pub fn close_range(first: u32, last: u32) -> io::Result<()> {
    // SAFETY: takes no pointer. The helpers call it before they own any descriptor in the range.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) }).map(drop)
}

/// Blocks every signal but `open`, which is let through.
pub fn block_all_signals_but(open: c_int) -> io::Result<()> {
    // SAFETY: a zeroed sigset_t is valid, and all pointers are to this live local.
    check(unsafe {
        let mut set: libc::sigset_t = zeroed();
        libc::sigfillset(&mut set);
        libc::sigdelset(&mut set, open);
        libc::sigprocmask(libc::SIG_SETMASK, &set, null_mut())
    })
    .map(drop)
}

/// Sets what the kernel does with a signal. Signals that cannot be changed (SIGKILL, libc's own) are passed
/// over.
pub fn set_disposition(signal: c_int, disposition: Disposition) {
    let handler = match disposition {
        Disposition::Default => libc::SIG_DFL,
        Disposition::Ignore => libc::SIG_IGN,
    };
    // SAFETY: neither value is a function, so no code of ours can run in signal context.
    unsafe { libc::signal(signal, handler) };
}

/// Stops an interval timer; one of the caller would survive the exec.
pub fn stop_timer(which: c_int) {
    // SAFETY: a zeroed itimerval is valid and means "off"; the pointer is to a live temporary, the other one
    // may be null.
    unsafe {
        libc::syscall(libc::SYS_setitimer, which, &zeroed::<libc::itimerval>(), null_mut::<libc::itimerval>())
    };
}

/// Has SIGALRM sent to this process after so many seconds.
pub fn alarm(seconds: u32) {
    // SAFETY: takes no pointer and cannot fail.
    unsafe { libc::alarm(seconds) };
}

/// Returns a resource limit.
pub fn limit(resource: u32) -> io::Result<Limit> {
    // SAFETY: a zeroed rlimit is valid, and the kernel writes one rlimit to the live local.
    let mut raw: libc::rlimit = unsafe { zeroed() };
    // SAFETY: as above.
    check(unsafe { libc::getrlimit(resource as _, &mut raw) })?;
    Ok(Limit { soft: raw.rlim_cur, hard: raw.rlim_max })
}

/// Sets a resource limit.
pub fn set_limit(resource: u32, limit: Limit) -> io::Result<()> {
    let raw = libc::rlimit { rlim_cur: limit.soft, rlim_max: limit.hard };
    // SAFETY: the kernel reads one rlimit from the live local.
    check(unsafe { libc::setrlimit(resource as _, &raw) }).map(drop)
}

/// Sets the mask of file modes.
pub fn set_umask(mask: u32) {
    // SAFETY: takes no pointer and cannot fail.
    unsafe { libc::umask(mask as libc::mode_t) };
}

/// Tells whether the file system of `path` is mounted `nosuid`.
pub fn is_nosuid(path: &CStr) -> bool {
    // SAFETY: a zeroed statvfs is valid.
    let mut buffer: libc::statvfs = unsafe { zeroed() };
    // SAFETY: the path is a terminated string, and the kernel's answer goes to the live local.
    let result = unsafe { libc::statvfs(path.as_ptr(), &mut buffer) };
    result == 0 && buffer.f_flag & libc::ST_NOSUID != 0
}

/// Returns the magic number of the file system that `fd` is on.
pub fn file_system(fd: BorrowedFd<'_>) -> io::Result<i64> {
    // SAFETY: a zeroed statfs is valid.
    let mut buffer: libc::statfs = unsafe { zeroed() };
    // SAFETY: the descriptor is borrowed for the call, and the kernel's answer goes to the live local.
    check(unsafe { libc::fstatfs(fd.as_raw_fd(), &mut buffer) })?;
    // The type of f_type differs by architecture.
    #[allow(clippy::unnecessary_cast, reason = "it is 32 bits wide on some architectures")]
    Ok(buffer.f_type as i64)
}

/// Opens `name` below `directory` with openat2(2).
pub fn open_below(directory: BorrowedFd<'_>, name: &CStr, flags: c_int, resolve: u64) -> io::Result<OwnedFd> {
    // SAFETY: open_how is plain numbers, for which zero is valid.
    let mut how: libc::open_how = unsafe { zeroed() };
    how.flags = (flags | libc::O_CLOEXEC) as u64;
    how.resolve = resolve;
    let directory = directory.as_raw_fd();
    // SAFETY: the name is a terminated string, `how` is a live local and its true size is passed.
    let fd = check(unsafe {
        libc::syscall(libc::SYS_openat2, directory, name.as_ptr(), &how, size_of::<libc::open_how>())
    })?;
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Writes with exactly one write(2), and returns how many bytes went out.
pub fn write_once(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: pointer and length are those of a live slice.
    let written = unsafe { libc::write(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) };
    check(written as i64).map(|count| count as usize)
}

/// Looks up the login name of a uid with `buffer` to put the entry in. `Ok(None)`: there is no such user.
///
/// # Errors
/// ERANGE when the buffer is too small for the entry.
pub fn login_name(uid: u32, buffer: &mut [u8]) -> io::Result<Option<Vec<u8>>> {
    // SAFETY: passwd is pointers and numbers, for which zero is valid.
    let mut entry: libc::passwd = unsafe { zeroed() };
    let mut found = null_mut();
    // SAFETY: all pointers are to live locals or to the buffer, whose true length is passed.
    let error =
        unsafe { libc::getpwuid_r(uid, &mut entry, buffer.as_mut_ptr().cast(), buffer.len(), &mut found) };
    match error {
        0 if found.is_null() || entry.pw_name.is_null() => Ok(None),
        // SAFETY: on success pw_name is a terminated string inside `buffer`, which is still borrowed here.
        0 => Ok(Some(unsafe { CStr::from_ptr(entry.pw_name) }.to_bytes().to_vec())),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Returns the supplementary groups of the process.
pub fn groups() -> io::Result<Vec<u32>> {
    // SAFETY: with a size of 0 the call only counts, and writes nothing.
    let count = check(unsafe { libc::getgroups(0, null_mut()) })?;
    let mut groups = vec![0; count as usize];
    // SAFETY: the buffer has room for `count` groups, which no other thread changes meanwhile.
    let count = check(unsafe { libc::getgroups(count as c_int, groups.as_mut_ptr()) })?;
    groups.truncate(count as usize);
    Ok(groups)
}

/// Looks up the gid of a group with `buffer` to put the entry in. `Ok(None)`: there is no such group.
///
/// # Errors
/// ERANGE when the buffer is too small for the entry.
pub fn group_id(name: &CStr, buffer: &mut [u8]) -> io::Result<Option<u32>> {
    // SAFETY: group is pointers and numbers, for which zero is valid.
    let mut entry: libc::group = unsafe { zeroed() };
    let mut found = null_mut();
    // SAFETY: the name is a terminated string, the other pointers are to live locals or to the buffer, whose
    // true length is passed.
    let error = unsafe {
        libc::getgrnam_r(name.as_ptr(), &mut entry, buffer.as_mut_ptr().cast(), buffer.len(), &mut found)
    };
    match error {
        0 => Ok((!found.is_null()).then_some(entry.gr_gid)),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Puts a seccomp filter in force. The process must have no_new_privs set.
pub fn set_filter(program: &[libc::sock_filter]) -> io::Result<()> {
    let length = program.len().try_into().map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let program = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
    // SAFETY: the kernel only reads `len` instructions from the live slice, and copies them.
    check(unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program) }).map(drop)
}

/// Ends the process at once, running nothing more.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: does not return and takes no pointer.
    unsafe { libc::_exit(status) }
}

/// A system call's number, as a filter compares it.
pub type Syscall = c_long;
