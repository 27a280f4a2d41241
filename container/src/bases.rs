//! Unpacked images: each once for an id map, read-only under every container that is made from it.
//!
//! ```text
//! images/bases/HEX/        of one image; locked by who looks for one here, or makes one
//!   N/map                  the id map, as text
//!   N/config               what LXC's metadata says, where there is some
//!   N/rootfs               the root file system, container root's
//!   N/used/HASH            a link to the directory of a container
//!   half                   one that is being made; whoever finds it with the lock in hand removes it
//! ```
//! A base gets its number by rename, once all of it is on the disk.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use sys::path;
use types::{Digest, IdKind, IdMap};

use crate::error::{Doing, Error, Kind, Result};
use crate::host::HostFacts;
use crate::idmap::{self, MappedNamespace};
use crate::place::{Place, fnv_64a, from_io};

/// The directory of all bases in a store of images.
const BASES: &str = "bases";
/// The name of a base that is being made.
const HALF: &str = "half";
/// The name of the lock.
const LOCK: &str = "lock";

/// An unpacked image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// The image.
    pub image: Digest,
    /// Its directory.
    pub dir: PathBuf,
    /// The id map, as text.
    pub map: String,
}

impl Base {
    /// Returns the root file system.
    pub fn rootfs(&self) -> PathBuf {
        self.dir.join("rootfs")
    }

    /// Returns what the image's metadata had as configuration.
    pub(crate) fn config(&self) -> Result<String> {
        let file = self.dir.join("config");
        fs::read_to_string(&file).map_err(from_io).doing_with(|| format!("reading {}", file.display()))
    }

    /// Writes down that a container is made from it.
    pub(crate) fn used_by(&self, place: &Place) -> Result<()> {
        use std::os::unix::ffi::OsStrExt;
        let (used, dir) = (self.dir.join("used"), place.dir());
        let link = used.join(format!("{:016x}", fnv_64a(dir.as_os_str().as_bytes())));
        let made = fs::create_dir_all(&used).and_then(|()| std::os::unix::fs::symlink(&dir, &link));
        match made {
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            made => made.map_err(from_io).doing_with(|| format!("writing {}", link.display())),
        }
    }

    /// Returns the directories of the containers that are made from it: those that it knows of, and those beside them and in
    /// `lxcpath`, since a container may have been copied or renamed by LXC.
    pub fn users(&self, lxcpath: &Path) -> Vec<PathBuf> {
        let known = fs::read_dir(self.dir.join("used")).into_iter().flatten().flatten();
        let known: Vec<PathBuf> = known.filter_map(|link| fs::read_link(link.path()).ok()).collect();
        let mut lxcpaths: Vec<&Path> = known.iter().filter_map(|dir| dir.parent()).chain([lxcpath]).collect();
        lxcpaths.sort();
        lxcpaths.dedup();
        let beside =
            lxcpaths.into_iter().flat_map(fs::read_dir).flatten().flatten().map(|entry| entry.path());
        let mut users: Vec<PathBuf> = beside.filter(|dir| self.is_under(dir)).collect();
        users.sort();
        users.dedup();
        users
    }

    /// Tells whether a container's configuration, or that of one of its snapshots, names the base.
    fn is_under(&self, container: &Path) -> bool {
        let rootfs = self.rootfs();
        let names = |config: PathBuf| {
            let text = fs::read(config).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            let lines = text.unwrap_or_default();
            config::lines(&lines).any(|(key, value)| {
                key == "lxc.rootfs.path" && value.split(':').any(|part| Path::new(part) == rootfs)
            })
        };
        let snapshots = fs::read_dir(container.join("snaps")).into_iter().flatten().flatten();
        names(container.join("config")) || snapshots.map(|entry| entry.path().join("config")).any(names)
    }
}

/// Returns all bases of a store.
pub fn all(images: &Path) -> Vec<Base> {
    let of = |entry: fs::DirEntry| {
        let image = Digest::from_hex(entry.file_name().to_str()?).ok()?;
        Some(of_image(&entry.path(), image))
    };
    let dirs = fs::read_dir(images.join(BASES)).into_iter().flatten().flatten();
    dirs.filter_map(of).flatten().collect()
}

fn of_image(dir: &Path, image: Digest) -> Vec<Base> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_base = |path: &PathBuf| {
        path.file_name().and_then(OsStr::to_str).is_some_and(|name| name.parse::<u32>().is_ok())
    };
    let base = |dir: PathBuf| Some(Base { image, map: fs::read_to_string(dir.join("map")).ok()?, dir });
    entries.filter(is_base).filter_map(base).collect()
}

