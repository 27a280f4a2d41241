//! /proc/stat: the processor time of the container's processes, on the processors that it has.
//!
//! cgroup v1 tells the time of each processor. v2 tells the sum alone, which is split evenly: the lines then say nothing of
//! their own, and their sum is right. What is not used is idle. Source: proc_stat(5).
//! LXC: shows on v2 the host's own times, and so what its neighbours do.

use std::fmt::Write;

use cgroup::CpuList;
use cgroup::view::CpuTime;

use super::{Facts, ticks, ticks_of};

/// Times of one processor, in ticks.
#[derive(Clone, Copy, Default)]
struct Times {
    user: u64,
    system: u64,
    idle: u64,
}

/// Shows the container's times; the host's lines of its processors where nothing counts them.
pub(super) fn render(host: &str, facts: &Facts) -> String {
    let cpus = facts.cpus();
    let mut text = String::with_capacity(host.len());
    let mut share =
        facts.usage.cpu.as_ref().map(|time| Shares { time, cpus: &cpus, age: ticks_of(facts.age), at: 0 });
    if let Some(share) = &share {
        line(&mut text, "cpu ", share.all());
    }
    for row in host.lines() {
        match (number(row), &mut share) {
            (Some(Row::All), None) => copy(&mut text, row),
            (Some(Row::All), Some(_)) => {}
            (Some(Row::One(cpu)), _) if !cpus.contains(cpu) => {}
            (Some(Row::One(_)), None) => copy(&mut text, row),
            (Some(Row::One(cpu)), Some(share)) => {
                let times = share.of(cpu);
                line(&mut text, &format!("cpu{cpu}"), times);
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

/// How the container's time is spread over its processors.
struct Shares<'a> {
    time: &'a CpuTime,
    cpus: &'a CpuList,
    age: u64,
    /// How many processors have had theirs.
    at: u64,
}

impl Shares<'_> {
    fn all(&self) -> Times {
        let (user, system) = (ticks(self.time.user), ticks(self.time.system));
        let whole = self.age.saturating_mul(self.cpus.count());
        Times { user, system, idle: whole.saturating_sub(user.saturating_add(system)) }
    }

    fn of(&mut self, cpu: u32) -> Times {
        let (user, system) = match &self.time.each {
            Some(each) => {
                let own = each.iter().find(|(number, ..)| *number == cpu);
                own.map_or((0, 0), |(_, user, system)| (ticks(*user), ticks(*system)))
            }
            None => (self.part(self.time.user), self.part(self.time.system)),
        };
        self.at += 1;
        Times { user, system, idle: self.age.saturating_sub(user.saturating_add(system)) }
    }

    /// Returns the part of one processor. The first ones have one tick more, so that the sum is right.
    fn part(&self, nanoseconds: u64) -> u64 {
        let (whole, count) = (ticks(nanoseconds), self.cpus.count().max(1));
        whole / count + u64::from(self.at < whole % count)
    }
}

fn line(text: &mut String, name: &str, Times { user, system, idle }: Times) {
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
        Some(("btime", host)) => match (host.parse::<u64>(), facts.begun) {
            (Ok(host), Some(begun)) => format!("btime {}", host.saturating_add(begun.as_secs())),
            _ => row.to_owned(),
        },
        // Who reads this runs.
        Some(("procs_running", _)) => format!("procs_running {running}"),
        Some(("procs_blocked", _)) => "procs_blocked 0".to_owned(),
        _ => row.to_owned(),
    }
}
