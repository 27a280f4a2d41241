//! What the real liblxc 5.0.2 answers, case by case, beside what Bryo answers.
//!
//! The files in `observed/` hold one case a block: `## key = value` (several joined by `;;`), then what
//! `set_config_item` returned (1 accepted, 0 refused), what `get_config_item` gave back (length or negative errno,
//! and the value), and the same after setting the key empty. `?key` asks without setting, `clear` is
//! `clear_config_item`, `keys` is `get_keys`. Each answer that differs on purpose is in [`differences`].

#![allow(clippy::unwrap_used)] // The helpers here are parts of tests.

#[path = "observed/differences.rs"]
mod differences;

use config::{Config, keys};
use differences::DIFFERENCES;

/// One step of a case: what was asked, what LXC answered, what Bryo answers.
#[derive(Debug)]
struct Answer {
    case: String,
    asked: String,
    lxc: String,
    bryo: String,
}

fn answers(text: &str) -> Vec<Answer> {
    let mut answers = Vec::new();
    let (mut config, mut case, mut key) = (Config::default(), String::new(), String::new());
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            (config, case) = (Config::default(), title.to_owned());
            continue;
        }
        let (asked, lxc, bryo) = step(&mut config, &mut key, line.trim_start());
        answers.push(Answer { case: case.clone(), asked, lxc, bryo });
    }
    answers
}

/// Repeats one observed step on `config`; `key` is the one that was set last.
fn step(config: &mut Config, key: &mut String, line: &str) -> (String, String, String) {
    let accepted = |accepted: bool| if accepted { "accepted" } else { "refused" }.to_owned();
    let taken = |answer: &str| accepted(answer == "1");
    if let Some(rest) = line.strip_prefix("set-empty ") {
        let (name, answer) = rest.split_once(" -> ").unwrap();
        *key = name.to_owned();
        return (format!("{name} ="), taken(answer), accepted(config.set(name, "").is_ok()));
    }
    if let Some(rest) = line.strip_prefix("set ") {
        let (setting, answer) = rest.rsplit_once(" -> ").unwrap();
        let (name, value) = setting.split_once('=').unwrap();
        let value = value.strip_prefix('\'').and_then(|value| value.strip_suffix('\'')).unwrap();
        *key = name.to_owned();
        return (format!("{name} = {value}"), taken(answer), accepted(config.set(name, value).is_ok()));
    }
    if let Some(rest) = line.strip_prefix("clear(") {
        let (name, answer) = rest.split_once(")=").unwrap();
        *key = name.to_owned();
        return (format!("clear {name}"), taken(answer), accepted(config.clear(name).is_ok()));
    }
    let (what, value) = line.split_once(" rc=").unwrap();
    let lxc = match value.strip_prefix('-') {
        Some(_) => "no value".to_owned(),
        None => value.split_once(' ').unwrap().1.to_owned(),
    };
    let shown = |value: Option<String>| value.map_or("no value".to_owned(), |value| format!("{value:?}"));
    if let Some(prefix) = what.strip_prefix("keys(").and_then(|rest| rest.strip_suffix(')')) {
        let names = keys::names(config, prefix);
        let lines = (!names.is_empty()).then(|| names.iter().map(|name| format!("{name}\n")).collect());
        return (format!("keys {prefix}"), lxc, shown(lines));
    }
    let name = what.strip_prefix('?').unwrap_or(key);
    (format!("get {name}"), lxc, shown(config.get(name).ok()))
}

/// Returns the observed cases, with the files that they include in `directory`.
fn observed(directory: &std::path::Path) -> String {
    let listed = directory.join("incdir");
    std::fs::create_dir(&listed).unwrap();
    std::fs::write(directory.join("inc.conf"), "lxc.tty.max = 3\n").unwrap();
    std::fs::write(listed.join("a.conf"), "lxc.uts.name = a\n").unwrap();
    std::fs::write(listed.join("b.txt"), "lxc.uts.name = b\n").unwrap();
    let text = concat!(include_str!("observed/set-get-clear.txt"), include_str!("observed/defaults.txt"));
    text.replace("/W/", &format!("{}/", directory.display()))
}

#[test]
fn every_answer_is_that_of_lxc_or_differs_for_a_stated_reason() {
    let directory = tempfile::tempdir().unwrap();
    let mut unused: Vec<_> = DIFFERENCES.iter().collect();
    let mut unexplained = Vec::new();
    for answer in answers(&observed(directory.path())).iter().filter(|answer| answer.lxc != answer.bryo) {
        let stated = DIFFERENCES.iter().find(|one| one.explains(&answer.case, &answer.asked, &answer.bryo));
        match stated {
            Some(stated) => unused.retain(|difference| !std::ptr::eq(*difference, stated)),
            None => unexplained.push(format!("{answer:#?}")),
        }
    }
    assert!(unexplained.is_empty(), "{} answers differ:\n{}", unexplained.len(), unexplained.join("\n"));
    assert!(unused.is_empty(), "nothing differs for these reasons any more: {unused:#?}");
    assert!(DIFFERENCES.iter().all(|difference| !difference.reason.is_empty()));
}

/// `BRYO_WRITE_DOCS=1 cargo test -p config compat` writes them.
#[test]
fn compat_has_a_row_for_every_difference() {
    const HEAD: &str = "| case | Bryo answers | why |\n|---|---|---|\n";
    const NEXT: &str = "\n## Not yet\n";
    let file = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/compat.md"));
    let page = std::fs::read_to_string(file).unwrap();
    let (before, rest) = page.split_once(HEAD).unwrap();
    let (rows, after) = rest.split_once(NEXT).unwrap();
    let expected: String = DIFFERENCES.iter().map(differences::Difference::row).collect();
    if std::env::var_os("BRYO_WRITE_DOCS").is_some() {
        return std::fs::write(file, [before, HEAD, &expected, NEXT, after].concat()).unwrap();
    }
    assert!(rows == expected, "docs/compat.md is stale: BRYO_WRITE_DOCS=1 cargo test -p config compat");
}

/// Returns the names that an observed `keys` line lists.
fn listed(prefix: &str) -> Vec<&'static str> {
    let text = concat!(include_str!("observed/set-get-clear.txt"), include_str!("observed/defaults.txt"));
    let line = text.lines().find(|line| line.trim_start().starts_with(&format!("keys({prefix}) rc=1")));
    let names = line.and_then(|line| line.split_once('"')).unwrap().1.trim_end_matches(['"']);
    names.split("\\n").filter(|name| !name.is_empty()).collect()
}

#[test]
fn keys_are_listed_in_lxcs_order_and_none_is_missing() {
    let mut config = Config::default();
    config.set("lxc.net.0.type", "veth").unwrap();
    for (prefix, more) in [
        ("", &["lxc.environment.runtime", "lxc.environment.hooks", "lxc.namespace.share"][..]),
        (
            "lxc.net.0",
            &["l2proxy", "veth.mode", "veth.n_rxqueues", "veth.n_txqueues", "veth.vlan.tagged.id"][..],
        ),
    ] {
        let mut names = keys::names(&config, prefix);
        names.retain(|name| !more.contains(name));
        assert_eq!(names, listed(prefix));
    }
}
