//! `lxc.mount.entry`: mounts that the configuration names.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use sys::mount::{self, Depth};
use sys::path::{self, Links};

use super::Rootfs;
use super::take::Source;
use crate::error::{Doing, Result};
use crate::plan::{Create, EntryPlan, EntrySource};

/// Mounts entries in order, with the sources taken before.
pub(super) fn mount<'a>(
    rootfs: &Rootfs,
    entries: impl IntoIterator<Item = &'a EntryPlan>,
    taken: impl IntoIterator<Item = Source>,
) -> Result<()> {
    for (entry, source) in entries.into_iter().zip(taken) {
        match one(rootfs, entry, source) {
            Err(e) if entry.optional => log::info!("optional entry left out: {e}"),
            done => done.doing_with(|| format!("lxc.mount.entry = {}", entry.line))?,
        }
    }
    Ok(())
}

fn one(rootfs: &Rootfs, entry: &EntryPlan, source: Source) -> Result<()> {
    let (mount, depth) = match source {
        Source::Absent => return Ok(()),
        Source::Taken(copy) => (copy, depth(&entry.source)),
        Source::Inside => made_inside(rootfs, entry)?,
    };
    let binds = !matches!(entry.source, EntrySource::New { .. });
    if binds && (entry.set != 0 || entry.clear != 0) {
        mount::set_attributes(mount.as_fd(), entry.set, entry.clear, None, depth)?;
    }
    let target = target(rootfs, entry, mount.as_fd())?;
    mount::attach(mount.as_fd(), target.as_fd())?;
    if let Some((propagation, recursive)) = entry.propagation {
        let depth = if recursive { Depth::Tree } else { Depth::One };
        mount::set_attributes(mount.as_fd(), 0, 0, Some(propagation.into()), depth)?;
    }
    Ok(())
}

fn depth(source: &EntrySource) -> Depth {
    match source {
        EntrySource::Bind { recursive: true, .. } | EntrySource::BindInside { recursive: true, .. } => {
            Depth::Tree
        }
        _ => Depth::One,
    }
}

fn made_inside(rootfs: &Rootfs, entry: &EntryPlan) -> Result<(OwnedFd, Depth)> {
    match &entry.source {
        EntrySource::New { fstype, options } => {
            let options: Vec<(&str, &str)> = options.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            Ok((mount::new_filesystem(fstype, &options, entry.set)?, Depth::One))
        }
        EntrySource::Bind { path, .. } | EntrySource::BindInside { path, .. } => {
            let depth = depth(&entry.source);
            let found = path::take_in(rootfs.fd(), path, Links::InRoot)?;
            Ok((mount::copy(found.as_fd(), Path::new(""), depth)?, depth))
        }
    }
}

/// Resolves the target inside the root, and makes it if the entry says so: a file on a file, a directory on one.
fn target(rootfs: &Rootfs, entry: &EntryPlan, mount: std::os::fd::BorrowedFd<'_>) -> Result<OwnedFd> {
    let found = match entry.create {
        None => path::take_in(rootfs.fd(), &entry.target, Links::InRoot),
        // LXC: create=file on a directory's source fails at the mount; what the source is decides here.
        Some(Create::File) if !path::is_dir(mount)? => {
            path::make_file_in(rootfs.fd(), &entry.target, Links::InRoot)
        }
        Some(_) => path::make_dirs_in(rootfs.fd(), &entry.target, Links::InRoot, 0o755),
    };
    found.doing_with(|| format!("the target /{}", entry.target.display()))
}
