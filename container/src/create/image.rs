//! An image of the store: unpacked once for each id map, and read-only under every container that is made from it. Where no
//! overlay can be mounted, or on request, the container gets a root file system of its own.

use std::ffi::OsStr;
use std::io::Seek;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use config::images::Run;
use sys::{Errno, path};
use types::{Digest, IdMap};

use super::limits::Limits;
use super::unpack::{Progress, Unpacked};
use super::{Filled, Filling, local, make_rootfs, text};
use crate::bases::{self, Base};
use crate::error::{Doing, Kind, Result};
use crate::host::HostFacts;
use crate::idmap::{self, MappedNamespace};
use crate::place::{Place, from_io};
use crate::root::{OverlayPlan, Root, WORK};

/// The directory of what a container changes of an image. LXC: names both so.
const OVERLAY: &str = "overlay";
const DELTA: &str = "delta";

/// An image, opened.
#[derive(Debug)]
pub struct StoredImage {
    /// By what an unpacked one is known; none where each container has one of its own.
    pub id: Option<Digest>,
    /// The directory of the caller's images, where unpacked ones are.
    pub images: PathBuf,
    /// What it says of itself.
    pub metadata: Metadata,
    /// The archives of its root file system, the lowest first.
    pub layers: Vec<Part>,
    /// The container is to have a root file system of its own.
    pub full: bool,
    /// Keeps others from removing the image while this is there.
    pub held: std::fs::File,
}

/// A file of an image.
#[derive(Debug)]
pub struct Part {
    /// The archive.
    pub file: OwnedFd,
    /// What is in it, where that is known: anything else is not unpacked.
    pub digest: Option<Digest>,
}

impl Part {
    /// Returns the words of `bryo-image`, with the digest that it is to find.
    fn words<'a>(&self, words: &[&'a str], hex: &'a mut String) -> Vec<&'a str> {
        let mut words = words.to_vec();
        if let Some(digest) = self.digest {
            *hex = digest.hex();
            words.extend(["--digest", hex]);
        }
        words
    }
}

/// What an image says of itself.
#[derive(Debug)]
pub enum Metadata {
    /// Nothing that becomes configuration.
    None,
    /// How an image of a registry is run; its archives are layers.
    Run(Run),
    /// LXC's archive.
    Lxc(Part),
    /// The configuration of LXC's, unpacked.
    Text(String),
}

/// A new root file system: where it is, and what the configuration calls it.
pub(super) struct Made {
    pub(super) root: Root,
    pub(super) path: String,
    /// Some sentences of what was done otherwise.
    pub(super) notes: Vec<String>,
    /// What it was unpacked from already.
    pub(super) base: Option<Base>,
}

/// Errors that say nothing about overlays: tried again, or with more room, there may be one.
const OF_THE_MOMENT: [Errno; 8] = [
    Errno::EAGAIN,
    Errno::EDQUOT,
    Errno::EINTR,
    Errno::EIO,
    Errno::EMFILE,
    Errno::ENFILE,
    Errno::ENOMEM,
    Errno::ENOSPC,
];

/// The parts of a creation that unpacking takes.
pub(super) struct Maker<'a> {
    pub(super) place: &'a Place,
    pub(super) idmap: &'a IdMap,
    pub(super) facts: &'a HostFacts,
}

