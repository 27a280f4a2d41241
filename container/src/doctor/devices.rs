//! Devices: FUSE.

use sys::Errno;

use super::Severity::Note;
use super::Who::Administrator;
use super::{Check, Verdict, fine, found};
use crate::host::{Seen, Survey};

const WHY: &str = "containers see their own limits in /proc by it, and FUSE file systems inside, which bind /dev/fuse, need it";
const MEANWHILE: &str = "no FUSE inside; /proc shows the host's numbers";

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "fuse.absent",
        severity: Note,
        seen: "there is no /dev/fuse, or no driver behind it",
        why: WHY,
        mend: "sudo modprobe fuse",
        advice: "in docker and podman: --device /dev/fuse",
        who: Administrator,
        meanwhile: MEANWHILE,
        look: |survey| fuse(survey, true),
    },
    Check {
        id: "fuse.access",
        severity: Note,
        seen: "/dev/fuse cannot be opened by the caller",
        why: WHY,
        mend: "sudo chmod 666 /dev/fuse",
        advice: "",
        who: Administrator,
        meanwhile: MEANWHILE,
        look: |survey| fuse(survey, false),
    },
];

fn fuse(survey: &Survey, is_about_absence: bool) -> Seen<Verdict> {
    let Err(refusal) = &survey.fuse else { return fine("/dev/fuse can be opened") };
    let is_absent = matches!(refusal.errno(), Errno::ENOENT | Errno::ENODEV | Errno::ENXIO);
    match is_absent == is_about_absence {
        true => found(refusal.to_string()).into(),
        false if is_absent => Err("there is no /dev/fuse".to_owned()),
        false => fine("/dev/fuse is there"),
    }
}
