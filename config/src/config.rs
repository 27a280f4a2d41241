//! A container's configuration as a value.

use std::collections::BTreeMap;
use std::path::PathBuf;

use types::{IdMap, NsGid, NsUid, Signal};

use crate::keys::{self, Empty, Shape, Slot};
use crate::{
    Arch, Capabilities, EnvVar, Fault, Hook, LogLevel, MountAuto, MountEntry, Namespace, NetDevice, Prlimit,
    RootfsPath,
};

/// A container's configuration: one field for each key, with LXC's defaults where nothing was set.
///
/// What the keys mean stands with their items in [`keys::TABLE`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // Each field is the value of the key of its name, which the key table documents.
pub struct Config {
    pub arch: Option<Arch>,
    pub uts_name: Option<String>,

    /// Program and arguments; none runs `/sbin/init`.
    pub init_cmd: Option<Vec<String>>,
    pub init_cwd: Option<PathBuf>,
    pub init_uid: NsUid,
    pub init_gid: NsGid,
    pub init_groups: Vec<NsGid>,
    pub execute_cmd: Option<Vec<String>>,

    pub ephemeral: bool,
    pub no_new_privs: bool,
    pub sched_core: bool,

    /// None is SIGPWR, or SIGRTMIN+3 where init is systemd.
    pub signal_halt: Option<Signal>,
    /// None is SIGINT.
    pub signal_reboot: Option<Signal>,
    /// None is SIGKILL.
    pub signal_stop: Option<Signal>,

    pub environment: Vec<EnvVar>,
    pub environment_runtime: Vec<EnvVar>,
    pub environment_hooks: Vec<EnvVar>,

    pub rootfs_path: Option<RootfsPath>,
    pub rootfs_mount: Option<PathBuf>,
    pub rootfs_options: Option<String>,
    pub rootfs_managed: bool,

    pub autodev: bool,
    /// In bytes.
    pub autodev_tmpfs_size: u64,
    pub tty_max: u32,
    pub tty_dir: Option<String>,
    pub pty_max: u32,
    /// A path, or `none`.
    pub console_path: Option<String>,
    pub console_logfile: Option<PathBuf>,
    pub console_rotate: bool,
    /// In bytes; 0 is no limit.
    pub console_size: u64,
    /// In bytes; 0 is no buffer.
    pub console_buffer_size: u64,

    pub mount_entries: Vec<MountEntry>,
    pub mount_fstab: Option<PathBuf>,
    pub mount_auto: MountAuto,

    pub idmap: IdMap,
    pub namespace_clone: Option<Vec<Namespace>>,
    pub namespace_keep: Option<Vec<Namespace>>,
    /// A process id, a container's name or a path, for each namespace.
    pub namespace_share: BTreeMap<Namespace, String>,

    pub net: BTreeMap<u32, NetDevice>,

    /// File of the unified tree (such as `memory.max`, also `devices.allow`) and value, in the order of the lines.
    pub cgroup2: Vec<(String, String)>,
    /// The same for cgroup v1.
    pub cgroup1: Vec<(String, String)>,
    pub cgroup_dir: Option<String>,
    pub cgroup_dir_monitor: Option<String>,
    pub cgroup_dir_monitor_pivot: Option<String>,
    pub cgroup_dir_container: Option<String>,
    pub cgroup_dir_container_inner: Option<String>,
    pub cgroup_relative: bool,

    pub capabilities: Capabilities,
    pub apparmor_profile: Option<String>,
    pub apparmor_allow_incomplete: bool,
    pub apparmor_allow_nesting: bool,
    pub apparmor_raw: Vec<String>,
    pub selinux_context: Option<String>,
    pub selinux_context_keyring: Option<String>,
    /// The switch as written. LXC: whatever its manual page says, 1 keeps the old session keyring and 0 makes a new
    /// one.
    pub keyring_session: bool,
    pub seccomp_profile: Option<PathBuf>,
    pub seccomp_allow_nesting: bool,
    /// A path, or `@` and an abstract name.
    pub seccomp_notify_proxy: Option<String>,
    pub seccomp_notify_cookie: Option<String>,

    pub hooks: BTreeMap<Hook, Vec<String>>,
    /// 0 passes arguments to hooks, 1 the environment alone.
    pub hook_version: u8,

