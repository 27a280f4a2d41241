//! Signatures of indexes, by gpgv(1): only keys of a keyring that the user or the host has chosen count.
//!
//! Who speaks with servers runs no program any more, so a few processes begin before it is shut in: each waits for one signature and one
//! text. It has less than the fetcher: it reads the keyring and the system's programs, and has no network.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use image::command::{Options, UsageError};
use sys::{landlock, process, seccomp};
use syscalls::Sysno;

use super::shut::{NEW, OLD, READ, REFUSED};

/// The program.
const GPGV: &str = "gpgv";
/// Where programs are.
const PROGRAMS: [&str; 4] = ["/usr/bin", "/bin", "/usr/local/bin", "/run/current-system/sw/bin"];
/// Where libraries and the loader are, which are run too.
const LIBRARIES: [&str; 5] = ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/nix/store"];
/// How many texts a fetch believes: an index and the list that it names, or an index and the digests of an image.
const TEXTS: usize = 2;
/// How a signature is called: its text's name, with one of these behind it.
pub(crate) const ENDINGS: [&str; 3] = ["asc", "gpg", "sig"];
/// The longest signature.
pub(crate) const MAX_SIGNATURE: u64 = 1 << 16;
/// How binary keyrings do not begin.
const ARMOUR: &[u8] = b"-----BEGIN PGP";

/// Why no signature can be looked at, or one is none.
#[derive(Debug, thiserror::Error)]
pub enum BadSignature {
    /// There is no gpgv.
    #[error(
        "a keyring is named ({keyring}), so the index of a server needs a signature, and gpgv, which looks at it, is not there: install the \
         package gpgv, or unset image.keyring", keyring = .0.display()
    )]
    NoGpgv(PathBuf),
    /// The file is not there, or none.
    #[error("the keyring {path}: {error}", path = .path.display())]
    Keyring {
        /// Which.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// A process of it.
    #[error("running gpgv: {0}")]
    Running(#[from] io::Error),
    /// A text without one.
    #[error(
        "it has no signature beside it (.asc, .gpg or .sig), and a keyring is named, so that one is needed"
    )]
    None,
    /// gpgv says so.
    #[error("its signature is not one of a key of the keyring: {0}")]
    Refused(String),
}

/// The keys that count.
#[derive(Debug)]
pub(crate) struct Keys(RefCell<Vec<Waiting>>);

/// A process that waits for a signature and a text.
#[derive(Debug)]
struct Waiting {
    child: Child,
    signature: File,
}

impl Keys {
    /// Starts what looks at signatures.
    pub(crate) fn prepare(keyring: &Path) -> Result<Self, BadSignature> {
        let failed = |error| BadSignature::Keyring { path: keyring.to_owned(), error };
        let path = keyring.canonicalize().map_err(failed)?;
        let mut start = [0; ARMOUR.len()];
        let read = File::open(&path).and_then(|mut file| file.read(&mut start)).map_err(failed)?;
        if start[..read] == *ARMOUR {
            let why = "it is text; gpg --dearmor makes a keyring of it";
            return Err(failed(io::Error::other(why)));
        }
        let found = PROGRAMS.iter().map(|dir| Path::new(dir).join(GPGV)).find(|path| path.is_file());
        let gpgv = found.ok_or_else(|| BadSignature::NoGpgv(path.clone()))?;
        let waiting = (0..TEXTS).map(|_| Waiting::start(&gpgv, &path)).collect::<io::Result<_>>()?;
        Ok(Self(RefCell::new(waiting)))
    }

    /// Looks at the signature of a text.
    ///
    /// # Errors
    /// It is not that of one of the keys, or of another text.
    pub(crate) fn check(&self, text: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        let waiting = self.0.borrow_mut().pop();
        waiting.ok_or_else(|| io::Error::other("more texts than were expected"))?.check(text, signature)
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        // What is given nothing ends by itself.
        for mut waiting in self.0.borrow_mut().drain(..) {
            drop((waiting.child.stdin.take(), waiting.signature));
            let _ended = waiting.child.wait();
        }
    }
}

