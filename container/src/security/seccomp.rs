//! The system call filter of a container.

use std::io::ErrorKind::{NotFound, PermissionDenied};
use std::path::Path;

use config::seccomp::{Action, ArgTest, Call, Profile, Rule, Section};
use config::{Config, share};
use serde::{Deserialize, Serialize};
use sys::seccomp::Instruction;

use super::Circumstances;
use super::abi::{Abi, is_a_call, nearest_call};
use super::compile::compile;
use crate::error::{Doing, Error, Kind, Result};

const EPERM: u16 = 1;

/// A filter, ready for the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// The profile in force: Bryo's own, or the file of the configuration.
    pub profile: String,
    /// Changes of owner and of ids are answered as done, since there is only one id.
    pub one_id: bool,
    program: Vec<(u16, u8, u8, u32)>,
}

/// Decides the filter of a container.
///
/// Without a profile, and with the one that LXC's common.conf names for everybody, [`share::BASELINE`] is in force, which
/// refuses more. A profile of the user's own takes its place as a whole.
///
/// Names in the user's own that no architecture has as a call come to `notes`. LXC: passes over them in silence.
///
/// # Errors
/// A profile that cannot be read, with all its problems.
pub fn decide(
    config: &Config,
    circumstances: Circumstances,
    is_32bit: bool,
    notes: &mut Vec<String>,
) -> Result<Filter> {
    let own = config.seccomp_profile.as_deref().filter(|path| !is_lxcs_common(path));
    let profile = match own {
        Some(path) => read(path)?,
        None => baseline(is_32bit)?,
    };
    notes.extend(own.map(|path| misspelt(&profile, path)).unwrap_or_default());
    let beside = [(circumstances.one_id, share::ONE_ID), (circumstances.shares_pids, share::SHARED_PIDS)];
    let mut profiles: Vec<Profile> = beside
        .into_iter()
        .filter(|(wanted, _)| *wanted)
        .map(|(_, file)| shipped(file))
        .collect::<Result<_>>()?;
    profiles.push(profile);
    let program = compile(&profiles.iter().collect::<Vec<_>>(), Abi::native())?;
    Ok(Filter {
        profile: own.map_or_else(|| "baseline".to_owned(), |path| path.display().to_string()),
        one_id: circumstances.one_id,
        program: program.iter().map(stored).collect(),
    })
}

fn stored(i: &Instruction) -> (u16, u8, u8, u32) {
    (i.code, i.jump_true, i.jump_false, i.operand)
}

/// Returns a filter for a process of Bryo's own, and what it starts, under which these calls answer EPERM, in each way to call the kernel.
///
/// # Errors
/// As [`compile`].
pub(crate) fn refuse(calls: &[&str]) -> Result<Filter> {
    own(refusing(calls))
}

fn refusing(calls: &[&str]) -> Profile {
    let refused = |(at, call): (usize, &&str)| Rule {
        line: at + 1,
        section: Section::All,
        call: Call::Name((*call).to_owned()),
        args: Vec::new(),
        action: Action::Errno(EPERM),
    };
    Profile { default: Action::Allow, rules: calls.iter().enumerate().map(refused).collect() }
}

/// Returns a filter for a process of Bryo's own, under which these calls are made, those of `some` where all conditions on their
/// arguments hold, and all others answer EPERM.
///
/// # Errors
/// As [`compile`].
pub(crate) fn allow_only(calls: &[&str], some: &[(&str, &[ArgTest])]) -> Result<Filter> {
    let all = calls.iter().map(|call| (*call, &[][..]));
    let allowed = |(at, (call, tests)): (usize, (&str, &[ArgTest]))| Rule {
        line: at + 1,
        section: Section::All,
        call: Call::Name(call.to_owned()),
        args: tests.to_vec(),
        action: Action::Allow,
    };
    let rules = all.chain(some.iter().copied()).enumerate().map(allowed).collect();
    own(Profile { default: Action::Errno(EPERM), rules })
}

fn own(profile: Profile) -> Result<Filter> {
    let program = compile(&[&profile], Abi::native())?;
    Ok(Filter { profile: "own".to_owned(), one_id: false, program: program.iter().map(stored).collect() })
}

/// Tells whether a profile is the one that LXC installs for all containers.
fn is_lxcs_common(path: &Path) -> bool {
    share::instead_of(path).is_some_and(|file| file == share::SECCOMP)
}

/// Says which rules of a profile are about calls that no architecture has, a sentence each: they have no effect.
fn misspelt(profile: &Profile, path: &Path) -> Vec<String> {
    /// How many are told.
    const MOST: usize = 10;
    let place = format!("lxc.seccomp.profile: {}", path.display());
    let used = profile.rules.iter().filter(|rule| rule.section != Section::Other);
    let mut wrong = used.filter_map(|rule| match &rule.call {
        Call::Name(name) if !is_a_call(name) => Some((rule.line, name)),
        _ => None,
    });
    let told = wrong.by_ref().take(MOST).map(|(line, name)| {
        let meant = nearest_call(name).map(|call| format!("; write {call}")).unwrap_or_default();
        format!("{place}:{line}: there is no system call '{name}', so the line has no effect{meant}")
    });
    let mut told: Vec<String> = told.collect();
    let more = wrong.count();
    told.extend((more > 0).then(|| format!("{place}: {more} more lines are about no system call")));
    told
}

fn shipped(file: share::Shipped) -> Result<Profile> {
    parse(file.text, Path::new(file.name))
}

fn baseline(is_32bit: bool) -> Result<Profile> {
    let mut profile = shipped(share::BASELINE)?;
    if is_32bit {
        let is_socketcall = |call: &Call| matches!(call, Call::Name(name) if name == "socketcall");
        profile.rules.retain(|rule| !(rule.section == Section::X86 && is_socketcall(&rule.call)));
    }
    Ok(profile)
}

fn read(path: &Path) -> Result<Profile> {
    let doing = || format!("lxc.seccomp.profile = {}", path.display());
    let refused = |e: Error| e.of_kind(Kind::Config);
    let text = match (config::read_text(path), share::instead_of(path)) {
        (Ok(text), _) => text,
        (Err(e), Some(file)) if matches!(e.kind(), NotFound | PermissionDenied) => file.text.to_owned(),
        (Err(e), _) => return Err(refused(crate::place::from_io(e))).doing_with(doing),
    };
    parse(&text, path)
}

fn parse(text: &str, path: &Path) -> Result<Profile> {
    config::seccomp::parse(text, path).map_err(|problems| Error::new(Kind::Config, problems.to_string()))
}

impl Filter {
    /// Puts the filter in force for this process and all that it starts, for good.
    ///
    /// # Errors
    /// EACCES without CAP_SYS_ADMIN and without no_new_privs.
    pub(crate) fn install(&self) -> Result<()> {
        sys::seccomp::install(&self.instructions()).doing("putting the system call filter in force")
    }

    /// Returns the program.
    fn instructions(&self) -> Vec<Instruction> {
        let one = |(code, jump_true, jump_false, operand): &(u16, u8, u8, u32)| Instruction {
            code: *code,
            jump_true: *jump_true,
            jump_false: *jump_false,
            operand: *operand,
        };
        self.program.iter().map(one).collect()
    }

    /// Returns how many instructions it has.
    pub fn len(&self) -> usize {
        self.program.len()
    }

    /// Tells whether it has none.
    pub fn is_empty(&self) -> bool {
        self.program.is_empty()
    }
}

#[cfg(test)]
#[cfg(all(feature = "libseccomp", target_arch = "x86_64"))]
mod differential;
#[cfg(test)]
mod tests;
