//! Installs Bryo: programs, the lxc-* names, the helpers' capabilities, and where the host asks for it a profile.

use std::env;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use ::tests::subject::roots_prefix;
use anyhow::{Context, Result, bail};
use sys::exposed::{self, Exposed};

use crate::build::{ATTACKER, PROGRAMS, Place, Speed};
use crate::shell::{has, is_root, program, read};

/// The lxc tools whose names Bryo answers to.
pub(crate) const LXC_NAMES: [&str; 14] = [
    "lxc-create",
    "lxc-start",
    "lxc-stop",
    "lxc-attach",
    "lxc-execute",
    "lxc-console",
    "lxc-info",
    "lxc-ls",
    "lxc-freeze",
    "lxc-unfreeze",
    "lxc-user-nic",
    "lxc-destroy",
    "lxc-config",
    "lxc-update-config",
];

/// A program that does for its caller what the kernel does not let it do itself.
pub(crate) struct Helper {
    /// The name of its file.
    pub(crate) name: &'static str,
    /// What it needs to do what the policy files grant, and nothing more.
    pub(crate) capabilities: &'static str,
    /// What happens while it has none.
    without: &'static str,
}

/// The programs that have rights.
pub(crate) const HELPERS: [Helper; 2] = [
    Helper {
        name: "bryo-idmap",
        capabilities: "cap_setuid,cap_setgid=ep",
        without: "Bryo uses the system's newuidmap where there is one",
    },
    Helper {
        name: "bryo-netdev",
        capabilities: "cap_net_admin=ep",
        without: "containers get no device on a bridge",
    },
];

/// Whether the host lets ordinary programs make user namespaces only under an AppArmor profile that says so.
const RESTRICTED: &str = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns";

/// Where the AppArmor profile is written.
const PROFILE: &str = "/etc/apparmor.d/bryo";

/// Builds and installs to `prefix`, or to the default one.
///
/// # Errors
/// A build fails, or a file cannot be written.
pub(crate) fn run(prefix: Option<PathBuf>) -> Result<()> {
    let prefix = std::path::absolute(prefix.map_or_else(default_prefix, Ok)?)?;
    into(&prefix, Speed::Shipped)?;
    finish(&prefix)
}

fn default_prefix() -> Result<PathBuf> {
    if is_root() {
        return Ok("/usr/local".into());
    }
    Ok(PathBuf::from(env::var_os("HOME").context("HOME is not set: name a --prefix")?).join(".local"))
}

/// Builds and installs the programs, the helpers with their rights if the caller is root, the links, and the manual.
///
/// # Errors
/// A build fails, a file cannot be written, or the caller is root and others could change what is installed.
pub(crate) fn into(prefix: &Path, speed: Speed) -> Result<()> {
    // Refused before anything is built.
    ready(prefix)?;
    for program in &PROGRAMS {
        let built = program.build(speed)?;
        let helper = HELPERS.iter().find(|helper| helper.name == program.name).filter(|_| is_root());
        let rights = |new: &Path| helper.map_or(Ok(()), |helper| helper.give_rights(new));
        place(&built, &directory(prefix, program.place), program.name, rights)?;
    }
    let bin = ready(&directory(prefix, Place::Bin))?;
    LXC_NAMES.iter().try_for_each(|name| link(&bin.join(name)))?;
    manual(prefix)?;
    profiles(prefix)?;
    println!(
        "installed {} programs and {} lxc-* names in {}",
        PROGRAMS.len(),
        LXC_NAMES.len(),
        prefix.display()
    );
    Ok(())
}

/// Has the installed program write the manual pages, which its own tables are the source of.
fn manual(prefix: &Path) -> Result<()> {
    let bryo = directory(prefix, Place::Bin).join("bryo");
    let (bryo, pages) = (bryo.to_string_lossy().into_owned(), ready(&prefix.join("share/man"))?);
    read(&mut program(&bryo, &["manual", &pages.to_string_lossy()]))
        .map(drop)
        .context("writing the manual pages")
}

