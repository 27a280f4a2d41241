//! Templates that are programs: LXC's in their directory, the caller's own, and what makes a distribution of its packages.
//!
//! Such a program runs as container root, in a PID namespace that ends with it, on a [`Stage`]: what it may read of the host
//! is what everybody may, and what it may write is the new root file system and a copy of the configuration. Of the lines
//! that it adds there only those are taken that give the container nothing beyond that ([`taken`]): a hook, say, would run as
//! the user. With the caller's own id in the map (one id, `--me`) no mode keeps it from what is the caller's; the stage covers that,
//! it sees its own processes alone, and of the environment it has what a template needs ([`PASSED`]).
//!
//! LXC: takes the whole configuration.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use sys::mount::{self, attr};
use sys::path::{self, Links, OpenFlags};
use sys::process::{self, Cloned, Exec, Exit, flags};
use sys::socket;
use types::{IdExtent, IdMap, Signal};

use super::limits::{self, Limits};
use super::{Filled, Filling, Progress, local, squashfs, text, write_files};
use crate::error::{Doing, Error, Kind, Result};
use crate::host::{Caller, IdWriter};
use crate::idmap;
use crate::place::from_io;
use crate::root::Root;
use crate::security::seccomp;
use crate::stage::{self, Reach, Stage};

/// A program that fills a root file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The program's file.
    pub file: PathBuf,
    /// How it is called.
    pub call: Call,
    /// Variables beside those of the caller.
    pub environment: Vec<(String, String)>,
}

/// How a program is told where the root file system is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// As LXC calls its templates, with the arguments of the user.
    Template(Vec<String>),
    /// By its path between other words. What it makes is a whole system.
    System {
        /// What stands before.
        before: Vec<String>,
        /// And behind.
        after: Vec<String>,
    },
}

/// Keys that a template may set beside those of an image ([`local`]); with a dot at its end a family.
const KEYS: [&str; 19] = [
    "lxc.uts.name",
    "lxc.autodev",
    "lxc.autodev.",
    "lxc.cap.",
    "lxc.no_new_privs",
    "lxc.cgroup.",
    "lxc.cgroup2.",
    "lxc.prlimit.",
    "lxc.sysctl.",
    "lxc.proc.",
    "lxc.net.",
    "lxc.start.",
    "lxc.group",
    "lxc.init.",
    "lxc.execute.cmd",
    "lxc.mount.entry",
    "lxc.time.",
    "lxc.tty.",
    "lxc.pty.",
];
/// File systems that show nothing of the user's.
const VIRTUAL: [&str; 8] = ["proc", "sysfs", "tmpfs", "mqueue", "devpts", "cgroup", "cgroup2", "securityfs"];
/// The most that is read of a configuration.
const CAP: u64 = 48 << 10;
/// Where programs of administrators are, which a user's own PATH may lack.
const ADMINISTRATORS: &str = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin";
/// Which of the caller's variables a program has; with a `_` at its end all that begin so. What else is there may be for nobody else: keys of
/// services, sockets of agents. Source for `MIRROR` and the two after it: LXC's templates `debian` and `ubuntu`.
const PASSED: [&str; 25] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "TERM",
    "TZ",
    "LANG",
    "LANGUAGE",
    "LC_",
    "http_proxy",
    "https_proxy",
    "ftp_proxy",
    "all_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "FTP_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "MIRROR",
    "SECURITY_MIRROR",
    "SUITE",
    "LXC_",
    "DOWNLOAD_",
];
/// What a systemd without a network of its own is given: DHCP on the first device.
const NETWORK: &str = "[Match]\nName=eth0\n\n[Network]\nDHCP=yes\n";