/// How a map is written down: two maps are one where the texts are.
fn text_of(map: &IdMap) -> String {
    let line =
        |kind: IdKind| map.extents(kind).iter().map(move |extent| format!("{} {extent}\n", kind.letter()));
    [IdKind::User, IdKind::Group].into_iter().flat_map(line).collect()
}

/// Fills a new root file system, and returns what the image's metadata has as configuration.
pub(crate) type Fill<'a> = dyn FnMut(BorrowedFd<'_>) -> Result<String> + 'a;

/// Returns the base of an image for a map, made where it is missing. Of two who want it the second waits for the first.
pub(crate) fn claim(
    images: &Path,
    image: Digest,
    map: &IdMap,
    facts: &HostFacts,
    fill: &mut Fill<'_>,
) -> Result<Base> {
    let dir = images.join(BASES).join(image.hex());
    let doing = || format!("unpacking an image into {}", dir.display());
    fs::create_dir_all(&dir).map_err(from_io).doing_with(doing)?;
    let fd = path::open_dir(&dir)?;
    let lock = File::from(path::open_or_make(fd.as_fd(), OsStr::new(LOCK), 0o600)?);
    if lock.try_lock().is_err() {
        log::warn!("another command unpacks this image; this one waits for it");
        lock.lock().map_err(from_io).doing_with(doing)?;
    }
    let (wanted, there) = (text_of(map), of_image(&dir, image));
    if let Some(base) = there.iter().find(|base| base.map == wanted) {
        return Ok(base.clone());
    }
    remove_at(fd.as_fd(), HALF, facts)?;
    let made = make(fd.as_fd(), map, &wanted, facts, fill);
    if made.is_err() {
        remove_at(fd.as_fd(), HALF, facts).unwrap_or_else(|e| log::warn!("{e}"));
    }
    made.doing_with(doing)?;
    let number = (0..).find(|number| !dir.join(number.to_string()).exists()).unwrap_or(0).to_string();
    path::rename_new(fd.as_fd(), OsStr::new(HALF), OsStr::new(&number))?;
    path::sync_dir(fd.as_fd())?;
    Ok(Base { image, dir: dir.join(number), map: wanted })
}

fn make(dir: BorrowedFd<'_>, map: &IdMap, text: &str, facts: &HostFacts, fill: &mut Fill<'_>) -> Result<()> {
    let make_dir = |dir: BorrowedFd<'_>, name: &str, mode: u32| {
        path::make_dir(dir, OsStr::new(name), mode)?;
        let made = path::open_dir_at(dir, Path::new(name))?;
        path::set_mode(made.as_fd(), mode)?;
        Ok::<_, sys::Error>(made)
    };
    let half = make_dir(dir, HALF, 0o755)?;
    let root = make_dir(half.as_fd(), "rootfs", 0o755)?;
    if !idmap::is_own_id_only(map, &facts.caller) {
        let both = map.with_caller(facts.caller.uid, facts.caller.gid);
        let namespace = MappedNamespace::new(&both, &facts.id_writer, &facts.caller)?;
        namespace.run(|| Ok(path::set_owner(root.as_fd(), 0, 0)?))?;
    }
    let config = fill(root.as_fd())?;
    path::replace(half.as_fd(), OsStr::new("config"), 0o600, config.as_bytes())?;
    path::replace(half.as_fd(), OsStr::new("map"), 0o600, text.as_bytes())?;
    Ok(path::sync_dir(half.as_fd())?)
}

/// Removes a base that nobody uses.
///
/// # Errors
/// Somebody makes one of the same image now; or a file cannot be removed.
pub fn remove(base: &Base, facts: &HostFacts) -> Result<()> {
    let (Some(dir), Some(name)) = (base.dir.parent(), base.dir.file_name().and_then(OsStr::to_str)) else {
        return Ok(());
    };
    let fd = path::open_dir(dir)?;
    let lock = File::from(path::open_or_make(fd.as_fd(), OsStr::new(LOCK), 0o600)?);
    if lock.try_lock().is_err() {
        return Err(Error::new(Kind::Busy, "the image is being unpacked"));
    }
    // Under its number it is whole, or not there.
    path::rename_at(fd.as_fd(), OsStr::new(name), OsStr::new(HALF))?;
    remove_at(fd.as_fd(), HALF, facts)
}

