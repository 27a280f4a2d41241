//! Mounts, by fd alone: the mount API of Linux 5.2 and later (open_tree, move_mount, fsopen, mount_setattr).

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags};

use crate::error::{Call, Result, cvt};

/// Attributes of a mount, as mount_setattr(2) names them (`MOUNT_ATTR_*`).
pub mod attr {
    /// Read-only.
    pub const RDONLY: u64 = 0x1;
    /// No set-user-ID and no file capabilities.
    pub const NOSUID: u64 = 0x2;
    /// No device files.
    pub const NODEV: u64 = 0x4;
    /// No programs.
    pub const NOEXEC: u64 = 0x8;
    /// The field of access time modes.
    pub const ATIME: u64 = 0x70;
    /// Access times are not kept.
    pub const NOATIME: u64 = 0x10;
    /// Access times are always kept.
    pub const STRICTATIME: u64 = 0x20;
    /// Access times of directories are not kept.
    pub const NODIRATIME: u64 = 0x80;
    /// Symbolic links are not followed.
    pub const NOSYMFOLLOW: u64 = 0x20_0000;
}

/// How mounts and unmounts spread between copies of a mount. Source: mount_namespaces(7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// Not at all.
    Private,
    /// From the original to this copy.
    Slave,
    /// Both ways.
    Shared,
    /// Not at all, and the mount cannot be bound elsewhere.
    Unbindable,
}

/// Whether a change concerns the mounts below as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// The one mount.
    One,
    /// The mount and all below it.
    Tree,
}

/// Copies the mount that holds `path` below `dir` as a detached mount, like a bind mount without a place yet.
pub fn copy(dir: BorrowedFd<'_>, path: &Path, depth: Depth) -> Result<OwnedFd> {
    let mut flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    if depth == Depth::Tree {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    rustix::mount::open_tree(dir, path, flags)
        .call(|| format!("open_tree({}, {path:?}, OPEN_TREE_CLONE, {depth:?})", dir.as_raw_fd()))
}

/// Attaches a detached mount on what `target` holds.
pub fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(mount, "", target, "", flags)
        .call(|| format!("move_mount({}, \"\", {}, \"\")", mount.as_raw_fd(), target.as_raw_fd()))
}

/// Makes a new file system of a type with its options (`key=value`, or a flag with an empty value), as a detached
/// mount with the attributes `attrs` of [`attr`].
pub fn new_filesystem(fstype: &str, options: &[(&str, &str)], attrs: u64) -> Result<OwnedFd> {
    let text = |what: &str| format!("{what} of a new {fstype}");
    let context =
        rustix::mount::fsopen(fstype, FsOpenFlags::FSOPEN_CLOEXEC).call(|| format!("fsopen({fstype:?})"))?;
    // What the mount table shows in place of a device. It can be set once.
    if !options.iter().any(|(key, _)| *key == "source") {
        let source = rustix::mount::fsconfig_set_string(&context, "source", fstype);
        source.call(|| text("fsconfig(\"source\")"))?;
    }
    for (key, value) in options {
        let set = match *value {
            "" => rustix::mount::fsconfig_set_flag(&context, *key),
            value => rustix::mount::fsconfig_set_string(&context, *key, value),
        };
        set.call(|| text(&format!("fsconfig({key:?}, {value:?})")))?;
    }
    rustix::mount::fsconfig_create(&context).call(|| text("fsconfig(FSCONFIG_CMD_CREATE)"))?;
    let attrs = MountAttrFlags::from_bits_retain(attrs as u32);
    rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attrs).call(|| text("fsmount()"))
}

/// Sets and clears attributes of [`attr`] on a mount, and its propagation if given.
pub fn set_attributes(
    mount: BorrowedFd<'_>,
    set: u64,
    clear: u64,
    propagation: Option<Propagation>,
    depth: Depth,
) -> Result<()> {
    let propagation = propagation.map_or(0, |p| match p {
        Propagation::Private => libc::MS_PRIVATE,
        Propagation::Slave => libc::MS_SLAVE,
        Propagation::Shared => libc::MS_SHARED,
        Propagation::Unbindable => libc::MS_UNBINDABLE,
    });
    let change = libc::mount_attr { attr_set: set, attr_clr: clear, propagation, userns_fd: 0 };
    let recursive = if depth == Depth::Tree { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is an empty C string and `change` a complete mount_attr that outlives the call.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | recursive,
            &raw const change,
            size_of::<libc::mount_attr>(),
        )
    };
    cvt(done, || {
        format!(
            "mount_setattr({}, \"\", set {set:#x}, clear {clear:#x}, propagation {propagation:#x}, {depth:?})",
            mount.as_raw_fd()
        )
    })
    .map(drop)
}

/// Makes the working directory, a mount, the root of the mount namespace, and lets go of the old root.
///
/// Source: pivot_root(2), "pivot_root(".", ".")".
pub fn pivot_to_working_directory() -> Result<()> {
    rustix::process::pivot_root(".", ".").call(|| "pivot_root(\".\", \".\")".to_owned())?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).call(|| "umount2(\".\", MNT_DETACH)".to_owned())
}

/// Takes the topmost mount on a directory away, at once, whoever still uses it.
pub fn detach(directory: &Path) -> Result<()> {
    rustix::mount::unmount(directory, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
        .call(|| format!("umount2({directory:?}, MNT_DETACH|UMOUNT_NOFOLLOW)"))
}
