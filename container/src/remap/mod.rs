//! Shifting a container's root file system from the ids of its map to others: today's ranges, or a map with the caller in it.
//!
//! ```text
//! lock -> rootfs becomes rootfs.remap       no tool starts the container from here on, LXC's included
//!      -> remap.list: every change, whole   it has its name when it is complete, and not before
//!      -> the changes, by the list          each says what it leads to, so doing it again does no harm
//!      -> config with the new lxc.idmap -> rootfs has its name again -> the list goes
//! ```
//! Whatever dies at whatever moment: while `rootfs.remap` is there, the next remap goes on where this one was, a start
//! says so, and destroy removes everything. The maps may overlap, so half a tree does not tell which half it is; the list
//! does.
//!
//! chown(2) asks for both ids to be mapped in the namespace of whoever calls it, and an ordinary user maps what
//! /etc/subuid and /etc/subgid grant: when they no longer grant the old ids nobody but root can give these files away.

mod shift;
mod tree;
mod values;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use config::Config;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sys::{Errno, file, path};
use types::{IdKind, IdMap, NsGid, NsUid};

pub use shift::Shift;
pub use tree::Tally;

use crate::beside;
use crate::command::Client;
use crate::create::Me;
use crate::create::account::Maker;
use crate::error::{Doing, Error, Kind, Result};
use crate::host::{Caller, HostFacts};
use crate::idmap::{self, MappedNamespace};
use crate::place::{Place, from_io};
use crate::root::Root;

/// The root file system while it is shifted.
const ASIDE: &str = "rootfs.remap";
/// The list of changes, and the one that is being written.
const LIST: &str = "remap.list";
const NEW_LIST: &str = "remap.list.new";
/// A change is a path and three attributes at most.
const CHANGE_CAP: u32 = 1 << 20;

/// What is to be shifted, and to where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    place: Place,
    /// What the configuration had when this was decided.
    written: IdMap,
    shift: Shift,
    /// The caller gets an account inside.
    me: bool,
    /// The container has a root file system.
    has_tree: bool,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the list that are written, or done.
    pub done: u64,
    /// The length of the list, when it is complete.
    pub total: Option<u64>,
}

/// What was done.
#[derive(Clone, Debug, Default)]
pub struct Done {
    /// The files.
    pub tally: Tally,
    /// Who the caller is inside, where an account was asked for.
    pub me: Option<Me>,
}

/// Tells whether a shift was interrupted, or goes on.
pub fn is_interrupted(place: &Place) -> bool {
    std::fs::symlink_metadata(place.dir().join(ASIDE)).is_ok()
}

/// Refuses a container whose files are half shifted.
///
/// # Errors
/// [`Kind::Shifting`].
pub fn refuse_interrupted(place: &Place) -> Result<()> {
    match is_interrupted(place) {
        true => Err(Error::new(
            Kind::Shifting,
            format!("the ids of {} are being shifted, or that was interrupted", place.name),
        )),
        false => Ok(()),
    }
}

/// Returns the map in which all files of a half shifted container can be removed.
pub fn map_of_interrupted(place: &Place, facts: &HostFacts) -> Option<IdMap> {
    let list = is_interrupted(place).then(|| List::open(place, &facts.caller).ok()).flatten()??;
    Some(list.shift.work_map())
}

/// Decides where a container's files go: to the map that it would get if it were made today, with the caller in it where
/// that is asked for or was so before. None when the files are where they belong.
///
/// # Errors
/// Ids that the host does not grant; a root file system that is not the container's own.
pub fn plan(place: &Place, config: &Config, facts: &HostFacts, me: bool) -> Result<Option<Plan>> {
    refuse_others(place, &facts.caller)?;
    let today = idmap::choose(facts);
    let from = if config.idmap.is_empty() { today.clone() } else { config.idmap.clone() };
    let had_me = idmap::me(&from, &facts.caller).is_some();
    // What only gets the caller as a user keeps the ids that it has, if they are granted.
    let base = if me && idmap::not_granted(&from, facts).is_empty() { from.clone() } else { today };
    let to = if me || had_me { idmap::with_me(&base, &facts.caller)? } else { base };
    to.check().map_err(|e| Error::new(Kind::IdRange, e.to_string()))?;
    idmap::check_granted(&to, facts)?;
    if to == from && !config.idmap.is_empty() {
        return Ok(None);
    }
    let has_tree = has_own_tree(place, config)?;
    if has_tree {
        refuse_lost(&from, facts)?;
    }
    let shift = Shift::new(from, to, &facts.caller);
    Ok(Some(Plan { place: place.clone(), written: config.idmap.clone(), shift, me, has_tree }))
}

