//! Calls into the kernel and libc, one small safe function each. The process has one thread.

use std::io;
use std::mem::zeroed;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::ptr::null_mut;
use std::time::{Duration, Instant};

use libc::{c_int, sigset_t};

/// The highest signal number.
const LAST_SIGNAL: c_int = 64;

fn check(result: c_int) -> io::Result<c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn all_signals() -> sigset_t {
    // SAFETY: a zeroed sigset_t is valid, and the pointer is to the live local.
    unsafe {
        let mut set = zeroed();
        libc::sigfillset(&mut set);
        set
    }
}

fn set_mask(set: &sigset_t) -> io::Result<()> {
    // SAFETY: the set is live for the call; the old mask is not asked for.
    check(unsafe { libc::sigprocmask(libc::SIG_SETMASK, set, null_mut()) }).map(drop)
}

/// Blocks every signal.
pub(crate) fn block_all_signals() -> io::Result<()> {
    set_mask(&all_signals())
}

/// Gives a signal its default action, also one of the two (32 and 33) that libc keeps for itself and that a
/// program further up may have left ignored.
pub(crate) fn default_action(signal: c_int) {
    // All zero is the kernel's own sigaction with SIG_DFL, no flags and an empty mask; on no architecture is
    // it longer.
    let default = [0u64; 4];
    // SAFETY: the kernel reads its sigaction from the live local, with a mask of 8 bytes; the old one is not
    // asked for. SIG_DFL is no function, so no code of ours can run in signal context.
    unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, &default, null_mut::<u64>(), 8usize) };
}

/// Gives every signal its default action, and blocks none.
pub(crate) fn reset_signals() -> io::Result<()> {
    (1..=LAST_SIGNAL).for_each(default_action);
    // SAFETY: a zeroed sigset_t is the empty set.
    set_mask(&unsafe { zeroed() })
}

/// Waits for a signal, all of them blocked, and returns its number.
pub(crate) fn wait_for_signal() -> c_int {
    let set = all_signals();
    loop {
        // SAFETY: the set is live for the call; details of the signal are not asked for.
        let signal = unsafe { libc::sigwaitinfo(&set, null_mut()) };
        // It can be interrupted by a stop and a continue.
        if signal > 0 {
            return signal;
        }
    }
}

/// Takes one of `signals` that is pending, if any.
pub(crate) fn pending_signal(signals: &[c_int]) -> Option<c_int> {
    // SAFETY: zero is valid for both, and is the empty set and no waiting; all pointers are to live locals.
    let signal = unsafe {
        let mut set: sigset_t = zeroed();
        for signal in signals {
            libc::sigaddset(&mut set, *signal);
        }
        libc::sigtimedwait(&set, null_mut(), &zeroed())
    };
    (signal > 0).then_some(signal)
}

/// Sends a signal to a child that has not been reaped. It can have ended, which is no error here.
pub(crate) fn send(pid: c_int, signal: c_int) {
    // SAFETY: takes no pointer. The number still is our child's, since only `reap_one` frees it.
    unsafe { libc::kill(pid, signal) };
}

/// Reaps a child that has ended, without waiting: its pid and wait status.
pub(crate) fn reap_one() -> Option<(c_int, c_int)> {
    let mut status = 0;
    loop {
        // SAFETY: the kernel writes the status to the live local.
        let pid = unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG) };
        // No kernel interrupts a call that does not wait; but who took an interruption for the end would wait for ever.
        if pid != -1 || io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return (pid > 0).then_some((pid, status));
        }
    }
}

/// Tells whether this process leads its session.
pub(crate) fn is_session_leader() -> bool {
    // SAFETY: neither call takes a pointer.
    unsafe { libc::getsid(0) == libc::getpid() }
}

/// Gives up the terminal on descriptor 0, if it is the controlling one.
pub(crate) fn leave_terminal() -> io::Result<()> {
    // SAFETY: TIOCNOTTY takes no argument, and a descriptor that is closed or no terminal is an error.
    check(unsafe { libc::ioctl(0, libc::TIOCNOTTY) }).map(drop)
}

/// Makes the terminal on descriptor 0 the controlling one of this new session, with this process group in the
/// foreground.
pub(crate) fn take_terminal() -> io::Result<()> {
    // SAFETY: the argument of TIOCSCTTY is a number (0: do not take it away from another session), not a
    // pointer.
    check(unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) }).map(drop)
}

/// Makes this process the leader of a new session.
pub(crate) fn new_session() -> io::Result<()> {
    // SAFETY: takes no pointer.
    check(unsafe { libc::setsid() }).map(drop)
}

/// Has `act` run in the child between fork and exec.
pub(crate) fn before_exec(command: &mut Command, act: fn() -> io::Result<()>) {
    // SAFETY: what runs in the child must be safe after a fork. The parent has one thread, so no lock is held
    // by a thread that the child lacks; and `act`, a plain function that captures nothing, makes system calls
    // only.
    unsafe { command.pre_exec(act) };
}

/// Keeps the signals of this process, and of all that it starts, among themselves. Source: landlock(7).
pub(crate) fn keep_signals_inside() -> io::Result<()> {
    // A ruleset that handles no access to files and none to the network, and scopes signals.
    let ruleset = [0u64, 0, 2];
    // SAFETY: the kernel reads the live local, with its size.
    let fd =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, &ruleset, size_of_val(&ruleset), 0u32) };
    let fd = check(fd as c_int)?;
    // SAFETY: neither call takes a pointer, and the descriptor is this function's own.
    unsafe {
        let done = check(libc::syscall(libc::SYS_landlock_restrict_self, fd, 0u32) as c_int);
        libc::close(fd);
        done.map(drop)
    }
}

/// Kills every process that this one may signal, itself apart, and reaps until no child is left, for a second at most: one
/// that became somebody else cannot be killed from here. The kernel sends to all in one step, so no process forks its way out. Where the parent could be signalled, signals are not kept inside, and nothing
/// is killed.
pub(crate) fn kill_all_others() {
    // SAFETY: no call takes a pointer that it could follow.
    unsafe {
        if libc::kill(libc::getppid(), 0) == 0 {
            return;
        }
        libc::kill(-1, libc::SIGKILL);
        let until = Instant::now() + Duration::from_secs(1);
        loop {
            match libc::waitpid(-1, null_mut(), libc::WNOHANG) {
                -1 => return,
                0 if Instant::now() > until => return,
                0 => std::thread::sleep(Duration::from_millis(2)),
                _ => {}
            }
        }
    }
}

/// Closes every file descriptor. To be called when nothing in this process owns one or will print any more.
pub(crate) fn close_all() {
    // SAFETY: takes no pointer; the process, single-threaded, opens and uses no file from here on.
    unsafe { libc::syscall(libc::SYS_close_range, 0u32, u32::MAX, 0) };
}
