//! How much of /proc and /sys is visible: the kernel gives a container its own only where the whole of the caller's is.
//!
//! A mount over a part hides that part, and a fresh mount would show it again; so the kernel refuses the fresh one.
//! It lets mounts on directories pass that are always empty. Source: mnt_already_visible() in the kernel's
//! fs/namespace.c.

use types::MountLine;

/// A file system that the kernel gives only where a whole one is visible.
#[derive(Debug)]
pub struct Whole {
    /// Its type.
    pub fstype: &'static str,
    /// Directories that are always empty, so that mounts on them hide nothing.
    empty: &'static [&'static str],
}

/// procfs.
pub const PROC: Whole = Whole { fstype: "proc", empty: &["/fs/nfsd", "/sys/fs/binfmt_misc"] };

/// sysfs.
pub const SYS: Whole = Whole {
    fstype: "sysfs",
    empty: &[
        "/firmware/efi/efivars",
        "/fs/bpf",
        "/fs/cgroup",
        "/fs/fuse/connections",
        "/fs/pstore",
        "/fs/resctrl",
        "/fs/selinux",
        "/fs/smackfs",
        "/hypervisor/s390",
        "/kernel/config",
        "/kernel/debug",
        "/kernel/security",
        "/kernel/tracing",
    ],
};

/// What a mount table shows of such a file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sight {
    /// No mount shows it from its root.
    Absent,
    /// The mount here shows all of it.
    Whole(String),
    /// The same, and it is read-only.
    ReadOnly(String),
    /// These mounts are over parts of it.
    Masked(Vec<String>),
}

impl Whole {
    /// Looks for the mount with the least over it.
    pub fn sight(&self, mountinfo: &str) -> Sight {
        let mounts: Vec<MountLine<'_>> = MountLine::all(mountinfo).collect();
        let of_kind = mounts.iter().filter(|mount| mount.fstype == self.fstype && mount.root == "/");
        let over = |base: &MountLine<'_>| {
            let is_over = |mount: &&MountLine<'_>| {
                let below = mount.point.strip_prefix(base.point).unwrap_or_default();
                mount.parent == base.id && !self.empty.contains(&below)
            };
            mounts.iter().filter(is_over).map(|mount| mount.point.to_owned()).collect::<Vec<_>>()
        };
        // One that is covered whole is nobody's /proc any more.
        let is_covered = |over: &[String], base: &MountLine<'_>| over.iter().any(|point| point == base.point);
        let least = of_kind
            .map(|base| (over(base), base))
            .min_by_key(|(over, base)| (is_covered(over, base), over.len(), base.is_read_only()));
        match least {
            None => Sight::Absent,
            Some((over, base)) if over.is_empty() && base.is_read_only() => {
                Sight::ReadOnly(base.point.to_owned())
            }
            Some((over, base)) if over.is_empty() => Sight::Whole(base.point.to_owned()),
            Some((over, _)) => Sight::Masked(over),
        }
    }

    /// Tells whether the kernel most likely gives a new one, with all rights.
    pub fn is_whole(&self, mountinfo: &str) -> bool {
        matches!(self.sight(mountinfo), Sight::Whole(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = "\
22 27 0:21 / /proc rw,nosuid,relatime shared:5 - proc proc rw
23 22 0:22 / /proc/sys/fs/binfmt_misc rw,relatime shared:6 - autofs systemd-1 rw
24 27 0:23 / /sys rw,nosuid shared:7 - sysfs sysfs rw
25 24 0:24 / /sys/kernel/security rw,nosuid shared:8 - securityfs securityfs rw
26 24 0:25 / /sys/firmware/efi/efivars rw shared:9 - efivarfs efivarfs rw
";

    fn masked(points: &[&str]) -> Sight {
        Sight::Masked(points.iter().map(|point| (*point).to_owned()).collect())
    }

    #[test]
    fn masks_are_told_from_what_is_mounted_everywhere() {
        assert!(PROC.is_whole(WHOLE) && SYS.is_whole(WHOLE));
        for (whole, line, sight) in [
            (&PROC, "30 22 0:30 /null /proc/kcore rw - tmpfs tmpfs rw", masked(&["/proc/kcore"])),
            (&PROC, "31 22 0:21 /sys /proc/sys ro,nosuid - proc proc rw", masked(&["/proc/sys"])),
            (&SYS, "32 24 0:31 / /sys/firmware ro - tmpfs tmpfs ro", masked(&["/sys/firmware"])),
            (&SYS, "33 24 0:31 / /sys/module rw - tmpfs tmpfs rw", masked(&["/sys/module"])),
        ] {
            assert_eq!(whole.sight(&format!("{WHOLE}{line}\n")), sight);
        }
    }

    #[test]
    fn another_whole_mount_is_enough_and_a_covered_one_is_not() {
        let masked_once = format!("{WHOLE}31 22 0:5 /null /proc/kcore rw - devtmpfs dev rw\n");
        let second = format!("{masked_once}40 1 0:21 / /mnt/proc rw - proc proc rw\n");
        assert_eq!(PROC.sight(&second), Sight::Whole("/mnt/proc".to_owned()));
        let on_top =
            "50 22 0:21 / /proc rw - proc proc rw\n51 50 0:5 /null /proc/keys rw - devtmpfs dev rw\n";
        assert_eq!(PROC.sight(&format!("{WHOLE}{on_top}")), masked(&["/proc/keys"]));
    }

    #[test]
    fn a_part_alone_is_none_and_a_read_only_one_is_told() {
        assert_eq!(PROC.sight("22 1 0:21 /sys /proc/sys ro - proc proc rw\n"), Sight::Absent);
        let read_only = "22 1 0:21 / /proc ro - proc proc rw\n";
        assert_eq!(PROC.sight(read_only), Sight::ReadOnly("/proc".to_owned()));
    }
}
