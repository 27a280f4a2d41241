//! A line of /proc/PID/mountinfo. Source: proc_pid_mountinfo(5).

/// A mount, as the kernel tells of it: paths with a blank, a tab, a newline or a backslash are escaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MountLine<'a> {
    /// The number of the mount.
    pub id: u32,
    /// The number of the mount that it is on.
    pub parent: u32,
    /// The number of the file system's device, `MAJOR:MINOR`.
    pub device: &'a str,
    /// The directory of the file system that it shows.
    pub root: &'a str,
    /// Where it is.
    pub point: &'a str,
    /// The options of this mount, with commas.
    pub options: &'a str,
    /// The file system's type.
    pub fstype: &'a str,
    /// What is mounted, as whoever did says.
    pub source: &'a str,
    /// The options of the file system, with commas.
    pub fs_options: &'a str,
}

impl<'a> MountLine<'a> {
    /// Reads a line; none of one that makes no sense.
    pub fn parse(line: &'a str) -> Option<Self> {
        let (mount, filesystem) = line.split_once(" - ")?;
        let mut fields = mount.split(' ');
        let (id, parent) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        let (device, root) = (fields.next()?, fields.next()?);
        let (point, options) = (fields.next()?, fields.next()?);
        let mut of_filesystem = filesystem.split(' ');
        let (fstype, source) = (of_filesystem.next()?, of_filesystem.next().unwrap_or_default());
        let fs_options = of_filesystem.next().unwrap_or_default();
        Some(Self { id, parent, device, root, point, options, fstype, source, fs_options })
    }

    /// Reads all lines.
    pub fn all(mountinfo: &'a str) -> impl DoubleEndedIterator<Item = Self> {
        mountinfo.lines().filter_map(Self::parse)
    }

    /// Resolves the escapes of a path of such a line.
    pub fn unescaped(path: &str) -> String {
        let escapes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
        escapes.iter().fold(path.to_owned(), |path, (escape, meant)| path.replace(escape, meant))
    }

    /// Tells whether the mount has an option.
    pub fn has_option(&self, wanted: &str) -> bool {
        has(self.options, wanted)
    }

    /// Tells whether nothing can be written by the mount, be it itself or its file system that is read-only.
    pub fn is_read_only(&self) -> bool {
        self.has_option("ro") || has(self.fs_options, "ro")
    }
}

fn has(options: &str, wanted: &str) -> bool {
    options.split(',').any(|option| option == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_optional_fields_or_none() {
        let plain = MountLine::parse("22 1 0:21 / /proc rw,nosuid - proc proc rw,hidepid=2").unwrap();
        assert_eq!((plain.id, plain.parent, plain.root, plain.point), (22, 1, "/", "/proc"));
        assert_eq!(plain.device, "0:21");
        assert_eq!((plain.fstype, plain.fs_options), ("proc", "rw,hidepid=2"));
        assert!(plain.has_option("nosuid") && !plain.has_option("no"));
        let shared = MountLine::parse("23 22 0:5 /a\\040b /mnt ro shared:1 master:2 - tmpfs own rw").unwrap();
        assert_eq!((shared.root, shared.options, shared.fstype), ("/a\\040b", "ro", "tmpfs"));
        assert_eq!(MountLine::unescaped("/a\\040b\\134040"), "/a b\\040");
    }

    #[test]
    fn a_mount_and_its_file_system_can_be_read_only() {
        let is_read_only = |options: &str, fs_options: &str| {
            let line = format!("22 1 0:21 / /proc {options} - proc proc {fs_options}");
            MountLine::parse(&line).map(|mount| mount.is_read_only())
        };
        assert_eq!(is_read_only("ro,nosuid", "rw"), Some(true));
        assert_eq!(is_read_only("rw", "ro"), Some(true));
        assert_eq!(is_read_only("rw,relatime", "rw,errors=remount-ro"), Some(false));
    }

    #[test]
    fn what_makes_no_sense_is_no_mount() {
        let lines = "\n22 1 0:21 / /proc rw\nx 1 0:21 / /proc rw - proc proc rw\n22 1 - proc proc rw\n";
        assert_eq!(MountLine::all(lines).count(), 0);
    }
}
