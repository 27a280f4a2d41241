//! Shutting the process in that speaks with servers: what it reads came from anybody.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use sys::seccomp::{self, Only};
use sys::{landlock, process};
use syscalls::Sysno;

/// How far the process is shut in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shut {
    /// It can write to the store alone, read what names and certificates need, and run nothing.
    Fully,
    /// The kernel has no Landlock, or refused a step.
    Partly,
}

/// What resolving names and checking certificates reads: the system's configuration and libraries, and where the files of
/// resolvers lie to which `/etc/resolv.conf` leads.
pub(crate) const READ: [&str; 10] = [
    "/etc",
    "/usr",
    "/lib",
    "/lib64",
    "/run/systemd/resolve",
    "/run/resolvconf",
    "/run/NetworkManager",
    "/run/connman",
    // Where /etc/ssl leads on openSUSE, and everything on NixOS.
    "/var/lib/ca-certificates",
    "/nix/store",
];
/// Where people keep certificates elsewhere.
const NAMED_FILE: &str = "SSL_CERT_FILE";
const NAMED_DIRS: &str = "SSL_CERT_DIR";

/// What a fetch never does: run a program, look into processes or signal them, change what files are besides their contents, reach for
/// more of the kernel.
pub(crate) const REFUSED: [Sysno; 48] = [
    Sysno::execve,
    Sysno::execveat,
    Sysno::ptrace,
    Sysno::process_vm_readv,
    Sysno::process_vm_writev,
    Sysno::pidfd_getfd,
    Sysno::mount,
    Sysno::umount2,
    Sysno::move_mount,
    Sysno::open_tree,
    Sysno::fsopen,
    Sysno::fsconfig,
    Sysno::fsmount,
    Sysno::pivot_root,
    Sysno::chroot,
    Sysno::unshare,
    Sysno::setns,
    Sysno::bpf,
    Sysno::perf_event_open,
    Sysno::userfaultfd,
    Sysno::keyctl,
    Sysno::add_key,
    Sysno::request_key,
    Sysno::io_uring_setup,
    Sysno::open_by_handle_at,
    Sysno::init_module,
    Sysno::finit_module,
    Sysno::kexec_load,
    Sysno::personality,
    Sysno::kill,
    Sysno::tkill,
    Sysno::tgkill,
    Sysno::pidfd_open,
    Sysno::pidfd_send_signal,
    Sysno::rt_sigqueueinfo,
    Sysno::rt_tgsigqueueinfo,
    Sysno::fchmod,
    Sysno::fchmodat,
    Sysno::fchown,
    Sysno::fchownat,
    Sysno::setxattr,
    Sysno::lsetxattr,
    Sysno::fsetxattr,
    Sysno::removexattr,
    Sysno::lremovexattr,
    Sysno::fremovexattr,
    Sysno::utimensat,
    Sysno::process_madvise,
];
/// The same of calls that newer architectures lack.
#[cfg(target_arch = "x86_64")]
pub(crate) const OLD: [Sysno; 6] =
    [Sysno::chmod, Sysno::chown, Sysno::lchown, Sysno::utime, Sysno::utimes, Sysno::futimesat];
#[cfg(not(target_arch = "x86_64"))]
pub(crate) const OLD: [Sysno; 0] = [];
/// The same of newer calls, which have one number everywhere: fchmodat2, setxattrat, removexattrat, file_setattr.
pub(crate) const NEW: [u32; 4] = [452, 463, 466, 469];

/// Source: linux/socket.h.
const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;
const AF_NETLINK: u32 = 16;

/// Sockets of the internet, and those by which names are resolved; by others it would speak with the user's other programs: its session
/// bus starts any program. Limits are its own.
const SOME: [Only; 2] = [
    Only { call: Sysno::socket as u32, argument: 0, values: &[AF_INET, AF_INET6, AF_NETLINK] },
    Only { call: Sysno::prlimit64 as u32, argument: 0, values: &[0] },
];

/// Gives up, for good, what fetching into the store does not need. No refusal ends the program: an old kernel has less of it.
pub fn shut_in(store: &Path) -> Shut {
    let file = std::env::var_os(NAMED_FILE).map(PathBuf::from);
    let named =
        std::env::var_os(NAMED_DIRS).iter().flat_map(|value| paths(value)).chain(file).collect::<Vec<_>>();
    // The file itself, wherever the system's link leads.
    let resolvers = std::fs::canonicalize("/etc/resolv.conf").ok();
    let read: Vec<PathBuf> = READ.iter().map(PathBuf::from).chain(named).chain(resolvers).collect();
    let refused = REFUSED.iter().chain(&OLD).map(|call| call.id() as u32).chain(NEW).collect::<Vec<_>>();
    let steps = process::set_no_new_privs()
        .and_then(|()| landlock::files(read.iter().map(PathBuf::as_path), store))
        .and_then(|()| seccomp::refuse(&refused, &SOME));
    if steps.is_ok() { Shut::Fully } else { Shut::Partly }
}

