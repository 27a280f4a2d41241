//! Users of a container, by number or by the names in its own files.

use std::os::fd::AsFd;
use std::path::Path;

use config::Config;
use container::{Doing, Error, Kind, Result};
use sys::path::{self, Links, OpenFlags};

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
}

impl User {
    /// Returns root.
    pub(crate) fn root() -> Self {
        Self { uid: 0, gid: 0, groups: Vec::new(), name: Some("root".to_owned()), home: "/root".to_owned() }
    }

    /// Finds the user `word`: a number, or a name of the container's passwd file.
    pub(crate) fn find(word: &str, config: &Config) -> Result<Self> {
        let passwd = read(config, "etc/passwd").unwrap_or_default();
        let group = read(config, "etc/group").unwrap_or_default();
        Self::look_up(word, &passwd, &group)
            .ok_or_else(|| Error::new(Kind::Usage, format!("the container's /etc/passwd has no user {word}")))
    }

    fn look_up(word: &str, passwd: &str, group: &str) -> Option<Self> {
        let number: Option<u32> = word.parse().ok();
        let fields = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let found = fields.filter_map(|fields| {
            let [name, _, uid, gid, _, home, _] = fields[..] else { return None };
            Some((name.to_owned(), uid.parse::<u32>().ok()?, gid.parse::<u32>().ok()?, home.to_owned()))
        });
        let mut wanted = found.filter(|(name, uid, ..)| name == word || Some(*uid) == number);
        match wanted.next() {
            Some((name, uid, gid, home)) => {
                let groups = groups_of(&name, group);
                Some(Self { uid, gid, groups, name: Some(name), home })
            }
            None => {
                number.map(|uid| Self { uid, gid: uid, groups: Vec::new(), name: None, home: "/".to_owned() })
            }
        }
    }

    /// Returns the variables that tell programs who they run for.
    pub(crate) fn environment(&self) -> Vec<String> {
        let name = self.name.iter().flat_map(|name| [format!("USER={name}"), format!("LOGNAME={name}")]);
        name.chain([format!("HOME={}", self.home)]).collect()
    }
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

/// Reads a file of the container. It is the container's to fill: a link leads nowhere outside, a FIFO does not block.
fn read(config: &Config, file: &str) -> Result<String> {
    let root = config.rootfs_path.as_ref().map_or("/", |rootfs| rootfs.path.as_str());
    let root = path::open_dir(Path::new(root)).doing("opening the root file system")?;
    let flags = OpenFlags::RDONLY | OpenFlags::NONBLOCK | OpenFlags::NOCTTY;
    let opened = path::open_in(root.as_fd(), Path::new(file), Links::InRoot, flags)?;
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
    fn a_number_needs_no_name_and_a_name_needs_a_line() {
        assert_eq!(User::look_up("77", PASSWD, GROUP).map(|user| (user.uid, user.name)), Some((77, None)));
        assert_eq!(User::look_up("ben", PASSWD, GROUP), None);
        assert_eq!(User::look_up("broken", PASSWD, GROUP), None);
    }
}
