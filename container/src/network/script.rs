//! `lxc.net.N.script.up` and `.down`: commands of the user's own, run on the host as the user, with LXC's arguments and
//! environment.

use std::fmt;

use super::Link;
use crate::error::Result;
use crate::hooks;
use crate::plan::StartPlan;

/// When it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// The device is made, and not yet set up.
    Up,
    /// The container has ended; the device may be gone.
    Down,
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::Up { "up" } else { "down" })
    }
}

/// Runs a script. LXC: version 0 of hooks appends `NAME net up veth BRIDGE DEVICE`, version 1 says it in the environment.
///
/// # Errors
/// [`crate::Kind::Hook`] when it fails.
pub(super) fn run(plan: &StartPlan, moment: Moment, command: &str, link: &Link) -> Result<()> {
    let words = format!("net {moment} veth {} {}", link.bridge, link.host);
    let variables =
        [("LXC_NET_TYPE", "veth"), ("LXC_NET_PARENT", &link.bridge), ("LXC_NET_PEER", &link.host)];
    let key = format!("lxc.net.{}.script.{moment}", link.index);
    hooks::run_script(plan, &key, command, &words, &moment.to_string(), &variables)
}
