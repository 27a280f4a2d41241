//! Processes that stay when all is to end: one that is gone before anybody finds it, since each makes the next, in a session
//! of its own; and one that only waits.

use crate::sys;

/// Goes on for `times` processes beside the caller; what it has open it closes.
pub(crate) fn attack(times: &str) -> String {
    let times: u64 = times.parse().unwrap_or(0);
    if sys::fork_on() {
        return String::new();
    }
    sys::close_streams();
    for _ in 0..times {
        sys::leave_session();
        if sys::fork_on() {
            break;
        }
    }
    std::process::exit(0)
}

/// Leaves a process that waits for ever beside the caller; what it has open it closes.
pub(crate) fn linger() -> String {
    if sys::fork_on() {
        return String::new();
    }
    sys::leave_session();
    sys::close_streams();
    loop {
        std::thread::park();
    }
}
