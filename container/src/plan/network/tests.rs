//! Which network a container gets, by what it asks for and what the host has.

use super::*;
use crate::host::UsedUp;
use crate::plan::{AppCommand, Stdio};
use types::{HostGid, HostUid};

fn bridge() -> BridgeFacts {
    let ipv4 = Some(Ipv4Addr::new(10, 0, 3, 1));
    BridgeFacts { exists: true, granted: true, ipv4, ..BridgeFacts::default() }
}

fn pasta() -> Option<UserModeProgram> {
    Some(UserModeProgram { kind: UserModeKind::Pasta, path: "/usr/bin/pasta".into() })
}

fn host(bridge: Option<BridgeFacts>, user_mode: Option<UserModeProgram>) -> NetworkFacts {
    let bridges = bridge.into_iter().map(|facts| ("lxcbr0".to_owned(), facts)).collect();
    let (machine, search) = (b"one".to_vec(), vec!["search example.org".to_owned()]);
    NetworkFacts { helper: Some("/x/bryo-netdev".into()), bridges, user_mode, machine, search }
}

struct Asked {
    lines: Vec<(&'static str, &'static str)>,
    run: Run,
    choice: Option<NetChoice>,
    by_default: bool,
}

fn asked(lines: &[(&'static str, &'static str)]) -> Asked {
    Asked { lines: lines.to_vec(), run: Run::Init, choice: None, by_default: false }
}

const VETH: [(&str, &str); 3] =
    [("lxc.net.0.type", "veth"), ("lxc.net.0.link", "lxcbr0"), ("lxc.net.0.flags", "up")];

fn veth(more: &[(&'static str, &'static str)]) -> Asked {
    asked(&[&VETH, more].concat())
}

fn decide_with_notes(asked: Asked, facts: &NetworkFacts) -> Result<(NetworkPlan, Vec<String>)> {
    let ana = Caller { uid: HostUid(1000), gid: HostGid(1000), name: Some("ana".into()) };
    decide_for(ana, asked, facts)
}

fn decide_for(caller: Caller, asked: Asked, facts: &NetworkFacts) -> Result<(NetworkPlan, Vec<String>)> {
    let mut config = Config::default();
    asked.lines.iter().for_each(|(key, value)| config.set(key, value).unwrap());
    let place = Place { lxcpath: "/lxc".into(), name: "web".parse().unwrap() };
    let request = StartRequest {
        config_file: place.config(),
        place,
        run: asked.run,
        foreground: false,
        stdio: Stdio::Console,
        network: asked.choice,
        network_by_default: asked.by_default,
        publish: Vec::new(),
        lxcfs: false,
        lxcfs_quota: false,
    };
    let mut notes = Vec::new();
    let decision = Decision { request: &request, config: &config, caller: &caller, facts };
    Ok((decision.decide(&mut notes)?, notes))
}

fn decide(asked: Asked, facts: &NetworkFacts) -> Result<NetworkPlan> {
    decide_with_notes(asked, facts).map(|(plan, _)| plan)
}

fn rung(asked: Asked, facts: &NetworkFacts) -> String {
    decide(asked, facts).unwrap().rung()
}

fn device(asked: Asked) -> DevicePlan {
    decide(asked, &host(Some(bridge()), None)).unwrap().devices()[0].clone()
}

#[test]
fn the_table_at_the_top_holds() {
    let command = || Asked { run: Run::App(AppCommand::default()), ..asked(&[]) };
    let (all, no_bridge, no_program) =
        (host(Some(bridge()), pasta()), host(None, pasta()), host(Some(bridge()), None));
    let nothing = host(None, None);
    for (facts, of_veth, of_init, of_command) in [
        (&all, Some("veth on lxcbr0"), "veth on lxcbr0", "pasta"),
        (&no_bridge, Some("pasta"), "pasta", "pasta"),
        (&no_program, Some("veth on lxcbr0"), "veth on lxcbr0", "veth on lxcbr0"),
        (&nothing, None, "loopback", "loopback"),
    ] {
        assert_eq!(decide(veth(&[]), facts).ok().map(|plan| plan.rung()).as_deref(), of_veth);
        assert_eq!(rung(asked(&[]), facts), of_init);
        assert_eq!(rung(command(), facts), of_command);
        assert_eq!(rung(asked(&[("lxc.net.0.type", "empty")]), facts), "loopback");
        assert_eq!(rung(asked(&[("lxc.net.0.type", "none")]), facts), "the host's");
        assert_eq!(rung(Asked { choice: Some(NetChoice::Host), ..veth(&[]) }, facts), "the host's");
        assert_eq!(rung(Asked { choice: Some(NetChoice::Loopback), ..veth(&[]) }, facts), "loopback");
    }
    assert_eq!(rung(asked(&[("lxc.net.0.type", "none"), ("lxc.net.1.type", "empty")]), &all), "loopback");
}

