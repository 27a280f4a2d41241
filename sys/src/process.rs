//! Processes: clone, pidfds, waiting, exec, and the process's own settings.

use std::ffi::{CString, OsStr};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};

use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions};
use types::Signal;

use crate::error::{Call, Errno, Error, Result, cvt};

/// Namespaces and options of a clone, as clone3(2) takes them.
///
/// libc's `CLONE_INTO_CGROUP` is an int and evaluates to 0; these are the kernel's own 64-bit values.
pub mod flags {
    /// A new mount namespace.
    pub const NEWNS: u64 = 0x0002_0000;
    /// A new cgroup namespace.
    pub const NEWCGROUP: u64 = 0x0200_0000;
    /// A new UTS namespace.
    pub const NEWUTS: u64 = 0x0400_0000;
    /// A new IPC namespace.
    pub const NEWIPC: u64 = 0x0800_0000;
    /// A new user namespace.
    pub const NEWUSER: u64 = 0x1000_0000;
    /// A new PID namespace.
    pub const NEWPID: u64 = 0x2000_0000;
    /// A new network namespace.
    pub const NEWNET: u64 = 0x4000_0000;
    /// A new time namespace (for unshare(2); its offsets are frozen once a process is in it).
    pub const NEWTIME: u64 = 0x0000_0080;
    /// All of these that a clone can make.
    pub const NAMESPACES: u64 = NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET;
    /// The child's parent is the caller's parent.
    pub(super) const PARENT: u64 = 0x0000_8000;
    pub(super) const PIDFD: u64 = 0x0000_1000;
    pub(super) const INTO_CGROUP: u64 = 0x2_0000_0000;
}

/// Which side of a clone this is.
#[derive(Debug)]
pub enum Cloned {
    /// The caller: the child's pid and a pidfd of it.
    Parent {
        /// The child's pid in the caller's PID namespace.
        pid: i32,
        /// A pidfd of the child.
        pidfd: OwnedFd,
    },
    /// The new process, with a copy of the caller's memory.
    Child,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By exit(2) with this status.
    Code(i32),
    /// By a signal.
    Signal(i32),
}

impl Exit {
    /// Returns the status as shells show it: the code, or 128 plus the signal.
    pub fn shell_status(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
        }
    }
}

/// Clones the process into new namespaces, and into a cgroup if one is given: by clone3(2), or where that is refused and
/// there is no cgroup, by clone(2).
///
/// # Errors
/// EBUSY when the caller has more than one thread: the child could deadlock in an allocator lock that a thread,
/// absent in the child, holds. ENOSYS or EPERM for a clone into a cgroup without clone3.
pub fn clone(new: u64, cgroup: Option<BorrowedFd<'_>>) -> Result<Cloned> {
    must_be_single_threaded(|| clone3_text(new, cgroup))?;
    match clone3(new, cgroup) {
        // A filter cannot read the arguments of clone3. Docker's answers ENOSYS, so that programs use clone.
        Err(e) if cgroup.is_none() && matches!(e.errno(), Errno::ENOSYS | Errno::EPERM) => clone2(new),
        cloned => cloned,
    }
}

fn clone3_text(new: u64, cgroup: Option<BorrowedFd<'_>>) -> String {
    format!("clone3({new:#x}{})", if cgroup.is_some() { "|CLONE_INTO_CGROUP" } else { "" })
}

/// For a caller with one thread.
fn clone3(new: u64, cgroup: Option<BorrowedFd<'_>>) -> Result<Cloned> {
    let mut pidfd: RawFd = -1;
    let into = cgroup.map_or(0, |_| flags::INTO_CGROUP);
    let args = libc::clone_args {
        flags: new | flags::PIDFD | into,
        pidfd: (&raw mut pidfd) as u64,
        child_tid: 0,
        parent_tid: 0,
        exit_signal: libc::SIGCHLD as u64,
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: cgroup.map_or(0, |fd| fd.as_raw_fd() as u64),
    };
    // SAFETY: `args` is a complete clone_args whose pointer members are null or point to `pidfd`, which outlives the
    // call. Without CLONE_VM the child has its own copy of the memory, and the caller is its only thread, so no lock
    // of the allocator can be held by a thread that the child lacks.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<libc::clone_args>()) };
    // SAFETY: the kernel has stored the pidfd where CLONE_PIDFD says.
    cvt(pid, || clone3_text(new, cgroup)).map(|pid| unsafe { cloned(pid, pidfd) })
}

