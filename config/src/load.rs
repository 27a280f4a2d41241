//! Reading configuration files: line by line, includes in place, all problems at once.

use std::collections::BTreeMap;
use std::fs::{self, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::keys::{self, Key, Slot};
use crate::legacy::{self, Today, Unindexed};
use crate::line::{self, Line, Setting};
use crate::{Config, Document, Fault, Problem, Problems, RootfsPath, share, units};

/// A configuration that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// What it says, includes included.
    pub config: Config,
    /// The text of the top file, for saving.
    pub document: Document,
    /// What is worth telling the user although it is accepted.
    pub warnings: Vec<Problem>,
    /// Where the keys of network devices were set last: what they ask for may be refused only later.
    spots: BTreeMap<String, Spot>,
}

/// A line that sets a key.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Spot {
    file: PathBuf,
    line: usize,
    text: String,
    key_at: usize,
    value_at: usize,
    includes: Vec<(PathBuf, usize)>,
}

impl Loaded {
    /// Places a fault in the line that set the key `lxc.net.N.*`; none where no file did.
    pub fn problem(&self, key: &str, fault: Fault) -> Option<Problem> {
        let spot = self.spots.get(key)?;
        let Spot { file, line, text, key_at, value_at, includes, .. } = spot;
        let problem = Problem::at(file, *line, text, *key_at, *value_at, fault);
        Some(Problem { includes: includes.clone(), ..problem })
    }
}

/// How many lines that include, and files that are included, one configuration may have. LXC: has no limit, so that a
/// file that includes itself never ends.
const MOST_INCLUDES: usize = 1000;
/// How many names an included directory may hold: all are read before the first file is.
const MOST_ENTRIES: usize = 4096;
/// How deep includes may go: each step takes a part of the stack.
const DEEPEST: usize = 20;
/// How many bytes a configuration may have with all that it includes: far more than any has, and few enough that the
/// worst text, which may come with an image, is read in seconds.
const MOST_BYTES: usize = 1 << 20;
/// How many problems, and how many warnings, are told.
const MOST_TOLD: usize = 100;

/// Of how many keys the places are kept: of more devices than any container has.
const MOST_SPOTS: usize = 4096;

/// Reads the configuration file `path` and all that it includes.
///
/// # Errors
/// All problems of all files, each with its place.
pub fn load(path: &Path) -> Result<Loaded, Problems> {
    match read(path) {
        Ok(bytes) => parse_bytes(&bytes, path),
        Err(why) => Err(Problems(vec![Problem::of_file(path, unreadable(path, &why))])),
    }
}

/// Reads a configuration from its text; `origin` is the file that problems are reported for.
///
/// # Errors
/// As [`load`].
pub fn parse(text: &str, origin: &Path) -> Result<Loaded, Problems> {
    parse_bytes(text.as_bytes(), origin)
}

/// A line that counts, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// Today's name of the key.
    pub key: String,
    /// The value as it is written, without quotes.
    pub value: String,
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
}

/// Returns every line with a key, in the order in which they count: what is included stands where its include does.
/// Lines that are wrong are left out; [`load`] tells them.
///
/// # Errors
/// The file cannot be read.
pub fn trace(path: &Path) -> Result<Vec<Given>, Problems> {
    let bytes = read(path).map_err(|why| Problems(vec![Problem::of_file(path, unreadable(path, &why))]))?;
    let mut reader = Reader { bytes: bytes.len(), given: Some(Vec::new()), ..Reader::default() };
    reader.file(&bytes, path);
    Ok(reader.given.unwrap_or_default())
}

/// The same of a text; `origin` is the file that it counts as.
pub fn trace_text(text: &str, origin: &Path) -> Vec<Given> {
    let mut reader = Reader { bytes: text.len(), given: Some(Vec::new()), ..Reader::default() };
    reader.file(text.as_bytes(), origin);
    reader.given.unwrap_or_default()
}

