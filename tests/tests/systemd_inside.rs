//! Debian with systemd in a container of an ordinary user's, on a host with systemd and pure cgroup v2: in the virtual
//! machine.

use tests::vm::{Guest, Said, await_that};

tests::claims_of_a_modern_host! {
    debian_12_boots_to_running_and_does_there_all_that_it_does_on_a_machine;
    debian_13_boots_to_running_and_does_there_all_that_it_does_on_a_machine;
}

/// Runs a script inside; it has no quote of the kind that stands around it here.
fn inside(guest: &Guest, script: &str) -> Said {
    guest.ana(&format!("bryo exec web -- sh -c '{script}'"))
}

fn debian_12_boots_to_running_and_does_there_all_that_it_does_on_a_machine(guest: &Guest) {
    boots_and_does_all(guest, "12");
}

fn debian_13_boots_to_running_and_does_there_all_that_it_does_on_a_machine(guest: &Guest) {
    boots_and_does_all(guest, "13");
}

/// One boot for all, since it takes longest.
fn boots_and_does_all(guest: &Guest, release: &str) {
    guest.sets_up_the_bridge();
    guest.boots_debian(release, "");
    inside(guest, "cat /etc/debian_version").succeeds().tells(&format!("{release}."));
    networkd_gets_an_address(guest);
    limits_its_own_services(guest);
    keeps_a_journal(guest);
    lets_users_log_in_and_have_services(guest);
    guest.ana("bryo stop web && bryo destroy web").succeeds();
    guest.root("bryo net teardown").succeeds();
}

fn networkd_gets_an_address(guest: &Guest) {
    let is_configured = || inside(guest, "networkctl --no-legend list eth0").out.contains("configured");
    assert!(await_that(is_configured), "{}", inside(guest, "networkctl --no-pager status eth0").out);
    inside(guest, "networkctl --no-pager status eth0").tells("via 10.0.3.1)").tells("routable (configured)");
}

fn limits_its_own_services(guest: &Guest) {
    inside(
        guest,
        "systemd-run --wait --quiet --pipe -p MemoryMax=20M -p TasksMax=7 sh -c \
         \"cd /sys/fs/cgroup\\$(cut -d: -f3 /proc/self/cgroup); cat memory.max pids.max\"",
    )
    .succeeds()
    .says("20971520\n7");
    let takes_more =
        "systemd-run --wait -p MemoryMax=20M -p MemorySwapMax=0 sh -c \"head -c 60M /dev/zero | tail\"";
    inside(guest, takes_more).fails().tells("oom-kill");
}

fn keeps_a_journal(guest: &Guest) {
    inside(guest, "echo a word | systemd-cat -t claim; journalctl --sync; journalctl -b -t claim -o cat")
        .says("a word");
}

/// What a user does after a login.
const SESSION: &str = r#"
echo $XDG_RUNTIME_DIR
systemctl --user is-system-running --wait
loginctl --no-legend list-sessions | grep -q eve && echo listed
systemd-run --user --wait --quiet --pipe -p MemoryMax=30M -p TasksMax=9 sh -c '
    cd /sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup)
    cat memory.max pids.max'
"#;

/// A session brings a systemd of the user's own, whose services have limits.
fn lets_users_log_in_and_have_services(guest: &Guest) {
    let logs_in = "bryo exec web -- runuser -l eve -c 'sh /session'";
    guest
        .ana(&format!("bryo exec web -- sh -c 'cat >/session' <<'END'\n{SESSION}\nEND\n{logs_in}"))
        .succeeds()
        .says("/run/user/1000\nrunning\nlisted\n31457280\n9");
}
