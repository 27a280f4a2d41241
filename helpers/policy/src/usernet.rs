//! `/etc/lxc/lxc-usernet`: lines of `OWNER veth BRIDGE NUMBER`, each granting a user, or with `@` the members of a group
//! together, that many network devices on a bridge.
//!
//! Source: lxc-usernet(5). Blank lines and lines that begin with `#` are skipped; so is what follows a `#` behind the
//! number. A line that does not parse grants nothing.
//!
//! LXC: knows names alone; here a number is a uid, or with `@` a gid. It ignores all that follows the number; here
//! `open` may follow, and says that the ports of the bridge need not be kept apart.

pub mod lint;

use std::fmt;

use types::IfName;

use crate::decimal;
pub use crate::lines::FILE_CAP;
use crate::lines::{self, LINE_CAP};
use crate::slots::{MOST, Owner};

/// The longest owner that can be named, in bytes: LXC reads a longer one as two fields.
const OWNER_CAP: usize = 99;

/// The largest number that is one in LXC, which reads it into an int.
const NUMBER_CAP: u64 = i32::MAX as u64;

/// Whom a line names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who<'a> {
    /// The user of this uid.
    Uid(u32),
    /// The user of this login name.
    User(&'a [u8]),
    /// The members of the group of this gid.
    Gid(u32),
    /// The members of the group of this name.
    Group(&'a [u8]),
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// The uid.
    pub uid: u32,
    /// The login name. Without one only lines with the uid, and those of groups, count.
    pub name: Option<&'a [u8]>,
    /// The groups, each at least once.
    pub groups: &'a [Group],
}

/// A group that somebody is a member of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The gid.
    pub gid: u32,
    /// A name of it. Without one only lines with the gid count.
    pub name: Option<Vec<u8>>,
}

/// What somebody is granted on a bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// To whom the devices are counted.
    pub owner: Owner,
    /// How many, from 1 to [`MOST`].
    pub quota: u32,
}

/// A line that grants nothing because it cannot be read.
pub type BadLine = lines::BadLine<Reason>;

/// Why a line grants nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is longer than 4096 bytes.
    TooLong,
    /// It holds a control character other than a tab.
    Control,
    /// It begins with a space or a tab.
    Indented,
    /// It has not the fields `OWNER veth BRIDGE NUMBER`.
    Fields,
    /// The owner is no name and no id.
    Owner,
    /// The type is not `veth`.
    Kind,
    /// The bridge is not the name of an interface.
    Bridge,
    /// The number is not a plain decimal one, or too large.
    Number,
}

/// One line that parses.
#[derive(Clone, Debug)]
struct Rule<'a> {
    who: Who<'a>,
    bridge: IfName,
    number: u32,
    open: bool,
}

/// A line that parses, for lists of all grants: whom it names is looked up by who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// The number of the line, from 1.
    pub line: usize,
    /// Whom it names.
    pub who: Who<'a>,
    /// On which bridge.
    pub bridge: IfName,
    /// How many devices, at most [`MOST`].
    pub number: u32,
    /// It says that the ports need not be kept apart.
    pub open: bool,
}

/// Returns all lines that parse.
pub fn all(text: &[u8]) -> impl Iterator<Item = Line<'_>> {
    lines::lines(text).filter_map(|(line, content)| {
        let Rule { who, bridge, number, open } = rule(content).ok()?;
        Some(Line { line, who, bridge, number, open })
    })
}

/// Returns what `text` grants on `bridge` to `asker`: the user's own devices first, then those of groups in the order of
/// their lines.
///
/// Of several lines with one owner the largest number counts. LXC: does the same by trying each; it takes all in the
/// order of the lines.
pub fn grants(text: &[u8], bridge: &IfName, asker: &Asker<'_>) -> Vec<Grant> {
    let mut grants: Vec<Grant> = Vec::new();
    for rule in rules(text, bridge).filter(|rule| rule.number > 0) {
        let Some(owner) = asker.owner(rule.who) else { continue };
        match grants.iter_mut().find(|grant| grant.owner == owner) {
            Some(grant) => grant.quota = grant.quota.max(rule.number),
            None => grants.push(Grant { owner, quota: rule.number }),
        }
    }
    grants.sort_by_key(|grant| matches!(grant.owner, Owner::Group(_)));
    grants
}

/// Returns the names of the groups that `text` grants something on `bridge`.
pub fn groups<'a>(text: &'a [u8], bridge: &IfName) -> Vec<&'a [u8]> {
    let name = |rule: Rule<'a>| if let Who::Group(name) = rule.who { Some(name) } else { None };
    let mut names: Vec<_> = rules(text, bridge).filter_map(name).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Tells whether the ports of a bridge are kept apart: where more than one user may have some, unless each line of the
