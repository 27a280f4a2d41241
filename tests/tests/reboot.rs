//! Reboot and halt, from inside and from outside.

use tests::{Lab, User, eventually};

tests::claims! {
    a_reboot_from_outside_is_a_new_init: hybrid unified, not cell INIT;
    a_reboot_from_inside_is_a_new_init: hybrid unified, not cell INIT;
    a_halt_from_inside_stops_the_container: hybrid unified, not cell INIT;
    files_and_name_survive_a_reboot: hybrid, not cell INIT;
    an_ephemeral_container_is_gone_after_its_stop: hybrid unified, not cell INIT;
    an_ephemeral_container_is_gone_whatever_its_reboot_comes_to: hybrid, needs Bryo, not cell INIT;
}

fn running<'lab>(lab: &'lab Lab) -> User<'lab> {
    let ana = lab.user("ana");
    ana.busybox("web");
    ana.lxc("start", ["-n", "web"]).succeeds();
    ana
}

/// Tells the pid of init, or nothing while there is none.
fn init(user: &User<'_>) -> String {
    user.lxc("info", ["-n", "web", "-pH"]).output().stdout
}

fn has_another_init(user: &User<'_>, than: &str) -> bool {
    let now = init(user);
    !now.is_empty() && now != than
}

fn a_reboot_from_outside_is_a_new_init(lab: &Lab) {
    let ana = running(lab);
    let before = init(&ana);
    ana.lxc("stop", ["-n", "web", "-r"]).succeeds();
    eventually("a new init", || has_another_init(&ana, &before));
    ana.lxc("attach", ["-n", "web", "--", "true"]).succeeds();
    ana.destroy("web");
}

fn a_reboot_from_inside_is_a_new_init(lab: &Lab) {
    let ana = running(lab);
    let before = init(&ana);
    ana.lxc("attach", ["-n", "web", "--", "reboot"]).output();
    eventually("a new init", || has_another_init(&ana, &before));
    eventually("web answers", || ana.lxc("attach", ["-n", "web", "--", "true"]).output().status() == 0);
    ana.destroy("web");
}

fn a_halt_from_inside_stops_the_container(lab: &Lab) {
    let ana = running(lab);
    ana.lxc("attach", ["-n", "web", "--", "poweroff"]).output();
    eventually("web is stopped", || ana.lxc("info", ["-n", "web", "-sH"]).output().stdout == "STOPPED\n");
    ana.lxc("destroy", ["-n", "web"]).succeeds();
}

fn files_and_name_survive_a_reboot(lab: &Lab) {
    let ana = running(lab);
    let before = init(&ana);
    ana.lxc("attach", ["-n", "web", "--", "sh", "-c", "echo moss >/root/note"]).succeeds();
    ana.lxc("stop", ["-n", "web", "-r"]).succeeds();
    eventually("a new init", || has_another_init(&ana, &before));
    let read = ["-n", "web", "--", "sh", "-c", "hostname; cat /root/note"];
    ana.lxc("attach", read).succeeds().stdout_is("web\nmoss\n");
    ana.destroy("web");
}

fn an_ephemeral_container_is_gone_after_its_stop(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    ana.append(".local/share/lxc/web/config", "lxc.ephemeral = 1\n");
    ana.lxc("start", ["-n", "web"]).succeeds();
    ana.lxc("stop", ["-n", "web"]).succeeds();
    eventually("web is gone", || ana.lxc("ls", ["-1"]).succeeds().stdout.is_empty());
    eventually("its directory is gone", || !ana.lxcpath().join("web").exists());
}

/// The monitor is killed while it starts the container once more, or that start fails.
fn an_ephemeral_container_is_gone_whatever_its_reboot_comes_to(lab: &Lab) {
    let ana = lab.user("ana");
    let home = ana.home().display();
    for again in ["until [ -e go ]; do sleep 0.1; done", "exit 1"] {
        ana.busybox("web");
        ana.write("hook", &format!("#!/bin/sh\ncd {home}; [ -e again ] || exit 0; touch reached\n{again}\n"));
        ana.append(
            ".local/share/lxc/web/config",
            &format!("lxc.ephemeral = 1\nlxc.hook.start-host = /bin/sh {home}/hook\n"),
        );
        ana.bryo(["start", "web"]).succeeds();
        ana.write("again", "");
        let mut asked = ana.lxc("stop", ["-n", "web", "-r"]).background();
        eventually("the hook", || ana.home().join("reached").exists());
        if again != "exit 1" {
            ana.monitors().iter().for_each(tests::Process::kill);
            ana.write("go", "");
        }
        eventually("web is gone", || {
            ana.bryo(["ls"]).succeeds();
            !ana.lxcpath().join("web").exists()
        });
        asked.kill();
        asked.wait();
        ana.sh("rm -f hook again reached go").succeeds();
    }
}