impl Maker<'_> {
    /// Makes the root file system of a container that is made from an image.
    pub(super) fn make(
        &self,
        image: &StoredImage,
        progress: &mut dyn FnMut(Progress) -> Result<()>,
    ) -> Result<Made> {
        // A path with a `:` cannot stand in the line of an overlay.
        let is_plain = |path: &Path| !path.as_os_str().as_encoded_bytes().contains(&b':');
        let fits = is_plain(&self.place.dir()) && is_plain(&image.images);
        let Some(id) = image.id.filter(|_| fits && !image.full) else { return self.own(Vec::new()) };
        let base = self.base(image, id, progress)?;
        let plan = self.overlay_dirs(&base)?;
        let root = Root::Over(plan);
        // A helper that fails here says nothing about overlays.
        let namespace = MappedNamespace::new(self.idmap, &self.facts.id_writer, &self.facts.caller)?;
        match namespace.inside(&root).and_then(|inside| inside.run(|| Ok(()))) {
            Ok(()) => {
                base.used_by(self.place)?;
                let (lower, upper) = (base.rootfs(), self.place.dir().join(OVERLAY).join(DELTA));
                let path = format!("overlay:{}:{}", lower.display(), upper.display());
                Ok(Made { root, path, notes: Vec::new(), base: Some(base) })
            }
            Err(why)
                if why.kind() == Kind::Died || why.errno().is_some_and(|e| OF_THE_MOMENT.contains(&e)) =>
            {
                Err(why)
            }
            Err(why) => {
                self.remove_overlay_dirs()?;
                let note = format!("no overlay can be mounted here, so the image was copied: {why}");
                self.own(vec![note])
            }
        }
    }

    fn own(&self, notes: Vec<String>) -> Result<Made> {
        let root = Root::Dir(make_rootfs(self.place, self.idmap, self.facts)?);
        Ok(Made { root, path: format!("dir:{}", self.place.rootfs().display()), notes, base: None })
    }

    fn base(
        &self,
        image: &StoredImage,
        id: Digest,
        progress: &mut dyn FnMut(Progress) -> Result<()>,
    ) -> Result<Base> {
        let Self { place, idmap, facts } = *self;
        bases::claim(&image.images, id, idmap, facts, &mut |dir| {
            let root = Root::Dir(path::open_dir_at(dir, Path::new("."))?);
            // Files alone: the container's configuration is written later.
            let limits = &Limits::default();
            let mut work = Filling { root: &root, facts, idmap, place, limits, progress: &mut *progress };
            let config = match &image.metadata {
                Metadata::None | Metadata::Run(_) => String::new(),
                Metadata::Lxc(part) => work.config_of(part)?,
                Metadata::Text(text) => text.clone(),
            };
            work.unpack_layers(image)?;
            Ok(config)
        })
    }

    /// Makes the directories of what is changed, container root's own.
    fn overlay_dirs(&self, base: &Base) -> Result<OverlayPlan> {
        let dir = path::open_dir(&self.place.dir())?;
        path::make_dir(dir.as_fd(), OsStr::new(OVERLAY), 0o755)
            .doing("making the directory of the overlay")?;
        let overlay = path::open_dir_at(dir.as_fd(), Path::new(OVERLAY))?;
        // The root directory of an overlay is that of its upper layer.
        let mode = path::status(path::open_dir(&base.rootfs())?.as_fd())?.st_mode & 0o7777;
        let mut owned = vec![path::open_dir_at(overlay.as_fd(), Path::new("."))?];
        for (name, mode) in [(DELTA, mode), (WORK, 0o755)] {
            path::make_dir(overlay.as_fd(), OsStr::new(name), 0o755)?;
            let made = path::open_dir_at(overlay.as_fd(), Path::new(name))?;
            path::set_mode(made.as_fd(), mode)?;
            owned.push(made);
        }
        if !idmap::is_own_id_only(self.idmap, &self.facts.caller) {
            let both = self.idmap.with_caller(self.facts.caller.uid, self.facts.caller.gid);
            let owner = both.ns_uid(self.facts.caller.uid).map_or(0, |uid| uid.0);
            MappedNamespace::new(&both, &self.facts.id_writer, &self.facts.caller)?.run(|| {
                owned.iter().try_for_each(|made| path::set_owner(made.as_fd(), 0, 0))?;
                Ok(path::set_owner(dir.as_fd(), owner, 0)?)
            })?;
            path::set_mode(dir.as_fd(), 0o710)?;
        }
        let upper = self.place.dir().join(OVERLAY).join(DELTA);
        Ok(OverlayPlan { lowers: vec![base.rootfs()], upper })
    }

    fn remove_overlay_dirs(&self) -> Result<()> {
        let dir = path::open_dir(&self.place.dir())?;
        let both = self.idmap.with_caller(self.facts.caller.uid, self.facts.caller.gid);
        let remove = || Ok(sys::file::remove_tree(dir.as_fd(), OsStr::new(OVERLAY))?);
        if idmap::is_own_id_only(self.idmap, &self.facts.caller) {
            return remove();
        }
        MappedNamespace::new(&both, &self.facts.id_writer, &self.facts.caller)?.run(remove)
    }
}

