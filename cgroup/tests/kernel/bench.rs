//! What every test needs: groups with names of their own that are gone afterwards, and processes to put into them.

use std::io::Read;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use cgroup::{Base, BaseGroup, Group, Hierarchy, Host, Layout, Limit, Version};

/// Long enough for a machine under load.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn is_root() -> bool {
    sys::cred::real_uid().0 == 0
}

pub(crate) fn limit(version: Version, key: &str, value: &str) -> Limit {
    Limit { version, key: key.to_owned(), value: value.to_owned() }
}

/// The base of a test, and the one name below it that the test may use.
pub(crate) struct Bench {
    pub(crate) layout: Layout,
    pub(crate) base: BaseGroup,
    pub(crate) name: PathBuf,
}

impl Bench {
    pub(crate) fn new(test: &str) -> Self {
        Self::of(test, |_| true)
    }

    /// A bench that sees only the hierarchies of its choice.
    pub(crate) fn of(test: &str, keep: impl Fn(&Hierarchy) -> bool) -> Self {
        let mut layout = Layout::of(Base::Own).unwrap();
        layout.hierarchies.retain(keep);
        let base = BaseGroup::open_base(Host::probe(&layout)).unwrap();
        let name = format!("bryo-cgtest-{}-{test}", std::process::id()).into();
        Self { layout, base, name }
    }

    pub(crate) fn text(&self) -> String {
        self.name.to_string_lossy().into_owned()
    }

    pub(crate) fn has_v1(&self, controller: &str) -> bool {
        self.layout.hierarchies.iter().any(|h| h.controllers.iter().any(|c| c == controller))
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Ok(group) = self.base.open(&self.name) {
            let _ = group.kill(PATIENCE);
            let removed = group.remove(PATIENCE);
            assert!(removed.is_ok() || std::thread::panicking(), "{removed:?}");
        }
    }
}

/// A process that ends with the value.
pub(crate) struct Sleeper(Child);

pub(crate) fn sleeper() -> Sleeper {
    Sleeper(Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().unwrap())
}

/// A process of one thread that enters a group of v1 by itself and is placed in that of v2, then does nothing.
pub(crate) fn entering_sleeper(group: &Group) -> Sleeper {
    let own = std::process::id();
    let entrance = group.entrance().unwrap();
    let doors = entrance.files_v1().map(|file| format!("/proc/{own}/fd/{}", file.as_raw_fd()));
    let enter = "for door; do echo 0 > \"$door\" || exit; done; echo in; exec sleep 600 > /dev/null";
    let mut child = Command::new("sh")
        .args(["-c", enter, "sh"])
        .args(doors)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = String::new();
    child.stdout.take().unwrap().read_to_string(&mut told).unwrap();
    assert_eq!(told, "in\n", "the process did not get in");
    group.place_in_unified(child.id() as i32).unwrap();
    Sleeper(child)
}

/// A process that makes new ones: what an old one has allocated stays counted where it was before.
pub(crate) fn busy_loop() -> Sleeper {
    let work = "while :; do sha256sum /bin/sh > /dev/null; done";
    Sleeper(Command::new("sh").args(["-c", work]).stdin(Stdio::null()).spawn().unwrap())
}

impl Sleeper {
    pub(crate) fn pid(&self) -> i32 {
        self.0.id() as i32
    }

    pub(crate) fn was_killed(&mut self) -> bool {
        use std::os::unix::process::ExitStatusExt;
        self.0.wait().unwrap().signal() == Some(9)
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
