//! Cgroups: which may be written, which controllers they have, and the systemd that gives them.

use cgroup::{Access, Version};

use super::Severity::{Costs, Note};
use super::Who::{Administrator, You};
use super::{Check, Verdict, fine, found, list};
use crate::host::{SYSTEM_BUS, Seen, Survey};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "cgroup.none",
        severity: Costs,
        seen: "no cgroup of the caller's may be written",
        why: "limits, the freezer and a systemd inside need a cgroup for the container",
        mend: "systemd-run --user --scope -p Delegate=yes -- $SHELL",
        advice: "a service has it by Delegate=yes, a user by a systemd of its own (cgroup.manager); without systemd the administrator makes a directory below \
                 /sys/fs/cgroup yours, and moves your shell there",
        who: You,
        meanwhile: "none: containers start, limits and the freezer are refused",
        look: none,
    },
    Check {
        id: "cgroup.controllers",
        severity: Costs,
        seen: "cpu, cpuset, io, memory or pids is on in the kernel's v2 tree, and not in the caller's cgroup",
        why: "a limit needs its controller to be delegated down to the user",
        mend: "sudo mkdir -p /etc/systemd/system/user@.service.d && printf '[Service]\\nDelegate=cpu cpuset io memory \
               pids\\n' | sudo tee /etc/systemd/system/user@.service.d/delegate.conf && sudo systemctl daemon-reload",
        advice: "then log in again",
        who: Administrator,
        meanwhile: "limits of the controllers that are there; others are refused",
        look: controllers,
    },
    Check {
        id: "cgroup.absent",
        severity: Costs,
        seen: "neither a v1 hierarchy nor the v2 tree that may be written has cpu, cpuset, io, memory or pids",
        why: "a limit needs its controller; the v2 tree has none that cgroup_disable= turns off or a v1 hierarchy holds",
        mend: "",
        advice: "boot without cgroup_disable=, and with systemd.unified_cgroup_hierarchy=1 where v1 holds it",
        who: Administrator,
        meanwhile: "its limits are refused",
        look: absent,
    },
    Check {
        id: "cgroup.manager",
        severity: Note,
        seen: "systemd is init, and no systemd of the user's runs",
        why: "it gives delegated cgroups, and ends what runs when the last session ends",
        mend: "sudo loginctl enable-linger <user>",
        advice: "a login by ssh or on a console starts it; su and sudo do not",
        who: Administrator,
        meanwhile: "the cgroup that bryo is in",
        look: manager,
    },
    Check {
        id: "cgroup.bus",
        severity: Costs,
        seen: "a systemd of the user's runs, bryo is in no cgroup below it, and the system's bus is missing",
        why: "out of a login session or a service of the system's, the user's systemd has processes moved by the system's, \
              which it asks by that bus",
        mend: "sudo systemctl start dbus.socket",
        advice: "the package is dbus; a service of the user's systemd needs no bus: systemd-run --user --pty -- $SHELL",
        who: Administrator,
        meanwhile: "the cgroup that bryo is in",
        look: bus,
    },
];

/// The controllers that limits are about.
const WANTED: [&str; 5] = ["cpu", "cpuset", "io", "memory", "pids"];

fn usable(survey: &Survey) -> impl Iterator<Item = &Access> {
    survey.cgroups.accesses.iter().filter(|access| access.is_usable())
}

fn none(survey: &Survey) -> Seen<Verdict> {
    let labels: Vec<String> = usable(survey).map(|access| access.label.clone()).collect();
    if !labels.is_empty() {
        return fine(format!("writable: {}", list(&labels)));
    }
    let refused = |access: &Access| format!("{}: {}", access.dir.display(), access.verdict);
    let facts: Vec<String> = survey.cgroups.accesses.iter().map(refused).collect();
    let fact = if facts.is_empty() { "no cgroup file system is mounted".to_owned() } else { list(&facts) };
    found(fact).mendable_if(survey.session.has_manager).into()
}

/// v1 has another name for one of them.
fn has(access: &Access, controller: &str) -> bool {
    let v1_name = if controller == "io" { "blkio" } else { controller };
    let name = if access.version == Version::V1 { v1_name } else { controller };
    access.controllers.iter().any(|known| known == name)
}

fn lacking(survey: &Survey) -> Vec<&'static str> {
    WANTED.into_iter().filter(|wanted| !usable(survey).any(|access| has(access, wanted))).collect()
}

fn v2(survey: &Survey) -> Option<&Access> {
    survey.cgroups.accesses.iter().find(|access| access.version == Version::V2)
}

fn is_offered(survey: &Survey, controller: &str) -> bool {
    v2(survey).is_some_and(|access| access.offered.iter().any(|known| known == controller))
}

fn controllers(survey: &Survey) -> Seen<Verdict> {
    let kept: Vec<String> =
        lacking(survey).into_iter().filter(|name| is_offered(survey, name)).map(str::to_owned).collect();
    match v2(survey) {
        Some(tree) if !kept.is_empty() => {
            found(format!("{}/cgroup.controllers lacks {}", tree.dir.display(), list(&kept))).into()
        }
        _ => fine("no controller of the v2 tree is kept back"),
    }
}

fn absent(survey: &Survey) -> Seen<Verdict> {
    if usable(survey).next().is_none() {
        return fine("no cgroup may be written at all (cgroup.none)");
    }
    let off: Vec<String> =
        lacking(survey).into_iter().filter(|name| !is_offered(survey, name)).map(str::to_owned).collect();
    match off.is_empty() {
        true => fine("each controller is somewhere"),
        false => found(format!("no cgroup that may be written has {}", list(&off))).into(),
    }
}

fn manager(survey: &Survey) -> Seen<Verdict> {
    let session = &survey.session;
    match (session.has_systemd, session.has_manager) {
        (true, false) if !survey.host.caller.is_root() => {
            found(format!("nothing listens on /run/user/{}/systemd/private", survey.host.caller.uid))
                .with("user", survey.host.caller.label())
                .into()
        }
        (true, _) => fine("the user's systemd listens"),
        (false, _) => fine("systemd is not init here: there is no /run/systemd/system"),
    }
}

fn bus(survey: &Survey) -> Seen<Verdict> {
    let Some(manager) = &survey.host.manager else {
        return fine("there is no systemd of the user's that gives scopes");
    };
    match (manager.has(&survey.host.cgroups), &survey.session.system_bus) {
        (true, _) => fine("bryo is in a cgroup of the user's systemd"),
        (false, true) => fine(format!("somebody listens on {SYSTEM_BUS}")),
        (false, false) => found(format!("nobody listens on {SYSTEM_BUS}")).into(),
    }
}
