//! The container's root file system, made by the child in its own mount namespace.
//!
//! First [`take`] gets hold of everything that the *user* may reach: the rootfs, the sources of mount entries, the
//! device nodes. It runs before the child becomes container root, who could not walk through a home directory of mode
//! 0700. From then on every target is resolved from the fd of the new root, and mounted fd to fd.

mod dev;
mod entries;
mod kernel;
mod take;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use sys::mount::{self, Depth, Propagation};
use sys::path::{self, Links};

pub(crate) use dev::{Terminals, fill as fill_dev};
pub(crate) use take::{RootSource, Source, nodes, take};

use crate::error::{Doing, Result};
use crate::plan::StartPlan;

/// The root file system, mounted where hooks can see it.
#[derive(Debug)]
pub(crate) struct Rootfs {
    root: OwnedFd,
}

impl Rootfs {
    /// Mounts what was taken. All mounts of the new mount namespace become private first, so that nothing done here
    /// shows on the host.
    pub(crate) fn attach(plan: &StartPlan, root: RootSource) -> Result<Self> {
        let doing = || format!("mounting the root file system {}", plan.rootfs.path.display());
        let host_root = path::take(Path::new("/"))?;
        mount::set_attributes(host_root.as_fd(), 0, 0, Some(Propagation::Private), Depth::Tree)
            .doing("making all mounts private")?;
        let root = match root {
            RootSource::Mount(mount) => mount,
            RootSource::Layers(layers) => layers.mount().doing_with(doing)?,
        };
        let place = path::take(&plan.rootfs.mount).doing_with(doing)?;
        mount::attach(root.as_fd(), place.as_fd()).doing_with(doing)?;
        Ok(Self { root })
    }

    /// Returns the fd of the root directory.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Attaches a detached mount on the directory `target`, which is made where it is missing. No symbolic link is
    /// followed: this is for the mounts that nobody asked for by name.
    fn mount_at(&self, mount: BorrowedFd<'_>, target: &str) -> Result<()> {
        let doing = || format!("mounting /{target}");
        let place =
            path::make_dirs_in(self.fd(), Path::new(target), Links::Refuse, 0o755).doing_with(doing)?;
        mount::attach(mount, place.as_fd()).doing_with(doing)
    }

    /// Mounts /proc and /sys as `lxc.mount.auto` says.
    pub(crate) fn mount_proc_and_sys(&self, plan: &StartPlan) -> Result<()> {
        kernel::mount_proc_and_sys(self, plan)
    }

    /// Mounts the cgroup tree as `lxc.mount.auto` says; in the container's own cgroup namespace.
    pub(crate) fn mount_cgroups(&self, plan: &StartPlan) -> Result<()> {
        plan.auto.cgroup.map_or(Ok(()), |form| kernel::mount_cgroups(self, plan, form))
    }

    /// Makes /dev with its terminals.
    pub(crate) fn make_dev(&self, plan: &StartPlan, nodes: &[(&'static str, OwnedFd)]) -> Result<Terminals> {
        dev::make(self, plan, nodes)
    }

    /// Mounts the entries of the configuration.
    pub(crate) fn mount_entries(&self, plan: &StartPlan, taken: Vec<take::Source>) -> Result<()> {
        entries::mount(self, &plan.entries, taken)
    }

    /// Mounts the resolv.conf of a network in user mode.
    pub(crate) fn mount_resolv_conf(&self, plan: &StartPlan, taken: Option<take::Source>) -> Result<()> {
        entries::mount(self, &plan.resolv_conf, taken)
    }

    /// Writes `lxc.sysctl.*` through a procfs of its own, since the container's may be read-only or not there.
    pub(crate) fn write_sysctls(&self, plan: &StartPlan) -> Result<()> {
        if plan.sysctls.is_empty() {
            return Ok(());
        }
        let proc = mount::new_filesystem("proc", &[], 0).doing("mounting a procfs for lxc.sysctl")?;
        for (name, value) in &plan.sysctls {
            let file = Path::new("sys").join(name.replace('.', "/"));
            path::write_existing(proc.as_fd(), &file, value.as_bytes())
                .doing_with(|| format!("lxc.sysctl.{name} = {value}"))?;
        }
        Ok(())
    }

    /// Makes this the root directory and lets go of the host's.
    pub(crate) fn enter(&self, plan: &StartPlan) -> Result<()> {
        let read_only = if plan.rootfs.read_only { mount::attr::RDONLY } else { 0 };
        let wanted = read_only | plan.rootfs.attributes;
        if wanted != 0 {
            mount::set_attributes(self.fd(), wanted, 0, None, Depth::One)
                .doing("lxc.rootfs.options of the root file system")?;
        }
        path::change_dir(self.fd())?;
        mount::pivot_to_working_directory().doing("changing to the container's root")
    }
}
