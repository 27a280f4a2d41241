//! What a planned start needs of the host's files, looked at without taking anything.
//!
//! The plan itself touches nothing; a start finds what is missing one by one, as it comes to it.

use std::path::{Path, PathBuf};

use config::Hook;

use crate::plan::{EntrySource, StartPlan};

/// Returns what is not there, a sentence each.
pub fn missing(plan: &StartPlan) -> Vec<String> {
    let rootfs = &plan.rootfs.path;
    if !rootfs.is_dir() {
        // Nothing else can be told about what is not there.
        return vec![format!("lxc.rootfs.path: {} is no directory that is there", rootfs.display())];
    }
    let mut missing: Vec<String> = sources(plan).filter_map(|(what, path)| absent(&what, &path)).collect();
    missing.extend(init(plan, rootfs));
    missing
}

/// Files of the host, with the line that names each.
fn sources(plan: &StartPlan) -> impl Iterator<Item = (String, PathBuf)> + '_ {
    let entries = plan.entries.iter().filter(|entry| !entry.optional);
    let bound = entries.filter_map(|entry| match &entry.source {
        EntrySource::Bind { path, .. } => {
            Some((format!("lxc.mount.entry = {}", entry.line), Path::new("/").join(path)))
        }
        _ => None,
    });
    bound.chain(plan.hooks.commands.iter().flat_map(|(moment, commands)| {
        // What else stands there is for the shell to find; start hooks are programs of the container.
        let on_host = commands.iter().filter(|command| *moment != Hook::Start && command.starts_with('/'));
        on_host.map(move |command| {
            let program = command.split_ascii_whitespace().next().unwrap_or("");
            (format!("lxc.hook.{moment} = {command}"), program.into())
        })
    }))
}

/// Says that something is not there, and nothing of what the caller cannot see.
fn absent(what: &str, path: &Path) -> Option<String> {
    let found = std::fs::metadata(path);
    let is_absent = found.is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound);
    is_absent.then(|| format!("{what}: {} is not there", path.display()))
}

/// Looks for init in the root file system. Only its name is looked at, since a link leads to another file in there than
/// out here; a directory on the way that the caller may not enter tells nothing.
fn init(plan: &StartPlan, rootfs: &Path) -> Option<String> {
    let program = plan.init.argv.first().filter(|_| plan.init.bryo_init.is_none())?;
    let inside = program.strip_prefix('/')?;
    let mut path = rootfs.to_owned();
    for part in Path::new(inside).components() {
        path.push(part);
        match std::fs::symlink_metadata(&path) {
            Ok(found) if found.is_symlink() => return None,
            Ok(_) => {}
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                // An entry may bring it.
                let brought = plan.entries.iter().any(|entry| Path::new(inside).starts_with(&entry.target));
                return (!brought).then(|| format!("{program} is not in {}", rootfs.display()));
            }
            Err(_) => return None,
        }
    }
    None
}
