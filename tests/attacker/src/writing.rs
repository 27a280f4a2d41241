//! Writing where a container may only read.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use crate::Attempts;

/// Tries every way of changing something in and below the directories (or files) given: new names, and what is there.
pub(crate) fn attack(directories: &[&str]) -> Attempts {
    let mut found = Attempts::default();
    for directory in directories {
        let directory = Path::new(directory);
        if directory.is_dir() {
            fill(directory, &mut found);
        }
        change(directory, &mut found);
    }
    found
}

fn fill(directory: &Path, found: &mut Attempts) {
    let new = directory.join("bryo-attack");
    let shown = new.display();
    found.count(&format!("create {shown}"), File::create(&new));
    found.count(&format!("mkdir {shown}"), fs::create_dir(&new));
    found.count(&format!("symlink {shown}"), symlink("/", &new));
    let inside = fs::read_dir(directory).into_iter().flatten().flatten().take(3);
    inside.for_each(|entry| change(&entry.path(), found));
}

fn change(path: &Path, found: &mut Attempts) {
    let shown = path.display();
    if path.is_file() {
        found.count(&format!("write {shown}"), File::options().write(true).open(path));
    }
    found.count(&format!("chmod {shown}"), fs::set_permissions(path, fs::Permissions::from_mode(0o777)));
    found.count(&format!("chown {shown}"), chown(path, Some(0), Some(0)));
    let aside = path.with_extension("bryo-attack");
    found.count(&format!("rename {shown}"), fs::rename(path, aside));
}
