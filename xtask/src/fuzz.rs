//! Fuzzes what reads text of an image's making (configurations, profiles of system calls, mounts), what the privileged
//! helpers read, what servers and images say, and what the process that shows containers their limits reads.

use std::fs;

use anyhow::{Context, Result, bail, ensure};

use crate::shell::{has, program, read, root, step, target};

/// One target.
struct Target {
    name: &'static str,
    /// The crate of targets that it is in.
    directory: &'static str,
    /// What it starts from.
    seeds: &'static str,
    /// The longest input, in bytes. What is longer finds nothing more and takes longer.
    longest: usize,
}

const TARGETS: [Target; 13] = [
    of_config("configuration", "config/tests/corpus"),
    of_config("seccomp", "config/share"),
    of_config("mounts", "config/tests/corpus"),
    of_helpers("usernet", "helpers/fuzz/seeds/usernet"),
    of_helpers("subid", "helpers/fuzz/seeds/subid"),
    of_helpers("argv", "helpers/fuzz/seeds/argv"),
    of_helpers("netlink", "helpers/fuzz/seeds/netlink"),
    of_image("index", "image/fuzz/seeds/index"),
    of_image("manifest", "image/fuzz/seeds/manifest"),
    of_image("headers", "image/fuzz/seeds/headers"),
    of_lxcfs("fuse", "lxcfs/fuzz/seeds/fuse"),
    of_lxcfs("host", "lxcfs/tests/host"),
    of_lxcfs("cgroup", "lxcfs/fuzz/seeds/cgroup"),
];

const fn of_config(name: &'static str, seeds: &'static str) -> Target {
    Target { name, directory: "config/fuzz", seeds, longest: 1024 }
}

const fn of_helpers(name: &'static str, seeds: &'static str) -> Target {
    Target { name, directory: "helpers/fuzz", seeds, longest: 4096 }
}

const fn of_image(name: &'static str, seeds: &'static str) -> Target {
    Target { name, directory: "image/fuzz", seeds, longest: 16 << 10 }
}

const fn of_lxcfs(name: &'static str, seeds: &'static str) -> Target {
    Target { name, directory: "lxcfs/fuzz", seeds, longest: 4096 }
}

/// Runs all targets, or one, each for so many seconds.
///
/// # Errors
/// A tool is missing, or an input was found that makes a target panic; it is kept.
pub(crate) fn run(only: Option<&str>, seconds: u32) -> Result<()> {
    for tool in ["rustup", "cargo-fuzz"] {
        ensure!(has(tool), "{tool} is not in the PATH; fuzzing needs a nightly compiler and cargo-fuzz");
    }
    read(&mut program("rustup", &["run", "nightly", "rustc", "--version"]))
        .context("rustup toolchain install nightly")?;
    let chosen: Vec<_> =
        TARGETS.iter().filter(|target| only.is_none_or(|only| only == target.name)).collect();
    if chosen.is_empty() {
        bail!("there is no such target: {}", TARGETS.map(|target| target.name).join(", "));
    }
    chosen.into_iter().try_for_each(|target| fuzz(target, seconds))
}

fn fuzz(Target { name, directory, seeds, longest }: &Target, seconds: u32) -> Result<()> {
    let (build, found) = (target().join("fuzz"), target().join("fuzz/corpus").join(name));
    fs::create_dir_all(&found).with_context(|| format!("making {}", found.display()))?;
    let (build, found) = (build.to_string_lossy(), found.to_string_lossy());
    let time = format!("-max_total_time={seconds}");
    let longest = format!("-max_len={longest}");
    let place = ["--fuzz-dir", directory, "--target-dir", &build];
    let words = [
        &["run", "nightly", "cargo", "fuzz", "run"],
        &place[..],
        &[name, &found, seeds, "--", &time, &longest],
    ];
    step(program("rustup", &words.concat()).current_dir(root()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_is_listed_and_has_something_to_start_from() {
        for directory in ["config/fuzz", "helpers/fuzz", "image/fuzz", "lxcfs/fuzz"] {
            let sources = fs::read_dir(root().join(directory).join("targets")).unwrap();
            let mut sources: Vec<_> =
                sources.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
            sources.sort();
            let listed = TARGETS.iter().filter(|target| target.directory == directory);
            let mut listed: Vec<_> = listed.map(|target| format!("{}.rs", target.name)).collect();
            listed.sort();
            assert_eq!(sources, listed);
        }
        for Target { name, seeds, .. } in TARGETS {
            assert!(fs::read_dir(root().join(seeds)).unwrap().count() > 0, "{name}");
        }
    }
}
