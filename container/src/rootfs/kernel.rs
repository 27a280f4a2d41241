//! /proc, /sys and /sys/fs/cgroup, in the forms that `lxc.mount.auto` names.
//!
//! The read-only parts are hygiene, not a boundary: container root can unmount them. The boundary is what the kernel
//! refuses to a user namespace.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use config::{CgroupKind, CgroupMode, CgroupMount, ProcMount, SysMount};
use sys::mount::{self, Depth, attr};

use super::Rootfs;
use crate::error::{Doing, Result};
use crate::plan::{KernelFiles, StartPlan};

/// Attributes of file systems that hold no programs and no devices.
const INERT: u64 = attr::NOSUID | attr::NODEV | attr::NOEXEC;

pub(super) fn mount_proc_and_sys(rootfs: &Rootfs, plan: &StartPlan) -> Result<()> {
    if let Some(form) = plan.auto.proc {
        match plan.proc {
            KernelFiles::Callers => callers_proc(rootfs, form)?,
            KernelFiles::Own | KernelFiles::OwnReadOnly => proc(rootfs, plan, form)?,
        }
    }
    if let Some(form) = plan.auto.sys {
        sys(rootfs, plan, form)?;
    }
    Ok(())
}

/// `mixed`: /proc/sys and /proc/sysrq-trigger read-only, /proc/sys/net writable since it is the container's own.
fn proc(rootfs: &Rootfs, plan: &StartPlan, form: ProcMount) -> Result<()> {
    let proc = mount::new_filesystem("proc", &[], inert(plan.proc)).doing("mounting /proc")?;
    rootfs.mount_at(proc.as_fd(), "proc")?;
    if form == ProcMount::Mixed {
        let net = mount::copy(proc.as_fd(), Path::new("sys/net"), Depth::One);
        read_only(rootfs, proc.as_fd(), "sys", "proc/sys")?;
        if let Ok(net) = net {
            rootfs.mount_at(net.as_fd(), "proc/sys/net")?;
        }
        read_only_file(rootfs, proc.as_fd(), "sysrq-trigger", "proc/sysrq-trigger")?;
    }
    Ok(())
}

/// The caller's /proc with all that masks it: the kernel binds no part of it that a mask covers. `mixed` as above, but for
/// /proc/sys/net, which stays as it is.
fn callers_proc(rootfs: &Rootfs, form: ProcMount) -> Result<()> {
    let root = sys::path::take(Path::new("/"))?;
    let proc = mount::copy(root.as_fd(), Path::new("proc"), Depth::Tree).doing("mounting /proc")?;
    rootfs.mount_at(proc.as_fd(), "proc")?;
    if form == ProcMount::Mixed {
        read_only_tree(rootfs, proc.as_fd(), "sys", "proc/sys")?;
        read_only_file(rootfs, proc.as_fd(), "sysrq-trigger", "proc/sysrq-trigger")?;
    }
    Ok(())
}

fn inert(from: KernelFiles) -> u64 {
    if from == KernelFiles::OwnReadOnly { INERT | attr::RDONLY } else { INERT }
}

/// `mixed`: /sys read-only, /sys/devices/virtual/net writable. The caller's is bound read-only and inert, with all that
/// masks it.
fn sys(rootfs: &Rootfs, plan: &StartPlan, form: SysMount) -> Result<()> {
    if plan.sys == KernelFiles::Callers {
        let root = sys::path::take(Path::new("/"))?;
        return read_only_tree(rootfs, root.as_fd(), "sys", "sys");
    }
    let attrs = if form == SysMount::Rw { inert(plan.sys) } else { INERT | attr::RDONLY };
    let sysfs = mount::new_filesystem("sysfs", &[], inert(plan.sys)).doing("mounting /sys")?;
    let net = mount::copy(sysfs.as_fd(), Path::new("devices/virtual/net"), Depth::One);
    mount::set_attributes(sysfs.as_fd(), attrs, 0, None, Depth::One).doing("mounting /sys")?;
    rootfs.mount_at(sysfs.as_fd(), "sys")?;
    match (form, net) {
        (SysMount::Mixed, Ok(net)) if plan.sys == KernelFiles::Own => {
            rootfs.mount_at(net.as_fd(), "sys/devices/virtual/net")
        }
        _ => Ok(()),
    }
}

fn read_only(rootfs: &Rootfs, from: BorrowedFd<'_>, path: &str, target: &str) -> Result<()> {
    let part = mount::copy(from, Path::new(path), Depth::One).doing_with(|| format!("mounting /{target}"))?;
    mount::set_attributes(part.as_fd(), attr::RDONLY, 0, None, Depth::One)?;
    rootfs.mount_at(part.as_fd(), target)
}

fn read_only_tree(rootfs: &Rootfs, from: BorrowedFd<'_>, path: &str, target: &str) -> Result<()> {
    let part =
        mount::copy(from, Path::new(path), Depth::Tree).doing_with(|| format!("mounting /{target}"))?;
    mount::set_attributes(part.as_fd(), INERT | attr::RDONLY, 0, None, Depth::Tree)?;
    rootfs.mount_at(part.as_fd(), target)
}

/// As [`read_only`], for a file; a kernel without it needs no protection of it.
fn read_only_file(rootfs: &Rootfs, from: BorrowedFd<'_>, path: &str, target: &str) -> Result<()> {
    let Ok(part) = mount::copy(from, Path::new(path), Depth::One) else { return Ok(()) };
    mount::set_attributes(part.as_fd(), attr::RDONLY, 0, None, Depth::One)?;
    let place = sys::path::take_in(rootfs.fd(), Path::new(target), sys::path::Links::Refuse)?;
    Ok(mount::attach(part.as_fd(), place.as_fd())?)
}

/// Mounts the container's own part of each hierarchy: in its cgroup namespace a fresh mount shows nothing above it.
pub(super) fn mount_cgroups(rootfs: &Rootfs, plan: &StartPlan, form: CgroupMount) -> Result<()> {
    let attrs = if form.mode == CgroupMode::Ro { INERT | attr::RDONLY } else { INERT };
    let trees = &plan.cgroup.trees;
    let unified_only = form.kind == CgroupKind::Unified || trees.iter().all(|t| t.v1_options.is_none());
    if unified_only {
        let tree = mount::new_filesystem("cgroup2", &[], attrs).doing("mounting /sys/fs/cgroup")?;
        return rootfs.mount_at(tree.as_fd(), "sys/fs/cgroup");
    }
    let options = [("mode", "755"), ("size", "10240k")];
    let top = mount::new_filesystem("tmpfs", &options, INERT).doing("mounting /sys/fs/cgroup")?;
    rootfs.mount_at(top.as_fd(), "sys/fs/cgroup")?;
    for tree in trees {
        let doing = || format!("mounting /sys/fs/cgroup/{}", tree.name);
        let mounted = match &tree.v1_options {
            None => mount::new_filesystem("cgroup2", &[], attrs),
            Some(options) => {
                let options: Vec<(&str, &str)> =
                    options.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
                mount::new_filesystem("cgroup", &options, attrs)
            }
        };
        rootfs.mount_at(mounted.doing_with(doing)?.as_fd(), &format!("sys/fs/cgroup/{}", tree.name))?;
    }
    mount::set_attributes(top.as_fd(), attr::RDONLY, 0, None, Depth::One).doing("mounting /sys/fs/cgroup")
}
