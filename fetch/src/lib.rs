//! Fetches images, as the program `bryo-fetch`.
//!
//! From a name to two files in the store: the index of a server, the build that the name means, its files.
//!
//! The server is believed about its own index, over TLS; every file is believed by its digest alone, whoever sends it.

#![forbid(unsafe_code)]

mod http;
mod proxy;
mod registry;
mod request;
mod server;
mod shut;
mod signed;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use config::images::{Form, Record, machine};
use image::index::{self, BadIndex, Files, Index, NoOffer, Offer, Part, UrlPath};
use image::oci::BadManifest;
use image::store::{Claim, Partial, Store, StoreError};
use signed::{ENDINGS, MAX_SIGNATURE};
use types::Digest;
use types::source::{ImageName, Word};

pub use http::{Client, HttpError};
pub use registry::{pull as pull_of_registry, pull_exact as pull_exact_of_registry};
pub use request::{Exact, FETCH_USAGE, Request, What};
pub use server::{BadServer, Server};
pub use shut::{Shut, shut_in};
pub use signed::{BadSignature, become_gpgv};

/// LXC's index for ordinary users, of the newest form first.
const LXC: [&str; 2] = ["meta/1.0/index-user.7", "meta/1.0/index-user"];
/// The index of simplestreams.
const STREAMS: &str = "streams/v1/index.json";
/// How texts of simplestreams end, and the same with their signature inside.
const PLAIN: &str = ".json";
const SIGNED: &str = ".sjson";
/// Beside the files of LXC's images.
const SUMS: &str = "SHA256SUMS";
/// The files of LXC's images.
const METADATA: &str = "meta.tar.xz";
const ROOTFS: &str = "rootfs.tar.xz";
/// How often a file is asked for anew while nothing more of it comes.
const TRIES: u32 = 3;
/// The first wait between two tries; each is four times as long as the one before.
const WAIT: Duration = Duration::from_millis(250);
/// How long what died half-way is kept, to be gone on with.
const KEPT: Duration = Duration::from_secs(24 * 3600);

/// Why an image did not come.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The server does not answer, or not as it should.
    #[error("{0}")]
    Http(#[from] HttpError),
    /// The server has neither index.
    #[error("{0} is no image server: it has neither {STREAMS} nor {lxc}", lxc = LXC[1])]
    NoIndex(String),
    /// An index that cannot be read.
    #[error("the index {path} of {server} cannot be used: {why}")]
    Index {
        /// Whose.
        server: String,
        /// Which.
        path: String,
        /// Why not.
        why: BadIndex,
    },
    /// What is believed of a server that nobody has signed.
    #[error("{path} of {server}: {why}")]
    Signature {
        /// Whose.
        server: String,
        /// Which.
        path: String,
        /// Why not.
        why: BadSignature,
    },
    /// The name means nothing there.
    #[error("{server} has no such image: {why}")]
    NoOffer {
        /// Where.
        server: String,
        /// What there is.
        why: NoOffer,
    },
    /// A file for which the server has no digest.
    #[error(
        "{server} says no digest of {path}, so nobody could tell whether it was altered; it is not fetched"
    )]
    NoDigest {
        /// Whose.
        server: String,
        /// Which.
        path: String,
    },
    /// An older build than the one that is here.
    #[error(
        "{server} offers {name} of {offered}, which is older than the one of {here} that it had: somebody may hold back \
         newer images; if not, bryo image rm {name} forgets it"
    )]
    Stale {
        /// Whose.
        server: String,
        /// Which.
        name: String,
        /// The build in the index.
        offered: String,
        /// The build in the store.
        here: String,
    },
    /// A build of a day that has not come: it would count as the newest for ever.
    #[error(
        "{server} offers {name} of {build}, which has not come yet: its clock is wrong, or the one of this machine"
    )]
    Ahead {
        /// Whose.
        server: String,
        /// Which.
        name: String,
        /// The build in the index.
        build: String,
    },
    /// A build that was there once.
    #[error(
        "{server} has no {name} of {build} with these files any more; bryo image pull --lock FILE {name} writes down its newest build"
    )]
    NotThere {
        /// Whose.
        server: String,
        /// Which.
        name: String,
        /// The build that is wanted.
        build: String,
    },
    /// Metadata and root file system do not belong together.
    #[error(
        "metadata and root file system of {0} are not those of one build: their common digest is another one"
    )]
    Fingerprint(String),
    /// A file that did not come as it should.
    #[error("{path} of {server}: {why}")]
    File {
        /// Whose.
        server: String,
        /// Which.
        path: String,
        /// What happened.
        why: StoreError,
    },
    /// The registry has nothing of the name.
    #[error("the registry has no image {0}")]
    NoImage(String),
    /// What a registry says of an image.
    #[error("{path} of {server}: {why}")]
    Manifest {
        /// Whose.
        server: String,
        /// Which.
        path: String,
        /// Why not.
        why: BadManifest,
    },
    /// The server is not there, and what is here came from another.
    #[error("{error}; {name} of {build} is here, but from {server}: --server {server} takes it")]
    OfAnother {
        /// Why it was not asked.
        error: Box<HttpError>,
        /// Which image.
        name: String,
        /// The build in the store.
        build: String,
        /// Where it came from.
        server: String,
    },
    /// A file of an image is not there, and nobody can be asked for it.
    #[error("the server cannot be reached, and of {name}, which was here, the file {digest} is missing")]
    Gone {
        /// Which image.
        name: String,
        /// Which file.
        digest: Digest,
    },
    /// The store.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// Two files could not be read through.
    #[error("reading the files of an image: {0}")]
    Read(#[from] io::Error),
}

