//! Attacks by files: names that are somebody else's already, archives, and trees that change while they are removed.
//! `docs/cves.md` says which known holes each of them stands for.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tests::attack::{self, Fingerprint, attacker_entry, times};
use tests::{Lab, Output, User, eventually};

tests::claims! {
    nothing_planted_in_the_state_directory_is_followed: hybrid, needs Bryo;
    a_file_planted_by_another_user_is_not_written: hybrid, needs Bryo;
    a_container_of_another_user_is_not_started: hybrid, needs Bryo;
    no_umask_opens_a_container: hybrid, needs Bryo;
    an_image_whose_root_is_a_link_is_refused: hybrid, needs Bryo;
    a_hostile_archive_reaches_nothing_by_create: hybrid, needs Bryo;
    a_tree_that_changes_while_it_is_removed_leads_nowhere: hybrid, needs Bryo;
    no_word_becomes_a_line_of_a_config: hybrid, needs Bryo;
    no_word_becomes_an_option_or_a_command: hybrid, needs Bryo;
}

const CONFIG: &str = ".local/share/lxc/web/config";

fn container(user: &User<'_>) -> PathBuf {
    user.lxcpath().join("web")
}

/// Makes a tree of the user's that nothing may touch, and its fingerprint.
fn victim(user: &User<'_>) -> (PathBuf, Fingerprint) {
    user.sh(
        "mkdir victim && cd victim && mkdir sub && echo kept >file && echo kept >sub/file && chmod -R 777 .",
    )
    .succeeds();
    let path = user.home().join("victim");
    let before = Fingerprint::of(&path);
    (path, before)
}

/// CVE-2015-1331, CVE-2026-33711: what a killed command, or somebody who was at the user's keyboard, has left there.
fn nothing_planted_in_the_state_directory_is_followed(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    let (_, before) = victim(&ana);
    let home = ana.home();
    let whole = [
        "ln -s ~/victim .bryo",
        "ln -s /tmp .bryo",
        "mkfifo .bryo",
        "echo >.bryo",
        "mkdir -m 777 .bryo",
        "mkdir -m 770 .bryo",
        "ln -s .bryo .bryo",
    ];
    for plant in whole {
        ana.sh(&format!("cd .local/share/lxc/web && {plant}")).succeeds();
        let start = ana.bryo(["start", "web"]).seconds(30).output();
        before.is_still_of(&home.join("victim"));
        assert_ne!(start.status(), 0, "started with {plant}");
        ana.bryo(["ls"]).seconds(30).succeeds();
        ana.sh("rm -rf .local/share/lxc/web/.bryo").succeeds();
    }
    for name in ["lock", "command", "run", ".run.new"] {
        for plant in
            ["ln -s ~/victim/file", "ln -s ~/victim/new", "mkfifo", "mkdir", "ln ~/victim/file", "echo x >"]
        {
            ana.sh(&format!("cd .local/share/lxc/web && mkdir -m 700 .bryo && {plant} .bryo/{name}"))
                .succeeds();
            let start = ana.bryo(["start", "web"]).seconds(30).output();
            if plant == "ln ~/victim/file" {
                // The file has got a second name, and loses it again; what is in it must stay.
                let kept = fs::read_to_string(home.join("victim/file")).expect("the test is root");
                assert_eq!(kept, "kept\n", "{plant} {name}");
            } else {
                before.is_still_of(&home.join("victim"));
            }
            if start.status() == 0 {
                ana.bryo(["stop", "-k", "web"]).succeeds();
            }
            ana.sh("rm -rf .local/share/lxc/web/.bryo").succeeds();
        }
    }
    ana.bryo(["start", "web"]).succeeds();
    ana.destroy("web");
}

