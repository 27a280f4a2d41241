//! Whether the container sees its own limits in /proc and /sys: where this host can show them.

use std::path::{Path, PathBuf};

use config::{MountAuto, ProcMount, SysMount};
use serde::{Deserialize, Serialize};

use super::KernelFiles;
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
}

/// The directory's name, in that of the session; in an lxcpath, where no container has a name of this form.
const NAME: &str = "bryo-lxcfs";
const NAME_IN_LXCPATH: &str = ".bryo-lxcfs";

/// Decides it. A /proc that is the caller's shows what it shows to the caller.
///
/// LXC: has an administrator's lxcfs, whose mount hook puts its files over these.
pub(super) fn decide(
    auto: &MountAuto,
    is_nesting: bool,
    lxcfs: Option<&Lxcfs>,
    proc: KernelFiles,
    place: &Place,
) -> Option<LxcfsPlan> {
    let lxcfs = lxcfs?;
    let directory = || directory(&place.lxcpath, lxcfs.runtime.as_deref());
    // As with /proc: with `lxc.apparmor.allow_nesting` there is a whole /sys besides.
    let sys = auto.sys != Some(SysMount::Rw) || is_nesting;
    may_cover(auto.proc, proc).then(|| LxcfsPlan {
        program: lxcfs.program.clone(),
        directory: directory(),
        sys,
    })
}

/// Returns the directory of the command socket: in that of the session, where there is one.
pub(crate) fn directory(lxcpath: &Path, runtime: Option<&Path>) -> PathBuf {
    match runtime {
        Some(runtime) => runtime.join(NAME),
        None => lxcpath.join(NAME_IN_LXCPATH),
    }
}

/// Tells whether files of the container's /proc may be covered. With a whole one, containers inside may have a whole one too:
/// the kernel refuses that where a file is covered.
pub(super) fn may_cover(form: Option<ProcMount>, proc: KernelFiles) -> bool {
    form == Some(ProcMount::Mixed) && proc == KernelFiles::Own
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(form: Option<ProcMount>, lxcfs: Option<Lxcfs>, proc: KernelFiles) -> Option<LxcfsPlan> {
        decide(&MountAuto { proc: form, ..MountAuto::default() }, false, lxcfs.as_ref(), proc, &place())
    }

    fn place() -> Place {
        Place { lxcpath: "/lxc".into(), name: "web".parse().unwrap() }
    }

    fn lxcfs(runtime: Option<&str>) -> Option<Lxcfs> {
        Some(Lxcfs { program: "/p/bryo-lxcfs".into(), runtime: runtime.map(PathBuf::from) })
    }

    const MIXED: Option<ProcMount> = Some(ProcMount::Mixed);

    #[test]
    fn one_process_serves_all_containers_of_a_session_or_else_of_an_lxcpath() {
        let directory = |runtime| decided(MIXED, lxcfs(runtime), KernelFiles::Own).map(|plan| plan.directory);
        assert_eq!(directory(Some("/run/user/1500")), Some("/run/user/1500/bryo-lxcfs".into()));
        assert_eq!(directory(None), Some("/lxc/.bryo-lxcfs".into()));
    }

    #[test]
    fn a_whole_sys_that_was_asked_for_stays_whole_unless_there_is_another() {
        let covers_sys = |sys, is_nesting| {
            let auto = MountAuto { proc: MIXED, sys, ..MountAuto::default() };
            decide(&auto, is_nesting, lxcfs(None).as_ref(), KernelFiles::Own, &place()).unwrap().sys
        };
        let (mixed, whole) = (Some(SysMount::Mixed), Some(SysMount::Rw));
        assert_eq!(
            [covers_sys(mixed, false), covers_sys(whole, false), covers_sys(whole, true)],
            [true, false, true]
        );
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
