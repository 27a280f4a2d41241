//! Root file systems of other architectures: whether this machine runs their programs, in a container too.
//!
//! The kernel gives a program that is not its own to an interpreter, by how the file begins. Only one that was opened when it
//! was registered (flag `F`) is found from within a container; any other is a path that the container does not have.
//! Source: the kernel's Documentation/admin-guide/binfmt-misc.rst.

use std::os::fd::AsFd;
use std::path::Path;

use sys::process::{self, Cloned, Exec, Exit};

use crate::error::{Error, Kind, Result};

/// Where the kernel shows its interpreters.
const BINFMT: &str = "/proc/sys/fs/binfmt_misc";

/// How ELF programs of an architecture begin. Source: elf(5), `EI_CLASS`, `EI_DATA`, `e_machine`.
struct Machine {
    /// The kernel's word, then those of distributions.
    names: &'static [&'static str],
    is_64bit: bool,
    is_little: bool,
    number: u16,
}

const MACHINES: [Machine; 11] = [
    machine(&["x86_64", "amd64"], true, true, 62),
    machine(&["i686", "i386", "x86"], false, true, 3),
    machine(&["aarch64", "arm64"], true, true, 183),
    machine(&["arm", "armhf", "armel", "armv7l", "armv7"], false, true, 40),
    machine(&["riscv64"], true, true, 243),
    machine(&["ppc64le", "ppc64el", "powerpc64"], true, true, 21),
    machine(&["s390x"], true, false, 22),
    machine(&["loongarch64", "loong64"], true, true, 258),
    machine(&["mips64el"], true, true, 8),
    machine(&["mipsel"], false, true, 8),
    machine(&["ppc64"], true, false, 21),
];

/// Machines whose kernel may run programs of another by itself: where it is built so, and the processor can. Only a try tells.
const ALSO: [Also; 2] = [
    // mov eax, 1; xor ebx, ebx; int 0x80
    Also { kernel: "x86_64", name: "i686", flags: 0, exit: &[0xb8, 1, 0, 0, 0, 0x31, 0xdb, 0xcd, 0x80] },
    // mov r0, #0; mov r7, #1; svc 0
    Also {
        kernel: "aarch64",
        name: "arm",
        flags: 0x0500_0000,
        exit: &[0, 0, 0xa0, 0xe3, 1, 0x70, 0xa0, 0xe3, 0, 0, 0, 0xef],
    },
];

/// A machine of 32 bits whose programs another one may run.
struct Also {
    kernel: &'static str,
    name: &'static str,
    /// `e_flags`: the calling convention.
    flags: u32,
    /// What ends a program there with status 0.
    exit: &'static [u8],
}

impl Also {
    /// Returns a program that does nothing. Source: elf(5).
    fn program(&self) -> Vec<u8> {
        const HEADERS: u32 = 52 + 32;
        const AT: u32 = 0x0804_8000;
        const ET_EXEC: u16 = 2;
        const PT_LOAD: u32 = 1;
        const READ_AND_RUN: u32 = 5;
        let length = HEADERS + self.exit.len() as u32;
        let number = Machine::of(self.name).map_or(0, |machine| machine.number);
        let mut program = b"\x7fELF\x01\x01\x01".to_vec();
        program.resize(16, 0);
        let half = |program: &mut Vec<u8>, value: u16| program.extend(value.to_le_bytes());
        let word = |program: &mut Vec<u8>, value: u32| program.extend(value.to_le_bytes());
        [ET_EXEC, number].into_iter().for_each(|value| half(&mut program, value));
        [1, AT + HEADERS, 52, 0, self.flags].into_iter().for_each(|value| word(&mut program, value));
        [52, 32, 1, 0, 0, 0].into_iter().for_each(|value| half(&mut program, value));
        [PT_LOAD, 0, AT, AT, length, length, READ_AND_RUN, 0x1000]
            .into_iter()
            .for_each(|value| word(&mut program, value));
        program.extend(self.exit);
        program
    }

    /// Tells whether the kernel runs it.
    fn runs(&self) -> bool {
        let tried = || -> Result<Exit> {
            let program = sys::memfd::sealed("bryo-foreign", &self.program())?;
            let exec = Exec::new(&["bryo-foreign"], &[])?;
            match process::fork()? {
                Cloned::Child => {
                    let _refused = exec.fd(program.as_fd());
                    process::exit_now(1)
                }
                Cloned::Parent { pidfd, .. } => Ok(process::wait(pidfd.as_fd())?),
            }
        };
        tried().is_ok_and(|ended| ended == Exit::Code(0))
    }
}

