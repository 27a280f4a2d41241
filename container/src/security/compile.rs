//! From profiles to the program that the kernel runs at every system call.
//!
//! ```text
//! architecture? -> x32? -> binary search for the number -> conditions on arguments -> what to answer
//! ```
//! Most calls are in no profile, and cost about seven comparisons; the kernel remembers the ones that are always allowed.

use std::collections::BTreeMap;

use config::seccomp::{Action, ArgTest, Call, Comparison, Profile, Rule};
use sys::seccomp::{Instruction, MAX_INSTRUCTIONS};

use super::abi::{Abi, X32_BIT};
use super::assemble::{AND, Assembler, JUMP_EQUAL, JUMP_GREATER, JUMP_GREATER_OR_EQUAL, LOAD, Label};
use crate::error::{Error, Kind, Result};

/// Where seccomp_data has the number of the call, the architecture and the low half of the first argument. Source:
/// linux/seccomp.h; all architectures here are little-endian.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// What the kernel does. Source: linux/seccomp.h, SECCOMP_RET_*.
const ALLOW: u32 = 0x7fff_0000;
const ERRNO: u32 = 0x0005_0000;
const TRAP: u32 = 0x0003_0000;
const KILL_PROCESS: u32 = 0x8000_0000;
const NO_SUCH_CALL: u32 = ERRNO | 38;

/// Compiles profiles to one program for all calling conventions `abis`. Of two profiles that are about the same call the
/// earlier one decides, and the later one where no condition of the earlier one holds. What none is about gets the default
/// of the last.
///
/// Calls of another architecture, and of x32, which distributions do not use, answer ENOSYS.
///
/// # Errors
/// A program that is too long for the kernel, or an action that asks a supervisor.
pub(super) fn compile(profiles: &[&Profile], abis: &[Abi]) -> Result<Vec<Instruction>> {
    let default = profiles.last().map_or(Action::Allow, |last| last.default);
    let mut program = Assembler::default();
    let default = program.give(value(default)?);
    let unknown = program.give(NO_SUCH_CALL);
    let mut next = unknown;
    let mut entries = Vec::new();
    for abi in abis.iter().rev() {
        entries.push((*abi, convention(&mut program, profiles, *abi, default, unknown)?));
    }
    for (abi, entry) in entries {
        next = program.branch(JUMP_EQUAL, abi.audit_number(), entry, next);
    }
    program.act(LOAD, ARCHITECTURE, next);
    let program = program.finish();
    match program.len() {
        0..=MAX_INSTRUCTIONS => Ok(program),
        len => {
            let cause =
                format!("lxc.seccomp.profile: {len} instructions, the kernel takes {MAX_INSTRUCTIONS}");
            Err(Error::new(Kind::Config, cause))
        }
    }
}

fn value(action: Action) -> Result<u32> {
    match action {
        Action::Allow => Ok(ALLOW),
        Action::Errno(errno) => Ok(ERRNO | u32::from(errno)),
        Action::Trap => Ok(TRAP),
        Action::Kill => Ok(KILL_PROCESS),
        Action::Notify => {
            let cause = "lxc.seccomp.profile: notify asks a supervisor, and there is none";
            Err(Error::new(Kind::Config, cause))
        }
    }
}

/// Writes the part for one calling convention.
fn convention(
    program: &mut Assembler,
    profiles: &[&Profile],
    abi: Abi,
    default: Label,
    unknown: Label,
) -> Result<Label> {
    let mut calls = Vec::new();
    for (number, rules) in rules_by_number(profiles, abi) {
        calls.push((number, call(program, &rules, abi, default)?));
    }
    let mut start = search(program, &calls, default);
    if abi == Abi::X8664 {
        start = program.branch(JUMP_GREATER_OR_EQUAL, X32_BIT, unknown, start);
    }
    Ok(program.act(LOAD, NUMBER, start))
}

