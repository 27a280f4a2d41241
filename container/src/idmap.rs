//! Id maps: choosing one, writing it for a namespace, and working inside a namespace that has it.
//!
//! Choosing is pure. Writing goes by [`IdWriter`]: root writes the files itself, everybody else asks a helper.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sys::process::{Cloned, Exit, flags};
use sys::{namespace, path, process, socket};
use types::{IdExtent, IdKind, IdMap, IdRange, NsGid, NsUid};

use crate::error::{Doing, Error, Kind, Result};
use crate::helper;
use crate::host::{Caller, HostFacts, IdWriter};
use crate::root::Root;

/// How many ids a system container needs: 0 to 65535, up to `nobody` and `nogroup`.
pub const FULL_RANGE: u32 = 65_536;

/// Chooses the map of a new container from what the host grants the caller.
///
/// All of the caller's ranges are used, in order, as LXC's tools do by default for one line: the first ids of the
/// first range are 0 and on. Of them count those that exist in the user namespace of this process: inside of another one the kernel
/// maps no others. Without any range the caller's own id becomes root, alone.
pub fn choose(facts: &HostFacts) -> IdMap {
    if facts.id_writer == IdWriter::OwnIdOnly {
        return own_id_only(&facts.caller);
    }
    let spare = facts.free_range.into_iter().collect::<Vec<_>>();
    let pick = |granted: &[IdRange], mapped: &[IdRange]| {
        extents(&common(if granted.is_empty() { &spare } else { granted }, mapped))
    };
    let uids = pick(&facts.subuids, &facts.mapped.uids);
    let map = IdMap { uids, gids: pick(&facts.subgids, &facts.mapped.gids) };
    if map.uids.is_empty() || map.gids.is_empty() { own_id_only(&facts.caller) } else { map }
}

/// Returns the map with the caller as a user inside, of the same number: what is made inside by that user is the
/// caller's outside. Where only the caller's own id can be mapped, root inside is the caller already.
///
/// # Errors
/// A caller who is root, or in group 0: no map of an ordinary container holds id 0 of the host. A map in which nobody
/// would be left for root inside.
pub fn with_me(map: &IdMap, caller: &Caller) -> Result<IdMap> {
    if is_own_id_only(map, caller) {
        return Ok(map.clone());
    }
    let refuse = |why: String| Err(Error::new(Kind::Usage, why));
    for (what, id) in [("user", caller.uid.0), ("group", caller.gid.0)] {
        if id == 0 {
            return refuse(format!("{what} 0 of the host is root's, and is never given to a container"));
        }
    }
    let split = map.with_own(caller.uid, caller.gid);
    match (split.host_uid(NsUid(0)), split.host_gid(NsGid(0))) {
        (Some(_), Some(_)) => Ok(split),
        _ => refuse(format!(
            "the ids granted begin with {}, the own one, which leaves none for root inside",
            caller.uid
        )),
    }
}

/// Returns the user inside who is the caller outside, unless that is root or nobody; and the group of it that the caller's
/// group is, if it has one.
pub fn me(map: &IdMap, caller: &Caller) -> Option<(NsUid, Option<NsGid>)> {
    let uid = map.ns_uid(caller.uid).filter(|uid| uid.0 != 0)?;
    Some((uid, map.ns_gid(caller.gid)))
}

/// Returns the map in which the caller is root and nobody else exists.
pub fn own_id_only(caller: &Caller) -> IdMap {
    let one = |id: u32| IdExtent::new(0, u64::from(id), 1).into_iter().collect();
    IdMap { uids: one(caller.uid.0), gids: one(caller.gid.0) }
}

/// Tells whether a map holds only the caller's own id, so that no helper is needed for it.
pub fn is_own_id_only(map: &IdMap, caller: &Caller) -> bool {
    let only =
        |extents: &[IdExtent], id: u32| matches!(extents, [e] if e.count() == 1 && e.outside.start() == id);
    only(&map.uids, caller.uid.0) && only(&map.gids, caller.gid.0)
}

