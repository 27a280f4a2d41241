//! The files that show a container its own limits: from inside, a superblock and its mounts; from outside, the process that
//! serves them (`bryo-lxcfs`, see [`types::Serve`]).
//!
//! The kernel takes a device for FUSE only from the user namespace in which it was opened. So the child opens it, as root of the
//! container, makes the superblock and sends the device up; the monitor hands it on, and keeps it for the next process. Whatever
//! goes wrong, the container starts with the kernel's files.

use std::cell::{Cell, Ref, RefCell};
use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sys::mount::{self, Depth};
use sys::path::{self, Links};
use sys::process::{Cloned, Exit};
use sys::{Errno, event, process, socket};
use types::{Serve, Served};

use crate::cgroups::{Cgroups, Payload};
use crate::error::{Doing, Error, Kind, Result};
use crate::host::Caller;
use crate::place::Place;
use crate::plan::{LxcfsPlan, lxcfs_directory};

/// The name of the command socket in its directory.
const SOCKET: &str = "command";

/// How long another monitor's word with the process, and the process's own, may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long it may take to notice that a container is gone. A mount namespace that somebody holds keeps the superblock.
const NOTICED: Duration = Duration::from_secs(2);

/// How long it is tried to have another process serve in the place of one that has died.
const GIVEN_UP: Duration = Duration::from_secs(10);

/// The longest answer.
const ANSWER: usize = 16 << 10;

/// A superblock, made by the child.
#[derive(Debug)]
pub(crate) struct Superblock {
    mount: OwnedFd,
    device: OwnedFd,
}

impl Superblock {
    /// Makes it, as root of the container.
    pub(crate) fn new() -> Result<Self> {
        let device = sys::fuse::open()?;
        let mount = sys::fuse::new_superblock(device.as_fd(), "lxcfs")?;
        Ok(Self { mount, device })
    }

    /// Returns the device, to be sent up.
    pub(crate) fn device(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }

    /// Puts the files over those below `root` that are there. A file that the kernel has not, the container has not either, and what
    /// its configuration has put over one stays.
    ///
    /// # Errors
    /// Nobody serves the files; those before are in place then.
    pub(crate) fn cover(self, root: BorrowedFd<'_>, files: &[String]) -> Result<()> {
        let kernels: Vec<u64> = ["proc", "sys"].iter().filter_map(|of| device_of(root, of)).collect();
        // With a copy here the superblock would wait for an answer for ever when nobody else has one.
        drop(self.device);
        for file in files {
            let doing = || format!("mounting /{file}");
            let place = match path::take_in(root, Path::new(file), Links::Refuse) {
                Err(e) if e.errno() == Errno::ENOENT => continue,
                place => place.doing_with(doing)?,
            };
            if !kernels.contains(&path::status(place.as_fd()).doing_with(doing)?.st_dev) {
                continue;
            }
            let mount = mount::copy(self.mount.as_fd(), Path::new(file), Depth::One).doing_with(doing)?;
            mount::attach(mount.as_fd(), place.as_fd()).doing_with(doing)?;
        }
        Ok(())
    }
}

/// Returns which file system a directory is of.
fn device_of(root: BorrowedFd<'_>, directory: &str) -> Option<u64> {
    let opened = path::take_in(root, Path::new(directory), Links::Refuse).ok()?;
    path::status(opened.as_fd()).ok().map(|found| found.st_dev)
}

/// Says that a container has no files of its own limits.
pub(crate) fn missing(why: &Error) -> String {
    format!("/proc shows the host's memory and processors: {why}")
}

/// The cgroups of a container that is served, and of its monitor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Groups<'a> {
    /// The container's.
    pub(crate) payload: &'a Payload,
    /// The monitor's.
    pub(crate) cgroups: &'a Cgroups,
}

/// The process that serves, or is about to: spoken to before there is a superblock, so that it begins while the container does.
#[derive(Debug)]
pub(crate) struct Summoned(OwnedFd);

