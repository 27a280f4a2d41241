//! The process that serves all containers of one user: one loop over their superblocks and a command socket.
//!
//! A monitor binds the socket, starts this process if nobody listens, and sends it the device of a superblock; see
//! [`types::Serve`]. Whoever connects holds the lock on the socket's directory until he is answered. So when the last
//! superblock is gone and the lock can be had, nobody is coming: the process removes the directory and ends.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cgroup::Version;
use cgroup::view::Directory;
use sys::event::Watch;
use sys::{Result, event, path, socket};
use types::{Serve, Served};

use crate::container::{Birth, Container, Options, Shared, State};
use crate::fuse::{BUFFER, Tree};
use crate::turns::Turns;

/// The name of the command socket in its directory.
pub const SOCKET: &str = "command";

/// The longest message of a monitor.
const MESSAGE: usize = 16 << 10;

/// By which number the listening socket is told of; others count on from there.
const LISTENER: u64 = 0;

/// What the number of a container's second superblock has besides the container's own.
const SECOND: u64 = 1 << 63;

/// How often who has nothing to serve tries whether it may end.
const IDLE: Duration = Duration::from_millis(100);

/// How long who makes way waits for what a thread answers, which waits for readers.
const ANSWERED: Duration = Duration::from_secs(1);

/// The process's state.
#[derive(Debug)]
pub struct Server {
    listener: OwnedFd,
    directory: (PathBuf, OwnedFd),
    watch: Watch,
    /// This process, for who waits for its end.
    own: Option<OwnedFd>,
    /// Its program, for who asks which it is.
    program: String,
    shared: Shared,
    tree: Arc<Tree>,
    next: u64,
    containers: BTreeMap<u64, Container>,
    /// When there is something to be done for the triggers of containers, since the boot.
    looks: BTreeMap<u64, Duration>,
    turns: Turns,
    /// Which container a monitor's connection is of. Its end is the container's, whoever else holds the superblock.
    monitors: BTreeMap<u64, u64>,
    /// The machine had no file for a connection, and none is taken for a moment.
    rests: bool,
    /// Connections that have not said anything yet.
    connections: BTreeMap<u64, OwnedFd>,
    /// Until when it makes way for another process, and who asked for that.
    makes_way: Option<(Instant, OwnedFd)>,
}

impl Server {
    /// Prepares to serve those who connect to `listener`, a socket in `directory`.
    pub fn new(listener: OwnedFd, directory: PathBuf, options: Options) -> Result<Self> {
        let opened = path::open_dir(&directory)?;
        let watch = Watch::new()?;
        watch.add(listener.as_fd(), LISTENER)?;
        Ok(Self {
            listener,
            directory: (directory, opened),
            watch,
            own: sys::process::pidfd(sys::process::own_pid()).ok(),
            program: program(),
            shared: Shared { options, ..Shared::default() },
            tree: Arc::new(Tree::new()),
            next: LISTENER + 1,
            containers: BTreeMap::new(),
            looks: BTreeMap::new(),
            turns: Turns::default(),
            monitors: BTreeMap::new(),
            rests: false,
            connections: BTreeMap::new(),
            makes_way: None,
        })
    }

    /// Serves until nothing is left to be served.
    ///
    /// # Errors
    /// The kernel does not let it wait.
    pub fn run(mut self) -> Result<()> {
        let mut buffer = vec![0; BUFFER];
        loop {
            let is_needless = self.containers.is_empty() && self.connections.is_empty();
            let idle = is_needless || self.makes_way.is_some() || self.rests;
            let found = self.watch.wait(self.patience(idle))?;
            if std::mem::take(&mut self.rests) {
                self.watch.add(self.listener.as_fd(), LISTENER)?;
            }
            let (asking, others): (Vec<u64>, Vec<u64>) =
                found.into_iter().partition(|number| self.containers.contains_key(&(number & !SECOND)));
            let due = self.due();
            let owners: BTreeSet<u64> =
                asking.iter().map(|number| number & !SECOND).chain(due.clone()).collect();
            let answered = self.turns.of(&owners.into_iter().collect::<Vec<_>>());
            for number in due.into_iter().filter(|number| answered.contains(number)) {
                self.in_turn(number, Self::look);
            }
            for number in asking.into_iter().filter(|number| answered.contains(&(number & !SECOND))) {
                self.in_turn(number & !SECOND, |own, _| own.serve(number, &mut buffer));
            }
            for number in others {
                self.ready(number);
            }
            if self.containers.is_empty() && self.connections.is_empty() && self.may_end() {
                return Ok(());
            }
            let overdue = |(until, _): &(Instant, OwnedFd)| self.is_at_rest() || Instant::now() >= *until;
            if !self.containers.is_empty() && self.makes_way.as_ref().is_some_and(overdue) {
                return Ok(());
            }
        }
    }

