//! `bryo-image`: unpacks, copies and removes root file systems. See the library for what it promises.
//!
//! Exit status: 0 done, 1 failed, 2 wrong arguments. The last line on stdout is the report, as JSON.

#![forbid(unsafe_code)]

use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::process::ExitCode;

use image::{Command, Confined, Error, Problem, Report, USAGE, UsageError};

fn main() -> ExitCode {
    let command = match Command::parse(std::env::args_os().skip(1)) {
        Ok(command) => command,
        Err(wrong) => return refuse(&wrong),
    };
    match run(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bryo-image: {error}");
            ExitCode::FAILURE
        }
    }
}

fn refuse(wrong: &UsageError) -> ExitCode {
    eprintln!("bryo-image: {wrong}\n{USAGE}");
    ExitCode::from(2)
}

fn run(command: Command) -> Result<(), Error> {
    match command {
        Command::Unpack { archive, root, what, ids } => {
            let (archive, root) = (inherited(archive)?, inherited(root)?);
            let confined = image::confine(root.as_fd());
            image::unpack(archive, root.as_fd(), what, ids).map(|report| tell(&report, confined))
        }
        Command::Copy { source, root, ids } => {
            let (source, root) = (inherited(source)?, inherited(root)?);
            let confined = image::confine(root.as_fd());
            image::copy(source.as_fd(), root.as_fd(), ids).map(|report| tell(&report, confined))
        }
        Command::Remove { root, name } => {
            let root = inherited(root)?;
            sys::file::remove_tree(root.as_fd(), &name).map_err(failed)
        }
    }
}

fn inherited(fd: RawFd) -> Result<OwnedFd, Error> {
    sys::process::inherited(fd).map_err(failed)
}

fn failed(error: sys::Error) -> Error {
    Error::Whole(Problem::Call(error))
}

fn tell(report: &Report, confined: Confined) {
    if report.devices_skipped > 0 {
        eprintln!(
            "bryo-image: note: {} device nodes were left out; only real root can make them, and a container gets its own",
            report.devices_skipped
        );
    }
    if let Some((name, file)) = &report.missed_xattr {
        eprintln!(
            "bryo-image: note: {} extended attributes were left out, the first is {name:?} of {file}",
            report.xattrs_dropped
        );
    }
    if confined == Confined::Partly {
        eprintln!("bryo-image: note: the kernel did not let the unpacker be shut in completely");
    }
    println!("{}", serde_json::json!(report));
}
