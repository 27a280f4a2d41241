//! `bryo-fetch`: asks image servers. See the library's `fetch` for what it promises.
//!
//! A program of its own, so that TLS and HTTP are in no process that holds anything else of the user's. Exit status: 0 done,
//! 1 failed, 2 wrong arguments. The last line on stdout is the report, as JSON.

#![forbid(unsafe_code)]

use std::error::Error;
use std::process::ExitCode;

use fetch::{self, FETCH_USAGE, Request, Shut, What};
use serde_json::json;

/// The longest failure that is told, in characters.
const LONGEST: usize = 4000;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).peekable();
    if arguments.next_if(|verb| verb == "gpgv").is_some() {
        let failed = fetch::become_gpgv(arguments);
        failed.unwrap_or_else(|error| eprintln!("gpgv: {error}"));
        return ExitCode::FAILURE;
    }
    let request = match Request::parse(arguments) {
        Ok(request) => request,
        Err(wrong) => {
            eprintln!("bryo-fetch: {wrong}\n{FETCH_USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(&request) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // What a server says could make a terminal show something else, or fill it.
            let said: String =
                error.to_string().chars().filter(|c| types::is_shown(*c)).take(LONGEST).collect();
            eprintln!("bryo-fetch: {said}");
            ExitCode::FAILURE
        }
    }
}

fn run(request: &Request) -> Result<(), Box<dyn Error>> {
    let (client, store, shut) = fetch::prepare(request)?;
    if shut == Shut::Partly {
        eprintln!("bryo-fetch: note: the kernel did not let the fetcher be shut in completely");
    }
    let report = match (&request.what, &request.exact, store) {
        (What::Pull(name), None, Some(store)) => json!(fetch::pull(&client, &store, name)?),
        (What::Pull(name), Some(exact), Some(store)) => {
            json!(fetch::pull_exact(&client, &store, name, exact)?)
        }
        (What::PullOfRegistry(reference), None, Some(store)) => {
            json!(fetch::pull_of_registry(&client, &store, reference)?)
        }
        (What::PullOfRegistry(reference), Some(exact), Some(store)) => {
            json!(fetch::pull_exact_of_registry(&client, &store, reference, exact)?)
        }
        _ => json!(fetch::list(&client)?),
    };
    println!("{report}");
    Ok(())
}
