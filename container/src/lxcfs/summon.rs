//! The process that serves: who starts it, who speaks to it, who ends it where it hangs, and what it leaves.

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sys::path;
use sys::process::{self, Cloned, Exit};
use sys::{Errno, event, socket};
use types::Served;

use super::{NEXT, NOTICED, PATIENCE, TAKES_OVER};
use crate::cgroups::Cgroups;
use crate::error::{Doing, Error, Kind, Result};
use crate::host::Caller;
use crate::place::Place;
use crate::plan::{LxcfsPlan, lxcfs_directory};

/// The name of the command socket in its directory.
const SOCKET: &str = "command";

/// The name of the program, and of the process.
const NAME: &str = "bryo-lxcfs";

/// The longest answer.
pub(super) const ANSWER: usize = 16 << 10;

/// The process that serves, or is about to: spoken to before there is a superblock, so that it begins while the container does.
#[derive(Debug)]
pub(crate) struct Summoned {
    pub(super) connection: OwnedFd,
    /// How long that has waited for another start.
    pub(super) waited: Duration,
}

impl Summoned {
    /// Connects to the process for a start. See [`Summoned::summon`].
    pub(crate) fn for_start(plan: &LxcfsPlan, cgroups: &Cgroups) -> Result<Self> {
        Self::summon(plan, cgroups, Instant::now() + TAKES_OVER)
    }

    /// Connects to the process, which is started if there is none; nobody waits for its first steps.
    ///
    /// # Errors
    /// It cannot be started, or another start does not let go of its directory until then.
    pub(super) fn summon(plan: &LxcfsPlan, cgroups: &Cgroups, until: Instant) -> Result<Self> {
        let began = Instant::now();
        let (directory, _lock) = lock(&plan.directory, until)?;
        let waited = began.elapsed();
        let connection = connect(plan, directory.as_fd(), cgroups)?;
        Ok(Self { connection, waited })
    }

    /// Returns how long it has for its answer to a start, from when it is asked: what a start does between, such as its hooks, is not its
    /// time.
    pub(super) fn patience(&self) -> Duration {
        TAKES_OVER.saturating_sub(self.waited).max(NEXT)
    }

    /// Does so unless somebody else has the lock.
    pub(super) fn at_once(plan: &LxcfsPlan, cgroups: &Cgroups) -> Result<Self> {
        Self::summon(plan, cgroups, Instant::now())
    }

    /// Says that no superblock will come, and removes the cgroup of a process that ends for that.
    pub(crate) fn end(self, cgroups: &Cgroups) {
        let connection = self.connection.as_fd();
        let told = socket::end_sending(connection).is_ok();
        if let Some(LastWord::Said(Some(last))) = told.then(|| last_word(connection)) {
            last.wait(cgroups);
        }
    }
}

/// Takes the lock on the directory, which another start may hold until the user's systemd has given the process a scope. Who is connected,
/// the process does not leave: the lock is had no longer than that.
fn lock(directory: &Path, until: Instant) -> Result<(OwnedFd, OwnedFd)> {
    const OFTEN: Duration = Duration::from_millis(2);
    const RARELY: Duration = Duration::from_millis(50);
    let mut pause = OFTEN;
    loop {
        if let Some(locked) = try_lock(directory)? {
            return Ok(locked);
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let cause =
                "another start, which begins bryo-lxcfs, does not let go of it; try again in a moment";
            return Err(Error::new(Kind::Busy, cause).doing(format!("taking {}", directory.display())));
        }
        std::thread::sleep(pause.min(left));
        pause = (pause * 2).min(RARELY);
    }
}

/// The word of a process that it serves nobody any more and ends, with a pidfd of it.
#[derive(Debug)]
pub(super) struct Last(Option<OwnedFd>);

impl Last {
    pub(super) fn said(word: socket::Message) -> Option<Self> {
        (word.bytes == types::LAST.as_bytes()).then(|| Self(word.fds.into_iter().next()))
    }

    /// Waits for the process's end, and removes its cgroup unless there is another one's process.
    pub(super) fn wait(&self, cgroups: &Cgroups) {
        cgroups.await_end_of_lxcfs(self.0.as_ref().map(AsFd::as_fd));
    }
}

/// What a process says at last.
#[derive(Debug)]
pub(super) enum LastWord {
    /// The container is gone for it; and that it ends, if it does.
    Said(Option<Last>),
    /// Nothing, in time.
    Unsaid,
}

/// Waits for the process's last word to this monitor.
pub(super) fn last_word(connection: BorrowedFd<'_>) -> LastWord {
    while event::readable(connection, Some(NOTICED)).unwrap_or(false) {
        match socket::receive(connection, ANSWER) {
            // Nobody takes over any more.
            Ok(word) if word.bytes.starts_with(types::KEEP.as_bytes()) => {}
            word => return LastWord::Said(word.ok().and_then(Last::said)),
        }
    }
    LastWord::Unsaid
}

