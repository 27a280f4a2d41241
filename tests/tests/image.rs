//! Images: from a server, a registry or a file into the store, and from there to containers that share them.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tests::image_server::{self, URL as SERVER};
use tests::{Background, Lab, User, within};

tests::claims! {
    an_image_of_a_server_becomes_a_container: hybrid unified, needs Bryo, not cell INIT;
    an_image_that_no_server_has_leaves_nothing: hybrid, needs Bryo;
    a_run_that_waits_for_a_server_ends_when_its_time_is_over: hybrid, needs Bryo;
    an_image_is_unpacked_once_and_what_a_container_changes_is_its_own: hybrid, needs Bryo, not cell INIT;
    a_full_copy_shares_nothing: hybrid, needs Bryo;
    an_image_in_use_stays: hybrid, needs Bryo;
    an_image_goes_to_a_directory_and_comes_back: hybrid, needs Bryo;
    a_file_that_changed_on_the_disk_is_found: hybrid, needs Bryo;
    an_unpacking_that_is_killed_leaves_nothing_in_the_way: hybrid, needs Bryo;
    of_two_that_need_an_image_unpacked_one_does_it_and_the_other_says_that_it_waits: hybrid, needs Bryo;
    images_that_lxc_has_fetched_are_used: hybrid, needs Bryo;
    the_template_download_takes_lxcs_options: hybrid, needs Bryo;
    an_image_of_a_registry_runs_as_it_says: hybrid, needs Bryo;
    debians_registry_is_a_registry: hybrid, needs Bryo;
    who_is_a_user_in_an_image_makes_files_of_his_own_and_changes_none_of_the_image: hybrid, needs Bryo, not cell INIT;
    an_index_needs_the_signature_of_a_key_that_was_chosen: hybrid, needs Bryo;
    one_good_signature_of_several_is_enough_and_a_bad_one_is_not: hybrid, needs Bryo;
    without_gpgv_nothing_that_should_be_signed_is_fetched: hybrid, needs Bryo;
    an_index_may_have_its_signature_inside: hybrid, needs Bryo;
    all_names_of_a_lock_that_are_wrong_are_told_at_once: hybrid, needs Bryo;
    who_waits_for_a_lock_is_told_for_whom: hybrid, needs Bryo;
    what_lxc_has_fetched_is_not_what_is_locked: hybrid, needs Bryo;
    a_lock_gives_the_same_files_whatever_the_server_has_since: hybrid, needs Bryo, not cell INIT;
    a_lock_holds_where_a_registrys_tag_has_moved: hybrid, needs Bryo, not cell INIT;
    without_a_name_it_is_this_machines_own_distribution: hybrid, needs Bryo;
    programs_of_another_architecture_run_where_an_interpreter_is_open_for_them: hybrid, needs Bryo Foreign;
}

/// Starts the image server, and makes it the one of the user's settings.
fn serves(ana: User<'_>) -> Background {
    let server = image_server::start(ana);
    image_server::choose(ana);
    within(60, "the server answers", || ana.bryo(["image", "ls", "--remote"]).output().status() == 0);
    server
}

fn an_image_of_a_server_becomes_a_container(lab: &Lab) {
    let ana = lab.user("ana");
    let server = serves(ana);
    ana.bryo(["image", "ls"]).succeeds().stdout_is("");
    let offered = ana.bryo(["image", "ls", "--remote", "debian/13", "--json"]).succeeds().json();
    assert_eq!(
        (&offered[0]["build"], &offered[0]["also"][0]),
        (&"20261125_05:24".into(), &"13".into()),
        "{offered:#}"
    );
    ana.bryo(["create", "web", "debian/13"]).succeeds();
    ana.bryo(["start", "web"]).succeeds();
    ana.bryo(["exec", "web", "--", "hostname"]).succeeds().stdout_is("web\n");
    ana.bryo(["stop", "-k", "web"]).succeeds();
    ana.bryo(["destroy", "web"]).succeeds();
    ana.bryo(["image", "ls"])
        .succeeds()
        .stdout_contains("debian/trixie/")
        .stdout_contains("20261125_05:24")
        .stdout_contains("(13)");
    // Without the server it is the image that is there, and who asks for a newer one is told.
    drop(server);
    let created = ana.bryo(["create", "web", "debian/13"]).succeeds();
    assert!(!created.stderr.contains("server"), "{}", created.stderr);
    ana.bryo(["destroy", "web"]).succeeds();
    let created = ana.bryo(["create", "web", "debian/13", "--pull"]).succeeds();
    created.stderr_contains("the server cannot be reached");
    ana.bryo(["destroy", "web"]).succeeds();
}

fn an_image_that_no_server_has_leaves_nothing(lab: &Lab) {
    let ana = lab.user("ana");
    let server = serves(ana);
    let refused = ana.bryo(["create", "web", "debian/12"]).exits(125);
    refused.stderr_contains("debian has no release 12; it has trixie (13)");
    ana.sh("echo altered >>www/images/root.tar.xz").succeeds();
    ana.bryo(["create", "web", "debian/13"]).exits(125).stderr_contains("images/root.tar.xz");
    drop(server);
    let refused = ana.bryo(["create", "web", "debian/13"]).exits(125);
    refused
        .stderr_contains("Connection refused")
        .stderr_contains("-t host")
        .stderr_contains("bryo image ls --remote");
    assert!(!ana.lxcpath().join("web").exists());
    ana.bryo(["image", "ls"]).succeeds().stdout_is("");
}

fn a_run_that_waits_for_a_server_ends_when_its_time_is_over(lab: &Lab) {
    let ana = lab.user("ana");
    // It takes connections and says nothing.
    let _silent = ana.sh("exec busybox nc -ll -p 8766 -e sleep 600").background();
    ana.write(".config/bryo/config.toml", "[image]\nserver = \"http://127.0.0.1:8766\"\n");
    within(60, "the server listens", || {
        ana.sh("cat /proc/net/tcp* | grep -q ':223E .* 0A '").output().status() == 0
    });
    ana.bryo(["run", "--timeout", "3", "debian/13", "--", "true"]).exits(124);
    assert!(!ana.processes().iter().any(|process| process.command.contains("bryo-fetch")));
}

/// Has the image of [`image_server`] in the store.
fn pulls(ana: User<'_>) {
    let server = serves(ana);
    ana.bryo(["image", "pull", "debian/13"]).succeeds();
    drop(server);
}