/// The variable of directories may name several, as PATH does.
fn paths(value: &OsStr) -> Vec<PathBuf> {
    std::env::split_paths(value).filter(|path| !path.as_os_str().is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::{ErrorKind, Write};
    use std::net::{TcpListener, TcpStream};
    use std::process::Command;
    use std::thread;

    use super::*;

    /// What it could do without opening or running any of them.
    #[test]
    fn who_speaks_with_servers_changes_no_file_elsewhere_and_speaks_with_no_program_of_the_user() {
        use std::os::unix::fs::PermissionsExt;
        use std::os::unix::net::{UnixListener, UnixStream};
        let dir = tempfile::tempdir().unwrap();
        let of = |name: &str| dir.path().join(name);
        let (store, secret, bus) = (of("store"), of("secret"), of("bus"));
        fs::create_dir(&store).unwrap();
        fs::write(&secret, "secret").unwrap();
        let _bus = UnixListener::bind(&bus).unwrap();
        let mut other = Command::new("sleep").arg("60").spawn().unwrap();
        let tried = thread::spawn(move || {
            let shut = shut_in(&store);
            let short = || File::options().write(true).open(store.join("a"))?.set_len(1);
            let kinds = [
                fs::write(store.join("a"), "abc").and_then(|()| short()),
                fs::set_permissions(&secret, fs::Permissions::from_mode(0o666)),
                UnixStream::connect(&bus).map(drop),
                other.kill(),
            ]
            .map(|done| done.map_err(|error| error.kind()));
            (shut, kinds, other)
        });
        let (shut, kinds, mut other) = tried.join().unwrap();
        other.kill().unwrap();
        other.wait().unwrap();
        if shut == Shut::Partly {
            let skip = "SKIP: image: who_speaks_with_servers: the kernel has no Landlock of Linux 5.19\n";
            return std::io::stderr().write_all(skip.as_bytes()).unwrap();
        }
        let refused = Err(ErrorKind::PermissionDenied);
        assert_eq!(kinds, [Ok(()), refused, refused, refused]);
    }

    #[test]
    fn certificates_may_be_in_several_directories() {
        let read = paths(OsStr::new("/a/certs:/b:"));
        assert_eq!(read, [Path::new("/a/certs"), Path::new("/b")]);
    }

    /// Landlock and filters are a thread's, so each is tried in a thread of its own.
    #[test]
    fn who_speaks_with_servers_can_write_to_the_store_alone_and_run_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (store, secret) = (dir.path().join("store"), dir.path().join("secret"));
        fs::create_dir(&store).unwrap();
        fs::write(&secret, "secret").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let tried = thread::spawn(move || {
            let shut = shut_in(&store);
            let written =
                fs::write(store.join("a"), "a").and_then(|()| fs::rename(store.join("a"), store.join("b")));
            let kinds = [
                written.map_err(|error| error.kind()),
                TcpStream::connect(address).map(drop).map_err(|error| error.kind()),
                fs::read("/etc/hosts").map(drop).map_err(|error| error.kind()),
                fs::read(&secret).map(drop).map_err(|error| error.kind()),
                fs::write(&secret, "changed").map_err(|error| error.kind()),
                fs::read("/proc/self/environ").map(drop).map_err(|error| error.kind()),
                Command::new("/bin/true").status().map(drop).map_err(|error| error.kind()),
            ];
            // Nothing is left, which anybody may do.
            let filtered = sys::namespace::leave(0).is_err();
            (shut, kinds, filtered)
        });
        let (shut, kinds, filtered) = tried.join().unwrap();
        if shut == Shut::Partly {
            let skip = "SKIP: image: who_speaks_with_servers: the kernel has no Landlock of Linux 5.19\n";
            return std::io::stderr().write_all(skip.as_bytes()).unwrap();
        }
        let refused = Err(ErrorKind::PermissionDenied);
        assert_eq!(kinds, [Ok(()), Ok(()), Ok(()), refused, refused, refused, refused]);
        assert!(filtered);
    }
}
