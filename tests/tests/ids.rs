//! The ladder of ids: Bryo's helper, the system's, one id alone; and root as caller.

use tests::{Lab, User};

tests::claims! {
    the_own_helper_writes_the_map: hybrid, needs Bryo, not cell ONE_ID;
    without_the_own_helper_newuidmap_is_used: hybrid, needs Bryo, not cell ONE_ID;
    without_any_helper_the_own_id_is_root_alone: hybrid unified, needs Bryo, not cell INIT;
    a_debian_is_unpacked_with_one_id: hybrid, needs Bryo Debian, not cell INIT;
    a_user_without_a_line_creates_a_debian: hybrid, needs Bryo Debian;
    a_debian_of_one_id_boots_and_installs_packages: hybrid unified, needs Bryo Debian, not cell SYSTEMD;
    ids_that_are_not_granted_are_refused_with_the_line: hybrid cell, needs Bryo;
    a_map_of_several_ranges_is_written: hybrid, needs Bryo, not cell ONE_ID;
    root_of_a_namespace_with_one_id_does_with_it: hybrid, needs Bryo;
}

const ARCHIVE: &str = "/run/bryo-lab/rootfs/busybox.tar.zst";

/// Copies the installation to the user's home: file capabilities do not come along.
fn unprivileged_copy(user: &User<'_>) {
    user.sh("mkdir own && cp -r /run/bryo-lab/prefix/. own/ && chmod -R u+rwX own && chmod u-s own/libexec/bryo/*").succeeds();
}

fn maps(user: &User<'_>, bryo: &str) -> String {
    let script = format!("{bryo} exec web -- cat /proc/self/uid_map");
    let map = user.sh(&script).succeeds().stdout;
    map.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") + "\n").collect()
}

fn the_own_helper_writes_the_map(lab: &Lab) {
    let ana = lab.user("ana");
    ana.bryo(["create", "web", ARCHIVE]).succeeds();
    ana.bryo(["start", "--verbose", "web"]).succeeds().stderr_contains("bryo-idmap");
    assert_eq!(maps(&ana, "bryo"), format!("0 {} 65536\n", ana.account().subuids.start));
    ana.destroy("web");
}

fn without_the_own_helper_newuidmap_is_used(lab: &Lab) {
    let ana = lab.user("ana");
    unprivileged_copy(&ana);
    ana.sh(&format!("own/bin/bryo create web {ARCHIVE}")).succeeds();
    ana.sh("own/bin/bryo start --verbose web").succeeds().stderr_contains("newuidmap");
    assert_eq!(maps(&ana, "own/bin/bryo"), format!("0 {} 65536\n", ana.account().subuids.start));
    ana.sh("own/bin/bryo stop -k web && own/bin/bryo destroy web").succeeds();
}

fn without_any_helper_the_own_id_is_root_alone(lab: &Lab) {
    let ana = lab.user("ana");
    // No program gains rights under no_new_privs, so neither helper works.
    let alone = |command: &str| ana.sh(&format!("setpriv --no-new-privs {command}"));
    alone(&format!("bryo create web {ARCHIVE}")).succeeds();
    alone("bryo start --verbose web").succeeds().stderr_contains("one id");
    assert_eq!(maps(&ana, "bryo"), format!("0 {} 1\n", ana.account().uid));
    ana.bryo(["exec", "web", "--", "id", "-u"]).succeeds().stdout_is("0\n");
    ana.bryo(["stop", "-k", "web"]).succeeds();
    alone("bryo destroy web").succeeds();
}

/// Nobody has a range for it, and what root finds free on a host is not mapped there.
fn root_of_a_namespace_with_one_id_does_with_it(lab: &Lab) {
    let ana = lab.user("ana");
    let script = format!(
        "bryo create web {ARCHIVE} && bryo run ./.local/share/lxc/web/rootfs -- cat /proc/self/uid_map && bryo destroy web"
    );
    let ran = ana.sh(&format!("exec unshare --user --map-root-user sh -c '{script}'")).succeeds();
    assert_eq!(ran.stdout.split_whitespace().collect::<Vec<_>>(), ["0", "0", "1"]);
    ran.stderr_contains("the container has one id, yours");
}

fn ids_that_are_not_granted_are_refused_with_the_line(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    ana.sh("sed -i '/lxc.idmap/d' .local/share/lxc/web/config").succeeds();
    ana.append(".local/share/lxc/web/config", "lxc.idmap = u 0 1000 10\nlxc.idmap = g 0 1000 10\n");
    ana.bryo(["start", "web"]).exits(1).stderr_contains("u 0 1000 10").stderr_contains("/etc/subuid");
    ana.sh("sed -i '/lxc.idmap/d' .local/share/lxc/web/config").succeeds();
    ana.destroy("web");
}

