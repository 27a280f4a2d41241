//! Commands that the tasks run, printed as they run.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// Returns the root of the source tree.
pub(crate) fn root() -> &'static Path {
    tests::subject::source_root()
}

/// Returns the directory into which cargo builds: `CARGO_TARGET_DIR`, else `target`.
pub(crate) fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |directory| root().join(directory))
}

/// Prepares the cargo that runs this task, in the root of the tree.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args).current_dir(root());
    command
}

/// Prepares any program.
pub(crate) fn program(name: &str, args: &[&str]) -> Command {
    let mut command = Command::new(name);
    command.args(args).current_dir(root());
    command
}

/// Says what is about to happen and runs it.
///
/// # Errors
/// The program cannot be run or fails.
pub(crate) fn step(command: &mut Command) -> Result<()> {
    println!("+ {}", shown(command));
    let status = command.status().with_context(|| format!("running {}", shown(command)))?;
    ensure!(status.success(), "{} failed ({status})", shown(command));
    Ok(())
}

/// Runs a command quietly and returns its standard output.
///
/// # Errors
/// The program cannot be run or fails.
pub(crate) fn read(command: &mut Command) -> Result<String> {
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("running {}", shown(command)))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{} failed: {}", shown(command), errors.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Tells whether `program` is in the `PATH`.
pub(crate) fn has(program: &str) -> bool {
    env::var_os("PATH")
        .is_some_and(|path| env::split_paths(&path).any(|directory| directory.join(program).exists()))
}

/// Tells whether the task runs as root.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn shown(command: &Command) -> String {
    let words = [command.get_program()].into_iter().chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    let first = Path::new(words[0].as_ref()).file_name().map(|name| name.to_string_lossy().into_owned());
    first.into_iter().chain(words[1..].iter().map(ToString::to_string)).collect::<Vec<_>>().join(" ")
}
