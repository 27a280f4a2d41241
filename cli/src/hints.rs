//! What to do about a failure: written once, where the kind of the failure and the findings of `bryo doctor` meet.
//!
//! What this host lacks is worded by the findings alone; here stands which of them a failure can come from.

use container::doctor::Finding;
use container::{Error, Kind};
use sys::Errno;
use types::ContainerName;

/// Returns what the user can do, if there is something. The findings are looked for only where one may be the reason.
pub(crate) fn hint<'a>(
    error: &Error,
    subject: Option<&ContainerName>,
    findings: impl FnOnce() -> Option<&'a [Finding]>,
) -> Option<String> {
    lacking(error, findings).or_else(|| otherwise(error, subject))
}

/// Returns what mends the finding that a failure comes from, if this host has such a finding.
pub(crate) fn lacking<'a>(error: &Error, findings: impl FnOnce() -> Option<&'a [Finding]>) -> Option<String> {
    let suspects = suspects(error);
    if suspects.is_empty() {
        return None;
    }
    let finding = among(findings()?, suspects)?;
    // Some limits know their own way to it.
    let is_told = error.to_string().contains("Delegate=");
    Some(if is_told { format!("bryo doctor tells more: {}", finding.id) } else { named(finding) })
}

/// Returns the first finding that matters among those whose ids, or the beginnings of them, are given.
pub(crate) fn among<'a>(findings: &'a [Finding], ids: &[&str]) -> Option<&'a Finding> {
    let is_one = |finding: &&Finding| ids.iter().any(|id| finding.id.starts_with(id));
    findings.iter().filter(|finding| finding.matters()).find(is_one)
}

/// Says what mends a finding, and its name.
pub(crate) fn named(finding: &Finding) -> String {
    format!("{} (bryo doctor: {})", finding.help(), finding.id)
}

/// The ids of what may be missing when more than the caller's own id is wanted.
pub(crate) const IDS: &[&str] =
    &["helper.", "idmap.", "newuidmap.", "userns.map", "subid.absent", "subid.foreign"];
/// The ids of what may be missing when a cgroup is wanted.
pub(crate) const CGROUPS: &[&str] = &["cgroup.none"];
/// How the ids of findings about /dev/fuse begin.
pub(crate) const FUSE: &str = "fuse.";

/// A file or program is not there.
const ENOENT: i32 = Errno::ENOENT as i32;

/// The ids of what may be missing when a file cannot be written.
const SPACE: &[&str] = &["lxcpath.space", "lxcpath.inodes"];

/// Returns the ids of findings, or beginnings of them, that a failure can come from.
fn suspects(error: &Error) -> &'static [&'static str] {
    const PROGRAM: &str = "/bryo-";
    const READ_ONLY: &str = "Read-only file system";
    match error.kind() {
        Kind::ProgramMissing | Kind::Kernel(ENOENT) if error.to_string().contains(PROGRAM) => &["programs."],
        Kind::IdRange => &["subid.absent", "subid.foreign", "subid.short"],
        Kind::IdHelper if error.cause().contains(READ_ONLY) => &["proc.readonly"],
        Kind::IdHelper => &["helper.", "idmap.", "newuidmap.", "subid.nsswitch", "userns.map"],
        Kind::Cgroup => cgroups(error.cause()),
        Kind::Filtered => {
            &["userns.sysctl", "userns.apparmor", "userns.seccomp", "mounts.seccomp", "kernel.calls"]
        }
        Kind::Masked => &["proc.masked"],
        Kind::ProgramNotExecutable => &["lxcpath.noexec"],
        Kind::Image if error.cause().contains(" = ENOSPC ") => SPACE,
        Kind::Kernel(number) => calls(Errno::from_raw(number), error.cause()),
        _ => &[],
    }
}

/// The same for a cgroup, by what became of the controller.
fn cgroups(cause: &str) -> &'static [&'static str] {
    const WAYS: [(&str, &[&str]); 3] = [
        ("is not delegated to", &["cgroup.controllers"]),
        ("is in no cgroup hierarchy", &["cgroup.absent"]),
        ("is mounted as", &["cgroup.absent"]),
    ];
    WAYS.iter().find(|(piece, _)| cause.contains(piece)).map_or(CGROUPS, |(_, ids)| ids)
}

