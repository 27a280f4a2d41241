//! Bryo beside the real lxc tools: the same directories, and neither disturbs what runs under the other.

use tests::{Lab, User, eventually};

tests::claims! {
    bryo_starts_what_lxc_made: hybrid unified, needs Bryo Lxc, not cell LXC;
    lxc_starts_what_bryo_made: hybrid unified, needs Bryo Lxc, not cell LXC;
    lxc_does_not_start_what_lies_over_an_image: hybrid unified, needs Bryo Lxc, not cell LXC;
    bryo_leaves_a_container_that_runs_under_lxc_alone: hybrid unified, needs Bryo Lxc, not cell LXC;
    lxc_refuses_to_start_what_runs_under_bryo: hybrid unified, needs Bryo Lxc, not cell LXC;
    a_container_that_lxc_destroys_under_our_hands_is_ended: hybrid unified, needs Bryo Lxc, not cell LXC;
    both_list_the_same_containers: hybrid, needs Bryo Lxc, not cell LXC;
}

/// Gives ana what the real tools want of an unprivileged user: the id map in words, and a home others may pass.
fn ana_of_lxc<'lab>(lab: &'lab Lab) -> User<'lab> {
    let ana = lab.user("ana");
    ana.write_config_for_real_lxc();
    ana
}

fn bryo_starts_what_lxc_made(lab: &Lab) {
    let ana = ana_of_lxc(lab);
    ana.busybox_of_real_lxc("web");
    ana.bryo(["start", "web"]).succeeds();
    ana.bryo(["exec", "web", "--", "hostname"]).succeeds().stdout_is("web\n");
    ana.bryo(["stop", "web"]).succeeds();
    ana.bryo(["destroy", "web"]).succeeds();
}

fn lxc_starts_what_bryo_made(lab: &Lab) {
    let ana = ana_of_lxc(lab);
    ana.busybox("web");
    ana.open_home_for_real_lxc();
    ana.real_lxc("start", ["-n", "web"]).succeeds();
    ana.real_lxc("attach", ["-n", "web", "--", "hostname"]).succeeds().stdout_is("web\n");
    ana.real_lxc("stop", ["-n", "web"]).succeeds();
    ana.real_lxc("destroy", ["-n", "web"]).succeeds();
}

/// LXC mounts the overlay without `userxattr`: what Bryo has marked as replaced would show again, and what is below could not be
/// removed. The way to the image is closed to container root, so it does not come so far.
fn lxc_does_not_start_what_lies_over_an_image(lab: &Lab) {
    let ana = ana_of_lxc(lab);
    ana.bryo(["image", "import", "/run/bryo-lab/rootfs/busybox.tar.xz", "mine/1"]).succeeds();
    ana.bryo(["create", "web", "mine/1"]).succeeds().stderr_contains("created over mine/1");
    ana.open_home_for_real_lxc();
    // LXC's monitor is there for a moment after its start has failed.
    let starts = || eventually("web starts", || ana.bryo(["start", "web"]).output().status() == 0);
    let refused = ana.real_lxc("start", ["-n", "web"]).seconds(20).output();
    assert!(refused.status() != 0, "lxc-start claims success");
    let replace = "rm -r /srv/kept && mkdir /srv/kept && touch /srv/kept/own";
    starts();
    ana.bryo(["exec", "web", "--", "sh", "-c", replace]).succeeds();
    ana.bryo(["stop", "-k", "web"]).succeeds();
    let refused = ana.real_lxc("start", ["-n", "web"]).seconds(20).output();
    assert!(refused.status() != 0, "lxc-start claims success");
    starts();
    ana.bryo(["exec", "web", "--", "ls", "/srv/kept"]).succeeds().stdout_is("own\n");
    ana.bryo(["stop", "-k", "web"]).succeeds();
    ana.bryo(["destroy", "web"]).succeeds();
    // One of its own it starts.
    ana.bryo(["create", "web", "mine/1", "--full"]).succeeds();
    ana.real_lxc("start", ["-n", "web"]).succeeds();
    ana.real_lxc("stop", ["-n", "web", "-k"]).succeeds();
    eventually("web is stopped", || ana.bryo(["destroy", "web"]).output().status() == 0);
}

fn bryo_leaves_a_container_that_runs_under_lxc_alone(lab: &Lab) {
    let ana = ana_of_lxc(lab);
    ana.busybox_of_real_lxc("web");
    ana.real_lxc("start", ["-n", "web"]).succeeds();
    let init = ana.real_lxc("info", ["-n", "web", "-pH"]).succeeds().stdout;
    for words in [
        &["start", "web"][..],
        &["stop", "web"],
        &["stop", "-k", "web"],
        &["destroy", "-f", "web"],
        &["freeze", "web"],
    ] {
        let output = ana.bryo(words).seconds(20).output().stderr_contains("LXC");
        assert!(output.status() != 0, "bryo {} claims success", words.join(" "));
    }
    ana.real_lxc("info", ["-n", "web", "-pH"]).succeeds().stdout_is(init);
    ana.real_lxc("info", ["-n", "web", "-sH"]).succeeds().stdout_is("RUNNING\n");
    ana.real_lxc("stop", ["-n", "web", "-k"]).succeeds();
    eventually("web is stopped", || ana.bryo(["destroy", "web"]).output().status() == 0);
}

fn lxc_refuses_to_start_what_runs_under_bryo(lab: &Lab) {
    let ana = ana_of_lxc(lab);
    ana.busybox("web");
    ana.open_home_for_real_lxc();
    ana.bryo(["start", "web"]).succeeds();
    let init = ana.init_of("web");
    let refused = ana.real_lxc("start", ["-n", "web"]).seconds(20).output();
    assert!(refused.status() != 0, "lxc-start claims success");
    assert_eq!(ana.init_of("web"), init);
    ana.bryo(["exec", "web", "--", "true"]).succeeds();
    ana.bryo(["stop", "-k", "web"]).succeeds();
    ana.real_lxc("start", ["-n", "web"]).succeeds();
    ana.real_lxc("stop", ["-n", "web", "-k"]).succeeds();
    eventually("web is stopped", || ana.bryo(["destroy", "web"]).output().status() == 0);
}

fn both_list_the_same_containers(lab: &Lab) {
    let ana = ana_of_lxc(lab);
    ana.busybox("one");
    ana.busybox_of_real_lxc("two");
    for list in [ana.lxc("ls", ["-1"]), ana.real_lxc("ls", ["-1"])] {
        list.succeeds().stdout_is("one\ntwo\n");
    }
    ana.destroy("one");
    ana.destroy("two");
}

/// The real lxc-destroy asks only LXC's own monitors whether a container runs.
fn a_container_that_lxc_destroys_under_our_hands_is_ended(lab: &Lab) {
    let ana = ana_of_lxc(lab);
    ana.busybox("web");
    ana.open_home_for_real_lxc();
    ana.bryo(["start", "web"]).succeeds();
    ana.real_lxc("destroy", ["-n", "web", "-f"]).output();
    eventually("the container has ended", || ana.processes().is_empty());
    ana.sh("rm -rf .local/share/lxc/web").output();
}
