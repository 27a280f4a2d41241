use std::net::Ipv4Addr;

use super::super::facts::{Address, Route};
use super::super::firewall::{self, Chain, Firewalls, Hook, Iptables};
use super::super::settings;
use super::super::step::PROGRAMS;
use super::*;

fn settings(text: &str) -> Settings {
    settings::read(&[("f", text.to_owned())], None, "a machine").unwrap()
}

/// A host with all programs and nothing else.
fn bare() -> Facts {
    Facts {
        programs: PROGRAMS
            .iter()
            .map(|program| (*program, format!("/usr/sbin/{}", program.name()).into()))
            .collect(),
        has_ipv6: true,
        listening: vec!["eth0".into()],
        server_user: "dnsmasq".into(),
        ..Facts::default()
    }
}

fn ours() -> Link {
    Link { index: 5, name: "lxcbr0".into(), kind: "bridge".into(), group: MARK, ..Link::default() }
}

fn bridge() -> IfName {
    "lxcbr0".parse().unwrap()
}

const GUARDED: Manner = Manner { is_guarded: true };

fn shown(steps: &[Step]) -> String {
    steps.iter().map(|step| format!("{step}\n")).collect()
}

fn plan(facts: &Facts) -> String {
    shown(
        &set_up(&settings("LXC_IPV6_ADDR=fd00::1\nLXC_BRIDGE_MAC=00:16:3e:00:00:01"), facts, GUARDED)
            .unwrap()
            .steps,
    )
}

#[test]
fn on_a_bare_host_everything_is_made_and_the_bridge_is_up_only_behind_the_rules() {
    let plan = plan(&bare());
    let commands: Vec<&str> = plan
        .lines()
        .filter(|line| {
            ["ip ", "nft ", "echo ", "mkdir ", "dnsmasq "].iter().any(|start| line.starts_with(start))
        })
        .collect();
    let expected = [
        "mkdir -p /run/bryo/net/lxcbr0",
        "mkdir -p /var/lib/bryo/net",
        "nft -f - <<'END'",
        "ip link add dev lxcbr0 address 00:16:3e:00:00:01 group 1651669359 type bridge",
        "echo 1 > /proc/sys/net/ipv4/conf/lxcbr0/rp_filter",
        "echo 0 > /proc/sys/net/ipv4/conf/lxcbr0/accept_redirects",
        "echo 0 > /proc/sys/net/ipv4/conf/lxcbr0/send_redirects",
        "echo 0 > /proc/sys/net/ipv6/conf/lxcbr0/accept_ra",
        "echo 0 > /proc/sys/net/ipv6/conf/lxcbr0/accept_redirects",
        "echo 0 > /proc/sys/net/ipv6/conf/lxcbr0/accept_dad",
        "ip link set dev lxcbr0 addrgenmode eui64",
        "ip address replace 10.0.3.1/24 broadcast 10.0.3.255 dev lxcbr0",
        "ip -6 address replace fd00::1/64 dev lxcbr0 nodad",
        "ip link set dev lxcbr0 up",
        "echo 1 > /proc/sys/net/ipv4/ip_forward",
        "echo 2 > /proc/sys/net/ipv6/conf/eth0/accept_ra",
        "echo 1 > /proc/sys/net/ipv6/conf/all/forwarding",
    ];
    assert_eq!(commands[..expected.len()], expected, "{plan}");
    let server = commands[expected.len()];
    for argument in [
        "dnsmasq --conf-file=/dev/null --user=dnsmasq --pid-file=/run/bryo/net/lxcbr0/dnsmasq.pid --interface=lxcbr0 ",
        " --dhcp-range=10.0.3.2,10.0.3.254,255.255.255.0,1h --dhcp-lease-max=253 ",
        " --domain=lxc --local=/lxc/ ",
        " --dhcp-range=fd00::,ra-names,64,1h",
    ] {
        assert!(server.contains(argument), "{argument}: {server}");
    }
    assert_eq!(commands.len(), expected.len() + 1, "{plan}");
}

