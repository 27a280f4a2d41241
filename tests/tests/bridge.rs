//! The bridge that the administrator sets up, and who has what on it. Each claim is a story in `bridge/words.sh`'s words, on a host
//! that is a network namespace of the test's own.

use std::collections::BTreeMap;

use tests::Lab;

tests::claims! {
    setup_makes_a_bridge_and_teardown_leaves_nothing_and_neither_touches_what_is_not_its_own: hybrid, needs Bryo Bridge;
    what_a_dry_run_shows_is_what_is_done: hybrid, needs Bryo Bridge Strace;
    a_setup_killed_at_any_step_is_finished_by_the_next: hybrid, needs Bryo Bridge Strace;
    an_address_that_is_in_use_for_a_moment_is_waited_for: hybrid, needs Bryo Bridge;
    containers_get_addresses_names_and_a_way_into_the_world: hybrid, needs Bryo Bridge;
    the_defaults_of_lxc_net_are_honoured: hybrid, needs Bryo Bridge;
    what_is_in_the_way_is_named_and_left_alone: hybrid, needs Bryo Bridge;
    a_firewall_of_nftables_that_drops_all_lets_the_bridge_pass: hybrid, needs Bryo Bridge;
    a_firewall_of_iptables_that_drops_all_lets_the_bridge_pass: hybrid, needs Bryo Bridge Iptables;
    quota_and_ls_tell_who_has_what: hybrid, needs Bryo Bridge;
    lint_names_the_lines_and_what_to_write: hybrid, needs Bryo;
    nobody_takes_the_gateways_or_a_neighbours_address: hybrid, needs Bryo Bridge;
    a_rogue_dhcp_server_and_a_rogue_router_change_nothing: hybrid, needs Bryo Bridge;
    nothing_of_another_users_is_heard_or_reached: hybrid, needs Bryo Bridge;
    nobody_gives_back_anothers_lease: hybrid, needs Bryo Bridge;
    nobody_has_dhcp_answer_a_neighbour: hybrid, needs Bryo Bridge;
    no_user_keeps_root_from_setting_up: hybrid, needs Bryo Bridge;
    without_a_guard_none_of_an_earlier_setup_is_left: hybrid, needs Bryo Bridge;
    each_rule_keeps_what_no_other_would: hybrid, needs Bryo Bridge;
    bridges_of_the_same_host_do_not_reach_each_other: hybrid, needs Bryo Bridge;
}

const WORDS: &str = include_str!("bridge/words.sh");

/// What a story said: `key=value` lines, and all of it for messages.
#[derive(Debug)]
struct Told {
    values: BTreeMap<String, String>,
    all: String,
}

impl Told {
    #[track_caller]
    fn is(&self, key: &str, expected: &str) {
        assert_eq!(self.value(key), expected, "{key} in\n{}", self.all);
    }

    #[track_caller]
    fn value(&self, key: &str) -> &str {
        match self.values.get(key) {
            Some(value) => value,
            None => panic!("nothing is said of {key} in\n{}", self.all),
        }
    }
}

/// Runs a story as root of a host of its own.
#[track_caller]
fn story(lab: &Lab, script: &str) -> Told {
    let ana = lab.user("ana");
    ana.write("story", &format!("{WORDS}\n{script}\nsay end reached\n"));
    let run = format!(
        "exec unshare --mount --net --pid --fork --kill-child --mount-proc --propagation private \
         bash {}/story /run/bryo-lab/prefix",
        ana.home().display()
    );
    let output = ana.sh("false").amid(run).seconds(500).output();
    let pair = |line: &str| line.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
    let told = Told {
        values: output.stdout.lines().filter_map(pair).collect(),
        all: format!("{}\n{}", output.stdout, output.stderr),
    };
    told.is("end", "reached");
    told
}

fn setup_makes_a_bridge_and_teardown_leaves_nothing_and_neither_touches_what_is_not_its_own(lab: &Lab) {
    let told = story(
        lab,
        r#"
        nft 'table inet mine { chain in { type filter hook input priority 0; policy accept; tcp dport 1 drop; }; }'
        ip link add mine0 type bridge; ip address add 10.66.0.1/24 dev mine0; ip link set mine0 up
        ip link add dev lxcbr00 type bridge
        dnsmasq --conf-file=/dev/null --pid-file=/tmp/mine.pid --port=0 --interface=mine0 --bind-interfaces
        state() { ip -o link show | sed 's/qdisc.*//'; nft list ruleset; pgrep -a dnsmasq; find /run; }
        state >/tmp/before
        bryo net setup; say setup $?
        say bridge $(ip -d -o link show lxcbr0)
        say addresses $(ip -o address show lxcbr0)
        say forward $(cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding)
        say servers $(pgrep -c dnsmasq)
        bryo net setup; say again $?
        say servers_again $(pgrep -c dnsmasq)
        box ana
        bryo net teardown 2>/tmp/refused; say refused $? $(cat /tmp/refused)
        kill -9 $REPLY
        gone() { ! ip link show master lxcbr0 | grep -q .; }
        await gone
        bryo net teardown; say teardown $?
        state >/tmp/after
        say changed $(diff /tmp/before /tmp/after | grep -v '/run/bryo' | grep '^[<>]')
        say twice $(bryo net teardown 2>&1)
        "#,
    );
    told.is("setup", "0");
    for piece in ["UP", " group 1651669359 ", " bridge "] {
        assert!(told.value("bridge").contains(piece), "{piece}: {told:?}");
    }
    for piece in ["inet 10.0.3.1/24 brd 10.0.3.255", "inet6 fd"] {
        assert!(told.value("addresses").contains(piece), "{piece}: {told:?}");
    }
    told.is("forward", "1 1");
    told.is("servers", "2");
    told.is("again", "0");
    told.is("servers_again", "2");
    let refused = told.value("refused");
    assert!(
        refused.starts_with("1 ") && refused.contains("lxcbr0 is in use by 1 device (u0001b2h"),
        "{told:?}"
    );
    told.is("teardown", "0");
    told.is("changed", "");
    told.is("twice", "there is nothing of lxcbr0 that bryo net setup has made");
}

fn what_a_dry_run_shows_is_what_is_done(lab: &Lab) {
    let told = story(
        lab,
        r#"
        state() { ip -o link show; nft list ruleset; find /run /var/lib; }
        state >/tmp/before
        bryo net setup --dry-run >/tmp/shown 2>/tmp/notes
        state >/tmp/after
        say touched $(diff /tmp/before /tmp/after)
        say shown $(grep -E '^(ip|nft|dnsmasq) ' /tmp/shown | sed "s/ <<'END'//" | md5sum)
        # strace ends with the last that it follows, which is dnsmasq.
        strace -f -s 4096 -o /tmp/trace -e trace=execve,openat /mnt/prefix/bin/bryo net setup 2>/tmp/said &
        await grep -q 'is set up' /tmp/said || exit 1
        await pgrep dnsmasq; kill $(pgrep dnsmasq); wait
        # The steps alone: what looks (nft list, ip address show) is no step.
        grep -oE 'execve\("/[a-z/]*/(ip|nft|dnsmasq)", \[.*\]' /tmp/trace | grep -vE '"(list|--check|show)"' |
            sed 's/.*\[//; s/\]$//; s/"\([^"]*\)"/\1/g; s/, / /g; s#^/[a-z/]*/##' >/tmp/done
        say done $(md5sum </tmp/done)
        say count $(wc -l </tmp/done)
        say written $(grep -oE 'openat\(AT_FDCWD, "/proc/sys/[^"]*", O_WRONLY' /tmp/trace | sed 's/.*"\(.*\)".*/\1/' | md5sum)
        say to_write $(grep -oE '^echo . > .*' /tmp/shown | sed 's/.* > //' | md5sum)
        diff <(grep -E '^(ip|nft|dnsmasq) ' /tmp/shown | sed "s/ <<'END'//") /tmp/done >&2
        "#,
    );
    told.is("touched", "");
    assert_ne!(told.value("count"), "0");
    told.is("done", told.value("shown"));
    told.is("written", told.value("to_write"));
}

