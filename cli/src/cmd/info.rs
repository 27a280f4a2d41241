//! `bryo info`

use cgroup::Usage;
use container::beside::Listeners;
use container::list::{self, Found};
use container::network::view::{self, HostEnd, Interface};
use container::place::Place;
use container::{Error, Kind, create, idmap};
use types::ContainerName;

use super::idmap::{Me, me, named};
use crate::context::Context;
use crate::inside;
use crate::json;
use crate::keys::Keys;
use crate::output::{self, Cannot, Outcome};
use crate::usage;

/// Arguments of `bryo info`.
#[derive(Debug, clap::Args)]
pub(super) struct Info {
    /// The container
    name: ContainerName,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print the value of a key of the configuration alone
    #[arg(short, long = "config", value_name = "KEY", conflicts_with = "json", value_parser = Keys::Alone,
          hide_possible_values = true)]
    config: Vec<String>,
}

/// What is told.
#[derive(Debug)]
pub(crate) struct Told {
    /// The container and its state.
    pub(crate) found: Found,
    /// Where its configuration is.
    pub(crate) config: std::path::PathBuf,
    /// It has one id alone.
    pub(crate) one_id: bool,
    /// Who the caller is inside, where that is a user.
    pub(crate) me: Option<Me>,
    /// What it uses.
    pub(crate) usage: Option<Usage>,
    /// Its interfaces.
    pub(crate) interfaces: Vec<Interface>,
    /// The host's ends of those that are on bridges.
    pub(crate) ends: Vec<HostEnd>,
}

impl Info {
    pub(super) fn run(self, context: &Context) -> Outcome {
        let name = &self.name;
        let place = context.settled(name).cannot("tell about", name)?;
        if !self.config.is_empty() {
            return print_keys(context, &place, &self.config).cannot("tell about", name);
        }
        let told = tell(context, &place).cannot("tell about", name)?;
        match self.json {
            true => output::print_line(json::text(&json::Details::of(&told))),
            false => output::print(lines(&told)),
        }
        Ok(0)
    }
}

fn print_keys(context: &Context, place: &Place, keys: &[String]) -> container::Result<i32> {
    let config = context.config(place)?.config;
    for key in keys {
        let value = config.get(key).map_err(|fault| Error::new(Kind::Usage, fault.advice()))?;
        output::print_line(value.trim_end_matches('\n'));
    }
    Ok(0)
}

fn tell(context: &Context, place: &Place) -> container::Result<Told> {
    let found = list::look(place, &Listeners::read()).ok_or_else(|| {
        let cause = format!("there is no container {} in {}", place.name, place.lxcpath.display());
        Error::new(Kind::NotDefined, cause)
    })?;
    // A configuration that cannot be read is told of where it is needed.
    let config = context.config(place).map(|loaded| loaded.config).unwrap_or_default();
    let one_id = idmap::is_own_id_only(&config.idmap, &context.facts()?.caller);
    let me = me(&config.idmap, &config, context.facts()?).filter(|me| me.uid != 0);
    let usage = found.pid.and_then(|_| usage::of(place));
    let interfaces = inside::interfaces(context, place, found.pid);
    let ends = found.pid.and_then(|pid| view::host_ends(pid).ok()).unwrap_or_default();
    Ok(Told { config: place.config(), one_id, me, usage, interfaces, ends, found })
}

fn lines(told: &Told) -> String {
    let usage = told.usage.unwrap_or_default();
    let mut known = vec![
        ("Name", Some(told.found.name.clone())),
        ("State", Some(told.found.state.to_string())),
        ("PID", told.found.pid.map(|pid| pid.to_string())),
        ("Config", Some(told.config.display().to_string())),
        ("Owners", told.one_id.then(|| create::ONE_ID.to_owned())),
        ("Me", told.me.as_ref().map(named)),
        ("Memory", usage.memory.map(usage::human)),
        ("CPU", usage.cpu.map(|cpu| format!("{:.2} seconds", cpu.as_secs_f64()))),
        ("Processes", usage.tasks.map(|tasks| tasks.to_string())),
    ];
    let addresses = |interface: &Interface| {
        interface.addresses.iter().map(|address| format!(" {address}")).collect::<String>()
    };
    known.extend(told.interfaces.iter().map(|one| ("Interface", Some(one.name.clone() + &addresses(one)))));
    let passed = |end: &HostEnd| {
        format!("{}, sent {}, received {}", end.name, usage::human(end.sent), usage::human(end.received))
    };
    known.extend(told.ends.iter().map(|end| ("Link", Some(passed(end)))));
    known.extend(told.found.published.iter().map(|port| ("Published", Some(port.told()))));
    known.extend(told.found.rungs.iter().map(|(need, rung)| (need.as_str(), Some(rung.clone()))));
    let line = |(label, text): (&str, Option<String>)| text.map(|text| format!("{label:<10} {text}\n"));
    known.into_iter().filter_map(line).collect()
}
