//! The root file systems that tests start: a busybox one, Debian 12 with systemd, and Debian 12 and 13 with all that a login
//! takes.
//!
//! Both are made by a shell script when they are missing, and kept under `target/rootfs`. A cache is made again when
//! its script changes.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::lab::exclusive;
use crate::subject::source_root;

/// How one root file system is made.
struct Recipe {
    name: &'static str,
    script: &'static str,
    needs: &'static [&'static str],
}

const BUSYBOX: Recipe = Recipe {
    name: "busybox",
    script: include_str!("rootfs/busybox.sh"),
    needs: &["busybox", "setcap", "setfattr", "tar", "xz", "zstd", "gzip"],
};

const DEBIAN: Recipe = Recipe {
    name: "debian-12",
    script: include_str!("rootfs/debian.sh"),
    needs: &["mmdebstrap", "tar", "xz", "zstd"],
};

/// Those with sessions, networkd and a user.
const SESSIONS: [Recipe; 2] = [sessions("debian-12-sessions"), sessions("debian-13-sessions")];

const fn sessions(name: &'static str) -> Recipe {
    Recipe { name, script: include_str!("rootfs/sessions.sh"), needs: &["mmdebstrap", "zstd"] }
}

const PACKAGES: Recipe = Recipe {
    name: "packages",
    script: include_str!("rootfs/packages.sh"),
    needs: &["mmdebstrap", "dpkg-deb"],
};

const FOREIGN: Recipe = Recipe {
    name: "foreign",
    script: include_str!("rootfs/foreign.sh"),
    needs: &["apt-get", "dpkg-deb", "dpkg"],
};

/// Returns the directory of the cache. In a lab it appears, read-only, as `/run/bryo-lab/rootfs`.
pub fn cache() -> PathBuf {
    source_root().join("target/rootfs")
}

/// Makes the busybox root file system when it is missing: `busybox.tar`, `.tar.gz`, `.tar.xz` and `.tar.zst`, with
/// `busybox-meta.tar.xz` for the local template.
///
/// # Errors
/// The caller is not root, a tool is missing, or the script fails.
pub fn busybox() -> Result<()> {
    BUSYBOX.make()
}

/// Makes the Debian root file system when it is missing, which takes a minute or two: `debian-12.tar.zst`,
/// `debian-12.tar.xz` and `debian-12-meta.tar.xz`.
///
/// # Errors
/// The caller is not root, mmdebstrap is missing, or it fails.
pub fn debian() -> Result<()> {
    DEBIAN.make()
}

/// Makes the Debians to which users log in when they are missing: `debian-12-sessions.tar.zst`, `debian-13-sessions.tar.zst`.
///
/// # Errors
/// The caller is not root, mmdebstrap is missing, or it fails.
pub fn debian_with_sessions() -> Result<()> {
    SESSIONS.iter().try_for_each(Recipe::make)
}

/// Makes an archive of Debian's packages when it is missing: the directory `packages`, as apt reads it.
///
/// # Errors
/// The caller is not root, mmdebstrap is missing, or it fails.
pub fn packages() -> Result<()> {
    PACKAGES.make()
}

/// Makes the directory `foreign` when it is missing: a `busybox` for another architecture, `qemu` for it, and its name in `machine`.
///
/// # Errors
/// The caller is not root, this is no Debian, or no package comes.
pub fn foreign() -> Result<()> {
    FOREIGN.make()
}

impl Recipe {
    /// Makes the files in a directory aside and moves them into the cache, so that a run that is killed leaves
    /// nothing half made.
    fn make(&self) -> Result<()> {
        let cache = cache();
        fs::create_dir_all(&cache).with_context(|| format!("making {}", cache.display()))?;
        let _alone = exclusive(&format!("rootfs-{}", self.name))?;
        let stamp = cache.join(format!("{}.stamp", self.name));
        if fs::read_to_string(&stamp).is_ok_and(|key| key == self.key()) {
            return Ok(());
        }
        self.check_tools()?;
        let aside = cache.join(format!("{}.new", self.name));
        remove(&aside)?;
        fs::create_dir(&aside)?;
        self.run_script(&aside)?;
        for entry in fs::read_dir(&aside)? {
            let entry = entry?;
            let target = cache.join(entry.file_name());
            remove(&target)?;
            fs::rename(entry.path(), target)?;
        }
        fs::remove_dir(&aside)?;
        Ok(fs::write(stamp, self.key())?)
    }

    fn check_tools(&self) -> Result<()> {
        for tool in self.needs {
            ensure!(crate::claim::has_tool(tool), "{tool} is not installed");
        }
        Ok(())
    }

    fn run_script(&self, output: &std::path::Path) -> Result<()> {
        let output = Command::new("sh")
            .args(["-eu", "-c", self.script, self.name])
            .arg(output)
            .stdin(Stdio::null())
            .output()
            .context("running sh")?;
        let errors = String::from_utf8_lossy(&output.stderr);
        let last: Vec<_> = errors.lines().rev().take(5).collect();
        ensure!(
            output.status.success(),
            "making {}: {}",
            self.name,
            last.into_iter().rev().collect::<Vec<_>>().join("; ")
        );
        Ok(())
    }

    fn key(&self) -> String {
        let mut hasher = DefaultHasher::new();
        self.script.hash(&mut hasher);
        format!("{:016x}\n", hasher.finish())
    }
}

fn remove(path: &std::path::Path) -> Result<()> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", path.display()))
        }
        _ => Ok(()),
    }
}
