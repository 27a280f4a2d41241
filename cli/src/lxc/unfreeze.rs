//! `lxc-unfreeze`

use container::Kind;
use container::command::Request;

use super::{Call, NAME, Tool};
use crate::cmd;
use crate::getopt::value;

/// The tool.
pub(super) static TOOL: Tool = Tool {
    name: "lxc-unfreeze",
    usage: "--name=NAME",
    about: "lets a frozen container go on",
    options: &[NAME, value("", "rcfile", "FILE", "accepted, and without effect")],
    about_one: true,
    run: |call| run(call).unwrap_or_else(|status| status),
};

fn run(call: &Call) -> Result<i32, i32> {
    let name = call.container()?;
    let is_defined = call.context.place(&name).is_defined();
    match cmd::ask(&call.context, &name, Request::Unfreeze) {
        Ok(()) => Ok(0),
        // LXC: a stopped container is as good as thawed.
        Err(error) if error.kind() == Kind::NotRunning && is_defined => Ok(0),
        Err(error) => {
            call.fail(error);
            Err(call.fail(format!("Failed to unfreeze {}:{name}", call.context.lxcpath.display())))
        }
    }
}
