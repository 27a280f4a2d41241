//! `cargo xtask`: every habit of the project as one command each.

#![forbid(unsafe_code)]

mod bench;
mod build;
mod fuzz;
mod install;
mod lint;
mod load;
mod packages;
mod shell;
mod sweep;
mod test;
mod trial;
mod vm;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The project's tasks.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Builds Bryo, sets up what it can, and runs a command in a container.
    Try,
    /// Runs everything that this machine can test, and says what it skipped.
    Test {
        /// Run only this suite of the lab, such as `lifecycle`; may be repeated.
        #[arg(long = "suite", value_name = "NAME")]
        suites: Vec<String>,
        /// Test the system's own lxc tools instead of Bryo.
        #[arg(long)]
        lxc: bool,
        /// Build the programs unoptimised: for trying out a change.
        #[arg(long)]
        quick: bool,
        /// Leave the suites of the virtual machine out, which run where its state is saved or BRYO_VM=1 is set.
        #[arg(long)]
        no_vm: bool,
    },
    /// Attacks Bryo in every way that is known to have worked against its kind, and counts what succeeds.
    Attack {
        /// Run each race as often as it needs: 100,000 exchanged mount targets, 10,000 watched attaches.
        #[arg(long)]
        full: bool,
        /// Build the programs unoptimised: for trying out a change.
        #[arg(long)]
        quick: bool,
    },
    /// Checks format, lints, the direction of imports, and the licences of dependencies.
    Lint,
    /// Builds and installs Bryo with its helpers.
    Install {
        /// Where to [default: /usr/local for root, else ~/.local].
        #[arg(long, value_name = "DIR")]
        prefix: Option<PathBuf>,
    },
    /// Measures Bryo beside the system's lxc tools, crun and bubblewrap, and says which of its bars hold.
    Bench {
        /// How often each command is run.
        #[arg(long, default_value_t = 20, value_name = "N")]
        runs: usize,
        /// Measure this row of the table alone.
        #[arg(long, value_name = "ROW")]
        only: Option<String>,
        /// Show the pure cgroup2 view instead of the hybrid one.
        #[arg(long)]
        unified: bool,
        /// Measure the programs that are installed already.
        #[arg(long)]
        installed: bool,
        /// Print one JSON object instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// Starts, lists and stops many containers, for many users, and says what it leaves of the machine.
    Load(load::Load),
    /// Enters the lab as a test user, with the installed Bryo in the PATH.
    Lab {
        /// Show the pure cgroup2 view instead of the hybrid one.
        #[arg(long)]
        unified: bool,
        /// Show the inside of a container of another engine; `closed_cell` forbids namespaces.
        #[arg(long, value_name = "cell|closed_cell", conflicts_with = "unified", value_parser = ["cell", "closed_cell"])]
        view: Option<String>,
        /// The command to run [default: a shell].
        #[arg(last = true)]
        command: Vec<String>,
    },
    /// Kills and fails Bryo at every system call, and counts what does not recover.
    Sweep(sweep::Sweep),
    /// Fuzzes what reads text of an image's making, what the privileged helpers read, and what bryo-lxcfs does, with
    /// cargo-fuzz and a nightly compiler.
    Fuzz {
        /// Run this target alone: configuration, seccomp, mounts, usernet, subid, argv, netlink, fuse, host or cgroup.
        #[arg(long, value_name = "TARGET")]
        only: Option<String>,
        /// How long each target runs.
        #[arg(long, default_value_t = 600, value_name = "SECONDS")]
        time: u32,
    },
    /// Runs commands on a modern host: a Debian 13 with systemd, cgroup v2 and AppArmor in an emulated machine.
    #[command(subcommand)]
    Vm(vm::Vm),
    /// Removes the users, cgroups and files that labs and `try` made on this machine.
    Clean,
    /// Reads a file in a container, for the bench, and prints how many nanoseconds each time took.
    #[command(hide = true)]
    BenchRead { init: i32, file: String, readers: u64, reads: u64 },
    /// Serves a file that never changes, for the bench.
    #[command(hide = true)]
    BenchConstant { directory: std::path::PathBuf },
}

fn speed(quick: bool) -> build::Speed {
    if quick { build::Speed::Quick } else { build::Speed::Shipped }
}

fn main() -> ExitCode {
    let done = match Arguments::parse().task {
        Task::Try => trial::run(),
        Task::Test { suites, lxc, quick, no_vm } => {
            let machine = if no_vm || lxc { test::Machine::Never } else { test::Machine::WhereItIs };
            match test::run(&suites, lxc, speed(quick), machine) {
                Ok(true) => Ok(()),
                // The summary has said it all, and its counts are the last line.
                Ok(false) => return ExitCode::FAILURE,
                Err(error) => Err(error),
            }
        }
        Task::Attack { full, quick } => match test::attack(full, speed(quick)) {
            Ok(true) => Ok(()),
            Ok(false) => return ExitCode::FAILURE,
            Err(error) => Err(error),
        },
        Task::Lint => lint::run(),
        Task::Install { prefix } => install::run(prefix),
        Task::Bench { runs, only, unified, installed, json } => {
            bench::run(runs, only.as_deref(), unified, installed, json)
        }
        Task::Load(load) => load::run(load),
        Task::Lab { unified, view, command } => {
            test::enter_lab(view.as_deref().unwrap_or(if unified { "unified" } else { "hybrid" }), &command)
        }
        Task::Sweep(sweep) => match sweep.run() {
            Ok(true) => Ok(()),
            Ok(false) => return ExitCode::FAILURE,
            Err(error) => Err(error),
        },
        Task::Fuzz { only, time } => fuzz::run(only.as_deref(), time),
        Task::BenchRead { init, file, readers, reads } => bench::lxcfs::read_in(init, &file, readers, reads),
        Task::BenchConstant { directory } => bench::lxcfs::serve_constant(&directory),
        Task::Vm(task) => match vm::run(&task) {
            Ok(status) => return status,
            Err(error) => Err(error),
        },
        Task::Clean => tests::clean().and_then(|()| install::clean()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
