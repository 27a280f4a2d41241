//! `lxc-attach`

use config::Arch;
use container::Kind;
use container::attach::AttachRequest;
use sys::process::flags;

use super::{Call, NAME, Tool};
use crate::getopt::{Opt, Takes, flag, value};
use crate::inside::{self, PATH, callers_environment, set_variable};

/// The tool.
pub(super) static TOOL: Tool = Tool {
    name: "lxc-attach",
    usage: "--name=NAME [-- COMMAND]",
    about: "runs COMMAND in a running container",
    options: &[
        NAME,
        Opt {
            short: "e",
            long: "elevated-privileges",
            takes: Takes::Maybe("CAP|CGROUP|LSM"),
            help: "keep the privileges that the configuration takes",
        },
        value("a", "arch", "ARCH", "the native one; no other is supported"),
        value("s", "namespaces", "LIST", "enter MOUNT|PID|UTSNAME|IPC|USER|NETWORK alone; implies -e"),
        flag("R", "remount-sys-proc", "not supported"),
        flag("", "clear-env", "begin with an empty environment"),
        flag("", "keep-env", "begin with the caller's environment (the default)"),
        value("L", "pty-log", "FILE", "copy what the terminal shows to FILE"),
        value("v", "set-var", "KEY=VAL", "set a variable"),
        value("", "keep-var", "KEY", "keep a variable in spite of --clear-env"),
        value("f", "rcfile", "FILE", "accepted: the container runs with what it was started with"),
        value("u", "uid", "UID", "run as this user of the container"),
        value("g", "gid", "GID", "run as this group of the container"),
        value("c", "context", "CONTEXT", "not supported"),
    ],
    about_one: true,
    run: |call| run(call).unwrap_or_else(|status| status),
};

/// LXC's names of namespaces.
const NAMESPACES: [(&str, u64); 7] = [
    ("MOUNT", flags::NEWNS),
    ("PID", flags::NEWPID),
    ("UTSNAME", flags::NEWUTS),
    ("IPC", flags::NEWIPC),
    ("USER", flags::NEWUSER),
    ("NETWORK", flags::NEWNET),
    ("CGROUP", flags::NEWCGROUP),
];

/// Options of which a part of the work is missing.
const REFUSED: [&str; 2] = ["remount-sys-proc", "context"];

fn run(call: &Call) -> Result<i32, i32> {
    let request = request(call)?;
    if let Some(option) = REFUSED.iter().find(|option| call.given.has(option)) {
        return Err(call.fail(format!("--{option} is not supported")));
    }
    if let Some(arch) = call.given.value("arch").filter(|arch| !is_native(arch)) {
        return Err(call.fail(format!("--arch={arch} is not supported, only that of this machine")));
    }
    let log = call.given.value("pty-log").map(|file| (file, sys::path::open_anew(file.as_ref())));
    let log = log.map(|(file, log)| log.map_err(|e| call.fail(format!("{file}: {e}")))).transpose()?;
    let place = call.place()?;
    let program = request.argv.first().cloned().unwrap_or_default();
    match inside::run(&place, request, log) {
        Ok(status) => Ok(status),
        Err(error) => {
            call.fail(&error);
            match error.kind() {
                Kind::ProgramMissing | Kind::ProgramNotExecutable => {
                    call.fail(format!("Failed to exec \"{program}\""));
                    Ok(if error.kind() == Kind::ProgramMissing { 127 } else { 126 })
                }
                Kind::NotRunning => Err(call.fail("Failed to get init pid")),
                _ => Err(1),
            }
        }
    }
}

/// Tells whether programs run as on this architecture anyway. The machine's may have other names at LXC.
fn is_native(arch: &str) -> bool {
    let known = |name: &str| name.parse::<Arch>().ok();
    arch == std::env::consts::ARCH
        || known(arch).is_some_and(|arch| known(std::env::consts::ARCH) == Some(arch))
}

fn request(call: &Call) -> Result<AttachRequest, i32> {
    let given = &call.given;
    let number =
        |option| given.value(option).map(|text| text.parse().map_err(|_| call.misused())).transpose();
    let wanted = given.value("namespaces").map(|list| namespaces(list).ok_or_else(|| call.misused()));
    let namespaces = wanted.transpose()?;
    Ok(AttachRequest {
        uid: number("uid")?.unwrap_or(0),
        gid: number("gid")?.unwrap_or(0),
        namespaces: namespaces.unwrap_or(0),
        elevated: given.has("elevated-privileges") || namespaces.is_some(),
        ..inside::request(call.words.clone(), environment(call)?)
    })
}

/// Reads a list of namespaces, joined by `|`.
fn namespaces(list: &str) -> Option<u64> {
    let one = |name: &str| NAMESPACES.iter().find(|(known, _)| *known == name.trim()).map(|(_, flag)| *flag);
    list.split('|').map(one).try_fold(0, |all, flag| Some(all | flag?))
}

fn environment(call: &Call) -> Result<Vec<String>, i32> {
    let given = &call.given;
    let callers = callers_environment();
    let mut environment = match given.last_of(&["clear-env", "keep-env"]) {
        Some("clear-env") => {
            let is_kept = |variable: &&String| {
                let name = variable.split('=').next();
                given.values("keep-var").any(|kept| Some(kept) == name)
            };
            let mut kept = vec![PATH.to_owned()];
            callers.iter().filter(is_kept).for_each(|variable| set_variable(&mut kept, variable.clone()));
            kept
        }
        _ => callers,
    };
    for variable in given.values("set-var") {
        if !variable.contains('=') || !inside::has_name(variable) {
            return Err(call.misused());
        }
        set_variable(&mut environment, variable.to_owned());
    }
    Ok(environment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_native_architecture_alone_is_accepted() {
        assert!(is_native(std::env::consts::ARCH));
        assert!(!is_native("s390x"));
        assert!(!is_native("bogus"));
        if cfg!(target_arch = "x86_64") {
            assert!(is_native("amd64") && !is_native("i686"));
        }
    }

    #[test]
    fn namespaces_have_lxcs_names() {
        assert_eq!(namespaces("MOUNT|PID"), Some(flags::NEWNS | flags::NEWPID));
        assert_eq!(namespaces("NETWORK"), Some(flags::NEWNET));
        assert_eq!(namespaces("BOGUS"), None);
        assert_eq!(namespaces(""), None);
    }
}
