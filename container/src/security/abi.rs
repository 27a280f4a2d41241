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
            Section::X8664 => self == Self::X8664,
            Section::X86 => self == Self::X86,
            Section::Arm64 => self == Self::Aarch64,
            Section::Arm => self == Self::Arm,
            Section::Riscv64 => self == Self::Riscv64,
            Section::X32 | Section::Other => false,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_call_has_other_numbers_elsewhere() {
        assert_eq!(Abi::X8664.number("keyctl"), Some(250));
        assert_eq!(Abi::X86.number("keyctl"), Some(288));
        assert_eq!(Abi::X86.number("socketcall"), Some(102));
        assert_eq!(Abi::X8664.number("socketcall"), None);
        assert_eq!(Abi::Aarch64.number("bpf"), Some(280));
    }
}
