//! The distribution's packages that the tests need.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};

use crate::shell::{has, is_root, program, read, step};

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
    ("iproute2", "the lab's network"),
    ("nftables", "the rules of a bridge"),
    ("dnsmasq-base", "the addresses and names of a bridge"),
    ("iptables", "the firewalls of Docker and ufw"),
    ("openssl", "the certificates of image servers"),
    ("util-linux", "unshare, nsenter, setpriv"),
    ("passwd", "useradd"),
    ("passt", "a network in user mode"),
    ("slirp4netns", "the same, where pasta is not"),
    ("procps", "sysctl, in lines that mend a host; free, top and their kin in a container"),
    ("bash", "the timing of the bench"),
    ("lxc", "the peer"),
    (SECCOMP_LIBRARY, "what the compiler of filters is compared with"),
    ("python3-minimal", "reading by splice(2), sendfile(2) and pread(2) in a container"),
    ("sysstat", "iostat, which is to agree with a container's limits"),
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