/// CVE-2015-1331, CVE-2019-12439: names in a directory for everybody. The kernel does not help: fs.protected_symlinks,
/// protected_regular and protected_fifos are 0 on some machines.
fn a_file_planted_by_another_user_is_not_written(lab: &Lab) {
    let (ana, ben) = (lab.user("ana"), lab.user("ben"));
    ana.busybox("web");
    let (victim, before) = victim(&ana);
    ana.sh("chmod 711 .").succeeds();
    let shared = attack::shared_name(&ben, "planted");
    ben.sh(&format!("mkdir -m 1777 {shared}")).succeeds();
    let file = &format!("{shared}/file");
    let plants = [
        format!("ln -s {}/file {file}", victim.display()),
        format!("ln -s {}/new {file}", victim.display()),
        format!("mkfifo -m 666 {file}"),
        format!("echo bens >{file} && chmod 666 {file}"),
        format!("ln -s {file} {file}"),
        format!("ln -s {shared}/elsewhere {file}"),
    ];
    let uses = [
        ("pidfile", format!("lxc-start -n web -p {file}")),
        ("pidfile", format!("bryo start --pidfile {file} web")),
        ("log", format!("lxc-start -n web -l TRACE -o {file}")),
        ("log", format!("bryo start web --define lxc.log.file={file} --define lxc.log.level=TRACE")),
        ("console log", format!("bryo start web --define lxc.console.logfile={file}")),
        ("console log", format!("lxc-start -n web -L {file}")),
    ];
    for plant in &plants {
        for (what, command) in &uses {
            ben.sh(plant).succeeds();
            let start = ana.sh(command).seconds(30).output();
            before.is_still_of(&victim);
            assert_ne!(start.status(), 0, "{what}: {command} after {plant}");
            let left = fs::symlink_metadata(file).expect("nobody has removed it");
            if left.is_file() {
                assert_eq!(
                    fs::read_to_string(file).expect("the test is root"),
                    "bens\n",
                    "{command} after {plant}"
                );
            }
            ben.sh(&format!("rm -f {file} {shared}/elsewhere")).succeeds();
        }
    }
    // What is the user's own there is the user's to name.
    for (what, command) in &uses {
        ana.sh(&format!("ln -s {}/own-{} {file}", ana.home().display(), what.replace(' ', "-"))).succeeds();
        ana.sh(command).seconds(30).succeeds();
        ana.bryo(["stop", "-k", "web"]).succeeds();
        ana.sh(&format!("rm {file}")).succeeds();
    }
    ben.sh(&format!("rm -r {shared}")).succeeds();
    ana.destroy("web");
}

/// CVE-2015-1331 one level up: the container itself lies where another user could put it.
fn a_container_of_another_user_is_not_started(lab: &Lab) {
    let (ana, ben) = (lab.user("ana"), lab.user("ben"));
    let shared = attack::shared_name(&ben, "lxc");
    ben.sh(&format!(
        "mkdir -m 1777 {shared} && mkdir -m 777 {shared}/web && cd {shared}/web && mkdir -m 777 rootfs && \
         printf 'lxc.hook.pre-start = touch {shared}/ran\nlxc.hook.destroy = touch {shared}/ran\n' >config && \
         chmod 666 config",
    ))
    .succeeds();
    for command in [
        format!("bryo -P {shared} start web"),
        format!("lxc-start -P {shared} -n web"),
        format!("lxc-execute -P {shared} -n web -- true"),
        format!("bryo -P {shared} execute web -- true"),
        format!("bryo -P {shared} destroy web"),
        format!("lxc-destroy -P {shared} -n web"),
    ] {
        let ran = ana.sh(&command).output();
        assert_ne!(ran.status(), 0, "{command}");
        assert!(!Path::new(&format!("{shared}/ran")).exists(), "{command} ran a hook of another user");
    }
    ben.sh(&format!("rm -rf {shared}")).succeeds();
}

/// CVE-2016-1581, CVE-2016-1582, CVE-2021-41091, CVE-2025-64507.
fn no_umask_opens_a_container(lab: &Lab) {
    let (ana, ben) = (lab.user("ana"), lab.user("ben"));
    ana.sh("chmod 755 . && mkdir -p .local/share/lxc && chmod 755 .local .local/share .local/share/lxc")
        .succeeds();
    for umask in ["000", "022", "077", "777"] {
        ana.sh(&format!("umask {umask}; bryo create web /run/bryo-lab/rootfs/busybox.tar")).succeeds();
        let mode = |path: &Path| fs::symlink_metadata(path).expect("it was made").mode() & 0o7777;
        assert_eq!(mode(&container(&ana)) & 0o007, 0, "umask {umask}: the container's directory is open");
        assert_eq!(
            mode(&container(&ana).join("config")) & 0o022,
            0,
            "umask {umask}: others may write the config"
        );
        let setuid = container(&ana).join("rootfs/srv/kept/setuid");
        assert_eq!(mode(&setuid), 0o4750, "umask {umask}");
        ben.run("test", ["-e".as_ref(), setuid.as_os_str()]).exits(1);
        ana.sh(&format!("umask {umask}; bryo start web -o ~/log --define lxc.console.logfile=$HOME/console-log || bryo start web"))
            .succeeds();
        let state = container(&ana).join(".bryo");
        assert_eq!(mode(&state) & 0o077, 0, "umask {umask}: .bryo is open");
        for entry in fs::read_dir(&state).expect("it runs").flatten() {
            assert_eq!(mode(&entry.path()) & 0o022, 0, "umask {umask}: others may write {:?}", entry.path());
        }
        for log in ["log", "console-log"].map(|name| ana.home().join(name)) {
            assert!(!log.exists() || mode(&log) & 0o022 == 0, "umask {umask}: others may write {log:?}");
        }
        let inside = ana
            .bryo(["exec", "web", "--", "sh", "-c", "stat -c %a /dev /dev/shm /dev/pts /proc/1/root"])
            .succeeds();
        assert!(inside.stdout.starts_with("755\n1777\n755\n"), "umask {umask}: {}", inside.stdout);
        ana.bryo(["destroy", "-f", "web"]).succeeds();
        ana.sh("rm -f log console-log").succeeds();
    }
    ana.sh("umask 000; lxc-create -n web -t none").succeeds();
    let config = fs::metadata(container(&ana).join("config")).expect("it was made").permissions().mode();
    assert_eq!(config & 0o022, 0, "others may write the config of template none");
    ana.destroy("web");
}

