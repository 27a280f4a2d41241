//! Landlock: what a process, and all that it starts, gives up for good. Source: landlock(7).

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use crate::error::{Errno, Result, cvt};

/// `struct landlock_ruleset_attr` of Linux 6.12.
#[repr(C)]
struct Ruleset {
    handled_access_fs: u64,
    handled_access_net: u64,
    scoped: u64,
}

/// `struct landlock_net_port_attr`.
#[repr(C)]
struct Port {
    allowed_access: u64,
    port: u64,
}

/// Keeps the signals of this process, and of all that it starts, among themselves.
///
/// # Errors
/// E2BIG or EINVAL before Linux 6.12, ENOSYS or EOPNOTSUPP without Landlock; EPERM without CAP_SYS_ADMIN in the own user
/// namespace and without no_new_privs.
pub fn keep_signals_inside() -> Result<()> {
    const LANDLOCK_SCOPE_SIGNAL: u64 = 2;
    let attr = Ruleset { handled_access_fs: 0, handled_access_net: 0, scoped: LANDLOCK_SCOPE_SIGNAL };
    restrict(&create(&attr, "scoped=LANDLOCK_SCOPE_SIGNAL")?)
}

/// Keeps this process, and all that it starts, from the processes and the abstract sockets of others, and its signals among themselves.
/// Without a word about files it may mount as before.
///
/// # Errors
/// As [`keep_signals_inside`].
pub fn keep_to_itself() -> Result<()> {
    const LANDLOCK_SCOPES: u64 = 1 | 2;
    let attr = Ruleset { handled_access_fs: 0, handled_access_net: 0, scoped: LANDLOCK_SCOPES };
    restrict(&create(&attr, "scoped=LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET|LANDLOCK_SCOPE_SIGNAL")?)
}

/// Lets this thread, and all that it starts, connect by TCP to these ports alone, of whatever address and network namespace.
///
/// # Errors
/// As [`keep_signals_inside`], before Linux 6.7.
pub fn connect_only_to(ports: &[u16]) -> Result<()> {
    const LANDLOCK_ACCESS_NET_CONNECT_TCP: u64 = 2;
    const LANDLOCK_RULE_NET_PORT: u32 = 2;
    let handled_access_net = LANDLOCK_ACCESS_NET_CONNECT_TCP;
    let attr = Ruleset { handled_access_fs: 0, handled_access_net, scoped: 0 };
    let ruleset = create(&attr, "handled_access_net=LANDLOCK_ACCESS_NET_CONNECT_TCP")?;
    for port in ports {
        let rule = Port { allowed_access: handled_access_net, port: u64::from(*port) };
        // SAFETY: the rule is of the kind that the number says, and outlives the call.
        let done = unsafe {
            libc::syscall(
                libc::SYS_landlock_add_rule,
                ruleset.as_raw_fd(),
                LANDLOCK_RULE_NET_PORT,
                &raw const rule,
                0u32,
            )
        };
        cvt(done, || format!("landlock_add_rule(LANDLOCK_RULE_NET_PORT, {port})"))?;
    }
    restrict(&ruleset)
}

/// `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct Beneath {
    allowed_access: u64,
    parent: RawFd,
}

/// Lets this thread, and all that it starts, read files below the paths of `read`, and remove `own`, a directory, with the files in
/// it; nothing else of any file system. What is not there is left out.
///
/// # Errors
/// As [`keep_signals_inside`]; EINVAL before Linux 5.19.
pub fn only_read<'a>(read: impl Iterator<Item = &'a Path>, own: &Path) -> Result<()> {
    const REMOVE_DIR: u64 = 1 << 4;
    const REMOVE_FILE: u64 = 1 << 5;
    let handled = handled();
    let ruleset = create(&handled, "handled_access_fs=...")?;
    for path in read {
        allow(&ruleset, path, READ_FILE | READ_DIR)?;
    }
    allow(&ruleset, own, REMOVE_FILE | READ_DIR)?;
    // An empty directory beside it could be removed too.
    own.parent().map_or(Ok(()), |parent| allow(&ruleset, parent, REMOVE_DIR))?;
    restrict(&ruleset)
}