impl Filling<'_> {
    pub(super) fn program(&mut self, program: &Program, config: &mut text::Builder) -> Result<Filled> {
        if matches!(program.call, Call::System { .. }) && self.has_one_id() {
            let cause = "packages have owners, and the container has one id, yours";
            return Err(Error::new(Kind::IdRange, cause));
        }
        let name = program.file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let ran = |filling: &mut Self, config| filling.run_program(program, config);
        let ran = ran(self, config.text()).doing_with(|| format!("running {name}"));
        match &program.call {
            Call::Template(_) => {
                let notes = take(&config.text(), &ran?, &self.place.dir(), self.limits, config)?;
                if self.has_one_id() {
                    self.keep_apt_root()?;
                }
                Ok(Filled { unpacked: None, notes })
            }
            Call::System { .. } => {
                ran?;
                config.system_container()?;
                self.give_network()?;
                self.give_hosts()?;
                self.settle_inside()?;
                Ok(Filled::default())
            }
        }
    }

    /// Runs it, and returns the configuration that it leaves.
    fn run_program(&mut self, program: &Program, config: String) -> Result<String> {
        let dir = std::fs::canonicalize(self.place.dir()).map_err(from_io)?;
        let file = std::fs::canonicalize(&program.file).map_err(from_io)?;
        let rootfs = dir.join("rootfs").display().to_string();
        let config = format!("{config}lxc.rootfs.path = dir:{rootfs}\n");
        let (covered, has_own_id) = (self.covered(), self.has_own_id());
        let supervised = Supervised {
            words: self.words(&program.call, &dir, rootfs),
            environment: program.environment.clone(),
            kept: Vec::new(),
            apart: flags::NEWIPC,
            alone: false,
        };
        self.supervise(&file, &dir, config, &supervised, |exit, dir| match exit {
            Exit::Code(0) => read_config(dir),
            exit => Err(Error::new(
                Kind::Image,
                format!("it ended with {}{}", shown(exit), lacked(&covered, has_own_id)),
            )),
        })
    }

    /// Returns what of the caller's a program does not see.
    fn covered(&self) -> Vec<PathBuf> {
        stage::own_places(&self.facts.caller, self.has_own_id())
    }

    /// Runs a program on a stage, and has `judge` look at how it ended, and at the container's directory of that stage.
    pub(super) fn supervise<T: Serialize + DeserializeOwned>(
        &mut self,
        file: &Path,
        dir: &Path,
        config: String,
        supervised: &Supervised<'_>,
        judge: impl FnOnce(Exit, BorrowedFd<'_>) -> Result<T>,
    ) -> Result<T> {
        let mut argv = vec!["bryo-init".to_owned(), "--".to_owned(), file.display().to_string()];
        argv.extend(supervised.words.iter().cloned());
        let envp = environment(std::env::vars_os(), &supervised.environment);
        let exec = Exec::new(&argv.into_iter().map(OsString::from).collect::<Vec<_>>(), &envp)?;
        let init = path::open_read(&self.facts.programs.init).doing("opening bryo-init")?;
        let reach = match (self.has_own_id(), supervised.alone) {
            (true, _) => Reach::Own,
            (false, true) => Reach::Reader,
            (false, false) => Reach::Everybody,
        };
        let (dir_of, program, covered) = (dir.to_owned(), file.to_owned(), self.covered());
        let stage = Root::Stage(Stage { dir: dir_of, config, program, covered, reach });
        let namespace = self.namespace()?.inside(&stage)?;
        let work = || {
            process::set_umask(0o022);
            // Taken now: a program with rights over this mount namespace could put something else at its place.
            let dir = path::open_dir(dir)?;
            let exit = supervised.run(&exec, init.as_fd(), self.idmap, &self.facts.caller)?;
            judge(exit, dir.as_fd())
        };
        namespace.ask(work, &mut || (self.progress)(Progress { read: 0, total: None }))
    }

    /// LXC: gives `--mapped-uid` the id by which the caller is seen inside. Here that is nobody but with `--me`, and root else.
    fn words(&self, call: &Call, dir: &Path, rootfs: String) -> Vec<String> {
        match call {
            Call::System { before, after } => {
                before.iter().cloned().chain([rootfs]).chain(after.iter().cloned()).collect()
            }
            Call::Template(arguments) => {
                let (uid, gid) = match idmap::me(self.idmap, &self.facts.caller) {
                    Some((uid, gid)) => (uid.0, gid.map_or(0, |gid| gid.0)),
                    None => (0, 0),
                };
                let mut words = vec![
                    format!("--path={}", dir.display()),
                    format!("--name={}", self.place.name),
                    format!("--rootfs={rootfs}"),
                ];
                words.extend(arguments.iter().cloned());
                words.extend(["--mapped-uid".to_owned(), uid.to_string()]);
                words.extend(["--mapped-gid".to_owned(), gid.to_string()]);
                words
            }
        }
    }

    /// Gives names to the addresses of the system itself, where its packages have not.
    fn give_hosts(&self) -> Result<()> {
        let hosts = format!("127.0.0.1\tlocalhost\n127.0.1.1\t{}\n::1\tlocalhost\n", self.place.name);
        self.inside(|| match Path::new("etc/hosts").symlink_metadata() {
            Ok(_) => Ok(()),
            Err(_) => write_files(&[("etc/hosts", &hosts)]),
        })
    }

    /// Has systemd ask for an address, and for names where it has a resolver.
    fn give_network(&self) -> Result<()> {
        const UNIT: &str = "/lib/systemd/system/systemd-networkd.service";
        self.inside(|| {
            if !Path::new("etc/systemd/network").is_dir() || !Path::new(&UNIT[1..]).exists() {
                return Ok(());
            }
            write_files(&[("etc/systemd/network/eth0.network", NETWORK)])?;
            let link = |target: &str, name: &str| match std::os::unix::fs::symlink(target, name) {
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
                made => made.map_err(from_io).doing_with(|| format!("making {name}")),
            };
            let wanted = "etc/systemd/system/multi-user.target.wants";
            super::make_dirs(&[(wanted, 0o755)])?;
            link(UNIT, &format!("{wanted}/systemd-networkd.service"))
        })
        .doing("giving the system a network")
    }
}

