//! All that [`crate::doctor`] looks at: more than a start needs to know, and more costly to find out.
//!
//! Facts are kept as the kernel and the files give them, mostly as texts; what they mean is decided by pure functions.
//! What cannot be seen is kept with the reason, so that nobody takes it for fine.

use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use config::NetKind;
use sys::filesystem::{self, Filesystem};
use sys::{Errno, path, probe, process, rlimit};

use super::{HostFacts, Program, UserModeKind, in_path};
use crate::error::Result;
use crate::list::{Found, list};
use crate::lxcfs::{FILES_GIVEN_UP, Server};

/// The most that is read of a file, in bytes. /proc/self/mountinfo grows with the mounts.
const FILE_CAP: u64 = 16 << 20;

/// A fact, or why it cannot be known here.
pub type Seen<T> = std::result::Result<T, String>;

/// The settings of /proc/sys that decide about containers.
pub const SWITCHES: [&str; 9] = [
    "user.max_user_namespaces",
    "user.max_pid_namespaces",
    "user.max_net_namespaces",
    "user.max_mnt_namespaces",
    "user.max_uts_namespaces",
    "user.max_ipc_namespaces",
    "user.max_cgroup_namespaces",
    "kernel.unprivileged_userns_clone",
    "kernel.apparmor_restrict_unprivileged_userns",
];

/// The survey.
#[derive(Clone, Debug)]
pub struct Survey {
    /// What plans are decided on.
    pub host: HostFacts,
    /// What the caller may do in its cgroups, or in a scope.
    pub cgroups: cgroup::Host,
    /// The kernel.
    pub kernel: Kernel,
    /// The calling process.
    pub process: Process,
    /// Accounts and what is granted to them.
    pub identity: Identity,
    /// The session's systemd and bus.
    pub session: Session,
    /// `/dev/fuse`: nothing, or why it cannot be opened.
    pub fuse: std::result::Result<(), sys::Error>,
    /// What shows the caller's running containers their own limits.
    pub limits: Limits,
    /// Networks.
    pub network: Network,
    /// Where the containers are.
    pub storage: Seen<Storage>,
    /// Bryo's own programs that are not there; the monitor's comes first.
    pub missing_programs: Vec<PathBuf>,
    /// How this distribution installs packages.
    pub packages: Option<PackageManager>,
}

/// What shows the caller's running containers their own limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Containers that see the host's since nobody can be had to show them theirs.
    pub lacking: Vec<String>,
    /// Who shows them to the others.
    pub server: Server,
}

impl Limits {
    fn look(lxcpath: &Path, host: &HostFacts) -> Self {
        let lacks =
            |found: &Found| found.rungs.iter().any(|(need, rung)| need == "/proc" && rung == FILES_GIVEN_UP);
        Self {
            lacking: list(lxcpath).into_iter().filter(lacks).map(|found| found.name).collect(),
            server: Server::look(lxcpath, &host.caller, &host.programs.lxcfs),
        }
    }
}

/// What the kernel says of itself.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// Its release, such as `6.12.3-amd64`.
    pub release: String,
    /// The settings of [`SWITCHES`]; `None` where the kernel has no such file.
    pub switches: BTreeMap<&'static str, Seen<Option<String>>>,
    /// What it answers when it is asked for namespaces.
    pub answers: Seen<probe::Answers>,
    /// The text of /proc/key-users.
    pub key_users: Seen<String>,
}

/// What the kernel says of the calling process.
#[derive(Clone, Debug)]
pub struct Process {
    /// The text of /proc/self/status.
    pub status: Seen<String>,
    /// The label of the security module, such as `unconfined`; `None` without one.
    pub label: Option<String>,
    /// The text of /proc/self/mountinfo.
    pub mountinfo: Seen<String>,
    /// The text of /proc/self/uid_map.
    pub uid_map: Seen<String>,
    /// The text of /proc/self/gid_map.
    pub gid_map: Seen<String>,
    /// Soft and hard limit of processes.
    pub processes: Seen<(u64, u64)>,
    /// Soft and hard limit of open files.
    pub files: Seen<(u64, u64)>,
}