/// Has the process that serves by a directory go on, since it does not do what it is asked: it may be stopped. Where `is_done` does not
/// find within a moment that it has done it, it hangs, and is killed, and returned. It is known by `connection`, or by one that is made anew: a
/// monitor that has made the socket itself finds its own number at the first.
pub(super) fn end_hung(
    directory: &Path,
    connection: Option<BorrowedFd<'_>>,
    is_done: impl FnOnce(Duration) -> bool,
) -> Option<Last> {
    const MOMENT: Duration = Duration::from_secs(1);
    let hung = who_serves(directory, connection)?;
    // Gently at first: a thread that the kernel has wait for a reader, who waits for an answer, is not ended by SIGKILL.
    process::send_signal(hung.as_fd(), types::Signal::CONT).ok()?;
    if is_done(MOMENT) {
        log::warn!("bryo-lxcfs was stopped, and goes on");
        return None;
    }
    log::warn!("bryo-lxcfs does not answer, and is killed");
    process::send_signal(hung.as_fd(), types::Signal::KILL).ok()?;
    // Who comes next is not to find its socket.
    let _in_time = event::readable(hung.as_fd(), Some(MOMENT));
    Some(Last(Some(hung)))
}

/// Has the process that serves go on where it is stopped, and is none the wiser if it is not.
pub(super) fn have_go_on(directory: &Path, connection: BorrowedFd<'_>) {
    let serves = who_serves(directory, Some(connection));
    let _gone_anyway = serves.map(|process| process::send_signal(process.as_fd(), types::Signal::CONT));
}

/// Returns a pidfd of the process that serves by a directory.
fn who_serves(directory: &Path, connection: Option<BorrowedFd<'_>>) -> Option<OwnedFd> {
    let anew = || socket::connect_at_once(path::open_dir(directory).ok()?.as_fd(), SOCKET).ok();
    let end = |of: BorrowedFd<'_>| behind(of).or_else(|| hidden_behind(of));
    connection.and_then(end).or_else(|| end(anew()?.as_fd()))
}

/// Returns a pidfd of the process that serves, if it is the other end of a connection.
fn behind(connection: BorrowedFd<'_>) -> Option<OwnedFd> {
    let pid = socket::peer_pid(connection).ok()?;
    let pidfd = process::pidfd(pid).ok()?;
    // A number may be another's by now. The socket was listened on by the process that became this program.
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    (name.trim_end() == NAME).then_some(pidfd)
}

/// Returns it where /proc does not show its name (hidepid): whoever listened when the connection was made, but for this process. Before
/// Linux 6.5 none.
fn hidden_behind(connection: BorrowedFd<'_>) -> Option<OwnedFd> {
    let pid = socket::peer_pid(connection).ok()?;
    let is_hidden = std::fs::read(format!("/proc/{pid}/comm")).is_err() && pid != process::own_pid();
    let pidfd = is_hidden.then(|| socket::peer_pidfd(connection).ok())??;
    (!process::has_ended(pidfd.as_fd())).then_some(pidfd)
}

/// Does so to what serves by any directory where a container's start would look for it, if that keeps its init from its end.
pub(crate) fn end_hung_of(place: &Place, caller: &Caller, init: BorrowedFd<'_>) {
    for runtime in [crate::host::runtime_dir(caller).as_deref(), None] {
        end_hung(&lxcfs_directory(&place.lxcpath, runtime), None, |time| has_come(init, time));
    }
}

/// Tells whether there is something to be read, or a process has ended, within some time.
pub(super) fn has_come(fd: BorrowedFd<'_>, time: Duration) -> bool {
    event::readable(fd, Some(time)).unwrap_or(false)
}

pub(super) fn unanswered(patience: Duration) -> Error {
    Error::new(Kind::TimedOut, format!("no answer within {} seconds", patience.as_secs()))
}

