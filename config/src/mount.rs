//! Mounts: fstab lines of `lxc.mount.entry` and the words of `lxc.mount.auto`.

use std::path::Path;
use std::{fmt, io};

use crate::{Fault, load};

/// One line in the form of fstab(5): a mount for the container.
///
/// LXC: takes any text when the configuration is read, and so here; the plan of a start refuses a line that is not
/// [`complete`](Self::is_complete), with its text.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct MountEntry {
    /// The line as it was written.
    pub line: String,
    /// What is mounted: a path of the host, or a word for file systems without a device. Octal escapes such as
    /// `\040` are resolved, here and in the target.
    pub source: String,
    /// Where: a path below the container's root, normally without a leading `/`. Empty when the line has none.
    pub target: String,
    /// The type of file system, `none` for binds. Empty when the line has none.
    pub fstype: String,
    /// The options, split at commas.
    pub options: Vec<String>,
}

impl MountEntry {
    /// Reads a line; fields that it lacks stay empty.
    pub fn read(line: &str) -> Self {
        let mut fields = line.split_ascii_whitespace();
        let mut next = || fields.next().map(unescape).unwrap_or_default();
        let (source, target, fstype) = (next(), next(), next());
        let options = next().split(',').filter(|option| !option.is_empty()).map(str::to_owned).collect();
        Self { line: line.to_owned(), source, target, fstype, options }
    }

    /// Tells whether the line has a source, a target and a type.
    pub fn is_complete(&self) -> bool {
        !self.fstype.is_empty()
    }

    /// Tells whether source or target spell bytes that are no UTF-8 text by escapes: no such path can be said here.
    pub fn spells_bytes(&self) -> bool {
        self.line.split_ascii_whitespace().take(2).any(|field| String::from_utf8(unescaped(field)).is_err())
    }

    /// Tells whether the option `name` is given, with or without a value.
    pub fn has_option(&self, name: &str) -> bool {
        self.options.iter().any(|option| option.split('=').next() == Some(name))
    }
}

impl fmt::Display for MountEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)
    }
}

/// Returns the entries of a file of mounts (`lxc.mount.fstab`), without comments and blank lines.
pub fn fstab(text: &str) -> Vec<MountEntry> {
    let lines = text.lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(MountEntry::read).collect()
}

/// Reads a file of mounts. Comments may be in any encoding.
///
/// # Errors
/// The file cannot be read, or an entry is no UTF-8 text.
pub fn read_fstab(path: &Path) -> io::Result<Vec<MountEntry>> {
    let bytes = load::read_bounded(path)?;
    let lines = bytes.split(|byte| *byte == b'\n').enumerate();
    let texts = lines.filter(|(_, line)| !line.trim_ascii_start().starts_with(b"#")).map(|(at, line)| {
        let wrong = |_| io::Error::other(format!("line {} is no UTF-8 text", at + 1));
        std::str::from_utf8(line).map_err(wrong)
    });
    let texts: Vec<&str> = texts.collect::<io::Result<_>>()?;
    Ok(fstab(&texts.join("\n")))
}

/// Resolves the octal escapes of fstab(5): `\040` is a blank, `\134` a backslash. A field whose escapes spell bytes that
/// are no text is kept as it was written.
fn unescape(field: &str) -> String {
    String::from_utf8(unescaped(field)).unwrap_or_else(|_| field.to_owned())
}

fn unescaped(field: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        match tail.get(..3).filter(|_| first == b'\\').and_then(octal) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    bytes
}

fn octal(digits: &[u8]) -> Option<u8> {
    let value = digits.iter().try_fold(0u16, |value, digit| match digit {
        b'0'..=b'7' => Some(value * 8 + u16::from(digit - b'0')),
        _ => None,
    })?;
    u8::try_from(value).ok().filter(|byte| *byte != 0)
}

/// How `/proc` is mounted by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum ProcMount {
    /// Writable but for `/proc/sys` and `/proc/sysrq-trigger`.
    Mixed,
    /// Writable.
    Rw,
}

/// How `/sys` is mounted by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum SysMount {
    /// Read-only but for `/sys/devices/virtual/net`.
    Mixed,
    /// Read-only.
    Ro,
    /// Writable.
    Rw,
}