#[test]
fn what_is_lacking_is_named_and_nothing_is_taken_silently() {
    let ungranted = BridgeFacts { granted: false, ..bridge() };
    let refused = decide(veth(&[]), &host(Some(ungranted.clone()), None)).unwrap_err();
    assert_eq!(refused.kind(), Kind::Network);
    assert_eq!(
        refused.to_string(),
        "web has no network: /etc/lxc/lxc-usernet grants ana no device on lxcbr0, and neither pasta nor slirp4netns \
         can be used"
    );
    let (_, notes) = decide_with_notes(veth(&[]), &host(Some(ungranted), pasta())).unwrap();
    assert!(notes[0].contains("grants ana no device on lxcbr0: a network in user mode"), "{notes:?}");
    let no_helper = NetworkFacts { helper: None, ..host(Some(bridge()), None) };
    assert!(decide(veth(&[]), &no_helper).unwrap_err().to_string().contains("bryo-netdev has no right"));
    let absent = decide(veth(&[]), &host(None, None)).unwrap_err().to_string();
    assert!(absent.contains("there is no bridge lxcbr0"), "{absent}");
    let user = Asked { choice: Some(NetChoice::User), ..asked(&[]) };
    assert_eq!(decide(user, &host(Some(bridge()), None)).unwrap_err().kind(), Kind::Network);
}

fn full() -> BridgeFacts {
    BridgeFacts { used_up: Some(UsedUp { used: 2, limit: 2 }), ..bridge() }
}

#[test]
fn a_quota_that_is_used_up_sends_who_has_not_asked_for_the_bridge_to_user_mode() {
    let facts = host(Some(full()), pasta());
    let said = "the quota on lxcbr0 is used up, 2 of 2 used: a network in user mode takes its place";
    let (plan, notes) = decide_with_notes(asked(&[]), &facts).unwrap();
    assert_eq!((plan.rung().as_str(), notes), ("pasta", vec![said.to_owned()]));
    let (plan, notes) = decide_with_notes(Asked { by_default: true, ..veth(&[]) }, &facts).unwrap();
    assert_eq!((plan.rung().as_str(), notes), ("pasta", vec![said.to_owned()]));
    // A command is in user mode whatever the quota is.
    let command = Asked { run: Run::App(AppCommand::default()), ..asked(&[]) };
    let (plan, notes) = decide_with_notes(command, &facts).unwrap();
    assert_eq!((plan.rung().as_str(), notes), ("pasta", Vec::new()));
    let (plan, notes) = decide_with_notes(asked(&[]), &host(Some(full()), None)).unwrap();
    assert_eq!(plan, NetworkPlan::Loopback);
    assert_eq!(notes, ["the quota on lxcbr0 is used up, 2 of 2 used: loopback takes its place"]);
    // Who asked for the bridge is told by the helper, once the last place is not free in time.
    let (plan, notes) = decide_with_notes(veth(&[]), &facts).unwrap();
    assert_eq!((plan.rung().as_str(), plan.otherwise(), notes), ("veth on lxcbr0", None, Vec::new()));
}

