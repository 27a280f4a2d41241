//! Installs Bryo: programs, the lxc-* names, the helpers' capabilities, and where the host asks for it a profile.

use std::env;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::build::{ATTACKER, PROGRAMS, Place, Speed};
use crate::shell::{has, is_root, program, read};

/// The lxc tools whose names Bryo answers to.
const LXC_NAMES: [&str; 11] = [
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
    "lxc-destroy",
];

/// A program that does for its caller what the kernel does not let it do itself.
struct Helper {
    name: &'static str,
    /// What it needs to do what the policy files grant, and nothing more.
    capabilities: &'static str,
    /// What happens while it has none.
    without: &'static str,
}

const HELPERS: [Helper; 2] = [
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
    grant(&prefix)
}

fn default_prefix() -> Result<PathBuf> {
    if is_root() {
        return Ok("/usr/local".into());
    }
    Ok(PathBuf::from(env::var_os("HOME").context("HOME is not set: name a --prefix")?).join(".local"))
}

/// Builds and installs the programs and the links, without any rights.
///
/// # Errors
/// A build fails, or a file cannot be written.
pub(crate) fn into(prefix: &Path, speed: Speed) -> Result<()> {
    for program in &PROGRAMS {
        let built = program.build(speed)?;
        place(&built, &directory(prefix, program.place), program.name)?;
    }
    LXC_NAMES.iter().try_for_each(|name| link(&directory(prefix, Place::Bin).join(name)))?;
    manual(prefix)?;
    println!(
        "installed {} programs and {} lxc-* names in {}",
        PROGRAMS.len(),
        LXC_NAMES.len(),
        prefix.display()
    );
    Ok(())
}

/// Writes the manual page of the configuration, which the table of keys is the source of.
fn manual(prefix: &Path) -> Result<()> {
    let directory = prefix.join("share/man/man5");
    let page = directory.join("bryo.container.conf.5");
    fs::create_dir_all(&directory).with_context(|| format!("making {}", directory.display()))?;
    fs::write(&page, config::manual::man_page()).with_context(|| format!("writing {}", page.display()))
}

/// Builds what the attack suites run and puts it beside the programs, in the prefix of the lab.
///
/// # Errors
/// The build fails, or the file cannot be written.
pub(crate) fn attacker(prefix: &Path, speed: Speed) -> Result<()> {
    let built = ATTACKER.build(speed)?;
    place(&built, &directory(prefix, ATTACKER.place), ATTACKER.name)
}

/// Gives the installed helpers their capabilities, and the programs a profile where the host restricts user namespaces.
/// What cannot be done is said, with what to do.
///
/// # Errors
/// The rights cannot be set although the caller is root.
pub(crate) fn grant(prefix: &Path) -> Result<()> {
    if is_root() {
        HELPERS.iter().try_for_each(|helper| helper.give_capabilities(prefix))?;
        return allow_user_namespaces(prefix);
    }
    for helper in &HELPERS {
        println!("not root: {} has no capabilities, so {}", helper.name, helper.without);
        println!("  to give them: sudo setcap {} {}", helper.capabilities, helper.path(prefix).display());
    }
    if restricted() {
        println!("this host restricts user namespaces: run this task as root to install an AppArmor profile");
    }
    Ok(())
}

/// Sets the helpers' capabilities by way of sudo, which must not ask for a password.
///
/// # Errors
/// sudo or setcap fails.
pub(crate) fn grant_by_sudo(prefix: &Path) -> Result<()> {
    for helper in &HELPERS {
        let (path, capabilities) = (helper.path(prefix), helper.capabilities);
        println!("sudo asks for no password: used to give {} {capabilities}", path.display());
        let path = path.to_str().context("the prefix is text")?;
        read(&mut program("sudo", &["-n", "setcap", capabilities, path]))?;
    }
    say_if_restricted();
    Ok(())
}

fn say_if_restricted() {
    if restricted() {
        println!(
            "this host restricts user namespaces: run cargo xtask install as root to add an AppArmor profile"
        );
    }
}

fn directory(prefix: &Path, place: Place) -> PathBuf {
    match place {
        Place::Bin => prefix.join("bin"),
        Place::Libexec => prefix.join("libexec/bryo"),
        Place::Attack => prefix.join("attack"),
    }
}

/// Copies aside and renames: a running program cannot be written over, and a half-written one must not be run.
fn place(built: &Path, directory: &Path, name: &str) -> Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
    let (new, target) = (directory.join(format!(".{name}.new")), directory.join(name));
    fs::copy(built, &new).with_context(|| format!("copying {} to {}", built.display(), new.display()))?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755))?;
    fs::rename(&new, &target).with_context(|| format!("replacing {}", target.display()))
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

    /// File capabilities, or the setuid bit where the file system or the host has none: the helper then drops at once
    /// to the same rights.
    fn give_capabilities(&self, prefix: &Path) -> Result<()> {
        let helper = self.path(prefix);
        let path = helper.to_str().context("the prefix is text")?;
        let why = if !has("setcap") {
            "setcap is not installed (package libcap2-bin)".to_owned()
        } else {
            match read(&mut program("setcap", &[self.capabilities, path])) {
                Ok(_) => {
                    println!("gave {path} {}", self.capabilities);
                    return Ok(());
                }
                Err(error) => error.to_string(),
            }
        };
        fs::set_permissions(&helper, fs::Permissions::from_mode(0o4755))?;
        println!("made {path} setuid root: {why}");
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

/// Returns a profile that confines nothing and allows user namespaces. Source: apparmor.d(5), "Userns Rules".
fn profile(prefix: &Path) -> String {
    let prefix = prefix.display();
    format!(
        "abi <abi/4.0>,\n\
         include <tunables/global>\n\n\
         profile bryo {prefix}/{{bin/bryo,libexec/bryo/*}} flags=(unconfined) {{\n  \
           userns,\n  \
           include if exists <local/bryo>\n\
         }}\n"
    )
}

#[cfg(test)]
mod tests {
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
            place(&scratch.0.join("built"), &bin, "bryo").unwrap();
        }
        assert_eq!(fs::read_to_string(bin.join("bryo")).unwrap(), "new");
        assert_eq!(fs::metadata(bin.join("bryo")).unwrap().permissions().mode() & 0o777, 0o755);
        assert_eq!(fs::read_dir(&bin).unwrap().count(), 1);
    }

    #[test]
    fn the_manual_page_lies_where_man_looks() {
        let scratch = Scratch::new("manual");
        manual(&scratch.0).unwrap();
        let page = fs::read_to_string(scratch.0.join("share/man/man5/bryo.container.conf.5")).unwrap();
        assert!(page.starts_with(".TH BRYO.CONTAINER.CONF 5"));
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