fn images(ana: User<'_>) -> PathBuf {
    ana.home().join(".local/share/bryo/images")
}

/// The directories of unpacked images.
fn bases(ana: User<'_>) -> Vec<PathBuf> {
    let below = |dir: PathBuf| fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let of_images = below(images(ana).join("bases")).flat_map(below);
    of_images.filter(|path| path.join("rootfs").is_dir()).collect()
}

/// Every file of a tree, with what is known of it.
fn listing(tree: &Path) -> String {
    let mut find = Command::new("find");
    let found = find.arg(tree).args(["-printf", "%P %M %U %G %s %T@ %l\n"]).output().expect("find is there");
    let text = String::from_utf8_lossy(&found.stdout).into_owned();
    assert!(found.status.success() && text.lines().count() > 20, "{text}");
    text
}

fn an_image_is_unpacked_once_and_what_a_container_changes_is_its_own(lab: &Lab) {
    let ana = lab.user("ana");
    pulls(ana);
    for name in ["web", "db"] {
        let created = ana.bryo(["create", name, "debian/13"]).succeeds();
        created.stderr_contains("created over debian/trixie/");
    }
    let unpacked = bases(ana);
    assert_eq!(unpacked.len(), 1, "{unpacked:?}");
    let before = listing(&unpacked[0].join("rootfs"));
    ana.bryo(["start", "web"]).succeeds();
    let change =
        "echo changed >/etc/passwd; rm /srv/kept/plain; rmdir /mnt; mkdir -m 700 /mnt; echo new >/new";
    ana.bryo(["exec", "web", "--", "sh", "-c", change]).succeeds();
    let look = "cat /etc/passwd /new; ls /srv/kept; stat -c %a /mnt";
    let changed = ana.bryo(["exec", "web", "--", "sh", "-c", look]).succeeds();
    changed.stdout_contains("changed\nnew\n").stdout_contains("700").stdout_lacks("plain\n");
    // What is set-user-ID in the image is so inside, and its owners are those of the image.
    let kept = ana.bryo(["exec", "web", "--", "stat", "-c", "%a %u:%g", "/srv/kept/setuid"]).succeeds();
    kept.stdout_is("4750 0:1000\n");
    ana.bryo(["stop", "-k", "web"]).succeeds();
    ana.bryo(["start", "web"]).succeeds();
    ana.bryo(["exec", "web", "--", "cat", "/new"]).succeeds().stdout_is("new\n");
    ana.bryo(["start", "db"]).succeeds();
    ana.bryo(["exec", "db", "--", "ls", "/srv/kept/plain", "/mnt"]).succeeds();
    ana.bryo(["exec", "db", "--", "ls", "/new"]).exits(1);
    ana.bryo(["exec", "db", "--", "hostname"]).succeeds().stdout_is("db\n");
    assert_eq!(listing(&unpacked[0].join("rootfs")), before);
    for name in ["web", "db"] {
        ana.bryo(["stop", "-k", name]).succeeds();
        ana.bryo(["destroy", name]).succeeds();
    }
    assert_eq!(listing(&unpacked[0].join("rootfs")), before);
}

fn a_full_copy_shares_nothing(lab: &Lab) {
    let ana = lab.user("ana");
    pulls(ana);
    ana.bryo(["create", "web", "debian/13", "--full"]).succeeds().stderr_contains("web created: ");
    assert_eq!(bases(ana), Vec::<PathBuf>::new());
    assert!(ana.lxcpath().join("web/rootfs/bin/busybox").exists());
    ana.bryo(["image", "rm", "debian/13"]).succeeds();
    ana.bryo(["execute", "web", "--", "hostname"]).succeeds().stdout_is("web\n");
    ana.bryo(["destroy", "web"]).succeeds();
}

fn an_image_in_use_stays(lab: &Lab) {
    let ana = lab.user("ana");
    pulls(ana);
    ana.bryo(["create", "web", "debian/13"]).succeeds();
    ana.bryo(["-P", "elsewhere", "create", "db", "debian/13"]).succeeds();
    let refused = ana.bryo(["image", "rm", "debian/13"]).exits(1);
    refused.stderr_contains("is made from debian/trixie/").stderr_contains("bryo image info");
    let told = ana.bryo(["image", "info", "debian/13", "--json"]).succeeds().json();
    assert_eq!(told["used_by"].as_array().map(Vec::len), Some(2), "{told:#}");
    assert_eq!(told["properties"]["description"], "a small one", "{told:#}");
    ana.bryo(["destroy", "web"]).succeeds();
    ana.bryo(["image", "rm", "debian/13"]).exits(1).stderr_contains("/elsewhere/db is made from");
    ana.bryo(["image", "gc", "--unpacked"]).succeeds().stderr_contains("0 unpacked images");
    // A container that another tool has given another name is one still.
    ana.sh("mv elsewhere/db elsewhere/renamed").succeeds();
    ana.bryo(["image", "rm", "debian/13"]).exits(1).stderr_contains("/elsewhere/renamed is made from");
    ana.bryo(["-P", "elsewhere", "destroy", "renamed"]).succeeds();
    let gone = ana.bryo(["image", "rm", "debian/13", "--json"]).succeeds().json();
    assert_eq!((&gone["files"], &gone["unpacked"]), (&2.into(), &1.into()), "{gone:#}");
    ana.bryo(["image", "ls"]).succeeds().stdout_is("");
    for dir in ["blobs", "bases", "names", "partial"] {
        let left: Vec<_> =
            fs::read_dir(images(ana).join(dir)).expect("the store has the directory").flatten().collect();
        assert!(left.is_empty(), "{dir}: {left:?}");
    }
    ana.bryo(["image", "rm", "debian/13"]).exits(1).stderr_contains("no image debian/13 is here");
}