word_enum! {
    /// Which word asked for `/sys/fs/cgroup`.
    CgroupKind, "a cgroup mount" {
        /// The container's own part of the tree.
        Cgroup = "cgroup",
        /// The whole tree, the container's part writable.
        Full = "cgroup-full",
        /// The unified tree, also on a hybrid host.
        Unified = "cgroup2",
    }
}

/// What may be written below `/sys/fs/cgroup`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum CgroupMode {
    /// Not said: writable where the container keeps CAP_SYS_ADMIN.
    Unspecified,
    /// The container's own part.
    Mixed,
    /// Nothing.
    Ro,
    /// All that is mounted.
    Rw,
}

/// How `/sys/fs/cgroup` is mounted by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct CgroupMount {
    /// Which tree.
    pub kind: CgroupKind,
    /// What may be written.
    pub mode: CgroupMode,
    /// Mount it by hand even where a cgroup namespace would let init do so.
    pub force: bool,
}

/// A directory of the host through which mounts can be passed into the running container.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SharedMounts {
    /// The directory on the host.
    pub host: String,
    /// Where it is seen in the container.
    pub container: String,
}

/// The default place of [`SharedMounts`] in the container.
const SHARED_TARGET: &str = "/dev/.lxc-mounts";

/// The value of `lxc.mount.auto`: each class is set by itself, and a later line replaces its own class alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct MountAuto {
    /// `/proc`.
    pub proc: Option<ProcMount>,
    /// `/sys`.
    pub sys: Option<SysMount>,
    /// `/sys/fs/cgroup`.
    pub cgroup: Option<CgroupMount>,
    /// Shared mounts.
    pub shmounts: Option<SharedMounts>,
}

impl MountAuto {
    /// Applies the blank-separated words of one line.
    pub(crate) fn read(&mut self, value: &str) -> Result<(), Fault> {
        let mut new = self.clone();
        for word in value.split_ascii_whitespace() {
            new.word(word).ok_or_else(|| {
                let apart = word.replace(',', " ");
                let meant = (apart != word && self.clone().read(&apart).is_ok()).then_some(apart);
                Fault::value(
                    word,
                    "a word of lxc.mount.auto, such as proc:mixed, sys:ro or cgroup:mixed:force",
                )
                .meaning(meant)
            })?;
        }
        *self = new;
        Ok(())
    }

    fn word(&mut self, word: &str) -> Option<()> {
        let (class, detail) = word.split_once(':').map_or((word, None), |(class, rest)| (class, Some(rest)));
        match class {
            "proc" => self.proc = Some(proc_mount(detail)?),
            "sys" => self.sys = Some(sys_mount(detail)?),
            "shmounts" => self.shmounts = Some(shared_mounts(detail?)?),
            _ => {
                let kind = CgroupKind::ALL.iter().copied().find(|kind| kind.word() == class)?;
                self.cgroup = Some(cgroup_mount(kind, detail)?);
            }
        }
        Some(())
    }
}

fn proc_mount(detail: Option<&str>) -> Option<ProcMount> {
    match detail {
        None | Some("mixed") => Some(ProcMount::Mixed),
        Some("rw") => Some(ProcMount::Rw),
        Some(_) => None,
    }
}

fn sys_mount(detail: Option<&str>) -> Option<SysMount> {
    match detail {
        None | Some("mixed") => Some(SysMount::Mixed),
        Some("ro") => Some(SysMount::Ro),
        Some("rw") => Some(SysMount::Rw),
        Some(_) => None,
    }
}

fn cgroup_mount(kind: CgroupKind, detail: Option<&str>) -> Option<CgroupMount> {
    let mut mount = CgroupMount { kind, mode: CgroupMode::Unspecified, force: false };
    for word in detail.into_iter().flat_map(|detail| detail.split(':')) {
        match word {
            _ if mount.force => return None,
            "force" => mount.force = true,
            _ if mount.mode != CgroupMode::Unspecified => return None,
            "mixed" => mount.mode = CgroupMode::Mixed,
            "ro" => mount.mode = CgroupMode::Ro,
            "rw" => mount.mode = CgroupMode::Rw,
            _ => return None,
        }
    }
    Some(mount)
}

fn shared_mounts(detail: &str) -> Option<SharedMounts> {
    let (host, container) = detail.split_once(':').unwrap_or((detail, SHARED_TARGET));
    let valid = !host.is_empty() && !container.is_empty();
    valid.then(|| SharedMounts { host: host.to_owned(), container: container.to_owned() })
}

