//! Paths, resolved from directory fds, never by joining strings.
//!
//! What comes from a container, an image or another user may be a symbolic link to anywhere. So a path inside a
//! container is resolved with openat2(2) from an fd of its root: [`Links::Refuse`] for the mounts that the runtime
//! makes by itself, [`Links::InRoot`] (links stay below the root, as after chroot) for those a user asked for.

use std::ffi::{CString, OsStr};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RenameFlags, ResolveFlags, Stat};

use crate::error::{Call, Errno, Error, Result};

pub use rustix::fs::OFlags as OpenFlags;

/// What happens to symbolic links on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// Any symbolic link is an error (ELOOP).
    Refuse,
    /// Links are followed as if the root fd were `/`; magic links of /proc are refused.
    InRoot,
}

impl Links {
    fn resolve_flags(self) -> ResolveFlags {
        let base = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        match self {
            Self::Refuse => base | ResolveFlags::NO_SYMLINKS,
            Self::InRoot => base,
        }
    }
}

/// Opens a directory of the caller's own for reading.
pub fn open_dir(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).call(|| format!("open({path:?}, O_DIRECTORY)"))
}

/// Opens the directory `name` below `dir`, refusing a symbolic link as last component.
pub fn open_dir_at(dir: BorrowedFd<'_>, name: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty())
        .call(|| format!("openat({}, {name:?}, O_DIRECTORY|O_NOFOLLOW)", dir.as_raw_fd()))
}

/// Takes hold of a path of the caller's own without opening it (O_PATH), following links.
pub fn take(path: &Path) -> Result<OwnedFd> {
    rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .call(|| format!("open({path:?}, O_PATH)"))
}

/// How often a walk is tried that a rename or mount elsewhere in the system has disturbed.
const WALKS: u32 = 1000;

/// Opens `path` below `root` with the given flags.
///
/// A walk with `..` in it, of a link too, that meets a rename or mount of anybody answers EAGAIN (openat2(2)): it is tried
/// again, but not for as long as somebody keeps renaming.
pub fn open_in(root: BorrowedFd<'_>, path: &Path, links: Links, flags: OFlags) -> Result<OwnedFd> {
    let walk =
        || rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), links.resolve_flags());
    let disturbed = |walked: &std::result::Result<_, _>| matches!(walked, Err(rustix::io::Errno::AGAIN));
    let tried = std::iter::repeat_with(walk).take(WALKS as usize).find(|walked| !disturbed(walked));
    tried
        .unwrap_or(Err(rustix::io::Errno::AGAIN))
        .call(|| format!("openat2({}, {path:?}, {flags:?}, {links:?})", root.as_raw_fd()))
}

/// Takes hold of `path` below `root` without opening it (O_PATH).
pub fn take_in(root: BorrowedFd<'_>, path: &Path, links: Links) -> Result<OwnedFd> {
    open_in(root, path, links, OFlags::PATH)
}

/// Takes hold of the directory `path` below `root`, making it and its parents (mode `mode`) where they are missing.
///
/// # Errors
/// A component that is not a directory, or with [`Links::Refuse`] a symbolic link; `..` components (EINVAL).
pub fn make_dirs_in(root: BorrowedFd<'_>, path: &Path, links: Links, mode: u32) -> Result<OwnedFd> {
    if let Ok(found) = open_in(root, path, links, OFlags::PATH | OFlags::DIRECTORY) {
        return Ok(found);
    }
    let mut so_far = std::path::PathBuf::new();
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir => continue,
            Component::Normal(name) => {
                let parent = take_dir_in(root, &so_far, links)?;
                match make_dir(parent.as_fd(), name, mode) {
                    Err(e) if e.errno() != Errno::EEXIST => return Err(e),
                    _ => so_far.push(name),
                }
            }
            _ => return Err(Error::new(format!("mkdir -p {path:?}"), Errno::EINVAL)),
        }
    }
    take_dir_in(root, &so_far, links)
}

fn take_dir_in(root: BorrowedFd<'_>, path: &Path, links: Links) -> Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    open_in(root, path, links, OFlags::PATH | OFlags::DIRECTORY)
}

/// Takes hold of the file `path` below `root`, making an empty one (and its parents) where it is missing.
pub fn make_file_in(root: BorrowedFd<'_>, path: &Path, links: Links) -> Result<OwnedFd> {
    if let Ok(found) = take_in(root, path, links) {
        return Ok(found);
    }
    let name = path.file_name().ok_or_else(|| Error::new(format!("touch {path:?}"), Errno::EINVAL))?;
    let parent = make_dirs_in(root, path.parent().unwrap_or(Path::new("/")), links, 0o755)?;
    // Exclusively: what somebody put there meanwhile may be a FIFO, whose reader nobody would wait for.
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    match rustix::fs::openat(&parent, name, flags, Mode::from_raw_mode(0o644)) {
        Ok(_) | Err(rustix::io::Errno::EXIST) => take_in(root, path, links),
        Err(e) => Err(e).call(|| format!("openat({}, {name:?}, O_CREAT|O_EXCL)", parent.as_raw_fd())),
    }
}

