//! The tree that many containers share, for other runtimes: the layout of LXC's lxcfs, mounted in one place and bound into
//! containers from there. `fuser` speaks the protocol; the table of files is that of the private superblocks.
//!
//! Every lookup of a file gets an inode of its own. So whoever binds a file, or opens it by its path, has a page cache that nobody
//! else reads from: sendfile(2) goes through it, whatever the file was opened for.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cgroup::CpuList;
use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner, Notifier,
    OpenAccMode, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, Request,
    Session, SessionACL,
};

use crate::caller::{Caller, Found, Key};
use crate::container::{Options, Shared, Shown};
use crate::fuse::opens::{PAGE, Sizes, Texts};
use crate::fuse::{Has, Kind, Several, Tree};
use crate::host::Host;

/// Numbers from here on are those of single lookups of files.
const LOOKUPS: u64 = 1 << 48;

/// How long the kernel may keep what it was told: not at all of names, so that each lookup gets here.
const NAMES: Duration = Duration::ZERO;
const STATUS: Duration = Duration::from_secs(3600);

/// The most containers that are remembered. Of one that was forgotten no counter of the kernel's is lost.
const KNOWN: usize = 4096;

/// The most groups that are remembered of those that are no container's whole.
const GROUPS: usize = 64;

/// How many opens may wait for the kernel to take note of a size.
const GROWING: usize = 16;

/// What `--help` says.
pub const HELP: &str = "\
Shows containers of other runtimes their own limits in /proc and /sys, by a tree that is bound into them.

Usage: bryo-lxcfs --system [OPTIONS] [DIRECTORY]

The directory is /var/lib/lxcfs unless told otherwise; for who is not root, lxcfs in $XDG_RUNTIME_DIR.

  -u, --disable-swap    show no swap
  -z, --disable-zswap   show no compressed swap
      --enable-cfs      show a quota of processor time as so many processors
  -p, --pidfile FILE    write the process's number there, and hold a lock on it
  -l, --enable-loadavg  nothing: loads are counted where they are read
  -f, -d, -s, -o WORDS, --enable-pidfd  nothing, for those who have them in their units

SIGUSR2 shows the host's numbers, and then the containers' own again.

Examples:
  bryo-lxcfs --system /var/lib/lxcfs
  docker run -v /var/lib/lxcfs/proc/meminfo:/proc/meminfo:ro debian free
  podman unshare bryo-lxcfs --system
";

/// What the command line says.
#[derive(Debug, PartialEq, Eq)]
pub struct Arguments {
    /// What is shown otherwise than usually.
    pub options: Options,
    /// Where the tree is mounted.
    pub directory: PathBuf,
    /// Where the process's number is written.
    pub pid_file: Option<PathBuf>,
}

impl Arguments {
    /// Reads the options of LXC's lxcfs. Source: lxcfs(1).
    ///
    /// # Errors
    /// A word that is none of them, a second directory, or no directory where none is usual.
    pub fn parse(words: &[String]) -> Result<Self, String> {
        let (mut options, mut directory, mut pid_file) = (Options::default(), None, None);
        let mut words = words.iter().map(String::as_str);
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} wants a value"));
            match word {
                "-u" | "--disable-swap" => options.no_swap = true,
                "-z" | "--disable-zswap" => options.no_zswap = true,
                "--enable-cfs" => options.quota = true,
                "--coalesce" => options.coalesce = true,
                "-p" | "--pidfile" => pid_file = Some(PathBuf::from(value()?)),
                "-o" => drop(value()?),
                "-l" | "--enable-loadavg" | "-f" | "--foreground" | "-d" | "--debug" | "-s"
                | "--enable-pidfd" => {}
                _ if word.starts_with("--pidfile=") => {
                    pid_file = word.split_once('=').map(|(_, file)| file.into())
                }
                _ if word.starts_with('-') => return Err(format!("{word} is no option; see --help")),
                _ if directory.is_some() => return Err(format!("{word}: there is a directory already")),
                _ => directory = Some(PathBuf::from(word)),
            }
        }
        let directory = directory.or_else(usual).ok_or("there is no XDG_RUNTIME_DIR: which directory?")?;
        Ok(Self { options, directory, pid_file })
    }
}

