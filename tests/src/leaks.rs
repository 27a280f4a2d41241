//! The leak check: what a test must leave as it found it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::account::Account;
use crate::command::wait_until;
use crate::{Lab, User, cgroups, lab, processes};

/// How long the kernel may take to let go: a network namespace is dismantled a while after its last process died.
const SETTLE: Duration = Duration::from_secs(5);

/// Directories in which any user may make files.
const SHARED: [&str; 6] = ["tmp", "var/tmp", "dev/shm", "run/user", "run/lock", "dev/mqueue"];

/// What there is of each kind, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot(BTreeMap<&'static str, BTreeSet<String>>);

/// How one kind of thing is looked up in a lab.
type Look = fn(&Lab) -> BTreeSet<String>;

/// The kinds of things that must not change, with how each is found.
const KINDS: [(&str, Look); 8] = [
    ("process", user_processes),
    ("network link", links),
    ("cgroup", cgroup_directories),
    ("mount in the lab", mounts_of_the_lab),
    ("mount of the machine", mounts_of_the_machine),
    ("socket", sockets),
    ("file", shared_files),
    ("container", containers),
];

impl Snapshot {
    /// Looks at everything that a test of this lab could leave behind.
    pub fn take(lab: &Lab) -> Self {
        Self(KINDS.iter().map(|(kind, look)| (*kind, look(lab))).collect())
    }
}

/// Compares the lab with what was there before, and returns one line for each difference that stays.
pub fn compare(before: &Snapshot, lab: &Lab) -> Option<String> {
    let mut after = Snapshot::default();
    wait_until(SETTLE, || {
        after = Snapshot::take(lab);
        after == *before
    });
    let report = report(before, &after);
    (!report.is_empty()).then_some(report)
}

fn report(before: &Snapshot, after: &Snapshot) -> String {
    let nothing = BTreeSet::new();
    let mut text = String::new();
    for (kind, _) in KINDS {
        let was = before.0.get(kind).unwrap_or(&nothing);
        let is = after.0.get(kind).unwrap_or(&nothing);
        for (what, things) in [("left behind", is.difference(was)), ("gone", was.difference(is))] {
            for thing in things {
                let _writing_to_a_string = writeln!(text, "  {what}: {kind} {thing}");
            }
        }
    }
    text
}

/// What a user's commands could have left outside the home at this moment: processes, cgroups, mounts, sockets and files
/// in shared directories. The quick look between the points of a sweep; the whole check stands around all of them.
pub(crate) fn traces_of(lab: &Lab, user: User<'_>) -> BTreeSet<String> {
    let groups = user.cgroups().iter().flat_map(|directory| cgroups::below(directory)).map(shown);
    let processes = user.processes().into_iter().map(|process| process.to_string());
    // Where, and not how: a sweep of full disks changes the size of one.
    let mounts = mounts_of_the_lab(lab).into_iter();
    let mounts = mounts.filter_map(|line| Some(format!("mount on {}", line.split_whitespace().nth(4)?)));
    let links = links(lab).into_iter().map(|name| format!("link {name}"));
    let rest = [sockets, shared_files].into_iter().flat_map(|look| look(lab));
    groups.chain(processes).chain(mounts).chain(links).chain(rest).collect()
}

fn user_processes(lab: &Lab) -> BTreeSet<String> {
    processes::of(&lab.accounts()).iter().map(ToString::to_string).collect()
}

/// The names in `/proc/PID/net/dev` are all links of the network namespace of process PID.
fn links(lab: &Lab) -> BTreeSet<String> {
    read(&format!("/proc/{}/net/dev", lab.holder()))
        .lines()
        .skip(2)
        .filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned()))
        .collect()
}

/// LXC: the real tools leave `lxc.pivot`, into which a monitor steps to remove its own cgroup. Bryo makes nothing of that
/// name, so it is the trace of a test that ran them.
fn cgroup_directories(lab: &Lab) -> BTreeSet<String> {
    let excused = |path: &PathBuf| path.ends_with("lxc.pivot");
    let all = lab.cgroup_directories().flat_map(|directory| cgroups::below(directory));
    all.filter(|path| !excused(path)).map(shown).collect()
}

