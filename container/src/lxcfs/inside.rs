//! Inside of the container: its superblock, and the mounts that cover files of /proc and /sys.
//!
//! The child of a start makes them, while it becomes the container's init. In a container that runs, a process of the monitor's does, which
//! joins its user and mount namespaces and no others: so nothing of the container sees it. It has no fd but those that it needs, and
//! may be held up by what the container's root has mounted, so nobody waits for it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Instant;

use cgroup::view::Directory;
use sys::fuse::{self, Next};
use sys::mount::{self, Depth, Propagation};
use sys::path::{self, Links};
use sys::process::{self, Cloned, flags};
use sys::{Errno, cred, event, namespace, socket};
use types::{MountLine, Serve, Signal};

use super::summon::answer;
use super::{INSIDE, PATIENCE, TAKES_OVER, Target};
use crate::error::{Doing, Error, Kind, Result};
use crate::logging;
use crate::plan::LxcfsPlan;

/// What the mount table says of where the files come from.
const SOURCE: &str = "bryo-lxcfs";

/// The directory of files of which somebody can be woken.
const PRESSURE: &str = "proc/pressure";

/// A container's superblocks, made by root of the container: of its files, which are read alone, and of those in which somebody may
/// write what he wants to be woken for. In the one the kernel asks of no file for what it is ready, or for its status after each
/// reading; in the other it has to.
#[derive(Debug)]
pub(crate) struct Superblocks {
    mounts: Vec<OwnedFd>,
    devices: Devices,
}

/// The devices of a container's superblocks.
#[derive(Debug)]
pub(crate) struct Devices {
    files: OwnedFd,
    /// There is none where the kernel tells of no pressure.
    pressure: Option<OwnedFd>,
}

impl Devices {
    /// Opens some of which superblocks are made.
    fn open() -> Result<Self> {
        let tells = Path::new("/").join(PRESSURE).exists();
        Ok(Self { files: fuse::open()?, pressure: tells.then(fuse::open).transpose()? })
    }

    /// Takes those that were sent; none where none was.
    ///
    /// # Errors
    /// Something else was.
    pub(crate) fn sent(fds: Vec<OwnedFd>) -> Result<Option<Self>> {
        // They come from a process that is root of the container by now.
        if !fds.iter().all(|fd| fuse::is_device(fd.as_fd())) {
            return Err(Error::new(Kind::Build, "what the container's init sent is no device of FUSE"));
        }
        let mut fds = fds.into_iter();
        Ok(fds.next().map(|files| Self { files, pressure: fds.next() }))
    }

    /// Returns them, to be sent.
    pub(crate) fn fds(&self) -> Vec<BorrowedFd<'_>> {
        [&self.files].into_iter().chain(&self.pressure).map(AsFd::as_fd).collect()
    }

    /// Tells whether somebody can wait in files of pressure.
    pub(super) fn waits(&self) -> bool {
        self.pressure.is_some()
    }

    fn map(&self, mut each: impl FnMut(BorrowedFd<'_>) -> Result<OwnedFd>) -> Result<Self> {
        let files = each(self.files.as_fd())?;
        Ok(Self { files, pressure: self.pressure.as_ref().map(|fd| each(fd.as_fd())).transpose()? })
    }

    /// Returns other devices of the superblocks, see [`clone_device`].
    pub(super) fn cloned(&self, of: Target<'_>) -> Result<Self> {
        self.map(|device| clone_device(device, of))
    }

    /// Answers all that was asked by them with an error.
    pub(super) fn refuse_all(&self) {
        self.fds().into_iter().for_each(refuse_all);
    }
}

impl Superblocks {
    /// Makes them, as root of the container.
    pub(crate) fn new() -> Result<Self> {
        Self::at(Devices::open()?)
    }

    fn at(devices: Devices) -> Result<Self> {
        let mut mounts = vec![fuse::new_superblock(devices.files.as_fd(), SOURCE, "lxcfs")?];
        if let Some(device) = &devices.pressure {
            mounts.push(fuse::new_writable_superblock(device.as_fd(), SOURCE, "lxcfs")?);
        }
        Ok(Self { mounts, devices })
    }

