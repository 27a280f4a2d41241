//! Every finding by made-up facts: its facts produce it, and a healthy host has none.

use std::path::PathBuf;

use cgroup::{Access, Verdict as Writable, Version};
use sys::Errno;
use sys::exposed::Exposed;
use sys::filesystem::{Filesystem, magic};
use sys::probe::{Answers, Question};
use types::{HostGid, HostUid, IdRange};

use super::{Finding, Severity, checks, findings, look};
use crate::host::{
    Bridge, Caller, Helpers, HostFacts, IdWriter, Identity, Installed, Kernel, Limits, Manager, Network,
    PackageManager, Process, Program, Programs, SWITCHES, Session, Storage, Survey, capability,
};
use crate::lxcfs::Server;
use crate::security::AppArmor;
use crate::surroundings::Fresh;

const BOTH: u64 = capability::SETUID | capability::SETGID;

fn program(path: &str, capabilities: u64) -> Program {
    let installed = Some(Installed { capabilities, ..Installed::default() });
    Program { path: path.into(), installed, exposed: None }
}

/// A host on which nothing is wrong, seen by ana.
fn healthy() -> Survey {
    let range = IdRange::new(100_000, 65_536).unwrap();
    let host = HostFacts {
        surroundings: crate::surroundings::Surroundings::free(),
        caller: Caller { uid: HostUid(1000), gid: HostGid(1000), name: Some("ana".into()) },
        subuids: vec![range],
        subgids: vec![range],
        free_range: None,
        mapped: Default::default(),
        id_writer: IdWriter::BryoIdmap("/p/libexec/bryo/bryo-idmap".into()),
        helpers: Helpers {
            idmap: program("/p/libexec/bryo/bryo-idmap", BOTH),
            newuidmap: program("/usr/bin/newuidmap", capability::SETUID),
            newgidmap: program("/usr/bin/newgidmap", capability::SETGID),
            ids_elsewhere: false,
        },
        no_new_privs: false,
        cores_are_piped: false,
        apparmor: AppArmor::Absent,
        cgroups: cgroup::Layout::default(),
        manager: None,
        lxcfs: None,
        programs: Programs {
            monitor: "/p/libexec/bryo/bryo-monitor".into(),
            image: "/p/libexec/bryo/bryo-image".into(),
            fetch: "/p/libexec/bryo/bryo-fetch".into(),
            init: "/p/libexec/bryo/bryo-init".into(),
            idmap: "/p/libexec/bryo/bryo-idmap".into(),
            netdev: "/p/libexec/bryo/bryo-netdev".into(),
            lxcfs: "/p/libexec/bryo/bryo-lxcfs".into(),
        },
    };
    let everything = ["cpu", "cpuset", "io", "memory", "pids"].map(str::to_owned).to_vec();
    let v2 = Access {
        version: Version::V2,
        label: "cgroup2".into(),
        dir: "/sys/fs/cgroup/user.slice/user-1000.slice".into(),
        controllers: everything.clone(),
        offered: everything,
        verdict: Writable::Usable,
    };
    let answers = [Question::User, Question::Rights, Question::All, Question::Proc, Question::Sysfs]
        .into_iter()
        .fold(Answers::default(), |answers, question| answers.with(question, Ok(())));
    let whole = "0 0 4294967295\n".to_owned();
    Survey {
        host,
        cgroups: cgroup::Host { accesses: vec![v2], ..cgroup::Host::default() },
        kernel: Kernel {
            release: "6.12.3-amd64".into(),
            switches: SWITCHES.into_iter().map(|name| (name, Ok(switch(name)))).collect(),
            answers: Ok(answers),
            key_users: Ok(
                "    0:    63 62/62 57/1000000 1158/25000000\n 1000:     5 5/5 5/200 90/20000\n".into()
            ),
        },
        process: Process {
            status: Ok("Name:\tbryo\nNoNewPrivs:\t0\nSeccomp:\t0\n".into()),
            label: Some("unconfined".into()),
            mountinfo: Ok(MOUNTS.into()),
            uid_map: Ok(whole.clone()),
            gid_map: Ok(whole),
            processes: Ok((15_000, 15_000)),
            files: Ok((1024, 524_288)),
        },
        identity: Identity {
            subuid: Ok("ana:100000:65536\nbob:165536:65536\n".into()),
            subgid: Ok("ana:100000:65536\nbob:165536:65536\n".into()),
            passwd: Ok("root:x:0:0::/root:/bin/sh\nana:x:1000:1000::/home/ana:/bin/sh\n".into()),
            group: Ok("root:x:0:\nana:x:1000:\n".into()),
            usernet: Ok("ana veth lxcbr0 10\n".into()),
            groups: vec![policy::usernet::Group { gid: 1000, name: Some(b"ana".to_vec()) }],
        },
        session: Session { has_systemd: true, has_manager: true, system_bus: true },
        fuse: Ok(()),
        limits: Limits { lacking: Vec::new(), server: Server::Installed },
        network: Network {
            bridges: vec![Bridge { name: "lxcbr0".into(), exists: true }],
            helper: program("/p/libexec/bryo/bryo-netdev", capability::NET_ADMIN),
            user_mode: vec!["pasta"],
            tun: None,
            unreadable: None,
        },
        storage: Ok(Storage {
            dir: "/home/ana/.local/share/lxc".into(),
            filesystem: Filesystem {
                magic: 0xef53,
                nosuid: false,
                noexec: false,
                readonly: false,
                free_bytes: 100 << 30,
                free_inodes: Some(1_000_000),
            },
        }),
        missing_programs: Vec::new(),
        packages: Some(PackageManager {
            program: "apt-get",
            install: "sudo apt-get install",
            uidmap: "uidmap",
        }),
    }
}

