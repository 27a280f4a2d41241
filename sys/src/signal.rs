//! Signals: read as data by the monitor, and put back to normal before an exec.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};

use crate::error::{Result, cvt};

/// Blocks the given signals and returns an fd (non-blocking) from which they are read instead.
pub fn read_as_data(signals: &[i32]) -> Result<OwnedFd> {
    let mask = mask_of(signals);
    set_mask(&mask)?;
    // SAFETY: `mask` is an initialised signal set that outlives the call.
    let fd = unsafe { libc::signalfd(-1, &raw const mask, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    cvt(fd.into(), || format!("signalfd({signals:?})"))?;
    // SAFETY: signalfd returned a new fd that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Returns the number of the next signal, if one has arrived.
pub fn next(signalfd: BorrowedFd<'_>) -> Option<i32> {
    // SAFETY: all members of signalfd_siginfo are integers, for which zero is a value.
    let mut info: libc::signalfd_siginfo = unsafe { std::mem::zeroed() };
    let size = size_of::<libc::signalfd_siginfo>();
    // SAFETY: the kernel writes at most `size` bytes to `info`, which is that large.
    let got = unsafe { libc::read(signalfd.as_raw_fd(), (&raw mut info).cast(), size) };
    (got == size as isize).then_some(info.ssi_signo as i32)
}

/// Lets SIGIO arrive whenever a file is removed from the open directory `dir`, for as long as that is open. (A directory that
/// somebody has open does not tell of its own end.) Source: fcntl(2), F_NOTIFY.
///
/// inotify(7) would tell more, but the last close of its fd waits for a grace period of SRCU, 10 to 15 ms.
///
/// # Errors
/// EINVAL on a kernel without dnotify.
pub fn on_removals(dir: BorrowedFd<'_>) -> Result<()> {
    // The libc crate has neither. Source: <linux/fcntl.h>.
    const DN_DELETE: libc::c_uint = 0x8;
    const DN_MULTISHOT: libc::c_uint = 0x8000_0000;
    let what = DN_DELETE | DN_MULTISHOT;
    // SAFETY: F_NOTIFY takes a number and no pointer.
    let done = unsafe { libc::fcntl(dir.as_raw_fd(), libc::F_NOTIFY, what) };
    cvt(done.into(), || format!("fcntl({}, F_NOTIFY, DN_DELETE|DN_MULTISHOT)", dir.as_raw_fd())).map(drop)
}

/// Gives every signal its default action and blocks none, for the program that exec starts.
///
/// Needed since ignored signals survive exec (Rust's std ignores SIGPIPE) and so does the mask.
pub fn reset_all() -> Result<()> {
    for signal in 1..=64 {
        if matches!(signal, libc::SIGKILL | libc::SIGSTOP | 32 | 33) {
            continue;
        }
        // SAFETY: SIG_DFL installs no handler, so no code of ours can be called by it.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    set_mask(&mask_of(&[]))
}

/// Gives SIGPIPE its default action, so that a closed pipe ends the process without a word.
pub fn die_on_closed_pipe() {
    reset(&[libc::SIGPIPE]);
}

/// The signals of ^C and ^\, which everything gets that runs in front on a terminal. Source: termios(3).
pub const OF_THE_KEYBOARD: [i32; 2] = [libc::SIGINT, libc::SIGQUIT];

/// Gives the given signals their default action again.
pub fn reset(signals: &[i32]) {
    for signal in signals {
        // SAFETY: SIG_DFL installs no handler.
        unsafe { libc::signal(*signal, libc::SIG_DFL) };
    }
}

/// Ignores SIGXFSZ: a write past the limit on the size of files then fails with EFBIG and is told and undone like any other.
pub fn fail_past_file_limit() {
    ignore(&[libc::SIGXFSZ]);
}

/// Ignores the given signals.
pub fn ignore(signals: &[i32]) {
    for signal in signals {
        // SAFETY: SIG_IGN installs no handler.
        unsafe { libc::signal(*signal, libc::SIG_IGN) };
    }
}

/// The last of the signals of [`note`] that has arrived; 0 is none.
static NOTED: AtomicI32 = AtomicI32::new(0);

/// Lets the given signals be noted where they would end the process, and returns where the number of the last one is.
///
/// Unlike a blocked signal, one with a handler has its default action in the programs that the process starts.
pub fn note(signals: &[i32]) -> Result<&'static AtomicI32> {
    extern "C" fn noted(signal: libc::c_int) {
        NOTED.store(signal, Ordering::Relaxed);
    }
    // SAFETY: all members of sigaction are integers, or a function where zero is none.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = noted as extern "C" fn(libc::c_int) as libc::sighandler_t;
    action.sa_flags = libc::SA_RESTART;
    for signal in signals {
        // SAFETY: the handler stores one number in an atomic, which may be done at any moment.
        let done = unsafe { libc::sigaction(*signal, &raw const action, std::ptr::null_mut()) };
        cvt(done.into(), || format!("sigaction({signal})"))?;
    }
    Ok(&NOTED)
}

fn mask_of(signals: &[i32]) -> libc::sigset_t {
    // SAFETY: sigset_t is an array of integers, for which zero is a value; sigemptyset then initialises it.
    let mut mask: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `mask` outlives both calls.
    unsafe { libc::sigemptyset(&raw mut mask) };
    for signal in signals {
        // SAFETY: as above; a number that is no signal is refused with EINVAL.
        unsafe { libc::sigaddset(&raw mut mask, *signal) };
    }
    mask
}

fn set_mask(mask: &libc::sigset_t) -> Result<()> {
    // SAFETY: the kernel reads one signal set from the pointer; the old one is not asked for.
    let done = unsafe { libc::sigprocmask(libc::SIG_SETMASK, mask, std::ptr::null_mut()) };
    cvt(done.into(), || "sigprocmask(SIG_SETMASK)".to_owned()).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_that_is_noted_does_not_end_the_process() {
        let noted = note(&[libc::SIGUSR2]).unwrap();
        for _ in 0..2 {
            noted.store(0, Ordering::Relaxed);
            // SAFETY: the signal has a handler.
            unsafe { libc::raise(libc::SIGUSR2) };
            assert_eq!(noted.load(Ordering::Relaxed), libc::SIGUSR2);
        }
    }
}