/// Tells whether setgroups(2) is denied in a namespace with the map: the price of an own group without a helper
/// (user_namespaces(7)). Root pays it who is in a namespace that was made so.
pub(crate) fn keeps_groups(map: &IdMap, caller: &Caller) -> bool {
    is_own_id_only(map, caller) && (!caller.is_root() || sys::cred::setgroups_is_denied())
}

/// Returns the ids of each of the first ranges that are in one of the second.
fn common(ranges: &[IdRange], others: &[IdRange]) -> Vec<IdRange> {
    let both = |one: &IdRange, other: &IdRange| {
        let (start, end) = (u64::from(one.start().max(other.start())), one.end().min(other.end()));
        IdRange::new(start, end.saturating_sub(start)).ok()
    };
    ranges.iter().flat_map(|one| others.iter().filter_map(move |other| both(one, other))).collect()
}

fn extents(ranges: &[IdRange]) -> Vec<IdExtent> {
    let mut inside = 0;
    let mut extents = Vec::new();
    for range in ranges {
        if let Ok(extent) = IdExtent::new(inside, u64::from(range.start()), u64::from(range.count())) {
            inside = extent.inside.end();
            extents.push(extent);
        }
    }
    extents
}

/// A line of an id map that the host does not grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotGranted {
    /// User or group ids.
    pub kind: IdKind,
    /// The line.
    pub extent: IdExtent,
    /// The file that would have to grant it.
    pub file: &'static str,
    /// What that file grants to the caller.
    pub granted: Vec<IdRange>,
}

/// Returns the lines of a map that the host does not grant to the caller.
pub fn not_granted(map: &IdMap, facts: &HostFacts) -> Vec<NotGranted> {
    if facts.caller.is_root() || is_own_id_only(map, &facts.caller) {
        return Vec::new();
    }
    let lines = |(kind, file, granted, own): (IdKind, &'static str, &Vec<IdRange>, u32)| {
        let is_refused = move |extent: &&IdExtent| {
            let own_one = extent.count() == 1 && extent.outside.start() == own;
            !own_one && !policy::subid::granted(granted, extent.outside)
        };
        let refused = map.extents(kind).iter().filter(is_refused);
        refused
            .map(|extent| NotGranted { kind, extent: *extent, file, granted: granted.clone() })
            .collect::<Vec<_>>()
    };
    [
        (IdKind::User, "/etc/subuid", &facts.subuids, facts.caller.uid.0),
        (IdKind::Group, "/etc/subgid", &facts.subgids, facts.caller.gid.0),
    ]
    .into_iter()
    .flat_map(lines)
    .collect()
}

/// Checks that the host grants every id of a map to the caller.
///
/// # Errors
/// Names the first line that is not granted, and what would grant it.
pub fn check_granted(map: &IdMap, facts: &HostFacts) -> Result<()> {
    let Some(NotGranted { kind, extent, file, .. }) = not_granted(map, facts).into_iter().next() else {
        return Ok(());
    };
    let (letter, outside, caller) = (kind.letter(), extent.outside, facts.caller.label());
    let cause = format!("lxc.idmap = {letter} {extent}: {file} does not grant {outside} to {caller}");
    Err(Error::new(Kind::IdRange, cause))
}

/// Writes the maps of the user namespace of process `pid`, which waits for it.
pub fn write(pid: i32, map: &IdMap, writer: &IdWriter, caller: &Caller) -> Result<()> {
    let written = match writer {
        _ if keeps_groups(map, caller) => write_directly(pid, map, true),
        IdWriter::Direct => write_directly(pid, map, false),
        IdWriter::BryoIdmap(program) => write_by_helper(pid, map, program),
        IdWriter::Newuidmap { uid, gid } => write_by_system(pid, map, uid, gid),
        IdWriter::OwnIdOnly => Err(Error::new(
            Kind::IdHelper,
            "the map needs a helper, and neither bryo-idmap nor newuidmap has the rights to write it",
        )),
    };
    written.doing_with(|| format!("writing the id map through {}", writer.rung()))
}

