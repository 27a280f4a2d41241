//! Shutting the process in that serves: containers, and so anybody, ask it, and it has the devices of all of them.

use std::path::{Path, PathBuf};

use sys::{Errno, landlock, process, seccomp};
use syscalls::Sysno;

/// How far the process is shut in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shut {
    /// It can read what it renders from, remove its own directory, and nothing else of any file system.
    Fully,
    /// The kernel has no Landlock of Linux 5.19; the filter is there.
    Partly,
}

/// What a kernel without it, or a filter of system calls, says of Landlock.
const NO_LANDLOCK: [Errno; 5] = [Errno::ENOSYS, Errno::EOPNOTSUPP, Errno::EINVAL, Errno::E2BIG, Errno::EPERM];

/// Where it reads; cgroups besides, wherever they are mounted.
const READ: [&str; 2] = ["/proc", "/sys"];

/// What it does, besides opening files to read. Not among it: running programs, connecting, signals, anything of another process.
const CALLS: &[Sysno] = &[
    // Waiting, and what comes: devices, monitors, files.
    #[cfg(target_arch = "x86_64")]
    Sysno::epoll_wait,
    Sysno::epoll_pwait,
    Sysno::epoll_pwait2,
    Sysno::epoll_ctl,
    #[cfg(target_arch = "x86_64")]
    Sysno::poll,
    Sysno::ppoll,
    Sysno::read,
    Sysno::readv,
    Sysno::pread64,
    Sysno::preadv,
    Sysno::write,
    Sysno::writev,
    Sysno::lseek,
    Sysno::close,
    // A thread that has files of its own.
    Sysno::close_range,
    Sysno::fcntl,
    Sysno::ioctl,
    Sysno::fstat,
    Sysno::newfstatat,
    Sysno::statx,
    Sysno::getdents64,
    Sysno::readlinkat,
    #[cfg(target_arch = "x86_64")]
    Sysno::readlink,
    Sysno::accept4,
    Sysno::recvmsg,
    Sysno::sendmsg,
    Sysno::getsockopt,
    // The end.
    Sysno::flock,
    Sysno::unlinkat,
    #[cfg(target_arch = "x86_64")]
    Sysno::unlink,
    #[cfg(target_arch = "x86_64")]
    Sysno::rmdir,
    Sysno::exit,
    Sysno::exit_group,
    // Memory, threads, clocks.
    Sysno::brk,
    Sysno::mmap,
    Sysno::munmap,
    Sysno::mremap,
    Sysno::mprotect,
    Sysno::madvise,
    Sysno::clone,
    Sysno::clone3,
    Sysno::set_robust_list,
    Sysno::rseq,
    Sysno::sigaltstack,
    Sysno::rt_sigaction,
    Sysno::rt_sigprocmask,
    Sysno::rt_sigreturn,
    Sysno::restart_syscall,
    Sysno::futex,
    Sysno::gettid,
    Sysno::getpid,
    Sysno::getuid,
    Sysno::sched_yield,
    Sysno::sched_getaffinity,
    Sysno::getrandom,
    Sysno::clock_gettime,
    Sysno::clock_nanosleep,
    Sysno::prctl,
];

/// Gives up, for good, what serving does not need. `own` is the directory of the command socket. No core of the process is
/// written, and no other one of the user's looks into it: it knows the numbers of all his containers.
///
/// # Errors
/// The kernel has no system call filters, or has Landlock and no room for it now.
pub fn shut_in(own: &Path) -> sys::Result<Shut> {
    process::set_dumpable(false)?;
    process::set_no_new_privs()?;
    let mountinfo = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let read: Vec<PathBuf> = READ.iter().map(PathBuf::from).chain(cgroups(&mountinfo)).collect();
    let shut = match landlock::only_read(read.iter().map(PathBuf::as_path), own) {
        Ok(()) => Shut::Fully,
        Err(e) if NO_LANDLOCK.contains(&e.errno()) => Shut::Partly,
        Err(e) => return Err(e),
    };
    let calls: Vec<u32> = CALLS.iter().map(|call| call.id() as u32).collect();
    seccomp::allow_only(&calls)?;
    Ok(shut)
}

/// Returns where cgroups are mounted. Source: proc_pid_mountinfo(5). A path with an escape in it is found nowhere.
fn cgroups(mountinfo: &str) -> impl Iterator<Item = PathBuf> {
    mountinfo.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let is_one = matches!(after.split(' ').next()?, "cgroup" | "cgroup2");
        before.split(' ').nth(4).filter(|_| is_one).map(PathBuf::from)
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{ErrorKind, Write};
    use std::net::TcpListener;
    use std::process::Command;
    use std::thread;

    use super::*;

    /// Landlock and filters are a thread's, so each is tried in a thread of its own.
    #[test]
    fn who_serves_can_read_what_it_renders_from_and_write_and_run_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join("own");
        fs::create_dir(&own).unwrap();
        fs::write(own.join("command"), "").unwrap();
        fs::write(dir.path().join("other"), "secret").unwrap();
        let parent = dir.path().to_owned();
        let tried = thread::spawn(move || {
            let shut = shut_in(&own).unwrap();
            let kinds = [
                fs::read("/proc/meminfo").map(drop),
                fs::read("/sys/devices/system/cpu/online").map(drop),
                fs::remove_file(own.join("command")),
                fs::remove_dir(&own),
                fs::write(parent.join("other"), "changed"),
                fs::write("/proc/self/comm", "changed"),
                TcpListener::bind("127.0.0.1:0").map(drop),
                Command::new("/bin/true").status().map(drop),
                fs::read(parent.join("other")).map(drop),
                fs::remove_file(parent.join("other")),
            ];
            (shut, kinds.map(|done| done.map_err(|error| error.kind())))
        });
        let (shut, kinds) = tried.join().unwrap();
        let refused = Err(ErrorKind::PermissionDenied);
        assert_eq!(kinds[..8], [Ok(()), Ok(()), Ok(()), Ok(()), refused, refused, refused, refused]);
        match shut {
            Shut::Fully => assert_eq!(kinds[8..], [refused; 2]),
            Shut::Partly => {
                let skip = "SKIP: lxcfs: who_serves_can_read: the kernel has no Landlock of Linux 5.19\n";
                std::io::stderr().write_all(skip.as_bytes()).unwrap();
            }
        }
    }

    #[test]
    fn cgroups_are_found_where_they_are_mounted() {
        let text = "30 25 0:26 / /sys/fs/cgroup/memory rw,nosuid shared:9 - cgroup cgroup rw,memory\n\
                    31 25 0:27 / /elsewhere rw - cgroup2 none rw\n32 25 0:28 / /tmp rw - tmpfs cgroup rw\nx\n";
        let found: Vec<_> = cgroups(text).collect();
        assert_eq!(found, [Path::new("/sys/fs/cgroup/memory"), Path::new("/elsewhere")]);
    }
}
