//! A seccomp filter that leaves a helper only the system calls of its last steps.
//!
//! Put in force once everything is known that needs name services, which load code and open sockets of their
//! own. A second wall, behind the capabilities: code that an attacker got to run could not exec, fork, connect or
//! trace, nor what a helper's own list leaves out.

use std::io;

use crate::sys::{self, Syscall};

/// A system call that is allowed, and bits of one of its arguments that must be 0.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    number: Syscall,
    argument: u32,
    clear: u64,
}

impl Call {
    /// Returns a call that is allowed with any arguments.
    pub const fn any(number: Syscall) -> Self {
        Self { number, argument: 0, clear: 0 }
    }

    /// Returns it for those calls alone in which no bit of `clear` is set in an argument, counted from 0.
    pub const fn without(self, argument: u32, clear: u64) -> Self {
        Self { argument, clear, ..self }
    }
}

/// The flags of openat(2), its third argument, with which a file can be written, made or emptied.
pub const OPENED_TO_CHANGE: u64 = (libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC) as u64;

/// What every helper still does: write a line, send one to the log, manage memory, end.
const COMMON: [Call; 19] = [
    Call::any(libc::SYS_write),
    Call::any(libc::SYS_close),
    Call::any(libc::SYS_fstat),
    Call::any(libc::SYS_newfstatat),
    Call::any(libc::SYS_statx),
    // The standard library looks at a descriptor before it closes it, in debug builds.
    Call::any(libc::SYS_fcntl),
    Call::any(libc::SYS_getpid),
    Call::any(libc::SYS_getresuid),
    Call::any(libc::SYS_brk),
    Call::any(libc::SYS_mmap),
    Call::any(libc::SYS_mremap),
    Call::any(libc::SYS_munmap),
    Call::any(libc::SYS_mprotect),
    Call::any(libc::SYS_madvise),
    Call::any(libc::SYS_futex),
    Call::any(libc::SYS_rt_sigreturn),
    Call::any(libc::SYS_restart_syscall),
    Call::any(libc::SYS_exit),
    Call::any(libc::SYS_exit_group),
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

/// Where seccomp_data has the number of the call, the architecture, and the arguments of 64 bits each. Source:
/// linux/seccomp.h.
const OFFSET_NUMBER: u32 = 0;
const OFFSET_ARCHITECTURE: u32 = 4;
const OFFSET_ARGUMENTS: u32 = 16;

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const JUMP_IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const JUMP_IF_ANY_BIT: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

const KILL: libc::sock_filter = instruction(RETURN, libc::SECCOMP_RET_KILL_PROCESS, 0, 0);
const ALLOW: libc::sock_filter = instruction(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0);

/// Ends the process at any system call that is neither common nor one of `own`, from now on.
///
/// # Errors
/// The kernel refuses the filter. One that knows no filters (EINVAL) is no error: the wall before it stands.
pub fn allow_only(own: &[Call]) -> io::Result<()> {
    match sys::set_filter(&program(own)) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
        result => result,
    }
}

/// Returns the filter: another architecture's calls and all that are not listed end the process.
///
/// Calls of the x32 kind have numbers of their own (bit 30), so they are not listed.
fn program(own: &[Call]) -> Vec<libc::sock_filter> {
    let mut program = vec![
        instruction(LOAD, OFFSET_ARCHITECTURE, 0, 0),
        instruction(JUMP_IF_EQUAL, ARCHITECTURE, 1, 0),
        KILL,
        instruction(LOAD, OFFSET_NUMBER, 0, 0),
    ];
    program.extend(COMMON.iter().chain(own).flat_map(allow));
    program.push(KILL);
    program
}

