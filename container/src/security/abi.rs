//! The ways in which a program can call the kernel: each has numbers of its own for the same calls.

use config::seccomp::Section;

/// A calling convention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Abi {
    X8664,
    /// 32-bit programs on a 64-bit x86 kernel; `int 0x80` reaches it from any program.
    X86,
    Aarch64,
    /// 32-bit programs on a 64-bit Arm kernel.
    Arm,
    Riscv64,
}

#[cfg(target_arch = "x86_64")]
const NATIVE: &[Abi] = &[Abi::X8664, Abi::X86];
#[cfg(target_arch = "aarch64")]
const NATIVE: &[Abi] = &[Abi::Aarch64, Abi::Arm];
#[cfg(target_arch = "riscv64")]
const NATIVE: &[Abi] = &[Abi::Riscv64];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")))]
compile_error!("filters need this architecture's calling conventions");

/// A bit that marks the calls of x32, which share the architecture of x86_64. Source: asm/unistd.h, __X32_SYSCALL_BIT.
pub(super) const X32_BIT: u32 = 0x4000_0000;

impl Abi {
    /// Returns those of this kernel, its own first.
    pub(super) fn native() -> &'static [Self] {
        NATIVE
    }

    /// Returns the number by which a filter knows it. Source: linux/audit.h.
    pub(super) fn audit_number(self) -> u32 {
        match self {
            Self::X8664 => 0xC000_003E,
            Self::X86 => 0x4000_0003,
            Self::Aarch64 => 0xC000_00B7,
            Self::Arm => 0x4000_0028,
            Self::Riscv64 => 0xC000_00F3,
        }
    }

    /// Tells whether arguments have 64 bits.
    pub(super) fn is_64bit(self) -> bool {
        matches!(self, Self::X8664 | Self::Aarch64 | Self::Riscv64)
    }

    /// Tells whether the rules of a section are meant for it.
    pub(super) fn is_in(self, section: Section) -> bool {
        match section {
            Section::All => true,
            Section::X86 => matches!(self, Self::X8664 | Self::X86),
            Section::Arm => matches!(self, Self::Aarch64 | Self::Arm),
            Section::Riscv64 => self == Self::Riscv64,
            Section::Other => false,
        }
    }

    /// Returns the number of a call, if it has the call.
    pub(super) fn number(self, name: &str) -> Option<u32> {
        let number = match self {
            Self::X8664 => name.parse().map(|call: syscalls::x86_64::Sysno| call.id()),
            Self::X86 => name.parse().map(|call: syscalls::x86::Sysno| call.id()),
            Self::Aarch64 => name.parse().map(|call: syscalls::aarch64::Sysno| call.id()),
            Self::Arm => name.parse().map(|call: syscalls::arm::Sysno| call.id()),
            Self::Riscv64 => name.parse().map(|call: syscalls::riscv64::Sysno| call.id()),
        };
        u32::try_from(number.ok()?).ok()
    }
}

/// Tells whether Linux has a call of this name on any architecture.
pub(super) fn is_a_call(name: &str) -> bool {
    let here = [Abi::X8664, Abi::X86, Abi::Aarch64, Abi::Arm, Abi::Riscv64];
    here.into_iter().any(|abi| abi.number(name).is_some())
        || name.parse::<syscalls::loongarch64::Sysno>().is_ok()
        || name.parse::<syscalls::mips::Sysno>().is_ok()
        || name.parse::<syscalls::mips64::Sysno>().is_ok()
        || name.parse::<syscalls::powerpc::Sysno>().is_ok()
        || name.parse::<syscalls::powerpc64::Sysno>().is_ok()
        || name.parse::<syscalls::s390x::Sysno>().is_ok()
}

/// Returns the call that was probably meant by a name that is none.
pub(super) fn nearest_call(name: &str) -> Option<String> {
    let calls = syscalls::x86_64::Sysno::iter().map(|call| call.name());
    config::nearest(name, calls.chain(syscalls::x86::Sysno::iter().map(|call| call.name())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_known_wherever_they_are_and_others_are_not() {
        for name in ["read", "vm86old", "arm_fadvise64_64", "s390_runtime_instr", "spu_run", "cacheflush"] {
            assert!(is_a_call(name), "{name}");
        }
        assert!(!is_a_call("keyclt") && !is_a_call("") && !is_a_call("Read"));
        assert_eq!(nearest_call("keyclt").as_deref(), Some("keyctl"));
        assert_eq!(nearest_call("no_such_thing_at_all"), None);
    }

    #[test]
    fn the_same_call_has_other_numbers_elsewhere() {
        assert_eq!(Abi::X8664.number("keyctl"), Some(250));
        assert_eq!(Abi::X86.number("keyctl"), Some(288));
        assert_eq!(Abi::X86.number("socketcall"), Some(102));
        assert_eq!(Abi::X8664.number("socketcall"), None);
        assert_eq!(Abi::Aarch64.number("bpf"), Some(280));
    }
}
