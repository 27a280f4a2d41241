//! Attacks on the making of a root file system: links for mount targets, links that come and go, and writing to what is
//! only lent. `docs/cves.md` says which known holes each of them stands for.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use tests::attack::{self, Fingerprint, attacker_entry, times};
use tests::{Lab, Output, User, eventually};

tests::claims! {
    what_is_lent_by_the_host_cannot_be_written: hybrid, needs Bryo;
    no_mount_of_the_runtime_follows_a_link: hybrid, needs Bryo;
    no_mount_of_an_entry_leaves_the_root: hybrid, needs Bryo;
    a_target_that_is_swapped_meanwhile_leads_nowhere: hybrid, needs Bryo;
    a_root_that_is_swapped_meanwhile_leads_nowhere: hybrid, needs Bryo;
    no_cgroup_above_is_written: hybrid unified, needs Bryo;
    the_hosts_devices_stay_as_they_are: hybrid, needs Bryo;
}

const CONFIG: &str = ".local/share/lxc/web/config";

fn rootfs(user: &User<'_>) -> PathBuf {
    user.lxcpath().join("web/rootfs")
}

fn inside(user: &User<'_>, name: &str, script: &str) -> Output {
    user.bryo(["exec", name, "--", "sh", "-c", script]).output()
}

/// Makes a directory that everybody may write, outside of every container, which nothing may touch.
fn victim(user: &User<'_>) -> PathBuf {
    user.sh("mkdir victim && cd victim && mkdir -p sub pts shm && echo kept >file && echo kept >console && chmod -R 777 .")
        .succeeds();
    // So that it is no mode of a directory above that keeps container root away.
    user.sh("chmod 711 . .local .local/share .local/share/lxc 2>/dev/null; true").succeeds();
    user.home().join("victim")
}

/// What `name` in a root file system may be, to lead to `victim`. Each is said with what it is called.
fn links_to(victim: &Path) -> Vec<(&'static str, String)> {
    let path = victim.display();
    vec![
        ("absolute", path.to_string()),
        ("relative", format!("../../../../../../../../../../../..{path}")),
        ("dots", format!("./.././/..//../../../../../../../../..{path}/.")),
        ("magic root", format!("/proc/self/root{path}")),
        ("magic root of init", format!("/proc/1/root{path}")),
        ("magic cwd", format!("/proc/self/cwd/../../../../../../../../..{path}")),
        ("magic fd", "/proc/self/fd/3".to_owned()),
        ("loop", "loop".to_owned()),
    ]
}

/// Replaces `name` in a root file system by a link of container root's.
fn replace(user: &User<'_>, name: &str, target: &str) {
    let path = rootfs(user).join(name);
    let aside = rootfs(user).join(format!("{}.aside", name.replace('/', "-")));
    let _absent = fs::rename(&path, &aside);
    let target = if target == "loop" {
        path.file_name().map_or("loop", |n| n.to_str().unwrap_or("loop"))
    } else {
        target
    };
    symlink(target, &path).and_then(|()| attack::give_to_root(user, &path)).expect("the test is root");
}

fn restore(user: &User<'_>, name: &str) {
    let path = rootfs(user).join(name);
    let aside = rootfs(user).join(format!("{}.aside", name.replace('/', "-")));
    fs::remove_file(&path).expect("it is a link");
    let _there_was_nothing = fs::rename(aside, path);
}

