//! What a reviewer need not look for: format, lints, the direction of imports, where `unsafe` may stand, how long the helpers
//! are, licences.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::build::PROGRAMS;
use crate::shell::{cargo, has, read, root, step};

/// Which crates of the tree each crate may import. A crate without a line here may not exist.
const IMPORTS: [(&str, &[&str]); 19] = [
    ("types", &[]),
    ("rtnl", &[]),
    ("sys", &["types", "rtnl"]),
    ("policy", &["types"]),
    ("config", &["types"]),
    ("cgroup", &["types", "sys"]),
    ("container", &["types", "sys", "config", "cgroup", "policy"]),
    ("image", &["types", "sys", "config"]),
    ("fetch", &["types", "sys", "config", "image"]),
    ("lxcfs", &["types", "sys", "cgroup"]),
    ("bryo", &["types", "sys", "config", "cgroup", "policy", "container"]),
    ("helpers", &["types"]),
    ("idmap", &["types", "policy", "helpers"]),
    ("netdev", &["types", "policy", "rtnl", "helpers"]),
    ("init", &["helpers"]),
    ("testbed", &[]),
    ("tests", &["sys", "config"]),
    ("attacker", &[]),
    ("xtask", &["types", "tests", "sys", "cgroup", "lxcfs"]),
];

/// Programs that run with more rights than their caller, or inside every container.
const HELPERS: [&str; 6] = ["helpers", "policy", "rtnl", "idmap", "netdev", "init"];

/// All that a helper may be made of.
const HELPERS_MAY_USE: [&str; 8] = ["libc", "types", "policy", "rtnl", "helpers", "idmap", "netdev", "init"];

/// How long a privileged helper may be, so that it can be read in an afternoon: of its own, and with all of this tree that it is
/// made of. Tests, comments and blank lines do not count.
const LINES: usize = 1200;
const LINES_IN_ALL: usize = 2200;

/// The privileged helpers, each with what of this tree it is made of.
const MADE_OF: [(&str, &[&str]); 2] = [
    (
        "helpers/idmap/src",
        &[
            "helpers/src",
            "helpers/policy/src/decimal.rs",
            "helpers/policy/src/lines.rs",
            "helpers/policy/src/nsswitch.rs",
            "helpers/policy/src/subid.rs",
            "types/src/idmap.rs",
            "types/src/ids.rs",
        ],
    ),
    (
        "helpers/netdev/src",
        &[
            "helpers/src",
            "helpers/policy/src/decimal.rs",
            "helpers/policy/src/lines.rs",
            "helpers/policy/src/slots.rs",
            "helpers/policy/src/usernet.rs",
            "helpers/rtnl/src",
            "types/src/ifname.rs",
        ],
    ),
];

/// Directories whose crates may say `unsafe`.
const UNSAFE_MAY_STAND: [&str; 3] = ["sys", "helpers", "tests/attacker"];

/// The crate whose program speaks TLS, and what no other program is made of.
const SPEAKS_TLS: &str = "fetch";
const OF_TLS: [&str; 5] = ["rustls", "ring", "ureq", "ureq-proto", SPEAKS_TLS];

/// One check: passed, or skipped for the reason returned, or failed with what it found.
type Check = fn() -> Result<Outcome>;

