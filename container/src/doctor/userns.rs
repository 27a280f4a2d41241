//! User namespaces, and the other namespaces of a container: what refuses them.
//!
//! The kernel is asked, by a process that ends at once. What it answers is a finding; the switches, the label and the
//! filters of the process tell which one.

use sys::Errno;
use sys::probe::{Answers, Question, shown};

use super::Severity::{Costs, Stops};
use super::Who::{Administrator, You};
use super::{Check, Verdict, fine, found, list};
use crate::host::{Seen, Survey};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "userns.sysctl",
        severity: Stops,
        seen: "/proc/sys/user/max_user_namespaces is 0",
        why: "every container is a user namespace",
        mend: "sudo sysctl user.max_user_namespaces=15000",
        advice: "in a file of /etc/sysctl.d it lasts; inside a user namespace its own root sets it",
        who: Administrator,
        meanwhile: "nothing",
        look: sysctl,
    },
    Check {
        id: "userns.clone",
        severity: Stops,
        seen: "/proc/sys/kernel/unprivileged_userns_clone is 0",
        why: "this kernel lets ordinary users make user namespaces only where the setting is 1",
        mend: "sudo sysctl kernel.unprivileged_userns_clone=1",
        advice: "in a file of /etc/sysctl.d it lasts",
        who: Administrator,
        meanwhile: "nothing",
        look: clone_switch,
    },
    Check {
        id: "userns.apparmor",
        severity: Stops,
        seen: "/proc/sys/kernel/apparmor_restrict_unprivileged_userns is 1, and no profile allows Bryo",
        why: "AppArmor takes the rights inside a user namespace from every program without a profile that says userns",
        mend: "sudo install -m 644 <prefix>/share/bryo/apparmor/bryo /etc/apparmor.d/bryo && \
               sudo apparmor_parser --replace /etc/apparmor.d/bryo",
        advice: "cargo xtask install does the same when root runs it",
        who: Administrator,
        meanwhile: "nothing",
        look: |survey| blamed(survey, "userns.apparmor"),
    },
    Check {
        id: "userns.limit",
        severity: Stops,
        seen: "a clone answers ENOSPC or EUSERS, and the limit of this user namespace is not 0",
        why: "every container is a user namespace, and an outer namespace's limit, or that of 32 levels, is reached",
        mend: "",
        advice: "end containers, or raise user.max_user_namespaces outside of the namespace that bryo runs in",
        who: Administrator,
        meanwhile: "nothing",
        look: |survey| blamed(survey, "userns.limit"),
    },
    Check {
        id: "userns.chroot",
        severity: Stops,
        seen: "a clone answers EPERM, and no mount of /proc/self/mountinfo is /",
        why: "the kernel refuses user namespaces in a chroot",
        mend: "",
        advice: "enter the tree by pivot_root(8) instead of chroot(8), or run bryo outside of it",
        who: Administrator,
        meanwhile: "nothing",
        look: |survey| blamed(survey, "userns.chroot"),
    },
    Check {
        id: "userns.clone3",
        severity: Costs,
        seen: "clone3 answers ENOSYS or EPERM, and clone makes a user namespace",
        why: "clone3 puts a container into its cgroup at once; filters of container engines hide it",
        mend: "",
        advice: "in docker and podman: --security-opt seccomp=unconfined; or a newer engine",
        who: Administrator,
        meanwhile: "clone is used, and the container moved into its cgroup afterwards",
        look: |survey| blamed(survey, "userns.clone3"),
    },
    Check {
        id: "userns.seccomp",
        severity: Stops,
        seen: "a clone is refused, the process has a seccomp filter (/proc/self/status), and no setting says why",
        why: "every container is a user namespace, and filters of services and container engines often refuse those",
        mend: "",
        advice: "in docker and podman: --security-opt seccomp=unconfined; in a unit of systemd: RestrictNamespaces=no",
        who: Administrator,
        meanwhile: "nothing",
        look: |survey| blamed(survey, "userns.seccomp"),
    },
    Check {
        id: "userns.refused",
        severity: Stops,
        seen: "a clone, or a right inside the new user namespace, is refused, and neither setting nor filter says why",
        why: "every container is a user namespace; a security module such as SELinux refuses it, or the caller's own id is \
              not mapped where bryo runs",
        mend: "",
        advice: "the kernel's log says more: sudo dmesg, or sudo ausearch -m avc",
        who: Administrator,
        meanwhile: "nothing",
        look: |survey| blamed(survey, "userns.refused"),
    },
    Check {
        id: "mounts.seccomp",
        severity: Stops,
        seen: "in namespaces of one's own, calls that join namespaces or make mounts are refused under a seccomp filter",
        why: "every container has a root file system of its own, which takes these calls",
        mend: "",
        advice: "in docker and podman: --security-opt seccomp=unconfined, or a list of a newer engine; in a unit of systemd: \
                 SystemCallFilter=@mount",
        who: Administrator,
        meanwhile: "nothing",
        look: mount_calls,
    },
    Check {
        id: "namespaces.sysctl",
        severity: Stops,
        seen: "one of /proc/sys/user/max_{pid,net,mnt,uts,ipc,cgroup}_namespaces is 0",
        why: "every container has one of each",
        mend: "sudo sysctl <settings>",
        advice: "in a file of /etc/sysctl.d it lasts; inside a user namespace its own root sets it",
        who: Administrator,
        meanwhile: "nothing",
        look: other_namespaces,
    },
    Check {
        id: "namespaces.refused",
        severity: Stops,
        seen: "a user namespace can be made, and a clone of all namespaces of a container is refused",
        why: "every container has one of each; a limit of an outer user namespace, or a filter, refuses one",
        mend: "",
        advice: "ENOSPC is a limit: raise user.max_*_namespaces outside of the namespace that bryo runs in; EPERM is a \
                 filter: in a unit of systemd RestrictNamespaces=no",
        who: Administrator,
        meanwhile: "nothing",
        look: all_namespaces,
    },
    Check {
        id: "userns.map",
        severity: Costs,
        seen: "the granted ids are not among those of the user namespace that bryo runs in (/proc/self/uid_map)",
        why: "a container gets ids only out of those that are mapped where bryo runs",
        mend: "",
        advice: "give the outer container more ids (lxc.idmap, podman --uidmap), or grant ids that it has in /etc/subuid \
                 and /etc/subgid",
        who: You,
        meanwhile: "a container with one id, the caller's",
        look: map,
    },
];