/// Builds what the attack suites run and puts it beside the programs, in the prefix of the lab.
///
/// # Errors
/// The build fails, or the file cannot be written.
pub(crate) fn attacker(prefix: &Path, speed: Speed) -> Result<()> {
    let built = ATTACKER.build(speed)?;
    place(&built, &directory(prefix, ATTACKER.place), ATTACKER.name, |_| Ok(()))
}

/// Gives the programs a profile where the host restricts user namespaces. An ordinary user is told what was not done.
///
/// # Errors
/// The profile cannot be loaded although the caller is root.
pub(crate) fn finish(prefix: &Path) -> Result<()> {
    if is_root() {
        return allow_user_namespaces(&ready(prefix)?);
    }
    for helper in &HELPERS {
        println!("not root: {} has no capabilities, so {}", helper.name, helper.without);
    }
    println!("  to have both with them: sudo cargo xtask install, and then the bryo of /usr/local/bin");
    say_if_restricted();
    Ok(())
}

/// Installs the helpers to a prefix of root's by way of sudo, which must not ask for a password, and links them into
/// the caller's own prefix, where a file that has rights would be his to change.
///
/// # Errors
/// sudo, install or setcap fails.
pub(crate) fn helpers_by_sudo(prefix: &Path, roots: &Path) -> Result<()> {
    if let Some(exposed) = exposed(roots)? {
        println!("the helpers get no rights, and newuidmap is used where there is one: {exposed}");
        return Ok(());
    }
    println!(
        "sudo asks for no password: used to install the helpers; sudo rm -r {} removes them",
        roots.display()
    );
    for helper in &HELPERS {
        let (own, roots) = (helper.path(prefix), helper.path(roots));
        let text = |path: &Path| path.to_str().map(str::to_owned).context("the prefix is text");
        let sudo = |words: &[&str]| read(&mut program("sudo", &[&["-n"], words].concat()));
        sudo(&["install", "-D", "-o", "root", "-g", "root", "-m", "0755", &text(&own)?, &text(&roots)?])?;
        sudo(&["setcap", helper.capabilities, &text(&roots)?])?;
        println!("gave {} {}", roots.display(), helper.capabilities);
        fs::remove_file(&own)?;
        symlink(&roots, &own).with_context(|| format!("linking {}", own.display()))?;
    }
    say_if_restricted();
    Ok(())
}

fn say_if_restricted() {
    if restricted() {
        println!("this host restricts user namespaces: sudo cargo xtask install adds an AppArmor profile");
    }
}

/// Removes what tasks have installed outside of the tree.
///
/// # Errors
/// It cannot be removed.
pub(crate) fn clean() -> Result<()> {
    for prefix in ["lab-prefix", "try"].map(roots_prefix) {
        match fs::remove_dir_all(&prefix) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("removing {}", prefix.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

fn directory(prefix: &Path, place: Place) -> PathBuf {
    match place {
        Place::Bin => prefix.join("bin"),
        Place::Libexec => prefix.join("libexec/bryo"),
        Place::Attack => prefix.join("attack"),
    }
}

/// Makes a directory of the prefix, and returns it without links. Root makes none where another user could exchange
/// what lies there, and so neither a file nor its rights are ever given to a name of somebody else's choice.
fn ready(directory: &Path) -> Result<PathBuf> {
    let refuse = || match if is_root() { exposed(directory)? } else { None } {
        Some(exposed) => bail!(
            "what root installs to {} others could change: {exposed}; close that to them (chown root, chmod go-w), or \
             choose another --prefix",
            directory.display()
        ),
        None => Ok(()),
    };
    refuse()?;
    let made = fs::DirBuilder::new().recursive(true).mode(0o755).create(directory);
    made.with_context(|| format!("making {}", directory.display()))?;
    refuse()?;
    Ok(directory.canonicalize()?)
}

/// Returns what others than root can change of the way to a directory that may not be there yet.
fn exposed(directory: &Path) -> Result<Option<Exposed>> {
    let there = directory.ancestors().find(|directory| directory.exists()).unwrap_or(Path::new("/"));
    exposed::look(there).with_context(|| format!("looking at {}", there.display()))
}

/// Copies aside, gives the rights, and renames: a running program cannot be written over, and a half-written one must
/// not be run.
///
/// What lies aside from before is not written to: it could be another user's file, or a link to one of root's.
fn place(built: &Path, directory: &Path, name: &str, rights: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let directory = ready(directory)?;
    let (new, target) = (directory.join(format!(".{name}.new")), directory.join(name));
    match fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("removing {}", new.display()));
        }
        _ => {}
    }
    copy(built, &new).with_context(|| format!("copying {} to {}", built.display(), new.display()))?;
    rights(&new)?;
    fs::rename(&new, &target).with_context(|| format!("replacing {}", target.display()))
}

