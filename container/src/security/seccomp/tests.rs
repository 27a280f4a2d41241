//! The compiler against an interpreter of what the kernel does, and the shipped profiles against what they promise.

use super::*;
use crate::security::interpret::{Made, run};
use config::seccomp::{Action, ArgTest, Comparison, Rule};

const ALLOW: u32 = 0x7fff_0000;
const KILL: u32 = 0x8000_0000;
const ABIS: [Abi; 5] = [Abi::X8664, Abi::X86, Abi::Aarch64, Abi::Arm, Abi::Riscv64];

fn errno(number: u32) -> u32 {
    0x0005_0000 | number
}

fn profile(text: &str) -> Profile {
    config::seccomp::parse(text, Path::new("/p")).unwrap()
}

/// What a program of `profiles` answers to a call by name.
fn answer(profiles: &[&Profile], abi: Abi, name: &str, args: [u64; 6]) -> u32 {
    let program = compile(profiles, &ABIS).unwrap();
    let number = abi.number(name).unwrap();
    run(&program, &Made { number, architecture: abi.audit_number(), args })
}

#[test]
fn the_baseline_refuses_in_every_way_to_call() {
    let baseline = shipped(share::BASELINE).unwrap();
    let one = |abi, name, args| answer(&[&baseline], abi, name, args);
    for abi in ABIS {
        assert_eq!(one(abi, "keyctl", [0; 6]), errno(38));
        assert_eq!(one(abi, "bpf", [0; 6]), errno(38));
        assert_eq!(one(abi, "finit_module", [0; 6]), errno(1));
        assert_eq!(one(abi, "socket", [38, 5, 0, 0, 0, 0]), errno(97));
        assert_eq!(one(abi, "socket", [1, 1, 0, 0, 0, 0]), ALLOW);
        assert_eq!(one(abi, "ioctl", [0, 0x5412, 0, 0, 0, 0]), errno(1));
        assert_eq!(one(abi, "ioctl", [0, 0x5413, 0, 0, 0, 0]), ALLOW);
        assert_eq!(one(abi, "umount2", [0, 1 | 2, 0, 0, 0, 0]), errno(13));
        assert_eq!(one(abi, "umount2", [0, 2, 0, 0, 0, 0]), ALLOW);
        assert_eq!(one(abi, "read", [0; 6]), ALLOW);
    }
    // CVE-2019-7303: the kernel looks at 32 bits of the request.
    assert_eq!(one(Abi::X8664, "ioctl", [0, 0xdead_0000_5412, 0, 0, 0, 0]), errno(1));
    assert_eq!(one(Abi::X8664, "socket", [0xbeef_0000_0026, 5, 0, 0, 0, 0]), errno(97));
    assert_eq!(one(Abi::X86, "socketcall", [1, 0, 0, 0, 0, 0]), errno(38));
    assert_eq!(one(Abi::X86, "socketcall", [3, 0, 0, 0, 0, 0]), ALLOW);
}

#[test]
fn what_is_refused_is_so_in_every_way_to_call() {
    let refused = refusing(&["add_key", "keyctl", "request_key"]);
    for abi in ABIS {
        for name in ["add_key", "keyctl", "request_key"] {
            assert_eq!(answer(&[&refused], abi, name, [0; 6]), errno(1), "{name}");
        }
        assert_eq!(answer(&[&refused], abi, "read", [0; 6]), ALLOW);
    }
    let program = refuse(&["keyctl"]).unwrap().program;
    let own = compile(&[&refusing(&["keyctl"])], Abi::native()).unwrap();
    assert_eq!(program, own.iter().map(stored).collect::<Vec<_>>());
}

#[test]
fn calls_of_x32_and_of_unknown_architectures_are_not_there() {
    let baseline = shipped(share::BASELINE).unwrap();
    let program = compile(&[&baseline], &[Abi::X8664, Abi::X86]).unwrap();
    let made = |number, architecture| run(&program, &Made { number, architecture, args: [0; 6] });
    let x86_64 = Abi::X8664.audit_number();
    assert_eq!(made(0, x86_64), ALLOW);
    assert_eq!(made(0x4000_0000, x86_64), errno(38));
    assert_eq!(made(0x4000_0000 + 250, x86_64), errno(38));
    assert_eq!(made(0, Abi::Aarch64.audit_number()), errno(38));
}

