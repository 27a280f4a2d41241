//! A client of the command socket that keeps to no rule.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

use crate::sys;

/// The first byte of a message that the monitor understands.
const VERSION: u8 = 1;
/// Requests, by their second byte, that the same user may make and that end or stop the container: halt, reboot, kill,
/// freeze. An attack that used them would show nothing.
const OBEYED: std::ops::RangeInclusive<u8> = 1..=4;

/// Does one thing to the socket, `how`: `garbage`, `lengths`, `truncated`, `fds`, `silent` (1000 connections, held until this
/// program ends) or `closing` (1000 that close at once).
pub(crate) fn attack(socket: &str, how: &str) -> io::Result<String> {
    match how {
        "garbage" => each(socket, garbage())?,
        "lengths" => each(socket, lengths())?,
        "truncated" => each(socket, (0..64).map(|length| vec![VERSION; length.min(1)]).collect())?,
        "fds" => fds(socket)?,
        "silent" => return silent(socket),
        "closing" => (0..1000).for_each(|_| drop(sys::seqpacket(socket))),
        _ => return Err(io::Error::other("no such attack on the command socket")),
    }
    Ok("attempts done\n".to_owned())
}

/// Sends each message on a connection of its own. A refusal is what it is there for.
fn each(socket: &str, messages: Vec<Vec<u8>>) -> io::Result<()> {
    let is_obeyed = |message: &Vec<u8>| message.get(1).is_some_and(|request| OBEYED.contains(request));
    for message in messages.into_iter().filter(|message| !is_obeyed(message)) {
        let connection = sys::seqpacket(socket)?;
        let _refused = sys::send(connection.as_fd(), &message, &[]);
        let _refused = sys::send(connection.as_fd(), &message, &[]);
    }
    Ok(())
}

/// Numbers of a linear congruential generator, the same in each run.
fn garbage() -> Vec<Vec<u8>> {
    let mut state = 7u32;
    let mut next = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let message = |length: usize, next: &mut dyn FnMut() -> u8| {
        let first = if length.is_multiple_of(4) { next() } else { VERSION };
        [first].into_iter().chain((1..length).map(|_| next())).collect()
    };
    (1..600).map(|length| message(length, &mut next)).collect()
}

/// Requests and attach signals whose numbers (postcard's varints) claim up to 2^64, and messages as long as the socket
/// takes.
fn lengths() -> Vec<Vec<u8>> {
    let varints: [&[u8]; 4] = [
        &[0xff, 0xff, 0xff, 0xff, 0x0f],
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
        &[0x80, 0x80, 0x80, 0x80, 0x10],
        &[0xff; 32],
    ];
    let after = |request: u8, number: &[u8]| [&[VERSION, request], number].concat();
    let mut messages: Vec<Vec<u8>> =
        (0..12).flat_map(|request| varints.map(|number| after(request, number))).collect();
    messages.extend([64 << 10, 65 << 10, 128 << 10].map(|length| vec![VERSION; length]));
    messages
}

/// Sends every request with up to 253 fds, most of which nobody asked for.
fn fds(socket: &str) -> io::Result<()> {
    let file = File::open("/dev/null")?;
    for count in [1, 4, 5, 6, 16, 17, 100, 253] {
        let many = vec![file.as_raw_fd(); count];
        for request in [0, 5, 6, 7, 8, 9] {
            let connection = sys::seqpacket(socket)?;
            let _refused = sys::send(connection.as_fd(), &[VERSION, request, 0], &many);
            let _refused = sys::send(connection.as_fd(), &[VERSION, request], &many);
        }
    }
    Ok(())
}

fn silent(socket: &str) -> io::Result<String> {
    let held: Vec<_> = (0..1000).filter_map(|_| sys::seqpacket(socket).ok()).collect();
    println!("{} connections", held.len());
    loop {
        std::thread::park();
    }
}
