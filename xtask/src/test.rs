//! `cargo xtask test`: everything this machine can test, and a summary that hides nothing.

use std::env;
use std::io::{BufRead, BufReader, IsTerminal};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;

use anyhow::{Context, Result, anyhow, bail};
use tests::subject::subject;
use tests::{Lab, View};

use crate::build::Speed;
use crate::shell::{cargo, is_root, step};
use crate::{install, lint, packages, vm};

/// Whether the suites of the virtual machine are run too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Machine {
    /// Where its state is saved already, or `BRYO_VM=1` asks for it: to make one takes minutes.
    WhereItIs,
    /// No.
    Never,
}

/// Results of tests, as they are summed up at the end.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: usize,
    failed: Vec<String>,
    skipped: Vec<String>,
    ignored: usize,
}

/// Installs what the tests need, builds, and runs all tests or the named suites. Tells whether nothing failed; the last
/// line printed has the counts.
///
/// # Errors
/// Something that comes before the tests fails.
pub(crate) fn run(suites: &[String], lxc: bool, speed: Speed, machine: Machine) -> Result<bool> {
    packages::install()?;
    let mut tally = Tally::default();
    let checks = suites.is_empty().then(|| thread::spawn(check_and_build));
    if !lxc {
        prepare_prefix(speed)?;
    }
    if let Some(checks) = checks {
        tally.add(checks.join().map_err(|_| anyhow!("the lint panicked"))?);
        let mut beside = cargo(&["test", "--workspace", "--exclude", "tests", "--no-fail-fast"]);
        tally.watch(with_helpers(&mut beside, speed, lxc))?;
    }
    if suites.is_empty() {
        tally.compare_filters()?;
    }
    tally.watch(&mut lab_tests(suites, lxc))?;
    tally.clean_the_lab();
    if suites.is_empty() {
        tally.try_the_machine(machine, speed)?;
    }
    tally.summary();
    Ok(tally.failed.is_empty())
}

/// Runs the lint and builds the tests. It is done beside the build of what is installed, which has a directory of its own:
/// each has long steps, such as the last one of a program, that keep one processor alone busy.
fn check_and_build() -> lint::Results {
    let results = lint::check_all();
    // A build that fails fails again, and is told, where the tests are run.
    let _ = cargo(&["test", "--workspace", "--no-run", "--quiet"]).stderr(Stdio::null()).status();
    results
}

/// The suites of the lab whose every test is an attack.
const ATTACKS_IN_THE_LAB: [&str; 4] = ["attack_syscalls", "attack_mounts", "attack_attach", "attack_files"];

/// Tests outside the lab whose every test is an attack: package, test target, and a filter of names.
const ATTACKS_BESIDE: [(&str, &str, &str); 6] = [
    ("idmap", "--test=kernel", ""),
    ("netdev", "--test=attack", ""),
    ("image", "--test=program", "hostile"),
    ("sys", "--lib", "attack"),
    ("container", "--lib", "attack"),
    ("config", "--test=injection", ""),
];

/// Runs every attack there is; `full` as often as a race needs, not as a test run has time for. Tells whether none
/// succeeded; the last line printed has the counts.
///
/// # Errors
/// Something that comes before the attacks fails.
pub(crate) fn attack(full: bool, speed: Speed) -> Result<bool> {
    packages::install()?;
    prepare_prefix(speed)?;
    let mut tally = Tally::default();
    for (package, target, filter) in ATTACKS_BESIDE {
        let mut attacks = cargo(&["test", "--package", package, target, "--no-fail-fast", "--", filter]);
        tally.watch(with_helpers(whole(&mut attacks, full), speed, false))?;
    }
    let mut lab = lab_tests(&ATTACKS_IN_THE_LAB.map(str::to_owned), false);
    tally.watch(whole(&mut lab, full))?;
    tally.clean_the_lab();
    tally.list();
    println!("{}", tally.last_line_of_attacks());
    Ok(tally.failed.is_empty())
}

/// Has attacks made as often as they need, where that is wanted.
fn whole(command: &mut Command, full: bool) -> &mut Command {
    if full { command.env(tests::attack::FULL, "1") } else { command }
}

/// Installs into the prefix that labs show to their users.
pub(crate) fn prepare_prefix(speed: Speed) -> Result<()> {
    let prefix = tests::subject::prefix();
    install::into(&prefix, speed)?;
    install::attacker(&prefix, speed)?;
    install::finish(&prefix)
}

/// Has the helpers tested as they are shipped, where they were built so.
fn with_helpers(command: &mut Command, speed: Speed, lxc: bool) -> &mut Command {
    match speed {
        Speed::Shipped if !lxc => command.env("BRYO_HELPERS", tests::subject::prefix().join("libexec/bryo")),
        _ => command,
    }
}

