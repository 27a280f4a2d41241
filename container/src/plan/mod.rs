//! The plan of a start: everything that will be done, decided from the configuration and the host's facts.
//!
//! Deciding touches nothing. `bryo start --dry-run` prints what stands here; the monitor receives it in a sealed
//! file and carries it out.

mod app;
mod clocks;
mod kernel_files;
mod lxcfs;
mod mounts;
mod network;
mod publish;
mod unmet;

use std::path::{Path, PathBuf};

use config::{Config, Hook, Namespace};
use serde::{Deserialize, Serialize};
use sys::mount::attr;
use sys::process::flags;
use types::{IdMap, Published, Signal};

pub use app::AppCommand;
pub use clocks::Clocks;
pub use kernel_files::KernelFiles;
use lxcfs::Coverable;
pub use lxcfs::LxcfsPlan;
pub(crate) use lxcfs::directory as lxcfs_directory;
pub use mounts::{Create, EntryPlan, EntrySource};
pub use network::{
    AddressPlan, DevicePlan, GatewayPlan, NetChoice, NetworkPlan, Otherwise, Refused, UserModePlan,
    best_rung, refused as refused_devices,
};
pub(crate) use network::{RESOLV_CONF, everything, resolver};
pub use publish::{Opening, check as check_published, openings};

use crate::cgroups::CgroupPlan;
use crate::error::{Doing, Error, Kind, Result};
use crate::host::{Caller, HostFacts, IdWriter, Lxcfs, NetworkFacts};
use crate::idmap;
use crate::place::Place;
pub use crate::root::OverlayPlan;
use crate::security::{Circumstances, Confinement};

/// What a caller wants started.
#[derive(Clone, Debug)]
pub struct StartRequest {
    /// Which container.
    pub place: Place,
    /// Its configuration file, for the hooks' environment.
    pub config_file: PathBuf,
    /// What to run.
    pub run: Run,
    /// The container ends with the command that started it, and its first terminal is the caller's.
    pub foreground: bool,
    /// Where the caller's standard streams go.
    pub stdio: Stdio,
    /// The network, where the caller wants another than the configuration says.
    pub network: Option<NetChoice>,
    /// Nobody chose the configuration's: it is that of the defaults, in a container for one run.
    pub network_by_default: bool,
    /// Ports of the host that are to lead into it.
    pub publish: Vec<Published>,
    /// It is to see its own limits in /proc and /sys.
    pub lxcfs: bool,
    /// A quota of processor time is to count there as so many processors.
    pub lxcfs_quota: bool,
}

/// What runs in the container.
#[derive(Clone, Debug)]
pub enum Run {
    /// The init of the configuration.
    Init,
    /// Another program as init (`lxc-start -- COMMAND`).
    InsteadOfInit(Vec<String>),
    /// A command below Bryo's own small init.
    App(AppCommand),
}

/// What the container's init has as standard input, output and error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stdio {
    /// The container's console.
    Console,
    /// The caller's own, but for those that are terminals: these are replaced by the console.
    Caller,
}