fn an_image_goes_to_a_directory_and_comes_back(lab: &Lab) {
    let ana = lab.user("ana");
    pulls(ana);
    ana.bryo(["image", "export", "debian/13", "out"]).succeeds();
    ana.sh("ls out").succeeds().stdout_is("image.json\nmeta.tar.xz\nrootfs.tar.xz\n");
    ana.bryo(["image", "export", "debian/13", "out"]).exits(1).stderr_contains("is there already");
    ana.bryo(["image", "rm", "debian/13"]).succeeds();
    ana.bryo(["image", "import", "out"]).succeeds().stderr_contains("20261125_05:24 is here");
    ana.bryo(["image", "ls"]).succeeds().stdout_contains("debian/trixie/");
    ana.bryo(["run", "debian/trixie", "--", "cat", "/etc/passwd"]).succeeds();
    ana.sh("xz -dc out/rootfs.tar.xz | bryo image import - mine/1").succeeds();
    ana.bryo(["run", "mine/1", "--", "true"]).succeeds();
    ana.bryo(["image", "import", "out/rootfs.tar.xz", "../x"]).exits(1);
    ana.sh("echo '{\"name\": \"../../x\", \"build\": \"1\", \"form\": \"archive\", \"layers\": []}' >out/image.json").succeeds();
    ana.bryo(["image", "import", "out"]).exits(1);
}

fn a_file_that_changed_on_the_disk_is_found(lab: &Lab) {
    let ana = lab.user("ana");
    pulls(ana);
    ana.bryo(["image", "verify"]).succeeds().stderr_contains("all images are what they were");
    ana.sh("for f in .local/share/bryo/images/blobs/*; do echo x >>$f; done").succeeds();
    let found = ana.bryo(["image", "verify", "--json"]).exits(1).json();
    assert_eq!(found[0]["changed"].as_array().map(Vec::len), Some(2), "{found:#}");
    ana.bryo(["image", "verify"]).exits(1).stdout_contains("is missing");
    ana.bryo(["create", "web", "debian/13"]).exits(1);
    assert!(!ana.lxcpath().join("web").exists());
}

/// The largest file of a directory: the root file system, among the files of an image.
fn largest(dir: &Path) -> PathBuf {
    let files = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let length = |path: &PathBuf| fs::metadata(path).map_or(0, |found| found.len());
    files.max_by_key(length).expect("the image has files")
}

fn an_unpacking_that_is_killed_leaves_nothing_in_the_way(lab: &Lab) {
    let ana = lab.user("ana");
    pulls(ana);
    // The unpacker waits for an archive that says nothing, and dies with the command.
    let archive = largest(&images(ana).join("blobs"));
    let path = archive.display();
    ana.sh(&format!("mv {path} kept; mkfifo {path}")).succeeds();
    let command = ana
        .sh("sleep 600 >FIFO & exec bryo create web debian/13".replace("FIFO", &path.to_string()).as_str())
        .background();
    let half = || {
        fs::read_dir(images(ana).join("bases"))
            .is_ok_and(|mut dirs| dirs.any(|dir| dir.is_ok_and(|dir| dir.path().join("half").exists())))
    };
    within(60, "the image is being unpacked", half);
    drop(command);
    ana.sh(&format!("rm {path}; mv kept {path}")).succeeds();
    ana.bryo(["create", "web", "debian/13"]).succeeds();
    assert!(!half() && bases(ana).len() == 1);
    ana.bryo(["destroy", "web"]).succeeds();
}

/// The first waits for an archive that comes later.
fn of_two_that_need_an_image_unpacked_one_does_it_and_the_other_says_that_it_waits(lab: &Lab) {
    let ana = lab.user("ana");
    pulls(ana);
    let archive = largest(&images(ana).join("blobs"));
    let path = archive.display();
    ana.sh(&format!("mv {path} kept; mkfifo {path}")).succeeds();
    let first = ana.sh(&format!("sleep 600 >{path} & exec bryo create web debian/13")).background();
    let half = || ana.sh("ls -d .local/share/bryo/images/bases/*/half").output().status() == 0;
    within(60, "the image is being unpacked", half);
    ana.sh(&format!("rm {path}; mv kept {path}")).succeeds();
    let _second = ana.sh("bryo create db debian/13 2>said; echo $? >second").background();
    let said = || fs::read_to_string(ana.home().join("said")).unwrap_or_default();
    within(60, "the second says that it waits", || said().contains("another command unpacks this image"));
    // The first dies of its archive, and the second does it.
    drop(first);
    within(60, "the second has ended", || ana.home().join("second").exists());
    ana.sh("cat second").succeeds().stdout_is("0\n");
    assert_eq!(bases(ana).len(), 1);
    ana.bryo(["destroy", "db"]).succeeds();
    // What is left of the first goes with the next command.
    ana.bryo(["ls"]).succeeds().stdout_is("");
}

fn images_that_lxc_has_fetched_are_used(lab: &Lab) {
    let ana = lab.user("ana");
    let keep = "dir=.cache/lxc/download/debian/trixie/amd64/default; mkdir -p $dir; cp /run/bryo-lab/rootfs/busybox.tar.xz $dir/rootfs.tar.xz; \
                echo 20261101_05:24 >$dir/build_id; printf 'lxc.arch = x86_64\\nlxc.hook.pre-start = /evil\\n' >$dir/config";
    ana.sh(keep).succeeds();
    ana.bryo(["image", "ls"]).succeeds().stdout_contains("fetched by lxc-create");
    let created = ana.bryo(["create", "web", "debian/trixie/amd64"]).succeeds();
    created.stderr_contains("lxc.hook.pre-start = /evil is not taken");
    let config = fs::read_to_string(ana.lxcpath().join("web/config")).unwrap_or_default();
    assert!(config.contains("lxc.arch = x86_64") && !config.contains("hook"), "{config}");
    ana.bryo(["execute", "web", "--", "true"]).succeeds();
    ana.bryo(["destroy", "web"]).succeeds();
    ana.bryo(["image", "rm", "debian/trixie/amd64"]).exits(1).stderr_contains("LXC keeps it");
}