type Result<T, E = FetchError> = std::result::Result<T, E>;

/// An image that is in the store now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pulled {
    /// Which files it is.
    #[serde(flatten)]
    pub image: Record,
    /// Why the server was not asked, where it is what was here already.
    pub unasked: Option<String>,
    /// How many entries of the index were left out.
    pub left_out: usize,
}

/// What a server offers, as it is printed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// Each build of each image.
    pub images: Vec<ListedImage>,
    /// How many entries of the index were left out.
    pub left_out: usize,
}

/// One build of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ListedImage {
    /// The whole name.
    pub name: String,
    /// What else its release is called.
    pub also: Vec<String>,
    /// When it was built.
    pub build: String,
}

/// Returns what the server offers.
///
/// # Errors
/// It has no index that can be read.
pub fn list(client: &Client) -> Result<Listed> {
    let index = read_index(client)?;
    let listed = |offer: &Offer| ListedImage {
        name: offer.name().to_string(),
        also: offer.also.iter().map(Word::to_string).collect(),
        build: offer.build.to_string(),
    };
    Ok(Listed { images: index.offers.iter().map(listed).collect(), left_out: left_out(&index) })
}

fn left_out(index: &Index) -> usize {
    index.left_out.as_ref().map_or(0, |(count, _)| *count)
}

/// Fetches what is not there of the image that a name means.
///
/// Where no server can be reached, it is the newest build in the store.
///
/// # Errors
/// The image cannot be had; nothing of it has a name in the store then.
pub fn pull(client: &Client, store: &Store, name: &ImageName) -> Result<Pulled> {
    store.sweep(KEPT);
    let index = match read_index(client) {
        Err(FetchError::Http(error)) if error.is_unreachable() => {
            return from_store(store, name, &client.server().to_string(), error);
        }
        index => index?,
    };
    let offer = index.find(name, &machine()).map_err(|why| {
        let server = client.server().to_string();
        FetchError::NoOffer { server, why }
    })?;
    if is_ahead(&offer.build.to_string(), SystemTime::now()) {
        let (server, name) = (client.server().to_string(), offer.name().to_string());
        return Err(FetchError::Ahead { server, name, build: offer.build.to_string() });
    }
    refuse_stale(client, store, offer)?;
    let record = Build::of(client, offer)?.fetch(client, store)?;
    // Somebody may have brought a newer one meanwhile.
    if let Some(here) = store.record_newest(&record)? {
        return Err(stale(client, &record.name, record.build, here));
    }
    Ok(Pulled { image: record, unasked: None, left_out: left_out(&index) })
}

