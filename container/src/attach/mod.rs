//! Running a program in a running container.
//!
//! The monitor does it, in a fresh exec of itself: on cgroup v2 no process of another session may move into the
//! container's cgroup, and the monitor's scope may. The command line sends its standard streams and gets back the
//! exit status; where a stream is a terminal it gets the master side of a pseudo-terminal of the container instead,
//! so that the program never holds the caller's terminal (TIOCSTI).

mod enter;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use serde::{Deserialize, Serialize};

pub use enter::{Entry, Fds, run as enter};

use crate::command::{Client, Reply, Request};
use crate::error::{Error, Kind, Result};
use crate::place::Place;

/// What is to be run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachRequest {
    /// Program and arguments; empty: the login shell of the user, else `/bin/sh`.
    pub argv: Vec<String>,
    /// The whole environment, `NAME=VALUE`, as bytes were text; the container's own is added by the monitor's side.
    pub environment: Vec<String>,
    /// User inside.
    pub uid: u32,
    /// Group inside.
    pub gid: u32,
    /// Supplementary groups inside.
    pub groups: Vec<u32>,
    /// Namespaces to enter, as flags of `sys::process::flags`; 0 for all of the container's.
    pub namespaces: u64,
    /// Keep all capabilities of container root, whatever the configuration drops.
    pub elevated: bool,
    /// Which of the standard streams are terminals and become the pseudo-terminal.
    pub terminals: [bool; 3],
    /// Rows and columns of the pseudo-terminal.
    pub size: Option<(u16, u16)>,
    /// Where to start: none for the caller's directory, as far as it exists inside.
    pub cwd: Option<String>,
    /// A login: it begins in the user's home, and the login shell, where that is what runs, has a dash before its name.
    pub login: bool,
}

/// A program that runs in a container, as its starter sees it.
#[derive(Debug)]
pub struct Attached {
    client: Client,
    /// The master side of its pseudo-terminal, if it has one.
    pub terminal: Option<OwnedFd>,
}

/// A program that is about to run in a container. It is the container that makes this last: its file may lie on a file
/// system whose server is a process of the container.
#[derive(Debug)]
pub struct Starting {
    client: Client,
}

impl Starting {
    /// Asks for a program in a running container with the given standard streams.
    pub fn begin(place: &Place, request: &AttachRequest, streams: [BorrowedFd<'_>; 3]) -> Result<Self> {
        let client = Client::must_connect(place)?;
        let bytes = postcard::to_stdvec(request).map_err(|e| Error::new(Kind::Build, e.to_string()))?;
        let sealed = sys::memfd::sealed("attach", &bytes)?;
        let cwd = sys::path::open_dir(std::path::Path::new("."));
        let root = sys::path::open_dir(std::path::Path::new("/"))?;
        let cwd = cwd.as_ref().unwrap_or(&root);
        let [input, output, errors] = streams;
        client.send(&Request::Attach, &[input, output, errors, cwd.as_fd(), sealed.as_fd()])?;
        Ok(Self { client })
    }

    /// Returns the connection, to wait on.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.client.fd()
    }

    /// Waits until the program runs.
    ///
    /// # Errors
    /// It cannot be run; the kind tells why.
    pub fn finish(self) -> Result<Attached> {
        match self.client.next()? {
            Some((Reply::Started, fds)) => {
                Ok(Attached { client: self.client, terminal: fds.into_iter().next() })
            }
            other => Err(crate::command::unexpected(other)),
        }
    }
}

impl Attached {
    /// Returns the connection, to wait on.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.client.fd()
    }

    /// Sends the program a signal.
    pub fn signal(&self, signal: i32) -> Result<()> {
        self.client.send(&crate::command::AttachSignal::Send(signal), &[])
    }

    /// Waits for the end of the program and returns its shell status.
    pub fn status(&self) -> Result<i32> {
        match self.client.next()? {
            Some((Reply::Exited(status), _)) => Ok(status),
            other => Err(crate::command::unexpected(other)),
        }
    }
}