fn a_setup_killed_at_any_step_is_finished_by_the_next(lab: &Lab) {
    let told = story(
        lab,
        r#"
        state() {
            ip -o address show lxcbr0 | sed 's/^[0-9]*://; s/valid_lft.*//'
            ip -o -d link show lxcbr0 | sed 's/^[0-9]*://; s/qdisc.*group/group/; s/gc_timer *[0-9.]*//'
            nft list ruleset
            cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/lxcbr0/accept_ra
            pgrep -a dnsmasq | sed 's/^[0-9]*//'
        }
        bryo net setup 2>/dev/null || exit 1
        state >/tmp/whole
        bryo net teardown 2>/dev/null || exit 1
        killed=0 wrong=0
        # Each program is started by one call; a kill before it leaves all that comes later undone, one behind it the rest.
        for call in clone3,clone,vfork pidfd_open openat write wait4,waitid; do
            for n in $(seq 1 60); do
                strace -o /tmp/trace -qq -e trace=$call -e inject=$call:signal=KILL:when=$n \
                    /mnt/prefix/bin/bryo net setup >/dev/null 2>&1
                [ $? = 137 ] || break
                killed=$((killed + 1))
                bryo net setup >/tmp/out 2>&1 || { wrong=$((wrong + 1)); echo "$call $n: $(cat /tmp/out)" >&2; }
                await pgrep dnsmasq
                state >/tmp/found
                diff /tmp/whole /tmp/found >&2 || { wrong=$((wrong + 1)); echo "after $call $n" >&2; }
                bryo net teardown >/dev/null 2>&1 || { wrong=$((wrong + 1)); echo "teardown after $call $n" >&2; }
            done
        done
        say wrong $wrong
        say killed $killed
        "#,
    );
    told.is("wrong", "0");
    let killed: u32 = told.value("killed").parse().unwrap_or_default();
    assert!(killed > 40, "{told:?}");
}

/// As that of a dnsmasq which is about to be gone is.
fn an_address_that_is_in_use_for_a_moment_is_waited_for(lab: &Lab) {
    let told = story(
        lab,
        r#"
        echo 1 >/proc/sys/net/ipv4/ip_nonlocal_bind
        hold() {
            perl -MSocket -e '$| = 1; socket S, PF_INET, SOCK_DGRAM, 17; bind S, pack_sockaddr_in(53, inet_aton "10.0.3.1") or die; \
                print "held"; sleep $ARGV[0]' $1 >/tmp/held & HOLDER=$!
            await grep -q held /tmp/held
        }
        hold 600
        bryo net setup >/tmp/said 2>&1; say busy $? $(cat /tmp/said)
        kill $HOLDER; wait $HOLDER 2>/dev/null
        bryo net teardown 2>/dev/null
        hold 600
        (until grep -q 10.0.3.1 <(ip -4 address show dev lxcbr0 2>&1); do sleep 0.1; done; sleep 2; kill $HOLDER) &
        bryo net setup 2>/dev/null; say setup $?
        say servers $(pgrep -c dnsmasq)
        "#,
    );
    let busy = told.value("busy");
    assert!(busy.starts_with("1 ") && busy.contains("Address already in use"), "{told:?}");
    told.is("setup", "0");
    told.is("servers", "1");
}

fn containers_get_addresses_names_and_a_way_into_the_world(lab: &Lab) {
    let told = story(
        lab,
        r#"
        world
        bryo net setup 2>/dev/null
        box ana; A=$REPLY; box bob; B=$REPLY
        lease ana $A anas; say lease_ana $?
        lease bob $B bobs; say lease_bob $?
        named() { inside $1 $2 busybox nslookup $3 10.0.3.1 | grep -A1 "Name:.*$3" | grep -q "Address: $4"; }
        await named ana $A bobs.lxc $(ip_of bob $B); say name_of_a_neighbour $?
        await named bob $B anas.lxc $(ip_of ana $A); say name_of_the_other $?
        await eval "busybox nslookup anas.lxc 10.0.3.1 | grep -q 'Address: $(ip_of ana $A)'"; say name_on_the_host $?
        await pings_from ana $A 10.0.3.1; say gateway $?
        await has_ip6 ana $A; say has_ip6 $?
        await pings_from ana $A $(ip -6 -o address show lxcbr0 scope global | awk '{ sub("/.*", "", $4); print $4 }')
        say gateway6 $?
        nsenter -n -t $WORLD nft 'table ip seen { chain in { type filter hook input priority 0; ip saddr 192.0.2.1 counter; }; }'
        await pings_from ana $A 192.0.2.2; say world $?
        [ $(nsenter -n -t $WORLD nft list ruleset | sed -n 's/.*packets \([0-9]*\).*/\1/p') -gt 0 ]; say translated $?
        "#,
    );
    for key in [
        "lease_ana",
        "lease_bob",
        "name_of_a_neighbour",
        "name_of_the_other",
        "name_on_the_host",
        "gateway",
        "has_ip6",
        "gateway6",
        "world",
        "translated",
    ] {
        told.is(key, "0");
    }
}

fn the_defaults_of_lxc_net_are_honoured(lab: &Lab) {
    let told = story(
        lab,
        r#"
        cat >/etc/default/lxc-net <<'END'
USE_LXC_BRIDGE="true"
LXC_BRIDGE="br7"
LXC_ADDR="10.7.0.1"
LXC_NETMASK="255.255.255.0"
LXC_NETWORK="10.7.0.0/24"
LXC_DHCP_RANGE="10.7.0.20,10.7.0.29"
LXC_DHCP_MAX="10"
LXC_DOMAIN="box.test"
LXC_IPV6_ADDR="fd07::1"
LXC_IPV6_MASK="64"
LXC_IPV6_NETWORK="fd07::/64"
END
        bryo net setup 2>/dev/null; say setup $?
        say v4 $(ip -4 -o address show br7 | awk '{ print $4 }')
        say v6 $(ip -6 -o address show br7 scope global | awk '{ print $4 }')
        say server $(pgrep -a dnsmasq)
        bryo net teardown 2>/dev/null; say teardown $?
        printf 'LXC_ADDR=$(reboot)\nLXC_DHCP_MAX=many\n' >/etc/default/lxc-net
        bryo net setup 2>/tmp/wrong; say wrong $? $(cat /tmp/wrong)
        echo 'USE_LXC_BRIDGE="false"' >/etc/default/lxc-net
        bryo net setup 2>/tmp/off; say off $? $(cat /tmp/off)
        "#,
    );
    told.is("setup", "0");
    told.is("v4", "10.7.0.1/24");
    told.is("v6", "fd07::1/64");
    for argument in ["--dhcp-range=10.7.0.20,10.7.0.29,", "--dhcp-lease-max=10", "--domain=box.test"] {
        assert!(told.value("server").contains(argument), "{argument}: {told:?}");
    }
    told.is("teardown", "0");
    let wrong = told.value("wrong");
    for piece in
        ["/etc/default/lxc-net:1: LXC_ADDR: it takes a shell", "/etc/default/lxc-net:2: LXC_DHCP_MAX"]
    {
        assert!(wrong.starts_with("1 ") && wrong.contains(piece), "{piece}: {wrong}");
    }
    assert!(
        told.value("off").starts_with("1 ") && told.value("off").contains("USE_LXC_BRIDGE is false"),
        "{told:?}"
    );
}

