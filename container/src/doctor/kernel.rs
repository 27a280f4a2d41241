//! The kernel itself: its calls, its age, its quotas; and Bryo's own programs.

use super::Severity::{Costs, Stops};
use super::Who::{Administrator, You};
use super::{Check, Verdict, fine, found, list};
use crate::host::{Seen, Survey};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "kernel.calls",
        severity: Stops,
        seen: "a system call that every start makes answers ENOSYS",
        why: "a start makes these calls: the kernel is too old for them, or a filter hides them",
        mend: "",
        advice: "a kernel of 5.14 or later; in docker and podman: --security-opt seccomp=unconfined",
        who: Administrator,
        meanwhile: "nothing",
        look: calls,
    },
    Check {
        id: "kernel.version",
        severity: Costs,
        seen: "uname -r names a kernel before 5.16",
        why: "older kernels lack features that Bryo uses (docs/kernel-features.md)",
        mend: "",
        advice: "a kernel of 5.16 or later",
        who: Administrator,
        meanwhile: "before 5.16 attach works from the container's own cgroup alone; before 5.14 cleaning up freezes, \
                    signals and thaws until nothing is left",
        look: version,
    },
    Check {
        id: "programs.monitor",
        severity: Stops,
        seen: "bryo-monitor is not where bryo looks for it",
        why: "each container is started and owned by this program",
        mend: "cargo xtask install --prefix <prefix>",
        advice: "or put bryo back beside the programs it was installed with",
        who: You,
        meanwhile: "nothing",
        look: |survey| missing(survey, true),
    },
    Check {
        id: "programs.others",
        severity: Costs,
        seen: "bryo-image or bryo-init is not where bryo looks for it",
        why: "bryo-image unpacks archives; bryo-init is the init of bryo run, bryo execute and lxc-execute",
        mend: "cargo xtask install --prefix <prefix>",
        advice: "or put bryo back beside the programs it was installed with",
        who: You,
        meanwhile: "containers that exist start; what needs the program fails",
        look: |survey| missing(survey, false),
    },
    Check {
        id: "keys.quota",
        severity: Costs,
        seen: "/proc/key-users counts nearly as many keys as are allowed",
        why: "each container gets a session keyring of its own, which counts as a key of its root",
        mend: "sudo sysctl kernel.keys.maxkeys=2000 kernel.keys.maxbytes=200000",
        advice: "",
        who: Administrator,
        meanwhile: "containers share the keyring of their monitors; never the session's",
        look: keys,
    },
    Check {
        id: "limits.nproc",
        severity: Costs,
        seen: "the limit of processes (ulimit -u) is below 512",
        why: "a container's processes count against the limit under which it was started",
        mend: "ulimit -u 512",
        advice: "a hard limit is raised by the administrator, in /etc/security/limits.conf",
        who: You,
        meanwhile: "fork fails with EAGAIN in a container that grows",
        look: processes,
    },
    Check {
        id: "limits.nofile",
        severity: Costs,
        seen: "the limit of open files (ulimit -n) is below 512",
        why: "a monitor holds fds of each terminal and namespace, and containers inherit the limit",
        mend: "ulimit -n 512",
        advice: "a hard limit is raised by the administrator, in /etc/security/limits.conf",
        who: You,
        meanwhile: "opening fails with EMFILE once the limit is reached",
        look: |survey| limit(&survey.process.files, "open files (ulimit -n)", 512),
    },
];

fn calls(survey: &Survey) -> Seen<Verdict> {
    let missing: Vec<String> =
        survey.kernel.answers.as_ref()?.missing_calls.iter().map(|call| format!("{call}(2)")).collect();
    match missing.is_empty() {
        true => fine("every call that a start makes is there"),
        false => found(format!("{} = ENOSYS on Linux {}", list(&missing), survey.kernel.release)).into(),
    }
}

/// Distributions carry features back, so a version is no proof; what stops a start is asked by [`calls`].
fn version(survey: &Survey) -> Seen<Verdict> {
    let release = &survey.kernel.release;
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let (Some(major), Some(minor)) = (numbers.next(), numbers.next()) else {
        return Err(format!("uname -r prints {release:?}"));
    };
    match (major, minor) >= (5, 16) {
        true => fine(format!("uname -r prints {release}")),
        false => found(format!("uname -r prints {release}")).into(),
    }
}

fn missing(survey: &Survey, is_monitor: bool) -> Seen<Verdict> {
    let of_check = |program: &&std::path::PathBuf| program.ends_with("bryo-monitor") == is_monitor;
    let missing: Vec<String> = survey
        .missing_programs
        .iter()
        .filter(of_check)
        .map(|program| program.display().to_string())
        .collect();
    match missing.is_empty() {
        true => fine("the programs lie where bryo looks for them"),
        false => found(format!("there is no {}", list(&missing)))
            .with("prefix", survey.host.programs.prefix().display().to_string())
            .into(),
    }
}

/// Few enough left that a handful of containers use them up.
const KEYS_LEFT: u64 = 10;

/// Looks at the caller, whose monitors have keyrings, and at the id that is root in its containers.
/// Source: keyrings(7), "/proc/key-users".
fn keys(survey: &Survey) -> Seen<Verdict> {
    let text = survey.kernel.key_users.as_ref()?;
    let roots = survey.host.subuids.first().map(|range| range.start());
    let ids: Vec<u32> = [survey.host.caller.uid.0].into_iter().chain(roots).collect();
    let users = text.lines().filter_map(key_user);
    let full = users.filter(|user| ids.contains(&user.uid)).find(|user| user.used + KEYS_LEFT > user.allowed);
    match full {
        Some(user) => {
            found(format!("/proc/key-users: uid {} has {} of {} keys", user.uid, user.used, user.allowed))
                .into()
        }
        None => fine("/proc/key-users: there is room for more keys"),
    }
}

struct KeyUser {
    uid: u32,
    used: u64,
    allowed: u64,
}

/// Reads `UID: USAGE KEYS/INSTANTIATED USED/ALLOWED BYTES/ALLOWED`.
fn key_user(line: &str) -> Option<KeyUser> {
    let (uid, rest) = line.trim().split_once(':')?;
    let (used, allowed) = rest.split_whitespace().nth(2)?.split_once('/')?;
    Some(KeyUser { uid: uid.parse().ok()?, used: used.parse().ok()?, allowed: allowed.parse().ok()? })
}

fn processes(survey: &Survey) -> Seen<Verdict> {
    match survey.host.caller.is_root() {
        true => fine("root is not limited"),
        false => limit(&survey.process.processes, "processes (ulimit -u)", 512),
    }
}

/// Looks whether a soft limit is below what is wanted. A hard one that is lower too is not the caller's to raise.
fn limit(limits: &Seen<(u64, u64)>, what: &str, wanted: u64) -> Seen<Verdict> {
    let (soft, hard) = *limits.as_ref()?;
    match soft < wanted {
        true => found(format!("the limit of {what} is {soft}, the hard one {}", shown(hard)))
            .mendable_if(hard >= wanted)
            .into(),
        false => fine(format!("the limit of {what} is {}", shown(soft))),
    }
}

fn shown(limit: u64) -> String {
    if limit == sys::rlimit::UNLIMITED { "unlimited".to_owned() } else { limit.to_string() }
}
