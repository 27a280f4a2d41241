//! The text of a configuration file, kept for saving.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::keys::{self, Shape};
use crate::legacy::Today;
use crate::line::{self, Line};
use crate::load::Devices;
use crate::{Config, Fault, HwAddr, RootfsPath, legacy, load};

/// The text of one file with its comments, its order and the lines that nobody understands. What it includes stays
/// an include.
///
/// Line breaks are those of Unix; files with others are saved with these, as LXC does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    lines: Vec<Vec<u8>>,
}

impl Document {
    /// Takes the text of a file, which may hold comments in any encoding.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        if bytes.is_empty() {
            return Self::default();
        }
        let text = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let lines = text.split(|byte| *byte == b'\n');
        Self { lines: lines.map(|line| without_returns(line).to_vec()).collect() }
    }

    /// Returns the text. What is no text is replaced there, and kept in [`bytes`](Self::bytes).
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }

    /// Returns the bytes of the file.
    pub fn bytes(&self) -> Vec<u8> {
        self.lines.iter().flat_map(|line| line.iter().copied().chain([b'\n'])).collect()
    }

    /// Adds a line at the end, as LXC's `set_config_item` does. A value that would not read back is quoted.
    ///
    /// # Errors
    /// A key that does not exist, or a value with a line break or a NUL.
    pub fn append(&mut self, key: &str, value: &str) -> Result<(), Fault> {
        keys::find(key)?;
        self.lines.push(line::write(key, value)?.into_bytes());
        Ok(())
    }

    /// Replaces the last line with `key` where it stands and removes the others. Where a later line or an included file would
    /// undo that, or there is no line, it comes to the end; behind a line that clears the key, where what is included adds to
    /// a list.
    ///
    /// # Errors
    /// As [`append`](Self::append); a value that the key does not take, or not beside what the file says; so much wrong in
    /// the file that its end is not read.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), Fault> {
        let (item, slot) = keys::find(key)?;
        let new = line::write(key, value)?;
        if item.name == "lxc.include" {
            self.replace(key, &new);
            return Ok(());
        }
        let mut numbered = self.clone();
        numbered.number_devices(key);
        load::lenient(&self.bytes()).set(key, value)?;
        let in_place = |document: &mut Self| document.replace(key, &new);
        let at_the_end = |document: &mut Self| document.move_to_end(key, std::slice::from_ref(&new));
        let alone = |document: &mut Self| document.move_to_end(key, &[format!("{key} ="), new.clone()]);
        let ways: [&dyn Fn(&mut Self); 3] = [&in_place, &at_the_end, &alone];
        let mut changed = ways.into_iter().map(|way| {
            let mut changed = numbered.clone();
            way(&mut changed);
            changed
        });
        let holds = |document: &Self| holds(&load::lenient(&document.bytes()), item, &slot, key, value);
        *self = changed.find(holds).ok_or_else(|| Fault::NotReached { key: key.to_owned() })?;
        Ok(())
    }

    /// Puts a line in the place of the last one with `key`, or at the end.
    fn replace(&mut self, key: &str, new: &str) {
        match self.lines.iter().rposition(|line| is_for(line, key)) {
            Some(last) => {
                self.lines[last] = new.as_bytes().to_vec();
                let mut number = 0;
                self.lines.retain(|line| {
                    number += 1;
                    number - 1 == last || !is_for(line, key)
                });
            }
            None => self.lines.push(new.as_bytes().to_vec()),
        }
    }

    /// Puts lines at the end in the place of all with `key`.
    fn move_to_end(&mut self, key: &str, new: &[String]) {
        self.lines.retain(|line| !is_for(line, key));
        self.lines.extend(new.iter().map(|line| line.as_bytes().to_vec()));
    }

    /// Writes devices without numbers with theirs, before one of them is changed: its lines would become another's, or
    /// number the others anew.
    fn number_devices(&mut self, key: &str) {
        if key == "lxc.net" || key.starts_with("lxc.net.") {
            self.rewrite(legacy::is_unindexed);
        }
    }

    /// Removes the lines that set `key`, also by a name of LXC 1 or 2. For a family, a group or a network device
    /// those are the lines of all its keys.
    ///
    /// LXC: removes all lines that start with the text of the key, so that clearing `lxc.cgroup.dir` loses
    /// `lxc.cgroup.dir.monitor` from the file.
    ///
    /// # Errors
    /// A key that does not exist.
    pub fn remove(&mut self, key: &str) -> Result<(), Fault> {
        keys::find(key)?;
        self.number_devices(key);
        self.lines.retain(|line| !is_for(line, key));
        Ok(())
    }

    /// Removes the lines that give `key` this value: one item of a list. Tells whether there were any.
    ///
    /// # Errors
    /// A key that does not exist.
    pub fn remove_value(&mut self, key: &str, value: &str) -> Result<bool, Fault> {
        keys::find(key)?;
        self.number_devices(key);
        let before = self.lines.len();
        let has_value =
            |line: &[u8]| matches!(line::read(line), Line::Setting(found) if found.value == value);
        self.lines.retain(|line| !(is_for(line, key) && has_value(line)));
        Ok(self.lines.len() < before)
    }

    /// Replaces the open digits of hardware addresses, so that the next save makes them last. Returns how many
    /// addresses that were.
    pub fn fill_hwaddrs(&mut self, mut chance: impl FnMut() -> [u8; 6]) -> usize {
        let mut filled = 0;
        for line in &mut self.lines {
            let Some((key, template)) = open_hwaddr(line) else { continue };
            let address = HwAddr::from(template.fill(chance()));
            *line = format!("{key} = {address}").into_bytes();
            filled += 1;
        }
        filled
    }

    /// Writes lines with names of LXC 1 and 2 in today's words, and leaves out those that mean nothing any more. Returns
    /// what was changed, in order.
    pub fn update(&mut self) -> Vec<Change> {
        self.rewrite(|_| true)
    }

    /// Writes the old keys that are wanted in today's words.
    fn rewrite(&mut self, is_wanted: impl Fn(&str) -> bool) -> Vec<Change> {
        let settings = || self.lines.iter().map(|line| line::read(line));
        let backend = settings().filter_map(backend_of).next_back();
        let (mut devices, mut changes) = (Devices::default(), Vec::new());
        let mut updated = Vec::with_capacity(self.lines.len());
        for (number, line) in self.lines.iter().enumerate() {
            let outcome = match line::read(line) {
                Line::Setting(old) => today(&old, &mut devices, backend.as_deref()),
                _ => Outcome::Same,
            };
            let (old, new) = match outcome {
                Outcome::Line { old, .. } | Outcome::Gone { old } if !is_wanted(&old) => {
                    updated.push(line.clone());
                    continue;
                }
                Outcome::Same => {
                    updated.push(line.clone());
                    continue;
                }
                Outcome::Line { old, new } => (old, Some(new)),
                Outcome::Gone { old } => (old, None),
            };
            updated.extend(new.clone().map(String::into_bytes));
            changes.push(Change { line: number + 1, old, new });
        }
        self.lines = updated;
        changes
    }

    /// Writes the file in one step: others see the old text or the new one, whatever happens meanwhile. A link is
    /// followed, so that it still points to the file.
    ///
    /// # Errors
    /// What creating, writing or renaming a file in the same directory can fail with. The old file is then as it was.
    pub fn save(&self, path: &Path, mode: u32) -> io::Result<()> {
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let new = beside(&path);
        let written = write_new(&new, &self.bytes(), mode).and_then(|()| fs::rename(&new, &path));
        if let Err(error) = written {
            // What is left of the new file is of no use; the first error says more than one of its removal.
            let _ = fs::remove_file(&new);
            return Err(error);
        }
        // The rename itself lasts once the directory is written.
        File::open(directory(&path))?.sync_all()
    }
}