/// CVE-2013-6441.
fn what_is_lent_by_the_host_cannot_be_written(lab: &Lab) {
    let ana = lab.user("ana");
    ana.append(".config/lxc/default.conf", &attacker_entry());
    ana.bryo(["create", "web", "-t", "host"]).succeeds();
    ana.bryo(["start", "web"]).succeeds();
    let table = inside(&ana, "web", "cat /proc/self/mountinfo").stdout;
    let own = ["tmpfs", "proc", "sysfs", "devpts", "mqueue", "cgroup", "cgroup2"];
    let mut lent = Vec::new();
    for line in table.lines() {
        let (before, after) = line.split_once(" - ").unwrap_or((line, ""));
        let fields: Vec<&str> = before.split(' ').collect();
        let (place, options) = (fields[4], fields[5]);
        let is_node = place.starts_with("/dev/");
        if place == "/" || is_node || own.iter().any(|kind| after.starts_with(&format!("{kind} "))) {
            continue;
        }
        // Of the files of bryo-lxcfs, which are in superblocks of the container's own, those of pressure take triggers.
        let takes_triggers = place.starts_with("/proc/pressure/") && after.starts_with("fuse.lxcfs ");
        for wanted in ["ro", "nosuid", "nodev"] {
            // The hostile program itself was asked for by an entry, read-only.
            let asked_for = place == "/attacker" && wanted != "ro";
            let is_written = takes_triggers && wanted == "ro";
            assert!(
                asked_for || is_written || options.split(',').any(|option| option == wanted),
                "{place} is not {wanted}: {line}"
            );
        }
        if !takes_triggers {
            lent.push(place.to_owned());
        }
    }
    assert!(lent.iter().any(|place| place == "/usr"), "{table}");
    let words = ["exec", "web", "--", "/attacker", "writing"].map(str::to_owned).into_iter().chain(lent);
    attack::resisted(&ana.bryo(words).output());
    ana.destroy("web");
    // With the network of the host its sysfs is lent too.
    ana.busybox("web");
    ana.sh(&format!("sed -i /lxc.net/d {CONFIG} && echo lxc.net.0.type = none >>{CONFIG}")).succeeds();
    ana.bryo(["start", "web"]).succeeds();
    let sys = inside(&ana, "web", "grep ' / /sys ' /proc/self/mountinfo").stdout;
    assert_eq!(sys.lines().count(), 1, "{sys}");
    for wanted in ["ro", "nosuid", "nodev", "noexec"] {
        assert!(sys.split([' ', ',']).any(|word| word == wanted), "/sys of the host is not {wanted}: {sys}");
    }
    let files = ["/sys/kernel/mm/transparent_hugepage/enabled", "/sys/kernel", "/sys"];
    attack::resisted(&ana.bryo(["exec", "web", "--", "/attacker", "writing"].iter().chain(&files)).output());
    ana.destroy("web");
}

/// CVE-2015-1335, CVE-2019-19921, CVE-2024-45310: every target that nobody asked for by name.
fn no_mount_of_the_runtime_follows_a_link(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    let victim = victim(&ana);
    let before = Fingerprint::of(&victim);
    let with_own_dev = ["proc", "sys", "dev"];
    // Where /dev is the image's, so is what lies in it.
    let without = ["dev/pts", "dev/console", "dev/tty1", "dev"];
    let cases = with_own_dev.map(|name| (name, "1")).into_iter().chain(without.map(|name| (name, "0")));
    for (name, autodev) in cases {
        for (kind, target) in links_to(&victim) {
            replace(&ana, name, &target);
            let start = ana.bryo(["start", "web", "--define", &format!("lxc.autodev={autodev}")]).output();
            before.is_still_of(&victim);
            // Without a devpts a container has no terminals; everything else is refused.
            let may_start = name == "dev/pts" || (name == "dev" && autodev == "0");
            assert!(start.status() != 0 || may_start, "started with /{name} a link ({kind})");
            if start.status() == 0 {
                ana.bryo(["stop", "-k", "web"]).succeeds();
            } else {
                assert!(
                    start.stderr.contains("ELOOP") || start.stderr.contains("ENOTDIR"),
                    "{kind}: {}",
                    start.stderr
                );
            }
            restore(&ana, name);
        }
    }
    ana.bryo(["start", "web"]).succeeds();
    ana.destroy("web");
    before.is_still_of(&victim);
}

