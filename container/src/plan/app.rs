//! A command as the only thing that a container runs, below Bryo's own init.

use std::path::PathBuf;

use super::InitPlan;
use crate::host::HostFacts;

/// The command.
#[derive(Clone, Debug, Default)]
pub struct AppCommand {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Additional environment, `NAME=VALUE`.
    pub environment: Vec<String>,
    /// Working directory inside; none: the configuration's.
    pub cwd: Option<PathBuf>,
    /// User inside; none: the configuration's.
    pub uid: Option<u32>,
    /// Group inside; none: the configuration's.
    pub gid: Option<u32>,
}

/// Where programs are looked for in a container.
pub(crate) const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Makes the plan of `bryo-init -- COMMAND` from that of the configuration's init. Where signals are kept in the container,
/// Bryo's init can end all that is in it.
pub(super) fn init(
    command: &AppCommand,
    base: InitPlan,
    facts: &HostFacts,
    scoped_signals: bool,
) -> InitPlan {
    let words: &[&str] =
        if scoped_signals { &["bryo-init", "--end-all", "--"] } else { &["bryo-init", "--"] };
    let own = words.iter().map(|word| (*word).to_owned());
    let mut environment = vec![PATH.to_owned()];
    environment.extend(base.environment);
    environment.extend(command.environment.iter().cloned());
    InitPlan {
        bryo_init: Some(facts.programs.init.clone()),
        argv: own.chain(command.argv.iter().cloned()).collect(),
        environment,
        cwd: command.cwd.clone().unwrap_or(base.cwd),
        uid: command.uid.unwrap_or(base.uid),
        gid: command.gid.unwrap_or(base.gid),
        groups: base.groups,
    }
}
