//! Making a container: templates by name or by image.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

use config::images::Record;

use container::create::{self, CreateRequest, Created, Files, Template};
use container::place::Place;
use container::{Doing, Error, Kind, Result, foreign};
use types::Published;
use types::source::{Form, ImageName, Reference, Source, Tag, Word};

use crate::bar::Bar;
use crate::bootstrap;
use crate::bounds::Bounds;
use crate::context::{Context, from_io};
use crate::download;
use crate::fetching::{self, From};
use crate::getopt::{self, Given, Opt, flag, value};
use crate::hosts_release;
use crate::images::{Images, Stored};
use crate::lock::{Entry, Lock};
use crate::own::Own;
use crate::program;
use crate::templates;

/// What is wanted.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// Which container.
    pub(crate) place: Place,
    /// Its root file system.
    pub(crate) template: Template,
    /// A file that its configuration begins with, instead of the caller's own.
    pub(crate) config: Option<PathBuf>,
    /// More lines for the configuration.
    pub(crate) settings: &'static str,
    /// What the root file system is made from, in the user's words: an image or a template.
    pub(crate) source: String,
    /// The template's arguments.
    pub(crate) arguments: Vec<String>,
    /// What it has of the caller's own files.
    pub(crate) own: Own,
    /// Ports that it publishes.
    pub(crate) publish: Vec<Published>,
    /// It is made for one run.
    pub(crate) once: bool,
}

/// Makes the container.
///
/// # Errors
/// Whatever fails, the bounds included, where there are some; then nothing of the container is left.
pub(crate) fn create(context: &Context, wanted: Wanted, bounds: Option<&Bounds>) -> Result<Created> {
    let base_path = wanted.config.clone().unwrap_or_else(|| context.default_config.clone());
    let base = create::default_text(&base_path, wanted.config.is_some())? + wanted.settings;
    let header = header(&wanted);
    let (me, shares) = (wanted.own.me(), wanted.own.shares()?);
    let mut bar = Bar::default();
    let request = CreateRequest {
        place: wanted.place,
        template: wanted.template,
        base,
        base_path,
        me,
        shares,
        publish: wanted.publish,
        header,
        once: wanted.once,
        progress: &mut |progress| {
            bar.show(progress.read, progress.total);
            bounds.map_or(Ok(()), Bounds::check)
        },
    };
    let created = create::create(request, context.facts()?);
    drop(bar);
    created.map_err(|error| match error.kind() {
        Kind::Image => error.doing(format!("unpacking {}", wanted.source)),
        _ => error,
    })
}

/// Returns the comments with which LXC begins a configuration.
fn header(wanted: &Wanted) -> Vec<String> {
    if matches!(wanted.template, Template::None) {
        return Vec::new();
    }
    let source = match &wanted.template {
        Template::Program(program) => program.file.display().to_string(),
        _ => wanted.source.clone(),
    };
    vec![
        format!("Template used to create this container: {source}"),
        format!("Parameters passed to the template: {}", wanted.arguments.join(" ")),
    ]
}

/// The templates and their options, which stand after `--`.
const TEMPLATES: [(&str, &[Opt]); 8] = [
    (DOWNLOAD, download::OPTIONS),
    (
        "local",
        &[
            value("m", "metadata", "FILE", "the archive of the metadata"),
            value(
                "f",
                "fstree",
                "FILE",
                "the root file system: an archive, a directory, or - for standard input",
            ),
            flag("", "no-dev", "leave /dev out"),
        ],
    ),
    ("busybox", &[value("", "busybox-path", "FILE", "a static busybox")]),
    (
        OCI,
        &[
            value("u", "url", "URL", "the image: docker://NAME:TAG, oci:DIR:TAG, oci-archive:FILE"),
            value("", "username", "NAME", "refused: credentials are those of auth.json"),
            value("", "password", "WORD", "refused, as above"),
            flag("", "no-cache", "accepted: a registry is always asked"),
            flag("", "dhcp", "accepted, and without effect"),
        ],
    ),
    ("debian", bootstrap::OPTIONS),
    ("ubuntu", bootstrap::OPTIONS),
    ("host", &[]),
    ("none", &[]),
];

/// The template that takes images of registries.
const OCI: &str = "oci";

/// The template that takes images of the store and of servers.
const DOWNLOAD: &str = "download";

/// Tells whether there is a template of that name.
pub(crate) fn is_template(name: &str) -> bool {
    is_own(name) || templates::find(name, &templates::dirs()).is_some()
}

fn is_own(name: &str) -> bool {
    TEMPLATES.iter().any(|(known, _)| *known == name)
}