/// Refuses to give a container to the caller's ids that is somebody else's; root could.
fn refuse_others(place: &Place, caller: &Caller) -> Result<()> {
    let owner = std::fs::metadata(place.config()).map_err(from_io)?.uid();
    if owner == caller.uid.0 {
        return Ok(());
    }
    let cause = format!("the container belongs to user {owner}, whose ids are not yours");
    Err(Error::new(Kind::Usage, cause))
}

/// Refuses files of ids that are no longer granted: nobody but root can give those away.
fn refuse_lost(from: &IdMap, facts: &HostFacts) -> Result<()> {
    idmap::check_granted(from, facts).map_err(|error| {
        let cause = error.cause();
        Error::new(
            Kind::IdRange,
            format!("{cause}, and only who is granted the old ids can give the files to new ones"),
        )
    })
}

/// Tells whether the container has a root file system that is its own; one elsewhere may be others' too.
fn has_own_tree(place: &Place, config: &Config) -> Result<bool> {
    let Some(given) = &config.rootfs_path else { return Ok(false) };
    let real = |path: &Path| std::fs::canonicalize(path).ok();
    let is_own = given.backend.is_none()
        && (Path::new(&given.path) == place.rootfs()
            || real(Path::new(&given.path)) == real(&place.rootfs()));
    match is_own {
        true => Ok(true),
        false => {
            let own = place.rootfs();
            let cause = format!("the root file system is {given}, and only {} is shifted", own.display());
            Err(Error::new(Kind::Usage, cause))
        }
    }
}

impl Plan {
    /// Returns the two maps.
    pub fn shift(&self) -> &Shift {
        &self.shift
    }

    /// Looks at all files and changes none.
    pub fn look(&self, facts: &HostFacts, tick: &mut dyn FnMut(Progress)) -> Result<Tally> {
        if !self.has_tree {
            return Ok(Tally::default());
        }
        let root = path::open_dir(&self.place.rootfs()).map_err(|e| Error::from(e).of_kind(Kind::Rootfs))?;
        let mut tick = || {
            tick(Progress { done: 0, total: None });
            Ok(())
        };
        work(&self.shift, facts)?.ask(|| tree::list(root.as_fd(), &self.shift, &mut |_| Ok(())), &mut tick)
    }

    /// Shifts the files and writes the new map into the configuration.
    ///
    /// # Errors
    /// A container that runs. Anything that fails before the list is complete leaves all as it was.
    pub fn carry_out(&self, facts: &HostFacts, tick: &mut dyn FnMut(Progress)) -> Result<Done> {
        refuse_running(&self.place)?;
        let (_, lock) = self.place.lock()?;
        let done = self.carry_out_alone(facts, tick);
        self.place.remove_state_dir()?;
        drop(lock);
        done
    }

    fn carry_out_alone(&self, facts: &HostFacts, tick: &mut dyn FnMut(Progress)) -> Result<Done> {
        refuse_interrupted(&self.place)?;
        let config = ConfigFile::with_map(&self.place, &self.shift.to)?;
        // Another remap may have come to its end since: shifting its files once more would give them to nobody.
        if config.was != self.written {
            return Err(Error::new(Kind::Busy, "the id map in the configuration has just changed"));
        }
        if !self.has_tree {
            config.save()?;
            return Ok(Done::default());
        }
        let dir = path::open_dir(&self.place.dir())?;
        self.check_account(facts)?;
        remove_lists(&dir)?;
        file::rename(dir.as_fd(), OsStr::new("rootfs"), OsStr::new(ASIDE))
            .doing("putting the root file system aside")?;
        let list = self.write_list(&dir, facts, tick).inspect_err(|_| {
            let put_back = file::rename(dir.as_fd(), OsStr::new(ASIDE), OsStr::new("rootfs"));
            put_back.unwrap_or_else(|e| log::warn!("{e}"));
        })?;
        finish(&self.place, list, &dir, facts, &config, tick)
    }

    /// Finds out whether the account can be made, before anything is changed for it.
    fn check_account(&self, facts: &HostFacts) -> Result<()> {
        if !self.me {
            return Ok(());
        }
        let root = path::open_dir(&self.place.rootfs()).map_err(|e| Error::from(e).of_kind(Kind::Rootfs))?;
        let root = &Root::Dir(root);
        let maker = Maker { map: &self.shift.to, facts, root, hosts_programs: false, shares: &[] };
        maker.check(work(&self.shift, facts)?)
    }

