//! Running the program on a scratch directory.

use std::fs::{self, File};
use std::io::{Seek, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_bryo-image");

/// Makes whoever runs the test root of a user namespace.
const IN_A_NAMESPACE: [&str; 4] = ["unshare", "--user", "--map-root-user", "--"];

/// A directory with `root`, where archives are unpacked, beside `outside`, which nothing may touch.
pub(crate) struct Scratch {
    dir: tempfile::TempDir,
}

/// How a run of the program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        let scratch = Self { dir: tempfile::tempdir().unwrap() };
        fs::create_dir(scratch.root()).unwrap();
        fs::create_dir(scratch.outside()).unwrap();
        fs::write(scratch.outside().join("secret"), "untouched").unwrap();
        scratch
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.path().join("root")
    }

    pub(crate) fn outside(&self) -> PathBuf {
        self.path().join("outside")
    }

    /// Unpacks an archive with `bryo-image unpack`.
    pub(crate) fn unpack(&self, archive: &[u8]) -> Ended {
        self.unpack_as("unpack", archive, &[])
    }

    /// Unpacks with `bryo-image unpack`, run in another directory.
    pub(crate) fn unpack_from(&self, directory: &Path, archive: &[u8]) -> Ended {
        self.unpack_below(&["env", "-C", directory.to_str().unwrap()], "unpack", archive, &[])
    }

    /// Unpacks as root of a user namespace, whoever runs the test.
    pub(crate) fn unpack_in_a_namespace(&self, archive: &[u8]) -> Ended {
        let outer: &[&str] = if is_root() { &IN_A_NAMESPACE } else { &[] };
        self.unpack_below(outer, "unpack", archive, &[])
    }

    pub(crate) fn unpack_as(&self, verb: &str, archive: &[u8], options: &[&str]) -> Ended {
        self.unpack_below(&[], verb, archive, options)
    }

    fn unpack_below(&self, outer: &[&str], verb: &str, archive: &[u8], options: &[&str]) -> Ended {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(archive).unwrap();
        file.rewind().unwrap();
        let root = File::open(self.root()).unwrap();
        // Archives have files of root. An ordinary user is root in a namespace of his own, as in a container with one id.
        let launcher: &[&str] = if is_root() { &[] } else { &IN_A_NAMESPACE };
        run(&[outer, launcher].concat(), verb, &[("--archive", &file), ("--root", &root)], options)
    }

    /// Asserts that what lies beside the root is as it was.
    pub(crate) fn assert_outside_untouched(&self) {
        let found = listing(&self.outside());
        assert_eq!(found.lines().count(), 2, "outside has new files:\n{found}");
        assert_eq!(fs::read_to_string(self.outside().join("secret")).unwrap(), "untouched");
        let status = fs::metadata(self.outside().join("secret")).unwrap();
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        assert_eq!((status.nlink(), status.permissions().mode() & 0o7777), (1, 0o644));
    }
}

/// Runs the program, below `launcher` if that is not empty, with fds as options.
pub(crate) fn run(launcher: &[&str], verb: &str, fds: &[(&str, &File)], options: &[&str]) -> Ended {
    let words: Vec<&str> = launcher.iter().copied().chain([PROGRAM]).collect();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).arg(verb).args(options);
    for (option, file) in fds {
        sys::process::keep_on_exec(file.as_fd()).unwrap();
        command.arg(option).arg(file.as_raw_fd().to_string());
    }
    command.stdin(Stdio::null()).output().unwrap().into()
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            status: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ended {
    /// Asserts success and returns the report.
    pub(crate) fn report(&self) -> serde_json::Value {
        assert_eq!(self.status, Some(0), "{}", self.stderr);
        serde_json::from_str(self.stdout.lines().last().unwrap()).unwrap()
    }

    /// Asserts a failure of one line that holds each of `words`.
    pub(crate) fn assert_refused(&self, words: &[&str]) {
        assert_eq!(self.status, Some(1), "{self:?}");
        assert_eq!(self.stderr.lines().count(), 1, "{}", self.stderr);
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is not in: {}", self.stderr);
        }
    }
}

/// Type, mode, owner, length, links, time, target and data of everything in a directory, sorted by name.
pub(crate) fn listing(dir: &Path) -> String {
    let files = r"find . -printf '%P %y %m %U:%G %n %T@ %l ' \( -type f -printf '%s ' -exec sh -c 'sha256sum < $1' - {} \; -o -printf '\n' \) | sort";
    let found = Command::new("sh").args(["-c", files]).current_dir(dir).output().unwrap();
    assert!(found.status.success(), "{found:?}");
    String::from_utf8_lossy(&found.stdout).into_owned()
}

/// Tells whether a tool is there; else prints that the test is skipped.
pub(crate) fn has(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").output().is_ok();
    if !found {
        eprintln!("skipped: {tool} is not installed");
    }
    found
}

/// Tells whether the test runs as root; else prints that it is skipped.
/// Tells whether the test can run, and says so (past libtest's capture) when it cannot.
#[expect(clippy::explicit_write, reason = "eprintln would be captured and never be seen")]
pub(crate) fn can(reason: &str, possible: bool) -> bool {
    if !possible {
        let test = std::thread::current().name().unwrap_or("?").to_owned();
        writeln!(std::io::stderr(), "SKIP: image::{test}: {reason}").unwrap();
    }
    possible
}

pub(crate) fn is_root() -> bool {
    let root = sys::cred::real_uid().0 == 0;
    if !root {
        eprintln!("skipped: needs root");
    }
    root
}
