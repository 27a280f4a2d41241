//! What the host has for a container's network: the helper, the bridges and what is granted on them, and the programs
//! for a network in user mode.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use config::{Config, NetKind};
use policy::usernet::{self, Asker, Group, Who};
use serde::{Deserialize, Serialize};
use sys::netlink::Connection;

use super::{HostFacts, Program, capability, in_path};
use crate::command::Client;
use crate::devices::{self, Device, Flaw, Holder, Holders, Quota};
use crate::error::{Doing, Result};
use crate::place::Place;

/// The file of the administrator that grants devices.
const USERNET: &str = "/etc/lxc/lxc-usernet";

/// The bridge that distributions of LXC make.
const USUAL_BRIDGE: &str = "lxcbr0";

/// The facts. Those that no plan needs are not looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkFacts {
    /// The helper that makes devices on bridges, where it works.
    pub helper: Option<PathBuf>,
    /// The bridges that were asked for, and those that the host has, by name.
    pub bridges: BTreeMap<String, BridgeFacts>,
    /// A program for a network in user mode, or why there is none.
    pub user_mode: Option<UserModeProgram>,
    /// What tells this machine from others.
    pub machine: Vec<u8>,
    /// The lines of the host's resolv.conf that name domains to search.
    pub search: Vec<String>,
}

/// What is known of a bridge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BridgeFacts {
    /// It is there.
    pub exists: bool,
    /// A line of /etc/lxc/lxc-usernet grants the caller a device on it.
    pub granted: bool,
    /// All that it grants stand in containers that run.
    pub used_up: Option<UsedUp>,
    /// Its first IPv4 address.
    pub ipv4: Option<Ipv4Addr>,
    /// Its first IPv6 address of more than the link.
    pub ipv6: Option<Ipv6Addr>,
}

/// A quota that is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsedUp {
    /// How many devices there are.
    pub used: usize,
    /// How many there may be.
    pub limit: u32,
}

impl UsedUp {
    /// Says it of a bridge.
    pub fn on(self, bridge: &str) -> String {
        format!("the quota on {bridge} is used up, {} of {} used", self.used, self.limit)
    }
}

/// A program that carries packets between a container and sockets of the caller's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserModeProgram {
    /// Which.
    pub kind: UserModeKind,
    /// Where it is.
    pub path: PathBuf,
}

/// Which program it is, the better one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UserModeKind {
    /// pasta, of the package passt.
    Pasta,
    /// slirp4netns.
    Slirp,
}

impl UserModeKind {
    /// All of them, the better first.
    pub const ALL: [Self; 2] = [Self::Pasta, Self::Slirp];

    /// Returns the program's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pasta => "pasta",
            Self::Slirp => "slirp4netns",
        }
    }
}

impl NetworkFacts {
    /// Gathers what the container at `place` with this configuration needs to know. One that asks for no device asks nothing.
    /// A device of its own, where it runs and is to be started again, is about to go.
    pub fn gather(config: &Config, host: &HostFacts, place: &Place) -> Result<Self> {
        let asks = config.net.is_empty() || config.net.values().any(|device| device.kind == NetKind::Veth);
        if asks { Self::look(config, host, Some(place)) } else { Ok(Self::default()) }
    }

    /// Gathers all of them; `config` says which bridges are asked for.
    pub fn of_host(config: &Config, host: &HostFacts) -> Result<Self> {
        Self::look(config, host, None)
    }

    fn look(config: &Config, host: &HostFacts, place: Option<&Place>) -> Result<Self> {
        let helper = Program::look(host.programs.netdev.clone())?;
        let works = !host.no_new_privs && helper.gains(capability::NET_ADMIN);
        Ok(Self {
            helper: works.then_some(helper.path),
            bridges: bridges(config, host, place)?,
            user_mode: user_mode(host),
            machine: std::fs::read("/etc/machine-id").unwrap_or_default(),
            search: search(&super::read("/etc/resolv.conf")?),
        })
    }
}

