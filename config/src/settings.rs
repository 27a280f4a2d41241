//! Bryo's own settings: what commands do unless their options say otherwise.
//!
//! They stand in TOML, in the user's `~/.config/bryo/config.toml` and in the system's `/etc/bryo/config.toml`; what the user
//! says counts. [`SETTINGS`] is the table of all, from which the listing, the manual and the suggestions come. What a
//! container is made of is no setting: that stands in its own configuration.

use std::fmt;
use std::io;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::{Fault, Problem, load, nearest};

/// The system's file.
pub const SYSTEM: &str = "/etc/bryo/config.toml";

/// The settings of one file, or of all together. None is what nobody has set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)] // Each field is the setting of its name, which the table documents.
pub struct Settings {
    pub lxcpath: Option<PathBuf>,
    pub default_config: Option<PathBuf>,
    pub color: Option<Color>,
    pub create: Create,
    pub start: Start,
    pub image: Image,
    pub run: Run,
    pub stop: Stop,
    pub console: Console,
}

/// What `bryo create` does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)]
pub struct Create {
    pub image: Option<String>,
}

/// What each start of a container does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)]
pub struct Start {
    pub lxcfs: Option<bool>,
    pub lxcfs_quota: Option<bool>,
}

/// Where images come from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)]
pub struct Image {
    pub server: Option<String>,
    pub ca_file: Option<PathBuf>,
    pub keyring: Option<PathBuf>,
}

/// What `bryo run` does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)]
pub struct Run {
    pub image: Option<String>,
    pub timeout: Option<NonZeroU64>,
}

/// What `bryo stop` and `bryo restart` do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)]
pub struct Stop {
    pub timeout: Option<u64>,
}

/// What `bryo console` does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)]
pub struct Console {
    pub escape: Option<char>,
}

/// Where colours are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Color {
    /// On a terminal, unless the environment has NO_COLOR.
    Auto,
    /// Everywhere.
    Always,
    /// Nowhere.
    Never,
}

impl fmt::Display for Color {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Always => "always",
            Self::Never => "never",
        })
    }
}

/// One setting.
#[derive(Debug)]
pub struct Setting {
    /// Its name: the table of TOML that it stands in, and its own.
    pub name: &'static str,
    /// How a value is written, as an example.
    pub example: &'static str,
    /// What it does, in a sentence.
    pub doc: &'static str,
    /// What holds without it, in words.
    pub default: &'static str,
    /// What counts more.
    pub over: &'static str,
    /// Returns its value, if it is set.
    pub show: fn(&Settings) -> Option<String>,
}

