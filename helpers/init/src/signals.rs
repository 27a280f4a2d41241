//! Signals: all are blocked, taken one by one, and passed on to the application.
//!
//! Blocked signals reach process 1 even where its default action would be to drop them: the kernel ignores a
//! signal for an init only at a time when it is not blocked.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};

use crate::sys;

/// What asks for an orderly end, as the application knows it: `lxc.signal.halt` is SIGPWR, and systemd's is
/// SIGRTMIN+3; programs other than an init end cleanly on SIGTERM.
const HALT: [i32; 2] = [libc::SIGPWR, 34 + 3];

/// All signals, blocked.
#[derive(Debug)]
pub(crate) struct Signals(());

impl Signals {
    /// Blocks every signal for this process.
    ///
    /// # Errors
    /// The kernel refuses, for which it has no reason.
    pub(crate) fn block() -> io::Result<Self> {
        // The caller may have ignored it; then the kernel would reap the application itself, and its status
        // be lost.
        sys::default_action(libc::SIGCHLD);
        sys::block_all_signals()?;
        Ok(Self(()))
    }

    /// Takes these signals away if they are pending.
    pub(crate) fn discard(&self, unwanted: &[i32]) {
        while sys::pending_signal(unwanted).is_some() {}
    }

    /// Passes signals on and reaps orphans, until the application ends.
    pub(crate) fn serve(&self, application: Child) -> ExitStatus {
        let pid = application.id() as i32;
        loop {
            match sys::wait_for_signal() {
                libc::SIGCHLD => {
                    if let Some(status) = reap(pid) {
                        return status;
                    }
                }
                signal => sys::send(pid, forwarded(signal)),
            }
        }
    }
}

/// Reaps every child that has ended. Several ends can stand behind one SIGCHLD.
fn reap(application: i32) -> Option<ExitStatus> {
    let mut ended = None;
    while let Some((pid, status)) = sys::reap_one() {
        if pid == application {
            ended = Some(ExitStatus::from_raw(status));
        }
    }
    ended
}

/// Returns the signal that the application gets for one that came here.
fn forwarded(signal: i32) -> i32 {
    if HALT.contains(&signal) { libc::SIGTERM } else { signal }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_to_halt_become_sigterm_and_others_stay() {
        for signal in 1..=64 {
            let expected = if signal == 30 || signal == 37 { libc::SIGTERM } else { signal };
            assert_eq!(forwarded(signal), expected);
        }
    }
}
