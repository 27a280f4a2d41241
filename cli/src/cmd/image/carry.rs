//! `bryo image import` and `export`: images that come and go without a server.

use std::ffi::OsString;
use std::fs;
use std::io::Seek;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use config::images::{Form, Record};
use container::{Doing, Error, Kind, Result};
use serde::Deserialize;
use types::source::ImageName;

use crate::context::{Context, from_io};
use crate::images::{Images, Kept};
use crate::json;
use crate::making;
use crate::output::{self, Failure, Outcome};
use crate::program;
use crate::rungs::Talk;

/// Arguments of `bryo image import`.
#[derive(Debug, clap::Args)]
#[command(after_help = IMPORT_EXAMPLES)]
pub(super) struct Import {
    /// An archive (.tar, .tar.gz, .tar.xz, .tar.zst), - for standard input, or a directory that export has written
    path: PathBuf,
    /// The image's name: DISTRIBUTION/RELEASE[/ARCHITECTURE[/VARIANT]]; a directory has one
    name: Option<String>,
    /// The archive of its metadata, as LXC's and Incus' images have it
    #[arg(long, value_name = "FILE")]
    metadata: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

const IMPORT_EXAMPLES: &str = "\
Examples:
  bryo image import ./rootfs.tar.zst mine/1                           an image mine/1 from an archive
  bryo image import ./rootfs.tar.xz mine/1 --metadata ./meta.tar.xz   with what LXC's and Incus' images have beside it
  docker export web | bryo image import - mine/2                      from standard input
  bryo image import ./debian                                          what bryo image export has written
  bryo create web mine/1                                              makes a container from it";

/// Arguments of `bryo image export`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXPORT_EXAMPLES)]
pub(super) struct Export {
    /// The image's name
    name: String,
    /// The directory, which is made
    directory: PathBuf,
}

const EXPORT_EXAMPLES: &str = "\
Examples:
  bryo image export debian/13 ./debian        rootfs.tar.xz, meta.tar.xz and image.json
  bryo image import ./debian                  takes them in elsewhere";

/// The file of an exported image that says what it is.
const RECORD: &str = "image.json";

impl Import {
    pub(super) fn run(self, context: &Context, talk: Talk) -> Outcome {
        let imported = self.import(context);
        let record =
            imported.map_err(|error| Failure::new(&format!("import {}", self.path.display()), error))?;
        match (self.json, talk) {
            (true, _) => output::print_line(json::text(&record)),
            (false, Talk::Quiet) => {}
            (false, _) => output::say(&format!("{} of {} is here", record.name, record.build)),
        }
        Ok(0)
    }

    fn import(&self, context: &Context) -> Result<Record> {
        if self.path.is_dir() {
            return self.exported(context);
        }
        let name = self
            .name
            .as_deref()
            .ok_or_else(|| Error::new(Kind::Usage, "an archive needs a name, as in mine/1"))?;
        let name = making::image_name(name)?;
        if name.release.is_none() {
            let cause = format!("{name} has no release, as in {name}/1");
            return Err(Error::new(Kind::Usage, cause));
        }
        let rootfs = match self.path.as_os_str() == "-" {
            // A program has another standard input.
            true => sys::process::inherited(0)?.try_clone().map_err(from_io)?,
            false => making::open(&self.path)?,
        };
        let metadata = self.metadata.as_deref().map(making::open).transpose()?;
        let form = metadata.as_ref().map_or(Ok(Form::Archive), |metadata| form(context, metadata))?;
        let build = container::logging::minute(std::time::SystemTime::now());
        take(context, &name, &build, form, &rootfs, metadata.as_ref())
    }

