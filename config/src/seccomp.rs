//! The language of `lxc.seccomp.profile`: which system calls a container may make.
//!
//! Version 1 lists the numbers of allowed calls. Version 2 has a kind of list, sections for architectures and rules:
//!
//! ```text
//! 2
//! denylist
//! reject_force_umount
//! [all]
//! kexec_load errno 1
//! ioctl errno 1 [1,0x5412,SCMP_CMP_MASKED_EQ,0xffffffff]
//! [x86]
//! vm86 kill
//! ```
//!
//! An action behind the kind of list is for the calls that no rule is about: without one a denylist allows them and an
//! allowlist kills. A rule without an action kills in a denylist and allows in an allowlist. Source: LXC's
//! src/lxc/seccomp.c, `parse_config_v2`.
//!
//! Parsing is all that happens here; what the calls are on an architecture is the compiler's business.

use std::path::Path;

use crate::{Fault, Problem, Problems};

/// What is done about a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// It is made.
    Allow,
    /// It is not made and answers this errno (0 to 4095); 0 looks like success.
    Errno(u16),
    /// The process ends.
    Kill,
    /// The process gets SIGSYS.
    Trap,
    /// A supervisor is asked (`lxc.seccomp.notify.proxy`).
    Notify,
}

/// The largest errno that a filter can answer. Source: seccomp(2), SECCOMP_RET_ERRNO.
const MAX_ERRNO: u16 = 4095;

/// On which machines a rule counts.
///
/// A rule counts in every way to call the kernel that the machine has, as in LXC since 4.0: a rule of `[x86_64]` is
/// also one for 32-bit programs, which could go round it else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Section {
    /// All.
    All,
    /// `[x86]`, `[x32]` and `[x86_64]`.
    X86,
    /// `[arm]` and `[arm64]`.
    Arm,
    /// `[riscv64]`
    Riscv64,
    /// One that the language knows and Bryo does not run on; its rules are never used.
    Other,
}

/// Names of sections. LXC: knows each in lower and in upper case.
const SECTIONS: [(&str, Section); 19] = [
    ("all", Section::All),
    ("x86", Section::X86),
    ("x86_64", Section::X86),
    ("x32", Section::X86),
    ("arm", Section::Arm),
    ("arm64", Section::Arm),
    ("riscv64", Section::Riscv64),
    ("loongarch64", Section::Other),
    ("ppc64le", Section::Other),
    ("ppc64", Section::Other),
    ("ppc", Section::Other),
    ("mips64", Section::Other),
    ("mips64n32", Section::Other),
    ("mips", Section::Other),
    ("mipsel64", Section::Other),
    ("mipsel64n32", Section::Other),
    ("mipsel", Section::Other),
    ("s390x", Section::Other),
    ("s390", Section::Other),
];

/// Which call a rule is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// By its name, as the kernel's tables have it.
    Name(String),
    /// By its number on the kernel's own architecture (version 1).
    Number(u32),
}

/// How an argument is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Comparison {
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `==`
    Equal,
    /// `>=`
    GreaterOrEqual,
    /// `>`
    Greater,
    /// `&=`: equal in the bits of the mask.
    Masked {
        /// The bits that count.
        mask: u64,
    },
}

/// Names of comparisons, without the masked one.
const COMPARISONS: [(&str, &str, Comparison); 6] = [
    ("SCMP_CMP_NE", "!=", Comparison::NotEqual),
    ("SCMP_CMP_LT", "<", Comparison::Less),
    ("SCMP_CMP_LE", "<=", Comparison::LessOrEqual),
    ("SCMP_CMP_EQ", "==", Comparison::Equal),
    ("SCMP_CMP_GE", ">=", Comparison::GreaterOrEqual),
    ("SCMP_CMP_GT", ">", Comparison::Greater),
];

/// A condition on one argument of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ArgTest {
    /// Which argument, 0 to 5.
    pub index: u8,
    /// How it is compared.
    pub comparison: Comparison,
    /// With what.
    pub value: u64,
}

/// A rule: the action for a call, if all conditions hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rule {
    /// For which architectures.
    pub section: Section,
    /// The call.
    pub call: Call,
    /// Conditions; none: always.
    pub args: Vec<ArgTest>,
    /// What is done.
    pub action: Action,
    /// The line of the file, from 1.
    pub line: usize,
}

/// A profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// What is done about calls that no rule is about.
    pub default: Action,
    /// The rules, in their order.
    pub rules: Vec<Rule>,
}

