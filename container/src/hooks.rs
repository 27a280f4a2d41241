//! Hooks: commands of the configuration, run at the moments that LXC runs them, with LXC's environment.
//!
//! Host hooks run as the user, in the monitor. The hooks `pre-mount`, `mount`, `autodev` and `start` run in the child, as
//! container root; the first three still see the host's files.

use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use config::Hook;
use sys::process;

use crate::error::{Error, Kind, Result};
use crate::place::from_io;
use crate::plan::StartPlan;

/// What a hook is told beside the plan.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// `LXC_PID`: init, for host hooks after the clone.
    pub init_pid: Option<i32>,
    /// `LXC_TARGET`: `stop` or `reboot`, for stop and post-stop.
    pub target: Option<&'static str>,
}

/// Hook programs taken as the user, for a child that will no longer be able to walk to them.
#[derive(Debug, Default)]
pub struct TakenHooks {
    programs: Vec<(String, OwnedFd)>,
}

impl TakenHooks {
    /// Opens the programs of all hooks that run in the child.
    pub fn take(plan: &StartPlan) -> Self {
        let moments = [Hook::PreMount, Hook::Mount, Hook::Autodev];
        let programs = moments.iter().flat_map(|m| plan.hooks.of(*m)).filter_map(|command| {
            let program = first_word(command);
            let opened =
                program.starts_with('/').then(|| sys::path::open_read(Path::new(program)).ok()).flatten()?;
            Some((program.to_owned(), opened))
        });
        Self { programs: programs.collect() }
    }

    /// Returns the command with its program replaced by an fd of it, if this process cannot reach its path.
    fn reachable(&self, command: &str) -> Result<String> {
        let program = first_word(command);
        let taken = self.programs.iter().find(|(name, _)| name == program);
        match taken {
            Some((_, fd)) if std::fs::metadata(program).is_err() => {
                sys::process::keep_on_exec(fd.as_fd())?;
                let rest = &command[command.find(program).unwrap_or(0) + program.len()..];
                Ok(format!("/proc/self/fd/{}{rest}", fd.as_raw_fd()))
            }
            _ => Ok(command.to_owned()),
        }
    }
}

fn first_word(command: &str) -> &str {
    command.split_ascii_whitespace().next().unwrap_or("")
}

/// Runs the hooks of one moment, in order; the first that fails ends it.
pub fn run(plan: &StartPlan, moment: Hook, told: &Told, taken: &TakenHooks) -> Result<()> {
    plan.hooks.of(moment).iter().try_for_each(|command| one(plan, moment, command, told, taken))
}

fn one(plan: &StartPlan, moment: Hook, command: &str, told: &Told, taken: &TakenHooks) -> Result<()> {
    // LXC: runs the line through the shell, with its arguments appended for version 0.
    let line = match plan.hooks.version {
        0 => format!("{} {} lxc {moment}", taken.reachable(command)?, quoted(plan.place.name.as_str())),
        _ => taken.reachable(command)?,
    };
    let mut variables = environment(plan, "lxc", &moment.to_string());
    variables.extend(told.init_pid.map(|pid| ("LXC_PID".to_owned(), pid.to_string())));
    variables.extend(told.target.map(|target| ("LXC_TARGET".to_owned(), target.to_owned())));
    shell(&format!("lxc.hook.{moment} = {command}"), &line, variables)
}

