//! Destroying a container: its files go, by fd and without following links, as container root in its namespace.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::path::Path;

use config::Hook;
use sys::path;
use types::IdMap;

use crate::command::Client;
use crate::error::{Doing, Error, Kind, Result};
use crate::hooks::{self, TakenHooks, Told};
use crate::host::{Caller, HostFacts, IdWriter};
use crate::idmap::{self, MappedNamespace};
use crate::place::{self, Place};
use crate::plan::StartPlan;

/// Destroys a stopped container.
///
/// # Errors
/// A container that runs, under Bryo or under LXC; one that is not defined.
pub fn destroy(place: &Place, plan: Option<&StartPlan>, idmap: &IdMap, facts: &HostFacts) -> Result<()> {
    if !place.dir().is_dir() {
        return Err(Error::new(
            Kind::NotDefined,
            format!("{} does not exist in {}", place.name, place.lxcpath.display()),
        ));
    }
    if Client::connect(place)?.is_some() {
        return Err(Error::new(Kind::Running, format!("{} is running", place.name)));
    }
    crate::beside::refuse_under_lxc(place)?;
    let (state, _lock) = place.lock_to_remove()?;
    if let Some(state) = state {
        crate::monitor::clean(&state, place, &facts.id_writer, &facts.caller)?;
    }
    if let Some(plan) = plan {
        hooks::run(plan, Hook::Destroy, &Told::default(), &TakenHooks::default())?;
    }
    remove_files(place, idmap, &facts.id_writer, &facts.caller)
}

/// Removes the container's directory with all that is in it.
///
/// First the configuration gets another name: from then on there is no container any more, whatever is left of its files,
/// and any next command goes on with the removal. A rename needs no space, so it works on a full disk too.
///
/// Container root owns the root file system, the caller the rest, so it takes a namespace where both are mapped. Last goes
/// Bryo's own directory, with the lock that the caller holds.
pub fn remove_files(place: &Place, idmap: &IdMap, writer: &IdWriter, caller: &Caller) -> Result<()> {
    let doing = || format!("removing {}", place.dir().display());
    let parent = path::open_dir(&place.lxcpath).doing_with(doing)?;
    let name = OsStr::new(place.name.as_str());
    let dir = match path::open_dir_at(parent.as_fd(), Path::new(name)) {
        Err(e) if e.errno() == sys::Errno::ENOENT => return Ok(()),
        opened => opened.doing_with(doing)?,
    };
    match path::rename_at(dir.as_fd(), OsStr::new("config"), OsStr::new(place::DESTROYED)) {
        // That of a creation that was interrupted, or of a removal.
        Err(e) if e.errno() == sys::Errno::ENOENT => {}
        renamed => renamed.doing_with(doing)?,
    }
    let remove_all = || -> Result<()> {
        let last = [OsStr::new(place::PARTIAL), OsStr::new(place::DESTROYED), OsStr::new(place::STATE)];
        for entry in path::names(dir.as_fd())?.iter().filter(|n| !last.contains(&n.as_os_str())) {
            sys::file::remove_tree(dir.as_fd(), entry)?;
        }
        Ok(())
    };
    if idmap.is_empty() || idmap::is_own_id_only(idmap, caller) || caller.is_root() {
        remove_all().doing_with(doing)?;
    } else {
        let both = idmap.with_caller(caller.uid, caller.gid);
        MappedNamespace::new(&both, writer, caller)?.run(remove_all).doing_with(doing)?;
    }
    for marker in [place::PARTIAL, place::DESTROYED] {
        sys::file::remove_tree(dir.as_fd(), OsStr::new(marker)).doing_with(doing)?;
    }
    place.remove_dir(parent.as_fd()).doing_with(doing)
}
