//! One container: its superblocks, and where what it may use and uses is read.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use cgroup::CpuList;
use cgroup::view::{Directory, Part, Usage, View};
use sys::fuse::Next;
use sys::socket;

use crate::files::{FILES, Facts, History, Load, Need};
use crate::fuse::{self, Answer, Contents, Has, Refused, Request, Session, Several, Tree, Wish};
use crate::host::Host;
use crate::load::{Counted, Loads};
use crate::triggers::{Read, Triggers, waiter};

/// How many opens of one container may wait for the kernel to take note of a size. Who keeps it from that, by a process that is
/// stopped while it reads, then gets the rest of his files without.
const GROWING: usize = 4;

/// When a container began.
#[derive(Clone, Copy, Debug)]
pub struct Birth {
    /// When its init began, in ticks since the boot.
    pub born: u64,
    /// How far its clock since the boot is ahead of this process's, in nanoseconds.
    pub ahead: i64,
}

/// One container that is served.
#[derive(Debug)]
pub struct Container {
    superblocks: Vec<Superblock>,
    seen: Seen,
    /// What is waited for in the second superblock.
    triggers: Triggers,
    growing: Arc<AtomicUsize>,
    monitor: Option<OwnedFd>,
}

/// One of its superblocks. The first is that of its files; it may have another one, which can be written, for those of pressure: so
/// the kernel asks of no other file for what it is ready, and of none for its status at each reading.
#[derive(Debug)]
struct Superblock {
    device: Arc<OwnedFd>,
    /// Another device of it, by which the kernel is told of sizes, where the one is a clone.
    telling: Option<Arc<OwnedFd>>,
    session: Session,
}

/// What is seen of a container, and remembered of it.
#[derive(Debug)]
pub struct Seen {
    view: View,
    birth: Birth,
    counts_quota: bool,
    history: History,
    counted: Option<Arc<Counted>>,
    latest: Option<Rendered>,
}

/// A text, and when it was rendered.
#[derive(Debug)]
struct Rendered {
    file: (usize, Option<u32>),
    at: Duration,
    text: String,
}

/// Which superblock is that in which somebody can wait for a trigger.
const WAITS: usize = 1;

/// How long a text may be the answer for others who ask for the same.
const SAME: Duration = Duration::from_millis(10);

/// What all containers have in common.
#[derive(Debug, Default)]
pub struct Shared {
    /// The host's files.
    pub host: Host,
    /// Loads that are counted.
    pub loads: Loads,
    /// What is shown otherwise than usually.
    pub options: Options,
}

/// What is shown otherwise than usually.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// A quota of processor time counts as so many processors.
    pub quota: bool,
    /// There is no swap.
    pub no_swap: bool,
    /// There is no compressed swap.
    pub no_zswap: bool,
    /// Who asks for a file right after another one in the same container gets the same text.
    pub coalesce: bool,
}

/// Whether a container goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// There can be more requests.
    Lives,
    /// Its superblock is gone.
    Gone,
}

