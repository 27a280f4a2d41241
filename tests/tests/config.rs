//! `bryo config`, `bryo check` and LXC's tools about files: reading and changing configurations without starting anything.

use tests::{Lab, User};

tests::claims! {
    the_manual_pages_lie_where_man_looks: hybrid, needs Bryo;
    a_key_is_set_read_and_unset_and_comments_stay: hybrid cell, needs Bryo;
    a_value_that_a_key_does_not_take_changes_nothing: hybrid cell, needs Bryo;
    what_is_included_is_named_with_its_line: hybrid cell, needs Bryo;
    an_editor_changes_the_file_and_what_is_wrong_is_not_saved: hybrid cell, needs Bryo;
    what_the_editor_wrote_is_kept_when_it_is_not_saved: hybrid cell, needs Bryo;
    a_change_of_a_running_container_holds_from_the_next_start_on: hybrid, needs Bryo, not cell INIT;
    a_check_tells_of_all_containers_what_becomes_of_them: hybrid, needs Bryo, not cell INIT;
    a_check_starts_and_leaves_nothing: hybrid, needs Bryo, not cell INIT;
    the_items_of_lxc_conf_are_printed: hybrid cell;
    an_old_configuration_is_updated_with_a_backup: hybrid cell;
    containers_are_where_lxc_conf_says: hybrid cell;
    a_new_container_begins_with_the_default_configuration: hybrid cell;
    settings_are_listed_with_the_file_that_sets_them: hybrid cell, needs Bryo;
    a_setting_that_does_not_exist_is_refused_with_its_line: hybrid cell, needs Bryo;
    containers_are_where_the_settings_say: hybrid cell, needs Bryo;
    images_of_the_settings_are_used: hybrid cell, needs Bryo;
    times_of_the_settings_are_kept: hybrid, needs Bryo, not cell INIT;
    colours_are_used_as_the_settings_say: hybrid cell, needs Bryo;
    the_key_of_the_settings_leaves_a_console: hybrid, needs Bryo, not cell INIT;
}

const CONFIG: &str = ".local/share/lxc/web/config";

fn text(user: &User<'_>, file: &str) -> String {
    user.sh(&format!("cat {file}")).succeeds().stdout
}

/// As the installation of the lab's programs has left them.
fn the_manual_pages_lie_where_man_looks(_: &Lab) {
    let pages = tests::subject::prefix().join("share/man");
    for (page, begins) in [
        ("man5/bryo.container.conf.5", ".TH BRYO.CONTAINER.CONF 5"),
        ("man1/bryo-start.1", ".ie"),
        ("man1/lxc-start.1", ".TH LXC-START 1"),
    ] {
        let text = std::fs::read_to_string(pages.join(page)).unwrap_or_else(|e| panic!("{page}: {e}"));
        assert!(text.starts_with(begins), "{page} begins with {:?}", text.lines().next());
    }
}

fn a_key_is_set_read_and_unset_and_comments_stay(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    ana.append(CONFIG, "# kept\nlxc.cgroup2.pids.max = 9\n");
    let before = text(&ana, CONFIG);
    ana.bryo(["config", "set", "web", "lxc.cgroup2.pids.max", "12"]).succeeds().stdout_is("");
    assert_eq!(text(&ana, CONFIG), before.replace("pids.max = 9", "pids.max = 12"));
    ana.bryo(["config", "get", "web", "lxc.cgroup2.pids.max"]).succeeds().stdout_is("12\n");
    ana.bryo(["config", "unset", "web", "lxc.cgroup2.pids.max"]).succeeds();
    assert_eq!(text(&ana, CONFIG), before.replace("lxc.cgroup2.pids.max = 9\n", ""));
    for group in ["a", "b"] {
        ana.bryo(["config", "set", "web", "lxc.group", group]).succeeds();
    }
    ana.bryo(["config", "get", "web", "lxc.group"]).succeeds().stdout_is("a\nb\n");
    ana.bryo(["config", "unset", "web", "lxc.group", "a"]).succeeds();
    ana.bryo(["config", "get", "web", "--json", "lxc.group"])
        .succeeds()
        .stdout_is("{\n  \"lxc.group\": [\n    \"b\"\n  ]\n}\n");
    ana.destroy("web");
}

