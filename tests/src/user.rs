//! A user of the lab, who runs commands, writes files and makes containers.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use crate::account::Account;
use crate::command::wait_until;
use crate::lab::{Member, RUN};
use crate::subject::{Subject, subject};
use crate::{Command, Lab, Output, Process, cgroups, processes};

/// A user of a lab.
#[derive(Clone, Copy, Debug)]
pub struct User<'lab> {
    lab: &'lab Lab,
    member: &'lab Member,
}

impl<'lab> User<'lab> {
    pub(crate) fn new(lab: &'lab Lab, member: &'lab Member) -> Self {
        Self { lab, member }
    }

    /// Returns the account behind the user.
    pub fn account(&self) -> &'lab Account {
        &self.member.account
    }

    /// Returns the user's home directory.
    pub fn home(&self) -> &'lab Path {
        &self.account().home
    }

    /// Returns the user's directory of containers.
    pub fn lxcpath(&self) -> PathBuf {
        self.home().join(".local/share/lxc")
    }

    /// Returns the user's cgroup directories, one per hierarchy of the machine.
    pub fn cgroups(&self) -> &'lab [PathBuf] {
        &self.member.cgroups
    }

    /// Prepares `bryo ARGS`.
    pub fn bryo<I: IntoIterator<Item: AsRef<OsStr>>>(&self, args: I) -> Command<'lab> {
        self.run("bryo", args)
    }

    /// Prepares `lxc-VERB ARGS` of the subject: the same line for Bryo and for the real tools.
    pub fn lxc<I: IntoIterator<Item: AsRef<OsStr>>>(&self, verb: &str, args: I) -> Command<'lab> {
        self.run(format!("lxc-{verb}"), args)
    }

    /// Prepares `lxc-VERB ARGS` of the real tools, whatever the subject is.
    pub fn real_lxc<I: IntoIterator<Item: AsRef<OsStr>>>(&self, verb: &str, args: I) -> Command<'lab> {
        self.run(format!("/usr/bin/lxc-{verb}"), args)
    }

    /// Prepares any program, found in the user's `PATH`.
    pub fn run<P: AsRef<OsStr>, I: IntoIterator<Item: AsRef<OsStr>>>(
        &self,
        program: P,
        args: I,
    ) -> Command<'lab> {
        Command::new(self.lab, self.member, program, args)
    }

    /// Prepares a shell command line.
    pub fn sh(&self, script: &str) -> Command<'lab> {
        self.run("sh", ["-c", script])
    }

    /// Makes a container of the busybox root file system, with the subject's lxc-create.
    pub fn busybox(&self, name: &str) -> Output {
        self.create_local("lxc-create", name, "busybox.tar.xz", "busybox-meta.tar.xz")
    }

    /// Makes a container of the busybox root file system with the real lxc-create.
    pub fn busybox_of_real_lxc(&self, name: &str) -> Output {
        self.create_local("/usr/bin/lxc-create", name, "busybox.tar.xz", "busybox-meta.tar.xz")
    }

    /// Makes a container of the Debian root file system.
    pub fn debian(&self, name: &str) -> Output {
        match subject() {
            Subject::Bryo => self
                .bryo(["create", name, &format!("{RUN}/rootfs/debian-12.tar.zst")])
                .seconds(180)
                .succeeds(),
            Subject::Lxc => {
                self.create_local("lxc-create", name, "debian-12.tar.xz", "debian-12-meta.tar.xz")
            }
        }
    }

    fn create_local(&self, tool: &str, name: &str, rootfs: &str, meta: &str) -> Output {
        let (rootfs, meta) = (format!("{RUN}/rootfs/{rootfs}"), format!("{RUN}/rootfs/{meta}"));
        let args = ["-n", name, "-t", "local", "--", "-m", &meta, "-f", &rootfs];
        self.run(tool, args).seconds(180).succeeds()
    }

    /// Destroys a container, running or not.
    pub fn destroy(&self, name: &str) -> Output {
        self.lxc("destroy", ["-n", name, "-f"]).succeeds()
    }

    /// Returns the processes of the user and of the user's containers.
    pub fn processes(&self) -> Vec<Process> {
        processes::of(&[self.account()])
    }

    /// Waits until the user and the containers have no process.
    ///
    /// # Panics
    /// After ten seconds some are left; it names them. `after` says what was done before.
    #[track_caller]
    pub fn has_no_process(&self, after: &str) {
        let mut left = Vec::new();
        let all_are_gone = wait_until(Duration::from_secs(10), || {
            left = self.processes();
            left.is_empty()
        });
        assert!(all_are_gone, "{after}: after 10 seconds these processes are left: {left:#?}");
    }

    /// Returns the processes that own a running container of the user: Bryo's monitors, or those of the real tools.
    pub fn monitors(&self) -> Vec<Process> {
        let is_monitor =
            |command: &str| command.contains("bryo-monitor") || command.starts_with("[lxc monitor]");
        let own = |process: &Process| process.uid == self.account().uid && is_monitor(&process.command);
        self.processes().into_iter().filter(own).collect()
    }

    /// Returns the pid of the container's init on the machine, as lxc-info tells it.
    ///
    /// # Panics
    /// The container does not run.
    pub fn init_of(&self, name: &str) -> i32 {
        let text = self.lxc("info", ["-n", name, "-pH"]).succeeds().stdout;
        match text.trim().parse() {
            Ok(pid) => pid,
            Err(_) => panic!("lxc-info -n {name} -pH prints no pid but {text:?}"),
        }
    }

    /// Returns the inode of a namespace of process `pid`, such as `net`, or `None` when the process is gone.
    pub fn namespace_of(&self, pid: i32, name: &str) -> Option<u64> {
        processes::namespace(pid, name)
    }

    /// Writes a file of the user, its directories included.
    ///
    /// # Panics
    /// The file cannot be written.
    pub fn write(&self, path: impl AsRef<Path>, text: &str) {
        let path = self.home().join(path);
        if let Err(error) = self.try_write(&path, text) {
            panic!("writing {}: {error:#}", path.display());
        }
    }

    fn try_write(&self, path: &Path, text: &str) -> Result<()> {
        let (uid, gid) = (Some(self.account().uid), Some(self.account().gid));
        let (path, mut directory) = (self.lab.outside(path), self.lab.outside(self.home()));
        for part in path.parent().unwrap_or(&path).strip_prefix(directory.clone())?.components() {
            directory.push(part);
            if !directory.exists() {
                fs::create_dir(&directory)?;
                chown(&directory, uid, gid)?;
            }
        }
        fs::write(&path, text)?;
        Ok(chown(&path, uid, gid)?)
    }

    /// Appends to a file of the user.
    ///
    /// # Panics
    /// The file is not there.
    pub fn append(&self, path: impl AsRef<Path>, text: &str) {
        let path = self.lab.outside(&self.home().join(path));
        let appended =
            fs::OpenOptions::new().append(true).open(&path).and_then(|mut f| f.write_all(text.as_bytes()));
        if let Err(error) = appended {
            panic!("appending to {}: {error}", path.display());
        }
    }

    /// Returns an extended attribute of a file, without following links.
    pub fn xattr(&self, path: &Path, name: &str) -> Option<Vec<u8>> {
        let mut value = vec![0; 1024];
        let length = rustix::fs::lgetxattr(self.lab.outside(path), name, &mut value).ok()?;
        value.truncate(length);
        Some(value)
    }

    /// Sets an extended attribute of a file as root of the machine, where ids are those of the machine.
    ///
    /// # Panics
    /// The file system refuses.
    pub fn set_xattr(&self, path: &Path, name: &str, value: &[u8]) {
        if let Err(error) = rustix::fs::lsetxattr(path, name, value, rustix::fs::XattrFlags::empty()) {
            panic!("setting {name} of {}: {error}", path.display());
        }
    }

    /// Returns how many system calls `bryo ARGS` makes by itself, as strace counts them.
    ///
    /// # Panics
    /// The command fails.
    pub fn count_syscalls<const N: usize>(&self, args: [&str; N]) -> u32 {
        self.bryo(args).count_syscalls()
    }

    /// Writes the user's configuration for new containers: no network but the loopback.
    pub(crate) fn write_default_config(&self) -> Result<()> {
        if subject() == Subject::Lxc {
            self.write_config_for_real_lxc();
            return Ok(());
        }
        self.try_write(&self.home().join(DEFAULT_CONFIG), NO_NETWORK)
    }

    /// Writes what the real tools need more than Bryo does: the id map in words, and a home that container root may
    /// pass.
    ///
    /// # Panics
    /// The file cannot be written.
    pub fn write_config_for_real_lxc(&self) {
        let mut text = NO_NETWORK.to_owned();
        for (kind, range) in [("u", &self.account().subuids), ("g", &self.account().subgids)] {
            text += &format!("lxc.idmap = {kind} 0 {} {}\n", range.start, range.len());
        }
        self.write(DEFAULT_CONFIG, &text);
        set_mode(&self.lab.outside(self.home()), 0o711);
    }

    /// Leaves the user's processes where they are but makes their cgroups root's, as on a host that delegates none.
    ///
    /// # Panics
    /// A directory cannot be given back.
    pub fn take_cgroups_back(&self) {
        for directory in self.cgroups() {
            if let Err(error) = cgroups::take_back(directory) {
                panic!("taking {} back: {error}", directory.display());
            }
        }
    }

    /// Does what the real lxc-start needs of a container that Bryo made: opens the way from the home directory to
    /// the root file system for container root.
    ///
    /// # Panics
    /// A directory on the way is missing.
    pub fn open_home_for_real_lxc(&self) {
        for path in ["", ".local", ".local/share", ".local/share/lxc"] {
            set_mode(&self.lab.outside(&self.home().join(path)), 0o711);
        }
    }
}

/// Where a user configures new containers, below the home directory.
const DEFAULT_CONFIG: &str = ".config/lxc/default.conf";

/// The network of the lab's containers, unless a test says otherwise.
const NO_NETWORK: &str = "lxc.net.0.type = empty\n";

fn set_mode(path: &Path, mode: u32) {
    if let Err(error) = fs::set_permissions(path, fs::Permissions::from_mode(mode)) {
        panic!("setting the mode of {}: {error}", path.display());
    }
}
