//! Claims about a real modern host, whose init is systemd: they run in the virtual machine, as `cargo xtask vm test` has
//! it, and elsewhere say that they do not.
//!
//! The guest emulates each instruction, and a fork with its wait takes some 40 times as long as outside. So a claim runs
//! its commands in few shells, and waits long.

use std::env;
use std::fs;
use std::panic;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::claim::skip;
use crate::subject::{Subject, subject};

/// Set to where the guest keeps what the suites need, while one runs there.
pub const STAGE: &str = "BRYO_VM_STAGE";

/// Why a claim about the guest is skipped anywhere else.
pub const ELSEWHERE: &str = "it runs in the virtual machine: cargo xtask vm test";

/// How long anything may take in the guest.
const PATIENCE: Duration = Duration::from_secs(300);

/// Lists the tests of a suite that runs in the virtual machine. `name;` makes the test `name::vm`, which calls the
/// function `name(&Guest)`. What does not hold of the guest's own LXC says why: `name, not lxc "it has no such thing";`.
#[macro_export]
macro_rules! claims_of_a_modern_host {
    ($($claim:ident $(, not lxc $why:literal)?;)+) => {$(
        mod $claim {
            #[test]
            fn vm() {
                let name = concat!(env!("CARGO_CRATE_NAME"), "::", stringify!($claim), "::vm");
                let not_lxc: &[&str] = &[$($why)?];
                $crate::vm::claim(name, not_lxc.first().copied(), super::$claim);
            }
        }
    )+};
}

/// Runs `story` in the guest, and fails when it leaves a process or a cgroup behind; or says that this is no guest.
///
/// # Panics
/// The story fails, or something is left behind.
pub fn claim(name: &str, not_lxc: Option<&str>, story: fn(&Guest)) {
    let Some(stage) = env::var_os(STAGE) else {
        return skip(name, ELSEWHERE);
    };
    if let (Subject::Lxc, Some(why)) = (subject(), not_lxc) {
        return skip(name, &format!("of LXC it is not so: {why}"));
    }
    let guest = Guest { stage: stage.into() };
    if subject() == Subject::Lxc {
        guest.root(FOR_LXC).succeeds();
    }
    let told = panic::catch_unwind(|| story(&guest));
    let left = if told.is_ok() { guest.await_nothing() } else { Vec::new() };
    guest.clear();
    if let Err(failure) = told {
        panic::resume_unwind(failure);
    }
    assert!(left.is_empty(), "{name} leaves behind: {left:?}");
}

/// What LXC needs of its users: ranges of ids in a file of theirs, and a home through which container root may pass.
const FOR_LXC: &str = "for user in ana ben; do
    home=/home/$user
    mkdir -p $home/.config/lxc
    sed -n \"s/^$user:\\([0-9]*\\):\\([0-9]*\\)/lxc.idmap = u 0 \\1 \\2\\nlxc.idmap = g 0 \\1 \\2\\nlxc.net.0.type = empty/p\" \\
        /etc/subuid >$home/.config/lxc/default.conf
    chown -R $user: $home/.config
    chmod 711 $home
done";

/// The host that a claim is about, as its administrator sees it.
#[derive(Debug)]
pub struct Guest {
    stage: PathBuf,
}

/// What a command said.
#[derive(Debug)]
pub struct Said {
    script: String,
    status: Option<i32>,
    /// Its standard output, without the last line's end.
    pub out: String,
    err: String,
}

/// From where a user runs a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// A service of the user's own systemd.
    Service,
    /// A session, as ssh opens it.
    Session,
    /// Root's session, by su.
    Su,
    /// A service of the system's, as jobs of cron and of CI are.
    Job,
    /// The same, without asking systemd for it.
    Plain,
}

impl From {
    /// Returns what runs `sh -c SCRIPT` as a user there, but for the script.
    fn command(self, user: &str) -> Command {
        if self == Self::Plain {
            let mut command = Command::new("runuser");
            command.args(["-u", user, "--", "sh", "-c"]);
            return command;
        }
        let mut command = Command::new("systemd-run");
        command.args(["--pipe", "--wait", "--quiet", "--collect"]);
        // What a container goes on in is no part of the service that started it. One that has a session may not say so.
        if matches!(self, Self::Service | Self::Job) {
            command.arg("--property=KillMode=process");
        }
        let user_of_service = format!("--property=User={user}");
        let machine = format!("--machine={user}@.host");
        const SESSION: &str = "--property=PAMName=sshd";
        match self {
            Self::Service => command.args(["--user", &machine, "sh", "-c"]),
            Self::Session => command.args([&user_of_service, SESSION, "sh", "-c"]),
            Self::Su => command.args(["--property=User=root", SESSION, "su", "-", user, "-c"]),
            Self::Job | Self::Plain => command.args([&user_of_service, "sh", "-c"]),
        };
        command
    }
}