impl Summoned {
    /// Connects to the process, which is started if there is none; nobody waits for its first steps.
    ///
    /// # Errors
    /// It cannot be started, or another start does not let go of its directory.
    pub(crate) fn summon(plan: &LxcfsPlan, cgroups: &Cgroups) -> Result<Self> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match Self::try_summon(plan, cgroups)? {
                Some(summoned) => return Ok(summoned),
                None if Instant::now() >= deadline => {
                    let busy = Error::new(Kind::Busy, "another start does not let go of it");
                    return Err(busy).doing_with(|| format!("taking {}", plan.directory.display()));
                }
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        }
    }

    /// Does so unless somebody else has the lock. Who is connected, the process does not leave: it is had no longer than that.
    fn try_summon(plan: &LxcfsPlan, cgroups: &Cgroups) -> Result<Option<Self>> {
        let Some((directory, _lock)) = try_lock(&plan.directory)? else { return Ok(None) };
        connect(plan, directory.as_fd(), cgroups).map(|connection| Some(Self(connection)))
    }

    /// Says that no superblock will come, and removes the cgroup of a process that ends for that.
    pub(crate) fn end(self, cgroups: &Cgroups) {
        let told = socket::end_sending(self.0.as_fd()).is_ok();
        if let Some(last) = told.then(|| last_word(self.0.as_fd())).flatten() {
            last.wait(cgroups);
        }
    }
}

/// A container that is served. Its device stays with the monitor as well: so it outlives the process that serves, and what is
/// asked meanwhile waits for the next one.
#[derive(Debug)]
pub struct Serving {
    plan: LxcfsPlan,
    born: u64,
    ahead: i64,
    /// The files that there are.
    pub(crate) files: Vec<String>,
    device: RefCell<Option<OwnedFd>>,
    state: RefCell<State>,
    /// The process has said that it serves nobody any more.
    last: RefCell<Option<Last>>,
    /// When the process that serves was last replaced, and how long that waited.
    renewed: Cell<(Instant, Duration)>,
    /// Until when another one must serve.
    deadline: Cell<Option<Instant>>,
}

/// How it stands with the process that serves.
#[derive(Debug, Default)]
enum State {
    /// It serves, and says by the connection when the superblock is gone.
    Serves(OwnedFd),
    /// It has been asked to, and has until then to answer.
    Asked(OwnedFd, Instant),
    /// It has died. Then another one is asked.
    Lacking(Instant),
    /// The superblock is gone, or nobody can be had.
    #[default]
    Over,
}

impl Serving {
    /// Hands the device of a superblock that process `init` has made to the process that serves.
    ///
    /// # Errors
    /// It does not answer, nor does one that is started in its place.
    pub(crate) fn begin(
        plan: &LxcfsPlan,
        summoned: Summoned,
        device: OwnedFd,
        init: i32,
        groups: Groups<'_>,
    ) -> Result<Self> {
        // It comes from a process that is root of the container by now.
        if !sys::fuse::is_device(device.as_fd()) {
            summoned.end(groups.cgroups);
            return Err(Error::new(Kind::Build, "what the container's init sent is no device of FUSE"));
        }
        let mut serving = Self {
            plan: plan.clone(),
            born: process::start_time(init).unwrap_or_else(|| in_ticks(sys::clock::since_boot())),
            ahead: ahead(init),
            files: Vec::new(),
            device: RefCell::default(),
            state: RefCell::default(),
            last: RefCell::default(),
            renewed: Cell::new((Instant::now(), Duration::ZERO)),
            deadline: Cell::default(),
        };
        let begun = |summoned: Summoned, again: bool| {
            serving.ask(&summoned, device.as_fd(), again, groups.payload)?;
            answer(summoned.0.as_fd(), PATIENCE).map(|files| (files, summoned.0))
        };
        let (files, connection) = match begun(summoned, false) {
            Err(e) if e.kind() == Kind::Died => begun(Summoned::summon(plan, groups.cgroups)?, true)?,
            begun => begun?,
        };
        serving.files = files;
        serving.device.replace(Some(device));
        serving.state.replace(State::Serves(connection));
        Ok(serving)
    }

    /// Asks a process to serve the superblock.
    fn ask(&self, summoned: &Summoned, device: BorrowedFd<'_>, again: bool, payload: &Payload) -> Result<()> {
        let directories = payload.directories_to_view()?;
        let controllers = directories.iter().map(|directory| directory.controllers.clone()).collect();
        let serve = Serve { born: self.born, ahead: self.ahead, again, directories: controllers };
        let fds: Vec<BorrowedFd<'_>> =
            [device].into_iter().chain(directories.iter().map(|directory| directory.dir.as_fd())).collect();
        socket::send_now(summoned.0.as_fd(), serve.text().as_bytes(), &fds)
            .map_err(|e| Error::from(e).of_kind(Kind::Died))
    }

