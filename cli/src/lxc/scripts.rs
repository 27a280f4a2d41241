//! `lxc-config` and `lxc-update-config`: tools about files, without the options that the others share.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use config::Held;
use config::system::SystemConfig;

use super::help;
use crate::context::Context;
use crate::getopt::{self, Opt, flag, value};
use crate::output;

/// A tool that reads its own words.
#[derive(Debug)]
pub(crate) struct Script {
    pub(super) name: &'static str,
    pub(super) run: fn(&[String]) -> i32,
    about: &'static str,
    usage: &'static str,
}

impl Script {
    /// Returns the tool's manual page.
    pub(super) fn page(&self) -> String {
        help::page_of(self.name, self.about, &format!("{} {}", self.name, self.usage), "")
    }
}

pub(super) static SCRIPTS: [Script; 2] = [
    Script {
        name: "lxc-config",
        run: config,
        about: "prints what lxc.conf says, and where containers are",
        usage: "-l | ITEM",
    },
    Script {
        name: "lxc-update-config",
        run: |words| update(words).unwrap_or_else(|status| status),
        about: "writes names of LXC 1 and 2 in today's words, and keeps the old file as FILE.backup",
        usage: "--config=FILE",
    },
];

const CONFIG_USAGE: &str = "\
Usage: lxc-config -l: list all available configuration items
       lxc-config item: print configuration item
";

/// LXC: looks at the first word alone, and prints even its complaint to standard output.
fn config(words: &[String]) -> i32 {
    match words.first().map(String::as_str) {
        None | Some("-h" | "--help") => output::print(CONFIG_USAGE),
        Some("-l") => SystemConfig::names().for_each(output::print_line),
        Some(item) => return item_value(item),
    }
    0
}

fn item_value(item: &str) -> i32 {
    let context = match Context::new(None) {
        Ok(context) => context,
        Err(error) => {
            output::tell_line(format_args!("lxc-config: {error}"));
            return 1;
        }
    };
    // LXC: the beginning of an item is known, and has no value.
    let is_known = SystemConfig::names().any(|name| name.starts_with(item));
    match context.system_value(item).filter(|_| is_known) {
        Some(value) if !value.is_empty() => output::print_line(value),
        _ if is_known => output::print_line(format_args!("{item} is not set.")),
        _ => {
            output::print_line(format_args!("Unknown configuration item: {item}"));
            return 1;
        }
    }
    0
}

const UPDATE_OPTIONS: &[Opt] = &[value("c", "config", "FILE", ""), flag("h", "help", "")];

const UPDATE_USAGE: &str = "\
lxc-update-config -h|--help [-c|--config FILE]
writes the names of LXC 1 and 2 in a configuration in today's words, and keeps the old file as FILE.backup
";

fn update(words: &[String]) -> Result<i32, i32> {
    let failed = |why: String| {
        output::tell_line(format_args!("lxc-update-config: {why}"));
        1
    };
    let given = getopt::parse(&[UPDATE_OPTIONS], words).map_err(|wrong| failed(wrong.to_string()))?;
    let Some(file) = given.value("config").filter(|_| !given.has("help")) else {
        output::print(UPDATE_USAGE);
        return Ok(0);
    };
    let path = Path::new(file);
    update_file(path).map_err(|why| failed(format!("{file}: {why}")))?;
    Ok(0)
}

/// LXC: makes the backup also where nothing changes.
fn update_file(path: &Path) -> io::Result<()> {
    let (held, mut document) = Held::open(path)?;
    back_up(path)?;
    if !document.update().is_empty() {
        held.save(&document)?;
    }
    Ok(())
}

/// Copies the file beside itself. A backup of before is overwritten, as LXC does; one that is a link, or another user's, is
/// not.
fn back_up(path: &Path) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".backup");
    let backup = PathBuf::from(name);
    let (bytes, mode) = (fs::read(path)?, fs::metadata(path)?.mode() & 0o777);
    match fs::remove_file(&backup) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&backup)?;
    file.write_all(&bytes)?;
    file.sync_all()
}
