//! The network of a container while it lives: devices on bridges and programs for user mode, from outside; what is set up
//! inside.
//!
//! The container's init opens its network namespace and sends it up. The monitor has devices made in it ([`wire`]), and
//! init then sets them up ([`inside::set_up`]), while it is still Bryo's own code. Nothing has to be removed: a device goes
//! with the namespace, and programs (for user mode, for [published ports](publish)) with the monitor.

pub mod handed;
pub(crate) mod inside;
mod program;
pub mod publish;
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
use crate::place::StateDir;
use crate::plan::{DevicePlan, NetworkPlan, Otherwise, StartPlan};
use program::Program;
use publish::{Closed, Lead, Listeners};

/// Prepares for the monitor's life what lies outside of the container: what init takes from Bryo's directory, and the ports
/// of the host.
///
/// # Errors
/// [`Kind::Port`] for a port that cannot be had.
pub(crate) fn prepare(plan: &StartPlan, state: &StateDir) -> Result<Listeners> {
    user_mode::prepare(plan, state)?;
    Listeners::bind(plan)
}

/// What was made outside for one run of a container.
#[derive(Debug, Default)]
pub struct Wired {
    links: Vec<Link>,
    programs: Vec<Program>,
    /// What leads from published ports into the container.
    lead: Option<Lead>,
    /// What the plan has for a quota that is used up has taken the place of its devices.
    is_otherwise: bool,
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

/// The init of a container, whose network is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Init<'a> {
    /// Its pid.
    pub(crate) pid: i32,
    /// Its user namespace.
    pub(crate) user: BorrowedFd<'a>,
    /// Its network namespace.
    pub(crate) network: BorrowedFd<'a>,
}

/// Makes what the plan says in a network namespace of `init`, and runs the scripts for it; then what comes to `listeners` is
/// led there.
///
/// # Errors
/// The helper refuses, a program ends at once, or a script fails. What was made before is gone then.
pub(crate) fn wire(plan: &StartPlan, listeners: &Listeners, init: Init<'_>) -> Result<Wired> {
    let mut wired = Wired::default();
    let led = wired.make(plan, &plan.network, init).and_then(|()| wired.lead(plan, listeners, init));
    match led {
        Ok(()) => Ok(wired),
        Err(e) => {
            wired.end(plan);
            Err(e)
        }
    }
}

impl Wired {
    fn make(&mut self, plan: &StartPlan, network: &NetworkPlan, init: Init<'_>) -> Result<()> {
        match network {
            NetworkPlan::Host | NetworkPlan::Loopback => Ok(()),
            NetworkPlan::Bridged { helper, devices, otherwise } => {
                let mut devices = devices.iter();
                let made = devices.try_for_each(|device| self.device(plan, helper, device, init.network));
                match (made, otherwise) {
                    (Err(e), Some(otherwise)) if e.kind() == Kind::Quota => {
                        self.take_otherwise(plan, &e, otherwise, init)
                    }
                    (made, _) => made,
                }
            }
            NetworkPlan::UserMode(user_mode) => match user_mode::start(plan, user_mode, init.pid) {
                Ok(program) => {
                    self.programs.push(program);
                    Ok(())
                }
                Err(e) if !user_mode.is_asked_for => {
                    self.notes.push(format!("no network but loopback: {e}"));
                    Ok(())
                }
                Err(e) => Err(e),
            },
        }
    }

    /// Makes what takes the place of devices for which there is no room any more.
    fn take_otherwise(
        &mut self,
        plan: &StartPlan,
        full: &Error,
        otherwise: &Otherwise,
        init: Init<'_>,
    ) -> Result<()> {
        self.is_otherwise = true;
        let note = format!("{}: {} takes its place", full.cause(), otherwise.network.in_words());
        // At a reboot nobody waits for notes.
        log::warn!("{note}");
        self.notes.push(note);
        self.notes.extend_from_slice(&otherwise.notes);
        self.make(plan, &otherwise.network, init)
    }

    /// Tells whether the network is not that of the plan but what the plan has for a quota that is used up.
    pub fn is_otherwise(&self) -> bool {
        self.is_otherwise
    }

    /// Returns the network that was made.
    pub fn network<'a>(&self, plan: &'a StartPlan) -> &'a NetworkPlan {
        let otherwise = plan.network.otherwise().filter(|_| self.is_otherwise);
        otherwise.map_or(&plan.network, |otherwise| &otherwise.network)
    }

    fn lead(&mut self, plan: &StartPlan, listeners: &Listeners, init: Init<'_>) -> Result<()> {
        if !listeners.is_empty() {
            self.lead = Some(listeners.lead(plan, init.user, init.network)?);
        }
        Ok(())
    }

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

    /// Returns the pids of the programs that run.
    pub fn programs(&self) -> impl Iterator<Item = i32> {
        self.all().filter_map(Program::pid)
    }

    /// Reaps programs that have ended, which they do not by themselves.
    pub fn reap(&self) {
        self.all().for_each(Program::reap);
    }

    fn all(&self) -> impl DoubleEndedIterator<Item = &Program> {
        self.programs.iter().chain(self.lead.iter().map(Lead::program))
    }

    /// Tells whether the process for published ports has ended, and another is yet to be started.
    pub fn waits_to_lead(&self) -> bool {
        self.lead.as_ref().is_some_and(Lead::is_lost)
    }

    /// Starts another process for published ports where one has ended.
    ///
    /// # Errors
    /// That happens too often, and the ports were closed.
    pub fn lead_again(
        &mut self,
        plan: &StartPlan,
        listeners: &mut Listeners,
        user: BorrowedFd<'_>,
    ) -> std::result::Result<(), Closed> {
        let led = self.lead.as_mut().map_or(Ok(()), |lead| lead.renew(listeners, plan, user));
        led.inspect_err(|_| self.lead = None)
    }

    /// Ends what was made, in reverse, and runs the scripts for it. A device itself goes with its namespace, which nothing of
    /// the monitor's keeps any more.
    pub fn end(self, plan: &StartPlan) {
        self.all().rev().for_each(Program::end);
        drop(self.lead);
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
/// its namespace, mostly for some milliseconds. Where something else would take its place, too: the plan has found room or a
/// device that was about to go, and a container that restarts stays on its bridge.
const PATIENCE: Duration = Duration::from_secs(5);

/// Has the helper make a device, and returns the name of the host's end.
///
/// # Errors
/// [`Kind::Quota`] where the quota is used up for so long, else [`Kind::Network`].
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
        let is_full = output.status.code() == Some(FULL);
        if !is_full || Instant::now() + pause > deadline {
            let kind = if is_full { Kind::Quota } else { Kind::Network };
            return Err(helper::refusal(helper, &output).of_kind(kind));
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
