//! One thing that is done to the host: as data, so that it can be shown before it is done, and is done as it was shown.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

/// A step, with what it is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What it is for.
    pub why: String,
    /// What is done.
    #[serde(flatten)]
    pub act: Act,
}

/// What is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// Makes a directory, with those above it, unless it is there.
    MakeDirectory(PathBuf),
    /// Removes a file, unless it is gone.
    RemoveFile(PathBuf),
    /// Sets a sysctl.
    Set {
        /// Its file.
        file: String,
        /// Its value.
        value: String,
    },
    /// Runs a program to its end.
    Run {
        /// The program.
        program: Program,
        /// Its arguments, each as it is: there is no shell between.
        arguments: Vec<String>,
        /// What it reads.
        #[serde(skip_serializing_if = "Option::is_none")]
        input: Option<String>,
    },
    /// Ends a process by SIGTERM, and waits for its end.
    End {
        /// Its pid.
        pid: i32,
        /// What it has among its arguments: nothing else is ended.
        marked: String,
    },
}

/// A program of the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Program {
    /// Of iproute2.
    Ip,
    /// Of nftables.
    Nft,
    /// Gives addresses and names.
    Dnsmasq,
    /// Of a firewall of the older kind.
    Iptables,
    /// The same for IPv6.
    Ip6tables,
    /// Of systemd-resolved, which the host's programs ask for names.
    Resolvectl,
}

/// All of them.
pub(super) const PROGRAMS: [Program; 6] =
    [Program::Ip, Program::Nft, Program::Dnsmasq, Program::Iptables, Program::Ip6tables, Program::Resolvectl];

/// Where they are looked for: directories of root's. PATH has no say.
pub(super) const DIRECTORIES: [&str; 5] =
    ["/usr/sbin", "/sbin", "/usr/bin", "/bin", "/run/current-system/sw/bin"];

impl Program {
    /// Returns the name of its file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::Nft => "nft",
            Self::Dnsmasq => "dnsmasq",
            Self::Iptables => "iptables",
            Self::Ip6tables => "ip6tables",
            Self::Resolvectl => "resolvectl",
        }
    }

    /// Returns the package that has it, by its name in Debian, Ubuntu and Fedora or nearly so.
    pub(super) fn package(self) -> &'static str {
        match self {
            Self::Ip => "iproute2",
            Self::Nft => "nftables",
            Self::Dnsmasq => "dnsmasq-base",
            Self::Iptables | Self::Ip6tables => "iptables",
            Self::Resolvectl => "systemd-resolved",
        }
    }
}

impl Step {
    pub(super) fn new(why: &str, act: Act) -> Self {
        Self { why: why.to_owned(), act }
    }

    /// Runs a program.
    pub(super) fn run<S: Into<String>>(
        why: &str,
        program: Program,
        arguments: impl IntoIterator<Item = S>,
    ) -> Self {
        let arguments = arguments.into_iter().map(Into::into).collect();
        Self::new(why, Act::Run { program, arguments, input: None })
    }

    /// Runs a program with arguments that are one line of words.
    pub(super) fn words(why: &str, program: Program, words: &str) -> Self {
        Self::run(why, program, words.split(' '))
    }

    /// Gives nftables rules in one transaction.
    pub(super) fn rules(why: &str, text: String) -> Self {
        let arguments = vec!["-f".to_owned(), "-".to_owned()];
        Self::new(why, Act::Run { program: Program::Nft, arguments, input: Some(text) })
    }

    pub(super) fn set(why: &str, key: &str, value: &str) -> Self {
        Self::new(why, Act::Set { file: format!("/proc/sys/{key}"), value: value.to_owned() })
    }
}

/// As a person would do it in a shell.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# {}", self.why)?;
        match &self.act {
            Act::MakeDirectory(path) => write!(f, "mkdir -p {}", path.display()),
            Act::RemoveFile(path) => write!(f, "rm -f {}", path.display()),
            Act::Set { file, value } => write!(f, "echo {value} > {file}"),
            Act::End { pid, .. } => write!(f, "kill {pid}"),
            Act::Run { program, arguments, input } => {
                f.write_str(program.name())?;
                arguments.iter().try_for_each(|argument| write!(f, " {}", quoted(argument)))?;
                match input {
                    Some(input) => write!(f, " <<'END'\n{}\nEND", input.trim_end()),
                    None => Ok(()),
                }
            }
        }
    }
}

fn quoted(argument: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:,+@%".contains(c);
    if !argument.is_empty() && argument.chars().all(is_plain) {
        argument.to_owned()
    } else {
        format!("'{}'", argument.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_shown_as_a_shell_would_do_it() {
        let shown = |act| Step::new("so", act).to_string();
        assert_eq!(shown(Act::MakeDirectory("/run/x".into())), "# so\nmkdir -p /run/x");
        assert_eq!(
            Step::set("so", "net/ipv4/ip_forward", "1").to_string(),
            "# so\necho 1 > /proc/sys/net/ipv4/ip_forward"
        );
        let run = Step::run("so", Program::Iptables, ["--comment", "bryo net it's", ""]);
        assert_eq!(run.to_string(), "# so\niptables --comment 'bryo net it'\\''s' ''");
        let rules = Step::rules("so", "table inet x\n".into());
        assert_eq!(rules.to_string(), "# so\nnft -f - <<'END'\ntable inet x\nEND");
    }
}
