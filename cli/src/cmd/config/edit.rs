//! `bryo config edit`: the file in the user's editor; what is wrong is not saved.

use std::fs::DirBuilder;
use std::io::{BufRead, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use config::Document;
use container::{Doing, Error, Kind, Result};
use types::ContainerName;

use super::{hold, own, read, remind, save};
use crate::context::{self, Context};
use crate::output;
use crate::relay::Streams;
use crate::rungs::Talk;

/// A copy of the file for the editor, in a directory of the caller's alone: an editor writes to whatever its name leads to.
/// Both go when this is dropped, unless they are kept.
struct Draft {
    directory: PathBuf,
    kept: bool,
}

impl Draft {
    fn new(text: &Document) -> Result<Self> {
        let directory = std::env::temp_dir().join(format!("bryo-config-{}", std::process::id()));
        // Fails where somebody else has made it before.
        DirBuilder::new().mode(0o700).create(&directory).map_err(context::from_io)?;
        let draft = Self { directory, kept: false };
        text.save(&draft.path(), 0o600).map_err(context::from_io)?;
        Ok(draft)
    }

    fn path(&self) -> PathBuf {
        self.directory.join("config")
    }

    fn read(&self) -> Result<Document> {
        let bytes = std::fs::read(self.path()).map_err(context::from_io);
        Ok(Document::from_bytes(&bytes.doing_with(|| format!("reading {}", self.path().display()))?))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.kept {
            let _gone = std::fs::remove_dir_all(&self.directory);
        }
    }
}

pub(super) fn run(context: &Context, name: &ContainerName, talk: Talk) -> Result<i32> {
    let path = own(context, name)?;
    let (_, before) = hold(&path)?;
    let mut draft = Draft::new(&before).doing("making a copy for the editor")?;
    let after = loop {
        run_editor(&draft.path())?;
        let after = draft.read()?;
        match read(&after, &path) {
            Ok(_) => break after,
            Err(problems) if wants_again(&problems)? => {}
            Err(problems) => return Err(Error::new(Kind::Config, problems.to_string())),
        }
    };
    if after == before {
        output::say("nothing has changed");
        return Ok(0);
    }
    let (held, meanwhile) = hold(&path)?;
    if meanwhile != before {
        draft.kept = true;
        let cause = format!("it was changed meanwhile; your text is in {}", draft.path().display());
        return Err(Error::new(Kind::Busy, cause));
    }
    save(&held, &after, &path)?;
    remind(context, name, talk)
}

/// Runs the editor as others do: the variable is a command line for a shell, which gets the file as its last word.
fn run_editor(file: &Path) -> Result<()> {
    let named =
        ["VISUAL", "EDITOR"].iter().find_map(|name| std::env::var(name).ok().filter(|v| !v.is_empty()));
    let editor = named.unwrap_or_else(|| "vi".to_owned());
    let line = format!("{editor} \"$1\"");
    let ended =
        Command::new("/bin/sh").args(["-c", &line, "sh"]).arg(file).status().map_err(context::from_io)?;
    match ended.success() {
        true => Ok(()),
        false => Err(Error::new(Kind::Usage, format!("the editor {editor} ended with {ended}"))),
    }
}

/// Shows what is wrong, and asks whether to go on; where there is nobody to be asked, there is nobody who goes on.
fn wants_again(problems: &config::Problems) -> Result<bool> {
    if !Streams::new().terminals()[0] {
        return Ok(false);
    }
    output::tell_line(problems);
    output::tell("edit again? [Y/n] ");
    let _unheard = std::io::stderr().flush();
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).map_err(context::from_io)?;
    Ok(!answer.trim().eq_ignore_ascii_case("n"))
}
