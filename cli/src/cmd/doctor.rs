//! `bryo doctor`

use std::fmt::Write;

use anstyle::{AnsiColor, Style};
use container::doctor::{self, Finding, Severity};
use serde::Serialize;

use super::overview;
use crate::context::Context;
use crate::json;
use crate::output::{self, Failure, Outcome, printable};
use crate::rungs;

/// Arguments of `bryo doctor`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit status: 0 when containers start here, or at least bryo run works; 1 when something stops every start.

Examples:
  bryo doctor                            what is wrong, and the line that mends it
  bryo doctor --all                      also what is fine, and what cannot be seen here
  bryo doctor --json | jq '.findings[] | select(.severity == \"stops\").mend'")]
pub(super) struct Doctor {
    /// List what is fine too
    #[arg(short, long)]
    all: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What is printed as JSON.
#[derive(Debug, Serialize)]
struct Report<'a> {
    /// Containers start here.
    starts: bool,
    /// Commands run here, without an init.
    runs: bool,
    rungs: std::collections::BTreeMap<&'a str, &'a str>,
    findings: Vec<&'a Finding>,
}

impl Doctor {
    pub(super) fn run(self, context: &Context) -> Outcome {
        let failed = |error| Failure::new("look at this host", error);
        let survey = context.survey().map_err(failed)?;
        let rungs = overview::host(&survey.host).map_err(failed)?;
        let mut looked = doctor::look(&survey);
        looked.sort_by_key(|finding| finding.severity);
        let worst = looked.first().map_or(Severity::Fine, |finding| finding.severity);
        let (starts, runs) = (worst > Severity::StopsInit, worst > Severity::Stops);
        // What cannot be seen is never taken for fine, so it is told with the findings.
        let told = |finding: &&Finding| self.all || finding.severity != Severity::Fine;
        let findings: Vec<&Finding> = looked.iter().filter(told).collect();
        if self.json {
            let rungs = rungs.iter().map(|(need, rung)| (need.as_str(), rung.as_str())).collect();
            output::print_line(json::text(&Report { starts, runs, rungs, findings }));
        } else {
            output::print_styled(text(&findings));
            output::print_line(summary(&findings, &rungs::line(&rungs)));
        }
        Ok(i32::from(!runs))
    }
}

/// Writes the findings in groups, the worst first.
fn text(findings: &[&Finding]) -> String {
    let mut text = String::new();
    let mut severity = None;
    for finding in findings {
        if severity != Some(finding.severity) {
            severity = Some(finding.severity);
            let style = style(finding.severity);
            let _in_memory = writeln!(text, "{style}{}{style:#}", finding.severity.words());
        }
        for line in lines(finding) {
            let _in_memory = writeln!(text, "  {line}");
        }
    }
    text
}

fn lines(finding: &Finding) -> Vec<String> {
    let fact = printable(&finding.fact);
    match finding.severity {
        Severity::Fine => return vec![format!("{}: {fact}", finding.id)],
        Severity::Unknown => return vec![format!("{}: unknown, because {fact}", finding.id)],
        Severity::Stops | Severity::StopsInit | Severity::Costs | Severity::Note => {}
    }
    let labelled = |label: &str, text: &str| format!("{label:>9}: {}", printable(text));
    let mut lines = vec![format!("{}: {fact}", finding.id), labelled("why", finding.why)];
    lines.extend(finding.mend.as_deref().map(|mend| labelled("mend", mend)));
    lines.extend(
        finding
            .advice
            .as_deref()
            .map(|advice| labelled(if finding.mend.is_some() { "or" } else { "mend" }, advice)),
    );
    lines.push(labelled("by", finding.who.word()));
    lines.push(labelled("meanwhile", finding.meanwhile));
    lines
}

fn style(severity: Severity) -> Style {
    match severity {
        Severity::Stops | Severity::StopsInit => AnsiColor::Red.on_default().bold(),
        Severity::Costs => AnsiColor::Yellow.on_default().bold(),
        Severity::Note | Severity::Unknown | Severity::Fine => Style::new().bold(),
    }
}

/// Sums up in one line, with what a container gets here.
fn summary(findings: &[&Finding], rungs: &str) -> String {
    let count = |severity: Severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let (stops, costs) = (count(Severity::Stops), count(Severity::Costs));
    match (stops, costs) {
        (0, _) if count(Severity::StopsInit) > 0 => {
            format!("commands run here (bryo run, bryo execute), and no container with an init: {rungs}")
        }
        (0, 0) => format!("containers start here, and nothing is lacking: {rungs}"),
        (0, 1) => format!("containers start here, and 1 finding costs them something: {rungs}"),
        (0, costs) => format!("containers start here, and {costs} findings cost them something: {rungs}"),
        (1, _) => "no container starts here: 1 finding stops every start".to_owned(),
        (stops, _) => format!("no container starts here: {stops} findings stop every start"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use container::doctor::Who;

    fn finding(severity: Severity) -> Finding {
        Finding {
            id: "a.b",
            severity,
            fact: "/x is 0\u{1b}[2J".into(),
            why: "it matters",
            mend: Some("sudo mend".into()),
            advice: Some("or so".into()),
            who: Who::Administrator,
            meanwhile: "nothing",
        }
    }

    #[test]
    fn a_finding_has_the_fact_the_reason_the_line_and_who_runs_it() {
        let expected = [
            "a.b: /x is 0\u{fffd}[2J",
            "      why: it matters",
            "     mend: sudo mend",
            "       or: or so",
            "       by: the administrator",
            "meanwhile: nothing",
        ];
        assert_eq!(lines(&finding(Severity::Stops)), expected);
        assert_eq!(lines(&finding(Severity::Unknown)), ["a.b: unknown, because /x is 0\u{fffd}[2J"]);
    }

    #[test]
    fn findings_stand_in_groups_and_the_last_line_sums_up() {
        let all = [finding(Severity::Stops), finding(Severity::Costs), finding(Severity::Costs)];
        let all: Vec<&Finding> = all.iter().collect();
        let text = anstream::adapter::strip_str(&text(&all)).to_string();
        let headings: Vec<&str> = text.lines().filter(|line| !line.starts_with(' ')).collect();
        assert_eq!(headings, ["stops every start", "costs a feature"]);
        assert_eq!(summary(&all, "ids by x"), "no container starts here: 1 finding stops every start");
        let init = finding(Severity::StopsInit);
        assert_eq!(
            summary(&[&init], "ids by x"),
            "commands run here (bryo run, bryo execute), and no container with an init: ids by x"
        );
        assert_eq!(
            summary(&all[1..], "ids by x"),
            "containers start here, and 2 findings cost them something: ids by x"
        );
        assert_eq!(summary(&[], "ids by x"), "containers start here, and nothing is lacking: ids by x");
    }
}
