//! What the store of images says of each: a record. `bryo-fetch` and `bryo-image` write them, `bryo` reads them.
//!
//! ```text
//! images/lock                 shared by who brings or uses an image, alone for who removes some
//! images/names.lock           held by who writes a record
//! images/names/NAME.json      a record: which files an image is
//! images/blobs/HEX            a whole file, as its digest says
//! images/partial/             what has come of one so far
//! images/bases/HEX/N/         the image unpacked for one id map: `map`, `config`, `rootfs`, and `used` by whom
//! ```

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use types::Digest;
use types::source::{ImageName, Word};

use crate::Arch;

/// The server that is asked when none is said: LXC's.
pub const SERVER: &str = "images.linuxcontainers.org";

/// Returns a server as records have it: `A.org/` is `https://a.org`.
pub fn server_in_records(text: &str) -> String {
    let (scheme, rest) = text.split_once("://").unwrap_or(("https", text));
    let (host, dir) = rest.split_once('/').unwrap_or((rest, ""));
    let whole = format!("{scheme}://{}/{}", host.to_ascii_lowercase(), dir.trim_end_matches('/'));
    whole.trim_end_matches('/').to_owned()
}

/// The longest record that is read.
pub const MAX_RECORD: u64 = 1 << 18;

/// An image in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The whole name: `debian/trixie/amd64/default`, `docker:docker.io/library/alpine:3`.
    pub name: String,
    /// What else its release is called.
    #[serde(default)]
    pub also: Vec<String>,
    /// When it was built, as its server says; the later one is the greater text.
    pub build: String,
    /// Where it came from; none for what was imported.
    pub server: Option<String>,
    /// What the files are.
    pub form: Form,
    /// What the image says of itself.
    pub metadata: Option<Digest>,
    /// The archives of the root file system, the lowest first.
    pub layers: Vec<Digest>,
    /// How it is run, where it says so.
    #[serde(default)]
    pub run: Option<Run>,
}

/// How an image of a registry is run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The program, with its first arguments.
    pub entrypoint: Vec<String>,
    /// More arguments, where none are given; the program, where there is no entrypoint.
    pub command: Vec<String>,
    /// `KEY=VALUE`.
    pub environment: Vec<String>,
    /// `USER` or `USER:GROUP`, by name or number; root where it is not said.
    pub user: Option<String>,
    /// Where it begins.
    pub directory: Option<String>,
}

impl Run {
    /// Returns the whole command, with the given words in the place of the image's own arguments.
    pub fn argv(&self, words: &[String]) -> Vec<String> {
        let rest = if words.is_empty() { &self.command } else { words };
        self.entrypoint.iter().chain(rest).cloned().collect()
    }
}

/// What the files of an image are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// LXC's: the metadata is an archive with a configuration.
    Lxc,
    /// That of Incus and LXD: the metadata is an archive with values.
    Incus,
    /// That of registries: the metadata is JSON.
    Oci,
    /// An archive of a root file system, alone.
    Archive,
}

impl Record {
    /// Returns the digest by which the unpacked image is known: of all that it is made from. Who publishes another's root file
    /// system with metadata of his own, or another's metadata with layers of his own, has another image.
    pub fn id(&self) -> Option<Digest> {
        let metadata = self.metadata.map_or_else(|| "none".to_owned(), |digest| digest.hex());
        let mut sum = Sha256::new_with_prefix(format!("{:?} {metadata}", self.form));
        self.layers.iter().for_each(|layer| sum.update(format!(" {layer}")));
        (!self.layers.is_empty()).then(|| Digest::new(sum.finalize().into()))
    }

    /// Returns the name under which the store has an image of which another build may be the newest: with the first digits of [`Self::id`].
    /// No name of a server or registry is such a one.
    pub fn pinned(self) -> Self {
        let id = self.id().map_or_else(String::new, |id| id.hex()[..16].to_owned());
        Self { name: format!("{}@{id}", self.name), ..self }
    }

    /// Returns all files of the image.
    pub fn blobs(&self) -> impl Iterator<Item = Digest> + '_ {
        self.metadata.iter().chain(&self.layers).copied()
    }

    /// Tells whether all words that are printed of it are printable. Nothing else is a name, so a record with other words is none: they
    /// could make a terminal show something else.
    pub fn is_shown(&self) -> bool {
        let words = self.also.iter().chain([&self.name, &self.build]).chain(&self.server);
        words.flat_map(|word| word.bytes()).all(|byte| byte.is_ascii_graphic())
    }

    /// Tells whether an image may be taken where this server is wanted: its own, and what came from no server.
    pub fn is_of(&self, server: &str) -> bool {
        self.server.as_deref().is_none_or(|own| own == server)
    }

    /// Tells whether a name means this image on a machine of this architecture, as it would in an index.
    pub fn is(&self, name: &ImageName, machine: &Word) -> bool {
        let Ok(own) = self.name.parse::<ImageName>() else { return false };
        let variant = name.variant.as_ref().map_or("default", Word::as_str);
        let release = |word: &Word| {
            own.release.as_ref() == Some(word) || self.also.iter().any(|also| also == word.as_str())
        };
        own.distribution == name.distribution
            && name.release.as_ref().is_some_and(release)
            && own.arch.as_ref().is_some_and(|arch| is_same_arch(arch, name.arch.as_ref().unwrap_or(machine)))
            && own.variant.as_ref().is_some_and(|own| own.as_str() == variant)
    }
}

