//! The attaching process: a fresh exec of the monitor's program that runs one program in the container.
//!
//! It stays outside itself. It clones the joining process into the container's cgroup, which joins the namespaces, clones
//! the process that becomes the program, as a child of the attaching process, and ends.
//!
//! All of them are not dumpable from before the join until exec, so that nobody in the container can look into them; every
//! fd of the host's is closed before the program is looked up; the working directory is found inside, by no link of /proc.

use std::convert::Infallible;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sys::path::OpenFlags;
use sys::process::{self, Cloned, Exec, Exit, flags};
use sys::{Errno, cred, memfd, namespace, path, signal, socket, tty};
use types::Signal;

use super::AttachRequest;
use crate::command::{self, AttachSignal, Reply};
use crate::error::{Doing, Error, Kind, Result};
use crate::security::Confinement;

/// What the monitor hands to the attaching process, beside fds.
#[derive(Debug, Serialize, Deserialize)]
pub struct Entry {
    /// Namespaces that the container has, as flags.
    pub namespaces: u64,
    /// What programs of the container cannot do.
    pub confinement: Confinement,
    /// Environment that the configuration gives to programs.
    pub environment: Vec<String>,
    /// setgroups(2) is denied in the container.
    pub keep_groups: bool,
    /// The container shares its PID namespace with others, whom its programs are not to signal.
    pub scoped_signals: bool,
}

/// The fds, in the order in which the monitor's arguments name them.
#[derive(Debug)]
pub struct Fds {
    /// The connection to the asking command.
    pub connection: OwnedFd,
    /// Standard input, output, error.
    pub streams: [OwnedFd; 3],
    /// The caller's working directory.
    pub cwd: OwnedFd,
    /// The [`AttachRequest`], sealed.
    pub request: OwnedFd,
    /// The [`Entry`], sealed.
    pub entry: OwnedFd,
    /// A pidfd of the container's init.
    pub init: OwnedFd,
    /// The root of the container's devpts.
    pub devpts: Option<OwnedFd>,
    /// The directory of the payload cgroup of v2.
    pub unified: Option<OwnedFd>,
    /// The files by which a process enters the payload cgroups of v1.
    pub cgroups_v1: Vec<OwnedFd>,
}

/// What the program's process says when only exec is left.
const READY: &[u8] = b"ready";
/// What it is answered when the asking command may know.
const GO: &[u8] = b"go";

/// Runs the program and reports to the connection. Returns the status of the process.
pub fn run(fds: &Fds) -> i32 {
    let told = match start(fds) {
        Ok(child) => follow(fds, &child),
        Err(failure) => Err(failure),
    };
    match told {
        Ok(status) => {
            let _gone = command::send(fds.connection.as_fd(), &Reply::Exited(status), &[]);
            0
        }
        Err(failure) => {
            let _gone = command::send(fds.connection.as_fd(), &Reply::Failed(failure), &[]);
            1
        }
    }
}

fn read<T: serde::de::DeserializeOwned>(fd: &OwnedFd) -> Result<T> {
    let copy = fd.try_clone().map_err(crate::place::from_io)?;
    let bytes = memfd::read_sealed(copy)?;
    postcard::from_bytes(&bytes)
        .map_err(|_| Error::new(Kind::Build, "the request makes no sense to this build"))
}

/// Starts the program, and returns its pidfd.
fn start(fds: &Fds) -> Result<OwnedFd> {
    let request: AttachRequest = read(&fds.request)?;
    let entry: Entry = read(&fds.entry)?;
    process::set_dumpable(false)?;
    join_own_keyring();
    let kinds =
        if request.namespaces == 0 { entry.namespaces } else { request.namespaces & entry.namespaces };
    // The caller's directory by name, to be looked for inside; joining the mount namespace leaves it.
    path::change_dir(fds.cwd.as_fd())?;
    let outside = Outside { cwd: std::env::current_dir().ok(), proc: entry.confinement.host_proc()? };
    match clone_program(fds, kinds)? {
        Side::Program { channel, door } => {
            let door = door.as_ref().map(AsFd::as_fd);
            let Err(failure) = become_program(fds, &request, &entry, kinds, &outside, door, channel.as_fd());
            let _gone = socket::send(channel.as_fd(), &bytes_of(&failure), &[]);
            process::exit_now(1)
        }
        Side::Attaching { program, channel } => match accompany(fds, channel.as_fd()) {
            Ok(()) => Ok(program),
            Err(failure) => {
                let _dead = process::send_signal(program.as_fd(), Signal::KILL);
                process::wait(program.as_fd())?;
                Err(failure)
            }
        },
    }
}

