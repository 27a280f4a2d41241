//! Taking hold, as the user, of what the container gets from the host.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use sys::mount::{self, Depth};
use sys::path;

use crate::error::{Doing, Kind, Result};
use crate::plan::{EntryPlan, EntrySource, StartPlan};
use crate::root::Layers;

/// The host's device nodes that every container has. mknod is impossible in a user namespace, so they are bound.
const NODES: [&str; 6] = ["full", "null", "random", "tty", "urandom", "zero"];

/// What a mount entry binds: taken, absent (and optional), or nothing of the host's.
#[derive(Debug)]
pub(crate) enum Source {
    /// A detached copy of the host's mount.
    Taken(OwnedFd),
    /// An optional source that is not there.
    Absent,
    /// Made later, inside.
    Inside,
}

/// The root file system, taken.
#[derive(Debug)]
pub(crate) enum RootSource {
    /// A detached copy of the host's mount.
    Mount(OwnedFd),
    /// The directories of an overlay.
    Layers(Layers),
}

/// Everything taken.
#[derive(Debug)]
pub(crate) struct Taken {
    /// The root file system.
    pub(crate) root: RootSource,
    /// One for each planned entry.
    pub(crate) sources: Vec<Source>,
    /// What lies over /etc/resolv.conf in user mode.
    pub(crate) resolv_conf: Option<Source>,
    /// Device nodes by name, detached.
    pub(crate) nodes: Vec<(&'static str, OwnedFd)>,
    /// Bryo's own init.
    pub(crate) init: Option<OwnedFd>,
}

/// Takes hold of the root file system, the sources of entries, the device nodes and Bryo's init.
pub(crate) fn take(plan: &StartPlan) -> Result<Taken> {
    Ok(Taken {
        root: root(plan)?,
        sources: plan.entries.iter().map(source).collect::<Result<_>>()?,
        resolv_conf: plan.resolv_conf.as_ref().map(source).transpose()?,
        nodes: if plan.dev.auto { nodes() } else { Vec::new() },
        init: plan.init.bryo_init.as_deref().map(|program| init(plan, program)).transpose()?,
    })
}

fn root(plan: &StartPlan) -> Result<RootSource> {
    if let Some(overlay) = &plan.rootfs.overlay {
        return Layers::take(overlay).map(RootSource::Layers).doing("taking the root file system");
    }
    let copy_tree = |path: &Path| {
        let dir = path::take(path)?;
        mount::copy(dir.as_fd(), Path::new(""), Depth::Tree)
    };
    copy_tree(&plan.rootfs.path)
        .map(RootSource::Mount)
        .map_err(|e| crate::Error::from(e).of_kind(Kind::Rootfs))
        .doing_with(|| format!("taking the root file system {}", plan.rootfs.path.display()))
}

fn source(entry: &EntryPlan) -> Result<Source> {
    let EntrySource::Bind { path, recursive } = &entry.source else { return Ok(Source::Inside) };
    let depth = if *recursive { Depth::Tree } else { Depth::One };
    // LXC: takes relative sources from the working directory of its monitor, which is the root directory.
    let path = Path::new("/").join(path);
    let copied = path::take(&path).and_then(|fd| mount::copy(fd.as_fd(), Path::new(""), depth));
    match copied {
        Ok(copy) => Ok(Source::Taken(copy)),
        Err(_) if entry.optional => Ok(Source::Absent),
        Err(e) => Err(e).doing_with(|| format!("lxc.mount.entry = {}", entry.line)),
    }
}

/// Copies the nodes that the host has; a host without /dev/tty (a confined one) gives a container without it.
pub(crate) fn nodes() -> Vec<(&'static str, OwnedFd)> {
    let copy = |name: &&'static str| {
        let node = path::take(&Path::new("/dev").join(name)).ok()?;
        Some((*name, mount::copy(node.as_fd(), Path::new(""), Depth::One).ok()?))
    };
    NODES.iter().filter_map(copy).collect()
}

/// Opens Bryo's init for exec. Where container root has the caller's own id it could write the binary of a user's
/// own installation through /proc/PID/exe, so it then runs from a sealed copy.
fn init(plan: &StartPlan, program: &Path) -> Result<OwnedFd> {
    let doing = || format!("opening {}", program.display());
    let opened = path::open_read(program).doing_with(doing)?;
    if plan.idmap.ns_uid(plan.caller.uid).is_some() {
        return sys::memfd::sealed_copy("bryo-init", opened.as_fd()).doing_with(doing);
    }
    Ok(opened)
}
