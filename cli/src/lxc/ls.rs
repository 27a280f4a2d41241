//! `lxc-ls`

use container::list::{self, Found};
use regex_lite::Regex;
use types::State;

use super::{Call, Tool};
use crate::cmd;
use crate::getopt::{Opt, Takes, flag, value};
use crate::listing::{self, Row, USUAL};
use crate::output;
use crate::relay::Streams;

/// The tool.
pub(super) static TOOL: Tool = Tool {
    name: "lxc-ls",
    usage: "[OPTION...] [REGEX]",
    about: "lists containers",
    options: &[
        value("n", "name", "NAME", "accepted, and without effect"),
        flag("1", "line", "a name on each line"),
        flag("f", "fancy", "a table"),
        value("F", "fancy-format", "COLUMNS", "the columns of the table, joined by commas"),
        flag("", "active", "containers that are not stopped"),
        flag("", "running", "containers that run"),
        flag("", "frozen", "containers that are frozen"),
        flag("", "stopped", "containers that are stopped"),
        flag("", "defined", "containers that have a configuration"),
        Opt {
            short: "",
            long: "nesting",
            takes: Takes::Maybe("DEPTH"),
            help: "accepted, and without effect",
        },
        value("g", "groups", "GROUPS", "containers of all these groups"),
        value("", "filter", "REGEX", "containers whose names match"),
        value("", "rcfile", "FILE", "accepted, and without effect"),
    ],
    about_one: false,
    run: |call| run(call).unwrap_or_else(|status| status),
};

fn run(call: &Call) -> Result<i32, i32> {
    let columns = match listing::columns(call.given.value("fancy-format").unwrap_or(USUAL)) {
        Ok(columns) => columns,
        Err(unknown) => {
            output::tell_line(format_args!("Invalid key: {unknown}"));
            return Ok(0);
        }
    };
    let pattern = call.given.value("filter").or(call.words.first().map(String::as_str));
    let pattern = pattern.map(|text| Regex::new(text).map_err(|e| call.fail(format!("{text}: {e}"))));
    let pattern = pattern.transpose()?;
    call.context.settle_all();
    let found = list::list(&call.context.lxcpath);
    let is_asked_for = |found: &Found| {
        has_state(call, found.state) && pattern.as_ref().is_none_or(|pattern| pattern.is_match(&found.name))
    };
    let needed =
        if call.given.has("groups") { listing::columns(USUAL).unwrap_or_default() } else { columns.clone() };
    let wanted = found.into_iter().filter(is_asked_for);
    let rows: Vec<Row> = wanted
        .map(|found| cmd::row(&call.context, found, &needed))
        .filter(|row| has_groups(call, row))
        .collect();
    print(call, &rows, &columns);
    Ok(0)
}

fn print(call: &Call, rows: &[Row], columns: &[listing::Column]) {
    if call.given.has("fancy") {
        output::print(listing::table(rows, columns));
    } else if call.given.has("line") {
        rows.iter().for_each(|row| output::print_line(&row.found.name));
    } else {
        let output = Streams::new().fds()[1].try_clone_to_owned();
        let size = output.ok().and_then(|output| sys::tty::size(std::os::fd::AsFd::as_fd(&output)).ok());
        output::print(listing::names(rows, size.map_or(0, |size| size.columns.into())));
    }
}

/// The states that options ask for; all without one.
fn has_state(call: &Call, state: State) -> bool {
    let asked: [(&str, bool); 4] = [
        ("active", listing::is_active(state)),
        ("running", state == State::Running),
        ("frozen", state == State::Frozen),
        ("stopped", state == State::Stopped),
    ];
    let mut given = asked.iter().filter(|(option, _)| call.given.has(option)).peekable();
    given.peek().is_none() || given.any(|(_, fits)| *fits)
}

/// LXC: a container must be in all of the groups.
fn has_groups(call: &Call, row: &Row) -> bool {
    let Some(groups) = call.given.value("groups") else { return true };
    let own = row.config.as_ref().map(|config| config.groups.as_slice()).unwrap_or_default();
    groups.split(',').all(|group| own.iter().any(|one| one == group))
}
