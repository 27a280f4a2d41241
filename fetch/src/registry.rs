//! Images of registries, by the distribution specification: a manifest by its name, everything else by its digest.

use std::io::Read;
use std::path::Path;

use config::images::{Form, Record};
use image::index::UrlPath;
use image::oci::{
    ACCEPTED, BadManifest, Blob, MAX_MANIFEST, Meant, architecture, image as configuration, manifest,
};
use image::store::{Store, digest_of};
use types::Digest;
use types::source::Reference;

use super::{Client, Exact, FetchError, KEPT, Pulled, Result, Server, file};

/// Docker's registry is spoken to under another name than its images have.
const DOCKER: (&str, &str) = ("docker.io", "registry-1.docker.io");
/// How deep indexes may name indexes.
const DEPTH: usize = 3;

/// Where people keep credentials, below the directory that the variable names.
const CREDENTIALS: [(&str, &str); 4] = [
    ("REGISTRY_AUTH_FILE", ""),
    ("XDG_RUNTIME_DIR", "containers/auth.json"),
    ("HOME", ".config/containers/auth.json"),
    ("HOME", ".docker/config.json"),
];

/// Returns the server of a registry. This machine itself is asked without TLS, unless somebody is to vouch for it.
///
/// # Errors
/// It is no host name.
pub(crate) fn server(reference: &Reference, has_ca_file: bool) -> Result<Server, super::BadServer> {
    let host = if reference.host() == DOCKER.0 { DOCKER.1 } else { reference.host() };
    let plain = format!("http://{host}").parse().ok().filter(|_| !has_ca_file);
    plain.map_or_else(|| host.parse(), Ok)
}

/// Returns what is to be shown to a registry instead of a name and a password, where some file has it.
pub(crate) fn credentials(host: &str) -> Option<String> {
    let files = CREDENTIALS.iter().filter_map(|(variable, below)| {
        let dir = std::env::var_os(variable)?;
        Some(if below.is_empty() { dir.into() } else { Path::new(&dir).join(below) })
    });
    files.into_iter().find_map(|path| of_file(&std::fs::read(path).ok()?, host))
}

/// `{"auths": {HOST: {"auth": BASE64}}}`; Docker's own registry has a longer name there.
fn of_file(bytes: &[u8], host: &str) -> Option<String> {
    let read: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    let names = [host, if host == DOCKER.0 { "https://index.docker.io/v1/" } else { host }];
    let auth = names.iter().find_map(|name| read["auths"][name]["auth"].as_str())?;
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte);
    (!auth.is_empty() && auth.bytes().all(is_base64)).then(|| format!("Basic {auth}"))
}

/// Fetches what is not there of an image of a registry.
///
/// # Errors
/// The image cannot be had; nothing of it has a name in the store then.
pub fn pull(client: &Client, store: &Store, reference: &Reference) -> Result<Pulled> {
    store.sweep(KEPT);
    let name = format!("docker:{reference}");
    let (config, layers) = match look_up(client, reference) {
        Err(FetchError::Http(error)) if error.is_unreachable() => {
            let image = store.recorded(&name)?.ok_or(error.into_error())?;
            super::all_there(store, &image)?;
            return Ok(Pulled {
                image,
                unasked: Some("the registry cannot be reached".to_owned()),
                left_out: 0,
            });
        }
        found => found?,
    };
    if config.size > MAX_MANIFEST {
        return Err(bad(client, &config.digest.to_string(), BadManifest::Size(config.size)));
    }
    let of = |blob: &Blob| (Some(blob.size), blob.digest);
    let image = fetch(client, store, reference, of(&config), layers.iter().map(of))?;
    store.record(&image)?;
    Ok(Pulled { image, unasked: None, left_out: 0 })
}

/// Fetches the files of an image that somebody has had before, whatever the registry calls so now.
///
/// # Errors
/// As [`pull`].
pub fn pull_exact(client: &Client, store: &Store, reference: &Reference, exact: &Exact) -> Result<Pulled> {
    store.sweep(KEPT);
    let (config, layers) =
        exact.files.split_first().ok_or_else(|| FetchError::NoImage(reference.to_string()))?;
    let layers = layers.iter().map(|layer| (None, *layer));
    let image = fetch(client, store, reference, (None, *config), layers)?.pinned();
    store.record(&image)?;
    Ok(Pulled { image, unasked: None, left_out: 0 })
}

