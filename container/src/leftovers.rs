//! The processes of a container that has no PID namespace of its own: no kernel ends them with its init.
//!
//! They are known by their user namespace, which no process can leave: the container's, or one below it. So whoever was
//! forked and orphaned, in whatever session and below whatever root, is found. The number of a namespace is given again when
//! its last process has ended, so the container's also gets a [`Mark`], before anything of the container runs.
//!
//! What remains. Processes that multiply faster than they are found are not all ended in time: the run file then stays, and
//! the next command goes on; where there is a cgroup it has ended them before, at once. On kernels without `ns_last_pid` a
//! process that forks and ends on and on may be missed. Where the outer user namespace has no project ids there is no mark
//! ([`Mark::set`]), and after a killed monitor three hide: processes that have all left their root by chroot(2), those of a
//! container whose root is the caller's, and one that runs a program which it may not read. The latter hides, mark or not, in a
//! user namespace below the container's too.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sys::process::{self, Cloned, Exit, flags};
use sys::{Errno, namespace, path};
use types::Signal;

use crate::error::{Doing, Error, Kind, Result};

/// How long processes that fork on and on may take to end.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long killed processes are given before they are looked at again.
const PAUSE: Duration = Duration::from_millis(5);
/// How long a process that cannot be looked into may take to end by itself: Bryo's own ones that attach are such, and have
/// to tell how their programs ended.
const GRACE: Duration = Duration::from_secs(1);
/// The kernel nests no deeper. Source: user_namespaces(7).
const DEEPEST: usize = 33;

/// What a later command recognises them by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traces {
    /// The inode number of the user namespace. It is given again when the last process of it has ended.
    user: u64,
    /// The mark on it, which tells whether it was.
    mark: Option<Mark>,
    /// The root file system, which tells in place of a mark. A process can leave it by chroot(2).
    rootfs: PathBuf,
}

impl Traces {
    /// Returns those of a container that is about to run.
    pub(crate) fn of(user: BorrowedFd<'_>, mark: Option<Mark>, rootfs: &Path) -> Result<Self> {
        Ok(Self { user: namespace::identity(user)?, mark, rootfs: rootfs.to_owned() })
    }
}

/// A name of a user namespace that nobody can change and everybody can read: its map of project ids. The kernel lets it be
/// written once, and it means nothing else there. Source: user_namespaces(7).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark(String);

impl Mark {
    /// Marks the user namespace of a process, of which nothing else runs yet. None where the outer namespace, being one of a
    /// container engine without root, has no project ids to give.
    pub(crate) fn set(proc: BorrowedFd<'_>) -> Option<Self> {
        let mark = Self::new();
        let set = path::write_existing(proc, Path::new("projid_map"), mark.0.as_bytes());
        set.inspect_err(|e| log::info!("the container's user namespace is not marked: {e}")).ok()?;
        Some(mark)
    }

    /// Makes one that no other namespace has, of 112 bits of chance in pieces that do not overlap, as a map's must not.
    fn new() -> Self {
        let chance = std::fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap_or_default();
        let digits: Vec<u32> = chance.chars().filter_map(|c| c.to_digit(16)).collect();
        let piece = |digits: &[u32]| digits.iter().fold(0, |number, digit| number << 4 | digit);
        let line = |(n, digits): (usize, &[u32])| format!("{n} {} 1\n", (n as u32) << 28 | piece(digits));
        Self(digits.chunks_exact(7).enumerate().map(line).collect())
    }

    /// Tells whether a process is in the namespace itself; for anybody who is in the one above, or in it.
    ///
    /// # Errors
    /// The process has ended.
    fn is_on(&self, proc: BorrowedFd<'_>) -> sys::Result<bool> {
        const CAP: u64 = 4096;
        let text = path::read_small(proc, Path::new("projid_map"), CAP)?;
        let text = String::from_utf8_lossy(&text);
        Ok(!self.0.is_empty() && text.split_ascii_whitespace().eq(self.0.split_ascii_whitespace()))
    }

