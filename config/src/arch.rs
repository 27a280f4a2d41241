//! Architectures of `lxc.arch`.

use std::fmt;
use std::str::FromStr;

use crate::{Fault, nearest};

/// An architecture that the kernel can show to a container, under one name for all its spellings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Arch {
    name: &'static str,
    bits: u8,
}

/// Canonical name, bits, the spellings that LXC knows.
const ARCHES: [(&str, u8, &[&str]); 11] = [
    ("x86_64", 64, &["x86_64", "amd64", "linux64"]),
    ("i686", 32, &["i686", "x86", "i386", "i486", "i586", "athlon", "linux32"]),
    ("aarch64", 64, &["aarch64", "arm64"]),
    ("arm", 32, &["arm", "armel", "armhf", "armv7", "armv7l", "armv7a", "armv8", "armv8l", "armv8a"]),
    ("mips", 32, &["mips", "mipsel"]),
    ("mips64", 64, &["mips64", "mips64el"]),
    ("ppc", 32, &["ppc", "powerpc"]),
    ("ppc64", 64, &["ppc64", "ppc64el", "ppc64le", "powerpc64"]),
    ("riscv64", 64, &["riscv64"]),
    ("s390x", 64, &["s390x"]),
    ("loongarch64", 64, &["loongarch64", "loong64"]),
];

impl Arch {
    /// Returns the canonical name, such as `x86_64` for `amd64`.
    pub fn name(self) -> &'static str {
        self.name
    }

    /// Tells whether init is to run with the 32-bit personality. Source: personality(2), `PER_LINUX32`.
    pub fn is_32bit(self) -> bool {
        self.bits == 32
    }
}

impl FromStr for Arch {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        let found = ARCHES.iter().find(|(_, _, spellings)| spellings.contains(&text));
        found.map(|(name, bits, _)| Self { name, bits: *bits }).ok_or_else(|| {
            let spellings = ARCHES.iter().flat_map(|(_, _, spellings)| spellings.iter().copied());
            Fault::value(text, "an architecture").meaning(nearest::of(text, spellings))
        })
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_architecture_are_one() {
        assert_eq!("amd64".parse::<Arch>().unwrap().name(), "x86_64");
        assert!("i386".parse::<Arch>().unwrap().is_32bit());
        assert!(!"arm64".parse::<Arch>().unwrap().is_32bit());
        assert!("bogus".parse::<Arch>().is_err());
        for (name, _, _) in ARCHES {
            assert_eq!(name.parse::<Arch>().unwrap().name(), name);
        }
    }
}
