//! The files that LXC installs below `share/lxc/config`, in Bryo's own words.
//!
//! Configurations of distribution images include them by path. Where the host has LXC's, those are used; else these
//! take their place, so that the same configuration works without LXC.

use std::path::Path;

/// A shipped file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shipped {
    /// Its name, as in `share/lxc/config`.
    pub name: &'static str,
    /// What it is for.
    pub doc: &'static str,
    /// Its text.
    pub text: &'static str,
}

/// The shipped file of a name.
macro_rules! shipped {
    ($(#[doc = $doc:literal])+ $constant:ident, $name:literal) => {
        $(#[doc = $doc])+
        pub const $constant: Shipped = Shipped {
            name: $name,
            doc: concat!($($doc),+).trim_ascii_start(),
            text: include_str!(concat!("../share/", $name)),
        };
    };
}

shipped!(
    /// The start of new containers' configurations where the host has none.
    DEFAULT, "default.conf"
);
shipped!(
    /// What containers of all distributions have in common.
    COMMON, "common.conf"
);
shipped!(
    /// What containers in a user namespace have to change about it.
    USERNS, "userns.conf"
);
shipped!(
    /// What containers need to run containers themselves.
    NESTING, "nesting.conf"
);
shipped!(
    /// System calls that no container needs.
    SECCOMP, "common.seccomp"
);
shipped!(
    /// System calls that are kept from containers that name no profile of their own.
    BASELINE, "bryo.seccomp"
);
shipped!(
    /// System calls that are answered and not made in a container with one id.
    ONE_ID, "one-id.seccomp"
);
shipped!(
    /// System calls by which a container that shares the PID namespace outside could harm the processes
    /// there.
    SHARED_PIDS, "shared-pids.seccomp"
);

/// All shipped files.
pub const ALL: [Shipped; 8] = [DEFAULT, COMMON, USERNS, NESTING, SECCOMP, BASELINE, ONE_ID, SHARED_PIDS];

/// Files of a distribution, which stand for the plain ones.
const FOR_DISTRIBUTIONS: [(&str, Shipped); 2] = [(".common.conf", COMMON), (".userns.conf", USERNS)];

/// Returns the shipped file that takes the place of `path` when the host does not have it: one below any
/// `share/lxc/config`, by its name; `DISTRIBUTION.common.conf` and `DISTRIBUTION.userns.conf` become the plain ones.
///
/// Callers look at the host first. Profiles of `lxc.seccomp.profile` are found here as well.
pub fn instead_of(path: &Path) -> Option<Shipped> {
    if !path.parent()?.ends_with("share/lxc/config") {
        return None;
    }
    let name = path.file_name()?.to_str()?;
    let plain = ALL.into_iter().find(|file| file.name == name);
    plain.or_else(|| {
        let known = FOR_DISTRIBUTIONS.into_iter().find(|(ending, _)| name.ends_with(ending));
        known.map(|(_, file)| file)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Capabilities, Config, SysMount, parse};

    fn read(texts: &[Shipped]) -> Config {
        let all: String = texts.iter().map(|file| file.text).collect();
        parse(&all, Path::new("/test")).unwrap().config
    }

    #[test]
    fn names_are_found_below_any_share_and_nowhere_else() {
        let name = |path: &str| instead_of(Path::new(path)).map(|file| file.name);
        assert_eq!(name("/usr/share/lxc/config/common.conf"), Some("common.conf"));
        assert_eq!(name("/opt/x/share/lxc/config/alpine.userns.conf"), Some("userns.conf"));
        assert_eq!(name("/nix/share/lxc/config/common.seccomp"), Some("common.seccomp"));
        assert_eq!(name("/usr/share/lxc/config/other.conf"), None);
        assert_eq!(name("/etc/lxc/common.conf"), None);
        assert_eq!(name("/srv/lxc/config/common.conf"), None);
    }

    #[test]
    fn every_shipped_configuration_parses_without_a_warning() {
        for file in [DEFAULT, COMMON, USERNS, NESTING] {
            let loaded = parse(file.text, Path::new(file.name)).unwrap();
            assert_eq!(loaded.warnings, [], "{}", file.name);
            assert_ne!(loaded.config, Config::default(), "{}", file.name);
        }
    }

    #[test]
    fn every_shipped_profile_parses() {
        for file in [SECCOMP, BASELINE, ONE_ID, SHARED_PIDS] {
            let profile = crate::seccomp::parse(file.text, Path::new(file.name)).unwrap();
            assert_eq!(profile.default, crate::seccomp::Action::Allow, "{}", file.name);
            assert!(!profile.rules.is_empty(), "{}", file.name);
        }
    }

    #[test]
    fn the_baseline_has_all_of_the_common_profile() {
        let calls = |file: Shipped| {
            let profile = crate::seccomp::parse(file.text, Path::new(file.name)).unwrap();
            profile.rules.into_iter().map(|rule| rule.call).collect::<Vec<_>>()
        };
        let baseline = calls(BASELINE);
        assert!(calls(SECCOMP).iter().all(|call| baseline.contains(call)));
    }

    #[test]
    fn userns_takes_back_what_a_user_cannot_have() {
        let common = read(&[COMMON]);
        assert!(!common.cgroup2.is_empty() && common.tty_dir.is_some());
        assert!(matches!(common.capabilities, Capabilities::Drop(_)));
        let both = read(&[COMMON, USERNS]);
        assert_eq!((both.cgroup2.len(), both.tty_dir), (0, None));
        assert_eq!(both.capabilities, Capabilities::Default);
        assert_eq!(both.mount_auto.sys, Some(SysMount::Rw));
        assert_eq!(both.mount_auto.proc, common.mount_auto.proc);
        assert_eq!((both.tty_max, both.pty_max), (4, 1024));
    }
}
