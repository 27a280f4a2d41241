//! The files that show a container its own limits: from inside, a superblock and its mounts; from outside, the process that
//! serves them (`bryo-lxcfs`, see [`types::Serve`]).
//!
//! The kernel takes a device for FUSE only from the user namespace in which it was opened. So the child opens it, as root of the
//! container, makes the superblock and sends the device up; the monitor hands it on, and keeps it for the next process. Whatever
//! goes wrong, the container starts with the kernel's files.

mod inside;
mod summon;

use std::cell::{Cell, Ref, RefCell};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sys::{event, process, socket};
use types::Serve;

pub(crate) use inside::Superblocks;
use inside::{Asked, Devices, Heard, Inside, Job};
use summon::{ANSWER, Last, LastWord, answer, last_word, unanswered};
pub use summon::{Server, renew};
pub(crate) use summon::{Summoned, end_hung_of, tidy, tidy_all};

use crate::cgroups::{Cgroups, Payload, SCOPE_OF_LXCFS};
use crate::command::{Client, Request};
use crate::error::{Error, Kind, Result};
use crate::host::Lxcfs;
use crate::place::Place;
use crate::plan::LxcfsPlan;

/// How long the process's word may take. One that has not said it then is taken for stopped, where it is given more time.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long it may take to notice that a container is gone. A mount namespace that somebody holds keeps the superblock.
const NOTICED: Duration = Duration::from_secs(2);

/// How often it is looked whether init has begun to end by itself: that does not end while the process has a question of one of its
/// container's that it does not answer, and nobody is told of it.
const LOOKS: Duration = Duration::from_secs(15);

/// How long who takes over may have to answer, and who is asked by a start, be it that another start still holds the lock. All containers
/// of the user's may ask him at once, and he may have no processor.
const TAKES_OVER: Duration = Duration::from_secs(20);

/// A systemd of the user's that is slow costs a start no more than that.
const _: () = assert!(SCOPE_OF_LXCFS.as_secs() < TAKES_OVER.as_secs());

/// How long the process that a start asks has at least, be it that the start has waited for another one, and the next one, where the
/// first has not answered and was killed.
const NEXT: Duration = Duration::from_secs(10);

/// After how long without anybody to serve the files the container gets the kernel's.
const GIVEN_UP: Duration = Duration::from_secs(10);

/// How rarely it is tried after that, at first and at last.
const RARELY: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(10)];

/// How long work inside of a container may take: its root may have mounted anything in the way.
const INSIDE: Duration = Duration::from_secs(30);

/// What a status says of the /proc of a container for which nobody can be had.
pub(crate) const FILES_GIVEN_UP: &str = "the kernel's, since bryo-lxcfs cannot be had";

/// Shows a container that runs its own limits, or shows them anew where the files that did are broken.
///
/// # Errors
/// It does not run; nobody can be had to serve the files; the configuration wants the kernel's.
pub fn cover(place: &Place, lxcfs: &Lxcfs) -> Result<()> {
    let bytes = postcard::to_stdvec(lxcfs).map_err(|e| Error::new(Kind::Build, e.to_string()))?;
    let sealed = sys::memfd::sealed("lxcfs", &bytes)?;
    Client::must_connect(place)?.ask_with(Request::CoverFiles, &[sealed.as_fd()])
}

/// Shows a container that runs the host's limits.
///
/// # Errors
/// It does not run, or sees them already.
pub fn uncover(place: &Place) -> Result<()> {
    Client::must_connect(place)?.ask(Request::UncoverFiles)
}

/// Says that a container has no files of its own limits.
pub(crate) fn missing(why: &Error) -> String {
    format!("/proc shows the host's memory and processors: {why}")
}

/// A container that is served.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    /// Its cgroups.
    pub(crate) payload: &'a Payload,
    /// Its monitor's.
    pub(crate) cgroups: &'a Cgroups,
    /// A pidfd of its init.
    pub(crate) init: BorrowedFd<'a>,
    /// Its user namespace.
    pub(crate) user: BorrowedFd<'a>,
    /// setgroups(2) is denied in it.
    pub(crate) keeps_groups: bool,
}

