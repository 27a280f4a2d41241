//! The lxc-* names: LXC's options, output and exit statuses, for the same work that the verbs of `bryo` do.

mod attach;
mod console;
mod create;
mod destroy;
mod execute;
mod freeze;
mod help;
mod info;
mod ls;
mod scripts;
mod start;
mod stop;
mod unfreeze;
mod user_nic;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use config::LogLevel;
use container::Error;
use container::place::Place;
use types::ContainerName;

use crate::context::Context;
use crate::getopt::{self, Given, Opt, flag, value};
use crate::hints;
use crate::output::{self, printable};

use scripts::SCRIPTS;
pub(crate) use scripts::Script;

/// One of LXC's tools.
#[derive(Debug)]
pub(crate) struct Tool {
    /// Its name.
    name: &'static str,
    /// What stands after the name in the first line of the help.
    usage: &'static str,
    /// What it does.
    about: &'static str,
    /// Its own options.
    options: &'static [Opt],
    /// Whether it is about one container.
    about_one: bool,
    /// Does the work, once the options are read. Returns the exit status.
    run: fn(&Call) -> i32,
}

/// The tools.
static TOOLS: [&Tool; 12] = [
    &attach::TOOL,
    &console::TOOL,
    &create::TOOL,
    &destroy::TOOL,
    &execute::TOOL,
    &freeze::TOOL,
    &info::TOOL,
    &ls::TOOL,
    &start::TOOL,
    &stop::TOOL,
    &unfreeze::TOOL,
    &user_nic::TOOL,
];

/// Options that every tool has.
const COMMON: &[Opt] = &[
    value("o", "logfile", "FILE", "write the log to FILE"),
    value("l", "logpriority", "LEVEL", "log what is at least of LEVEL"),
    flag("q", "quiet", "say nothing"),
    value("P", "lxcpath", "PATH", "use another directory of containers"),
    flag("?h", "help", "print this"),
    flag("", "usage", "print the options in short"),
    flag("", "version", "print the version"),
];

/// The option that names the container, of the tools that are about one.
const NAME: Opt = value("n", "name", "NAME", "the container");

/// What `--version` prints: the version of LXC whose command line this is, alone, since scripts compare it. Bryo's own
/// is that of `bryo --version`.
const VERSION: &str = "6.0.0";

/// Returns the tool of a name.
pub(crate) fn tool(name: &str) -> Option<&'static Tool> {
    TOOLS.into_iter().find(|tool| tool.name == name)
}

/// Returns the manual pages of all tools, by name.
pub(crate) fn manual() -> impl Iterator<Item = (&'static str, String)> {
    let tools = TOOLS.into_iter().map(|tool| (tool.name, help::page(tool)));
    tools.chain(SCRIPTS.iter().map(|script| (script.name, script.page())))
}

/// Returns the tool of a name that reads its own words.
pub(crate) fn script(name: &str) -> Option<&'static Script> {
    SCRIPTS.iter().find(|script| script.name == name)
}

/// Runs such a tool. Returns the exit status.
pub(crate) fn run_script(script: &Script, arguments: &[OsString]) -> i32 {
    words(script.name, arguments).map_or_else(|status| status, |words| (script.run)(&words))
}

/// Returns the words behind the tool's own name.
fn words(tool: &str, arguments: &[OsString]) -> Result<Vec<String>, i32> {
    let words: Option<_> = arguments.iter().skip(1).map(|word| word.to_str().map(str::to_owned)).collect();
    words.ok_or_else(|| {
        output::tell_line(format_args!("{tool}: an argument is no text"));
        1
    })
}

/// Runs a tool with its arguments, the first being its own name. Returns the exit status.
pub(crate) fn run(tool: &'static Tool, arguments: &[OsString]) -> i32 {
    let words = match words(tool.name, arguments) {
        Ok(words) => words,
        Err(status) => return status,
    };
    match getopt::parse(&[tool.options, COMMON], &words) {
        Ok(given) => dispatch(tool, given),
        Err(wrong) => {
            output::tell_line(format_args!("{}: {wrong}", tool.name));
            help::print(tool);
            1
        }
    }
}

fn dispatch(tool: &'static Tool, given: Given) -> i32 {
    match given.last_of(&["help", "usage", "version"]) {
        Some("help") => help::print(tool),
        Some("usage") => help::print_usage(tool),
        Some(_) => output::print_line(VERSION),
        None => return call(tool, given).unwrap_or_else(|status| status),
    }
    0
}

/// A call of a tool, with what all of them have in common read.
pub(crate) struct Call {
    tool: &'static Tool,
    context: Context,
    /// The name of the container, for messages; empty for a tool that is about all.
    name: String,
    given: Given,
    /// Words after the name.
    words: Vec<String>,
}

fn call(tool: &'static Tool, mut given: Given) -> Result<i32, i32> {
    let mut words = std::mem::take(&mut given.words);
    let name = match given.value("name") {
        Some(name) if tool.about_one => name.to_owned(),
        None if tool.about_one && !words.is_empty() => words.remove(0),
        _ => String::new(),
    };
    if tool.about_one && name.is_empty() {
        output::tell_line(format_args!("{}: No container name specified", tool.name));
        return Err(1);
    }
    let context = Context::new(given.value("lxcpath").map(Path::new)).map_err(|error| {
        output::tell_line(format_args!("{}: {error}", tool.name));
        1
    })?;
    output::color(context.settings().color);
    let call = Call { tool, context, name, given, words };
    call.open_log()?;
    Ok((tool.run)(&call))
}

