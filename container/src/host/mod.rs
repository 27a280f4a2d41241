//! What this host offers to this caller: facts, gathered once, on which plans are decided.
//!
//! [`HostFacts`] is what every plan needs; [`Survey`] is all that [`crate::doctor`] looks at. Gathering changes nothing.

mod installed;
mod network;
mod survey;
pub mod visible;

pub use installed::{Installed, Program, capability};
pub use network::{BridgeFacts, NetworkFacts, UsedUp, UserModeKind, UserModeProgram, groups};
pub use survey::{
    Bridge, Identity, Kernel, Limits, Network, PackageManager, Process, SWITCHES, Seen, Session, Storage,
    Survey,
};
pub(crate) use survey::{SYSTEM_BUS, label};

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sys::Errno;
use types::{HostGid, HostUid, IdRange};

use crate::error::{Doing, Result};
use crate::security::AppArmor;
use crate::surroundings::Surroundings;

/// The most that is read of a system file, in bytes.
const FILE_CAP: u64 = 1 << 20;

/// The user who runs the command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// Real user id.
    pub uid: HostUid,
    /// Real group id.
    pub gid: HostGid,
    /// Login name, where the id has one.
    pub name: Option<String>,
}

impl Caller {
    /// Tells whether the caller is root of this user namespace.
    pub fn is_root(&self) -> bool {
        self.uid.0 == 0
    }

    /// Returns the name for messages and for lines of `/etc/subuid`: the login name, else the number.
    pub fn label(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.uid.to_string())
    }
}

/// How an id map gets written: the first of these that works.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IdWriter {
    /// The runtime writes it itself: the caller is root.
    Direct,
    /// Bryo's helper at this path.
    BryoIdmap(PathBuf),
    /// The system's `newuidmap` and `newgidmap`.
    Newuidmap {
        /// Path of newuidmap.
        uid: PathBuf,
        /// Path of newgidmap.
        gid: PathBuf,
    },
    /// None: only the caller's own id can be mapped, which needs no helper.
    OwnIdOnly,
}

impl IdWriter {
    /// Returns the rung's name for the one line that a start prints.
    pub fn rung(&self) -> &'static str {
        match self {
            Self::Direct => "written by root",
            Self::BryoIdmap(_) => "bryo-idmap",
            Self::Newuidmap { .. } => "newuidmap",
            Self::OwnIdOnly => "one id",
        }
    }
}

/// The facts.
#[derive(Clone, Debug)]
pub struct HostFacts {
    /// Who asks.
    pub caller: Caller,
    /// User ids that `/etc/subuid` grants the caller.
    pub subuids: Vec<IdRange>,
    /// Group ids that `/etc/subgid` grants the caller.
    pub subgids: Vec<IdRange>,
    /// For root without such lines: a range that nobody else has.
    pub free_range: Option<IdRange>,
    /// Ids that exist in the user namespace of this process: all, but inside of another one.
    pub mapped: Mapped,
    /// How a map gets written.
    pub id_writer: IdWriter,
    /// The programs that could write it.
    pub helpers: Helpers,
    /// no_new_privs is set: no helper can gain its capability.
    pub no_new_privs: bool,
    /// The kernel hands core dumps to a program.
    pub cores_are_piped: bool,
    /// What AppArmor is for the caller.
    pub apparmor: AppArmor,
    /// What a container that Bryo itself is in refuses.
    pub surroundings: Surroundings,
    /// The cgroups.
    pub cgroups: cgroup::Layout,
    /// The user's systemd, where it gives scopes.
    pub manager: Option<Manager>,
    /// How containers could see their own limits in /proc.
    pub lxcfs: Option<Lxcfs>,
    /// Where Bryo's own programs are.
    pub programs: Programs,
}

/// The ids of a user namespace, as numbers in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// Of users.
    pub uids: Vec<IdRange>,
    /// Of groups.
    pub gids: Vec<IdRange>,
}