const MOUNTS: &str = "20 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n\
                      22 20 0:21 / /proc rw,relatime - proc proc rw\n\
                      23 20 0:22 / /sys rw,relatime - sysfs sysfs rw\n";

fn switch(name: &str) -> Option<String> {
    match name {
        "kernel.apparmor_restrict_unprivileged_userns" => Some("1".into()),
        "kernel.unprivileged_userns_clone" => Some("1".into()),
        _ => Some("63432".into()),
    }
}

type Change = fn(&mut Survey);

fn set(survey: &mut Survey, name: &'static str, value: &str) {
    survey.kernel.switches.insert(name, Ok(Some(value.into())));
}

fn answer(survey: &mut Survey, question: Question, errno: Errno) {
    let answers = survey.kernel.answers.clone().unwrap();
    survey.kernel.answers = Ok(answers.with(question, Err(errno)));
}

fn filesystem(survey: &mut Survey) -> &mut Filesystem {
    &mut survey.storage.as_mut().unwrap().filesystem
}

/// Both files with the same text.
fn subids(survey: &mut Survey, text: &str) {
    survey.identity.subuid = Ok(text.into());
    survey.identity.subgid = Ok(text.into());
}

fn without_seccomp_and_apparmor(survey: &mut Survey) {
    set(survey, "kernel.apparmor_restrict_unprivileged_userns", "0");
}