fn mounts_of_the_lab(lab: &Lab) -> BTreeSet<String> {
    mounts(&lab.holder().to_string())
}

fn mounts_of_the_machine(_: &Lab) -> BTreeSet<String> {
    mounts("self")
}

fn mounts(process: &str) -> BTreeSet<String> {
    read(&format!("/proc/{process}/mountinfo")).lines().map(str::to_owned).collect()
}

/// The names of all Unix sockets of the lab's network namespace, abstract ones with their `@`.
fn sockets(lab: &Lab) -> BTreeSet<String> {
    let text = read(&format!("/proc/{}/net/unix", lab.holder()));
    text.lines().skip(1).filter_map(|line| line.split_whitespace().nth(7)).map(str::to_owned).collect()
}

fn shared_files(lab: &Lab) -> BTreeSet<String> {
    let root = lab.root();
    let runtime = Path::new(lab::RUN).join("runtime");
    let accounts = lab.accounts();
    let mut found = Vec::new();
    for account in &accounts {
        stray_files(&root.join(runtime.strip_prefix("/").unwrap_or(&runtime)), account, &mut found);
        SHARED.iter().for_each(|directory| stray_files(&root.join(directory), account, &mut found));
    }
    found.into_iter().map(shown).collect()
}

/// Collects the files of `account` below `directory`, looking into its own directories and into sticky ones.
fn stray_files(directory: &Path, account: &Account, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let Ok(metadata) = entry.metadata() else { continue };
        let own = account.owns(metadata.uid());
        if own {
            found.push(entry.path());
        }
        if metadata.is_dir() && (own || metadata.mode() & 0o1000 != 0) {
            stray_files(&entry.path(), account, found);
        }
    }
}

/// Removes the files that `account` has in directories shared by all users.
pub(crate) fn remove_stray_files(account: &Account) {
    let mut found = Vec::new();
    SHARED.iter().for_each(|directory| stray_files(&Path::new("/").join(directory), account, &mut found));
    for path in found.iter().rev() {
        let _a_directory_is_not_a_file = fs::remove_file(path).or_else(|_| fs::remove_dir(path));
    }
}

/// What lies in the users' lxcpaths: containers, and the remains of half-made ones.
fn containers(lab: &Lab) -> BTreeSet<String> {
    let lxcpaths =
        lab.accounts().into_iter().map(|account| lab.outside(&account.home).join(".local/share/lxc"));
    lxcpaths
        .filter_map(|path| fs::read_dir(path).ok())
        .flatten()
        .flatten()
        .map(|entry| shown(entry.path()))
        .collect()
}

fn read(file: &str) -> String {
    fs::read_to_string(file).unwrap_or_default()
}

fn shown(path: PathBuf) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(kind: &'static str, things: &[&str]) -> Snapshot {
        Snapshot(BTreeMap::from([(kind, things.iter().map(ToString::to_string).collect())]))
    }

    #[test]
    fn equal_snapshots_report_nothing() {
        let same = snapshot("cgroup", &["/a"]);
        assert_eq!(report(&same, &same.clone()), "");
    }

    #[test]
    fn what_appeared_and_what_vanished_are_told_apart() {
        let report = report(&snapshot("cgroup", &["/a", "/b"]), &snapshot("cgroup", &["/b", "/c"]));
        assert_eq!(report, "  left behind: cgroup /c\n  gone: cgroup /a\n");
    }

    #[test]
    fn files_of_the_user_are_found_only_where_users_may_write() -> std::io::Result<()> {
        let me = rustix::process::geteuid().as_raw();
        let account = Account {
            person: "ana",
            login: String::new(),
            uid: me,
            gid: me,
            subuids: 0..0,
            subgids: 0..0,
            home: PathBuf::new(),
        };
        let top = std::env::temp_dir().join(format!("leaks-{}", std::process::id()));
        fs::create_dir_all(top.join("own"))?;
        fs::write(top.join("own/file"), "")?;
        let mut found = Vec::new();
        stray_files(&top, &account, &mut found);
        fs::remove_dir_all(&top)?;
        assert_eq!(found, [top.join("own"), top.join("own/file")]);
        Ok(())
    }
}