    /// Does something for a container, for which the others wait.
    fn in_turn(&mut self, owner: u64, work: impl FnOnce(&mut Self, u64)) {
        let began = Instant::now();
        work(self, owner);
        if self.containers.contains_key(&owner) {
            self.turns.took(owner, began.elapsed());
        }
    }

    /// Answers a container, in the superblock whose number this is.
    fn serve(&mut self, number: u64, buffer: &mut [u8]) {
        let (owner, which) = (number & !SECOND, usize::from(number & SECOND != 0));
        let Some(container) = self.containers.get_mut(&owner) else { return };
        // One request at a time, so that no container waits for another's many.
        match (container.serve(which, &self.shared, buffer), which) {
            (State::Gone, 0) => return self.forget(owner),
            // Root of the container may unmount the one and not the other.
            (State::Gone, _) => {
                let device = container.devices().nth(which);
                let _closed_anyway = device.map(|device| self.watch.remove(device.as_fd()));
                container.lose(which);
            }
            (State::Lives, _) => {}
        }
        self.looks_again(owner);
    }

    fn looks_again(&mut self, owner: u64) {
        match self.containers.get(&owner).and_then(Container::due) {
            Some(due) => drop(self.looks.insert(owner, due)),
            None => drop(self.looks.remove(&owner)),
        }
    }

    /// Returns how long to wait for something to do.
    fn patience(&self, is_idle: bool) -> Option<Duration> {
        let look = self.looks.values().min().map(|due| due.saturating_sub(sys::clock::since_boot()));
        [look, is_idle.then_some(IDLE)].into_iter().flatten().min()
    }

    /// Returns the containers whose triggers are to be looked at now.
    fn due(&self) -> Vec<u64> {
        if self.looks.is_empty() {
            return Vec::new();
        }
        let now = sys::clock::since_boot();
        self.looks.iter().filter(|(_, due)| **due <= now).map(|(number, _)| *number).collect()
    }

    /// Looks at a container's triggers.
    fn look(&mut self, owner: u64) {
        self.containers.get_mut(&owner).into_iter().for_each(Container::look);
        self.looks_again(owner);
    }

    fn ready(&mut self, number: u64) {
        if number == LISTENER {
            self.accept();
        } else if let Some(container) = self.monitors.get(&number) {
            self.forget(*container);
        } else if let Some(connection) = self.connections.remove(&number) {
            let _closed_anyway = self.watch.remove(connection.as_fd());
            let answer = match socket::receive(connection.as_fd(), MESSAGE) {
                // Its container has not come about.
                Ok(message) if message.bytes.is_empty() => return self.bid_farewell(&connection),
                Ok(message) if message.bytes == types::MAKE_WAY.as_bytes() => {
                    self.makes_way = Some((Instant::now() + ANSWERED, connection));
                    return;
                }
                Ok(message) if message.bytes == types::WHICH.as_bytes() => self.program.clone(),
                message => match hear(message).and_then(|heard| self.begin(heard, &connection)) {
                    Ok(()) => return,
                    Err(why) => Served::Refused(why).text(),
                },
            };
            let _unheard = socket::send_now(connection.as_fd(), answer.as_bytes(), &[]);
        }
    }

    /// Tells whether nobody waits for an answer of what has been read. What has not is the next process's, to whom the monitors
    /// hand the devices as after a death.
    fn is_at_rest(&self) -> bool {
        self.containers.values().all(Container::is_at_rest)
    }

    /// Says the last word to a monitor. With the one that this process ends comes the process, whose end is waited for.
    fn bid_farewell(&self, monitor: &OwnedFd) {
        let is_last = self.containers.is_empty() && self.connections.is_empty();
        let own: Vec<_> = self.own.iter().filter(|_| is_last).map(AsFd::as_fd).collect();
        let word = if is_last { types::LAST } else { types::GONE };
        let _unheard = socket::send_now(monitor.as_fd(), word.as_bytes(), &own);
    }

    /// Lets go of a container whose superblock or monitor is gone, and tells the monitor.
    fn forget(&mut self, number: u64) {
        let Some(container) = self.containers.remove(&number) else { return };
        self.monitors.retain(|_, of| *of != number);
        self.turns.forget(number);
        self.looks.remove(&number);
        for device in container.devices() {
            let _closed_anyway = self.watch.remove(device.as_fd());
        }
        if let Some(monitor) = container.monitor() {
            let _closed_anyway = self.watch.remove(monitor.as_fd());
            self.bid_farewell(monitor);
        }
    }

