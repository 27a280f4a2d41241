//! The argument vector of `bryo-fetch`, which `bryo` writes and users never see.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use super::registry;
use super::server::Server;
use config::images::SERVER;
use image::command::{Options, UsageError};
use types::source::{ImageName, Reference};

/// How `bryo-fetch` is called.
pub const FETCH_USAGE: &str = "usage: bryo-fetch list [--server URL] [--ca-file FILE]
       bryo-fetch pull --image NAME|docker:NAME --store DIR [--progress] [--server URL] [--ca-file FILE]";

/// What is to be fetched, and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What.
    pub what: What,
    /// From where.
    pub server: Server,
    /// Who may vouch for the server, in place of whom this machine trusts.
    pub ca_file: Option<PathBuf>,
    /// Where to.
    pub store: Option<PathBuf>,
    /// How far it is, is told meanwhile.
    pub progress: bool,
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
        let (what, store) = match verb.to_str() {
            Some("list") => (What::List, None),
            Some("pull") => {
                let name = options.needed("--image")?;
                let what = match name.to_str().and_then(|name| name.strip_prefix("docker:")) {
                    Some(reference) => What::PullOfRegistry(read("--image", reference.into())?),
                    None => What::Pull(read("--image", name)?),
                };
                (what, Some(options.needed("--store")?.into()))
            }
            _ => return Err(UsageError::Command(verb)),
        };
        let ca_file = options.value("--ca-file")?.map(PathBuf::from);
        let server = match (options.value("--server")?, &what) {
            (Some(server), _) => read("--server", server)?,
            (None, What::PullOfRegistry(reference)) => registry::server(reference, ca_file.is_some())
                .map_err(|_| UsageError::BadValue("--image", reference.to_string().into()))?,
            (None, _) => read("--server", SERVER.into())?,
        };
        let progress = options.flag("--progress");
        options.end().map(|()| Self { what, server, ca_file, store, progress })
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
        let list =
            Request { what: What::List, server: server(SERVER), ca_file: None, store: None, progress: false };
        assert_eq!(parse("list"), Ok(list));
        let pull = Request {
            what: What::Pull("debian/13".parse().unwrap()),
            server: server("https://a.org"),
            ca_file: Some("/ca".into()),
            store: Some("/s".into()),
            progress: true,
        };
        assert_eq!(
            parse("pull --store /s --progress --server a.org --ca-file /ca --image debian/13"),
            Ok(pull)
        );
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
            "list --server",
            "list --server a.org --server b.org",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