    fn write_list(&self, dir: &OwnedFd, facts: &HostFacts, tick: &mut dyn FnMut(Progress)) -> Result<List> {
        let doing = "listing what is to be changed";
        let root = open_root(dir)?;
        let new = file::create(dir.as_fd(), OsStr::new(NEW_LIST), 0o600).doing(doing)?;
        let written = || -> Result<Tally> {
            let mut out = BufWriter::new(File::from(new.try_clone().map_err(from_io)?));
            put(&mut out, &(VERSION, &self.shift, self.me))?;
            let tally = tree::list(root.as_fd(), &self.shift, &mut |change| put(&mut out, change))?;
            out.flush().map_err(from_io)?;
            Ok(tally)
        };
        let length = || path::offset(new.as_fd()).unwrap_or(0);
        let mut tick = || {
            tick(Progress { done: length(), total: None });
            Ok(())
        };
        let listed = work(&self.shift, facts)?.ask(written, &mut tick);
        let listed = listed.and_then(|tally| {
            File::from(new.try_clone().map_err(from_io)?).sync_all().map_err(from_io)?;
            file::rename(dir.as_fd(), OsStr::new(NEW_LIST), OsStr::new(LIST))?;
            Ok(tally)
        });
        match listed {
            Ok(tally) => {
                let list = List::open(&self.place, &facts.caller)?;
                list.map(|list| List { tally, ..list })
                    .ok_or_else(|| Error::new(Kind::Died, "the list is gone"))
                    .doing(doing)
            }
            Err(e) => {
                file::remove_tree(dir.as_fd(), OsStr::new(NEW_LIST)).unwrap_or_else(|e| log::warn!("{e}"));
                Err(e).doing(doing)
            }
        }
    }
}

/// Removes the list that a remap which was killed at its very end has left.
pub fn tidy(place: &Place) -> Result<()> {
    let has_list = || [LIST, NEW_LIST].iter().any(|name| place.dir().join(name).exists());
    if is_interrupted(place) || !has_list() {
        return Ok(());
    }
    let (_, lock) = place.lock()?;
    if !is_interrupted(place) {
        remove_lists(&path::open_dir(&place.dir())?)?;
    }
    place.remove_state_dir()?;
    drop(lock);
    Ok(())
}

/// Removes lists of which nothing is to be done any more. One that is found beside a tree that was put aside counts.
fn remove_lists(dir: &OwnedFd) -> Result<()> {
    [LIST, NEW_LIST].iter().try_for_each(|name| Ok(file::remove_tree(dir.as_fd(), OsStr::new(name))?))
}

/// Goes on with a shift that was interrupted. None when its list was not complete: then nothing was changed, the root file
/// system has its name again, and a shift can begin anew.
pub fn resume(place: &Place, facts: &HostFacts, tick: &mut dyn FnMut(Progress)) -> Result<Option<Done>> {
    refuse_running(place)?;
    let (_, lock) = place.lock()?;
    let done = resume_alone(place, facts, tick);
    place.remove_state_dir()?;
    drop(lock);
    done
}

fn resume_alone(place: &Place, facts: &HostFacts, tick: &mut dyn FnMut(Progress)) -> Result<Option<Done>> {
    let dir = path::open_dir(&place.dir())?;
    // Another remap may just have finished it.
    if !is_interrupted(place) {
        return Ok(None);
    }
    let Some(list) = List::open(place, &facts.caller)? else {
        remove_lists(&dir)?;
        file::rename(dir.as_fd(), OsStr::new(ASIDE), OsStr::new("rootfs"))?;
        return Ok(None);
    };
    for map in [&list.shift.from, &list.shift.to] {
        idmap::check_granted(map, facts)?;
    }
    let config = ConfigFile::with_map(place, &list.shift.to)?;
    finish(place, list, &dir, facts, &config, tick).map(Some)
}

