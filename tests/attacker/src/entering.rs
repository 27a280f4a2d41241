//! A hostile init that looks into every process that enters its container.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::{Attempts, sys};

/// Looks, until the file `stop` is there, at every process but itself: at its files, maps, environment, memory and
/// namespaces, and by ptrace. A breach is whatever of that belongs to the host.
pub(crate) fn attack(stop: &str) -> io::Result<Attempts> {
    let own = namespaces("self");
    let mut seen = BTreeSet::new();
    let mut found = Attempts::default();
    while !Path::new(stop).exists() {
        for pid in processes() {
            if seen.insert(pid) {
                found.tried += 1;
            }
            look(pid, &own, &mut found.breaches);
        }
        found.breaches.sort();
        found.breaches.dedup();
    }
    Ok(found)
}

fn processes() -> Vec<i32> {
    let own = std::process::id() as i32;
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(|pid| *pid != own).collect()
}

fn look(pid: i32, own: &[(String, u64)], breaches: &mut Vec<String>) {
    let at = |part: &str| format!("/proc/{pid}/{part}");
    for link in ["exe", "cwd", "root"] {
        breaches.extend(foreign(&at(link)).map(|what| format!("{link} -> {what}")));
    }
    for fd in fs::read_dir(at("fd")).into_iter().flatten().flatten() {
        let number = fd.file_name().to_string_lossy().into_owned();
        let link = at(&format!("fd/{number}"));
        match fs::read_link(&link) {
            Ok(target) if target.starts_with("/") => {
                breaches.extend(foreign(&link).map(|what| format!("fd {number} -> {what}")));
            }
            Ok(target) if !["0", "1", "2"].contains(&number.as_str()) => {
                breaches.push(format!("fd {number} -> {}", target.display()));
            }
            _ => {}
        }
    }
    for (name, inode) in namespaces(&pid.to_string()) {
        if own.iter().any(|(own, known)| *own == name && *known != inode) {
            breaches.push(format!("ns/{name}"));
        }
    }
    let maps = fs::read_to_string(at("maps")).unwrap_or_default();
    let mapped = maps.lines().filter_map(|line| line.split_once('/')).map(|(_, path)| format!("/{path}"));
    breaches.extend(mapped.filter(|path| !Path::new(path).exists()).map(|path| format!("maps {path}")));
    let environment = fs::read(at("environ")).unwrap_or_default();
    if environment.windows(8).any(|window| window == b"bryo-lab") {
        breaches.push("environ of the host".to_owned());
    }
    trace(pid, breaches);
}

/// Traces the process; whoever can stop it before exec has it in hand with all that it holds.
fn trace(pid: i32, breaches: &mut Vec<String>) {
    let before = foreign(&format!("/proc/{pid}/exe"));
    let address = 0x40_0000;
    if let (Some(what), Ok(_)) = (&before, sys::peek(pid, address)) {
        breaches.push(format!("memory of {what}"));
    }
    if sys::trace(pid).is_ok()
        && let Some(what) = foreign(&format!("/proc/{pid}/exe"))
    {
        breaches.push(format!("ptrace of {what}"));
    }
}

/// Returns what a magic link leads to, if that is nothing of the container: its name here is another file, or none.
fn foreign(link: &str) -> Option<String> {
    let there = fs::metadata(link).ok()?;
    let name = fs::read_link(link).ok()?;
    let same = fs::metadata(&name).is_ok_and(|here| (here.dev(), here.ino()) == (there.dev(), there.ino()));
    // The process may have become another program between the two looks.
    let still = fs::read_link(link).ok()? == name;
    (!same && still).then(|| name.display().to_string())
}

fn namespaces(process: &str) -> Vec<(String, u64)> {
    let entries = fs::read_dir(format!("/proc/{process}/ns")).into_iter().flatten().flatten();
    let inode = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        Some((name, fs::metadata(entry.path()).ok()?.ino()))
    };
    entries.filter_map(inode).collect()
}
