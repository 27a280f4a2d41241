//! `bryo doctor` on hosts that lack something: it names what is lacking, the start that fails or goes on with less names
//! the same, and the line that mends it makes the finding go away.

use tests::{Command, Filter, Lab, Output, User};

tests::claims! {
    a_host_that_lacks_nothing_is_told_so: hybrid, needs Bryo;
    a_missing_program_is_found: hybrid, needs Bryo;
    user_namespaces_off_by_sysctl_are_found_and_mended: hybrid, needs Bryo;
    a_filter_that_refuses_user_namespaces_is_found: hybrid, needs Bryo;
    a_call_that_is_not_there_is_found: hybrid, needs Bryo;
    limits_of_namespaces_are_found_here_and_further_out: hybrid, needs Bryo;
    limits_of_the_process_are_found: hybrid, needs Bryo;
    a_chroot_is_found: hybrid, needs Bryo;
    a_user_namespace_with_one_id_is_found: hybrid, needs Bryo;
    no_new_privs_is_found: hybrid, needs Bryo;
    a_helper_without_capabilities_is_found_and_mended: hybrid, needs Bryo;
    a_helper_that_its_user_can_change_is_found_with_rights_and_without: hybrid, needs Bryo;
    a_helper_on_a_nosuid_mount_is_found_mended_and_passed_over: hybrid, needs Bryo;
    no_line_of_subordinate_ids_is_found_and_mended: hybrid, needs Bryo;
    lines_for_others_alone_are_found_and_mended: hybrid, needs Bryo;
    a_short_line_is_found_and_mended: hybrid, needs Bryo;
    an_overlapping_line_is_found_and_mended: hybrid, needs Bryo;
    a_line_over_an_account_is_found_and_mended: hybrid, needs Bryo;
    another_source_of_ids_is_found_and_bryo_idmap_passed_over: hybrid, needs Bryo;
    a_masked_proc_is_found: hybrid unified, needs Bryo;
    a_masked_sys_is_found: hybrid, needs Bryo;
    a_read_only_proc_is_found_and_mended: hybrid, needs Bryo;
    a_read_only_sys_is_found_and_is_the_containers_own: hybrid, needs Bryo;
    a_filter_that_forbids_clone3_alone_is_found_and_stops_nothing: hybrid, needs Bryo;
    in_a_cell_what_the_doctor_says_is_what_happens: cell, needs Bryo;
    in_a_closed_cell_the_doctor_names_the_filter: closed_cell, needs Bryo;
    a_filter_that_kills_is_named_as_one_that_refuses_is: hybrid, needs Bryo;
    a_list_that_knows_no_new_mount_calls_is_named: cell, needs Bryo;
    hidden_processes_are_found_and_cost_no_container_anything: hybrid, needs Bryo;
    cgroups_that_may_not_be_written_are_found: hybrid unified, needs Bryo;
    controllers_that_no_cgroup_has_are_found: unified, needs Bryo;
    a_file_system_that_runs_no_programs_is_found_and_mended: hybrid, needs Bryo;
    a_full_file_system_is_found: hybrid, needs Bryo;
    veth_without_helper_and_grant_is_found: hybrid, needs Bryo;
    what_the_doctor_says_of_the_helper_for_devices_is_what_running_it_shows: hybrid, needs Bryo;
    a_helper_for_devices_that_others_can_change_is_found: hybrid, needs Bryo;
    a_start_says_what_another_program_in_the_helpers_place_did: hybrid, needs Bryo;
    a_closed_fuse_is_found_and_mended: hybrid, needs Bryo;
}

/// A private copy of /etc, so that its files can be changed and replaced.
const OWN_ETC: &str = "mount -t tmpfs own /mnt && cp -a /etc /mnt/etc && mount --bind /mnt/etc /etc";

const HIDE_NEWUIDMAP: &str = "mount --bind /dev/null /usr/bin/newuidmap";

/// What `bryo doctor --json` says of one finding.
#[derive(Debug)]
struct Said {
    severity: String,
    fact: String,
    mend: String,
}

/// Asks the doctor, in the same surroundings as the command of the test.
fn asks(doctor: Command<'_>) -> serde_json::Value {
    doctor.output().json()
}

fn finding(report: &serde_json::Value, id: &str) -> Option<Said> {
    let all = report["findings"].as_array().expect("the findings are a list");
    let found = all.iter().find(|finding| finding["id"] == id)?;
    let text = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
    Some(Said { severity: text("severity"), fact: text("fact"), mend: text("mend") })
}

/// Requires a finding, in JSON and in words.
#[track_caller]
fn finds<'a>(doctor: impl Fn(&str) -> Command<'a>, id: &str, severity: &str) -> Said {
    let report = asks(doctor("--json"));
    let said = finding(&report, id).unwrap_or_else(|| panic!("{id} is not among {report:#}"));
    assert_eq!(said.severity, severity, "{said:?}");
    let has = |severity: &str| {
        report["findings"].as_array().is_some_and(|all| all.iter().any(|f| f["severity"] == severity))
    };
    let stops = has("stops");
    assert_eq!(report["runs"], !stops, "{report:#}");
    assert_eq!(report["starts"], !stops && !has("stops-init"), "{report:#}");
    doctor("--all").exits(i32::from(stops)).stdout_contains(&format!("  {id}: {}", said.fact));
    said
}

