//! Whether the container sees its own limits in /proc and /sys: where this host can show them.

use std::path::{Path, PathBuf};

use config::{MountAuto, ProcMount, SysMount};
use serde::{Deserialize, Serialize};
use sys::mount::attr;

use super::{EntryPlan, EntrySource, KernelFiles};
use crate::host::Lxcfs;
use crate::place::Place;

/// Who serves the files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LxcfsPlan {
    /// The program, started where none of the caller's serves yet.
    pub program: PathBuf,
    /// The directory of its command socket. There is one for all of the caller's containers.
    pub directory: PathBuf,
    /// Files of /sys are covered, too.
    pub sys: bool,
    /// A quota of processor time counts as so many processors.
    pub quota: bool,
}

/// The directory's name, in that of the session; in an lxcpath, where no container has a name of this form.
const NAME: &str = "bryo-lxcfs";
const NAME_IN_LXCPATH: &str = ".bryo-lxcfs";

/// Decides it: who serves them, where any files of /proc may be covered.
///
/// LXC: has an administrator's lxcfs, whose mount hook puts its files over these.
pub(super) fn decide(coverable: Coverable, lxcfs: Option<&Lxcfs>, place: &Place) -> Option<LxcfsPlan> {
    let lxcfs = lxcfs.filter(|_| coverable.proc)?;
    Some(LxcfsPlan {
        program: lxcfs.program.clone(),
        directory: directory(&place.lxcpath, lxcfs.runtime.as_deref()),
        sys: coverable.sys,
        quota: lxcfs.quota,
    })
}

/// What may be covered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Coverable {
    /// Files of /proc.
    pub(super) proc: bool,
    /// Files of /sys.
    pub(super) sys: bool,
}

impl Coverable {
    /// Decides it. A /proc that is the caller's shows what it shows to the caller. In a whole one (`rw`) containers inside may
    /// mount a whole one too, which the kernel refuses where a file is covered: so there has to be another whole one.
    pub(super) fn of(auto: &MountAuto, proc: KernelFiles, entries: &[EntryPlan]) -> Self {
        Self {
            proc: proc == KernelFiles::Own
                && match auto.proc {
                    Some(ProcMount::Mixed) => true,
                    Some(ProcMount::Rw) => is_besides("proc", entries),
                    None => false,
                },
            sys: auto.sys != Some(SysMount::Rw) || is_besides("sysfs", entries),
        }
    }
}

/// Tells whether a whole file system of the kernel's is mounted besides the usual one, to be written too.
fn is_besides(wanted: &str, entries: &[EntryPlan]) -> bool {
    let usual = if wanted == "proc" { "proc" } else { "sys" };
    entries.iter().any(|entry| {
        matches!(&entry.source, EntrySource::New { fstype, .. } if fstype == wanted)
            && !entry.target.starts_with(usual)
            && entry.set & attr::RDONLY == 0
    })
}

/// Returns the directory of the command socket: in that of the session, where there is one.
pub(crate) fn directory(lxcpath: &Path, runtime: Option<&Path>) -> PathBuf {
    match runtime {
        Some(runtime) => runtime.join(NAME),
        None => lxcpath.join(NAME_IN_LXCPATH),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(form: Option<ProcMount>, lxcfs: Option<Lxcfs>, proc: KernelFiles) -> Option<LxcfsPlan> {
        let auto = MountAuto { proc: form, ..MountAuto::default() };
        decide(Coverable::of(&auto, proc, &[]), lxcfs.as_ref(), &place())
    }

    fn mounted(fstype: &str, target: &str) -> EntryPlan {
        EntryPlan {
            line: String::new(),
            source: EntrySource::New { fstype: fstype.into(), options: Vec::new() },
            target: target.into(),
            set: 0,
            clear: 0,
            propagation: None,
            create: None,
            optional: true,
        }
    }

    fn place() -> Place {
        Place { lxcpath: "/lxc".into(), name: "web".parse().unwrap() }
    }

    fn lxcfs(runtime: Option<&str>) -> Option<Lxcfs> {
        let program = "/p/bryo-lxcfs".into();
        Some(Lxcfs { program, runtime: runtime.map(PathBuf::from), quota: false })
    }

    const MIXED: Option<ProcMount> = Some(ProcMount::Mixed);

    #[test]
    fn one_process_serves_all_containers_of_a_session_or_else_of_an_lxcpath() {
        let directory = |runtime| decided(MIXED, lxcfs(runtime), KernelFiles::Own).map(|plan| plan.directory);
        assert_eq!(directory(Some("/run/user/1500")), Some("/run/user/1500/bryo-lxcfs".into()));
        assert_eq!(directory(None), Some("/lxc/.bryo-lxcfs".into()));
    }

    #[test]
    fn what_was_asked_for_whole_is_covered_only_where_there_is_another() {
        let auto = MountAuto { proc: Some(ProcMount::Rw), sys: Some(SysMount::Rw), ..MountAuto::default() };
        let covers = |entries: &[EntryPlan]| {
            let Coverable { proc, sys } = Coverable::of(&auto, KernelFiles::Own, entries);
            [proc, sys]
        };
        assert_eq!(covers(&[]), [false, false]);
        assert_eq!(covers(&[mounted("proc", "proc"), mounted("sysfs", "sys/x")]), [false, false]);
        assert_eq!(covers(&[mounted("proc", "dev/.lxc/proc")]), [true, false]);
        assert_eq!(covers(&[mounted("sysfs", "dev/.lxc/sys")]), [false, true]);
        let mixed = MountAuto { proc: MIXED, sys: Some(SysMount::Mixed), ..MountAuto::default() };
        assert_eq!(Coverable::of(&mixed, KernelFiles::Own, &[]), Coverable { proc: true, sys: true });
    }

    #[test]
    fn a_proc_that_cannot_or_must_not_be_covered_is_left_alone() {
        assert_eq!(decided(MIXED, None, KernelFiles::Own), None);
        assert_eq!(decided(MIXED, lxcfs(None), KernelFiles::Callers), None);
        assert_eq!(decided(MIXED, lxcfs(None), KernelFiles::OwnReadOnly), None);
        assert_eq!(decided(Some(ProcMount::Rw), lxcfs(None), KernelFiles::Own), None);
        assert_eq!(decided(None, lxcfs(None), KernelFiles::Own), None);
    }
}
