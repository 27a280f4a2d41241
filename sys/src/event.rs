//! Waiting for several fds at once.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};

use crate::error::{Call, Result};

/// What an fd is watched for, and what came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ready {
    /// Data can be read, or the other side has closed.
    pub read: bool,
    /// Data can be written.
    pub write: bool,
}

impl Ready {
    /// Watches for reading.
    pub const READ: Ready = Ready { read: true, write: false };
    /// Watches for writing.
    pub const WRITE: Ready = Ready { read: false, write: true };
}

/// Waits until at least one fd is ready or the time is over, and tells for each what it is ready for.
/// A signal ends the wait early, with nothing ready.
pub fn wait(watched: &[(BorrowedFd<'_>, Ready)], timeout: Option<Duration>) -> Result<Vec<Ready>> {
    let flags = |wanted: &Ready| {
        let read = if wanted.read { PollFlags::IN } else { PollFlags::empty() };
        let write = if wanted.write { PollFlags::OUT } else { PollFlags::empty() };
        read | write
    };
    let mut polled: Vec<PollFd<'_>> =
        watched.iter().map(|(fd, wanted)| PollFd::from_borrowed_fd(*fd, flags(wanted))).collect();
    let limit = timeout.map(|t| Timespec { tv_sec: t.as_secs() as i64, tv_nsec: t.subsec_nanos().into() });
    match rustix::event::poll(&mut polled, limit.as_ref()) {
        Err(rustix::io::Errno::INTR) => return Ok(vec![Ready::default(); watched.len()]),
        done => done.call(|| format!("poll({} fds)", watched.len()))?,
    };
    let found = |fd: &PollFd<'_>| {
        let got = fd.revents();
        let over = got.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL);
        Ready { read: got.contains(PollFlags::IN) || over, write: got.contains(PollFlags::OUT) || over }
    };
    Ok(polled.iter().map(found).collect())
}

/// Tells whether an fd can be read (or has been closed by the other side) within the time.
pub fn readable(fd: BorrowedFd<'_>, timeout: Option<Duration>) -> Result<bool> {
    Ok(wait(&[(fd, Ready::READ)], timeout)?[0].read)
}