/// The line that mends, for one who is root already.
fn as_root(said: &Said) -> String {
    said.mend.replace("sudo ", "")
}

/// Requires that a finding is gone once its line has been run by root of the host.
#[track_caller]
fn is_mended(ana: &User<'_>, amid: &str, said: &Said, id: &str) {
    let mended = format!("{amid}\n{{ {}; }} >/dev/null", as_root(said));
    let report = asks(ana.bryo(["doctor", "--json"]).amid(mended));
    let left = finding(&report, id);
    assert!(left.is_none(), "{id} is still there after {}: {left:?}", said.mend);
}

fn named(id: &str) -> String {
    format!("(bryo doctor: {id})")
}

fn doctor<'a>(ana: &'a User<'a>, amid: &'a str) -> impl Fn(&str) -> Command<'a> {
    move |option| ana.bryo(["doctor", option]).amid(amid)
}

fn a_host_that_lacks_nothing_is_told_so(lab: &Lab) {
    let ana = lab.user("ana");
    let told = ana.bryo(["doctor"]).succeeds();
    let last = told.stdout.lines().last().unwrap_or_default().to_owned();
    assert!(last.starts_with("containers start here, and nothing is lacking: ids by bryo-idmap"), "{last}");
    let report = asks(ana.bryo(["doctor", "--json", "--all"]));
    assert_eq!(report["starts"], true);
    assert_eq!(report["rungs"]["ids"], "bryo-idmap");
    assert_eq!(finding(&report, "userns.sysctl").map(|said| said.severity).as_deref(), Some("fine"));
    ana.bryo([""; 0]).succeeds().stdout_lacks("bryo doctor");
}

fn a_missing_program_is_found(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    ana.sh("mkdir own && cp -r /run/bryo-lab/prefix/. own/ && rm own/libexec/bryo/bryo-init").succeeds();
    let own = |words: &str| ana.sh(&format!("own/bin/bryo {words}"));
    finds(|option| own(&format!("doctor {option}")), "programs.others", "costs");
    own("execute web -- true").exits(125).stderr_contains(&named("programs.others"));
    ana.sh("rm own/libexec/bryo/bryo-monitor").succeeds();
    let said = finds(|option| own(&format!("doctor {option}")), "programs.monitor", "stops");
    assert!(said.mend.ends_with(&format!("--prefix {}/own", ana.home().display())), "{said:?}");
    own("start web").exits(1).stderr_contains(&named("programs.monitor"));
    ana.destroy("web");
}

fn user_namespaces_off_by_sysctl_are_found_and_mended(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    // The setting is per user namespace, so root of a nested one may forbid them there.
    let inside = |command: &str| {
        let off = "echo 0 >/proc/sys/user/max_user_namespaces";
        ana.run("unshare", ["-Ur", "sh", "-c", &format!("{off} && {command}")])
    };
    let said = finds(
        |option| inside(&format!("bryo -P $PWD/.local/share/lxc doctor {option}")),
        "userns.sysctl",
        "stops",
    );
    assert_eq!(said.fact, "/proc/sys/user/max_user_namespaces is 0");
    let report = asks(inside("bryo -P $PWD/.local/share/lxc doctor --json"));
    assert!(finding(&report, "userns.limit").is_none(), "one cause is one finding: {report:#}");
    inside("bryo -P $PWD/.local/share/lxc start web").exits(1).stderr_contains(&named("userns.sysctl"));
    inside("bryo -P $PWD/.local/share/lxc").succeeds().stdout_contains("bryo doctor");
    let mended =
        asks(inside(&format!("{} >/dev/null; bryo -P $PWD/.local/share/lxc doctor --json", as_root(&said))));
    assert!(finding(&mended, "userns.sysctl").is_none(), "{mended:#}");
    ana.destroy("web");
}

/// As filters of container engines do: clone3, whose arguments no filter can read, answers ENOSYS, and the other ways to a
/// user namespace EPERM.
fn a_filter_that_refuses_user_namespaces_is_found(lab: &Lab) {
    let ana = lab.user("ana");
    ana.sh("setpriv --no-new-privs bryo create web /run/bryo-lab/rootfs/busybox.tar.zst").succeeds();
    let said = finds(|option| ana.bryo(["doctor", option]).under(Filter::Closed), "userns.seccomp", "stops");
    assert_eq!(
        said.fact,
        "clone(CLONE_NEWUSER) = EPERM (Operation not permitted), and /proc/self/status has Seccomp: 2"
    );
    ana.bryo(["start", "web"]).under(Filter::Closed).exits(1).stderr_contains(&named("userns.seccomp"));
    ana.destroy("web");
}

