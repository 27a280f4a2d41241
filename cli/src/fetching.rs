//! Images of servers, by the program `bryo-fetch`: neither TLS nor what a server says comes into this process, but its report.

use std::ffi::OsString;
use std::path::PathBuf;

use config::images::{Record, SERVER, server_in_records};
use container::{Kind, Result};
use serde::{Deserialize, Serialize};
use types::source::{ImageName, Reference};

use crate::bounds::Bounds;
use crate::context::Context;
use crate::images::Images;
use crate::lock::Entry;
use crate::output;
use crate::program;

/// From where; what is not said here the settings say.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct From {
    /// The image server, in place of the setting image.server
    #[arg(long, value_name = "URL")]
    pub(crate) server: Option<String>,
    /// A file of certificates that vouch for it, in place of the setting image.ca_file
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    /// A file of keys, one of which has to have signed its index, in place of the setting image.keyring
    #[arg(long, value_name = "FILE")]
    pub(crate) keyring: Option<PathBuf>,
}

impl From {
    /// Returns the server that is asked, as records have it.
    pub(crate) fn wanted(&self, context: &Context) -> String {
        let said = self.server.as_ref().or(context.settings().image.server.as_ref());
        server_in_records(said.map_or(SERVER, String::as_str))
    }
}

/// An image that is in the store.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Pulled {
    /// What it is.
    #[serde(flatten)]
    pub(crate) record: Record,
    /// Why the server was not asked.
    unasked: Option<String>,
    left_out: usize,
}

impl Pulled {
    /// An image that nobody had to be asked for.
    pub(crate) fn here(record: Record) -> Self {
        Self { record, unasked: None, left_out: 0 }
    }
}

/// What `bryo-fetch list` prints.
#[derive(Debug, Deserialize)]
struct Offers {
    images: Vec<Offer>,
    left_out: usize,
}

/// One build of an image, as servers have it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Offer {
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
    let (store, name) = (Images::new()?, name.to_string());
    let arguments = ["pull", "--progress", "--image", &name, "--store"].map(Into::into);
    let arguments = arguments.into_iter().chain([store.own().into()]).collect();
    let pulled: Pulled = ask(context, arguments, from, bounds)?;
    if let Some(why) = &pulled.unasked {
        let Record { name, build, .. } = &pulled.record;
        output::note(&format!("{why}: {name} of {build} is taken, which was here"));
    }
    tell_left_out(pulled.left_out);
    Ok(pulled)
}

/// Fetches what is missing of an image of a registry.
///
/// # Errors
/// As [`pull`].
pub(crate) fn pull_of_registry(
    context: &Context,
    reference: &Reference,
    from: &From,
    bounds: Option<&Bounds>,
) -> Result<Pulled> {
    let (store, name) = (Images::new()?, format!("docker:{reference}"));
    let mut arguments = ["pull", "--progress", "--image", &name, "--store"].map(OsString::from).to_vec();
    arguments.push(store.own().into());
    arguments.extend(from.ca_file.iter().flat_map(|path| ["--ca-file".into(), path.into()]));
    let fetch = &context.facts()?.programs.fetch;
    let pulled: Pulled = program::ask(fetch, arguments, &[], Kind::Fetch, bounds)?;
    if let Some(why) = &pulled.unasked {
        output::note(&format!("{why}: {name} is taken, which was here"));
    }
    Ok(pulled)
}

/// Fetches what is missing of an image that is said by its files.
///
/// # Errors
/// Nobody has them any more, or they did not come.
pub(crate) fn pull_exact(
    context: &Context,
    word: &str,
    entry: &Entry,
    from: &From,
    bounds: Option<&Bounds>,
) -> Result<Pulled> {
    let store = Images::new()?;
    let files: Vec<String> = entry.files().map(|digest| digest.hex()).collect();
    let mut arguments =
        ["pull", "--progress", "--image", word, "--build", &entry.build, "--files", &files.join(",")]
            .map(OsString::from)
            .to_vec();
    arguments.extend(["--store".into(), store.own().into()]);
    if word.starts_with("docker:") {
        arguments.extend(from.ca_file.iter().flat_map(|path| ["--ca-file".into(), path.into()]));
        return program::ask(&context.facts()?.programs.fetch, arguments, &[], Kind::Fetch, bounds);
    }
    // A mirror that the user or the host has chosen counts more: the files are the same.
    let server = from.server.clone().or_else(|| context.settings().image.server.clone());
    let from = From { server: server.or_else(|| entry.server.clone()), ..from.clone() };
    ask(context, arguments, &from, bounds)
}

/// Returns what a server offers.
///
/// # Errors
/// It does not answer as an image server.
pub(crate) fn list(context: &Context, from: &From) -> Result<Vec<Offer>> {
    let listed: Offers = ask(context, vec!["list".into()], from, None)?;
    tell_left_out(listed.left_out);
    Ok(listed.images)
}

fn tell_left_out(count: usize) {
    if count > 0 {
        output::note(&format!("{count} entries of the server's index cannot be used and were left out"));
    }
}

fn ask<T: for<'de> Deserialize<'de>>(
    context: &Context,
    mut arguments: Vec<OsString>,
    from: &From,
    bounds: Option<&Bounds>,
) -> Result<T> {
    let settings = &context.settings().image;
    for (option, value) in [
        ("--server", from.server.as_ref().or(settings.server.as_ref()).map(Into::into)),
        ("--ca-file", from.ca_file.as_ref().or(settings.ca_file.as_ref()).map(Into::into)),
        ("--keyring", from.keyring.as_ref().or(settings.keyring.as_ref()).map(Into::into)),
    ] {
        arguments.extend(value.into_iter().flat_map(|value| [option.into(), value]));
    }
    program::ask(&context.facts()?.programs.fetch, arguments, &[], Kind::Fetch, bounds)
}
