//! Template `host`: the machine's own programs, read-only, under a private root.
//!
//! /usr and what it refers to outside itself are bound read-only, nosuid and nodev; everything else is the container's
//! own. Nothing is downloaded or copied, so it is made in milliseconds. For application shells: a systemd would find
//! the host's units without the host's state.

use std::path::{Path, PathBuf};

use super::{Filled, Filling, make_dirs, text, write_files};
use crate::error::{Doing, Result};
use crate::place::from_io;

/// Directories of the host that hold programs and libraries, where they are no links into /usr.
const PROGRAM_DIRS: [&str; 6] = ["/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"];
/// Trees that are bound as a whole, where the host has them.
const TREES: [&str; 4] = ["/usr", "/opt", "/nix/store", "/gnu"];
/// What /usr refers to in /etc.
const ETC: [&str; 13] = [
    "/etc/alternatives",
    "/etc/ssl",
    "/etc/ca-certificates",
    "/etc/ca-certificates.conf",
    "/etc/pki",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/nsswitch.conf",
    "/etc/services",
    "/etc/protocols",
    "/etc/localtime",
    "/etc/fonts",
];

const DIRS: [(&str, u32); 19] = [
    ("etc", 0o755),
    ("dev", 0o755),
    ("proc", 0o755),
    ("sys", 0o755),
    ("run", 0o755),
    ("mnt", 0o755),
    ("media", 0o755),
    ("srv", 0o755),
    ("home", 0o755),
    ("root", 0o700),
    ("tmp", 0o1777),
    ("var", 0o755),
    ("var/cache", 0o755),
    ("var/lib", 0o755),
    ("var/log", 0o755),
    ("var/mail", 0o755),
    ("var/opt", 0o755),
    ("var/spool", 0o755),
    ("var/tmp", 0o1777),
];

const FILES: [(&str, &str); 5] = [
    ("etc/group", "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n"),
    ("etc/hosts", "127.0.0.1\tlocalhost\n::1\tlocalhost\n"),
    ("etc/shells", "/bin/sh\n/bin/bash\n"),
    ("etc/resolv.conf", ""),
    ("etc/profile", "export PS1='\\u@\\h:\\w\\$ '\n"),
];

/// What one name of the host's root directory becomes.
#[derive(Debug, PartialEq, Eq)]
enum Piece {
    /// The same symbolic link, as `bin -> usr/bin`.
    Link(PathBuf),
    /// A mount point for the host's directory.
    Directory,
    /// A mount point for the host's file.
    File,
}

impl Filling<'_> {
    pub(super) fn host(&mut self, config: &mut text::Builder) -> Result<Filled> {
        let mut pieces: Vec<(&str, Piece)> = Vec::new();
        for path in PROGRAM_DIRS.iter().chain(&TREES).chain(&ETC) {
            pieces.extend(piece(Path::new(path)).map(|found| (*path, found)));
        }
        let shell = if Path::new("/bin/bash").exists() { "/bin/bash" } else { "/bin/sh" };
        let passwd =
            format!("root:x:0:0:root:/root:{shell}\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n");
        let hostname = format!("{}\n", self.place.name);
        self.inside(|| {
            make_dirs(&DIRS)?;
            write_files(&FILES)?;
            write_files(&[("etc/passwd", &passwd), ("etc/hostname", &hostname)])?;
            pieces.iter().try_for_each(|(path, piece)| make(path, piece))
        })
        .doing("making the root file system")?;
        for (path, piece) in &pieces {
            if !matches!(piece, Piece::Link(_)) {
                let target = path.trim_start_matches('/');
                config.set("lxc.mount.entry", &format!("{path} {target} none rbind,ro,nosuid,nodev 0 0"))?;
            }
        }
        config.set("lxc.mount.auto", "cgroup:mixed proc:mixed sys:mixed")?;
        config.set("lxc.mount.entry", "tmpfs run tmpfs rw,nosuid,nodev,mode=755 0 0")?;
        config.set("lxc.init.cmd", shell)?;
        Ok(Filled::default())
    }
}

/// Looks at one path of the host; /etc/localtime and its like are files to bind even where they are links, since what
/// they point to is in a tree that is bound or is not.
fn piece(path: &Path) -> Option<Piece> {
    let named = std::fs::symlink_metadata(path).ok()?;
    if named.is_symlink() && path.parent() == Some(Path::new("/")) {
        return std::fs::read_link(path).ok().map(Piece::Link);
    }
    let found = std::fs::metadata(path).ok()?;
    Some(if found.is_dir() { Piece::Directory } else { Piece::File })
}

fn make(path: &str, piece: &Piece) -> Result<()> {
    let path = Path::new(path.trim_start_matches('/'));
    let made = match piece {
        Piece::Link(target) => std::os::unix::fs::symlink(target, path),
        Piece::Directory => std::fs::create_dir_all(path),
        Piece::File => std::fs::File::create(path).map(drop),
    };
    made.map_err(from_io).doing_with(|| format!("making {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_merged_usr_is_told_from_a_split_one() {
        let bin = std::fs::symlink_metadata("/bin").unwrap();
        assert_eq!(matches!(piece(Path::new("/bin")), Some(Piece::Link(_))), bin.is_symlink());
        assert_eq!(piece(Path::new("/usr")), Some(Piece::Directory));
        assert_eq!(piece(Path::new("/nonexistent")), None);
    }
}
