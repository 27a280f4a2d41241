//! A lab: a mount and network namespace of its own, two users, and their cgroup directories.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::account::{Account, CROWD, HOMES, PEOPLE};
use crate::command::wait_until;
use crate::leaks::{self, Snapshot};
use crate::subject::{self, Subject};
use crate::{User, View, cgroups, processes, rootfs};

/// Where labs keep their locks; inside a lab a private tmpfs lies over it.
pub const RUN: &str = "/run/bryo-lab";

/// How many labs can exist at a time. Each has users and cgroup directories of its own.
pub const SLOTS: usize = 6;

/// Builds the inside of the lab, as root, in fresh mount and network namespaces. Its last line keeps them until the
/// test closes the pipe, even by dying.
const SET_UP: &str = include_str!("lab/set-up.sh");

/// A lab. Dropping it ends everything that runs in it and removes what it made, whatever the test did.
#[derive(Debug)]
pub struct Lab {
    view: View,
    users: Vec<Member>,
    holder: Child,
    before: Snapshot,
    slot: Slot,
}

/// A user of the lab with its cgroup directories.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) account: Account,
    pub(crate) cgroups: Vec<PathBuf>,
}

impl Lab {
    /// Makes a lab that shows `view`, when a slot is free. What a killed run left in the slot is removed first.
    ///
    /// # Errors
    /// The caller is not root, or the machine refuses a part of the lab.
    pub fn new(view: View) -> Result<Self> {
        Self::of(view, &PEOPLE)
    }

    /// As [`new`](Self::new), with all of [`CROWD`].
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn crowded(view: View) -> Result<Self> {
        Self::of(view, &CROWD)
    }

    fn of(view: View, people: &[&'static str]) -> Result<Self> {
        let slot = Slot::take()?;
        clear(slot.number())?;
        let users =
            people.iter().map(|person| Member::new(slot.number(), person)).collect::<Result<Vec<_>>>()?;
        let holder = hold(view, &users)?;
        let mut lab = Self { view, users, holder, before: Snapshot::default(), slot };
        lab.prepare_users()?;
        lab.before = Snapshot::take(&lab);
        Ok(lab)
    }

    /// Returns what the lab shows.
    pub fn view(&self) -> View {
        self.view
    }

    /// Returns a user of the lab.
    ///
    /// # Panics
    /// Nobody of that name is in the lab.
    pub fn user(&self, person: &str) -> User<'_> {
        match self.users.iter().find(|member| member.account.person == person) {
            Some(member) => User::new(self, member),
            None => panic!("nobody in this lab is called {person}"),
        }
    }

    /// Returns all users of the lab.
    pub fn users(&self) -> Vec<User<'_>> {
        self.users.iter().map(|member| User::new(self, member)).collect()
    }

    /// Writes the administrator's file that grants network devices.
    ///
    /// # Panics
    /// The file cannot be written.
    pub fn grant(&self, text: &str) {
        let path = self.outside(Path::new("/etc/lxc/lxc-usernet"));
        if let Err(error) = fs::write(&path, text) {
            panic!("writing {}: {error}", path.display());
        }
    }

    /// Ends the test: fails it when it left something behind.
    ///
    /// # Panics
    /// Something is left behind five seconds later, or gone that was there before.
    pub fn finish(self, test: &str) {
        if let Some(report) = leaks::compare(&self.before, &self) {
            panic!("{test} left its lab changed:\n{report}");
        }
    }

    /// Returns the pid of the process that holds the namespaces.
    pub fn holder(&self) -> u32 {
        self.holder.id()
    }

    /// Returns the root directory that the lab's processes see, from outside: a file of theirs is below it.
    pub fn root(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root", self.holder()))
    }

    /// Returns from outside the way to a file that the lab's processes see as `path`.
    pub fn outside(&self, path: &Path) -> PathBuf {
        self.root().join(path.strip_prefix("/").unwrap_or(path))
    }

    pub(crate) fn accounts(&self) -> Vec<&Account> {
        self.users.iter().map(|member| &member.account).collect()
    }

    pub(crate) fn cgroup_directories(&self) -> impl Iterator<Item = &PathBuf> {
        self.users.iter().flat_map(|member| &member.cgroups)
    }

    fn prepare_users(&self) -> Result<()> {
        for member in &self.users {
            member.account.fresh_home(&self.root())?;
            let user = User::new(self, member);
            user.write_default_config()?;
        }
        Ok(())
    }

    fn tear_down(&mut self) -> Result<()> {
        cgroups::thaw(self.slot.number);
        cgroups::kill(self.slot.number);
        processes::end_all(&self.accounts())?;
        drop(self.holder.stdin.take());
        self.holder.wait()?;
        clear(self.slot.number())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Err(error) = self.tear_down() {
            eprintln!("the lab is not torn down: {error:#}");
        }
    }
}

