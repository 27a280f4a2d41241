//! What can be wrong with a configuration, where, and what to write instead.

use std::fmt;
use std::path::PathBuf;

use types::is_shown;

use crate::{NetKind, keys, legacy};

/// What is wrong, or worth a warning.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// A line that starts with `lxc.` has no `=`.
    #[error("the line has no '='")]
    NoEquals,
    /// A key's line is not UTF-8 text, or holds a NUL.
    #[error("the line is not text")]
    NotText,
    /// No such key is known.
    #[error("there is no key '{key}'")]
    UnknownKey {
        /// The key as written.
        key: String,
        /// A key that looks like it.
        nearest: Option<String>,
    },
    /// A name from LXC 1 or 2. A warning where a file is read, an error where a key is set.
    #[error("'{old}' is called '{new}' since LXC 2.1")]
    Renamed {
        /// The name as written.
        old: String,
        /// Today's name.
        new: String,
    },
    /// A key of LXC 1 or 2 that has no meaning any more.
    #[error("'{key}' has had no effect since LXC 2.1")]
    Dropped {
        /// The key.
        key: String,
    },
    /// `lxc.network.*` without an index, before any `lxc.network.type`.
    #[error("'{key}' comes before any 'lxc.network.type'")]
    NetworkBeforeType {
        /// The key.
        key: String,
    },
    /// A key of cgroup v1, which LXC 7 refuses.
    #[error("'{key}' acts on cgroup v1 alone")]
    CgroupV1 {
        /// The key.
        key: String,
        /// The key of cgroup v2 with the same purpose, if there is one.
        modern: Option<&'static str>,
    },
    /// A limit whose size is written in a way that the kernel refuses at start.
    #[error("the kernel does not take '{value}' for a size")]
    KernelSize {
        /// The value as written.
        value: String,
        /// The value as the kernel takes it.
        meant: String,
    },
    /// A line that is ignored although it was probably meant.
    #[error("the line is ignored: keys are written in lower case")]
    WrongCase {
        /// The key in lower case.
        key: String,
    },
    /// A line that is ignored for a mark that nobody sees.
    #[error("the line is ignored: a byte order mark stands before its key")]
    Marked,
    /// A value that is not what the key takes.
    #[error("'{value}' is not {expected}")]
    Value {
        /// The part of the value that is wrong.
        value: String,
        /// What the key takes.
        expected: &'static str,
        /// What was probably meant.
        meant: Option<String>,
    },
    /// A value that is one, and that cannot be had.
    #[error("'{value}': {why}")]
    Refused {
        /// The value, or the part of it that cannot be had.
        value: String,
        /// Why.
        why: String,
        /// The nearest that can be had.
        instead: Option<String>,
    },
    /// An empty value for a key that cannot be cleared.
    #[error("'{key}' cannot be empty")]
    Empty {
        /// The key.
        key: String,
    },
    /// A value for a key that stands for a whole family.
    #[error("'{key}' stands for all keys below it and takes no value itself")]
    WholeFamily {
        /// The key.
        key: String,
    },
    /// Two keys that exclude each other.
    #[error("'{key}' cannot be given beside '{other}'")]
    Exclusive {
        /// The key of this line.
        key: &'static str,
        /// The key that was set before.
        other: &'static str,
    },
    /// A key that has no value that could be shown.
    #[error("'{key}' has no value to show")]
    NothingToShow {
        /// The key.
        key: String,
    },
    /// A key for another kind of network device, or for a device that does not exist.
    #[error("'{key}' does not apply to a device of type {kind}")]
    WrongKind {
        /// The key.
        key: String,
        /// The device's kind.
        kind: NetKind,
    },
    /// A value that no line of a configuration can hold.
    #[error("a value cannot hold a line break or a NUL")]
    Unwritable,
    /// A key that is set, in a file of which so much is wrong that its end is not read.
    #[error("'{key}' would not hold: too much of what the file says is wrong")]
    NotReached {
        /// The key.
        key: String,
    },
    /// An included file does not exist.
    #[error("the file to include, {}, does not exist", .path.display())]
    IncludeMissing {
        /// The file.
        path: PathBuf,
    },
    /// A file includes itself, directly or through others.
    #[error("{} includes itself", .path.display())]
    IncludeCycle {
        /// The file.
        path: PathBuf,
    },
    /// Includes that include includes, without a sensible end.
    #[error("more than {limit} files are included")]
    IncludeTooMany {
        /// How many may be.
        limit: usize,
    },
    /// A directory with more files than any that is made to be included.
    #[error("{} has more than {limit} files", .path.display())]
    DirectoryTooLong {
        /// The directory.
        path: PathBuf,
        /// How many may be.
        limit: usize,
    },
    /// More names of one family than there can be.
    #[error("more than {limit} names of this family are set")]
    TooManyNames {
        /// How many may be.
        limit: usize,
    },
    /// Files that include files that include files, and so on.
    #[error("includes go deeper than {limit} files")]
    IncludeTooDeep {
        /// How deep they may go.
        limit: usize,
    },
    /// A configuration that is longer than any is.
    #[error("with what is included the configuration is longer than {limit} bytes")]
    TooLong {
        /// How long it may be.
        limit: usize,
    },
    /// So many problems or warnings that the rest is not told.
    #[error("there is more, which is told when the first {told} are mended")]
    More {
        /// How many are told.
        told: usize,
    },
    /// Something in an included file is wrong, where a key is set rather than a file read.
    #[error("{0}")]
    Included(Box<Problems>),
    /// A file of LXC's own that this host lacks; Bryo's takes its place.
    #[error("{} does not exist; Bryo's own {name} takes its place", .path.display())]
    BuiltIn {
        /// The file that the configuration names.
        path: PathBuf,
        /// The shipped file.
        name: &'static str,
    },
    /// Something in a file of Bryo's own settings.
    #[error("{why}")]
    Setting {
        /// What is wrong.
        why: String,
        /// What was probably meant.
        meant: Option<String>,
    },
    /// A file cannot be read.
    #[error("{} cannot be read: {why}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why, in the system's words.
        why: String,
    },
}