fn parse_bytes(bytes: &[u8], origin: &Path) -> Result<Loaded, Problems> {
    if bytes.len() > MOST_BYTES {
        return Err(Problems(vec![Problem::of_file(origin, Fault::TooLong { limit: MOST_BYTES })]));
    }
    let mut reader = Reader { bytes: bytes.len(), ..Reader::default() };
    reader.file(bytes, origin);
    let spots = std::mem::take(&mut reader.spots);
    let (config, warnings) = reader.finish()?;
    Ok(Loaded { config, document: Document::from_bytes(bytes), warnings, spots })
}

/// Reads what `lxc.include = value` names into `config`, which stays as it was when that fails.
pub(crate) fn include_into(config: &mut Config, value: &str) -> Result<(), Fault> {
    let mut reader = Reader { config: config.clone(), ..Reader::default() };
    reader.include(Path::new(value))?;
    let (read, _) = reader.finish().map_err(|problems| Fault::Included(Box::new(problems)))?;
    *config = read;
    Ok(())
}

/// The network devices of a text that is gone through line by line: those without a number are counted.
#[derive(Default)]
pub(crate) struct Devices(Reader);

impl Devices {
    /// Takes a line, and returns what its key means today, if it is an old one. What is wrong with it is told when the
    /// file is loaded.
    pub(crate) fn today(&mut self, key: &str, value: &str) -> Option<Today> {
        let Self(reader) = self;
        if keys::lookup(key).is_some() {
            match key {
                "lxc.include" => drop(reader.include(Path::new(value))),
                key if key == "lxc.net" || key.starts_with("lxc.net.") => drop(reader.config.set(key, value)),
                _ => {}
            }
            return None;
        }
        let today = reader.unindexed.today(key, &reader.config)?;
        if let Today::Key(new) = &today {
            drop(reader.config.set(new, value));
        }
        Some(today)
    }
}

/// Returns what a text says, whatever is wrong with some of its lines.
pub(crate) fn lenient(bytes: &[u8]) -> Config {
    let mut reader = Reader { bytes: bytes.len(), ..Reader::default() };
    reader.file(bytes, Path::new(""));
    reader.take_backend();
    reader.config
}

/// A configuration while it is read.
#[derive(Default)]
struct Reader {
    config: Config,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
    spots: BTreeMap<String, Spot>,
    /// The files that are being read, each included by the one before.
    open: Vec<OpenFile>,
    /// How many files were included.
    included: usize,
    /// How long all texts together are.
    bytes: usize,
    unindexed: Unindexed,
    /// The value of `lxc.rootfs.backend`, which may come before or after `lxc.rootfs`; none is a directory.
    backend: Option<Option<String>>,
    /// What is wrong with the line of `lxc.rootfs.backend`, if the path names the backing store itself.
    backend_beside: Option<Problem>,
    /// Whether the path names the backing store itself, as it does by its name of today.
    names_backend: bool,
    /// The lines that count, where somebody wants to know them.
    given: Option<Vec<Given>>,
}

/// A file that is being read.
struct OpenFile {
    /// What tells it from others, whatever path led to it.
    identity: PathBuf,
    /// Its path as it was given.
    path: PathBuf,
    /// The line that is being read.
    line: usize,
}

