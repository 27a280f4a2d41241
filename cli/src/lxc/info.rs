//! `lxc-info`

use std::fmt::Write as _;
use std::net::IpAddr;

use cgroup::Usage;
use config::Config;
use container::beside::Listeners;
use container::list::{self, Found};
use container::network::view::{self, HostEnd};
use container::place::Place;

use super::{Call, NAME, Tool};
use crate::context;
use crate::getopt::{flag, value};
use crate::inside;
use crate::output;
use crate::usage;

/// The tool.
pub(super) static TOOL: Tool = Tool {
    name: "lxc-info",
    usage: "--name=NAME",
    about: "tells about a container",
    options: &[
        NAME,
        value("c", "config", "KEY", "the value of a key of the configuration"),
        flag("i", "ips", "the addresses"),
        flag("p", "pid", "the pid of init"),
        flag("S", "stats", "what it uses"),
        flag("H", "no-humanize", "numbers as they are"),
        flag("s", "state", "the state"),
        value("", "rcfile", "FILE", "use another configuration file"),
    ],
    about_one: true,
    run: |call| run(call).unwrap_or_else(|status| status),
};

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Asked {
    name: bool,
    state: bool,
    pid: bool,
    ips: bool,
    stats: bool,
    keys: Vec<String>,
    raw: bool,
}

impl Asked {
    fn of(call: &Call) -> Self {
        let has = |long| call.given.has(long);
        let keys: Vec<String> = call.given.values("config").map(str::to_owned).collect();
        let asked = Self {
            name: false,
            state: has("state"),
            pid: has("pid"),
            ips: has("ips"),
            stats: has("stats"),
            keys,
            raw: has("no-humanize"),
        };
        match asked.is_nothing() {
            true => Self { name: true, state: true, pid: true, ips: true, stats: true, ..asked },
            false => asked,
        }
    }

    fn is_nothing(&self) -> bool {
        !(self.state || self.pid || self.ips || self.stats) && self.keys.is_empty()
    }

    /// LXC: one of state, pid and addresses alone is printed without its label, where numbers are as they are.
    fn is_bare(&self) -> bool {
        self.raw && [self.state, self.pid, self.ips].iter().filter(|asked| **asked).count() == 1
    }
}

fn run(call: &Call) -> Result<i32, i32> {
    let place = call.place()?;
    let Some(found) = list::look(&place, &Listeners::read()) else {
        if !call.given.has("quiet") {
            output::tell_line(format_args!("{} doesn't exist", call.name));
        }
        return Err(1);
    };
    let asked = Asked::of(call);
    let uses = Uses {
        usage: found.pid.filter(|_| asked.stats).and_then(|_| usage::of(&place)).unwrap_or_default(),
        ends: found.pid.filter(|_| asked.stats).and_then(|pid| view::host_ends(pid).ok()).unwrap_or_default(),
        addresses: if asked.ips { addresses(call, &place, found.pid) } else { Vec::new() },
    };
    output::print(lines(&asked, &found, &uses));
    if !asked.keys.is_empty() {
        let file = call.given.value("rcfile").map_or_else(|| place.config(), Into::into);
        let config = call.or_fail(context::load(&file))?.config;
        print_keys(&asked, &config);
    }
    Ok(0)
}

/// What a running container uses and has.
#[derive(Debug, Default)]
struct Uses {
    usage: Usage,
    ends: Vec<HostEnd>,
    addresses: Vec<IpAddr>,
}

fn addresses(call: &Call, place: &Place, pid: Option<i32>) -> Vec<IpAddr> {
    let interfaces = inside::interfaces(&call.context, place, pid);
    interfaces.into_iter().flat_map(|interface| interface.addresses).collect()
}

