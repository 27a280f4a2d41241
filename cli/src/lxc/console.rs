//! `lxc-console`

use container::Kind;

use super::{Call, NAME, Tool};
use crate::console;
use crate::escape::Escape;
use crate::getopt::value;

/// The tool.
pub(super) static TOOL: Tool = Tool {
    name: "lxc-console",
    usage: "--name=NAME [--tty=NUMBER]",
    about: "uses a terminal of a running container",
    options: &[
        NAME,
        value("t", "tty", "NUMBER", "the terminal, 0 for the console; without it the first free one"),
        value("e", "escape", "KEY", "the key that, before q, leaves: ^a or a for Ctrl-a"),
        value("", "rcfile", "FILE", "accepted, and without effect"),
    ],
    about_one: true,
    run: |call| run(call).unwrap_or_else(|status| status),
};

fn run(call: &Call) -> Result<i32, i32> {
    let number = call.given.value("tty").map(|text| text.parse().map_err(|_| call.misused())).transpose()?;
    let escape = call.given.value("escape").map(|text| Escape::parse(text).ok_or_else(|| call.misused()));
    let place = call.place()?;
    match console::run(&place, number, escape.transpose()?.unwrap_or_default()) {
        Ok(()) => Ok(0),
        Err(error) => {
            call.fail(&error);
            if matches!(error.kind(), Kind::Usage | Kind::Busy) {
                call.fail("Denied access to tty");
            }
            Err(1)
        }
    }
}