/// Files about accounts; a missing one is an empty text.
#[derive(Clone, Debug)]
pub struct Identity {
    /// `/etc/subuid`.
    pub subuid: Seen<String>,
    /// `/etc/subgid`.
    pub subgid: Seen<String>,
    /// `/etc/passwd`.
    pub passwd: Seen<String>,
    /// `/etc/group`.
    pub group: Seen<String>,
    /// `/etc/lxc/lxc-usernet`.
    pub usernet: Seen<String>,
    /// The caller's groups.
    pub groups: Vec<policy::usernet::Group>,
}

/// The caller's session.
#[derive(Clone, Debug, Default)]
pub struct Session {
    /// systemd is the init of this host (sd_booted(3)).
    pub has_systemd: bool,
    /// The user's systemd listens.
    pub has_manager: bool,
    /// The system's bus listens.
    pub system_bus: bool,
}

/// What there is of networks.
#[derive(Clone, Debug, Default)]
pub struct Network {
    /// The bridge of each veth device that the configuration of new containers asks for.
    pub bridges: Vec<Bridge>,
    /// Bryo's own helper that makes veth pairs.
    pub helper: Program,
    /// The programs for networks in user mode that are installed.
    pub user_mode: Vec<&'static str>,
    /// Why `/dev/net/tun` cannot be opened, if it cannot.
    pub tun: Option<sys::Error>,
    /// Why the configuration of new containers cannot be read.
    pub unreadable: Option<String>,
}

/// A bridge that new containers ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bridge {
    /// Its name.
    pub name: String,
    /// An interface of that name is a bridge.
    pub exists: bool,
}

/// The file system of the containers.
#[derive(Clone, Debug)]
pub struct Storage {
    /// The lxcpath, or its nearest directory that exists.
    pub dir: PathBuf,
    /// What it is on.
    pub filesystem: Filesystem,
}

/// A program that installs packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackageManager {
    /// The program.
    pub program: &'static str,
    /// The command line before the package's name.
    pub install: &'static str,
    /// The package that has newuidmap.
    pub uidmap: &'static str,
}

/// Known ones, in the order in which they are looked for.
const PACKAGE_MANAGERS: [PackageManager; 5] = [
    PackageManager { program: "apt-get", install: "sudo apt-get install", uidmap: "uidmap" },
    PackageManager { program: "dnf", install: "sudo dnf install", uidmap: "shadow-utils" },
    PackageManager { program: "zypper", install: "sudo zypper install", uidmap: "shadow" },
    PackageManager { program: "pacman", install: "sudo pacman -S", uidmap: "shadow" },
    PackageManager { program: "apk", install: "sudo apk add", uidmap: "shadow-uidmap" },
];

impl Survey {
    /// Makes the survey for containers in `lxcpath`, whose configurations begin with `default_config`.
    pub fn gather(lxcpath: &Path, default_config: &Path) -> Result<Self> {
        let host = HostFacts::gather()?;
        let programs = &host.programs;
        let needed = [&programs.monitor, &programs.image, &programs.init];
        Ok(Self {
            cgroups: host.cgroup_host(),
            kernel: kernel(),
            process: process(),
            identity: identity(),
            session: session(host.caller.uid.0),
            fuse: path::open_device(Path::new("/dev/fuse")),
            limits: Limits::look(lxcpath, &host),
            network: network(default_config, &programs.idmap),
            storage: storage(lxcpath),
            missing_programs: needed.into_iter().filter(|program| !program.exists()).cloned().collect(),
            packages: PACKAGE_MANAGERS.into_iter().find(|known| in_path(known.program).is_some()),
            host,
        })
    }
}

fn kernel() -> Kernel {
    let switch = |name: &'static str| {
        let file = format!("/proc/sys/{}", name.replace('.', "/"));
        (name, text_if_there(&file).map(|text| text.map(|text| text.trim().to_owned())))
    };
    Kernel {
        release: process::kernel_release(),
        switches: SWITCHES.into_iter().map(switch).collect(),
        answers: probe::ask().map_err(|e| e.to_string()),
        key_users: text("/proc/key-users"),
    }
}

fn process() -> Process {
    let limit = |name: &str| match rlimit::by_name(name) {
        Some(number) => rlimit::get(number).map_err(|e| e.to_string()),
        None => Err(format!("there is no limit {name}")),
    };
    Process {
        status: text("/proc/self/status"),
        label: label(),
        mountinfo: text("/proc/self/mountinfo"),
        uid_map: text("/proc/self/uid_map"),
        gid_map: text("/proc/self/gid_map"),
        processes: limit("nproc"),
        files: limit("nofile"),
    }
}