fn copy(built: &Path, new: &Path) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).mode(0o700).open(new)?;
    io::copy(&mut File::open(built)?, &mut file)?;
    file.set_permissions(fs::Permissions::from_mode(0o755))
}

/// Makes one of the lxc-* names, unless something else bears it already.
fn link(path: &Path) -> Result<()> {
    match fs::read_link(path) {
        Ok(target) if target == Path::new("bryo") => return Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        _ => bail!("{} exists and is not Bryo's: remove it, or choose another --prefix", path.display()),
    }
    symlink("bryo", path).with_context(|| format!("linking {}", path.display()))
}

impl Helper {
    /// Returns where it is installed.
    fn path(&self, prefix: &Path) -> PathBuf {
        directory(prefix, Place::Libexec).join(self.name)
    }

    /// Gives a file capabilities, or the setuid bit where the file system or the host has none: the helper then drops
    /// at once to the same rights.
    fn give_rights(&self, file: &Path) -> Result<()> {
        let path = file.to_str().context("the prefix is text")?;
        let why = if !has("setcap") {
            "setcap is not installed (package libcap2-bin)".to_owned()
        } else {
            match read(&mut program("setcap", &[self.capabilities, path])) {
                Ok(_) => {
                    println!("gave {} {}", self.name, self.capabilities);
                    return Ok(());
                }
                Err(error) => error.to_string(),
            }
        };
        fs::set_permissions(file, fs::Permissions::from_mode(0o4755))?;
        println!("made {} setuid root: {why}", self.name);
        Ok(())
    }
}

fn restricted() -> bool {
    fs::read_to_string(RESTRICTED).is_ok_and(|text| text.trim() == "1")
}

fn allow_user_namespaces(prefix: &Path) -> Result<()> {
    if !restricted() {
        return Ok(());
    }
    fs::write(PROFILE, profile(prefix)).with_context(|| format!("writing {PROFILE}"))?;
    read(&mut program("apparmor_parser", &["--replace", PROFILE]))?;
    println!("this host restricts user namespaces: wrote and loaded {PROFILE}");
    Ok(())
}

/// Returns a profile that confines nothing and allows user namespaces.
fn profile(prefix: &Path) -> String {
    include_str!("../../config/share/apparmor/bryo").replace("PREFIX", &prefix.display().to_string())
}

