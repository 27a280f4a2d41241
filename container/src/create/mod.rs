//! Creating a container: its directory, its root file system, its configuration.
//!
//! ```text
//! lock -> remove what an interrupted creation left -> `partial` marker
//!      -> rootfs, made or unpacked by processes inside the mapped user namespace
//!      -> config (written whole, synced, renamed) -> marker gone
//! ```
//! A container exists from the moment its marker goes. Whatever fails before, or dies, leaves a marker without a lock,
//! which any next command of that name removes together with everything else.
//!
//! LXC: gives the container's directory to container root and the caller's group, mode 0770, where the group may be
//! shared with other users. Here it stays the caller's, with container root's group, mode 0710: container root can walk
//! through it (LXC needs that), nobody else can.

pub(crate) mod account;
mod busybox;
mod host;
mod image;
mod limits;
mod local;
mod program;
mod share;
mod squashfs;
mod text;
mod unpack;

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use config::beside::Beside;
use sys::path;
use types::{IdMap, Published};

use account::Maker;
pub use account::Me;
pub use image::{Metadata, Part, StoredImage};
use limits::Limits;
pub use program::{Call, Program, find as find_program};
pub use share::Share;
pub use text::default_text;
pub use unpack::{Progress, Unpacked};

use crate::destroy;
use crate::error::{Doing, Error, Kind, Result};
use crate::host::HostFacts;
use crate::idmap::{self, MappedNamespace};
use crate::place::{self, Lock, Place, StateDir, from_io};
use crate::root::Root;

/// Where the root file system comes from.
#[derive(Debug)]
pub enum Template {
    /// Its files alone.
    Files(Files),
    /// LXC's `local`: a metadata archive and the archive of the root file system.
    Local {
        /// `-m`
        metadata: OwnedFd,
        /// `-f`
        rootfs: Files,
        /// `--no-dev`
        no_dev: bool,
    },
    /// An image of the store.
    Image(StoredImage),
    /// A static busybox.
    Busybox {
        /// The program, where it is named.
        program: Option<PathBuf>,
    },
    /// A program that fills it.
    Program(Program),
    /// The host's own /usr, read-only, under a private root. For application shells, not for systemd.
    Host,
    /// Nothing: a configuration alone.
    None,
}

/// The files of a root file system.
#[derive(Debug)]
pub enum Files {
    /// A directory, copied.
    Directory(PathBuf),
    /// An archive: tar, plain or compressed, or a squashfs.
    Archive(OwnedFd),
}

/// What is to be created.
pub struct CreateRequest<'a> {
    /// Which container.
    pub place: Place,
    /// Its root file system.
    pub template: Template,
    /// The configuration that every new container of the caller begins with.
    pub base: String,
    /// Where `base` stands, for messages.
    pub base_path: PathBuf,
    /// The caller becomes a user inside.
    pub me: bool,
    /// What it shows of the host.
    pub shares: Vec<Share>,
    /// Ports of the host that lead into it whenever it runs.
    pub publish: Vec<Published>,
    /// Comment lines for the top of the configuration: the template and its arguments.
    pub header: Vec<String>,
    /// It is for one run: its marker stays until whoever runs it removes it ([`Created::marker`]).
    pub once: bool,
    /// Told about progress now and then. An error ends the creation.
    pub progress: &'a mut dyn FnMut(Progress) -> Result<()>,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Created {
    /// The map in which it was made.
    pub idmap: IdMap,
    /// Who the caller is inside, where that is a user with an account.
    pub me: Option<Me>,
    /// What was unpacked, if something was.
    pub unpacked: Option<Unpacked>,
    /// It shares the files of an image.
    pub is_over_image: bool,
    /// What the user should know, a sentence each.
    pub notes: Vec<String>,
    /// The marker of a container that is for one run.
    pub marker: Option<Marker>,
}

/// The `partial` marker of a creation, locked. When its holder dies, any next command removes the container.
#[derive(Debug)]
pub struct Marker {
    _locked: OwnedFd,
    path: PathBuf,
}

impl Marker {
    /// Removes the marker: the container is there to stay, or something else tells that it is not.
    pub fn remove(self) -> Result<()> {
        match std::fs::remove_file(&self.path) {
            // The container was destroyed in the meantime.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(from_io).doing_with(|| format!("removing {}", self.path.display())),
        }
    }
}