/// Returns a setting, if the kernel has it.
fn switch<'a>(survey: &'a Survey, name: &str) -> Seen<Option<&'a str>> {
    match survey.kernel.switches.get(name) {
        Some(seen) => Ok(seen.as_ref()?.as_deref()),
        None => Err(format!("{name} was not read")),
    }
}

fn file(name: &str) -> String {
    format!("/proc/sys/{}", name.replace('.', "/"))
}

fn sysctl(survey: &Survey) -> Seen<Verdict> {
    const NAME: &str = "user.max_user_namespaces";
    match switch(survey, NAME)? {
        Some("0") => found(format!("{} is 0", file(NAME))).into(),
        Some(number) => fine(format!("{} is {number}", file(NAME))),
        None => Err(format!("there is no {}", file(NAME))),
    }
}

fn clone_switch(survey: &Survey) -> Seen<Verdict> {
    const NAME: &str = "kernel.unprivileged_userns_clone";
    match switch(survey, NAME)? {
        Some("0") if !survey.host.caller.is_root() => found(format!("{} is 0", file(NAME))).into(),
        Some(value) => fine(format!("{} is {value}", file(NAME))),
        None => fine("this kernel has no such setting"),
    }
}

fn other_namespaces(survey: &Survey) -> Seen<Verdict> {
    let names: Vec<String> = ["pid", "net", "mnt", "uts", "ipc", "cgroup"]
        .iter()
        .map(|kind| format!("user.max_{kind}_namespaces"))
        .collect();
    let mut off = Vec::new();
    for name in &names {
        if switch(survey, name)? == Some("0") {
            off.push(name.clone());
        }
    }
    if off.is_empty() {
        return fine("none of /proc/sys/user/max_*_namespaces is 0");
    }
    let settings: Vec<String> = off.iter().map(|name| format!("{name}=15000")).collect();
    let files: Vec<String> = off.iter().map(|name| file(name)).collect();
    found(format!("{}: 0", list(&files))).with_words("settings", settings.join(" ")).into()
}

