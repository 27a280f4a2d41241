//! A terminal of a running container, until the user leaves it.

use std::fs::File;
use std::os::fd::AsFd;

use container::command::{Client, Reply, Request};
use container::place::Place;
use container::{Error, Kind, Result, beside};
use sys::signal;
use types::State;

use crate::escape::Escape;
use crate::output;
use crate::relay::{self, HEARD, Relay, Streams, Woken};

/// Connects the caller's terminal to terminal `number` of the container, 0 being its console.
pub(crate) fn run(place: &Place, number: Option<u32>, escape: Escape) -> Result<()> {
    beside::refuse_under_lxc(place)?;
    let client = Client::must_connect(place)?;
    if !Streams::new().terminals()[0] {
        return Err(Error::new(Kind::Usage, "standard input is no terminal"));
    }
    client.send(&Request::Terminal(number), &[])?;
    let (number, mut fds) = match client.next()? {
        Some((Reply::Terminal(number), fds)) => (number, fds.into_iter()),
        Some((Reply::Failed(failure), _)) => return Err(failure),
        _ => return Err(Error::new(Kind::Died, "the monitor ended without an answer")),
    };
    let master = fds.next().ok_or_else(|| Error::new(Kind::Build, "a terminal came without its fd"))?;
    // The connection also tells when the container stops or reboots: this terminal is gone then.
    client.send(&Request::Watch, &[])?;
    greet(number, escape);
    let log = fds.next().map(File::from);
    let relay = Relay::to_terminal(master)?.with_escape(escape).with_log(log).kept_open()?;
    copy_until_left(&client, relay)
}

/// Prints the last of what the container's console showed while nobody had it.
pub(crate) fn print_memory(place: &Place) -> Result<()> {
    beside::refuse_under_lxc(place)?;
    let client = Client::must_connect(place)?;
    client.send(&Request::ConsoleMemory, &[])?;
    let memory = match client.next()? {
        Some((Reply::ConsoleMemory, fds)) => fds.into_iter().next(),
        Some((Reply::Failed(failure), _)) => return Err(failure),
        _ => return Err(Error::new(Kind::Died, "the monitor ended without an answer")),
    };
    let memory = memory.ok_or_else(|| Error::new(Kind::Build, "an answer came without its fd"))?;
    output::print_bytes(&sys::memfd::read_sealed(memory)?);
    Ok(())
}

/// LXC: the same words, which scripts wait for.
fn greet(number: u32, escape: Escape) {
    let key = escape.letter();
    output::tell_line(format_args!("\nConnected to tty {number}"));
    output::tell_line(format_args!(
        "Type <Ctrl+{key} q> to exit the console, <Ctrl+{key} Ctrl+{key}> to enter Ctrl+{key} itself\n"
    ));
}

fn copy_until_left(client: &Client, mut relay: Relay) -> Result<()> {
    let signals = signal::read_as_data(&HEARD)?;
    loop {
        match relay::wait(&mut [&mut relay], signals.as_fd(), &[client.fd()], None)? {
            // The keys for signals are typed into the container; from outside they mean this command.
            Woken::Left | Woken::Signal(_) | Woken::Late => return Ok(()),
            Woken::Ready(_) => match client.next()? {
                Some((Reply::Status(status), _)) if is_there(status.state) => {}
                _ => {
                    relay.finish();
                    return Ok(());
                }
            },
        }
    }
}

fn is_there(state: State) -> bool {
    matches!(state, State::Running | State::Freezing | State::Frozen | State::Thawed)
}
