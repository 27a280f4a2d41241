//! `bryo config edit`: the file in the user's editor; what is wrong is not saved, and not lost.

use std::io::{BufRead, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use config::Document;
use container::{Doing, Error, Kind, Result};
use sys::signal;
use types::ContainerName;

use super::{hold, own, read, remind, save};
use crate::context::{self, Context};
use crate::output;
use crate::relay::Streams;
use crate::rungs::Talk;

/// A copy of the file for the editor, in a new directory of the caller's alone: an editor writes to whatever its name leads
/// to. Both go when this is dropped, unless they are kept.
struct Draft {
    directory: PathBuf,
    kept: bool,
}

impl Draft {
    fn new(text: &Document) -> Result<Self> {
        let directory = sys::path::make_temporary_dir(&std::env::temp_dir().join("bryo-config-"))?;
        let draft = Self { directory, kept: false };
        let written = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(draft.path())
            .and_then(|mut file| file.write_all(&text.bytes()));
        written.map_err(context::from_io).map(|()| draft)
    }

    /// Keeps what is not saved, if it is more than the file has, and says where it is.
    fn keep(&mut self, before: &Document) {
        self.kept = self.read().map_or_else(|_| self.path().exists(), |text| text != *before);
        if self.kept {
            output::note(&format!("your text is kept in {}", self.path().display()));
        }
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
    match change(&path, &draft, &before) {
        Ok(true) => remind(context, name, talk),
        Ok(false) => {
            output::say("nothing has changed");
            Ok(0)
        }
        Err(e) => {
            draft.keep(&before);
            Err(e)
        }
    }
}

/// Lets the user change the draft, and saves it if it is another text that can be used. Tells whether it was saved.
fn change(path: &Path, draft: &Draft, before: &Document) -> Result<bool> {
    let after = loop {
        run_editor(&draft.path())?;
        let after = draft.read()?;
        match read(&after, path) {
            Ok(_) => break after,
            Err(problems) if wants_again(&problems, draft, after != *before)? => {}
            Err(problems) => return Err(Error::new(Kind::Config, problems.to_string())),
        }
    };
    if after == *before {
        return Ok(false);
    }
    let (held, meanwhile) = hold(path)?;
    if meanwhile != *before {
        return Err(Error::new(Kind::Busy, "it was changed meanwhile"));
    }
    save(&held, &after, path)?;
    Ok(true)
}

/// Runs the editor as others do: the variable is a command line for a shell, which gets the file as its last word.
fn run_editor(file: &Path) -> Result<()> {
    let named =
        ["VISUAL", "EDITOR"].iter().find_map(|name| std::env::var(name).ok().filter(|v| !v.is_empty()));
    let editor = named.unwrap_or_else(|| "vi".to_owned());
    let line = format!("{editor} \"$1\"");
    // What ends the editor does not end who keeps its text.
    signal::note(&signal::OF_THE_KEYBOARD)?;
    let mut command = Command::new("/bin/sh");
    let running = sys::process::spawn_with(command.args(["-c", &line, "sh"]).arg(file), &[]);
    let ended = running.and_then(|mut editor| editor.wait());
    signal::reset(&signal::OF_THE_KEYBOARD);
    let ended = ended.map_err(context::from_io)?;
    match ended.success() {
        true => Ok(()),
        false => Err(Error::new(Kind::Usage, format!("the editor {editor} ended with {ended}"))),
    }
}

/// Shows what is wrong, and asks whether to go on; where there is nobody to be asked, there is nobody who goes on.
fn wants_again(problems: &config::Problems, draft: &Draft, is_changed: bool) -> Result<bool> {
    if !Streams::new().terminals()[0] {
        return Ok(false);
    }
    output::tell_line(problems);
    // Whoever leaves by ^C is told, too.
    if is_changed {
        output::say(&format!("your text is in {}", draft.path().display()));
    }
    output::tell("edit again? [Y/n] ");
    let _unheard = std::io::stderr().flush();
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).map_err(context::from_io)?;
    Ok(!answer.trim().eq_ignore_ascii_case("n"))
}
