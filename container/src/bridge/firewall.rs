//! Other firewalls of the host. What one drops another cannot let pass: Docker and ufw drop all that is passed on, so each has
//! to be told that a bridge is no stranger, by rules of its own that bear a mark.

use serde::Serialize;
use types::IfName;

use super::settings::Settings;
use super::step::{Program, Step};

/// Where a packet is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) enum Hook {
    /// What is for the host itself: the containers' questions to dnsmasq.
    Input,
    /// What is passed on.
    Forward,
}

/// A chain that drops what nothing in it accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chain {
    /// Which packets it sees: `ip`, `ip6`, or both in `inet`.
    pub(super) family: String,
    /// Its table.
    pub(super) table: String,
    /// Its name.
    pub(super) name: String,
    /// Where it stands.
    pub(super) hook: Hook,
}

/// A rule of ours in a chain of another's, by its number there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Own {
    pub(super) family: String,
    pub(super) table: String,
    pub(super) chain: String,
    pub(super) handle: u64,
}

/// What iptables or ip6tables says of its filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Iptables {
    /// Which of the two.
    pub(super) program: Program,
    /// The answer to `-S`.
    pub(super) rules: String,
}

/// What other firewalls there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Firewalls {
    /// The chains of nftables that drop.
    pub(super) chains: Vec<Chain>,
    /// Rules of ours in them.
    pub(super) own: Vec<Own>,
    /// What iptables has.
    pub(super) iptables: Vec<Iptables>,
    /// firewalld is in force, which has a language of its own for this.
    pub(super) has_firewalld: bool,
}

/// Returns the mark of our rules about a bridge.
pub(super) fn mark(bridge: &IfName) -> String {
    format!("bryo net {bridge}")
}

/// Reads the answer to `nft list chains`: those that drop.
pub(super) fn chains(text: &str) -> Vec<Chain> {
    let (mut table, mut name, mut chains) = (("", ""), "", Vec::new());
    for line in text.lines().map(str::trim) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["table", family, of, "{"] => table = (family, of),
            ["chain", chain, "{"] => name = chain,
            ["type", "filter", "hook", hook, ..] if line.contains("policy drop") => {
                let hook = match hook {
                    "input" => Hook::Input,
                    "forward" => Hook::Forward,
                    _ => continue,
                };
                if ["ip", "ip6", "inet"].contains(&table.0) {
                    let (family, table) = (table.0.to_owned(), table.1.to_owned());
                    chains.push(Chain { family, table, name: name.to_owned(), hook });
                }
            }
            _ => {}
        }
    }
    chains
}

/// Reads the answer to `nft -a list ruleset`: rules that bear a mark.
pub(super) fn marked(text: &str, mark: &str) -> Vec<Own> {
    let comment = format!("comment \"{mark}\"");
    let (mut table, mut chain, mut own) = (("", ""), "", Vec::new());
    for line in text.lines().map(str::trim) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["table", family, of, "{", ..] => table = (family, of),
            ["chain", name, "{", ..] => chain = name,
            [.., "#", "handle", handle] if line.contains(&comment) => {
                let Ok(handle) = handle.parse() else { continue };
                let (family, table) = (table.0.to_owned(), table.1.to_owned());
                own.push(Own { family, table, chain: chain.to_owned(), handle });
            }
            _ => {}
        }
    }
    own
}

impl Firewalls {
    /// Tells whether a chain of nftables is one that iptables keeps, who then is to be asked.
    fn is_of_iptables(&self, chain: &Chain) -> bool {
        let family = |program| match program {
            Program::Iptables => Some("ip"),
            Program::Ip6tables => Some("ip6"),
            _ => None,
        };
        let keeps = |iptables: &Iptables| family(iptables.program) == Some(&chain.family);
        chain.table == "filter"
            && ["INPUT", "FORWARD"].contains(&&*chain.name)
            && self.iptables.iter().any(keeps)
    }

    /// Returns the steps after which all of them let the bridge's packets pass.
    pub(super) fn mend(&self, settings: &Settings) -> Vec<Step> {
        let mut steps = Vec::new();
        let chains: Vec<&Chain> = self.chains.iter().filter(|chain| !self.is_of_iptables(chain)).collect();
        if !chains.is_empty() {
            let mut text = self.removal();
            for chain in chains {
                let Chain { family, table, name, hook } = chain;
                for rule in accepting(*hook, family, settings) {
                    text.push_str(&format!("insert rule {family} {table} {name} {rule}\n"));
                }
            }
            steps.push(Step::rules(
                "other firewalls drop all that is passed on: they let the bridge's packets pass",
                text,
            ));
        }
        for iptables in &self.iptables {
            for (hook, words) in iptables.wanted(settings) {
                let chain = if hook == Hook::Input { "INPUT" } else { "FORWARD" };
                let drops = iptables.rules.lines().any(|line| line == format!("-P {chain} DROP"));
                let rule =
                    [&["-A", chain][..], &words.iter().map(String::as_str).collect::<Vec<_>>()].concat();
                if drops && !iptables.rules.lines().any(|line| split(line) == rule) {
                    let arguments = ["-w", "-I", chain].map(str::to_owned).into_iter().chain(words);
                    steps.push(Step::run("the same, of a firewall by iptables", iptables.program, arguments));
                }
            }
        }
        steps
    }