/// Each check, the facts that make it a finding, and a piece of what it says: of the fact, or of the line that mends it.
const MADE_UP: &[(&str, Change, &str)] = &[
    (
        "kernel.calls",
        |s| s.kernel.answers.as_mut().unwrap().missing_calls.push("mount_setattr"),
        "mount_setattr(2) = ENOSYS",
    ),
    ("kernel.version", |s| s.kernel.release = "5.10.0-28-amd64".into(), "5.10.0-28"),
    (
        "programs.monitor",
        |s| s.missing_programs.push("/p/libexec/bryo/bryo-monitor".into()),
        "/p/libexec/bryo/bryo-monitor",
    ),
    (
        "programs.others",
        |s| s.missing_programs.push("/p/libexec/bryo/bryo-init".into()),
        "/p/libexec/bryo/bryo-init",
    ),
    (
        "keys.quota",
        |s| s.kernel.key_users = Ok("100000: 199 199/199 199/200 900/20000\n".into()),
        "uid 100000 has 199 of 200",
    ),
    ("limits.nproc", |s| s.process.processes = Ok((100, 200)), "is 100, the hard one 200"),
    ("limits.nofile", |s| s.process.files = Ok((64, 4096)), "ulimit -n 512"),
    (
        "userns.sysctl",
        |s| {
            set(s, "user.max_user_namespaces", "0");
            answer(s, Question::User, Errno::ENOSPC);
        },
        "/proc/sys/user/max_user_namespaces is 0",
    ),
    (
        "userns.clone",
        |s| {
            set(s, "kernel.unprivileged_userns_clone", "0");
            answer(s, Question::User, Errno::EPERM);
        },
        "sudo sysctl kernel.unprivileged_userns_clone=1",
    ),
    (
        "userns.apparmor",
        |s| answer(s, Question::Rights, Errno::EPERM),
        "/p/share/bryo/apparmor/bryo /etc/apparmor.d",
    ),
    ("userns.limit", |s| answer(s, Question::User, Errno::ENOSPC), "max_user_namespaces is 63432"),
    (
        "userns.chroot",
        |s| {
            without_seccomp_and_apparmor(s);
            answer(s, Question::User, Errno::EPERM);
            s.process.mountinfo = Ok("22 20 0:21 / /proc rw,relatime - proc proc rw\n".into());
        },
        "no mount of /proc/self/mountinfo is /",
    ),
    (
        "userns.clone3",
        |s| {
            answer(s, Question::User, Errno::ENOSYS);
            let answers = s.kernel.answers.clone().unwrap();
            s.kernel.answers = Ok(answers.with(Question::UserByClone, Ok(())));
        },
        "clone3(CLONE_NEWUSER) = ENOSYS",
    ),
    (
        "userns.seccomp",
        |s| {
            without_seccomp_and_apparmor(s);
            answer(s, Question::User, Errno::EPERM);
            s.process.status = Ok("Seccomp:\t2\n".into());
        },
        "Seccomp: 2",
    ),
    (
        "userns.refused",
        |s| {
            without_seccomp_and_apparmor(s);
            answer(s, Question::User, Errno::EACCES);
        },
        "clone3(CLONE_NEWUSER) = EACCES",
    ),
    (
        "mounts.seccomp",
        |s| s.host.surroundings.calls = vec!["fsopen".into(), "move_mount".into()],
        "a seccomp filter refuses fsopen and move_mount",
    ),
    (
        "namespaces.sysctl",
        |s| {
            set(s, "user.max_net_namespaces", "0");
            answer(s, Question::All, Errno::ENOSPC);
        },
        "sudo sysctl user.max_net_namespaces=15000",
    ),
    (
        "namespaces.refused",
        |s| answer(s, Question::All, Errno::ENOSPC),
        "a clone of all namespaces of a container = ENOSPC",
    ),
    (
        "userns.map",
        |s| s.process.uid_map = Ok("0 100000 65536\n".into()),
        "maps 65536 ids, and 100000-165535",
    ),
    ("helper.no_new_privs", |s| s.host.no_new_privs = true, "NoNewPrivs: 1"),
    (
        "idmap.absent",
        |s| {
            s.host.helpers.idmap.installed = None;
            s.host.helpers.newuidmap.installed = None;
        },
        "/p/libexec/bryo/bryo-idmap",
    ),
    (
        "idmap.nosuid",
        |s| {
            s.host.helpers.idmap.installed.as_mut().unwrap().nosuid = true;
            s.host.helpers.newuidmap.installed = None;
        },
        "remount,bind,suid \"$(findmnt -fno TARGET -T /p/libexec/bryo/bryo-idmap)\"",
    ),
    (
        "idmap.owner",
        |s| {
            s.host.helpers.idmap.exposed =
                Some(Exposed { path: "/p/libexec".into(), owner: 1000, mode: 0o755 });
        },
        "/p/libexec/bryo/bryo-idmap has rights, and /p/libexec belongs to user 1000, not to root",
    ),
    (
        "idmap.capabilities",
        |s| {
            s.host.helpers.idmap = program("/p/libexec/bryo/bryo-idmap", capability::SETUID);
            s.host.helpers.newuidmap.installed = None;
        },
        "/p/libexec/bryo/bryo-idmap has cap_setuid alone",
    ),
    (
        "newuidmap.absent",
        |s| {
            s.host.helpers.idmap.installed = None;
            s.host.helpers.newgidmap.installed = None;
        },
        "sudo apt-get install uidmap",
    ),
    (
        "newuidmap.rights",
        |s| {
            s.host.helpers.idmap.installed = None;
            s.host.helpers.newgidmap.installed = Some(Installed::default());
        },
        "no rights are gained by /usr/bin/newgidmap",
    ),
    ("subid.nsswitch", |s| s.host.helpers.ids_elsewhere = true, "getsubids ana"),
    (
        "subid.absent",
        |s| subids(s, "# nobody\n"),
        "sudo usermod --add-subuids 1048576-1114111 --add-subgids 1048576-1114111 ana",
    ),
    (
        "subid.foreign",
        |s| subids(s, "bob:1:9\n1001:20:9\n"),
        "/etc/subuid grants ids to bob and 1001, and none to ana",
    ),
    (
        "subid.short",
        |s| s.identity.subgid = Ok("ana:100000:1000\n".into()),
        "--add-subgids 1048576-1114111 ana",
    ),
    (
        "subid.differ",
        |s| s.identity.subgid = Ok("ana:100000:131072\n".into()),
        "/etc/subuid grants 65536 ids to ana, and /etc/subgid 131072",
    ),
    (
        "subid.overlap",
        |s| s.identity.subuid = Ok("ana:100000:65536\nbob:165535:65536\n".into()),
        "--del-subuids 100000-165535 --add-subuids 1048576-1114111 ana",
    ),
    (
        "subid.account",
        |s| s.identity.passwd = Ok("eve:x:100001:100::/:/bin/sh\n".into()),
        "/etc/subuid grants 100000-165535 to ana, and 100001 is eve",
    ),
    (
        "subid.line",
        |s| s.identity.subgid = Ok("ana:100000:65536\nana:x:5\n".into()),
        "/etc/subgid, line 2: the start is not a plain decimal number",
    ),
    (
        "proc.masked",
        |s| {
            answer(s, Question::Proc, Errno::EPERM);
            s.process.mountinfo = Ok(format!("{MOUNTS}30 22 0:5 /null /proc/kcore rw - devtmpfs d rw\n"));
        },
        "fsmount() of a new proc = EPERM (Operation not permitted), and over it are mounted /proc/kcore",
    ),
    (
        "proc.readonly",
        |s| {
            answer(s, Question::Proc, Errno::EPERM);
            s.host.surroundings.proc = Fresh::ReadOnly;
            s.process.mountinfo = Ok(MOUNTS.replace("/proc rw", "/proc ro"));
        },
        "/proc is mounted read-only",
    ),
    (
        "proc.hidepid",
        |s| s.process.mountinfo = Ok("22 20 0:21 / /proc rw - proc proc rw,hidepid=invisible\n".into()),
        "hidepid=invisible",
    ),
    (
        "sys.masked",
        |s| {
            answer(s, Question::Sysfs, Errno::EPERM);
            s.process.mountinfo = Ok(format!("{MOUNTS}31 23 0:6 / /sys/module rw - tmpfs own rw\n"));
        },
        "fsmount() of a new sysfs = EPERM (Operation not permitted), and over it are mounted /sys/module",
    ),
    (
        "sys.readonly",
        |s| {
            answer(s, Question::Sysfs, Errno::EPERM);
            s.host.surroundings.sysfs = Fresh::ReadOnly;
            s.process.mountinfo = Ok(MOUNTS.replace("/sys rw", "/sys ro"));
        },
        "/sys is mounted read-only",
    ),
    (
        "cgroup.none",
        |s| s.cgroups.accesses[0].verdict = Writable::Threaded,
        "/sys/fs/cgroup/user.slice/user-1000.slice: the own cgroup is threaded",
    ),
    (
        "cgroup.controllers",
        |s| s.cgroups.accesses[0].controllers.retain(|name| name != "memory"),
        "/sys/fs/cgroup/user.slice/user-1000.slice/cgroup.controllers lacks memory",
    ),
    (
        "cgroup.absent",
        |s| {
            let tree = &mut s.cgroups.accesses[0];
            tree.controllers.retain(|name| name != "io");
            tree.offered.retain(|name| name != "io");
        },
        "no cgroup that may be written has io",
    ),
    ("cgroup.manager", |s| s.session.has_manager = false, "sudo loginctl enable-linger ana"),
    (
        "cgroup.bus",
        |s| {
            s.host.manager = Some(Manager {
                socket: "/run/user/1000/systemd/private".into(),
                cgroup: "/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service".into(),
            });
            s.session.system_bus = false;
        },
        "nobody listens on /run/dbus/system_bus_socket",
    ),
    ("lxcpath.readonly", |s| filesystem(s).readonly = true, "mounted read-only"),
    (
        "lxcpath.noexec",
        |s| filesystem(s).noexec = true,
        "remount,bind,exec \"$(findmnt -fno TARGET -T /home/ana",
    ),
    ("lxcpath.nosuid", |s| filesystem(s).nosuid = true, "mounted nosuid"),
    ("lxcpath.space", |s| filesystem(s).free_bytes = 100 << 20, "100 MiB free"),
    ("lxcpath.inodes", |s| filesystem(s).free_inodes = Some(7), "7 inodes free"),
    ("lxcpath.foreign", |s| filesystem(s).magic = magic::NFS, "NFS"),
    ("lxcpath.overlay", |s| filesystem(s).magic = magic::OVERLAY, "an overlay"),
    ("net.helper", |s| s.network.helper.installed = None, "/p/libexec/bryo/bryo-netdev"),
    (
        "net.owner",
        |s| {
            s.network.helper.exposed = Some(Exposed { path: "/p/libexec".into(), owner: 0, mode: 0o777 });
        },
        "/p/libexec/bryo/bryo-netdev has rights, and /p/libexec has mode 0777, so others than root may write it",
    ),
    ("net.bridge", |s| s.network.bridges[0].exists = false, "sudo bryo net setup --bridge lxcbr0"),
    (
        "net.usernet",
        |s| s.identity.usernet = Ok("anabel veth lxcbr0 10\nana veth br1 10\n".into()),
        "printf '%s veth %s 10\\n' ana lxcbr0 | sudo tee",
    ),
    ("net.usermode", |s| s.network.user_mode.clear(), "sudo apt-get install passt"),
    ("net.tun", |s| s.network.tun = Some(sys::Error::new("open(\"/dev/net/tun\")", Errno::EACCES)), "EACCES"),
    ("fuse.absent", |s| s.fuse = Err(sys::Error::new("open(\"/dev/fuse\")", Errno::ENODEV)), "ENODEV"),
    ("lxcfs.silent", |s| s.limits.server = Server::Silent, "does not answer"),
    ("lxcfs.lacking", |s| s.limits.lacking = vec!["web".into(), "db".into()], "for web and db"),
    ("lxcfs.version", |s| s.limits.server = Server::Another, "not the installed one"),
    ("fuse.access", |s| s.fuse = Err(sys::Error::new("open(\"/dev/fuse\")", Errno::EACCES)), "EACCES"),
];

