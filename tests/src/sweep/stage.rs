//! Where the sweeps play: one user, one container `web`, and the ways to bring it into any state quickly.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::{MetadataExt, lchown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::Verb;
use crate::command::wait_until;
use crate::{Background, Lab, Output, Process, User, cgroups, image_server, leaks, processes};

/// The container.
pub(crate) const WEB: &str = "web";

/// What it is created from, in the user's home: small, so that unpacking it makes few system calls, but of every kind.
pub(crate) const ARCHIVE: &str = "small.tar.zst";
/// The same as an image of the store.
pub(crate) const IMAGE: &str = "small/1";
/// Where images are, in the user's home.
const IMAGES: &str = ".local/share/bryo/images";
const MAKE_ARCHIVE: &str = include_str!("archive.sh");

/// By how many ids the files of a container lie elsewhere that is remapped.
const SHIFT: u32 = 1000;

/// How long the kernel may take to let go of what has ended.
pub(crate) const SETTLE: Duration = Duration::from_secs(5);

/// The stage of a sweep.
#[derive(Debug)]
pub(crate) struct Stage<'lab> {
    lab: &'lab Lab,
    /// The user.
    pub(crate) ana: User<'lab>,
    reference: PathBuf,
    whole: Manifest,
    before: BTreeSet<String>,
    /// Another user's image server.
    _server: Mutex<Option<Background>>,
}

/// Every file of a container: kind, mode, owner, size, and contents or target.
pub(crate) type Manifest = BTreeMap<PathBuf, String>;

impl<'lab> Stage<'lab> {
    /// Creates the container once, keeps a copy of it as the verb finds it, and leaves nothing in the user's lxcpath.
    pub(crate) fn set(lab: &'lab Lab, verb: Verb) -> Result<Self> {
        let ana = lab.user("ana");
        let home = ana.home();
        shell(MAKE_ARCHIVE, &[&home.join(ARCHIVE)])?;
        let made_by = if verb == Verb::Image { Verb::Image } else { Verb::Create };
        if verb == Verb::Image {
            import(ana);
        }
        ana.bryo(made_by.words()).succeeds();
        let server = (verb == Verb::Pull).then(|| serve(lab, ana)).transpose()?;
        let mut stage = Self {
            lab,
            ana,
            reference: home.join("reference"),
            whole: Manifest::new(),
            before: BTreeSet::new(),
            _server: Mutex::new(server),
        };
        copy(&stage.web(), &stage.reference)?;
        if verb == Verb::Net {
            stage.put_on_the_bridge()?;
        }
        stage.whole = manifest(&stage.reference)?;
        if verb == Verb::Remap {
            stage.shift_reference()?;
            stage.remap_undisturbed()?;
        }
        ana.bryo(Verb::Destroy.words()).succeeds();
        stage.look();
        Ok(stage)
    }

    /// Gives the copy a device on the lab's bridge.
    fn put_on_the_bridge(&self) -> Result<()> {
        self.lab.grant(&format!("{} veth lxcbr0 9\n", self.ana.account().login));
        let config = self.reference.join("config");
        let lines = "lxc.net.0.type = veth\nlxc.net.0.link = lxcbr0\nlxc.net.0.flags = up\n";
        Ok(fs::write(&config, fs::read_to_string(&config)? + lines)?)
    }

    /// Gives the copy to other ids of its user, as if those had been granted when it was made.
    fn shift_reference(&self) -> Result<()> {
        let first = [&self.ana.account().subuids, &self.ana.account().subgids].map(|range| range.start);
        let [uids, gids] = first;
        let mut seen = BTreeSet::new();
        for path in manifest(&self.reference)?.keys() {
            let path = self.reference.join(path);
            let found = fs::symlink_metadata(&path)?;
            if !seen.insert(found.ino()) {
                continue;
            }
            let moved = |id: u32, first: u32| (id >= first).then_some(id + SHIFT);
            lchown(&path, moved(found.uid(), uids), moved(found.gid(), gids))?;
            // A change of owner takes the setuid bit away.
            if !found.is_symlink() {
                fs::set_permissions(&path, found.permissions())?;
            }
        }
        let config = self.reference.join("config");
        let mut text = fs::read_to_string(&config)?;
        for (letter, range) in [("u", &self.ana.account().subuids), ("g", &self.ana.account().subgids)] {
            let line = |first: u32, count: u32| format!("lxc.idmap = {letter} 0 {first} {count}\n");
            let (count, today) = (range.end - range.start, line(range.start, range.end - range.start));
            ensure!(text.contains(&today), "{} has no line {today}", config.display());
            text = text.replace(&today, &line(range.start + SHIFT, count - SHIFT));
        }
        Ok(fs::write(config, text)?)
    }