    /// Returns the steps that remove our rules from all of them.
    pub(super) fn forget(&self, bridge: &IfName) -> Vec<Step> {
        let mut steps = Vec::new();
        let own: Vec<&Own> = self.own.iter().filter(|own| !self.is_iptables_own(own)).collect();
        if !own.is_empty() {
            steps.push(Step::rules("rules about the bridge in other firewalls", self.removal()));
        }
        let mark = mark(bridge);
        for iptables in &self.iptables {
            let rules = iptables.rules.lines().map(split).filter(|words| words.contains(&mark));
            for mut words in rules.filter(|words| words.first().is_some_and(|word| word == "-A")) {
                words[0] = "-D".to_owned();
                let arguments = std::iter::once("-w".to_owned()).chain(words);
                steps.push(Step::run("the same, of a firewall by iptables", iptables.program, arguments));
            }
        }
        steps
    }

    fn is_iptables_own(&self, own: &Own) -> bool {
        let Own { family, table, chain, .. } = own.clone();
        self.is_of_iptables(&Chain { family, table, name: chain, hook: Hook::Forward })
    }

    fn removal(&self) -> String {
        let own = self.own.iter().filter(|own| !self.is_iptables_own(own));
        let delete = |own: &Own| {
            let Own { family, table, chain, handle } = own;
            format!("delete rule {family} {table} {chain} handle {handle}\n")
        };
        own.map(delete).collect()
    }
}

/// Returns the rules of nftables that let the bridge's packets pass.
fn accepting(hook: Hook, family: &str, Settings { bridge, .. }: &Settings) -> Vec<String> {
    let mark = mark(bridge);
    let rule = |rule: &str| format!("{rule} accept comment \"{mark}\"");
    match hook {
        Hook::Forward => vec![
            rule(&format!("iifname \"{bridge}\"")),
            rule(&format!("oifname \"{bridge}\" ct state established,related")),
        ],
        Hook::Input => {
            let mut rules = vec![
                rule(&format!("iifname \"{bridge}\" udp dport {{ 53, 67, 547 }}")),
                rule(&format!("iifname \"{bridge}\" tcp dport 53")),
            ];
            if family != "ip" {
                rules.push(rule(&format!("iifname \"{bridge}\" meta l4proto ipv6-icmp")));
            }
            rules
        }
    }
}

impl Iptables {
    /// Returns the rules that let the bridge's packets pass, in the words that `-S` shows them in.
    fn wanted(&self, Settings { bridge, .. }: &Settings) -> Vec<(Hook, Vec<String>)> {
        let mark = mark(bridge);
        let rule = |hook, words: &[&str]| {
            let end = ["-m", "comment", "--comment", &mark, "-j", "ACCEPT"];
            (hook, words.iter().chain(&end).map(|word| (*word).to_owned()).collect())
        };
        let bridge = bridge.as_str();
        let mut rules = vec![
            rule(Hook::Forward, &["-i", bridge]),
            rule(Hook::Forward, &["-o", bridge, "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED"]),
            rule(Hook::Input, &["-i", bridge, "-p", "udp", "-m", "udp", "--dport", "53"]),
            rule(Hook::Input, &["-i", bridge, "-p", "tcp", "-m", "tcp", "--dport", "53"]),
        ];
        rules.push(match self.program {
            Program::Ip6tables => rule(Hook::Input, &["-i", bridge, "-p", "ipv6-icmp"]),
            _ => rule(Hook::Input, &["-i", bridge, "-p", "udp", "-m", "udp", "--dport", "67"]),
        });
        rules
    }
}

/// Splits a line of `iptables -S` into words. A comment with a blank stands in quotes.
fn split(line: &str) -> Vec<String> {
    let pieces = line.split('"').enumerate();
    pieces
        .flat_map(|(place, piece)| match place % 2 {
            0 => piece.split_whitespace().map(str::to_owned).collect(),
            _ => vec![piece.to_owned()],
        })
        .collect()
}