/// A file that is being changed: whoever else wants to change it waits until this is dropped.
///
/// The lock is of the file that the path names. Since a save puts another file in its place, the path is looked at again
/// once the lock is had.
#[derive(Debug)]
pub struct Held {
    path: PathBuf,
    file: File,
}

impl Held {
    /// Waits for the file and reads it.
    ///
    /// # Errors
    /// A file that cannot be opened, locked or read.
    pub fn open(path: &Path) -> io::Result<(Self, Document)> {
        let path = path.canonicalize()?;
        loop {
            let mut file = File::open(&path)?;
            file.lock()?;
            let (held, named) = (file.metadata()?, fs::metadata(&path)?);
            if (held.dev(), held.ino()) == (named.dev(), named.ino()) {
                let mut bytes = Vec::new();
                file.read_to_end(&mut bytes)?;
                return Ok((Self { path, file }, Document::from_bytes(&bytes)));
            }
        }
    }

    /// Saves the document in the file's place, with the file's mode.
    ///
    /// # Errors
    /// As [`Document::save`].
    pub fn save(&self, document: &Document) -> io::Result<()> {
        document.save(&self.path, self.file.metadata()?.mode() & 0o777)
    }
}

/// A line that [`Document::update`] changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its number, from 1.
    pub line: usize,
    /// The key as it was written.
    pub old: String,
    /// The line in today's words; none for one that is left out.
    pub new: Option<String>,
}

