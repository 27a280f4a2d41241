//! `bryo idmap`: the id map in words.

use container::host::{Caller, HostFacts};
use container::idmap::{self, NotGranted};
use container::{Result, remap};
use types::{ContainerName, HostGid, HostUid, IdExtent, IdMap, IdRange, NsGid, NsUid};

use crate::context::Context;
use crate::json;
use crate::output::{self, Cannot, Outcome};
use crate::user::User;

/// Arguments of `bryo idmap`.
#[derive(Debug, clap::Args)]
pub(super) struct Idmap {
    /// The container
    name: ContainerName,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What is known of a container's ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    /// The container.
    pub(crate) name: String,
    /// Its map.
    pub(crate) map: IdMap,
    /// The map stands in the configuration; else it is what a start would take.
    pub(crate) is_written: bool,
    /// Who asks.
    pub(crate) caller: Caller,
    /// Who the caller is inside; root too.
    pub(crate) me: Option<Me>,
    /// The lines that are not granted today.
    pub(crate) not_granted: Vec<NotGranted>,
    /// A shift of the files was interrupted.
    pub(crate) is_interrupted: bool,
}

/// The caller as a user inside.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Me {
    /// The name, where the container's passwd file has one.
    pub(crate) name: Option<String>,
    /// User id inside.
    pub(crate) uid: u32,
    /// Group id inside.
    pub(crate) gid: u32,
}

impl Idmap {
    pub(super) fn run(self, context: &Context) -> Outcome {
        let known = self.look(context).cannot("tell about the ids of", &self.name)?;
        match self.json {
            true => output::print_line(json::text(&json::Ids::of(&known))),
            false => output::print(words(&known)),
        }
        Ok(0)
    }

    fn look(&self, context: &Context) -> Result<Known> {
        let place = context.settled(&self.name)?;
        let config = context.config(&place)?.config;
        let facts = context.facts()?;
        let is_written = !config.idmap.is_empty();
        let map = if is_written { config.idmap.clone() } else { idmap::choose(facts) };
        Ok(Known {
            name: self.name.to_string(),
            is_written,
            me: me(&map, &config, facts),
            not_granted: idmap::not_granted(&map, facts),
            is_interrupted: remap::is_interrupted(&place),
            caller: facts.caller.clone(),
            map,
        })
    }
}

/// Returns who the caller is inside.
pub(super) fn me(map: &IdMap, config: &config::Config, facts: &HostFacts) -> Option<Me> {
    let root = || (map.ns_uid(facts.caller.uid) == Some(NsUid(0))).then(User::root);
    let user = User::me(map, config, &facts.caller).or_else(root)?;
    Some(Me { name: user.name, uid: user.uid, gid: user.gid })
}

