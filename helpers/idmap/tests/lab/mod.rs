//! A small lab for bryo-idmap: its own /etc in a mount namespace of its own, two ordinary users, and the
//! helper installed both ways. The machine's files are not touched.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The user who asks in the tests.
pub(crate) const ANA: User = User { name: "ana", id: 61_001 };
/// Somebody else.
pub(crate) const BOB: User = User { name: "bob", id: 61_002 };

/// A user of the lab; the gid equals the uid.
#[derive(Clone, Copy, Debug)]
pub(crate) struct User {
    /// Login name.
    pub(crate) name: &'static str,
    /// Uid and gid.
    pub(crate) id: u32,
}

/// How the helper is installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Install {
    /// `setcap cap_setgid,cap_setuid=ep`.
    FileCapabilities,
    /// Owned by root, mode 4755.
    SetuidRoot,
    /// Neither.
    Plain,
}

/// A directory with an `etc` to be mounted over /etc, and copies of the helper.
#[derive(Debug)]
pub(crate) struct Lab {
    directory: PathBuf,
}

/// What a scenario left: its exit status and output, and the map files of the target as `key=value` lines.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The exit status of the helper.
    pub(crate) status: i32,
    /// What the helper said.
    pub(crate) said: String,
    /// `uid_map` of the target, fields joined by one space, lines by `;`.
    pub(crate) uid_map: String,
    /// `gid_map`, likewise.
    pub(crate) gid_map: String,
    /// `setgroups` of the target.
    pub(crate) setgroups: String,
    /// Everything, for messages and for what a scenario prints itself.
    pub(crate) output: String,
}