fn a_map_of_several_ranges_is_written(lab: &Lab) {
    let ana = lab.user("ana");
    let (uids, gids) = (ana.account().subuids.start, ana.account().subgids.start);
    let (uid, gid) = (ana.account().uid, ana.account().gid);
    ana.busybox("web");
    ana.sh("sed -i '/lxc.idmap/d' .local/share/lxc/web/config").succeeds();
    let lines: String = [('u', uids, uid), ('g', gids, gid)]
        .iter()
        .map(|(kind, start, own)| {
            let after = start + 1001;
            format!(
                "lxc.idmap = {kind} 0 {start} 1000\nlxc.idmap = {kind} 1000 {own} 1\nlxc.idmap = {kind} 1001 {after} 64535\n"
            )
        })
        .collect();
    ana.append(".local/share/lxc/web/config", &lines);
    ana.bryo(["start", "web"]).succeeds();
    assert_eq!(maps(&ana, "bryo"), format!("0 {uids} 1000\n1000 {uid} 1\n1001 {} 64535\n", uids + 1001));
    ana.destroy("web");
}

fn a_debian_is_unpacked_with_one_id(lab: &Lab) {
    let ana = lab.user("ana");
    ana.sh("setpriv --no-new-privs bryo create deb /run/bryo-lab/rootfs/debian-12.tar.zst").succeeds();
    ana.sh("stat -c %u .local/share/lxc/deb/rootfs/etc/passwd")
        .succeeds()
        .stdout_is(format!("{}\n", ana.account().uid));
    ana.sh("setpriv --no-new-privs bryo start deb -- /bin/sleep 1000").succeeds();
    ana.bryo(["exec", "deb", "--", "cat", "/etc/debian_version"]).succeeds().stdout_contains("12.");
    ana.bryo(["stop", "-k", "deb"]).succeeds();
    ana.sh("setpriv --no-new-privs bryo destroy deb").succeeds();
}

/// A package whose installation makes a user and gives files to it and to others.
const PACKAGE: &str = r#"set -e
mkdir -p tree/DEBIAN tree/opt/claims
printf 'Package: claims\nVersion: 1\nArchitecture: all\nMaintainer: nobody <nobody@localhost>\nDescription: owners\n' >tree/DEBIAN/control
cat >tree/DEBIAN/postinst <<'END'
#!/bin/sh
set -e
useradd --system --no-create-home claims
chown -R claims:claims /opt/claims
install -d -o daemon -g mail -m 2750 /var/lib/claims
chgrp utmp /opt/claims/file
END
chmod 755 tree/DEBIAN/postinst
echo content >tree/opt/claims/file
dpkg-deb --root-owner-group -b tree claims.deb
rm -r tree"#;

/// Boots it, installs the package by apt, and looks at what came of it. `bryo` is how the user calls it.
fn boots_and_installs(user: &User<'_>, bryo: &str) {
    user.sh(&format!("{bryo} start deb")).succeeds();
    installs(user);
    user.bryo(["stop", "-k", "deb"]).succeeds();
    user.sh(&format!("{bryo} destroy deb")).succeeds();
}

fn installs(user: &User<'_>) {
    let inside = |script: &str| user.bryo(["exec", "deb", "--", "sh", "-c", script]).seconds(120);
    tests::eventually("systemd answers", || inside("systemctl show -P Version").output().status() == 0);
    inside("systemctl is-system-running --wait").succeeds().stdout_is("running\n");
    user.sh(PACKAGE).succeeds();
    user.sh("bryo exec deb -- sh -c 'cat >/root/claims.deb' <claims.deb && rm claims.deb").succeeds();
    inside("apt-get install -y /root/claims.deb").succeeds();
    inside("dpkg-query -W -f '${Status}' claims").succeeds().stdout_is("install ok installed");
    inside("stat -c '%a %u' /var/lib/claims").succeeds().stdout_is("2750 0\n");
    inside("su -s /bin/sh claims -c 'id -u && cat /opt/claims/file'").succeeds().stdout_is("0\ncontent\n");
}

fn a_debian_of_one_id_boots_and_installs_packages(lab: &Lab) {
    let ana = lab.user("ana");
    let bryo = "setpriv --no-new-privs bryo";
    let created = ana.sh(&format!("{bryo} create deb /run/bryo-lab/rootfs/debian-12.tar.zst")).succeeds();
    assert_eq!(created.stderr.matches("one id").count(), 1, "{}", created.stderr);
    ana.bryo(["info", "deb"]).succeeds().stdout_contains("one id");
    boots_and_installs(&ana, bryo);
}

/// The same where nothing hinders the helpers, and no file grants anything.
fn a_user_without_a_line_creates_a_debian(lab: &Lab) {
    const NO_LINES: &str = "mount --bind /dev/null /etc/subuid; mount --bind /dev/null /etc/subgid";
    let ana = lab.user("ana");
    let archive = "/run/bryo-lab/rootfs/debian-12.tar.zst";
    ana.bryo(["create", "deb", archive]).amid(NO_LINES).seconds(180).succeeds().stderr_contains("one id");
    ana.bryo(["start", "deb"]).amid(NO_LINES).succeeds();
    installs(&ana);
    ana.bryo(["destroy", "-f", "deb"]).amid(NO_LINES).succeeds();
}
