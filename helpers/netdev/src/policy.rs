//! The file of the administrator that grants network devices.

use std::fmt;
use std::io;

use ::policy::slots::Owner;
use ::policy::usernet::{self, Asker, BadLine, Grant, Group};
use helpers::caller::{self, Caller};
use helpers::policy_file::{self, Links, PolicyFileError};
use types::IfName;

const PATH: &str = "/etc/lxc/lxc-usernet";

/// What the administrator grants to one user on one bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// To whom devices may be counted, and how many; at least one.
    pub grants: Vec<Grant>,
}

/// Whether the ports of a bridge are kept apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ports {
    /// They are.
    Apart,
    /// They are where more than one user has some.
    ApartFromOthers,
    /// They need not be, whoever has some.
    Open,
}

/// Why nothing is granted.
#[derive(Debug)]
pub enum PolicyError {
    /// The file may not be believed.
    File(PolicyFileError),
    /// There is no such file.
    NoFile,
    /// None of its lines means this user and this bridge. The first that cannot be read may have been meant to.
    NoLine(Option<BadLine>),
    /// The groups of the caller cannot be read.
    Groups(io::Error),
}

/// Reads what is granted to `caller` on `bridge`.
///
/// # Errors
/// Nothing is granted, or the file may not be believed.
pub fn read(caller: &Caller, bridge: &IfName) -> Result<Policy, PolicyError> {
    let text =
        policy_file::read(PATH, Links::Refused, usernet::FILE_CAP as u64).map_err(PolicyError::File)?;
    let text = text.ok_or(PolicyError::NoFile)?;
    let groups = groups(&usernet::groups(&text, bridge)).map_err(PolicyError::Groups)?;
    decide(&text, bridge, &Asker { uid: caller.uid, name: caller.name.as_deref(), groups: &groups })
}

/// Reads how the file has it at this moment. Where it may not be believed any more, or is gone, ports are kept apart.
pub fn ports(bridge: &IfName) -> Ports {
    let text = policy_file::read(PATH, Links::Refused, usernet::FILE_CAP as u64);
    text.ok().flatten().map_or(Ports::Apart, |text| ports_in(&text, bridge))
}

fn ports_in(text: &[u8], bridge: &IfName) -> Ports {
    match (usernet::isolates(text, bridge), usernet::is_open(text, bridge)) {
        (true, _) => Ports::Apart,
        (false, true) => Ports::Open,
        (false, false) => Ports::ApartFromOthers,
    }
}

/// Returns what `text` grants.
fn decide(text: &[u8], bridge: &IfName, asker: &Asker<'_>) -> Result<Policy, PolicyError> {
    let grants = usernet::grants(text, bridge, asker);
    if grants.is_empty() {
        return Err(PolicyError::NoLine(usernet::bad_lines(text).first().copied()));
    }
    Ok(Policy { grants })
}

/// Returns the caller's groups, with those of `names` that are names of them.
///
/// The few names of the file are looked up, and not the name of each group: a caller may have 65,536, and LXC read
/// beyond the end of its list of them (d8f2c55fa).
fn groups(names: &[&[u8]]) -> io::Result<Vec<Group>> {
    Ok(members(&caller::groups()?, names, caller::group_id))
}

/// Returns the groups `own`, once without a name and once by each of `names` that `find` knows as a name of one.
fn members(own: &[u32], names: &[&[u8]], find: impl Fn(&[u8]) -> Option<u32>) -> Vec<Group> {
    let named = names.iter().filter_map(|name| Some((find(name)?, name)));
    let named = named.filter(|(gid, _)| own.contains(gid));
    let named = named.map(|(gid, name)| Group { gid, name: Some(name.to_vec()) });
    own.iter().map(|gid| Group { gid: *gid, name: None }).chain(named).collect()
}

/// How messages name an owner.
pub struct Shown(pub Owner);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Owner::User(_) => f.write_str("your own"),
            Owner::Group(gid) => write!(f, "group {gid}'s"),
        }
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(error) => error.fmt(f),
            Self::NoFile => write!(f, "there is no {PATH}, which would grant it"),
            Self::NoLine(None) => write!(f, "no line of {PATH} grants it"),
            Self::NoLine(Some(bad)) => write!(f, "no line of {PATH} grants it, and {bad}"),
            Self::Groups(error) => write!(f, "getgroups: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_ana(text: &str) -> Result<Policy, PolicyError> {
        let asker = Asker { uid: 1000, name: Some(b"ana"), groups: &[] };
        decide(text.as_bytes(), &"br0".parse().unwrap(), &asker)
    }

    #[test]
    fn the_grants_of_the_bridge_are_read_and_whether_its_ports_are_kept_apart() {
        let ports = |text: &str| ports_in(text.as_bytes(), &"br0".parse().unwrap());
        for (text, is) in [
            ("ana veth br0 2\n", Ports::ApartFromOthers),
            ("ana veth br0 2\nbob veth br0 1\n", Ports::Apart),
            ("ana veth br0 2 open\nbob veth br1 1\n", Ports::Open),
        ] {
            let grants = vec![Grant { owner: Owner::User(1000), quota: 2 }];
            assert_eq!((of_ana(text).unwrap(), ports(text)), (Policy { grants }, is), "{text}");
        }
    }

    #[test]
    fn without_a_line_nothing_is_granted_and_the_first_that_cannot_be_read_is_named() {
        let said = |text: &str| of_ana(text).unwrap_err().to_string();
        assert_eq!(said(""), "no line of /etc/lxc/lxc-usernet grants it");
        assert_eq!(said("bob veth br0 1\nana veth br0 0\n"), "no line of /etc/lxc/lxc-usernet grants it");
        assert_eq!(
            said("bob veth br0 1\nana veth br0 x\nana br0\n"),
            "no line of /etc/lxc/lxc-usernet grants it, and line 2: the number is not a plain decimal number below 2147483648"
        );
    }

    #[test]
    fn a_name_counts_where_it_is_one_of_the_callers_groups() {
        let find = |name: &[u8]| match name {
            b"staff" | b"workers" => Some(50),
            b"wheel" => Some(10),
            _ => None,
        };
        let group = |gid, name: Option<&str>| Group { gid, name: name.map(|name| name.into()) };
        assert_eq!(
            members(&[50, 7], &[b"staff", b"wheel", b"nobody", b"workers"], find),
            [group(50, None), group(7, None), group(50, Some("staff")), group(50, Some("workers"))]
        );
    }

    #[test]
    fn owners_are_named_as_the_caller_sees_them() {
        assert_eq!(Shown(Owner::User(7)).to_string(), "your own");
        assert_eq!(Shown(Owner::Group(7)).to_string(), "group 7's");
    }
}