#[test]
fn what_is_there_is_not_made_twice() {
    let first = set_up(&settings(""), &bare(), GUARDED).unwrap();
    let arguments = first.steps.iter().find_map(|step| match &step.act {
        Act::Run { program: Program::Dnsmasq, arguments, .. } => Some(arguments.clone()),
        _ => None,
    });
    let server = Server { pid: 7, arguments: arguments.unwrap() };
    let done = Facts {
        links: vec![ours()],
        forwards_v4: true,
        forwards_v6: true,
        servers: vec![server.clone()],
        ..bare()
    };
    let again = shown(&set_up(&settings(""), &done, GUARDED).unwrap().steps);
    for once in ["link add", "dnsmasq --", "kill", "ip_forward", "accept_ra\n# the host"] {
        assert!(!again.contains(once), "{once}: {again}");
    }
    let other = shown(&set_up(&settings("LXC_DHCP_MAX=5"), &done, GUARDED).unwrap().steps);
    assert!(other.contains("\nkill 7\n") && other.contains("--dhcp-lease-max=5"), "{other}");
    let strangers =
        Facts { servers: vec![Server { arguments: vec!["--interface=lxcbr0".into()], ..server }], ..done };
    let beside = shown(&set_up(&settings(""), &strangers, GUARDED).unwrap().steps);
    assert!(!beside.contains("kill"), "{beside}");
}

#[test]
fn what_somebody_else_has_made_is_in_the_way_and_not_touched() {
    let told = |facts: &Facts| set_up(&settings(""), facts, GUARDED).unwrap_err().what;
    let with = |link: Link| Facts { links: vec![link], ..bare() };
    let theirs = Link { group: 0, ..ours() };
    assert_eq!(told(&with(theirs.clone())), "there is a bridge lxcbr0 already, which somebody else has made");
    let veth = Link { kind: "veth".into(), ..ours() };
    assert_eq!(told(&with(veth)), "there is an interface lxcbr0 already, which is no bridge");
    let other = Link { name: "br7".into(), others: vec!["lxcbr0".into()], ..ours() };
    assert_eq!(told(&with(other)), "lxcbr0 is another name of br7");
    let plan = tear_down(&bridge(), &with(theirs), true).unwrap();
    assert_eq!((plan.steps.len(), plan.notes), (0, vec!["lxcbr0 is not Bryo's, and stays".to_owned()]));
}

#[test]
fn a_network_that_is_reached_otherwise_is_refused_and_a_larger_one_is_not() {
    let with = |network: [u8; 4], prefix, interface: &str| {
        let route = Route { interface: interface.into(), network: Ipv4Addr::from(network), prefix };
        set_up(&settings(""), &Facts { routes: vec![route], ..bare() }, GUARDED).map(drop)
    };
    assert!(with([10, 0, 3, 0], 24, "eth0").unwrap_err().what.starts_with("10.0.3.0/24 is reached by eth0"));
    assert!(with([10, 0, 3, 128], 25, "eth0").is_err());
    for (network, prefix, interface) in
        [([10, 0, 0, 0], 8, "vpn0"), ([10, 0, 4, 0], 24, "eth0"), ([10, 0, 3, 0], 24, "lxcbr0")]
    {
        assert_eq!(with(network, prefix, interface), Ok(()));
    }
}