fn create(user: &User<'_>, archive: &str) -> Output {
    user.bryo(["create", "web", archive]).seconds(60).output()
}

/// CVE-2026-48749, CVE-2021-29136.
fn an_image_whose_root_is_a_link_is_refused(lab: &Lab) {
    let ana = lab.user("ana");
    let (victim, before) = victim(&ana);
    let shown = victim.display();
    // Archives in which the root itself is something else than a directory.
    for make in [
        format!("ln -s {shown} tree/rootfs && tar -cf a.tar -C tree rootfs"),
        format!("ln -s {shown} tree/x && tar -cf a.tar -C tree --transform 's,^x$,.,' x"),
        "mkfifo tree/x && tar -cf a.tar -C tree --transform 's,^x$,./,' x".to_owned(),
        "echo >tree/x && tar -cf a.tar -C tree --transform 's,^x$,.,' x".to_owned(),
        format!(
            "ln -s {shown} tree/l && echo owned >tree/f && tar -cf a.tar -C tree l && \
                 tar -rf a.tar -C tree --transform 's,^f$,l/file,' f"
        ),
    ] {
        ana.sh(&format!("rm -rf tree a.tar && mkdir tree && {make}")).succeeds();
        let made = create(&ana, "./a.tar");
        before.is_still_of(&victim);
        if made.status() == 0 {
            // An archive with nothing but a link in it is no container, but no attack either: what it made is below.
            let rootfs = fs::symlink_metadata(container(&ana).join("rootfs")).expect("it was made");
            assert!(rootfs.is_dir(), "{make}");
            ana.destroy("web");
        }
        assert!(!container(&ana).exists(), "{make}");
    }
}

/// RUSTSEC-2018-0002, RUSTSEC-2021-0080, RUSTSEC-2026-0067, CVE-2021-32760: the archives that GNU tar itself can make, the
/// whole way through `create`. Those that it cannot are in `image/tests/program/hostile.rs`.
fn a_hostile_archive_reaches_nothing_by_create(lab: &Lab) {
    let ana = lab.user("ana");
    let (victim, before) = victim(&ana);
    let shown = victim.display();
    for make in [
        format!(
            "ln -s {shown} l && tar -cf ../a.tar l && rm l && mkdir l && echo owned >l/file && tar -rf ../a.tar l/file"
        ),
        format!("ln -s {shown} l && tar -cf ../a.tar l && rm l && mkdir -m 700 l && tar -rf ../a.tar l"),
        format!("ln -s {shown}/file f && tar -cf ../a.tar f && rm f && echo owned >f && tar -rf ../a.tar f"),
        "echo owned >f && tar -Pcf ../a.tar --transform 's,^f$,../../../../../victim/file,' f".to_owned(),
        format!("echo owned >f && tar -Pcf ../a.tar --transform 's,^f$,{shown}/file,' f"),
        format!("echo x >f && ln f g && tar -Pcf ../a.tar --transform 'flags=h;s,^f$,{shown}/file,' f g"),
        "echo x >f && ln f g && tar -Pcf ../a.tar --transform 'flags=h;s,^f$,../../victim/file,' f g"
            .to_owned(),
        format!(
            "ln -s {shown} l && tar -cf ../a.tar l && rm l && mkdir l && mkfifo l/new && tar -rf ../a.tar l/new"
        ),
    ] {
        ana.sh(&format!("rm -rf tree a.tar && mkdir tree && cd tree && {make}")).succeeds();
        let made = create(&ana, "./a.tar");
        before.is_still_of(&victim);
        if made.status() == 0 {
            ana.destroy("web");
        }
        assert!(!container(&ana).exists(), "{make}: {}", made.stderr);
    }
    before.is_still_of(&victim);
}