/// The plan.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StartPlan {
    /// Which container.
    pub place: Place,
    /// Its configuration file.
    pub config_file: PathBuf,
    /// Who starts it.
    pub caller: Caller,
    /// Its ids.
    pub idmap: IdMap,
    /// How the map gets written.
    pub id_writer: IdWriter,
    /// New namespaces, as flags of `sys::process::flags`.
    pub namespaces: u64,
    /// clone3(2) is there, by which init starts in its cgroup where that is one directory; else it is placed there.
    pub clone3: bool,
    /// Its cgroups.
    pub cgroup: CgroupPlan,
    /// Its root file system.
    pub rootfs: RootfsPlan,
    /// /dev and the terminals.
    pub dev: DevPlan,
    /// `lxc.mount.auto`.
    pub auto: config::MountAuto,
    /// Where its /proc comes from.
    pub proc: KernelFiles,
    /// Its signals are kept inside by Landlock: it has no PID namespace for it.
    pub scoped_signals: bool,
    /// Where its /sys comes from.
    pub sys: KernelFiles,
    /// It sees its own limits in /proc and /sys.
    pub lxcfs: Option<LxcfsPlan>,
    /// `lxc.mount.fstab` and `lxc.mount.entry`, in order.
    pub entries: Vec<EntryPlan>,
    /// What lies over its /etc/resolv.conf once its network is in user mode.
    pub resolv_conf: Option<EntryPlan>,
    /// `lxc.hook.*`.
    pub hooks: HookPlan,
    /// The hostname, if it is to be set.
    pub hostname: Option<String>,
    /// How its clocks differ from the host's, in a time namespace of its own.
    pub clocks: Option<Clocks>,
    /// Its processes share no core with others while they run.
    pub own_cores: bool,
    /// `lxc.sysctl.*`.
    pub sysctls: Vec<(String, String)>,
    /// `lxc.proc.*`, written by the child itself.
    pub procs: Vec<(String, String)>,
    /// 32-bit execution domain.
    pub personality_32bit: bool,
    /// What its programs cannot do.
    pub confinement: Confinement,
    /// A session keyring of its own (`lxc.keyring.session = 0`, the default).
    pub new_keyring: bool,
    /// What is run.
    pub init: InitPlan,
    /// Signals.
    pub signals: SignalPlan,
    /// Its network.
    pub network: NetworkPlan,
    /// Ports of the host that lead into it.
    pub publish: Vec<Published>,
    /// It is destroyed when it stops.
    pub ephemeral: bool,
    /// It ends with its starter.
    pub foreground: bool,
    /// The init's standard streams.
    pub stdio: Stdio,
    /// From which level on the monitor logs.
    pub log_level: config::LogLevel,
    /// The file of its log.
    pub log: Option<PathBuf>,
    /// The facility under which the system's log gets it too.
    pub syslog: Option<String>,
    /// Where console output is appended.
    pub console_log: Option<ConsoleLogPlan>,
    /// How many bytes of what the console shows the monitor remembers.
    pub console_memory: u64,
    /// What the configuration asks for and this start does not do, a sentence each.
    pub notes: Vec<String>,
    /// What is worth knowing of the configuration and changes nothing, for who asks.
    pub remarks: Vec<String>,
}

/// The root file system.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RootfsPlan {
    /// A directory of the host; of an overlay the topmost of those that nobody writes to.
    pub path: PathBuf,
    /// The directories of an overlay, where it is one.
    pub overlay: Option<OverlayPlan>,
    /// Where it is mounted while hooks still see the host's files (`LXC_ROOTFS_MOUNT`).
    pub mount: PathBuf,
    /// Mounted read-only.
    pub read_only: bool,
    /// Further attributes of the mount, of `sys::mount::attr`.
    pub attributes: u64,
}

/// The log of the console.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ConsoleLogPlan {
    /// The file.
    pub path: PathBuf,
    /// How many bytes it may have, 0 for any number.
    pub size: u64,
    /// A full one is kept as `FILE.1`; else it begins anew.
    pub rotate: bool,
}

/// /dev and terminals.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DevPlan {
    /// A tmpfs with the usual nodes; else the root file system's own.
    pub auto: bool,
    /// Size of that tmpfs in bytes.
    pub tmpfs_size: u64,
    /// How many /dev/ttyN there are.
    pub ttys: u32,
    /// Largest number of pseudo-terminals, 0 for the kernel's own limit.
    pub ptys: u32,
    /// Whether group 5 (tty) is mapped.
    pub tty_group: bool,
    /// There is a console.
    pub console: bool,
    /// The directory below /dev where console and terminals are, with links to them.
    pub terminals: Option<PathBuf>,
}