impl Waiting {
    fn start(gpgv: &Path, keyring: &Path) -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        let (reader, writer) = (OwnedFd::from(reader), OwnedFd::from(writer));
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(GPGV).arg("--program").arg(gpgv).arg("--keyring").arg(keyring);
        command.arg("--signature").arg(reader.as_raw_fd().to_string());
        command.env_clear().env("LC_ALL", "C");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = process::spawn_dying_with_parent(&mut command, &[reader.as_fd()])?;
        Ok(Self { child, signature: File::from(writer) })
    }

    /// gpgv reads the signature to its end before the text.
    fn check(self, text: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        let Self { mut child, signature: mut first } = self;
        let mut stdin = child.stdin.take().ok_or_else(|| io::Error::other("it has no input"))?;
        let write = move || {
            let written = first.write_all(signature);
            drop(first);
            // Who has found the signature to be none reads no further.
            let _unread = written.and_then(|()| stdin.write_all(text));
        };
        // Another thread writes: of a signature of many parts gpgv says more than a pipe holds before it reads on.
        let said = thread::scope(|scope| {
            thread::Builder::new().spawn_scoped(scope, write)?;
            child.wait_with_output()
        })?;
        let status = String::from_utf8_lossy(&said.stdout);
        let good = status.lines().filter(|line| line.starts_with("[GNUPG:] GOODSIG ")).count();
        match said.status.success() && good > 0 {
            true => Ok(()),
            false => Err(BadSignature::Refused(why(&String::from_utf8_lossy(&said.stderr)))),
        }
    }
}

/// What gpgv says last of what is wrong, or that it says nothing.
fn why(said: &str) -> String {
    let mut lines = said.lines().map(|line| line.trim_start_matches("gpgv: ").trim());
    let told = |line: &&str| !line.is_empty() && !line.starts_with("verify signatures failed");
    lines.rfind(told).unwrap_or("gpgv does not say why").to_owned()
}

/// Becomes gpgv: the process that [`Keys`] has started, by the words that it was given.
///
/// # Errors
/// Wrong words, or gpgv cannot be run; otherwise this does not return.
pub fn become_gpgv(
    arguments: impl Iterator<Item = std::ffi::OsString>,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut options = Options::part(arguments);
    let [program, keyring] = [options.needed("--program")?, options.needed("--keyring")?].map(PathBuf::from);
    let signature: i32 = options.read("--signature")?;
    options.end()?;
    let fd = process::inherited(signature).map_err(|_| UsageError::Missing("--signature"))?;
    process::keep_on_exec(fd.as_fd())?;
    let refused = REFUSED.iter().chain(&OLD).filter(|call| !matches!(call, Sysno::execve | Sysno::execveat));
    let refused: Vec<u32> =
        refused.map(|call| call.id() as u32).chain([Sysno::socket.id() as u32]).chain(NEW).collect();
    let read = READ.iter().map(Path::new).chain([keyring.as_path()]);
    let run = LIBRARIES.iter().map(Path::new).chain([program.as_path()]);
    let shut = process::set_no_new_privs()
        .and_then(|()| landlock::only_run(read, run))
        .and_then(|()| seccomp::refuse(&refused, &[]));
    // An old kernel has less of it; the caller says so of itself.
    let _partly = shut;
    let mut gpgv = Command::new(program);
    gpgv.arg("--keyring").arg(keyring).args(["--enable-special-filenames", "--status-fd", "1", "--"]);
    Err(gpgv.arg(format!("-&{}", fd.as_raw_fd())).arg("-").exec().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_gpgv_says_last_is_told() {
        let said = "gpgv: Signature made Thu\ngpgv:                using RSA key 5C\ngpgv: BAD signature from \"x\"\n\
                    gpgv: verify signatures failed: Unknown system error\n";
        assert_eq!(why(said), "BAD signature from \"x\"");
        assert_eq!(why(""), "gpgv does not say why");
    }

    #[test]
    fn a_keyring_that_is_none_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.asc");
        assert!(matches!(Keys::prepare(&path), Err(BadSignature::Keyring { .. })));
        std::fs::write(&path, "-----BEGIN PGP PUBLIC KEY BLOCK-----\n").unwrap();
        let refused = Keys::prepare(&path).unwrap_err().to_string();
        assert!(refused.contains("gpg --dearmor"), "{refused}");
    }
}
