//! The distribution's packages that the tests need.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::shell::{has, is_root, program, read, step, target};

/// Packages of Debian and Ubuntu, and what each is for.
const NEEDED: &[(&str, &str)] = &[
    ("uidmap", "newuidmap, the rung below bryo-idmap"),
    ("libcap2-bin", "setcap"),
    ("attr", "extended attributes in the test root file system"),
    ("e2fsprogs", "chattr, for a file that nobody may change"),
    ("strace", "kills at a chosen system call"),
    ("busybox-static", "the small root file system"),
    ("mmdebstrap", "the Debian root file system"),
    ("debian-archive-keyring", "the same, on Ubuntu"),
    ("zstd", "archives"),
    ("xz-utils", "archives"),
    ("bzip2", "archives"),
    ("squashfs-tools", "archives"),
    ("iproute2", "the lab's network"),
    ("nftables", "the rules of a bridge"),
    ("dnsmasq-base", "the addresses and names of a bridge"),
    ("iptables", "the firewalls of Docker and ufw"),
    ("openssl", "the certificates of image servers"),
    ("docker-registry", "a registry that others have made"),
    ("gpgv", "the signatures of image servers"),
    ("gpg", "the keys that make them"),
    ("gpg-agent", "the same"),
    ("util-linux", "unshare, nsenter, setpriv"),
    ("passwd", "useradd"),
    ("passt", "a network in user mode"),
    ("slirp4netns", "the same, where pasta is not"),
    ("procps", "sysctl, in lines that mend a host; free, top and their kin in a container"),
    ("bash", "the timing of the bench"),
    ("time", "the most memory that a program of the bench uses"),
    ("lxc", "the peer"),
    (SECCOMP_LIBRARY, "what the compiler of filters is compared with"),
    ("python3-minimal", "reading by splice(2), sendfile(2) and pread(2) in a container"),
    ("sysstat", "iostat, which is to agree with a container's limits"),
    ("python3-psutil", "the same"),
    ("htop", "the same"),
    ("lxcfs", "a peer of the bench"),
    ("crun", "a peer of the bench"),
    ("bubblewrap", "a peer of the bench"),
];

/// The library of the test behind the feature `libseccomp`.
const SECCOMP_LIBRARY: &str = "libseccomp-dev";

/// Says why the compiler of filters cannot be compared with libseccomp here, or nothing.
pub(crate) fn lacks_libseccomp() -> Option<String> {
    (!installed(SECCOMP_LIBRARY)).then(|| format!("the package {SECCOMP_LIBRARY} is not installed"))
}

/// Keeps packages from starting services while they are installed. Source: invoke-rc.d(8).
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Installs what is missing, and nothing else is changed: no package is removed and no service started.
///
/// # Errors
/// apt fails.
pub(crate) fn install() -> Result<()> {
    if !is_root() || !has("apt-get") {
        println!("packages: not root on Debian or Ubuntu, so nothing is installed");
        return Ok(());
    }
    let missing: Vec<_> = NEEDED.iter().filter(|(name, _)| !installed(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    for (name, purpose) in &missing {
        println!("package {name}: {purpose}");
    }
    let _quiet = NoServices::begin()?;
    step(program("apt-get", &["--quiet", "update"]).env("DEBIAN_FRONTEND", "noninteractive"))?;
    let mut apt = program("apt-get", &["--quiet", "--option", "DPkg::Lock::Timeout=300"]);
    apt.args(["--no-install-recommends", "--no-remove", "--yes", "install"]);
    apt.args(missing.iter().map(|(name, _)| name));
    step(apt.env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1"))
}

/// What the virtual machine needs. qemu comes from where the system's own qemu-utils come from, which it must not replace.
const EMULATOR: &[&str] =
    &["qemu-system-x86", "qemu-utils", "cpio", "kmod", "mmdebstrap", "busybox-static", "zstd"];

/// Installs the emulator of the virtual machine where it is missing. No package is removed.
///
/// # Errors
/// The caller is not root, or apt fails.
pub(crate) fn install_emulator() -> Result<()> {
    let missing: Vec<_> = EMULATOR.iter().filter(|name| !installed(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    ensure!(is_root() && has("apt-get"), "missing packages, which root installs: {missing:?}");
    let _quiet = NoServices::begin()?;
    let list = Backports::of_this_system()?;
    for words in [&["update"][..], &["--no-install-recommends", "--no-remove", "--yes", "install"]] {
        let mut apt = program("apt-get", &["--quiet", "--option", "DPkg::Lock::Timeout=300"]);
        list.options(&mut apt);
        apt.args(words).env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1");
        if words.len() > 1 {
            apt.args(&missing);
        }
        step(&mut apt)?;
    }
    Ok(())
}

/// The backports of a Debian 12, which has a qemu too old for its own newer tools: named to apt for one call only.
struct Backports(Option<PathBuf>);

impl Backports {
    const RELEASE: &str = "bookworm-backports";

    fn of_this_system() -> Result<Self> {
        let index = ["indextargets", "--format", "$(CREATED_BY) $(COMPONENT) $(CODENAME) $(REPO_URI)"];
        let targets = read(&mut program("apt-get", &index))?;
        let Some(uri) = targets.lines().find_map(|line| line.strip_prefix("Packages main bookworm ")) else {
            return Ok(Self(None));
        };
        let list = target().join("backports.list");
        let keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
        fs::write(&list, format!("deb [signed-by={keyring}] {uri} {} main\n", Self::RELEASE))
            .with_context(|| format!("writing {}", list.display()))?;
        Ok(Self(Some(list)))
    }

    fn options(&self, apt: &mut Command) {
        if let Self(Some(list)) = self {
            apt.arg("--option").arg(format!("Dir::Etc::sourcelist={}", list.display()));
            apt.args(["--target-release", Self::RELEASE]);
        }
    }
}

impl Drop for Backports {
    fn drop(&mut self) {
        if let Self(Some(list)) = self {
            let _ = fs::remove_file(list);
        }
    }
}

fn installed(package: &str) -> bool {
    read(&mut program("dpkg-query", &["--show", "--showformat=${Status}", package]))
        .is_ok_and(|status| status == "install ok installed")
}

/// While it lives, no package starts a service. A policy that the machine has already is left alone.
struct NoServices {
    own: bool,
}

impl NoServices {
    fn begin() -> Result<Self> {
        if Path::new(POLICY).exists() {
            return Ok(Self { own: false });
        }
        fs::write(POLICY, "#!/bin/sh\nexit 101\n").with_context(|| format!("writing {POLICY}"))?;
        fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755))?;
        Ok(Self { own: true })
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.own
            && let Err(error) = fs::remove_file(POLICY)
        {
            eprintln!("warning: {POLICY} stays: {error}");
        }
    }
}
