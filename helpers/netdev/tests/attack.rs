//! What lxc-user-nic and its kind were broken by, tried on bryo-netdev. `docs/cves.md` has each.

#[cfg(test)]
mod lab;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use ::policy::slots::{Owner, Slots};
use lab::Install::{FileCapabilities, SetuidRoot};
use lab::{BOTH, Lab, Watched, assert_made, assert_refused, lacks, skip, watching};
use testbed::{
    FULL_PIPE, HOSTILE, HOSTILE_ENVIRONMENT, LONG_NAME_AND_ENVIRONMENT, LOWEST_LIMITS, broken_into, held,
    nobody_may_trace,
};

const NOT_YOURS: &str = "bryo-netdev: eth0: the file descriptor is not a network namespace of yours\n";

/// A process in user and network namespaces that root has made, as $ROOTS.
const OF_ROOT: &str = "unshare -n sleep 300 & ROOTS=$!; MADE=\"$MADE $!\"; slept $ROOTS\n";

/// A process of ana's in user and network namespaces that she made inside a user namespace of bob's, as $NESTED.
const INSIDE_BOBS: &str = "$BOB unshare -U sleep 300 & B=$!; MADE=\"$MADE $B\"
    slept $B
    for map in uid_map gid_map; do cat >/proc/$B/$map <<<$'0 61002 1\\n1 61001 1' || exit 99; done
    nsenter -U -t $B setpriv --reuid 1 --regid 1 --clear-groups unshare -Urn sleep 300 & NESTED=$!; MADE=\"$MADE $!\"
    slept $NESTED\n";

/// A terminal: descriptor 8 is its master, /dev/pts/0 the other side.
const TERMINAL: &str = "mount -t devpts own /dev/pts; exec 8<>/dev/pts/ptmx
    perl -e '$unlocked = pack(\"i\", 0); ioctl(STDIN, 0x40045431, $unlocked) or die' <&8 || exit 99; [ -c /dev/pts/0 ] || exit 99\n";

/// A program that runs another with descriptor 3 on a path, opened by O_PATH.
const BY_NAME_ALONE: &str =
    r#"use POSIX; $^F = 9; sysopen(my $name, shift, 010000000) or die; dup2(fileno $name, 3); exec @ARGV"#;

/// A file of a FUSE file system at /dev/shm/served, served by $SERVER, or `fuse=absent`. What is asked of it goes to
/// /dev/shm/asked, by the numbers of linux/fuse.h. To statfs(2) it answers that all is well, to each question of ioctl(2) with
/// CLONE_NEWNET; or, where $SILENT is set, never to either.
const SERVED: &str = r#"
    [ -e /dev/fuse ] || mknod -m 666 /dev/fuse c 10 229; touch /dev/shm/served; >/dev/shm/asked
    exec 9<>/dev/fuse || { echo fuse=absent; exit; }
    mount -i -t fuse -o fd=9,rootmode=100644,user_id=61001,group_id=61001,allow_other none /dev/shm/served || exit 99
    perl -e '
        my %answers = (
            26 => pack("L4S2L2S2Lx28", 7, 31, 0, 0, 1, 1, 4096, 1, 0, 0, 0), # FUSE_INIT
            17 => pack("x80"),                                               # FUSE_STATFS
            39 => pack("lx12", 0x40000000),                                  # FUSE_IOCTL
        );
        open(my $asked, ">", "/dev/shm/asked");
        while (sysread(STDIN, my $question, 1 << 17)) {
            my (undef, $what, $number) = unpack("LLQ", $question);
            syswrite($asked, "$what ");
            next if $what == 2 or $ENV{SILENT} and $what != 26 and $what != 14; # FUSE_FORGET; FUSE_OPEN
            my $answer = $answers{$what};
            my $error = defined $answer ? 0 : -38; # ENOSYS
            syswrite(STDOUT, pack("LlQ", 16 + length $answer, $error, $number) . $answer);
        }' <&9 >&9 & SERVER=$!; exec 9>&-; MADE="$MADE $SERVER"
"#;

#[test]
fn only_a_network_namespace_of_the_callers_own_gets_a_device() {
    let test = "only_a_network_namespace_of_the_callers_own_gets_a_device";
    let Some(lab) = Lab::new(test) else { return };
    if lacks(test, "perl") {
        return;
    }
    for install in BOTH {
        for (before, open) in [
            ("", "/proc/self/ns/net"),
            ("space bob", "/proc/$REPLY/ns/net"),
            (OF_ROOT, "/proc/$ROOTS/ns/net"),
            (INSIDE_BOBS, "/proc/$NESTED/ns/net"),
            ("", "/proc/$A/ns/user"),
            ("", "/proc/$A/ns/mnt"),
            ("", "/proc/$A/ns/pid"),
            ("", "/proc/$A/ns"),
            ("", "/proc/$A/uid_map"),
            ("", "/etc/passwd"),
            ("", "/dev/zero"),
            ("rm -f /dev/shm/fifo; mkfifo /dev/shm/fifo; exec 8<>/dev/shm/fifo", "/dev/shm/fifo"),
            ("", "/proc/self/mem"),
            ("exec 8< <(sleep 0)", "/dev/fd/8"),
            (TERMINAL, "&8"),
            (TERMINAL, "/dev/pts/0"),
        ] {
            let ask = format!(
                "ip -o link >/dev/shm/before; ana $HELPER 3 br0 eth0 3<{open}; R=$?; \
                               ip -o link | cmp - /dev/shm/before || exit 9; (exit $R)"
            );
            let outcome = lab.ask(install, before, &ask);
            assert_refused(&outcome, NOT_YOURS);
            assert_eq!(outcome.said, NOT_YOURS, "{open}: nothing else is said");
        }
        // Of a name alone the kernel still says on which file system it is, and nothing more.
        for path in ["/proc/$A/ns/net", "/proc/$A/ns", "/etc/passwd", "/dev/shm"] {
            let outcome =
                lab.ask(install, "", &format!("perl -e '{BY_NAME_ALONE}' {path} $ANA $HELPER 3 br0 eth0"));
            assert_refused(&outcome, NOT_YOURS);
            assert_eq!(outcome.said, NOT_YOURS, "{path}, opened by O_PATH: nothing else is said");
        }
        // Its own maker is ana, or the refusal above shows nothing.
        let nested = lab.story(
            install,
            &format!("{INSIDE_BOBS} echo owner=$(stat -c %u /proc/$NESTED/ns); echo status=0"),
        );
        assert_eq!(nested.value("owner"), "61001", "{nested:#?}");
        assert_refused(&lab.ask(install, "", "ana $HELPER 3 br0 eth0 3<&-"), "file descriptor 3 is not open");
    }
}