/// What has been found out before the container was joined.
struct Outside {
    /// The caller's working directory.
    cwd: Option<PathBuf>,
    /// The host's procfs, where it is needed.
    proc: Option<OwnedFd>,
}

/// Which process this is, once that of the program has been made, with its end of the channel between the two.
enum Side {
    /// The one outside, which waits for the program.
    Attaching { program: OwnedFd, channel: OwnedFd },
    /// The one inside, which becomes the program. By `door` it has to enter the cgroup of v2, if it is not in it.
    Program { channel: OwnedFd, door: Option<OwnedFd> },
}

/// Makes the program's process: in the container's namespaces, and in its cgroup of v2 if possible.
///
/// A process that is cloned into a cgroup of v2 is in it at once, and one that moves itself there waits for a grace period
/// of RCU, 5 to 20 ms. Only the joining process can be cloned so, since inside a cgroup namespace the kernel lets nobody
/// in from outside. Where this fails (a filter forbids clone3, or the cgroup has all the processes that it may have) the
/// program's process moves itself, which no limit forbids.
fn clone_program(fds: &Fds, kinds: u64) -> Result<Side> {
    let Some(payload) = &fds.unified else { return clone_joined(fds, kinds, None) };
    let leaf;
    let mut group = payload.as_fd();
    let mut cloned = clone_joined(fds, kinds, Some(group));
    if cloned.as_ref().is_err_and(|e| e.errno() == Some(Errno::EBUSY)) {
        leaf = open_leaf(group).doing("making a cgroup for the program")?;
        group = leaf.as_fd();
        cloned = clone_joined(fds, kinds, Some(group));
    }
    cloned.or_else(|_| {
        let door = path::open_write_at(group, Path::new("cgroup.procs"))?;
        match clone_joined(fds, kinds, None)? {
            Side::Program { channel, .. } => Ok(Side::Program { channel, door: Some(door) }),
            attaching => Ok(attaching),
        }
    })
}

/// Opens the group for programs below a payload group that takes none itself, since its own init has enabled controllers
/// for the groups below (cgroups(7), "no internal processes"). LXC's has the same name.
fn open_leaf(payload: BorrowedFd<'_>) -> sys::Result<OwnedFd> {
    let name = ".lxc";
    match path::make_dir(payload, name.as_ref(), 0o755) {
        Err(e) if e.errno() != Errno::EEXIST => Err(e),
        _ => path::open_dir_at(payload, Path::new(name)),
    }
}

/// Clones the joining process, into a cgroup if one is given, which clones that of the program and ends.
fn clone_joined(fds: &Fds, kinds: u64, group: Option<BorrowedFd<'_>>) -> Result<Side> {
    let (ours, theirs) = socket::pair()?;
    let (tell, told) = socket::pair()?;
    let cloned = process::clone(0, group).doing("making the process that joins the container")?;
    if let Cloned::Parent { pidfd: joining, .. } = cloned {
        drop((theirs, tell));
        let mut told = socket::receive(told.as_fd(), 64 * 1024)?;
        process::wait(joining.as_fd())?;
        let program = told.fds.pop().ok_or_else(|| failure(&told.bytes))?;
        return Ok(Side::Attaching { program, channel: ours });
    }
    drop((ours, told));
    let sent = match join_and_fork(fds, kinds) {
        Ok(Cloned::Child) => return Ok(Side::Program { channel: theirs, door: None }),
        Ok(Cloned::Parent { pidfd, .. }) => socket::send(tell.as_fd(), b"joined", &[pidfd.as_fd()]),
        Err(failure) => socket::send(tell.as_fd(), &bytes_of(&failure), &[]),
    };
    process::exit_now(i32::from(sent.is_err()))
}

/// The joining process: moves into the namespaces and forks the process of the program there.
fn join_and_fork(fds: &Fds, kinds: u64) -> Result<Cloned> {
    // All in one call: joining some of them first would take the right to join the others.
    namespace::join(fds.init.as_fd(), kinds).doing("joining the container's namespaces")?;
    process::fork_sibling().doing("making the process")
}

/// Leaves the session keyring. The monitor has left the user's already; this one is the program's alone where the quota
/// of keys allows it.
fn join_own_keyring() {
    if let Err(e) = sys::keyring::join_new_session() {
        log::info!("no session keyring of its own: {e}");
    }
}

/// Passes the child's terminal to the asking command when the child is ready, and sees it exec.
fn accompany(fds: &Fds, child: BorrowedFd<'_>) -> Result<()> {
    let ready = socket::receive(child, 64 * 1024)?;
    if ready.bytes != READY {
        return Err(failure(&ready.bytes));
    }
    let terminal: Vec<BorrowedFd<'_>> = ready.fds.iter().map(AsFd::as_fd).collect();
    socket::send(child, GO, &[])?;
    let last = socket::receive(child, 64 * 1024)?;
    if !last.bytes.is_empty() {
        return Err(failure(&last.bytes));
    }
    command::send(fds.connection.as_fd(), &Reply::Started, &terminal)
}