    /// Tells whether a namespace has the mark: by a process that joins it, since perhaps only namespaces below have any.
    ///
    /// # Errors
    /// The process cannot be made, or does not tell: somebody inside may have killed it.
    fn names(&self, user: BorrowedFd<'_>) -> Result<bool> {
        const OWN: i32 = 0;
        const FOREIGN: i32 = 1;
        const UNKNOWN: i32 = 2;
        let parent = process::own_pid();
        match process::fork()? {
            Cloned::Child => {
                process::exit_now(match join(user, parent).and_then(|proc| self.is_on(proc.as_fd())) {
                    Ok(true) => OWN,
                    Ok(false) => FOREIGN,
                    Err(e) if e.errno() == Errno::EPERM => FOREIGN,
                    Err(_) => UNKNOWN,
                })
            }
            Cloned::Parent { pidfd, .. } => match process::wait(pidfd.as_fd())? {
                Exit::Code(OWN) => Ok(true),
                Exit::Code(FOREIGN) => Ok(false),
                how => Err(Error::new(Kind::Died, format!("looking at the user namespace: {how:?}"))),
            },
        }
    }
}

/// Joins a user namespace, in which nobody may look into this process, and returns its own directory of /proc.
fn join(user: BorrowedFd<'_>, parent: i32) -> sys::Result<OwnedFd> {
    process::set_dumpable(false)?;
    namespace::join(user, flags::NEWUSER)?;
    process::die_with_parent(parent)?;
    namespace::proc_dir(process::own_pid())
}

/// Ends all processes of a container's user namespace and of those below it.
///
/// # Errors
/// Some do not end, or fork faster than they are ended.
pub(crate) fn end(user: BorrowedFd<'_>, mark: Option<&Mark>) -> Result<()> {
    let held = user.try_clone_to_owned().map_err(crate::place::from_io)?;
    end_all(Container {
        user: namespace::identity(user)?,
        mark,
        rootfs: None,
        known: Known::Own { _held: held },
    })
}

/// Ends what a container has left whose monitor was killed, or could not end it.
///
/// # Errors
/// As of [`end`].
pub(crate) fn end_by(traces: &Traces) -> Result<()> {
    end_all(Container::of(traces))
}

/// Tells whether a container has left anything.
pub(crate) fn are_left(traces: &Traces) -> bool {
    let mut search = Search::new(Container::of(traces), false);
    !search.finds_nobody(Instant::now() + PATIENCE).unwrap_or(false)
}

const ENDING: &str = "ending what is left in the container";

fn end_all(container: Container<'_>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let mut search = Search::new(container, true);
    while !search.finds_nobody(deadline).doing(ENDING)? {
        if Instant::now() > deadline {
            return Err(still_there(&search)).doing(ENDING);
        }
        if !search.has_signalled {
            std::thread::sleep(PAUSE);
        }
    }
    Ok(())
}

/// Names those that do not end, as many as fit a sentence. The kernel lets a killed process live while a call of it cannot
/// be interrupted, or a cgroup of v1 is frozen.
fn still_there(search: &Search<'_>) -> Error {
    let some: Vec<String> = search.left.iter().take(8).map(i32::to_string).collect();
    let more = if search.left.len() > some.len() { ", ..." } else { "" };
    let list = format!("{}{more}", some.join(", "));
    let cause = if some.is_empty() {
        "processes of this machine are made faster than they can be looked at".to_owned()
    } else if search.left.iter().any(|pid| search.signalled.contains(pid)) {
        format!("killed and still there: process {list}")
    } else {
        format!("it cannot be told whether they are the container's: process {list}")
    };
    Error::new(Kind::Died, format!("{cause}; the next command tries again"))
}

/// How a container's processes are told from all others.
#[derive(Debug)]
struct Container<'a> {
    user: u64,
    mark: Option<&'a Mark>,
    rootfs: Option<(u64, u64)>,
    known: Known,
}

/// Whose the namespace of that number is.
#[derive(Debug)]
enum Known {
    /// Nobody of it was met, or nothing told whose it is.
    NotYet,
    /// The container's; while it is held nobody else gets the number.
    Own { _held: OwnedFd },
    /// Somebody else's: the container's is no more.
    Foreign,
}