impl Guest {
    /// Runs a shell's script as ana, in a service of her own systemd.
    pub fn ana(&self, script: &str) -> Said {
        self.run(From::Service, "ana", script)
    }

    /// Runs a shell's script as a user.
    pub fn run(&self, from: From, user: &str, script: &str) -> Said {
        let whole = format!("{}cd /home/{user}; export HOME=$PWD; {script}", self.path());
        let mut command = from.command(user);
        said(command.arg(whole), script)
    }

    /// Runs a shell's script as root, with Bryo in its `PATH`.
    pub fn root(&self, script: &str) -> Said {
        let whole = format!("{}{script}", self.path());
        said(Command::new("sh").args(["-c", &whole]), script)
    }

    /// Has a shell find the subject first, and behind it where `lxc-attach` looks for the container's programs too.
    fn path(&self) -> String {
        let path = "$PATH:/sbin:/bin; ";
        match subject() {
            Subject::Bryo => format!("export PATH={}/bin:{path}", self.file("prefix").display()),
            Subject::Lxc => format!("export PATH={path}"),
        }
    }

    /// Returns the name of the scope in which the container `web` is.
    pub fn scope(&self) -> &'static str {
        match subject() {
            Subject::Bryo => "bryo-web.scope",
            Subject::Lxc => "lxc-web-0.scope",
        }
    }

    /// Returns the path of what the suite was given.
    pub fn file(&self, name: &str) -> PathBuf {
        self.stage.join(name)
    }

    /// Makes the container `web` of ana's, and starts it with keys set, from a service of her systemd.
    pub fn start_web(&self, keys: &[&str]) -> Said {
        self.start_web_of(From::Service, "ana", keys)
    }

    /// Makes the container `web` of the busybox root file system, and starts it with keys set.
    pub fn start_web_of(&self, from: From, user: &str, keys: &[&str]) -> Said {
        self.run(from, user, &self.making_web(keys))
    }

    /// Makes the container `web` of Debian's release `release`, starts it with options, and waits until its systemd has booted, with
    /// every unit well.
    ///
    /// # Panics
    /// Something of it fails.
    pub fn boots_debian(&self, release: &str, options: &str) {
        let archive = self.file(&format!("debian-{release}-sessions.tar.zst"));
        let make = format!("bryo create --quiet web {} && bryo start web {options}", archive.display());
        self.ana(&make).succeeds();
        let answers = || self.ana("bryo exec web -- systemctl show -P Version").status == Some(0);
        assert!(await_that(answers), "systemd does not answer");
        let state = "systemctl is-system-running --wait; systemctl list-units --failed --plain --no-legend";
        self.ana(&format!("bryo exec web -- sh -c '{state}'")).says("running");
    }

    /// Sets up the usual bridge, on which ana may have devices.
    pub fn sets_up_the_bridge(&self) {
        self.root("bryo net setup && mkdir -p /etc/lxc && echo ana veth lxcbr0 10 >/etc/lxc/lxc-usernet")
            .succeeds();
    }

    /// Returns the script that makes and starts the container `web` of the busybox root file system.
    pub fn making_web(&self, keys: &[&str]) -> String {
        let defines: String = keys.iter().map(|key| format!(" --define '{key}'")).collect();
        let file = |name| self.file(name).display().to_string();
        match subject() {
            Subject::Bryo => {
                let archive = file("busybox.tar.zst");
                format!("bryo create --quiet web {archive} && bryo start web --net loopback{defines}")
            }
            Subject::Lxc => {
                let (meta, archive) = (file("busybox-meta.tar.xz"), file("busybox.tar.xz"));
                format!(
                    "lxc-create -n web -t local -- -m {meta} -f {archive} >/dev/null && lxc-start -n web{defines}"
                )
            }
        }
    }

    /// Returns the directories of the cgroups of containers, of their monitors and of scopes.
    pub fn groups(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        find(Path::new("/sys/fs/cgroup"), &mut found);
        found
    }

    /// Returns the directory of the cgroup that limits the container `web`.
    ///
    /// # Panics
    /// There is none, or more than one.
    pub fn payload(&self) -> PathBuf {
        let mut groups = self.groups();
        groups.retain(|group| group.file_name().is_some_and(|name| name == "lxc.payload.web"));
        assert_eq!(groups.len(), 1, "cgroups of the payload: {groups:?}");
        groups.remove(0)
    }

    /// Waits until nothing of a container is left, and returns what is at last.
    pub fn await_nothing(&self) -> Vec<PathBuf> {
        let mut left = Vec::new();
        await_that(|| {
            left = self.groups();
            left.extend(monitors().iter().map(|pid| Path::new("/proc").join(pid.to_string())));
            left.is_empty()
        });
        left
    }

    /// Kills the monitors, as nobody should.
    ///
    /// # Panics
    /// There is none.
    pub fn kill_monitors(&self) {
        let monitors = monitors();
        assert!(!monitors.is_empty(), "no monitor runs");
        kill(&monitors);
    }

    /// Removes what a claim has left, for the next one.
    fn clear(&self) {
        kill(&monitors());
        for user in ["ana", "ben"] {
            if Path::new("/home").join(user).join(".local/share/lxc/web").exists() {
                let _told_by_the_next = self.run(From::Plain, user, "lxc-destroy -n web -f");
            }
        }
    }
}