/// The same for a system call, by its name and its errno.
fn calls(errno: Errno, call: &str) -> &'static [&'static str] {
    let makes_namespaces = ["clone3(", "clone(", "unshare("].iter().any(|name| call.starts_with(name));
    match errno {
        Errno::ENOSYS if !makes_namespaces => &["kernel.calls"],
        Errno::ENOSYS | Errno::EPERM | Errno::EACCES | Errno::ENOSPC | Errno::EUSERS if makes_namespaces => {
            &["userns.", "namespaces."]
        }
        Errno::EAGAIN if makes_namespaces || call.starts_with("fork(") => &["limits.nproc"],
        Errno::EPERM if call.ends_with("of a new proc") || call.contains("of a new proc ") => {
            &["proc.masked"]
        }
        Errno::EPERM if call.contains("of a new sysfs") => &["sys.masked"],
        Errno::EACCES if call.starts_with("execve(") => &["lxcpath.noexec"],
        Errno::EROFS if ["\"setgroups\"", "\"uid_map\""].iter().any(|file| call.contains(file)) => {
            &["proc.readonly"]
        }
        Errno::EROFS => &["lxcpath.readonly"],
        Errno::ENOSPC => SPACE,
        Errno::EMFILE => &["limits.nofile"],
        Errno::EDQUOT if call.starts_with("keyctl(") => &["keys.quota"],
        // Where a security module takes the rights inside, it is a later call that fails.
        Errno::EPERM | Errno::EACCES => &["userns.apparmor", "userns.refused"],
        _ => &[],
    }
}

/// What to do where the host lacks nothing.
fn otherwise(error: &Error, subject: Option<&ContainerName>) -> Option<String> {
    let name = subject.map_or("NAME", ContainerName::as_str);
    let said = match error.kind() {
        Kind::NotDefined => "bryo ls shows the containers; bryo create makes one".to_owned(),
        Kind::Exists => format!("bryo destroy {name} removes it, or choose another name"),
        Kind::Running => format!("bryo stop {name} first"),
        Kind::NotRunning => format!("bryo start {name}"),
        Kind::Frozen => format!("bryo unfreeze {name}"),
        Kind::UnderLxc => format!("use the command of LXC that started it, such as lxc-stop -n {name}"),
        Kind::Busy => "wait for the other command to end, then try again".to_owned(),
        Kind::IdRange if subject.is_some() && error.cause().contains("does not grant") => format!(
            "bryo remap {name} shifts it to ids that are granted today; bryo idmap {name} shows what is not"
        ),
        Kind::Shifting => format!("bryo remap {name} finishes it"),
        Kind::IdRange => {
            "change lxc.idmap in the configuration to ids that are granted, or have those granted".to_owned()
        }
        Kind::Filtered => filter(),
        Kind::Masked => format!("{UNMASK}; bryo run and bryo execute do with a masked one"),
        Kind::IdHelper | Kind::Cgroup => "bryo doctor --all shows what this host has".to_owned(),
        Kind::Port => port(error.cause(), name),
        Kind::Network if error.cause().contains(" and neither ") => format!(
            "now: bryo start {name} --net host, which shares this machine's network; better: install the package passt"
        ),
        Kind::Network if error.cause().contains("containers of root's") => format!(
            "now: bryo start {name} --net host, which shares this machine's network; better: bryo net setup, and a line \
             root veth lxcbr0 10 in /etc/lxc/lxc-usernet"
        ),
        Kind::Network | Kind::Quota => format!(
            "now: bryo start {name} --net user, or --net host, which shares this machine's network; bryo doctor tells more"
        ),
        Kind::Hook => "run the hook by hand, or remove it from the configuration".to_owned(),
        Kind::Rootfs => format!("bryo info {name} -c lxc.rootfs.path shows where it should be"),
        Kind::Build => "a container that runs keeps the version that started it: bryo stop and start it, \
                        or reinstall all programs of Bryo together"
            .to_owned(),
        Kind::ProgramMissing => "name a program that the container has".to_owned(),
        Kind::ProgramNotExecutable => "its mode has no x, or it is a directory".to_owned(),
        Kind::Kernel(number) => return kernel(Errno::from_raw(number), error.cause()),
        Kind::Image if error.cause().starts_with("it ended with") => {
            "what it said stands above; nothing is left of the container".to_owned()
        }
        Kind::Image => file(error.cause()).unwrap_or(IMAGE).to_owned(),
        Kind::Fetch => FETCH.to_owned(),
        Kind::Foreign => FOREIGN.to_owned(),
        Kind::NoImage => {
            "bryo image ls shows those that are, bryo image ls --remote those of the server".to_owned()
        }
        // The caller has set no time for these.
        Kind::TimedOut
            if ["no answer", "it is not ready", "process "]
                .iter()
                .any(|wait| error.cause().starts_with(wait)) =>
        {
            "try again: this host is busy, or what was waited for hangs".to_owned()
        }
        Kind::TimedOut => "--timeout SECONDS gives it more time".to_owned(),
        Kind::Config if is_beside(error.cause()) => format!(
            "mend the file; or bryo config unset {name} publish, which takes all its published ports back"
        ),
        Kind::Config | Kind::Died | Kind::Usage | Kind::Interrupted(_) => return None,
    };
    Some(said)
}