impl fmt::Display for MountAuto {
    /// Writes the words that read back as this value.
    ///
    /// LXC: does not write `cgroup2`, `shmounts` and anything with `:force`, so that a saved value means less.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let proc = self.proc.map(|proc| match proc {
            ProcMount::Mixed => "proc:mixed".to_owned(),
            ProcMount::Rw => "proc:rw".to_owned(),
        });
        let sys = self.sys.map(|sys| match sys {
            SysMount::Mixed => "sys:mixed".to_owned(),
            SysMount::Ro => "sys:ro".to_owned(),
            SysMount::Rw => "sys:rw".to_owned(),
        });
        let cgroup = self.cgroup.map(|cgroup| cgroup.to_string());
        let shared = self.shmounts.as_ref().map(|shared| match shared.container.as_str() {
            SHARED_TARGET => format!("shmounts:{}", shared.host),
            target => format!("shmounts:{}:{target}", shared.host),
        });
        let words: Vec<String> = [proc, sys, cgroup, shared].into_iter().flatten().collect();
        f.write_str(&words.join(" "))
    }
}

impl fmt::Display for CgroupMount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = match self.mode {
            CgroupMode::Unspecified => "",
            CgroupMode::Mixed => ":mixed",
            CgroupMode::Ro => ":ro",
            CgroupMode::Rw => ":rw",
        };
        write!(f, "{}{mode}{}", self.kind, if self.force { ":force" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_split_and_its_escapes_resolved() {
        let entry = MountEntry::read(r"/my\040files a\134b none bind,create=dir,optional 0 0");
        assert_eq!((entry.source.as_str(), entry.target.as_str()), ("/my files", r"a\b"));
        assert_eq!(entry.options, ["bind", "create=dir", "optional"]);
        assert!(entry.is_complete() && entry.has_option("create") && !entry.has_option("cre"));
    }

    #[test]
    fn a_line_that_is_no_entry_is_kept_with_its_text() {
        for line in ["garbage", "", "a b", r"\9 \777 \000"] {
            let entry = MountEntry::read(line);
            assert_eq!(entry.line, line);
            assert_eq!(entry.is_complete(), line.split(' ').count() > 2);
        }
    }

    #[test]
    fn a_file_of_mounts_may_have_comments() {
        let entries = fstab("# c\n\n  tmpfs tmp tmpfs size=1m 0 0\n");
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].fstype, "tmpfs");
    }

    #[test]
    fn a_file_of_mounts_is_text_but_for_its_comments() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("fstab");
        std::fs::write(&file, b"  # caf\xe9\n/a a none bind\n").unwrap();
        assert_eq!(read_fstab(&file).unwrap(), fstab("/a a none bind"));
        std::fs::write(&file, b"# c\n/caf\xe9 a none bind\n").unwrap();
        assert_eq!(read_fstab(&file).unwrap_err().to_string(), "line 2 is no UTF-8 text");
        assert!(MountEntry::read(r"/caf\351 a none bind").spells_bytes());
        assert!(!MountEntry::read(r"/caf\303\251 a none bind").spells_bytes());
    }

    #[test]
    fn every_word_of_mount_auto_reads_back_as_shown() {
        let cgroups = ["cgroup", "cgroup:mixed:force", "cgroup-full:ro", "cgroup2:ro:force", "cgroup:force"];
        for word in cgroups.into_iter().chain(["proc", "proc:rw", "sys:ro", "shmounts:/a", "shmounts:/a:/b"])
        {
            let mut auto = MountAuto::default();
            auto.read(word).unwrap();
            let mut again = MountAuto::default();
            again.read(&auto.to_string()).unwrap();
            assert_eq!(auto, again, "{word}");
        }
    }

    #[test]
    fn a_later_line_replaces_its_own_class_alone() {
        let mut auto = MountAuto::default();
        auto.read("cgroup:mixed proc:mixed sys:mixed").unwrap();
        auto.read("sys:rw").unwrap();
        assert_eq!(auto.to_string(), "proc:mixed sys:rw cgroup:mixed");
    }

    #[test]
    fn wrong_words_are_refused_and_change_nothing() {
        for value in ["bogus", "proc,sys", "proc:ro", "sys:x", "cgroup:force:ro", "cgroup:ro:rw", "shmounts:"]
        {
            let mut auto = MountAuto::default();
            assert!(auto.read(&format!("proc {value}")).is_err(), "{value}");
            assert_eq!(auto, MountAuto::default());
        }
    }
}