pub(super) fn answer(connection: BorrowedFd<'_>, patience: Duration) -> Result<Vec<String>> {
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
    // The monitor reads its signals, and so blocks them. Who connects from now on finds this process at the other end.
    let ready = sys::signal::reset_all()
        .and_then(|()| socket::listen_as_self(listener))
        .and_then(|()| process::keep_on_exec(listener));
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

/// Has the process that serves make way for another one: that of the program that is installed now, which the monitors start. One that
/// does not answer is killed. Tells whether there was one.
///
/// # Errors
/// The process takes no connection.
pub fn renew(lxcpath: &Path, caller: &Caller) -> Result<bool> {
    let runtime = crate::host::runtime_dir(caller);
    let mut found = false;
    for runtime in [runtime.as_deref(), None] {
        let path = lxcfs_directory(lxcpath, runtime);
        let Ok(directory) = path::open_dir(&path) else { continue };
        let connection = match socket::connect_at_once(directory.as_fd(), SOCKET) {
            Err(e) if matches!(e.errno(), Errno::ENOENT | Errno::ECONNREFUSED) => continue,
            connection => connection?,
        };
        // The connection ends with the process.
        let ended = socket::send_now(connection.as_fd(), types::MAKE_WAY.as_bytes(), &[])
            .and_then(|()| event::readable(connection.as_fd(), Some(PATIENCE)));
        if !ended.unwrap_or(false) {
            let fd = connection.as_fd();
            let _ended_now = end_hung(&path, Some(fd), |time| has_come(fd, time));
            if !has_come(fd, PATIENCE) {
                return Err(unanswered(PATIENCE));
            }
        }
        found = true;
    }
    Ok(found)
}

/// Who serves the caller's containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// Nobody.
    Nobody,
    /// A process of the installed program.
    Installed,
    /// One of another.
    Another,
    /// One that does not answer.
    Silent,
}

impl Server {
    /// Asks whoever is where a container's start would look.
    pub(crate) fn look(lxcpath: &Path, caller: &Caller, program: &Path) -> Self {
        let runtime = crate::host::runtime_dir(caller);
        let directories = [runtime.as_deref(), None].map(|runtime| lxcfs_directory(lxcpath, runtime));
        let found = directories.iter().map(|directory| Self::at(directory, program));
        // The worst comes last.
        found.max_by_key(|server| *server as u8).unwrap_or(Self::Nobody)
    }

    fn at(directory: &Path, program: &Path) -> Self {
        use std::os::unix::fs::MetadataExt;
        const SOON: Duration = Duration::from_millis(500);
        let connected =
            path::open_dir(directory).and_then(|dir| socket::connect_at_once(dir.as_fd(), SOCKET));
        let connection = match connected {
            Ok(connection) => connection,
            Err(e) if e.errno() == Errno::EAGAIN => return Self::Silent,
            Err(_) => return Self::Nobody,
        };
        let asked = socket::send_now(connection.as_fd(), types::WHICH.as_bytes(), &[]);
        if asked.is_err() || !event::readable(connection.as_fd(), Some(SOON)).unwrap_or(false) {
            return Self::Silent;
        }
        let said = socket::receive(connection.as_fd(), ANSWER).map(|said| said.bytes).unwrap_or_default();
        let installed = std::fs::metadata(program).map(|found| types::program(found.dev(), found.ino()));
        match installed {
            Ok(installed) if said == installed.as_bytes() => Self::Installed,
            // It has ended just now.
            _ if said.is_empty() => Self::Nobody,
            _ => Self::Another,
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_comes_with_its_last_word_alone() {
        let said = |word: &str| {
            let (monitor, process) = socket::pair().unwrap();
            let own = process::pidfd(process::own_pid()).unwrap();
            socket::send_now(process.as_fd(), word.as_bytes(), &[own.as_fd()]).unwrap();
            last_word(monitor.as_fd())
        };
        assert!(matches!(said(types::LAST), LastWord::Said(Some(Last(Some(_))))));
        assert!(matches!(said(types::GONE), LastWord::Said(None)));
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

    #[test]
    fn another_start_is_waited_for_until_it_lets_go_and_no_longer() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("bryo-lxcfs");
        let held = try_lock(&path).unwrap().unwrap();
        let moment = Duration::from_millis(50);
        let refused = lock(&path, Instant::now() + moment).unwrap_err();
        assert!(refused.kind() == Kind::Busy && refused.to_string().contains("try again"), "{refused}");
        // Who shows a container that runs its limits does not wait.
        assert!(lock(&path, Instant::now()).is_err_and(|e| e.kind() == Kind::Busy));
        let lets_go = std::thread::spawn(move || {
            std::thread::sleep(moment);
            drop(held);
        });
        assert!(lock(&path, Instant::now() + Duration::from_secs(60)).is_ok());
        lets_go.join().unwrap();
    }

    #[test]
    fn only_the_program_itself_is_killed_for_what_it_does_not_do() {
        let (monitor, _process) = socket::pair().unwrap();
        // The other end is this test.
        assert!(behind(monitor.as_fd()).is_none());
        let parent = tempfile::tempdir().unwrap();
        let (directory, _lock) = try_lock(&parent.path().join("bryo-lxcfs")).unwrap().unwrap();
        let _listener = socket::listen_at(directory.as_fd(), SOCKET).unwrap();
        assert!(end_hung(&parent.path().join("bryo-lxcfs"), Some(monitor.as_fd()), |_| false).is_none());
    }
}