/// Does what the list says, and gives everything its name again.
fn finish(
    place: &Place,
    list: List,
    dir: &OwnedFd,
    facts: &HostFacts,
    config: &ConfigFile,
    tick: &mut dyn FnMut(Progress),
) -> Result<Done> {
    let root = open_root(dir)?;
    let (shift, me) = (list.shift.clone(), list.me);
    let at = list.file.try_clone().map_err(from_io)?;
    let (total, mut tally) = (list.length, list.tally.clone());
    let mut tick = || {
        tick(Progress { done: path::offset(at.as_fd()).unwrap_or(0), total: Some(total) });
        Ok(())
    };
    let apply = || {
        let gone = list.apply(root.as_fd())?;
        give_directory(dir.as_fd(), &shift)?;
        Ok(gone)
    };
    let (changed, gone) = work(&shift, facts)?.ask(apply, &mut tick).doing("shifting the files")?;
    (tally.changed, tally.gone) = (changed, gone);
    let root = Root::Dir(root);
    let maker = Maker { map: &shift.to, facts, root: &root, hosts_programs: false, shares: &[] };
    let me = if me { maker.make()? } else { None };
    // The owners must last before the map that fits them does.
    file::sync_filesystem(root.dir()?)?;
    config.save()?;
    file::rename(dir.as_fd(), OsStr::new(ASIDE), OsStr::new("rootfs"))
        .doing("putting the root file system back")?;
    path::remove_file(dir.as_fd(), OsStr::new(LIST))
        .doing_with(|| format!("removing {LIST} of {}", place.name))?;
    Ok(Done { tally, me })
}

fn refuse_running(place: &Place) -> Result<()> {
    if Client::connect(place)?.is_some() {
        return Err(Error::new(Kind::Running, format!("{} is running", place.name)));
    }
    beside::refuse_under_lxc(place)
}

/// Returns a namespace in which the ids of both maps are themselves.
fn work(shift: &Shift, facts: &HostFacts) -> Result<MappedNamespace> {
    MappedNamespace::new(&shift.work_map(), &facts.id_writer, &facts.caller)
}

fn open_root(dir: &OwnedFd) -> Result<OwnedFd> {
    path::open_dir_at(dir.as_fd(), Path::new(ASIDE)).map_err(|e| Error::from(e).of_kind(Kind::Rootfs))
}

/// Gives the container's directory to the new container root, as far as it was the old one's: LXC makes it the owner, Bryo
/// the group.
fn give_directory(dir: BorrowedFd<'_>, shift: &Shift) -> Result<()> {
    let found = file::status(dir)?;
    let root = |kind, id: Option<u32>| match id.map(|id| shift.way(kind, id)) {
        Some(shift::Way::To(id)) => Some(id),
        _ => None,
    };
    let old = (shift.from.host_uid(NsUid(0)).map(|id| id.0), shift.from.host_gid(NsGid(0)).map(|id| id.0));
    let uid = root(IdKind::User, old.0).filter(|_| old.0 == Some(found.uid)).unwrap_or(found.uid);
    let gid = root(IdKind::Group, old.1).filter(|_| old.1 == Some(found.gid)).unwrap_or(found.gid);
    if (uid, gid) != (found.uid, found.gid) {
        path::set_owner(dir, uid, gid).doing("giving the container's directory to container root")?;
    }
    Ok(())
}

/// The configuration with the new map, ready to be written.
struct ConfigFile {
    /// The file itself, where the container's `config` is a link to it.
    path: PathBuf,
    document: config::Document,
    /// The map that it had.
    was: IdMap,
    mode: u32,
}

impl ConfigFile {
    /// Puts the map in the place of the one that the file has.
    ///
    /// # Errors
    /// A map that an included file names too: both would count.
    fn with_map(place: &Place, map: &IdMap) -> Result<Self> {
        let doing = || format!("reading {}", place.config().display());
        let path = std::fs::canonicalize(place.config()).map_err(from_io).doing_with(doing)?;
        let bytes = std::fs::read(&path).map_err(from_io).doing_with(doing)?;
        let mode = std::fs::metadata(&path).map_err(from_io).doing_with(doing)?.mode() & 0o777;
        let mut document = config::Document::from_bytes(&bytes);
        let map_of = |document: &config::Document| {
            let read = config::parse(&document.text(), &path).map(|read| read.config.idmap);
            read.map_err(|problems| Error::new(Kind::Config, problems.to_string()))
        };
        let was = map_of(&document)?;
        let changed = document.remove("lxc.idmap").and_then(|()| {
            [IdKind::User, IdKind::Group].iter().try_for_each(|kind| {
                let mut lines = map.extents(*kind).iter();
                lines.try_for_each(|extent| {
                    document.append("lxc.idmap", &format!("{} {extent}", kind.letter()))
                })
            })
        });
        changed.map_err(|fault| Error::new(Kind::Config, fault.to_string()))?;
        if map_of(&document)? != *map {
            let cause = format!("a file that {} includes has lxc.idmap lines", path.display());
            return Err(Error::new(Kind::Config, cause));
        }
        Ok(Self { document, was, mode, path })
    }

