//! `bryo start --dry-run`: the plan, for people and for programs.

use config::Capability;
use container::plan::{AddressPlan, DevicePlan, EntryPlan, EntrySource, GatewayPlan, NetworkPlan, StartPlan};
use container::security::Filter;
use container::{Error, Kind};
use sys::process::flags;
use types::{IdKind, Published};

use crate::output;

/// Prints the plan.
pub(super) fn print(plan: &StartPlan, json: bool) -> container::Result<i32> {
    if json {
        let text = serde_json::to_string_pretty(plan);
        output::print_line(text.map_err(|e| Error::new(Kind::Build, e.to_string()))?);
    } else {
        output::print(listing(plan));
    }
    Ok(0)
}

/// Collects lines of a label and a text; a label that comes again is not repeated.
#[derive(Default)]
struct Lines {
    text: String,
    last: &'static str,
}

impl Lines {
    fn add(&mut self, label: &'static str, text: impl AsRef<str>) {
        let shown = if label == self.last { "" } else { label };
        self.last = label;
        self.text.push_str(&format!("{shown:<13} {}\n", text.as_ref()));
    }

    fn each(&mut self, label: &'static str, texts: impl IntoIterator<Item = String>) {
        texts.into_iter().for_each(|text| self.add(label, text));
    }
}

fn listing(plan: &StartPlan) -> String {
    let mut lines = Lines::default();
    lines.add("container", format!("{}, from {}", plan.place.name, plan.config_file.display()));
    identity(plan, &mut lines);
    files(plan, &mut lines);
    settings(plan, &mut lines);
    program(plan, &mut lines);
    lines.each("note", plan.notes.iter().chain(&plan.remarks).cloned());
    lines.text
}

fn identity(plan: &StartPlan, lines: &mut Lines) {
    for kind in [IdKind::User, IdKind::Group] {
        let extents = plan.idmap.extents(kind).iter();
        lines.each("ids", extents.map(|extent| format!("{} {extent}", kind.letter())));
    }
    lines.add("written", format!("by {}", plan.id_writer.rung()));
    lines.add("namespaces", namespaces(plan.namespaces));
    lines.add("cgroup", format!("{}: {}", plan.cgroup.rung().word(), plan.cgroup.names.inner.display()));
    let limits = plan.cgroup.limits.iter();
    lines.each("limit", limits.map(|limit| format!("{} = {}", limit.key, limit.value)));
    lines.add("network", plan.network.rung());
    lines.each("device", plan.network.devices().iter().map(device));
    lines.each("published", plan.publish.iter().map(Published::told));
}

fn files(plan: &StartPlan, lines: &mut Lines) {
    let access = if plan.rootfs.read_only { ", read-only" } else { "" };
    lines.add("rootfs", format!("{}{access}", plan.rootfs.path.display()));
    let dev = &plan.dev;
    let kind =
        if dev.auto { format!("a tmpfs of {} bytes", dev.tmpfs_size) } else { "the rootfs' own".to_owned() };
    let console = if dev.console { "a console" } else { "no console" };
    lines.add("/dev", format!("{kind}, {console}, ttys: {}", dev.ttys));
    let auto = plan.auto.to_string();
    lines.each("automatic", Some(auto).filter(|auto| !auto.is_empty()));
    let resolv_conf = plan.resolv_conf.iter().filter(|_| matches!(plan.network, NetworkPlan::UserMode(_)));
    lines.each("mount", plan.entries.iter().chain(resolv_conf).map(entry));
    let hooks = plan.hooks.commands.iter();
    lines.each(
        "hook",
        hooks.flat_map(|(moment, commands)| {
            commands.iter().map(move |command| format!("{moment}: {command}"))
        }),
    );
}

fn settings(plan: &StartPlan, lines: &mut Lines) {
    lines.each("hostname", plan.hostname.clone());
    lines.each("sysctl", plan.sysctls.iter().map(|(name, value)| format!("{name} = {value}")));
    lines.each("proc", plan.procs.iter().map(|(name, value)| format!("{name} = {value}")));
    lines.each(
        "rlimit",
        plan.confinement.rlimits.iter().map(|(kind, soft, hard)| format!("{kind}: {soft} {hard}")),
    );
    lines.each("dropped", dropped(plan.confinement.capabilities));
    lines.each("privileges", plan.confinement.no_new_privs.then(|| "no new ones".to_owned()));
    lines.add("filter", filter(&plan.confinement.filter));
}