/// A program on a stage.
pub(super) struct Supervised<'a> {
    /// Its arguments.
    pub(super) words: Vec<String>,
    /// Variables beside those of the caller.
    pub(super) environment: Vec<(String, String)>,
    /// What it inherits beside the standard streams, under the same numbers.
    pub(super) kept: Vec<BorrowedFd<'a>>,
    /// Namespaces beside the usual ones.
    pub(super) apart: u64,
    /// It writes to nothing but the container, and has no standard input and output.
    pub(super) alone: bool,
}

impl Supervised<'_> {
    /// Runs the program, and waits for it. Whatever it leaves running ends with it.
    fn run(&self, exec: &Exec, init: BorrowedFd<'_>, map: &IdMap, caller: &Caller) -> Result<Exit> {
        match with_own_proc(|| self.run_below(exec, init, map, caller))? {
            Some(exit) => Ok(exit),
            None => self.run_below(exec, init, map, caller),
        }
    }

    /// Runs the program in a PID namespace of its own.
    ///
    /// It has a user namespace below, with the same ids: so the kernel locks the mounts of the stage, and it cannot take the
    /// cover away. Source: mount_namespaces(7), restrictions on mount namespaces.
    fn run_below(&self, exec: &Exec, init: BorrowedFd<'_>, map: &IdMap, caller: &Caller) -> Result<Exit> {
        let own = process::pidfd(process::own_pid())?;
        let (ours, theirs) = socket::pair()?;
        match process::clone(flags::NEWUSER | flags::NEWNS | flags::NEWPID | self.apart, None)? {
            Cloned::Child => {
                drop(ours);
                let failure = self.become_program(exec, init, &theirs, own.as_fd());
                let _gone =
                    std::io::Write::write_all(&mut std::io::stderr(), format!("{failure}\n").as_bytes());
                process::exit_now(125)
            }
            Cloned::Parent { pid, pidfd } => {
                drop(theirs);
                // It is there to be written to from the moment that it says so; when it has died, the wait tells.
                let _died = socket::receive(ours.as_fd(), 1);
                let written = idmap::write(pid, &identity(map), &IdWriter::Direct, caller)
                    .and_then(|()| Ok(socket::send(ours.as_fd(), &[0], &[])?));
                drop(ours);
                let ended = process::wait(pidfd.as_fd())?;
                written.map(|()| ended)
            }
        }
    }

    /// Becomes the init of the program's namespaces when the ids are mapped. Returns only on failure.
    fn become_program(
        &self,
        exec: &Exec,
        init: BorrowedFd<'_>,
        parent: &OwnedFd,
        supervisor: BorrowedFd<'_>,
    ) -> Error {
        let ready = || -> Result<()> {
            process::set_parent_death_signal(Some(Signal::KILL))?;
            // The files of /proc that take the map are else not its supervisor's to write.
            process::set_dumpable(true)?;
            // In the caller's session it could type on his terminal: TIOCSTI, ioctl_tty(2).
            process::new_session()?;
            socket::send(parent.as_fd(), &[0], &[])?;
            let is_mapped = !socket::receive(parent.as_fd(), 1)?.bytes.is_empty();
            if !is_mapped || process::has_ended(supervisor) {
                return Err(Error::new(Kind::Died, "its ids are not mapped"));
            }
            keep_apart()?;
            if self.alone {
                squashfs::silence()?;
            }
            self.kept.iter().try_for_each(|fd| process::keep_on_exec(*fd))?;
            Ok(process::close_all_but(&self.kept.iter().copied().chain([init]).collect::<Vec<_>>())?)
        };
        match ready() {
            Ok(()) => exec.fd(init).into(),
            Err(failure) => failure,
        }
    }
}