/// Of files: LANDLOCK_ACCESS_FS_EXECUTE (1) to _MAKE_SYM (1 << 12), and _REFER (1 << 13).
const ALL: u64 = (1 << 14) - 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;
const TRUNCATE: u64 = 1 << 14;
const IOCTL_DEV: u64 = 1 << 15;

/// What is given up of files, and where the kernel knows how, of signals and abstract sockets of others. What a kernel does not know
/// it refuses as a whole.
fn handled() -> Ruleset {
    const LANDLOCK_SCOPES: u64 = 1 | 2;
    let since = |version, rights| if version <= abi() { rights } else { 0 };
    let handled_access_fs = ALL | since(3, TRUNCATE) | since(5, IOCTL_DEV);
    Ruleset { handled_access_fs, handled_access_net: 0, scoped: since(6, LANDLOCK_SCOPES) }
}

/// Returns the version of what the kernel knows of Landlock: 3 is Linux 6.2, 5 is 6.10, 6 is 6.12; 0 without.
fn abi() -> libc::c_long {
    const LANDLOCK_CREATE_RULESET_VERSION: u32 = 1;
    let none = std::ptr::null::<Ruleset>();
    // SAFETY: with this flag the call takes no attribute, and returns a number.
    let version = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, none, 0usize, LANDLOCK_CREATE_RULESET_VERSION)
    };
    version.max(0)
}

/// Lets this thread, and all that it starts, read files below the paths of `read`, and do with files below `write` what a
/// directory of its own needs; nothing else of any file system. What is not there is left out, an empty path of `write` too.
///
/// # Errors
/// As [`keep_signals_inside`]; EINVAL before Linux 5.19, where no file could change its directory.
pub fn files<'a>(read: impl Iterator<Item = &'a Path>, write: &Path) -> Result<()> {
    // Write, read, list, remove and make plain files, and move them; and shorten them, where the kernel asks.
    const OWN: u64 = 1 << 1 | READ_FILE | READ_DIR | 1 << 5 | 1 << 8 | 1 << 13;
    let handled = handled();
    let ruleset = create(&handled, "handled_access_fs=...")?;
    for path in read {
        allow(&ruleset, path, READ_FILE | READ_DIR)?;
    }
    allow(&ruleset, write, (OWN | TRUNCATE) & handled.handled_access_fs)?;
    restrict(&ruleset)
}

/// Lets this thread, and all that it starts, read files below the paths of `read`, and read and run those below the paths of `run`;
/// nothing else of any file system. What is not there is left out.
///
/// # Errors
/// As [`files`].
pub fn only_run<'a>(read: impl Iterator<Item = &'a Path>, run: impl Iterator<Item = &'a Path>) -> Result<()> {
    const EXECUTE: u64 = 1;
    let ruleset = create(&handled(), "handled_access_fs=...")?;
    for path in read {
        allow(&ruleset, path, READ_FILE | READ_DIR)?;
    }
    for path in run {
        allow(&ruleset, path, READ_FILE | READ_DIR | EXECUTE)?;
    }
    restrict(&ruleset)
}

/// What opening a path says that will be said again: it is not there, not for this process, or below a mount whose server is gone.
const UNREACHABLE: [Errno; 6] =
    [Errno::ENOENT, Errno::ENOTDIR, Errno::EACCES, Errno::ELOOP, Errno::ESTALE, Errno::ENOTCONN];

fn allow(ruleset: &OwnedFd, path: &Path, access: u64) -> Result<()> {
    const LANDLOCK_RULE_PATH_BENEATH: u32 = 1;
    const LANDLOCK_ACCESS_OF_FILES: u64 = 1 | 1 << 1 | 1 << 2 | TRUNCATE | IOCTL_DEV;
    let parent = match crate::path::take(path) {
        // What this process cannot reach needs no rule. Without an fd for it, or the like, it would lack one.
        Err(e) if UNREACHABLE.contains(&e.errno()) => return Ok(()),
        taken => taken?,
    };
    let is_dir = crate::path::is_dir(parent.as_fd())?;
    let access = if is_dir { access } else { access & LANDLOCK_ACCESS_OF_FILES };
    let rule = Beneath { allowed_access: access, parent: parent.as_raw_fd() };
    // SAFETY: the rule is of the kind that the number says, and outlives the call, as its fd does.
    let done = unsafe {
        libc::syscall(
            libc::SYS_landlock_add_rule,
            ruleset.as_raw_fd(),
            LANDLOCK_RULE_PATH_BENEATH,
            &raw const rule,
            0u32,
        )
    };
    cvt(done, || format!("landlock_add_rule(LANDLOCK_RULE_PATH_BENEATH, {path:?})")).map(drop)
}