/// Writes the map files themselves. Denying setgroups first is what lets an ordinary user map an own group
/// (user_namespaces(7)).
fn write_directly(pid: i32, map: &IdMap, deny_setgroups: bool) -> Result<()> {
    let proc = namespace::proc_dir(pid)?;
    if deny_setgroups {
        path::write_existing(proc.as_fd(), Path::new("setgroups"), b"deny")?;
    }
    let lines = |extents: &[IdExtent]| extents.iter().map(|e| format!("{e}\n")).collect::<String>();
    path::write_existing(proc.as_fd(), Path::new("uid_map"), lines(&map.uids).as_bytes())?;
    path::write_existing(proc.as_fd(), Path::new("gid_map"), lines(&map.gids).as_bytes())?;
    Ok(())
}

/// Asks Bryo's own helper, which gets the process by an fd of its /proc directory: a pid could be reused.
fn write_by_helper(pid: i32, map: &IdMap, program: &Path) -> Result<()> {
    let proc = namespace::proc_dir(pid)?;
    let mut command = Command::new(program);
    command.arg(proc.as_raw_fd().to_string());
    for kind in [IdKind::User, IdKind::Group] {
        for extent in map.extents(kind) {
            let (inside, outside) = (extent.inside.start(), extent.outside.start());
            command.arg(format!("{}:{inside}:{outside}:{}", kind.letter(), extent.count()));
        }
    }
    run_helper(command, &[proc.as_fd()])
}

/// Asks the system's helpers, one after the other.
fn write_by_system(pid: i32, map: &IdMap, newuidmap: &Path, newgidmap: &Path) -> Result<()> {
    let command = |program: &Path, extents: &[IdExtent]| {
        let mut command = Command::new(program);
        command.arg(pid.to_string());
        for extent in extents {
            command.args(extent.to_string().split(' '));
        }
        command
    };
    run_helper(command(newuidmap, &map.uids), &[])?;
    run_helper(command(newgidmap, &map.gids), &[])
}

