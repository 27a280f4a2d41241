//! The AppArmor profile of a container's programs: one that the administrator has loaded.
//!
//! Loading one needs root; running under one that is loaded does not. The kernel tells nobody but root which are, so who wants
//! one tries it.

use std::os::fd::{AsFd, BorrowedFd};

use config::Config;
use serde::{Deserialize, Serialize};
use sys::{Errno, apparmor};

use crate::error::{Doing, Error, Kind, Result};

/// What AppArmor is for whoever starts a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AppArmor {
    /// This host does without.
    #[default]
    Absent,
    /// It does not confine him.
    Free,
    /// He is under a profile that refuses something.
    Confined,
}

/// A profile that programs of the container run under.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// Its name.
    name: String,
    /// Without it the container does not start.
    is_required: bool,
}

/// The profile that Bryo ships, for who does not name one.
const SHIPPED: &str = "bryo-container";

impl AppArmor {
    /// Asks the kernel.
    pub(crate) fn ask() -> Self {
        if apparmor::is_enabled() { Self::of(crate::host::label().as_deref()) } else { Self::Absent }
    }

    /// Reads a label, such as `bryo (unconfined)`.
    fn of(label: Option<&str>) -> Self {
        match label {
            None | Some("unconfined") => Self::Free,
            Some(label) if label.ends_with("(unconfined)") => Self::Free,
            Some(_) => Self::Confined,
        }
    }
}

impl Profile {
    /// Decides which one. `unconfined` is what who is not confined has anyway: named, it would take from the container what a
    /// profile such as `bryo` allows to who starts it.
    pub(super) fn decide(config: &Config, apparmor: AppArmor) -> Option<Self> {
        let wanted = config.apparmor_profile.as_deref()?;
        let (name, is_required) = match (wanted, apparmor) {
            (_, AppArmor::Absent) | ("unchanged", _) | ("unconfined", AppArmor::Free) => return None,
            ("unconfined", AppArmor::Confined) => (wanted, false),
            ("generated", _) => (SHIPPED, false),
            _ => (wanted, !is_lxcs_own(wanted)),
        };
        Some(Self { name: name.to_owned(), is_required })
    }

    /// Has the next program run under it. `proc` is the host's procfs, since nothing of the container's is asked.
    pub(super) fn put_on(&self, proc: BorrowedFd<'_>) -> Result<()> {
        let put_on =
            apparmor::open_on_exec(proc).and_then(|file| apparmor::set_on_exec(file.as_fd(), &self.name));
        match put_on {
            Err(e) if !self.is_required => {
                log::info!("no AppArmor profile {}: {e}", self.name);
                Ok(())
            }
            Err(e) if e.errno() == Errno::ENOENT => Err(Error::new(
                Kind::Config,
                format!(
                    "lxc.apparmor.profile: no profile {} is loaded; have root load it (apparmor_parser --replace FILE), or \
                     write unchanged",
                    self.name
                ),
            )),
            done => done
                .map_err(|e| {
                    let why = why_not(e.errno());
                    Error::from(e).because(why)
                })
                .doing_with(|| format!("lxc.apparmor.profile = {}", self.name)),
        }
    }
}

/// Says what is behind a refusal, and what to do about it. Source: the kernel's security/apparmor/domain.c, `aa_change_profile`.
fn why_not(errno: Errno) -> &'static str {
    match errno {
        Errno::EPERM => {
            "; under no_new_privs nobody leaves a profile that confines him: write unchanged, or do without lxc.no_new_privs"
        }
        Errno::EACCES => {
            "; the profile of who starts the container allows no change to this one: write unchanged, or have root add a \
             change_profile rule"
        }
        _ => "",
    }
}

/// Tells whether a profile is one that LXC makes or installs.
pub(crate) fn is_lxcs_own(profile: &str) -> bool {
    profile == "generated" || profile.starts_with("lxc-container-default")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_profile_is_required_and_one_of_lxcs_is_tried() {
        use AppArmor::{Absent, Confined, Free};
        for (wanted, apparmor, decided) in [
            (Some("my-own"), Free, Some(("my-own", true))),
            (Some("my-own"), Confined, Some(("my-own", true))),
            (Some("my-own"), Absent, None),
            (Some("generated"), Free, Some((SHIPPED, false))),
            (Some("lxc-container-default-cgns"), Free, Some(("lxc-container-default-cgns", false))),
            (Some("unconfined"), Free, None),
            (Some("unconfined"), Confined, Some(("unconfined", false))),
            (Some("unchanged"), Confined, None),
            (None, Free, None),
        ] {
            let mut config = Config::default();
            if let Some(wanted) = wanted {
                config.set("lxc.apparmor.profile", wanted).unwrap();
            }
            let found = Profile::decide(&config, apparmor);
            let found = found.as_ref().map(|profile| (profile.name.as_str(), profile.is_required));
            assert_eq!(found, decided, "{wanted:?} where AppArmor is {apparmor:?}");
        }
    }

    #[test]
    fn a_profile_that_confines_nothing_is_none() {
        for (label, found) in [
            (None, AppArmor::Free),
            (Some("unconfined"), AppArmor::Free),
            (Some("bryo (unconfined)"), AppArmor::Free),
            (Some("docker-default (enforce)"), AppArmor::Confined),
            (Some("mine (complain)"), AppArmor::Confined),
        ] {
            assert_eq!(AppArmor::of(label), found, "{label:?}");
        }
    }
}