#[test]
fn a_quota_that_others_use_up_meanwhile_has_something_in_its_place() {
    let instead = |asked, facts: &NetworkFacts| {
        let plan = decide(asked, facts).unwrap();
        assert_eq!(plan.rung(), "veth on lxcbr0");
        plan.otherwise().map(|otherwise| (otherwise.network.rung(), otherwise.notes.join("; ")))
    };
    let (all, no_program) = (host(Some(bridge()), pasta()), host(Some(bridge()), None));
    let by_default = |more: &[(&'static str, &'static str)]| Asked { by_default: true, ..veth(more) };
    let is = |rung: &str, notes: &str| Some((rung.to_owned(), notes.to_owned()));
    assert_eq!(instead(asked(&[]), &all), is("pasta", ""));
    assert_eq!(instead(asked(&[]), &no_program), is("loopback", ""));
    let address = [("lxc.net.0.ipv4.address", "10.0.3.7/24")];
    let left_out = "not applied in user mode: lxc.net.0.ipv4.address";
    assert_eq!(instead(by_default(&address), &all), is("pasta", left_out));
    assert_eq!(instead(by_default(&[]), &no_program), is("loopback", ""));
    assert_eq!(instead(veth(&[]), &all), None);
    let second = [("lxc.net.1.type", "veth"), ("lxc.net.1.link", "lxcbr0")];
    assert_eq!(instead(by_default(&second), &all), None, "the first device would be there already");
}

#[test]
fn slirp4netns_is_not_given_an_address_on_the_link() {
    let mut ungranted = host(Some(BridgeFacts { granted: false, ..bridge() }), pasta());
    ungranted.user_mode.as_mut().unwrap().kind = UserModeKind::Slirp;
    let lines = [("lxc.net.0.hwaddr", "10:66:6a:01:02:03")];
    let (plan, notes) = decide_with_notes(veth(&lines), &ungranted).unwrap();
    assert_eq!(plan.user_mode().unwrap().hwaddr, None);
    assert!(notes.iter().any(|note| note == "not applied in user mode: lxc.net.0.hwaddr"), "{notes:?}");
}

#[test]
fn each_key_that_user_mode_drops_is_named_and_no_other() {
    let ungranted = host(Some(BridgeFacts { granted: false, ..bridge() }), pasta());
    let said = |lines: &[(&'static str, &'static str)]| {
        let (plan, notes) = decide_with_notes(veth(lines), &ungranted).unwrap();
        let NetworkPlan::UserMode(plan) = plan else { panic!("{plan:?}") };
        let dropped = notes.iter().find_map(|note| note.strip_prefix("not applied in user mode: "));
        (plan, dropped.unwrap_or_default().to_owned())
    };
    let kept =
        [("lxc.net.0.name", "wan0"), ("lxc.net.0.mtu", "1400"), ("lxc.net.0.hwaddr", "10:66:6a:01:02:03")];
    let (plan, dropped) = said(&kept);
    let has = (plan.name.as_str(), plan.mtu, plan.hwaddr);
    assert_eq!((has, dropped.as_str()), (("wan0", Some(1400), Some([0x10, 0x66, 0x6a, 1, 2, 3])), ""));
    assert_eq!(said(&[]).0.hwaddr, None);
    for (key, value) in [
        ("lxc.net.0.ipv4.address", "10.0.3.7/24"),
        ("lxc.net.0.ipv4.gateway", "10.0.3.1"),
        ("lxc.net.0.ipv6.address", "fd00::7/64"),
        ("lxc.net.0.ipv6.gateway", "dev"),
        ("lxc.net.0.script.up", "/bin/true"),
        ("lxc.net.0.script.down", "/bin/true"),
        ("lxc.net.0.veth.vlan.id", "7"),
    ] {
        assert_eq!(said(&[(key, value)]).1, key);
    }
    let two = [
        ("lxc.net.0.script.up", "/bin/true"),
        ("lxc.net.1.type", "veth"),
        ("lxc.net.1.link", "lxcbr0"),
        ("lxc.net.1.mtu", "1400"),
    ];
    assert_eq!(said(&two).1, "lxc.net.0.script.up, lxc.net.1");
    let (plan, dropped) = said(&[("lxc.net.0.mtu", "67")]);
    assert_eq!((plan.mtu, dropped.as_str()), (None, "lxc.net.0.mtu"), "pasta would not start");
}

