//! The `bryo` command line. The name it is called by decides: `bryo` has verbs, `lxc-start` and its kin are LXC's.

#![forbid(unsafe_code)]

mod bar;
mod booting;
mod bootstrap;
mod bounds;
mod cmd;
mod console;
mod context;
mod destroying;
mod download;
mod escape;
mod events;
mod fetching;
mod foreground;
mod getopt;
mod hints;
mod hosts_release;
mod images;
mod inside;
mod json;
mod keys;
mod listing;
mod lock;
mod logging;
mod lxc;
mod making;
mod net;
mod output;
mod own;
mod program;
mod publish;
mod relay;
mod rungs;
mod starting;
mod stopping;
mod templates;
mod usage;
mod user;
mod watch;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    sys::signal::die_on_closed_pipe();
    sys::signal::fail_past_file_limit();
    sys::process::unmask_the_owner();
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let called = arguments.first().map(Path::new).and_then(Path::file_name).unwrap_or_default();
    let called = called.to_str().unwrap_or_default();
    let status = match (lxc::tool(called), lxc::script(called)) {
        (Some(tool), _) => lxc::run(tool, &arguments),
        (None, Some(script)) => lxc::run_script(script, &arguments),
        (None, None) => cmd::run(&arguments),
    };
    ExitCode::from(u8::try_from(status).unwrap_or(1))
}
