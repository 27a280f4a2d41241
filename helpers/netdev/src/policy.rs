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
    /// Whether the ports of the bridge are kept apart.
    pub isolates: bool,
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
    let asker = Asker { uid: caller.uid, name: caller.name.as_deref(), groups: &groups };
    let grants = usernet::grants(&text, bridge, &asker);
    if grants.is_empty() {
        return Err(PolicyError::NoLine(usernet::bad_lines(&text).first().copied()));
    }
    Ok(Policy { grants, isolates: usernet::isolates(&text, bridge) })
}

/// Returns the caller's groups, with those of `names` that are names of them.
///
/// The few names of the file are looked up, and not the name of each group: a caller may have 65,536, and LXC read
/// beyond the end of its list of them (d8f2c55fa).
fn groups(names: &[&[u8]]) -> io::Result<Vec<Group>> {
    let own = caller::groups()?;
    let named = names.iter().filter_map(|name| Some((caller::group_id(name)?, name)));
    let named = named.filter(|(gid, _)| own.contains(gid));
    let named: Vec<Group> = named.map(|(gid, name)| Group { gid, name: Some(name.to_vec()) }).collect();
    Ok(own.iter().map(|gid| Group { gid: *gid, name: None }).chain(named).collect())
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
