//! `bryo net setup` and `bryo net teardown`

use container::bridge::{self, Facts, Manner, Obstacle, Plan, Turn};
use container::{Error, Kind, Result};
use types::IfName;

use crate::json;
use crate::output::{self, Failure, Outcome};

/// Arguments of `bryo net setup`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
For root, once after each boot; the unit that --unit prints does it. Settings are those of lxc-net, in /etc/default/lxc-net
(LXC_BRIDGE, LXC_ADDR, LXC_NETWORK, LXC_DHCP_RANGE, LXC_DOMAIN, LXC_IPV6_ADDR and so on). A setup that was interrupted is
finished by the next. Who may use the bridge stands in /etc/lxc/lxc-usernet.

Examples:
  bryo net setup --dry-run
  sudo bryo net setup
  sudo bryo net setup --unit | sudo tee /etc/systemd/system/bryo-net.service
  echo 'ana veth lxcbr0 10' | sudo tee -a /etc/lxc/lxc-usernet")]
pub(super) struct Setup {
    /// The bridge, instead of LXC_BRIDGE or lxcbr0
    #[arg(long, value_name = "NAME")]
    bridge: Option<IfName>,
    /// Show what would be done, as commands, and do nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Make no rules that keep users from pretending to be each other or the gateway
    #[arg(long)]
    no_guard: bool,
    /// Print a unit for systemd, and do nothing
    #[arg(long, conflicts_with_all = ["dry_run", "json"])]
    unit: bool,
    /// Print the steps of a dry run as JSON
    #[arg(long, requires = "dry_run")]
    json: bool,
}

/// Arguments of `bryo net teardown`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Removes the bridge, the rules and the dnsmasq that `bryo net setup` has made, and nothing that it has not made.

Examples:
  bryo net teardown --dry-run
  sudo bryo net teardown")]
pub(super) struct Teardown {
    /// The bridge, instead of LXC_BRIDGE or lxcbr0
    #[arg(long, value_name = "NAME")]
    bridge: Option<IfName>,
    /// Show what would be done, as commands, and do nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Cut off the containers that use the bridge
    #[arg(short, long)]
    force: bool,
    /// Print the steps of a dry run as JSON
    #[arg(long, requires = "dry_run")]
    json: bool,
}

/// How a plan is shown or done.
#[derive(Clone, Copy)]
enum Way {
    Do,
    Show,
    ShowJson,
}

fn way(dry_run: bool, json: bool) -> Way {
    match (dry_run, json) {
        (_, true) => Way::ShowJson,
        (true, _) => Way::Show,
        _ => Way::Do,
    }
}

impl Setup {
    pub(super) fn run(self) -> Outcome {
        if self.unit {
            output::print(unit(self.bridge.as_ref(), self.no_guard)?);
            return Ok(0);
        }
        let settings = settings(self.bridge.as_ref(), SETUP)?;
        let bridge = settings.bridge.clone();
        let manner = Manner { is_guarded: !self.no_guard };
        let decide = |facts: &Facts| bridge::set_up(&settings, facts, manner);
        fulfil(&bridge, way(self.dry_run, self.json), SETUP, decide)?;
        if !self.dry_run {
            output::say(&format!("{bridge} is set up: {} for containers of ordinary users", settings.v4));
        }
        Ok(0)
    }
}

impl Teardown {
    pub(super) fn run(self) -> Outcome {
        // The settings may be what keeps the bridge from being set up; to remove it takes its name alone.
        let bridge = match self.bridge {
            Some(bridge) => bridge,
            None => settings(None, TEARDOWN)?.bridge,
        };
        let decide = |facts: &Facts| bridge::tear_down(&bridge, facts, self.force);
        let plan = fulfil(&bridge, way(self.dry_run, self.json), TEARDOWN, decide)?;
        if plan.steps.is_empty() {
            output::say(&format!("there is nothing of {bridge} that bryo net setup has made"));
        }
        Ok(0)
    }
}

const SETUP: &str = "set up the bridge";
const TEARDOWN: &str = "tear down the bridge";

fn settings(bridge: Option<&IfName>, act: &str) -> std::result::Result<bridge::settings::Settings, Failure> {
    bridge::read_settings(bridge).map_err(|problems| {
        let text = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        Failure::new(act, Error::new(Kind::Config, text))
    })
}

