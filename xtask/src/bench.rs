//! `cargo xtask bench`: Bryo beside the system's lxc tools and their kin, interleaved in one run.
//!
//! Only the ratios mean something: the machine is as busy as it is. Nothing is asserted here; the table says which of
//! Bryo's own bars hold.

pub(crate) mod lxcfs;
mod memory;
mod rows;
mod summary;

use anyhow::{Result, ensure};
use serde_json::json;
use tests::subject::{Subject, subject};
use tests::view::missing;
use tests::{Lab, User, View};

use crate::build::Speed;
use crate::{install, packages};
use rows::{Group, ROWS};

/// Runs as the test user; see its first lines.
const MEASURE: &str = include_str!("bench/measure.sh");

/// Runs as root beside it, for rows that take root.
const ROOT: &str = include_str!("bench/root.sh");

/// A Debian tree takes seconds to unpack, and room, so it is unpacked less often than the rest is run.
const CREATIONS: usize = 5;

/// Measures every row, or the one named, `runs` times, and prints medians, ratios and whether the bars hold.
///
/// # Errors
/// The lab cannot be set up, or a measured command fails.
pub(crate) fn run(runs: usize, only: Option<&str>, unified: bool, installed: bool, json: bool) -> Result<()> {
    ensure!(runs > 0, "--runs must be at least 1");
    let known = || ROWS.map(|row| row.name).join(", ");
    ensure!(
        ROWS.iter().any(|row| row.is_wanted(only)),
        "--only takes one of {}, or a group of them: {}",
        known(),
        Group::ALL.map(Group::word).join(", ")
    );
    prepare(installed)?;
    let wanted = |group: &Group| ROWS.iter().any(|row| row.group == *group && row.is_wanted(only));
    let groups: Vec<Group> = Group::ALL.into_iter().filter(wanted).collect();
    let lines = measure(runs, &groups, view(unified)?)?;
    let mut measured = summary::summarise(&lines)?;
    measured.retain(|measured| measured.row().is_wanted(only));
    match json {
        true => println!("{}", summary::json(runs, &measured)),
        false => {
            println!(
                "medians and minima of {runs} interleaved runs ({CREATIONS} of create and unpack); only ratios carry over"
            );
            print!("{}", summary::table(&measured));
            lines.lines().filter(|line| line.starts_with('#')).for_each(|note| println!("{note}"));
        }
    }
    Ok(())
}

/// Installs the rivals and, unless it is there already, Bryo as it is shipped.
fn prepare(installed: bool) -> Result<()> {
    packages::install()?;
    tests::account::check_tools()?;
    ensure!(subject() == Subject::Bryo, "the bench measures both subjects: unset BRYO_SUBJECT");
    if let Some(why) = Subject::Lxc.missing() {
        anyhow::bail!("{why}");
    }
    if installed {
        return Ok(());
    }
    let prefix = tests::subject::prefix();
    install::into(&prefix, Speed::Shipped)?;
    install::finish(&prefix)
}

/// Returns the view that is asked for, or the machine's own.
fn view(unified: bool) -> Result<View> {
    let view = if unified || missing(View::Hybrid).is_some() { View::Unified } else { View::Hybrid };
    missing(view).map_or(Ok(view), |why| anyhow::bail!("{why}"))
}

/// Measures the groups in one lab, on containers of the same root file system. Returns the measured lines.
fn measure(runs: usize, groups: &[Group], view: View) -> Result<String> {
    tests::rootfs::busybox()?;
    if groups.iter().any(|group| matches!(group, Group::Unpack | Group::Create | Group::Images)) {
        tests::rootfs::debian()?;
    }
    let lab = Lab::new(view)?;
    let ana = lab.user("ana");
    ana.write_config_for_real_lxc();
    ana.busybox("web-bryo");
    ana.busybox_of_real_lxc("web-lxc");
    prepare_bundle(ana);
    let fifty =
        "for n in $(seq 50); do mkdir -p fifty/s$n; cp .local/share/lxc/web-lxc/config fifty/s$n/; done";
    ana.sh(fifty).succeeds();
    let mut lines = String::new();
    for group in groups {
        lines += &match group {
            Group::Memory => memory::measure(ana)?,
            Group::Lxcfs => lxcfs::measure(&lab, lab.user("ben"), runs)?,
            Group::Unpack | Group::Create => timed(ana, *group, runs.min(CREATIONS)),
            _ => timed(ana, *group, runs),
        };
    }
    ana.destroy("web-bryo");
    ana.real_lxc("destroy", ["-n", "web-lxc"]).succeeds();
    Ok(lines)
}

fn timed(user: User<'_>, group: Group, runs: usize) -> String {
    let account = user.account();
    let numbers = [runs.to_string(), account.subuids.start.to_string(), account.subgids.start.to_string()];
    let arguments = ["-c", MEASURE, "measure", group.word()].map(str::to_owned).into_iter().chain(numbers);
    let mut measure = user.run("bash", arguments).in_session().seconds(3600);
    if matches!(group, Group::Network | Group::Busy) {
        measure = measure.amid(format!("login={}\n{ROOT}", account.login));
    }
    measure.succeeds().stdout
}

/// Writes a bundle of crun's: true in all namespaces, on LXC's root file system. Source: the OCI runtime specification,
/// config.md and config-linux.md.
fn prepare_bundle(user: User<'_>) {
    let account = user.account();
    let map = |start: u32| json!([{"containerID": 0, "hostID": start, "size": 65536}]);
    let namespaces =
        ["user", "mount", "pid", "network", "uts", "ipc", "cgroup"].map(|kind| json!({"type": kind}));
    let mounts = [("/proc", "proc"), ("/dev", "tmpfs"), ("/sys", "sysfs")]
        .map(|(place, kind)| json!({"destination": place, "type": kind, "source": kind}));
    let bundle = json!({
        "ociVersion": "1.0.0",
        "process": {"args": ["/bin/true"], "cwd": "/", "user": {"uid": 0, "gid": 0}},
        "root": {"path": user.lxcpath().join("web-lxc/rootfs"), "readonly": false},
        "mounts": mounts,
        "linux": {
            "namespaces": namespaces,
            "uidMappings": map(account.subuids.start),
            "gidMappings": map(account.subgids.start),
        },
    });
    user.write("bundle/config.json", &bundle.to_string());
}
