//! The caller's own files in a container: `--me`, `--share`, the map in words, and files that move to other ids.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;
use std::process::Command;

use tests::{Lab, User, eventually};

tests::claims! {
    a_file_that_me_makes_is_mine_outside_and_one_of_roots_is_not: hybrid unified, needs Bryo;
    a_closed_directory_can_be_shared_under_any_name: hybrid, needs Bryo;
    a_read_only_share_refuses_writes: hybrid, needs Bryo;
    a_share_that_is_none_leaves_nothing: hybrid, needs Bryo;
    parents_of_a_share_in_my_home_are_mine: hybrid, needs Bryo;
    run_with_a_share_makes_files_that_are_mine: hybrid unified, needs Bryo;
    shell_logs_in_as_me_and_exec_stays_root: hybrid, needs Bryo;
    an_account_of_the_image_is_never_overwritten: hybrid, needs Bryo;
    a_hostile_passwd_file_harms_nothing_on_the_host: hybrid, needs Bryo;
    a_line_as_long_as_the_file_keeps_nobody_waiting: hybrid, needs Bryo;
    what_the_image_puts_in_the_way_is_not_written_to: hybrid, needs Bryo;
    with_one_id_root_inside_is_me_already: hybrid, needs Bryo;
    a_map_in_the_default_config_is_split_too: hybrid, needs Bryo;
    root_of_a_container_with_me_cannot_write_my_programs: hybrid, needs Bryo;
    a_debian_boots_with_me_as_a_user: hybrid unified, needs Bryo Debian;
    lxc_starts_a_container_with_me: hybrid, needs Bryo Lxc;
    lxc_does_not_start_a_half_shifted_container: hybrid, needs Bryo Lxc;
    idmap_tells_who_owns_what_in_words_and_as_json: hybrid, needs Bryo;
    ids_that_are_no_longer_granted_are_named_with_what_to_do: hybrid, needs Bryo;
    remap_keeps_every_property: hybrid, needs Bryo;
    remap_changes_nothing_when_it_only_looks: hybrid, needs Bryo;
    remap_makes_me_a_user_of_an_older_container: hybrid, needs Bryo;
    a_copy_of_an_older_container_gives_me_the_files_of_my_id: hybrid, needs Bryo;
    remap_gives_a_container_of_one_id_a_range: hybrid, needs Bryo;
    remap_of_a_running_container_is_refused: hybrid, needs Bryo;
    a_file_whose_id_has_no_place_stops_a_remap_before_it_begins: hybrid, needs Bryo;
    a_remap_that_is_killed_before_any_step_is_finished_by_the_next: hybrid, needs Bryo Strace;
    a_half_shifted_container_does_not_start_and_is_finished_by_the_next_remap: hybrid, needs Bryo;
    a_half_shifted_container_can_be_destroyed: hybrid, needs Bryo;
}

const ARCHIVE: &str = "/run/bryo-lab/rootfs/busybox.tar.zst";

/// Makes and starts a container with these options of create.
fn start<'lab>(lab: &'lab Lab, options: &[&str]) -> User<'lab> {
    let ana = lab.user("ana");
    ana.bryo([&["create", "web", ARCHIVE], options].concat()).succeeds();
    ana.bryo(["start", "web"]).succeeds();
    ana
}

/// Runs a shell command line inside, as root or as a user.
fn inside(user: &User<'_>, who: Option<&str>, script: &str) -> tests::Output {
    let user_option = who.map(|who| ["-u", who]);
    let words = ["exec", "web"].into_iter().chain(user_option.into_iter().flatten());
    user.bryo(words.chain(["--", "sh", "-c", script])).output()
}

fn owner(path: &Path) -> (u32, u32) {
    fs::symlink_metadata(path).map(|found| (found.uid(), found.gid())).unwrap_or((u32::MAX, u32::MAX))
}

fn own_ids(user: &User<'_>) -> (u32, u32) {
    (user.account().uid, user.account().gid)
}

fn a_file_that_me_makes_is_mine_outside_and_one_of_roots_is_not(lab: &Lab) {
    let ana = lab.user("ana");
    ana.write("src/old", "mine");
    let ana = start(lab, &["--share", "src"]);
    let (me, src) = (ana.account().login.as_str(), ana.home().join("src"));
    let script = format!("cd {} && cat old && echo more >>old && touch new", src.display());
    inside(&ana, Some(me), &script).exits(0).stdout_is("mine");
    assert_eq!(owner(&src.join("new")), own_ids(&ana));
    assert_eq!(fs::read_to_string(src.join("old")).unwrap_or_default(), "minemore\n");
    inside(&ana, None, &format!("touch {}/roots", src.display())).exits(0);
    assert_eq!(owner(&src.join("roots")), (ana.account().subuids.start, ana.account().subgids.start));
    inside(&ana, Some("5:5"), &format!("cat {}/old", src.display())).exits(0);
    inside(&ana, Some("5:5"), &format!("touch {}/others", src.display())).exits(1);
    ana.destroy("web");
}

