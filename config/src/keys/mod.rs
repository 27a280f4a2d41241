//! THE TABLE: every key of the configuration language as one item.
//!
//! [`TABLE`] holds the keys in the order in which LXC lists them, [`DEVICE_KEYS`] those below `lxc.net.N`. An item
//! says how its key is written, what it means, what it is by default, whether it works for a container of an
//! ordinary user, and which names of LXC 1 and 2 it replaces; and it carries the acts of taking, showing and
//! clearing the value. Whoever adds a key adds an item and a field of [`Config`], nothing else.

mod acts;
mod field;
mod network;
mod table;

pub use field::Slot;
pub use network::DEVICE_KEYS;
pub use table::TABLE;

pub(crate) use acts::TMPFS_SIZE;

/// Writes words so that `lxc.init.cmd` and its kin split into the same ones.
pub fn command_line(words: &[String]) -> String {
    acts::show_command(&Some(words.to_vec()))
}

pub(crate) use field::Access;

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::{Config, Fault, NetDevice, legacy, nearest};

/// One key of the configuration language.
#[derive(Debug)]
pub struct Key {
    /// The name. A family's is the part before the open one; `N` stands for the number of a network device.
    pub name: &'static str,
    /// How the value is written, for people.
    pub syntax: &'static str,
    /// What the key does, in a sentence or two.
    pub doc: &'static str,
    /// How values come together.
    pub shape: Shape,
    /// What an empty value does.
    pub empty: Empty,
    /// Whether it works for a container that an ordinary user starts.
    pub unprivileged: Unprivileged,
    /// Names of LXC 1 and 2 for it.
    pub replaces: &'static [&'static str],
    default: Option<&'static str>,
    pub(crate) access: Access,
}

/// How the values of a key come together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// The last one counts.
    Scalar,
    /// They are added to a list.
    List,
    /// Each name below the key has its own value.
    Family,
    /// The key stands for others: it can be cleared, not set.
    Group,
}

/// What an empty value does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Empty {
    /// It brings the default back.
    Clears,
    /// It means this value.
    Sets(&'static str),
    /// It is refused.
    Refused,
}