fn a_value_that_a_key_does_not_take_changes_nothing(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    let before = text(&ana, CONFIG);
    ana.bryo(["config", "set", "web", "lxc.autodev", "yes"]).exits(1).stderr_contains("write 1");
    ana.bryo(["config", "set", "web", "lxc.uts.nmae", "a"]).exits(1).stderr_contains("write lxc.uts.name");
    ana.bryo(["config", "set", "web", "lxc.uts.name", "a\nlxc.hook.pre-start = id"]).exits(1);
    ana.bryo(["config", "unset", "web", "lxc.sched.core"]).exits(1).stderr_contains("no line lxc.sched.core");
    assert_eq!(text(&ana, CONFIG), before);
    ana.bryo(["config", "get", "nowhere"]).exits(1).stderr_contains("no container nowhere");
    ana.destroy("web");
}

fn what_is_included_is_named_with_its_line(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    ana.write("more.conf", "# c\nlxc.signal.stop = SIGTERM\n");
    let more = ana.home().join("more.conf").display().to_string();
    ana.append(CONFIG, &format!("lxc.include = {more}\n"));
    ana.bryo(["config", "explain", "web", "lxc.signal.stop"])
        .succeeds()
        .stdout_contains(&format!("{more}:2: SIGTERM"))
        .stdout_contains("once called  lxc.stopsignal");
    ana.bryo(["config", "explain", "web"]).succeeds().stdout_contains("lxc.uts.name = web    (config:");
    ana.bryo(["config", "unset", "web", "lxc.signal.stop"]).exits(1).stderr_contains(&format!("{more}:2"));
    ana.bryo(["config", "set", "web", "lxc.signal.stop", "SIGINT"]).succeeds();
    ana.bryo(["config", "get", "web", "lxc.signal.stop"]).succeeds().stdout_is("2\n");
    let left = ana.bryo(["config", "unset", "web", "lxc.signal.stop"]).succeeds();
    left.stderr_contains(&format!("still set by {more}:2"));
    ana.bryo(["config", "set", "web", "lxc.signal.stop", ""]).succeeds();
    ana.bryo(["config", "get", "web", "lxc.signal.stop"]).succeeds().stdout_is("0\n");
    ana.destroy("web");
}

fn an_editor_changes_the_file_and_what_is_wrong_is_not_saved(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    let before = text(&ana, CONFIG);
    let edit = |by: &str| ana.bryo(["config", "edit", "web"]).env("VISUAL", format!("sed -i {by}"));
    edit("'s/^lxc.uts.name = .*/lxc.uts.name = other/'").succeeds();
    assert_eq!(text(&ana, CONFIG), before.replace("lxc.uts.name = web", "lxc.uts.name = other"));
    edit("--bogus").exits(1).stderr_contains("the editor");
    edit("''").succeeds().stderr_contains("nothing has changed");
    ana.bryo(["config", "get", "web", "lxc.uts.name"]).succeeds().stdout_is("other\n");
    // Her own: in a cell the directory is everybody's.
    ana.sh("ls -A .local/share/lxc/web; find /tmp -maxdepth 1 -name 'bryo-config*' -user $(id -u)")
        .succeeds()
        .stdout_is("config\nrootfs\n");
    let wrong = edit("'s/^lxc.uts.name/lxc.uts.nam/'").exits(1).stderr_contains("write lxc.uts.name");
    let kept = draft(&wrong.stderr);
    ana.sh(&format!("rm -r $(dirname {kept})")).succeeds();
    ana.destroy("web");
}

/// The path of the draft that an edit says it has kept.
fn draft(said: &str) -> String {
    let kept = said.lines().find_map(|line| Some(line.split_once("your text is kept in ")?.1.trim()));
    kept.unwrap_or_else(|| panic!("no draft is named:\n{said}")).to_owned()
}

