//! The same as a real ordinary user in a delegated directory, and as container root.
//!
//! Root delegates a directory in every hierarchy and runs this binary again as the user, for one of the ignored tests
//! below, or inside a user namespace with the map that a container of the user has.

use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use cgroup::{
    Applied, Base, BaseGroup, Group, Handle, Host, Kind, Layout, Names, Settings, Verdict, Version,
};

use crate::bench::{Bench, PATIENCE, entering_sleeper, is_root, limit, sleeper};
use crate::need;

/// An id that no account has, and the first id of a range for it.
const USER: u32 = 64_123;
const RANGE: u32 = 6_412_300;

/// Root's side: the delegated directories, and the binary where the user may read it.
struct Delegation {
    bench: Bench,
    group: Group,
    scratch: tempfile::TempDir,
}

impl Delegation {
    fn new(test: &str) -> Self {
        let bench = Bench::new(test);
        let group = bench.base.make(&bench.name).unwrap();
        for dir in group.paths() {
            for name in [".", "cgroup.procs", "tasks", "cgroup.threads", "cgroup.subtree_control"] {
                let path = dir.join(name);
                if path.exists() {
                    chown(path, Some(USER), Some(USER)).unwrap();
                }
            }
        }
        let scratch = tempfile::tempdir().unwrap();
        std::fs::set_permissions(scratch.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        let program = scratch.path().join("program");
        std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
        std::fs::set_permissions(program, std::fs::Permissions::from_mode(0o755)).unwrap();
        Self { bench, group, scratch }
    }

    fn handle_file(&self) -> PathBuf {
        self.scratch.path().join("handle")
    }

    /// Starts an ignored test as the user in the delegated directories; `through` are the words before its program.
    fn start(&self, test: &str, through: &[&str]) -> Child {
        let procs: Vec<_> =
            self.group.paths().map(|dir| dir.join("cgroup.procs").display().to_string()).collect();
        let join = format!("for f in {}; do echo $$ > \"$f\"; done; exec \"$@\"", procs.join(" "));
        let id = USER.to_string();
        Command::new("sh")
            .args(["-ec", &join, "sh", "setpriv", "--reuid", &id, "--regid", &id, "--clear-groups"])
            .args(through)
            .arg(self.scratch.path().join("program"))
            .args(["--exact", &format!("user::{test}"), "--ignored", "--nocapture", "--test-threads=1"])
            .env("BRYO_CGTEST_HANDLE", self.handle_file())
            .stdin(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn run_as_user(&self, test: &str) {
        assert!(self.start(test, &[]).wait().unwrap().success(), "{test}");
    }

    /// Runs an ignored test as root of a user namespace that maps the user's range, and the user after it.
    fn run_mapped(&self, test: &str) {
        let wait = "read _; exec setpriv --reuid 0 --regid 0 --clear-groups \"$@\"";
        let mut child = self.start(test, &["unshare", "--user", "--keep-caps", "sh", "-ec", wait, "sh"]);
        let proc = PathBuf::from(format!("/proc/{}", child.id()));
        let own = std::fs::read_link("/proc/self/ns/user").unwrap();
        while std::fs::read_link(proc.join("ns/user")).unwrap() == own {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let map = format!("0 {RANGE} 65536\n65536 {USER} 1\n");
        std::fs::write(proc.join("uid_map"), &map).unwrap();
        std::fs::write(proc.join("gid_map"), &map).unwrap();
        child.stdin.take().unwrap().write_all(b"\n").unwrap();
        assert!(child.wait().unwrap().success(), "{test}");
    }

    fn payload(&self) -> Group {
        self.bench.base.open(&self.bench.name.join("lxc.payload.web")).unwrap()
    }
}

fn own_base() -> BaseGroup {
    BaseGroup::open_base(Host::probe(&Layout::of(Base::Own).unwrap())).unwrap()
}

fn names() -> Names {
    Names::new(&"web".parse().unwrap(), &Settings::default()).unwrap()
}

fn handed_group() -> Group {
    let text = std::fs::read_to_string(std::env::var("BRYO_CGTEST_HANDLE").unwrap()).unwrap();
    serde_json::from_str::<Handle>(&text).unwrap().open().unwrap()
}

#[test]
fn an_ordinary_user_does_everything_in_delegated_directories() {
    need!(is_root(), "root");
    Delegation::new("user").run_as_user("everything_in_delegated_directories");
}

#[test]
#[ignore = "run as another user by an_ordinary_user_does_everything_in_delegated_directories"]
fn everything_in_delegated_directories() {
    let base = own_base();
    assert!(base.host().accesses.iter().all(cgroup::Access::is_usable), "{:?}", base.host());
    let names = names();
    let monitor = base.take(&names.monitor).unwrap().unwrap();
    drop(entering_sleeper(&monitor));
    let (payload, kept) = base.make_with_controllers(&names.payload).unwrap();
    assert_eq!(kept, []);
    let child = sleeper();
    payload.place(child.pid()).unwrap();
    if base.host().accesses.iter().any(|a| a.label == "memory") {
        let outcome = payload.apply(&[limit(Version::V1, "memory.limit_in_bytes", "64M")]).remove(0);
        assert_eq!(outcome.result, Ok(Applied::Written));
    }
    payload.freeze(PATIENCE).unwrap();
    assert!(payload.is_frozen().unwrap());
    payload.kill(PATIENCE).unwrap();
    payload.remove(PATIENCE).unwrap();
    monitor.remove(PATIENCE).unwrap();
}

#[test]
fn outside_of_delegated_directories_the_verdict_is_a_refusal() {
    need!(is_root(), "root");
    let delegation = Delegation::new("refused");
    // Only the view is the user's: it joins nothing, since all that is delegated is gone.
    delegation.group.remove(PATIENCE).unwrap();
    let id = USER.to_string();
    let done = Command::new("setpriv")
        .args(["--reuid", &id, "--regid", &id, "--clear-groups"])
        .arg(delegation.scratch.path().join("program"))
        .args(["--exact", "user::every_verdict_is_a_refusal", "--ignored", "--nocapture"])
        .status()
        .unwrap();
    assert!(done.success());
}

#[test]
#[ignore = "run as another user by outside_of_delegated_directories_the_verdict_is_a_refusal"]
fn every_verdict_is_a_refusal() {
    let base = own_base();
    assert!(base.is_nowhere());
    for access in &base.host().accesses {
        let is_refusal =
            matches!(&access.verdict, Verdict::Refused { errno, .. } if *errno == sys::Errno::EACCES as i32);
        assert!(is_refusal, "{access:?}");
    }
    let group = base.make(&names().payload).unwrap();
    assert!(group.is_nowhere() && group.is_empty());
    group.place(0).unwrap();
    let refused = group.freeze(PATIENCE).unwrap_err();
    assert!(refused.to_string().contains("the directory is not writable (Permission denied)"), "{refused}");
    let refused =
        group.apply(&[limit(Version::V1, "memory.limit_in_bytes", "64M")]).remove(0).result.unwrap_err();
    if Layout::of(Base::Own).unwrap().kind() != Kind::Unified {
        assert!(refused.hint().unwrap().contains("systemd-run"), "{refused}");
    }
}

#[test]
fn a_payload_handed_over_serves_container_root_and_stays_the_callers() {
    need!(is_root(), "root");
    let delegation = Delegation::new("owner");
    delegation.run_as_user("make_a_payload");
    delegation.run_mapped("hand_the_payload_over_and_make_groups_inside");
    for dir in delegation.payload().paths() {
        let found = dir.metadata().unwrap();
        assert_eq!((found.uid(), found.gid(), found.mode() & 0o777), (USER, RANGE, 0o775), "{dir:?}");
        let procs = dir.join("cgroup.procs").metadata().unwrap();
        assert_eq!((procs.uid(), procs.gid(), procs.mode() & 0o777), (USER, RANGE, 0o664), "{dir:?}");
        let inside = dir.join("system.slice/a.service").metadata().unwrap();
        assert_eq!((inside.uid(), inside.gid()), (RANGE, RANGE), "{dir:?}");
    }
    delegation.run_as_user("place_into_the_payload_and_fail_to_remove_it");
    delegation.run_mapped("remove_the_payload");
    assert!(delegation.payload().is_nowhere());
}

#[test]
#[ignore = "a step of a_payload_handed_over_serves_container_root_and_stays_the_callers"]
fn make_a_payload() {
    let group = own_base().make(&names().payload).unwrap();
    let text = serde_json::to_string(&group.handle()).unwrap();
    std::fs::write(std::env::var("BRYO_CGTEST_HANDLE").unwrap(), text).unwrap();
}

#[test]
#[ignore = "a step of a_payload_handed_over_serves_container_root_and_stays_the_callers"]
fn hand_the_payload_over_and_make_groups_inside() {
    let group = handed_group();
    group.hand_over(0).unwrap();
    assert_eq!(sys::cred::real_uid().0, 0);
    // As container root without the capabilities that this process has over the caller's files.
    let paths: Vec<&Path> = group.paths().collect();
    let made = Command::new("setpriv")
        .args(["--bounding-set=-all", "--inh-caps=-all", "sh", "-ec"])
        .arg("for d; do mkdir -p \"$d/system.slice/a.service\"; : >> \"$d/cgroup.procs\"; done")
        .arg("sh")
        .args(&paths)
        .status()
        .unwrap();
    assert!(made.success());
    for file in ["memory.limit_in_bytes", "freezer.state", "pids.max", "cgroup.freeze", "cgroup.max.depth"] {
        for path in paths.iter().map(|dir| dir.join(file)).filter(|p| p.exists()) {
            assert_ne!(path.metadata().unwrap().gid(), 0, "{path:?} was given away");
        }
    }
}

#[test]
#[ignore = "a step of a_payload_handed_over_serves_container_root_and_stays_the_callers"]
fn place_into_the_payload_and_fail_to_remove_it() {
    let (group, child) = (handed_group(), sleeper());
    group.place(child.pid()).unwrap();
    group.freeze(PATIENCE).unwrap();
    group.kill(PATIENCE).unwrap();
    let refused = group.remove(std::time::Duration::ZERO).unwrap_err();
    assert!(refused.failures.iter().all(|e| e.errno() == Some(sys::Errno::EACCES)), "{refused:?}");
    assert_eq!(refused.failures.len(), group.paths().count());
}

#[test]
#[ignore = "a step of a_payload_handed_over_serves_container_root_and_stays_the_callers"]
fn remove_the_payload() {
    handed_group().remove(PATIENCE).unwrap();
}