/// Keeps what comes of this process from the caller's keys, and from processes and abstract sockets of others.
///
/// The session's keys are not all: /proc/keys tells the number of the keyring that belongs to an id, and whoever has that id may link it into
/// a keyring of his own, and reads what is in it. So no call of keyrings(7) is left. Source: also user-keyring(7).
fn keep_apart() -> Result<()> {
    // A quota of keys may be used up, and before Linux 6.12 less is known of Landlock.
    let _keyring = sys::keyring::join_new_session();
    let _scoped = sys::landlock::keep_to_itself();
    seccomp::refuse(&["add_key", "keyctl", "request_key"])?.install()
}

/// Does the work of a program's supervisor where /proc shows what comes of it alone: processes of the caller's own id would else lead to what
/// is covered, by `/proc/PID/root`. The mount is in a namespace above that of the program, which cannot take it away.
///
/// `None`, and nothing is done, where the kernel refuses such a mount, as it does where parts of the /proc that is there are covered.
fn with_own_proc(work: impl FnOnce() -> Result<Exit>) -> Result<Option<Exit>> {
    let supervisor = process::pidfd(process::own_pid())?;
    let (mut reader, mut writer) = std::io::pipe().map_err(from_io)?;
    match process::clone(flags::NEWPID | flags::NEWNS, None)? {
        Cloned::Child => {
            drop(reader);
            let ready = process::set_parent_death_signal(Some(Signal::KILL));
            if ready.is_err() || process::has_ended(supervisor.as_fd()) {
                process::exit_now(1);
            }
            let done: Option<Result<(bool, i32)>> = mount_own_proc().is_ok().then(|| match work()? {
                Exit::Code(code) => Ok((true, code)),
                Exit::Signal(signal) => Ok((false, signal)),
            });
            let answer = postcard::to_stdvec(&done).unwrap_or_default();
            let _gone = std::io::Write::write_all(&mut writer, &answer);
            process::exit_now(0)
        }
        Cloned::Parent { pidfd, .. } => {
            drop(writer);
            let mut answer = Vec::new();
            std::io::Read::read_to_end(&mut reader, &mut answer).map_err(from_io)?;
            process::wait(pidfd.as_fd())?;
            let died = |_| Error::new(Kind::Died, "the process that waits for it has died");
            let done: Option<Result<(bool, i32)>> = postcard::from_bytes(&answer).map_err(died)?;
            let exit =
                |(by_itself, number)| if by_itself { Exit::Code(number) } else { Exit::Signal(number) };
            done.map(|done| done.map(exit)).transpose()
        }
    }
}

fn mount_own_proc() -> Result<()> {
    let proc = mount::new_filesystem("proc", &[], attr::NOSUID | attr::NODEV | attr::NOEXEC)?;
    let place = path::take(Path::new("/proc"))?;
    Ok(mount::attach(proc.as_fd(), place.as_fd())?)
}