impl Container {
    /// Begins to serve superblocks, by their devices. `telling` is empty, or has another device of each.
    pub fn new(
        devices: Vec<OwnedFd>,
        telling: Vec<OwnedFd>,
        tree: &Arc<Tree>,
        directories: Vec<Directory>,
        birth: Birth,
    ) -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let time = now.map_or(0, |now| now.as_secs());
        let mut telling = telling.into_iter().map(Arc::new);
        let superblock = |device| Superblock {
            device: Arc::new(device),
            telling: telling.next(),
            session: Session::new(Arc::clone(tree), time, first_handle()),
        };
        Self {
            superblocks: devices.into_iter().map(superblock).collect(),
            seen: Seen::new(View::new(directories), birth),
            triggers: Triggers::default(),
            growing: Arc::default(),
            monitor: None,
        }
    }

    /// Takes over from a process that has died. What that had read and not answered, the kernel asks once more; one before 6.9
    /// does not, and who asked then waits until he is killed. `triggers` is what that has last had kept.
    pub fn take_over(&mut self, triggers: &[String]) {
        let Self { seen, triggers: own, .. } = self;
        let now = sys::clock::since_boot();
        // Before it is asked once more for what is written down in them.
        let woken = taken_over(own, triggers, now, &mut |file| seen.pressure(file));
        for superblock in &mut self.superblocks {
            send(&superblock.device, &superblock.session.take_over());
        }
        self.wake(&woken);
    }

    /// Has a quota of processor time count as so many processors.
    pub fn count_quota(&mut self) {
        self.seen.counts_quota = true;
    }

    /// Keeps the connection of its monitor, who is told of the end by it.
    #[must_use]
    pub fn told_to(self, monitor: OwnedFd) -> Self {
        Self { monitor: Some(monitor), ..self }
    }

    /// Returns the connection of its monitor.
    pub fn monitor(&self) -> Option<&OwnedFd> {
        self.monitor.as_ref()
    }

    /// Returns the devices by which requests come.
    pub fn devices(&self) -> impl Iterator<Item = &OwnedFd> {
        self.superblocks.iter().map(|superblock| &*superblock.device)
    }

    /// Tells whether nothing that has been read is yet to be answered.
    pub fn is_at_rest(&self) -> bool {
        self.growing.load(Ordering::Relaxed) == 0
    }

    /// Answers the next request in one of the superblocks, if there is one.
    pub fn serve(&mut self, which: usize, shared: &Shared, buffer: &mut [u8]) -> State {
        let Some(superblock) = self.superblocks.get_mut(which) else { return State::Gone };
        let (device, telling) = (Arc::clone(&superblock.device), superblock.telling.clone());
        let length = match sys::fuse::next(device.as_fd(), buffer) {
            Ok(Next::Message(length)) => length,
            Ok(Next::Nothing) => return State::Lives,
            // What the kernel says else it says at each reading, as of a device that no superblock was made of (EPERM).
            Ok(Next::Gone) | Err(_) => return State::Gone,
        };
        let triggers = (which == WAITS).then_some(&mut self.triggers);
        let answer =
            superblock.answer(&mut Shown { seen: &mut self.seen, shared, triggers }, &buffer[..length]);
        // Who has been answered can rely on his trigger, whoever serves then.
        self.keep();
        match answer {
            Answer::Nothing => {}
            Answer::Reply(message) => send(&device, &message),
            Answer::Grow(store, message) => self.grow(device, telling, store, message),
            Answer::Gone => return State::Gone,
        }
        State::Lives
    }

    /// Has the monitor keep the triggers, for the process that takes over from this one.
    fn keep(&mut self) {
        let now = sys::clock::since_boot();
        let Some(lines) = self.triggers.to_keep(now) else { return };
        let text = types::KEEP.to_owned() + &lines.join("\n");
        // One that is stopped does not hear it.
        let told = |monitor: &OwnedFd| socket::send_now(monitor.as_fd(), text.as_bytes(), &[]).is_ok();
        let is_heard = self.monitor.as_ref().is_none_or(told);
        self.triggers.told(now, is_heard);
    }

    /// Returns when there is something to be done for its triggers, since the boot.
    pub fn due(&self) -> Option<Duration> {
        self.triggers.due()
    }

    /// Does it: looks at them, and wakes who waits for one that has come.
    pub fn look(&mut self) {
        let Self { seen, triggers, .. } = self;
        let now = sys::clock::since_boot();
        let woken = guarded(triggers, |triggers| triggers.look(now, &mut |file| seen.pressure(file)));
        self.keep();
        self.wake(&woken);
    }

    /// Nobody waits in the superblock that is gone, which root of the container may unmount alone.
    pub fn lose(&mut self, which: usize) {
        if which == WAITS {
            let _nobody = self.triggers.close_all(sys::clock::since_boot());
            self.keep();
        }
    }

    fn wake(&self, waiters: &[u64]) {
        if let Some(Superblock { device, .. }) = self.superblocks.get(WAITS) {
            waiters.iter().for_each(|waiter| send(device, &fuse::wake(*waiter)));
        }
    }

    /// Makes the kernel take note of a larger size, then answers the open. A thread does it: the kernel waits until nobody reads
    /// the page of the file, and who reads waits for an answer of this one.
    fn grow(&self, device: Arc<OwnedFd>, telling: Option<Arc<OwnedFd>>, store: Vec<u8>, message: Vec<u8>) {
        let growing = Arc::clone(&self.growing);
        let same = Arc::clone(&device);
        let answer = message.clone();
        let both = move || {
            tell_apart(telling.as_ref().unwrap_or(&device).as_fd(), &store);
            send(&device, &answer);
            growing.fetch_sub(1, Ordering::Relaxed);
        };
        let has_room = self.growing.fetch_add(1, Ordering::Relaxed) < GROWING;
        if !has_room || thread::Builder::new().stack_size(STACK).spawn(both).is_err() {
            self.growing.fetch_sub(1, Ordering::Relaxed);
            send(&same, &message);
        }
    }
}