#[test]
fn a_file_that_somebody_serves_is_no_namespace_whatever_is_answered() {
    let test = "a_file_that_somebody_serves_is_no_namespace_whatever_is_answered";
    let Some(lab) = Lab::new(test) else { return };
    if lacks(test, "perl") {
        return;
    }
    for install in BOTH {
        let outcome = lab.ask(
            install,
            SERVED,
            "ana $HELPER 3 br0 eth0 3</dev/shm/served; R=$?; echo asked=$(cat /dev/shm/asked); (exit $R)",
        );
        if outcome.value("fuse") == "absent" {
            return skip(test, "there is no FUSE in this kernel");
        }
        let asked = |number| outcome.value("asked").split(' ').any(|what| what == number);
        assert!(asked("17") && !asked("39"), "what it could answer as it likes is not asked: {outcome:#?}");
        assert_refused(&outcome, NOT_YOURS);
        assert_eq!(outcome.said, NOT_YOURS, "nothing else is said");
    }
}

#[test]
fn a_helper_that_waits_for_a_file_that_is_served_holds_nobody_up() {
    let test = "a_helper_that_waits_for_a_file_that_is_served_holds_nobody_up";
    let Some(lab) = Lab::new(test) else { return };
    if lacks(test, "perl") {
        return;
    }
    lab.grant("@staff2 veth br0 1\n");
    lab.add_to_etc("group", "staff2:x:61500:ana,bob\n");
    let of_staff =
        |uid: u32| format!("setpriv --reuid {uid} --regid {uid} --groups 61500 $HELPER 3 br0 eth0");
    let outcome = lab.story(
        FileCapabilities,
        &format!(
            "export SILENT=1\n{SERVED}\nspace bob; B=$REPLY\n\
             {} 3</dev/shm/served 2>/dev/shm/said & waits=$!\n\
             for n in $(seq 1500); do grep -qw 17 /dev/shm/asked && break; sleep 0.02; done\n\
             {} 3</proc/$B/ns/net; echo bobs=$?; [ -d /proc/$waits ]; echo waits=$?\n\
             kill -9 $SERVER; wait $waits; echo status=$?; echo ports=$(count); echo said=$(cat /dev/shm/said)",
            of_staff(61_001),
            of_staff(61_002)
        ),
    );
    if outcome.value("fuse") == "absent" {
        return skip(test, "there is no FUSE in this kernel");
    }
    assert_eq!((outcome.value("bobs"), outcome.value("waits")), ("0", "0"), "{outcome:#?}");
    // Refused, or ended by its deadline where this took as long.
    assert!([1, 142].contains(&outcome.status) && outcome.value("ports") == "1", "{outcome:#?}");
    assert!(["", NOT_YOURS.trim_end()].contains(&outcome.value("said")), "{outcome:#?}");
}

#[test]
fn a_namespace_nested_in_the_callers_own_is_the_callers() {
    let Some(lab) = Lab::new("a_namespace_nested_in_the_callers_own_is_the_callers") else { return };
    let nested = "$ANA nsenter --preserve-credentials -U -n -t $A unshare -Urn sleep 300 & N=$!; MADE=\"$MADE $N\"; slept $N";
    for install in BOTH {
        let outcome = lab.ask(install, nested, "veth $N eth0");
        assert_made(&outcome);
    }
}

#[test]
fn in_a_user_namespace_of_the_callers_the_helper_does_nothing() {
    let Some(lab) = Lab::new("in_a_user_namespace_of_the_callers_the_helper_does_nothing") else { return };
    for install in BOTH {
        // With several ids mapped uid 0 inside is not the caller; the file's rights count, and only there.
        let outcome = lab.ask(
            install,
            "printf '0 61001 1\\n' >/dev/null",
            "inside $A $HELPER 3 br0 eth0 3</proc/$A/ns/net",
        );
        assert_refused(&outcome, "root needs no helper");
        let outcome = lab.ask(
            install,
            "$ANA unshare -Un --map-user=7 sleep 300 & S=$!; MADE=\"$MADE $S\"; \
             slept $S",
            "inside $S ip link add br0 type bridge 2>/dev/null; inside $S $HELPER 3 br0 eth0 3</proc/$A/ns/net",
        );
        assert_eq!((outcome.status, outcome.value("ports")), (1, ""), "{outcome:#?}");
        let why = ["not started in the initial user namespace", "not installed correctly"];
        assert!(why.iter().any(|why| outcome.said.contains(why)), "{outcome:#?}");
    }
}

