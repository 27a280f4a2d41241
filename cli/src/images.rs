//! The store of images, as far as the command line needs it: what is there, and who keeps it there. What takes reading a file of
//! an image is left to `bryo-image`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use config::images::{Form, MAX_RECORD, Record, machine, record_file};
use container::create::{Metadata, Part, StoredImage, Template};
use container::{Doing, Error, Kind, Result};
use serde::Serialize;
use types::Digest;
use types::source::{ImageName, Source};

use crate::context::from_io;
use crate::making;
use crate::output;

/// The administrator's images, of which nobody else is asked to keep a copy.
const HOSTS: &str = "/var/lib/bryo/images";

/// The caller's images, and those of the host.
#[derive(Debug)]
pub(crate) struct Images {
    own: PathBuf,
    lxcs: PathBuf,
}

/// Where an image is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kept {
    /// In the caller's own store.
    Here,
    /// In the host's.
    Host,
    /// Where LXC's template `download` keeps those that it has fetched.
    Lxc,
}

/// An image that need not be fetched.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    /// What it is.
    pub(crate) record: Record,
    /// Where.
    pub(crate) kept: Kept,
    /// The store, or the directory where LXC keeps it.
    dir: PathBuf,
}

impl Images {
    /// Finds the stores; none need be there.
    pub(crate) fn new() -> Result<Self> {
        let dirs = directories::BaseDirs::new();
        let dirs =
            dirs.ok_or_else(|| Error::new(Kind::Fetch, "nobody knows your home directory; set HOME"))?;
        let lxcs =
            std::env::var_os("LXC_CACHE_PATH").map_or_else(|| dirs.cache_dir().join("lxc"), PathBuf::from);
        Ok(Self { own: dirs.data_dir().join("bryo/images"), lxcs: lxcs.join("download") })
    }

    /// Returns the directory of the caller's own.
    pub(crate) fn own(&self) -> &Path {
        &self.own
    }

    /// Returns all images, by name.
    pub(crate) fn all(&self) -> Vec<Stored> {
        let mut all = records(&self.own, Kept::Here);
        if is_roots(Path::new(HOSTS)) {
            all.extend(records(Path::new(HOSTS), Kept::Host));
        }
        all.extend(self.of_lxc());
        all.sort_by(|a, b| a.record.name.cmp(&b.record.name));
        all
    }

    /// Returns the newest image that a name means. Where a server is wanted, another's of the name is another image; what the
    /// administrator keeps is vouched for.
    pub(crate) fn find(&self, name: &ImageName, server: Option<&str>) -> Option<Stored> {
        Self::find_among(self.all(), name, server)
    }

    /// The same of images that can be written into a lock: nobody knows a digest of those that LXC has fetched.
    pub(crate) fn find_with_digest(&self, name: &ImageName, server: Option<&str>) -> Option<Stored> {
        let all = self.all().into_iter().filter(|image| image.kept != Kept::Lxc);
        Self::find_among(all.collect(), name, server)
    }

    fn find_among(all: Vec<Stored>, name: &ImageName, server: Option<&str>) -> Option<Stored> {
        let machine = machine();
        let is_wanted = |image: &Stored| {
            image.kept == Kept::Host || server.is_none_or(|server| image.record.is_of(server))
        };
        let known = all.into_iter().filter(|image| image.record.is(name, &machine) && is_wanted(image));
        // Of one build the caller's own has a digest, LXC's none.
        known.max_by(|a, b| (&a.record.build, b.kept as u8).cmp(&(&b.record.build, a.kept as u8)))
    }

