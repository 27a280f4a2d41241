//! The manual, written from the tables of keys and of settings: the pages bryo.container.conf(5) and bryo.toml(5), and the
//! tables of `docs/config.md` and `docs/settings.md`.

use crate::keys::{DEVICE_KEYS, Empty, Key, Shape, TABLE};
use crate::settings::{SETTINGS, Setting};
use crate::{legacy, share};

/// What belongs together for a reader, by the word after `lxc.`.
const TOPICS: [(&str, &[&str]); 12] = [
    ("Other files", &["include"]),
    ("Name, init and environment", &["uts", "arch", "init", "execute", "environment", "signal", "ephemeral"]),
    ("Root file system", &["rootfs"]),
    ("Mounts", &["mount"]),
    ("Devices, console and terminals", &["autodev", "tty", "pty", "console"]),
    ("Ids and namespaces", &["idmap", "namespace", "time"]),
    ("Network", &["net"]),
    ("Cgroups, limits and kernel parameters", &["cgroup2", "cgroup", "prlimit", "sysctl", "proc", "sched"]),
    ("Security", &["cap", "seccomp", "no_new_privs", "apparmor", "selinux", "keyring"]),
    ("Hooks", &["hook"]),
    ("Log", &["log"]),
    ("Start, groups and monitor", &["start", "group", "monitor"]),
];

/// What is still to be said about a topic as a whole.
const NOTES: [(&str, &str); 1] = [(
    "Network",
    "Where a veth device cannot be had, for want of a bridge, a line in /etc/lxc/lxc-usernet or the helper, one device in user mode takes its place, and what else is said of it has no effect. A container without any of these keys gets the best network that the host offers it; type empty is loopback alone.",
)];

/// Returns the keys of a topic, in the order in which `get_keys` lists them.
fn of_topic(words: &[&str]) -> impl Iterator<Item = &'static Key> {
    let all = TABLE.iter().chain(DEVICE_KEYS);
    all.filter(move |item| item.name.split('.').nth(1).is_some_and(|word| words.contains(&word)))
}

fn note(title: &str) -> Option<&'static str> {
    NOTES.iter().find(|(topic, _)| *topic == title).map(|(_, note)| *note)
}

/// Returns a key as it is written in a file, with what stands for its value.
fn name_and_open_part(item: &Key) -> String {
    match item.shape {
        Shape::Family => format!("{}.*", item.name),
        _ => item.name.to_owned(),
    }
}

/// Returns what holds without a line for the key, and how lines come together.
fn usual(item: &Key) -> String {
    let default = match item.default_text() {
        text if text.is_empty() => "none".to_owned(),
        text => text,
    };
    let more = match (item.shape, item.empty) {
        (_, Empty::Sets(value)) => format!("; an empty value means {value}"),
        (_, Empty::Refused) => "; an empty value is refused".to_owned(),
        (Shape::List, Empty::Clears) => "; lines are added up".to_owned(),
        (Shape::Family, Empty::Clears) => "; one value for each name".to_owned(),
        (Shape::Scalar | Shape::Group, Empty::Clears) => String::new(),
    };
    default + &more
}

/// Returns the tables of `docs/config.md`: for every key what it does, and whether it works for an ordinary user.
pub fn markdown() -> String {
    let topics = TOPICS.iter().map(|(title, words)| {
        let rows: String = of_topic(words).map(row).collect();
        let note = note(title).map(|note| format!("{note}\n\n")).unwrap_or_default();
        let head =
            "| key | value | what it does | without it | for an ordinary user |\n|---|---|---|---|---|\n";
        format!("### {title}\n\n{note}{head}{rows}\n")
    });
    format!("{}### Names of LXC 1 and 2\n\n{}", topics.collect::<String>(), renamed_table())
}

fn row(item: &Key) -> String {
    let usual = if item.shape == Shape::Group { String::new() } else { usual(item) };
    let syntax = if item.syntax.is_empty() { String::new() } else { format!("`{}`", item.syntax) };
    let unprivileged = item.unprivileged.text();
    let cells = [format!("`{}`", name_and_open_part(item)), syntax, item.doc.to_owned(), usual, unprivileged];
    format!("| {} |\n", cells.map(|cell| cell.replace('|', "\\|")).join(" | "))
}

fn renamed_table() -> String {
    let code = |new: &str| if new.contains(' ') { new.to_owned() } else { format!("`{new}`") };
    let row = |(old, new): &(String, String)| format!("| `{old}` | {} |\n", code(new));
    format!("| then | now |\n|---|---|\n{}", renamed().iter().map(row).collect::<String>())
}