/// Writes the AppArmor profiles that the administrator can load.
fn profiles(prefix: &Path) -> Result<()> {
    let directory = ready(&prefix.join("share/bryo/apparmor"))?;
    let container = include_str!("../../config/share/apparmor/bryo-container");
    for (name, text) in [("bryo", profile(prefix)), ("bryo-container", container.to_owned())] {
        let file = directory.join(name);
        fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// A directory that is removed when the test ends.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = env::temp_dir().join(format!("install-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn a_program_replaces_the_one_before_and_leaves_nothing_aside() {
        let scratch = Scratch::new("place");
        let bin = scratch.0.join("bin");
        for text in ["old", "new"] {
            fs::write(scratch.0.join("built"), text).unwrap();
            place(&scratch.0.join("built"), &bin, "bryo", |_| Ok(())).unwrap();
        }
        assert_eq!(fs::read_to_string(bin.join("bryo")).unwrap(), "new");
        assert_eq!(fs::metadata(bin.join("bryo")).unwrap().permissions().mode() & 0o777, 0o755);
        assert_eq!(fs::read_dir(&bin).unwrap().count(), 1);
    }

    #[test]
    fn what_somebody_laid_aside_is_neither_written_nor_installed() {
        let scratch = Scratch::new("aside");
        let (built, victim, new) =
            (scratch.0.join("built"), scratch.0.join("victim"), scratch.0.join(".bryo.new"));
        fs::write(&built, "built").unwrap();
        fs::write(&victim, "victim").unwrap();
        symlink(&victim, &new).unwrap();
        place(&built, &scratch.0, "bryo", |_| Ok(())).unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "victim");
        // Through this name the file can be changed as long as it lives.
        fs::hard_link(&victim, &new).unwrap();
        place(&built, &scratch.0, "bryo", |_| Ok(())).unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "victim");
        assert_eq!(fs::read_to_string(scratch.0.join("bryo")).unwrap(), "built");
    }

    #[test]
    fn a_helper_has_its_rights_before_it_has_its_name() {
        let scratch = Scratch::new("rights");
        fs::write(scratch.0.join("built"), "built").unwrap();
        let mut given = None;
        let rights = |new: &Path| {
            given = Some(fs::read_to_string(new).unwrap());
            assert!(!scratch.0.join("helper").exists());
            bail!("no rights")
        };
        assert!(place(&scratch.0.join("built"), &scratch.0, "helper", rights).is_err());
        assert_eq!(given.as_deref(), Some("built"));
        assert!(!scratch.0.join("helper").exists(), "without rights it is not installed");
    }

    #[test]
    fn root_installs_nothing_where_others_could_change_it() {
        if !is_root() {
            let _ = writeln!(
                io::stderr(),
                "SKIP: root_installs_nothing_where_others_could_change_it: it takes root"
            );
            return;
        }
        let scratch = Scratch::new("exposed");
        let (built, open) = (scratch.0.join("built"), scratch.0.join("open"));
        fs::write(&built, "built").unwrap();
        fs::create_dir(&open).unwrap();
        symlink(&open, scratch.0.join("link")).unwrap();
        let installs = |directory: &str| place(&built, &scratch.0.join(directory), "bryo", |_| Ok(()));
        installs("open/of-root/bin").unwrap();
        for (mode, owner) in [(0o777, 0), (0o775, 0), (0o755, 61_001)] {
            fs::set_permissions(&open, fs::Permissions::from_mode(mode)).unwrap();
            std::os::unix::fs::chown(&open, Some(owner), Some(owner)).unwrap();
            for directory in ["open", "open/new", "open/of-root/bin", "link/new", "new/../open"] {
                let said = installs(directory).unwrap_err().to_string();
                assert!(said.contains(&format!(": {} ", open.display())), "{directory}: {said}");
            }
        }
        assert!(!open.join("bryo").exists() && !open.join("new").exists());
    }

    #[test]
    fn a_name_that_belongs_to_something_else_is_refused() {
        let scratch = Scratch::new("link");
        link(&scratch.0.join("lxc-ls")).unwrap();
        link(&scratch.0.join("lxc-ls")).unwrap();
        fs::write(scratch.0.join("lxc-start"), "the real one").unwrap();
        assert!(link(&scratch.0.join("lxc-start")).is_err());
    }

    #[test]
    fn the_profile_names_the_programs_of_the_prefix() {
        let text = profile(Path::new("/opt/moss"));
        assert!(
            text.contains(
                "profile bryo /opt/moss/{bin/bryo,libexec/bryo/*} flags=(unconfined) {\n  userns,\n"
            )
        );
    }
}
