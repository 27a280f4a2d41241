//! Debian with systemd in a container of an ordinary user's, on a host with systemd and pure cgroup v2: in the virtual
//! machine.

use tests::vm::{Guest, Said};

tests::claims_of_a_modern_host! {
    systemd_inside_boots_to_running_and_limits_its_own_services;
}

/// Runs a script inside; it has no quote of the kind that stands around it here.
fn inside(guest: &Guest, script: &str) -> Said {
    guest.ana(&format!("bryo exec web -- sh -c '{script}'"))
}

fn systemd_inside_boots_to_running_and_limits_its_own_services(guest: &Guest) {
    guest.boots_debian("--net loopback");
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
    inside(guest, "echo a word | systemd-cat -t claim; journalctl --sync; journalctl -b -t claim -o cat")
        .says("a word");
    guest.ana("bryo stop web").succeeds();
}