/// All settings.
pub static SETTINGS: [Setting; 13] = [
    Setting {
        name: "lxcpath",
        example: "\"~/containers\"",
        doc: "The directory of the containers; for LXC's own tools it stands in `lxc.conf`, which is read here too.",
        default: "~/.local/share/lxc",
        over: "--lxcpath; the user's lxc.conf counts more than the system's file",
        show: |settings| settings.lxcpath.as_ref().map(|path| path.display().to_string()),
    },
    Setting {
        name: "default_config",
        example: "\"~/.config/lxc/default.conf\"",
        doc: "The file that new containers' configurations begin with.",
        default: "~/.config/lxc/default.conf",
        over: "--config; the user's lxc.conf counts more than the system's file",
        show: |settings| settings.default_config.as_ref().map(|path| path.display().to_string()),
    },
    Setting {
        name: "color",
        example: "\"never\"",
        doc: "Where colours are used: `auto` (on a terminal, unless NO_COLOR is set), `always` or `never`.",
        default: "auto",
        over: "",
        show: |settings| settings.color.map(|color| color.to_string()),
    },
    Setting {
        name: "create.image",
        example: "\"~/images/debian.tar.zst\"",
        doc: "The archive or directory from which `bryo create NAME` makes a container.",
        default: "none: an image or a template must be named",
        over: "an image or --template",
        show: |settings| settings.create.image.clone(),
    },
    Setting {
        name: "start.lxcfs",
        example: "false",
        doc: "Whether containers see their own limits in `/proc` and `/sys`, which costs a start some milliseconds.",
        default: "true, where /dev/fuse can be opened",
        over: "",
        show: |settings| settings.start.lxcfs.map(|wanted| wanted.to_string()),
    },
    Setting {
        name: "start.lxcfs_quota",
        example: "true",
        doc: "Whether a quota of processor time (`lxc.cgroup2.cpu.max`) counts there as so many processors, as with lxcfs' --enable-cfs.",
        default: "false",
        over: "",
        show: |settings| settings.start.lxcfs_quota.map(|wanted| wanted.to_string()),
    },
    Setting {
        name: "image.server",
        example: "\"images.example.org\"",
        doc: "The server that has the images of names such as debian/13: a host name, or a URL of https.",
        default: "images.linuxcontainers.org",
        over: "--server",
        show: |settings| settings.image.server.clone(),
    },
    Setting {
        name: "image.ca_file",
        example: "\"/etc/ssl/example.pem\"",
        doc: "A file of certificates that vouch for the server of images, in place of those that this machine trusts.",
        default: "the machine's own",
        over: "--ca-file",
        show: |settings| settings.image.ca_file.as_ref().map(|path| path.display().to_string()),
    },
    Setting {
        name: "image.keyring",
        example: "\"/usr/share/keyrings/images.gpg\"",
        doc: "A file of keys, as gpgv(1) reads it: what the server says of its images counts only with a signature of one of them.",
        default: "none: the index counts by TLS alone",
        over: "--keyring",
        show: |settings| settings.image.keyring.as_ref().map(|path| path.display().to_string()),
    },
    Setting {
        name: "run.image",
        example: "\"~/images/alpine.tar.zst\"",
        doc: "The archive or directory in which `bryo run` runs a command.",
        default: "this machine's own programs, read-only",
        over: "an image",
        show: |settings| settings.run.image.clone(),
    },
    Setting {
        name: "run.timeout",
        example: "600",
        doc: "After how many seconds `bryo run` ends it all.",
        default: "never",
        over: "--timeout",
        show: |settings| settings.run.timeout.map(|seconds| seconds.to_string()),
    },
    Setting {
        name: "stop.timeout",
        example: "20",
        doc: "After how many seconds `bryo stop` and `bryo restart` kill what has not stopped.",
        default: "60",
        over: "--timeout",
        show: |settings| settings.stop.timeout.map(|seconds| seconds.to_string()),
    },
    Setting {
        name: "console.escape",
        example: "\"b\"",
        doc: "The key that, with Ctrl and before q, leaves `bryo console`.",
        default: "a",
        over: "--escape",
        show: |settings| settings.console.escape.map(String::from),
    },
];

/// What holds, and which file says so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// All together.
    pub settings: Settings,
    /// The files that are there, the one that counts most first.
    files: Vec<(PathBuf, Settings)>,
}

impl Found {
    /// Reads the files that are there of those named, the one that counts most first. `~` in a path is `home`.
    ///
    /// # Errors
    /// A file that cannot be read, and what is wrong in one, with its place.
    pub fn load(paths: &[PathBuf], home: &Path) -> Result<Self, Box<Problem>> {
        let mut found = Self::default();
        for path in paths {
            let bytes = match load::read(path) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(Box::new(Problem::of_file(path, load::unreadable(path, &error)))),
            };
            let settings = parse(&String::from_utf8_lossy(&bytes), path, home)?;
            found.settings = found.settings.or(settings.clone());
            found.files.push((path.clone(), settings));
        }
        Ok(found)
    }

    /// Returns the file that a setting comes from.
    pub fn source(&self, setting: &Setting) -> Option<&Path> {
        let says = |(_, settings): &&(PathBuf, Settings)| (setting.show)(settings).is_some();
        self.files.iter().find(says).map(|(path, _)| path.as_path())
    }
}

impl Settings {
    /// Tells whether containers are to see their own limits.
    pub fn shows_limits(&self) -> bool {
        self.start.lxcfs.unwrap_or(true)
    }

    /// Tells whether a quota of processor time is to count as processors there.
    pub fn counts_quota(&self) -> bool {
        self.start.lxcfs_quota.unwrap_or(false)
    }

