//! A device for the network namespace of any process of the caller's: what LXC asks of its lxc-user-nic.

use std::os::fd::AsFd;
use std::path::Path;

use sys::namespace;

use crate::error::{Doing, Error, Kind, Result};

/// A device that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// Its name inside.
    pub name: String,
    /// Its number inside.
    pub index: u32,
    /// The name of the host's end.
    pub host: String,
    /// The number of the host's end.
    pub host_index: u32,
}

/// Has the helper make a device on `bridge` in the network namespace of process `pid`; without a name it gets the first of
/// eth0, eth1, ... that is free there.
///
/// # Errors
/// The caller may not open the namespace, or the helper refuses.
pub fn make(helper: &Path, pid: i32, bridge: &str, name: Option<&str>) -> Result<Made> {
    let doing = || format!("opening the network namespace of process {pid}");
    let proc = namespace::proc_dir(pid).doing_with(doing)?;
    let network = namespace::of_process(proc.as_fd(), "net").doing_with(doing)?;
    let present = sys::path::read_small(proc.as_fd(), Path::new("net/dev"), 1 << 20).doing_with(doing)?;
    let name = name.map_or_else(|| free_name(&String::from_utf8_lossy(&present)), str::to_owned);
    let host = super::make(helper, bridge, &name, network.as_fd())?;
    let links = sys::links::all()?;
    let gone = || Error::new(Kind::Network, format!("{host} is gone already"));
    let end = links.iter().find(|link| link.name == host).ok_or_else(gone)?;
    Ok(Made { name, index: end.peer, host_index: end.index, host })
}

/// Returns the first of eth0, eth1, ... that the text of /proc/PID/net/dev does not have.
fn free_name(present: &str) -> String {
    let taken =
        |name: &String| present.lines().any(|line| line.trim_start().starts_with(&format!("{name}:")));
    (0..=present.len()).map(|number| format!("eth{number}")).find(|name| !taken(name)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_free_name_is_taken() {
        let text = "Inter-|   Receive\n face |bytes\n    lo: 0 0\n  eth0: 1 2\n eth10: 1 2\n";
        assert_eq!(free_name(text), "eth1");
        assert_eq!(free_name(""), "eth0");
    }
}
