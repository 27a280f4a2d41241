//! The tree of `bryo-lxcfs --system` in the containers of other runtimes, with limits that their engines set: in the virtual machine.

use std::path::Path;

use tests::vm::{Guest, Said, await_that};

tests::claims_of_a_modern_host! {
    docker_shows_its_containers_their_own_limits_by_volumes, not lxc "the tree is Bryo's";
    podman_shows_a_users_containers_their_own_limits_by_volumes, not lxc "the tree is Bryo's";
}

/// What a container of 64 MiB on the guest's second processor prints of itself.
const LOOKS: &str = "sed -n 1p /proc/meminfo; grep -c ^processor /proc/cpuinfo; cut -d. -f1 /proc/uptime";

/// The files that are bound into a container, as options of an engine's.
fn volumes(tree: &str) -> String {
    ["meminfo", "cpuinfo", "uptime"].map(|file| format!("-v {tree}/proc/{file}:/proc/{file}:ro")).join(" ")
}

/// Fails unless a container saw its own memory, its own processor and its own age.
fn sees_its_own(said: &Said) {
    let lines: Vec<_> = said.out.lines().collect();
    let &[memory, processors, age] = lines.as_slice() else { panic!("three lines, not {:?}", said.out) };
    let words: Vec<_> = memory.split_whitespace().collect();
    assert_eq!((words.as_slice(), processors), (&["MemTotal:", "65536", "kB"][..], "1"));
    // The guest's state was saved when it had booted, and each of its forks takes milliseconds.
    let host = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    let whole = |text: &str| text.split('.').next().and_then(|seconds| seconds.parse::<u64>().ok());
    let (own, host) = (whole(age).expect("an age"), whole(&host).expect("the host's age"));
    assert!(own + 20 < host, "a container is {own} s old, its host {host} s");
}

fn docker_shows_its_containers_their_own_limits_by_volumes(guest: &Guest) {
    let server = guest.file("prefix/libexec/bryo/bryo-lxcfs");
    let root = guest.file("busybox.tar.zst");
    // An engine of its own, which leaves the guest's network and firewall alone.
    let dockerd = "dockerd --bridge=none --iptables=false --ip6tables=false --data-root /var/lib/engine \
                   --exec-root /run/engine --pidfile /run/engine.pid --host unix:///run/engine.sock";
    let starts = format!(
        "mkdir /run/tree && systemd-run --quiet --unit tree {} --system /run/tree && \
         systemd-run --quiet --unit engine --service-type notify --property TimeoutStartSec=infinity {dockerd}",
        server.display()
    );
    guest.root(&starts).succeeds();
    let is_up = || Path::new("/run/tree/proc/meminfo").exists();
    assert!(await_that(is_up), "{:?}", guest.root("systemctl status tree"));
    let runs = format!(
        "export DOCKER_HOST=unix:///run/engine.sock; zstd -dc {} | docker import - box >/dev/null && \
         docker run --rm --network none --memory 64m --cpuset-cpus 1 {} box sh -c '{LOOKS}'",
        root.display(),
        volumes("/run/tree")
    );
    let said = guest.root(&runs).succeeds();
    guest.root("systemctl stop engine tree; rmdir /run/tree").succeeds();
    sees_its_own(&said);
}

fn podman_shows_a_users_containers_their_own_limits_by_volumes(guest: &Guest) {
    let server = guest.file("prefix/libexec/bryo/bryo-lxcfs");
    let root = guest.file("busybox.tar.zst");
    // What is mounted in podman's user namespace is seen by podman's containers alone.
    let runs = format!(
        "set -e; podman unshare {} --system -p $XDG_RUNTIME_DIR/tree.pid & \
         tries=0; until podman unshare test -e $XDG_RUNTIME_DIR/lxcfs/proc/meminfo; do \
             tries=$((tries+1)); [ $tries -lt 60 ]; sleep 1; done; \
         zstd -dc {} | podman import --quiet - box >/dev/null; \
         podman run --rm --network none --memory 64m --cpuset-cpus 1 {} box sh -c '{LOOKS}'; \
         kill $(cat $XDG_RUNTIME_DIR/tree.pid); wait; podman system reset --force >/dev/null 2>&1",
        server.display(),
        root.display(),
        volumes("$XDG_RUNTIME_DIR/lxcfs")
    );
    sees_its_own(&guest.ana(&runs).succeeds());
}