fn lab_tests(suites: &[String], lxc: bool) -> Command {
    let mut command = cargo(&["test", "--package", "tests", "--no-fail-fast"]);
    for suite in suites {
        command.args(["--test", suite]);
    }
    if lxc {
        command.env("BRYO_SUBJECT", "lxc");
    }
    command.env("RUST_BACKTRACE", "0");
    command
}

impl Tally {
    /// Counts each check of the lint as one test.
    fn add(&mut self, results: lint::Results) {
        self.passed += results.passed + results.skipped.len();
        self.skipped.extend(results.skipped);
        self.failed.extend(results.failed);
    }

    /// Runs cargo test, shows its output and counts the results.
    fn watch(&mut self, command: &mut Command) -> Result<()> {
        let mut suite = String::new();
        let mut results = false;
        let before = self.failed.len();
        let ended_well = each_line(command, |line| {
            println!("{line}");
            results |= self.read(line, &mut suite);
        })?;
        if !ended_well && self.failed.len() == before {
            self.failed.push(if results { suite } else { "the build of the tests".to_owned() });
        }
        Ok(())
    }

    /// Takes one line of cargo's or libtest's output, and tells whether it was the last one of a suite.
    fn read(&mut self, line: &str, suite: &mut String) -> bool {
        if let Some(running) =
            line.trim_start().strip_prefix("Running ").or(line.trim_start().strip_prefix("Doc-tests "))
        {
            running.split(" (").next().unwrap_or(running).clone_into(suite);
        } else if let Some(skip) = line.find("SKIP: ") {
            self.skipped.push(line[skip + 6..].to_owned());
        } else if let Some(test) =
            line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED"))
        {
            self.failed.push(format!("{suite} {test}"));
        } else if let Some((test, reason)) =
            line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... ignored"))
        {
            // libtest does not count these as passed, unlike those that skip themselves.
            self.ignored += 1;
            self.skipped.push(format!("{suite} {test}: ignored{reason}"));
        } else if let Some(counts) = line.strip_prefix("test result: ") {
            self.passed += count_of(counts, "passed");
            return true;
        }
        false
    }

    /// Compares the compiler of system call filters with the C library, where that is installed.
    fn compare_filters(&mut self) -> Result<()> {
        if let Some(why) = packages::lacks_libseccomp() {
            // As the tests that skip themselves, it counts as passed and as skipped.
            self.passed += 1;
            self.skipped.push(format!("the comparison of filters with libseccomp: {why}"));
            return Ok(());
        }
        let words = ["test", "--package", "container", "--features", "libseccomp", "--lib", "differential"];
        self.watch(&mut cargo(&words))
    }

    /// Runs the suites of the virtual machine, or says why not.
    fn try_the_machine(&mut self, machine: Machine, speed: Speed) -> Result<()> {
        let is_wished = env::var_os("BRYO_VM").is_some_and(|value| value == "1");
        let why_not = match machine {
            Machine::Never => Some("--no-vm".to_owned()),
            Machine::WhereItIs if is_wished => None,
            Machine::WhereItIs => vm::is_missing(),
        };
        if let Some(why) = why_not {
            println!("the virtual machine is left out: {why}");
            return Ok(());
        }
        self.forget_those_of_the_machine();
        let mut task = Command::new(env::current_exe()?);
        task.args(["vm", "test"]).args((speed == Speed::Quick).then_some("--quick"));
        self.watch(&mut task)
    }

    /// Takes back that the claims about the machine have skipped themselves, since they are about to run there.
    fn forget_those_of_the_machine(&mut self) {
        let before = self.skipped.len();
        self.skipped.retain(|skip| !skip.ends_with(tests::vm::ELSEWHERE));
        self.passed = self.passed.saturating_sub(before - self.skipped.len());
    }

    /// Removes what the labs made on this machine.
    fn clean_the_lab(&mut self) {
        if is_root()
            && let Err(error) = tests::clean()
        {
            self.failed.push(format!("removing what the lab made: {error:#}"));
        }
    }

    /// Prints what was skipped, what failed, and the counts.
    fn summary(&self) {
        self.list();
        println!("{}", self.last_line());
    }

    fn list(&self) {
        println!();
        self.skipped.iter().for_each(|skip| println!("skipped  {skip}"));
        self.failed.iter().for_each(|name| println!("failed   {name}"));
    }

    /// How many tests ran and passed. A skipped test has passed as far as libtest knows.
    fn really_passed(&self) -> usize {
        self.passed.saturating_sub(self.skipped.len() - self.ignored)
    }

    fn last_line(&self) -> String {
        let passed = self.really_passed();
        format!("{passed} passed, {} failed, {} skipped", self.failed.len(), self.skipped.len())
    }

    /// An attack that was not made is not counted as one that failed.
    fn last_line_of_attacks(&self) -> String {
        let skipped = match self.skipped.len() {
            0 => String::new(),
            some => format!(", {some} not made"),
        };
        let made = self.really_passed() + self.failed.len();
        format!("{made} attacks, {} succeeded{skipped}", self.failed.len())
    }
}

