//! File trees: the calls that unpacking, copying and removing a root file system need, all relative to directory fds.
//!
//! Everything below a root is reached with openat2(2) under `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS |
//! RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV`: what is in the tree may be hostile, and may change at any time.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, RenameFlags, ResolveFlags, SeekFrom, Timespec, Timestamps, UTIME_OMIT,
    XattrFlags,
};

use crate::error::{Call, Errno, Error, Result};
use crate::path;

/// How a path below a root is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// A directory, as a handle that only names it (O_PATH).
    Handle,
    /// A directory, for reading.
    Directory,
    /// Anything but a symbolic link, for reading, without waiting for the writer of a FIFO.
    File,
}

impl Open {
    fn flags(self) -> OFlags {
        let kind = match self {
            Self::Handle => OFlags::PATH | OFlags::DIRECTORY,
            Self::Directory => OFlags::RDONLY | OFlags::DIRECTORY,
            Self::File => OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY,
        };
        kind | OFlags::NOFOLLOW | OFlags::CLOEXEC
    }
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A FIFO.
    Fifo,
    /// A character or block device.
    Device,
    /// A socket.
    Socket,
}

impl Kind {
    fn of(mode: u32) -> Self {
        match FileType::from_raw_mode(mode) {
            FileType::Directory => Self::Directory,
            FileType::Symlink => Self::Symlink,
            FileType::Fifo => Self::Fifo,
            FileType::CharacterDevice | FileType::BlockDevice => Self::Device,
            FileType::Socket => Self::Socket,
            _ => Self::File,
        }
    }
}

/// A modification time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Time {
    /// Seconds since 1970, negative before.
    pub seconds: i64,
    /// Nanoseconds after that second, below 1,000,000,000.
    pub nanoseconds: u32,
}

impl Time {
    fn stamps(self) -> Timestamps {
        Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec { tv_sec: self.seconds, tv_nsec: self.nanoseconds.into() },
        }
    }
}

/// What is known of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// What it is.
    pub kind: Kind,
    /// The low twelve bits of `st_mode`.
    pub mode: u32,
    /// The owner, as seen in this user namespace.
    pub uid: u32,
    /// The group, as seen in this user namespace.
    pub gid: u32,
    /// The modification time.
    pub mtime: Time,
    /// The length in bytes.
    pub length: u64,
    /// Device and inode number: the same for all names of one file.
    pub identity: (u64, u64),
    /// How many names it has.
    pub links: u64,
}

impl From<rustix::fs::Stat> for Status {
    fn from(stat: rustix::fs::Stat) -> Self {
        Self {
            kind: Kind::of(stat.st_mode),
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: Time { seconds: stat.st_mtime, nanoseconds: stat.st_mtime_nsec as u32 },
            length: stat.st_size as u64,
            identity: (stat.st_dev, stat.st_ino),
            #[allow(clippy::unnecessary_cast, reason = "it is a u32 on some machines")]
            links: stat.st_nlink as u64,
        }
    }
}

/// Returns what is known of an open file.
pub fn status(fd: BorrowedFd<'_>) -> Result<Status> {
    path::status(fd).map(Status::from)
}

/// Returns what is known of `name` below `dir`, of a symbolic link itself.
pub fn status_at(dir: BorrowedFd<'_>, name: &OsStr) -> Result<Status> {
    path::status_at(dir, name).map(Status::from)
}

fn beneath() -> ResolveFlags {
    ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV
}

/// Opens `path` below `root`; an empty path is the root itself.
///
/// # Errors
/// ELOOP when a component on the way is a symbolic link (ENOTDIR when the last one is, and a directory is wanted);
/// EXDEV when one is a mount point or the path leads out of the root.
pub fn open_beneath(root: BorrowedFd<'_>, path: &Path, how: Open) -> Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    rustix::fs::openat2(root, path, how.flags(), Mode::empty(), beneath()).call(|| {
        format!("openat2({}, {path:?}, {how:?}, RESOLVE_BENEATH|NO_SYMLINKS|NO_XDEV)", root.as_raw_fd())
    })
}

/// Makes the regular file `name` below `dir`, open for writing.
///
/// # Errors
/// EEXIST when there is anything of this name, a symbolic link included.
pub fn create(dir: BorrowedFd<'_>, name: &OsStr, mode: u32) -> Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(mode))
        .call(|| format!("openat({}, {name:?}, O_CREAT|O_EXCL, {mode:04o})", dir.as_raw_fd()))
}

