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

/// A system call that works with some values of an argument alone.
#[derive(Clone, Copy, Debug)]
pub struct Only {
    /// Which.
    pub call: u32,
    /// Which argument, of 32 bits; the first is 0.
    pub argument: u32,
    /// The values, at most 200.
    pub values: &'static [u32],
}

/// Lets these system calls fail with EPERM from now on, in this process and all that it starts, and those of `some` with other values
/// than theirs. What calls the kernel in another way than this program is built for is killed: its numbers mean other calls.
///
/// # Errors
/// As [`install`].
pub fn refuse(calls: &[u32], some: &[Only]) -> Result<()> {
    install(&refusing(calls, some))
}

/// Lets these system calls alone work from now on, in this process and all that it starts, and `openat` for reading what is there;
/// any other fails with EPERM. What calls the kernel in another way than this program is built for is killed.
///
/// # Errors
/// As [`install`].
pub fn allow_only(calls: &[u32]) -> Result<()> {
    install(&allowing(calls))
}

/// The architecture of this program as filters see it. Source: linux/audit.h.
const ARCHITECTURE: u32 = match () {
    () if cfg!(target_arch = "x86_64") => 0xc000_003e,
    () if cfg!(target_arch = "aarch64") => 0xc000_00b7,
    () if cfg!(target_arch = "riscv64") => 0xc000_00f3,
    () if cfg!(target_arch = "arm") => 0x4000_0028,
    () => 0x4000_0003,
};

const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const AT_LEAST: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const ANY_BIT: u16 = 0x45; // BPF_JMP | BPF_JSET | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K
const ALLOW: Instruction = step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW);
const REFUSE: Instruction = step(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32);

const fn step(code: u16, jump_true: u8, jump_false: u8, operand: u32) -> Instruction {
    Instruction { code, jump_true, jump_false, operand }
}

/// Loads the number of the call, if it is one of this program's. `struct seccomp_data` begins with it and the architecture.
fn number() -> Vec<Instruction> {
    const X32: u32 = 0x4000_0000;
    vec![
        step(LOAD, 0, 0, 4),
        step(EQUAL, 1, 0, ARCHITECTURE),
        step(RETURN, 0, 0, libc::SECCOMP_RET_KILL_PROCESS),
        step(LOAD, 0, 0, 0),
        step(AT_LEAST, 0, 1, X32),
        REFUSE,
    ]
}

/// Where the lower half of an argument is. `struct seccomp_data` has six of 64 bits behind the number, the architecture and an address.
const fn lower_half(argument: u32) -> u32 {
    16 + argument * 8 + if cfg!(target_endian = "little") { 0 } else { 4 }
}

fn refusing(calls: &[u32], some: &[Only]) -> Vec<Instruction> {
    let mut program = number();
    program.extend(calls.iter().flat_map(|call| [step(EQUAL, 0, 1, *call), REFUSE]));
    for Only { call, argument, values } in some {
        // Behind the call's own steps the next one is compared; within them nothing goes on.
        let own = 2 + 2 * values.len() as u8;
        program.extend([step(EQUAL, 0, own, *call), step(LOAD, 0, 0, lower_half(*argument))]);
        program.extend(values.iter().flat_map(|value| [step(EQUAL, 0, 1, *value), ALLOW]));
        program.push(REFUSE);
    }
    program.push(ALLOW);
    program
}

fn allowing(calls: &[u32]) -> Vec<Instruction> {
    /// The flags of an open. No supported architecture has them elsewhere.
    const FLAGS: u32 = lower_half(2);
    const WRITES: i32 = libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC;
    let mut program = number();
    program.extend(calls.iter().flat_map(|call| [step(EQUAL, 0, 1, *call), ALLOW]));
    program.extend([
        step(EQUAL, 0, 3, libc::SYS_openat as u32),
        step(LOAD, 0, 0, FLAGS),
        step(ANY_BIT, 1, 0, WRITES as u32),
        ALLOW,
        REFUSE,
    ]);
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
    fn only_calls_that_are_allowed_work_and_files_can_be_read_alone() {
        let tried = std::thread::spawn(|| {
            crate::process::set_no_new_privs().unwrap();
            let open = |flags: libc::c_int| {
                // SAFETY: the path is a string that outlives the call.
                unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, c"/dev/null".as_ptr(), flags) }
            };
            let exits = [libc::SYS_exit, libc::SYS_munmap, libc::SYS_madvise, libc::SYS_rt_sigprocmask];
            let others = [libc::SYS_getpid, libc::SYS_futex, libc::SYS_sigaltstack, libc::SYS_mmap];
            let calls: Vec<u32> = exits.iter().chain(&others).map(|call| *call as u32).collect();
            allow_only(&calls).unwrap();
            // SAFETY: the calls take nothing and touch no memory.
            let called = unsafe { [libc::syscall(libc::SYS_getppid), libc::syscall(libc::SYS_getpid)] };
            (called, open(libc::O_RDONLY), [libc::O_WRONLY, libc::O_RDWR, libc::O_CREAT].map(open))
        });
        let (called, read, written) = tried.join().unwrap();
        assert_eq!(called, [-1, i64::from(std::process::id())]);
        assert!(read > 0);
        assert_eq!(written, [-1; 3]);
    }

    #[test]
    fn a_call_that_is_refused_fails_and_the_others_do_not() {
        let tried = std::thread::spawn(|| {
            crate::process::set_no_new_privs().unwrap();
            let close = Only { call: libc::SYS_close as u32, argument: 0, values: &[7777, 8888] };
            refuse(&[libc::SYS_getppid as u32], &[close]).unwrap();
            // SAFETY: the calls take nothing and touch no memory; no such fd is open.
            let close = |fd: libc::c_int| unsafe {
                libc::syscall(libc::SYS_close, fd);
                std::io::Error::last_os_error().raw_os_error()
            };
            // SAFETY: both calls take nothing and touch no memory.
            let called = unsafe { (libc::syscall(libc::SYS_getppid), libc::syscall(libc::SYS_getpid)) };
            (called, [7777, 8888, 9999].map(close))
        });
        let ((refused, allowed), closed) = tried.join().unwrap();
        assert_eq!((refused, allowed), (-1, i64::from(std::process::id())));
        assert_eq!(closed, [libc::EBADF, libc::EBADF, libc::EPERM].map(Some));
    }
}
