//! /proc/stat: the processor time of the container's processes, on the processors that it has.
//!
//! How it is spread is told in [`super::times`]. Source: proc_stat(5).
//! LXC: shows on v2 the host's own times, and so what its neighbours do.

use std::fmt::Write;

use super::Facts;
use super::times::Spent;

/// Shows the container's times; the host's lines of its processors where nothing counts them.
pub(super) fn render(host: &str, facts: &Facts) -> String {
    let cpus = facts.cpus();
    let mut text = String::with_capacity(host.len());
    let times = facts.times();
    if let Some(times) = &times {
        line(&mut text, "cpu ", times.all);
    }
    for row in host.lines() {
        match (number(row), &times) {
            (Some(Row::All), None) => copy(&mut text, row),
            (Some(Row::All), Some(_)) => {}
            (Some(Row::One(cpu)), _) if cpus.as_ref().is_some_and(|cpus| !cpus.contains(cpu)) => {}
            (Some(Row::One(_)), None) => copy(&mut text, row),
            (Some(Row::One(cpu)), Some(times)) => {
                line(&mut text, &format!("cpu{cpu}"), times.each.get(&cpu).copied().unwrap_or_default());
            }
            (None, _) => copy(&mut text, &other(row, facts)),
        }
    }
    text
}

/// Which processors a line is about.
enum Row {
    All,
    One(u32),
}

fn number(row: &str) -> Option<Row> {
    let name = row.split_ascii_whitespace().next()?.strip_prefix("cpu")?;
    if name.is_empty() { Some(Row::All) } else { name.parse().ok().map(Row::One) }
}

fn line(text: &mut String, name: &str, Spent { user, system, idle }: Spent) {
    let _to_a_string = writeln!(text, "{name} {user} 0 {system} {idle} 0 0 0 0 0 0");
}

fn copy(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

/// Returns what another line shows. Those of interrupts and context switches are the machine's: no group has any.
fn other(row: &str, facts: &Facts) -> String {
    let running = facts.load.map_or(1, |load| load.running.max(1));
    match row.split_once(' ') {
        // Processes say when they began in terms of the boot, so a container with the host's clock has the host's boot.
        Some(("btime", host)) => match host.parse::<u64>() {
            Ok(host) => {
                format!("btime {}", host.saturating_add_signed(facts.begun.div_euclid(1_000_000_000)))
            }
            Err(_) => row.to_owned(),
        },
        // Who reads this runs.
        Some(("procs_running", _)) => format!("procs_running {running}"),
        Some(("procs_blocked", _)) => {
            format!("procs_blocked {}", facts.load.map_or(0, |load| load.blocked))
        }
        _ => row.to_owned(),
    }
}