    /// Takes from `other` what is not set here.
    fn or(self, other: Self) -> Self {
        Self {
            lxcpath: self.lxcpath.or(other.lxcpath),
            default_config: self.default_config.or(other.default_config),
            color: self.color.or(other.color),
            create: Create { image: self.create.image.or(other.create.image) },
            start: Start {
                lxcfs: self.start.lxcfs.or(other.start.lxcfs),
                lxcfs_quota: self.start.lxcfs_quota.or(other.start.lxcfs_quota),
            },
            image: Image {
                server: self.image.server.or(other.image.server),
                ca_file: self.image.ca_file.or(other.image.ca_file),
                keyring: self.image.keyring.or(other.image.keyring),
            },
            run: Run {
                image: self.run.image.or(other.run.image),
                timeout: self.run.timeout.or(other.run.timeout),
            },
            stop: Stop { timeout: self.stop.timeout.or(other.stop.timeout) },
            console: Console { escape: self.console.escape.or(other.console.escape) },
        }
    }

    /// Writes `~` in paths as `home`.
    fn at_home(mut self, home: &Path) -> Self {
        let whole = |path: &mut PathBuf| {
            if let Ok(rest) = path.strip_prefix("~") {
                *path = home.join(rest);
            }
        };
        let Image { ca_file, keyring, .. } = &mut self.image;
        let paths = [&mut self.lxcpath, &mut self.default_config, ca_file, keyring];
        paths.into_iter().flatten().for_each(whole);
        for image in [&mut self.create.image, &mut self.run.image].into_iter().flatten() {
            if let Some(rest) = image.strip_prefix("~/") {
                *image = home.join(rest).display().to_string();
            }
        }
        self
    }
}

fn parse(text: &str, path: &Path, home: &Path) -> Result<Settings, Box<Problem>> {
    let settings: Settings =
        toml::from_str(text).map_err(|error| Box::new(problem(text, path, &error, meant)))?;
    let settings = settings.at_home(home);
    match senseless(&settings) {
        Some(fault) => Err(Box::new(Problem::of_file(path, fault))),
        None => Ok(settings),
    }
}

/// Returns what is wrong with a value although its type is right. A path that means something else in each directory is
/// none for a setting.
fn senseless(settings: &Settings) -> Option<Fault> {
    let wrong = |why: String, meant: &str| Some(Fault::Setting { why, meant: Some(meant.to_owned()) });
    let named = [
        ("lxcpath", &settings.lxcpath),
        ("default_config", &settings.default_config),
        ("image.ca_file", &settings.image.ca_file),
        ("image.keyring", &settings.image.keyring),
    ];
    let mut named = named.into_iter().filter_map(|(name, path)| Some((name, path.as_ref()?)));
    if let Some((name, path)) = named.find(|(_, path)| !path.is_absolute()) {
        let why = format!("{name} = \"{}\" is not absolute", path.display());
        return wrong(why, "a path that begins with / or ~/");
    }
    let escape = settings.console.escape.filter(|key| !key.is_ascii_alphabetic())?;
    wrong(format!("console.escape = \"{escape}\" is no letter"), "one from a to z")
}

/// Says where a file of TOML is wrong, and how; `meant` finds what was meant by a name that does not exist.
pub(crate) fn problem(
    text: &str,
    path: &Path,
    error: &toml::de::Error,
    meant: fn(&str) -> Option<String>,
) -> Problem {
    let at = error.span().map_or(0, |span| span.start.min(text.len()));
    let before = text.get(..at).unwrap_or_default();
    let start = before.rfind('\n').map_or(0, |end| end + 1);
    let line = text[start..].lines().next().unwrap_or_default();
    let number = before.matches('\n').count() + 1;
    Problem::at(path, number, line, at - start, at - start, fault(error.message(), meant))
}

/// Says what is wrong in this program's words: serde lists all names for one that it does not know.
fn fault(message: &str, meant: fn(&str) -> Option<String>) -> Fault {
    let unknown = message.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next());
    match unknown {
        Some(name) => {
            Fault::Setting { why: format!("there is no setting '{name}' here"), meant: meant(name) }
        }
        None => Fault::Setting { why: message.replace('`', "'"), meant: None },
    }
}

