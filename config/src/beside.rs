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
    use proptest::prelude::*;
    use proptest::strategy::ValueTree;

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

    /// What ports are written with, whole and in parts, what the file has around them, and what could break both.
    #[rustfmt::skip]
    const PIECES: &[&str] = &[
        "0", "1", "80", "8080", "65535", "65536", "99999999999999999999", "8000-8010", "1-65535", "9-8", "-", ":", "::", "::1",
        "[::1]", "[", "]", "127.0.0.1", "0.0.0.0", "[::ffff:10.0.0.1]", "*", "/tcp", "/udp", "/", "+", " ", "localhost", "x",
        "publish", "ports", "=", " = ", "\"", "\"\"\"", "'", "[[", "[\"", "\"]", "\",\"", ",", "{", "}", "#", "\n", "\r\n", "\t",
        "\\", "\\u0000", "\u{0}", "\u{feff}", "\u{202e}", "é", "🌳", "true", "1e9", "1979-05-27", ".", "a.b",
    ];

    fn text() -> impl Strategy<Value = String> {
        let pieces =
            |most| prop::collection::vec(prop::sample::select(PIECES), 0..most).prop_map(|all| all.concat());
        let in_a_list = pieces(12).prop_map(|text| format!("publish = [\"{text}\"]\n"));
        let key = prop::sample::select(
            &["publish", "ports", "x", "a.b", "'é'", "\"\\u202e\"", "[publish]\nx", "[[publish]]\nx"][..],
        );
        let value = prop::sample::select(
            &["[\"8080:80\"]", "[\"80\", 1]", "\"é\"", "[]", "{ x = [] }", "🌳", "1e9", "[[\"1:1\"]]"][..],
        );
        let lines =
            prop::collection::vec((key, value).prop_map(|(key, value)| format!("{key} = {value}\n")), 1..4);
        let lines = lines.prop_map(|lines| lines.concat());
        prop_oneof![3 => pieces(40), 3 => in_a_list, 3 => lines, 1 => any::<String>()]
    }

    /// A port in one of the ways to write it, or something near.
    fn port() -> impl Strategy<Value = String> {
        let bind = prop::sample::select(
            &["", "*:", "10.0.0.1:", "0.0.0.0:", "[::1]:", "[::ffff:10.0.0.1]:", "::1:", "é:"][..],
        );
        let ports = || (any::<u16>(), 0..300u16);
        let range = |(first, more): (u16, u16)| match more {
            0 => first.to_string(),
            more => format!("{first}-{}", u32::from(first) + u32::from(more)),
        };
        let protocol = prop::sample::select(&["", "", "/tcp", "/udp", "/sctp", "/udp/udp"][..]);
        (bind, ports(), ports(), any::<bool>(), protocol).prop_map(
            move |(bind, host, inside, same, protocol)| {
                let inside = if same { (inside.0, host.1) } else { inside };
                format!("{bind}{}:{}{protocol}", range(host), range(inside))
            },
        )
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic_and_what_is_taken_reads_back(text in text()) {
            match read(&text) {
                Ok(beside) => prop_assert_eq!(read(&beside.text()).unwrap(), beside),
                Err(problem) => {
                    let _what_is_told = (problem.to_string(), problem.fault.suggestion());
                    prop_assert!(problem.place.line <= text.split('\n').count(), "{}", problem);
                }
            }
        }

        #[test]
        fn a_port_that_is_taken_means_the_same_when_it_is_written(ports in prop::collection::vec(port(), 1..8)) {
            let parsed = |port: &String| port.parse::<Published>().ok();
            let publish: Vec<Published> = ports.iter().filter_map(parsed).collect();
            for port in &publish {
                let numbers: Vec<(u16, u16)> = port.ports().collect();
                prop_assert_eq!(numbers.len(), port.count());
                prop_assert!(numbers.iter().all(|(host, inside)| *host > 0 && *inside > 0) && !port.addresses().is_empty());
                let again = port.to_string().parse::<Published>().unwrap();
                prop_assert_eq!((again.told(), again.ports().collect::<Vec<_>>()), (port.told(), numbers));
            }
            let beside = Beside { publish };
            prop_assert_eq!(read(&beside.text()).unwrap(), beside);
        }

        #[test]
        fn no_bytes_of_a_file_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join(NAME);
            fs::write(&path, &bytes).unwrap();
            let _what_is_told = Beside::load(&path).map_err(|problem| problem.to_string());
        }
    }

    /// Else the property above says little.
    #[test]
    fn many_of_the_ports_that_are_tried_are_taken() {
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        let one = |_| port().new_tree(&mut runner).unwrap().current();
        let taken = (0..1000).map(one).filter(|port| port.parse::<Published>().is_ok()).count();
        assert!((100..900).contains(&taken), "{taken} of 1000 are taken");
    }
}