/// Says why a program may have failed on its stage, for a process there: it lacks what is covered, or room in the place of it.
fn lacked(covered: &[PathBuf], has_own_id: bool) -> String {
    let dirs: Vec<&PathBuf> = covered.iter().filter(|path| path.is_dir()).collect();
    let is_full = |dir: &&&PathBuf| {
        let left = sys::filesystem::of(dir);
        left.is_ok_and(|left| left.free_bytes == 0 || left.free_inodes == Some(0))
    };
    let named = || {
        let own = dirs.iter().filter(|dir| !stage::is_of_service(dir)).map(|dir| dir.display().to_string());
        own.chain(has_own_id.then(|| "/dev/shm".to_owned())).collect::<Vec<_>>().join(", ")
    };
    let read_only = if has_own_id { ", and the host is read-only" } else { "" };
    match dirs.iter().find(is_full) {
        Some(full) => format!(
            ": in the place of {} it had {} MB of memory, which are used up",
            full.display(),
            stage::SIZE
        ),
        None if dirs.is_empty() => String::new(),
        None => format!(", and sees nothing of what is in {}{read_only}", named()),
    }
}

/// Says how a program ended.
pub(super) fn shown(exit: Exit) -> String {
    match exit {
        Exit::Code(status) => format!("exit status {status}"),
        Exit::Signal(signal) => format!("signal {signal}"),
    }
}

/// Finds a program of the host by its name, where root has programs too.
pub fn find(name: &str) -> Option<PathBuf> {
    find_all(name).next()
}

/// Finds all programs of a name.
pub(super) fn find_all(name: &str) -> impl Iterator<Item = PathBuf> {
    let own = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&own).chain(std::env::split_paths(ADMINISTRATORS)).collect::<Vec<_>>();
    let is_program = |path: &PathBuf| {
        let found = std::fs::metadata(path);
        path.is_absolute() && found.is_ok_and(|found| found.is_file() && found.mode() & 0o111 != 0)
    };
    dirs.into_iter().map(move |dir| dir.join(name)).filter(is_program)
}

/// Returns the map that gives a namespace below all ids of a namespace with the given one, by their numbers.
fn identity(map: &IdMap) -> IdMap {
    let same = |extents: &[IdExtent]| {
        let extent = |at: &IdExtent| {
            let start = u64::from(at.inside.start());
            IdExtent::new(start, start, at.count().into())
        };
        extents.iter().filter_map(|at| extent(at).ok()).collect()
    };
    IdMap { uids: same(&map.uids), gids: same(&map.gids) }
}

/// Reads what the program left as configuration, which may be anything.
fn read_config(dir: BorrowedFd<'_>) -> Result<String> {
    let refuse = |why: &str| Err(Error::new(Kind::Image, format!("the config that it left {why}")));
    let flags = OpenFlags::RDONLY | OpenFlags::NONBLOCK | OpenFlags::NOCTTY;
    let file = match path::open_in(dir, Path::new("config"), Links::Refuse, flags) {
        Err(_) => return refuse("is no file"),
        Ok(file) => file,
    };
    if !path::is_regular(file.as_fd())? {
        return refuse("is no regular file");
    }
    match path::read_all(file, CAP) {
        Err(_) => refuse("is larger than 48 KiB"),
        Ok(bytes) => String::from_utf8(bytes).or_else(|_| refuse("is no text")),
    }
}

/// Those of the caller's variables that a program is given, and more.
fn environment(own: impl Iterator<Item = (OsString, OsString)>, more: &[(String, String)]) -> Vec<OsString> {
    let is_passed = |name: &OsString| {
        let family = |name: &str, known: &str| known.ends_with('_') && name.starts_with(known);
        name.to_str().is_some_and(|name| PASSED.iter().any(|known| *known == name || family(name, known)))
    };
    let mut all: BTreeMap<OsString, OsString> = own.filter(|(name, _)| is_passed(name)).collect();
    let path = all.entry("PATH".into()).or_default();
    if !path.is_empty() {
        path.push(":");
    }
    path.push(ADMINISTRATORS);
    all.extend(more.iter().map(|(name, value)| (name.into(), value.into())));
    let line = |(name, value): (OsString, OsString)| {
        let mut line = name;
        line.push("=");
        line.push(value);
        line
    };
    all.into_iter().map(line).collect()
}