fn a_call_that_is_not_there_is_found(lab: &Lab) {
    let ana = lab.user("ana");
    ana.sh("setpriv --no-new-privs bryo create web /run/bryo-lab/rootfs/busybox.tar.zst").succeeds();
    let said =
        finds(|option| ana.bryo(["doctor", option]).under(Filter::NoMountSetattr), "kernel.calls", "stops");
    assert!(said.fact.starts_with("mount_setattr(2) = ENOSYS"), "{said:?}");
    ana.bryo(["start", "web"]).under(Filter::NoMountSetattr).exits(1).stderr_contains(&named("kernel.calls"));
    ana.destroy("web");
}

/// Runs `bryo WORDS` as root of a user namespace in which, or in whose parent, a setting has been changed.
fn nested<'a>(user: &User<'a>, setting: &str, levels: usize, words: &str) -> Command<'a> {
    let deeper = "unshare -Ur ".repeat(levels);
    let bryo = format!("bryo -P $PWD/.local/share/lxc {words}");
    user.run("unshare", ["-Ur", "sh", "-c", &format!("echo {setting} && {deeper}{bryo}")])
}

fn limits_of_namespaces_are_found_here_and_further_out(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    for (setting, levels, id) in [
        ("0 >/proc/sys/user/max_net_namespaces", 0, "namespaces.sysctl"),
        ("0 >/proc/sys/user/max_net_namespaces", 1, "namespaces.refused"),
        ("1 >/proc/sys/user/max_user_namespaces", 1, "userns.limit"),
    ] {
        finds(|option| nested(&ana, setting, levels, &format!("doctor {option}")), id, "stops");
        nested(&ana, setting, levels, "start web").exits(1).stderr_contains(&named(id));
    }
    ana.destroy("web");
}

fn limits_of_the_process_are_found(lab: &Lab) {
    let ana = lab.user("ana");
    let limits = ["--nofile=200:4096", "--nproc=300:300"];
    let limited = |script: &str| ana.run("prlimit", limits.into_iter().chain(["sh", "-c", script]));
    let doctor = |option: &str| limited(&format!("bryo doctor {option}"));
    let said = finds(doctor, "limits.nofile", "costs");
    assert_eq!(said.fact, "the limit of open files (ulimit -n) is 200, the hard one 4096");
    let mended = asks(limited(&format!("{}; bryo doctor --json", said.mend)));
    assert!(finding(&mended, "limits.nofile").is_none(), "{mended:#}");
    // What the hard limit forbids is not advised as a line.
    assert_eq!(finds(doctor, "limits.nproc", "costs").mend, "");
}

fn a_chroot_is_found(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    let amid = "mount -t tmpfs own /mnt && mkdir /mnt/root && cd / && for entry in *; do
            if [ -L $entry ]; then cp -P $entry /mnt/root; elif [ $entry != mnt ]; then
                mkdir /mnt/root/$entry && mount --rbind /$entry /mnt/root/$entry || rmdir /mnt/root/$entry
            fi
        done
        exec chroot /mnt/root \"$@\"";
    finds(doctor(&ana, amid), "userns.chroot", "stops");
    ana.bryo(["start", "web"]).amid(amid).exits(1).stderr_contains(&named("userns.chroot"));
    ana.destroy("web");
}

fn a_user_namespace_with_one_id_is_found(lab: &Lab) {
    let ana = lab.user("ana");
    let said = finds(|option| ana.run("unshare", ["-Ur", "bryo", "doctor", option]), "userns.map", "costs");
    assert!(said.fact.starts_with("/proc/self/uid_map maps 1 ids"), "{said:?}");
}

fn no_new_privs_is_found(lab: &Lab) {
    let ana = lab.user("ana");
    let alone = |words: &[&str]| ana.run("setpriv", ["--no-new-privs", "bryo"].iter().chain(words));
    ana.busybox("many");
    let said = finds(|option| alone(&["doctor", option]), "helper.no_new_privs", "costs");
    assert_eq!(said.fact, "/proc/self/status has NoNewPrivs: 1");
    alone(&[]).succeeds().stdout_contains("\n1 finding: bryo doctor\n");
    alone(&["start", "many"]).exits(1).stderr_contains(&named("helper.no_new_privs"));
    alone(&["create", "one", "/run/bryo-lab/rootfs/busybox.tar.zst"]).succeeds();
    alone(&["start", "one"]).succeeds().stderr_contains(&named("helper.no_new_privs"));
    ana.bryo(["stop", "-k", "one"]).succeeds();
    alone(&["destroy", "one"]).succeeds();
    ana.destroy("many");
}