/// Returns the rules about each call, in the order in which they are tried. In one profile a rule without conditions
/// decides alone about its call, wherever it stands, as in LXC.
fn rules_by_number<'a>(profiles: &[&'a Profile], abi: Abi) -> BTreeMap<u32, Vec<&'a Rule>> {
    let mut all: BTreeMap<u32, Vec<&Rule>> = BTreeMap::new();
    for profile in profiles {
        let mut own: BTreeMap<u32, Vec<&Rule>> = BTreeMap::new();
        for rule in profile.rules.iter().filter(|rule| abi.is_in(rule.section)) {
            if let Some(number) = number(&rule.call, abi) {
                own.entry(number).or_default().push(rule);
            }
        }
        for (number, rules) in own {
            let earlier = all.entry(number).or_default();
            match rules.iter().find(|rule| rule.args.is_empty()) {
                Some(alone) => earlier.push(alone),
                None => earlier.extend(rules),
            }
        }
    }
    all
}

/// Returns a call's number. Numbers of a profile count on the kernel's own architecture.
fn number(call: &Call, abi: Abi) -> Option<u32> {
    match call {
        Call::Name(name) => abi.number(name),
        Call::Number(number) => (Some(&abi) == Abi::native().first()).then_some(*number),
    }
}

/// Writes the decision about one call.
fn call(program: &mut Assembler, rules: &[&Rule], abi: Abi, default: Label) -> Result<Label> {
    let mut next = default;
    for rule in rules.iter().rev() {
        let answer = program.give(value(rule.action)?);
        next =
            rule.args.iter().rev().fold(answer, |passed, test| condition(program, test, abi, passed, next));
    }
    Ok(next)
}

/// Writes the search for a number among sorted ones.
fn search(program: &mut Assembler, calls: &[(u32, Label)], default: Label) -> Label {
    match calls {
        [] => default,
        [(number, label)] => program.branch(JUMP_EQUAL, *number, *label, default),
        _ => {
            let (low, high) = calls.split_at(calls.len() / 2);
            let (high_start, low_start) = (search(program, high, default), search(program, low, default));
            program.branch(JUMP_GREATER_OR_EQUAL, high[0].0, high_start, low_start)
        }
    }
}

/// Writes a condition on an argument, by halves: BPF has 32 bits.
fn condition(program: &mut Assembler, test: &ArgTest, abi: Abi, yes: Label, no: Label) -> Label {
    let value = Halves::of(test.value);
    let (order, yes, no) = match test.comparison {
        Comparison::Masked { mask } => return masked(program, test, Halves::of(mask), abi, yes, no),
        Comparison::Equal => (JUMP_EQUAL, yes, no),
        Comparison::NotEqual => (JUMP_EQUAL, no, yes),
        Comparison::GreaterOrEqual => (JUMP_GREATER_OR_EQUAL, yes, no),
        Comparison::Less => (JUMP_GREATER_OR_EQUAL, no, yes),
        Comparison::Greater => (JUMP_GREATER, yes, no),
        Comparison::LessOrEqual => (JUMP_GREATER, no, yes),
    };
    let low = program.branch(order, value.low, yes, no);
    let low = program.act(LOAD, low_of(test.index), low);
    if !abi.is_64bit() {
        return low;
    }
    let decided = program.branch(JUMP_EQUAL, value.high, low, no);
    let high = match order {
        JUMP_EQUAL => decided,
        _ => program.branch(JUMP_GREATER, value.high, yes, decided),
    };
    program.act(LOAD, low_of(test.index) + 4, high)
}

fn masked(program: &mut Assembler, test: &ArgTest, mask: Halves, abi: Abi, yes: Label, no: Label) -> Label {
    let value = Halves::of(test.value);
    let equal = program.branch(JUMP_EQUAL, value.low & mask.low, yes, no);
    let and = program.act(AND, mask.low, equal);
    let low = program.act(LOAD, low_of(test.index), and);
    if !abi.is_64bit() || mask.high == 0 {
        return low;
    }
    let equal = program.branch(JUMP_EQUAL, value.high & mask.high, low, no);
    let and = program.act(AND, mask.high, equal);
    program.act(LOAD, low_of(test.index) + 4, and)
}

/// Returns where seccomp_data has the low half of an argument.
fn low_of(index: u8) -> u32 {
    ARGUMENTS + 8 * u32::from(index)
}

/// A number in two halves.
#[derive(Clone, Copy, Debug)]
struct Halves {
    high: u32,
    low: u32,
}

impl Halves {
    fn of(number: u64) -> Self {
        Self { high: (number >> 32) as u32, low: number as u32 }
    }
}
