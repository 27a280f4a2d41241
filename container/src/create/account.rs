//! The caller's account inside: a line in the new container's own /etc/passwd and its kin, and a home directory.
//!
//! The files are the image's, and may be anything: a link to the host's own files, a FIFO, a file without end. So they
//! are opened from the root's fd without following a link, read with a cap and only if they are regular, and replaced by
//! new files, never written to; all of it as container root in the new container's namespace, with the new root file
//! system as root directory. No account is overwritten, and no rights come with one.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sys::path::{self, Links, OpenFlags};
use sys::{Errno, file};
use types::{IdMap, NsGid, NsUid};

use super::Share;
use crate::error::{Doing, Error, Kind, Result};
use crate::host::{self, Caller, HostFacts};
use crate::idmap::{self, MappedNamespace};
use crate::root::Root;

/// Far more than any image's passwd file.
const CAP: u64 = 1 << 20;

/// The name of a caller who has none that a passwd file could hold.
const NAMELESS: &str = "me";

/// The longest name. Source: useradd(8).
const NAME_CAP: usize = 32;

/// What a caller without a shell of the container's gets. Source: passwd(5).
const USUAL_SHELL: &str = "/bin/sh";

/// The account that the caller would have.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Account {
    name: String,
    uid: NsUid,
    gid: NsGid,
    /// The caller's shell on the host.
    shell: Option<String>,
    /// The shell comes from the host, so it need not be in the root file system.
    shell_is_hosts: bool,
    /// Directories of the home directory that mount points will be made in, from there on.
    dirs: Vec<PathBuf>,
}

/// The account that the caller has inside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Me {
    /// Login name inside.
    pub name: String,
    /// User id inside.
    pub uid: u32,
    /// It came with the image.
    pub from_image: bool,
}

/// The image's files, as text. Those that are missing are none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Files {
    passwd: Option<String>,
    group: Option<String>,
    shadow: Option<String>,
    gshadow: Option<String>,
}

/// What is to be done: nothing for an account that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Decision {
    me: Me,
    /// Lines to add, by file.
    lines: Vec<(&'static str, String)>,
}

/// Tells who the caller is inside.
fn account(caller: &Caller, uid: NsUid, gid: NsGid, shell_is_hosts: bool, shares: &[Share]) -> Account {
    let name = caller.name.as_deref().filter(|name| is_name(name)).unwrap_or(NAMELESS).to_owned();
    let shell = host::login_shell(caller).filter(|shell| is_shell(shell));
    let home = Path::new("home").join(&name);
    let dirs = shares
        .iter()
        .filter_map(|share| share.target().parent()?.strip_prefix(&home).ok().map(Path::to_owned));
    Account { dirs: dirs.collect(), name, uid, gid, shell, shell_is_hosts }
}

/// Tells whether a name can stand in a passwd file and as the name of a directory, as useradd(8) has it.
fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '@');
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    begins && name.len() <= NAME_CAP && name.chars().all(fits)
}

/// Tells a shell from what keeps an account closed.
fn is_shell(shell: &str) -> bool {
    let is_closed = ["nologin", "false"].iter().any(|name| shell.ends_with(name));
    let is_plain = shell.starts_with('/') && !shell.contains([':', '\n']);
    is_plain && !is_closed
}

