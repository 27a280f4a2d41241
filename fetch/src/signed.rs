//! Signatures of indexes, by gpgv(1): only keys of a keyring that the user or the host has chosen count.
//!
//! What counts is what gpgv says by its status lines: one good signature, and none that is bad. Its exit status alone would refuse a text
//! that somebody else has signed as well. Of a text with its signature inside that is believed which gpgv gives out, never what stands
//! in the file: that may have more around it.
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
/// The lines of a text with its signature inside, in their order. A line of the text itself has `- ` before such dashes.
/// Source: RFC 9580, section 7.
const LINES: [&str; 3] =
    ["-----BEGIN PGP SIGNED MESSAGE-----", "-----BEGIN PGP SIGNATURE-----", "-----END PGP SIGNATURE-----"];
/// How gpgv's status lines begin. Source: GnuPG's doc/DETAILS.
const STATUS: &str = "[GNUPG:] ";

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
    /// There is more in it than one text with its signature.
    #[error("it is not one signed text alone: what stands outside of the signed part nobody vouches for")]
    Around,
    /// gpgv says so.
    #[error("its signature is not one of a key of the keyring: {0}")]
    Refused(String),
}

/// The keys that count.
#[derive(Debug)]
pub(crate) struct Keys {
    beside: RefCell<Vec<Waiting>>,
    inside: RefCell<Vec<Waiting>>,
}

/// Where a text's signature is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Beside,
    Inside,
}

/// A process that waits for a text, and its signature where that is beside it.
#[derive(Debug)]
struct Waiting {
    child: Child,
    signature: File,
    status: File,
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
        let start =
            |place| (0..TEXTS).map(|_| Waiting::start(&gpgv, &path, place)).collect::<io::Result<Vec<_>>>();
        Ok(Self { beside: start(Place::Beside)?.into(), inside: start(Place::Inside)?.into() })
    }

    /// Looks at the signature beside a text.
    ///
    /// # Errors
    /// It is not that of one of the keys, or of another text.
    pub(crate) fn check(&self, text: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        next(&self.beside)?.check(text, signature).map(drop)
    }

    /// Returns the text in which its signature is.
    ///
    /// # Errors
    /// As [`Keys::check`]; or there is more than that text.
    pub(crate) fn signed(&self, text: &[u8]) -> Result<Vec<u8>, BadSignature> {
        if !is_one_text(text) {
            return Err(BadSignature::Around);
        }
        next(&self.inside)?.check(text, &[])
    }
}

fn next(waiting: &RefCell<Vec<Waiting>>) -> io::Result<Waiting> {
    waiting.borrow_mut().pop().ok_or_else(|| io::Error::other("more texts than were expected"))
}

impl Drop for Keys {
    fn drop(&mut self) {
        // What is given nothing ends by itself.
        for mut waiting in self.beside.borrow_mut().drain(..).chain(self.inside.borrow_mut().drain(..)) {
            drop((waiting.child.stdin.take(), waiting.signature));
            let _ended = waiting.child.wait();
        }
    }
}

impl Waiting {
    fn start(gpgv: &Path, keyring: &Path, place: Place) -> io::Result<Self> {
        let (reader, signature) = io::pipe()?;
        let (status, writer) = io::pipe()?;
        let (reader, writer) = (OwnedFd::from(reader), OwnedFd::from(writer));
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(GPGV).arg("--program").arg(gpgv).arg("--keyring").arg(keyring);
        command.arg("--status").arg(writer.as_raw_fd().to_string());
        if place == Place::Beside {
            command.arg("--signature").arg(reader.as_raw_fd().to_string());
        }
        command.env_clear().env("LC_ALL", "C");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = process::spawn_dying_with_parent(&mut command, &[reader.as_fd(), writer.as_fd()])?;
        let [signature, status] = [OwnedFd::from(signature), OwnedFd::from(status)].map(File::from);
        Ok(Self { child, signature, status })
    }

    /// gpgv reads the signature to its end before the text. What it gives out is the text, where its signature is inside.
    fn check(self, text: &[u8], signature: &[u8]) -> Result<Vec<u8>, BadSignature> {
        let Self { mut child, signature: mut first, mut status } = self;
        let mut stdin = child.stdin.take().ok_or_else(|| io::Error::other("it has no input"))?;
        let write = move || {
            let written = first.write_all(signature);
            drop(first);
            // Who has found the signature to be none reads no further.
            let _unread = written.and_then(|()| stdin.write_all(text));
        };
        let read = move || {
            let mut lines = Vec::new();
            status.read_to_end(&mut lines).map(|_| String::from_utf8_lossy(&lines).into_owned())
        };
        // Other threads write and read: of a signature of many parts gpgv says more than a pipe holds before it reads on.
        let (said, status) = thread::scope(|scope| {
            thread::Builder::new().spawn_scoped(scope, write)?;
            let status = thread::Builder::new().spawn_scoped(scope, read)?;
            let said = child.wait_with_output()?;
            let ended = || io::Error::other("the thread that reads its status has ended");
            Ok::<_, io::Error>((said, status.join().map_err(|_| ended())??))
        })?;
        match said.status.code().is_some() && is_good(&status) {
            true => Ok(said.stdout),
            false => Err(BadSignature::Refused(why(&String::from_utf8_lossy(&said.stderr)))),
        }
    }
}