fn changed(change: Change) -> Survey {
    let mut survey = healthy();
    change(&mut survey);
    survey
}

fn all_it_says(finding: &Finding) -> String {
    [Some(finding.fact.as_str()), finding.mend.as_deref(), finding.advice.as_deref()]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn a_healthy_host_has_no_finding_and_nothing_unknown() {
    let not_fine: Vec<Finding> =
        look(&healthy()).into_iter().filter(|finding| finding.severity != Severity::Fine).collect();
    assert_eq!(not_fine, []);
}

#[test]
fn every_check_is_produced_by_its_facts() {
    for check in checks() {
        let (_, change, piece) = MADE_UP.iter().find(|(id, ..)| *id == check.id).unwrap_or_else(|| {
            panic!("{} has no facts that produce it", check.id);
        });
        let found = findings(&changed(*change));
        let finding = found.iter().find(|finding| finding.id == check.id);
        let finding = finding.unwrap_or_else(|| panic!("{} is not found: {found:#?}", check.id));
        assert_eq!(finding.severity, check.severity, "{finding:#?}");
        assert!(all_it_says(finding).contains(piece), "{piece:?}: {finding:#?}");
        assert!(finding.mend.is_some() || finding.advice.is_some(), "{finding:#?}");
    }
    assert_eq!(MADE_UP.len(), checks().count(), "facts for a check that is not there");
}

#[test]
fn one_cause_is_one_finding_that_stops() {
    for (id, change, _) in MADE_UP {
        let found = findings(&changed(*change));
        let stops: Vec<_> = found.iter().filter(|finding| finding.severity == Severity::Stops).collect();
        assert!(stops.iter().all(|finding| finding.id == *id), "{id}: {stops:#?}");
    }
}

#[test]
fn every_word_of_a_line_is_filled_in() {
    for (id, change, _) in MADE_UP {
        for finding in findings(&changed(*change)) {
            let says = all_it_says(&finding);
            let left = says.replace("<abi/4.0>", "");
            assert!(!left.contains('<'), "{id}: {says}");
        }
    }
}

#[test]
fn what_cannot_be_seen_is_unknown_and_never_fine() {
    let blind = |text: &str| Err(format!("open({text:?}) = EACCES (Permission denied)"));
    let severity = |id: &str, survey: &Survey| {
        look(survey).into_iter().find(|finding| finding.id == id).map(|finding| finding.severity).unwrap()
    };
    let mut survey = healthy();
    survey.kernel.answers = Err("fork() = EAGAIN".into());
    survey.kernel.switches.insert("user.max_user_namespaces", Err("EACCES".into()));
    survey.kernel.key_users = blind("/proc/key-users").map(|()| String::new());
    survey.identity.subuid = blind("/etc/subuid").map(|()| String::new());
    survey.process.mountinfo = blind("/proc/self/mountinfo").map(|()| String::new());
    survey.storage = Err("statfs() = EACCES".into());
    survey.network.unreadable = Some("line 1".into());
    for id in [
        "kernel.calls",
        "userns.sysctl",
        "userns.seccomp",
        "userns.apparmor",
        "proc.masked",
        "sys.masked",
        "keys.quota",
        "subid.absent",
        "subid.overlap",
        "proc.hidepid",
        "lxcpath.noexec",
        "lxcpath.space",
        "net.bridge",
    ] {
        assert_eq!(severity(id, &survey), Severity::Unknown, "{id}");
    }
}

#[test]
fn a_helper_that_is_not_needed_is_merely_worth_knowing() {
    let mut survey = healthy();
    survey.host.helpers.idmap.installed = None;
    let found = findings(&survey);
    let of = |id: &str| found.iter().find(|finding| finding.id == id).map(|finding| finding.severity);
    assert_eq!(of("idmap.absent"), Some(Severity::Note));
    assert_eq!(of("newuidmap.absent"), None);
}

#[test]
fn rights_go_only_where_root_alone_can_change_the_file() {
    let mut survey = healthy();
    let ids = |survey: &Survey| -> Vec<_> {
        findings(survey).into_iter().map(|found| (found.id, found.severity, found.mend.unwrap())).collect()
    };
    let of_own = |prefix: &str| format!("sudo cargo xtask install --prefix {prefix}");
    survey.network.helper.installed = None;
    assert_eq!(ids(&survey), [("net.helper", Severity::Costs, of_own("/p"))]);
    // Whether newuidmap works or not, a helper with rights that others can change is found.
    survey.host.helpers.idmap.exposed = Some(Exposed { path: "/p".into(), owner: 0, mode: 0o777 });
    let elsewhere = ("net.helper", Severity::Costs, of_own("/usr/local"));
    let owner = |severity| ("idmap.owner", severity, "sudo cargo xtask install".to_owned());
    assert_eq!(ids(&survey), [owner(Severity::Costs), elsewhere.clone()]);
    survey.host.helpers.idmap.installed = Some(Installed::default());
    assert_eq!(ids(&survey), [elsewhere.clone(), owner(Severity::Note)]);
    survey.host.helpers.idmap.installed = None;
    let absent = ("idmap.absent", Severity::Note, of_own("/usr/local"));
    assert_eq!(ids(&survey), [elsewhere, absent]);
}

#[test]
fn a_line_that_would_not_work_here_is_not_given() {
    let mut survey = healthy();
    survey.host.no_new_privs = true;
    survey.cgroups.accesses.clear();
    survey.network.user_mode.clear();
    let mends = |survey: &Survey, id: &str| {
        let found = findings(survey);
        found.iter().find(|finding| finding.id == id).map(|finding| finding.mend.is_some()).unwrap()
    };
    let about = ["helper.no_new_privs", "cgroup.none", "net.usermode"];
    assert!(about.iter().all(|id| mends(&survey, id)));
    (survey.session.has_manager, survey.packages) = (false, None);
    assert!(!about.iter().any(|id| mends(&survey, id)));
}

#[test]
fn what_fills_a_line_is_one_word_of_a_shell() {
    let mut survey = healthy();
    let dir = "/home/ana/a b;$(reboot)'";
    (filesystem(&mut survey).noexec, survey.storage.as_mut().unwrap().dir) = (true, dir.into());
    let found = findings(&survey);
    let mend = found[0].mend.as_deref().unwrap();
    let word = mend.split("-T ").nth(1).and_then(|rest| rest.strip_suffix(")\"")).unwrap();
    let echoed =
        std::process::Command::new("sh").args(["-c", &format!("printf %s {word}")]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&echoed.stdout), dir);
}

