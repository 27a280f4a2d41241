//! What every command needs: where the containers are, and the host's facts once they are asked for.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use config::Loaded;
use config::beside::Beside;
use config::settings::{self, Found, Settings};
use config::system::SystemConfig;
use container::command::Client;
use container::doctor::{self, Finding};
use container::host::{HostFacts, Survey};
use container::list::PATIENCE;
use container::place::Place;
use container::{Error, Kind, Result, create, monitor};
use types::ContainerName;

/// The surroundings of one command.
pub(crate) struct Context {
    /// The directory of the containers.
    pub(crate) lxcpath: PathBuf,
    /// What new containers' configurations begin with.
    pub(crate) default_config: PathBuf,
    /// Where the caller's home directory is.
    home: PathBuf,
    system: SystemConfig,
    found: Found,
    facts: OnceCell<HostFacts>,
    findings: OnceCell<Vec<Finding>>,
}

/// Returns the caller's home directory: HOME, else what the system knows.
fn home() -> PathBuf {
    directories::BaseDirs::new().map_or_else(|| PathBuf::from("/"), |dirs| dirs.home_dir().to_owned())
}

/// Returns the item of `lxc.conf` that says the same as a setting.
fn lxc_conf_item(setting: &str) -> Option<&'static str> {
    match setting {
        "lxcpath" => Some("lxc.lxcpath"),
        "default_config" => Some("lxc.default_config"),
        _ => None,
    }
}

/// Returns the files of Bryo's own settings, the one that counts most first. Root's are the system's alone: the home directory
/// of who became root may be another user's.
fn settings_files(is_root: bool) -> Vec<PathBuf> {
    let user = directories::BaseDirs::new().map(|dirs| dirs.config_dir().join("bryo/config.toml"));
    user.into_iter().filter(|_| !is_root).chain([PathBuf::from(settings::SYSTEM)]).collect()
}

/// Tells whether the caller is root of a system. Who is root of a user namespace in which the root directory is nobody's (`unshare -Ur`)
/// has the files of the user that he is outside.
///
/// LXC: has those of root then, which he cannot write.
pub(crate) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let slash = std::fs::metadata("/").map(|found| found.uid()).ok();
    let nobody = read("/proc/sys/kernel/overflowuid").trim().parse().unwrap_or(65_534);
    is_root_of_system(sys::cred::real_uid().0, slash, nobody, &read("/proc/self/uid_map"))
}

fn is_root_of_system(uid: u32, slash: Option<u32>, nobody: u32, uid_map: &str) -> bool {
    uid == 0 && (slash != Some(nobody) || is_whole(uid_map))
}

/// Tells whether a map of ids is that of a system: there the root directory may belong to the user that has the number of nobody.
fn is_whole(uid_map: &str) -> bool {
    uid_map.split_whitespace().eq(["0", "0", "4294967295"])
}

impl Context {
    /// Reads Bryo's own settings and where the containers are; `lxcpath` overrides it.
    pub(crate) fn new(lxcpath: Option<&Path>) -> Result<Self> {
        let (home, is_root) = (home(), is_root());
        let system = SystemConfig::load(&home, is_root)
            .map_err(|e| Error::new(Kind::Config, e.to_string()).doing("reading lxc.conf"))?;
        let found = Found::load(&settings_files(is_root), &home)
            .map_err(|problem| Error::new(Kind::Config, problem.to_string()).doing("reading the settings"))?;
        let mut context = Self {
            lxcpath: PathBuf::new(),
            default_config: PathBuf::new(),
            home,
            system,
            found,
            facts: OnceCell::new(),
            findings: OnceCell::new(),
        };
        let chosen = lxcpath.map_or_else(|| context.path("lxcpath"), Path::to_owned);
        context.lxcpath = std::path::absolute(&chosen)
            .map_err(|e| Error::new(Kind::Usage, e.to_string()).doing(chosen.display().to_string()))?;
        context.default_config = context.path("default_config");
        Ok(context)
    }

    /// Returns Bryo's own settings.
    pub(crate) fn settings(&self) -> &Settings {
        &self.found.settings
    }