/// Whether a process is the container's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Belongs {
    No,
    Yes,
    /// It may be: it could not be told.
    Perhaps,
    /// It is, and nobody but the kernel may look into it: one of Bryo's that attaches, or one of the container that runs a
    /// program which it may not read (the kernel then protects the program's owner, who is none of the container's).
    Closed,
}

impl<'a> Container<'a> {
    fn of(traces: &'a Traces) -> Self {
        let mark = traces.mark.as_ref();
        // The caller's own root tells nobody apart.
        let rootfs = identity(&traces.rootfs).filter(|root| Some(*root) != identity(Path::new("/")));
        Self { user: traces.user, mark, rootfs, known: Known::NotYet }
    }

    fn has(&mut self, process: &Living) -> sys::Result<Belongs> {
        let Some(own) = process.user_namespace()? else {
            // Anybody may read the mark and wear it, but only to the container's owner does its namespace belong.
            let marked = self.mark.is_some_and(|mark| mark.is_on(process.proc.as_fd()) == Ok(true));
            let is_ours = marked && process::may_signal(process.pidfd.as_fd());
            return Ok(if is_ours { Belongs::Closed } else { Belongs::No });
        };
        let is_it = |namespace: &OwnedFd| namespace::identity(namespace.as_fd()) == Ok(self.user);
        let above = |below: &OwnedFd| namespace::parent(below.as_fd()).ok();
        let is_in_it = is_it(&own);
        let found = std::iter::successors(Some(own), above).take(DEEPEST).find(is_it);
        Ok(found.map_or(Belongs::No, |user| self.has_found(user, process, is_in_it)))
    }

    /// Tells whether the namespace of that number, of which a process was met, is the container's still. The process is in
    /// it or in one below; the former shows the mark by itself, also where no process more can be made.
    fn has_found(&mut self, user: OwnedFd, process: &Living, is_in_it: bool) -> Belongs {
        if matches!(self.known, Known::NotYet) {
            let told = self.mark.map(|mark| match is_in_it {
                true => mark.is_on(process.proc.as_fd()).map_err(Error::from),
                false => mark.names(user.as_fd()),
            });
            self.known = match told {
                Some(Ok(true)) => Known::Own { _held: user },
                Some(Ok(false)) => Known::Foreign,
                Some(Err(e)) => {
                    log::info!("{e}");
                    return Belongs::Perhaps;
                }
                None if self.rootfs.is_some() && process.root() == self.rootfs => Known::Own { _held: user },
                None => Known::NotYet,
            };
        }
        if matches!(self.known, Known::Own { .. }) { Belongs::Yes } else { Belongs::No }
    }
}

/// Returns which directory a path leads to: its device and inode number.
fn identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

/// So many looks in a row that are not [certain](Search::look) find nobody before it is believed.
const LOOKS: u32 = 8;

/// A search for a container's processes, which ends those that it finds.
#[derive(Debug)]
struct Search<'a> {
    container: Container<'a>,
    ends: bool,
    begun: Instant,
    signalled: BTreeSet<i32>,
    /// Those that the last look found.
    left: BTreeSet<i32>,
    /// Whether some of them were found for the first time.
    has_signalled: bool,
}

impl<'a> Search<'a> {
    fn new(container: Container<'a>, ends: bool) -> Self {
        let (signalled, left) = (BTreeSet::new(), BTreeSet::new());
        Self { container, ends, begun: Instant::now(), signalled, left, has_signalled: false }
    }

    /// Looks until somebody is found or it is certain, as far as it can be, that nobody is there. At the deadline it is not.
    ///
    /// # Errors
    /// There is no fd or memory left to look with.
    fn finds_nobody(&mut self, deadline: Instant) -> sys::Result<bool> {
        for _ in 0..LOOKS {
            match self.look(deadline)? {
                _ if !self.left.is_empty() => return Ok(false),
                true => return Ok(true),
                false => {}
            }
        }
        Ok(Instant::now() <= deadline)
    }