impl Superblock {
    fn answer(&mut self, contents: &mut Shown<'_>, bytes: &[u8]) -> Answer {
        let request = match Request::parse(bytes) {
            Ok(request) => request,
            Err(broken) => return broken.unique.map_or(Answer::Nothing, Answer::failure),
        };
        // Who reads gets an error then, and everybody else goes on.
        let answered = catch_unwind(AssertUnwindSafe(|| self.session.answer(&request, contents)));
        answered.unwrap_or_else(|_| Answer::failure(request.unique))
    }
}

/// Does something with a container's triggers, and returns who is to be woken. A panic costs it these, and nobody else anything.
fn guarded(triggers: &mut Triggers, work: impl FnOnce(&mut Triggers) -> Vec<u64>) -> Vec<u64> {
    let woken = catch_unwind(AssertUnwindSafe(|| work(triggers)));
    woken.unwrap_or_else(|_| triggers.close_all(sys::clock::since_boot()))
}

/// Goes on with what the process before had, and returns who is to be woken. A panic costs the container all of them.
fn taken_over(triggers: &mut Triggers, lines: &[String], now: Duration, read: Read<'_>) -> Vec<u64> {
    let woken = catch_unwind(AssertUnwindSafe(|| triggers.take_over(lines, now, read)));
    woken.unwrap_or_else(|_| {
        let _among_all = triggers.close_all(now);
        lines.iter().filter_map(|line| waiter(line)).collect()
    })
}

/// How much a thread of these has of a stack.
const STACK: usize = 64 << 10;

/// Tells the kernel something, for which it may wait until somebody is answered. A thread does it that has no other file: when this process
/// is killed meanwhile, its connections to monitors are closed, and the next process answers; and its clones of devices are, and with them
/// the kernel refuses what was read by them. Either ends the wait.
fn tell_apart(device: BorrowedFd<'_>, message: &[u8]) {
    let tell = || {
        let _before_linux_5_9 = sys::process::share_no_file_but(device);
        let _unheard = sys::fuse::send(device, message);
    };
    thread::scope(|threads| {
        // Without one the size stays as it is.
        let _told = thread::Builder::new().stack_size(STACK).spawn_scoped(threads, tell);
    });
}

fn send(device: &OwnedFd, message: &[u8]) {
    // What the kernel does not take it has no use for.
    let _unheard = sys::fuse::send(device.as_fd(), message);
}

/// Returns a number from which opens are counted that no process before has come to: each opens fewer than one in a nanosecond.
fn first_handle() -> u64 {
    u64::try_from(sys::clock::since_boot().as_nanos()).unwrap_or(u64::MAX / 2)
}

/// A container's files, for one request.
pub(crate) struct Shown<'a> {
    pub(crate) seen: &'a mut Seen,
    pub(crate) shared: &'a Shared,
    /// What is waited for, where somebody may wait.
    pub(crate) triggers: Option<&'a mut Triggers>,
}

impl Has for Shown<'_> {
    fn path(&mut self, path: &str) -> bool {
        self.shared.host.has(path)
    }

    fn several(&mut self, which: Several) -> CpuList {
        self.seen.several(which, self.shared)
    }
}

impl Contents for Shown<'_> {
    fn render(&mut self, file: usize, of: Option<u32>) -> sys::Result<String> {
        self.seen.render(file, of, self.shared)
    }

    fn takes(&self, file: usize) -> bool {
        self.triggers.is_some() && FILES.get(file).is_some_and(|file| file.pressure().is_some())
    }

    fn write(&mut self, file: usize, wish: &Wish<'_>) -> Result<(), Refused> {
        let Self { seen, triggers, .. } = self;
        let triggers = triggers.as_mut().ok_or(Refused::Unsupported)?;
        triggers.write(file, wish, sys::clock::since_boot(), &mut |file| seen.pressure(file))
    }

    fn ask(&mut self, handle: u64, waiter: Option<u64>) -> Option<bool> {
        self.triggers.as_mut()?.ask(handle, waiter, sys::clock::since_boot())
    }

    fn close(&mut self, handle: u64) {
        if let Some(triggers) = &mut self.triggers {
            triggers.close(handle, sys::clock::since_boot());
        }
    }
}

