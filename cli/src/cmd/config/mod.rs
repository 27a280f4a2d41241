//! `bryo config`: reading and changing configurations, and Bryo's own settings.

mod edit;
mod explain;
mod publish;
mod settings;

use std::path::{Path, PathBuf};

use clap::Subcommand;
use config::keys::{self, Shape};
use config::{Config as Values, Document, Given, Held, Loaded};
use container::command::Client;
use container::{Doing, Error, Kind, Result};
use serde_json::{Map, Value};
use types::ContainerName;

use super::check;
use crate::context::{self, Context};
use crate::json;
use crate::keys::Keys;
use crate::output::{self, Cannot, Outcome};
use crate::rungs::Talk;

/// Arguments of `bryo config`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, arg_required_else_help = true, args_conflicts_with_subcommands = true)]
pub(super) struct Config {
    /// List Bryo's own settings: what holds, and which file says so
    #[arg(long)]
    settings: bool,
    /// Print the settings as JSON
    #[arg(long, requires = "settings")]
    json: bool,
    #[command(subcommand)]
    act: Option<Act>,
}

const EXAMPLES: &str = "\
Examples:
  bryo config get web                          all that is set, by the file and what it includes
  bryo config get web lxc.uts.name             one value
  bryo config set web lxc.cgroup2.memory.max 1G
  bryo config set web lxc.mount.entry '/srv srv none bind,create=dir 0 0'      a list gets one more
  bryo config unset web lxc.mount.entry '/srv srv none bind,create=dir 0 0'    and loses it
  bryo config set web publish 8080:80          this machine's port 8080 is its port 80 from the next start on
  bryo config edit web                         in $VISUAL or $EDITOR; what is wrong is not saved
  bryo config check web                        would it start, and what would it not get
  bryo config explain web                      each key, what it does, and the line that sets it
  bryo config explain web lxc.idmap            all about one
  bryo config --settings                       Bryo's own: ~/.config/bryo/config.toml, /etc/bryo/config.toml";

#[derive(Debug, Subcommand)]
enum Act {
    /// Print what is set
    Get(Get),
    /// Set a key, or add an item to a list
    Set(Set),
    /// Remove the lines of a key from the file, or one item of a list
    Unset(Unset),
    /// Change the file in an editor
    Edit {
        /// The container
        name: ContainerName,
    },
    /// Tell whether the container would start, as bryo check does
    Check {
        /// The container
        name: ContainerName,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Tell what keys do, and which lines set them
    Explain(explain::Explain),
}

#[derive(Debug, clap::Args)]
struct Get {
    /// The container
    name: ContainerName,
    /// Keys; without one all that are set
    #[arg(value_parser = Keys::Alone, hide_possible_values = true)]
    keys: Vec<String>,
    /// Print JSON: a text for each key, a list of texts where the key is a list
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Set {
    /// The container
    name: ContainerName,
    /// The key
    #[arg(value_parser = Keys::Alone, hide_possible_values = true)]
    key: String,
    /// The value; an empty one takes back what is set, whatever is included (lxc.autodev and lxc.monitor.signal.pdeath: 0)
    #[arg(allow_hyphen_values = true)]
    value: String,
    /// Add a line, also where one would be replaced
    #[arg(long)]
    add: bool,
}

#[derive(Debug, clap::Args)]
struct Unset {
    /// The container
    name: ContainerName,
    /// The key; of a family or a network device, all keys below it
    #[arg(value_parser = Keys::Alone, hide_possible_values = true)]
    key: String,
    /// Remove the lines with this value alone
    #[arg(allow_hyphen_values = true)]
    value: Option<String>,
}

impl Config {
    pub(super) fn run(self, context: &Context, talk: Talk) -> Outcome {
        let Some(act) = self.act else { return Ok(settings::list(context, self.json)) };
        match act {
            Act::Get(get) => get.run(context).cannot("read the configuration of", &get.name),
            Act::Set(set) => set.run(context, talk).cannot("configure", &set.name),
            Act::Unset(unset) => unset.run(context, talk).cannot("configure", &unset.name),
            Act::Edit { name } => edit::run(context, &name, talk).cannot("configure", &name),
            Act::Check { name, json } => check::one(context, name, json),
            Act::Explain(explain) => explain.run(context).cannot("explain", &explain.name),
        }
    }
}

impl Get {
    fn run(&self, context: &Context) -> Result<i32> {
        let is_ports = |key: &String| key == publish::KEY;
        // What is wrong with the ports is no matter of other keys, and the other way round.
        let place = context.place(&self.name);
        let wants_ports = self.keys.is_empty() || self.keys.iter().any(is_ports);
        let ports = wants_ports.then(|| publish::get(context, &self.name)).transpose();
        let config = match !self.keys.is_empty() && self.keys.iter().all(is_ports) {
            true => context.require_own_config(&place).map(|()| Values::default())?,
            false => context.config(&place)?.config,
        };
        let known = ports.as_ref().ok().and_then(Option::as_deref);
        let published = known.filter(|ports| !ports.is_empty()).map(|_| publish::KEY.to_owned());
        let wanted: Vec<String> = match self.keys.is_empty() {
            true => set_keys(&config).into_iter().chain(published).collect(),
            false => self.keys.iter().filter(|key| !is_ports(key) || known.is_some()).cloned().collect(),
        };
        let value = |key: &String| match known.filter(|_| is_ports(key)) {
            Some(ports) => Ok(ports.to_owned()),
            None => value(&config, key),
        };
        let values = wanted.iter().map(|key| Ok((key.as_str(), value(key)?)));
        self.print(&values.collect::<Result<Vec<_>>>()?);
        // What can be told was told.
        ports.map(|_| 0)
    }

