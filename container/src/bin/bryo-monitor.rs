//! `bryo-monitor`: the process that owns a running container, and, in fresh execs of itself, the one that attaches
//! to it and the one that takes what comes to its published ports. Started by `bryo` alone; its arguments are numbers of inherited fds.

use std::os::fd::OwnedFd;
use std::process::ExitCode;

use container::attach::{self, Fds};
use container::network::publish::forward::{self, Handed};
use container::plan::StartPlan;
use container::{Error, Kind, Result, monitor};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let status = match words.split_first() {
        Some((&"start", fds)) => start(fds),
        Some((&"attach", rest)) => enter(rest),
        Some((&"forward", [_name, ports, fds @ ..])) => lead(ports, fds),
        _ => Err(Error::new(Kind::Usage, "bryo-monitor is started by bryo")),
    };
    match status {
        Ok(status) => ExitCode::from(status as u8),
        Err(e) => {
            eprintln!("bryo-monitor: {e}");
            ExitCode::from(2)
        }
    }
}

/// Takes the fds that the arguments name; whatever else the caller had open is closed.
fn taken(words: &[&str]) -> Result<Vec<OwnedFd>> {
    let number =
        |word: &&str| word.parse().map_err(|_| Error::new(Kind::Usage, format!("{word:?} is no fd")));
    let numbers = words.iter().map(number).collect::<Result<Vec<i32>>>()?;
    sys::process::close_inherited_except(&numbers)?;
    numbers.into_iter().map(|number| Ok(sys::process::inherited(number)?)).collect()
}

fn start(numbers: &[&str]) -> Result<i32> {
    let mut fds = taken(numbers)?.into_iter();
    let (Some(plan), Some(report)) = (fds.next(), fds.next()) else {
        return Err(Error::new(Kind::Usage, "start needs the fds of plan and report"));
    };
    let streams: Option<[OwnedFd; 3]> = fds.collect::<Vec<_>>().try_into().ok();
    let plan =
        sys::memfd::read_sealed(plan).map_err(Error::from).and_then(|bytes| StartPlan::from_bytes(&bytes));
    match plan {
        Ok(plan) => Ok(monitor::run(&plan, report, streams.as_ref())),
        Err(failure) => Ok(monitor::refuse(report, failure)),
    }
}

/// Takes what comes to published ports. The container's name is for whoever looks at the list of processes.
fn lead(ports: &str, numbers: &[&str]) -> Result<i32> {
    let mut fds = taken(numbers)?.into_iter();
    let (Some(user), Some(network), Some(ready)) = (fds.next(), fds.next(), fds.next()) else {
        return Err(Error::new(Kind::Usage, "forward needs the fds of two namespaces and a pipe"));
    };
    let handed = Handed { user, network, ready, ports: ports.to_owned(), listeners: fds.collect() };
    forward::run(handed).map(|never| match never {})
}

fn enter(words: &[&str]) -> Result<i32> {
    let [devpts, unified, numbers @ ..] = words else {
        return Err(Error::new(Kind::Usage, "attach needs fds"));
    };
    let mut fds = taken(numbers)?.into_iter();
    let mut next = || fds.next().ok_or_else(|| Error::new(Kind::Usage, "attach needs more fds"));
    let fds = Fds {
        connection: next()?,
        streams: [next()?, next()?, next()?],
        cwd: next()?,
        request: next()?,
        entry: next()?,
        init: next()?,
        devpts: if *devpts == "devpts" { Some(next()?) } else { None },
        unified: if *unified == "unified" { Some(next()?) } else { None },
        cgroups_v1: fds.collect(),
    };
    Ok(attach::enter(&fds))
}
