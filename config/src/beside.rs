//! What a container has of Bryo alone: the file `bryo.toml` beside its configuration.
//!
//! LXC does not read it, so the directory stays one of LXC's. It is the owner's to write: nothing of an image comes here.

use std::fs;
use std::io;
use std::path::Path;

use serde::Deserialize;
use types::Published;

use crate::problem::Problem;
use crate::{Document, load, nearest, settings};

/// The name of the file.
pub const NAME: &str = "bryo.toml";

/// The longest file that is read: far more than any has.
const MOST_BYTES: usize = 64 << 10;

/// What the file says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Beside {
    /// Ports of the host that lead into the container whenever it runs.
    pub publish: Vec<Published>,
}

impl Beside {
    /// Reads the file; without one nothing is said.
    ///
    /// # Errors
    /// What is wrong in it, with its place.
    pub fn load(path: &Path) -> Result<Self, Box<Problem>> {
        match load::read_text(path) {
            Ok(text) if text.len() > MOST_BYTES => {
                let why = io::Error::other(format!("it is longer than {MOST_BYTES} bytes"));
                Err(Box::new(Problem::of_file(path, load::unreadable(path, &why))))
            }
            Ok(text) => parse(&text, path),
            Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(why) => Err(Box::new(Problem::of_file(path, load::unreadable(path, &why)))),
        }
    }

    /// Writes the file in one step, or removes it where nothing is left to say.
    ///
    /// # Errors
    /// As [`Document::save`]. The old file is then as it was.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        if *self == Self::default() {
            return match fs::remove_file(path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
                _gone => Ok(()),
            };
        }
        Document::from_bytes(self.text().as_bytes()).save(path, 0o644)
    }

    fn text(&self) -> String {
        // Nothing that a port is written with has a meaning between quotes.
        let lines: String = self.publish.iter().map(|port| format!("  \"{port}\",\n")).collect();
        format!("# Bryo's own about this container; `bryo config` writes it anew.\npublish = [\n{lines}]\n")
    }
}

fn parse(text: &str, path: &Path) -> Result<Beside, Box<Problem>> {
    toml::from_str(text).map_err(|error| Box::new(settings::problem(text, path, &error, meant)))
}

/// Returns what was probably meant by a name that does not exist.
fn meant(name: &str) -> Option<String> {
    nearest::of(name, ["publish"]).or_else(|| match name {
        "port" | "ports" | "published" => Some("publish".to_owned()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Beside, Box<Problem>> {
        parse(text, "/lxc/web/bryo.toml".as_ref())
    }

    #[test]
    fn what_is_saved_is_read_back_and_nothing_is_no_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(NAME);
        assert_eq!(Beside::load(&path).unwrap(), Beside::default());
        let ports = ["8080:80", "*:53:53/udp", "[::1]:8000-8010:80-90"];
        let beside = Beside { publish: ports.map(|port| port.parse().unwrap()).into() };
        beside.save(&path).unwrap();
        assert_eq!(Beside::load(&path).unwrap(), beside);
        Beside::default().save(&path).unwrap();
        assert!(!path.exists());
        Beside::default().save(&path).unwrap();
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place_and_what_was_meant() {
        for (text, place, help) in [
            ("publsh = []\n", (1, 1), Some("write publish")),
            ("\nports = [\"80:80\"]\n", (2, 1), Some("write publish")),
            ("other = 1\n", (1, 1), None),
            ("publish = \"80:80\"\n", (1, 11), None),
            ("publish = [\"80\"]\n", (1, 11), None),
        ] {
            let problem = read(text).unwrap_err();
            assert_eq!((problem.place.line, problem.place.column), place, "{problem}");
            assert_eq!(problem.fault.suggestion().as_deref(), help, "{problem}");
        }
        assert!(read("publish = [\"80\"]\n").unwrap_err().to_string().contains("which port of the host"));
    }

    #[test]
    fn nothing_but_a_small_file_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(NAME);
        fs::write(&path, vec![b'#'; MOST_BYTES + 1]).unwrap();
        assert!(Beside::load(&path).unwrap_err().to_string().contains("longer than"));
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(Beside::load(&path).is_err());
    }
}
