//! `docs/cves.md` names a test for each known hole. Names go stale; these tests notice.

use std::collections::BTreeSet;
use std::fs;

use tests::subject::source_root;

/// Where the tests of a suite are, by the word before `::`.
const SUITES: [(&str, &str); 26] = [
    ("bridge", "tests/tests/bridge.rs"),
    ("network", "tests/tests/network.rs"),
    ("publish", "tests/tests/publish.rs"),
    ("attack_attach", "tests/tests/attack_attach.rs"),
    ("attack_mounts", "tests/tests/attack_mounts.rs"),
    ("attack_files", "tests/tests/attack_files.rs"),
    ("attack_syscalls", "tests/tests/attack_syscalls.rs"),
    ("hostile", "image/tests/program/hostile.rs"),
    ("layers", "image/tests/program/layers.rs"),
    ("saved", "image/tests/program/saved.rs"),
    ("servers", "fetch/tests/fetch/hostile.rs"),
    ("registry", "fetch/tests/fetch/registry.rs"),
    ("tls", "fetch/tests/fetch/tls.rs"),
    ("index", "image/src/index/tests.rs"),
    ("kernel", "helpers/idmap/tests/kernel.rs"),
    ("netdev", "helpers/netdev/tests/kernel.rs"),
    ("netdev_attack", "helpers/netdev/tests/attack.rs"),
    ("report", "helpers/src/report.rs"),
    ("netlink", "helpers/rtnl/src/lib.rs"),
    ("injection", "config/tests/injection.rs"),
    ("path::attack", "sys/src/path.rs"),
    ("handshake::attack", "container/src/start/handshake.rs"),
    ("connection", "container/src/network/publish/connection.rs"),
    ("datagrams", "container/src/network/publish/datagrams.rs"),
    ("forward", "container/src/network/publish/forward.rs"),
    ("inet", "sys/src/inet.rs"),
];

/// Suites of which every test must be named. `bridge`, `network`, `publish`, `layers`, `saved`, `registry`, `servers`, `tls`, `index`, `kernel`, `netdev`, `netlink`,
/// `report` and the units of published ports test more than holes.
const COMPLETE: [&str; 9] = [
    "attack_attach",
    "attack_mounts",
    "attack_files",
    "attack_syscalls",
    "hostile",
    "netdev_attack",
    "injection",
    "path::attack",
    "handshake::attack",
];

fn read(path: &str) -> String {
    fs::read_to_string(source_root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Returns the tests that the document names: words in backquotes with `::` in them.
fn named() -> BTreeSet<String> {
    let text = read("docs/cves.md");
    let quoted =
        text.lines().filter(|line| line.starts_with('|')).flat_map(|line| line.split('`').skip(1).step_by(2));
    quoted.filter(|word| word.contains("::")).map(str::to_owned).collect()
}

/// Returns the tests of a suite: the claims of a lab, or the functions under `#[test]`.
fn tests_of(suite: &str) -> BTreeSet<String> {
    let (_, path) =
        SUITES.iter().find(|(name, _)| *name == suite).unwrap_or_else(|| panic!("no suite {suite}"));
    let text = read(path);
    let (_, part) =
        text.split_once("mod attack {").filter(|_| suite.ends_with("::attack")).unwrap_or(("", &text));
    let claims = part.split_once("tests::claims! {").and_then(|(_, rest)| rest.split_once('}'));
    let names: BTreeSet<&str> = match claims {
        Some((claims, _)) => claims.lines().filter_map(|line| Some(line.split_once(':')?.0.trim())).collect(),
        None => part
            .split("#[test]")
            .skip(1)
            .filter_map(|rest| rest.split_once("fn ")?.1.split('(').next())
            .collect(),
    };
    names.into_iter().map(|name| format!("{suite}::{name}")).collect()
}

#[test]
fn every_test_that_the_document_names_exists() {
    let all: BTreeSet<String> = SUITES.iter().flat_map(|(suite, _)| tests_of(suite)).collect();
    let named = named();
    assert!(named.len() > 60, "{} tests are named", named.len());
    let stale: Vec<_> = named.difference(&all).collect();
    assert!(stale.is_empty(), "docs/cves.md names what is no test: {stale:#?}");
}

#[test]
fn every_attack_is_named_in_the_document() {
    let named = named();
    let all: BTreeSet<String> = COMPLETE.iter().flat_map(|suite| tests_of(suite)).collect();
    let missing: Vec<_> = all.difference(&named).collect();
    assert!(missing.is_empty(), "docs/cves.md does not say what these stand for: {missing:#?}");
}