    /// Returns what a setting comes to, in words, and the file that says so.
    pub(crate) fn told(&self, setting: &settings::Setting) -> (Option<String>, Option<PathBuf>) {
        match lxc_conf_item(setting.name) {
            Some(item) => {
                let path = if setting.name == "lxcpath" { &self.lxcpath } else { &self.default_config };
                let by_lxc = || SystemConfig::path(&self.home, is_root());
                let file = match self.counts(setting.name) {
                    Some(file) => Some(file.to_owned()),
                    None => self.system.is_given(item).then(by_lxc),
                };
                (Some(path.display().to_string()), file)
            }
            None => ((setting.show)(self.settings()), self.found.source(setting).map(Path::to_owned)),
        }
    }

    /// Returns the file of settings whose word on a path counts: the user's counts more than `lxc.conf`, which counts more
    /// than the system's.
    fn counts(&self, name: &str) -> Option<&Path> {
        let setting = settings::SETTINGS.iter().find(|setting| setting.name == name)?;
        let given = lxc_conf_item(name).is_some_and(|item| self.system.is_given(item));
        self.found.source(setting).filter(|file| *file != Path::new(settings::SYSTEM) || !given)
    }

    fn path(&self, name: &str) -> PathBuf {
        let (own, lxcs) = match name {
            "lxcpath" => (&self.settings().lxcpath, &self.system.lxcpath),
            _ => (&self.settings().default_config, &self.system.default_config),
        };
        own.clone().filter(|_| self.counts(name).is_some()).unwrap_or_else(|| lxcs.clone())
    }

    /// Returns the value of an item of `lxc.conf` as it holds here.
    pub(crate) fn system_value(&self, item: &str) -> Option<String> {
        match item {
            "lxc.lxcpath" => Some(self.lxcpath.display().to_string()),
            "lxc.default_config" => Some(self.default_config.display().to_string()),
            item => self.system.get(item),
        }
    }

    /// Returns the host's facts, gathered when first asked for.
    pub(crate) fn facts(&self) -> Result<&HostFacts> {
        if let Some(facts) = self.facts.get() {
            return Ok(facts);
        }
        let gathered = HostFacts::gather()?;
        Ok(self.facts.get_or_init(|| gathered))
    }

    /// Surveys the host for `bryo doctor`.
    pub(crate) fn survey(&self) -> Result<Survey> {
        Survey::gather(&self.lxcpath, &self.default_config)
    }

    /// Returns what is wrong with the host, the worst first; looked for when first asked for. Nothing where the host
    /// cannot be surveyed: who asks has a failure of its own to tell.
    pub(crate) fn findings(&self) -> &[Finding] {
        let look = || self.survey().map(|survey| doctor::findings(&survey));
        self.findings.get_or_init(|| look().inspect_err(|e| log::info!("{e}")).unwrap_or_default())
    }

    /// Returns the place of a container, without looking at it.
    pub(crate) fn place(&self, name: &ContainerName) -> Place {
        Place { lxcpath: self.lxcpath.clone(), name: name.clone() }
    }

    /// Returns the place of a container after removing what a killed command or monitor has left there.
    ///
    /// # Errors
    /// [`Kind::Busy`] while the container is being created.
    pub(crate) fn settled(&self, name: &ContainerName) -> Result<Place> {
        let place = self.place(name);
        place.remove_remnants();
        self.settle(&place, PATIENCE)?;
        Ok(place)
    }

    fn settle(&self, place: &Place, patience: Duration) -> Result<()> {
        if place.state_dir()?.is_some() && !has_monitor(place, patience)? {
            let facts = self.facts()?;
            monitor::recover(place, &facts.id_writer, &facts.caller)?;
        }
        if create::is_half_made(place) {
            create::remove_half_made(place, self.facts()?)?;
        }
        Ok(())
    }

    /// Removes what killed commands and monitors have left of any container. What cannot be removed is for the
    /// command that names the container to complain about; and nobody is waited for who still works on one.
    pub(crate) fn settle_all(&self) {
        let Ok(entries) = std::fs::read_dir(&self.lxcpath) else { return };
        container::place::remove_all_remnants(&self.lxcpath);
        let names = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let places = names.map(|name| self.place(&name)).filter(|place| !create::goes_on(place));
        let deadline = Instant::now() + PATIENCE;
        for place in places {
            match self.settle(&place, deadline.saturating_duration_since(Instant::now())) {
                Err(e) if e.kind() != Kind::Busy => log::warn!("{e}"),
                _ => {}
            }
        }
    }