impl Mapped {
    /// Asks for those of this process. Where /proc does not tell, they are all.
    fn ask() -> Self {
        let read = |name| match std::fs::read_to_string(format!("/proc/self/{name}")) {
            Ok(text) => mapped(&text),
            Err(_) => all_ids(),
        };
        Self { uids: read("uid_map"), gids: read("gid_map") }
    }
}

impl Default for Mapped {
    fn default() -> Self {
        Self { uids: all_ids(), gids: all_ids() }
    }
}

fn all_ids() -> Vec<IdRange> {
    IdRange::new(0, u32::MAX.into()).into_iter().collect()
}

/// Returns the ids that exist in a namespace, by its map. Source: user_namespaces(7).
pub(crate) fn mapped(text: &str) -> Vec<IdRange> {
    let range = |line: &str| {
        let mut fields = line.split_whitespace();
        let (start, count) = (fields.next()?.parse().ok()?, fields.nth(1)?.parse().ok()?);
        IdRange::new(start, count).ok()
    };
    text.lines().filter_map(range).collect()
}

/// Returns who somebody of this user namespace is in the one above, where /proc tells. Source: user_namespaces(7).
pub(crate) fn outside(uid: HostUid) -> Option<HostUid> {
    mapped_to(&std::fs::read_to_string("/proc/self/uid_map").ok()?, uid)
}

fn mapped_to(text: &str, uid: HostUid) -> Option<HostUid> {
    let outside = |line: &str| {
        let mut fields = line.split_whitespace().map(|field| field.parse::<u32>().ok());
        let (inside, outside, count) = (fields.next()??, fields.next()??, fields.next()??);
        let above = uid.0.checked_sub(inside).filter(|above| *above < count)?;
        outside.checked_add(above).map(HostUid)
    };
    text.lines().find_map(outside)
}

/// A systemd of the caller's own, which gives scopes with what is delegated to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manager {
    /// The socket on which it listens.
    pub socket: PathBuf,
    /// Its cgroup: what is delegated to it, a scope has.
    pub cgroup: PathBuf,
}

impl Manager {
    /// Looks for it on a host of pure v2, where controllers can be delegated to users. Root has none of its own, and makes
    /// cgroups where it likes.
    fn look(caller: &Caller, cgroups: &cgroup::Layout) -> Option<Self> {
        let [hierarchy] = &cgroups.hierarchies[..] else { return None };
        if hierarchy.version != cgroup::Version::V2 || caller.is_root() {
            return None;
        }
        let uid = caller.uid;
        let unit = format!("user.slice/user-{uid}.slice/user@{uid}.service");
        let cgroup = hierarchy.mountpoint.join(unit);
        let sockets = runtime_dirs(caller).map(|runtime| runtime.join("systemd/private"));
        let socket = sockets.into_iter().find(|socket| socket.exists())?;
        cgroup.is_dir().then_some(Self { socket, cgroup })
    }

    /// Tells whether the caller is in a cgroup below it.
    pub fn has(&self, cgroups: &cgroup::Layout) -> bool {
        let own = cgroups.hierarchies.iter().find_map(cgroup::Hierarchy::own_dir);
        own.is_some_and(|own| own.starts_with(&self.cgroup))
    }
}

/// What shows containers their own limits in /proc: where the program is, and a device for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lxcfs {
    /// The program.
    pub program: PathBuf,
    /// The session's directory for sockets, where there is one that is the caller's alone.
    pub runtime: Option<PathBuf>,
    /// A quota of processor time is to count as so many processors.
    pub quota: bool,
}

impl Lxcfs {
    fn look(programs: &Programs, caller: &Caller) -> Option<Self> {
        let is_there = programs.lxcfs.is_file() && sys::path::open_device(Path::new("/dev/fuse")).is_ok();
        let program = || programs.lxcfs.clone();
        is_there.then(|| Self { program: program(), runtime: runtime_dir(caller), quota: false })
    }
}