fn what_is_in_the_way_is_named_and_left_alone(lab: &Lab) {
    let told = story(
        lab,
        r#"
        state() { ip -o link show | sed 's/qdisc.*//'; ip -o address show; nft list ruleset; pgrep -a dnsmasq; }
        refused() { state >/tmp/before; bryo net setup >/tmp/said 2>&1; say $1 $? $(cat /tmp/said); state >/tmp/after; say $1_changed $(diff /tmp/before /tmp/after); }
        ip link add lxcbr0 type bridge; ip address add 10.0.3.1/24 dev lxcbr0; ip link set lxcbr0 up
        refused bridge
        bryo net teardown >/tmp/said 2>&1; say teardown $? $(cat /tmp/said)
        say still $(ip -o link show lxcbr0 | grep -c lxcbr0)
        ip link delete lxcbr0
        ip link add lan type bridge; ip address add 10.0.3.7/24 dev lan; ip link set lan up
        refused network
        ip link delete lan
        ip link add lan type bridge; ip address add 10.0.3.17/16 dev lan; ip link set lan up
        refused large
        ip link delete lan
        setpriv --reuid 61001 --regid 61001 --clear-groups /mnt/prefix/bin/bryo net setup >/tmp/said 2>&1
        say user $? $(cat /tmp/said)
        bryo net setup 2>/dev/null
        echo LXC_ADDR=10.0.4.1 >/etc/default/lxc-net
        refused otherwise
        bryo net teardown 2>/dev/null; bryo net setup 2>/dev/null; say otherwise_then $?
        bryo net teardown 2>/dev/null
        mkdir /etc/default/lxc
        refused unreadable
        rmdir /etc/default/lxc
        # nftables that cannot be asked are not nftables without rules.
        printf '#!/bin/sh\necho no answer >&2; exit 1\n' >/tmp/nft; chmod 755 /tmp/nft
        mount --bind /tmp/nft $(command -v nft)
        bryo net setup >/tmp/said 2>&1; say silent $? $(cat /tmp/said)
        umount $(command -v nft)
        "#,
    );
    let said = |key: &str, piece: &str| {
        let value = told.value(key);
        assert!(value.starts_with("1 ") && value.contains(piece), "{piece} in {key}: {told:?}");
    };
    said("bridge", "there is a bridge lxcbr0 already, which somebody else has made");
    said("network", "10.0.3.0/24 is reached by lan already");
    said("large", "lan is 10.0.3.17/16, and the bridge's 10.0.3.0/24 would be a part of that network");
    said("user", "only root may change the host's network");
    said("otherwise", "lxcbr0 was set up by other settings: it has the address 10.0.3.1/24");
    told.is("otherwise_then", "0");
    said("unreadable", "/etc/default/lxc: it cannot be read");
    said("silent", "nft: no answer");
    told.is("large_changed", "");
    told.is("otherwise_changed", "");
    told.is("bridge_changed", "");
    told.is("network_changed", "");
    assert!(told.value("teardown").contains("lxcbr0 is not Bryo's, and stays"), "{told:?}");
    told.is("still", "1");
}

fn no_user_keeps_root_from_setting_up(lab: &Lab) {
    let told = story(
        lab,
        r#"
        # As an earlier version leaves it.
        mkdir -p /run/bryo/net; chmod 755 /run/bryo /run/bryo/net
        (umask 0; bryo net setup 2>/dev/null); say first $?
        # All that a user can open is locked.
        find /run/bryo -print >/tmp/all
        say writable $(find /run/bryo -perm /022 ! -type l)
        locked=
        for file in $(cat /tmp/all); do
            # It waits: the look below has the lock for a moment.
            user ana flock $file sleep 600 2>/dev/null & locked="$locked $!"
        done
        held() { user ana flock --nonblock /run/bryo/net true; [ $? = 1 ]; }
        await held; say locks $?
        bryo net setup >/tmp/said 2>&1; say again $? $(cat /tmp/said)
        bryo net teardown >/tmp/said 2>&1; say teardown $?
        # Root does.
        flock /run/bryo/net.lock sleep 600 & locked="$locked $!"
        kept() { flock --nonblock /run/bryo/net.lock true; [ $? = 1 ]; }
        await kept
        bryo net setup >/tmp/said 2>&1; say busy $? $(cat /tmp/said)
        kill $locked 2>/dev/null
        "#,
    );
    told.is("first", "0");
    told.is("writable", "");
    told.is("locks", "0");
    assert!(told.value("again").starts_with("0 "), "{told:?}");
    told.is("teardown", "0");
    assert!(told.value("busy").contains("another bryo net works on the host's bridges"), "{told:?}");
}

fn without_a_guard_none_of_an_earlier_setup_is_left(lab: &Lab) {
    let told = story(
        lab,
        r#"
        guards() { nft list tables | grep -c '^table bridge bryo'; }
        bryo net setup 2>/dev/null; say guarded $(guards)
        bryo net setup --no-guard 2>/dev/null; say unguarded $? $(guards)
        bryo net setup 2>/dev/null; say again $(guards)
        "#,
    );
    told.is("guarded", "1");
    told.is("unguarded", "0 0");
    told.is("again", "1");
}

fn bridges_of_the_same_host_do_not_reach_each_other(lab: &Lab) {
    let told = story(
        lab,
        r#"
        bryo net setup 2>/dev/null || exit 1
        echo LXC_ADDR=10.0.4.1 >/etc/default/lxc-net
        bryo net setup --bridge br2 2>/tmp/notes || exit 1
        printf 'ana veth lxcbr0 3\nbob veth br2 3\n' >/etc/lxc/lxc-usernet
        box ana; A=$REPLY; box bob br2; B=$REPLY
        lease ana $A anas || exit 1; lease bob $B bobs || exit 1
        BOB=$(ip_of bob $B)
        await pings_from ana $A 10.0.3.1; say ana $?
        await pings_from bob $B 10.0.4.1; say bob $?
        pings_from ana $A $BOB; say reached $?
        # What DHCP has leased on one bridge nobody takes on another.
        inside ana $A ip address add $BOB/32 dev eth0
        inside ana $A busybox arping -q -c 3 -U -I eth0 $BOB
        inside bob $B ip neigh flush dev eth0
        await pings_from bob $B 10.0.4.1; say kept $?
        # An address that nobody leased; kernels that cannot keep it are told of.
        inside ana $A ip address add 10.0.4.251/32 dev eth0
        inside ana $A busybox arping -q -c 1 -U -I eth0 10.0.4.251
        inside bob $B ip address add 10.0.4.251/24 dev eth0
        inside bob $B busybox ping -c 2 -W 2 -I 10.0.4.251 10.0.4.1 >/dev/null; say free $?
        grep -q 'this kernel cannot tell' /tmp/notes; say told_of $((1 - $?))
        "#,
    );
    for key in ["ana", "bob", "kept"] {
        told.is(key, "0");
    }
    told.is("reached", "1");
    assert_eq!(told.value("free"), told.value("told_of"), "{told:?}");
}

