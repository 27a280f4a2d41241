//! /proc and /sys: the kernel gives a container its own only where the whole of the caller's is visible.
//!
//! A mount over a part hides that part, and a fresh mount would show it again; so the kernel refuses the fresh one.
//! It lets mounts on directories pass that are always empty. Source: mnt_already_visible() in the kernel's
//! fs/namespace.c.

use sys::probe::{Question, shown};

use super::Severity::{Note, Stops};
use super::Who::Administrator;
use super::{Check, Verdict, fine, found, list};
use crate::host::{Seen, Survey};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "proc.masked",
        severity: Stops,
        seen: "the kernel refuses a new procfs: something is mounted over a part of /proc, or /proc is read-only",
        why: "every container has a /proc of its own, with its own processes",
        mend: "",
        advice: "in docker: --security-opt systempaths=unconfined; in podman: --security-opt unmask=ALL; in a unit of \
                 systemd: ProtectKernelTunables=no, ProtectKernelLogs=no, ProcSubset=all",
        who: Administrator,
        meanwhile: "bryo run and bryo execute share the caller's /proc and processes",
        look: |survey| masked(survey, &PROC),
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
        severity: Stops,
        seen: "the kernel refuses a new sysfs: something is mounted over a part of /sys, or /sys is read-only",
        why: "every container with a network of its own has a /sys that shows it",
        mend: "",
        advice: "in docker: --security-opt systempaths=unconfined; in podman: --security-opt unmask=ALL; or leave /sys \
                 out of the container: bryo start --define lxc.mount.auto=proc NAME",
        who: Administrator,
        meanwhile: "containers without a /sys of their own start (lxc.mount.auto without sys)",
        look: |survey| masked(survey, &SYS),
    },
];

/// A file system that the kernel gives only where a whole one is visible.
struct Whole {
    fstype: &'static str,
    question: Question,
    /// Directories that are always empty, so that mounts on them hide nothing.
    empty: &'static [&'static str],
}

const PROC: Whole =
    Whole { fstype: "proc", question: Question::Proc, empty: &["/fs/nfsd", "/sys/fs/binfmt_misc"] };

const SYS: Whole = Whole {
    fstype: "sysfs",
    question: Question::Sysfs,
    empty: &[
        "/firmware/efi/efivars",
        "/fs/bpf",
        "/fs/cgroup",
        "/fs/fuse/connections",
        "/fs/pstore",
        "/fs/resctrl",
        "/fs/selinux",
        "/fs/smackfs",
        "/hypervisor/s390",
        "/kernel/config",
        "/kernel/debug",
        "/kernel/security",
        "/kernel/tracing",
    ],
};

/// What the kernel answers decides; what the mount table says tells why.
fn masked(survey: &Survey, whole: &Whole) -> Seen<Verdict> {
    let answers = survey.kernel.answers.as_ref()?;
    let hiding = hiding(survey.process.mountinfo.as_ref()?, whole);
    match answers.to(whole.question) {
        Some(Ok(())) => fine(format!("the kernel gives a new {}", whole.fstype)),
        Some(Err(errno)) => found(format!("{}, and {hiding}", shown(whole.question, errno))).into(),
        None => Err("no user namespace can be made to ask in".to_owned()),
    }
}

/// A line of mountinfo. Source: proc_pid_mountinfo(5).
#[derive(Clone, Copy, Debug)]
struct Mount<'a> {
    id: &'a str,
    parent: &'a str,
    root: &'a str,
    point: &'a str,
    options: &'a str,
    fstype: &'a str,
    fs_options: &'a str,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (mount, filesystem) = line.split_once(" - ")?;
        let mut fields = mount.split(' ');
        let (id, parent, _, root) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let (point, options) = (fields.next()?, fields.next()?);
        let mut of_filesystem = filesystem.split(' ');
        let (fstype, fs_options) = (of_filesystem.next()?, of_filesystem.nth(1).unwrap_or_default());
        Some(Self { id, parent, root, point, options, fstype, fs_options })
    }
}

/// Says why no mount of this kind is whole: of the one with the least over it.
fn hiding(mountinfo: &str, whole: &Whole) -> String {
    let mounts: Vec<Mount<'_>> = mountinfo.lines().filter_map(Mount::parse).collect();
    let of_kind = mounts.iter().filter(|mount| mount.fstype == whole.fstype && mount.root == "/");
    let over = |base: &Mount<'_>| {
        let is_over = |mount: &&Mount<'_>| {
            let below = mount.point.strip_prefix(base.point).unwrap_or_default();
            mount.parent == base.id && !whole.empty.contains(&below)
        };
        mounts.iter().filter(is_over).map(|mount| mount.point.to_owned()).collect::<Vec<_>>()
    };
    // One that is covered whole is nobody's /proc any more.
    let is_covered = |over: &[String], base: &Mount<'_>| over.iter().any(|point| point == base.point);
    let least = of_kind
        .map(|base| (over(base), base))
        .min_by_key(|(over, base)| (is_covered(over, base), over.len()));
    match least {
        None => format!("no whole {} is mounted", whole.fstype),
        Some((over, base)) if over.is_empty() && has(base.options, "ro") => {
            format!("{} is mounted read-only", base.point)
        }
        Some((over, base)) if over.is_empty() => format!("nothing is mounted over {}", base.point),
        Some((over, _)) => format!("over it are mounted {}", list(&over)),
    }
}

fn has(options: &str, wanted: &str) -> bool {
    options.split(',').any(|option| option == wanted)
}

/// Source: proc(5), "hidepid".
fn hidepid(survey: &Survey) -> Seen<Verdict> {
    let mut mounts = survey.process.mountinfo.as_ref()?.lines().filter_map(Mount::parse);
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

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = "22 1 0:21 / /proc rw,relatime - proc proc rw\n\
                         30 22 0:30 / /proc/sys/fs/binfmt_misc rw - binfmt_misc binfmt_misc rw\n";

    #[test]
    fn a_mount_on_an_always_empty_directory_hides_nothing() {
        assert_eq!(hiding(PLAIN, &PROC), "nothing is mounted over /proc");
    }

    #[test]
    fn mounts_over_a_part_are_named_unless_another_whole_one_is_there() {
        let masked = format!("{PLAIN}31 22 0:5 /null /proc/kcore rw - devtmpfs dev rw\n");
        assert_eq!(hiding(&masked, &PROC), "over it are mounted /proc/kcore");
        let second = format!("{masked}40 1 0:21 / /mnt/proc rw - proc proc rw\n");
        assert_eq!(hiding(&second, &PROC), "nothing is mounted over /mnt/proc");
        let on_top =
            "50 22 0:21 / /proc rw - proc proc rw\n51 50 0:5 /null /proc/keys rw - devtmpfs dev rw\n";
        assert_eq!(hiding(&format!("{PLAIN}{on_top}"), &PROC), "over it are mounted /proc/keys");
        assert_eq!(hiding("22 1 0:21 /sys /proc/sys ro - proc proc rw\n", &PROC), "no whole proc is mounted");
        assert_eq!(hiding("22 1 0:21 / /proc ro - proc proc rw\n", &PROC), "/proc is mounted read-only");
    }
}