fn a_helper_without_capabilities_is_found_and_mended(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    // Root's copy: what lies there without rights may be given them.
    let copied = "mount -t tmpfs -o mode=755 own /mnt; cp -r /run/bryo-lab/prefix/. /mnt; chmod u-s /mnt/libexec/bryo/*";
    let own = |words: &str, amid: &str| ana.sh(&format!("/mnt/bin/bryo {words}")).amid(amid.to_owned());
    finds(|option| own(&format!("doctor {option}"), copied), "idmap.capabilities", "note");
    let alone = format!("{copied}\n{HIDE_NEWUIDMAP}");
    let said = finds(|option| own(&format!("doctor {option}"), &alone), "idmap.capabilities", "costs");
    finds(|option| own(&format!("doctor {option}"), &alone), "newuidmap.absent", "costs");
    own("start web", &alone).exits(1).stderr_contains(&named("idmap.capabilities"));
    let mended = format!("{alone}\n{}", as_root(&said));
    let report = asks(own("doctor --json", &mended));
    assert!(finding(&report, "idmap.capabilities").is_none(), "{report:#}");
    own("start --verbose web", &mended).succeeds().stderr_contains("bryo-idmap");
    ana.destroy("web");
}

fn a_helper_that_its_user_can_change_is_found_with_rights_and_without(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    ana.sh("mkdir own && cp -r /run/bryo-lab/prefix/. own/ && chmod 4755 own/libexec/bryo/bryo-idmap")
        .succeeds();
    let own = |words: &str, amid: &str| ana.sh(&format!("own/bin/bryo {words}")).amid(amid.to_owned());
    let said = finds(|option| own(&format!("doctor {option}"), HIDE_NEWUIDMAP), "idmap.owner", "costs");
    let hers = format!("and {} belongs to user {}, not to root", ana.home().display(), ana.account().uid);
    assert!(said.fact.ends_with(&hers), "{said:?}");
    own("start web", HIDE_NEWUIDMAP).exits(1).stderr_contains(&named("idmap.owner"));
    // Where newuidmap does the work it is worth knowing, unless the helper has rights: then they are ana's.
    finds(|option| own(&format!("doctor {option}"), "true"), "idmap.owner", "note");
    let helper = ana.home().join("own/libexec/bryo/bryo-idmap");
    let given = format!("setcap cap_setuid,cap_setgid=ep {}", helper.display());
    let said = finds(|option| own(&format!("doctor {option}"), &given), "idmap.owner", "costs");
    assert_eq!(said.mend, "sudo cargo xtask install");
    let report = asks(ana.bryo(["doctor", "--json"]));
    assert!(finding(&report, "idmap.owner").is_none(), "what root has installed is root's: {report:#}");
    ana.destroy("web");
}

fn a_helper_on_a_nosuid_mount_is_found_mended_and_passed_over(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    let nosuid = "mount --bind /run/bryo-lab/prefix /run/bryo-lab/prefix
        mount -o remount,bind,nosuid /run/bryo-lab/prefix";
    finds(doctor(&ana, nosuid), "idmap.nosuid", "note");
    ana.bryo(["start", "--verbose", "web"]).amid(nosuid).succeeds().stderr_contains("newuidmap");
    ana.bryo(["stop", "-k", "web"]).succeeds();
    let alone = format!("{nosuid}\n{HIDE_NEWUIDMAP}");
    let said = finds(doctor(&ana, &alone), "idmap.nosuid", "costs");
    ana.bryo(["start", "web"]).amid(&*alone).exits(1).stderr_contains(&named("idmap.nosuid"));
    is_mended(&ana, &alone, &said, "idmap.nosuid");
    ana.destroy("web");
}

/// Gives both files the same lines, in which `ANA` stands for the login name.
fn with_lines(ana: &User<'_>, lines: &str) -> String {
    let lines = lines.replace("ANA", &ana.account().login).replace('\n', "\\n");
    format!("{OWN_ETC}\nprintf '{lines}' >/etc/subuid; cp /etc/subuid /etc/subgid")
}

/// A container of the usual map does not start, and one that is made now has one id.
fn has_no_ids(ana: &User<'_>, amid: &str, id: &str) {
    ana.busybox("many");
    ana.bryo(["start", "many"]).amid(amid).exits(1).stderr_contains(&named(id));
    ana.bryo(["create", "one", "/run/bryo-lab/rootfs/busybox.tar.zst"]).amid(amid).succeeds();
    ana.bryo(["start", "one"]).amid(amid).succeeds().stderr_contains(&named(id));
    ana.bryo(["stop", "-k", "one"]).succeeds();
    ana.bryo(["destroy", "one"]).amid(amid).succeeds();
    ana.destroy("many");
}

fn no_line_of_subordinate_ids_is_found_and_mended(lab: &Lab) {
    let ana = lab.user("ana");
    let amid = with_lines(&ana, "# nobody\n");
    let said = finds(doctor(&ana, &amid), "subid.absent", "costs");
    assert_eq!(said.fact, "/etc/subuid is empty or not there; /etc/subgid is empty or not there");
    has_no_ids(&ana, &amid, "subid.absent");
    is_mended(&ana, &amid, &said, "subid.absent");
}