    /// Returns the image that the word of a command line means.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn named(&self, word: &str) -> Result<Stored> {
        let exact = |image: &Stored| image.record.name == word;
        let found = self.all().into_iter().find(exact).or_else(|| match making::source(word) {
            Ok(Source::Named(name)) => self.find(&name, None),
            Ok(source) => self.all().into_iter().find(|image| image.record.name == source.to_string()),
            Err(_) => None,
        });
        found.ok_or_else(|| Error::new(Kind::NoImage, format!("no image {word} is here")))
    }

    /// Returns an image that is made from exactly these files, with all of them there.
    pub(crate) fn of_id(&self, id: Digest) -> Option<Stored> {
        let is_whole = |image: &Stored| image.record.blobs().all(|digest| image.file(digest).is_file());
        self.all().into_iter().find(|image| image.record.id() == Some(id) && is_whole(image))
    }

    /// Keeps images from being removed as long as the result is there.
    pub(crate) fn hold(&self) -> Result<File> {
        let lock = self.lock()?;
        if lock.try_lock_shared().is_err() {
            output::note("another command removes images; this one waits for it");
            lock.lock_shared().map_err(from_io).doing("locking the store of images")?;
        }
        Ok(lock)
    }

    /// Keeps everybody else from the store.
    ///
    /// # Errors
    /// Somebody brings or uses an image now.
    pub(crate) fn alone(&self) -> Result<File> {
        let lock = self.lock()?;
        lock.try_lock().map_err(|_| Error::new(Kind::Busy, "an image is being fetched or unpacked"))?;
        Ok(lock)
    }

    fn lock(&self) -> Result<File> {
        use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
        let doing = || format!("opening the store of images {}", self.own.display());
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.own)
            .map_err(from_io)
            .doing_with(doing)?;
        let mut options = File::options();
        let lock = options.read(true).write(true).create(true).mode(0o600).open(self.own.join("lock"));
        lock.map_err(from_io).doing_with(doing)
    }

    /// LXC keeps `DISTRIBUTION/RELEASE/ARCHITECTURE/VARIANT/` with `rootfs.tar.xz`, `build_id`, and the unpacked metadata.
    fn of_lxc(&self) -> Vec<Stored> {
        let below = |dirs: Vec<PathBuf>| {
            let entries = dirs.into_iter().flat_map(fs::read_dir).flatten().flatten();
            entries.map(|entry| entry.path()).collect::<Vec<_>>()
        };
        let dirs = (0..4).fold(vec![self.lxcs.clone()], |dirs, _| below(dirs));
        dirs.into_iter().filter_map(|dir| self.one_of_lxc(dir)).collect()
    }

    fn one_of_lxc(&self, dir: PathBuf) -> Option<Stored> {
        let name: ImageName = dir.strip_prefix(&self.lxcs).ok()?.to_str()?.parse().ok()?;
        let build = fs::read_to_string(dir.join("build_id")).ok()?.trim().to_owned();
        let is_plain = build.bytes().all(|byte| byte.is_ascii_graphic()) && build.len() <= 32;
        let (name, also, server) = (name.to_string(), Vec::new(), None);
        let record = Record {
            name,
            also,
            build,
            server,
            form: Form::Lxc,
            metadata: None,
            layers: Vec::new(),
            run: None,
        };
        (is_plain && dir.join(LXCS_ROOTFS).is_file()).then_some(Stored { record, kept: Kept::Lxc, dir })
    }
}

/// What LXC calls the archive of the root file system.
const LXCS_ROOTFS: &str = "rootfs.tar.xz";
/// What it unpacks from an image's metadata: the configuration for ordinary users first.
const LXCS_CONFIGS: [&str; 2] = ["config-user", "config"];

fn records(store: &Path, kept: Kept) -> Vec<Stored> {
    let names = fs::read_dir(store.join("names")).into_iter().flatten().flatten();
    let read = |entry: fs::DirEntry| {
        let path = entry.path();
        let is_record = path.extension().is_some_and(|extension| extension == "json");
        let small = entry.metadata().is_ok_and(|found| found.len() <= MAX_RECORD);
        let bytes = fs::read(path).ok().filter(|_| is_record && small)?;
        let record = serde_json::from_slice(&bytes).ok().filter(Record::is_shown)?;
        Some(Stored { record, kept, dir: store.to_owned() })
    };
    names.filter_map(read).collect()
}

/// Tells whether a directory is root's, and nobody else may write to it.
fn is_roots(dir: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(dir).is_ok_and(|found| found.uid() == 0 && found.mode() & 0o022 == 0)
}

impl Stored {
    /// Returns the path of a file of the image.
    pub(crate) fn file(&self, digest: Digest) -> PathBuf {
        self.dir.join("blobs").join(digest.hex())
    }

    /// Returns the path of its record.
    pub(crate) fn record_path(&self) -> PathBuf {
        self.dir.join("names").join(record_file(&self.record.name))
    }

    /// Returns the files of its root file system.
    pub(crate) fn archives(&self) -> Vec<PathBuf> {
        match self.kept {
            Kept::Lxc => vec![self.dir.join(LXCS_ROOTFS)],
            _ => self.record.layers.iter().map(|layer| self.file(*layer)).collect(),
        }
    }