    fn print(&self, values: &[(&str, String)]) {
        if self.json {
            let object: Map<String, Value> =
                values.iter().map(|(key, value)| ((*key).to_owned(), as_json(key, value))).collect();
            output::print_line(json::text(&object));
            return;
        }
        for (key, value) in values {
            match self.keys.len() {
                1 => output::print_line(value.trim_end_matches('\n')),
                _ => output::print(listed(key, value)),
            }
        }
    }
}

/// Returns the keys whose values are other than the defaults, in LXC's order.
fn set_keys(config: &Values) -> Vec<String> {
    let plain = keys::names(config, "").into_iter().filter(|name| !is_default(config, name));
    // What `lxc.net` shows, the types of the devices, is said by each of them.
    let plain = plain.filter(|name| *name != "lxc.net").map(str::to_owned);
    let devices = config.net.keys().flat_map(|index| {
        let all = keys::names(config, &format!("lxc.net.{index}"));
        all.into_iter().map(move |part| format!("lxc.net.{index}.{part}"))
    });
    plain.chain(devices.filter(|name| config.get(name).is_ok_and(|value| !value.is_empty()))).collect()
}

/// Tells whether a key shows what it shows without any line; one that has nothing to show does.
pub(super) fn is_default(config: &Values, name: &str) -> bool {
    config.get(name).map_or(true, |value| Values::default().get(name).is_ok_and(|usual| usual == value))
}

fn value(config: &Values, key: &str) -> Result<String> {
    config.get(key).map_err(|fault| Error::new(Kind::Usage, fault.advice()))
}

/// Returns a key's value as lines of a configuration.
fn listed(key: &str, value: &str) -> String {
    match value.lines().next() {
        None => format!("{key} =\n"),
        // A family shows whole lines.
        Some(_) if is_family(key) => value.to_owned(),
        Some(_) => value.lines().map(|line| format!("{key} = {line}\n")).collect(),
    }
}

fn is_family(key: &str) -> bool {
    keys::find(key).is_ok_and(|(item, slot)| item.shape == Shape::Family && slot.name.is_empty())
}

fn as_json(key: &str, value: &str) -> Value {
    let is_list = key == publish::KEY || keys::find(key).is_ok_and(|(item, _)| item.shape != Shape::Scalar);
    match is_list {
        true => value.lines().collect(),
        false => Value::from(value.trim_end_matches('\n')),
    }
}

impl Set {
    fn run(&self, context: &Context, talk: Talk) -> Result<i32> {
        if self.key == publish::KEY {
            return publish::add(context, &self.name, &self.value, talk);
        }
        let refused = |fault: config::Fault| Error::new(Kind::Config, fault.advice());
        Values::default().set(&self.key, &self.value).map_err(refused)?;
        let adds = self.add || is_a_list(&self.key);
        change(context, &self.name, talk, |document| {
            let changed = match adds {
                true => document.append(&self.key, &self.value),
                false => document.set(&self.key, &self.value),
            };
            changed.map_err(refused)
        })
    }
}

/// Tells whether a line of the key is added to those before it. Rules for devices are a list of their own in a family where
/// one value for each name is usual.
fn is_a_list(key: &str) -> bool {
    let rules = |name: &str| matches!(name, "devices.allow" | "devices.deny");
    keys::find(key).is_ok_and(|(item, slot)| item.shape == Shape::List || rules(slot.name))
}

impl Unset {
    fn run(&self, context: &Context, talk: Talk) -> Result<i32> {
        if self.key == publish::KEY {
            return publish::remove(context, &self.name, self.value.as_deref(), talk);
        }
        let refused = |fault: config::Fault| Error::new(Kind::Config, fault.advice());
        let status = change(context, &self.name, talk, |document| {
            let before = document.clone();
            match &self.value {
                Some(value) => document.remove_value(&self.key, value).map(drop),
                None => document.remove(&self.key),
            }
            .map_err(refused)?;
            if *document == before { Err(self.not_there(context)) } else { Ok(()) }
        })?;
        if let Some(still) = self.elsewhere(context).filter(|_| talk != Talk::Quiet) {
            output::note(&still);
        }
        Ok(status)
    }

    /// Says why there is nothing to remove: no such line, or one of an included file.
    fn not_there(&self, context: &Context) -> Error {
        let what = self.value.as_ref().map_or(String::new(), |value| format!(" = {value}"));
        let path = context.place(&self.name).config();
        let nowhere = || format!("{} has no line {}{what}", path.display(), self.key);
        Error::new(Kind::Usage, self.elsewhere(context).unwrap_or_else(nowhere))
    }