#[test]
fn root_needs_neither_lines_nor_helpers() {
    let mut survey = healthy();
    survey.host.caller = Caller { uid: HostUid(0), gid: HostGid(0), name: Some("root".into()) };
    survey.host.helpers = Helpers::default();
    survey.host.no_new_privs = true;
    subids(&mut survey, "");
    let of_ids = |finding: &Finding| {
        ["helper.", "idmap.", "newuidmap.", "subid."].iter().any(|p| finding.id.starts_with(p))
    };
    assert!(!findings(&survey).iter().any(of_ids), "{:#?}", findings(&survey));
}

#[test]
fn apparmor_is_not_blamed_for_what_a_filter_refuses_to_a_confined_program() {
    let mut survey = healthy();
    answer(&mut survey, Question::User, Errno::EPERM);
    survey.process.status = Ok("Seccomp:\t2\n".into());
    survey.process.label = Some("docker-default (enforce)".into());
    assert_eq!(findings(&survey)[0].id, "userns.seccomp");
    survey.process.label = Some("unconfined".into());
    assert_eq!(findings(&survey)[0].id, "userns.apparmor");
}

#[test]
fn a_free_range_avoids_accounts() {
    let mut survey = healthy();
    subids(&mut survey, "");
    survey.identity.passwd = Ok("sss:x:1048600:100::/:/bin/sh\n".into());
    let found = findings(&survey);
    let finding = found.iter().find(|finding| finding.id == "subid.absent").unwrap();
    assert!(finding.mend.as_deref().unwrap().contains("1114112-1179647"), "{finding:#?}");
}