const fn machine(names: &'static [&'static str], is_64bit: bool, is_little: bool, number: u16) -> Machine {
    Machine { names, is_64bit, is_little, number }
}

impl Machine {
    fn of(name: &str) -> Option<&'static Self> {
        MACHINES.iter().find(|machine| machine.names.contains(&name))
    }

    /// Returns the first bytes of a program that is linked to run anywhere.
    fn header(&self) -> [u8; 20] {
        const ET_DYN: u16 = 3;
        let mut header = [0; 20];
        header[..4].copy_from_slice(b"\x7fELF");
        header[4] = if self.is_64bit { 2 } else { 1 };
        header[5] = if self.is_little { 1 } else { 2 };
        header[6] = 1;
        let bytes = |number: u16| if self.is_little { number.to_le_bytes() } else { number.to_be_bytes() };
        header[16..18].copy_from_slice(&bytes(ET_DYN));
        header[18..].copy_from_slice(&bytes(self.number));
        header
    }
}

/// An interpreter, as the kernel shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Interpreter {
    path: String,
    is_enabled: bool,
    /// It was opened when it was registered.
    is_fixed: bool,
    offset: usize,
    magic: Vec<u8>,
    mask: Vec<u8>,
}

impl Interpreter {
    /// Reads a file of binfmt_misc. One for an extension of names has no magic, and takes nothing.
    fn read(text: &str) -> Self {
        let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
        let hex = |key: &str| value(key).and_then(bytes).unwrap_or_default();
        Self {
            path: value("interpreter ").unwrap_or_default().to_owned(),
            is_enabled: text.lines().next() == Some("enabled"),
            is_fixed: value("flags:").is_some_and(|flags| flags.contains('F')),
            offset: value("offset ").and_then(|offset| offset.parse().ok()).unwrap_or_default(),
            magic: hex("magic "),
            mask: hex("mask "),
        }
    }

    fn takes(&self, header: &[u8]) -> bool {
        let Some(start) = header.get(self.offset..) else { return false };
        let mask = self.mask.iter().copied().chain(std::iter::repeat(0xff));
        let mut pairs = start.iter().zip(&self.magic).zip(mask);
        !self.magic.is_empty()
            && self.magic.len() <= start.len()
            && pairs.all(|((have, want), mask)| (have ^ want) & mask == 0)
    }
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digits = hex.as_bytes().chunks(2);
    digits.map(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok()).collect()
}

/// Checks that programs of an architecture run in containers of this machine.
///
/// # Errors
/// They do not; the message says why, and what would mend it.
pub fn check(arch: &str) -> Result<()> {
    let entries = std::fs::read_dir(BINFMT).into_iter().flatten().flatten();
    let texts = entries.filter(|entry| !["register", "status"].iter().any(|name| entry.file_name() == *name));
    let texts: Vec<String> = texts.filter_map(|entry| std::fs::read_to_string(entry.path()).ok()).collect();
    let is_on = std::fs::read_to_string(Path::new(BINFMT).join("status"))
        .is_ok_and(|status| status.trim() == "enabled");
    decide(arch, std::env::consts::ARCH, Also::runs, &if is_on { texts } else { Vec::new() })
}

