//! The real users of the lab: made once, given a fresh home for each test, removed by [`crate::clean`].

use std::fs;
use std::ops::Range;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process;

use anyhow::{Context, Result, bail, ensure};

use crate::lab::exclusive;

/// Where the homes of the lab's users are.
pub const HOMES: &str = "/var/lib/bryo-lab";

/// The people who appear in stories. Each lab slot has its own user for each of them.
pub const PEOPLE: [&str; 2] = ["ana", "ben"];

/// Those who come as well where a story needs many.
pub const CROWD: [&str; 8] = ["ana", "ben", "cleo", "dora", "emil", "finn", "gina", "hugo"];

/// Subordinate ids that a container of the default kind needs.
const RANGE: u32 = 65_536;

/// One user of one lab slot.
#[derive(Clone, Debug)]
pub struct Account {
    /// The name in stories, such as `ana`.
    pub person: &'static str,
    /// The login name, such as `bryot1-ana`.
    pub login: String,
    /// The user id.
    pub uid: u32,
    /// The group id.
    pub gid: u32,
    /// The subordinate user ids.
    pub subuids: Range<u32>,
    /// The subordinate group ids.
    pub subgids: Range<u32>,
    /// The home directory.
    pub home: PathBuf,
}

/// Returns the login name of `person` in lab slot `slot`.
pub fn login(slot: usize, person: &str) -> String {
    format!("bryot{slot}-{person}")
}

impl Account {
    /// Returns the account of `person` in lab slot `slot`, and makes it when it does not exist.
    ///
    /// # Errors
    /// The user cannot be made, or has no subordinate ids afterwards.
    pub fn of(slot: usize, person: &'static str) -> Result<Self> {
        let login = login(slot, person);
        let _alone = exclusive("accounts")?;
        if Self::look_up(person, &login)?.is_none() {
            add_user(&login)?;
        }
        Self::look_up(person, &login)?.with_context(|| format!("user {login} has no subordinate ids"))
    }

    /// Returns the account of `login` if the user exists and has subordinate ids.
    pub(crate) fn look_up(person: &'static str, login: &str) -> Result<Option<Self>> {
        let Some((uid, gid)) = find_user(&fs::read_to_string("/etc/passwd")?, login) else { return Ok(None) };
        let range = |file: &str| -> Result<_> { Ok(find_range(&fs::read_to_string(file)?, login, uid)) };
        let (Some(subuids), Some(subgids)) = (range("/etc/subuid")?, range("/etc/subgid")?) else {
            return Ok(None);
        };
        Ok(Some(Self { person, uid, gid, subuids, subgids, home: home_of(login), login: login.to_owned() }))
    }

    /// Tells whether a process or file of user `uid` belongs to this account or its containers.
    pub fn owns(&self, uid: u32) -> bool {
        uid == self.uid || self.subuids.contains(&uid)
    }

    /// Replaces the home directory below `root` by an empty one of mode 0700.
    ///
    /// # Errors
    /// The old one cannot be removed, or the new one not be made.
    pub fn fresh_home(&self, root: &Path) -> Result<()> {
        let below = |path: &Path| root.join(path.strip_prefix("/").unwrap_or(path));
        let home = below(&self.home);
        remove(&home)?;
        fs::create_dir_all(&home).with_context(|| format!("making {}", home.display()))?;
        fs::set_permissions(below(Path::new(HOMES)), fs::Permissions::from_mode(0o755))?;
        fs::set_permissions(&home, fs::Permissions::from_mode(0o700))?;
        Ok(chown(&home, Some(self.uid), Some(self.gid))?)
    }

    /// Removes the home directory with everything in it.
    ///
    /// # Errors
    /// Something in it cannot be removed.
    pub fn remove_home(&self) -> Result<()> {
        remove(&self.home)
    }
}

fn remove(home: &Path) -> Result<()> {
    match fs::remove_dir_all(home) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", home.display()))
        }
        _ => Ok(()),
    }
}

