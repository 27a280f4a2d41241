//! Making containers: from directories and archives, with every property of every file kept; and unmaking them.

use std::fs;

use tests::{Lab, User};

tests::claims! {
    the_local_template_keeps_every_property: hybrid, not cell ONE_ID;
    a_directory_keeps_every_property: hybrid, needs Bryo, not cell ONE_ID;
    a_tar_keeps_every_property: hybrid, needs Bryo, not cell ONE_ID;
    a_tar_gz_keeps_every_property: hybrid, needs Bryo, not cell ONE_ID;
    a_tar_xz_keeps_every_property: hybrid, needs Bryo, not cell ONE_ID;
    a_tar_zst_keeps_every_property: hybrid, needs Bryo, not cell ONE_ID;
    what_create_made_starts: hybrid unified, needs Bryo, not cell INIT;
    an_archive_that_is_none_leaves_nothing: hybrid cell, needs Bryo;
    an_archive_cut_short_leaves_nothing: hybrid cell, needs Bryo;
    what_was_there_before_is_not_removed: hybrid cell, needs Bryo;
    a_name_with_a_slash_is_refused: hybrid cell;
    a_create_that_is_killed_is_removed_by_the_next_command: hybrid cell, needs Bryo;
    directories_that_are_no_containers_stay: hybrid, needs Bryo;
    no_directory_is_left_by_a_create_or_destroy_that_is_killed: hybrid, needs Bryo Strace, not cell STRACE;
    template_none_writes_the_default_config: hybrid cell;
    the_id_map_is_written_into_the_config: hybrid, not cell ONE_ID;
    nobody_else_can_reach_the_files_of_a_container: hybrid cell;
    destroy_does_not_follow_links: hybrid, not cell INIT;
    a_tar_bz2_keeps_every_property: hybrid, needs Bryo, not cell ONE_ID;
    a_squashfs_is_unpacked_by_the_hosts_program: hybrid cell, needs Bryo Squashfs;
    a_hostile_squashfs_leaves_nothing: hybrid cell, needs Bryo Squashfs;
    standard_input_is_an_archive_too: hybrid cell, needs Bryo;
    what_metadata_says_of_files_is_done_and_no_more: hybrid, not cell ONE_ID;
    a_debian_of_packages_boots: hybrid, needs Bryo Packages, not cell SYSTEMD;
    packages_that_cannot_be_had_leave_nothing: hybrid cell, needs Bryo Packages;
    without_a_static_busybox_the_distributions_package_is_fetched: hybrid cell, needs Bryo Packages;
    another_architecture_needs_an_interpreter_that_containers_find: hybrid cell, needs Bryo Packages;
    lxcs_own_template_makes_a_container_that_starts: hybrid unified, needs Lxc, not cell INIT;
    a_template_is_given_what_lxc_gives_it: hybrid cell, needs Bryo;
    a_hostile_template_gets_nothing_of_the_user_and_leaves_nothing: hybrid cell, needs Bryo;
    a_template_that_fails_leaves_nothing: hybrid cell, needs Bryo;
    a_template_with_the_callers_own_id_reaches_nothing_of_the_callers: hybrid, needs Bryo;
    a_template_in_a_closed_directory_runs: hybrid cell, needs Bryo;
    what_the_default_config_limits_no_template_and_no_image_lifts: hybrid, needs Bryo;
    a_fifo_of_an_image_is_nothing_to_wait_for: hybrid, needs Bryo;
    a_squashfs_of_the_callers_alone_is_unpacked: hybrid, needs Bryo Squashfs;
    what_metadata_leaves_out_stays_out_of_every_form: hybrid, needs Bryo Squashfs;
    metadata_of_too_many_lines_is_refused: hybrid, needs Bryo;
}

/// What `stat` and its kin say of the files that the busybox root file system has for this, in busybox' words.
const KEPT: &str = "\
plain 640 1000:1000 links=2 mtime=1000000000
hard-link 640 1000:1000 links=2 mtime=1000000000
setuid 4750 0:1000 links=1
directory 2775 1000:1000 mtime=1000000000
fifo p
soft-link -> plain
long
";

/// Prints, inside the container, the lines of [`KEPT`].
const LOOK: &str = r#"cd /srv/kept
for file in plain hard-link; do stat -c "$file %a %u:%g links=%h mtime=%Y" $file; done
stat -c 'setuid %a %u:%g links=%h' setuid
stat -c 'directory %a %u:%g mtime=%Y' directory
test -p fifo && echo fifo p
echo "soft-link -> $(readlink soft-link)"
cat a-name-*/a-name-*
"#;

fn bryo_create<'lab>(lab: &'lab Lab, source: &str) -> User<'lab> {
    let ana = lab.user("ana");
    ana.bryo(["create", "web", &format!("/run/bryo-lab/rootfs/{source}")]).succeeds();
    ana
}

/// Requires that everything in `/srv/kept` came through, then destroys the container.
fn keeps_every_property(ana: &User<'_>) {
    ana.lxc("start", ["-n", "web"]).succeeds();
    ana.lxc("attach", ["-n", "web", "--", "sh", "-c", LOOK]).succeeds().stdout_is(KEPT);
    ana.lxc("stop", ["-n", "web", "-k"]).succeeds();
    let kept = ana.lxcpath().join("web/rootfs/srv/kept");
    assert_eq!(ana.xattr(&kept.join("plain"), "user.note"), Some(b"kept".to_vec()));
    let capability = ana.xattr(&kept.join("capable"), "security.capability");
    assert!(capability.is_some_and(|bytes| bytes.len() >= 20), "the file capability is lost");
    ana.destroy("web");
}

fn the_local_template_keeps_every_property(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    ana.lxc("start", ["-n", "web"]).succeeds();
    ana.lxc("attach", ["-n", "web", "--", "sh", "-c", LOOK]).succeeds().stdout_is(KEPT);
    ana.destroy("web");
}

fn a_directory_keeps_every_property(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("old");
    ana.bryo(["create", "web", "./.local/share/lxc/old/rootfs"]).succeeds();
    ana.destroy("old");
    keeps_every_property(&ana);
}