/// How many problems of a profile are told.
const MOST_TOLD: usize = 100;

/// Parses a profile.
///
/// # Errors
/// All problems, each at its place in `file`; of very many the first.
pub fn parse(text: &str, file: &Path) -> Result<Profile, Problems> {
    let mut lines = text.lines().enumerate().map(|(at, line)| Line { file, number: at + 1, text: line });
    let first = lines.next().unwrap_or(Line { file, number: 1, text: "" });
    let second = lines.next().unwrap_or(Line { file, number: 2, text: "" });
    let mut parser = match (first.text.trim(), second.bare()) {
        ("1", kind) if is_allowlist(kind) => Parser::version_1(),
        ("1", other) => return Err(Problems(vec![second.problem(Fault::value(other, "allowlist"))])),
        ("2", kind) => Parser::version_2(kind).map_err(|fault| Problems(vec![second.problem(fault)]))?,
        (other, _) => return Err(Problems(vec![first.problem(Fault::value(other, "a version, 1 or 2"))])),
    };
    let problem =
        |line: Line<'_>| parser.line(line.bare(), line.number).err().map(|fault| line.problem(fault));
    let mut problems: Vec<Problem> = lines.filter_map(problem).take(MOST_TOLD + 1).collect();
    if let Some(last) = problems.get_mut(MOST_TOLD) {
        last.fault = Fault::More { told: MOST_TOLD };
    }
    if problems.is_empty() {
        problems.extend(denies_all(&parser, second.bare()).map(|fault| second.problem(fault)));
    }
    if problems.is_empty() { Ok(parser.profile) } else { Err(Problems(problems)) }
}

/// Returns the fault of a denylist whose second line refuses what is not listed, while no line allows anything: its
/// writer took that action for the one of the lines.
fn denies_all(parser: &Parser, second: &str) -> Option<Fault> {
    let Profile { default, rules } = &parser.profile;
    let allows = *default == Action::Allow || rules.iter().any(|rule| rule.action == Action::Allow);
    let (kind, action) = second.split_once(char::is_whitespace)?;
    (!allows && !is_allowlist(kind)).then(|| Fault::Refused {
        value: action.trim().to_owned(),
        why: "here it is for all calls that have no line, and no line allows any".to_owned(),
        instead: Some(format!("write {kind} alone, and the action in each line: NAME {}", action.trim())),
    })
}

/// A line of a profile.
struct Line<'a> {
    file: &'a Path,
    number: usize,
    text: &'a str,
}

impl<'a> Line<'a> {
    /// The line without its comment and the blanks around it.
    fn bare(&self) -> &'a str {
        self.text.split('#').next().unwrap_or("").trim()
    }

    fn problem(&self, fault: Fault) -> Problem {
        let start = self.text.find(|c: char| !c.is_whitespace()).unwrap_or(0);
        Problem::at(self.file, self.number, self.text, start, start, fault)
    }
}

fn is_allowlist(word: &str) -> bool {
    matches!(word, "allowlist" | "whitelist")
}

/// What a line means depends on the lines before it.
struct Parser {
    profile: Profile,
    /// For rules without an action; none for version 1, which has numbers alone.
    usual: Option<Action>,
    section: Section,
}

impl Parser {
    fn version_1() -> Self {
        let profile = Profile { default: Action::Kill, rules: Vec::new() };
        Self { profile, usual: None, section: Section::All }
    }