/// Returns the process that has the lock of a file (flock(2)), where it is one of this PID namespace. Source: proc_locks(5).
pub fn lock_holder(file: BorrowedFd<'_>) -> Option<i32> {
    let status = rustix::fs::fstat(file).ok()?;
    let (major, minor) = (rustix::fs::major(status.st_dev), rustix::fs::minor(status.st_dev));
    let wanted = format!("{major:02x}:{minor:02x}:{}", status.st_ino);
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    let holder = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (kind, pid, place) = (*words.get(1)?, *words.get(4)?, *words.get(5)?);
        (kind == "FLOCK" && place == wanted).then(|| pid.parse().ok())?
    };
    locks.lines().find_map(holder).filter(|pid| *pid > 0)
}

/// Makes the FIFO `name` below `dir`.
pub fn make_fifo(dir: BorrowedFd<'_>, name: &OsStr, mode: u32) -> Result<()> {
    rustix::fs::mknodat(dir, name, FileType::Fifo, Mode::from_raw_mode(mode), 0)
        .call(|| format!("mknodat({}, {name:?}, S_IFIFO|{mode:04o})", dir.as_raw_fd()))
}

/// Opens the FIFO `name` below `dir` to read from it, in a way that needs no writer and sees none leave.
pub fn open_fifo(dir: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty())
        .call(|| format!("openat({}, {name:?}, O_RDWR|O_NONBLOCK)", dir.as_raw_fd()))
}

/// Makes all who share an open file fail with EAGAIN instead of waiting.
pub fn set_nonblocking(file: BorrowedFd<'_>) -> Result<()> {
    rustix::io::ioctl_fionbio(file, true).call(|| format!("ioctl({}, FIONBIO)", file.as_raw_fd()))
}

/// Makes `name` below `dir` a hard link to `old_name` below `old_dir`, which is not followed if it is a symbolic link.
pub fn make_link(old_dir: BorrowedFd<'_>, old_name: &OsStr, dir: BorrowedFd<'_>, name: &OsStr) -> Result<()> {
    rustix::fs::linkat(old_dir, old_name, dir, name, AtFlags::empty())
        .call(|| format!("linkat({}, {old_name:?}, {}, {name:?})", old_dir.as_raw_fd(), dir.as_raw_fd()))
}

/// Renames `old` below `dir` to `new`, in place of what has that name.
pub fn rename(dir: BorrowedFd<'_>, old: &OsStr, new: &OsStr) -> Result<()> {
    rustix::fs::renameat(dir, old, dir, new)
        .call(|| format!("renameat({}, {old:?}, {new:?})", dir.as_raw_fd()))
}

/// Returns where the symbolic link `name` below `dir` points to.
pub fn read_link(dir: BorrowedFd<'_>, name: &OsStr) -> Result<OsString> {
    let target = rustix::fs::readlinkat(dir, name, Vec::new())
        .call(|| format!("readlinkat({}, {name:?})", dir.as_raw_fd()))?;
    Ok(OsString::from_vec(target.into_bytes()))
}

/// Sets the modification time of an open file.
pub fn set_time(fd: BorrowedFd<'_>, time: Time) -> Result<()> {
    rustix::fs::futimens(fd, &time.stamps()).call(|| format!("futimens({}, {time:?})", fd.as_raw_fd()))
}

/// Sets the modification time of `name` below `dir`, of a symbolic link itself.
pub fn set_time_at(dir: BorrowedFd<'_>, name: &OsStr, time: Time) -> Result<()> {
    rustix::fs::utimensat(dir, name, &time.stamps(), AtFlags::SYMLINK_NOFOLLOW)
        .call(|| format!("utimensat({}, {name:?}, {time:?}, AT_SYMLINK_NOFOLLOW)", dir.as_raw_fd()))
}

/// Writes all of `bytes` at `offset` of an open file.
pub fn write_all_at(fd: BorrowedFd<'_>, mut bytes: &[u8], mut offset: u64) -> Result<()> {
    let call = |left: usize| format!("pwrite64({}, {left} bytes)", fd.as_raw_fd());
    while !bytes.is_empty() {
        match rustix::io::pwrite(fd, bytes, offset) {
            Ok(0) => return Err(Error::new(call(bytes.len()), Errno::EIO)),
            Ok(written) => {
                bytes = &bytes[written..];
                offset += written as u64;
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e).call(|| call(bytes.len())),
        }
    }
    Ok(())
}