fn create(attr: &Ruleset, shown: &str) -> Result<OwnedFd> {
    // SAFETY: `attr` is a complete attribute of the size given, and outlives the call. A kernel to which the struct is too
    // long takes it where what it does not know is 0.
    let fd = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, attr as *const Ruleset, size_of::<Ruleset>(), 0u32)
    };
    let fd = cvt(fd, || format!("landlock_create_ruleset({{{shown}}})"))?;
    // SAFETY: the call returned a new fd that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

fn restrict(ruleset: &OwnedFd) -> Result<()> {
    // SAFETY: the call takes integers.
    let done = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0u32) };
    cvt(done, || "landlock_restrict_self()".to_owned()).map(drop)
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_file_elsewhere_is_not_shortened_and_one_below_the_directory_is() {
        let dir = crate::path::make_temporary_dir(&std::env::temp_dir().join("shorten-")).unwrap();
        let (own, other) = (dir.join("own"), dir.join("other"));
        std::fs::create_dir(&own).unwrap();
        std::fs::write(own.join("a"), "abc").unwrap();
        std::fs::write(&other, "abc").unwrap();
        let tried = std::thread::spawn(move || {
            crate::process::set_no_new_privs().unwrap();
            files(std::iter::empty(), &own)?;
            let shorten = |path: &Path| {
                let path = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
                // SAFETY: the path is a string that outlives the call.
                let done = unsafe { libc::truncate(path.as_ptr(), 1) };
                (done == 0).then_some(()).ok_or_else(|| std::io::Error::last_os_error().kind())
            };
            Ok::<_, crate::Error>((abi(), shorten(&own.join("a")), shorten(&other)))
        });
        let tried = tried.join().unwrap();
        std::fs::remove_dir_all(dir).unwrap();
        let skip = match tried {
            Ok((3.., own, other)) => {
                assert_eq!((own, other), (Ok(()), Err(ErrorKind::PermissionDenied)));
                return;
            }
            Ok((abi, ..)) => format!("the kernel has version {abi} of Landlock"),
            Err(e) => e.to_string(),
        };
        let skip = format!("SKIP: a_file_elsewhere_is_not_shortened: it takes Linux 6.2 ({skip})\n");
        std::io::Write::write_all(&mut std::io::stderr(), skip.as_bytes()).unwrap();
    }

    #[test]
    fn a_path_that_cannot_be_looked_at_is_none_that_is_not_there() {
        let Ok(ruleset) = create(&handled(), "handled_access_fs=...") else {
            let skip = "SKIP: a_path_that_cannot_be_looked_at_is_none_that_is_not_there: it takes Landlock\n";
            return std::io::Write::write_all(&mut std::io::stderr(), skip.as_bytes()).unwrap();
        };
        allow(&ruleset, Path::new("/is/not/there"), READ_DIR).unwrap();
        let long = format!("/{}", "x".repeat(300));
        assert_eq!(allow(&ruleset, Path::new(&long), READ_DIR).unwrap_err().errno(), Errno::ENAMETOOLONG);
    }

    #[test]
    fn only_ports_that_are_named_can_be_connected_to() {
        let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
        let listeners = [listen(), listen()];
        let [named, other] = listeners.each_ref().map(|listener| listener.local_addr().unwrap());
        let tried = std::thread::spawn(move || {
            crate::process::set_no_new_privs().unwrap();
            connect_only_to(&[named.port()])?;
            let connect = |to| TcpStream::connect(to).map(drop).map_err(|e| e.kind());
            Ok::<_, crate::Error>((connect(named), connect(other)))
        });
        match tried.join().unwrap() {
            Ok(tried) => assert_eq!(tried, (Ok(()), Err(ErrorKind::PermissionDenied))),
            Err(e) => std::io::Write::write_all(
                &mut std::io::stderr(),
                format!("SKIP: only_ports_that_are_named_can_be_connected_to: it takes Linux 6.7 ({e})\n")
                    .as_bytes(),
            )
            .unwrap(),
        }
    }
}