/// What a firewall that drops all comes to, before and after.
const DROPPED: &str = r#"
    world
    firewall
    bryo net setup --no-guard 2>/dev/null
    box ana; A=$REPLY
    lease ana $A anas; say lease $?
    await pings_from ana $A 192.0.2.2; say world $?
    rules >/tmp/once; bryo net setup --no-guard 2>/dev/null; rules >/tmp/twice
    say added_twice $(diff /tmp/once /tmp/twice)
    unruly; pings_from ana $A 192.0.2.2; say world_without $?
    kill -9 $A
    gone() { ! ip link show master lxcbr0 | grep -q .; }
    await gone
    bryo net setup --no-guard 2>/dev/null; bryo net teardown 2>/dev/null; say teardown $?
    say left $(rules | grep -c bryo) $(rules | grep -c theirs)
"#;

fn assert_lets_pass(told: &Told) {
    for key in ["lease", "world", "teardown"] {
        told.is(key, "0");
    }
    told.is("world_without", "1");
    told.is("added_twice", "");
    told.is("left", "0 1");
}

fn a_firewall_of_nftables_that_drops_all_lets_the_bridge_pass(lab: &Lab) {
    let firewall = r#"
        firewall() {
            nft 'table inet filter {
                chain input { type filter hook input priority filter; policy drop; iifname "lo" accept comment "theirs"; }
                chain forward { type filter hook forward priority filter; policy drop; }
            }'
        }
        rules() { nft list table inet filter; }
        unruly() { nft flush chain inet filter forward; }
    "#;
    assert_lets_pass(&story(lab, &format!("{firewall}{DROPPED}")));
}

fn a_firewall_of_iptables_that_drops_all_lets_the_bridge_pass(lab: &Lab) {
    let firewall = r#"
        firewall() {
            iptables -P FORWARD DROP; iptables -P INPUT DROP
            iptables -N DOCKER-USER; iptables -A FORWARD -j DOCKER-USER
            iptables -A DOCKER-USER -j RETURN -m comment --comment theirs
        }
        rules() { iptables -S; }
        unruly() { iptables -S FORWARD | grep bryo | sed 's/^-A/-D/' | xargs -L1 iptables; }
    "#;
    assert_lets_pass(&story(lab, &format!("{firewall}{DROPPED}")));
}

