//! Which container a network namespace is: by the processes in it.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::Serialize;

use super::{Device, Flaw};

/// Who is in a network namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Holder {
    /// A container of this name.
    Container(String),
    /// No container that can be told by its cgroup, but this process.
    Process {
        /// Its pid.
        pid: i32,
        /// The name of its program.
        name: String,
    },
    /// No process. Somebody holds the namespace open, or the kernel is just about to remove it.
    Nobody,
    /// Processes of others, which only root can look into.
    Unknown,
}

/// The network namespaces of the processes that the caller can look into, with the process of each that began first.
#[derive(Debug, Default)]
pub struct Holders {
    first: BTreeMap<u64, i32>,
    /// The containers whose init is known, by pid.
    inits: BTreeMap<i32, String>,
    caller: u32,
}

/// The beginning of the name of a container's cgroup.
const PAYLOAD: &str = "lxc.payload.";

impl Holders {
    /// Looks at all processes. `inits` are the caller's own containers, by the pids of their inits.
    pub fn look(inits: impl IntoIterator<Item = (i32, String)>) -> Self {
        let pids = || std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let mut first = BTreeMap::new();
        for pid in pids().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()) {
            // Of a process that ends meanwhile, or is another user's, there is nothing to learn.
            let Ok(namespace) = std::fs::metadata(format!("/proc/{pid}/ns/net")) else { continue };
            let known = first.entry(namespace.ino()).or_insert(pid);
            *known = pid.min(*known);
        }
        let mut holders = Self { first, inits: inits.into_iter().collect(), caller: sys::cred::real_uid().0 };
        for init in holders.inits.keys() {
            if let Ok(namespace) = std::fs::metadata(format!("/proc/{init}/ns/net")) {
                holders.first.insert(namespace.ino(), *init);
            }
        }
        holders
    }

    /// Returns who has a device.
    pub fn of(&self, device: &Device) -> Holder {
        let pid = device.netns.and_then(|netns| self.first.get(&netns));
        match pid {
            _ if device.flaw == Some(Flaw::Foreign) => Holder::Nobody,
            Some(pid) => self.holder(*pid),
            None if self.caller == 0 || self.caller == device.asked_by => Holder::Nobody,
            None => Holder::Unknown,
        }
    }

    fn holder(&self, pid: i32) -> Holder {
        let text = |file| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let named = self.inits.get(&pid).cloned().or_else(|| container_of(&text("cgroup")));
        match named {
            Some(name) => Holder::Container(name),
            None => Holder::Process { pid, name: text("comm").trim_end().to_owned() },
        }
    }
}

/// Returns the container whose cgroup a process is in: the outermost, since those inside it are its own.
fn container_of(cgroups: &str) -> Option<String> {
    let path = |line: &str| line.splitn(3, ':').nth(2).map(str::to_owned);
    let name = |path: String| {
        let component = |part: std::path::Component<'_>| part.as_os_str().to_str().map(str::to_owned);
        let parts = Path::new(&path).components().filter_map(component);
        parts.into_iter().find_map(|part| part.strip_prefix(PAYLOAD).map(str::to_owned))
    };
    cgroups.lines().filter_map(path).find_map(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::slots::Owner;

    fn device(netns: Option<u64>, asked_by: u32) -> Device {
        let owner = Owner::User(asked_by);
        Device { name: "u".into(), owner, bridge: None, asked_by, netns, flaw: None }
    }

    #[test]
    fn a_container_is_told_by_its_cgroup_and_the_outermost_counts() {
        let v1 = "4:memory:/user/ana/lxc.payload.web/lxc.payload.inner\n0::/\n";
        assert_eq!(container_of(v1).as_deref(), Some("web"));
        assert_eq!(container_of("0::/user.slice/lxc.payload.db/init.scope\n").as_deref(), Some("db"));
        for none in ["", "0::/\n", "0::/lxc.payload\n", "0::/xlxc.payload.web\n"] {
            assert_eq!(container_of(none), None, "{none:?}");
        }
    }

    #[test]
    fn the_first_process_of_a_namespace_has_its_devices() {
        let own = std::fs::metadata("/proc/self/ns/net").unwrap().ino();
        let holders = Holders::look([]);
        let found = holders.of(&device(Some(own), 7));
        assert!(matches!(found, Holder::Container(_) | Holder::Process { .. }), "{found:?}");
        let pid = std::process::id() as i32;
        let named = Holders::look([(pid, "web".to_owned())]);
        assert_eq!(named.of(&device(Some(own), 7)), Holder::Container("web".into()));
    }

    #[test]
    fn nobody_is_said_only_by_who_would_see_somebody() {
        let holders = |caller| Holders { caller, ..Holders::default() };
        assert_eq!(holders(7).of(&device(Some(5), 7)), Holder::Nobody);
        assert_eq!(holders(0).of(&device(None, 7)), Holder::Nobody);
        assert_eq!(holders(8).of(&device(Some(5), 7)), Holder::Unknown);
        let foreign = Device { flaw: Some(Flaw::Foreign), ..device(Some(5), 7) };
        assert_eq!(holders(8).of(&foreign), Holder::Nobody);
    }
}