/// Makes the directory `name` below `dir`.
pub fn make_dir(dir: BorrowedFd<'_>, name: &OsStr, mode: u32) -> Result<()> {
    rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(mode))
        .call(|| format!("mkdirat({}, {name:?}, {mode:04o})", dir.as_raw_fd()))
}

/// Makes the symbolic link `name` below `dir` that points to `target`.
pub fn make_symlink(target: &Path, dir: BorrowedFd<'_>, name: &OsStr) -> Result<()> {
    rustix::fs::symlinkat(target, dir, name)
        .call(|| format!("symlinkat({target:?}, {}, {name:?})", dir.as_raw_fd()))
}

/// Returns the status of an open file.
pub fn status(fd: BorrowedFd<'_>) -> Result<Stat> {
    rustix::fs::fstat(fd).call(|| format!("fstat({})", fd.as_raw_fd()))
}

/// Returns the status of `name` below `dir`, of a symbolic link itself.
pub fn status_at(dir: BorrowedFd<'_>, name: &OsStr) -> Result<Stat> {
    rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
        .call(|| format!("fstatat({}, {name:?}, AT_SYMLINK_NOFOLLOW)", dir.as_raw_fd()))
}

/// Tells whether an open file is a directory.
pub fn is_dir(fd: BorrowedFd<'_>) -> Result<bool> {
    Ok(FileType::from_raw_mode(status(fd)?.st_mode) == FileType::Directory)
}

/// Tells whether an open file is a regular file.
pub fn is_regular(fd: BorrowedFd<'_>) -> Result<bool> {
    Ok(FileType::from_raw_mode(status(fd)?.st_mode) == FileType::RegularFile)
}

/// Reads an open file to its end.
///
/// # Errors
/// EFBIG when it holds more than `cap` bytes.
pub fn read_all(fd: OwnedFd, cap: u64) -> Result<Vec<u8>> {
    let call = || format!("read({})", fd.as_raw_fd());
    let mut bytes = Vec::new();
    let copy = fd.try_clone().call(call)?;
    std::fs::File::from(copy).take(cap + 1).read_to_end(&mut bytes).call(call)?;
    if bytes.len() as u64 > cap { Err(Error::new(call(), Errno::EFBIG)) } else { Ok(bytes) }
}

/// Returns the magic number of the file system that an open file is on. Source: statfs(2).
pub fn filesystem_magic(fd: BorrowedFd<'_>) -> Result<u64> {
    let found = rustix::fs::fstatfs(fd).call(|| format!("fstatfs({})", fd.as_raw_fd()))?;
    Ok(found.f_type as u64)
}