impl Reader {
    /// Reads the text of a file, until too many problems are found.
    fn file(&mut self, bytes: &[u8], origin: &Path) {
        self.open.push(OpenFile { identity: identity(origin), path: origin.to_owned(), line: 0 });
        let text = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
            if self.problems.len() > MOST_TOLD {
                break;
            }
            self.line(line, number + 1);
        }
        self.open.pop();
    }

    fn line(&mut self, bytes: &[u8], number: usize) {
        if let Some(file) = self.open.last_mut() {
            file.line = number;
        }
        let nowhere = Setting { key: "", value: "", key_at: 0, value_at: 0 };
        let (at, outcome) = match line::read(bytes) {
            Line::Ignored => return,
            Line::WrongCase { key } => (nowhere, Ok(Some(Fault::WrongCase { key }))),
            Line::Marked => (nowhere, Ok(Some(Fault::Marked))),
            Line::Broken(fault) => (nowhere, Err(fault)),
            Line::Setting(setting) => (setting, self.setting(&setting)),
        };
        match outcome {
            Ok(None) => self.remember(bytes, &at, at.key),
            Ok(Some(warning)) => {
                if at.key == legacy::BACKEND {
                    self.backend_beside = Some(self.placed(bytes, &at, beside_a_path(at.value)));
                }
                if let Fault::Renamed { new, .. } = &warning {
                    self.remember(bytes, &at, new);
                }
                let warning = self.placed(bytes, &at, warning);
                tell(&mut self.warnings, warning);
            }
            Err(fault) => {
                let problem = self.placed(bytes, &at, fault);
                tell(&mut self.problems, problem);
            }
        }
    }

    /// Places a fault in the line that is being read.
    fn placed(&self, bytes: &[u8], at: &Setting<'_>, fault: Fault) -> Problem {
        let text = String::from_utf8_lossy(bytes);
        let Some(file) = self.open.last() else {
            return Problem::of_file(Path::new(""), fault);
        };
        let includes = self.includes();
        let text = text.trim_end_matches('\r');
        Problem { includes, ..Problem::at(&file.path, file.line, text, at.key_at, at.value_at, fault) }
    }

    /// Returns the files and lines by which the file that is being read is included, the nearest first.
    fn includes(&self) -> Vec<(PathBuf, usize)> {
        let outer = self.open.split_last().map_or(&[][..], |(_, outer)| outer);
        outer.iter().rev().map(|file| (file.path.clone(), file.line)).collect()
    }

    /// Keeps the place of a key of a network device.
    fn remember(&mut self, bytes: &[u8], at: &Setting<'_>, key: &str) {
        let Some(file) = self.open.last().filter(|_| key.starts_with("lxc.net.")) else { return };
        if self.spots.len() >= MOST_SPOTS {
            return;
        }
        let spot = Spot {
            file: file.path.clone(),
            line: file.line,
            text: String::from_utf8_lossy(bytes).trim_end_matches('\r').to_owned(),
            key_at: at.key_at,
            value_at: at.value_at,
            includes: self.includes(),
        };
        self.spots.insert(key.to_owned(), spot);
    }

    /// Takes one key and value; returns what is worth a warning.
    fn setting(&mut self, setting: &Setting<'_>) -> Result<Option<Fault>, Fault> {
        let Setting { key, value, .. } = *setting;
        if key == "lxc.include" {
            return if value.is_empty() { Ok(None) } else { self.include(Path::new(value)) };
        }
        if let Some((item, slot)) = keys::lookup(key) {
            self.config.set_item(item, &slot, key, value)?;
            self.names_backend |= item.name == "lxc.rootfs.path";
            self.note(key, value);
            return Ok(doubtful(item, &slot, key, value));
        }
        self.old_setting(key, value)
    }

    /// Keeps where a key was set.
    fn note(&mut self, key: &str, value: &str) {
        let (Some(given), Some(file)) = (&mut self.given, self.open.last()) else { return };
        let (key, value) = (key.to_owned(), value.to_owned());
        given.push(Given { key, value, file: file.path.clone(), line: file.line });
    }

    /// Takes a key of LXC 1 or 2, or refuses one that never was.
    fn old_setting(&mut self, key: &str, value: &str) -> Result<Option<Fault>, Fault> {
        let old = key.to_owned();
        match self.unindexed.today(key, &self.config) {
            Some(Today::Key(new)) => {
                self.config.set(&new, value)?;
                if new == "lxc.rootfs.path" {
                    self.names_backend = RootfsPath::names_backend(value);
                }
                self.note(&new, value);
                Ok(Some(Fault::Renamed { old, new }))
            }
            Some(Today::Backend) => {
                let (backend, prefix) = match value {
                    "" => (None, String::new()),
                    value => (Some(RootfsPath::backend_named(value)?), format!("{value}:")),
                };
                self.backend = backend;
                Ok(Some(Fault::Renamed { old, new: format!("lxc.rootfs.path = {prefix}PATH") }))
            }
            Some(Today::Nothing) => Ok(Some(Fault::Dropped { key: old })),
            Some(Today::NoDevice) => Err(Fault::NetworkBeforeType { key: old }),
            None => Err(keys::unknown(key)),
        }
    }

    fn include(&mut self, path: &Path) -> Result<Option<Fault>, Fault> {
        self.count()?;
        if path.is_dir() {
            return self.directory(path);
        }
        match self.read(path) {
            Ok(bytes) => self.included(&bytes, path).map(|()| None),
            Err(why) if why.kind() != io::ErrorKind::NotFound => Err(unreadable(path, &why)),
            // LXC: a directory that is not there holds no files.
            Err(_) if path.as_os_str().as_encoded_bytes().ends_with(b"/") => Ok(None),
            Err(_) => self.shipped(path),
        }
    }

    /// Counts one more include, before anything is opened for it.
    fn count(&mut self) -> Result<(), Fault> {
        self.included += 1;
        match self.included {
            ..=MOST_INCLUDES => Ok(()),
            _ => Err(Fault::IncludeTooMany { limit: MOST_INCLUDES }),
        }
    }

    /// Reads a file, and of one that makes the configuration too long no more than tells that.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        read_up_to(path, MOST_BYTES.saturating_sub(self.bytes))
    }

    /// Reads Bryo's own file in place of one of LXC's that the host does not have.
    fn shipped(&mut self, path: &Path) -> Result<Option<Fault>, Fault> {
        let missing = Fault::IncludeMissing { path: path.to_owned() };
        let shipped = share::instead_of(path).ok_or(missing)?;
        self.included(shipped.text.as_bytes(), path)?;
        let same_name = path.file_name().is_some_and(|name| name == shipped.name);
        Ok((!same_name).then(|| Fault::BuiltIn { path: path.to_owned(), name: shipped.name }))
    }

    fn included(&mut self, bytes: &[u8], path: &Path) -> Result<(), Fault> {
        let identity = identity(path);
        if self.open.iter().any(|file| file.identity == identity) {
            return Err(Fault::IncludeCycle { path: path.to_owned() });
        }
        if self.open.len() > DEEPEST {
            return Err(Fault::IncludeTooDeep { limit: DEEPEST });
        }
        self.bytes = self.bytes.saturating_add(bytes.len());
        if self.bytes > MOST_BYTES {
            return Err(Fault::TooLong { limit: MOST_BYTES });
        }
        self.file(bytes, path);
        Ok(())
    }

    /// Reads the `.conf` files of a directory, all of them before the first that cannot be read is reported. Where no more
    /// may be included it ends.
    ///
    /// LXC: takes them in the order in which the file system lists them.
    fn directory(&mut self, path: &Path) -> Result<Option<Fault>, Fault> {
        let entries = fs::read_dir(path).map_err(|why| unreadable(path, &why))?;
        let entries = entries.take(MOST_ENTRIES + 1).map(|entry| entry.map(|entry| entry.path()));
        let paths: io::Result<Vec<PathBuf>> = entries.collect();
        let mut paths = paths.map_err(|why| unreadable(path, &why))?;
        if paths.len() > MOST_ENTRIES {
            return Err(Fault::DirectoryTooLong { path: path.to_owned(), limit: MOST_ENTRIES });
        }
        paths.retain(|path| path.as_os_str().as_encoded_bytes().ends_with(b".conf"));
        paths.sort_unstable();
        let mut first = Ok(None);
        for path in &paths {
            match self.listed(path) {
                Ok(()) => {}
                Err(fault @ (Fault::IncludeTooMany { .. } | Fault::TooLong { .. })) => return Err(fault),
                Err(fault) => first = first.and(Err(fault)),
            }
        }
        first
    }

    fn listed(&mut self, path: &Path) -> Result<(), Fault> {
        self.count()?;
        let bytes = self.read(path).map_err(|why| unreadable(path, &why))?;
        self.included(&bytes, path)
    }

    /// Puts `lxc.rootfs.backend` before the path. Returns what is wrong where the path has another one.
    fn take_backend(&mut self) -> Option<Problem> {
        let (backend, rootfs) = (self.backend.take()?, self.config.rootfs_path.as_mut()?);
        if rootfs.backend == backend {
            return None;
        }
        if self.names_backend {
            return self.backend_beside.take();
        }
        rootfs.backend = backend;
        None
    }

    fn finish(mut self) -> Result<(Config, Vec<Problem>), Problems> {
        if let Some(problem) = self.take_backend() {
            tell(&mut self.problems, problem);
        }
        if self.problems.is_empty() { Ok((self.config, self.warnings)) } else { Err(Problems(self.problems)) }
    }
}