/// Writes the lines that a template has added into the configuration, and says which are not taken.
fn take(
    before: &str,
    after: &str,
    dir: &Path,
    limits: &Limits,
    config: &mut text::Builder,
) -> Result<Vec<String>> {
    let mut known: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for line in config::lines(before) {
        *known.entry(line).or_default() += 1;
    }
    let mut notes = Vec::new();
    for (key, value) in config::lines(after) {
        if let Some(count @ 1..) = known.get_mut(&(key, value)) {
            *count -= 1;
            continue;
        }
        match taken(key, value, dir) {
            Some(_) if limits.forbid(key, value) => {
                notes.push(format!(
                    "the template's line {key} = {value} is not taken: your configuration limits it"
                ));
            }
            Some(value) => config.set(key, &value)?,
            // Its place is known.
            None if key == "lxc.rootfs.path" => {}
            None => notes.push(format!("the template's line {key} = {value} is not taken")),
        }
    }
    Ok(notes)
}

/// Returns the value to write, if a template may set the key to it: what gives the container no more of the host than the
/// template itself had.
fn taken(key: &str, value: &str, dir: &Path) -> Option<String> {
    if let Some(value) = local::allowed(key, value) {
        return Some(value);
    }
    let is_known = KEYS.iter().any(|known| match known.ends_with('.') {
        true => key.starts_with(known),
        false => key == *known,
    });
    let shows_no_more = match key {
        "lxc.mount.entry" => is_harmless(value, dir),
        // A program of the host's, or the host's own network.
        _ if limits::is_place(key) => false,
        _ if key.starts_with("lxc.net.") => !key.contains(".script.") && value != "none",
        _ => true,
    };
    (is_known && shows_no_more).then(|| value.to_owned())
}

/// Tells whether a mount entry shows what everybody may see: a file system of the kernel's, or what is root's. What was covered is
/// on the way to the container's directory; what is mounted below a directory need not be root's, so no whole tree is shown. The entry
/// is read as a start reads it: words have escapes, and options values.
fn is_harmless(entry: &str, dir: &Path) -> bool {
    let entry = config::MountEntry::read(entry);
    let source = Path::new(&entry.source);
    match (entry.has_option("rbind"), entry.has_option("bind")) {
        (true, _) => false,
        (false, true) => is_roots(source) && !leads_to(source, dir),
        (false, false) => VIRTUAL.contains(&entry.fstype.as_str()),
    }
}

/// Tells whether a directory is on the way to another, or cannot be looked at.
fn leads_to(source: &Path, dir: &Path) -> bool {
    match (source.canonicalize(), dir.canonicalize()) {
        (Ok(source), Ok(dir)) => dir.starts_with(source),
        _ => true,
    }
}

