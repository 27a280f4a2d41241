//! bryo-netdev against the kernel, installed both ways, started by ordinary users.

#[cfg(test)]
mod lab;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use lab::Install::{FileCapabilities, Plain, SetuidRoot};
use lab::{BOTH, Lab, User, Watched, assert_made, assert_refused, lacks, run, skip, watching};

/// Has as many namespaces of ana's as there are words in `spaces` ask for one device each, one after the other.
fn each(spaces: &str) -> String {
    format!("for n in {spaces}; do space ana; veth $REPLY eth0; echo got=$?; done")
}

#[test]
fn a_granted_pair_is_made_guarded_and_named_by_either_install() {
    let Some(lab) = Lab::new("a_granted_pair_is_made_guarded_and_named_by_either_install") else { return };
    for install in BOTH {
        let look = "echo made=$(veth $A eth0); R=$?; echo netns=$(stat -Lc %i /proc/$A/ns/net); \
                    echo port=$(ip -d -o link show master br0); echo peer=$(inside $A ip -o link show eth0); (exit $R)";
        let outcome = lab.ask(install, "", look);
        assert_made(&outcome);
        let port = outcome.value("port");
        let index = port.split(':').next().unwrap();
        assert_eq!(outcome.value("made"), format!("{} {index}", outcome.value("ports")));
        for piece in [
            ",UP> mtu 1500 ",
            " guard on ",
            " isolated off ",
            "addrgenmode none",
            "group 61001 ",
            "ether fe:",
            &format!("alias bryo uid=61001 netns={} name=eth0", outcome.value("netns")),
        ] {
            assert!(port.contains(piece), "{piece:?} is not in {port}");
        }
        assert!(outcome.value("peer").contains("eth0@"), "{outcome:#?}");
        assert!(!outcome.value("peer").contains("UP"), "{outcome:#?}");
        let log = lab.logged();
        let said = format!(
            ": uid=61001 made {} (index {index}) on br0 with eth0 in netns {}\n",
            outcome.value("ports"),
            outcome.value("netns")
        );
        assert!(log.starts_with("<86>bryo-netdev[") && log.ends_with(&said), "{log:?} is not {said:?}");
    }
}

#[test]
fn lines_by_uid_grant_and_users_without_a_name_can_have_them() {
    let Some(lab) = Lab::new("lines_by_uid_grant_and_users_without_a_name_can_have_them") else { return };
    lab.etc("passwd", "root:x:0:0::/root:/bin/sh\n");
    assert_refused(&lab.ask(FileCapabilities, "", "veth $A eth0"), "for uid 61001: no line");
    lab.grant("61001 veth br0 1\n");
    assert_made(&lab.ask(FileCapabilities, "", "veth $A eth0"));
}

#[test]
fn the_last_uid_has_a_slot_of_its_own() {
    let Some(lab) = Lab::new("the_last_uid_has_a_slot_of_its_own") else { return };
    for (uid, slot) in
        [(1, "u0000001"), (65_535, "u0001ekf"), (65_536, "u0001ekg"), (u32::MAX - 1, "u1z141z2")]
    {
        lab.grant(format!("{uid} veth br0 1\n"));
        let outcome = lab.story(
            FileCapabilities,
            &format!("space {uid}; user {uid} $HELPER 3 br0 eth0 3</proc/$REPLY/ns/net; echo status=$?; echo ports=$(ports)"),
        );
        assert_eq!(outcome.status, 0, "{outcome:#?}");
        assert!(outcome.value("ports").starts_with(slot), "{outcome:#?}");
    }
}

#[test]
fn groups_by_name_and_by_gid_have_devices_of_their_own() {
    let Some(lab) = Lab::new("groups_by_name_and_by_gid_have_devices_of_their_own") else { return };
    lab.add_to_etc("group", "staff2:x:61500:\n");
    let member = "ana() { setpriv --reuid 61001 --regid 61001 --groups 61500 \"$@\"; }\n";
    for group in ["@staff2", "@61500"] {
        lab.grant(format!("{group} veth br0 1\nana veth br0 1\n"));
        let outcome = lab.story(FileCapabilities, &format!("{member}{}; echo ports=$(ports)", each("1 2 3")));
        assert_eq!(outcome.values("got"), ["0", "0", "3"], "{outcome:#?}");
        let ports: Vec<_> = outcome.value("ports").split(' ').collect();
        assert!(ports[0].starts_with("g0001bgc") && ports[1].starts_with("u0001b2h"), "{ports:?}");
        let stranger = lab.story(FileCapabilities, &each("1 2"));
        assert_eq!(stranger.values("got"), ["0", "3"], "{stranger:#?}");
    }
    lab.grant("@ana veth br0 1\n");
    let primary = lab.story(FileCapabilities, &each("1 2"));
    assert_eq!(primary.values("got"), ["0", "3"], "the group of the account counts: {primary:#?}");
}