    /// Returns how many bytes its files have.
    pub(crate) fn size(&self) -> u64 {
        let metadata = self.record.metadata.map(|metadata| self.file(metadata));
        let size = |path: PathBuf| fs::metadata(path).map_or(0, |found| found.len());
        self.archives().into_iter().chain(metadata).map(size).sum()
    }

    /// Returns what a container is made from. With `full` it gets a root file system of its own.
    ///
    /// # Errors
    /// A file is not there any more.
    pub(crate) fn template(&self, images: &Images, full: bool) -> Result<Template> {
        let held = images.hold()?;
        let part = |path: PathBuf, digest| making::open(&path).map(|file| Part { file, digest });
        let digests = self.record.layers.iter().copied().map(Some).chain(std::iter::repeat(None));
        let archives = self.archives().into_iter().zip(digests);
        let layers = archives.map(|(path, digest)| part(path, digest)).collect::<Result<Vec<_>>>()?;
        let metadata = match (self.kept, self.record.form, self.record.metadata) {
            (Kept::Lxc, _, _) => Metadata::Text(self.config_of_lxc()),
            (_, Form::Oci, _) => Metadata::Run(self.record.run.clone().unwrap_or_default()),
            (_, Form::Lxc, Some(metadata)) => Metadata::Lxc(part(self.file(metadata), Some(metadata))?),
            _ => Metadata::None,
        };
        let (id, images) = (self.record.id(), images.own.clone());
        // What LXC has fetched has no digest by which an unpacked one could be known.
        Ok(Template::Image(StoredImage { full: full || id.is_none(), id, images, metadata, layers, held }))
    }

    fn config_of_lxc(&self) -> String {
        let read = |name: &&str| fs::read_to_string(self.dir.join(name)).ok();
        LXCS_CONFIGS.iter().find_map(read).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: PathBuf, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn images_of_lxcs_template_are_found_and_a_newer_one_of_ones_own_counts_more() {
        let dir = tempfile::tempdir().unwrap();
        let images = Images { own: dir.path().join("own"), lxcs: dir.path().join("lxc") };
        let name = format!("debian/bookworm/{}/default", std::env::consts::ARCH);
        let find = || images.find(&"debian/bookworm".parse().unwrap(), Some("https://a.org")).unwrap();
        let kept = images.lxcs.join(&name);
        write(kept.join("rootfs.tar.xz"), "x");
        assert!(images.all().is_empty());
        write(kept.join("build_id"), "20261120_05:24\n");
        write(kept.join("config"), "lxc.arch = x86_64\n");
        assert_eq!(
            (find().kept, find().record.build.as_str(), find().size()),
            (Kept::Lxc, "20261120_05:24", 1)
        );
        assert!(matches!(
            find().template(&images, false),
            Ok(Template::Image(StoredImage { full: true, metadata: Metadata::Text(text), .. })) if text == "lxc.arch = x86_64\n"
        ));
        for (build, counts) in [("20261119_05:24", Kept::Lxc), ("20261120_05:24", Kept::Here)] {
            let record = Record { build: build.to_owned(), ..find().record };
            let text = serde_json::to_string(&record).unwrap();
            write(images.own.join("names").join(record_file(&name)), &text);
            assert_eq!(find().kept, counts);
        }
        let digested =
            || images.find_with_digest(&"debian/bookworm".parse().unwrap(), None).map(|image| image.kept);
        assert_eq!(digested(), Some(Kept::Here));
        for (server, counts) in [("https://a.org", Kept::Here), ("https://b.org", Kept::Lxc)] {
            let record = Record {
                build: "20261122_05:24".to_owned(),
                server: Some(server.to_owned()),
                ..find().record
            };
            let text = serde_json::to_string(&record).unwrap();
            write(images.own.join("names").join(record_file(&name)), &text);
            assert_eq!(find().kept, counts, "of {server}");
        }
    }

    #[test]
    fn who_removes_images_waits_for_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let images = Images { own: dir.path().join("own"), lxcs: dir.path().join("lxc") };
        let held = (images.hold().unwrap(), images.hold().unwrap());
        assert_eq!(images.alone().unwrap_err().kind(), Kind::Busy);
        drop(held);
        let _alone = images.alone().unwrap();
    }

    #[test]
    fn the_hosts_store_is_roots_alone() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let mode = |mode| fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
        mode(0o777);
        assert!(!is_roots(dir.path()));
        mode(0o755);
        assert_eq!(is_roots(dir.path()), sys::cred::real_uid().0 == 0);
    }
}