#[test]
fn a_network_that_the_host_is_directly_part_of_is_refused_however_large() {
    let with = |interface: &str, ip: &str, prefix| {
        let address = Address { interface: interface.into(), ip: ip.parse().unwrap(), prefix };
        let settings = settings("LXC_IPV6_ADDR=fd00::1");
        set_up(&settings, &Facts { addresses: vec![address], ..bare() }, GUARDED).map(drop)
    };
    let refused = with("lan0", "10.0.3.17", 16).unwrap_err().what;
    assert_eq!(refused, "lan0 is 10.0.3.17/16, and the bridge's 10.0.3.0/24 would be a part of that network");
    for (ip, prefix) in [("fd00::5", 64), ("fd00::5", 48), ("fd00::5", 128)] {
        let refused = with("lan0", ip, prefix).unwrap_err().what;
        assert_eq!(refused, "fd00::/64, or a part of it, is reached by lan0 already");
    }
    for (interface, ip, prefix) in [
        ("lan0", "10.1.0.1", 16),
        ("lan0", "fd00:0:0:1::5", 64),
        ("lxcbr0", "10.0.3.1", 24),
        ("lxcbr0", "fd00::1", 64),
    ] {
        assert_eq!(with(interface, ip, prefix), Ok(()));
    }
    let route = |interface: &str, network: &str, prefix| {
        let route = Route { interface: interface.into(), network: network.parse().unwrap(), prefix };
        set_up(&settings("LXC_IPV6_ADDR=fd00::1"), &Facts { routes_6: vec![route], ..bare() }, GUARDED)
            .map(drop)
    };
    assert!(route("vpn0", "fd00::", 64).is_err() && route("vpn0", "fd00::8", 128).is_err());
    assert_eq!((route("lo", "fd00::1", 128), route("vpn0", "fd00::", 48)), (Ok(()), Ok(())));
}

#[test]
fn a_bridge_of_other_settings_is_refused_and_one_that_is_not_finished_is_not() {
    let with = |addresses: &[(&str, u8)], mac| {
        let address = |(ip, prefix): &(&str, u8)| Address {
            interface: "lxcbr0".into(),
            ip: ip.parse().unwrap(),
            prefix: *prefix,
        };
        let link = Link { mac: Some(mac), ..ours() };
        let facts = Facts { links: vec![link], addresses: addresses.iter().map(address).collect(), ..bare() };
        let settings = settings("LXC_IPV6_ADDR=fd00::1\nLXC_BRIDGE_MAC=00:16:3e:00:00:01");
        set_up(&settings, &facts, GUARDED).map(drop).map_err(|refused| refused.what)
    };
    const MAC: [u8; 6] = [0, 0x16, 0x3e, 0, 0, 1];
    let refused = |what: &str| Err(format!("lxcbr0 was set up by other settings: it has the address {what}"));
    assert_eq!(with(&[("10.0.9.1", 24)], MAC), refused("10.0.9.1/24"));
    assert_eq!(with(&[("10.0.3.1", 16)], MAC), refused("10.0.3.1/16"));
    assert_eq!(with(&[("10.0.3.1", 24), ("fd01::1", 64)], MAC), refused("fd01::1/64"));
    assert_eq!(with(&[], [2, 0, 0, 0, 0, 1]), refused("02:00:00:00:00:01 on the link"));
    for addresses in [&[][..], &[("10.0.3.1", 24)], &[("10.0.3.1", 24), ("fd00::1", 64), ("192.0.2.1", 32)]] {
        assert_eq!(with(addresses, MAC), Ok(()));
    }
}

#[test]
fn without_a_guard_an_earlier_one_is_removed_and_a_blind_kernel_is_told_of() {
    const UNGUARDED: Manner = Manner { is_guarded: false };
    let tables = vec![("bridge".to_owned(), "bryo.lxcbr0".to_owned())];
    let text = |facts: &Facts| shown(&set_up(&settings(""), facts, UNGUARDED).unwrap().steps);
    let removed = "\ndelete table bridge bryo.lxcbr0\n";
    assert!(text(&Facts { tables, ..bare() }).contains(removed) && !text(&bare()).contains(removed));
    let other = Link { index: 6, name: "br1".into(), ..ours() };
    let told = |tells_bridges| {
        let facts = Facts { links: vec![other.clone()], tells_bridges, ..bare() };
        let notes = set_up(&settings(""), &facts, GUARDED).unwrap().notes;
        notes.iter().any(|note| note.starts_with("users on br1 can take addresses of lxcbr0"))
    };
    assert_eq!((told(false), told(true)), (true, false));
}

#[test]
fn a_missing_program_is_named_with_its_package_and_a_bridge_that_is_not_wanted_is_not_made() {
    let mut facts = bare();
    facts.programs.remove(&Program::Dnsmasq);
    let refused = set_up(&settings(""), &facts, GUARDED).unwrap_err();
    assert_eq!(
        (refused.what.as_str(), refused.help.contains("dnsmasq-base")),
        ("not installed: dnsmasq", true)
    );
    let refused = set_up(&settings("USE_LXC_BRIDGE=false"), &bare(), GUARDED).unwrap_err();
    assert!(refused.what.contains("USE_LXC_BRIDGE is false"));
}