/// Creates the container.
///
/// # Errors
/// Whatever fails; then nothing of the container is left.
pub fn create(mut request: CreateRequest<'_>, facts: &HostFacts) -> Result<Created> {
    facts.surroundings.allow_namespaces()?;
    crate::plan::check_published(&request.publish)?;
    let place = request.place.clone();
    if place.is_defined() && !is_half_made(&place) {
        return Err(Error::new(
            Kind::Exists,
            format!("{} exists already in {}", place.name, place.lxcpath.display()),
        ));
    }
    let (idmap, base_has_map) = idmap_of(&mut request, facts)?;
    remove_half_made(&place, facts)?;
    let (lock, marker) = begin(&place)?;
    let once = request.once;
    let made = fill(request, facts, &idmap, base_has_map);
    let finished = made.and_then(|mut created| {
        match once {
            true => created.marker = Some(marker),
            false => marker.remove()?,
        }
        place.remove_state_dir()?;
        Ok(created)
    });
    if finished.is_err() {
        destroy::remove_files(&place, &idmap, &facts.id_writer, &facts.caller)
            .unwrap_or_else(|e| log::warn!("{e}"));
    }
    drop(lock);
    finished
}

/// The map that the base configuration names, else the caller's own choice; and whether the base names it. A map that
/// the caller gets a place in replaces that of the base.
fn idmap_of(request: &mut CreateRequest<'_>, facts: &HostFacts) -> Result<(IdMap, bool)> {
    let mut map = named_map(&request.base, &request.base_path)?;
    let mut named = !map.is_empty();
    if !named {
        map = idmap::choose(facts);
    }
    if request.me {
        let with_me = idmap::with_me(&map, &facts.caller).doing("making you a user inside")?;
        if named && with_me != map {
            request.base = without_map(&request.base, &request.base_path)?;
            named = false;
        }
        map = with_me;
    }
    idmap::check_granted(&map, facts)?;
    Ok((map, named))
}

fn named_map(text: &str, path: &Path) -> Result<IdMap> {
    let base = config::parse(text, path);
    base.map(|base| base.config.idmap).map_err(|problems| Error::new(Kind::Config, problems.to_string()))
}

/// Takes the lines of the id map out of the base.
///
/// # Errors
/// A map that an included file names: a line cannot take that back.
fn without_map(text: &str, path: &Path) -> Result<String> {
    let mut base = config::Document::from_bytes(text.as_bytes());
    base.remove("lxc.idmap").map_err(|fault| Error::new(Kind::Config, fault.to_string()))?;
    let text = base.text();
    match named_map(&text, path)?.is_empty() {
        true => Ok(text),
        false => {
            let cause = format!("a file that {} includes has lxc.idmap lines", path.display());
            Err(Error::new(Kind::Config, cause).doing("making you a user inside"))
        }
    }
}

/// Tells whether a creation or a removal did not come to its end: the marker is there. Who holds the lock is another
/// question.
pub fn is_half_made(place: &Place) -> bool {
    place.partial_marker().exists() || is_half_destroyed(place)
}

fn is_half_destroyed(place: &Place) -> bool {
    place.destroyed_marker().exists() && !place.is_defined()
}

/// Tells whether somebody creates the container right now.
pub fn goes_on(place: &Place) -> bool {
    let is_locked = |state: place::StateDir| matches!(state.try_lock(), Ok(None));
    is_half_made(place) && place.state_dir().ok().flatten().is_some_and(is_locked)
}

/// What Bryo writes into its markers. LXC's are empty, and their creation is LXC's to end or to clean up.
const MARK: &[u8] = b"bryo";

/// Removes what an interrupted creation or removal of Bryo's has left.
///
/// # Errors
/// [`Kind::Busy`] when it still goes on, or the creation is LXC's.
pub fn remove_half_made(place: &Place, facts: &HostFacts) -> Result<bool> {
    if !is_half_made(place) {
        return Ok(false);
    }
    let being = |what: &str| Error::new(Kind::Busy, format!("{} is being {what}", place.name));
    // A process that its maker has left may be a moment from its end; this waits a little.
    let lock = || place.lock_to_remove().map(|(_, lock)| lock);
    let (act, _lock) = if is_half_destroyed(place) {
        ("removal", lock().map_err(|e| if e.kind() == Kind::Busy { being("destroyed") } else { e })?)
    } else {
        require_own_marker(place)?;
        let lock = lock().map_err(|e| if e.kind() == Kind::Busy { being("created") } else { e })?;
        // That of a container for one run is held on its own.
        if !path::try_lock(path::open_read(&place.partial_marker())?.as_fd())? {
            return Err(being("created"));
        }
        ("creation", lock)
    };
    // All that is granted to the caller, so whatever map the files were made in.
    let idmap = idmap::choose(facts);
    destroy::remove_files(place, &idmap, &facts.id_writer, &facts.caller)
        .doing_with(|| format!("removing what an interrupted {act} of {} left", place.name))?;
    Ok(true)
}

