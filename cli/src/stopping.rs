//! Stopping a container, and waiting until everything of it is gone.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use container::command::{Client, Request, Status};
use container::place::Place;
use container::{Error, Kind, Result, beside};
use sys::{Errno, process};
use types::State;

/// How a container is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// Init is asked to halt, and nobody waits for it.
    Ask,
    /// Init is asked to halt, and waited for: for ever without a patience.
    Halt {
        /// How long.
        patience: Option<Duration>,
        /// Whether it is killed when the patience is over.
        then_kill: bool,
    },
    /// Init is killed.
    Kill,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// It runs no more.
    Gone,
    /// It did not run.
    NotRunning,
    /// It still runs.
    StillRunning,
}

/// How long init may take to halt unless the user says otherwise. LXC: the same.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// How long a monitor may take to end whose container has.
const ENDING: Duration = Duration::from_secs(10);
/// How often it is asked meanwhile.
const AGAIN: Duration = Duration::from_millis(20);

/// Stops a container. When it returns that the container is gone, so are its monitor, cgroups and mounts.
///
/// # Errors
/// A container that runs under LXC.
pub(crate) fn stop(place: &Place, how: How) -> Result<Stopped> {
    beside::refuse_under_lxc(place)?;
    let Some((client, status)) = connect(place)? else { return Ok(Stopped::NotRunning) };
    // A pid is no name of a process for long, but the answer to the request below comes from this one.
    let monitor = process::pidfd(status.monitor_pid)?;
    if status.state == State::Frozen && how != How::Kill {
        ask(&client, Request::Unfreeze)?;
    }
    match how {
        How::Ask => {
            ask(&client, Request::Halt)?;
            Ok(Stopped::StillRunning)
        }
        How::Kill => kill(&client, monitor.as_fd()),
        How::Halt { patience, then_kill } => {
            ask(&client, Request::Halt)?;
            match wait(monitor.as_fd(), patience)? {
                true => Ok(Stopped::Gone),
                false if then_kill => kill(&client, monitor.as_fd()),
                false => Ok(Stopped::StillRunning),
            }
        }
    }
}

/// Connects to the monitor; none when there is none. A connection that ends without an answer does not tell that the monitor
/// has ended, so it is asked again, until nobody takes a connection any more.
fn connect(place: &Place) -> Result<Option<(Client, Status)>> {
    let deadline = Instant::now() + ENDING;
    loop {
        let Some(client) = Client::connect(place)? else { return Ok(None) };
        match client.status() {
            Ok(status) => return Ok(Some((client, status))),
            Err(e) if is_end(&e) && Instant::now() < deadline => std::thread::sleep(AGAIN),
            Err(e) => return Err(e),
        }
    }
}

fn kill(client: &Client, monitor: BorrowedFd<'_>) -> Result<Stopped> {
    ask(client, Request::Kill)?;
    wait(monitor, None)?;
    Ok(Stopped::Gone)
}

/// Asks for something; a monitor that ends meanwhile is as good as one that answers.
fn ask(client: &Client, request: Request) -> Result<()> {
    match client.ask(request) {
        Err(e) if !is_end(&e) => Err(e),
        _ => Ok(()),
    }
}

fn is_end(error: &Error) -> bool {
    let closed = |errno| matches!(errno, Errno::EPIPE | Errno::ECONNRESET);
    error.kind() == Kind::Died || error.errno().is_some_and(closed)
}

/// Waits for the end of a process.
fn wait(process: BorrowedFd<'_>, patience: Option<Duration>) -> Result<bool> {
    let deadline = patience.map(|patience| Instant::now() + patience);
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if sys::event::readable(process, left)? {
            return Ok(true);
        }
        if left.is_some_and(|left| left.is_zero()) {
            return Ok(false);
        }
    }
}

/// Asks init to reboot, and waits until it is back. Without a wait (`Some(Duration::ZERO)`) the answer is yes.
///
/// # Errors
/// A container that does not run, or runs under LXC.
pub(crate) fn reboot(place: &Place, patience: Option<Duration>) -> Result<bool> {
    beside::refuse_under_lxc(place)?;
    let watcher = Client::must_connect(place)?;
    let asker = Client::must_connect(place)?;
    // From here on every change is told, so none can be missed.
    watcher.watch(&[State::Running, State::Frozen], None)?;
    asker.ask(Request::Reboot)?;
    if patience == Some(Duration::ZERO) {
        return Ok(true);
    }
    let deadline = patience.map(|patience| Instant::now() + patience);
    let left = || deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    let again = watcher.watch(&[State::Starting, State::Stopped], left())?;
    if again != Some(State::Starting) {
        return Ok(false);
    }
    Ok(watcher.watch(&[State::Running, State::Stopped], left())? == Some(State::Running))
}