/// Decides what the account needs.
///
/// # Errors
/// A user or group of the same name and another id.
fn decide(account: &Account, files: &Files, shell: &str) -> Result<Decision> {
    let Account { name, uid, gid, .. } = account;
    let refuse = |what: &str, id: &str, wanted: u32| {
        // The image may have written anything in its place.
        let id = id.parse::<u32>().map_or_else(|_| "none".to_owned(), |id| id.to_string());
        let cause = format!("the image has a {what} {name} with id {id} already, and you have id {wanted}");
        Err(Error::new(Kind::Usage, cause))
    };
    let passwd = files.passwd.as_deref().unwrap_or_default();
    if let Some(known) = records(passwd).find(|fields| fields.get(2) == Some(&uid.to_string().as_str())) {
        let name = known[0].chars().take(NAME_CAP).collect();
        let me = Me { name, uid: uid.0, from_image: true };
        return Ok(Decision { me, lines: Vec::new() });
    }
    if let Some(known) = records(passwd).find(|fields| fields[0] == name) {
        return refuse("user", known.get(2).unwrap_or(&""), uid.0);
    }
    let mut lines = vec![("passwd", format!("{name}:x:{uid}:{gid}::/home/{name}:{shell}"))];
    lines.extend(files.shadow.as_ref().map(|_| ("shadow", format!("{name}:!::0:99999:7:::"))));
    let group = files.group.as_deref().unwrap_or_default();
    let has_group = records(group).any(|fields| fields.get(2) == Some(&gid.to_string().as_str()));
    if !has_group {
        if let Some(known) = records(group).find(|fields| fields[0] == name) {
            return refuse("group", known.get(2).unwrap_or(&""), gid.0);
        }
        lines.extend(files.group.as_ref().map(|_| ("group", format!("{name}:x:{gid}:"))));
        lines.extend(files.gshadow.as_ref().map(|_| ("gshadow", format!("{name}:!::"))));
    }
    // What an earlier account has left in a shadow file stays.
    lines.retain(|(file, _)| records(files.text(file)).all(|fields| fields[0] != name));
    Ok(Decision { me: Me { name: name.clone(), uid: uid.0, from_image: false }, lines })
}

fn records(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines().map(|line| line.split(':').collect())
}

impl Files {
    fn read(etc: BorrowedFd<'_>) -> Result<Self> {
        let text = |name| read(etc, name);
        Ok(Self {
            passwd: text("passwd")?,
            group: text("group")?,
            shadow: text("shadow")?,
            gshadow: text("gshadow")?,
        })
    }

    fn text(&self, name: &str) -> &str {
        let text = match name {
            "passwd" => &self.passwd,
            "group" => &self.group,
            "shadow" => &self.shadow,
            _ => &self.gshadow,
        };
        text.as_deref().unwrap_or_default()
    }
}

/// Reads a file of the image; none where there is none.
fn read(etc: BorrowedFd<'_>, name: &str) -> Result<Option<String>> {
    let refuse = |why: &str| Err(Error::new(Kind::Image, format!("the image's /etc/{name} {why}")));
    // Not blocking: it may be a FIFO, which would wait for a writer for ever.
    let flags = OpenFlags::RDONLY | OpenFlags::NONBLOCK | OpenFlags::NOCTTY;
    let opened = match path::open_in(etc, Path::new(name), Links::Refuse, flags) {
        Err(e) if e.errno() == Errno::ENOENT => return Ok(None),
        Err(e) if e.errno() == Errno::ELOOP => return refuse("is a symbolic link, which is not followed"),
        opened => opened?,
    };
    if !path::is_regular(opened.as_fd())? {
        return refuse("is no regular file");
    }
    match path::read_all(opened, CAP) {
        Err(e) if e.errno() == Errno::EFBIG => refuse("is larger than 1 MiB"),
        // What is no text could not be written back as it was.
        read => String::from_utf8(read?).map(Some).or_else(|_| refuse("is no text")),
    }
}

/// Puts a new file with one line more in the place of a file, with the same owner and mode.
fn add_line(etc: BorrowedFd<'_>, name: &str, old: &str, line: &str) -> Result<()> {
    const NEW: &str = ".bryo-new";
    let was = file::status_at(etc, OsStr::new(name))?;
    let end = if old.is_empty() || old.ends_with('\n') { "" } else { "\n" };
    // The image may have put anything in the way, which is not written to.
    file::remove_tree(etc, OsStr::new(NEW))?;
    let new = file::create(etc, OsStr::new(NEW), 0o600)?;
    file::write_all_at(new.as_fd(), format!("{old}{end}{line}\n").as_bytes(), 0)?;
    path::set_owner(new.as_fd(), was.uid, was.gid)?;
    path::set_mode(new.as_fd(), was.mode)?;
    Ok(file::rename(etc, OsStr::new(NEW), OsStr::new(name))?)
}

/// Makes the home directory, unless there is something of its name.
fn make_home(account: &Account) -> Result<()> {
    let root = path::open_dir(Path::new("/"))?;
    let homes = path::make_dirs_in(root.as_fd(), Path::new("home"), Links::Refuse, 0o755)?;
    let name = OsStr::new(&account.name);
    match path::make_dir(homes.as_fd(), name, 0o700) {
        Err(e) if e.errno() == Errno::EEXIST => return Ok(()),
        made => made?,
    }
    let home = path::open_dir_at(homes.as_fd(), Path::new(name))?;
    path::set_mode(home.as_fd(), 0o700)?;
    path::set_owner(home.as_fd(), account.uid.0, account.gid.0)?;
    account.dirs.iter().try_for_each(|dir| make_own_dirs(home.as_fd(), dir, account))
}