    /// Takes a connection of the same user's; others cannot reach the socket, and are not listened to if they do.
    fn accept(&mut self) {
        let Ok(connection) = socket::accept(self.listener.as_fd()) else {
            // Without a file for it the connection would be told of over and over.
            self.rests = self.watch.remove(self.listener.as_fd()).is_ok();
            return;
        };
        if socket::peer_uid(connection.as_fd()).is_ok_and(|uid| uid == sys::cred::real_uid()) {
            let number = self.number();
            if self.watch.add(connection.as_fd(), number).is_ok() {
                self.connections.insert(number, connection);
            }
        }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Begins to serve a container, and says so to its monitor, who then listens for the end.
    fn begin(&mut self, heard: Heard, monitor: &OwnedFd) -> std::result::Result<(), String> {
        let failed = |e: sys::Error| e.to_string();
        let Heard { devices, telling, directories, birth, again, quota, triggers } = heard;
        let monitor = monitor.try_clone().map_err(|e| e.to_string())?;
        let (number, connection) = (self.number(), self.number());
        for (device, of) in devices.iter().zip([number, number | SECOND]) {
            sys::file::set_nonblocking(device.as_fd()).map_err(failed)?;
            self.watch.add(device.as_fd(), of).map_err(failed)?;
        }
        self.watch.add(monitor.as_fd(), connection).map_err(failed)?;
        self.monitors.insert(connection, number);
        let mut container = Container::new(devices, telling, &self.tree, directories, birth);
        if quota {
            container.count_quota();
        }
        if again {
            container.take_over(&triggers);
            self.looks.extend(container.due().map(|due| (number, due)));
        }
        let files = Served::Files(self.tree.covers().map(str::to_owned).collect());
        // Who has gone meanwhile has closed the superblock too.
        let _unheard = socket::send_now(monitor.as_fd(), files.text().as_bytes(), &[]);
        self.containers.insert(number, container.told_to(monitor));
        Ok(())
    }

    /// Removes the directory if nobody is coming.
    fn may_end(&self) -> bool {
        let (name, directory) = &self.directory;
        // Opened anew, since it is this that holds a lock that is had.
        let Ok(lock) = path::open_dir_at(directory.as_fd(), Path::new(".")) else { return false };
        let is_alone = path::try_lock(lock.as_fd()).unwrap_or(false)
            && !event::readable(self.listener.as_fd(), Some(Duration::ZERO)).unwrap_or(true);
        if is_alone {
            let _gone = path::remove_file(directory.as_fd(), SOCKET.as_ref());
            let _not_empty = std::fs::remove_dir(name);
        }
        is_alone
    }
}

/// Names the program that this process runs.
fn program() -> String {
    use std::os::unix::fs::MetadataExt;
    let found = std::fs::metadata("/proc/self/exe");
    found.map_or_else(|_| String::new(), |found| types::program(found.dev(), found.ino()))
}

/// What a monitor has said.
struct Heard {
    devices: Vec<OwnedFd>,
    /// Others of the same superblocks.
    telling: Vec<OwnedFd>,
    directories: Vec<Directory>,
    birth: Birth,
    again: bool,
    quota: bool,
    triggers: Vec<String>,
}

/// Hears what a monitor says.
fn hear(message: Result<socket::Message>) -> std::result::Result<Heard, String> {
    let message = message.map_err(|e| e.to_string())?;
    let text = String::from_utf8_lossy(&message.bytes);
    let serve: Serve = text.parse().map_err(|_| "it is of another version".to_owned())?;
    let mut fds = message.fds.into_iter();
    let count = 1 + usize::from(serve.waits);
    let devices: Vec<OwnedFd> = fds.by_ref().take(count).collect();
    let telling: Vec<OwnedFd> = fds.by_ref().take(if serve.cloned { count } else { 0 }).collect();
    if devices.len() < count {
        return Err("no device came along".to_owned());
    }
    if fds.len() != serve.directories.len() {
        return Err("not every directory came along".to_owned());
    }
    let directory = |(controllers, dir): (Vec<String>, OwnedFd)| {
        let version = if controllers.is_empty() { Version::V2 } else { Version::V1 };
        Directory { version, controllers, dir }
    };
    let directories = serve.directories.into_iter().zip(fds).map(directory).collect();
    let birth = Birth { born: serve.born, ahead: serve.ahead };
    let Serve { again, quota, triggers, .. } = serve;
    Ok(Heard { devices, telling, directories, birth, again, quota, triggers })
}

/// Leaves the caller's session.
///
/// # Errors
/// The kernel refuses a step.
pub fn detach() -> Result<()> {
    sys::process::new_session()?;
    sys::process::set_name("bryo-lxcfs")?;
    sys::process::set_umask(0o077);
    path::change_dir(path::open_dir(Path::new("/"))?.as_fd())
}
