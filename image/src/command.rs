//! The request: the argument vector of `bryo-image`, which its callers write and users never see.

use std::ffi::{OsStr, OsString};
use std::os::fd::RawFd;
use std::path::PathBuf;

use config::images::Form;
use types::Digest;
use types::source::{ImageName, Tag};

use crate::exclude::Excludes;
use crate::ids::Ids;
use crate::index::Serial;
use crate::saved::Saved;
use crate::unpack::Archived;

/// How `bryo-image` is called.
pub const USAGE: &str =
    "usage: bryo-image unpack --archive FD --root FD [--digest HEX] [--layer] [--exclude PATTERN]... [--ids as-is|flatten|own:UID:GID|give:UID:GID:UID:GID]
       bryo-image metadata --archive FD --root FD [--digest HEX]
       bryo-image copy --source FD --root FD [--exclude PATTERN]... [--ids as-is|flatten|own:UID:GID|give:UID:GID:UID:GID]
       bryo-image prune --root FD [--exclude PATTERN]...
       bryo-image remove --root FD --name NAME
       bryo-image describe --archive FD
       bryo-image verify --store DIR
       bryo-image import-saved --store DIR --image NAME --form oci|docker --source FD [--tag TAG]
       bryo-image import --store DIR --image NAME --build TIME --form lxc|incus|archive --rootfs FD [--metadata FD]";

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Unpack an archive into an empty directory.
    Unpack {
        /// The archive.
        archive: RawFd,
        /// The directory.
        root: RawFd,
        /// What the archive is.
        what: Archived,
        /// Who owns the files.
        ids: Ids,
        /// What is left out.
        excludes: Excludes,
        /// What is in the archive, where that is known.
        digest: Option<Digest>,
    },
    /// Copy a directory into an empty one.
    Copy {
        /// The directory to copy.
        source: RawFd,
        /// The empty one.
        root: RawFd,
        /// Who owns the files.
        ids: Ids,
        /// What is left out.
        excludes: Excludes,
    },
    /// Remove from a directory what is to be left out.
    Prune {
        /// The directory.
        root: RawFd,
        /// What that is.
        excludes: Excludes,
    },
    /// Remove something from a directory, with all that is in it.
    Remove {
        /// The directory.
        root: RawFd,
        /// What to remove from it.
        name: OsString,
    },
    /// Tell what an image says of itself.
    Describe {
        /// The archive of its metadata.
        archive: RawFd,
    },
    /// Read all files of a store of images.
    Verify {
        /// The store.
        store: PathBuf,
    },
    /// Take an image in files of a registry's form into a store.
    ImportSaved {
        /// The store.
        store: PathBuf,
        /// What it is called there.
        name: String,
        /// The form.
        form: Saved,
        /// The archive or directory.
        source: RawFd,
        /// Which of several.
        tag: Option<Tag>,
    },
    /// Take an image into a store.
    Import {
        /// The store.
        store: PathBuf,
        /// The whole name.
        name: ImageName,
        /// When it was built.
        build: String,
        /// What its files are.
        form: Form,
        /// The archive of the root file system.
        rootfs: RawFd,
        /// That of the metadata.
        metadata: Option<RawFd>,
    },
}