#[test]
fn of_several_lines_the_largest_number_counts_and_they_are_not_added_up() {
    let Some(lab) = Lab::new("of_several_lines_the_largest_number_counts_and_they_are_not_added_up") else {
        return;
    };
    lab.grant("ana veth br0 1\nana veth br0 2\n61001 veth br0 1\nana veth br0 0\n");
    let outcome = lab.story(FileCapabilities, &each("1 2 3"));
    assert_eq!(outcome.values("got"), ["0", "0", "3"], "{outcome:#?}");
}

#[test]
fn a_full_quota_has_its_own_status_and_names_what_is_held() {
    let Some(lab) = Lab::new("a_full_quota_has_its_own_status_and_names_what_is_held") else { return };
    let outcome = lab.story(FileCapabilities, &format!("{}; echo ports=$(ports)", each("1 2 3")));
    assert_eq!(outcome.values("got"), ["0", "0", "3"], "{outcome:#?}");
    let names = outcome.value("ports").replace(' ', ", ");
    let said = format!(
        "bryo-netdev: no device eth0 on br0 for ana (uid 61001): 2 of your own 2 are in use ({names})\n"
    );
    assert_eq!(outcome.said, said);
    assert!(lab.logged().contains("<84>bryo-netdev["), "a refusal is logged");
}

#[test]
fn each_bridge_and_each_user_has_a_quota_of_its_own() {
    let Some(lab) = Lab::new("each_bridge_and_each_user_has_a_quota_of_its_own") else { return };
    for (name, id) in [("al", 61_010), ("alice", 61_011), ("alice2", 61_012)] {
        lab.add_user(&User { name, id });
    }
    let users = ["al", "alice", "alice2"];
    let bridges = ["br0", "br00"];
    let lines = users.iter().flat_map(|user| bridges.map(|bridge| format!("{user} veth {bridge} 1\n")));
    lab.grant(lines.collect::<String>());
    let outcome = lab.story(
        FileCapabilities,
        "ip link add br00 type bridge\n\
         for round in 1 2; do for id in 61010 61011 61012; do for bridge in br0 br00; do\n\
           space $id; user $id $HELPER 3 $bridge eth0 3</proc/$REPLY/ns/net; echo got$round=$?\n\
         done; done; done; echo counts=$(count br0) $(count br00)",
    );
    assert_eq!(outcome.values("got1"), ["0"; 6], "{outcome:#?}");
    assert_eq!(outcome.values("got2"), ["3"; 6], "{outcome:#?}");
    assert_eq!(outcome.value("counts"), "3 3");
}

#[test]
fn fifty_at_once_never_have_more_than_the_quota_and_never_less() {
    let Some(lab) = Lab::new("fifty_at_once_never_have_more_than_the_quota_and_never_less") else { return };
    lab.grant("ana veth br0 10\n");
    for install in BOTH {
        let script = watching(
            "space ana; A=$REPLY\n\
             for n in $(seq 50); do { veth $A e$n >/dev/null 2>&1; echo got=$?; } & ASKED=\"$ASKED $!\"; done; \
             wait $ASKED; echo ports=$(count)",
        );
        let record = lab.path("record");
        let outcome = lab.story(install, &format!("WATCHED={record}; {script}"));
        let ended = |status: &str| outcome.values("got").iter().filter(|got| **got == status).count();
        assert_eq!((ended("0"), ended("3"), outcome.value("ports")), (10, 40, "10"), "{outcome:#?}");
        let watched = Watched::read(&fs::read_to_string(&record).unwrap(), "br0", "u0001b2h");
        assert_eq!((watched.most, watched.ever, watched.unguarded), (10, 10, vec![]));
        assert!(watched.up >= 10, "the monitor told of {} ports that were up", watched.up);
    }
}

