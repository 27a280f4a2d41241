//! A container in the foreground: its console is the caller's terminal, signals go to it, and it ends with the
//! command that started it.

use std::os::fd::{AsFd, OwnedFd};

use container::Result;
use container::monitor::{Report, start_container};
use container::plan::{StartPlan, Stdio};
use sys::signal;
use types::Signal;

use crate::context::Context;
use crate::relay::{self, HEARD, HEARD_FOR_A_COMMAND, Relay, Streams, Woken};
use crate::starting::Running;

/// Starts the container and waits for its end. Returns the shell status of its init.
pub(crate) fn run(
    context: &Context,
    plan: &StartPlan,
    on_running: impl FnOnce(&Running) -> Result<()>,
) -> Result<i32> {
    let streams = Streams::new();
    let mut monitor = start_container(plan, context.facts()?, Some(streams.fds()))?;
    // Until it runs a signal ends this command, and the monitor undoes the start.
    let (report, fds) = monitor.report()?;
    let heard = if plan.is_app() { &HEARD_FOR_A_COMMAND[..] } else { &HEARD };
    let signals = signal::read_as_data(heard)?;
    on_running(&Running::of(report)?)?;
    let mut relay = console(plan, fds)?;
    loop {
        match relay::wait(relay.as_mut(), signals.as_fd(), monitor.fd())? {
            Woken::Signal(number) => {
                Signal::new(number).into_iter().for_each(|signal| monitor.signal(signal));
            }
            Woken::Left => {}
            Woken::Ready => match monitor.report()? {
                (Report::Ended(status), _) => {
                    relay.into_iter().for_each(Relay::finish);
                    monitor.wait();
                    return Ok(status);
                }
                // A reboot: the same container with a new console.
                (_, fds) => {
                    relay.take().into_iter().for_each(Relay::finish);
                    relay = console(plan, fds)?;
                }
            },
        }
    }
}

/// Shows the console. A command with streams of its own has the console only in place of terminals, so what it shows
/// never mixes into a pipe.
fn console(plan: &StartPlan, fds: Vec<OwnedFd>) -> Result<Option<Relay>> {
    let relay = match plan.stdio {
        Stdio::Console => Relay::to_output,
        Stdio::Caller => Relay::to_terminal,
    };
    fds.into_iter().next().map(relay).transpose()
}
