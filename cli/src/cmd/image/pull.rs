//! `bryo image pull`

use config::images::Record;
use container::{Error, Kind};
use types::source::Source;

use crate::context::Context;
use crate::fetching::{self, From, Pulled};
use crate::json;
use crate::lock::{Entry, Lock};
use crate::making;
use crate::output::{self, Failure, Outcome};
use crate::rungs::Talk;

/// Arguments of `bryo image pull`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Pull {
    /// Its name: DISTRIBUTION/RELEASE[/ARCHITECTURE[/VARIANT]], or docker:NAME[:TAG|@DIGEST]; with --locked all that the file
    /// says where there is none
    #[arg(required_unless_present = "locked")]
    name: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    from: From,
    #[command(flatten)]
    lock: Lock,
}

const EXAMPLES: &str = "\
Examples:
  bryo image pull debian/13                        the newest build for this machine
  bryo image pull alpine/3.22/arm64/cloud          of another architecture and variant
  bryo image pull debian/13 --server images.lan    from another server
  bryo image pull docker:alpine:3                  from a registry
  bryo image pull debian/13 --lock bryo.lock       and writes down there which that is
  bryo image pull --locked                         what ./bryo.lock says, on another machine
  bryo image pull debian/13 --json                 for programs

Containers that were made from an older build keep it; bryo image gc removes it once there are none.";

impl Pull {
    pub(super) fn run(self, context: &Context, talk: Talk) -> Outcome {
        let names = match &self.name {
            Some(name) => Ok(vec![name.clone()]),
            None => self.lock.names(),
        };
        let names = names.map_err(|error| Failure::new("fetch what is locked", error))?;
        self.look_at(&names)?;
        let fetch = |name: &String| {
            self.pull(context, name).map_err(|error| Failure::new(&format!("fetch {name}"), error))
        };
        let here = names.iter().map(fetch).collect::<Result<Vec<Pulled>, Failure>>()?;
        match (self.json, talk) {
            (true, _) if self.name.is_some() => {
                here.iter().for_each(|one| output::print_line(json::text(one)))
            }
            (true, _) => output::print_line(json::text(&here)),
            (false, Talk::Quiet) => {}
            (false, _) => {
                let said =
                    |record: &Record| output::say(&format!("{} of {} is here", record.name, record.build));
                here.iter().for_each(|one| said(&one.record));
            }
        }
        Ok(0)
    }

    /// Tells of all names that are wrong before anything is fetched.
    fn look_at(&self, names: &[String]) -> Result<(), Failure> {
        let wrong = |name: &String| Some(format!("{name}: {}", self.locked(name).err()?));
        let wrong: Vec<String> = names.iter().filter_map(wrong).collect();
        match &wrong[..] {
            [_, _, ..] => {
                let error = Error::new(Kind::Config, wrong.join("; "));
                Err(Failure::new(&format!("fetch {} of the images that are locked", wrong.len()), error))
            }
            // Of one alone it is told as of any other.
            _ => Ok(()),
        }
    }

    /// Returns what a name means, and what is locked of it.
    fn locked(&self, name: &str) -> container::Result<(Source, Option<Entry>)> {
        let source = match making::source(name)? {
            Source::Registry(reference) => Source::Registry(reference),
            _ => Source::Named(making::image_name(name)?),
        };
        let entry = if self.lock.is_strict() { self.lock.entry(&source.to_string())? } else { None };
        Ok((source, entry))
    }

    fn pull(&self, context: &Context, name: &str) -> container::Result<Pulled> {
        let (source, entry) = self.locked(name)?;
        let word = source.to_string();
        if let Some(entry) = entry {
            return Ok(Pulled::here(making::exact(context, &word, &entry, &self.from, None)?.record));
        }
        let pulled = match source {
            Source::Registry(reference) => fetching::pull_of_registry(context, &reference, &self.from, None)?,
            _ => fetching::pull(context, &making::image_name(name)?, &self.from, None)?,
        };
        self.lock.keep(&word, &pulled.record)?;
        Ok(pulled)
    }
}