/// What gpgv may say of a text and its signatures, good or unknown. Anything else, such as `ERROR`, is of a text that is not what it
/// seems. Source: GnuPG's doc/DETAILS, "Format of the --status-fd output".
const EXPECTED: [&str; 19] = [
    "NEWSIG",
    "KEY_CONSIDERED",
    "SIG_ID",
    "GOODSIG",
    "VALIDSIG",
    "ERRSIG",
    "NO_PUBKEY",
    "EXPSIG",
    "EXPKEYSIG",
    "REVKEYSIG",
    "KEYEXPIRED",
    "SIGEXPIRED",
    "KEYREVOKED",
    "PLAINTEXT",
    "PLAINTEXT_LENGTH",
    "NOTATION_NAME",
    "NOTATION_FLAGS",
    "NOTATION_DATA",
    "POLICY_URL",
];

/// Tells by gpgv's status lines whether a text has a good signature and no bad one, and nothing else is wrong. A good one of a key that
/// has expired or was revoked has another word; one of a key that nobody knows says nothing.
fn is_good(status: &str) -> bool {
    let words = status.lines().filter_map(|line| line.strip_prefix(STATUS)?.split(' ').next());
    let words: Vec<&str> = words.collect();
    let has_one = |word| words.iter().filter(|other| **other == word).count() <= 1;
    words.contains(&"GOODSIG")
        && words.contains(&"VALIDSIG")
        && words.iter().all(|word| EXPECTED.contains(word))
        && has_one("PLAINTEXT")
}

/// Tells whether a text is one with its signature inside, and nothing else.
fn is_one_text(text: &[u8]) -> bool {
    let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end);
    let dashes: Vec<&[u8]> = lines.clone().filter(|line| line.starts_with(b"-----")).collect();
    let has_none_after = lines.clone().rev().find(|line| !line.is_empty()) == Some(LINES[2].as_bytes());
    dashes == LINES.map(str::as_bytes) && lines.clone().next() == Some(LINES[0].as_bytes()) && has_none_after
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
    let status: i32 = options.read("--status")?;
    let signature: Option<i32> =
        options.value("--signature")?.and_then(|value| value.to_str().and_then(|text| text.parse().ok()));
    options.end()?;
    let inherited = |fd: i32, option| process::inherited(fd).map_err(|_| UsageError::Missing(option));
    let status = inherited(status, "--status")?;
    let signature = signature.map(|fd| inherited(fd, "--signature")).transpose()?;
    for fd in std::iter::once(&status).chain(&signature) {
        process::keep_on_exec(fd.as_fd())?;
    }
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
    gpgv.arg("--keyring").arg(keyring).arg("--enable-special-filenames");
    gpgv.arg("--status-fd").arg(status.as_raw_fd().to_string());
    match &signature {
        Some(fd) => gpgv.arg("--").arg(format!("-&{}", fd.as_raw_fd())).arg("-"),
        None => gpgv.args(["--output", "-", "--", "-"]),
    };
    Err(gpgv.exec().into())
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
    fn one_good_signature_counts_and_a_bad_one_counts_more() {
        let status =
            |lines: &[&str]| lines.iter().map(|line| format!("{STATUS}{line}\n")).collect::<String>();
        let (good, valid) = ("GOODSIG 5C ana", "VALIDSIG 5C 2026-11-26");
        assert!(is_good(&status(&["NEWSIG", good, valid])));
        assert!(is_good(&status(&["PLAINTEXT 74 0 ", "NEWSIG", good, valid])));
        assert!(is_good(&status(&["NEWSIG", "ERRSIG 7D 1 8 00", "NO_PUBKEY 7D", "NEWSIG", good, valid])));
        for lines in [
            &[][..],
            &[good],
            &[valid],
            &["EXPKEYSIG 5C ana", valid],
            &["REVKEYSIG 5C ana", valid],
            &["ERRSIG 7D 1 8 00", "NO_PUBKEY 7D"],
            &[good, valid, "BADSIG 7D ben"],
            // A whole message about nothing, in the place of the signature.
            &["PLAINTEXT 74 0 ", "ERROR proc_pkt.plaintext 89_BAD_DATA", "NEWSIG", good, valid],
            &["PLAINTEXT 74 0 ", "PLAINTEXT 62 0 ", good, valid],
            &[good, valid, "FAILURE gpgv-exit 1"],
            &[good, valid, "NODATA 1"],
            &[good, valid, "UNEXPECTED 0"],
            &["NOTATION_DATA GOODSIG", valid],
        ] {
            assert!(!is_good(&status(lines)), "{lines:?}");
        }
        assert!(!is_good(&format!("GOODSIG 5C\n{STATUS}{valid}\n x {STATUS}{good}\n")), "what else is said");
    }

    #[test]
    fn a_signed_text_has_nothing_around_it() {
        let [begin, signature, end] = LINES;
        let whole = format!("{begin}\nHash: SHA512\n\n{{}}\n- {begin}\n{signature}\n\nabc\n{end}\n\n");
        assert!(is_one_text(whole.as_bytes()));
        assert!(is_one_text(whole.replace('\n', "\r\n").as_bytes()));
        for other in [
            format!("{{}}\n{whole}"),
            format!("\n{whole}"),
            format!("{whole}{{}}"),
            format!("{whole}{whole}"),
            whole.replace(end, ""),
            whole.replace(begin, ""),
            "{}".to_owned(),
            String::new(),
        ] {
            assert!(!is_one_text(other.as_bytes()), "{other}");
        }
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
