//! Thinned sweeps: a sample of the points that `cargo xtask sweep` tries in full, another one in each run. And what the full
//! ones have found, each as a claim of its own.

use std::io::Write;
use std::slice::from_ref;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use tests::sweep::{self, Heard, Injection, Tally, VERBS, Verb, Wanted};
use tests::{Lab, User};

tests::claims! {
    every_verb_is_killed_anywhere_and_the_next_command_works: hybrid unified, needs Bryo;
    every_verb_meets_an_error_anywhere_and_the_next_command_works: hybrid, needs Bryo;
    a_full_disk_is_told_and_leaves_nothing: hybrid, needs Bryo;
    small_limits_are_told_and_leave_nothing: hybrid, needs Bryo;
    an_init_that_dies_before_its_program_runs_is_no_success: hybrid unified, needs Bryo;
    a_container_outlives_what_its_monitor_has_no_memory_for: hybrid, needs Bryo;
    a_removal_that_was_killed_is_ended_by_the_next_command: hybrid, needs Bryo Strace;
    a_creation_that_was_killed_is_never_taken_for_lxcs: hybrid, needs Bryo Strace;
    a_host_that_cannot_be_read_makes_no_other_container: hybrid, needs Bryo Strace;
    a_container_that_cannot_be_looked_at_is_not_taken_for_stopped: hybrid, needs Bryo Strace;
    a_run_that_was_killed_before_its_first_file_leaves_no_directory: hybrid, needs Bryo Strace;
    a_sweep_that_is_interrupted_says_how_far_it_came: hybrid, needs Bryo;
    a_limit_on_the_size_of_files_is_an_error_with_words: hybrid, needs Bryo;
}

/// How many points of a verb are tried of each kind.
const SAMPLE: usize = 8;

