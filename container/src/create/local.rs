//! Template `local`: LXC's pair of archives, metadata and root file system.
//!
//! Beside the configuration the metadata names files of the root file system in which words such as `LXC_NAME` stand for the
//! container's own, and what of the archive an ordinary user's container leaves out.
//!
//! The metadata comes from an image, which is not trusted: of its configuration only the keys of [`ALLOWED`] are taken,
//! and includes only from LXC's own share directory. A hook or mount of an image would run as the user, or show the
//! user's files.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use sys::path;

use super::{Files, Filled, Filling, text};
use crate::error::{Doing, Error, Kind, Result};

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
/// What LXC writes behind the names of files of the metadata: for ordinary users, and for today's configurations.
const USER: &str = "-user";
const COMPAT_LEVEL: &str = ".5";
/// The most that is read of one.
const CAP: u64 = 1 << 20;
/// How many lines each of these files may have: each costs a look at the root file system, or at all paths of it.
const MOST_LINES: usize = 500;

/// The files of the metadata, as text; those that are not there are empty.
#[derive(Debug, Default)]
pub(super) struct Metadata {
    config: String,
    excludes: String,
    templates: String,
    fstab: String,
    message: String,
}

impl Filling<'_> {
    pub(super) fn local(
        &mut self,
        metadata: &OwnedFd,
        rootfs: &Files,
        no_dev: bool,
        config: &mut text::Builder,
    ) -> Result<Filled> {
        let metadata = self.metadata(metadata, &["metadata"]).doing("reading the metadata")?;
        let mut notes = take(&metadata.config, config)?;
        let patterns = metadata.excludes.lines().filter(|line| !line.is_empty());
        let excludes: Vec<&str> = patterns.chain(no_dev.then_some("dev/*")).collect();
        let filled = self.files(rootfs, &excludes)?;
        notes.extend(filled.notes);
        self.fill_placeholders(&metadata.templates)?;
        self.settle_inside()?;
        let is_mount = |line: &str| !line.trim().is_empty() && !line.starts_with('#');
        if metadata.fstab.lines().any(is_mount) {
            notes.push("the mounts of the image's fstab are not taken".to_owned());
        }
        let said = metadata.message.lines().filter(|line| !line.trim().is_empty()).take(TOLD);
        notes.extend(
            said.map(|line| format!("the image says: {}", line.chars().take(200).collect::<String>())),
        );
        Ok(Filled { unpacked: filled.unpacked, notes })
    }

    /// Unpacks the metadata into a directory that container root may write, and reads the configuration in it.
    pub(super) fn image_config(&mut self, metadata: &OwnedFd, words: &[&str]) -> Result<String> {
        self.metadata(metadata, words).map(|metadata| metadata.config).doing("reading the metadata")
    }

    fn metadata(&mut self, metadata: &OwnedFd, words: &[&str]) -> Result<Metadata> {
        let root = self.root.dir()?;
        let name = std::ffi::OsStr::new("metadata");
        // Below the rootfs, which is container root's, and gone again before the root file system comes.
        self.namespace()?.run(|| Ok(path::make_dir(root, name, 0o755)?))?;
        let target = path::open_dir_at(root, Path::new(name))?;
        let unpacked = self.unpack_to(target.as_fd(), metadata, words);
        let read = unpacked.and_then(|_| {
            let text = |name| few_lines(name, relevant(target.as_fd(), name));
            Ok(Metadata {
                config: text("config")?,
                excludes: text("excludes")?,
                templates: text("templates")?,
                fstab: text("fstab")?,
                message: text("create-message")?,
            })
        });
        self.namespace()?.run(|| Ok(sys::file::remove_tree(root, name)?))?;
        read
    }

    /// Puts the container's own in the place of LXC's words, in the files that the metadata names.
    fn fill_placeholders(&self, templates: &str) -> Result<()> {
        let files: Vec<&str> = templates.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let words = self.placeholders();
        self.inside(|| files.iter().try_for_each(|file| fill(file, &words))).doing("filling in templates")
    }

    /// What LXC's words stand for. Source: LXC's template `local`.
    pub(super) fn placeholders(&self) -> [(&'static str, String); 5] {
        let dir = self.place.dir();
        [
            ("LXC_NAME", self.place.name.to_string()),
            ("LXC_PATH", dir.display().to_string()),
            ("LXC_ROOTFS", dir.join("rootfs").display().to_string()),
            ("LXC_TEMPLATE_CONFIG", SHARE[1].to_owned()),
            ("LXC_HOOK_DIR", "/usr/share/lxc/hooks".to_owned()),
        ]
    }
}

/// Refuses a file of more lines than any image has.
fn few_lines(name: &str, text: String) -> Result<String> {
    match text.lines().nth(MOST_LINES) {
        None => Ok(text),
        Some(_) => Err(Error::new(Kind::Image, format!("{name} has more than {MOST_LINES} lines"))),
    }
}

/// Reads the file of a name that is meant for an ordinary user and this version.
fn relevant(dir: BorrowedFd<'_>, name: &str) -> String {
    let read = |name: &str| {
        let flags = path::OpenFlags::RDONLY | path::OpenFlags::NONBLOCK;
        let file = path::open_in(dir, Path::new(name), path::Links::Refuse, flags).ok()?;
        let bytes =
            path::is_regular(file.as_fd()).ok().filter(|regular| *regular).map(|_| path::read_all(file, CAP));
        Some(String::from_utf8_lossy(&bytes?.ok()?).into_owned())
    };
    let user = format!("{name}{USER}");
    let best = |name: &str| read(&format!("{name}{COMPAT_LEVEL}")).or_else(|| read(name));
    best(&user).or_else(|| best(name)).unwrap_or_default()
}

/// Fills the words into a file of the working root. What is no file of text stays as it is.
pub(super) fn fill(file: &str, words: &[(&str, String)]) -> Result<()> {
    let doing = || format!("filling in {}", file.escape_debug());
    let root = path::open_dir(Path::new("/")).doing_with(doing)?;
    let open = |mode| {
        let flags = mode | path::OpenFlags::NONBLOCK | path::OpenFlags::NOCTTY;
        path::open_in(root.as_fd(), Path::new(file), path::Links::InRoot, flags)
    };
    let Ok(opened) = open(path::OpenFlags::RDONLY) else { return Ok(()) };
    if !path::is_regular(opened.as_fd()).doing_with(doing)? {
        return Ok(());
    }
    let Ok(Ok(old)) = path::read_all(opened, CAP).map(String::from_utf8) else { return Ok(()) };
    let new = words.iter().fold(old.clone(), |text, (word, value)| text.replace(word, value));
    if new == old {
        return Ok(());
    }
    let opened = open(path::OpenFlags::RDWR).doing_with(doing)?;
    sys::file::set_length(opened.as_fd(), 0).doing_with(doing)?;
    sys::file::write_all_at(opened.as_fd(), new.as_bytes(), 0).doing_with(doing)
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
