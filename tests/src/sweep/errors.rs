//! Which errors are injected at which system call: those that some kernel or file system can return there.

use libc as c;
use nix::errno::Errno;

/// The errors of a sweep: no space, no fd, no memory, a signal in between, a broken disk.
pub(super) const ERRORS: [Errno; 5] = [Errno::ENOSPC, Errno::EMFILE, Errno::ENOMEM, Errno::EINTR, Errno::EIO];

/// A system call as far as its errors depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Call {
    /// Its number.
    pub number: i64,
    /// What it works on: the fd that its first argument is, or the futex.
    pub on: On,
}

/// What a call works on, as far as errors depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum On {
    /// A pipe, or a socket of this machine.
    Stream,
    /// A regular file.
    File,
    /// A futex of the process itself that is waited on.
    Waiting,
    /// One whose waiters are woken. It cannot fail: they would sleep for ever.
    Waking,
    /// Anything else, or nothing.
    Other,
}

/// Where an error is possible.
enum Where {
    Only(&'static [&'static [i64]]),
    AllBut(&'static [&'static [i64]]),
}

/// Each error with the calls that can have it, and why.
const POSSIBLE: [(Errno, Where, &str); 5] = [
    (
        Errno::ENOSPC,
        Where::Only(&[WRITES, MAKES_NAMES, COUNTED]),
        "what takes room on a disk, or in a quota of the kernel",
    ),
    (Errno::EMFILE, Where::Only(&[MAKES_FDS]), "what returns a new fd"),
    (
        Errno::ENOMEM,
        Where::AllBut(&[OF_THE_TASK, READS_STREAMS, REAPS]),
        "the kernel may need memory anywhere else",
    ),
    (Errno::EINTR, Where::Only(&[WAITS, READS_STREAMS]), "what can wait, by signal(7)"),
    (
        Errno::EIO,
        Where::AllBut(&[OF_THE_TASK, MEMORY, WAITS_FOR_TASKS, MAKES_TASKS, SOCKETS, READS_STREAMS]),
        "what may have to look at a disk",
    ),
];

/// They look at the calling task alone, fail for wrong arguments alone, or do not return.
const OF_THE_TASK: &[i64] = &[
    c::SYS_getpid,
    c::SYS_getppid,
    c::SYS_gettid,
    c::SYS_getuid,
    c::SYS_geteuid,
    c::SYS_getgid,
    c::SYS_getegid,
    c::SYS_umask,
    c::SYS_set_tid_address,
    c::SYS_set_robust_list,
    c::SYS_rseq,
    c::SYS_sched_getaffinity,
    c::SYS_rt_sigaction,
    c::SYS_rt_sigprocmask,
    c::SYS_sigaltstack,
    c::SYS_rt_sigreturn,
    c::SYS_exit,
    c::SYS_exit_group,
    c::SYS_getrandom,
    c::SYS_prlimit64,
    c::SYS_uname,
    c::SYS_lseek,
    c::SYS_close_range,
    #[cfg(target_arch = "x86_64")]
    c::SYS_arch_prctl,
];

/// Memory of no file. brk(2) has no error at all: the tracer lets it return the old end.
const MEMORY: &[i64] =
    &[c::SYS_brk, c::SYS_mmap, c::SYS_munmap, c::SYS_mprotect, c::SYS_madvise, c::SYS_mremap];

const WAITS_FOR_TASKS: &[i64] = &[
    c::SYS_ppoll,
    c::SYS_futex,
    c::SYS_waitid,
    c::SYS_wait4,
    c::SYS_flock,
    c::SYS_nanosleep,
    c::SYS_clock_nanosleep,
    c::SYS_pidfd_open,
    c::SYS_pidfd_send_signal,
    c::SYS_kill,
    c::SYS_restart_syscall,
    #[cfg(target_arch = "x86_64")]
    c::SYS_poll,
];

/// They only look at children.
const REAPS: &[i64] = &[c::SYS_waitid, c::SYS_wait4];

const MAKES_TASKS: &[i64] = &[
    c::SYS_clone,
    c::SYS_clone3,
    c::SYS_unshare,
    c::SYS_setns,
    c::SYS_prctl,
    c::SYS_setsid,
    c::SYS_setgroups,
    c::SYS_setresuid,
    c::SYS_setresgid,
    c::SYS_capset,
    c::SYS_capget,
    c::SYS_keyctl,
    c::SYS_seccomp,
    c::SYS_sethostname,
    c::SYS_personality,
    #[cfg(target_arch = "x86_64")]
    c::SYS_vfork,
];

const SOCKETS: &[i64] = &[
    c::SYS_socket,
    c::SYS_socketpair,
    c::SYS_pipe2,
    c::SYS_accept4,
    c::SYS_listen,
    c::SYS_getsockopt,
    c::SYS_setsockopt,
    c::SYS_shutdown,
    c::SYS_getsockname,
    c::SYS_memfd_create,
    c::SYS_inotify_init1,
    c::SYS_signalfd4,
    c::SYS_dup,
    c::SYS_dup3,
    c::SYS_fcntl,
    c::SYS_sendmsg,
    c::SYS_sendto,
    #[cfg(target_arch = "x86_64")]
    c::SYS_dup2,
];

/// Taking from a socket what is in it needs neither disk nor memory.
const READS_STREAMS: &[i64] = &[c::SYS_recvmsg, c::SYS_recvfrom];