#[test]
fn two_members_of_a_group_share_its_quota_at_once() {
    let Some(lab) = Lab::new("two_members_of_a_group_share_its_quota_at_once") else { return };
    lab.add_to_etc("group", "staff2:x:61500:\n");
    lab.grant("@staff2 veth br0 5\n");
    let outcome = lab.story(
        FileCapabilities,
        "for id in 61001 61002; do space $id; for n in $(seq 20); do\n\
           { setpriv --reuid $id --regid $id --groups 61500 $HELPER 3 br0 e$n 3</proc/$REPLY/ns/net >/dev/null 2>&1; \
             echo got=$?; } & ASKED=\"$ASKED $!\"\n\
         done; done; wait $ASKED; echo ports=$(count)",
    );
    assert_eq!(outcome.values("got").iter().filter(|got| **got == "0").count(), 5, "{outcome:#?}");
    assert_eq!(outcome.value("ports"), "5");
}

#[test]
fn where_the_quota_was_lowered_no_device_is_added_until_enough_are_gone() {
    let Some(lab) = Lab::new("where_the_quota_was_lowered_no_device_is_added_until_enough_are_gone") else {
        return;
    };
    lab.grant("ana veth br0 6\n");
    let file = lab.path("etc/lxc/lxc-usernet");
    let script = format!(
        "space ana; A=$REPLY; for n in 0 1 2 3 4 5; do veth $A e$n >/dev/null; done\n\
         echo 'ana veth br0 3' >{file}\n\
         for gone in 0 1 2 5 4; do\n\
           for try in 1 2 3; do veth $A new$gone$try >/dev/null 2>&1; echo got=$?; done\n\
           echo ports=$(count); inside $A ip link del e$gone\n\
         done; veth $A last >/dev/null; echo got=$? ; echo ports=$(count)"
    );
    let outcome = lab.story(FileCapabilities, &script);
    // Six, five, four, three are no less than three; with two left there is room for one.
    assert_eq!(outcome.values("ports"), ["6", "5", "4", "3", "3", "3"], "{outcome:#?}");
    assert_eq!(outcome.values("got").iter().filter(|got| **got == "0").count(), 2, "{outcome:#?}");
}

#[test]
fn the_owner_removes_a_device_by_its_other_end_and_the_slot_is_free() {
    let Some(lab) = Lab::new("the_owner_removes_a_device_by_its_other_end_and_the_slot_is_free") else {
        return;
    };
    lab.grant("ana veth br0 1\n");
    let outcome = lab.story(
        FileCapabilities,
        "space ana; A=$REPLY; for n in 1 2 3; do veth $A eth0 >/dev/null; echo got=$?; inside $A ip link del eth0; done; \
         echo ports=$(count)",
    );
    assert_eq!((outcome.values("got"), outcome.value("ports")), (vec!["0"; 3], "0"), "{outcome:#?}");
}

#[test]
fn a_slot_is_free_again_soon_after_its_namespace_has_died_and_not_while_it_is_held_open() {
    let Some(lab) =
        Lab::new("a_slot_is_free_again_soon_after_its_namespace_has_died_and_not_while_it_is_held_open")
    else {
        return;
    };
    lab.grant("ana veth br0 1\n");
    let outcome = lab.story(
        FileCapabilities,
        "again() { for n in $(seq 300); do veth $1 eth0 >/dev/null 2>&1 && return 0; sleep 0.1; done; return 1; }\n\
         space ana; A=$REPLY; veth $A eth0 >/dev/null; exec 5</proc/$A/ns/net; kill -9 $A; wait $A 2>/dev/null\n\
         space ana 5<&-; B=$REPLY; sleep 1; veth $B eth0 >/dev/null 2>&1; echo pinned=$?\n\
         exec 5<&-; again $B; echo freed=$?\n\
         kill -9 $B; wait $B 2>/dev/null; space ana; again $REPLY; echo restarted=$?",
    );
    let all = ["pinned", "freed", "restarted"].map(|key| outcome.value(key));
    assert_eq!(all, ["3", "0", "0"], "{outcome:#?}");
}