fn lines_for_others_alone_are_found_and_mended(lab: &Lab) {
    let ana = lab.user("ana");
    let amid = with_lines(&ana, "ANA2:900000:65536\n4242:700000:65536\n");
    let said = finds(doctor(&ana, &amid), "subid.foreign", "costs");
    let login = &ana.account().login;
    assert!(
        said.fact.starts_with(&format!("/etc/subuid grants ids to {login}2 and 4242, and none to {login}")),
        "{said:?}"
    );
    has_no_ids(&ana, &amid, "subid.foreign");
    is_mended(&ana, &amid, &said, "subid.foreign");
}

fn a_short_line_is_found_and_mended(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    let amid = with_lines(&ana, "ANA:900000:1000\n");
    let said = finds(doctor(&ana, &amid), "subid.short", "costs");
    ana.bryo(["start", "web"]).amid(&*amid).exits(1).stderr_contains(&named("subid.short"));
    is_mended(&ana, &amid, &said, "subid.short");
    ana.destroy("web");
}

fn an_overlapping_line_is_found_and_mended(lab: &Lab) {
    let ana = lab.user("ana");
    let amid = with_lines(&ana, "ANA:900000:65536\n4242:965535:65536\n");
    let said = finds(doctor(&ana, &amid), "subid.overlap", "costs");
    assert!(said.mend.contains("--del-subuids 900000-965535"), "{said:?}");
    is_mended(&ana, &amid, &said, "subid.overlap");
}

fn a_line_over_an_account_is_found_and_mended(lab: &Lab) {
    let ana = lab.user("ana");
    let lines = with_lines(&ana, "ANA:900000:65536\n");
    let amid = format!("{lines}\necho 'eve:x:900007:900007::/:/bin/sh' >>/etc/passwd");
    let said = finds(doctor(&ana, &amid), "subid.account", "costs");
    assert!(said.fact.contains("900007 is eve"), "{said:?}");
    is_mended(&ana, &amid, &said, "subid.account");
}

fn another_source_of_ids_is_found_and_bryo_idmap_passed_over(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    let amid = format!("{OWN_ETC}\necho 'subid: elsewhere' >>/etc/nsswitch.conf");
    finds(doctor(&ana, &amid), "subid.nsswitch", "costs");
    // There is no such source, so newuidmap, which is asked in place of bryo-idmap, takes the files after all.
    ana.bryo(["start", "--verbose", "web"]).amid(&*amid).succeeds().stderr_contains("newuidmap");
    ana.destroy("web");
}

/// Requires that nothing starts amid this, and that the failure has the name.
fn stops(ana: &User<'_>, amid: &str, id: &str) -> Output {
    ana.busybox("web");
    let failed = ana.bryo(["start", "web"]).amid(amid).exits(1).stderr_contains(&named(id));
    ana.destroy("web");
    failed
}

fn a_masked_proc_is_found(lab: &Lab) {
    let ana = lab.user("ana");
    let amid = "mount --bind /dev/null /proc/cpuinfo";
    let said = finds(doctor(&ana, amid), "proc.masked", "stops-init");
    assert!(said.fact.contains("/proc/cpuinfo"), "{said:?}");
    stops(&ana, amid, "proc.masked");
    ana.busybox("lxc");
    let failed = ana.lxc("start", ["-n", "lxc"]).amid(amid).exits(1);
    failed.stderr_contains(&named("proc.masked"));
    ana.destroy("lxc");
    // A mount on a directory that is always empty hides nothing, and is no finding.
    ana.bryo(["doctor"]).amid("mount -t tmpfs own /proc/sys/fs/binfmt_misc || true").succeeds();
}

fn a_masked_sys_is_found(lab: &Lab) {
    let ana = lab.user("ana");
    let amid = "mount -t tmpfs own /sys/module";
    let said = finds(doctor(&ana, amid), "sys.masked", "costs");
    assert!(said.fact.contains("/sys/module"), "{said:?}");
    ana.busybox("web");
    ana.bryo(["start", "web"]).amid(amid).succeeds();
    ana.bryo(["exec", "web", "--", "test", "-d", "/sys/class/net/lo"]).succeeds();
    ana.bryo(["stop", "web"]).succeeds();
    ana.destroy("web");
}

/// By a helper, and without one.
fn a_read_only_proc_is_found_and_mended(lab: &Lab) {
    let ana = lab.user("ana");
    let amid = "mount -o remount,bind,ro /proc";
    let said = finds(doctor(&ana, amid), "proc.readonly", "stops");
    let report = asks(doctor(&ana, amid)("--json"));
    assert!(finding(&report, "proc.masked").is_none(), "one cause is one finding: {report:#}");
    stops(&ana, amid, "proc.readonly");
    let alone = ana.run("setpriv", ["--no-new-privs", "bryo", "run", "--", "true"]).amid(amid);
    alone.exits(125).stderr_contains(&named("proc.readonly"));
    is_mended(&ana, amid, &said, "proc.readonly");
}

