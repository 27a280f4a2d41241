//! Networks: what a veth device on a bridge needs, and what a network in user mode does.

use policy::usernet::{self, Asker};

use super::Severity::{Costs, Note};
use super::Who::Administrator;
use super::{Check, Verdict, fine, found, list};
use crate::host::{Bridge, Seen, Survey, capability};

const USER_MODE: &str =
    "a network in user mode, where pasta or slirp4netns is; else such a container does not start";
const BRIDGE: &str = "a bridge that is granted; else loopback, where nothing else is asked for";

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "net.helper",
        severity: Costs,
        seen: "new containers ask for veth, and no bryo-netdev with cap_net_admin, and nothing more, is installed",
        why: "the kernel lets only a privileged helper put a device on the host's bridge",
        mend: "sudo cargo xtask install --prefix <prefix>",
        advice: "lxc.net.0.type = empty asks for no device",
        who: Administrator,
        meanwhile: USER_MODE,
        look: helper,
    },
    Check {
        id: "net.owner",
        severity: Costs,
        seen: "bryo-netdev has rights, and it, or a directory on the way to it, is not root's or can be written by others",
        why: "what the file may do may all do who can change it: a shared mapping changes it and leaves it its rights",
        mend: "sudo cargo xtask install",
        advice: "take the rights that it has from it: sudo chmod u-s <helper>; sudo setcap -r <helper>",
        who: Administrator,
        meanwhile: "the helper",
        look: owner,
    },
    Check {
        id: "net.bridge",
        severity: Costs,
        seen: "new containers ask for veth on a bridge (lxc.net.N.link) that is not there",
        why: "a veth device reaches the world by its bridge",
        mend: "sudo bryo net setup --bridge <bridge>",
        advice: "LXC's service lxc-net makes one as well",
        who: Administrator,
        meanwhile: USER_MODE,
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
        meanwhile: USER_MODE,
        look: quota,
    },
    Check {
        id: "net.usermode",
        severity: Note,
        seen: "neither pasta nor slirp4netns is in PATH",
        why: "a network in user mode needs no bridge and no grant",
        mend: "<install> passt",
        advice: "the package is passt; slirp4netns does as well",
        who: Administrator,
        meanwhile: BRIDGE,
        look: user_mode,
    },
    Check {
        id: "net.tun",
        severity: Note,
        seen: "/dev/net/tun cannot be opened by the caller",
        why: "programs for networks in user mode make the container's device by it",
        mend: "sudo chmod 666 /dev/net/tun",
        advice: "in docker and podman: --device /dev/net/tun",
        who: Administrator,
        meanwhile: BRIDGE,
        look: tun,
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
        _ if survey.network.helper.gains(capability::NET_ADMIN) => fine(path(survey)),
        _ => found(format!("there is no {} with cap_net_admin, and nothing more", path(survey)))
            .with("prefix", super::ids::prefix(survey))
            .into(),
    }
}

/// Looks at it also where no container asks for it: its rights are there all the same.
fn owner(survey: &Survey) -> Seen<Verdict> {
    let helper = &survey.network.helper;
    match super::ids::exposed(&path(survey), helper) {
        Some(fact) if helper.gains_also(capability::NET_ADMIN) => {
            found(fact).with("helper", path(survey)).into()
        }
        _ => fine(path(survey)),
    }
}

fn path(survey: &Survey) -> String {
    survey.network.helper.path.display().to_string()
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
    if bridges.is_empty() {
        return fine(NOT_ASKED);
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

fn tun(survey: &Survey) -> Seen<Verdict> {
    match &survey.network.tun {
        None => fine("/dev/net/tun can be opened"),
        Some(e) => found(e.to_string()).into(),
    }
}
