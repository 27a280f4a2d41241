//! A root file system as its owner has it: a directory, or an image that nobody writes to under what is changed of it; or the
//! host's own, where a template works.
//!
//! The kernel opens the directories of an overlay by their paths, and container root cannot walk to them through a home
//! directory of mode 0700. So they are taken while still the user, and named by fd. `userxattr` is the form that overlays of
//! user namespaces have (Linux 5.11).

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sys::mount::{self, Depth, Propagation};
use sys::process::flags;
use sys::{Errno, namespace, path};

use crate::error::{Doing, Error, Kind, Result};
use crate::stage::{self, Stage};

/// The directory that the kernel works in, beside the upper one. LXC: names it so.
pub(crate) const WORK: &str = "olwork";

/// The directories of an overlay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverlayPlan {
    /// What nobody writes to, the topmost first.
    pub lowers: Vec<PathBuf>,
    /// What is changed.
    pub upper: PathBuf,
}

impl OverlayPlan {
    /// Reads `LOWER[:LOWER...]:UPPER`.
    ///
    /// # Errors
    /// Fewer than two paths, or one that is not absolute.
    pub fn parse(text: &str) -> Result<Self> {
        let mut paths: Vec<PathBuf> = text.split(':').map(PathBuf::from).collect();
        let upper = paths.pop().filter(|_| !paths.is_empty() && paths.iter().all(|path| path.is_absolute()));
        let upper = upper.filter(|upper| upper.is_absolute() && upper.parent().is_some());
        let wrong = || {
            let cause =
                format!("lxc.rootfs.path = overlay:{text}: it is overlay:LOWER:UPPER, with absolute paths");
            Error::new(Kind::Config, cause)
        };
        Ok(Self { upper: upper.ok_or_else(wrong)?, lowers: paths })
    }
}

/// The directories of an overlay, taken.
#[derive(Debug)]
pub(crate) struct Layers {
    lowers: Vec<OwnedFd>,
    /// The directory of the upper and the working one.
    beside: OwnedFd,
    upper: std::ffi::OsString,
}

impl Layers {
    /// Takes hold of the directories, as the user.
    pub(crate) fn take(plan: &OverlayPlan) -> Result<Self> {
        let take = |path: &Path| path::take(path).map_err(|e| Error::from(e).of_kind(Kind::Rootfs));
        let (beside, upper) = plan.upper.parent().zip(plan.upper.file_name()).ok_or_else(|| {
            Error::new(Kind::Config, format!("{}: no directory of a container's", plan.upper.display()))
        })?;
        Ok(Self {
            lowers: plan.lowers.iter().map(|lower| take(lower)).collect::<Result<_>>()?,
            beside: take(beside)?,
            upper: upper.to_owned(),
        })
    }

    /// Mounts the overlay, detached. For root of the user namespace that owns the mount namespace.
    pub(crate) fn mount(&self) -> Result<OwnedFd> {
        let (upper, work) =
            (self.open_or_make(&self.upper, 0o755)?, self.open_or_make(OsStr::new(WORK), 0o755)?);
        let named = |fd: BorrowedFd<'_>| format!("/proc/self/fd/{}", fd.as_raw_fd());
        let lowers = self.lowers.iter().map(|lower| named(lower.as_fd())).collect::<Vec<_>>().join(":");
        let (upper, work) = (named(upper.as_fd()), named(work.as_fd()));
        let options =
            [("lowerdir", lowers.as_str()), ("upperdir", &upper), ("workdir", &work), ("userxattr", "")];
        mount::new_filesystem("overlay", &options, 0).doing("mounting the overlay")
    }

    /// LXC: makes both when it mounts them, so they may not be there yet.
    fn open_or_make(&self, name: &OsStr, mode: u32) -> sys::Result<OwnedFd> {
        match path::make_dir(self.beside.as_fd(), name, mode) {
            Err(e) if e.errno() != Errno::EEXIST => return Err(e),
            _ => {}
        }
        path::open_dir_at(self.beside.as_fd(), Path::new(name))
    }
}

/// A root file system that work is done in.
#[derive(Debug)]
pub(crate) enum Root {
    /// A directory.
    Dir(OwnedFd),
    /// An overlay.
    Over(OverlayPlan),
    /// The host's, with a new container at its place.
    Stage(Stage),
}

/// What is taken of it while still the user.
#[derive(Debug)]
pub(crate) enum Taken {
    Layers(Layers),
    Stage(stage::Taken),
}

impl Root {
    /// Returns the directory, where it is one.
    pub(crate) fn dir(&self) -> Result<BorrowedFd<'_>> {
        match self {
            Self::Dir(dir) => Ok(dir.as_fd()),
            Self::Over(_) | Self::Stage(_) => {
                Err(Error::new(Kind::Rootfs, "the root file system is no directory of its own"))
            }
        }
    }

    /// Returns the same once more.
    pub(crate) fn again(&self) -> Result<Self> {
        match self {
            Self::Dir(dir) => Ok(Self::Dir(dir.try_clone().map_err(crate::place::from_io)?)),
            Self::Over(plan) => Ok(Self::Over(plan.clone())),
            Self::Stage(stage) => Ok(Self::Stage(stage.clone())),
        }
    }

    /// Takes hold of the directories, in a mount namespace of this process's own: the kernel makes overlays of mounts of that
    /// namespace alone. For a process that has rights in a user namespace already, and is the user still.
    pub(crate) fn take(&self) -> Result<Option<Taken>> {
        if matches!(self, Self::Dir(_)) {
            return Ok(None);
        }
        namespace::leave(flags::NEWNS)?;
        let slash = path::take(Path::new("/"))?;
        mount::set_attributes(slash.as_fd(), 0, 0, Some(Propagation::Private), Depth::Tree)?;
        match self {
            Self::Dir(_) => Ok(None),
            Self::Over(plan) => Layers::take(plan).map(Taken::Layers).map(Some),
            Self::Stage(stage) => stage.take().map(Taken::Stage).map(Some),
        }
    }

    /// Makes it the root directory of this process, which is root of the user namespace by now.
    pub(crate) fn enter(&self, taken: Option<&Taken>) -> Result<()> {
        match (self, taken) {
            (_, Some(Taken::Layers(layers))) => Ok(path::change_root(layers.mount()?.as_fd())?),
            (_, Some(Taken::Stage(stage))) => stage.set_up(),
            (root, None) => Ok(path::change_root(root.dir()?)?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_directory_of_an_overlay_is_the_one_that_is_written() {
        let plan = OverlayPlan::parse("/a:/b:/lxc/web/overlay/delta").unwrap();
        assert_eq!(plan.lowers, [Path::new("/a"), Path::new("/b")]);
        assert_eq!(plan.upper, Path::new("/lxc/web/overlay/delta"));
        for wrong in ["", "/a", "/a:", ":/a", "a:/b", "/a:b", "/a:/"] {
            assert_eq!(OverlayPlan::parse(wrong).unwrap_err().kind(), Kind::Config, "{wrong:?}");
        }
    }
}