fn a_read_only_sys_is_found_and_is_the_containers_own(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    let amid = "mount -o remount,bind,ro /sys";
    finds(doctor(&ana, amid), "sys.readonly", "note");
    ana.bryo(["start", "web"]).amid(amid).succeeds();
    let own = "grep -qE '^[^ ]+ /sys [^ ]+ ro' /proc/mounts && test \"$(ls /sys/class/net)\" = lo";
    ana.bryo(["exec", "web", "--", "sh", "-c", own]).succeeds();
    ana.bryo(["stop", "web"]).succeeds();
    ana.destroy("web");
}

/// EPERM, as lists answer that know no newer errno for what they refuse.
fn a_filter_that_forbids_clone3_alone_is_found_and_stops_nothing(lab: &Lab) {
    let ana = lab.user("ana");
    ana.sh("setpriv --no-new-privs bryo create web /run/bryo-lab/rootfs/busybox.tar.zst").succeeds();
    let said =
        finds(|option| ana.bryo(["doctor", option]).under(Filter::ForbiddenClone3), "userns.clone3", "costs");
    assert_eq!(said.fact, "clone3(CLONE_NEWUSER) = EPERM (Operation not permitted)");
    ana.append(".local/share/lxc/web/config", "lxc.hook.pre-start = true\nlxc.hook.mount = true\n");
    ana.bryo(["start", "web"]).under(Filter::ForbiddenClone3).succeeds();
    ana.bryo(["stop", "-k", "web"]).succeeds();
    ana.destroy("web");
    let archive = "/run/bryo-lab/rootfs/busybox.tar.xz";
    for words in [
        &["create", "web", archive][..],
        &["config", "edit", "web"],
        &["create", "box", "-t", "busybox"],
        &["image", "import", archive, "mine/1"],
        &["image", "verify"],
        &["image", "info", "mine/1"],
        &["run", "mine/1", "--", "true"],
    ] {
        ana.bryo(words).env("EDITOR", "true").under(Filter::ForbiddenClone3).succeeds();
    }
    ana.destroy("web");
    ana.destroy("box");
}

fn in_a_cell_what_the_doctor_says_is_what_happens(lab: &Lab) {
    let ana = lab.user("ana");
    let doctor = |option: &str| ana.bryo(["doctor", option]);
    let said = finds(doctor, "proc.masked", "stops-init");
    assert!(said.fact.contains("over it are mounted /proc/"), "{said:?}");
    finds(doctor, "userns.clone3", "costs");
    finds(doctor, "helper.no_new_privs", "costs");
    ana.bryo(["doctor"]).succeeds().stdout_contains("commands run here (bryo run, bryo execute)");
    ana.bryo(["run", "--", "true"]).succeeds();
    ana.bryo(["create", "web", "/run/bryo-lab/rootfs/busybox.tar.zst"]).succeeds();
    ana.bryo(["start", "web"]).exits(1).stderr_contains(&named("proc.masked"));
    ana.destroy("web");
}

fn in_a_closed_cell_the_doctor_names_the_filter(lab: &Lab) {
    let ana = lab.user("ana");
    finds(|option| ana.bryo(["doctor", option]), "userns.seccomp", "stops");
    ana.bryo(["run", "--", "true"]).exits(125).stderr_contains(&named("userns.seccomp"));
}

fn a_filter_that_kills_is_named_as_one_that_refuses_is(lab: &Lab) {
    let ana = lab.user("ana");
    for (filter, id, fact) in [
        (
            Filter::DeadlyMounts,
            "mounts.seccomp",
            "a seccomp filter refuses pivot_root, umount2, fsopen, fsconfig, fsmount and 3 more",
        ),
        (
            Filter::DeadlyNamespaces,
            "userns.seccomp",
            "the process that asked for a user namespace was killed by signal 31",
        ),
    ] {
        let doctor = |option: &str| ana.bryo(["doctor", option]).under(filter);
        assert_eq!(finds(doctor, id, "stops").fact, fact);
        ana.bryo(["run", "--", "true"]).under(filter).exits(125).stderr_contains(&named(id));
    }
}

fn a_list_that_knows_no_new_mount_calls_is_named(lab: &Lab) {
    let ana = lab.user("ana");
    let said =
        finds(|option| ana.bryo(["doctor", option]).under(Filter::OldMounts), "mounts.seccomp", "stops");
    assert!(said.fact.contains("fsopen"), "{said:?}");
    ana.bryo(["run", "--", "true"])
        .under(Filter::OldMounts)
        .exits(125)
        .stderr_contains(&named("mounts.seccomp"));
}

fn hidden_processes_are_found_and_cost_no_container_anything(lab: &Lab) {
    let ana = lab.user("ana");
    let amid = "mount -t proc -o hidepid=2 proc /proc";
    let said = finds(doctor(&ana, amid), "proc.hidepid", "note");
    assert!(said.fact.starts_with("/proc is mounted with hidepid="), "{said:?}");
    ana.busybox("web");
    ana.take_cgroups_back();
    let bryo = |words: &[&str]| ana.bryo(words).amid(amid);
    bryo(&["start", "web"]).succeeds();
    bryo(&["exec", "web", "--", "ps"]).succeeds().stdout_contains("init");
    // Without a cgroup what a killed monitor left is found by its pid alone.
    ana.monitors().iter().for_each(tests::Process::kill);
    bryo(&["start", "web"]).succeeds();
    bryo(&["stop", "-k", "web"]).succeeds();
    ana.destroy("web");
}