#[test]
fn a_forged_proc_and_a_forged_policy_end_at_the_kernel() {
    let Some(lab) = Lab::new("a_forged_proc_and_a_forged_policy_end_at_the_kernel") else { return };
    // In namespaces of hers ana has a root, who shows the helper what she likes, and a uid that is none: 7.
    let outcome = lab.story(
        FileCapabilities,
        "exec 5</proc/self/ns/user; $ANA unshare -Um sleep 300 & S=$!; MADE=\"$MADE $S\"; slept $S\n\
         for map in uid_map gid_map; do cat >/proc/$S/$map <<<$'0 100000 1\\n7 61001 1' || exit 99; done\n\
         nsenter -U -m --setuid 0 --setgid 0 -t $S bash -c '\n\
           own=\"setpriv --reuid 7 --regid 7 --clear-groups\"\n\
           $own unshare -Un sleep 300 & N=$!; for n in $(seq 1500); do grep -qs sleep /proc/$N/comm && break; sleep 0.02; done; exec 3</proc/$N/ns/net\n\
           mount -t tmpfs own /mnt; mkdir -p /mnt/etc/lxc /mnt/proc; cp /etc/passwd /etc/group /etc/nsswitch.conf /mnt/etc\n\
           echo \"7 veth br0 9\" >/mnt/etc/lxc/lxc-usernet; mount --bind /mnt/etc /etc; mount --rbind /proc /mnt/proc\n\
           mount -t tmpfs own /proc; mkdir -p /proc/self/ns; touch /proc/self/ns/user\n\
           mount --bind /mnt/proc/self/fd/5 /proc/self/ns/user; echo shown=$(stat -Lc %i /proc/self/ns/user)\n\
           $own $HELPER 3 br0 eth0; echo status=$?; kill $N'\n\
         echo ports=$(ports)",
    );
    assert_eq!(outcome.value("shown"), "4026531837", "the inode of the initial user namespace: {outcome:#?}");
    assert_refused(
        &outcome,
        "making the pair: Operation not permitted (os error 1) (not the network namespace of this host's own user namespace)",
    );
}

#[test]
fn a_user_cannot_forge_or_free_a_slot_from_namespaces_of_his_own() {
    let Some(lab) = Lab::new("a_user_cannot_forge_or_free_a_slot_from_namespaces_of_his_own") else { return };
    let outcome = lab.story(
        FileCapabilities,
        "sleep 300 & H=$!; MADE=\"$MADE $H\"; space ana; A=$REPLY; S=$(veth $A eth0 | cut -d' ' -f1); F=${S%0}1\n\
         ip link add spare type bridge; all() { ip -o link | sed 's/: <.* master / /; s/: <.*//; s/ state .*//'; }; before=$(all)\n\
         try() { inside $A ip \"$@\" >/dev/null 2>&1 && echo forged=\"$*\"; }\n\
         try link add $F type veth peer name x netns $H\n\
         try link add x type veth peer name $F netns $H\n\
         try link add $F netns $H type bridge\n\
         try link add $F netns $H type ifb\n\
         try link add $F link eth0 netns $H type macvlan\n\
         try link add $F netns $H type vxlan id 7 remote 127.0.0.1 dstport 4789\n\
         inside $A ip link add moved type veth peer name stays\n\
         try link set moved netns $H name $F\n\
         try link set $S netns $A\n\
         ana ip link del $S 2>/dev/null && echo forged=del\n\
         ana ip link set $S name free 2>/dev/null && echo forged=rename\n\
         ana ip link property add dev br0 altname $F 2>/dev/null && echo forged=altname\n\
         ana ip link add $F type bridge 2>/dev/null && echo forged=bridge\n\
         inside $A ip link set eth0 name other; inside $A ip link property add dev other altname more\n\
         diff <(echo \"$before\") <(all) >&2; echo same=$?; echo status=$(count)",
    );
    assert_eq!(outcome.values("forged"), [""; 0], "{outcome:#?}");
    assert_eq!((outcome.value("same"), outcome.status), ("0", 1), "{outcome:#?}");
}

#[test]
fn a_device_moved_into_a_nested_namespace_keeps_its_slot() {
    let Some(lab) = Lab::new("a_device_moved_into_a_nested_namespace_keeps_its_slot") else { return };
    lab.grant("ana veth br0 1\n");
    let outcome = lab.story(
        FileCapabilities,
        "space ana; A=$REPLY; veth $A eth0 >/dev/null\n\
         $ANA nsenter --preserve-credentials -U -n -t $A unshare -n sleep 300 & \
         N=$!; MADE=\"$MADE $N\"; slept $N\n\
         inside $A ip link set eth0 netns $N; echo moved=$?; veth $A eth0; echo status=$?; echo ports=$(count)",
    );
    assert_eq!(
        (outcome.value("moved"), outcome.status, outcome.value("ports")),
        ("0", 3, "1"),
        "{outcome:#?}"
    );
}

#[test]
fn a_slot_that_something_else_holds_denies_and_is_named_and_not_removed() {
    let Some(lab) = Lab::new("a_slot_that_something_else_holds_denies_and_is_named_and_not_removed") else {
        return;
    };
    for hold in ["ip link add $S type bridge", "ip link property add dev br0 altname $S"] {
        lab.grant("ana veth br0 2\n");
        let outcome = lab.story(
            FileCapabilities,
            &format!(
                "space ana; A=$REPLY; S=$(veth $A eth0 | cut -d' ' -f1); inside $A ip link del eth0; {hold}\n\
                 veth $A eth1 >/dev/null; echo second=$?; veth $A eth2; echo status=$?; ip link show $S >/dev/null; \
                 echo held=$?; echo slot=$S; echo ports=$(count)"
            ),
        );
        let all = [outcome.value("second"), outcome.value("held"), outcome.value("ports")];
        assert_eq!((all, outcome.status), (["0", "0", "1"], 3), "{outcome:#?}");
        let said =
            format!("held by a foreign interface that is no port of the bridge: {}\n", outcome.value("slot"));
        assert!(outcome.said.ends_with(&said), "{outcome:#?}");
    }
}