/// Where the tree is usually.
fn usual() -> Option<PathBuf> {
    match std::env::var_os("XDG_RUNTIME_DIR") {
        // Also for who is root of a user namespace alone: only the machine's root has no such directory.
        Some(runtime) if !runtime.is_empty() => Some(Path::new(&runtime).join("lxcfs")),
        _ if sys::cred::real_uid().0 == 0 => Some(PathBuf::from("/var/lib/lxcfs")),
        _ => None,
    }
}

/// One container: what is seen of it, and what it has open.
#[derive(Debug)]
struct Known {
    found: Found,
    texts: Texts,
    /// The groups of its init, where it is known by that.
    groups: Option<String>,
}

/// The tree.
#[derive(Debug, Clone)]
pub struct System(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    tree: Tree,
    shared: Shared,
    /// The inode of this process's own PID namespace.
    own: u64,
    time: SystemTime,
    is_on: AtomicBool,
    known: Mutex<BTreeMap<Key, Arc<Mutex<Known>>>>,
    /// What opens without a container have: those of the host's text.
    hosts: Mutex<Texts>,
    /// The number in the tree of each lookup that the kernel holds, and how many times.
    lookups: Mutex<BTreeMap<u64, (u64, u64)>>,
    next: AtomicU64,
    /// Whose text an open has. Who gets an open fd from somebody else reads what that one would.
    opened: Mutex<BTreeMap<u64, Viewer>>,
    next_open: AtomicU64,
    sizes: Mutex<Sizes>,
    growing: AtomicUsize,
    notifier: OnceLock<Notifier>,
}

/// Who is shown a file.
#[derive(Clone, Debug)]
enum Viewer {
    Container(Arc<Mutex<Known>>),
    Host,
}

impl System {
    /// Mounts the tree on a directory, and returns the thread that serves it until it is unmounted.
    ///
    /// # Errors
    /// The kernel refuses the superblock or the mount.
    pub fn mount(options: Options, directory: &Path) -> Result<(Self, thread::JoinHandle<()>), String> {
        const THREADS: usize = 4;
        let failed = |e: sys::Error| e.to_string();
        let device = sys::fuse::open_waiting().map_err(failed)?;
        let mount = sys::fuse::new_superblock(device.as_fd(), "lxcfs", "lxcfs").map_err(failed)?;
        let place = sys::path::take(directory).map_err(failed)?;
        let own = sys::namespace::proc_dir(sys::process::own_pid())
            .and_then(|proc| sys::namespace::of_process(proc.as_fd(), "pid"))
            .and_then(|space| sys::namespace::identity(space.as_fd()))
            .map_err(failed)?;
        let system = Self(Arc::new(Inner {
            tree: Tree::new(),
            shared: Shared { options, ..Shared::default() },
            own,
            time: SystemTime::now(),
            is_on: AtomicBool::new(true),
            known: Mutex::default(),
            hosts: Mutex::new(Texts::new(0)),
            lookups: Mutex::default(),
            next: AtomicU64::new(LOOKUPS),
            opened: Mutex::default(),
            next_open: AtomicU64::new(1),
            sizes: Mutex::default(),
            growing: AtomicUsize::new(0),
            notifier: OnceLock::new(),
        }));
        // The kernel sends its first request when the superblock is there, and here it is answered.
        let mut config = fuser::Config::default();
        config.n_threads = Some(THREADS);
        let session =
            Session::from_fd(system.clone(), device, SessionACL::All, config).map_err(|e| e.to_string())?;
        let _set_once = system.0.notifier.set(session.notifier());
        sys::mount::attach(mount.as_fd(), place.as_fd()).map_err(failed)?;
        drop(mount);
        let serve = move || {
            // It ends when nothing is mounted any more.
            let _unmounted = session.run();
        };
        let thread = thread::Builder::new().spawn(serve).map_err(|e| e.to_string())?;
        Ok((system, thread))
    }