#[test]
fn a_32_bit_container_may_use_its_only_way_to_make_sockets() {
    let baseline = baseline(true).unwrap();
    assert_eq!(answer(&[&baseline], Abi::X86, "socketcall", [1, 0, 0, 0, 0, 0]), ALLOW);
    assert_eq!(answer(&[&baseline], Abi::X86, "socket", [38, 0, 0, 0, 0, 0]), errno(97));
}

#[test]
fn with_one_id_owners_are_changed_in_name_only() {
    let (one, baseline) = (shipped(share::ONE_ID).unwrap(), shipped(share::BASELINE).unwrap());
    let with = |name| answer(&[&one, &baseline], Abi::X8664, name, [0; 6]);
    for name in ["chown", "fchownat", "setresuid", "setgroups", "capset"] {
        assert_eq!(with(name), errno(0), "{name}");
    }
    assert_eq!(answer(&[&one, &baseline], Abi::X86, "chown32", [0; 6]), errno(0));
    assert_eq!((with("keyctl"), with("chmod")), (errno(38), ALLOW));
}

#[test]
fn where_pids_are_shared_others_keep_their_limits_and_their_share_of_the_machine() {
    /// In the upper half of an argument of which the kernel looks at the lower one.
    const GARBAGE: u64 = 1 << 32;
    let (shared, baseline) = (shipped(share::SHARED_PIDS).unwrap(), shipped(share::BASELINE).unwrap());
    let call =
        |abi, name, args: [u64; 2]| answer(&[&shared, &baseline], abi, name, [args[0], args[1], 0, 0, 0, 0]);
    for abi in [Abi::X8664, Abi::X86] {
        let garbage: &[u64] = if abi.is_64bit() { &[0, GARBAGE] } else { &[0] };
        for name in
            ["prlimit64", "sched_setaffinity", "sched_setscheduler", "sched_setparam", "sched_setattr"]
        {
            assert_eq!(call(abi, name, [0, 7]), ALLOW, "{name}");
            garbage.iter().for_each(|more| assert_eq!(call(abi, name, [17 | more, 7]), errno(1), "{name}"));
        }
        for (name, one, group, user) in [("setpriority", 0, 1, 2), ("ioprio_set", 1, 2, 3)] {
            for which in [one, group] {
                assert_eq!((call(abi, name, [which, 0]), call(abi, name, [which, 17])), (ALLOW, errno(1)));
            }
            garbage.iter().for_each(|more| assert_eq!(call(abi, name, [user | more, 0]), errno(1), "{name}"));
        }
    }
    let of = |shares_pids| {
        let circumstances = Circumstances { shares_pids, ..Circumstances::default() };
        decide(&Config::default(), circumstances, false, &mut Vec::new()).unwrap().len()
    };
    assert!(of(true) > of(false));
}

#[test]
fn every_name_of_the_shipped_profiles_is_a_call_somewhere() {
    for file in [share::BASELINE, share::ONE_ID, share::SECCOMP, share::SHARED_PIDS] {
        for rule in shipped(file).unwrap().rules {
            let Call::Name(name) = &rule.call else { panic!("{}: a number", file.name) };
            let known = ABIS.iter().any(|abi| abi.is_in(rule.section) && abi.number(name).is_some());
            assert!(known, "{}: {name}", file.name);
        }
    }
}

#[test]
fn numbers_of_version_1_count_on_the_own_architecture_alone() {
    let one = profile("1\nallowlist\n0\n");
    let native = Abi::native()[0];
    let program = compile(&[&one], &ABIS).unwrap();
    let of = |abi: Abi| run(&program, &Made { number: 0, architecture: abi.audit_number(), args: [0; 6] });
    assert_eq!(of(native), ALLOW);
    assert!(ABIS.iter().filter(|abi| **abi != native).all(|abi| of(*abi) == KILL));
}

