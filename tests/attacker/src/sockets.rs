//! Sockets of the host that a container with the host's network can name.

use std::fs;
use std::io;

use crate::{Attempts, sys};

/// Connects to every name in /proc/net/unix, with every type of socket. What lets it in is a breach if its name says that
/// it is Bryo's or LXC's; other programs of the host look after themselves.
pub(crate) fn attack() -> io::Result<Attempts> {
    let mut found = Attempts::default();
    for line in fs::read_to_string("/proc/net/unix")?.lines().skip(1) {
        let Some(name) = line.split_whitespace().nth(7) else { continue };
        for kind in [libc::SOCK_STREAM, libc::SOCK_SEQPACKET, libc::SOCK_DGRAM] {
            found.tried += 1;
            if let Ok(uid) = sys::connect(kind, name.as_bytes())
                && ["lxc", "bryo", "command"].iter().any(|word| name.contains(word))
            {
                found.breaches.push(format!("{name} of user {uid}"));
            }
        }
    }
    Ok(found)
}