/// One line: what it is about, and what is so.
type Line = (&'static str, String);

fn words(known: &Known) -> String {
    let map = &known.map;
    let mut lines: Vec<Line> = Vec::new();
    if !known.is_written {
        lines.push(("note", "the configuration has no lxc.idmap; a start would take this map".to_owned()));
    }
    lines.extend(extents("users", &map.uids, known.caller.uid.0));
    lines.extend(extents("groups", &map.gids, known.caller.gid.0));
    lines.push(("inside", made_inside(known)));
    lines.extend(
        known
            .me
            .iter()
            .filter(|me| me.uid != 0)
            .map(|me| ("", format!("a file that {} makes belongs outside to you", named(me)))),
    );
    lines.push(("outside", made_outside(known)));
    lines
        .push(("", "a file of any id outside that is not above belongs inside to nobody (65534)".to_owned()));
    lines.extend(today(known));
    lines.iter().map(|(label, text)| format!("{label:<10} {text}\n")).collect()
}

fn extents(label: &'static str, extents: &[IdExtent], own: u32) -> Vec<Line> {
    let label_of = |n| if n == 0 { label } else { "" };
    let line = |(n, extent): (usize, &IdExtent)| {
        let you = if is_own(*extent, own) { ", you" } else { "" };
        (label_of(n), format!("{} inside are {} outside{you}", span(extent.inside), span(extent.outside)))
    };
    let one = |(n, extent): (usize, &IdExtent)| {
        let (label, text) = line((n, extent));
        (label, if extent.count() == 1 { text.replace(" inside are ", " inside is ") } else { text })
    };
    extents.iter().enumerate().map(one).collect()
}

fn is_own(extent: IdExtent, own: u32) -> bool {
    extent.count() == 1 && extent.outside.start() == own
}

fn span(range: IdRange) -> String {
    if range.count() == 1 { range.start().to_string() } else { range.to_string() }
}

/// Returns the user in words: `ana (1000)`.
pub(super) fn named(me: &Me) -> String {
    match &me.name {
        Some(name) => format!("{name} ({})", me.uid),
        None => format!("user {}", me.uid),
    }
}

fn made_inside(known: &Known) -> String {
    let (uid, gid) = (known.map.host_uid(NsUid(0)), known.map.host_gid(NsGid(0)));
    match (uid, gid) {
        (Some(uid), _) if uid == known.caller.uid => {
            "a file that root makes belongs outside to you".to_owned()
        }
        (Some(HostUid(uid)), Some(HostGid(gid))) => {
            format!("a file that root makes belongs outside to user {uid} and group {gid}")
        }
        _ => "root has no id".to_owned(),
    }
}

fn made_outside(known: &Known) -> String {
    match &known.me {
        Some(me) if me.uid == 0 => "a file of yours belongs inside to root".to_owned(),
        Some(me) => format!("a file of yours belongs inside to {}", named(me)),
        None => format!(
            "a file of yours belongs inside to nobody (65534); bryo remap --me {} makes you a user inside",
            known.name
        ),
    }
}

fn today(known: &Known) -> Vec<Line> {
    let name = &known.name;
    let mut lines: Vec<Line> = Vec::new();
    for NotGranted { kind, extent, file, granted } in &known.not_granted {
        let instead = match &granted[..] {
            [] => "nothing".to_owned(),
            ranges => ranges.iter().map(|range| span(*range)).collect::<Vec<_>>().join(" and "),
        };
        let letter = kind.letter();
        let text = format!(
            "lxc.idmap = {letter} {extent} is not granted: {file} gives {} {instead}",
            known.caller.label()
        );
        lines.push(("today", text));
    }
    match (known.is_interrupted, lines.is_empty()) {
        (true, _) => lines
            .push(("to do", format!("bryo remap {name} finishes a shift of the files that was interrupted"))),
        (false, false) => {
            lines.push(("to do", format!("bryo remap {name} shifts the files to what is granted today")))
        }
        (false, true) => lines.push(("today", granted(known).to_owned())),
    }
    lines
}

/// Why nothing is missing.
fn granted(known: &Known) -> &'static str {
    let own_alone = idmap::is_own_id_only(&known.map, &known.caller);
    match (known.caller.is_root(), own_alone) {
        (true, _) => "root may use all of these ids",
        (_, true) => "your own id needs no grant",
        _ => "/etc/subuid and /etc/subgid grant all of these ids",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(lines: &[(u64, u64, u64)]) -> Known {
        let extents: Vec<_> = lines.iter().map(|(i, o, c)| IdExtent::new(*i, *o, *c).unwrap()).collect();
        Known {
            name: "web".into(),
            map: IdMap { gids: extents.clone(), uids: extents },
            is_written: true,
            caller: Caller { uid: HostUid(1000), gid: HostGid(1000), name: Some("ana".into()) },
            me: None,
            not_granted: Vec::new(),
            is_interrupted: false,
        }
    }

    #[test]
    fn a_map_with_me_is_told_line_by_line() {
        let map = [(0, 100_000, 1000), (1000, 1000, 1), (1001, 101_001, 64_535)];
        let me = Some(Me { name: Some("ana".into()), uid: 1000, gid: 1000 });
        let text = words(&Known { me, ..known(&map) });
        let expected = "\
users      0-999 inside are 100000-100999 outside
           1000 inside is 1000 outside, you
           1001-65535 inside are 101001-165535 outside
groups     0-999 inside are 100000-100999 outside
           1000 inside is 1000 outside, you
           1001-65535 inside are 101001-165535 outside
inside     a file that root makes belongs outside to user 100000 and group 100000
           a file that ana (1000) makes belongs outside to you
outside    a file of yours belongs inside to ana (1000)
           a file of any id outside that is not above belongs inside to nobody (65534)
today      /etc/subuid and /etc/subgid grant all of these ids
";
        assert_eq!(text, expected);
    }

    #[test]
    fn what_is_not_granted_comes_with_what_is_and_what_to_do() {
        let not_granted = vec![NotGranted {
            kind: types::IdKind::User,
            extent: IdExtent::new(0, 100_000, 65_536).unwrap(),
            file: "/etc/subuid",
            granted: vec![IdRange::new(300_000, 65_536).unwrap(), IdRange::new(7, 1).unwrap()],
        }];
        let text = words(&Known { not_granted, ..known(&[(0, 100_000, 65_536)]) });
        let last: Vec<&str> = text.lines().rev().take(2).collect();
        assert_eq!(last[0], "to do      bryo remap web shifts the files to what is granted today");
        let line = "lxc.idmap = u 0 100000 65536 is not granted: /etc/subuid gives ana 300000-365535 and 7";
        assert_eq!(last[1], format!("today      {line}"));
        assert!(text.contains("bryo remap --me web makes you a user inside"));
    }

    #[test]
    fn with_one_id_root_is_the_caller() {
        let me = Some(Me { name: Some("root".into()), uid: 0, gid: 0 });
        let text = words(&Known { me, ..known(&[(0, 1000, 1)]) });
        assert!(text.contains("0 inside is 1000 outside, you\n"), "{text}");
        assert!(text.contains("a file that root makes belongs outside to you\n"), "{text}");
        assert!(text.contains("today      your own id needs no grant\n"), "{text}");
    }
}