#[test]
fn a_thousand_busy_slots_are_passed() {
    let Some(lab) = Lab::new("a_thousand_busy_slots_are_passed") else { return };
    lab.grant("ana veth br0 1001\n");
    let outcome = lab.story(
        FileCapabilities,
        "space ana; A=$REPLY; P=$(veth $A first | cut -c1-13); inside $A ip link del first\n\
         D=0123456789abcdefghijklmnopqrstuvwxyz\n\
         two() { echo ${D:$(($1/36)):1}${D:$(($1%36)):1}; }\n\
         for n in $(seq 0 2 998); do echo link add $P$(two $n) type veth peer name $P$(two $((n+1))); done >/dev/shm/batch\n\
         ip -batch /dev/shm/batch; veth $A e0 | cut -d' ' -f1; veth $A e1 >/dev/null; echo status=$?; echo ports=$(ports)",
    );
    assert_eq!(outcome.status, 3, "{outcome:#?}");
    // 1000 is rs in base 36.
    assert!(outcome.value("ports").ends_with("rs") && outcome.value("ports").len() == 15, "{outcome:#?}");
    assert!(outcome.said.contains("1001 of your own 1001 are in use"), "{outcome:#?}");
    assert!(outcome.said.contains("held by a foreign interface"), "{outcome:#?}");
}

#[test]
fn a_bridge_keeps_its_mtu_and_its_address() {
    let Some(lab) = Lab::new("a_bridge_keeps_its_mtu_and_its_address") else { return };
    // Below 1280 a link has no IPv6 at all, and the kernel refuses what is said about it.
    for mtu in [9000, 1500, 1000] {
        let outcome = lab.story(
            FileCapabilities,
            &format!(
                "ip link add up0 mtu {mtu} type veth peer name up1 mtu {mtu}; ip link set up0 address 02:00:00:00:00:09 master br0\n\
                 about() {{ ip -o link show br0 | sed 's/.* mtu \\([0-9]*\\) .*ether \\([0-9a-f:]*\\) .*/\\1 \\2/'; }}\n\
                 echo before=$(about); space ana; veth $REPLY eth0; echo status=$?; echo after=$(about)\n\
                 echo peer=$(inside $REPLY ip -o link show eth0); ports"
            ),
        );
        assert_eq!(outcome.status, 0, "{outcome:#?}");
        assert_eq!(outcome.value("before"), format!("{mtu} 02:00:00:00:00:09"));
        assert_eq!(outcome.value("after"), outcome.value("before"), "{outcome:#?}");
        assert!(outcome.value("peer").contains(&format!(" mtu {mtu} ")), "{outcome:#?}");
    }
}

#[test]
fn users_who_share_a_bridge_reach_the_host_and_not_each_other_unless_it_is_open() {
    let Some(lab) = Lab::new("users_who_share_a_bridge_reach_the_host_and_not_each_other_unless_it_is_open")
    else {
        return;
    };
    if lacks("users_who_share_a_bridge_reach_the_host_and_not_each_other_unless_it_is_open", "busybox") {
        return;
    }
    let story = "ip addr add 10.0.3.1/24 dev br0\n\
         plug() { $1 $HELPER 3 br0 eth0 3</proc/$2/ns/net >/dev/null || exit 1\n\
           $1 nsenter --preserve-credentials -U -n -t $2 ip addr add 10.0.3.$3/24 dev eth0\n\
           $1 nsenter --preserve-credentials -U -n -t $2 ip link set eth0 up; }\n\
         space ana; A=$REPLY; plug ana $A 2; space bob; plug bob $REPLY 3\n\
         ping() { inside $A busybox ping -c 1 -w $2 10.0.3.$1 >/dev/null; echo $?; }\n\
         echo host=$(ping 1 30); echo bob=$(ping 3 $WAIT)";
    for (lines, wait, bob) in [
        ("ana veth br0 1\nbob veth br0 1 open\n", 3, "1"),
        ("ana veth br0 1 open\nbob veth br0 1 open\n", 30, "0"),
    ] {
        lab.grant(lines);
        let outcome = lab.story(FileCapabilities, &format!("WAIT={wait}; {story}"));
        assert_eq!((outcome.value("host"), outcome.value("bob")), ("0", bob), "{outcome:#?}");
    }
}

