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
/// What images include of it: these, and those of their distribution, as in `debian.common.conf`.
const USUAL: [&str; 2] = ["common.conf", "userns.conf"];
/// How many lines that are not taken are told of.
const TOLD: usize = 10;
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
    let more = notes.len().saturating_sub(TOLD);
    notes.truncate(TOLD);
    notes.extend((more > 0).then(|| format!("{more} more lines of the image's configuration are not taken")));
    Ok(notes)
}

/// Returns the value to write, if an image may set the key to it.
pub(super) fn allowed(key: &str, value: &str) -> Option<String> {
    if key == "lxc.include" {
        let file = value.strip_prefix(SHARE[0]).or_else(|| value.strip_prefix(SHARE[1]))?;
        let name = file.strip_prefix('/').filter(|name| is_usual(name))?;
        return Some(format!("{}/{name}", SHARE[1]));
    }
    // Without a value the variable would be taken from the user.
    let inherits = key == "lxc.environment" && !value.contains('=');
    let shows_more = key == "lxc.mount.auto" && !value.split_whitespace().all(is_of_the_kernel);
    (ALLOWED.contains(&key) && !inherits && !shows_more).then(|| value.to_owned())
}

/// Tells whether a file of LXC's share directory is one that images of a distribution include. Others, such as `nesting.conf`, take
/// protection away, and are for the user to include.
fn is_usual(name: &str) -> bool {
    let whose = USUAL.iter().find_map(|usual| name.strip_suffix(usual));
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    whose.is_some_and(|whose| {
        whose.is_empty()
            || whose.strip_suffix('.').is_some_and(|word| !word.is_empty() && word.chars().all(is_word))
    })
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
        for name in ["common.conf", "userns.conf", "ubuntu-cloud.common.conf", "alpine.userns.conf"] {
            let value = format!("LXC_TEMPLATE_CONFIG/{name}");
            assert_eq!(allowed("lxc.include", &value), Some(format!("/usr/share/lxc/config/{name}")));
        }
        for (key, value) in [
            ("lxc.include", "LXC_TEMPLATE_CONFIG/nesting.conf"),
            ("lxc.include", "LXC_TEMPLATE_CONFIG/.."),
            ("lxc.include", "LXC_TEMPLATE_CONFIG/"),
            ("lxc.include", "LXC_TEMPLATE_CONFIG/.common.conf"),
            ("lxc.include", "LXC_TEMPLATE_CONFIG/...common.conf"),
            ("lxc.include", "LXC_TEMPLATE_CONFIG/evilcommon.conf"),
            ("lxc.include", "LXC_TEMPLATE_CONFIG/common.conf.d"),
            ("lxc.include", "LXC_TEMPLATE_CONFIG/x/debian.common.conf"),
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
