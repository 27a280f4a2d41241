//! Who could change a file that gets rights: with it, whoever may write the file or one of the directories to it.
//!
//! The kernel takes setuid bits and capabilities from a file at a write(2) of its owner's, and not when he changes it
//! through a shared mapping: the rights of a user's file are the rights of all that runs as that user.

use std::fmt;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Mode bits: the group or others may write; a name in the directory belongs to the owner of what bears it.
const OTHERS_WRITE: u32 = 0o022;
const STICKY: u32 = 0o1000;

/// A file or directory that others than root can change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exposed {
    /// Where it is, without links.
    pub path: PathBuf,
    /// Its owner.
    pub owner: u32,
    /// Its mode.
    pub mode: u32,
}

/// Returns the first of the directories to `path`, or `path` itself, that others than root can change; `None` when there
/// is none. Links are followed: what counts is the way to their end.
///
/// # Errors
/// One of them is not there, or cannot be looked at.
pub fn look(path: &Path) -> io::Result<Option<Exposed>> {
    let path = path.canonicalize()?;
    let way: Vec<&Path> = path.ancestors().collect();
    for place in way.into_iter().rev() {
        let about = place.symlink_metadata()?;
        if is_exposed(&about) {
            return Ok(Some(Exposed { path: place.into(), owner: about.uid(), mode: about.mode() & 0o7777 }));
        }
    }
    Ok(None)
}

/// An access list that lets somebody write shows in the bits of the group. In a sticky directory (/tmp) others make names
/// of their own, and can neither rename nor remove those of root.
fn is_exposed(about: &Metadata) -> bool {
    let is_shared = about.mode() & OTHERS_WRITE != 0 && !(about.is_dir() && about.mode() & STICKY != 0);
    about.uid() != 0 || is_shared
}

impl fmt::Display for Exposed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.owner {
            0 => write!(
                f,
                "{} has mode {:04o}, so others than root may write it",
                self.path.display(),
                self.mode
            ),
            owner => write!(f, "{} belongs to user {owner}, not to root", self.path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn found(path: &Path) -> Option<String> {
        look(path).unwrap().map(|exposed| exposed.to_string())
    }

    #[test]
    fn what_root_alone_can_change_is_not_exposed() {
        assert_eq!(found(Path::new("/usr/bin/env")), None);
        assert!(look(Path::new("/no/such/path")).is_err());
    }

    #[test]
    fn a_directory_on_the_way_counts_and_so_does_the_way_to_the_end_of_a_link() {
        let scratch = std::env::temp_dir().join(format!("exposed-{}", std::process::id()));
        let file = scratch.join("open/inner/file");
        fs::create_dir_all(scratch.join("open/inner")).unwrap();
        fs::write(&file, "").unwrap();
        symlink("/usr/bin/env", scratch.join("out")).unwrap();
        symlink(&file, scratch.join("in")).unwrap();
        fs::set_permissions(scratch.join("open"), fs::Permissions::from_mode(0o775)).unwrap();
        let said = [&file, &scratch.join("in"), &scratch.join("out")].map(|path| found(path));
        fs::remove_dir_all(&scratch).unwrap();
        // An ordinary user's own directories are exposed for their owner.
        let mode =
            format!("{} has mode 0775, so others than root may write it", scratch.join("open").display());
        let owner = format!("{} belongs to user {}", scratch.display(), rustix::process::getuid());
        let is_expected = |said: &Option<String>| {
            said.as_ref().is_some_and(|said| *said == mode || said.starts_with(&owner))
        };
        assert!(is_expected(&said[0]) && is_expected(&said[1]), "{said:?}");
        assert_eq!(said[2], None);
    }
}