fn the_template_download_takes_lxcs_options(lab: &Lab) {
    let ana = lab.user("ana");
    let server = serves(ana);
    let arch = std::env::consts::ARCH;
    let wanted = ["-d", "debian", "-r", "trixie", "-a", arch];
    let create = |more: &[&str]| {
        let words = ["-n", "web", "-t", "download", "--"].iter().chain(&wanted).chain(more).copied();
        ana.lxc("create", words.collect::<Vec<_>>())
    };
    let listed =
        ana.lxc("create", ["-n", "web", "-t", "download", "--", "--list", "--server", SERVER]).exits(1);
    listed.stdout_contains(&format!("debian\ttrixie\t{arch}\tdefault\t20261125_05:24\n"));
    create(&["--variant", "default", "--no-validate", "--keyserver", "hkp://x", "--keyid", "1"]).succeeds();
    // As LXC makes it: what it would start is the container's own.
    assert!(ana.lxcpath().join("web/rootfs/bin/busybox").exists());
    ana.bryo(["destroy", "web"]).succeeds();
    drop(server);
    create(&["--force-cache"]).succeeds();
    ana.bryo(["destroy", "web"]).succeeds();
    create(&[]).succeeds().stderr_contains("the server cannot be reached");
    ana.bryo(["destroy", "web"]).succeeds();
    ana.bryo(["image", "rm", "debian/13"]).succeeds();
    create(&["--force-cache"]).exits(1).stderr_contains("no image debian/trixie");
    ana.lxc("create", ["-n", "web", "-t", "download"]).exits(1).stderr_contains("--dist and --release");
    assert!(!ana.lxcpath().join("web").exists());
}