impl Fault {
    /// Returns the fault of a value that is not what it should be.
    pub(crate) fn value(value: &str, expected: &'static str) -> Self {
        Self::Value { value: value.to_owned(), expected, meant: None }
    }

    /// Adds what was probably meant.
    pub(crate) fn meaning(self, meant: Option<String>) -> Self {
        match self {
            Self::Value { value, expected, meant: None } => Self::Value { value, expected, meant },
            other => other,
        }
    }

    /// Returns what to write instead, if that is known.
    pub fn suggestion(&self) -> Option<String> {
        match self {
            Self::NoEquals => Some("write KEY = VALUE, or remove the line".to_owned()),
            Self::UnknownKey { nearest: Some(key), .. }
            | Self::Value { meant: Some(key), .. }
            | Self::Setting { meant: Some(key), .. } => Some(format!("write {key}")),
            Self::Renamed { new, .. } => Some(format!("write {new}")),
            Self::WrongCase { key } => match keys::find(key) {
                Ok(_) => Some(format!("write {key}")),
                Err(fault) => fault.suggestion(),
            },
            Self::Marked => Some("save the file as UTF-8 without a byte order mark".to_owned()),
            Self::KernelSize { meant, .. } => Some(format!("write {meant}")),
            Self::CgroupV1 { modern: Some(key), .. } => Some(format!("write {key}")),
            Self::CgroupV1 { modern: None, .. } => Some("use a key of lxc.cgroup2".to_owned()),
            Self::WholeFamily { key } if key == "lxc.net" => Some("write lxc.net.0.type".to_owned()),
            Self::WholeFamily { key } if key.starts_with("lxc.net.") => Some(format!("write {key}.type")),
            Self::WholeFamily { key } => {
                Some(format!("write {key}.NAME, or nothing after the '=' to clear all"))
            }
            Self::Refused { instead, .. } => instead.clone(),
            Self::Dropped { .. } => Some("remove the line".to_owned()),
            Self::NetworkBeforeType { key } => legacy::in_first_device(key)
                .map(|key| format!("write {key}, and lxc.net.0.type = veth before it")),
            Self::IncludeMissing { .. } => Some("correct the path, or remove the line".to_owned()),
            _ => None,
        }
    }