fn program(plan: &StartPlan, lines: &mut Lines) {
    let init = &plan.init;
    let under = if plan.is_app() { "below bryo-init: " } else { "" };
    let own =
        if plan.is_app() { init.argv.iter().position(|word| word == "--").map_or(0, |at| at + 1) } else { 0 };
    let argv = &init.argv[own..];
    lines.add("runs", format!("{under}{}", argv.join(" ")));
    lines.add("as", format!("user {}, group {}, in {}", init.uid, init.gid, init.cwd.display()));
    lines.each("environment", init.environment.iter().cloned());
    let signals = &plan.signals;
    let halt = signals.halt.map_or_else(|| "as init takes it".to_owned(), |signal| signal.to_string());
    lines.add("signals", format!("halt {halt}, reboot {}, stop {}", signals.reboot, signals.stop));
    lines.each("log", plan.console_log.iter().map(|log| format!("console to {}", log.path.display())));
    lines.each("afterwards", plan.ephemeral.then(|| "destroyed".to_owned()));
}

fn namespaces(wanted: u64) -> String {
    let kinds = [
        (flags::NEWUSER, "user"),
        (flags::NEWNS, "mnt"),
        (flags::NEWPID, "pid"),
        (flags::NEWUTS, "uts"),
        (flags::NEWIPC, "ipc"),
        (flags::NEWNET, "net"),
        (flags::NEWCGROUP, "cgroup"),
        (flags::NEWTIME, "time"),
    ];
    let names: Vec<&str> =
        kinds.iter().filter(|(flag, _)| wanted & flag != 0).map(|(_, name)| *name).collect();
    names.join(" ")
}

fn filter(filter: &Filter) -> String {
    let one_id = if filter.one_id { ", changes of owner and of ids are done in name only" } else { "" };
    format!("{}{one_id}", filter.profile)
}

/// Says what a network device is to be.
fn device(device: &DevicePlan) -> String {
    let hwaddr = device.hwaddr.map(|octet| format!("{octet:02x}")).join(":");
    let mut text = format!("{} on {}, {hwaddr}", device.name, device.bridge);
    device.mtu.iter().for_each(|mtu| text.push_str(&format!(", MTU {mtu}")));
    for AddressPlan { address, prefix, .. } in &device.addresses {
        text.push_str(&format!(", {address}/{prefix}"));
    }
    for gateway in &device.gateways {
        text.push_str(&match gateway {
            GatewayPlan::By(address) => format!(", gateway {address}"),
            GatewayPlan::DeviceV4 => ", all of IPv4".to_owned(),
            GatewayPlan::DeviceV6 => ", all of IPv6".to_owned(),
        });
    }
    text + if device.up { ", up" } else { ", down" }
}

/// Names the capabilities that go, or those that stay where these are fewer.
fn dropped(kept: u64) -> Option<String> {
    let name =
        |number: u32| number.to_string().parse::<Capability>().map(|c| c.to_string()).unwrap_or_default();
    let names = |bits: u64| (0..64).filter(|n| bits >> n & 1 == 1).map(name).collect::<Vec<_>>().join(" ");
    match kept {
        u64::MAX => None,
        0 => Some("all capabilities".to_owned()),
        kept if kept.count_ones() < 32 => Some(format!("all capabilities but {}", names(kept))),
        kept => Some(names(!kept)),
    }
}