/// Makes a layout, and an archive of it, of what [`REGISTRY`] serves.
const LAYOUT: &str = r#"dir=reg/v2/ana/web blobs=layout/blobs/sha256; mkdir -p $blobs
for file in $dir/blobs/*; do cp $file $blobs/${file##*:}; done
sum=$(sha256sum $dir/manifests/3) sum=${sum%% *} size=$(stat -c %s $dir/manifests/3)
cp $dir/manifests/3 $blobs/$sum
echo '{"manifests": [{"digest": "sha256:'$sum'", "size": '$size', "annotations": {"org.opencontainers.image.ref.name": "3"}}]}' >layout/index.json
tar -C layout -czf layout.tar.gz ."#;

/// Serves an image of two layers as a registry does.
const REGISTRY: &str = r#"dir=reg/v2/ana/web; mkdir -p $dir/manifests $dir/blobs etc srv/kept
put() {
    sum=$(sha256sum $1) sum=${sum%% *}
    cp $1 $dir/blobs/sha256:$sum
    printf '{"digest": "sha256:%s", "size": %s, "mediaType": "%s"}' $sum $(stat -c %s $1) application/vnd.oci.image.layer.v1.tar+gzip
}
xz -dc /run/bryo-lab/rootfs/busybox.tar.xz | gzip -1 >first.tar.gz
echo new >etc/new; touch srv/kept/.wh.plain
tar -czf second.tar.gz etc/new srv/kept/.wh.plain
run='"Entrypoint": ["/bin/busybox"], "Cmd": ["echo", "served at  last"], "Env": ["GREETING=hello world"]'
echo '{"created": "2026-11-25T05:24:00Z", "config": {'"$run"', "WorkingDir": "/srv", "User": "1000:1000"}}' >config.json
echo '{"config": '$(put config.json)', "layers": ['$(put first.tar.gz)', '$(put second.tar.gz)']}' >$dir/manifests/3
exec busybox httpd -f -p 127.0.0.1:8767 -h reg"#;

fn an_image_of_a_registry_runs_as_it_says(lab: &Lab) {
    let ana = lab.user("ana");
    let registry = ana.sh(REGISTRY).background();
    let image = "docker:localhost:8767/ana/web:3";
    within(60, "the registry answers", || ana.bryo(["image", "pull", image]).output().status() == 0);
    drop(registry);
    ana.bryo(["run", image]).succeeds().stdout_is("served at  last\n");
    let shows = |words: &[&str], shown: &str| {
        let words = [&["run", image, "--"], words].concat();
        ana.bryo(words).succeeds().stdout_is(shown);
    };
    shows(&["id", "-u"], "1000\n");
    shows(&["pwd"], "/srv\n");
    ana.bryo(["run", image, "--", "env"]).succeeds().stdout_contains("GREETING=hello world\n");
    shows(&["cat", "/etc/new"], "new\n");
    ana.bryo(["run", image, "--", "ls", "/srv/kept/plain"]).exits(1);
    ana.bryo(["run", "-u", "root", "-w", "/", image, "--", "ls", "-d", "srv/kept/directory"]).succeeds();
    ana.bryo(["create", "web", image]).succeeds().stderr_contains(&format!("web created over {image}"));
    let config = fs::read_to_string(ana.lxcpath().join("web/config")).unwrap_or_default();
    for line in [
        "lxc.init.cmd = /bin/busybox echo",
        "lxc.environment = GREETING=hello world",
        "lxc.init.cwd = /srv",
        "lxc.init.uid = 1000",
    ] {
        assert!(config.contains(line), "{line}: {config}");
    }
    ana.bryo(["image", "rm", image]).exits(1).stderr_contains("web is made from");
    ana.bryo(["destroy", "web"]).succeeds();
    ana.bryo(["image", "rm", image]).succeeds();
    ana.bryo(["run", image]).exits(125).stderr_contains("Connection refused");
    ana.sh(LAYOUT).succeeds();
    for image in ["oci:./layout", "oci:layout:3", "oci-archive:layout.tar.gz"] {
        ana.bryo(["run", image]).succeeds().stdout_is("served at  last\n");
        ana.bryo(["run", image, "--", "cat", "/etc/new"]).succeeds().stdout_is("new\n");
    }
    ana.lxc("create", ["-n", "web", "-t", "oci", "--", "--url", "oci:./layout"]).succeeds();
    ana.sh("cat .local/share/lxc/web/rootfs/etc/new; grep -c init.cmd .local/share/lxc/web/config")
        .succeeds()
        .stdout_is("new\n1\n");
    ana.destroy("web");
    let refused =
        ana.lxc("create", ["-n", "web", "-t", "oci", "--", "-u", "oci:./layout", "--password", "x"]);
    refused.exits(1).stderr_contains("auth.json");
    ana.bryo(["run", "oci:layout:4"]).exits(125).stderr_contains("say which image: it has 3");
    ana.bryo(["run", "docker-archive:layout.tar.gz"]).exits(125).stderr_contains("it has no manifest.json");
}

fn without_a_name_it_is_this_machines_own_distribution(lab: &Lab) {
    let ana = lab.user("ana");
    let server = serves(ana);
    let release = ana.sh(". /etc/os-release; echo $ID/${VERSION_CODENAME:-$VERSION_ID}").succeeds().stdout;
    let release = release.trim();
    let refused = ana.bryo(["create", "web"]).exits(125);
    refused.stderr_contains(&format!("taking {release}, since no image is named")).stderr_contains("-t host");
    ana.bryo(["image", "import", "/run/bryo-lab/rootfs/busybox.tar.xz", release]).succeeds();
    ana.bryo(["create", "web"]).succeeds().stderr_contains(&format!("created over {release}/"));
    ana.bryo(["destroy", "web"]).succeeds();
    drop(server);
}

/// Adds a newer build of the image of [`image_server`], which has a file more.
const NEWER: &str = r#"mkdir -p more/etc; echo newer >more/etc/newer; xz -dc /run/bryo-lab/rootfs/busybox.tar.xz >newer.tar
tar -rf newer.tar -C more etc/newer; xz -1 newer.tar; mv newer.tar.xz www/images
item() {
    sum=$(sha256sum www/images/$1) size=$(stat -c %s www/images/$1)
    printf '"%s": {"ftype": "%s", "path": "images/%s", "size": %s, "sha256": "%s"}' $1 $2 $1 $size ${sum%% *}
}
items="$(item newer.tar.xz root.tar.xz), $(item incus.tar.xz incus.tar.xz)"
sed -i 's|"versions": {|"versions": {"20261125_06:00": {"items": {'"$items"'}}, |' www/streams/v1/images.json"#;

/// Gives another user's `bryo.lock` to a user.
fn share_lock(from: User<'_>, to: User<'_>) {
    let lock = fs::read_to_string(from.home().join("bryo.lock")).expect("the lock is written");
    to.write("bryo.lock", &lock);
}

fn a_lock_gives_the_same_files_whatever_the_server_has_since(lab: &Lab) {
    let (ana, ben) = (lab.user("ana"), lab.user("ben"));
    let _server = serves(ana);
    ana.bryo(["run", "--lock", "bryo.lock", "debian/13", "--", "true"]).succeeds();
    ana.sh(NEWER).succeeds();
    ana.bryo(["run", "--pull", "debian/13", "--", "cat", "/etc/newer"]).succeeds().stdout_is("newer\n");
    ana.bryo(["run", "debian/13", "--", "cat", "/etc/newer"]).succeeds();
    for how in [&["--locked"][..], &["--lock", "bryo.lock"]] {
        ana.bryo([&["run"], how, &["debian/13", "--", "ls", "/etc/newer"]].concat()).exits(1);
    }
    // Another user has the file alone, and no setting.
    share_lock(ana, ben);
    ben.bryo(["image", "pull", "--locked"]).succeeds().stderr_contains("of 20261125_05:24 is here");
    ben.bryo(["run", "--locked", "debian/13", "--", "ls", "/etc/newer"]).exits(1);
    ben.bryo(["run", "--locked", "debian/13", "--", "ls", "/etc/passwd"]).succeeds();
    // The name alone goes on to mean the newest.
    ben.bryo(["run", "--server", SERVER, "debian/13", "--", "cat", "/etc/newer"]).succeeds();
    let image = |user: User<'_>, build: &str| {
        let images = user.bryo(["image", "ls", "--json"]).succeeds().json();
        let one = images.as_array().and_then(|all| all.iter().find(|one| one["build"] == build).cloned());
        let name = one.unwrap_or_default()["name"].as_str().unwrap_or_default().to_owned();
        (user.bryo(["image", "info", &name, "--json"]).succeeds().json()["layers"].clone(), name)
    };
    let (layers, pinned) = image(ben, "20261125_05:24");
    assert_eq!(layers, image(ana, "20261125_05:24").0);
    refuses_what_is_not_locked(ben);
    ben.bryo(["image", "rm", &pinned]).succeeds();
    ana.sh("sed -i 's/20261125_05:24/20261124_05:24/' www/streams/v1/images.json").succeeds();
    let refused = ben.bryo(["create", "web", "--locked", "debian/13"]).exits(125);
    refused.stderr_contains("has no debian/13 of 20261125_05:24 with these files any more");
    // Who asks for a newer build has it written down.
    ben.bryo(["create", "web", "--server", SERVER, "--pull", "--lock", "bryo.lock", "debian/13"]).succeeds();
    ben.bryo(["destroy", "web"]).succeeds();
    ben.bryo(["run", "--locked", "debian/13", "--", "cat", "/etc/newer"]).succeeds();
}

fn refuses_what_is_not_locked(ben: User<'_>) {
    let refused = ben.bryo(["run", "--locked", "debian/12", "--", "true"]).exits(125);
    refused.stderr_contains("it does not say which debian/12 is meant");
    ben.bryo(["run", "--locked", "--", "true"]).exits(125).stderr_contains("no other has a lock");
    ben.bryo(["create", "web", "--locked", "/run/bryo-lab/rootfs/busybox.tar"]).exits(1);
    ben.bryo(["create", "web", "--locked", "-t", "busybox"]).exits(1);
    ben.sh("cp bryo.lock other.lock; sed -i 's/sha256:...../sha256:00000/' other.lock").succeeds();
    let refused = ben.bryo(["image", "pull", "--locked", "--lock", "other.lock"]).exits(1);
    refused.stderr_contains("it was changed by hand");
    ben.bryo(["image", "pull", "--locked", "--lock", "none.lock"]).exits(1).stderr_contains("none.lock");
    assert!(!ben.lxcpath().join("web").exists());
}

fn a_lock_holds_where_a_registrys_tag_has_moved(lab: &Lab) {
    let (ana, ben) = (lab.user("ana"), lab.user("ben"));
    let _registry = ana.sh(REGISTRY).background();
    let image = "docker:localhost:8767/ana/web:3";
    within(60, "the registry answers", || {
        ana.bryo(["image", "pull", image, "--lock", "bryo.lock"]).output().status() == 0
    });
    ana.sh(r#"sed -i 's/}, {"digest.*$/}]}/' reg/v2/ana/web/manifests/3"#).succeeds();
    ana.bryo(["run", "--pull", image, "--", "ls", "/etc/new"]).exits(1);
    share_lock(ana, ben);
    for user in [ana, ben] {
        user.bryo(["run", "--locked", image, "--", "cat", "/etc/new"]).succeeds().stdout_is("new\n");
    }
    ben.bryo(["run", image, "--", "ls", "/etc/new"]).exits(1);
}

/// Signs the index of [`image_server`], with the first of two keys.
const SIGN: &str = r#"export GNUPGHOME=$HOME/keys; mkdir -m 700 keys
for who in images other; do
    gpg --batch --quiet --passphrase '' --quick-generate-key $who@example.org default default never
    gpg --export $who@example.org >$who.gpg
done
for file in www/streams/v1/*.json; do gpg --batch --quiet --armor --local-user images@example.org --detach-sign $file; done
gpg --armor --export images@example.org >images.txt
gpgconf --kill gpg-agent"#;

fn an_index_needs_the_signature_of_a_key_that_was_chosen(lab: &Lab) {
    let ana = lab.user("ana");
    let _server = serves(ana);
    ana.sh(SIGN).succeeds();
    let trusts =
        format!("[image]\nserver = \"{SERVER}\"\nkeyring = \"{}/images.gpg\"\n", ana.home().display());
    ana.write(".config/bryo/config.toml", &trusts);
    ana.bryo(["image", "ls", "--remote"]).succeeds().stdout_contains("debian/trixie/");
    let refused = |more: &[&str], why: &str| {
        ana.bryo([&["image", "pull", "debian/13"], more].concat()).exits(1).stderr_contains(why);
        ana.bryo(["image", "ls"]).succeeds().stdout_is("");
    };
    let keyring = |name: &str| ana.home().join(name).display().to_string();
    refused(&["--keyring", &keyring("other.gpg")], "its signature is not one of a key of the keyring");
    refused(&["--keyring", &keyring("images.txt")], "gpg --dearmor");
    refused(&["--keyring", &keyring("none.gpg")], "none.gpg");
    let list = "www/streams/v1/images.json";
    ana.sh(&format!("cp {list} kept; sed -i 's/05:24/05:25/' {list}")).succeeds();
    refused(&[], "streams/v1/images.json of http://127.0.0.1:8765: its signature");
    ana.sh(&format!("cp kept {list}; mv {list}.asc sig")).succeeds();
    refused(&[], "it has no signature beside it");
    // One of another text is none.
    ana.sh(&format!("cp www/streams/v1/index.json.asc {list}.asc")).succeeds();
    refused(&[], "its signature is not one of a key of the keyring");
    ana.sh(&format!("mv sig {list}.asc")).succeeds();
    ana.bryo(["image", "pull", "debian/13"]).succeeds();
    assert!(!ana.processes().iter().any(|process| process.command.contains("gpgv")));
}

/// Serves a signed index to a user who trusts one of two keys.
fn serves_signed(ana: User<'_>) -> Background {
    let server = serves(ana);
    ana.sh(SIGN).succeeds();
    let trusts =
        format!("[image]\nserver = \"{SERVER}\"\nkeyring = \"{}/images.gpg\"\n", ana.home().display());
    ana.write(".config/bryo/config.toml", &trusts);
    server
}

/// Runs gpg with the keys of [`SIGN`].
fn gpg(ana: User<'_>, script: &str) {
    let keys = "export GNUPGHOME=$HOME/keys; gpg() { command gpg --batch --quiet --yes \"$@\"; }";
    ana.sh(&format!("set -e; {keys}\n{script}\ngpgconf --kill gpg-agent")).succeeds();
}

fn one_good_signature_of_several_is_enough_and_a_bad_one_is_not(lab: &Lab) {
    let ana = lab.user("ana");
    let _server = serves_signed(ana);
    let both = "for file in www/streams/v1/*.json; do
        gpg --armor --local-user other@example.org --local-user images@example.org --detach-sign $file
    done";
    gpg(ana, both);
    ana.bryo(["image", "ls", "--remote"]).succeeds().stdout_contains("debian/trixie/");
    // Both are known, and one is of another text.
    gpg(
        ana,
        "cat images.gpg other.gpg >both.gpg; echo x >x; rm www/streams/v1/images.json.asc
        gpg --local-user other@example.org --output bad --detach-sign x
        gpg --local-user images@example.org --output good --detach-sign www/streams/v1/images.json
        cat good bad >www/streams/v1/images.json.gpg",
    );
    ana.bryo(["image", "ls", "--remote"]).succeeds();
    let keyring = ana.home().join("both.gpg").display().to_string();
    ana.bryo(["image", "ls", "--remote", "--keyring", &keyring])
        .exits(1)
        .stderr_contains("its signature is not one of a key of the keyring: BAD signature");
}

fn without_gpgv_nothing_that_should_be_signed_is_fetched(lab: &Lab) {
    let ana = lab.user("ana");
    let _server = serves_signed(ana);
    let without = "for dir in /usr/bin /bin /usr/local/bin; do
        if [ -f $dir/gpgv ]; then mount --bind /dev/null $dir/gpgv; fi
    done";
    let refused = ana.bryo(["image", "pull", "debian/13"]).amid(without).exits(1);
    refused.stderr_contains("a keyring is named").stderr_contains("install the package gpgv");
    ana.bryo(["image", "ls"]).succeeds().stdout_is("");
    ana.bryo(["image", "pull", "debian/13"]).succeeds();
}

/// Simplestreams as Ubuntu's servers have it, and what somebody on the way could make of it.
fn an_index_may_have_its_signature_inside(lab: &Lab) {
    let ana = lab.user("ana");
    let _server = serves_signed(ana);
    let sign = "cd www/streams/v1
        for name in index images; do gpg --local-user $who@example.org --output $name.sjson --clearsign $name.json; done";
    let signed_by = |who: &str| gpg(ana, &format!("who={who}; {sign}"));
    signed_by("images");
    ana.sh("cd www/streams/v1; rm *.asc; mkdir kept; mv *.json kept; cp *.sjson kept").succeeds();
    ana.bryo(["image", "ls", "--remote"]).succeeds().stdout_contains("debian/trixie/");
    let refused = |twin: &str, why: &str| {
        ana.sh(&format!("cd www/streams/v1; {twin}")).succeeds();
        let refused = ana.bryo(["image", "pull", "debian/13"]).exits(1);
        refused.stderr_contains("streams/v1/images.sjson of").stderr_contains(why);
        ana.bryo(["image", "ls"]).succeeds().stdout_is("");
        ana.sh("cd www/streams/v1; cp kept/*.sjson .").succeeds();
    };
    let (bad, around) =
        ("its signature is not one of a key of the keyring", "what stands outside of the signed part");
    refused("sed -i s/05:24/05:25/ images.sjson", bad);
    refused("cp index.sjson x; sed 's/^{.*/{}/' x >images.sjson", bad);
    refused("cp kept/images.json images.sjson", around);
    refused("(cat kept/images.json; cat kept/images.sjson) >images.sjson", around);
    refused("cat kept/images.json >>images.sjson", around);
    refused("cat kept/index.sjson >>images.sjson", around);
    refused(
        "(cat kept/images.json; sed -n '/BEGIN PGP SIGNATURE/,$p' kept/images.sjson) >images.sjson",
        around,
    );
    refused("sed -i '/BEGIN PGP SIGNED/i x' images.sjson", around);
    refused("sed -i '/^Hash/a X: {}' images.sjson", bad);
    refused("sed -i '/END PGP/d' images.sjson", around);
    // In the place of the signature a whole message of the key's about nothing: gpgv gives out the text, and calls the message good.
    gpg(ana, ": >empty; gpg --local-user images@example.org --output empty.gpg --sign empty");
    refused(
        "(sed -n '1,/^$/p' kept/images.sjson; cat kept/images.json; printf '\\n-----BEGIN PGP SIGNATURE-----\\n\\n'
        base64 ~/empty.gpg; echo -----END PGP SIGNATURE-----) >images.sjson",
        bad,
    );
    ana.sh("cd www/streams/v1; cp kept/*.json .").succeeds();
    signed_by("other");
    ana.sh("cd www/streams/v1; cp kept/index.sjson .").succeeds();
    refused("true", bad);
    // Without it what is beside the text counts, and there is nothing.
    ana.sh("cd www/streams/v1; rm images.sjson").succeeds();
    ana.bryo(["image", "pull", "debian/13"]).exits(1).stderr_contains("it has no signature beside it");
    ana.sh("cd www/streams/v1; cp kept/*.sjson .; rm *.json").succeeds();
    ana.bryo(["image", "pull", "debian/13"]).succeeds();
    ana.bryo(["create", "web", "debian/13"]).succeeds();
    ana.destroy("web");
}