    pub log_level: Option<LogLevel>,
    pub log_file: Option<PathBuf>,
    pub log_syslog: Option<String>,

    pub start_auto: bool,
    /// In seconds.
    pub start_delay: u32,
    pub start_order: i32,
    pub groups: Vec<String>,

    pub monitor_unshare: bool,
    /// None leaves init alive when its monitor dies.
    pub monitor_signal_pdeath: Option<Signal>,

    pub prlimits: Vec<Prlimit>,
    /// Name, with dots, and value.
    pub sysctls: Vec<(String, String)>,
    /// File below `/proc/PID` and value.
    pub procs: Vec<(String, String)>,
    /// In nanoseconds.
    pub time_offset_boot: Option<i64>,
    /// In nanoseconds.
    pub time_offset_monotonic: Option<i64>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            arch: None,
            uts_name: None,
            init_cmd: None,
            init_cwd: None,
            init_uid: NsUid(0),
            init_gid: NsGid(0),
            init_groups: Vec::new(),
            execute_cmd: None,
            ephemeral: false,
            no_new_privs: false,
            sched_core: false,
            signal_halt: None,
            signal_reboot: None,
            signal_stop: None,
            environment: Vec::new(),
            environment_runtime: Vec::new(),
            environment_hooks: Vec::new(),
            rootfs_path: None,
            rootfs_mount: None,
            rootfs_options: None,
            rootfs_managed: true,
            autodev: true,
            autodev_tmpfs_size: keys::TMPFS_SIZE,
            tty_max: 0,
            tty_dir: None,
            pty_max: 0,
            console_path: None,
            console_logfile: None,
            console_rotate: false,
            console_size: 0,
            console_buffer_size: 0,
            mount_entries: Vec::new(),
            mount_fstab: None,
            mount_auto: MountAuto::default(),
            idmap: IdMap::default(),
            namespace_clone: None,
            namespace_keep: None,
            namespace_share: BTreeMap::new(),
            net: BTreeMap::new(),
            cgroup2: Vec::new(),
            cgroup1: Vec::new(),
            cgroup_dir: None,
            cgroup_dir_monitor: None,
            cgroup_dir_monitor_pivot: None,
            cgroup_dir_container: None,
            cgroup_dir_container_inner: None,
            cgroup_relative: false,
            capabilities: Capabilities::Default,
            apparmor_profile: None,
            apparmor_allow_incomplete: false,
            apparmor_allow_nesting: false,
            apparmor_raw: Vec::new(),
            selinux_context: None,
            selinux_context_keyring: None,
            keyring_session: false,
            seccomp_profile: None,
            seccomp_allow_nesting: false,
            seccomp_notify_proxy: None,
            seccomp_notify_cookie: None,
            hooks: BTreeMap::new(),
            hook_version: 0,
            log_level: None,
            log_file: None,
            log_syslog: None,
            start_auto: false,
            start_delay: 0,
            start_order: 0,
            groups: Vec::new(),
            monitor_unshare: false,
            monitor_signal_pdeath: Some(Signal::KILL),
            prlimits: Vec::new(),
            sysctls: Vec::new(),
            procs: Vec::new(),
            time_offset_boot: None,
            time_offset_monotonic: None,
        }
    }
}

