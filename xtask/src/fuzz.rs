//! Fuzzes what reads text of an image's making: configurations, profiles of system calls, mounts.

use std::fs;

use anyhow::{Context, Result, bail, ensure};

use crate::shell::{has, program, read, root, step, target};

/// Targets of `config/fuzz`, and what each starts from.
const TARGETS: [(&str, &str); 3] = [
    ("configuration", "config/tests/corpus"),
    ("seccomp", "config/share"),
    ("mounts", "config/tests/corpus"),
];

/// The longest input. What is longer finds nothing more and takes longer.
const LONGEST: &str = "-max_len=1024";

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
    let chosen: Vec<_> = TARGETS.iter().filter(|(name, _)| only.is_none_or(|only| only == *name)).collect();
    if chosen.is_empty() {
        bail!("there is no such target: {}", TARGETS.map(|(name, _)| name).join(", "));
    }
    chosen.into_iter().try_for_each(|(name, seeds)| fuzz(name, seeds, seconds))
}

fn fuzz(name: &str, seeds: &str, seconds: u32) -> Result<()> {
    let (build, found) = (target().join("fuzz"), target().join("fuzz/corpus").join(name));
    fs::create_dir_all(&found).with_context(|| format!("making {}", found.display()))?;
    let (build, found) = (build.to_string_lossy(), found.to_string_lossy());
    let time = format!("-max_total_time={seconds}");
    let place = ["--fuzz-dir", "config/fuzz", "--target-dir", &build];
    let words = [
        &["run", "nightly", "cargo", "fuzz", "run"],
        &place[..],
        &[name, &found, seeds, "--", &time, LONGEST],
    ];
    step(program("rustup", &words.concat()).current_dir(root()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_is_listed_and_has_something_to_start_from() {
        let sources = fs::read_dir(root().join("config/fuzz/targets")).unwrap();
        let mut sources: Vec<_> =
            sources.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        sources.sort();
        let mut listed = TARGETS.map(|(name, _)| format!("{name}.rs"));
        listed.sort();
        assert_eq!(sources, listed);
        for (name, seeds) in TARGETS {
            assert!(fs::read_dir(root().join(seeds)).unwrap().count() > 0, "{name}");
        }
    }
}
