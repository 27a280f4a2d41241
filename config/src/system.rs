//! `lxc.conf`: where containers live, and what new ones start from.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The settings of a user's or the system's `lxc.conf`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemConfig {
    /// The directory that holds one directory for each container.
    pub lxcpath: PathBuf,
    /// The file that new containers' configurations start from.
    pub default_config: PathBuf,
    /// The volume group for LVM.
    pub lvm_vg: String,
    /// The thin pool for LVM.
    pub lvm_thin_pool: String,
    /// The parent data set for ZFS.
    pub zfs_root: String,
    /// The pool for Ceph.
    pub rbd_pool: String,
    /// The user for Ceph. Since LXC 7.
    pub rbd_user: String,
    /// The cgroup v1 controllers to use; none for all.
    pub cgroup_use: Option<String>,
    /// The cgroup of a container, in which `%n` stands for its name.
    pub cgroup_pattern: Option<String>,
    /// The keys that the file sets.
    given: BTreeSet<&'static str>,
}

/// A key of `lxc.conf`.
struct SystemKey {
    name: &'static str,
    set: fn(&mut SystemConfig, &str),
    show: fn(&SystemConfig) -> String,
}

/// The keys in the order in which `lxc-config -l` lists them; the last two are not listed by it.
const KEYS: [SystemKey; 9] = [
    SystemKey {
        name: "lxc.default_config",
        set: |config, value| config.default_config = value.into(),
        show: |config| config.default_config.display().to_string(),
    },
    SystemKey {
        name: "lxc.lxcpath",
        set: |config, value| config.lxcpath = without_trailing_slash(value).into(),
        show: |config| config.lxcpath.display().to_string(),
    },
    SystemKey {
        name: "lxc.bdev.lvm.vg",
        set: |config, value| config.lvm_vg = value.into(),
        show: |config| config.lvm_vg.clone(),
    },
    SystemKey {
        name: "lxc.bdev.lvm.thin_pool",
        set: |config, value| config.lvm_thin_pool = value.into(),
        show: |config| config.lvm_thin_pool.clone(),
    },
    SystemKey {
        name: "lxc.bdev.zfs.root",
        set: |config, value| config.zfs_root = value.into(),
        show: |config| config.zfs_root.clone(),
    },
    SystemKey {
        name: "lxc.cgroup.use",
        set: |config, value| config.cgroup_use = Some(value.into()),
        show: |config| config.cgroup_use.clone().unwrap_or_default(),
    },
    SystemKey {
        name: "lxc.cgroup.pattern",
        set: |config, value| config.cgroup_pattern = Some(value.into()),
        show: |config| config.cgroup_pattern.clone().unwrap_or_default(),
    },
    SystemKey {
        name: "lxc.bdev.rbd.rbdpool",
        set: |config, value| config.rbd_pool = value.into(),
        show: |config| config.rbd_pool.clone(),
    },
    SystemKey {
        name: "lxc.bdev.rbd.rbduser",
        set: |config, value| config.rbd_user = value.into(),
        show: |config| config.rbd_user.clone(),
    },
];

/// How many of [`KEYS`] `lxc-config -l` lists.
const LISTED: usize = 7;

fn without_trailing_slash(path: &str) -> &str {
    let bare = path.trim_end_matches('/');
    if bare.is_empty() { path } else { bare }
}

impl SystemConfig {
    /// Returns what holds without any file, for root or for the user whose home directory is `home`.
    pub fn defaults(home: &Path, is_root: bool) -> Self {
        let (lxcpath, default_config) = if is_root {
            (PathBuf::from("/var/lib/lxc"), PathBuf::from("/etc/lxc/default.conf"))
        } else {
            (home.join(".local/share/lxc"), home.join(".config/lxc/default.conf"))
        };
        Self {
            lxcpath,
            default_config,
            lvm_vg: "lxc".to_owned(),
            lvm_thin_pool: "lxc".to_owned(),
            zfs_root: "lxc".to_owned(),
            rbd_pool: "lxc".to_owned(),
            rbd_user: "admin".to_owned(),
            cgroup_use: None,
            cgroup_pattern: None,
            given: BTreeSet::new(),
        }
    }

