//! What a registry, or a directory with an OCI layout, says of an image: an index of platforms, a manifest, a configuration.
//! Sources: the image specification of the Open Container Initiative, and Docker's schema 2, which has the same fields.
//!
//! All of it comes from anybody: its size is capped, digests are SHA-256, and of the configuration what would be more than one line
//! of text, or too much, refuses the image.

use std::collections::BTreeMap;

use config::images::Run;
use serde::Deserialize;
use types::Digest;

use crate::index::MAX_FILE;

/// The longest manifest, index or configuration.
pub const MAX_MANIFEST: u64 = 4 << 20;
/// The most layers.
const MAX_LAYERS: usize = 256;
/// The most platforms of an index.
const MAX_PLATFORMS: usize = 1024;
/// The most variables, and words of a command, and the longest of them.
const MAX_WORDS: usize = 1024;
const MAX_WORD: usize = 32 << 10;

/// The forms in which a manifest is asked for, as registries name them.
pub const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
                            application/vnd.docker.distribution.manifest.list.v2+json, \
                            application/vnd.docker.distribution.manifest.v2+json";

/// What a digest stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blob {
    /// Its contents.
    pub digest: Digest,
    /// How many bytes those are.
    pub size: u64,
}

/// What a name means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meant {
    /// The image of this platform is another manifest.
    Platform(Blob),
    /// The image.
    Image {
        /// Its configuration.
        config: Blob,
        /// The archives of its root file system, the lowest first.
        layers: Vec<Blob>,
    },
}

