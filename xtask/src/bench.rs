//! `cargo xtask bench`: Bryo beside the system's lxc tools, interleaved in one run.
//!
//! Only the ratios mean something: the machine is as busy as it is. Nothing is asserted here.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tests::subject::{Subject, subject};
use tests::view::missing;
use tests::{Lab, View};

use crate::build::Speed;
use crate::{install, packages};

/// Runs as the test user, with the number of runs as argument. bash reads the clock without a process of its own, so
/// a line `OPERATION SUBJECT MICROSECONDS STATUS` measures the command alone. The order of the two alternates.
const MEASURE: &str = r#"
timed() {
    local begin=$EPOCHREALTIME
    "$bin/$@" >/dev/null 2>&1 </dev/null
    local status=$? end=$EPOCHREALTIME
    echo "$operation $subject $((${end/./} - ${begin/./})) $status"
}
for ((run = 0; run < $1; run++)); do
    order="bryo lxc"
    ((run % 2)) && order="lxc bryo"
    for subject in $order; do
        bin=/usr/bin
        [ $subject = bryo ] && bin=/run/bryo-lab/prefix/bin
        operation=start timed lxc-start -n web-$subject
        operation=attach timed lxc-attach -n web-$subject -- true
        operation=info timed lxc-info -n web-$subject
        operation=ls timed lxc-ls -f
        operation=stop timed lxc-stop -n web-$subject -k
    done
done
"#;

/// Measures every operation `runs` times, and prints medians and ratios.
///
/// # Errors
/// The lab cannot be set up, or a measured command fails.
pub(crate) fn run(runs: usize, json: bool) -> Result<()> {
    ensure!(runs > 0, "--runs must be at least 1");
    packages::install()?;
    tests::account::check_tools()?;
    ensure!(subject() == Subject::Bryo, "the bench measures both subjects: unset BRYO_SUBJECT");
    if let Some(why) = Subject::Lxc.missing() {
        anyhow::bail!("{why}");
    }
    let prefix = tests::subject::prefix();
    install::into(&prefix, Speed::Shipped)?;
    install::grant(&prefix)?;
    let measured = summarise(&measure(runs)?)?;
    if json {
        print_json(runs, &measured)
    } else {
        print_table(runs, &measured)
    }
    Ok(())
}

/// Runs the operations on two containers of the same root file system.
fn measure(runs: usize) -> Result<String> {
    tests::rootfs::busybox()?;
    let view = if missing(View::Hybrid).is_none() { View::Hybrid } else { View::Unified };
    let lab = Lab::new(view)?;
    let ana = lab.user("ana");
    ana.write_config_for_real_lxc();
    ana.busybox("web-bryo");
    ana.busybox_of_real_lxc("web-lxc");
    let runs = runs.to_string();
    let lines = ana.run("bash", ["-c", MEASURE, "measure", &runs]).seconds(3600).succeeds().stdout;
    ana.destroy("web-bryo");
    ana.real_lxc("destroy", ["-n", "web-lxc"]).succeeds();
    Ok(lines)
}

/// What one operation took, in microseconds.
#[derive(Debug, Default, PartialEq, Eq)]
struct Times {
    bryo: Vec<u64>,
    lxc: Vec<u64>,
}

impl Times {
    fn ratio(&self) -> f64 {
        milliseconds(median(&self.bryo)) / milliseconds(median(&self.lxc)).max(0.001)
    }
}

/// Sorts the measured lines by operation, in the order of their first appearance.
fn summarise(lines: &str) -> Result<Vec<(String, Times)>> {
    let mut order = Vec::new();
    let mut times: BTreeMap<&str, Times> = BTreeMap::new();
    for line in lines.lines() {
        let [operation, subject, microseconds, status] = line.split(' ').collect::<Vec<_>>()[..] else {
            anyhow::bail!("not a measured line: {line}");
        };
        ensure!(status == "0", "{operation} of {subject} exits with {status}");
        if !times.contains_key(operation) {
            order.push(operation);
        }
        let both = times.entry(operation).or_default();
        let of_subject = if subject == "bryo" { &mut both.bryo } else { &mut both.lxc };
        of_subject.push(microseconds.parse().with_context(|| format!("the time in: {line}"))?);
    }
    Ok(order.into_iter().filter_map(|name| Some((name.to_owned(), times.remove(name)?))).collect())
}

fn median(values: &[u64]) -> u64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or(0)
}

fn least(values: &[u64]) -> u64 {
    values.iter().copied().min().unwrap_or(0)
}

fn milliseconds(microseconds: u64) -> f64 {
    microseconds as f64 / 1000.0
}

fn print_table(runs: usize, measured: &[(String, Times)]) {
    println!(
        "medians and minima of {runs} runs each, in milliseconds, interleaved; only the ratio carries over"
    );
    println!("{:<8} {:>8} {:>8} {:>8} {:>8} {:>6}", "", "bryo", "(min)", "lxc", "(min)", "ratio");
    for (operation, times) in measured {
        let [bryo, bryo_min, lxc, lxc_min] =
            [median(&times.bryo), least(&times.bryo), median(&times.lxc), least(&times.lxc)]
                .map(milliseconds);
        println!(
            "{operation:<8} {bryo:>8.1} {bryo_min:>8.1} {lxc:>8.1} {lxc_min:>8.1} {:>6.2}",
            times.ratio()
        );
    }
}

fn print_json(runs: usize, measured: &[(String, Times)]) {
    let operations: BTreeMap<_, _> = measured
        .iter()
        .map(|(operation, times)| {
            let side = |values: &[u64]| json!({"median_us": median(values), "min_us": least(values)});
            (operation, json!({"bryo": side(&times.bryo), "lxc": side(&times.lxc), "ratio": times.ratio()}))
        })
        .collect();
    println!("{}", json!({"runs": runs, "operations": operations}));
}

#[cfg(test)]
mod tests_of_the_summary {
    use super::*;

    #[test]
    fn the_ratio_is_that_of_the_medians() -> Result<()> {
        let lines = "start bryo 10000 0\nstart lxc 40000 0\nstart bryo 20000 0\nstart lxc 20000 0\nstart bryo 90000 0\n";
        let measured = summarise(lines)?;
        assert_eq!((measured.len(), measured[0].1.ratio()), (1, 0.5));
        Ok(())
    }

    #[test]
    fn a_failed_command_is_not_a_measurement() {
        assert!(summarise("start bryo 10 1\n").is_err());
    }
}