#[test]
fn a_host_without_ipv6_has_a_bridge_without() {
    let plan = set_up(&settings(""), &Facts { has_ipv6: false, ..bare() }, GUARDED).unwrap();
    let text = shown(&plan.steps);
    assert!(!text.contains("/ipv6/") && !text.contains("ip -6") && !text.contains("enable-ra"), "{text}");
    assert!(plan.notes.iter().any(|note| note.contains("no IPv6")));
}

#[test]
fn resolved_is_told_where_the_host_asks_it_and_the_administrator_otherwise() {
    let of = |has_resolved| set_up(&settings(""), &Facts { has_resolved, ..bare() }, GUARDED).unwrap();
    let told = |plan: &Plan| plan.notes.iter().any(|note| note.contains("*.lxc to 10.0.3.1"));
    assert!(shown(&of(true).steps).contains("resolvectl domain lxcbr0 '~lxc'") && !told(&of(true)));
    assert!(!shown(&of(false).steps).contains("resolvectl") && told(&of(false)));
}

const DOCKER: &str =
    "-P INPUT ACCEPT\n-P FORWARD DROP\n-P OUTPUT ACCEPT\n-N DOCKER-USER\n-A FORWARD -j DOCKER-USER\n";

fn with(firewalls: Firewalls) -> Facts {
    Facts { firewalls, ..bare() }
}

fn docker(rules: &str) -> Firewalls {
    let chain =
        |hook, name: &str| Chain { family: "ip".into(), table: "filter".into(), name: name.into(), hook };
    Firewalls {
        chains: vec![chain(Hook::Forward, "FORWARD")],
        iptables: vec![Iptables { program: Program::Iptables, rules: rules.into() }],
        ..Firewalls::default()
    }
}

#[test]
fn where_docker_drops_what_is_passed_on_the_bridge_is_let_pass_once_and_forgotten_again() {
    let plan = plan(&with(docker(DOCKER)));
    let added: Vec<&str> = plan.lines().filter(|line| line.starts_with("iptables ")).collect();
    let comment = "-m comment --comment 'bryo net lxcbr0' -j ACCEPT";
    let (from, to) = (
        format!("iptables -w -I FORWARD -i lxcbr0 {comment}"),
        format!("iptables -w -I FORWARD -o lxcbr0 -m conntrack --ctstate RELATED,ESTABLISHED {comment}"),
    );
    assert_eq!(added, [from.as_str(), to.as_str()]);
    assert!(!plan.contains("insert rule"), "{plan}");
    let quoted = |line: &str| line.replace("iptables -w -I", "-A").replace('\'', "\"");
    let done = format!("{DOCKER}{}\n{}\n", quoted(&to), quoted(&from));
    assert!(
        !self::plan(&with(docker(&done))).contains("iptables -w"),
        "rules that are there are not added again"
    );
    let forgotten = shown(&tear_down(&bridge(), &with(docker(&done)), false).unwrap().steps);
    assert_eq!(forgotten.matches("iptables -w -D FORWARD").count(), 2, "{forgotten}");
    assert!(!forgotten.contains("DOCKER"), "{forgotten}");
}

#[test]
fn where_ufw_drops_what_is_for_the_host_questions_to_dnsmasq_are_let_pass() {
    let plan = plan(&with(docker("-P INPUT DROP\n-P FORWARD DROP\n-P OUTPUT ACCEPT\n")));
    for port in ["-p udp -m udp --dport 53", "-p tcp -m tcp --dport 53", "-p udp -m udp --dport 67"] {
        assert!(
            plan.contains(&format!("iptables -w -I INPUT -i lxcbr0 {port} -m comment")),
            "{port}: {plan}"
        );
    }
}

const NFTABLES: &str = "\
table inet filter {
	chain input {
		type filter hook input priority filter; policy accept;
	}
	chain forward {
		type filter hook forward priority filter; policy drop;
	}
	chain output {
		type filter hook output priority filter; policy drop;
	}
}
table bridge filter {
	chain forward {
		type filter hook forward priority filter; policy drop;
	}
}
";