/// Removes what was not made to its end, and directories without a base.
pub fn sweep(images: &Path, facts: &HostFacts) -> Result<()> {
    for entry in fs::read_dir(images.join(BASES)).into_iter().flatten().flatten() {
        let dir = path::open_dir(&entry.path())?;
        let lock = File::from(path::open_or_make(dir.as_fd(), OsStr::new(LOCK), 0o600)?);
        if lock.try_lock().is_err() {
            continue;
        }
        remove_at(dir.as_fd(), HALF, facts)?;
        if path::names(dir.as_fd())?.iter().all(|name| name == LOCK) {
            fs::remove_dir_all(entry.path()).map_err(from_io)?;
        }
    }
    Ok(())
}

fn remove_at(dir: BorrowedFd<'_>, name: &str, facts: &HostFacts) -> Result<()> {
    let name = OsStr::new(name);
    let opened = match path::open_dir_at(dir, Path::new(name)) {
        Err(e) if e.errno() == sys::Errno::ENOENT => return Ok(()),
        opened => opened?,
    };
    // All that is granted to the caller, so whatever map the files were made in.
    let map = idmap::choose(facts);
    if !idmap::is_own_id_only(&map, &facts.caller) && !facts.caller.is_root() {
        let both = map.with_caller(facts.caller.uid, facts.caller.gid);
        let namespace = MappedNamespace::new(&both, &facts.id_writer, &facts.caller)?;
        namespace.run(|| Ok(sys::file::remove_tree(opened.as_fd(), OsStr::new("rootfs"))?))?;
    }
    Ok(sys::file::remove_tree(dir, name)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::IdExtent;

    fn base(dir: &Path) -> Base {
        let image = Digest::new([1; 32]);
        let dir = dir.join(BASES).join(image.hex()).join("0");
        fs::create_dir_all(dir.join("rootfs")).unwrap();
        fs::write(dir.join("map"), "u 0 100000 65536\n").unwrap();
        Base { image, dir, map: "u 0 100000 65536\n".to_owned() }
    }

    #[test]
    fn a_base_is_known_by_its_map() {
        let dir = tempfile::tempdir().unwrap();
        let made = base(dir.path());
        fs::create_dir(made.dir.parent().unwrap().join(HALF)).unwrap();
        fs::create_dir(dir.path().join(BASES).join("no-digest")).unwrap();
        assert_eq!(all(dir.path()), [made]);
        let extents = |outside| vec![IdExtent::new(0, outside, 65_536).unwrap()];
        let map = |outside| IdMap { uids: extents(outside), gids: extents(outside) };
        assert_eq!(text_of(&map(100_000)), "u 0 100000 65536\ng 0 100000 65536\n");
        assert_ne!(text_of(&map(100_000)), text_of(&map(200_000)));
    }

    #[test]
    fn who_uses_a_base_is_found_by_the_configuration_alone() {
        let (images, lxcpath, elsewhere) =
            (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let base = base(images.path());
        let over = format!("lxc.rootfs.path = overlay:{}:/x/delta\n", base.rootfs().display());
        let define = |lxcpath: &Path, name: &str, text: &str| {
            fs::create_dir_all(lxcpath.join(name)).unwrap();
            fs::write(lxcpath.join(name).join("config"), text).unwrap();
            Place { lxcpath: lxcpath.to_owned(), name: name.parse().unwrap() }
        };
        define(lxcpath.path(), "web", &over);
        define(lxcpath.path(), "other", "lxc.rootfs.path = dir:/lxc/other/rootfs\n");
        assert_eq!(base.users(lxcpath.path()), [lxcpath.path().join("web")]);
        // Elsewhere it is found by who was there before, also when that one is gone or has another name.
        let gone = define(elsewhere.path(), "gone", "");
        base.used_by(&gone).unwrap();
        base.used_by(&gone).unwrap();
        define(elsewhere.path(), "renamed", &over);
        define(&elsewhere.path().join("kept/snaps"), "snap0", &over);
        fs::remove_dir_all(gone.dir()).unwrap();
        let found = base.users(lxcpath.path());
        let expected =
            [elsewhere.path().join("kept"), elsewhere.path().join("renamed"), lxcpath.path().join("web")];
        assert!(expected.iter().all(|user| found.contains(user)) && found.len() == 3, "{found:?}");
    }
}
