//! Images of servers, by the program `bryo-fetch`: neither TLS nor what a server says comes into this process, but its report.

use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use container::create::Template;
use container::{Doing, Error, Kind, Result};
use serde::{Deserialize, Serialize};
use types::source::ImageName;

use crate::bounds::Bounds;
use crate::context::Context;
use crate::making;
use crate::output;

/// How often the bounds are looked at.
const TICK: Duration = Duration::from_millis(20);

/// From where; what is not said here the settings say.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct From {
    /// The image server, in place of the setting image.server
    #[arg(long, value_name = "URL")]
    pub(crate) server: Option<String>,
    /// A file of certificates that vouch for it, in place of the setting image.ca_file
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
}

/// An image that is in the store.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Pulled {
    /// The whole name.
    pub(crate) name: String,
    also: Vec<String>,
    /// When it was built.
    pub(crate) build: String,
    server: String,
    rootfs: String,
    metadata: String,
    lxc: bool,
    /// Why the server was not asked.
    unasked: Option<String>,
    left_out: usize,
}

/// What `bryo-fetch list` prints.
#[derive(Debug, Deserialize)]
struct Offers {
    images: Vec<Listed>,
    left_out: usize,
}

/// One build of an image, as lists have it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Listed {
    /// The whole name.
    pub(crate) name: String,
    /// What else its release is called.
    pub(crate) also: Vec<String>,
    /// When it was built.
    pub(crate) build: String,
}

/// Fetches what is missing of an image.
///
/// # Errors
/// There is no such image, or it did not come.
pub(crate) fn pull(
    context: &Context,
    name: &ImageName,
    from: &From,
    bounds: Option<&Bounds>,
) -> Result<Pulled> {
    let store = store()?;
    let name = name.to_string();
    let arguments = ["pull", "--image", &name, "--store"].map(Into::into);
    let pulled: Pulled = ask(context, arguments.into_iter().chain([store.into()]).collect(), from, bounds)?;
    if let Some(why) = &pulled.unasked {
        output::note(&format!("{why}: {} of {} is taken, which was here", pulled.name, pulled.build));
    }
    tell_left_out(pulled.left_out);
    Ok(pulled)
}

/// Returns what a server offers.
///
/// # Errors
/// It does not answer as an image server.
pub(crate) fn list(context: &Context, from: &From) -> Result<Vec<Listed>> {
    let listed: Offers = ask(context, vec!["list".into()], from, None)?;
    tell_left_out(listed.left_out);
    Ok(listed.images)
}

/// Returns the images of the store.
///
/// # Errors
/// The directory cannot be read.
pub(crate) fn stored() -> Result<Vec<Listed>> {
    let names = match std::fs::read_dir(store()?.join("names")) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        names => names.map_err(failed).doing("reading the store of images")?,
    };
    let read = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.ok()?.path();
        let is_record = path.extension().is_some_and(|extension| extension == "json");
        serde_json::from_slice(&std::fs::read(path).ok().filter(|_| is_record)?).ok()
    };
    let mut images: Vec<Listed> = names.filter_map(read).collect();
    images.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(images)
}

fn tell_left_out(count: usize) {
    if count > 0 {
        output::note(&format!("{count} entries of the server's index cannot be used and were left out"));
    }
}

fn failed(error: std::io::Error) -> Error {
    Error::new(Kind::Fetch, error.to_string())
}

/// Where images are kept.
fn store() -> Result<PathBuf> {
    let dirs = directories::BaseDirs::new();
    let dirs = dirs.ok_or_else(|| Error::new(Kind::Fetch, "nobody knows your home directory; set HOME"))?;
    Ok(dirs.data_dir().join("bryo/images"))
}

/// Runs the program, which ends with this one, and reads its report.
fn ask<T: for<'de> Deserialize<'de>>(
    context: &Context,
    mut arguments: Vec<std::ffi::OsString>,
    from: &From,
    bounds: Option<&Bounds>,
) -> Result<T> {
    let settings = &context.settings().image;
    for (option, value) in [
        ("--server", from.server.as_ref().or(settings.server.as_ref()).map(Into::into)),
        ("--ca-file", from.ca_file.as_ref().or(settings.ca_file.as_ref()).map(Into::into)),
    ] {
        arguments.extend(value.into_iter().flat_map(|value| [option.into(), value]));
    }
    let program = &context.facts()?.programs.fetch;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let running = sys::process::spawn_dying_with_parent(&mut command, &[]);
    let running = running.map_err(failed).doing_with(|| format!("running {}", program.display()))?;
    let ended = wait(running, bounds)?;
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    if !ended.status.success() {
        let last = said.lines().rev().find(|line| !line.contains(": note: ") && !line.starts_with(' '));
        let cause = last.map_or("bryo-fetch died", |line| line.trim_start_matches("bryo-fetch: "));
        return Err(Error::new(Kind::Fetch, output::printable(cause)));
    }
    said.lines().for_each(|line| output::note(line.trim_start_matches("bryo-fetch: note: ")));
    let report = ended.stdout.as_slice();
    serde_json::from_reader(report.take(64 << 20))
        .map_err(|error| Error::new(Kind::Fetch, error.to_string()))
        .doing("reading the report of bryo-fetch")
}

/// Waits as long as the bounds allow. What a pull prints is short enough for its pipes, so nobody need read meanwhile.
fn wait(mut running: Child, bounds: Option<&Bounds>) -> Result<Output> {
    while let Some(bounds) = bounds {
        if running.try_wait().map_err(failed)?.is_some() {
            break;
        }
        if let Err(over) = bounds.check() {
            running.kill().and_then(|()| running.wait()).map_err(failed).doing("ending bryo-fetch")?;
            return Err(over);
        }
        std::thread::sleep(TICK);
    }
    running.wait_with_output().map_err(failed).doing("waiting for bryo-fetch")
}

impl Pulled {
    /// Returns what a container is made from.
    ///
    /// # Errors
    /// The files cannot be opened.
    pub(crate) fn template(&self) -> Result<Template> {
        let blobs = store()?.join("blobs");
        let open = |digest: &str| making::open(&blobs.join(digest.trim_start_matches("sha256:")));
        let rootfs = open(&self.rootfs)?;
        match self.lxc {
            true => Ok(Template::Local { metadata: open(&self.metadata)?, rootfs, no_dev: false }),
            false => Ok(Template::Archive(rootfs)),
        }
    }
}
