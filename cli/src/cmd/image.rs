//! `bryo image`: what can be fetched, and what is here.

use clap::Subcommand;

use crate::context::Context;
use crate::fetching::{self, From, Listed};
use crate::json;
use crate::output::{self, Failure, Outcome};
use crate::rungs::Talk;

/// Arguments of `bryo image`.
#[derive(Debug, clap::Args)]
pub(super) struct Image {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the images that are here, or that the server has
    Ls(Ls),
    /// Fetch an image, or its newer build
    Pull(Pull),
}

/// Arguments of `bryo image ls`.
#[derive(Debug, clap::Args)]
#[command(after_help = LS_EXAMPLES)]
struct Ls {
    /// Only images whose name, or other name of the release, begins with this
    filter: Option<String>,
    /// List what the server has
    #[arg(long)]
    remote: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    from: From,
}

const LS_EXAMPLES: &str = "\
Examples:
  bryo image ls                     the images that are here
  bryo image ls --remote debian     what the image server has of debian
  bryo image ls --remote debian/13  and of one release";

/// Arguments of `bryo image pull`.
#[derive(Debug, clap::Args)]
#[command(after_help = PULL_EXAMPLES)]
struct Pull {
    /// Its name: DISTRIBUTION/RELEASE[/ARCHITECTURE[/VARIANT]]
    name: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    from: From,
}

const PULL_EXAMPLES: &str = "\
Examples:
  bryo image pull debian/13                        the newest build for this machine
  bryo image pull alpine/3.22/arm64/cloud          of another architecture and variant
  bryo image pull debian/13 --server images.lan    from another server";

impl Image {
    pub(super) fn run(self, context: &Context, talk: Talk) -> Outcome {
        match self.verb {
            Verb::Ls(verb) => verb.run(context),
            Verb::Pull(verb) => verb.run(context, talk),
        }
    }
}

impl Ls {
    fn run(self, context: &Context) -> Outcome {
        let images = match self.remote {
            true => fetching::list(context, &self.from),
            false => fetching::stored(),
        };
        let mut images = images.map_err(|error| Failure::new("list the images", error))?;
        images.retain(|image| self.wants(image));
        match self.json {
            true => output::print_line(json::text(&images)),
            false => images.iter().for_each(line),
        }
        Ok(0)
    }

    /// A release may be said by each of its names.
    fn wants(&self, image: &Listed) -> bool {
        let Listed { name, also, .. } = image;
        let Some(filter) = &self.filter else { return true };
        let (distribution, rest) = name.split_once('/').unwrap_or((name, ""));
        let (_, build) = rest.split_once('/').unwrap_or((rest, ""));
        let other = |also: &String| format!("{distribution}/{also}/{build}").starts_with(filter);
        name.starts_with(filter) || also.iter().any(other)
    }
}

fn line(Listed { name, also, build }: &Listed) {
    let also = if also.is_empty() { String::new() } else { format!("  ({})", also.join(", ")) };
    output::print_line(format!("{name:40}  {build}{also}"));
}

impl Pull {
    fn run(self, context: &Context, talk: Talk) -> Outcome {
        let name = crate::making::image_name(&self.name);
        let pulled = name.and_then(|name| fetching::pull(context, &name, &self.from, None));
        let pulled = pulled.map_err(|error| Failure::new(&format!("fetch {}", self.name), error))?;
        match (self.json, talk) {
            (true, _) => output::print_line(json::text(&pulled)),
            (false, Talk::Quiet) => {}
            (false, _) => output::say(&format!("{} of {} is here", pulled.name, pulled.build)),
        }
        Ok(0)
    }
}
