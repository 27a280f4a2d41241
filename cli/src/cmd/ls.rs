//! `bryo ls`

use container::list;

use crate::context::{self, Context};
use crate::inside::interfaces;
use crate::json;
use crate::listing::{self, Column, OF_THE_NETWORK, Row, USUAL};
use crate::output::{self, Failure, Outcome};
use crate::usage;

/// Arguments of `bryo ls`.
#[derive(Debug, clap::Args)]
pub(super) struct Ls {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print the columns of lxc-ls -f
    #[arg(short, long, conflicts_with = "json")]
    fancy: bool,
    /// Choose columns, joined by commas
    #[arg(long, value_name = "COLUMNS", conflicts_with = "json")]
    columns: Option<String>,
}

/// The columns that say something.
const COLUMNS: &str =
    "there are name, state, pid, ram, autostart, groups, interface, ipv4, ipv6, unprivileged and ports";
/// What a list shows unless asked otherwise.
const SHORT: &str = "NAME,STATE,PID";
/// The same, where a container publishes ports.
const SHORT_WITH_PORTS: &str = "NAME,STATE,PID,PORTS";

impl Ls {
    pub(super) fn run(self, context: &Context) -> Outcome {
        context.settle_all();
        let found = list::list(&context.lxcpath);
        if self.json {
            output::print_line(json::text(&json::list(&found)));
            return Ok(0);
        }
        let names = self.columns.as_deref().unwrap_or(match self.fancy {
            true => USUAL,
            false if found.iter().any(|found| !found.published.is_empty()) => SHORT_WITH_PORTS,
            false => SHORT,
        });
        let columns = listing::columns(names).map_err(|name| {
            let cause = container::Error::new(container::Kind::Usage, format!("there is no column {name}"));
            Failure::new("list containers", cause).with_help(container::Kind::Usage, COLUMNS)
        })?;
        let rows: Vec<Row> = found.into_iter().map(|found| row(context, found, &columns)).collect();
        output::print(listing::table(&rows, &columns));
        Ok(0)
    }
}

/// Fills what the columns of a container need.
pub(crate) fn row(context: &Context, found: list::Found, columns: &[Column]) -> Row {
    let place = found.name.parse().ok().map(|name| context.place(&name));
    let wants_config = columns.iter().any(|column| column.needs_config);
    let wants_memory = found.pid.is_some() && columns.iter().any(|column| column.name == "RAM");
    let config =
        place.as_ref().filter(|_| wants_config).and_then(|place| context::load(&place.config()).ok());
    let memory = place.as_ref().filter(|_| wants_memory).and_then(|place| usage::of(place)?.memory);
    let wants_network = columns.iter().any(|column| OF_THE_NETWORK.contains(&column.name));
    let place = place.as_ref().filter(|_| wants_network);
    let interfaces = place.map(|place| interfaces(context, place, found.pid)).unwrap_or_default();
    Row { found, config: config.map(|loaded| loaded.config), memory, interfaces }
}