/// A setting of this very namespace explains a refusal, so it is the finding then.
fn all_namespaces(survey: &Survey) -> Seen<Verdict> {
    match survey.kernel.answers.as_ref()?.to(Question::All) {
        Some(Ok(())) => fine("the kernel gives all namespaces of a container"),
        Some(Err(_)) if matches!(other_namespaces(survey)?, Verdict::Found(_)) => {
            fine("a setting of this user namespace refuses one (namespaces.sysctl)")
        }
        Some(Err(errno)) => found(shown(Question::All, errno).to_string()).into(),
        None => Err("no user namespace can be made to ask in".to_owned()),
    }
}

/// How the kernel refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    /// The clone itself, by the call that was tried last.
    Clone(Question, Errno),
    /// What a process may do inside.
    Rights(Errno),
    /// Only the newer call.
    Clone3(Errno),
    /// The asking process was killed.
    Killed(i32),
}

impl Refused {
    fn of(answers: &Answers) -> Option<Self> {
        let by_clone = answers.to(Question::UserByClone);
        let rights = answers.to(Question::Rights);
        match (answers.to(Question::User), by_clone) {
            (None, _) => answers.killed_by.map(Self::Killed),
            // After these answers the other call is tried; who has none to that did not survive it.
            (Some(Err(Errno::EPERM | Errno::ENOSYS)), None) if answers.killed_by.is_some() => {
                answers.killed_by.map(Self::Killed)
            }
            (Some(Err(errno)), None) => Some(Self::Clone(Question::User, errno)),
            (_, Some(Err(errno))) => Some(Self::Clone(Question::UserByClone, errno)),
            _ if rights.is_some_and(|rights| rights.is_err()) => {
                rights.and_then(Result::err).map(Self::Rights)
            }
            (Some(Err(errno)), Some(Ok(()))) => Some(Self::Clone3(errno)),
            (Some(Ok(())), _) => None,
        }
    }

    fn shown(self) -> String {
        match self {
            Self::Clone(question, errno) => shown(question, errno).to_string(),
            Self::Rights(errno) => shown(Question::Rights, errno).to_string(),
            Self::Clone3(errno) => shown(Question::User, errno).to_string(),
            Self::Killed(signal) => {
                format!("the process that asked for a user namespace was killed by signal {signal}")
            }
        }
    }
}

/// Tells which check explains that the kernel refuses, if it does, and with which fact.
fn culprit(survey: &Survey) -> Seen<Option<(&'static str, String)>> {
    let Some(refused) = Refused::of(survey.kernel.answers.as_ref()?) else { return Ok(None) };
    let how = refused.shown();
    let is_root = survey.host.caller.is_root();
    let filters = filters(survey)?;
    Ok(Some(match refused {
        Refused::Clone3(_) => ("userns.clone3", how),
        Refused::Killed(_) => ("userns.seccomp", how),
        Refused::Clone(_, Errno::ENOSPC) if switch(survey, MAX)? == Some("0") => ("userns.sysctl", how),
        Refused::Clone(_, Errno::ENOSPC | Errno::EUSERS) => (
            "userns.limit",
            format!("{how}, and {} is {}", file(MAX), switch(survey, MAX)?.unwrap_or("absent")),
        ),
        _ if !is_root && switch(survey, CLONE)? == Some("0") => ("userns.clone", how),
        _ if switch(survey, APPARMOR)? == Some("1") && may_be_apparmor(survey, refused) => {
            let label = survey.process.label.as_deref().unwrap_or("unknown");
            ("userns.apparmor", format!("{} is 1, the profile of bryo is {label}, and {how}", file(APPARMOR)))
        }
        Refused::Clone(_, Errno::EPERM) if is_chroot(survey)? => {
            ("userns.chroot", format!("{how}, and no mount of /proc/self/mountinfo is /"))
        }
        Refused::Clone(..) if filters => {
            ("userns.seccomp", format!("{how}, and /proc/self/status has Seccomp: 2"))
        }
        _ => ("userns.refused", how),
    }))
}