    /// Returns the connection, to be waited for.
    pub(crate) fn connection(&self) -> Option<Ref<'_, OwnedFd>> {
        Ref::filter_map(self.state.borrow(), |state| match state {
            State::Serves(connection) | State::Asked(connection, _) => Some(connection),
            State::Lacking(_) | State::Over => None,
        })
        .ok()
    }

    /// Returns how long to wait for the connection before [`Serving::go_on`].
    pub(crate) fn patience(&self) -> Option<Duration> {
        match *self.state.borrow() {
            State::Asked(_, until) | State::Lacking(until) => {
                Some(until.saturating_duration_since(Instant::now()))
            }
            State::Serves(_) | State::Over => None,
        }
    }

    /// Hears what comes by the connection: that the superblock is gone, that it is served again, or without a word that the process
    /// has died, which then is replaced.
    pub(crate) fn hear(&self, groups: Groups<'_>) {
        match self.state.take() {
            State::Serves(connection) => match socket::receive(connection.as_fd(), ANSWER) {
                Ok(word) if !word.bytes.is_empty() => {
                    self.device.take();
                    self.last.replace(Last::said(word));
                }
                _ => self.lack(groups),
            },
            State::Asked(connection, _) => match answer(connection.as_fd(), Duration::ZERO) {
                Ok(_files) => {
                    log::warn!("bryo-lxcfs has died, and another one serves");
                    self.deadline.take();
                    self.state.replace(State::Serves(connection));
                }
                Err(e) => self.try_later(&e),
            },
            state => drop(self.state.replace(state)),
        }
    }

    /// Does what its time has come for: asks another process to serve. Nobody waits here, since the monitor has more to do: who
    /// does not answer in time has not been asked well.
    pub(crate) fn go_on(&self, groups: Groups<'_>) {
        if self.patience() != Some(Duration::ZERO) {
            return;
        }
        match self.state.take() {
            State::Lacking(_) => match self.ask_another(groups) {
                Ok(Some(connection)) => {
                    drop(self.state.replace(State::Asked(connection, Instant::now() + PATIENCE)));
                }
                Ok(None) => drop(self.state.replace(State::Lacking(Instant::now() + self.pause()))),
                Err(e) => self.try_later(&e),
            },
            State::Asked(..) => self.try_later(&unanswered(PATIENCE)),
            state => drop(self.state.replace(state)),
        }
    }

    /// Has nobody serve any more, since the container's end has begun: a killed process whose question somebody has read and will not
    /// answer ends only when the last device is closed.
    pub(crate) fn let_go(&self) {
        self.device.take();
        match self.state.take() {
            State::Serves(connection) => {
                let _gone_anyway = socket::end_sending(connection.as_fd());
                self.state.replace(State::Serves(connection));
            }
            State::Asked(..) | State::Lacking(_) | State::Over => {}
        }
    }

    /// The process has died: another one is to serve, if anybody may ask it.
    fn lack(&self, groups: Groups<'_>) {
        if self.device.borrow().is_none() {
            return;
        }
        let now = Instant::now();
        self.deadline.set(Some(now + GIVEN_UP));
        self.state.replace(State::Lacking(now + self.pause()));
        self.go_on(groups);
    }

    fn ask_another(&self, groups: Groups<'_>) -> Result<Option<OwnedFd>> {
        let device = self.device.borrow();
        let Some(device) = &*device else { return Err(Error::new(Kind::Died, "the superblock is gone")) };
        let Some(summoned) = Summoned::try_summon(&self.plan, groups.cgroups)? else { return Ok(None) };
        self.ask(&summoned, device.as_fd(), true, groups.payload)?;
        Ok(Some(summoned.0))
    }

    /// It may have died as the one before. One that cannot live at all is given up.
    fn try_later(&self, why: &Error) {
        if self.deadline.get().is_some_and(|deadline| Instant::now() < deadline) {
            log::info!("bryo-lxcfs is tried once more: {why}");
            self.state.replace(State::Lacking(Instant::now() + self.pause()));
            return;
        }
        // The device is closed: who reads gets an error in place of no answer.
        log::error!("bryo-lxcfs has died, and /proc/meminfo and its kin cannot be read: {why}");
        self.device.take();
    }

    /// Returns how long to wait before the next try: the longer, the more often one was needed.
    fn pause(&self) -> Duration {
        const RARE: Duration = Duration::from_secs(1);
        const FIRST: Duration = Duration::from_millis(10);
        let (last, waited) = self.renewed.get();
        let pause = if last.elapsed() > RARE { Duration::ZERO } else { (waited * 2).clamp(FIRST, RARE / 2) };
        self.renewed.set((Instant::now(), pause));
        pause
    }

    /// Waits until the process has noticed that the container is gone, and removes its cgroup if that was the last one.
    pub(crate) fn end(&self, cgroups: &Cgroups) {
        self.let_go();
        if let State::Serves(connection) = self.state.take() {
            self.last.replace(last_word(connection.as_fd()));
        }
        if let Some(last) = self.last.take() {
            last.wait(cgroups);
        }
    }
}