fn all_names_of_a_lock_that_are_wrong_are_told_at_once(lab: &Lab) {
    let ana = lab.user("ana");
    let _server = serves(ana);
    for name in ["debian/13", "debian/trixie", "debian/trixie/x86_64"] {
        ana.bryo(["image", "pull", name, "--lock", "bryo.lock"]).succeeds();
    }
    ana.sh("rm -r .local/share/bryo/images; sed -i '/\"debian.trixie.x86_64\"/,$!s/\"digest\": \"sha256:...../\"digest\": \"sha256:00000/' bryo.lock").succeeds();
    let refused = ana
        .bryo(["image", "pull", "--locked"])
        .exits(1)
        .stderr_contains("fetch 2 of the images")
        .stderr_contains("the digest of debian/13 is not")
        .stderr_contains("the digest of debian/trixie is not");
    assert!(!refused.stderr.contains("x86_64"), "{}", refused.stderr);
    ana.bryo(["image", "ls"]).succeeds().stdout_is("");
}

fn who_waits_for_a_lock_is_told_for_whom(lab: &Lab) {
    let ana = lab.user("ana");
    let _server = serves(ana);
    let holder = ana.sh("exec flock .bryo.lock.lock sleep 86423").background();
    let held = |process: &tests::Process| process.command == "sleep 86423";
    within(60, "the file is locked", || ana.processes().iter().any(held));
    let pull = ana.sh("bryo image pull debian/13 --lock bryo.lock 2>said; echo $? >ended").background();
    let said = || fs::read_to_string(ana.home().join("said")).unwrap_or_default();
    within(60, "it is told", || said().contains("writes bryo.lock; this one waits for it"));
    assert!(said().contains("process ") && !ana.home().join("ended").exists(), "{}", said());
    drop(holder);
    within(60, "the pull has ended", || ana.home().join("ended").exists());
    drop(pull);
    ana.sh("cat ended; grep -c digest bryo.lock; ls -A | grep lock")
        .succeeds()
        .stdout_is("0\n1\nbryo.lock\n");
    // Another user's is in the way, and nobody knows whether it is in use.
    let other = ana.home().join(".bryo.lock.lock");
    let made =
        fs::write(&other, "").and_then(|()| fs::set_permissions(&other, Permissions::from_mode(0o600)));
    made.expect("a file of another user's");
    ana.sh("bryo image pull debian/trixie --lock bryo.lock")
        .exits(1)
        .stderr_contains("has .bryo.lock.lock: a command of that user's writes, or was killed");
    fs::remove_file(&other).expect("it is removed");
    ana.sh("grep -c digest bryo.lock").succeeds().stdout_is("1\n");
}

