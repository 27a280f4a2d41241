//! The main job: a real Debian with systemd, started by an ordinary user.

use tests::subject::{Subject, subject};
use tests::{Lab, User};

tests::claims! {
    debian_boots_serves_and_stops: hybrid unified, needs Debian, not cell SYSTEMD;
    a_reboot_by_systemd_is_a_new_boot: hybrid unified, needs Debian, not cell SYSTEMD;
    systemd_has_cgroups_of_its_own: hybrid unified, needs Debian, not cell SYSTEMD;
}

fn inside<'lab>(user: &User<'lab>, words: &[&str]) -> tests::Command<'lab> {
    user.lxc("attach", [&["-n", "deb", "--clear-env", "--"], words].concat()).seconds(60)
}

/// Waits for the end of the boot. A failed unit is named, so that the test's output says which.
fn boots(user: &User<'_>) {
    tests::eventually("systemd answers", || {
        inside(user, &["systemctl", "show", "-P", "Version"]).output().status() == 0
    });
    let state = inside(user, &["systemctl", "is-system-running", "--wait"]).output().stdout;
    let failed =
        inside(user, &["systemctl", "list-units", "--failed", "--plain", "--no-legend"]).output().stdout;
    match state.trim() {
        "running" => assert!(failed.is_empty(), "running, with failed units:\n{failed}"),
        // LXC leaves sys_rawio, so that systemd tries to mount the kernel's debugging files.
        "degraded" if subject() == Subject::Lxc => {
            assert!(failed.contains(".service") || failed.contains(".mount"), "degraded by nothing named")
        }
        other => panic!("systemd is {other:?}; failed units:\n{failed}"),
    }
}

fn debian_boots_serves_and_stops(lab: &Lab) {
    let ana = lab.user("ana");
    ana.debian("deb");
    if subject() == Subject::Bryo {
        ana.sh("stat -c %a .").succeeds().stdout_is("700\n");
    }
    ana.lxc("start", ["-n", "deb"]).succeeds();
    boots(&ana);
    inside(&ana, &["systemctl", "is-active", "dbus.socket", "systemd-journald"]).succeeds();
    inside(&ana, &["cat", "/etc/debian_version"]).succeeds().stdout_contains("12.");
    if subject() == Subject::Bryo {
        inside(&ana, &["hostname"]).succeeds().stdout_is("deb\n");
    }
    inside(&ana, &["systemd-run", "--wait", "--quiet", "/bin/sh", "-c", "exit 3"]).exits(3);
    let stop = ana.lxc("stop", ["-n", "deb"]).succeeds();
    assert!(stop.took.as_secs() < 30, "the stop was not clean: it took {:?}", stop.took);
    ana.lxc("info", ["-n", "deb", "-sH"]).succeeds().stdout_is("STOPPED\n");
    ana.lxc("destroy", ["-n", "deb"]).succeeds();
}

fn a_reboot_by_systemd_is_a_new_boot(lab: &Lab) {
    let ana = lab.user("ana");
    ana.debian("deb");
    ana.lxc("start", ["-n", "deb"]).succeeds();
    boots(&ana);
    let before = ana.init_of("deb").to_string();
    inside(&ana, &["systemctl", "reboot"]).output();
    tests::eventually("a new init", || {
        let now = ana.lxc("info", ["-n", "deb", "-pH"]).output().stdout;
        !now.trim().is_empty() && now.trim() != before
    });
    boots(&ana);
    ana.destroy("deb");
}

fn systemd_has_cgroups_of_its_own(lab: &Lab) {
    let ana = lab.user("ana");
    ana.debian("deb");
    ana.lxc("start", ["-n", "deb"]).succeeds();
    boots(&ana);
    inside(&ana, &["systemd-cgls", "--no-pager", "/"]).succeeds().stdout_contains("system.slice");
    ana.destroy("deb");
}