/// Returns the instructions that decide about one call; another one jumps over them, with its number still loaded.
///
/// As few as can be: the kernel checks, translates and compiles each of them at every start of a helper.
fn allow(call: &Call) -> Vec<libc::sock_filter> {
    let mut decide = Vec::new();
    if call.clear != 0 {
        // On all three architectures the low half of a number comes first.
        let low = OFFSET_ARGUMENTS + 8 * call.argument;
        decide = vec![
            instruction(LOAD, low, 0, 0),
            instruction(JUMP_IF_ANY_BIT, call.clear as u32, 0, 1),
            KILL,
            instruction(LOAD, low + 4, 0, 0),
            instruction(JUMP_IF_ANY_BIT, (call.clear >> 32) as u32, 0, 1),
            KILL,
        ];
    }
    decide.push(ALLOW);
    decide.insert(0, instruction(JUMP_IF_EQUAL, call.number as u32, 0, decide.len() as u8));
    decide
}

const fn instruction(code: u16, value: u32, if_true: u8, if_false: u8) -> libc::sock_filter {
    libc::sock_filter { code, jt: if_true, jf: if_false, k: value }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: [Call; 3] = [
        Call::any(libc::SYS_capset),
        Call::any(libc::SYS_openat).without(2, libc::O_ACCMODE as u64),
        Call::any(libc::SYS_sendto).without(4, u64::MAX),
    ];

    /// Runs the filter as the kernel does, and tells whether it allows the call.
    fn allows(architecture: u32, number: u32, arguments: [u64; 6]) -> bool {
        let mut data = [number, architecture, 0, 0].to_vec();
        data.extend(arguments.iter().flat_map(|argument| [*argument as u32, (argument >> 32) as u32]));
        let program = program(&OWN);
        let (mut at, mut loaded) = (0, 0);
        loop {
            let libc::sock_filter { code, jt, jf, k } = program[at];
            let jump = |if_true: bool| 1 + usize::from(if if_true { jt } else { jf });
            match code {
                LOAD => (loaded, at) = (data[k as usize / 4], at + 1),
                JUMP_IF_EQUAL => at += jump(loaded == k),
                JUMP_IF_ANY_BIT => at += jump(loaded & k != 0),
                RETURN if k == libc::SECCOMP_RET_ALLOW => return true,
                RETURN if k == libc::SECCOMP_RET_KILL_PROCESS => return false,
                _ => panic!("instruction {at}: {code:#x} {k:#x}"),
            }
        }
    }

    #[test]
    fn the_listed_calls_are_allowed_and_no_other_number_is() {
        let listed: Vec<u32> = COMMON.iter().chain(&OWN).map(|call| call.number as u32).collect();
        for number in 0..1024 {
            assert_eq!(allows(ARCHITECTURE, number, [0; 6]), listed.contains(&number), "{number}");
        }
        let never =
            [libc::SYS_execve, libc::SYS_socket, libc::SYS_connect, libc::SYS_ptrace, libc::SYS_openat2];
        assert!(!never.iter().any(|number| listed.contains(&(*number as u32))));
        let x32 = 1 << 30;
        assert!(!listed.iter().any(|number| allows(ARCHITECTURE, number | x32, [0; 6])));
        // That of i386.
        assert!(!listed.iter().any(|number| allows(0x4000_0003, *number, [0; 6])));
    }

    #[test]
    fn an_argument_that_is_not_allowed_ends_the_process() {
        let opens = |flags: libc::c_int| {
            allows(ARCHITECTURE, libc::SYS_openat as u32, [u64::MAX, u64::MAX, flags as u64, 0, 0, 0])
        };
        assert!(opens(libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NOFOLLOW));
        assert!(!opens(libc::O_WRONLY) && !opens(libc::O_RDWR | libc::O_CLOEXEC));
        let sends = |address| {
            allows(ARCHITECTURE, libc::SYS_sendto as u32, [u64::MAX, u64::MAX, 9, 0, address, u64::MAX])
        };
        assert!(sends(0));
        assert!(!sends(1) && !sends(1 << 32) && !sends(u64::MAX));
    }
}
