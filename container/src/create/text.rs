//! The text of a new container's configuration.

use std::fs::File;
use std::io::Read;

use types::{IdKind, IdMap};

use crate::error::{Doing, Error, Kind, Result};

/// Builds the text: comments, the caller's base, then one line per setting, as LXC's own files have them, so that LXC
/// starts the container too.
pub(super) struct Builder {
    document: config::Document,
}

impl Builder {
    pub(super) fn new(header: &[String], base: &str) -> Self {
        let mut text: String =
            header.iter().map(|line| format!("# {}\n", line.replace(['\n', '\r'], " "))).collect();
        text.push_str("# For additional config options, please look at lxc.container.conf(5)\n\n");
        text.push_str(base);
        Self { document: config::Document::from_bytes(text.as_bytes()) }
    }

    /// Appends a line.
    ///
    /// # Errors
    /// A value that would be more than one line.
    pub(super) fn set(&mut self, key: &str, value: &str) -> Result<()> {
        self.document.append(key, value).map_err(|e| Error::new(Kind::Config, e.to_string()))
    }

    pub(super) fn idmap(&mut self, map: &IdMap) -> Result<()> {
        for kind in [IdKind::User, IdKind::Group] {
            for extent in map.extents(kind) {
                self.set("lxc.idmap", &format!("{} {extent}", kind.letter()))?;
            }
        }
        Ok(())
    }

    /// Includes what all system containers of an ordinary user have in common.
    pub(super) fn system_container(&mut self) -> Result<()> {
        self.set("lxc.include", "/usr/share/lxc/config/common.conf")?;
        self.set("lxc.include", "/usr/share/lxc/config/userns.conf")
    }

    /// Replaces the digits of hardware addresses that are left to chance, which is once and for all when the file is written.
    /// Those of included files, and of lines that are added later, the start fills in.
    pub(super) fn fill_hwaddrs(&mut self) -> Result<()> {
        let mut read = Ok(());
        self.document.fill_hwaddrs(|| {
            let mut chance = [0; 6];
            let filled = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut chance));
            read = std::mem::replace(&mut read, Ok(())).and(filled);
            chance
        });
        read.map_err(crate::place::from_io).doing("reading /dev/urandom")
    }

    pub(super) fn text(&self) -> String {
        self.document.text()
    }
}

/// Returns the text with which a new container's configuration begins: that of `path` where the user has one.
///
/// The system's own `default.conf` is not used without the user's word: it names a bridge for which the user may have
/// no line in lxc-usernet.
pub fn default_text(path: &std::path::Path, asked_for: bool) -> Result<String> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && !asked_for => Ok(String::new()),
        Err(e) => {
            Err(crate::place::from_io(e).of_kind(Kind::Config).doing(format!("reading {}", path.display())))
        }
    }
}