/// Who serves a container's files. The device of its superblock stays with the monitor as well: so it outlives the process that serves,
/// and what is asked meanwhile waits for the next one.
#[derive(Debug)]
pub struct Serving {
    /// By which it was last found who serves them.
    plan: RefCell<LxcfsPlan>,
    born: u64,
    ahead: i64,
    /// The files that there are.
    pub(crate) files: Vec<String>,
    devices: RefCell<Option<Devices>>,
    /// What the process that serves has had kept for the next one.
    kept: RefCell<Vec<String>>,
    state: RefCell<State>,
    /// The process has said that it serves nobody any more.
    last: RefCell<Option<Last>>,
    /// When the process that serves was last replaced, and how long that waited.
    renewed: Cell<(Instant, Duration)>,
    /// Until when another one must serve.
    deadline: Cell<Option<Instant>>,
    /// The container's end has begun, and until when the process must have noticed that.
    ends: Cell<bool>,
    notices: Cell<Option<Instant>>,
    /// When it was last looked whether init has begun to end.
    looked: Cell<Instant>,
    /// What worked inside last and was not done in time: it may be held up for as long as the container runs.
    held_up: RefCell<Option<OwnedFd>>,
    /// Nobody could be had, and so the container sees the kernel's files.
    given_up: Cell<bool>,
    /// What work inside has come to, for who has asked for it.
    outcome: RefCell<Option<Result<()>>>,
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
    /// The files are being put in their places, or taken from there. Who serves until then.
    Changes(Inside, Option<OwnedFd>),
    /// The container sees the kernel's files. Then it is tried once more.
    Bare(Instant),
    /// The superblock is gone, or there is none.
    #[default]
    Over,
}

impl State {
    /// Returns when there is something to be done, whatever is heard.
    fn due(&self) -> Option<Instant> {
        match self {
            Self::Asked(_, until) | Self::Lacking(until) | Self::Bare(until) => Some(*until),
            Self::Changes(work, _) => Some(work.due()),
            Self::Serves(_) | Self::Over => None,
        }
    }
}

impl Serving {
    /// Hands the devices of superblocks that process `init` has made to the process that serves.
    ///
    /// # Errors
    /// They are none; it does not answer, nor does one that is started in its place.
    pub(crate) fn begin(
        plan: &LxcfsPlan,
        summoned: Summoned,
        sent: Vec<OwnedFd>,
        init: i32,
        of: Target<'_>,
    ) -> Result<Self> {
        let none = || Error::new(Kind::Build, "no device came along");
        let devices = match Devices::sent(sent).and_then(|devices| devices.ok_or_else(none)) {
            Ok(devices) => devices,
            Err(e) => {
                summoned.end(of.cgroups);
                return Err(e);
            }
        };
        let mut serving = Self::of_none(plan, init);
        let (asked, waited) = (Instant::now(), summoned.waited);
        let until = asked + summoned.patience();
        let begun = |summoned: Summoned, until: Instant, again: bool| {
            serving.ask(&summoned, &devices, again, of)?;
            let fd = summoned.connection.as_fd();
            first_answer(&plan.directory, fd, PATIENCE, until).map(|files| (files, summoned.connection))
        };
        let next = || {
            let until = until_of_next(until, Instant::now());
            begun(Summoned::summon(plan, of.cgroups, until)?, until, true)
        };
        let (files, connection) = match begun(summoned, until, false) {
            Err(e) if matches!(e.kind(), Kind::Died | Kind::TimedOut) => {
                next().map_err(|e| match e.kind() {
                    Kind::TimedOut => unanswered(waited + asked.elapsed()),
                    _ => e,
                })?
            }
            begun => begun?,
        };
        serving.files = files;
        serving.devices.replace(Some(devices));
        serving.state.replace(State::Serves(connection));
        Ok(serving)
    }

    /// Prepares to serve the files of a container with this init, which has none.
    pub(crate) fn of_none(plan: &LxcfsPlan, init: i32) -> Self {
        Self {
            plan: RefCell::new(plan.clone()),
            born: process::start_time(init).unwrap_or_else(|| in_ticks(sys::clock::since_boot())),
            ahead: ahead(init),
            files: Vec::new(),
            devices: RefCell::default(),
            kept: RefCell::default(),
            state: RefCell::default(),
            last: RefCell::default(),
            renewed: Cell::new((Instant::now(), Duration::ZERO)),
            deadline: Cell::default(),
            ends: Cell::default(),
            notices: Cell::default(),
            looked: Cell::new(Instant::now()),
            held_up: RefCell::default(),
            given_up: Cell::default(),
            outcome: RefCell::default(),
        }
    }