impl Config {
    /// Sets a key as a line of a file does: lists grow, scalars change, an empty value clears. `lxc.include` reads
    /// the file that it names.
    ///
    /// # Errors
    /// A key that is not known or has a legacy name, or a value that the key does not take, or that no line of a file
    /// could hold. The configuration is then as it was before.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), Fault> {
        let (item, slot) = keys::find(key)?;
        self.set_item(item, &slot, key, value)
    }

    /// Sets a key whose item is known.
    pub(crate) fn set_item(
        &mut self,
        item: &keys::Key,
        slot: &Slot<'_>,
        key: &str,
        value: &str,
    ) -> Result<(), Fault> {
        if value.contains(['\n', '\0']) {
            return Err(Fault::Unwritable);
        }
        match (value.is_empty(), item.shape) {
            (true, _) => self.empty(item, slot),
            (false, Shape::Family) if slot.name.is_empty() => Err(Fault::WholeFamily { key: key.to_owned() }),
            (false, Shape::Group) => Err(Fault::WholeFamily { key: key.to_owned() }),
            (false, _) => (item.access.set)(self, slot, value),
        }
    }

    fn empty(&mut self, item: &keys::Key, slot: &Slot<'_>) -> Result<(), Fault> {
        match item.empty {
            Empty::Clears => {
                (item.access.clear)(self, slot);
                Ok(())
            }
            Empty::Sets(value) => (item.access.set)(self, slot, value),
            Empty::Refused => Err(Fault::Empty { key: item.name.to_owned() }),
        }
    }

    /// Returns a key's value in LXC's form: lists have one item a line, and a family shows `key = value` lines.
    ///
    /// # Errors
    /// A key that is not known, has nothing to show (`lxc.include`, `lxc.hook`), or belongs to another kind of
    /// network device.
    pub fn get(&self, key: &str) -> Result<String, Fault> {
        let (item, slot) = keys::find(key)?;
        (item.access.show)(self, &slot).map_err(|fault| match fault {
            Fault::NothingToShow { .. } => Fault::NothingToShow { key: key.to_owned() },
            Fault::WrongKind { kind, .. } => Fault::WrongKind { key: key.to_owned(), kind },
            other => other,
        })
    }

    /// Puts a key, or all keys of a family, back to the default.
    ///
    /// # Errors
    /// A key that is not known.
    pub fn clear(&mut self, key: &str) -> Result<(), Fault> {
        let (item, slot) = keys::find(key)?;
        (item.access.clear)(self, &slot);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_autodev_is_off_and_a_cleared_one_is_on() {
        let mut config = Config::default();
        config.set("lxc.autodev", "").unwrap();
        assert!(!config.autodev);
        config.clear("lxc.autodev").unwrap();
        assert!(config.autodev);
    }

    #[test]
    fn a_refused_value_changes_nothing() {
        let mut config = Config::default();
        for (key, value) in [
            ("lxc.autodev", "2"),
            ("lxc.net.0.type", "bogus"),
            ("lxc.arch", "bogus"),
            ("lxc.cap.drop", "chown bogus"),
            ("lxc.init.groups", "1,x"),
            ("lxc.namespace.clone", "pid bogus"),
            ("lxc.net", "x"),
            ("lxc.cgroup2", "x"),
            ("lxc.idmap", "b 0 1 1"),
            ("lxc.uts.name", "a\nlxc.hook.pre-start = id"),
            ("lxc.uts.name", "a\0"),
            ("lxc.cap.drop", "none"),
            ("lxc.cap.keep", " "),
            ("lxc.namespace.clone", " "),
        ] {
            assert!(config.set(key, value).is_err(), "{key}");
            assert_eq!(config, Config::default(), "{key}");
        }
    }

    #[test]
    fn clearing_a_family_clears_its_members_and_nothing_else() {
        let mut config = Config::default();
        for (key, value) in [
            ("lxc.cgroup2.memory.max", "1G"),
            ("lxc.cgroup2.pids.max", "9"),
            ("lxc.cgroup.dir", "a"),
            ("lxc.cgroup.relative", "1"),
            ("lxc.hook.start", "/a"),
            ("lxc.hook.version", "1"),
        ] {
            config.set(key, value).unwrap();
        }
        config.set("lxc.cgroup2.memory.max", "").unwrap();
        assert_eq!(config.cgroup2, [("pids.max".to_owned(), "9".to_owned())]);
        config.set("lxc.cgroup2", "").unwrap();
        config.set("lxc.cgroup", "").unwrap();
        config.set("lxc.hook", "").unwrap();
        assert!(config.cgroup2.is_empty() && config.hooks.is_empty());
        assert_eq!((config.cgroup_dir.as_deref(), config.cgroup_relative), (Some("a"), true));
        assert_eq!(config.hook_version, 1);
    }

    #[test]
    fn network_devices_are_ordered_by_index_and_cleared_one_by_one() {
        let mut config = Config::default();
        config.set("lxc.net.7.type", "macvlan").unwrap();
        config.set("lxc.net.1.flags", "up").unwrap();
        config.set("lxc.net.1.type", "veth").unwrap();
        assert_eq!(config.get("lxc.net").unwrap(), "veth\nmacvlan\n");
        config.set("lxc.net.1", "").unwrap();
        assert_eq!(config.get("lxc.net").unwrap(), "macvlan\n");
        config.set("lxc.net", "").unwrap();
        assert!(config.net.is_empty());
    }
}
