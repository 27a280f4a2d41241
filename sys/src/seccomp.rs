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

/// Tells whether a filter is in force for this process.
pub fn is_filtered() -> bool {
    const SECCOMP_MODE_FILTER: libc::c_int = 2;
    // SAFETY: PR_GET_SECCOMP takes no argument. A process in strict mode, which it would kill, runs no such program.
    unsafe { libc::prctl(libc::PR_GET_SECCOMP) == SECCOMP_MODE_FILTER }
}
