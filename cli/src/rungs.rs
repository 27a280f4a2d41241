//! What a start took from the host, and what would give more, in one line.

use container::cgroups::Rung;
use container::host::IdWriter;
use container::idmap;
use container::list::PUBLISHED;
use container::plan::StartPlan;

use types::Published;

use crate::context::Context;
use crate::hints;
use crate::output;
use crate::relay::Streams;

/// How much a start says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Talk {
    /// Nothing but failures.
    Quiet,
    /// The notes alone.
    Notes,
    /// As LXC, which says nothing of a success: what is missing, and on a terminal the rest.
    Lxc,
    /// What the configuration asks for and does not get; the line on a terminal, or when something is missing.
    Usual,
    /// Everything.
    Verbose,
}

/// Says how a container runs.
pub(crate) fn announce(
    plan: &StartPlan,
    rungs: &[(String, String)],
    notes: &[String],
    context: &Context,
    talk: Talk,
) {
    let missing = missing(plan, context);
    let is_shown = sys::tty::is_terminal(Streams::new().fds()[2]);
    if talk == Talk::Verbose
        || !matches!(talk, Talk::Quiet | Talk::Notes) && (is_shown || !missing.is_empty())
    {
        output::say(&format!("{} runs: {}", plan.place.name, line(rungs)));
        missing.iter().for_each(|missing| output::note(missing));
    }
    for note in notes {
        match talk {
            Talk::Notes | Talk::Usual | Talk::Verbose => output::note(note),
            Talk::Lxc if is_shown => output::note(note),
            Talk::Lxc => log::warn!("{note}"),
            Talk::Quiet => log::info!("{note}"),
        }
    }
}

/// Joins the rungs to a line.
pub(crate) fn line(rungs: &[(String, String)]) -> String {
    let one = |(need, rung): &(String, String)| match (need.as_str(), rung.as_str()) {
        ("ids", "one id") => "one id".to_owned(),
        ("ids", "written by root") => "ids by root".to_owned(),
        ("ids", helper) => format!("ids by {helper}"),
        (PUBLISHED, ports) => published(ports),
        (need, rung) => format!("{need} {rung}"),
    };
    rungs.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Says where the ports lead of which a monitor tells.
fn published(ports: &str) -> String {
    let told = |port: &str| port.parse().map_or_else(|_| port.to_owned(), |port: Published| port.told());
    ports.split(' ').map(told).collect::<Vec<_>>().join(", ")
}

/// What would give the rungs that this host has not, where a container misses them. One that has a single id although
/// the host lacks nothing was made so.
fn missing(plan: &StartPlan, context: &Context) -> Vec<String> {
    let has_one_id =
        plan.id_writer == IdWriter::OwnIdOnly || idmap::is_own_id_only(&plan.idmap, &plan.caller);
    let way = |what: &str, ids: &[&str]| {
        hints::among(context.findings(), ids).map(|finding| format!("{what}: {}", hints::named(finding)))
    };
    let mut missing = Vec::new();
    if has_one_id {
        missing.extend(way("more than one user id", hints::IDS));
    }
    if plan.shares_pids() {
        missing.push(format!("a /proc and processes of its own: {}", hints::UNMASK));
    }
    if plan.cgroup.rung() == Rung::None {
        let what = "limits, the freezer, and a systemd inside";
        let confined = context.facts().is_ok_and(|facts| facts.surroundings.filtered);
        let outer = confined.then(|| format!("{what}: {}", hints::WRITABLE_CGROUP));
        missing.extend(outer.or_else(|| way(what, hints::CGROUPS)));
    }
    if context.settings().shows_limits() && plan.lacks_lxcfs() {
        let device = context.findings().iter().find(|finding| finding.id.starts_with(hints::FUSE));
        missing.extend(device.map(|finding| format!("its own limits in /proc: {}", hints::named(finding))));
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_names_need_and_rung() {
        let rungs = [("ids", "bryo-idmap"), ("cgroup", "writable"), ("network", "loopback")];
        let rungs: Vec<_> = rungs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        assert_eq!(line(&rungs), "ids by bryo-idmap, cgroup writable, network loopback");
    }
}