    /// Takes the configuration that a remap writes for the whole one; every other file must be as it was made.
    fn remap_undisturbed(&mut self) -> Result<()> {
        self.place()?;
        self.ana.bryo(Verb::Remap.words()).succeeds();
        let config = Path::new("config");
        let written = manifest(&self.web())?.remove(config).context("a remap keeps the configuration")?;
        self.whole.insert(config.to_owned(), written);
        self.damage().map_or(Ok(()), |damage| bail!("{damage}"))
    }

    /// Removes all images.
    pub(crate) fn forget_images(&self) -> Result<()> {
        let store = self.store();
        names(&store).into_iter().try_for_each(|name| remove(&store.join(name)))
    }

    /// Makes the directory of the store, as the user.
    pub(crate) fn make_store(&self) {
        self.ana.sh(&format!("mkdir -p {IMAGES}")).succeeds();
    }

    /// Puts the image of [`Verb::Image`] into the store.
    pub(crate) fn bring_image(&self) {
        import(self.ana);
    }

    /// Returns the store, as the lab sees it.
    fn store(&self) -> PathBuf {
        self.lab.outside(&self.ana.home().join(IMAGES))
    }

    /// Returns what is in the directories of the store.
    pub(crate) fn in_store(&self) -> Vec<String> {
        let dirs = ["blobs", "bases", "names", "partial"].map(|dir| self.store().join(dir));
        dirs.iter().flat_map(|dir| names(dir)).collect()
    }

    /// Returns what somebody has begun in the store and not ended.
    pub(crate) fn half_made_in_store(&self) -> Vec<String> {
        let store = self.store();
        let bases = names(&store.join("bases")).into_iter().map(|name| store.join("bases").join(name));
        let half = bases.filter(|base| base.join("half").exists()).map(|base| base.display().to_string());
        let aside = ["names", "blobs"].into_iter().flat_map(|dir| names(&store.join(dir)));
        names(&store.join("partial"))
            .into_iter()
            .chain(half)
            .chain(aside.filter(|name| name.starts_with('.')))
            .collect()
    }

    /// Requires that exactly these images are there, and whole.
    pub(crate) fn require_images(&self, wanted: &[&str]) -> Result<(), String> {
        let listed = self.bryo(&["image", "ls"]);
        let all_there = wanted.iter().all(|name| listed.stdout.contains(name));
        if listed.status() != 0 || listed.stdout.lines().count() != wanted.len() || !all_there {
            return Err(format!("the images are not {wanted:?}: {} {}", listed.stdout, listed.stderr));
        }
        let verified = self.bryo(&["image", "verify"]);
        if verified.status() == 0 {
            Ok(())
        } else {
            Err(format!("an old image is not whole: {}", verified.stderr))
        }
    }

    /// Remembers what there is now: nothing else may be there later.
    pub(crate) fn look(&mut self) {
        self.before = self.traces();
    }

    /// Puts a container there, stopped and whole.
    pub(crate) fn place(&self) -> Result<()> {
        copy(&self.reference, &self.web())
    }

    /// Puts it there unless it is whole.
    pub(crate) fn make_whole(&self) -> Result<()> {
        if self.damage().is_some() { self.place() } else { Ok(()) }
    }

    /// Waits until init has come to its loop, where it hears signals.
    pub(crate) fn init_listens(&self) -> bool {
        wait_until(SETTLE, || self.ana.processes().iter().any(|process| process.command == "sleep 1000"))
    }

    /// Returns the directory of the container, as the lab sees it.
    pub(crate) fn web(&self) -> PathBuf {
        self.lxcpath().join(WEB)
    }

    fn lxcpath(&self) -> PathBuf {
        let inside = self.ana.lxcpath();
        let root = PathBuf::from(format!("/proc/{}/root", self.lab.holder()));
        root.join(inside.strip_prefix("/").unwrap_or(&inside))
    }