fn cgroups_that_may_not_be_written_are_found(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    ana.take_cgroups_back();
    let said = finds(|option| ana.bryo(["doctor", option]), "cgroup.none", "costs");
    assert!(said.fact.contains("not writable"), "{said:?}");
    ana.bryo(["start", "web"]).succeeds().stderr_contains(&named("cgroup.none"));
    ana.bryo(["freeze", "web"]).exits(1).stderr_contains("cgroup.none");
    ana.destroy("web");
}

fn controllers_that_no_cgroup_has_are_found(lab: &Lab) {
    let ana = lab.user("ana");
    let offered = ana.sh("cat /sys/fs/cgroup/cgroup.controllers").succeeds().stdout;
    let is_offered = |name: &str| offered.split_whitespace().any(|word| word == name);
    let report = asks(ana.bryo(["doctor", "--json"]));
    let fact = finding(&report, "cgroup.absent").map(|said| said.fact).unwrap_or_default();
    let words: Vec<&str> = fact.split([' ', ',']).collect();
    for name in ["cpu", "cpuset", "io", "memory", "pids"] {
        assert_eq!(words.contains(&name), !is_offered(name), "{name}: {fact:?}");
    }
}

fn a_file_system_that_runs_no_programs_is_found_and_mended(lab: &Lab) {
    let ana = lab.user("ana");
    let home = ana.home().display().to_string();
    let amid = |flag: &str| format!("mount --bind {home} {home}; mount -o remount,bind,{flag} {home}");
    let noexec = amid("noexec");
    let said = finds(doctor(&ana, &noexec), "lxcpath.noexec", "stops");
    stops(&ana, &noexec, "lxcpath.noexec");
    is_mended(&ana, &noexec, &said, "lxcpath.noexec");
    let nosuid = amid("nosuid");
    let said = finds(doctor(&ana, &nosuid), "lxcpath.nosuid", "costs");
    is_mended(&ana, &nosuid, &said, "lxcpath.nosuid");
    let readonly = amid("ro");
    finds(doctor(&ana, &readonly), "lxcpath.readonly", "stops");
    stops(&ana, &readonly, "lxcpath.readonly");
}

fn a_full_file_system_is_found(lab: &Lab) {
    let ana = lab.user("ana");
    let (home, uid) = (ana.home().display().to_string(), ana.account().uid);
    let amid = format!("mount -t tmpfs -o size=1m,nr_inodes=100,mode=700,uid={uid} own {home}; cd {home}");
    finds(doctor(&ana, &amid), "lxcpath.space", "costs");
    finds(doctor(&ana, &amid), "lxcpath.inodes", "costs");
    let full = ana.bryo(["create", "web", "/run/bryo-lab/rootfs/busybox.tar.zst"]).amid(&*amid).exits(1);
    full.stderr_contains("(bryo doctor: lxcpath.");
}

fn veth_without_helper_and_grant_is_found(lab: &Lab) {
    let ana = lab.user("ana");
    ana.write(".config/lxc/default.conf", "lxc.net.0.type = veth\nlxc.net.0.link = lxcbr0\n");
    ana.sh("mkdir own && cp -r /run/bryo-lab/prefix/. own/ && chmod u-s own/libexec/bryo/*").succeeds();
    let own = |words: &str| ana.sh(&format!("own/bin/bryo {words}"));
    let said = finds(|option| own(&format!("doctor {option}")), "net.helper", "costs");
    assert_eq!(said.mend, "sudo cargo xtask install --prefix /usr/local", "ana's copy may have no rights");
    let report = asks(ana.bryo(["doctor", "--json"]));
    assert!(finding(&report, "net.helper").is_none(), "{report:#}");
    let amid = format!("{OWN_ETC}\nmkdir -p /etc/lxc; rm -f /etc/lxc/lxc-usernet");
    let said = finds(doctor(&ana, &amid), "net.usernet", "costs");
    is_mended(&ana, &amid, &said, "net.usernet");
    ana.busybox("web");
    ana.bryo(["start", "web"]).succeeds().stderr_contains("a network in user mode takes its place");
    ana.destroy("web");
    ana.write(".config/lxc/default.conf", "lxc.net.0.type = veth\nlxc.net.0.link = nobridge\n");
    finds(|option| ana.bryo(["doctor", option]), "net.bridge", "costs");
}

/// Root's copy of the programs, which lost the rights that they had; $H is the helper for devices.
const COPIED: &str =
    "mount -t tmpfs -o mode=755 own /mnt; cp -r /run/bryo-lab/prefix/. /mnt; chmod u-s /mnt/libexec/bryo/*
    H=/mnt/libexec/bryo/bryo-netdev";