const WRITES: &[i64] = &[
    c::SYS_write,
    c::SYS_writev,
    c::SYS_pwrite64,
    c::SYS_copy_file_range,
    c::SYS_sendfile,
    c::SYS_fallocate,
    c::SYS_ftruncate,
    c::SYS_fsync,
    c::SYS_fdatasync,
    c::SYS_syncfs,
    c::SYS_fsetxattr,
    c::SYS_setxattr,
    c::SYS_lsetxattr,
    c::SYS_fchown,
    c::SYS_fchownat,
    c::SYS_fchmod,
    c::SYS_fchmodat,
    c::SYS_utimensat,
];

/// A file system that never overwrites in place needs room to remove a name too.
const MAKES_NAMES: &[i64] = &[
    c::SYS_openat,
    c::SYS_openat2,
    c::SYS_mkdirat,
    c::SYS_mknodat,
    c::SYS_symlinkat,
    c::SYS_linkat,
    c::SYS_renameat,
    c::SYS_renameat2,
    c::SYS_unlinkat,
    c::SYS_bind,
    #[cfg(target_arch = "x86_64")]
    c::SYS_mkdir,
    #[cfg(target_arch = "x86_64")]
    c::SYS_rename,
    #[cfg(target_arch = "x86_64")]
    c::SYS_unlink,
    #[cfg(target_arch = "x86_64")]
    c::SYS_rmdir,
    #[cfg(target_arch = "x86_64")]
    c::SYS_symlink,
    #[cfg(target_arch = "x86_64")]
    c::SYS_open,
];

/// Namespaces, mounts and watches are counted per user.
const COUNTED: &[i64] = &[
    c::SYS_clone,
    c::SYS_clone3,
    c::SYS_unshare,
    c::SYS_mount,
    c::SYS_move_mount,
    c::SYS_open_tree,
    c::SYS_fsmount,
    c::SYS_inotify_add_watch,
];

const MAKES_FDS: &[i64] = &[
    c::SYS_openat,
    c::SYS_openat2,
    c::SYS_socket,
    c::SYS_socketpair,
    c::SYS_pipe2,
    c::SYS_accept4,
    c::SYS_dup,
    c::SYS_fcntl,
    c::SYS_memfd_create,
    c::SYS_inotify_init1,
    c::SYS_signalfd4,
    c::SYS_pidfd_open,
    c::SYS_clone,
    c::SYS_clone3,
    c::SYS_open_tree,
    c::SYS_fsopen,
    c::SYS_fsmount,
    #[cfg(target_arch = "x86_64")]
    c::SYS_open,
];

const WAITS: &[i64] = &[
    c::SYS_read,
    c::SYS_pread64,
    c::SYS_write,
    c::SYS_writev,
    c::SYS_pwrite64,
    c::SYS_openat,
    c::SYS_ppoll,
    c::SYS_futex,
    c::SYS_waitid,
    c::SYS_wait4,
    c::SYS_flock,
    c::SYS_accept4,
    c::SYS_connect,
    c::SYS_sendmsg,
    c::SYS_sendto,
    c::SYS_nanosleep,
    c::SYS_clock_nanosleep,
    c::SYS_copy_file_range,
    c::SYS_ioctl,
    c::SYS_close,
    #[cfg(target_arch = "x86_64")]
    c::SYS_poll,
    #[cfg(target_arch = "x86_64")]
    c::SYS_open,
];

/// Returns the errors that are injected at a system call.
pub(super) fn possible(call: Call) -> impl Iterator<Item = Errno> {
    ERRORS.into_iter().filter(move |errno| is_possible(call, *errno))
}

/// Tells whether a system call can have an error.
pub(super) fn is_possible(call: Call, errno: Errno) -> bool {
    let never = match (call.on, call.number) {
        // A pipe or local socket has no disk, and what is in it has its memory.
        (On::Waiting, _) => errno != Errno::EINTR,
        (On::Waking, _) => true,
        (On::Stream, _) => ![Errno::EINTR, Errno::EMFILE].contains(&errno),
        // Closing tells of what was written before, on file systems that write late.
        (On::File, c::SYS_close) => errno == Errno::ENOMEM,
        (On::Other, c::SYS_close) => errno != Errno::EINTR,
        _ => false,
    };
    if never {
        return false;
    }
    let has = |lists: &[&[i64]]| lists.iter().any(|list| list.contains(&call.number));
    POSSIBLE.iter().any(|(one, place, _)| {
        *one == errno
            && match place {
                Where::Only(lists) => has(lists),
                Where::AllBut(lists) => !has(lists),
            }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(number: i64, on: On) -> Vec<Errno> {
        possible(Call { number, on }).collect()
    }

    #[test]
    fn each_call_gets_the_errors_that_it_can_have() {
        assert_eq!(of(c::SYS_getpid, On::Other), []);
        assert_eq!(of(c::SYS_brk, On::Other), [Errno::ENOMEM]);
        assert_eq!(of(c::SYS_openat, On::Other), ERRORS);
        assert_eq!(of(c::SYS_read, On::Stream), [Errno::EINTR]);
        assert_eq!(of(c::SYS_read, On::Other), [Errno::ENOMEM, Errno::EINTR, Errno::EIO]);
        assert_eq!(of(c::SYS_futex, On::Waiting), [Errno::EINTR]);
        assert_eq!(of(c::SYS_futex, On::Waking), []);
        assert_eq!(of(c::SYS_clone3, On::Other), [Errno::ENOSPC, Errno::EMFILE, Errno::ENOMEM]);
    }
}