/// The word of a process that it serves nobody any more and ends, with a pidfd of it.
#[derive(Debug)]
struct Last(Option<OwnedFd>);

impl Last {
    fn said(word: socket::Message) -> Option<Self> {
        (word.bytes == types::LAST.as_bytes()).then(|| Self(word.fds.into_iter().next()))
    }

    /// Waits for the process's end, and removes its cgroup unless there is another one's process.
    fn wait(&self, cgroups: &Cgroups) {
        cgroups.await_end_of_lxcfs(self.0.as_ref().map(AsFd::as_fd));
    }
}

/// Waits for the process's last word to this monitor; none where it goes on.
fn last_word(connection: BorrowedFd<'_>) -> Option<Last> {
    let is_said = event::readable(connection, Some(NOTICED)).unwrap_or(false);
    is_said.then(|| socket::receive(connection, ANSWER).ok()).flatten().and_then(Last::said)
}

fn unanswered(patience: Duration) -> Error {
    Error::new(Kind::TimedOut, format!("no answer within {} seconds", patience.as_secs()))
}

fn answer(connection: BorrowedFd<'_>, patience: Duration) -> Result<Vec<String>> {
    if !event::readable(connection, Some(patience))? {
        return Err(unanswered(patience));
    }
    let message = socket::receive(connection, ANSWER)?;
    match String::from_utf8_lossy(&message.bytes).parse() {
        Ok(Served::Files(files)) => Ok(files),
        Ok(Served::Refused(why)) => Err(Error::new(Kind::Build, why)),
        Err(_) => Err(Error::new(Kind::Died, "it has ended")),
    }
}

/// Takes the lock on the directory, which is made where it is missing: who starts the process, connects to it, or ends as it,
/// does so alone. None where another has it.
fn try_lock(directory: &Path) -> Result<Option<(OwnedFd, OwnedFd)>> {
    let doing = || format!("taking {}", directory.display());
    let opened = open(directory).doing_with(doing)?;
    let lock = path::open_dir_at(opened.as_fd(), Path::new(".")).doing_with(doing)?;
    // The last process removes the directory with the lock on it.
    let is_had = path::try_lock(lock.as_fd())? && path::status(opened.as_fd())?.st_nlink > 0;
    Ok(is_had.then_some((opened, lock)))
}

/// Opens the directory, or makes it.
///
/// # Errors
/// It is another user's, or open to others: who connects there would be told what nobody else should know.
fn open(directory: &Path) -> Result<OwnedFd> {
    if let (Some(parent), Some(name)) = (directory.parent(), directory.file_name()) {
        let parent = path::open_dir(parent)?;
        match path::make_dir(parent.as_fd(), name, 0o700) {
            Err(e) if e.errno() != Errno::EEXIST => return Err(e.into()),
            _ => {}
        }
    }
    let opened = path::open_dir(directory)?;
    let found = path::status(opened.as_fd())?;
    if found.st_uid == sys::cred::real_uid().0 && found.st_mode & 0o077 == 0 {
        return Ok(opened);
    }
    Err(Error::new(Kind::Busy, "it is open to others, or belongs to somebody else"))
}

