//! Debian with systemd in a container of an ordinary user's, on a host with systemd and pure cgroup v2: in the virtual
//! machine.

use tests::vm::{Guest, Said};

tests::claims_of_a_modern_host! {
    systemd_inside_boots_to_running_and_limits_its_own_services;
    users_inside_have_a_systemd_of_their_own;
    networkd_inside_gets_an_address_on_a_bridge;
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

fn users_inside_have_a_systemd_of_their_own(guest: &Guest) {
    guest.boots_debian("--net loopback");
    inside(
        guest,
        "useradd -m u && systemctl start user@1000 && su u -c \
         \"XDG_RUNTIME_DIR=/run/user/1000 systemd-run --user --wait --pipe --quiet id -un\"",
    )
    .succeeds()
    .says("u");
    inside(guest, "loginctl list-users --no-legend; systemctl is-active systemd-logind").tells("active");
    guest.ana("bryo stop web").succeeds();
}

fn networkd_inside_gets_an_address_on_a_bridge(guest: &Guest) {
    guest.root("bryo net setup --bridge lxcbr0 && echo ana veth lxcbr0 2 >/etc/lxc/lxc-usernet").succeeds();
    guest.boots_debian(
        "--define lxc.net.0.type=veth --define lxc.net.0.link=lxcbr0 --define lxc.net.0.flags=up",
    );
    inside(
        guest,
        "printf \"[Match]\\nName=eth0\\n[Network]\\nDHCP=ipv4\\n\" >/etc/systemd/network/eth0.network; \
         systemctl start systemd-networkd && /usr/lib/systemd/systemd-networkd-wait-online -i eth0 && networkctl --no-pager status eth0",
    )
    .succeeds()
    .tells("10.0.3.");
    guest.ana("bryo stop web").succeeds();
}
