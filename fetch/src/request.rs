//! The argument vector of `bryo-fetch`, which `bryo` writes and users never see.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use super::registry;
use super::server::Server;
use config::images::SERVER;
use image::command::{Options, UsageError};
use types::Digest;
use types::source::{ImageName, Reference};

/// How `bryo-fetch` is called.
pub const FETCH_USAGE: &str = "usage: bryo-fetch list [--server URL] [--ca-file FILE] [--keyring FILE]
       bryo-fetch pull --image NAME|docker:NAME --store DIR [--build BUILD --files HEX,HEX,...] [--progress] [--server URL] [--ca-file FILE] [--keyring FILE]";

/// What is to be fetched, and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What.
    pub what: What,
    /// From where.
    pub server: Server,
    /// Who may vouch for the server, in place of whom this machine trusts.
    pub ca_file: Option<PathBuf>,
    /// The keys of those who sign the server's index; none where it need not be signed.
    pub keyring: Option<PathBuf>,
    /// This build alone, in place of the newest.
    pub exact: Option<Exact>,
    /// Where to.
    pub store: Option<PathBuf>,
    /// How far it is, is told meanwhile.
    pub progress: bool,
}

/// A build that somebody has had before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exact {
    /// When it was built.
    pub build: String,
    /// Its files: the metadata, then the layers.
    pub files: Vec<Digest>,
}

/// What is to be fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The index.
    List,
    /// An image.
    Pull(ImageName),
    /// An image of a registry.
    PullOfRegistry(Reference),
}

impl Request {
    /// Reads the arguments after the program's name.
    ///
    /// # Errors
    /// Whatever is not exactly as in [`FETCH_USAGE`].
    pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, UsageError> {
        let mut arguments = arguments.into_iter();
        let verb = arguments.next().unwrap_or_default();
        let mut options = Options::part(arguments);
        let (what, store, exact) = match verb.to_str() {
            Some("list") => (What::List, None, None),
            Some("pull") => {
                let name = options.needed("--image")?;
                let what = match name.to_str().and_then(|name| name.strip_prefix("docker:")) {
                    Some(reference) => What::PullOfRegistry(read("--image", reference.into())?),
                    None => What::Pull(read("--image", name)?),
                };
                (what, Some(options.needed("--store")?.into()), exact(&mut options)?)
            }
            _ => return Err(UsageError::Command(verb)),
        };
        let ca_file = options.value("--ca-file")?.map(PathBuf::from);
        let keyring = options.value("--keyring")?.map(PathBuf::from);
        let server = match (options.value("--server")?, &what) {
            (Some(server), _) => read("--server", server)?,
            (None, What::PullOfRegistry(reference)) => registry::server(reference, ca_file.is_some())
                .map_err(|_| UsageError::BadValue("--image", reference.to_string().into()))?,
            (None, _) => read("--server", SERVER.into())?,
        };
        let progress = options.flag("--progress");
        options.end().map(|()| Self { what, server, ca_file, keyring, exact, store, progress })
    }
}

fn exact(options: &mut Options) -> Result<Option<Exact>, UsageError> {
    let Some(build) = options.value("--build")? else { return Ok(None) };
    let build = read("--build", build)?;
    let files = options.needed("--files")?;
    let digests =
        files.to_str().map(|text| text.split(',').map(Digest::from_hex).collect::<Result<Vec<_>, _>>());
    match digests {
        Some(Ok(digests)) if digests.len() > 1 => Ok(Some(Exact { build, files: digests })),
        _ => Err(UsageError::BadValue("--files", files)),
    }
}

fn read<T: std::str::FromStr>(option: &'static str, value: OsString) -> Result<T, UsageError> {
    OsStr::to_str(&value).and_then(|text| text.parse().ok()).ok_or(UsageError::BadValue(option, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Request, UsageError> {
        Request::parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn every_form_of_the_usage_is_read() {
        let server = |text: &str| text.parse::<Server>().unwrap();
        let list = Request {
            what: What::List,
            server: server(SERVER),
            ca_file: None,
            keyring: None,
            exact: None,
            store: None,
            progress: false,
        };
        assert_eq!(parse("list"), Ok(list));
        let pull = Request {
            what: What::Pull("debian/13".parse().unwrap()),
            server: server("https://a.org"),
            ca_file: Some("/ca".into()),
            keyring: Some("/keys".into()),
            exact: None,
            store: Some("/s".into()),
            progress: true,
        };
        assert_eq!(
            parse(
                "pull --store /s --progress --server a.org --ca-file /ca --keyring /keys --image debian/13"
            ),
            Ok(pull)
        );
        let (one, two) = (Digest::new([1; 32]), Digest::new([2; 32]));
        let files = format!("{},{}", one.hex(), two.hex());
        let exact = parse(&format!("pull --store /s --image debian/13 --build 20261125 --files {files}"))
            .unwrap()
            .exact;
        assert_eq!(exact, Some(Exact { build: "20261125".to_owned(), files: vec![one, two] }));
    }

    #[test]
    fn anything_else_is_refused() {
        for line in [
            "",
            "push",
            "list --store /s",
            "pull --image debian/13",
            "pull --store /s",
            "pull --store /s --image ../x",
            "list --server http://a.org",
            "pull --store /s --image debian/13 --build 1",
            "pull --store /s --image debian/13 --build 1 --files 00,00",
            "list --build 1 --files 00",
            "list --server",
            "list --server a.org --server b.org",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