/// Returns names of LXC 1 and 2 with today's, in the order of today's keys.
fn renamed() -> Vec<(String, String)> {
    let replaced = TABLE
        .iter()
        .flat_map(|item| item.replaces.iter().map(|old| ((*old).to_owned(), item.name.to_owned())));
    let patterns = legacy::PATTERNS.iter().map(|(old, new)| ((*old).to_owned(), (*new).to_owned()));
    let dropped = legacy::DROPPED.iter().map(|old| ((*old).to_owned(), "no effect".to_owned()));
    replaced.chain(patterns).chain(dropped).collect()
}

/// Returns bryo.container.conf(5) in the language of man(7).
pub fn man_page() -> String {
    let mut page = HEAD.to_owned();
    for (title, words) in &TOPICS {
        page.push_str(&format!(".SS {title}\n"));
        page.extend(note(title).map(|note| format!("{}\n", roff(note))));
        page.extend(of_topic(words).map(entry));
    }
    page.push_str(".SH NAMES OF LXC 1 AND 2\nThey are read, with a warning that names today's.\n");
    page.extend(renamed().iter().map(|(old, new)| format!(".TP\n.B {}\n{}\n", roff(old), roff(new))));
    page.push_str(".SH FILES\n");
    let shipped = share::ALL.iter().map(|file| format!(".TP\n.I {}\n{}\n", roff(file.name), roff(file.doc)));
    page.push_str("These stand for files of the same name below any\n.I share/lxc/config\nthat the host does not have.\n");
    page.extend(shipped);
    page.push_str(FOOT);
    page
}

fn entry(item: &Key) -> String {
    let value =
        if item.syntax.is_empty() { String::new() } else { format!(" \\fR= \\fI{}", roff(item.syntax)) };
    let usual = if item.shape == Shape::Group {
        String::new()
    } else {
        format!(".br\nWithout it: {}.\n", roff(&usual(item)))
    };
    let unprivileged = roff(&item.unprivileged.text());
    let name = roff(&name_and_open_part(item));
    format!(".TP\n.B {name}{value}\n{}\n{usual}.br\nFor an ordinary user: {unprivileged}.\n", roff(item.doc))
}

/// Returns the table of `docs/settings.md`.
pub fn settings_markdown() -> String {
    let row = |setting: &Setting| {
        let Setting { name, example, doc, default, over, .. } = setting;
        let cells = [&format!("`{name}`"), &format!("`{example}`"), *doc, default, over];
        format!("| {} |\n", cells.map(|cell: &str| cell.replace('|', "\\|")).join(" | "))
    };
    let head =
        "| setting | for example | what it does | without it | what counts more |\n|---|---|---|---|---|\n";
    format!("{head}{}", SETTINGS.iter().map(row).collect::<String>())
}

/// Returns bryo.toml(5) in the language of man(7).
pub fn settings_page() -> String {
    let entry = |setting: &Setting| {
        let more = match setting.over {
            "" => String::new(),
            over => format!(".br\nWhat counts more: {}.\n", roff(over)),
        };
        let (name, example) = (roff(setting.name), roff(setting.example));
        let (doc, default) = (roff(setting.doc), roff(setting.default));
        format!(".TP\n.B {name} \\fR= \\fI{example}\n{doc}\n.br\nWithout it: {default}.\n{more}")
    };
    format!("{SETTINGS_HEAD}{}{SETTINGS_FOOT}", SETTINGS.iter().map(entry).collect::<String>())
}

/// Returns text for man(7): nothing of it is taken for a command, and what stands between backticks is bold.
pub fn roff(text: &str) -> String {
    let escaped = text.replace('\\', "\\e").replace('-', "\\-");
    let parts = escaped.split('`').enumerate();
    let marked: String = parts
        .map(|(at, part)| if at % 2 == 1 { format!("\\fB{part}\\fR") } else { part.to_owned() })
        .collect();
    if marked.starts_with(['.', '\'']) { format!("\\&{marked}") } else { marked }
}

const HEAD: &str = r#".TH BRYO.CONTAINER.CONF 5 "" Bryo
.SH NAME
bryo.container.conf \- what a container is made of
.SH DESCRIPTION
The file
.I config
in a container's directory, in the configuration language of LXC 5 to 7: either reads what the other wrote.
.PP
A line is a key, an equals sign and a value. Blanks around both are of no meaning. One pair of quotes, single or double,
around the whole value is taken off, so that it can begin or end with a blank; nothing is escaped, a line is not continued
by a backslash, and a # is part of the value. Lines that begin with # are comments, and so is every line that does not
begin with "lxc.".
.PP
A later line replaces an earlier one of the same key, or is added to it where the key is a list. An empty value brings
back what holds without a line. Switches are 0 or 1. Sizes are bytes, or have one of the units kB, MB and GB, which count
in steps of 1024.
.PP
Everything that is wrong is told at once, each with file, line and column, and with what was probably meant; nothing is
started then. Names of LXC 1 and 2 and of cgroup v1 are read, with a warning.
.SH KEYS
"#;