const MAX: &str = "user.max_user_namespaces";
const CLONE: &str = "kernel.unprivileged_userns_clone";
const APPARMOR: &str = "kernel.apparmor_restrict_unprivileged_userns";

/// AppArmor restricts programs without a profile, and lets them clone but not use what they get.
fn may_be_apparmor(survey: &Survey, refused: Refused) -> bool {
    let is_unconfined = survey.process.label.as_ref().is_none_or(|label| label.starts_with("unconfined"));
    is_unconfined || matches!(refused, Refused::Rights(_))
}

/// Source: proc_pid_status(5), "Seccomp": 2 is SECCOMP_MODE_FILTER.
fn filters(survey: &Survey) -> Seen<bool> {
    let status = survey.process.status.as_ref()?;
    Ok(status.lines().any(|line| line.strip_prefix("Seccomp:").is_some_and(|mode| mode.trim() == "2")))
}

/// A chroot to a directory that is no mount shows: mount points are told relative to it, and none is `/`.
fn is_chroot(survey: &Survey) -> Seen<bool> {
    let mounts = survey.process.mountinfo.as_ref()?;
    Ok(mounts.lines().all(|line| line.split(' ').nth(4) != Some("/")))
}

fn blamed(survey: &Survey, id: &str) -> Seen<Verdict> {
    match culprit(survey)? {
        Some((blamed, fact)) if blamed == id => {
            found(fact).with("prefix", survey.host.programs.prefix().display().to_string()).into()
        }
        Some(_) => fine("user namespaces are refused for another reason"),
        None => fine("the kernel gives a user namespace with all rights"),
    }
}

/// What the surroundings were asked for already, as every command that starts something does.
fn mount_calls(survey: &Survey) -> Seen<Verdict> {
    let missing = &survey.kernel.answers.as_ref()?.missing_calls;
    let mut refused = survey.host.surroundings.calls.clone();
    refused.retain(|call| !missing.contains(&call.as_str()));
    match refused.as_slice() {
        [] => fine("no filter refuses the calls that mounts need"),
        calls => found(format!("a seccomp filter refuses {}", list(calls))).into(),
    }
}

/// Looks whether the ids that a container would get are mapped where bryo runs.
fn map(survey: &Survey) -> Seen<Verdict> {
    let host = &survey.host;
    let files = [
        ("/proc/self/uid_map", &survey.process.uid_map, &host.subuids),
        ("/proc/self/gid_map", &survey.process.gid_map, &host.subgids),
    ];
    for (file, text, granted) in files {
        let mapped = crate::host::mapped(text.as_ref()?);
        let wanted = if granted.is_empty() { host.free_range.as_slice() } else { granted };
        if let Some(outside) = wanted.iter().find(|range| !policy::subid::granted(&mapped, **range)) {
            let count: u64 = mapped.iter().map(|range| u64::from(range.count())).sum();
            let of = host.caller.label();
            return found(format!(
                "{file} maps {count} ids, and {outside}, which {of} has, is not among them"
            ))
            .into();
        }
    }
    fine("the ids that a container gets are mapped here")
}