#[test]
fn a_kill_before_any_system_call_leaves_no_uncounted_and_no_unguarded_port() {
    let test = "a_kill_before_any_system_call_leaves_no_uncounted_and_no_unguarded_port";
    let Some(lab) = Lab::new(test) else { return };
    if lacks(test, "strace") {
        return;
    }
    for install in BOTH {
        let every = if std::env::var_os("BRYO_ATTACK_FULL").is_some() { "EVERY=1;" } else { "EVERY=;" };
        let outcome = lab.story(install, &format!("{every} {KILLED_EVERYWHERE}"));
        let (tried, fired, left) = (outcome.values("tried"), outcome.values("fired"), outcome.values("left"));
        assert!(
            tried.len() > 100 && fired.len() * 10 >= tried.len() * 9,
            "{} of {}",
            fired.len(),
            tried.len()
        );
        // The next call has its device, and the quota of two is full with two, those that are left counted.
        assert_eq!(outcome.values("next"), vec!["0"; tried.len()], "{outcome:#?}");
        assert_eq!(outcome.values("full"), vec!["3:2"; tried.len()], "{outcome:#?}");
        assert_eq!(outcome.values("orphans"), vec!["0"; tried.len()], "{outcome:#?}");
        // Pairs are left from the change that makes them to the end, first down, then guarded and up.
        let up = |left: &&str| left.split([':', ',']).any(|word| word == "UP");
        let (ups, downs): (Vec<&str>, Vec<&str>) = left.into_iter().partition(up);
        assert!(ups.len() > 3 && downs.len() > 1, "{ups:?} {downs:?}");
        assert!(ups.iter().all(|left| left.starts_with("1:") && left.ends_with(":on")), "{ups:?}");
        // What is down lets nothing pass, although the container has put its own end to work.
        let inert = |left: &&str| left.starts_with("1:") && left.contains(":disabled:");
        assert!(downs.iter().all(inert), "{downs:?}");
    }
}

/// Words that kill the helper before each of its system calls, each time for a namespace of its own, and tell what is left of
/// it, what the next calls get, and what is there when the namespace has died. Of a call that it makes often the first three,
/// the last three and each eighth between are tried, unless $EVERY is set.
const KILLED_EVERYWHERE: &str = "T=/dev/shm/trace\n\
    call() { strace -o $T -u ana \"$@\" $HELPER 3 br0 eth0 3</proc/$A/ns/net >/dev/null 2>&1; }\n\
    space ana; A=$REPLY; call; kill -9 $A\n\
    sed 's/(.*//' $T | grep -v '^[+-]' | sort | uniq -c >$T.calls\n\
    gone() { for k in $(seq 300); do [ $(count) = 0 ] && break; sleep 0.1; done; }; gone\n\
    while read times name; do for n in $(seq $times); do\n\
      [ \"$EVERY\" ] || [ $n -le 3 ] || [ $n -gt $((times - 3)) ] || [ $((n % 8)) = 0 ] || continue\n\
      space ana; A=$REPLY; echo tried=$name\n\
      { call -e inject=$name:signal=KILL:when=$n; } 2>/dev/null; grep -q 'killed by SIGKILL' $T && echo fired=$name\n\
      inside $A ip link set eth0 up 2>/dev/null\n\
      port=$(ip -d -o link show master br0 | sed 's/.*<\\(.*\\)>.* state \\([a-z]*\\) .* guard \\([onf]*\\) .*/\\1:\\2:\\3/')\n\
      [ \"$port\" ] && echo left=$(count):$port\n\
      veth $A eth1 >/dev/null; echo next=$?; [ \"$port\" ] || veth $A eth2 >/dev/null\n\
      veth $A eth3 >/dev/null 2>&1; echo full=$?:$(count)\n\
      kill -9 $A; wait $A 2>/dev/null; gone; echo orphans=$(count)\n\
    done; done <$T.calls; echo status=0";

#[test]
fn a_refusal_that_nobody_hears_keeps_its_exit_status() {
    let Some(lab) = Lab::new("a_refusal_that_nobody_hears_keeps_its_exit_status") else { return };
    // Refused before anything else is looked at: root is no caller.
    let outcome = lab.story(
        FileCapabilities,
        "rm -f /dev/shm/told; { sleep 0.3; $HELPER 3 br0 eth0 2>&1; echo heard=$? >/dev/shm/told; } | true\n\
         for n in $(seq 200); do [ -s /dev/shm/told ] && break; sleep 0.05; done; cat /dev/shm/told",
    );
    assert_eq!(outcome.value("heard"), "1", "{outcome:#?}");
}

#[test]
fn a_port_that_cannot_be_guarded_is_removed() {
    let Some(lab) = Lab::new("a_port_that_cannot_be_guarded_is_removed") else { return };
    if lacks("a_port_that_cannot_be_guarded_is_removed", "strace") {
        return;
    }
    // Stopped when it has looked for its pair, it meets a port that is none any more.
    let outcome = lab.ask(
        FileCapabilities,
        &stopped("$A", 4, "S=$(ports); ip link set $S nomaster; echo unplugged=$S"),
        "ip link show $(sed 's/.*=//' <<<$S) 2>/dev/null && echo here; (exit $R)",
    );
    assert_eq!(outcome.value("unplugged").len(), 15, "{outcome:#?}");
    assert_refused(&outcome, "guarding the port: ");
    assert!(!outcome.printed.contains("here"), "{outcome:#?}");
}

#[test]
fn a_pair_that_is_taken_off_its_bridge_at_once_is_removed() {
    let Some(lab) = Lab::new("a_pair_that_is_taken_off_its_bridge_at_once_is_removed") else { return };
    if lacks("a_pair_that_is_taken_off_its_bridge_at_once_is_removed", "strace") {
        return;
    }
    for to in ["nomaster", "master br7"] {
        let outcome = lab.ask(
            FileCapabilities,
            &format!(
                "ip link add br7 type bridge\n{}",
                stopped("$A", 3, &format!("S=$(ports); ip link set $S {to}; echo unplugged=$S"))
            ),
            "ip link show $(sed 's/.*=//' <<<$S) 2>/dev/null && echo here; (exit $R)",
        );
        assert_eq!(outcome.value("unplugged").len(), 15, "{outcome:#?}");
        assert_refused(&outcome, "the host took it off the bridge before it was ready");
        assert!(!outcome.printed.contains("here"), "{outcome:#?}");
    }
}