/// For a caller with one thread. clone(2) stores the pidfd where it would else store the child's pid.
fn clone2(new: u64) -> Result<Cloned> {
    let mut pidfd: RawFd = -1;
    let all = (new | flags::PIDFD) as libc::c_ulong | libc::SIGCHLD as libc::c_ulong;
    let no_stack = std::ptr::null_mut::<u8>();
    let (first, second) = if cfg!(target_arch = "s390x") {
        (no_stack as libc::c_ulong, all)
    } else {
        (all, no_stack as libc::c_ulong)
    };
    // SAFETY: as in `clone3`. Without a stack the child goes on with its copy of the caller's; the last two arguments,
    // whose order depends on the architecture, are not asked for by any flag.
    let pid = unsafe { libc::syscall(libc::SYS_clone, first, second, &raw mut pidfd, 0usize, 0usize) };
    // SAFETY: as in `clone3`.
    cvt(pid, || format!("clone({new:#x})")).map(|pid| unsafe { cloned(pid, pidfd) })
}

/// Tells the two sides of a clone apart.
///
/// # Safety
/// In the caller (`pid` is not 0), `pidfd` is a new fd that nobody else owns.
unsafe fn cloned(pid: libc::c_long, pidfd: RawFd) -> Cloned {
    match pid {
        0 => Cloned::Child,
        // SAFETY: by the contract of this function.
        pid => Cloned::Parent { pid: pid as i32, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } },
    }
}

/// Returns the kernel's release, as uname -r prints it.
pub fn kernel_release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// Forks: [`clone`] without namespaces, which needs nothing that clone(2) has not.
pub fn fork() -> Result<Cloned> {
    must_be_single_threaded(|| "clone(0)".to_owned())?;
    clone2(0)
}

/// Forks a sibling: its parent, which waits for it, is the caller's. The parent knows it by the pidfd that the caller sends.
pub fn fork_sibling() -> Result<Cloned> {
    must_be_single_threaded(|| "clone(CLONE_PARENT)".to_owned())?;
    clone2(flags::PARENT)
}

/// Tells whether a process has never called execve(2) since it was cloned, alive or a zombie; none where the kernel does not
/// say. Source: proc_pid_stat(5), field 9, and the kernel's PF_FORKNOEXEC, which an exec clears before it closes any fd.
pub fn is_before_exec(pid: i32) -> Option<bool> {
    const PF_FORKNOEXEC: u64 = 0x40;
    stat_field(pid, 9).map(|flags| flags & PF_FORKNOEXEC != 0)
}

/// Tells whether a process has begun to end: no thread of it runs anything any more, and it waits for what ends with it. The first
/// thread alone does not tell: it may have ended, and others go on. Source: proc_pid_stat(5), field 9, and the kernel's
/// include/linux/sched.h.
pub fn is_ending(pid: i32) -> bool {
    if !stat_field(pid, 9).is_some_and(ends) {
        return false;
    }
    // A thread that is gone meanwhile has ended.
    let goes_on = |task: std::fs::DirEntry| {
        let flags = stat_field(format_args!("{pid}/task/{}", task.file_name().display()), 9);
        flags.is_some_and(|flags| !ends(flags))
    };
    std::fs::read_dir(format!("/proc/{pid}/task")).is_ok_and(|tasks| !tasks.flatten().any(goes_on))
}

fn ends(flags: u64) -> bool {
    const PF_EXITING: u64 = 4;
    flags & PF_EXITING != 0
}

