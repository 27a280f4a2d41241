//! What the suites test: the installed Bryo, or the system's own lxc tools.

use std::env;
use std::path::{Path, PathBuf};

/// The program under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The Bryo that is installed in [`prefix`].
    Bryo,
    /// The lxc tools in `/usr/bin`.
    Lxc,
}

/// Returns the subject that `BRYO_SUBJECT` names: `lxc`, else Bryo.
pub fn subject() -> Subject {
    match env::var("BRYO_SUBJECT") {
        Ok(name) if name == "lxc" => Subject::Lxc,
        _ => Subject::Bryo,
    }
}

impl Subject {
    /// Returns the `PATH` under which a user of the lab finds the subject.
    pub fn search_path(self) -> &'static str {
        match self {
            Self::Bryo => "/run/bryo-lab/prefix/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            Self::Lxc => "/usr/bin:/bin:/usr/sbin:/sbin",
        }
    }

    /// Says why the subject cannot be tested here, or `None` when it can.
    pub fn missing(self) -> Option<String> {
        let program = match self {
            Self::Bryo => prefix().join("bin/bryo"),
            Self::Lxc => PathBuf::from(LXC_START),
        };
        (!program.exists()).then(|| format!("{} is not installed", program.display()))
    }
}

/// The real lxc-start, which a user of the lab reaches by this path whatever the subject is.
pub const LXC_START: &str = "/usr/bin/lxc-start";

/// Returns the root of the source tree.
pub fn source_root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/"))
}

/// Returns the prefix in which the tested Bryo is installed: `BRYO_PREFIX`, else one of the tests' own.
pub fn prefix() -> PathBuf {
    env::var_os("BRYO_PREFIX").map_or_else(|| own_prefix("lab-prefix"), |prefix| source_root().join(prefix))
}

/// Returns a prefix of the tree's own: in `target`, or where root keeps its files when root runs this in the tree of
/// somebody else, who could change helpers that have rights.
pub fn own_prefix(name: &str) -> PathBuf {
    let is_root = rustix::process::geteuid().is_root();
    match is_root && sys::exposed::look(source_root()).is_ok_and(|found| found.is_some()) {
        true => roots_prefix(name),
        false => source_root().join("target").join(name),
    }
}

/// Returns a prefix that root alone can change, whoever owns the tree.
pub fn roots_prefix(name: &str) -> PathBuf {
    Path::new("/usr/local/lib").join(format!("bryo-{name}"))
}
