//! Users of a container, by number or by the names in its own files.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use config::Config;
use container::host::Caller;
use container::{Doing, Error, Kind, Result, idmap};
use sys::path::{self, Links, OpenFlags};
use types::{IdExtent, IdKind, IdMap};

/// Far more than any passwd file of a container.
const CAP: u64 = 1 << 20;

/// A user of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    /// User id inside.
    pub(crate) uid: u32,
    /// Group id inside.
    pub(crate) gid: u32,
    /// Supplementary groups inside.
    pub(crate) groups: Vec<u32>,
    /// Login name, where the id has one.
    pub(crate) name: Option<String>,
    /// Home directory.
    pub(crate) home: String,
    /// Login shell, where the container's passwd file has a line.
    pub(crate) shell: Option<String>,
}

impl User {
    /// Returns root.
    pub(crate) fn root() -> Self {
        let (name, home) = (Some("root".to_owned()), "/root".to_owned());
        Self { uid: 0, gid: 0, groups: Vec::new(), name, home, shell: None }
    }

    /// Returns root with the shell of the container's passwd file.
    pub(crate) fn root_of(config: &Config) -> Self {
        let shell = Self::find("0", config).ok().and_then(|known| known.shell);
        Self { shell, ..Self::root() }
    }

    /// Returns the user who is the caller outside, where a container with this map has one.
    pub(crate) fn me(map: &IdMap, config: &Config, caller: &Caller) -> Option<Self> {
        let (uid, gid) = idmap::me(map, caller)?;
        let found = Self::find(&uid.to_string(), config).unwrap_or_else(|_| Self::unnamed(uid.0));
        // Without a line in the passwd file the number of the user says nothing about the group.
        let gid = gid.filter(|_| found.name.is_none()).map_or(found.gid, |gid| gid.0);
        Some(Self { gid, ..found })
    }

    fn unnamed(uid: u32) -> Self {
        Self { uid, gid: uid, groups: Vec::new(), name: None, home: "/".to_owned(), shell: None }
    }

    /// Finds the user `word`, or the user and the group of `USER:GROUP`: numbers, or names of the container's files.
    pub(crate) fn find(word: &str, config: &Config) -> Result<Self> {
        let passwd = read(config, "etc/passwd").unwrap_or_default();
        let group = read(config, "etc/group").unwrap_or_default();
        Self::among(word, &passwd, &group)
    }

    fn among(word: &str, passwd: &str, group: &str) -> Result<Self> {
        let (user, wanted_group) =
            word.split_once(':').map_or((word, None), |(user, group)| (user, Some(group)));
        let unknown = |what: String| Error::new(Kind::Usage, format!("the container's {what}"));
        let found = Self::look_up(user, passwd, group);
        let found = found.ok_or_else(|| unknown(format!("/etc/passwd has no user {user:?}")))?;
        let Some(name) = wanted_group else { return Ok(found) };
        let gid = gid_of(name, group);
        let gid = gid.ok_or_else(|| unknown(format!("/etc/group has no group {name:?}")))?;
        // As in other tools: who names a group gets that one alone.
        Ok(Self { gid, groups: Vec::new(), ..found })
    }

    fn look_up(word: &str, passwd: &str, group: &str) -> Option<Self> {
        let number: Option<u32> = word.parse().ok();
        let fields = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let found = fields.filter_map(|fields| {
            let [name, _, uid, gid, _, home, shell] = fields[..] else { return None };
            let (uid, gid) = (uid.parse::<u32>().ok()?, gid.parse::<u32>().ok()?);
            // passwd(5): an empty field means /bin/sh.
            let shell = if shell.is_empty() { "/bin/sh" } else { shell };
            let (home, shell) = (home.to_owned(), Some(shell.to_owned()));
            Some(Self { uid, gid, groups: groups_of(name, group), name: Some(name.to_owned()), home, shell })
        });
        let is_wanted = |user: &Self| user.name.as_deref() == Some(word) || Some(user.uid) == number;
        found.into_iter().find(is_wanted).or_else(|| number.map(Self::unnamed))
    }

    /// Returns the variables that tell programs who they run for.
    pub(crate) fn environment(&self) -> Vec<String> {
        let name = self.name.iter().flat_map(|name| [format!("USER={name}"), format!("LOGNAME={name}")]);
        let shell = self.shell.iter().map(|shell| format!("SHELL={shell}"));
        name.chain([format!("HOME={}", self.home)]).chain(shell).collect()
    }
}

