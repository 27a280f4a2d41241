//! Freezing and thawing a container.

use tests::Lab;

tests::claims! {
    a_frozen_container_does_not_run_until_thawed: hybrid unified, not cell CGROUP;
    freezing_twice_is_no_error: hybrid, not cell CGROUP;
    unfreezing_a_running_container_is_no_error: hybrid, not cell CGROUP;
    a_frozen_container_can_be_killed: hybrid unified, not cell CGROUP;
    what_the_container_froze_of_itself_can_be_killed: hybrid unified, needs Bryo, not cell CGROUP;
    attach_to_a_frozen_container_says_so: hybrid unified, needs Bryo, not cell CGROUP;
    a_freeze_without_a_writable_cgroup_is_refused: hybrid unified, not cell CGROUP;
}

/// Counts in a file inside, ten times a second.
const COUNTER: &str = "n=0; while :; do n=$((n + 1)); echo $n >/tmp/count; sleep 0.1; done";

fn a_frozen_container_does_not_run_until_thawed(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    ana.lxc("start", ["-n", "web", "--", "/bin/sh", "-c", COUNTER]).succeeds();
    ana.lxc("freeze", ["-n", "web"]).succeeds();
    ana.lxc("info", ["-n", "web", "-sH"]).succeeds().stdout_is("FROZEN\n");
    let moves = || {
        let init = ana.init_of("web");
        let times = || std::fs::read_to_string(format!("/proc/{init}/stat")).unwrap_or_default();
        let first = times();
        std::thread::sleep(std::time::Duration::from_millis(700));
        first != times()
    };
    assert!(!moves(), "a frozen init still runs");
    ana.lxc("unfreeze", ["-n", "web"]).succeeds();
    ana.lxc("info", ["-n", "web", "-sH"]).succeeds().stdout_is("RUNNING\n");
    assert!(moves(), "a thawed init does not run");
    ana.destroy("web");
}

fn freezing_twice_is_no_error(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    ana.lxc("start", ["-n", "web"]).succeeds();
    ana.lxc("freeze", ["-n", "web"]).succeeds();
    ana.lxc("freeze", ["-n", "web"]).succeeds();
    ana.lxc("unfreeze", ["-n", "web"]).succeeds();
    ana.destroy("web");
}

fn unfreezing_a_running_container_is_no_error(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    ana.lxc("start", ["-n", "web"]).succeeds();
    ana.lxc("unfreeze", ["-n", "web"]).succeeds();
    ana.destroy("web");
}

fn a_frozen_container_can_be_killed(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    ana.lxc("start", ["-n", "web"]).succeeds();
    ana.lxc("freeze", ["-n", "web"]).succeeds();
    ana.lxc("stop", ["-n", "web", "-k"]).succeeds();
    ana.lxc("info", ["-n", "web", "-sH"]).succeeds().stdout_is("STOPPED\n");
    ana.destroy("web");
}

fn attach_to_a_frozen_container_says_so(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    ana.lxc("start", ["-n", "web"]).succeeds();
    ana.lxc("freeze", ["-n", "web"]).succeeds();
    ana.lxc("attach", ["-n", "web", "--", "true"]).seconds(10).exits(1).stderr_contains("frozen");
    ana.bryo(["exec", "web", "--", "true"]).seconds(10).exits(125).stderr_contains("frozen");
    ana.lxc("unfreeze", ["-n", "web"]).succeeds();
    ana.lxc("attach", ["-n", "web", "--", "true"]).succeeds();
    ana.destroy("web");
}

fn a_freeze_without_a_writable_cgroup_is_refused(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    ana.take_cgroups_back();
    ana.lxc("start", ["-n", "web"]).output();
    ana.lxc("freeze", ["-n", "web"]).exits(1);
    ana.lxc("stop", ["-n", "web", "-k"]).output();
    ana.destroy("web");
}

fn what_the_container_froze_of_itself_can_be_killed(lab: &Lab) {
    let ana = lab.user("ana");
    ana.busybox("web");
    ana.append(".local/share/lxc/web/config", "lxc.mount.auto = cgroup:mixed proc:mixed sys:mixed\n");
    ana.lxc("start", ["-n", "web"]).succeeds();
    // The shell that writes goes on: it is not in the new group.
    let freeze = "for d in /sys/fs/cgroup/freezer /sys/fs/cgroup; do [ -e $d/cgroup.procs ] || continue; mkdir $d/ice; \
                  sleep 1000 >/dev/null 2>&1 & sleep 0.3; echo $! >$d/ice/cgroup.procs; \
                  echo FROZEN >$d/ice/freezer.state 2>/dev/null || echo 1 >$d/ice/cgroup.freeze; done; echo done";
    ana.lxc("attach", ["-n", "web", "--", "sh", "-c", freeze]).succeeds().stdout_contains("done");
    ana.lxc("stop", ["-n", "web", "-k"]).seconds(10).succeeds();
    ana.destroy("web");
}