#[test]
fn where_a_table_of_nftables_drops_its_own_chain_is_told_to_let_the_bridge_pass() {
    let chains = firewall::chains(NFTABLES);
    assert_eq!(chains.len(), 1, "{chains:?}");
    let marked = "table inet filter { # handle 3\n\tchain forward { # handle 2\n\t\tiifname \"lxcbr0\" accept comment \"bryo net lxcbr0\" # handle 9\n\
                  \t\tiifname \"lxcbr00\" accept comment \"bryo net lxcbr00\" # handle 10\n\t}\n}\n";
    let own = firewall::marked(marked, "bryo net lxcbr0");
    let firewalls = Firewalls { chains, own, ..Firewalls::default() };
    let plan = plan(&with(firewalls.clone()));
    for line in [
        "delete rule inet filter forward handle 9\n",
        "insert rule inet filter forward iifname \"lxcbr0\" accept comment \"bryo net lxcbr0\"\n",
        "insert rule inet filter forward oifname \"lxcbr0\" ct state established,related accept comment",
    ] {
        assert!(plan.contains(line), "{line}: {plan}");
    }
    let forgotten = shown(&tear_down(&bridge(), &with(firewalls), false).unwrap().steps);
    assert!(
        forgotten.contains("delete rule inet filter forward handle 9\n") && !forgotten.contains("handle 10")
    );
}

#[test]
fn a_teardown_removes_what_is_ours_and_refuses_while_it_is_in_use() {
    let mark = "--pid-file=/run/bryo/net/lxcbr0/dnsmasq.pid".to_owned();
    let table = |family: &str, name: &str| (family.to_owned(), name.to_owned());
    let facts = Facts {
        links: vec![ours(), Link { index: 9, name: "u0".into(), master: Some(5), ..Link::default() }],
        tables: vec![table("inet", "bryo.lxcbr0"), table("inet", "bryo.br1"), table("bridge", "bryo.lxcbr0")],
        servers: vec![Server { pid: 7, arguments: vec![mark] }],
        has_run_file: true,
        ..bare()
    };
    let refused = tear_down(&bridge(), &facts, false).unwrap_err();
    assert_eq!(refused.what, "lxcbr0 is in use by 1 device (u0)");
    let steps = shown(&tear_down(&bridge(), &facts, true).unwrap().steps);
    let done: Vec<&str> = steps.lines().filter(|line| !line.starts_with('#')).collect();
    let expected = [
        "kill 7",
        "nft -f - <<'END'",
        "delete table inet bryo.lxcbr0",
        "delete table bridge bryo.lxcbr0",
        "END",
        "ip link delete dev lxcbr0",
        "rm -f /run/bryo/net/lxcbr0/dnsmasq.pid",
    ];
    assert_eq!(done, expected);
    assert_eq!(
        tear_down(&bridge(), &bare(), false),
        Ok(Plan::default()),
        "where nothing is there is nothing to do"
    );
}

#[test]
fn no_argument_can_be_taken_for_an_option_and_no_rule_for_two() {
    let text = "LXC_BRIDGE=a.b_c-d\nLXC_DOMAIN=x-y.z\nLXC_DHCP_CONFILE=\"/etc/a b\"\n";
    let plan = set_up(&settings(text), &bare(), GUARDED).unwrap();
    for step in &plan.steps {
        if let Act::Run { program: Program::Dnsmasq, arguments, .. } = &step.act {
            assert!(arguments.iter().all(|argument| argument.starts_with("--")), "{arguments:?}");
            assert!(arguments.contains(&"--conf-file=/etc/a b".to_owned()));
        }
    }
    for wrong in ["LXC_BRIDGE=\"a;b\"", "LXC_BRIDGE='a b'", "LXC_DOMAIN='x\" accept'", "LXC_DOMAIN=-x"] {
        assert!(settings::read(&[("f", wrong.to_owned())], None, "").is_err(), "{wrong}");
    }
}
