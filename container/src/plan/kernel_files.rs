//! /proc and /sys: fresh ones, or where parts of the visible ones are masked, these themselves.

use config::{Config, SysMount};
use serde::{Deserialize, Serialize};
use sys::process::flags;

use super::Run;
use crate::error::{Error, Kind, Result};
use crate::surroundings::{Fresh, Surroundings};

/// Where the container's /proc or /sys comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KernelFiles {
    /// A new mount, of the container's own namespaces.
    Own,
    /// The same, read-only as a whole.
    OwnReadOnly,
    /// The one that the caller sees. A /proc comes with the caller's PID namespace, since any other has different numbers.
    Callers,
}

impl From<Fresh> for KernelFiles {
    fn from(fresh: Fresh) -> Self {
        match fresh {
            Fresh::Writable => Self::Own,
            Fresh::ReadOnly => Self::OwnReadOnly,
            Fresh::Refused => Self::Callers,
        }
    }
}

/// What is decided about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decided {
    pub(super) proc: KernelFiles,
    pub(super) sys: KernelFiles,
    /// Signals are kept in a container that has no PID namespace for it.
    pub(super) scoped_signals: bool,
    /// The namespaces that the container then has.
    pub(super) namespaces: u64,
}

/// Decides both, and takes the PID namespace away where that is the price of a /proc.
///
/// # Errors
/// [`Kind::Masked`] for an init, which must be the first process of a PID namespace, and for `lxc.sysctl.*`.
pub(super) fn decide(
    run: &Run,
    config: &Config,
    surroundings: &Surroundings,
    namespaces: u64,
    notes: &mut Vec<String>,
) -> Result<Decided> {
    let proc = KernelFiles::from(surroundings.proc);
    let sys = sys(config, surroundings, namespaces, notes);
    let mut decided = Decided { proc, sys, scoped_signals: false, namespaces };
    if proc != KernelFiles::Callers {
        return Ok(decided);
    }
    if !config.sysctls.is_empty() {
        return Err(masked("lxc.sysctl needs"));
    }
    match run {
        _ if config.mount_auto.proc.is_none() => {}
        Run::App(_) => {
            decided.namespaces &= !flags::NEWPID;
            decided.scoped_signals = surroundings.scoped_signals;
            notes.push(format!("{SHARED}, {}", signals(decided.scoped_signals)));
        }
        Run::Init | Run::InsteadOfInit(_) => return Err(masked("an init needs")),
    }
    Ok(decided)
}

const SHARED: &str = "/proc is masked here, so the command shares the caller's, with its PID namespace: it sees the processes outside";

fn signals(scoped: bool) -> &'static str {
    if scoped { "and cannot signal them" } else { "and may signal the caller's" }
}

fn masked(who: &str) -> Error {
    Error::new(
        Kind::Masked,
        format!("{who} a procfs of its own, which the kernel allows only where /proc is not masked"),
    )
}

fn sys(
    config: &Config,
    surroundings: &Surroundings,
    namespaces: u64,
    notes: &mut Vec<String>,
) -> KernelFiles {
    // A sysfs shows the devices of a network namespace and may be mounted only by the namespace's owner.
    if namespaces & flags::NEWNET == 0 {
        return KernelFiles::Callers;
    }
    let decided = KernelFiles::from(surroundings.sysfs);
    if decided != KernelFiles::Own && config.mount_auto.sys == Some(SysMount::Rw) {
        notes.push("lxc.mount.auto = sys:rw: /sys is read-only here already".to_owned());
    }
    decided
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::AppCommand;

    const ALL: u64 = flags::NEWUSER | flags::NEWNS | flags::NEWPID | flags::NEWNET;

    fn decided(
        run: &Run,
        settings: &[(&str, &str)],
        surroundings: &Surroundings,
    ) -> Result<(Decided, usize)> {
        let mut config = Config::default();
        settings.iter().for_each(|(key, value)| config.set(key, value).unwrap());
        let mut notes = Vec::new();
        let decided = decide(run, &config, surroundings, ALL, &mut notes)?;
        Ok((decided, notes.len()))
    }

    fn masked() -> Surroundings {
        Surroundings { proc: Fresh::Refused, sysfs: Fresh::Refused, ..Surroundings::free() }
    }

    const MIXED: (&str, &str) = ("lxc.mount.auto", "proc:mixed sys:mixed");

    #[test]
    fn unconfined_a_container_has_its_own() {
        let (own, notes) = decided(&Run::Init, &[MIXED], &Surroundings::free()).unwrap();
        assert_eq!((own.proc, own.sys, own.namespaces), (KernelFiles::Own, KernelFiles::Own, ALL));
        assert_eq!(notes, 0);
    }

    #[test]
    fn a_masked_proc_is_shared_with_its_pid_namespace_and_said() {
        let (shared, notes) = decided(&Run::App(AppCommand::default()), &[MIXED], &masked()).unwrap();
        assert_eq!((shared.proc, shared.sys), (KernelFiles::Callers, KernelFiles::Callers));
        assert_eq!((shared.namespaces, notes), (ALL & !flags::NEWPID, 1));
    }

    #[test]
    fn an_init_and_sysctls_are_refused_where_proc_is_masked() {
        for run in [Run::Init, Run::InsteadOfInit(Vec::new())] {
            assert!(decided(&run, &[MIXED], &masked()).is_err_and(|e| e.kind() == Kind::Masked), "{run:?}");
        }
        let app = Run::App(AppCommand::default());
        let with_sysctl = decided(&app, &[MIXED, ("lxc.sysctl.net.ipv4.ip_forward", "1")], &masked());
        assert!(with_sysctl.is_err_and(|e| e.cause().contains("lxc.sysctl")));
    }

    #[test]
    fn without_a_wish_for_proc_nothing_is_given_up() {
        let (own, notes) = decided(&Run::Init, &[], &masked()).unwrap();
        assert_eq!((own.namespaces, notes), (ALL, 0));
    }

    #[test]
    fn a_read_only_sysfs_stays_one() {
        let surroundings = Surroundings { sysfs: Fresh::ReadOnly, ..Surroundings::free() };
        let (own, notes) = decided(&Run::Init, &[("lxc.mount.auto", "sys:rw")], &surroundings).unwrap();
        assert_eq!((own.sys, notes), (KernelFiles::OwnReadOnly, 1));
    }
}
