//! What the host is like, as far as setting up a bridge asks. Nothing is changed by asking.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sys::links::Link;
use types::IfName;

use super::firewall::{self, Firewalls, Iptables};
use super::plan::{self, Obstacle};
use super::settings::{self, Problem, Settings};
use super::step::{DIRECTORIES, PROGRAMS, Program};
use crate::{Doing, Error, Kind, Result};

/// What the host is like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Its interfaces.
    pub(super) links: Vec<Link>,
    /// Where its programs are.
    pub(super) programs: BTreeMap<Program, PathBuf>,
    /// It has IPv6.
    pub(super) has_ipv6: bool,
    /// Packets are passed on already.
    pub(super) forwards_v4: bool,
    /// Packets of IPv6 are passed on already.
    pub(super) forwards_v6: bool,
    /// The interfaces on which it listens to routers.
    pub(super) listening: Vec<String>,
    /// Where it sends packets of IPv4.
    pub(super) routes: Vec<Route<Ipv4Addr>>,
    /// Where it sends packets of IPv6.
    pub(super) routes_6: Vec<Route<Ipv6Addr>>,
    /// The addresses that it has, but those that only count on a link.
    pub(super) addresses: Vec<Address>,
    /// The tables of nftables, with their families.
    pub(super) tables: Vec<(String, String)>,
    /// Its kernel can tell in a rule which bridge a port is of.
    pub(super) tells_bridges: bool,
    /// Other firewalls.
    pub(super) firewalls: Firewalls,
    /// All dnsmasq that run.
    pub(super) servers: Vec<Server>,
    /// As whom dnsmasq is to run.
    pub(super) server_user: String,
    /// Its programs ask systemd-resolved for names.
    pub(super) has_resolved: bool,
    /// An earlier dnsmasq of the bridge wrote down its pid.
    pub(super) has_run_file: bool,
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Route<A> {
    pub(super) interface: String,
    pub(super) network: A,
    pub(super) prefix: u8,
}

/// An address of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) interface: String,
    pub(super) ip: IpAddr,
    pub(super) prefix: u8,
}

/// A dnsmasq that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) pid: i32,
    pub(super) arguments: Vec<String>,
}

/// Reads the settings. `bridge` overrides the name.
///
/// # Errors
/// All lines that cannot be used.
pub fn settings(bridge: Option<&IfName>) -> std::result::Result<Settings, Vec<Problem>> {
    let mut problems = Vec::new();
    let files = settings::FILES.map(|file| {
        let text = settings_text(file).unwrap_or_else(|error| {
            let what = format!("it cannot be read: {error}");
            problems.push(Problem { file: file.to_owned(), line: 0, what });
            String::new()
        });
        (file, text)
    });
    let machine = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let read = settings::read(&files, bridge, machine.trim());
    if problems.is_empty() {
        return read;
    }
    problems.extend(read.err().into_iter().flatten());
    Err(problems)
}

/// Reads a file of settings. One that is not there says nothing; in comments there may be any bytes.
fn settings_text(file: &str) -> std::io::Result<String> {
    match std::fs::read(file) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error),
    }
}