/// Hooks, with what all of them are told.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct HookPlan {
    /// Commands of each moment, in order.
    pub commands: Vec<(Hook, Vec<String>)>,
    /// 0: told by arguments as well; 1: by environment alone.
    pub version: u8,
    /// Additional environment.
    pub environment: Vec<(String, String)>,
}

impl HookPlan {
    /// Returns the commands of one moment.
    pub fn of(&self, moment: Hook) -> &[String] {
        self.commands.iter().find(|(m, _)| *m == moment).map_or(&[], |(_, commands)| commands)
    }
}

/// The program that becomes the container's first process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InitPlan {
    /// Bryo's own init, taken on the host before the change of root.
    pub bryo_init: Option<PathBuf>,
    /// Arguments; the first is also the path when it is not `bryo_init`.
    pub argv: Vec<String>,
    /// Environment, `NAME=VALUE`.
    pub environment: Vec<String>,
    /// Working directory inside.
    pub cwd: PathBuf,
    /// User inside.
    pub uid: u32,
    /// Group inside.
    pub gid: u32,
    /// Supplementary groups inside.
    pub groups: Vec<u32>,
}

/// Signals that mean something.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SignalPlan {
    /// Asks init to halt; none: SIGPWR, or SIGRTMIN+3 for an init that blocks it, as systemd does.
    pub halt: Option<Signal>,
    /// Asks init to reboot.
    pub reboot: Signal,
    /// Ends init at once.
    pub stop: Signal,
    /// Sent to init when the monitor dies.
    pub parent_death: Option<Signal>,
}

impl StartPlan {
    /// Tells whether the container runs one command below Bryo's own init.
    pub fn is_app(&self) -> bool {
        self.init.bryo_init.is_some()
    }

    /// Tells whether the container has no PID namespace of its own. Then the kernel does not end its processes with its init.
    pub fn shares_pids(&self) -> bool {
        self.namespaces & flags::NEWPID == 0
    }

    /// Tells whether the container would see its own limits in /proc, if the host had what that takes.
    pub fn lacks_lxcfs(&self) -> bool {
        self.lxcfs.is_none() && self.coverable().proc
    }

    /// Returns how the container is shown its own limits once it runs.
    ///
    /// # Errors
    /// Its configuration wants its /proc as it is.
    pub(crate) fn limits_shown_by(&self, lxcfs: &Lxcfs) -> Result<LxcfsPlan> {
        lxcfs::decide(self.coverable(), Some(lxcfs), &self.place).ok_or_else(|| {
            let cause = "lxc.mount.auto wants no /proc here of which files could be covered; with proc:mixed it does, and where \
                         start.lxcfs was not false when it was started";
            Error::new(Kind::Config, cause)
        })
    }

    fn coverable(&self) -> Coverable {
        Coverable::of(&self.auto, self.proc, &self.entries)
    }

    /// Writes the plan for the monitor, stamped with the build.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let stamped = (env!("BRYO_BUILD"), self);
        postcard::to_stdvec(&stamped).map_err(|e| Error::new(Kind::Build, format!("writing the plan: {e}")))
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote.
    ///
    /// # Errors
    /// A plan of another build.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let other = |stamp: &str| {
            let own = env!("BRYO_BUILD");
            Error::new(Kind::Build, format!("the plan is of build {stamp}, bryo-monitor of build {own}"))
        };
        let (stamp, rest) = postcard::take_from_bytes::<&str>(bytes).map_err(|_| other("unknown"))?;
        if stamp != env!("BRYO_BUILD") {
            return Err(other(stamp));
        }
        postcard::from_bytes(rest).map_err(|e| Error::new(Kind::Build, format!("reading the plan: {e}")))
    }
}