fn a_closed_directory_can_be_shared_under_any_name(lab: &Lab) {
    let ana = lab.user("ana");
    ana.sh(r#"mkdir -m 700 'my own files' 'back\slash' && echo secret >'my own files/f' && echo 2 >'back\slash/f'"#)
        .succeeds();
    let shares = ["-v", "my own files", "-v", r"./back\slash:/srv/a b\c"];
    let ana = start(lab, &shares);
    let me = ana.account().login.as_str();
    inside(&ana, Some(me), &format!("cat '{}/my own files/f'", ana.home().display()))
        .exits(0)
        .stdout_is("secret\n");
    inside(&ana, Some(me), r"cat '/srv/a b\c/f'").exits(0).stdout_is("2\n");
    inside(&ana, Some("5:5"), r"cat '/srv/a b\c/f'").exits(1);
    let options = inside(&ana, None, "cat /proc/mounts | grep '/srv/a'").exits(0).stdout;
    assert!(options.contains("nosuid,nodev"), "{options}");
    ana.destroy("web");
}

fn a_read_only_share_refuses_writes(lab: &Lab) {
    let ana = lab.user("ana");
    ana.write("src/file", "kept");
    ana.write("one-file", "one");
    let ana = start(lab, &["--share", "src:/srv/src:ro", "--share", "one-file:/srv/one:ro"]);
    let me = ana.account().login.as_str();
    for who in [Some(me), None] {
        for file in ["/srv/src/file", "/srv/src/new", "/srv/one"] {
            let refused = inside(&ana, who, &format!("echo x >{file}")).exits(1);
            refused.stderr_contains("Read-only");
        }
    }
    inside(&ana, Some(me), "cat /srv/src/file /srv/one").exits(0).stdout_is("keptone");
    ana.destroy("web");
}

fn a_share_that_is_none_leaves_nothing(lab: &Lab) {
    let ana = lab.user("ana");
    ana.sh("mkdir src \"$(printf 'line\\nbreak')\"").succeeds();
    for (share, why) in [
        ("missing", "No such file"),
        ("src:srv", "no absolute path"),
        ("src:/srv/../etc", "no path below"),
        ("src:/", "no path below"),
        ("src:/a:/b", "expected DIR"),
        ("line\nbreak", "control characters"),
    ] {
        ana.bryo(["create", "web", ARCHIVE, "--share", share]).exits(1).stderr_contains(why);
        assert!(!ana.lxcpath().join("web").exists(), "{share:?} leaves something");
    }
}

fn parents_of_a_share_in_my_home_are_mine(lab: &Lab) {
    let ana = lab.user("ana");
    ana.write("src/file", "");
    let me = ana.account().login.as_str();
    let ana = start(lab, &["--share", &format!("src:/home/{me}/a/b/src")]);
    inside(&ana, Some(me), "cd && touch a/x a/b/x && ls a/b/src").exits(0).stdout_is("file\n");
    ana.destroy("web");
}

fn run_with_a_share_makes_files_that_are_mine(lab: &Lab) {
    let ana = lab.user("ana");
    ana.write("src/file", "");
    let file = ana.home().join("src/made");
    let script = format!("id -u; echo $HOME; touch {}", file.display());
    let me = ana.account();
    let expected = format!("{}\n/home/{}\n", me.uid, me.login);
    ana.bryo(["run", "--share", "src", "--", "sh", "-c", &script]).succeeds().stdout_is(expected);
    assert_eq!(owner(&file), own_ids(&ana));
    ana.bryo(["run", "--me", "-u", "root", "--", "id", "-u"]).succeeds().stdout_is("0\n");
    ana.bryo(["run", "--", "id", "-u"]).succeeds().stdout_is("0\n");
    ana.bryo(["run", "--share", "missing", "--", "true"]).exits(125).stderr_contains("missing");
}

fn shell_logs_in_as_me_and_exec_stays_root(lab: &Lab) {
    let ana = start(lab, &["--me"]);
    let me = ana.account();
    let expected = format!("{0} {1} {1}\n/home/{1}\n", me.uid, me.login);
    ana.bryo(["shell", "web"]).reads("echo $(id -u) $USER $(id -gn); pwd\n").succeeds().stdout_is(expected);
    ana.bryo(["shell", "web", "-u", "root"]).reads("id -u\n").succeeds().stdout_is("0\n");
    ana.bryo(["exec", "web", "--", "id", "-u"]).succeeds().stdout_is("0\n");
    inside(&ana, None, &format!("grep {} /etc/passwd; ls -ld /home/{0} | cut -c1-10", me.login))
        .exits(0)
        .stdout_is(format!("{0}:x:{1}:{2}::/home/{0}:/bin/sh\ndrwx------\n", me.login, me.uid, me.gid));
    let told = ana.bryo(["info", "--json", "web"]).succeeds().json();
    assert_eq!(told["me"]["uid"], me.uid);
    ana.bryo(["info", "web"]).succeeds().stdout_contains(&format!("Me         {} ({})", me.login, me.uid));
    ana.destroy("web");
}

/// Makes an archive `image.tar` of a tree that the script fills, as the user.
fn archive(user: &User<'_>, script: &str) {
    let script =
        format!("rm -rf tree && mkdir tree && (cd tree && {script}) && tar -cSf image.tar -C tree .");
    user.sh(&script).succeeds();
}

fn an_account_of_the_image_is_never_overwritten(lab: &Lab) {
    let ana = lab.user("ana");
    let (me, uid) = (ana.account().login.as_str(), ana.account().uid);
    archive(&ana, &format!("mkdir etc && echo {me}:x:7:7::/:/bin/sh >etc/passwd"));
    ana.bryo(["create", "web", "--me", "./image.tar"]).exits(1).stderr_contains("with id 7 already");
    archive(
        &ana,
        &format!(
            "mkdir etc && echo robot:x:{uid}:7::/robot:/bin/robot >etc/passwd && echo {me}:x:8: >etc/group"
        ),
    );
    ana.bryo(["create", "web", "--me", "./image.tar"])
        .succeeds()
        .stderr_contains("robot")
        .stderr_contains("that user is you");
    let passwd = fs::read_to_string(ana.lxcpath().join("web/rootfs/etc/passwd")).unwrap_or_default();
    assert_eq!(passwd, format!("robot:x:{uid}:7::/robot:/bin/robot\n"));
    ana.destroy("web");
}

fn a_hostile_passwd_file_harms_nothing_on_the_host(lab: &Lab) {
    let ana = lab.user("ana");
    ana.write("victim", "untouched");
    let victim = ana.home().join("victim").display().to_string();
    let hosts = fs::read("/etc/passwd").unwrap_or_default();
    for (script, why) in [
        ("mkdir etc && ln -s /etc/passwd etc/passwd".to_owned(), "symbolic link"),
        (format!("mkdir etc && ln -s {victim} etc/passwd"), "symbolic link"),
        ("mkdir etc && mkfifo etc/passwd".to_owned(), "no regular file"),
        ("mkdir -p etc/passwd".to_owned(), "no regular file"),
        ("mkdir etc && truncate -s 10G etc/passwd".to_owned(), "larger than 1 MiB"),
        ("mkdir etc && printf '\\377' >etc/passwd".to_owned(), "no text"),
        ("ln -s /etc etc".to_owned(), "symbolic link"),
        (
            format!("mkdir etc && touch etc/passwd && ln -s {victim} etc/shadow"),
            "/etc/shadow is a symbolic link",
        ),
        ("mkdir etc && touch etc/passwd && mkfifo etc/group".to_owned(), "/etc/group is no regular file"),
    ] {
        archive(&ana, &script);
        ana.bryo(["create", "web", "--me", "./image.tar"]).seconds(30).exits(1).stderr_contains(why);
        assert!(!ana.lxcpath().join("web").exists(), "{script}: something is left");
    }
    assert_eq!(fs::read("/etc/passwd").unwrap_or_default(), hosts);
    ana.sh("cat victim && rm -r tree image.tar").succeeds().stdout_is("untouched");
}

fn a_line_as_long_as_the_file_keeps_nobody_waiting(lab: &Lab) {
    let ana = lab.user("ana");
    let (me, uid) = (ana.account().login.as_str(), ana.account().uid);
    archive(&ana, &format!("mkdir etc && printf '%0900000d:x:{uid}:5::/:/bin/sh\\n' 7 >etc/passwd"));
    ana.bryo(["create", "web", "--me", "./image.tar"])
        .seconds(60)
        .succeeds()
        .stderr_contains("has user 0000");
    ana.destroy("web");
    archive(&ana, &format!("mkdir etc && printf '{me}:x:%0900000d:5::/:/bin/sh\\n' 7 >etc/passwd"));
    ana.bryo(["create", "web", "--me", "./image.tar"])
        .seconds(60)
        .exits(1)
        .stderr_contains("with id 7 already");
}

fn what_the_image_puts_in_the_way_is_not_written_to(lab: &Lab) {
    let ana = lab.user("ana");
    ana.write("victim", "untouched");
    let victim = ana.home().join("victim").display().to_string();
    let me = ana.account().login.as_str();
    archive(
        &ana,
        &format!(
            "mkdir -p etc home && printf root:x:0:0::/:/bin/sh >etc/passwd && ln etc/passwd etc/twin && \
             ln -s {victim} etc/.bryo-new && ln -s {} home/{me}",
            ana.home().display()
        ),
    );
    ana.bryo(["create", "web", "--me", "./image.tar"]).succeeds();
    let etc = ana.lxcpath().join("web/rootfs/etc");
    let text = |name: &str| fs::read_to_string(etc.join(name)).unwrap_or_default();
    assert!(text("passwd").starts_with(&format!("root:x:0:0::/:/bin/sh\n{me}:x:")), "{}", text("passwd"));
    assert_eq!(text("twin"), "root:x:0:0::/:/bin/sh", "the other name of the file is the image's own");
    assert!(fs::symlink_metadata(etc.join(".bryo-new")).is_err());
    ana.sh("cat victim").succeeds().stdout_is("untouched");
    assert_eq!(fs::metadata(ana.home()).map(|home| home.mode() & 0o7777).unwrap_or(0), 0o700);
    ana.destroy("web");
}

fn with_one_id_root_inside_is_me_already(lab: &Lab) {
    let ana = lab.user("ana");
    ana.write("src/file", "");
    let alone = |command: &str| ana.sh(&format!("setpriv --no-new-privs {command}"));
    alone(&format!("bryo create web {ARCHIVE} --share src:/srv/src"))
        .succeeds()
        .stderr_contains("one id, yours, which is root inside");
    alone("bryo start web").succeeds();
    ana.bryo(["shell", "web"]).reads("touch /srv/src/made; id -u\n").succeeds().stdout_is("0\n");
    assert_eq!(owner(&ana.home().join("src/made")), own_ids(&ana));
    ana.bryo(["idmap", "web"]).succeeds().stdout_contains("a file of yours belongs inside to root");
    ana.bryo(["stop", "-k", "web"]).succeeds();
    alone("bryo destroy web").succeeds();
}

fn a_map_in_the_default_config_is_split_too(lab: &Lab) {
    let ana = lab.user("ana");
    ana.write_config_for_real_lxc();
    let ana = start(lab, &["--me"]);
    let (start, uid) = (ana.account().subuids.start, ana.account().uid);
    let map = inside(&ana, None, "cat /proc/self/uid_map").exits(0).stdout;
    let lines: Vec<String> =
        map.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let rest = uid + 1;
    let expected = [
        format!("0 {start} {uid}"),
        format!("{uid} {uid} 1"),
        format!("{rest} {} {}", start + rest, 65_536 - rest),
    ];
    assert_eq!(lines, expected);
    ana.destroy("web");
}

fn root_of_a_container_with_me_cannot_write_my_programs(lab: &Lab) {
    let ana = lab.user("ana");
    ana.sh("mkdir own && cp -r /run/bryo-lab/prefix/. own/ && chmod -R u+rwX own && chmod u-s own/libexec/bryo/*").succeeds();
    ana.sh("cat own/libexec/bryo/* own/bin/bryo >before").succeeds();
    let attack = "for exe in /proc/[0-9]*/exe; do \
                  (dd if=/dev/zero of=$exe bs=1 count=1 conv=notrunc) 2>&1 | grep -q copied && echo written; done; \
                  readlink /proc/1/exe";
    ana.sh(&format!("own/bin/bryo run --me -u root -- sh -c '{attack}'"))
        .succeeds()
        .stdout_contains("memfd:")
        .stdout_lacks("written");
    ana.sh("cat own/libexec/bryo/* own/bin/bryo | cmp - before && rm before").succeeds();
}

fn a_debian_boots_with_me_as_a_user(lab: &Lab) {
    let ana = lab.user("ana");
    ana.write("src/file", "mine");
    let image = "/run/bryo-lab/rootfs/debian-12.tar.zst";
    ana.bryo(["create", "web", image, "--share", "src:/srv/src"]).seconds(180).succeeds();
    ana.bryo(["start", "web"]).succeeds();
    eventually("systemd is up", || {
        let state = inside(&ana, None, "systemctl is-system-running").stdout;
        matches!(state.trim(), "running" | "degraded")
    });
    let (me, uid) = (&ana.account().login, ana.account().uid);
    inside(&ana, None, &format!("getent passwd {me} && passwd --status {me} && getent gshadow {me}"))
        .exits(0)
        .stdout_contains(&format!("{me}:x:{uid}:{uid}::/home/{me}:/bin/sh\n{me} L "))
        .stdout_contains(&format!("{me}:!::\n"));
    let script = "cat /srv/src/file; touch /srv/src/made ~/made; sudo -n true 2>&1 || id -un\n";
    ana.bryo(["shell", "web"]).reads(script).succeeds().stdout_contains(me).stdout_contains("mine");
    assert_eq!(owner(&ana.home().join("src/made")), own_ids(&ana));
    ana.destroy("web");
}

fn lxc_starts_a_container_with_me(lab: &Lab) {
    let ana = lab.user("ana");
    ana.write_config_for_real_lxc();
    ana.write("src/old", "mine");
    ana.bryo(["create", "web", ARCHIVE, "--share", "src:/srv/my files"]).succeeds();
    ana.open_home_for_real_lxc();
    ana.sh("chmod 711 src").succeeds();
    ana.real_lxc("start", ["-n", "web"]).succeeds();
    let uid = ana.account().uid.to_string();
    let script = "cat '/srv/my files/old' && touch '/srv/my files/new'";
    ana.real_lxc("attach", ["-n", "web", "-u", &uid, "-g", &uid, "--", "sh", "-c", script])
        .succeeds()
        .stdout_is("mine");
    assert_eq!(owner(&ana.home().join("src/new")).0, ana.account().uid);
    ana.real_lxc("stop", ["-n", "web", "-k"]).succeeds();
    eventually("web is stopped", || ana.bryo(["destroy", "web"]).output().status() == 0);
}

fn idmap_tells_who_owns_what_in_words_and_as_json(lab: &Lab) {
    let ana = lab.user("ana");
    ana.bryo(["create", "web", ARCHIVE, "--me"]).succeeds();
    let (me, start) = (ana.account(), ana.account().subuids.start);
    ana.bryo(["idmap", "web"])
        .succeeds()
        .stdout_contains(&format!("0-{} inside are {start}-{} outside", me.uid - 1, start + me.uid - 1))
        .stdout_contains(&format!("{0} inside is {0} outside, you", me.uid))
        .stdout_contains(&format!(
            "a file that root makes belongs outside to user {start} and group {}",
            me.subgids.start
        ))
        .stdout_contains(&format!("a file that {} ({}) makes belongs outside to you", me.login, me.uid))
        .stdout_contains(&format!("a file of yours belongs inside to {} ({})", me.login, me.uid))
        .stdout_contains("/etc/subuid and /etc/subgid grant all of these ids");
    let told = ana.bryo(["idmap", "--json", "web"]).succeeds().json();
    assert_eq!(told["granted"], true);
    assert_eq!(told["me"]["name"], me.login);
    assert_eq!(told["root"]["uid"], start);
    assert_eq!(told["users"][1]["outside"], me.uid);
    ana.destroy("web");
    ana.bryo(["create", "web", ARCHIVE]).succeeds();
    ana.bryo(["idmap", "web"]).succeeds().stdout_contains("bryo remap --me web makes you a user inside");
    assert!(ana.bryo(["idmap", "--json", "web"]).succeeds().json()["me"].is_null());
    ana.destroy("web");
}

fn ids_that_are_no_longer_granted_are_named_with_what_to_do(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    let (config, uids) = (ana.lxcpath().join("web/config"), ana.account().subuids.start);
    let text = fs::read_to_string(&config).unwrap_or_default();
    let lost = text.replace(&format!("lxc.idmap = u 0 {uids} 65536"), "lxc.idmap = u 0 7000000 65536");
    ana.write(&config, &lost);
    let line = "lxc.idmap = u 0 7000000 65536";
    ana.bryo(["start", "web"]).exits(1).stderr_contains(line).stderr_contains("bryo remap web");
    ana.bryo(["idmap", "web"])
        .succeeds()
        .stdout_contains(&format!("{line} is not granted: /etc/subuid gives {} {uids}-", ana.account().login))
        .stdout_contains("bryo remap web");
    let told = ana.bryo(["idmap", "--json", "web"]).succeeds().json();
    assert_eq!(told["not_granted"][0]["line"], "u 0 7000000 65536");
    assert_eq!(told["not_granted"].as_array().map(Vec::len), Some(1));
    ana.bryo(["remap", "web"])
        .exits(1)
        .stderr_contains(line)
        .stderr_contains("only who is granted the old ids")
        .stderr_contains(&format!("sudo usermod --add-subuids 7000000-7065535 {}", ana.account().login));
    assert_eq!(fs::read_to_string(&config).unwrap_or_default(), lost, "a refused remap changes nothing");
    ana.write(&config, &text);
    ana.destroy("web");
}

/// By how much the ids of the containers that are to be shifted are above the start of the range.
const ABOVE: u32 = 1000;
/// How many ids they have.
const COUNT: u32 = 64_000;

/// Makes a container whose map is a part of what is granted, overlapping what it will be shifted to.
fn create_above(user: &User<'_>) {
    let (uids, gids) = (user.account().subuids.start + ABOVE, user.account().subgids.start + ABOVE);
    let lines =
        format!("lxc.idmap = u 0 {uids} {COUNT}\nlxc.idmap = g 0 {gids} {COUNT}\nlxc.net.0.type = empty\n");
    user.write("above.conf", &lines);
    user.bryo(["create", "web", ARCHIVE, "--config", "above.conf"]).succeeds();
    add_acl(user, uids, gids);
}

/// Gives a file an ACL with a user and a group of the container, and a directory one for what is made in it.
fn add_acl(user: &User<'_>, uids: u32, gids: u32) {
    let kept = user.lxcpath().join("web/rootfs/srv/kept");
    let entry = |tag: u16, rights: u16, id: u32| {
        [&tag.to_le_bytes()[..], &rights.to_le_bytes(), &id.to_le_bytes()].concat()
    };
    let none = u32::MAX;
    let list = [
        2u32.to_le_bytes().to_vec(),
        entry(0x01, 6, none),
        entry(0x02, 4, uids + 33),
        entry(0x04, 4, none),
        entry(0x08, 6, gids + 44),
        entry(0x10, 6, none),
        entry(0x20, 0, none),
    ];
    user.set_xattr(&kept.join("plain"), "system.posix_acl_access", &list.concat());
    user.set_xattr(&kept.join("directory"), "system.posix_acl_default", &list.concat());
}

/// A file as the container sees it: owner, group, mode, names, and the attributes that hold ids.
type Seen = (u32, u32, u32, u64, Vec<Vec<u32>>);

/// Looks at all files of web from outside, with a map that begins at these ids.
fn look(user: &User<'_>, uids: u32, gids: u32) -> BTreeMap<String, Seen> {
    let root = user.lxcpath().join("web/rootfs");
    let (mut seen, mut waiting) = (BTreeMap::new(), vec![root.clone()]);
    while let Some(path) = waiting.pop() {
        let found = fs::symlink_metadata(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let ids =
            ["system.posix_acl_access", "system.posix_acl_default", "security.capability"].map(|name| {
                user.xattr(&path, name).map(|value| numbers(&value, name, uids, gids)).unwrap_or_default()
            });
        let inside = |id: u32, start: u32| id.wrapping_sub(start);
        let what =
            (inside(found.uid(), uids), inside(found.gid(), gids), found.mode(), found.nlink(), ids.to_vec());
        seen.insert(path.strip_prefix(&root).unwrap_or(&path).display().to_string(), what);
        if found.is_dir() {
            waiting.extend(fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()));
        }
    }
    seen
}

/// Returns the numbers of an attribute, with ids of the container where it holds any.
fn numbers(value: &[u8], name: &str, uids: u32, gids: u32) -> Vec<u32> {
    let mut words: Vec<u32> =
        value.chunks(4).map(|w| w.iter().rev().fold(0, |n, b| n << 8 | u32::from(*b))).collect();
    if name == "security.capability" {
        words.iter_mut().skip(5).for_each(|root| *root = root.wrapping_sub(uids));
        return words;
    }
    for at in (1..words.len()).step_by(2) {
        match words[at] & 0xffff {
            0x02 => words[at + 1] = words[at + 1].wrapping_sub(uids),
            0x08 => words[at + 1] = words[at + 1].wrapping_sub(gids),
            _ => {}
        }
    }
    words
}

fn look_above(user: &User<'_>) -> BTreeMap<String, Seen> {
    look(user, user.account().subuids.start + ABOVE, user.account().subgids.start + ABOVE)
}

fn look_today(user: &User<'_>) -> BTreeMap<String, Seen> {
    look(user, user.account().subuids.start, user.account().subgids.start)
}

/// Requires that the files are those of before, and that nothing of the shift is left.
fn is_shifted(user: &User<'_>, before: &BTreeMap<String, Seen>) {
    let after = look_today(user);
    for (path, seen) in before {
        assert_eq!(after.get(path), Some(seen), "{path}");
    }
    assert_eq!(after.len(), before.len());
    let left: Vec<_> = fs::read_dir(user.lxcpath().join("web"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.file_name())
        .collect();
    assert_eq!(left.len(), 2, "more is left than config and rootfs: {left:?}");
    let config = fs::read_to_string(user.lxcpath().join("web/config")).unwrap_or_default();
    assert_eq!(config.matches("lxc.idmap").count(), 2, "{config}");
    assert!(config.contains(&format!("lxc.idmap = u 0 {} 65536", user.account().subuids.start)), "{config}");
}

fn remap_keeps_every_property(lab: &Lab) {
    let ana = lab.user("ana");
    create_above(&ana);
    let before = look_above(&ana);
    let (plain, setuid) = (&before["srv/kept/plain"], &before["srv/kept/setuid"]);
    assert_eq!((plain.0, plain.3, setuid.2 & 0o7777), (1000, 2, 0o4750));
    assert_eq!((plain.4[0].len(), before["srv/kept/capable"].4[2].len()), (13, 6));
    ana.bryo(["remap", "web"]).succeeds().stderr_contains("files have other ids now");
    is_shifted(&ana, &before);
    let dir = fs::metadata(ana.lxcpath().join("web")).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(
        (dir.uid(), dir.gid(), dir.mode() & 0o777),
        (ana.account().uid, ana.account().subgids.start, 0o710)
    );
    ana.bryo(["start", "web"]).succeeds();
    inside(&ana, None, "stat -c '%u %a' /srv/kept/setuid").exits(0).stdout_is("0 4750\n");
    ana.bryo(["stop", "-k", "web"]).succeeds();
    ana.bryo(["remap", "web"]).succeeds().stderr_contains("today's already");
    ana.destroy("web");
}

fn remap_changes_nothing_when_it_only_looks(lab: &Lab) {
    let ana = lab.user("ana");
    create_above(&ana);
    let (before, config) = (look_above(&ana), fs::read(ana.lxcpath().join("web/config")).unwrap_or_default());
    let told = ana.bryo(["remap", "--dry-run", "--json", "web"]).succeeds().json();
    assert_eq!(
        told["files"]["changed"],
        before.values().filter(|seen| seen.3 == 1 || seen.2 & 0o170_000 == 0o040_000).count() + 1
    );
    let start = ana.account().subuids.start;
    ana.bryo(["remap", "--dry-run", "web"])
        .succeeds()
        .stdout_contains(&format!("- lxc.idmap = u 0 {} {COUNT}", start + ABOVE))
        .stdout_contains(&format!("+ lxc.idmap = u 0 {start} 65536"));
    assert_eq!(look_above(&ana), before);
    assert_eq!(fs::read(ana.lxcpath().join("web/config")).unwrap_or_default(), config);
    ana.destroy("web");
}

fn remap_makes_me_a_user_of_an_older_container(lab: &Lab) {
    let ana = lab.user("ana");
    let (me, uid) = (ana.account().login.as_str(), ana.account().uid);
    ana.bryo(["create", "web", ARCHIVE]).succeeds();
    // What a user of this id has made before belongs to a subordinate id; others are not touched.
    let rootfs = ana.lxcpath().join("web/rootfs");
    let (old, other) = (rootfs.join("srv/old"), rootfs.join("srv/kept/plain"));
    fs::write(&old, "old").unwrap_or_else(|e| panic!("{e}"));
    let ids = (ana.account().subuids.start + uid, ana.account().subgids.start + ana.account().gid);
    chown(&old, Some(ids.0), Some(ids.1)).unwrap_or_else(|e| panic!("{e}"));
    let others = owner(&other);
    ana.bryo(["remap", "--me", "web"]).succeeds().stderr_contains(&format!("you are {me} ({uid}) inside"));
    assert_eq!((owner(&old), owner(&other)), (own_ids(&ana), others));
    ana.bryo(["start", "web"]).succeeds();
    ana.bryo(["shell", "web"])
        .reads("id -un; pwd; cat /srv/old\n")
        .succeeds()
        .stdout_is(format!("{me}\n/home/{me}\nold"));
    ana.bryo(["stop", "-k", "web"]).succeeds();
    ana.bryo(["remap", "--me", "web"]).succeeds().stderr_contains("today's already");
    ana.destroy("web");
}

fn a_copy_of_an_older_container_gives_me_the_files_of_my_id(lab: &Lab) {
    let ana = lab.user("ana");
    ana.bryo(["create", "old", ARCHIVE]).succeeds();
    let file = ana.lxcpath().join("old/rootfs/srv/mine");
    let ids =
        (ana.account().subuids.start + ana.account().uid, ana.account().subgids.start + ana.account().gid);
    fs::write(&file, "")
        .and_then(|()| chown(&file, Some(ids.0), Some(ids.1)))
        .unwrap_or_else(|e| panic!("{e}"));
    ana.bryo(["create", "web", "--me", "./.local/share/lxc/old/rootfs"]).succeeds();
    ana.bryo(["create", "third", "--me", "./.local/share/lxc/web/rootfs"]).succeeds();
    for copy in ["web", "third"] {
        let rootfs = ana.lxcpath().join(copy).join("rootfs");
        assert_eq!(owner(&rootfs.join("srv/mine")), own_ids(&ana), "{copy}");
        assert_eq!(owner(&rootfs.join("etc/passwd")).0, ana.account().subuids.start, "{copy}");
        assert_eq!(owner(&rootfs.join("srv/kept/plain")).0, ana.account().subuids.start + 1000, "{copy}");
    }
    ["old", "web", "third"].iter().for_each(|name| drop(ana.destroy(name)));
}

fn remap_gives_a_container_of_one_id_a_range(lab: &Lab) {
    let ana = lab.user("ana");
    ana.sh(&format!("setpriv --no-new-privs bryo create web {ARCHIVE}")).succeeds();
    ana.bryo(["remap", "web"]).succeeds();
    assert_eq!(owner(&ana.lxcpath().join("web/rootfs/etc/passwd")).0, ana.account().subuids.start);
    ana.bryo(["start", "web"]).succeeds();
    inside(&ana, None, "chown 5:5 /srv/kept/plain").exits(0);
    ana.destroy("web");
}

fn remap_of_a_running_container_is_refused(lab: &Lab) {
    let ana = lab.user("ana");
    create_above(&ana);
    ana.bryo(["start", "web"]).succeeds();
    ana.bryo(["remap", "web"]).exits(1).stderr_contains("web is running").stderr_contains("bryo stop web");
    inside(&ana, None, "touch /srv/still-there").exits(0);
    ana.destroy("web");
}

fn a_file_whose_id_has_no_place_stops_a_remap_before_it_begins(lab: &Lab) {
    let ana = lab.user("ana");
    let (uids, gids) = (ana.account().subuids.start, ana.account().subgids.start);
    // The second line has more ids inside than today's map.
    let lines = format!(
        "lxc.idmap = u 0 {uids} 1000\nlxc.idmap = u 70000 {0} 1000\nlxc.idmap = g 0 {gids} 65536\n",
        uids + 1000
    );
    ana.write("odd.conf", &lines);
    ana.bryo(["create", "web", "-t", "busybox", "--config", "odd.conf"]).succeeds();
    let file = ana.lxcpath().join("web/rootfs/root/file");
    fs::write(&file, "").unwrap_or_else(|e| panic!("{e}"));
    chown(&file, Some(uids + 1005), Some(gids)).unwrap_or_else(|e| panic!("{e}"));
    for options in [&["remap", "web"][..], &["remap", "--dry-run", "web"]] {
        ana.bryo(options).exits(1).stderr_contains("/root/file belongs to user 70005");
    }
    assert_eq!(owner(&file).0, uids + 1005);
    ana.bryo(["start", "web"]).succeeds();
    ana.destroy("web");
}

/// The calls with which a remap goes from one step to the next, and how often it makes them. strace counts each by itself.
const STEPS: [(&str, u32); 4] = [("renameat", 4), ("fsync", 2), ("syncfs", 1), ("unlinkat", 3)];

fn a_remap_that_is_killed_before_any_step_is_finished_by_the_next(lab: &Lab) {
    let ana = lab.user("ana");
    let (mut killed, mut interrupted) = (0, 0);
    for (call, count) in STEPS {
        for time in 1..=count {
            create_above(&ana);
            let before = look_above(&ana);
            let step = format!("{call}:signal=KILL:when={time}");
            killed += u32::from(ana.bryo(["remap", "web"]).inject(&step).output().status() == 137);
            if ana.lxcpath().join("web/rootfs.remap").exists() {
                interrupted += 1;
                ana.bryo(["start", "web"]).exits(1).stderr_contains("bryo remap web");
            }
            ana.bryo(["remap", "web"]).succeeds();
            is_shifted(&ana, &before);
            ana.destroy("web");
        }
    }
    let all: u32 = STEPS.iter().map(|(_, count)| count).sum();
    assert_eq!(killed, all, "some steps are not reached");
    assert!(
        interrupted >= 5,
        "only {interrupted} of {killed} kills came between the first step and the last"
    );
}

/// Takes setuid bit and file capabilities off, as the kernel does when a remap is killed right after a change of owner.
fn lose_rights(user: &User<'_>) {
    for name in ["setuid", "capable"] {
        let file = user.lxcpath().join("web/rootfs.remap/srv/kept").join(name);
        chown(&file, None, Some(owner(&file).1)).unwrap_or_else(|e| panic!("{e}"));
        let mode = fs::metadata(&file).map(|found| found.mode() & 0o4000);
        assert_eq!(
            (mode.ok(), user.xattr(&file, "security.capability")),
            (Some(0), None),
            "{name} keeps its rights"
        );
    }
}

/// Makes a container whose shift stops in the middle, at a file that nobody may change, and returns what it was. The root
/// directory comes first.
fn half_shifted(user: &User<'_>) -> BTreeMap<String, Seen> {
    create_above(user);
    let before = look_above(user);
    let immutable = |option: &str, root: &str| {
        let file = user.lxcpath().join("web").join(root).join("srv/kept/plain");
        let done = Command::new("chattr").arg(option).arg(&file).status();
        assert!(done.is_ok_and(|status| status.success()), "chattr {option} {}", file.display());
    };
    immutable("+i", "rootfs");
    let stopped = user.bryo(["remap", "web"]).output();
    immutable("-i", "rootfs.remap");
    lose_rights(user);
    stopped.exits(1).stderr_contains("shifting /srv/kept/").stderr_contains("web does not start until");
    let owner_of = |path: &str| owner(&user.lxcpath().join("web/rootfs.remap").join(path)).0;
    let start = user.account().subuids.start;
    assert_eq!(
        (owner_of(""), owner_of("srv/kept/plain")),
        (start, start + ABOVE + 1000),
        "root and the file"
    );
    before
}

fn a_half_shifted_container_does_not_start_and_is_finished_by_the_next_remap(lab: &Lab) {
    let ana = lab.user("ana");
    let before = half_shifted(&ana);
    ana.bryo(["start", "web"]).exits(1).stderr_contains("bryo remap web finishes it");
    ana.lxc("start", ["-n", "web"]).exits(1);
    ana.bryo(["execute", "web", "--", "true"]).exits(125).stderr_contains("bryo remap web");
    ana.bryo(["idmap", "web"]).succeeds().stdout_contains("bryo remap web finishes");
    ana.bryo(["remap", "--dry-run", "web"]).exits(1);
    ana.bryo(["ls"]).succeeds().stdout_contains("STOPPED");
    ana.bryo(["remap", "web"]).succeeds();
    is_shifted(&ana, &before);
    ana.bryo(["start", "web"]).succeeds();
    ana.destroy("web");
}

fn lxc_does_not_start_a_half_shifted_container(lab: &Lab) {
    let ana = lab.user("ana");
    half_shifted(&ana);
    ana.open_home_for_real_lxc();
    let refused = ana.real_lxc("start", ["-n", "web"]).seconds(30).output();
    assert!(refused.status() != 0, "lxc-start claims success");
    // LXC's monitor outlives a start that fails by a moment.
    eventually("web is LXC's no more", || ana.bryo(["remap", "web"]).output().status() == 0);
    ana.real_lxc("start", ["-n", "web"]).succeeds();
    ana.real_lxc("stop", ["-n", "web", "-k"]).succeeds();
    eventually("web is stopped", || ana.bryo(["destroy", "web"]).output().status() == 0);
}

fn a_half_shifted_container_can_be_destroyed(lab: &Lab) {
    let ana = lab.user("ana");
    half_shifted(&ana);
    ana.bryo(["destroy", "web"]).succeeds();
    assert!(!ana.lxcpath().join("web").exists(), "something of it is left");
}
