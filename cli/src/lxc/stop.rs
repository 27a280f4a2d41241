//! `lxc-stop`

use std::time::Duration;

use super::{Call, NAME, Tool};
use crate::getopt::{flag, value};
use crate::stopping::{self, How, PATIENCE, Stopped};

/// The tool.
pub(super) static TOOL: Tool = Tool {
    name: "lxc-stop",
    usage: "--name=NAME",
    about: "stops a container",
    options: &[
        NAME,
        flag("r", "reboot", "reboot it"),
        flag("W", "nowait", "do not wait for it"),
        value("t", "timeout", "SECONDS", "kill it after SECONDS, 60 without this"),
        flag("k", "kill", "kill it at once"),
        flag("", "nolock", "accepted: a stop waits for no lock"),
        flag("", "nokill", "do not kill it when it does not stop"),
        value("", "rcfile", "FILE", "accepted, and without effect"),
    ],
    about_one: true,
    run: |call| run(call).unwrap_or_else(|status| status),
};

/// The exit status for a container that does not run.
const NOT_RUNNING: i32 = 2;

fn run(call: &Call) -> Result<i32, i32> {
    let patience = patience(call)?;
    check_combination(call)?;
    let place = call.place()?;
    if call.given.has("reboot") {
        return reboot(call, &place, patience);
    }
    let how = match patience {
        _ if call.given.has("kill") => How::Kill,
        Some(Duration::ZERO) => How::Ask,
        patience => How::Halt { patience, then_kill: !call.given.has("nokill") },
    };
    match call.or_fail(stopping::stop(&place, how))? {
        Stopped::NotRunning => Ok(not_running(call)),
        Stopped::Gone => Ok(0),
        Stopped::StillRunning if how == How::Ask => Ok(0),
        Stopped::StillRunning => Err(1),
    }
}

fn not_running(call: &Call) -> i32 {
    call.fail(format!("{} is not running", call.name));
    NOT_RUNNING
}

/// Returns how long to wait; none for ever, which is what a negative timeout means.
fn patience(call: &Call) -> Result<Option<Duration>, i32> {
    if call.given.has("nowait") {
        return Ok(Some(Duration::ZERO));
    }
    let Some(text) = call.given.value("timeout") else { return Ok(Some(PATIENCE)) };
    let seconds: i64 = text.parse().map_err(|_| call.misused())?;
    Ok(u64::try_from(seconds).ok().map(Duration::from_secs))
}

/// Options that exclude each other. LXC: the same, in the same order.
fn check_combination(call: &Call) -> Result<(), i32> {
    let has = |long| call.given.has(long);
    let message = match () {
        () if has("kill") && has("nokill") => "-k can't be used with --nokill",
        () if has("kill") && has("reboot") => "-k can't be used with -r",
        () if has("kill") && has("timeout") => "-k doesn't allow timeouts",
        () => return Ok(()),
    };
    Err(call.fail(message))
}

fn reboot(call: &Call, place: &container::place::Place, patience: Option<Duration>) -> Result<i32, i32> {
    match stopping::reboot(place, patience) {
        Ok(true) => Ok(0),
        Ok(false) => Err(1),
        Err(error) if error.kind() == container::Kind::NotRunning => Ok(not_running(call)),
        Err(error) => Err(call.fail(error)),
    }
}