/// Tells as [`is_ending`] of a process whose `stat` in /proc was opened while /proc showed it: with hidepid that shows it no longer. Of one
/// with several threads it is told when one is left. Source: proc_pid_stat(5), field 20.
pub fn is_ending_by(stat: BorrowedFd<'_>) -> bool {
    let mut bytes = [0; 1024];
    let read = rustix::io::pread(stat, &mut bytes, 0).unwrap_or(0);
    let text = String::from_utf8_lossy(&bytes[..read]);
    field_of(&text, 9).is_some_and(ends) && field_of(&text, 20).is_some_and(|threads| threads <= 1)
}

/// Opens what [`is_ending_by`] reads, in a process's directory of /proc.
pub fn open_stat(proc_pid: BorrowedFd<'_>) -> Result<OwnedFd> {
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
    rustix::fs::openat(proc_pid, "stat", flags, rustix::fs::Mode::empty())
        .call(|| "openat(/proc/PID, \"stat\")".to_owned())
}

/// Returns when a process started, in clock ticks since boot. Source: proc_pid_stat(5), field 22.
pub fn start_time(pid: i32) -> Option<u64> {
    stat_field(pid, 22)
}

/// Returns the pid of the parent of a process. Source: proc_pid_stat(5), field 4.
pub fn parent_of(pid: i32) -> Option<i32> {
    stat_field(pid, 4).and_then(|parent| i32::try_from(parent).ok())
}

/// Returns the state of a process or thread, as proc_pid_stat(5), field 3, writes it.
pub fn state_of(task: i32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{task}/stat")).ok()?;
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

/// Returns the number of a process or thread in its own PID namespace. Source: proc_pid_status(5), NSpid.
pub fn innermost_pid(task: i32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{task}/status")).ok()?;
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    numbers.split_ascii_whitespace().last()?.parse().ok()
}

/// Returns the pid of the init of a PID namespace, as the caller's counts; none before Linux 6.11, or where it is out of the
/// caller's sight. Source: ioctl_nsfs(2).
pub fn init_of_space(space: BorrowedFd<'_>) -> Option<i32> {
    const NS_GET_TGID_FROM_PIDNS: libc::Ioctl = 0x8004_b707_u32 as libc::Ioctl;
    // SAFETY: the request takes a number and no pointer.
    let pid = unsafe { libc::ioctl(space.as_raw_fd(), NS_GET_TGID_FROM_PIDNS, 1) };
    (pid > 0).then_some(pid)
}

/// Returns a field of /proc/TASK/stat after the second, as the manual page counts them. A task is a process, or below it a thread.
fn stat_field(task: impl std::fmt::Display, number: usize) -> Option<u64> {
    field_of(&std::fs::read_to_string(format!("/proc/{task}/stat")).ok()?, number)
}

fn field_of(stat: &str, number: usize) -> Option<u64> {
    // The second field, the name in parentheses, may hold anything; the last parenthesis ends it.
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(number.checked_sub(3)?)?.parse().ok()
}

fn must_be_single_threaded(call: impl FnOnce() -> String) -> Result<()> {
    if is_single_threaded() { Ok(()) } else { Err(Error::new(call(), Errno::EBUSY)) }
}

/// Asks the kernel whether the caller is the process's only thread. unshare(2) of CLONE_THREAD changes nothing for one
/// that is, and answers EINVAL else; unlike /proc it can be asked in a container, whose /proc may be anything. Where a
/// filter refuses unshare there is no such container, and /proc tells.
fn is_single_threaded() -> bool {
    // SAFETY: the call takes an integer and with this flag never changes anything.
    if unsafe { libc::unshare(libc::CLONE_THREAD) } == 0 {
        return true;
    }
    let refused = std::io::Error::last_os_error().raw_os_error() != Some(libc::EINVAL);
    refused && std::fs::read_dir("/proc/self/task").is_ok_and(|threads| threads.count() == 1)
}

/// Opens a pidfd of a process.
pub fn pidfd(pid: i32) -> Result<OwnedFd> {
    let call = || format!("pidfd_open({pid})");
    let target = Pid::from_raw(pid).ok_or_else(|| Error::new(call(), Errno::ESRCH))?;
    rustix::process::pidfd_open(target, PidfdFlags::empty()).call(call)
}

/// Sends a signal to the process of a pidfd.
pub fn send_signal(pidfd: BorrowedFd<'_>, signal: Signal) -> Result<()> {
    // SAFETY: the call takes no pointer but a null siginfo.
    let sent = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal.number(),
            std::ptr::null::<u8>(),
            0,
        )
    };
    cvt(sent, || format!("pidfd_send_signal({signal})")).map(drop)
}

