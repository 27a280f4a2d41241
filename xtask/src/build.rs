//! Builds the programs that are installed.
//!
//! Each is a cargo invocation of its own: in one invocation cargo unifies the features of shared dependencies, and
//! the small programs would carry what only the large ones use.

use std::env::consts::ARCH;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::shell::{cargo, step, target};

/// Which directory of the prefix a program goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// `bin`: for users.
    Bin,
    /// `libexec/bryo`: for Bryo itself.
    Libexec,
    /// `attack`: for the tests, in the prefix of the lab alone.
    Attack,
}

/// How fast a program is built, and how fast it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speed {
    /// As it is shipped: each program by its own profile.
    Shipped,
    /// Unoptimised, for trying out a change.
    Quick,
}

/// How a program finds the C library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Linked {
    /// As usual; the helpers need it for the name service.
    Dynamically,
    /// Inside the program, which then runs in any root file system.
    Statically,
}

impl Linked {
    /// Returns the compiler's flags for it.
    fn flags(self) -> Option<&'static str> {
        match self {
            Self::Dynamically => None,
            Self::Statically => Some("-Ctarget-feature=+crt-static"),
        }
    }
}

/// A program that is installed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Program {
    /// The name of its file.
    pub(crate) name: &'static str,
    /// Where it is installed.
    pub(crate) place: Place,
    /// The crate that it is built from.
    pub(crate) package: &'static str,
    profile: &'static str,
    linked: Linked,
}

/// Every program that is installed.
pub(crate) const PROGRAMS: [Program; 8] = [
    program("bryo", Place::Bin, "bryo", "release", Linked::Dynamically),
    program("bryo-image", Place::Libexec, "image", "release", Linked::Dynamically),
    program("bryo-fetch", Place::Libexec, "fetch", "release", Linked::Dynamically),
    program("bryo-monitor", Place::Libexec, "container", "small", Linked::Statically),
    program("bryo-idmap", Place::Libexec, "idmap", "small", Linked::Dynamically),
    program("bryo-netdev", Place::Libexec, "netdev", "small", Linked::Dynamically),
    program("bryo-lxcfs", Place::Libexec, "lxcfs", "release", Linked::Dynamically),
    program("bryo-init", Place::Libexec, "init", "small", Linked::Statically),
];

/// What the attack suites run in containers. Nobody installs it.
pub(crate) const ATTACKER: Program =
    program("attacker", Place::Attack, "attacker", "release", Linked::Statically);

const fn program(
    name: &'static str,
    place: Place,
    package: &'static str,
    profile: &'static str,
    linked: Linked,
) -> Program {
    Program { name, place, package, profile, linked }
}

impl Program {
    /// Builds the program and returns the path of its file.
    ///
    /// # Errors
    /// The build fails.
    pub(crate) fn build(&self, speed: Speed) -> Result<PathBuf> {
        let (profile, output) = match speed {
            Speed::Shipped => (self.profile, self.profile),
            // The profile `dev` is built into a directory of another name.
            Speed::Quick => ("dev", "debug"),
        };
        let mut build = self.command(profile);
        let mut directory = target();
        if let Some(flags) = self.linked.flags() {
            // With a target named, the flags reach the program alone and not the build scripts and macros.
            let triple = format!("{ARCH}-unknown-linux-gnu");
            build.args(["--target", &triple]).env("RUSTFLAGS", flags);
            directory.push(triple);
        }
        step(&mut build)?;
        Ok(directory.join(output).join(self.name))
    }

    fn command(&self, profile: &str) -> Command {
        cargo(&["build", "--quiet", "--profile", profile, "--package", self.package, "--bin", self.name])
    }
}