/// Tells whether nobody but root can say what is at a path. Processes say what is below /proc.
fn is_roots(source: &Path) -> bool {
    let is_roots = |path: &Path| {
        let found = path.symlink_metadata();
        found.is_ok_and(|found| found.uid() == 0 && (found.is_symlink() || found.mode() & 0o022 == 0))
    };
    let all_roots = |path: &Path| path.is_absolute() && path.ancestors().all(is_roots);
    let led = source.canonicalize();
    !source.starts_with("/proc") && all_roots(source) && led.is_ok_and(|led| all_roots(&led))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_sets_what_gives_the_container_no_more_than_it_had_itself() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = temporary.path();
        for (key, value) in [
            ("lxc.signal.halt", "SIGUSR1"),
            ("lxc.cap.drop", "sys_module mac_admin"),
            ("lxc.mount.auto", "cgroup:mixed proc:mixed sys:ro"),
            ("lxc.mount.entry", "shm dev/shm tmpfs defaults,create=dir 0 0"),
            ("lxc.mount.entry", "/usr/lib usr/lib none ro,bind 0 0"),
            ("lxc.net.0.type", "veth"),
            ("lxc.init.cmd", "/sbin/init"),
        ] {
            assert_eq!(taken(key, value, dir).as_deref(), Some(value), "{key} = {value}");
        }
        let theirs = format!("{} home none bind 0 0", temporary.path().display());
        let as_value = format!("{} home tmpfs bind=1 0 0", temporary.path().display());
        let escaped = format!("{} home tmpfs b\\151nd 0 0", temporary.path().display());
        for (key, value) in [
            ("lxc.hook.pre-start", "/bin/true"),
            ("lxc.net.0.script.up", "/bin/true"),
            ("lxc.net.0.type", "none"),
            ("lxc.mount.entry", &theirs),
            ("lxc.mount.entry", "/ host none rbind 0 0"),
            ("lxc.apparmor.profile", "unconfined"),
            ("lxc.mount.entry", "home home none rbind 0 0"),
            ("lxc.mount.entry", "/usr/lib usr/lib none rbind 0 0"),
            ("lxc.mount.entry", &as_value),
            ("lxc.mount.entry", &escaped),
            ("lxc.mount.entry", "/proc/self/root x none rbind 0 0"),
            ("lxc.mount.entry", "/dev/sda x ext4 ro 0 0"),
            ("lxc.mount.entry", "/usr/../tmp/x x none bind 0 0"),
            ("lxc.mount.fstab", "/tmp/fstab"),
            ("lxc.include", "/tmp/x"),
            ("lxc.idmap", "u 0 0 1"),
            ("lxc.console.logfile", "/home/ana/.bashrc"),
            ("lxc.log.file", "/home/ana/.bashrc"),
            ("lxc.rootfs.path", "/"),
            ("lxc.seccomp.profile", "/tmp/x"),
            ("lxc.environment", "SECRET"),
            ("lxc.initx.cmd", "x"),
            ("lxc.cgroup.dir", "elsewhere"),
            ("lxc.cgroup.dir.container", "elsewhere"),
            ("lxc.cgroup.relative", "1"),
        ] {
            assert_eq!(taken(key, value, dir), None, "{key} = {value}");
        }
    }

    #[test]
    fn what_was_in_the_configuration_is_not_the_templates() {
        let before = "lxc.hook.pre-start = /own\nlxc.tty.max = 4\n";
        let after =
            format!("# new\n{before}lxc.hook.pre-start = /own\nlxc.arch = x86_64\nlxc.prlimit.nofile = 99\n");
        let mut config = text::Builder::new(&[], before);
        let limits = Limits::of("lxc.prlimit.nofile = 10\n", Path::new("default.conf")).unwrap();
        let notes = take(before, &after, Path::new("/"), &limits, &mut config).unwrap();
        assert_eq!(
            notes,
            [
                "the template's line lxc.hook.pre-start = /own is not taken",
                "the template's line lxc.prlimit.nofile = 99 is not taken: your configuration limits it"
            ]
        );
        let lines: Vec<_> =
            config.text().lines().filter(|line| line.starts_with("lxc")).map(str::to_owned).collect();
        assert_eq!(lines, ["lxc.hook.pre-start = /own", "lxc.tty.max = 4", "lxc.arch = x86_64"]);
    }

    #[test]
    fn programs_of_administrators_are_found_and_the_callers_secrets_stay_the_callers() {
        let own = [
            ("PATH", "/home/ana/bin"),
            ("TMPDIR", "/home/ana/tmp"),
            ("HOME", "/home/ana"),
            ("TOKEN", "secret"),
            ("SSH_AUTH_SOCK", "/tmp/ssh"),
            ("PATHS", "1"),
            ("LC_TIME", "C"),
            ("A", "1"),
        ];
        let own = own.map(|(name, value)| (name.into(), value.into()));
        let all = environment(own.into_iter(), &[("A".into(), "2".into())]);
        let path = format!("PATH=/home/ana/bin:{ADMINISTRATORS}");
        assert_eq!(all, ["A=2", "HOME=/home/ana", "LC_TIME=C", &path]);
        assert_eq!(environment(std::iter::empty(), &[]), [format!("PATH={ADMINISTRATORS}").as_str()]);
    }
}
