//! Mount entries: lines of fstab with LXC's own options, turned into what the mount calls take.

use std::path::{Path, PathBuf};

use config::{Config, MountEntry, ProcMount, SysMount};
use serde::{Deserialize, Serialize};
use sys::mount::attr;

use crate::error::{Doing, Error, Kind, Result};
use crate::place::{Place, from_io};

/// One mount to make in the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryPlan {
    /// The line it comes from.
    pub line: String,
    /// What is mounted.
    pub source: EntrySource,
    /// Where, relative to the container's root.
    pub target: PathBuf,
    /// Attributes to set, of `sys::mount::attr`.
    pub set: u64,
    /// Attributes to clear.
    pub clear: u64,
    /// Change of propagation: the kind, and whether it goes for the mounts below too.
    pub propagation: Option<(Propagation, bool)>,
    /// What to make at the target when it is missing.
    pub create: Option<Create>,
    /// A failure is no failure of the start.
    pub optional: bool,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EntrySource {
    /// A file or directory of the host.
    Bind {
        /// Its path.
        path: PathBuf,
        /// With the mounts below it.
        recursive: bool,
    },
    /// A file or directory of the container itself (`relative`).
    BindInside {
        /// Its path from the container's root.
        path: PathBuf,
        /// With the mounts below it.
        recursive: bool,
    },
    /// A new file system.
    New {
        /// Its type.
        fstype: String,
        /// Its own options.
        options: Vec<(String, String)>,
    },
}

/// What is made where a target is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Create {
    /// An empty file.
    File,
    /// A directory.
    Dir,
}

/// Propagation, as the options of mount(8) name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Propagation {
    /// `private`
    Private,
    /// `shared`
    Shared,
    /// `slave`
    Slave,
    /// `unbindable`
    Unbindable,
}

impl From<Propagation> for sys::mount::Propagation {
    fn from(propagation: Propagation) -> Self {
        match propagation {
            Propagation::Private => Self::Private,
            Propagation::Shared => Self::Shared,
            Propagation::Slave => Self::Slave,
            Propagation::Unbindable => Self::Unbindable,
        }
    }
}

/// Options that set or clear attributes of a mount: name, set, clear.
const ATTRIBUTES: [(&str, u64, u64); 16] = [
    ("ro", attr::RDONLY, 0),
    ("rw", 0, attr::RDONLY),
    ("nosuid", attr::NOSUID, 0),
    ("suid", 0, attr::NOSUID),
    ("nodev", attr::NODEV, 0),
    ("dev", 0, attr::NODEV),
    ("noexec", attr::NOEXEC, 0),
    ("exec", 0, attr::NOEXEC),
    ("noatime", attr::NOATIME, attr::ATIME),
    ("relatime", 0, attr::ATIME),
    ("strictatime", attr::STRICTATIME, attr::ATIME),
    ("nodiratime", attr::NODIRATIME, 0),
    ("diratime", 0, attr::NODIRATIME),
    ("nosymfollow", attr::NOSYMFOLLOW, 0),
    ("defaults", 0, 0),
    ("bind", 0, 0),
];

/// What a container in the container needs: the kernel lets it mount these only where pristine ones are to be seen.
const NESTING: [&str; 2] =
    ["proc dev/.lxc/proc proc create=dir,optional 0 0", "sysfs dev/.lxc/sys sysfs create=dir,optional 0 0"];

/// Tells for each of [`NESTING`] whether it is mounted: where the configuration says so, and where it has asked for a whole one of
/// which files are to be covered. On a /dev of its own the container always gets them.
fn nesting(config: &Config, covers_files: bool) -> [bool; 2] {
    let in_place_of =
        |is_whole: bool| config.apparmor_allow_nesting || (covers_files && config.autodev && is_whole);
    let auto = &config.mount_auto;
    [in_place_of(auto.proc == Some(ProcMount::Rw)), in_place_of(auto.sys == Some(SysMount::Rw))]
}

/// Plans `lxc.mount.fstab`, then `lxc.mount.entry`, then the mounts of `lxc.apparmor.allow_nesting`, which also those have of whom
/// files of /proc and /sys are to be covered.
pub(super) fn entries(config: &Config, place: &Place, covers_files: bool) -> Result<Vec<EntryPlan>> {
    let mut entries = match &config.mount_fstab {
        Some(path) => {
            let read = config::read_fstab(path).map_err(from_io);
            read.doing_with(|| format!("lxc.mount.fstab = {}", path.display()))?
        }
        None => Vec::new(),
    };
    entries.extend(config.mount_entries.iter().cloned());
    let nesting = NESTING.iter().zip(nesting(config, covers_files)).filter(|(_, wanted)| *wanted);
    entries.extend(nesting.map(|(line, _)| MountEntry::read(line)));
    entries.iter().map(|e| entry(e, config, place)).collect()
}