impl Filling<'_> {
    /// Fills what is not unpacked already, and writes the configuration that the image brings.
    pub(super) fn image(
        &mut self,
        image: &StoredImage,
        base: Option<&Base>,
        config: &mut text::Builder,
    ) -> Result<Filled> {
        let (text, unpacked) = match base {
            Some(base) => (base.config()?, None),
            None => {
                let text = match &image.metadata {
                    Metadata::None | Metadata::Run(_) => String::new(),
                    Metadata::Lxc(part) => self.config_of(part)?,
                    Metadata::Text(text) => text.clone(),
                };
                (text, Some(self.unpack_layers(image)?))
            }
        };
        let mut notes = local::take(&text, config)?;
        if let Metadata::Run(run) = &image.metadata {
            notes.extend(run_like(run, config)?);
        }
        self.settle_inside()?;
        Ok(Filled { unpacked, notes })
    }

    fn config_of(&mut self, part: &Part) -> Result<String> {
        rewind(&part.file)?;
        self.image_config(&part.file, &part.words(&["metadata"], &mut String::new()))
    }

    fn unpack_layers(&mut self, image: &StoredImage) -> Result<Unpacked> {
        let words: &[&str] = match image.metadata {
            Metadata::Run(_) => &["unpack", "--layer"],
            _ => &["unpack"],
        };
        let mut all = Unpacked::default();
        for layer in &image.layers {
            rewind(&layer.file)?;
            let unpacked = self.unpack(&layer.file, &layer.words(words, &mut String::new()))?;
            all.entries += unpacked.entries;
            all.bytes += unpacked.bytes;
            all.devices_skipped += unpacked.devices_skipped;
            all.xattrs_dropped += unpacked.xattrs_dropped;
        }
        Ok(all)
    }
}

/// Writes down how an image of a registry is run. LXC: its template `oci` sets the same keys. What cannot stand on a line is left
/// out, and said.
fn run_like(run: &Run, config: &mut text::Builder) -> Result<Vec<String>> {
    let mut lines: Vec<(&str, String)> =
        run.environment.iter().map(|variable| ("lxc.environment", variable.clone())).collect();
    let directory = run.directory.iter().filter(|directory| directory.starts_with('/'));
    lines.extend(directory.map(|directory| ("lxc.init.cwd", directory.clone())));
    let argv = run.argv(&[]);
    if !argv.is_empty() {
        let line = config::keys::command_line(&argv);
        lines.extend([("lxc.init.cmd", line.clone()), ("lxc.execute.cmd", line)]);
    }
    let mut notes = Vec::new();
    if let Some(user) = &run.user {
        let (user, group) = user.split_once(':').unwrap_or((user, ""));
        let ids = [("lxc.init.uid", user), ("lxc.init.gid", group)];
        let numbers = ids.into_iter().filter(|(_, id)| id.parse::<u32>().is_ok());
        lines.extend(numbers.map(|(key, id)| (key, id.to_owned())));
        if user.parse::<u32>().is_err() {
            notes.push(format!("the image is run as user {user}: bryo run does so, a start as root"));
        }
    }
    for (key, value) in lines {
        match value.contains(['\n', '\r']) {
            true => notes.push(format!("the image's {key} has several lines, and is not taken")),
            false => config.set(key, &value)?,
        }
    }
    Ok(notes)
}

/// An archive may have been read already, for a base.
fn rewind(archive: &OwnedFd) -> Result<()> {
    match archive.try_clone().and_then(|file| std::fs::File::from(file).rewind()) {
        // What can be read once only says that it is at its end.
        Err(e) if e.kind() == std::io::ErrorKind::NotSeekable => Ok(()),
        rewound => rewound.map_err(from_io).doing("reading an image"),
    }
}