/// Runs a script of a network device, named `key` in messages, as the user. `words` are what it is told by arguments, and
/// `variables` what by the environment.
pub(crate) fn run_script(
    plan: &StartPlan,
    key: &str,
    command: &str,
    words: &str,
    moment: &str,
    variables: &[(&str, &str)],
) -> Result<()> {
    let line = match plan.hooks.version {
        0 => format!("{command} {} {words}", quoted(plan.place.name.as_str())),
        _ => command.to_owned(),
    };
    let mut all = environment(plan, "net", moment);
    if plan.hooks.version == 1 {
        all.extend(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    }
    shell(&format!("{key} = {command}"), &line, all)
}

/// Runs a line through the shell; `named` is what a failure calls it.
fn shell(named: &str, line: &str, variables: Vec<(String, String)>) -> Result<()> {
    let named = &named[..named.floor_char_boundary(TOLD)];
    let failed = |why: String| Error::new(Kind::Hook, format!("{named}: {why}"));
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", line]).env_clear().envs(variables);
    let (status, said) = run_and_hear(&mut shell).map_err(|e| failed(from_io(e).to_string()))?;
    if status.success() {
        return Ok(());
    }
    Err(failed(format!("{status}{}{said}", if said.is_empty() { "" } else { ": " })))
}

/// The most that is told of what a hook says, or of its command, in bytes: a failure has to fit into a message of the
/// handshake, whatever a hook writes.
const TOLD: usize = 1024;

/// Runs a program and returns the last line that it wrote to standard error, or its end.
///
/// It is forked: posix_spawn(3) fails where a filter refuses clone3 by another error than ENOSYS, as those of older container
/// engines do.
fn run_and_hear(command: &mut Command) -> std::io::Result<(ExitStatus, String)> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = process::spawn_with(command, &[])?;
    let mut last = Vec::new();
    if let Some(mut errors) = child.stderr.take() {
        let mut piece = [0; 4096];
        loop {
            match errors.read(&mut piece) {
                Ok(0) => break,
                Ok(got) => {
                    last.extend_from_slice(&piece[..got]);
                    last.drain(..last.len().saturating_sub(2 * TOLD));
                }
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }
    let status = child.wait()?;
    let line = last.trim_ascii_end().rsplit(|byte| matches!(byte, b'\n' | b'\r')).next().unwrap_or_default();
    Ok((status, ending(line)))
}

/// Returns a text, or where it is too long its end.
fn ending(text: &[u8]) -> String {
    let text = text.trim_ascii();
    match text.len().checked_sub(TOLD) {
        None | Some(0) => String::from_utf8_lossy(text).into_owned(),
        Some(too_much) => format!("...{}", String::from_utf8_lossy(&text[too_much..])),
    }
}

/// Returns a word that the shell takes as it is.
///
/// LXC: appends the name as it is, so that a container named `a;reboot` is a command.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if word.chars().all(is_plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

fn environment(plan: &StartPlan, section: &str, moment: &str) -> Vec<(String, String)> {
    let path = |p: &Path| p.display().to_string();
    let mut all = vec![
        ("PATH".to_owned(), "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()),
        ("LXC_NAME".to_owned(), plan.place.name.to_string()),
        ("LXC_CONFIG_FILE".to_owned(), path(&plan.config_file)),
        ("LXC_ROOTFS_PATH".to_owned(), path(&plan.rootfs.path)),
        ("LXC_ROOTFS_MOUNT".to_owned(), path(&plan.rootfs.mount)),
        ("LXC_CGNS_AWARE".to_owned(), "1".to_owned()),
        ("LXC_HOOK_VERSION".to_owned(), plan.hooks.version.to_string()),
        ("LXC_LOG_LEVEL".to_owned(), plan.log_level.to_string()),
    ];
    all.extend(plan.console_log.iter().map(|log| ("LXC_CONSOLE_LOGPATH".to_owned(), path(&log.path))));
    if plan.hooks.version == 1 {
        all.push(("LXC_HOOK_TYPE".to_owned(), moment.to_owned()));
        all.push(("LXC_HOOK_SECTION".to_owned(), section.to_owned()));
    }
    all.extend(plan.hooks.environment.iter().cloned());
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_word_for_the_shell_whatever_it_holds() {
        assert_eq!(quoted("web-1.x_y"), "web-1.x_y");
        for name in ["a;b", "$(id)", "a b", "it's", "`id`", "a&b|c>d", "é", "*", "\\", "''"] {
            let line = format!("printf %s {}", quoted(name));
            let said = Command::new("/bin/sh").args(["-c", &line]).output().unwrap();
            assert_eq!(String::from_utf8(said.stdout).unwrap(), name);
        }
    }

    #[test]
    fn the_last_line_of_a_hook_is_told_and_of_a_long_one_its_end() {
        let says = |script: &str| run_and_hear(Command::new("/bin/sh").args(["-c", script])).unwrap();
        let (status, said) = says("echo first >&2; echo last >&2; echo out; exit 3");
        assert_eq!((status.code(), said.as_str()), (Some(3), "last"));
        assert_eq!(says("true").1, "");
        let (_, long) = says("head -c 3000000 /dev/zero | tr '\\0' x >&2; printf 'why\\n' >&2");
        assert!(long.starts_with("...xx") && long.ends_with("xxwhy"), "{long}");
        assert_eq!(long.len(), "...".len() + TOLD);
    }
}
