//! `lxc-freeze`

use container::command::Request;

use super::{Call, NAME, Tool};
use crate::cmd;
use crate::getopt::value;

/// The tool.
pub(super) static TOOL: Tool = Tool {
    name: "lxc-freeze",
    usage: "--name=NAME",
    about: "freezes all processes of a container",
    options: &[NAME, value("", "rcfile", "FILE", "accepted, and without effect")],
    about_one: true,
    run: |call| run(call).unwrap_or_else(|status| status),
};

fn run(call: &Call) -> Result<i32, i32> {
    let name = call.container()?;
    match cmd::ask(&call.context, &name, Request::Freeze) {
        Ok(()) => Ok(0),
        Err(error) => {
            call.fail(error);
            Err(call.fail(format!("Failed to freeze {}:{name}", call.context.lxcpath.display())))
        }
    }
}
