//! What a configuration asks for and a start does not do, a sentence each.

use config::{Config, keys};

use super::mounts;
use crate::security::AppArmor;
use crate::security::profile::is_lxcs_own;

/// A value of a key that works for others: what tells it, and what is said of it.
type Beyond = (fn(&Config) -> bool, &'static str);

/// What is beyond the limits of keys that work within them.
const BEYOND: [Beyond; 3] = [
    (
        |config| !matches!(config.console_path.as_deref(), None | Some("none")),
        "lxc.console.path: the console is a pseudo-terminal of the container, since container root must own it; \
         lxc.console.logfile keeps what it shows",
    ),
    (
        |config| config.mount_auto.shmounts.is_some(),
        "lxc.mount.auto = shmounts: nothing mounts into a running container yet; lxc.mount.entry mounts at the start",
    ),
    (
        |config| config.rootfs_options.as_deref().is_some_and(has_unknown_option),
        "lxc.rootfs.options: what is none of ro, nosuid, nodev and noexec is left out; ids are mapped by lxc.idmap, and the \
         kernel keeps users from changing times of access",
    ),
];

/// Returns what is worth knowing and changes nothing, which a start does not say each time: LXC's own profiles stand in
/// all that LXC makes.
pub(super) fn remarks(config: &Config, apparmor: AppArmor) -> Vec<String> {
    let own = config.apparmor_profile.as_deref().filter(|profile| is_lxcs_own(profile));
    let remark = |profile| match (profile, apparmor) {
        (_, AppArmor::Absent) => format!("lxc.apparmor.profile = {profile}: {ABSENT}"),
        ("generated", _) => format!(
            "lxc.apparmor.profile = {profile}: making a profile needs root; the container runs under bryo-container where root \
             has loaded that, else under the caller's"
        ),
        _ => format!(
            "lxc.apparmor.profile = {profile}: the container runs under it where root has loaded it, else under the caller's"
        ),
    };
    own.map(remark).into_iter().collect()
}

/// What a host without AppArmor means.
const ABSENT: &str = "this host has no AppArmor; the container runs without";

/// Tells of a profile that was asked for by name, where there is none.
fn without_apparmor(config: &Config, apparmor: AppArmor) -> Option<String> {
    let named = config.apparmor_profile.as_deref()?;
    let is_missed = !matches!(named, "unconfined" | "unchanged") && !is_lxcs_own(named);
    (is_missed && apparmor == AppArmor::Absent).then(|| format!("lxc.apparmor.profile: {ABSENT}"))
}

/// Collects the notes: keys that do nothing, as the table of keys says, and what is beyond the limits of others.
pub(super) fn notes(config: &Config, apparmor: AppArmor) -> Vec<String> {
    let beyond = BEYOND.iter().filter(|(is_asked_for, _)| is_asked_for(config));
    keys::notes(config)
        .chain(beyond.map(|(_, note)| (*note).to_owned()))
        .chain(without_apparmor(config, apparmor))
        .collect()
}

fn has_unknown_option(options: &str) -> bool {
    let is_known = |option: &str| mounts::root_attribute(option).is_some() || matches!(option, "rbind" | "");
    options.split(',').any(|option| !is_known(option))
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::keys::{Shape, TABLE, Unprivileged};

    /// Returns a configuration with one line.
    fn with(key: &str, value: &str) -> Config {
        let mut config = Config::default();
        config.set(key, value).unwrap();
        config
    }

    /// Values of the keys that do nothing, since a value is of the key's own kind.
    const SAMPLES: [&str; 8] = ["1", "unix:/x", "net", "a", "128kB", "local0", "up", "veth"];

    #[test]
    fn every_key_that_does_nothing_is_noted_when_it_is_set() {
        for item in TABLE {
            let silent = !matches!(item.unprivileged, Unprivileged::Never { .. } | Unprivileged::NotYet(_));
            if silent || item.shape == Shape::Group {
                continue;
            }
            let name =
                if item.shape == Shape::Family { format!("{}.net", item.name) } else { item.name.to_owned() };
            let mut config = Config::default();
            let taken = SAMPLES.iter().find(|sample| config.set(&name, sample).is_ok());
            assert!(taken.is_some(), "{name} takes none of the samples");
            let notes = notes(&config, AppArmor::Absent);
            assert!(notes.iter().any(|note| note.starts_with(item.name)), "{name}: {notes:?}");
            config.clear(&name).unwrap();
            assert_eq!(super::notes(&config, AppArmor::Absent), [""; 0], "{name}");
        }
    }

    #[test]
    fn what_is_beyond_a_keys_limits_is_noted_and_what_is_within_is_not() {
        for (key, beyond, within) in [
            ("lxc.apparmor.profile", "my-own", "unconfined"),
            ("lxc.apparmor.profile", "my-own", "generated"),
            ("lxc.console.path", "/dev/tty9", "none"),
            ("lxc.mount.auto", "shmounts:/a", "proc sys cgroup"),
            ("lxc.rootfs.options", "noatime", "ro,nosuid,defaults"),
        ] {
            assert_eq!(notes(&with(key, beyond), AppArmor::Absent).len(), 1, "{key} = {beyond}");
            assert_eq!(notes(&with(key, within), AppArmor::Absent), [""; 0], "{key} = {within}");
        }
        assert_eq!(notes(&Config::default(), AppArmor::Absent), [""; 0]);
    }

    #[test]
    fn a_named_profile_is_missed_where_there_is_no_apparmor() {
        let config = with("lxc.apparmor.profile", "my-own");
        assert_eq!(notes(&config, AppArmor::Absent).len(), 1);
        assert_eq!(notes(&config, AppArmor::Free), [""; 0]);
    }

    #[test]
    fn lxcs_own_profiles_are_remarked_and_not_noted() {
        for (profile, remarked) in [
            ("generated", 1),
            ("lxc-container-default-with-nesting", 1),
            ("unconfined", 0),
            ("unchanged", 0),
            ("my-own", 0),
        ] {
            for apparmor in [AppArmor::Absent, AppArmor::Free] {
                let config = with("lxc.apparmor.profile", profile);
                assert_eq!(remarks(&config, apparmor).len(), remarked, "{profile}");
            }
        }
    }
}
