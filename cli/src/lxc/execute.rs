//! `lxc-execute`

use container::plan::{AppCommand, Run, Stdio};
use container::{Error, Kind, beside};

use super::{Call, NAME, Tool, start};
use crate::foreground;
use crate::getopt::{flag, value};
use crate::inside::clean_environment;
use crate::starting::{self, Wanted};

/// The tool.
pub(super) static TOOL: Tool = Tool {
    name: "lxc-execute",
    usage: "--name=NAME -- COMMAND",
    about: "runs COMMAND as the only thing in a container",
    options: &[
        NAME,
        flag("d", "daemon", "in the background"),
        value("f", "rcfile", "FILE", "use another configuration file"),
        value("s", "define", "KEY=VAL", "set a key of the configuration"),
        value("u", "uid", "UID", "run as this user of the container"),
        value("g", "gid", "GID", "run as this group of the container"),
        value("", "share-net", "NAME|PID", "share a network namespace"),
        value("", "share-ipc", "NAME|PID", "share an ipc namespace"),
        value("", "share-uts", "NAME|PID", "share a uts namespace"),
        value("", "share-pid", "NAME|PID", "share a pid namespace"),
    ],
    about_one: true,
    run: |call| run(call).unwrap_or_else(|status| status),
};

fn run(call: &Call) -> Result<i32, i32> {
    let place = call.place()?;
    let settings = start::settings(call)?;
    let number =
        |option| call.given.value(option).map(|text| text.parse().map_err(|_| call.misused())).transpose();
    let (uid, gid): (Option<u32>, Option<u32>) = (number("uid")?, number("gid")?);
    call.or_fail(beside::refuse_under_lxc(&place))?;
    if call.given.value("rcfile").is_none() && !place.is_defined() {
        return Err(call.fail("Executing a container with no configuration file may crash the host"));
    }
    if call.or_fail(starting::is_running(&place))? {
        return Err(call.fail("Container is already running"));
    }
    let daemon = call.given.has("daemon");
    let wanted = Wanted {
        config_file: call.given.value("rcfile").map(Into::into),
        settings,
        foreground: !daemon,
        stdio: if daemon { Stdio::Console } else { Stdio::Caller },
        ..Wanted::init(place)
    };
    execute(call, wanted, AppCommand { uid, gid, ..AppCommand::default() })
        .map_err(|error| failed(call, &error))
}

fn execute(call: &Call, wanted: Wanted, command: AppCommand) -> Result<i32, Error> {
    let daemon = !wanted.foreground;
    let argv = match call.words.is_empty() {
        true => configured(&wanted)?,
        false => call.words.clone(),
    };
    let run = Run::App(AppCommand { argv, environment: clean_environment(), ..command });
    let planned = starting::plan(&call.context, Wanted { run, ..wanted })?;
    planned.warnings.iter().chain(&planned.plan.notes).for_each(|warning| log::warn!("{warning}"));
    if daemon {
        starting::in_background(&call.context, &planned.plan)?;
        return Ok(0);
    }
    foreground::run(&call.context, &planned.plan, |_| Ok(()))
}

/// Without a command LXC runs `lxc.execute.cmd`.
fn configured(wanted: &Wanted) -> Result<Vec<String>, Error> {
    let file = wanted.config_file.clone().unwrap_or_else(|| wanted.place.config());
    let command = crate::context::load(&file)?.config.execute_cmd;
    command.ok_or_else(|| Error::new(Kind::Usage, "no command is given, and no lxc.execute.cmd is set"))
}

/// LXC: 255 for a command that cannot be run, which no caller can tell from the command's own.
fn failed(call: &Call, error: &Error) -> i32 {
    call.fail(error);
    match error.kind() {
        Kind::ProgramMissing => 127,
        Kind::ProgramNotExecutable => 126,
        _ => call.fail("Failed run an application inside container"),
    }
}