impl Facts {
    /// Looks at the host. What only root may see is taken for not there when somebody else asks.
    ///
    /// # Errors
    /// The kernel does not list its interfaces.
    pub fn gather(bridge: &IfName) -> Result<Self> {
        let sysctl = |key: &str| std::fs::read_to_string(format!("/proc/sys/net/{key}"));
        let is_on = |key: &str| sysctl(key).is_ok_and(|value| value.trim() == "1");
        let mut facts = Self {
            links: sys::links::all().doing("listing the interfaces")?,
            programs: PROGRAMS.iter().filter_map(|program| Some((*program, find(*program)?))).collect(),
            has_ipv6: sysctl("ipv6/conf/all/forwarding").is_ok(),
            forwards_v4: is_on("ipv4/ip_forward"),
            forwards_v6: is_on("ipv6/conf/all/forwarding"),
            routes: routes(&std::fs::read_to_string("/proc/net/route").unwrap_or_default()),
            routes_6: routes_6(&std::fs::read_to_string("/proc/net/ipv6_route").unwrap_or_default()),
            servers: servers(),
            server_user: server_user().to_owned(),
            has_resolved: Path::new("/run/systemd/resolve/io.systemd.Resolve").exists(),
            has_run_file: plan::pid_file(bridge).exists(),
            ..Self::default()
        };
        let listens =
            |link: &&Link| link.name != "lo" && is_on(&format!("ipv6/conf/{}/accept_ra", link.name));
        facts.listening = facts.links.iter().filter(listens).map(|link| link.name.clone()).collect();
        facts.addresses = addresses(&facts.ask(Program::Ip, &["-o", "address", "show"]).unwrap_or_default());
        facts.look_at_rules(bridge)?;
        Ok(facts)
    }

    fn look_at_rules(&mut self, bridge: &IfName) -> Result<()> {
        let all = self.rules(&["-a", "list", "ruleset"])?;
        self.tables = tables(&all);
        self.tells_bridges = self.ask(Program::Nft, &["--check", TELLS_BRIDGES]).is_ok();
        self.firewalls = Firewalls {
            chains: firewall::chains(&self.rules(&["list", "chains"])?),
            own: firewall::marked(&all, &firewall::mark(bridge)),
            iptables: Vec::new(),
            has_firewalld: self.tables.iter().any(|(_, name)| name == "firewalld"),
        };
        // Asked where nobody has used it, iptables would load modules of the kernel.
        let older = |file| {
            std::fs::read_to_string(file).is_ok_and(|names| names.lines().any(|name| name == "filter"))
        };
        for (program, family, file) in [
            (Program::Iptables, "ip", "/proc/net/ip_tables_names"),
            (Program::Ip6tables, "ip6", "/proc/net/ip6_tables_names"),
        ] {
            let is_used =
                older(file) || self.tables.iter().any(|(of, name)| (&**of, &**name) == (family, "filter"));
            if is_used && self.programs.contains_key(&program) {
                let rules = self.ask(program, &["-w", "-S"]).unwrap_or_default();
                self.firewalls.iptables.push(Iptables { program, rules });
            }
        }
        Ok(())
    }

    /// Returns what nftables answers, which must answer root: who takes silence for "no rules" leaves a firewall that drops,
    /// and rules of an earlier setup.
    fn rules(&self, arguments: &[&str]) -> Result<String> {
        match self.ask(Program::Nft, arguments) {
            Err(error) if self.programs.contains_key(&Program::Nft) && sys::cred::real_uid().0 == 0 => {
                Err(error.doing(format!("asking for the rules of firewalls (nft {})", arguments.join(" "))))
            }
            answer => Ok(answer.unwrap_or_default()),
        }
    }

    /// Returns what a program answers.
    fn ask(&self, program: Program, arguments: &[&str]) -> Result<String> {
        let name = program.name();
        let path = self
            .programs
            .get(&program)
            .ok_or_else(|| Error::new(Kind::ProgramMissing, format!("{name} is not installed")))?;
        let mut command = Command::new(path);
        command.args(arguments).env_clear().env("LC_ALL", "C");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let answer = sys::process::spawn_with(&mut command, &[])
            .and_then(std::process::Child::wait_with_output)
            .map_err(|error| Error::new(Kind::Died, format!("starting {name}: {error}")))?;
        match answer.status.success() {
            true => Ok(String::from_utf8_lossy(&answer.stdout).into_owned()),
            false => {
                let said = String::from_utf8_lossy(&answer.stderr);
                Err(Error::new(Kind::Died, format!("{name}: {}", said.trim())))
            }
        }
    }