    /// Writes it in one step. What a remap that is killed meanwhile leaves has a name that the next one takes.
    fn save(&self) -> Result<()> {
        let doing = || format!("writing {}", self.path.display());
        let dir = path::open_dir(self.path.parent().unwrap_or(Path::new("/"))).doing_with(doing)?;
        let name = self.path.file_name().unwrap_or_default();
        path::replace(dir.as_fd(), name, self.mode, &self.document.bytes()).doing_with(doing)?;
        // The mode of a new file is less the umask's.
        let file = path::open_read_at(dir.as_fd(), Path::new(name)).doing_with(doing)?;
        path::set_mode(file.as_fd(), self.mode).doing_with(doing)
    }
}

/// The first field of a list.
const VERSION: u8 = 1;

/// A complete list of changes, read from its beginning on.
struct List {
    file: File,
    length: u64,
    shift: Shift,
    me: bool,
    tally: Tally,
}

impl List {
    /// Opens the list of an interrupted shift, if it was complete.
    ///
    /// # Errors
    /// One that somebody else wrote, or another version of Bryo.
    fn open(place: &Place, caller: &Caller) -> Result<Option<Self>> {
        let path = place.dir().join(LIST);
        let refuse = |why: &str| Err(Error::new(Kind::Build, format!("{} {why}", path.display())));
        let dir = path::open_dir(&place.dir())?;
        let opened = match path::open_read_at(dir.as_fd(), Path::new(LIST)) {
            Err(e) if e.errno() == Errno::ENOENT => return Ok(None),
            opened => opened?,
        };
        let found = path::status(opened.as_fd())?;
        // Another name or another's right to write could make it somebody else's list.
        let is_own = found.st_uid == caller.uid.0 && found.st_nlink == 1 && found.st_mode & 0o022 == 0;
        if !is_own || !path::is_regular(opened.as_fd())? {
            return refuse("is not the caller's own");
        }
        let file = File::from(opened);
        let length = file.metadata().map_err(from_io)?.len();
        let mut list = BufReader::new(file.try_clone().map_err(from_io)?);
        match take::<(u8, Shift, bool)>(&mut list) {
            Ok(Some((VERSION, shift, me))) => {
                Ok(Some(Self { file, length, shift, me, tally: Tally::default() }))
            }
            _ => refuse("is of another version"),
        }
    }

    /// Makes the changes, and returns how many were made, and how many files are gone.
    fn apply(&self, root: BorrowedFd<'_>) -> Result<(u64, u64)> {
        let mut list = BufReader::new(&self.file);
        std::io::Seek::rewind(&mut list).map_err(from_io)?;
        take::<(u8, Shift, bool)>(&mut list)?;
        let (mut changed, mut gone) = (0, 0);
        while let Some(change) = take(&mut list)? {
            match tree::apply(root, &change)? {
                true => changed += 1,
                false => gone += 1,
            }
        }
        Ok((changed, gone))
    }
}

/// Writes a value behind its length.
fn put(out: &mut impl Write, value: &impl Serialize) -> Result<()> {
    let bytes = postcard::to_stdvec(value).map_err(|e| Error::new(Kind::Build, e.to_string()))?;
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes();
    out.write_all(&length).and_then(|()| out.write_all(&bytes)).map_err(from_io)
}

/// Reads a value behind its length; none at the end.
fn take<T: DeserializeOwned>(list: &mut impl Read) -> Result<Option<T>> {
    let broken = || Error::new(Kind::Build, "the list of changes makes no sense to this version");
    let mut length = [0; 4];
    match list.read(&mut length[..1]).map_err(from_io)? {
        0 => return Ok(None),
        _ => list.read_exact(&mut length[1..]).map_err(from_io)?,
    }
    let length =
        Some(u32::from_le_bytes(length)).filter(|length| *length <= CHANGE_CAP).ok_or_else(broken)?;
    let mut bytes = vec![0; length as usize];
    list.read_exact(&mut bytes).map_err(from_io)?;
    postcard::from_bytes(&bytes).map(Some).map_err(|_| broken())
}
