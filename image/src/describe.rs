//! What an image says of itself: the few files of its metadata that are looked at, read in memory.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use serde::Serialize;

use config::images::Form;

use crate::archive::{Archive, Content};
use crate::error::{At, Error, Problem};
use crate::metadata::{MAX_METADATA, metadata};
use crate::stream::Stream;
use crate::unpack::Archived;

/// The description of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Described {
    /// Whose metadata it is; none where it is neither's.
    pub form: Option<Form>,
    /// Plain values, by their names.
    pub values: BTreeMap<&'static str, String>,
}

/// The values of Incus and LXD.
const VALUES: &str = "metadata.yaml";
/// LXC's configurations.
const CONFIGS: [&str; 2] = ["config", "config-user"];

/// Reads an archive of metadata. What is not looked at is not kept.
///
/// # Errors
/// It is no such archive, or says something twice.
pub fn describe(archive: OwnedFd) -> Result<Described, Error> {
    let what = Archived::Metadata;
    let stream = Stream::start(File::from(archive), what.max_bytes()).map_err(Error::Whole)?;
    let mut archive = Archive::new(stream, what.max_entries());
    let (mut described, mut seen) = (Described::default(), false);
    while let Some(entry) = archive.next()? {
        let path = entry.path.as_path();
        what.check(&entry.content).at(path)?;
        if CONFIGS.iter().any(|name| path == Path::new(name)) {
            described.form = described.form.or(Some(Form::Lxc));
        }
        if path != Path::new(VALUES) || !matches!(entry.content, Content::File(_)) {
            continue;
        }
        if std::mem::replace(&mut seen, true) {
            return Err(Problem::malformed("metadata.yaml is there twice").at(path));
        }
        let bytes = read(&mut archive).at(path)?;
        described.form = Some(Form::Incus);
        described.values =
            metadata(&bytes).map_err(|why| Problem::malformed(why.to_string())).at(Path::new(VALUES))?;
    }
    archive.finish()?;
    Ok(described)
}

fn read(archive: &mut Archive) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    loop {
        let piece = archive.data(u64::MAX)?;
        if piece.is_empty() {
            return Ok(bytes);
        }
        bytes.extend_from_slice(piece);
        if bytes.len() > MAX_METADATA {
            return Err(Problem::TooMuch { limit: MAX_METADATA as u64, of: "bytes of metadata" });
        }
    }
}