/// Makes a directory with its parents, all of them the account's: a start would make those of a mount point root's.
fn make_own_dirs(home: BorrowedFd<'_>, dir: &Path, account: &Account) -> Result<()> {
    let mut at = path::open_dir_at(home, Path::new("."))?;
    for name in dir {
        match path::make_dir(at.as_fd(), name, 0o755) {
            Err(e) if e.errno() != Errno::EEXIST => return Err(e.into()),
            _ => at = path::open_dir_at(at.as_fd(), Path::new(name))?,
        }
        path::set_owner(at.as_fd(), account.uid.0, account.gid.0)?;
    }
    Ok(())
}

/// Looks at the working root: its /etc, what is in it, and what the account needs. None where it knows no users at all.
fn look(account: &Account) -> Result<Option<(OwnedFd, Files, Decision)>> {
    let root = path::open_dir(Path::new("/"))?;
    let etc = match path::open_in(root.as_fd(), Path::new("etc"), Links::Refuse, OpenFlags::DIRECTORY) {
        Err(e) if e.errno() == Errno::ENOENT => return Ok(None),
        opened => {
            opened.map_err(|e| Error::from(e).of_kind(Kind::Image)).doing("opening the image's /etc")?
        }
    };
    let files = Files::read(etc.as_fd())?;
    if files.passwd.is_none() {
        return Ok(None);
    }
    let decision = decide(account, &files, &shell(root.as_fd(), account))?;
    Ok(Some((etc, files, decision)))
}

/// Makes the account in the working root.
fn make(account: &Account) -> Result<Option<Me>> {
    let Some((etc, files, decision)) = look(account)? else { return Ok(None) };
    for (name, line) in &decision.lines {
        add_line(etc.as_fd(), name, files.text(name), line)
            .doing_with(|| format!("adding to /etc/{name}"))?;
    }
    if !decision.me.from_image {
        make_home(account).doing_with(|| format!("making /home/{}", account.name))?;
    }
    Ok(Some(decision.me))
}

/// Returns the caller's shell where the container has it.
fn shell(root: BorrowedFd<'_>, account: &Account) -> String {
    let is_there = |shell: &&String| {
        account.shell_is_hosts || path::take_in(root, Path::new(shell), Links::InRoot).is_ok()
    };
    account.shell.as_ref().filter(is_there).cloned().unwrap_or_else(|| USUAL_SHELL.to_owned())
}

/// Whoever makes the account: for a new container, or for one that gets the caller as a user later.
pub(crate) struct Maker<'a> {
    /// The container's map.
    pub(crate) map: &'a IdMap,
    /// Who asks.
    pub(crate) facts: &'a HostFacts,
    /// The root file system.
    pub(crate) root: &'a Root,
    /// The container has the host's programs.
    pub(crate) hosts_programs: bool,
    /// What it shows of the host.
    pub(crate) shares: &'a [Share],
}