    /// Shows containers the host's files, or their own again. Source: lxcfs(1), SIGUSR2.
    pub fn toggle(&self) {
        self.0.is_on.fetch_xor(true, Ordering::Relaxed);
    }
}

impl Inner {
    /// Finds who is to be shown a file. None when nobody can be found: who cannot be told apart gets nothing.
    fn viewer(&self, request: &Request) -> Option<Viewer> {
        // 0 is who is out of this process's sight: above it.
        let thread = i32::try_from(request.pid()).ok()?;
        if thread == 0 || !self.is_on.load(Ordering::Relaxed) {
            return Some(Viewer::Host);
        }
        let caller = Caller::of(thread)?;
        let space = Key::Space(caller.inode());
        let of_space = guard(&self.known).get(&space).cloned();
        let of_space = of_space.filter(|known| !guard(known).found.has_ended());
        let groups = match &of_space {
            Some(known) => guard(known).groups.clone(),
            None if caller.inode() == self.own => None,
            None => caller.init().map(|(_, groups)| groups),
        };
        match (caller.key(self.own, groups.as_deref()), of_space) {
            (Key::Space(_), Some(known)) => Some(Viewer::Container(known)),
            (key, _) => self.know(key, groups, caller).map(Viewer::Container),
        }
    }

    fn know(&self, key: Key, groups: Option<String>, caller: Caller) -> Option<Arc<Mutex<Known>>> {
        if matches!(key, Key::Group(_))
            && let Some(known) = guard(&self.known).get(&key)
        {
            return Some(Arc::clone(known));
        }
        let found = caller.find(&key)?;
        let known = Arc::new(Mutex::new(Known { found, texts: Texts::new(0), groups }));
        let mut all = guard(&self.known);
        all.retain(|_, known| {
            known.try_lock().is_ok_and(|known| !known.found.has_ended()) || Arc::strong_count(known) > 1
        });
        let is_group = |key: &&Key| matches!(key, Key::Group(_));
        if all.keys().filter(is_group).count() >= GROUPS
            && let Some(first) = all.keys().find(is_group).cloned()
        {
            all.remove(&first);
        }
        while all.len() >= KNOWN {
            all.pop_first();
        }
        all.insert(key, Arc::clone(&known));
        Some(known)
    }

    /// Returns the number in the tree of an inode.
    fn number(&self, inode: u64) -> Option<u64> {
        if inode < LOOKUPS {
            Some(inode)
        } else {
            guard(&self.lookups).get(&inode).map(|(number, _)| *number)
        }
    }

    fn status(&self, inode: u64, number: u64) -> Option<FileAttr> {
        let (kind, size, perm, nlink) = match self.tree.kind(number)? {
            Kind::Directory => (FileType::Directory, 0, 0o555, 2),
            Kind::File(_) => (FileType::RegularFile, guard(&self.sizes).told(inode), 0o444, 1),
        };
        let time = self.time;
        Some(FileAttr {
            ino: INodeNo(inode),
            size,
            blocks: 0,
            atime: time,
            mtime: time,
            ctime: time,
            crtime: UNIX_EPOCH,
            kind,
            perm,
            nlink,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: PAGE as u32,
            flags: 0,
        })
    }

    fn with_names<T>(&self, request: &Request, then: impl FnOnce(&mut dyn Has) -> T) -> Option<T> {
        match self.viewer(request)? {
            Viewer::Host => Some(then(&mut OfHost(&self.shared.host))),
            Viewer::Container(known) => {
                let mut known = guard(&known);
                let seen = &mut known.found.seen;
                Some(then(&mut Shown { seen, shared: &self.shared, triggers: None }))
            }
        }
    }