/// Reads a small text file below `dir`. Something else of that name is not waited for.
///
/// # Errors
/// EFBIG when it holds more than `cap` bytes: a file that someone else may have written never fills the memory.
pub fn read_small(dir: BorrowedFd<'_>, name: &Path, cap: u64) -> Result<Vec<u8>> {
    let call = || format!("openat({}, {name:?}, O_RDONLY)", dir.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = std::fs::File::from(rustix::fs::openat(dir, name, flags, Mode::empty()).call(call)?);
    let mut bytes = Vec::new();
    file.take(cap + 1).read_to_end(&mut bytes).call(|| format!("read({name:?})"))?;
    if bytes.len() as u64 > cap {
        Err(Error::new(format!("read({name:?})"), Errno::EFBIG))
    } else {
        Ok(bytes)
    }
}

/// Writes `bytes` with one write(2) to an existing file below `dir`, as kernel files want it.
pub fn write_existing(dir: BorrowedFd<'_>, name: &Path, bytes: &[u8]) -> Result<()> {
    let flags = OFlags::WRONLY | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(dir, name, flags, Mode::empty())
        .call(|| format!("openat({}, {name:?}, O_WRONLY)", dir.as_raw_fd()))?;
    let text = || format!("write({name:?}, {:?})", String::from_utf8_lossy(bytes));
    let written = rustix::io::write(&file, bytes).call(text)?;
    if written == bytes.len() { Ok(()) } else { Err(Error::new(text(), Errno::EIO)) }
}

/// Replaces the file `name` below `dir` by one with the given bytes: a new file, synced, then renamed over it, and the
/// directory synced. Whatever fails, `name` is the old file or the new one, and nothing else is left.
pub fn replace(dir: BorrowedFd<'_>, name: &OsStr, mode: u32, bytes: &[u8]) -> Result<()> {
    replace_by(dir, name, ModeOf::New(mode), bytes, true)
}

/// As [`replace`], but with exactly that mode, whatever the umask.
pub fn replace_exactly(dir: BorrowedFd<'_>, name: &OsStr, mode: u32, bytes: &[u8]) -> Result<()> {
    replace_by(dir, name, ModeOf::Kept(mode), bytes, true)
}

/// The mode of a file that is written.
#[derive(Clone, Copy, Debug)]
enum ModeOf {
    /// The umask takes its part of it.
    New(u32),
    /// It is as it is.
    Kept(u32),
}

fn replace_by(dir: BorrowedFd<'_>, name: &OsStr, mode: ModeOf, bytes: &[u8], sync: bool) -> Result<()> {
    let mut temporary = OsStr::new(".").to_owned();
    temporary.push(name);
    temporary.push(".new");
    // What a killed process left there, or anybody planted: a link, a FIFO, a second name of another file.
    let _absent = remove_file(dir, &temporary);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let call = || format!("openat({}, {temporary:?}, O_CREAT|O_EXCL)", dir.as_raw_fd());
    let (ModeOf::New(made) | ModeOf::Kept(made)) = mode;
    let fd = rustix::fs::openat(dir, &temporary, flags, Mode::from_raw_mode(made)).call(call)?;
    let mut file = std::fs::File::from(fd);
    let mut written = file.write_all(bytes).call(|| format!("write({temporary:?})"));
    if let ModeOf::Kept(mode) = mode {
        written = written.and_then(|()| set_mode(file.as_fd(), mode));
    }
    if sync {
        written = written.and_then(|()| file.sync_all().call(|| format!("fsync({temporary:?})")));
    }
    let placed = written.and_then(|()| rename_at(dir, &temporary, name));
    if placed.is_err() {
        let _stays = remove_file(dir, &temporary);
    }
    placed?;
    if sync { sync_dir(dir) } else { Ok(()) }
}

/// Writes the names of a directory to its disk. File systems without such a thing answer EINVAL.
pub fn sync_dir(dir: BorrowedFd<'_>) -> Result<()> {
    match rustix::fs::fsync(dir) {
        Err(rustix::io::Errno::INVAL) => Ok(()),
        synced => synced.call(|| format!("fsync({})", dir.as_raw_fd())),
    }
}

/// As [`replace`], but not synced: for a file that means nothing after a crash of the machine.
pub fn replace_unsynced(dir: BorrowedFd<'_>, name: &OsStr, mode: u32, bytes: &[u8]) -> Result<()> {
    replace_by(dir, name, ModeOf::New(mode), bytes, false)
}

/// Gives the file `from` below `dir` the name `to`, in place of what has that name.
pub fn rename_at(dir: BorrowedFd<'_>, from: &OsStr, to: &OsStr) -> Result<()> {
    rustix::fs::renameat(dir, from, dir, to)
        .call(|| format!("renameat({}, {from:?}, {to:?})", dir.as_raw_fd()))
}

/// Gives the file `from` below `dir` the name `to`, which nothing has.
///
/// # Errors
/// EEXIST when something has it.
pub fn rename_new(dir: BorrowedFd<'_>, from: &OsStr, to: &OsStr) -> Result<()> {
    rustix::fs::renameat_with(dir, from, dir, to, RenameFlags::NOREPLACE)
        .call(|| format!("renameat2({}, {from:?}, {to:?}, RENAME_NOREPLACE)", dir.as_raw_fd()))
}

/// Moves the file `name` from one directory to another of the same file system.
pub fn move_to(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &OsStr) -> Result<()> {
    rustix::fs::renameat(from, name, to, name)
        .call(|| format!("renameat({}, {name:?}, {}, {name:?})", from.as_raw_fd(), to.as_raw_fd()))
}

/// Removes the file `name` below `dir`.
pub fn remove_file(dir: BorrowedFd<'_>, name: &OsStr) -> Result<()> {
    rustix::fs::unlinkat(dir, name, AtFlags::empty())
        .call(|| format!("unlinkat({}, {name:?})", dir.as_raw_fd()))
}

/// Removes the empty directory `name` below `dir`.
pub fn remove_dir(dir: BorrowedFd<'_>, name: &OsStr) -> Result<()> {
    rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR)
        .call(|| format!("unlinkat({}, {name:?}, AT_REMOVEDIR)", dir.as_raw_fd()))
}