/// Whether a key works for a container that an ordinary user starts. All keys are read, whatever they can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unprivileged {
    /// It does.
    Works,
    /// It does, within this limit.
    Partly(&'static str),
    /// It asks for what is always so, as this says.
    Needless(&'static str),
    /// It cannot.
    Never {
        /// Why not.
        why: &'static str,
        /// The nearest thing that can.
        instead: &'static str,
    },
    /// It could, and Bryo does not do it yet; meanwhile this holds.
    NotYet(&'static str),
    /// It is for another command than a start, which does not do it yet.
    Unused(&'static str),
}

impl Unprivileged {
    /// Returns the answer in words, for people.
    pub fn text(self) -> String {
        match self {
            Self::Works => "works".to_owned(),
            Self::Partly(limit) => format!("within limits: {limit}"),
            Self::Needless(so) => format!("not needed: {so}"),
            Self::Never { why, instead } => format!("no: {why}; instead: {instead}"),
            Self::NotYet(meanwhile) | Self::Unused(meanwhile) => format!("not yet: {meanwhile}"),
        }
    }
}

impl Key {
    /// Returns what holds while the key is not set, for people.
    pub fn default_text(&self) -> String {
        // The keys of a device have something to show where there is one.
        let mut config = Config::default();
        config.net.insert(0, NetDevice::default());
        let shown = || (self.access.show)(&config, &Slot::default());
        self.default.map(str::to_owned).unwrap_or_else(|| shown().unwrap_or_default().trim_end().to_owned())
    }

    const fn shape(mut self, shape: Shape) -> Self {
        self.shape = shape;
        self
    }

    const fn empty(mut self, empty: Empty) -> Self {
        self.empty = empty;
        self
    }

    const fn partly(mut self, limit: &'static str) -> Self {
        self.unprivileged = Unprivileged::Partly(limit);
        self
    }

    const fn needless(mut self, so: &'static str) -> Self {
        self.unprivileged = Unprivileged::Needless(so);
        self
    }

    const fn never(mut self, why: &'static str, instead: &'static str) -> Self {
        self.unprivileged = Unprivileged::Never { why, instead };
        self
    }

    const fn not_yet(mut self, meanwhile: &'static str) -> Self {
        self.unprivileged = Unprivileged::NotYet(meanwhile);
        self
    }

    const fn unused(mut self, meanwhile: &'static str) -> Self {
        self.unprivileged = Unprivileged::Unused(meanwhile);
        self
    }

    /// Says what a container does not get by this key, if there is nothing that it gets.
    fn note(&self) -> Option<String> {
        let note = match self.unprivileged {
            Unprivileged::Never { why, instead } => {
                format!("{} has no effect: {why}; instead: {instead}", self.name)
            }
            Unprivileged::NotYet(meanwhile) => format!("{} has no effect yet: {meanwhile}", self.name),
            _ => return None,
        };
        Some(note.replace('`', ""))
    }

    /// Tells whether a configuration says something else by this key than one without any line.
    fn is_set(&self, config: &Config) -> bool {
        let shown = |config: &Config| (self.access.show)(config, &Slot::default()).ok();
        shown(config) != shown(&Config::default())
    }

    const fn replaces(mut self, names: &'static [&'static str]) -> Self {
        self.replaces = names;
        self
    }

    const fn default(mut self, text: &'static str) -> Self {
        self.default = Some(text);
        self
    }
}

const fn key(name: &'static str, syntax: &'static str, doc: &'static str, access: Access) -> Key {
    Key {
        name,
        syntax,
        doc,
        shape: Shape::Scalar,
        empty: Empty::Clears,
        unprivileged: Unprivileged::Works,
        replaces: &[],
        default: None,
        access,
    }
}

/// The head of all keys of network devices.
const NET: &str = "lxc.net.";
/// The longest open part of a name, as in LXC.
const LONGEST_SUBKEY: usize = 255;

/// Returns the item of a key, and what fills the open part of its name.
///
/// # Errors
/// A key that does not exist, with the nearest that does; a name of LXC 1 or 2, with today's.
pub fn find(name: &str) -> Result<(&'static Key, Slot<'_>), Fault> {
    lookup(name).ok_or_else(|| match legacy::plain(name) {
        Some(new) if lookup(&new).is_some() => Fault::Renamed { old: name.to_owned(), new },
        Some(new) => Fault::UnknownKey { key: name.to_owned(), nearest: nearest_key(&new) },
        None => unknown(name),
    })
}

/// Returns the fault of a key that does not exist and never did.
pub(crate) fn unknown(name: &str) -> Fault {
    Fault::UnknownKey { key: name.to_owned(), nearest: nearest_key(name) }
}

/// Returns the item of a key that exists.
pub(crate) fn lookup(name: &str) -> Option<(&'static Key, Slot<'_>)> {
    exact(name).or_else(|| device(name)).or_else(|| member(name))
}

/// The table by name, and its families: listing a thousand containers looks up some hundred thousand keys.
static BY_NAME: LazyLock<HashMap<&str, &Key>> =
    LazyLock::new(|| TABLE.iter().map(|item| (item.name, item)).collect());
static FAMILIES: LazyLock<Vec<&Key>> =
    LazyLock::new(|| TABLE.iter().filter(|item| item.shape == Shape::Family).collect());

fn exact(name: &str) -> Option<(&'static Key, Slot<'_>)> {
    BY_NAME.get(name).map(|item| (*item, Slot::default()))
}

fn device(name: &str) -> Option<(&'static Key, Slot<'_>)> {
    let rest = name.strip_prefix(NET)?;
    let (index, sub) = rest.split_once('.').map_or((rest, None), |(index, sub)| (index, Some(sub)));
    let index = index.bytes().all(|digit| digit.is_ascii_digit()).then(|| index.parse().ok())??;
    let item = DEVICE_KEYS.iter().find(|item| device_part(item) == sub)?;
    Some((item, Slot { index, name: "" }))
}

/// Returns the part of a device key's name after `lxc.net.N.`.
fn device_part(item: &Key) -> Option<&'static str> {
    item.name.strip_prefix("lxc.net.N.")
}

fn member(name: &str) -> Option<(&'static Key, Slot<'_>)> {
    let below =
        FAMILIES.iter().filter_map(|item| Some((*item, name.strip_prefix(item.name)?.strip_prefix('.')?)));
    let (item, rest) = below.max_by_key(|(item, _)| item.name.len())?;
    let valid = !rest.is_empty() && rest.len() <= LONGEST_SUBKEY && rest.chars().all(is_of_a_name);
    let is_slip = matches!(item.name, "lxc.cgroup" | "lxc.cgroup2") && is_nearly_a_key_of_cgroups(rest);
    (valid && !is_slip).then_some((item, Slot { index: 0, name: rest }))
}

/// Tells whether the open part of `lxc.cgroup` or `lxc.cgroup2` is a slip in one of the keys `lxc.cgroup.dir` and `lxc.cgroup.relative`,
/// whose heads are near the name of no controller. LXC: takes it for a file of cgroup v1.
fn is_nearly_a_key_of_cgroups(rest: &str) -> bool {
    const HEADS: [&str; 2] = ["dir", "relative"];
    let head = rest.split('.').next().unwrap_or(rest);
    HEADS.contains(&head) || nearest::of(head, HEADS).is_some()
}

/// Tells whether the open part of a name can hold a character: with a blank, an `=` or a line break it would be
/// another key, or another line, when it is read again.
fn is_of_a_name(c: char) -> bool {
    !c.is_whitespace() && !c.is_control() && c != '='
}

/// Returns the key that was probably meant; what is longer than any key is none with a slip.
fn nearest_key(name: &str) -> Option<String> {
    if name.len() > 2 * LONGEST_SUBKEY {
        return None;
    }
    let mut lower = name.to_ascii_lowercase();
    if lower.strip_prefix("lxc.cgroup2.").is_some_and(is_nearly_a_key_of_cgroups) {
        lower = lower.replacen('2', "", 1);
    }
    let parts: Vec<&str> = lower.split('.').collect();
    // A group takes no value.
    let plain = TABLE.iter().filter(|item| item.shape != Shape::Group).map(|item| match item.shape {
        // The open part of a family is taken as it was written.
        Shape::Family if parts.len() > item.name.split('.').count() => {
            let rest = &parts[item.name.split('.').count()..];
            format!("{}.{}", item.name, rest.join("."))
        }
        _ => item.name.to_owned(),
    });
    let index = parts.get(2).filter(|part| part.parse::<u32>().is_ok()).unwrap_or(&"0");
    let devices = DEVICE_KEYS.iter().filter_map(device_part).map(|part| format!("{NET}{index}.{part}"));
    let found = nearest::of(&lower, plain.filter(|name| takes_a_value(name)).chain(devices));
    renamed_part(name).or(found.map(|found| with_open_part_of(name, found)))
}

/// Returns the key of a device that had its last part's name in LXC 1 and 2: `lxc.net.0.ipv4`.
fn renamed_part(name: &str) -> Option<String> {
    let today = legacy::plain(&format!("lxc.network.{}", name.strip_prefix(NET)?))?;
    (today != name && takes_a_value(&today)).then_some(today)
}

/// Returns a member of a family with the open part as it was written: its case counts.
fn with_open_part_of(written: &str, found: String) -> String {
    let Some((item, slot)) = lookup(&found) else { return found };
    let at = written.len().saturating_sub(slot.name.len());
    match written.get(at..).filter(|part| !part.is_empty() && part.eq_ignore_ascii_case(slot.name)) {
        Some(part) => format!("{}.{part}", item.name),
        None => found,
    }
}

/// Tells whether a line can set a key: it exists, and is not a family as a whole.
fn takes_a_value(name: &str) -> bool {
    lookup(name).is_some_and(|(item, slot)| match item.shape {
        Shape::Family => !slot.name.is_empty(),
        Shape::Group => false,
        Shape::Scalar | Shape::List => true,
    })
}

/// Returns the names of the keys that `get` can be asked for, in LXC's order: all of them for an empty `prefix`, the
/// parts below a device for `lxc.net.N`.
pub fn names(config: &Config, prefix: &str) -> Vec<&'static str> {
    if prefix.is_empty() {
        return TABLE.iter().map(|item| item.name).collect();
    }
    let Some((_, slot)) = device(prefix) else { return Vec::new() };
    let Some(device) = config.net.get(&slot.index) else { return Vec::new() };
    let fits = |part: &&str| match part.split('.').next().and_then(|kind| kind.parse().ok()) {
        Some(kind) => device.kind == kind,
        None => true,
    };
    DEVICE_KEYS.iter().filter_map(device_part).filter(fits).collect()
}