fn what_the_editor_wrote_is_kept_when_it_is_not_saved(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    let before = text(&ana, CONFIG);
    let edit = |by: &str| {
        ana.write("editor", &format!("#!/bin/sh\ncd\n{by}\n"));
        ana.sh("chmod +x editor").succeeds();
        ana.bryo(["config", "edit", "web"]).env("VISUAL", ana.home().join("editor").display().to_string())
    };
    let changed = before.replace("lxc.uts.name = web", "lxc.uts.nam = web");
    let sed = |by: &str| format!("sed -i 's/^lxc.uts.name/lxc.uts.nam/' \"$1\"; {by}");
    let is_kept = |said: &str, wanted: &str| {
        let kept = draft(said);
        ana.sh(&format!("for file in {kept} $(dirname {kept}); do test -O $file && stat -c %a $file; done"))
            .succeeds()
            .stdout_is("600\n700\n");
        assert_eq!(text(&ana, &kept), wanted);
        assert_eq!(text(&ana, CONFIG), before);
        ana.sh(&format!("rm -r $(dirname {kept})")).succeeds();
        kept
    };
    // With nobody to ask.
    let names = [1, 2].map(|_| is_kept(&edit(&sed("true")).exits(1).stderr, &changed));
    assert_ne!(names[0], names[1], "the name of the draft can be foreseen");
    // With "n".
    let mut terminal = edit(&sed("true")).in_terminal(24, 200);
    terminal.shows("edit again? [Y/n]").types("n\n");
    let said = terminal.everything();
    terminal.exits(1);
    is_kept(&said, &changed);
    // With ^C in the editor.
    let mut terminal = edit(&sed("echo wrote it; sleep 60")).in_terminal(24, 200);
    terminal.shows("wrote it").types("\u{3}");
    let said = terminal.everything();
    terminal.exits(1);
    is_kept(&said, &changed);
    // By an editor that gives up after it has written.
    is_kept(&edit(&sed("exit 3")).exits(1).stderr, &changed);
    // Where the file cannot be written.
    let hostname = "sed -i 's/^lxc.uts.name.*/lxc.uts.name = other/' \"$1\"; chmod 500 .local/share/lxc/web";
    let unsaved = edit(hostname).exits(1).stderr_contains("writing ");
    ana.sh("chmod 710 .local/share/lxc/web").succeeds();
    is_kept(&unsaved.stderr, &before.replace("lxc.uts.name = web", "lxc.uts.name = other"));
    ana.destroy("web");
}

fn a_change_of_a_running_container_holds_from_the_next_start_on(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    ana.bryo(["start", "web"]).succeeds();
    ana.bryo(["config", "set", "web", "lxc.uts.name", "other"]).succeeds().stderr_contains("next start");
    ana.bryo(["exec", "web", "--", "hostname"]).succeeds().stdout_is("web\n");
    ana.bryo(["restart", "web"]).seconds(120).succeeds();
    ana.bryo(["exec", "web", "--", "hostname"]).succeeds().stdout_is("other\n");
    ana.destroy("web");
}

fn a_check_tells_of_all_containers_what_becomes_of_them(lab: &Lab) {
    let ana = lab.user("ana");
    for name in ["a", "b", "c", "web"] {
        ana.busybox(name);
    }
    ana.append(".local/share/lxc/b/config", "lxc.monitor.unshare = 1\n");
    ana.append(".local/share/lxc/c/config", "lxc.mount.entry = /nowhere mnt none bind 0 0\n");
    ana.append(CONFIG, "lxc.uts.nam = a\n");
    let told = ana.bryo(["check"]).exits(1).stdout;
    assert!(told.ends_with("1 starts as it is, 1 with notes, 2 cannot: c, web\n"), "{told}");
    for piece in ["lxc.monitor.unshare", "/nowhere is not there", "write lxc.uts.name", "web/config:"] {
        assert!(told.contains(piece), "no {piece} in\n{told}");
    }
    ana.bryo(["check", "a"]).succeeds().stdout_is("a starts as it is\n");
    ana.bryo(["config", "check", "b"]).succeeds().stdout_contains("b starts, with a note");
    let json = ana.bryo(["check", "--all", "--json"]).exits(1).stdout;
    let json: serde_json::Value = serde_json::from_str(&json).expect("the check prints JSON");
    assert_eq!(
        (&json["as_they_are"], &json["with_notes"], &json["cannot"]),
        (&1.into(), &1.into(), &2.into())
    );
    assert_eq!(json["containers"][2]["starts"], false);
    // What a check says is what a start does.
    ana.bryo(["start", "a"]).succeeds();
    ana.bryo(["start", "c"]).exits(1).stderr_contains("/nowhere");
    for name in ["a", "b", "c", "web"] {
        ana.destroy(name);
    }
}

fn a_check_starts_and_leaves_nothing(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    ana.append(CONFIG, "lxc.hook.pre-start = /bin/touch /tmp/bryo-check-ran\n");
    let listed = ana.sh("ls -lAR --time-style=full-iso .local/share/lxc/web | head -5").succeeds().stdout;
    ana.bryo(["check"]).succeeds();
    ana.sh("[ ! -e /tmp/bryo-check-ran ]").succeeds();
    ana.sh("ls -lAR --time-style=full-iso .local/share/lxc/web | head -5").succeeds().stdout_is(&listed);
    ana.destroy("web");
}