#[test]
fn a_port_has_no_address_of_the_hosts_though_the_other_end_is_up_before_it() {
    let test = "a_port_has_no_address_of_the_hosts_though_the_other_end_is_up_before_it";
    let Some(lab) = Lab::new(test) else { return };
    if lacks(test, "strace") {
        return;
    }
    if !Path::new("/proc/sys/net/ipv6").exists() {
        return skip(test, "there is no IPv6 in this kernel");
    }
    for message in 3..=5 {
        let up_first = stopped("$A", message, "inside $A ip link set eth0 up; echo early=$?");
        let outcome = lab.ask(
            FileCapabilities,
            &format!("echo 0 >/proc/sys/net/ipv6/conf/all/disable_ipv6; ip link set br0 down; ip link set br0 up\n{up_first}"),
            "for n in $(seq 30); do sleep 0.1; done; echo carrier=$(ip -o link show dev $(ports) | grep -c LOWER_UP)
             echo own=$(ip -o -6 address show dev br0); echo address=$(ip -o address show dev $(ports)); (exit $R)",
        );
        assert_made(&outcome);
        assert_eq!((outcome.value("early"), outcome.value("carrier")), ("0", "1"), "{outcome:#?}");
        // The bridge has one of the link: the kernel does make addresses here.
        assert!(outcome.value("own").contains("inet6 fe80:"), "{outcome:#?}");
        assert_eq!(outcome.value("address"), "", "up behind message {message}: {outcome:#?}");
    }
}

/// Words that run the helper for ana, stop it behind its `message`-th one to the kernel, do something, and let it go on;
/// its status is in $R. The messages ask for the bridge, for all links, for the pair, for all links again, for no address, for
/// the guard.
fn stopped(process: &str, message: u32, meanwhile: &str) -> String {
    format!(
        "rm -f /dev/shm/trace; strace -o /dev/shm/trace -u ana -e trace=sendto -e inject=sendto:signal=STOP:when={message} \
           $HELPER 3 br0 eth0 3</proc/{process}/ns/net >/dev/null & T=$!\n\
         for n in $(seq 1000); do grep -qs 'stopped by SIGSTOP' /dev/shm/trace && break; sleep 0.02; done\n\
         H=$(cat /proc/$T/task/$T/children)\n\
         {meanwhile}\n\
         kill -CONT $H; wait $T; R=$?"
    )
}

#[test]
fn two_hundred_callers_that_are_killed_at_random_never_exceed_the_quota() {
    let Some(lab) = Lab::new("two_hundred_callers_that_are_killed_at_random_never_exceed_the_quota") else {
        return;
    };
    lab.grant("ana veth br0 10\n");
    let record = lab.path("record");
    let script = watching(
        "for n in 1 2 3 4; do space ana; S[$n]=$REPLY; done\n\
         for n in $(seq 200); do\n\
           ana $HELPER 3 br0 e$n 3</proc/${S[$((n % 4 + 1))]}/ns/net >/dev/null 2>&1 & P=$!; ASKED=\"$ASKED $P\"\n\
           [ $((n % 2)) = 0 ] && { sleep 0.00$((RANDOM % 9)); for c in $P $(cat /proc/$P/task/$P/children 2>/dev/null); do \
             kill -9 $c 2>/dev/null; done; }\n\
           [ $((n % 10)) = 0 ] && { for m in $(seq $((n - 10)) $n); do inside ${S[$((m % 4 + 1))]} ip link del e$m 2>/dev/null; done; }\n\
         done; wait $ASKED\n\
         for n in $(seq 12); do veth ${S[1]} last$n >/dev/null 2>&1; done; echo ports=$(count)",
    );
    let outcome = lab.story(FileCapabilities, &format!("WATCHED={record}; {script}"));
    assert_eq!(outcome.value("ports"), "10", "{outcome:#?}");
    let watched = Watched::read(&fs::read_to_string(&record).unwrap(), "br0", "u0001b2h");
    assert!(watched.most == 10 && watched.ever > 20, "{} at once, {} in all", watched.most, watched.ever);
    assert_eq!(watched.unguarded, [""; 0]);
}

#[test]
fn where_the_quota_is_lowered_while_many_ask_nothing_is_added_above_it() {
    let test = "where_the_quota_is_lowered_while_many_ask_nothing_is_added_above_it";
    let Some(lab) = Lab::new(test) else { return };
    lab.grant("ana veth br0 12\n");
    let (record, file) = (lab.path("record"), lab.path("etc/lxc/lxc-usernet"));
    // Whoever has read the file before it was changed has asked when the mark is made.
    let script = watching(&format!(
        "space ana; A=$REPLY\n\
         many() {{ local all; for n in $(seq 16); do veth $A $1$n >/dev/null 2>&1 & all=\"$all $!\"; done; wait $all; }}\n\
         many e; echo before=$(count); echo 'ana veth br0 5' >{file}; shown lowered\n\
         many f & F=$!; for n in $(seq 16); do inside $A ip link del e$n 2>/dev/null; done; wait $F\n\
         many g; echo after=$(count)"
    ));
    let outcome = lab.story(FileCapabilities, &format!("WATCHED={record}; {script}"));
    assert_eq!((outcome.value("before"), outcome.value("after")), ("12", "5"), "{outcome:#?}");
    let text = fs::read_to_string(&record).unwrap();
    let (before, after) = text.split_once("alias lowered").unwrap();
    assert_eq!(Watched::read(before, "br0", "u0001b2h").most, 12);
    let slots = Slots::new(Owner::User(61_001), &"br0".parse().unwrap());
    let mut present: BTreeSet<String> = (0..12).map(|number| slots.name(number)).collect();
    for line in after.lines() {
        let name = line
            .trim_start_matches("Deleted ")
            .split(' ')
            .nth(1)
            .and_then(|word| word.split(['@', ':']).next());
        let Some(name) = name.filter(|name| slots.number(name).is_some()) else { continue };
        if line.starts_with("Deleted ") || !line.contains(" master br0 ") {
            present.remove(name);
        } else if present.insert(name.to_owned()) {
            assert!(present.len() <= 5, "{name} is added beside {present:?}");
        }
    }
    assert_eq!(present.len(), 5);
}