/// Says which keys of a configuration a start does nothing with, and why, a sentence each. Those of network devices are for
/// whoever makes the devices to tell of.
pub fn notes(config: &Config) -> impl Iterator<Item = String> {
    TABLE.iter().filter(|item| item.is_set(config)).filter_map(Key::note)
}

/// Names all keys that take a value, for the completion of a shell: a family by the part before the open one, with its
/// dot, and devices by the first.
pub fn completions() -> impl Iterator<Item = String> {
    let valued = TABLE.iter().chain(DEVICE_KEYS).filter(|item| item.shape != Shape::Group);
    valued.map(|item| match item.shape {
        Shape::Family => format!("{}.", item.name),
        _ => item.name.replace(".N", ".0"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_found_behind_the_exact_names() {
        let found = |name| find(name).map(|(item, slot)| (item.name, slot.index, slot.name)).unwrap();
        assert_eq!(found("lxc.cgroup.dir"), ("lxc.cgroup.dir", 0, ""));
        assert_eq!(found("lxc.cgroup.memory.limit_in_bytes"), ("lxc.cgroup", 0, "memory.limit_in_bytes"));
        assert_eq!(found("lxc.cgroup2.memory.max"), ("lxc.cgroup2", 0, "memory.max"));
        assert_eq!(found("lxc.net.12.veth.pair"), ("lxc.net.N.veth.pair", 12, ""));
        assert_eq!(found("lxc.net.3"), ("lxc.net.N", 3, ""));
        let long = format!("lxc.sysctl.{}", "a".repeat(256));
        for unknown in [
            "lxc.net.a.type",
            "lxc.net.-1.type",
            "lxc.net.",
            "lxc.sysctl.",
            "lxc.sysctl.a b",
            "lxc.sysctl.a=b",
            "lxc.cgroup2.a\nlxc.arch",
            "lxc.hook.bogus",
            "foo",
            &long,
        ] {
            assert!(find(unknown).is_err(), "{unknown}");
        }
    }

    #[test]
    fn the_nearest_key_is_named() {
        for (wrong, right) in [
            ("lxc.uts.nmae", "lxc.uts.name"),
            ("lxc.net.3.lnik", "lxc.net.3.link"),
            ("lxc.cgroups2.memory.max", "lxc.cgroup2.memory.max"),
            ("lxc.hook.prestart", "lxc.hook.pre-start"),
            ("lxc.cgroup.dir.montior", "lxc.cgroup.dir.monitor"),
            ("lxc.cgroup.dri", "lxc.cgroup.dir"),
            ("lxc.cgroup.relativ", "lxc.cgroup.relative"),
        ] {
            assert_eq!(find(wrong).unwrap_err().suggestion().unwrap(), format!("write {right}"));
        }
        assert_eq!(find("lxc.bogus").unwrap_err().suggestion(), None);
    }

    #[test]
    fn what_is_completed_is_a_key() {
        let whole = |word: String| if word.ends_with('.') { word + "x" } else { word };
        assert!(completions().map(whole).all(|name| find(&name).is_ok()));
        let groups = TABLE.iter().chain(DEVICE_KEYS).filter(|item| item.shape == Shape::Group).count();
        assert_eq!(completions().count(), TABLE.len() + DEVICE_KEYS.len() - groups);
    }

    #[test]
    fn names_are_given_once() {
        let mut names: Vec<&str> = TABLE.iter().chain(DEVICE_KEYS).map(|item| item.name).collect();
        let legacy = TABLE.iter().chain(DEVICE_KEYS).flat_map(|item| item.replaces.iter().copied());
        names.extend(legacy);
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn every_item_is_documented() {
        for item in TABLE.iter().chain(DEVICE_KEYS) {
            assert!(item.doc.ends_with('.'), "{}", item.name);
            assert_eq!(item.syntax.is_empty(), item.shape == Shape::Group, "{}", item.name);
            let said = item.unprivileged.text();
            assert!(!said.ends_with(['.', ' ', ':']) && !said.contains(": ;"), "{}: {said}", item.name);
        }
    }

    #[test]
    fn a_device_lists_the_keys_of_its_kind() {
        let mut config = Config::default();
        config.set("lxc.net.0.type", "vlan").unwrap();
        let names = names(&config, "lxc.net.0");
        assert!(names.contains(&"vlan.id") && names.contains(&"link"));
        assert!(!names.iter().any(|name| name.starts_with("veth.")));
    }
}
