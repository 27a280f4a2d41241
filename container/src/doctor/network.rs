//! Networks: what a veth device on a bridge needs, and the programs for networks in user mode.

use policy::usernet::{self, Asker};

use super::Severity::{Costs, Note};
use super::Who::Administrator;
use super::{Check, Verdict, fine, found, list};
use crate::host::{Bridge, Seen, Survey};

const LOOPBACK: &str = "the loopback device alone";

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "net.helper",
        severity: Costs,
        seen: "new containers ask for veth, and no bryo-netdev with cap_net_admin is installed",
        why: "the kernel lets only a privileged helper put a device on the host's bridge",
        mend: "sudo cargo xtask install --prefix <prefix>",
        advice: "this version of Bryo does not start it yet; lxc.net.0.type = empty asks for no device",
        who: Administrator,
        meanwhile: LOOPBACK,
        look: helper,
    },
    Check {
        id: "net.bridge",
        severity: Costs,
        seen: "new containers ask for veth on a bridge (lxc.net.N.link) that is not there",
        why: "a veth device reaches the world by its bridge",
        mend: "sudo bryo net setup --bridge <bridge>",
        advice: "LXC's service lxc-net makes one as well",
        who: Administrator,
        meanwhile: LOOPBACK,
        look: bridge,
    },
    Check {
        id: "net.usernet",
        severity: Costs,
        seen: "new containers ask for veth on a bridge, and no line of /etc/lxc/lxc-usernet grants it",
        why: "the administrator says there who may have how many devices on which bridge",
        mend: "printf '%s veth %s 10\\n' <user> <bridge> | sudo tee -a /etc/lxc/lxc-usernet",
        advice: "",
        who: Administrator,
        meanwhile: LOOPBACK,
        look: quota,
    },
    Check {
        id: "net.usermode",
        severity: Note,
        seen: "neither pasta nor slirp4netns is in PATH",
        why: "a network in user mode needs no bridge and no grant; this version of Bryo does not start one yet",
        mend: "<install> passt",
        advice: "the package is passt; slirp4netns does as well",
        who: Administrator,
        meanwhile: LOOPBACK,
        look: user_mode,
    },
];

/// Returns the bridges that new containers ask for.
fn bridges(survey: &Survey) -> Seen<&[Bridge]> {
    match &survey.network.unreadable {
        Some(reason) => Err(format!("the configuration of new containers cannot be read: {reason}")),
        None => Ok(&survey.network.bridges),
    }
}

fn helper(survey: &Survey) -> Seen<Verdict> {
    match bridges(survey)? {
        [] => fine(NOT_ASKED),
        _ if survey.network.has_helper => fine(survey.network.helper.display().to_string()),
        _ => {
            let helper = survey.network.helper.display().to_string();
            found(format!("there is no {helper} with cap_net_admin"))
                .with("prefix", super::ids::prefix(survey))
                .into()
        }
    }
}

const NOT_ASKED: &str = "the configuration of new containers asks for no veth";

fn bridge(survey: &Survey) -> Seen<Verdict> {
    let bridges = bridges(survey)?;
    match bridges.iter().find(|bridge| !bridge.exists) {
        Some(bridge) => {
            found(format!("there is no bridge {}", bridge.name)).with("bridge", &bridge.name).into()
        }
        None if bridges.is_empty() => fine(NOT_ASKED),
        None => fine("every bridge that is asked for is there"),
    }
}

fn quota(survey: &Survey) -> Seen<Verdict> {
    let bridges = bridges(survey)?;
    if bridges.is_empty() || survey.host.caller.is_root() {
        return fine(if bridges.is_empty() { NOT_ASKED } else { "root needs no grant" });
    }
    let text = survey.identity.usernet.as_ref()?.as_bytes();
    let user = survey.host.caller.label();
    let asker =
        Asker { uid: survey.host.caller.uid.0, name: Some(user.as_bytes()), groups: &survey.identity.groups };
    let is_refused = |bridge: &&Bridge| match bridge.name.parse() {
        Ok(name) => usernet::grants(text, &name, &asker).is_empty(),
        Err(_) => true,
    };
    match bridges.iter().find(is_refused) {
        Some(bridge) => found(format!("/etc/lxc/lxc-usernet grants {user} no veth on {}", bridge.name))
            .with("bridge", &bridge.name)
            .with("user", &user)
            .into(),
        None => fine("/etc/lxc/lxc-usernet grants what is asked for"),
    }
}

fn user_mode(survey: &Survey) -> Seen<Verdict> {
    let names: Vec<String> = survey.network.user_mode.iter().map(|name| (*name).to_owned()).collect();
    if !names.is_empty() {
        return fine(list(&names));
    }
    found("neither pasta nor slirp4netns is in PATH").of_packages(survey).into()
}