#[test]
fn eight_users_on_two_bridges_at_once_have_five_each() {
    let Some(lab) = Lab::new("eight_users_on_two_bridges_at_once_have_five_each") else { return };
    let users: Vec<u32> = (61_020..61_028).collect();
    lab.grant(users.iter().map(|id| format!("{id} veth br0 5\n{id} veth br1 5\n")).collect::<String>());
    let record = lab.path("record");
    // Five calls of each stay, all others come and go: 8 users, 2 bridges, 63 calls each are 1,008.
    let script = watching(
        "ip link add br1 type bridge\n\
         one() { space $1; local A=$REPLY n b; for n in $(seq 21); do for b in br0 br1; do\n\
             for k in 1 2 3; do user $1 $HELPER 3 $b e$n$b$k 3</proc/$A/ns/net >/dev/null 2>&1 & done; done; wait $(jobs -p | grep -v ^$A)\n\
             echo here=$1:$(ip -o link show master br0 | wc -l):$(ip -o link show master br1 | wc -l)\n\
             [ $n = 21 ] || for k in 1 2 3; do user $1 nsenter --preserve-credentials -U -n -t $A ip link del e${n}br0$k 2>/dev/null; done\n\
           done; kill -9 $A; }\n\
         for id in $(seq 61020 61027); do one $id & ALL=\"$ALL $!\"; done; wait $ALL\n\
         for n in $(seq 300); do [ $(count br0)$(count br1) = 00 ] && break; sleep 0.1; done\n\
         echo left=$(count br0):$(count br1)",
    );
    let outcome = lab.story(FileCapabilities, &format!("WATCHED={record}; {script}"));
    assert_eq!(outcome.values("here").len(), 8 * 21, "{outcome:#?}");
    assert_eq!(outcome.value("left"), "0:0", "nothing stays when the namespaces have died");
    let text = fs::read_to_string(&record).unwrap();
    for id in users {
        for bridge in ["br0", "br1"] {
            let slots = Slots::new(Owner::User(id), &bridge.parse().unwrap());
            let watched = Watched::read(&text, bridge, &slots.name(0)[..13]);
            assert!((1..=5).contains(&watched.most), "{id} has {} at once on {bridge}", watched.most);
            assert_eq!(watched.unguarded, [""; 0]);
            assert!(bridge == "br1" || watched.ever > 5, "some come and go");
        }
    }
}

#[test]
fn a_stopped_helper_holds_nobody_up_and_does_not_touch_who_got_its_slot() {
    let Some(lab) = Lab::new("a_stopped_helper_holds_nobody_up_and_does_not_touch_who_got_its_slot") else {
        return;
    };
    if lacks("a_stopped_helper_holds_nobody_up_and_does_not_touch_who_got_its_slot", "strace") {
        return;
    }
    lab.add_to_etc("group", "staff2:x:61500:ana,bob\n");
    lab.grant("@staff2 veth br0 1\n");
    for message in [3, 4] {
        let meanwhile = "inside $A ip link del eth0\n\
            for n in $(seq 100); do setpriv --reuid 61002 --regid 61002 --groups 61500 $HELPER 3 br0 eth0 3</proc/$B/ns/net \
              >/dev/null 2>&1 && break; sleep 0.1; done; echo bobs=$(ports)\n\
            about() { ip -d -o link show master br0; }; before=$(about)";
        let story = format!(
            "space ana; A=$REPLY; space bob; B=$REPLY; {}; echo status=$R; [ \"$before\" = \"$(about)\" ]; echo same=$?",
            stopped("$A", message, meanwhile)
        );
        let outcome = lab.story(FileCapabilities, &story);
        assert!(outcome.value("bobs").starts_with("g0001bgc"), "{message}: {outcome:#?}");
        assert_eq!((outcome.value("same"), outcome.status), ("0", 1), "{message}: {outcome:#?}");
        assert!(
            outcome.said.contains("it was removed, by the other end, before it was ready"),
            "{outcome:#?}"
        );
    }
}

#[test]
fn who_is_stopped_while_the_file_and_the_bridge_change_is_kept_apart_when_she_goes_on() {
    let test = "who_is_stopped_while_the_file_and_the_bridge_change_is_kept_apart_when_she_goes_on";
    let Some(lab) = Lab::new(test) else { return };
    if lacks(test, "strace") {
        return;
    }
    let file = lab.path("etc/lxc/lxc-usernet");
    // Her file has her alone, or all are open; when she is stopped somebody else comes.
    for says in ["", " open"] {
        for message in 1..=5 {
            lab.grant(format!("ana veth br0 1{says}\n"));
            let meanwhile = format!(
                "ana kill -STOP $H; echo may=$?; printf 'ana veth br0 1\\nbob veth br0 1\\n' >{file}\n\
                 bob $HELPER 3 br0 eth0 3</proc/$B/ns/net >/dev/null; echo bobs=$?"
            );
            let story = format!(
                "space bob; B=$REPLY; space ana; A=$REPLY; {}; echo status=$R\n\
                 for p in $(ports); do echo isolated=$(ip -d -o link show $p | sed 's/.* isolated \\([onf]*\\) .*/\\1/'); done",
                stopped("$A", message, &meanwhile)
            );
            let outcome = lab.story(FileCapabilities, &story);
            assert_eq!((outcome.value("may"), outcome.value("bobs")), ("0", "0"), "{outcome:#?}");
            assert_eq!(outcome.status, 0, "{outcome:#?}");
            assert_eq!(outcome.values("isolated"), ["on"; 2], "stopped at {message},{says}: {outcome:#?}");
        }
    }
}

