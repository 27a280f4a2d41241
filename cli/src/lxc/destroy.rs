//! `lxc-destroy`

use container::{Error, Kind};

use super::{Call, NAME, Tool};
use crate::destroying::{self, Along};
use crate::getopt::{flag, value};

/// The tool.
pub(super) static TOOL: Tool = Tool {
    name: "lxc-destroy",
    usage: "--name=NAME [-f]",
    about: "removes a container and all its files",
    options: &[
        NAME,
        flag("s", "snapshots", "its snapshots too"),
        flag("f", "force", "also when it runs"),
        value("", "rcfile", "FILE", "accepted, and without effect"),
    ],
    about_one: true,
    run: |call| run(call).unwrap_or_else(|status| status),
};

fn run(call: &Call) -> Result<i32, i32> {
    let place = call.place()?;
    if !place.is_defined() {
        return Err(call.fail("Container is not defined"));
    }
    let along = Along { running: call.given.has("force"), snapshots: call.given.has("snapshots") };
    destroying::destroy(&call.context, &place, along).map_err(|error| call.fail(message(call, &error)))?;
    Ok(0)
}

fn message(call: &Call, error: &Error) -> String {
    match error.kind() {
        Kind::Running | Kind::UnderLxc => error.to_string(),
        _ => format!("Destroying {} failed: {error}", call.name),
    }
}