    /// Returns the devices, to be sent up.
    pub(crate) fn devices(&self) -> &Devices {
        &self.devices
    }

    /// Puts the files over those below `root` that are there. A file that the kernel has not, the container has not either, and what
    /// its configuration has put over one stays.
    ///
    /// # Errors
    /// Nobody serves the files; those before are in place then.
    pub(crate) fn cover(self, root: BorrowedFd<'_>, files: &[String]) -> Result<()> {
        put(root, &self.copies(root, files)?)
    }

    /// Returns copies of the files, each a mount of its own. The superblock covers a directory below `root` meanwhile, so nobody else may be
    /// in this mount namespace.
    fn copies<'a>(self, root: BorrowedFd<'_>, files: &'a [String]) -> Result<Vec<(&'a str, OwnedFd)>> {
        // With a copy here a superblock would wait for an answer for ever when nobody else has one.
        drop(self.devices);
        let (waiting, others): (Vec<&'a str>, Vec<&'a str>) = files
            .iter()
            .map(String::as_str)
            .partition(|file| self.mounts.len() > 1 && Path::new(file).starts_with(PRESSURE));
        let mut copies = Vec::new();
        for (mount, files) in self.mounts.iter().zip([others, waiting]) {
            copies.extend(copies_of(mount.as_fd(), root, files)?);
        }
        Ok(copies)
    }
}

fn copies_of<'a>(
    superblock: BorrowedFd<'_>,
    root: BorrowedFd<'_>,
    files: Vec<&'a str>,
) -> Result<Vec<(&'a str, OwnedFd)>> {
    let mut copies = Vec::new();
    let Some(_attached) = Attached::below(root, superblock).doing("mounting the files")? else {
        return Ok(copies);
    };
    for file in files {
        match mount::copy(superblock, Path::new(file), Depth::One) {
            // The host has not got it.
            Err(e) if e.errno() == Errno::ENOENT => {}
            copy => copies.push((file, copy.doing_with(|| format!("copying the mount of /{file}"))?)),
        }
    }
    Ok(copies)
}

/// Puts copies of files in their places below `root`.
fn put(root: BorrowedFd<'_>, copies: &[(&str, OwnedFd)]) -> Result<()> {
    let kernels: Vec<u64> = ["proc", "sys"].iter().filter_map(|of| device_of(root, of)).collect();
    for (file, copy) in copies {
        let doing = || format!("mounting /{file}");
        let place = match path::take_in(root, Path::new(file), Links::Refuse) {
            Err(e) if e.errno() == Errno::ENOENT => continue,
            place => place.doing_with(doing)?,
        };
        if kernels.contains(&path::status(place.as_fd()).doing_with(doing)?.st_dev) {
            mount::attach(copy.as_fd(), place.as_fd()).doing_with(doing)?;
        }
    }
    Ok(())
}

/// A mount that is in the mount namespace for a while: before Linux 6.15 parts of a detached one cannot be copied. It lies on the directory
/// of this name, and is taken from there by it: who served it may be gone, and then nobody can step into it.
struct Attached<'a>(BorrowedFd<'a>, &'static str);

impl<'a> Attached<'a> {
    /// Nothing where the root has no such directory: then it has no files to be covered either.
    fn below(root: BorrowedFd<'a>, mount: BorrowedFd<'_>) -> sys::Result<Option<Self>> {
        for name in ["proc", "sys"] {
            match path::take_in(root, Path::new(name), Links::Refuse) {
                Ok(place) => return mount::attach(mount, place.as_fd()).map(|()| Some(Self(root, name))),
                Err(e) if e.errno() == Errno::ENOENT => {}
                Err(e) => return Err(e),
            }
        }
        Ok(None)
    }
}

impl Drop for Attached<'_> {
    fn drop(&mut self) {
        let back = path::take(Path::new(".")).or_else(|_| path::take(Path::new("/")));
        let detached = path::change_dir(self.0).and_then(|()| mount::detach(Path::new(self.1)));
        if let Err(e) = back.and_then(|back| path::change_dir(back.as_fd())).and(detached) {
            log::warn!("the mount of the files stays on /{}: {e}", self.1);
        }
    }
}

