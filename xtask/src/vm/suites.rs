//! The suites that run in the guest: built outside, where that is fast, and carried in by a shared directory.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;
use tests::subject::Subject;

use super::machine::{Machine, Start};
use crate::build::{PROGRAMS, Place, Speed};
use crate::install::{HELPERS, Helper, LXC_NAMES};
use crate::shell::{cargo, read, root, step, target};

/// A suite whose claims are about the guest.
#[derive(Debug)]
pub(super) struct Suite {
    pub(super) name: &'static str,
    /// It is run when none is named.
    pub(super) is_usual: bool,
    /// It starts Debian's own systemd in a container.
    needs_debian: bool,
    /// Its claims can be tried on LXC, too.
    pub(super) is_for_lxc: bool,
}

/// All of them.
pub(super) const ALL: [Suite; 8] = [
    Suite { name: "systemd", is_usual: true, needs_debian: false, is_for_lxc: true },
    Suite { name: "systemd_limits", is_usual: false, needs_debian: false, is_for_lxc: true },
    Suite { name: "systemd_logins", is_usual: false, needs_debian: false, is_for_lxc: false },
    Suite { name: "systemd_late", is_usual: false, needs_debian: false, is_for_lxc: false },
    Suite { name: "systemd_without_bus", is_usual: false, needs_debian: false, is_for_lxc: false },
    Suite { name: "systemd_runtimes", is_usual: false, needs_debian: false, is_for_lxc: false },
    Suite { name: "systemd_inside", is_usual: false, needs_debian: true, is_for_lxc: false },
    Suite { name: "apparmor", is_usual: false, needs_debian: true, is_for_lxc: false },
];

/// Runs suites in the guest, and tells whether nothing failed. What libtest prints there is printed here.
///
/// # Errors
/// Something cannot be built, or the guest cannot be run.
pub(super) fn run(
    guest: &Path,
    suites: &[&Suite],
    subject: Subject,
    only: Option<&str>,
    speed: Speed,
) -> Result<bool> {
    let stage = target().join("vm-stage");
    if stage.exists() {
        fs::remove_dir_all(&stage).with_context(|| format!("removing {}", stage.display()))?;
    }
    if subject == Subject::Bryo {
        programs(&stage, speed)?;
    }
    let give = |archive: &str| copy(&tests::rootfs::cache().join(archive), &stage.join(archive));
    tests::rootfs::busybox()?;
    for archive in ["busybox.tar.zst", "busybox.tar.xz", "busybox-meta.tar.xz"] {
        give(archive)?;
    }
    for profile in ["bryo", "bryo-container"] {
        copy(&root().join("config/share/apparmor").join(profile), &stage.join("apparmor").join(profile))?;
    }
    let mut well = true;
    for suite in suites {
        if suite.needs_debian {
            tests::rootfs::debian_with_sessions()?;
            for release in ["12", "13"] {
                give(&format!("debian-{release}-sessions.tar.zst"))?;
            }
        }
        copy(&built(suite.name)?, &stage.join("suite"))?;
        println!("     Running tests/{}.rs (in the virtual machine)", suite.name);
        well &=
            Machine::start(guest, Start::Saved, Some(&stage))?.run("root", true, &script(subject, only))?
                == 0;
    }
    Ok(well)
}

/// Lays out the programs as an installation has them. Their rights they get in the guest.
fn programs(stage: &Path, speed: Speed) -> Result<()> {
    for program in &PROGRAMS {
        let directory = match program.place {
            Place::Bin => "prefix/bin",
            Place::Libexec | Place::Attack => "prefix/libexec/bryo",
        };
        copy(&program.build(speed)?, &stage.join(directory).join(program.name))?;
    }
    let names = stage.join("prefix/bin");
    let link = |name| symlink("bryo", names.join(name)).with_context(|| format!("linking {name}"));
    LXC_NAMES.into_iter().try_for_each(link)
}

/// Builds a suite and returns its program.
fn built(suite: &str) -> Result<PathBuf> {
    let words = ["test", "--quiet", "--package", "tests", "--test", suite, "--no-run"];
    step(&mut cargo(&words))?;
    let messages = read(cargo(&words).arg("--message-format=json"))?;
    let executable = |line: &str| {
        let message: Value = serde_json::from_str(line).ok()?;
        // The programs of the package are built too.
        if message["target"]["name"] != suite {
            return None;
        }
        Some(PathBuf::from(message["executable"].as_str()?))
    };
    messages
        .lines()
        .find_map(executable)
        .with_context(|| format!("cargo names no program of the suite {suite}"))
}

/// What root does in the guest: it installs the programs, and runs the suite, one claim after the other.
fn script(subject: Subject, only: Option<&str>) -> String {
    let right =
        |helper: &Helper| format!("setcap {} prefix/libexec/bryo/{}\n", helper.capabilities, helper.name);
    let (rights, name): (String, _) = match subject {
        Subject::Bryo => (HELPERS.iter().map(right).collect(), "bryo"),
        Subject::Lxc => (String::new(), "lxc"),
    };
    let only = only.map(|only| super::quoted(&[only.to_owned()])).unwrap_or_default();
    format!(
        "set -e\nmkdir /opt/stage\ncp -r /mnt/share/. /opt/stage\ncd /opt/stage\n{rights}\
         BRYO_SUBJECT={name} BRYO_VM_STAGE=/opt/stage RUST_BACKTRACE=0 ./suite --test-threads=1 {only}"
    )
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let directory = to.parent().context("a file of the stage has a directory")?;
    fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
    fs::copy(from, to).map(drop).with_context(|| format!("copying {} to {}", from.display(), to.display()))
}