impl Seen {
    /// Begins to look at a container.
    pub fn new(view: View, birth: Birth) -> Self {
        let history = History::default();
        Self { view, birth, counts_quota: false, history, counted: None, latest: None }
    }

    /// Returns what its group tells of a pressure, by the place of a file in the table; none where none does.
    fn pressure(&self, file: usize) -> sys::Result<Option<String>> {
        let name = FILES.get(file).and_then(|file| file.pressure());
        name.map_or(Ok(None), |name| self.view.pressure(name))
    }

    /// Returns the numbers of the processors or nodes that it has.
    pub fn several(&mut self, which: Several, shared: &Shared) -> CpuList {
        match which {
            Several::Cpus => {
                let mut facts = Facts::default();
                let gathered = self.gather(Need::Cpus, &mut facts, shared);
                // A directory shows those that are known.
                gathered.ok().and_then(|()| facts.cpus()).unwrap_or_default()
            }
            Several::Nodes => self.own_nodes(&shared.host).unwrap_or_default(),
        }
    }

    fn own_nodes(&self, host: &Host) -> sys::Result<CpuList> {
        let all = host.nodes()?;
        Ok(self.view.nodes()?.map_or_else(|| all.clone(), |own| own.and(&all)))
    }

    /// Renders a file, by its place in the table, and by the number of the processor or node that it is of.
    ///
    /// # Errors
    /// Something that it shows cannot be read now.
    pub fn render(&mut self, at: usize, of: Option<u32>, shared: &Shared) -> sys::Result<String> {
        let now = sys::clock::since_boot();
        let is_same = |latest: &&Rendered| latest.file == (at, of) && now.saturating_sub(latest.at) < SAME;
        if let Some(latest) = self.latest.as_ref().filter(is_same) {
            return Ok(latest.text.clone());
        }
        let text = self.render_anew(at, of, shared)?;
        if shared.options.coalesce {
            self.latest = Some(Rendered { file: (at, of), at: now, text: text.clone() });
        }
        Ok(text)
    }

    fn render_anew(&mut self, at: usize, of: Option<u32>, shared: &Shared) -> sys::Result<String> {
        let Some(file) = FILES.get(at) else { return Ok(String::new()) };
        let now = sys::clock::since_boot();
        let (age, begun) = self.birth.age(now);
        let mut facts = Facts { age, begun, number: of.unwrap_or(0), ..Facts::default() };
        file.needs.iter().try_for_each(|need| self.gather(*need, &mut facts, shared))?;
        let host = shared.host.text_of_lately(at, of, &facts.online, now)?;
        Ok((file.render)(&host, &facts))
    }

    /// Gathers something that a file depends on.
    fn gather(&mut self, need: Need, facts: &mut Facts, shared: &Shared) -> sys::Result<()> {
        let Self { view, counts_quota, .. } = self;
        let Facts { limits, usage, .. } = facts;
        match need {
            Need::Memory => {
                view.memory(limits, usage)?;
                shared.options.leave_out(usage);
            }
            Need::Machine => facts.machine = shared.host.meminfo()?,
            Need::Cpus => {
                facts.online = shared.host.online()?;
                limits.cpus = view.cpus()?;
                limits.quota = if shared.options.quota || *counts_quota { view.quota()? } else { None };
            }
            Need::CpuTime => {
                usage.cpu = view.cpu_time()?;
                let cpus = facts.cpus().unwrap_or_default();
                let time = facts.usage.cpu.as_ref();
                facts.times = time.map(|time| self.history.show(time, &cpus, facts.age));
            }
            Need::Disks => usage.disks = view.disks()?,
            Need::Events => usage.events = view.events()?,
            Need::Nodes => {
                limits.nodes = view.nodes()?;
                let (host, nodes) = (&shared.host, self.own_nodes(&shared.host)?);
                let of_node = |node| host.bytes_of_node(node).map(|bytes| (node, bytes));
                facts.nodes = nodes.numbers().map(of_node).collect::<sys::Result<_>>()?;
            }
            Need::MemoryOfNodes if facts.nodes.len() > 1 => usage.nodes = view.memory_of_nodes()?,
            Need::MemoryOfNodes => {}
            Need::Load => facts.load = self.load(shared)?,
            Need::LoadIfCounted => {
                let counted = self.counted.as_ref().filter(|counted| !counted.is_stale());
                facts.load = counted.map(|counted| counted.latest());
            }
            Need::Pressure(file) => usage.pressure = view.pressure(file)?,
        }
        Ok(())
    }

