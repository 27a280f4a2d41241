//! Which cgroup hierarchies are mounted, and where in them the caller sits: from the texts of two /proc files.
//!
//! The texts are parsed without touching anything. Sources: proc(5) for mountinfo, cgroups(7) for /proc/PID/cgroup,
//! cgroup_namespaces(7) for the paths with `..`.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use sys::path;

/// A version of the cgroup interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Version {
    /// Controllers mounted one by one or in bundles, each mount a tree of its own.
    V1,
    /// One tree for all controllers.
    V2,
}

/// What is mounted, in the words of systemd and of LXC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// v1 hierarchies alone.
    V1,
    /// v1 hierarchies, and the v2 tree beside them.
    Hybrid,
    /// The v2 tree alone.
    Unified,
    /// No cgroup file system that the caller can see.
    None,
}

/// Whose cgroups the containers' groups are made below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// The caller's own.
    Own,
    /// Those of process 1, so that the end of the caller's session does not take the container along.
    Init,
}

impl Base {
    /// Returns the base that LXC uses: init's for root, unless `lxc.cgroup.relative` is set; the caller's own else.
    pub fn of_lxc(is_root: bool, relative: bool) -> Self {
        if is_root && !relative { Self::Init } else { Self::Own }
    }

    fn proc_file(self) -> &'static str {
        match self {
            Self::Own => "self/cgroup",
            Self::Init => "1/cgroup",
        }
    }
}

/// One mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// The version of its interface.
    pub version: Version,
    /// Its v1 controllers in the kernel's order, named ones as `name=systemd`. Always empty for v2, whose controllers
    /// differ from group to group.
    pub controllers: Vec<String>,
    /// Where it is mounted.
    pub mountpoint: PathBuf,
    /// The cgroup that the mount shows as its root (field 4 of mountinfo), relative to the cgroup namespace.
    pub root_in_mount: PathBuf,
    /// The base cgroup relative to the mount's root (empty: that root itself). `None` when the mount does not show it:
    /// it is outside of what is mounted, removed, or hidden by a cgroup namespace.
    pub own_path: Option<PathBuf>,
}

impl Hierarchy {
    /// Returns the name of the hierarchy for messages: its controllers, or `cgroup2`.
    pub fn label(&self) -> String {
        match self.version {
            Version::V1 => self.controllers.join(","),
            Version::V2 => "cgroup2".to_owned(),
        }
    }

    /// Returns the path of the base cgroup's directory, if the mount shows it.
    pub fn own_dir(&self) -> Option<PathBuf> {
        self.own_path.as_ref().map(|own| below(&self.mountpoint, own))
    }
}

/// Joins without the trailing slash that joining an empty path would leave.
pub(crate) fn below(dir: &Path, rest: &Path) -> PathBuf {
    if rest.as_os_str().is_empty() { dir.to_owned() } else { dir.join(rest) }
}

/// All hierarchies that the caller can see, v1 in the order of mountinfo, then v2.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// The mounted hierarchies, each once.
    pub hierarchies: Vec<Hierarchy>,
    /// v1 controllers that are in use by the kernel and mounted nowhere in sight: v2 cannot have them either.
    pub unmounted: Vec<String>,
}

/// The files of /proc are made by the kernel and grow with the number of mounts.
const PROC_CAP: u64 = 16 << 20;

impl Layout {
    /// Reads the layout of this process's mount namespace.
    ///
    /// # Errors
    /// A /proc that cannot be read. A kernel without cgroups gives an empty layout.
    pub fn of(base: Base) -> sys::Result<Self> {
        let proc = path::open_dir(Path::new("/proc"))?;
        let read = |name| path::read_small(std::os::fd::AsFd::as_fd(&proc), Path::new(name), PROC_CAP);
        let mountinfo = read("self/mountinfo")?;
        let groups = match read(base.proc_file()) {
            Err(e) if e.errno() == sys::Errno::ENOENT => Vec::new(),
            done => done?,
        };
        Ok(Self::parse(&String::from_utf8_lossy(&mountinfo), &String::from_utf8_lossy(&groups)))
    }

    /// Parses the texts of `/proc/self/mountinfo` and `/proc/self/cgroup`. Lines that make no sense are skipped.
    pub fn parse(mountinfo: &str, proc_self_cgroup: &str) -> Self {
        let mounts: Vec<Mount> = mountinfo.lines().filter_map(Mount::parse).collect();
        let lines: Vec<GroupLine> = proc_self_cgroup.lines().filter_map(GroupLine::parse).collect();
        let mut found: BTreeMap<(bool, usize), Hierarchy> = BTreeMap::new();
        for (order, mount) in mounts.iter().enumerate().filter(|(_, m)| m.is_visible(&mounts)) {
            let Some(hierarchy) = mount.hierarchy(&lines) else { continue };
            let same =
                |h: &Hierarchy| (h.version, &h.controllers) == (hierarchy.version, &hierarchy.controllers);
            match found.values_mut().find(|h| same(h)) {
                Some(known) if is_better(&hierarchy, known) => *known = hierarchy,
                Some(_) => {}
                None => {
                    found.insert((hierarchy.version == Version::V2, order), hierarchy);
                }
            }
        }
        let hierarchies: Vec<_> = found.into_values().collect();
        let is_mounted = |name: &String| hierarchies.iter().any(|h| h.controllers.contains(name));
        let unmounted =
            lines.iter().flat_map(|l| &l.controllers).filter(|c| !is_mounted(c)).cloned().collect();
        Self { hierarchies, unmounted }
    }