/// What becomes of a line in an update.
enum Outcome {
    Same,
    Line { old: String, new: String },
    Gone { old: String },
}

/// Returns the line of an old setting in today's words. A value that LXC would refuse is not looked at: the reader says
/// what is wrong with it.
fn today(old: &line::Setting<'_>, devices: &mut Devices, backend: Option<&str>) -> Outcome {
    let name = old.key.to_owned();
    match devices.today(old.key, old.value) {
        Some(Today::Key(new)) => {
            let value = match new.as_str() {
                "lxc.rootfs.path" => with_backend(old.value, backend),
                _ => old.value.to_owned(),
            };
            Outcome::Line { old: name, new: line::setting(&new, &value) }
        }
        Some(Today::Backend | Today::Nothing) => Outcome::Gone { old: name },
        Some(Today::NoDevice) | None => Outcome::Same,
    }
}

/// Returns the value of a line that names the backing store, as LXC 1 and 2 did beside the path.
fn backend_of(line: Line<'_>) -> Option<String> {
    match line {
        Line::Setting(setting) if setting.key == legacy::BACKEND => Some(setting.value.to_owned()),
        _ => None,
    }
}

/// LXC: writes `dir:` whatever the file names.
fn with_backend(path: &str, backend: Option<&str>) -> String {
    let named = path.parse::<RootfsPath>().is_ok_and(|read| read.path != path);
    match backend.filter(|word| !word.is_empty()) {
        _ if named => path.to_owned(),
        Some(backend) => format!("{backend}:{path}"),
        None => format!("dir:{path}"),
    }
}