#[test]
fn ids_are_unique_and_findings_stand_worst_first() {
    let mut ids: Vec<&str> = checks().map(|check| check.id).collect();
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all);
    let mut survey = healthy();
    survey.network.user_mode.clear();
    (filesystem(&mut survey).nosuid, filesystem(&mut survey).noexec) = (true, true);
    let found: Vec<&str> = findings(&survey).iter().map(|finding| finding.id).collect();
    assert_eq!(found, ["lxcpath.noexec", "lxcpath.nosuid", "net.usermode"]);
}

#[test]
fn a_filter_that_refuses_clone3_alone_stops_nothing() {
    for errno in [Errno::ENOSYS, Errno::EPERM] {
        let by_clone = changed(|s| {
            let answers = s.kernel.answers.clone().unwrap();
            s.kernel.answers = Ok(answers.with(Question::UserByClone, Ok(())));
        });
        let mut survey = by_clone;
        answer(&mut survey, Question::User, errno);
        let found: Vec<_> = findings(&survey).iter().map(|f| (f.id, f.severity)).collect();
        assert_eq!(found, [("userns.clone3", Severity::Costs)]);
    }
}

#[test]
fn what_a_start_gets_read_only_is_not_taken_for_masked() {
    let masked = "31 22 0:5 /null /proc/kcore rw - devtmpfs d rw\n40 20 0:21 / /mnt/proc ro - proc proc rw\n";
    let mut survey = healthy();
    answer(&mut survey, Question::Proc, Errno::EPERM);
    survey.process.mountinfo = Ok(format!("{MOUNTS}{masked}"));
    survey.host.surroundings.proc = Fresh::ReadOnly;
    assert_eq!(findings(&survey), []);
    survey.host.surroundings.proc = Fresh::Refused;
    assert_eq!(findings(&survey).iter().map(|finding| finding.id).collect::<Vec<_>>(), ["proc.masked"]);
}