    /// Returns the path of the file: `/etc/lxc/lxc.conf`, or the user's own below `~/.config/lxc`.
    ///
    /// LXC: XDG_CONFIG_HOME is not consulted, and so here, since both must find the same containers.
    pub fn path(home: &Path, is_root: bool) -> PathBuf {
        if is_root { PathBuf::from("/etc/lxc/lxc.conf") } else { home.join(".config/lxc/lxc.conf") }
    }

    /// Reads the file; without one the defaults hold.
    ///
    /// # Errors
    /// A file that exists and cannot be read.
    pub fn load(home: &Path, is_root: bool) -> io::Result<Self> {
        match fs::read(Self::path(home, is_root)) {
            Ok(bytes) => Ok(Self::parse(&String::from_utf8_lossy(&bytes), home, is_root)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::defaults(home, is_root)),
            Err(error) => Err(error),
        }
    }

    /// Reads the text of a file: `key = value` lines and `#` comments. Other lines and keys are ignored, as in LXC,
    /// and so are empty values.
    pub fn parse(text: &str, home: &Path, is_root: bool) -> Self {
        let mut config = Self::defaults(home, is_root);
        let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
        for (name, value) in lines.filter_map(|line| line.split_once('=')) {
            let (name, value) = (name.trim(), value.trim());
            if let Some(key) = KEYS.iter().find(|key| key.name == name && !value.is_empty()) {
                (key.set)(&mut config, value);
                config.given.insert(key.name);
            }
        }
        config
    }

    /// Returns the value of a key, if there is such a key.
    pub fn get(&self, name: &str) -> Option<String> {
        KEYS.iter().find(|key| key.name == name).map(|key| (key.show)(self))
    }

    /// Tells whether the file sets a key.
    pub fn is_given(&self, name: &str) -> bool {
        self.given.contains(name)
    }

    /// Returns the names of the keys in the order of `lxc-config -l`.
    pub fn names() -> impl Iterator<Item = &'static str> {
        KEYS.iter().take(LISTED).map(|key| key.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_root_have_their_own_places() {
        let home = Path::new("/home/ana");
        let user = SystemConfig::defaults(home, false);
        assert_eq!(user.lxcpath, home.join(".local/share/lxc"));
        assert_eq!(SystemConfig::path(home, false), home.join(".config/lxc/lxc.conf"));
        assert_eq!(SystemConfig::defaults(home, true).lxcpath, Path::new("/var/lib/lxc"));
    }

    #[test]
    fn a_file_changes_what_it_names() {
        let text =
            "# lxc.lxcpath = /no\n lxc.lxcpath=/srv/lxc/\nlxc.unknown = x\nlxc.default_config =\nnoise\n";
        let config = SystemConfig::parse(text, Path::new("/h"), false);
        assert_eq!(config.get("lxc.lxcpath").as_deref(), Some("/srv/lxc"));
        assert_eq!(config.get("lxc.default_config").as_deref(), Some("/h/.config/lxc/default.conf"));
        assert_eq!(config.get("lxc.other"), None);
        assert!(config.is_given("lxc.lxcpath") && !config.is_given("lxc.default_config"));
    }

    #[test]
    fn a_missing_file_is_no_error() {
        let home = tempfile::tempdir().unwrap();
        let config = SystemConfig::load(home.path(), false).unwrap();
        assert_eq!(config, SystemConfig::defaults(home.path(), false));
    }

    #[test]
    fn names_come_in_the_order_of_lxc_config() {
        let expected = [
            "lxc.default_config",
            "lxc.lxcpath",
            "lxc.bdev.lvm.vg",
            "lxc.bdev.lvm.thin_pool",
            "lxc.bdev.zfs.root",
            "lxc.cgroup.use",
            "lxc.cgroup.pattern",
        ];
        assert!(SystemConfig::names().eq(expected));
    }
}