/// Returns the names in a directory, without `.` and `..`. The fd must be open for reading.
pub fn names(dir: BorrowedFd<'_>) -> Result<Vec<std::ffi::OsString>> {
    let call = || format!("getdents64({})", dir.as_raw_fd());
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(dir).call(call)? {
        let entry = entry.call(call)?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    Ok(names)
}

/// Changes owner and group of an open file (O_PATH is enough).
pub fn set_owner(fd: BorrowedFd<'_>, uid: u32, gid: u32) -> Result<()> {
    set_owner_at(fd, OsStr::new(""), uid, gid)
}

/// Changes owner and group of `name` below `dir`, of a symbolic link itself.
pub fn set_owner_at(dir: BorrowedFd<'_>, name: &OsStr, uid: u32, gid: u32) -> Result<()> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
    let (owner, group) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
    rustix::fs::chownat(dir, name, Some(owner), Some(group), flags)
        .call(|| format!("fchownat({}, {name:?}, {uid}, {gid})", dir.as_raw_fd()))
}

/// Changes the group of an open file. Its owner may do that alone, to a group that the process is in.
pub fn set_group(fd: BorrowedFd<'_>, gid: u32) -> Result<()> {
    rustix::fs::fchown(fd, None, Some(rustix::fs::Gid::from_raw(gid)))
        .call(|| format!("fchown({}, -1, {gid})", fd.as_raw_fd()))
}

/// Changes the mode of an open file (not O_PATH).
pub fn set_mode(fd: BorrowedFd<'_>, mode: u32) -> Result<()> {
    rustix::fs::fchmod(fd, Mode::from_raw_mode(mode))
        .call(|| format!("fchmod({}, {mode:04o})", fd.as_raw_fd()))
}

/// Changes the working directory.
pub fn change_dir(dir: BorrowedFd<'_>) -> Result<()> {
    rustix::process::fchdir(dir).call(|| format!("fchdir({})", dir.as_raw_fd()))
}

/// Changes the working directory to `path` below the root directory, by no magic link: /proc/self/fd/N would lead to
/// wherever this process still has an fd (CVE-2024-21626).
pub fn change_dir_inside(path: &Path) -> Result<()> {
    if path == Path::new("/") {
        // There is nothing to resolve, and a filter of an older day may not know openat2(2).
        return rustix::process::chdir("/").call(|| "chdir(\"/\")".to_owned());
    }
    let root = take(Path::new("/"))?;
    change_dir(open_in(root.as_fd(), path, Links::InRoot, OFlags::PATH | OFlags::DIRECTORY)?.as_fd())
}

/// Opens a file that the caller named, to append to it, and makes it (mode 0644) where it is missing.
///
/// Where others may write to the directory, /tmp say, the name may be theirs: a link to a file of the caller's, a FIFO, a
/// file of their own. The kernel refuses these where `fs.protected_symlinks`, `protected_fifos` and `protected_regular`
/// are set (proc_sys_fs(5)), in sticky directories; this refuses them anywhere. Root's own links and files are trusted.
///
/// # Errors
/// EACCES when it belongs to somebody else.
pub fn open_append(path: &Path) -> Result<std::fs::File> {
    open_named(path, OFlags::APPEND)
}

/// As [`open_append`], for a file that is written anew.
pub fn open_anew(path: &Path) -> Result<std::fs::File> {
    let file = open_named(path, OFlags::empty())?;
    // Only now that it is known to be nobody else's. What has no length, a terminal, needs none.
    match file.set_len(0) {
        Err(e) if e.raw_os_error() != Some(libc::EINVAL) => Err(e).call(|| format!("ftruncate({path:?}, 0)")),
        _ => Ok(file),
    }
}

fn open_named(path: &Path, more: OFlags) -> Result<std::fs::File> {
    let call = || format!("open({path:?}, O_WRONLY|O_CREAT)");
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC | more;
    let mode = Mode::from_raw_mode(0o644);
    let opened = match rustix::fs::open(path, flags | OFlags::NOFOLLOW, mode) {
        Err(rustix::io::Errno::LOOP) => {
            let link =
                rustix::fs::open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty());
            require_trusted(link.call(call)?.as_fd(), call)?;
            rustix::fs::open(path, flags, mode)
        }
        opened => opened,
    }
    .call(call)?;
    require_trusted(opened.as_fd(), call)?;
    let status_flags = rustix::fs::fcntl_getfl(&opened).call(call)?;
    rustix::fs::fcntl_setfl(&opened, status_flags - OFlags::NONBLOCK).call(call)?;
    Ok(opened.into())
}

fn require_trusted(fd: BorrowedFd<'_>, call: impl Fn() -> String) -> Result<()> {
    let owner = status(fd)?.st_uid;
    let own = rustix::process::geteuid().as_raw();
    if owner == own || owner == 0 { Ok(()) } else { Err(Error::new(call(), Errno::EACCES)) }
}