fn entry(entry: &EntryPlan) -> String {
    let source = match &entry.source {
        EntrySource::Bind { path, .. } => path.display().to_string(),
        EntrySource::BindInside { path, .. } => format!("{} of the container", path.display()),
        EntrySource::New { fstype, .. } => format!("a new {fstype}"),
    };
    let optional = if entry.optional { ", if it can be had" } else { "" };
    format!("{source} on /{}{optional}", entry.target.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::Config;
    use container::host::{Caller, Helpers, HostFacts, IdWriter, NetworkFacts, Programs};
    use container::place::Place;
    use container::plan::{Run, StartRequest, Stdio, plan};
    use container::security::AppArmor;
    use container::surroundings::Surroundings;
    use types::{HostGid, HostUid, IdRange};

    fn ana() -> HostFacts {
        let range = IdRange::new(100_000, 65_536).unwrap();
        HostFacts {
            caller: Caller { uid: HostUid(1500), gid: HostGid(1500), name: Some("ana".into()) },
            subuids: vec![range],
            subgids: vec![range],
            free_range: None,
            mapped: Default::default(),
            id_writer: IdWriter::BryoIdmap("/usr/libexec/bryo/bryo-idmap".into()),
            helpers: Helpers::default(),
            no_new_privs: false,
            cores_are_piped: false,
            apparmor: AppArmor::Absent,
            surroundings: Surroundings::free(),
            cgroups: cgroup::Layout::default(),
            manager: None,
            lxcfs: None,
            programs: Programs::beside("/usr/bin/bryo".as_ref()),
        }
    }

    fn planned(lines: &[(&str, &str)]) -> StartPlan {
        let mut config = Config::default();
        lines.iter().for_each(|(key, value)| config.set(key, value).unwrap());
        let place = Place { lxcpath: "/lxc".into(), name: "web".parse().unwrap() };
        let request = StartRequest {
            config_file: place.config(),
            place,
            run: Run::Init,
            foreground: false,
            stdio: Stdio::Console,
            network: None,
            network_by_default: false,
            publish: Vec::new(),
            lxcfs: false,
            lxcfs_quota: false,
        };
        plan(request, &config, &ana(), &NetworkFacts::default()).unwrap()
    }

    #[test]
    fn a_plan_is_listed_in_words() {
        let text = listing(&planned(&[
            ("lxc.rootfs.path", "dir:/lxc/web/rootfs"),
            ("lxc.uts.name", "web"),
            ("lxc.mount.entry", "/opt opt none rbind,optional 0 0"),
            ("lxc.cgroup2.pids.max", "99"),
            ("lxc.cap.drop", "mknod"),
            ("lxc.hook.start", "/bin/true"),
        ]));
        let expected = "\
container     web, from /lxc/web/config
ids           u 0 100000 65536
              g 0 100000 65536
written       by bryo-idmap
namespaces    user mnt pid uts ipc net cgroup
cgroup        none (no limits, no freezer): lxc.payload.web
limit         pids.max = 99
network       loopback
rootfs        /lxc/web/rootfs
/dev          a tmpfs of 500000 bytes, a console, ttys: 0
mount         /opt on /opt, if it can be had
hook          start: /bin/true
hostname      web
rlimit        4: 0 0
dropped       sys_module sys_rawio sys_time mknod mac_override mac_admin syslog wake_alarm block_suspend audit_read perfmon bpf
filter        baseline
runs          /sbin/init
as            user 0, group 0, in /
environment   container=lxc
signals       halt as init takes it, reboot SIGINT, stop SIGKILL
";
        assert_eq!(text, expected);
    }

    #[test]
    fn what_is_not_done_is_said() {
        let text = listing(&planned(&[("lxc.monitor.unshare", "1")]));
        assert!(text.contains("note          lxc.monitor.unshare has no effect: "), "{text}");
    }

    #[test]
    fn capabilities_are_named_the_shorter_way() {
        assert_eq!(dropped(u64::MAX), None);
        assert_eq!(dropped(!1).as_deref(), Some("chown"));
        assert_eq!(dropped(3).as_deref(), Some("all capabilities but chown dac_override"));
        assert_eq!(dropped(0).as_deref(), Some("all capabilities"));
    }

    #[test]
    fn a_label_stands_once() {
        let mut lines = Lines::default();
        lines.each("mount", ["a".to_owned(), "b".to_owned()]);
        lines.add("runs", "c");
        assert_eq!(lines.text, "mount         a\n              b\nruns          c\n");
    }
}