/// bridge says `open`.
///
/// One line with `open` does not suffice: a port that is not isolated reaches those that are. A user's name and his uid
/// count as two users, since a file does not say that they are one.
pub fn isolates(text: &[u8], bridge: &IfName) -> bool {
    let rules: Vec<Rule<'_>> = rules(text, bridge).collect();
    let several = rules.windows(2).any(|pair| pair[0].who != pair[1].who);
    let group = rules.iter().any(|rule| matches!(rule.who, Who::Gid(_) | Who::Group(_)));
    (several || group) && !is_open(text, bridge)
}

/// Tells whether each line of a bridge says `open`: its ports need not be kept apart from any other.
pub fn is_open(text: &[u8], bridge: &IfName) -> bool {
    rules(text, bridge).all(|rule| rule.open)
}

/// Returns the lines that cannot be read, for messages: none of them grants anything.
pub fn bad_lines(text: &[u8]) -> Vec<BadLine> {
    lines::bad(text, rule).collect()
}

impl Asker<'_> {
    /// Returns to whom the devices of a line are counted that means this user: by the whole name, never by a part of it.
    fn owner(&self, who: Who<'_>) -> Option<Owner> {
        let member = |is: &dyn Fn(&Group) -> bool| self.groups.iter().find(|group| is(group));
        match who {
            Who::Uid(uid) => (uid == self.uid).then_some(Owner::User(uid)),
            Who::User(name) => (self.name == Some(name)).then_some(Owner::User(self.uid)),
            Who::Gid(gid) => member(&|group| group.gid == gid).map(|group| Owner::Group(group.gid)),
            Who::Group(name) => {
                member(&|group| group.name.as_deref() == Some(name)).map(|group| Owner::Group(group.gid))
            }
        }
    }
}

fn rules<'a>(text: &'a [u8], bridge: &IfName) -> impl Iterator<Item = Rule<'a>> {
    let parsed = lines::lines(text).filter_map(|(_, line)| rule(line).ok());
    parsed.filter(move |rule| rule.bridge == *bridge)
}

fn rule(line: &[u8]) -> Result<Rule<'_>, Reason> {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    if line.len() > LINE_CAP {
        return Err(Reason::TooLong);
    }
    if line.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
        return Err(Reason::Control);
    }
    // LXC takes the spaces for an empty owner and skips the line. To grant more than LXC would surprise.
    if line.first().is_some_and(is_space) {
        return Err(Reason::Indented);
    }
    let mut fields = line.split(is_space).filter(|field| !field.is_empty());
    let (Some(owner), Some(kind), Some(bridge), Some(number)) =
        (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err(Reason::Fields);
    };
    let who = who(owner).ok_or(Reason::Owner)?;
    if kind != b"veth" {
        return Err(Reason::Kind);
    }
    let bridge = str::from_utf8(bridge).ok().and_then(|name| name.parse().ok()).ok_or(Reason::Bridge)?;
    let number = decimal::parse(number).filter(|number| *number <= NUMBER_CAP).ok_or(Reason::Number)?;
    let open = rest(&mut fields).ok_or(Reason::Fields)?;
    Ok(Rule { who, bridge, number: number.min(u64::from(MOST)) as u32, open })
}

/// Reads what follows the number: nothing, `open`, a comment. Returns whether it says `open`.
fn rest<'a>(fields: &mut impl Iterator<Item = &'a [u8]>) -> Option<bool> {
    let ends = |field: Option<&[u8]>| field.is_none_or(|field| field.starts_with(b"#"));
    match fields.next() {
        Some(b"open") => ends(fields.next()).then_some(true),
        other => ends(other).then_some(false),
    }
}

/// Reads the owner. Digits are an id and nothing else: a user whose login name is `1000` must not get what uid 1000 has.
fn who(owner: &[u8]) -> Option<Who<'_>> {
    let (group, name) = match owner.strip_prefix(b"@") {
        Some(name) => (true, name),
        None => (false, owner),
    };
    if name.is_empty() || owner.len() > OWNER_CAP {
        return None;
    }
    if !name.iter().all(u8::is_ascii_digit) {
        return Some(if group { Who::Group(name) } else { Who::User(name) });
    }
    // The last id of 32 bits means "no id" to the kernel.
    let id = decimal::parse(name).and_then(|id| u32::try_from(id).ok()).filter(|id| *id != u32::MAX)?;
    Some(if group { Who::Gid(id) } else { Who::Uid(id) })
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "the line is longer than 4096 bytes",
            Self::Control => "the line holds a control character",
            Self::Indented => "the line begins with a space",
            Self::Fields => "expected OWNER veth BRIDGE NUMBER [open]",
            Self::Owner => "the owner is not a user name, a uid, or either of a group with @",
            Self::Kind => "the type is not veth",
            Self::Bridge => "the bridge is not the name of an interface",
            Self::Number => "the number is not a plain decimal number below 2147483648",
        })
    }
}

#[cfg(test)]
mod tests;