/// Tells whether the caller may send signals to the process of a pidfd, as kill(2) with signal 0 does; also of one that has
/// ended.
pub fn may_signal(pidfd: BorrowedFd<'_>) -> bool {
    // SAFETY: the call takes no pointer but a null siginfo.
    let asked = unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), 0, std::ptr::null::<u8>(), 0)
    };
    cvt(asked, || "pidfd_send_signal(0)".to_owned()).map_or_else(|e| e.errno() != Errno::EPERM, |_| true)
}

/// Tells whether the process of a pidfd has ended (a zombie has).
pub fn has_ended(pidfd: BorrowedFd<'_>) -> bool {
    crate::event::readable(pidfd, Some(std::time::Duration::ZERO)).unwrap_or(false)
}

/// Waits for a child to end, and reaps it.
pub fn wait(pidfd: BorrowedFd<'_>) -> Result<Exit> {
    loop {
        match rustix::process::waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED) {
            Ok(Some(status)) => return Ok(exit_of(&status)),
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e).call(|| "waitid(P_PIDFD, WEXITED)".to_owned()),
        }
    }
}

/// Reaps every child that has ended. For a process that adopts orphans.
pub fn reap_ended() {
    reap_ended_but(&[]);
}

/// Reaps children that have ended, until it meets one of `kept`, for which somebody else waits.
pub fn reap_ended_but(kept: &[i32]) {
    while let Some(pid) = ended_child().filter(|pid| !kept.contains(pid)) {
        let Some(pid) = Pid::from_raw(pid) else { return };
        let reaped = rustix::process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
        if reaped.is_err() {
            return;
        }
    }
}

/// Returns a child that has ended, and leaves it to be reaped.
fn ended_child() -> Option<i32> {
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: all members of siginfo_t are integers, for which zero is a value.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes one siginfo_t to the pointer, which outlives the call.
    let found = unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, options) };
    // SAFETY: waitid has filled the members of a SIGCHLD in, or left zeros where no child has ended.
    let pid = unsafe { info.si_pid() };
    (found == 0 && pid > 0).then_some(pid)
}

/// Returns the pids of all processes of the PID namespace that /proc shows.
pub fn pids() -> Result<Vec<i32>> {
    let entries = std::fs::read_dir("/proc").call(|| "readdir(\"/proc\")".to_owned())?;
    Ok(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}

/// Returns the pid that was given last in the PID namespace. None where the kernel is built without checkpoints. Source:
/// proc_sys_kernel(5), `ns_last_pid`.
pub fn last_pid() -> Option<i32> {
    std::fs::read_to_string("/proc/sys/kernel/ns_last_pid").ok()?.trim().parse().ok()
}

fn exit_of(status: &rustix::process::WaitIdStatus) -> Exit {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, Some(signal)) => Exit::Signal(signal),
        (None, None) => Exit::Signal(libc::SIGKILL),
    }
}

/// Turns strings into what execve(2) takes.
///
/// # Errors
/// EINVAL when one holds a NUL byte.
pub fn c_strings<S: AsRef<OsStr>>(strings: &[S]) -> Result<Vec<CString>> {
    let one = |s: &S| {
        let bytes = s.as_ref().as_bytes();
        CString::new(bytes).map_err(|_| Error::new(format!("execve({:?})", s.as_ref()), Errno::EINVAL))
    };
    strings.iter().map(one).collect()
}