#[test]
fn a_rule_without_conditions_decides_alone_and_an_earlier_profile_before_a_later_one() {
    let both = profile("2\ndenylist\nioctl errno 1 [1,7,==]\nioctl errno 2\n");
    assert_eq!(answer(&[&both], Abi::X8664, "ioctl", [0, 7, 0, 0, 0, 0]), errno(2));
    let earlier = profile("2\ndenylist\nioctl errno 3 [1,7,==]\n");
    assert_eq!(answer(&[&earlier, &both], Abi::X8664, "ioctl", [0, 7, 0, 0, 0, 0]), errno(3));
    assert_eq!(answer(&[&earlier, &both], Abi::X8664, "ioctl", [0, 8, 0, 0, 0, 0]), errno(2));
}

#[test]
fn notify_is_refused() {
    let one = profile("2\ndenylist\nmknod notify\n");
    assert!(compile(&[&one], &ABIS).unwrap_err().to_string().contains("supervisor"));
}

/// The values that halves and signs go wrong at.
const EDGES: [u64; 12] = [
    0,
    1,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_fffe,
    0xffff_ffff,
    0x1_0000_0000,
    0x1_0000_0001,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    0xffff_ffff_0000_0000,
    u64::MAX,
];

fn holds(test: &ArgTest, arg: u64, abi: Abi) -> bool {
    let cut = |number: u64| if abi.is_64bit() { number } else { number & 0xffff_ffff };
    let (arg, value) = (cut(arg), cut(test.value));
    match test.comparison {
        Comparison::NotEqual => arg != value,
        Comparison::Less => arg < value,
        Comparison::LessOrEqual => arg <= value,
        Comparison::Equal => arg == value,
        Comparison::GreaterOrEqual => arg >= value,
        Comparison::Greater => arg > value,
        Comparison::Masked { mask } => arg & cut(mask) == value & cut(mask),
    }
}

#[test]
fn every_comparison_is_right_at_every_edge() {
    let plain = [
        Comparison::NotEqual,
        Comparison::Less,
        Comparison::LessOrEqual,
        Comparison::Equal,
        Comparison::GreaterOrEqual,
        Comparison::Greater,
    ];
    let comparisons = plain.into_iter().chain(EDGES.map(|mask| Comparison::Masked { mask }));
    for comparison in comparisons {
        for value in EDGES {
            let test = ArgTest { index: 2, comparison, value };
            let rule = Rule {
                section: Section::All,
                call: Call::Name("fcntl".to_owned()),
                args: vec![test],
                action: Action::Errno(7),
                line: 3,
            };
            let profile = Profile { default: Action::Allow, rules: vec![rule] };
            let program = compile(&[&profile], &ABIS).unwrap();
            for abi in [Abi::X8664, Abi::X86] {
                let number = abi.number("fcntl").unwrap();
                for arg in EDGES.into_iter().filter(|arg| abi.is_64bit() || *arg <= 0xffff_ffff) {
                    let made = Made { number, architecture: abi.audit_number(), args: [0, 0, arg, 0, 0, 0] };
                    let expected = if holds(&test, arg, abi) { errno(7) } else { ALLOW };
                    assert_eq!(run(&program, &made), expected, "{test:?} of {arg:#x} on {abi:?}");
                }
            }
        }
    }
}