    /// Returns the addresses of other interfaces than the bridge.
    pub(super) fn addresses_beside(&self, bridge: &IfName) -> impl Iterator<Item = &Address> {
        self.addresses.iter().filter(move |address| address.interface != bridge.as_str())
    }

    /// Requires that programs are there.
    pub(super) fn require(&self, programs: &[Program]) -> std::result::Result<(), Obstacle> {
        let missing: Vec<Program> =
            programs.iter().copied().filter(|program| !self.programs.contains_key(program)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let list = |name: fn(Program) -> &'static str| {
            missing.iter().map(|program| name(*program)).collect::<Vec<_>>()
        };
        Err(Obstacle {
            what: format!("not installed: {}", list(Program::name).join(", ")),
            help: format!("install the packages: {}", list(Program::package).join(" ")),
        })
    }

    /// Tells whether the host's programs ask systemd-resolved, and it can be told whom to ask.
    pub(super) fn asks_resolved(&self) -> bool {
        self.has_resolved && self.programs.contains_key(&Program::Resolvectl)
    }

    /// Returns where a program is.
    pub(super) fn path(&self, program: Program) -> Option<&Path> {
        self.programs.get(&program).map(PathBuf::as_path)
    }
}

/// Rules that a kernel refuses which cannot tell the bridge of a port. They are tried, and not made.
const TELLS_BRIDGES: &str = "table bridge bryo.try { chain try { type filter hook prerouting priority 0; \
                             meta ibrname \"x\"; meta obrname \"x\"; }; }";

/// As whom dnsmasq runs: the first that is there.
const SERVER_USERS: [&str; 3] = ["lxc-dnsmasq", "dnsmasq", "nobody"];

fn server_user() -> &'static str {
    SERVER_USERS.into_iter().find(|name| uzers::get_user_by_name(name).is_some()).unwrap_or("root")
}

fn find(program: Program) -> Option<PathBuf> {
    DIRECTORIES.iter().map(|directory| Path::new(directory).join(program.name())).find(|path| path.is_file())
}

/// Reads the answer to `nft list ruleset`: the tables.
fn tables(text: &str) -> Vec<(String, String)> {
    let table = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["table", family, name, "{", ..] => Some((family.to_owned(), name.to_owned())),
            _ => None,
        }
    };
    text.lines().filter_map(table).collect()
}

/// Reads /proc/net/route, whose numbers are in the order of the machine's bytes. Source: proc(5).
fn routes(text: &str) -> Vec<Route<Ipv4Addr>> {
    let route = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| u32::from_str_radix(fields.get(at)?, 16).ok().map(u32::from_be);
        let (network, mask) = (number(1)?, number(7)?);
        let interface = (*fields.first()?).to_owned();
        // The default route has all networks, and takes none.
        (mask != 0).then(|| Route { interface, network: network.into(), prefix: mask.leading_ones() as u8 })
    };
    text.lines().skip(1).filter_map(route).collect()
}

/// Reads /proc/net/ipv6_route. Source: the kernel's net/ipv6/route.c.
fn routes_6(text: &str) -> Vec<Route<Ipv6Addr>> {
    let route = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let network = u128::from_str_radix(fields.first()?, 16).ok()?.into();
        let prefix = u8::from_str_radix(fields.get(1)?, 16).ok()?;
        let interface = (*fields.get(9)?).to_owned();
        (prefix != 0).then_some(Route { interface, network, prefix })
    };
    text.lines().filter_map(route).collect()
}

/// Reads the answer to `ip -o address show`. One that has a peer makes no network.
fn addresses(text: &str) -> Vec<Address> {
    let address = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, interface, "inet" | "inet6", address, ..] = words[..] else { return None };
        let (ip, prefix) = address.split_once('/')?;
        let is_of_the_link = words.windows(2).any(|pair| matches!(pair, ["scope", "link" | "host"]));
        let (ip, prefix) = (ip.parse().ok()?, prefix.parse().ok()?);
        (!is_of_the_link).then(|| Address { interface: interface.to_owned(), ip, prefix })
    };
    text.lines().filter_map(address).collect()
}

