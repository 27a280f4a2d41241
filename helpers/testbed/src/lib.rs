//! A small lab for the privileged helpers: its own /etc and /dev/log in a mount namespace of its own, two ordinary users,
//! and a helper installed both ways. The machine's files and interfaces are not touched.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "this crate is a part of tests")]

mod held;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};

pub use held::{FULL_PIPE, broken_into, held, nobody_may_trace};

/// The user who asks in the tests.
pub const ANA: User = User { name: "ana", id: 61_001 };
/// Somebody else.
pub const BOB: User = User { name: "bob", id: 61_002 };

/// Both ways to install a helper that work.
pub const BOTH: [Install; 2] = [Install::FileCapabilities, Install::SetuidRoot];

/// A user of the lab; the gid equals the uid.
#[derive(Clone, Copy, Debug)]
pub struct User {
    /// Login name.
    pub name: &'static str,
    /// Uid and gid.
    pub id: u32,
}

/// How the helper is installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Install {
    /// By setcap.
    FileCapabilities,
    /// Owned by root, mode 4755.
    SetuidRoot,
    /// Neither.
    Plain,
}

/// The helper that is tested.
#[derive(Clone, Copy, Debug)]
pub struct Helper {
    /// The program, as cargo has built it for the tests. Where `BRYO_HELPERS` names a directory, the one there is tested.
    pub built: &'static str,
    /// What setcap gives it.
    pub capabilities: &'static str,
    /// The namespaces beside the mount namespace that a scenario has for itself, as options of unshare.
    pub namespaces: &'static [&'static str],
    /// The programs that its scenarios need beside those of the lab.
    pub tools: &'static [&'static str],
}

/// A directory with an `etc` to be mounted over /etc, a socket for /dev/log, and copies of the helper.
#[derive(Debug)]
pub struct Lab {
    directory: PathBuf,
    helper: Helper,
    log: UnixDatagram,
}

/// What a scenario said.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The status that the scenario printed as `status=N`, else its own.
    pub status: i32,
    /// What went to stderr.
    pub said: String,
    /// What went to stdout.
    pub printed: String,
}

/// What every lab needs.
const TOOLS: [&str; 4] = ["setcap", "setpriv", "unshare", "bash"];

/// Words for every scenario: `slept PID` waits until a process runs sleep. Beside them `$ANA CMD` and `$BOB CMD` run a
/// program as that user; they are no functions, so that `$!` is the program.
const WORDS: &str = "slept() { until grep -qs sleep /proc/$1/comm; do sleep 0.01; done; }\n";

/// What a caller can leave to the helper: ignored signals, limits, a mask of modes.
pub const HOSTILE: &str = "trap '' HUP INT TERM CHLD; ulimit -S -f 0; ulimit -S -c unlimited; umask 0;";

/// A command before the helper that gives it variables which the loader, libc and Rust read. A loader that honoured the
/// first would say so; setpriv and the shell do, and so nothing is exported to them.
pub const HOSTILE_ENVIRONMENT: &str = "env LD_PRELOAD=/nonexistent LD_LIBRARY_PATH=/nonexistent \
    GLIBC_TUNABLES=glibc.malloc.check=3 GETCONF_DIR=/nonexistent LC_ALL=de_DE.UTF-8 TZ=:/dev/zero RUST_BACKTRACE=full \
    USER=bob LOGNAME=bob HOME=/nonexistent";

/// A command before the helper that gives it a name of 64 KiB and variables of more than 2 MiB. It takes perl, and a
/// stack that has room for them.
pub const LONG_NAME_AND_ENVIRONMENT: &str =
    r#"perl -e '$ENV{"X$_"} = "x" x 131000 for 1..20; $h = shift; exec {$h} "x" x 65536, @ARGV or die $!'"#;

/// Hard limits of which each is as low as a helper takes it.
pub const LOWEST_LIMITS: [&str; 4] = ["-f 0", "-v 32768", "-s 256", "-n 16"];

