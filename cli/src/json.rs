//! What programs read: the JSON of `bryo ls` and `bryo info`. Names and types stay as they are from version to version;
//! numbers are in the unit that their name ends with.

use std::collections::BTreeMap;
use std::path::Path;

use container::list::{Found, Runtime};
use container::network::view::Interface;
use serde::Serialize;
use types::{IdExtent, IdRange, NsGid, NsUid, Published, State};

use crate::cmd::{Known, Me, Told};

/// A container of a list.
#[derive(Debug, Serialize)]
pub(crate) struct Container<'a> {
    name: &'a str,
    state: State,
    pid: Option<i32>,
    runtime: Option<Runtime>,
    published: &'a [Published],
}

impl<'a> Container<'a> {
    fn of(found: &'a Found) -> Self {
        let Found { state, pid, runtime, .. } = *found;
        Self { name: &found.name, state, pid, runtime, published: &found.published }
    }
}

/// Returns the list of `bryo ls`.
pub(crate) fn list(found: &[Found]) -> Vec<Container<'_>> {
    found.iter().map(Container::of).collect()
}

/// One container with all that `bryo info` tells.
#[derive(Debug, Serialize)]
pub(crate) struct Details<'a> {
    #[serde(flatten)]
    container: Container<'a>,
    config: &'a Path,
    one_id: bool,
    rungs: BTreeMap<&'a str, &'a str>,
    me: Option<&'a Me>,
    usage: Option<Usage>,
    interfaces: &'a [Interface],
    links: Vec<&'a str>,
}

impl<'a> Details<'a> {
    /// Takes what is told.
    pub(crate) fn of(told: &'a Told) -> Self {
        Self {
            container: Container::of(&told.found),
            config: &told.config,
            one_id: told.one_id,
            rungs: told.found.rungs.iter().map(|(need, rung)| (need.as_str(), rung.as_str())).collect(),
            me: told.me.as_ref(),
            usage: told.usage.map(Usage::of),
            interfaces: &told.interfaces,
            links: told.ends.iter().map(|end| end.name.as_str()).collect(),
        }
    }
}

/// The id map of `bryo idmap`.
#[derive(Debug, Serialize)]
pub(crate) struct Ids<'a> {
    name: &'a str,
    users: Vec<Extent>,
    groups: Vec<Extent>,
    /// Root's ids outside.
    root: Owner,
    /// The caller's ids inside.
    me: Option<&'a Me>,
    written: bool,
    granted: bool,
    not_granted: Vec<NotGranted>,
    interrupted: bool,
}

#[derive(Debug, Serialize)]
struct Owner {
    uid: Option<u32>,
    gid: Option<u32>,
}

#[derive(Debug, Serialize)]
struct Extent {
    inside: u32,
    outside: u32,
    count: u32,
}

#[derive(Debug, Serialize)]
struct NotGranted {
    line: String,
    file: &'static str,
    granted: Vec<Range>,
}

#[derive(Debug, Serialize)]
struct Range {
    start: u32,
    count: u32,
}

impl<'a> Ids<'a> {
    /// Takes what is known.
    pub(crate) fn of(known: &'a Known) -> Self {
        let extent =
            |e: &IdExtent| Extent { inside: e.inside.start(), outside: e.outside.start(), count: e.count() };
        let range = |range: &IdRange| Range { start: range.start(), count: range.count() };
        let refused = |refused: &container::idmap::NotGranted| NotGranted {
            line: format!("{} {}", refused.kind.letter(), refused.extent),
            file: refused.file,
            granted: refused.granted.iter().map(range).collect(),
        };
        let (uid, gid) = (known.map.host_uid(NsUid(0)), known.map.host_gid(NsGid(0)));
        Self {
            name: &known.name,
            users: known.map.uids.iter().map(extent).collect(),
            groups: known.map.gids.iter().map(extent).collect(),
            root: Owner { uid: uid.map(|id| id.0), gid: gid.map(|id| id.0) },
            me: known.me.as_ref(),
            written: known.is_written,
            granted: known.not_granted.is_empty(),
            not_granted: known.not_granted.iter().map(refused).collect(),
            interrupted: known.is_interrupted,
        }
    }
}

/// What `bryo remap` did, or would do.
#[derive(Debug, Serialize)]
pub(crate) struct Remapped<'a> {
    /// The container.
    pub(crate) name: &'a str,
    /// The files have other owners than before, or would get them.
    pub(crate) changed: bool,
    /// Nothing was done, only looked.
    pub(crate) dry_run: bool,
    /// The files.
    pub(crate) files: &'a container::remap::Tally,
}

/// What a container uses; null for what its cgroups do not tell.
#[derive(Debug, Serialize)]
struct Usage {
    cpu_seconds: Option<f64>,
    memory_bytes: Option<u64>,
    memory_peak_bytes: Option<u64>,
    memory_kernel_bytes: Option<u64>,
    read_bytes: Option<u64>,
    written_bytes: Option<u64>,
    processes: Option<u64>,
}

impl Usage {
    fn of(usage: cgroup::Usage) -> Self {
        Self {
            cpu_seconds: usage.cpu.map(|cpu| cpu.as_secs_f64()),
            memory_bytes: usage.memory,
            memory_peak_bytes: usage.memory_peak,
            memory_kernel_bytes: usage.memory_kernel,
            read_bytes: usage.io.map(|io| io.read),
            written_bytes: usage.io.map(|io| io.written),
            processes: usage.tasks,
        }
    }
}

/// Writes it in lines.
pub(crate) fn text(value: &impl Serialize) -> String {
    // All keys are texts and no number is infinite, so there is nothing JSON cannot say.
    serde_json::to_string_pretty(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use container::network::view::HostEnd;
    use serde_json::json;

    #[test]
    fn names_are_plain_and_numbers_are_numbers() {
        let told = Told {
            found: Found {
                name: "web".into(),
                state: State::Running,
                pid: Some(7),
                runtime: None,
                rungs: vec![("ids".into(), "bryo-idmap".into()), ("cgroup".into(), "writable".into())],
                published: vec!["8080:80".parse().unwrap()],
            },
            config: "/lxc/web/config".into(),
            one_id: false,
            me: Some(Me { name: Some("ana".into()), uid: 1000, gid: 100 }),
            usage: Some(cgroup::Usage {
                cpu: Some(std::time::Duration::from_millis(1500)),
                memory: Some(4096),
                ..cgroup::Usage::default()
            }),
            interfaces: vec![Interface { name: "eth0".into(), addresses: vec!["10.0.3.7".parse().unwrap()] }],
            ends: vec![HostEnd { name: "u00000rsmi9vq00".into(), sent: 1, received: 2 }],
        };
        let expected = json!({
            "name": "web",
            "state": "RUNNING",
            "pid": 7,
            "runtime": null,
            "published": ["8080:80"],
            "config": "/lxc/web/config",
            "one_id": false,
            "rungs": {"cgroup": "writable", "ids": "bryo-idmap"},
            "me": {"name": "ana", "uid": 1000, "gid": 100},
            "usage": {
                "cpu_seconds": 1.5,
                "memory_bytes": 4096,
                "memory_peak_bytes": null,
                "memory_kernel_bytes": null,
                "read_bytes": null,
                "written_bytes": null,
                "processes": null,
            },
            "interfaces": [{"name": "eth0", "addresses": ["10.0.3.7"]}],
            "links": ["u00000rsmi9vq00"],
        });
        assert_eq!(serde_json::to_value(Details::of(&told)).unwrap(), expected);
    }
}
