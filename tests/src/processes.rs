//! The processes of the lab's users, as /proc shows them.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use anyhow::{Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::account::Account;
use crate::command::wait_until;

/// A process of a lab's user or of one of its containers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// Its process id on the machine.
    pub pid: i32,
    /// The user it runs as, on the machine.
    pub uid: u32,
    /// Its command line, or in brackets its name where it has none.
    pub command: String,
}

impl Process {
    /// Stops the process, as `kill -STOP` does.
    pub fn stop(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets a stopped process go on.
    pub fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.pid) {
            let _gone_already = kill_process(pid, signal);
        }
    }

    /// Returns what the process holds of the machine, or `None` when it is gone.
    pub fn holding(&self) -> Option<Holding> {
        let fds = fs::read_dir(format!("/proc/{}/fd", self.pid)).ok()?.count();
        let memory = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid)).ok()?;
        let line = memory.lines().find_map(|line| line.strip_prefix("Pss_Anon:"))?;
        Some(Holding { fds, anonymous_kb: line.trim().trim_end_matches("kB").trim().parse().ok()? })
    }

    /// Returns how long the process has kept processors busy, in clock ticks (of 10 ms, mostly).
    pub fn busy_ticks(&self) -> Option<u64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok()?;
        // Source: proc_pid_stat(5), fields 14 and 15; the third is the first behind the name.
        let fields: Vec<_> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
    }

    /// Returns the limit of open files under which the process may open so many more.
    pub fn limit_for_more_files(&self, more: usize) -> u64 {
        let is_free = |number: &u64| fs::symlink_metadata(format!("/proc/{}/fd/{number}", self.pid)).is_err();
        (0..).filter(is_free).nth(more).unwrap_or(0)
    }

    /// Ends the process as `kill -9` does. One that is gone already is no error.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }
}

/// What a process holds of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holding {
    /// Open files.
    pub fds: usize,
    /// Memory of its own. Source: proc_pid_smaps(5), `Pss_Anon`.
    pub anonymous_kb: u64,
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (uid {}) {}", self.pid, self.uid, self.command)
    }
}

/// Returns the processes that belong to one of `accounts`. A zombie counts as long as it has a parent of its own: one
/// that the machine's init inherited is dead, and reaped when that finds the time.
pub(crate) fn of(accounts: &[&Account]) -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| read(entry.file_name().to_str()?.parse().ok()?, accounts)).collect()
}

/// Reads one process. Its owner is taken from the real uid, since /proc/PID of a process that is not dumpable
/// belongs to root.
fn read(pid: i32, accounts: &[&Account]) -> Option<Process> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let uid: u32 = field("Uid:")?.split_whitespace().next()?.parse().ok()?;
    (field("PPid:")? != "1" || !field("State:")?.starts_with('Z')).then_some(())?;
    accounts.iter().any(|account| account.owns(uid)).then_some(())?;
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let command = String::from_utf8_lossy(&command).replace('\0', " ").trim_end().to_owned();
    let command =
        if command.is_empty() { format!("[{}] {}", field("Name:")?, field("State:")?) } else { command };
    Some(Process { pid, uid, command })
}

/// Ends every process of `accounts`, and returns when none is left.
///
/// # Errors
/// Some are still there after ten seconds.
pub(crate) fn end_all(accounts: &[&Account]) -> Result<()> {
    let all_gone = wait_until(Duration::from_secs(10), || {
        let left = of(accounts);
        left.iter().for_each(Process::kill);
        left.is_empty()
    });
    if !all_gone {
        bail!("processes that do not end: {:?}", of(accounts));
    }
    Ok(())
}

/// Returns the inode of a namespace of process `pid`, as `/proc/PID/ns/NAME` shows it.
pub(crate) fn namespace(pid: i32, name: &str) -> Option<u64> {
    fs::metadata(format!("/proc/{pid}/ns/{name}")).ok().map(|metadata| metadata.ino())
}
