//! `cargo xtask load`: many containers, many users and many starts, and what they leave of the machine.
//!
//! The suite `many` claims the same of fewer. The leak check of every test stands around it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;

use anyhow::{Context, Result, ensure};
use tests::subject::{Subject, subject};
use tests::view::missing;
use tests::{Command, Lab, Output, User, View, at_once};

use crate::build::Speed;
use crate::install;

/// How much.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Load {
    /// Containers of one user.
    #[arg(long, default_value_t = 200, value_name = "N")]
    containers: usize,
    /// Commands at a time.
    #[arg(long, default_value_t = 20, value_name = "N")]
    at_once: usize,
    /// Starts of one container, and a tenth as many reboots.
    #[arg(long, default_value_t = 1000, value_name = "N")]
    starts: usize,
    /// How often all of it is done.
    #[arg(long, default_value_t = 1, value_name = "N")]
    rounds: usize,
    /// Show the pure cgroup2 view instead of the hybrid one.
    #[arg(long)]
    unified: bool,
}

/// Runs everything and prints the counts.
///
/// # Errors
/// The lab cannot be set up, or a command fails.
pub(crate) fn run(load: Load) -> Result<()> {
    ensure!(load.containers > 0 && load.at_once > 0, "--containers and --at-once must be at least 1");
    ensure!(subject() == Subject::Bryo, "only Bryo is put under load: unset BRYO_SUBJECT");
    tests::account::check_tools()?;
    let prefix = tests::subject::prefix();
    install::into(&prefix, Speed::Shipped)?;
    install::finish(&prefix)?;
    tests::rootfs::busybox()?;
    let view = if load.unified || missing(View::Hybrid).is_some() { View::Unified } else { View::Hybrid };
    let lab = Lab::crowded(view)?;
    let mut failures = 0;
    for round in 1..=load.rounds {
        println!("round {round} of {}, {} view", load.rounds, view.name());
        failures += containers(&lab, load)
            + users(&lab)
            + starts(&lab, load.starts)?
            + reboots(&lab, load.starts / 10)?;
    }
    lab.finish("the load");
    println!("nothing is left behind");
    ensure!(failures == 0, "{failures} failures");
    Ok(())
}

/// What came of commands that were run at once.
struct Counted {
    done: usize,
    failed: usize,
}

fn count(number: usize, commands: Vec<Command<'_>>) -> Counted {
    let outputs = at_once(number, commands.into_iter().map(|command| command.seconds(600)));
    let (done, failed): (Vec<Output>, Vec<Output>) =
        outputs.into_iter().partition(|output| output.status() == 0);
    failed.iter().for_each(|output| println!("  failed with {}: {}", output.status(), output.stderr.trim()));
    Counted { done: done.len(), failed: failed.len() }
}

/// Starts, lists and stops many containers of one user.
fn containers(lab: &Lab, load: Load) -> usize {
    let ana = lab.user("ana");
    let names: Vec<String> = (0..load.containers).map(|number| format!("c{number}")).collect();
    let all = |verb: &dyn Fn(&String) -> Vec<String>| {
        count(load.at_once, names.iter().map(|name| ana.bryo(verb(name))).collect())
    };
    let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
    let created = all(&|name| words(&["create", name, "/run/bryo-lab/rootfs/busybox.tar"]));
    let started = all(&|name| words(&["start", name]));
    let listed = running(ana);
    let stopped = all(&|name| words(&["stop", name, "--kill"]));
    let destroyed = all(&|name| words(&["destroy", name]));
    let failures: usize =
        [&created, &started, &stopped, &destroyed].iter().map(|counted| counted.failed).sum();
    let failures = failures + started.done.abs_diff(listed);
    println!(
        "{} created, {} started, {listed} listed, {} stopped, {} destroyed, {failures} failures",
        created.done, started.done, stopped.done, destroyed.done
    );
    failures
}

fn running(user: User<'_>) -> usize {
    let list = user.bryo(["ls"]).seconds(600).output();
    list.stdout.lines().filter(|line| line.contains("RUNNING")).count()
}

/// Has all users of the lab make, start, enter, stop and destroy a container at the same time.
fn users(lab: &Lab) -> usize {
    const LIFE: &str = "bryo create web /run/bryo-lab/rootfs/busybox.tar && bryo start web && \
                        bryo exec web -- true && bryo stop web --kill && bryo destroy web";
    let users = lab.users();
    let counted = count(users.len(), users.iter().map(|user| user.sh(LIFE)).collect());
    println!("{} users at once, {} failures", counted.done, counted.failed);
    counted.failed
}

