//! `lxc-start`

use container::plan::{Run, StartPlan, Stdio};
use container::{Error, beside};

use super::{Call, NAME, Tool};
use crate::foreground;
use crate::getopt::{flag, value};
use crate::hints;
use crate::rungs::{self, Talk};
use crate::starting::{self, Pidfile, Running, Wanted};

/// The tool.
pub(super) static TOOL: Tool = Tool {
    name: "lxc-start",
    usage: "--name=NAME [-- COMMAND]",
    about: "starts a container, with COMMAND instead of its init",
    options: &[
        NAME,
        flag("d", "daemon", "in the background (the default)"),
        flag("F", "foreground", "in the foreground, with the container's console"),
        value("p", "pidfile", "FILE", "write the monitor's pid to FILE"),
        value("f", "rcfile", "FILE", "use another configuration file"),
        value("c", "console", "FILE", "not supported but for none, which leaves /dev/console out"),
        value("L", "console-log", "FILE", "append what the console shows to FILE"),
        flag("C", "close-all-fds", "accepted: no fd is ever inherited"),
        value("s", "define", "KEY=VAL", "set a key of the configuration"),
        value("", "share-net", "NAME|PID", "share a network namespace"),
        value("", "share-ipc", "NAME|PID", "share an ipc namespace"),
        value("", "share-uts", "NAME|PID", "share a uts namespace"),
        value("", "share-pid", "NAME|PID", "share a pid namespace"),
    ],
    about_one: true,
    run: |call| run(call).unwrap_or_else(|status| status),
};

/// The namespaces that can be shared, as options and as the last part of their keys.
const SHARES: [&str; 4] = ["net", "ipc", "uts", "pid"];

fn run(call: &Call) -> Result<i32, i32> {
    let place = call.place()?;
    let settings = settings(call)?;
    call.or_fail(beside::refuse_under_lxc(&place))?;
    if call.given.value("rcfile").is_none() && !place.is_defined() {
        return Err(call.fail("No container config specified"));
    }
    if call.or_fail(starting::is_running(&place))? {
        call.fail("Container is already running");
        return Ok(0);
    }
    let foreground = call.given.last_of(&["daemon", "foreground"]) == Some("foreground");
    let command = call.words.clone();
    let run = if command.is_empty() { Run::Init } else { Run::InsteadOfInit(command) };
    let config_file = call.given.value("rcfile").map(Into::into);
    let wanted = Wanted {
        place,
        config_file,
        settings,
        run,
        foreground,
        stdio: Stdio::Console,
        network: None,
        network_by_default: false,
        publish: Vec::new(),
    };
    let planned = call.or_fail(starting::plan(&call.context, wanted))?;
    planned.warnings.iter().for_each(|warning| log::warn!("{warning}"));
    start(call, &planned.plan).map_err(|error| failed(call, &error, foreground))
}

/// Collects the keys that options set.
pub(super) fn settings(call: &Call) -> Result<Vec<(String, String)>, i32> {
    let mut settings = call.log_settings()?;
    for word in call.given.values("define") {
        settings.push(starting::setting(word).ok_or_else(|| call.misused())?);
    }
    let keys = [("console", "lxc.console.path"), ("console-log", "lxc.console.logfile")];
    for (option, key) in keys {
        settings.extend(call.given.value(option).map(|value| (key.to_owned(), value.to_owned())));
    }
    if call.given.value("console").is_some_and(|file| file != "none") {
        return Err(call.fail("--console: no file can be the console; --console-log copies what it shows"));
    }
    for share in SHARES {
        if call.given.has(&format!("share-{share}")) {
            return Err(call.fail(format!("--share-{share}: namespaces cannot be shared")));
        }
    }
    Ok(settings)
}

fn start(call: &Call, plan: &StartPlan) -> Result<i32, Error> {
    let pidfile = call.given.value("pidfile").map(|path| Pidfile::open(path.as_ref())).transpose()?;
    let on_running = |running: &Running| announce(call, plan, running, pidfile.as_ref());
    if plan.foreground {
        foreground::run(&call.context, plan, on_running)?;
    } else {
        on_running(&starting::in_background(&call.context, plan)?)?;
    }
    Ok(0)
}

fn announce(
    call: &Call,
    plan: &StartPlan,
    running: &Running,
    pidfile: Option<&Pidfile>,
) -> Result<(), Error> {
    pidfile.into_iter().try_for_each(|file| file.write(running))?;
    let talk = if call.given.has("quiet") { Talk::Quiet } else { Talk::Lxc };
    rungs::announce(plan, &running.rungs, &running.notes, &call.context, talk);
    Ok(())
}

/// Prints the root cause and what the host lacks, then the lines that LXC prints.
fn failed(call: &Call, error: &Error, foreground: bool) -> i32 {
    call.fail(error);
    if let Some(help) = hints::lacking(error, || Some(call.context.findings())) {
        call.fail(help);
    }
    call.fail("Received container state \"ABORTING\" instead of \"RUNNING\"");
    call.fail("The container failed to start");
    if !foreground {
        call.fail("To get more details, run the container in foreground mode");
    }
    call.fail("Additional information can be obtained by setting the --logfile and --logpriority options")
}