/// What execve(2) is given.
#[derive(Debug)]
pub struct Exec {
    argv: Vec<CString>,
    envp: Vec<CString>,
}

impl Exec {
    /// Makes argument and environment lists.
    ///
    /// # Errors
    /// EINVAL when a string holds a NUL byte or there is no argument at all.
    pub fn new<S: AsRef<OsStr>>(argv: &[S], envp: &[S]) -> Result<Self> {
        if argv.is_empty() {
            return Err(Error::new("execve()", Errno::EINVAL));
        }
        Ok(Self { argv: c_strings(argv)?, envp: c_strings(envp)? })
    }

    /// Replaces the process by the program at `path`. Returns only on failure.
    pub fn path(&self, path: &Path) -> Error {
        match CString::new(path.as_os_str().as_bytes()) {
            Ok(path) => self.at(libc::AT_FDCWD, &path, 0),
            Err(_) => Error::new(format!("execve({path:?})"), Errno::EINVAL),
        }
    }

    /// Replaces the process by the program behind an fd. Returns only on failure.
    pub fn fd(&self, program: BorrowedFd<'_>) -> Error {
        self.at(program.as_raw_fd(), c"", libc::AT_EMPTY_PATH)
    }

    fn at(&self, dir: RawFd, path: &std::ffi::CStr, flags: libc::c_int) -> Error {
        let list = |strings: &[CString]| {
            strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect::<Vec<_>>()
        };
        let (argv, envp) = (list(&self.argv), list(&self.envp));
        // SAFETY: both lists end with a null pointer and point to strings that `self` keeps alive.
        unsafe { libc::syscall(libc::SYS_execveat, dir, path.as_ptr(), argv.as_ptr(), envp.as_ptr(), flags) };
        let shown = if path.is_empty() { self.argv[0].as_c_str() } else { path };
        Error::last(format!("execve({shown:?})"))
    }
}

/// Lets an fd survive exec.
pub fn keep_on_exec(fd: BorrowedFd<'_>) -> Result<()> {
    rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty())
        .call(|| format!("fcntl({}, F_SETFD, 0)", fd.as_raw_fd()))
}