fn a_tar_keeps_every_property(lab: &Lab) {
    keeps_every_property(&bryo_create(lab, "busybox.tar"));
}

fn a_tar_gz_keeps_every_property(lab: &Lab) {
    keeps_every_property(&bryo_create(lab, "busybox.tar.gz"));
}

fn a_tar_xz_keeps_every_property(lab: &Lab) {
    keeps_every_property(&bryo_create(lab, "busybox.tar.xz"));
}

fn a_tar_zst_keeps_every_property(lab: &Lab) {
    keeps_every_property(&bryo_create(lab, "busybox.tar.zst"));
}

fn a_tar_bz2_keeps_every_property(lab: &Lab) {
    let ana = lab.user("ana");
    ana.sh("bzip2 -1 </run/bryo-lab/rootfs/busybox.tar >root.tar.bz2").succeeds();
    ana.bryo(["create", "web", "--rootfs", "root.tar.bz2"]).succeeds();
    keeps_every_property(&ana);
}

/// Makes a small tree, and a squashfs of it with a device node, and owners of its own.
const SQUASH: &str = r"mkdir -p tree/bin tree/dev
cp $(command -v busybox) tree/bin/busybox; ln -s busybox tree/bin/sh
echo kept >tree/file; chmod 4751 tree/file; ln tree/file tree/link
mksquashfs tree root.squashfs -quiet -no-progress -all-root -p 'dev/null c 666 0 0 1 3' >&2";

fn a_squashfs_is_unpacked_by_the_hosts_program(lab: &Lab) {
    let ana = lab.user("ana");
    ana.sh(SQUASH).succeeds();
    ana.bryo(["create", "web", "./root.squashfs"]).succeeds().stderr_contains("device nodes");
    ana.bryo([
        "run",
        "./root.squashfs",
        "--",
        "sh",
        "-c",
        "busybox cat /file; busybox stat -c '%a %u %h' /link",
    ])
    .succeeds()
    .stdout_is("kept\n4751 0 2\n");
    ana.destroy("web");
    ana.sh("tar -cJf meta.tar.xz -C tree file").succeeds();
    ana.lxc("create", ["-n", "web", "-t", "local", "--", "-m", "meta.tar.xz", "-f", "root.squashfs"])
        .succeeds();
    ana.sh("ls .local/share/lxc/web/rootfs").succeeds().stdout_is("bin\ndev\nfile\nlink\n");
    ana.destroy("web");
}

fn a_hostile_squashfs_leaves_nothing(lab: &Lab) {
    let ana = lab.user("ana");
    ana.sh(SQUASH).succeeds();
    ana.sh("head -c 4000 root.squashfs >cut.squashfs; (printf hsqs; head -c 100000 /dev/urandom) >noise.squashfs")
        .succeeds();
    for name in ["cut", "noise"] {
        ana.bryo(["create", "web", &format!("./{name}.squashfs")])
            .exits(1)
            .stderr_contains("unsquashfs ended");
        assert!(!ana.lxcpath().join("web").exists(), "{name}");
    }
}

fn standard_input_is_an_archive_too(lab: &Lab) {
    let ana = lab.user("ana");
    let bryo = "/run/bryo-lab/prefix/bin/bryo";
    ana.sh(&format!("{bryo} create web --rootfs - </run/bryo-lab/rootfs/busybox.tar.xz")).succeeds();
    ana.sh(&format!("xz -dc /run/bryo-lab/rootfs/busybox.tar.xz | {bryo} create db -")).succeeds();
    ana.sh("cd .local/share/lxc; cmp web/rootfs/bin/busybox db/rootfs/bin/busybox").succeeds();
    ana.sh(&format!("echo x | {bryo} create no -")).exits(1);
    ana.destroy("web");
    ana.destroy("db");
}

/// Archives of the form that LXC's servers have, with all files that its templates know.
const METADATA: &str = r#"mkdir -p meta root/etc root/dev root/var/cache root/kept
printf 'lxc.arch = x86_64\nlxc.include = LXC_TEMPLATE_CONFIG/common.conf\nlxc.hook.pre-start = touch hooked\n' >meta/config
sed -i 's/x86_64/i686/' meta/config; cp meta/config meta/config-user; sed -i 's/i686/x86_64/' meta/config-user
printf './dev/x*\nvar/cache\n' >meta/excludes-user
echo kept >meta/excludes
printf '/etc/hosts\n/etc/link\n/dev/null\n/etc/../../etc/passwd\n' >meta/templates
printf 'welcome\n' >meta/create-message
echo '127.0.1.1 LXC_NAME LXC_NAMED' >root/etc/hosts
ln -s /precious root/etc/link; echo LXC_NAME >root/precious
echo x >root/dev/x1; echo x >root/var/cache/y; echo x >root/kept/z
tar -cJf meta.tar.xz -C meta .; tar -cJf root.tar.xz -C root ."#;

fn what_metadata_says_of_files_is_done_and_no_more(lab: &Lab) {
    let ana = lab.user("ana");
    ana.sh(METADATA).succeeds();
    let home = ana.home();
    let path = |name: &str| home.join(name).display().to_string();
    let archives = ["-m", &path("meta.tar.xz"), "-f", &path("root.tar.xz")];
    let mut words = vec!["-n", "web", "-t", "local", "--"];
    words.extend(archives);
    ana.write_config_for_real_lxc();
    ana.lxc("create", words).succeeds();
    ana.sh("cd .local/share/lxc/web/rootfs; cat etc/hosts precious; ls dev var kept")
        .succeeds()
        .stdout_contains("127.0.1.1 web webD\nweb\n")
        .stdout_contains("kept:\nz\n");
    ana.sh("cd .local/share/lxc/web/rootfs; ls dev/x1 var/cache").exits(2);
    let config = fs::read_to_string(ana.lxcpath().join("web/config")).unwrap_or_default();
    assert!(
        config.contains("lxc.arch = x86_64") && config.contains("/usr/share/lxc/config/common.conf"),
        "{config}"
    );
    if tests::subject::subject() == tests::subject::Subject::Bryo {
        assert!(!config.contains("hooked"), "{config}");
        let mut words = vec!["create", "db", "-t", "local", "--"];
        words.extend(archives);
        ana.bryo(words)
            .succeeds()
            .stderr_contains("the image says: welcome")
            .stderr_contains("lxc.hook.pre-start");
        ana.destroy("db");
    }
    ana.destroy("web");
}