    /// Takes in what export has written. Its record comes from anybody: name and build are checked by who writes them down.
    fn exported(&self, context: &Context) -> Result<Record> {
        let path = self.path.join(RECORD);
        let small =
            fs::metadata(&path).map_err(from_io).is_ok_and(|found| found.len() <= config::images::MAX_RECORD);
        let bytes = fs::read(&path).map_err(from_io).doing_with(|| format!("reading {}", path.display()))?;
        let record: Record = serde_json::from_slice(if small { &bytes } else { b"" })
            .map_err(|error| Error::new(Kind::Image, error.to_string()))
            .doing_with(|| format!("reading {}", path.display()))?;
        let name = making::image_name(self.name.as_deref().unwrap_or(&record.name))?;
        let open = |start: &str| find(&self.path, start).map(|path| making::open(&path)).transpose();
        let missing = || Error::new(Kind::Image, "it has no rootfs.tar");
        let rootfs = open(ROOTFS)?.ok_or_else(missing)?;
        let metadata = open(METADATA)?;
        let form = if metadata.is_some() { record.form } else { Form::Archive };
        take(context, &name, &record.build, form, &rootfs, metadata.as_ref())
    }
}

/// How the names of exported archives begin.
const ROOTFS: &str = "rootfs.tar";
const METADATA: &str = "meta.tar";

fn find(dir: &Path, start: &str) -> Option<PathBuf> {
    let names = fs::read_dir(dir).ok()?.flatten().map(|entry| entry.file_name());
    names.into_iter().find(|name| name.to_string_lossy().starts_with(start)).map(|name| dir.join(name))
}

/// What `bryo-image describe` prints.
#[derive(Deserialize)]
struct Described {
    form: Option<Form>,
}

/// Finds out whose metadata an archive has.
fn form(context: &Context, metadata: &OwnedFd) -> Result<Form> {
    let arguments = vec!["describe".into(), "--archive".into(), metadata.as_raw_fd().to_string().into()];
    let program = &context.facts()?.programs.image;
    let described: Described = program::ask(program, arguments, &[metadata.as_fd()], Kind::Image, None)?;
    let rewound = metadata.try_clone().and_then(|file| fs::File::from(file).rewind());
    rewound.map_err(from_io).doing("reading the metadata")?;
    let none = || Error::new(Kind::Image, "the metadata has neither metadata.yaml nor a config");
    described.form.ok_or_else(none)
}

fn take(
    context: &Context,
    name: &ImageName,
    build: &str,
    form: Form,
    rootfs: &OwnedFd,
    metadata: Option<&OwnedFd>,
) -> Result<Record> {
    let images = Images::new()?;
    let form = match form {
        Form::Lxc => "lxc",
        Form::Incus => "incus",
        Form::Archive => "archive",
        Form::Oci => {
            return Err(Error::new(Kind::Usage, "images of registries are imported as oci-archive:FILE"));
        }
    };
    let number = |fd: &OwnedFd| OsString::from(fd.as_raw_fd().to_string());
    let mut arguments: Vec<OsString> = vec!["import".into(), "--store".into(), images.own().into()];
    let name = OsString::from(name.to_string());
    for (option, value) in [("--image", name), ("--build", build.into()), ("--form", form.into())] {
        arguments.extend([option.into(), value]);
    }
    arguments.extend(["--rootfs".into(), number(rootfs)]);
    arguments.extend(metadata.into_iter().flat_map(|fd| ["--metadata".into(), number(fd)]));
    let fds: Vec<_> = [Some(rootfs), metadata].into_iter().flatten().map(AsFd::as_fd).collect();
    program::ask(&context.facts()?.programs.image, arguments, &fds, Kind::Image, None)
}

impl Export {
    pub(super) fn run(self, talk: Talk) -> Outcome {
        let exported = self.export();
        let written = exported.map_err(|error| Failure::new(&format!("export {}", self.name), error))?;
        if talk != Talk::Quiet {
            output::say(&format!("{} is in {}", written, self.directory.display()));
        }
        Ok(0)
    }

    /// Writes to a directory of another name, which gets its own when all is in it.
    fn export(&self) -> Result<String> {
        let images = Images::new()?;
        let _held = images.hold()?;
        let image = images.named(&self.name)?;
        if image.kept == Kept::Lxc || image.record.layers.len() != 1 || image.record.form == Form::Oci {
            let cause = "only images with one archive in the store can be exported";
            return Err(Error::new(Kind::Usage, cause));
        }
        if self.directory.exists() {
            return Err(Error::new(Kind::Usage, format!("{} is there already", self.directory.display())));
        }
        let mut half = self.directory.clone().into_os_string();
        half.push(".half");
        let half = PathBuf::from(half);
        let doing = || format!("writing {}", half.display());
        let write = || -> std::io::Result<()> {
            fs::create_dir(&half)?;
            let metadata = image.record.metadata.map(|digest| image.file(digest));
            for (start, from) in image
                .archives()
                .into_iter()
                .map(|path| (ROOTFS, path))
                .chain(metadata.map(|path| (METADATA, path)))
            {
                let to = half.join(format!("{start}{}", ending(&from)?));
                fs::copy(&from, &to)?;
                fs::File::open(&to)?.sync_all()?;
            }
            fs::write(half.join(RECORD), json::text(&image.record))?;
            fs::rename(&half, &self.directory)
        };
        let written = write().map_err(from_io).doing_with(doing);
        if written.is_err() {
            let _nothing = fs::remove_dir_all(&half);
        }
        written.map(|()| image.record.name)
    }
}

/// Returns how the name of an archive ends, by how the archive begins.
fn ending(archive: &Path) -> std::io::Result<&'static str> {
    use std::io::Read;
    const MAGICS: [(&[u8], &str); 3] =
        [(&[0x1f, 0x8b], ".gz"), (b"\xfd7zXZ\0", ".xz"), (&[0x28, 0xb5, 0x2f, 0xfd], ".zst")];
    let mut begins = Vec::new();
    fs::File::open(archive)?.take(6).read_to_end(&mut begins)?;
    Ok(MAGICS.iter().find(|(magic, _)| begins.starts_with(magic)).map_or("", |(_, ending)| ending))
}
