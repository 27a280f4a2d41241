//! Waiting for several fds at once.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};

use crate::error::{Call, Result};
use crate::memory;

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
    let limit = timeout.map(limit);
    told(watched, |polled| rustix::event::poll(polled, limit.as_ref()))
}

/// Waits as [`wait`] does, for long, and gives back the pages of the program's code before: what is needed of them to hear of
/// something to do is little, and comes back with it.
pub fn rest(watched: &[(BorrowedFd<'_>, Ready)], timeout: Option<Duration>) -> Result<Vec<Ready>> {
    let limit = timeout.map(limit);
    told(watched, |polled| {
        memory::drop_code();
        rustix::event::poll(polled, limit.as_ref())
    })
}

fn limit(time: Duration) -> Timespec {
    Timespec { tv_sec: time.as_secs() as i64, tv_nsec: time.subsec_nanos().into() }
}

fn told<'fd>(
    watched: &[(BorrowedFd<'fd>, Ready)],
    poll: impl FnOnce(&mut [PollFd<'fd>]) -> rustix::io::Result<usize>,
) -> Result<Vec<Ready>> {
    let flags = |wanted: &Ready| {
        let read = if wanted.read { PollFlags::IN } else { PollFlags::empty() };
        let write = if wanted.write { PollFlags::OUT } else { PollFlags::empty() };
        read | write
    };
    let mut polled: Vec<PollFd<'_>> =
        watched.iter().map(|(fd, wanted)| PollFd::from_borrowed_fd(*fd, flags(wanted))).collect();
    match poll(&mut polled) {
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

/// Many fds that are waited for, each with a number by which it is told of.
#[derive(Debug)]
pub struct Watch {
    epoll: OwnedFd,
}

impl Watch {
    /// Watches nothing yet.
    pub fn new() -> Result<Self> {
        let epoll = rustix::event::epoll::create(rustix::event::epoll::CreateFlags::CLOEXEC);
        Ok(Self { epoll: epoll.call(|| "epoll_create1(EPOLL_CLOEXEC)".to_owned())? })
    }

    /// Watches an fd until it is closed, for something to read or its end.
    pub fn add(&self, fd: BorrowedFd<'_>, number: u64) -> Result<()> {
        use rustix::event::epoll::{EventData, EventFlags, add};
        add(&self.epoll, fd, EventData::new_u64(number), EventFlags::IN)
            .call(|| format!("epoll_ctl({}, EPOLL_CTL_ADD, {})", self.epoll.as_raw_fd(), fd.as_raw_fd()))
    }

    /// Watches an fd no more. Closing it is not enough where another process, or another fd, has the same file.
    pub fn remove(&self, fd: BorrowedFd<'_>) -> Result<()> {
        rustix::event::epoll::delete(&self.epoll, fd)
            .call(|| format!("epoll_ctl({}, EPOLL_CTL_DEL, {})", self.epoll.as_raw_fd(), fd.as_raw_fd()))
    }

    /// Waits until at least one is ready or the time is over, and returns their numbers. A signal ends the wait early.
    pub fn wait(&self, timeout: Option<Duration>) -> Result<Vec<u64>> {
        let mut events = Vec::with_capacity(64);
        let limit = timeout.map(limit);
        let space = rustix::buffer::spare_capacity(&mut events);
        match rustix::event::epoll::wait(&self.epoll, space, limit.as_ref()) {
            Err(rustix::io::Errno::INTR) => return Ok(Vec::new()),
            done => done.call(|| format!("epoll_wait({})", self.epoll.as_raw_fd()))?,
        };
        Ok(events.iter().map(|event| event.data.u64()).collect())
    }
}