fn what_create_made_starts(lab: &Lab) {
    let ana = bryo_create(lab, "busybox.tar.zst");
    ana.bryo(["start", "web"]).succeeds();
    ana.bryo(["exec", "web", "--", "hostname"]).succeeds().stdout_is("web\n");
    ana.bryo(["stop", "-k", "web"]).succeeds();
    ana.bryo(["destroy", "web"]).succeeds();
}

fn an_archive_that_is_none_leaves_nothing(lab: &Lab) {
    let ana = lab.user("ana");
    ana.write("bad.tar.zst", "this is no archive");
    ana.bryo(["create", "web", "./bad.tar.zst"]).exits(1).stderr_contains("bad.tar.zst");
    ana.bryo(["create", "web", "./missing.tar"]).exits(1).stderr_contains("missing.tar");
}

fn an_archive_cut_short_leaves_nothing(lab: &Lab) {
    let ana = lab.user("ana");
    for kind in ["tar", "tar.gz", "tar.xz", "tar.zst"] {
        ana.sh(&format!("head -c 300000 /run/bryo-lab/rootfs/busybox.{kind} >cut.{kind}")).succeeds();
        ana.bryo(["create", "web", &format!("./cut.{kind}")]).exits(1);
        assert!(!lab.outside(&ana.lxcpath()).join("web").exists(), "a half-made container of a {kind} stays");
    }
}

fn a_name_with_a_slash_is_refused(lab: &Lab) {
    let ana = lab.user("ana");
    for name in ["a/b", "../web"] {
        ana.lxc("create", ["-n", name, "-t", "none"]).exits(1);
    }
}

fn a_create_that_is_killed_is_removed_by_the_next_command(lab: &Lab) {
    let ana = lab.user("ana");
    let archive = "/run/bryo-lab/rootfs/busybox.tar.xz";
    for moment in [5, 20, 60, 120] {
        let mut create = ana.bryo(["create", "web", archive]).background();
        std::thread::sleep(std::time::Duration::from_millis(moment));
        create.kill();
        create.wait();
        ana.bryo(["ls"]).succeeds();
        if lab.outside(&ana.lxcpath()).join("web/config").exists() {
            ana.destroy("web");
        }
        assert!(
            !lab.outside(&ana.lxcpath()).join("web").exists(),
            "killed after {moment} ms, a half-made container stays"
        );
    }
    ana.bryo(["create", "web", archive]).succeeds();
    ana.destroy("web");
}

/// Mount points of what is not mounted, or what a real lxc-create has just begun with.
fn directories_that_are_no_containers_stay(lab: &Lab) {
    let ana = lab.user("ana");
    ana.sh("mkdir -p proj/empty proj/mountpoint").succeeds();
    ana.bryo(["-P", "proj", "ls"]).succeeds();
    ana.lxc("ls", ["-P", "proj"]).succeeds();
    ana.lxc("info", ["-P", "proj", "-n", "empty"]).output();
    ana.bryo(["-P", "proj"]).succeeds();
    ana.bryo(["-P", "proj", "start", "empty"]).exits(1);
    ana.bryo(["-P", "proj", "run", "--", "true"]).succeeds();
    ana.sh("rmdir proj/empty proj/mountpoint && rmdir proj").succeeds();
}

fn no_directory_is_left_by_a_create_or_destroy_that_is_killed(lab: &Lab) {
    let ana = lab.user("ana");
    let left = || ana.sh("ls -A .local/share/lxc 2>/dev/null || true").succeeds().stdout;
    let killed = |args: &[&str], calls: &str| {
        let mut killed = 0;
        for number in 1..20 {
            let (_, was_killed) = ana.bryo(args).injected(&format!("{calls}:signal=KILL:when={number}"));
            ana.bryo(["ls"]).succeeds();
            if !was_killed {
                break;
            }
            assert_eq!(left(), "", "killed at call {number}");
            killed += 1;
        }
        killed
    };
    let created = ["create", "web", "-t", "none"];
    assert!(killed(&created, "mkdir,mkdirat,rename,renameat,renameat2,flock") > 3, "no create was killed");
    ana.bryo(["destroy", "web"]).succeeds();
    assert_eq!(left(), "");
    ana.bryo(created).succeeds();
    let ended = (1..20).filter(|number| {
        let expression = format!("unlink,unlinkat,rmdir,renameat,renameat2:signal=KILL:when={number}");
        let (_, was_killed) = ana.bryo(["destroy", "web"]).injected(&expression);
        ana.bryo(["ls"]).succeeds();
        assert!(["", "web\n"].contains(&left().as_str()), "{} is left", left());
        ana.bryo(created).output();
        was_killed
    });
    assert!(ended.count() > 3, "no destroy was killed");
    ana.bryo(["destroy", "web"]).succeeds();
    assert_eq!(left(), "");
}

fn template_none_writes_the_default_config(lab: &Lab) {
    let ana = lab.user("ana");
    ana.lxc("create", ["-n", "web", "-t", "none"]).succeeds();
    ana.lxc("info", ["-n", "web", "-H", "-c", "lxc.net.0.type"]).succeeds().stdout_is("empty\n");
    ana.destroy("web");
}

fn the_id_map_is_written_into_the_config(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    let (uids, gids) = (&ana.account().subuids, &ana.account().subgids);
    let config = fs::read_to_string(ana.lxcpath().join("web/config")).unwrap_or_default();
    for line in
        [format!("lxc.idmap = u 0 {} 65536", uids.start), format!("lxc.idmap = g 0 {} 65536", gids.start)]
    {
        assert!(config.lines().any(|have| have == line), "no line {line:?} in\n{config}");
    }
    ana.destroy("web");
}

fn nobody_else_can_reach_the_files_of_a_container(lab: &Lab) {
    let (ana, ben) = (lab.user("ana"), lab.user("ben"));
    ana.busybox("web");
    ana.open_home_for_real_lxc();
    let rootfs = ana.lxcpath().join("web/rootfs/bin/busybox");
    ben.run("test", ["-e".as_ref(), rootfs.as_os_str()]).exits(1);
    ana.destroy("web");
}