/// Fetches one build, of the files that somebody has had before: they are the image, whatever else a server calls so. The name goes on to
/// mean the newest build that was fetched.
///
/// # Errors
/// The server has them not; nothing of it has a name in the store then.
pub fn pull_exact(client: &Client, store: &Store, name: &ImageName, exact: &Exact) -> Result<Pulled> {
    store.sweep(KEPT);
    let mut index = read_index(client)?;
    let left_out = left_out(&index);
    index.offers.retain(|offer| offer.build.to_string() == exact.build);
    let not_there = || FetchError::NotThere {
        server: client.server().to_string(),
        name: name.to_string(),
        build: exact.build.clone(),
    };
    let offer = index.find(name, &machine()).map_err(|_| not_there())?;
    let build = Build::of(client, offer)?;
    if build.record.blobs().ne(exact.files.iter().copied()) {
        return Err(not_there());
    }
    let image = build.fetch(client, store)?.pinned();
    store.record(&image)?;
    Ok(Pulled { image, unasked: None, left_out })
}

/// Reads the index, of simplestreams where the server has it: it says a digest of every file.
fn read_index(client: &Client) -> Result<Index> {
    match client.believed_of_streams(STREAMS)? {
        Some(bytes) => {
            let path = index::products(&bytes).map_err(|why| bad_index(client, STREAMS, why))?;
            let list = client.believed_of_streams(path.as_str())?;
            let list = list.ok_or_else(|| bad_index(client, STREAMS, BadIndex::NoProducts))?;
            index::simplestreams(&list).map_err(|why| bad_index(client, path.as_str(), why))
        }
        None => lxc_index(client),
    }
}

fn lxc_index(client: &Client) -> Result<Index> {
    for path in LXC {
        if let Some(bytes) = client.believed(path)? {
            return index::lxc(&bytes).map_err(|why| bad_index(client, path, why));
        }
    }
    Err(FetchError::NoIndex(client.server().to_string()))
}

fn bad_index(client: &Client, path: &str, why: BadIndex) -> FetchError {
    FetchError::Index { server: client.server().to_string(), path: path.to_owned(), why }
}

/// What another server says to be of the name is another image: it is told of, and taken where it is asked for.
fn from_store(store: &Store, name: &ImageName, server: &str, error: HttpError) -> Result<Pulled> {
    let known = store.records()?.into_iter().filter(|record| record.is(name, &machine()));
    let (own, others): (Vec<_>, Vec<_>) = known.partition(|record| record.is_of(server));
    let newest = |images: Vec<Record>| images.into_iter().max_by(|a, b| a.build.cmp(&b.build));
    let image = newest(own).ok_or_else(|| match newest(others) {
        Some(Record { name, build, server: Some(server), .. }) => {
            FetchError::OfAnother { error: error.into(), name, build, server }
        }
        _ => error.into_error(),
    })?;
    all_there(store, &image)?;
    Ok(Pulled { image, unasked: Some("the server cannot be reached".to_owned()), left_out: 0 })
}

/// Reads all files of an image that nobody can fetch now: one that is missing or has changed would be found too late.
pub(crate) fn all_there(store: &Store, image: &Record) -> Result<()> {
    image.blobs().try_for_each(|digest| match store.get(digest)? {
        Some(_) => Ok(()),
        None => Err(FetchError::Gone { name: image.name.clone(), digest }),
    })
}

fn refuse_stale(client: &Client, store: &Store, offer: &Offer) -> Result<()> {
    let (name, offered) = (offer.name().to_string(), offer.build.to_string());
    let newest = store.newest(&name, &client.server().to_string())?;
    newest.filter(|here| *here > offered).map_or(Ok(()), |here| Err(stale(client, &name, offered, here)))
}

