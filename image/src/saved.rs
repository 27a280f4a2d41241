//! Images in files: a directory with an OCI layout, the same as an archive, and what `docker save` writes.
//!
//! An archive has its files in any order, so all that could be part of an image is taken into the store, and what is none goes
//! with the next `gc`. Every part is looked up by its digest, which the store has found out itself.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use config::images::{Form, Record};
use serde::Deserialize;
use sys::path;
use types::Digest;

use crate::archive::{Archive, Content};
use crate::error::Error;
use crate::oci::{self, BadManifest, MAX_MANIFEST, Meant, architecture};
use crate::store::{Store, StoreError};
use crate::stream::Stream;

/// The most files of an image, and bytes of them.
const MAX_FILES: u64 = 100_000;
const MAX_BYTES: u64 = 64 << 30;
/// How deep indexes may name indexes.
const DEPTH: usize = 4;

/// How an image is kept in files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saved {
    /// `index.json` and `blobs/sha256/HEX`.
    Oci,
    /// `manifest.json`, which names the other files.
    Docker,
}

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum SavedError {
    /// The archive cannot be read.
    #[error("{0}")]
    Archive(#[from] Error),
    /// The store cannot take it.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The kernel refuses.
    #[error("{0}")]
    Call(#[from] sys::Error),
    /// A file that the image needs.
    #[error("it has no {0}")]
    Missing(String),
    /// What a file says.
    #[error("{0}: {1}")]
    Manifest(String, BadManifest),
    /// A layer that is not the one of the configuration.
    #[error("its layer {0} is not the one that its configuration names")]
    Layer(usize),
    /// Several images.
    #[error("it has several images; say which: {0}")]
    Which(String),
    /// Reading a file.
    #[error("{0}")]
    Read(#[from] io::Error),
}

type Result<T> = std::result::Result<T, SavedError>;

/// What was found: files by their names, and those that say what the others are.
#[derive(Default)]
struct Found {
    files: BTreeMap<String, Digest>,
    said: Option<Vec<u8>>,
}

/// Takes an image in under a name.
///
/// # Errors
/// It is no image, or none for this machine.
pub fn import(store: &Store, name: &str, saved: Saved, tag: Option<&str>, source: OwnedFd) -> Result<Record> {
    let main = if saved == Saved::Oci { "index.json" } else { "manifest.json" };
    let is_dir = path::is_dir(source.as_fd())?;
    let found = if is_dir { of_directory(store, &source, main)? } else { of_archive(store, source, main)? };
    let said = found.said.as_deref().ok_or_else(|| SavedError::Missing(main.to_owned()))?;
    let (config, layers) = match saved {
        Saved::Oci => of_layout(store, said, tag)?,
        Saved::Docker => of_docker(store, &found, said, tag)?,
    };
    let (build, run) = oci::image(&small(store, config)?).map_err(|why| bad(&config, why))?;
    let name = name.to_owned();
    let (also, server, form, metadata, run) = (Vec::new(), None, Form::Oci, Some(config), Some(run));
    let record = Record { name, also, build, server, form, metadata, layers, run };
    store.record(&record)?;
    Ok(record)
}

fn of_directory(store: &Store, dir: &OwnedFd, main: &str) -> Result<Found> {
    let mut found = Found {
        said: Some(path::read_small(dir.as_fd(), Path::new(main), MAX_MANIFEST)?),
        ..Found::default()
    };
    let blobs = path::open_in(
        dir.as_fd(),
        Path::new("blobs/sha256"),
        path::Links::Refuse,
        path::OpenFlags::DIRECTORY,
    )?;
    for name in path::names(blobs.as_fd())? {
        let flags = path::OpenFlags::RDONLY | path::OpenFlags::NONBLOCK;
        let file = path::open_in(blobs.as_fd(), Path::new(&name), path::Links::Refuse, flags)?;
        if path::is_regular(file.as_fd())? {
            let digest = store.import(&mut File::from(file))?;
            found.files.insert(name.to_string_lossy().into_owned(), digest);
        }
    }
    Ok(found)
}

fn of_archive(store: &Store, archive: OwnedFd, main: &str) -> Result<Found> {
    let stream = Stream::start(File::from(archive), MAX_BYTES).map_err(Error::Whole)?;
    let (mut archive, mut found, mut links) = (Archive::new(stream, MAX_FILES), Found::default(), Vec::new());
    while let Some(entry) = archive.next()? {
        let name = entry.path.as_path().to_string_lossy().into_owned();
        match entry.content {
            Content::File(_) if name == main => {
                let mut bytes = Vec::new();
                Data(&mut archive).take(MAX_MANIFEST + 1).read_to_end(&mut bytes)?;
                found.said = Some(bytes);
            }
            Content::File(_) => {
                let digest = store.import(&mut Data(&mut archive))?;
                found.files.insert(name, digest);
            }
            Content::Symlink(target) => links.push((entry.path.as_path().to_owned(), target)),
            _ => {}
        }
    }
    archive.finish()?;
    // Older versions of Docker write a layer that is there twice as a link: `../HEX/layer.tar`.
    for (link, target) in links {
        let above = link.parent().and_then(Path::parent).unwrap_or(Path::new(""));
        let named = target.strip_prefix("..").map(|rest| above.join(rest).to_string_lossy().into_owned());
        if let Some(digest) = named.ok().and_then(|named| found.files.get(&named).copied()) {
            found.files.insert(link.to_string_lossy().into_owned(), digest);
        }
    }
    Ok(found)
}

/// The data of the entry at hand.
struct Data<'a>(&'a mut Archive);

impl Read for Data<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let taken =
            self.0.data(buffer.len() as u64).map_err(|problem| io::Error::other(problem.to_string()))?;
        buffer[..taken.len()].copy_from_slice(taken);
        Ok(taken.len())
    }
}