#[test]
fn root_is_told_why_there_is_no_user_mode() {
    let decide = |lines: &[(&'static str, &'static str)]| {
        let root = Caller { uid: HostUid(0), gid: HostGid(0), name: Some("root".into()) };
        decide_for(root, asked(lines), &host(None, None))
    };
    let refused = decide(&VETH).unwrap_err();
    assert!(refused.to_string().contains("there is no bridge lxcbr0, and containers of root's"), "{refused}");
    let (plan, notes) = decide(&[]).unwrap();
    assert_eq!(plan, NetworkPlan::Loopback);
    assert!(notes[0].contains("pasta and slirp4netns become nobody"), "{notes:?}");
}

#[test]
fn what_only_the_defaults_ask_for_one_run_is_missed_aloud() {
    let by_default = || Asked { by_default: true, ..veth(&[]) };
    assert_eq!(rung(by_default(), &host(Some(bridge()), pasta())), "veth on lxcbr0");
    let NetworkPlan::UserMode(user) = decide(by_default(), &host(None, pasta())).unwrap() else {
        panic!("another network")
    };
    assert!(!user.is_asked_for);
    let (plan, notes) = decide_with_notes(by_default(), &host(None, None)).unwrap();
    assert_eq!(plan, NetworkPlan::Loopback);
    assert!(notes[0].starts_with("web has no network: there is no bridge lxcbr0, and neither"), "{notes:?}");
    assert!(notes[0].ends_with("only loopback; --net host shares this machine's"), "{notes:?}");
}

#[test]
fn names_are_given_or_the_first_that_are_free() {
    let more = [
        ("lxc.net.1.type", "veth"),
        ("lxc.net.1.link", "lxcbr0"),
        ("lxc.net.1.name", "eth0"),
        ("lxc.net.5.type", "veth"),
        ("lxc.net.5.link", "lxcbr0"),
    ];
    let plan = decide(veth(&more), &host(Some(bridge()), None)).unwrap();
    let names: Vec<_> = plan.devices().iter().map(|device| (device.index, device.name.as_str())).collect();
    assert_eq!(names, [(0, "eth1"), (1, "eth0"), (5, "eth2")]);
}

#[test]
fn an_address_that_is_left_to_chance_is_the_same_at_each_start_and_of_one_device() {
    let of = |machine: &[u8], name: &str, index, given: Option<&str>| {
        let place = Place { lxcpath: "/lxc".into(), name: name.parse().unwrap() };
        hwaddr(given.map(|given| given.parse().unwrap()), machine, &place, index)
    };
    let first = of(b"one", "web", 0, None);
    assert_eq!(first, of(b"one", "web", 0, None));
    assert_eq!(first[0] & 3, 2, "not locally administered, or of many");
    for other in [of(b"two", "web", 0, None), of(b"one", "db", 0, None), of(b"one", "web", 1, None)] {
        assert_ne!(first, other);
    }
    let filled = of(b"one", "web", 0, Some("10:66:6a:xx:xx:xx"));
    assert_eq!((&filled[..3], &filled[3..]), (&[0x10, 0x66, 0x6a][..], &first[3..]));
    assert_eq!(of(b"one", "web", 0, Some("10:66:6a:01:02:03")), [0x10, 0x66, 0x6a, 1, 2, 3]);
}

#[test]
fn gateways_are_addresses_the_bridge_or_the_device() {
    let gateway = |value| device(veth(&[("lxc.net.0.ipv4.gateway", value)])).gateways;
    assert_eq!(gateway("10.0.3.254"), [GatewayPlan::By(Ipv4Addr::new(10, 0, 3, 254).into())]);
    assert_eq!(gateway("auto"), [GatewayPlan::By(Ipv4Addr::new(10, 0, 3, 1).into())]);
    assert_eq!(gateway("dev"), [GatewayPlan::DeviceV4]);
    let auto = decide(veth(&[("lxc.net.0.ipv6.gateway", "auto")]), &host(Some(bridge()), None)).unwrap_err();
    assert!(auto.to_string().contains("lxcbr0 has no IPv6 address"), "{auto}");
}