/// Tells whether a build that begins with a date is more than a day ahead: clocks and time zones differ by less.
fn is_ahead(build: &str, now: SystemTime) -> bool {
    let date = build.get(..8).filter(|date| date.bytes().all(|byte| byte.is_ascii_digit()));
    let days = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs() / 86_400);
    date.is_some_and(|date| date > date_of(days + 1).as_str())
}

/// Returns the date of a day since 1970, as in `20261125`.
fn date_of(mut day: u64) -> String {
    let (mut year, mut month) = (1970, 1);
    let leap = |year: u64| {
        u64::from(year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    while day >= 365 + leap(year) {
        day -= 365 + leap(year);
        year += 1;
    }
    for length in [31, 28 + leap(year), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    format!("{year:04}{month:02}{:02}", day + 1)
}

fn stale(client: &Client, name: &str, offered: String, here: String) -> FetchError {
    FetchError::Stale { server: client.server().to_string(), name: name.to_owned(), offered, here }
}

/// A build, and where its files are, before any of them is fetched.
struct Build {
    record: Record,
    metadata: Part,
    rootfs: Part,
    fingerprint: Option<Digest>,
}

impl Build {
    fn of(client: &Client, offer: &Offer) -> Result<Self> {
        let (metadata, rootfs, fingerprint, form) = match &offer.files {
            Files::Lxc(dir) => {
                let [metadata, rootfs] = lxc_parts(client, dir)?;
                (metadata, rootfs, None, Form::Lxc)
            }
            Files::Streams { metadata, rootfs, fingerprint } => {
                (metadata.clone(), rootfs.clone(), *fingerprint, Form::Incus)
            }
        };
        let record = Record {
            name: offer.name().to_string(),
            also: offer.also.iter().map(Word::to_string).collect(),
            build: offer.build.to_string(),
            server: Some(client.server().to_string()),
            form,
            metadata: Some(metadata.digest),
            layers: vec![rootfs.digest],
            run: None,
        };
        Ok(Self { record, metadata, rootfs, fingerprint })
    }

    fn fetch(self, client: &Client, store: &Store) -> Result<Record> {
        let Self { record, metadata, rootfs, fingerprint } = self;
        let fetched = |part: &Part| file(client, store, &part.path, part.size, part.digest);
        let (first, second) = (fetched(&metadata)?, fetched(&rootfs)?);
        match fingerprint {
            Some(wanted) if image::store::digest_of_both(first, second)? != wanted => {
                Err(FetchError::Fingerprint(record.name))
            }
            _ => Ok(record),
        }
    }
}

/// LXC's index has no digests; they are in a file beside each image.
fn lxc_parts(client: &Client, dir: &UrlPath) -> Result<[Part; 2]> {
    let path = |name: &str| index::lxc_part(dir, name).map_err(|_| no_digest(client, dir.as_str()));
    let sums_at = path(SUMS)?;
    let sums = client.believed(sums_at.as_str())?.ok_or_else(|| no_digest(client, dir.as_str()))?;
    let sums = index::sums(&sums).map_err(|why| bad_index(client, sums_at.as_str(), why))?;
    let part = |name: &str| {
        let digest =
            sum_of(&sums, name).ok_or_else(|| no_digest(client, &format!("{}/{name}", dir.as_str())))?;
        Ok::<_, FetchError>(Part { path: path(name)?, size: None, digest })
    };
    Ok([part(METADATA)?, part(ROOTFS)?])
}

fn no_digest(client: &Client, path: &str) -> FetchError {
    FetchError::NoDigest { server: client.server().to_string(), path: path.to_owned() }
}

/// Some lists have the names with `./` before them.
fn sum_of(sums: &BTreeMap<String, Digest>, name: &str) -> Option<Digest> {
    sums.get(name).or_else(|| sums.get(&format!("./{name}"))).copied()
}

/// Returns a file from the store, fetched where it is not there.
///
/// What somebody left half-way is gone on with, and where that gives another file, it comes anew as a whole.
fn file(client: &Client, store: &Store, path: &UrlPath, size: Option<u64>, digest: Digest) -> Result<File> {
    let failed =
        |why| FetchError::File { server: client.server().to_string(), path: path.as_str().to_owned(), why };
    loop {
        let mut partial = match store.claim(digest, &|| client.waits(path.as_str()))? {
            Claim::Ready(file) => return Ok(file),
            Claim::Missing(partial) => partial,
        };
        let was_there = partial.length() > 0;
        client.file(path, size, &mut partial, &failed)?;
        match partial.finish() {
            Err(StoreError::Wrong { .. }) if was_there => {}
            finished => return finished.map_err(failed),
        }
    }
}

impl Client {
    /// Returns what the server is believed about: where there are keys, only with a signature of one of them; `None` where it has no
    /// such thing.
    fn believed(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let text = self.text(path)?;
        let (Some(text), Some(keys)) = (&text, self.keys()) else { return Ok(text) };
        let failed =
            |why| FetchError::Signature { server: self.server().to_string(), path: path.to_owned(), why };
        for ending in ENDINGS {
            let signature = self.manifest(&format!("{path}.{ending}"), "*/*", MAX_SIGNATURE);
            if let Some(signature) = forbidden_is_missing(signature)? {
                return keys.check(text, &signature).map(|()| Some(text.clone())).map_err(failed);
            }
        }
        Err(failed(BadSignature::None))
    }

    /// The same of a text of simplestreams, which may have its signature inside: then it has a name of its own. Where it is not there, the
    /// plain text needs a signature beside it.
    fn believed_of_streams(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let (Some(keys), Some(stem)) = (self.keys(), path.strip_suffix(PLAIN).or(path.strip_suffix(SIGNED)))
        else {
            return self.believed(path);
        };
        let signed = format!("{stem}{SIGNED}");
        match forbidden_is_missing(self.text(&signed))? {
            Some(text) => keys.signed(&text).map(Some).map_err(|why| {
                let server = self.server().to_string();
                FetchError::Signature { server, path: signed, why }
            }),
            None => self.believed(&format!("{stem}{PLAIN}")),
        }
    }

    /// Fetches the rest of a file. Tries again while the server gives a little more each time.
    fn file(
        &self,
        path: &UrlPath,
        size: Option<u64>,
        partial: &mut Partial,
        failed: &impl Fn(StoreError) -> FetchError,
    ) -> Result<()> {
        let (mut tries, mut wait) = (TRIES, WAIT);
        loop {
            if size.is_some_and(|size| partial.length() == size) {
                return Ok(());
            }
            let before = partial.length();
            let Err(error) = self.rest(path, size, partial, failed) else { return Ok(()) };
            let FetchError::Http(passing) = &error else { return Err(error) };
            tries = if partial.length() > before { TRIES } else { tries - 1 };
            if !passing.may_pass() || tries == 0 {
                return Err(error);
            }
            std::thread::sleep(wait);
            wait = (wait * 4).min(WAIT * 64);
        }
    }
}

/// Takes what is forbidden (403) for what is not there, as stores of objects answer who may not list them. For signatures alone: without
/// one nothing is believed, so nobody gains by the answer.
fn forbidden_is_missing(answer: Result<Option<Vec<u8>>>) -> Result<Option<Vec<u8>>> {
    match answer {
        Err(FetchError::Http(HttpError::Status { status: 403, .. })) => Ok(None),
        answer => answer,
    }
}

/// Opens the store's directory, reads the file of certificates, and shuts the process in; after that nothing else of the
/// user's can be read or written.
///
/// # Errors
/// The store cannot be opened, or the certificates cannot be read.
pub fn prepare(request: &Request) -> Result<(Client, Option<Store>, Shut), Box<dyn std::error::Error>> {
    let client = Client::new(request)?;
    let store = request.store.as_deref().map(Store::open).transpose()?;
    let shut = shut_in(request.store.as_deref().unwrap_or(Path::new("")));
    Ok((client, store, shut))
}

#[cfg(test)]
mod tests;