/// RUSTSEC-2023-0018, CVE-2015-1340: another container has the tree that is being removed, and exchanges directories of it
/// for links.
fn a_tree_that_changes_while_it_is_removed_leads_nowhere(lab: &Lab) {
    let ana = lab.user("ana");
    ana.append(".config/lxc/default.conf", &attacker_entry());
    ana.busybox("hostile");
    let (victim, before) = victim(&ana);
    ana.sh("mkdir shared && chmod 711 . .local .local/share .local/share/lxc").succeeds();
    let lent = format!("lxc.mount.entry = {} lent none bind,create=dir 0 0\n", ana.lxcpath().display());
    ana.append(".local/share/lxc/hostile/config", &lent);
    ana.bryo(["start", "hostile"]).succeeds();
    for _ in 0..times(6, 400) {
        ana.busybox("web");
        // Container root owns what is below the root, so that it may swap there.
        let fill = format!(
            "cd /lent/web/rootfs && for n in 1 2 3 4 5 6 7 8; do mkdir -p d$n/way/sub && ln -s {} d$n/link && \
             for f in 1 2 3 4 5 6 7 8 9; do echo >d$n/way/$f; echo >d$n/way/sub/$f; done; done",
            victim.display()
        );
        ana.bryo(["exec", "hostile", "--", "sh", "-c", &fill]).succeeds();
        let swap = "for n in 1 2 3 4 5 6 7 8; do \
                    /attacker exchange /lent/web/rootfs/d$n/way /lent/web/rootfs/d$n/link - & done; wait";
        let swapper = ana.bryo(["exec", "hostile", "--", "sh", "-c", swap]).background();
        eventually("it is removed", || ana.bryo(["destroy", "web"]).seconds(60).output().status() == 0);
        before.is_still_of(&victim);
        swapper.wait();
    }
    ana.destroy("hostile");
    before.is_still_of(&victim);
}

/// CVE-2026-23953: a line break in whatever becomes a value of a configuration.
fn no_word_becomes_a_line_of_a_config(lab: &Lab) {
    let ana = lab.user("ana");
    let injected = attack::shared_name(&ana, "injected");
    let hook = format!("lxc.hook.pre-start = touch {injected}");
    for line_break in ["\n", "\r", "\r\n", "\u{2028}", "\u{85}", "\\\n", "\u{b}", "\u{c}"] {
        let word = format!("x{line_break}{hook}{line_break}");
        for command in [
            vec!["create", "web", "-t", "busybox", "--define", &format!("lxc.environment=A={word}")],
            vec!["create", &word, "-t", "busybox"],
            vec!["create", "web", &word],
            vec!["run", "-e", &format!("A={word}"), "--", "true"],
            vec!["run", "-n", &word, "--", "true"],
            vec!["run", "-w", &word, "--", "true"],
            vec!["run", "--", "true", &word],
        ] {
            ana.bryo(&command).output();
            let config = fs::read_to_string(ana.home().join(CONFIG)).unwrap_or_default();
            assert!(
                !config.lines().any(|line| line.trim_start().starts_with("lxc.hook")),
                "{command:?}:\n{config}"
            );
            if container(&ana).exists() {
                ana.bryo(["start", "web"]).output();
                ana.destroy("web");
            }
            assert!(!Path::new(&injected).exists(), "{command:?}");
        }
    }
}

/// CVE-2026-48755, CVE-2025-62867: a word that the next program would take for an option or hand to a shell.
fn no_word_becomes_an_option_or_a_command(lab: &Lab) {
    let ana = lab.user("ana");
    let names = ana.home().join("names");
    ana.write("hook", &format!("#!/bin/sh\nprintf '%s\\n' \"$1\" >>{}\n", names.display()));
    ana.sh("chmod 755 hook").succeeds();
    ana.append(".config/lxc/default.conf", &format!("lxc.hook.pre-start = {}/hook\n", ana.home().display()));
    let mut expected = String::new();
    for name in [
        "a;touch injected",
        "$(touch injected)",
        "`touch injected`",
        "a b",
        "a&touch injected",
        "it's",
        "a|touch injected",
        "*",
    ] {
        ana.bryo(["create", name, "/run/bryo-lab/rootfs/busybox.tar"]).succeeds();
        ana.bryo(["start", name]).succeeds();
        ana.bryo(["exec", name, "--", "true"]).succeeds();
        ana.bryo(["destroy", "-f", name]).succeeds();
        expected += &format!("{name}\n");
        assert!(
            !ana.home().join("injected").exists() && !Path::new("/injected").exists(),
            "{name:?} was a command"
        );
    }
    let got = fs::read_to_string(names).unwrap_or_default();
    assert_eq!(got, expected, "the hook got other names");
    for word in ["--help", "-x", "--", "-"] {
        for command in
            [vec!["create", "web", word], vec!["create", word], vec!["start", word], vec!["destroy", word]]
        {
            ana.bryo(&command).output();
            assert!(!ana.lxcpath().join(word).exists(), "{command:?}");
        }
        let said = ana.bryo(["run", "--", "printf", "%s", word]).output();
        assert!(said.stdout == word || said.stdout.is_empty(), "{word:?}: {}", said.stdout);
    }
}
