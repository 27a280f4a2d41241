//! `bryo.lock`: which files an image is, so that whoever has the file has the same root file system.
//!
//! ```json
//! {"images": {"debian/13": {"x86_64": {"digest": "sha256:...", "build": "20261125_05:24", "server": "https://...",
//!     "form": "incus", "metadata": "sha256:...", "layers": ["sha256:..."]}}}}
//! ```
//! An image is called as on the command line; each kind of machine has its own. JSON, as all that Bryo writes for programs. The digest
//! is of form, metadata and layers, so it says whether two have the same; with the others the files are fetched, also when the server
//! has a newer build.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use config::images::{Form, Record, machine};
use container::{Doing, Error, Kind, Result};
use serde::{Deserialize, Serialize};
use types::Digest;

use crate::context::from_io;
use crate::output;

/// The file that is meant where none is named, in the working directory.
const FILE: &str = "bryo.lock";
/// The longest that is read.
const MAX: u64 = 4 << 20;

/// The mode of the file that is locked.
const MODE: u32 = 0o600;

/// How long somebody waits for another before it is told, and between two looks.
const TOLD_AFTER: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(20);

/// The file beside it that is locked, `.NAME.lock`, which goes with the lock.
#[derive(Debug)]
struct Held<'a> {
    dir: BorrowedFd<'a>,
    name: OsString,
    locked: OwnedFd,
}

impl Held<'_> {
    /// Tells whether it has its name still: who had it before has removed it, and somebody may have made the next.
    fn is_there(&self) -> Result<bool> {
        let own = sys::path::status(self.locked.as_fd())?;
        let there = sys::path::status_at(self.dir, &self.name);
        Ok(there.is_ok_and(|there| (there.st_dev, there.st_ino) == (own.st_dev, own.st_ino)))
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // Where it stays the next one takes it. Somebody may have removed it by hand, and another made the next.
        if self.is_there().unwrap_or(false) {
            let _stays = sys::path::remove_file(self.dir, &self.name);
        }
    }
}

/// What is asked for.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Lock {
    /// Take exactly the image that bryo.lock, or the file of --lock, says, and none that it does not know
    #[arg(long)]
    locked: bool,
    /// Take the image that FILE says; one that it does not know is written into it
    #[arg(long, value_name = "FILE")]
    lock: Option<PathBuf>,
}

/// A file of locked images.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Locked {
    images: BTreeMap<String, BTreeMap<String, Entry>>,
}

/// An image for one kind of machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    digest: Digest,
    pub(crate) build: String,
    pub(crate) server: Option<String>,
    form: Form,
    metadata: Option<Digest>,
    layers: Vec<Digest>,
}

impl Entry {
    /// Returns what a record says of an image; nothing of one whose digest nobody knows.
    fn of(record: &Record) -> Option<Self> {
        let Record { build, server, form, metadata, layers, .. } = record.clone();
        Some(Self { digest: record.id()?, build, server, form, metadata, layers })
    }

    /// Returns the digest by which the store knows the image.
    pub(crate) fn id(&self) -> Digest {
        self.digest
    }

    /// Returns its files, the metadata first.
    pub(crate) fn files(&self) -> impl Iterator<Item = Digest> + '_ {
        self.metadata.iter().chain(&self.layers).copied()
    }

    /// Somebody may have changed one file by hand, and not the digest of all.
    fn is_whole(&self) -> bool {
        let Self { form, metadata, layers, .. } = self.clone();
        let (name, also, build, server) = (String::new(), Vec::new(), String::new(), None);
        Record { name, also, build, server, form, metadata, layers, run: None }.id() == Some(self.digest)
    }
}

impl Lock {
    /// Tells whether images are to be taken as some file says.
    pub(crate) fn is_wanted(&self) -> bool {
        self.locked || self.lock.is_some()
    }

    /// Tells whether nothing else is to be taken.
    pub(crate) fn is_strict(&self) -> bool {
        self.locked
    }

    /// Returns what is said of an image.
    ///
    /// # Errors
    /// Nothing is, and nothing else may be taken; or the file cannot be read.
    pub(crate) fn entry(&self, name: &str) -> Result<Option<Entry>> {
        if !self.is_wanted() {
            return Ok(None);
        }
        let known = self.read()?.images.remove(name).and_then(|mut kinds| kinds.remove(machine().as_str()));
        if known.as_ref().is_some_and(|entry| !entry.is_whole()) {
            return Err(
                self.wrong(&format!("the digest of {name} is not that of its files: it was changed by hand"))
            );
        }
        match known {
            None if self.locked => Err(self.wrong(&format!(
                "it does not say which {name} is meant on {}; without --locked, --lock {} writes it there",
                machine(),
                self.path().display()
            ))),
            known => Ok(known),
        }
    }

