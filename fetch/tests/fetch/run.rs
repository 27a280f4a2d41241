//! Running the program with a store of the test's own.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use image::store::digest_of;
use serde_json::Value;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_bryo-fetch");

/// A store.
pub(crate) struct Scratch(tempfile::TempDir);

/// How a run of the program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.0.path().join("images")
    }

    /// The program, about to pull an image.
    pub(crate) fn pulling(&self, server: &str, image: &str) -> Command {
        let mut command = program();
        command.args(["pull", "--server", server, "--image", image, "--store"]).arg(self.store());
        command
    }

    pub(crate) fn pull(&self, server: &str, image: &str) -> Ended {
        self.pulling(server, image).output().unwrap().into()
    }

    /// Starts to pull an image.
    pub(crate) fn start(&self, server: &str, image: &str) -> Child {
        self.pulling(server, image)
            .arg("--progress")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// What of a file is in a directory of the store.
    pub(crate) fn length(&self, dir: &str, bytes: &[u8]) -> Option<u64> {
        fs::metadata(self.store().join(dir).join(digest_of(bytes).hex())).ok().map(|status| status.len())
    }

    /// Asserts that a file is in the store.
    pub(crate) fn assert_has(&self, bytes: &[u8]) {
        assert!(fs::read(self.store().join("blobs").join(digest_of(bytes).hex())).unwrap() == bytes);
        assert_eq!(self.count("partial"), 0);
    }

    /// Asserts that nothing of a file is in the store, and that no image has a name.
    pub(crate) fn assert_nothing_of(&self, bytes: &[u8]) {
        assert_eq!((self.length("blobs", bytes), self.length("partial", bytes)), (None, None));
        assert_eq!(self.count("names"), 0);
    }

    pub(crate) fn count(&self, dir: &str) -> usize {
        fs::read_dir(self.store().join(dir)).unwrap().count()
    }
}

/// The program, without what the environment of the tests says of proxies and certificates.
pub(crate) fn program() -> Command {
    let mut command = Command::new(PROGRAM);
    command.env_clear().stdin(Stdio::null());
    command
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
    pub(crate) fn report(&self) -> Value {
        assert_eq!(self.status, Some(0), "{}", self.stderr);
        serde_json::from_str(self.stdout.lines().last().unwrap()).unwrap()
    }

    /// Asserts a failure of one line that holds each of `words`.
    pub(crate) fn assert_refused(&self, words: &[&str]) {
        assert_eq!(self.status, Some(1), "{self:?}");
        let lines: Vec<_> = self.stderr.lines().filter(|line| !line.contains("note: the kernel")).collect();
        assert_eq!(lines.len(), 1, "{}", self.stderr);
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is not in: {}", self.stderr);
        }
    }
}

/// Waits until something holds.
pub(crate) fn until(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < end, "{what} does not come about");
        std::thread::sleep(Duration::from_millis(10));
    }
}