/// Checks that a marker is Bryo's: a creation of LXC's is not ours to clean up.
fn require_own_marker(place: &Place) -> Result<()> {
    let marker = path::open_read(&place.partial_marker())?;
    if path::read_all(marker, 64)? == MARK {
        return Ok(());
    }
    let cause = format!(
        "{} is being created by LXC, or such a creation was interrupted; lxc-destroy removes it",
        place.name
    );
    Err(Error::new(Kind::Busy, cause))
}

/// Takes the container's lock and marks its directory as half-made.
///
/// # Errors
/// A directory that holds anything already: whatever it is, it was not made by this creation, which removes all when it
/// fails.
fn begin(place: &Place) -> Result<(Lock, Marker)> {
    let (state, lock) = place.lock()?;
    let marked = mark(place, &state);
    if marked.is_err() {
        place.remove_state_dir().unwrap_or_else(|e| log::warn!("{e}"));
    }
    Ok((lock, marked?))
}

/// Writes the marker, locked. It comes to its place whole: an empty one would be LXC's.
fn mark(place: &Place, state: &StateDir) -> Result<Marker> {
    let dir = path::open_dir(&place.dir())?;
    let others = path::names(dir.as_fd())?.into_iter().filter(|name| name != place::STATE).count();
    if others > 0 {
        let cause = format!("{} exists already and is not empty", place.dir().display());
        return Err(Error::new(Kind::Exists, cause));
    }
    let path = place.partial_marker();
    let doing = || format!("writing {}", path.display());
    let name = OsStr::new(place::PARTIAL);
    path::replace_unsynced(state.fd(), name, 0o644, MARK).doing_with(doing)?;
    let marker = path::open_read_at(state.fd(), Path::new(name)).doing_with(doing)?;
    if !path::try_lock(marker.as_fd()).doing_with(doing)? {
        return Err(Error::new(Kind::Busy, format!("{} is being created", place.name)));
    }
    path::move_to(state.fd(), dir.as_fd(), name).doing_with(doing)?;
    Ok(Marker { _locked: marker, path })
}

/// What the owner of a container with one id should know.
pub const ONE_ID: &str = "the container has one id, yours, which is root inside: other owners and users are taken on in name \
                          only";

fn fill(
    mut request: CreateRequest<'_>,
    facts: &HostFacts,
    idmap: &IdMap,
    base_has_map: bool,
) -> Result<Created> {
    let place = request.place.clone();
    let mut created = Created { idmap: idmap.clone(), ..Created::default() };
    let mut config = text::Builder::new(&request.header, &request.base);
    if !base_has_map {
        config.idmap(idmap)?;
    }
    config.set("lxc.uts.name", place.name.as_str())?;
    if !matches!(request.template, Template::None) {
        let template = std::mem::replace(&mut request.template, Template::None);
        let programs_are_hosts = matches!(template, Template::Host);
        let made = make_root(&place, &template, idmap, facts, request.progress)?;
        let root = &made.root;
        let limits = Limits::of(&request.base, &request.base_path)?;
        let mut work =
            Filling { root, facts, idmap, place: &place, limits: &limits, progress: request.progress };
        let filled = match &template {
            Template::Image(image) => work.image(image, made.base.as_ref(), &mut config)?,
            _ => work.fill(template, &mut config)?,
        };
        limits.keep(&mut config)?;
        created.unpacked = filled.unpacked;
        created.is_over_image = made.base.is_some();
        created.notes = made.notes;
        created.notes.extend(filled.notes);
        created.notes.extend(work.has_one_id().then(|| ONE_ID.to_owned()));
        if request.me {
            let (hosts_programs, shares) = (programs_are_hosts, &request.shares[..]);
            created.me = Maker { map: idmap, facts, root, hosts_programs, shares }.make()?;
            created.notes.extend(about_me(&created, facts));
        }
        config.set("lxc.rootfs.path", &made.path)?;
    }
    for share in &request.shares {
        config.set("lxc.mount.entry", &share.entry()?)?;
    }
    config.fill_hwaddrs()?;
    let beside = Beside { publish: request.publish };
    let path = place.beside();
    beside.save(&path).map_err(from_io).doing_with(|| format!("writing {}", path.display()))?;
    let dir = path::open_dir(&place.dir())?;
    path::replace(dir.as_fd(), OsStr::new("config"), 0o640, config.text().as_bytes())
        .doing("writing the config")?;
    Ok(created)
}