/// Returns the template of a name, with its arguments.
pub(crate) fn template(context: &Context, name: &str, arguments: &[String]) -> Result<Template> {
    match name {
        DOWNLOAD => download::template(context, &given(name, arguments)?),
        OCI => oci(context, &given(name, arguments)?),
        _ if is_own(name) => alone(name, arguments),
        _ => templates::template(name, arguments, &TEMPLATES.map(|(known, _)| known).join(", ")),
    }
}

/// Reads the arguments of a template.
fn given(name: &str, arguments: &[String]) -> Result<Given> {
    let options = TEMPLATES.iter().find(|(known, _)| *known == name).map_or(&[][..], |(_, options)| options);
    let wrong = |what: String| Error::new(Kind::Usage, what).doing(format!("template {name}"));
    let given = getopt::parse(&[options], arguments).map_err(|e| wrong(e.to_string()))?;
    if let Some(word) = given.words.first() {
        return Err(wrong(format!("the argument {word:?} means nothing")));
    }
    Ok(given)
}

/// Returns a template that takes nothing but its arguments.
fn alone(name: &str, arguments: &[String]) -> Result<Template> {
    let given = given(name, arguments)?;
    match name {
        "local" => local(&given),
        "busybox" => Ok(Template::Busybox { program: given.value("busybox-path").map(PathBuf::from) }),
        "debian" | "ubuntu" => bootstrap::template(name, &given),
        "host" => Ok(Template::Host),
        _ => Ok(Template::None),
    }
}

/// LXC: has skopeo and umoci fetch and unpack the image.
fn oci(context: &Context, given: &Given) -> Result<Template> {
    let wrong = |cause: &str| Err(Error::new(Kind::Usage, cause));
    if given.has("username") || given.has("password") {
        return wrong(
            "template oci takes no password: log in by podman, skopeo or docker, whose auth.json is read",
        );
    }
    let Some(url) = given.value("url") else { return wrong("template oci needs --url URL after --") };
    let how = How { pull: true, full: true, ..How::default() };
    from_image(context, &oci_word(url), &how, None).map(|(template, _)| template)
}

/// Returns an image of skopeo's words in Bryo's own. Source: containers-transports(5).
fn oci_word(url: &str) -> String {
    url.strip_prefix("docker://").map_or_else(|| url.to_owned(), |name| format!("docker:{name}"))
}

fn local(given: &Given) -> Result<Template> {
    let needed = |long: &str| {
        let missing = || Error::new(Kind::Usage, format!("template local needs --{long} FILE after --"));
        given.value(long).map(Path::new).ok_or_else(missing)
    };
    Ok(Template::Local {
        metadata: open(needed("metadata")?)?,
        rootfs: files(needed("fstree")?)?,
        no_dev: given.has("no-dev"),
    })
}

/// The word for standard input.
const STDIN: &str = "-";

/// Returns the files of a root file system: a directory, an archive, or one on standard input.
///
/// # Errors
/// It is not there; or standard input is a terminal.
pub(crate) fn files(path: &Path) -> Result<Files> {
    if path == Path::new(STDIN) {
        let input = std::io::stdin();
        if input.is_terminal() {
            return Err(Error::new(Kind::Usage, "standard input is a terminal, and no archive"));
        }
        let archive = input.as_fd().try_clone_to_owned();
        return archive.map(Files::Archive).map_err(from_io).doing("taking standard input");
    }
    if path.is_dir() { Ok(Files::Directory(path.to_owned())) } else { open(path).map(Files::Archive) }
}

pub(crate) fn open(path: &Path) -> Result<std::os::fd::OwnedFd> {
    sys::path::open_read(path)
        .map_err(|e| Error::from(e).of_kind(Kind::Image))
        .doing_with(|| format!("opening {}", path.display()))
}

/// Returns the template of an image, fetched where it is a name.
///
/// # Errors
/// There is no such image, or it cannot be fetched, or not within the bounds.
pub(crate) fn from_image(
    context: &Context,
    word: &str,
    how: &How,
    bounds: Option<&Bounds>,
) -> Result<(Template, String)> {
    let word = word.to_owned();
    if word == STDIN && how.lock.is_wanted() {
        return Err(how.lock.refusal(&word));
    }
    if how.arch.is_some() && (word == STDIN || !matches!(source(&word)?, Source::Named(_))) {
        let cause = format!("--arch is for names of the image server's images, and {word} is none");
        return Err(Error::new(Kind::Usage, cause));
    }
    if word == STDIN {
        return Ok((Template::Files(files(Path::new(STDIN))?), "standard input".to_owned()));
    }
    let template = match source(&word)? {
        Source::Path(_) | Source::Saved { .. } if how.lock.is_wanted() => {
            return Err(how.lock.refusal(&word));
        }
        Source::Path(path) => Template::Files(files(&path)?),
        Source::Named(name) => return named(context, &name, how, bounds),
        Source::Registry(reference) => return of_registry(context, &reference, how, bounds),
        Source::Saved { form, path, tag } => return saved(context, form, &path, tag.as_ref(), how),
    };
    Ok((template, word))
}