fn lines(asked: &Asked, found: &Found, uses: &Uses) -> String {
    let Uses { usage, ends, addresses } = uses;
    let mut text = String::new();
    let mut line = |wanted: bool, label: &str, value: Option<String>| {
        let Some(value) = value.filter(|_| wanted) else { return };
        // Writing to a String cannot fail.
        let _ = match asked.is_bare() {
            true => writeln!(text, "{value}"),
            false => writeln!(text, "{label:<15} {value}"),
        };
    };
    line(asked.name, "Name:", Some(found.name.clone()));
    line(asked.state, "State:", Some(found.state.to_string()));
    line(asked.pid, "PID:", found.pid.map(|pid| pid.to_string()));
    addresses.iter().for_each(|address| line(asked.ips, "IP:", Some(address.to_string())));
    let bytes = |bytes: u64| if asked.raw { bytes.to_string() } else { usage::human(bytes) };
    let cpu = |time: std::time::Duration| match asked.raw {
        true => time.as_nanos().to_string(),
        false => format!("{:.2} seconds", time.as_secs_f64()),
    };
    line(asked.stats, "CPU use:", usage.cpu.map(cpu));
    line(asked.stats, "BlkIO use:", usage.io.map(|io| bytes(io.read + io.written)));
    line(asked.stats, "Memory use:", usage.memory.map(bytes));
    line(asked.stats, "KMem use:", usage.memory_kernel.map(bytes));
    for end in ends {
        line(asked.stats, "Link:", Some(end.name.clone()));
        line(asked.stats, " TX bytes:", Some(bytes(end.sent)));
        line(asked.stats, " RX bytes:", Some(bytes(end.received)));
        line(asked.stats, " Total bytes:", Some(bytes(end.sent + end.received)));
    }
    text
}

fn print_keys(asked: &Asked, config: &Config) {
    let bare = asked.raw && asked.keys.len() == 1;
    for key in &asked.keys {
        match config.get(key) {
            Err(_) => output::tell_line(format_args!("{key} invalid")),
            Ok(value) if bare => output::print_line(value),
            Ok(value) if value.is_empty() => output::print_line(format_args!("{key} =")),
            Ok(value) => output::print_line(format_args!("{key} = {value}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::State;

    fn found(pid: Option<i32>) -> Found {
        let state = if pid.is_some() { State::Running } else { State::Stopped };
        Found { name: "b1".to_owned(), state, pid, runtime: None, rungs: Vec::new(), published: Vec::new() }
    }

    fn all() -> Asked {
        Asked { name: true, state: true, pid: true, ips: true, stats: true, ..Asked::default() }
    }

    #[test]
    fn a_stopped_container_has_a_name_and_a_state() {
        let text = lines(&all(), &found(None), &Uses::default());
        assert_eq!(text, "Name:           b1\nState:          STOPPED\n");
    }

    #[test]
    fn what_a_running_container_uses_is_shown_for_people() {
        let usage = Usage {
            cpu: Some(std::time::Duration::from_millis(1234)),
            memory: Some(1_310_720),
            ..Usage::default()
        };
        let addresses = vec!["10.0.3.7".parse().unwrap(), "2001:db8::7".parse().unwrap()];
        let ends = vec![HostEnd { name: "u00000rsmi9vq00".to_owned(), sent: 1301, received: 0 }];
        let text = lines(&all(), &found(Some(30997)), &Uses { usage, ends, addresses });
        let expected = "Name:           b1\nState:          RUNNING\nPID:            30997\n\
                        IP:             10.0.3.7\nIP:             2001:db8::7\n\
                        CPU use:        1.23 seconds\nMemory use:     1.25 MiB\n\
                        Link:           u00000rsmi9vq00\n TX bytes:      1.27 KiB\n\x20RX bytes:      0 bytes\n\
                        \x20Total bytes:   1.27 KiB\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn one_thing_alone_is_bare_and_two_keep_their_labels() {
        let state = Asked { state: true, raw: true, ..Asked::default() };
        assert_eq!(lines(&state, &found(Some(7)), &Uses::default()), "RUNNING\n");
        let both = Asked { pid: true, ..state };
        let text = lines(&both, &found(Some(7)), &Uses::default());
        assert_eq!(text, "State:          RUNNING\nPID:            7\n");
        let pid = Asked { pid: true, raw: true, ..Asked::default() };
        assert_eq!(lines(&pid, &found(None), &Uses::default()), "");
    }
}