/// The real tool prints the same.
fn the_items_of_lxc_conf_are_printed(lab: &Lab) {
    let ana = lab.user("ana");
    let home = ana.home().display().to_string();
    let items = "lxc.default_config\nlxc.lxcpath\nlxc.bdev.lvm.vg\nlxc.bdev.lvm.thin_pool\nlxc.bdev.zfs.root\n\
                 lxc.cgroup.use\nlxc.cgroup.pattern\n";
    ana.lxc("config", ["-l"]).succeeds().stdout_is(items);
    ana.lxc("config", ["lxc.lxcpath"]).succeeds().stdout_is(format!("{home}/.local/share/lxc\n"));
    ana.lxc("config", ["lxc.cgroup.use"]).succeeds().stdout_is("lxc.cgroup.use is not set.\n");
    ana.lxc("config", ["lxc.cg"]).succeeds().stdout_is("lxc.cg is not set.\n");
    ana.lxc("config", ["bogus"]).exits(1).stdout_is("Unknown configuration item: bogus\n");
    ana.lxc("config", [""; 0]).succeeds().stdout_contains("Usage: lxc-config -l");
    ana.write(".config/lxc/lxc.conf", "lxc.bdev.zfs.root = pool\nlxc.default_config = /x\n");
    ana.lxc("config", ["lxc.bdev.zfs.root"]).succeeds().stdout_is("pool\n");
    ana.lxc("config", ["lxc.default_config"]).succeeds().stdout_is("/x\n");
}

fn an_old_configuration_is_updated_with_a_backup(lab: &Lab) {
    let ana = lab.user("ana");
    let old = "# old\nlxc.rootfs = /srv/a\nlxc.utsname = a\nlxc.network.type = empty\nlxc.kmsg = 0\n";
    ana.write("old", old);
    ana.lxc("update-config", ["-c", "old"]).succeeds();
    let new = "# old\nlxc.rootfs.path = dir:/srv/a\nlxc.uts.name = a\nlxc.net.0.type = empty\n";
    assert_eq!((text(&ana, "old").as_str(), text(&ana, "old.backup").as_str()), (new, old));
    ana.lxc("update-config", ["-c", "nowhere"]).exits(1);
    ana.lxc("update-config", ["--help"]).succeeds().stdout_contains("lxc-update-config -h|--help");
}

fn containers_are_where_lxc_conf_says(lab: &Lab) {
    let ana = lab.user("ana");
    let elsewhere = ana.home().join("elsewhere").display().to_string();
    ana.write(".config/lxc/lxc.conf", &format!("# mine\nlxc.lxcpath = {elsewhere}\n"));
    ana.busybox("web");
    ana.sh("ls elsewhere; ls .local/share/lxc 2>/dev/null | wc -l").succeeds().stdout_is("web\n0\n");
    ana.lxc("ls", ["-1"]).succeeds().stdout_is("web\n");
    ana.destroy("web");
}

fn a_new_container_begins_with_the_default_configuration(lab: &Lab) {
    let ana = lab.user("ana");
    let ids: String = text(&ana, ".config/lxc/default.conf");
    ana.write("mine.conf", &format!("{ids}lxc.group = mine\n"));
    let mine = ana.home().join("mine.conf").display().to_string();
    ana.write(".config/lxc/lxc.conf", &format!("lxc.default_config = {mine}\n"));
    ana.busybox("web");
    ana.lxc("info", ["-n", "web", "-c", "lxc.group"]).succeeds().stdout_is("lxc.group = mine\n\n");
    ana.destroy("web");
}

const SETTINGS: &str = ".config/bryo/config.toml";

/// Gives the host a file of settings.
fn system_says(text: &str) -> String {
    format!(
        "mount -t tmpfs none /mnt && cp -a /etc/. /mnt && mkdir /mnt/bryo && mount --move /mnt /etc && \
         printf '{text}' >/etc/bryo/config.toml"
    )
}

fn settings_are_listed_with_the_file_that_sets_them(lab: &Lab) {
    let ana = lab.user("ana");
    let home = ana.home().display().to_string();
    ana.write(SETTINGS, "[stop]\ntimeout = 5\n");
    let listed = ana.bryo(["config", "--settings", "--json"]).succeeds().json();
    let of = |name: &str| {
        let all = listed.as_array().expect("a list");
        all.iter().find(|one| one["name"] == name).expect("the setting is listed").clone()
    };
    assert_eq!(of("stop.timeout")["value"], "5");
    assert_eq!(of("stop.timeout")["file"], format!("{home}/{SETTINGS}"));
    assert_eq!(of("lxcpath")["value"], format!("{home}/.local/share/lxc"));
    assert!(of("lxcpath")["file"].is_null() && of("run.timeout")["value"].is_null());
    ana.write(".config/lxc/lxc.conf", "lxc.lxcpath = /srv/x\n");
    let text = ana.bryo(["config", "--settings"]).succeeds();
    text.stdout_contains(&format!("lxcpath          /srv/x    ({home}/.config/lxc/lxc.conf)"));
}