/// CVE-2021-30465 without the race, CVE-2024-45310, CVE-2026-41579: the targets that the configuration names, and what is
/// made for them.
fn no_mount_of_an_entry_leaves_the_root(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    let victim = victim(&ana);
    let before = Fingerprint::of(&victim);
    ana.sh("mkdir source && echo source >source/marker && echo source >source-file").succeeds();
    let home = ana.home().display().to_string();
    let plain = fs::read_to_string(ana.home().join(CONFIG)).expect("the test is root");
    let entries = [
        format!("{home}/source linked none bind"),
        format!("{home}/source linked none bind,create=dir"),
        format!("{home}/source linked/new none bind,create=dir"),
        format!("{home}/source linked/new/deeper none bind,create=dir"),
        format!("{home}/source linked/sub none bind"),
        format!("{home}/source-file linked/file none bind"),
        format!("{home}/source-file linked/new-file none bind,create=file"),
        format!("{home}/source-file linked none bind,create=file"),
        "tmpfs linked/tmp tmpfs create=dir".to_owned(),
        "tmpfs linked/../linked/tmp tmpfs create=dir".to_owned(),
        "linked mnt none bind,relative".to_owned(),
    ];
    for (kind, target) in links_to(&victim) {
        replace(&ana, "linked", &target);
        for entry in &entries {
            ana.write(CONFIG, &format!("{plain}lxc.mount.entry = {entry} 0 0\n"));
            let started = ana.bryo(["start", "web"]).output();
            before.is_still_of(&victim);
            if started.status() == 0 {
                let seen = inside(&ana, "web", "ls -R /mnt /linked/ 2>&1").stdout;
                assert!(!seen.contains("console"), "{kind}, {entry}: the victim shows\n{seen}");
                ana.bryo(["stop", "-k", "web"]).succeeds();
            }
        }
        restore(&ana, "linked");
    }
    for target in ["../victim", "/etc", "a/../../x", "/proc/self/root/etc"] {
        ana.write(
            CONFIG,
            &format!("{plain}lxc.mount.entry = {home}/source {target} none bind,create=dir 0 0\n"),
        );
        let started = ana.bryo(["start", "web"]).output();
        before.is_still_of(&victim);
        if started.status() == 0 {
            ana.bryo(["stop", "-k", "web"]).succeeds();
        }
    }
    ana.write(CONFIG, &plain);
    ana.destroy("web");
}

/// How many targets one start mounts on: the real code path, many times.
const TARGETS: usize = 500;

/// Makes the container web, a hostile one beside it, and the directory that must stay as it is.
fn beside_a_hostile_one(ana: &User<'_>) -> (PathBuf, Fingerprint) {
    ana.append(".config/lxc/default.conf", &attacker_entry());
    ana.busybox("web");
    ana.busybox("hostile");
    let victim = victim(ana);
    let before = Fingerprint::of(&victim);
    (victim, before)
}

/// CVE-2021-30465: another container that shares a directory exchanges the target with a link, over and over.
fn a_target_that_is_swapped_meanwhile_leads_nowhere(lab: &Lab) {
    let ana = lab.user("ana");
    let (victim, before) = beside_a_hostile_one(&ana);
    let home = ana.home().display().to_string();
    ana.sh("mkdir source shared && echo source >source/marker && chmod 777 shared").succeeds();
    let shared = format!("lxc.mount.entry = {home}/shared shared none bind,create=dir 0 0\n");
    ana.append(".local/share/lxc/hostile/config", &shared);
    ana.append(CONFIG, &shared);
    // Half of the targets are there, half are made; through the name that is swapped.
    let entry = |n: usize| match n % 2 {
        0 => format!("lxc.mount.entry = {home}/source shared/way/there none bind 0 0\n"),
        _ => format!("lxc.mount.entry = {home}/source shared/way/new-{n} none bind,create=dir 0 0\n"),
    };
    ana.append(CONFIG, &(0..TARGETS).map(entry).collect::<String>());
    ana.bryo(["start", "hostile"]).succeeds();
    let set_up = format!(
        "cd /shared && mkdir -m 777 way way/there && mkdir -p /landing/there && ln -s {} link",
        victim.display()
    );
    inside(&ana, "hostile", &set_up).exits(0);
    // The link leads to the victim on the host, and to nothing in the container; in the other half of the starts it leads
    // to a directory that the container has too.
    for directory in ["landing", "landing/there"].map(|name| rootfs(&ana).join(name)) {
        let made = fs::create_dir(&directory).and_then(|()| attack::give_to_root(&ana, &directory));
        made.expect("the test is root");
    }
    let swap = ["exec", "hostile", "--", "/attacker", "exchange", "/shared/way", "/shared/link", "-"];
    let mut swapper = ana.bryo(swap).seconds(100_000).background();
    let starts = times(4, 100_000 / TARGETS);
    let (mut started, mut refused) = (0, 0);
    for round in 0..starts {
        if round == starts / 2 {
            swapper.kill();
            swapper.wait();
            // Where the exchange left them is not known: the one that is the link becomes another one.
            let other =
                "cd /shared && for n in way link; do [ -L $n ] && rm $n && ln -s /landing $n; done; true";
            inside(&ana, "hostile", other).exits(0);
            swapper = ana.bryo(swap).seconds(100_000).background();
        }
        let start = ana.bryo(["start", "web"]).seconds(120).output();
        before.is_still_of(&victim);
        if start.status() == 0 {
            started += 1;
            let mounts = inside(&ana, "web", "grep -c ' /source\\| /.*/source ' /proc/self/mountinfo").stdout;
            assert_eq!(mounts.trim(), TARGETS.to_string(), "a mount of this start went elsewhere");
            ana.bryo(["stop", "-k", "web"]).seconds(120).succeeds();
        } else {
            refused += 1;
        }
    }
    assert!(swapper.runs(), "the exchange has ended by itself");
    swapper.kill();
    swapper.wait();
    println!("{started} starts with {TARGETS} mounts each, {refused} refused");
    assert!(refused > 0, "no exchange was met: nothing was raced");
    ana.destroy("web");
    ana.destroy("hostile");
    before.is_still_of(&victim);
}

