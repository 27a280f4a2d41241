//! /proc and /sys, where parts of them are hidden from the caller.

use sys::probe::{Question, shown};
use types::MountLine;

use super::Severity::{Costs, Note, Stops, StopsInit};
use super::Who::Administrator;
use super::{Check, Verdict, fine, found, list};
use crate::host::visible::{self, Sight, Whole};
use crate::host::{Seen, Survey};
use crate::surroundings::{Fresh, Surroundings};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "proc.masked",
        severity: StopsInit,
        seen: "the kernel refuses a new procfs: something is mounted over a part of /proc, or no whole one is mounted",
        why: "an init is the first process of a PID namespace, which takes a /proc of its own",
        mend: "",
        advice: "in docker: --security-opt systempaths=unconfined; in podman: --security-opt unmask=ALL; in a unit of \
                 systemd: ProtectKernelTunables=no, ProtectKernelLogs=no, ProcSubset=all",
        who: Administrator,
        meanwhile: "bryo run and bryo execute work, and share the caller's /proc and processes",
        look: |survey| PROC.masked(survey),
    },
    Check {
        id: "proc.readonly",
        severity: Stops,
        seen: "/proc is mounted read-only",
        why: "the ids of every container are written to a file in /proc (uid_map)",
        mend: "sudo mount -o remount,bind,rw /proc",
        advice: "in docker and podman: no volume on /proc; in a unit of systemd: no ReadOnlyPaths=/proc",
        who: Administrator,
        meanwhile: "nothing",
        look: read_only_proc,
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
        seen: "the kernel refuses a new sysfs: something is mounted over a part of /sys, or no whole one is mounted",
        why: "a container with a network of its own has a /sys that shows it",
        mend: "",
        advice: "in docker: --security-opt systempaths=unconfined; in podman: --security-opt unmask=ALL",
        who: Administrator,
        meanwhile: "the caller's /sys is shown, with the caller's network devices",
        look: |survey| SYS.masked(survey),
    },
    Check {
        id: "sys.readonly",
        severity: Note,
        seen: "the kernel gives a new sysfs read-only alone, since /sys is read-only",
        why: "lxc.mount.auto = sys:rw has no effect, and sys:mixed none on /sys/devices/virtual/net",
        mend: "",
        advice: "in docker: --security-opt systempaths=unconfined; in podman: --security-opt unmask=ALL",
        who: Administrator,
        meanwhile: "containers have a /sys of their own, read-only",
        look: read_only_sys,
    },
];

/// A file system that a container gets anew, and where a start finds how.
struct Kind {
    whole: &'static Whole,
    question: Question,
    of_start: fn(&Surroundings) -> Fresh,
}

const PROC: Kind =
    Kind { whole: &visible::PROC, question: Question::Proc, of_start: |surroundings| surroundings.proc };
const SYS: Kind =
    Kind { whole: &visible::SYS, question: Question::Sysfs, of_start: |surroundings| surroundings.sysfs };

impl Kind {
    /// Returns why the kernel gives no new one with all rights, and what a start does then; nothing where it does. What
    /// the kernel answers decides; what the mount table says tells why.
    fn lack(&self, survey: &Survey) -> Seen<Option<(Fresh, String)>> {
        let sight = self.whole.sight(survey.process.mountinfo.as_ref()?);
        let surroundings = &survey.host.surroundings;
        if !surroundings.calls.is_empty() {
            return Err("a filter forbids the calls that would tell".to_owned());
        }
        match survey.kernel.answers.as_ref()?.to(self.question) {
            Some(Ok(())) => Ok(None),
            Some(Err(errno)) => {
                let why = format!("{}, and {}", shown(self.question, errno), hiding(&sight, self.whole));
                Ok(Some(((self.of_start)(surroundings), why)))
            }
            None => Err("no user namespace can be made to ask in".to_owned()),
        }
    }

    fn masked(&self, survey: &Survey) -> Seen<Verdict> {
        match self.lack(survey)? {
            Some((Fresh::Writable | Fresh::Refused, why)) => found(why).into(),
            Some((Fresh::ReadOnly, _)) => {
                fine(format!("the kernel gives a new {}, read-only", self.whole.fstype))
            }
            None => fine(format!("the kernel gives a new {}", self.whole.fstype)),
        }
    }
}

fn read_only_sys(survey: &Survey) -> Seen<Verdict> {
    match SYS.lack(survey)? {
        Some((Fresh::ReadOnly, why)) => found(why).into(),
        _ => fine("no new sysfs has to be read-only"),
    }
}

/// Returns the mount on /proc: the last one of a place is on top.
fn on_proc(survey: &Survey) -> Seen<MountLine<'_>> {
    let mount = MountLine::all(survey.process.mountinfo.as_ref()?).rfind(|mount| mount.point == "/proc");
    mount.ok_or_else(|| "nothing is mounted on /proc".to_owned())
}

/// The file of the map answers EROFS there, to a helper too.
fn read_only_proc(survey: &Survey) -> Seen<Verdict> {
    match on_proc(survey)?.is_read_only() {
        true => found("/proc is mounted read-only").into(),
        false => fine("/proc can be written"),
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
    let proc = on_proc(survey)?;
    let option = proc.fs_options.split(',').find(|option| option.starts_with("hidepid="));
    match option {
        Some(option) if !matches!(option, "hidepid=0" | "hidepid=off") => {
            found(format!("/proc is mounted with {option}")).into()
        }
        _ => fine("/proc shows all processes"),
    }
}