/// Changes the root directory to `dir` and enters it.
pub fn change_root(dir: BorrowedFd<'_>) -> Result<()> {
    change_dir(dir)?;
    rustix::process::chroot(".").call(|| "chroot(\".\")".to_owned())
}

/// Returns the path by which /proc names an open fd of this process: it reaches the file itself, whatever has
/// happened to its name since.
pub fn of_fd(fd: impl AsFd) -> std::path::PathBuf {
    format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd()).into()
}

/// Tries to lock an open file for this holder alone (flock(2)); `Ok(false)` when somebody else holds it.
pub fn try_lock(fd: BorrowedFd<'_>) -> Result<bool> {
    match rustix::fs::flock(fd, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(e) => Err(e).call(|| format!("flock({}, LOCK_EX|LOCK_NB)", fd.as_raw_fd())),
    }
}

/// Returns the offset of an open file, which everybody who inherited it shares.
pub fn offset(fd: BorrowedFd<'_>) -> Result<u64> {
    rustix::fs::tell(fd).call(|| format!("lseek({}, 0, SEEK_CUR)", fd.as_raw_fd()))
}

/// Opens, and makes with the given mode where it is missing, a file of the caller's own below `dir`.
pub fn open_or_make(dir: BorrowedFd<'_>, name: &OsStr, mode: u32) -> Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(mode))
        .call(|| format!("openat({}, {name:?}, O_RDWR|O_CREAT|O_NOFOLLOW)", dir.as_raw_fd()))
}

/// Opens a device for reading and writing, and closes it.
pub fn open_device(path: &Path) -> Result<()> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = rustix::fs::open(path, flags, Mode::empty()).call(|| format!("open({path:?}, O_RDWR)"));
    opened.map(drop)
}

/// Opens a file of the caller's own, by path or relative to the working directory, for reading.
pub fn open_read(path: &Path) -> Result<OwnedFd> {
    rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())
        .call(|| format!("open({path:?}, O_RDONLY)"))
}

/// Opens a regular file for reading, by path or relative to the working directory; none where it is something else, which is
/// not waited for, whatever the path named before.
pub fn open_regular(path: &Path) -> Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(CWD, path, flags, Mode::empty())
        .call(|| format!("open({path:?}, O_RDONLY|O_NONBLOCK)"))?;
    Ok(is_regular(opened.as_fd())?.then_some(opened))
}

/// Makes a directory of the caller's alone, of a name that nobody has foreseen and that begins with `prefix`, and returns its
/// path. Source: mkdtemp(3).
pub fn make_temporary_dir(prefix: &Path) -> Result<std::path::PathBuf> {
    let call = || format!("mkdtemp(\"{}XXXXXX\")", prefix.display());
    let template = [prefix.as_os_str().as_bytes(), b"XXXXXX"].concat();
    let template = CString::new(template).map_err(|_| Error::new(call(), Errno::EINVAL))?.into_raw();
    // SAFETY: the template comes from a CString, ends in six X and a NUL, and is changed in place to the same length.
    let made = unsafe { libc::mkdtemp(template) };
    let failure = std::io::Error::last_os_error();
    // SAFETY: the pointer is that of the CString above, which has kept its length.
    let name = unsafe { CString::from_raw(template) };
    if made.is_null() {
        return Err(failure).call(call);
    }
    Ok(OsStr::from_bytes(name.as_bytes()).into())
}

/// Tells whether the caller, by its effective ids, may write to `name` below `dir` (`.`: `dir` itself; of a
/// directory: make and remove entries). The error is the refusal.
pub fn may_write(dir: BorrowedFd<'_>, name: &Path) -> Result<()> {
    let access = rustix::fs::Access::WRITE_OK;
    rustix::fs::accessat(dir, name, access, AtFlags::EACCESS)
        .call(|| format!("faccessat({}, {name:?}, W_OK, AT_EACCESS)", dir.as_raw_fd()))
}

/// Opens the existing file `name` below `dir` for reading, to be read again and again with [`reread`].
pub fn open_read_at(dir: BorrowedFd<'_>, name: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty())
        .call(|| format!("openat({}, {name:?}, O_RDONLY|O_NOFOLLOW)", dir.as_raw_fd()))
}

/// Opens the existing file `name` below `dir` for writing, to be written later with [`write_once`]: the kernel checks
/// the right to write now.
pub fn open_write_at(dir: BorrowedFd<'_>, name: &Path) -> Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty())
        .call(|| format!("openat({}, {name:?}, O_WRONLY|O_NOFOLLOW)", dir.as_raw_fd()))
}

/// Writes `bytes` with one write(2) to an open file, as kernel files want it.
pub fn write_once(file: BorrowedFd<'_>, bytes: &[u8]) -> Result<()> {
    let text = || format!("write({}, {:?})", file.as_raw_fd(), String::from_utf8_lossy(bytes));
    let written = rustix::io::write(file, bytes).call(text)?;
    if written == bytes.len() { Ok(()) } else { Err(Error::new(text(), Errno::EIO)) }
}