impl Lab {
    /// Makes the lab, or prints why it cannot be made here.
    pub(crate) fn new(test: &str) -> Option<Self> {
        if let Err(reason) = possible() {
            eprintln!("skipped {test}: {reason}");
            return None;
        }
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("bryo-idmap-{}-{number}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
        let lab = Self { directory };
        run("cp", &["-a", "/etc", lab.path("etc").as_str()]);
        lab.add_users();
        for install in [Install::FileCapabilities, Install::SetuidRoot, Install::Plain] {
            lab.install(install);
        }
        lab.etc("subuid", "ana:100000:65536\nbob:200000:65536\n");
        lab.etc("subgid", "ana:100000:65536\nbob:200000:65536\n");
        lab.etc("nsswitch.conf", "passwd: files\ngroup: files\n");
        Some(lab)
    }

    /// Returns the path of a file in the lab.
    pub(crate) fn path(&self, name: &str) -> String {
        self.directory.join(name).to_str().unwrap().to_owned()
    }

    /// Writes a file of the lab's /etc, root's and mode 0644.
    pub(crate) fn etc(&self, name: &str, text: &str) {
        let path = self.directory.join("etc").join(name);
        let _ = fs::remove_file(&path);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    }

    /// Returns the path of the helper, installed one way.
    pub(crate) fn helper(&self, install: Install) -> String {
        self.path(match install {
            Install::FileCapabilities => "idmap-caps",
            Install::SetuidRoot => "idmap-setuid",
            Install::Plain => "idmap-plain",
        })
    }

    /// Has ana map the user namespace of a process of hers: descriptor 3 is its directory in /proc.
    pub(crate) fn map(&self, install: Install, arguments: &str) -> Outcome {
        self.target(install, &format!("$HELPER 3 {arguments}"))
    }

    /// Runs `script` as ana, with a process in a fresh user namespace as $TARGET, its directory as descriptor
    /// 3, the helper as $HELPER. The exit status of the script's last command counts.
    pub(crate) fn target(&self, install: Install, script: &str) -> Outcome {
        let story = format!(
            "unshare -U sleep 60 & TARGET=$!\n\
             until grep -q sleep /proc/$TARGET/comm; do sleep 0.01; done\n\
             exec 3</proc/$TARGET\n\
             {{ {script}\n}}\n\
             echo status=$?\n\
             for file in uid_map gid_map setgroups; do\n\
               echo $file=$(sed 's/  */ /g; s/^ //; s/$/;/' /proc/$TARGET/$file)\n\
             done\n\
             kill $TARGET",
        );
        self.user(ANA, install, &story)
    }

    /// Runs a shell script as a user of the lab, with the helper as $HELPER.
    pub(crate) fn user(&self, user: User, install: Install, script: &str) -> Outcome {
        let id = user.id;
        let enter = format!("setpriv --reuid {id} --regid {id} --clear-groups bash");
        self.root(&enter, install, script)
    }

    /// Runs a shell script in the lab through `enter`, a command that takes `-c SCRIPT`.
    pub(crate) fn root(&self, enter: &str, install: Install, script: &str) -> Outcome {
        let mounts = format!("mount --bind {} /etc && exec {enter} -c \"$SCRIPT\"", self.path("etc"));
        let output = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", &mounts])
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("SCRIPT", script)
            .env("HELPER", self.helper(install))
            .current_dir("/")
            .output()
            .unwrap();
        Outcome::read(&output)
    }

    fn add_users(&self) {
        for (file, line) in [("passwd", "NAME:x:ID:ID::/:/bin/sh\n"), ("group", "NAME:x:ID:\n")] {
            let path = self.directory.join("etc").join(file);
            let mut text = fs::read_to_string(&path).unwrap();
            for user in [ANA, BOB] {
                text += &line.replace("NAME", user.name).replace("ID", &user.id.to_string());
            }
            fs::write(path, text).unwrap();
        }
    }

    fn install(&self, install: Install) {
        let path = self.helper(install);
        fs::copy(env!("CARGO_BIN_EXE_bryo-idmap"), &path).unwrap();
        let mode = if install == Install::SetuidRoot { 0o4755 } else { 0o755 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        if install == Install::FileCapabilities {
            run("setcap", &["cap_setgid,cap_setuid=ep", &path]);
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
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let value = |key: &str| {
            let found = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            found.unwrap_or_default().to_owned()
        };
        let status = value("status").parse().unwrap_or_else(|_| output.status.code().unwrap_or(-1));
        let (uid_map, gid_map, setgroups) = (value("uid_map"), value("gid_map"), value("setgroups"));
        Self { status, uid_map, gid_map, setgroups, output: format!("{text}{said}"), said }
    }

    /// Asserts that the helper refused with `reason`, and that nothing was written.
    pub(crate) fn assert_refused(&self, reason: &str) {
        assert_eq!(self.status, 1, "{self:#?}");
        assert!(self.said.contains(reason), "{reason:?} is not in {:?}", self.said);
        assert_eq!((self.uid_map.as_str(), self.gid_map.as_str()), ("", ""), "{self:#?}");
        assert_ne!(self.setgroups, "deny;", "{self:#?}");
    }

    /// Asserts that the helper wrote these maps.
    pub(crate) fn assert_mapped(&self, uid_map: &str, gid_map: &str) {
        assert_eq!(self.status, 0, "{self:#?}");
        assert_eq!((self.uid_map.as_str(), self.gid_map.as_str()), (uid_map, gid_map), "{self:#?}");
    }
}

/// Tells whether the lab can be made on this machine, by this user.
fn possible() -> Result<(), &'static str> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    if !status.lines().any(|line| line.starts_with("Uid:\t0\t")) {
        return Err("installing a privileged helper takes root");
    }
    let is_there = |tool: &str| {
        let path = std::env::var("PATH").unwrap_or_default();
        path.split(':').any(|directory| Path::new(directory).join(tool).exists())
    };
    for tool in ["setcap", "setpriv", "unshare", "bash"] {
        if !is_there(tool) {
            return Err("setcap, setpriv, unshare and bash are needed");
        }
    }
    let unshared = Command::new("setpriv")
        .args(["--reuid", "61001", "--regid", "61001", "--clear-groups", "unshare", "-U", "true"])
        .status();
    if unshared.is_ok_and(|status| status.success()) {
        Ok(())
    } else {
        Err("an ordinary user may not make user namespaces here")
    }
}

/// Runs a command that has to succeed.
pub(crate) fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status().unwrap();
    assert!(status.success(), "{program} {arguments:?}: {status}");
}