/// Refuses a user or group that a container with this map does not have.
pub(crate) fn refuse_unmapped(map: &IdMap, uid: u32, gid: u32) -> Result<()> {
    for (kind, what, id) in [(IdKind::User, "user", uid), (IdKind::Group, "group", gid)] {
        let extents = map.extents(kind);
        let has =
            |extent: &IdExtent| (u64::from(extent.inside.start())..extent.inside.end()).contains(&id.into());
        // A container without a map has all ids of the host.
        if !extents.is_empty() && !extents.iter().any(has) {
            let mapped: Vec<String> = extents.iter().map(|extent| extent.inside.to_string()).collect();
            let cause = format!("the container has no {what} id {id}; its id map has {}", mapped.join(", "));
            return Err(Error::new(Kind::Usage, cause));
        }
    }
    Ok(())
}

fn gid_of(word: &str, group: &str) -> Option<u32> {
    let mut lines = group.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let named = lines.find_map(|fields| match fields[..] {
        [name, _, gid, _] if name == word => gid.parse().ok(),
        _ => None,
    });
    named.or_else(|| word.parse().ok())
}

fn groups_of(name: &str, group: &str) -> Vec<u32> {
    let lines = group.lines().map(|line| line.split(':').collect::<Vec<_>>());
    lines
        .filter_map(|fields| match fields[..] {
            [_, _, gid, members] if members.split(',').any(|member| member == name) => gid.parse().ok(),
            _ => None,
        })
        .collect()
}

fn open(root: &str, file: &str) -> Result<OwnedFd> {
    let root = path::open_dir(Path::new(root)).doing("opening the root file system")?;
    let flags = OpenFlags::RDONLY | OpenFlags::NONBLOCK | OpenFlags::NOCTTY;
    Ok(path::open_in(root.as_fd(), Path::new(file), Links::InRoot, flags)?)
}

/// Reads a file of the container: of an overlay the one in the topmost layer that has it. It is the container's to fill: a link leads nowhere outside, a FIFO does not block.
fn read(config: &Config, file: &str) -> Result<String> {
    let roots = config.rootfs_path.as_ref().map_or_else(|| vec!["/"], config::RootfsPath::layers);
    let (last, upper) = roots.split_last().unwrap_or((&"/", &[]));
    let opened = upper.iter().find_map(|root| open(root, file).ok()).map_or_else(|| open(last, file), Ok)?;
    if !path::is_regular(opened.as_fd())? {
        return Err(Error::new(Kind::Rootfs, format!("/{file} is no file")));
    }
    Ok(String::from_utf8_lossy(&path::read_all(opened, CAP)?).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nana:x:1000:1000::/home/ana:/bin/bash\nbroken:x:1\n";
    const GROUP: &str = "root:x:0:\nadm:x:4:syslog,ana\nana:x:1000:\naudio:x:29:anabel\n";

    #[test]
    fn users_are_found_by_name_and_by_number() {
        let ana = User::look_up("ana", PASSWD, GROUP).unwrap();
        assert_eq!((ana.uid, ana.gid, ana.home.as_str()), (1000, 1000, "/home/ana"));
        assert_eq!(ana.groups, [4]);
        assert_eq!(User::look_up("1000", PASSWD, GROUP), Some(ana));
    }

    #[test]
    fn a_group_may_be_named_beside_the_user() {
        let of = |word| User::among(word, PASSWD, GROUP).map(|user| (user.uid, user.gid, user.groups));
        assert_eq!(of("5:6").unwrap(), (5, 6, vec![]));
        assert_eq!(of("ana:audio").unwrap(), (1000, 29, vec![]));
        assert!(of("ana:bogus").unwrap_err().to_string().contains("no group \"bogus\""));
        assert!(of(":6").is_err());
        assert!(of("5:").is_err());
    }

    #[test]
    fn the_environment_tells_of_the_login() {
        let ana = User::look_up("ana", PASSWD, GROUP).unwrap();
        assert_eq!(ana.environment(), ["USER=ana", "LOGNAME=ana", "HOME=/home/ana", "SHELL=/bin/bash"]);
        assert_eq!(User::look_up("77", PASSWD, GROUP).unwrap().environment(), ["HOME=/"]);
    }

    #[test]
    fn ids_outside_of_the_map_are_refused() {
        let mut map = IdMap::default();
        assert!(refuse_unmapped(&map, 70_000, 0).is_ok());
        for kind in [IdKind::User, IdKind::Group] {
            map.push(kind, IdExtent::new(0, 100_000, 65_536).unwrap());
        }
        assert!(refuse_unmapped(&map, 65_535, 65_535).is_ok());
        let refused = refuse_unmapped(&map, 0, 65_536).unwrap_err().to_string();
        assert_eq!(refused, "the container has no group id 65536; its id map has 0-65535");
    }

    #[test]
    fn a_number_needs_no_name_and_a_name_needs_a_line() {
        assert_eq!(User::look_up("77", PASSWD, GROUP).map(|user| (user.uid, user.name)), Some((77, None)));
        assert_eq!(User::look_up("ben", PASSWD, GROUP), None);
        assert_eq!(User::look_up("broken", PASSWD, GROUP), None);
    }
}