/// Returns the fault of a `lxc.rootfs.backend` where the path has another one.
fn beside_a_path(backend: &str) -> Fault {
    Fault::Refused {
        value: backend.to_owned(),
        why: "it goes with lxc.rootfs, and lxc.rootfs.path names the backing store itself".to_owned(),
        instead: Some(format!("remove the line, or write lxc.rootfs.path = {backend}:PATH")),
    }
}

/// Adds a problem to those that are told, or that there is more.
fn tell(told: &mut Vec<Problem>, problem: Problem) {
    match told.len() {
        ..MOST_TOLD => told.push(problem),
        MOST_TOLD => told.push(Problem { fault: Fault::More { told: MOST_TOLD }, ..problem }),
        _ => {}
    }
}

/// Returns what is worth a warning about a setting that is taken.
fn doubtful(item: &Key, slot: &Slot<'_>, key: &str, value: &str) -> Option<Fault> {
    if item.name == "lxc.cgroup2" && slot.name.starts_with("memory.") {
        return units::for_the_kernel(value)
            .map(|meant| Fault::KernelSize { value: value.to_owned(), meant });
    }
    // Clearing a key of cgroup v1 is what files for all versions of LXC do, and worth no warning.
    let modern = legacy::cgroup_v1(item, slot).filter(|_| !value.is_empty());
    modern.map(|modern| Fault::CgroupV1 { key: key.to_owned(), modern })
}