    /// Asks a process to serve the superblocks.
    fn ask(&self, summoned: &Summoned, devices: &Devices, again: bool, of: Target<'_>) -> Result<()> {
        let cloned = match sys::fuse::is_asked_again() {
            true => None,
            false => devices.cloned(of).inspect_err(|e| log::warn!("cloning /dev/fuse: {e}")).ok(),
        };
        let directories = of.payload.directories_to_view()?;
        let mut told = self.request(&self.plan.borrow(), &directories);
        (told.again, told.waits, told.cloned) = (again, devices.waits(), cloned.is_some());
        told.triggers.clone_from(&self.kept.borrow());
        let mut fds: Vec<BorrowedFd<'_>> = cloned.iter().chain([devices]).flat_map(Devices::fds).collect();
        fds.extend(directories.iter().map(|directory| directory.dir.as_fd()));
        socket::send_now(summoned.connection.as_fd(), told.text().as_bytes(), &fds)
            .map_err(|e| Error::from(e).of_kind(Kind::Died))
    }

    /// Returns what a process is told of the container, for superblocks that nobody has served yet.
    fn request(&self, plan: &LxcfsPlan, directories: &[cgroup::view::Directory]) -> Serve {
        let directories = directories.iter().map(|directory| directory.controllers.clone()).collect();
        let Self { born, ahead, .. } = *self;
        let quota = plan.quota;
        let (again, waits, cloned) = (false, false, false);
        Serve { born, ahead, again, waits, cloned, quota, triggers: Vec::new(), directories }
    }