/// How an image becomes a container.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct How {
    /// Ask the server for a newer build of the image first
    #[arg(long, conflicts_with = "locked")]
    pub(crate) pull: bool,
    /// Copy the image, in place of an overlay over what all containers of it share
    #[arg(long)]
    pub(crate) full: bool,
    /// The architecture of an image of the image server, where that is not this machine's: arm64, riscv64
    #[arg(long, value_name = "NAME")]
    pub(crate) arch: Option<Word>,
    #[command(flatten)]
    pub(crate) from: From,
    #[command(flatten)]
    pub(crate) lock: Lock,
}

impl How {
    /// Returns what a lock says of an image, unless a newer build is asked for.
    fn entry(&self, word: &str) -> Result<Option<Entry>> {
        if self.pull { Ok(None) } else { self.lock.entry(word) }
    }
}

/// Returns the image of exactly these files, fetched where it is not here.
pub(crate) fn exact(
    context: &Context,
    word: &str,
    entry: &Entry,
    from: &From,
    bounds: Option<&Bounds>,
) -> Result<Stored> {
    let images = Images::new()?;
    if let Some(image) = images.of_id(entry.id()) {
        return Ok(image);
    }
    let pulled = fetching::pull_exact(context, word, entry, from, bounds)?;
    match pulled.record.id() {
        Some(id) if id == entry.id() => images.named(&pulled.record.name),
        _ => {
            let cause = format!("what came as {word} has other files, or another form, than the lock says");
            Err(Error::new(Kind::Fetch, cause))
        }
    }
}

/// Returns the template of a named image: the one that is here, or that the server has where there is none, or on request.
pub(crate) fn named(
    context: &Context,
    name: &ImageName,
    how: &How,
    bounds: Option<&Bounds>,
) -> Result<(Template, String)> {
    let name = &ImageName { arch: name.arch.clone().or_else(|| how.arch.clone()), ..name.clone() };
    if let Some(arch) = &name.arch {
        foreign::check(arch.as_str())?;
    }
    let (images, word) = (Images::new()?, name.to_string());
    let image = match how.entry(&word)? {
        Some(entry) => exact(context, &word, &entry, &how.from, bounds)?,
        None => {
            let image = newest(context, &images, name, how, bounds)?;
            how.lock.keep(&word, &image.record)?;
            image
        }
    };
    let told = format!("{} of {}", image.record.name, image.record.build);
    Ok((image.template(&images, how.full)?, told))
}

fn newest(
    context: &Context,
    images: &Images,
    name: &ImageName,
    how: &How,
    bounds: Option<&Bounds>,
) -> Result<Stored> {
    let server = how.from.wanted(context);
    let found = match how.lock.is_wanted() {
        true => images.find_with_digest(name, Some(&server)),
        false => images.find(name, Some(&server)),
    };
    match found.filter(|_| !how.pull) {
        Some(image) => Ok(image),
        None => {
            let pulled = fetching::pull(context, name, &how.from, bounds)?;
            images.named(&pulled.record.name)
        }
    }
}

/// The same of an image in files of a registry's form, which are read each time.
fn saved(
    context: &Context,
    form: Form,
    path: &Path,
    tag: Option<&Tag>,
    how: &How,
) -> Result<(Template, String)> {
    let (images, source) = (Images::new()?, open(path)?);
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
    let file: String =
        path.file_name().unwrap_or_default().to_string_lossy().chars().take(100).map(plain).collect();
    let name = format!("{form}:{file}{}", tag.map_or_else(String::new, |tag| format!(":{tag}")));
    let word = if form == Form::DockerArchive { "docker" } else { "oci" };
    let mut arguments = ["import-saved", "--image", &name, "--form", word].map(OsString::from).to_vec();
    arguments.extend([
        "--source".into(),
        source.as_raw_fd().to_string().into(),
        "--store".into(),
        images.own().into(),
    ]);
    arguments.extend(tag.into_iter().flat_map(|tag| ["--tag".into(), tag.to_string().into()]));
    let image = &context.facts()?.programs.image;
    let record: Record = program::ask(image, arguments, &[source.as_fd()], Kind::Image, None)
        .doing_with(|| format!("reading {}", path.display()))?;
    Ok((images.named(&record.name)?.template(&images, how.full)?, name))
}