const SETTINGS_HEAD: &str = r#".TH BRYO.TOML 5 "" Bryo
.SH NAME
bryo.toml \- what commands of Bryo do unless their options say otherwise
.SH DESCRIPTION
The files
.I ~/.config/bryo/config.toml
of the user and
.I /etc/bryo/config.toml
of the system, in TOML. Options of the command line count most, then what the user says, then what the system says; between the
two stand
.B lxc.lxcpath
and
.B lxc.default_config
of
.BR lxc.conf (5).
For root the system's file alone counts. A name with a dot stands in the table before the dot.
.PP
.B bryo config \-\-settings
lists what holds.
.SH SETTINGS
"#;

const SETTINGS_FOOT: &str = r#".SH A CONTAINER'S OWN FILE
.I bryo.toml
in a container's directory, beside
.BR config ,
has what LXC does not read:
.TP
.B publish \fR= \fI["8080:80", "*:5353:53/udp"]
Ports of the host that lead into the container whenever it runs, as
.B \-p
of
.BR bryo\-create (1)
takes them.
.B bryo config set NAME publish
adds one. Without an address a port is one of loopback; * is all addresses.
.SH SEE ALSO
.BR bryo (1),
.BR bryo.container.conf (5),
.BR lxc.conf (5)
"#;

const FOOT: &str = r#".SH SEE ALSO
.BR lxc.container.conf (5),
.BR lxc.conf (5),
.BR bryo (1)
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn root(path: &str) -> PathBuf {
        PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join(path)
    }

    #[test]
    fn every_key_has_one_topic() {
        for item in TABLE.iter().chain(DEVICE_KEYS) {
            let found = TOPICS.iter().filter(|(_, words)| of_topic(words).any(|one| one.name == item.name));
            assert_eq!(found.count(), 1, "{}", item.name);
        }
        assert!(NOTES.iter().all(|(topic, _)| TOPICS.iter().any(|(title, _)| title == topic)));
    }

    #[test]
    fn the_page_has_every_key_and_every_old_name() {
        let page = man_page();
        for item in TABLE.iter().chain(DEVICE_KEYS) {
            let head = format!(".B {}", roff(&name_and_open_part(item)));
            assert_eq!(
                page.lines().filter(|line| line.split(" \\fR").next() == Some(&head)).count(),
                1,
                "{head}"
            );
            assert!(item.replaces.iter().all(|old| page.contains(&format!(".B {}\n", roff(old)))));
        }
    }

    #[test]
    fn the_page_of_settings_has_all_of_them() {
        let page = settings_page();
        for setting in &SETTINGS {
            assert!(page.contains(&format!(".B {} ", roff(setting.name))), "{}", setting.name);
        }
    }

    #[test]
    fn no_text_is_taken_for_a_command_of_the_page() {
        assert_eq!(roff(".conf and `a-b` \\ c"), "\\&.conf and \\fBa\\-b\\fR \\e c");
        let commands = [".TH", ".SH", ".SS", ".TP", ".PP", ".B", ".BR", ".I", ".br"];
        let pages = man_page() + &settings_page();
        for line in pages.lines().filter(|line| line.starts_with(['.', '\''])) {
            assert!(commands.contains(&line.split(' ').next().unwrap()), "{line}");
        }
    }

    /// Compares the end of a page with what this code says, or writes it.
    fn is_fresh(page: &str, head: &str, now: &str) {
        let file = root(page);
        let written = std::fs::read_to_string(&file).unwrap();
        let (text, then) = written.split_once(head).unwrap();
        if std::env::var_os("BRYO_WRITE_DOCS").is_some() {
            return std::fs::write(&file, format!("{text}{head}{now}")).unwrap();
        }
        let mut both = now.lines().zip(then.lines());
        let first = both.find(|(now, then)| now != then);
        let how = format!("{page} is stale: BRYO_WRITE_DOCS=1 cargo test -p config docs");
        assert!(first.is_none() && now.len() == then.len(), "{how}\n{first:#?}");
    }

    /// `BRYO_WRITE_DOCS=1 cargo test -p config docs` writes them.
    #[test]
    fn the_docs_have_the_tables_of_this_code() {
        is_fresh("docs/config.md", "## All keys\n\n", &markdown());
        is_fresh("docs/settings.md", "## All settings\n\n", &settings_markdown());
    }
}