/// Sets the length of an open file; what is added reads as zeros and takes no space.
pub fn set_length(fd: BorrowedFd<'_>, length: u64) -> Result<()> {
    rustix::fs::ftruncate(fd, length).call(|| format!("ftruncate({}, {length})", fd.as_raw_fd()))
}

/// Returns the next range with data at or after `offset`, as (start, end); `None` when only a hole follows.
///
/// The offset of the open file changes.
pub fn next_data(fd: BorrowedFd<'_>, offset: u64) -> Result<Option<(u64, u64)>> {
    let call = |what: &str| format!("lseek({}, {offset}, {what})", fd.as_raw_fd());
    let start = match rustix::fs::seek(fd, SeekFrom::Data(offset)) {
        Err(rustix::io::Errno::NXIO) => return Ok(None),
        found => found.call(|| call("SEEK_DATA"))?,
    };
    let end = rustix::fs::seek(fd, SeekFrom::Hole(start)).call(|| call("SEEK_HOLE"))?;
    Ok(Some((start, end)))
}

/// Makes all of `source` the contents of `target` without copying (FICLONE).
///
/// # Errors
/// EOPNOTSUPP, EXDEV or EINVAL where the file systems cannot share data.
pub fn share_contents(source: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<()> {
    rustix::fs::ioctl_ficlone(target, source)
        .call(|| format!("ioctl({}, FICLONE, {})", target.as_raw_fd(), source.as_raw_fd()))
}

/// Copies the bytes from `start` to `end` of `source` to the same place of `target`; stops where the source ends.
pub fn copy_range(source: BorrowedFd<'_>, target: BorrowedFd<'_>, start: u64, end: u64) -> Result<()> {
    let call = || format!("copy_file_range({}, {}, {start}..{end})", source.as_raw_fd(), target.as_raw_fd());
    let (mut from, mut to) = (start, start);
    while from < end {
        let left = usize::try_from(end - from).unwrap_or(usize::MAX).min(1 << 30);
        match rustix::fs::copy_file_range(source, Some(&mut from), target, Some(&mut to), left) {
            Ok(0) => break,
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) if cannot_copy_in_kernel(e) => return copy_by_hand(source, target, from, end),
            Err(e) => return Err(e).call(call),
        }
    }
    Ok(())
}

/// Older kernels refuse copies between file systems, and some file systems every copy.
fn cannot_copy_in_kernel(errno: rustix::io::Errno) -> bool {
    use rustix::io::Errno as E;
    [E::XDEV, E::INVAL, E::OPNOTSUPP, E::NOSYS].contains(&errno)
}

fn copy_by_hand(source: BorrowedFd<'_>, target: BorrowedFd<'_>, mut at: u64, end: u64) -> Result<()> {
    let mut buffer = vec![0; 1 << 18];
    while at < end {
        let want = buffer.len().min(usize::try_from(end - at).unwrap_or(usize::MAX));
        let got = match rustix::io::pread(source, &mut buffer[..want], at) {
            Err(rustix::io::Errno::INTR) => continue,
            read => read.call(|| format!("pread64({}, {at})", source.as_raw_fd()))?,
        };
        if got == 0 {
            break;
        }
        write_all_at(target, &buffer[..got], at)?;
        at += got as u64;
    }
    Ok(())
}

/// The largest extended attribute that Linux knows. Source: xattr(7), `XATTR_SIZE_MAX` and `XATTR_LIST_MAX`.
const XATTR_MAX: usize = 65536;

