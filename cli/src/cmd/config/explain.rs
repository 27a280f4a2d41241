//! `bryo config explain`: keys in the words of the table, and the lines that set them.

use std::path::Path;

use config::keys::{self, Key, Shape, Unprivileged};
use config::{Config, Given};
use container::{Error, Kind, Result};
use serde::Serialize;
use types::ContainerName;

use crate::context::{self, Context};
use crate::json;
use crate::keys::Keys;
use crate::output;

/// Arguments of `bryo config explain`.
#[derive(Debug, clap::Args)]
pub(super) struct Explain {
    /// The container
    pub(super) name: ContainerName,
    /// One key; without it all that have a line
    #[arg(value_parser = Keys::Alone, hide_possible_values = true)]
    key: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A key with all that is known of it in one container.
#[derive(Debug, Serialize)]
struct Explained<'a> {
    key: &'a str,
    /// What holds, in LXC's form; null where the key shows nothing.
    value: Option<String>,
    syntax: &'static str,
    doc: &'static str,
    /// What holds without a line.
    default: String,
    /// Whether it works for an ordinary user.
    works: String,
    replaces: &'static [&'static str],
    lines: Vec<Line<'a>>,
}

/// A line that sets a key.
#[derive(Debug, Serialize)]
struct Line<'a> {
    file: &'a Path,
    line: usize,
    value: &'a str,
}

impl Explain {
    pub(super) fn run(&self, context: &Context) -> Result<i32> {
        let place = context.place(&self.name);
        context.require_own_config(&place)?;
        let path = place.config();
        let given = config::trace(&path).map_err(context::wrong)?;
        // What is wrong with the file is for the commands that need all of it.
        let config = config::load(&path).map(|loaded| loaded.config).unwrap_or_default();
        let asked = self.asked(&given);
        let explained =
            asked.iter().map(|key| explained(key, &config, &given)).collect::<Result<Vec<_>>>()?;
        match (self.json, &self.key) {
            (true, _) => output::print_line(json::text(&explained)),
            (false, None) => explained.iter().for_each(|one| output::print(short(one, &path))),
            (false, Some(_)) => explained.iter().for_each(|one| output::print(long(one, &path))),
        }
        Ok(0)
    }

    /// Returns the key that was asked for, or all that have a line, in the order of their first.
    fn asked<'a>(&'a self, given: &'a [Given]) -> Vec<&'a str> {
        if let Some(key) = &self.key {
            return vec![key];
        }
        let mut all: Vec<&str> = Vec::new();
        for one in given {
            if !all.contains(&one.key.as_str()) {
                all.push(&one.key);
            }
        }
        all
    }
}

fn explained<'a>(key: &'a str, config: &Config, given: &'a [Given]) -> Result<Explained<'a>> {
    let (item, _) = keys::find(key).map_err(|fault| Error::new(Kind::Usage, fault.advice()))?;
    let lines = given.iter().filter(|one| sets(&one.key, key, item));
    Ok(Explained {
        key,
        value: config.get(key).ok().map(|value| value.trim_end_matches('\n').to_owned()),
        syntax: item.syntax,
        doc: item.doc,
        default: item.default_text(),
        works: item.unprivileged.text(),
        replaces: item.replaces,
        lines: lines.map(|one| Line { file: &one.file, line: one.line, value: &one.value }).collect(),
    })
}

/// Tells whether a line with the key `name` says something about `key`, which may stand for all keys below it.
fn sets(name: &str, key: &str, item: &Key) -> bool {
    let is_head = matches!(item.shape, Shape::Family | Shape::Group);
    let below = || name.strip_prefix(key).is_some_and(|rest| rest.starts_with('.'));
    let same_item = || keys::find(name).is_ok_and(|(other, _)| std::ptr::eq(other, item));
    name == key || is_head && below() && (item.shape == Shape::Group || same_item())
}

/// Writes a place; files other than the container's own by their whole path.
fn place(line: &Line<'_>, own: &Path) -> String {
    let file = match line.file == own {
        true => "config".to_owned(),
        false => line.file.display().to_string(),
    };
    format!("{file}:{}", line.line)
}

/// The key with its value, where that comes from, and what it does.
fn short(one: &Explained<'_>, own: &Path) -> String {
    let value = one.value.as_deref().unwrap_or("");
    let shown = value.replace('\n', ", ");
    let places: Vec<String> = one.lines.iter().map(|line| place(line, own)).collect();
    let works = match keys::find(one.key) {
        Ok((item, _)) if item.unprivileged != Unprivileged::Works => format!("    {}\n", one.works),
        _ => String::new(),
    };
    let equals = if shown.is_empty() { " =".to_owned() } else { format!(" = {shown}") };
    format!("{}{equals}    ({})\n    {}\n{works}", one.key, places.join(", "), one.doc.replace('`', ""))
}

/// All about one key.
fn long(one: &Explained<'_>, own: &Path) -> String {
    let mut lines = vec![
        ("key", one.key.to_owned()),
        ("written", one.syntax.to_owned()),
        ("does", one.doc.replace('`', "")),
        ("without it", one.default.clone()),
        ("for a user", one.works.replace('`', "")),
        ("once called", one.replaces.join(", ")),
        ("here", one.value.as_deref().unwrap_or("").replace('\n', "\n             ")),
    ];
    lines.extend(one.lines.iter().map(|line| ("set by", format!("{}: {}", place(line, own), line.value))));
    let told = lines.iter().filter(|(_, text)| !text.is_empty());
    told.map(|(label, text)| format!("{label:<12} {text}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(lines: &[(&str, &str, &str, usize)]) -> Vec<Given> {
        let one = |(key, value, file, line): &(&str, &str, &str, usize)| Given {
            key: (*key).to_owned(),
            value: (*value).to_owned(),
            file: (*file).into(),
            line: *line,
        };
        lines.iter().map(one).collect()
    }

    #[test]
    fn a_key_is_told_with_every_line_that_sets_it() {
        let given = given(&[
            ("lxc.tty.max", "4", "/share/common.conf", 3),
            ("lxc.cgroup2.pids.max", "9", "/c", 4),
            ("lxc.tty.max", "1", "/c", 9),
        ]);
        let mut config = Config::default();
        config.set("lxc.tty.max", "1").unwrap();
        let one = explained("lxc.tty.max", &config, &given).unwrap();
        assert_eq!(
            short(&one, "/c".as_ref()),
            "lxc.tty.max = 1    (/share/common.conf:3, config:9)\n    \
             How many terminals (/dev/tty1 and so on) the container has.\n"
        );
        let text = long(&one, "/c".as_ref());
        for line in ["without it   0\n", "once called  lxc.tty\n", "set by       config:9: 1\n"] {
            assert!(text.contains(line), "no {line} in\n{text}");
        }
        let family = explained("lxc.cgroup2", &config, &given).unwrap();
        assert_eq!(family.lines.len(), 1);
        assert!(explained("lxc.tty.mx", &config, &given).unwrap_err().to_string().contains("lxc.tty.max"));
    }
}