/// Why it is no image for this machine.
#[derive(Debug, thiserror::Error)]
pub enum BadManifest {
    /// Not JSON, or without a field that it needs.
    #[error("it is no manifest of an image: {0}")]
    Json(#[from] serde_json::Error),
    /// A digest of another kind.
    #[error("the digest {0:?} is refused: it is sha256: and 64 lower-case hexadecimal digits")]
    Digest(String),
    /// A size that no file of an image has.
    #[error("a file of {0} bytes is refused")]
    Size(u64),
    /// More than any image has.
    #[error("it has more than {0} {1}")]
    TooMany(usize, &'static str),
    /// Something that is no archive of a root file system.
    #[error("a layer of type {0:?} is none that can be unpacked")]
    Layer(String),
    /// Not for this machine.
    #[error("it is not there for linux/{0}; it is for {1}")]
    Platform(&'static str, String),
    /// No such name, or several and none was said.
    #[error("say which image: it has {0}")]
    Tag(String),
    /// No root file system.
    #[error("it has no layers")]
    Empty,
    /// A field of the configuration.
    #[error("its {0} is refused: longer than {MAX_WORD} bytes, or no text on one line")]
    Field(&'static str),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    #[serde(default)]
    manifests: Vec<Descriptor>,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
    platform: Option<Platform>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Platform {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
}

/// Returns the word of registries for this machine's architecture.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "x86" => "386",
        "aarch64" => "arm64",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

/// Reads a manifest, or an index of them.
///
/// # Errors
/// It is neither, or has no image for the architecture.
pub fn manifest(bytes: &[u8], architecture: &'static str) -> Result<Meant, BadManifest> {
    let read: Manifest = serde_json::from_slice(bytes)?;
    let Some(config) = read.config else { return platform(&read.manifests, architecture) };
    if read.layers.len() > MAX_LAYERS {
        return Err(BadManifest::TooMany(MAX_LAYERS, "layers"));
    }
    if read.layers.is_empty() {
        return Err(BadManifest::Empty);
    }
    let layers = read.layers.iter().map(layer).collect::<Result<_, _>>()?;
    Ok(Meant::Image { config: config.blob()?, layers })
}

/// Where an index says what an image is called.
const NAME: &str = "org.opencontainers.image.ref.name";

/// Returns the manifests of an index that a tag means, as an index of their own; all where none is said.
///
/// # Errors
/// It is no index, or has no such tag, or several and none is said.
pub fn tagged(index: &[u8], tag: Option<&str>) -> Result<Vec<u8>, BadManifest> {
    let read: Manifest = serde_json::from_slice(index)?;
    let name = |found: &Descriptor| {
        found.annotations.get(NAME).map(|name| name.rsplit(':').next().unwrap_or(name).to_owned())
    };
    let wanted: Vec<&Descriptor> = read
        .manifests
        .iter()
        .filter(|found| tag.is_none_or(|tag| name(found).as_deref() == Some(tag)))
        .collect();
    let mut names: Vec<String> = read.manifests.iter().filter_map(name).collect();
    names.retain(|name| name.chars().all(types::is_shown));
    names.dedup();
    names.truncate(20);
    if wanted.is_empty() || (tag.is_none() && names.len() > 1) {
        return Err(BadManifest::Tag(names.join(", ")));
    }
    let described = |found: &&Descriptor| {
        let platform = found
            .platform
            .as_ref()
            .map(|is| serde_json::json!({"os": is.os, "architecture": is.architecture}));
        serde_json::json!({"digest": found.digest, "size": found.size, "platform": platform})
    };
    let manifests: Vec<_> = wanted.iter().map(described).collect();
    Ok(serde_json::to_vec(&serde_json::json!({"manifests": manifests}))?)
}

/// Returns the digests of the unpacked layers that a configuration names.
///
/// # Errors
/// It names none.
pub fn layers_of(bytes: &[u8]) -> Result<Vec<Digest>, BadManifest> {
    let read: Rooted = serde_json::from_slice(bytes)?;
    let digest = |text: &String| text.parse().map_err(|_| BadManifest::Digest(text.clone()));
    read.rootfs.diff_ids.iter().map(digest).collect()
}

#[derive(Deserialize)]
struct Rooted {
    rootfs: Rootfs,
}

#[derive(Deserialize)]
struct Rootfs {
    diff_ids: Vec<String>,
}

/// Those that attest to something are for `unknown`.
fn platform(all: &[Descriptor], architecture: &'static str) -> Result<Meant, BadManifest> {
    if all.len() > MAX_PLATFORMS {
        return Err(BadManifest::TooMany(MAX_PLATFORMS, "platforms"));
    }
    let is_ours = |found: &&Descriptor| {
        found.platform.as_ref().is_none_or(|is| is.os == "linux" && is.architecture == architecture)
    };
    match all.iter().find(is_ours) {
        Some(found) => found.blob().map(Meant::Platform),
        None => {
            let named = all.iter().filter_map(|found| found.platform.as_ref());
            let mut names: Vec<String> = named.map(|is| format!("{}/{}", is.os, is.architecture)).collect();
            names.retain(|name| name != "unknown/unknown" && name.chars().all(types::is_shown));
            names.truncate(20);
            Err(BadManifest::Platform(architecture, names.join(", ")))
        }
    }
}

fn layer(descriptor: &Descriptor) -> Result<Blob, BadManifest> {
    let kind = descriptor.media_type.as_str();
    let is_tar = kind.is_empty() || kind.contains(".tar") || kind.contains("rootfs.diff");
    match is_tar
        && !kind.contains("encrypted")
        && !kind.contains("foreign")
        && !kind.contains("nondistributable")
    {
        true => descriptor.blob(),
        false => Err(BadManifest::Layer(kind.to_owned())),
    }
}

impl Descriptor {
    fn blob(&self) -> Result<Blob, BadManifest> {
        let digest = self.digest.parse().map_err(|_| BadManifest::Digest(self.digest.clone()))?;
        if self.size > MAX_FILE {
            Err(BadManifest::Size(self.size))
        } else {
            Ok(Blob { digest, size: self.size })
        }
    }
}

#[derive(Deserialize)]
struct Image {
    #[serde(default)]
    created: Option<String>,
    #[serde(default)]
    config: Option<Config>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Config {
    user: Option<String>,
    env: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    working_dir: Option<String>,
}

/// Reads the configuration of an image: when it was built, and how it is run. Its volumes and ports change nothing.
///
/// # Errors
/// It is none, or a field is more than one line of text.
pub fn image(bytes: &[u8]) -> Result<(String, Run), BadManifest> {
    let read: Image = serde_json::from_slice(bytes)?;
    let Config { user, env, entrypoint, cmd, working_dir } = read.config.unwrap_or_default();
    let time = |c: char| c.is_ascii_alphanumeric() || ".:+-".contains(c);
    let created = read.created.filter(|text| text.len() <= 40 && text.chars().all(time));
    let is_variable = |word: &String| word.split_once('=').is_some_and(|(name, _)| is_name(name));
    let env = words(env, "environment")?;
    if !env.iter().all(is_variable) {
        return Err(BadManifest::Field("environment"));
    }
    let run = Run {
        entrypoint: words(entrypoint, "entrypoint")?,
        command: words(cmd, "command")?,
        environment: env,
        user: one(user, "user")?,
        directory: one(working_dir, "working directory")?,
    };
    Ok((created.unwrap_or_default(), run))
}

fn is_name(name: &str) -> bool {
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    begins && name.chars().all(|c| c.is_ascii_graphic())
}

fn words(words: Option<Vec<String>>, what: &'static str) -> Result<Vec<String>, BadManifest> {
    let words = words.unwrap_or_default();
    if words.len() > MAX_WORDS {
        return Err(BadManifest::TooMany(MAX_WORDS, what));
    }
    if words.iter().all(|word| fits(word)) { Ok(words) } else { Err(BadManifest::Field(what)) }
}

fn one(word: Option<String>, what: &'static str) -> Result<Option<String>, BadManifest> {
    let word = word.filter(|word| !word.is_empty());
    if word.as_ref().is_none_or(|word| fits(word)) { Ok(word) } else { Err(BadManifest::Field(what)) }
}

/// A script in a command has lines; a NUL no word has.
fn fits(word: &str) -> bool {
    word.len() <= MAX_WORD && !word.contains('\0')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn digest(byte: u8) -> Digest {
        Digest::new([byte; 32])
    }

    fn file(byte: u8, kind: &str) -> Value {
        json!({"mediaType": kind, "digest": digest(byte), "size": 10})
    }

    const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

    fn read(value: &Value) -> Result<Meant, BadManifest> {
        manifest(value.to_string().as_bytes(), "amd64")
    }

    #[test]
    fn an_index_names_the_manifest_of_this_platform() {
        let mut ours = file(1, "x");
        ours["platform"] = json!({"os": "linux", "architecture": "amd64"});
        let mut theirs = file(2, "x");
        theirs["platform"] = json!({"os": "linux", "architecture": "arm64", "variant": "v8"});
        let mut attestation = file(3, "x");
        attestation["platform"] = json!({"os": "unknown", "architecture": "unknown"});
        let both = json!({"manifests": [attestation, theirs, ours]});
        assert_eq!(read(&both).unwrap(), Meant::Platform(Blob { digest: digest(1), size: 10 }));
        let said = read(&json!({"manifests": [attestation, theirs]})).unwrap_err().to_string();
        assert_eq!(said, "it is not there for linux/amd64; it is for linux/arm64");
    }

    #[test]
    fn a_manifest_names_the_configuration_and_the_layers() {
        let docker = "application/vnd.docker.image.rootfs.diff.tar.gzip";
        let both = json!({"config": file(1, "c"), "layers": [file(2, LAYER), file(3, docker)]});
        let blob = |byte| Blob { digest: digest(byte), size: 10 };
        assert_eq!(read(&both).unwrap(), Meant::Image { config: blob(1), layers: vec![blob(2), blob(3)] });
    }

    #[test]
    fn what_is_no_image_is_refused() {
        let image = |layer: Value| json!({"config": file(1, "c"), "layers": [layer]});
        let with = |key: &str, value: Value| {
            let mut layer = file(2, LAYER);
            layer[key] = value;
            image(layer)
        };
        for wrong in [
            json!({}),
            json!([]),
            json!({"config": file(1, "c"), "layers": []}),
            with("digest", json!("sha512:00")),
            with("digest", json!(format!("sha256:{}", "../".repeat(21) + "a"))),
            with("size", json!(u64::MAX)),
            with("size", json!(-1)),
            with("mediaType", json!("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip")),
            with("mediaType", json!("application/vnd.oci.image.layer.v1.tar+gzip+encrypted")),
            with("mediaType", json!("application/wasm")),
            json!({"config": file(1, "c"), "layers": vec![file(2, LAYER); MAX_LAYERS + 1]}),
        ] {
            assert!(read(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_configuration_says_how_an_image_is_run() {
        let text = json!({"created": "2026-11-25T05:24:00Z", "architecture": "amd64", "config": {
            "User": "web", "Env": ["PATH=/bin", "A=b c"], "Entrypoint": ["/init"], "Cmd": ["a", "b c"], "WorkingDir": "/srv",
            "Volumes": {"/": {}}, "ExposedPorts": {"80/tcp": {}}}});
        let (built, run) = image(text.to_string().as_bytes()).unwrap();
        assert_eq!(built, "2026-11-25T05:24:00Z");
        assert_eq!(
            (run.entrypoint, run.command),
            (vec!["/init".to_owned()], vec!["a".to_owned(), "b c".to_owned()])
        );
        assert_eq!(
            (run.environment.len(), run.user.as_deref(), run.directory.as_deref()),
            (2, Some("web"), Some("/srv"))
        );
        assert_eq!(image(b"{\"config\": null}").unwrap(), (String::new(), Run::default()));
    }

    #[test]
    fn a_hostile_configuration_is_refused() {
        for config in [
            json!({"Env": ["=x"]}),
            json!({"Env": ["A B=x"]}),
            json!({"Env": ["SECRET"]}),
            json!({"Env": ["A=\0"]}),
            json!({"Cmd": ["\0"]}),
            json!({"User": "a\0"}),
            json!({"Cmd": vec!["a"; MAX_WORDS + 1]}),
            json!({"Cmd": ["a".repeat(MAX_WORD + 1)]}),
            json!({"Cmd": "sh -c x"}),
        ] {
            assert!(image(json!({"config": config}).to_string().as_bytes()).is_err(), "{config}");
        }
        assert_eq!(image(b"{\"created\": \"now\\nlxc.hook=x\"}").unwrap().0, "");
    }

    proptest! {
        #[test]
        fn nothing_makes_a_reader_of_manifests_panic(text in "[\\[\\]{}\",:a-z0-9\\\\]{0,200}", bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for bytes in [text.as_bytes(), &bytes] {
                let _either = (manifest(bytes, "amd64"), image(bytes));
            }
        }
    }
}
