//! What the kernel will not do for a container, decided here and put in force by [`crate::init`] and [`crate::attach`].
//!
//! A user namespace is a wall with many doors: every system call is one, and most of what broke out of containers went
//! through a door that no container needs. The [filter](seccomp) closes those, and the [capabilities](capabilities) that
//! mean nothing in a user namespace go too.

use std::os::fd::{BorrowedFd, OwnedFd};

use config::Config;
use serde::{Deserialize, Serialize};
use sys::{cap, path, process, rlimit};

pub use profile::AppArmor;
pub use seccomp::Filter;

use crate::error::{Doing, Result};
use profile::Profile;

mod abi;
mod assemble;
pub mod capabilities;
mod compile;
#[cfg(test)]
mod interpret;
pub(crate) mod profile;
pub mod seccomp;

/// What a container's programs cannot do, whoever starts them: its init, or a command that attaches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// Capabilities that stay, a bit each.
    pub capabilities: u64,
    /// `lxc.no_new_privs`.
    pub no_new_privs: bool,
    /// Resource limits: the kernel's number, soft, hard.
    pub rlimits: Vec<(u32, u64, u64)>,
    /// The system call filter.
    pub filter: Filter,
    /// The AppArmor profile, where one is wanted and can be.
    pub profile: Option<Profile>,
}

/// What the decision depends on beside the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Circumstances {
    /// The container has one id alone.
    pub one_id: bool,
    /// The container shares the PID namespace outside.
    pub shares_pids: bool,
    /// The kernel hands core dumps to a program of the host.
    pub cores_are_piped: bool,
    /// What AppArmor is for the caller.
    pub apparmor: AppArmor,
}

impl Confinement {
    /// Decides it; what has no effect comes to `notes`.
    ///
    /// # Errors
    /// A profile of `lxc.seccomp.profile` that cannot be used.
    pub fn decide(config: &Config, circumstances: Circumstances, notes: &mut Vec<String>) -> Result<Self> {
        let is_32bit = config.arch.as_ref().is_some_and(|arch| arch.is_32bit());
        Ok(Self {
            capabilities: capabilities::kept(&config.capabilities),
            no_new_privs: config.no_new_privs,
            rlimits: rlimits(config, circumstances.cores_are_piped),
            filter: seccomp::decide(config, circumstances, is_32bit, notes)?,
            profile: Profile::decide(config, circumstances.apparmor),
        })
    }

    /// Sets the resource limits.
    pub(crate) fn limit_resources(&self) -> Result<()> {
        self.rlimits
            .iter()
            .try_for_each(|(resource, soft, hard)| rlimit::set(*resource, *soft, *hard))
            .doing("lxc.prlimit")
    }

    /// Takes away for good what needs root of the container to be taken: the bounding set needs CAP_SETPCAP, the filter
    /// CAP_SYS_ADMIN. `elevated` leaves all capabilities.
    pub(crate) fn close_doors(&self, elevated: bool) -> Result<()> {
        if !elevated {
            cap::limit_bounding_set(self.capabilities).doing("limiting the bounding set")?;
        }
        if self.no_new_privs && !elevated {
            process::set_no_new_privs()?;
        }
        if self.filter.one_id && !elevated {
            // From here on capset(2) does nothing. CAP_SYS_ADMIN is needed for one more call, and the bounding set sees to
            // it that exec does not give it back.
            cap::limit_own(self.capabilities | cap::SYS_ADMIN).doing("limiting capabilities")?;
        }
        self.filter.install()
    }

    /// Takes hold of the host's procfs, where a profile is to be put on: there a process finds itself whatever it has mounted.
    pub(crate) fn host_proc(&self) -> Result<Option<OwnedFd>> {
        Ok(self.profile.as_ref().map(|_| path::open_dir("/proc".as_ref())).transpose()?)
    }

    /// Has the program that is run next be under the profile. `elevated` leaves the caller's.
    pub(crate) fn put_on_profile(&self, host_proc: Option<BorrowedFd<'_>>, elevated: bool) -> Result<()> {
        match (&self.profile, host_proc) {
            (Some(profile), Some(proc)) if !elevated => profile.put_on(proc),
            _ => Ok(()),
        }
    }

    /// Limits the capabilities that the process itself has, where changing ids has not done so.
    pub(crate) fn limit_own_capabilities(&self) -> Result<()> {
        cap::limit_own(self.capabilities).doing("limiting capabilities")
    }
}

/// Returns the resource limits, with that of core dumps where the configuration says nothing: a core of the container is
/// of no use to the host, and a program of the host's that is handed one parses what the container made of it
/// (CVE-2025-4598). Zero does not keep the kernel from starting that program, one byte does. Source: core(5).
fn rlimits(config: &Config, cores_are_piped: bool) -> Vec<(u32, u64, u64)> {
    let bound = |limit: Option<u64>| limit.unwrap_or(rlimit::UNLIMITED);
    let one = |l: &config::Prlimit| l.resource().map(|number| (number, bound(l.soft), bound(l.hard)));
    let mut limits: Vec<_> = config.prlimits.iter().filter_map(one).collect();
    let core = rlimit::by_name("core").filter(|core| limits.iter().all(|(number, ..)| number != core));
    let most = u64::from(cores_are_piped);
    limits.extend(core.map(|core| (core, most, most)));
    limits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_kept_from_the_host_unless_the_configuration_says_otherwise() {
        let core = rlimit::by_name("core").unwrap();
        let mut config = Config::default();
        assert_eq!(rlimits(&config, false), [(core, 0, 0)]);
        assert_eq!(rlimits(&config, true), [(core, 1, 1)]);
        config.set("lxc.prlimit.core", "unlimited").unwrap();
        assert_eq!(rlimits(&config, true), [(core, rlimit::UNLIMITED, rlimit::UNLIMITED)]);
    }
}
