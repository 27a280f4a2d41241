//! The acts of keys that are more than one field of their own: families, lists with their own separators, words that
//! are split.

use std::collections::BTreeMap;

use types::{IdExtent, IdKind, NsGid};

use super::field::{Access, Field, Scalar};
use crate::{Capabilities, Config, Fault, LogLevel, Namespace, Prlimit, line, load, nearest, units};

/// `lxc.include`: reading is left to the loader.
pub(super) const INCLUDE: Access = Access {
    set: |config, _, value| load::include_into(config, value),
    show: |_, _| Err(nothing()),
    clear: |_, _| (),
};

/// `lxc.net`: all devices.
pub(super) const NET: Access = Access {
    set: |_, _, _| Err(nothing()),
    show: |config, _| Ok(config.net.values().map(|device| format!("{}\n", device.kind)).collect()),
    clear: |config, _| config.net.clear(),
};

/// `lxc.hook`: all hooks.
pub(super) const HOOKS: Access = Access {
    set: |_, _, _| Err(nothing()),
    show: |_, _| Err(nothing()),
    clear: |config, _| config.hooks.clear(),
};

fn nothing() -> Fault {
    Fault::NothingToShow { key: String::new() }
}

/// The acts of one `lxc.hook.*` key.
macro_rules! hook {
    ($hook:ident) => {
        Access {
            set: |config, _, value| config.hooks.entry(Hook::$hook).or_default().read(value),
            show: |config, _| Ok(config.hooks.get(&Hook::$hook).map(Field::show).unwrap_or_default()),
            clear: |config, _| {
                config.hooks.remove(&Hook::$hook);
            },
        }
    };
}
pub(super) use hook;

/// `lxc.hook.version`.
pub(super) fn read_hook_version(value: &str) -> Result<u8, Fault> {
    units::switch(value).map(u8::from)
}

type Pairs = Vec<(String, String)>;

/// The acts of a family of names and values; `$add` takes a value for a name.
macro_rules! pairs {
    ($field:ident, $family:literal, $show:ident, $add:ident) => {
        Access {
            set: |config, slot, value| $add(&mut config.$field, slot.name, value),
            show: |config, slot| Ok($show(&config.$field, $family, slot.name)),
            clear: |config, slot| {
                config.$field.retain(|(name, _)| !slot.name.is_empty() && name != slot.name)
            },
        }
    };
}
pub(super) use pairs;

/// Adds a value beside the earlier ones of the same name: files of cgroups take several.
pub(super) fn add_cgroup(pairs: &mut Pairs, name: &str, value: &str) -> Result<(), Fault> {
    if name.contains('/') || matches!(name, "." | "..") {
        return Err(Fault::value(name, "the name of a cgroup file, such as memory.max"));
    }
    if pairs.len() == MOST_NAMES {
        return Err(Fault::TooManyNames { limit: MOST_NAMES });
    }
    pairs.push((name.to_owned(), value.to_owned()));
    Ok(())
}

/// Sets a kernel parameter. Each part of the name becomes a directory, so none may be empty or climb.
pub(super) fn set_sysctl(pairs: &mut Pairs, name: &str, value: &str) -> Result<(), Fault> {
    if name.split(['.', '/']).any(str::is_empty) {
        return Err(Fault::value(name, "the name of a kernel parameter, such as net.ipv4.ip_forward"));
    }
    replace(pairs, name, value)
}

/// Sets a file below `/proc/PID`.
pub(super) fn set_proc(pairs: &mut Pairs, name: &str, value: &str) -> Result<(), Fault> {
    if name.contains('/') || name.starts_with('.') {
        return Err(Fault::value(name, "the name of a file of /proc/PID, such as oom_score_adj"));
    }
    replace(pairs, name, value)
}

/// How many names, and for files of cgroups values, a family may have: more than the kernel has parameters, and few enough to look through for each line.
const MOST_NAMES: usize = 4096;

fn replace(pairs: &mut Pairs, name: &str, value: &str) -> Result<(), Fault> {
    match pairs.iter().position(|(known, _)| known == name) {
        Some(at) => pairs[at].1 = value.to_owned(),
        None if pairs.len() == MOST_NAMES => return Err(Fault::TooManyNames { limit: MOST_NAMES }),
        None => pairs.push((name.to_owned(), value.to_owned())),
    }
    Ok(())
}

/// Shows the values of a name one a line, or all pairs as lines of a configuration.
pub(super) fn show_lines(pairs: &Pairs, family: &str, name: &str) -> String {
    match name {
        "" => show_all(pairs, family),
        name => {
            pairs.iter().filter(|(known, _)| known == name).map(|(_, value)| format!("{value}\n")).collect()
        }
    }
}