/// The same of an image of a registry.
fn of_registry(
    context: &Context,
    reference: &Reference,
    how: &How,
    bounds: Option<&Bounds>,
) -> Result<(Template, String)> {
    let (images, name) = (Images::new()?, format!("docker:{reference}"));
    if let Some(entry) = how.entry(&name)? {
        let image = exact(context, &name, &entry, &how.from, bounds)?;
        return Ok((image.template(&images, how.full)?, name));
    }
    if how.pull || !images.all().iter().any(|image| image.record.name == name) {
        fetching::pull_of_registry(context, reference, &how.from, bounds)?;
    }
    let image = images.named(&name)?;
    how.lock.keep(&name, &image.record)?;
    Ok((image.template(&images, how.full)?, name))
}

/// Returns the template of an image of this machine's own distribution and release.
///
/// # Errors
/// The machine does not say what it is; or as [`named`].
pub(crate) fn of_this_machine(context: &Context, how: &How) -> Result<(Template, String)> {
    let unknown = || {
        Error::new(
            Kind::Fetch,
            "neither an image is named, nor does /etc/os-release say what this machine is",
        )
    };
    let name = hosts_release::name().ok_or_else(unknown)?;
    named(context, &name, how, None).doing_with(|| format!("taking {name}, since no image is named"))
}

/// Reads the word IMAGE.
///
/// # Errors
/// It is neither a path nor a name; the message says what would be one.
pub(crate) fn source(word: &str) -> Result<Source> {
    Source::parse(word, Path::exists).map_err(|wrong| Error::new(Kind::Usage, wrong.to_string()))
}

/// Reads the name of an image server's image.
///
/// # Errors
/// It is none.
pub(crate) fn image_name(word: &str) -> Result<ImageName> {
    match source(word)? {
        Source::Named(name) => Ok(name),
        _ => {
            let cause = format!("{word:?} is no name of an image server's image, such as debian/13");
            Err(Error::new(Kind::Usage, cause))
        }
    }
}

/// What a container can be made from without a server.
pub(crate) const OFFLINE: &str = "\
without an image server a container is made from one of these:
  bryo create web ./rootfs.tar.zst    an archive or a directory
  bryo create web -t debian           made of packages, by mmdebstrap or debootstrap
  bryo create web -t busybox          a static busybox
  bryo create web -t host             this machine's own programs, read-only
bryo image ls shows the images that are here, bryo image ls --remote those of the server";

/// What a container can be made from.
pub(crate) const CHOICES: &str = "\
a container is made from one of these:
  bryo create web debian/13           an image of the image server
  bryo create web ./rootfs.tar.zst    an archive or a directory
  bryo create web -t debian           made of packages, by mmdebstrap or debootstrap
  bryo create web -t busybox          a static busybox
  bryo create web -t host             this machine's own programs, read-only";

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn templates_take_their_own_arguments_alone() {
        assert!(matches!(alone("none", &[]), Ok(Template::None)));
        let path = words(&["--busybox-path", "/x/busybox"]);
        let made = alone("busybox", &path).unwrap();
        assert!(
            matches!(made, Template::Busybox { program: Some(program) } if program == Path::new("/x/busybox"))
        );
        assert!(alone("none", &path).is_err());
        assert!(alone("none", &words(&["x"])).is_err());
    }

    #[test]
    fn an_image_of_skopeos_words_is_one_of_bryos() {
        assert_eq!(oci_word("docker://ghcr.io/ana/web:3"), "docker:ghcr.io/ana/web:3");
        assert_eq!(oci_word("oci:/srv/layout:3"), "oci:/srv/layout:3");
    }

    #[test]
    fn local_needs_both_archives() {
        let error = alone("local", &words(&["-m", "/dev/null"])).unwrap_err();
        assert!(error.to_string().contains("--fstree"), "{error}");
        let both = words(&["-m", "/dev/null", "-f", "/dev/null", "--no-dev"]);
        assert!(matches!(alone("local", &both), Ok(Template::Local { no_dev: true, .. })));
    }

    #[test]
    fn a_name_of_an_image_server_is_told_from_all_else() {
        assert!(image_name("debian/13").is_ok());
        for word in ["docker:alpine:3", "docker-archive:x.tar", "./x.tar", "debian/.."] {
            assert_eq!(image_name(word).unwrap_err().kind(), Kind::Usage, "{word}");
        }
    }
}