impl Maker<'_> {
    /// Gives the caller an account, where the map has a user for it and the root file system knows users.
    pub(crate) fn make(&self) -> Result<Option<Me>> {
        let namespace = MappedNamespace::new(self.map, &self.facts.id_writer, &self.facts.caller)?;
        self.work(namespace, make)
    }

    /// Finds out whether the account can be made, in a namespace with power over the files.
    pub(crate) fn check(&self, namespace: MappedNamespace) -> Result<()> {
        self.work(namespace, |account| Ok(look(account)?.map(|(_, _, decision)| decision.me))).map(drop)
    }

    fn work(
        &self,
        namespace: MappedNamespace,
        work: impl FnOnce(&Account) -> Result<Option<Me>>,
    ) -> Result<Option<Me>> {
        let caller = &self.facts.caller;
        let Some((uid, Some(gid))) = idmap::me(self.map, caller) else { return Ok(None) };
        let account = account(caller, uid, gid, self.hosts_programs, self.shares);
        let inside = || {
            sys::process::set_umask(0o022);
            work(&account)
        };
        let namespace = namespace.inside(self.root)?;
        namespace.ask(inside, &mut || Ok(())).doing_with(|| format!("making user {} inside", account.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nubuntu:x:1000:1000::/home/ubuntu:/bin/bash\n";
    const GROUP: &str = "root:x:0:\nubuntu:x:1000:\nusers:x:100:\n";

    fn ana(uid: u32, gid: u32) -> Account {
        let (uid, gid) = (NsUid(uid), NsGid(gid));
        Account { name: "ana".into(), uid, gid, shell: None, shell_is_hosts: false, dirs: Vec::new() }
    }

    fn files() -> Files {
        let text = |text: &str| Some(text.to_owned());
        Files {
            passwd: text(PASSWD),
            group: text(GROUP),
            shadow: text("root:*:1::::::\n"),
            gshadow: text(""),
        }
    }

    fn decided(account: &Account, files: &Files) -> Result<Decision> {
        decide(account, files, "/bin/sh")
    }

    #[test]
    fn a_new_account_has_a_locked_password_and_a_group_of_its_own() {
        let decision = decided(&ana(1500, 1600), &files()).unwrap();
        let lines = [
            ("passwd", "ana:x:1500:1600::/home/ana:/bin/sh"),
            ("shadow", "ana:!::0:99999:7:::"),
            ("group", "ana:x:1600:"),
            ("gshadow", "ana:!::"),
        ];
        assert!(decision.lines.iter().map(|(file, line)| (*file, line.as_str())).eq(lines));
        assert_eq!(decision.me, Me { name: "ana".into(), uid: 1500, from_image: false });
    }

    #[test]
    fn no_shadow_file_is_made_where_the_image_has_none() {
        let plain = Files { shadow: None, gshadow: None, ..files() };
        let decision = decided(&ana(1500, 1600), &plain).unwrap();
        assert_eq!(decision.lines.iter().map(|(file, _)| *file).collect::<Vec<_>>(), ["passwd", "group"]);
    }

    #[test]
    fn an_account_or_group_of_the_same_id_is_taken_as_it_is() {
        let decision = decided(&ana(1000, 1000), &files()).unwrap();
        assert_eq!(decision.me, Me { name: "ubuntu".into(), uid: 1000, from_image: true });
        assert_eq!(decision.lines, []);
        let grouped = decided(&ana(1500, 100), &files()).unwrap();
        assert_eq!(grouped.lines[0].1, "ana:x:1500:100::/home/ana:/bin/sh");
        assert_eq!(grouped.lines.len(), 2, "users is the group");
    }

    #[test]
    fn a_name_that_has_another_id_is_refused() {
        let named = |passwd: &str, group: &str| Files {
            passwd: Some(format!("{PASSWD}{passwd}")),
            group: Some(format!("{GROUP}{group}")),
            ..files()
        };
        let refused = |files: &Files| decided(&ana(1500, 1500), files).unwrap_err().to_string();
        assert!(refused(&named("ana:x:7:7::/:/bin/sh\n", "")).contains("user ana with id 7"));
        assert!(refused(&named("", "ana:x:8:\n")).contains("group ana with id 8"));
        assert!(decided(&ana(1500, 1500), &named("anabel:x:7:7::/:\n", "an:x:8:\n")).is_ok());
    }

    #[test]
    fn what_stands_in_a_shadow_file_stays() {
        let known = Files { shadow: Some("ana:$6$x:1::::::\n".into()), ..files() };
        let decision = decided(&ana(1500, 1600), &known).unwrap();
        assert!(decision.lines.iter().all(|(file, _)| *file != "shadow"));
    }

    #[test]
    fn names_that_would_forge_a_line_or_leave_the_directory_are_none() {
        for name in ["ana", "bryot1-ana", "_x", "ana@example.org", "A.b"] {
            assert!(is_name(name), "{name}");
        }
        let long = "a".repeat(33);
        for name in ["", "a:b", "a\nb", "../x", "a/b", ".a", "-a", "1000", "CORP\\ana", "a b", &long] {
            assert!(!is_name(name), "{name:?}");
        }
    }

    #[test]
    fn a_closed_account_on_the_host_is_open_inside() {
        assert!(is_shell("/bin/bash"));
        for shell in
            ["/usr/sbin/nologin", "/bin/false", "", "bash", "/bin/sh:x", "/bin/sh\nroot::0:0::/:/bin/sh"]
        {
            assert!(!is_shell(shell), "{shell:?}");
        }
    }
}