/// Returns the names of the extended attributes of an open file.
pub fn xattr_names(fd: BorrowedFd<'_>) -> Result<Vec<OsString>> {
    let mut list = vec![0; XATTR_MAX];
    let length = match rustix::fs::flistxattr(fd, &mut list[..]) {
        Err(rustix::io::Errno::OPNOTSUPP) => 0,
        found => found.call(|| format!("flistxattr({})", fd.as_raw_fd()))?,
    };
    let names = list[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    Ok(names.map(|name| OsStr::from_bytes(name).to_owned()).collect())
}

/// Returns the value of an extended attribute of an open file.
pub fn xattr(fd: BorrowedFd<'_>, name: &OsStr) -> Result<Vec<u8>> {
    let mut value = vec![0; XATTR_MAX];
    let length = rustix::fs::fgetxattr(fd, name, &mut value[..])
        .call(|| format!("fgetxattr({}, {name:?})", fd.as_raw_fd()))?;
    value.truncate(length);
    Ok(value)
}

/// Sets an extended attribute of an open file.
pub fn set_xattr(fd: BorrowedFd<'_>, name: &OsStr, value: &[u8]) -> Result<()> {
    rustix::fs::fsetxattr(fd, name, value, XattrFlags::empty())
        .call(|| format!("fsetxattr({}, {name:?}, {} bytes)", fd.as_raw_fd(), value.len()))
}

/// Removes an extended attribute of an open file; one that is not there is no error.
pub fn remove_xattr(fd: BorrowedFd<'_>, name: &OsStr) -> Result<()> {
    use rustix::io::Errno as E;
    match rustix::fs::fremovexattr(fd, name) {
        Err(E::NODATA | E::OPNOTSUPP) => Ok(()),
        removed => removed.call(|| format!("fremovexattr({}, {name:?})", fd.as_raw_fd())),
    }
}

/// Writes everything that the file system of an open file still holds in memory to its disk.
pub fn sync_filesystem(fd: BorrowedFd<'_>) -> Result<()> {
    rustix::fs::syncfs(fd).call(|| format!("syncfs({})", fd.as_raw_fd()))
}

/// How many directories deep [`remove_tree`] holds an fd per level; a directory below that is moved up first.
const REMOVE_DEPTH: usize = 64;

/// How often [`remove_tree`] looks again into a directory that somebody else keeps filling.
const REMOVE_ROUNDS: u32 = 16;

/// Removes `name` below `dir` with everything in it. One that is not there is no error.
///
/// Symbolic links are removed, never followed; mount points are not crossed. Directories that their owner may not
/// change are made accessible. Others may rename and create files in the tree meanwhile: each step holds on to
/// directories by fd, so nothing outside the tree is reached through a name (RUSTSEC-2023-0018). Depth is not
/// limited, and the number of fds is. After a failure it goes on with the rest, and returns the first failure.
///
/// # Errors
/// EINVAL when `name` is not a single file name, EXDEV at a mount point, ENOTEMPTY when others keep adding files.
pub fn remove_tree(dir: BorrowedFd<'_>, name: &OsStr) -> Result<()> {
    if matches!(name.as_bytes(), b"" | b"." | b"..") || name.as_bytes().contains(&b'/') {
        return Err(Error::new(format!("unlinkat({}, {name:?})", dir.as_raw_fd()), Errno::EINVAL));
    }
    let mut removal = Removal { parent: dir, levels: Vec::new(), failure: None, moved: 0 };
    removal.remove_entry(name.to_owned());
    removal.run()
}

/// A directory that is being emptied.
struct Level {
    fd: OwnedFd,
    name: OsString,
    names: Vec<OsString>,
    rounds: u32,
    /// Something in it could not be removed, so it cannot be either.
    stuck: bool,
}

/// What is left to do: the directories on the way down, the current one last.
struct Removal<'a> {
    parent: BorrowedFd<'a>,
    levels: Vec<Level>,
    failure: Option<Error>,
    moved: u64,
}

