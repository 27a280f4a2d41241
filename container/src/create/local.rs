//! Template `local`: LXC's pair of archives, metadata and root file system.
//!
//! The metadata comes from an image, which is not trusted: of its configuration only the keys of [`ALLOWED`] are taken,
//! and includes only from LXC's own share directory. A hook or mount of an image would run as the user, or show the
//! user's files.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use sys::path;

use super::{Filled, Filling, text};
use crate::error::{Doing, Result};

/// Keys that an image may set.
const ALLOWED: [&str; 10] = [
    "lxc.arch",
    "lxc.signal.halt",
    "lxc.signal.reboot",
    "lxc.signal.stop",
    "lxc.init.cmd",
    "lxc.tty.max",
    "lxc.pty.max",
    "lxc.tty.dir",
    "lxc.environment",
    "lxc.mount.auto",
];
/// What images write for LXC's share directory, and what it stands for.
const SHARE: [&str; 2] = ["LXC_TEMPLATE_CONFIG", "/usr/share/lxc/config"];
/// Files of the metadata that hold the configuration: for ordinary users first.
const CONFIGS: [&str; 2] = ["config-user", "config"];
/// The most that is read of one.
const CAP: u64 = 1 << 20;

impl Filling<'_> {
    pub(super) fn local(
        &mut self,
        metadata: &OwnedFd,
        rootfs: &OwnedFd,
        no_dev: bool,
        config: &mut text::Builder,
    ) -> Result<Filled> {
        let notes = take(&self.image_config(metadata, &["metadata"])?, config)?;
        let words: &[&str] = if no_dev { &["unpack", "--exclude-dev"] } else { &["unpack"] };
        let unpacked = Some(self.unpack(rootfs, words)?);
        self.settle_inside()?;
        Ok(Filled { unpacked, notes })
    }

    /// Unpacks the metadata into a directory that container root may write, and reads the configuration in it.
    pub(super) fn image_config(&mut self, metadata: &OwnedFd, words: &[&str]) -> Result<String> {
        self.read_config(metadata, words).doing("reading the metadata")
    }

    fn read_config(&mut self, metadata: &OwnedFd, words: &[&str]) -> Result<String> {
        let root = self.root.dir()?;
        let name = std::ffi::OsStr::new("metadata");
        // Below the rootfs, which is container root's, and gone again before the root file system comes.
        self.namespace()?.run(|| Ok(path::make_dir(root, name, 0o755)?))?;
        let target = path::open_dir_at(root, Path::new(name))?;
        let unpacked = self.unpack_to(target.as_fd(), metadata, words);
        let read = unpacked.map(|_| {
            let flags = path::OpenFlags::RDONLY | path::OpenFlags::NONBLOCK;
            let open =
                |file: &&str| path::open_in(target.as_fd(), Path::new(file), path::Links::Refuse, flags).ok();
            let found = CONFIGS.iter().find_map(open);
            let regular = found.filter(|fd| path::is_regular(fd.as_fd()).unwrap_or(false));
            regular.and_then(|fd| path::read_all(fd, CAP).ok()).unwrap_or_default()
        });
        self.namespace()?.run(|| Ok(sys::file::remove_tree(root, name)?))?;
        Ok(String::from_utf8_lossy(&read?).into_owned())
    }
}

/// Writes what an image may set into a configuration, and says what is not taken. An image that says nothing is a usual system.
pub(super) fn take(image: &str, config: &mut text::Builder) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    if image.is_empty() {
        config.system_container()?;
    }
    for (key, value) in config::lines(image) {
        match allowed(key, value) {
            Some(value) => config.set(key, &value)?,
            None => notes.push(format!("the image's {key} = {value} is not taken")),
        }
    }
    Ok(notes)
}

/// Returns the value to write, if an image may set the key to it.
fn allowed(key: &str, value: &str) -> Option<String> {
    if key == "lxc.include" {
        let file = value.strip_prefix(SHARE[0]).or_else(|| value.strip_prefix(SHARE[1]))?;
        let name = file.strip_prefix('/').filter(|name| !name.is_empty() && !name.contains('/'))?;
        return Some(format!("{}/{name}", SHARE[1]));
    }
    // Without a value the variable would be taken from the user.
    let inherits = key == "lxc.environment" && !value.contains('=');
    let shows_more = key == "lxc.mount.auto" && !value.split_whitespace().all(is_of_the_kernel);
    (ALLOWED.contains(&key) && !inherits && !shows_more).then(|| value.to_owned())
}

/// Tells whether a word of `lxc.mount.auto` mounts a file system of the kernel's. Others, such as `shmounts:/home/ana:/x`, bind
/// a directory of the user's.
fn is_of_the_kernel(word: &str) -> bool {
    let name = word.split(':').next().unwrap_or_default();
    ["proc", "sys", "cgroup", "cgroup-full"].contains(&name) && !word.contains('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_images_quotes_are_no_part_of_its_values() {
        let text = "# lxc.arch = x\nlxc.tty.max = \"4\"\r\n  lxc.environment = A='b'\nelse = 1\n";
        let read: Vec<_> = config::lines(text).collect();
        assert_eq!(read, [("lxc.tty.max", "4"), ("lxc.environment", "A='b'")]);
    }

    #[test]
    fn an_image_sets_what_is_harmless_and_nothing_else() {
        assert_eq!(allowed("lxc.arch", "amd64").as_deref(), Some("amd64"));
        let mounts = "proc:mixed sys:ro cgroup:mixed cgroup-full:rw:force";
        assert_eq!(allowed("lxc.mount.auto", "proc:mixed sys:ro").as_deref(), Some("proc:mixed sys:ro"));
        assert_eq!(allowed("lxc.mount.auto", mounts).as_deref(), Some(mounts));
        let share = "/usr/share/lxc/config/debian.common.conf";
        assert_eq!(allowed("lxc.include", "LXC_TEMPLATE_CONFIG/debian.common.conf").as_deref(), Some(share));
        for (key, value) in [
            ("lxc.hook.pre-start", "rm -rf ~"),
            ("lxc.mount.entry", "/home home none bind"),
            ("lxc.include", "/home/ana/evil"),
            ("lxc.include", "LXC_TEMPLATE_CONFIG/../../../home/ana/evil"),
            ("lxc.include", "LXC_TEMPLATE_CONFIG"),
            ("lxc.idmap", "u 0 0 1"),
            ("lxc.environment", "SECRET"),
            ("lxc.rootfs.path", "/"),
            ("lxc.mount.auto", "shmounts:/home/ana:/x"),
            ("lxc.mount.auto", "proc:mixed shmounts:/home/ana"),
            ("lxc.mount.auto", "proc:/home/ana"),
        ] {
            assert_eq!(allowed(key, value), None, "{key} = {value}");
        }
    }
}