    /// Reads the second line: the kind of list and, after it, the action for the calls that no rule is about.
    fn version_2(line: &str) -> Result<Self, Fault> {
        let (kind, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let (default, usual) = match kind {
            kind if is_allowlist(kind) => (Action::Kill, Action::Allow),
            "denylist" | "blacklist" => (Action::Allow, Action::Kill),
            other => return Err(Fault::value(other, "allowlist or denylist")),
        };
        let default = if rest.trim().is_empty() { default } else { action(rest.trim())? };
        let profile = Profile { default, rules: Vec::new() };
        Ok(Self { profile, usual: Some(usual), section: Section::All })
    }

    fn line(&mut self, text: &str, number: usize) -> Result<(), Fault> {
        match (text, self.usual) {
            ("", _) => Ok(()),
            (text, None) => self.number(text, number),
            (text, Some(_)) if text.starts_with('[') => self.section(text),
            (text, Some(_)) if text.starts_with("reject_force_umount") => {
                self.profile.rules.push(reject_force_umount(number));
                Ok(())
            }
            (text, Some(usual)) => self.rule(text, usual, number),
        }
    }

    fn number(&mut self, text: &str, line: usize) -> Result<(), Fault> {
        let number = text.parse().map_err(|_| Fault::value(text, "the number of a system call"))?;
        let (section, args) = (self.section, Vec::new());
        self.profile.rules.push(Rule {
            section,
            call: Call::Number(number),
            args,
            action: Action::Allow,
            line,
        });
        Ok(())
    }

    fn section(&mut self, text: &str) -> Result<(), Fault> {
        let name = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        let known = SECTIONS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        let expected = "the name of an architecture, such as [all] or [x86_64]";
        self.section = known.ok_or_else(|| Fault::value(text, expected))?.1;
        Ok(())
    }

    fn rule(&mut self, text: &str, usual: Action, line: usize) -> Result<(), Fault> {
        let (words, groups) = text.split_at(text.find('[').unwrap_or(text.len()));
        let (name, rest) = words.trim().split_once(char::is_whitespace).unwrap_or((words.trim(), ""));
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(is_name) {
            return Err(Fault::value(name, "the name of a system call"));
        }
        let action = if rest.trim().is_empty() { usual } else { action(rest.trim())? };
        let (section, call) = (self.section, Call::Name(name.to_owned()));
        self.profile.rules.push(Rule { section, call, args: arg_tests(groups)?, action, line });
        Ok(())
    }
}

/// Refuses umount2(2) with MNT_FORCE, which can make a network file system lose data for everybody on the host.
fn reject_force_umount(line: usize) -> Rule {
    const MNT_FORCE: u64 = 1;
    const EACCES: u16 = 13;
    let comparison = Comparison::Masked { mask: MNT_FORCE };
    Rule {
        section: Section::All,
        call: Call::Name("umount2".to_owned()),
        args: vec![ArgTest { index: 1, comparison, value: MNT_FORCE }],
        action: Action::Errno(EACCES),
        line,
    }
}

fn action(text: &str) -> Result<Action, Fault> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let errno = |number: &str| number.parse().ok().filter(|errno| *errno <= MAX_ERRNO).map(Action::Errno);
    let known = match words[..] {
        ["allow"] => Some(Action::Allow),
        ["kill"] => Some(Action::Kill),
        ["trap"] => Some(Action::Trap),
        ["notify"] => Some(Action::Notify),
        ["errno", number] => errno(number),
        _ => None,
    };
    known.ok_or_else(|| Fault::value(text, "allow, kill, trap, notify or errno with a number up to 4095"))
}

/// Reads the conditions: `[INDEX,VALUE,COMPARISON]` or `[INDEX,VALUE,&=,MASK]`, one after the other.
fn arg_tests(text: &str) -> Result<Vec<ArgTest>, Fault> {
    let mut tests = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let inside = rest.strip_prefix('[').and_then(|rest| rest.split_once(']'));
        let (group, after) = inside.ok_or_else(|| Fault::value(rest, GROUP))?;
        tests.push(arg_test(group).ok_or_else(|| Fault::value(group, GROUP))?);
        rest = after.trim();
    }
    Ok(tests)
}

const GROUP: &str = "a condition such as [0,38,==] or [1,0x5412,&=,0xffffffff]";

fn arg_test(group: &str) -> Option<ArgTest> {
    let fields: Vec<&str> = group.split(',').map(str::trim).collect();
    let [index, value, comparison, mask @ ..] = &fields[..] else { return None };
    let comparison = match (*comparison, mask) {
        ("SCMP_CMP_MASKED_EQ" | "&=", [mask]) => Comparison::Masked { mask: number(mask)? },
        (name, [] | [_]) => COMPARISONS.iter().find(|(long, short, _)| name == *long || name == *short)?.2,
        _ => return None,
    };
    let index = index.parse().ok().filter(|index| *index < 6)?;
    Some(ArgTest { index, comparison, value: number(value)? })
}