/// Returns what tells whether two paths are one file.
fn identity(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// Reads a file, or `/dev/null`, which is a usual way to say "no configuration". Other things that are no files could
/// keep the reader waiting for ever, and opening a device can be an act of its own; so nothing else is opened, and what
/// takes the file's place meanwhile neither waits nor becomes a terminal.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    read_up_to(path, MOST_BYTES)
}

/// Reads a file that may have so many bytes, and one byte more, which tells that it is too long.
fn read_up_to(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    is_readable(&fs::metadata(path)?)?;
    let at_once = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(at_once).open(path)?;
    is_readable(&file.metadata()?)?;
    let mut bytes = Vec::new();
    file.take(most as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads a text that a key names: a file of a mebibyte at most, or `/dev/null`; nothing else is opened.
///
/// # Errors
/// It is something else, longer, or no text.
pub fn read_text(path: &Path) -> io::Result<String> {
    String::from_utf8(read_bounded(path)?).map_err(|_| io::Error::other("the file is not text"))
}

/// Reads such a file, text or not.
pub(crate) fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let bytes = read(path)?;
    match bytes.len() {
        ..=MOST_BYTES => Ok(bytes),
        _ => Err(io::Error::other(format!("it is longer than {MOST_BYTES} bytes"))),
    }
}

/// The device number of `/dev/null`. Source: the kernel's Documentation/admin-guide/devices.txt.
const DEV_NULL: u64 = 0x103;

fn is_readable(metadata: &Metadata) -> io::Result<()> {
    match metadata.is_file() || metadata.rdev() == DEV_NULL {
        true => Ok(()),
        false => Err(io::Error::other("it is not a file")),
    }
}

pub(crate) fn unreadable(path: &Path, why: &io::Error) -> Fault {
    Fault::Unreadable { path: path.to_owned(), why: why.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_file_that_makes_the_text_too_long_no_more_is_read_than_tells_it() {
        let directory = tempfile::tempdir().unwrap();
        let long = directory.path().join("a.conf");
        fs::write(&long, "# words\n".repeat(1000)).unwrap();
        let mut reader = Reader { bytes: MOST_BYTES - 10, ..Reader::default() };
        assert_eq!(reader.read(&long).unwrap().len(), 11);
        for number in 0..100 {
            fs::hard_link(&long, directory.path().join(format!("b{number}.conf"))).unwrap();
        }
        assert_eq!(reader.include(directory.path()), Err(Fault::TooLong { limit: MOST_BYTES }));
        // The line and the first file: the others are not opened.
        assert_eq!(reader.included, 2);
        assert_eq!(reader.read(&long).unwrap().len(), 1);
    }
}
