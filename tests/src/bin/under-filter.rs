//! `under-filter FILTER PROGRAM [ARGUMENT...]`: becomes a program under a system call filter of the lab.

#![forbid(unsafe_code)]

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use tests::filter::Filter;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let filter = arguments.next().and_then(|word| Filter::of_word(word.to_str()?));
    let (Some(filter), Some(program)) = (filter, arguments.next()) else {
        eprintln!("usage: under-filter FILTER PROGRAM [ARGUMENT...]");
        return ExitCode::FAILURE;
    };
    if let Err(error) = sys::seccomp::install(&filter.program()) {
        eprintln!("under-filter: {error}");
        return ExitCode::FAILURE;
    }
    let failed = Command::new(&program).args(arguments).exec();
    eprintln!("under-filter: {}: {failed}", program.display());
    ExitCode::FAILURE
}