/// One kind of sweep.
type Kind = fn(&[Lab], Verb, &Wanted, Heard<'_>) -> anyhow::Result<Tally>;

/// Sweeps the verbs, says how many points were tried, and fails with everything that did not hold.
fn holds(lab: &[Lab], name: &str, kind: Kind, verbs: &[Verb], wanted: &Wanted) {
    let mut total = Tally::default();
    for verb in verbs {
        match kind(lab, *verb, wanted, &|_| {}) {
            Ok(tally) => {
                let failures = tally.failures.first().map(ToString::to_string).unwrap_or_default();
                assert!(tally.injections > 0, "{name} {verb}: nothing was injected {failures}");
                total.add(tally);
            }
            Err(error) => panic!("{name} {verb}: {error:#}"),
        }
    }
    // In one write and past the capture of output, as a skip is told.
    let line = format!("sweep {name}: {total}\n");
    let _unheard = std::io::stderr().write_all(line.as_bytes());
    let failures: Vec<_> = total.failures.iter().map(ToString::to_string).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(total.has_fired(), "too little was injected: {total}");
}

fn every_verb_is_killed_anywhere_and_the_next_command_works(lab: &Lab) {
    let wanted = Wanted { kill: true, sample: Some(SAMPLE), ..Wanted::default() };
    holds(from_ref(lab), "kill", sweep::calls, &VERBS, &wanted);
}

fn every_verb_meets_an_error_anywhere_and_the_next_command_works(lab: &Lab) {
    let wanted = Wanted { errors: true, sample: Some(SAMPLE), ..Wanted::default() };
    holds(from_ref(lab), "errors", sweep::calls, &VERBS, &wanted);
}

fn a_full_disk_is_told_and_leaves_nothing(lab: &Lab) {
    let sample = Wanted { sample: Some(SAMPLE), ..Wanted::default() };
    holds(from_ref(lab), "disk", sweep::disk, &VERBS, &sample);
    holds(from_ref(lab), "disk", sweep::disk, &[Verb::Start, Verb::Destroy], &Wanted::default());
    // A creation without inodes but a few, of which each lets it come one file further.
    let inodes = Wanted { last: Some(48), ..Wanted::default() };
    holds(from_ref(lab), "disk", sweep::disk, &[Verb::Create], &inodes);
}

fn small_limits_are_told_and_leave_nothing(lab: &Lab) {
    let wanted = Wanted { sample: Some(SAMPLE), ..Wanted::default() };
    holds(from_ref(lab), "limits", sweep::limits, &VERBS, &wanted);
}

/// Between the last message of init and its exec are the calls that give signals their default actions.
fn an_init_that_dies_before_its_program_runs_is_no_success(lab: &Lab) {
    let process = Some("monitor/init".to_owned());
    let wanted = Wanted { kill: true, process, last: Some(5), ..Wanted::default() };
    holds(from_ref(lab), "kill", sweep::calls, &[Verb::Start], &wanted);
}

/// While a command is run in it: of the monitor's calls there, waiting is most.
fn a_container_outlives_what_its_monitor_has_no_memory_for(lab: &Lab) {
    let process = Some("monitor".to_owned());
    let inject = Some(Injection::Fail(nix::errno::Errno::ENOMEM));
    let wanted = Wanted { errors: true, process, inject, ..Wanted::default() };
    // How often it waits is chance, so of many waits that were traced few may come again; another trace has fewer.
    let reached = (0..3).any(|_| {
        let tally =
            sweep::calls(from_ref(lab), Verb::Exec, &wanted, &|_| {}).expect("the command can be traced");
        let failures: Vec<_> = tally.failures.iter().map(ToString::to_string).collect();
        assert!(failures.is_empty(), "{tally}: {}", failures.join("\n"));
        tally.injections > 10
    });
    assert!(reached, "of three traces of the command none has more than ten calls that come again");
}

/// Fails each open of a directory in turn, of `stop` and of `destroy`: whatever says that it is done has done it.
fn a_container_that_cannot_be_looked_at_is_not_taken_for_stopped(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    let stops = each("open:error=ENOMEM", |inject| {
        ana.bryo(["start", "web"]).succeeds();
        let (stop, fired) = ana.bryo(["stop", "-k", "web"]).injected(inject);
        if stop.status() == 0 {
            ana.lxc("info", ["-n", "web", "-sH"]).succeeds().stdout_is("STOPPED\n");
        }
        fired
    });
    ana.bryo(["start", "web"]).succeeds();
    let destroys = each("open:error=ENOMEM", |inject| {
        let (destroy, fired) = ana.bryo(["destroy", "web"]).injected(inject);
        assert_ne!(destroy.status(), 0, "{inject}");
        ana.bryo(["exec", "web", "--", "true"]).succeeds();
        fired
    });
    assert!(stops > 1 && destroys > 1, "only {stops} of stop and {destroys} of destroy were injected");
    ana.destroy("web");
}

/// Injects something at the first call of a kind, the second and so on, until a command makes no such call any more; returns
/// how often it fired, as `attempt` tells.
fn each(what: &str, mut attempt: impl FnMut(&str) -> bool) -> usize {
    (1..).take_while(|call| attempt(&format!("{what}:when={call}"))).count()
}

const ARCHIVE: &str = "/run/bryo-lab/rootfs/busybox.tar.zst";

/// Kills `bryo destroy` at each of its first own removals of a file: the last steps of all.
fn a_removal_that_was_killed_is_ended_by_the_next_command(lab: &Lab) {
    let ana = lab.user("ana");
    // The first two look for what earlier commands have left.
    for removal in 3..=6 {
        ana.busybox("web");
        ana.bryo(["destroy", "web"]).inject(&format!("unlinkat:signal=KILL:when={removal}")).exits(137);
        ana.bryo(["ls"]).succeeds().stdout_lacks("web");
        assert!(!ana.lxcpath().join("web").exists(), "removal {removal}: something is left");
    }
    ana.busybox("web");
    ana.bryo(["destroy", "web"]).inject("unlinkat:signal=KILL:when=3").exits(137);
    ana.bryo(["destroy", "web"]).succeeds();
}

fn a_creation_that_was_killed_is_never_taken_for_lxcs(lab: &Lab) {
    let ana = lab.user("ana");
    let writes = each("write:signal=KILL", |inject| {
        let (_, fired) = ana.bryo(["create", "web", "-t", "none"]).injected(inject);
        if ana.bryo(["ls"]).succeeds().stdout.contains("web") {
            ana.destroy("web");
        }
        ana.bryo(["create", "web", "-t", "none"]).succeeds();
        ana.destroy("web");
        fired
    });
    assert!(writes > 1, "only {writes} writes were injected");
}

/// Fails each read of a creation in turn: the container is made with all of the caller's ids, or not at all.
fn a_host_that_cannot_be_read_makes_no_other_container(lab: &Lab) {
    let ana = lab.user("ana");
    let config = ana.lxcpath().join("web/config");
    let reads = each("read:error=EIO", |inject| {
        let (made, fired) = ana.bryo(["create", "web", "-t", "none"]).injected(inject);
        if made.status() == 0 {
            let text = std::fs::read_to_string(&config).unwrap_or_default();
            assert!(text.contains(" 65536"), "{inject}: {text}");
            ana.destroy("web");
        }
        fired
    });
    assert!(reads > 20, "only {reads} reads were injected");
}

/// Kills `bryo run` at each directory that it makes: its container has another name in each run, so only what removes the
/// remains of any container finds them.
fn a_run_that_was_killed_before_its_first_file_leaves_no_directory(lab: &Lab) {
    let ana = lab.user("ana");
    let directories = each("mkdirat:signal=KILL", |inject| {
        let (_, fired) = ana.bryo(["run", ARCHIVE, "--", "true"]).injected(inject);
        ana.bryo(["ls"]).succeeds();
        let left = std::fs::read_dir(ana.lxcpath()).map_or(0, Iterator::count);
        assert_eq!(left, 0, "{inject}");
        fired
    });
    assert!(directories > 0, "no directory was made");
}

/// As a signal does it: before the first point, and after some.
fn a_sweep_that_is_interrupted_says_how_far_it_came(lab: &Lab) {
    static NOTED: AtomicI32 = AtomicI32::new(0);
    let wanted = Wanted { kill: true, interrupted: Some(&NOTED), ..Wanted::default() };
    let lab = from_ref(lab);
    NOTED.store(libc::SIGTERM, Ordering::Relaxed);
    let tally = sweep::calls(lab, Verb::Destroy, &wanted, &|_| {}).expect("the stage can be set");
    assert_eq!((tally.injections, tally.cut), (0, Some(0)));
    assert!(!tally.has_fired());
    NOTED.store(0, Ordering::Relaxed);
    let wanted = Wanted { time: Some(Duration::from_millis(200)), ..wanted };
    let tally = sweep::calls(lab, Verb::Destroy, &wanted, &|_| {}).expect("the stage can be set");
    let tried = tally.injections + tally.missed;
    assert!(tried > 0 && tally.cut == Some(tried), "{tally}");
}

fn a_limit_on_the_size_of_files_is_an_error_with_words(lab: &Lab) {
    let ana: User<'_> = lab.user("ana");
    let made = ana.run("prlimit", ["--fsize=65536", "bryo", "create", "web", ARCHIVE]).exits(1);
    made.stderr_contains("File too large");
    assert!(!ana.lxcpath().join("web").exists());
}
