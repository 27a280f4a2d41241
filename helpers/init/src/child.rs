//! The start of the application: a session of its own, the terminal if there is one, and signals as a program
//! expects them.

use std::ffi::OsString;
use std::io;
use std::process::{Child, Command};

use crate::Rest;
use crate::signals::Signals;
use crate::sys;

/// Gives up the controlling terminal, which the application's session can only take when no other session has
/// it.
///
/// The kernel sends SIGHUP and SIGCONT to the session that loses its terminal: us alone, and nothing for the
/// application.
pub(crate) fn leave_terminal(signals: &Signals) {
    if sys::is_session_leader() && sys::leave_terminal().is_ok() {
        signals.discard(&[libc::SIGHUP, libc::SIGCONT]);
    }
}

/// Starts the command, found along PATH when it has no slash.
///
/// # Errors
/// That of fork or exec: the standard library sends the child's errno up through a pipe that exec closes.
pub(crate) fn spawn(command: &[OsString], rest: Rest) -> io::Result<Child> {
    let mut child = Command::new(&command[0]);
    child.args(&command[1..]);
    if rest == Rest::Ended {
        sys::before_exec(&mut child, || {
            // Without the right to it (the application is not root of the container) it can kill its supervisor; what is
            // left then is for the runtime to find.
            let _ = sys::keep_signals_inside();
            Ok(())
        });
    }
    sys::before_exec(&mut child, || {
        sys::new_session()?;
        // The new session leader takes the terminal, and its process group is then the one in the foreground.
        // When there is no terminal, or another session has it, the application runs without job control.
        let _ = sys::take_terminal();
        sys::reset_signals()
    });
    child.spawn()
}