    fn looked_up(&self, request: &Request, parent: u64, name: &OsStr) -> Result<FileAttr, Errno> {
        let parent = self.number(parent).ok_or(Errno::ENOENT)?;
        let found = self.with_names(request, |has| self.tree.find(parent, name.as_encoded_bytes(), has));
        let number = found.ok_or(Errno::EIO)?.ok_or(Errno::ENOENT)?;
        let inode = match self.tree.kind(number) {
            Some(Kind::File(_)) => {
                let inode = self.next.fetch_add(1, Ordering::Relaxed);
                guard(&self.lookups).insert(inode, (number, 1));
                inode
            }
            _ => number,
        };
        self.status(inode, number).ok_or(Errno::ENOENT)
    }

    /// Runs something with the texts of a viewer, and what renders a file for him.
    fn with_texts<T>(
        &self,
        viewer: &Viewer,
        inode: u64,
        then: impl FnOnce(&mut Texts, &mut dyn FnMut() -> sys::Result<String>) -> sys::Result<T>,
    ) -> Result<T, Errno> {
        let number = self.number(inode).ok_or(Errno::ENOENT)?;
        let Some(Kind::File(at)) = self.tree.kind(number) else { return Err(Errno::EISDIR) };
        let of = self.tree.of(number).map(|(_, of)| of);
        // Who reads gets an error then, and everybody else goes on.
        let done = catch_unwind(AssertUnwindSafe(|| match viewer {
            Viewer::Host => then(&mut guard(&self.hosts), &mut || self.shared.host.text(at, of)),
            Viewer::Container(known) => {
                let Known { found, texts, .. } = &mut *guard(known);
                then(texts, &mut || found.seen.render(at, of, &self.shared))
            }
        }));
        done.map_err(|_| Errno::EIO)?.map_err(|_| Errno::EIO)
    }

    /// Renders a file for who opens it, and returns the handle, and how long the text is.
    fn opened(&self, request: &Request, inode: u64) -> Result<(u64, u64), Errno> {
        let viewer = self.viewer(request).ok_or(Errno::EIO)?;
        let handle = self.next_open.fetch_add(1, Ordering::Relaxed);
        let length = self.with_texts(&viewer, inode, |texts, render| {
            let text = render()?;
            let length = text.len() as u64;
            texts.keep_as(handle, text);
            Ok(length)
        })?;
        guard(&self.opened).insert(handle, viewer);
        Ok((handle, length))
    }

    fn part(
        &self,
        request: &Request,
        inode: u64,
        handle: u64,
        offset: u64,
        size: u32,
    ) -> Result<Vec<u8>, Errno> {
        let opened = guard(&self.opened).get(&handle).cloned();
        let viewer = opened.or_else(|| self.viewer(request)).ok_or(Errno::EIO)?;
        let part =
            self.with_texts(&viewer, inode, |texts, render| texts.part(handle, offset, size, render))?;
        if part.len() < size as usize {
            guard(&self.sizes).cut(inode, offset.saturating_add(part.len() as u64));
        }
        Ok(part)
    }

    fn open(self: &Arc<Self>, request: &Request, inode: u64, reply: ReplyOpen) {
        let (handle, length) = match self.opened(request, inode) {
            Ok(opened) => opened,
            Err(e) => return reply.error(e),
        };
        let flags = FopenFlags::FOPEN_DIRECT_IO | FopenFlags::FOPEN_NOFLUSH;
        let grown = guard(&self.sizes).grow(inode, length);
        let (Some(size), Some(notifier)) = (grown, self.notifier.get().cloned()) else {
            return reply.opened(FileHandle(handle), flags);
        };
        // The kernel waits until nobody reads the page, so none of those who answer reads may.
        let has_room = self.growing.fetch_add(1, Ordering::Relaxed) < GROWING;
        let own = Arc::clone(self);
        let both = move |reply: ReplyOpen| {
            if has_room {
                let _unheard = notifier.store(INodeNo(inode), size - 1, &[0]);
            }
            reply.opened(FileHandle(handle), flags);
            own.growing.fetch_sub(1, Ordering::Relaxed);
        };
        if has_room {
            const STACK: usize = 128 << 10;
            // A thread that cannot be had drops the reply, which then is an error.
            let _started = thread::Builder::new().stack_size(STACK).spawn(move || both(reply));
        } else {
            both(reply);
        }
    }
}

