//! `cargo xtask vm`: a Debian 13 with systemd as its init, cgroup v2 and AppArmor, in an emulated machine.
//!
//! The guest is made and booted once, and the state of the booted machine is saved. Each run takes it up again with a
//! disk of its own, which is thrown away. The state belongs to one disk, one version of qemu and one set of devices, so
//! it is kept under `target/vm` by a key of all these.

mod guest;
mod machine;
mod suites;

use std::env;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ::tests::subject::Subject;
use anyhow::{Context, Result, ensure};
use clap::Subcommand;

use crate::build::Speed;
use crate::packages;
use machine::{Machine, Start};

/// What is done with the virtual machine.
#[derive(Subcommand)]
pub(crate) enum Vm {
    /// Makes the guest and saves its booted state, where that is not done yet; prints the directory.
    Build,
    /// Runs a command in the guest, and exits with its status.
    ///
    /// The users ana, who lingers, and ben are ordinary ones; their commands run in a service of their own systemd.
    Run {
        /// Who runs the command: root, ana or ben.
        #[arg(short, long, default_value = "root", value_name = "USER")]
        user: String,
        /// A directory of this machine that the guest sees as /mnt/share.
        #[arg(long, value_name = "DIR")]
        share: Option<PathBuf>,
        /// Boot instead of taking up the saved state.
        #[arg(long)]
        cold: bool,
        /// The command, such as: cargo xtask vm run -u ana -- systemctl --user status
        #[arg(last = true, required = true, value_name = "CMD")]
        command: Vec<String>,
    },
    /// Runs suites in the guest, with the programs built outside.
    Test {
        /// The suite [default: those that take few minutes].
        #[arg(value_name = "SUITE", conflicts_with = "all")]
        suite: Option<String>,
        /// Run all suites.
        #[arg(long)]
        all: bool,
        /// Test the guest's own LXC, as far as the claims are about both.
        #[arg(long)]
        lxc: bool,
        /// Run the claims alone that have this in their names.
        #[arg(long, value_name = "PART")]
        only: Option<String>,
        /// Build the programs unoptimised: for trying out a change.
        #[arg(long)]
        quick: bool,
    },
}

/// Says why the suites cannot be run at once, or nothing.
pub(crate) fn is_missing() -> Option<String> {
    guest::is_missing()
}

/// Does what was asked, and returns the status to exit with.
///
/// # Errors
/// The guest cannot be made or run.
pub(crate) fn run(task: &Vm) -> Result<ExitCode> {
    packages::install_emulator()?;
    let guest = guest::ready()?;
    match task {
        Vm::Build => {
            println!("{}", guest.display());
            Ok(ExitCode::SUCCESS)
        }
        Vm::Run { user, share, cold, command } => {
            let share = share.as_deref().map(directory).transpose()?;
            let start = if *cold { Start::Cold } else { Start::Saved };
            let machine = Machine::start(&guest, start, share.as_deref())?;
            let status = machine.run(user, share.is_some(), &quoted(command))?;
            Ok(ExitCode::from(status))
        }
        Vm::Test { suite, all, lxc, only, quick } => {
            let subject = if *lxc { Subject::Lxc } else { Subject::Bryo };
            let speed = if *quick { Speed::Quick } else { Speed::Shipped };
            let is_meant = |known: &&suites::Suite| match suite {
                Some(name) => name == known.name,
                None => *all || known.is_usual,
            };
            let suites: Vec<_> =
                suites::ALL.iter().filter(is_meant).filter(|suite| !lxc || suite.is_for_lxc).collect();
            let names = suites::ALL.each_ref().map(|suite| suite.name);
            ensure!(!suites.is_empty(), "the suites are {}", names.join(", "));
            let well = suites::run(&guest, &suites, subject, only.as_deref(), speed)?;
            Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}

/// Returns the directory's absolute name.
fn directory(share: &Path) -> Result<PathBuf> {
    let share = share.canonicalize().with_context(|| format!("looking for {}", share.display()))?;
    ensure!(share.is_dir(), "{} is not a directory, which --share takes", share.display());
    Ok(share)
}

/// Writes words as one line of a shell's, which reads back the same words.
fn quoted(words: &[String]) -> String {
    let quote = |word: &String| format!("'{}'", word.replace('\'', r"'\''"));
    words.iter().map(quote).collect::<Vec<_>>().join(" ")
}

/// Says why no guest can be made here, or nothing.
fn may_build() -> Result<()> {
    ensure!(crate::shell::is_root(), "the guest is made by root: sudo cargo xtask vm build");
    ensure!(env::consts::ARCH == "x86_64", "the guest is one for x86_64, not for {}", env::consts::ARCH);
    Ok(())
}

/// How many bytes a file takes on its disk.
fn taken(path: &Path) -> u64 {
    path.metadata().map_or(0, |data| data.blocks() * 512)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::{program, read};

    #[test]
    fn a_shell_reads_back_the_words_of_a_command() {
        let words = ["a b", "", "it's", "$HOME `id` \\ \"\n*"].map(str::to_owned);
        let printed = format!("printf '%s|' {}", quoted(&words));
        assert_eq!(read(&mut program("sh", &["-c", &printed])).unwrap(), words.join("|") + "|");
    }
}