/// Returns the setting that was probably meant: of the same name in another table, or with a slip.
fn meant(name: &str) -> Option<String> {
    let own = |setting: &Setting| setting.name.rsplit('.').next().unwrap_or_default() == name;
    let elsewhere: Vec<&str> = SETTINGS.iter().filter(|one| own(one)).map(|one| one.name).collect();
    if !elsewhere.is_empty() {
        return Some(elsewhere.join(" or "));
    }
    let parts = SETTINGS.iter().flat_map(|setting| setting.name.split('.'));
    nearest::of(name, parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a file with one setting.
    fn file_with(setting: &Setting, value: &str) -> String {
        match setting.name.rsplit_once('.') {
            Some((table, name)) => format!("[{table}]\n{name} = {value}\n"),
            None => format!("{} = {value}\n", setting.name),
        }
    }

    fn read(text: &str) -> Result<Settings, Box<Problem>> {
        parse(text, "/c.toml".as_ref(), "/home/ana".as_ref())
    }

    #[test]
    fn every_setting_is_read_shown_and_taken_over() {
        for setting in &SETTINGS {
            let settings = read(&file_with(setting, setting.example)).unwrap();
            let plain = setting.example.trim_matches('"').replacen('~', "/home/ana", 1);
            assert_eq!((setting.show)(&settings).as_deref(), Some(plain.as_str()), "{}", setting.name);
            let others = SETTINGS.iter().filter(|other| other.name != setting.name);
            assert!(others.into_iter().all(|other| (other.show)(&settings).is_none()), "{}", setting.name);
            assert_eq!(Settings::default().or(settings.clone()), settings, "{}", setting.name);
            assert_eq!(settings.clone().or(Settings::default()), settings, "{}", setting.name);
        }
        assert_eq!(read("").unwrap(), Settings::default());
    }

    #[test]
    fn the_users_file_counts_more_and_both_are_known() {
        let directory = tempfile::tempdir().unwrap();
        let (user, system) = (directory.path().join("user"), directory.path().join("system"));
        std::fs::write(&user, "[stop]\ntimeout = 1\n").unwrap();
        std::fs::write(&system, "color = \"never\"\n[stop]\ntimeout = 2\n").unwrap();
        let missing = directory.path().join("missing");
        let found = Found::load(&[user.clone(), system.clone(), missing], "/".as_ref()).unwrap();
        assert_eq!((found.settings.stop.timeout, found.settings.color), (Some(1), Some(Color::Never)));
        let source = |name| found.source(SETTINGS.iter().find(|one| one.name == name).unwrap());
        assert_eq!(source("stop.timeout"), Some(user.as_path()));
        assert_eq!(source("color"), Some(system.as_path()));
        assert_eq!(source("lxcpath"), None);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place_and_what_was_meant() {
        for (text, place, help) in [
            ("colour = \"never\"\n", (1, 1), Some("write color")),
            ("# c\n\ntimeout = 5\n", (3, 1), Some("write run.timeout or stop.timeout")),
            ("[run]\ntimeut = 5\n", (2, 1), Some("write timeout")),
            ("[rn]\n", (1, 2), None),
            ("color = \"red\"\n", (1, 9), None),
            ("[stop]\ntimeout = \"x\"\n", (2, 11), None),
            ("[stop\n", (1, 6), None),
            ("é = 1\n", (1, 1), None),
        ] {
            let problem = read(text).unwrap_err();
            assert_eq!((problem.place.line, problem.place.column), place, "{problem}");
            assert_eq!(problem.fault.suggestion().as_deref(), help, "{problem}");
        }
        assert!(read("lxcpath = \"here\"\n").unwrap_err().to_string().contains("not absolute"));
        assert!(read("console.escape = \"1\"\n").unwrap_err().to_string().contains("no letter"));
        assert!(read("run.timeout = 0\n").is_err());
    }

    #[test]
    fn every_setting_is_documented() {
        let mut names: Vec<&str> = SETTINGS.iter().map(|setting| setting.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), SETTINGS.len());
        for setting in &SETTINGS {
            assert!(setting.doc.ends_with('.') && !setting.default.is_empty(), "{}", setting.name);
        }
    }
}