fn bytes_of(failure: &Error) -> Vec<u8> {
    postcard::to_stdvec(failure).unwrap_or_default()
}

fn failure(bytes: &[u8]) -> Error {
    postcard::from_bytes(bytes)
        .unwrap_or_else(|_| Error::new(Kind::Died, "the process died before it was ready"))
}

/// The child: in the container's cgroups of v1, by files that the monitor opened when it still could, and in that of v2 by
/// `door` where it has not been cloned into it; then a member of the container in every way, then the program.
fn become_program(
    fds: &Fds,
    request: &AttachRequest,
    entry: &Entry,
    kinds: u64,
    outside: &Outside,
    door: Option<BorrowedFd<'_>>,
    parent: BorrowedFd<'_>,
) -> Result<Infallible> {
    for file in fds.cgroups_v1.iter().map(AsFd::as_fd).chain(door) {
        crate::cgroups::enter_by(file)?;
    }
    if kinds & flags::NEWUSER != 0 {
        cred::become_user(0, 0, &[], entry.keep_groups)?;
        stay_closed()?;
    }
    process::new_session()?;
    let pair = terminal(fds, request)?;
    streams(fds, request, pair.as_ref())?;
    let master: Vec<BorrowedFd<'_>> = pair.iter().map(|p| p.master.as_fd()).collect();
    let user = User::of(request);
    go_inside(request, &user, outside.cwd.as_deref())?;
    let environment = [&request.environment[..], &entry.environment[..]].concat();
    let argv = if request.argv.is_empty() { vec![user.shell.clone()] } else { request.argv.clone() };
    let programs = programs(&argv[0], &environment);
    let shown = if request.login && request.argv.is_empty() {
        format!("-{}", argv[0].rsplit('/').next().unwrap_or("sh"))
    } else {
        argv[0].clone()
    };
    let exec = Exec::new(&[vec![shown], argv[1..].to_vec()].concat(), &environment)?;
    if entry.scoped_signals {
        sys::landlock::keep_signals_inside().doing("keeping signals in the container")?;
    }
    entry.confinement.limit_resources()?;
    entry.confinement.close_doors(request.elevated)?;
    entry.confinement.put_on_profile(outside.proc.as_ref().map(AsFd::as_fd), request.elevated)?;
    if request.uid != 0 || request.gid != 0 || !request.groups.is_empty() {
        cred::become_user(request.uid, request.gid, &request.groups, entry.keep_groups)
            .doing_with(|| format!("becoming user {} and group {}", request.uid, request.gid))?;
        stay_closed()?;
    } else if !request.elevated {
        entry.confinement.limit_own_capabilities()?;
    }
    socket::send(parent, READY, &master)?;
    if socket::receive(parent, 16)?.bytes != GO {
        return Err(Error::new(Kind::Died, "the attaching process died"));
    }
    signal::reset_all()?;
    drop(pair);
    process::close_all_but(&[parent])?;
    Err(run_first(&exec, &programs, &argv[0]))
}

/// Stays not dumpable behind a change of ids, for which the kernel takes the value of `fs.suid_dumpable` (proc_sys_fs(5)).
fn stay_closed() -> Result<()> {
    Ok(process::set_dumpable(false)?)
}

/// Makes a pseudo-terminal in the container's own devpts when a stream is a terminal.
fn terminal(fds: &Fds, request: &AttachRequest) -> Result<Option<tty::Pair>> {
    if !request.terminals.contains(&true) {
        return Ok(None);
    }
    let Some(devpts) = &fds.devpts else {
        return Err(Error::new(
            Kind::Usage,
            "the container has no devpts for a terminal; redirect input and output",
        ));
    };
    let pair = tty::open_pair(devpts.as_fd()).doing("making a terminal in the container")?;
    if let Some((rows, columns)) = request.size {
        tty::set_size(pair.master.as_fd(), tty::Size { rows, columns })?;
    }
    tty::make_controlling(pair.slave.as_fd())?;
    Ok(Some(pair))
}

fn streams(fds: &Fds, request: &AttachRequest, pair: Option<&tty::Pair>) -> Result<()> {
    for (target, (stream, terminal)) in fds.streams.iter().zip(request.terminals).enumerate() {
        let source = match pair {
            Some(pair) if terminal => pair.slave.as_fd(),
            _ => stream.as_fd(),
        };
        process::place_at(source, target as i32)?;
    }
    Ok(())
}