/// Decides how a container is started.
///
/// # Errors
/// What cannot be had at all: namespaces that a filter forbids, ids that are not granted, a network that this host cannot
/// give, a mount entry that is none.
pub fn plan(
    request: StartRequest,
    config: &Config,
    facts: &HostFacts,
    networks: &NetworkFacts,
) -> Result<StartPlan> {
    facts.surroundings.allow_namespaces()?;
    let mut notes = unmet::notes(config, facts.apparmor);
    let idmap = if config.idmap.is_empty() { idmap::choose(facts) } else { config.idmap.clone() };
    idmap.check().map_err(|e| Error::new(Kind::IdRange, e.to_string()))?;
    idmap::check_granted(&idmap, facts)?;
    let decision = network::Decision { request: &request, config, caller: &facts.caller, facts: networks };
    let network = decision.decide(&mut notes)?;
    let publish = publish::decide(&request, &network)?;
    let namespaces = namespaces(config, network == NetworkPlan::Host)?;
    let (clocks, namespaces) = clocks::decide(config, namespaces, &mut notes);
    let kernel_files =
        kernel_files::decide(&request.run, config, &facts.surroundings, namespaces, &mut notes)?;
    let circumstances = Circumstances {
        one_id: idmap::is_own_id_only(&idmap, &facts.caller),
        shares_pids: kernel_files.namespaces & flags::NEWPID == 0,
        cores_are_piped: facts.cores_are_piped,
        apparmor: facts.apparmor,
    };
    let lxcfs = facts.lxcfs.clone().filter(|_| request.lxcfs);
    let lxcfs = lxcfs.map(|lxcfs| Lxcfs { quota: request.lxcfs_quota, ..lxcfs });
    let covers_files = lxcfs.is_some() && kernel_files.proc == KernelFiles::Own;
    let entries = mounts::entries(config, &request.place, covers_files)?;
    let coverable = Coverable::of(&config.mount_auto, kernel_files.proc, &entries);
    let resolv_conf = network::resolv_conf(&network, &request.place, &entries);
    let dev = DevPlan {
        auto: config.autodev,
        tmpfs_size: config.autodev_tmpfs_size,
        ttys: config.tty_max,
        ptys: config.pty_max,
        tty_group: idmap.host_gid(types::NsGid(5)).is_some(),
        console: config.console_path.as_deref() != Some("none"),
        terminals: terminals(config)?,
    };
    Ok(StartPlan {
        namespaces: kernel_files.namespaces,
        clone3: facts.surroundings.clone3,
        cgroup: CgroupPlan::decide(&request.place.name, config, facts)?,
        rootfs: rootfs(config, &request.place)?,
        dev,
        auto: config.mount_auto.clone(),
        proc: kernel_files.proc,
        scoped_signals: kernel_files.scoped_signals,
        sys: kernel_files.sys,
        lxcfs: lxcfs::decide(coverable, lxcfs.as_ref(), &request.place),
        entries,
        resolv_conf,
        hooks: hooks(config)?,
        hostname: hostname(config, facts, &mut notes),
        clocks,
        own_cores: config.sched_core,
        sysctls: config.sysctls.clone(),
        procs: config.procs.clone(),
        personality_32bit: config.arch.as_ref().is_some_and(|a| a.is_32bit()),
        confinement: Confinement::decide(config, circumstances, &mut notes)?,
        new_keyring: !config.keyring_session,
        init: init(&request.run, config, facts, kernel_files.scoped_signals)?,
        signals: SignalPlan {
            halt: config.signal_halt,
            reboot: config.signal_reboot.unwrap_or(Signal::INT),
            stop: config.signal_stop.unwrap_or(Signal::KILL),
            parent_death: config.monitor_signal_pdeath,
        },
        network,
        publish,
        ephemeral: config.ephemeral,
        foreground: request.foreground,
        stdio: request.stdio,
        log_level: config.log_level.unwrap_or(config::LogLevel::Error),
        log: config.log_file.clone(),
        syslog: config.log_syslog.clone(),
        console_log: config.console_logfile.clone().map(|path| ConsoleLogPlan {
            path,
            size: config.console_size,
            rotate: config.console_rotate,
        }),
        console_memory: config.console_buffer_size,
        id_writer: facts.id_writer.clone(),
        caller: facts.caller.clone(),
        place: request.place,
        config_file: request.config_file,
        idmap,
        notes,
        remarks: unmet::remarks(config, facts.apparmor),
    })
}