#[test]
fn all_that_no_user_can_have_is_refused_at_once() {
    let lines = [
        ("lxc.net.0.type", "phys"),
        ("lxc.net.1.type", "veth"),
        ("lxc.net.1.link", "a/b"),
        ("lxc.net.1.hwaddr", "01:66:6a:xx:xx:xx"),
        ("lxc.net.1.ipv4.gateway", "10.0.0.1"),
        ("lxc.net.1.name", "eth9"),
        ("lxc.net.2.type", "veth"),
        ("lxc.net.2.veth.mode", "router"),
        ("lxc.net.2.name", "eth9"),
    ];
    let mut config = Config::default();
    lines.iter().for_each(|(key, value)| config.set(key, value).unwrap());
    let keys: Vec<String> = refused(&config).into_iter().map(|refused| refused.key).collect();
    let expected = [
        "lxc.net.0.type",
        "lxc.net.1.link",
        "lxc.net.1.hwaddr",
        "lxc.net.1.ipv4.gateway",
        "lxc.net.2.type",
        "lxc.net.2.veth.mode",
        "lxc.net.2.name",
    ];
    assert_eq!(keys, expected);
    let error = decide(asked(&lines), &host(Some(bridge()), pasta())).unwrap_err();
    assert_eq!((error.kind(), error.to_string().lines().count()), (Kind::Config, 7));
}

#[test]
fn what_needs_rights_over_the_host_is_said_and_left_out() {
    let asked = veth(&[("lxc.net.0.veth.vlan.id", "7"), ("lxc.net.0.l2proxy", "1")]);
    let (_, notes) = decide_with_notes(asked, &host(Some(bridge()), None)).unwrap();
    let keys: Vec<&str> = notes.iter().filter_map(|note| note.split(':').next()).collect();
    assert_eq!(keys, ["lxc.net.0.veth.vlan.id", "lxc.net.0.l2proxy"]);
}

/// Values of device keys that do nothing, since a value is of the key's own kind.
const SAMPLES: [&str; 6] = ["1", "7", "10.0.9.0/24", "fd00::/64", "bridge", "l2"];

#[test]
fn every_key_of_a_device_that_does_nothing_is_said() {
    let mut said = 0;
    for item in config::keys::DEVICE_KEYS {
        use config::keys::Unprivileged::{Never, NotYet, Unused};
        if !matches!(item.unprivileged, Never { .. } | NotYet(_) | Unused(_)) {
            continue;
        }
        said += 1;
        let part = item.name.trim_start_matches("lxc.net.N.");
        let key: &'static str = format!("lxc.net.0.{part}").leak();
        let kind =
            ["macvlan", "ipvlan", "vlan"].into_iter().find(|kind| part.starts_with(&format!("{kind}.")));
        let sample = SAMPLES.into_iter().find(|sample| Config::default().set(key, sample).is_ok());
        let asked = veth(&[("lxc.net.0.type", kind.unwrap_or("veth")), (key, sample.unwrap_or_default())]);
        let words = match decide_with_notes(asked, &host(Some(bridge()), None)) {
            Ok((_, notes)) => notes.concat(),
            Err(refused) => refused.to_string(),
        };
        let named = kind.map_or(key.to_owned(), |kind| format!("lxc.net.0.type = {kind}"));
        assert!(words.contains(&named), "{key} = {sample:?}: {words}");
    }
    assert!(said > 8, "{said}");
}

#[test]
fn names_in_user_mode_are_asked_of_the_program_unless_an_entry_says_otherwise() {
    let plan = decide(veth(&[("lxc.net.0.name", "wan0")]), &host(None, pasta())).unwrap();
    let NetworkPlan::UserMode(user_mode) = &plan else { panic!("{plan:?}") };
    assert_eq!(user_mode.name, "wan0");
    assert_eq!(user_mode.resolv_conf, "nameserver 169.254.1.53\nsearch example.org\n");
    let place = Place { lxcpath: "/lxc".into(), name: "web".parse().unwrap() };
    let own = resolv_conf(&plan, &place, &[]).unwrap();
    assert_eq!(own.target, Path::new("etc/resolv.conf"));
    assert_eq!(resolv_conf(&plan, &place, &[own]), None);
    assert_eq!(resolv_conf(&NetworkPlan::Loopback, &place, &[]), None);
    let bridged = |facts| resolv_conf(&decide(asked(&[]), &facts).unwrap(), &place, &[]);
    assert!(bridged(host(Some(bridge()), pasta())).is_some(), "it may come to user mode");
    assert_eq!(bridged(host(Some(bridge()), None)), None);
}
