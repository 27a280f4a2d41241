//! bryo-init: process 1 of a container that runs one application.
//!
//! An application is rarely made for being process 1: the kernel drops signals that it has no handler for,
//! and children of others that it never heard of become its own. So this program takes the place: it runs the
//! application as its child in a session of its own, passes signals on, reaps what becomes an orphan, and
//! ends with the status of the application. Whatever still runs then is killed by the kernel, together with
//! the pid namespace.
//!
//! Without a PID namespace of the container's own, but with its signals kept in it by Landlock (`--end-all`), this program
//! kills the rest itself; the application, which is kept in a domain below, cannot kill this program before.
//!
//! It is linked statically, since it runs on the container's root file system, and does nothing but this.
//!
//! LXC: lxc-init waits until every orphan has ended, ignores SIGHUP, and mounts /proc, /dev/shm and
//! /dev/mqueue; here the container ends with its application, SIGHUP is passed on, and mounting is the
//! runtime's.

#![deny(unsafe_code)]

mod child;
mod signals;
#[allow(unsafe_code, reason = "the one place of this crate that calls the kernel and libc")]
mod sys;

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

/// The exit status when this program fails; 126 and 127 are those of a shell for a command that cannot be
/// run.
const STATUS_FAILED: i32 = 125;
const STATUS_NOT_EXECUTABLE: i32 = 126;
const STATUS_NOT_FOUND: i32 = 127;

/// Why the application does not run.
#[derive(Debug)]
enum Failure {
    /// No command, or an option, of which there is none.
    Usage,
    /// The kernel refused to prepare it.
    Kernel(io::Error),
    /// It cannot be executed.
    Exec(OsString, io::Error),
}

/// Runs the command that the arguments give, and returns the exit status to end with: the command's own, or
/// 128+n when signal n killed it.
pub fn run(arguments: Vec<OsString>) -> i32 {
    match supervise(arguments) {
        Ok(status) => status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default()),
        Err(failure) => {
            // Nobody is left to be told when stderr is gone; the status still tells.
            let _ = writeln!(io::stderr(), "bryo-init: {failure}");
            failure.status()
        }
    }
}

fn supervise(mut arguments: Vec<OsString>) -> Result<ExitStatus, Failure> {
    let rest = end_all(&mut arguments);
    let command = command(arguments)?;
    let signals = signals::Signals::block().map_err(Failure::Kernel)?;
    child::leave_terminal(&signals);
    let child = child::spawn(&command, rest).map_err(|error| Failure::Exec(command[0].clone(), error))?;
    // Held open here, the other end of a pipe would never see that the application closed its own.
    sys::close_all();
    let status = signals.serve(child);
    if rest == Rest::Ended {
        sys::kill_all_others();
    }
    Ok(status)
}

/// What becomes of the processes that the application leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    /// The kernel kills them with the PID namespace.
    Kernels,
    /// They are killed here: no signal of ours leaves the container.
    Ended,
}

/// Takes the option away, if it is there.
fn end_all(arguments: &mut Vec<OsString>) -> Rest {
    if arguments.first().is_some_and(|first| first == "--end-all") {
        arguments.remove(0);
        return Rest::Ended;
    }
    Rest::Kernels
}

/// Returns the command: what follows `--`, or everything when the first argument is no option.
fn command(mut arguments: Vec<OsString>) -> Result<Vec<OsString>, Failure> {
    match arguments.first().map(|first| first.as_encoded_bytes()) {
        Some(b"--") => drop(arguments.remove(0)),
        Some([b'-', ..]) | None => return Err(Failure::Usage),
        Some(_) => {}
    }
    if arguments.is_empty() { Err(Failure::Usage) } else { Ok(arguments) }
}

impl Failure {
    fn status(&self) -> i32 {
        match self {
            Self::Exec(_, error) => match error.raw_os_error() {
                Some(libc::ENOENT) => STATUS_NOT_FOUND,
                // No memory or process to be had says nothing about the command.
                Some(libc::EAGAIN | libc::ENOMEM) => STATUS_FAILED,
                _ => STATUS_NOT_EXECUTABLE,
            },
            Self::Usage | Self::Kernel(_) => STATUS_FAILED,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage => f.write_str("usage: bryo-init [--end-all] [--] COMMAND [ARGUMENT...]"),
            Self::Kernel(error) => write!(f, "blocking signals: {error}"),
            Self::Exec(command, error) if error.raw_os_error() == Some(libc::ENOENT) => {
                write!(f, "{}: not found (or the interpreter that it names is not)", command.display())
            }
            Self::Exec(command, error) => write!(f, "{}: {error}", command.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> Option<Vec<OsString>> {
        command(arguments.iter().map(OsString::from).collect()).ok()
    }

    #[test]
    fn a_command_stands_first_or_after_two_dashes() {
        let command = |words: &[&str]| Some(words.iter().map(OsString::from).collect());
        assert_eq!(read(&["sh", "-c", "true"]), command(&["sh", "-c", "true"]));
        assert_eq!(read(&["--", "sh"]), command(&["sh"]));
        assert_eq!(read(&["--", "--"]), command(&["--"]));
        assert_eq!(read(&["sh", "--"]), command(&["sh", "--"]));
    }

    #[test]
    fn the_option_stands_first_alone() {
        let mut arguments = ["--end-all", "--", "--end-all"].map(OsString::from).to_vec();
        assert_eq!(end_all(&mut arguments), Rest::Ended);
        assert_eq!(arguments, ["--", "--end-all"]);
        assert_eq!(end_all(&mut arguments), Rest::Kernels);
    }

    #[test]
    fn no_command_and_options_are_refused() {
        for arguments in [&[][..], &["--"], &["-q", "sh"], &["--help"], &["-"]] {
            assert_eq!(read(arguments), None, "{arguments:?}");
        }
    }
}
