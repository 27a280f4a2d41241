//! What sweeps have found, each as a claim of its own.

use std::io::Write;

use tests::Lab;
use tests::sweep::{self, Heard, Tally, Verb, Wanted};

tests::claims! {
    an_init_that_dies_before_its_program_runs_is_no_success: hybrid unified, needs Bryo;
}

/// One kind of sweep.
type Kind = fn(&Lab, Verb, &Wanted, Heard<'_>) -> anyhow::Result<Tally>;

/// Sweeps the verbs, says how many points were tried, and fails with everything that did not hold.
fn holds(lab: &Lab, name: &str, kind: Kind, verbs: &[Verb], wanted: &Wanted) {
    let mut total = Tally::default();
    for verb in verbs {
        match kind(lab, *verb, wanted, &mut |_| {}) {
            Ok(tally) => total.add(tally),
            Err(error) => panic!("{name} {verb}: {error:#}"),
        }
    }
    // In one write and past the capture of output, as a skip is told.
    let line = format!("sweep {name}: {total}\n");
    let _unheard = std::io::stderr().write_all(line.as_bytes());
    let failures: Vec<_> = total.failures.iter().map(ToString::to_string).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(total.injections > 0, "nothing was injected");
}

/// Between the last message of init and its exec are the calls that give signals their default actions.
fn an_init_that_dies_before_its_program_runs_is_no_success(lab: &Lab) {
    let process = Some("monitor/init".to_owned());
    let wanted = Wanted { kill: true, process, last: Some(5), ..Wanted::default() };
    holds(lab, "kill", sweep::calls, &[Verb::Start], &wanted);
}
