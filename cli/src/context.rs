//! What every command needs: where the containers are, and the host's facts once they are asked for.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use config::Loaded;
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
    facts: OnceCell<HostFacts>,
    findings: OnceCell<Vec<Finding>>,
}

/// Returns the caller's home directory: HOME, else what the system knows.
fn home() -> PathBuf {
    directories::BaseDirs::new().map_or_else(|| PathBuf::from("/"), |dirs| dirs.home_dir().to_owned())
}

impl Context {
    /// Reads where the containers are; `lxcpath` overrides it.
    pub(crate) fn new(lxcpath: Option<&Path>) -> Result<Self> {
        let system = SystemConfig::load(&home(), sys::cred::real_uid().0 == 0)
            .map_err(|e| Error::new(Kind::Config, e.to_string()).doing("reading lxc.conf"))?;
        let lxcpath = lxcpath.map_or(system.lxcpath, Path::to_owned);
        let lxcpath = std::path::absolute(&lxcpath)
            .map_err(|e| Error::new(Kind::Usage, e.to_string()).doing(lxcpath.display().to_string()))?;
        Ok(Self {
            lxcpath,
            default_config: system.default_config,
            facts: OnceCell::new(),
            findings: OnceCell::new(),
        })
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
        self.settle(&place, PATIENCE)?;
        Ok(place)
    }

    fn settle(&self, place: &Place, patience: Duration) -> Result<()> {
        if place.state_dir()?.is_none() {
            place.remove_empty_dir();
        } else if !has_monitor(place, patience)? {
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
        if !place.is_defined() {
            let cause = format!("there is no container {} in {}", place.name, place.lxcpath.display());
            return Err(Error::new(Kind::NotDefined, cause));
        }
        refuse_foreign(&place.config())?;
        load(&place.config())
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
    config::load(path).map_err(|problems| Error::new(Kind::Config, problems.to_string()))
}