#[test]
fn ports_that_were_made_under_another_file_are_kept_apart_before_one_more_is_up() {
    let test = "ports_that_were_made_under_another_file_are_kept_apart_before_one_more_is_up";
    let Some(lab) = Lab::new(test) else { return };
    let file = lab.path("etc/lxc/lxc-usernet");
    let isolated = "isolated() { ip -d -o link show $1 | sed 's/.* isolated \\([onf]*\\) .*/\\1/'; }";
    for (before, after) in [
        ("ana veth br0 3", "ana veth br0 3\\nbob veth br0 3"),
        ("ana veth br0 3 open\\nbob veth br0 3 open", "ana veth br0 3 open\\nbob veth br0 3"),
    ] {
        lab.grant(format!("{}\nana veth br1 1\n", before.replace("\\n", "\n")));
        let outcome = lab.story(
            FileCapabilities,
            &format!(
                "{isolated}\nip link add br1 type bridge; ip link add wan0 master br0 type veth peer name wan1\n\
                 space ana; A=$REPLY; for n in 1 2; do veth $A e$n >/dev/null; done; O=$(ports | grep ^u)\n\
                 other=$(ana $HELPER 3 br1 x 3</proc/$A/ns/net | cut -d' ' -f1); for p in $O; do echo first=$(isolated $p); done\n\
                 printf '{after}\\nana veth br1 1\\n' >{file}; space bob; bob $HELPER 3 br0 eth0 3</proc/$REPLY/ns/net >/dev/null\n\
                 echo status=$?; for p in $(ports | grep ^u); do echo then=$(isolated $p); done\n\
                 echo foreign=$(isolated wan0); echo elsewhere=$(isolated $other)"
            ),
        );
        assert_eq!((outcome.values("first"), outcome.status), (vec!["off"; 2], 0), "{outcome:#?}");
        assert_eq!(outcome.values("then"), ["on"; 3], "{outcome:#?}");
        // What the administrator has put on the bridge is his, and another bridge has lines of its own.
        assert_eq!((outcome.value("foreign"), outcome.value("elsewhere")), ("off", "off"), "{outcome:#?}");
    }
}

#[test]
fn a_user_who_is_alone_in_the_file_is_kept_apart_from_ports_that_others_still_have() {
    let test = "a_user_who_is_alone_in_the_file_is_kept_apart_from_ports_that_others_still_have";
    let Some(lab) = Lab::new(test) else { return };
    let file = lab.path("etc/lxc/lxc-usernet");
    for (says, then) in [("", "on"), (" open", "off")] {
        lab.grant("ana veth br0 3\nbob veth br0 3\n");
        let outcome = lab.story(
            FileCapabilities,
            &format!(
                "isolated() {{ ip -d -o link show $1 | sed 's/.* isolated \\([onf]*\\) .*/\\1/'; }}\n\
                 space bob; bob $HELPER 3 br0 eth0 3</proc/$REPLY/ns/net >/dev/null\n\
                 printf 'ana veth br0 3{says}\\n' >{file}; space ana; echo then=$(isolated $(veth $REPLY eth0 | cut -d' ' -f1))\n\
                 kill -9 $MADE; for n in $(seq 300); do [ $(count) = 0 ] && break; sleep 0.1; done\n\
                 space ana; echo alone=$(isolated $(veth $REPLY eth0 | cut -d' ' -f1))"
            ),
        );
        assert_eq!((outcome.value("then"), outcome.value("alone")), (then, "off"), "{outcome:#?}");
    }
}

#[test]
fn each_refusal_has_a_reason_of_its_own() {
    let Some(lab) = Lab::new("each_refusal_has_a_reason_of_its_own") else { return };
    let asks = |before: &str, bridge: &str| {
        lab.ask(FileCapabilities, before, &format!("ana $HELPER 3 {bridge} eth0 3</proc/$A/ns/net"))
    };
    lab.grant("ana veth br0 2\nana veth br9 2\nana veth other 2\n");
    assert_refused(
        &asks("", "br1"),
        "no device on br1 for ana (uid 61001): no line of /etc/lxc/lxc-usernet grants it",
    );
    assert_refused(&asks("", "br9"), "no device eth0 on br9 for ana (uid 61001): the bridge is not there");
    assert_refused(&asks("ip link add br9 type veth peer name x", "br9"), "it is no bridge but of kind veth");
    assert_refused(&asks("ip link property add dev br0 altname other", "other"), "it is another name of br0");
    // A kernel without such devices has no bridge to be taken for one.
    let vrf =
        asks("ip link add br9 type vrf table 10 2>/dev/null || ip link add br9 type veth peer name x", "br9");
    assert_refused(&vrf, "it is no bridge but of kind v");
    let taken = "inside $A ip link add eth0 type veth peer name eth1";
    assert_refused(&asks(taken, "br0"), "the network namespace has an interface of this name already");
    lab.grant("bob veth br0 1\nana veth br0 -1\n");
    assert_refused(&asks("", "br0"), "grants it, and line 2: the number is not a plain decimal number");
    fs::remove_file(lab.path("etc/lxc/lxc-usernet")).unwrap();
    assert_refused(&asks("", "br0"), "there is no /etc/lxc/lxc-usernet");
}