/// Tells what is wrong in the file of published ports from what is wrong in a configuration.
fn is_beside(cause: &str) -> bool {
    let place = cause.lines().next().unwrap_or_default();
    place.contains(&format!("/{}:", config::beside::NAME))
}

/// What to do about a port of the host that cannot be published.
fn port(cause: &str, name: &str) -> String {
    let number = cause.strip_prefix("port ").and_then(|rest| rest.split([' ', '/']).next());
    match number {
        Some(number) if cause.contains("ip_unprivileged_port_start") => format!(
            "publish one from 1024 on; or let all users of this machine have ports from {number} on: sudo sysctl \
             net.ipv4.ip_unprivileged_port_start={number}, and for good the same in a file of /etc/sysctl.d"
        ),
        Some(_) => format!(
            "publish another port of this machine for it: -p for this start, or bryo config unset {name} publish and \
             bryo config set {name} publish HOST:CT"
        ),
        None => "ip address shows the addresses of this machine; * stands for all".to_owned(),
    }
}

/// What an image can be.
const IMAGE: &str = "an image is a directory or an archive (.tar, .tar.gz, .tar.xz, .tar.zst, .tar.bz2, .squashfs) of a root file system; \
                     bryo create --help tells more";

/// What has the programs of another architecture run.
const FOREIGN: &str = "install qemu-user-static, or qemu-user-binfmt where there is no such package any more: they register interpreters \
                       with the flag F";

/// What an image can be where no server has it.
const FETCH: &str = "bryo image ls --remote shows what the server has; without one a container is made from an archive or a directory \
                     (./rootfs.tar.zst), or of this machine's own programs (-t host)";

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

/// How a container that Bryo is in gets writable cgroups.
pub(crate) const WRITABLE_CGROUP: &str = "start the outer container with --security-opt writable-cgroups=true (Docker) or \
                                          --security-opt unmask=/sys/fs/cgroup (Podman)";

/// How a container that Bryo is in gets a whole /proc.
pub(crate) const UNMASK: &str = "start the outer container with --security-opt systempaths=unconfined (Docker), \
                                 --security-opt unmask=ALL (Podman) or procMount: Unmasked (Kubernetes)";

/// How a container that Bryo is in gets its system calls.
fn filter() -> String {
    let calls = sys::probe::mounting_calls().collect::<Vec<_>>().join(", ");
    format!(
        "start the outer container with --security-opt seccomp=unconfined (Docker, Podman) or seccompProfile: Unconfined \
         (Kubernetes), or with a list that allows clone, clone3, {calls}; docs/ci.md tells more"
    )
}

/// What to do where a security module refuses mounts, as Docker's AppArmor profile does.
const SECURITY_MODULE: &str = "a security module forbids mounts here: start the outer container with --security-opt \
                               apparmor=unconfined (Docker, Podman)";