impl Member {
    fn new(slot: usize, person: &'static str) -> Result<Self> {
        let account = Account::of(slot, person)?;
        let cgroups = cgroups::delegate(slot, &account)?;
        Ok(Self { account, cgroups })
    }
}

/// Removes what runs and lies in a slot, but for its users.
fn clear(slot: usize) -> Result<()> {
    for person in CROWD {
        let login = crate::account::login(slot, person);
        if let Some(account) = Account::look_up(person, &login)? {
            cgroups::thaw(slot);
            cgroups::kill(slot);
            processes::end_all(&[&account])?;
            account.remove_home()?;
            leaks::remove_stray_files(&account);
        }
    }
    for directory in cgroups::of_slot(slot) {
        remove_cgroup_when_empty(&directory)?;
    }
    Ok(())
}

/// A cgroup stays busy for a moment after its last process was reaped, and where the machine's init has much to reap that
/// takes seconds.
fn remove_cgroup_when_empty(directory: &std::path::Path) -> Result<()> {
    let mut last = Ok(());
    wait_until(Duration::from_secs(30), || {
        last = cgroups::remove(directory);
        last.is_ok()
    });
    last.with_context(|| format!("removing cgroup {}", directory.display()))
}

/// Starts the holder and returns when its namespaces are set up.
fn hold(view: View, users: &[Member]) -> Result<Child> {
    let mut command = Command::new("unshare");
    command.args([
        "--mount",
        "--net",
        "--propagation",
        "private",
        "--",
        "sh",
        "-eu",
        "-c",
        SET_UP,
        "lab",
        RUN,
    ]);
    command.arg(view.name()).arg(HOMES).arg(rootfs::cache());
    command.arg(if subject::subject() == Subject::Bryo { subject::prefix() } else { PathBuf::new() });
    command.args(users.iter().map(|member| format!("{}:{}", member.account.uid, member.account.gid)));
    // A signal from the terminal is for the test, which ends the lab when it has ended itself.
    let mut holder = command
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("starting unshare")?;
    let stdout = holder.stdout.take().context("the holder has a stdout")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    if line.trim_end() != "ready" {
        let mut why = String::new();
        holder.stderr.take().context("the holder has a stderr")?.read_to_string(&mut why)?;
        holder.wait()?;
        bail!("the lab's namespaces: {}", why.trim_end());
    }
    Ok(holder)
}

/// One of the places for a lab, held by a lock that the kernel frees when the test dies.
#[derive(Debug)]
pub(crate) struct Slot {
    number: usize,
    _lock: File,
}

impl Slot {
    /// Takes a free slot, and waits while there is none.
    fn take() -> Result<Self> {
        loop {
            for number in 1..=SLOTS {
                if let Some(slot) = Self::try_take(number)? {
                    return Ok(slot);
                }
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Takes slot `number` unless it is in use.
    pub(crate) fn try_take(number: usize) -> Result<Option<Self>> {
        let name = format!("slot-{number}");
        let lock = lock_file(&name)?;
        let taken = lock.try_lock().is_ok() && is_current(&lock, &name);
        Ok(taken.then_some(Self { number, _lock: lock }))
    }

    pub(crate) fn number(&self) -> usize {
        self.number
    }
}

/// Returns a lock that only one process of this machine has at a time; it lasts as long as the value.
pub(crate) fn exclusive(name: &str) -> Result<File> {
    loop {
        let lock = lock_file(name)?;
        lock.lock().with_context(|| format!("locking {RUN}/{name}.lock"))?;
        if is_current(&lock, name) {
            return Ok(lock);
        }
    }
}

/// Tells whether a lock is still the file of its name: [`crate::clean`] removes the files, and a lock on one that was
/// opened before keeps nobody off.
fn is_current(lock: &File, name: &str) -> bool {
    let inode = |found: fs::Metadata| (found.dev(), found.ino());
    let named = fs::metadata(lock_path(name)).map(inode);
    matches!((lock.metadata().map(inode), named), (Ok(held), Ok(named)) if held == named)
}

fn lock_path(name: &str) -> String {
    format!("{RUN}/{name}.lock")
}

fn lock_file(name: &str) -> Result<File> {
    fs::create_dir_all(RUN).with_context(|| format!("making {RUN}"))?;
    let path = lock_path(name);
    File::options().create(true).append(true).open(&path).with_context(|| format!("opening {path}"))
}