/// Returns the directory of the session, which `XDG_RUNTIME_DIR` names or systemd would.
/// Source: the XDG Base Directory Specification, which says who may own and enter it.
pub(crate) fn runtime_dir(caller: &Caller) -> Option<PathBuf> {
    runtime_dirs(caller).next()
}

fn runtime_dirs(caller: &Caller) -> impl Iterator<Item = PathBuf> {
    let named = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|dir| dir.is_absolute());
    let usual = PathBuf::from(format!("/run/user/{}", caller.uid));
    let uid = caller.uid.0;
    let is_own = move |dir: &PathBuf| {
        let found = sys::path::take(dir).and_then(|fd| sys::path::status(fd.as_fd()));
        found.is_ok_and(|found| found.st_uid == uid && found.st_mode & 0o077 == 0)
    };
    named.into_iter().chain([usual]).filter(is_own)
}

/// The programs that write id maps, as they are installed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Helpers {
    /// Bryo's own.
    pub idmap: Program,
    /// The system's for user ids.
    pub newuidmap: Program,
    /// The system's for group ids.
    pub newgidmap: Program,
    /// `/etc/nsswitch.conf` names another source of subordinate ids than the files, so that Bryo's own grants nothing.
    pub ids_elsewhere: bool,
}

impl Helpers {
    fn look(programs: &Programs) -> Result<Self> {
        Ok(Self {
            idmap: Program::look(programs.idmap.clone())?,
            newuidmap: Program::of_system("newuidmap")?,
            newgidmap: Program::of_system("newgidmap")?,
            ids_elsewhere: policy::nsswitch::subid_elsewhere(&read("/etc/nsswitch.conf")?),
        })
    }

    /// Tells whether Bryo's own helper gains what it needs.
    pub fn own_works(&self) -> bool {
        self.idmap.gains(capability::SETUID | capability::SETGID)
    }

    /// Tells whether the system's helpers gain what they need.
    pub fn system_works(&self) -> bool {
        self.newuidmap.gains_also(capability::SETUID) && self.newgidmap.gains_also(capability::SETGID)
    }
}

/// Paths of Bryo's own programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Programs {
    /// The process that owns a running container.
    pub monitor: PathBuf,
    /// The unpacker.
    pub image: PathBuf,
    /// What asks image servers.
    pub fetch: PathBuf,
    /// The init of application containers.
    pub init: PathBuf,
    /// The id map helper.
    pub idmap: PathBuf,
    /// The helper for network devices.
    pub netdev: PathBuf,
    /// What shows containers their own limits.
    pub lxcfs: PathBuf,
}

impl Programs {
    /// Finds the programs next to the running one: `PREFIX/bin/bryo` has them in `PREFIX/libexec/bryo`, and
    /// in a build directory they lie side by side.
    pub fn beside(own: &Path) -> Self {
        let dir = own.parent().unwrap_or(Path::new("/"));
        let installed = dir.parent().unwrap_or(Path::new("/")).join("libexec/bryo");
        let base = if installed.is_dir() { installed } else { dir.to_owned() };
        Self {
            monitor: base.join("bryo-monitor"),
            image: base.join("bryo-image"),
            fetch: base.join("bryo-fetch"),
            init: base.join("bryo-init"),
            idmap: base.join("bryo-idmap"),
            netdev: base.join("bryo-netdev"),
            lxcfs: base.join("bryo-lxcfs"),
        }
    }

    /// Returns the directory that they are installed to; from a build directory nothing is installed yet, and would be
    /// to the usual one.
    pub fn prefix(&self) -> &Path {
        let dir = self.monitor.parent().filter(|dir| dir.ends_with("libexec/bryo"));
        dir.and_then(|dir| dir.ancestors().nth(2)).unwrap_or(Path::new("/usr/local"))
    }
}

