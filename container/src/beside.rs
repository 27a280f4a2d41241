//! Beside LXC: both tools use the same directories, and neither touches what runs under the other.

use std::collections::BTreeSet;
use std::path::Path;

use crate::error::{Error, Kind, Result};
use crate::place::Place;

/// Refuses a container that runs under LXC's own tools.
pub fn refuse_under_lxc(place: &Place) -> Result<()> {
    if runs_under_lxc(place) {
        let cause = format!("{} runs under LXC", place.name);
        return Err(Error::new(Kind::UnderLxc, cause));
    }
    Ok(())
}

/// Tells whether LXC's monitor listens on the container's abstract name. Anybody may listen there, so only a listener of
/// the caller's own counts, and one that takes no connections for a twentieth of a second is not LXC's.
fn runs_under_lxc(place: &Place) -> bool {
    for _ in 0..5 {
        match sys::socket::abstract_listener(&place.lxc_socket_name()) {
            Err(e) if e.errno() == sys::Errno::EAGAIN => {
                std::thread::sleep(std::time::Duration::from_millis(10))
            }
            listener => return listener.is_ok_and(|uid| uid == Some(sys::cred::real_uid())),
        }
    }
    false
}

/// Abstract names on which somebody listens, read once for a whole list of containers.
///
/// Source: unix(7) and the kernel's `unix_seq_show`: flags 00010000 are a listening socket's (`__SO_ACCEPTCON`).
#[derive(Debug, Default)]
pub struct Listeners {
    names: BTreeSet<Vec<u8>>,
}

impl Listeners {
    /// Reads /proc/net/unix.
    pub fn read() -> Self {
        Self::parse(&std::fs::read(Path::new("/proc/net/unix")).unwrap_or_default())
    }

    fn parse(text: &[u8]) -> Self {
        let name = |line: &[u8]| -> Option<Vec<u8>> {
            let text = String::from_utf8_lossy(line);
            let listening = text.split_ascii_whitespace().nth(3)? == "00010000";
            let at = line.iter().position(|b| *b == b'@').filter(|_| listening)?;
            Some(line[at + 1..].to_vec())
        };
        Self { names: text.split(|b| *b == b'\n').filter_map(name).collect() }
    }

    /// Tells whether a container runs under LXC.
    pub fn runs_under_lxc(&self, place: &Place) -> bool {
        self.has(place) && runs_under_lxc(place)
    }

    fn has(&self, place: &Place) -> bool {
        self.names.contains(&place.lxc_socket_name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_only_held_is_no_listener() {
        let text = b"Num       RefCount Protocol Flags    Type St Inode Path\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 3713 @/lxc/a/command\n\
            0000000000000000: 00000002 00000000 00000000 0001 01 3714 @/lxc/b/command\n";
        let listeners = Listeners::parse(text);
        let place = |name: &str| Place { lxcpath: "/lxc".into(), name: name.parse().unwrap() };
        assert!(listeners.has(&place("a")));
        assert!(!listeners.has(&place("b")));
    }
}
