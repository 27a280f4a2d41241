//! Does the steps of a plan, one after the other.

use std::fs::{DirBuilder, File, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use types::Signal;

use super::facts::{self, Facts};
use super::step::{Act, Program, Step};
use crate::error::{Doing, Error, Kind, Result};

/// How long a dnsmasq may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long an address may be in use that is to be free.
const PATIENCE_FOR_ADDRESS: Duration = Duration::from_secs(5);

/// Keeps others from setting up or tearing down at the same time, as long as it lives.
#[derive(Debug)]
pub struct Turn(#[allow(dead_code, reason = "it is the lock")] File);

/// The file whose lock it is. Whoever may open a file may lock it, so no other than root may.
const LOCK: &str = "/run/bryo/net.lock";

impl Turn {
    /// Takes the turn.
    ///
    /// # Errors
    /// [`Kind::Busy`] while somebody else has it.
    pub fn take() -> Result<Self> {
        let failed = |error: std::io::Error| io(&error).doing(format!("locking {LOCK}"));
        let directory = Path::new(LOCK).parent().unwrap_or(Path::new("/"));
        make_directory(directory).map_err(failed)?;
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(LOCK)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => {
                Err(Error::new(Kind::Busy, "another bryo net works on the host's bridges at this moment"))
            }
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }
}

/// Does one step.
///
/// # Errors
/// It cannot be done. What was done before stays, and is found by the next setup.
pub fn carry_out(step: &Step, facts: &Facts) -> Result<()> {
    let done = match &step.act {
        Act::MakeDirectory(path) => make_directory(path).map_err(|error| io(&error)),
        Act::RemoveFile(path) => match std::fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(io(&error)),
            _ => Ok(()),
        },
        Act::Set { file, value } => set(file, value),
        Act::Run { program: Program::Dnsmasq, arguments, .. } => serve(arguments, facts),
        Act::Run { program, arguments, input } => run(*program, arguments, input.as_deref(), facts),
        Act::End { pid, marked } => end(*pid, marked),
    };
    done.doing(step.why.clone())
}

/// Makes a directory, with those above it, in which root alone makes files: whatever the caller's umask.
fn make_directory(path: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o755).create(path)
}

fn io(error: &std::io::Error) -> Error {
    Error::new(Kind::Kernel(error.raw_os_error().unwrap_or_default()), error.to_string())
}

/// Writes a sysctl, which is there already.
fn set(file: &str, value: &str) -> Result<()> {
    let written =
        File::options().write(true).open(file).and_then(|mut file| file.write_all(value.as_bytes()));
    written.map_err(|error| io(&error).doing(format!("writing {value} to {file}")))
}

/// Starts dnsmasq. One of a setup that was killed may have begun only now, and has the address then; and the kernel closes what
/// one that ends has had a little after nothing else is seen of it.
fn serve(arguments: &[String], facts: &Facts) -> Result<()> {
    let deadline = Instant::now() + PATIENCE_FOR_ADDRESS;
    loop {
        match run(Program::Dnsmasq, arguments, None, facts) {
            Err(e) if e.cause().contains("Address already in use") && Instant::now() < deadline => {}
            done => return done,
        }
        std::thread::sleep(Duration::from_millis(100));
        if facts::serves(arguments) {
            return Ok(());
        }
    }
}

fn run(program: Program, arguments: &[String], input: Option<&str>, facts: &Facts) -> Result<()> {
    let name = program.name();
    let path = facts
        .path(program)
        .ok_or_else(|| Error::new(Kind::ProgramMissing, format!("{name} is not installed")))?;
    let started = sys::process::spawn_with(&mut command(path, arguments), &[]);
    let mut child = started.map_err(|error| io(&error).doing(format!("starting {name}")))?;
    let fed = child.stdin.take().map(|mut pipe| pipe.write_all(input.unwrap_or_default().as_bytes()));
    // What a program says tells more than that it did not read.
    let ended = child.wait_with_output().map_err(|error| io(&error).doing(format!("waiting for {name}")))?;
    if !ended.status.success() {
        let said = String::from_utf8_lossy(&ended.stderr);
        let cause = format!("{name}: {}", said.trim());
        return Err(Error::new(Kind::Died, cause).doing(format!("{name} {}", arguments.join(" "))));
    }
    fed.unwrap_or(Ok(())).map_err(|error| io(&error).doing(format!("writing to {name}")))
}

/// Returns the command, with nothing of the caller's environment.
fn command(path: &Path, arguments: &[String]) -> Command {
    let mut command = Command::new(path);
    command.args(arguments).env_clear().env("LC_ALL", "C").env("PATH", super::step::DIRECTORIES.join(":"));
    // A daemon keeps what it was given, and nobody is to wait for its end.
    command.current_dir("/").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// Ends a dnsmasq that has the mark among its arguments still.
fn end(pid: i32, marked: &str) -> Result<()> {
    let is_there = || facts::arguments_of(pid).is_some_and(|words| words.iter().any(|word| word == marked));
    if !is_there() {
        return Ok(());
    }
    let process = sys::process::pidfd(pid)?;
    let deadline = Instant::now() + PATIENCE;
    // Another process may have got the number since; the descriptor is of the one that is looked at again.
    if is_there() {
        sys::process::send_signal(process.as_fd(), Signal::TERM)?;
    }
    // Its arguments are gone before its sockets are.
    while !sys::process::has_ended(process.as_fd()) {
        if Instant::now() > deadline {
            return Err(Error::new(Kind::TimedOut, format!("process {pid} does not end")));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
