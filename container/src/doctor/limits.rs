//! What shows the caller's running containers their own limits.

use super::Severity::{Costs, Note};
use super::Who::You;
use super::{Check, Verdict, fine, found, list};
use crate::host::{Seen, Survey};
use crate::lxcfs::Server;

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "lxcfs.silent",
        severity: Costs,
        seen: "bryo-lxcfs runs and does not answer: it is stopped, or hangs",
        why: "who reads /proc/meminfo and its kin in a container waits for it",
        mend: "bryo lxcfs renew",
        advice: "",
        who: You,
        meanwhile: "readers wait",
        look: silent,
    },
    Check {
        id: "lxcfs.lacking",
        severity: Costs,
        seen: "a container that runs sees the host's limits, since bryo-lxcfs could not be had when it was needed",
        why: "programs in it size themselves for the host's memory and processors",
        mend: "bryo lxcfs attach <name>",
        advice: "the log of the container's monitor (lxc.log.file) says why",
        who: You,
        meanwhile: "the host's numbers; it is tried again every ten seconds",
        look: lacking,
    },
    Check {
        id: "lxcfs.version",
        severity: Note,
        seen: "the bryo-lxcfs that runs is another one than the installed one",
        why: "what an upgrade mends it does not have yet",
        mend: "bryo lxcfs renew",
        advice: "",
        who: You,
        meanwhile: "the one that runs serves",
        look: version,
    },
];

fn silent(survey: &Survey) -> Seen<Verdict> {
    match survey.limits.server {
        Server::Silent => found("bryo-lxcfs does not answer").into(),
        Server::Nobody => fine("bryo-lxcfs does not run, and none of the containers needs it"),
        Server::Installed | Server::Another => fine("bryo-lxcfs answers"),
    }
}

fn lacking(survey: &Survey) -> Seen<Verdict> {
    match &survey.limits.lacking[..] {
        [] => fine("no container that runs lacks its own limits"),
        [first, ..] => {
            let names = list(&survey.limits.lacking);
            found(format!("for {names} bryo-lxcfs cannot be had")).with("name", first).into()
        }
    }
}

fn version(survey: &Survey) -> Seen<Verdict> {
    match survey.limits.server {
        Server::Another => found("the bryo-lxcfs that runs is not the installed one").into(),
        Server::Installed => fine("the bryo-lxcfs that runs is the installed one"),
        Server::Nobody => fine("bryo-lxcfs does not run"),
        Server::Silent => Err("bryo-lxcfs does not answer".to_owned()),
    }
}
