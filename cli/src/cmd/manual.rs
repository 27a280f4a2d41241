//! `bryo manual`: writes the manual pages, for whoever installs Bryo.

use std::fs;
use std::path::{Path, PathBuf};

use clap::CommandFactory;
use clap_mangen::Man;
use config::manual;
use container::{Doing, Error, Result};

use super::Bryo;
use crate::context;
use crate::lxc;
use crate::output::{Failure, Outcome};

/// Arguments of `bryo manual`.
#[derive(Debug, clap::Args)]
pub(super) struct Manual {
    /// The directory that holds man1 and man5, such as /usr/local/share/man
    directory: PathBuf,
}

impl Manual {
    pub(super) fn run(self) -> Outcome {
        let written = pages().and_then(|pages| pages.iter().try_for_each(|page| page.write(&self.directory)));
        written.map(|()| 0).map_err(|error| Failure::new("write the manual", error))
    }
}

/// A page of the manual.
struct Page {
    name: String,
    section: u8,
    text: String,
}

impl Page {
    fn write(&self, directory: &Path) -> Result<()> {
        let directory = directory.join(format!("man{}", self.section));
        let file = directory.join(format!("{}.{}", self.name, self.section));
        let written = fs::create_dir_all(&directory).and_then(|()| fs::write(&file, &self.text));
        written.map_err(context::from_io).doing_with(|| format!("writing {}", file.display()))
    }
}

fn pages() -> Result<Vec<Page>> {
    let mut command = Bryo::command();
    command.build();
    let mut pages = Vec::new();
    verbs(&command, &mut pages)?;
    pages.extend(lxc::manual().map(|(name, text)| Page { name: name.to_owned(), section: 1, text }));
    let formats = [("bryo.container.conf", manual::man_page()), ("bryo.toml", manual::settings_page())];
    pages.extend(formats.map(|(name, text)| Page { name: name.to_owned(), section: 5, text }));
    Ok(pages)
}

/// Writes the page of a command and those of its verbs.
fn verbs(command: &clap::Command, pages: &mut Vec<Page>) -> Result<()> {
    let mut text = Vec::new();
    Man::new(command.clone()).render(&mut text).map_err(|e| -> Error { context::from_io(e) })?;
    let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
    pages.push(Page { name, section: 1, text: String::from_utf8_lossy(&text).into_owned() });
    command.get_subcommands().filter(|verb| !verb.is_hide_set()).try_for_each(|verb| verbs(verb, pages))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_and_every_tool_has_a_page() {
        let pages = pages().unwrap();
        let text = |name: &str| &pages.iter().find(|page| page.name == name).expect(name).text;
        for verb in Bryo::command().get_subcommands().filter(|verb| !verb.is_hide_set()) {
            assert!(text(&format!("bryo-{}", verb.get_name())).starts_with(".ie"), "{}", verb.get_name());
        }
        assert!(text("bryo-config-explain").contains("JSON"));
        assert!(text("lxc-start").contains("\\-\\-pidfile") && text("lxc-config").contains("lxc\\-config"));
        assert!(text("bryo-check").contains("bryo \\-P /srv/lxc check \\-\\-all"), "{}", text("bryo-check"));
    }
}