/// It has no digest that anybody could write down.
fn what_lxc_has_fetched_is_not_what_is_locked(lab: &Lab) {
    let ana = lab.user("ana");
    let _server = serves(ana);
    let keep = "dir=.cache/lxc/download/debian/trixie/$(uname -m)/default; mkdir -p $dir; cp /run/bryo-lab/rootfs/busybox.tar.xz $dir/rootfs.tar.xz; \
                echo 20261126_05:24 >$dir/build_id";
    ana.sh(keep).succeeds();
    ana.bryo(["create", "web", "debian/trixie"]).succeeds().stderr_contains("web created: ");
    ana.bryo(["create", "db", "debian/trixie", "--lock", "bryo.lock"]).succeeds();
    ana.sh("grep -c 20261125_05:24 bryo.lock").succeeds().stdout_is("1\n");
    ana.destroy("web");
    ana.destroy("db");
}

fn who_is_a_user_in_an_image_makes_files_of_his_own_and_changes_none_of_the_image(lab: &Lab) {
    let ana = lab.user("ana");
    pulls(ana);
    ana.bryo(["create", "web", "debian/13"]).succeeds();
    ana.sh("mkdir src").succeeds();
    let create = ["create", "dev", "debian/13", "--share", "src"];
    ana.bryo(create).succeeds().stderr_contains("created over").stderr_contains("you are ");
    // In another id map it is another tree.
    let unpacked = bases(ana);
    assert_eq!(unpacked.len(), 2, "{unpacked:?}");
    let before: Vec<_> = unpacked.iter().map(|base| listing(&base.join("rootfs"))).collect();
    ana.bryo(["start", "dev"]).succeeds();
    let (uid, login, src) = (ana.account().uid, &ana.account().login, ana.home().join("src"));
    let work =
        format!("id -u; echo x >{}/made; echo y >~{login}/own; stat -c %u ~{login}/own", src.display());
    let said = ana.bryo(["exec", "-u", login, "dev", "--", "sh", "-c", &work]).succeeds();
    said.stdout_is(format!("{uid}\n{uid}\n"));
    ana.sh("stat -c %U src/made").succeeds().stdout_is(format!("{login}\n"));
    ana.bryo(["exec", "dev", "--", "sh", "-c", "echo root >>/etc/passwd; rm /srv/kept/plain"]).succeeds();
    ana.bryo(["stop", "-k", "dev"]).succeeds();
    ana.bryo(["destroy", "dev"]).succeeds();
    assert_eq!(unpacked.iter().map(|base| listing(&base.join("rootfs"))).collect::<Vec<_>>(), before);
    ana.bryo(["destroy", "web"]).succeeds();
}

