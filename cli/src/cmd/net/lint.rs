//! `bryo net lint`

use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use policy::usernet::FILE_CAP;
use policy::usernet::lint::{self, Effect, Finding};
use serde::Serialize;

use super::people::Host;
use crate::json;
use crate::output::{self, Outcome, printable};

/// Arguments of `bryo net lint`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit status: 0 when there is nothing to say; 1 when some line grants nothing or not what it seems to, or the file is not
used at all; 2 when it cannot be read.

Examples:
  bryo net lint
  bryo net lint new-usernet && sudo install -m 644 new-usernet /etc/lxc/lxc-usernet")]
pub(super) struct Lint {
    /// The file of the grants
    #[arg(default_value = super::USERNET)]
    file: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A finding, as programs read it.
#[derive(Debug, Serialize)]
struct Row {
    /// None where it is about the file.
    line: Option<usize>,
    /// The line as it is.
    text: Option<String>,
    /// It grants nothing, or else something else than it seems to.
    grants_nothing: bool,
    what: String,
    suggestion: String,
}

/// The exit status when the file cannot be read.
const UNREAD: i32 = 2;

/// So much of a line is shown.
const SHOWN: usize = 200;

impl Lint {
    pub(super) fn run(self) -> Outcome {
        let name = printable(&self.file.display().to_string());
        let (text, about) = match self.read() {
            Ok(read) => read,
            Err(error) => {
                super::unreadable("look at the grants", &name, &error).print(None);
                return Ok(UNREAD);
            }
        };
        let links = super::links()?;
        let lines = lint::lint(&text, &Host { links: &links });
        // What may be wrong with a copy does not matter: it is installed with other rights.
        let file = (self.file.as_os_str() == super::USERNET).then(|| of_file(&about)).flatten();
        let rows: Vec<Row> =
            file.into_iter().chain(lines.into_iter().map(|found| Row::of(found, &text))).collect();
        if self.json {
            output::print_line(json::text(&rows));
        } else {
            output::print(rows.iter().map(|row| row.shown(&name)).collect::<String>());
        }
        Ok(i32::from(!rows.is_empty()))
    }

    fn read(&self) -> std::io::Result<(Vec<u8>, Metadata)> {
        let about = std::fs::symlink_metadata(&self.file)?;
        let mut text = Vec::new();
        match self.open()? {
            Some(file) => drop(file.take(FILE_CAP as u64 + 1).read_to_end(&mut text)?),
            // The helper does not use it either, which is told instead.
            None if self.file.as_os_str() == super::USERNET => {}
            None => return Err(std::io::Error::other("it is not a file")),
        }
        Ok((text, about))
    }

    /// Opens the file, if it is one. Looked at first, since to open a device may do something; and what has taken its place
    /// meanwhile is not waited for.
    fn open(&self) -> std::io::Result<Option<File>> {
        if !std::fs::metadata(&self.file)?.is_file() {
            return Ok(None);
        }
        Ok(sys::path::open_regular(&self.file)?.map(File::from))
    }
}

/// Returns why the helper does not use the file at all.
fn of_file(about: &Metadata) -> Option<Row> {
    let (what, suggestion) = match about {
        _ if about.file_type().is_symlink() => {
            ("it is a symbolic link".to_owned(), "put the file itself there")
        }
        _ if !about.is_file() => ("it is no regular file".to_owned(), "put a file there"),
        _ if about.uid() != 0 => {
            (format!("it belongs to uid {}", about.uid()), "sudo chown root:root /etc/lxc/lxc-usernet")
        }
        _ if about.mode() & 0o022 != 0 => (
            format!("its mode {:04o} lets others than root write it", about.mode() & 0o7777),
            "sudo chmod 644 /etc/lxc/lxc-usernet",
        ),
        _ if about.mode() & 0o004 == 0 => (
            format!(
                "its mode {:04o} keeps users from reading it, and the helper reads it as the user",
                about.mode() & 0o7777
            ),
            "sudo chmod 644 /etc/lxc/lxc-usernet",
        ),
        _ if about.len() > FILE_CAP as u64 => ("it is longer than 1 MiB".to_owned(), "grant to groups"),
        _ => return None,
    };
    let what = format!("the file is not used: {what}");
    Some(Row { line: None, text: None, grants_nothing: true, what, suggestion: suggestion.to_owned() })
}

impl Row {
    fn of(finding: Finding, text: &[u8]) -> Self {
        let line = text.split(|byte| *byte == b'\n').nth(finding.line - 1).unwrap_or_default();
        let line: String = String::from_utf8_lossy(line).chars().take(SHOWN).collect();
        Self {
            line: Some(finding.line),
            text: Some(line),
            grants_nothing: finding.effect == Effect::GrantsNothing,
            what: finding.what,
            suggestion: finding.suggestion,
        }
    }

    fn shown(&self, file: &str) -> String {
        let place = self.line.map_or(file.to_owned(), |line| format!("{file}:{line}"));
        let effect = match (self.line, self.grants_nothing) {
            (None, _) => "",
            (_, true) => "grants nothing: ",
            (_, false) => "is not what it seems: ",
        };
        let mut shown = format!("{place}: {effect}{}\n", printable(&self.what));
        shown.extend(self.text.as_deref().map(|text| format!("    line: {}\n", printable(text))));
        shown.push_str(&format!("    help: {}\n", printable(&self.suggestion)));
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_has_place_effect_line_and_help() {
        let text = b"# head\nana veth lxcbr0 1\x1b\n";
        let finding = |effect| Finding { line: 2, effect, what: "so".into(), suggestion: "do".into() };
        assert_eq!(
            Row::of(finding(Effect::GrantsNothing), text).shown("f"),
            "f:2: grants nothing: so\n    line: ana veth lxcbr0 1\u{fffd}\n    help: do\n"
        );
        let otherwise = Row::of(finding(Effect::GrantsOtherwise), text).shown("f");
        assert!(otherwise.starts_with("f:2: is not what it seems: so\n"), "{otherwise}");
    }

    #[test]
    fn a_file_that_the_helper_does_not_use_is_told() {
        let directory = std::env::temp_dir().join(format!("bryo-lint-{}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        let found = of_file(&std::fs::metadata(&directory).unwrap());
        std::fs::remove_dir(&directory).unwrap();
        assert_eq!(
            found.unwrap().shown("f"),
            "f: the file is not used: it is no regular file\n    help: put a file there\n"
        );
    }
}
