//! /dev: a tmpfs with the host's nodes bound, a devpts of the container's own, its console and terminals.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use sys::mount::{self, Depth, attr};
use sys::path::{self, Links};
use sys::tty;

use super::Rootfs;
use crate::error::{Doing, Result};
use crate::plan::{DevPlan, StartPlan};

/// Links that programs expect. Source: the kernel's Documentation/admin-guide/devices, "Compulsory links".
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// The container's terminals: pairs in its own devpts. The slaves are bound on /dev/console and /dev/ttyN.
#[derive(Debug, Default)]
pub(crate) struct Terminals {
    /// The root of the devpts.
    pub(crate) devpts: Option<OwnedFd>,
    /// The console.
    pub(crate) console: Option<tty::Pair>,
    /// /dev/tty1 and on.
    pub(crate) ttys: Vec<tty::Pair>,
}

/// The name of the console. LXC: it stands in the directory of `lxc.tty.dir` and in /dev itself, and is no link there.
const CONSOLE: &str = "console";

/// Pseudo-terminals beyond what the configuration gives the container: its console, and those of `exec` and `shell`.
const RESERVED_PTYS: u32 = 64;

pub(super) fn make(
    rootfs: &Rootfs,
    plan: &StartPlan,
    nodes: &[(&'static str, OwnedFd)],
) -> Result<Terminals> {
    if plan.dev.auto {
        tmpfs(rootfs, &plan.dev, nodes).doing("making /dev")?;
    }
    let devpts = match devpts(rootfs, &plan.dev) {
        // Without /dev of its own a container may have no place for a devpts, and then has no terminals.
        Err(e) if !plan.dev.auto => {
            log::info!("no terminals: {e}");
            return Ok(Terminals::default());
        }
        made => made?,
    };
    terminals(rootfs, &plan.dev, devpts)
}

fn tmpfs(rootfs: &Rootfs, dev: &DevPlan, nodes: &[(&'static str, OwnedFd)]) -> Result<()> {
    let size = dev.tmpfs_size.to_string();
    let tmpfs = mount::new_filesystem("tmpfs", &[("size", &size), ("mode", "755")], attr::NOSUID)?;
    rootfs.mount_at(tmpfs.as_fd(), "dev")?;
    fill(tmpfs.as_fd(), nodes)?;
    let shm = mount::new_filesystem("tmpfs", &[("mode", "1777")], attr::NOSUID | attr::NODEV)?;
    rootfs.mount_at(shm.as_fd(), "dev/shm")?;
    // A kernel may lack POSIX message queues, and an IPC namespace of somebody else's allows no mount of them.
    if let Ok(queues) = mount::new_filesystem("mqueue", &[], attr::NOSUID | attr::NODEV | attr::NOEXEC) {
        rootfs.mount_at(queues.as_fd(), "dev/mqueue")?;
    }
    Ok(())
}

/// Binds the nodes in a directory, and makes the links that programs expect.
pub(crate) fn fill(dir: BorrowedFd<'_>, nodes: &[(&'static str, OwnedFd)]) -> Result<()> {
    for (name, node) in nodes {
        bind_file(dir, name, node.as_fd())?;
    }
    for (name, target) in LINKS {
        path::make_symlink(Path::new(target), dir, OsStr::new(name))?;
    }
    Ok(())
}

fn devpts(rootfs: &Rootfs, dev: &DevPlan) -> Result<OwnedFd> {
    let max = dev.ptys.saturating_add(dev.ttys).saturating_add(RESERVED_PTYS).to_string();
    let mut options = vec![("mode", "0620"), ("ptmxmode", "0666")];
    if dev.ptys > 0 {
        options.push(("max", &max));
    }
    if dev.tty_group {
        options.push(("gid", "5"));
    }
    let devpts =
        mount::new_filesystem("devpts", &options, attr::NOSUID | attr::NOEXEC).doing("mounting /dev/pts")?;
    rootfs.mount_at(devpts.as_fd(), "dev/pts")?;
    Ok(devpts)
}

fn terminals(rootfs: &Rootfs, dev: &DevPlan, devpts: OwnedFd) -> Result<Terminals> {
    let place = path::take_in(rootfs.fd(), Path::new("dev"), Links::Refuse).doing("opening /dev")?;
    let own = dev.terminals.as_deref().map(|dir| own_directory(place.as_fd(), dir)).transpose()?;
    let pair = |name: &str| -> Result<tty::Pair> {
        let pair = tty::open_pair(devpts.as_fd())?;
        let slave = || mount::copy(pair.slave.as_fd(), Path::new(""), Depth::One);
        if let (Some(own), Some(dir)) = (&own, &dev.terminals) {
            bind_file(own.as_fd(), name, slave()?.as_fd())?;
            // Where the image has a file of the name, that is bound too.
            if name != CONSOLE && path::make_symlink(&dir.join(name), place.as_fd(), OsStr::new(name)).is_ok()
            {
                return Ok(pair);
            }
        }
        bind_file(place.as_fd(), name, slave()?.as_fd())?;
        Ok(pair)
    };
    let console = dev.console.then(|| pair(CONSOLE).doing("making /dev/console")).transpose()?;
    let one = |number: u32| pair(&format!("tty{number}")).doing_with(|| format!("making /dev/tty{number}"));
    let ttys = (1..=dev.ttys).map(one).collect::<Result<_>>()?;
    Ok(Terminals { devpts: Some(devpts), console, ttys })
}

/// Makes the directory of `lxc.tty.dir`.
fn own_directory(dev: BorrowedFd<'_>, dir: &Path) -> Result<OwnedFd> {
    path::make_dirs_in(dev, dir, Links::Refuse, 0o755).doing_with(|| format!("making /dev/{}", dir.display()))
}

/// Binds a file on `name` below `dir`, which is made where it is missing.
fn bind_file(dir: BorrowedFd<'_>, name: &str, mount: BorrowedFd<'_>) -> Result<()> {
    let doing = || format!("/dev/{name}");
    let place = path::make_file_in(dir, Path::new(name), Links::Refuse).doing_with(doing)?;
    mount::attach(mount, place.as_fd()).doing_with(doing)
}