/// How a check ended that did not fail.
#[derive(Debug)]
enum Outcome {
    Passed,
    Skipped(&'static str),
}

/// The names of the checks by their results.
#[derive(Debug, Default)]
pub(crate) struct Results {
    pub(crate) passed: usize,
    pub(crate) skipped: Vec<String>,
    pub(crate) failed: Vec<String>,
}

const CHECKS: [(&str, Check); 8] = [
    ("format", format),
    ("clippy", clippy),
    ("imports", imports),
    ("helpers", helpers),
    ("tls", tls),
    ("unsafe", unsafe_code),
    ("lines", lines),
    ("deny", deny),
];

/// Runs all checks and reports every failure.
///
/// # Errors
/// A check fails.
pub(crate) fn run() -> Result<()> {
    let results = check_all();
    results.skipped.iter().for_each(|skip| println!("skipped  {skip}"));
    println!("{} passed, {} failed, {} skipped", results.passed, results.failed.len(), results.skipped.len());
    if results.failed.is_empty() { Ok(()) } else { bail!("failed: {}", results.failed.join(", ")) }
}

/// Runs all checks and prints what each finds.
pub(crate) fn check_all() -> Results {
    let mut results = Results::default();
    for (name, check) in CHECKS {
        match check() {
            Ok(Outcome::Passed) => results.passed += 1,
            Ok(Outcome::Skipped(reason)) => results.skipped.push(format!("lint {name}: {reason}")),
            Err(error) => {
                eprintln!("lint {name}: {error:#}");
                results.failed.push(format!("lint {name}"));
            }
        }
    }
    results
}

fn format() -> Result<Outcome> {
    if !is_component("fmt") {
        return Ok(Outcome::Skipped("rustfmt is not installed"));
    }
    step(&mut cargo(&["fmt", "--all", "--check"])).map(|()| Outcome::Passed)
}

fn clippy() -> Result<Outcome> {
    if !is_component("clippy") {
        return Ok(Outcome::Skipped("clippy is not installed"));
    }
    let mut clippy =
        cargo(&["clippy", "--quiet", "--workspace", "--all-targets", "--", "--deny", "warnings"]);
    step(&mut clippy).map(|()| Outcome::Passed)
}

/// Asks the component itself: rustup puts a name into the PATH for components that are not installed, too.
fn is_component(name: &str) -> bool {
    read(&mut cargo(&[name, "--version"])).is_ok()
}

/// A crate of the workspace.
struct Member {
    name: String,
    directory: PathBuf,
    /// Crates of the tree that it imports; those of its tests do not count.
    imports: BTreeSet<String>,
}

fn members() -> Result<Vec<Member>> {
    let text = read(&mut cargo(&["metadata", "--format-version", "1", "--no-deps", "--locked"]))?;
    let metadata: Value = serde_json::from_str(&text)?;
    let packages = metadata["packages"].as_array().context("cargo metadata lists packages")?;
    packages.iter().map(|package| member(package).context("cargo metadata describes a package")).collect()
}

fn member(package: &Value) -> Option<Member> {
    let imports = package["dependencies"]
        .as_array()?
        .iter()
        .filter(|dependency| dependency["path"].is_string() && dependency["kind"].as_str() != Some("dev"));
    Some(Member {
        name: package["name"].as_str()?.to_owned(),
        directory: Path::new(package["manifest_path"].as_str()?).parent()?.to_owned(),
        imports: imports.filter_map(|dependency| Some(dependency["name"].as_str()?.to_owned())).collect(),
    })
}

fn imports() -> Result<Outcome> {
    report(members()?.iter().flat_map(wrong_imports).collect())
}

fn wrong_imports(member: &Member) -> Vec<String> {
    let table = BTreeMap::from(IMPORTS);
    let Some(allowed) = table.get(member.name.as_str()) else {
        return vec![format!("crate {} has no line in the table of imports", member.name)];
    };
    let wrong = member.imports.iter().filter(|import| !allowed.contains(&import.as_str()));
    wrong.map(|import| format!("{} imports {import}: imports point down", member.name)).collect()
}

fn helpers() -> Result<Outcome> {
    let mut wrong = Vec::new();
    for helper in HELPERS {
        let tree = tree(helper, "normal,build")?;
        wrong.extend(strangers(&tree).into_iter().map(|name| format!("{helper} depends on {name}")));
    }
    report(wrong)
}

/// Returns what a crate is made of, a crate a line.
fn tree(package: &str, edges: &str) -> Result<String> {
    const FORM: [&str; 5] = ["--prefix", "none", "--format", "{p}", "--locked"];
    read(cargo(&["tree", "--package", package, "--edges", edges]).args(FORM))
}

/// Returns the crates in the output of `cargo tree` that no helper may use.
fn strangers(tree: &str) -> BTreeSet<&str> {
    crates(tree).filter(|name| !HELPERS_MAY_USE.contains(name)).collect()
}

fn crates(tree: &str) -> impl Iterator<Item = &str> {
    tree.lines().filter_map(|line| line.split(' ').next())
}

/// What speaks with servers holds nothing else of the user's, and what holds anything else does not speak with servers.
fn tls() -> Result<Outcome> {
    let mut wrong = Vec::new();
    for program in PROGRAMS.iter().filter(|program| program.package != SPEAKS_TLS) {
        let tree = tree(program.package, "normal")?;
        let found = speakers(&tree).map(|name| format!("{} is made of {name}", program.name));
        wrong.extend(found);
    }
    report(wrong)
}

/// Returns the crates in the output of `cargo tree` that speak TLS or HTTP.
fn speakers(tree: &str) -> impl Iterator<Item = &str> {
    crates(tree).filter(|name| OF_TLS.contains(name))
}

/// The workspace denies `unsafe`, so what counts is where the denial is lifted, and whether a crate is under it.
fn unsafe_code() -> Result<Outcome> {
    let mut wrong = Vec::new();
    for member in members()? {
        let directory = member.directory.strip_prefix(root()).unwrap_or(&member.directory);
        if UNSAFE_MAY_STAND.iter().any(|allowed| directory.starts_with(allowed)) {
            continue;
        }
        if !fs::read_to_string(member.directory.join("Cargo.toml"))?.contains("[lints]\nworkspace = true") {
            wrong.push(format!("{} is not under the lints of the workspace", member.name));
        }
        lifted_denials(&member.directory, &mut wrong)?;
    }
    report(wrong)
}

fn lifted_denials(directory: &Path, wrong: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        // A crate below another one is looked at by itself.
        if path.is_dir() && !path.ends_with("target") && !path.join("Cargo.toml").exists() {
            lifted_denials(&path, wrong)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path)?;
            let lines = (1..).zip(text.lines()).filter(|(_, line)| lifts_the_denial(line));
            wrong.extend(lines.map(|(number, _)| format!("{}:{number} allows unsafe code", path.display())));
        }
    }
    Ok(())
}

