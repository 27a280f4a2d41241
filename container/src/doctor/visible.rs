//! /proc and /sys, where parts of them are hidden from the caller.

use sys::probe::{Question, shown};
use types::MountLine;

use super::Severity::{Costs, Note, StopsInit};
use super::Who::Administrator;
use super::{Check, Verdict, fine, found, list};
use crate::host::visible::{self, Sight, Whole};
use crate::host::{Seen, Survey};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "proc.masked",
        severity: StopsInit,
        seen: "the kernel refuses a new procfs: something is mounted over a part of /proc, or /proc is read-only",
        why: "an init is the first process of a PID namespace, which takes a /proc of its own",
        mend: "",
        advice: "in docker: --security-opt systempaths=unconfined; in podman: --security-opt unmask=ALL; in a unit of \
                 systemd: ProtectKernelTunables=no, ProtectKernelLogs=no, ProcSubset=all",
        who: Administrator,
        meanwhile: "bryo run and bryo execute work, and share the caller's /proc and processes",
        look: |survey| masked(survey, &visible::PROC, Question::Proc),
    },
    Check {
        id: "proc.hidepid",
        severity: Note,
        seen: "/proc is mounted with hidepid",
        why: "a container's processes have other ids than the user who started it, so ps and top outside do not show them",
        mend: "sudo mount -o remount,hidepid=0 /proc",
        advice: "bryo exec NAME -- ps shows them",
        who: Administrator,
        meanwhile: "pidfds and cgroups: containers lack nothing",
        look: hidepid,
    },
    Check {
        id: "sys.masked",
        severity: Costs,
        seen: "the kernel refuses a new sysfs: something is mounted over a part of /sys, or /sys is read-only",
        why: "a container with a network of its own has a /sys that shows it",
        mend: "",
        advice: "in docker: --security-opt systempaths=unconfined; in podman: --security-opt unmask=ALL",
        who: Administrator,
        meanwhile: "the caller's /sys is shown, with the caller's network devices",
        look: |survey| masked(survey, &visible::SYS, Question::Sysfs),
    },
];

/// What the kernel answers decides; what the mount table says tells why.
fn masked(survey: &Survey, whole: &Whole, question: Question) -> Seen<Verdict> {
    let sight = whole.sight(survey.process.mountinfo.as_ref()?);
    if !survey.host.surroundings.calls.is_empty() {
        return Err("a filter forbids the calls that would tell".to_owned());
    }
    match survey.kernel.answers.as_ref()?.to(question) {
        Some(Ok(())) => fine(format!("the kernel gives a new {}", whole.fstype)),
        Some(Err(errno)) => {
            found(format!("{}, and {}", shown(question, errno), hiding(&sight, whole))).into()
        }
        None => Err("no user namespace can be made to ask in".to_owned()),
    }
}

/// Says why no mount of this kind is whole.
fn hiding(sight: &Sight, whole: &Whole) -> String {
    match sight {
        Sight::Absent => format!("no whole {} is mounted", whole.fstype),
        Sight::ReadOnly(point) => format!("{point} is mounted read-only"),
        Sight::Whole(point) => format!("nothing is mounted over {point}"),
        Sight::Masked(over) => format!("over it are mounted {}", list(over)),
    }
}

/// Source: proc(5), "hidepid".
fn hidepid(survey: &Survey) -> Seen<Verdict> {
    let mut mounts = MountLine::all(survey.process.mountinfo.as_ref()?);
    // The last one of a place is on top.
    let Some(proc) = mounts.rfind(|mount| mount.point == "/proc") else {
        return Err("nothing is mounted on /proc".to_owned());
    };
    let option = proc.fs_options.split(',').find(|option| option.starts_with("hidepid="));
    match option {
        Some(option) if !matches!(option, "hidepid=0" | "hidepid=off") => {
            found(format!("/proc is mounted with {option}")).into()
        }
        _ => fine("/proc shows all processes"),
    }
}