#[test]
fn at_each_change_one_capability_is_in_force_and_the_uid_is_the_callers() {
    let Some(lab) = Lab::new("at_each_change_one_capability_is_in_force_and_the_uid_is_the_callers") else {
        return;
    };
    if lacks("at_each_change_one_capability_is_in_force_and_the_uid_is_the_callers", "strace") {
        return;
    }
    for install in BOTH {
        let trace = lab.path("trace");
        let traced = "-e trace=capset,setresuid,sendto,ioctl,open,openat,socket";
        let outcome = lab.ask(
            install,
            "",
            &format!("strace -o {trace} {traced} -u ana $HELPER 3 br0 eth0 3</proc/$A/ns/net"),
        );
        assert_made(&outcome);
        let log = fs::read_to_string(&trace).unwrap();
        let mut effective = "none";
        let (mut changes, mut settled) = (0, false);
        for line in log.lines() {
            if line.starts_with("capset(") {
                let only = "{effective=1<<CAP_NET_ADMIN, permitted=1<<CAP_NET_ADMIN, inheritable=0}";
                let all = line.split("}, {").nth(1).unwrap_or_default();
                assert!(!all.contains("effective=1") || line.contains(only), "{line}");
                effective = if line.contains(only) { "net_admin" } else { "none" };
                settled = true;
            }
            // Files and the caller's descriptor are touched with nothing in force.
            let on_callers =
                line.starts_with("ioctl(") || line.contains("lxc-usernet") || line.contains("\"/etc/");
            assert!(!(settled && on_callers && effective != "none"), "{line}");
            // They are the caller's: what answers there is his choice (sudo-rs issue 253).
            assert!(
                !["ioctl(0,", "ioctl(1,", "ioctl(2,"].iter().any(|call| line.starts_with(call)),
                "{line}"
            );
            let changing = line.contains("RTM_NEWLINK") || line.contains("nlmsg_type=0x10");
            if line.starts_with("sendto(") && changing {
                assert_eq!(effective, "net_admin", "{line}");
                changes += 1;
            }
        }
        assert_eq!((changes, effective), (3, "none"), "{log}");
        let dropped = log.contains("setresuid(61001, 61001, 61001)");
        assert_eq!(dropped, install == SetuidRoot, "{log}");
    }
}

#[test]
fn the_running_helper_cannot_be_read_by_its_caller_and_keeps_no_file_of_his() {
    let Some(lab) = Lab::new("the_running_helper_cannot_be_read_by_its_caller_and_keeps_no_file_of_his")
    else {
        return;
    };
    lab.grant("ana veth br9 1\n");
    for install in BOTH {
        let script = held("space ana 8>&-; A=$REPLY", "br9 eth0", "/proc/$A/ns/net");
        lab.story(install, &script).assert_out_of_reach(&[]);
    }
}

#[test]
fn no_way_leads_into_the_helper_from_its_exec_to_its_end() {
    let test = "no_way_leads_into_the_helper_from_its_exec_to_its_end";
    let Some(lab) = Lab::new(test) else { return };
    if lacks(test, "perl") || nobody_may_trace(test) {
        return;
    }
    lab.grant("ana veth br0 2\nana veth br9 1\n");
    for install in BOTH {
        // Where it has made a pair it waits with no capability left, which alone would keep the caller out.
        for (request, ports) in [("br0 eth0", "1"), ("br9 eth0", "0")] {
            let script = broken_into("space ana 8>&-; A=$REPLY", request, "/proc/$A/ns/net");
            let outcome = lab.story(install, &format!("{script}\necho ports=$(count)"));
            outcome.assert_not_broken_into();
            assert_eq!(outcome.value("ports"), ports, "{outcome:#?}");
        }
    }
}

#[test]
fn what_was_done_is_logged_before_it_is_answered_and_a_wait_for_the_caller_ends() {
    let Some(lab) = Lab::new("what_was_done_is_logged_before_it_is_answered_and_a_wait_for_the_caller_ends")
    else {
        return;
    };
    let waits = "env --ignore-signal=ALRM --block-signal=ALRM $HELPER";
    let outcome = lab.story(
        FileCapabilities,
        &format!(
            "{FULL_PIPE}\nspace ana 8>&-; A=$REPLY\n\
             $ANA {waits} 3 br0 eth0 >&8 3</proc/$A/ns/net & made=$!; $ANA {waits} 3 br9 eth0 2>&8 3</proc/$A/ns/net & refused=$!\n\
             wait $made; echo made=$?; wait $refused; echo refused=$?; kill $sleeper; echo status=0; echo ports=$(ports)"
        ),
    );
    assert_made(&outcome);
    // SIGALRM is 14: it ends them although the caller had it ignored and blocked.
    assert_eq!((outcome.value("made"), outcome.value("refused")), ("142", "142"), "{outcome:#?}");
    let log = lab.logged();
    assert!(log.contains(&format!(": uid=61001 made {} ", outcome.value("ports"))), "{log:?}");
    assert!(log.contains("no line of /etc/lxc/lxc-usernet grants it"), "{log:?}");
}

#[test]
fn a_hostile_environment_hostile_limits_and_hostile_descriptors_change_nothing() {
    let Some(lab) = Lab::new("a_hostile_environment_hostile_limits_and_hostile_descriptors_change_nothing")
    else {
        return;
    };
    let ask = "veth $A eth0";
    let hostile =
        format!("({HOSTILE} cd /proc/$A; ana {HOSTILE_ENVIRONMENT} $HELPER 3 br0 eth0 3</proc/$A/ns/net)");
    for install in BOTH {
        let outcome = lab.ask(install, "", &hostile);
        assert_made(&outcome);
        assert_eq!(outcome.said, "", "no loader, libc or runtime says anything");
        for limit in LOWEST_LIMITS.iter().chain(&["-S -v 100000", "-S -t 1"]) {
            assert_made(&lab.ask(install, "", &format!("(ulimit {limit}; {ask})")));
        }
        let low = lab.ask(install, "", &format!("(ulimit -n 12; {ask})"));
        assert_refused(&low, "the limit on open files is 12, and at least 16 is needed");
        for closed in
            ["<&-", "0<&- 1>&- 2>&-", "1>&-", "4</etc/passwd 9</etc/group 20>/dev/null", ">/dev/full 2>&1"]
        {
            assert_made(&lab.ask(install, "", &format!("{ask} {closed}")));
        }
    }
}