/// Reads an open small kernel file from its beginning with one pread(2) of at most `cap` bytes.
pub fn reread(file: BorrowedFd<'_>, cap: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(cap);
    read_more(file, &mut bytes)?;
    bytes.truncate(cap);
    Ok(bytes)
}

/// Reads an open kernel file from its beginning to its end, or to `cap` bytes: one of many lines comes in pieces.
pub fn reread_all(file: BorrowedFd<'_>, cap: usize) -> Result<Vec<u8>> {
    const PIECE: usize = 16 << 10;
    let mut bytes = Vec::new();
    while bytes.len() < cap {
        bytes.reserve(PIECE);
        if read_more(file, &mut bytes)? == 0 {
            break;
        }
    }
    bytes.truncate(cap);
    Ok(bytes)
}

/// Reads what comes after the bytes that have been read, as much as there is room for.
fn read_more(file: BorrowedFd<'_>, bytes: &mut Vec<u8>) -> Result<usize> {
    let start = bytes.len() as u64;
    rustix::io::pread(file, rustix::buffer::spare_capacity(bytes), start)
        .call(|| format!("pread({}, {start})", file.as_raw_fd()))
}

/// Returns bytes of the kernel's as text; what is no text in them stands as U+FFFD.
pub fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}

/// Waits until a kernel file (cgroup.events, mountinfo) tells of a change since it was last read through this fd;
/// `Ok(false)` when the time is over first. A signal ends the wait early.
pub fn wait_change(file: BorrowedFd<'_>, timeout: std::time::Duration) -> Result<bool> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut polled = [PollFd::from_borrowed_fd(file, PollFlags::PRI)];
    let limit = Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: timeout.subsec_nanos().into() };
    match poll(&mut polled, Some(&limit)) {
        Err(rustix::io::Errno::INTR) => Ok(false),
        done => Ok(done.call(|| format!("poll({}, POLLPRI)", file.as_raw_fd()))? > 0),
    }
}

/// Returns the names of the directories in a directory. The fd must be open for reading; it is read from the start.
pub fn dir_names(dir: BorrowedFd<'_>) -> Result<Vec<std::ffi::OsString>> {
    some_dir_names(dir, usize::MAX)
}