    /// Reads a container's configuration.
    ///
    /// It may name hooks, which run as the caller. So it must be the caller's own or root's: a directory of containers may be
    /// one that others can write to, and LXC makes its own so for the caller's group.
    ///
    /// # Errors
    /// [`Kind::Config`] when it is another user's.
    pub(crate) fn config(&self, place: &Place) -> Result<Loaded> {
        self.require_own_config(place)?;
        load(&place.config())
    }

    /// Reads what a container has of Bryo alone.
    ///
    /// # Errors
    /// [`Kind::Config`] when it is another user's, or wrong.
    pub(crate) fn beside(&self, place: &Place) -> Result<Beside> {
        self.require_own_beside(place)?;
        Beside::load(&place.beside()).map_err(|problem| Error::new(Kind::Config, problem.to_string()))
    }

    /// Makes sure that what stands beside a configuration is not another user's.
    pub(crate) fn require_own_beside(&self, place: &Place) -> Result<()> {
        refuse_foreign(&place.beside())
    }

    /// Makes sure that a container has a configuration which is not another user's.
    ///
    /// # Errors
    /// As [`config`](Self::config), but for what the file says.
    pub(crate) fn require_own_config(&self, place: &Place) -> Result<()> {
        if !place.is_defined() {
            let cause = format!("there is no container {} in {}", place.name, place.lxcpath.display());
            return Err(Error::new(Kind::NotDefined, cause));
        }
        refuse_foreign(&place.config())
    }
}

fn refuse_foreign(path: &Path) -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    let caller = sys::cred::real_uid().0;
    // What cannot be looked at is for the one who reads it to say.
    let owner = std::fs::metadata(path).map_or(caller, |found| found.uid());
    if owner == caller || owner == 0 {
        return Ok(());
    }
    let cause =
        format!("{} belongs to user {owner}, who could have anything run as user {caller}", path.display());
    Err(Error::new(Kind::Config, cause))
}

/// Tells whether a monitor lives. One that was killed just now still takes a connection, and ends it; one that says
/// nothing for so long lives.
fn has_monitor(place: &Place, patience: Duration) -> Result<bool> {
    match Client::connect_at_once(place) {
        Ok(client) => Ok(client.is_some_and(|client| client.status_within(patience).is_ok())),
        Err(e) if e.errno() == Some(sys::Errno::EAGAIN) => Ok(true),
        Err(e) => Err(e),
    }
}

/// Reads a configuration file, with all its problems as one error.
pub(crate) fn load(path: &Path) -> Result<Loaded> {
    config::load(path).map_err(wrong)
}

/// Makes one error of all problems of a configuration.
pub(crate) fn wrong(problems: config::Problems) -> Error {
    Error::new(Kind::Config, problems.to_string())
}

/// Turns a failure of the standard library into the library's error.
pub(crate) fn from_io(error: std::io::Error) -> Error {
    Error::new(Kind::Kernel(error.raw_os_error().unwrap_or(0)), error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = "         0          0 4294967295\n";

    #[test]
    fn root_is_root_of_a_system_whoever_has_its_root_directory_but_nobody_of_a_user_namespace() {
        let is_root = |uid, slash, map| is_root_of_system(uid, slash, 65_534, map);
        for slash in [Some(0), Some(1000), Some(65_534), None] {
            assert!(is_root(0, slash, WHOLE) && !is_root(1000, slash, WHOLE), "{slash:?}");
        }
        assert!(is_root(0, Some(0), "0 1000 1\n") && !is_root(0, Some(65_534), "0 1000 1\n"));
    }

    #[test]
    fn a_map_of_all_ids_alone_is_that_of_a_system() {
        assert!(is_whole(WHOLE));
        for map in ["", "0 1000 1\n", "0 0 1\n", "0 0 65536\n65536 65536 4294901759\n", "1 1 4294967295\n"] {
            assert!(!is_whole(map), "{map}");
        }
    }
}