impl Removal<'_> {
    fn run(mut self) -> Result<()> {
        while let Some(level) = self.levels.last_mut() {
            match level.names.pop() {
                Some(name) => self.remove_entry(name),
                None => self.leave(),
            }
        }
        self.failure.map_or(Ok(()), Err)
    }

    fn current(&self) -> BorrowedFd<'_> {
        self.levels.last().map_or(self.parent, |level| level.fd.as_fd())
    }

    fn remove_entry(&mut self, name: OsString) {
        let done = match path::remove_file(self.current(), &name) {
            Err(e) if e.errno() == Errno::EISDIR => self.descend(name),
            done => done,
        };
        self.note(done);
    }

    /// Remembers a failure. That a file has gone or become another meanwhile is none: the next look at the
    /// directory tells.
    fn note(&mut self, done: Result<()>) {
        let Err(error) = done else { return };
        if matches!(error.errno(), Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) {
            return;
        }
        if let Some(level) = self.levels.last_mut() {
            level.stuck = true;
        }
        self.failure.get_or_insert(error);
    }

    fn descend(&mut self, name: OsString) -> Result<()> {
        if self.levels.len() >= REMOVE_DEPTH {
            return self.move_up(&name);
        }
        let fd = open_to_empty(self.current(), &name)?;
        let names = path::names(fd.as_fd())?;
        self.levels.push(Level { fd, name, names, rounds: 0, stuck: false });
        Ok(())
    }

    /// Moves a directory that lies too deep to the top of the tree, where its turn comes.
    fn move_up(&mut self, name: &OsStr) -> Result<()> {
        let from = self.current();
        // A directory that moves gets a new `..`, so its owner must be allowed to write it.
        drop(open_to_empty(from, name)?);
        let to = self.levels[0].fd.as_fd();
        let mut moved = self.moved;
        let new_name = loop {
            moved += 1;
            let new_name = OsString::from(format!(".removing-{moved}"));
            match rustix::fs::renameat_with(from, name, to, &new_name, RenameFlags::NOREPLACE) {
                Err(rustix::io::Errno::EXIST) => {}
                renamed => {
                    renamed.call(|| format!("renameat2({}, {name:?}, {new_name:?})", from.as_raw_fd()))?;
                    break new_name;
                }
            }
        };
        self.moved = moved;
        self.levels[0].names.push(new_name);
        Ok(())
    }

    /// Removes the current directory itself, or looks into it again when something new is in it.
    fn leave(&mut self) {
        let Some(mut level) = self.levels.pop() else { return };
        let removed = path::remove_dir(self.current(), &level.name);
        match removed {
            Err(e) if e.errno() == Errno::ENOTEMPTY => match level.look_again() {
                Ok(true) => self.levels.push(level),
                Ok(false) if level.stuck => self.stick(),
                Ok(false) => self.note(Err(e)),
                Err(unreadable) => self.note(Err(unreadable)),
            },
            done => self.note(done),
        }
    }

    fn stick(&mut self) {
        if let Some(level) = self.levels.last_mut() {
            level.stuck = true;
        }
    }
}

impl Level {
    fn look_again(&mut self) -> Result<bool> {
        if self.stuck || self.rounds == REMOVE_ROUNDS {
            return Ok(false);
        }
        self.rounds += 1;
        self.names = path::names(self.fd.as_fd())?;
        Ok(true)
    }
}

