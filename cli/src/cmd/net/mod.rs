//! `bryo net`: the bridge of the host, who may have how many devices on it, and which there are.

mod lint;
mod ls;
mod people;
mod quota;
mod setup;

use clap::Subcommand;
use container::{Error, Kind};

use crate::context::Context;
use crate::output::{Failure, Outcome};

/// Arguments of `bryo net`.
#[derive(Debug, clap::Args)]
pub(super) struct Net {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Tell how many devices may be had on which bridge, and which containers have them
    Quota(quota::Quota),
    /// List the devices on bridges, and those that nobody has
    Ls(ls::Ls),
    /// Make a bridge of the host with addresses, names and a way into the world
    Setup(setup::Setup),
    /// Remove what setup has made
    Teardown(setup::Teardown),
    /// Look for lines of a file of grants that grant nothing, or not what they seem to
    Lint(lint::Lint),
}

impl Net {
    pub(super) fn run(self, context: &Context) -> Outcome {
        match self.verb {
            Verb::Quota(verb) => verb.run(context),
            Verb::Ls(verb) => verb.run(context),
            Verb::Setup(verb) => verb.run(),
            Verb::Teardown(verb) => verb.run(),
            Verb::Lint(verb) => verb.run(),
        }
    }
}

/// The file that grants devices.
const USERNET: &str = "/etc/lxc/lxc-usernet";

/// Reads the file that grants devices; without one nothing is granted.
fn grants() -> Result<Vec<u8>, Failure> {
    match std::fs::read(USERNET) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        read => read.map_err(|error| unreadable("read the grants", USERNET, &error)),
    }
}

fn unreadable(act: &str, path: &str, error: &std::io::Error) -> Failure {
    let kind = Kind::Kernel(error.raw_os_error().unwrap_or_default());
    Failure::new(act, Error::new(kind, error.to_string()).doing(format!("reading {path}")))
}

fn links() -> Result<Vec<sys::links::Link>, Failure> {
    sys::links::all().map_err(|error| Failure::new("list the interfaces", Error::from(error)))
}

/// Lays out lines in columns of the width of their widest cell.
fn table<const N: usize>(header: [&str; N], rows: &[[String; N]]) -> String {
    let header = header.map(str::to_owned);
    let lines = || std::iter::once(&header).chain(rows);
    let width = |n: usize| lines().map(|line| line[n].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |line: &[String; N]| {
        let cells = line.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["lxcbr0".to_owned(), "1".to_owned()], ["b".to_owned(), String::new()]];
        assert_eq!(table(["BRIDGE", "N"], &rows), "BRIDGE  N\nlxcbr0  1\nb\n");
        assert_eq!(table(["A"], &[]), "A\n");
    }
}