impl Call {
    /// Prints an error, as LXC does, and puts it into the log. Returns the usual exit status.
    fn fail(&self, message: impl std::fmt::Display) -> i32 {
        log::error!("{message}");
        if !self.given.has("quiet") {
            self.print(&message.to_string());
        }
        1
    }

    fn print(&self, message: &str) {
        let subject = subject(&self.name, message);
        output::tell_line(format_args!("{}: {}", self.tool.name, printable(&format!("{subject}{message}"))));
    }

    /// Says that the options make no sense.
    fn misused(&self) -> i32 {
        output::tell_line(format_args!("{}: could not parse command line", self.tool.name));
        1
    }

    /// Returns the container's name.
    fn container(&self) -> Result<ContainerName, i32> {
        self.name.parse().map_err(|e: types::NameError| self.fail(e))
    }

    /// Returns the container's place, after what a killed command has left there is removed.
    fn place(&self) -> Result<Place, i32> {
        let name = self.container()?;
        self.context.settled(&name).map_err(|error| self.fail(error))
    }

    /// Turns an error into the usual exit status, printed with what the host lacks.
    fn or_fail<T>(&self, result: Result<T, Error>) -> Result<T, i32> {
        result.map_err(|error| {
            let help = hints::lacking(&error, || Some(self.context.findings()));
            help.into_iter().fold(self.fail(error), |_, help| self.fail(help))
        })
    }

    /// Opens the log that the options ask for.
    fn open_log(&self) -> Result<(), i32> {
        let Some((file, level)) = self.log()? else { return Ok(()) };
        container::logging::to_file(&file, level, self.tool.name, &self.name)
            .map_err(|e| self.fail(format!("the log cannot be written to {}: {e}", file.display())))
    }

    /// Returns the file and level of the log that the options ask for.
    fn log(&self) -> Result<Option<(PathBuf, LogLevel)>, i32> {
        let level = self.given.value("logpriority").map(str::parse::<LogLevel>).transpose();
        let level = level.map_err(|unknown| self.fail(unknown))?;
        let file = match (self.given.value("logfile"), level) {
            (Some("none"), _) | (None, None) => return Ok(None),
            (Some(file), _) => PathBuf::from(file),
            (None, Some(_)) => self.usual_log(),
        };
        Ok(Some((file, level.unwrap_or(LogLevel::Error))))
    }

    /// Returns the log as settings of the configuration, so that the monitor writes to the same file.
    fn log_settings(&self) -> Result<Vec<(String, String)>, i32> {
        let settings = |(file, level): (PathBuf, LogLevel)| {
            let file = std::path::absolute(&file).unwrap_or(file);
            let file = ("lxc.log.file".to_owned(), file.display().to_string());
            vec![file, ("lxc.log.level".to_owned(), level.to_string())]
        };
        Ok(self.log()?.map(settings).unwrap_or_default())
    }

    /// The log of a container, where no file was named: in its directory, or below /var/log for root's own path.
    fn usual_log(&self) -> PathBuf {
        let dir = self.context.lxcpath.join(&self.name);
        let is_roots = self.context.lxcpath == Path::new("/var/lib/lxc");
        let dir = if is_roots || !dir.is_dir() { logs_of_all(&self.context.lxcpath) } else { dir };
        dir.join(format!("{}.log", self.name))
    }
}

/// Returns what stands before a message: the container's name, unless the message begins with it.
fn subject(name: &str, message: &str) -> String {
    let says_it = message.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', ':']));
    if name.is_empty() || says_it { String::new() } else { format!("{name}: ") }
}

/// Where logs go that have no container's directory: before it is made, and root's.
fn logs_of_all(lxcpath: &Path) -> PathBuf {
    if crate::context::is_root() { PathBuf::from("/var/log/lxc") } else { lxcpath.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_tool_or_is_none() {
        assert!(tool("lxc-start").is_some_and(|tool| tool.name == "lxc-start"));
        assert!(tool("bryo").is_none());
        assert!(tool("lxc-top").is_none());
        assert!(script("lxc-config").is_some_and(|script| tool(script.name).is_none()));
    }

    #[test]
    fn a_message_names_the_container_once() {
        assert_eq!(subject("bb", "Container is already running"), "bb: ");
        assert_eq!(subject("bb", "bb is not running"), "");
        assert_eq!(subject("bb", "bbs are not running"), "bb: ");
        assert_eq!(subject("", "no regular expression"), "");
    }

    #[test]
    fn no_two_options_of_a_tool_share_a_letter_or_a_name() {
        for tool in TOOLS {
            let options: Vec<&Opt> = tool.options.iter().chain(COMMON).collect();
            let mut letters: Vec<char> = options.iter().flat_map(|option| option.short.chars()).collect();
            let mut names: Vec<&str> = options.iter().map(|option| option.long).collect();
            let counts = (letters.len(), names.len());
            letters.sort_unstable();
            letters.dedup();
            names.sort_unstable();
            names.dedup();
            assert_eq!((letters.len(), names.len()), counts, "{}", tool.name);
        }
    }

    #[test]
    fn tools_about_one_container_take_its_name() {
        for tool in TOOLS {
            assert_eq!(tool.options.contains(&NAME), tool.about_one, "{}", tool.name);
        }
    }
}