    /// Returns what is to be waited for: the connection, or who works inside.
    pub(crate) fn connection(&self) -> Option<Ref<'_, OwnedFd>> {
        Ref::filter_map(self.state.borrow(), |state| match state {
            State::Serves(connection) | State::Asked(connection, _) => Some(connection),
            State::Changes(work, _) => Some(&work.channel),
            State::Lacking(_) | State::Bare(_) | State::Over => None,
        })
        .ok()
    }

    /// Returns how long to wait for the connection before [`Serving::go_on`].
    pub(crate) fn patience(&self) -> Option<Duration> {
        let due = [self.state.borrow().due(), self.notices.get()].into_iter().flatten().min();
        due.map(|due| due.saturating_duration_since(Instant::now()))
    }

    /// Returns how long to rest at most, where there is nothing to do, before [`Serving::look_at`].
    pub(crate) fn looks(&self) -> Option<Duration> {
        let is_served = matches!(*self.state.borrow(), State::Serves(_)) && !self.ends.get();
        is_served.then_some(LOOKS)
    }

    /// Looks, from time to time, whether the container's init has begun to end by itself.
    pub(crate) fn look_at(&self, init: i32, stat: BorrowedFd<'_>) {
        if !self.ends.get() && self.looked.get().elapsed() >= LOOKS {
            self.looked.set(Instant::now());
            if process::is_ending(init) || process::is_ending_by(stat) {
                self.let_go();
            }
        }
    }

    /// Tells whether the container sees the kernel's files since nobody could be had to serve its own.
    pub(crate) fn is_given_up(&self) -> bool {
        self.given_up.get()
    }

    /// Tells whether the container has the superblock that shows it its own limits.
    pub(crate) fn is_had(&self) -> bool {
        self.devices.borrow().is_some()
    }

    /// Hears what comes by the connection: that the superblock is gone, that it is served again, or without a word that the process
    /// has died, which then is replaced.
    pub(crate) fn hear(&self, of: Target<'_>) {
        match self.state.take() {
            State::Serves(connection) => match socket::receive(connection.as_fd(), ANSWER) {
                Ok(word) if let Some(kept) = kept(&word.bytes) => {
                    self.kept.replace(kept);
                    self.state.replace(State::Serves(connection));
                }
                Ok(word) if !word.bytes.is_empty() => {
                    self.close();
                    self.notices.take();
                    self.last.replace(Last::said(word));
                }
                _ => self.lack(of),
            },
            State::Asked(connection, _) => match answer(connection.as_fd(), Duration::ZERO) {
                Ok(_files) => {
                    log::warn!("bryo-lxcfs has died, and another one serves");
                    self.serves(connection);
                }
                Err(e) => self.try_later(&e, of),
            },
            State::Changes(work, before) => self.hear_inside(work, before),
            state => drop(self.state.replace(state)),
        }
    }

    /// Does what its time has come for: asks another process to serve. Nobody waits here, since the monitor has more to do: who
    /// does not answer in time has not been asked well.
    pub(crate) fn go_on(&self, of: Target<'_>) {
        let is_over = |time: Option<Instant>| time.is_some_and(|time| Instant::now() >= time);
        if is_over(self.notices.get()) {
            self.notices.take();
            self.end_hung(of.init);
        }
        if !is_over(self.state.borrow().due()) {
            return;
        }
        match self.state.take() {
            State::Lacking(_) => match self.ask_another(of) {
                Ok(connection) => {
                    drop(self.state.replace(State::Asked(connection, Instant::now() + TAKES_OVER)));
                }
                Err(e) => self.try_later(&e, of),
            },
            State::Asked(connection, _) => {
                let fd = connection.as_fd();
                let is_done = |time| summon::has_come(fd, time);
                match summon::end_hung(&self.directory(), Some(fd), is_done) {
                    None if summon::has_come(fd, Duration::ZERO) => {
                        drop(self.state.replace(State::Asked(connection, Instant::now() + TAKES_OVER)));
                    }
                    _ => self.try_later(&unanswered(TAKES_OVER), of),
                }
            }
            State::Bare(_) => {
                let plan = self.plan.borrow().clone();
                match self.cover(plan, of) {
                    Ok(work) => drop(self.state.replace(State::Changes(work, None))),
                    Err(e) => self.is_bare(&e),
                }
            }
            State::Changes(work, before) => self.go_on_inside(work, before),
            state => drop(self.state.replace(state)),
        }
    }

    /// Has nobody serve any more, since the container's end has begun: a killed process whose question somebody has read and will not
    /// answer ends only when the last device is closed. A process that is stopped, or hangs, does not close its own, and so does not
    /// have long; this one is closed after it.
    pub(crate) fn let_go(&self) {
        self.ends.set(true);
        let (State::Serves(connection) | State::Asked(connection, _)) = self.stop_changing() else {
            return self.close();
        };
        let _gone_anyway = socket::end_sending(connection.as_fd());
        self.notices.set(Some(Instant::now() + NOTICED));
        self.state.replace(State::Serves(connection));
    }

    /// Takes the state, without the process that works inside, which has the devices as well.
    fn stop_changing(&self) -> State {
        match self.state.take() {
            State::Changes(mut work, before) => {
                drop(work.end());
                let asked = || {
                    let Asked { connection, plan, .. } = work.asked?;
                    self.plan.replace(plan);
                    Some(connection)
                };
                before.or_else(asked).map_or(State::Over, State::Serves)
            }
            state => state,
        }
    }

    /// Lets go, and sees that a killed init ends: while the process has a question of one of its container's that it does not answer,
    /// it does not.
    pub(crate) fn let_end(&self, init: BorrowedFd<'_>) {
        self.let_go();
        let last = match self.state.take() {
            State::Serves(connection) => self.last_of(&connection),
            _ => None,
        };
        self.last.replace(last);
        self.close();
        let _ends_for_another_reason = event::readable(init, Some(NOTICED));
    }

    /// Returns the last word of the process to a container that has let go, for which it is killed if it does not say it.
    fn last_of(&self, connection: &OwnedFd) -> Option<Last> {
        let fd = connection.as_fd();
        if let LastWord::Said(last) = last_word(fd) {
            return last;
        }
        let ended = summon::end_hung(&self.directory(), Some(fd), |time| summon::has_come(fd, time));
        ended.or_else(|| match summon::has_come(fd, Duration::ZERO).then(|| last_word(fd)) {
            Some(LastWord::Said(last)) => last,
            _ => None,
        })
    }

    /// Ends the process that serves where it keeps init from its end. The monitors of other containers start the next one.
    fn end_hung(&self, init: BorrowedFd<'_>) {
        let connection = self.connection().map(|connection| connection.try_clone());
        let connection = connection.and_then(std::io::Result::ok);
        let fd = connection.as_ref().map(AsFd::as_fd);
        let _heard_of = summon::end_hung(&self.directory(), fd, |time| summon::has_come(init, time));
    }

    /// Closes the devices, by which nobody answers any more. What has been asked is refused: a process that has died may have left a
    /// thread that the kernel does not end before a reader is answered, and that thread has them as well.
    fn close(&self) {
        if let Some(devices) = self.devices.take() {
            devices.refuse_all();
        }
    }

    /// The process has died: another one is to serve, if anybody may ask it.
    fn lack(&self, of: Target<'_>) {
        self.notices.take();
        if self.ends.get() {
            return self.close();
        }
        if self.devices.borrow().is_none() {
            return;
        }
        let now = Instant::now();
        self.deadline.set(Some(now + GIVEN_UP));
        self.state.replace(State::Lacking(now + self.pause()));
        self.go_on(of);
    }

    fn directory(&self) -> PathBuf {
        self.plan.borrow().directory.clone()
    }

    fn ask_another(&self, of: Target<'_>) -> Result<OwnedFd> {
        let devices = self.devices.borrow();
        let Some(devices) = &*devices else { return Err(Error::new(Kind::Died, "the superblock is gone")) };
        let summoned = Summoned::at_once(&self.plan.borrow(), of.cgroups)?;
        self.ask(&summoned, devices, true, of)?;
        Ok(summoned.connection)
    }

    fn serves(&self, connection: OwnedFd) {
        self.deadline.take();
        self.given_up.set(false);
        self.state.replace(State::Serves(connection));
    }

    /// It may have died as the one before. One that cannot live at all is given up: then the container sees the kernel's files.
    fn try_later(&self, why: &Error, of: Target<'_>) {
        if self.deadline.get().is_some_and(|deadline| Instant::now() < deadline) {
            log::info!("bryo-lxcfs is tried once more: {why}");
            self.state.replace(State::Lacking(Instant::now() + self.pause()));
            return;
        }
        self.given_up.set(true);
        log::error!(
            "bryo-lxcfs cannot be had, and the container sees the host's memory and processors: {why}"
        );
        match self.work(Job::Uncover, of) {
            Ok(work) => drop(self.state.replace(State::Changes(work, None))),
            Err(e) => self.is_bare(&e),
        }
    }

    /// The container sees the kernel's files. Where these could not be put in their places, who reads gets an error: the device is
    /// closed.
    fn is_bare(&self, why: &Error) {
        log::info!("the container's own limits cannot be shown: {why}");
        self.close();
        self.outcome.replace(Some(Err(why.clone())));
        let (_, waited) = self.renewed.get();
        let pause = (waited * 2).clamp(RARELY[0], RARELY[1]);
        self.renewed.set((Instant::now(), pause));
        self.state.replace(State::Bare(Instant::now() + pause));
    }

    /// Has the files put in their places, in front of whatever was there of them, from now on.
    ///
    /// # Errors
    /// Nobody can be had to serve them, or to put them there.
    pub(crate) fn begin_to_cover(&self, plan: LxcfsPlan, of: Target<'_>) -> Result<()> {
        self.begin_change(|| self.cover(plan, of))
    }

    /// Has the files taken from their places, so that the container sees the kernel's.
    ///
    /// # Errors
    /// Nobody can be had to take them from there.
    pub(crate) fn begin_to_uncover(&self, of: Target<'_>) -> Result<()> {
        self.begin_change(|| self.work(Job::Uncover, of))?;
        self.given_up.set(false);
        Ok(())
    }

    fn begin_change(&self, work: impl FnOnce() -> Result<Inside>) -> Result<()> {
        if matches!(*self.state.borrow(), State::Changes(..) | State::Asked(..) | State::Lacking(_)) {
            return Err(Error::new(Kind::Busy, "it is being done already"));
        }
        let work = work()?;
        let before = match self.state.take() {
            State::Serves(connection) => Some(connection),
            _ => None,
        };
        self.state.replace(State::Changes(work, before));
        Ok(())
    }

    fn cover(&self, plan: LxcfsPlan, of: Target<'_>) -> Result<Inside> {
        let Summoned { connection, .. } = Summoned::at_once(&plan, of.cgroups)?;
        let directories = of.payload.directories_to_view()?;
        let told = self.request(&plan, &directories);
        let job = Job::Cover { connection: connection.as_fd(), told, directories, sys: plan.sys };
        let mut work = self.work(job, of)?;
        work.asked = Some(Asked { connection, plan, early: Some(Instant::now() + PATIENCE) });
        Ok(work)
    }

    /// Starts a process that works inside, unless the one before is still held up there: each of them can be held up by what
    /// the container's root has mounted, and is there then until the container ends.
    fn work(&self, job: Job<'_>, of: Target<'_>) -> Result<Inside> {
        let mut held_up = self.held_up.borrow_mut();
        if held_up.as_ref().is_some_and(|before| !process::has_ended(before.as_fd())) {
            let cause = "what is mounted over /proc or /sys in the container holds up a process that was to change it";
            return Err(Error::new(Kind::Busy, cause));
        }
        *held_up = None;
        Inside::begin(job, of)
    }

    /// Hears who works inside. If he says that whoever he has asked does not answer, that one is killed.
    fn hear_inside(&self, mut work: Inside, before: Option<OwnedFd>) {
        let result = match work.hear() {
            Heard::Goes => return drop(self.state.replace(State::Changes(work, before))),
            Heard::Ended(result) => result,
        };
        if result.as_ref().is_err_and(|e| e.kind() == Kind::TimedOut)
            && let Some(Asked { connection, plan, .. }) = work.unanswering()
        {
            let fd = connection.as_fd();
            let _ended_now = summon::end_hung(&plan.directory, Some(fd), |time| summon::has_come(fd, time));
        }
        self.changed(work, before, result);
    }

    /// Has whoever was asked go on, who may be stopped, or ends work that has taken too long. For that nobody else is killed: who works
    /// inside may not have asked yet, or not have said that he was answered, since the container's root holds him up.
    fn go_on_inside(&self, mut work: Inside, before: Option<OwnedFd>) {
        if Instant::now() >= work.until {
            self.held_up.replace(work.end());
            return self.changed(work, before, Err(unanswered(INSIDE)));
        }
        if let Some(asked) = work.unanswering() {
            summon::have_go_on(&asked.plan.directory, asked.connection.as_fd());
        }
        work.asked.iter_mut().for_each(|asked| asked.early = None);
        self.state.replace(State::Changes(work, before));
    }

    /// Work inside is done, or has failed.
    fn changed(&self, work: Inside, before: Option<OwnedFd>, result: Result<()>) {
        let Inside { devices, asked, .. } = work;
        match (&result, asked) {
            (Ok(()), Some(Asked { connection, plan, .. })) => {
                self.plan.replace(plan);
                before.iter().for_each(|before| drop(socket::end_sending(before.as_fd())));
                log::info!("the container sees its own limits");
                self.devices.replace(devices);
                self.kept.take();
                self.serves(connection);
            }
            (Ok(()), None) if self.given_up.get() => {
                self.is_bare(&Error::new(Kind::Died, "nobody serves them"))
            }
            (Ok(()), None) => {
                self.devices.take();
                if let Some(before) = before {
                    let _gone_anyway = socket::end_sending(before.as_fd());
                    self.state.replace(State::Serves(before));
                }
            }
            (Err(why), _) if self.given_up.get() => self.is_bare(why),
            (Err(_), _) => drop(self.state.replace(before.map_or(State::Over, State::Serves))),
        }
        self.outcome.replace(Some(result));
    }

    /// Returns what work inside has come to since it was last asked.
    pub(crate) fn outcome(&self) -> Option<Result<()>> {
        self.outcome.take()
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
            self.last.replace(self.last_of(&connection));
        }
        self.close();
        if let Some(last) = self.last.take() {
            last.wait(cgroups);
        }
    }
}