/// Takes the carriage returns from the end of a line, which are part of the line break in files of other systems.
fn without_returns(line: &[u8]) -> &[u8] {
    let end = line.iter().rposition(|byte| *byte != b'\r').map_or(0, |last| last + 1);
    &line[..end]
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Returns a name in the same directory that no other process uses, and no other thread of this one.
fn beside(path: &Path) -> PathBuf {
    static SAVES: AtomicU32 = AtomicU32::new(0);
    let number = SAVES.fetch_add(1, Ordering::Relaxed);
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}.{number}", std::process::id()));
    directory(path).join(name)
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    // A file of a process that died with the same id; create_new never follows a link.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => (),
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    // The umask is for files that nobody named a mode for.
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Tells whether a line sets `key` or a key that clearing `key` clears.
fn is_for(line: &[u8], key: &str) -> bool {
    let Line::Setting(setting) = line::read(line) else { return false };
    let today = legacy::plain(setting.key);
    let name = today.as_deref().unwrap_or(setting.key);
    let is_backend = || key == "lxc.rootfs.path" && name == legacy::BACKEND;
    name == key || is_backend() || belongs_to(name, key)
}

/// Tells whether the key `name` is `head`, with its number written in another way, or one of those that it stands for.
fn belongs_to(name: &str, head: &str) -> bool {
    let below = name.strip_prefix(head).is_some_and(|rest| rest.starts_with('.'));
    let Some((head_item, head_slot)) = keys::lookup(head) else { return false };
    let is_same_item = |(item, _): &(&keys::Key, _)| std::ptr::eq(*item, head_item);
    let found = keys::lookup(name);
    match head_item.shape {
        Shape::Family if head_slot.name.is_empty() => {
            below && found.is_some_and(|found| is_same_item(&found))
        }
        Shape::Group if head_item.name == "lxc.net.N" => {
            let is_of_device = |(item, slot): (&keys::Key, keys::Slot<'_>)| {
                item.name.starts_with(head_item.name) && slot.index == head_slot.index
            };
            below || found.is_some_and(is_of_device)
        }
        // Clearing the hooks leaves their version.
        Shape::Group => below && name != "lxc.hook.version",
        _ => found.is_some_and(|found| is_same_item(&found) && found.1 == head_slot),
    }
}

/// Tells whether a configuration says what a line with `key` and `value` set it to: once more changes nothing.
fn holds(loaded: &Config, item: &'static keys::Key, slot: &keys::Slot<'_>, key: &str, value: &str) -> bool {
    let mut again = loaded.clone();
    let adds_up = item.shape == Shape::List || matches!(item.name, "lxc.cgroup2" | "lxc.cgroup");
    if adds_up {
        (item.access.clear)(&mut again, slot);
    }
    again.set(key, value).is_ok() && again == *loaded
}

fn open_hwaddr(line: &[u8]) -> Option<(String, HwAddr)> {
    let Line::Setting(setting) = line::read(line) else { return None };
    let is_address = setting.key.ends_with(".hwaddr") && setting.key.starts_with("lxc.net");
    let address: HwAddr = is_address.then(|| setting.value.parse().ok())??;
    (!address.is_fixed()).then(|| (setting.key.to_owned(), address))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# a comment\n\nfoo = bar\nlxc.uts.name = a\n  lxc.net.0.type = veth\nlxc.net.1.type = veth\n\
                        lxc.cgroup.dir = x\nlxc.cgroup.dir.monitor = y\nlxc.utsname = b\n";

    fn document() -> Document {
        Document::from_bytes(TEXT.as_bytes())
    }

    #[test]
    fn what_is_not_touched_is_kept_to_the_byte() {
        assert_eq!(document().text(), TEXT);
        let latin1 = b"# caf\xe9\nlxc.uts.name = a\n";
        assert_eq!(Document::from_bytes(latin1).bytes(), latin1);
        assert_eq!(Document::from_bytes(b"a\r\nb").bytes(), b"a\nb\n");
        assert_eq!(Document::from_bytes(b"\n").bytes(), b"\n");
        assert_eq!(Document::from_bytes(b"").bytes(), b"");
        assert_eq!(Document::from_bytes(b"").bytes(), b"");
    }

    #[test]
    fn appending_adds_a_line_and_refuses_what_would_add_two() {
        let mut document = document();
        document.append("lxc.uts.name", " c ").unwrap();
        assert_eq!(document.text(), format!("{TEXT}lxc.uts.name = \" c \"\n"));
        assert_eq!(document.append("lxc.uts.name", "a\nlxc.hook.start = /evil"), Err(Fault::Unwritable));
        assert!(document.append("lxc.uts.nam", "a").is_err());
    }

    #[test]
    fn setting_replaces_in_place_and_by_any_name() {
        let mut document = document();
        document.set("lxc.uts.name", "c").unwrap();
        let text = document.text();
        assert!(text.ends_with("lxc.uts.name = c\n") && text.matches("uts").count() == 1, "{text}");
        document.set("lxc.cgroup.dir", "z").unwrap();
        assert!(document.text().contains("lxc.cgroup.dir = z\nlxc.cgroup.dir.monitor = y\n"));
    }

    /// Sets a key of a text and returns the new text.
    fn set(text: &str, key: &str, value: &str) -> String {
        let mut document = Document::from_bytes(text.as_bytes());
        document.set(key, value).unwrap();
        document.text()
    }

    #[test]
    fn a_line_that_would_be_undone_comes_to_the_end() {
        for (text, key, value, new) in [
            (
                "lxc.cgroup2.pids.max = 1\nlxc.cgroup2 =\n",
                "lxc.cgroup2.pids.max",
                "2",
                "lxc.cgroup2 =\nlxc.cgroup2.pids.max = 2\n",
            ),
            (
                "lxc.cap.drop = chown\nlxc.cap.keep =\n",
                "lxc.cap.drop",
                "kill",
                "lxc.cap.keep =\nlxc.cap.drop = kill\n",
            ),
            (
                "lxc.net.0.link = a\nlxc.net =\nlxc.net.0.type = veth\n",
                "lxc.net.0.link",
                "b",
                "lxc.net =\nlxc.net.0.type = veth\nlxc.net.0.link = b\n",
            ),
            ("lxc.net.0.link = a\nlxc.net.00.link = b\n", "lxc.net.0.link", "c", "lxc.net.0.link = c\n"),
        ] {
            assert_eq!(set(text, key, value), new);
        }
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("more");
        fs::write(&file, "lxc.uts.name = more\nlxc.group = more\nlxc.mount.auto = proc\n").unwrap();
        let include = format!("lxc.include = {}\n", file.display());
        let before = format!("lxc.uts.name = a\nlxc.group = a\nlxc.mount.auto = sys\n{include}");
        let name = set(&before, "lxc.uts.name", "b");
        assert!(name.ends_with(&format!("{include}lxc.uts.name = b\n")), "{name}");
        let group = set(&before, "lxc.group", "b");
        assert!(group.ends_with(&format!("{include}lxc.group =\nlxc.group = b\n")), "{group}");
        // What is included sets another class.
        assert!(
            set(&before, "lxc.mount.auto", "sys:rw").contains(&format!("lxc.mount.auto = sys:rw\n{include}"))
        );
    }

    #[test]
    fn a_value_that_would_not_hold_is_refused_and_changes_nothing() {
        for (text, key, value) in [
            ("lxc.cap.drop = chown\n".to_owned(), "lxc.cap.keep", "kill"),
            ("lxc.bogus = 1\n".repeat(200), "lxc.uts.name", "a"),
            (String::new(), "lxc.tty.max", "x"),
            ("lxc.network.type = veth\n".to_owned(), "lxc.net.0.mtu", "x"),
        ] {
            let mut document = Document::from_bytes(text.as_bytes());
            let before = document.clone();
            assert!(document.set(key, value).is_err(), "{key}");
            assert_eq!(document, before);
        }
    }

    #[test]
    fn a_path_takes_the_place_of_an_old_one_and_of_its_backing_store() {
        let old = "lxc.rootfs.backend = overlay\nlxc.rootfs = /a:/b\n";
        assert_eq!(set(old, "lxc.rootfs.path", "dir:/c"), "lxc.rootfs.path = dir:/c\n");
    }

    #[test]
    fn devices_without_numbers_are_changed_and_removed_by_theirs() {
        let old = "lxc.network.type = veth\nlxc.network.link = a\nlxc.network.bogus = 1\nlxc.network.type = veth\n\
                   lxc.network.link = b\nlxc.utsname = u\n";
        let second = "lxc.net.1.type = veth\nlxc.net.1.link = b\nlxc.utsname = u\n";
        let of = |act: &dyn Fn(&mut Document)| {
            let mut document = Document::from_bytes(old.as_bytes());
            act(&mut document);
            document.text()
        };
        assert_eq!(of(&|document| document.remove("lxc.net.0").unwrap()), second);
        assert_eq!(of(&|document| document.remove("lxc.net").unwrap()), "lxc.utsname = u\n");
        assert_eq!(
            of(&|document| document.remove("lxc.uts.name").unwrap()),
            old.replace("lxc.utsname = u\n", "")
        );
        let changed = of(&|document| document.set("lxc.net.1.link", "c").unwrap());
        assert!(
            changed.ends_with(&second.replace("= b", "= c")) && changed.starts_with("lxc.net.0.type"),
            "{changed}"
        );
        let gone = of(&|document| assert!(document.remove_value("lxc.net.1.link", "b").unwrap()));
        assert!(gone.contains("lxc.net.0.link = a") && !gone.contains("link = b"), "{gone}");
    }

    #[test]
    fn devices_of_included_files_count_and_includes_without_end_come_to_an_end() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("more");
        fs::write(&file, "lxc.net.4.type = veth\n").unwrap();
        let include = format!("lxc.include = {}\n", file.display());
        let mut document = Document::from_bytes(format!("{include}lxc.network.type = empty\n").as_bytes());
        document.update();
        assert_eq!(document.text(), format!("{include}lxc.net.5.type = empty\n"));
        fs::write(&file, "# words\n".repeat(1 << 16)).unwrap();
        let mut long = Document::from_bytes(include.repeat(5000).as_bytes());
        assert_eq!(long.update(), []);
    }

    #[test]
    fn removing_takes_the_lines_of_a_device_or_family_and_no_others() {
        let mut document = document();
        document.remove("lxc.net.0").unwrap();
        document.remove("lxc.cgroup").unwrap();
        document.remove("lxc.uts.name").unwrap();
        let left = "# a comment\n\nfoo = bar\nlxc.net.1.type = veth\nlxc.cgroup.dir = x\nlxc.cgroup.dir.monitor = y\n";
        assert_eq!(document.text(), left);
    }

    #[test]
    fn open_digits_of_hardware_addresses_are_filled_in_the_text() {
        let mut document = Document::from_bytes(
            b"lxc.net.0.hwaddr = 10:66:6a:xx:xx:xx\nlxc.net.1.hwaddr = 10:66:6a:00:00:00\n",
        );
        assert_eq!(document.fill_hwaddrs(|| [0xab; 6]), 1);
        assert_eq!(
            document.text(),
            "lxc.net.0.hwaddr = 10:66:6a:ab:ab:ab\nlxc.net.1.hwaddr = 10:66:6a:00:00:00\n"
        );
    }

    #[test]
    fn saving_replaces_the_file_in_one_step_and_follows_a_link() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("config"), directory.path().join("link"));
        fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        document().save(&link, 0o640).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), TEXT);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    }

    #[test]
    fn threads_that_save_one_file_do_not_meet() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("config");
        let save = |text: String| {
            let document = Document::from_bytes(text.as_bytes());
            (0..50).for_each(|_| document.save(&file, 0o600).unwrap());
        };
        std::thread::scope(|threads| {
            for name in ["a", "b", "c"] {
                threads.spawn(move || save(format!("lxc.uts.name = {name}\n").repeat(99)));
            }
        });
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.lines().count() == 99 && text.lines().all(|line| Some(line) == text.lines().next()));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn changes_of_one_file_at_the_same_time_are_all_kept() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("config");
        fs::write(&file, "# c\n").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        let add = |group: String| {
            let (held, mut document) = Held::open(&file).unwrap();
            document.append("lxc.group", &group).unwrap();
            held.save(&document).unwrap();
        };
        std::thread::scope(|threads| {
            for name in ["a", "b", "c"] {
                threads.spawn(move || (0..20).for_each(|number| add(format!("{name}{number}"))));
            }
        });
        assert_eq!(fs::read_to_string(&file).unwrap().lines().count(), 61);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
    }

    #[test]
    fn one_item_of_a_list_is_removed_by_its_value() {
        let mut document = Document::from_bytes(b"lxc.group = a\nlxc.group = \"b\"\nlxc.uts.name = b\n");
        assert_eq!(document.remove_value("lxc.group", "b"), Ok(true));
        assert_eq!(document.remove_value("lxc.group", "c"), Ok(false));
        assert_eq!(document.text(), "lxc.group = a\nlxc.uts.name = b\n");
    }

    #[test]
    fn an_update_writes_old_lines_in_todays_words_and_keeps_the_rest() {
        let old = "# LXC 1\nlxc.rootfs = /srv/a\nlxc.rootfs.backend = overlay\nlxc.utsname = \" a\"\nnoise\n\
                   lxc.net.3.type = empty\nlxc.network.type = veth\nlxc.network.ipv4 = 10.0.0.2/24\n\
                   lxc.network.type = vlan\nlxc.limit.nofile = 9\nlxc.kmsg = 0\nlxc.bogus = 1\n";
        let new = "# LXC 1\nlxc.rootfs.path = overlay:/srv/a\nlxc.uts.name = \" a\"\nnoise\n\
                   lxc.net.3.type = empty\nlxc.net.4.type = veth\nlxc.net.4.ipv4.address = 10.0.0.2/24\n\
                   lxc.net.5.type = vlan\nlxc.prlimit.nofile = 9\nlxc.bogus = 1\n";
        let mut document = Document::from_bytes(old.as_bytes());
        let changes = document.update();
        assert_eq!(document.text(), new);
        let numbers: Vec<usize> = changes.iter().map(|change| change.line).collect();
        assert_eq!(numbers, [2, 3, 4, 7, 8, 9, 10, 11]);
        assert_eq!(document.update(), []);
        let mut plain = Document::from_bytes(b"lxc.rootfs = /srv/a\n");
        plain.update();
        assert_eq!(plain.text(), "lxc.rootfs.path = dir:/srv/a\n");
    }

    #[test]
    fn a_save_that_fails_leaves_the_old_file() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("config");
        fs::create_dir(&target).unwrap();
        assert!(document().save(&target, 0o600).is_err());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