/// Shows the value of a name, or all pairs as lines of a configuration.
pub(super) fn show_one(pairs: &Pairs, family: &str, name: &str) -> String {
    match name {
        "" => show_all(pairs, family),
        name => {
            pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone()).unwrap_or_default()
        }
    }
}

fn show_all(pairs: &Pairs, family: &str) -> String {
    pairs.iter().map(|(name, value)| line::setting(&format!("{family}.{name}"), value) + "\n").collect()
}

/// `lxc.prlimit.*`.
pub(super) const PRLIMIT: Access = Access {
    set: |config, slot, value| {
        let limit = Prlimit::read(slot.name, value)?;
        match config.prlimits.iter_mut().find(|known| known.name == limit.name) {
            Some(known) => *known = limit,
            None => config.prlimits.push(limit),
        }
        Ok(())
    },
    show: |config, slot| {
        let pairs = config.prlimits.iter().map(|limit| (limit.name.clone(), limit.to_string())).collect();
        Ok(show_one(&pairs, "lxc.prlimit", slot.name))
    },
    clear: |config, slot| config.prlimits.retain(|limit| !slot.name.is_empty() && limit.name != slot.name),
};

/// `lxc.namespace.share.*`.
pub(super) const NAMESPACE_SHARE: Access = Access {
    set: |config, slot, value| {
        config.namespace_share.insert(Namespace::read(slot.name)?, value.to_owned());
        Ok(())
    },
    show: |config, slot| match slot.name {
        "" => {
            let pairs =
                config.namespace_share.iter().map(|(ns, from)| (ns.to_string(), from.clone())).collect();
            Ok(show_all(&pairs, "lxc.namespace.share"))
        }
        name => Ok(config.namespace_share.get(&Namespace::read(name)?).cloned().unwrap_or_default()),
    },
    clear: |config, slot| match (slot.name, Namespace::read(slot.name)) {
        ("", _) => config.namespace_share = BTreeMap::new(),
        (_, Ok(namespace)) => {
            config.namespace_share.remove(&namespace);
        }
        (_, Err(_)) => (),
    },
};

/// `lxc.namespace.clone`.
pub(super) const NAMESPACE_CLONE: Access = Access {
    set: |config, _, value| {
        if config.namespace_keep.is_some() {
            return Err(Fault::Exclusive { key: "lxc.namespace.clone", other: "lxc.namespace.keep" });
        }
        add_namespaces(&mut config.namespace_clone, value)
    },
    show: |config, _| Ok(show_namespaces(&config.namespace_clone)),
    clear: |config, _| config.namespace_clone = None,
};

/// `lxc.namespace.keep`.
pub(super) const NAMESPACE_KEEP: Access = Access {
    set: |config, _, value| {
        if config.namespace_clone.is_some() {
            return Err(Fault::Exclusive { key: "lxc.namespace.keep", other: "lxc.namespace.clone" });
        }
        add_namespaces(&mut config.namespace_keep, value)
    },
    show: |config, _| Ok(show_namespaces(&config.namespace_keep)),
    clear: |config, _| config.namespace_keep = None,
};

fn add_namespaces(set: &mut Option<Vec<Namespace>>, value: &str) -> Result<(), Fault> {
    let words: Vec<&str> = value.split_ascii_whitespace().collect();
    if words.is_empty() {
        // An empty list would be none at all, or all.
        return Err(Fault::value(value, "the name of a namespace"));
    }
    let mut all = set.clone().unwrap_or_default();
    for word in words {
        all.push(Namespace::read(word)?);
    }
    all.sort_unstable();
    all.dedup();
    *set = Some(all);
    Ok(())
}

fn show_namespaces(set: &Option<Vec<Namespace>>) -> String {
    set.iter().flatten().map(|namespace| format!("{namespace}\n")).collect()
}

/// `lxc.cap.drop`. Clearing it or `lxc.cap.keep` clears both, as in LXC.
pub(super) const CAP_DROP: Access = Access {
    set: |config, _, value| config.capabilities.drop_more(value),
    show: |config, _| match &config.capabilities {
        Capabilities::Drop(list) => Ok(list.iter().map(|one| format!("{one}\n")).collect()),
        _ => Ok(String::new()),
    },
    clear: |config, _| config.capabilities = Capabilities::Default,
};

