//! The program that the attack suites run: in a container as its root, as its init, or beside it as another user.
//!
//! Each verb tries one thing and prints a line `breach: ...` for each time that it worked, then `tried: N`. So silence
//! is told from success: a test asks for both. It is linked statically, to run in any root file system.
//!
//! Called by any other name (`/sbin/init`, `/bin/sh`), as when it stands in for a program of an image, it appends to
//! `/reports` who it is there.

#![deny(unsafe_code)]

mod calls;
mod commands;
mod devices;
mod entering;
mod exchange;
mod executables;
mod forking;
mod kernel_files;
mod others;
mod ports;
mod report;
mod sockets;
#[allow(unsafe_code, reason = "the one place of this crate that calls the kernel")]
mod sys;
mod terminal;
mod writing;

use std::io;
use std::process::ExitCode;

/// What the attempts of one verb came to.
#[derive(Debug, Default)]
struct Attempts {
    tried: usize,
    breaches: Vec<String>,
}

impl Attempts {
    /// Counts an attempt; one that gave a value is a breach.
    fn count<T>(&mut self, what: &str, outcome: io::Result<T>) {
        self.tried += 1;
        if outcome.is_ok() {
            self.breaches.push(what.to_owned());
        }
    }

    fn text(&self) -> String {
        let breaches: String = self.breaches.iter().map(|breach| format!("breach: {breach}\n")).collect();
        format!("{breaches}tried: {}\n", self.tried)
    }
}

/// Turns a call that reached the kernel, whatever the kernel said, into a success of the attack.
fn unless_refused(made: io::Result<i64>, refusal: i32) -> io::Result<()> {
    match made {
        Err(error) if error.raw_os_error() == Some(refusal) => Err(error),
        _ => Ok(()),
    }
}

const USAGE: &str = "usage: attacker terminal TEXT | exchange A B N | entering STOP RESULT | report | executables STOP RESULT |
       sockets | cgroups | devices | forking N | lingering | others PID | writing DIR... | commands SOCKET HOW | calls | calls-32 |
       serve PORT [ADDRESS] | ask tcp|udp ADDRESS TEXT | flood ADDRESS BYTES | hold ADDRESS N |
       stay ADDRESS";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let name = words.first().and_then(|word| word.rsplit('/').next()).unwrap_or_default();
    if name != "attacker" {
        return report::stand_in(name);
    }
    let done = match words[1..] {
        ["terminal", text] => Ok(terminal::attack(text)),
        ["exchange", a, b, times] => exchange::attack(a, b, times),
        ["entering", stop, result] => entering::attack(stop).and_then(|found| write(result, &found)),
        ["executables", stop, result] => executables::attack(stop).and_then(|found| write(result, &found)),
        ["report"] => Ok(report::report()),
        ["sockets"] => sockets::attack().map(|found| found.text()),
        ["cgroups"] => Ok(kernel_files::attack_cgroups().text()),
        ["calls"] => Ok(calls::attack().text()),
        ["calls-32"] => Ok(calls::attack_in_32_bits().text()),
        ["others", pid] => Ok(others::attack(pid).text()),
        ["forking", times] => Ok(forking::attack(times)),
        ["lingering"] => Ok(forking::linger()),
        ["devices"] => Ok(devices::attack().text()),
        ["writing", ref directories @ ..] => Ok(writing::attack(directories).text()),
        ["serve", port] => ports::serve(port, None),
        ["serve", port, address] => ports::serve(port, Some(address)),
        ["ask", protocol, address, text] => ports::ask(protocol, address, text),
        ["flood", address, bytes] => ports::flood(address, bytes),
        ["hold", address, count] => ports::hold(address, count),
        ["stay", address] => ports::stay(address),
        ["commands", socket, how] => commands::attack(socket, how),
        _ => Err(io::Error::other(USAGE)),
    };
    match done {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("attacker: {error}");
            ExitCode::from(2)
        }
    }
}

/// Puts the result where the test looks for it, at once or not at all. Nothing is left to print.
fn write(result: &str, found: &Attempts) -> io::Result<String> {
    let new = format!("{result}.new");
    std::fs::write(&new, found.text())?;
    std::fs::rename(new, result)?;
    Ok(String::new())
}
