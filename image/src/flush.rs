//! Writing to the disk meanwhile.
//!
//! A tree has to be on the disk before it gets its name. Who only begins with that when all files are made leaves the disk idle until
//! then, and waits for it afterwards.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sys::file::{self, Open};

/// How long the file system rests between two flushes at least. It is others' too, so it rests for as long as the last one took.
const REST: Duration = Duration::from_millis(10);

/// A thread that has a file system write what it holds in memory, again and again, until it is dropped.
#[derive(Debug)]
pub(crate) struct Flusher(Option<(Sender<()>, JoinHandle<()>)>);

impl Flusher {
    /// Begins with the file system of a directory. Where no thread can be made, all is left to the end.
    ///
    /// # Errors
    /// The directory cannot be opened once more.
    pub(crate) fn start(directory: BorrowedFd<'_>) -> sys::Result<Self> {
        // The kernel tells of an error once for each open, and whoever needs to know of it asks by another.
        let own = file::open_beneath(directory, Path::new(""), Open::Directory)?;
        Ok(Self::with(move || {
            let _told_at_the_end = file::sync_filesystem(own.as_fd());
        }))
    }

    fn with(flush: impl Fn() + Send + 'static) -> Self {
        let (end, ended) = channel::<()>();
        let work = move || {
            let mut rest = REST;
            while ended.recv_timeout(rest) == Err(RecvTimeoutError::Timeout) {
                let began = Instant::now();
                flush();
                rest = began.elapsed().max(REST);
            }
        };
        let thread = std::thread::Builder::new().name("flush".to_owned()).spawn(work);
        Self(thread.ok().map(|thread| (end, thread)))
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        if let Some((end, thread)) = self.0.take() {
            drop(end);
            let _has_no_result = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn it_flushes_again_and_again_until_it_is_dropped() {
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        let flusher = Flusher::with(move || {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        while count.load(Ordering::Relaxed) < 3 {
            std::thread::sleep(REST);
        }
        drop(flusher);
        let at_the_end = count.load(Ordering::Relaxed);
        std::thread::sleep(3 * REST);
        assert_eq!(count.load(Ordering::Relaxed), at_the_end);
    }
}