impl Helper {
    /// Returns the program that is tested: the one that is shipped makes other system calls than one that is built for
    /// tests, under a filter that ends it at one that it may not make.
    fn program(&self) -> PathBuf {
        let built = Path::new(self.built);
        match (std::env::var_os("BRYO_HELPERS"), built.file_name()) {
            (Some(directory), Some(name)) => Path::new(&directory).join(name),
            _ => built.to_owned(),
        }
    }
}

impl User {
    /// Returns the command that becomes this user, to be followed by another.
    pub fn enter(&self) -> String {
        format!("setpriv --reuid {0} --regid {0} --clear-groups", self.id)
    }
}

/// Copies the machine's /etc, once more where a file goes meanwhile: whoever adds a user has some for a moment.
fn copy_etc(to: &Path) {
    let copied = (0..5).any(|_| {
        let _left = fs::remove_dir_all(to);
        Command::new("cp").arg("-a").arg("/etc").arg(to).status().is_ok_and(|status| status.success())
    });
    assert!(copied, "/etc cannot be copied to {}", to.display());
}

impl Lab {
    /// Makes the lab, or prints why it cannot be made here.
    pub fn new(test: &str, helper: Helper) -> Option<Self> {
        if let Err(reason) = possible(helper.tools) {
            skip(test, &reason);
            return None;
        }
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("bryo-helper-{}-{number}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
        copy_etc(&directory.join("etc"));
        let log = UnixDatagram::bind(directory.join("log")).unwrap();
        log.set_nonblocking(true).unwrap();
        fs::set_permissions(directory.join("log"), fs::Permissions::from_mode(0o666)).unwrap();
        let lab = Self { directory, helper, log };
        [ANA, BOB].iter().for_each(|user| lab.add_user(user));
        for install in [Install::FileCapabilities, Install::SetuidRoot, Install::Plain] {
            lab.install(install);
        }
        lab.etc("nsswitch.conf", "passwd: files\ngroup: files\n");
        Some(lab)
    }

    /// Returns the path of a file in the lab.
    pub fn path(&self, name: &str) -> String {
        self.directory.join(name).to_str().unwrap().to_owned()
    }

    /// Writes a file of the lab's /etc, root's and mode 0644.
    pub fn etc(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.directory.join("etc").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let _ = fs::remove_file(&path);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    }

    /// Adds lines to a file of the lab's /etc.
    pub fn add_to_etc(&self, name: &str, lines: &str) {
        let text = fs::read_to_string(self.directory.join("etc").join(name)).unwrap_or_default();
        self.etc(name, text + lines);
    }

    /// Returns the path of the helper, installed one way.
    pub fn helper(&self, install: Install) -> String {
        self.path(match install {
            Install::FileCapabilities => "helper-caps",
            Install::SetuidRoot => "helper-setuid",
            Install::Plain => "helper-plain",
        })
    }

    /// Runs a shell script as a user of the lab, with the helper as $HELPER.
    pub fn user(&self, user: User, install: Install, script: &str) -> Outcome {
        self.through(&format!("{} bash", user.enter()), install, script)
    }

    /// Runs a shell script in the lab as root, with the helper as $HELPER.
    pub fn root(&self, install: Install, script: &str) -> Outcome {
        self.through("bash", install, script)
    }

    /// Runs a shell script in the lab through `enter`, a command that takes `-c SCRIPT`.
    pub fn through(&self, enter: &str, install: Install, script: &str) -> Outcome {
        // A /dev of the lab's own, since the machine's own log may be on the machine's own /dev.
        let mounts = format!(
            "mount --bind {etc} /etc && mkdir -p {dev}/pts {dev}/shm && \
             for node in null zero full random urandom tty; do \
               touch {dev}/$node && mount --bind /dev/$node {dev}/$node || exit 99; done && \
             ln -sfT /proc/self/fd {dev}/fd && touch {dev}/log && mount --bind {log} {dev}/log && \
             mount --rbind {dev} /dev && exec {enter} -c \"$SCRIPT\"",
            etc = self.path("etc"),
            dev = self.path("dev"),
            log = self.path("log"),
        );
        let output = Command::new("unshare")
            .args(["--mount", "--propagation", "private"])
            .args(self.helper.namespaces)
            .args(["sh", "-c", &mounts])
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("SCRIPT", format!("{WORDS}{script}"))
            .env("ANA", ANA.enter())
            .env("BOB", BOB.enter())
            .env("HELPER", self.helper(install))
            .current_dir("/")
            .output()
            .unwrap();
        Outcome::read(&output)
    }

    /// Returns what the helper has sent to the log, an entry a line, and forgets it.
    pub fn logged(&self) -> String {
        let mut entry = [0; 4096];
        let next = || {
            let length = self.log.recv(&mut entry).ok()?;
            Some(format!("{}\n", String::from_utf8_lossy(&entry[..length])))
        };
        std::iter::from_fn(next).collect()
    }

    /// Adds a user, and a group of the same name and number.
    pub fn add_user(&self, user: &User) {
        let User { name, id } = user;
        self.add_to_etc("passwd", &format!("{name}:x:{id}:{id}::/:/bin/sh\n"));
        self.add_to_etc("group", &format!("{name}:x:{id}:\n"));
    }

    /// Returns words that mount the lab `nosuid`.
    pub fn nosuid(&self) -> String {
        format!("mount --bind {0} {0} && mount -o remount,bind,nosuid {0}", self.path(""))
    }

    fn install(&self, install: Install) {
        let path = self.helper(install);
        fs::copy(self.helper.program(), &path).unwrap();
        let mode = if install == Install::SetuidRoot { 0o4755 } else { 0o755 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        if install == Install::FileCapabilities {
            run("setcap", &[self.helper.capabilities, &path]);
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

impl Outcome {
    fn read(output: &Output) -> Self {
        let mut outcome = Self {
            status: 0,
            said: String::from_utf8_lossy(&output.stderr).into_owned(),
            printed: String::from_utf8_lossy(&output.stdout).into_owned(),
        };
        let own = output.status.code().unwrap_or(-1);
        outcome.status = outcome.value("status").parse().unwrap_or(own);
        outcome
    }

    /// Returns what the scenario printed as `key=VALUE`.
    pub fn value(&self, key: &str) -> &str {
        let found = self.printed.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        found.unwrap_or_default()
    }

    /// Returns what the scenario printed as `key=VALUE` each time.
    pub fn values(&self, key: &str) -> Vec<&str> {
        let lines = self.printed.lines();
        lines.filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect()
    }
}

/// Tells whether the lab can be made on this machine, by this user.
fn possible(tools: &[&str]) -> Result<(), String> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    if !status.lines().any(|line| line.starts_with("Uid:\t0\t")) {
        return Err("installing a privileged helper takes root".to_owned());
    }
    if let Some(tool) = TOOLS.iter().chain(tools).find(|tool| !is_there(tool)) {
        return Err(format!("{tool} is needed"));
    }
    let unshared = Command::new("setpriv")
        .args(["--reuid", "61001", "--regid", "61001", "--clear-groups", "unshare", "-U", "true"])
        .status();
    if unshared.is_ok_and(|status| status.success()) {
        Ok(())
    } else {
        Err("an ordinary user may not make user namespaces here".to_owned())
    }
}

/// Says that a test does not run, and why. Not by eprintln, which libtest hides of a test that passes.
pub fn skip(test: &str, reason: &str) {
    let _ = writeln!(std::io::stderr(), "SKIP: {test}: {reason}");
}

/// Tells whether a program that a test needs is missing, and says that the test does not run then.
pub fn lacks(test: &str, tool: &str) -> bool {
    let missing = !is_there(tool);
    if missing {
        skip(test, &format!("{tool} is needed"));
    }
    missing
}

/// Tells whether a program is in PATH.
fn is_there(tool: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':').any(|directory| Path::new(directory).join(tool).exists())
}

/// Runs a command that has to succeed.
pub fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status().unwrap();
    assert!(status.success(), "{program} {arguments:?}: {status}");
}