fn decide(arch: &str, host: &str, runs: impl Fn(&Also) -> bool, texts: &[String]) -> Result<()> {
    let refuse = |cause: String| Err(Error::new(Kind::Foreign, cause));
    let Some(wanted) = Machine::of(arch) else {
        // A word that a server may know; the kernel has the last one.
        return if arch == host {
            Ok(())
        } else {
            refuse(format!("nothing is known here of the architecture {arch}"))
        };
    };
    let may = |also: &&Also| also.kernel == host && wanted.names.contains(&also.name);
    let by_itself = wanted.names.contains(&host) || ALSO.iter().find(may).is_some_and(runs);
    if by_itself {
        return Ok(());
    }
    let header = wanted.header();
    let takers: Vec<Interpreter> =
        texts.iter().map(|text| Interpreter::read(text)).filter(|known| known.takes(&header)).collect();
    let enabled: Vec<&Interpreter> = takers.iter().filter(|known| known.is_enabled).collect();
    match (&enabled[..], &takers[..]) {
        (enabled, _) if enabled.iter().any(|known| known.is_fixed) => Ok(()),
        ([known, ..], _) => refuse(format!(
            "programs of {arch} are run here by {}, which a container does not have: its registration lacks the flag F",
            known.path
        )),
        ([], [known, ..]) => {
            refuse(format!("{}, which would run programs of {arch}, is disabled", known.path))
        }
        _ => {
            refuse(format!("this machine runs no programs of {arch}: no interpreter for them is registered"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the packages qemu-user-static of Debian 12 and 13 register it.
    const AARCH64: &str = "enabled
interpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P
flags: POCF
offset 0
magic 7f454c460201010000000000000000000200b700
mask ffffffffffffff00fffffffffffffffffeffffff
";
    const ARM: &str = "enabled
interpreter /usr/bin/qemu-arm
flags: 
offset 0
magic 7f454c4601010100000000000000000002002800
mask ffffffffffffff00fffffffffffffffffeffffff
";
    const S390X: &str = "disabled
interpreter /usr/libexec/qemu-binfmt/s390x-binfmt-P
flags: POCF
offset 0
magic 7f454c4602020100000000000000000000020016
mask ffffffffffffff00fffffffffffffffffffeffff
";
    const PYTHON: &str = "enabled
interpreter /usr/bin/python3.11
flags: 
offset 0
magic a70d0d0a
";
    const JAR: &str = "enabled
interpreter /usr/bin/jexec
flags: 
extension .jar
";

    fn decided(arch: &str) -> Result<()> {
        decide(arch, "x86_64", |_| true, &[PYTHON, JAR, AARCH64, ARM, S390X].map(str::to_owned))
    }

    #[test]
    fn an_interpreter_that_was_opened_when_it_was_registered_runs_programs_in_containers() {
        for arch in ["x86_64", "amd64", "i386", "aarch64", "arm64"] {
            assert_eq!(decided(arch), Ok(()), "{arch}");
        }
        for (arch, why) in [
            (
                "armhf",
                "/usr/bin/qemu-arm, which a container does not have: its registration lacks the flag F",
            ),
            ("s390x", "s390x-binfmt-P, which would run programs of s390x, is disabled"),
            ("riscv64", "this machine runs no programs of riscv64: no interpreter"),
            ("ppc64el", "this machine runs no programs of ppc64el"),
            ("vax", "nothing is known here of the architecture vax"),
        ] {
            let error = decided(arch).unwrap_err();
            assert_eq!(error.kind(), Kind::Foreign);
            assert!(error.to_string().contains(why), "{error}");
        }
        let on_aarch64 = |arch: &str, runs: bool| decide(arch, "aarch64", |_| runs, &[]);
        assert_eq!(on_aarch64("arm64", false), Ok(()));
        assert_eq!(on_aarch64("armhf", true), Ok(()));
        assert!(on_aarch64("amd64", true).is_err());
        assert_eq!(decide("vax", "vax", |_| false, &[]), Ok(()));
    }

    /// Many processors of 64 bits have no 32 any more, and a kernel may be built without.
    #[test]
    fn programs_of_32_bits_run_where_a_try_says_so_or_an_interpreter_takes_them() {
        let refused = decide("armhf", "aarch64", |_| false, &[]).unwrap_err();
        assert!(refused.to_string().contains("this machine runs no programs of armhf"), "{refused}");
        let fixed = ARM.replace("flags: ", "flags: OCF");
        assert_eq!(decide("armhf", "aarch64", |_| false, &[fixed]), Ok(()));
        assert!(decide("i386", "x86_64", |_| false, &[]).is_err());
    }

    #[test]
    fn a_program_that_does_nothing_is_one_of_its_machine() {
        for also in &ALSO {
            let (program, header) = (also.program(), Machine::of(also.name).unwrap().header());
            assert_eq!((&program[..16], &program[18..20]), (&header[..16], &header[18..]), "{}", also.name);
        }
        let wrong = Also { kernel: "x86_64", name: "s390x", flags: 0, exit: &[0xff] };
        assert!(!wrong.runs(), "a program of no machine that this one knows ends well");
    }

    #[test]
    fn another_of_two_interpreters_may_be_the_fixed_one() {
        let loose = AARCH64.replace("POCF", "OC");
        assert!(decide("arm64", "x86_64", |_| true, std::slice::from_ref(&loose)).is_err());
        assert_eq!(decide("arm64", "x86_64", |_| true, &[loose, AARCH64.to_owned()]), Ok(()));
        let off = AARCH64.replace("enabled", "disabled");
        assert!(decide("arm64", "x86_64", |_| true, &[off]).is_err());
    }

    #[test]
    fn what_is_no_text_of_the_kernels_takes_nothing() {
        for text in
            ["", "enabled\n", "enabled\nmagic \n", "enabled\nmagic zz\n", "enabled\noffset 99\nmagic 7f\n"]
        {
            assert!(decide("arm64", "x86_64", |_| true, &[format!("{text}flags: F\n")]).is_err(), "{text:?}");
        }
    }
}