/// Waits until something is so, and tells whether it is.
pub fn await_that(mut is_so: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + PATIENCE;
    loop {
        if is_so() {
            return true;
        }
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Returns the text of a file of the kernel's.
///
/// # Panics
/// It cannot be read.
pub fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("reading {}: {error}", file.display()))
}

/// Returns the number behind a name in such a file.
///
/// # Panics
/// There is none.
pub fn field(file: &Path, name: &str) -> u64 {
    let text = read(file);
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
    value.unwrap_or_else(|| panic!("{} has no number {name}: {text}", file.display()))
}

fn kill(pids: &[i32]) {
    for pid in pids {
        let _gone = Command::new("kill").arg("-KILL").arg(pid.to_string()).status();
    }
}

impl Said {
    /// Fails unless the command did what it was asked.
    ///
    /// # Panics
    /// Its status is not 0.
    #[track_caller]
    pub fn succeeds(self) -> Self {
        assert_eq!(self.status, Some(0), "{}", self.told());
        self
    }

    /// Fails if the command did what it was asked.
    ///
    /// # Panics
    /// Its status is 0, or none.
    #[track_caller]
    pub fn fails(self) -> Self {
        assert!(self.status.is_some_and(|status| status != 0), "{}", self.told());
        self
    }

    fn told(&self) -> String {
        format!("{}\n{:?}: {}\n{}", self.script, self.status, self.out, self.err)
    }

    /// Fails unless the output or the errors have these words in them.
    ///
    /// # Panics
    /// They have not.
    #[track_caller]
    pub fn tells(self, words: &str) -> Self {
        assert!(self.out.contains(words) || self.err.contains(words), "{words:?} is not in: {}", self.told());
        self
    }

    /// Fails unless the output is this.
    ///
    /// # Panics
    /// It is another.
    #[track_caller]
    pub fn says(self, out: &str) -> Self {
        assert_eq!(self.out, out, "{}", self.told());
        self
    }
}

fn said(command: &mut Command, script: &str) -> Said {
    let mut timed = Command::new("timeout");
    timed.arg(PATIENCE.as_secs().to_string()).arg(command.get_program()).args(command.get_args());
    let output = match timed.stdin(Stdio::null()).output() {
        Ok(output) => output,
        Err(error) => panic!("running {command:?}: {error}"),
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    Said {
        script: script.to_owned(),
        status: output.status.code(),
        out: text(&output.stdout),
        err: text(&output.stderr),
    }
}

fn find(directory: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten().filter(|entry| entry.path().is_dir()) {
        let name = entry.file_name();
        if ["lxc.", "bryo"].iter().any(|ours| name.to_string_lossy().starts_with(ours)) {
            found.push(entry.path());
        }
        find(&entry.path(), found);
    }
}

/// Returns the processes that run a monitor.
fn monitors() -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let monitor = |entry: fs::DirEntry| {
        let name = fs::read_to_string(entry.path().join("comm")).ok()?;
        let ours = match subject() {
            Subject::Bryo => "bryo-monitor",
            Subject::Lxc => "lxc-start",
        };
        (name.trim_end() == ours).then(|| entry.file_name().to_str()?.parse().ok())?
    };
    entries.flatten().filter_map(monitor).collect()
}