/// Runs a helper, which must succeed.
fn run_helper(command: Command, fds: &[BorrowedFd<'_>]) -> Result<()> {
    let program = PathBuf::from(command.get_program());
    let output = helper::run(command, fds)?;
    if output.status.success() { Ok(()) } else { Err(helper::refusal(&program, &output)) }
}

/// A user namespace with a map, held by an fd and no process: the place for work on a container's files.
#[derive(Debug)]
pub struct MappedNamespace {
    user: OwnedFd,
    keeps_groups: bool,
    /// The root directory of those that work in it.
    root: Option<Root>,
}

/// Ends the process that only held a namespace open.
fn end(pidfd: &OwnedFd) -> Result<()> {
    process::send_signal(pidfd.as_fd(), types::Signal::KILL)?;
    process::wait(pidfd.as_fd())?;
    Ok(())
}

impl MappedNamespace {
    /// Makes a namespace with the map.
    pub fn new(map: &IdMap, writer: &IdWriter, caller: &Caller) -> Result<Self> {
        let (ours, theirs) = socket::pair()?;
        let maker = process::own_pid();
        match process::clone(flags::NEWUSER, None).doing("making a user namespace")? {
            Cloned::Child => {
                drop(ours);
                if process::die_with_parent(maker).is_ok() {
                    // It only has to be there until it is killed, or nobody is left who could.
                    let _end = socket::receive(theirs.as_fd(), 1);
                }
                process::exit_now(0)
            }
            Cloned::Parent { pid, pidfd } => {
                drop(theirs);
                let made = write(pid, map, writer, caller).and_then(|()| {
                    let proc = namespace::proc_dir(pid)?;
                    Ok(namespace::of_process(proc.as_fd(), "user")?)
                });
                end(&pidfd)?;
                Ok(Self { user: made?, keeps_groups: keeps_groups(map, caller), root: None })
            }
        }
    }

    /// Wraps the user namespace of a container.
    pub fn of(user: OwnedFd, map: &IdMap, caller: &Caller) -> Self {
        Self { user, keeps_groups: keeps_groups(map, caller), root: None }
    }

    /// Makes a root file system the root directory of those that work in the namespace.
    pub(crate) fn inside(self, root: &Root) -> Result<Self> {
        Ok(Self { root: Some(root.again()?), ..self })
    }

    /// Starts a process as root of the namespace that runs `work` and ends. The process shares no memory with the
    /// caller; what `work` returns as an error comes back from [`Work::wait`].
    pub fn start(&self, work: impl FnOnce() -> Result<()>) -> Result<Work> {
        let (reader, writer) = pipe()?;
        let parent = process::own_pid();
        match process::fork()? {
            Cloned::Child => {
                drop(reader);
                let done = self.enter(parent).and_then(|()| work());
                if let Err(error) = &done {
                    let bytes = postcard::to_stdvec(error).unwrap_or_default();
                    let _gone = std::io::Write::write_all(&mut File::from(writer), &bytes);
                }
                process::exit_now(if done.is_ok() { 0 } else { 1 })
            }
            Cloned::Parent { pidfd, .. } => Ok(Work { pidfd, errors: File::from(reader) }),
        }
    }

    /// Runs `work` as root of the namespace, in a process of its own, and waits for it.
    pub fn run(&self, work: impl FnOnce() -> Result<()>) -> Result<()> {
        self.start(work)?.wait()
    }

    /// Runs `work` as [`run`](Self::run) does, calls `tick` now and then meanwhile, and returns what `work` found.
    ///
    /// # Errors
    /// An answer of more than 64 KiB, the failure included: some of it may come from files of an image. Or that of `tick`, which
    /// ends the work.
    pub fn ask<T: Serialize + DeserializeOwned>(
        &self,
        work: impl FnOnce() -> Result<T>,
        tick: &mut dyn FnMut() -> Result<()>,
    ) -> Result<T> {
        let broken = |e: postcard::Error| Error::new(Kind::Build, format!("passing on what was found: {e}"));
        let (reader, writer) = pipe()?;
        let work = self.start(|| {
            // A failure goes the same way, since this one is read meanwhile.
            let answer = postcard::to_stdvec(&work()).map_err(broken)?;
            let mut writer = File::from(writer.try_clone().map_err(crate::place::from_io)?);
            std::io::Write::write_all(&mut writer, &answer).map_err(crate::place::from_io)
        })?;
        drop(writer);
        let answer = match read_answer(reader, tick) {
            Ok(answer) => answer,
            Err(no_more) => {
                work.end()?;
                return Err(no_more);
            }
        };
        work.wait()?;
        postcard::from_bytes::<Result<T>>(&answer).map_err(broken)?
    }

    /// Becomes root of the namespace, not to be looked into by those it is mapped for.
    fn enter(&self, parent: i32) -> Result<()> {
        process::set_dumpable(false)?;
        namespace::join(self.user.as_fd(), flags::NEWUSER)?;
        let taken = self.root.as_ref().map(Root::take).transpose()?.flatten();
        sys::cred::become_user(0, 0, &[], self.keeps_groups)?;
        // Last, since the kernel forgets it when ids change.
        process::die_with_parent(parent)?;
        self.root.as_ref().map_or(Ok(()), |root| root.enter(taken.as_ref()))
    }
}

/// The longest answer of a process that works in a namespace.
const ANSWER_CAP: usize = 1 << 16;

/// Reads to the end of a pipe, and calls `tick` while nothing comes.
fn read_answer(reader: OwnedFd, tick: &mut dyn FnMut() -> Result<()>) -> Result<Vec<u8>> {
    const TICK: std::time::Duration = std::time::Duration::from_millis(100);
    let (mut reader, mut answer, mut piece) = (File::from(reader), Vec::new(), [0; 4096]);
    loop {
        if !sys::event::readable(reader.as_fd(), Some(TICK))? {
            tick()?;
            continue;
        }
        match reader.read(&mut piece).map_err(crate::place::from_io)? {
            0 => return Ok(answer),
            read => answer.extend_from_slice(&piece[..read]),
        }
        if answer.len() > ANSWER_CAP {
            return Err(Error::new(Kind::Died, "the process in the user namespace has said too much"));
        }
    }
}

fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = std::io::pipe().map_err(crate::place::from_io)?;
    Ok((reader.into(), writer.into()))
}

