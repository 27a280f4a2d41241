//! Changing the host's device nodes through what the container has of them.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, chown, fchown};
use std::time::SystemTime;

use crate::Attempts;

/// Changes owner, mode and times of every node of the host, by name and by the standard streams.
pub(crate) fn attack() -> Attempts {
    let mut found = Attempts::default();
    for node in ["null", "zero", "full", "random", "urandom", "tty"] {
        let path = format!("/dev/{node}");
        found.count(&format!("chown {path}"), chown(&path, Some(0), Some(0)));
        found.count(&format!("chmod {path}"), fs::set_permissions(&path, fs::Permissions::from_mode(0o600)));
        found.count(&format!("rename {path}"), fs::rename(&path, format!("{path}.old")));
        found.count(&format!("unlink {path}"), fs::remove_file(&path));
        let opened = File::options().write(true).open(&path);
        found.count(
            &format!("touch {path}"),
            opened.and_then(|file| file.set_modified(SystemTime::UNIX_EPOCH)),
        );
    }
    let streams = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    for (number, stream) in [streams.0.as_fd(), streams.1.as_fd(), streams.2.as_fd()].into_iter().enumerate()
    {
        let Ok(file) = stream.try_clone_to_owned().map(File::from) else { continue };
        found.count(&format!("fchown {number}"), fchown(&file, Some(0), Some(0)));
        found.count(&format!("fchmod {number}"), file.set_permissions(fs::Permissions::from_mode(0o600)));
    }
    found
}
