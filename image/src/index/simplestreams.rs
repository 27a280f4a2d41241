//! Simplestreams, as the image servers of Incus and LXD have it: `streams/v1/index.json` names a list of images with the
//! digest of every file.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::{BadEntry, BadIndex, Files, Index, MAX_FILE, Offer, Part, Serial, UrlPath, text_of};
use types::Digest;
use types::source::Word;

/// `streams/v1/index.json`.
#[derive(Deserialize)]
struct Streams {
    index: BTreeMap<String, Stream>,
}

#[derive(Deserialize)]
struct Stream {
    #[serde(default)]
    datatype: String,
    path: String,
}

/// `streams/v1/images.json`.
#[derive(Deserialize)]
struct Products {
    products: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
struct Product {
    #[serde(default)]
    aliases: String,
    arch: String,
    os: String,
    release: String,
    #[serde(default)]
    release_title: String,
    #[serde(default)]
    variant: String,
    #[serde(default)]
    versions: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
struct Version {
    #[serde(default)]
    items: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
struct Item {
    path: String,
    size: Option<u64>,
    sha256: Option<String>,
    combined_rootxz_sha256: Option<String>,
    combined_sha256: Option<String>,
}

/// The files with an image's properties; the first that is there counts.
const METADATA: [&str; 2] = ["incus.tar.xz", "lxd.tar.xz"];
/// The root file system as an archive.
const ROOTFS: &str = "root.tar.xz";
/// How a list of images says what it is.
const IMAGES: &str = "image-downloads";

/// What else a release may be called, at most.
const MAX_NAMES: usize = 16;

/// Reads the path of the list of images.
///
/// # Errors
/// It is no index, or names no list.
pub fn products(bytes: &[u8]) -> Result<UrlPath, BadIndex> {
    let streams: Streams = serde_json::from_str(text_of(bytes)?)?;
    let images = streams.index.into_values().find(|stream| stream.datatype == IMAGES);
    images.and_then(|stream| stream.path.parse().ok()).ok_or(BadIndex::NoProducts)
}

/// Reads the list of images. A build without both files is not offered: virtual machines have others.
///
/// # Errors
/// The text as a whole is no such list.
pub fn simplestreams(bytes: &[u8]) -> Result<Index, BadIndex> {
    let list: Products = serde_json::from_str(text_of(bytes)?)?;
    let mut index = Index::default();
    for product in list.products.values() {
        let product: Product = match entry(product) {
            Ok(product) => product,
            Err(why) => {
                index.push(Err(why))?;
                continue;
            }
        };
        for (serial, version) in &product.versions {
            let offered = entry(version).and_then(|version: Version| offer(&product, serial, &version));
            if let Some(offered) = offered.transpose() {
                index.push(offered)?;
            }
        }
    }
    Ok(index)
}

/// One entry of another form is left out, and the others stay.
fn entry<'a, T: Deserialize<'a>>(value: &'a Value) -> Result<T, BadEntry> {
    T::deserialize(value).map_err(|_| BadEntry::Fields)
}

fn offer(product: &Product, serial: &str, version: &Version) -> Result<Option<Offer>, BadEntry> {
    let item = |kind: &str| version.items.values().find(|item| item["ftype"] == kind);
    let (Some(metadata), Some(rootfs)) = (METADATA.into_iter().find_map(item), item(ROOTFS)) else {
        return Ok(None);
    };
    let (metadata, rootfs): (Item, Item) = (entry(metadata)?, entry(rootfs)?);
    let fingerprint = metadata.combined_rootxz_sha256.as_ref().or(metadata.combined_sha256.as_ref());
    let fingerprint = fingerprint.map(|hex| Digest::from_hex(hex)).transpose()?;
    let files = Files::Streams { metadata: part(&metadata)?, rootfs: part(&rootfs)?, fingerprint };
    // `Debian` of the list is `debian` in all its aliases.
    let distribution: Word = product.os.to_lowercase().parse()?;
    let release: Word = product.release.parse()?;
    let variant = if product.variant.is_empty() { "default" } else { &product.variant };
    Ok(Some(Offer {
        also: other_names(product, &distribution, &release)?,
        arch: product.arch.parse()?,
        variant: variant.parse()?,
        build: serial.parse::<Serial>()?,
        distribution,
        release,
        files,
    }))
}

fn part(item: &Item) -> Result<Part, BadEntry> {
    if let Some(size) = item.size.filter(|size| *size > MAX_FILE) {
        return Err(BadEntry::Size(size));
    }
    let digest = Digest::from_hex(item.sha256.as_deref().unwrap_or_default())?;
    Ok(Part { path: item.path.parse()?, size: item.size, digest })
}

/// Aliases are `debian/13/default,debian/13,...`; some lists have the number as a title alone.
fn other_names(product: &Product, distribution: &Word, release: &Word) -> Result<Vec<Word>, BadEntry> {
    let aliases = product.aliases.split(',').filter_map(|alias| alias.trim().split_once('/'));
    let aliases = aliases.filter(|(of, _)| *of == distribution.as_str());
    let words = aliases.filter_map(|(_, rest)| rest.split('/').next());
    // A title may be a phrase, which is no name.
    let title = Some(product.release_title.as_str()).filter(|title| title.parse::<Word>().is_ok());
    let mut names = words.chain(title).map(str::parse).collect::<Result<Vec<Word>, _>>()?;
    names.retain(|name| name != release);
    names.sort();
    names.dedup();
    names.truncate(MAX_NAMES);
    Ok(names)
}