    /// Runs a shell command line as root in the lab; `$1` is a directory.
    fn as_root_at(&self, script: &str, place: &Path) -> Result<String> {
        let holder = self.lab.holder().to_string();
        let output = Command::new("nsenter")
            .args(["--mount", "--target", &holder, "--", "sh", "-euc", script, "sweep"])
            .arg(place)
            .process_group(0)
            .output()?;
        ensure!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// The same with the directory of which the verb needs room: that of the containers, or the store.
    pub(crate) fn on_disk(&self, verb: Verb, script: &str) -> Result<String> {
        let of_store = [Verb::Image, Verb::Pull].contains(&verb);
        let place = if of_store { self.ana.home().join(IMAGES) } else { self.ana.lxcpath() };
        self.as_root_at(script, &place)
    }

    /// Says what is missing or wrong in the container's files, Bryo's own directory aside; none when it is whole.
    pub(crate) fn damage(&self) -> Option<String> {
        let found = manifest(&self.web()).unwrap_or_default();
        let differs = |path: &&PathBuf| found.get(*path) != self.whole.get(*path);
        let wrong = self.whole.keys().chain(found.keys()).find(differs)?;
        Some(format!(
            "{} is {} and should be {}",
            wrong.display(),
            found.get(wrong).map_or("not there", String::as_str),
            self.whole.get(wrong).map_or("not there", String::as_str)
        ))
    }

    /// Tells whether the container's files say that there is one: a configuration, and nothing that takes it back.
    pub(crate) fn looks_whole(&self) -> bool {
        self.web().join("config").exists() && !self.web().join("partial").exists()
    }

    /// Tells whether the files are being given to other ids: the root file system then has another name.
    pub(crate) fn is_half_shifted(&self) -> bool {
        self.web().join("rootfs.remap").exists()
    }

    /// Returns the monitor of the container: the first of its name, since the others are its forks.
    pub(crate) fn monitor(&self) -> Option<Process> {
        self.ana.monitors().into_iter().min_by_key(|process| process.pid)
    }

    /// Requires that nothing is left of the container but, when it is `kept`, its whole files.
    pub(crate) fn require_clean(&self, kept: bool) -> Result<(), String> {
        let mut left = Vec::new();
        let clean = wait_until(SETTLE, || {
            left = self.traces().difference(&self.before).cloned().collect();
            left.is_empty()
        });
        if !clean {
            return Err(format!("left behind: {}", left.join(", ")));
        }
        let expected = if kept { vec!["config".to_owned(), "rootfs".to_owned()] } else { Vec::new() };
        let found = names(&self.web());
        if found != expected {
            return Err(format!("the container's directory holds {found:?}, not {expected:?}"));
        }
        if !kept && self.web().exists() {
            return Err("the container's directory is empty, and there".to_owned());
        }
        let others: Vec<_> = names(&self.lxcpath()).into_iter().filter(|name| name != WEB).collect();
        if others.is_empty() { Ok(()) } else { Err(format!("left behind in the lxcpath: {others:?}")) }
    }

    /// Removes everything of the container by force: what a failed point left must not fail the next one.
    pub(crate) fn clear(&self) -> Result<()> {
        let mine = self.ana.cgroups();
        processes::end_all(&[self.ana.account()])?;
        for cgroup in mine.iter().flat_map(|directory| cgroups::below(directory)).rev() {
            let _gone_already = fs::remove_dir(cgroup);
        }
        for name in names(&self.lxcpath()) {
            remove(&self.lxcpath().join(name))?;
        }
        leaks::remove_stray_files(self.ana.account());
        Ok(())
    }

    /// Everything that a command of the user could leave outside its home.
    fn traces(&self) -> BTreeSet<String> {
        leaks::traces_of(self.lab, self.ana)
    }

    /// Runs `bryo WORDS` with a short patience.
    pub(crate) fn bryo(&self, words: &[&str]) -> Output {
        self.ana.bryo(words).seconds(30).output()
    }
}

/// Takes the small root file system into the store.
fn import(ana: User<'_>) {
    ana.bryo(["image", "import", ARCHIVE, IMAGE]).succeeds();
}

/// Has another user serve an image, who goes on when all processes of the user's are ended.
fn serve(lab: &Lab, ana: User<'_>) -> Result<Background> {
    let server = image_server::start(lab.user("ben"));
    image_server::choose(ana);
    let answers = || ana.bryo(["image", "ls", "--remote"]).output().status() == 0;
    ensure!(wait_until(Duration::from_secs(60), answers), "the image server does not answer");
    Ok(server)
}

/// Lists a directory; one that is not there is empty.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn shell(script: &str, arguments: &[&Path]) -> Result<()> {
    let mut command = Command::new("sh");
    command.args(["-euc", script, "sweep"]).args(arguments).process_group(0);
    let output = command.output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

/// Copies a directory with owners and modes, in place of what is there.
fn copy(from: &Path, to: &Path) -> Result<()> {
    remove(to)?;
    shell(r#"cp -a "$1" "$2""#, &[from, to]).with_context(|| format!("copying {}", from.display()))
}

fn remove(path: &Path) -> Result<()> {
    match fs::symlink_metadata(path) {
        Err(_) => return Ok(()),
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
    }
    .with_context(|| format!("removing {}", path.display()))
}

/// Describes every file below a directory but Bryo's own.
fn manifest(directory: &Path) -> Result<Manifest> {
    let mut found = Manifest::new();
    let mut left = vec![directory.to_owned()];
    while let Some(path) = left.pop() {
        let status = fs::symlink_metadata(&path)?;
        let mut contents = String::new();
        if status.is_dir() {
            left.extend(fs::read_dir(&path)?.flatten().map(|entry| entry.path()));
        } else if status.is_symlink() {
            contents = fs::read_link(&path)?.display().to_string();
        } else if status.is_file() {
            let mut hasher = DefaultHasher::new();
            fs::read(&path)?.hash(&mut hasher);
            contents = format!("{} bytes {:x}", status.len(), hasher.finish());
        }
        let line = format!("{:o} {}:{} {contents}", status.mode(), status.uid(), status.gid());
        found.insert(path.strip_prefix(directory)?.to_owned(), line);
    }
    found.retain(|path, _| !path.starts_with(".bryo"));
    Ok(found)
}
