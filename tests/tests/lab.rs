//! The lab itself: a test that passes because its lab is blind or lenient proves nothing.

use tests::leaks::{Snapshot, compare};
use tests::{Lab, View};

tests::claims! {
    a_user_has_nothing_but_the_own_account: hybrid unified cell closed_cell;
    a_user_is_in_the_own_cgroups_and_may_make_more: hybrid unified, not cell CGROUP;
    the_unified_view_shows_cgroup2_alone: unified;
    the_hybrid_view_shows_the_machines_hierarchies: hybrid;
    the_network_is_the_labs_own: hybrid unified cell;
    what_a_test_leaves_behind_is_reported: hybrid, not cell CGROUP;
    what_a_test_leaves_behind_in_a_cell_is_reported: cell closed_cell;
    a_clean_test_reports_nothing: hybrid cell;
    a_command_that_hangs_is_ended: hybrid;
}

fn a_user_has_nothing_but_the_own_account(lab: &Lab) {
    let ana = lab.user("ana");
    let (uid, gid, home) = (ana.account().uid, ana.account().gid, ana.home().display());
    ana.sh("id -u; id -G; pwd").succeeds().stdout_is(format!("{uid}\n{gid}\n{home}\n"));
    ana.sh("env | cut -d= -f1 | sort | tr '\\n' ' '").succeeds().stdout_is("HOME LOGNAME PATH PWD USER ");
    ana.sh("grep -E 'Cap(Inh|Prm|Eff|Amb)' /proc/self/status | grep -v 0000000000000000").exits(1);
    ana.sh("ls /root").exits(2);
    lab.user("ben").run("ls", [ana.home()]).exits(2);
}

fn a_user_is_in_the_own_cgroups_and_may_make_more(lab: &Lab) {
    let ana = lab.user("ana");
    let login = &ana.account().login;
    ana.sh(&format!("grep -vc '/{login}$' /proc/self/cgroup")).exits(1).stdout_is("0\n");
    let make = match lab.view() {
        View::Hybrid => {
            "grep -E '^[^ ]+ [^ ]+ cgroup2? ' /proc/mounts | cut -d' ' -f2 | while read mount; do \
             own=$(echo $mount/bryo-lab-*/$(id -un)); mkdir $own/x && rmdir $own/x || exit 1; done"
        }
        View::Unified | View::Cell | View::ClosedCell => {
            "own=/sys/fs/cgroup$(grep ^0: /proc/self/cgroup | cut -d: -f3); mkdir $own/x && rmdir $own/x"
        }
    };
    ana.sh(make).succeeds();
}

fn the_unified_view_shows_cgroup2_alone(lab: &Lab) {
    let ana = lab.user("ana");
    ana.sh("grep -c ' cgroup ' /proc/mounts").exits(1).stdout_is("0\n");
    ana.sh("stat -f -c %T /sys/fs/cgroup").succeeds().stdout_is("cgroup2fs\n");
}

fn the_hybrid_view_shows_the_machines_hierarchies(lab: &Lab) {
    let ana = lab.user("ana");
    let ours = tests::view::hierarchies().len();
    ana.sh("grep -cE '^[^ ]+ [^ ]+ cgroup2? ' /proc/mounts").succeeds().stdout_is(format!("{ours}\n"));
}

fn the_network_is_the_labs_own(lab: &Lab) {
    let ana = lab.user("ana");
    ana.sh("ls /sys/class/net | tr '\\n' ' '").succeeds().stdout_is("lo lxcbr0 nowhere uplink ");
    ana.sh("ip link add here type dummy").exits(2);
}

fn what_a_test_leaves_behind_is_reported(lab: &Lab) {
    let ana = lab.user("ana");
    let before = Snapshot::take(lab);
    let cgroup = ana.cgroups()[0].join("orphan").display().to_string();
    let mess = format!(
        "setsid sleep 1000 <&- >&- 2>&- & \
         mkdir {cgroup}; touch /tmp/left-behind /dev/shm/left-behind; mkdir -p .local/share/lxc/half-made"
    );
    ana.sh(&mess).succeeds();
    let report = compare(&before, lab).unwrap_or_default();
    for line in ["process", "cgroup", "file", "container"] {
        assert!(report.contains(&format!("left behind: {line} ")), "no {line} in\n{report}");
    }
    ana.sh(&format!(
        "rmdir {cgroup}; rm /tmp/left-behind /dev/shm/left-behind; rmdir .local/share/lxc/half-made"
    ))
    .succeeds();
    ana.processes().iter().for_each(tests::Process::kill);
}

fn what_a_test_leaves_behind_in_a_cell_is_reported(lab: &Lab) {
    let ana = lab.user("ana");
    let before = Snapshot::take(lab);
    let mess = "setsid sleep 1000 <&- >&- 2>&- & \
                touch /tmp/left-behind /dev/shm/left-behind; mkdir -p .local/share/lxc/half-made";
    ana.sh(mess).succeeds();
    let report = compare(&before, lab).unwrap_or_default();
    for line in ["process", "file", "container"] {
        assert!(report.contains(&format!("left behind: {line} ")), "no {line} in\n{report}");
    }
    ana.sh("rm /tmp/left-behind /dev/shm/left-behind; rmdir .local/share/lxc/half-made").succeeds();
    ana.processes().iter().for_each(tests::Process::kill);
}

fn a_clean_test_reports_nothing(lab: &Lab) {
    let before = Snapshot::take(lab);
    lab.user("ana").sh("touch a; mkdir b").succeeds();
    assert_eq!(compare(&before, lab), None);
}

fn a_command_that_hangs_is_ended(lab: &Lab) {
    let ana = lab.user("ana");
    let hangs = std::panic::AssertUnwindSafe(|| ana.sh("sleep 1000; true").seconds(1).output());
    assert!(std::panic::catch_unwind(hangs).is_err(), "a command that hangs passes");
    tests::eventually("its processes are gone", || ana.processes().is_empty());
}
