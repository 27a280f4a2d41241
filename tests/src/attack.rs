//! What the attack suites share: the hostile program, how often a race is run, and the host's files before and after.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::lab::RUN;
use crate::{Output, User, subject};

/// The variable that asks for every race in full.
pub const FULL: &str = "BRYO_ATTACK_FULL";

/// Returns how often a race is run: `few` times in a test run, `all` for `cargo xtask attack --full`.
pub fn times(few: usize, all: usize) -> usize {
    if std::env::var_os(FULL).is_some() { all } else { few }
}

/// Where users of the lab find the hostile program.
pub fn attacker() -> String {
    format!("{RUN}/prefix/attack/attacker")
}

/// Returns the line of a configuration that gives a container the hostile program as `/attacker`.
pub fn attacker_entry() -> String {
    format!("lxc.mount.entry = {} attacker none bind,ro,create=file 0 0\n", attacker())
}

/// Puts the hostile program in place of `path` in a root file system, as an image would have it.
///
/// # Panics
/// It cannot be written.
pub fn plant(user: &User<'_>, container: &str, path: &str) {
    let target = user.lxcpath().join(container).join("rootfs").join(path.trim_start_matches('/'));
    let _absent = fs::remove_file(&target);
    let planted = fs::copy(subject::prefix().join("attack/attacker"), &target)
        .and_then(|_| fs::set_permissions(&target, fs::Permissions::from_mode(0o755)))
        .and_then(|()| give_to_root(user, &target));
    if let Err(error) = planted {
        panic!("planting {}: {error}", target.display());
    }
}

/// Returns a name in /tmp that no other lab uses; what is left of it is removed with what else the user left.
pub fn shared_name(user: &User<'_>, what: &str) -> String {
    format!("/tmp/{}-{what}", user.account().login)
}

/// Makes a file (of a link, the link itself) one of the root of the user's containers.
///
/// # Errors
/// It is not there.
pub fn give_to_root(user: &User<'_>, path: &Path) -> std::io::Result<()> {
    lchown(path, Some(user.account().subuids.start), Some(user.account().subgids.start))
}

/// Returns the breaches that the hostile program reports.
///
/// # Panics
/// It has tried nothing.
#[track_caller]
pub fn breaches(text: &str) -> Vec<String> {
    let tried =
        text.lines().find_map(|line| line.strip_prefix("tried: ")).and_then(|n| n.parse::<usize>().ok());
    assert!(tried.is_some_and(|tried| tried > 0), "nothing was tried:\n{text}");
    text.lines().filter_map(|line| line.strip_prefix("breach: ")).map(str::to_owned).collect()
}

/// Requires that the hostile program tried, and that nothing of it worked.
///
/// # Panics
/// Otherwise.
#[track_caller]
pub fn resisted(output: &Output) {
    assert_eq!(output.status(), 0, "the attack was not made: {}", output.stderr);
    let breaches = breaches(&output.stdout);
    assert!(breaches.is_empty(), "{} succeeded:\n{}", breaches.len(), breaches.join("\n"));
}

/// What of a tree an attack could have changed: kind, mode, owner, size, times of each file, and a hash of its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint(BTreeMap<PathBuf, String>);

impl Fingerprint {
    /// Takes the fingerprint of a file, or of a directory with all below it. Links are looked at, not followed.
    ///
    /// # Panics
    /// It cannot be read.
    pub fn of(path: &Path) -> Self {
        let mut found = BTreeMap::new();
        collect(path, &mut found);
        Self(found)
    }

    /// Requires that nothing has changed since.
    ///
    /// # Panics
    /// Something has.
    #[track_caller]
    pub fn is_still_of(&self, path: &Path) {
        let now = Self::of(path);
        let changed: Vec<_> = self.0.iter().filter(|(path, was)| now.0.get(*path) != Some(was)).collect();
        let new: Vec<_> = now.0.iter().filter(|(path, _)| !self.0.contains_key(*path)).collect();
        assert!(changed.is_empty() && new.is_empty(), "changed: {changed:#?}\nnew or changed: {new:#?}");
    }
}

fn collect(path: &Path, found: &mut BTreeMap<PathBuf, String>) {
    let Ok(status) = fs::symlink_metadata(path) else { return };
    let content = if status.is_file() { sha256(path) } else { String::new() };
    let target = fs::read_link(path).unwrap_or_default();
    let (mode, owner) = (status.mode(), (status.uid(), status.gid()));
    let line = format!("{mode:o} {owner:?} {} {} {content} {target:?}", status.size(), status.mtime());
    found.insert(path.to_owned(), line);
    if status.is_dir() {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        entries.for_each(|entry| collect(&entry.path(), found));
    }
}

fn sha256(path: &Path) -> String {
    let said = Command::new("sha256sum").arg("--").arg(path).output();
    let text = said.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let sum = text.split_whitespace().next().unwrap_or_default().to_owned();
    assert_eq!(sum.len(), 64, "sha256sum of {}: {text}", path.display());
    sum
}
