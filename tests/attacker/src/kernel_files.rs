//! Files of cgroups that are not the container's to write.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::Attempts;

/// Writes to the limits of the container's own root cgroups, and to whatever lies above them as far as a path leads there.
pub(crate) fn attack_cgroups() -> Attempts {
    let mut found = Attempts::default();
    for root in roots() {
        for entry in fs::read_dir(&root).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.path().is_dir() || is_delegated(&name) {
                continue;
            }
            let value = fs::read(entry.path()).unwrap_or_else(|_| b"max".to_vec());
            let written = write(&entry.path(), &value);
            found.count(&entry.path().display().to_string(), unless_refused(written));
        }
        for above in ["..", "../..", "../../.."] {
            let procs = root.join(above).join("cgroup.procs");
            // A path that leads out of a mount ends at the directory it is mounted on, which has no such file.
            found.count(&procs.display().to_string(), write(&procs, b"0"));
        }
    }
    found
}

fn roots() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let is_cgroup = |line: &&str| line.contains(" - cgroup");
    mounts.lines().filter(is_cgroup).filter_map(|line| Some(PathBuf::from(line.split(' ').nth(4)?))).collect()
}

/// What a container's root may write in its own root cgroup, so that an init can manage what is below. Source: the
/// kernel's cgroup-v2.rst, "Model of Delegation"; cgroup.clone_children and notify_on_release of v1 touch only what is
/// below, too.
fn is_delegated(name: &str) -> bool {
    matches!(name, "cgroup.procs" | "cgroup.threads" | "cgroup.subtree_control" | "tasks")
}

/// Takes a value that the kernel does not like for a file that may be written: another value would do.
fn unless_refused(written: std::io::Result<()>) -> std::io::Result<()> {
    let refusals = [libc::EACCES, libc::EPERM, libc::EROFS, libc::ENOENT, libc::ENOTDIR];
    written.or_else(|e| if e.raw_os_error().is_some_and(|n| refusals.contains(&n)) { Err(e) } else { Ok(()) })
}

fn write(path: &Path, value: &[u8]) -> std::io::Result<()> {
    fs::File::options().write(true).open(path)?.write_all(value)
}
