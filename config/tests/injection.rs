//! Whatever a value holds, it stays one value of one key: CVE-2026-23953 was a line break in a variable that became a line
//! of the configuration, and a hook that ran on the host.

use std::path::Path;

use config::{Document, parse};

/// Numbers that look like chance and are the same in each run (xorshift).
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit) as usize
    }
}

/// What a line may be broken, ended, quoted or continued by, beside what is harmless.
const PIECES: [&str; 30] = [
    "\n",
    "\r",
    "\r\n",
    "\0",
    "\u{b}",
    "\u{c}",
    "\u{85}",
    "\u{2028}",
    "\u{2029}",
    "\u{feff}",
    "\\",
    "\\\n",
    "\"",
    "'",
    "#",
    " ",
    "\t",
    "=",
    "lxc.hook.pre-start = touch x",
    "lxc.include = /etc/passwd",
    "a",
    "b",
    "/",
    "..",
    "$",
    "é",
    "\u{1f333}",
    ";",
    "%",
    ",",
];

fn word(chance: &mut Chance) -> String {
    (0..chance.below(8)).map(|_| PIECES[chance.below(PIECES.len() as u64)]).collect()
}

/// Keys that take any text, one value each.
const KEYS: [&str; 4] = ["lxc.uts.name", "lxc.environment", "lxc.group", "lxc.hook.stop"];

#[test]
fn a_value_that_is_written_is_read_back_or_refused() {
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    let (mut written, mut refused) = (0, 0);
    for round in 0..60_000 {
        let (key, value) = (KEYS[round % KEYS.len()], word(&mut chance));
        let mut document = Document::from_bytes(b"lxc.arch = x86_64\n");
        if document.append(key, &value).is_err() {
            refused += 1;
            continue;
        }
        let bytes = document.bytes();
        let again = Document::from_bytes(&bytes);
        let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(lines, 2, "{key} = {value:?} became {:?}", String::from_utf8_lossy(&bytes));
        assert_eq!(again.bytes(), bytes, "{value:?}");
        // What the key itself refuses is refused at the next load, with its line.
        let Ok(loaded) = parse(&document.text(), Path::new("/config")) else { continue };
        let mut direct = config::Config::default();
        if direct.set(key, &value).is_ok() {
            assert_eq!(
                loaded.config.get(key).unwrap_or_default(),
                direct.get(key).unwrap_or_default(),
                "{key} = {value:?}"
            );
        }
        let hooks = loaded.config.get("lxc.hook.pre-start").unwrap_or_default();
        assert_eq!(hooks, "", "{key} = {value:?} became a hook");
        written += 1;
    }
    assert!(written > 5000 && refused > 5000, "{written} written, {refused} refused");
}

#[test]
fn a_line_break_or_a_nul_is_refused_by_name() {
    for piece in ["\n", "\r\n", "\0"] {
        let mut document = Document::default();
        assert!(
            document.append("lxc.environment", &format!("A=x{piece}lxc.hook.pre-start = id")).is_err(),
            "{piece:?}"
        );
        assert_eq!(document.bytes(), b"");
    }
}

#[test]
fn a_key_is_no_way_in_either() {
    for key in [
        "lxc.hook.pre-start = id\nlxc.uts.name",
        "lxc.uts.name = a\nlxc.arch",
        "",
        "#",
        "lxc.uts.name\0",
        " lxc.uts.name",
        "lxc.sysctl.a = 1\nlxc.hook.pre-start",
        "lxc.cgroup2.memory.max=1",
        "lxc.environment\n",
    ] {
        let mut document = Document::default();
        assert!(document.append(key, "x").is_err(), "{key:?}");
        assert!(document.set(key, "x").is_err(), "{key:?}");
    }
}