fn bridges(
    config: &Config,
    host: &HostFacts,
    place: Option<&Place>,
) -> Result<BTreeMap<String, BridgeFacts>> {
    let usernet = super::read(USERNET)?;
    let groups = groups(&usernet);
    let name = host.caller.name.as_deref().map(str::as_bytes);
    let asker = Asker { uid: host.caller.uid.0, name, groups: &groups };
    let asked = config.net.values().filter_map(|device| device.link.clone());
    let names: BTreeSet<String> = asked.chain(present()).collect();
    let mut all: BTreeMap<String, BridgeFacts> = BTreeMap::new();
    for name in names {
        let Ok(parsed) = name.parse() else { continue };
        let granted = !usernet::grants(&usernet, &parsed, &asker).is_empty();
        let exists = is_bridge(&name);
        all.insert(name, BridgeFacts { exists, granted, ..BridgeFacts::default() });
    }
    if all.values().any(|bridge| bridge.exists && bridge.granted) {
        // The helper counts again, so a count that is not had costs no network.
        if let Err(e) = used_up(&mut all, &usernet, &asker, place) {
            log::info!("counting the devices on bridges: {e}");
        }
    }
    let wants_addresses = config.net.values().any(|device| device.asks_the_bridge());
    if wants_addresses {
        addresses(&mut all).doing("asking for the addresses of bridges")?;
    }
    Ok(all)
}

/// Lists the bridges of the host.
fn present() -> impl Iterator<Item = String> {
    let entries = std::fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| is_bridge(name))
}

/// Tells whether an interface of the host is a bridge.
pub(super) fn is_bridge(name: &str) -> bool {
    !name.contains('/') && Path::new("/sys/class/net").join(name).join("bridge").is_dir()
}

/// Returns the caller's groups, as the helper counts them: by their numbers, the real one too, and by each name in the
/// grants that is a name of one of them. A number may have no name, or several.
pub fn groups(usernet: &[u8]) -> Vec<Group> {
    let supplementary = sys::cred::groups().unwrap_or_default();
    let own: BTreeSet<u32> =
        supplementary.into_iter().chain([sys::cred::real_gid()]).map(|gid| gid.0).collect();
    let named = usernet::all(usernet).filter_map(|line| {
        let Who::Group(name) = line.who else { return None };
        let gid = uzers::get_group_by_name(OsStr::from_bytes(name))?.gid();
        own.contains(&gid).then(|| Group { gid, name: Some(name.to_vec()) })
    });
    own.iter().map(|gid| Group { gid: *gid, name: None }).chain(named).collect()
}

/// How long the monitor of a container that is just starting or stopping may take to say what its init is.
const ANSWER: Duration = Duration::from_millis(200);

/// The container that is to be started, among holders of devices: no container has such a name.
const OWN: &str = "";

/// Fills in which quotas are used up. A device that is about to go leaves room: one in whose namespace nobody is any more, or
/// that of the container at `place`, which is just being started again.
fn used_up(
    all: &mut BTreeMap<String, BridgeFacts>,
    usernet: &[u8],
    asker: &Asker<'_>,
    place: Option<&Place>,
) -> sys::Result<()> {
    let links = sys::links::all()?;
    let mut quotas: Vec<Quota> = devices::quotas_of(usernet, asker, &links);
    if !all.keys().any(|name| used_up_on(name, &quotas).is_some()) {
        return Ok(());
    }
    let asked = |place| Client::connect_at_once(place).ok()??.status_within(ANSWER).ok()??.init_pid;
    let own_init = place.and_then(asked);
    let holders = Holders::look(own_init.map(|pid| (pid, OWN.to_owned())));
    let goes = |device: &&Device| match holders.of(device) {
        Holder::Nobody => device.flaw != Some(Flaw::Foreign),
        Holder::Container(name) => name == OWN,
        _ => false,
    };
    for device in devices::of(&links).iter().filter(goes) {
        quotas.iter_mut().for_each(|quota| quota.used.retain(|name| *name != device.name));
    }
    for (name, bridge) in all {
        bridge.used_up = used_up_on(name, &quotas);
    }
    Ok(())
}