/// Returns which file system a directory is of.
fn device_of(root: BorrowedFd<'_>, directory: &str) -> Option<u64> {
    let opened = path::take_in(root, Path::new(directory), Links::Refuse).ok()?;
    path::status(opened.as_fd()).ok().map(|found| found.st_dev)
}

/// Takes the files from their places, whoever serves them or does not, in the mount namespace of which `own`, the directory of this process
/// in /proc, tells.
fn uncover(own: BorrowedFd<'_>) -> Result<()> {
    const CAP: u64 = 64 << 20;
    let mounts =
        path::read_small(own, Path::new("mountinfo"), CAP).doing("reading the container's mounts")?;
    let mounts = String::from_utf8_lossy(&mounts);
    // What was put over another comes later, and goes first. Each is tried: that of a copy which the container has made of its /proc may
    // be gone with another, or out of reach.
    let covers = MountLine::all(&mounts).rev().filter(|mount| mount.source == SOURCE);
    let taken = covers.map(|cover| match mount::detach(Path::new(&MountLine::unescaped(cover.point))) {
        Err(e) if matches!(e.errno(), Errno::EINVAL | Errno::ENOENT) => Ok(()),
        detached => detached.doing_with(|| format!("unmounting {}", cover.point)),
    });
    taken.collect::<Vec<_>>().into_iter().collect()
}

/// Answers all that was asked by a device with an error, also what a process that has died had read and not answered.
fn refuse_all(device: BorrowedFd<'_>) {
    /// So many at most: there may be somebody who asks on and on.
    const MOST: usize = 10_000;
    const RESEND: i32 = 7;
    // A message has a length, a kind of error or of notification, and the number of a question. Before Linux 6.9 it is refused.
    let _not_known =
        fuse::send(device, &[16_u32.to_ne_bytes(), RESEND.to_ne_bytes(), [0; 4], [0; 4]].concat());
    let mut buffer = vec![0; 16 << 10];
    for _ in 0..MOST {
        let Ok(Next::Message(length)) = fuse::next(device, &mut buffer) else { return };
        if let Some(refusal) = refusal(&buffer[..length]) {
            let _nobody_waits = fuse::send(device, &refusal);
        }
    }
}

/// Returns the refusal of a question, where one is waited for. Source: the kernel's include/uapi/linux/fuse.h.
fn refusal(question: &[u8]) -> Option<Vec<u8>> {
    const UNANSWERED: [u32; 3] = [2, 36, 42];
    const IO_ERROR: i32 = -5;
    let kind = u32::from_ne_bytes(question.get(4..8)?.try_into().ok()?);
    let number = question.get(8..16)?;
    let message = [&16_u32.to_ne_bytes()[..], &IO_ERROR.to_ne_bytes(), number].concat();
    (!UNANSWERED.contains(&kind)).then_some(message)
}

/// What is to be done inside.
#[derive(Debug)]
pub(super) enum Job<'a> {
    /// Put the files of new superblocks in their places, once whoever is at the other end of `connection` serves them.
    Cover {
        connection: BorrowedFd<'a>,
        /// What he is told of the container, beside its devices.
        told: Serve,
        directories: Vec<Directory>,
        /// Files of /sys are covered, too.
        sys: bool,
    },
    /// Take them away.
    Uncover,
}

/// A process that works inside of a container that runs.
#[derive(Debug)]
pub(super) struct Inside {
    /// By which it tells how it goes.
    pub(super) channel: OwnedFd,
    process: Option<OwnedFd>,
    /// When it has taken too long.
    pub(super) until: Instant,
    /// The devices of the superblocks that it has made: whoever serves them has answered by then.
    pub(super) devices: Option<Devices>,
    /// Whom it has asked to serve them.
    pub(super) asked: Option<Asked>,
}

/// Who is asked to serve superblocks that are being made.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) connection: OwnedFd,
    pub(super) plan: LxcfsPlan,
    /// When who has not answered is taken for stopped.
    pub(super) early: Option<Instant>,
}