impl HostFacts {
    /// Returns what may be done with cgroups: in a scope of the user's systemd where there is one, else in the caller's own.
    pub fn cgroup_host(&self) -> cgroup::Host {
        let mut layout = self.cgroups.clone();
        if let (Some(manager), [tree]) = (&self.manager, &mut layout.hierarchies[..]) {
            tree.own_path = manager.cgroup.strip_prefix(&tree.mountpoint).ok().map(Path::to_owned);
        }
        cgroup::Host::probe(&layout)
    }

    /// Gathers the facts for the calling process.
    pub fn gather() -> Result<Self> {
        let own = std::fs::read_link("/proc/self/exe").map_err(crate::place::from_io)?;
        let programs = Programs::beside(&own);
        let caller = caller()?;
        let (subuid, subgid) = (read("/etc/subuid")?, read("/etc/subgid")?);
        let owner =
            policy::subid::Owner { uid: caller.uid.0, name: caller.name.as_deref().map(str::as_bytes) };
        let no_new_privs = sys::cap::no_new_privs().unwrap_or(false);
        let helpers = Helpers::look(&programs)?;
        let cgroups = cgroup::Layout::of(cgroup::Base::Own)?;
        Ok(Self {
            subuids: policy::subid::ranges(&subuid, &owner),
            subgids: policy::subid::ranges(&subgid, &owner),
            free_range: if caller.is_root() { free_range(&subuid, &subgid)? } else { None },
            mapped: Mapped::ask(),
            id_writer: id_writer(&caller, &helpers, no_new_privs),
            helpers,
            no_new_privs,
            cores_are_piped: cores_are_piped(),
            apparmor: AppArmor::ask(),
            surroundings: Surroundings::ask()?,
            manager: Manager::look(&caller, &cgroups),
            cgroups,
            lxcfs: Lxcfs::look(&programs, &caller),
            programs,
            caller,
        })
    }
}

/// Finds out who calls.
///
/// # Errors
/// A name that cannot be looked up just now: without it the caller would seem to have no ids.
fn caller() -> Result<Caller> {
    let (uid, gid) = (sys::cred::real_uid(), sys::cred::real_gid());
    let name = match uzers::get_user_by_uid(uid.0) {
        Some(user) => user.name().to_str().map(str::to_owned),
        // Nobody, or a failure; only the C library's own call tells them apart.
        None => sys::cred::user_name(uid).doing("looking up your user name")?,
    };
    Ok(Caller { uid, gid, name })
}

/// Returns the caller's login shell, where the system knows one.
pub(crate) fn login_shell(caller: &Caller) -> Option<String> {
    use uzers::os::unix::UserExt;
    uzers::get_user_by_uid(caller.uid.0).and_then(|user| user.shell().to_str().map(str::to_owned))
}

/// Returns the caller's home as the system knows it, whatever the environment says.
pub(crate) fn login_home(uid: HostUid) -> Option<PathBuf> {
    use uzers::os::unix::UserExt;
    uzers::get_user_by_uid(uid.0).map(|user| user.home_dir().to_owned())
}

/// Reads a system file; one that is missing, forbidden or too large grants nothing.
///
/// # Errors
/// One that cannot be read just now. A container that is created without the ids of its owner stays so.
fn read(path: &str) -> Result<Vec<u8>> {
    let root = sys::path::open_dir(Path::new("/"))?;
    let relative = Path::new(path.trim_start_matches('/'));
    match sys::path::read_small(root.as_fd(), relative, FILE_CAP) {
        Err(e) if matches!(e.errno(), Errno::ENOENT | Errno::EACCES | Errno::EFBIG) => Ok(Vec::new()),
        read => read.doing_with(|| format!("reading {path}")),
    }
}

/// Finds a program in PATH, or where an ordinary user's PATH has no directories of administrators.
fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/bin", "/bin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    let places = std::env::split_paths(&path).filter(|dir| dir.is_absolute()).chain(usual);
    places.map(|dir| dir.join(name)).find(|program| program.is_file())
}