fn destroy_does_not_follow_links(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    ana.write("precious/file", "kept");
    let home = ana.home().display().to_string();
    ana.lxc("start", ["-n", "web"]).succeeds();
    let link = format!("ln -s {home}/precious /root/link; ln -s {home}/precious/file /root/file");
    ana.lxc("attach", ["-n", "web", "--", "sh", "-c", &link]).succeeds();
    ana.destroy("web");
    ana.sh("cat precious/file").succeeds().stdout_is("kept");
}

fn what_was_there_before_is_not_removed(lab: &Lab) {
    let ana = lab.user("ana");
    ana.write(".local/share/lxc/web/rootfs/file", "precious");
    ana.bryo(["create", "web", "-t", "busybox"]).exits(1).stderr_contains("not empty");
    ana.sh("cat .local/share/lxc/web/rootfs/file; rm -r .local/share/lxc/web")
        .succeeds()
        .stdout_is("precious");
}

/// As a line of sources.list.
const PACKAGES: &str = "deb [trusted=yes] copy:/run/bryo-lab/rootfs/packages bookworm main";

fn a_debian_of_packages_boots(lab: &Lab) {
    let ana = lab.user("ana");
    let words = ["create", "deb", "-t", "debian", "--", "-r", "bookworm", "--mirror", PACKAGES];
    ana.bryo(words).seconds(600).succeeds();
    let config = fs::read_to_string(ana.lxcpath().join("deb/config")).unwrap_or_default();
    assert!(config.contains("lxc.include = /usr/share/lxc/config/userns.conf"), "{config}");
    let script = "systemctl is-enabled systemd-networkd; cat /etc/hostname; stat -c %u /var/cache/apt/archives/partial";
    let words = ["run", "--boot", "./.local/share/lxc/deb/rootfs", "--", "sh", "-c", script];
    ana.bryo(words).seconds(300).succeeds().stdout_contains("enabled\n");
    ana.bryo(["start", "deb"]).succeeds();
    let booted = || {
        let asked = ana.bryo(["exec", "deb", "--", "systemctl", "is-system-running"]).output();
        ["running\n", "degraded\n"].contains(&asked.stdout.as_str())
    };
    tests::within(120, "systemd has booted", booted);
    ana.bryo(["exec", "deb", "--", "cat", "/etc/hostname"]).succeeds().stdout_is("deb\n");
    ana.destroy("deb");
}

fn packages_that_cannot_be_had_leave_nothing(lab: &Lab) {
    let ana = lab.user("ana");
    let nowhere = "deb [trusted=yes] copy:/run/bryo-lab/nowhere bookworm main";
    let words = ["create", "deb", "-t", "debian", "--", "-r", "bookworm", "--mirror", nowhere];
    let refused = ana.bryo(words).seconds(120).exits(1);
    match lab.view() {
        tests::View::Cell => refused.stderr_contains("one id"),
        _ => refused.stderr_contains("running mmdebstrap"),
    };
    assert!(!ana.lxcpath().join("deb").exists());
    ana.bryo(["create", "deb", "-t", "debian", "--", "-r", "--option"])
        .exits(1)
        .stderr_contains("no name of a release");
}

/// A host without busybox.
const NO_BUSYBOX: &str = r#"mount --bind /dev/null "$(readlink -f "$(command -v busybox)")""#;

/// Its apt has the archive of the test, and has read what is in it.
const OTHER_APT: &str = "
for dir in /etc/apt/sources.list.d /var/lib/apt/lists /var/cache/apt; do mount -t tmpfs none $dir; done
mkdir -p /var/lib/apt/lists/partial /var/cache/apt/archives/partial
if [ -e /etc/apt/sources.list ]; then mount --bind /dev/null /etc/apt/sources.list; fi
echo 'deb [trusted=yes] copy:/run/bryo-lab/rootfs/packages bookworm main' >/etc/apt/sources.list.d/test.list
apt-get --quiet update >&2";

fn without_a_static_busybox_the_distributions_package_is_fetched(lab: &Lab) {
    let ana = lab.user("ana");
    let create = || ana.bryo(["create", "web", "-t", "busybox"]);
    create().amid(format!("{NO_BUSYBOX}{OTHER_APT}")).succeeds();
    ana.sh("cd .local/share/lxc/web; ls; rootfs/bin/busybox echo static")
        .succeeds()
        .stdout_is("config\nrootfs\nstatic\n");
    ana.bryo(["destroy", "web"]).succeeds();
    let nothing = "\nmount -t tmpfs none /var/lib/apt/lists";
    create()
        .amid(format!("{NO_BUSYBOX}{nothing}"))
        .exits(1)
        .stderr_contains("fetching busybox-static")
        .stderr_contains("apt-get: E:");
    let no_apt = r#"
mount --bind /dev/null "$(command -v apt-get)""#;
    create().amid(format!("{NO_BUSYBOX}{no_apt}")).exits(1).stderr_contains("install busybox-static");
    assert!(!ana.lxcpath().join("web").exists());
}

/// What the kernel shows of an interpreter, with these flags.
fn interpreter(flags: &str) -> String {
    format!(
        r"mount -t tmpfs none /proc/sys/fs && mkdir /proc/sys/fs/binfmt_misc && cd /proc/sys/fs/binfmt_misc
echo enabled >status
printf 'enabled\ninterpreter /usr/bin/qemu-riscv64-static\nflags: {flags}\noffset 0\n' >qemu-riscv64
echo magic 7f454c460201010000000000000000000200f300 >>qemu-riscv64
echo mask ffffffffffffff00fffffffffffffffffeffffff >>qemu-riscv64
cd /"
    )
}