/// What it says.
pub(super) enum Heard {
    /// There is more to come.
    Goes,
    /// It is over.
    Ended(Result<()>),
}

/// The word that comes with devices, and the last one where all went well. Else it is an error.
const DEVICE: &[u8] = b"device";
const DONE: &[u8] = b"done";

impl Inside {
    /// Starts the process.
    pub(super) fn begin(job: Job<'_>, of: Target<'_>) -> Result<Self> {
        let (channel, theirs) = socket::pair()?;
        let monitor = process::own_pid();
        match process::fork()? {
            Cloned::Child => {
                let done = work(&job, of, theirs.as_fd(), monitor);
                let said =
                    done.map_or_else(|e| postcard::to_stdvec(&e).unwrap_or_default(), |()| DONE.to_vec());
                let told = socket::send(theirs.as_fd(), &said, &[]);
                process::exit_now(i32::from(told.is_err()))
            }
            Cloned::Parent { pidfd, .. } => Ok(Self { process: Some(pidfd), ..Self::of(channel) }),
        }
    }

    /// What nothing is known of yet but how it will be heard.
    pub(super) fn of(channel: OwnedFd) -> Self {
        Self { channel, process: None, until: Instant::now() + INSIDE, devices: None, asked: None }
    }

    /// Returns when there is something to be done, whatever is heard.
    pub(super) fn due(&self) -> Instant {
        self.asked.as_ref().and_then(|asked| asked.early).map_or(self.until, |early| early.min(self.until))
    }

    /// Returns who has been asked and has not answered.
    pub(super) fn unanswering(&mut self) -> Option<&mut Asked> {
        self.asked.as_mut().filter(|_| self.devices.is_none())
    }

    /// Hears what it says.
    pub(super) fn hear(&mut self) -> Heard {
        const LONGEST: usize = 16 << 10;
        let message = match socket::receive(self.channel.as_fd(), LONGEST) {
            Ok(message) => message,
            Err(e) => return Heard::Ended(Err(e.into())),
        };
        match &message.bytes[..] {
            DEVICE => match Devices::sent(message.fds) {
                Ok(devices) => {
                    self.devices = devices;
                    Heard::Goes
                }
                Err(e) => Heard::Ended(Err(e)),
            },
            DONE => Heard::Ended(Ok(())),
            said => Heard::Ended(Err(postcard::from_bytes(said).unwrap_or_else(|_| died()))),
        }
    }

    /// Ends it before it is done, and returns a pidfd of it. The monitor reaps it.
    pub(super) fn end(&mut self) -> Option<OwnedFd> {
        let process = self.process.take()?;
        let _ended_already = process::send_signal(process.as_fd(), Signal::KILL);
        Some(process)
    }
}

fn died() -> Error {
    Error::new(Kind::Died, "the process that works inside of the container has ended")
}

/// The process: does its job as root of the container, in its mount namespace.
fn work(job: &Job<'_>, of: Target<'_>, channel: BorrowedFd<'_>, monitor: i32) -> Result<()> {
    let mut kept: Vec<BorrowedFd<'_>> = vec![channel, of.init, of.user];
    if let Job::Cover { connection, directories, .. } = job {
        kept.push(*connection);
        kept.extend(directories.iter().map(|directory| directory.dir.as_fd()));
    }
    become_root_of(of, &kept, monitor)?;
    let own = path::open_dir(Path::new("/proc/self"))?;
    let Job::Cover { connection, told, directories, sys } = job else {
        enter_mounts(of)?;
        return uncover(own.as_fd());
    };
    // They are the host's, and so have to be opened before.
    let devices = Devices::open()?;
    let spare = if fuse::is_asked_again() { None } else { Some(devices.map(|_| Ok(fuse::open()?))?) };
    enter_mounts(of)?;
    let superblocks = Superblocks::at(devices)?;
    if let Some(spare) = &spare {
        for (another, device) in spare.fds().into_iter().zip(superblocks.devices().fds()) {
            fuse::make_clone(another, device)?;
        }
    }
    let mut fds: Vec<BorrowedFd<'_>> =
        spare.iter().chain([superblocks.devices()]).flat_map(Devices::fds).collect();
    fds.extend(directories.iter().map(|directory| directory.dir.as_fd()));
    let told = Serve { waits: superblocks.devices().waits(), cloned: spare.is_some(), ..told.clone() };
    socket::send_now(*connection, told.text().as_bytes(), &fds)?;
    drop(spare);
    let mut files = answer(*connection, TAKES_OVER)?;
    files.retain(|file| *sys || !file.starts_with("sys/"));
    socket::send(channel, DEVICE, &superblocks.devices().fds())?;
    let copies = alone_with_mounts().and_then(|root| superblocks.copies(root.as_fd(), &files))?;
    enter_mounts(of)?;
    uncover(own.as_fd())?;
    let root = path::open_dir(Path::new("/"))?;
    put(root.as_fd(), &copies)
}

