//! A seccomp filter that leaves a helper only the system calls of its last steps.
//!
//! Put in force once everything is known that needs name services, which load code and open sockets of their
//! own. A second wall, behind the capabilities: code that an attacker got to run could not exec, fork,
//! connect or trace.

use std::io;

use crate::sys::{self, Syscall};

/// What every helper still does: read policy files, write a line, send one to the log, manage memory, end.
const COMMON: [Syscall; 23] = [
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_close,
    libc::SYS_openat,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_lseek,
    // The standard library looks at a descriptor before it closes it, in debug builds.
    libc::SYS_fcntl,
    libc::SYS_getpid,
    libc::SYS_getresuid,
    libc::SYS_sendto,
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_futex,
    libc::SYS_rt_sigreturn,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// The architecture as the kernel tells it to a filter. Source: linux/audit.h.
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xC000_003E;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xC000_00B7;
#[cfg(target_arch = "riscv64")]
const ARCHITECTURE: u32 = 0xC000_00F3;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")))]
compile_error!("the filter needs this architecture's AUDIT_ARCH number");

/// Where seccomp_data has the number of the call and the architecture. Source: linux/seccomp.h.
const OFFSET_NUMBER: u32 = 0;
const OFFSET_ARCHITECTURE: u32 = 4;

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const JUMP_IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

/// Ends the process at any system call that is neither common nor one of `own`, from now on.
///
/// # Errors
/// The kernel refuses the filter. One that knows no filters (EINVAL) is no error: the wall before it stands.
pub fn allow_only(own: &[Syscall]) -> io::Result<()> {
    match sys::set_filter(&program(own)) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
        result => result,
    }
}

/// Returns the filter: another architecture's calls and all that are not listed end the process.
///
/// Calls of the x32 kind have numbers of their own (bit 30), so they are not listed.
fn program(own: &[Syscall]) -> Vec<libc::sock_filter> {
    let kill = instruction(RETURN, libc::SECCOMP_RET_KILL_PROCESS, 0);
    let allow = instruction(RETURN, libc::SECCOMP_RET_ALLOW, 0);
    let mut program = vec![
        instruction(LOAD, OFFSET_ARCHITECTURE, 0),
        instruction(JUMP_IF_EQUAL, ARCHITECTURE, 1),
        kill,
        instruction(LOAD, OFFSET_NUMBER, 0),
    ];
    // Each listed call falls into "allow" right behind its test; the others jump over it.
    for number in COMMON.iter().chain(own) {
        let test = libc::sock_filter { code: JUMP_IF_EQUAL, jt: 0, jf: 1, k: *number as u32 };
        program.extend([test, allow]);
    }
    program.push(kill);
    program
}

fn instruction(code: u16, value: u32, jump_if_true: u8) -> libc::sock_filter {
    libc::sock_filter { code, jt: jump_if_true, jf: 0, k: value }
}