/// Connects, and starts the process if nobody listens. What is said before it listens waits for it.
fn connect(plan: &LxcfsPlan, directory: BorrowedFd<'_>, cgroups: &Cgroups) -> Result<OwnedFd> {
    match socket::connect_at_once(directory, SOCKET) {
        Err(e) if matches!(e.errno(), Errno::ENOENT | Errno::ECONNREFUSED) => {}
        connected => return Ok(connected?),
    }
    let listener = socket::listen_at(directory, SOCKET)?;
    start(plan, listener.as_fd(), cgroups).doing_with(|| format!("running {}", plan.program.display()))?;
    Ok(socket::connect_at_once(directory, SOCKET)?)
}

/// Starts the process, which becomes nobody's child: what is between ends at once, and the rest is done while the start goes on.
/// It holds the lock on the directory until it is in its place.
fn start(plan: &LxcfsPlan, listener: BorrowedFd<'_>, cgroups: &Cgroups) -> Result<()> {
    match process::fork()? {
        Cloned::Child => match process::fork() {
            Ok(Cloned::Child) => settle(plan, listener, cgroups),
            forked => process::exit_now(i32::from(forked.is_err())),
        },
        Cloned::Parent { pidfd, .. } => match process::wait(pidfd.as_fd())? {
            Exit::Code(0) => Ok(()),
            exit => Err(Error::new(Kind::Died, format!("it has ended: {exit:?}"))),
        },
    }
}

/// Goes into a cgroup of its own and becomes the program. Where it cannot go there, it stays with the monitor, and is gone before
/// that if it serves nobody else.
fn settle(plan: &LxcfsPlan, listener: BorrowedFd<'_>, cgroups: &Cgroups) -> ! {
    if !cgroups.enter_scope_of_lxcfs() {
        enter_group(cgroups);
    }
    let mut command = Command::new(&plan.program);
    command.arg("serve").arg(listener.as_raw_fd().to_string()).arg(&plan.directory);
    command.env_clear().current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // The monitor reads its signals, and so blocks them.
    let ready = sys::signal::reset_all().and_then(|()| process::keep_on_exec(listener));
    let _failed = ready.map(|()| command.exec());
    process::exit_now(127)
}

/// Moves the calling process into the cgroup of the one that shows containers their limits, or leaves it where it is.
fn enter_group(cgroups: &Cgroups) {
    // Who ends as the last one may remove the cgroup just now.
    const TRIES: u32 = 3;
    for _ in 0..TRIES {
        let Ok((group, entrance)) = cgroups.make_group_of_lxcfs() else { continue };
        // Into a cgroup of v2 a process is cloned: to move there takes a grace period of RCU.
        let cloned = group.clone_target().map(|target| process::clone(0, Some(target)));
        let entered = match cloned {
            Some(Ok(Cloned::Parent { .. })) => process::exit_now(0),
            Some(Ok(Cloned::Child)) => entrance.enter_v1(),
            Some(Err(_)) | None => entrance.enter(),
        };
        if entered.is_ok() {
            return;
        }
    }
}

/// Has the process that serves make way for another one: that of the program that is installed now, which the monitors start.
/// Tells whether there was one.
///
/// # Errors
/// The process takes no connection.
pub fn renew(lxcpath: &Path, caller: &Caller) -> Result<bool> {
    let runtime = crate::host::runtime_dir(caller);
    let mut found = false;
    for runtime in [runtime.as_deref(), None] {
        let Ok(directory) = path::open_dir(&lxcfs_directory(lxcpath, runtime)) else { continue };
        let connection = match socket::connect_at_once(directory.as_fd(), SOCKET) {
            Err(e) if matches!(e.errno(), Errno::ENOENT | Errno::ECONNREFUSED) => continue,
            connection => connection?,
        };
        socket::send_now(connection.as_fd(), types::MAKE_WAY.as_bytes(), &[])?;
        // The connection ends with the process.
        if !event::readable(connection.as_fd(), Some(PATIENCE))? {
            return Err(unanswered(PATIENCE));
        }
        found = true;
    }
    Ok(found)
}

/// Removes what a monitor or a process that were killed have left, wherever a container's start would look for it.
pub(crate) fn tidy_all(place: &Place, caller: &Caller) {
    let runtime = crate::host::runtime_dir(caller);
    for runtime in [runtime.as_deref(), None] {
        tidy(&lxcfs_directory(&place.lxcpath, runtime));
    }
}

