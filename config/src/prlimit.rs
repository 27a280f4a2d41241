//! Resource limits of `lxc.prlimit.*`.

use std::fmt;

use crate::{Fault, nearest};

/// A resource limit for init. Source: getrlimit(2).
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Prlimit {
    /// The kernel's name of the resource in lower case without `RLIMIT_`, such as `nofile`; or its number.
    pub name: String,
    /// The soft limit; none is unlimited.
    pub soft: Option<u64>,
    /// The hard limit; none is unlimited.
    pub hard: Option<u64>,
}

/// Names and numbers on the generic Linux ABI. Source: asm-generic/resource.h.
const RESOURCES: [&str; 16] = [
    "cpu",
    "fsize",
    "data",
    "stack",
    "core",
    "rss",
    "nproc",
    "nofile",
    "memlock",
    "as",
    "locks",
    "sigpending",
    "msgqueue",
    "nice",
    "rtprio",
    "rttime",
];

impl Prlimit {
    /// Reads `SOFT[:HARD]` for the resource `name`, each a number or `unlimited`.
    pub(crate) fn read(name: &str, value: &str) -> Result<Self, Fault> {
        if number(name).is_none() {
            let meant = nearest::of(&name.to_ascii_lowercase(), RESOURCES.iter().copied());
            return Err(Fault::value(name, "the name of a resource limit").meaning(meant));
        }
        let (soft, hard) = value.split_once(':').unwrap_or((value, value));
        Ok(Self { name: name.to_owned(), soft: bound(soft)?, hard: bound(hard)? })
    }

    /// Returns the kernel's number of the resource, as prlimit(2) takes it.
    pub fn resource(&self) -> Option<u32> {
        number(&self.name)
    }
}

fn number(name: &str) -> Option<u32> {
    let known = RESOURCES.iter().position(|known| *known == name);
    // Written as numbers are, so that each resource has two names at most.
    let plain = |number: &usize| *number < RESOURCES.len() && number.to_string() == name;
    let number = known.or_else(|| name.parse().ok().filter(plain))?;
    u32::try_from(number).ok()
}

fn bound(text: &str) -> Result<Option<u64>, Fault> {
    match text.trim() {
        "unlimited" => Ok(None),
        digits => match digits.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => {
                Err(Fault::value(text, "a number or 'unlimited'").meaning(crate::units::spelled_out(digits)))
            }
        },
    }
}

impl fmt::Display for Prlimit {
    /// Writes the value: one number where both limits are the same.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |bound: Option<u64>| bound.map_or("unlimited".to_owned(), |number| number.to_string());
        if self.soft == self.hard {
            f.write_str(&word(self.soft))
        } else {
            write!(f, "{}:{}", word(self.soft), word(self.hard))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn soft_and_hard_limits_are_read_and_shown() {
        for (value, soft, hard) in [
            ("1024:2048", Some(1024), Some(2048)),
            ("unlimited", None, None),
            ("1:unlimited", Some(1), None),
            ("7", Some(7), Some(7)),
        ] {
            let limit = Prlimit::read("nofile", value).unwrap();
            assert_eq!((limit.soft, limit.hard, limit.resource()), (soft, hard, Some(7)));
            assert_eq!(limit.to_string(), value);
        }
        assert_eq!(Prlimit::read("4", "0").unwrap().resource(), Some(4));
    }

    #[test]
    fn a_suffix_and_a_wrong_name_are_refused_with_what_was_meant() {
        assert_eq!(Prlimit::read("nofile", "1k").unwrap_err().suggestion().unwrap(), "write 1024");
        assert_eq!(Prlimit::read("NOFILE", "1").unwrap_err().suggestion().unwrap(), "write nofile");
        for name in ["16", "07", "+7"] {
            assert!(Prlimit::read(name, "1").is_err(), "{name}");
        }
    }
}