/// A program much longer than a conditional jump reaches.
#[test]
fn long_profiles_find_every_call() {
    let listed: Vec<u32> = (0..400).filter(|n| n % 3 != 0).collect();
    let rules = listed.iter().map(|number| Rule {
        section: Section::All,
        call: Call::Number(*number),
        args: vec![ArgTest { index: 0, comparison: Comparison::Equal, value: u64::from(*number) << 32 }],
        action: Action::Errno((*number % 100) as u16 + 1),
        line: 3,
    });
    let profile = Profile { default: Action::Kill, rules: rules.collect() };
    let native = Abi::native()[0];
    let program = compile(&[&profile], &[native]).unwrap();
    assert!(program.len() > 1000, "{} instructions", program.len());
    for number in 0..450 {
        for arg in [u64::from(number) << 32, 1] {
            let made = Made { number, architecture: native.audit_number(), args: [arg, 0, 0, 0, 0, 0] };
            let hit = listed.contains(&number) && arg == u64::from(number) << 32;
            let expected = if hit { errno(number % 100 + 1) } else { KILL };
            assert_eq!(run(&program, &made), expected, "{number} {arg:#x}");
        }
    }
}

#[test]
fn a_section_counts_for_every_way_to_call_its_machines() {
    for (section, counts) in [
        ("x86_64", [Abi::X8664, Abi::X86]),
        ("x86", [Abi::X8664, Abi::X86]),
        ("x32", [Abi::X8664, Abi::X86]),
        ("ARM", [Abi::Aarch64, Abi::Arm]),
        ("arm64", [Abi::Aarch64, Abi::Arm]),
    ] {
        let profile = profile(&format!("2\ndenylist\n[{section}]\nptrace errno 1\n"));
        let refused = ABIS.into_iter().filter(|abi| answer(&[&profile], *abi, "ptrace", [0; 6]) == errno(1));
        assert_eq!(refused.collect::<Vec<_>>(), counts, "{section}");
    }
}

#[test]
fn names_that_are_no_calls_are_noted_with_their_lines_and_what_was_meant() {
    let own = profile(
        "2\ndenylist\nkeyclt errno 1\nread errno 1\n[mips]\nno_call\n[all]\ns390_runtime_instr kill\n",
    );
    let said = "lxc.seccomp.profile: /p:3: there is no system call 'keyclt', so the line has no effect; write keyctl";
    assert_eq!(misspelt(&own, Path::new("/p")), [said]);
    let many = profile(&format!("2\ndenylist\n{}", "no_call_at_all\n".repeat(30)));
    let told = misspelt(&many, Path::new("/p"));
    assert_eq!(
        (told.len(), told[10].as_str()),
        (11, "lxc.seccomp.profile: /p: 20 more lines are about no system call")
    );
}

#[test]
fn a_profile_of_the_user_takes_the_place_of_the_baseline_and_lxcs_own_does_not() {
    let dir = std::env::temp_dir().join(format!("seccomp-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let file = dir.join("own.seccomp");
    std::fs::write(&file, "2\ndenylist\nacct errno 1\n").unwrap();
    let of = |path: Option<&Path>| {
        let config = Config { seccomp_profile: path.map(Path::to_owned), ..Config::default() };
        decide(&config, Circumstances::default(), false, &mut Vec::new())
    };
    assert_eq!(of(None).unwrap().profile, "baseline");
    let common = of(Some(Path::new("/usr/share/lxc/config/common.seccomp"))).unwrap();
    assert_eq!(common, of(None).unwrap());
    let own = of(Some(&file)).unwrap();
    assert!(own.len() < common.len() && own.profile.ends_with("own.seccomp"));
    std::fs::write(&file, "2\ndenylist\nactc errno 1\n").unwrap();
    let config = Config { seccomp_profile: Some(file.clone()), ..Config::default() };
    let mut notes = Vec::new();
    decide(&config, Circumstances::default(), false, &mut notes).unwrap();
    assert!(notes.len() == 1 && notes[0].ends_with("write acct"), "{notes:?}");
    std::fs::write(&file, "2\ndenylist\nacct errno x\nbpf what\n").unwrap();
    let refused = of(Some(&file)).unwrap_err();
    assert!(refused.kind() == Kind::Config && refused.to_string().contains("own.seccomp:4"), "{refused}");
    let missing = of(Some(&dir.join("none"))).unwrap_err().to_string();
    assert!(missing.contains("/none: No such file"), "{missing}");
    std::fs::remove_dir_all(&dir).unwrap();
}
