//! `bryo-lxcfs`: shows every container of a user its own limits in /proc and /sys. Started by `bryo-monitor` alone, with the
//! number of an inherited socket and the directory that it is in.

use std::path::PathBuf;
use std::process::ExitCode;

use lxcfs::container::Options;
use lxcfs::server::{self, Server};
use lxcfs::shut;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let started = match &arguments[..] {
        [verb, listener, directory, options @ ..] if verb == "serve" => {
            let options =
                Options { coalesce: options.iter().any(|word| word == "--coalesce"), ..Options::default() };
            serve(listener, PathBuf::from(directory), options)
        }
        _ => Err("bryo-lxcfs is started by bryo".to_owned()),
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