/// `lxc.cap.keep`.
pub(super) const CAP_KEEP: Access = Access {
    set: |config, _, value| config.capabilities.keep_more(value),
    show: |config, _| match &config.capabilities {
        Capabilities::Keep(list) if list.is_empty() => Ok("none\n".to_owned()),
        Capabilities::Keep(list) => Ok(list.iter().map(|one| format!("{one}\n")).collect()),
        _ => Ok(String::new()),
    },
    clear: |config, _| config.capabilities = Capabilities::Default,
};

/// `lxc.idmap`.
pub(super) const IDMAP: Access = Access {
    set: |config, _, value| {
        let (kind, extent) = read_extent(value)?;
        config.idmap.push(kind, extent);
        Ok(())
    },
    show: |config, _| {
        let lines = |kind: IdKind| {
            config.idmap.extents(kind).iter().map(move |extent| format!("{} {extent}", kind.letter()))
        };
        let all: Vec<String> = lines(IdKind::User).chain(lines(IdKind::Group)).collect();
        Ok(all.join("\n"))
    },
    clear: |config, _| config.idmap = Config::default().idmap,
};

fn read_extent(value: &str) -> Result<(IdKind, IdExtent), Fault> {
    let wrong = || Fault::value(value, "a line of an id map, such as 'u 0 100000 65536'");
    let fields: Vec<&str> = value.split_ascii_whitespace().collect();
    let [letter, inside, outside, count] = fields[..] else { return Err(wrong()) };
    let kind = match letter {
        "u" => IdKind::User,
        "g" => IdKind::Group,
        "b" => {
            return Err(
                Fault::value("b", "u or g").meaning(Some("one line with u and one with g".to_owned()))
            );
        }
        other => return Err(Fault::value(other, "u or g")),
    };
    let number = |text: &str| text.parse::<u64>().map_err(|_| wrong());
    let extent = IdExtent::new(number(inside)?, number(outside)?, number(count)?);
    extent
        .map(|extent| (kind, extent))
        .map_err(|_| Fault::value(value, "a range of ids from 0 to 4294967294"))
}

/// `lxc.init.groups`: separated by commas, without blanks.
pub(super) const INIT_GROUPS: Access = Access {
    set: |config, _, value| {
        let ids: Result<Vec<NsGid>, Fault> = value.split(',').map(NsGid::parse).collect();
        config.init_groups.extend(ids?);
        Ok(())
    },
    show: |config, _| {
        let ids: Vec<String> = config.init_groups.iter().map(NsGid::to_string).collect();
        Ok(ids.join(","))
    },
    clear: |config, _| config.init_groups.clear(),
};

/// `lxc.group`: separated by blanks; a comma is part of a name.
pub(super) const GROUP: Access = Access {
    set: |config, _, value| {
        config.groups.extend(value.split_ascii_whitespace().map(str::to_owned));
        Ok(())
    },
    show: |config, _| Ok(config.groups.show()),
    clear: |config, _| config.groups.clear(),
};

/// Splits a command at blanks. Quotes of both kinds hold words together; nothing is escaped.
pub(super) fn read_command(value: &str) -> Result<Option<Vec<String>>, Fault> {
    let mut words: Vec<String> = Vec::new();
    let (mut word, mut quote) = (None::<String>, None);
    for c in value.chars() {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            (c, Some(_)) => word.get_or_insert_default().push(c),
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, None) if c.is_ascii_whitespace() => words.extend(word.take()),
            (c, None) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    if quote.is_some() {
        return Err(Fault::value(value, "a command: a quote is not closed"));
    }
    Ok((!words.is_empty()).then_some(words))
}

/// Shows a command so that it splits into the same words again.
pub(super) fn show_command(words: &Option<Vec<String>>) -> String {
    let quoted: Vec<String> = words.iter().flatten().map(|word| quoted(word)).collect();
    quoted.join(" ")
}

fn quoted(word: &str) -> String {
    if !word.is_empty() && !word.contains(|c: char| c.is_ascii_whitespace() || c == '"' || c == '\'') {
        return word.to_owned();
    }
    // A word with both quotes is put together from parts: those between double quotes, and the double quotes.
    let parts: Vec<String> = word.split('"').map(|part| format!("\"{part}\"")).collect();
    parts.join("'\"'")
}

/// `lxc.rootfs.options`: options that only mount entries have are refused.
pub(super) fn read_rootfs_options(value: &str) -> Result<Option<String>, Fault> {
    let foreign =
        |option: &&str| matches!(option.split('=').next(), Some("create" | "optional" | "relative"));
    match value.split(',').find(foreign) {
        Some(option) => Err(Fault::value(option, "an option for a root file system")),
        None => Ok(Some(value.to_owned())),
    }
}