    /// Returns the fault and what to write instead in one line, for a setting that stands in no file.
    pub fn advice(&self) -> String {
        match self.suggestion() {
            Some(suggestion) => format!("{self}; {suggestion}"),
            None => self.to_string(),
        }
    }

    /// Tells whether the fault lies in the key rather than in its value.
    fn is_in_key(&self) -> bool {
        use Fault::*;
        matches!(
            self,
            NoEquals
                | NotText
                | UnknownKey { .. }
                | Renamed { .. }
                | Dropped { .. }
                | NetworkBeforeType { .. }
                | CgroupV1 { .. }
                | WrongCase { .. }
                | Marked
                | WholeFamily { .. }
                | Exclusive { .. }
        )
    }
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1; 0 where the file as a whole is meant.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The text of the line.
    pub text: String,
}

/// Something wrong, or worth a warning, at its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What.
    pub fault: Fault,
    /// The files and lines by which the file is included, the nearest first; none for the top file.
    pub includes: Vec<(PathBuf, usize)>,
}

impl Problem {
    /// Places `fault` in a line whose key and value start at the given byte offsets.
    pub(crate) fn at(
        file: &std::path::Path,
        line: usize,
        text: &str,
        key_at: usize,
        value_at: usize,
        fault: Fault,
    ) -> Self {
        let offset = match &fault {
            fault if fault.is_in_key() => key_at,
            Fault::Value { value, .. } | Fault::Refused { value, .. } => {
                word_at(text, value_at, value).or(word_at(text, key_at, value)).unwrap_or(value_at)
            }
            _ => value_at,
        };
        let column = text.char_indices().take_while(|(at, _)| *at < offset).count() + 1;
        let place = Place { file: file.to_owned(), line, column, text: text.to_owned() };
        Self { place, fault, includes: Vec::new() }
    }

    /// Returns the problem of a file as a whole.
    pub(crate) fn of_file(file: &std::path::Path, fault: Fault) -> Self {
        let place = Place { file: file.to_owned(), line: 0, column: 0, text: String::new() };
        Self { place, fault, includes: Vec::new() }
    }
}

impl fmt::Display for Problem {
    /// Writes place and fault, the line with a mark below the column, the way to the file and the suggestion.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { file, line, column, text } = &self.place;
        let (file, fault) = (printable(&file.display().to_string()), shortened(&self.fault.to_string()));
        match line {
            0 => write!(f, "{file}: {fault}")?,
            _ => {
                let (part, blanks) = around(&printable(text), *column);
                write!(f, "{file}:{line}:{column}: {fault}\n    {part}\n    {:blanks$}^", "")?;
            }
        }
        for (file, line) in &self.includes {
            write!(f, "\n    included from {}:{line}", printable(&file.display().to_string()))?;
        }
        match self.fault.suggestion() {
            Some(suggestion) => write!(f, "\n    help: {}", shortened(&suggestion)),
            None => Ok(()),
        }
    }
}

/// How much of a line is shown before and after the column of a problem, in characters.
const SHOWN: usize = 100;

/// Returns the part of a line around a column, and how many characters of it stand before the column.
fn around(text: &str, column: usize) -> (String, usize) {
    let before = column.saturating_sub(1);
    let left_out = before.saturating_sub(SHOWN);
    let mut rest = text.chars().skip(left_out);
    let mut part: String = rest.by_ref().take(2 * SHOWN).collect();
    if rest.next().is_some() {
        part.push_str("...");
    }
    match left_out {
        0 => (part, before),
        _ => (format!("...{part}"), before - left_out + 3),
    }
}

/// Returns what can be shown of a message, which may quote a value as long as the file.
fn shortened(message: &str) -> String {
    const MOST: usize = 1000;
    let shown: String = printable(message).chars().take(MOST).collect();
    if message.chars().nth(MOST).is_some() { shown + "..." } else { shown }
}

