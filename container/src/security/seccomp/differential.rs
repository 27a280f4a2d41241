//! The compiler against libseccomp, which LXC uses: the same profiles, and the same answers to every call.
//!
//! `cargo test -p container --features libseccomp differential`, with the C library installed.

use std::io::{Read, Seek};

use config::seccomp::{Action, ArgTest, Comparison, Rule};
use libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};

use super::*;
use crate::security::interpret::{Made, run};

/// The architecture of a filter of libseccomp, for the two that x86 machines run.
const ABIS: [(Abi, ScmpArch); 2] = [(Abi::X8664, ScmpArch::X8664), (Abi::X86, ScmpArch::X86)];

fn action(action: Action) -> ScmpAction {
    match action {
        Action::Allow => ScmpAction::Allow,
        Action::Errno(errno) => ScmpAction::Errno(errno.into()),
        // LXC: ends the thread alone.
        Action::Kill => ScmpAction::KillProcess,
        Action::Trap => ScmpAction::Trap,
        Action::Notify => ScmpAction::Notify,
    }
}

fn comparison(test: &ArgTest) -> ScmpArgCompare {
    let operation = match test.comparison {
        Comparison::NotEqual => ScmpCompareOp::NotEqual,
        Comparison::Less => ScmpCompareOp::Less,
        Comparison::LessOrEqual => ScmpCompareOp::LessOrEqual,
        Comparison::Equal => ScmpCompareOp::Equal,
        Comparison::GreaterOrEqual => ScmpCompareOp::GreaterEqual,
        Comparison::Greater => ScmpCompareOp::Greater,
        Comparison::Masked { mask } => ScmpCompareOp::MaskedEqual(mask),
    };
    ScmpArgCompare::new(test.index.into(), operation, test.value)
}

/// What libseccomp makes of a profile for one architecture.
fn theirs(profile: &Profile, abi: Abi, arch: ScmpArch) -> Vec<Instruction> {
    let mut context = ScmpFilterContext::new(action(profile.default)).unwrap();
    if arch != ScmpArch::native() {
        context.add_arch(arch).unwrap();
        context.remove_arch(ScmpArch::native()).unwrap();
    }
    for rule in profile.rules.iter().filter(|rule| abi.is_in(rule.section)) {
        let Some(syscall) = syscall(rule, abi) else { continue };
        let tests: Vec<_> = rule.args.iter().map(comparison).collect();
        let answer = action(rule.action);
        // It refuses rules that say what the default says.
        if answer != action(profile.default) {
            context.add_rule_conditional_exact(answer, syscall, &tests).unwrap();
        }
    }
    let mut file = tempfile::tempfile().unwrap();
    context.export_bpf(&file).unwrap();
    file.rewind().unwrap();
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap();
    bytes.chunks_exact(8).map(instruction).collect()
}

/// Returns the call as libseccomp knows it: by the numbers of its own architecture, which it translates.
fn syscall(rule: &Rule, abi: Abi) -> Option<ScmpSyscall> {
    match &rule.call {
        Call::Name(name) => abi.number(name).and_then(|_| ScmpSyscall::from_name(name).ok()),
        Call::Number(number) => {
            (abi == Abi::native()[0]).then(|| ScmpSyscall::from_raw_syscall(*number as i32))
        }
    }
}

/// Source: linux/filter.h, struct sock_filter.
fn instruction(bytes: &[u8]) -> Instruction {
    Instruction {
        code: u16::from_le_bytes([bytes[0], bytes[1]]),
        jump_true: bytes[2],
        jump_false: bytes[3],
        operand: u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
    }
}

/// Numbers at which rules change their mind, for each argument.
fn interesting(profile: &Profile) -> Vec<u64> {
    let values = profile.rules.iter().flat_map(|rule| &rule.args).map(|test| test.value);
    let mut all: Vec<u64> = values
        .chain([0, 1 << 31, 1 << 32, u64::MAX])
        .flat_map(|value| [value.wrapping_sub(1), value, value.wrapping_add(1), value | 1 << 40])
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Compares the answers to every call below 500 with every interesting value in every argument.
fn compare(name: &str, profile: &Profile) -> usize {
    let mut compared = 0;
    for (abi, arch) in ABIS {
        let (ours, theirs) = (compile(&[profile], &[abi]).unwrap(), theirs(profile, abi, arch));
        for number in 0..500 {
            for value in interesting(profile) {
                let value = if abi.is_64bit() { value } else { value & 0xffff_ffff };
                for index in 0..6 {
                    let mut args = [0; 6];
                    args[index] = value;
                    let made = Made { number, architecture: abi.audit_number(), args };
                    assert_eq!(run(&ours, &made), run(&theirs, &made), "{name}: {made:?} on {abi:?}");
                    compared += 1;
                }
            }
        }
    }
    compared
}

fn profile(text: &str) -> Profile {
    config::seccomp::parse(text, Path::new("/p")).unwrap()
}

/// libseccomp writes rules about socket(2) for socketcall(2) of 32-bit x86 as well, so those have a test of their own.
fn without_sockets(mut profile: Profile) -> Profile {
    let sockets = ["socket", "socketpair", "socketcall"].map(|name| Call::Name(name.to_owned()));
    profile.rules.retain(|rule| !sockets.contains(&rule.call));
    profile
}

#[test]
fn the_shipped_profiles_mean_the_same() {
    for file in [share::BASELINE, share::ONE_ID, share::SECCOMP] {
        assert!(compare(file.name, &without_sockets(shipped(file).unwrap())) > 10_000, "{}", file.name);
    }
}

#[test]
fn every_action_and_comparison_means_the_same() {
    for text in [
        "2\nallowlist\nread\nwrite\nexit_group\nfutex\n",
        "2\nallowlist errno 38\nread trap\nwrite errno 5\nkeyctl kill\n",
        "2\ndenylist\nmkdir\n[x86]\nmknod trap\n[x86_64]\nrmdir errno 9\n",
        "1\nwhitelist\n0\n1\n60\n231\n",
    ] {
        compare(text, &profile(text));
    }
    for operation in ["!=", "<", "<=", "==", ">=", ">"] {
        for value in ["0", "7", "0x80000000", "0xffffffff", "0x100000000", "-1"] {
            let text = format!("2\ndenylist\nfcntl errno 7 [1,{value},{operation}]\n");
            compare(&text, &profile(&text));
        }
    }
    for mask in ["0", "0xff", "0xffffffff", "0xffffffff00000000", "-1"] {
        let text = format!("2\ndenylist\nfcntl errno 7 [2,0x1234,&=,{mask}]\n");
        compare(&text, &profile(&text));
    }
}

/// A rule without conditions decides alone, wherever it stands.
#[test]
fn several_rules_about_a_call_mean_the_same() {
    for text in [
        "2\ndenylist\nioctl errno 1 [1,5,==]\nioctl errno 1 [1,6,==]\n",
        "2\ndenylist\nioctl errno 1 [1,5,==] [2,8,>]\nioctl errno 1 [0,6,==]\n",
        "2\ndenylist\nioctl errno 2\nioctl errno 2 [1,6,==]\n",
    ] {
        compare(text, &profile(text));
    }
}
