//! What to do about a failure: written once, where the kind of the failure and the host's facts meet.

use std::path::Path;

use container::host::HostFacts;
use container::{Error, Kind};
use sys::Errno;
use types::ContainerName;

/// Returns what the user can do, if there is something.
pub(crate) fn hint(
    error: &Error,
    subject: Option<&ContainerName>,
    facts: Option<&HostFacts>,
) -> Option<String> {
    let name = subject.map_or("NAME", ContainerName::as_str);
    let said = match error.kind() {
        Kind::NotDefined => "bryo ls shows the containers; bryo create makes one".to_owned(),
        Kind::Exists => format!("bryo destroy {name} removes it, or choose another name"),
        Kind::Running => format!("bryo stop {name} first"),
        Kind::NotRunning => format!("bryo start {name}"),
        Kind::Frozen => format!("bryo unfreeze {name}"),
        Kind::UnderLxc => format!("use the command of LXC that started it, such as lxc-stop -n {name}"),
        Kind::Busy => "wait for the other command to end, then try again".to_owned(),
        Kind::IdRange if subject.is_some() && error.cause().contains("does not grant") => {
            not_granted(name, facts?)
        }
        Kind::IdRange => ranges(facts?),
        Kind::Shifting => format!("bryo remap {name} finishes it"),
        Kind::IdHelper => helper(facts?),
        // Some limits know their own way to it.
        Kind::Cgroup if error.to_string().contains("Delegate=") => return None,
        Kind::Cgroup => DELEGATE.to_owned(),
        Kind::Hook => "run the hook by hand, or remove it from the configuration".to_owned(),
        Kind::Rootfs => format!("bryo info {name} -c lxc.rootfs.path shows where it should be"),
        Kind::Build => "a container that runs keeps the version that started it: bryo stop and start it, \
                        or reinstall all programs of Bryo together"
            .to_owned(),
        Kind::ProgramMissing => "name a program that the container has".to_owned(),
        Kind::ProgramNotExecutable => "its mode has no x, or it is a directory".to_owned(),
        Kind::Kernel(number) => return kernel(Errno::from_raw(number), error.cause()),
        Kind::Image => file(error.cause()).unwrap_or(IMAGE).to_owned(),
        Kind::TimedOut => "--timeout SECONDS gives it more time".to_owned(),
        Kind::Config | Kind::Died | Kind::Usage | Kind::Interrupted(_) => return None,
    };
    Some(said)
}

/// What an image can be.
const IMAGE: &str = "an image is a directory or an archive (.tar, .tar.gz, .tar.xz, .tar.zst) of a root file system; \
                     bryo create --help tells more";

/// What to do about a file that cannot be opened, by the errno in the words of its failure.
fn file(cause: &str) -> Option<&'static str> {
    const WAYS: [(&str, &str); 4] = [
        (" = ENOENT ", MISSING),
        ("(os error 2)", MISSING),
        (" = EACCES ", FORBIDDEN),
        ("(os error 13)", FORBIDDEN),
    ];
    const MISSING: &str = "check the path: the file, or a directory on the way to it, is not there";
    const FORBIDDEN: &str = "namei -l PATH shows which part of the path you may not use";
    WAYS.iter().find(|(errno, _)| cause.contains(errno)).map(|(_, way)| *way)
}

/// How a user gets cgroups that may be written.
pub(crate) const DELEGATE: &str =
    "systemd-run --user --scope -p Delegate=yes bryo ... gives a writable cgroup";

/// The command that grants subordinate ids which no other line has.
pub(crate) fn ranges(facts: &HostFacts) -> String {
    if !facts.subuids.is_empty() && !facts.subgids.is_empty() {
        return "change lxc.idmap in the configuration to ids that are granted, or have those granted"
            .to_owned();
    }
    let file = |path: &str| std::fs::read(path).unwrap_or_default();
    let (subuid, subgid) = (file("/etc/subuid"), file("/etc/subgid"));
    let label = facts.caller.label();
    match policy::subid::free_range(&[&subuid, &subgid], &[], container::idmap::FULL_RANGE) {
        Some(free) => format!("sudo usermod --add-subuids {free} --add-subgids {free} {label}"),
        None => format!("ask the administrator for a line in /etc/subuid and /etc/subgid for {label}"),
    }
}