/// Fetches configuration and layers, whose sizes may be known.
fn fetch(
    client: &Client,
    store: &Store,
    reference: &Reference,
    config: (Option<u64>, Digest),
    layers: impl Iterator<Item = (Option<u64>, Digest)>,
) -> Result<Record> {
    let blob = |(size, digest): (Option<u64>, Digest)| {
        let path = path(&format!("v2/{}/blobs/{digest}", reference.path()))?;
        file(client, store, &path, size, digest)
    };
    let mut bytes = Vec::new();
    blob(config)?.take(MAX_MANIFEST + 1).read_to_end(&mut bytes)?;
    let bad = |why| bad(client, &config.1.to_string(), why);
    if bytes.len() as u64 > MAX_MANIFEST {
        return Err(bad(BadManifest::Size(bytes.len() as u64)));
    }
    let (build, run) = configuration(&bytes).map_err(bad)?;
    let layers = layers.map(|layer| blob(layer).map(|_| layer.1)).collect::<Result<_>>()?;
    let (name, also, server) = (format!("docker:{reference}"), Vec::new(), Some(client.server().to_string()));
    let (form, metadata, run) = (Form::Oci, Some(config.1), Some(run));
    Ok(Record { name, also, build, server, form, metadata, layers, run })
}

/// Finds configuration and layers: of a name as the registry says, over TLS; of a digest as it says itself.
fn look_up(client: &Client, reference: &Reference) -> Result<(Blob, Vec<Blob>)> {
    let mut wanted = reference.digest();
    let mut word =
        wanted.map_or_else(|| reference.tag().unwrap_or("latest").to_owned(), |digest| digest.to_string());
    for _ in 0..DEPTH {
        let at = format!("v2/{}/manifests/{word}", reference.path());
        let bytes = client.manifest(&at, ACCEPTED, MAX_MANIFEST)?;
        let bytes = bytes.ok_or_else(|| FetchError::NoImage(format!("docker:{reference}")))?;
        is_wanted(client, &word, wanted, &bytes)?;
        match manifest(&bytes, architecture()).map_err(|why| bad(client, &word, why))? {
            Meant::Image { config, layers } => return Ok((config, layers)),
            Meant::Platform(next) => {
                (word, wanted) = (next.digest.to_string(), Some(next.digest));
            }
        }
    }
    Err(bad(client, &word, BadManifest::TooMany(DEPTH, "indexes inside each other")))
}

fn is_wanted(client: &Client, path: &str, wanted: Option<Digest>, bytes: &[u8]) -> Result<()> {
    let found = digest_of(bytes);
    match wanted {
        Some(wanted) if wanted != found => {
            let (server, path) = (client.server().to_string(), path.to_owned());
            Err(FetchError::File { server, path, why: image::store::StoreError::Wrong { wanted, found } })
        }
        _ => Ok(()),
    }
}

fn path(text: &str) -> Result<UrlPath> {
    text.parse().map_err(|_| FetchError::NoImage(text.to_owned()))
}

fn bad(client: &Client, path: &str, why: BadManifest) -> FetchError {
    FetchError::Manifest { server: client.server().to_string(), path: path.to_owned(), why }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_those_of_the_registry_alone() {
        let text = br#"{"auths": {"ghcr.io": {"auth": "YTpi"}, "https://index.docker.io/v1/": {"auth": "Yzpk"}, "x": {"auth": "a\nb"}}}"#;
        assert_eq!(of_file(text, "ghcr.io").as_deref(), Some("Basic YTpi"));
        assert_eq!(of_file(text, "docker.io").as_deref(), Some("Basic Yzpk"));
        for none in ["x", "other.io", "auths", ""] {
            assert_eq!(of_file(text, none), None, "{none}");
        }
    }

    #[test]
    fn a_registry_is_spoken_to_by_tls_but_for_this_machine() {
        let server = |name: &str, ca| server(&name.parse().unwrap(), ca).unwrap().to_string();
        assert_eq!(server("alpine", false), "https://registry-1.docker.io");
        assert_eq!(server("ghcr.io/a/b", false), "https://ghcr.io");
        assert_eq!(server("localhost:5000/a", false), "http://localhost:5000");
        assert_eq!(server("localhost:5000/a", true), "https://localhost:5000");
    }
}
