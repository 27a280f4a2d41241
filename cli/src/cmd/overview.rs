//! `bryo` alone: the host in one line, then the containers, else the first steps.

use config::Config;
use container::cgroups::CgroupPlan;
use container::doctor::Finding;
use container::host::{HostFacts, NetworkFacts};
use container::list;
use container::{Doing, idmap, plan};
use types::ContainerName;

use super::ls;
use crate::context::Context;
use crate::listing::{self, Row};
use crate::output::{self, Failure, Outcome};
use crate::rungs;

/// What a newcomer needs.
const FIRST_STEPS: &str = "\
no containers yet:
  bryo run -- bash                   a throw-away container of this machine's own programs
  bryo create web ./rootfs.tar.zst   a container from an archive or a directory
  bryo start web                     start it
  bryo shell web                     log in
  bryo --help                        everything else
";

pub(super) fn run(context: &Context) -> Outcome {
    context.settle_all();
    let failed = |error| Failure::new("look at this host", error);
    let facts = context.facts().map_err(failed)?;
    let gives = rungs::line(&host(facts).map_err(failed)?);
    output::print_line(format_args!("this host gives: {gives}"));
    if let Some(findings) = findings(context.findings()) {
        output::print_line(findings);
    }
    let columns = listing::columns("NAME,STATE,PID").unwrap_or_default();
    let found = list::list(&context.lxcpath);
    let rows: Vec<Row> = found.into_iter().map(|found| ls::row(context, found, &columns)).collect();
    match rows.is_empty() {
        true => output::print(FIRST_STEPS),
        false => output::print(listing::table(&rows, &columns)),
    }
    Ok(0)
}

/// Counts what `bryo doctor` has to say, but for what is merely worth knowing.
fn findings(findings: &[Finding]) -> Option<String> {
    match findings.iter().filter(|finding| finding.matters()).count() {
        0 => None,
        1 => Some("1 finding: bryo doctor".to_owned()),
        many => Some(format!("{many} findings: bryo doctor")),
    }
}

/// The rungs that a container with an ordinary configuration would take.
pub(super) fn host(facts: &HostFacts) -> container::Result<Vec<(String, String)>> {
    let any: ContainerName = "any"
        .parse()
        .map_err(|e: types::NameError| container::Error::new(container::Kind::Usage, e.to_string()))?;
    let cgroup = CgroupPlan::decide(&any, &Config::default(), facts).doing("looking at the cgroups")?;
    let map = idmap::choose(facts);
    let ids = if idmap::is_own_id_only(&map, &facts.caller) { "one id" } else { facts.id_writer.rung() };
    let networks = NetworkFacts::of_host(&Config::default(), facts).doing("looking at the networks")?;
    let network = plan::best_rung(&networks);
    let rungs =
        [("ids", ids), ("cgroup", cgroup.rung().word()), ("network", &network), ("/proc", "the kernel's")];
    Ok(rungs.map(|(need, rung)| (need.to_owned(), rung.to_owned())).to_vec())
}