/// A wrong argument vector.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum UsageError {
    /// No such command.
    #[error("unknown command {0:?}")]
    Command(OsString),
    /// No such option, or one that does not belong to the command, or is there twice.
    #[error("unexpected argument {0:?}")]
    Unexpected(OsString),
    /// An option without a value.
    #[error("{0} needs a value")]
    NoValue(&'static str),
    /// An option with a value that is none of its values.
    #[error("{0} cannot be {1:?}")]
    BadValue(&'static str, OsString),
    /// A needed option.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// More than any image leaves out.
    #[error("{0}")]
    TooManyExcludes(#[from] crate::exclude::TooManyExcludes),
}

impl Command {
    /// Reads the arguments after the program's name.
    ///
    /// # Errors
    /// Whatever is not exactly as in [`USAGE`].
    pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, UsageError> {
        let mut arguments = arguments.into_iter();
        let verb = arguments.next().unwrap_or_default();
        let mut options = Options::part(arguments);
        let command = match verb.to_str() {
            Some("unpack") => Self::unpack(&mut options)?,
            Some("metadata") => Self::metadata(&mut options)?,
            Some("copy") => Self::copy(&mut options)?,
            Some("prune") => Self::prune(&mut options)?,
            Some("remove") => Self::remove(&mut options)?,
            Some("describe") => Self::Describe { archive: options.fd("--archive")? },
            Some("verify") => Self::Verify { store: options.needed("--store")?.into() },
            Some("import") => Self::import(&mut options)?,
            Some("import-saved") => Self::import_saved(&mut options)?,
            _ => return Err(UsageError::Command(verb)),
        };
        options.end().map(|()| command)
    }

    fn unpack(options: &mut Options) -> Result<Self, UsageError> {
        let what = if options.flag(LAYER) { Archived::Layer } else { Archived::RootFilesystem };
        let (ids, digest) = (options.ids()?, options.digest()?);
        let excludes = Excludes::new(options.all("--exclude")?)?;
        let (archive, root) = (options.fd("--archive")?, options.fd("--root")?);
        Ok(Self::Unpack { archive, root, what, ids, excludes, digest })
    }

    fn metadata(options: &mut Options) -> Result<Self, UsageError> {
        let (archive, root) = (options.fd("--archive")?, options.fd("--root")?);
        let digest = options.digest()?;
        let (what, ids, excludes) = (Archived::Metadata, Ids::Flatten, Excludes::default());
        Ok(Self::Unpack { archive, root, what, ids, excludes, digest })
    }

    fn copy(options: &mut Options) -> Result<Self, UsageError> {
        let (ids, excludes) = (options.ids()?, Excludes::new(options.all("--exclude")?)?);
        Ok(Self::Copy { source: options.fd("--source")?, root: options.fd("--root")?, ids, excludes })
    }

    fn prune(options: &mut Options) -> Result<Self, UsageError> {
        let excludes = Excludes::new(options.all("--exclude")?)?;
        Ok(Self::Prune { root: options.fd("--root")?, excludes })
    }

    fn remove(options: &mut Options) -> Result<Self, UsageError> {
        let root = options.fd("--root")?;
        let name = options.needed("--name")?;
        Ok(Self::Remove { root, name })
    }

    fn import_saved(options: &mut Options) -> Result<Self, UsageError> {
        let form = options.needed("--form")?;
        let form = match form.to_str() {
            Some("oci") => Saved::Oci,
            Some("docker") => Saved::Docker,
            _ => return Err(UsageError::BadValue("--form", form)),
        };
        Ok(Self::ImportSaved {
            store: options.needed("--store")?.into(),
            name: options.read("--image")?,
            form,
            source: options.fd("--source")?,
            tag: options.has("--tag").then(|| options.read("--tag")).transpose()?,
        })
    }

    fn import(options: &mut Options) -> Result<Self, UsageError> {
        let form = options.needed("--form")?;
        let form = match form.to_str() {
            Some("lxc") => Form::Lxc,
            Some("incus") => Form::Incus,
            Some("archive") => Form::Archive,
            _ => return Err(UsageError::BadValue("--form", form)),
        };
        Ok(Self::Import {
            store: options.needed("--store")?.into(),
            name: options.read("--image")?,
            build: options.read::<Serial>("--build")?.to_string(),
            form,
            rootfs: options.fd("--rootfs")?,
            metadata: options.has("--metadata").then(|| options.fd("--metadata")).transpose()?,
        })
    }
}

/// The options without a value.
const LAYER: &str = "--layer";
const FLAGS: [&str; 2] = [LAYER, "--progress"];

/// The options, with their values, that nobody has taken yet.
#[derive(Debug)]
pub struct Options(Vec<(OsString, Option<OsString>)>);

impl Options {
    /// Parts the arguments into options and values.
    pub fn part(mut arguments: impl Iterator<Item = OsString>) -> Self {
        let mut options = Vec::new();
        while let Some(name) = arguments.next() {
            let value = if FLAGS.iter().any(|flag| name == *flag) { None } else { arguments.next() };
            options.push((name, value));
        }
        Self(options)
    }

    /// Takes an option without a value, and tells whether it was there.
    pub fn flag(&mut self, name: &str) -> bool {
        self.take(name).is_some()
    }

    fn take(&mut self, name: &str) -> Option<Option<OsString>> {
        let at = self.0.iter().position(|(option, _)| option == name)?;
        Some(self.0.remove(at).1)
    }

    /// Takes the value of an option.
    ///
    /// # Errors
    /// The option stands there without one.
    pub fn value(&mut self, name: &'static str) -> Result<Option<OsString>, UsageError> {
        self.take(name).map(|value| value.ok_or(UsageError::NoValue(name))).transpose()
    }

    /// Takes the values of an option that may be there more than once.
    fn all(&mut self, name: &'static str) -> Result<Vec<Vec<u8>>, UsageError> {
        let mut all = Vec::new();
        while let Some(value) = self.value(name)? {
            all.push(value.into_encoded_bytes());
        }
        Ok(all)
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(option, _)| option == name)
    }

    /// Takes the value of an option that must be there.
    ///
    /// # Errors
    /// It is not there, or without a value.
    pub fn needed(&mut self, name: &'static str) -> Result<OsString, UsageError> {
        self.value(name)?.ok_or(UsageError::Missing(name))
    }

    /// Reads the value of an option that must be there.
    ///
    /// # Errors
    /// It is not there, or cannot be read.
    pub fn read<T: std::str::FromStr>(&mut self, name: &'static str) -> Result<T, UsageError> {
        let value = self.needed(name)?;
        OsStr::to_str(&value).and_then(|text| text.parse().ok()).ok_or(UsageError::BadValue(name, value))
    }

    fn fd(&mut self, name: &'static str) -> Result<RawFd, UsageError> {
        let value = self.value(name)?.ok_or(UsageError::Missing(name))?;
        let number = value.to_str().and_then(|text| text.parse().ok()).filter(|fd| *fd >= 0);
        number.ok_or(UsageError::BadValue(name, value))
    }

    fn digest(&mut self) -> Result<Option<Digest>, UsageError> {
        let Some(value) = self.value("--digest")? else { return Ok(None) };
        let digest = OsStr::to_str(&value).and_then(|text| Digest::from_hex(text).ok());
        digest.map(Some).ok_or(UsageError::BadValue("--digest", value))
    }

    fn ids(&mut self) -> Result<Ids, UsageError> {
        let Some(value) = self.value("--ids")? else { return Ok(Ids::AsIs) };
        let ids = OsStr::to_str(&value).and_then(|text| text.parse().ok());
        ids.ok_or(UsageError::BadValue("--ids", value))
    }

    /// Makes sure that nothing is left.
    ///
    /// # Errors
    /// An option that nobody has taken.
    pub fn end(self) -> Result<(), UsageError> {
        self.0.into_iter().next().map_or(Ok(()), |(option, _)| Err(UsageError::Unexpected(option)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Command, UsageError> {
        Command::parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn every_form_of_the_usage_is_read() {
        let excluding =
            |what, ids, excludes| Command::Unpack { archive: 3, root: 4, what, ids, excludes, digest: None };
        let unpack = |what, ids| excluding(what, ids, Excludes::default());
        assert_eq!(parse("unpack --root 4 --layer --archive 3").unwrap(), unpack(Archived::Layer, Ids::AsIs));
        assert_eq!(
            parse("unpack --archive 3 --root 4 --ids flatten").unwrap(),
            unpack(Archived::RootFilesystem, Ids::Flatten)
        );
        assert_eq!(
            parse("unpack --archive 3 --exclude dev/* --root 4 --exclude --root").unwrap(),
            excluding(
                Archived::RootFilesystem,
                Ids::AsIs,
                Excludes::new([b"dev/*".to_vec(), b"--root".to_vec()]).unwrap()
            )
        );
        assert_eq!(parse("metadata --archive 3 --root 4").unwrap(), unpack(Archived::Metadata, Ids::Flatten));
        assert_eq!(
            parse("copy --source 3 --root 4 --ids own:1:2").unwrap(),
            Command::Copy {
                source: 3,
                root: 4,
                ids: Ids::Given { from: (1, 2), to: (0, 0) },
                excludes: Excludes::default()
            }
        );
        let excludes = Excludes::new([b"dev/*".to_vec()]).unwrap();
        assert_eq!(parse("prune --exclude dev/* --root 4").unwrap(), Command::Prune { root: 4, excludes });
        assert_eq!(
            parse("remove --root 4 --name web").unwrap(),
            Command::Remove { root: 4, name: "web".into() }
        );
        assert_eq!(
            parse("remove --name --root --root 4").unwrap(),
            Command::Remove { root: 4, name: "--root".into() },
            "a name is never taken for an option"
        );
    }

    #[test]
    fn anything_else_is_refused() {
        for line in [
            "",
            "list",
            "unpack --archive 3",
            "unpack --archive x --root 4",
            "unpack --archive -1 --root 4",
            "unpack --archive 3 --root 4 --name x",
            "unpack --archive 3 --root 4 --digest 00",
            "unpack --archive 3 --root 4 --root 4",
            "metadata --archive 3 --root 4 --ids as-is",
            "copy --source 3 --root 4 --ids both",
            "prune --exclude x",
            "remove --root 4",
            "remove --root 4 --name",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