#[test]
fn a_filter_is_not_taken_for_a_mask() {
    let mut survey = healthy();
    survey.host.surroundings.calls = vec!["fsopen".into()];
    answer(&mut survey, Question::Proc, Errno::EPERM);
    answer(&mut survey, Question::Sysfs, Errno::EPERM);
    let found: Vec<&str> = findings(&survey).iter().map(|finding| finding.id).collect();
    assert_eq!(found, ["mounts.seccomp"]);
    let masked = look(&survey).into_iter().find(|finding| finding.id == "proc.masked");
    assert_eq!(masked.map(|finding| finding.severity), Some(Severity::Unknown));
}

/// The page's table, between its heading and its end.
fn documented() -> String {
    let escaped = |text: &str| text.replace('|', "\\|").replace('<', "&lt;");
    let code = |text: &str| format!("`{}`", text.replace('|', "\\|"));
    let row = |check: &super::Check| {
        let mend = match (check.mend, check.advice) {
            ("", advice) => escaped(advice),
            (mend, "") => code(mend),
            (mend, advice) => format!("{}; {}", code(mend), escaped(advice)),
        };
        let (who, words) = (check.who.word(), check.severity.words());
        format!(
            "| `{}` | {words} | {} | {} | {mend} | {who} | {} |\n",
            check.id,
            escaped(check.seen),
            escaped(check.why),
            escaped(check.meanwhile)
        )
    };
    checks().map(row).collect()
}

/// `BRYO_WRITE_DOCS=1 cargo test -p container docs` writes it.
#[test]
fn the_docs_have_the_table_of_this_code() {
    let file = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/doctor.md"));
    let page = std::fs::read_to_string(&file).unwrap();
    let (head, rows): (Vec<&str>, Vec<&str>) =
        page.split_inclusive('\n').partition(|line| !line.starts_with("| `"));
    if std::env::var_os("BRYO_WRITE_DOCS").is_some() {
        return std::fs::write(&file, head.concat() + &documented()).unwrap();
    }
    assert_eq!(
        rows.concat(),
        documented(),
        "docs/doctor.md is stale: BRYO_WRITE_DOCS=1 cargo test -p container docs"
    );
}