/// A cgroup of `lxc.cgroup.dir*`: below the cgroup that the container gets anyway, so neither absolute nor climbing.
pub(super) fn read_cgroup_dir(value: &str) -> Result<Option<String>, Fault> {
    if value.starts_with('/') || value.split('/').any(|part| part == "..") {
        return Err(Fault::value(value, "a relative path without '..'"));
    }
    Ok(Some(value.to_owned()))
}

/// `lxc.seccomp.notify.proxy`.
pub(super) fn read_proxy(value: &str) -> Result<Option<String>, Fault> {
    match value.strip_prefix("unix:").filter(|path| path.starts_with(['/', '@'])) {
        Some(path) => Ok(Some(path.to_owned())),
        None => {
            let meant = value.starts_with('/').then(|| format!("unix:{value}"));
            Err(Fault::value(value, "unix:/PATH or unix:@NAME").meaning(meant))
        }
    }
}

/// Shows a proxy with its scheme, so that it reads back.
pub(super) fn show_proxy(proxy: &Option<String>) -> String {
    proxy.as_ref().map(|path| format!("unix:{path}")).unwrap_or_default()
}

/// Shows `lxc.time.offset.boot`.
pub(super) fn show_boot_offset(offset: &Option<i64>) -> String {
    units::show_offset(*offset, " ")
}

/// Shows `lxc.time.offset.monotonic`. LXC: without the blank that it puts into the other.
pub(super) fn show_monotonic_offset(offset: &Option<i64>) -> String {
    units::show_offset(*offset, "")
}

/// Facilities of `lxc.log.syslog`.
const FACILITIES: [&str; 9] =
    ["daemon", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"];

/// `lxc.log.syslog`.
pub(super) fn read_facility(value: &str) -> Result<Option<String>, Fault> {
    if FACILITIES.contains(&value) {
        return Ok(Some(value.to_owned()));
    }
    let meant = nearest::of(value, FACILITIES);
    Err(Fault::value(value, "a facility (daemon, local0 to local7)").meaning(meant))
}

/// `lxc.log.level`: a level, or `NOTSET` for none.
pub(super) fn read_level(value: &str) -> Result<Option<LogLevel>, Fault> {
    if value.eq_ignore_ascii_case("NOTSET") { Ok(None) } else { value.parse().map(Some) }
}

/// The size of the tmpfs on `/dev`.
pub(crate) const TMPFS_SIZE: u64 = 500_000;

/// `lxc.autodev.tmpfs.size`: 0 is the usual size, as in LXC; a tmpfs of size 0 would have no limit.
pub(super) fn read_tmpfs_size(value: &str) -> Result<u64, Fault> {
    units::size(value).map(|size| if size == 0 { TMPFS_SIZE } else { size })
}

/// Shows no level as `NOTSET`.
pub(super) fn show_level(level: &Option<LogLevel>) -> String {
    level.map_or("NOTSET".to_owned(), |level| level.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_split_at_blanks_outside_quotes() {
        let split = |text| read_command(text).unwrap().unwrap();
        assert_eq!(
            split("/bin/sh -c 'a  b' \"it's\" x'y'z ''"),
            ["/bin/sh", "-c", "a  b", "it's", "xyz", ""]
        );
        assert!(read_command("/bin/sh 'open").is_err());
    }

    #[test]
    fn a_shown_command_splits_into_the_same_words() {
        for word in ["a", "", "a b", "it's", "say \"x\"", "both ' and \"", "\"", "\t"] {
            let words = Some(vec!["/x".to_owned(), word.to_owned()]);
            assert_eq!(read_command(&show_command(&words)), Ok(words), "{word}");
        }
    }

    #[test]
    fn no_size_of_dev_is_the_usual_one() {
        for (value, size) in [("0", TMPFS_SIZE), ("0k", TMPFS_SIZE), ("1", 1), ("1M", 1 << 20)] {
            assert_eq!(read_tmpfs_size(value), Ok(size), "{value}");
        }
        assert_eq!(Config::default().autodev_tmpfs_size, TMPFS_SIZE);
    }

    #[test]
    fn names_that_would_climb_out_of_their_directory_are_refused() {
        let mut config = Config::default();
        for key in [
            "lxc.cgroup2.../x",
            "lxc.cgroup2..",
            "lxc.cgroup2...",
            "lxc.cgroup...",
            "lxc.sysctl.net..x",
            "lxc.sysctl...",
            "lxc.proc.../1/x",
            "lxc.proc...",
        ] {
            assert!(config.set(key, "1").is_err(), "{key}");
        }
        for value in ["/a", "..", "a/../b"] {
            assert!(config.set("lxc.cgroup.dir", value).is_err(), "{value}");
        }
    }
}