/// Tells whether all quotas of a bridge are used up. Each is its owner's, a user's or a group's: what is over one of them takes
/// nothing of another.
fn used_up_on(bridge: &str, quotas: &[Quota]) -> Option<UsedUp> {
    let granted = || quotas.iter().filter(|quota| quota.bridge.as_str() == bridge && quota.limit > 0);
    let is_full = |quota: &Quota| quota.used.len() as u64 >= u64::from(quota.limit);
    (granted().next().is_some() && granted().all(is_full)).then(|| UsedUp {
        used: granted().map(|quota| quota.used.len()).sum(),
        limit: granted().fold(0, |sum, quota| sum.saturating_add(quota.limit)),
    })
}

/// Fills in the first address of each family that each bridge has.
fn addresses(bridges: &mut BTreeMap<String, BridgeFacts>) -> sys::Result<()> {
    let links = sys::links::all()?;
    for address in Connection::open()?.addresses()? {
        let Some(link) = links.iter().find(|link| link.index == address.index) else { continue };
        let Some(bridge) = bridges.get_mut(&link.name) else { continue };
        match address.address {
            IpAddr::V4(v4) => bridge.ipv4 = bridge.ipv4.or(Some(v4)),
            IpAddr::V6(v6) if v6.is_unicast_link_local() => {}
            IpAddr::V6(v6) => bridge.ipv6 = bridge.ipv6.or(Some(v6)),
        }
    }
    Ok(())
}

/// Finds a program for a network in user mode. It opens /dev/net/tun, and as root of the host it becomes nobody, who
/// may not enter the container's namespaces.
fn user_mode(host: &HostFacts) -> Option<UserModeProgram> {
    if host.caller.is_root() || sys::path::open_device(Path::new("/dev/net/tun")).is_err() {
        return None;
    }
    UserModeKind::ALL.into_iter().find_map(|kind| Some(UserModeProgram { kind, path: in_path(kind.name())? }))
}

/// Returns the lines that name domains to search, in a plain form.
fn search(resolv_conf: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(resolv_conf).into_owned();
    let is_domain =
        |word: &str| word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
    let domains = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let is_search = words.next() == Some("search");
        let domains: Vec<&str> = words.filter(|word| is_domain(word)).collect();
        (is_search && !domains.is_empty()).then(|| format!("search {}", domains.join(" ")))
    };
    text.lines().filter_map(domains).collect()
}

impl NetworkFacts {
    /// Returns the bridges on which the caller may have one more device, the usual one first.
    pub fn usable_bridges(&self) -> impl Iterator<Item = &str> {
        self.granted_bridges().filter(|(_, bridge)| bridge.used_up.is_none()).map(|(name, _)| name)
    }

    /// Says that the quota is used up where one more device could be had on some bridge but for that.
    pub fn used_up(&self) -> Option<String> {
        let mut granted = self.granted_bridges();
        let (name, bridge) = granted.next()?;
        let used = bridge.used_up?;
        granted.all(|(_, bridge)| bridge.used_up.is_some()).then(|| used.on(name))
    }

    /// Returns the bridges on which the caller may have devices, the usual one first.
    fn granted_bridges(&self) -> impl Iterator<Item = (&str, &BridgeFacts)> {
        let others = self.bridges.keys().map(String::as_str).filter(|name| *name != USUAL_BRIDGE);
        let found = |name| Some((name, self.bridges.get(name)?));
        let names = [USUAL_BRIDGE].into_iter().chain(others).filter(|_| self.helper.is_some());
        names.filter_map(found).filter(|(_, bridge)| bridge.exists && bridge.granted)
    }
}

#[cfg(test)]
mod tests {
    use policy::slots::Owner;

    use super::*;