/// Returns the names of directories in one, but not of more than `most`.
pub fn some_dir_names(dir: BorrowedFd<'_>, most: usize) -> Result<Vec<std::ffi::OsString>> {
    let call = || format!("getdents64({})", dir.as_raw_fd());
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(dir).call(call)? {
        let entry = entry.call(call)?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if entry.file_type() == FileType::Directory && name != "." && name != ".." {
            names.push(name.to_owned());
        }
        if names.len() >= most {
            break;
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn scratch(name: &str) -> (std::path::PathBuf, OwnedFd) {
        let dir = std::env::temp_dir().join(format!("bryo-path-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let fd = open_dir(&dir).unwrap();
        (dir, fd)
    }

    #[test]
    fn links_out_of_the_root_stay_inside_or_are_refused() {
        let (dir, root) = scratch("links");
        std::fs::create_dir(dir.join("etc")).unwrap();
        symlink("/etc", dir.join("abs")).unwrap();
        symlink("../../../../etc", dir.join("rel")).unwrap();
        let inside = status(take_in(root.as_fd(), Path::new("etc"), Links::Refuse).unwrap().as_fd()).unwrap();
        for link in ["abs", "rel"] {
            let found = take_in(root.as_fd(), Path::new(link), Links::InRoot).unwrap();
            assert_eq!(status(found.as_fd()).unwrap().st_ino, inside.st_ino);
            let refused = take_in(root.as_fd(), Path::new(link), Links::Refuse).unwrap_err();
            assert_eq!(refused.errno(), Errno::ELOOP);
        }
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn directories_are_made_below_the_root_alone() {
        let (dir, root) = scratch("mkdir");
        make_dirs_in(root.as_fd(), Path::new("/a/b/c"), Links::Refuse, 0o755).unwrap();
        assert!(dir.join("a/b/c").is_dir());
        symlink("/", dir.join("out")).unwrap();
        assert!(make_dirs_in(root.as_fd(), Path::new("out/x"), Links::Refuse, 0o755).is_err());
        make_dirs_in(root.as_fd(), Path::new("out/x"), Links::InRoot, 0o755).unwrap();
        assert!(dir.join("x").is_dir());
        assert!(make_dirs_in(root.as_fd(), Path::new("a/../../y"), Links::Refuse, 0o755).is_err());
        make_file_in(root.as_fd(), Path::new("f/g"), Links::Refuse).unwrap();
        assert!(dir.join("f/g").is_file());
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_file_of_somebody_elses_is_not_written_to() {
        if rustix::process::geteuid().as_raw() != 0 {
            // Only root can make files of others.
            return;
        }
        let (dir, _root) = scratch("named");
        let (own, theirs) = (dir.join("own"), dir.join("theirs"));
        std::fs::write(&own, "kept").unwrap();
        std::fs::write(&theirs, "").unwrap();
        std::os::unix::fs::chown(&theirs, Some(1), None).unwrap();
        symlink(&own, dir.join("link")).unwrap();
        symlink(&own, dir.join("trap")).unwrap();
        std::os::unix::fs::lchown(dir.join("trap"), Some(1), None).unwrap();
        for name in ["theirs", "trap"] {
            assert_eq!(open_append(&dir.join(name)).unwrap_err().errno(), Errno::EACCES, "{name}");
            assert_eq!(open_anew(&dir.join(name)).unwrap_err().errno(), Errno::EACCES, "{name}");
        }
        assert_eq!(std::fs::read_to_string(&own).unwrap(), "kept");
        open_append(&dir.join("link")).unwrap().write_all(b"more").unwrap();
        assert_eq!(std::fs::read_to_string(&own).unwrap(), "keptmore");
        open_anew(&own).unwrap().write_all(b"new").unwrap();
        assert_eq!(std::fs::read_to_string(&own).unwrap(), "new");
        open_anew(Path::new("/dev/null")).unwrap();
        open_append(&dir.join("missing")).unwrap();
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_file_larger_than_the_cap_is_an_error() {
        let (dir, root) = scratch("cap");
        std::fs::write(dir.join("f"), vec![b'x'; 100]).unwrap();
        assert_eq!(read_small(root.as_fd(), Path::new("f"), 100).unwrap().len(), 100);
        assert_eq!(read_small(root.as_fd(), Path::new("f"), 99).unwrap_err().errno(), Errno::EFBIG);
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_fifo_in_the_place_of_a_file_is_not_waited_for() {
        let (dir, own) = scratch("regular");
        crate::file::make_fifo(own.as_fd(), OsStr::new("fifo"), 0o600).unwrap();
        std::fs::write(dir.join("file"), "moss").unwrap();
        let paths = ["fifo", "file"].map(|name| dir.join(name));
        let (told, hears) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            paths.iter().for_each(|path| told.send(open_regular(path).unwrap().is_some()).unwrap());
        });
        let patience = std::time::Duration::from_secs(60);
        assert_eq!([hears.recv_timeout(patience), hears.recv_timeout(patience)], [Ok(false), Ok(true)]);
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_temporary_directory_is_the_callers_alone_and_of_a_new_name() {
        let (dir, _) = scratch("temporary");
        let prefix = dir.join("draft-");
        let made = [make_temporary_dir(&prefix).unwrap(), make_temporary_dir(&prefix).unwrap()];
        assert_ne!(made[0], made[1]);
        for made in made {
            let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&made).unwrap());
            assert_eq!(mode & 0o777, 0o700);
            assert!(made.file_name().unwrap().as_bytes().starts_with(b"draft-"));
        }
        assert_eq!(make_temporary_dir(&prefix.join("x")).unwrap_err().errno(), Errno::ENOENT);
        std::fs::remove_dir_all(dir).unwrap();
    }
}

#[cfg(test)]
mod attack {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// How often each race is run; the suites of the lab have a switch for more, on the whole program.
    const ROUNDS: usize = 3000;

    struct Field {
        dir: PathBuf,
        root: OwnedFd,
    }

    impl Field {
        /// Makes a root with a directory `way` and a link `link` out of it, to a directory `victim`.
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("bryo-attack-{name}-{}", std::process::id()));
            std::fs::create_dir_all(dir.join("root/way")).unwrap();
            std::fs::create_dir(dir.join("victim")).unwrap();
            symlink("../victim", dir.join("root/link")).unwrap();
            let root = open_dir(&dir.join("root")).unwrap();
            Self { dir, root }
        }

        /// Runs `story` while the two names are exchanged, and asserts that the victim has got nothing.
        fn exchanged_during(self, story: impl Fn(BorrowedFd<'_>, usize)) {
            let over = AtomicBool::new(false);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        let (way, link) = ("way", "link");
                        let flags = RenameFlags::EXCHANGE;
                        let _gone = rustix::fs::renameat_with(&self.root, way, &self.root, link, flags);
                    }
                });
                (0..ROUNDS).for_each(|round| story(self.root.as_fd(), round));
                over.store(true, Ordering::Relaxed);
            });
            let got = std::fs::read_dir(self.dir.join("victim")).unwrap().count();
            assert_eq!(got, 0, "the link was followed");
            std::fs::remove_dir_all(self.dir).unwrap();
        }
    }

    #[test]
    fn nothing_is_made_through_a_name_that_is_exchanged_for_a_link() {
        for links in [Links::Refuse, Links::InRoot] {
            Field::new("make").exchanged_during(|root, round| {
                let _refused = make_dirs_in(root, Path::new(&format!("way/{round}/deep")), links, 0o755);
                let _refused = make_file_in(root, Path::new(&format!("way/f{round}")), links);
            });
        }
    }

    #[test]
    fn nothing_is_opened_through_a_name_that_is_exchanged_for_a_link() {
        let field = Field::new("open");
        let victim = status(open_dir(&field.dir.join("victim")).unwrap().as_fd()).unwrap().st_ino;
        field.exchanged_during(|root, _| {
            for links in [Links::Refuse, Links::InRoot] {
                let taken = take_in(root, Path::new("way"), links);
                assert!(taken.is_err() || status(taken.unwrap().as_fd()).unwrap().st_ino != victim);
            }
        });
    }

    #[test]
    fn nothing_is_removed_through_a_name_that_is_exchanged_for_a_link() {
        let field = Field::new("remove");
        let kept = field.dir.join("victim/kept");
        std::fs::create_dir(&kept).unwrap();
        let path = kept.clone();
        std::fs::write(path.join("file"), "kept").unwrap();
        let root = field.dir.join("root");
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let flags = RenameFlags::EXCHANGE;
                    let _gone = rustix::fs::renameat_with(
                        CWD,
                        root.join("tree/way"),
                        CWD,
                        root.join("tree/link"),
                        flags,
                    );
                }
            });
            for _ in 0..ROUNDS / 4 {
                std::fs::create_dir_all(root.join("tree/way/kept")).unwrap();
                std::fs::write(root.join("tree/way/kept/file"), "").unwrap();
                let _there = symlink("../../victim", root.join("tree/link"));
                // The other one may have exchanged a name that was just made.
                while crate::file::remove_tree(field.root.as_fd(), OsStr::new("tree")).is_err() {}
                assert!(path.join("file").exists(), "the link was followed");
            }
            over.store(true, Ordering::Relaxed);
        });
        std::fs::remove_dir_all(field.dir).unwrap();
    }

    #[test]
    fn a_fifo_in_the_way_is_not_waited_for() {
        let field = Field::new("fifo");
        let fifo = Path::new("fifo");
        crate::file::make_fifo(field.root.as_fd(), fifo.as_os_str(), 0o666).unwrap();
        make_file_in(field.root.as_fd(), fifo, Links::Refuse).unwrap();
        assert_eq!(read_small(field.root.as_fd(), fifo, 10).unwrap(), b"");
        replace(field.root.as_fd(), OsStr::new("fifo"), 0o600, b"x").unwrap();
        assert_eq!(read_small(field.root.as_fd(), fifo, 10).unwrap(), b"x");
        crate::file::make_fifo(field.root.as_fd(), OsStr::new(".new.new"), 0o666).unwrap();
        replace(field.root.as_fd(), OsStr::new("new"), 0o600, b"x").unwrap();
        std::fs::write(field.dir.join("victim/file"), "kept").unwrap();
        std::fs::hard_link(field.dir.join("victim/file"), field.dir.join("root/.linked.new")).unwrap();
        replace(field.root.as_fd(), OsStr::new("linked"), 0o600, b"x").unwrap();
        assert_eq!(std::fs::read_to_string(field.dir.join("victim/file")).unwrap(), "kept");
        let fifo = field.dir.join("root/waiting");
        crate::file::make_fifo(field.root.as_fd(), OsStr::new("waiting"), 0o666).unwrap();
        assert_eq!(open_append(&fifo).unwrap_err().errno(), Errno::from_raw(libc::ENXIO));
        std::fs::remove_dir_all(field.dir).unwrap();
    }

    #[test]
    fn no_link_of_proc_is_a_way_in() {
        let root = open_dir(Path::new("/")).unwrap();
        let outside = open_dir(&std::env::temp_dir()).unwrap();
        let magic = of_fd(&outside);
        for links in [Links::Refuse, Links::InRoot] {
            let path = magic.strip_prefix("/").unwrap();
            assert_eq!(take_in(root.as_fd(), path, links).unwrap_err().errno(), Errno::ELOOP);
        }
        assert_eq!(change_dir_inside(&magic).unwrap_err().errno(), Errno::ELOOP);
        assert_eq!(change_dir_inside(Path::new("/proc/self/cwd")).unwrap_err().errno(), Errno::ELOOP);
    }
}