/// Says what --me came to, where it is not what was expected.
fn about_me(created: &Created, facts: &HostFacts) -> Option<String> {
    match &created.me {
        // That root is the caller is said already.
        _ if idmap::is_own_id_only(&created.idmap, &facts.caller) => None,
        Some(me) if me.from_image => {
            Some(format!("the image has user {} with your id {}: that user is you", me.name, me.uid))
        }
        Some(_) => None,
        None => Some("the image has no /etc/passwd, so your id has no name inside".to_owned()),
    }
}

/// Makes the root file system of a container: that of an image may be there already.
fn make_root(
    place: &Place,
    template: &Template,
    idmap: &IdMap,
    facts: &HostFacts,
    progress: &mut dyn FnMut(Progress) -> Result<()>,
) -> Result<image::Made> {
    if let Template::Image(image) = template {
        return image::Maker { place, idmap, facts }.make(image, progress);
    }
    let root = Root::Dir(make_rootfs(place, idmap, facts)?);
    let path = format!("dir:{}", place.rootfs().display());
    Ok(image::Made { root, path, notes: Vec::new(), base: None })
}

/// Makes the directory of the root file system: container root's own, reachable by it and its owner alone.
fn make_rootfs(place: &Place, idmap: &IdMap, facts: &HostFacts) -> Result<OwnedFd> {
    let dir = path::open_dir(&place.dir())?;
    path::make_dir(dir.as_fd(), OsStr::new("rootfs"), 0o755).doing("making the rootfs directory")?;
    let root = path::open_dir_at(dir.as_fd(), Path::new("rootfs"))?;
    path::set_mode(root.as_fd(), 0o755)?;
    if idmap::is_own_id_only(idmap, &facts.caller) {
        return Ok(root);
    }
    let both = idmap.with_caller(facts.caller.uid, facts.caller.gid);
    let owner = both.ns_uid(facts.caller.uid).map_or(0, |uid| uid.0);
    MappedNamespace::new(&both, &facts.id_writer, &facts.caller)?
        .run(|| {
            path::set_owner(root.as_fd(), 0, 0)?;
            Ok(path::set_owner(dir.as_fd(), owner, 0)?)
        })
        .doing("giving the rootfs to container root")?;
    path::set_mode(dir.as_fd(), 0o710)?;
    Ok(root)
}

/// The filling of a new root file system.
struct Filling<'a> {
    root: &'a Root,
    facts: &'a HostFacts,
    idmap: &'a IdMap,
    place: &'a Place,
    limits: &'a Limits,
    progress: &'a mut dyn FnMut(Progress) -> Result<()>,
}

/// What a template did.
#[derive(Default)]
struct Filled {
    unpacked: Option<Unpacked>,
    notes: Vec<String>,
}