/// Starts and stops one container many times, and compares what the machine holds.
fn starts(lab: &Lab, number: usize) -> Result<usize> {
    let ana = lab.user("ana");
    ana.bryo(["create", "web", "/run/bryo-lab/rootfs/busybox.tar"]).succeeds();
    // What the first ones make once, caches and slabs, is no leak.
    let some = |number: usize| {
        let script = format!(
            "n=0; for i in $(seq {number}); do bryo start web && bryo stop web --kill || n=$((n+1)); done; echo $n"
        );
        ana.sh(&script)
            .seconds(7200)
            .succeeds()
            .stdout
            .trim()
            .parse::<usize>()
            .context("the count of failures")
    };
    let early = some(20)?;
    let before = Machine::look(ana);
    let failures = some(number)?;
    let after = Machine::look(ana);
    ana.bryo(["destroy", "web"]).succeeds();
    println!("{number} starts, {failures} failures");
    before.compare(&after);
    Ok(early + failures + usize::from(!before.is_as(&after)))
}

/// Reboots one container many times, and compares what its monitor holds.
fn reboots(lab: &Lab, number: usize) -> Result<usize> {
    let ana = lab.user("ana");
    // With the metadata that names the signal by which a busybox reboots.
    ana.busybox("web");
    ana.bryo(["start", "web"]).succeeds();
    let some = |number: usize| {
        // A reboot is over when init is another. One that has just begun does not listen yet, and is asked again.
        let script = format!(
            "for i in $(seq {number}); do was=$(lxc-info -n web -pH); lxc-stop -n web -r; \
             until now=$(lxc-info -n web -pH) && [ -n \"$now\" ] && [ \"$now\" != \"$was\" ]; do sleep 0.2; lxc-stop -n web -r; done; done"
        );
        ana.sh(&script).seconds(7200).succeeds();
    };
    some(5);
    let monitor = ana.monitors().pop().context("no monitor runs")?;
    let before = monitor.holding().context("the monitor is gone")?;
    some(number);
    let after = monitor.holding().context("the monitor is gone")?;
    ana.bryo(["destroy", "-f", "web"]).succeeds();
    println!(
        "{number} reboots; the monitor's fds {} -> {}, anonymous memory {} -> {} kB",
        before.fds, after.fds, before.anonymous_kb, after.anonymous_kb
    );
    Ok(usize::from(after.fds != before.fds))
}

/// What the machine holds. Other work on it changes the first three too.
#[derive(Debug)]
struct Machine {
    available_kb: u64,
    slab_kb: u64,
    open_files: u64,
    cgroups: usize,
    mounts: usize,
    keys: String,
    namespaces: usize,
}

impl Machine {
    fn look(user: User<'_>) -> Self {
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let files = fs::read_to_string("/proc/sys/fs/file-nr").unwrap_or_default();
        let keys = fs::read_to_string("/proc/key-users").unwrap_or_default();
        let uid = format!("{}:", user.account().uid);
        // UID: usage, keys / instantiated keys, quotas. Source: proc(5), /proc/key-users.
        let keys = keys
            .lines()
            .find(|line| line.trim_start().starts_with(&uid))
            .and_then(|line| line.split_whitespace().nth(2));
        Self {
            available_kb: number(&memory, "MemAvailable:"),
            slab_kb: number(&memory, "Slab:"),
            open_files: number(&files, ""),
            cgroups: user.cgroups().iter().map(|directory| tests::cgroups::below(directory).len()).sum(),
            mounts: fs::read_to_string("/proc/self/mountinfo").unwrap_or_default().lines().count(),
            keys: keys.unwrap_or("0").to_owned(),
            namespaces: namespaces(user),
        }
    }

    /// Tells whether what only the user's containers change is as it was.
    fn is_as(&self, other: &Self) -> bool {
        (self.cgroups, self.mounts, self.namespaces) == (other.cgroups, other.mounts, other.namespaces)
    }

    fn compare(&self, after: &Self) {
        println!(
            "  MemAvailable {} -> {} kB, slab {} -> {} kB, open files {} -> {}",
            self.available_kb,
            after.available_kb,
            self.slab_kb,
            after.slab_kb,
            self.open_files,
            after.open_files
        );
        println!(
            "  cgroups {} -> {}, mounts {} -> {}, keys {} -> {}, namespaces {} -> {}",
            self.cgroups,
            after.cgroups,
            self.mounts,
            after.mounts,
            self.keys,
            after.keys,
            self.namespaces,
            after.namespaces
        );
    }
}

/// Returns the first number behind `name` in a text of the kernel's.
fn number(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0)
}

/// Counts the namespaces that processes of the user and its containers are in.
fn namespaces(user: User<'_>) -> usize {
    let of = |pid: i32| fs::read_dir(format!("/proc/{pid}/ns")).into_iter().flatten().flatten();
    let all = user.processes().into_iter().flat_map(|process| of(process.pid));
    all.filter_map(|entry| Some(fs::metadata(entry.path()).ok()?.ino())).collect::<BTreeSet<_>>().len()
}