#[test]
fn a_bridge_that_is_made_anew_or_renamed_keeps_the_slots_that_were_taken() {
    let Some(lab) = Lab::new("a_bridge_that_is_made_anew_or_renamed_keeps_the_slots_that_were_taken") else {
        return;
    };
    let outcome = lab.story(
        FileCapabilities,
        "space ana; A=$REPLY; for n in 1 2; do veth $A e$n >/dev/null; done\n\
         ip link del br0; ip link add br0 type bridge; veth $A e3; echo anew=$?\n\
         ip link set br0 name br7; veth $A e4; echo renamed=$?; ip link add br0 type bridge; veth $A e5; echo status=$?",
    );
    let all = [outcome.value("anew"), outcome.value("renamed"), outcome.value("status")];
    assert_eq!(all, ["3", "1", "3"], "{outcome:#?}");
}

#[test]
fn a_policy_file_that_others_could_have_written_is_not_used() {
    let Some(lab) = Lab::new("a_policy_file_that_others_could_have_written_is_not_used") else { return };
    let path = lab.path("etc/lxc/lxc-usernet");
    let asks = |reason: &str| assert_refused(&lab.ask(SetuidRoot, "", "veth $A eth0"), reason);
    for mode in [0o646, 0o664, 0o666] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        asks(&format!(
            "/etc/lxc/lxc-usernet is not used: its mode {mode:04o} lets others than root write it"
        ));
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    asks("opening it: Permission denied");
    run("chown", &["61001", &path]);
    asks("it belongs to uid 61001, not to root");
    lab.grant("# long\n".repeat(1_500_000));
    asks("it is longer than 1048576 bytes");
    fs::rename(&path, format!("{path}.real")).unwrap();
    std::os::unix::fs::symlink("lxc-usernet.real", &path).unwrap();
    asks("it is a symbolic link");
    fs::remove_file(&path).unwrap();
    run("mkfifo", &["-m", "644", &path]);
    asks("it is not a regular file");
}

#[test]
fn what_is_no_request_is_a_usage_error() {
    let Some(lab) = Lab::new("what_is_no_request_is_a_usage_error") else { return };
    let long = "x".repeat(300);
    for arguments in [
        "",
        "3",
        "3 br0",
        "3 br0 eth0 eth1",
        "0 br0 eth0",
        "-h",
        "--help",
        "-- 3 br0 eth0",
        "3 ../br0 eth0",
        "3 br0 eth%d",
        "3 br0 lo",
        "3 br0 all",
        "3 br0 17",
        "3 br0 $'eth0\\n'",
        "3 br0 ''",
        "3 br0 0123456789abcdef",
        &format!("3 br0 {long}"),
    ] {
        let outcome = lab.ask(FileCapabilities, "", &format!("ana $HELPER {arguments} 3</proc/$A/ns/net"));
        assert_eq!((outcome.status, outcome.value("ports")), (2, ""), "{arguments:.40}: {outcome:#?}");
        assert_eq!(outcome.said.lines().count(), 1, "{outcome:#?}");
    }
}

#[test]
fn missing_rights_are_explained() {
    let Some(lab) = Lab::new("missing_rights_are_explained") else { return };
    for install in BOTH {
        let ask = "ana setpriv --no-new-privs $HELPER 3 br0 eth0 3</proc/$A/ns/net";
        assert_refused(&lab.ask(install, "", ask), "no_new_privs is set, so the kernel ignores the rights");
        assert_refused(&lab.ask(install, &lab.nosuid(), "veth $A eth0"), "mounted nosuid");
        assert_refused(&lab.ask(install, "", "$HELPER 3 br0 eth0 3</proc/$A/ns/net"), "root needs no helper");
    }
    assert_refused(&lab.ask(Plain, "", "veth $A eth0"), "has the capabilities 0x0 and needs exactly 0x1000");
    run("setcap", &["cap_net_admin,cap_sys_admin=ep", &lab.helper(Plain)]);
    assert_refused(&lab.ask(Plain, "", "veth $A eth0"), "has the capabilities 0x201000");
}