fn home_of(login: &str) -> PathBuf {
    Path::new(HOMES).join(login)
}

/// Makes the user and its group. `useradd` grants subordinate ids where the distribution is set up for it; where it
/// is not, a free range is granted here.
fn add_user(login: &str) -> Result<()> {
    if find_user(&fs::read_to_string("/etc/passwd")?, login).is_none() {
        let home = home_of(login);
        let home = home.to_str().context("the path of a home is text")?;
        run(
            "useradd",
            &["--no-create-home", "--home-dir", home, "--shell", "/bin/sh", "--user-group", login],
        )?;
    }
    for (file, option) in [("/etc/subuid", "--add-subuids"), ("/etc/subgid", "--add-subgids")] {
        let text = fs::read_to_string(file).unwrap_or_default();
        if find_range(&text, login, u32::MAX).is_none() {
            let start = first_free(&text);
            run("usermod", &[option, &format!("{start}-{}", start + RANGE - 1), login])?;
        }
    }
    Ok(())
}

/// Removes the user and its group, if they exist.
pub(crate) fn remove_user(login: &str) -> Result<()> {
    if find_user(&fs::read_to_string("/etc/passwd")?, login).is_none() {
        return Ok(());
    }
    run("userdel", &[login])
}

fn run(program: &str, args: &[&str]) -> Result<()> {
    let output =
        process::Command::new(program).args(args).output().with_context(|| format!("running {program}"))?;
    ensure!(
        output.status.success(),
        "{program} {}: {}",
        args.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

/// Returns user id and group id of `login` in the text of `/etc/passwd`.
fn find_user(passwd: &str, login: &str) -> Option<(u32, u32)> {
    let fields = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|f| f[0] == login)?;
    Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
}

/// Returns the first sufficient range of `login` (or of its number) in the text of `/etc/subuid`.
fn find_range(text: &str, login: &str, uid: u32) -> Option<Range<u32>> {
    let number = uid.to_string();
    ranges(text)
        .find(|(owner, range)| (*owner == login || *owner == number) && range.len() >= RANGE as usize)
        .map(|r| r.1)
}

fn ranges(text: &str) -> impl Iterator<Item = (&str, Range<u32>)> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (owner, start, count) = (fields.next()?, fields.next()?, fields.next()?);
        let start: u32 = start.parse().ok()?;
        Some((owner, start..start.checked_add(count.trim().parse().ok()?)?))
    })
}

/// Returns the first id past every granted range, at least 100000, where distributions begin.
fn first_free(text: &str) -> u32 {
    ranges(text).map(|(_, range)| range.end).max().unwrap_or(0).max(100_000)
}

/// Checks that users can be made at all.
///
/// # Errors
/// The caller is not root, or `useradd` is missing.
pub fn check_tools() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("needs root: the lab makes users, cgroup directories and a network of its own");
    }
    for tool in
        ["useradd", "usermod", "userdel", "unshare", "nsenter", "setpriv", "setsid", "ip", "mount", "umount"]
    {
        ensure!(crate::claim::has_tool(tool), "{tool} is not installed");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUBUID: &str = "ana:100000:65536\nalana:165536:65536\n1500:300000:65536\nsmall:400000:10\n";

    #[test]
    fn a_range_is_found_by_name_and_by_number_but_not_by_part_of_a_name() {
        assert_eq!(find_range(SUBUID, "ana", 7), Some(100_000..165_536));
        assert_eq!(find_range(SUBUID, "ben", 1500), Some(300_000..365_536));
        assert_eq!(find_range(SUBUID, "an", 7), None);
    }

    #[test]
    fn a_range_too_small_for_a_container_does_not_count() {
        assert_eq!(find_range(SUBUID, "small", 7), None);
    }

    #[test]
    fn a_new_range_starts_past_all_others() {
        assert_eq!(first_free(SUBUID), 400_010);
        assert_eq!(first_free(""), 100_000);
    }
}
