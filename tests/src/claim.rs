//! One test: what it needs, the lab it runs in, and the words with which it is skipped.

use std::env;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::subject::{LXC_START, Subject, subject};
use crate::{Lab, View, account, rootfs, view};

/// Something a test cannot do without, beyond the lab and its subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// The subject is Bryo: the test uses its own verbs.
    Bryo,
    /// The real lxc tools are installed beside the subject.
    Lxc,
    /// The Debian root file system with systemd.
    Debian,
    /// An archive of Debian's packages, and what makes a system of them.
    Packages,
    /// Eight users instead of two.
    Crowd,
    /// A program of another architecture and its interpreter, and user namespaces that can have interpreters of their own (Linux 6.7).
    Foreign,
    /// What makes and reads a squashfs.
    Squashfs,
    /// strace, which kills a process at a chosen system call.
    Strace,
    /// What a bridge of the host is made with: nft and dnsmasq.
    Bridge,
    /// iptables, as Docker and ufw use it.
    Iptables,
}

/// Lists the tests of a suite, each with the views it runs in and, after `needs`, what it cannot do without.
///
/// `name: hybrid unified, needs Bryo;` makes the tests `name::hybrid` and `name::unified`, which call the function
/// `name(&Lab)`. A function that is not listed is dead code, so none is forgotten. What does not hold in a cell says why:
/// `name: hybrid, not cell INIT;` makes a test `name::cell` that is skipped with that reason of [`not_in_a_cell`].
#[macro_export]
macro_rules! claims {
    ($($claim:ident: $($view:ident)+ $(, needs $($need:ident)+)? $(, not cell $why:ident)?;)+) => {$(
        mod $claim {
            const NEEDS: &[$crate::Need] = &[$($($crate::Need::$need),+)?];
            $(
                #[test]
                fn $view() {
                    let name = concat!(env!("CARGO_CRATE_NAME"), "::", stringify!($claim), "::", stringify!($view));
                    $crate::claim(name, stringify!($view), NEEDS, super::$claim);
                }
            )+
            $(
                #[test]
                fn cell() {
                    let name = concat!(env!("CARGO_CRATE_NAME"), "::", stringify!($claim), "::cell");
                    $crate::skip(name, $crate::not_in_a_cell::$why);
                }
            )?
        }
    )+};
}

/// Runs `story` in a lab of its own and fails when it leaves something behind; or says why it cannot.
///
/// # Panics
/// The story fails, or the lab cannot be set up, or something is left behind.
pub fn claim(name: &str, view: &str, needs: &[Need], story: fn(&Lab)) {
    let Some(view) = View::of_name(view) else { panic!("{name}: there is no view {view}") };
    if let Some(reason) = cannot_run(view, needs) {
        return skip(name, &reason);
    }
    let made = if needs.contains(&Need::Crowd) { Lab::crowded(view) } else { Lab::new(view) };
    let lab = match made {
        Ok(lab) => lab,
        Err(error) => panic!("the lab for {name} cannot be set up: {error:#}"),
    };
    story(&lab);
    lab.finish(name);
}

fn cannot_run(view: View, needs: &[Need]) -> Option<String> {
    account::check_tools()
        .err()
        .map(|error| error.to_string())
        .or_else(|| view::missing(view).map(str::to_owned))
        .or_else(|| subject().missing())
        .or_else(|| not_for_lxc(view))
        .or_else(|| rootfs::busybox().err().map(|error| format!("no busybox root file system: {error:#}")))
        .or_else(|| needs.iter().find_map(|need| need.missing()))
}

/// The real tools find no id map under no_new_privs.
fn not_for_lxc(view: View) -> Option<String> {
    let in_a_cell = view.filter().is_some() && subject() == Subject::Lxc;
    in_a_cell.then(|| not_in_a_cell::LXC.to_owned())
}

/// Why a claim does not hold in a [`View::Cell`].
pub mod not_in_a_cell {
    /// For containers with an init.
    pub const INIT: &str = "an init needs a procfs of its own, and /proc is masked";
    /// For what looks at cgroups.
    pub const CGROUP: &str = "the cgroup is read-only";
    /// For files of several owners.
    pub const ONE_ID: &str = "no_new_privs leaves one id";
    /// For what counts processes.
    pub const PROCESSES: &str = "the processes outside show, since /proc is masked";
    /// For systemd.
    pub const SYSTEMD: &str = "systemd needs a writable cgroup";
    /// For what compares with the real tools.
    pub const LXC: &str = "LXC needs newuidmap, which gains no rights under no_new_privs";
    /// For commands under strace.
    pub const STRACE: &str = "strace becomes the user before no_new_privs can be set";
}

impl Need {
    fn missing(self) -> Option<String> {
        match self {
            Self::Bryo => (subject() != Subject::Bryo).then(|| "a test of Bryo's own verbs".to_owned()),
            Self::Lxc => (!Path::new(LXC_START).exists()).then(|| format!("{LXC_START} is not installed")),
            Self::Debian => {
                rootfs::debian().err().map(|error| format!("no Debian root file system: {error:#}"))
            }
            Self::Packages => {
                rootfs::packages().err().map(|error| format!("no archive of packages: {error:#}"))
            }
            Self::Foreign => {
                let no_program =
                    || rootfs::foreign().err().map(|error| format!("no foreign program: {error:#}"));
                no_binfmt_misc().or_else(no_program)
            }
            Self::Crowd => None,
            Self::Squashfs => lacks(&["mksquashfs", "unsquashfs"]),
            Self::Strace => lacks(&["strace"]),
            Self::Bridge => lacks(&["nft", "dnsmasq"]),
            Self::Iptables => lacks(&["iptables"]),
        }
    }
}

/// Says why no user namespace can have interpreters of its own.
fn no_binfmt_misc() -> Option<String> {
    let mount = [
        "--user",
        "--map-root-user",
        "--mount",
        "mount",
        "-t",
        "binfmt_misc",
        "binfmt_misc",
        "/proc/sys/fs/binfmt_misc",
    ];
    let tried = Command::new("unshare").args(mount).stderr(Stdio::null()).status();
    (!tried.is_ok_and(|status| status.success())).then(|| "no binfmt_misc in a user namespace".to_owned())
}

fn lacks(tools: &[&str]) -> Option<String> {
    tools.iter().find(|tool| !has_tool(tool)).map(|tool| format!("{tool} is not installed"))
}

/// Tells whether `tool` is in the `PATH` of the test.
pub(crate) fn has_tool(tool: &str) -> bool {
    env::var_os("PATH")
        .is_some_and(|path| env::split_paths(&path).any(|directory| directory.join(tool).exists()))
}

/// Says that a test is skipped, and why.
///
/// Prints the skip past libtest's capture of output, which would swallow it in a test that passes.
pub fn skip(name: &str, reason: &str) {
    // In one write, or lines of tests that run at the same time would mix.
    let line = format!("SKIP: {name}: {reason}\n");
    let _unheard_without_stderr = std::io::stderr().write_all(line.as_bytes());
}