/// Where distributions have LXC's helper.
const LXC_USER_NIC: [&str; 2] =
    ["/usr/libexec/lxc/lxc-user-nic", "/usr/lib/x86_64-linux-gnu/lxc/lxc-user-nic"];

#[test]
fn what_lxc_user_nic_refuses_is_refused_here_too() {
    let Some(lab) = Lab::new("what_lxc_user_nic_refuses_is_refused_here_too") else { return };
    let Some(theirs) = LXC_USER_NIC.into_iter().find(|path| fs::exists(path).is_ok_and(|exists| exists))
    else {
        skip("what_lxc_user_nic_refuses_is_refused_here_too", "lxc-user-nic is needed");
        return;
    };
    let own = lab.path("lxc-user-nic");
    fs::copy(theirs, &own).unwrap();
    fs::set_permissions(&own, fs::Permissions::from_mode(0o4755)).unwrap();
    fs::create_dir(lab.path("corpus")).unwrap();
    let long = "a".repeat(100);
    let corpus = [
        "ana veth br0 1",
        "ana\tveth\tbr0\t1",
        "ana veth br0 1\r",
        "ana  veth  br0  1 # a comment",
        "#ana veth br0 1",
        " ana veth br0 1",
        "ana veth br0 0",
        "ana veth br0 -1",
        "ana veth br0 +1",
        "ana veth br0 01",
        "ana veth br0 1x",
        "ana veth br0 1 open",
        "ana veth br0 1 closed",
        "ana veth br0 2147483647",
        "ana veth br0 2147483648",
        "ana veth br0 4294967297",
        "ana veth br1 1",
        "ana veth br 1",
        "an veth br0 1",
        "anabel veth br0 1",
        "ana empty br0 1",
        "bob veth br0 1",
        "@ana veth br0 1",
        "@bob veth br0 1",
        "ana veth br0",
        "ana veth",
        "",
        "bob veth br0 1\nana veth br0 1\n",
        "ana veth br0 x\nana veth br0 1",
        "ana veth br0 0\nana veth br0 1",
        &format!("ana{long} veth br0 1"),
        "ana\u{b}veth br0 1",
    ];
    for (number, text) in corpus.iter().enumerate() {
        fs::write(lab.path(&format!("corpus/{number:02}")), text).unwrap();
    }
    let outcome = lab.story(
        FileCapabilities,
        &format!(
            // As a login makes them: the group of the account is among the others, where alone LXC looks.
            "ana() {{ setpriv --reuid 61001 --regid 61001 --groups 61001 \"$@\"; }}\n\
             mount -t tmpfs own /run; mount -t sysfs own /sys; space ana; A=$REPLY; for file in {}/*; do\n\
               cat $file >/etc/lxc/lxc-usernet\n\
               veth $A eth0 >/dev/null 2>&1; ours=$?; inside $A ip link del eth0 2>/dev/null\n\
               ana {own} create /dev/shm web $A veth br0 eth0 >/dev/null 2>&1; theirs=$?; inside $A ip link del eth0 2>/dev/null\n\
               echo both=$((ours == 0)) $((theirs == 0))\n\
             done",
            lab.path("corpus")
        ),
    );
    let both = outcome.values("both");
    assert_eq!(both.len(), corpus.len(), "{outcome:#?}");
    let more: Vec<_> = corpus.iter().zip(&both).filter(|(_, both)| **both == "1 0").collect();
    assert_eq!(more, [], "granted here and refused by lxc-user-nic");
    let less: Vec<&str> =
        corpus.iter().zip(&both).filter(|(_, both)| **both == "0 1").map(|(text, _)| *text).collect();
    // LXC reads a number up to what is none, and ignores the rest; a vertical tab is space to it.
    let known = [
        "ana veth br0 +1",
        "ana veth br0 01",
        "ana veth br0 1x",
        "ana veth br0 1 closed",
        "ana veth br0 4294967297",
    ];
    let unknown: Vec<&&str> =
        less.iter().filter(|text| !known.contains(text) && !text.contains('\u{b}')).collect();
    assert_eq!(unknown, [&""; 0], "refused here and granted by lxc-user-nic");
    assert!(both.iter().filter(|both| **both == "1 1").count() >= 8, "{both:?}");
}