impl Filling<'_> {
    fn fill(&mut self, template: Template, config: &mut text::Builder) -> Result<Filled> {
        match template {
            // That of an image is filled by its own way.
            Template::None | Template::Image(_) => Ok(Filled::default()),
            Template::Files(files) => {
                config.system_container()?;
                let filled = self.files(&files, &[])?;
                self.settle_inside()?;
                Ok(filled)
            }
            Template::Local { metadata, rootfs, no_dev } => self.local(&metadata, &rootfs, no_dev, config),
            Template::Busybox { program } => self.busybox(program.as_deref(), config),
            Template::Program(program) => self.program(&program, config),
            Template::Host => self.host(config),
        }
    }

    /// Brings the files of a root file system in, but for those that match a pattern.
    fn files(&mut self, files: &Files, excludes: &[&str]) -> Result<Filled> {
        let unpacked = match files {
            Files::Directory(source) => self.copy(source, excludes)?,
            Files::Archive(archive) if squashfs::is_one(archive.as_fd()) => {
                let filled = self.squashfs(archive)?;
                self.prune(excludes)?;
                return Ok(filled);
            }
            Files::Archive(archive) => {
                let excludes = excludes.iter().flat_map(|pattern| ["--exclude", pattern]);
                self.unpack(archive, &std::iter::once("unpack").chain(excludes).collect::<Vec<_>>())?
            }
        };
        Ok(Filled { unpacked: Some(unpacked), notes: Vec::new() })
    }

    /// Makes an unpacked root file system this container's.
    fn settle_inside(&self) -> Result<()> {
        self.name_inside()?;
        if self.has_one_id() { self.keep_apt_root() } else { Ok(()) }
    }

    fn has_one_id(&self) -> bool {
        idmap::is_own_id_only(self.idmap, &self.facts.caller)
    }

    /// Tells whether the caller's own id is one of the container's.
    fn has_own_id(&self) -> bool {
        self.idmap.ns_uid(self.facts.caller.uid).is_some()
    }

    /// Tells apt to fetch and read packages as root. It checks that its change of user took effect, which it never does
    /// where there is one id.
    fn keep_apt_root(&self) -> Result<()> {
        const DIRECTORY: &str = "etc/apt/apt.conf.d";
        const LINE: &str = "APT::Sandbox::User \"root\";\n";
        self.inside(|| {
            let has_apt = std::fs::symlink_metadata(DIRECTORY).is_ok_and(|found| found.is_dir());
            if has_apt { write_files(&[("etc/apt/apt.conf.d/90bryo-one-id", LINE)]) } else { Ok(()) }
        })
        .doing("configuring apt for one id")
    }

    /// Writes the container's name into the /etc/hostname that it came with: a systemd takes the name from there, whatever
    /// `lxc.uts.name` says. An image without the file, or with a link in its place, is left as it is. In /etc/hosts images have a
    /// word in its place.
    fn name_inside(&self) -> Result<()> {
        let (name, words) = (format!("{}\n", self.place.name), self.placeholders());
        self.inside(|| {
            use std::io::ErrorKind as E;
            local::fill("etc/hosts", &words)?;
            match std::fs::symlink_metadata("etc/hostname") {
                Ok(found) if found.is_file() => write_files(&[("etc/hostname", &name)]),
                Ok(_) => Ok(()),
                Err(e) if [E::NotFound, E::NotADirectory].contains(&e.kind()) => Ok(()),
                Err(e) => Err(from_io(e)).doing("looking for /etc/hostname"),
            }
        })
        .doing("naming the container")
    }

    /// Returns a namespace with the container's map.
    fn namespace(&self) -> Result<MappedNamespace> {
        MappedNamespace::new(self.idmap, &self.facts.id_writer, &self.facts.caller)
    }

    /// Runs `work` as container root with the new root file system as `/`.
    fn inside(&self, work: impl FnOnce() -> Result<()>) -> Result<()> {
        self.namespace()?.inside(self.root)?.run(|| {
            sys::process::set_umask(0o022);
            work()
        })
    }
}

/// Makes directories with their modes, in the working root.
fn make_dirs(dirs: &[(&str, u32)]) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    for (dir, mode) in dirs {
        let made = std::fs::create_dir_all(dir);
        made.and_then(|()| std::fs::set_permissions(dir, std::fs::Permissions::from_mode(*mode)))
            .map_err(from_io)
            .doing_with(|| format!("making {dir}"))?;
    }
    Ok(())
}

/// Writes small files, in the working root, each in the place of what an image may have there: to write to a FIFO would wait for a reader,
/// and a link leads elsewhere.
fn write_files(files: &[(&str, &str)]) -> Result<()> {
    let write = |path: &Path, text: &str| {
        let dir = path.parent().filter(|dir| *dir != Path::new("")).unwrap_or(Path::new("."));
        let dir = path::open_dir(dir)?;
        path::replace_unsynced(dir.as_fd(), path.file_name().unwrap_or_default(), 0o666, text.as_bytes())
    };
    files
        .iter()
        .try_for_each(|(path, text)| write(Path::new(path), text).doing_with(|| format!("writing {path}")))
}
