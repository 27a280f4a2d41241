//! Lists of containers: their columns, and LXC's layouts of them.

use std::net::IpAddr;

use config::Config;
use container::list::Found;
use container::network::view::Interface;
use types::State;

/// One container of a list, with what its configuration says where that was asked for.
#[derive(Debug)]
pub(crate) struct Row {
    /// The container.
    pub(crate) found: Found,
    /// Its configuration.
    pub(crate) config: Option<Config>,
    /// What it uses.
    pub(crate) memory: Option<u64>,
    /// Its interfaces, where they were asked for.
    pub(crate) interfaces: Vec<Interface>,
}

/// A column.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    /// The name, in capitals.
    pub(crate) name: &'static str,
    /// Whether it takes the configuration to fill.
    pub(crate) needs_config: bool,
    /// The cell of a container; empty where there is nothing to say.
    cell: fn(&Row) -> String,
}

/// All columns.
const COLUMNS: [Column; 12] = [
    Column { name: "NAME", needs_config: false, cell: |row| row.found.name.clone() },
    Column { name: "STATE", needs_config: false, cell: |row| row.found.state.to_string() },
    Column { name: "PID", needs_config: false, cell: |row| shown(row.found.pid) },
    Column { name: "RAM", needs_config: false, cell: |row| row.memory.map(megabytes).unwrap_or_default() },
    Column { name: "SWAP", needs_config: false, cell: |_| String::new() },
    Column { name: "AUTOSTART", needs_config: true, cell: |row| of_config(row, autostart) },
    Column {
        name: "GROUPS",
        needs_config: true,
        cell: |row| of_config(row, |config| config.groups.join(", ")),
    },
    Column { name: "INTERFACE", needs_config: false, cell: names_of_interfaces },
    Column { name: "IPV4", needs_config: false, cell: |row| addresses(row, IpAddr::is_ipv4) },
    Column { name: "IPV6", needs_config: false, cell: |row| addresses(row, IpAddr::is_ipv6) },
    Column { name: "UNPRIVILEGED", needs_config: true, cell: |row| of_config(row, unprivileged) },
    Column { name: "PORTS", needs_config: false, cell: ports },
];

/// The columns that take a look into the container's network.
pub(crate) const OF_THE_NETWORK: [&str; 3] = ["INTERFACE", "IPV4", "IPV6"];

/// LXC's choice of columns.
pub(crate) const USUAL: &str = "NAME,STATE,AUTOSTART,GROUPS,IPV4,IPV6,UNPRIVILEGED";

fn names_of_interfaces(row: &Row) -> String {
    row.interfaces.iter().map(|interface| interface.name.as_str()).collect::<Vec<_>>().join(", ")
}

fn addresses(row: &Row, of: fn(&IpAddr) -> bool) -> String {
    let all = row.interfaces.iter().flat_map(|interface| &interface.addresses);
    all.filter(|address| of(address)).map(IpAddr::to_string).collect::<Vec<_>>().join(", ")
}

/// LXC: has no such column.
fn ports(row: &Row) -> String {
    row.found.published.iter().map(|port| port.told()).collect::<Vec<_>>().join(", ")
}

fn shown(number: Option<i32>) -> String {
    number.map(|number| number.to_string()).unwrap_or_default()
}

fn megabytes(bytes: u64) -> String {
    format!("{:.2}MB", bytes as f64 / f64::from(1 << 20))
}

fn of_config(row: &Row, cell: fn(&Config) -> String) -> String {
    row.config.as_ref().map(cell).unwrap_or_default()
}

fn autostart(config: &Config) -> String {
    u8::from(config.start_auto).to_string()
}

fn unprivileged(config: &Config) -> String {
    (!config.idmap.is_empty()).to_string()
}

/// Returns the columns of a list of names in any case.
///
/// # Errors
/// The first name that is no column.
pub(crate) fn columns(names: &str) -> Result<Vec<Column>, String> {
    let find = |name: &str| COLUMNS.into_iter().find(|column| column.name.eq_ignore_ascii_case(name));
    names.split(',').map(|name| find(name.trim()).ok_or_else(|| name.to_owned())).collect()
}