/// Decides the hostname; engines' filters often refuse to set one, in any namespace.
fn hostname(config: &Config, facts: &HostFacts, notes: &mut Vec<String>) -> Option<String> {
    let wanted = config.uts_name.clone()?;
    if facts.surroundings.hostname {
        return Some(wanted);
    }
    notes.push(format!("lxc.uts.name = {wanted}: a seccomp filter refuses sethostname here, the name stays"));
    None
}

fn namespaces(config: &Config, host_network: bool) -> Result<u64> {
    let flag = |namespace: Namespace| match namespace {
        Namespace::User => flags::NEWUSER,
        Namespace::Mount => flags::NEWNS,
        Namespace::Pid => flags::NEWPID,
        Namespace::Uts => flags::NEWUTS,
        Namespace::Ipc => flags::NEWIPC,
        Namespace::Net => flags::NEWNET,
        Namespace::Cgroup => flags::NEWCGROUP,
        Namespace::Time => flags::NEWTIME,
    };
    let sum = |list: &[Namespace]| list.iter().fold(0, |all, n| all | flag(*n));
    let mut wanted = match (&config.namespace_clone, &config.namespace_keep) {
        (Some(clone), _) => sum(clone),
        (None, Some(keep)) => flags::NAMESPACES & !sum(keep),
        (None, None) => flags::NAMESPACES,
    };
    if host_network {
        wanted &= !flags::NEWNET;
    }
    for (needed, name) in [(flags::NEWUSER, "user"), (flags::NEWNS, "mnt"), (flags::NEWPID, "pid")] {
        if wanted & needed == 0 {
            let cause = format!(
                "lxc.namespace.*: an unprivileged container cannot do without its own {name} namespace"
            );
            return Err(Error::new(Kind::Config, cause));
        }
    }
    Ok(wanted)
}

/// Directories on which a root file system can be mounted in a namespace of its own, while hooks run; container
/// root must be able to walk there, which a home directory of mode 0700 does not allow.
const MOUNT_PLACES: [&str; 5] = ["/usr/lib/x86_64-linux-gnu/lxc/rootfs", "/mnt", "/srv", "/media", "/tmp"];

fn rootfs(config: &Config, place: &Place) -> Result<RootfsPlan> {
    let options = config.rootfs_options.as_deref().unwrap_or("");
    let overlay = match &config.rootfs_path {
        Some(given) if given.backend.as_deref() == Some("overlay") => {
            Some(OverlayPlan::parse(&given.path).doing(place.name.to_string())?)
        }
        Some(given) if given.backend.is_some() => {
            let cause = format!("lxc.rootfs.path = {given}: only directories and overlays can be started");
            return Err(Error::new(Kind::Config, cause));
        }
        _ => None,
    };
    let path = match (&overlay, &config.rootfs_path) {
        (Some(overlay), _) => overlay.lowers[0].clone(),
        (None, Some(given)) => PathBuf::from(&given.path),
        (None, None) => PathBuf::from("/"),
    };
    if !path.is_absolute() {
        return Err(Error::new(Kind::Config, format!("lxc.rootfs.path = {}: not absolute", path.display())))
            .doing(place.name.to_string());
    }
    let configured = config.rootfs_mount.as_deref().filter(|p| p.is_dir());
    let usual = MOUNT_PLACES.iter().map(Path::new).find(|p| p.is_dir());
    let mount = configured.or(usual).unwrap_or(Path::new("/")).to_owned();
    let attributes = options.split(',').filter_map(mounts::root_attribute).fold(0, |all, set| all | set);
    let (read_only, attributes) = (attributes & attr::RDONLY != 0, attributes & !attr::RDONLY);
    Ok(RootfsPlan { path, overlay, mount, read_only, attributes })
}