/// Removes the directory if nobody serves by it.
pub(crate) fn tidy(directory: &Path) {
    let Ok(opened) = path::open_dir(directory) else { return };
    let Ok(lock) = path::open_dir_at(opened.as_fd(), Path::new(".")) else { return };
    if !path::try_lock(lock.as_fd()).unwrap_or(false) {
        return;
    }
    if let Err(e) = socket::connect_at_once(opened.as_fd(), SOCKET)
        && matches!(e.errno(), Errno::ECONNREFUSED | Errno::ENOENT)
    {
        let _none = path::remove_file(opened.as_fd(), OsStr::new(SOCKET));
        let _not_empty = std::fs::remove_dir(directory);
    }
}

/// Returns a time in the ticks that /proc counts: what is known of the start of an init that /proc does not show (hidepid), since it
/// has just been made.
fn in_ticks(time: Duration) -> u64 {
    u64::try_from(time.as_millis() / 10).unwrap_or(u64::MAX)
}

/// Returns how far a process's clock since the boot is ahead of this one's, in nanoseconds: in a container the monitor may have one
/// of its own, which its children inherit.
fn ahead(pid: i32) -> i64 {
    let offset =
        |process: &str| read_ahead(&std::fs::read_to_string(format!("/proc/{process}/timens_offsets")).ok()?);
    difference(offset(&pid.to_string()), offset("self"))
}

/// Of what is not shown no difference is known.
fn difference(of: Option<i64>, own: Option<i64>) -> i64 {
    of.zip(own).map_or(0, |(of, own)| of.saturating_sub(own))
}

/// Source: time_namespaces(7).
fn read_ahead(offsets: &str) -> Option<i64> {
    let mut words = offsets.lines().find_map(|line| line.strip_prefix("boottime"))?.split_ascii_whitespace();
    let (seconds, part) = (words.next()?.parse::<i64>().ok()?, words.next()?.parse::<i64>().ok()?);
    seconds.checked_mul(1_000_000_000)?.checked_add(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offset_of_a_clock_is_read() {
        assert_eq!(
            read_ahead("monotonic           1         0\nboottime          -2 500000000\n"),
            Some(-1_500_000_000)
        );
        assert_eq!(read_ahead("monotonic 0 0\nboottime 0 0\n"), Some(0));
        assert_eq!(
            [read_ahead(""), read_ahead("boottime x 0"), read_ahead("boottime 9223372036854775807 0")],
            [None; 3]
        );
    }

    #[test]
    fn a_clock_that_is_inherited_is_not_ahead_and_an_init_out_of_sight_has_just_begun() {
        assert_eq!([difference(Some(700), Some(700)), difference(Some(-300), Some(700))], [0, -1000]);
        assert_eq!([difference(None, Some(700)), difference(Some(5), None)], [0, 0]);
        assert_eq!(in_ticks(Duration::from_millis(123_456)), 12_345);
    }

    #[test]
    fn the_process_comes_with_its_last_word_alone() {
        let said = |word: &str| {
            let (monitor, process) = socket::pair().unwrap();
            let own = process::pidfd(process::own_pid()).unwrap();
            socket::send_now(process.as_fd(), word.as_bytes(), &[own.as_fd()]).unwrap();
            last_word(monitor.as_fd())
        };
        assert!(said(types::LAST).is_some_and(|last| last.0.is_some()));
        assert!(said(types::GONE).is_none());
    }

    #[test]
    fn a_directory_that_others_may_enter_is_not_used() {
        use std::os::unix::fs::PermissionsExt;
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("bryo-lxcfs");
        drop(try_lock(&directory).unwrap().unwrap());
        std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o711)).unwrap();
        assert!(try_lock(&directory).unwrap_err().to_string().contains("open to others"));
    }

    #[test]
    fn what_a_killed_process_left_is_removed_and_what_a_living_one_has_is_not() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("bryo-lxcfs");
        let (directory, lock) = try_lock(&path).unwrap().unwrap();
        let listener = socket::listen_at(directory.as_fd(), SOCKET).unwrap();
        tidy(&path);
        drop(lock);
        tidy(&path);
        assert!(path.join(SOCKET).exists());
        drop(listener);
        tidy(&path);
        assert!(!path.exists());
    }
}