fn entry(entry: &MountEntry, config: &Config, place: &Place) -> Result<EntryPlan> {
    let refuse = |why: &str| Error::new(Kind::Config, format!("lxc.mount.entry = {}: {why}", entry.line));
    if !entry.is_complete() {
        return Err(refuse("expected SOURCE TARGET TYPE OPTIONS"));
    }
    if entry.spells_bytes() {
        return Err(refuse(
            "a path that is no UTF-8 text cannot be mounted; write another name, such as a link to it",
        ));
    }
    let mut plan = EntryPlan {
        line: entry.line.clone(),
        source: EntrySource::New { fstype: entry.fstype.clone(), options: Vec::new() },
        target: target(&entry.target, config, place)
            .ok_or_else(|| refuse("the target is outside the container"))?,
        set: 0,
        clear: 0,
        propagation: None,
        create: None,
        optional: entry.has_option("optional"),
    };
    let (mut own, mut relative) = (Vec::new(), false);
    for option in &entry.options {
        match option.as_str() {
            "create=dir" => plan.create = Some(Create::Dir),
            "create=file" => plan.create = Some(Create::File),
            "relative" => relative = true,
            "optional" | "rbind" => {}
            option if option.starts_with("idmap=") => {
                return Err(refuse("an idmapped mount needs root; map the ids with lxc.idmap instead"));
            }
            option => match (attribute(option), propagation(option)) {
                (Some((set, clear)), _) => {
                    plan.set = (plan.set & !clear) | set;
                    // Only the access time is a field that must be cleared to be set. Anything else that the source
                    // has is a lock of the host's on it, which asking to clear would turn into EPERM.
                    plan.clear |= clear & attr::ATIME;
                }
                (None, Some(found)) => plan.propagation = Some(found),
                (None, None) => own.push(split(option)),
            },
        }
    }
    let recursive = entry.has_option("rbind");
    plan.source = match (recursive || entry.has_option("bind"), relative) {
        (false, _) => EntrySource::New { fstype: entry.fstype.clone(), options: own },
        (true, true) => EntrySource::BindInside { path: entry.source.clone().into(), recursive },
        (true, false) => EntrySource::Bind { path: entry.source.clone().into(), recursive },
    };
    Ok(plan)
}

/// Returns what an option sets of a root file system. The kernel has locked the times of access of what a user namespace
/// takes over: they stay as they are.
pub(super) fn root_attribute(option: &str) -> Option<u64> {
    const TIMES: u64 = attr::ATIME | attr::NODIRATIME;
    let (set, clear) = attribute(option)?;
    ((set | clear) & TIMES == 0).then_some(set)
}

fn attribute(option: &str) -> Option<(u64, u64)> {
    ATTRIBUTES.iter().find(|(name, ..)| *name == option).map(|(_, set, clear)| (*set, *clear))
}

fn propagation(option: &str) -> Option<(Propagation, bool)> {
    let kind = |name: &str| match name {
        "private" => Some(Propagation::Private),
        "shared" => Some(Propagation::Shared),
        "slave" => Some(Propagation::Slave),
        "unbindable" => Some(Propagation::Unbindable),
        _ => None,
    };
    kind(option).map(|k| (k, false)).or_else(|| Some((kind(option.strip_prefix('r')?)?, true)))
}

fn split(option: &str) -> (String, String) {
    let (key, value) = option.split_once('=').unwrap_or((option, ""));
    (key.to_owned(), value.to_owned())
}

/// Makes a target relative to the container's root. LXC: an absolute one must begin with the path of the rootfs.
fn target(text: &str, config: &Config, place: &Place) -> Option<PathBuf> {
    let path = Path::new(text);
    if path.is_relative() {
        return Some(path.to_owned());
    }
    let configured = config.rootfs_path.as_ref().map(|r| PathBuf::from(&r.path));
    let known = [configured, Some(place.rootfs())];
    known.into_iter().flatten().find_map(|root| path.strip_prefix(root).ok().map(Path::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(line: &str) -> Result<EntryPlan> {
        let place = Place { lxcpath: "/lxc".into(), name: "web".parse().unwrap() };
        entry(&MountEntry::read(line), &Config::default(), &place)
    }

    #[test]
    fn lxcs_own_options_are_taken_out_and_the_rest_goes_to_the_file_system() {
        let plan = planned("tmpfs run tmpfs rw,nosuid,size=10m,mode=755,create=dir,optional 0 0").unwrap();
        let options = vec![("size".into(), "10m".into()), ("mode".into(), "755".into())];
        assert_eq!(plan.source, EntrySource::New { fstype: "tmpfs".into(), options });
        assert_eq!((plan.set, plan.create, plan.optional), (attr::NOSUID, Some(Create::Dir), true));
    }

    #[test]
    fn binds_keep_their_depth_and_propagation() {
        let plan = planned("/srv srv none rbind,ro,rslave 0 0").unwrap();
        assert_eq!(plan.source, EntrySource::Bind { path: "/srv".into(), recursive: true });
        assert_eq!((plan.set, plan.propagation), (attr::RDONLY, Some((Propagation::Slave, true))));
        let inside = planned("/run var/run none bind,relative").unwrap();
        assert_eq!(inside.source, EntrySource::BindInside { path: "/run".into(), recursive: false });
    }

    #[test]
    fn the_last_of_two_contradicting_options_wins() {
        let plan = planned("/srv srv none bind,ro,rw 0 0").unwrap();
        assert_eq!((plan.set, plan.clear), (0, 0));
    }

    #[test]
    fn targets_stay_in_the_container() {
        assert_eq!(planned("/srv /lxc/web/rootfs/srv none bind").unwrap().target, Path::new("srv"));
        assert!(planned("/srv /srv none bind").is_err());
        assert!(planned("garbage").is_err());
        assert!(planned("/srv srv none bind,idmap=container").is_err());
    }
}