/// Finds all dnsmasq that run, with their arguments.
fn servers() -> Vec<Server> {
    let pids = sys::process::pids().unwrap_or_default().into_iter();
    pids.filter_map(|pid| Some(Server { pid, arguments: arguments_of(pid)? })).collect()
}

/// Tells whether a dnsmasq with these arguments runs.
pub(super) fn serves(arguments: &[String]) -> bool {
    servers().iter().any(|server| server.arguments == arguments)
}

/// Returns the arguments of a process whose program is called dnsmasq, and that no ordinary user has started: anybody can
/// call a program so, and give it any arguments.
pub(super) fn arguments_of(pid: i32) -> Option<Vec<String>> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let uid: u32 =
        status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().next()?.parse().ok())?;
    let is_trusted = uid == 0
        || SERVER_USERS
            .iter()
            .any(|name| uzers::get_user_by_name(name).is_some_and(|user| user.uid() == uid));
    if !is_trusted {
        return None;
    }
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let mut words = line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned());
    let program = words.next()?;
    let is_dnsmasq = Path::new(&program).file_name().is_some_and(|name| name == Program::Dnsmasq.name());
    is_dnsmasq.then(|| words.filter(|word| !word.is_empty()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_read_and_the_default_one_takes_no_network() {
        let text = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
                    eth0\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
                    eth0\t0001A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\nbroken\n";
        let route = Route { interface: "eth0".into(), network: Ipv4Addr::new(192, 168, 1, 0), prefix: 24 };
        let expected = if cfg!(target_endian = "little") { vec![route] } else { Vec::new() };
        assert_eq!(routes(text), expected);
    }

    #[test]
    fn routes_of_ipv6_and_addresses_are_read() {
        let text = "fd000000000000010000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0\n\
                    00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000100 00000001 00000000 00000003     eth0\n";
        let route = Route { interface: "eth0".into(), network: "fd00:0:0:1::".parse().unwrap(), prefix: 64 };
        assert_eq!(routes_6(text), [route]);
        let text = "1: lo    inet 127.0.0.1/8 scope host lo\\       valid_lft forever\n\
                    2: eth0    inet 10.0.3.17/16 brd 10.0.255.255 scope global eth0\\       valid_lft forever\n\
                    3: tun0    inet 10.8.0.2 peer 10.8.0.1/32 scope global tun0\\       valid_lft forever\n\
                    2: eth0    inet6 fe80::1/64 scope link \\       valid_lft forever\n";
        let address =
            Address { interface: "eth0".into(), ip: Ipv4Addr::new(10, 0, 3, 17).into(), prefix: 16 };
        assert_eq!(addresses(text), [address]);
    }

    #[test]
    fn settings_that_cannot_be_read_are_not_taken_for_none() {
        let directory = std::env::temp_dir().join(format!("bryo-settings-{}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        let file = |name: &str| directory.join(name).display().to_string();
        std::fs::write(file("latin1"), b"# f\xfcr uns\nLXC_BRIDGE=br9\n").unwrap();
        let read = [file("latin1"), file("none"), file("")].map(|file| settings_text(&file));
        std::fs::remove_dir_all(&directory).unwrap();
        assert!(read[0].as_ref().unwrap().ends_with("LXC_BRIDGE=br9\n"), "{read:?}");
        assert_eq!(read[1].as_ref().unwrap(), "");
        assert!(read[2].is_err(), "{read:?}");
    }

    #[test]
    fn tables_are_read_with_their_families() {
        let text = "table ip filter { # handle 1\n\tchain X {\n\t}\n}\ntable inet bryo.lxcbr0 {\n}\n";
        let expected = [("ip", "filter"), ("inet", "bryo.lxcbr0")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(tables(text), expected);
    }
}