/// Lays out a table with a header. Every cell is followed by a blank, the last one too, as LXC has it.
pub(crate) fn table(rows: &[Row], columns: &[Column]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let cell = |row: &Row, column: &Column| {
        let text = (column.cell)(row);
        if text.is_empty() { "-".to_owned() } else { text }
    };
    let header = columns.iter().map(|column| column.name.to_owned()).collect();
    let lines: Vec<Vec<String>> = std::iter::once(header)
        .chain(rows.iter().map(|row| columns.iter().map(|column| cell(row, column)).collect()))
        .collect();
    let width = |n: usize| lines.iter().map(|line| line[n].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let padded = |line: &Vec<String>| -> String {
        line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$} ")).collect::<String>() + "\n"
    };
    lines.iter().map(padded).collect()
}

/// Lays out names in lines of at most `width` characters. Without a terminal the width is 0, and every name stands on
/// a line of its own.
pub(crate) fn names(rows: &[Row], width: usize) -> String {
    let longest = rows.iter().map(|row| row.found.name.chars().count()).max().unwrap_or(0).max(4);
    let (mut text, mut used) = (String::new(), 0);
    for row in rows {
        text.push_str(&format!("{:<longest$}", row.found.name));
        used += longest;
        if used + longest >= width {
            text.push('\n');
            used = 0;
        } else {
            text.push(' ');
            used += 1;
        }
    }
    if used > 0 {
        text.push('\n');
    }
    text
}

/// Tells whether a state counts as active for `lxc-ls --active`.
pub(crate) fn is_active(state: State) -> bool {
    state != State::Stopped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, state: State, lines: &[(&str, &str)]) -> Row {
        let mut config = Config::default();
        lines.iter().for_each(|(key, value)| config.set(key, value).unwrap());
        let found = Found {
            name: name.to_owned(),
            state,
            pid: None,
            runtime: None,
            rungs: Vec::new(),
            published: Vec::new(),
        };
        Row { found, config: Some(config), memory: None, interfaces: Vec::new() }
    }

    fn two() -> [Row; 2] {
        let first = [("lxc.group", "onboot"), ("lxc.group", "web"), ("lxc.start.auto", "1")];
        [
            row("b1", State::Stopped, &first),
            row("long-name", State::Running, &[("lxc.idmap", "u 0 100000 10")]),
        ]
    }

    #[test]
    fn a_fancy_list_is_lxcs_to_the_blank() {
        let text = table(&two(), &columns(USUAL).unwrap());
        let expected = "\
NAME      STATE   AUTOSTART GROUPS      IPV4 IPV6 UNPRIVILEGED \n\
b1        STOPPED 1         onboot, web -    -    false        \n\
long-name RUNNING 0         -           -    -    true         \n";
        assert_eq!(text, expected);
    }

    #[test]
    fn addresses_of_all_interfaces_stand_in_a_cell_for_each_family() {
        let [stopped, running] = two();
        let interface = |name: &str, addresses: &[&str]| Interface {
            name: name.to_owned(),
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        };
        let both = vec![interface("eth0", &["10.0.3.7", "2001:db8::7"]), interface("eth1", &["10.1.0.7"])];
        let rows = [stopped, Row { interfaces: both, ..running }];
        let text = table(&rows, &columns("INTERFACE,IPV4,IPV6").unwrap());
        let expected = "INTERFACE  IPV4               IPV6        \n-          -                  -           \n\
                        eth0, eth1 10.0.3.7, 10.1.0.7 2001:db8::7 \n";
        assert_eq!(text, expected);
    }

    #[test]
    fn columns_come_in_the_order_asked_for_in_any_case() {
        let text = table(&two(), &columns("state,Name,PID").unwrap());
        assert_eq!(text, "STATE   NAME      PID \nSTOPPED b1        -   \nRUNNING long-name -   \n");
        assert_eq!(columns("state,bogus").unwrap_err(), "bogus");
    }

    #[test]
    fn an_empty_list_has_no_header() {
        assert_eq!(table(&[], &columns(USUAL).unwrap()), "");
        assert_eq!(names(&[], 80), "");
    }

    #[test]
    fn names_stand_on_padded_lines_without_a_terminal_and_fill_one() {
        assert_eq!(names(&two(), 0), "b1       \nlong-name\n");
        assert_eq!(names(&two()[..1], 0), "b1  \n");
        assert_eq!(names(&two(), 80), "b1        long-name \n");
    }
}
