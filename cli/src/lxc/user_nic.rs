//! `lxc-user-nic`: LXC's arguments for the helper that makes network devices.
//!
//! LXC's own has root's rights, takes a pid, and opens what belongs to it. This one has no rights at all: it opens the network
//! namespace as its caller, who must be able to, and hands the fd to `bryo-netdev`.

use container::host::NetworkFacts;
use container::network::handed;

use super::{Call, Tool};
use crate::output;

/// The tool.
pub(super) static TOOL: Tool = Tool {
    name: "lxc-user-nic",
    usage: "create LXCPATH NAME PID veth BRIDGE [NIC]",
    about: "makes a network device on a bridge for the network namespace of a process",
    options: &[],
    about_one: false,
    run: |call| run(call).unwrap_or_else(|status| status),
};

/// What LXC passes for a name that it leaves open.
const NO_NAME: &str = "(null)";

fn run(call: &Call) -> Result<i32, i32> {
    let words: Vec<&str> = call.words.iter().map(String::as_str).collect();
    let (pid, bridge, name) = match words[..] {
        ["create", _, _, pid, "veth", bridge] => (pid, bridge, None),
        ["create", _, _, pid, "veth", bridge, name] => {
            (pid, bridge, Some(name).filter(|name| *name != NO_NAME))
        }
        ["create", _, _, _, kind, ..] if kind != "veth" => {
            return Err(call.fail(format!("devices of type {kind} need root; there is veth alone")));
        }
        ["delete", ..] => {
            return Err(call
                .fail("a device goes with its network namespace, or when its owner removes the other end"));
        }
        _ => return Err(call.misused()),
    };
    let pid: i32 = pid.parse().map_err(|_| call.fail(format!("{pid} is no pid")))?;
    let host = call.or_fail(call.context.facts())?;
    let facts = call.or_fail(NetworkFacts::of_host(&config::Config::default(), host))?;
    let Some(helper) = facts.helper else {
        return Err(call.fail(format!("{} cannot gain cap_net_admin", host.programs.netdev.display())));
    };
    let made = call.or_fail(handed::make(&helper, pid, bridge, name))?;
    output::print_line(format_args!("{}:{}:{}:{}", made.name, made.index, made.host, made.host_index));
    Ok(0)
}