/// Opens the directory `name` below `dir`, and lets its owner (the caller, or one it has power over) change it.
fn open_to_empty(dir: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd> {
    let name = Path::new(name);
    let fd = match open_beneath(dir, name, Open::Directory) {
        Err(e) if e.errno() == Errno::EACCES => {
            let closed = open_beneath(dir, name, Open::Handle)?;
            // chmod of an O_PATH fd goes through its name in /proc, which reaches this very directory.
            rustix::fs::chmod(path::of_fd(&closed), Mode::RWXU).call(|| format!("chmod({name:?}, 0700)"))?;
            open_beneath(dir, name, Open::Directory)?
        }
        opened => opened?,
    };
    let mode = path::status(fd.as_fd())?.st_mode;
    if mode & 0o700 != 0o700 {
        // Without effect on a directory of somebody else; then CAP_DAC_OVERRIDE decides, and unlink reports.
        let _unchanged = path::set_mode(fd.as_fd(), (mode & 0o7777) | 0o700);
    }
    Ok(fd)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::PathBuf;

    fn scratch(name: &str) -> (PathBuf, OwnedFd) {
        let dir = std::env::temp_dir().join(format!("bryo-file-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let fd = path::open_dir(&dir).unwrap();
        (dir, fd)
    }

    #[test]
    fn nothing_is_opened_through_a_link_or_out_of_the_root() {
        let (dir, root) = scratch("beneath");
        symlink("/etc", dir.join("out")).unwrap();
        let open = |path| open_beneath(root.as_fd(), Path::new(path), Open::Handle).map_err(|e| e.errno());
        assert_eq!(open("out/ssl").unwrap_err(), Errno::ELOOP);
        assert_eq!(open("out").unwrap_err(), Errno::ENOTDIR);
        assert_eq!(open("..").unwrap_err(), Errno::EXDEV);
        assert_eq!(open("/etc").unwrap_err(), Errno::EXDEV);
        assert!(open("").is_ok());
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn create_does_not_write_through_a_link() {
        let (dir, root) = scratch("create");
        symlink(dir.join("victim"), dir.join("link")).unwrap();
        let refused = create(root.as_fd(), OsStr::new("link"), 0o644).unwrap_err();
        assert_eq!(refused.errno(), Errno::EEXIST);
        assert!(!dir.join("victim").exists());
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn remove_tree_removes_links_and_not_what_they_point_to() {
        let (dir, root) = scratch("rm-links");
        fs::create_dir_all(dir.join("tree/a/b")).unwrap();
        fs::create_dir(dir.join("outside")).unwrap();
        fs::write(dir.join("outside/kept"), "x").unwrap();
        symlink(dir.join("outside"), dir.join("tree/a/link")).unwrap();
        fs::set_permissions(dir.join("tree/a"), fs::Permissions::from_mode(0o000)).unwrap();
        remove_tree(root.as_fd(), OsStr::new("tree")).unwrap();
        remove_tree(root.as_fd(), OsStr::new("tree")).unwrap();
        assert!(!dir.join("tree").exists());
        symlink(dir.join("outside"), dir.join("itself")).unwrap();
        remove_tree(root.as_fd(), OsStr::new("itself")).unwrap();
        assert!(dir.join("outside/kept").exists() && fs::symlink_metadata(dir.join("itself")).is_err());
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn remove_tree_takes_one_file_name_only() {
        let (dir, root) = scratch("rm-name");
        for name in ["", ".", "..", "a/b", "/"] {
            assert_eq!(remove_tree(root.as_fd(), OsStr::new(name)).unwrap_err().errno(), Errno::EINVAL);
        }
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn remove_tree_goes_deeper_than_the_number_of_fds() {
        let (dir, root) = scratch("rm-deep");
        path::make_dir(root.as_fd(), OsStr::new("deep"), 0o755).unwrap();
        let mut fd = path::open_dir_at(root.as_fd(), Path::new("deep")).unwrap();
        for _ in 0..3000 {
            drop(create(fd.as_fd(), OsStr::new("file"), 0o644).unwrap());
            path::make_dir(fd.as_fd(), OsStr::new("down"), 0o755).unwrap();
            fd = path::open_dir_at(fd.as_fd(), Path::new("down")).unwrap();
        }
        remove_tree(root.as_fd(), OsStr::new("deep")).unwrap();
        assert!(!dir.join("deep").exists());
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn remove_tree_survives_renames_at_the_same_time() {
        let (dir, root) = scratch("rm-race");
        fs::create_dir(dir.join("outside")).unwrap();
        fs::write(dir.join("outside/kept"), "x").unwrap();
        for round in 0..50 {
            let tree = dir.join("tree");
            for n in 0..20 {
                fs::create_dir_all(tree.join(format!("d{n}/sub"))).unwrap();
            }
            let (racing, outside) = (tree.clone(), dir.join("outside"));
            let racer = std::thread::spawn(move || {
                for n in 0..20 {
                    let victim = racing.join(format!("d{}", (n + round) % 20));
                    let _moved = fs::rename(victim.join("sub"), victim.join("gone"));
                    let _swapped = symlink(&outside, victim.join("sub"));
                }
            });
            remove_tree(root.as_fd(), OsStr::new("tree")).unwrap();
            racer.join().unwrap();
            assert!(!tree.exists() && dir.join("outside/kept").exists());
        }
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn copies_keep_data_where_it_was() {
        let (dir, root) = scratch("copy");
        let source = create(root.as_fd(), OsStr::new("s"), 0o644).unwrap();
        write_all_at(source.as_fd(), b"data", 1 << 20).unwrap();
        set_length(source.as_fd(), 4 << 20).unwrap();
        let source = open_beneath(root.as_fd(), Path::new("s"), Open::File).unwrap();
        let target = create(root.as_fd(), OsStr::new("t"), 0o644).unwrap();
        let (start, end) = next_data(source.as_fd(), 0).unwrap().unwrap();
        assert!(start <= 1 << 20 && end >= (1 << 20) + 4);
        copy_range(source.as_fd(), target.as_fd(), start, end).unwrap();
        copy_by_hand(source.as_fd(), target.as_fd(), end, 4 << 20).unwrap();
        assert_eq!(fs::read(dir.join("s")).unwrap(), fs::read(dir.join("t")).unwrap());
        fs::remove_dir_all(dir).unwrap();
    }
}