fn quota_and_ls_tell_who_has_what(lab: &Lab) {
    let told = story(
        lab,
        r#"
        printf 'ana veth lxcbr0 2\n@staff2 veth lxcbr0 5\nbob veth br9 1\n' >/etc/lxc/lxc-usernet
        bryo net setup 2>/dev/null
        box ana; A=$REPLY
        say quota $(user ana /mnt/prefix/bin/bryo net quota | tail -n +2)
        say all $(bryo net quota --all | tail -n +2)
        say json $(user ana /mnt/prefix/bin/bryo net quota --json)
        say of_bob $(user bob /mnt/prefix/bin/bryo net ls)
        say seen_by_bob $(user bob /mnt/prefix/bin/bryo net ls --all | tail -n +2)
        # A namespace without a process, which somebody holds open.
        exec 9</proc/$A/ns/net; kill -9 $A; wait $A 2>/dev/null
        say orphan $(bryo net ls --all 2>&1 | tail -n +2)
        # A slot's name that is no device of the helper's.
        next=$(ip -o link show master lxcbr0 | sed 's/^[0-9]*: //; s/0[@:].*/1/')
        ip link add $next type bridge
        say foreign $(bryo net ls --all 2>&1 | grep 'no port')
        say used $(user ana /mnt/prefix/bin/bryo net quota | tail -n +2)
        "#,
    );
    let starts =
        |key: &str, piece: &str| assert!(told.value(key).starts_with(piece), "{piece} in {key}: {told:?}");
    starts("quota", "lxcbr0 ana 1 2 process ");
    let all = told.value("all");
    assert!(all.contains("br9 (not there) bob 0 1 -") && all.contains("lxcbr0 @staff2 0 5 -"), "{told:?}");
    assert!(
        told.value("json").contains(r#""owner": { "kind": "user", "id": 61001, "name": "ana" }"#),
        "{told:?}"
    );
    told.is("of_bob", "");
    assert!(told.value("seen_by_bob").ends_with("lxcbr0 ana ?"), "{told:?}");
    assert!(told.value("orphan").contains("lxcbr0 ana nobody"), "{told:?}");
    assert!(told.value("orphan").contains("stands in nobody's container"), "{told:?}");
    assert!(told.value("foreign").contains("is no port of a bridge, and takes a slot of ana"), "{told:?}");
    starts("used", "lxcbr0 ana 2 2 nobody, nobody");
}

fn lint_names_the_lines_and_what_to_write(lab: &Lab) {
    let told = story(
        lab,
        r#"
        ip link add lxcbr0 type bridge
        bryo net lint; say fine $?
        printf 'ana veth lxcbr0 010\nnobody-is-this veth lxcbr0 1\nbob veth lxcbr0 2\nbob veth lxcbr0 1\n' >/etc/lxc/lxc-usernet
        bryo net lint >/tmp/found; say found $? $(cat /tmp/found)
        bryo net lint --json >/tmp/json; say json $(tr -d ' \n' </tmp/json)
        printf 'bob veth lxcbr0 2\n' >/etc/lxc/lxc-usernet; chmod 666 /etc/lxc/lxc-usernet
        bryo net lint >/tmp/found; say open $? $(cat /tmp/found)
        bryo net lint /nowhere 2>/tmp/found; say missing $? $(cat /tmp/found)
        mkfifo /tmp/fifo; timeout 60 /mnt/prefix/bin/bryo net lint /tmp/fifo 2>/tmp/found; say fifo $? $(cat /tmp/found)
        bryo net lint /tmp 2>/tmp/found; say directory $? $(cat /tmp/found)
        rm /etc/lxc/lxc-usernet; mkdir /etc/lxc/lxc-usernet
        bryo net lint >/tmp/found; say no_file $? $(cat /tmp/found)
        "#,
    );
    told.is("fine", "0");
    let found = told.value("found");
    for piece in [
        "1 /etc/lxc/lxc-usernet:1: grants nothing: the number",
        "help: write: ana veth lxcbr0 10",
        ":2: grants nothing: there is no user nobody-is-this",
        ":4: grants nothing: line 3 counts instead",
    ] {
        assert!(found.contains(piece), "{piece}: {told:?}");
    }
    assert!(
        told.value("json").starts_with(r#"[{"line":1,"text":"anavethlxcbr0010","grants_nothing":true,"#),
        "{told:?}"
    );
    assert!(told.value("open").starts_with("1 ") && told.value("open").contains("mode 0666"), "{told:?}");
    assert!(told.value("missing").starts_with("2 error: "), "{told:?}");
    for key in ["fifo", "directory"] {
        let said = told.value(key);
        assert!(said.starts_with("2 error: ") && said.contains("it is not a file"), "{told:?}");
    }
    assert!(told.value("no_file").contains("the file is not used: it is no regular file"), "{told:?}");
}

/// Two users on one bridge: as `bryo net setup` leaves it (`good`), and as a bridge is without its rules and open to all
/// (`bad`), on which each attack has to succeed for its failure to mean something.
fn both(lab: &Lab, attack: &str) -> (Told, Told) {
    (on(lab, GOOD, attack), on(lab, BAD, attack))
}

const GOOD: &str = "bryo net setup 2>/dev/null";
const BAD: &str = "printf 'ana veth lxcbr0 3 open\\nbob veth lxcbr0 3 open\\n' >/etc/lxc/lxc-usernet\n\
                   bryo net setup --no-guard 2>/dev/null";

/// The rules alone: ports reach each other, so what comes to nothing does so by a rule.
const RULES: &str = "printf 'ana veth lxcbr0 3 open\\nbob veth lxcbr0 3 open\\n' >/etc/lxc/lxc-usernet\n\
                     bryo net setup 2>/dev/null";

/// Runs an attack of ana's on bob.
fn on(lab: &Lab, setup: &str, attack: &str) -> Told {
    let neighbours = "box ana; A=$REPLY; box bob; B=$REPLY\n\
                      lease ana $A anas || exit 1; lease bob $B bobs || exit 1\n\
                      await has_ip6 bob $B; await has_ip6 ana $A\n\
                      BOB=$(ip_of bob $B); BOB6=$(ip6_of bob $B)\n\
                      await pings_from bob $B 10.0.3.1; await pings_from ana $A 10.0.3.1; await pings $BOB6";
    story(lab, &format!("{setup}\n{neighbours}\n{attack}"))
}

/// Asserts that an attack came to nothing, and would have come to something.
#[track_caller]
fn assert_defeated((good, bad): &(Told, Told), keys: &[&str]) {
    for key in keys {
        good.is(key, "0");
        assert_ne!(bad.value(key), "0", "without the rules {key} is to succeed\n{}", bad.all);
    }
}

fn nobody_takes_the_gateways_or_a_neighbours_address(lab: &Lab) {
    let attack = r#"
        BOBMAC=$(mac_of bob $B) ANAMAC=$(mac_of ana $A)
        # The gateway's address, told to bob.
        inside ana $A ip address add 10.0.3.1/32 dev eth0
        inside ana $A busybox arping -q -c 3 -U -I eth0 10.0.3.1
        inside bob $B ip neigh show 10.0.3.1 | grep -q "$ANAMAC"; say gateway $((1 - $?))
        inside ana $A ip address delete 10.0.3.1/32 dev eth0
        # Bob's address, told to the host.
        inside ana $A ip address add $BOB/32 dev eth0
        inside ana $A busybox arping -q -c 3 -U -I eth0 $BOB
        ip neigh show $BOB | grep -q "$ANAMAC"; say neighbour $((1 - $?))
        inside ana $A ip address delete $BOB/32 dev eth0
        # Bob's address of IPv6, from which the host is asked.
        HOST6=$(ip -6 -o address show lxcbr0 scope global | awk '{ sub("/.*", "", $4); print $4 }')
        inside ana $A ip -6 address add $BOB6/128 dev eth0 nodad
        inside ana $A ip -6 route add $HOST6/128 dev eth0 src $BOB6
        inside ana $A ip -6 neigh flush dev eth0
        for n in 1 2 3; do inside ana $A bash -c "echo x >/dev/udp/$HOST6/7777"; sleep 0.5; done
        ip -6 neigh show $BOB6 | grep -q "$ANAMAC"; say neighbour6 $((1 - $?))
        inside ana $A ip -6 route delete $HOST6/128 dev eth0
        inside ana $A ip -6 address delete $BOB6/128 dev eth0
        # Bob's address on the link, from which something is sent.
        inside ana $A ip link set eth0 down
        inside ana $A ip link set eth0 address $BOBMAC
        inside ana $A ip link set eth0 up
        inside ana $A ip address replace 10.0.3.200/24 dev eth0
        for n in 1 2 3; do inside ana $A busybox arping -q -c 1 -U -I eth0 10.0.3.200; done
        bridge fdb show br lxcbr0 dynamic | grep "^$BOBMAC" | grep -q "dev $(port_of $A) "; say mac $((1 - $?))
        # What ana may do she still can.
        inside ana $A ip link set eth0 down
        inside ana $A ip link set eth0 address $ANAMAC
        inside ana $A ip link set eth0 up
        lease ana $A anas; await pings_from ana $A 10.0.3.1; say ana_works $?
        await pings_from bob $B 10.0.3.1; say bob_works $?
    "#;
    let told = both(lab, attack);
    let keys = ["gateway", "neighbour", "neighbour6", "mac"];
    assert_defeated(&told, &keys);
    let by_rules = on(lab, RULES, attack);
    keys.iter().for_each(|key| by_rules.is(key, "0"));
    told.0.is("ana_works", "0");
    told.0.is("bob_works", "0");
}

fn a_rogue_dhcp_server_and_a_rogue_router_change_nothing(lab: &Lab) {
    let attack = r#"
        # A router that is none, and says so each few seconds.
        inside ana $A ip -6 address add fd66::1/64 dev eth0 nodad
        inside ana $A dnsmasq --no-daemon --conf-file=/dev/null --user=root --pid-file= --port=0 --interface=eth0 --bind-interfaces \
            --enable-ra --ra-param=eth0,4 --dhcp-range=fd66::,ra-only --leasefile-ro --log-dhcp 2>/tmp/rogue &
        await grep -q 'RTR-ADVERT(eth0) fd66::' /tmp/rogue || exit 1
        sent=$(grep -c RTR-ADVERT /tmp/rogue)
        again() { [ $(grep -c RTR-ADVERT /tmp/rogue) -gt $((sent + 1)) ]; }
        await again || exit 1
        inside bob $B ip -6 address show dev eth0 | grep -q fd66; say router $((1 - $?))
        # A DHCP server, while the real one does not answer.
        kill -STOP $(cat /run/bryo/net/lxcbr0/dnsmasq.pid)
        printf 'start 10.0.3.66\nend 10.0.3.66\ninterface eth0\nlease_file /tmp/leases\npidfile /tmp/pid\noption router 10.0.3.99\noption subnet 255.255.255.0\n' >/tmp/udhcpd
        touch /tmp/leases; chmod 666 /tmp/leases
        inside ana $A busybox udhcpd -f /tmp/udhcpd >/dev/null 2>&1 &
        ready() { inside ana $A ss -uln 2>/dev/null | grep -q ':67 '; }
        await ready || exit 1
        inside bob $B ip address flush dev eth0 scope global
        lease bob $B bobs 3
        inside bob $B ip route show default | grep -q 10.0.3.99; say server $((1 - $?))
        kill -CONT $(cat /run/bryo/net/lxcbr0/dnsmasq.pid)
    "#;
    assert_defeated(&both(lab, attack), &["router", "server"]);
    let by_rules = on(lab, RULES, attack);
    ["router", "server"].iter().for_each(|key| by_rules.is(key, "0"));
}

/// What comes of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// What it drops comes to nothing, and arrives without it.
    Drops,
    /// What it lets pass arrives, and comes to nothing without it.
    Passes,
    /// So much arrives of a flood, and all without it.
    Bounds,
    /// Another test, of this name, is about it.
    Elsewhere(&'static str),
}

use Rule::{Bounds, Drops, Elsewhere, Passes};

/// A rule, where its effect is seen and by what, what goes before, and the frame; of users' ports on the bridge, by chain and number.
type Case = (&'static str, Rule, &'static str, &'static str, &'static str);

const FRAMES: &str = include_str!("bridge/frame.pl");

const BOBS_OWN: &str = "first inside bob $B ip address add 10.0.3.202/32 dev eth0; inside bob $B busybox arping -q -c 1 -U -I eth0 10.0.3.202";
const BOB_LEASES: &str = "first lease bob $B bobs; first forget_ips";
const ANA_LEASES: &str = "first lease ana $A anas";

/// Each rule of each chain, in order.
const CHAINS: &[(&str, &[Case])] = &[
    (
        "user",
        &[
            ("bob: vlan id 7", Drops, "", "vlan", ""),
            ("bob: ether saddr $BOBMAC", Drops, "", "bobs_mac", ""),
            ("bob: arp saddr ip 10.0.3.1", Drops, "", "arp_of 10.0.3.1", ""),
            ("bob: ip saddr 10.0.3.1 udp dport 7790", Drops, "", "ip_of 10.0.3.1", ""),
            ("bob: ip6 saddr $GATEWAY6 udp dport 7790", Drops, "", "ip6_of $GATEWAY6", ""),
        ],
    ),
    (
        "from_mac",
        &[
            ("bob: ether saddr $BRIDGEMAC ether type 0x88b5", Drops, "", "bridges_mac", ""),
            ("bob: ether saddr $ANAMAC ether type 0x88b5", Passes, "", "own_mac", ""),
            ("bob: ether saddr $BOBMAC", Drops, "", "bobs_mac", ""),
            ("bob: ether type 0x88b5", Bounds, "", "macs $ROUND 2400", ""),
            ("bob: ether type 0x88b5", Passes, "", "macs $ROUND 1", ""),
            ("", Elsewhere("what_no_rule_lets_pass_is_dropped"), "", "", ""),
        ],
    ),
    (
        "from_arp",
        &[
            ("bob: arp saddr ether 02:00:00:00:00:99", Drops, "", "arp_of_no_mac", ""),
            (
                "bob: arp saddr ip 0.0.0.0 arp daddr ip $BOB",
                Passes,
                "by_bob arp_of 0.0.0.0",
                "arp_of 0.0.0.0",
                "",
            ),
            ("bob: arp saddr ip 10.0.3.1", Drops, "", "arp_of 10.0.3.1", ""),
            ("bob: arp saddr ip $ANA arp daddr ip $BOB", Passes, ANA_LEASES, "arp_of $ANA", ""),
            ("bob: arp saddr ip $BOB", Drops, BOB_LEASES, "arp_of $BOB", ""),
            ("bob: arp saddr ip 10.0.3.201", Passes, "", "arp_of 10.0.3.201", ""),
            ("bob: arp saddr ip 10.0.3.202", Drops, BOBS_OWN, "arp_of 10.0.3.202", ""),
            ("bob: arp saddr ip { 10.51.0.0/16, 10.52.0.0/16 }", Bounds, "", "arps $ROUND 2400", ""),
            ("bob: arp saddr ip { 10.51.0.0/16, 10.52.0.0/16 }", Passes, "", "arps $ROUND 1", ""),
            ("bob: ether type arp meta length < 20", Drops, "", "short_arp", ""),
        ],
    ),
    (
        "from_ip4",
        &[
            ("bob: udp sport 67 udp dport 7790", Drops, "", "answer", ""),
            ("bob: icmp type redirect", Drops, "", "redirect", ""),
            ("host: udp dport 67", Drops, "", "dhcp_of_bob", ""),
            ("bob: ip saddr 0.0.0.0 udp dport 7790", Passes, "by_bob ip_of 0.0.0.0", "ip_of 0.0.0.0", ""),
            ("bob: ip saddr 10.0.3.1 udp dport 7790", Drops, "", "ip_of 10.0.3.1", ""),
            ("bob: ip saddr $ANA udp dport 7790", Passes, ANA_LEASES, "ip_of $ANA", ""),
            ("bob: ip saddr $BOB udp dport 7790", Drops, BOB_LEASES, "ip_of $BOB", ""),
            ("bob: ip saddr 10.0.3.201 udp dport 7790", Passes, "", "ip_of 10.0.3.201", ""),
            ("bob: ip saddr 10.0.3.202 udp dport 7790", Drops, BOBS_OWN, "ip_of 10.0.3.202", ""),
            ("bob: ip saddr { 10.51.0.0/16, 10.52.0.0/16 }", Bounds, "", "ips $ROUND 2400", ""),
            ("bob: ip saddr { 10.51.0.0/16, 10.52.0.0/16 }", Passes, "", "ips $ROUND 1", ""),
            ("bob: ether type ip meta length < 15", Drops, "", "short_ip", ""),
        ],
    ),
    (
        "from_ip6",
        &[
            (
                "bob: icmpv6 type { nd-router-advert, nd-redirect } ip6 daddr $BOB6",
                Drops,
                "send router",
                "redirect6",
                "",
            ),
            ("bob: udp sport 547", Drops, "", "answer6", ""),
            ("bob: ip6 saddr $GATEWAY6 udp dport 7790", Drops, "", "ip6_of $GATEWAY6", ""),
            ("bob: icmpv6 type nd-neighbor-advert ip6 saddr $ANA6", Drops, "", "advert_of $GATEWAY6", ""),
            ("bob: ip6 saddr :: udp dport 7790", Passes, "by_bob ip6_of ::", "ip6_of ::", ""),
            ("bob: ip6 saddr fd99::7", Passes, "", "ip6_of fd99::7", ""),
            ("bob: ip6 saddr $BOB6", Drops, "", "ip6_of $BOB6", ""),
            ("bob: ip6 saddr fd99::/16", Bounds, "", "ip6s $ROUND 2400", ""),
            ("bob: ip6 saddr fd99::/16", Passes, "", "ip6s $ROUND 1", ""),
            ("bob: ether type ip6 meta length < 15", Drops, "", "short_ip6", ""),
        ],
    ),
    (
        "advertised",
        &[
            ("bob: icmpv6 type nd-neighbor-advert ip6 saddr $ANA6", Drops, "", "advert_of $GATEWAY6", ""),
            ("bob: icmpv6 type nd-neighbor-advert ip6 saddr $ANA6", Passes, "", "advert_of fd99::7", ""),
            ("bob: icmpv6 type nd-neighbor-advert ip6 saddr $ANA6", Drops, "", "advert_of $BOB6", ""),
            ("bob: icmpv6 type nd-neighbor-advert ip6 saddr $ANA6", Bounds, "", "adverts $ROUND 2400", ""),
            ("bob: icmpv6 type nd-neighbor-advert ip6 saddr $ANA6", Passes, "", "adverts $ROUND 1", ""),
            ("bob: ip6 saddr $ANA6 meta length < 60", Drops, "", "short_advert", ""),
        ],
    ),
    (
        "asks_dhcp",
        &[
            ("host: ip frag-off & 0x3fff != 0", Drops, "", "dhcp_piece", ""),
            ("", Elsewhere("nobody_gives_back_anothers_lease"), "", "", ""),
            ("", Elsewhere("containers_get_addresses_names_and_a_way_into_the_world"), "", "", ""),
            ("host: udp dport 67", Drops, "", "dhcp_of_bob", ""),
        ],
    ),
    (
        "to_the_host",
        &[
            ("host: ip daddr $BOB udp dport 7790", Drops, "", "for_neighbour", ""),
            ("host: ip6 daddr $BOB6 udp dport 7790", Drops, "", "for_neighbour6", ""),
        ],
    ),
    (
        "to_user",
        &[
            ("ana: ether daddr $BOBMAC", Drops, "", "", "forgotten"),
            // Of what it writes down: BOB_LEASES.
            (
                "bob: ip saddr $ANA udp dport 7790",
                Elsewhere("each_rule_keeps_what_no_other_would"),
                "",
                "",
                "",
            ),
        ],
    ),
    (
        "prerouting",
        &[
            ("bob: arp saddr ip 10.0.3.1", Drops, "named u0", "arp_of 10.0.3.1", ""),
            ("bob: arp saddr ip 10.0.3.1", Drops, "named u1", "arp_of 10.0.3.1", ""),
            ("bob: arp saddr ip 10.0.3.1", Drops, "named g0", "arp_of 10.0.3.1", ""),
            ("bob: arp saddr ip 10.0.3.1", Drops, "named g1", "arp_of 10.0.3.1", ""),
        ],
    ),
    (
        "input",
        &[
            ("host: ip daddr $BOB udp dport 7790", Drops, "named u0", "for_neighbour", ""),
            ("host: ip daddr $BOB udp dport 7790", Drops, "named u1", "for_neighbour", ""),
            ("host: ip daddr $BOB udp dport 7790", Drops, "named g0", "for_neighbour", ""),
            ("host: ip daddr $BOB udp dport 7790", Drops, "named g1", "for_neighbour", ""),
        ],
    ),
    (
        "forward",
        &[
            ("ana: ether daddr $BOBMAC", Drops, "named u0", "", "passed_on"),
            ("ana: ether daddr $BOBMAC", Drops, "named u1", "", "passed_on"),
            ("ana: ether daddr $BOBMAC", Drops, "named g0", "", "passed_on"),
            ("ana: ether daddr $BOBMAC", Drops, "named g1", "", "passed_on"),
        ],
    ),
    (
        "output",
        &[
            ("ana: ether daddr $BOBMAC", Drops, "named u0", "", "forgotten"),
            ("ana: ether daddr $BOBMAC", Drops, "named u1", "", "forgotten"),
            ("ana: ether daddr $BOBMAC", Drops, "named g0", "", "forgotten"),
            ("ana: ether daddr $BOBMAC", Drops, "named g1", "", "forgotten"),
        ],
    ),
    (
        "inet prerouting",
        &[
            ("inet: ip saddr 192.0.2.9", Drops, "", "foreign", ""),
            ("inet: ip6 saddr fd99::9", Drops, "", "foreign6", ""),
        ],
    ),
];

/// Words for one rule at a time. Ports reach each other here, so that what does not arrive is dropped by a rule.
const ONE_BY_ONE: &str = r#"
    # The frames' own addresses are nobody's lease.
    echo 'LXC_DHCP_RANGE="10.0.3.20,10.0.3.99"' >/etc/default/lxc-net
    printf 'ana veth lxcbr0 3 open
bob veth lxcbr0 3 open
' >/etc/lxc/lxc-usernet
    bryo net setup --dry-run 2>/dev/null | sed -n "/^nft -f - <<'END'/,/^END/p" | sed '1d; $d' >/tmp/rules
    bryo net setup 2>/dev/null || exit 1
    box ana; A=$REPLY; box bob; B=$REPLY
    lease ana $A anas || exit 1; lease bob $B bobs || exit 1
    await has_ip6 bob $B; await has_ip6 ana $A
    export ANA=$(ip_of ana $A) BOB=$(ip_of bob $B) ANA6=$(ip6_of ana $A) BOB6=$(ip6_of bob $B)
    export ANAMAC=$(mac_of ana $A) BOBMAC=$(mac_of bob $B) BRIDGEMAC=$(cat /sys/class/net/lxcbr0/address)
    BRIDGEMAC=$(ip -o link show dev lxcbr0 | sed 's/.*ether //; s/ .*//')
    export GATEWAY6=$(ip -6 -o address show lxcbr0 scope global | awk '{ sub("/.*", "", $4); print $4 }')
    PORT=$(port_of $A)
    # Where the kernel shows frames on a bridge to rules for packets, those would have the first word.
    for file in /proc/sys/net/bridge/bridge-nf-call-*; do [ ! -e $file ] || echo 0 >$file; done
    ip neigh replace $BOB lladdr $BOBMAC dev lxcbr0 nud permanent
    ip link add other0 type veth peer name other1
    ip link set other0 master lxcbr0 up; ip link set other1 up
    first() { [ $ROUND = 2 ] || "$@"; }
    send() { inside ana $A perl /mnt/frame.pl "$@"; }
    by_bob() { ANAMAC=$BOBMAC inside bob $B perl /mnt/frame.pl "$@"; }
    forget_ips() { for set in ips of_ips; do nft flush set bridge bryo.lxcbr0 $set; done; }
    forget_bob() { bridge fdb delete $BOBMAC dev $(port_of $B) master 2>/dev/null; }
    forgotten() { for n in 1 2 3; do forget_bob; echo x >/dev/udp/$BOB/7790; done; }
    passed_on() { for n in 1 2 3; do forget_bob; DEVICE=other1 perl /mnt/frame.pl to_bob; done; }
    named() {
        local own
        own=$(port_of $A)
        [ $own = $1${PORT#??} ] || { ip link set $own down; ip link set $own name $1${PORT#??}; ip link set $1${PORT#??} up; }
    }
    # What is seen, and how often.
    sees() {
        local match=${1#*: }
        local at="counter; }; }"
        SEEN=${1%%:*}
        case $SEEN in
            ana) inside ana $A nft "table netdev seen; delete table netdev seen; table netdev seen { chain in { type filter hook ingress device eth0 priority 0; $match $at" ;;
            bob) inside bob $B nft "table netdev seen; delete table netdev seen; table netdev seen { chain in { type filter hook ingress device eth0 priority 0; $match $at" ;;
            host) nft "table bridge seen; delete table bridge seen; table bridge seen { chain in { type filter hook input priority 300; $match $at" ;;
            inet) nft "table inet seen; delete table inet seen; table inet seen { chain in { type filter hook prerouting priority 0; $match $at" ;;
        esac
    }
    seen() {
        sleep 0.1
        case $SEEN in
            ana) heard ana $A ;;
            bob) heard bob $B ;;
            host) nft list table bridge seen ;;
            inet) nft list table inet seen ;;
        esac | sed -n 's/.*counter packets \([0-9]*\).*/\1/; /^[0-9][0-9]*$/p'
    }
    rules() { nft -a list chain ${1% *} bryo.lxcbr0 ${1#* } | grep -P '^		(?!type (filter|nat) hook)'; }
    # Both have sent something, so that their addresses are known as theirs.
    renew() {
        nft -f /tmp/rules
        for who in "ana $A" "bob $B"; do
            await pings_from $who 10.0.3.1; await pings_from $who $GATEWAY6
        done
    }
    # case KEY CHAIN NUMBER SEEN BEFORE ACTION
    case_of() {
        local all
        renew; sees "$4"
        ROUND=1; eval "$5"; eval "$6"; all=$(seen)
        nft delete rule ${2% *} bryo.lxcbr0 ${2#* } handle $(rules "$2" | sed -n "$3p" | sed 's/.*handle //')
        sees "$4"
        ROUND=2; eval "$5"; eval "$6"
        say $1 $all $(seen)
    }
"#;

/// Takes each rule away, alone, and looks what comes of it.
fn each_rule_keeps_what_no_other_would(lab: &Lab) {
    let full = |chain: &str| if chain.contains(' ') { chain.to_owned() } else { format!("bridge {chain}") };
    let key = |chain: &str, number: usize| format!("{}_{number}", chain.replace(' ', "_"));
    let mut script = format!("cat >/mnt/frame.pl <<'FRAMES'\n{FRAMES}FRAMES\n{ONE_BY_ONE}\n");
    for (chain, cases) in CHAINS {
        script.push_str(&format!(
            "say rules_{} $(rules '{}' | wc -l)\n",
            chain.replace(' ', "_"),
            full(chain)
        ));
        for (number, (seen, rule, before, frame, action)) in (1..).zip(*cases) {
            if matches!(rule, Elsewhere(_)) {
                continue;
            }
            let action = if frame.is_empty() { (*action).to_owned() } else { format!("send {frame}") };
            let (key, chain) = (key(chain, number), full(chain));
            script.push_str(&format!("case_of {key} '{chain}' {number} \"{seen}\" '{before}' '{action}'\n"));
        }
    }
    let told = story(lab, &script);
    let mut wrong = Vec::new();
    for (chain, cases) in CHAINS {
        told.is(&format!("rules_{}", chain.replace(' ', "_")), &cases.len().to_string());
        for (number, (_, rule, ..)) in (1..).zip(*cases) {
            if matches!(rule, Elsewhere(_)) {
                continue;
            }
            let counts = told.value(&key(chain, number)).split_once(' ');
            let counts = counts
                .and_then(|(all, without)| Some((all.parse::<u32>().ok()?, without.parse::<u32>().ok()?)));
            let is_kept = counts.is_some_and(|(all, without)| match rule {
                Drops => all == 0 && without > 0,
                Passes => all > 0 && without == 0,
                Bounds => (1..2300).contains(&all) && without >= 2400,
                Elsewhere(_) => true,
            });
            if !is_kept {
                wrong.push(format!("{chain} {number}, {rule:?}: {}", told.value(&key(chain, number))));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}\n{}", told.all);
}

fn nothing_of_another_users_is_heard_or_reached(lab: &Lab) {
    let attack = r#"
        BOBMAC=$(mac_of bob $B)
        listen ana $A "ip daddr $BOB udp dport 7777"
        # A bridge that has forgotten where bob is sends to all.
        ip neigh replace $BOB lladdr $BOBMAC dev lxcbr0 nud permanent
        for n in 1 2 3; do
            bridge fdb delete $BOBMAC dev $(port_of $B) master 2>/dev/null
            echo secret >/dev/udp/$BOB/7777
        done
        say heard $(heard ana $A)
        # Directly, by the link.
        listen bob $B "ip saddr $(ip_of ana $A) udp dport 7779"
        for n in 1 2 3; do inside ana $A bash -c "echo x >/dev/udp/$BOB/7779"; done
        sleep 1
        say reached $(heard bob $B)
    "#;
    assert_defeated(&both(lab, attack), &["heard", "reached"]);
    // By the host, which passes on from port to port what isolated ports cannot give each other.
    let detour = |setup: &str| {
        let script = format!(
            r#"{setup}
            box ana; A=$REPLY; box bob; B=$REPLY
            lease ana $A anas || exit 1; lease bob $B bobs || exit 1
            BOB=$(ip_of bob $B)
            await pings_from bob $B 10.0.3.1; await pings_from ana $A 10.0.3.1
            listen bob $B "ip saddr $(ip_of ana $A) udp dport 7779"
            inside ana $A ip route add $BOB/32 via 10.0.3.1
            for n in 1 2 3; do inside ana $A bash -c "echo x >/dev/udp/$BOB/7779"; done
            sleep 1
            say detour $(heard bob $B)
            "#
        );
        story(lab, &script)
    };
    let told = (detour("bryo net setup 2>/dev/null"), detour("bryo net setup --no-guard 2>/dev/null"));
    assert_defeated(&told, &["detour"]);
}

/// Words for messages of DHCP, as printf takes them.
const BYTES: &str = r#"
    bytes() { printf '%s' "$1" | sed 's/:/ /g; s/\./ /g'; }
    hex() { for byte in $(bytes $1); do printf '\\x%s' $byte; done; }
    dotted() { for byte in $(bytes $1); do printf '\\x%02x' $byte; done; }
    zeros() { for n in $(seq $1); do printf '\\x00'; done; }
"#;

/// A question that bears a neighbour's address as that of a relay, to which the answer goes.
fn nobody_has_dhcp_answer_a_neighbour(lab: &Lab) {
    let attack = r#"
        listen bob $B "udp sport 67 udp dport 67"
        ANA=$(ip_of ana $A)
        # REQUEST for the address that ana has already.
        ask() {
            printf "\\x01\\x01\\x06\\x00\\x12\\x34\\x56\\x78$(zeros 16)$(dotted $1)$(hex $(mac_of ana $A))$(zeros 202)\
\\x63\\x82\\x53\\x63\\x35\\x01\\x03\\x32\\x04$(dotted $ANA)\\xff" >/tmp/message
            inside ana $A bash -c 'cat /tmp/message >/dev/udp/10.0.3.1/67'
        }
        for n in 1 2 3; do ask $BOB; sleep 0.5; done
        say answered $(heard bob $B)
        # One without a relay is answered, to her.
        listen ana $A "udp sport 67 udp dport 68"
        answered() { ask 0.0.0.0; [ $(heard ana $A) != 0 ]; }
        await answered; say own_answered $?
    "#;
    let attack = format!("{BYTES}{attack}");
    let told = both(lab, &attack);
    assert_defeated(&told, &["answered"]);
    told.0.is("own_answered", "0");
}

fn nobody_gives_back_anothers_lease(lab: &Lab) {
    let attack = r#"
        message="\\x01\\x01\\x06\\x00\\x12\\x34\\x56\\x78$(zeros 4)$(dotted $BOB)$(zeros 12)$(hex $(mac_of bob $B))$(zeros 202)\
\\x63\\x82\\x53\\x63\\x35\\x01\\x07\\x36\\x04$(dotted 10.0.3.1)\\xff"
        leases=/var/lib/bryo/net/lxcbr0.leases
        await grep -q $BOB $leases || exit 1
        # In one datagram: what bash itself writes it breaks at each byte of 10.
        printf "$message" >/tmp/message
        inside ana $A bash -c 'cat /tmp/message >/dev/udp/10.0.3.1/67'
        sleep 1
        grep -q $BOB $leases; say lost $?
        # In two pieces, of which the first ends before what the rules look for.
        inside ana $A perl -MSocket -e '
            local $/; open F, "/tmp/message"; my $m = <F>;
            my ($from, $to) = map { inet_aton $_ } @ARGV;
            my $u = pack("n4", 68, 67, 8 + length $m, 0) . $m;
            socket S, PF_INET, SOCK_RAW, 255 or die $!;
            for ([0, 16, 1], [16, length($u) - 16, 0]) {
                my ($at, $n, $more) = @$_;
                my $head = pack "CCnnnCCna4a4", 0x45, 0, 20 + $n, 0x4242, $more << 13 | $at / 8, 64, 17, 0, $from, $to;
                send S, $head . substr($u, $at, $n), 0, pack_sockaddr_in(0, $to) or die $!;
            }' $(ip_of ana $A) 10.0.3.1 || exit 1
        sleep 1
        grep -q $BOB $leases; say lost_in_pieces $?
        # Its owner can.
        inside bob $B bash -c 'cat /tmp/message >/dev/udp/10.0.3.1/67'
        released() { ! grep -q $BOB $leases; }
        await released; say given_back $?
    "#;
    let told = both(lab, &format!("{BYTES}{attack}"));
    assert_defeated(&told, &["lost", "lost_in_pieces"]);
    told.0.is("given_back", "0");
}