fn lifts_the_denial(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with('#')
        && line.contains("unsafe_code")
        && (line.contains("allow(") || line.contains("expect("))
}

fn lines() -> Result<Outcome> {
    let mut wrong = Vec::new();
    for (helper, with) in MADE_OF {
        let own = lines_of_code(&root().join(helper))?;
        let shared = with.iter().map(|path| lines_of_code(&root().join(path))).sum::<Result<usize>>()?;
        println!("lines of {helper}: {own}, {} with all that it is made of", own + shared);
        if own > LINES || own + shared > LINES_IN_ALL {
            wrong.push(format!("{helper} has more than {LINES} lines, or {LINES_IN_ALL} in all"));
        }
    }
    report(wrong)
}

/// Returns how many lines of code a file has, or all files below a directory.
fn lines_of_code(path: &Path) -> Result<usize> {
    if !path.is_dir() {
        return Ok(code(&fs::read_to_string(path)?).count());
    }
    let entries = fs::read_dir(path)?.collect::<Result<Vec<_>, _>>()?;
    entries.iter().map(|entry| lines_of_code(&entry.path())).sum()
}

/// Returns the lines of a file that are code. Tests are the last thing in it.
fn code(text: &str) -> impl Iterator<Item = &str> {
    let until_tests = text.split("\n#[cfg(test)]\nmod ").next().unwrap_or_default();
    until_tests.lines().filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with("//"))
}

fn deny() -> Result<Outcome> {
    if !has("cargo-deny") {
        return Ok(Outcome::Skipped("cargo-deny is not installed"));
    }
    step(&mut cargo(&["deny", "check"])).map(|()| Outcome::Passed)
}

fn report(wrong: Vec<String>) -> Result<Outcome> {
    if wrong.is_empty() {
        return Ok(Outcome::Passed);
    }
    bail!("{}", wrong.join("\n  "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn importing(name: &str, imports: &[&str]) -> Member {
        let imports = imports.iter().map(ToString::to_string).collect();
        Member { name: name.to_owned(), directory: PathBuf::new(), imports }
    }

    #[test]
    fn imports_may_only_point_down() {
        assert!(wrong_imports(&importing("sys", &["types"])).is_empty());
        assert_eq!(wrong_imports(&importing("sys", &["cgroup"])).len(), 1);
    }

    #[test]
    fn a_crate_that_the_table_does_not_know_is_refused() {
        assert_eq!(wrong_imports(&importing("utils", &[])).len(), 1);
    }

    #[test]
    fn the_table_has_no_circle() {
        for (at, (name, allowed)) in IMPORTS.iter().enumerate() {
            let before = &IMPORTS[..at];
            for import in *allowed {
                assert!(
                    before.iter().any(|(earlier, _)| earlier == import),
                    "{name} may import {import}, below it"
                );
            }
        }
    }

    #[test]
    fn a_stranger_in_a_helper_is_found() {
        let tree = "idmap v0.1.0 (/src)\nlibc v0.2.1\nhelpers v0.1.0 (/src) (*)\nserde v1.0.0\n";
        assert_eq!(strangers(tree), BTreeSet::from(["serde"]));
    }

    #[test]
    fn tls_in_a_program_is_found() {
        let tree = "bryo v0.1.0 (/src)\nimage v0.1.0 (/src)\nrustls v0.23.1\nring v0.17.14\nserde v1.0.0\n";
        assert_eq!(speakers(tree).collect::<Vec<_>>(), ["rustls", "ring"]);
    }

    #[test]
    fn blank_lines_comments_and_tests_are_no_code() {
        let text = "//! A.\n\n/// B.\nfn b() {\n    // c\n    d()\n}\n\n#[cfg(test)]\nmod tests {\n    fn e() {}\n}\n";
        assert_eq!(code(text).collect::<Vec<_>>(), ["fn b() {", "    d()", "}"]);
        assert_eq!(code("fn a() {}\n\n#[cfg(test)]\nmod tests;\n").count(), 1);
    }

    #[test]
    fn lifting_the_denial_is_seen_and_speaking_of_it_is_not() {
        assert!(lifts_the_denial("    #![allow(unsafe_code)]"));
        assert!(lifts_the_denial("#[expect(unsafe_code, reason = \"...\")]"));
        assert!(!lifts_the_denial("// #[allow(unsafe_code)] stands in sys alone"));
        assert!(!lifts_the_denial("#![forbid(unsafe_code)]"));
    }
}
