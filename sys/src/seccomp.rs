//! System call filters. Source: seccomp(2).

use crate::error::{Result, cvt};

/// One instruction of classic BPF, as the kernel takes it. Source: linux/filter.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// The operation.
    pub code: u16,
    /// How many instructions a conditional jump skips when its condition holds.
    pub jump_true: u8,
    /// How many it skips when not.
    pub jump_false: u8,
    /// The operand.
    pub operand: u32,
}

/// The most instructions that a filter can have. Source: linux/bpf_common.h, BPF_MAXINSNS.
pub const MAX_INSTRUCTIONS: usize = 4096;

/// Puts a filter in force for this process and all that it starts, for good.
///
/// # Errors
/// EACCES without CAP_SYS_ADMIN in the own user namespace and without no_new_privs; EINVAL for a program that the kernel
/// does not take.
pub fn install(program: &[Instruction]) -> Result<()> {
    let filter: Vec<libc::sock_filter> = program
        .iter()
        .map(|i| libc::sock_filter { code: i.code, jt: i.jump_true, jf: i.jump_false, k: i.operand })
        .collect();
    // A length that does not fit becomes one that the kernel refuses.
    let len = u16::try_from(filter.len()).unwrap_or(0);
    let program = libc::sock_fprog { len, filter: filter.as_ptr().cast_mut() };
    // SAFETY: the kernel reads `len` instructions from a pointer to a vector of at least as many, which outlives the call,
    // and writes nothing.
    let done =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0u32, &raw const program) };
    cvt(done, || format!("seccomp(SECCOMP_SET_MODE_FILTER, 0, {{len={len}}})")).map(drop)
}

/// Lets these system calls fail with EPERM from now on, in this process and all that it starts. What calls the kernel in another
/// way than this program is built for is killed: its numbers mean other calls.
///
/// # Errors
/// As [`install`].
pub fn refuse(calls: &[u32]) -> Result<()> {
    install(&refusing(calls))
}

/// The architecture of this program as filters see it. Source: linux/audit.h.
const ARCHITECTURE: u32 = match () {
    () if cfg!(target_arch = "x86_64") => 0xc000_003e,
    () if cfg!(target_arch = "aarch64") => 0xc000_00b7,
    () if cfg!(target_arch = "riscv64") => 0xc000_00f3,
    () if cfg!(target_arch = "arm") => 0x4000_0028,
    () => 0x4000_0003,
};

/// `struct seccomp_data` begins with the number of the call and the architecture.
fn refusing(calls: &[u32]) -> Vec<Instruction> {
    const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
    const EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
    const AT_LEAST: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K
    const X32: u32 = 0x4000_0000;
    let step = |code, jump_true, jump_false, operand| Instruction { code, jump_true, jump_false, operand };
    let refuse = step(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32);
    let mut program = vec![
        step(LOAD, 0, 0, 4),
        step(EQUAL, 1, 0, ARCHITECTURE),
        step(RETURN, 0, 0, libc::SECCOMP_RET_KILL_PROCESS),
        step(LOAD, 0, 0, 0),
        step(AT_LEAST, 0, 1, X32),
        refuse,
    ];
    program.extend(calls.iter().flat_map(|call| [step(EQUAL, 0, 1, *call), refuse]));
    program.push(step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW));
    program
}

/// Tells whether a filter is in force for this process.
pub fn is_filtered() -> bool {
    const SECCOMP_MODE_FILTER: libc::c_int = 2;
    // SAFETY: PR_GET_SECCOMP takes no argument. A process in strict mode, which it would kill, runs no such program.
    unsafe { libc::prctl(libc::PR_GET_SECCOMP) == SECCOMP_MODE_FILTER }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_is_refused_fails_and_the_others_do_not() {
        let tried = std::thread::spawn(|| {
            crate::process::set_no_new_privs().unwrap();
            refuse(&[libc::SYS_getppid as u32]).unwrap();
            // SAFETY: both calls take nothing and touch no memory.
            unsafe { (libc::syscall(libc::SYS_getppid), libc::syscall(libc::SYS_getpid)) }
        });
        let (refused, allowed) = tried.join().unwrap();
        assert_eq!((refused, allowed), (-1, i64::from(std::process::id())));
    }
}
