//! Capabilities of `lxc.cap.drop` and `lxc.cap.keep`.

use std::fmt;
use std::str::FromStr;

use crate::{Fault, nearest};

/// A Linux capability, by its number. Source: capabilities(7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Capability(u8);

/// Names in lower case without `CAP_`, at the place of their number. Source: linux/capability.h.
const NAMES: [&str; 41] = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

/// The highest number that fits the kernel's two words of capabilities.
const LAST: u8 = 63;

impl Capability {
    /// Returns the kernel's number.
    pub fn number(self) -> u8 {
        self.0
    }
}

impl FromStr for Capability {
    type Err = Fault;

    /// Reads a name in lower case without `CAP_`, or a number from 0 to 63.
    fn from_str(text: &str) -> Result<Self, Fault> {
        let by_name = NAMES.iter().position(|name| *name == text).and_then(|n| u8::try_from(n).ok());
        let by_number = || text.parse().ok().filter(|number| *number <= LAST);
        by_name.or_else(by_number).map(Self).ok_or_else(|| {
            let lower = text.to_ascii_lowercase();
            let bare = lower.strip_prefix("cap_").unwrap_or(&lower);
            Fault::value(text, "a capability, in lower case and without CAP_")
                .meaning(nearest::of(bare, NAMES.iter().copied()))
        })
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.get(usize::from(self.0)) {
            Some(name) => f.pad(name),
            None => self.0.fmt(f),
        }
    }
}

/// Which capabilities the container's processes may have.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Capabilities {
    /// All that the user namespace gives.
    #[default]
    Default,
    /// All but these.
    Drop(Vec<Capability>),
    /// These alone; an empty list drops everything.
    Keep(Vec<Capability>),
}

impl Capabilities {
    /// Adds the blank-separated names of one `lxc.cap.drop` line.
    pub(crate) fn drop_more(&mut self, names: &str) -> Result<(), Fault> {
        let mut list = match self {
            Self::Default => Vec::new(),
            Self::Drop(list) => list.clone(),
            Self::Keep(_) => return Err(exclusive("lxc.cap.drop", "lxc.cap.keep")),
        };
        for name in words(names)? {
            add(&mut list, name)?;
        }
        *self = Self::Drop(list);
        Ok(())
    }

    /// Adds the blank-separated names of one `lxc.cap.keep` line; `none` empties the list first.
    pub(crate) fn keep_more(&mut self, names: &str) -> Result<(), Fault> {
        let mut list = match self {
            Self::Default => Vec::new(),
            Self::Keep(list) => list.clone(),
            Self::Drop(_) => return Err(exclusive("lxc.cap.keep", "lxc.cap.drop")),
        };
        for name in words(names)? {
            match name {
                "none" => list.clear(),
                name => add(&mut list, name)?,
            }
        }
        *self = Self::Keep(list);
        Ok(())
    }
}

/// Splits names at blanks. None at all are refused: an empty list would mean everything or nothing.
fn words(names: &str) -> Result<Vec<&str>, Fault> {
    let words: Vec<&str> = names.split_ascii_whitespace().collect();
    if words.is_empty() { Err(Fault::value(names, "the name of a capability")) } else { Ok(words) }
}

fn add(list: &mut Vec<Capability>, name: &str) -> Result<(), Fault> {
    let capability = name.parse()?;
    if !list.contains(&capability) {
        list.push(capability);
    }
    Ok(())
}

fn exclusive(key: &'static str, other: &'static str) -> Fault {
    Fault::Exclusive { key, other }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_read_and_capitals_are_corrected() {
        assert_eq!("sys_admin".parse::<Capability>().unwrap().number(), 21);
        assert_eq!("40".parse::<Capability>().unwrap().to_string(), "checkpoint_restore");
        assert_eq!("41".parse::<Capability>().unwrap().to_string(), "41");
        let fault = "CAP_SYS_ADMIN".parse::<Capability>().unwrap_err();
        assert_eq!(fault.suggestion().unwrap(), "write sys_admin");
        assert!("64".parse::<Capability>().is_err());
    }

    #[test]
    fn none_empties_the_kept_list_and_alone_keeps_nothing() {
        let mut capabilities = Capabilities::Default;
        capabilities.keep_more("sys_admin").unwrap();
        capabilities.keep_more("none").unwrap();
        assert_eq!(capabilities, Capabilities::Keep(vec![]));
        capabilities.keep_more("chown").unwrap();
        assert_eq!(capabilities, Capabilities::Keep(vec![Capability(0)]));
        assert!(capabilities.drop_more("chown").is_err());
    }
}