/// Returns the name of the file of a record. No name of an image has a `,`.
pub fn record_file(name: &str) -> String {
    format!("{}.json", name.replace('/', ","))
}

/// Tells whether two words mean one architecture: `amd64` is `x86_64`.
pub fn is_same_arch(one: &Word, other: &Word) -> bool {
    let arch = |word: &Word| word.as_str().parse::<Arch>().ok();
    one == other || arch(one).is_some_and(|known| arch(other) == Some(known))
}

/// Returns the kernel's word for this machine.
///
/// # Panics
/// Never: the names of architectures are letters, digits and `_`.
pub fn machine() -> Word {
    std::env::consts::ARCH.parse().expect("the names of architectures are letters, digits and _")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(name: &str, also: &[&str]) -> Record {
        let also = also.iter().map(|also| (*also).to_owned()).collect();
        let (build, server, form) = ("20261125_05:24".to_owned(), None, Form::Archive);
        Record {
            name: name.to_owned(),
            also,
            build,
            server,
            form,
            metadata: None,
            layers: Vec::new(),
            run: None,
        }
    }

    #[test]
    fn a_name_means_an_image_by_each_name_of_its_release_and_architecture() {
        let image = record("debian/trixie/amd64/default", &["13"]);
        let (here, elsewhere) = ("x86_64".parse().unwrap(), "aarch64".parse().unwrap());
        let is = |name: &str, machine| image.is(&name.parse().unwrap(), machine);
        for name in ["debian/13", "debian/trixie", "debian/13/x86_64", "debian/13/amd64/default"] {
            assert!(is(name, &here), "{name}");
        }
        for name in ["debian", "debian/12", "alpine/13", "debian/13/arm64", "debian/13/amd64/cloud"] {
            assert!(!is(name, &here), "{name}");
        }
        assert!(!is("debian/13", &elsewhere) && is("debian/13/amd64", &elsewhere));
        assert!(!record("docker:docker.io/library/debian:13", &[]).is(&"debian/13".parse().unwrap(), &here));
    }

    #[test]
    fn an_unpacked_image_is_known_by_all_that_it_is_made_from() {
        let digest = |byte| Digest::new([byte; 32]);
        let image = |form, metadata: Option<u8>, layers: &[u8]| Record {
            form,
            metadata: metadata.map(digest),
            layers: layers.iter().copied().map(digest).collect(),
            ..record("debian/trixie/amd64/default", &[])
        };
        let known = image(Form::Lxc, Some(1), &[2]).id();
        let renamed = Record { name: "mine/x".to_owned(), ..image(Form::Lxc, Some(1), &[2]) };
        assert!(known.is_some() && renamed.id() == known);
        for other in [
            image(Form::Lxc, Some(3), &[2]),
            image(Form::Lxc, None, &[2]),
            image(Form::Lxc, None, &[1, 2]),
            image(Form::Incus, Some(1), &[2]),
            image(Form::Oci, Some(1), &[2, 2]),
        ] {
            assert_ne!(other.id(), known, "{other:?}");
        }
        assert_ne!(image(Form::Oci, Some(1), &[2]).id(), image(Form::Oci, Some(1), &[3]).id());
        assert_eq!(image(Form::Archive, None, &[]).id(), None);
    }

    #[test]
    fn a_record_that_could_fool_a_terminal_is_none() {
        let image = record("debian/trixie/amd64/default", &["13"]);
        assert!(image.is_shown() && Record { build: String::new(), ..image.clone() }.is_shown());
        assert!(!record("debian/\x1b[2J", &[]).is_shown() && !record("debian", &["a\nb"]).is_shown());
        assert!(!Record { build: "\u{202e}".to_owned(), ..image.clone() }.is_shown());
        assert!(!Record { server: Some("a\rb".to_owned()), ..image }.is_shown());
    }

    #[test]
    fn words_take_the_place_of_an_images_arguments_and_not_of_its_entrypoint() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let run = Run { entrypoint: words(&["/init"]), command: words(&["serve"]), ..Run::default() };
        assert_eq!(run.argv(&[]), ["/init", "serve"]);
        assert_eq!(run.argv(&words(&["help"])), ["/init", "help"]);
    }

    #[test]
    fn a_name_is_one_file() {
        let file = record_file("docker:docker.io/library/alpine:3");
        assert_eq!(file, "docker:docker.io,library,alpine:3.json");
        assert!(!record_file("a/../../b").contains('/'));
    }
}