    /// Returns what runs in it, which is counted from now on if it was not yet.
    fn load(&mut self, shared: &Shared) -> sys::Result<Option<Load>> {
        if self.counted.as_ref().is_none_or(|counted| counted.is_stale()) {
            self.counted = self.view.tasks()?.map(|tasks| shared.loads.count(tasks));
        }
        Ok(self.counted.as_ref().map(|counted| counted.load()))
    }
}

impl Options {
    fn leave_out(self, usage: &mut Usage) {
        let Some(memory) = &mut usage.memory else { return };
        if self.no_swap {
            memory.swap = None;
        }
        if self.no_zswap {
            let parts = std::mem::take(&mut memory.parts);
            memory.parts = parts.with(Part::Zswap, 0).with(Part::Zswapped, 0);
        }
    }
}

impl Birth {
    /// Returns how long the container has been running, and how much later than the host's its own clock began, in nanoseconds.
    fn age(self, since_boot: Duration) -> (Duration, i64) {
        let shift = Duration::from_nanos(self.ahead.unsigned_abs());
        let age = match self.ahead {
            0 => since_boot.saturating_sub(Duration::from_millis(self.born.saturating_mul(10))),
            1.. => since_boot.saturating_add(shift),
            _ => since_boot.saturating_sub(shift),
        };
        (age, self.ahead.saturating_neg())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_that_goes_offline_is_gone_at_the_next_look() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("sys/devices/system/cpu");
        std::fs::create_dir_all(&directory).unwrap();
        let online = |text: &str| std::fs::write(directory.join("online"), text).unwrap();
        let shared = Shared { host: Host::at(root.path()), ..Shared::default() };
        let mut seen = Seen::new(View::new(Vec::new()), Birth { born: 0, ahead: 0 });
        let at = FILES.iter().position(|file| file.path.ends_with("cpu/online")).unwrap();
        online("0-3\n");
        assert_eq!(seen.render(at, None, &shared).unwrap(), "0-3\n");
        online("0-1\n");
        assert_eq!(seen.render(at, None, &shared).unwrap(), "0-1\n");
        assert_eq!(seen.several(Several::Cpus, &shared).count(), 2);
    }

    #[test]
    fn a_panic_costs_a_container_its_triggers_and_who_waits_is_told() {
        let mut triggers = Triggers::default();
        let cpu = FILES.iter().position(|file| file.pressure() == Some("cpu.pressure")).unwrap();
        let wish = Wish { handle: 1, user: 0, text: b"some 150000 1000000", is_again: false };
        let mut read = |_| Ok(Some("some total=5\n".to_owned()));
        triggers.write(cpu, &wish, Duration::ZERO, &mut read).unwrap();
        triggers.ask(1, Some(70), Duration::ZERO);
        assert_eq!(guarded(&mut triggers, |_| panic!("as by a file of the host's")), [70]);
        assert_eq!((triggers.ask(1, Some(70), Duration::ZERO), triggers.lines().count()), (None, 0));
        // Also who waits for one that the next process had not come to yet.
        let lines = [1, 2].map(|handle| format!("{handle} 7{handle} cpu.pressure some 150000 1000000 0"));
        let mut reads = 0;
        let woken = taken_over(&mut triggers, &lines, Duration::ZERO, &mut |_| {
            reads += 1;
            assert!(reads < 2, "as by a file of the host's");
            Ok(Some("some total=5\n".to_owned()))
        });
        assert_eq!((woken, triggers.lines().count()), (vec![71, 72], 0));
    }

    #[test]
    fn a_container_is_as_old_as_its_init_unless_it_has_a_clock() {
        let now = Duration::from_secs(1000);
        let seconds = |seconds: u64| Duration::from_secs(seconds);
        assert_eq!(Birth { born: 90_000, ahead: 0 }.age(now), (seconds(100), 0));
        let (ahead, behind) = (3_600_000_000_000, -400_000_000_000);
        assert_eq!(Birth { born: 90_000, ahead }.age(now), (seconds(4600), -ahead));
        assert_eq!(Birth { born: 90_000, ahead: behind }.age(now), (seconds(600), -behind));
        assert_eq!(Birth { born: u64::MAX, ahead: i64::MIN }.age(now).0, Duration::ZERO);
        assert_eq!(Birth { born: u64::MAX, ahead: 0 }.age(now), (Duration::ZERO, 0));
    }
}
