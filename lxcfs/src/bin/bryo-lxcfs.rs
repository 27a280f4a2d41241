//! `bryo-lxcfs`: shows containers their own limits in /proc and /sys. `bryo-monitor` starts it for all containers of a user, with
//! the number of an inherited socket and the directory that it is in. With `--system` it is a tree for other runtimes, and takes
//! the options of LXC's lxcfs.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use lxcfs::container::Options;
use lxcfs::server::{self, Server};
use lxcfs::shut;
use lxcfs::system::{Arguments, HELP, System};
use types::Signal;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let started = match &arguments[..] {
        [verb, listener, directory, options @ ..] if verb == "serve" => {
            let coalesce = options.iter().any(|word| word == "--coalesce");
            let options = Options { coalesce, ..Options::default() };
            serve(listener, PathBuf::from(directory), options)
        }
        [word, rest @ ..] if word == "--system" => match rest.first().map(String::as_str) {
            Some("-h" | "--help") => {
                print!("{HELP}");
                Ok(())
            }
            Some("-v" | "--version") => {
                println!("{}", env!("CARGO_PKG_VERSION"));
                Ok(())
            }
            _ => Arguments::parse(rest).and_then(system),
        },
        _ => Err(
            "bryo-lxcfs is started by bryo; bryo-lxcfs --system --help tells of the tree for other runtimes"
                .to_owned(),
        ),
    };
    match started {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("bryo-lxcfs: {e}");
            ExitCode::from(2)
        }
    }
}

fn serve(listener: &str, directory: PathBuf, options: Options) -> Result<(), String> {
    let number: i32 = listener.parse().map_err(|_| format!("{listener:?} is no fd"))?;
    let prepared = || -> sys::Result<Server> {
        sys::process::close_inherited_except(&[number])?;
        let listener = sys::process::inherited(number)?;
        server::detach()?;
        sys::rlimit::raise_files()?;
        let server = Server::new(listener, directory.clone(), options)?;
        shut::shut_in(&directory)?;
        Ok(server)
    };
    prepared().and_then(Server::run).map_err(|e| e.to_string())
}

/// Serves the tree until it is unmounted, or a signal ends it.
fn system(arguments: Arguments) -> Result<(), String> {
    let failed = |e: sys::Error| e.to_string();
    let Arguments { options, directory, pid_file } = arguments;
    sys::rlimit::raise_files().map_err(failed)?;
    // Before there are threads, which have the mask then.
    let signals = sys::signal::read_as_data(&[
        Signal::USR1.number(),
        Signal::USR2.number(),
        Signal::TERM.number(),
        Signal::INT.number(),
    ])
    .map_err(failed)?;
    std::fs::create_dir_all(&directory).map_err(|e| format!("making {}: {e}", directory.display()))?;
    let _held = pid_file.as_deref().map(hold).transpose()?;
    let (system, thread) = System::mount(options, &directory)?;
    while !thread.is_finished() {
        if !sys::event::readable(signals.as_fd(), Some(Duration::from_secs(1))).map_err(failed)? {
            continue;
        }
        match sys::signal::next(signals.as_fd()) {
            Some(signal) if signal == Signal::USR2.number() => system.toggle(),
            // LXC: loads its library anew; here there is none.
            Some(signal) if signal == Signal::USR1.number() => {}
            Some(_) => {
                sys::mount::detach(&directory).map_err(failed)?;
                break;
            }
            None => {}
        }
    }
    pid_file.map_or(Ok(()), |file| {
        std::fs::remove_file(&file).map_err(|e| format!("removing {}: {e}", file.display()))
    })
}

/// Writes this process's number into a file, and keeps a lock on it.
fn hold(file: &Path) -> Result<OwnedFd, String> {
    let about = |e: &dyn std::fmt::Display| format!("{}: {e}", file.display());
    let opened = std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(file);
    let opened = OwnedFd::from(opened.map_err(|e| about(&e))?);
    if !sys::path::try_lock(opened.as_fd()).map_err(|e| about(&e))? {
        return Err(about(&"another process holds it"));
    }
    std::fs::write(file, format!("{}\n", std::process::id())).map_err(|e| about(&e))?;
    Ok(opened)
}