    /// Returns what is mounted, in one word.
    pub fn kind(&self) -> Kind {
        let has = |version| self.hierarchies.iter().any(|h| h.version == version);
        match (has(Version::V1), has(Version::V2)) {
            (true, true) => Kind::Hybrid,
            (true, false) => Kind::V1,
            (false, true) => Kind::Unified,
            (false, false) => Kind::None,
        }
    }
}

/// Of two mounts of one hierarchy, the one that shows the base cgroup is better, then the one that shows more, then
/// the first.
fn is_better(new: &Hierarchy, known: &Hierarchy) -> bool {
    let rank = |h: &Hierarchy| (h.own_path.is_none(), h.root_in_mount.components().count());
    rank(new) < rank(known)
}

/// One line of mountinfo.
struct Mount {
    id: u32,
    parent: u32,
    root: PathBuf,
    mountpoint: PathBuf,
    filesystem: String,
    super_options: String,
}

impl Mount {
    fn parse(line: &str) -> Option<Self> {
        let line = types::MountLine::parse(line)?;
        Some(Self {
            id: line.id,
            parent: line.parent,
            root: unescape(line.root).into(),
            mountpoint: unescape(line.point).into(),
            filesystem: line.fstype.to_owned(),
            super_options: line.fs_options.to_owned(),
        })
    }

    /// Tells whether the mountpoint's path leads to this mount, and not to one that was put over it.
    ///
    /// Followed along the parents as a path lookup does, since the order of lines says nothing once a mount has been
    /// moved: the tests' lab mounts a new /sys and moves the older /sys/fs/cgroup back onto it.
    fn is_visible(&self, all: &[Mount]) -> bool {
        let is_entry = |m: &&Mount| m.parent == m.id || !all.iter().any(|other| other.id == m.parent);
        let leads = |m: &&Mount| self.mountpoint.starts_with(&m.mountpoint);
        let Some(mut at) = all.iter().filter(is_entry).rfind(leads) else { return false };
        // Every step goes to a child, so a tree ends after at most as many steps as it has mounts; the bound is for
        // texts that are no tree.
        for _ in 0..all.len() {
            let children = all.iter().filter(|m| m.parent == at.id && m.id != at.id).filter(leads);
            match children.min_by_key(|m| m.mountpoint.components().count()) {
                Some(child) => at = child,
                None => break,
            }
        }
        at.id == self.id
    }

    fn hierarchy(&self, lines: &[GroupLine]) -> Option<Hierarchy> {
        let (version, controllers) = match self.filesystem.as_str() {
            "cgroup2" => (Version::V2, Vec::new()),
            "cgroup" => (Version::V1, self.controllers(lines)),
            _ => return None,
        };
        if version == Version::V1 && controllers.is_empty() {
            return None;
        }
        let line = lines.iter().find(|l| l.controllers == controllers);
        let own_path = line.and_then(|l| relative_to(&l.path, &self.root));
        let (mountpoint, root_in_mount) = (self.mountpoint.clone(), self.root.clone());
        Some(Hierarchy { version, controllers, mountpoint, root_in_mount, own_path })
    }

    /// Returns the controllers of a v1 mount, as the matching line of /proc/self/cgroup orders them; from the mount's
    /// options alone where no line matches.
    fn controllers(&self, lines: &[GroupLine]) -> Vec<String> {
        let options: Vec<&str> = self.super_options.split(',').collect();
        let matches = |l: &&GroupLine| {
            !l.controllers.is_empty() && l.controllers.iter().all(|c| options.contains(&c.as_str()))
        };
        match lines.iter().find(matches) {
            Some(line) => line.controllers.clone(),
            None => options.into_iter().filter(|o| !is_plain_option(o)).map(str::to_owned).collect(),
        }
    }
}

/// Options of a v1 mount that are no controllers. Source: the kernel's cgroup1_show_options and cgroup1_fs_parameters.
const PLAIN_OPTIONS: [&str; 10] = [
    "rw",
    "ro",
    "all",
    "none",
    "noprefix",
    "xattr",
    "clone_children",
    "cpuset_v2_mode",
    "favordynmods",
    "nofavordynmods",
];

fn is_plain_option(option: &str) -> bool {
    option.is_empty() || option.starts_with("release_agent=") || PLAIN_OPTIONS.contains(&option)
}

/// One line of /proc/PID/cgroup; without controllers it is v2's.
struct GroupLine {
    controllers: Vec<String>,
    path: PathBuf,
}

impl GroupLine {
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.splitn(3, ':');
        let _id: u32 = fields.next()?.parse().ok()?;
        let names = fields.next()?;
        let controllers = names.split(',').filter(|c| !c.is_empty()).map(str::to_owned).collect();
        Some(Self { controllers, path: fields.next()?.into() })
    }
}

/// Returns the cgroup `own` relative to the cgroup `root`, both as the cgroup namespace shows them.
///
/// What lies outside of the namespace begins with `..` whose names nobody tells, so `/` cannot be found below `/..`.
fn relative_to(own: &Path, root: &Path) -> Option<PathBuf> {
    let rest = own.strip_prefix(root).ok()?;
    let leaves = rest.components().any(|c| c == Component::ParentDir);
    let removed = own.to_string_lossy().ends_with(" (deleted)");
    (!leaves && !removed).then(|| rest.to_owned())
}

/// Resolves mountinfo's escapes, which stand for ASCII alone: `\040` space, `\011` tab, `\012` newline, `\134` backslash.
fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        plain.push_str(before);
        let code = after.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()).filter(u8::is_ascii);
        plain.push(code.map_or('\\', char::from));
        rest = if code.is_some() { &after[3..] } else { after };
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests;