fn a_setting_that_does_not_exist_is_refused_with_its_line(lab: &Lab) {
    let ana = lab.user("ana");
    ana.write(SETTINGS, "# mine\n[run]\ntimeot = 5\n");
    let refused = ana.bryo(["ls"]).exits(1);
    refused.stderr_contains("config.toml:3:1: there is no setting 'timeot'").stderr_contains("write timeout");
    ana.bryo(["run", "--", "true"]).exits(125);
    ana.lxc("ls", [""; 0]).exits(1).stderr_contains("timeot");
}

/// Options count most, then the user's settings, the user's lxc.conf, the system's settings.
fn containers_are_where_the_settings_say(lab: &Lab) {
    let ana = lab.user("ana");
    let home = ana.home().display().to_string();
    let said = |ana: &User<'_>, options: &[&str], amid: &str| {
        let words = [&["config", "--settings", "--json"], options].concat();
        let listed = ana.bryo(words).amid(amid).succeeds().json();
        listed[0]["value"].as_str().expect("a path").to_owned()
    };
    let system = system_says("lxcpath = \"/srv/system\"\\n");
    assert_eq!(said(&ana, &[], &system), "/srv/system");
    ana.write(".config/lxc/lxc.conf", "lxc.lxcpath = /srv/lxc\n");
    assert_eq!(said(&ana, &[], &system), "/srv/lxc");
    ana.write(SETTINGS, "lxcpath = \"~/mine\"\n");
    assert_eq!(said(&ana, &[], &system), format!("{home}/mine"));
    assert_eq!(said(&ana, &["-P", "/srv/option"], &system), "/srv/option");
    ana.busybox("web");
    ana.sh("ls mine").succeeds().stdout_is("web\n");
    ana.lxc("config", ["lxc.lxcpath"]).succeeds().stdout_is(format!("{home}/mine\n"));
    ana.destroy("web");
}

fn images_of_the_settings_are_used(lab: &Lab) {
    let ana = lab.user("ana");
    let image = "/run/bryo-lab/rootfs/busybox.tar.xz";
    // With none, this machine's own distribution is asked for, of a server that nobody is.
    let server = "image.server = \"http://127.0.0.1:1\"\n";
    ana.write(SETTINGS, server);
    let lacking = ana.bryo(["create", "web"]).exits(125).stderr_contains("since no image is named");
    lacking.stderr_contains("bryo create web -t busybox");
    ana.write(SETTINGS, &format!("{server}create.image = \"{image}\"\nrun.image = \"{image}\"\n"));
    ana.bryo(["create", "web"]).seconds(120).succeeds();
    ana.sh("[ -x .local/share/lxc/web/rootfs/bin/busybox ]").succeeds();
    // The machine's own programs are not busybox alone.
    ana.bryo(["run", "--", "readlink", "/bin/ls"]).seconds(120).succeeds().stdout_contains("busybox");
    ana.destroy("web");
}

fn times_of_the_settings_are_kept(lab: &Lab) {
    let ana = lab.user("ana");
    ana.write(SETTINGS, "[run]\ntimeout = 2\n[stop]\ntimeout = 1\n");
    ana.bryo(["run", "--", "sleep", "1000"]).seconds(120).exits(124).stderr_contains("2 s are over");
    ana.busybox("web");
    // An init that hears of no halt.
    ana.append(CONFIG, "lxc.init.cmd = /bin/sleep 1000\n");
    ana.bryo(["start", "web"]).succeeds();
    // Without the setting it would be 60 s.
    ana.bryo(["stop", "web"]).seconds(50).succeeds();
    ana.destroy("web");
}

fn colours_are_used_as_the_settings_say(lab: &Lab) {
    let ana = lab.user("ana");
    let complaint = |ana: &User<'_>| ana.bryo(["start", "nowhere"]).exits(1).stderr;
    assert!(!complaint(&ana).contains('\x1b'), "colours without a terminal");
    ana.write(SETTINGS, "color = \"always\"\n");
    assert!(complaint(&ana).contains('\x1b'), "no colours although they are asked for");
}

fn the_key_of_the_settings_leaves_a_console(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    ana.write(SETTINGS, "console.escape = \"b\"\n");
    ana.bryo(["start", "web"]).succeeds();
    let mut terminal = ana.bryo(["console", "web", "-t", "0"]).in_terminal(24, 80);
    terminal.shows("Type <Ctrl+b q> to exit");
    terminal.types("\x02q");
    terminal.exits(0);
    ana.destroy("web");
}