/// Returns until when the next process has to answer a start, of which the first one had until then.
fn until_of_next(until: Instant, now: Instant) -> Instant {
    until.max(now + NEXT)
}

/// Waits for a process's answer to a start. One that has not answered `early` may be stopped, and goes on; one that is slow, or is not there
/// yet since the user's systemd is, has until then; and one that does not answer then is killed.
fn first_answer(
    directory: &Path,
    connection: BorrowedFd<'_>,
    early: Duration,
    until: Instant,
) -> Result<Vec<String>> {
    let began = Instant::now();
    let left = || until.saturating_duration_since(Instant::now());
    let answered = answer(connection, early.min(left()));
    if !answered.as_ref().is_err_and(|e| e.kind() == Kind::TimedOut) {
        return answered;
    }
    let killed = summon::end_hung(directory, Some(connection), |_| summon::has_come(connection, left()));
    match killed {
        Some(_) => Err(unanswered(began.elapsed())),
        None => answer(connection, left()).map_err(|e| match e.kind() {
            Kind::TimedOut => unanswered(began.elapsed()),
            _ => e,
        }),
    }
}

/// Returns the lines that a process wants kept, if that is what it says.
fn kept(word: &[u8]) -> Option<Vec<String>> {
    let kept = word.strip_prefix(types::KEEP.as_bytes())?;
    Some(String::from_utf8_lossy(kept).lines().map(str::to_owned).collect())
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

    fn plan(directory: &Path, quota: bool) -> LxcfsPlan {
        LxcfsPlan { program: PathBuf::new(), directory: directory.to_owned(), sys: true, quota }
    }

    /// A process of the program's name that listens in a directory, answers after so many milliseconds, and is killed at the end.
    struct Slow {
        process: std::process::Child,
        directory: tempfile::TempDir,
        connection: OwnedFd,
    }

    const DIRECTORY: &str = "BRYO_TEST_DIRECTORY";
    const AFTER: &str = "BRYO_TEST_AFTER";
    const NEVER: u64 = 1_000_000;

    impl Slow {
        fn start(answers_after: u64) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let mut command = std::process::Command::new(std::env::current_exe().unwrap());
            command.args(["--ignored", "--exact", "lxcfs::tests::a_process_listens_and_answers_late"]);
            command.env(DIRECTORY, directory.path()).env(AFTER, answers_after.to_string());
            let process = command.stdout(std::process::Stdio::null()).spawn().unwrap();
            Self { process, connection: Self::connected(directory.path()), directory }
        }

        fn connected(directory: &Path) -> OwnedFd {
            let opened = sys::path::open_dir(directory).unwrap();
            let deadline = Instant::now() + Duration::from_secs(60);
            loop {
                if let Ok(connection) = socket::connect_at_once(opened.as_fd(), "command") {
                    return connection;
                }
                assert!(Instant::now() < deadline, "it does not listen");
                std::thread::sleep(Duration::from_millis(5));
            }
        }

        fn pidfd(&self) -> OwnedFd {
            process::pidfd(i32::try_from(self.process.id()).unwrap()).unwrap()
        }

        fn stop(&self) {
            process::send_signal(self.pidfd().as_fd(), types::Signal::new(19).unwrap()).unwrap();
        }

        /// Has it answer a start in 50 ms, or till the end of so many.
        fn answer(&self, millis: u64) -> Result<Vec<String>> {
            self.answer_until(Instant::now() + Duration::from_millis(millis))
        }

        fn answer_until(&self, until: Instant) -> Result<Vec<String>> {
            let early = Duration::from_millis(50);
            first_answer(self.directory.path(), self.connection.as_fd(), early, until)
        }
    }

    impl Slow {
        /// Returns work inside that has asked it, and the other end of that.
        fn asked(&self) -> (Inside, OwnedFd) {
            let (channel, inside) = socket::pair().unwrap();
            let connection = self.connection.try_clone().unwrap();
            let mut work = Inside::of(channel);
            let early = Some(Instant::now());
            work.asked = Some(Asked { connection, plan: plan(self.directory.path(), false), early });
            (work, inside)
        }
    }

    impl Drop for Slow {
        fn drop(&mut self) {
            let _ended_already = self.process.kill();
            let _reaped = self.process.wait();
        }
    }

    #[test]
    #[ignore = "what who_answers_late_is_not_killed_and_who_does_not_answer_is and its kin wait for"]
    fn a_process_listens_and_answers_late() {
        std::fs::write("/proc/self/comm", "bryo-lxcfs").unwrap();
        let after = std::env::var(AFTER).unwrap().parse().unwrap();
        let directory = sys::path::open_dir(Path::new(&std::env::var(DIRECTORY).unwrap())).unwrap();
        let listener = socket::listen_at(directory.as_fd(), "command").unwrap();
        let asked = socket::accept(listener.as_fd()).unwrap();
        std::thread::sleep(Duration::from_millis(after));
        socket::send(asked.as_fd(), b"files\nproc/stat", &[]).unwrap();
        std::thread::sleep(Duration::from_secs(60));
    }

    #[test]
    fn who_answers_late_is_not_killed_and_who_does_not_answer_is() {
        let slow = Slow::start(300);
        assert_eq!(slow.answer(60_000).unwrap(), ["proc/stat"]);
        assert!(!process::has_ended(slow.pidfd().as_fd()));
        let silent = Slow::start(NEVER);
        let began = Instant::now();
        let refused = silent.answer(1500).unwrap_err();
        assert!(process::has_ended(silent.pidfd().as_fd()) && began.elapsed() < Duration::from_secs(30));
        // As long as it was waited for, and not as the first part of that.
        assert!(refused.kind() == Kind::TimedOut && !refused.to_string().contains(" 0 "), "{refused}");
    }

    #[test]
    fn who_is_asked_long_after_it_was_summoned_has_its_time_to_answer() {
        let slow = Slow::start(300);
        let summoned = |waited| Summoned { connection: slow.connection.try_clone().unwrap(), waited };
        // As long as another start had the lock.
        let late = summoned(TAKES_OVER * 2);
        assert_eq!(slow.answer_until(Instant::now() + late.patience()).unwrap(), ["proc/stat"]);
        assert!(!process::has_ended(slow.pidfd().as_fd()));
        let seconds = |waited| summoned(Duration::from_secs(waited)).patience().as_secs();
        assert_eq!([0, 3, 10, 20, 100].map(seconds), [20, 17, 10, 10, 10]);
    }

    #[test]
    fn a_start_has_its_next_process_until_thirty_seconds_after_it_has_asked_the_first() {
        let asked = Instant::now();
        let after = |seconds| asked + Duration::from_secs(seconds);
        let of_next = |now| until_of_next(after(20), after(now));
        assert_eq!([0, 9, 12, 20].map(of_next), [after(20), after(20), after(22), after(30)]);
    }

    #[test]
    fn who_is_stopped_goes_on_and_answers() {
        let stopped = Slow::start(100);
        stopped.stop();
        assert_eq!(stopped.answer(60_000).unwrap(), ["proc/stat"]);
        let stopped = Slow::start(100);
        stopped.stop();
        // Who works inside has asked him.
        let serving = Serving::of_none(&plan(stopped.directory.path(), false), process::own_pid());
        let (work, _inside) = stopped.asked();
        serving.go_on_inside(work, None);
        assert_eq!(answer(stopped.connection.as_fd(), Duration::from_secs(60)).unwrap(), ["proc/stat"]);
        assert!(serving.patience() > Some(PATIENCE));
    }

    #[test]
    fn who_does_not_answer_is_killed_if_who_has_asked_says_so_and_not_for_work_that_is_held_up() {
        let silent = Slow::start(NEVER);
        let serving = Serving::of_none(&plan(silent.directory.path(), false), process::own_pid());
        let (mut work, _inside) = silent.asked();
        work.until = Instant::now();
        serving.go_on_inside(work, None);
        assert!(serving.outcome().is_some_and(|outcome| outcome.is_err()));
        assert!(!process::has_ended(silent.pidfd().as_fd()));
        let (work, inside) = silent.asked();
        let said = postcard::to_stdvec(&unanswered(TAKES_OVER)).unwrap();
        socket::send(inside.as_fd(), &said, &[]).unwrap();
        serving.hear_inside(work, None);
        assert!(process::has_ended(silent.pidfd().as_fd()));
    }

    #[test]
    fn what_fails_to_be_shown_is_forgotten_and_what_is_shown_remembered() {
        let old = plan(Path::new("/old"), false);
        let new = plan(Path::new("/new"), true);
        let serving = Serving::of_none(&old, process::own_pid());
        let (connection, _process) = socket::pair().unwrap();
        let work = || {
            let (channel, _inside) = socket::pair().unwrap();
            let connection = connection.try_clone().unwrap();
            let asked = Some(Asked { connection, plan: new.clone(), early: None });
            let mut work = Inside::of(channel);
            work.asked = asked;
            work
        };
        serving.changed(work(), None, Err(Error::new(Kind::Died, "it has ended")));
        assert_eq!(*serving.plan.borrow(), old);
        serving.changed(work(), None, Ok(()));
        assert_eq!(*serving.plan.borrow(), new);
        // Who was asked when the container's end begins is looked for where he was asked, unless another one serves until then.
        for (before, known) in [(Some(connection.try_clone().unwrap()), &old), (None, &new)] {
            let serving = Serving::of_none(&old, process::own_pid());
            serving.state.replace(State::Changes(work(), before));
            serving.let_go();
            assert_eq!(*serving.plan.borrow(), *known);
        }
    }

    #[test]
    fn an_init_that_has_begun_to_end_is_found_within_fifteen_seconds() {
        let (connection, process) = socket::pair().unwrap();
        let serving = Serving::of_none(&plan(Path::new("/x"), false), process::own_pid());
        serving.state.replace(State::Serves(connection));
        assert_eq!(serving.looks(), Some(Duration::from_secs(15)));
        let stat = |pid| process::open_stat(sys::namespace::proc_dir(pid).unwrap().as_fd()).unwrap();
        let is_let_go = |init: i32, stat: &OwnedFd| {
            serving.looked.set(Instant::now().checked_sub(LOOKS).unwrap());
            serving.look_at(init, stat.as_fd());
            event::readable(process.as_fd(), Some(Duration::ZERO)).unwrap()
        };
        let own = process::own_pid();
        assert!(!is_let_go(own, &stat(own)));
        // It is a zombie until it is waited for.
        let mut ended = std::process::Command::new("true").spawn().unwrap();
        let pid = i32::try_from(ended.id()).unwrap();
        let pidfd = process::pidfd(pid).unwrap();
        assert!(event::readable(pidfd.as_fd(), Some(Duration::from_secs(60))).unwrap());
        // Just looked at, and not looked at again.
        serving.look_at(pid, stat(pid).as_fd());
        assert!(!event::readable(process.as_fd(), Some(Duration::ZERO)).unwrap());
        // Also where /proc does not show it any more.
        assert!(is_let_go(i32::MAX, &stat(pid)));
        assert_eq!(serving.looks(), None);
        ended.wait().unwrap();
    }

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
}