fn of_layout(store: &Store, index: &[u8], tag: Option<&str>) -> Result<(Digest, Vec<Digest>)> {
    let mut said =
        oci::tagged(index, tag).map_err(|why| SavedError::Manifest("index.json".to_owned(), why))?;
    let mut at = "index.json".to_owned();
    for _ in 0..DEPTH {
        match oci::manifest(&said, architecture()).map_err(|why| SavedError::Manifest(at.clone(), why))? {
            Meant::Image { config, layers } => {
                let layers: Vec<Digest> = layers.iter().map(|layer| layer.digest).collect();
                layers.iter().try_for_each(|layer| is_there(store, *layer))?;
                return Ok((config.digest, layers));
            }
            Meant::Platform(next) => {
                at = next.digest.to_string();
                said = small(store, next.digest)?;
            }
        }
    }
    Err(SavedError::Manifest(at, BadManifest::TooMany(DEPTH, "indexes inside each other")))
}

/// One image of `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockersImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

fn of_docker(store: &Store, found: &Found, said: &[u8], tag: Option<&str>) -> Result<(Digest, Vec<Digest>)> {
    let wrong = |error: serde_json::Error| SavedError::Manifest("manifest.json".to_owned(), error.into());
    let images: Vec<DockersImage> = serde_json::from_slice(said).map_err(wrong)?;
    let named = |image: &&DockersImage| {
        let tags = image.repo_tags.iter().flatten();
        tag.is_none_or(|tag| {
            tags.into_iter().any(|own| own.rsplit_once(':').is_some_and(|(_, own)| own == tag))
        })
    };
    let wanted: Vec<_> = images.iter().filter(named).collect();
    let [image] = wanted[..] else {
        let tags = images.iter().flat_map(|image| image.repo_tags.iter().flatten());
        let tags = tags.filter(|tag| tag.chars().all(types::is_shown)).take(20).cloned().collect::<Vec<_>>();
        return Err(SavedError::Which(tags.join(", ")));
    };
    let of = |name: &String| found.files.get(name).copied().ok_or_else(|| SavedError::Missing(name.clone()));
    let config = of(&image.config)?;
    let layers = image.layers.iter().map(of).collect::<Result<Vec<_>>>()?;
    // Docker writes layers as they are unpacked, so they are those that the configuration names.
    let ids = oci::layers_of(&small(store, config)?).map_err(|why| bad(&config, why))?;
    match layers.iter().zip(&ids).position(|(layer, id)| layer != id) {
        Some(at) => Err(SavedError::Layer(at + 1)),
        None if layers.len() != ids.len() || layers.is_empty() => {
            Err(SavedError::Layer(layers.len().min(ids.len()) + 1))
        }
        None => Ok((config, layers)),
    }
}

fn is_there(store: &Store, digest: Digest) -> Result<()> {
    store.get(digest)?.map(drop).ok_or_else(|| SavedError::Missing(digest.to_string()))
}

fn small(store: &Store, digest: Digest) -> Result<Vec<u8>> {
    let file = store.get(digest)?.ok_or_else(|| SavedError::Missing(digest.to_string()))?;
    let mut bytes = Vec::new();
    file.take(MAX_MANIFEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_MANIFEST {
        Err(bad(&digest, BadManifest::Size(bytes.len() as u64)))
    } else {
        Ok(bytes)
    }
}

fn bad(digest: &Digest, why: BadManifest) -> SavedError {
    SavedError::Manifest(digest.to_string(), why)
}