/// What the host has, for who is in no container.
struct OfHost<'a>(&'a Host);

impl Has for OfHost<'_> {
    fn path(&mut self, path: &str) -> bool {
        self.0.has(path)
    }

    fn several(&mut self, which: Several) -> CpuList {
        let found = if which == Several::Cpus { self.0.online() } else { self.0.nodes() };
        found.unwrap_or_default()
    }
}

impl Filesystem for System {
    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.0.looked_up(request, parent.0, name) {
            Ok(status) => reply.entry_with_ttls(&STATUS, &NAMES, &status, Generation(0)),
            Err(e) => reply.error(e),
        }
    }

    fn forget(&self, _request: &Request, inode: INodeNo, times: u64) {
        let mut lookups = guard(&self.0.lookups);
        if let Some((_, held)) = lookups.get_mut(&inode.0) {
            *held = held.saturating_sub(times);
            if *held == 0 {
                lookups.remove(&inode.0);
                guard(&self.0.sizes).forget(inode.0);
            }
        }
    }

    fn getattr(&self, _request: &Request, inode: INodeNo, _handle: Option<FileHandle>, reply: ReplyAttr) {
        match self.0.number(inode.0).and_then(|number| self.0.status(inode.0, number)) {
            Some(status) => reply.attr(&STATUS, &status),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn open(&self, request: &Request, inode: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        if flags.acc_mode() == OpenAccMode::O_RDONLY {
            self.0.open(request, inode.0, reply);
        } else {
            reply.error(Errno::EROFS);
        }
    }

    fn read(
        &self,
        request: &Request,
        inode: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.0.part(request, inode.0, handle.0, offset, size) {
            Ok(part) => reply.data(&part),
            Err(e) => reply.error(e),
        }
    }

    fn release(
        &self,
        _request: &Request,
        _inode: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        let opened = guard(&self.0.opened).remove(&handle.0);
        match opened {
            Some(Viewer::Container(known)) => guard(&known).texts.forget(handle.0),
            Some(Viewer::Host) => guard(&self.0.hosts).forget(handle.0),
            None => {}
        }
        reply.ok();
    }

    fn readdir(
        &self,
        request: &Request,
        inode: INodeNo,
        _handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let tree = &self.0.tree;
        if tree.kind(inode.0) != Some(Kind::Directory) {
            return reply.error(Errno::ENOTDIR);
        }
        let Some(children) = self.0.with_names(request, |has| tree.children(inode.0, has)) else {
            return reply.error(Errno::EIO);
        };
        let dots = [
            (inode.0, ".".to_owned(), Kind::Directory),
            (tree.parent(inode.0), "..".to_owned(), Kind::Directory),
        ];
        let all = (1..).zip(dots.into_iter().chain(children));
        for (next, (number, name, kind)) in all.skip(usize::try_from(offset).unwrap_or(usize::MAX)) {
            let kind = if kind == Kind::Directory { FileType::Directory } else { FileType::RegularFile };
            if reply.add(INodeNo(number), next, kind, name) {
                break;
            }
        }
        reply.ok();
    }
}

fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> Result<Arguments, String> {
        let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        Arguments::parse(&words)
    }

    #[test]
    fn the_options_of_lxcfs_are_taken() {
        let all = parse("-f -l -u -z --enable-cfs -s -o allow_other -p /run/x.pid /var/lib/lxcfs").unwrap();
        let options = Options { quota: true, no_swap: true, no_zswap: true, ..Options::default() };
        assert_eq!(
            all,
            Arguments { options, directory: "/var/lib/lxcfs".into(), pid_file: Some("/run/x.pid".into()) }
        );
        assert_eq!(parse("--pidfile=/x /y").unwrap().pid_file, Some("/x".into()));
        for wrong in ["/a /b", "--what /a", "/a -p", "/a -o"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
