//! Reading configuration files: line by line, includes in place, all problems at once.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use crate::legacy::{self, Today, Unindexed};
use crate::line::{self, Line, Setting};
use crate::{Config, Document, Fault, Problem, Problems, RootfsPath, keys, share};

/// A configuration that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// What it says, includes included.
    pub config: Config,
    /// The text of the top file, for saving.
    pub document: Document,
    /// What is worth telling the user although it is accepted.
    pub warnings: Vec<Problem>,
}

/// How many files one configuration may include. LXC: has no limit, so that a file that includes itself never ends.
const MOST_INCLUDES: usize = 1000;
/// The largest file that is read, in bytes: far more than any configuration, far less than the memory.
const LARGEST_FILE: u64 = 4 << 20;

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

fn parse_bytes(bytes: &[u8], origin: &Path) -> Result<Loaded, Problems> {
    let mut reader = Reader::default();
    reader.file(bytes, origin);
    let (config, warnings) = reader.finish()?;
    Ok(Loaded { config, document: Document::from_bytes(bytes), warnings })
}

/// Reads what `lxc.include = value` names into `config`, which stays as it was when that fails.
pub(crate) fn include_into(config: &mut Config, value: &str) -> Result<(), Fault> {
    let mut reader = Reader { config: config.clone(), ..Reader::default() };
    reader.include(Path::new(value))?;
    let (read, _) = reader.finish().map_err(|problems| Fault::Included(Box::new(problems)))?;
    *config = read;
    Ok(())
}

/// A configuration while it is read.
#[derive(Default)]
struct Reader {
    config: Config,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
    /// The files that are being read, each included by the one before.
    open: Vec<PathBuf>,
    included: usize,
    unindexed: Unindexed,
    /// The value of `lxc.rootfs.backend`, which may come before or after `lxc.rootfs`.
    backend: Option<String>,
}

impl Reader {
    fn file(&mut self, bytes: &[u8], origin: &Path) {
        self.open.push(identity(origin));
        let text = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
            self.line(line, origin, number + 1);
        }
        self.open.pop();
    }

    fn line(&mut self, bytes: &[u8], origin: &Path, number: usize) {
        let nowhere = Setting { key: "", value: "", key_at: 0, value_at: 0 };
        let (at, outcome) = match line::read(bytes) {
            Line::Ignored => return,
            Line::WrongCase { key } => (nowhere, Ok(Some(Fault::WrongCase { key }))),
            Line::Broken(fault) => (nowhere, Err(fault)),
            Line::Setting(setting) => (setting, self.setting(&setting)),
        };
        let text = String::from_utf8_lossy(bytes);
        let problem =
            |fault| Problem::at(origin, number, text.trim_end_matches('\r'), at.key_at, at.value_at, fault);
        match outcome {
            Ok(None) => (),
            Ok(Some(warning)) => self.warnings.push(problem(warning)),
            Err(fault) => self.problems.push(problem(fault)),
        }
    }

    /// Takes one key and value; returns what is worth a warning.
    fn setting(&mut self, setting: &Setting<'_>) -> Result<Option<Fault>, Fault> {
        let Setting { key, value, .. } = *setting;
        if key == "lxc.include" {
            return if value.is_empty() { Ok(None) } else { self.include(Path::new(value)) };
        }
        if let Some((item, slot)) = keys::lookup(key) {
            self.config.set_item(item, &slot, key, value)?;
            // Clearing a key of cgroup v1 is what files for all versions of LXC do, and worth no warning.
            let modern = legacy::cgroup_v1(item, &slot).filter(|_| !value.is_empty());
            return Ok(modern.map(|modern| Fault::CgroupV1 { key: key.to_owned(), modern }));
        }
        self.old_setting(key, value)
    }

    /// Takes a key of LXC 1 or 2, or refuses one that never was.
    fn old_setting(&mut self, key: &str, value: &str) -> Result<Option<Fault>, Fault> {
        let old = key.to_owned();
        match self.unindexed.today(key, &self.config) {
            Some(Today::Key(new)) => {
                self.config.set(&new, value)?;
                Ok(Some(Fault::Renamed { old, new }))
            }
            Some(Today::Backend) => {
                self.backend = if value.is_empty() { None } else { RootfsPath::backend_named(value)? };
                Ok(Some(Fault::Renamed { old, new: format!("lxc.rootfs.path = {value}:PATH") }))
            }
            Some(Today::Nothing) => Ok(Some(Fault::Dropped { key: old })),
            Some(Today::NoDevice) => Err(Fault::NetworkBeforeType { key: old }),
            None => Err(keys::unknown(key)),
        }
    }

    fn include(&mut self, path: &Path) -> Result<Option<Fault>, Fault> {
        if path.is_dir() {
            self.directory(path)?;
            return Ok(None);
        }
        let missing = Fault::IncludeMissing { path: path.to_owned() };
        match read(path) {
            Ok(bytes) => self.included(&bytes, path).map(|()| None),
            Err(why) if why.kind() != io::ErrorKind::NotFound => Err(unreadable(path, &why)),
            // LXC: a directory that is not there holds no files.
            Err(_) if path.as_os_str().as_encoded_bytes().ends_with(b"/") => Ok(None),
            Err(_) => {
                let shipped = share::instead_of(path).ok_or(missing)?;
                self.included(shipped.text.as_bytes(), path)?;
                let same_name = path.file_name().is_some_and(|name| name == shipped.name);
                Ok((!same_name).then(|| Fault::BuiltIn { path: path.to_owned(), name: shipped.name }))
            }
        }
    }

    fn included(&mut self, bytes: &[u8], path: &Path) -> Result<(), Fault> {
        if self.open.contains(&identity(path)) {
            return Err(Fault::IncludeCycle { path: path.to_owned() });
        }
        self.included += 1;
        if self.included > MOST_INCLUDES {
            return Err(Fault::IncludeTooMany { limit: MOST_INCLUDES });
        }
        self.file(bytes, path);
        Ok(())
    }

    /// Reads the `.conf` files of a directory. LXC: in the order in which the file system lists them.
    fn directory(&mut self, path: &Path) -> Result<(), Fault> {
        let entries = fs::read_dir(path).map_err(|why| unreadable(path, &why))?;
        let paths: io::Result<Vec<PathBuf>> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
        let mut paths = paths.map_err(|why| unreadable(path, &why))?;
        paths.retain(|path| path.as_os_str().as_encoded_bytes().ends_with(b".conf"));
        paths.sort_unstable();
        for path in paths {
            let bytes = read(&path).map_err(|why| unreadable(&path, &why))?;
            self.included(&bytes, &path)?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(Config, Vec<Problem>), Problems> {
        if let (Some(backend), Some(rootfs)) = (self.backend, &mut self.config.rootfs_path)
            && rootfs.backend.is_none()
        {
            rootfs.backend = Some(backend);
        }
        if self.problems.is_empty() { Ok((self.config, self.warnings)) } else { Err(Problems(self.problems)) }
    }
}

/// Returns what tells whether two paths are one file.
fn identity(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// Reads a file, or `/dev/null`, which is a usual way to say "no configuration". Other things that are no files
/// could keep the reader waiting for ever.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let kind = fs::metadata(path)?.file_type();
    if !kind.is_file() && !kind.is_char_device() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(LARGEST_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(io::Error::other("it is larger than any configuration"));
    }
    Ok(bytes)
}

fn unreadable(path: &Path, why: &io::Error) -> Fault {
    Fault::Unreadable { path: path.to_owned(), why: why.to_string() }
}