/// Reads a number as strtoll(3) with base 0 does: hexadecimal after `0x`, octal after `0`, with or without a sign.
fn number(text: &str) -> Option<u64> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
    let value = if let Some(hex) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        u64::from_str_radix(hex, 16).ok()?
    } else if digits.len() > 1 && digits.starts_with('0') {
        u64::from_str_radix(digits, 8).ok()?
    } else {
        digits.parse().ok()?
    };
    Some(if negative { value.wrapping_neg() } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Profile {
        parse(text, Path::new("/p")).unwrap()
    }

    fn refused(text: &str) -> String {
        parse(text, Path::new("/p")).unwrap_err().to_string()
    }

    fn name(text: &str) -> Call {
        Call::Name(text.to_owned())
    }

    #[test]
    fn version_1_allows_numbers_and_kills_the_rest() {
        let profile = read("1\nwhitelist\n0\n1\n\n231\n");
        assert_eq!(profile.default, Action::Kill);
        let calls: Vec<_> = profile.rules.iter().map(|rule| (rule.call.clone(), rule.action)).collect();
        assert_eq!(calls, [0, 1, 231].map(|number| (Call::Number(number), Action::Allow)));
        assert!(refused("1\ndenylist\n1\n").starts_with("/p:2:1: 'denylist' is not allowlist"));
    }

    #[test]
    fn the_second_line_says_what_happens_to_calls_that_are_not_listed() {
        let errno = Action::Errno;
        for (head, default, usual) in [
            ("allowlist", Action::Kill, Action::Allow),
            ("whitelist errno 38", errno(38), Action::Allow),
            ("denylist", Action::Allow, Action::Kill),
            ("denylist allow", Action::Allow, Action::Kill),
            ("blacklist errno 1", errno(1), Action::Kill),
        ] {
            let profile = read(&format!("2\n{head}\nbpf\nacct errno 2\nread allow\n"));
            let actions: Vec<Action> = profile.rules.iter().map(|rule| rule.action).collect();
            assert_eq!((profile.default, actions), (default, vec![usual, errno(2), Action::Allow]), "{head}");
        }
    }

    #[test]
    fn a_denylist_that_would_deny_all_is_refused_with_what_to_write() {
        let said = refused("2\ndenylist errno 1\nbpf\nacct kill\n");
        assert!(said.starts_with("/p:2:1") && said.contains("no line allows any"), "{said}");
        assert!(
            said.contains("help: write denylist alone, and the action in each line: NAME errno 1"),
            "{said}"
        );
        assert_eq!(read("2\nallowlist errno 1\n").default, Action::Errno(1));
    }

    #[test]
    fn a_profile_of_nothing_but_problems_tells_the_first_and_that_there_is_more() {
        let problems = parse(&format!("2\ndenylist\n{}", "(\n".repeat(5000)), Path::new("/p")).unwrap_err();
        assert_eq!(problems.0.len(), 101);
        assert!(matches!(problems.0[100].fault, Fault::More { told: 100 }));
    }

    #[test]
    fn sections_and_comments_are_read() {
        let profile = read(
            "2\ndenylist\nbpf errno 1 # no programs\n# none\n[x86]\nvm86 trap\n[S390X]\nread\n[mipsel]\nread\n",
        );
        let of =
            |at: usize| (profile.rules[at].section, profile.rules[at].call.clone(), profile.rules[at].line);
        assert_eq!(of(0), (Section::All, name("bpf"), 3));
        assert_eq!(of(1), (Section::X86, name("vm86"), 6));
        assert_eq!(of(2), (Section::Other, name("read"), 8));
        assert_eq!(of(3), (Section::Other, name("read"), 10));
    }

    #[test]
    fn conditions_have_long_and_short_names() {
        let profile = read(
            "2\ndenylist\nsocket errno 97 [0,38,==]\nioctl errno 1 [1,0x5412,SCMP_CMP_MASKED_EQ,0xffffffff] [0,-1,!=]\n",
        );
        let test = |index, comparison, value| ArgTest { index, comparison, value };
        assert_eq!(profile.rules[0].args, [test(0, Comparison::Equal, 38)]);
        let masked = Comparison::Masked { mask: 0xffff_ffff };
        assert_eq!(profile.rules[1].args, [test(1, masked, 0x5412), test(0, Comparison::NotEqual, u64::MAX)]);
    }

    #[test]
    fn forced_unmounts_are_a_rule_of_their_own() {
        let profile = read("2\ndenylist\nreject_force_umount  # comment this out to allow umount -f\n");
        assert_eq!(profile.rules, [reject_force_umount(3)]);
    }

    #[test]
    fn every_problem_is_told_with_its_line() {
        let all = refused("2\ndenylist\nbpf errno 4096\n[vax]\nio ctl\nsocket errno 1 [6,1,==]\n");
        for start in ["/p:3:5:", "/p:4:1:", "/p:5:4:", "/p:6:17:"] {
            assert!(all.contains(start), "{start} in {all}");
        }
        assert!(refused("").contains("a version, 1 or 2"));
        assert!(refused("2\ngreylist\n").contains("allowlist or denylist"));
    }
}