fn another_architecture_needs_an_interpreter_that_containers_find(lab: &Lab) {
    let ana = lab.user("ana");
    ana.write(".config/bryo/config.toml", "[image]\nserver = \"http://127.0.0.1:9\"\n");
    for words in [
        &["create", "web", "debian/13/riscv64"][..],
        &["create", "web", "debian/13", "--arch", "riscv64"],
        &["run", "debian/13/riscv64", "--", "true"],
        &["create", "web", "-t", "debian", "--", "-r", "trixie", "-a", "riscv64"],
        &["create", "web", "-t", "download", "--", "-d", "debian", "-r", "13", "-a", "riscv64"],
    ] {
        ana.bryo(words)
            .exits(125)
            .stderr_contains("runs no programs of riscv64")
            .stderr_contains("qemu-user");
    }
    let create = || ana.bryo(["create", "web", "debian/13", "--arch", "riscv64"]);
    create().amid(interpreter("OC")).exits(125).stderr_contains("lacks the flag F");
    let refused = create().amid(interpreter("OCF")).exits(125).stderr_contains("Connection refused");
    assert!(!refused.stderr.contains("programs of riscv64"), "{}", refused.stderr);
    ana.bryo(["create", "web", "./x.tar", "--arch", "riscv64"]).exits(1).stderr_contains("--arch");
    assert!(!ana.lxcpath().join("web").exists());
}

fn lxcs_own_template_makes_a_container_that_starts(lab: &Lab) {
    let ana = lab.user("ana");
    ana.write_config_for_real_lxc();
    let template = "/usr/share/lxc/templates/lxc-busybox";
    ana.lxc("create", ["-n", "web", "-t", template]).succeeds();
    let config = fs::read_to_string(ana.lxcpath().join("web/config")).unwrap_or_default();
    for line in [
        &format!("# Template used to create this container: {template}"),
        "lxc.signal.halt = SIGUSR1",
        "lxc.mount.entry = /usr/lib usr/lib none ro,bind 0 0",
    ] {
        assert!(config.lines().any(|have| have == line), "no line {line:?} in\n{config}");
    }
    ana.open_home_for_real_lxc();
    ana.lxc("start", ["-n", "web"]).succeeds();
    ana.lxc("attach", ["-n", "web", "--", "hostname"]).succeeds().stdout_is("web\n");
    ana.destroy("web");
}

/// Writes a template of the user's own.
fn writes_template(ana: &User<'_>, name: &str, text: &str) {
    ana.write(format!(".local/share/bryo/templates/lxc-{name}"), &format!("#!/bin/sh -e\n{text}"));
    ana.sh(&format!("chmod 755 .local/share/bryo/templates/lxc-{name}")).succeeds();
}

fn a_template_is_given_what_lxc_gives_it(lab: &Lab) {
    let ana = lab.user("ana");
    let script = r#"echo "$@"; id -u; grep ^lxc.rootfs.path "${1#--path=}/config"
echo 'lxc.init.cmd = /sbin/other' >>"${1#--path=}/config"; echo hello >"${3#--rootfs=}/file""#;
    writes_template(&ana, "mine", script);
    let dir = ana.lxcpath().join("web").display().to_string();
    let created = ana.lxc("create", ["-n", "web", "-t", "mine", "--", "-x", "a b"]).succeeds();
    created.stdout_is(format!(
        "--path={dir} --name=web --rootfs={dir}/rootfs -x a b --mapped-uid 0 --mapped-gid 0\n\
         0\nlxc.rootfs.path = dir:{dir}/rootfs\n"
    ));
    ana.sh("cat .local/share/lxc/web/rootfs/file; grep init.cmd .local/share/lxc/web/config")
        .succeeds()
        .stdout_is("hello\nlxc.init.cmd = /sbin/other\n");
    ana.destroy("web");
    ana.lxc("create", ["-n", "web", "-t", "other"]).exits(1).stderr_contains("Template \"other\" not found");
}