/// Starts a program that inherits the given fds under their own numbers. In the caller they stay close-on-exec, so no
/// other program that it starts gets them.
pub fn spawn_with(command: &mut Command, fds: &[BorrowedFd<'_>]) -> std::io::Result<Child> {
    let numbers: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let keep = move || {
        for fd in &numbers {
            // SAFETY: F_SETFD takes integers; the numbers are open in this copy of the caller until exec.
            if unsafe { libc::fcntl(*fd, libc::F_SETFD, 0) } == -1 {
                return Err(std::io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: between fork and exec `keep` makes only fcntl calls and allocates nothing.
    unsafe { command.pre_exec(keep) };
    command.spawn()
}

/// Starts a program as [`spawn_with`] does, which the kernel kills when the calling thread ends.
pub fn spawn_dying_with_parent(command: &mut Command, fds: &[BorrowedFd<'_>]) -> std::io::Result<Child> {
    let parent = own_pid();
    // Between fork and exec, as above: two calls that take integers.
    let die_along = move || die_with_parent(parent).map_err(std::io::Error::from);
    // SAFETY: `die_along` allocates only for the words of a failure; the caller's other threads, of which monitors have none,
    // could hold the allocator's lock then.
    unsafe { command.pre_exec(die_along) };
    spawn_with(command, fds)
}

/// Closes every fd from 3 on but those given: for a process that is about to become a program of somebody else's. Marking
/// them close-on-exec is not enough, since the kernel looks the program up before: /proc/self/fd/N is a name, too.
///
/// Whatever owned a closed fd must not be used or dropped any more: the process ends in exec or [`exit_now`].
pub fn close_all_but(keep: &[BorrowedFd<'_>]) -> Result<()> {
    close_inherited_except(&keep.iter().map(AsRawFd::as_raw_fd).collect::<Vec<_>>())
}

/// Closes the copies that a cloned process has of its parent's fds. For a process that ends in exec or by
/// [`exit_now`], so that no owner of the same numbers is ever dropped in it.
pub fn close_copies<'a>(fds: impl Iterator<Item = BorrowedFd<'a>>) {
    for fd in fds {
        // SAFETY: the number is open, since it is borrowed, and by the contract above nothing in this process uses or
        // closes it later.
        let _closed = unsafe { libc::close(fd.as_raw_fd()) };
    }
}

/// Closes every fd from 3 on but those given: what a caller had open without close-on-exec is not this program's.
pub fn close_inherited_except(keep: &[RawFd]) -> Result<()> {
    let mut kept: Vec<u32> =
        keep.iter().filter_map(|fd| u32::try_from(*fd).ok()).filter(|fd| *fd >= 3).collect();
    kept.sort_unstable();
    let mut first = 3;
    for fd in kept.into_iter().map(Some).chain([None]) {
        let last = fd.map_or(u32::MAX, |fd| fd.saturating_sub(1));
        if first <= last {
            // SAFETY: called first thing in main, when no OwnedFd exists yet for any number that is closed here, or by
            // `close_all_but`, whose callers use none of them any more.
            let done = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
            cvt(done, || format!("close_range({first}, {last}, 0)"))?;
        }
        first = fd.map_or(u32::MAX, |fd| fd + 1);
    }
    Ok(())
}

/// Gives the calling thread files of its own, with `fd` alone: what the other threads have open is closed with them, also while this one
/// waits in the kernel. The thread must own no other fd.
///
/// # Errors
/// ENOSYS before Linux 5.9.
pub fn share_no_file_but(fd: BorrowedFd<'_>) -> Result<()> {
    const CLOSE_RANGE_UNSHARE: u32 = 2;
    let number = fd.as_raw_fd().unsigned_abs();
    // Nothing is closed for the other threads, since the first call is also that which makes these files the thread's own.
    for (first, last) in [(number + 1, u32::MAX), (0, number.saturating_sub(1))] {
        if first == 0 && number == 0 {
            break;
        }
        // SAFETY: the numbers are closed in this thread's own table, and by the contract above it owns none of them.
        let done = unsafe { libc::syscall(libc::SYS_close_range, first, last, CLOSE_RANGE_UNSHARE) };
        cvt(done, || format!("close_range({first}, {last}, CLOSE_RANGE_UNSHARE)"))?;
    }
    Ok(())
}

/// Takes over an fd that was inherited under a number known by agreement.
///
/// # Errors
/// EBADF when no such fd is open.
pub fn inherited(fd: RawFd) -> Result<OwnedFd> {
    // SAFETY: F_GETFD only looks at the number, and a closed one answers EBADF.
    cvt(unsafe { libc::fcntl(fd, libc::F_GETFD) }.into(), || format!("fcntl({fd}, F_GETFD)"))?;
    // SAFETY: the fd is open, and by the agreement between the two programs this process owns it; callers name each
    // number once, before they hold anything that they have opened themselves.
    let owned = unsafe { OwnedFd::from_raw_fd(fd) };
    rustix::io::fcntl_setfd(&owned, rustix::io::FdFlags::CLOEXEC).call(|| format!("fcntl({fd}, F_SETFD)"))?;
    Ok(owned)
}

fn prctl(option: libc::c_int, value: libc::c_ulong, name: &str) -> Result<()> {
    // SAFETY: the options used in this module take an integer and no pointer.
    cvt(unsafe { libc::prctl(option, value, 0, 0, 0) }.into(), || format!("prctl({name}, {value})")).map(drop)
}

/// Sets the signal that this process gets when its parent dies; `None` clears it.
pub fn set_parent_death_signal(signal: Option<Signal>) -> Result<()> {
    prctl(libc::PR_SET_PDEATHSIG, signal.map_or(0, |s| s.number() as libc::c_ulong), "PR_SET_PDEATHSIG")
}

/// Returns the pid of the parent; 0 for one outside of the PID namespace.
pub fn own_parent() -> i32 {
    rustix::process::getppid().map_or(0, |parent| parent.as_raw_nonzero().get())
}

/// Makes the process die with its parent `parent`, also when that has died already.
pub fn die_with_parent(parent: i32) -> Result<()> {
    set_parent_death_signal(Some(Signal::KILL))?;
    if parent == 0 || own_parent() != parent {
        exit_now(1);
    }
    Ok(())
}

/// Sets whether the process's owner may look into it (ptrace, /proc/PID/...).
pub fn set_dumpable(dumpable: bool) -> Result<()> {
    prctl(libc::PR_SET_DUMPABLE, dumpable.into(), "PR_SET_DUMPABLE")
}

/// Gives up gaining rights by exec, for good.
pub fn set_no_new_privs() -> Result<()> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1, "PR_SET_NO_NEW_PRIVS")
}

/// Gives the process, and what it forks, a cookie for core scheduling: no other process runs beside them on the threads of a
/// core. Source: the kernel's Documentation/admin-guide/hw-vuln/core-scheduling.rst.
///
/// # Errors
/// EINVAL where the kernel cannot, ENODEV where no core has more than one thread.
pub fn own_cores() -> Result<()> {
    const CREATE: libc::c_ulong = 1;
    const THREAD_GROUP: libc::c_ulong = 1;
    let call = || "prctl(PR_SCHED_CORE, PR_SCHED_CORE_CREATE)".to_owned();
    // SAFETY: this option takes integers; the last one is a pointer for another command alone, and 0 here.
    let made = unsafe { libc::prctl(libc::PR_SCHED_CORE, CREATE, 0, THREAD_GROUP, 0) };
    cvt(made.into(), call).map(drop)
}

/// Makes orphans among the descendants children of this process.
pub fn adopt_orphans() -> Result<()> {
    prctl(libc::PR_SET_CHILD_SUBREAPER, 1, "PR_SET_CHILD_SUBREAPER")
}

/// Sets the name of the process as ps shows it (15 bytes; the rest is cut).
pub fn set_name(name: &str) -> Result<()> {
    let bytes: Vec<u8> = name.bytes().filter(|b| *b != 0).take(15).chain([0]).collect();
    // SAFETY: the kernel copies at most 16 bytes from the pointer and stops at the NUL that ends `bytes`.
    cvt(unsafe { libc::prctl(libc::PR_SET_NAME, bytes.as_ptr(), 0, 0, 0) }.into(), || {
        format!("prctl(PR_SET_NAME, {name:?})")
    })
    .map(drop)
}

/// Makes the process the leader of a session of its own, without a terminal.
pub fn new_session() -> Result<()> {
    rustix::process::setsid().call(|| "setsid()".to_owned()).map(drop)
}

/// Sets the hostname of the UTS namespace.
pub fn set_hostname(name: &str) -> Result<()> {
    rustix::system::sethostname(name.as_bytes()).call(|| format!("sethostname({name:?})"))
}

/// Sets the execution domain, as setarch(8) does.
pub fn set_personality(persona: u64) -> Result<()> {
    // SAFETY: the call takes an integer.
    cvt(unsafe { libc::personality(persona) }.into(), || format!("personality({persona:#x})")).map(drop)
}

/// Sets the file mode creation mask.
pub fn set_umask(mask: u32) {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(mask));
}

/// Takes the owner's bits out of the file mode creation mask: with a mask such as 0777 nobody could use what is made.
pub fn unmask_the_owner() {
    let mask = rustix::process::umask(rustix::fs::Mode::empty());
    rustix::process::umask(mask & rustix::fs::Mode::from_raw_mode(0o077));
}

/// Ends the process at once, without running destructors: for a child that shares open files with its parent.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: _exit takes an integer and does not return.
    unsafe { libc::_exit(status) }
}

/// Puts `fd` at the number `target` (0, 1 or 2 for the standard streams), where it survives exec.
pub fn place_at(fd: BorrowedFd<'_>, target: RawFd) -> Result<()> {
    if fd.as_raw_fd() == target {
        return keep_on_exec(fd);
    }
    // SAFETY: dup2 closes what was at `target`; callers give only 0 to 2, which no OwnedFd of ours holds.
    cvt(unsafe { libc::dup2(fd.as_raw_fd(), target) }.into(), || {
        format!("dup2({}, {target})", fd.as_raw_fd())
    })
    .map(drop)
}

/// Returns the pid of this process in its own PID namespace.
pub fn own_pid() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_process_has_a_start_time_and_a_dead_one_has_none() {
        assert!(start_time(own_pid()).is_some_and(|time| time > 0));
        assert_eq!(start_time(i32::MAX), None);
    }

    #[test]
    fn a_process_ends_only_when_no_thread_of_it_goes_on() {
        let step = "process::tests::the_first_thread_ends_and_another_goes_on";
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.args(["--ignored", "--exact", step]).env("RUST_TEST_THREADS", "2");
        let mut child = command.stdout(std::process::Stdio::null()).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let within = |what: &str, is_so: &dyn Fn() -> bool| {
            let until = Instant::now() + Duration::from_secs(30);
            while !is_so() {
                assert!(Instant::now() < until, "{what}");
                std::thread::sleep(Duration::from_millis(10));
            }
        };
        let proc = crate::namespace::proc_dir(pid).unwrap();
        let stat = open_stat(proc.as_fd()).unwrap();
        assert!(!is_ending(pid) && !is_ending_by(stat.as_fd()));
        within("the first thread ends", &|| state_of(pid) == Some('Z'));
        let others = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().count();
        let is_ending_then = is_ending(pid) || is_ending_by(stat.as_fd());
        child.kill().unwrap();
        within("the killed process ends", &|| is_ending(pid) && is_ending_by(stat.as_fd()));
        child.wait().unwrap();
        assert!(others > 1 && !is_ending_then, "{others} threads");
        assert!(!is_ending(pid) && !is_ending_by(stat.as_fd()), "it is gone");
    }

    #[test]
    #[ignore = "a step of a_process_ends_only_when_no_thread_of_it_goes_on"]
    fn the_first_thread_ends_and_another_goes_on() {
        extern "C" fn end_thread(_signal: libc::c_int) {
            // SAFETY: exit(2) ends the calling thread alone; it takes a number and does not return.
            unsafe { libc::syscall(libc::SYS_exit, 0) };
        }
        let pid = own_pid();
        // SAFETY: the handler calls nothing but a system call, and the signal is sent to a thread of this process.
        unsafe {
            libc::signal(libc::SIGUSR1, end_thread as *const () as libc::sighandler_t);
            libc::syscall(libc::SYS_tgkill, pid, pid, libc::SIGUSR1);
        }
        std::thread::sleep(Duration::from_secs(60));
    }

    #[test]
    fn a_process_that_has_run_a_program_is_told_from_a_mere_clone() {
        let mut program = Command::new("true").spawn().unwrap();
        // It is a zombie until it is waited for, and has had its exec: spawn returns after that.
        assert_eq!(is_before_exec(program.id() as i32), Some(false));
        program.wait().unwrap();
        // SAFETY: the child makes one system call after the other and nothing else, so no lock is waited for.
        let clone = unsafe { libc::fork() };
        if clone == 0 {
            loop {
                // SAFETY: the call takes nothing and waits for a signal.
                unsafe { libc::pause() };
            }
        }
        let alive = is_before_exec(clone);
        let ended = pidfd(clone).unwrap();
        send_signal(ended.as_fd(), Signal::KILL).unwrap();
        assert!(crate::event::readable(ended.as_fd(), Some(std::time::Duration::from_secs(60))).unwrap());
        let zombie = is_before_exec(clone);
        assert_eq!(wait(ended.as_fd()).unwrap(), Exit::Signal(9));
        assert_eq!((alive, zombie), (Some(true), Some(true)));
        assert_eq!(is_before_exec(i32::MAX), None);
    }
}