    /// Looks at all processes, and at those that are made meanwhile until none is. Returns whether nobody was missed.
    ///
    /// A process that forks and ends is gone before it is looked at, and its child was not there when the look began. But
    /// the child has a later pid than all before, so it is looked at next. When no pid was given since the last ones were
    /// looked at, everybody who lives was there to be seen.
    fn look(&mut self, deadline: Instant) -> sys::Result<bool> {
        (self.left, self.has_signalled) = (BTreeSet::new(), false);
        let mut last = process::last_pid();
        process::pids()?.into_iter().try_for_each(|pid| self.look_at(pid))?;
        loop {
            let (Some(before), Some(now)) = (last, process::last_pid()) else { return Ok(false) };
            match now {
                _ if now == before => return Ok(true),
                // The numbers have begun anew.
                _ if now < before || Instant::now() > deadline => return Ok(false),
                _ => (before + 1..=now).try_for_each(|pid| self.look_at(pid))?,
            }
            last = Some(now);
        }
    }

    fn look_at(&mut self, pid: i32) -> sys::Result<()> {
        let Some(process) = Living::of(pid)? else { return Ok(()) };
        let belongs = self.container.has(&process)?;
        if belongs == Belongs::No {
            return Ok(());
        }
        self.left.insert(pid);
        let is_time = match belongs {
            Belongs::Yes => true,
            Belongs::Closed => self.begun.elapsed() > GRACE,
            Belongs::Perhaps | Belongs::No => false,
        };
        if self.ends && is_time {
            self.has_signalled |= self.signalled.insert(pid);
            let _ended_just_now = process::send_signal(process.pidfd.as_fd(), Signal::KILL);
        }
        Ok(())
    }
}

/// Takes a refusal for nothing, and gives the want of a fd or memory back: whoever cannot look must not say that nobody is
/// there.
fn unless_wanting<T>(got: sys::Result<T>) -> sys::Result<Option<T>> {
    match got {
        Err(e) if matches!(e.errno(), Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM) => Err(e),
        got => Ok(got.ok()),
    }
}

/// A process that has not ended.
#[derive(Debug)]
struct Living {
    pidfd: OwnedFd,
    proc: OwnedFd,
}

impl Living {
    /// Takes hold of a process; none when it has ended. The pidfd comes first: what is then looked up by the number may be
    /// of a later process of that number, but the signal never goes to it.
    fn of(pid: i32) -> sys::Result<Option<Self>> {
        let Some(pidfd) = unless_wanting(process::pidfd(pid))? else { return Ok(None) };
        let Some(proc) = unless_wanting(namespace::proc_dir(pid))? else { return Ok(None) };
        Ok((!process::has_ended(pidfd.as_fd())).then_some(Self { pidfd, proc }))
    }

    /// Returns its user namespace. Those of strangers cannot be opened.
    fn user_namespace(&self) -> sys::Result<Option<OwnedFd>> {
        unless_wanting(namespace::of_process(self.proc.as_fd(), "user"))
    }

    /// Returns which directory its root is.
    fn root(&self) -> Option<(u64, u64)> {
        identity(&path::of_fd(&self.proc).join("root"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_a_map_whose_pieces_do_not_overlap_and_no_other_has() {
        let mark = Mark::new();
        let lines: Vec<Vec<u32>> =
            mark.0.lines().map(|line| line.split(' ').map(|n| n.parse().unwrap()).collect()).collect();
        assert_eq!(lines.len(), 4);
        for (n, line) in lines.iter().enumerate() {
            assert_eq!((line[0], line[1] >> 28, line[2]), (n as u32, n as u32, 1));
        }
        assert_ne!(mark, Mark::new());
    }

    #[test]
    fn whoever_cannot_look_does_not_say_that_nobody_is_there() {
        let got = |errno| unless_wanting::<()>(Err(sys::Error::new("pidfd_open(2)", errno)));
        assert_eq!(got(Errno::ESRCH), Ok(None));
        assert!(got(Errno::EMFILE).is_err() && got(Errno::ENOMEM).is_err());
    }

    #[test]
    fn a_process_without_the_mark_does_not_bear_it() {
        let own = namespace::proc_dir(process::own_pid()).unwrap();
        assert_eq!(Mark::new().is_on(own.as_fd()), Ok(false));
        assert_eq!(Mark(String::new()).is_on(own.as_fd()), Ok(false));
    }
}