/// It runs with all rights over the new container, and none over the user's files.
fn a_hostile_template_gets_nothing_of_the_user_and_leaves_nothing(lab: &Lab) {
    let ana = lab.user("ana");
    ana.write("precious", "kept");
    ana.write(".local/share/lxc/other/config", "lxc.uts.name = other\n");
    let home = ana.home().display().to_string();
    let attack = format!(
        r#"dir=${{1#--path=}}
for file in {home}/precious {home}/.local/share/lxc/other/config; do
    if cat $file; then touch ${{3#--rootfs=}}/reached; fi
done 2>/dev/null
if umount {home} 2>/dev/null || umount $dir 2>/dev/null; then touch ${{3#--rootfs=}}/uncovered; fi
if cat {home}/precious 2>/dev/null; then touch ${{3#--rootfs=}}/reached; fi
echo x >{home}/precious || true
kill -9 -1 2>/dev/null || true
sleep 86421 >/dev/null 2>&1 </dev/null &
setsid sleep 86421 >/dev/null 2>&1 </dev/null &
cat >>$dir/config <<EOF || true
lxc.hook.pre-start = touch {home}/hooked
lxc.mount.entry = {home} home none rbind 0 0
lxc.net.0.type = none
lxc.rootfs.path = /
EOF
"#
    );
    writes_template(&ana, "evil", &attack);
    let created = ana.bryo(["create", "web", "-t", "evil"]).succeeds();
    created
        .stderr_contains("lxc.hook.pre-start")
        .stderr_contains("home none rbind 0 0 is not taken")
        .stderr_contains("lxc.net.0.type = none is not taken");
    ana.sh("cat precious .local/share/lxc/other/config; ls .local/share/lxc/web/rootfs")
        .succeeds()
        .stdout_is("keptlxc.uts.name = other\n");
    let config = fs::read_to_string(ana.lxcpath().join("web/config")).unwrap_or_default();
    assert!(!config.contains("hooked") && !config.contains("rbind") && !config.contains("= /\n"), "{config}");
    ana.has_no_process("the template has ended");
    ana.destroy("web");
    for config in [
        format!("rm $dir/config; ln -s {home}/precious $dir/config"),
        "rm $dir/config; mkfifo $dir/config".to_owned(),
        "head -c 1000000 /dev/zero >$dir/config".to_owned(),
        "rm $dir/config".to_owned(),
    ] {
        writes_template(&ana, "evil", &format!("dir=${{1#--path=}}\n{config}\n"));
        ana.bryo(["create", "web", "-t", "evil"]).exits(1).stderr_contains("the config that it left");
        assert!(!ana.lxcpath().join("web").exists(), "{config}");
    }
    ana.destroy("other");
}

fn a_template_that_fails_leaves_nothing(lab: &Lab) {
    let ana = lab.user("ana");
    writes_template(&ana, "bad", "touch ${3#--rootfs=}/file; echo no mirror >&2; exit 3\n");
    ana.bryo(["create", "web", "-t", "bad"])
        .exits(1)
        .stderr_contains("no mirror")
        .stderr_contains("running lxc-bad")
        .stderr_contains("it ended with exit status 3, and sees nothing of what is in")
        .stderr_contains(&ana.home().display().to_string());
    ana.lxc("create", ["-n", "web", "-t", "bad"]).exits(1);
    writes_template(&ana, "bad", "head -c 300000000 /dev/zero >$HOME/cache\n");
    ana.bryo(["create", "web", "-t", "bad"]).exits(1).stderr_contains(&format!(
        "in the place of {} it had 256 MB of memory, which are used up",
        ana.home().display()
    ));
    assert!(!ana.lxcpath().join("web").exists());
    writes_template(&ana, "bad", "echo begun >&2; sleep 86421\n");
    let mut create = ana.bryo(["create", "web", "-t", "bad"]).background();
    let begun = |process: &tests::Process| process.command == "sleep 86421";
    tests::within(60, "the template runs", || ana.processes().iter().any(begun));
    create.kill();
    create.wait();
    ana.has_no_process("whoever waited for the template has died");
    ana.bryo(["ls"]).succeeds();
    assert!(!ana.lxcpath().join("web").exists());
}

/// Files of services that know their callers, on a host that may have none of those, made anew and more of them while the template runs;
/// letters; the files of one that is somebody's in the place of home; and home and the others' directories once more.
const SERVICES: &str = r#"mount -t tmpfs none /mnt
mkdir /mnt/run
mount --rbind /run /mnt/run
mount -t tmpfs -o mode=755 none /run
mkdir /run/bryo-lab /run/dbus /run/later
mount --rbind /mnt/run/bryo-lab /run/bryo-lab
umount --lazy /mnt
mount -t tmpfs none /var/mail
mount -t tmpfs -o mode=755 none /srv
mkdir /srv/again
mount --bind HOME /srv/again
mkdir /srv/run /srv/mail
mount --bind /run /srv/run
mount --bind /var/mail /srv/mail
have() { for file; do echo secret >$file; chown UID $file; chmod 600 $file; done }
have /run/docker.sock /run/dbus/system_bus_socket /var/mail/ana /srv/ana
(
    tries=0
    until [ -e HOME/.local/share/lxc/web/rootfs/waits ] || [ $tries = 600 ]; do sleep 0.1; tries=$((tries + 1)); done
    rm /run/docker.sock
    have /run/docker.sock /run/later/socket
    touch /srv/made
) &"#;

/// Has a key in the session's keyring and in the user's, and becomes the command. Source: keyctl(2), KEYCTL_JOIN_SESSION_KEYRING is 1.
const KEY: &str = r#"my @key = ("user", "of-ana", "secret");
syscall(KEYCTL, 1, 0) > 0 && syscall(ADD_KEY, @key, 6, -3) > 0 && syscall(ADD_KEY, @key, 6, -4) > 0 or die "no key: $!"; exec @ARGV"#;

/// Takes the keys of the user's keyring by its number. Source: keyctl(2), KEYCTL_LINK is 8.
const LINK: &str = r#"open(KEYS, "<", "/proc/keys") or exit 1;
for (<KEYS>) { /^(\w+) .* _uid\.[0-9]/ && syscall(KEYCTL, 8, hex $1, -3) == 0 and exit 0 } exit 1"#;

/// Listens under an abstract name, with System V memory and a terminal, until it is ended. Source: ipc(5), shmget(2), IPC_PRIVATE is 0.
const OTHER: &str = r#"use Socket; $^F = 9;
socket(S, PF_UNIX, SOCK_STREAM, 0) && bind(S, pack_sockaddr_un("\0of-ana-$A")) && listen(S, 9) or die "no socket: $!";
open(F, ">", shift); print F shmget(0, 4096, 0600), "\n"; close F; exec "sleep", "86422""#;

/// Tries every way from a template to what is the caller's alone, and tells those that work in the new root file system.
fn reach(ana: &User<'_>) -> String {
    let (home, uid) = (ana.home().display(), ana.account().uid);
    format!(
        r#"root=${{3#--rootfs=}}
reached() {{ echo "$1" >>$root/reached; }}
touch $root/waits
tries=0
until [ -e /srv/made ]; do tries=$((tries + 1)); [ $tries -lt 600 ] || {{ reached nothing; break; }}; sleep 0.1; done
for file in {home}/precious /srv/again/precious precious ../key of-ana-$A {home}/.ssh/key /run/bryo-lab/runtime/{uid}/bus /tmp/of-ana-$A/key /var/tmp/of-ana-$A /dev/shm/of-ana-$A \
    /run/docker.sock /run/later/socket /run/dbus/system_bus_socket /var/mail/ana /srv/run/docker.sock /srv/run/later/socket /srv/mail/ana /proc/[0-9]*/root{home}/precious; do
    if cat "$file" 2>/dev/null | grep -q .; then reached "$file"; fi
done
if ls /run/bryo-lab/runtime/{uid} | grep -q .; then reached runtime; fi
for at in /proc/[0-9]*; do
    if tr '\0' '\n' <$at/environ 2>/dev/null | grep -q ^SECRET=; then reached $at/environ; fi
    if tr '\0' ' ' <$at/cmdline 2>/dev/null | grep -q "sleep 86422"; then reached $at; fi
done
if [ -n "${{SECRET+set}}$SSH_AUTH_SOCK" ]; then reached environment; fi
if umount {home} 2>/dev/null || umount /proc 2>/dev/null; then reached umount; fi
for file in /dev/pts/[0-9]* "$0" /srv/ana; do
    if (: >>"$file") 2>/dev/null; then reached "$file"; fi
done
if find /sys/fs/cgroup -writable 2>/dev/null | grep -q .; then reached cgroup; fi
if unshare --cgroup --mount sh -c 'mount -t cgroup2 none /mnt && find /mnt -writable' 2>/dev/null | grep -q .; then reached "new cgroup"; fi
if ipcs -m | grep -q ' 4096 '; then reached "System V memory"; fi
if perl -MSocket -e 'socket(S, PF_UNIX, SOCK_STREAM, 0); connect(S, pack_sockaddr_un("\0of-ana-$A")) or exit 1'; then reached "abstract socket"; fi
if perl -e '@key = ("user", "of-ana"); syscall(KEYCTL, 10, -3, @key, 0) > 0 or exit 1'; then reached key; fi
if perl -e '{LINK}'; then reached "the user's keyring"; fi
echo changed >{home}/precious || true
for node in null zero full random urandom tty; do [ -c /dev/$node ] || reached "no $node"; done
if ! perl -MPOSIX -e 'open(P, "+<", "/dev/ptmx") or exit 1'; then reached "no terminals"; fi
echo "$LANG $http_proxy"
"#
    )
}

fn a_template_with_the_callers_own_id_reaches_nothing_of_the_callers(lab: &Lab) {
    let ana = lab.user("ana");
    let (uid, number) = (ana.account().uid, std::process::id().to_string());
    let with_numbers = |script: &str| {
        script
            .replace("$A", &number)
            .replace("KEYCTL", &libc::SYS_keyctl.to_string())
            .replace("ADD_KEY", &libc::SYS_add_key.to_string())
    };
    let places = format!("/tmp/of-ana-{number} /var/tmp/of-ana-{number} /dev/shm/of-ana-{number}");
    ana.write("precious", "kept");
    ana.write(".ssh/key", "secret");
    ana.write("other.pl", &with_numbers(OTHER));
    ana.write("key.pl", &with_numbers(KEY));
    ana.sh(&format!(
        "chmod 755 .; umask 077; mkdir /tmp/of-ana-{number}; echo key | tee /tmp/of-ana-{number}/key /var/tmp/of-ana-{number} >/dev/shm/of-ana-{number}; \
         echo socket >/run/bryo-lab/runtime/{uid}/bus"
    ))
    .succeeds();
    let other =
        ana.sh("exec script -qc 'exec perl other.pl memory' /dev/null").env("SECRET", "1").background();
    let there = |process: &tests::Process| process.command == "sleep 86422";
    tests::within(60, "the other process runs", || ana.processes().iter().any(there));
    writes_template(&ana, "reach", &with_numbers(&reach(&ana)));
    // Home is what the system says, whatever is in the environment.
    let elsewhere = format!("env HOME=/tmp/of-ana-{number} bryo -P $home/.local/share/lxc");
    let template = "$home/.local/share/bryo/templates/lxc-reach";
    let services =
        SERVICES.replace("UID", &uid.to_string()).replace("HOME", &ana.home().display().to_string());
    for (place, bryo, options) in [
        (".", "bryo", "-t reach".to_owned()),
        ("/dev/shm", &elsewhere, format!("--me -t {template}")),
        ("gone/deep && rmdir $home/gone/deep", "setpriv --no-new-privs bryo", "-t reach".to_owned()),
    ] {
        let created = ana
            .sh(&format!(
                "home=$PWD; mkdir -p gone/deep; echo secret >gone/key; cd {place}; exec perl $home/key.pl {bryo} create web {options}"
            ))
            .amid(&services)
            .in_session()
            .env("SECRET", "1")
            .env("SSH_AUTH_SOCK", "/tmp/agent")
            .env("LANG", "C.UTF-8")
            .env("http_proxy", "http://proxy.example")
            .succeeds();
        created.stdout_contains("C.UTF-8 http://proxy.example\n");
        ana.sh("cat precious; cat .local/share/lxc/web/rootfs/reached 2>&1 | grep -v 'No such file'")
            .exits(1)
            .stdout_is("kept");
        ana.sh(&format!("home=$PWD; rm -r gone; {bryo} destroy web")).succeeds();
    }
    ana.sh(&with_numbers("perl -e 'syscall(KEYCTL, 7, -4)'")).succeeds();
    ana.sh("ipcrm -m $(cat memory)").succeeds();
    for process in ana.processes().iter().filter(|process| there(process)) {
        ana.sh(&format!("kill {}", process.pid)).succeeds();
    }
    other.wait();
    ana.has_no_process("the other one is ended");
    ana.sh(&format!("rm -r {places} /run/bryo-lab/runtime/{uid}/bus; chmod 700 .")).succeeds();
}

/// What is in such a directory the container's root could not so much as run.
fn a_template_in_a_closed_directory_runs(lab: &Lab) {
    let ana = lab.user("ana");
    // Of the two views at once one user alone has it.
    let dir = format!("/tmp/closed-{}-{}", std::process::id(), ana.account().uid);
    ana.sh(&format!(
        "mkdir -m 700 {dir}; echo secret >{dir}/beside; printf '#!/bin/sh -e\nls {dir} >${{3#--rootfs=}}/seen\n' >{dir}/mine; chmod 755 {dir}/mine"
    ))
    .succeeds();
    for create in ["bryo create web", "setpriv --no-new-privs bryo create web"] {
        ana.sh(&format!("{create} -t {dir}/mine")).succeeds();
        ana.sh("cat .local/share/lxc/web/rootfs/seen").succeeds().stdout_is("mine\n");
        ana.sh(&create.replace("create", "destroy")).succeeds();
    }
    ana.sh(&format!("rm -r {dir}")).succeeds();
}

fn what_the_default_config_limits_no_template_and_no_image_lifts(lab: &Lab) {
    let ana = lab.user("ana");
    let limits = "lxc.prlimit.nofile = 100\nlxc.cap.drop = net_raw sys_time\nlxc.no_new_privs = 1\n";
    ana.write(".config/lxc/default.conf", limits);
    let lines = "lxc.prlimit.nofile = 999\nlxc.cap.drop =\nlxc.cap.keep = net_raw\nlxc.no_new_privs = 0\nlxc.cgroup.dir = x\n\
                 lxc.prlimit.nproc = 50\nlxc.cap.drop = mknod\nlxc.include = /usr/share/lxc/config/userns.conf\n";
    writes_template(&ana, "lifts", &format!("cat >>${{1#--path=}}/config <<EOF\n{lines}EOF\n"));
    let mut created = ana.bryo(["create", "web", "-t", "lifts"]).succeeds();
    for line in
        ["lxc.prlimit.nofile = 999", "lxc.cap.keep = net_raw", "lxc.no_new_privs = 0", "lxc.cap.drop = "]
    {
        created = created.stderr_contains(&format!("{line} is not taken: your configuration limits it"));
    }
    created.stderr_contains("lxc.cgroup.dir = x is not taken");
    ana.sh("mkdir -p meta root/etc; echo 'lxc.include = LXC_TEMPLATE_CONFIG/userns.conf' >meta/config; echo x >root/etc/x; \
            tar -cJf meta.tar.xz -C meta .; tar -cJf root.tar.xz -C root .")
        .succeeds();
    ana.bryo(["create", "db", "-t", "local", "--", "-m", "meta.tar.xz", "-f", "root.tar.xz"]).succeeds();
    let get = |name: &str, key: &str| ana.bryo(["config", "get", name, key]).succeeds().stdout;
    for name in ["web", "db"] {
        assert_eq!(get(name, "lxc.prlimit.nofile").trim(), "100", "{name}");
        assert_eq!(get(name, "lxc.no_new_privs").trim(), "1", "{name}");
        let dropped = get(name, "lxc.cap.drop");
        assert!(dropped.contains("net_raw") && dropped.contains("sys_time"), "{name}: {dropped}");
    }
    assert_eq!(get("web", "lxc.prlimit.nproc").trim(), "50");
    ana.destroy("web");
    ana.destroy("db");
}

/// It stands where Bryo writes what a container of one id needs; another where its name is written.
fn a_fifo_of_an_image_is_nothing_to_wait_for(lab: &Lab) {
    let ana = lab.user("ana");
    ana.sh("mkdir -p root/etc/apt/apt.conf.d; mkfifo root/etc/apt/apt.conf.d/90bryo-one-id root/etc/hosts; \
            echo image >root/etc/hostname; ln -s ../../../precious root/etc/apt/apt.conf.d/.90bryo-one-id.new; \
            echo kept >root/precious; tar -cf root.tar -C root .")
        .succeeds();
    ana.sh("setpriv --no-new-privs bryo create web ./root.tar").seconds(60).succeeds();
    ana.sh("cd .local/share/lxc/web/rootfs; cat etc/apt/apt.conf.d/90bryo-one-id precious etc/hostname; test -p etc/hosts")
        .succeeds()
        .stdout_is("APT::Sandbox::User \"root\";\nkept\nweb\n");
    ana.sh("setpriv --no-new-privs bryo destroy web").succeeds();
}

/// The program that unpacks it opens it anew, as container root, to whom it is closed.
fn a_squashfs_of_the_callers_alone_is_unpacked(lab: &Lab) {
    let ana = lab.user("ana");
    ana.sh(&format!("{SQUASH}; mkdir -m 700 closed; install -m 600 tree/file tree/bin/secret; rm root.squashfs; \
                     mksquashfs tree closed/root.squashfs -quiet -no-progress -all-root >&2; chmod 600 closed/root.squashfs"))
        .succeeds();
    ana.bryo(["create", "web", "./closed/root.squashfs"]).succeeds();
    ana.sh("ls -A .local/share/lxc/web; stat -c %a closed/root.squashfs; ls .local/share/lxc/web/rootfs/bin/secret")
        .succeeds()
        .stdout_contains("config\nrootfs\n600\n");
    ana.destroy("web");
}

fn what_metadata_leaves_out_stays_out_of_every_form(lab: &Lab) {
    let ana = lab.user("ana");
    ana.sh(&format!("{METADATA}; mksquashfs root root.squashfs -quiet -no-progress -all-root >&2"))
        .succeeds();
    for files in ["root.tar.xz", "root.squashfs", "./root"] {
        let local = ["create", "web", "-t", "local", "--", "-m", "meta.tar.xz", "-f", files];
        ana.bryo(local).succeeds();
        ana.sh("cd .local/share/lxc/web/rootfs; cat kept/z; ls -A dev var")
            .succeeds()
            .stdout_is("x\ndev:\n\nvar:\n");
        ana.destroy("web");
    }
    for files in ["root.tar.xz", "root.squashfs", "./root"] {
        ana.sh("sed -i '/dev/d' meta/excludes-user; tar -cJf meta.tar.xz -C meta .").succeeds();
        ana.bryo(["create", "web", "-t", "local", "--", "-m", "meta.tar.xz", "-f", files]).succeeds();
        ana.sh("ls .local/share/lxc/web/rootfs/dev").succeeds().stdout_is("x1\n");
        ana.destroy("web");
        ana.bryo(["create", "web", "-t", "local", "--", "-m", "meta.tar.xz", "-f", files, "--no-dev"])
            .succeeds();
        ana.sh("ls .local/share/lxc/web/rootfs/dev").succeeds().stdout_is("");
        ana.destroy("web");
    }
}

fn metadata_of_too_many_lines_is_refused(lab: &Lab) {
    let ana = lab.user("ana");
    for (file, line) in
        [("excludes-user", "*a*a*a"), ("templates", "/etc/hosts"), ("config-user", "lxc.environment = A=1")]
    {
        ana.sh(&format!("rm -rf meta root; {METADATA}; yes '{line}' | head -501 >meta/{file}; tar -cJf meta.tar.xz -C meta ."))
            .succeeds();
        ana.bryo(["create", "web", "-t", "local", "--", "-m", "meta.tar.xz", "-f", "root.tar.xz"])
            .exits(1)
            .stderr_contains(&format!("{} has more than 500 lines", file.trim_end_matches("-user")));
        assert!(!ana.lxcpath().join("web").exists());
    }
    ana.sh(&format!("rm -rf meta root; {METADATA}; printf '%033000d' 0 >meta/excludes-user; tar -cJf meta.tar.xz -C meta .")).succeeds();
    ana.bryo(["create", "web", "-t", "local", "--", "-m", "meta.tar.xz", "-f", "root.tar.xz"])
        .exits(1)
        .stderr_contains("of what an archive leaves out");
}