    /// Says where the key is set beside the container's own file, and what takes that back.
    fn elsewhere(&self, context: &Context) -> Option<String> {
        let path = context.place(&self.name).config();
        let given = config::trace(&path).ok()?;
        let wanted = |value: &str| self.value.as_deref().is_none_or(|removed| removed == value);
        let other = |given: &&Given| given.key == self.key && given.file != path && wanted(&given.value);
        let Given { file, line, .. } = given.iter().rfind(other)?;
        let (file, key, name) = (file.display(), &self.key, &self.name);
        Some(format!(
            "{key} is still set by {file}:{line}, which is included; bryo config set {name} {key} '' takes it back"
        ))
    }
}

/// Returns the path of a container's own configuration, which may be changed.
///
/// # Errors
/// There is no such container, or its configuration is another user's.
fn own(context: &Context, name: &ContainerName) -> Result<PathBuf> {
    let place = context.place(name);
    context.require_own_config(&place)?;
    Ok(place.config())
}

/// Changes a container's configuration, and says when that has an effect.
fn change(
    context: &Context,
    name: &ContainerName,
    talk: Talk,
    act: impl FnOnce(&mut Document) -> Result<()>,
) -> Result<i32> {
    let path = own(context, name)?;
    let (held, mut document) = hold(&path)?;
    let before = document.clone();
    act(&mut document)?;
    refuse_new_problems(&before, &document, &path)?;
    save(&held, &document, &path)?;
    remind(context, name, talk)
}

fn hold(path: &Path) -> Result<(Held, Document)> {
    Held::open(path).map_err(context::from_io).doing_with(|| format!("opening {}", path.display()))
}

fn save(held: &Held, document: &Document, path: &Path) -> Result<()> {
    held.save(document).map_err(context::from_io).doing_with(|| format!("writing {}", path.display()))
}

/// Reads the text as it would be read from the file.
fn read(document: &Document, path: &Path) -> std::result::Result<Loaded, config::Problems> {
    config::parse(&document.text(), path)
}

/// Refuses a change after which there is more wrong than before: who mends a file line by line is not kept from it.
fn refuse_new_problems(before: &Document, after: &Document, path: &Path) -> Result<()> {
    let Err(problems) = read(after, path) else { return Ok(()) };
    let had = read(before, path).err().map_or(0, |problems| problems.0.len());
    if problems.0.len() <= had {
        return Ok(());
    }
    Err(Error::new(Kind::Config, problems.to_string()))
}

fn remind(context: &Context, name: &ContainerName, talk: Talk) -> Result<i32> {
    let runs = Client::connect_at_once(&context.place(name)).is_ok_and(|client| client.is_some());
    if runs && talk != Talk::Quiet {
        output::note(&format!("{name} runs: this holds from its next start on"));
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(lines: &[(&str, &str)]) -> Values {
        let mut config = Values::default();
        lines.iter().for_each(|(key, value)| config.set(key, value).unwrap());
        config
    }

    #[test]
    fn what_is_set_is_listed_and_reads_back() {
        let config = config(&[
            ("lxc.uts.name", " a"),
            ("lxc.group", "b c"),
            ("lxc.cgroup2.pids.max", "9"),
            ("lxc.net.1.type", "veth"),
            ("lxc.hook.start", "/x"),
        ]);
        let text: String =
            set_keys(&config).iter().map(|key| listed(key, &config.get(key).unwrap())).collect();
        for line in
            ["lxc.group = b\nlxc.group = c\n", "lxc.cgroup2.pids.max = 9\n", "lxc.net.1.type = veth\n"]
        {
            assert!(text.contains(line), "no {line} in\n{text}");
        }
        assert!(!text.contains("lxc.arch") && !text.contains("lxc.net ="), "{text}");
    }

    #[test]
    fn json_has_lists_where_the_key_is_one() {
        assert_eq!(as_json("lxc.uts.name", "a"), Value::from("a"));
        assert_eq!(as_json("lxc.group", "a\nb\n"), Value::from(vec!["a", "b"]));
    }

    #[test]
    fn lists_grow_and_the_rest_is_replaced() {
        for key in ["lxc.mount.entry", "lxc.cgroup2.devices.allow"] {
            assert!(is_a_list(key), "{key}");
        }
        for key in ["lxc.uts.name", "lxc.cgroup2.memory.max", "lxc.prlimit.nofile"] {
            assert!(!is_a_list(key), "{key}");
        }
    }

    #[test]
    fn a_change_may_leave_what_was_wrong_and_adds_nothing_to_it() {
        let document = |text: &str| Document::from_bytes(text.as_bytes());
        let (bad, mended) = (document("lxc.a = 1\nlxc.b = 1\n"), document("lxc.a = 1\n"));
        let path = Path::new("/c");
        assert!(refuse_new_problems(&bad, &mended, path).is_ok());
        assert!(refuse_new_problems(&mended, &bad, path).is_err());
        let both = document("lxc.cap.drop = chown\nlxc.cap.keep = kill\n");
        assert!(refuse_new_problems(&document("lxc.cap.drop = chown\n"), &both, path).is_err());
    }
}