/// Tells whether core dumps go to a program of the host. Source: core(5).
fn cores_are_piped() -> bool {
    std::fs::read("/proc/sys/kernel/core_pattern").is_ok_and(|pattern| pattern.starts_with(b"|"))
}

/// Finds a range for root where `/etc/subuid` has no line for it: one that no line and no account has.
fn free_range(subuid: &[u8], subgid: &[u8]) -> Result<Option<IdRange>> {
    let accounts = read("/etc/passwd")?;
    let text = String::from_utf8_lossy(&accounts).into_owned();
    let ids =
        |line: &str| line.split(':').skip(2).take(2).filter_map(|f| f.parse().ok()).collect::<Vec<u32>>();
    let taken: Vec<u32> = text.lines().flat_map(ids).collect();
    Ok(policy::subid::free_range(&[subuid, subgid], &taken, 65_536))
}

fn id_writer(caller: &Caller, helpers: &Helpers, no_new_privs: bool) -> IdWriter {
    if caller.is_root() {
        return IdWriter::Direct;
    }
    if no_new_privs {
        return IdWriter::OwnIdOnly;
    }
    if helpers.own_works() && !helpers.ids_elsewhere {
        return IdWriter::BryoIdmap(helpers.idmap.path.clone());
    }
    if helpers.system_works() {
        let (uid, gid) = (helpers.newuidmap.path.clone(), helpers.newgidmap.path.clone());
        return IdWriter::Newuidmap { uid, gid };
    }
    IdWriter::OwnIdOnly
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_root_of_a_user_namespace_is_somebody_outside() {
        let outside = |text, uid| mapped_to(text, HostUid(uid)).map(|uid| uid.0);
        let text = "         0       1000          1\n         1     100000      65536\n";
        assert_eq!(
            [0, 1, 65_536, 65_537].map(|uid| outside(text, uid)),
            [Some(1000), Some(100_000), Some(165_535), None]
        );
        assert_eq!(
            (outside("0 0 4294967295\n", 1000), outside("0 x 1\n", 0), outside("", 0)),
            (Some(1000), None, None)
        );
    }

    #[test]
    fn programs_lie_in_libexec_or_side_by_side() {
        let beside = Programs::beside(Path::new("/nonexistent/target/release/bryo"));
        assert_eq!(beside.monitor, Path::new("/nonexistent/target/release/bryo-monitor"));
        assert_eq!(beside.prefix(), Path::new("/usr/local"));
        let installed = Programs { monitor: "/opt/moss/libexec/bryo/bryo-monitor".into(), ..beside };
        assert_eq!(installed.prefix(), Path::new("/opt/moss"));
    }

    #[test]
    fn a_helper_that_gains_nothing_is_passed_over() {
        let ana = Caller { uid: HostUid(1000), gid: HostGid(1000), name: None };
        let capabilities = capability::SETUID | capability::SETGID;
        let capable = |name: &str, nosuid| Program {
            path: name.into(),
            installed: Some(Installed { capabilities, nosuid, ..Installed::default() }),
            exposed: None,
        };
        let helpers = |nosuid| Helpers {
            idmap: capable("bryo-idmap", nosuid),
            newuidmap: capable("newuidmap", false),
            newgidmap: capable("newgidmap", false),
            ids_elsewhere: false,
        };
        let rung = |helpers: &Helpers, no_new_privs| id_writer(&ana, helpers, no_new_privs).rung();
        assert_eq!(rung(&helpers(false), false), "bryo-idmap");
        assert_eq!(rung(&helpers(true), false), "newuidmap");
        assert_eq!(rung(&helpers(false), true), "one id");
        assert_eq!(rung(&Helpers { ids_elsewhere: true, ..helpers(false) }, false), "newuidmap");
        assert_eq!(rung(&Helpers::default(), false), "one id");
    }
}