    /// Returns the names of all images for this kind of machine.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(crate) fn names(&self) -> Result<Vec<String>> {
        let here = |kinds: &BTreeMap<String, Entry>| kinds.contains_key(machine().as_str());
        let images = self.read()?.images.into_iter();
        Ok(images.filter(|(_, kinds)| here(kinds)).map(|(name, _)| name).collect())
    }

    /// Writes down what was taken, where that is wished.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn keep(&self, name: &str, record: &Record) -> Result<()> {
        if self.locked || self.lock.is_none() {
            return Ok(());
        }
        if record.server.is_none() {
            return Err(self.refusal(name));
        }
        let entry = Entry::of(record).ok_or_else(|| {
            self.wrong(&format!("{name} has no digest, so nobody could tell it from another"))
        })?;
        if self.knows(name, &entry)? {
            return Ok(());
        }
        let path = self.path();
        let doing = || format!("writing {}", path.display());
        let dir = match path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir,
            _ => Path::new("."),
        };
        let dir = sys::path::open_dir(dir).doing_with(doing)?;
        // Of two who write, the second adds to what the first has written.
        let file = path.file_name().unwrap_or(OsStr::new(FILE));
        let _held = self.hold(dir.as_fd(), file).doing_with(doing)?;
        let mut all = self.read()?;
        all.images.entry(name.to_owned()).or_default().insert(machine().to_string(), entry);
        let text = serde_json::to_string_pretty(&all).map_err(|error| self.wrong(&error.to_string()))? + "\n";
        let mode = std::fs::metadata(path).ok().map(|found| found.mode() & 0o777);
        // The umask is for new files.
        let written = match mode {
            Some(mode) => sys::path::replace_exactly(dir.as_fd(), file, mode, text.as_bytes()),
            None => sys::path::replace(dir.as_fd(), file, 0o666, text.as_bytes()),
        };
        written.doing_with(doing)
    }

    /// Tells whether the file says so already: then it need not be one that can be written.
    fn knows(&self, name: &str, entry: &Entry) -> Result<bool> {
        let all = self.read()?;
        Ok(all.images.get(name).and_then(|kinds| kinds.get(machine().as_str())) == Some(entry))
    }

    /// Waits for the lock. It is on a file of its own, which is the caller's alone: the one that is written, or its directory, may be locked
    /// by who has started this command, or by anybody who reads it. Who waits longer than a moment is told for whom; for another user's
    /// command nobody waits long, since one that was killed has left the file, which that user alone can take.
    fn hold<'a>(&self, dir: BorrowedFd<'a>, file: &OsStr) -> Result<Held<'a>> {
        let mut name = OsString::from(".");
        name.push(file);
        name.push(".lock");
        let (begun, mut told) = (Instant::now(), false);
        loop {
            match sys::path::open_or_make(dir, &name, MODE) {
                Ok(locked) => {
                    let held = sys::path::try_lock(locked.as_fd())?;
                    if held {
                        // What a command has left that locks files by their names may have another mode.
                        sys::path::set_mode(locked.as_fd(), MODE)?;
                        let held = Held { dir, name: name.clone(), locked };
                        if held.is_there()? {
                            return Ok(held);
                        }
                        continue;
                    }
                    if !told && begun.elapsed() > TOLD_AFTER {
                        let holder = sys::file::lock_holder(locked.as_fd());
                        let whose = holder
                            .map_or_else(|| "another command".to_owned(), |pid| format!("process {pid}"));
                        output::note(&format!(
                            "{whose} writes {}; this one waits for it",
                            self.path().display()
                        ));
                        told = true;
                    }
                }
                Err(e) if e.errno() == sys::Errno::EACCES => match sys::path::status_at(dir, &name) {
                    Ok(_) if begun.elapsed() <= TOLD_AFTER => {}
                    Ok(of) => return Err(self.of_another(&name, of.st_uid)),
                    // It may have gone meanwhile; where it was never there the directory is not to be written.
                    Err(_) if begun.elapsed() <= TOLD_AFTER => {}
                    Err(_) => return Err(e.into()),
                },
                Err(e) => return Err(e.into()),
            }
            std::thread::sleep(TICK);
        }
    }

    /// Says that another user's lock is in the way.
    fn of_another(&self, name: &OsStr, uid: u32) -> Error {
        let path = self.path().with_file_name(name);
        Error::new(
            Kind::Busy,
            format!(
                "user {uid} has {}: a command of that user's writes, or was killed and has left it, and then it can be removed",
                path.display()
            ),
        )
    }

    /// Says why what is not of a server or registry is refused: there is nobody from whom another machine could have the same.
    pub(crate) fn refusal(&self, word: &str) -> Error {
        self.wrong(&format!("{word} is no image of a server or registry, and no other has a lock"))
    }

    fn path(&self) -> &Path {
        self.lock.as_deref().unwrap_or(Path::new(FILE))
    }

    fn read(&self) -> Result<Locked> {
        use std::io::Read;
        let mut bytes = Vec::new();
        match File::open(self.path()).and_then(|file| file.take(MAX).read_to_end(&mut bytes)) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && !self.locked => {
                return Ok(Locked::default());
            }
            read => read.map_err(from_io).doing_with(|| format!("reading {}", self.path().display()))?,
        };
        // Somebody may have made it by hand.
        if bytes.trim_ascii().is_empty() {
            return Ok(Locked::default());
        }
        serde_json::from_slice(&bytes).map_err(|error| self.wrong(&error.to_string()))
    }

    /// What the file says, or does not.
    fn wrong(&self, what: &str) -> Error {
        Error::new(Kind::Config, what).doing(self.path().display().to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(byte: u8) -> Record {
        Record {
            name: "debian/trixie/amd64/default".to_owned(),
            also: Vec::new(),
            build: "20261125_05:24".to_owned(),
            server: Some("https://a.org".to_owned()),
            form: Form::Incus,
            metadata: Some(Digest::new([byte; 32])),
            layers: vec![Digest::new([9; 32])],
            run: None,
        }
    }

    #[test]
    fn what_was_taken_is_found_again_and_nothing_else_where_it_is_locked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let lock = Lock { locked: false, lock: Some(path.clone()) };
        let locked = Lock { locked: true, lock: Some(path.clone()) };
        assert_eq!(lock.entry("debian/13").unwrap(), None);
        assert!(locked.entry("debian/13").is_err());
        locked.keep("debian/13", &record(1)).unwrap();
        assert!(!path.exists());
        lock.keep("debian/13", &record(1)).unwrap();
        lock.keep("alpine/3", &record(2)).unwrap();
        let entry = locked.entry("debian/13").unwrap().unwrap();
        assert_eq!(
            (Some(entry.id()), entry.files().collect::<Vec<_>>()),
            (record(1).id(), record(1).blobs().collect())
        );
        assert_eq!(locked.names().unwrap(), ["alpine/3", "debian/13"]);
        let refused = locked.entry("debian/12").unwrap_err().to_string();
        assert!(refused.contains("it does not say which debian/12"), "{refused}");
        assert!(Lock::default().entry("debian/12").unwrap().is_none());
        // One digest in place of another.
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace(&"01".repeat(32), &"03".repeat(32))).unwrap();
        assert!(locked.entry("debian/13").unwrap_err().to_string().contains("changed by hand"));
    }

    #[test]
    fn what_is_locked_goes_with_the_lock_and_what_is_known_is_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let lock = Lock { locked: false, lock: Some(path.clone()) };
        let place = sys::path::open_dir(dir.path()).unwrap();
        let held = lock.hold(place.as_fd(), OsStr::new(FILE)).unwrap();
        assert_eq!(std::fs::metadata(dir.path().join(".bryo.lock.lock")).unwrap().mode() & 0o777, 0o600);
        // Who has started this one may hold the directory, and the file.
        assert!(sys::path::try_lock(place.as_fd()).unwrap());
        drop(held);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        lock.keep("debian/13", &record(1)).unwrap();
        let file = || std::fs::metadata(&path).unwrap();
        let before = file().ino();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o464)).unwrap();
        let other = File::open(&path).unwrap();
        assert!(sys::path::try_lock(other.as_fd()).unwrap());
        lock.keep("debian/13", &record(1)).unwrap();
        assert_eq!(file().ino(), before);
        lock.keep("alpine/3", &record(2)).unwrap();
        assert_eq!((file().mode() & 0o777, lock.names().unwrap().len()), (0o464, 2));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_ne!(file().ino(), before);
    }

    #[test]
    fn an_empty_file_says_nothing_of_any_image() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        std::fs::write(&path, "\n").unwrap();
        let locked = Lock { locked: true, lock: Some(path) };
        let refused = locked.entry("debian/13").unwrap_err().to_string();
        assert!(refused.contains("it does not say which debian/13"), "{refused}");
    }

    #[test]
    fn an_image_without_a_digest_is_not_locked() {
        let dir = tempfile::tempdir().unwrap();
        let lock = Lock { locked: false, lock: Some(dir.path().join(FILE)) };
        assert!(lock.keep("debian/13", &Record { layers: Vec::new(), ..record(1) }).is_err());
    }
}