/// Has new containers of a user ask for a device on a bridge.
fn asks_for_veth(user: &User<'_>) {
    user.write(".config/lxc/default.conf", "lxc.net.0.type = veth\nlxc.net.0.link = lxcbr0\n");
}

fn what_the_doctor_says_of_the_helper_for_devices_is_what_running_it_shows(lab: &Lab) {
    let ana = lab.user("ana");
    asks_for_veth(&ana);
    let agree = |installed: &str, works: bool, amid: &str, prefix: &str| {
        let said = ana.sh(&format!("{prefix}/bin/bryo doctor --json")).amid(amid);
        let is_found = finding(&asks(said), "net.helper").is_some();
        // What has its rights asks for arguments; what has not says so first.
        let status = ana.sh(&format!("{prefix}/libexec/bryo/bryo-netdev")).amid(amid).output().status();
        assert_eq!((is_found, status), if works { (false, 2) } else { (true, 1) }, "{installed}");
    };
    for (installed, works) in [
        ("true", false),
        ("setcap cap_net_admin=ep $H", true),
        ("setcap cap_net_admin=p $H", true),
        ("chmod u+s $H", true),
        ("chmod u+s $H; setcap cap_net_admin=ep $H", true),
        ("setcap cap_net_admin=i $H", false),
        ("setcap cap_net_raw=ep $H", false),
        ("setcap cap_net_admin,cap_sys_admin=ep $H", false),
        ("chmod u+s $H; setcap cap_net_raw=ep $H", false),
        ("chown bin $H; chmod u+s $H", false),
        ("chmod g+s $H", false),
    ] {
        agree(installed, works, &format!("{COPIED}\n{installed}"), "/mnt");
    }
    // As root of a user namespace of her own ana gives file capabilities, which count there alone.
    ana.sh("mkdir own && cp -r /run/bryo-lab/prefix/. own/ && chmod u-s own/libexec/bryo/*").succeeds();
    ana.sh("unshare -Ur setcap cap_net_admin=ep own/libexec/bryo/bryo-netdev").succeeds();
    agree("capabilities of ana's own user namespace", false, "true", "own");
}

fn a_helper_for_devices_that_others_can_change_is_found(lab: &Lab) {
    let ana = lab.user("ana");
    asks_for_veth(&ana);
    for (opened, fact) in [
        ("chown bin $H", "libexec/bryo/bryo-netdev belongs to user 2, not to root"),
        ("chmod o+w $H", "libexec/bryo/bryo-netdev has mode 0757, so others than root may write it"),
        ("chmod g+w /mnt/libexec", "/mnt/libexec has mode 0775, so others than root may write it"),
    ] {
        let amid = format!("{COPIED}\nchmod 755 $H; {opened}; setcap cap_net_admin=ep $H");
        let own = |option: &str| ana.sh(&format!("/mnt/bin/bryo doctor {option}")).amid(&*amid);
        let said = finds(own, "net.owner", "costs");
        assert!(said.fact.contains("bryo-netdev has rights, and ") && said.fact.ends_with(fact), "{said:?}");
        assert_eq!(said.mend, "sudo cargo xtask install");
    }
    let closed = format!("{COPIED}\nsetcap cap_net_admin=ep $H");
    let report = asks(ana.sh("/mnt/bin/bryo doctor --json").amid(closed));
    assert!(finding(&report, "net.owner").is_none(), "what root alone can change is fine: {report:#}");
}

fn a_start_says_what_another_program_in_the_helpers_place_did(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    let config = "lxc.net.0.type = veth\nlxc.net.0.link = lxcbr0\n";
    ana.append(ana.lxcpath().join("web/config"), config);
    let granted = format!(
        "{OWN_ETC}\nmkdir -p /etc/lxc; echo {} veth lxcbr0 2 >/etc/lxc/lxc-usernet",
        ana.account().login
    );
    for (stands_there, says) in [
        ("cp /bin/true $H", "bryo-netdev has not said the name of the device"),
        (
            "cp /mnt/libexec/bryo/bryo-idmap $H",
            "bryo-idmap: not installed correctly: it has the capabilities 0x1000",
        ),
        ("printf '#!/bin/sh\necho u000000000000xx 7\n' >$H", "eth0"),
    ] {
        let amid = format!("{granted}\numount /mnt\n{COPIED}\n{stands_there}; setcap cap_net_admin=ep $H");
        ana.sh("/mnt/bin/bryo start web").amid(amid).exits(1).stderr_contains(says);
    }
    ana.bryo(["start", "web"]).amid(granted).succeeds();
    ana.destroy("web");
}

fn a_closed_fuse_is_found_and_mended(lab: &Lab) {
    let ana = lab.user("ana");
    let amid = "mount -t tmpfs own /mnt; mknod -m 600 /mnt/fuse c 10 229; mount --bind /mnt/fuse /dev/fuse";
    let said = finds(doctor(&ana, amid), "fuse.access", "note");
    is_mended(&ana, amid, &said, "fuse.access");
}