    #[test]
    fn groups_are_known_by_number_and_by_each_name_of_the_grants() {
        let gid = sys::cred::real_gid().0;
        let numbers = |groups: &[Group]| groups.iter().filter(|group| group.name.is_none()).count();
        let unnamed = groups(b"@no-such-group veth a 1\n");
        assert!(unnamed.iter().all(|group| group.name.is_none()));
        assert!(unnamed.contains(&Group { gid, name: None }), "the real one counts too");
        let Some(own) = uzers::get_group_by_gid(gid) else { return };
        let name = own.name().as_bytes().to_vec();
        let line = [&b"@"[..], &name, b" veth a 1\n"].concat();
        let named = groups(&line);
        assert!(named.contains(&Group { gid, name: Some(name) }));
        assert_eq!(numbers(&named), numbers(&unnamed));
    }

    #[test]
    fn the_usual_bridge_comes_first_of_those_that_can_be_used() {
        let usable = BridgeFacts { exists: true, granted: true, ..BridgeFacts::default() };
        let absent = BridgeFacts { exists: false, ..usable.clone() };
        let refused = BridgeFacts { granted: false, ..usable.clone() };
        let bridges = [("br0", &usable), ("br1", &absent), ("br2", &refused), ("lxcbr0", &usable)];
        let bridges = bridges.map(|(name, facts)| (name.to_owned(), facts.clone())).into();
        let facts = NetworkFacts { helper: Some("/x".into()), bridges, ..NetworkFacts::default() };
        assert_eq!(facts.usable_bridges().collect::<Vec<_>>(), ["lxcbr0", "br0"]);
        let without = NetworkFacts { helper: None, ..facts };
        assert_eq!(without.usable_bridges().count(), 0);
    }

    #[test]
    fn a_bridge_whose_quota_is_used_up_is_passed_over_and_said_when_it_was_the_last() {
        let room = BridgeFacts { exists: true, granted: true, ..BridgeFacts::default() };
        let full = BridgeFacts { used_up: Some(UsedUp { used: 2, limit: 2 }), ..room.clone() };
        let of = |bridges: &[(&str, &BridgeFacts)]| NetworkFacts {
            helper: Some("/x".into()),
            bridges: bridges.iter().map(|(name, facts)| ((*name).to_owned(), (*facts).clone())).collect(),
            ..NetworkFacts::default()
        };
        let one = of(&[("br0", &room), ("lxcbr0", &full)]);
        assert_eq!(one.usable_bridges().collect::<Vec<_>>(), ["br0"]);
        assert_eq!(one.used_up(), None);
        let none = of(&[("br0", &full), ("lxcbr0", &full)]);
        assert_eq!(none.usable_bridges().count(), 0);
        assert_eq!(none.used_up().as_deref(), Some("the quota on lxcbr0 is used up, 2 of 2 used"));
        assert_eq!(NetworkFacts { helper: None, ..none }.used_up(), None);
    }

    #[test]
    fn what_is_over_one_quota_takes_nothing_of_another() {
        let quota = |owner, limit, used: usize| Quota {
            bridge: "lxcbr0".parse().unwrap(),
            owner,
            limit,
            used: (0..used).map(|number| format!("u{number}")).collect(),
            is_there: true,
            is_isolated: true,
        };
        let (own, staff) = (Owner::User(1000), Owner::Group(50));
        assert_eq!(used_up_on("lxcbr0", &[quota(own, 2, 0), quota(staff, 0, 5)]), None);
        assert_eq!(used_up_on("lxcbr0", &[quota(own, 2, 1), quota(staff, 3, 9)]), None);
        let both = [quota(own, 2, 2), quota(staff, 3, 4), quota(staff, 0, 5)];
        assert_eq!(used_up_on("lxcbr0", &both), Some(UsedUp { used: 6, limit: 5 }));
        assert_eq!(used_up_on("br0", &both), None);
        assert_eq!(used_up_on("lxcbr0", &[quota(staff, 0, 5)]), None, "nothing is granted");
    }

    #[test]
    fn domains_to_search_are_kept_and_nothing_else() {
        let text = b"nameserver 10.0.0.1\nsearch example.org sub.example.org\noptions ndots:2\nsearch $(x)\n";
        assert_eq!(search(text), ["search example.org sub.example.org"]);
    }
}