#[test]
fn a_long_name_of_the_program_and_a_large_environment_change_nothing() {
    let test = "a_long_name_of_the_program_and_a_large_environment_change_nothing";
    let Some(lab) = Lab::new(test) else { return };
    if lacks(test, "perl") {
        return;
    }
    for install in BOTH {
        let ask = format!(
            "(ulimit -S -s 65536; ana {LONG_NAME_AND_ENVIRONMENT} $HELPER 3 br0 eth0 3</proc/$A/ns/net)"
        );
        assert_made(&lab.ask(install, "", &ask));
    }
}

#[test]
fn a_netlink_socket_as_output_is_written_to_without_any_capability() {
    let test = "a_netlink_socket_as_output_is_written_to_without_any_capability";
    let Some(lab) = Lab::new(test) else { return };
    if lacks(test, "perl") || lacks(test, "strace") {
        return;
    }
    let trace = lab.path("trace");
    let as_output = "perl -e 'socket(S, 16, 3, 0) or die; open(STDOUT, \">&S\") or die; open(STDERR, \">&S\") or die; exec @ARGV'";
    for (name, status, written) in [("eth0", 0, "write(1, "), ("br0", 0, "write(1, "), ("lo", 2, "write(2, ")]
    {
        let outcome = lab.ask(
            FileCapabilities,
            "before=$(ip -o link | wc -l)",
            &format!(
                "strace -o {trace} -u ana -e trace=capset,write {as_output} $HELPER 3 br0 {name} 3</proc/$A/ns/net; R=$?\n\
                 echo more=$(($(ip -o link | wc -l) - before)); (exit $R)"
            ),
        );
        assert_eq!(
            (outcome.status, outcome.value("more")),
            (status, if status == 0 { "1" } else { "0" }),
            "{outcome:#?}"
        );
        let trace = fs::read_to_string(&trace).unwrap();
        let before = trace.lines().take_while(|line| !line.starts_with(written));
        let in_force = before.filter(|line| line.starts_with("capset(")).last().unwrap_or_default();
        assert!(trace.contains(written) && in_force.contains("{effective=0, "), "{trace}");
        assert_eq!(trace.matches(written).count(), 1, "{trace}");
    }
}

#[test]
fn many_groups_large_groups_and_groups_without_a_name_do_no_harm() {
    let test = "many_groups_large_groups_and_groups_without_a_name_do_no_harm";
    let Some(lab) = Lab::new(test) else { return };
    if lacks(test, "perl") {
        return;
    }
    let members = (0..50_000).map(|n| format!("member{n}")).collect::<Vec<_>>().join(",");
    let long = "g".repeat(255);
    lab.add_to_etc("group", &format!("large:x:61501:{members}\n{long}:x:61502:\n"));
    lab.grant(format!("@{long} veth br0 1\n@nobody-knows-it veth br0 1\n@large veth br0 1\n"));
    let groups = |count: u32| {
        (0..count).map(|n| (70_000 + n).to_string()).chain(["61501".to_owned()]).collect::<Vec<_>>()
    };
    for count in [0, 1, 64, 60_000] {
        // So many are too long for a command line, so a program of the lab reads them.
        let list = groups(count);
        fs::write(lab.path("groups"), list.join(" ")).unwrap();
        let outcome = lab.ask(
            FileCapabilities,
            "",
            &format!(
                "perl -e 'open(F, \"{0}\") or die; my $g = <F>; $) = \"61001 $g\"; die $! if $!; $( = 61001; $< = $> = 61001; exec @ARGV' \
                 $HELPER 3 br0 eth0 3</proc/$A/ns/net",
                lab.path("groups")
            ),
        );
        assert_eq!(outcome.status, 0, "{count}: {outcome:#?}");
        assert!(outcome.value("ports").starts_with("g0001bgd"), "{count}: {outcome:#?}");
    }
    assert_refused(
        &lab.ask(FileCapabilities, "", "veth $A eth0"),
        "no line of /etc/lxc/lxc-usernet grants it",
    );
}

#[test]
fn no_broken_line_grants_and_no_length_of_a_file_does_harm() {
    let Some(lab) = Lab::new("no_broken_line_grants_and_no_length_of_a_file_does_harm") else { return };
    let long = "a".repeat(100);
    for text in [
        format!("ana{long} veth br0 9"),
        format!("ana veth br0 {}", "9".repeat(5000)),
        "ana veth br0 -1".into(),
        "ana veth br0 2147483648".into(),
        "ana veth br0 4294967297".into(),
        "ana veth br0 1 1".into(),
        "ana\u{a0}veth br0 1".into(),
        "ana veth br0\0 1".into(),
        "@ veth br0 1\n veth br0 1".into(),
        "an veth br0 1\nanabel veth br0 1\nANA veth br0 1".into(),
        "ana".into(),
        "\n".repeat(100_000),
        "#".repeat(1_000_000),
        "ana veth br1 1\n".repeat(60_000),
    ] {
        lab.grant(&text);
        assert_refused(
            &lab.ask(FileCapabilities, "", "veth $A eth0"),
            "no line of /etc/lxc/lxc-usernet grants it",
        );
        if text.len() < 900_000 {
            lab.grant(format!("{text}\nana veth br0 1"));
            assert_made(&lab.ask(FileCapabilities, "", "veth $A eth0"));
        }
    }
}