/// Returns the directory of the terminals: one below /dev, whatever the value looks like.
fn terminals(config: &Config) -> Result<Option<PathBuf>> {
    let Some(given) = config.tty_dir.as_deref() else { return Ok(None) };
    let path = Path::new(given.trim_start_matches('/'));
    let is_below = path.components().all(|part| matches!(part, std::path::Component::Normal(_)));
    match is_below && !path.as_os_str().is_empty() {
        true => Ok(Some(path.to_owned())),
        false => {
            let cause = format!("lxc.tty.dir = {given}: it must be a directory below /dev, without '..'");
            Err(Error::new(Kind::Config, cause))
        }
    }
}

fn hooks(config: &Config) -> Result<HookPlan> {
    // LXC: version 7 gives hooks `lxc.environment` as well. That key is what images set, and hooks run as the user.
    let environment = config.environment_hooks.iter();
    let needed = |commands: &[String]| commands.iter().filter(|line| !waits(line)).cloned().collect();
    Ok(HookPlan {
        commands: config.hooks.iter().map(|(moment, commands)| (*moment, needed(commands))).collect(),
        version: config.hook_version,
        environment: environment.map(variable).collect::<Result<_>>()?,
    })
}

/// What lxcfs has run behind each stop, by a file that `common.conf` includes. It does nothing but to wait half a second, for the sake
/// of a container that begins anew; then Bryo runs no such hook.
const WAITS: &str = "/usr/share/lxcfs/lxc.reboot.hook";

fn waits(line: &str) -> bool {
    line == WAITS
}

fn variable(variable: &config::EnvVar) -> Result<(String, String)> {
    let inherited = || {
        std::env::var(&variable.name).map_err(|_| {
            let name = &variable.name;
            Error::new(
                Kind::Config,
                format!("lxc.environment = {name}: {name} is not set, so it cannot be inherited"),
            )
        })
    };
    let value = variable.value.clone().map_or_else(inherited, Ok)?;
    Ok((variable.name.clone(), value))
}

fn init(run: &Run, config: &Config, facts: &HostFacts, scoped_signals: bool) -> Result<InitPlan> {
    let configured = || config.init_cmd.clone().unwrap_or_else(|| vec!["/sbin/init".to_owned()]);
    let environment = || -> Result<Vec<String>> {
        let given = config.environment.iter().chain(&config.environment_runtime);
        let own = ["container=lxc".to_owned()];
        own.into_iter().map(Ok).chain(given.map(|v| variable(v).map(|(n, v)| format!("{n}={v}")))).collect()
    };
    let system = |argv: Vec<String>| -> Result<InitPlan> {
        Ok(InitPlan {
            bryo_init: None,
            argv,
            environment: environment()?,
            cwd: config.init_cwd.clone().unwrap_or_else(|| "/".into()),
            uid: config.init_uid.0,
            gid: config.init_gid.0,
            groups: config.init_groups.iter().map(|g| g.0).collect(),
        })
    };
    match run {
        Run::Init => system(configured()),
        Run::InsteadOfInit(argv) => system(argv.clone()),
        Run::App(command) => Ok(app::init(command, system(Vec::new())?, facts, scoped_signals)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_waits_for_no_hook_of_lxcfs() {
        let text = format!(
            "lxc.hook.post-stop = {WAITS}\nlxc.hook.post-stop = {WAITS} x\nlxc.hook.mount = /usr/share/lxcfs/lxc.mount.hook\n"
        );
        let planned = hooks(&config::parse(&text, Path::new("config")).unwrap().config).unwrap();
        assert_eq!(planned.of(Hook::PostStop), [format!("{WAITS} x")]);
        assert_eq!(planned.of(Hook::Mount).len(), 1);
    }
}
