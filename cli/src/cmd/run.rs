//! `bryo run`: a container for one command, gone afterwards.

use std::io::Read;

use container::create::{Marker, Template};
use container::place::Place;
use container::plan::{self, Stdio};
use container::{Doing, Error, Kind, destroy, monitor};
use types::{ContainerName, IdMap};

use super::exec::Wishes;
use super::execute::{app, only_if_asked};
use crate::context::Context;
use crate::foreground;
use crate::making;
use crate::output::{Cannot, Failure, Outcome};
use crate::rungs::{self, Talk};
use crate::starting::{self, Wanted};

/// Arguments of `bryo run`.
#[derive(Debug, clap::Args)]
pub(super) struct Run {
    /// An archive or a directory; without one the machine's own programs, read-only, under a private root
    image: Option<String>,
    /// The name of the container
    #[arg(short, long)]
    name: Option<ContainerName>,
    #[command(flatten)]
    wishes: Wishes,
    /// The command; a shell without one
    #[arg(last = true)]
    command: Vec<String>,
}

impl Run {
    pub(super) fn run(self, context: &Context, talk: Talk) -> Outcome {
        context.settle_all();
        let name = match self.name.clone().map_or_else(random_name, Ok) {
            Ok(name) => name,
            Err(error) => return Err(Failure::new("name a container", error).beside_a_command()),
        };
        self.once(context, &name, talk).cannot("run", &name).map_err(Failure::beside_a_command)
    }

    fn once(self, context: &Context, name: &ContainerName, talk: Talk) -> container::Result<i32> {
        let place = context.settled(name)?;
        let template = self.image.as_deref().map_or(Ok(Template::Host), making::from_image)?;
        let wanted = making::Wanted {
            place: place.clone(),
            template,
            source: self.image.clone().unwrap_or_else(|| "host".to_owned()),
            arguments: Vec::new(),
            config: None,
            settings: "lxc.ephemeral = 1\n",
            once: true,
        };
        let created = making::create(context, wanted)?;
        let ended = self.command_in(context, &place, created.marker, talk);
        // The monitor destroys what ran; this is for what could not be started.
        let cleaned = clean_up(context, &place, &created.idmap);
        ended.and_then(|status| cleaned.map(|()| status))
    }

    fn command_in(
        self,
        context: &Context,
        place: &Place,
        marker: Option<Marker>,
        talk: Talk,
    ) -> container::Result<i32> {
        let config = context.config(place)?.config;
        let shell = || config.init_cmd.clone().unwrap_or_else(|| vec!["/bin/sh".to_owned()]);
        let argv = if self.command.is_empty() { shell() } else { self.command };
        let run = plan::Run::App(app(&self.wishes, argv, &config)?);
        let wanted = Wanted { run, foreground: true, stdio: Stdio::Caller, ..Wanted::init(place.clone()) };
        let plan = starting::plan(context, wanted)?.plan;
        foreground::run(context, &plan, |running| {
            // From here on its run file says that it lives only once.
            marker.into_iter().try_for_each(Marker::remove)?;
            rungs::announce(&plan, &running.rungs, &running.notes, context.facts()?, only_if_asked(talk));
            Ok(())
        })
    }
}

/// A monitor that was killed may have left processes, which end before their files go.
fn clean_up(context: &Context, place: &Place, idmap: &IdMap) -> container::Result<()> {
    let facts = context.facts()?;
    monitor::recover(place, &facts.id_writer, &facts.caller)?;
    destroy::remove_files(place, idmap, &facts.id_writer, &facts.caller)
}

/// The letters of random names: those that are not mistaken for one another.
const LETTERS: &[u8; 32] = b"abcdefghijkmnopqrstuvwxyz2345678";

fn random_name() -> container::Result<ContainerName> {
    let mut bytes = [0; 6];
    let read = std::fs::File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut bytes));
    read.map_err(|e| Error::new(Kind::Kernel(e.raw_os_error().unwrap_or(0)), e.to_string()))
        .doing("reading /dev/urandom")?;
    let letters = bytes.map(|byte| char::from(LETTERS[usize::from(byte % 32)]));
    let name = format!("run-{}", letters.iter().collect::<String>());
    name.parse().map_err(|e: types::NameError| Error::new(Kind::Usage, e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_random() {
        let names: Vec<ContainerName> = (0..4).map(|_| random_name().unwrap()).collect();
        assert!(names.iter().all(|name| name.as_str().len() == 10 && name.as_str().starts_with("run-")));
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