/// Decides, and shows or does what was decided.
fn fulfil(
    bridge: &IfName,
    way: Way,
    act: &str,
    decide: impl Fn(&Facts) -> std::result::Result<Plan, Obstacle>,
) -> std::result::Result<Plan, Failure> {
    let failed = |error| Failure::new(act, error);
    let is_root = sys::cred::real_uid().0 == 0;
    if matches!(way, Way::Do) && !is_root {
        let error = Error::new(Kind::Usage, "only root may change the host's network");
        return Err(
            failed(error).or_help(Some("run it by sudo; --dry-run shows what it would do".to_owned()))
        );
    }
    let _turn = matches!(way, Way::Do).then(Turn::take).transpose().map_err(failed)?;
    let facts = Facts::gather(bridge).map_err(failed)?;
    let plan = decide(&facts).map_err(|Obstacle { what, help }| {
        failed(Error::new(Kind::Usage, what)).with_help(Kind::Usage, help)
    })?;
    match way {
        Way::ShowJson => output::print_line(json::text(&plan.steps)),
        Way::Show => plan.steps.iter().for_each(output::print_line),
        Way::Do => carry_out(&plan, &facts).map_err(failed)?,
    }
    if !is_root {
        output::note("rules of firewalls are seen by root alone: as root the steps may be more");
    }
    plan.notes.iter().for_each(|note| output::note(note));
    Ok(plan)
}

fn carry_out(plan: &Plan, facts: &Facts) -> Result<()> {
    plan.steps.iter().try_for_each(|step| bridge::carry_out(step, facts))
}

/// Returns the unit for systemd.
fn unit(bridge: Option<&IfName>, no_guard: bool) -> std::result::Result<String, Failure> {
    let failed = |error: &std::io::Error| {
        let kind = Kind::Kernel(error.raw_os_error().unwrap_or_default());
        Failure::new("write the unit", Error::new(kind, error.to_string()))
    };
    let program = std::env::current_exe().map_err(|error| failed(&error))?;
    let program = quoted(&program.display().to_string());
    let bridge = bridge.map(|name| format!(" --bridge {}", quoted(name.as_str()))).unwrap_or_default();
    let setup = format!("{program} net setup{bridge}{}", if no_guard { " --no-guard" } else { "" });
    let teardown = format!("{program} net teardown{bridge}");
    Ok(format!(
        "# Written by bryo net setup --unit.\n\
         [Unit]\n\
         Description=Bridge for containers of ordinary users\n\
         # Firewalls first: what they drop they are told to let pass, and one that starts later would forget it.\n\
         After=network-online.target nftables.service ufw.service firewalld.service docker.service systemd-resolved.service\n\
         Wants=network-online.target\n\
         \n\
         [Service]\n\
         Type=oneshot\n\
         RemainAfterExit=yes\n\
         ExecStart={setup}\n\
         # After a firewall was loaded anew: systemctl reload bryo-net\n\
         ExecReload={setup}\n\
         # While containers use the bridge it refuses, and all stays as it is: dnsmasq too.\n\
         ExecStop={teardown}\n\
         KillMode=process\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n"
    ))
}

/// Returns a word of a command in a unit. Source: systemd.service(5), systemd.syntax(7).
fn quoted(word: &str) -> String {
    let escaped = word.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$");
    format!("\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_runs_this_program() {
        let unit = unit(None, false).unwrap();
        let program = std::env::current_exe().unwrap();
        for verb in ["setup", "teardown"] {
            assert!(unit.contains(&format!("=\"{}\" net {verb}\n", program.display())), "{unit}");
        }
        assert!(!unit.lines().any(|line| line.starts_with(' ')), "{unit}");
    }

    #[test]
    fn the_unit_says_what_was_asked_for_and_leaves_dnsmasq_where_a_teardown_refuses() {
        let unit = unit(Some(&"br7".parse().unwrap()), true).unwrap();
        for line in ["ExecStart=", "ExecReload="] {
            let line = unit.lines().find(|found| found.starts_with(line)).unwrap();
            assert!(line.ends_with(" net setup --bridge \"br7\" --no-guard"), "{unit}");
        }
        assert!(unit.contains(" net teardown --bridge \"br7\"\n"), "{unit}");
        assert!(unit.contains("\nKillMode=process\n"), "{unit}");
    }

    #[test]
    fn a_word_of_a_unit_is_one_word_and_stands_for_itself() {
        assert_eq!(quoted(r#"/a b/$HOME/%h/"\"#), r#""/a b/$$HOME/%%h/\"\\""#);
    }
}