/// Returns the label that a security module gives this process.
pub(crate) fn label() -> Option<String> {
    ["/proc/self/attr/apparmor/current", "/proc/self/attr/current"]
        .iter()
        .find_map(|file| text(file).ok())
        .map(|label| label.trim_end_matches(['\0', '\n']).to_owned())
}

fn identity() -> Identity {
    let text = |file| text_if_there(file).map(Option::unwrap_or_default);
    let usernet = text("/etc/lxc/lxc-usernet");
    Identity {
        groups: super::network::groups(usernet.as_deref().unwrap_or_default().as_bytes()),
        subuid: text("/etc/subuid"),
        subgid: text("/etc/subgid"),
        passwd: text("/etc/passwd"),
        group: text("/etc/group"),
        usernet,
    }
}

/// Where the system's bus listens. Source: D-Bus Specification, "Well-known Message Bus Instances"; /var/run is /run.
pub(crate) const SYSTEM_BUS: &str = "/run/dbus/system_bus_socket";

fn session(uid: u32) -> Session {
    let usual = PathBuf::from(format!("/run/user/{uid}"));
    let runtime_dir = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|dir| dir.is_absolute());
    let within = |name: &str| runtime_dir.iter().chain([&usual]).any(|dir| dir.join(name).exists());
    Session {
        has_systemd: Path::new("/run/systemd/system").is_dir(),
        has_manager: within("systemd/private"),
        // Its socket stays behind when it ends.
        system_bus: UnixStream::connect(SYSTEM_BUS).is_ok(),
    }
}

fn network(default_config: &Path, beside: &Path) -> Network {
    let helper = beside.with_file_name("bryo-netdev");
    let loaded = crate::create::default_text(default_config, false)
        .map_err(|e| e.to_string())
        .and_then(|text| config::parse(&text, default_config).map_err(|problems| problems.to_string()));
    let devices =
        loaded.as_ref().map(|loaded| &loaded.config.net).ok().into_iter().flat_map(|net| net.values());
    let links =
        devices.filter(|device| device.kind == NetKind::Veth).filter_map(|device| device.link.clone());
    let bridge = |name: String| Bridge { exists: super::network::is_bridge(&name), name };
    Network {
        bridges: links.map(bridge).collect(),
        helper: Program::look(helper.clone()).unwrap_or(Program { path: helper, ..Program::default() }),
        user_mode: UserModeKind::ALL
            .map(UserModeKind::name)
            .into_iter()
            .filter(|name| in_path(name).is_some())
            .collect(),
        tun: path::open_device(Path::new("/dev/net/tun")).err(),
        unreadable: loaded.err(),
    }
}

fn storage(lxcpath: &Path) -> Seen<Storage> {
    let dir = lxcpath.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("/"));
    let filesystem = filesystem::of(dir).map_err(|e| e.to_string())?;
    Ok(Storage { dir: dir.to_owned(), filesystem })
}

/// Reads a text file of the system.
fn text(file: &str) -> Seen<String> {
    let bytes = path::open_read(Path::new(file)).and_then(|fd| path::read_all(fd, FILE_CAP));
    bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).map_err(|e| e.to_string())
}

/// Reads a text file of the system that need not be there.
fn text_if_there(file: &str) -> Seen<Option<String>> {
    match path::open_read(Path::new(file)) {
        Err(e) if e.errno() == Errno::ENOENT => Ok(None),
        Err(e) => Err(e.to_string()),
        Ok(_there) => text(file).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_there_is_told_from_one_that_cannot_be_read() {
        assert_eq!(text_if_there("/nonexistent/file"), Ok(None));
        assert!(text_if_there("/proc/self/mem").is_err());
        assert!(text_if_there("/proc/self/status").unwrap().unwrap().contains("Seccomp"));
    }

    #[test]
    fn the_survey_of_this_machine_has_an_answer_to_every_switch() {
        let kernel = kernel();
        assert!(SWITCHES.iter().all(|switch| kernel.switches[switch].is_ok()));
        assert!(kernel.answers.is_ok());
    }
}