/// What to do about a container whose ids are not granted any more.
fn not_granted(name: &str, facts: &HostFacts) -> String {
    match facts.subuids.is_empty() || facts.subgids.is_empty() {
        true => ranges(facts),
        false => format!(
            "bryo remap {name} shifts it to ids that are granted today; bryo idmap {name} shows what is not"
        ),
    }
}

/// How the helper that writes id maps gets its rights.
pub(crate) fn helper(facts: &HostFacts) -> String {
    if facts.no_new_privs {
        return "no_new_privs is set here, so no helper can do its work; use a session without it".to_owned();
    }
    let own = facts.programs.idmap.display();
    format!("sudo setcap cap_setuid,cap_setgid=ep {own}, or install the package uidmap")
}

/// The switches with which a host refuses user namespaces: file, the value that refuses, the command that allows.
const SWITCHES: [(&str, &str, &str); 3] = [
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "this host allows user namespaces only by AppArmor profile: sudo cargo xtask install writes one",
    ),
    (
        "/proc/sys/kernel/unprivileged_userns_clone",
        "0",
        "this host forbids user namespaces: sudo sysctl kernel.unprivileged_userns_clone=1",
    ),
    (
        "/proc/sys/user/max_user_namespaces",
        "0",
        "this host forbids user namespaces: sudo sysctl user.max_user_namespaces=15000",
    ),
];

fn kernel(errno: Errno, call: &str) -> Option<String> {
    let about_namespaces = call.starts_with("clone3(") || call.starts_with("unshare(");
    match errno {
        Errno::EPERM | Errno::EACCES | Errno::ENOSPC | Errno::EUSERS if about_namespaces => {
            let refuses = |file: &str, value: &str| {
                std::fs::read_to_string(Path::new(file)).is_ok_and(|now| now.trim() == value)
            };
            SWITCHES
                .iter()
                .find(|(file, value, _)| refuses(file, value))
                .map(|(_, _, hint)| (*hint).to_owned())
        }
        Errno::ENOENT | Errno::EACCES if is_about_files(call) => file(call).map(str::to_owned),
        Errno::ENOSPC => Some("the file system is full".to_owned()),
        Errno::EDQUOT => Some("your quota is used up".to_owned()),
        Errno::EMFILE | Errno::ENFILE => Some("ulimit -n shows how many files may be open".to_owned()),
        _ => None,
    }
}

/// Tells calls that open a file, and what the standard library says of them, from the rest of the kernel.
fn is_about_files(call: &str) -> bool {
    call.starts_with("open") || call.contains("(os error")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_do_names_the_container() {
        let name: ContainerName = "web".parse().unwrap();
        let of = |kind| hint(&Error::new(kind, "x"), Some(&name), None);
        assert_eq!(of(Kind::NotRunning).as_deref(), Some("bryo start web"));
        assert_eq!(of(Kind::Frozen).as_deref(), Some("bryo unfreeze web"));
        assert_eq!(of(Kind::Config), None);
    }

    #[test]
    fn files_that_cannot_be_opened_are_told_apart() {
        let of = |kind, cause: &str| hint(&Error::new(kind, cause), None, None).unwrap_or_default();
        assert!(of(Kind::Kernel(2), "No such file or directory (os error 2)").contains("check the path"));
        assert!(of(Kind::Kernel(13), "open(\"/x\") = EACCES (Permission denied)").contains("namei"));
        assert_eq!(of(Kind::Kernel(2), "mount(\"/x\") = ENOENT (No such file or directory)"), "");
        assert!(
            of(Kind::Image, "open(\"/x\") = ENOENT (No such file or directory)").contains("check the path")
        );
        assert!(of(Kind::Image, "no archive").contains(".tar.zst"));
    }

    #[test]
    fn advice_is_given_once() {
        let of = |cause: &str| hint(&Error::new(Kind::Cgroup, cause), None, None);
        assert_eq!(of("memory.max (systemd-run --user --scope -p Delegate=yes -- COMMAND)"), None);
        assert_eq!(of("memory.max").as_deref(), Some(DELEGATE));
    }
}