/// Returns where in a line a word stands, from an offset on: the part of a value that is wrong, or of a key.
fn word_at(text: &str, from: usize, word: &str) -> Option<usize> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let (before, rest) = text.split_at_checked(from)?;
    let stands_alone = |at: &usize| {
        let (left, right) = (before.len() + at, before.len() + at + word.len());
        !text[..left].ends_with(is_part) && !text[right..].starts_with(is_part)
    };
    let found = rest.match_indices(word).map(|(at, _)| at).find(stands_alone).map(|at| from + at);
    found.filter(|_| !word.is_empty())
}

/// Returns the text without characters that could make a terminal show something else: controls, and what is not seen
/// or turns the order of others. A file that comes with an image is somebody else's text. Each becomes one character, so
/// that columns stay.
fn printable(text: &str) -> String {
    let shown = |c: char| match c {
        '\t' => ' ',
        '\n' => '\n',
        c if is_shown(c) => c,
        _ => char::REPLACEMENT_CHARACTER,
    };
    text.chars().map(shown).collect()
}

/// All the problems of a configuration, in the order of its lines; never none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            let gap = if i == 0 { "" } else { "\n" };
            write!(f, "{gap}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_shows_its_place_its_line_and_what_to_write() {
        let fault = Fault::value("yes", "0 or 1").meaning(Some("1".into()));
        let problem = Problem::at("/c".as_ref(), 3, "lxc.autodev = yes", 0, 14, fault);
        let shown =
            "/c:3:15: 'yes' is not 0 or 1\n    lxc.autodev = yes\n                  ^\n    help: write 1";
        assert_eq!(problem.to_string(), shown);
    }

    #[test]
    fn the_mark_stands_below_the_word_that_is_wrong() {
        for (line, column) in [
            ("lxc.cap.drop = sys_admin sys", 26),
            ("lxc.cap.drop = chown CHOWN", 22),
            ("lxc.autodev = \"yes\"", 16),
            ("lxc.prlimit.NOFILE = 1", 13),
            ("lxc.namespace.clone = net,pid", 23),
            ("lxc.init.groups = 1,é,3", 21),
            ("lxc.uts.nmae = a", 1),
            ("lxc.idmap = u 0 x 1", 13),
        ] {
            let problems = crate::parse(line, "/c".as_ref()).unwrap_err();
            assert_eq!(problems.0[0].place.column, column, "{problems}");
        }
    }

    #[test]
    fn of_a_line_without_end_the_part_that_is_wrong_is_shown() {
        let line = format!("lxc.autodev ={}yes{}", " ".repeat(100_000), "s".repeat(100_000));
        let shown = crate::parse(&line, "/c".as_ref()).unwrap_err().to_string();
        assert!(shown.len() < 2000 && shown.starts_with("/c:1:100014: 'yess"), "{}", shown.len());
        let mark = shown.lines().find(|line| line.ends_with('^')).unwrap().len() - 1;
        assert_eq!(shown.lines().nth(1).unwrap().find("yess"), Some(mark));
    }

    #[test]
    fn what_turns_or_hides_text_is_replaced_and_columns_stay() {
        let line = "lxc.arch = a\u{202e}b\u{feff}\u{2066}";
        let shown = crate::parse(line, "/\u{202d}c".as_ref()).unwrap_err().to_string();
        assert!(
            shown.contains("a\u{fffd}b\u{fffd}\u{fffd}") && shown.starts_with("/\u{fffd}c:1:12:"),
            "{shown}"
        );
        assert!(shown.chars().all(|c| c == '\n' || is_shown(c)), "{shown}");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let fault = Fault::UnknownKey { key: "lxc.\x1b[31m".into(), nearest: None };
        let problem = Problem::at("/c".as_ref(), 1, "lxc.\x1b[31m = \x07", 0, 0, fault);
        assert!(!problem.to_string().contains(['\x1b', '\x07']));
    }
}