fn is_about_mounts(call: &str) -> bool {
    ["move_mount(", "mount_setattr(", "pivot_root(", "fsmount(", "fsconfig("]
        .iter()
        .any(|name| call.starts_with(name))
}

fn kernel(errno: Errno, call: &str) -> Option<String> {
    match errno {
        // The kernel itself refuses mounts with EPERM.
        Errno::EACCES if is_about_mounts(call) => Some(SECURITY_MODULE.to_owned()),
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
    use container::doctor::{Severity, Who};

    fn finding(id: &'static str, severity: Severity) -> Finding {
        let (mend, who) = (Some(format!("mend {id}")), Who::You);
        Finding { id, severity, fact: "x".into(), why: "y", mend, advice: None, who, meanwhile: "z" }
    }

    fn healthy(error: &Error) -> Option<String> {
        hint(error, None, || Some(&[]))
    }

    #[test]
    fn what_to_do_names_the_container() {
        let name: ContainerName = "web".parse().unwrap();
        let of = |kind| hint(&Error::new(kind, "x"), Some(&name), || None);
        assert_eq!(of(Kind::NotRunning).as_deref(), Some("bryo start web"));
        assert_eq!(of(Kind::Frozen).as_deref(), Some("bryo unfreeze web"));
        assert_eq!(of(Kind::Config), None);
        let waited =
            |cause: &str| hint(&Error::new(Kind::TimedOut, cause), Some(&name), || None).unwrap_or_default();
        assert!(waited("no answer within 20 seconds").starts_with("try again"));
        assert!(waited("its 5 s are over").starts_with("--timeout"));
        let wrong = Error::new(Kind::Config, "/lxc/web/bryo.toml:1:1: there is no setting 'ports' here");
        assert!(hint(&wrong, Some(&name), || None).is_some_and(|hint| hint.contains("unset web publish")));
    }

    #[test]
    fn files_that_cannot_be_opened_are_told_apart() {
        let of = |kind, cause: &str| healthy(&Error::new(kind, cause)).unwrap_or_default();
        assert!(of(Kind::Kernel(2), "No such file or directory (os error 2)").contains("check the path"));
        assert!(of(Kind::Kernel(13), "open(\"/x\") = EACCES (Permission denied)").contains("namei"));
        assert_eq!(of(Kind::Kernel(2), "mount(\"/x\") = ENOENT (No such file or directory)"), "");
        assert!(
            of(Kind::Image, "open(\"/x\") = ENOENT (No such file or directory)").contains("check the path")
        );
        assert!(of(Kind::Image, "no archive").contains(".tar.zst"));
        assert!(of(Kind::Fetch, "no server").contains("bryo image ls --remote"));
    }

    #[test]
    fn a_failure_names_the_finding_that_it_comes_from() {
        let all: Vec<Finding> = container::doctor::checks()
            .filter(|check| check.severity <= Severity::Costs)
            .map(|check| finding(check.id, check.severity))
            .collect();
        for (errno, call, id) in [
            (Errno::ENOSPC, "clone3(0x10000000)", "userns.sysctl"),
            (Errno::EPERM, "clone3(0x10000000)", "userns.sysctl"),
            (Errno::EPERM, "fsmount() of a new proc", "proc.masked"),
            (Errno::EPERM, "fsconfig(FSCONFIG_CMD_CREATE) of a new sysfs", "sys.masked"),
            (Errno::ENOSYS, "mount_setattr(3)", "kernel.calls"),
            (Errno::ENOSPC, "write(4)", "lxcpath.space"),
            (Errno::EMFILE, "open(\"/x\")", "limits.nofile"),
            (Errno::EROFS, "mkdirat(4, \".bryo\")", "lxcpath.readonly"),
            (Errno::EROFS, "openat(4, \"setgroups\", O_WRONLY)", "proc.readonly"),
            (Errno::EROFS, "openat(4, \"uid_map\", O_WRONLY)", "proc.readonly"),
        ] {
            let error = Error::from(sys::Error::new(call, errno));
            let said = hint(&error, None, || Some(&all)).unwrap();
            assert_eq!(said, format!("mend {id} (bryo doctor: {id})"), "{error}");
        }
        let said = hint(&Error::new(Kind::IdHelper, "x"), None, || Some(&all)).unwrap();
        assert_eq!(said, "mend userns.map (bryo doctor: userns.map)");
        let by_helper =
            Error::new(Kind::IdHelper, "bryo-idmap: uid_map: Read-only file system (os error 30)");
        let said = hint(&by_helper, None, || Some(&all)).unwrap();
        assert_eq!(said, "mend proc.readonly (bryo doctor: proc.readonly)");
    }

    #[test]
    fn every_suspect_is_a_check() {
        let is_known = |id: &&str| container::doctor::checks().any(|check| check.id.starts_with(id));
        let errnos = [
            Errno::ENOSYS,
            Errno::EPERM,
            Errno::EACCES,
            Errno::ENOSPC,
            Errno::EUSERS,
            Errno::EAGAIN,
            Errno::EROFS,
            Errno::EMFILE,
            Errno::EDQUOT,
            Errno::ENOENT,
        ];
        let texts =
            ["clone3(", "fsmount() of a new proc", "fsmount() of a new sysfs", "execve(", "keyctl(", "open("];
        let by_call = errnos.iter().flat_map(|errno| texts.iter().map(|text| calls(*errno, text)));
        let kinds =
            [Kind::IdRange, Kind::IdHelper, Kind::Cgroup, Kind::ProgramMissing, Kind::ProgramNotExecutable];
        let by_kind = kinds.iter().map(|kind| suspects(&Error::new(*kind, "x")));
        for id in by_call.chain(by_kind).chain([IDS, CGROUPS]).flatten() {
            assert!(is_known(id), "{id}");
        }
    }

    #[test]
    fn what_is_merely_worth_knowing_is_not_blamed() {
        let note = [finding("cgroup.manager", Severity::Note)];
        let said = hint(&Error::new(Kind::Cgroup, "x"), None, || Some(&note)).unwrap();
        assert!(!said.contains("cgroup.manager"), "{said}");
    }

    #[test]
    fn a_limit_is_told_where_its_controller_is_lost() {
        let lost =
            ["cgroup.none", "cgroup.controllers", "cgroup.absent"].map(|id| finding(id, Severity::Costs));
        let of = |cause: &str| hint(&Error::new(Kind::Cgroup, cause), None, || Some(&lost)).unwrap();
        assert!(
            of("memory.max: the controller memory is not delegated to /x").contains("cgroup.controllers")
        );
        assert!(
            of("io.max: the controller io is mounted as cgroup v1 on this host").contains("cgroup.absent")
        );
        assert!(of("the directory is not writable").contains("cgroup.none"));
    }

    #[test]
    fn a_security_module_is_told_from_the_kernel() {
        let of = |errno: Errno| {
            let error = Error::new(Kind::Kernel(errno as i32), "move_mount(5, \"\", 6, \"\") = X (x)");
            hint(&error, None, || Some(&[])).unwrap_or_default()
        };
        assert!(of(Errno::EACCES).contains("apparmor=unconfined"));
        assert_eq!(of(Errno::EPERM), "");
    }

    #[test]
    fn what_a_filter_must_allow_is_named() {
        let said = healthy(&Error::new(Kind::Filtered, "x")).unwrap_or_default();
        assert!(
            said.contains("sudo sysctl")
                || said.contains("clone, clone3, unshare, setns, pivot_root, umount2")
        );
        let masked = healthy(&Error::new(Kind::Masked, "x")).unwrap_or_default();
        assert!(masked.contains("systempaths=unconfined (Docker)"), "{masked}");
    }

    #[test]
    fn advice_is_given_once() {
        let findings = [finding("cgroup.none", Severity::Costs)];
        let of = |cause: &str| hint(&Error::new(Kind::Cgroup, cause), None, || Some(&findings)).unwrap();
        let told = of("memory.max (systemd-run --user --scope -p Delegate=yes -- COMMAND)");
        assert_eq!(told, "bryo doctor tells more: cgroup.none");
        assert_eq!(of("memory.max"), "mend cgroup.none (bryo doctor: cgroup.none)");
    }
}