/// A process that works inside a [`MappedNamespace`].
#[derive(Debug)]
pub struct Work {
    pidfd: OwnedFd,
    errors: File,
}

impl Work {
    /// Tells whether the process has ended, within the given time.
    pub fn has_ended_within(&self, time: std::time::Duration) -> Result<bool> {
        Ok(sys::event::readable(self.pidfd.as_fd(), Some(time))?)
    }

    /// Ends the process before it is done.
    pub fn end(self) -> Result<()> {
        end(&self.pidfd)
    }

    /// Waits for the process and returns its result.
    pub fn wait(mut self) -> Result<()> {
        let mut said = Vec::new();
        self.errors.by_ref().take(1 << 16).read_to_end(&mut said).map_err(crate::place::from_io)?;
        match process::wait(self.pidfd.as_fd())? {
            Exit::Code(0) => Ok(()),
            exit => Err(postcard::from_bytes(&said).unwrap_or_else(|_| {
                Error::new(Kind::Died, format!("the process in the user namespace ended with {exit:?}"))
            })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::{HostGid, HostUid};

    fn ana() -> Caller {
        Caller { uid: HostUid(1500), gid: HostGid(1500), name: Some("ana".into()) }
    }

    #[test]
    fn ranges_are_mapped_one_after_the_other_from_zero() {
        let ranges = [IdRange::new(200_000, 1000).unwrap(), IdRange::new(100_000, 65_536).unwrap()];
        let map = IdMap { uids: extents(&ranges), gids: Vec::new() };
        assert_eq!(map.host_uid(NsUid(0)), Some(HostUid(200_000)));
        assert_eq!(map.host_uid(NsUid(1000)), Some(HostUid(100_000)));
    }

    #[test]
    fn of_what_is_granted_counts_what_exists_in_the_own_namespace() {
        let range = |start, count| IdRange::new(start, count).unwrap();
        let whole = range(0, u32::MAX.into());
        assert_eq!(common(&[range(100_000, 65_536)], &[whole]), [range(100_000, 65_536)]);
        let few = [range(0, 1000), range(1500, 500)];
        assert_eq!(common(&[range(500, 1250)], &few), [range(500, 500), range(1500, 250)]);
        assert_eq!(common(&[range(100_000, 65_536)], &few), []);
        assert_eq!(common(&[range(1000, 500)], &few), []);
    }

    fn full() -> IdMap {
        let extents = extents(&[IdRange::new(100_000, 65_536).unwrap()]);
        IdMap { uids: extents.clone(), gids: extents }
    }

    #[test]
    fn the_caller_becomes_a_user_of_the_same_number_and_is_found_again() {
        let map = with_me(&full(), &ana()).unwrap();
        assert_eq!(map.host_uid(NsUid(1500)), Some(HostUid(1500)));
        assert_eq!(me(&map, &ana()), Some((NsUid(1500), Some(NsGid(1500)))));
        assert_eq!(me(&full(), &ana()), None);
        assert_eq!(with_me(&map, &ana()).unwrap(), map);
    }

    #[test]
    fn with_one_id_root_is_the_caller_already() {
        let own = own_id_only(&ana());
        assert_eq!(with_me(&own, &ana()).unwrap(), own);
        assert_eq!(me(&own, &ana()), None);
    }

    #[test]
    fn root_and_its_group_are_never_a_user_inside() {
        for (uid, gid) in [(0, 1000), (1000, 0), (0, 0)] {
            let caller = Caller { uid: HostUid(uid), gid: HostGid(gid), name: None };
            assert!(
                with_me(&full(), &caller).unwrap_err().to_string().contains("0 of the host"),
                "{uid} {gid}"
            );
        }
        let granted_from_own = IdMap { uids: extents(&[IdRange::new(1500, 10).unwrap()]), ..full() };
        assert!(with_me(&granted_from_own, &ana()).is_err());
    }

    #[test]
    fn a_map_of_the_own_id_alone_is_recognised() {
        let own = own_id_only(&ana());
        assert!(is_own_id_only(&own, &ana()));
        assert!(!is_own_id_only(&own.with_caller(HostUid(7), HostGid(7)), &ana()));
    }
}