/// What [`REGISTRY`] makes, where docker-registry keeps its files. Source: its storage's `paths.go`.
const DEBIANS: &str = r#"from=reg/v2/ana/web to=store/docker/registry/v2
keep() { mkdir -p $to/blobs/sha256/${1%${1#??}}/$1; cp $2 $to/blobs/sha256/${1%${1#??}}/$1/data; }
link() { mkdir -p $to/repositories/ana/web/$1; printf sha256:$2 >$to/repositories/ana/web/$1/link; }
for file in $from/blobs/*; do sum=${file##*:}; keep $sum $file; link _layers/sha256/$sum $sum; done
kind=application/vnd.oci.image
sed 's|^{|{"schemaVersion": 2, "mediaType": "'$kind'.manifest.v1+json", |; s|layer.v1.tar+gzip|config.v1+json|' $from/manifests/3 >manifest.json
sum=$(sha256sum manifest.json) sum=${sum%% *}; keep $sum manifest.json
link _manifests/revisions/sha256/$sum $sum; link _manifests/tags/3/current $sum; link _manifests/tags/3/index/sha256/$sum $sum
printf 'version: 0.1\nstorage: {filesystem: {rootdirectory: %s/store}}\nhttp: {addr: "127.0.0.1:8768"}\n' $PWD >registry.yml
exec docker-registry serve registry.yml"#;

fn debians_registry_is_a_registry(lab: &Lab) {
    let ana = lab.user("ana");
    ana.sh(&REGISTRY.replace("exec busybox httpd", "true busybox httpd")).succeeds();
    let _registry = ana.sh(DEBIANS).background();
    let image = "docker:localhost:8768/ana/web:3";
    within(60, "the registry answers", || ana.bryo(["image", "pull", image]).output().status() == 0);
    ana.bryo(["run", image]).succeeds().stdout_is("served at  last\n");
    ana.bryo(["run", image, "--", "cat", "/etc/new"]).succeeds().stdout_is("new\n");
    // As other tools spell it.
    let spelt = "docker://localhost:8768/ana/web:3";
    ana.bryo(["run", spelt]).succeeds().stdout_is("served at  last\n");
    ana.bryo(["image", "info", spelt]).succeeds().stdout_contains(image);
    ana.lxc("create", ["-n", "web", "-t", "oci", "--", "-u", spelt]).succeeds();
    ana.destroy("web");
    ana.bryo(["image", "pull", "docker:localhost:8768/ana/web:4"]).exits(1).stderr_contains("has no image");
    ana.bryo(["image", "pull", "docker:localhost:8768/ana/web:3", "--lock", "bryo.lock"]).succeeds();
    ana.bryo(["image", "rm", image]).succeeds();
    ana.bryo(["run", "--locked", image]).succeeds().stdout_is("served at  last\n");
}

/// Registers an interpreter with the given flags in a user namespace, in which the user is root and has ids as outside, and becomes a command there. What is taken is how
/// ELF programs of 64 bits of the machine begin. Source: the kernel's Documentation/admin-guide/binfmt-misc.rst.
fn with_interpreter(ana: User<'_>, flags: &str, command: &str) -> String {
    let (subuid, subgid) = (ana.account().subuids.start, ana.account().subgids.start);
    format!(
        r#"case $(cat /run/bryo-lab/rootfs/foreign/machine) in aarch64) number=b7 ;; *) number=3e ;; esac
zeros=$(printf '\\x00%.0s' 1 2 3 4 5 6 7 8 9)
ones=$(printf '\\xff%.0s' 1 2 3 4 5 6 7)
line=":foreign:M::\\x7fELF\\x02\\x01\\x01$zeros\\x02\\x00\\x$number\\x00"
line="$line:$ones\\x00$ones\\xff\\xfe\\xff\\xff\\xff:/run/bryo-lab/rootfs/foreign/qemu:{flags}"
printf '%s' "$line" >line
exec unshare --user --map-root-user --map-users={subuid},100000,65536 --map-groups={subgid},100000,65536 --mount sh -ec '
    echo root:100000:65536 >ids
    mount --bind ids /etc/subuid
    mount --bind ids /etc/subgid
    mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
    cat line >/proc/sys/fs/binfmt_misc/register
    exec {command}'"#
    )
}

fn programs_of_another_architecture_run_where_an_interpreter_is_open_for_them(lab: &Lab) {
    let ana = lab.user("ana");
    ana.sh("mkdir -p root/bin root/proc root/dev; cp /run/bryo-lab/rootfs/foreign/busybox root/bin; tar -cf root.tar -C root .; \
            bryo image import root.tar small/1/$(cat /run/bryo-lab/rootfs/foreign/machine)")
        .succeeds();
    let machine = ana.sh("cat /run/bryo-lab/rootfs/foreign/machine").succeeds().stdout;
    let run = format!("bryo -P $HOME/containers run small/1/{} -- /bin/busybox uname -m", machine.trim());
    ana.sh(&run).exits(125).stderr_contains("runs no programs of");
    ana.sh(&with_interpreter(ana, "OC", &run)).exits(125).stderr_contains("lacks the flag F");
    ana.sh(&with_interpreter(ana, "OCF", &run)).succeeds().stdout_is(&machine);
    ana.bryo(["ls"]).succeeds().stdout_is("");
}