/// A user as the container's own passwd file has it.
#[derive(Debug)]
struct User {
    home: String,
    shell: String,
}

impl User {
    /// Looks the user up in the container's /etc/passwd. The file is the container's: it is read with a cap and only
    /// if it is a regular file, and no library of the container is loaded for it. Nobody but a login and a request without
    /// a program needs it, and it may lie on a file system of FUSE that never answers.
    fn of(request: &AttachRequest) -> Self {
        let fallback = Self { home: "/".to_owned(), shell: "/bin/sh".to_owned() };
        if !request.login && !request.argv.is_empty() {
            return fallback;
        }
        let Ok(root) = path::open_dir(Path::new("/")) else { return fallback };
        // Not blocking: it may be a FIFO, which would wait for a writer for ever.
        let flags = OpenFlags::RDONLY | OpenFlags::NONBLOCK | OpenFlags::NOCTTY;
        let found = path::open_in(root.as_fd(), Path::new("etc/passwd"), path::Links::InRoot, flags)
            .ok()
            .filter(|fd| path::is_regular(fd.as_fd()).unwrap_or(false))
            .and_then(|fd| path::read_all(fd, 1 << 20).ok());
        let text = String::from_utf8_lossy(found.as_deref().unwrap_or_default()).into_owned();
        let entry = text
            .lines()
            .map(|line| line.split(':').collect::<Vec<_>>())
            .find(|fields| fields.len() == 7 && fields[2].parse() == Ok(request.uid));
        match entry {
            Some(fields) => Self {
                home: Some(fields[5]).filter(|h| !h.is_empty()).unwrap_or("/").to_owned(),
                shell: Some(fields[6]).filter(|s| !s.is_empty()).unwrap_or("/bin/sh").to_owned(),
            },
            None => fallback,
        }
    }
}

fn go_inside(request: &AttachRequest, user: &User, cwd: Option<&Path>) -> Result<()> {
    let wanted = match (&request.cwd, request.login) {
        (Some(asked), _) => {
            return path::change_dir_inside(Path::new(asked)).doing_with(|| format!("entering {asked}"));
        }
        (None, true) => Path::new(&user.home),
        (None, false) => cwd.unwrap_or(Path::new("/")),
    };
    // LXC: stays in / when the caller's directory does not exist inside.
    Ok(path::change_dir_inside(wanted).or_else(|_| path::change_dir_inside(Path::new("/")))?)
}

/// Lists where a program may be, by the PATH that it will have.
fn programs(name: &str, environment: &[String]) -> Vec<std::path::PathBuf> {
    if name.contains('/') {
        return vec![name.into()];
    }
    let path = environment.iter().rev().find_map(|v| v.strip_prefix("PATH="));
    let path = path.unwrap_or("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    path.split(':').map(|dir| Path::new(dir).join(name)).collect()
}

/// Executes the first candidate that exists. Says ENOENT only if none does.
fn run_first(exec: &Exec, programs: &[std::path::PathBuf], name: &str) -> Error {
    let mut kind = Kind::ProgramMissing;
    for program in programs {
        let failed = exec.path(program);
        if !matches!(failed.errno(), sys::Errno::ENOENT | sys::Errno::ENOTDIR) {
            kind = Kind::ProgramNotExecutable;
            return Error::from(failed).of_kind(kind).doing(format!("running {name}"));
        }
    }
    Error::new(kind, format!("{name}: no such program in the container"))
}

/// Waits for the program while signals from the asking command are passed on. When that command goes away the program
/// gets SIGHUP, as from a terminal that closes.
fn follow(fds: &Fds, child: &OwnedFd) -> Result<i32> {
    let connection = fds.connection.as_fd();
    let mut connected = true;
    loop {
        let mut watched = vec![(child.as_fd(), sys::event::Ready::READ)];
        if connected {
            watched.push((connection, sys::event::Ready::READ));
        }
        let ready = sys::event::wait(&watched, None)?;
        if ready[0].read {
            return process::wait(child.as_fd()).map(Exit::shell_status).map_err(Error::from);
        }
        if ready.get(1).is_some_and(|r| r.read) {
            connected = pass_signal(connection, child.as_fd());
        }
    }
}

fn pass_signal(connection: BorrowedFd<'_>, child: BorrowedFd<'_>) -> bool {
    let asked = command::receive::<AttachSignal>(connection);
    let signal = match asked {
        Ok(Some((AttachSignal::Send(number), _))) => Signal::new(number).ok(),
        _ => Some(Signal::HUP),
    };
    if let Some(signal) = signal {
        let _ended = process::send_signal(child, signal);
    }
    matches!(asked, Ok(Some(_)))
}