/// Returns the number before `word` in a result line of libtest.
fn count_of(counts: &str, word: &str) -> usize {
    let words: Vec<_> = counts.split([' ', ';']).filter(|word| !word.is_empty()).collect();
    words.windows(2).find(|pair| pair[1] == word).and_then(|pair| pair[0].parse().ok()).unwrap_or(0)
}

/// Runs a command and calls `take` for each line of its two outputs, in the order of their arrival. Tells whether it
/// ended well.
fn each_line(command: &mut Command, mut take: impl FnMut(&str)) -> Result<bool> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (sender, lines) = mpsc::channel();
    let stdout = child.stdout.take().context("the command has a stdout")?;
    let stderr = child.stderr.take().context("the command has a stderr")?;
    for stream in [Box::new(stdout) as Box<dyn std::io::Read + Send>, Box::new(stderr)] {
        let sender = sender.clone();
        thread::spawn(move || {
            let lines = BufReader::new(stream).split(b'\n').map_while(Result::ok);
            lines
                .map(|line| String::from_utf8_lossy(&line).into_owned())
                .try_for_each(|line| sender.send(line))
        });
    }
    drop(sender);
    lines.iter().for_each(|line| take(&line));
    Ok(child.wait()?.success())
}

/// Runs a command, or a shell, as a user of a fresh lab.
///
/// # Errors
/// The lab cannot be set up, or the command fails.
pub(crate) fn enter_lab(view: &str, command: &[String]) -> Result<()> {
    let view = View::of_name(view).with_context(|| format!("there is no view {view}"))?;
    if view.filter().is_some() {
        step(&mut cargo(&["build", "--quiet", "--package", "tests", "--bin", "under-filter"]))?;
    }
    tests::account::check_tools()?;
    if let Some(why) = subject().missing() {
        bail!("{why}: run cargo xtask install --prefix {} first", tests::subject::prefix().display());
    }
    tests::rootfs::busybox()?;
    let lab = Lab::new(view)?;
    let ana = lab.user("ana");
    let shell = ["sh".to_owned()];
    let words = if command.is_empty() { &shell } else { command };
    if std::io::stdin().is_terminal() {
        println!(
            "{} in the {} view; root file systems are in /run/bryo-lab/rootfs",
            ana.account().login,
            lab.view().name()
        );
    }
    let term = env::var_os("TERM").unwrap_or_else(|| "dumb".into());
    match ana.run(&words[0], &words[1..]).env("TERM", term).interactive()? {
        0 => Ok(()),
        status => bail!("{} exits with {status}", words[0]),
    }
}

#[cfg(test)]
mod tests_of_the_tally {
    use super::*;

    fn tally(text: &str) -> Tally {
        let (mut tally, mut suite) = (Tally::default(), String::new());
        text.lines().for_each(|line| {
            tally.read(line, &mut suite);
        });
        tally
    }

    const OUTPUT: &str = "\
     Running tests/lifecycle.rs (target/debug/deps/lifecycle-b69766d751f804cb)
test one::hybrid ... ok
SKIP: lifecycle::two::hybrid: strace is not installed
test two::hybrid ... ok
test three::hybrid ... FAILED
test four ... ignored, a step of three
test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 28.18s
";

    #[test]
    fn a_skipped_test_does_not_count_as_passed() {
        assert_eq!(tally(OUTPUT).last_line(), "1 passed, 1 failed, 2 skipped");
    }

    #[test]
    fn an_attack_that_was_not_made_is_not_one_that_failed() {
        assert_eq!(tally(OUTPUT).last_line_of_attacks(), "2 attacks, 1 succeeded, 2 not made");
    }

    #[test]
    fn a_claim_about_the_machine_is_not_skipped_once_it_runs_there() {
        let mut tally = tally(
            "SKIP: systemd::a::vm: it runs in the virtual machine: cargo xtask vm test\n\
             test a::vm ... ok\ntest result: ok. 1 passed; 0 failed\n",
        );
        assert_eq!(tally.last_line(), "0 passed, 0 failed, 1 skipped");
        tally.forget_those_of_the_machine();
        tally.read("test result: ok. 1 passed; 0 failed", &mut String::new());
        assert_eq!(tally.last_line(), "1 passed, 0 failed, 0 skipped");
    }

    #[test]
    fn a_failed_test_is_named_with_its_suite() {
        assert_eq!(tally(OUTPUT).failed, ["tests/lifecycle.rs three::hybrid"]);
    }

    #[test]
    fn a_reason_is_kept() {
        assert_eq!(tally(OUTPUT).skipped[0], "lifecycle::two::hybrid: strace is not installed");
        assert_eq!(tally(OUTPUT).skipped[1], "tests/lifecycle.rs four: ignored, a step of three");
    }
}