/// Has the process alone in a copy of the container's mount namespace, of which nothing spreads, and which ends with it. Returns its root.
fn alone_with_mounts() -> Result<OwnedFd> {
    namespace::leave(flags::NEWNS).doing("copying the container's mount namespace")?;
    let root = path::open_dir(Path::new("/"))?;
    mount::set_attributes(root.as_fd(), 0, 0, Some(Propagation::Private), Depth::Tree)?;
    Ok(root)
}

/// Becomes root of a container, closed to others, with the fds in `kept` alone, and for as long as the monitor lives.
fn become_root_of(of: Target<'_>, kept: &[BorrowedFd<'_>], monitor: i32) -> Result<()> {
    process::set_dumpable(false)?;
    process::close_all_but(&kept.iter().copied().chain(logging::fds()).collect::<Vec<_>>())?;
    namespace::join(of.user, flags::NEWUSER).doing("joining the container's user namespace")?;
    cred::become_user(0, 0, &[], of.keeps_groups)?;
    // The kernel forgets both when ids change.
    process::set_dumpable(false)?;
    Ok(process::die_with_parent(monitor)?)
}

fn enter_mounts(of: Target<'_>) -> Result<()> {
    namespace::join(of.init, flags::NEWNS).doing("joining the container's mount namespace")
}

/// Returns another device of a superblock, by a process that is root of the container: the kernel wants it opened in its user namespace.
fn clone_device(device: BorrowedFd<'_>, of: Target<'_>) -> Result<OwnedFd> {
    let (ours, theirs) = socket::pair()?;
    let monitor = process::own_pid();
    let Cloned::Parent { pidfd, .. } = process::fork()? else {
        let cloned = become_root_of(of, &[device, theirs.as_fd(), of.user], monitor).and_then(|()| {
            let another = fuse::open()?;
            fuse::make_clone(another.as_fd(), device)?;
            Ok(another)
        });
        let told = match &cloned {
            Ok(another) => socket::send(theirs.as_fd(), DEVICE, &[another.as_fd()]),
            Err(e) => socket::send(theirs.as_fd(), &postcard::to_stdvec(e).unwrap_or_default(), &[]),
        };
        process::exit_now(i32::from(told.is_err()))
    };
    drop(theirs);
    let said =
        event::readable(ours.as_fd(), Some(PATIENCE)).and_then(|_| socket::receive(ours.as_fd(), 16 << 10));
    let _ended_already = process::send_signal(pidfd.as_fd(), Signal::KILL);
    process::wait(pidfd.as_fd())?;
    let said = said?;
    said.fds.into_iter().next().ok_or_else(|| postcard::from_bytes(&said.bytes).unwrap_or_else(|_| died()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_refused_unless_nobody_waits_for_an_answer() {
        let question =
            |kind: u32| [&40_u32.to_ne_bytes()[..], &kind.to_ne_bytes(), &[7; 8], &[0; 24]].concat();
        let expected = [&16_u32.to_ne_bytes()[..], &(-5_i32).to_ne_bytes(), &[7; 8]].concat();
        assert_eq!(refusal(&question(15)), Some(expected));
        assert_eq!([2, 36, 42].map(|kind| refusal(&question(kind))), [None, None, None]);
        assert_eq!([refusal(&[]), refusal(&question(15)[..15])], [None, None]);
    }
}
