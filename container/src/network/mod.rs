//! The network of a container while it lives: devices on bridges and programs for user mode, from outside; what is set up
//! inside.
//!
//! The container's init opens its network namespace and sends it up. The monitor has devices made in it ([`wire`]), and
//! init then sets them up ([`inside::set_up`]), while it is still Bryo's own code. Nothing has to be removed: a device goes
//! with the namespace, and the program for user mode with the monitor.

pub mod handed;
pub(crate) mod inside;
mod script;
mod user_mode;
pub mod view;

use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::error::{Doing, Error, Kind, Result};
use crate::helper;
use crate::plan::{DevicePlan, NetworkPlan, StartPlan};
use user_mode::Program;

pub use user_mode::prepare;

/// What was made outside for one run of a container.
#[derive(Debug, Default)]
pub struct Wired {
    links: Vec<Link>,
    program: Option<Program>,
    /// What could not be had although the host seemed to offer it.
    notes: Vec<String>,
}

/// A device on a bridge, as the host sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The number N of `lxc.net.N`.
    pub index: u32,
    /// Its name inside, at first.
    pub name: String,
    /// The bridge.
    pub bridge: String,
    /// The name of the host's end.
    pub host: String,
}

/// Makes what the plan says in a network namespace of process `init`, and runs the scripts for it.
///
/// # Errors
/// The helper refuses, a program for user mode ends at once, or a script fails. What was made before is gone then.
pub(crate) fn wire(plan: &StartPlan, netns: BorrowedFd<'_>, init: i32) -> Result<Wired> {
    let mut wired = Wired::default();
    let made = match &plan.network {
        NetworkPlan::Host | NetworkPlan::Loopback => Ok(()),
        NetworkPlan::Bridged { helper, devices } => {
            devices.iter().try_for_each(|device| wired.device(plan, helper, device, netns))
        }
        NetworkPlan::UserMode(user_mode) => match Program::start(plan, user_mode, init) {
            Ok(program) => {
                wired.program = Some(program);
                Ok(())
            }
            Err(e) if !user_mode.is_asked_for => {
                wired.notes.push(format!("no network but loopback: {e}"));
                Ok(())
            }
            Err(e) => Err(e),
        },
    };
    match made {
        Ok(()) => Ok(wired),
        Err(e) => {
            wired.end(plan);
            Err(e)
        }
    }
}

impl Wired {
    fn device(
        &mut self,
        plan: &StartPlan,
        helper: &Path,
        device: &DevicePlan,
        netns: BorrowedFd<'_>,
    ) -> Result<()> {
        let host = make(helper, &device.bridge, &device.name, netns)
            .doing_with(|| format!("making lxc.net.{}", device.index))?;
        let (index, name, bridge) = (device.index, device.name.clone(), device.bridge.clone());
        log::info!("{name} is on {bridge} by {host}");
        let link = Link { index, name, bridge, host };
        let up = device.script_up.as_deref();
        let run = up.map_or(Ok(()), |command| script::run(plan, script::Moment::Up, command, &link));
        self.links.push(link);
        run
    }

    /// Returns the devices on bridges.
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// Returns what could not be had, a sentence each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Returns the pid of the program for user mode, while it runs.
    pub fn program(&self) -> Option<i32> {
        self.program.as_ref().and_then(Program::pid)
    }

    /// Reaps the program for user mode if it has ended, which it does not by itself.
    pub fn reap(&self) {
        if let Some(program) = &self.program {
            program.reap();
        }
    }

    /// Ends what was made, in reverse, and runs the scripts for it. A device itself goes with its namespace.
    pub fn end(&self, plan: &StartPlan) {
        if let Some(program) = &self.program {
            program.end();
        }
        for link in self.links.iter().rev() {
            let device = plan.network.devices().iter().find(|device| device.index == link.index);
            let Some(command) = device.and_then(|device| device.script_down.as_deref()) else { continue };
            if let Err(e) = script::run(plan, script::Moment::Down, command, link) {
                log::warn!("{e}");
            }
        }
    }
}

/// The helper's exit status for a quota that is used up.
const FULL: i32 = 3;

/// How long a place in a quota is waited for: a device that has just gone keeps its place until the kernel has dismantled
/// its namespace, mostly for some milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// Has the helper make a device, and returns the name of the host's end.
fn make(helper: &Path, bridge: &str, name: &str, netns: BorrowedFd<'_>) -> Result<String> {
    let deadline = Instant::now() + PATIENCE;
    // The helper tells the system's log of each refusal, so it is not asked all the time.
    let mut pause = Duration::from_millis(20);
    loop {
        let mut command = Command::new(helper);
        command.args([&netns.as_raw_fd().to_string(), bridge, name]);
        let output = helper::run(command, &[netns]).map_err(|e| e.of_kind(Kind::Network))?;
        if output.status.success() {
            return slot(&output.stdout);
        }
        if output.status.code() != Some(FULL) || Instant::now() + pause > deadline {
            return Err(helper::refusal(helper, &output).of_kind(Kind::Network));
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(500));
    }
}

/// Reads what the helper prints: the name of the host's end and its number.
fn slot(printed: &[u8]) -> Result<String> {
    let name = std::str::from_utf8(printed).ok().and_then(|text| text.split_ascii_whitespace().next());
    let name = name.filter(|name| name.parse::<types::IfName>().is_ok()).map(str::to_owned);
    name.ok_or_else(|| Error::new(Kind::Build, "bryo-netdev has not said the name of the device"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_hosts_end_is_read() {
        assert_eq!(slot(b"u0001b2hxxxxx00 17\n").unwrap(), "u0001b2hxxxxx00");
        assert!(slot(b"\n").is_err() && slot(b"../x 1\n").is_err() && slot(b"\xff").is_err());
    }
}