/// The same for the mounts of the runtime: another container has the whole root file system.
fn a_root_that_is_swapped_meanwhile_leads_nowhere(lab: &Lab) {
    let ana = lab.user("ana");
    let (victim, before) = beside_a_hostile_one(&ana);
    let root = rootfs(&ana).display().to_string();
    let entry = format!("lxc.mount.entry = {root} victim none bind,create=dir 0 0\n");
    ana.append(".local/share/lxc/hostile/config", &entry);
    ana.bryo(["start", "hostile"]).succeeds();
    for name in ["dev", "proc", "sys"] {
        inside(&ana, "hostile", &format!("ln -s {} /victim/{name}.link", victim.display())).exits(0);
        let (a, b) = (format!("/victim/{name}"), format!("/victim/{name}.link"));
        let mut swapper = ana
            .bryo(["exec", "hostile", "--", "/attacker", "exchange", &a, &b, "-"])
            .seconds(100_000)
            .background();
        let mut refused = 0;
        for _ in 0..times(10, 1000) {
            let start = ana.bryo(["start", "web"]).output();
            before.is_still_of(&victim);
            match start.status() {
                0 => drop(ana.bryo(["stop", "-k", "web"]).succeeds()),
                _ => refused += 1,
            }
        }
        assert!(swapper.runs(), "the exchange has ended by itself");
        swapper.kill();
        swapper.wait();
        println!("/{name}: {refused} refused");
        let settle = format!(
            "cd /victim; [ ! -L {name} ] || {{ rm {name}; mv {name}.link {name}; }}; rm -f {name}.link"
        );
        eventually("the exchange is over", || inside(&ana, "hostile", &settle).status() == 0);
    }
    ana.destroy("hostile");
    ana.destroy("web");
}

/// CVE-2023-25809.
fn no_cgroup_above_is_written(lab: &Lab) {
    let ana = lab.user("ana");
    ana.append(".config/lxc/default.conf", &attacker_entry());
    ana.busybox("web");
    ana.bryo(["start", "web"]).succeeds();
    attack::resisted(&ana.bryo(["exec", "web", "--", "/attacker", "cgroups"]).output());
    // Another mount of it shows no more.
    let again = "mkdir -p /again && mount -t cgroup2 none /again && cat /proc/self/cgroup";
    let shown = inside(&ana, "web", again);
    assert!(!shown.stdout.contains("bryo-lab") && !shown.stdout.contains(".."), "{}", shown.stdout);
    attack::resisted(&ana.bryo(["exec", "web", "--", "/attacker", "cgroups"]).output());
    ana.destroy("web");
}

/// runc 1.1.1, 1.1.3.
fn the_hosts_devices_stay_as_they_are(lab: &Lab) {
    let nodes = ["null", "zero", "full", "random", "urandom", "tty"];
    let look = || {
        nodes.map(|node| {
            let found = fs::metadata(format!("/dev/{node}")).expect("every host has it");
            (found.mode(), found.uid(), found.gid(), found.rdev(), found.ino())
        })
    };
    let before = look();
    let ana = lab.user("ana");
    ana.append(".config/lxc/default.conf", &attacker_entry());
    ana.busybox("web");
    ana.bryo(["start", "web"]).succeeds();
    let devices =
        |command: &str| ana.sh(&format!("{command} >devices; status=$?; cat devices; exit $status")).output();
    attack::resisted(&devices("lxc-attach -n web -- /attacker devices </dev/null 2>/dev/null"));
    attack::resisted(&devices("bryo exec web -- /attacker devices </dev/null 2>/dev/null"));
    ana.bryo(["stop", "-k", "web"]).succeeds();
    attack::resisted(&devices("lxc-execute -n web -- /attacker devices </dev/null 2>/dev/null"));
    assert_eq!(look(), before);
    ana.destroy("web");
}
